/* Snapshots of page blobs: how those of a job are found in a container's list, and the URLs that are made. The requests themselves are tested end
 * to end, against the storage emulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/url.h"
#include "storage/azure/page_blob.h"

#define JOB "11111111-2222-4333-8444-555555555555"
#define BLOB(name, time, meta) "<Blob><Name>" name "</Name>" time "<Properties><Etag>0x1</Etag><Name>os.vhd</Name></Properties>" meta "</Blob>"
#define TIME(t) "<Snapshot>" t "</Snapshot>"
#define MARK(id) "<Metadata><other>x</other><vmrecoverjob>" id "</vmrecoverjob></Metadata>"
#define LIST(blobs, more) "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"x\"><Prefix>os</Prefix><Blobs>" blobs "</Blobs>" more "</EnumerationResults>"
#define T1 "2026-11-25T01:02:03.1234567Z"
#define T2 "2026-11-25T02:02:03.1234567Z"

static int parse(const char *text, char (*found)[PAGE_BLOB_TIME_MAX], size_t max, size_t *n, char more[1024])
{
    struct err e;
    return page_blob_parse_list(text, strlen(text), "os.vhd", JOB, found, max, n, more, &e);
}

static void test_found(void **state)
{
    (void)state;
    char found[4][PAGE_BLOB_TIME_MAX], more[1024];
    size_t n = 9;
    assert_int_equal(parse(LIST(BLOB("os.vhd", "", MARK(JOB)) BLOB("os.vhd", TIME(T1), MARK(JOB)) BLOB("os.vhd2", TIME(T2), MARK(JOB))
                                BLOB("os.vhd", TIME(T2), MARK("22222222-2222-4333-8444-555555555555")) BLOB("os.vhd", TIME(T2), "")
                                BLOB("os.vhd", TIME("../../x?y"), MARK(JOB)), "<NextMarker />"), found, 4, &n, more), 0);
    assert_int_equal(n, 1);                          /* neither the blob itself, nor another's, nor what is no time */
    assert_string_equal(found[0], T1);
    assert_string_equal(more, "");

    assert_int_equal(parse(LIST(BLOB("os.vhd", TIME(T1), MARK(JOB)) BLOB("os.vhd", TIME(T2), MARK(JOB)), "<NextMarker>2!16!a&amp;b</NextMarker>"), found, 4,
                           &n, more), 0);
    assert_int_equal(n, 2);
    assert_string_equal(found[1], T2);
    assert_string_equal(more, "2!16!a&b");
    assert_int_equal(parse(LIST(BLOB("os.vhd", TIME(T1), MARK(JOB)) BLOB("os.vhd", TIME(T2), MARK(JOB)), ""), found, 1, &n, more), 0);
    assert_int_equal(n, 1);
    assert_int_equal(parse(LIST("", ""), found, 4, &n, more), 0);
    assert_int_equal(n, 0);
    /* marks that stand elsewhere are none */
    assert_int_equal(parse(LIST("<Blob><Name>os.vhd</Name>" TIME(T1) "<vmrecoverjob>" JOB "</vmrecoverjob></Blob>"
                                "<Blob><Name>os.vhd</Name>" TIME(T1) "<Tags><Metadata><vmrecoverjob>" JOB "</vmrecoverjob></Metadata></Tags></Blob>", ""), found, 4,
                           &n, more), 0);
    assert_int_equal(n, 0);
}

static void test_no_list(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "x", "<html/>", "<EnumerationResults>", "<EnumerationResults><Blobs></EnumerationResults>", "<!DOCTYPE x [<!ENTITY a \"a\">]><EnumerationResults/>",
        "<EnumerationResults><a><b><c><d><e><f><g><h><i><j><k><l><m/></l></k></j></i></h></g></f></e></d></c></b></a></EnumerationResults>",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char found[1][PAGE_BLOB_TIME_MAX], more[1024];
        size_t n = 7;
        assert_int_equal(parse(texts[i], found, 1, &n, more), -ERR_UPSTREAM);
        assert_int_equal(n, 7);
    }
}

static void test_urls(void **state)
{
    (void)state;
    AUTO_FREE char *plain = page_blob_snapshot_url("https://a.blob.core.windows.net/c/os.vhd", T1);
    AUTO_FREE char *sas = page_blob_snapshot_url("https://a.blob.core.windows.net/c/os.vhd?sv=1&sig=x%2B", T1);
    assert_string_equal(plain, "https://a.blob.core.windows.net/c/os.vhd?snapshot=2026-11-25T01%3A02%3A03.1234567Z");
    assert_string_equal(sas, "https://a.blob.core.windows.net/c/os.vhd?sv=1&sig=x%2B&snapshot=2026-11-25T01%3A02%3A03.1234567Z");
    AUTO_FREE char *escaped = url_escape("a/b c+%\xC3\xA4"), *back = url_unescape("a%2Fb%20c%2B%25%C3%A4"), *none = url_escape("");
    assert_string_equal(escaped, "a%2Fb%20c%2B%25%C3%A4");
    assert_string_equal(back, "a/b c+%\xC3\xA4");
    assert_string_equal(none, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_found), cmocka_unit_test(test_no_list), cmocka_unit_test(test_urls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

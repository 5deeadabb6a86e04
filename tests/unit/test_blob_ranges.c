/* Get Page Ranges: windows, markers, failures, and lists that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

#define GIB ((uint64_t)1 << 30)

static char *dir;
static struct blob *blob;
static struct blob_info info;

static void serve(struct blob_server *s, const char *const *args)
{
    struct err e;
    server_start(s, args);
    struct blob_access a = {.url = s->url, .http = {.stall_timeout_ms = 1000}};
    if (blob_open(&a, &blob, &e) < 0 || blob_head(blob, &info, &e) < 0)
        fail_msg("%s", e.msg);
}

static void done(struct blob_server *s)
{
    blob_close(blob);
    server_stop(s);
}

static struct blob_ranges get(void)
{
    struct err e;
    struct blob_ranges r;
    if (blob_page_ranges(blob, &info, NULL, NULL, &r, &e) < 0)
        fail_msg("%s", e.msg);
    uint64_t bytes = 0, before = 0;
    for (size_t i = 0; i < r.n; i++) {
        assert_true(r.list[i].start < r.list[i].end && r.list[i].end <= info.length);
        assert_true(i == 0 || r.list[i].start > before);
        before = r.list[i].end;
        bytes += before - r.list[i].start;
    }
    assert_int_equal(bytes, r.bytes);
    return r;
}

static void expect(const struct blob_range *list, size_t n)
{
    struct blob_ranges r = get();
    assert_true(r.complete);
    assert_int_equal(r.n, n);
    assert_memory_equal(r.list, list, n * sizeof *list);
    blob_ranges_free(&r);
}

static void expect_everything(void)
{
    struct blob_ranges r = get();
    assert_false(r.complete);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.bytes, info.length);
    blob_ranges_free(&r);
}

/* 100 GiB: four windows, ranges across their edges, two at a time behind markers. */
static void test_windows(void **state)
{
    (void)state;
    static const struct blob_range list[] = {
        {0, 512}, {1024, 4096}, {32 * GIB - 512, 32 * GIB + 512}, {40 * GIB, 97 * GIB}, {99 * GIB, 100 * GIB}};
    struct blob_server s;
    serve(&s, (const char *const[]){"--size", "100G", "--list-page", "2", "--used",
                                    "0-511,1024-4095,34359737856-34359738879,42949672960-104152956927,106300440576-107374182399",
                                    NULL});
    expect(list, 5);
    /* the service times out on windows above 5 GiB: they are halved until it does not */
    server_faults(&s, "status,on=list,code=500,xcode=OperationTimedOut,times=0,over=5G");
    expect(list, 5);
    server_faults(&s, "status,on=list,code=503,times=2,after=2\nreset,on=list");
    expect(list, 5);
    /* it never works: everything is data */
    server_faults(&s, "status,on=list,code=500,times=0");
    expect_everything();
    server_faults(&s, "status,on=list,code=400,xcode=InvalidQueryParameterValue,times=0");
    expect_everything();
    server_faults(&s, "stall,on=list,times=2");
    expect(list, 5);
    done(&s);
}

static void test_errors(void **state)
{
    (void)state;
    struct err e;
    struct blob_ranges r;
    struct blob_server s;
    serve(&s, (const char *const[]){"--size", "1M", NULL});
    server_faults(&s, "expired");
    assert_int_equal(blob_page_ranges(blob, &info, NULL, NULL, &r, &e), -ERR_SOURCE_DENIED);
    server_faults(&s, "gone");
    assert_int_equal(blob_page_ranges(blob, &info, NULL, NULL, &r, &e), -ERR_SOURCE_NOT_FOUND);
    server_faults(&s, "changed");
    assert_int_equal(blob_page_ranges(blob, &info, NULL, NULL, &r, &e), -ERR_SOURCE_CHANGED);
    server_faults(&s, "changed,silent=1");
    assert_int_equal(blob_page_ranges(blob, &info, NULL, NULL, &r, &e), -ERR_SOURCE_CHANGED);
    /* busy for long: the task's to wait for, not a reason to fetch every byte */
    server_faults(&s, "status,on=list,code=503,retry=60,times=0");
    int64_t start = clock_mono_ms();
    assert_int_equal(blob_page_ranges(blob, &info, NULL, NULL, &r, &e), -ERR_THROTTLED);
    assert_int_equal(e.retry_after_ms, 60000);
    assert_true(clock_mono_ms() - start < 30000);
    done(&s);
}

static bool stop_after(void *arg)
{
    return clock_mono_ms() >= *(int64_t *)arg;
}

static void test_stop(void **state)
{
    (void)state;
    struct err e;
    struct blob_ranges r;
    struct blob_server s;
    serve(&s, (const char *const[]){"--size", "1M", NULL});
    server_faults(&s, "status,on=list,code=503,retry=3,times=0");
    int64_t at = clock_mono_ms() + 300;
    assert_int_equal(blob_page_ranges(blob, &info, stop_after, &at, &r, &e), -ERR_CANCELLED);
    server_faults(&s, "stall,on=list,times=0");
    at = clock_mono_ms() + 300;
    assert_int_equal(blob_page_ranges(blob, &info, stop_after, &at, &r, &e), -ERR_CANCELLED);
    done(&s);
}

#define LIST(inner) "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>" inner "</PageList>"
#define RANGE(a, b) "<PageRange><Start>" a "</Start><End>" b "</End></PageRange>"

static void test_hostile(void **state)
{
    (void)state;
    static const char *const lies[] = {
        "",
        "garbage",
        "<html><body>hello</body></html>",
        "<PageList>",
        "<PageList><PageRange><Start>0</Start>",
        LIST(RANGE("0", "18446744073709551615")),
        LIST(RANGE("99999999999999999999999999", "1")),
        LIST(RANGE("-1", "511")),
        LIST(RANGE("0", "1048576")),
        LIST(RANGE("512", "511")),
        LIST(RANGE("0x10", "0x20")),
        LIST(RANGE(" 0", "511")),
        LIST(RANGE("", "")),
        LIST("<PageRange><Start>0</Start></PageRange>"),
        LIST(RANGE("0", "1023") RANGE("512", "2047")),
        LIST(RANGE("4096", "8191") RANGE("0", "511")),
        LIST(RANGE("0", "511") RANGE("0", "511")),
        "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c "
        "\"&b;&b;&b;&b;&b;&b;&b;&b;\">]><PageList>&c;&c;&c;</PageList>",
        "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><PageList/>",
        LIST("<a><b><c><d><e><f><g><h><i/></h></g></f></e></d></c></b></a>"),
        LIST("<PageRange>" RANGE("0", "511") "</PageRange>"),
        LIST("\xFF\xFE"),
        LIST(RANGE("0", "511")) "trailing",
        LIST("<NextMarker>again</NextMarker>"),
    };
    struct blob_server s;
    AUTO_FREE char *path = tmp_path(dir, "list.xml");
    struct err e;
    serve(&s, (const char *const[]){"--size", "1M", NULL});
    AUTO_FREE char *outside = tmp_outside(path), *fault = str_printf("list,times=0,file=%s", outside);
    server_faults(&s, fault);
    /* good ones first, so that the lies below are known to be read */
    static const char good[] = LIST(RANGE("0", "511") RANGE(
        "512", "1023") "<ClearRange><Start>2048</Start><End>4095</End></ClearRange>" RANGE("1048064", "1048575") "<NextMarker/>");
    static const struct blob_range list[] = {{0, 1024}, {1048064, 1048576}};
    assert_int_equal(os_write_file(path, good, sizeof good - 1, 0, &e), 0);
    expect(list, 2);
    static const char empty[] = "<PageList/>";
    assert_int_equal(os_write_file(path, empty, sizeof empty - 1, 0, &e), 0);
    expect(NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        assert_int_equal(os_write_file(path, lies[i], strlen(lies[i]), 0, &e), 0);
        printf("%.60s\n", lies[i]);
        expect_everything();
    }
    done(&s);
}

/* Two million ranges: the list stays below its bound and covers all of them. */
static void test_long_list(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, "long.xml");
    AUTO_STRBUF struct strbuf text = {.max = (size_t)1 << 30};
    strbuf_adds(&text, "<PageList>");
    for (uint64_t i = 0; i < 2000000; i++)
        strbuf_addf(&text, "<PageRange><Start>%llu</Start><End>%llu</End></PageRange>", (unsigned long long)i * 16384,
                    (unsigned long long)i * 16384 + 511);
    strbuf_adds(&text, "</PageList>");
    assert_false(text.failed);
    assert_int_equal(os_write_file(path, text.data, text.len, 0, &e), 0);
    struct blob_server s;
    serve(&s, (const char *const[]){"--size", "31G", NULL});
    AUTO_FREE char *outside = tmp_outside(path), *fault = str_printf("list,times=0,file=%s", outside);
    server_faults(&s, fault);
    struct blob_ranges r = get();
    assert_true(r.complete);
    assert_true(r.n <= BLOB_RANGES_MAX && r.bytes < 31 * GIB + 16384);
    for (uint64_t i = 0, j = 0; i < 2000000; i++) {
        while (j < r.n && r.list[j].end <= i * 16384)
            j++;
        assert_true(j < r.n && r.list[j].start <= i * 16384 && r.list[j].end >= i * 16384 + 512);
    }
    blob_ranges_free(&r);
    done(&s);
    os_remove(path, &e);
}

static void test_no_list(void **state)
{
    (void)state;
    struct blob_server s;
    serve(&s, (const char *const[]){"--size", "1M", "--type", "block", NULL});
    assert_false(info.page_blob);
    expect_everything();
    assert_int_equal(server_stat(&s, "list"), 0);
    done(&s);
    serve(&s, (const char *const[]){"--size", "0", NULL});
    struct blob_ranges r = get();
    assert_int_equal(r.n, 0);
    blob_ranges_free(&r);
    done(&s);
}

static int setup(void **state)
{
    (void)state;
    struct err e;
    dir = tmp_make();
    return http_init(&e);
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows), cmocka_unit_test(test_errors),    cmocka_unit_test(test_stop),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_long_list), cmocka_unit_test(test_no_list),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

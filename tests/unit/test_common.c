/* common/: errors, strings, clock, digests, sealed secrets, JSON reading, URLs, log lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "common/os.h"
#include "common/secret.h"
#include "common/url.h"
#include "tests/unit/tmp.h"

static void test_error(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(err_set(&e, ERR_VALUE, "x is %d", 7), -ERR_VALUE);
    assert_string_equal(e.msg, "x is 7");
    assert_string_equal(err_hint_text(&e), err_info(ERR_VALUE)->hint);
    assert_int_equal(err_prefix(&e, "disk %d", 1), -ERR_VALUE);
    assert_string_equal(e.msg, "disk 1: x is 7");
    assert_int_equal(err_os(&e, ERR_IO, tmp_disk_full, "writing"), -ERR_DISK_FULL);
    assert_int_equal(e.os_code, tmp_disk_full);
    assert_true(str_starts(e.msg, "writing: ") && !strpbrk(e.msg, "\r\n") && !str_ends(e.msg, ".") && strlen(e.msg) > 15);
    for (int i = 1; i < ERR_CODES; i++) {
        assert_int_equal(err_from_word(err_info(i)->word), i);       /* words are unique */
        assert_true(err_info(i)->http_status >= 400 && err_info(i)->http_status < 600);
        assert_string_not_equal(err_info(i)->title, "");
    }
    assert_string_equal(err_info(99999)->word, "internal_error");
}

static void test_strings(void **state)
{
    (void)state;
    unsigned long long v;
    assert_true(str_to_u64("18446744073709551615", UINT64_MAX, &v) && v == UINT64_MAX);
    assert_false(str_to_u64("18446744073709551616", UINT64_MAX, &v));
    assert_false(str_to_u64("11", 10, &v));
    assert_true(str_to_u64("10", 10, &v) && v == 10);
    assert_false(str_to_u64("9", 8, &v));
    assert_false(str_to_u64("", 10, &v) || str_to_u64("+1", 10, &v) || str_to_u64(" 1", 10, &v) || str_to_u64("1 ", 10, &v));
    static const struct { const char *s; bool ok; } utf8[] = {
        {"", true}, {"abc", true}, {"\xC3\xA4", true}, {"\xE2\x82\xAC", true}, {"\xF0\x9F\x98\x80", true}, {"\xC0\x80", false}, {"\xE0\x80\x80", false},
        {"\xED\xA0\x80", false}, {"\xF4\x90\x80\x80", false}, {"\xC3", false}, {"\x80", false}, {"\xF8\x88\x80\x80\x80", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(utf8); i++)
        assert_int_equal(str_is_utf8(utf8[i].s, strlen(utf8[i].s)), utf8[i].ok);
    struct strbuf b = {.max = 5};
    strbuf_adds(&b, "abc");
    strbuf_addf(&b, "%d", 45);
    assert_string_equal(b.data, "abc45");
    strbuf_adds(&b, "6");
    assert_true(b.failed);
    assert_string_equal(b.data, "abc45");
    assert_null(strbuf_steal(&b));
    strbuf_free(&b);
}

static void test_clock(void **state)
{
    (void)state;
    static const struct { const char *s; int64_t ms; } good[] = {
        {"1970-01-01T00:00:00Z", 0}, {"2024-02-29T12:34:56.789Z", 1709210096789}, {"2026-11-23T10:00:00+02:00", 1795420800000},
        {"2000-03-01T00:00:00.5-01:30", 951874200500},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t ms;
        assert_true(clock_parse(good[i].s, &ms));
        assert_int_equal(ms, good[i].ms);
        char text[CLOCK_TEXT];
        clock_format(ms, text);
        assert_true(clock_parse(text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00:00Zx", "2024-01-01T25:00:00Z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms;
        assert_false(clock_parse(bad[i], &ms));
    }
    char text[CLOCK_TEXT];
    clock_format_http(784111777000, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    int64_t before = clock_mono_ms();
    clock_sleep_ms(20);
    assert_true(clock_mono_ms() - before >= 19);
}

struct bell { pthread_mutex_t lock; pthread_cond_t cond; bool rung; };

static void *ring(void *arg)
{
    struct bell *b = arg;
    clock_sleep_ms(50);
    pthread_mutex_lock(&b->lock);
    b->rung = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static void test_cond(void **state)
{
    (void)state;
    struct bell b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    cond_init(&b.cond);
    pthread_mutex_lock(&b.lock);
    int64_t start = clock_mono_ms();
    assert_false(cond_wait_until(&b.cond, &b.lock, start - 5));      /* over already */
    assert_false(cond_wait_until(&b.cond, &b.lock, 0));
    while (cond_wait_until(&b.cond, &b.lock, start + 150))           /* may wake for no reason */
        ;
    int64_t ms = clock_mono_ms() - start;
    assert_true(ms >= 149 && ms < 10000);
    assert_int_equal(pthread_create(&thread, NULL, ring, &b), 0);
    start = clock_mono_ms();
    bool in_time = true;
    while (!b.rung && in_time)
        in_time = cond_wait_until(&b.cond, &b.lock, start + 60000);
    assert_true(in_time && clock_mono_ms() - start < 30000);
    pthread_mutex_unlock(&b.lock);
    pthread_join(thread, NULL);
    pthread_cond_destroy(&b.cond);
}

static void test_crypto(void **state)
{
    (void)state;
    struct err e;
    uint8_t d[SHA256_LEN];
    char hex[HEX_LEN(SHA256_LEN)];
    assert_int_equal(crypto_sha256("abc", 3, d, &e), 0);
    crypto_hex(d, sizeof d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, d, &e), 0);      /* RFC 4231, case 2 */
    crypto_hex(d, sizeof d, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_int_equal(crypto_crc32(0, "123456789", 9), 0xCBF43926);
    static const struct { const char *plain, *coded; } b64[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LEN(b64); i++) {
        AUTO_FREE char *coded = crypto_base64(b64[i].plain, strlen(b64[i].plain));
        assert_string_equal(coded, b64[i].coded);
        AUTO_FREE uint8_t *back = NULL;
        size_t n;
        assert_true(crypto_base64_decode(coded, &back, &n));
        assert_int_equal(n, strlen(b64[i].plain));
        assert_memory_equal(back, b64[i].plain, n);
    }
    static const char *const bad[] = {"Zg=", "Zg", "Zh==", "Z===", "====", "Zm9!", "Zm9v\n", "=m9v", "Zm=v", "Zm9="};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t *back = NULL;
        size_t n;
        assert_false(crypto_base64_decode(bad[i], &back, &n));
    }
    char a[UUID_LEN], b[UUID_LEN];
    assert_int_equal(crypto_uuid(a, &e), 0);
    assert_int_equal(crypto_uuid(b, &e), 0);
    assert_true(crypto_is_uuid(a) && crypto_is_uuid(b));
    assert_string_not_equal(a, b);
    assert_int_equal(a[14], '4');
    assert_false(crypto_is_uuid("../../../../../../../../../../etc/p"));
    assert_true(crypto_equal("ab", "ab", 2));
    assert_false(crypto_equal("ab", "ac", 2));
}

static void test_secret(void **state)
{
    (void)state;
    struct err e;
    char *dir = tmp_make();
    struct secret_box *box, *again;
    assert_int_equal(secret_open(dir, &box, &e), 0);
    AUTO_FREE uint8_t *sealed = NULL;
    size_t n;
    assert_int_equal(secret_seal(box, "credential/prod", "hunter2", &sealed, &n, &e), 0);
    assert_false(tmp_contains(sealed, n, "hunter2"));
    assert_int_equal(secret_open(dir, &again, &e), 0);               /* the key survives a restart */
    char *plain = NULL;
    assert_int_equal(secret_unseal(again, "credential/prod", sealed, n, &plain, &e), 0);
    assert_string_equal(plain, "hunter2");
    mem_free_secret(plain);
    plain = NULL;
    assert_int_equal(secret_unseal(again, "credential/other", sealed, n, &plain, &e), -ERR_SECRET);
    for (size_t i = 0; i < n; i++) {                                 /* no flipped bit, no cut goes unnoticed */
        sealed[i] ^= 1;
        assert_int_equal(secret_unseal(again, "credential/prod", sealed, n, &plain, &e), -ERR_SECRET);
        sealed[i] ^= 1;
        assert_int_equal(secret_unseal(again, "credential/prod", sealed, i, &plain, &e), -ERR_SECRET);
    }
    AUTO_FREE uint8_t *twice = NULL, *empty = NULL;
    size_t twice_n, empty_n;
    assert_int_equal(secret_seal(box, "credential/prod", "hunter2", &twice, &twice_n, &e), 0);
    assert_true(twice_n != n || memcmp(sealed, twice, n) != 0);      /* the same text twice does not look the same */
    assert_int_equal(secret_seal(box, "", "", &empty, &empty_n, &e), 0);
    assert_int_equal(secret_unseal(again, "", empty, empty_n, &plain, &e), 0);
    assert_string_equal(plain, "");
    mem_free_secret(plain);
    plain = NULL;
    secret_close(again);
    char *elsewhere = tmp_make();                                    /* another key file on the same machine */
    assert_int_equal(secret_open(elsewhere, &again, &e), 0);
    assert_int_equal(secret_unseal(again, "credential/prod", sealed, n, &plain, &e), -ERR_SECRET);
    secret_close(box);
    secret_close(again);
    tmp_remove(elsewhere);
    char *key = tmp_path(dir, "secret.key");
    tmp_assert_private(key);
    assert_int_equal(os_write_file(key, "short", 5, OS_PRIVATE, &e), 0);
    assert_int_equal(secret_open(dir, &box, &e), -ERR_SECRET);
    free(key);
    tmp_remove(dir);
}

static void expect(const char *body, int code, const char *field)
{
    struct err e;
    json_t *j;
    int r = json_parse(body, strlen(body), &j, &e);
    if (r == 0) {
        static const char *const words[] = {"one", "two", NULL};
        struct json_in in = json_in_root(j, &e);
        json_in_require(&in, "name");
        json_in_string(&in, "name", NULL, 8);
        json_in_enum(&in, "kind", words, 0);
        struct json_in vm = json_in_object(&in, "vm");
        assert_true(json_in_int(&vm, "cpus", 2, 1, 64) >= 1);
        json_in_bool(&vm, "start", true);
        json_t *list = json_in_array(&in, "disks", 1, 2);
        for (size_t i = 0; i < json_array_size(list); i++) {
            struct json_in d = json_in_element(&in, "disks", i);
            json_in_string(&d, "path", NULL, 100);
            json_in_end(&d);
        }
        json_in_end(&vm);
        r = json_in_end(&in);
        json_decref(j);
    }
    if (r != -code || strcmp(e.field, field))
        fail_msg("%s: got %s at \"%s\" (%s)", body, err_info(r)->word, e.field, e.msg);
}

static void test_json(void **state)
{
    (void)state;
    expect("{\"name\":\"a\"}", 0, "");
    expect("{\"name\":\"a\",\"vm\":{\"cpus\":64,\"start\":false},\"disks\":[{\"path\":\"x\"}]}", 0, "");
    expect("[]", ERR_TYPE, "");
    expect("{", ERR_JSON, "");
    expect("{\"name\":\"a\",\"name\":\"b\"}", ERR_JSON, "");
    expect("{}", ERR_MISSING, "/name");
    expect("{\"name\":7}", ERR_TYPE, "/name");
    expect("{\"name\":\"\"}", ERR_VALUE, "/name");
    expect("{\"name\":\"123456789\"}", ERR_VALUE, "/name");
    expect("{\"name\":\"a\\u0001\"}", ERR_VALUE, "/name");
    expect("{\"name\":\"a\",\"kind\":\"three\"}", ERR_VALUE, "/kind");
    expect("{\"name\":\"a\",\"vm\":[]}", ERR_TYPE, "/vm");
    expect("{\"name\":\"a\",\"vm\":{\"cpus\":0}}", ERR_VALUE, "/vm/cpus");
    expect("{\"name\":\"a\",\"vm\":{\"cpus\":1.5}}", ERR_TYPE, "/vm/cpus");
    expect("{\"name\":\"a\",\"vm\":{\"start\":1}}", ERR_TYPE, "/vm/start");
    expect("{\"name\":\"a\",\"vm\":{\"bogus\":1}}", ERR_UNKNOWN_FIELD, "/vm/bogus");
    expect("{\"name\":\"a\",\"a/b~c\":1}", ERR_UNKNOWN_FIELD, "/a~1b~0c");
    expect("{\"name\":\"a\",\"disks\":[]}", ERR_VALUE, "/disks");
    expect("{\"name\":\"a\",\"disks\":[{},{},{}]}", ERR_VALUE, "/disks");
    expect("{\"name\":\"a\",\"disks\":[{},3]}", ERR_TYPE, "/disks/1");
    expect("{\"name\":\"a\",\"disks\":[{\"path\":null}]}", ERR_TYPE, "/disks/0/path");
}

static void test_problem_round_trip(void **state)
{
    (void)state;
    struct err e, back;
    err_field(&e, ERR_SAS_EXPIRED, "/disks/0", "the SAS of %s", "blob");
    err_hint(&e, "make a new one");
    strcpy(e.upstream.service, "azure_storage");
    e.upstream.status = 403;
    strcpy(e.upstream.code, "AuthenticationFailed");
    strcpy(e.upstream.request_id, "cut in a character \xC3");
    json_t *j = json_from_err(&e);
    assert_non_null(j);
    json_to_err(j, &back);
    json_decref(j);
    assert_int_equal(back.code, ERR_SAS_EXPIRED);
    assert_string_equal(back.msg, e.msg);
    assert_string_equal(back.hint, e.hint);
    assert_string_equal(back.field, e.field);
    assert_string_equal(back.upstream.service, "azure_storage");
    assert_int_equal(back.upstream.status, 403);
    assert_string_equal(back.upstream.request_id, "cut in a character ");
}

static void test_url(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *red = url_redact("https://u:p@acct.blob.core.windows.net/c/a%20b.vhd?sv=1&sig=SECRET#x");
    assert_string_equal(red, "https://acct.blob.core.windows.net/c/a%20b.vhd");
    static const struct { const char *url; bool allow_http, ok; } rows[] = {
        {"https://a.blob.core.windows.net/c/b", false, true}, {"http://a.example/c", false, false}, {"http://a.example/c", true, true},
        {"http://127.0.0.1:10000/devstoreaccount1/c/b", false, true}, {"http://[::1]:1/x", false, true}, {"ftp://a/b", true, false},
        {"file:///etc/passwd", true, false}, {"https:///x", true, false}, {"https:/x/y", true, false}, {"https:x", true, false}, {"HTTPS://h/x", false, true}, {"https://:80/x", true, false}, {"https://u:p@h/", true, false}, {"https://h/#f", true, false},
        {"https://h/a b", true, false}, {"https://h/\xC3\xA4", true, false}, {"", true, false}, {"nothing", true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if ((url_check(rows[i].url, rows[i].allow_http, &e) == 0) != rows[i].ok)
            fail_msg("%s", rows[i].url);
}

static char *last_line;
static void keep_line(const struct log_entry *entry)
{
    assert_string_equal(entry->job, "1234");
    assert_string_equal(entry->task, "download.0");
    assert_string_equal(entry->msg, "two words");
    assert_int_equal(entry->len, strlen(entry->line));
    free(last_line);
    last_line = str_ndup(entry->line, entry->len);
}

static void test_log(void **state)
{
    (void)state;
    log_set_sink(keep_line);
    log_context("1234", "download.0");
    log_info("two words", KS("evil", "a\nlevel=error \"x\""), KI("n", -5), KS("empty", NULL));
    assert_non_null(last_line);
    assert_non_null(strstr(last_line, " level=info job=1234 task=download.0 msg=\"two words\" evil=\"a\\x0alevel=error \\\"x\\\"\" n=-5 empty=\"\"\n"));
    assert_ptr_equal(strchr(last_line, '\n'), last_line + strlen(last_line) - 1);
    free(last_line);
    last_line = NULL;
    log_debug("not at this level");
    assert_null(last_line);
    log_context(NULL, NULL);
    log_set_sink(NULL);
}

static void test_is_zero(void **state)
{
    (void)state;
    uint8_t buf[70] = {0};
    for (size_t n = 0; n <= sizeof buf; n++)
        assert_true(mem_is_zero(buf, n));
    for (size_t at = 0; at < sizeof buf; at++) {
        buf[at] = 1;
        for (size_t n = 0; n <= sizeof buf; n++)
            assert_int_equal(mem_is_zero(buf, n), n <= at);
        buf[at] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_zero),
        cmocka_unit_test(test_error), cmocka_unit_test(test_strings), cmocka_unit_test(test_clock), cmocka_unit_test(test_crypto),
        cmocka_unit_test(test_secret), cmocka_unit_test(test_cond), cmocka_unit_test(test_json), cmocka_unit_test(test_problem_round_trip), cmocka_unit_test(test_url),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

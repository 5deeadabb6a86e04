/* The transfer engine when the source takes access back on the way: one renewal for all connections, and on from where they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

#define MIB ((uint64_t)1 << 20)

static struct blob_server server; /* 32 MiB, a quarter in use */
static char *dir, *expected;

struct fixture {
    struct source first, next; /* next: what a renewal gives */
    char *path, *part, *journal;
    struct transfer t;
    struct transfer_progress p;
    struct err e;
    unsigned renewals;
    const char *faults_then[4]; /* of the server after the first renewal, the second … ; NULL: all from there on are refused */
    enum err_code fail; /* what the renewal itself gives */
    uint64_t length_off;
    bool other_etag;
    unsigned tokens, refusals;
    char token[16];
};

static int renew(void *arg, const struct err *why, struct blob **ret, const struct blob_info **ret_info, struct err *e)
{
    struct fixture *f = arg;
    assert_true(blob_error_is_refusal(why));
    const char *then = f->renewals < ARRAY_LEN(f->faults_then) ? f->faults_then[f->renewals] : NULL;
    f->renewals++;
    if (f->fail)
        return err_set(e, f->fail, "the renewal fails");
    blob_refuse_token(f->first.blob);
    source_close(&f->next);
    server_faults(&server, then && str_starts(then, "changed") ? "changed,silent=1,on=any" : "");
    source_open(&f->next, server.url);
    server_faults(&server, then ? then : "expired");
    f->next.info.length += f->length_off;
    *ret = f->next.blob;
    *ret_info = &f->next.info;
    return 0;
}

static int group_setup(void **state)
{
    (void)state;
    struct err e;
    if (http_init(&e) < 0)
        return -1;
    dir = tmp_make();
    server_start(&server, (const char *const[]){"--size", "32M", "--used", "25", "--vhd", NULL});
    expected = tmp_path(dir, "expected");
    server_fetch(&server, expected);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    server_stop(&server);
    free(expected);
    tmp_remove(dir);
    return 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    server_faults(&server, "");
    source_open(&f->first, server.url);
    f->path = tmp_path(dir, "disk.vhd");
    f->part = tmp_path(dir, "disk.vhd.part");
    f->journal = tmp_path(dir, "disk.vhd.part.journal");
    f->t = (struct transfer){.blob = f->first.blob, .info = &f->first.info, .ranges = &f->first.ranges, .path = f->path, .connections = 4,
                             .range_bytes = 256 << 10, .range_attempts = 5, .commit_interval_ms = 50, .renew = renew, .arg = f};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    os_remove(f->path, &f->e);
    transfer_discard(f->path, &f->e);
    source_close(&f->first);
    source_close(&f->next);
    free(f->path);
    free(f->part);
    free(f->journal);
    free(f);
    return 0;
}

static void runs(struct fixture *f, enum err_code code)
{
    err_clear(&f->e);
    int r = transfer_run(&f->t, &f->p, &f->e);
    if (r != -(int)code)
        fail_msg("expected %s, got %s: %s", err_info(code)->word, err_info(f->e.code)->word, f->e.msg);
    if (code == ERR_OK)
        assert_same_file(f->path, expected);
    else
        assert_false(tmp_exists(f->path));
}

/* Refused from some request on, in every way that a host refuses: each connection's next answer says so, one renewal is asked for. */
static void test_once_for_all(void **state)
{
    struct fixture *f = *state;
    static const char *const faults[] = {
        "expired,after=6",
        "expired,after=0",
        "status,code=403,xcode=AuthorizationFailure,times=0,after=9",
        "status,code=401,xcode=InvalidAuthenticationInfo,times=0,after=9",
        "expired,after=7\nreset,every=3,times=5",
        "expired,after=7\nshort,every=2,times=9",
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        f->renewals = 0;
        f->faults_then[0] = "";
        f->t.blob = f->first.blob;
        server_faults(&server, faults[i]);
        unsigned long long before = server_stat(&server, "body_bytes");
        runs(f, ERR_OK);
        assert_int_equal(f->renewals, 1);
        assert_int_equal(f->p.network, f->first.ranges.bytes); /* not one byte twice */
        assert_true(server_stat(&server, "body_bytes") >= before + f->first.ranges.bytes);
        assert_int_equal(os_remove(f->path, &f->e), 0);
    }
}

static void test_again_and_again(void **state)
{
    struct fixture *f = *state;
    server_faults(&server, "expired,after=3");
    f->faults_then[0] = "expired,after=5";
    f->faults_then[1] = "expired,after=8";
    runs(f, ERR_SOURCE_DENIED); /* from then on in vain */
    assert_int_equal(f->renewals, 2 + 3);
    assert_non_null(strstr(f->e.msg, "renewed 3 times"));
    assert_true(tmp_exists(f->part) && tmp_exists(f->journal));
    uint64_t had = f->p.transferred;
    server_faults(&server, "");
    runs(f, ERR_OK);
    assert_int_equal(f->p.network, f->first.ranges.bytes - had);
}

static void test_renewal_fails(void **state)
{
    struct fixture *f = *state;
    static const enum err_code codes[] = {ERR_UNREACHABLE, ERR_CREDENTIAL, ERR_CANCELLED, ERR_SOURCE_CHANGED};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        server_faults(&server, "expired,after=4");
        f->fail = codes[i];
        f->renewals = 0;
        runs(f, codes[i]);
        assert_string_equal(f->e.msg, "the renewal fails");
        assert_int_equal(f->renewals, 1);
    }
    f->fail = ERR_OK;
    f->renewals = 0;
    f->faults_then[0] = "";
    runs(f, ERR_OK);
}

static void test_other_length(void **state)
{
    struct fixture *f = *state;
    server_faults(&server, "expired,after=4");
    f->faults_then[0] = "";
    f->length_off = 512;
    runs(f, ERR_SOURCE_CHANGED);
}

/* The host of a new access may say another ETag for the same content: then the identity decides, here and when it is resumed. */
static void test_identity(void **state)
{
    struct fixture *f = *state;
    f->t.identity = "disk 1";
    server_faults(&server, "expired,after=4");
    f->faults_then[0] = "changed,silent=1,on=any\nexpired,after=12";
    f->faults_then[1] = "";
    runs(f, ERR_OK);
    assert_int_equal(f->renewals, 2);
    assert_string_not_equal(f->first.info.etag, "");
    assert_int_equal(os_remove(f->path, &f->e), 0);

    f->fail = ERR_UNREACHABLE;
    server_faults(&server, "expired,after=4");
    runs(f, ERR_UNREACHABLE);
    uint64_t had = f->p.transferred;
    assert_true(had > 0);
    snprintf(f->first.info.etag, sizeof f->first.info.etag, "\"other\"");
    server_faults(&server, "");
    f->t.identity = "disk 2";
    runs(f, ERR_SOURCE_CHANGED);
    f->t.identity = "disk 1";
    source_close(&f->first);
    source_open(&f->first, server.url);
    f->t.blob = f->first.blob;
    runs(f, ERR_OK);
    assert_int_equal(f->p.network, f->first.ranges.bytes - had);
}

static void test_without(void **state)
{
    struct fixture *f = *state;
    f->t.renew = NULL;
    server_faults(&server, "expired,after=4");
    runs(f, ERR_SOURCE_DENIED);
}

/* ---- tokens ---- */

static int give_token(void *arg, char **ret, struct err *e)
{
    struct fixture *f = arg;
    f->tokens++;
    if (f->fail)
        return err_set(e, f->fail, "no token");
    *ret = str_dup(f->token);
    return *ret ? 0 : err_oom(e);
}

static void token_refused(void *arg, const char *token)
{
    struct fixture *f = arg;
    assert_string_equal(token, f->token);
    f->refusals++;
    snprintf(f->token, sizeof f->token, "t%u", f->refusals);
}

static void open_with_token(struct fixture *f)
{
    blob_close(STEAL(f->first.blob));
    snprintf(f->token, sizeof f->token, "t0");
    struct blob_access a = {.url = server.url, .token = give_token, .token_refused = token_refused, .token_arg = f};
    assert_int_equal(blob_open(&a, &f->first.blob, &f->e), 0);
    f->t.blob = f->first.blob;
}

static void test_token_is_sent(void **state)
{
    struct fixture *f = *state;
    struct curl_slist *list;
    open_with_token(f);
    CURL *h = curl_easy_init();
    assert_int_equal(blob_prepare_get(f->first.blob, &f->first.info, h, 0, 512, BLOB_UNCHECKED, &list, &f->e), 0);
    bool there = false;
    for (struct curl_slist *l = list; l; l = l->next)
        there |= !strcmp(l->data, "Authorization: Bearer t0");
    assert_true(there);
    blob_headers_free(list);
    f->fail = ERR_CREDENTIAL;
    assert_int_equal(blob_prepare_get(f->first.blob, &f->first.info, h, 0, 512, BLOB_UNCHECKED, &list, &f->e), -ERR_CREDENTIAL);
    assert_string_equal(f->e.msg, "no token");
    f->fail = ERR_OK;
    curl_easy_cleanup(h);
}

/* Small requests ask for another token by themselves, once. */
static void test_token_refused(void **state)
{
    struct fixture *f = *state;
    struct blob_info info;
    struct blob_ranges ranges = {0};
    char buf[512];
    open_with_token(f);
    server_faults(&server, "status,code=401,xcode=InvalidAuthenticationInfo,on=any,times=2"); /* HEAD, then GET */
    assert_int_equal(blob_head(f->first.blob, &info, &f->e), 0);
    assert_int_equal(f->refusals, 1);
    server_faults(&server, "status,code=401,xcode=InvalidAuthenticationInfo,on=list");
    assert_int_equal(blob_page_ranges(f->first.blob, &info, NULL, NULL, &ranges, &f->e), 0);
    assert_true(ranges.complete && ranges.n == 9);
    blob_ranges_free(&ranges);
    assert_int_equal(f->refusals, 2);
    server_faults(&server, "status,code=403,xcode=InvalidAuthenticationInfo");
    assert_int_equal(blob_read(f->first.blob, &info, buf, sizeof buf, 0, &f->e), 0);
    assert_int_equal(f->refusals, 3);
    server_faults(&server, "status,code=401,xcode=InvalidAuthenticationInfo,on=any,times=0");
    assert_int_equal(blob_head(f->first.blob, &info, &f->e), -ERR_SOURCE_DENIED);
    assert_int_equal(blob_page_ranges(f->first.blob, &info, NULL, NULL, &ranges, &f->e), -ERR_SOURCE_DENIED);
    assert_int_equal(f->refusals, 5);
    server_faults(&server, "");
}

static void test_token_dies_on_the_way(void **state)
{
    struct fixture *f = *state;
    open_with_token(f);
    server_faults(&server, "status,code=401,xcode=InvalidAuthenticationInfo,times=0,after=9");
    f->faults_then[0] = "";
    runs(f, ERR_OK);
    assert_int_equal(f->renewals, 1);
    assert_int_equal(f->refusals, 1);
    assert_int_equal(f->p.network, f->first.ranges.bytes);
}

/* A token that cannot be had for a moment: its request is tried again. */
static void test_token_missing(void **state)
{
    struct fixture *f = *state;
    open_with_token(f);
    f->fail = ERR_CREDENTIAL;
    runs(f, ERR_CREDENTIAL);
    f->fail = ERR_UNREACHABLE;
    runs(f, ERR_UNREACHABLE);
    assert_non_null(strstr(f->e.msg, "gave up after 5 tries"));
    f->fail = ERR_OK;
    runs(f, ERR_OK);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_once_for_all),  T(test_again_and_again), T(test_renewal_fails), T(test_other_length),          T(test_identity),
        T(test_without),       T(test_token_is_sent),   T(test_token_refused), T(test_token_dies_on_the_way), T(test_token_missing),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

/* The transfer engine against a server that breaks in every way that we know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

#define MIB ((uint64_t)1 << 20)

static struct blob_server server; /* 32 MiB, a quarter in use: 9 ranges, the last one the footer */
static char *dir, *expected;

static int group_setup(void **state)
{
    (void)state;
    struct err e;
    if (http_init(&e) < 0)
        return -1;
    dir = tmp_make();
    server_start(&server, (const char *const[]){"--size", "32M", "--used", "25", "--vhd", "--sums", NULL});
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

struct fixture {
    struct source src;
    char *path, *part, *journal;
    struct transfer t;
    struct transfer_progress p;
    struct err e;
    /* for the callbacks */
    int64_t stop_at_ms;
    uint64_t stop_at_bytes;
    unsigned reports;
    uint64_t last_done;
};

static bool stop(void *arg)
{
    struct fixture *f = arg;
    return (f->stop_at_ms && clock_mono_ms() >= f->stop_at_ms) || (f->stop_at_bytes && f->last_done >= f->stop_at_bytes);
}

static void progress(void *arg, const struct transfer_progress *p)
{
    struct fixture *f = arg;
    f->reports++;
    assert_true(p->transferred >= f->last_done);
    assert_true(p->done == p->transferred + p->skipped && p->done <= p->total);
    f->last_done = p->transferred;
}

static void reopen(struct fixture *f, const char *url)
{
    source_close(&f->src);
    source_open(&f->src, url);
    f->t.blob = f->src.blob;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    server_faults(&server, "");
    source_open(&f->src, server.url);
    f->path = tmp_path(dir, "disk.vhd");
    f->part = tmp_path(dir, "disk.vhd.part");
    f->journal = tmp_path(dir, "disk.vhd.part.journal");
    f->t = (struct transfer){.blob = f->src.blob,
                             .info = &f->src.info,
                             .ranges = &f->src.ranges,
                             .path = f->path,
                             .connections = 4,
                             .range_bytes = 256 << 10,
                             .range_attempts = 5,
                             .commit_interval_ms = 50,
                             .step_bytes = 64 << 10,
                             .stop = stop,
                             .progress = progress,
                             .arg = f};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    os_remove(f->path, &f->e);
    transfer_discard(f->path, &f->e);
    source_close(&f->src);
    free(f->path);
    free(f->part);
    free(f->journal);
    free(f);
    return 0;
}

static int run(struct fixture *f)
{
    err_clear(&f->e);
    f->last_done = 0;
    return transfer_run(&f->t, &f->p, &f->e);
}

/* The record says so of the finished file; *ret: where. */
static struct transfer_verdict verdict(struct fixture *f)
{
    struct transfer_verify v = {.path = f->path, .length = f->src.info.length};
    struct transfer_verdict ret;
    if (transfer_verify(&v, &ret, &f->e) < 0)
        fail_msg("%s: %s", err_info(f->e.code)->word, f->e.msg);
    assert_int_equal(ret.unknown_bytes, 0);
    return ret;
}

static void assert_verdict(struct fixture *f, uint64_t damaged)
{
    assert_int_equal(verdict(f).damaged_bytes, damaged);
}

static void run_well(struct fixture *f)
{
    if (run(f) < 0)
        fail_msg("%s: %s", err_info(f->e.code)->word, f->e.msg);
    assert_same_file(f->path, expected);
    assert_true(!tmp_exists(f->part) && !tmp_exists(f->journal));
    assert_verdict(f, 0);
    assert_int_equal(f->p.done, 32 * MIB);
    assert_int_equal(f->p.transferred, f->src.ranges.bytes);
    assert_int_equal(f->p.eta_seconds, 0);
}

static void run_badly(struct fixture *f, enum err_code code)
{
    if (run(f) != -(int)code)
        fail_msg("expected %s, got %s: %s", err_info(code)->word, err_info(f->e.code)->word, f->e.msg);
    assert_false(tmp_exists(f->path));
    assert_null(strstr(f->e.msg, "sig="));
    assert_true(f->e.msg[0]);
}

static void test_sparse(void **state)
{
    struct fixture *f = *state;
    assert_true(f->src.ranges.complete);
    assert_int_equal(f->src.ranges.n, 9);
    assert_int_equal(f->src.ranges.bytes, 8 * MIB + 512);
    unsigned long long before = server_stat(&server, "body_bytes"), connections = server_stat(&server, "connections");
    run_well(f);
    assert_int_equal(server_stat(&server, "body_bytes") - before, f->src.ranges.bytes);
    assert_true(server_stat(&server, "connections") - connections <= 4 + 2); /* kept alive; two are those of server_stat */
    assert_int_equal(f->p.network, f->src.ranges.bytes);
    assert_int_equal(f->p.skipped, 24 * MIB - 512);
    assert_true(f->reports >= 2);
    struct os_stat st;
    assert_int_equal(os_stat(f->path, &st, &f->e), 0);
    assert_int_equal(st.size, 32 * MIB);
    if (os_files_are_sparse())
        assert_in_range(st.allocated, 8 * MIB, 8 * MIB + 8 * MIB / 50);
    else /* the holes were crossed in steps */
        assert_in_range(st.allocated, 8 * MIB + 300 * 4096, 32 * MIB);
    /* once more: nothing is asked */
    before = server_stat(&server, "requests");
    run_well(f);
    assert_int_equal(server_stat(&server, "requests"), before);
}

static void test_connections(void **state)
{
    struct fixture *f = *state;
    f->t.connections = 64;
    f->t.range_bytes = 64 << 10;
    run_well(f);
    assert_int_equal(os_remove(f->path, &f->e), 0);
    f->t.connections = 1;
    f->t.range_bytes = 64 << 20;
    run_well(f);
}

/* Everything that a retry cures. */
static void test_cured(void **state)
{
    struct fixture *f = *state;
    static const char *const faults[] = {
        "status,code=503,retry=1",
        "status,code=429,retry=1",
        "status,code=500,times=3",
        "status,code=502",
        "status,code=504",
        "status,code=408",
        "reset",
        "reset,bytes=0,times=3",
        "short",
        "short,bytes=0,times=2",
        "short,bytes=1,times=3",
        "cut",
        "stall",
        "stall,bytes=100000",
        "stall,bytes=-1",
        "long,bytes=1000",
        "long_length,bytes=512",
        "shift,by=512",
        "garbage",
        "headers,bytes=20000",
        "chunked",
        "no_etag,on=get,times=2",
        "status,code=503,every=3,times=4\nreset,every=4,times=4\nshort,every=5,times=4\nchunked,every=2",
        "no_conditions",
        "changed,on=list,silent=1",
        NULL};
    for (size_t i = 0; faults[i]; i++) {
        printf("fault %s\n", faults[i]);
        server_faults(&server, "");
        reopen(f, server.url);
        server_faults(&server, faults[i]);
        run_well(f);
        assert_int_equal(os_remove(f->path, &f->e), 0);
    }
}

/* Everything that ends the run; the server is well again after, and the download goes on from where it was. */
static void test_fatal(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *fault;
        enum err_code code;
        const char *word; /* in message or hint */
    } cases[] = {
        {"expired,after=10", ERR_SOURCE_DENIED, "AuthenticationFailed"},
        {"status,code=403,xcode=AuthorizationPermissionMismatch,after=10", ERR_SOURCE_DENIED, "permission r"},
        {"status,code=401,xcode=InvalidAuthenticationInfo,after=10", ERR_SOURCE_DENIED, "Entra"},
        {"gone,after=10", ERR_SOURCE_NOT_FOUND, "blob's name"},
        {"changed,after=10", ERR_SOURCE_CHANGED, "412"},
        {"changed,silent=1,after=10", ERR_SOURCE_CHANGED, "ETag"},
        {"total,by=512,after=10", ERR_SOURCE_CHANGED, "length"},
        {"full,after=10", ERR_RANGE_IGNORED, "200"},
        {"truncated,at=20000000", ERR_SOURCE_TRUNCATED, ""},
        {"short,bytes=0,times=0,after=10", ERR_SOURCE_TRUNCATED, "5 answers"},
        {"status,code=503,times=0,after=10", ERR_THROTTLED, "gave up after 5 tries"},
        {"status,code=500,times=0,after=10", ERR_UPSTREAM, "InternalError"},
        {"status,code=400,xcode=InvalidHeaderValue,after=10", ERR_UPSTREAM_FINAL, "InvalidHeaderValue"},
        {"redirect,to=http://127.0.0.1:1/other?sig=secret,after=10", ERR_UPSTREAM_FINAL, "http://127.0.0.1:1/other"},
        {"reset,bytes=0,times=0,after=10", ERR_UNREACHABLE, "127.0.0.1"},
        {"headers,bytes=400000,times=0,after=10", ERR_UPSTREAM, "gave up"},
        {"shift,by=512,times=0,after=10", ERR_UPSTREAM, "another range"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        printf("fault %s\n", cases[i].fault);
        server_faults(&server, cases[i].fault);
        bool closed = str_starts(cases[i].fault, "reset") && tmp_wine_lacks("WSAECONNRESET: a connection that was reset reads as closed");
        run_badly(f, closed ? ERR_SOURCE_TRUNCATED : cases[i].code);
        if (!strstr(f->e.msg, cases[i].word) && !strstr(err_hint_text(&f->e), cases[i].word))
            fail_msg("'%s' and '%s' say nothing of '%s'", f->e.msg, err_hint_text(&f->e), cases[i].word);
        assert_true(tmp_exists(f->part) && tmp_exists(f->journal));
        uint64_t had = f->p.transferred;
        assert_true(had > 0);
        server_faults(&server, "");
        run_well(f);
        assert_int_equal(f->p.network, f->src.ranges.bytes - had); /* not one byte twice */
        assert_int_equal(os_remove(f->path, &f->e), 0);
    }
}

static void test_expired_sas(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *url = str_printf("%s?sv=2020-10-02&se=2099-01-01T00%%3A00%%3A00Z&sp=r&sig=c2VjcmV0", server.url);
    reopen(f, url);
    server_faults(&server, "expired,after=8");
    run_badly(f, ERR_SAS_EXPIRED);
    assert_string_equal(f->e.upstream.service, "azure_storage");
    assert_string_equal(f->e.upstream.code, "AuthenticationFailed");
    assert_int_equal(f->e.upstream.status, 403);
    assert_true(strlen(f->e.upstream.request_id) == 36);
    server_faults(&server, "");
    run_well(f);
}

static void test_stop_and_resume(void **state)
{
    struct fixture *f = *state;
    f->t.connections = 2;
    f->t.range_bytes = 64 << 10;
    f->t.max_bytes_per_second = 4 * MIB;
    uint64_t network = 0;
    unsigned runs = 0;
    for (uint64_t at = 2 * MIB; at < 8 * MIB; at += 2 * MIB, runs++) {
        f->stop_at_bytes = at;
        run_badly(f, ERR_CANCELLED);
        network += f->p.network;
        assert_true(f->p.transferred >= at);
    }
    f->stop_at_bytes = 0;
    run_well(f);
    network += f->p.network;
    assert_int_equal(network, f->src.ranges.bytes); /* stop keeps all that came */
    assert_int_equal(runs, 3);
}

static void test_rate_limit(void **state)
{
    struct fixture *f = *state;
    f->t.max_bytes_per_second = 4 * MIB;
    int64_t start = clock_mono_ms();
    run_well(f);
    int64_t ms = clock_mono_ms() - start;
    assert_true(ms >= 1500); /* 8 MiB at 4 MiB/s, less what the bucket holds at once */
}

static void test_retry_after(void **state)
{
    struct fixture *f = *state;
    server_faults(&server, "status,code=503,retry=2,after=5");
    int64_t start = clock_mono_ms();
    run_well(f);
    assert_true(clock_mono_ms() - start >= 2000);
}

static void test_source_changed_at_resume(void **state)
{
    struct fixture *f = *state;
    f->stop_at_bytes = 1;
    f->t.max_bytes_per_second = 4 * MIB;
    run_badly(f, ERR_CANCELLED);
    f->stop_at_bytes = 0;
    struct blob_info was = f->src.info;
    snprintf(f->src.info.etag, sizeof f->src.info.etag, "\"other\"");
    run_badly(f, ERR_SOURCE_CHANGED);
    f->src.info = was;
    snprintf(f->src.info.last_modified, sizeof f->src.info.last_modified, "Thu, 01 Jan 1970 00:00:00 GMT");
    run_badly(f, ERR_SOURCE_CHANGED);
    f->src.info = was;
    f->t.max_bytes_per_second = 0;
    run_well(f);
}

/* The list fails at the second run: all bytes count as data, but what was done and what was known to be empty stays done. */
static void test_union_of_lists(void **state)
{
    struct fixture *f = *state;
    f->stop_at_bytes = 4 * MIB;
    f->t.connections = 1;
    f->t.max_bytes_per_second = 8 * MIB;
    run_badly(f, ERR_CANCELLED);
    uint64_t had = f->p.network;
    f->stop_at_bytes = 0;
    f->t.max_bytes_per_second = 0;
    struct blob_range all = {0, f->src.info.length};
    struct blob_ranges everything = {.list = &all, .n = 1, .bytes = all.end};
    f->t.ranges = &everything;
    assert_int_equal(run(f), 0);
    assert_same_file(f->path, expected);
    assert_true(f->p.network <= 32 * MIB - 3 * had); /* of each MiB that was done, three holes went with it */
}

static void test_states_after_crash(void **state)
{
    struct fixture *f = *state;
    run_well(f);
    /* between rename and removal of the journal */
    assert_int_equal(os_write_file(f->journal, "x", 1, 0, &f->e), 0);
    run_well(f);
    /* between "all journalled" and the rename: stop in the last moment, so that only the end is left */
    assert_int_equal(os_remove(f->path, &f->e), 0);
    f->stop_at_bytes = f->src.ranges.bytes;
    f->t.max_bytes_per_second = 6 * MIB;
    int r = run(f);
    f->stop_at_bytes = 0;
    if (r < 0)
        run_well(f);
    /* before the journal was made */
    assert_int_equal(os_remove(f->path, &f->e), 0);
    assert_int_equal(os_write_file(f->part, "garbage", 7, 0, &f->e), 0);
    run_well(f);
    /* a journal whose header is damaged: from the start, never a mixture */
    assert_int_equal(os_remove(f->path, &f->e), 0);
    assert_int_equal(os_write_file(f->part, "garbage", 7, 0, &f->e), 0);
    assert_int_equal(os_write_file(f->journal, "damaged", 7, 0, &f->e), 0);
    run_well(f);
    /* an image of another size is not ours */
    assert_int_equal(os_write_file(f->path, "small", 5, 0, &f->e), 0);
    assert_int_equal(run(f), -ERR_IMAGE_DAMAGED);
}

/* Somebody cut or removed what was downloaded so far: its journal counts for nothing, the whole is fetched. */
static void test_damaged_part(void **state)
{
    struct fixture *f = *state;
    for (int removed = 0; removed <= 1; removed++) {
        f->stop_at_bytes = 1;
        f->t.max_bytes_per_second = 4 * MIB;
        run_badly(f, ERR_CANCELLED);
        if (removed) {
            assert_int_equal(os_remove(f->part, &f->e), 0);
        } else {
            struct os_file *part;
            assert_int_equal(os_file_open(f->part, OS_WRITE, &part, &f->e), 0);
            assert_int_equal(os_file_truncate(part, 1000, &f->e), 0);
            os_file_close(part);
        }
        f->stop_at_bytes = 0;
        f->t.max_bytes_per_second = 0;
        run_well(f);
        assert_int_equal(os_remove(f->path, &f->e), 0);
    }
}

static void test_locked(void **state)
{
    struct fixture *f = *state;
    struct os_file *other;
    assert_int_equal(os_file_open(f->part, OS_WRITE | OS_CREATE, &other, &f->e), 0);
    assert_int_equal(os_file_lock(other, &f->e), 0);
    run_badly(f, ERR_LOCKED);
    os_file_close(other);
    run_well(f);
}

static void test_plain_server(void **state)
{
    struct fixture *f = *state;
    struct blob_server plain;
    server_start(&plain, (const char *const[]){"--file", expected, "--mode", "plain", NULL});
    reopen(f, plain.url);
    assert_false(f->src.info.azure || f->src.info.page_blob || f->src.ranges.complete);
    assert_int_equal(f->src.ranges.n, 1);
    run_well(f);
    assert_int_equal(f->p.transferred, 32 * MIB);
    server_faults(&plain, "status,code=403");
    assert_int_equal(os_remove(f->path, &f->e), 0);
    run_badly(f, ERR_SOURCE_DENIED);
    assert_string_equal(f->e.upstream.service, "http");
    server_stop(&plain);
    run_badly(f, ERR_UNREACHABLE);
}

/* A volume of 12 MiB, half of it taken; without a way to make one there is no test. */
static void test_disk_full(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *volume = tmp_volume(dir, 12);
    if (!volume)
        skip();
    AUTO_FREE char *path = tmp_path(volume, "disk.vhd"), *filler = tmp_path(volume, "filler");
    static const char block[6 << 20] = "full";
    assert_int_equal(os_write_file(filler, block, sizeof block, 0, &f->e), 0);
    f->t.path = path;
    run_badly(f, ERR_DISK_FULL);
    assert_non_null(strstr(f->e.msg, "more bytes are needed"));
    uint64_t had = f->p.transferred;
    assert_true(had > 0 || !os_files_are_sparse());
    run_badly(f, ERR_DISK_FULL); /* still */
    assert_true(f->p.transferred >= had);
    had = f->p.transferred;
    assert_int_equal(os_remove(filler, &f->e), 0);
    assert_int_equal(run(f), 0);
    assert_same_file(path, expected);
    assert_int_equal(f->p.network, f->src.ranges.bytes - had);
    tmp_volume_drop(volume);
}

/* Without ETag and Last-Modified nobody knows whether the rest is of the same file: it begins again. */
static void test_no_validators(void **state)
{
    struct fixture *f = *state;
    server_faults(&server, "no_etag");
    reopen(f, server.url);
    f->stop_at_bytes = 2 * MIB;
    f->t.max_bytes_per_second = 8 * MIB;
    run_badly(f, ERR_CANCELLED);
    f->stop_at_bytes = 0;
    f->t.max_bytes_per_second = 0;
    run_well(f);
    assert_int_equal(f->p.network, f->src.ranges.bytes);
}

/* One bit in data, one byte in a hole, a hole where data was: each is found, and nothing else. */
static void test_damage(void **state)
{
    struct fixture *f = *state;
    struct os_file *file;
    uint64_t data = f->src.ranges.list[1].start + 4097, hole = f->src.ranges.list[0].end + 70000;
    char c, zeros[512] = {0};
    run_well(f);
    assert_int_equal(os_file_open(f->path, OS_WRITE, &file, &f->e), 0);
    assert_int_equal(os_file_pread(file, &c, 1, data, &f->e), 0);
    c ^= 8;
    assert_int_equal(os_file_pwrite(file, &c, 1, data, &f->e), 0);
    struct transfer_verdict v = verdict(f);
    assert_int_equal(v.n, 1);
    assert_true(v.list[0].start <= data && data < v.list[0].end && v.damaged_bytes <= MIB);
    c ^= 8;
    assert_int_equal(os_file_pwrite(file, &c, 1, data, &f->e), 0);
    assert_verdict(f, 0);
    assert_int_equal(os_file_pwrite(file, "x", 1, hole, &f->e), 0);
    v = verdict(f);
    assert_true(v.n == 1 && v.list[0].start <= hole && hole < v.list[0].end);
    assert_int_equal(os_file_pwrite(file, zeros, 1, hole, &f->e), 0);
    assert_verdict(f, 0);
    assert_int_equal(os_file_pwrite(file, zeros, sizeof zeros, f->src.ranges.list[2].start, &f->e), 0);
    assert_int_equal(verdict(f).n, 1);
    assert_int_equal(os_file_truncate(file, f->src.info.length - 1, &f->e), 0);
    struct transfer_verify args = {.path = f->path, .length = f->src.info.length};
    assert_int_equal(transfer_verify(&args, &v, &f->e), -ERR_IMAGE_DAMAGED);
    os_file_close(file);
    assert_int_equal(transfer_discard(f->path, &f->e), 0);
    args.length = 0;
    assert_int_equal(transfer_verify(&args, &v, &f->e), -ERR_EMPTY);
}

/* With sums of the service: all of them fit; bytes that were changed on the way come again; a service that refuses one kind gives the other, or
 * none; cut answers are made up for. */
static void test_checks(void **state)
{
    static const struct { const char *faults; bool checked; unsigned hits, again; } cases[] = { /* again: bytes that come twice, at least */
        {"", true, 0, 0},
        {"flip,at=1000000\nflip,at=9000000", true, 2, 128 << 10},
        {"no_crc64", true, 0, 0},
        {"no_crc64\nflip,at=1000000,after=1", true, 1, 64 << 10},
        {"no_crc64\nno_md5", false, 0, 0},
        {"reset,bytes=150000,times=4,every=3", true, 4, 0},    /* a reset may take along what was not read yet */
        {"short,bytes=70000,times=4,every=2", true, 4, 0},
        {"chunked\nflip,at=1000000", true, 1, 64 << 10},
        {"chunked", true, 0, 0},
    };
    struct fixture *f = *state;
    f->t.checks = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("faults %s\n", cases[i].faults);
        unsigned long long before = server_stat(&server, "faults");
        server_faults(&server, cases[i].faults);
        run_well(f);
        assert_int_equal(f->p.checked, cases[i].checked ? f->src.ranges.bytes : 0);
        assert_true(f->p.network >= f->src.ranges.bytes + cases[i].again);
        if (cases[i].hits) assert_true(server_stat(&server, "faults") - before >= cases[i].hits);
        assert_int_equal(os_remove(f->path, &f->e), 0);
    }
    server_faults(&server, "flip,at=1000000,times=0");
    run_badly(f, ERR_UPSTREAM);
    assert_non_null(strstr(f->e.msg, "CRC-64"));
    f->t.checks = false;
    server_faults(&server, "");
    run_well(f);                                     /* and goes on from there */
}

/* What another map left out is not taken for done. */
static void test_another_map(void **state)
{
    struct fixture *f = *state;
    static const uint8_t map[SHA256_LEN] = {7};
    struct blob_range some[] = {f->src.ranges.list[0]}, *all = f->src.ranges.list;
    struct blob_ranges whole = f->src.ranges, cut = {.list = some, .n = 1, .bytes = some[0].end - some[0].start, .complete = true};
    f->t.ranges = &cut;
    f->t.map_hash = map;
    f->stop_at_bytes = 1;
    f->t.max_bytes_per_second = 256 << 10;
    run_badly(f, ERR_CANCELLED);
    f->stop_at_bytes = 0;
    f->t.max_bytes_per_second = 0;
    f->t.ranges = &whole;
    f->t.map_hash = NULL;
    assert_ptr_equal(whole.list, all);
    run_well(f);
    assert_int_equal(f->p.network, f->src.ranges.bytes);
}

static void test_bad_arguments(void **state)
{
    struct fixture *f = *state;
    struct blob_range list[] = {{0, 512}, {100, 200}};
    struct blob_ranges ranges = {.list = list, .n = 2};
    f->t.ranges = &ranges;
    assert_int_equal(run(f), -ERR_INTERNAL);
    list[1] = (struct blob_range){512, 33 * MIB};
    assert_int_equal(run(f), -ERR_INTERNAL);
    f->t.ranges = &f->src.ranges;
    f->t.connections = 65;
    assert_int_equal(run(f), -ERR_INTERNAL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_sparse),         T(test_connections),        T(test_cured),
        T(test_fatal),          T(test_expired_sas),        T(test_stop_and_resume),
        T(test_rate_limit),     T(test_retry_after),        T(test_source_changed_at_resume),
        T(test_union_of_lists), T(test_states_after_crash), T(test_damaged_part),
        T(test_locked),         T(test_disk_full),          T(test_plain_server),
        T(test_no_validators),  T(test_damage), T(test_another_map), T(test_checks), T(test_bad_arguments),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

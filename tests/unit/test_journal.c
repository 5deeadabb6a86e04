/* Spans, the journal torn at every byte, and the pace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/transfer/committer.h"
#include "storage/transfer/journal.h"
#include "storage/transfer/pace.h"
#include "tests/unit/tmp.h"

#define LENGTH 1000000u

static char *dir, *path;
static const struct journal_source source = {
    .length = LENGTH, .etag = "\"0x1\"", .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT", .list_hash = {1}};

static int setup(void **state)
{
    (void)state;
    dir = tmp_make();
    path = tmp_path(dir, "j");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(path);
    tmp_remove(dir);
    return 0;
}

/* Against the simplest model: one flag a byte. */
static void test_spans(void **state)
{
    (void)state;
    static bool model[600];
    struct spans s = {0};
    unsigned seed = 12345;
    memset(model, 0, sizeof model);
    for (int round = 0; round < 2000; round++) {
        if (round % 100 == 0) {
            spans_free(&s);
            memset(model, 0, sizeof model);
        }
        seed = seed * 1103515245u + 12345;
        uint64_t start = seed / 65536 % 580, end = start + seed / 7 % 20;
        assert_true(spans_add(&s, start, end));
        for (uint64_t i = start; i < end; i++)
            model[i] = true;
        size_t n = 0;
        for (uint64_t i = 0; i < 600; i++) {
            const struct blob_range *r = spans_from(&s, i);
            assert_true(model[i] == (r && r->start <= i));
            n += model[i] && (i == 0 || !model[i - 1]);
        }
        assert_int_equal(s.n, n); /* merged wherever they touch */
        struct blob_range list[] = {{0, 100}, {150, 151}, {300, 600}};
        uint64_t common = 0;
        for (size_t i = 0; i < 3; i++)
            for (uint64_t b = list[i].start; b < list[i].end; b++)
                common += model[b];
        assert_int_equal(spans_common(&s, &(struct blob_ranges){.list = list, .n = 3}), common);
    }
    spans_free(&s);
}

static struct journal *make(void)
{
    struct err e;
    struct journal *j;
    if (journal_create(path, &source, &j, &e) < 0)
        fail_msg("%s", e.msg);
    return j;
}

static void append(struct journal *j, uint64_t start, uint64_t end)
{
    struct err e;
    struct blob_range r = {start, end};
    struct spans s = {.list = &r, .n = 1};
    if (journal_append(j, &s, &e) < 0)
        fail_msg("%s", e.msg);
}

static struct journal *reopen(void)
{
    struct err e;
    struct journal *j;
    bool damaged;
    if (journal_open(path, &source, &j, &damaged, &e) < 0)
        fail_msg("%s", e.msg);
    return j;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct err e;
    bool damaged;
    struct journal *j;
    assert_int_equal(journal_open(path, &source, &j, &damaged, &e), -ERR_EMPTY);
    assert_false(damaged);
    j = make();
    append(j, 0, 1000);
    append(j, 2000, 3000);
    journal_close(j);
    j = reopen();
    append(j, 1000, 2000);
    journal_close(j);
    j = reopen();
    assert_int_equal(journal_spans(j)->n, 1);
    assert_int_equal(journal_spans(j)->list[0].end, 3000);
    assert_false(journal_list_differs(j));
    journal_close(j);
    struct journal_source other = source;
    other.list_hash[0] = 2;
    assert_int_equal(journal_open(path, &other, &j, &damaged, &e), 0);
    assert_true(journal_list_differs(j));
    journal_close(j);
    other = source;
    other.length++;
    assert_int_equal(journal_open(path, &other, &j, &damaged, &e), -ERR_SOURCE_CHANGED);
    other = source;
    other.etag = "\"0x2\"";
    assert_int_equal(journal_open(path, &other, &j, &damaged, &e), -ERR_SOURCE_CHANGED);
    assert_non_null(strstr(e.msg, "0x2"));
    other = source;
    other.last_modified = "";
    assert_int_equal(journal_open(path, &other, &j, &damaged, &e), -ERR_SOURCE_CHANGED);
    assert_int_equal(journal_remove(path, &e), 0);
    assert_int_equal(journal_remove(path, &e), 0);
}

static void test_torn_everywhere(void **state)
{
    (void)state;
    struct err e;
    struct journal *j = make();
    for (uint64_t i = 0; i < 5; i++)
        append(j, i * 1000, i * 1000 + 500);
    journal_close(j);
    char *data;
    size_t n;
    assert_int_equal(os_read_file(path, 1 << 20, &data, &n, &e), 0);
    assert_int_equal(n, JOURNAL_HEADER + 5 * JOURNAL_RECORD);
    for (size_t cut = 0; cut <= n; cut++) {
        assert_int_equal(os_write_file(path, data, cut, 0, &e), 0);
        bool damaged;
        int r = journal_open(path, &source, &j, &damaged, &e);
        if (cut < JOURNAL_HEADER) {
            assert_true(r == -ERR_EMPTY && damaged);
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(journal_spans(j)->n, (cut - JOURNAL_HEADER) / JOURNAL_RECORD);
        append(j, 900000, 900100); /* takes the place of the torn record */
        journal_close(j);
        j = reopen();
        assert_int_equal(journal_spans(j)->n, (cut - JOURNAL_HEADER) / JOURNAL_RECORD + 1);
        journal_close(j);
    }
    /* One wrong bit: the journal ends before that record, or is not used at all. Never is anything else believed. */
    for (size_t at = 0; at < n; at++) {
        data[at] = (char)(data[at] ^ (1 << at % 8));
        assert_int_equal(os_write_file(path, data, n, 0, &e), 0);
        data[at] = (char)(data[at] ^ (1 << at % 8));
        bool damaged;
        int r = journal_open(path, &source, &j, &damaged, &e);
        if (at < JOURNAL_HEADER) {
            assert_true(r == -ERR_EMPTY && damaged);
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(journal_spans(j)->n, (at - JOURNAL_HEADER) / JOURNAL_RECORD);
        journal_close(j);
    }
    free(data);
}

static void test_foreign_records(void **state)
{
    (void)state;
    struct err e;
    char *old, *new;
    size_t n, m;
    struct journal *j = make();
    append(j, 0, 500);
    journal_close(j);
    assert_int_equal(os_read_file(path, 1 << 20, &old, &n, &e), 0);
    struct journal_source other = source;
    other.etag = "\"0x2\"";
    assert_int_equal(journal_create(path, &other, &j, &e), 0);
    journal_close(j);
    assert_int_equal(os_read_file(path, 1 << 20, &new, &m, &e), 0);
    memcpy(old, new, JOURNAL_HEADER); /* a record of another journal behind this header */
    assert_int_equal(os_write_file(path, old, n, 0, &e), 0);
    bool damaged;
    assert_int_equal(journal_open(path, &other, &j, &damaged, &e), 0);
    assert_int_equal(journal_spans(j)->n, 0);
    journal_close(j);
    free(old);
    free(new);
}

static void test_bounded(void **state)
{
    (void)state;
    struct err e;
    struct os_stat st;
    struct journal *j = make();
    uint64_t most = 0;
    for (unsigned i = 0; i < 4 * JOURNAL_COMPACT_BYTES / JOURNAL_RECORD; i++) {
        append(j, i % 20000 * 40, i % 20000 * 40 + (i % 3 ? 40 : 30));
        if (i % 100 == 0) {
            assert_int_equal(os_stat(path, &st, &e), 0);
            if (st.size > most)
                most = st.size;
        }
    }
    size_t n = journal_spans(j)->n;
    assert_true(most <= JOURNAL_HEADER + JOURNAL_COMPACT_BYTES + 2 * n * JOURNAL_RECORD);
    assert_true(most > JOURNAL_COMPACT_BYTES / 2);
    journal_close(j);
    j = reopen();
    assert_int_equal(journal_spans(j)->n, n);
    journal_close(j);
}

static void test_pace(void **state)
{
    (void)state;
    struct pace p;
    pace_init(&p, 8, 0, 1000);
    assert_int_equal(pace_connections(&p), 8);
    assert_true(pace_may_take(&p));
    pace_slow_down(&p, 2000, 3000);
    pace_slow_down(&p, 2100, 0); /* the same overload */
    assert_int_equal(pace_connections(&p), 4);
    assert_int_equal(pace_open_at(&p), 5000);
    pace_slow_down(&p, 3000, 0);
    assert_int_equal(pace_connections(&p), 2);
    for (int i = 0; i < 2; i++)
        pace_went_well(&p, 5000);
    assert_int_equal(pace_connections(&p), 3);
    for (int i = 0; i < 1000; i++)
        pace_went_well(&p, 5000);
    assert_int_equal(pace_connections(&p), 8);
    for (int i = 0; i < 20; i++)
        pace_slow_down(&p, 10000 + i * 1000, 0);
    assert_int_equal(pace_connections(&p), 1);

    pace_init(&p, 16, 1000000, 0); /* 1 MB/s: 7 connections are enough */
    assert_int_equal(pace_connections(&p), 7);
    uint64_t taken = 0;
    for (int64_t ms = 0; ms <= 10000; ms += 10) {
        pace_refill(&p, ms);
        while (pace_may_take(&p)) {
            pace_take(&p, 16384);
            taken += 16384;
        }
    }
    assert_in_range(taken, 9900000, 10300000);
    pace_set_limit(&p, 2000000, 10000);              /* while it runs */
    taken = 0;
    for (int64_t ms = 10000; ms <= 20000; ms += 10) {
        pace_refill(&p, ms);
        while (pace_may_take(&p)) {
            pace_take(&p, 16384);
            taken += 16384;
        }
    }
    assert_in_range(taken, 19800000, 20600000);
    pace_set_limit(&p, 0, 20000);
    assert_true(pace_may_take(&p));
    assert_int_equal(pace_connections(&p), 8);
}

/* A link that gives each connection 10 MB/s up to so many: connections at the end of a minute. */
static unsigned grown(unsigned most, unsigned useful)
{
    struct pace p;
    uint64_t bytes = 0;
    pace_init(&p, most, 0, 0);
    assert_true(pace_connections(&p) <= PACE_FIRST);
    for (int64_t ms = 0; ms <= 60000; ms += 100) {
        unsigned n = pace_connections(&p);
        bytes += 1000000ull * (n < useful ? n : useful);
        pace_measure(&p, ms, bytes);
        assert_true(pace_connections(&p) <= most);
    }
    return pace_connections(&p);
}

static void test_pace_grows(void **state)
{
    (void)state;
    assert_int_equal(grown(64, 64), 64);
    assert_int_equal(grown(64, 32), 32);
    assert_int_equal(grown(64, 8), 8);
    assert_int_equal(grown(64, 1), 8);
    assert_int_equal(grown(24, 64), 24);
    assert_int_equal(grown(4, 64), 4);
    struct pace p;
    pace_init(&p, 64, 0, 0);
    pace_measure(&p, 1000, 80000000);
    assert_int_equal(pace_connections(&p), 16);
    pace_slow_down(&p, 1500, 0);                     /* the service minds: no more than that for now */
    assert_int_equal(pace_connections(&p), 8);
    for (int i = 0; i < 100; i++) {
        pace_went_well(&p, 3000);
        pace_measure(&p, 3000 + i * 100, 80000000 + (uint64_t)i * 16000000);
    }
    assert_int_equal(pace_connections(&p), 16);
}

static void test_gauge(void **state)
{
    (void)state;
    struct gauge g = {0};
    assert_int_equal(gauge_rate(&g, 0, 0), 0);
    uint64_t rate = 0;
    for (int i = 1; i <= 40; i++)
        rate = gauge_rate(&g, i * 500, (uint64_t)(i < 20 ? 0 : i - 20) * 500000);
    assert_int_equal(rate, 1000000); /* only the last seconds count */
}

/* Data before journal: where the data cannot be made durable, the journal says nothing of it. */
static void test_order(void **state)
{
    (void)state;
    struct err e;
    struct os_file *file;
    struct target *good, *bad;
    struct committer *c;
    AUTO_FREE char *data = tmp_path(dir, "data");
    assert_int_equal(os_write_file(data, "data", 4, 0, &e), 0);
    assert_int_equal(os_file_open(data, OS_WRITE, &file, &e), 0);
    assert_int_equal(target_of_file(file, 4, &good, &e), 0);
    assert_int_equal(target_of_file(tmp_unsyncable(dir), 4, &bad, &e), 0);
    for (int broken = 0; broken <= 1; broken++) {
        struct journal *j = make();
        struct spans s = {0};
        assert_int_equal(committer_start(broken ? bad : good, NULL, j, &c, &e), 0);
        assert_true(spans_add(&s, 1000, 2000));
        committer_push(c, &s, NULL);
        assert_int_equal(s.n, 0);
        int r = committer_wait(c, &e);
        assert_true(broken ? r < 0 : r == 0);
        if (broken)                                  /* and it stays so, whatever comes */
            assert_true(committer_poll(c, &e) < 0 && committer_wait(c, &e) < 0);
        committer_stop(c);
        journal_close(j);
        j = reopen();
        assert_int_equal(journal_spans(j)->n, broken ? 0 : 1);
        journal_close(j);
    }
    target_close(good);
    target_close(bad);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans), T(test_round_trip), T(test_torn_everywhere),
        T(test_foreign_records),      T(test_bounded),    cmocka_unit_test(test_pace), cmocka_unit_test(test_pace_grows),
        cmocka_unit_test(test_gauge), T(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

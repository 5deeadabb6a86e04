/* The queue: order, lanes, dependencies, backoff, flags, recovery; the plan and the cost of a claim; many threads; and a long
 * random walk whose every step is judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "db/event.h"
#include "db/state.h"
#include "tests/unit/db_util.h"

#define TWO_DISKS \
    "{'disks':[{'source':{'type':'blob','url':'https://a.example/c/a.vhd'}},{'source':{'type':'blob','url':'https://a.example/c/b.vhd'}}]}"

static void test_graph_runs_in_order(void **state)
{
    struct fixture *f = *state;
    char id[UUID_LEN];
    make_job(f->db, TWO_DISKS, id);
    assert_int_equal(state_of(f->db, id), JOB_QUEUED);
    claim(f->db, LANE_NETWORK, TASK_KINDS);          /* export is skipped, yet download waits for preflight */
    claim(f->db, LANE_DISK, TASK_KINDS);
    int64_t preflight = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);
    claim(f->db, LANE_HYPERVISOR, TASK_KINDS);
    claim(f->db, LANE_NETWORK, TASK_KINDS);
    finish(f->db, preflight, OUTCOME_SUCCEEDED);
    int64_t a = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD), b = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    assert_true(a < b);                              /* side by side, first disk first */
    claim(f->db, LANE_NETWORK, TASK_KINDS);
    finish(f->db, b, OUTCOME_SUCCEEDED);
    claim(f->db, LANE_HYPERVISOR, TASK_KINDS);       /* needs both */
    finish(f->db, a, OUTCOME_SUCCEEDED);
    run_one(f->db, TASK_CREATE_VM);
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);
    check_consistent(f->path);
    run_one(f->db, TASK_START_VM);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
}

static void test_skipped(void **state)
{
    struct fixture *f = *state;
    static const struct { const char *spec, *runs; } rows[] = {
        {"{'disks':[{'source':{'type':'blob','url':'https://a.example/c/a.vhd'}}],'until':'download'}", "preflight,download"},
        {"{'disks':[{'source':{'type':'blob','url':'https://a.example/c/a.vhd'}}],'until':'preflight'}", "preflight"},
        {"{'disks':[{'source':{'type':'blob','url':'https://a.example/c/a.vhd'}}],'until':'export'}", "preflight"},
        {"{'disks':[{'source':{'type':'blob','url':'https://a.example/c/a.vhd'}}],'vm':{'start':false}}", "preflight,download,create_vm"},
        {"{'disks':[{'source':{'type':'file','path':'@/a.vhd'}}]}", "preflight,create_vm,start_vm"},
        {"{'disks':[{'source':{'type':'file','path':'@/a.vhd'}},{'source':{'type':'blank','size':1048576}}]}",
         "preflight,download,create_vm,start_vm"},
        {"{'disks':[{'source':{'type':'file','path':'@/a.vhd'}}],'until':'download'}", "preflight"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char id[UUID_LEN];
        make_job(f->db, rows[i].spec, id);
        AUTO_FREE char *sql = str_printf("SELECT group_concat(kind) FROM (SELECT kind FROM task JOIN job ON job.seq = task.job WHERE job.id = '%s' AND"
                                         " task.state <> 'skipped' ORDER BY task.id)", id);
        assert_ask(f->path, sql, rows[i].runs);
        run_all(f->db);
        assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    }
    check_consistent(f->path);
}

static void test_oldest_first(void **state)
{
    struct fixture *f = *state;
    char id[3][UUID_LEN];
    for (int i = 0; i < 3; i++)
        make_job(f->db, NULL, id[i]);
    for (int i = 0; i < 3; i++) {
        struct task t;
        uint64_t wait;
        struct err err;
        ok(task_claim(f->db, LANE_HYPERVISOR, &t, &wait, &err));
        assert_string_equal(t.job_id, id[i]);
        assert_int_equal(t.attempts, 1);
        assert_true(t.started_at_ms > 0);
        task_clear(&t);
    }
}

static void test_backoff(void **state)
{
    struct fixture *f = *state;
    char id[UUID_LEN];
    struct err err, why;
    struct task t;
    uint64_t wait;
    make_job(f->db, NULL, id);
    int64_t task = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    err_set(&why, ERR_UNREACHABLE, "no answer from a.example");
    snprintf(why.upstream.service, sizeof why.upstream.service, "azure_storage");
    why.upstream.status = 503;
    ok(task_finish(f->db, task, OUTCOME_RETRY, &why, 60000, NULL, &err));
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);
    fails(task_claim(f->db, LANE_HYPERVISOR, &t, &wait, &err), ERR_EMPTY);
    assert_true(wait > 30000 && wait <= 60000);
    fails(task_claim(f->db, LANE_NETWORK, &t, &wait, &err), ERR_EMPTY);
    assert_true(wait == UINT64_MAX);
    struct job *j;
    ok(job_get(f->db, id, &j, &err));
    assert_int_equal(j->tasks[0].state, TASK_PENDING);
    assert_int_equal(j->tasks[0].attempts, 1);
    assert_int_equal(j->tasks[0].error.code, ERR_UNREACHABLE);
    assert_string_equal(j->tasks[0].error.msg, "no answer from a.example");
    assert_int_equal(j->tasks[0].error.upstream.status, 503);
    assert_true(j->tasks[0].not_before_ms > clock_now_ms());
    job_free(j);
    /* a short one ends by itself, and a newer job that can start at once does not wait for it */
    char second[UUID_LEN];
    make_job(f->db, NULL, second);
    int64_t other = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(task_finish(f->db, other, OUTCOME_RETRY, &why, 20, NULL, &err));
    do
        clock_sleep_ms(5);
    while (task_claim(f->db, LANE_HYPERVISOR, &t, &wait, &err) == -ERR_EMPTY);
    assert_int_equal(t.id, other);
    assert_int_equal(t.attempts, 2);
    assert_int_equal(t.error.code, ERR_OK);
    task_clear(&t);
    check_consistent(f->path);
}

static void test_heartbeat(void **state)
{
    struct fixture *f = *state;
    char id[UUID_LEN];
    struct err err;
    struct task_flags flags;
    struct job *j;
    make_job(f->db, NULL, id);
    run_one(f->db, TASK_PREFLIGHT);
    int64_t task = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    struct task_progress p = {.total = 1000, .done = 600, .transferred = 400, .skipped = 200, .bytes_per_second = UINT64_MAX, .eta_seconds = 4};
    AUTO_FREE char *events = ask(f->path, "SELECT count(*) FROM event");
    ok(task_heartbeat(f->db, task, &p, &flags, &err));
    assert_ask(f->path, "SELECT count(*) FROM event", events);
    assert_false(flags.pause || flags.cancel);
    ok(job_get(f->db, id, &j, &err));
    const struct task *t = &j->tasks[3];
    assert_int_equal(t->kind, TASK_DOWNLOAD);
    assert_int_equal(t->progress.total, 1000);
    assert_int_equal(t->progress.done, 600);
    assert_int_equal(t->progress.transferred, 400);
    assert_int_equal(t->progress.skipped, 200);
    assert_true(t->progress.bytes_per_second == INT64_MAX);
    assert_int_equal(t->progress.eta_seconds, 4);
    job_free(j);
    ok(job_pause(f->db, id, &err));
    ok(task_heartbeat(f->db, task, NULL, &flags, &err));
    assert_true(flags.pause && !flags.cancel);
    ok(job_cancel(f->db, id, &err));
    ok(task_heartbeat(f->db, task, NULL, &flags, &err));
    assert_true(!flags.pause && flags.cancel);
    finish(f->db, task, OUTCOME_CANCELLED);
    fails(task_heartbeat(f->db, task, NULL, &flags, &err), ERR_NOT_FOUND);
    fails(task_heartbeat(f->db, 999, NULL, &flags, &err), ERR_NOT_FOUND);
    check_consistent(f->path);
}

static void test_moves_that_are_none(void **state)
{
    struct fixture *f = *state;
    char id[UUID_LEN];
    struct err err;
    make_job(f->db, NULL, id);
    AUTO_FREE char *before = dump_all(f->path);
    for (int o = OUTCOME_SUCCEEDED; o <= OUTCOME_RETRY; o++) {
        fails(task_finish(f->db, 1, (enum task_outcome)o, NULL, 0, NULL, &err), ERR_WRONG_STATE);      /* pending */
        fails(task_finish(f->db, 99, (enum task_outcome)o, NULL, 0, NULL, &err), ERR_NOT_FOUND);
    }
    AUTO_FREE char *after = dump_all(f->path);
    assert_string_equal(before, after);
    int64_t task = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    fails(task_finish(f->db, task, OUTCOME_CANCELLED, NULL, 0, NULL, &err), ERR_WRONG_STATE);          /* nobody asked */
    finish(f->db, task, OUTCOME_SUCCEEDED);
    fails(task_finish(f->db, task, OUTCOME_SUCCEEDED, NULL, 0, NULL, &err), ERR_WRONG_STATE);          /* twice */
    check_consistent(f->path);
}

static void test_recover(void **state)
{
    struct fixture *f = *state;
    char id[UUID_LEN], gone[UUID_LEN];
    struct err err;
    size_t n;
    make_job(f->db, TWO_DISKS, id);
    make_job(f->db, NULL, gone);
    run_one(f->db, TASK_PREFLIGHT);
    claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(job_cancel(f->db, gone, &err));
    assert_int_equal(state_of(f->db, gone), JOB_RUNNING);
    ok(task_recover(f->db, &n, &err));
    assert_int_equal(n, 3);
    assert_int_equal(state_of(f->db, gone), JOB_CANCELLED);          /* nothing runs any more */
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);
    check_consistent(f->path);
    struct task t;
    uint64_t wait;
    ok(task_claim(f->db, LANE_NETWORK, &t, &wait, &err));
    assert_int_equal(t.attempts, 1);                 /* the death used none up */
    task_clear(&t);
    ok(task_recover(f->db, &n, &err));
    ok(task_recover(f->db, &n, &err));
    assert_int_equal(n, 0);
}

/* ---- cost ---- */

static void test_claim_plan(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *sql = str_printf("EXPLAIN QUERY PLAN %s", task_claim_sql);
    sqlite3_stmt *q;
    int by_index = 0, rows = 0;
    assert_int_equal(sqlite3_prepare_v2(f->db->conn, sql, -1, &q, NULL), SQLITE_OK);
    for (; sqlite3_step(q) == SQLITE_ROW; rows++) {
        const char *step = (const char *)sqlite3_column_text(q, 3);
        if (strstr(step, "SCAN task"))
            fail_msg("the claim walks through all tasks: %s", step);
        by_index += strstr(step, "SEARCH task USING") && strstr(step, "INDEX task_claimable (lane=? AND not_before_ms");
    }
    sqlite3_finalize(q);
    assert_true(rows > 3);
    assert_int_equal(by_index, 3);
}

static int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct cost { int64_t claim_us, list_us, counts_us; };

/* The shortest of many: what else the machine is busy with is not ours. */
static struct cost measure(struct db *db)
{
    enum { ROUNDS = 151 };
    int64_t claims[ROUNDS], lists[ROUNDS], counts_us[ROUNDS];
    struct err err;
    for (int i = 0; i < ROUNDS; i++) {
        struct task t;
        uint64_t wait, counts[JOB_STATES];
        struct job **jobs;
        size_t n;
        int64_t start = now_us();
        ok(task_claim(db, LANE_HYPERVISOR, &t, &wait, &err));
        claims[i] = now_us() - start;
        finish(db, t.id, OUTCOME_PARKED);
        task_clear(&t);
        start = now_us();
        ok(job_list(db, JOB_FAILED, 0, 20, &jobs, &n, &err));
        lists[i] = now_us() - start;
        assert_int_equal(n, 20);
        job_list_free(jobs, n);
        start = now_us();
        ok(job_counts(db, counts, &err));
        counts_us[i] = now_us() - start;
    }
    qsort(claims, ROUNDS, sizeof *claims, by_value);
    qsort(lists, ROUNDS, sizeof *lists, by_value);
    qsort(counts_us, ROUNDS, sizeof *counts_us, by_value);
    return (struct cost){claims[0], lists[0], counts_us[0]};
}

static void test_claim_cost(void **state)
{
    struct fixture *f = *state;
    struct err err;
    sqlite3_exec(f->db->conn, "PRAGMA synchronous = OFF", NULL, NULL, NULL);       /* what is measured is not the disk */
    for (int i = 0; i < 100; i++) {                  /* a fourth each: succeeded, failed, paused or in backoff, queued */
        char id[UUID_LEN];
        make_job(f->db, NULL, id);
        if (i % 4 == 0)
            run_all(f->db);
        else if (i % 4 == 1)
            finish(f->db, claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT), OUTCOME_FAILED);
        else if (i % 8 == 2)
            ok(job_pause(f->db, id, &err));
        else if (i % 8 == 6)
            ok(task_finish(f->db, claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT), OUTCOME_RETRY, NULL, 3600000, NULL, &err));
    }
    check_consistent(f->path);
    struct cost small = measure(f->db);
    /* 99 copies of everything */
    static const char copy[] =
        "CREATE TEMP TABLE k (k INTEGER); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99) INSERT INTO k SELECT i FROM n;"
        "BEGIN;"
        "INSERT INTO job SELECT seq + k * 1000, substr(id, 1, 30) || printf('%06d', seq + k * 1000), spec, state, paused, cancel_requested,"
        " delete_requested, created_at_ms, updated_at_ms, vm_id, generation, NULL, NULL, volume FROM job, k;"
        "INSERT INTO disk SELECT job + k * 1000, disk, credential, url, sealed_url, path, format, virtual_size, origin, target, access,"
        " storage_credential FROM disk, k;"
        "CREATE TEMP TABLE t AS SELECT * FROM task; UPDATE t SET id = id + 100000, job = job + 1000;"
        "INSERT INTO task SELECT id + (k - 1) * 100000, job + (k - 1) * 1000, kind, disk, lane, state, unmet, held, attempts, not_before_ms,"
        " started_at_ms, finished_at_ms, heartbeat_at_ms, total_bytes, done_bytes, transferred_bytes, skipped_bytes, bytes_per_second, eta_seconds,"
        " error, params FROM t, k;"
        "INSERT INTO task_need SELECT needs + k * 100000, task + k * 100000 FROM task_need, k;"
        "COMMIT";
    char *why = NULL;
    if (sqlite3_exec(f->db->conn, copy, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
    assert_ask(f->path, "SELECT count(*) FROM job", "10000");
    struct cost large = measure(f->db);
    print_message("100 jobs: claim %d us, list %d us, counts %d us; 10,000 jobs: claim %d us, list %d us, counts %d us\n", (int)small.claim_us,
                  (int)small.list_us, (int)small.counts_us, (int)large.claim_us, (int)large.list_us, (int)large.counts_us);
    assert_true(large.claim_us < 3 * small.claim_us + 100);
    assert_true(large.list_us < 3 * small.list_us + 100);
}

/* ---- many threads ---- */

#define CONTENDERS 4
#define CONTESTED_JOBS 40

struct contender {
    struct fixture *f;
    uint32_t seed;
    int finished[1000];                              /* by task id */
    const char *trouble;
};

static uint32_t rnd(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void *contend(void *arg)
{
    struct contender *c = arg;
    struct err err;
    struct db *db;
    if (db_open(c->f->path, c->f->box, &db, &err) < 0) {
        c->trouble = "cannot open";
        return NULL;
    }
    for (int idle = 0; idle < 50 && !c->trouble;) {
        bool any = false;
        for (int lane = 0; lane < LANES && !c->trouble; lane++) {
            struct task t;
            struct task_flags flags;
            uint64_t wait;
            int r = task_claim(db, (enum task_lane)lane, &t, &wait, &err);
            if (r == -ERR_EMPTY)
                continue;
            any = true;
            if (r < 0)
                c->trouble = "claim failed";
            else if (task_heartbeat(db, t.id, &t.progress, &flags, &err) < 0)
                c->trouble = "heartbeat failed";
            else {
                uint32_t dice = rnd(&c->seed) % 10;
                enum task_outcome o = dice == 0 ? OUTCOME_PARKED : dice == 1 ? OUTCOME_RETRY : OUTCOME_SUCCEEDED;
                if (task_finish(db, t.id, o, NULL, 0, NULL, &err) < 0)
                    c->trouble = "finish failed";
                else if (o == OUTCOME_SUCCEEDED)
                    c->finished[t.id]++;
            }
            task_clear(&t);
        }
        idle = any ? 0 : idle + 1;
        if (!any)
            clock_sleep_ms(2);
    }
    db_close(db);
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    char ids[CONTESTED_JOBS][UUID_LEN];
    struct contender *c = calloc(CONTENDERS, sizeof *c);
    pthread_t threads[CONTENDERS];
    assert_non_null(c);
    for (int i = 0; i < CONTESTED_JOBS; i++)
        make_job(f->db, i % 2 ? TWO_DISKS : NULL, ids[i]);
    for (uint32_t i = 0; i < CONTENDERS; i++) {
        c[i] = (struct contender){.f = f, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, contend, &c[i]), 0);
    }
    for (int i = 0; i < CONTENDERS; i++) {
        pthread_join(threads[i], NULL);
        if (c[i].trouble)
            fail_msg("thread %d: %s", i, c[i].trouble);
    }
    int runs = 0;
    for (int id = 0; id < 1000; id++) {
        int times = 0;
        for (int i = 0; i < CONTENDERS; i++)
            times += c[i].finished[id];
        assert_in_range(times, 0, 1);
        runs += times;
    }
    free(c);
    assert_int_equal(runs, CONTESTED_JOBS / 2 * (4 + 5));
    for (int i = 0; i < CONTESTED_JOBS; i++)
        assert_int_equal(state_of(f->db, ids[i]), JOB_SUCCEEDED);
    check_consistent(f->path);
}

struct waiter { struct fixture *f; const char *id; struct err err; int r; };

static void *pause_from_afar(void *arg)
{
    struct waiter *w = arg;
    struct db *db;
    w->r = db_open(w->f->path, w->f->box, &db, &w->err);
    if (w->r == 0) {
        w->r = job_pause(db, w->id, &w->err);
        db_close(db);
    }
    return NULL;
}

/* Who finds another writer at work waits for it and then sees what it wrote. */
static void test_writers_take_turns(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    pthread_t thread;
    make_job(f->db, NULL, id);
    struct waiter w = {.f = f, .id = id};
    struct sql_tx tx = {0};
    ok(sql_begin(f->db, &tx, &err));
    assert_int_equal(sql_run(f->db, &err, "UPDATE job SET updated_at_ms = updated_at_ms + 1"), 1);
    assert_int_equal(pthread_create(&thread, NULL, pause_from_afar, &w), 0);
    clock_sleep_ms(100);
    ok(sql_commit(&tx, &err));
    pthread_join(thread, NULL);
    ok_at(w.r, &w.err, "job_pause", __FILE__, __LINE__);
    assert_int_equal(state_of(f->db, id), JOB_PAUSED);
    check_consistent(f->path);
}

/* ---- a random walk ---- */

static void test_random_walk(void **state)
{
    enum { JOBS = 6, STEPS = 1500 };
    struct fixture *f = *state;
    uint32_t seed = 20;
    char ids[JOBS][UUID_LEN] = {{0}};
    int64_t running[64];
    size_t n_running = 0, n;
    int seen[JOB_STATES] = {0}, moved = 0;
    struct err err;
    sqlite3_exec(f->db->conn, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    for (int step = 0; step < STEPS; step++) {
        char *id = ids[rnd(&seed) % JOBS];
        uint32_t dice = rnd(&seed) % 100;
        int r = 0;
        if (!id[0]) {
            make_job(f->db, dice % 2 ? TWO_DISKS : NULL, id);
        } else if (dice < 35) {
            struct task t;
            for (uint32_t lane = 0; lane < LANES; lane++)
                if ((r = task_claim(f->db, (enum task_lane)((dice + lane) % LANES), &t, NULL, &err)) != -ERR_EMPTY)
                    break;
            if (r == 0) {
                running[n_running++] = t.id;
                task_clear(&t);
            }
        } else if (dice < 70 && n_running) {
            size_t i = rnd(&seed) % n_running;
            enum task_outcome o = (enum task_outcome)(rnd(&seed) % 8);
            if (o > OUTCOME_RETRY)
                o = OUTCOME_SUCCEEDED;
            r = task_finish(f->db, running[i], o, NULL, 0, NULL, &err);
            if (r == 0)
                running[i] = running[--n_running];
            else
                assert_int_equal(o, OUTCOME_CANCELLED);
        } else if (dice < 75) {
            r = job_pause(f->db, id, &err);
        } else if (dice < 82) {
            r = job_resume(f->db, id, &err);
        } else if (dice < 85) {
            r = job_cancel(f->db, id, &err);
        } else if (dice < 93) {
            r = job_retry(f->db, id, &err);
        } else if (dice < 96) {
            ok(job_set_vm(f->db, id, id, 1, &err));
            int64_t task;
            r = dice % 2 ? task_add_export_vm(f->db, id, NULL, &task, &err) : task_add_verify(f->db, id, &task, &err);
        } else if (dice < 97) {
            ok(task_recover(f->db, &n, &err));
            assert_int_equal(n, n_running);
            n_running = 0;
        } else {
            r = job_delete(f->db, id, rnd(&seed) % 2 ? DELETE_KEEP_DISKS : DELETE_ALL, &err);
        }
        if (id[0] && rnd(&seed) % 4 == 0 && job_forget(f->db, id, &err) == 0)
            id[0] = 0;
        if (r < 0)
            assert_true(err.code == ERR_WRONG_STATE || err.code == ERR_EMPTY);
        else
            moved++;
        if (id[0])
            seen[state_of(f->db, id)]++;
        if (step % 5 == 0)
            check_consistent(f->path);
    }
    check_consistent(f->path);
    assert_in_range(moved, STEPS / 3, STEPS);
    for (int s = 0; s < JOB_STATES; s++)             /* the walk came everywhere */
        assert_true(seen[s] > 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_graph_runs_in_order), T(test_skipped),    T(test_oldest_first), T(test_backoff), T(test_heartbeat), T(test_moves_that_are_none),
        T(test_recover),             T(test_claim_plan), T(test_claim_cost),   T(test_threads), T(test_random_walk),
        T(test_writers_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

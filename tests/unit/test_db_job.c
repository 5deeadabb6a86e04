/* Jobs and what belongs to them: making, the Idempotency-Key, every request of a user in every state, pages, disks, resources,
 * transfers, events, credentials; and that no secret lies in the files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "db/credential.h"
#include "db/event.h"
#include "db/resource.h"
#include "db/transfer.h"
#include "tests/unit/db_util.h"

#define URL "https://acct.blob.core.windows.net/vhds/web01.vhd"
static const char no_such_id[] = "00000000-0000-4000-8000-000000000000";

static void test_as_created(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct job *j;
    char id[UUID_LEN];
    int64_t before = clock_now_ms();
    make_job(f->db, "{'name':'n','disks':[{'source':{'type':'blob','url':'" URL "?sig=PLANTED'}},{'source':{'type':'blank','size':2097152},'format':'raw'}],"
                    "'vm':{'cpus':3}}", id);
    assert_true(crypto_is_uuid(id));
    ok(job_get(f->db, id, &j, &err));
    assert_string_equal(j->id, id);
    assert_int_equal(j->state, JOB_QUEUED);
    assert_false(j->paused || j->cancel_requested);
    assert_int_equal(j->delete_requested, DELETE_NO);
    assert_true(j->created_at_ms >= before && j->created_at_ms <= clock_now_ms() && j->updated_at_ms == j->created_at_ms);
    assert_null(j->vm_id);
    assert_int_equal(j->generation, 0);
    assert_string_equal(j->spec->name, "n");
    assert_int_equal(j->spec->n_disks, 2);
    assert_int_equal(j->spec->vm.cpus, 3);
    assert_string_equal(j->disks[0].spec.url, URL);
    assert_int_equal(j->disks[1].index, 1);
    assert_int_equal(j->disks[1].spec.size, 2097152);
    assert_int_equal(j->disks[1].spec.format, FORMAT_RAW);
    assert_null(j->disks[0].path);
    assert_int_equal(j->disks[0].format, FORMAT_AUTO);
    static const struct { enum task_kind kind; int disk; enum task_state state; } tasks[] = {
        {TASK_PREFLIGHT, -1, TASK_PENDING}, {TASK_EXPORT, 0, TASK_SKIPPED},   {TASK_EXPORT, 1, TASK_SKIPPED},    {TASK_VOLUME, -1, TASK_SKIPPED},
        {TASK_DOWNLOAD, 0, TASK_PENDING},   {TASK_DOWNLOAD, 1, TASK_PENDING}, {TASK_CREATE_VM, -1, TASK_PENDING}, {TASK_START_VM, -1, TASK_PENDING},
    };
    assert_int_equal(j->n_tasks, ARRAY_LEN(tasks));
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
        assert_int_equal(j->tasks[i].kind, tasks[i].kind);
        assert_int_equal(j->tasks[i].disk, tasks[i].disk);
        assert_int_equal(j->tasks[i].state, tasks[i].state);
        assert_string_equal(j->tasks[i].job_id, id);
        assert_int_equal(j->tasks[i].error.code, ERR_OK);
        assert_int_equal(j->tasks[i].progress.eta_seconds, -1);
    }
    job_free(j);
    char *url;
    ok(job_disk_url(f->db, id, 0, &url, &err));
    assert_string_equal(url, URL "?sig=PLANTED");
    mem_free_secret(url);
    fails(job_disk_url(f->db, id, 1, &url, &err), ERR_NOT_FOUND);      /* blank */
    fails(job_disk_url(f->db, id, 2, &url, &err), ERR_NOT_FOUND);
    fails(job_disk_url(f->db, no_such_id, 0, &url, &err), ERR_NOT_FOUND);
    fails(job_get(f->db, no_such_id, &j, &err), ERR_NOT_FOUND);
    fails(job_get(f->db, "", &j, &err), ERR_NOT_FOUND);
}

static void test_idempotency(void **state)
{
    struct fixture *f = *state;
    AUTO(spec_free_ptr) struct spec *s = spec_of("{'disks':[{'source':{'type':'blob','url':'" URL "'}}]}");
    uint8_t hash[SHA256_LEN] = {1}, other[SHA256_LEN] = {2};
    char a[UUID_LEN], b[UUID_LEN];
    bool existing;
    struct err err;
    ok(job_create(f->db, s, "key-1", hash, a, &existing, &err));
    assert_false(existing);
    ok(job_create(f->db, s, "key-1", hash, b, &existing, &err));
    assert_true(existing);
    assert_string_equal(a, b);
    fails(job_create(f->db, s, "key-1", other, b, &existing, &err), ERR_IDEMPOTENCY);
    ok(job_create(f->db, s, "key-2", other, b, &existing, &err));
    assert_false(existing);
    ok(job_create(f->db, s, NULL, hash, b, &existing, &err));
    ok(job_create(f->db, s, NULL, hash, b, &existing, &err));
    assert_false(existing);
    assert_ask(f->path, "SELECT count(*) FROM job", "4");
    fails(job_create(f->db, s, "", hash, b, &existing, &err), ERR_BAD_REQUEST);
    char long_key[300];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = 0;
    fails(job_create(f->db, s, long_key, hash, b, &existing, &err), ERR_BAD_REQUEST);
    /* the key is free again when its job is gone */
    ok(job_delete(f->db, a, DELETE_ALL, &err));
    ok(job_forget(f->db, a, &err));
    ok(job_create(f->db, s, "key-1", other, b, &existing, &err));
    assert_false(existing);
    assert_string_not_equal(a, b);
}

static void test_unknown_credential(void **state)
{
    struct fixture *f = *state;
    AUTO(spec_free_ptr) struct spec *s = spec_of("{'disks':[{'source':{'type':'blank','size':1048576}},{'source':{'type':'blob','url':'" URL "','credential':'prod'}}]}");
    uint8_t hash[SHA256_LEN] = {0};
    char id[UUID_LEN];
    bool flag;
    struct err err;
    fails(job_create(f->db, s, NULL, hash, id, &flag, &err), ERR_CREDENTIAL);
    assert_string_equal(err.field, "/disks/1/source/credential");
    assert_ask(f->path, "SELECT count(*) FROM job", "0");
    struct credential c = {.name = (char *)(uintptr_t)"prod", .type = CREDENTIAL_SAS, .secret = (char *)(uintptr_t)"sig=1"};
    ok(credential_put(f->db, &c, &flag, &err));
    ok(job_create(f->db, s, NULL, hash, id, &flag, &err));
}

/* ---- requests in every state ---- */

/* A job brought to the state; RUNNING and PAUSED with a running preflight. */
static int64_t job_in(struct db *db, enum job_state s, char id[UUID_LEN])
{
    struct err err;
    int64_t task = 0;
    make_job(db, NULL, id);
    switch (s) {
    case JOB_QUEUED: break;
    case JOB_RUNNING: task = claim(db, LANE_HYPERVISOR, TASK_PREFLIGHT); break;
    case JOB_PAUSED:
        task = claim(db, LANE_HYPERVISOR, TASK_PREFLIGHT);
        ok(job_pause(db, id, &err));
        break;
    case JOB_SUCCEEDED: run_all(db); break;
    case JOB_FAILED: finish(db, claim(db, LANE_HYPERVISOR, TASK_PREFLIGHT), OUTCOME_FAILED); break;
    default: ok(job_cancel(db, id, &err)); break;
    }
    assert_int_equal(state_of(db, id), s);
    return task;
}

static int ask_delete(struct db *db, const char *id, struct err *e)
{
    return job_delete(db, id, DELETE_KEEP_DISKS, e);
}

static void test_requests(void **state)
{
    struct fixture *f = *state;
    const enum job_state NO = JOB_STATES;
    const struct {
        int (*fn)(struct db *db, const char *id, struct err *e);
        enum job_state to[JOB_STATES];               /* from QUEUED, RUNNING, PAUSED, SUCCEEDED, FAILED, CANCELLED; NO: refused */
    } rows[] = {
        {job_pause, {JOB_PAUSED, JOB_PAUSED, JOB_PAUSED, NO, NO, NO}},
        {job_resume, {NO, NO, JOB_RUNNING, NO, NO, NO}},
        {job_cancel, {JOB_CANCELLED, JOB_RUNNING, JOB_RUNNING, NO, JOB_CANCELLED, NO}},
        {job_retry, {NO, NO, NO, NO, JOB_QUEUED, JOB_QUEUED}},
        {ask_delete, {JOB_CANCELLED, JOB_RUNNING, JOB_RUNNING, JOB_SUCCEEDED, JOB_CANCELLED, JOB_CANCELLED}},
    };
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fails(rows[i].fn(f->db, no_such_id, &err), ERR_NOT_FOUND);
        for (int from = 0; from < JOB_STATES; from++) {
            char id[UUID_LEN];
            int64_t task = job_in(f->db, (enum job_state)from, id);
            AUTO_FREE char *before = dump_all(f->path);
            int r = rows[i].fn(f->db, id, &err);
            if (rows[i].to[from] == NO) {
                fails(r, ERR_WRONG_STATE);
                AUTO_FREE char *after = dump_all(f->path);
                assert_string_equal(before, after);
            } else {
                ok(r);
                assert_int_equal(state_of(f->db, id), rows[i].to[from]);
            }
            check_consistent(f->path);
            if (task && (rows[i].fn == job_cancel || rows[i].fn == ask_delete)) {
                finish(f->db, task, OUTCOME_CANCELLED);
                assert_int_equal(state_of(f->db, id), JOB_CANCELLED);
            } else if (task) {
                finish(f->db, task, OUTCOME_FAILED);
            }
            if (rows[i].fn != ask_delete)
                ok(job_delete(f->db, id, DELETE_ALL, &err));
            /* once it is to be deleted, nothing else is accepted */
            fails(job_pause(f->db, id, &err), ERR_WRONG_STATE);
            fails(job_resume(f->db, id, &err), ERR_WRONG_STATE);
            fails(job_retry(f->db, id, &err), ERR_WRONG_STATE);
            ok(job_forget(f->db, id, &err));
        }
    }
    check_consistent(f->path);
}

static void test_pause_parks_and_resumes(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    int64_t task = job_in(f->db, JOB_PAUSED, id);
    finish(f->db, task, OUTCOME_PARKED);
    assert_int_equal(state_of(f->db, id), JOB_PAUSED);
    claim(f->db, LANE_HYPERVISOR, TASK_KINDS);
    ok(job_resume(f->db, id, &err));
    assert_int_equal(claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT), task);
    finish(f->db, task, OUTCOME_SUCCEEDED);
    run_one(f->db, TASK_DOWNLOAD);
    run_one(f->db, TASK_CREATE_VM);
    task = claim(f->db, LANE_HYPERVISOR, TASK_START_VM);
    ok(job_pause(f->db, id, &err));
    finish(f->db, task, OUTCOME_SUCCEEDED);          /* it was the last: there is nothing to pause any more */
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
}

static void test_failure_holds_the_rest(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    make_job(f->db, "{'disks':[{'source':{'type':'blob','url':'" URL "'}},{'source':{'type':'blob','url':'" URL "'}},{'source':{'type':'blob','url':'" URL "'}}]}", id);
    run_one(f->db, TASK_PREFLIGHT);
    int64_t a = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD), b = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    finish(f->db, a, OUTCOME_FAILED);
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);             /* b still runs */
    claim(f->db, LANE_NETWORK, TASK_KINDS);                         /* the third does not start */
    finish(f->db, b, OUTCOME_RETRY);
    assert_int_equal(state_of(f->db, id), JOB_FAILED);
    assert_int_equal(task_state_of(f->db, id, TASK_DOWNLOAD, 2), TASK_PENDING);
    claim(f->db, LANE_NETWORK, TASK_KINDS);
    check_consistent(f->path);
    ok(job_retry(f->db, id, &err));
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);
    struct task t;
    ok(task_claim(f->db, LANE_NETWORK, &t, NULL, &err));
    assert_int_equal(t.id, a);
    assert_int_equal(t.attempts, 1);
    task_clear(&t);
    finish(f->db, a, OUTCOME_SUCCEEDED);
    run_all(f->db);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
}

static void test_cancel_in_the_middle(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    make_job(f->db, NULL, id);
    run_one(f->db, TASK_PREFLIGHT);
    int64_t task = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    ok(job_cancel(f->db, id, &err));
    ok(job_cancel(f->db, id, &err));                                /* asking twice is fine while it winds down */
    assert_int_equal(task_state_of(f->db, id, TASK_CREATE_VM, -1), TASK_CANCELLED);
    fails(job_retry(f->db, id, &err), ERR_WRONG_STATE);
    fails(job_pause(f->db, id, &err), ERR_WRONG_STATE);
    finish(f->db, task, OUTCOME_RETRY);                             /* a worker that did not see the flag */
    assert_int_equal(state_of(f->db, id), JOB_CANCELLED);
    assert_int_equal(task_state_of(f->db, id, TASK_DOWNLOAD, 0), TASK_CANCELLED);
    check_consistent(f->path);
    ok(job_retry(f->db, id, &err));
    assert_int_equal(task_state_of(f->db, id, TASK_PREFLIGHT, -1), TASK_SUCCEEDED);
    claim(f->db, LANE_HYPERVISOR, TASK_KINDS);                      /* still waits for the download */
    run_all(f->db);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    /* a cancel that comes too late changes nothing */
    make_job(f->db, "{'disks':[{'source':{'type':'blob','url':'" URL "'}}],'until':'preflight'}", id);
    task = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(job_cancel(f->db, id, &err));
    finish(f->db, task, OUTCOME_SUCCEEDED);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
}

static void test_export_vm(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    int64_t task, second;
    json_t *params = json_pack("{s:s}", "format", "vhd");
    make_job(f->db, NULL, id);
    fails(task_add_export_vm(f->db, id, params, &task, &err), ERR_WRONG_STATE);       /* no VM */
    fails(task_add_export_vm(f->db, no_such_id, params, &task, &err), ERR_NOT_FOUND);
    run_all(f->db);
    ok(job_set_vm(f->db, id, id, 2, &err));
    ok(task_add_export_vm(f->db, id, params, &task, &err));
    assert_int_equal(state_of(f->db, id), JOB_RUNNING);
    fails(task_add_export_vm(f->db, id, params, &second, &err), ERR_WRONG_STATE);
    struct task t;
    ok(task_claim(f->db, LANE_DISK, &t, NULL, &err));
    assert_int_equal(t.id, task);
    assert_true(json_equal(t.params, params));
    task_clear(&t);
    fails(task_add_export_vm(f->db, id, params, &second, &err), ERR_WRONG_STATE);
    finish(f->db, task, OUTCOME_FAILED);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);           /* the machine is there all the same */
    check_consistent(f->path);
    ok(task_add_export_vm(f->db, id, params, &task, &err));         /* cancelled before and after its start */
    ok(job_cancel(f->db, id, &err));
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
    ok(task_add_export_vm(f->db, id, params, &task, &err));
    assert_int_equal(claim(f->db, LANE_DISK, TASK_EXPORT_VM), task);
    ok(job_cancel(f->db, id, &err));
    fails(task_add_export_vm(f->db, id, params, &second, &err), ERR_WRONG_STATE);
    finish(f->db, task, OUTCOME_CANCELLED);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
    ok(task_add_export_vm(f->db, id, NULL, &second, &err));         /* the failed one is replaced */
    assert_int_not_equal(second, task);
    run_one(f->db, TASK_EXPORT_VM);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
    /* an export works also where the start of the VM failed */
    make_job(f->db, NULL, id);
    run_one(f->db, TASK_PREFLIGHT);
    run_one(f->db, TASK_DOWNLOAD);
    run_one(f->db, TASK_CREATE_VM);
    ok(job_set_vm(f->db, id, id, 1, &err));
    finish(f->db, claim(f->db, LANE_HYPERVISOR, TASK_START_VM), OUTCOME_FAILED);
    ok(task_add_export_vm(f->db, id, params, &task, &err));
    run_one(f->db, TASK_EXPORT_VM);
    assert_int_equal(state_of(f->db, id), JOB_FAILED);
    check_consistent(f->path);
    ok(job_cancel(f->db, id, &err));
    fails(task_add_export_vm(f->db, id, params, &task, &err), ERR_WRONG_STATE);
    json_decref(params);
}

/* A job whose VM is made and could not be started, with an export that runs. */
static int64_t failed_with_export(struct fixture *f, char id[UUID_LEN])
{
    struct err err;
    int64_t task;
    make_job(f->db, NULL, id);
    run_one(f->db, TASK_PREFLIGHT);
    run_one(f->db, TASK_DOWNLOAD);
    run_one(f->db, TASK_CREATE_VM);
    ok(job_set_vm(f->db, id, id, 1, &err));
    finish(f->db, claim(f->db, LANE_HYPERVISOR, TASK_START_VM), OUTCOME_FAILED);
    ok(task_add_export_vm(f->db, id, NULL, &task, &err));
    assert_int_equal(claim(f->db, LANE_DISK, TASK_EXPORT_VM), task);
    return task;
}

/* A retry goes on with the recovery. An export was asked for once, with a place that may have found another use since, and it would keep the VM
 * from starting: who wants it still asks again. */
static void test_retry_exports_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    for (int verify = 0; verify <= 1; verify++) {
        int64_t task = failed_with_export(f, id);
        if (verify) {
            finish(f->db, task, OUTCOME_SUCCEEDED);
            ok(task_add_verify(f->db, id, &task, &err));
            assert_int_equal(claim(f->db, LANE_DISK, TASK_VERIFY), task);
        }
        finish(f->db, task, OUTCOME_FAILED);
        assert_int_equal(state_of(f->db, id), JOB_FAILED);
        ok(job_retry(f->db, id, &err));
        claim(f->db, LANE_DISK, TASK_KINDS);
        assert_int_equal(task_state_of(f->db, id, verify ? TASK_VERIFY : TASK_EXPORT_VM, -1), TASK_FAILED);
        run_one(f->db, TASK_START_VM);
        assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
        check_consistent(f->path);
    }
}

/* The pause of an export holds, whatever became of the recovery. */
static void test_pause_of_an_export(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    int64_t task = failed_with_export(f, id);
    ok(job_pause(f->db, id, &err));
    finish(f->db, task, OUTCOME_PARKED);
    assert_int_equal(state_of(f->db, id), JOB_PAUSED);
    claim(f->db, LANE_DISK, TASK_KINDS);
    check_consistent(f->path);
    ok(job_resume(f->db, id, &err));
    assert_int_equal(state_of(f->db, id), JOB_FAILED);
    check_consistent(f->path);
    assert_int_equal(claim(f->db, LANE_DISK, TASK_EXPORT_VM), task);
    ok(job_pause(f->db, id, &err));
    finish(f->db, task, OUTCOME_PARKED);
    ok(job_cancel(f->db, id, &err));
    assert_int_equal(state_of(f->db, id), JOB_CANCELLED);
    check_consistent(f->path);
    ok(job_retry(f->db, id, &err));
    claim(f->db, LANE_DISK, TASK_KINDS);
    run_one(f->db, TASK_START_VM);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
}

static void test_delete(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN], **ids;
    size_t n;
    int64_t resource;
    struct job *j;
    make_job(f->db, NULL, id);
    run_one(f->db, TASK_PREFLIGHT);
    int64_t task = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    ok(resource_intend(f->db, id, 0, "file", "/d/x.vhd", NULL, true, &resource, &err));
    ok(transfer_put(f->db, id, 0, &(struct transfer_row){.length = 5}, &err));
    fails(job_forget(f->db, id, &err), ERR_WRONG_STATE);            /* nobody asked */
    ok(job_delete(f->db, id, DELETE_KEEP_DISKS, &err));
    ok(job_delete(f->db, id, DELETE_KEEP_DISKS, &err));
    ok(job_delete(f->db, id, DELETE_ALL, &err));
    fails(job_delete(f->db, id, DELETE_KEEP_DISKS, &err), ERR_WRONG_STATE);
    ok(job_get(f->db, id, &j, &err));
    assert_int_equal(j->delete_requested, DELETE_ALL);
    job_free(j);
    ok(job_list_deletable(f->db, &ids, &n, &err));
    assert_int_equal(n, 0);                                         /* the download runs */
    free(ids);
    finish(f->db, task, OUTCOME_CANCELLED);
    ok(job_list_deletable(f->db, &ids, &n, &err));
    assert_int_equal(n, 1);
    assert_string_equal(ids[0], id);
    free(ids[0]);
    free(ids);
    fails(job_forget(f->db, id, &err), ERR_WRONG_STATE);            /* the resource is there */
    ok(resource_forget(f->db, resource, &err));
    check_consistent(f->path);
    ok(job_forget(f->db, id, &err));
    fails(job_forget(f->db, id, &err), ERR_NOT_FOUND);
    fails(job_get(f->db, id, &j, &err), ERR_NOT_FOUND);
    assert_ask(f->path, "SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM disk) + (SELECT count(*) FROM task) + (SELECT count(*) FROM task_need)"
                        " + (SELECT count(*) FROM transfer) + (SELECT count(*) FROM resource)", "0");
    struct event *events;
    ok(event_list(f->db, NULL, 0, 100, &events, &n, &err));
    assert_int_equal(n, 1);
    assert_string_equal(events[0].type, "job_deleted");
    assert_null(events[0].job_id);
    assert_string_equal(json_string_value(json_object_get(events[0].data, "id")), id);
    event_list_free(events, n);
}

/* ---- pages ---- */

static void test_pages(void **state)
{
    struct fixture *f = *state;
    enum { N = 23 };
    char ids[N][UUID_LEN];
    struct err err;
    uint64_t counts[JOB_STATES], tasks[TASK_KINDS][TASK_STATES];
    for (int i = 0; i < N; i++) {
        make_job(f->db, i % 2 ? NULL : "{'disks':[{'source':{'type':'file','path':'@/a'}},{'source':{'type':'blank','size':1048576}}]}", ids[i]);
        if (i % 3 == 0)
            ok(job_cancel(f->db, ids[i], &err));
    }
    for (int s = -1; s <= JOB_CANCELLED; s += JOB_CANCELLED + 1) {
        int64_t before = 0;
        int expect = N - 1, got = 0;
        for (size_t n = 5; n == 5;) {
            struct job **jobs;
            ok(job_list(f->db, s, before, 5, &jobs, &n, &err));
            for (size_t i = 0; i < n; i++, got++, expect--) {
                while (s == JOB_CANCELLED && expect % 3)
                    expect--;
                struct job *whole;
                assert_string_equal(jobs[i]->id, ids[expect]);
                ok(job_get(f->db, ids[expect], &whole, &err));       /* the page has all that a single look has */
                assert_int_equal(jobs[i]->n_tasks, whole->n_tasks);
                assert_int_equal(jobs[i]->spec->n_disks, expect % 2 ? 1 : 2);
                for (size_t k = 0; k < whole->n_tasks; k++) {
                    assert_int_equal(jobs[i]->tasks[k].id, whole->tasks[k].id);
                    assert_int_equal(jobs[i]->tasks[k].state, whole->tasks[k].state);
                }
                assert_int_equal(jobs[i]->state, whole->state);
                job_free(whole);
                before = jobs[i]->seq;
            }
            job_list_free(jobs, n);
        }
        assert_int_equal(got, s < 0 ? N : 8);
    }
    struct job **none;
    size_t n;
    ok(job_list(f->db, JOB_FAILED, 0, 5, &none, &n, &err));
    assert_int_equal(n, 0);
    job_list_free(none, n);
    ok(job_counts(f->db, counts, &err));
    assert_int_equal(counts[JOB_QUEUED], N - 8);
    assert_int_equal(counts[JOB_CANCELLED], 8);
    assert_int_equal(counts[JOB_RUNNING], 0);
    ok(task_counts(f->db, tasks, &err));
    assert_int_equal(tasks[TASK_PREFLIGHT][TASK_PENDING], N - 8);
    assert_int_equal(tasks[TASK_PREFLIGHT][TASK_CANCELLED], 8);
    assert_int_equal(tasks[TASK_VOLUME][TASK_SKIPPED], N);
}

static void test_disks_and_vm(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct job *j;
    char id[UUID_LEN];
    make_job(f->db, NULL, id);
    ok(job_set_disk(f->db, id, 0, "/d/0.vhd", FORMAT_VHD, UINT64_C(127) << 30, &err));
    fails(job_set_disk(f->db, id, 1, "/d/1.vhd", FORMAT_VHD, 1, &err), ERR_NOT_FOUND);
    fails(job_set_disk(f->db, no_such_id, 0, "/d/1.vhd", FORMAT_VHD, 1, &err), ERR_NOT_FOUND);
    ok(job_set_vm(f->db, id, id, 2, &err));
    ok(job_get(f->db, id, &j, &err));
    assert_string_equal(j->disks[0].path, "/d/0.vhd");
    assert_int_equal(j->disks[0].format, FORMAT_VHD);
    assert_true(j->disks[0].virtual_size == UINT64_C(127) << 30);
    assert_string_equal(j->vm_id, id);
    assert_int_equal(j->generation, 2);
    job_free(j);
    ok(job_set_vm(f->db, id, NULL, 0, &err));
    ok(job_get(f->db, id, &j, &err));
    assert_null(j->vm_id);
    job_free(j);
    fails(job_set_vm(f->db, no_such_id, NULL, 0, &err), ERR_NOT_FOUND);
}

static void test_resources(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN], other[UUID_LEN];
    int64_t file, vm, again, elsewhere;
    struct resource *list;
    size_t n;
    make_job(f->db, NULL, id);
    make_job(f->db, NULL, other);
    ok(resource_intend(f->db, id, 0, "file", "/d/0.vhd", NULL, true, &file, &err));
    ok(resource_intend(f->db, id, -1, "vm", id, NULL, false, &vm, &err));
    ok(resource_made(f->db, file, &err));
    ok(resource_intend(f->db, id, 0, "file", "/d/0.vhd", NULL, true, &again, &err));
    assert_int_equal(again, file);
    ok(resource_intend(f->db, other, 0, "file", "/d/0.vhd", NULL, true, &elsewhere, &err));
    assert_int_not_equal(elsewhere, file);
    ok(resource_list(f->db, id, &list, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].kind, "vm");                        /* newest first */
    assert_int_equal(list[0].disk, -1);
    assert_int_equal(list[0].state, RESOURCE_INTENT);
    assert_false(list[0].user_data);
    assert_string_equal(list[1].ident, "/d/0.vhd");
    assert_int_equal(list[1].state, RESOURCE_MADE);                 /* kept by the second intent */
    assert_true(list[1].user_data);
    resource_list_free(list, n);
    ok(resource_forget(f->db, file, &err));
    fails(resource_forget(f->db, file, &err), ERR_NOT_FOUND);
    fails(resource_made(f->db, file, &err), ERR_NOT_FOUND);
    fails(resource_intend(f->db, no_such_id, 0, "file", "/x", NULL, true, &file, &err), ERR_NOT_FOUND);
    fails(resource_list(f->db, no_such_id, &list, &n, &err), ERR_NOT_FOUND);
}

static void test_transfers(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    struct transfer_row row = {.length = UINT64_C(1) << 40, .etag = "\"0x8D\"", .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT", .listed_bytes = 7, .runs = 1}, got;
    make_job(f->db, NULL, id);
    fails(transfer_get(f->db, id, 0, &got, &err), ERR_NOT_FOUND);
    ok(transfer_put(f->db, id, 0, &row, &err));
    row.transferred_bytes = 99;
    row.runs = 2;
    ok(transfer_put(f->db, id, 0, &row, &err));
    ok(transfer_get(f->db, id, 0, &got, &err));
    assert_true(got.length == row.length && got.listed_bytes == 7 && got.transferred_bytes == 99 && got.runs == 2);
    assert_string_equal(got.etag, row.etag);
    assert_string_equal(got.last_modified, row.last_modified);
    fails(transfer_put(f->db, id, 1, &row, &err), ERR_NOT_FOUND);
    fails(transfer_put(f->db, no_such_id, 0, &row, &err), ERR_NOT_FOUND);
}

static int add_listed(void *arg, const char *path, enum disk_format format, uint64_t listed, uint64_t length)
{
    assert_int_equal(format, FORMAT_VHD);
    assert_int_equal(length, 100);
    *(uint64_t *)arg += listed;
    return str_starts(path, "/stop") ? 42 : 0;
}

static uint64_t pending(struct fixture *f, const char *id)
{
    struct err err;
    uint64_t sum = 0;
    ok(transfer_pending(f->db, id, add_listed, &sum, &err));
    return sum;
}

static void test_pending_transfers(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char a[UUID_LEN], b[UUID_LEN];
    struct transfer_row row = {.length = 100, .listed_bytes = 10};
    make_job(f->db, NULL, a);
    make_job(f->db, NULL, b);
    ok(transfer_put(f->db, a, 0, &row, &err));
    assert_int_equal(pending(f, b), 0);               /* its place is not known yet */
    ok(job_set_disk(f->db, a, 0, "/d/a.vhd", FORMAT_VHD, 100, &err));
    row.listed_bytes = 7;
    ok(transfer_put(f->db, b, 0, &row, &err));
    ok(job_set_disk(f->db, b, 0, "/stop/b.vhd", FORMAT_VHD, 100, &err));
    assert_int_equal(pending(f, b), 10);              /* two preflights at once: the older job counts for the younger, */
    assert_int_equal(pending(f, a), 0);               /* not the other way round */
    int64_t first = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    run_one(f->db, TASK_PREFLIGHT);
    finish(f->db, first, OUTCOME_SUCCEEDED);
    uint64_t sum = 0;
    assert_int_equal(transfer_pending(f->db, a, add_listed, &sum, &err), 42);
    assert_int_equal(sum, 7);
    int64_t download = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    assert_int_equal(pending(f, b), 10);              /* it runs */
    finish(f->db, download, OUTCOME_FAILED);
    assert_int_equal(pending(f, b), 0);               /* it does not, until somebody asks again */
    ok(job_cancel(f->db, b, &err));
    assert_int_equal(pending(f, a), 0);
    fails(transfer_pending(f->db, no_such_id, add_listed, &sum, &err), ERR_NOT_FOUND);
}

static void test_events(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char a[UUID_LEN], b[UUID_LEN];
    struct event *list;
    size_t n;
    int64_t last;
    ok(event_last_id(f->db, &last, &err));
    assert_int_equal(last, 0);
    make_job(f->db, NULL, a);
    make_job(f->db, NULL, b);
    json_t *data = json_pack("{s:i}", "n", 7);
    ok(event_add(f->db, a, "note", data, &err));
    ok(event_add(f->db, NULL, "daemon_started", NULL, &err));
    assert_int_equal(data->refcount, 1);
    json_decref(data);
    fails(event_add(f->db, no_such_id, "note", NULL, &err), ERR_NOT_FOUND);
    ok(event_list(f->db, NULL, 0, 3, &list, &n, &err));
    assert_int_equal(n, 3);
    assert_string_equal(list[0].type, "job_created");
    assert_string_equal(list[2].type, "note");
    assert_string_equal(list[2].job_id, a);
    assert_int_equal(json_integer_value(json_object_get(list[2].data, "n")), 7);
    int64_t at = list[2].id;
    event_list_free(list, n);
    ok(event_list(f->db, NULL, at, 3, &list, &n, &err));
    assert_int_equal(n, 1);
    assert_null(list[0].job_id);
    assert_true(json_is_object(list[0].data));
    event_list_free(list, n);
    ok(event_list(f->db, a, 0, 100, &list, &n, &err));
    assert_int_equal(n, 2);
    event_list_free(list, n);
    ok(event_last_id(f->db, &last, &err));
    assert_int_equal(last, 4);
    ok(event_prune(f->db, clock_now_ms() - 3600000, &n, &err));
    assert_int_equal(n, 0);
    ok(event_prune(f->db, clock_now_ms() + 3600000, &n, &err));
    assert_int_equal(n, 4);
    ok(event_last_id(f->db, &last, &err));
    assert_int_equal(last, 4);
    ok(event_add(f->db, NULL, "daemon_started", NULL, &err));
    ok(event_last_id(f->db, &last, &err));
    assert_int_equal(last, 5);                                      /* no id is used twice */
}

/* ---- secrets ---- */

static void put(struct db *db, const char *name, enum credential_type type, const char *account, const char *secret, bool created)
{
    struct credential c = {.name = (char *)(uintptr_t)name, .type = type, .account = (char *)(uintptr_t)account, .secret = (char *)(uintptr_t)secret};
    bool was_created;
    struct err err;
    ok(credential_put(db, &c, &was_created, &err));
    assert_int_equal(was_created, created);
}

static void test_credentials(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct credential *c, *list;
    size_t n;
    char id[UUID_LEN];
    put(f->db, "prod", CREDENTIAL_ACCOUNT_KEY, "acct", "a2V5LW9uZQ==", true);
    put(f->db, "lab", CREDENTIAL_SAS, NULL, "sv=1&sig=abc", true);
    put(f->db, "prod", CREDENTIAL_ACCOUNT_KEY, "acct2", "a2V5LXR3bw==", false);
    ok(credential_get(f->db, "prod", &c, &err));
    assert_string_equal(c->secret, "a2V5LXR3bw==");
    assert_string_equal(c->account, "acct2");
    assert_true(c->updated_at_ms > 0);
    credential_free(c);
    fails(credential_get(f->db, "none", &c, &err), ERR_NOT_FOUND);
    ok(credential_list(f->db, &list, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "lab");
    assert_int_equal(list[0].type, CREDENTIAL_SAS);
    assert_null(list[0].secret);
    assert_null(list[1].secret);
    credential_list_free(list, n);
    /* in use until the job is finished */
    make_job(f->db, "{'disks':[{'source':{'type':'blob','url':'" URL "','credential':'prod'}}]}", id);
    fails(credential_delete(f->db, "prod", &err), ERR_CRED_IN_USE);
    ok(job_pause(f->db, id, &err));
    fails(credential_delete(f->db, "prod", &err), ERR_CRED_IN_USE);
    ok(credential_delete(f->db, "lab", &err));
    ok(job_cancel(f->db, id, &err));
    ok(credential_delete(f->db, "prod", &err));
    fails(credential_delete(f->db, "prod", &err), ERR_NOT_FOUND);
    /* a sealed secret opens under its own name only */
    put(f->db, "x", CREDENTIAL_SAS, NULL, "sig=1", true);
    assert_int_equal(sqlite3_exec(f->db->conn, "UPDATE credential SET name = 'y'", NULL, NULL, NULL), SQLITE_OK);
    fails(credential_get(f->db, "y", &c, &err), ERR_SECRET);
}

/* What each kind of credential has comes back as it went in. */
static void test_sign_in_credentials(void **state)
{
    struct fixture *f = *state;
    struct err err;
    bool created;
    struct credential rows[] = {
        {.name = (char *)(uintptr_t)"arc", .type = CREDENTIAL_ARC},
        {.name = (char *)(uintptr_t)"cert", .type = CREDENTIAL_SERVICE_PRINCIPAL, .tenant_id = (char *)(uintptr_t)"t", .client_id = (char *)(uintptr_t)"c",
         .proof = PROOF_CERTIFICATE, .secret = (char *)(uintptr_t)"UGZ4", .password = (char *)(uintptr_t)"pass \"word\""},
        {.name = (char *)(uintptr_t)"code", .type = CREDENTIAL_DEVICE_CODE, .tenant_id = (char *)(uintptr_t)"t"},
        {.name = (char *)(uintptr_t)"file", .type = CREDENTIAL_SERVICE_PRINCIPAL, .tenant_id = (char *)(uintptr_t)"t", .client_id = (char *)(uintptr_t)"c",
         .proof = PROOF_TOKEN_FILE, .token_file = (char *)(uintptr_t)"/run/token"},
        {.name = (char *)(uintptr_t)"mi", .type = CREDENTIAL_MANAGED_IDENTITY, .client_id = (char *)(uintptr_t)"c"},
    };
    AUTO_FREE char *only = NULL;
    fails(credential_only_sign_in(f->db, &only, &err), ERR_MISSING);
    put(f->db, "key", CREDENTIAL_ACCOUNT_KEY, "acct", "a2V5", true);
    fails(credential_only_sign_in(f->db, &only, &err), ERR_MISSING);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ok(credential_put(f->db, &rows[i], &created, &err));
        AUTO_FREE char *name = NULL;
        if (i == 0) {
            ok(credential_only_sign_in(f->db, &name, &err));
            assert_string_equal(name, "arc");
        } else {
            fails(credential_only_sign_in(f->db, &name, &err), ERR_MISSING);
            assert_non_null(strstr(err.msg, "several"));
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(credential_free_ptr) struct credential *c = NULL;
        ok(credential_get(f->db, rows[i].name, &c, &err));
        assert_true(c->type == rows[i].type && c->proof == rows[i].proof && !c->signed_in);
        const char *got[] = {c->tenant_id, c->client_id, c->secret, c->password, c->token_file};
        const char *want[] = {rows[i].tenant_id, rows[i].client_id, rows[i].secret, rows[i].password, rows[i].token_file};
        for (size_t k = 0; k < ARRAY_LEN(got); k++)
            if (!got[k] != !want[k] || (got[k] && strcmp(got[k], want[k])))
                fail_msg("%s: member %zu is %s", rows[i].name, k, got[k] ? got[k] : "missing");
    }
    /* the refresh token is kept with the version that it was given for, and with no other */
    AUTO(credential_free_ptr) struct credential *c = NULL, *kept = NULL, *again = NULL, *arc = NULL;
    ok(credential_get(f->db, "code", &c, &err));
    ok(credential_keep_refresh_token(f->db, "code", c->updated_at_ms, "PlantedRefresh", &err));
    ok(credential_keep_refresh_token(f->db, "code", c->updated_at_ms + 1, "other", &err));
    ok(credential_get(f->db, "code", &kept, &err));
    assert_string_equal(kept->secret, "PlantedRefresh");
    assert_true(kept->signed_in && kept->updated_at_ms == c->updated_at_ms && !strcmp(kept->tenant_id, "t"));
    assert_not_in_files(f->dir, "PlantedRefresh");
    assert_not_in_files(f->dir, "pass \"word");
    ok(credential_put(f->db, &rows[2], &created, &err));
    ok(credential_get(f->db, "code", &again, &err));
    assert_true(!again->secret && !again->signed_in && again->updated_at_ms > c->updated_at_ms);
    ok(credential_get(f->db, "arc", &arc, &err));
    ok(credential_keep_refresh_token(f->db, "arc", arc->updated_at_ms, "other", &err));
    AUTO(credential_free_ptr) struct credential *same = NULL;
    ok(credential_get(f->db, "arc", &same, &err));
    assert_null(same->secret);
}

static void test_no_secret_in_the_files(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN], *url;
    for (int i = 0; i < 20; i++) {
        make_job(f->db, "{'disks':[{'source':{'type':'blob','url':'" URL "?sv=2024&sig=PlantedSignature'}}]}", id);
        put(f->db, "key", CREDENTIAL_ACCOUNT_KEY, "acct", "UGxhbnRlZEtleQ==", i % 3 == 0);
        put(f->db, "sas", CREDENTIAL_SAS, NULL, "sv=1&sig=PlantedSas", i % 3 == 0);
        if (i % 3 == 2) {
            ok(credential_delete(f->db, "key", &err));
            ok(credential_delete(f->db, "sas", &err));
        }
        ok(job_disk_url(f->db, id, 0, &url, &err));
        assert_non_null(strstr(url, "PlantedSignature"));
        mem_free_secret(url);
        if (i % 4 == 0)
            run_all(f->db);
        else if (i % 4 == 1)
            ok(job_cancel(f->db, id, &err));
        else if (i % 4 == 2) {
            ok(job_delete(f->db, id, DELETE_ALL, &err));
            ok(job_forget(f->db, id, &err));
        }
    }
    AUTO_FREE char *urls = ask(f->path, "SELECT url FROM disk");
    assert_non_null(strstr(urls, URL));
    static const char *const secrets[] = {"PlantedSignature", "UGxhbnRlZEtleQ==", "PlantedSas", "PlantedKey", "sig="};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
            assert_not_in_files(f->dir, secrets[i]);
        sqlite3_exec(f->db->conn, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_as_created),      T(test_idempotency),          T(test_unknown_credential), T(test_requests), T(test_pause_parks_and_resumes),
        T(test_failure_holds_the_rest), T(test_cancel_in_the_middle), T(test_export_vm), T(test_retry_exports_nothing), T(test_pause_of_an_export),
        T(test_delete),          T(test_pages),
        T(test_disks_and_vm),    T(test_resources),            T(test_transfers), T(test_pending_transfers),         T(test_events),   T(test_credentials),
        T(test_no_secret_in_the_files), T(test_sign_in_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

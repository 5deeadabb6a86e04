/* Jobs whose disks are in Azure: what preflight adds to them, how their disks are read, what is borrowed and when it is to be given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "db/access.h"
#include "db/credential.h"
#include "db/resource.h"
#include "tests/unit/db_util.h"

#define ARM "/subscriptions/0aa1bb22-1111-2222-3333-444455556666/resourceGroups/prod/providers/Microsoft.Compute/"
#define VM_JOB "{'disks':[{'source':{'type':'vm','id':'" ARM "virtualMachines/web01','credential':'id','data_disks':true}}]}"

static void put_credential(struct db *db, const char *name, enum credential_type type)
{
    struct err err;
    bool created;
    struct credential c = {.name = (char *)(uintptr_t)name, .type = type, .secret = (char *)(uintptr_t) "a2V5", .account = (char *)(uintptr_t) "acct"};
    ok(credential_put(db, &c, &created, &err));
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static const struct job_target targets[] = {
    {.name = (char *)(uintptr_t) "os", .id = (char *)(uintptr_t)(ARM "disks/os"), .location = (char *)(uintptr_t) "westeurope", .lun = -1, .size_bytes = 1u << 30},
    {.name = (char *)(uintptr_t) "d0", .id = (char *)(uintptr_t)(ARM "disks/d0"), .location = (char *)(uintptr_t) "westeurope", .lun = 0},
    {.name = (char *)(uintptr_t) "d7", .id = (char *)(uintptr_t)(ARM "disks/d7"), .location = (char *)(uintptr_t) "westeurope", .lun = 7},
    {.name = (char *)(uintptr_t) "d8", .url = (char *)(uintptr_t) "https://acct.blob.core.windows.net/vhds/d8.vhd", .lun = 8},
    {.name = (char *)(uintptr_t) "d9", .id = (char *)(uintptr_t)(ARM "disks/d9"), .lun = 9},
};

static int resolve(struct db *db, const char *id, size_t n, struct err *e)
{
    struct job_found found[ARRAY_LEN(targets)];
    for (size_t i = 0; i < n; i++)
        found[i] = (struct job_found){0, &targets[i]};
    return job_resolve(db, id, found, n, e);
}

static void assert_tasks(struct db *db, const char *id, const char *expected)
{
    struct err err;
    struct job *j;
    AUTO_STRBUF struct strbuf b = {0};
    ok(job_get(db, id, &j, &err));
    for (size_t i = 0; i < j->n_tasks; i++)
        strbuf_addf(&b, "%s%s%.0d:%s", i ? " " : "", task_kind_name(j->tasks[i].kind), j->tasks[i].disk + 1, task_state_name(j->tasks[i].state));
    job_free(j);
    assert_string_equal(b.data, expected);
}

static void test_disks_are_added(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    struct job *j;
    put_credential(f->db, "id", CREDENTIAL_MANAGED_IDENTITY);
    make_job(f->db, VM_JOB, id);
    assert_tasks(f->db, id, "preflight:pending export1:pending volume:skipped download1:pending create_vm:pending start_vm:pending");
    int64_t preflight = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    /* found once, found again otherwise, found with less: the last counts */
    static const size_t found[] = {1, 4, 2, 1, 3};
    for (size_t i = 0; i < ARRAY_LEN(found); i++) {
        ok(resolve(f->db, id, found[i], &err));
        check_consistent(f->path);
        ok(job_get(f->db, id, &j, &err));
        assert_int_equal(j->n_disks, found[i]);
        assert_int_equal(j->spec->n_disks, 1);
        assert_int_equal(j->n_tasks, 4 + 2 * found[i]);
        for (size_t d = 0; d < found[i]; d++) {
            const struct job_disk *disk = &j->disks[d];
            assert_true(disk->index == d && disk->origin == 0 && disk->spec.type == SOURCE_VM && disk->spec.id == j->spec->disks[0].id);
            assert_string_equal(disk->target->name, targets[d].name);
            assert_true(!disk->target->id == !targets[d].id && !disk->target->url == !targets[d].url);
            assert_true(disk->target->lun == targets[d].lun && disk->target->size_bytes == targets[d].size_bytes);
        }
        job_free(j);
    }
    assert_tasks(f->db, id, "preflight:running export1:pending export2:pending export3:pending volume:skipped download1:pending download2:pending "
                            "download3:pending create_vm:pending start_vm:pending");
    assert_ask(f->path, "SELECT count(*) FROM disk WHERE credential = 'id'", "3");
    finish(f->db, preflight, OUTCOME_SUCCEEDED);
    fails(resolve(f->db, id, 2, &err), ERR_INTERNAL);      /* too late */
    check_consistent(f->path);

    /* the OS disk's export takes the snapshots of all: the others wait for it, each download for its own */
    int64_t export = claim(f->db, LANE_NETWORK, TASK_EXPORT);
    claim(f->db, LANE_NETWORK, TASK_KINDS);
    finish(f->db, export, OUTCOME_SUCCEEDED);
    int64_t first = claim(f->db, LANE_NETWORK, TASK_EXPORT), second = claim(f->db, LANE_NETWORK, TASK_EXPORT);
    int64_t download = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    claim(f->db, LANE_NETWORK, TASK_KINDS);
    finish(f->db, first, OUTCOME_SUCCEEDED);
    finish(f->db, download, OUTCOME_SUCCEEDED);
    run_one(f->db, TASK_DOWNLOAD);
    claim(f->db, LANE_HYPERVISOR, TASK_KINDS);             /* one download is missing */
    finish(f->db, second, OUTCOME_SUCCEEDED);
    run_one(f->db, TASK_DOWNLOAD);
    run_one(f->db, TASK_CREATE_VM);
    run_one(f->db, TASK_START_VM);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
    ok(job_delete(f->db, id, DELETE_ALL, &err));
    ok(job_forget(f->db, id, &err));
    check_consistent(f->path);
}

static void test_entries_beside(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    struct job *j;
    put_credential(f->db, "id", CREDENTIAL_SERVICE_PRINCIPAL);
    make_job(f->db, "{'until':'download','disks':[{'source':{'type':'blank','size':1048576}},{'source':{'type':'vm','id':'" ARM "virtualMachines/a','credential':'id'}},"
                    "{'source':{'type':'snapshot','id':'" ARM "snapshots/s'}}]}", id);
    claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    struct job_found found[] = {{1, &targets[0]}, {1, &targets[1]}, {2, &targets[4]}};
    ok(job_resolve(f->db, id, found, 3, &err));
    ok(job_get(f->db, id, &j, &err));
    assert_int_equal(j->n_disks, 4);
    assert_true(!j->disks[0].target && j->disks[1].origin == 1 && j->disks[2].origin == 2 && j->disks[3].origin == 1);
    assert_string_equal(j->disks[2].target->name, "d9");
    assert_string_equal(j->disks[3].target->name, "d0");
    job_free(j);
    assert_tasks(f->db, id, "preflight:running export1:skipped export2:pending export3:pending export4:pending volume:skipped download1:pending "
                            "download2:pending download3:pending download4:pending create_vm:skipped start_vm:skipped");
    found[2].origin = 3;
    fails(job_resolve(f->db, id, found, 3, &err), ERR_INTERNAL);
    struct job_found many[] = {{1, &targets[0]}, {1, &targets[1]}, {1, &targets[2]}, {2, &targets[4]}};
    AUTO_FREE char *before = dump_all(f->path);
    fails(job_resolve(f->db, id, many, 4, &err), ERR_VALUE);
    AUTO_FREE char *after = dump_all(f->path);
    assert_string_equal(before, after);
    fails(job_resolve(f->db, "00000000-0000-4000-8000-000000000000", many, 1, &err), ERR_NOT_FOUND);
    check_consistent(f->path);
}

static void test_cancelled_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    put_credential(f->db, "id", CREDENTIAL_ARC);
    make_job(f->db, VM_JOB, id);
    int64_t preflight = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(job_cancel(f->db, id, &err));
    ok(resolve(f->db, id, 3, &err));
    check_consistent(f->path);
    finish(f->db, preflight, OUTCOME_CANCELLED);
    assert_int_equal(state_of(f->db, id), JOB_CANCELLED);
    ok(job_retry(f->db, id, &err));
    check_consistent(f->path);
    preflight = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(resolve(f->db, id, 2, &err));
    ok(job_pause(f->db, id, &err));
    finish(f->db, preflight, OUTCOME_SUCCEEDED);
    claim(f->db, LANE_NETWORK, TASK_KINDS);
    ok(job_resume(f->db, id, &err));
    run_all(f->db);
    assert_int_equal(state_of(f->db, id), JOB_SUCCEEDED);
    check_consistent(f->path);
}

static void test_access(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    put_credential(f->db, "id", CREDENTIAL_AZ_CLI);
    make_job(f->db, VM_JOB, id);
    AUTO(job_access_free_ptr) struct job_access *got = NULL, *later = NULL;
    fails(job_access_get(f->db, id, 0, &got, &err), ERR_NOT_FOUND);
    struct job_access a = {.kind = ACCESS_SNAPSHOT, .url = text("https://md-x.z1.blob.storage.azure.net/v/abcd?sv=1&sig=PLANTED"), .ident = text(ARM "snapshots/s"),
                           .expires_at_ms = 1700000000000, .bearer = true, .unique_id = "u", .owned_at_ms = 5, .etag = "\"e\"", .last_modified = "lm",
                           .identity = "i"};
    ok(job_access_put(f->db, id, 0, &a, &err));
    fails(job_access_put(f->db, id, 1, &a, &err), ERR_NOT_FOUND);
    ok(job_access_get(f->db, id, 0, &got, &err));
    assert_string_equal(got->url, a.url);
    assert_string_equal(got->ident, a.ident);
    assert_true(got->kind == a.kind && got->expires_at_ms == a.expires_at_ms && got->bearer && got->owned_at_ms == 5);
    assert_string_equal(got->unique_id, "u");
    assert_string_equal(got->etag, "\"e\"");
    assert_string_equal(got->last_modified, "lm");
    assert_string_equal(got->identity, "i");
    AUTO_FREE char *all = dump_all(f->path);
    assert_null(strstr(all, "PLANTED"));
    ok(job_access_ended(f->db, id, 0, ARM "disks/other", &err));
    ok(job_access_get(f->db, id, 0, &later, &err));
    assert_non_null(later->url);
    job_access_free(STEAL(later));
    ok(job_access_ended(f->db, id, 0, a.ident, &err));
    ok(job_access_get(f->db, id, 0, &later, &err));
    assert_null(later->url);
    assert_string_equal(later->identity, "i");
    db_close(STEAL(f->db));
    assert_not_in_files(f->dir, "PLANTED");
    ok(db_open(f->path, f->box, &f->db, &err));
}

/* ---- what is borrowed ---- */

static void borrow(struct db *db, const char *job, int disk, const char *kind, const char *ident)
{
    struct err err;
    int64_t row;
    ok(resource_intend(db, job, disk, kind, ident, NULL, false, &row, &err));
}

static void assert_idle(struct db *db, const char *job, const char *expected)
{
    struct err err;
    struct resource *list;
    size_t n;
    char **ids;
    AUTO_STRBUF struct strbuf b = {0};
    ok(resource_list_idle(db, job, &list, &n, &err));
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&b, "%s%s%d", i ? " " : "", list[i].kind, list[i].disk);
    resource_list_free(list, n);
    assert_string_equal(b.data ? b.data : "", expected);
    ok(resource_jobs_idle(db, &ids, &n, &err));
    assert_int_equal(n, *expected ? 1 : 0);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(ids[i], job);
        free(ids[i]);
    }
    free(ids);
}

static void test_idle(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    put_credential(f->db, "id", CREDENTIAL_MANAGED_IDENTITY);
    make_job(f->db, VM_JOB, id);
    int64_t preflight = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(resolve(f->db, id, 2, &err));
    finish(f->db, preflight, OUTCOME_SUCCEEDED);
    borrow(f->db, id, 0, "snapshot", "s0");
    borrow(f->db, id, 1, "snapshot", "s1");
    borrow(f->db, id, 0, "sas", "s0");
    borrow(f->db, id, 0, "file", "/d/0.vhd");              /* of no concern here */
    assert_idle(f->db, id, "");
    run_one(f->db, TASK_EXPORT);
    borrow(f->db, id, 1, "sas", "s1");
    run_one(f->db, TASK_EXPORT);
    assert_idle(f->db, id, "");
    int64_t first = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD), second = claim(f->db, LANE_NETWORK, TASK_DOWNLOAD);
    assert_idle(f->db, id, "");
    finish(f->db, first, OUTCOME_SUCCEEDED);
    assert_idle(f->db, id, "sas0");                        /* the other may be taking snapshots of both */
    finish(f->db, second, OUTCOME_RETRY);
    assert_idle(f->db, id, "sas0 snapshot0");
    ok(job_pause(f->db, id, &err));
    assert_idle(f->db, id, "sas0 snapshot0");              /* a paused job goes on later */
    ok(job_resume(f->db, id, &err));
    finish(f->db, claim(f->db, LANE_NETWORK, TASK_DOWNLOAD), OUTCOME_FAILED);
    assert_int_equal(state_of(f->db, id), JOB_FAILED);
    assert_idle(f->db, id, "sas1 sas0 snapshot1 snapshot0");
    ok(job_retry(f->db, id, &err));
    assert_idle(f->db, id, "sas0 snapshot0");
    ok(job_cancel(f->db, id, &err));
    borrow(f->db, id, 0, "blob", "https://a.example/c/x");
    borrow(f->db, id, 1, "blob_snapshot", "https://a.example/c/y");
    assert_idle(f->db, id, "blob0 sas1 sas0 blob_snapshot1 snapshot1 snapshot0");
    fails(credential_delete(f->db, "id", &err), ERR_CRED_IN_USE);
    check_consistent(f->path);
}

/* A cancel while the first export makes snapshots for all: the others' tasks are over already, theirs must wait all the same. */
static void test_idle_waits_for_who_makes(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    put_credential(f->db, "id", CREDENTIAL_MANAGED_IDENTITY);
    make_job(f->db, VM_JOB, id);
    int64_t preflight = claim(f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    ok(resolve(f->db, id, 2, &err));
    finish(f->db, preflight, OUTCOME_SUCCEEDED);
    int64_t export = claim(f->db, LANE_NETWORK, TASK_EXPORT);
    borrow(f->db, id, 0, "snapshot", "s0");
    borrow(f->db, id, 1, "snapshot", "s1");
    ok(job_delete(f->db, id, DELETE_KEEP_DISKS, &err));
    assert_idle(f->db, id, "");
    finish(f->db, export, OUTCOME_CANCELLED);
    assert_idle(f->db, id, "snapshot1 snapshot0");
}

static void test_returned(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    struct resource *list;
    size_t n;
    make_job(f->db, NULL, id);
    borrow(f->db, id, 0, "sas", "a");
    borrow(f->db, id, 0, "sas", "b");
    ok(resource_list(f->db, id, &list, &n, &err));
    assert_int_equal(n, 2);
    assert_true(list[0].intents == 1 && resource_is_borrowed(&list[0]));
    borrow(f->db, id, 0, "sas", "b");                      /* meant again while it was being given back */
    ok(resource_returned(f->db, &list[0], &err));
    ok(resource_returned(f->db, &list[1], &err));
    ok(resource_returned(f->db, &list[1], &err));          /* no harm */
    resource_list_free(list, n);
    ok(resource_list(f->db, id, &list, &n, &err));
    assert_int_equal(n, 1);
    assert_string_equal(list[0].ident, "b");
    assert_int_equal(list[0].intents, 2);
    ok(resource_returned(f->db, &list[0], &err));
    resource_list_free(list, n);
    assert_ask(f->path, "SELECT count(*) FROM resource", "0");
}

static void test_credentials(void **state)
{
    struct fixture *f = *state;
    struct err err;
    static const uint8_t hash[SHA256_LEN];
    char id[UUID_LEN];
    bool existing;
    static const struct { const char *source, *field; } rows[] = {
        {"'credential':'none'", "/disks/0/source/credential"},
        {"'credential':'key'", "/disks/0/source/credential"},      /* signs in nowhere */
        {"'credential':'id','storage_credential':'none'", "/disks/0/source/storage_credential"},
        {"'credential':'id','via_storage_account':{'url':'https://acct.blob.core.windows.net/c','credential':'none'}",
         "/disks/0/source/via_storage_account/credential"},
    };
    put_credential(f->db, "id", CREDENTIAL_MANAGED_IDENTITY);
    put_credential(f->db, "key", CREDENTIAL_ACCOUNT_KEY);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_FREE char *json = str_printf("{'disks':[{'source':{'type':'vm','id':'" ARM "virtualMachines/a',%s}}]}", rows[i].source);
        AUTO(spec_free_ptr) struct spec *s = spec_of(json);
        fails(job_create(f->db, s, NULL, hash, id, &existing, &err), ERR_CREDENTIAL);
        assert_string_equal(err.field, rows[i].field);
    }
    make_job(f->db, "{'disks':[{'source':{'type':'vm','id':'" ARM "virtualMachines/a','credential':'id','storage_credential':'key'}}]}", id);
    fails(credential_delete(f->db, "id", &err), ERR_CRED_IN_USE);
    fails(credential_delete(f->db, "key", &err), ERR_CRED_IN_USE);
    borrow(f->db, id, 0, "blob_snapshot", "https://acct.blob.core.windows.net/vhds/a.vhd");
    ok(job_cancel(f->db, id, &err));
    fails(credential_delete(f->db, "key", &err), ERR_CRED_IN_USE);     /* something is still to be given back */
    struct resource *list;
    size_t n;
    ok(resource_list(f->db, id, &list, &n, &err));
    ok(resource_returned(f->db, &list[0], &err));
    resource_list_free(list, n);
    ok(credential_delete(f->db, "key", &err));
    ok(credential_delete(f->db, "id", &err));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_disks_are_added), T(test_entries_beside), T(test_cancelled_meanwhile), T(test_access), T(test_idle),
        T(test_idle_waits_for_who_makes), T(test_returned), T(test_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

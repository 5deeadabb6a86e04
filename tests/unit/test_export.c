/* The task export_vm and the end of its job: what the user has at the place of an export is never touched, a crash between any two of its
 * steps is made good by the next run, and what was made is found again. The cleaner is the real one, the hypervisor a fake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "db/resource.h"
#include "service/config.h"
#include "service/task_run.h"
#include "tests/unit/db_util.h"
#include "tests/unit/fake_hv.h"
#include "tests/unit/tmp.h"

struct scene {
    struct fixture *f;
    struct config cfg;
    struct daemon d;
    struct fake_hv *hv;
    char id[UUID_LEN];
    char *out, *folder;                               /* where the export goes, and its folder on the way */
};

static char *folder_of(const char *out, const char *id)
{
    return str_printf("%s.%s.part", out, id);
}

/* A job whose VM is there and off. */
static void add_job(struct scene *s, char id[UUID_LEN])
{
    struct err err;
    make_job(s->f->db, NULL, id);
    run_all(s->f->db);
    fake_hv_add(s->hv, id, "vm");
    ok(job_set_vm(s->f->db, id, id, 1, &err));
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    void *f;
    assert_non_null(s);
    fixture_setup(&f);
    s->f = f;
    s->hv = fake_hv_new();
    s->cfg.event_days = 1;
    static char no_loops[] = "false";
    s->cfg.loop_devices = no_loops;
    s->d = (struct daemon){.cfg = &s->cfg, .data_dir = s->f->dir, .disks_dir = tmp_path(s->f->dir, "disks"), .db_path = s->f->path, .box = s->f->box,
                           .hv = &s->hv->hv, .lock = PTHREAD_MUTEX_INITIALIZER};
    cond_init(&s->d.bell);
    s->out = tmp_path(s->f->dir, "out.vhd");
    add_job(s, s->id);
    s->folder = folder_of(s->out, s->id);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *f = s->f;
    pthread_cond_destroy(&s->d.bell);
    free(s->d.disks_dir);
    free(s->out);
    free(s->folder);
    fake_hv_free(s->hv);
    free(s);
    return fixture_teardown(&f);
}

static bool there(const char *path)
{
    struct os_stat st;
    struct err err;
    ok(os_stat(path, &st, &err));
    return st.exists;
}

static void put(const char *path, const char *text)
{
    struct err err;
    ok(os_write_file(path, text, strlen(text), 0, &err));
}

static void assert_content(const char *path, const char *text)
{
    struct err err;
    AUTO_FREE char *got = NULL;
    ok(os_read_file(path, 1000, &got, NULL, &err));
    assert_string_equal(got, text);
}

/* One run of the task as a worker does it; the job's task in the database is made for the first run. */
static int run_export(struct scene *s, const char *id, const char *path, struct err *err)
{
    struct err why;
    AUTO(job_free_ptr) struct job *job = NULL;
    json_t *params = json_pack("{s:i, s:s, s:s}", "slot", 0, "format", "vhd", "path", path);
    int64_t task_id;
    struct task task = {0};
    uint64_t wait;
    if (task_add_export_vm(s->f->db, id, params, &task_id, &why) < 0)
        fail_msg("%s", why.msg);
    json_decref(params);
    if (task_claim(s->f->db, task_kind_lane(TASK_EXPORT_VM), &task, &wait, &why) < 0 || job_get(s->f->db, id, &job, &why) < 0)
        fail_msg("%s", why.msg);
    struct task_run t = {.d = &s->d, .db = s->f->db, .task = &task, .job = job};
    int r = task_export_vm(&t, err);
    finish(s->f->db, task.id, r == 0 ? OUTCOME_SUCCEEDED : OUTCOME_FAILED);
    task_clear(&task);
    return r;
}

/* A deletion that cannot be carried out is told to who watches, once, and goes on being tried. */
static void test_delete_delayed(void **state)
{
    struct scene *s = *state;
    struct err err;
    pthread_t cleaner;
    int64_t row;
    ok(resource_intend(s->f->db, s->id, -1, "odd", "x", NULL, false, &row, &err));      /* nobody knows how to undo that */
    ok(job_delete(s->f->db, s->id, DELETE_ALL, &err));
    s->d.stopping = false;
    assert_int_equal(pthread_create(&cleaner, NULL, cleaner_main, &s->d), 0);
    const char *count = "SELECT count(*) FROM event WHERE type = 'job_delete_delayed' AND data LIKE '%internal_error%'";
    for (int i = 0; i < 200; i++) {
        daemon_wake(&s->d);                            /* look again */
        clock_sleep_ms(10);
    }
    assert_ask(s->f->path, count, "1");
    ok(resource_forget(s->f->db, row, &err));
    AUTO(job_free_ptr) struct job *job = NULL;
    int r = 0;
    for (int i = 0; i < 1000 && r == 0; i++) {
        daemon_wake(&s->d);
        clock_sleep_ms(10);
        job_free(STEAL(job));
        r = job_get(s->f->db, s->id, &job, &err);
    }
    assert_int_equal(r, -ERR_NOT_FOUND);
    pthread_mutex_lock(&s->d.lock);
    s->d.stopping = true;
    pthread_cond_broadcast(&s->d.bell);
    pthread_mutex_unlock(&s->d.lock);
    pthread_join(cleaner, NULL);
}

static void delete_job(struct scene *s, const char *id, enum job_delete how)
{
    struct err err;
    pthread_t cleaner;
    AUTO(job_free_ptr) struct job *job = NULL;
    ok(job_delete(s->f->db, id, how, &err));
    s->d.stopping = false;
    assert_int_equal(pthread_create(&cleaner, NULL, cleaner_main, &s->d), 0);
    int r = 0;
    for (int64_t until = clock_mono_ms() + 20000; r == 0 && clock_mono_ms() < until; clock_sleep_ms(10)) {
        job_free(STEAL(job));
        r = job_get(s->f->db, id, &job, &err);
    }
    pthread_mutex_lock(&s->d.lock);
    s->d.stopping = true;
    pthread_cond_broadcast(&s->d.bell);
    pthread_mutex_unlock(&s->d.lock);
    pthread_join(cleaner, NULL);
    assert_int_equal(r, -ERR_NOT_FOUND);
}

static void test_plain(void **state)
{
    struct scene *s = *state;
    struct err err;
    ok(run_export(s, s->id, s->out, &err));
    assert_content(s->out, s->id);
    assert_false(there(s->folder));
    assert_ask(s->f->path, "SELECT group_concat(kind || made || (proof IS NOT NULL)) FROM resource", "file11");
    delete_job(s, s->id, DELETE_KEEP_DISKS);
    assert_content(s->out, s->id);
    assert_true(s->hv->tended > 0);                   /* by the cleaner, whose thread is gone */
}

/* The product of it all stays, also when the disks go. */
static void test_deleted_with_its_disks(void **state)
{
    struct scene *s = *state;
    struct err err;
    ok(run_export(s, s->id, s->out, &err));
    delete_job(s, s->id, DELETE_ALL);
    assert_content(s->out, s->id);
}

/* What the user put at the path, or beside it, stays in every case. */
static void test_somebody_elses(void **state)
{
    struct scene *s = *state;
    struct err err;
    AUTO_FREE char *part = str_printf("%s.part", s->out);
    put(s->out, "mine");
    put(part, "mine too");
    fails(run_export(s, s->id, s->out, &err), ERR_WRONG_STATE);
    assert_true(strstr(err.msg, s->out) && strstr(err_hint_text(&err), "another path"));
    assert_content(s->out, "mine");
    assert_ask(s->f->path, "SELECT count(*) FROM resource", "0");
    delete_job(s, s->id, DELETE_ALL);
    assert_content(s->out, "mine");
    assert_content(part, "mine too");
}

/* It comes while the disk is copied: found at the last step. */
struct late { struct scene *s; const char *path; };
static void *put_late(void *arg)
{
    struct late *l = arg;
    for (int i = 0; i < 2000 && !fake_hv_held(l->s->hv); i++)
        clock_sleep_ms(5);
    put(l->path, "late");
    fake_hv_hold(l->s->hv, false);
    return NULL;
}

static void test_somebody_comes_late(void **state)
{
    struct scene *s = *state;
    struct err err;
    pthread_t thread;
    struct late l = {s, s->out};
    fake_hv_hold(s->hv, true);
    assert_int_equal(pthread_create(&thread, NULL, put_late, &l), 0);
    fails(run_export(s, s->id, s->out, &err), ERR_WRONG_STATE);
    pthread_join(thread, NULL);
    assert_content(s->out, "late");
    assert_false(there(s->folder));
    assert_ask(s->f->path, "SELECT count(*) FROM resource", "0");
    delete_job(s, s->id, DELETE_ALL);
    assert_content(s->out, "late");
}

static void test_two_jobs_one_path(void **state)
{
    struct scene *s = *state;
    struct err err;
    char other[UUID_LEN];
    add_job(s, other);
    ok(run_export(s, s->id, s->out, &err));
    fails(run_export(s, other, s->out, &err), ERR_WRONG_STATE);
    delete_job(s, other, DELETE_ALL);
    assert_content(s->out, s->id);
}

/* The user took the export away and put something of the same name there. */
static void test_replaced(void **state)
{
    struct scene *s = *state;
    struct err err;
    AUTO_FREE char *away = tmp_path(s->f->dir, "away.vhd");
    ok(run_export(s, s->id, s->out, &err));
    ok(os_rename(s->out, away, &err));
    put(s->out, "a new one");
    fails(run_export(s, s->id, s->out, &err), ERR_WRONG_STATE);
    delete_job(s, s->id, DELETE_ALL);
    assert_content(s->out, "a new one");
    assert_content(away, s->id);
}

static void test_again(void **state)
{
    struct scene *s = *state;
    struct err err;
    ok(run_export(s, s->id, s->out, &err));
    ok(os_remove(s->out, &err));
    ok(run_export(s, s->id, s->out, &err));
    assert_content(s->out, s->id);
}

/* The states that a death leaves, one after each step of the task. */
static void die_after(struct scene *s, int step)
{
    struct err err;
    int64_t row;
    char proof[OS_FILE_ID];
    AUTO_FREE char *image = os_path_join(s->folder, "image");
    ok(resource_intend(s->f->db, s->id, 0, "folder", s->folder, NULL, false, &row, &err));
    if (step >= 2)
        ok(os_mkdirs(s->folder, OS_PRIVATE | OS_EXCLUSIVE, &err));
    if (step >= 3)
        put(image, step == 3 ? "half" : s->id);
    if (step >= 4) {
        ok(os_file_id(image, proof, &err));
        ok(resource_intend(s->f->db, s->id, 0, "file", s->out, proof, true, &row, &err));
    }
    if (step >= 5)
        ok(os_publish(image, s->out, &err));
    if (step >= 6)
        ok(resource_made(s->f->db, row, &err));
    if (step >= 7)
        ok(os_remove_tree(s->folder, &err));
}
#define STEPS 7

static void test_death_and_next_run(void **state)
{
    struct scene *s = *state;
    struct err err;
    for (int step = 1; step <= STEPS; step++) {
        die_after(s, step);
        char before[OS_FILE_ID], after[OS_FILE_ID];
        ok(os_file_id(s->out, before, &err));
        ok(run_export(s, s->id, s->out, &err));
        ok(os_file_id(s->out, after, &err));
        if (step >= 5)
            assert_string_equal(before, after);       /* found, not made again */
        assert_content(s->out, s->id);
        assert_false(there(s->folder));
        assert_ask(s->f->path, "SELECT group_concat(kind || made) FROM resource", "file1");
        ok(os_remove(s->out, &err));
        AUTO_FREE char *rows = ask(s->f->path, "SELECT id FROM resource");
        ok(resource_forget(s->f->db, atoll(rows), &err));
    }
}

static void test_death_and_delete(void **state)
{
    struct scene *s = *state;
    for (int step = 1; step <= STEPS; step++)
        for (int keep = 0; keep <= 1; keep++) {
            char id[UUID_LEN];
            add_job(s, id);
            memcpy(s->id, id, sizeof s->id);
            free(s->folder);
            s->folder = folder_of(s->out, s->id);
            die_after(s, step);
            delete_job(s, s->id, keep ? DELETE_KEEP_DISKS : DELETE_ALL);
            assert_false(there(s->folder));
            if (step >= 5)                            /* whole is whole, whoever had the time to write it down */
                assert_content(s->out, s->id);
            assert_int_equal(there(s->out), step >= 5);
            struct err err;
            ok(os_remove(s->out, &err));
            ok(hv_vm_delete(s->d.hv, id, &err));
        }
}

/* A death before the rename, and then the user puts a file there. */
static void test_death_and_somebody(void **state)
{
    struct scene *s = *state;
    struct err err;
    die_after(s, 4);
    put(s->out, "mine");
    fails(run_export(s, s->id, s->out, &err), ERR_WRONG_STATE);
    die_after(s, 1);
    delete_job(s, s->id, DELETE_ALL);
    assert_content(s->out, "mine");
    assert_false(there(s->folder));
}

static void test_failures(void **state)
{
    struct scene *s = *state;
    struct err err;
    AUTO_FREE char *nowhere = tmp_path(s->f->dir, "no/out.vhd");
    fails(run_export(s, s->id, nowhere, &err), ERR_NOT_FOUND);
    s->hv->fail = ERR_VM;
    fails(run_export(s, s->id, s->out, &err), ERR_VM);
    assert_false(there(s->folder) || there(s->out));
    assert_ask(s->f->path, "SELECT count(*) FROM resource", "0");
    s->hv->fail = ERR_OK;
    char lost[UUID_LEN];
    add_job(s, lost);
    ok(hv_vm_delete(s->d.hv, lost, &err));
    fails(run_export(s, lost, s->out, &err), ERR_VM_GONE);
    put(s->folder, "in the way");
    fails(run_export(s, s->id, s->out, &err), ERR_WRONG_STATE);
    delete_job(s, s->id, DELETE_ALL);
    assert_content(s->folder, "in the way");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_plain), T(test_deleted_with_its_disks), T(test_somebody_elses), T(test_somebody_comes_late), T(test_two_jobs_one_path), T(test_replaced),
        T(test_again), T(test_death_and_next_run), T(test_death_and_delete), T(test_death_and_somebody), T(test_failures), T(test_delete_delayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

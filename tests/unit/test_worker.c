/* What the end of a task means for the queue: workers as the daemon starts them, over a fake hypervisor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "common/clock.h"
#include "common/cond.h"
#include "service/config.h"
#include "service/daemon.h"
#include "tests/unit/db_util.h"
#include "tests/unit/fake_hv.h"
#include "tests/unit/tmp.h"

struct scene {
    struct fixture *f;
    struct config cfg;
    struct daemon d;
    struct worker w;
    struct fake_hv *hv;
    char id[UUID_LEN];
};

/* A job whose VM is made and is to be started. */
static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    struct err err;
    void *f;
    assert_non_null(s);
    fixture_setup(&f);
    s->f = f;
    s->hv = fake_hv_new();
    s->cfg = (struct config){.max_attempts = 3, .backoff_ms = 1, .backoff_max_ms = 2, .start_timeout_s = 30};
    s->d = (struct daemon){.cfg = &s->cfg, .data_dir = s->f->dir, .db_path = s->f->path, .box = s->f->box, .hv = &s->hv->hv,
                           .lock = PTHREAD_MUTEX_INITIALIZER};
    cond_init(&s->d.bell);
    s->w = (struct worker){.d = &s->d, .lane = LANE_HYPERVISOR};
    make_job(s->f->db, NULL, s->id);
    run_one(s->f->db, TASK_PREFLIGHT);
    run_one(s->f->db, TASK_DOWNLOAD);
    run_one(s->f->db, TASK_CREATE_VM);
    fake_hv_add(s->hv, s->id, "vm");
    ok(job_set_vm(s->f->db, s->id, s->id, 1, &err));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *f = s->f;
    pthread_cond_destroy(&s->d.bell);
    fake_hv_free(s->hv);
    free(s);
    return fixture_teardown(&f);
}

static void start(struct scene *s)
{
    assert_int_equal(pthread_create(&s->w.thread, NULL, worker_main, &s->w), 0);
}

static void stop(struct scene *s)
{
    pthread_mutex_lock(&s->d.lock);
    s->d.stopping = true;
    pthread_cond_broadcast(&s->d.bell);
    pthread_mutex_unlock(&s->d.lock);
    pthread_join(s->w.thread, NULL);
}

/* The state of the job once it is that, or after 10 s whatever it is then. */
static enum job_state wait_for(struct scene *s, enum job_state state)
{
    for (int64_t until = clock_mono_ms() + 10000; state_of(s->f->db, s->id) != state && clock_mono_ms() < until;)
        clock_sleep_ms(10);
    return state_of(s->f->db, s->id);
}

static void test_succeeds(void **state)
{
    struct scene *s = *state;
    start(s);
    assert_int_equal(wait_for(s, JOB_SUCCEEDED), JOB_SUCCEEDED);
    stop(s);
}

/* A user stops the VM while the task starts it: the hypervisor gives the start up. Nobody asked the job to end or to wait, so it must not be
 * started again behind that user's back, let alone over and over. */
static void test_given_up_by_another(void **state)
{
    struct scene *s = *state;
    s->hv->fail = ERR_CANCELLED;
    start(s);
    assert_int_equal(wait_for(s, JOB_FAILED), JOB_FAILED);
    stop(s);
    assert_ask(s->f->path, "SELECT count(*) FROM event WHERE type = 'task_started' AND data ->> '$.kind' = 'start_vm'", "1");
    assert_ask(s->f->path, "SELECT error ->> '$.code' FROM task WHERE kind = 'start_vm'", "vm_failed");
    check_consistent(s->f->path);
}

/* Its VM was removed behind our back: a retry finds the same, so the error says what helps. */
static void test_vm_gone(void **state)
{
    struct scene *s = *state;
    struct err err;
    ok(hv_vm_delete(s->d.hv, s->id, &err));
    start(s);
    assert_int_equal(wait_for(s, JOB_FAILED), JOB_FAILED);
    stop(s);
    assert_ask(s->f->path, "SELECT error ->> '$.code' FROM task WHERE kind = 'start_vm'", "vm_gone");
    assert_ask(s->f->path, "SELECT error ->> '$.hint' LIKE '%file source%' FROM task WHERE kind = 'start_vm'", "1");
}

/* The same answer while the daemon stops means that the task goes on at the next start. */
static void test_given_up_by_the_daemon(void **state)
{
    struct scene *s = *state;
    fake_hv_hold(s->hv, true);
    start(s);
    for (int i = 0; i < 1000 && !fake_hv_held(s->hv); i++)
        clock_sleep_ms(10);
    assert_int_equal(fake_hv_held(s->hv), 1);
    s->hv->fail = ERR_CANCELLED;
    pthread_mutex_lock(&s->d.lock);
    s->d.stopping = true;
    pthread_mutex_unlock(&s->d.lock);
    fake_hv_hold(s->hv, false);
    stop(s);
    assert_int_equal(task_state_of(s->f->db, s->id, TASK_START_VM, -1), TASK_PENDING);
    assert_int_equal(state_of(s->f->db, s->id), JOB_RUNNING);
    check_consistent(s->f->path);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_succeeds), T(test_given_up_by_another), T(test_vm_gone), T(test_given_up_by_the_daemon)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A worker: claims tasks of its lane and carries them out, one at a time. It owns its database connection. What a task's end means
 * for the queue (succeeded, failed, once more, parked) is decided here and nowhere else. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "db/event.h"
#include "service/task_run.h"

#define BEAT_MS 1000
#define IDLE_MS 30000                                 /* a look at the queue at least so often, doorbell or not */

static task_fn *const kinds[TASK_KINDS] = {
    [TASK_PREFLIGHT] = task_preflight, [TASK_EXPORT] = task_export, [TASK_VOLUME] = task_volume, [TASK_DOWNLOAD] = task_download,
    [TASK_CREATE_VM] = task_create_vm, [TASK_START_VM] = task_start_vm, [TASK_EXPORT_VM] = task_export_vm, [TASK_VERIFY] = task_verify,
};

bool task_run_stop(void *run)
{
    struct task_run *t = run;
    t->stopping = daemon_stopping(t->d);
    int64_t now = clock_mono_ms();
    uint64_t rings = daemon_rings(t->d);
    if (now >= t->next_beat_ms || rings != t->rings) {
        struct err e;
        int r = task_heartbeat(t->db, t->task->id, &t->progress, &t->flags, &e);
        if (r < 0)
            log_err(LOG_LEVEL_WARNING, "heartbeat not written", &e);   /* the work goes on: the next beat may succeed */
        t->next_beat_ms = now + BEAT_MS;
        t->rings = rings;
    }
    return t->stopping || t->flags.cancel || t->flags.pause;
}

int task_run_stopped(struct task_run *t, struct err *e)
{
    return err_set(e, ERR_CANCELLED, "%s", t->flags.cancel ? "cancelled on request" : t->flags.pause ? "paused" : "the daemon stops");
}

int task_run_sleep(struct task_run *t, unsigned ms, struct err *e)
{
    for (int64_t until = clock_mono_ms() + ms;;) {
        if (task_run_stop(t))
            return task_run_stopped(t, e);
        int64_t left = until - clock_mono_ms();
        if (left <= 0)
            return 0;
        daemon_wait(t->d, t->rings, left < 200 ? (unsigned)left : 200);
    }
}

int task_run_hypervisor(struct task_run *t, struct err *e)
{
    if (t->d->hv)
        return 0;
    *e = t->d->hv_error;
    return -e->code;
}

int task_run_vm(struct task_run *t, int r, struct err *e)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    struct err why;
    if (r != -ERR_NOT_FOUND || hv_vm_get(t->d->hv, t->job->vm_id, &vm, &why) != -ERR_NOT_FOUND)
        return r;
    return err_set(e, ERR_VM_GONE, "the VM %s, which this job made, is not there any more", t->job->vm_id);
}

void task_run_event(struct task_run *t, const char *type, json_t *data)
{
    struct err e;
    if (event_add(t->db, t->job->id, type, data, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "event not written", &e);
    json_decref(data);
}

/* Doubled with each attempt up to the ceiling, then anywhere between half and all of it, so that tasks that failed together do not
 * come back together. */
static uint64_t backoff_ms(const struct config *cfg, unsigned attempts, unsigned asked_ms)
{
    uint64_t ms = cfg->backoff_ms;
    for (unsigned i = 1; i < attempts && ms < cfg->backoff_max_ms; i++)
        ms *= 2;
    if (ms > cfg->backoff_max_ms)
        ms = cfg->backoff_max_ms;
    uint32_t random = 0;
    struct err e;
    if (os_random(&random, sizeof random, &e) == 0)
        ms = ms / 2 + random % (ms / 2 + 1);
    return ms > asked_ms ? ms : asked_ms;
}

/* The end must reach the database: without it the task would look as if it ran for ever. Only the end of the daemon gives up, and then
 * the next start finds the task running and lets it go on. */
static void finish(struct task_run *t, enum task_outcome o, const struct err *why, uint64_t delay_ms)
{
    for (struct err e; task_finish(t->db, t->task->id, o, why, delay_ms, &t->progress, &e) < 0;) {
        log_err(LOG_LEVEL_ERROR, "the end of the task is not written yet", &e);
        if (e.code == ERR_NOT_FOUND || daemon_stopping(t->d))
            break;
        daemon_wait(t->d, daemon_rings(t->d), 1000);
    }
    daemon_wake(t->d);
}

/* Did we want the run to end? What it saw last counts, even if the user has thought better of it since; the hypervisor hears of the daemon's
 * end by itself, before the run does. */
static bool is_ours(struct task_run *t)
{
    return t->stopping || t->flags.cancel || t->flags.pause || task_run_stop(t);
}

static void judge(struct task_run *t, int r, struct err *e)
{
    const struct config *cfg = t->d->cfg;
    if (r < 0 && e->code == ERR_CANCELLED && !is_ours(t)) {         /* a user stopped the VM: to begin again at once would undo that */
        struct err why = *e;
        err_set(e, ERR_VM, "what the task waited for was ended by somebody else: %s", why.msg);
        err_hint(e, "Retry the job to go on; nothing is lost.");
    }
    if (r == 0) {
        log_info("task succeeded", KI("bytes", t->progress.transferred));
        finish(t, OUTCOME_SUCCEEDED, NULL, 0);
    } else if (e->code == ERR_CANCELLED) {
        bool cancel = t->flags.cancel;
        log_info(cancel ? "task cancelled" : "task parked", KS("why", e->msg));
        finish(t, cancel ? OUTCOME_CANCELLED : OUTCOME_PARKED, NULL, 0);
    } else if (err_info(e->code)->retryable && t->task->attempts < cfg->max_attempts) {
        uint64_t delay = backoff_ms(cfg, t->task->attempts, e->retry_after_ms);
        log_err(LOG_LEVEL_WARNING, "task failed, it is tried again", e);
        finish(t, OUTCOME_RETRY, e, delay);
    } else {
        log_err(LOG_LEVEL_ERROR, "task failed", e);
        finish(t, OUTCOME_FAILED, e, 0);
    }
}

static void run_task(struct daemon *d, struct db *db, struct task *task)
{
    char what[32];
    if (task->disk >= 0)
        snprintf(what, sizeof what, "%s.%d", task_kind_name(task->kind), task->disk);
    else
        snprintf(what, sizeof what, "%s", task_kind_name(task->kind));
    log_context(task->job_id, what);
    log_info("task started", KI("attempt", task->attempts));
    struct task_run t = {.d = d, .db = db, .task = task, .progress = task->progress};
    struct err e;
    err_clear(&e);
    t.progress.bytes_per_second = 0;
    int r = job_get(db, task->job_id, &t.job, &e);
    if (r == 0 && !kinds[task->kind])
        r = err_set(&e, ERR_UNSUPPORTED, "this version cannot carry out a task of the kind %s", task_kind_name(task->kind));
    if (r == 0 && task_run_stop(&t))                  /* a pause or cancel that came between claim and here */
        r = task_run_stopped(&t, &e);
    if (r == 0)
        r = kinds[task->kind](&t, &e);
    judge(&t, r, &e);
    job_free(t.job);
    log_context(NULL, NULL);
}

void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct daemon *d = w->d;
    AUTO(db_close_ptr) struct db *db = NULL;
    while (!daemon_stopping(d)) {
        struct err e;
        uint64_t seen = daemon_rings(d), wait_ms = 1000;
        if (!db && db_open(d->db_path, d->box, &db, &e) < 0) {
            log_err(LOG_LEVEL_ERROR, "cannot open the database", &e);
            daemon_wait(d, seen, 1000);
            continue;
        }
        struct task task = {0};
        int r = task_claim(db, w->lane, &task, &wait_ms, &e);
        if (r == 0) {
            run_task(d, db, &task);
            task_clear(&task);
            continue;
        }
        if (r != -ERR_EMPTY) {
            log_err(LOG_LEVEL_ERROR, "the queue does not answer", &e);
            wait_ms = 1000;
        }
        daemon_wait(d, seen, wait_ms < IDLE_MS ? (unsigned)wait_ms : IDLE_MS);
    }
    return NULL;
}

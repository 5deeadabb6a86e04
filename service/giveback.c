/* Gives back what exports borrowed: ends access, deletes snapshots and copies. A download that succeeded does so itself; this thread does it for
 * everything else that no task needs any more: jobs that failed, were cancelled or are deleted, also before a crash or a reboot. What Azure does not
 * take back now is tried again, with growing pauses, for as long as it takes.
 *
 * A thing that was only meant to be borrowed (a request whose answer never came) may come into being after a first look. It is looked for twice. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "db/event.h"
#include "db/resource.h"
#include "service/export.h"
#include "storage/azure/compute.h"
#include "storage/azure/page_blob.h"

#define PAUSE_MIN_MS 2000
#define PAUSE_MAX_MS 600000
#define SECOND_LOOK_MS 5000
#define TELL_AGAIN_MS 3600000
#define IDLE_MS 30000
#define JOBS_MAX 256                                 /* whose trouble is remembered; others are tried each time */

struct giver {
    struct source_env env;
    const struct job *job;
    struct arm *arm;                                 /* of `credential`; NULL: not opened yet */
    char credential[65];
};

static void giver_clear(struct giver *g)
{
    arm_close(g->arm);
    g->arm = NULL;
}

/* ---- one thing ---- */

static int open_arm(struct giver *g, const struct spec_disk *s, struct err *e)
{
    if (g->arm && s->credential && !strcmp(g->credential, s->credential))
        return 0;
    giver_clear(g);
    snprintf(g->credential, sizeof g->credential, "%s", s->credential ? s->credential : "");
    return request_arm_open(g->env.d, g->env.db, g->credential, g->env.wait.stop, g->env.wait.arg, &g->arm, e);
}

static int open_blob(struct giver *g, const struct resource *r, const char *credential, struct disk_source **ret, struct err *e)
{
    struct source_place p = {.url = r->ident, .credential = credential};
    return disk_source_open_at(&g->env, &p, ret, e);
}

/* Azure's copy of the disk. What another put in its place is nothing to give back. */
static int delete_copy(struct giver *g, const struct resource *r, const char *credential, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *src = NULL;
    struct page_blob_copy c;
    int x = open_blob(g, r, credential, &src, e);
    if (x == 0)
        x = page_blob_copy_state(disk_source_blob(src), g->job->id, &c, e);
    if (x < 0)
        return x == -ERR_SOURCE_NOT_FOUND ? 0 : x;
    if (c.state != COPY_NONE && !c.ours) {
        log_warning("a blob does not carry this job's id; it stays", KS("blob", r->ident));
        return 0;
    }
    return page_blob_copy_delete(disk_source_blob(src), g->job->id, e);
}

/* A snapshot that we may not delete because it is not ours any more is nothing to give back. */
static int delete_snapshot(struct giver *g, const struct resource *r, struct err *e)
{
    AUTO(compute_disk_free_ptr) struct compute_disk *d = NULL;
    int x = compute_disk_get(g->arm, r->ident, &d, e);
    if (x < 0)
        return arm_error_is_gone(e) ? 0 : x;
    if (!d->job_tag || strcmp(d->job_tag, g->job->id) != 0) {
        log_warning("a snapshot does not carry this job's tag any more; it stays", KS("snapshot", r->ident));
        return 0;
    }
    return compute_snapshot_delete(g->arm, r->ident, g->job->id, e);
}

static int undo(struct giver *g, const struct resource *r, struct err *e)
{
    if (r->disk < 0 || (size_t)r->disk >= g->job->n_disks)
        return err_set(e, ERR_INTERNAL, "the job has no disk %d, for which a %s was borrowed", r->disk, r->kind);
    const struct spec_disk *s = &g->job->disks[r->disk].spec;
    AUTO(disk_source_close_ptr) struct disk_source *src = NULL;
    int x;
    if (!strcmp(r->kind, "blob"))
        return delete_copy(g, r, s->via.credential ? s->via.credential : s->credential, e);
    if (!strcmp(r->kind, "blob_snapshot")) {
        bool unlisted = false;
        x = open_blob(g, r, s->storage_credential ? s->storage_credential : s->credential, &src, e);
        if (x == 0)
            x = page_blob_snapshot_delete(disk_source_blob(src), g->job->id, r->proof, &unlisted, e);
        if (unlisted)
            log_warning("the credential may not list the container: a snapshot that was asked for may be left there", KS("blob", r->ident));
        return x == -ERR_SOURCE_NOT_FOUND ? 0 : x;
    }
    if ((x = open_arm(g, s, e)) < 0)
        return x;
    return !strcmp(r->kind, "sas") ? compute_end_access(g->arm, r->ident, e) : delete_snapshot(g, r, e);
}

static void tell(struct giver *g, const char *type, const struct resource *r, const struct err *why, int64_t retry_ms)
{
    json_t *data = json_pack("{s:s, s:s, s:i}", "kind", r->kind, "what", r->ident, "disk", r->disk);
    struct err e;
    if (data && why)
        json_object_set_new(data, "error", json_from_err(why));
    if (data && why)
        json_object_set_new(data, "retry_in_ms", json_integer(retry_ms));
    if (!data || event_add(g->env.db, g->job->id, type, data, &e) < 0)
        log_warning("an event is not written", KS("type", type));
    json_decref(data);
}

static int give_back(struct giver *g, const struct resource *r, struct err *e)
{
    int x = undo(g, r, e);
    if (x < 0)
        return x;
    if (!strcmp(r->kind, "sas") || !strcmp(r->kind, "blob"))
        x = job_access_ended(g->env.db, g->job->id, (unsigned)r->disk, r->ident, e);
    if (x < 0 || (x = resource_returned(g->env.db, r, e)) < 0)
        return x;
    log_info("given back", KS("kind", r->kind), KS("what", r->ident));
    tell(g, "given_back", r, NULL, 0);
    return 0;
}

/* ---- by a task, for its own disk ---- */

static bool is_wanted(const struct resource *r, unsigned disk, enum export_rest what)
{
    if (!resource_is_borrowed(r) || r->disk != (int)disk)
        return false;
    return what == EXPORT_ALL || !strcmp(r->kind, "sas") || !strcmp(r->kind, "snapshot");
}

/* A copy before what it is made from, access before what it was granted to. */
static unsigned rank(const struct resource *r)
{
    return !strcmp(r->kind, "blob") ? 0 : !strcmp(r->kind, "sas") ? 1 : 2;
}

void export_give_back(struct task_run *t, unsigned disk, enum export_rest what)
{
    AUTO(giver_clear) struct giver g = {.env = source_env_of(t), .job = t->job};
    struct resource *list;
    size_t n;
    struct err e;
    g.env.wait.show_code = NULL;                     /* nobody waits for a person here */
    if (resource_list(t->db, t->job->id, &list, &n, &e) < 0) {
        log_err(LOG_LEVEL_WARNING, "what was borrowed is given back later", &e);
        return;
    }
    for (unsigned turn = 0, stop = 0; turn < 3 && !stop; turn++)
        for (size_t i = 0; i < n && !stop; i++) {
            if (rank(&list[i]) != turn || !is_wanted(&list[i], disk, what) || list[i].state != RESOURCE_MADE)
                continue;
            if (give_back(&g, &list[i], &e) < 0) {
                log_err(LOG_LEVEL_WARNING, "not given back yet, it is tried again", &e);
                stop = 1;
            }
        }
    resource_list_free(list, n);
}

/* ---- the thread ---- */

/* What went wrong with a job's things, and when to try again. */
struct trouble {
    char job[UUID_LEN];
    int64_t next_ms, told_ms;                        /* monotonic */
    unsigned pause_ms;
    enum err_code told;
    bool seen;                                       /* in this round */
};
/* Things whose making was never confirmed, at their first look. */
struct look { int64_t id, intents, at_ms; };

struct keeper {
    struct daemon *d;
    struct db *db;
    struct trouble troubles[JOBS_MAX];
    size_t n;
    struct look looks[JOBS_MAX];
    size_t n_looks;
};

static bool on_stop(void *daemon)
{
    return daemon_stopping(daemon);
}

static struct trouble *trouble_of(struct keeper *k, const char *job, bool make)
{
    for (size_t i = 0; i < k->n; i++)
        if (!strcmp(k->troubles[i].job, job))
            return &k->troubles[i];
    if (!make || k->n == JOBS_MAX)
        return NULL;
    struct trouble *x = &k->troubles[k->n++];
    *x = (struct trouble){0};
    memcpy(x->job, job, UUID_LEN);
    return x;
}

/* How long until this one may be forgotten, having been looked for once: 0: now. */
static int64_t second_look(struct keeper *k, const struct resource *r, int64_t now)
{
    if (r->state == RESOURCE_MADE)
        return 0;
    for (size_t i = 0; i < k->n_looks; i++)
        if (k->looks[i].id == r->id && k->looks[i].intents == r->intents) {
            int64_t left = k->looks[i].at_ms + SECOND_LOOK_MS - now;
            return left > 0 ? left : 0;
        }
    size_t at = k->n_looks < JOBS_MAX ? k->n_looks++ : (size_t)(r->id % JOBS_MAX);
    k->looks[at] = (struct look){r->id, r->intents, now};
    return -1;                                       /* this is the first look */
}

static void forget_look(struct keeper *k, const struct resource *r)
{
    for (size_t i = 0; i < k->n_looks; i++)
        if (k->looks[i].id == r->id) {
            k->looks[i] = k->looks[--k->n_looks];
            return;
        }
}

static void remember(struct keeper *k, struct giver *g, const struct resource *r, const struct err *why)
{
    struct trouble *x = trouble_of(k, g->job->id, true);
    int64_t now = clock_mono_ms();
    log_err(LOG_LEVEL_WARNING, "not given back yet, it is tried again", why);
    if (!x)
        return;
    x->pause_ms = !x->pause_ms ? PAUSE_MIN_MS : x->pause_ms * 2 < PAUSE_MAX_MS ? x->pause_ms * 2 : PAUSE_MAX_MS;
    unsigned pause = why->retry_after_ms > x->pause_ms ? why->retry_after_ms : x->pause_ms;
    x->next_ms = now + pause;
    if (x->told != why->code || now - x->told_ms >= TELL_AGAIN_MS) {
        tell(g, "give_back_failed", r, why, pause);
        x->told = why->code;
        x->told_ms = now;
    }
}

/* *ret_wait: shortened to the next thing that is due. */
static void soon(int64_t ms, unsigned *ret_wait)
{
    if (ms < (int64_t)*ret_wait)
        *ret_wait = ms > 0 ? (unsigned)ms : 1;
}

static void give_back_job(struct keeper *k, const char *id, unsigned *ret_wait)
{
    AUTO(job_free_ptr) struct job *job = NULL;
    AUTO(giver_clear) struct giver g = {.env = {.d = k->d, .db = k->db, .wait = {.stop = on_stop, .arg = k->d}}};
    struct resource *list;
    size_t n;
    struct err e;
    bool failed = false, returned = false;
    if (job_get(k->db, id, &job, &e) < 0 || resource_list_idle(k->db, id, &list, &n, &e) < 0) {
        log_err(LOG_LEVEL_WARNING, "what was borrowed is not known now", &e);
        return;
    }
    g.job = job;
    for (size_t i = 0; i < n && !daemon_stopping(k->d); i++) {
        struct resource *r = &list[i];
        int64_t left = second_look(k, r, clock_mono_ms());
        if (left > 0) {
            soon(left, ret_wait);
            continue;
        }
        int x = left < 0 ? undo(&g, r, &e) : give_back(&g, r, &e);
        if (x < 0 && e.code == ERR_CANCELLED)
            break;
        if (x < 0) {
            forget_look(k, r);
            if (!failed)
                remember(k, &g, r, &e);
            failed = true;
            if (arm_error_is_transient(&e))          /* the rest fails alike */
                break;
            continue;
        }
        if (left < 0) {
            soon(SECOND_LOOK_MS, ret_wait);
        } else {
            forget_look(k, r);
            returned = true;
        }
    }
    struct trouble *x = failed ? NULL : trouble_of(k, id, false);
    if (x)
        *x = k->troubles[--k->n];
    resource_list_free(list, n);
    if (returned)
        daemon_wake(k->d);                           /* a job that is deleted waits for this */
}

static void round_of(struct keeper *k, unsigned *ret_wait)
{
    struct err e;
    char **ids;
    size_t n;
    if (resource_jobs_idle(k->db, &ids, &n, &e) < 0) {
        log_err(LOG_LEVEL_WARNING, "the queue does not answer", &e);
        return;
    }
    for (size_t i = 0; i < k->n; i++)
        k->troubles[i].seen = false;
    for (size_t i = 0; i < n; i++) {
        struct trouble *x = trouble_of(k, ids[i], false);
        int64_t left = x ? x->next_ms - clock_mono_ms() : 0;
        log_context(ids[i], "give_back");
        if (left > 0)
            soon(left, ret_wait);
        else if (!daemon_stopping(k->d))
            give_back_job(k, ids[i], ret_wait);
        log_context(NULL, NULL);
        if ((x = trouble_of(k, ids[i], false))) {
            soon(x->next_ms - clock_mono_ms(), ret_wait);
            x->seen = true;
        }
        free(ids[i]);
    }
    free(ids);
    for (size_t i = k->n; i-- > 0;)                  /* gone, or needed again */
        if (!k->troubles[i].seen)
            k->troubles[i] = k->troubles[--k->n];
}

void *giveback_main(void *arg)
{
    struct daemon *d = arg;
    AUTO_FREE struct keeper *k = calloc(1, sizeof *k);
    AUTO(db_close_ptr) struct db *db = NULL;
    struct err e;
    if (!k) {
        log_error("no memory to give back what was borrowed: start the daemon again");
        return NULL;
    }
    k->d = d;
    while (!daemon_stopping(d)) {
        uint64_t seen = daemon_rings(d);
        unsigned wait = IDLE_MS;
        if (!db && db_open(d->db_path, d->box, &db, &e) < 0)
            log_err(LOG_LEVEL_ERROR, "cannot open the database", &e);
        k->db = db;
        if (db)
            round_of(k, &wait);
        daemon_wait(d, seen, wait);
    }
    return NULL;
}

#include "service/volumes.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "db/event.h"
#include "db/resource.h"
#include "service/disk_source.h"

#define TAKEN_MAX 1024                               /* disks that unfinished jobs are about to use */

int volumes_open(struct daemon *d, bool (*stop)(void *arg), void *arg, struct volume_host **ret, struct err *e)
{
    struct volume_config c = {.data_dir = d->data_dir, .loop_devices = !strcmp(d->cfg->loop_devices, "true"), .stop = stop, .arg = arg};
    return volume_open(&c, ret, e);
}

static int open_for(struct task_run *t, struct volume_host **ret, struct err *e)
{
    return volumes_open(t->d, task_run_stop, t, ret, e);
}

/* ---- the plan of a job ---- */

static bool has_volume(const struct job *j)
{
    return j->spec->volume && j->spec->until >= TASK_VOLUME;
}

int volumes_plan_of(const struct job *j, struct volume_plan *ret, struct err *e)
{
    int r = volume_plan_parse(j->volume, ret, e);
    return r < 0 ? err_prefix(e, "the database holds a volume of job %s that cannot be read", j->id) : 0;
}

int volumes_keep_plan(struct db *db, struct job *j, const struct volume_plan *p, struct err *e)
{
    json_t *o = volume_plan_json(p);
    if (!o)
        return err_oom(e);
    int r = job_set_volume(db, j->id, o, e);
    if (r < 0) {
        json_decref(o);
        return r;
    }
    json_decref(j->volume);
    j->volume = o;
    return 0;
}

struct taken {
    const char *own;                                 /* id of the job that plans */
    char *ids[TAKEN_MAX];
    size_t n;
};

static void taken_clear(struct taken *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->ids[i]);
}

/* Disks that another job has chosen and that do not show it yet. */
static int on_volume(void *arg, const char *job_id, json_t *volume, struct err *e)
{
    struct taken *t = arg;
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    if (!strcmp(job_id, t->own))
        return 0;
    int r = volume_plan_parse(volume, &p, e);
    for (size_t i = 0; i < p.n_disks && r == 0 && !p.found && t->n < TAKEN_MAX; i++)
        if (!(t->ids[t->n++] = str_dup(p.disks[i].id)))
            r = err_oom(e);
    return r;
}

static int word(const char *const w, const char *(*name)(int i), int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(name(i), w))
            return i;
    return 0;
}
static const char *layout_at(int i) { return volume_layout_name((enum volume_layout)i); }
static const char *fs_at(int i) { return volume_fs_name((enum volume_fs)i); }
static const char *style_at(int i) { return volume_style_name((enum volume_style)i); }

static int choose(struct task_run *t, uint64_t wanted, struct volume_plan *ret, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(taken_clear) struct taken taken = {.own = t->job->id};
    const struct spec_volume *v = t->job->spec->volume;
    struct volume_request rq = {.disks = (const char *const *)v->disks, .n_disks = v->n_disks, .label = v->label, .mount_point = v->mount_point,
                                .layout = (enum volume_layout)word(v->layout, layout_at, VOLUME_LAYOUTS),
                                .fs = (enum volume_fs)word(v->file_system, fs_at, VOLUME_FSS),
                                .style = (enum volume_style)word(v->partition_style, style_at, VOLUME_STYLES)};
    int r = open_for(t, &h, e);
    if (r == 0)
        r = job_each_volume(t->db, on_volume, &taken, e);
    return r < 0 ? r : volume_plan_make(h, &rq, (const char *const *)taken.ids, taken.n, wanted, ret, e);
}

/* Disks that were looked at before it was known where they go: what was found is in the database. */
static int place_disks(struct task_run *t, struct err *e)
{
    struct job *now;
    int r = job_get(t->db, t->job->id, &now, e);
    if (r < 0)
        return r;
    job_free(t->job);
    t->job = now;
    for (unsigned i = 0; i < t->job->n_disks && r == 0; i++) {
        struct job_disk *d = &t->job->disks[i];
        if (d->spec.type == SOURCE_FILE || d->format == FORMAT_AUTO)
            continue;
        AUTO_FREE char *path = disk_path(t, i, d->format);
        if (!path)
            return err_oom(e);
        if ((r = job_set_disk(t->db, t->job->id, i, path, d->format, d->virtual_size, e)) == 0) {
            free(d->path);
            d->path = STEAL(path);
        }
    }
    return r;
}

static void warn_of_temporary(struct task_run *t, const struct volume_plan *p)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(hostdisks_clear) struct hostdisks disks = {0};
    struct err ignored;
    if (p->found || !t->job->spec->volume->n_disks || open_for(t, &h, &ignored) < 0 || h->ops->disks(h, &disks, &ignored) < 0)
        return;
    const struct hostdisk *d = hostdisks_find(&disks, p->disks[0].id);
    if (d && d->role == HOSTDISK_TEMPORARY)
        source_warn(t, "volume", "the volume is made of a temporary disk: all that is on it vanishes when this VM is stopped, resized or moved",
                    "Export what is repaired before the host is stopped.");
}

int volumes_resolve(struct task_run *t, uint64_t wanted, struct err *e)
{
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    if (!has_volume(t->job) || t->job->volume)
        return 0;
    pthread_mutex_lock(&t->d->volumes);               /* two jobs that look at once would take the same disk */
    int r = choose(t, wanted, &p, e);
    if (r == 0)
        r = volumes_keep_plan(t->db, t->job, &p, e);
    pthread_mutex_unlock(&t->d->volumes);
    if (r < 0)
        return r;
    warn_of_temporary(t, &p);
    json_t *disks = json_array();
    for (size_t i = 0; i < p.n_disks; i++)
        json_array_append_new(disks, json_string(p.disks[i].id));
    task_run_event(t, "volume_planned", json_pack("{s:s, s:b, s:s, s:s, s:o}", "volume", p.id, "found", p.found, "label", p.label, "mount_point", p.mount_point,
                                                  "disks", disks));
    return place_disks(t, e);
}

const char *volumes_folder(const struct task_run *t)
{
    const char *at = json_string_value(json_object_get(t->job->volume, "mount_point"));
    return at && has_volume(t->job) ? at : t->d->disks_dir;
}

int volumes_free_space(const struct task_run *t, uint64_t *ret, struct err *e)
{
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    if (!has_volume(t->job) || !t->job->volume)
        return os_free_space(t->d->disks_dir, ret, e);
    int r = volumes_plan_of(t->job, &p, e);
    if (r < 0)
        return r;
    if (p.done == VOLUME_MOUNTED)
        return os_free_space(p.mount_point, ret, e);
    *ret = p.capacity;
    return 0;
}

int volumes_ready(struct task_run *t, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    if (!has_volume(t->job) || !t->job->volume)
        return 0;
    int r = volumes_plan_of(t->job, &p, e);
    if (r < 0 || (r = open_for(t, &h, e)) < 0)
        return r;
    return volume_ready(h, &p, e);
}

/* ---- start of the daemon ---- */

struct up { struct daemon *d; struct volume_host *h; };

static int bring_up(void *arg, const char *job_id, json_t *volume, struct err *e)
{
    struct up *up = arg;
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    struct err why;
    (void)e;
    if (daemon_stopping(up->d))
        return 1;
    if (volume_plan_parse(volume, &p, &why) == 0 && p.done == VOLUME_MOUNTED && volume_ready(up->h, &p, &why) < 0) {
        log_context(job_id, "volume");
        log_err(LOG_LEVEL_WARNING, "the volume is not there", &why);
        log_context(NULL, NULL);
    }
    return 0;
}

static bool on_stop(void *daemon)
{
    return daemon_stopping(daemon);
}

void volumes_bring_up(struct daemon *d, struct db *db)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    struct err e;
    if (volumes_open(d, on_stop, d, &h, &e) < 0)
        return;                                       /* no volumes here */
    struct up up = {d, h};
    if (job_each_volume(db, bring_up, &up, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "the volumes of the jobs are not known now", &e);
}

/* ---- undoing ---- */

/* Another job on the same volume: *heir is its id, *plan (new reference) its volume. */
struct heir { const char *own, *volume; char id[UUID_LEN]; json_t *plan; };

static int on_heir(void *arg, const char *job_id, json_t *volume, struct err *e)
{
    (void)e;
    struct heir *h = arg;
    const char *id = json_string_value(json_object_get(volume, "id"));
    if (!strcmp(job_id, h->own) || !id || strcmp(id, h->volume))
        return 0;
    memcpy(h->id, job_id, UUID_LEN);
    h->plan = json_incref(volume);
    return 1;
}

struct undo { struct db *db; const char *job_id; };

static int save_undo(void *arg, const struct volume_plan *p, struct err *e)
{
    struct undo *u = arg;
    json_t *o = volume_plan_json(p);
    int r = o ? job_set_volume(u->db, u->job_id, o, e) : err_oom(e);
    json_decref(o);
    return r;
}

static int hint_of_keeping(struct err *e)
{
    char hint[sizeof e->hint];
    snprintf(hint, sizeof hint, "%s", err_hint_text(e));
    return err_hint(e, "%.250s To leave the volume as it is, delete the job with disks=keep.", hint);
}

static int take_apart(struct daemon *d, struct db *db, const struct job *job, struct volume_plan *p, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO_FREE char *kept = NULL;
    struct undo u = {db, job->id};
    const struct volume_watch w = {.save = save_undo, .arg = &u};
    struct err why;
    int r = volumes_open(d, on_stop, d, &h, e);
    if (r == 0)
        r = volume_undo(h, p, &w, &kept, e);
    if (r < 0)
        return hint_of_keeping(e);
    if (!kept) {
        log_info("volume removed, its disks are empty again", KS("volume", p->id));
        return 0;
    }
    log_warning("a volume stays, since it holds something else", KS("volume", p->id), KS("what", kept));
    json_t *data = json_pack("{s:s, s:s, s:s}", "id", job->id, "volume", p->id, "holds", kept);
    if (data && event_add(db, NULL, "volume_kept", data, &why) < 0)
        log_err(LOG_LEVEL_WARNING, "event not written", &why);
    json_decref(data);
    return 0;
}

int volumes_reach(struct daemon *d, const struct job *job, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    if (!job->volume)
        return 0;
    int r = volumes_plan_of(job, &p, e);
    if (r < 0 || p.done < VOLUME_MOUNTED)
        return r;
    if ((r = volumes_open(d, on_stop, d, &h, e)) == 0)
        r = volume_ready(h, &p, e);
    return r < 0 ? hint_of_keeping(e) : 0;
}

int volumes_undo(struct daemon *d, struct db *db, const struct job *job, bool keep, struct err *e)
{
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    if (!job->volume)
        return 0;
    int r = volumes_plan_of(job, &p, e);
    if (r < 0)
        return r;
    if (p.found || (keep && p.done == VOLUME_MOUNTED))
        return 0;
    struct heir heir = {.own = job->id, .volume = p.id};
    pthread_mutex_lock(&d->volumes);
    r = job_each_volume(db, on_heir, &heir, e);
    if (r > 0) {
        int64_t ignored;
        json_object_set_new(heir.plan, "found", json_false());
        if ((r = job_set_volume(db, heir.id, heir.plan, e)) == 0)
            r = resource_intend(db, heir.id, -1, "volume", p.id, NULL, true, &ignored, e);
        json_decref(heir.plan);
        pthread_mutex_unlock(&d->volumes);
        return r;
    }
    pthread_mutex_unlock(&d->volumes);
    return r < 0 ? r : take_apart(d, db, job, &p, e);
}

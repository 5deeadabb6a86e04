/* Snapshots of the disks of a VM that runs: all of them one right after the other, before anything is downloaded, so that together they are what
 * a power cut would leave. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "db/resource.h"
#include "service/export_run.h"

#define FILL_POLL_MS 2000                            /* at first; large disks take hours */
#define FILL_POLL_MAX_MS 30000

static bool is_downloaded(const struct task_run *t, unsigned disk)
{
    for (size_t i = 0; i < t->job->n_tasks; i++)
        if (t->job->tasks[i].kind == TASK_DOWNLOAD && t->job->tasks[i].disk == (int)disk)
            return t->job->tasks[i].state == TASK_SUCCEEDED;
    return false;
}

/* Those of the same entry of the request that are still to be read. */
static bool is_in_set(const struct export_run *x, const struct job_disk *d)
{
    return d->origin == x->disk->origin && d->target && !is_downloaded(x->t, d->index);
}

static int snapshot_id(const struct export_run *x, const struct job_disk *d, char ret[ARM_ID_MAX], struct err *e)
{
    struct arm_id of, id;
    char name[64];
    snprintf(name, sizeof name, "vmrecover-%s-%u", x->t->job->id, d->index);
    int r = arm_id_parse(d->target->id, COMPUTE_DISK_TYPE, &of, e);
    if (r < 0 || (r = arm_id_make(of.subscription, of.resource_group, COMPUTE_SNAPSHOT_TYPE, name, &id, e)) < 0)
        return r;
    arm_id_path(&id, ret);
    return 0;
}

static int create(struct export_run *x, const struct job_disk *d, const char *id, struct err *e)
{
    AUTO(compute_disk_free_ptr) struct compute_disk *made = NULL;
    struct compute_snapshot_request q = {.id = id, .source_id = d->target->id, .location = d->target->location, .job_id = x->t->job->id,
                                         .incremental = true};
    int r = compute_snapshot_create(x->arm, &q, &made, e);
    if (r == -ERR_UPSTREAM_FINAL && e->upstream.status == 400) {       /* a disk that has whole snapshots only */
        struct err why = *e;
        q.incremental = false;
        if ((r = compute_snapshot_create(x->arm, &q, &made, e)) < 0)
            *e = why;
    }
    return r < 0 ? err_prefix(e, "no snapshot of %s", d->target->name) : 0;
}

/* ---- managed disks ---- */

struct row { const struct job_disk *disk; int64_t id; char arm_id[ARM_ID_MAX]; bool made; };

static int is_made(struct export_run *x, const struct row *row, bool *ret, struct err *e)
{
    struct resource *list;
    size_t n;
    int r = resource_list(x->t->db, x->t->job->id, &list, &n, e);
    if (r < 0)
        return r;
    *ret = false;
    for (size_t i = 0; i < n; i++)
        *ret |= list[i].id == row->id && list[i].state == RESOURCE_MADE;
    resource_list_free(list, n);
    return 0;
}

static void tell_of_other_moment(struct export_run *x)
{
    for (size_t i = 0; i < x->t->job->n_disks; i++)
        if (x->t->job->disks[i].origin == x->disk->origin && is_downloaded(x->t, (unsigned)i)) {
            source_warn(x->t, "consistency",
                        "some disks of this VM were downloaded from earlier snapshots: together with the others they are not of one moment",
                        "Delete the job and submit it again if the disks belong together (a volume or database across them).");
            return;
        }
}

static int take_managed(struct export_run *x, struct err *e)
{
    struct row rows[SPEC_DISKS_MAX];
    size_t n = 0;
    bool any = false;
    int r = 0;
    for (size_t i = 0; r == 0 && i < x->t->job->n_disks; i++) {
        const struct job_disk *d = &x->t->job->disks[i];
        if (!is_in_set(x, d) || !d->target->id || d->spec.type == SOURCE_SNAPSHOT)
            continue;
        struct row *row = &rows[n++];
        *row = (struct row){.disk = d};
        if ((r = snapshot_id(x, d, row->arm_id, e)) == 0 && (r = export_intend(x, d->index, "snapshot", row->arm_id, NULL, &row->id, e)) == 0)
            r = is_made(x, row, &row->made, e);
    }
    for (size_t i = 0; r == 0 && i < n; i++)         /* nothing but the requests between them */
        r = create(x, rows[i].disk, rows[i].arm_id, e);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!rows[i].made) {
            any = true;
            r = export_borrowed(x, rows[i].disk->index, "snapshot", rows[i].arm_id, rows[i].id, e);
        }
    if (r == 0 && any)
        tell_of_other_moment(x);
    return r;
}

int export_find_snapshot(struct export_run *x, struct compute_disk **ret, struct err *e)
{
    AUTO_FREE char *id = NULL;
    AUTO(compute_disk_free_ptr) struct compute_disk *d = NULL;
    *ret = NULL;
    int r = export_row(x, x->index, "snapshot", &id, NULL, e);
    if (r == 0)
        r = compute_disk_get(x->arm, id, &d, e);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == 0 && d->job_tag && !strcmp(d->job_tag, x->t->job->id))
        *ret = STEAL(d);
    return r;
}

int export_wait_filled(struct export_run *x, const char *id, struct err *e)
{
    unsigned pause = FILL_POLL_MS;
    for (bool told = false;; pause = pause * 5 / 4 < FILL_POLL_MAX_MS ? pause * 5 / 4 : FILL_POLL_MAX_MS) {
        AUTO(compute_disk_free_ptr) struct compute_disk *d = NULL;
        int r = compute_disk_get(x->arm, id, &d, e);
        if (r < 0 || d->completion_percent < 0 || d->completion_percent >= 100)
            return r;
        if (!told)
            task_run_event(x->t, "snapshot_filling",
                           json_pack("{s:s, s:i, s:f}", "what", id, "disk", (int)x->index, "percent", d->completion_percent));
        told = true;
        x->t->progress.total = x->target->size_bytes;
        x->t->progress.done = (uint64_t)((double)x->target->size_bytes * d->completion_percent / 100);
        if ((r = task_run_sleep(x->t, pause, e)) < 0)
            return r;
    }
}

/* ---- page blobs of unmanaged disks ---- */

int export_open_page_blob(struct export_run *x, unsigned disk, struct disk_source **ret, struct err *e)
{
    const struct job_disk *d = &x->t->job->disks[disk];
    struct source_place p = {.url = d->target->url, .credential = d->spec.storage_credential ? d->spec.storage_credential : d->spec.credential};
    int r = cloud_check_blob(azure_cloud(x->t->d->azure), p.url, e);
    return r < 0 ? r : disk_source_open_at(&x->env, &p, ret, e);
}

/* Whether the snapshot that an earlier run took is still there. */
static int is_there(struct export_run *x, const struct job_disk *d, const char *time, bool *ret, struct err *e)
{
    AUTO_SECRET char *url = page_blob_snapshot_url(d->target->url, time);
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    struct source_place p = {.url = url, .credential = d->spec.storage_credential ? d->spec.storage_credential : d->spec.credential};
    struct blob_info info;
    if (!url)
        return err_oom(e);
    int r = disk_source_open_at(&x->env, &p, &s, e);
    if (r == 0)
        r = blob_head(disk_source_blob(s), &info, e);
    *ret = r == 0;
    return r == -ERR_SOURCE_NOT_FOUND ? 0 : r;
}

static int take_unmanaged(struct export_run *x, const struct job_disk *d, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    AUTO_FREE char *ident = NULL, *time = NULL;
    char made[PAGE_BLOB_TIME_MAX];
    bool there = false, unlisted = false;
    int64_t row;
    int r = export_row(x, d->index, "blob_snapshot", &ident, &time, e);
    if ((r < 0 && r != -ERR_NOT_FOUND) || (time && (r = is_there(x, d, time, &there, e)) < 0))
        return r;
    if ((r = export_intend(x, d->index, "blob_snapshot", d->target->url, NULL, &row, e)) < 0 || there)
        return r;
    if ((r = export_open_page_blob(x, d->index, &s, e)) < 0 ||
        (r = page_blob_snapshot(disk_source_blob(s), x->t->job->id, made, &unlisted, e)) < 0 ||
        (r = export_intend(x, d->index, "blob_snapshot", d->target->url, made, &row, e)) < 0)
        return r;
    if (unlisted)
        log_warning("the credential may not list the container: a snapshot of an earlier try could not be looked for", KS("blob", d->target->url));
    return export_borrowed(x, d->index, "blob_snapshot", d->target->url, row, e);
}

int export_take_snapshots(struct export_run *x, struct err *e)
{
    int r = x->arm ? take_managed(x, e) : 0;
    for (size_t i = 0; r == 0 && i < x->t->job->n_disks; i++) {
        const struct job_disk *d = &x->t->job->disks[i];
        if (is_in_set(x, d) && d->target->url)
            r = take_unmanaged(x, d, e);
    }
    return r;
}

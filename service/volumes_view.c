/* Disks and volumes as the API shows them. */
#include <string.h>

#include "service/volumes.h"

int volumes_view_disks(struct daemon *d, bool (*stop)(void *arg), void *arg, json_t **ret, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(hostdisks_clear) struct hostdisks disks = {0};
    int r = volumes_open(d, stop, arg, &h, e);
    if (r < 0 || (r = volume_disks(h, &disks, e)) < 0)
        return r;
    json_t *list = json_array();
    bool failed = !list;
    for (size_t i = 0; i < disks.n && !failed; i++)
        failed = json_array_append_new(list, hostdisk_json(&disks.at[i])) < 0;
    if (failed) {
        json_decref(list);
        return err_oom(e);
    }
    *ret = list;
    return 0;
}

/* ---- volumes, with the jobs on them ---- */

struct view {
    const struct hostvolumes *volumes;
    json_t **jobs;                                   /* of each volume: ids */
};

/* The one that is mounted nearest above the path. */
static size_t volume_of(const struct hostvolumes *l, const char *path)
{
    size_t best = l->n;
    for (size_t i = 0; i < l->n; i++) {
        const char *at = l->at[i].mount_point;
        if (at && os_path_within(path, at) && (best == l->n || strlen(at) > strlen(l->at[best].mount_point)))
            best = i;
    }
    return best;
}

/* Jobs come one after the other: a job that is there already is the last. */
static int on_path(void *arg, const char *job_id, const char *path)
{
    struct view *v = arg;
    size_t at = volume_of(v->volumes, path);
    if (at == v->volumes->n)
        return 0;
    size_t n = json_array_size(v->jobs[at]);
    const char *last = n ? json_string_value(json_array_get(v->jobs[at], n - 1)) : "";
    return strcmp(last, job_id) && json_array_append_new(v->jobs[at], json_string(job_id)) < 0 ? -ERR_OOM : 0;
}

static json_t *volume_json(const struct hostvolume *v, json_t *jobs)
{
    json_t *disks = json_array();
    bool failed = !disks;
    for (size_t i = 0; i < v->n_disks && !failed; i++)
        failed = json_array_append_new(disks, json_string(v->disks[i])) < 0;
    json_t *o = failed ? NULL
                       : json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:I, s:I, s:b, s:b, s:b, s:O, s:O}", "id", v->id, "device", v->device, "mount_point",
                                   v->mount_point, "file_system", v->file_system, "label", v->label, "size", (json_int_t)v->size, "free",
                                   (json_int_t)v->free, "managed", v->managed, "read_only", v->read_only, "broken", v->broken, "disks", disks, "jobs", jobs);
    json_decref(disks);
    return o;
}

int volumes_view(struct daemon *d, struct db *db, bool (*stop)(void *arg), void *arg, json_t **ret, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(hostvolumes_clear) struct hostvolumes volumes = {0};
    int r = volumes_open(d, stop, arg, &h, e);
    if (r < 0 || (r = volume_volumes(h, &volumes, e)) < 0)
        return r;
    struct view v = {&volumes, calloc(volumes.n + 1, sizeof *v.jobs)};
    json_t *list = json_array();
    bool failed = !list || !v.jobs;
    for (size_t i = 0; i < volumes.n && !failed; i++)
        failed = !(v.jobs[i] = json_array());
    if (!failed && (r = job_each_path(db, on_path, &v, e)) == -ERR_OOM)
        failed = true;
    for (size_t i = 0; i < volumes.n && !failed && r == 0; i++)
        failed = json_array_append_new(list, volume_json(&volumes.at[i], v.jobs[i])) < 0;
    for (size_t i = 0; v.jobs && i < volumes.n; i++)
        json_decref(v.jobs[i]);
    free(v.jobs);
    if (failed || r < 0) {
        json_decref(list);
        return failed ? err_oom(e) : r;
    }
    *ret = list;
    return 0;
}

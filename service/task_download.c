/* Brings one disk of the job onto this host: a copy of a blob, or an empty disk. */
#include <string.h>

#include "common/log.h"
#include "db/resource.h"
#include "db/transfer.h"
#include "service/task_run.h"
#include "storage/transfer/transfer.h"

static void on_progress(void *arg, const struct transfer_progress *p)
{
    struct task_run *t = arg;
    t->progress = (struct task_progress){.total = p->total, .done = p->done, .transferred = p->transferred, .skipped = p->skipped,
                                         .bytes_per_second = p->bytes_per_second, .eta_seconds = p->eta_seconds};
}

/* The file is recorded before its first byte is written, so that deleting the job finds it whatever happened. */
static int intend_file(struct task_run *t, unsigned i, const char *path, int64_t *ret, struct err *e)
{
    const char *base = os_path_base(path);
    AUTO_FREE char *dir = str_ndup(path, (size_t)(base - path));
    if (!dir)
        return err_oom(e);
    int r = resource_intend(t->db, t->job->id, (int)i, "file", path, NULL, true, ret, e);
    return r < 0 ? r : os_mkdirs(dir, 0, e);
}

/* The copy is complete: is it the disk that it was said to be? */
static int check_copy(struct task_run *t, unsigned i, const char *path, struct err *e)
{
    struct image_source src;
    struct image_info info;
    int r = image_file_open(path, &src, e);
    if (r < 0)
        return r;
    r = disk_probe(&t->job->spec->disks[i], &src, &info, e);
    image_file_close(&src);
    return r;
}

static int download_blob(struct task_run *t, unsigned i, const char *path, struct err *e)
{
    const struct config *cfg = t->d->cfg;
    AUTO(blob_close_ptr) struct blob *blob = NULL;
    AUTO(blob_ranges_free) struct blob_ranges ranges = {0};
    struct blob_info info;
    struct transfer_row row;
    int r = disk_blob_open(t, i, &blob, e);
    if (r < 0 || (r = blob_head(blob, &info, e)) < 0 || (r = transfer_get(t->db, t->job->id, i, &row, e)) < 0)
        return r;
    if (row.length != info.length || strcmp(row.etag, info.etag) || strcmp(row.last_modified, info.last_modified))
        return err_set(e, ERR_SOURCE_CHANGED, "%s is not the blob that this job began with: its size, ETag or date is another", blob_name(blob));
    if ((r = blob_page_ranges(blob, &info, task_run_stop, t, &ranges, e)) < 0)
        return r;
    uint64_t limit = t->job->spec->max_bytes_per_second ? t->job->spec->max_bytes_per_second : cfg->max_bytes_per_second;
    struct transfer x = {.blob = blob, .info = &info, .ranges = &ranges, .path = path, .connections = (unsigned)cfg->connections,
                         .range_bytes = cfg->range_kib << 10, .max_bytes_per_second = limit, .stop = task_run_stop, .progress = on_progress, .arg = t};
    struct transfer_progress done = {0};
    int result = transfer_run(&x, &done, e);
    on_progress(t, &done);
    log_info("transfer ended", KI("network_bytes", done.network), KI("done_bytes", done.done), KI("total_bytes", done.total));
    row.runs++;
    row.transferred_bytes += done.network;
    row.listed_bytes = ranges.bytes;
    struct err e2;
    if (transfer_put(t->db, t->job->id, i, &row, &e2) < 0)
        log_err(LOG_LEVEL_WARNING, "transfer statistics not written", &e2);
    if (result == -ERR_CANCELLED)
        return task_run_stopped(t, e);
    return result;
}

int task_download(struct task_run *t, struct err *e)
{
    unsigned i = (unsigned)t->task->disk;
    const struct job_disk *disk = &t->job->disks[i];
    if (!disk->path)
        return err_set(e, ERR_INTERNAL, "disk %u has no path, though preflight is done", i);
    int64_t resource;
    int r = intend_file(t, i, disk->path, &resource, e);
    if (r < 0)
        return r;
    if (disk->spec.type == SOURCE_BLANK) {
        r = image_create_blank(disk->path, disk->format == FORMAT_RAW ? IMAGE_RAW : IMAGE_VHD, disk->spec.size, task_run_stop, t, e);
        if (r == -ERR_CANCELLED)
            return task_run_stopped(t, e);
        t->progress = (struct task_progress){.total = disk->spec.size, .done = disk->spec.size, .skipped = disk->spec.size};
    } else {
        r = download_blob(t, i, disk->path, e);
        if (r == 0)
            r = check_copy(t, i, disk->path, e);
    }
    return r < 0 ? r : resource_made(t->db, resource, e);
}

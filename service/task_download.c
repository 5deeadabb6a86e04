/* Brings one disk of the job onto this host: a copy of a blob, or an empty disk. */
#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "db/resource.h"
#include "db/transfer.h"
#include "service/export.h"
#include "service/volumes.h"
#include "service/free_space.h"
#include "storage/transfer/share.h"
#include "storage/transfer/transfer.h"

static void on_progress(struct task_run *t, const struct transfer_progress *p)
{
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
    r = disk_probe(&t->job->disks[i].spec, &src, &info, e);
    image_file_close(&src);
    return r;
}

/* ---- a blob, or a disk in Azure ---- */

#define ACCESS_TRIES 3                               /* before the first byte; on the way the engine counts */

struct download {
    struct task_run *t;
    unsigned index;
    bool azure;
    struct disk_source *source, *before;             /* before: what a renewal took the place of, which is still in use until the next */
    struct blob_info info;
    struct transfer_row row;
    struct image_layout layout;
    bool as_image;                                   /* in the form of `layout`; else byte for byte */
    int member;                                      /* of the daemon's share */
    uint64_t rate;                                   /* bytes per second at the last report */
};

static void download_clear(struct download *d)
{
    disk_source_close(d->source);
    disk_source_close(d->before);
    share_leave(d->t->d->share, d->member);
}

static bool on_stop(void *arg)
{
    return task_run_stop(((struct download *)arg)->t);
}

static void on_transfer(void *arg, const struct transfer_progress *p)
{
    struct download *d = arg;
    d->rate = p->bytes_per_second;
    on_progress(d->t, p);
}

/* What the user wants now, of this job and of all. */
static uint64_t on_limit(void *arg)
{
    struct download *d = arg;
    uint64_t own = d->t->flags.max_bytes_per_second;
    return share_limit(d->t->d->share, d->member, own ? own : d->t->d->cfg->max_bytes_per_second, d->rate);
}

/* The source as it is now, and how it describes itself. */
static int open_source(struct download *d, struct err *e)
{
    disk_source_close(d->before);
    d->before = STEAL(d->source);
    int r = disk_source_open(d->t, d->index, &d->source, e);
    return r < 0 ? r : blob_head(disk_source_blob(d->source), &d->info, e);
}

/* What was downloaded of another content is worth nothing. */
static int begin_again(struct download *d, const char *identity, struct err *e)
{
    struct task_run *t = d->t;
    struct image_info image = {0};
    uint64_t ignored;
    AUTO_FREE char *path = str_dup(t->job->disks[d->index].path);
    if (!path)
        return err_oom(e);
    task_run_event(t, "download_restarted", json_pack("{s:i, s:s}", "disk", (int)d->index, "reason",
                                                      "the disk shows another content than when its download began"));
    int64_t row;
    int r = transfer_discard(path, e);
    if (r < 0 || (r = source_check(t, d->index, disk_source_blob(d->source), identity, &image, &ignored, e)) < 0)
        return r;
    return intend_file(t, d->index, t->job->disks[d->index].path, &row, e);
}

/* Access to the disk, and what is known of its content. */
static int open_azure(struct download *d, bool again, struct err *e)
{
    AUTO(job_access_free_ptr) struct job_access *a = NULL;
    struct task_run *t = d->t;
    int r = export_access(t, d->index, again, e);
    if (r < 0 || (r = open_source(d, e)) < 0 || (r = job_access_get(t->db, t->job->id, d->index, &a, e)) < 0)
        return r;
    r = transfer_get(t->db, t->job->id, d->index, &d->row, e);
    if (r == 0 && strcmp(d->row.etag, a->identity) != 0) {
        if ((r = begin_again(d, a->identity, e)) == 0)
            r = transfer_get(t->db, t->job->id, d->index, &d->row, e);
    }
    if (r == 0 && d->row.length != d->info.length)
        r = err_set(e, ERR_SOURCE_CHANGED, "%s is %" PRIu64 " bytes long, and was %" PRIu64, blob_name(disk_source_blob(d->source)), d->info.length,
                    d->row.length);
    return r;
}

static int open_blob(struct download *d, struct err *e)
{
    int r = open_source(d, e);
    if (r < 0 || (r = transfer_get(d->t->db, d->t->job->id, d->index, &d->row, e)) < 0)
        return r;
    if (d->row.length != d->info.length || strcmp(d->row.etag, d->info.etag) || strcmp(d->row.last_modified, d->info.last_modified))
        return err_set(e, ERR_SOURCE_CHANGED, "%s is not the blob that this job began with: its size, ETag or date is another",
                       blob_name(disk_source_blob(d->source)));
    return 0;
}

static bool is_token(const struct err *why)
{
    return why->upstream.status == 401 || !strcmp(why->upstream.code, "InvalidAuthenticationInfo");
}

/* The engine's connections are refused: another token, or another access. It must show the same content. */
static int on_refused(void *arg, const struct err *why, struct blob **ret, const struct blob_info **ret_info, struct err *e)
{
    struct download *d = arg;
    struct task_run *t = d->t;
    AUTO(job_access_free_ptr) struct job_access *a = NULL;
    log_err(LOG_LEVEL_WARNING, "access to the source ended on the way, it is renewed", why);
    int r = -ERR_SOURCE_DENIED;
    if (is_token(why)) {
        blob_refuse_token(disk_source_blob(d->source));
        r = blob_head(disk_source_blob(d->source), &d->info, e);
        if (r < 0 && !blob_error_is_refusal(e))
            return r;
    }
    if (r < 0 && !d->azure) {
        *e = *why;
        return -(int)e->code;
    }
    if (r < 0 && ((r = export_access(t, d->index, true, e)) < 0 || (r = open_source(d, e)) < 0))
        return r;
    if (d->azure && (r = job_access_get(t->db, t->job->id, d->index, &a, e)) < 0)
        return r;
    if (a && strcmp(a->identity, d->row.etag) != 0) {
        err_set(e, ERR_SOURCE_CHANGED, "%s is not what it was when its download began: it was attached, or its snapshot is gone",
                t->job->disks[d->index].target->name);
        return err_hint(e, "Retry the job: the download of this disk begins again.");
    }
    task_run_event(t, "access_renewed", json_pack("{s:i}", "disk", (int)d->index));
    *ret = disk_source_blob(d->source);
    *ret_info = &d->info;
    return 0;
}

/* Whether the disk lies here in the form that the source has. A fixed VHD is nothing but a copy of one. */
static int choose_form(struct download *d, struct err *e)
{
    const struct job_disk *disk = &d->t->job->disks[d->index];
    struct disk_blob_reader rd = {disk_source_blob(d->source), &d->info};
    struct image_source src = disk_blob_source(&rd);
    struct image_info image;
    d->as_image = false;
    if (disk->format == FORMAT_VHD)
        return 0;
    int r = disk_probe_source(&disk->spec, &src, &image, e);
    if (r == 0)
        d->as_image = disk_download_layout(disk->format, &image, &d->layout);
    return r;
}

/* The source with the list of what is to be fetched. Access that ended since it was granted is asked for again. */
static int begin(struct download *d, struct free_space *fetch, struct err *e)
{
    bool again = d->t->task->attempts > 1;
    for (unsigned i = 1;; i++) {
        int r = d->azure ? open_azure(d, again, e) : open_blob(d, e);
        if (r == 0)
            r = choose_form(d, e);
        if (r == 0)
            r = free_space_list(d->t, d->index, disk_source_blob(d->source), &d->info, false, fetch, e);
        if (r == 0 && d->as_image)
            free_space_clip(&fetch->ranges, d->layout.virtual_size);
        bool ended = blob_error_is_refusal(e) || e->code == ERR_SOURCE_NOT_FOUND;
        if (r == 0 || !d->azure || !ended || i == ACCESS_TRIES)
            return r;
        again = true;
    }
}

static int download_blob(struct task_run *t, unsigned i, struct err *e)
{
    const struct config *cfg = t->d->cfg;
    AUTO(download_clear) struct download d = {.t = t, .index = i, .azure = source_is_arm(t->job->disks[i].spec.type), .member = -1};
    AUTO(free_space_free) struct free_space fetch = {0};
    int r = begin(&d, &fetch, e);
    if (r < 0)
        return r == -ERR_CANCELLED ? task_run_stopped(t, e) : r;
    AUTO_FREE char *identity = d.azure ? str_dup(d.row.etag) : NULL;
    if (d.azure && !identity)
        return err_oom(e);
    d.member = share_join(t->d->share);
    if (!t->flags.max_bytes_per_second)              /* no heartbeat yet */
        t->flags.max_bytes_per_second = t->job->spec->max_bytes_per_second;
    struct blob_info info = d.info;
    struct transfer x = {.blob = disk_source_blob(d.source), .info = &info, .ranges = &fetch.ranges, .map_hash = fetch.mapped ? fetch.map_hash : NULL,
                         .image = d.as_image ? &d.layout : NULL, .path = t->job->disks[i].path,
                         .connections = (unsigned)cfg->connections, .range_bytes = cfg->range_kib << 10, .max_bytes_per_second = on_limit(&d), .limit = on_limit,
                         .identity = identity, .checks = strcmp(cfg->checks, "off") != 0, .renew = on_refused, .stop = on_stop, .progress = on_transfer, .arg = &d};
    struct transfer_progress done = {0};
    int result = transfer_run(&x, &done, e);
    on_progress(t, &done);
    log_info("transfer ended", KI("network_bytes", done.network), KI("checked_bytes", done.checked), KI("done_bytes", done.done), KI("total_bytes", done.total));
    d.row.runs++;
    d.row.transferred_bytes += done.network;
    d.row.listed_bytes = d.as_image ? free_space_room(&fetch.ranges, image_layout_block_bytes(&d.layout)) : fetch.ranges.bytes;
    struct err e2;
    if (transfer_put(t->db, t->job->id, i, &d.row, &e2) < 0)
        log_err(LOG_LEVEL_WARNING, "transfer statistics not written", &e2);
    return result == -ERR_CANCELLED ? task_run_stopped(t, e) : result;
}

static bool holds_disk(struct task_run *t, unsigned i)
{
    const struct job_disk *disk = &t->job->disks[i];
    struct image_source src;
    struct image_info info;
    struct err ignored;
    if (image_file_open(disk->path, &src, &ignored) < 0)
        return false;
    int r = disk_probe(&disk->spec, &src, &info, &ignored);
    image_file_close(&src);
    return r == 0 && info.format == disk_image_format(disk->format) && info.virtual_size == disk->virtual_size;
}

/* A run that died between the end of the download and its own: what was borrowed may be given back already, and is not asked for again. */
static int is_here(struct task_run *t, unsigned i, bool *ret, struct err *e)
{
    const char *path = t->job->disks[i].path;
    struct resource *list;
    struct transfer_row row;
    struct os_stat st;
    size_t n;
    int r = resource_list(t->db, t->job->id, &list, &n, e);
    if (r < 0)
        return r;
    *ret = false;
    for (size_t k = 0; k < n; k++)
        *ret |= !strcmp(list[k].kind, "file") && !strcmp(list[k].ident, path) && list[k].state == RESOURCE_MADE;
    resource_list_free(list, n);
    if (!*ret)
        return 0;
    if ((r = transfer_get(t->db, t->job->id, i, &row, e)) < 0 || (r = os_stat(path, &st, e)) < 0)
        return r;
    *ret = st.is_file && (st.size == row.length || holds_disk(t, i));
    return 0;
}

int task_download(struct task_run *t, struct err *e)
{
    unsigned i = (unsigned)t->task->disk;
    const struct job_disk *disk = &t->job->disks[i];
    if (!disk->path)
        return err_set(e, ERR_INTERNAL, "disk %u has no path, though preflight is done", i);
    bool azure = source_is_arm(disk->spec.type), here = false;
    int64_t resource;
    int r = volumes_ready(t, e);                      /* or the disk would be written beside it */
    if (r == 0 && azure)
        r = is_here(t, i, &here, e);
    if (r < 0 || (r = intend_file(t, i, disk->path, &resource, e)) < 0)
        return r;
    if (here) {
        log_info("the disk is here already", KS("path", disk->path));
    } else if (disk->spec.type == SOURCE_BLANK) {
        r = image_create_blank(disk->path, disk_image_format(disk->format), disk->spec.size, task_run_stop, t, e);
        if (r == -ERR_CANCELLED)
            return task_run_stopped(t, e);
        t->progress = (struct task_progress){.total = disk->spec.size, .done = disk->spec.size, .skipped = disk->spec.size};
    } else {
        r = download_blob(t, i, e);
        if (r == 0)
            r = check_copy(t, i, disk->path, e);
    }
    if (r < 0 || (r = resource_made(t->db, resource, e)) < 0)
        return r;
    if (azure)
        export_give_back(t, i, EXPORT_ALL);          /* before the job says that it is done */
    return 0;
}

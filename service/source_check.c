/* What a source says of itself before a byte of it is downloaded, and whether there is room for it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "db/transfer.h"
#include "service/disk_source.h"
#include "service/volumes.h"
#include "service/free_space.h"

#define MARGIN_BYTES ((uint64_t)64 << 20)             /* left free for the database, logs and the first writes of the guest */

void source_warn(struct task_run *t, const char *check, const char *detail, const char *remedy)
{
    log_warning("preflight", KS("check", check), KS("detail", detail));
    task_run_event(t, "preflight_warning", json_pack("{s:s, s:s, s:s}", "check", check, "detail", detail, "remedy", remedy));
}

/* ---- space ---- */

/* What is on the local volume already for this disk, whole or in part. */
static uint64_t present_bytes(const char *path)
{
    struct err e;
    struct os_stat st;
    AUTO_FREE char *part = str_printf("%s.part", path);
    uint64_t n = 0;
    if (os_stat(path, &st, &e) == 0 && st.exists)
        n += st.allocated;
    if (part && os_stat(part, &st, &e) == 0 && st.exists)
        n += st.allocated;
    return n;
}

uint64_t source_still_needed(const char *path, enum disk_format format, uint64_t listed, uint64_t length)
{
    bool holes = os_files_are_sparse() || format == FORMAT_VHDX || format == FORMAT_VHD_DYNAMIC;
    uint64_t all = holes ? listed : length, have = present_bytes(path);
    return all > have ? all - have : 0;
}

struct promised { const char *folder; uint64_t bytes; };

/* What goes to another volume takes nothing here. */
static int add_pending(void *arg, const char *path, enum disk_format format, uint64_t listed, uint64_t length)
{
    struct promised *p = arg;
    if (os_path_within(path, p->folder))
        p->bytes += source_still_needed(path, format, listed, length);
    return 0;
}

int source_check_space(struct task_run *t, uint64_t needed, uint64_t *ret_free, uint64_t *ret_promised, struct err *e)
{
    uint64_t free_bytes = 0;
    struct promised promised = {.folder = volumes_folder(t)};
    int r = volumes_free_space(t, &free_bytes, e);
    if (r < 0 || (r = transfer_pending(t->db, t->job->id, add_pending, &promised, e)) < 0)
        return r;
    uint64_t all = needed + promised.bytes + MARGIN_BYTES;
    if (needed && all > free_bytes) {
        err_set(e, ERR_DISK_FULL, "%s has %" PRIu64 " bytes free; the disks of this job need %" PRIu64 ", unfinished downloads of other jobs %" PRIu64,
                promised.folder, free_bytes, needed + MARGIN_BYTES, promised.bytes);
        return err_hint(e, "Free %" PRIu64 " bytes there, ask for a volume of its own (\"volume\", if the host has an empty data disk: `vmrecover disks`), "
                           "move the data folder or delete another job, then retry this one.", all - free_bytes);
    }
    if (ret_free)
        *ret_free = free_bytes;
    if (ret_promised)
        *ret_promised = promised.bytes;
    return 0;
}

/* ---- content ---- */

/* Statistics go on, what was known of the source is replaced. */
static int put_row(struct task_run *t, unsigned i, const struct blob_info *info, const char *identity, uint64_t listed, struct err *e)
{
    struct transfer_row row = {.length = info->length, .listed_bytes = listed}, before;
    snprintf(row.etag, sizeof row.etag, "%s", identity ? identity : info->etag);
    snprintf(row.last_modified, sizeof row.last_modified, "%s", identity ? "" : info->last_modified);
    int r = transfer_get(t->db, t->job->id, i, &before, e);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return r;
    if (r == 0) {
        row.runs = before.runs;
        row.transferred_bytes = before.transferred_bytes;
    }
    return transfer_put(t->db, t->job->id, i, &row, e);
}

int source_check(struct task_run *t, unsigned i, struct blob *blob, const char *identity, struct image_info *ret_image, uint64_t *ret_needed,
                 struct err *e)
{
    struct job_disk *disk = &t->job->disks[i];
    AUTO(free_space_free) struct free_space fetch = {0};
    struct blob_info info;
    int r = blob_head(blob, &info, e);
    if (r < 0)
        return r;
    struct disk_blob_reader rd = {blob, &info};
    struct image_source src = disk_blob_source(&rd);
    enum disk_format format;
    if ((r = disk_probe_source(&disk->spec, &src, ret_image, e)) < 0 || (r = disk_download_format(t, &disk->spec, ret_image, src.name, &format, e)) < 0 ||
        (r = free_space_list(t, i, blob, &info, true, &fetch, e)) < 0)
        return r;
    struct image_layout layout;
    uint64_t room = fetch.ranges.bytes;
    if (disk_download_layout(format, ret_image, &layout)) {
        free_space_clip(&fetch.ranges, ret_image->virtual_size);
        room = free_space_room(&fetch.ranges, image_layout_block_bytes(&layout));
    }
    AUTO_FREE char *path = disk_path(t, i, format);
    if (!path)
        return err_oom(e);
    if ((r = put_row(t, i, &info, identity, room, e)) < 0 ||
        (r = job_set_disk(t->db, t->job->id, i, path, format, ret_image->virtual_size, e)) < 0)
        return r;
    *ret_needed = source_still_needed(path, format, room, info.length);
    free(disk->path);
    disk->path = STEAL(path);
    disk->format = format;
    disk->virtual_size = ret_image->virtual_size;
    return 0;
}

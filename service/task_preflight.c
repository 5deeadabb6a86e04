/* Looks at everything that the job needs before anything is made: hypervisor, memory, sources, free space. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "db/transfer.h"
#include "service/task_run.h"
#include "storage/transfer/transfer.h"

#define MARGIN_BYTES ((uint64_t)64 << 20)             /* left free for the database, logs and the first writes of the guest */

static void warn(struct task_run *t, const char *what, const char *detail, const char *remedy)
{
    log_warning("preflight", KS("check", what), KS("detail", detail));
    task_run_event(t, "preflight_warning", json_pack("{s:s, s:s, s:s}", "check", what, "detail", detail, "remedy", remedy));
}

static int check_hypervisor(struct task_run *t, struct err *e)
{
    const struct spec *s = t->job->spec;
    bool needed = s->until >= TASK_CREATE_VM;
    if (!t->d->hv) {
        if (needed) {
            *e = t->d->hv_error;
            return -e->code;
        }
        warn(t, "hypervisor", t->d->hv_error.msg, err_hint_text(&t->d->hv_error));
        return 0;
    }
    struct hv_check rows[32];
    size_t n = hv_report(t->d->hv, rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < n; i++) {
        if (rows[i].status == HV_CHECK_FAILED && !strcmp(rows[i].check, "hypervisor") && needed) {
            err_set(e, ERR_HYPERVISOR, "%s", rows[i].detail);
            return err_hint(e, "%s", rows[i].remedy);
        }
        if (rows[i].status != HV_OK)
            warn(t, rows[i].check, rows[i].detail, rows[i].remedy);
    }
    if (!needed)
        return 0;
    unsigned caps = hv_capabilities(t->d->hv);
    if (s->vm.generation == 2 && !(caps & HV_CAP_GEN2)) {
        err_set(e, ERR_UNSUPPORTED, "this host has no UEFI firmware for a Generation 2 VM");
        return err_hint(e, "Install the firmware (package ovmf) or ask for generation 1.");
    }
    if ((!strcmp(s->vm.network, "nat") && !(caps & HV_CAP_NAT)) || (str_starts(s->vm.network, "switch:") && !(caps & HV_CAP_SWITCH))) {
        err_set(e, ERR_UNSUPPORTED, "this hypervisor has no network of the kind \"%s\"", s->vm.network);
        return err_hint(e, "Use \"none\"%s.", caps & HV_CAP_NAT ? " or \"nat\"" : "");
    }
    uint64_t memory = (uint64_t)s->vm.memory_mib << 20;
    if (memory > os_memory_total()) {
        err_set(e, ERR_HYPERVISOR, "the VM asks for %u MiB of memory, the host has %" PRIu64 " MiB in all", s->vm.memory_mib,
                os_memory_total() >> 20);
        return err_hint(e, "Submit the job with a smaller vm.memory_mib.");
    }
    if (memory > os_memory_available()) {
        char detail[160];
        snprintf(detail, sizeof detail, "the VM asks for %u MiB of memory, %" PRIu64 " MiB are free now", s->vm.memory_mib,
                 os_memory_available() >> 20);
        warn(t, "memory", detail, "Stop other VMs before this one starts, or give it less memory.");
    }
    if (s->vm.dvd) {
        struct os_stat st;
        int r = os_stat(s->vm.dvd, &st, e);
        if (r < 0)
            return r;
        if (!st.is_file) {
            err_set(e, ERR_SOURCE_NOT_FOUND, "there is no ISO file %s", s->vm.dvd);
            return err_hint(e, "Copy the ISO to the host and name its absolute path in vm.dvd.");
        }
    }
    return 0;
}

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

static uint64_t still_needed(const char *path, uint64_t listed, uint64_t length)
{
    uint64_t all = os_files_are_sparse() ? listed : length, have = present_bytes(path);
    return all > have ? all - have : 0;
}

static int add_pending(void *arg, const char *path, uint64_t listed, uint64_t length)
{
    *(uint64_t *)arg += still_needed(path, listed, length);
    return 0;
}

/* Is there room for `needed` bytes beside what other jobs are going to write? */
static int check_space(struct task_run *t, uint64_t needed, struct err *e)
{
    uint64_t free_bytes = 0, promised = 0;
    int r = os_free_space(t->d->disks_dir, &free_bytes, e);
    if (r < 0 || (r = transfer_pending(t->db, t->job->id, add_pending, &promised, e)) < 0)
        return r;
    uint64_t all = needed + promised + MARGIN_BYTES;
    if (needed && all > free_bytes) {
        err_set(e, ERR_DISK_FULL, "%s has %" PRIu64 " bytes free; the disks of this job need %" PRIu64 ", unfinished downloads of other jobs %" PRIu64,
                t->d->disks_dir, free_bytes, needed + MARGIN_BYTES, promised);
        return err_hint(e, "Free %" PRIu64 " bytes there, move the data folder to a larger volume or delete another job, then retry this one.",
                        all - free_bytes);
    }
    task_run_event(t, "preflight_done", json_pack("{s:I, s:I, s:I}", "needed_bytes", (json_int_t)needed, "promised_bytes", (json_int_t)promised,
                                                  "free_bytes", (json_int_t)free_bytes));
    return 0;
}

static int check_blob(struct task_run *t, unsigned i, struct image_info *image, uint64_t *ret_needed, struct err *e)
{
    const struct spec_disk *s = &t->job->spec->disks[i];
    AUTO(blob_close_ptr) struct blob *blob = NULL;
    AUTO(blob_ranges_free) struct blob_ranges ranges = {0};
    struct blob_info info;
    int r = disk_blob_open(t, i, &blob, e);
    if (r < 0 || (r = blob_head(blob, &info, e)) < 0)
        return r;
    struct disk_blob_reader rd = {blob, &info};
    struct image_source src = disk_blob_source(&rd);
    enum disk_format format;
    if ((r = disk_probe(s, &src, image, e)) < 0 || (r = disk_format_of(s, image, src.name, &format, e)) < 0)
        return r;
    if ((r = blob_page_ranges(blob, &info, task_run_stop, t, &ranges, e)) < 0)
        return r;
    struct transfer_row row = {.length = info.length, .listed_bytes = ranges.bytes};
    memcpy(row.etag, info.etag, sizeof row.etag);
    memcpy(row.last_modified, info.last_modified, sizeof row.last_modified);
    struct transfer_row before;
    r = transfer_get(t->db, t->job->id, i, &before, e);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return r;
    if (r == 0) {
        row.runs = before.runs;
        row.transferred_bytes = before.transferred_bytes;
    }
    AUTO_FREE char *path = disk_path(t, i, format);
    if (!path)
        return err_oom(e);
    if ((r = transfer_put(t->db, t->job->id, i, &row, e)) < 0 ||
        (r = job_set_disk(t->db, t->job->id, i, path, format, image->virtual_size, e)) < 0)
        return r;
    *ret_needed = still_needed(path, ranges.bytes, info.length);
    return 0;
}

static int check_file(struct task_run *t, unsigned i, struct image_info *image, struct err *e)
{
    const struct spec_disk *s = &t->job->spec->disks[i];
    struct os_stat st;
    int r = os_stat(s->path, &st, e);
    if (r < 0)
        return r;
    if (!st.is_file)
        return err_set(e, ERR_SOURCE_NOT_FOUND, st.exists ? "%s is not a file" : "there is no file %s", s->path);
    struct image_source src;
    if ((r = image_file_open(s->path, &src, e)) < 0)
        return r;
    enum disk_format format = FORMAT_AUTO;
    if ((r = disk_probe(s, &src, image, e)) == 0)
        r = disk_format_of(s, image, s->path, &format, e);
    image_file_close(&src);
    return r < 0 ? r : job_set_disk(t->db, t->job->id, i, s->path, format, image->virtual_size, e);
}

static int check_blank(struct task_run *t, unsigned i, uint64_t *ret_needed, struct err *e)
{
    const struct spec_disk *s = &t->job->spec->disks[i];
    enum disk_format format = s->format == FORMAT_AUTO ? FORMAT_VHD : s->format;
    if (format != FORMAT_VHD && format != FORMAT_RAW) {
        err_set(e, ERR_UNSUPPORTED, "a blank disk can be made as vhd or raw, not as %s", disk_format_name(format));
        return err_hint(e, "Leave \"format\" out, or use \"vhd\" or \"raw\".");
    }
    AUTO_FREE char *path = disk_path(t, i, format);
    if (!path)
        return err_oom(e);
    *ret_needed = still_needed(path, 0, s->size);
    return job_set_disk(t->db, t->job->id, i, path, format, s->size, e);
}

int task_preflight(struct task_run *t, struct err *e)
{
    int r = check_hypervisor(t, e);
    if (r < 0)
        return r;
    uint64_t needed = 0;
    for (unsigned i = 0; i < t->job->spec->n_disks; i++) {
        if (task_run_stop(t))
            return task_run_stopped(t, e);
        struct image_info image = {0};
        uint64_t bytes = 0;
        switch (t->job->spec->disks[i].type) {
        case SOURCE_BLOB: r = check_blob(t, i, &image, &bytes, e); break;
        case SOURCE_FILE: r = check_file(t, i, &image, e); break;
        default: r = check_blank(t, i, &bytes, e); break;
        }
        if (r < 0)
            return r;
        if (image.table_damaged)
            warn(t, "partition_table", "the partition table is damaged; the VM's generation is a guess", "Name vm.generation in the request.");
        needed += bytes;
    }
    return check_space(t, needed, e);
}

/* Looks at everything that the job needs before anything is made: hypervisor, memory, sources, free space. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "service/disk_source.h"
#include "service/export.h"
#include "service/volumes.h"
#include "storage/image/writer.h"

static int check_hypervisor(struct task_run *t, struct err *e)
{
    const struct spec *s = t->job->spec;
    bool needed = s->until >= TASK_CREATE_VM;
    if (!t->d->hv) {
        if (needed) {
            *e = t->d->hv_error;
            return -e->code;
        }
        source_warn(t, "hypervisor", t->d->hv_error.msg, err_hint_text(&t->d->hv_error));
        return 0;
    }
    struct hv_check rows[32];
    size_t n = hv_report(t->d->hv, rows, ARRAY_LEN(rows), NULL);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].status == HV_CHECK_FAILED && !strcmp(rows[i].check, "hypervisor") && needed) {
            err_set(e, ERR_HYPERVISOR, "%s", rows[i].detail);
            return err_hint(e, "%s", rows[i].remedy);
        }
        if (rows[i].status != HV_OK)
            source_warn(t, rows[i].check, rows[i].detail, rows[i].remedy);
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
    if (s->vm.nested && !(caps & HV_CAP_NESTED)) {
        err_set(e, ERR_UNSUPPORTED, "this hypervisor does not let a guest run virtual machines itself");
        return err_hint(e, "Submit the job without vm.nested, or on a Hyper-V host with nested virtualization.");
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
        source_warn(t, "memory", detail, "Stop other VMs before this one starts, or give it less memory.");
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

static int check_blob(struct task_run *t, unsigned i, struct image_info *image, uint64_t *ret_needed, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *src = NULL;
    int r = disk_source_open(t, i, &src, e);
    return r < 0 ? r : source_check(t, i, disk_source_blob(src), NULL, image, ret_needed, e);
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
    enum disk_format format = s->format;
    if (format == FORMAT_AUTO)
        format = disk_auto_format(t);
    int r = image_layout_check(&(const struct image_layout){.format = disk_image_format(format), .virtual_size = s->size}, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = disk_path(t, i, format);
    if (!path)
        return err_oom(e);
    *ret_needed = source_still_needed(path, format, 0, s->size);
    return job_set_disk(t->db, t->job->id, i, path, format, s->size, e);
}

int task_preflight(struct task_run *t, struct err *e)
{
    uint64_t needed = 0, wanted = 0, free_bytes = 0, promised = 0;
    int r = check_hypervisor(t, e);
    if (r < 0 || (r = export_resolve(t, e)) < 0)
        return r;
    for (unsigned i = 0; i < t->job->n_disks; i++) {
        if (task_run_stop(t))
            return task_run_stopped(t, e);
        struct image_info image = {0};
        uint64_t bytes = 0;
        switch (t->job->disks[i].spec.type) {
        case SOURCE_BLOB: r = check_blob(t, i, &image, &bytes, e); break;
        case SOURCE_FILE: r = check_file(t, i, &image, e); break;
        case SOURCE_BLANK: r = check_blank(t, i, &bytes, e); break;
        default: break;                              /* what it holds is known once it is exported */
        }
        if (r < 0)
            return r;
        if (image.table_damaged)
            source_warn(t, "partition_table", "the partition table is damaged; the VM's generation is a guess", "Name vm.generation in the request.");
        needed += bytes;
        wanted += t->job->disks[i].target ? t->job->disks[i].target->size_bytes : bytes;
    }
    if ((r = volumes_resolve(t, wanted, e)) < 0 || (r = source_check_space(t, needed, &free_bytes, &promised, e)) < 0)
        return r;
    task_run_event(t, "preflight_done", json_pack("{s:I, s:I, s:I}", "needed_bytes", (json_int_t)needed, "promised_bytes", (json_int_t)promised,
                                                  "free_bytes", (json_int_t)free_bytes));
    return 0;
}

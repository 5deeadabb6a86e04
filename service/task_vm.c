/* The tasks that make a VM and start it: create_vm, start_vm. The VM's id is the job's. */
#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "db/resource.h"
#include "service/volumes.h"

/* The generation that fits the OS disk's partition table. */
static int find_generation(struct task_run *t, unsigned *ret, struct err *e)
{
    const struct job_disk *os = &t->job->disks[0];
    if (t->job->spec->vm.generation || os->spec.type == SOURCE_BLANK) {
        *ret = t->job->spec->vm.generation ? t->job->spec->vm.generation : 1;
        return 0;
    }
    struct image_source src;
    struct image_info info;
    int r = image_file_open(os->path, &src, e);
    if (r < 0)
        return r;
    r = disk_probe(&os->spec, &src, &info, e);
    image_file_close(&src);
    if (r == 0)
        *ret = info.generation;
    return r;
}

int task_create_vm(struct task_run *t, struct err *e)
{
    const struct spec *s = t->job->spec;
    AUTO(hv_vm_spec_clear) struct hv_vm_spec vm = {.memory_mib = s->vm.memory_mib, .cpus = s->vm.cpus, .nested = s->vm.nested, .n_disks = t->job->n_disks};
    int r = task_run_hypervisor(t, e);
    if (r < 0 || (r = volumes_ready(t, e)) < 0 || (r = find_generation(t, &vm.generation, e)) < 0)
        return r;
    vm.id = str_dup(t->job->id);
    vm.job_id = str_dup(t->job->id);
    vm.name = str_dup(s->name);
    vm.network = str_dup(s->vm.network);
    vm.dvd = str_dup(s->vm.dvd);
    bool oom = !vm.id || !vm.job_id || !vm.name || !vm.network || (s->vm.dvd && !vm.dvd);
    for (size_t i = 0; i < t->job->n_disks; i++) {
        const struct job_disk *d = &t->job->disks[i];
        struct os_stat st;
        if (!d->path)
            return err_set(e, ERR_INTERNAL, "disk %zu has no path, though its download is done", i);
        if ((r = os_stat(d->path, &st, e)) < 0)
            return r;
        if (!st.is_file) {
            err_set(e, ERR_IMAGE_DAMAGED, "the image of disk %zu, %s, is not there any more", i, d->path);
            return err_hint(e, d->spec.type == SOURCE_FILE ? "Put the file back, then retry the job."
                                                           : "Put the file back and retry the job, or delete the job and submit it again.");
        }
        vm.disks[i] = (struct hv_disk){.path = str_dup(d->path), .format = disk_hv_format(d->format), .virtual_size = d->virtual_size, .overlay = true};
        oom = oom || !vm.disks[i].path;
    }
    if (oom)
        return err_oom(e);
    int64_t resource;
    if ((r = resource_intend(t->db, t->job->id, -1, "vm", vm.id, NULL, false, &resource, e)) < 0 || (r = hv_vm_create(t->d->hv, &vm, e)) < 0 ||
        (r = resource_made(t->db, resource, e)) < 0)
        return r;
    return job_set_vm(t->db, t->job->id, vm.id, vm.generation, e);
}

/* Has the machine said anything: a byte on its serial console, or a picture with more than one colour. */
static int shows_something(struct hv *hv, const char *id, bool *ret, struct err *e)
{
    char byte;
    size_t n = 0;
    uint64_t size;
    int r = hv_serial_read(hv, id, 0, &byte, 1, &n, &size, e);
    if (r < 0 && r != -ERR_UNSUPPORTED)
        return r;
    *ret = r == 0 && n > 0;
    if (*ret)
        return 0;
    struct hv_image img = {0};
    if ((r = hv_screen(hv, id, &img, e)) < 0)
        return r == -ERR_UNSUPPORTED ? 0 : r;
    size_t bytes = (size_t)img.width * img.height * 3;
    for (size_t i = 3; i < bytes && !*ret; i += 3)
        *ret = memcmp(img.rgb, img.rgb + i, 3) != 0;
    hv_image_clear(&img);
    return 0;
}

int task_start_vm(struct task_run *t, struct err *e)
{
    int r = task_run_hypervisor(t, e);
    const char *id = t->job->vm_id;
    if (r < 0)
        return r;
    if (!id)
        return err_set(e, ERR_INTERNAL, "the job has no VM, though create_vm is done");
    if ((r = volumes_ready(t, e)) < 0)
        return r;
    if ((r = hv_vm_start(t->d->hv, id, e)) < 0)
        return task_run_vm(t, r, e);
    int64_t deadline = clock_mono_ms() + (int64_t)t->d->cfg->start_timeout_s * 1000;
    for (bool seen = false; !seen;) {
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        if ((r = hv_vm_get(t->d->hv, id, &vm, e)) < 0)
            return task_run_vm(t, r, e);
        if (vm->state != HV_RUNNING) {
            err_set(e, ERR_VM, "the VM is %s instead of running%s%s", hv_state_name(vm->state), vm->state_detail[0] ? ": " : "", vm->state_detail);
            return -e->code;
        }
        seen = vm->guest_alive;
        if (!seen && (r = shows_something(t->d->hv, id, &seen, e)) < 0)
            return r;
        if (seen)
            break;
        if (clock_mono_ms() > deadline) {
            err_set(e, ERR_VM, "the VM runs, but its console showed nothing for %" PRIu64 " s", t->d->cfg->start_timeout_s);
            return err_hint(e, "Look at the screen; a slow host may need a longer [hypervisor] start_timeout_s. The VM is left running.");
        }
        if ((r = task_run_sleep(t, 500, e)) < 0)
            return r;
    }
    return 0;
}

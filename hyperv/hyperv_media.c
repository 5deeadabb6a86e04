/* Changing what is in a VM: DVD, further disks; and taking a disk out of it as a new file. */
#include <string.h>

#include "common/log.h"
#include "hyperv/hyperv.h"
#include "hyperv/vmspec.h"

#define COOKIE "conectix"                              /* of a VHD's footer */
#define FOOTER 512u
#define CURRENT_SIZE 48                                /* offset in the footer; big-endian */

/* ---- DVD ---- */

static int change_dvd(struct hyperv_vm *vm, const char *iso, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO_FREE char *drive = NULL;
    struct hyperv_record rec;
    int r = hyperv_machine_open(h, &vm->rec, w, &m, e);
    if (r == 0)
        r = hyperv_drive(h, &m, vm->rec.spec.generation, HYPERV_DVD, false, w, &drive, e);
    if (r == 0 && iso)
        r = h->p.host->grant(h->p.host_arg, iso, vm->rec.guid, false, e);
    if (r == 0)
        r = hyperv_insert(h, &m, drive, true, iso, w, e);
    if (r == 0)
        r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    char *old = rec.spec.dvd;
    rec.spec.dvd = str_dup(iso);
    if (iso && !rec.spec.dvd) {
        rec.spec.dvd = old;
        hyperv_record_clear(&rec);
        return err_oom(e);
    }
    struct err ignored;
    if (old && (!iso || strcmp(old, iso)))
        h->p.host->revoke(h->p.host_arg, old, vm->rec.guid, &ignored);
    free(old);
    return hyperv_commit(vm, &rec, e);
}

int hyperv_dvd(struct hv *hv, const char *id, const char *iso, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = hyperv_op_begin(h, id, "is getting another DVD", &vm, e);
    if (r < 0)
        return r;
    r = iso ? hyperv_dvd_check(h, iso, e) : 0;
    if (r == 0)
        r = change_dvd(vm, iso, &w, e);
    if (r < 0 && hyperv_again(h, e))
        r = change_dvd(vm, iso, &w, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

/* ---- further disks ---- */

static int check_slot(const struct hyperv_vm *vm, unsigned slot, const struct hv_disk *disk, struct err *e)
{
    const struct hv_vm_spec *s = &vm->rec.spec;
    if (s->disks[slot].path) {
        err_set(e, ERR_WRONG_STATE, "slot %u of the VM %s holds a disk already", slot, vm->id);
        return err_hint(e, "Detach it first, or use another slot.");
    }
    for (unsigned i = 0; i < s->n_disks; i++)
        if (s->disks[i].path && str_ieq(s->disks[i].path, disk->path) && (!s->disks[i].overlay || !disk->overlay))
            return err_set(e, ERR_WRONG_STATE, "the image %s is in slot %u already; written to directly it can be attached only once", disk->path, i);
    return 0;
}

static int put_into_record(struct hyperv_record *rec, unsigned slot, const struct hv_disk *disk, struct err *e)
{
    rec->spec.disks[slot] = *disk;
    rec->layers[slot] = (struct hyperv_layer){0};
    if (!(rec->spec.disks[slot].path = str_dup(disk->path)))
        return err_oom(e);
    if (slot >= rec->spec.n_disks)
        rec->spec.n_disks = slot + 1;
    return 0;
}

/* The record is written last: a slot that it does not know is made anew by the next attach. */
static int attach(struct hyperv_vm *vm, unsigned slot, const struct hv_disk *disk, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    struct hyperv_record rec = {0};
    int r = hyperv_need_off(vm, "attach a disk", HYPERV_SETTLE_MS, w, &m, e);
    if (r == 0)
        r = check_slot(vm, slot, disk, e);
    if (r == 0)
        r = hyperv_disk_check(h, disk, e);
    if (r == 0)
        r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    r = put_into_record(&rec, slot, disk, e);
    if (r == 0)
        r = hyperv_disk_layer(h, vm->dir, &rec, slot, w, e);
    if (r == 0)
        r = hyperv_disk_grant(h, vm->dir, &rec, e);
    if (r == 0)
        r = hyperv_disk_plug(h, vm->dir, &m, &rec, slot, w, e);
    if (r == 0)
        r = hyperv_disk_grant(h, vm->dir, &rec, e);
    if (r == 0)
        return hyperv_commit(vm, &rec, e);
    struct err ignored;
    hyperv_drive_remove(h, &m, rec.spec.generation, slot, w, &ignored);
    hyperv_disk_forget(vm->dir, rec.layers[slot].top);
    hyperv_disk_forget(vm->dir, rec.layers[slot].base);
    hyperv_record_clear(&rec);
    return r;
}

int hyperv_disk_attach(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *d, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = hyperv_op_begin(h, id, "is getting another disk", &vm, e);
    if (r < 0)
        return r;
    r = attach(vm, slot, d, &w, e);
    if (r < 0 && hyperv_again(h, e))
        r = attach(vm, slot, d, &w, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

static int detach(struct hyperv_vm *vm, unsigned slot, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    struct hyperv_record rec;
    int r = hyperv_need_off(vm, "detach a disk", HYPERV_SETTLE_MS, w, &m, e);
    if (r == 0 && !vm->rec.spec.disks[slot].path)
        r = err_set(e, ERR_NOT_FOUND, "slot %u of the VM %s is empty", slot, vm->id);
    if (r == 0)
        r = hyperv_drive_remove(h, &m, vm->rec.spec.generation, slot, w, e);
    if (r == 0)
        r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    char *path = rec.spec.disks[slot].path;
    rec.spec.disks[slot] = (struct hv_disk){0};
    rec.layers[slot] = (struct hyperv_layer){0};
    while (rec.spec.n_disks && !rec.spec.disks[rec.spec.n_disks - 1].path)
        rec.spec.n_disks--;
    r = hyperv_commit(vm, &rec, e);
    struct err ignored;
    if (r == 0) {                                      /* what a checkpoint still needs stays */
        hyperv_disk_sweep(vm->dir, &vm->rec);
        if (!vm->rec.n_checkpoints)
            h->p.host->revoke(h->p.host_arg, path, vm->rec.guid, &ignored);
    }
    free(path);
    return r;
}

int hyperv_disk_detach(struct hv *hv, const char *id, unsigned slot, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = hyperv_op_begin(h, id, "is losing a disk", &vm, e);
    if (r < 0)
        return r;
    r = detach(vm, slot, &w, e);
    if (r < 0 && hyperv_again(h, e))
        r = detach(vm, slot, &w, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

/* ---- export ---- */

/* The guest's size must have come out exactly: Azure takes a fixed VHD by its footer. */
static int check_footer(struct os_file *f, const char *path, uint64_t size, uint64_t virtual_size, struct err *e)
{
    uint8_t footer[FOOTER];
    int r = size < FOOTER ? err_set(e, ERR_VM, "the exported disk %s has %llu bytes only", path, (unsigned long long)size)
                          : os_file_pread(f, footer, sizeof footer, size - FOOTER, e);
    if (r < 0)
        return r;
    uint64_t current = 0;
    for (int i = 0; i < 8; i++)
        current = current << 8 | footer[CURRENT_SIZE + i];
    if (memcmp(footer, COOKIE, 8) || current != virtual_size || size != virtual_size + FOOTER) {
        err_set(e, ERR_VM, "the exported disk %s is no fixed VHD of %llu bytes: it has %llu, and its footer says %llu", path,
                (unsigned long long)virtual_size, (unsigned long long)size, (unsigned long long)current);
        snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
        return -(int)ERR_VM;
    }
    return 0;
}

/* Hyper-V goes by extensions, so it writes beside, under a name of its own. */
static int export_to(struct hyperv *h, const char *from, const char *path, enum hv_format format, uint64_t size, const struct wmi_wait *w,
                     hv_progress_fn *progress, void *arg, struct err *e)
{
    char uuid[UUID_LEN];
    uint64_t bytes = 0, free_bytes = 0;
    bool fixed = format == HV_VHD || format == HV_RAW;
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    int r = crypto_uuid(uuid, e);
    AUTO_FREE char *temp = r == 0 ? str_printf("%s.%s.%s", path, uuid, format == HV_VHDX ? "vhdx" : "vhd") : NULL;
    AUTO_FREE char *folder = r == 0 ? str_ndup(path, (size_t)(os_path_base(path) - path)) : NULL;
    if (r == 0)
        r = temp && folder ? hyperv_folder_check(h, folder, e) : err_oom(e);
    if (r == 0)
        r = os_free_space(path, &free_bytes, e);
    if (r == 0 && fixed && free_bytes < size)
        r = err_set(e, ERR_DISK_FULL, "the exported disk takes %llu bytes, and %llu are free at %s", (unsigned long long)size,
                    (unsigned long long)free_bytes, path);
    if (r == 0)
        r = hyperv_disk_copy(h, from, temp, fixed ? HV_VHD : format, w, progress, arg, size, e);
    if (r < 0)
        return r;
    r = os_file_open(temp, OS_WRITE, &f, e);
    if (r == 0)
        r = os_file_size(f, &bytes, e);
    if (r == 0 && fixed)
        r = check_footer(f, temp, bytes, size, e);
    if (r == 0 && format == HV_RAW)                    /* a fixed VHD is the raw disk with a footer */
        r = os_file_truncate(f, size, e);
    if (r == 0)
        r = os_file_sync(f, e);
    os_file_close(f);
    f = NULL;
    if (r == 0)
        r = os_publish(temp, path, e);
    struct err ignored;
    if (r < 0)
        os_remove(temp, &ignored);
    else if (progress)
        progress(arg, size, size);
    return r;
}

/* What is to be read: the file that the VM writes to now. */
static int begin_export(struct hyperv_vm *vm, unsigned slot, const struct wmi_wait *w, char **ret_from, uint64_t *ret_size, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    int r = hyperv_need_off(vm, "export a disk", HYPERV_MERGE_MS, w, &m, e);              /* and until its checkpoints are merged */
    if (r == 0 && !vm->rec.spec.disks[slot].path)
        r = err_set(e, ERR_NOT_FOUND, "slot %u of the VM %s is empty", slot, vm->id);
    if (r == 0)
        r = hyperv_drive_file(vm->h, &m, vm->rec.spec.generation, slot, w, ret_from, e);
    if (r == 0)
        *ret_size = vm->rec.spec.disks[slot].virtual_size;
    return r;
}

static void set_exporting(struct hyperv_vm *vm, bool on)
{
    pthread_mutex_lock(&vm->lock);
    vm->exporting = on;
    pthread_mutex_unlock(&vm->lock);
}

/* The copy takes long: the VM is marked instead of held, so that it can be looked at. */
int hyperv_disk_export(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path, hv_stop_fn *stop,
                       hv_progress_fn *progress, void *arg, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    AUTO_FREE char *from = NULL;
    uint64_t size = 0;
    struct os_stat st;
    struct wmi_wait w = {.timeout_ms = HYPERV_CALL_MS, .stop = stop, .arg = arg};
    if (format != HV_VHD && format != HV_VHD_DYNAMIC && format != HV_VHDX && format != HV_RAW)
        return err_set(e, ERR_VALUE, "Hyper-V cannot write the disk format %s", vmspec_format_name(format));
    int r = os_stat(path, &st, e);
    if (r == 0 && st.exists) {
        err_set(e, ERR_WRONG_STATE, "%s is there already; an export does not overwrite", path);
        r = err_hint(e, "Choose another path, or remove the file.");
    }
    if (r == 0)
        r = hyperv_op_begin(h, id, "is being prepared for an export", &vm, e);
    if (r < 0)
        return r;
    r = begin_export(vm, slot, &w, &from, &size, e);
    struct hyperv_vm *keep = r == 0 ? hyperv_vm_ref(h, id) : NULL;
    if (keep)
        set_exporting(keep, true);
    hyperv_op_end(vm);
    if (!keep)
        return r < 0 ? r : hyperv_no_vm(id, e);
    r = export_to(h, from, path, format, size, &w, progress, arg, e);
    set_exporting(keep, false);
    hyperv_vm_unref(keep);
    return hyperv_answer(r, e);
}

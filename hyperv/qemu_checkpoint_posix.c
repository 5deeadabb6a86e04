/* Checkpoints are snapshots inside the qcow2 overlays (and in the variable store of Generation 2, which is qcow2 for this reason), all under
 * one tag, the checkpoint's id. Of a running VM QEMU saves the memory too, into the first overlay; of a VM that is off,
 * qemu-img saves the disks. A disk whose image is a dynamic VHD or a VHDX keeps QEMU from saving memory: of such a running VM only the
 * disks are saved, as they are at that moment.
 *
 * Restoring brings back the power state of that moment too: running with its memory, else off.
 *
 * vm.json knows a checkpoint first as incomplete, then QEMU makes it, then it is complete. One that stayed incomplete, because the daemon died
 * in between, is removed at the next chance and never shown. */
#include <string.h>

#include "common/clock.h"
#include "hyperv/qemu.h"

#define JOB_MS (30u * 60 * 1000)                       /* memory of any size onto a slow disk */

/* Which slots hold overlays; a disk that is written through cannot be part of a checkpoint. */
static int overlay_slots(const struct qemu_vm *vm, unsigned *ret, bool *ret_memory, struct err *e)
{
    const struct hv_vm_spec *s = &vm->def.spec;
    *ret = 0;
    *ret_memory = true;
    for (unsigned i = 0; i < s->n_disks; i++) {
        const struct hv_disk *d = &s->disks[i];
        if (!d->path)
            continue;
        if (!d->overlay) {
            err_set(e, ERR_WRONG_STATE, "the disk in slot %u of the VM %s is written to directly and cannot be part of a checkpoint", i, vm->id);
            return err_hint(e, "Detach that disk first.");
        }
        if (d->format == HV_VHD_DYNAMIC || d->format == HV_VHDX)
            *ret_memory = false;
        *ret |= 1u << i;
    }
    if (*ret == 0 && s->generation != 2)
        return err_set(e, ERR_WRONG_STATE, "the VM %s has no disk that could hold a checkpoint", vm->id);
    return 0;
}

/* Node names of these slots' overlays, and of the variable store. */
static json_t *device_list(const struct qemu_vm *vm, unsigned slots)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < HV_DISKS_MAX; i++)
        if (slots & 1u << i) {
            char name[16];
            snprintf(name, sizeof name, "disk%u", i);
            json_array_append_new(list, json_string(name));
        }
    if (vm->def.spec.generation == 2)
        json_array_append_new(list, json_string("vars"));
    return list;
}

/* *ret_begun: QEMU may have begun it; NULL: who cares. */
static int job(struct qemu_vm *vm, const char *command, const char *tag, unsigned slots, bool memory, bool *ret_begun, struct err *e)
{
    json_t *devices = device_list(vm, slots), *first = json_array_get(devices, 0);
    json_t *args = memory ? json_pack("{s:s, s:O, s:O}", "tag", tag, "devices", devices, "vmstate", first)
                          : json_pack("{s:s, s:O}", "tag", tag, "devices", devices);
    json_decref(devices);
    int r = qmp_job(vm->qmp, command, args, JOB_MS, ret_begun, e);
    if (qmp_broken(vm->qmp)) {
        qmp_close(vm->qmp);
        vm->qmp = NULL;
    }
    return r;
}

/* The disks alone of a running VM, all at one moment. */
static int live_disks(struct qemu_vm *vm, const char *tag, unsigned slots, struct err *e)
{
    json_t *devices = device_list(vm, slots), *device, *actions = json_array();
    size_t i;
    json_array_foreach(devices, i, device)
        json_array_append_new(actions, json_pack("{s:s, s:{s:O, s:s}}", "type", "blockdev-snapshot-internal-sync", "data", "device", device, "name", tag));
    json_decref(devices);
    return qemu_vm_call(vm, "transaction", json_pack("{s:o}", "actions", actions), NULL, e);
}

/* One qemu-img operation on every overlay; `op` is c, a or d. Stops at the first failure. */
static int offline(struct qemu_vm *vm, char op, const char *tag, unsigned slots, struct err *e)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < HV_DISKS_MAX; i++)
        if (slots & 1u << i)
            r = qemu_disk_snapshot(vm->q, vm->dir, &vm->def.spec.disks[i], i, op, tag, e);
    if (r == 0 && vm->def.spec.generation == 2)
        r = qemu_disk_snapshot(vm->q, vm->dir, NULL, QEMU_VARS, op, tag, e);
    return r;
}

/* A layer that does not know the tag is fine: nothing is to be removed there. */
static int unless_unknown(int r, const struct err *e)
{
    static const char *const words[] = {"does not have the requested snapshot", "does not exist", "not found", "No such file"};
    for (size_t i = 0; r == -ERR_VM && i < ARRAY_LEN(words); i++)
        if (strstr(e->msg, words[i]))
            return 0;
    return r;
}

/* Removes what there may be of a tag. An error: something of it may be left, so it must not be forgotten. */
static int sweep(struct qemu_vm *vm, const char *tag, unsigned slots, struct err *e)
{
    bool running = vm->qmp != NULL;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < HV_DISKS_MAX; i++)
        if (!(slots & 1u << i))
            continue;
        else if (!running)
            r = unless_unknown(qemu_disk_snapshot(vm->q, vm->dir, &vm->def.spec.disks[i], i, 'd', tag, e), e);
        else if (vm->qmp)
            r = unless_unknown(job(vm, "snapshot-delete", tag, 1u << i, false, NULL, e), e);
    if (r == 0 && running && !vm->qmp)
        r = err_set(e, ERR_VM, "QEMU went away while a checkpoint was removed");
    if (r == 0 && !running && vm->def.spec.generation == 2)
        r = unless_unknown(qemu_disk_snapshot(vm->q, vm->dir, NULL, QEMU_VARS, 'd', tag, e), e);
    return r;
}

static struct qemu_checkpoint *find(struct qemu_def *d, const char *id)
{
    for (size_t i = 0; i < d->n_checkpoints; i++)
        if (d->checkpoints[i].complete && !strcasecmp(d->checkpoints[i].c.id, id))
            return &d->checkpoints[i];
    return NULL;
}

static void drop(struct qemu_def *d, const char *id)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_checkpoints; i++)
        if (strcmp(d->checkpoints[i].c.id, id))
            d->checkpoints[kept++] = d->checkpoints[i];
    d->n_checkpoints = kept;
}

/* Takes a checkpoint out of vm.json. */
static int forget(struct qemu_vm *vm, const char *id, struct err *e)
{
    struct qemu_def d;
    int r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    drop(&d, id);
    return qemu_vm_commit(vm, &d, e);
}

static int remove_incomplete(struct qemu_vm *vm, struct err *e)
{
    for (size_t i = 0; i < vm->def.n_checkpoints;) {
        const struct qemu_checkpoint *c = &vm->def.checkpoints[i];
        if (c->complete) {
            i++;
            continue;
        }
        char id[sizeof c->c.id];
        memcpy(id, c->c.id, sizeof id);
        int r = sweep(vm, id, c->slots & ~c->lost, e);
        if (r == 0)
            r = forget(vm, id, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int set_complete(struct qemu_vm *vm, const char *id, struct err *e)
{
    struct qemu_def d;
    int r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < d.n_checkpoints; i++)
        if (!strcmp(d.checkpoints[i].c.id, id))
            d.checkpoints[i].complete = true;
    return qemu_vm_commit(vm, &d, e);
}

static int busy(struct qemu_vm *vm, struct err *e)
{
    if (!vm->exporting)
        return 0;
    err_set(e, ERR_WRONG_STATE, "a disk of the VM %s is being exported", vm->id);
    return err_hint(e, "Wait for the export's end, or cancel it.");
}

static int create(struct qemu_vm *vm, const char *name, struct hv_checkpoint *ret, struct err *e)
{
    struct qemu_checkpoint c = {0};
    bool memory = false;
    int r = busy(vm, e);
    if (r == 0)
        r = overlay_slots(vm, &c.slots, &memory, e);
    if (r < 0)
        return r;
    qemu_vm_refresh(vm);
    if (vm->state == HV_RUNNING || vm->state == HV_PAUSED)
        r = qemu_vm_need_on(vm, "make a checkpoint of it", e);          /* connected, that is */
    if (r == 0)
        r = remove_incomplete(vm, e);
    if (r == 0 && vm->def.n_checkpoints >= HV_CHECKPOINTS_MAX) {
        err_set(e, ERR_WRONG_STATE, "the VM %s has %d checkpoints, which is the most it can have", vm->id, HV_CHECKPOINTS_MAX);
        return err_hint(e, "Delete some of them first.");
    }
    if (r == 0)
        r = crypto_uuid(c.c.id, e);
    struct qemu_def d;
    if (r == 0)
        r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    bool on = vm->qmp != NULL;
    c.c.with_memory = on && memory;
    c.c.created_at_ms = clock_now_ms();
    snprintf(c.c.name, sizeof c.c.name, "%s", name);
    d.checkpoints[d.n_checkpoints++] = c;
    r = qemu_vm_commit(vm, &d, e);
    if (r < 0)
        return r;
    if (!on)
        r = offline(vm, 'c', c.c.id, c.slots, e);
    else if (memory)
        r = job(vm, "snapshot-save", c.c.id, c.slots, true, NULL, e);
    else
        r = live_disks(vm, c.c.id, c.slots, e);
    if (r == 0)
        r = set_complete(vm, c.c.id, e);
    if (r < 0) {
        struct err ignored;
        remove_incomplete(vm, &ignored);
        return r;
    }
    *ret = c.c;
    return 0;
}

int qemu_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = create(vm, name, ret, e);
    qemu_op_end(vm);
    return r;
}

int qemu_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e)
{
    struct qemu_vm *vm = qemu_vm_ref((struct qemu *)hv, id);
    if (!vm)
        return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", id);
    struct hv_checkpoint *list = calloc(HV_CHECKPOINTS_MAX, sizeof *list);
    size_t n = 0;
    pthread_mutex_lock(&vm->lock);
    for (size_t i = 0; list && i < vm->def.n_checkpoints; i++)
        if (vm->def.checkpoints[i].complete)
            list[n++] = vm->def.checkpoints[i].c;
    pthread_mutex_unlock(&vm->lock);
    qemu_vm_unref(vm);
    if (!list)
        return err_oom(e);
    *ret = list;
    *ret_n = n;
    return 0;
}

/* Memory and disks; the VM runs after it. A load that fails half-way leaves disks and memory of different moments: the VM is then ended. */
static int restore_running(struct qemu_vm *vm, const struct qemu_checkpoint *c, struct err *e)
{
    int r = 0;
    if (!vm->qmp)
        r = qemu_vm_launch(vm, e);
    if (r < 0)
        return r;
    bool begun = false;
    r = job(vm, "snapshot-load", c->c.id, c->slots, true, &begun, e);
    if (r == 0)
        r = qemu_vm_call(vm, "cont", NULL, NULL, e);
    if (r < 0 && !begun && vm->qmp) {                  /* refused: nothing has changed */
        struct err ignored;
        qemu_vm_call(vm, "cont", NULL, NULL, &ignored);
        return r;
    }
    if (r < 0) {
        struct err ignored;
        qemu_vm_power_off(vm, &ignored);
        qemu_vm_set_state(vm, HV_FAILED, "a checkpoint could not be restored");
        return r;
    }
    qemu_vm_refresh(vm);
    return 0;
}

static int restore(struct qemu_vm *vm, const char *checkpoint, struct err *e)
{
    struct qemu_checkpoint *found = find(&vm->def, checkpoint);
    if (!found)
        return err_set(e, ERR_NOT_FOUND, "the VM %s has no checkpoint with the id '%s'", vm->id, checkpoint);
    struct qemu_checkpoint c = *found;
    unsigned now = 0;
    for (unsigned i = 0; i < vm->def.spec.n_disks; i++)
        if (vm->def.spec.disks[i].path)
            now |= 1u << i;
    int r = busy(vm, e);
    if (r < 0)
        return r;
    if (c.lost) {
        err_set(e, ERR_WRONG_STATE, "a disk of this checkpoint was detached since; it cannot be restored any more");
        return err_hint(e, "Delete the checkpoint.");
    }
    if (c.c.with_memory && now != c.slots) {
        err_set(e, ERR_WRONG_STATE, "the VM %s had other disks when this checkpoint was made", vm->id);
        return err_hint(e, "Stop it and detach the disks that were attached since, then restore.");
    }
    qemu_vm_refresh(vm);
    if (c.c.with_memory)
        return restore_running(vm, &c, e);
    r = qemu_vm_power_off(vm, e);
    return r < 0 ? r : offline(vm, 'a', c.c.id, c.slots, e);
}

int qemu_checkpoint_restore(struct hv *hv, const char *id, const char *checkpoint, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = restore(vm, checkpoint, e);
    qemu_op_end(vm);
    return r;
}

/* Marked incomplete first: should we die in between, what is left is removed at the next chance. */
static int delete(struct qemu_vm *vm, const char *checkpoint, struct err *e)
{
    struct qemu_def d;
    int r = busy(vm, e);
    if (r == 0)
        r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    struct qemu_checkpoint *c = find(&d, checkpoint);
    if (!c) {
        qemu_def_clear(&d);
        return err_set(e, ERR_NOT_FOUND, "the VM %s has no checkpoint with the id '%s'", vm->id, checkpoint);
    }
    c->complete = false;
    r = qemu_vm_commit(vm, &d, e);
    if (r < 0)
        return r;
    qemu_vm_refresh(vm);
    return remove_incomplete(vm, e);
}

int qemu_checkpoint_delete(struct hv *hv, const char *id, const char *checkpoint, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = delete(vm, checkpoint, e);
    qemu_op_end(vm);
    return r;
}

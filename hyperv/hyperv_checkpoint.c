/* Checkpoints are Hyper-V's own snapshots, of kind "standard": disks, and of a running VM its memory too. Hyper-V knows a snapshot by the InstanceID
 * of its settings; vm.json leads from our id to that. Snapshots that others made are not listed and not touched.
 *
 * vm.json has a checkpoint first as an intent, with the list of the snapshots that were there. Should the connection break or the daemon die before
 * its InstanceID is written down, a single snapshot that is new since then is it.
 *
 * Restoring brings back disks, devices and power state of that moment, so vm.json goes back to that specification too. Files of disks that were
 * detached since are kept as long as a checkpoint needs them. */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "hyperv/hyperv.h"

#define SNAPSHOT "Microsoft:Hyper-V:Snapshot:Realized"
#define FULL 2                                         /* SnapshotType: the whole VM */

/* All snapshots of the VM, ours and others'. */
static int list_snapshots(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e)
{
    int r = hyperv_query(h, w, ret, e,
                         "ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_SnapshotOfVirtualSystem ResultClass=Msvm_VirtualSystemSettingData", m->path);
    size_t kept = 0;
    for (size_t i = 0; r == 0 && i < ret->n; i++) {    /* not what a replication or a backup keeps */
        AUTO_FREE char *type = wmi_str(ret->at[i], "VirtualSystemType");
        if (type && str_ieq(type, SNAPSHOT))
            ret->at[kept++] = ret->at[i];
        else
            wmi_object_free(ret->at[i]);
    }
    if (r == 0)
        ret->n = kept;
    return r;
}

static struct wmi_object *find_instance(const struct wmi_rows *rows, const char *instance)
{
    for (size_t i = 0; i < rows->n; i++) {
        AUTO_FREE char *id = wmi_str(rows->at[i], "InstanceID");
        if (id && str_ieq(id, instance))
            return rows->at[i];
    }
    return NULL;
}

static bool in_list(char **list, const char *s)
{
    for (size_t i = 0; list && list[i]; i++)
        if (str_ieq(list[i], s))
            return true;
    return false;
}

static bool known(const struct hyperv_record *rec, const char *instance)
{
    for (size_t i = 0; i < rec->n_checkpoints; i++)
        if (str_ieq(rec->checkpoints[i].instance, instance))
            return true;
    return false;
}

/* The InstanceID of the one snapshot that an intent made; false: none, or it cannot be told. */
static bool find_new(const struct hyperv_record *rec, const struct hyperv_checkpoint *intent, const struct wmi_rows *rows, char *ret, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        AUTO_FREE char *id = wmi_str(rows->at[i], "InstanceID");
        if (!id || strlen(id) >= size || in_list(intent->before, id) || known(rec, id))
            continue;
        snprintf(ret, size, "%s", id);
        n++;
    }
    return n == 1;
}

/* Intents of a daemon that died: completed, or forgotten. */
static int settle_intents(struct hyperv_vm *vm, const struct hyperv_machine *m, const struct wmi_wait *w, struct err *e)
{
    struct wmi_rows rows = {0};
    struct hyperv_record rec;
    bool any = false;
    for (size_t i = 0; i < vm->rec.n_checkpoints; i++)
        any = any || !vm->rec.checkpoints[i].instance[0];
    if (!any)
        return 0;
    hyperv_quiet(vm->h);                               /* one may still be in the making */
    int r = list_snapshots(vm->h, m, w, &rows, e);
    if (r == 0)
        r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r == 0) {
        for (size_t i = 0; i < rec.n_checkpoints;) {
            struct hyperv_checkpoint *c = &rec.checkpoints[i];
            if (c->instance[0] || find_new(&rec, c, &rows, c->instance, sizeof c->instance)) {
                i++;
                continue;
            }
            hyperv_record_drop_checkpoint(&rec, i);
        }
        r = hyperv_commit(vm, &rec, e);
    }
    wmi_rows_clear(&rows);
    return r;
}

static size_t find(const struct hyperv_record *rec, const char *id)
{
    for (size_t i = 0; i < rec->n_checkpoints; i++)
        if (rec->checkpoints[i].instance[0] && str_ieq(rec->checkpoints[i].c.id, id))
            return i;
    return SIZE_MAX;
}

static int not_there(const struct hyperv_vm *vm, const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "the VM %s has no checkpoint with the id '%s'", vm->id, id);
}

/* ---- create ---- */

static int may_create(const struct hyperv_vm *vm, struct err *e)
{
    const struct hv_vm_spec *s = &vm->rec.spec;
    for (unsigned i = 0; i < s->n_disks; i++)
        if (s->disks[i].path && !s->disks[i].overlay) {
            err_set(e, ERR_WRONG_STATE, "the disk in slot %u of the VM %s is written to directly and cannot be part of a checkpoint", i, vm->id);
            return err_hint(e, "Detach that disk first.");
        }
    if (vm->rec.n_checkpoints >= HV_CHECKPOINTS_MAX) {
        err_set(e, ERR_WRONG_STATE, "the VM %s has %d checkpoints, which is the most it can have", vm->id, HV_CHECKPOINTS_MAX);
        return err_hint(e, "Delete some of them first.");
    }
    return 0;
}

static int list_before(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, char ***ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = list_snapshots(h, m, w, &rows, e);
    AUTO(wmi_strs_free_ptr) char **list = r == 0 ? calloc(rows.n + 1, sizeof(char *)) : NULL;
    if (r == 0 && !list)
        r = err_oom(e);
    for (size_t i = 0; r == 0 && i < rows.n; i++)
        if (!(list[i] = wmi_str(rows.at[i], "InstanceID")))
            r = err_oom(e);
    wmi_rows_clear(&rows);
    if (r == 0)
        *ret = STEAL(list);
    return r;
}

/* Writes the intent; its id into c. */
static int write_intent(struct hyperv_vm *vm, const struct hyperv_machine *m, const char *name, bool memory, const struct wmi_wait *w,
                        struct hv_checkpoint *c, struct err *e)
{
    struct hyperv_record rec;
    int r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    struct hyperv_checkpoint *to = &rec.checkpoints[rec.n_checkpoints++];
    r = crypto_uuid(to->c.id, e);
    if (r == 0)
        r = hv_vm_spec_copy(&rec.spec, &to->spec, e);
    if (r == 0)
        r = list_before(vm->h, m, w, &to->before, e);
    if (r < 0) {
        hyperv_record_clear(&rec);
        return r;
    }
    memcpy(to->layers, rec.layers, sizeof to->layers);
    to->c.created_at_ms = clock_now_ms();
    to->c.with_memory = memory;
    snprintf(to->c.name, sizeof to->c.name, "%s", name);
    *c = to->c;
    return hyperv_commit(vm, &rec, e);
}

static int take(struct hyperv *h, const struct hyperv_machine *m, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare(h, HYPERV_SNAPSHOTS, "CreateSnapshot", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "AffectedSystem", m->path, e);
    if (r == 0)
        r = wmi_put_str(c.in, "SnapshotSettings", "", e);
    if (r == 0)
        r = wmi_put_uint(c.in, "SnapshotType", FULL, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

/* For people who look into Hyper-V Manager; nothing depends on it. */
static void rename_snapshot(struct hyperv *h, const struct hyperv_machine *m, const char *instance, const struct hv_checkpoint *c, const struct wmi_wait *w)
{
    struct wmi_rows rows = {0};
    struct err e;
    AUTO_FREE char *name = hyperv_short_name(c->name[0] ? c->name : c->id);
    int r = name ? list_snapshots(h, m, w, &rows, &e) : err_oom(&e);
    struct wmi_object *o = r == 0 ? find_instance(&rows, instance) : NULL;
    if (o) {
        r = wmi_put_str(o, "ElementName", name, &e);
        if (r == 0)
            r = hyperv_machine_modify(h, o, "cannot name the checkpoint", w, &e);
    }
    if (r < 0)
        log_err(LOG_LEVEL_DEBUG, "a checkpoint keeps Hyper-V's name", &e);
    wmi_rows_clear(&rows);
}

static int create(struct hyperv_vm *vm, const char *name, const struct wmi_wait *w, struct hv_checkpoint *ret, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO_FREE char *what = str_printf("cannot make a checkpoint of the VM %s", vm->id);
    struct hyperv_state st = {0};
    struct hv_checkpoint c = {.with_memory = false};
    int r = what ? hyperv_exporting(vm, e) : err_oom(e);
    if (r == 0)
        r = hyperv_machine_open(h, &vm->rec, w, &m, e);
    if (r == 0)
        r = settle_intents(vm, &m, w, e);
    if (r == 0)
        r = may_create(vm, e);
    if (r == 0)
        r = hyperv_state_settle(h, m.guid, HYPERV_SETTLE_MS, w, &st, e);
    if (r == 0)
        r = write_intent(vm, &m, name, st.state == HV_RUNNING || st.state == HV_PAUSED, w, &c, e);
    if (r < 0)
        return r;
    r = take(h, &m, what, w, e);
    struct err why = {0};
    if (r < 0)
        why = *e;
    int look = settle_intents(vm, &m, w, e);           /* whatever the answer was: is it there? */
    size_t i = look == 0 ? find(&vm->rec, c.id) : SIZE_MAX;
    if (i != SIZE_MAX) {
        rename_snapshot(h, &m, vm->rec.checkpoints[i].instance, &c, w);
        *ret = vm->rec.checkpoints[i].c;
        return 0;
    }
    if (r == 0)
        return look < 0 ? look : err_set(e, ERR_VM, "Hyper-V says that it made a checkpoint of the VM %s, and does not list it", vm->id);
    *e = why;
    return r;
}

int hyperv_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = hyperv_op_begin(h, id, "is getting a checkpoint", &vm, e);
    if (r < 0)
        return r;
    r = create(vm, name, &w, ret, e);
    if (r < 0 && hyperv_again(h, e))                  /* it is known by now that nothing was made */
        r = create(vm, name, &w, ret, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

/* ---- list ---- */

int hyperv_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e)
{
    struct hyperv_vm *vm = hyperv_vm_ref((struct hyperv *)hv, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    struct hv_checkpoint *list = calloc(HV_CHECKPOINTS_MAX, sizeof *list);
    size_t n = 0;
    pthread_mutex_lock(&vm->lock);
    for (size_t i = 0; list && i < vm->rec.n_checkpoints; i++)
        if (vm->rec.checkpoints[i].instance[0])
            list[n++] = vm->rec.checkpoints[i].c;
    pthread_mutex_unlock(&vm->lock);
    hyperv_vm_unref(vm);
    if (!list)
        return err_oom(e);
    *ret = list;
    *ret_n = n;
    return 0;
}

/* ---- restore ---- */

/* The snapshot's settings in Hyper-V. ERR_VM_GONE: somebody removed it. */
static int open_snapshot(struct hyperv *h, const struct hyperv_machine *m, const struct hyperv_checkpoint *c, const struct wmi_wait *w, char **ret,
                         struct err *e)
{
    struct wmi_rows rows = {0};
    int r = list_snapshots(h, m, w, &rows, e);
    struct wmi_object *o = r == 0 ? find_instance(&rows, c->instance) : NULL;
    if (o)
        r = wmi_path(o, ret, e);
    wmi_rows_clear(&rows);
    if (r < 0 || o)
        return r;
    err_set(e, ERR_VM_GONE, "the checkpoint '%s' was removed from Hyper-V", c->c.name);
    err_hint(e, "Delete the checkpoint here too.");
    return -(int)ERR_VM_GONE;
}

static int apply(struct hyperv *h, const char *snapshot, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare(h, HYPERV_SNAPSHOTS, "ApplySnapshot", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "Snapshot", snapshot, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

/* vm.json as it was at the checkpoint; what was made since and is in no checkpoint goes. */
static int go_back(struct hyperv_vm *vm, size_t i, struct err *e)
{
    struct hyperv_record rec;
    int r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    struct hv_vm_spec spec;
    if ((r = hv_vm_spec_copy(&rec.checkpoints[i].spec, &spec, e)) < 0) {
        hyperv_record_clear(&rec);
        return r;
    }
    hv_vm_spec_clear(&rec.spec);
    rec.spec = spec;
    memcpy(rec.layers, rec.checkpoints[i].layers, sizeof rec.layers);
    r = hyperv_commit(vm, &rec, e);
    if (r == 0)
        hyperv_disk_sweep(vm->dir, &vm->rec);
    return r;
}

static int restore(struct hyperv_vm *vm, const char *checkpoint, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO_FREE char *what = str_printf("cannot restore the checkpoint %s of the VM %s", checkpoint, vm->id), *snapshot = NULL;
    size_t i = find(&vm->rec, checkpoint);
    if (i == SIZE_MAX)
        return not_there(vm, checkpoint, e);
    bool memory = vm->rec.checkpoints[i].c.with_memory;
    struct hyperv_state st = {0};
    int r = what ? hyperv_exporting(vm, e) : err_oom(e);
    if (r == 0)
        r = hyperv_machine_open(h, &vm->rec, w, &m, e);
    if (r == 0)
        r = open_snapshot(h, &m, &vm->rec.checkpoints[i], w, &snapshot, e);
    if (r == 0)
        r = hyperv_power_off(h, &m, w, e);             /* Hyper-V applies snapshots to VMs that are off */
    if (r == 0)
        r = apply(h, snapshot, what, w, e);
    if (r == 0)
        r = go_back(vm, i, e);
    if (r == 0)
        r = hyperv_state_settle(h, m.guid, HYPERV_SETTLE_MS, w, &st, e);
    if (r < 0)
        return r;
    hyperv_vm_seen(vm, &st, false);
    return memory ? hyperv_power_on(vm, w, e) : 0;     /* from saved: it goes on where it was */
}

int hyperv_checkpoint_restore(struct hv *hv, const char *id, const char *checkpoint, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = hyperv_op_begin(h, id, "is going back to a checkpoint", &vm, e);
    if (r < 0)
        return r;
    r = restore(vm, checkpoint, &w, e);
    if (r < 0 && hyperv_again(h, e))
        r = restore(vm, checkpoint, &w, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

/* ---- delete ---- */

static int delete(struct hyperv_vm *vm, const char *checkpoint, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO_FREE char *what = str_printf("cannot delete the checkpoint %s of the VM %s", checkpoint, vm->id), *snapshot = NULL;
    struct hyperv_record rec;
    size_t i = find(&vm->rec, checkpoint);
    if (i == SIZE_MAX)
        return not_there(vm, checkpoint, e);
    int r = what ? hyperv_exporting(vm, e) : err_oom(e);
    if (r == 0)
        r = hyperv_machine_open(h, &vm->rec, w, &m, e);
    if (r == 0)
        r = open_snapshot(h, &m, &vm->rec.checkpoints[i], w, &snapshot, e);
    if (r == 0)
        r = hyperv_prepare(h, HYPERV_SNAPSHOTS, "DestroySnapshot", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "AffectedSnapshot", snapshot, e);
    if (r == 0)
        r = hyperv_invoke(h, &c, w, NULL, e);
    if (r == -ERR_VM_GONE && m.path)                   /* the snapshot alone is gone: that was wanted */
        r = 0;
    if (r == 0)
        r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    hyperv_record_drop_checkpoint(&rec, i);
    r = hyperv_commit(vm, &rec, e);
    if (r == 0)
        hyperv_disk_sweep(vm->dir, &vm->rec);
    return r;
}

int hyperv_checkpoint_delete(struct hv *hv, const char *id, const char *checkpoint, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = hyperv_op_begin(h, id, "is losing a checkpoint", &vm, e);
    if (r < 0)
        return r;
    r = delete(vm, checkpoint, &w, e);
    if (r < 0 && hyperv_again(h, e))
        r = delete(vm, checkpoint, &w, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

/* Checkpoints: Msvm_VirtualSystemSnapshotService. Each one freezes the disks' files and gives the VM differencing children (.avhdx) in the same
 * folder; deleting one merges them back, some time after its job is done. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV
#define SNAPSHOT_TYPE "Microsoft:Hyper-V:Snapshot:Realized"
#define E_FILE_EXISTS 0x80070050u

static bool is_snapshot(const struct inst *i)
{
    const char *type = schema_isa(i->o->class, "Msvm_VirtualSystemSettingData") ? obj_str(i->o, "VirtualSystemType") : NULL;
    return i->vm && type && !strcmp(type, SNAPSHOT_TYPE);
}

static struct inst *snapshot_by_ref(struct dbl *d, const char *path)
{
    struct inst *i = path ? inst_by_path(d, NS, path) : NULL;
    return i && is_snapshot(i) ? i : NULL;
}

static struct inst *snapshot_of(struct dbl *d, const struct vm *vm, size_t nth)
{
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i]->vm == vm && is_snapshot(s->at[i]) && nth-- == 0)
            return s->at[i];
    return NULL;
}

static bool is_automatic_disk(const char *path)
{
    return str_ends(path, ".avhdx") || str_ends(path, ".avhd");
}

/* ---- creating ---- */

static char *child_name(struct dbl *d, const char *path)
{
    char guid[37];
    guid_new(d, guid);
    const char *dot = strrchr(path, '.');
    size_t stem = (size_t)(dot - path);
    const char *mark = is_automatic_disk(path) ? strrchr(path, '_') : NULL;            /* the first one's name goes on */
    if (mark && mark < dot && dot - mark == 37)
        stem = (size_t)(mark - path);
    return x_printf("%.*s_%s.%s", (int)stem, path, guid, disk_format_of_name(path) == DISK_VHD ? "avhd" : "avhdx");
}

static void set_medium(struct inst *i, const char *path)
{
    obj_set_strs(i->o, "HostResource", (const char *const[]){path}, 1);
}

/* Gives each disk of the VM a child. On failure all is as before. */
static uint32_t branch(struct dbl *d, struct vm *vm, char *failed, size_t room)
{
    struct { struct inst *i; char *before, *child; } done[64];
    size_t n = 0;
    uint32_t h = 0;
    for (size_t k = 0; !h && n < ARRAY_LEN(done); k++) {
        struct inst *i = vm_device(d, vm->settings, "Virtual Hard Disk", k);
        if (!i)
            break;
        if (!medium_path(i))
            continue;
        char *child = disk_format_of_name(medium_path(i)) ? child_name(d, medium_path(i)) : NULL;
        h = child ? disk_create(child, disk_format_of_name(child), DISK_DIFF, 0, medium_path(i), 0, 0) : 0xC03A0014u;
        if (h) {
            snprintf(failed, room, "%s", medium_path(i));
            free(child);
            break;
        }
        done[n].i = i;
        done[n].before = x_dup(medium_path(i));
        done[n++].child = child;
        file_grant(d, child, vm->guid, true);
        set_medium(i, child);
    }
    struct err e;
    for (size_t k = 0; k < n; k++) {
        if (h) {
            set_medium(done[k].i, done[k].before);
            os_remove(done[k].child, &e);
        }
        free(done[k].before);
        free(done[k].child);
    }
    return h;
}

static struct inst *current(struct dbl *d, struct vm *vm)
{
    return link_other(space_of(d, NS), "Msvm_MostCurrentSnapshotInBranch", vm->system, 0);
}

static void set_current(struct dbl *d, struct vm *vm, struct inst *snapshot)
{
    link_remove(space_of(d, NS), "Msvm_MostCurrentSnapshotInBranch", vm->system, NULL);
    if (snapshot)
        link_add(d, NS, "Msvm_MostCurrentSnapshotInBranch", "Antecedent", vm->system, "Dependent", snapshot);
}

static struct inst *create(struct dbl *d, struct vm *vm, bool automatic, uint32_t *ret_error, char *failed, size_t room)
{
    char guid[37];
    guid_new(d, guid);
    AUTO_FREE char *id = x_printf("Microsoft:%s", guid), *now = datetime_text(d, now_ms(d));
    struct inst *before = current(d, vm), *s = settings_copy(d, vm, vm->settings, id);
    if ((*ret_error = branch(d, vm, failed, room)) != 0) {
        while (vm_device(d, s, NULL, 0))
            inst_remove(d, vm_device(d, s, NULL, 0));
        inst_remove(d, s);
        return NULL;
    }
    AUTO_FREE char *name = x_printf("%s - (%.14s)", obj_str(vm->settings->o, "ElementName"), now);
    obj_set_str(s->o, "ElementName", name);
    obj_set_str(s->o, "VirtualSystemType", SNAPSHOT_TYPE);
    obj_set_str(s->o, "CreationTime", now);
    obj_set_str(s->o, "ConfigurationID", guid);
    obj_set_bool(s->o, "IsSaved", vm->state == VM_RUNNING && obj_uint(vm->settings->o, "UserSnapshotType", 3) == 5);
    obj_set_bool(s->o, "IsAutomaticSnapshot", automatic);
    AUTO_FREE char *parent = before ? inst_path(d, before) : NULL;
    obj_set_str(s->o, "Parent", parent);
    link_add(d, NS, "Msvm_SnapshotOfVirtualSystem", "Antecedent", vm->system, "Dependent", s);
    set_current(d, vm, s);
    return s;
}

void snapshot_automatic(struct dbl *d, struct vm *vm)
{
    uint32_t h;
    char failed[256];
    if (obj_bool(vm->settings->o, "AutomaticSnapshotsEnabled", false) && vm_device(d, vm->settings, "Virtual Hard Disk", 0))
        create(d, vm, true, &h, failed, sizeof failed);
}

static struct vm *affected(struct call *c)
{
    struct inst *i = inst_by_path(c->d, NS, obj_str(c->in, "AffectedSystem"));
    return i && i->vm && i == i->vm->system ? i->vm : NULL;
}

static uint32_t create_check(struct call *c)
{
    const char *text = obj_str(c->in, "SnapshotSettings");
    c->vm = affected(c);
    if (!c->vm || obj_uint(c->in, "SnapshotType", 0) != 2)
        return RET_INVALID_PARAMETER;
    if (text && *text) {
        struct dobj *o = obj_settings(c->d, text, "Msvm_VirtualSystemSnapshotSettingData");
        bool ok = o != NULL;
        obj_free(o);
        if (!ok)
            return RET_INVALID_PARAMETER;
    }
    enum vm_state s = c->vm->state;
    return s == VM_OFF || s == VM_RUNNING || s == VM_SAVED || s == VM_PAUSED ? 0 : RET_INVALID_STATE;
}

static void create_apply(struct call *c)
{
    struct dbl *d = c->d;
    struct vm *vm = affected(c);
    if (!vm) {
        call_fail(c, RET_NOT_FOUND, "The virtual machine was not found.");
        return;
    }
    uint64_t kind = obj_uint(vm->settings->o, "UserSnapshotType", 3);
    bool answers = !vm->guest.plan.no_services && now_ms(d) - vm->guest.started_ms >= vm->guest.plan.boot_ms;
    char failed[256] = "";
    uint32_t h = 0;
    if (kind == 2)
        call_fail(c, RET_FAILED, "Checkpoints have been disabled for '%s'.", obj_str(vm->settings->o, "ElementName"));
    else if (kind == 4 && vm->state == VM_RUNNING && !answers)
        call_fail(c, RET_FAILED, "Production checkpoints cannot be created for '%s'.", obj_str(vm->settings->o, "ElementName"));
    struct inst *s = c->error ? NULL : create(d, vm, false, &h, failed, sizeof failed);
    if (h)
        call_fail(c, h, "Checkpoint operation failed: '%s'.", failed);
    if (c->error)
        return;
    call_affects(c, vm->system);
    call_affects(c, s);
    call_out_ref(c, "ResultingSnapshot", s);
}

/* ---- merging ---- */

static bool is_referenced(struct dbl *d, const char *path)
{
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++) {
        const char *sub = sub_type_of(s->at[i]);
        if (sub && s->at[i]->vm && !strcmp(sub, "Virtual Hard Disk") && medium_path(s->at[i]) && !strcmp(medium_path(s->at[i]), path))
            return true;
    }
    return false;
}

static void rename_medium(struct dbl *d, const char *from, const char *to)
{
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++) {
        const char *sub = sub_type_of(s->at[i]);
        if (sub && s->at[i]->vm && !strcmp(sub, "Virtual Hard Disk") && medium_path(s->at[i]) && !strcmp(medium_path(s->at[i]), from))
            set_medium(s->at[i], to);
    }
}

/* The file below `path` on the way up from `top`; NULL: none. Caller frees. */
static char *child_on_way(const char *top, const char *path)
{
    AUTO_FREE char *at = x_dup(top);
    struct disk_info info;
    for (unsigned n = 0; n < 64 && disk_info_of(at, &info) == 0 && info.type == DISK_DIFF; n++) {
        if (!strcmp(info.parent, path))
            return x_dup(at);
        free(at);
        at = x_dup(info.parent);
    }
    return NULL;
}

/* One step: an automatic disk goes into its parent if nobody else needs that one. false: nothing to do. */
static bool merge_step(struct dbl *d, struct vm *vm)
{
    struct space *s = space_of(d, NS);
    struct err e;
    for (size_t i = 0; i < s->n; i++) {
        struct inst *m = s->at[i];
        const char *sub = sub_type_of(m);
        if (m->vm != vm || !sub || strcmp(sub, "Virtual Hard Disk") != 0 || !medium_path(m))
            continue;
        AUTO_FREE char *at = x_dup(medium_path(m));
        struct disk_info info;
        for (unsigned n = 0; n < 64 && is_automatic_disk(at) && disk_info_of(at, &info) == 0 && info.type == DISK_DIFF; n++) {
            if (!is_referenced(d, info.parent)) {
                /* other children of that parent (other branches) keep it too */
                unsigned children = 0;
                for (size_t k = 0; k < s->n; k++) {
                    const char *other = sub_type_of(s->at[k]);
                    if (s->at[k]->vm != vm || !other || strcmp(other, "Virtual Hard Disk") != 0 || !medium_path(s->at[k]))
                        continue;
                    AUTO_FREE char *way = child_on_way(medium_path(s->at[k]), info.parent);
                    children += way && strcmp(way, at) != 0;
                }
                if (children == 0 && disk_merge(at, info.parent) == 0) {
                    for (size_t k = 0; k < s->n; k++) {
                        const char *other = sub_type_of(s->at[k]);
                        if (s->at[k]->vm != vm || !other || strcmp(other, "Virtual Hard Disk") != 0 || !medium_path(s->at[k]))
                            continue;
                        AUTO_FREE char *way = child_on_way(medium_path(s->at[k]), at);
                        if (way)
                            disk_reparent(way, info.parent);
                    }
                    rename_medium(d, at, info.parent);
                    os_remove(at, &e);
                    return true;
                }
            }
            free(at);
            at = x_dup(info.parent);
        }
    }
    return false;
}

static void merge_all(struct dbl *d, struct vm *vm)
{
    while (merge_step(d, vm))
        ;
    obj_set_uints(vm->system->o, "OperationalStatus", (const uint64_t[]){2}, 1);
}

static void merge_event(struct dbl *d, void *arg)
{
    AUTO_FREE char *guid = arg;
    struct vm *vm = vm_by_guid(d, guid);
    if (vm)
        merge_all(d, vm);
}

static void drop_event(struct dbl *d, void *arg)
{
    (void)d;
    free(arg);
}

static void merge_soon(struct dbl *d, struct vm *vm)
{
    obj_set_uints(vm->system->o, "OperationalStatus", (const uint64_t[]){2, 32772}, 2);
    due_add(d, 50 + rnd(d, 5000), merge_event, drop_event, x_dup(vm->guid));
}

/* ---- destroying ---- */

/* Leaves files that no settings name any more and that are nobody's parent: a branch's last disk. */
static void remove_snapshot(struct dbl *d, struct inst *s)
{
    struct vm *vm = s->vm;
    struct inst *parent = snapshot_by_ref(d, obj_str(s->o, "Parent"));
    for (size_t n = 0;; n++) {
        struct inst *other = snapshot_of(d, vm, n);
        if (!other)
            break;
        if (snapshot_by_ref(d, obj_str(other->o, "Parent")) == s) {
            AUTO_FREE char *path = parent ? inst_path(d, parent) : NULL;
            obj_set_str(other->o, "Parent", path);
        }
    }
    if (current(d, vm) == s)
        set_current(d, vm, parent);
    char *files[64];
    size_t n_files = 0;
    for (struct inst *i; (i = vm_device(d, s, NULL, 0)) != NULL;) {
        const char *sub = sub_type_of(i);
        if (sub && !strcmp(sub, "Virtual Hard Disk") && medium_path(i) && n_files < ARRAY_LEN(files))
            files[n_files++] = x_dup(medium_path(i));
        inst_remove(d, i);
    }
    inst_remove(d, s);
    for (size_t i = 0; i < n_files; i++) {
        bool needed = !is_automatic_disk(files[i]) || is_referenced(d, files[i]);
        struct space *space = space_of(d, NS);
        for (size_t k = 0; !needed && k < space->n; k++) {
            const char *sub = sub_type_of(space->at[k]);
            if (space->at[k]->vm == vm && sub && !strcmp(sub, "Virtual Hard Disk") && medium_path(space->at[k])) {
                AUTO_FREE char *way = child_on_way(medium_path(space->at[k]), files[i]);
                needed = way != NULL;
            }
        }
        struct err e;
        if (!needed)
            os_remove(files[i], &e);
        free(files[i]);
    }
}

static uint32_t destroy_check(struct call *c)
{
    struct inst *s = snapshot_by_ref(c->d, obj_str(c->in, "AffectedSnapshot"));
    if (!s)
        return RET_INVALID_PARAMETER;
    c->vm = s->vm;
    return 0;
}

static void destroy_apply(struct call *c)
{
    struct inst *s = snapshot_by_ref(c->d, obj_str(c->in, "AffectedSnapshot"));
    if (!s) {
        call_fail(c, RET_NOT_FOUND, "The checkpoint was not found.");
        return;
    }
    struct vm *vm = s->vm;
    remove_snapshot(c->d, s);
    merge_soon(c->d, vm);
}

static uint32_t tree_check(struct call *c)
{
    struct inst *s = snapshot_by_ref(c->d, obj_str(c->in, "SnapshotSettingData"));
    if (!s)
        return RET_INVALID_PARAMETER;
    c->vm = s->vm;
    return 0;
}

static void remove_tree(struct dbl *d, struct inst *s)
{
    for (size_t n = 0;;) {
        struct inst *other = snapshot_of(d, s->vm, n);
        if (!other)
            break;
        if (snapshot_by_ref(d, obj_str(other->o, "Parent")) == s) {
            remove_tree(d, other);
            n = 0;
        } else {
            n++;
        }
    }
    remove_snapshot(d, s);
}

static void tree_apply(struct call *c)
{
    struct inst *s = snapshot_by_ref(c->d, obj_str(c->in, "SnapshotSettingData"));
    if (!s) {
        call_fail(c, RET_NOT_FOUND, "The checkpoint was not found.");
        return;
    }
    struct vm *vm = s->vm;
    remove_tree(c->d, s);
    merge_soon(c->d, vm);
}

void snapshots_remove(struct dbl *d, struct vm *vm)
{
    if (choose(d, DBL_LEAVES_SNAPSHOT_DISKS))
        return;
    while (snapshot_of(d, vm, 0))
        remove_snapshot(d, snapshot_of(d, vm, 0));
    merge_all(d, vm);
}

/* ---- applying ---- */

static uint32_t apply_check(struct call *c)
{
    struct inst *s = snapshot_by_ref(c->d, obj_str(c->in, "Snapshot"));
    if (!s)
        return RET_INVALID_PARAMETER;
    c->vm = s->vm;
    return vm_is_off(s->vm) ? 0 : RET_INVALID_STATE;
}

static void apply_apply(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *s = snapshot_by_ref(d, obj_str(c->in, "Snapshot"));
    if (!s || !vm_is_off(s->vm)) {
        call_fail(c, s ? RET_INVALID_STATE : RET_NOT_FOUND, "The checkpoint cannot be applied.");
        return;
    }
    struct vm *vm = s->vm;
    char *old[64];
    size_t n_old = 0;
    for (struct inst *i; (i = vm_device(d, vm->settings, NULL, 0)) != NULL;) {
        const char *sub = sub_type_of(i);
        if (sub && !strcmp(sub, "Virtual Hard Disk") && medium_path(i) && n_old < ARRAY_LEN(old))
            old[n_old++] = x_dup(medium_path(i));
        boot_source_remove(d, vm, i);
        inst_remove(d, i);
    }
    /* settings and devices as they were, under the VM's own identifiers */
    AUTO_FREE char *id = x_printf("Microsoft:%s", vm->guid), *name = x_dup(obj_str(vm->settings->o, "ElementName"));
    AUTO_FREE char *created = x_dup(obj_str(vm->settings->o, "CreationTime"));
    struct inst *was = vm->settings;
    vm->settings = NULL;
    inst_remove(d, was);
    struct inst *now = settings_copy(d, vm, s, id);
    vm->settings = now;
    obj_set_str(now->o, "ElementName", name);
    obj_set_str(now->o, "CreationTime", created);
    obj_set_str(now->o, "VirtualSystemType", "Microsoft:Hyper-V:System:Realized");
    obj_set_str(now->o, "ConfigurationID", vm->guid);
    obj_set_bool(now->o, "IsSaved", false);
    obj_set_bool(now->o, "IsAutomaticSnapshot", false);
    obj_unset(now->o, "Parent");
    link_add(d, NS, "Msvm_SettingsDefineState", "ManagedElement", vm->system, "SettingData", now);
    if (vm->generation == 2) {
        obj_set_strs(now->o, "BootSourceOrder", NULL, 0);
        for (size_t n = 0;; n++) {
            struct inst *i = vm_device(d, now, NULL, n);
            const char *sub = i ? sub_type_of(i) : NULL;
            if (!i)
                break;
            if (sub && (str_ends(sub, "Drive") || str_ends(sub, "Ethernet Port")))
                boot_source_add(d, vm, i);
        }
    }
    char failed[256];
    uint32_t h = branch(d, vm, failed, sizeof failed);
    if (h)
        call_fail(c, h, "The checkpoint could not be applied: '%s'.", failed);
    struct err e;
    for (size_t i = 0; i < n_old; i++) {
        if (is_automatic_disk(old[i]) && !is_referenced(d, old[i]))
            os_remove(old[i], &e);
        free(old[i]);
    }
    set_current(d, vm, s);
    link_remove(space_of(d, NS), "Msvm_LastAppliedSnapshot", vm->system, NULL);
    link_add(d, NS, "Msvm_LastAppliedSnapshot", "Antecedent", vm->system, "Dependent", s);
    vm->before = VM_OFF;
    vm_set_state(d, vm, obj_bool(s->o, "IsSaved", false) ? VM_SAVED : VM_OFF);
    call_affects(c, vm->system);
}

const struct impl snapshot_impls[] = {
    {NS, "Msvm_VirtualSystemSnapshotService", "CreateSnapshot", IMPL_LOCKS, 70, 300, 6000, .check = create_check, .apply = create_apply},
    {NS, "Msvm_VirtualSystemSnapshotService", "ApplySnapshot", IMPL_LOCKS | IMPL_JOB, 71, 300, 6000, .check = apply_check, .apply = apply_apply},
    {NS, "Msvm_VirtualSystemSnapshotService", "DestroySnapshot", IMPL_LOCKS, 72, 300, 6000, .check = destroy_check, .apply = destroy_apply},
    {NS, "Msvm_VirtualSystemSnapshotService", "DestroySnapshotTree", IMPL_LOCKS, 72, 300, 6000, .check = tree_check, .apply = tree_apply},
    {0},
};

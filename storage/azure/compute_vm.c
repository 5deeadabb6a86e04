/* Virtual machines: reading, listing, power. */
#include <stdio.h>
#include <string.h>

#include "common/url.h"
#include "storage/azure/compute_internal.h"

#define POWER_DEADLINE_MS 1800000
#define VIEWS_MAX 1000                               /* of VMs that a list did not tell the power state of, asked one by one */

const char *compute_power_name(enum compute_power p)
{
    static const char *const words[] = {"unknown", "starting", "running", "stopping", "stopped", "deallocating", "deallocated"};
    return (unsigned)p < ARRAY_LEN(words) ? words[p] : words[0];
}

void compute_vm_clear(struct compute_vm *vm)
{
    for (size_t i = 0; i < vm->n_disks; i++) {
        free(vm->disks[i].name);
        free(vm->disks[i].id);
        free(vm->disks[i].vhd_url);
    }
    free(vm->disks);
    free(vm->id);
    free(vm->name);
    free(vm->location);
    free(vm->size);
    free(vm->boot_diagnostics_storage);
    free(vm->os_name);
    free(vm->os_version);
    *vm = (struct compute_vm){0};
}

void compute_vm_free(struct compute_vm *vm)
{
    if (vm)
        compute_vm_clear(vm);
    free(vm);
}

void compute_vms_free(struct compute_vm *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        compute_vm_clear(&list[i]);
    free(list);
}

/* ---- reading ---- */

static void parse_disk(const json_t *o, bool os, struct compute_vm_disk *d, bool *failed)
{
    const json_t *lun = compute_member(o, "lun");
    *d = (struct compute_vm_disk){.os = os, .lun = os ? -1 : json_integer_value(lun) >= 0 && json_integer_value(lun) < 1000
                                                             ? (int)json_integer_value(lun) : 0};
    d->name = compute_dup(o, "name", failed);
    d->id = compute_dup(o, "managedDisk.id", failed);
    if (!d->id && *compute_text(o, "vhd.uri"))
        *failed |= !(d->vhd_url = url_redact(compute_text(o, "vhd.uri")));
    d->size_bytes = compute_gib(o, "diskSizeGB");
    COMPUTE_COPY(d->storage_type, o, "managedDisk.storageAccountType");
    COMPUTE_COPY(d->security_encryption, o, "managedDisk.securityProfile.securityEncryptionType");
    d->ephemeral = str_ieq(compute_text(o, "diffDiskSettings.option"), "Local");
    d->ade = json_is_true(compute_member(o, "encryptionSettings.enabled"));
}

static int by_lun(const void *a, const void *b)
{
    const struct compute_vm_disk *x = a, *y = b;
    return x->lun < y->lun ? -1 : x->lun > y->lun;
}

static void parse_disks(const json_t *o, struct compute_vm *vm, bool *failed)
{
    const json_t *os = compute_member(o, "properties.storageProfile.osDisk"), *data = compute_member(o, "properties.storageProfile.dataDisks");
    size_t n = json_array_size(data);
    if (n > COMPUTE_VM_DISKS_MAX - 1)
        n = COMPUTE_VM_DISKS_MAX - 1;
    vm->disks = calloc(n + 1, sizeof *vm->disks);
    if (!vm->disks) {
        *failed = true;
        return;
    }
    if (json_is_object(os))
        parse_disk(os, true, &vm->disks[vm->n_disks++], failed);
    for (size_t i = 0; i < n; i++)
        parse_disk(json_array_get(data, i), false, &vm->disks[vm->n_disks++], failed);
    qsort(vm->disks, vm->n_disks, sizeof *vm->disks, by_lun);
}

void compute_parse_view(const json_t *view, struct compute_vm *vm)
{
    const json_t *statuses = compute_member(view, "statuses");
    size_t n = json_array_size(statuses);
    for (size_t i = 0; i < n; i++) {
        const char *code = compute_text(json_array_get(statuses, i), "code");
        if (!str_istarts(code, "PowerState/"))
            continue;
        for (int p = POWER_STARTING; p < POWER_STATES; p++)
            if (str_ieq(code + 11, compute_power_name((enum compute_power)p)))
                vm->power = (enum compute_power)p;
    }
    unsigned generation = compute_generation(compute_text(view, "hyperVGeneration"));
    bool ignored = false;
    if (generation)
        vm->generation = generation;
    if (!vm->os_name)
        vm->os_name = compute_dup(view, "osName", &ignored);
    if (!vm->os_version)
        vm->os_version = compute_dup(view, "osVersion", &ignored);
}

int compute_parse_vm(const json_t *o, struct compute_vm *ret, struct err *e)
{
    struct compute_vm vm = {0};
    struct arm_id id;
    struct err ignored;
    bool failed = false;
    vm.id = compute_dup(o, "id", &failed);
    if (!failed && (!vm.id || arm_id_parse(vm.id, COMPUTE_VM_TYPE, &id, &ignored) < 0)) {
        compute_vm_clear(&vm);
        return err_set(e, ERR_UPSTREAM, "Azure described a virtual machine without a usable id");
    }
    if (!failed) {
        memcpy(vm.subscription, id.subscription, sizeof vm.subscription);
        memcpy(vm.resource_group, id.resource_group, sizeof vm.resource_group);
        vm.name = compute_dup(o, "name", &failed);
        if (!vm.name && !failed && !(vm.name = str_dup(id.name)))
            failed = true;
    }
    vm.location = compute_dup(o, "location", &failed);
    vm.size = compute_dup(o, "properties.hardwareProfile.vmSize", &failed);
    COMPUTE_COPY(vm.vm_id, o, "properties.vmId");
    COMPUTE_COPY(vm.os_type, o, "properties.storageProfile.osDisk.osType");
    COMPUTE_COPY(vm.provisioning_state, o, "properties.provisioningState");
    COMPUTE_COPY(vm.security_type, o, "properties.securityProfile.securityType");
    vm.encryption_at_host = json_is_true(compute_member(o, "properties.securityProfile.encryptionAtHost"));
    vm.boot_diagnostics = json_is_true(compute_member(o, "properties.diagnosticsProfile.bootDiagnostics.enabled"));
    const char *storage = compute_text(o, "properties.diagnosticsProfile.bootDiagnostics.storageUri");
    vm.boot_diagnostics_storage = vm.boot_diagnostics && *storage ? url_redact(storage) : NULL;
    parse_disks(o, &vm, &failed);
    compute_parse_view(compute_member(o, "properties.instanceView"), &vm);
    if (failed) {
        compute_vm_clear(&vm);
        return err_oom(e);
    }
    *ret = vm;
    return 0;
}

int compute_vm_get(struct arm *a, const char *id, struct compute_vm **ret, struct err *e)
{
    AUTO_FREE char *path = compute_path(id, COMPUTE_VM_TYPE, "?$expand=instanceView", COMPUTE_VM_API, e);
    AUTO(compute_vm_free_ptr) struct compute_vm *vm = calloc(1, sizeof *vm);
    json_t *o = NULL;
    if (!path || !vm)
        return path ? err_oom(e) : -(int)e->code;
    int r = arm_get(a, path, &o, e);
    if (r == 0)
        r = compute_parse_vm(o, vm, e);
    json_decref(o);
    if (r < 0)
        return r;
    *ret = STEAL(vm);
    return 0;
}

/* ---- listing ---- */

static bool contains(const char *text, const char *part)
{
    for (; *text; text++)
        if (str_istarts(text, part))
            return true;
    return !*part;
}

static int parse_list(const json_t *all, const char *name_part, struct compute_vm **ret, size_t *ret_n, struct err *e)
{
    size_t n = 0, size = json_array_size(all);
    struct compute_vm *list = calloc(size + 1, sizeof *list);
    if (!list)
        return err_oom(e);
    for (size_t i = 0; i < size; i++) {
        const json_t *o = json_array_get(all, i);
        if (name_part && !contains(compute_text(o, "name"), name_part))
            continue;
        int r = compute_parse_vm(o, &list[n], e);
        n += r == 0;
        if (r < 0 && r != -ERR_UPSTREAM) {           /* one that cannot be understood hides no other */
            compute_vms_free(list, n);
            return r;
        }
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

struct keyed { char key[ARM_ID_MAX]; struct compute_vm *vm; };

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct keyed *)a)->key, ((const struct keyed *)b)->key);
}

/* The power states of a whole subscription in one list. */
static int add_views(struct arm *a, const char *subscription, struct compute_vm *list, size_t n, struct err *e)
{
    AUTO_FREE char *path = compute_list_path(subscription, NULL, COMPUTE_VM_TYPE, "statusOnly=true&api-version=" COMPUTE_VM_API, e);
    AUTO_FREE struct keyed *keys = calloc(n, sizeof *keys), *wanted = calloc(1, sizeof *wanted);
    json_t *all = NULL, *o;
    struct arm_id id;
    struct err ignored;
    size_t i;
    if (!path || !keys || !wanted)
        return path ? err_oom(e) : -(int)e->code;
    for (i = 0; i < n; i++) {
        keys[i].vm = &list[i];
        if (arm_id_parse(list[i].id, NULL, &id, &ignored) == 0)
            arm_id_key(&id, keys[i].key);
    }
    qsort(keys, n, sizeof *keys, by_key);
    int r = arm_list(a, path, &all, e);
    if (r < 0)
        return r;
    json_array_foreach(all, i, o) {
        if (arm_id_parse(compute_text(o, "id"), NULL, &id, &ignored) < 0)
            continue;
        arm_id_key(&id, wanted->key);
        const struct keyed *found = bsearch(wanted, keys, n, sizeof *keys, by_key);
        if (found)
            compute_parse_view(compute_member(o, "properties.instanceView"), found->vm);
    }
    json_decref(all);
    return 0;
}

/* Asks for those that are still unknown, one by one. A VM that went meanwhile stays unknown. */
static int ask_views(struct arm *a, struct compute_vm *list, size_t n, struct err *e)
{
    for (size_t i = 0, asked = 0; i < n && asked < VIEWS_MAX; i++) {
        if (list[i].power != POWER_UNKNOWN)
            continue;
        AUTO_FREE char *path = compute_path(list[i].id, COMPUTE_VM_TYPE, "/instanceView", COMPUTE_VM_API, e);
        json_t *view = NULL;
        if (!path)
            return -(int)e->code;
        asked++;
        int r = arm_get(a, path, &view, e);
        if (r == 0)
            compute_parse_view(view, &list[i]);
        json_decref(view);
        if (r < 0 && r != -ERR_NOT_FOUND)
            return r;
    }
    return 0;
}

int compute_vm_list(struct arm *a, const char *subscription, const char *resource_group, const char *name_part, struct compute_vm **ret,
                    size_t *ret_n, struct err *e)
{
    AUTO_FREE char *path = compute_list_path(subscription, resource_group, COMPUTE_VM_TYPE, "api-version=" COMPUTE_VM_API, e);
    json_t *all = NULL;
    struct compute_vm *list = NULL;
    size_t n = 0;
    if (!path)
        return -(int)e->code;
    int r = arm_list(a, path, &all, e);
    if (r == 0)
        r = parse_list(all, name_part, &list, &n, e);
    json_decref(all);
    if (r == 0 && n && !resource_group)
        r = add_views(a, subscription, list, n, e);
    if (r == 0)
        r = ask_views(a, list, n, e);
    if (r < 0) {
        compute_vms_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

/* ---- power ---- */

static int act(struct arm *a, const char *id, const char *action, struct err *e)
{
    AUTO_FREE char *path = compute_path(id, COMPUTE_VM_TYPE, action, COMPUTE_VM_API, e);
    if (!path)
        return -(int)e->code;
    struct arm_call c = {.method = "POST", .path = path, .deadline_ms = POWER_DEADLINE_MS};
    return arm_run(a, &c, NULL, e);
}

int compute_vm_deallocate(struct arm *a, const char *id, struct err *e)
{
    return act(a, id, "/deallocate", e);
}

int compute_vm_start(struct arm *a, const char *id, struct err *e)
{
    return act(a, id, "/start", e);
}

/* Virtual machines: Msvm_ComputerSystem with its settings, and the methods of Msvm_VirtualSystemManagementService that define, change and
 * destroy them. */
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV
#define REALIZED "Microsoft:Hyper-V:System:Realized"
#define GEN1 "Microsoft:Hyper-V:SubType:1"
#define GEN2 "Microsoft:Hyper-V:SubType:2"

/* ---- finding ---- */

struct vm *vm_by_guid(struct dbl *d, const char *guid)
{
    struct vm *vm = d->vms;
    while (vm && !str_ieq(vm->guid, guid))
        vm = vm->next;
    return vm;
}

struct vm *vm_by_ref(struct dbl *d, const char *path)
{
    struct inst *i = inst_by_path(d, NS, path);
    return i ? i->vm : NULL;
}

bool vm_is_off(const struct vm *vm)
{
    return vm->state == VM_OFF || vm->state == VM_SAVED;
}

bool vm_is_locked(struct dbl *d, struct vm *vm)
{
    if (vm->locked_calls) {
        vm->locked_calls--;
        return true;
    }
    return now_ms(d) < vm->locked_until_ms || job_runs_on(d, vm->guid);
}

void vm_lock_a_while(struct dbl *d, struct vm *vm)
{
    if (!chance(d, d->o.locked_per_mille))
        return;
    if (rnd(d, 2))
        vm->locked_calls = 1 + rnd(d, 3);
    else
        vm->locked_until_ms = now_ms(d) + 100 + rnd(d, 2500);
}

/* ---- making ---- */

void overwrite(struct dobj *to, const struct dobj *from)
{
    for (size_t i = 0; i < from->layout->n; i++) {
        if (from->values[i].type == WMI_NULL || from->layout->at[i].key)
            continue;
        int at = schema_member(to->layout, from->layout->at[i].name);
        if (at >= 0)
            obj_put(to, at, &from->values[i]);
    }
}

static void set_if_missing(struct dobj *o, const char *name, const char *value)
{
    if (!obj_has(o, name))
        obj_set_str(o, name, value);
}

static void set_uint_if_missing(struct dobj *o, const char *name, uint64_t value)
{
    if (!obj_has(o, name))
        obj_set_uint(o, name, value);
}

static void set_bool_if_missing(struct dobj *o, const char *name, bool value)
{
    if (!obj_has(o, name))
        obj_set_bool(o, name, value);
}

static unsigned generation_of(const struct dobj *settings)
{
    const char *s = obj_str(settings, "VirtualSystemSubType");
    return s && !strcmp(s, GEN2) ? 2 : 1;
}

static void settings_defaults(struct dbl *d, struct dobj *o)
{
    bool gen2 = generation_of(o) == 2;
    set_if_missing(o, "ElementName", "New Virtual Machine");
    set_if_missing(o, "VirtualSystemSubType", GEN1);
    set_if_missing(o, "Version", schema_build(d->schema) >= DBL_2025 ? "12.0" : schema_build(d->schema) >= DBL_2019 ? "9.0" : "8.0");
    set_if_missing(o, "ConfigurationDataRoot", "C:\\ProgramData\\Microsoft\\Windows\\Hyper-V");
    set_if_missing(o, "SnapshotDataRoot", obj_str(o, "ConfigurationDataRoot"));
    set_if_missing(o, "SwapFileDataRoot", obj_str(o, "ConfigurationDataRoot"));
    set_if_missing(o, "GuestStateDataRoot", obj_str(o, "ConfigurationDataRoot"));
    set_uint_if_missing(o, "AutomaticStartupAction", 3);
    set_uint_if_missing(o, "AutomaticShutdownAction", 3);
    set_uint_if_missing(o, "AutomaticRecoveryAction", 3);
    set_uint_if_missing(o, "UserSnapshotType", 3);
    set_bool_if_missing(o, "AutomaticSnapshotsEnabled", d->o.client);
    set_bool_if_missing(o, "VirtualNumaEnabled", true);
    set_bool_if_missing(o, "LockOnDisconnect", false);
    set_bool_if_missing(o, "BIOSNumLock", false);
    set_bool_if_missing(o, "IncrementalBackupEnabled", false);
    set_uint_if_missing(o, "ConsoleMode", 0);
    if (gen2) {
        set_bool_if_missing(o, "SecureBootEnabled", true);
        if (obj_bool(o, "SecureBootEnabled", false))
            set_if_missing(o, "SecureBootTemplateId", "1734c6e8-3154-4dda-ba5f-a874cc483422");
        if (!obj_has(o, "BootSourceOrder"))
            obj_set_strs(o, "BootSourceOrder", NULL, 0);
    } else {
        set_bool_if_missing(o, "SecureBootEnabled", false);
        if (!obj_has(o, "BootOrder"))
            obj_set_uints(o, "BootOrder", (const uint64_t[]){1, 2, 3, 0}, 4);
    }
}

/* The files of a VM lie below ConfigurationDataRoot. 0 or what the system says. */
static uint32_t make_files(struct dbl *d, struct vm *vm)
{
    const char *root = obj_str(vm->settings->o, "ConfigurationDataRoot");
    if (vm->foreign || !root || !os_path_is_absolute(root))
        return 0;
    if (file_attributes(d, root).denied)
        return 0x80070005u;
    struct err e;
    AUTO_FREE char *dir = x_printf("%s/Virtual Machines", root);
    if (os_mkdirs(dir, 0, &e) < 0)
        return 0x80070005u;
    static const char *const ends[] = {"vmcx", "vmrs"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        AUTO_FREE char *path = x_printf("%s/%s.%s", dir, vm->guid, ends[i]);
        AUTO(os_file_close_ptr) struct os_file *f = NULL;
        if (os_file_open(path, OS_WRITE | OS_CREATE, &f, &e) < 0 || os_file_pwrite(f, vm->guid, strlen(vm->guid), 0, &e) < 0)
            return 0x80070005u;
    }
    vm->config_root = x_dup(root);
    return 0;
}

static void remove_files(struct dbl *d, struct vm *vm)
{
    static const char *const ends[] = {"vmcx", "vmrs", "vmgs"};
    if (!vm->config_root)
        return;
    struct err e;
    AUTO_FREE char *dir = x_printf("%s/Virtual Machines", vm->config_root);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        AUTO_FREE char *path = x_printf("%s/%s.%s", dir, vm->guid, ends[i]);
        os_remove(path, &e);
    }
    if (!choose(d, DBL_LEAVES_FOLDERS))
        os_remove_empty_dir(dir, &e);
}

struct vm *vm_new(struct dbl *d, const struct dobj *given, bool foreign)
{
    struct vm *vm = x_calloc(1, sizeof *vm);
    guid_new(d, vm->guid);
    vm->foreign = foreign;
    vm->state = VM_OFF;
    vm->before = VM_OFF;
    vm->guest.plan = d->o.guest;

    vm->settings = inst_new(d, NS, "Msvm_VirtualSystemSettingData");
    struct dobj *o = vm->settings->o;
    overwrite(o, given);
    settings_defaults(d, o);
    vm->generation = generation_of(o);
    AUTO_FREE char *id = x_printf("Microsoft:%s", vm->guid), *now = datetime_text(d, now_ms(d));
    obj_set_str(o, "InstanceID", id);
    obj_set_str(o, "Caption", word(d, "Settings for the virtual machine"));
    obj_set_str(o, "VirtualSystemIdentifier", vm->guid);
    obj_set_str(o, "ConfigurationID", vm->guid);
    obj_set_str(o, "VirtualSystemType", REALIZED);
    obj_set_str(o, "CreationTime", now);
    AUTO_FREE char *file = x_printf("Virtual Machines\\%s.vmcx", vm->guid);
    obj_set_str(o, "ConfigurationFile", file);
    vm->settings->vm = vm;
    vm->settings->foreign = foreign;

    vm->system = inst_new(d, NS, "Msvm_ComputerSystem");
    struct dobj *s = vm->system->o;
    obj_set_str(s, "CreationClassName", "Msvm_ComputerSystem");
    obj_set_str(s, "Name", vm->guid);
    obj_set_str(s, "ElementName", obj_str(o, "ElementName"));
    obj_set_str(s, "Caption", word(d, "Virtual Machine"));
    obj_set_str(s, "Description", "Microsoft Virtual Computer System");
    obj_set_str(s, "InstallDate", now);
    obj_set_uint(s, "EnabledDefault", 2);
    obj_set_uint(s, "RequestedState", 12);
    obj_set_uint(s, "HealthState", 5);
    obj_set_uints(s, "OperationalStatus", (const uint64_t[]){2}, 1);
    obj_set_uint(s, "OnTimeInMilliseconds", 0);
    obj_set_uint(s, "EnhancedSessionModeState", 3);
    vm->system->vm = vm;
    vm->system->foreign = foreign;
    inst_enter(d, vm->system);
    inst_enter(d, vm->settings);
    link_add(d, NS, "Msvm_SettingsDefineState", "ManagedElement", vm->system, "SettingData", vm->settings);
    vm->next = d->vms;
    d->vms = vm;
    vm_set_state(d, vm, VM_OFF);
    resource_defaults(d, vm);
    return vm;
}

void vm_remove(struct dbl *d, struct vm *vm)
{
    runtime_remove(d, vm, true);
    for (size_t i = 0; i < ARRAY_LEN(vm->serial); i++)
        serial_close(vm->serial[i]);
    remove_files(d, vm);
    struct space *s = space_of(d, NS);
    for (size_t i = s->n; i > 0; i--)
        if (s->at[i - 1]->vm == vm)
            inst_remove(d, s->at[i - 1]);
    struct vm **at = &d->vms;
    while (*at != vm)
        at = &(*at)->next;
    *at = vm->next;
    strbuf_free(&vm->guest.keys);
    free(vm->config_root);
    free(vm);
}

void vm_set_state(struct dbl *d, struct vm *vm, enum vm_state state)
{
    vm->state = state;
    struct dobj *o = vm->system->o;
    obj_set_uint(o, "EnabledState", (uint64_t)state);
    AUTO_FREE char *now = datetime_text(d, now_ms(d));
    obj_set_str(o, "TimeOfLastStateChange", now);
}

/* ---- DefineSystem ---- */

/* Boot order of Generation 1: a permutation of what there is. */
static bool boot_order_is_whole(const struct dobj *o)
{
    bool seen[4] = {false};
    size_t n = obj_n(o, "BootOrder");
    if (!obj_has(o, "BootOrder"))
        return true;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = obj_uint_at(o, "BootOrder", i, 99);
        if (v > 3 || seen[v])
            return false;
        seen[v] = true;
    }
    return n == 4;
}

/* Values that are documented one by one, and the Secure Boot templates that a host has. */
static bool values_are_known(const struct dobj *o)
{
    static const struct { const char *name; uint64_t min, max; } ranges[] = {
        {"AutomaticStartupAction", 2, 4}, {"AutomaticShutdownAction", 2, 4}, {"AutomaticRecoveryAction", 2, 4}, {"UserSnapshotType", 2, 5},
        {"ConsoleMode", 0, 3},            {"NetworkBootPreferredProtocol", 4096, 4097}};
    static const char *const templates[] = {"1734c6e8-3154-4dda-ba5f-a874cc483422", "272e7447-90a4-4563-a4b9-8e4ab00526ce",
                                            "4292ae2b-ee2c-42b5-a969-dd8f8689f6f3"};
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        uint64_t v = obj_uint(o, ranges[i].name, ranges[i].min);
        if (v < ranges[i].min || v > ranges[i].max)
            return false;
    }
    const char *id = obj_str(o, "SecureBootTemplateId");
    bool known = !id || !*id;
    for (size_t i = 0; i < ARRAY_LEN(templates); i++)
        known = known || str_ieq(id, templates[i]);
    return known;
}

static uint32_t check_settings(const struct dobj *o, unsigned generation)
{
    const char *name = obj_str(o, "ElementName");
    size_t chars = 0;
    for (const char *p = name ? name : ""; *p; p++)
        chars += (*p & 0xC0) != 0x80;
    if (chars > 100 || !values_are_known(o))
        return RET_INVALID_PARAMETER;
    if (generation == 1 && (obj_bool(o, "SecureBootEnabled", false) || obj_n(o, "BootSourceOrder") || !boot_order_is_whole(o)))
        return RET_INVALID_PARAMETER;
    return 0;
}

static uint32_t define_check(struct call *c)
{
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualSystemSettingData");
    if (!o)
        return RET_INVALID_PARAMETER;
    const char *sub = obj_str(o, "VirtualSystemSubType");
    uint32_t r = sub && strcmp(sub, GEN1) != 0 && strcmp(sub, GEN2) != 0 ? RET_INVALID_PARAMETER : check_settings(o, generation_of(o));
    for (size_t i = 0; r == 0 && i < obj_n(c->in, "ResourceSettings"); i++) {
        struct dobj *s = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "CIM_ResourceAllocationSettingData");
        r = s ? resource_check(c->d, NULL, s, true) : RET_INVALID_PARAMETER;
        obj_free(s);
    }
    const char *reference = obj_str(c->in, "ReferenceConfiguration");
    if (r == 0 && reference && !inst_by_path(c->d, NS, reference))
        r = RET_INVALID_PARAMETER;
    obj_free(o);
    return r;
}

static void define_apply(struct call *c)
{
    struct dbl *d = c->d;
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualSystemSettingData");
    struct vm *vm = vm_new(d, o, false);
    obj_free(o);
    uint32_t h = make_files(d, vm);
    if (h)
        call_fail(c, h, "'%s' could not be created in %s.", obj_str(vm->settings->o, "ElementName"), obj_str(vm->settings->o, "ConfigurationDataRoot"));
    for (size_t i = 0; !c->error && i < obj_n(c->in, "ResourceSettings"); i++) {
        struct dobj *s = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "CIM_ResourceAllocationSettingData");
        struct inst *device = schema_isa(s->class, "Msvm_MemorySettingData")      ? vm_device(d, vm->settings, "Memory", 0)
                              : schema_isa(s->class, "Msvm_ProcessorSettingData") ? vm_device(d, vm->settings, "Processor", 0)
                                                                                  : NULL;
        uint32_t r = resource_check(d, vm, s, true);
        if (r)
            call_fail(c, r, "A resource of the virtual machine is not valid.");
        else if (device)
            resource_modify(c, vm, device, s);
        else
            resource_add(c, vm, s);
        obj_free(s);
    }
    if (c->error) {
        if (!choose(d, DBL_HALF_MADE))
            vm_remove(d, vm);
        return;
    }
    call_affects(c, vm->system);
    call_affects(c, vm->settings);
    call_out_ref(c, "ResultingSystem", vm->system);
}

/* ---- ModifySystemSettings ---- */

static struct inst *settings_of(struct call *c, const struct dobj *given)
{
    const char *id = obj_str(given, "InstanceID");
    struct inst *i = id ? inst_by_key(c->d, NS, "Msvm_VirtualSystemSettingData", "InstanceID", id) : NULL;
    return i && i->vm ? i : NULL;
}

static uint32_t modify_check(struct call *c)
{
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualSystemSettingData");
    struct inst *i = o ? settings_of(c, o) : NULL;
    uint32_t r = i ? check_settings(o, i->vm->generation) : RET_INVALID_PARAMETER;
    if (i) {
        c->vm = i->vm;
        const char *sub = obj_str(o, "VirtualSystemSubType");
        if (sub && strcmp(sub, obj_str(i->o, "VirtualSystemSubType")) != 0)
            r = RET_INVALID_PARAMETER;
    }
    obj_free(o);
    return r;
}

static bool same_value(const struct wmi_value *a, const struct wmi_value *b)
{
    if (a->type != b->type || a->array != b->array || (a->array && a->n != b->n))
        return false;
    bool text = a->type == WMI_STRING || a->type == WMI_DATETIME || a->type == WMI_REFERENCE;
    for (size_t i = 0; i < (a->array ? a->n : 1); i++) {
        if (a->array && a->type == WMI_UINT8) {
            if (a->bytes[i] != b->bytes[i])
                return false;
            continue;
        }
        const union wmi_item *x = a->array ? &a->items[i] : &a->one, *y = b->array ? &b->items[i] : &b->one;
        if (text ? strcmp(x->s, y->s) != 0 : a->type == WMI_BOOLEAN ? x->b != y->b : x->u != y->u)
            return false;
    }
    return true;
}

/* What must be off for it. */
static const char *const off_only[] = {"SecureBootEnabled", "SecureBootTemplateId", "BootOrder", "VirtualNumaEnabled", "BIOSNumLock", "ConsoleMode",
                                       "GuestControlledCacheTypes", "LowMmioGapSize", "HighMmioGapSize", "LockOnDisconnect", "PauseAfterBootFailure"};

/* Known entries first, in the order that was given; then those that were left out. false: one is not of this VM. */
static bool reorder_boot(struct dbl *d, struct inst *settings, const struct dobj *given)
{
    size_t n = obj_n(given, "BootSourceOrder"), have = obj_n(settings->o, "BootSourceOrder"), k = 0;
    struct inst **order = x_calloc(n + have, sizeof *order);
    bool ok = true;
    for (size_t i = 0; ok && i < n + have; i++) {
        const char *path = i < n ? obj_str_at(given, "BootSourceOrder", i) : obj_str_at(settings->o, "BootSourceOrder", i - n);
        struct inst *source = inst_by_path(d, NS, path);
        ok = i >= n || (source && schema_isa(source->o->class, "Msvm_BootSourceSettingData") && source->vm == settings->vm);
        bool twice = !source;
        for (size_t s = 0; s < k; s++)
            twice = twice || order[s] == source;
        if (!twice)
            order[k++] = source;
    }
    if (ok) {
        char **paths = x_calloc(k + 1, sizeof *paths);
        for (size_t i = 0; i < k; i++)
            paths[i] = inst_path(d, order[i]);
        obj_set_strs(settings->o, "BootSourceOrder", (const char *const *)paths, k);
        wmi_strs_free(paths);
    }
    free(order);
    return ok;
}

static void modify_apply(struct call *c)
{
    struct dbl *d = c->d;
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualSystemSettingData");
    struct inst *i = settings_of(c, o);
    if (!i) {
        call_fail(c, RET_NOT_FOUND, "The virtual machine was not found.");
        obj_free(o);
        return;
    }
    for (size_t k = 0; k < ARRAY_LEN(off_only) && i == i->vm->settings && !vm_is_off(i->vm); k++)
        if (obj_has(o, off_only[k]) && !same_value(obj_get(o, off_only[k]), obj_get(i->o, off_only[k])))
            call_fail(c, RET_FAILED, "The property '%s' cannot be changed while the virtual machine '%s' is running.", off_only[k],
                      obj_str(i->o, "ElementName"));
    if (!c->error && obj_has(o, "BootSourceOrder")) {
        if (!reorder_boot(d, i, o))
            call_fail(c, 0x80070490u, "Element not found.");
        obj_unset(o, "BootSourceOrder");
    }
    if (!c->error) {
        /* what VMMS keeps for itself */
        static const char *const own[] = {"VirtualSystemIdentifier", "VirtualSystemType", "CreationTime", "ConfigurationID", "ConfigurationFile",
                                          "Version", "Parent", "IsSaved", "IsAutomaticSnapshot", "VirtualSystemSubType", "Caption"};
        for (size_t k = 0; k < ARRAY_LEN(own); k++)
            obj_unset(o, own[k]);
        overwrite(i->o, o);
        if (i == i->vm->settings)
            obj_set_str(i->vm->system->o, "ElementName", obj_str(i->o, "ElementName"));
        call_affects(c, i->vm->system);
        call_affects(c, i);
    }
    obj_free(o);
}

/* ---- DestroySystem ---- */

static uint32_t destroy_check(struct call *c)
{
    struct inst *i = inst_by_path(c->d, NS, obj_str(c->in, "AffectedSystem"));
    if (!i || !i->vm || i != i->vm->system)
        return RET_INVALID_PARAMETER;
    c->vm = i->vm;
    return vm_is_off(i->vm) ? 0 : RET_INVALID_STATE;
}

static void destroy_apply(struct call *c)
{
    struct vm *vm = vm_by_ref(c->d, obj_str(c->in, "AffectedSystem"));
    if (!vm) {
        call_fail(c, RET_NOT_FOUND, "The virtual machine was not found.");
        return;
    }
    snapshots_remove(c->d, vm);
    c->vm = NULL;
    vm_remove(c->d, vm);
}

/* ---- texts of errors ---- */

static uint32_t format_error(struct call *c)
{
    AUTO_STRBUF struct strbuf b = {0};
    strbuf_adds(&b, "");
    for (size_t i = 0; i < obj_n(c->in, "Errors"); i++) {
        struct dobj *e = obj_settings(c->d, obj_str_at(c->in, "Errors", i), "Msvm_Error");
        if (!e)
            return RET_INVALID_PARAMETER;
        strbuf_addf(&b, "%s%s", b.len ? "\n" : "", obj_str(e, "Message") ? obj_str(e, "Message") : "");
        obj_free(e);
    }
    obj_set_str(c->out, "ErrorMessage", b.data);
    return 0;
}

/* ---- GetSummaryInformation ---- */

static struct dobj *summary(struct dbl *d, const struct inst *settings, const struct dobj *in)
{
    const struct vm *vm = settings->vm;
    const struct dobj *o = settings->o;
    struct dobj *s = obj_new(d, schema_class(d->schema, NS, "Msvm_SummaryInformation"));
    obj_set_str(s, "InstanceID", obj_str(o, "InstanceID"));
    for (size_t i = 0; i < obj_n(in, "RequestedInformation"); i++) {
        struct space *space = space_of(d, NS);
        switch (obj_uint_at(in, "RequestedInformation", i, 0)) {
        case 0:
            obj_set_str(s, "Name", vm->guid);
            break;
        case 1:
            obj_set_str(s, "ElementName", obj_str(o, "ElementName"));
            break;
        case 2:
            obj_set_str(s, "CreationTime", obj_str(o, "CreationTime"));
            break;
        case 3:
            obj_set_str(s, "Notes", obj_str_at(o, "Notes", 0));
            break;
        case 4: {
            struct inst *cpu = vm_device(d, settings, "Processor", 0);
            obj_set_uint(s, "NumberOfProcessors", cpu ? obj_uint(cpu->o, "VirtualQuantity", 0) : 0);
            break;
        }
        case 100:
            obj_set_uint(s, "EnabledState", obj_uint(vm->system->o, "EnabledState", 0));
            break;
        case 103: {
            struct inst *memory = vm_device(d, settings, "Memory", 0);
            obj_set_uint(s, "MemoryUsage", vm->state == VM_RUNNING && memory ? obj_uint(memory->o, "VirtualQuantity", 0) : 0);
            break;
        }
        case 104:
            for (size_t k = 0; k < space->n; k++)
                if (space->at[k]->vm == vm && schema_isa(space->at[k]->o->class, "Msvm_HeartbeatComponent"))
                    obj_set_uint(s, "Heartbeat", obj_uint_at(space->at[k]->o, "OperationalStatus", 0, 0));
            break;
        case 105:
            obj_set_uint(s, "UpTime", obj_uint(vm->system->o, "OnTimeInMilliseconds", 0));
            break;
        case 109:
            obj_set_uint(s, "HealthState", obj_uint(vm->system->o, "HealthState", 5));
            break;
        case 110:
            obj_set(s, "OperationalStatus", obj_get(vm->system->o, "OperationalStatus"));
            break;
        default:                                       /* not played: stays NULL, as for a VM that has nothing to say */
            break;
        }
    }
    return s;
}

static uint32_t get_summary(struct call *c)
{
    struct dbl *d = c->d;
    struct space *space = space_of(d, NS);
    struct dobj **list = NULL;
    size_t n = 0;
    bool all = !obj_has(c->in, "SettingData");
    for (size_t i = 0; i < (all ? space->n : obj_n(c->in, "SettingData")); i++) {
        struct inst *s = all ? space->at[i] : inst_by_path(d, NS, obj_str_at(c->in, "SettingData", i));
        bool settings = s && s->vm && schema_isa(s->o->class, "Msvm_VirtualSystemSettingData");
        if (!settings && all)
            continue;
        if (!settings || (all && s != s->vm->settings)) {
            if (all)
                continue;
            for (size_t k = 0; k < n; k++)
                obj_free(list[k]);
            free(list);
            return RET_INVALID_PARAMETER;
        }
        list = x_grow(list, n + 1, sizeof *list);
        list[n++] = summary(d, s, c->in);
    }
    obj_set_objs(c->out, "SummaryInformation", list, n);
    free(list);
    return 0;
}

const struct impl vm_impls[] = {
    {NS, "Msvm_VirtualSystemManagementService", "DefineSystem", IMPL_HALF, 1, 300, 4000, .check = define_check, .apply = define_apply},
    {NS, "Msvm_VirtualSystemManagementService", "ModifySystemSettings", IMPL_LOCKS, 2, 100, 2000, .check = modify_check, .apply = modify_apply},
    {NS, "Msvm_VirtualSystemManagementService", "DestroySystem", IMPL_LOCKS, 3, 200, 4000, .check = destroy_check, .apply = destroy_apply},
    {NS, "Msvm_VirtualSystemManagementService", "FormatError", IMPL_SYNC | IMPL_VALUE | IMPL_READS, .check = format_error},
    {NS, "Msvm_VirtualSystemManagementService", "GetSummaryInformation", IMPL_SYNC | IMPL_VALUE | IMPL_READS, .check = get_summary},
    {0},
};

/* ---- what is there from the start ---- */

static struct inst *service(struct dbl *d, const char *class, const char *name)
{
    struct inst *i = inst_new(d, NS, class);
    obj_set_str(i->o, "SystemCreationClassName", "Msvm_ComputerSystem");
    obj_set_str(i->o, "SystemName", d->host_name);
    obj_set_str(i->o, "CreationClassName", class);
    obj_set_str(i->o, "Name", name);
    obj_set_bool(i->o, "Started", true);
    obj_set_uint(i->o, "EnabledState", 2);
    inst_enter(d, i);
    return i;
}

static struct vm *foreign_vm(struct dbl *d, const char *name, const char *notes, unsigned generation, bool running)
{
    struct dobj *o = obj_new(d, schema_class(d->schema, NS, "Msvm_VirtualSystemSettingData"));
    obj_set_str(o, "ElementName", name);
    obj_set_str(o, "VirtualSystemSubType", generation == 2 ? GEN2 : GEN1);
    if (notes)
        obj_set_strs(o, "Notes", (const char *const[]){notes}, 1);
    struct vm *vm = vm_new(d, o, true);
    obj_free(o);
    if (running)
        vm_power_on(d, vm);
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i]->vm == vm)
            s->at[i]->foreign = true;
    for (size_t i = 0; i < s->n_links; i++)
        s->links[i].foreign = s->links[i].foreign || (s->links[i].a->foreign && s->links[i].b->foreign);
    return vm;
}

const char *dbl_foreign_vm(struct dbl *d, const char *name, const char *notes, unsigned generation, bool running)
{
    pthread_mutex_lock(&d->lock);
    const char *guid = foreign_vm(d, name, notes, generation, running)->guid;
    pthread_mutex_unlock(&d->lock);
    return guid;
}

void hyperv_populate(struct dbl *d)
{
    struct inst *host = inst_new(d, NS, "Msvm_ComputerSystem");
    obj_set_str(host->o, "CreationClassName", "Msvm_ComputerSystem");
    obj_set_str(host->o, "Name", d->host_name);
    obj_set_str(host->o, "ElementName", d->host_name);
    obj_set_str(host->o, "Caption", word(d, "Hosting Computer System"));
    obj_set_str(host->o, "Description", "Microsoft Hosting Computer System");
    obj_set_uint(host->o, "EnabledState", 2);
    obj_set_uint(host->o, "HealthState", 5);
    inst_enter(d, host);
    struct inst *vmms = service(d, "Msvm_VirtualSystemManagementService", "vmms");
    service(d, "Msvm_VirtualSystemSnapshotService", "vmms");
    service(d, "Msvm_ImageManagementService", "vhdsvc");
    service(d, "Msvm_VirtualEthernetSwitchManagementService", "nvspwmi");
    service(d, "Msvm_SecurityService", "vmms");
    service(d, "Msvm_TerminalService", "vmms");
    struct inst *defaults = inst_new(d, NS, "Msvm_VirtualSystemManagementServiceSettingData");
    obj_set_str(defaults->o, "InstanceID", "Microsoft:vmms");
    obj_set_str(defaults->o, "DefaultVirtualHardDiskPath", "C:\\Users\\Public\\Documents\\Hyper-V\\Virtual Hard Disks");
    obj_set_str(defaults->o, "DefaultExternalDataRoot", "C:\\ProgramData\\Microsoft\\Windows\\Hyper-V");
    obj_set_bool(defaults->o, "EnhancedSessionModeEnabled", d->o.client);
    obj_set_bool(defaults->o, "NumaSpanningEnabled", true);
    inst_enter(d, defaults);
    link_add(d, NS, "Msvm_ElementSettingData", "ManagedElement", vmms, "SettingData", defaults);
    struct inst *caps = inst_new(d, NS, "Msvm_VirtualSystemManagementCapabilities");
    obj_set_str(caps->o, "InstanceID", "Microsoft:vmms");
    obj_set_strs(caps->o, "VirtualSystemTypesSupported", (const char *const[]){GEN1, GEN2}, 2);
    inst_enter(d, caps);
    link_add(d, NS, "Msvm_ElementCapabilities", "ManagedElement", vmms, "Capabilities", caps);
    resource_templates(d);
    /* two VMs of somebody else, one of them with a disk that is in use */
    foreign_vm(d, "DC01", "domain controller\r\ndo not touch", 2, true);
    foreign_vm(d, "web01", NULL, 1, false);
}

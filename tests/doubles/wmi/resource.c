/* Devices of a VM as settings: templates, what a VM has from the start, and AddResourceSettings, ModifyResourceSettings and
 * RemoveResourceSettings. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV
#define PREFIX "Microsoft:Hyper-V:"

/* ---- kinds ---- */

enum { ADDABLE = 1, GEN1_ONLY = 2, DRIVE = 4, MEDIUM = 8, DISK = 16, HAS_TEMPLATE = 32 };
struct kind {
    const char *sub;
    unsigned type;                                     /* ResourceType */
    const char *class;
    unsigned flags;
    const char *guid;                                  /* of its template */
};
static const struct kind kinds[] = {
    {"Processor", 3, "Msvm_ProcessorSettingData", HAS_TEMPLATE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0001"},
    {"Memory", 4, "Msvm_MemorySettingData", HAS_TEMPLATE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0002"},
    {"Emulated IDE Controller", 5, "Msvm_ResourceAllocationSettingData", HAS_TEMPLATE | GEN1_ONLY, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0003"},
    {"Synthetic SCSI Controller", 6, "Msvm_ResourceAllocationSettingData", HAS_TEMPLATE | ADDABLE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0004"},
    {"Synthetic Ethernet Port", 10, "Msvm_SyntheticEthernetPortSettingData", HAS_TEMPLATE | ADDABLE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0005"},
    {"Emulated Ethernet Port", 10, "Msvm_EmulatedEthernetPortSettingData", HAS_TEMPLATE | ADDABLE | GEN1_ONLY, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0006"},
    {"Synthetic Diskette Drive", 14, "Msvm_ResourceAllocationSettingData", HAS_TEMPLATE | GEN1_ONLY, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0007"},
    {"Synthetic DVD Drive", 16, "Msvm_ResourceAllocationSettingData", HAS_TEMPLATE | ADDABLE | DRIVE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0008"},
    {"Synthetic Disk Drive", 17, "Msvm_ResourceAllocationSettingData", HAS_TEMPLATE | ADDABLE | DRIVE | DISK, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D0009"},
    {"Physical Disk Drive", 17, "Msvm_ResourceAllocationSettingData", HAS_TEMPLATE | DRIVE | DISK, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D000A"},
    {"Virtual Hard Disk", 31, "Msvm_StorageAllocationSettingData", HAS_TEMPLATE | ADDABLE | MEDIUM | DISK, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D000B"},
    {"Virtual CD/DVD Disk", 31, "Msvm_StorageAllocationSettingData", HAS_TEMPLATE | ADDABLE | MEDIUM, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D000C"},
    {"Virtual Floppy Disk", 31, "Msvm_StorageAllocationSettingData", HAS_TEMPLATE | GEN1_ONLY, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D000D"},
    {"Ethernet Connection", 33, "Msvm_EthernetPortAllocationSettingData", HAS_TEMPLATE | ADDABLE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D000E"},
    {"Serial Controller", 20, "Msvm_ResourceAllocationSettingData", 0, ""},
    {"Serial Port", 21, "Msvm_SerialPortSettingData", HAS_TEMPLATE, "8B5A5A70-0B6C-4B5E-9D4C-2B0A2C1D000F"},
    {"Synthetic Display Controller", 24, "Msvm_SyntheticDisplayControllerSettingData", 0, ""},
    {"S3 Display Controller", 24, "Msvm_ResourceAllocationSettingData", GEN1_ONLY, ""},
    {"Synthetic Mouse", 13, "Msvm_ResourceAllocationSettingData", 0, ""},
    {"Synthetic Keyboard", 13, "Msvm_ResourceAllocationSettingData", 0, ""},
    {"Heartbeat Component", 1, "Msvm_HeartbeatComponentSettingData", 0, ""},
    {"Shutdown Component", 1, "Msvm_ShutdownComponentSettingData", 0, ""},
    {"Kvp Exchange Component", 1, "Msvm_KvpExchangeComponentSettingData", 0, ""},
    {"Time Synchronization Component", 1, "Msvm_TimeSyncComponentSettingData", 0, ""},
    {"VSS Component", 1, "Msvm_VssComponentSettingData", 0, ""},
    {"Guest Service Interface Component", 1, "Msvm_GuestServiceInterfaceComponentSettingData", 0, ""},
};

static const struct kind *kind_named(const char *sub)
{
    for (size_t i = 0; sub && i < ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i].sub, sub))
            return &kinds[i];
    return NULL;
}

static const char *without_prefix(const char *sub)
{
    return sub && str_starts(sub, PREFIX) ? sub + strlen(PREFIX) : NULL;
}

const char *sub_type_of(const struct inst *i)
{
    return schema_isa(i->o->class, "CIM_ResourceAllocationSettingData") ? without_prefix(obj_str(i->o, "ResourceSubType")) : NULL;
}

static bool is_sub(const struct inst *i, const char *sub)
{
    const char *s = sub_type_of(i);
    return s && !strcmp(s, sub);
}

static void set_kind(struct dobj *o, const struct kind *k)
{
    AUTO_FREE char *sub = x_printf(PREFIX "%s", k->sub);
    obj_set_str(o, "ResourceSubType", sub);
    obj_set_uint(o, "ResourceType", k->type);
}

static void kind_defaults(struct dbl *d, struct dobj *o, const struct kind *k)
{
    set_kind(o, k);
    obj_set_str(o, "ElementName", word(d, k->flags & DISK ? "Hard Drive" : k->type == 10 ? "Network Adapter" : k->sub));
    obj_set_str(o, "PoolID", "");
    obj_set_uint(o, "VirtualQuantity", 1);
    obj_set_uint(o, "Reservation", 1);
    obj_set_uint(o, "Limit", 1);
    obj_set_uint(o, "Weight", 0);
    obj_set_bool(o, "AutomaticAllocation", true);
    obj_set_bool(o, "AutomaticDeallocation", true);
    obj_set_uint(o, "ConsumerVisibility", 3);
    if (k->type == 4) {
        obj_set_str(o, "AllocationUnits", "byte * 2^20");
        obj_set_str(o, "VirtualQuantityUnits", "byte * 2^20");
        obj_set_uint(o, "VirtualQuantity", 1024);
        obj_set_uint(o, "Reservation", 512);
        obj_set_uint(o, "Limit", 1048576);
        obj_set_uint(o, "Weight", 5000);
        obj_set_bool(o, "DynamicMemoryEnabled", d->o.client);
        obj_set_uint(o, "TargetMemoryBuffer", 20);
    } else if (k->type == 3) {
        obj_set_uint(o, "Reservation", 0);
        obj_set_uint(o, "Limit", 100000);
        obj_set_uint(o, "Weight", 100);
        obj_set_bool(o, "ExposeVirtualizationExtensions", false);
        obj_set_bool(o, "LimitProcessorFeatures", false);
    } else if (k->type == 10) {
        obj_set_bool(o, "StaticMacAddress", false);
    } else if (k->type == 33) {
        obj_set_uint(o, "EnabledState", 2);
    } else if (k->type == 1) {
        obj_set_uint(o, "EnabledState", !strcmp(k->sub, "Guest Service Interface Component") ? 3 : 2);
    } else if (k->type == 21) {
        obj_set_bool(o, "DebuggerMode", false);
        obj_set_strs(o, "Connection", (const char *const[]){""}, 1);
    } else if (k->flags & MEDIUM) {
        obj_set_uint(o, "CachingMode", 2);
    }
}

/* Templates: for each kind Default, Minimum, Maximum and Increment, as the capabilities' settings. */
void resource_templates(struct dbl *d)
{
    static const struct { const char *name; uint64_t role, range; } values[] = {{"Default", 0, 0}, {"Minimum", 3, 1}, {"Maximum", 3, 2}, {"Increment", 3, 3}};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        if (!(kinds[k].flags & HAS_TEMPLATE))
            continue;
        struct inst *caps = inst_new(d, NS, "Msvm_AllocationCapabilities");
        AUTO_FREE char *id = x_printf("Microsoft:Definition\\%s", kinds[k].guid), *sub = x_printf(PREFIX "%s", kinds[k].sub);
        obj_set_str(caps->o, "InstanceID", id);
        obj_set_str(caps->o, "ResourceSubType", sub);
        obj_set_uint(caps->o, "ResourceType", kinds[k].type);
        inst_enter(d, caps);
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            struct inst *i = inst_new(d, NS, kinds[k].class);
            AUTO_FREE char *tid = x_printf("Microsoft:Definition\\%s\\%s", kinds[k].guid, values[v].name);
            obj_set_str(i->o, "InstanceID", tid);
            kind_defaults(d, i->o, &kinds[k]);
            if (kinds[k].type == 4 && v)
                obj_set_uint(i->o, "VirtualQuantity", v == 1 ? 32 : v == 2 ? 12582912 : 2);
            else if (v == 2)
                obj_set_uint(i->o, "VirtualQuantity", kinds[k].type == 3 ? 64 : 1);
            i->template = true;
            inst_enter(d, i);
            struct link *l = link_add(d, NS, "Msvm_SettingsDefineCapabilities", "GroupComponent", caps, "PartComponent", i);
            l->extra = obj_new(d, l->class);
            __atomic_sub_fetch(&d->live_objects, 1, __ATOMIC_RELAXED);
            obj_set_uint(l->extra, "ValueRole", values[v].role);
            obj_set_uint(l->extra, "ValueRange", values[v].range);
        }
    }
    struct inst *i = inst_new(d, NS, "Msvm_VirtualSystemSettingData");
    obj_set_str(i->o, "InstanceID", "Microsoft:Definition\\VirtualSystem\\Default");
    obj_set_str(i->o, "ElementName", "New Virtual Machine");
    obj_set_str(i->o, "VirtualSystemType", "Microsoft:Hyper-V:System:Definition");
    obj_set_str(i->o, "VirtualSystemSubType", "Microsoft:Hyper-V:SubType:1");
    obj_set_uint(i->o, "AutomaticStartupAction", 3);
    obj_set_uint(i->o, "UserSnapshotType", 3);
    obj_set_bool(i->o, "AutomaticSnapshotsEnabled", d->o.client);
    i->template = true;
    inst_enter(d, i);
}

/* ---- devices of a VM ---- */

struct inst *device_add(struct dbl *d, struct vm *vm, struct inst *settings, const char *class, const char *instance_id)
{
    struct inst *i = inst_new(d, NS, class);
    obj_set_str(i->o, "InstanceID", instance_id);
    i->vm = vm;
    i->foreign = vm->foreign;
    inst_enter(d, i);
    link_add(d, NS, "Msvm_VirtualSystemSettingDataComponent", "GroupComponent", settings, "PartComponent", i);
    return i;
}

static struct inst *add_kind(struct dbl *d, struct vm *vm, const char *sub, const char *id_format, unsigned n)
{
    const struct kind *k = kind_named(sub);
    AUTO_FREE char *tail = NULL;
    /* the last part of an id counts the devices of one kind */
    tail = x_printf("%s\\%u", id_format, n);
    AUTO_FREE char *id = x_printf("Microsoft:%s\\%s", vm->guid, tail);
    struct inst *i = device_add(d, vm, vm->settings, k->class, id);
    kind_defaults(d, i->o, k);
    return i;
}

#define IDE_GUID "83F8638B-8DCA-4152-9EDA-2CA8B33039B4"

void resource_defaults(struct dbl *d, struct vm *vm)
{
    static const struct { const char *sub, *id; unsigned n, generations; } devices[] = {
        {"Processor", "B637F346-6A0E-4DEC-AF52-BD70CB80A21D", 1, 3},
        {"Memory", "4764334D-E001-4176-82EE-5594EC9B530E", 1, 3},
        {"Emulated IDE Controller", IDE_GUID, 2, 1},
        {"Synthetic Diskette Drive", "8F0D2762-0B00-4E04-AF4F-19010527CB93", 1, 1},
        {"Serial Controller", "8E3A359F-559A-4B6A-98A9-1690A6100EFF", 1, 3},
        {"Serial Port", "8E3A359F-559A-4B6A-98A9-1690A6100ED7", 2, 3},
        {"S3 Display Controller", "AF3B8E63-5D0B-4F5E-9E4B-1C1D2F7B0001", 1, 1},
        {"Synthetic Display Controller", "C74AD2D9-8747-4E62-AE7F-E2B7B0B6DCD0", 1, 3},
        {"Synthetic Mouse", "58F75A6D-D949-4320-99E1-A2A2576D581C", 1, 3},
        {"Synthetic Keyboard", "66A74A9B-8F29-4B4C-9C6E-8F9A7B0C0001", 1, 3},
        {"Heartbeat Component", "57169512-91E8-4E8A-8D83-3A1C0D4AA1F0", 1, 3},
        {"Shutdown Component", "B6650702-270D-4DC1-B3E2-AC3E56D9A9A0", 1, 3},
        {"Kvp Exchange Component", "A9A0F4E7-5A45-4D96-B827-8A841E8C03E6", 1, 3},
        {"Time Synchronization Component", "9527E630-D0AE-497B-ADCE-E80AB0175CAF", 1, 3},
        {"VSS Component", "35FA2E29-EA23-4236-96AE-3A6EBACBA440", 1, 3},
        {"Guest Service Interface Component", "34D14BE3-DEE4-41C8-9AE7-6B174977C192", 1, 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        for (unsigned n = 0; n < devices[i].n && (devices[i].generations & vm->generation); n++) {
            struct inst *r = add_kind(d, vm, devices[i].sub, devices[i].id, n);
            AUTO_FREE char *address = x_printf("%u", n), *com = x_printf("COM %u", n + 1);
            if (is_sub(r, "Emulated IDE Controller"))
                obj_set_str(r->o, "Address", address);
            if (is_sub(r, "Serial Port"))
                obj_set_str(r->o, "ElementName", com);
        }
    if (vm->generation == 2 && choose(d, DBL_SCSI_BY_DEFAULT)) {
        char guid[37];
        guid_new(d, guid);
        add_kind(d, vm, "Synthetic SCSI Controller", guid, 0);
    }
    if (vm->foreign) {                                 /* somebody else's disk */
        struct inst *controller = vm_device(d, vm->settings, vm->generation == 1 ? "Emulated IDE Controller" : "Synthetic SCSI Controller", 0);
        if (!controller)
            controller = add_kind(d, vm, "Synthetic SCSI Controller", "F0000000-0000-4000-8000-000000000001", 0);
        AUTO_FREE char *drive_id = x_printf("%s\\0\\D", obj_str(controller->o, "InstanceID"));
        AUTO_FREE char *medium_id = x_printf("%s\\0\\L", obj_str(controller->o, "InstanceID"));
        struct inst *drive = device_add(d, vm, vm->settings, "Msvm_ResourceAllocationSettingData", drive_id);
        struct inst *medium = device_add(d, vm, vm->settings, "Msvm_StorageAllocationSettingData", medium_id);
        kind_defaults(d, drive->o, kind_named("Synthetic Disk Drive"));
        kind_defaults(d, medium->o, kind_named("Virtual Hard Disk"));
        AUTO_FREE char *parent = inst_path(d, controller), *in = inst_path(d, drive);
        AUTO_FREE char *file = x_printf("C:\\VMs\\%s\\disk0.vhdx", obj_str(vm->settings->o, "ElementName"));
        obj_set_str(drive->o, "Parent", parent);
        obj_set_str(drive->o, "AddressOnParent", "0");
        obj_set_str(medium->o, "Parent", in);
        obj_set_strs(medium->o, "HostResource", (const char *const[]){file}, 1);
        if (vm->generation == 2)
            boot_source_add(d, vm, drive);
    }
}

/* Is it a device of these settings (the VM's, or a snapshot's)? */
static bool belongs_to(struct dbl *d, const struct inst *settings, const struct inst *i)
{
    struct space *s = space_of(d, NS);
    for (size_t k = 0; k < s->n_links; k++)
        if (s->links[k].a == settings && s->links[k].b == i && schema_isa(s->links[k].class, "Msvm_VirtualSystemSettingDataComponent"))
            return true;
    return false;
}

struct inst *vm_device(struct dbl *d, const struct inst *settings, const char *sub, size_t nth)
{
    struct space *s = space_of(d, NS);
    for (size_t k = 0; k < s->n_links; k++) {
        const struct link *l = &s->links[k];
        if (l->a == settings && schema_isa(l->class, "Msvm_VirtualSystemSettingDataComponent") && (!sub || is_sub(l->b, sub)) && nth-- == 0)
            return l->b;
    }
    return NULL;
}

struct inst *parent_of(struct dbl *d, const struct inst *i)
{
    const char *path = schema_isa(i->o->class, "CIM_ResourceAllocationSettingData") ? obj_str(i->o, "Parent") : NULL;
    return path && *path ? inst_by_path(d, NS, path) : NULL;
}

bool is_child_of(struct dbl *d, const struct inst *i, const struct inst *parent)
{
    return parent_of(d, i) == parent;
}

const char *medium_path(const struct inst *i)
{
    const char *s = obj_str_at(i->o, "HostResource", 0);
    return s && *s ? s : NULL;
}

/* ---- boot sources of Generation 2 ---- */

void boot_source_add(struct dbl *d, struct vm *vm, struct inst *device)
{
    struct inst *b = inst_new(d, NS, "Msvm_BootSourceSettingData");
    const struct kind *k = kind_named(sub_type_of(device));
    bool net = k->type == 10;
    AUTO_FREE char *id = x_printf("Microsoft:%s\\BootSource\\%llu", vm->guid, (unsigned long long)d->births);
    AUTO_FREE char *path = x_printf("\\AcpiEx(VMBus,0,0)\\VenHw(9B17E5A2-0891-42DD-B653-80B5C22809BA)\\%s(0x0,0x%s)", net ? "MAC" : "Scsi",
                                    net ? "0" : obj_str(device->o, "AddressOnParent"));
    obj_set_str(b->o, "InstanceID", id);
    obj_set_uint(b->o, "BootSourceType", net ? 2 : 1);
    obj_set_str(b->o, "BootSourceDescription", net ? "EFI Network" : "EFI SCSI Device");
    obj_set_str(b->o, "FirmwareDevicePath", path);
    b->vm = vm;
    b->foreign = vm->foreign;
    inst_enter(d, b);
    link_add(d, NS, "Msvm_LogicalIdentity", "SystemElement", device, "SameElement", b);
    link_add(d, NS, "Msvm_BootSourceComponent", "GroupComponent", vm->settings, "PartComponent", b);
    struct dobj *o = vm->settings->o;
    size_t n = obj_n(o, "BootSourceOrder");
    char **paths = x_calloc(n + 2, sizeof *paths);
    for (size_t i = 0; i < n; i++)
        paths[i] = x_dup(obj_str_at(o, "BootSourceOrder", i));
    paths[n] = inst_path(d, b);
    obj_set_strs(o, "BootSourceOrder", (const char *const *)paths, n + 1);
    wmi_strs_free(paths);
}

void boot_source_remove(struct dbl *d, struct vm *vm, struct inst *device)
{
    struct inst *b = link_other(space_of(d, NS), "Msvm_LogicalIdentity", device, 0);
    if (!b)
        return;
    struct dobj *o = vm->settings->o;
    size_t n = obj_n(o, "BootSourceOrder"), k = 0;
    char **paths = x_calloc(n + 1, sizeof *paths);
    for (size_t i = 0; i < n; i++)
        if (inst_by_path(d, NS, obj_str_at(o, "BootSourceOrder", i)) != b)
            paths[k++] = x_dup(obj_str_at(o, "BootSourceOrder", i));
    obj_set_strs(o, "BootSourceOrder", (const char *const *)paths, k);
    wmi_strs_free(paths);
    inst_remove(d, b);
}

/* ---- checks ---- */

/* Of what would be there after `given`. */
static uint32_t check_quantity(struct dbl *d, const struct dobj *now, const struct dobj *given, unsigned type)
{
    uint64_t quantity = obj_uint(given, "VirtualQuantity", now ? obj_uint(now, "VirtualQuantity", 1) : type == 4 ? 1024 : 1);
    if (type == 3 && (obj_uint(given, "Limit", 0) > 100000 || obj_uint(given, "Reservation", 0) > 100000 || obj_uint(given, "Weight", 0) > 10000))
        return RET_INVALID_PARAMETER;
    uint64_t buffer = type == 4 && schema_isa(given->class, "Msvm_MemorySettingData") ? obj_uint(given, "TargetMemoryBuffer", 20) : 20;
    if (buffer < 5 || buffer > 2000)
        return RET_INVALID_PARAMETER;
    if (type == 3)
        return quantity == 0 || (quantity > d->o.cpus && !choose(d, DBL_CPUS_AT_START)) ? RET_INVALID_PARAMETER : 0;
    uint64_t min = obj_uint(given, "Reservation", now ? obj_uint(now, "Reservation", 512) : 512);
    uint64_t max = obj_uint(given, "Limit", now ? obj_uint(now, "Limit", 1048576) : 1048576);
    if (quantity % 2 || quantity < 32 || min > quantity || quantity > max || min < 32)
        return RET_INVALID_PARAMETER;
    return 0;
}

static bool is_mac(const char *s)
{
    size_t n = 0;
    while (s && isxdigit((unsigned char)s[n]))
        n++;
    return n == 12 && !s[n];
}

static bool is_ide(struct dbl *d, const char *parent)
{
    struct inst *p = parent ? inst_by_path(d, NS, parent) : NULL;
    return p && p->vm && is_sub(p, "Emulated IDE Controller");
}

uint32_t resource_check(struct dbl *d, struct vm *vm, const struct dobj *o, bool defining)
{
    if (!schema_isa(o->class, "CIM_ResourceAllocationSettingData"))
        return RET_INVALID_PARAMETER;
    if (defining && schema_isa(o->class, "Msvm_MemorySettingData"))
        return check_quantity(d, NULL, o, 4);
    if (defining && schema_isa(o->class, "Msvm_ProcessorSettingData"))
        return check_quantity(d, NULL, o, 3);
    const struct kind *k = kind_named(without_prefix(obj_str(o, "ResourceSubType")));
    if (!k || !(k->flags & ADDABLE) || obj_uint(o, "ResourceType", 0) != k->type)
        return RET_INVALID_PARAMETER;
    bool plain_medium = (k->flags & MEDIUM) && schema_isa(o->class, "Msvm_ResourceAllocationSettingData");
    if (!schema_isa(o->class, k->class) && !plain_medium)
        return RET_INVALID_PARAMETER;
    if (vm && vm->generation == 2 && (k->flags & GEN1_ONLY))
        return RET_INVALID_PARAMETER;
    if ((k->flags & MEDIUM) && (obj_n(o, "HostResource") != 1 || !*obj_str_at(o, "HostResource", 0)))
        return RET_INVALID_PARAMETER;
    if (k->type == 10 && obj_bool(o, "StaticMacAddress", false) && !is_mac(obj_str(o, "Address")))
        return RET_INVALID_PARAMETER;
    if (!vm || vm->state == VM_OFF)
        return 0;
    bool storage = (k->flags & (DRIVE | MEDIUM)) != 0, eject = !strcmp(k->sub, "Virtual CD/DVD Disk");
    if (k->type == 6 || (vm->state == VM_SAVED && storage && !eject) || ((k->flags & DRIVE) && is_ide(d, obj_str(o, "Parent"))) ||
        (k->type == 10 && vm->generation == 1))
        return RET_INVALID_STATE;
    return 0;
}

uint32_t resource_modify_check(struct dbl *d, struct vm *vm, struct inst *i, const struct dobj *o)
{
    const char *sub = sub_type_of(i);
    const struct kind *k = kind_named(sub);
    if (!k || !schema_isa(o->class, i->o->class->name))
        return RET_INVALID_PARAMETER;
    if (obj_has(o, "ResourceSubType") && strcmp(obj_str(o, "ResourceSubType"), obj_str(i->o, "ResourceSubType")) != 0)
        return RET_INVALID_PARAMETER;
    bool off = vm->state == VM_OFF;
    if (k->type == 3 || k->type == 4) {
        uint32_t r = check_quantity(d, i->o, o, k->type);
        bool changes = obj_has(o, "VirtualQuantity") && obj_uint(o, "VirtualQuantity", 0) != obj_uint(i->o, "VirtualQuantity", 0);
        if (k->type == 3)
            changes = changes || obj_bool(o, "ExposeVirtualizationExtensions", obj_bool(i->o, "ExposeVirtualizationExtensions", false)) !=
                                     obj_bool(i->o, "ExposeVirtualizationExtensions", false);
        return r ? r : changes && !off ? RET_INVALID_STATE : 0;
    }
    if (k->type == 21)
        for (size_t n = 0; n < obj_n(o, "Connection"); n++) {
            const char *pipe = obj_str_at(o, "Connection", n);
            if (n > 0 || (*pipe && (!str_istarts(pipe, "\\\\.\\pipe\\") || strlen(pipe) == 9)))
                return RET_INVALID_PARAMETER;
        }
    if ((k->flags & MEDIUM) && (k->flags & DISK) && obj_has(o, "HostResource") && !off) {
        const char *now = medium_path(i), *then = obj_str_at(o, "HostResource", 0);
        if (!now || !then || strcmp(now, then) != 0)
            return RET_INVALID_STATE;
    }
    if (k->type == 10 && obj_bool(o, "StaticMacAddress", false) && obj_has(o, "Address") && !is_mac(obj_str(o, "Address")))
        return RET_INVALID_PARAMETER;
    return 0;
}

/* ---- adding ---- */

static struct inst *find_parent(struct call *c, struct vm *vm, const struct dobj *o)
{
    const char *path = obj_str(o, "Parent");
    struct inst *p = path ? inst_by_path(c->d, NS, path) : NULL;
    if (p && p->vm == vm && belongs_to(c->d, vm->settings, p))
        return p;
    call_fail(c, RET_NOT_FOUND, "The object '%s' was not found.", path ? path : "");
    return NULL;
}

/* The slot on a controller: numeric, in range, free. */
static bool slot_of(struct call *c, struct vm *vm, struct inst *controller, const struct dobj *o, unsigned long long *ret)
{
    const char *text = obj_str(o, "AddressOnParent");
    bool ide = is_sub(controller, "Emulated IDE Controller");
    if (!text || !str_to_u64(text, ide ? 1 : 63, ret)) {
        call_fail(c, RET_FAILED, "The location '%s' on the controller is not valid.", text ? text : "");
        return false;
    }
    for (size_t n = 0;; n++) {
        struct inst *i = vm_device(c->d, vm->settings, NULL, n);
        if (!i)
            return true;
        unsigned long long other;
        if (is_child_of(c->d, i, controller) && obj_str(i->o, "AddressOnParent") && str_to_u64(obj_str(i->o, "AddressOnParent"), 63, &other) &&
            other == *ret) {
            call_fail(c, RET_FAILED, "The location %llu on the controller is in use.", *ret);
            return false;
        }
    }
}

/* May this file be attached? Gives the VM its rights on it. */
static bool take_medium(struct call *c, struct vm *vm, const struct kind *k, const char *path)
{
    struct dbl *d = c->d;
    struct os_stat st;
    struct err e;
    if (os_stat(path, &st, &e) < 0 || !st.is_file) {
        call_fail(c, 0x80070002u, "The file '%s' was not found.", path);
        return false;
    }
    if (k->flags & DISK) {
        bool vhd = str_ends(path, ".vhd") || str_ends(path, ".avhd");
        if (vhd && vm->generation == 2 && choose(d, DBL_GEN2_REFUSES_VHD)) {
            call_fail(c, 0xC03A0014u, "'%s': the virtual disk's format is not supported by a generation 2 virtual machine.", path);
            return false;
        }
        uint32_t h = media_check(d, path, !choose(d, DBL_SPARSE_AT_START));
        if (h) {
            call_fail(c, h, "Attaching '%s' failed.", path);
            return false;
        }
    } else if (!str_ends(path, ".iso") && !str_ends(path, ".ISO")) {
        call_fail(c, 0xC03A0015u, "'%s' is not a disk image.", path);
        return false;
    }
    if (file_attributes(d, path).denied)
        return true;
    file_grant(d, path, vm->guid, (k->flags & DISK) != 0);
    if ((k->flags & DISK) && choose(d, DBL_VMMS_GRANTS_PARENTS)) {
        struct disk_info info;
        AUTO_FREE char *at = x_dup(path);
        for (unsigned n = 0; n < 64 && disk_info_of(at, &info) == 0 && info.type == DISK_DIFF; n++) {
            file_grant(d, info.parent, vm->guid, false);
            free(at);
            at = x_dup(info.parent);
        }
    }
    return true;
}

static unsigned count_devices(struct dbl *d, struct vm *vm, const char *sub)
{
    unsigned n = 0;
    while (vm_device(d, vm->settings, sub, n))
        n++;
    return n;
}

static struct inst *switch_of(struct dbl *d, const char *path)
{
    struct inst *s = path ? inst_by_path(d, NS, path) : NULL;
    return s && schema_isa(s->o->class, "Msvm_VirtualEthernetSwitch") ? s : NULL;
}

struct inst *resource_add(struct call *c, struct vm *vm, const struct dobj *o)
{
    struct dbl *d = c->d;
    const struct kind *k = kind_named(without_prefix(obj_str(o, "ResourceSubType")));
    struct inst *parent = NULL;
    AUTO_FREE char *id = NULL;
    char guid[37];
    guid_new(d, guid);
    if (k->type == 6) {
        if (count_devices(d, vm, k->sub) == 4)
            call_fail(c, RET_FAILED, "A virtual machine has at most 4 SCSI controllers.");
        const char *own = obj_str_at(o, "VirtualSystemIdentifiers", 0);
        size_t n = own ? strlen(own) : 0;
        if (n == 38 && own[0] == '{')
            snprintf(guid, sizeof guid, "%.36s", own + 1);
        id = x_printf("Microsoft:%s\\%s\\0", vm->guid, guid);
    } else if (k->flags & DRIVE) {
        unsigned long long slot = 0;
        if (!(parent = find_parent(c, vm, o)))
            return NULL;
        if (!is_sub(parent, "Emulated IDE Controller") && !is_sub(parent, "Synthetic SCSI Controller"))
            call_fail(c, RET_FAILED, "The parent of a drive must be a controller.");
        else if (slot_of(c, vm, parent, o, &slot))
            id = x_printf("%s\\%llu\\D", obj_str(parent->o, "InstanceID"), slot);
    } else if (k->flags & MEDIUM) {
        if (!(parent = find_parent(c, vm, o)))
            return NULL;
        const char *want = k->flags & DISK ? "Synthetic Disk Drive" : "Synthetic DVD Drive";
        if (!is_sub(parent, want))
            call_fail(c, RET_FAILED, "The parent of '%s' is not the right drive.", k->sub);
        for (size_t n = 0; !c->error; n++) {
            struct inst *i = vm_device(d, vm->settings, NULL, n);
            if (!i)
                break;
            if (is_child_of(d, i, parent))
                call_fail(c, RET_FAILED, "The drive holds a disk already.");
        }
        if (!c->error && take_medium(c, vm, k, obj_str_at(o, "HostResource", 0))) {
            id = x_dup(obj_str(parent->o, "InstanceID"));
            id[strlen(id) - 1] = 'L';
        }
    } else if (k->type == 10) {
        const char *own = obj_str_at(o, "VirtualSystemIdentifiers", 0);
        if (own && strlen(own) == 38 && own[0] == '{')
            snprintf(guid, sizeof guid, "%.36s", own + 1);
        if (count_devices(d, vm, k->sub) == (k->flags & GEN1_ONLY ? 4 : 8))
            call_fail(c, RET_FAILED, "The virtual machine has no room for another network adapter.");
        id = x_printf("Microsoft:%s\\%s", vm->guid, guid);
    } else if (k->type == 33) {
        if (!(parent = find_parent(c, vm, o)))
            return NULL;
        const char *target = obj_str_at(o, "HostResource", 0);
        if (!is_sub(parent, "Synthetic Ethernet Port") && !is_sub(parent, "Emulated Ethernet Port"))
            call_fail(c, RET_FAILED, "The parent of a connection must be a network adapter.");
        else if (target && *target && !switch_of(d, target))
            call_fail(c, RET_NOT_FOUND, "The virtual switch '%s' was not found.", target);
        id = x_printf("%s\\%s", obj_str(parent->o, "InstanceID"), guid);
    }
    if (!c->error && inst_by_key(d, NS, "CIM_ResourceAllocationSettingData", "InstanceID", id))
        call_fail(c, RET_FAILED, "There is a device with this identifier already.");
    if (c->error)
        return NULL;
    struct inst *i = device_add(d, vm, vm->settings, k->class, id);
    kind_defaults(d, i->o, k);
    overwrite(i->o, o);
    if (parent) {                                      /* the management service's own spelling */
        AUTO_FREE char *path = inst_path(d, parent);
        obj_set_str(i->o, "Parent", path);
    }
    if (k->type == 10 && !obj_bool(i->o, "StaticMacAddress", false))
        obj_set_str(i->o, "Address", "000000000000");
    if (vm->generation == 2 && ((k->flags & DRIVE) || k->type == 10))
        boot_source_add(d, vm, i);
    return i;
}

/* The VM's settings; its own path is taken too. */
static struct vm *affected_vm(struct call *c)
{
    struct inst *i = inst_by_path(c->d, NS, obj_str(c->in, "AffectedConfiguration"));
    return i && i->vm && (i == i->vm->settings || i == i->vm->system) ? i->vm : NULL;
}

static uint32_t add_check(struct call *c)
{
    c->vm = affected_vm(c);
    uint32_t r = c->vm && obj_n(c->in, "ResourceSettings") ? 0 : RET_INVALID_PARAMETER;
    for (size_t i = 0; r == 0 && i < obj_n(c->in, "ResourceSettings"); i++) {
        struct dobj *o = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "CIM_SettingData");
        r = o ? resource_check(c->d, c->vm, o, false) : RET_INVALID_PARAMETER;
        obj_free(o);
    }
    return r;
}

static void add_apply(struct call *c)
{
    struct vm *vm = affected_vm(c);
    struct inst *made[64];
    size_t n = 0;
    if (!vm) {
        call_fail(c, RET_NOT_FOUND, "The virtual machine was not found.");
        return;
    }
    for (size_t i = 0; !c->error && i < obj_n(c->in, "ResourceSettings") && n < ARRAY_LEN(made); i++) {
        struct dobj *o = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "CIM_SettingData");
        struct inst *r = resource_add(c, vm, o);
        if (r)
            made[n++] = r;
        obj_free(o);
    }
    if (c->error) {                                    /* all or nothing */
        while (n)
            resource_remove(c->d, vm, made[--n]);
        return;
    }
    for (size_t i = 0; i < n; i++)
        call_affects(c, made[i]);
    call_affects(c, vm->settings);
    call_out_refs(c, "ResultingResourceSettings", made, n);
}

/* ---- modifying ---- */

static struct inst *device_of(struct dbl *d, const struct dobj *given)
{
    const char *id = obj_str(given, "InstanceID");
    struct inst *i = id ? inst_by_key(d, NS, "CIM_ResourceAllocationSettingData", "InstanceID", id) : NULL;
    return i && i->vm && belongs_to(d, i->vm->settings, i) ? i : NULL;
}

void resource_modify(struct call *c, struct vm *vm, struct inst *i, const struct dobj *given)
{
    struct dbl *d = c->d;
    const struct kind *k = kind_named(sub_type_of(i));
    const char *path = obj_str_at(given, "HostResource", 0), *now = medium_path(i);
    if ((k->flags & MEDIUM) && path && *path && (!now || strcmp(now, path) != 0) && !take_medium(c, vm, k, path))
        return;
    if (k->type == 33 && path && *path && !switch_of(d, path)) {
        call_fail(c, RET_NOT_FOUND, "The virtual switch '%s' was not found.", path);
        return;
    }
    struct dobj *o = obj_clone(given);
    static const char *const own[] = {"Parent", "AddressOnParent", "ResourceType", "ResourceSubType", "VirtualSystemIdentifiers"};
    for (size_t n = 0; n < ARRAY_LEN(own); n++)
        if (schema_member(o->layout, own[n]) >= 0)
            obj_unset(o, own[n]);
    overwrite(i->o, o);
    obj_free(o);
    if (k->type == 21 && vm->state != VM_OFF && vm->state != VM_SAVED) {
        unsigned n = i == vm_device(d, vm->settings, "Serial Port", 1);
        const char *pipe = obj_str_at(i->o, "Connection", 0);
        serial_close(vm->serial[n]);
        vm->serial[n] = pipe && *pipe ? serial_open(pipe, vm->guest.plan.echoes_serial) : NULL;
    }
}

static uint32_t modify_check(struct call *c)
{
    uint32_t r = obj_n(c->in, "ResourceSettings") ? 0 : RET_INVALID_PARAMETER;
    for (size_t i = 0; r == 0 && i < obj_n(c->in, "ResourceSettings"); i++) {
        struct dobj *o = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "CIM_SettingData");
        struct inst *device = o && schema_isa(o->class, "CIM_ResourceAllocationSettingData") ? device_of(c->d, o) : NULL;
        if (device)
            c->vm = device->vm;
        r = device ? resource_modify_check(c->d, device->vm, device, o) : RET_INVALID_PARAMETER;
        obj_free(o);
    }
    return r;
}

static void modify_apply(struct call *c)
{
    struct inst *done[64];
    size_t n = 0;
    for (size_t i = 0; !c->error && i < obj_n(c->in, "ResourceSettings") && n < ARRAY_LEN(done); i++) {
        struct dobj *o = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "CIM_SettingData");
        struct inst *device = device_of(c->d, o);
        if (device)
            resource_modify(c, device->vm, device, o);
        else
            call_fail(c, RET_NOT_FOUND, "The device was not found.");
        if (device)
            done[n++] = device;
        obj_free(o);
    }
    if (c->error)
        return;
    for (size_t i = 0; i < n; i++)
        call_affects(c, done[i]);
    call_out_refs(c, "ResultingResourceSettings", done, n);
}

/* ---- removing ---- */

void resource_remove(struct dbl *d, struct vm *vm, struct inst *i)
{
    for (size_t n = 0;;) {                             /* what sits on it goes with it */
        struct inst *child = vm_device(d, vm->settings, NULL, n);
        if (!child)
            break;
        if (child != i && is_child_of(d, child, i)) {
            resource_remove(d, vm, child);
            n = 0;
        } else {
            n++;
        }
    }
    boot_source_remove(d, vm, i);
    inst_remove(d, i);
}

static uint32_t remove_check(struct call *c)
{
    struct dbl *d = c->d;
    size_t n = obj_n(c->in, "ResourceSettings");
    if (!n)
        return RET_INVALID_PARAMETER;
    for (size_t i = 0; i < n; i++) {
        struct inst *r = inst_by_path(d, NS, obj_str_at(c->in, "ResourceSettings", i));
        if (!r || !r->vm || !belongs_to(d, r->vm->settings, r)) {
            if (!choose(d, DBL_STALE_AS_JOB))
                return RET_INVALID_PARAMETER;
            continue;
        }
        c->vm = r->vm;
        const struct kind *k = kind_named(sub_type_of(r));
        if (!k || !(k->flags & ADDABLE))
            return RET_INVALID_PARAMETER;
        bool ide = (k->flags & DRIVE) && is_ide(d, obj_str(r->o, "Parent"));
        struct inst *drive = k->flags & MEDIUM ? parent_of(d, r) : NULL;
        bool ide_disk = drive && (k->flags & DISK) && is_ide(d, obj_str(drive->o, "Parent"));
        bool saved_disk = r->vm->state == VM_SAVED && (k->flags & DISK);
        if (r->vm->state != VM_OFF && (k->type == 6 || ide || ide_disk || saved_disk || (k->type == 10 && r->vm->generation == 1)))
            return RET_INVALID_STATE;
    }
    return 0;
}

static void remove_apply(struct call *c)
{
    struct dbl *d = c->d;
    size_t n = obj_n(c->in, "ResourceSettings");
    for (size_t i = 0; i < n; i++)
        if (!inst_by_path(d, NS, obj_str_at(c->in, "ResourceSettings", i)))
            call_fail(c, RET_NOT_FOUND, "The object '%s' was not found.", obj_str_at(c->in, "ResourceSettings", i));
    for (size_t i = 0; !c->error && i < n; i++) {
        struct inst *r = inst_by_path(d, NS, obj_str_at(c->in, "ResourceSettings", i));
        if (r)                                         /* else it went with its parent */
            resource_remove(d, r->vm, r);
    }
}

/* ---- copies for snapshots ---- */

struct inst *settings_copy(struct dbl *d, struct vm *vm, const struct inst *from, const char *prefix)
{
    struct inst *to = inst_new(d, NS, "Msvm_VirtualSystemSettingData");
    overwrite(to->o, from->o);
    obj_set_str(to->o, "InstanceID", prefix);
    to->vm = vm;
    to->foreign = vm->foreign;
    inst_enter(d, to);
    size_t old = strlen(obj_str(from->o, "InstanceID"));
    struct inst *map[128][2];
    size_t n = 0;
    for (struct inst *i; n < ARRAY_LEN(map) && (i = vm_device(d, from, NULL, n)); n++) {
        AUTO_FREE char *id = x_printf("%s%s", prefix, obj_str(i->o, "InstanceID") + old);
        struct inst *copy = device_add(d, vm, to, i->o->class->name, id);
        overwrite(copy->o, i->o);
        map[n][0] = i;
        map[n][1] = copy;
    }
    for (size_t i = 0; i < n; i++) {                   /* parents within the copy */
        struct inst *parent = parent_of(d, map[i][0]);
        for (size_t k = 0; parent && k < n; k++)
            if (map[k][0] == parent) {
                AUTO_FREE char *path = inst_path(d, map[k][1]);
                obj_set_str(map[i][1]->o, "Parent", path);
            }
    }
    return to;
}

const struct impl resource_impls[] = {
    {NS, "Msvm_VirtualSystemManagementService", "AddResourceSettings", IMPL_LOCKS, 30, 100, 3000, .check = add_check, .apply = add_apply},
    {NS, "Msvm_VirtualSystemManagementService", "ModifyResourceSettings", IMPL_LOCKS, 31, 100, 2000, .check = modify_check, .apply = modify_apply},
    {NS, "Msvm_VirtualSystemManagementService", "RemoveResourceSettings", IMPL_LOCKS, 32, 100, 2000, .check = remove_check, .apply = remove_apply},
    {0},
};

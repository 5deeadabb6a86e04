/* Msvm_ImageManagementService: disk files made, converted, merged, described. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV

static struct dobj *parse_settings(struct call *c)
{
    return obj_settings(c->d, obj_str(c->in, "VirtualDiskSettingData"), "Msvm_VirtualHardDiskSettingData");
}

static bool in_use(struct dbl *d, const char *path)
{
    struct dfile *f = file_of(d, path, false);
    if (f && f->mounted)
        return true;
    for (struct vm *vm = d->vms; vm; vm = vm->next)
        for (size_t n = 0; !vm_is_off(vm); n++) {
            struct inst *i = vm_device(d, vm->settings, "Virtual Hard Disk", n);
            if (!i)
                break;
            if (medium_path(i) && same_file(medium_path(i), path))
                return true;
        }
    return false;
}

/* Where a file is to be made: it is as its folder is. */
static uint32_t check_target(struct dbl *d, const char *path)
{
    struct dbl_file a = file_attributes(d, path);
    return a.denied ? 0x80070005u : a.compressed || a.encrypted ? 0xC03A001Au : 0;
}

static uint32_t settings_check(struct call *c, bool create)
{
    struct dobj *o = parse_settings(c);
    if (!o)
        return RET_INVALID_PARAMETER;
    uint64_t type = obj_uint(o, "Type", 0), format = obj_uint(o, "Format", 0);
    const char *path = obj_str(o, "Path"), *parent = obj_str(o, "ParentPath");
    bool ok = path && os_path_is_absolute(path) && (format == DISK_VHD || format == DISK_VHDX) && type >= DISK_FIXED && type <= DISK_DIFF;
    if (create && type == DISK_DIFF)
        ok = ok && parent && *parent;
    else if (create)
        ok = ok && obj_uint(o, "MaxInternalSize", 0);
    else
        ok = ok && type != DISK_DIFF && obj_str(c->in, "SourcePath");
    obj_free(o);
    return ok ? 0 : RET_INVALID_PARAMETER;
}

static uint32_t create_check(struct call *c)
{
    return settings_check(c, true);
}

static void create_apply(struct call *c)
{
    struct dobj *o = parse_settings(c);
    const char *path = obj_str(o, "Path"), *parent = obj_str(o, "ParentPath");
    int type = (int)obj_uint(o, "Type", 0), format = (int)obj_uint(o, "Format", 0);
    uint32_t h = check_target(c->d, path);
    if (!h && type == DISK_DIFF)
        h = media_check(c->d, parent, true);
    if (h == 0x80070002u)
        h = 0xC03A000Du;
    if (!h)
        h = disk_create(path, format, type, obj_uint(o, "MaxInternalSize", 0), parent, (uint32_t)obj_uint(o, "BlockSize", 0),
                        (uint32_t)obj_uint(o, "LogicalSectorSize", 0));
    if (h)
        call_fail(c, h, "The virtual hard disk '%s' could not be created.", path);
    obj_free(o);
}

static uint32_t convert_check(struct call *c)
{
    return settings_check(c, false);
}

static void convert_apply(struct call *c)
{
    struct dobj *o = parse_settings(c);
    const char *path = obj_str(o, "Path"), *source = obj_str(c->in, "SourcePath");
    uint32_t h = check_target(c->d, path);
    h = h ? h : media_check(c->d, source, true);
    if (!h && in_use(c->d, source))
        h = 0x80070020u;
    h = h ? h : disk_convert(source, path, (int)obj_uint(o, "Format", 0), (int)obj_uint(o, "Type", 0));
    if (h)
        call_fail(c, h, "'%s' could not be converted to '%s'.", source, path);
    obj_free(o);
}

/* A conversion that failed in the middle leaves a part of the file. */
static void convert_failed(struct call *c)
{
    struct dobj *o = parse_settings(c);
    const char *path = o ? obj_str(o, "Path") : NULL;
    struct os_stat st;
    struct err e;
    if (path && os_stat(path, &st, &e) == 0 && !st.exists && rnd(c->d, 2))
        os_write_file(path, "part", 4, 0, &e);
    obj_free(o);
}

static uint32_t merge_check(struct call *c)
{
    const char *from = obj_str(c->in, "SourcePath"), *to = obj_str(c->in, "DestinationPath");
    return from && to && os_path_is_absolute(from) && os_path_is_absolute(to) ? 0 : RET_INVALID_PARAMETER;
}

static void merge_apply(struct call *c)
{
    const char *from = obj_str(c->in, "SourcePath"), *to = obj_str(c->in, "DestinationPath");
    uint32_t h = media_check(c->d, from, true);
    struct disk_info info;
    bool above = false;
    AUTO_FREE char *at = x_dup(from);
    for (unsigned n = 0; !h && !above && n < 64 && disk_info_of(at, &info) == 0 && info.type == DISK_DIFF; n++) {
        above = same_file(info.parent, to);
        free(at);
        at = x_dup(info.parent);
    }
    if (!h && !above)
        h = 0xC03A001Bu;
    if (!h && (in_use(c->d, from) || in_use(c->d, to)))
        h = 0x80070020u;
    h = h ? h : disk_merge(from, to);
    struct err e;
    if (h)
        call_fail(c, h, "'%s' could not be merged into '%s'.", from, to);
    else
        os_remove(from, &e);
}

static void validate_apply(struct call *c)
{
    const char *path = obj_str(c->in, "Path");
    uint32_t h = media_check(c->d, path, true);
    if (h)
        call_fail(c, h, "The virtual hard disk '%s' is not valid.", path);
}

static uint32_t path_check(struct call *c)
{
    const char *path = obj_str(c->in, "Path");
    return path && os_path_is_absolute(path) ? 0 : RET_INVALID_PARAMETER;
}

static void get_settings(struct call *c)
{
    const char *path = obj_str(c->in, "Path");
    struct disk_info info;
    uint32_t h = disk_info_of(path, &info);
    if (h) {
        call_fail(c, h == 0x80070002u ? RET_FILE_NOT_FOUND : h, "'%s' could not be read.", path);
        return;
    }
    struct dobj *o = obj_new(c->d, schema_class(c->d->schema, NS, "Msvm_VirtualHardDiskSettingData"));
    obj_set_str(o, "InstanceID", path);
    obj_set_str(o, "Path", path);
    obj_set_uint(o, "Type", (uint64_t)info.type);
    obj_set_uint(o, "Format", (uint64_t)info.format);
    obj_set_uint(o, "MaxInternalSize", info.size);
    obj_set_uint(o, "BlockSize", info.block_size);
    obj_set_uint(o, "LogicalSectorSize", info.sector);
    obj_set_uint(o, "PhysicalSectorSize", info.physical_sector);
    if (info.type == DISK_DIFF)
        obj_set_str(o, "ParentPath", info.parent);
    AUTO_FREE char *text = obj_text(o);
    obj_set_str(c->out, "SettingData", text);
    obj_free(o);
}

static void get_state(struct call *c)
{
    const char *path = obj_str(c->in, "Path");
    struct disk_info info;
    struct os_stat st = {0};
    struct err e;
    uint32_t h = disk_info_of(path, &info);
    if (h) {
        call_fail(c, h == 0x80070002u ? RET_FILE_NOT_FOUND : h, "'%s' could not be read.", path);
        return;
    }
    os_stat(path, &st, &e);
    struct dobj *o = obj_new(c->d, schema_class(c->d->schema, NS, "Msvm_VirtualHardDiskState"));
    obj_set_uint(o, "FileSize", st.size);
    obj_set_bool(o, "InUse", in_use(c->d, path));
    obj_set_uint(o, "Alignment", info.format == DISK_VHDX ? 1 : 0);
    obj_set_uint(o, "PhysicalSectorSize", info.physical_sector);
    AUTO_FREE char *text = obj_text(o);
    obj_set_str(c->out, "State", text);
    obj_free(o);
}

#define IMAGES "Msvm_ImageManagementService"
const struct impl image_impls[] = {
    {NS, IMAGES, "CreateVirtualHardDisk", IMPL_STORAGE_JOB, 0, 200, 3000, .check = create_check, .apply = create_apply},
    {NS, IMAGES, "ConvertVirtualHardDisk", IMPL_STORAGE_JOB | IMPL_CANCELLABLE | IMPL_AT_END, 0, 2000, 120000, .check = convert_check,
     .apply = convert_apply, .failed = convert_failed},
    {NS, IMAGES, "MergeVirtualHardDisk", IMPL_STORAGE_JOB | IMPL_CANCELLABLE, 50, 1000, 60000, .check = merge_check, .apply = merge_apply},
    {NS, IMAGES, "ValidateVirtualHardDisk", IMPL_STORAGE_JOB | IMPL_READS, 0, 100, 1000, .check = path_check, .apply = validate_apply},
    {NS, IMAGES, "GetVirtualHardDiskSettingData", IMPL_SYNC | IMPL_READS, .check = path_check, .apply = get_settings},
    {NS, IMAGES, "GetVirtualHardDiskState", IMPL_SYNC | IMPL_READS, .check = path_check, .apply = get_state},
    {0},
};

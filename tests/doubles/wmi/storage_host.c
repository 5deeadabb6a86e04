/* What there is of Windows Storage at first: the disks that a recovery host in a cloud may meet, traps included; and what tests do to it. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/storage.h"

#define NS STORAGE_NS

void dbl_disks_renumber(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    struct storage *s = storage_of(d);
    for (size_t i = 0; i < s->n; i++) {
        uint64_t number = (obj_uint(s->at[i].disk->o, "Number", 0) + 1) % s->next_number;
        obj_set_uint(s->at[i].disk->o, "Number", number);
        for (size_t k = 0;; k++) {
            struct inst *p = link_other(space_of(d, NS), "MSFT_DiskToPartition", s->at[i].disk, k);
            if (!p)
                break;
            obj_set_uint(p->o, "DiskNumber", number);
        }
        struct inst *ph = inst_by_key(d, NS, "MSFT_PhysicalDisk", "SerialNumber", obj_str(s->at[i].disk->o, "SerialNumber"));
        AUTO_FREE char *text = x_printf("%u", (unsigned)number);
        if (ph)
            obj_set_str(ph->o, "DeviceId", text);
    }
    pthread_mutex_unlock(&d->lock);
}

void storage_populate(struct dbl *d)
{
    d->storage = x_calloc(1, sizeof(struct storage));
    struct inst *sub = inst_new(d, NS, "MSFT_StorageSubSystem");
    AUTO_FREE char *name = x_printf("Windows Storage on %s", d->host_name);
    storage_object_id(d, sub->o, "StorageSubSystem", "SS:windows");
    obj_set_str(sub->o, "UniqueId", "windows");
    obj_set_str(sub->o, "FriendlyName", name);
    obj_set_str(sub->o, "Model", "Windows Storage");
    obj_set_bool(sub->o, "SupportsStoragePoolCreation", true);
    inst_enter(d, sub);
    storage_of(d)->subsystem = sub;
    struct inst *primordial = inst_new(d, NS, "MSFT_StoragePool");
    storage_object_id(d, primordial->o, "StoragePool", "SP:primordial");
    obj_set_str(primordial->o, "UniqueId", "primordial");
    obj_set_str(primordial->o, "FriendlyName", "Primordial");
    obj_set_bool(primordial->o, "IsPrimordial", true);
    inst_enter(d, primordial);
    link_add(d, NS, "MSFT_StorageSubSystemToStoragePool", "StorageSubSystem", sub, "StoragePool", primordial);

    struct inst *os = disk_add(d, "Msft Virtual Disk", "00000001", 127 * GIB, 10, 0, 2, false);
    obj_set_bool(os->o, "IsBoot", true);
    obj_set_bool(os->o, "IsSystem", true);
    obj_set_bool(os->o, "BootFromDisk", true);
    partition_add(d, os, 500 * MIB, GPT_ESP, 0, 0);
    partition_add(d, os, 16 * MIB, GPT_MSR, 0, 0);
    struct inst *c = partition_add(d, os, 120 * GIB, GPT_DATA, 0, 'C');
    obj_set_bool(c->o, "IsBoot", true);
    volume_add(d, c, "NTFS", "Windows", 0);
    struct inst *temp = disk_add(d, "Msft Virtual Disk", "00000002", 32 * GIB, 10, 1, 1, false);
    struct inst *t = partition_add(d, temp, 31 * GIB, NULL, 7, 'D');
    volume_add(d, t, "NTFS", "Temporary Storage", 0);
    disk_add(d, "Msft Virtual Disk", "00000003", 128 * GIB, 10, 2, 0, false);              /* empty, RAW */
    disk_add(d, "Msft Virtual Disk", "00000004", 64 * GIB, 10, 3, 0, false);               /* RAW to Windows: a bare Linux file system */
    bytes_write(d, "00000004", 1080, "\x53\xEF", 2);                                     /* ext4's magic */
    disk_add(d, "Microsoft NVMe Direct Disk v2", "00000005", 894 * GIB, 17, 4, 0, false);  /* RAW and ephemeral */
    disk_add(d, "Msft Virtual Disk", "00000006", 256 * GIB, 10, 5, 2, true);               /* offline; with data once it is online */
    disk_add(d, "Msft Virtual Disk", "00000007", 128 * GIB, 10, 6, 0, false);              /* empty, RAW */
    for (size_t i = 0; i < storage_of(d)->n; i++)
        physical_add(d, storage_of(d)->at[i].disk);
}

/* ---- for tests ---- */

void dbl_disk_add(struct dbl *d, const struct dbl_disk *k)
{
    pthread_mutex_lock(&d->lock);
    struct inst *disk = disk_add(d, k->model ? k->model : "Msft Virtual Disk", k->serial, k->size, k->bus ? k->bus : 10, storage_of(d)->next_number, k->style,
                                 k->offline);
    if (k->sector)
        obj_set_uint(disk->o, "LogicalSectorSize", k->sector);
    if (k->bus != 16)
        physical_add(d, disk);
    pthread_mutex_unlock(&d->lock);
}

static struct inst *disk_or_physical(struct dbl *d, const char *serial, bool physical)
{
    struct inst *i = physical ? inst_by_key(d, NS, "MSFT_PhysicalDisk", "SerialNumber", serial) : disk_by_serial(d, serial);
    if (!i)
        abort();
    return i;
}

void dbl_disk_set(struct dbl *d, const char *serial, bool physical, const char *name, uint64_t value)
{
    pthread_mutex_lock(&d->lock);
    struct dobj *o = disk_or_physical(d, serial, physical)->o;
    int at = schema_member_any(o->layout, name);
    if (at < 0)
        abort();
    if (o->layout->at[at].array)
        obj_set_uints(o, name, &value, 1);
    else if (o->layout->at[at].type == WMI_BOOLEAN)
        obj_set_bool(o, name, value != 0);
    else
        obj_set_uint(o, name, value);
    pthread_mutex_unlock(&d->lock);
}

void dbl_disk_name(struct dbl *d, const char *serial, const char *name, const char *text)
{
    pthread_mutex_lock(&d->lock);
    obj_set_str(disk_or_physical(d, serial, false)->o, name, text);
    if (inst_by_key(d, NS, "MSFT_PhysicalDisk", "SerialNumber", serial))
        obj_set_str(disk_or_physical(d, serial, true)->o, name, text);
    pthread_mutex_unlock(&d->lock);
}

void dbl_disk_partition(struct dbl *d, const char *serial, const char *gpt_type, unsigned mbr_type, const char *file_system, const char *label)
{
    pthread_mutex_lock(&d->lock);
    struct inst *disk = disk_or_physical(d, serial, false), *p = partition_add(d, disk, GIB, gpt_type, mbr_type, 0);
    if (file_system) {
        volume_add(d, p, file_system, label, 0);
        bytes_format(d, p, label);
    }
    pthread_mutex_unlock(&d->lock);
}

/* Somebody else's pool. */
void dbl_disk_pool(struct dbl *d, const char *serial)
{
    pthread_mutex_lock(&d->lock);
    struct inst *pool = inst_new(d, NS, "MSFT_StoragePool");
    AUTO_FREE char *tail = x_printf("SP:{foreign-%s}", serial);
    storage_object_id(d, pool->o, "StoragePool", tail);
    obj_set_str(pool->o, "UniqueId", tail);
    obj_set_str(pool->o, "FriendlyName", "Backups");
    obj_set_bool(pool->o, "IsPrimordial", false);
    inst_enter(d, pool);
    struct inst *p = disk_or_physical(d, serial, true);
    obj_set_bool(p->o, "CanPool", false);
    obj_set_uints(p->o, "CannotPoolReason", (const uint64_t[]){2}, 1);
    link_add(d, NS, "MSFT_StoragePoolToPhysicalDisk", "StoragePool", pool, "PhysicalDisk", p);
    disk_forget(d, disk_by_serial(d, serial));
    pthread_mutex_unlock(&d->lock);
}

void dbl_disk_pass_through(struct dbl *d, const char *serial)
{
    pthread_mutex_lock(&d->lock);
    unsigned number = (unsigned)obj_uint(disk_or_physical(d, serial, false)->o, "Number", 0);
    struct inst *drive = inst_new(d, WMI_NS_HYPERV, "Msvm_DiskDrive"), *setting = inst_new(d, WMI_NS_HYPERV, "Msvm_ResourceAllocationSettingData");
    AUTO_FREE char *id = x_printf("Microsoft:353B3BE8-310C-4cf4-839E-4E1B14616136\\%u", number);
    obj_set_str(drive->o, "SystemCreationClassName", "Msvm_ComputerSystem");
    obj_set_str(drive->o, "SystemName", d->host_name);
    obj_set_str(drive->o, "CreationClassName", "Msvm_DiskDrive");
    obj_set_str(drive->o, "DeviceID", id);
    obj_set_uint(drive->o, "DriveNumber", number);
    inst_enter(d, drive);
    AUTO_FREE char *path = inst_path(d, drive);
    obj_set_str(setting->o, "InstanceID", "Microsoft:99999999-0000-4000-8000-000000000000\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0\\1\\D");
    obj_set_str(setting->o, "ResourceSubType", "Microsoft:Hyper-V:Physical Disk Drive");
    obj_set_uint(setting->o, "ResourceType", 17);
    obj_set_strs(setting->o, "HostResource", (const char *const[]){path}, 1);
    inst_enter(d, setting);
    pthread_mutex_unlock(&d->lock);
}

void dbl_disk_write_bytes(struct dbl *d, const char *serial, uint64_t offset, const void *data, size_t n)
{
    pthread_mutex_lock(&d->lock);
    bytes_write(d, serial, offset, data, n);
    pthread_mutex_unlock(&d->lock);
}

char *dbl_disk_behind(struct dbl *d, unsigned number)
{
    char *serial = NULL;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < storage_of(d)->n && !serial; i++) {
        const struct dobj *o = storage_of(d)->at[i].disk->o;
        bool hidden = obj_bool(o, "IsOffline", false) && choose(d, DBL_OFFLINE_UNREADABLE);
        if (obj_uint(o, "Number", UINT64_MAX) == number && !hidden)
            serial = x_dup(obj_str(o, "SerialNumber"));
    }
    pthread_mutex_unlock(&d->lock);
    return serial;
}

char *dbl_disk_file(struct dbl *d, const char *serial)
{
    return bytes_file(d, serial);
}

char *dbl_volume_folder(struct dbl *d, const char *path)
{
    pthread_mutex_lock(&d->lock);
    struct inst *v = inst_by_key(d, NS, "MSFT_Volume", "Path", path);
    char *folder = v ? volume_folder(d, v) : NULL;
    pthread_mutex_unlock(&d->lock);
    return folder;
}

char *dbl_disk_bytes(struct dbl *d, const char *serial)
{
    struct strbuf b = {.max = 1u << 20};
    pthread_mutex_lock(&d->lock);
    struct storage *s = storage_of(d);
    for (size_t i = 0; i < s->n_extents; i++) {
        const struct extent *x = &s->extents[i];
        if (serial && strcmp(x->serial, serial))
            continue;
        AUTO_FREE uint8_t *now = x_calloc(1, x->n);
        bytes_read(d, x->serial, x->offset, now, x->n);
        if (mem_is_zero(now, x->n))
            continue;
        strbuf_addf(&b, "%s %llu:", x->serial, (unsigned long long)x->offset);
        for (size_t k = 0; k < x->n; k++)
            if (now[k])
                strbuf_addf(&b, " %zu=%02x", k, now[k]);
        strbuf_adds(&b, "\n");
    }
    pthread_mutex_unlock(&d->lock);
    strbuf_adds(&b, "");
    return strbuf_steal(&b);
}

void storage_free(struct dbl *d)
{
    free(storage_of(d)->extents);
    free(d->storage);
}

/* Storage Spaces: pools, virtual disks. A disk in a pool is no MSFT_Disk any more. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/storage.h"

#define NS STORAGE_NS

/* The physical disk that an embedded copy stands for. */
static struct inst *physical_of(struct dbl *d, const union wmi_item *item)
{
    const struct dobj *o = (const struct dobj *)item->o;
    const char *id = schema_isa(o->class, "MSFT_PhysicalDisk") ? obj_str(o, "ObjectId") : NULL;
    return id ? inst_by_key(d, NS, "MSFT_PhysicalDisk", "ObjectId", id) : NULL;
}

/* The disk leaves the list of those with tables; what the pool writes of itself lies at both ends. */
static void pool_join(struct dbl *d, struct inst *pool, struct inst *p)
{
    struct storage *s = storage_of(d);
    const char *serial = obj_str(p->o, "SerialNumber");
    struct inst *disk = disk_by_serial(d, serial);
    struct parked *k = &s->parked[s->n_parked++];
    snprintf(k->model, sizeof k->model, "%s", obj_str(disk->o, "Model"));
    snprintf(k->serial, sizeof k->serial, "%s", serial);
    k->size = obj_uint(disk->o, "Size", 0);
    k->bus = (unsigned)obj_uint(disk->o, "BusType", 0);
    k->number = (unsigned)obj_uint(disk->o, "Number", 0);
    disk_forget(d, disk);
    bytes_write(d, k->serial, 0x4000, "SPACEDB ", 8);
    bytes_write(d, k->serial, k->size - 0x8000, "SPACEDB ", 8);
    obj_set_bool(p->o, "CanPool", false);
    obj_set_uints(p->o, "CannotPoolReason", (const uint64_t[]){2}, 1);
    link_add(d, NS, "MSFT_StoragePoolToPhysicalDisk", "StoragePool", pool, "PhysicalDisk", p);
}

static void pool_leave(struct dbl *d, struct inst *p)
{
    struct storage *s = storage_of(d);
    const char *serial = obj_str(p->o, "SerialNumber");
    for (size_t i = 0; i < s->n_parked; i++) {
        struct parked k = s->parked[i];
        if (strcmp(k.serial, serial))
            continue;
        s->parked[i] = s->parked[--s->n_parked];
        if (!choose(d, DBL_POOL_LEAVES_EDGES)) {
            bytes_zero(d, serial, 0, MIB);
            bytes_zero(d, serial, k.size - MIB, k.size);
        }
        disk_count(d, disk_add(d, k.model, k.serial, k.size, k.bus, k.number, 0, false));
        return;
    }
    abort();
}

static uint32_t create_pool(struct call *c)
{
    struct dbl *d = c->d;
    const struct wmi_value *v = obj_get(c->in, "PhysicalDisks");
    const char *name = obj_str(c->in, "FriendlyName");
    if (storage_is_stale(c))
        return storage_say(c, S_STALE, "The cache is out of date.");
    if (!name || !*name || v->type == WMI_NULL || !v->n || (obj_has(c->in, "OtherUsageDescription") && obj_uint(c->in, "Usage", 0) != 1))
        return storage_say(c, S_INVALID_PARAMETER, "Invalid parameter.");
    uint64_t size = 0;
    for (size_t i = 0; i < v->n; i++) {
        struct inst *p = physical_of(d, &v->items[i]);
        if (!p || !obj_bool(p->o, "CanPool", false))
            return storage_say(c, S_DISK_NOT_USABLE, "One of the physical disks specified is not supported by this operation.");
        size += obj_uint(p->o, "Size", 0);
    }
    char guid[37];
    guid_new(d, guid);
    struct inst *pool = inst_new(d, NS, "MSFT_StoragePool");
    AUTO_FREE char *tail = x_printf("SP:{%s}", guid);
    storage_object_id(d, pool->o, "StoragePool", tail);
    obj_set_str(pool->o, "UniqueId", guid);
    obj_set_str(pool->o, "FriendlyName", name);
    obj_set_str(pool->o, "OtherUsageDescription", obj_str(c->in, "OtherUsageDescription"));
    obj_set_bool(pool->o, "IsPrimordial", false);
    obj_set_bool(pool->o, "IsReadOnly", false);
    obj_set_uint(pool->o, "HealthStatus", 0);
    obj_set_uint(pool->o, "Size", size);
    obj_set_uint(pool->o, "AllocatedSize", 0);
    inst_enter(d, pool);
    link_add(d, NS, "MSFT_StorageSubSystemToStoragePool", "StorageSubSystem", c->target, "StoragePool", pool);
    for (size_t i = 0; i < v->n; i++)
        pool_join(d, pool, physical_of(d, &v->items[i]));
    storage_changed(d);
    obj_set_obj(c->out, "CreatedStoragePool", obj_clone(pool->o));
    return 0;
}

/* More disks for a pool that is there. */
static uint32_t pool_add(struct call *c)
{
    struct dbl *d = c->d;
    const struct wmi_value *v = obj_get(c->in, "PhysicalDisks");
    if (storage_is_stale(c))
        return storage_say(c, S_STALE, "The cache is out of date.");
    if (obj_bool(c->target->o, "IsPrimordial", false))
        return storage_say(c, S_PRIMORDIAL, "Cannot perform the requested operation on the primordial pool.");
    if (v->type == WMI_NULL || !v->n)
        return storage_say(c, S_INVALID_PARAMETER, "Invalid parameter.");
    uint64_t size = obj_uint(c->target->o, "Size", 0);
    for (size_t i = 0; i < v->n; i++) {
        struct inst *p = physical_of(d, &v->items[i]);
        if (!p || !obj_bool(p->o, "CanPool", false))
            return storage_say(c, S_DISK_NOT_USABLE, "One of the physical disks specified is not supported by this operation.");
        size += obj_uint(p->o, "Size", 0);
    }
    for (size_t i = 0; i < v->n; i++)
        pool_join(d, c->target, physical_of(d, &v->items[i]));
    obj_set_uint(c->target->o, "Size", size);
    storage_changed(d);
    return 0;
}

static size_t pool_disks(struct dbl *d, struct inst *pool)
{
    size_t n = 0;
    while (link_other(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, n))
        n++;
    return n;
}

static uint32_t create_virtual_disk(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *pool = c->target;
    uint64_t size = obj_uint(c->in, "Size", 0), columns = obj_uint(c->in, "NumberOfColumns", 0);
    bool whole = obj_bool(c->in, "UseMaximumSize", false);
    const char *name = obj_str(c->in, "FriendlyName"), *resiliency = obj_str(c->in, "ResiliencySettingName");
    if (obj_bool(pool->o, "IsPrimordial", false))
        return storage_say(c, S_PRIMORDIAL, "Cannot perform the requested operation on the primordial pool.");
    if (!name || (size != 0) == whole)
        return storage_say(c, S_EXCLUSIVE, "Exactly one of Size and UseMaximumSize is needed.");
    if (columns && obj_bool(c->in, "AutoNumberOfColumns", false))
        return storage_say(c, S_INVALID_PARAMETER, "NumberOfColumns and AutoNumberOfColumns exclude each other.");
    size_t disks = pool_disks(d, pool);
    if (columns > disks)
        return storage_say(c, S_NOT_ENOUGH_DISKS, "The storage pool does not have sufficient eligible resources.");
    if (resiliency && !str_ieq(resiliency, "Simple") && disks < 2)
        return storage_say(c, S_NOT_ENOUGH_DISKS, "The storage pool does not have sufficient eligible resources.");
    uint64_t smallest = UINT64_MAX, room;
    for (size_t i = 0; i < disks; i++) {
        uint64_t s = obj_uint(link_other(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, i)->o, "Size", 0);
        smallest = s < smallest ? s : smallest;
    }
    room = smallest * (columns ? columns : disks) - GIB;
    if (obj_uint(c->in, "ProvisioningType", 2) == 2 && size > room)
        return storage_say(c, S_NO_SPACE, "Not enough available capacity.");
    size = whole ? room / GIB * GIB : (size + GIB - 1) / GIB * GIB;      /* slabs of 1 GiB */
    char guid[37];
    guid_new(d, guid);
    struct inst *vd = inst_new(d, NS, "MSFT_VirtualDisk");
    AUTO_FREE char *tail = x_printf("VD:{%s}", guid);
    storage_object_id(d, vd->o, "VirtualDisk", tail);
    obj_set_str(vd->o, "UniqueId", guid);
    obj_set_str(vd->o, "FriendlyName", name);
    obj_set_str(vd->o, "OtherUsageDescription", obj_str(c->in, "OtherUsageDescription"));
    obj_set_uint(vd->o, "Size", size);
    obj_set_uint(vd->o, "NumberOfColumns", columns ? columns : disks);
    obj_set_uint(vd->o, "Interleave", obj_uint(c->in, "Interleave", 262144));
    obj_set_str(vd->o, "ResiliencySettingName", resiliency ? resiliency : "Mirror");
    obj_set_uint(vd->o, "HealthStatus", 0);
    obj_set_bool(vd->o, "IsManualAttach", false);
    inst_enter(d, vd);
    link_add(d, NS, "MSFT_StoragePoolToVirtualDisk", "StoragePool", pool, "VirtualDisk", vd);
    AUTO_FREE char *serial = x_printf("space-%u", ++storage_of(d)->spaces);
    struct inst *disk = disk_add(d, "Msft Storage Space", serial, size, 16, storage_of(d)->next_number, 0, false);
    link_add(d, NS, "MSFT_VirtualDiskToDisk", "VirtualDisk", vd, "Disk", disk);
    storage_changed(d);
    obj_set_obj(c->out, "CreatedVirtualDisk", obj_clone(vd->o));
    return 0;
}

static uint32_t virtual_disk_delete(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *disk = link_other(space_of(d, NS), "MSFT_VirtualDiskToDisk", c->target, 0), *pool = link_other(space_of(d, NS), "MSFT_StoragePoolToVirtualDisk", c->target, 0), *p;
    /* what was written to it lies on its disks, and stays there */
    bool left = disk && bytes_any(d, obj_str(disk->o, "SerialNumber"));
    for (size_t i = 0; left && pool && (p = link_other(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, i)) != NULL; i++)
        bytes_write(d, obj_str(p->o, "SerialNumber"), MIB, "left", 4);
    if (disk) {
        bytes_zero(d, obj_str(disk->o, "SerialNumber"), 0, UINT64_MAX);
        disk_forget(d, disk);
    }
    inst_remove(d, c->target);
    c->target = NULL;
    return 0;
}

static uint32_t pool_delete(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *pool = c->target, *p;
    if (obj_bool(pool->o, "IsPrimordial", false))
        return storage_say(c, S_PRIMORDIAL, "Cannot perform the requested operation on the primordial pool.");
    if (link_other(space_of(d, NS), "MSFT_StoragePoolToVirtualDisk", pool, 0))
        return storage_say(c, S_IN_USE, "The pool still holds virtual disks.");
    while ((p = link_other(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, 0)) != NULL) {
        link_remove(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, p);
        pool_leave(d, p);
    }
    inst_remove(d, pool);
    c->target = NULL;
    return 0;
}

#define SYNC (IMPL_SYNC | IMPL_VALUE)
const struct impl pool_impls[] = {
    {NS, "MSFT_StorageSubSystem", "CreateStoragePool", SYNC, .check = create_pool},
    {NS, "MSFT_StoragePool", "AddPhysicalDisk", SYNC, .check = pool_add},
    {NS, "MSFT_StoragePool", "CreateVirtualDisk", SYNC, .check = create_virtual_disk},
    {NS, "MSFT_StoragePool", "DeleteObject", SYNC, .check = pool_delete},
    {NS, "MSFT_VirtualDisk", "DeleteObject", SYNC, .check = virtual_disk_delete},
    {0},
};

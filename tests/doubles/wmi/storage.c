/* Windows Storage: disks, partitions, volumes, pools. The disks are those that a recovery host in a cloud may meet, traps included. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_STORAGE
#define GIB ((uint64_t)1 << 30)
#define MIB ((uint64_t)1 << 20)
#define GPT_DATA "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}"
#define GPT_MSR "{e3c9e316-0b5c-4db8-817d-f92df00215ae}"
#define GPT_ESP "{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}"

enum {                                                 /* what the methods return ("Storage Management API common return codes") */
    S_NOT_SUPPORTED = 1, S_FAILED = 4, S_INVALID_PARAMETER = 5, S_IN_USE = 6, S_NO_SPACE = 40000, S_DENIED = 40001, S_STALE = 40003, S_EXCLUSIVE = 40005,
    S_RAW = 41000, S_INITIALIZED = 41001, S_READ_ONLY = 41002, S_OFFLINE = 41003, S_ALIGNMENT = 41005, S_TYPE = 41006, S_PATH_IN_USE = 42002,
    S_BAD_PATH = 42007, S_CLUSTER_SIZE = 43000, S_FILE_SYSTEM = 43001, S_PRIMORDIAL = 48000, S_NOT_ENOUGH_DISKS = 48004, S_DISK_NOT_USABLE = 51000,
};

/* What is not to be seen from outside. */
struct hidden {
    struct inst *disk;
    uint64_t real_style;                               /* of an offline disk: shown once it is online */
    uint64_t used;                                     /* bytes that partitions take */
};
struct storage {
    struct hidden at[32];
    size_t n;
    unsigned volumes;
};

static struct storage *of(struct dbl *d)
{
    return d->storage;
}

static struct hidden *hidden_of(struct dbl *d, const struct inst *disk)
{
    for (size_t i = 0; i < of(d)->n; i++)
        if (of(d)->at[i].disk == disk)
            return &of(d)->at[i];
    abort();
}

/* ObjectId as it is: full of quotes and backslashes. */
static void set_object_id(struct dbl *d, struct dobj *o, const char *kind, const char *tail)
{
    AUTO_FREE char *id = x_printf("{1}\\\\%s\\root/Microsoft/Windows/Storage/Providers_v2\\WSP_%s.ObjectId=\"{b5a41c2e-0000-11ee-a1b2-806e6f6e6963}:%s\"",
                                  d->host_name, kind, tail);
    obj_set_str(o, "ObjectId", id);
}

static struct inst *target(struct call *c)
{
    return c->target;
}

/* The answer of a method that went wrong says so in its ExtendedStatus too. */
static uint32_t say(struct call *c, uint32_t code, const char *text)
{
    if (code && code != S_PATH_IN_USE) {
        struct dobj *s = obj_new(c->d, schema_class(c->d->schema, NS, "MSFT_StorageExtendedStatus"));
        AUTO_FREE char *id = x_printf("SM%u", (unsigned)code);
        obj_set_str(s, "MessageID", id);
        obj_set_str(s, "Message", text);
        obj_set_uint(s, "CIMStatusCode", 1);
        obj_set_obj(c->out, "ExtendedStatus", s);
    }
    return code;
}

/* After a change the cache may be behind until it is refreshed. */
static bool stale(struct call *c)
{
    return c->d->storage_stale;
}

static void changed(struct dbl *d)
{
    d->storage_stale = chance(d, d->o.shuffles ? 150 : 0);
}

/* ---- MSFT_Disk ---- */

static void count_partitions(struct dbl *d, struct inst *disk)
{
    size_t n = 0;
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n_links; i++)
        n += s->links[i].a == disk && schema_isa(s->links[i].class, "MSFT_DiskToPartition");
    obj_set_uint(disk->o, "NumberOfPartitions", n);
    obj_set_uint(disk->o, "AllocatedSize", hidden_of(d, disk)->used);
    bool raw = obj_uint(disk->o, "PartitionStyle", 0) == 0;
    obj_set_uint(disk->o, "LargestFreeExtent", raw ? 0 : obj_uint(disk->o, "Size", 0) - hidden_of(d, disk)->used);
    struct inst *p = inst_by_key(d, NS, "MSFT_PhysicalDisk", "UniqueId", obj_str(disk->o, "UniqueId"));
    if (p) {
        bool can = raw && !obj_bool(disk->o, "IsOffline", false) && obj_uint(disk->o, "Size", 0) >= 5 * GIB && n == 0;
        obj_set_bool(p->o, "CanPool", can);
        obj_set_uints(p->o, "CannotPoolReason", (const uint64_t[]){7}, can ? 0 : 1);
    }
}

static void set_online(struct dbl *d, struct inst *disk, bool online)
{
    obj_set_bool(disk->o, "IsOffline", !online);
    obj_set_uints(disk->o, "OperationalStatus", (const uint64_t[]){online ? 0xD010 : 0xD013}, 1);
    if (online) {
        obj_unset(disk->o, "OfflineReason");
        obj_set_uint(disk->o, "PartitionStyle", hidden_of(d, disk)->real_style);
    } else {
        obj_set_uint(disk->o, "OfflineReason", 1);
    }
    count_partitions(d, disk);
}

static uint32_t disk_online(struct call *c)
{
    set_online(c->d, target(c), true);
    return 0;
}

static uint32_t disk_offline(struct call *c)
{
    if (obj_bool(target(c)->o, "IsBoot", false) || obj_bool(target(c)->o, "IsSystem", false))
        return say(c, S_DENIED, "The system disk cannot be taken offline.");
    set_online(c->d, target(c), false);
    return 0;
}

static uint32_t refresh(struct call *c)
{
    c->d->storage_stale = false;
    return 0;
}

static uint32_t disk_attributes(struct call *c)
{
    if (stale(c))
        return say(c, S_STALE, "The cache is out of date.");
    if (obj_has(c->in, "IsReadOnly"))
        obj_set_bool(target(c)->o, "IsReadOnly", obj_bool(c->in, "IsReadOnly", false));
    return 0;
}

static uint32_t usable(struct call *c, const struct inst *disk)
{
    if (stale(c))
        return say(c, S_STALE, "The cache is out of date.");
    if (obj_bool(disk->o, "IsOffline", false))
        return say(c, S_OFFLINE, "The disk is offline.");
    if (obj_bool(disk->o, "IsReadOnly", false))
        return say(c, S_READ_ONLY, "The disk is read-only.");
    return 0;
}

static struct inst *partition_add(struct dbl *d, struct inst *disk, uint64_t size, const char *gpt_type, uint16_t letter)
{
    struct hidden *h = hidden_of(d, disk);
    struct inst *p = inst_new(d, NS, "MSFT_Partition");
    char guid[37];
    guid_new(d, guid);
    size_t number = obj_uint(disk->o, "NumberOfPartitions", 0) + 1;
    AUTO_FREE char *tail = x_printf("PR:{%s}\\\\?\\disk", guid), *braced = x_printf("{%s}", guid);
    set_object_id(d, p->o, "Partition", tail);
    obj_set_str(p->o, "DiskId", obj_str(disk->o, "ObjectId"));
    obj_set_uint(p->o, "DiskNumber", obj_uint(disk->o, "Number", 0));
    obj_set_uint(p->o, "PartitionNumber", number);
    obj_set_uint(p->o, "Size", size);
    obj_set_uint(p->o, "Offset", h->used ? h->used : MIB);
    obj_set_str(p->o, "Guid", braced);
    if (gpt_type)
        obj_set_str(p->o, "GptType", gpt_type);
    if (letter) {
        AUTO_FREE char *path = x_printf("%c:\\", (char)letter);
        obj_set_uint(p->o, "DriveLetter", letter);
        obj_set_strs(p->o, "AccessPaths", (const char *const[]){path}, 1);
    }
    inst_enter(d, p);
    link_add(d, NS, "MSFT_DiskToPartition", "Disk", disk, "Partition", p);
    h->used += size;
    count_partitions(d, disk);
    return p;
}

static struct inst *volume_add(struct dbl *d, struct inst *partition, const char *file_system, const char *label, int64_t delay_ms)
{
    struct inst *v = inst_new(d, NS, "MSFT_Volume");
    AUTO_FREE char *path = x_printf("\\\\?\\Volume{5d1f%04x-0000-4000-8000-000000000000}\\", ++of(d)->volumes), *tail = x_printf("VO:%s", path);
    set_object_id(d, v->o, "Volume", tail);
    obj_set_str(v->o, "Path", path);
    obj_set_str(v->o, "FileSystem", file_system ? file_system : "");
    obj_set_str(v->o, "FileSystemLabel", label ? label : "");
    obj_set_uint(v->o, "Size", obj_uint(partition->o, "Size", 0));
    obj_set_uint(v->o, "SizeRemaining", obj_uint(partition->o, "Size", 0));
    obj_set_uint(v->o, "DriveType", 3);
    obj_set_uint(v->o, "HealthStatus", 0);
    if (obj_has(partition->o, "DriveLetter"))
        obj_set_uint(v->o, "DriveLetter", obj_uint(partition->o, "DriveLetter", 0));
    inst_enter(d, v);
    struct link *l = link_add(d, NS, "MSFT_PartitionToVolume", "Partition", partition, "Volume", v);
    l->from_ms = now_ms(d) + delay_ms;
    return v;
}

static uint32_t disk_initialize(struct call *c)
{
    struct inst *disk = target(c);
    uint64_t style = obj_uint(c->in, "PartitionStyle", 2);
    uint32_t r = usable(c, disk);
    if (r)
        return r;
    if (obj_uint(disk->o, "PartitionStyle", 0) != 0)
        return say(c, S_INITIALIZED, "The disk has already been initialized.");
    if (style != 1 && style != 2)
        return say(c, S_INVALID_PARAMETER, "Invalid parameter.");
    hidden_of(c->d, disk)->real_style = style;
    obj_set_uint(disk->o, "PartitionStyle", style);
    hidden_of(c->d, disk)->used = MIB;
    if (style == 2)                                    /* it gains a Microsoft reserved partition */
        partition_add(c->d, disk, 16 * MIB, GPT_MSR, 0);
    count_partitions(c->d, disk);
    changed(c->d);
    return 0;
}

static bool letter_taken(struct dbl *d, uint64_t letter)
{
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++)
        if (schema_isa(s->at[i]->o->class, "MSFT_Partition") && obj_uint(s->at[i]->o, "DriveLetter", 0) == letter)
            return true;
    return false;
}

static uint32_t create_partition(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *disk = target(c);
    uint32_t r = usable(c, disk);
    if (r)
        return r;
    uint64_t style = obj_uint(disk->o, "PartitionStyle", 0), size = obj_uint(c->in, "Size", 0), letter = obj_uint(c->in, "DriveLetter", 0);
    bool whole = obj_bool(c->in, "UseMaximumSize", false), assign = obj_bool(c->in, "AssignDriveLetter", false);
    if (style == 0)
        return say(c, S_RAW, "The disk has not been initialized.");
    if ((size != 0) == whole)
        return say(c, S_EXCLUSIVE, "Exactly one of Size and UseMaximumSize is needed.");
    if (letter && assign)
        return say(c, S_INVALID_PARAMETER, "DriveLetter and AssignDriveLetter exclude each other.");
    if (obj_has(c->in, style == 2 ? "MbrType" : "GptType"))
        return say(c, S_TYPE, "The partition type is not valid for this disk.");
    uint64_t free_bytes = obj_uint(disk->o, "LargestFreeExtent", 0);
    if (whole)
        size = free_bytes / MIB * MIB - MIB;
    if (!size || size > free_bytes)
        return say(c, S_NO_SPACE, "Not enough available capacity.");
    const char *type = obj_str(c->in, "GptType");
    bool taken = letter && letter_taken(d, letter);
    for (letter = assign ? 'E' : letter; assign && letter_taken(d, letter) && letter < 'Z';)
        letter++;
    struct inst *p = partition_add(d, disk, size, style == 2 ? (type ? type : GPT_DATA) : NULL, taken ? 0 : (uint16_t)letter);
    volume_add(d, p, NULL, NULL, d->o.shuffles ? 500 + rnd(d, 4000) : 0);
    obj_set_obj(c->out, "CreatedPartition", obj_clone(p->o));
    changed(d);
    return taken ? S_PATH_IN_USE : 0;
}

/* ---- MSFT_Partition ---- */

static struct inst *disk_of(struct dbl *d, struct inst *partition)
{
    return link_other(space_of(d, NS), "MSFT_DiskToPartition", partition, 0);
}

static uint32_t add_access_path(struct call *c)
{
    struct inst *p = target(c);
    const char *path = obj_str(c->in, "AccessPath");
    bool assign = obj_bool(c->in, "AssignDriveLetter", false);
    if ((path != NULL) == assign)
        return say(c, S_INVALID_PARAMETER, "Exactly one of AccessPath and AssignDriveLetter is needed.");
    if (path && strlen(path) < 3)
        return say(c, S_BAD_PATH, "The access path is not valid.");
    struct space *s = space_of(c->d, NS);
    for (size_t i = 0; path && i < s->n; i++)
        for (size_t k = 0; schema_isa(s->at[i]->o->class, "MSFT_Partition") && k < obj_n(s->at[i]->o, "AccessPaths"); k++)
            if (str_ieq(obj_str_at(s->at[i]->o, "AccessPaths", k), path))
                return say(c, S_PATH_IN_USE, "The access path is already in use.");
    uint64_t letter = 'E';
    while (assign && letter_taken(c->d, letter) && letter < 'Z')
        letter++;
    AUTO_FREE char *own = assign ? x_printf("%c:\\", (char)letter) : x_dup(path);
    size_t n = obj_n(p->o, "AccessPaths");
    char **paths = x_calloc(n + 2, sizeof *paths);
    for (size_t i = 0; i < n; i++)
        paths[i] = x_dup(obj_str_at(p->o, "AccessPaths", i));
    paths[n] = x_dup(own);
    obj_set_strs(p->o, "AccessPaths", (const char *const *)paths, n + 1);
    wmi_strs_free(paths);
    if (assign)
        obj_set_uint(p->o, "DriveLetter", letter);
    return 0;
}

static uint32_t remove_access_path(struct call *c)
{
    struct inst *p = target(c);
    const char *path = obj_str(c->in, "AccessPath");
    size_t n = obj_n(p->o, "AccessPaths"), k = 0;
    char **paths = x_calloc(n + 1, sizeof *paths);
    for (size_t i = 0; i < n; i++)
        if (!path || !str_ieq(obj_str_at(p->o, "AccessPaths", i), path))
            paths[k++] = x_dup(obj_str_at(p->o, "AccessPaths", i));
    obj_set_strs(p->o, "AccessPaths", (const char *const *)paths, k);
    wmi_strs_free(paths);
    return k < n ? 0 : say(c, S_BAD_PATH, "The access path is not valid.");
}

static uint32_t partition_attributes(struct call *c)
{
    struct inst *p = target(c);
    if (obj_has(c->in, "NoDefaultDriveLetter"))
        obj_set_bool(p->o, "NoDefaultDriveLetter", obj_bool(c->in, "NoDefaultDriveLetter", false));
    if (obj_has(c->in, "IsReadOnly"))
        obj_set_bool(p->o, "IsReadOnly", obj_bool(c->in, "IsReadOnly", false));
    return 0;
}

static uint32_t partition_delete(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *p = target(c), *disk = disk_of(d, p), *v;
    uint32_t r = disk ? usable(c, disk) : 0;
    if (r)
        return r;
    while ((v = link_other(space_of(d, NS), "MSFT_PartitionToVolume", p, 0)) != NULL)
        inst_remove(d, v);
    if (disk)
        hidden_of(d, disk)->used -= obj_uint(p->o, "Size", 0);
    inst_remove(d, p);
    c->target = NULL;
    if (disk)
        count_partitions(d, disk);
    changed(d);
    return 0;
}

/* ---- MSFT_StorageJob: what ran with RunAsJob ---- */

static void job_done(struct dbl *d, void *arg)
{
    AUTO_FREE char *id = arg;
    struct inst *j = inst_by_key(d, NS, "MSFT_StorageJob", "ObjectId", id);
    if (j) {
        obj_set_uint(j->o, "JobState", 7);
        obj_set_uint(j->o, "PercentComplete", 100);
    }
}

static void job_drop(struct dbl *d, void *arg)
{
    (void)d;
    free(arg);
}

static uint32_t as_job(struct call *c, unsigned ms)
{
    struct dbl *d = c->d;
    char guid[37];
    guid_new(d, guid);
    struct inst *j = inst_new(d, NS, "MSFT_StorageJob");
    set_object_id(d, j->o, "StorageJob", guid);
    obj_set_str(j->o, "UniqueId", guid);
    obj_set_str(j->o, "Name", c->method->name);
    obj_set_uint(j->o, "JobState", 4);
    obj_set_uint(j->o, "PercentComplete", 0);
    inst_enter(d, j);
    due_add(d, ms, job_done, job_drop, x_dup(obj_str(j->o, "ObjectId")));
    call_out_ref(c, "CreatedStorageJob", j);
    return RET_ASYNC;
}

/* ---- MSFT_Volume ---- */

static uint32_t format(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *v = target(c), *p = link_other(space_of(d, NS), "MSFT_PartitionToVolume", v, 0), *disk = p ? disk_of(d, p) : NULL;
    const char *fs = obj_str(c->in, "FileSystem");
    uint64_t cluster = obj_uint(c->in, "AllocationUnitSize", 4096);
    bool refs = fs && str_ieq(fs, "ReFS");
    if (disk && usable(c, disk))
        return say(c, S_READ_ONLY, "The disk cannot be written to.");
    if (p && (obj_bool(p->o, "IsSystem", false) || obj_bool(p->o, "IsBoot", false)))
        return say(c, S_DENIED, "The system volume cannot be formatted.");
    if (!fs || (!refs && !str_ieq(fs, "NTFS") && !str_ieq(fs, "FAT32") && !str_ieq(fs, "exFAT")))
        return say(c, S_FILE_SYSTEM, "The file system is not supported.");
    if ((cluster & (cluster - 1)) || cluster < 512 || cluster > 65536 || (refs && cluster != 4096 && cluster != 65536))
        return say(c, S_CLUSTER_SIZE, "The cluster size is not valid.");
    if (obj_bool(c->in, "Compress", false) && (refs || cluster > 4096))
        return say(c, S_INVALID_PARAMETER, "Compression is not available.");
    obj_set_str(v->o, "FileSystem", refs ? "ReFS" : fs);
    obj_set_str(v->o, "FileSystemLabel", obj_str(c->in, "FileSystemLabel") ? obj_str(c->in, "FileSystemLabel") : "");
    obj_set_uint(v->o, "AllocationUnitSize", cluster);
    if (!d->o.real_time)
        d->clock_ms += d->o.shuffles ? rnd(d, 60000) : 2000;
    if (schema_member(&c->method->in, "RunAsJob") >= 0 && obj_bool(c->in, "RunAsJob", false))
        return as_job(c, 5000);
    obj_set_obj(c->out, "FormattedVolume", obj_clone(v->o));
    return 0;
}

/* ---- pools ---- */

static struct inst *disk_add(struct dbl *d, const char *model, const char *serial, uint64_t size, unsigned bus, uint64_t style, bool offline)
{
    struct storage *s = of(d);
    struct inst *disk = inst_new(d, NS, "MSFT_Disk");
    AUTO_FREE char *tail = x_printf("DI:\\\\?\\scsi#disk&ven_msft#%s", serial), *id = x_printf("60022480%s", serial);
    set_object_id(d, disk->o, "Disk", tail);
    obj_set_str(disk->o, "UniqueId", id);
    obj_set_uint(disk->o, "Number", s->n);
    obj_set_str(disk->o, "FriendlyName", model);
    obj_set_str(disk->o, "Model", model);
    obj_set_str(disk->o, "SerialNumber", serial);
    obj_set_uint(disk->o, "Size", size);
    obj_set_uint(disk->o, "LogicalSectorSize", 512);
    obj_set_uint(disk->o, "PhysicalSectorSize", 4096);
    obj_set_uint(disk->o, "BusType", bus);
    obj_set_uint(disk->o, "HealthStatus", 0);
    obj_set_bool(disk->o, "IsBoot", false);
    obj_set_bool(disk->o, "IsSystem", false);
    obj_set_bool(disk->o, "BootFromDisk", false);
    obj_set_bool(disk->o, "IsClustered", false);
    obj_set_bool(disk->o, "IsReadOnly", offline);
    obj_set_bool(disk->o, "IsOffline", offline);
    obj_set_uint(disk->o, "PartitionStyle", offline ? 0 : style);
    obj_set_uint(disk->o, "NumberOfPartitions", 0);
    obj_set_uints(disk->o, "OperationalStatus", (const uint64_t[]){offline ? 0xD013 : 0xD010}, 1);
    if (offline)
        obj_set_uint(disk->o, "OfflineReason", 1);
    inst_enter(d, disk);
    s->at[s->n++] = (struct hidden){.disk = disk, .real_style = style, .used = style ? MIB : 0};
    return disk;
}

static void physical_add(struct dbl *d, struct inst *disk, struct inst *subsystem)
{
    struct inst *p = inst_new(d, NS, "MSFT_PhysicalDisk");
    AUTO_FREE char *tail = x_printf("PD:{%s}", obj_str(disk->o, "SerialNumber")), *number = x_printf("%u", (unsigned)obj_uint(disk->o, "Number", 0));
    set_object_id(d, p->o, "PhysicalDisk", tail);
    obj_set_str(p->o, "UniqueId", obj_str(disk->o, "UniqueId"));
    obj_set_str(p->o, "DeviceId", number);
    obj_set_str(p->o, "FriendlyName", obj_str(disk->o, "FriendlyName"));
    obj_set_str(p->o, "SerialNumber", obj_str(disk->o, "SerialNumber"));
    obj_set_uint(p->o, "Size", obj_uint(disk->o, "Size", 0));
    obj_set_uint(p->o, "BusType", obj_uint(disk->o, "BusType", 0));
    obj_set_uint(p->o, "MediaType", 4);
    inst_enter(d, p);
    link_add(d, NS, "MSFT_StorageSubSystemToPhysicalDisk", "StorageSubSystem", subsystem, "PhysicalDisk", p);
    count_partitions(d, disk);
}

/* The physical disk that an embedded copy stands for. */
static struct inst *physical_of(struct dbl *d, const union wmi_item *item)
{
    const struct dobj *o = (const struct dobj *)item->o;
    const char *id = schema_isa(o->class, "MSFT_PhysicalDisk") ? obj_str(o, "ObjectId") : NULL;
    return id ? inst_by_key(d, NS, "MSFT_PhysicalDisk", "ObjectId", id) : NULL;
}

static uint32_t create_pool(struct call *c)
{
    struct dbl *d = c->d;
    const struct wmi_value *v = obj_get(c->in, "PhysicalDisks");
    const char *name = obj_str(c->in, "FriendlyName");
    if (stale(c))
        return say(c, S_STALE, "The cache is out of date.");
    if (!name || !*name || v->type == WMI_NULL || !v->n || (obj_has(c->in, "OtherUsageDescription") && obj_uint(c->in, "Usage", 0) != 1))
        return say(c, S_INVALID_PARAMETER, "Invalid parameter.");
    uint64_t size = 0;
    for (size_t i = 0; i < v->n; i++) {
        struct inst *p = physical_of(d, &v->items[i]);
        if (!p || !obj_bool(p->o, "CanPool", false))
            return say(c, S_DISK_NOT_USABLE, "One of the physical disks specified is not supported by this operation.");
        size += obj_uint(p->o, "Size", 0);
    }
    char guid[37];
    guid_new(d, guid);
    struct inst *pool = inst_new(d, NS, "MSFT_StoragePool");
    AUTO_FREE char *tail = x_printf("SP:{%s}", guid);
    set_object_id(d, pool->o, "StoragePool", tail);
    obj_set_str(pool->o, "UniqueId", guid);
    obj_set_str(pool->o, "FriendlyName", name);
    obj_set_str(pool->o, "OtherUsageDescription", obj_str(c->in, "OtherUsageDescription"));
    obj_set_bool(pool->o, "IsPrimordial", false);
    obj_set_bool(pool->o, "IsReadOnly", false);
    obj_set_uint(pool->o, "HealthStatus", 0);
    obj_set_uint(pool->o, "Size", size);
    obj_set_uint(pool->o, "AllocatedSize", 0);
    inst_enter(d, pool);
    link_add(d, NS, "MSFT_StorageSubSystemToStoragePool", "StorageSubSystem", target(c), "StoragePool", pool);
    for (size_t i = 0; i < v->n; i++) {
        struct inst *p = physical_of(d, &v->items[i]);
        obj_set_bool(p->o, "CanPool", false);
        obj_set_uints(p->o, "CannotPoolReason", (const uint64_t[]){2}, 1);
        link_add(d, NS, "MSFT_StoragePoolToPhysicalDisk", "StoragePool", pool, "PhysicalDisk", p);
    }
    changed(d);
    obj_set_obj(c->out, "CreatedStoragePool", obj_clone(pool->o));
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
    struct inst *pool = target(c);
    uint64_t size = obj_uint(c->in, "Size", 0), columns = obj_uint(c->in, "NumberOfColumns", 0);
    bool whole = obj_bool(c->in, "UseMaximumSize", false);
    const char *name = obj_str(c->in, "FriendlyName"), *resiliency = obj_str(c->in, "ResiliencySettingName");
    if (obj_bool(pool->o, "IsPrimordial", false))
        return say(c, S_PRIMORDIAL, "Cannot perform the requested operation on the primordial pool.");
    if (!name || (size != 0) == whole)
        return say(c, S_EXCLUSIVE, "Exactly one of Size and UseMaximumSize is needed.");
    if (columns && obj_bool(c->in, "AutoNumberOfColumns", false))
        return say(c, S_INVALID_PARAMETER, "NumberOfColumns and AutoNumberOfColumns exclude each other.");
    size_t disks = pool_disks(d, pool);
    if (columns > disks)
        return say(c, S_NOT_ENOUGH_DISKS, "The storage pool does not have sufficient eligible resources.");
    if (resiliency && !str_ieq(resiliency, "Simple") && disks < 2)
        return say(c, S_NOT_ENOUGH_DISKS, "The storage pool does not have sufficient eligible resources.");
    uint64_t smallest = UINT64_MAX, room;
    for (size_t i = 0; i < disks; i++) {
        uint64_t s = obj_uint(link_other(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, i)->o, "Size", 0);
        smallest = s < smallest ? s : smallest;
    }
    room = smallest * (columns ? columns : disks) - GIB;
    if (obj_uint(c->in, "ProvisioningType", 2) == 2 && size > room)
        return say(c, S_NO_SPACE, "Not enough available capacity.");
    size = whole ? room / GIB * GIB : (size + GIB - 1) / GIB * GIB;      /* slabs of 1 GiB */
    char guid[37];
    guid_new(d, guid);
    struct inst *vd = inst_new(d, NS, "MSFT_VirtualDisk");
    AUTO_FREE char *tail = x_printf("VD:{%s}", guid);
    set_object_id(d, vd->o, "VirtualDisk", tail);
    obj_set_str(vd->o, "UniqueId", guid);
    obj_set_str(vd->o, "FriendlyName", name);
    obj_set_str(vd->o, "OtherUsageDescription", obj_str(c->in, "OtherUsageDescription"));
    obj_set_uint(vd->o, "Size", size);
    obj_set_uint(vd->o, "NumberOfColumns", columns ? columns : disks);
    obj_set_uint(vd->o, "HealthStatus", 0);
    obj_set_bool(vd->o, "IsManualAttach", false);
    inst_enter(d, vd);
    link_add(d, NS, "MSFT_StoragePoolToVirtualDisk", "StoragePool", pool, "VirtualDisk", vd);
    AUTO_FREE char *serial = x_printf("{%s}", guid);
    struct inst *disk = disk_add(d, "Msft Storage Space", serial, size, 16, 0, false);
    link_add(d, NS, "MSFT_VirtualDiskToDisk", "VirtualDisk", vd, "Disk", disk);
    changed(d);
    obj_set_obj(c->out, "CreatedVirtualDisk", obj_clone(vd->o));
    return 0;
}

static void disk_forget(struct dbl *d, struct inst *disk)
{
    struct storage *s = of(d);
    struct inst *p, *v;
    while ((p = link_other(space_of(d, NS), "MSFT_DiskToPartition", disk, 0)) != NULL) {
        while ((v = link_other(space_of(d, NS), "MSFT_PartitionToVolume", p, 0)) != NULL)
            inst_remove(d, v);
        inst_remove(d, p);
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i].disk == disk) {
            s->at[i] = s->at[--s->n];
            break;
        }
    inst_remove(d, disk);
}

static uint32_t virtual_disk_delete(struct call *c)
{
    struct inst *disk = link_other(space_of(c->d, NS), "MSFT_VirtualDiskToDisk", target(c), 0);
    if (disk)
        disk_forget(c->d, disk);
    inst_remove(c->d, target(c));
    c->target = NULL;
    return 0;
}

static uint32_t pool_delete(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *pool = target(c), *p;
    if (obj_bool(pool->o, "IsPrimordial", false))
        return say(c, S_PRIMORDIAL, "Cannot perform the requested operation on the primordial pool.");
    if (link_other(space_of(d, NS), "MSFT_StoragePoolToVirtualDisk", pool, 0))
        return say(c, S_IN_USE, "The pool still holds virtual disks.");
    for (size_t n = 0; (p = link_other(space_of(d, NS), "MSFT_StoragePoolToPhysicalDisk", pool, n)) != NULL; n++) {
        obj_set_bool(p->o, "CanPool", true);
        obj_set_uints(p->o, "CannotPoolReason", NULL, 0);
    }
    inst_remove(d, pool);
    c->target = NULL;
    return 0;
}

static uint32_t setting_get(struct call *c)
{
    struct dobj *o = obj_new(c->d, schema_class(c->d->schema, NS, "MSFT_StorageSetting"));
    obj_set_uint(o, "NewDiskPolicy", 2);
    if (schema_member(&c->method->out, "StorageSetting") >= 0)
        obj_set_obj(c->out, "StorageSetting", o);
    else
        obj_free(o);
    return 0;
}

#define SYNC (IMPL_SYNC | IMPL_VALUE)
const struct impl storage_impls[] = {
    {NS, "MSFT_Disk", "Online", SYNC, .check = disk_online},
    {NS, "MSFT_Disk", "Offline", SYNC, .check = disk_offline},
    {NS, "MSFT_Disk", "Refresh", SYNC | IMPL_READS, .check = refresh},
    {NS, "MSFT_Disk", "SetAttributes", SYNC, .check = disk_attributes},
    {NS, "MSFT_Disk", "Initialize", SYNC, .check = disk_initialize},
    {NS, "MSFT_Disk", "CreatePartition", SYNC, .check = create_partition},
    {NS, "MSFT_Partition", "AddAccessPath", SYNC, .check = add_access_path},
    {NS, "MSFT_Partition", "RemoveAccessPath", SYNC, .check = remove_access_path},
    {NS, "MSFT_Partition", "SetAttributes", SYNC, .check = partition_attributes},
    {NS, "MSFT_Partition", "DeleteObject", SYNC, .check = partition_delete},
    {NS, "MSFT_Volume", "Format", SYNC, .check = format},
    {NS, "MSFT_StorageSubSystem", "CreateStoragePool", SYNC, .check = create_pool},
    {NS, "MSFT_StoragePool", "CreateVirtualDisk", SYNC, .check = create_virtual_disk},
    {NS, "MSFT_StoragePool", "DeleteObject", SYNC, .check = pool_delete},
    {NS, "MSFT_VirtualDisk", "DeleteObject", SYNC, .check = virtual_disk_delete},
    {NS, "MSFT_StorageSetting", "UpdateHostStorageCache", SYNC | IMPL_READS, .check = refresh},
    {NS, "MSFT_StorageSetting", "Get", SYNC | IMPL_READS, .check = setting_get},
    {0},
};

/* ---- what there is ---- */

void dbl_disks_renumber(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    struct storage *s = of(d);
    for (size_t i = 0; i < s->n; i++) {
        uint64_t number = (obj_uint(s->at[i].disk->o, "Number", 0) + 1) % s->n;
        obj_set_uint(s->at[i].disk->o, "Number", number);
        for (size_t k = 0;; k++) {
            struct inst *p = link_other(space_of(d, NS), "MSFT_DiskToPartition", s->at[i].disk, k);
            if (!p)
                break;
            obj_set_uint(p->o, "DiskNumber", number);
        }
    }
    pthread_mutex_unlock(&d->lock);
}

void storage_populate(struct dbl *d)
{
    d->storage = x_calloc(1, sizeof(struct storage));
    struct inst *sub = inst_new(d, NS, "MSFT_StorageSubSystem");
    AUTO_FREE char *name = x_printf("Windows Storage on %s", d->host_name);
    set_object_id(d, sub->o, "StorageSubSystem", "SS:windows");
    obj_set_str(sub->o, "UniqueId", "windows");
    obj_set_str(sub->o, "FriendlyName", name);
    obj_set_str(sub->o, "Model", "Windows Storage");
    obj_set_bool(sub->o, "SupportsStoragePoolCreation", true);
    inst_enter(d, sub);
    struct inst *primordial = inst_new(d, NS, "MSFT_StoragePool");
    set_object_id(d, primordial->o, "StoragePool", "SP:primordial");
    obj_set_str(primordial->o, "UniqueId", "primordial");
    obj_set_str(primordial->o, "FriendlyName", "Primordial");
    obj_set_bool(primordial->o, "IsPrimordial", true);
    inst_enter(d, primordial);
    link_add(d, NS, "MSFT_StorageSubSystemToStoragePool", "StorageSubSystem", sub, "StoragePool", primordial);

    struct inst *os = disk_add(d, "Msft Virtual Disk", "00000001", 127 * GIB, 10, 2, false);
    obj_set_bool(os->o, "IsBoot", true);
    obj_set_bool(os->o, "IsSystem", true);
    obj_set_bool(os->o, "BootFromDisk", true);
    partition_add(d, os, 500 * MIB, GPT_ESP, 0);
    partition_add(d, os, 16 * MIB, GPT_MSR, 0);
    struct inst *c = partition_add(d, os, 120 * GIB, GPT_DATA, 'C');
    obj_set_bool(c->o, "IsBoot", true);
    volume_add(d, c, "NTFS", "Windows", 0);
    struct inst *temp = disk_add(d, "Msft Virtual Disk", "00000002", 32 * GIB, 10, 1, false);
    struct inst *t = partition_add(d, temp, 31 * GIB, NULL, 'D');
    volume_add(d, t, "NTFS", "Temporary Storage", 0);
    disk_add(d, "Msft Virtual Disk", "00000003", 128 * GIB, 10, 0, false);              /* empty, RAW */
    disk_add(d, "Msft Virtual Disk", "00000004", 64 * GIB, 10, 0, false);               /* RAW to Windows: a bare Linux file system */
    disk_add(d, "Microsoft NVMe Direct Disk v2", "00000005", 894 * GIB, 17, 0, false);  /* RAW and ephemeral */
    disk_add(d, "Msft Virtual Disk", "00000006", 256 * GIB, 10, 2, true);               /* offline; with data once it is online */
    disk_add(d, "Msft Virtual Disk", "00000007", 128 * GIB, 10, 0, false);              /* empty, RAW */
    for (size_t i = 0; i < of(d)->n; i++)
        physical_add(d, of(d)->at[i].disk, sub);
}

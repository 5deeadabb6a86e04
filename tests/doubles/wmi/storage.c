/* Windows Storage: disks, partitions, volumes, pools. The disks are those that a recovery host in a cloud may meet, traps included. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/storage.h"

#define NS STORAGE_NS

struct storage *storage_of(struct dbl *d)
{
    return d->storage;
}

struct hidden *hidden_of(struct dbl *d, const struct inst *disk)
{
    for (size_t i = 0; i < storage_of(d)->n; i++)
        if (storage_of(d)->at[i].disk == disk)
            return &storage_of(d)->at[i];
    abort();
}

void storage_object_id(struct dbl *d, struct dobj *o, const char *kind, const char *tail)
{
    AUTO_FREE char *id = x_printf("{1}\\\\%s\\root/Microsoft/Windows/Storage/Providers_v2\\WSP_%s.ObjectId=\"{b5a41c2e-0000-11ee-a1b2-806e6f6e6963}:%s\"",
                                  d->host_name, kind, tail);
    obj_set_str(o, "ObjectId", id);
}

static struct inst *target(struct call *c)
{
    return c->target;
}

uint32_t storage_say(struct call *c, uint32_t code, const char *text)
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

bool storage_is_stale(struct call *c)
{
    return c->d->storage_stale;
}

void storage_changed(struct dbl *d)
{
    d->storage_stale = chance(d, d->o.shuffles ? 150 : 0);
}

/* ---- MSFT_Disk ---- */

void disk_count(struct dbl *d, struct inst *disk)
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
        bool can = raw && !obj_bool(disk->o, "IsOffline", false) && !obj_bool(disk->o, "IsReadOnly", false) && obj_uint(disk->o, "Size", 0) >= 5 * GIB && n == 0;
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
        /* what was there all the time */
        if (hidden_of(d, disk)->real_style && !link_other(space_of(d, NS), "MSFT_DiskToPartition", disk, 0))
            volume_add(d, partition_add(d, disk, obj_uint(disk->o, "Size", 0) - 2 * MIB, GPT_DATA, 0, 0), "NTFS", "Data", 0);
    } else {
        obj_set_uint(disk->o, "OfflineReason", 1);
        obj_set_uint(disk->o, "PartitionStyle", 0);
        struct inst *p, *v;
        while ((p = link_other(space_of(d, NS), "MSFT_DiskToPartition", disk, 0)) != NULL) {
            while ((v = link_other(space_of(d, NS), "MSFT_PartitionToVolume", p, 0)) != NULL)
                inst_remove(d, v);
            inst_remove(d, p);
        }
        hidden_of(d, disk)->used = hidden_of(d, disk)->real_style ? MIB : 0;
    }
    disk_count(d, disk);
}

static uint32_t disk_online(struct call *c)
{
    set_online(c->d, target(c), true);
    return 0;
}

static uint32_t disk_offline(struct call *c)
{
    if (obj_bool(target(c)->o, "IsBoot", false) || obj_bool(target(c)->o, "IsSystem", false))
        return storage_say(c, S_DENIED, "The system disk cannot be taken offline.");
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
    if (storage_is_stale(c))
        return storage_say(c, S_STALE, "The cache is out of date.");
    struct inst *disk = target(c);
    uint64_t style = obj_uint(disk->o, "PartitionStyle", 0);
    if ((obj_has(c->in, "Guid") && style != 2) || (obj_has(c->in, "Signature") && style != 1))
        return storage_say(c, style ? S_INVALID_PARAMETER : S_RAW, "The disk's partition style does not have this.");
    if (obj_has(c->in, "IsReadOnly"))
        obj_set_bool(disk->o, "IsReadOnly", obj_bool(c->in, "IsReadOnly", false));
    if (obj_has(c->in, "Guid"))
        obj_set_str(disk->o, "Guid", obj_str(c->in, "Guid"));
    if (obj_has(c->in, "Signature"))
        obj_set_uint(disk->o, "Signature", obj_uint(c->in, "Signature", 0));
    if (style)
        bytes_table(c->d, disk);
    disk_count(c->d, disk);
    return 0;
}

static uint32_t usable(struct call *c, const struct inst *disk)
{
    if (storage_is_stale(c))
        return storage_say(c, S_STALE, "The cache is out of date.");
    if (obj_bool(disk->o, "IsOffline", false))
        return storage_say(c, S_OFFLINE, "The disk is offline.");
    if (obj_bool(disk->o, "IsReadOnly", false))
        return storage_say(c, S_READ_ONLY, "The disk is read-only.");
    return 0;
}

struct inst *partition_add(struct dbl *d, struct inst *disk, uint64_t size, const char *gpt_type, unsigned mbr_type, uint16_t letter)
{
    struct hidden *h = hidden_of(d, disk);
    struct inst *p = inst_new(d, NS, "MSFT_Partition");
    char guid[37];
    guid_new(d, guid);
    size_t number = obj_uint(disk->o, "NumberOfPartitions", 0) + 1;
    AUTO_FREE char *tail = x_printf("PR:{%s}\\\\?\\disk", guid), *braced = x_printf("{%s}", guid);
    storage_object_id(d, p->o, "Partition", tail);
    obj_set_str(p->o, "DiskId", obj_str(disk->o, "Path"));
    obj_set_uint(p->o, "DiskNumber", obj_uint(disk->o, "Number", 0));
    obj_set_uint(p->o, "PartitionNumber", number);
    obj_set_uint(p->o, "Size", size);
    obj_set_uint(p->o, "Offset", h->used ? h->used : MIB);
    obj_set_str(p->o, "Guid", braced);
    if (gpt_type)
        obj_set_str(p->o, "GptType", gpt_type);
    if (mbr_type)
        obj_set_uint(p->o, "MbrType", mbr_type);
    if (letter) {
        AUTO_FREE char *path = x_printf("%c:\\", (char)letter);
        obj_set_uint(p->o, "DriveLetter", letter);
        obj_set_strs(p->o, "AccessPaths", (const char *const[]){path}, 1);
    }
    inst_enter(d, p);
    link_add(d, NS, "MSFT_DiskToPartition", "Disk", disk, "Partition", p);
    h->used += size;
    disk_count(d, disk);
    return p;
}

static void add_path(struct inst *p, const char *path);

struct inst *volume_add(struct dbl *d, struct inst *partition, const char *file_system, const char *label, int64_t delay_ms)
{
    struct inst *v = inst_new(d, NS, "MSFT_Volume");
    AUTO_FREE char *path = x_printf("\\\\?\\Volume{5d1f%04x-0000-4000-8000-000000000000}\\", ++storage_of(d)->volumes), *tail = x_printf("VO:%s", path);
    storage_object_id(d, v->o, "Volume", tail);
    obj_set_str(v->o, "Path", path);
    add_path(partition, path);
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

char *volume_folder(struct dbl *d, const struct inst *volume)
{
    return d->work_dir ? x_printf("%s/volume-%.9s", d->work_dir, strchr(obj_str(volume->o, "Path"), '{') + 1) : NULL;
}

static void make_folder(struct dbl *d, const struct inst *volume)
{
    AUTO_FREE char *folder = volume_folder(d, volume);
    struct err e;
    if (folder && (os_remove_tree(folder, &e) < 0 || os_mkdirs(folder, 0, &e) < 0))
        abort();
}

static uint32_t disk_initialize(struct call *c)
{
    struct inst *disk = target(c);
    uint64_t style = obj_uint(c->in, "PartitionStyle", 2);
    uint32_t r = usable(c, disk);
    if (r)
        return r;
    if (obj_uint(disk->o, "PartitionStyle", 0) != 0)
        return storage_say(c, S_INITIALIZED, "The disk has already been initialized.");
    if (style != 1 && style != 2)
        return storage_say(c, S_INVALID_PARAMETER, "Invalid parameter.");
    char guid[37];
    guid_new(c->d, guid);
    AUTO_FREE char *braced = x_printf("{%s}", guid);
    hidden_of(c->d, disk)->real_style = style;
    obj_set_uint(disk->o, "PartitionStyle", style);
    hidden_of(c->d, disk)->used = MIB;
    if (style == 2)
        obj_set_str(disk->o, "Guid", braced);
    else
        obj_set_uint(disk->o, "Signature", 1 + rnd(c->d, 0x7FFFFFFF));
    bytes_table(c->d, disk);
    if (style == 2)                                    /* it gains a Microsoft reserved partition */
        partition_add(c->d, disk, (schema_build(c->d->schema) < 17763 ? 128 : 16) * MIB, GPT_MSR, 0, 0);
    disk_count(c->d, disk);
    storage_changed(c->d);
    return 0;
}

/* Refused while there is a partition with data, unless that may go; reserved ones do not count. */
static uint32_t disk_clear(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *disk = target(c), *p;
    const char *serial = obj_str(disk->o, "SerialNumber");
    uint32_t r = usable(c, disk);
    if (r)
        return r;
    if (obj_bool(disk->o, "IsBoot", false) || obj_bool(disk->o, "IsSystem", false))
        return storage_say(c, S_CRITICAL, "The operation is not supported on a critical disk.");
    if (obj_uint(disk->o, "PartitionStyle", 0) == 0)
        return storage_say(c, S_RAW, "The disk has not been initialized.");
    for (size_t i = 0; (p = link_other(space_of(d, NS), "MSFT_DiskToPartition", disk, i)) != NULL; i++)
        if (!obj_bool(c->in, "RemoveData", false) && !(obj_str(p->o, "GptType") && str_ieq(obj_str(p->o, "GptType"), GPT_MSR)))
            return storage_say(c, S_HAS_DATA, "Cannot clear with data partitions present.");
    while ((p = link_other(space_of(d, NS), "MSFT_DiskToPartition", disk, 0)) != NULL)
        inst_remove(d, p);
    hidden_of(d, disk)->real_style = hidden_of(d, disk)->used = 0;
    obj_set_uint(disk->o, "PartitionStyle", 0);
    obj_unset(disk->o, "Guid");
    obj_unset(disk->o, "Signature");
    bytes_table(d, disk);
    bool zero = obj_bool(c->in, "ZeroOutEntireDisk", false);
    if (zero)
        bytes_zero(d, serial, 0, obj_uint(disk->o, "Size", 0));
    disk_count(d, disk);
    storage_changed(d);
    return zero && schema_member(&c->method->in, "RunAsJob") >= 0 && obj_bool(c->in, "RunAsJob", false) ? storage_as_job(c, 60000) : 0;
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
        return storage_say(c, S_RAW, "The disk has not been initialized.");
    if ((size != 0) == whole)
        return storage_say(c, S_EXCLUSIVE, "Exactly one of Size and UseMaximumSize is needed.");
    if (letter && assign)
        return storage_say(c, S_INVALID_PARAMETER, "DriveLetter and AssignDriveLetter exclude each other.");
    if (obj_has(c->in, style == 2 ? "MbrType" : "GptType"))
        return storage_say(c, S_TYPE, "The partition type is not valid for this disk.");
    uint64_t free_bytes = obj_uint(disk->o, "LargestFreeExtent", 0);
    if (whole)
        size = free_bytes / MIB * MIB - MIB;
    if (!size || size > free_bytes)
        return storage_say(c, S_NO_SPACE, "Not enough available capacity.");
    const char *type = obj_str(c->in, "GptType");
    bool taken = letter && letter_taken(d, letter);
    for (letter = assign ? 'E' : letter; assign && letter_taken(d, letter) && letter < 'Z';)
        letter++;
    struct inst *p = partition_add(d, disk, size, style == 2 ? (type ? type : GPT_DATA) : NULL, style == 1 ? (unsigned)obj_uint(c->in, "MbrType", 7) : 0,
                                   taken ? 0 : (uint16_t)letter);
    /* a file system that was there before, and whose first sector nobody wrote over, is there again */
    AUTO_FREE char *left = bytes_left_label(d, obj_str(disk->o, "SerialNumber"), obj_uint(p->o, "Offset", 0));
    struct inst *v = volume_add(d, p, left ? "NTFS" : NULL, left, d->o.shuffles ? 500 + rnd(d, 4000) : 0);
    make_folder(d, v);
    obj_set_obj(c->out, "CreatedPartition", obj_clone(p->o));
    storage_changed(d);
    return taken ? S_PATH_IN_USE : 0;
}

/* ---- MSFT_Partition ---- */

static struct inst *disk_of(struct dbl *d, struct inst *partition)
{
    return link_other(space_of(d, NS), "MSFT_DiskToPartition", partition, 0);
}

static void add_path(struct inst *p, const char *path)
{
    size_t n = obj_n(p->o, "AccessPaths");
    char **paths = x_calloc(n + 2, sizeof *paths);
    for (size_t i = 0; i < n; i++)
        paths[i] = x_dup(obj_str_at(p->o, "AccessPaths", i));
    paths[n] = x_dup(path);
    obj_set_strs(p->o, "AccessPaths", (const char *const *)paths, n + 1);
    wmi_strs_free(paths);
}

static int on_entry(void *arg, const char *name)
{
    (void)arg, (void)name;
    return 1;
}

static char *without_end(const char *path)
{
    char *s = x_dup(path);
    size_t n = strlen(s);
    if (n && (s[n - 1] == '/' || s[n - 1] == '\\'))
        s[n - 1] = 0;
    return s;
}

/* What lies on the volume appears in the folder, which must be there and be empty. */
static bool take_folder(struct dbl *d, struct inst *p, const char *path)
{
    struct inst *v = link_other(space_of(d, NS), "MSFT_PartitionToVolume", p, 0);
    AUTO_FREE char *from = v ? volume_folder(d, v) : NULL, *to = without_end(path);
    struct err e;
    if (!v || !obj_str(v->o, "FileSystem") || !*obj_str(v->o, "FileSystem"))
        return false;
    return !from || (os_list_dir(to, on_entry, NULL, &e) == 0 && os_remove_empty_dir(to, &e) == 0 && rename(from, to) == 0);
}

static void give_folder_back(struct dbl *d, struct inst *p, const char *path)
{
    struct inst *v = link_other(space_of(d, NS), "MSFT_PartitionToVolume", p, 0);
    AUTO_FREE char *to = v ? volume_folder(d, v) : NULL, *from = without_end(path);
    struct err e;
    if (to && !str_starts(path, "\\\\") && strlen(path) > 3 && (rename(from, to) < 0 || os_mkdirs(from, 0, &e) < 0))
        abort();
}

static uint32_t add_access_path(struct call *c)
{
    struct inst *p = target(c);
    const char *path = obj_str(c->in, "AccessPath");
    bool assign = obj_bool(c->in, "AssignDriveLetter", false);
    if ((path != NULL) == assign)
        return storage_say(c, S_INVALID_PARAMETER, "Exactly one of AccessPath and AssignDriveLetter is needed.");
    if (path && strlen(path) < 2)
        return storage_say(c, S_BAD_PATH, "The access path is not valid.");
    struct space *s = space_of(c->d, NS);
    for (size_t i = 0; path && i < s->n; i++)
        for (size_t k = 0; schema_isa(s->at[i]->o->class, "MSFT_Partition") && k < obj_n(s->at[i]->o, "AccessPaths"); k++)
            if (str_ieq(obj_str_at(s->at[i]->o, "AccessPaths", k), path))
                return storage_say(c, S_PATH_IN_USE, "The access path is already in use.");
    uint64_t letter = 'E';
    while (assign && letter_taken(c->d, letter) && letter < 'Z')
        letter++;
    AUTO_FREE char *own = assign ? x_printf("%c:\\", (char)letter) : x_dup(path);
    bool is_letter = !assign && path[1] == ':' && strlen(path) <= 3;
    if (is_letter && letter_taken(c->d, (uint64_t)path[0]))
        return storage_say(c, S_PATH_IN_USE, "The access path is already in use.");
    if (!assign && !is_letter && !take_folder(c->d, p, path))
        return storage_say(c, S_BAD_PATH, "The access path is not valid.");
    if (is_letter)
        own[1] = ':', letter = (uint64_t)path[0];
    AUTO_FREE char *root = is_letter ? x_printf("%c:\\", path[0]) : NULL;
    add_path(p, root ? root : own);
    if (assign || is_letter)
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
        else
            give_folder_back(c->d, p, path);
    obj_set_strs(p->o, "AccessPaths", (const char *const *)paths, k);
    wmi_strs_free(paths);
    if (k < n && path[1] == ':' && strlen(path) <= 3)
        obj_unset(p->o, "DriveLetter");
    return k < n ? 0 : storage_say(c, S_BAD_PATH, "The access path is not valid.");
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
    for (size_t i = 0; i < obj_n(p->o, "AccessPaths"); i++)
        give_folder_back(d, p, obj_str_at(p->o, "AccessPaths", i));
    while ((v = link_other(space_of(d, NS), "MSFT_PartitionToVolume", p, 0)) != NULL)
        inst_remove(d, v);
    if (disk)
        hidden_of(d, disk)->used -= obj_uint(p->o, "Size", 0);
    inst_remove(d, p);
    c->target = NULL;
    if (disk)
        disk_count(d, disk);
    storage_changed(d);
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

uint32_t storage_as_job(struct call *c, unsigned ms)
{
    struct dbl *d = c->d;
    char guid[37];
    guid_new(d, guid);
    struct inst *j = inst_new(d, NS, "MSFT_StorageJob");
    storage_object_id(d, j->o, "StorageJob", guid);
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

static bool has_folder(const struct inst *partition)
{
    for (size_t i = 0; i < obj_n(partition->o, "AccessPaths"); i++) {
        const char *path = obj_str_at(partition->o, "AccessPaths", i);
        if (!str_starts(path, "\\\\") && strlen(path) > 3)
            return true;
    }
    return false;
}

/* ReTrim: what the file system does not use reads as zeros, where the disk can. */
static uint32_t optimize(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *v = target(c), *p = link_other(space_of(d, NS), "MSFT_PartitionToVolume", v, 0), *disk = p ? disk_of(d, p) : NULL;
    if (!obj_bool(c->in, "ReTrim", false) || !disk || choose(d, DBL_NO_TRIM))
        return storage_say(c, S_NOT_SUPPORTED, "The volume optimization operation requested is not supported by the hardware backing the volume.");
    uint64_t offset = obj_uint(p->o, "Offset", 0), size = obj_uint(p->o, "Size", 0);
    bytes_zero(d, obj_str(disk->o, "SerialNumber"), offset + 512, offset + size - 512);
    bool job = schema_member(&c->method->in, "RunAsJob") >= 0 && obj_bool(c->in, "RunAsJob", false);
    return job ? storage_as_job(c, 2000) : 0;
}

static uint32_t format(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *v = target(c), *p = link_other(space_of(d, NS), "MSFT_PartitionToVolume", v, 0), *disk = p ? disk_of(d, p) : NULL;
    const char *fs = obj_str(c->in, "FileSystem");
    uint64_t cluster = obj_uint(c->in, "AllocationUnitSize", 4096);
    bool refs = fs && str_ieq(fs, "ReFS");
    uint32_t r = disk ? usable(c, disk) : 0;
    if (r)
        return r;
    if (p && (obj_bool(p->o, "IsSystem", false) || obj_bool(p->o, "IsBoot", false)))
        return storage_say(c, S_DENIED, "The system volume cannot be formatted.");
    if (!fs || (!refs && !str_ieq(fs, "NTFS") && !str_ieq(fs, "FAT32") && !str_ieq(fs, "exFAT")))
        return storage_say(c, S_FILE_SYSTEM, "The file system is not supported.");
    if ((cluster & (cluster - 1)) || cluster < 512 || cluster > 65536 || (refs && cluster != 4096 && cluster != 65536))
        return storage_say(c, S_CLUSTER_SIZE, "The cluster size is not valid.");
    if (obj_bool(c->in, "Compress", false) && (refs || cluster > 4096))
        return storage_say(c, S_INVALID_PARAMETER, "Compression is not available.");
    obj_set_str(v->o, "FileSystem", refs ? "ReFS" : fs);
    obj_set_str(v->o, "FileSystemLabel", obj_str(c->in, "FileSystemLabel") ? obj_str(c->in, "FileSystemLabel") : "");
    obj_set_uint(v->o, "AllocationUnitSize", cluster);
    if (p)
        bytes_format(d, p, obj_str(v->o, "FileSystemLabel"));
    if (p && !has_folder(p))
        make_folder(d, v);
    if (!d->o.real_time)
        d->clock_ms += d->o.shuffles ? rnd(d, 60000) : 2000;
    if (schema_member(&c->method->in, "RunAsJob") >= 0 && obj_bool(c->in, "RunAsJob", false))
        return storage_as_job(c, 5000);
    obj_set_obj(c->out, "FormattedVolume", obj_clone(v->o));
    return 0;
}

/* ---- disks ---- */

struct inst *disk_add(struct dbl *d, const char *model, const char *serial, uint64_t size, unsigned bus, unsigned number, uint64_t style, bool offline)
{
    struct storage *s = storage_of(d);
    struct inst *disk = inst_new(d, NS, "MSFT_Disk");
    AUTO_FREE char *tail = x_printf("DI:\\\\?\\scsi#disk&ven_msft#%s", serial), *id = x_printf("60022480%s", serial), *path = x_printf("\\\\?\\scsi#disk&ven_msft#%s#{53f56307-b6bf-11d0-94f2-00a0c91efb8b}", serial);
    storage_object_id(d, disk->o, "Disk", tail);
    obj_set_str(disk->o, "UniqueId", id);
    obj_set_str(disk->o, "Path", path);
    obj_set_uint(disk->o, "Number", number);
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
    AUTO_FREE char *guid = x_printf("{5d1e0000-0000-4000-8000-%012x}", number);
    if (style == 2)
        obj_set_str(disk->o, "Guid", guid);
    else if (style == 1)
        obj_set_uint(disk->o, "Signature", 0x1D00D1E5);
    inst_enter(d, disk);
    s->at[s->n++] = (struct hidden){.disk = disk, .real_style = style, .used = style ? MIB : 0};
    if (number >= s->next_number)
        s->next_number = number + 1;
    if (style)
        bytes_table(d, disk);
    return disk;
}

struct inst *physical_add(struct dbl *d, struct inst *disk)
{
    struct inst *p = inst_new(d, NS, "MSFT_PhysicalDisk");
    AUTO_FREE char *tail = x_printf("PD:{%s}", obj_str(disk->o, "SerialNumber")), *number = x_printf("%u", (unsigned)obj_uint(disk->o, "Number", 0));
    storage_object_id(d, p->o, "PhysicalDisk", tail);
    obj_set_str(p->o, "UniqueId", obj_str(disk->o, "UniqueId"));
    obj_set_str(p->o, "DeviceId", number);
    obj_set_str(p->o, "FriendlyName", obj_str(disk->o, "FriendlyName"));
    obj_set_str(p->o, "SerialNumber", obj_str(disk->o, "SerialNumber"));
    obj_set_uint(p->o, "Size", obj_uint(disk->o, "Size", 0));
    obj_set_uint(p->o, "BusType", obj_uint(disk->o, "BusType", 0));
    obj_set_uint(p->o, "LogicalSectorSize", obj_uint(disk->o, "LogicalSectorSize", 512));
    obj_set_str(p->o, "Model", obj_str(disk->o, "Model"));
    obj_set_uint(p->o, "HealthStatus", 0);
    obj_set_uint(p->o, "MediaType", 4);
    inst_enter(d, p);
    link_add(d, NS, "MSFT_StorageSubSystemToPhysicalDisk", "StorageSubSystem", storage_of(d)->subsystem, "PhysicalDisk", p);
    disk_count(d, disk);
    return p;
}

void disk_forget(struct dbl *d, struct inst *disk)
{
    struct storage *s = storage_of(d);
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

struct inst *disk_by_serial(struct dbl *d, const char *serial)
{
    return inst_by_key(d, NS, "MSFT_Disk", "SerialNumber", serial);
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
    {NS, "MSFT_Disk", "Clear", SYNC, .check = disk_clear},
    {NS, "MSFT_Partition", "AddAccessPath", SYNC, .check = add_access_path},
    {NS, "MSFT_Partition", "RemoveAccessPath", SYNC, .check = remove_access_path},
    {NS, "MSFT_Partition", "SetAttributes", SYNC, .check = partition_attributes},
    {NS, "MSFT_Partition", "DeleteObject", SYNC, .check = partition_delete},
    {NS, "MSFT_Volume", "Format", SYNC, .check = format},
    {NS, "MSFT_Volume", "Optimize", SYNC, .check = optimize},
    {NS, "MSFT_StorageSetting", "UpdateHostStorageCache", SYNC | IMPL_READS, .check = refresh},
    {NS, "MSFT_StorageSetting", "Get", SYNC | IMPL_READS, .check = setting_get},
    {0},
};

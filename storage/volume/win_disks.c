/* The facts about every disk, from Windows' storage classes; hostdisk_judge knows what to make of them.
 *
 * Windows has disks twice: MSFT_Disk, what can have a partition table, and MSFT_PhysicalDisk, what can be in a pool. A disk in a pool is no MSFT_Disk any
 * more; the virtual disk of a pool is one, and no physical disk. */
#include <stdio.h>
#include <string.h>

#include "storage/volume/mark.h"
#include "storage/volume/win.h"

#define LDM_METADATA "{5808c8aa-7e8f-42e0-85d2-e1e90434cfb3}"
#define LDM_DATA "{af9b60a0-1431-4f62-bc68-3311714a69ad}"
#define MBR_LDM 0x42u
#define NO_MEDIUM 0xD012u
#define PASS_THROUGH "Microsoft:Hyper-V:Physical Disk Drive"

enum { CANNOT_IN_POOL = 2, CANNOT_UNHEALTHY = 3, CANNOT_REMOVABLE = 4, CANNOT_CLUSTER = 5 };             /* MSFT_PhysicalDisk.CannotPoolReason */

static enum hostdisk_bus bus_of(uint64_t type)
{
    static const enum hostdisk_bus buses[] = {[1] = HOSTDISK_SCSI, [3] = HOSTDISK_ATA, [6] = HOSTDISK_FC, [7] = HOSTDISK_USB, [8] = HOSTDISK_RAID,
                                              [9] = HOSTDISK_ISCSI, [10] = HOSTDISK_SAS, [11] = HOSTDISK_SATA, [12] = HOSTDISK_SD, [13] = HOSTDISK_MMC,
                                              [14] = HOSTDISK_VIRTUAL, [15] = HOSTDISK_FILE, [16] = HOSTDISK_SPACES, [17] = HOSTDISK_NVME};
    return type < ARRAY_LEN(buses) ? buses[type] : HOSTDISK_BUS_OTHER;
}

/* Text without spaces around it, which serial numbers have; "" for none. NULL: no memory. */
static char *trimmed(const struct wmi_object *o, const char *name)
{
    AUTO_FREE char *all = wmi_str(o, name);
    const char *s = all ? all + strspn(all, " \t") : "";
    size_t n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        n--;
    return str_ndup(s, n);
}

/* "{…}" as GUIDs are written elsewhere. */
static char *bare_guid(const struct wmi_object *o, const char *name)
{
    char *s = wmi_str(o, name);
    size_t n = s ? strlen(s) : 0;
    if (n > 2 && s[0] == '{' && s[n - 1] == '}') {
        memmove(s, s + 1, n - 2);
        s[n - 2] = 0;
    }
    return s;
}

static bool set_text(char **to, const char *text)
{
    if (!*to)
        *to = str_dup(text);
    return *to != NULL;
}

/* What both classes say alike. */
static int add_common(struct win_host *h, struct hostdisk *d, const struct wmi_object *disk, const struct wmi_object *physical, struct err *e)
{
    const struct wmi_object *o = disk ? disk : physical;
    AUTO_FREE char *object = wmi_str(physical ? physical : disk, "ObjectId"), *name = trimmed(o, "FriendlyName");
    AUTO_FREE char *number = disk ? str_printf("%u", (unsigned)wmi_uint(disk, "Number", 0)) : wmi_str(physical, "DeviceId");
    d->id = win_id(disk, physical);
    d->model = trimmed(o, "Model");
    d->serial = trimmed(o, "SerialNumber");
    d->moment = str_printf("%s/%s", h->p->run, object ? object : "");
    d->device = str_printf(WIN_DEVICE "%s", number ? number : "?");
    d->size = wmi_uint(o, "Size", 0);
    d->sector = (uint32_t)wmi_uint(o, "LogicalSectorSize", 0);
    d->bus = bus_of(wmi_uint(o, "BusType", 0));
    if (d->model && !*d->model && name) {            /* virtual disks have a name alone */
        free(d->model);
        d->model = STEAL(name);
    }
    if (!d->id || !d->model || !d->serial || !d->moment || !d->device)
        return err_oom(e);
    /* the disks of a cloud's host itself, as its newer machine sizes show them */
    if (strstr(d->model, "NVMe Direct Disk"))
        d->role = HOSTDISK_TEMPORARY;
    static const char *const healths[] = {NULL, "Windows warns of it", "Windows says that it is failing"};
    uint64_t health = wmi_uint(o, "HealthStatus", 0);
    const char *text = health < ARRAY_LEN(healths) ? healths[health] : "Windows does not know its health";
    return !text || set_text(&d->health, text) ? 0 : err_oom(e);
}

static int add_physical(struct hostdisk *d, const struct wmi_object *physical, struct err *e)
{
    uint64_t reason;
    bool ok = true;
    for (size_t i = 0; (reason = wmi_uint_at(physical, "CannotPoolReason", i, 0)) != 0; i++) {
        d->pooled |= reason == CANNOT_IN_POOL;
        d->removable |= reason == CANNOT_REMOVABLE;
        d->clustered |= reason == CANNOT_CLUSTER;
        if (reason == CANNOT_UNHEALTHY)
            ok &= set_text(&d->health, "Storage Spaces does not take it");
    }
    return ok ? 0 : err_oom(e);
}

/* ---- partitions ---- */

static int add_content(struct win_host *h, struct hostdisk *d, struct hostdisk_part *part, const struct wmi_object *partition, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *volume = NULL;
    int r = win_volume_on(h, partition, 0, &volume, e);
    part->mounted = win_path_to(partition);
    if (r < 0 || !volume)
        return r;
    part->content.type = win_file_system(volume);
    if (part->content.type)
        part->content.label = wmi_str(volume, "FileSystemLabel");
    part->device = wmi_str(volume, "Path");
    /* how the disk that a cloud's host lends to a VM is formatted there */
    if (part->content.label && str_ieq(part->content.label, "Temporary Storage") && d->role == HOSTDISK_DATA)
        d->role = HOSTDISK_TEMPORARY;
    return 0;
}

static int add_partition(struct win_host *h, struct hostdisk *d, const struct wmi_object *partition, struct err *e)
{
    struct hostdisk_part *part = hostdisk_add_part(d);
    if (!part)
        return err_oom(e);
    uint64_t mbr = wmi_uint(partition, "MbrType", 0);
    part->number = (unsigned)wmi_uint(partition, "PartitionNumber", 0);
    part->offset = wmi_uint(partition, "Offset", 0);
    part->size = wmi_uint(partition, "Size", 0);
    part->type = d->table == HOSTDISK_MBR ? str_printf("%02x", (unsigned)mbr) : bare_guid(partition, "GptType");
    part->id = bare_guid(partition, "Guid");
    part->hidden_by_system = win_is_reserved(partition);
    AUTO_FREE char *type = wmi_str(partition, "GptType");
    d->dynamic |= mbr == MBR_LDM || (type && (str_ieq(type, LDM_METADATA) || str_ieq(type, LDM_DATA)));
    if (wmi_bool(partition, "IsBoot", false) || wmi_bool(partition, "IsSystem", false))
        d->role = HOSTDISK_OS;
    return part->hidden_by_system ? 0 : add_content(h, d, part, partition, e);
}

static int add_partitions(struct win_host *h, struct hostdisk *d, const struct wmi_object *disk, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = win_others(h, disk, "MSFT_DiskToPartition", &rows, e);
    for (size_t i = 0; i < rows.n && r == 0; i++)
        r = add_partition(h, d, rows.at[i], e);
    wmi_rows_clear(&rows);
    return r;
}

/* ---- ours ---- */

static int recognise(struct win_host *h, struct hostdisk *d, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL, *volume = NULL;
    AUTO_FREE char *id = NULL;
    char guid[UUID_LEN];
    struct volume_plan p = {0};
    uint32_t number;
    size_t n = 0;
    /* GUIDs of ours are of version 8, which chance never makes: other volumes are left alone */
    bool may = d->bus != HOSTDISK_SPACES && d->table_id && (d->table == HOSTDISK_MBR || (strlen(d->table_id) == 36 && d->table_id[14] == '8'));
    int r = may ? win_data_partitions(h, disk, &partition, &n, e) : 0;
    if (r < 0 || n != 1 || (r = win_volume_on(h, partition, 0, &volume, e)) < 0 || !volume || (r = win_read_mark(h, partition, volume, &id, e)) < 0 || !id)
        return r;
    memcpy(p.id, id, UUID_LEN);
    if ((r = volume_guid(id, "disk", 0, guid, e)) < 0 || (r = mark_mbr_id(&p, &number, e)) < 0)
        return r;
    if (d->table == HOSTDISK_GPT ? str_ieq(guid, d->table_id) : strtoul(d->table_id, NULL, 16) == number)
        d->volume = STEAL(id);
    return 0;
}

static int add_disk(struct win_host *h, struct hostdisk *d, const struct wmi_object *disk, const struct wmi_object *physical, struct err *e)
{
    int r = add_common(h, d, disk, physical, e);
    if (r == 0 && physical)
        r = add_physical(d, physical, e);
    if (r < 0)
        return r;
    static const enum hostdisk_table tables[] = {HOSTDISK_NO_TABLE, HOSTDISK_MBR, HOSTDISK_GPT};
    uint64_t style = wmi_uint(disk, "PartitionStyle", 0), status;
    d->table = style < ARRAY_LEN(tables) ? tables[style] : HOSTDISK_OTHER_TABLE;
    d->table_id = d->table == HOSTDISK_GPT ? bare_guid(disk, "Guid") : d->table == HOSTDISK_MBR ? str_printf("0x%08x", (unsigned)wmi_uint(disk, "Signature", 0)) : NULL;
    d->offline = wmi_bool(disk, "IsOffline", false);
    d->offline_reason = d->offline ? (unsigned)wmi_uint(disk, "OfflineReason", 0) : 0;
    d->read_only = wmi_bool(disk, "IsReadOnly", false);
    d->clustered |= wmi_bool(disk, "IsClustered", false);
    for (size_t i = 0; (status = wmi_uint_at(disk, "OperationalStatus", i, 0)) != 0; i++)
        d->no_medium |= status == NO_MEDIUM;
    r = d->table != HOSTDISK_NO_TABLE || wmi_uint(disk, "NumberOfPartitions", 0) ? add_partitions(h, d, disk, e) : 0;
    if (wmi_bool(disk, "IsBoot", false) || wmi_bool(disk, "IsSystem", false) || wmi_bool(disk, "BootFromDisk", false))
        d->role = HOSTDISK_OS;
    return r < 0 ? r : recognise(h, d, disk, e);
}

/* ---- pools ---- */

/* A disk that only Storage Spaces knows. */
static int add_hidden(struct win_host *h, struct hostdisk *d, const struct wmi_object *physical, struct err *e)
{
    int r = add_common(h, d, NULL, physical, e);
    if (r == 0)
        r = add_physical(d, physical, e);
    if (r == 0 && !d->pooled)
        d->claimed = true;                           /* Windows shows it to nobody, and does not say why */
    return r;
}

/* The one that a physical disk is, by its id. */
static struct hostdisk *listed(struct hostdisks *l, const struct win_map *m, const struct wmi_object *physical)
{
    const struct wmi_object *disk = win_disk_of(m, physical);
    AUTO_FREE char *id = win_id(disk, physical);
    return id ? hostdisks_find(l, id) : NULL;
}

static int add_pool(struct win_host *h, struct hostdisks *l, const struct win_map *m, const struct wmi_object *pool, struct err *e)
{
    AUTO_FREE char *name = wmi_str(pool, "FriendlyName"), *ours = win_pool_volume(pool);
    struct wmi_rows members = {0};
    int r = win_others(h, pool, "MSFT_StoragePoolToPhysicalDisk", &members, e);
    for (size_t i = 0; i < members.n && r == 0; i++) {
        struct hostdisk *d = listed(l, m, members.at[i]);
        if (!d)
            continue;
        d->pooled = true;
        if (!d->holders && !(d->holders = str_printf("the storage pool %s", name ? name : "")))
            r = err_oom(e);
        if (ours && !d->volume && !(d->volume = str_dup(ours)))
            r = err_oom(e);
    }
    wmi_rows_clear(&members);
    return r;
}

static int add_pools(struct win_host *h, struct hostdisks *l, const struct win_map *m, struct err *e)
{
    struct wmi_rows pools = {0};
    int r = win_query(h, &pools, e, "SELECT * FROM MSFT_StoragePool WHERE IsPrimordial=FALSE");
    for (size_t i = 0; i < pools.n && r == 0; i++)
        r = add_pool(h, l, m, pools.at[i], e);
    wmi_rows_clear(&pools);
    return r;
}

/* ---- disks that VMs use as they are ---- */

static int each_pass_through(struct win_host *h, struct hostdisks *l, const struct wmi_object *setting, const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *drive = NULL;
    AUTO(wmi_strs_free_ptr) char **paths = wmi_strs(setting, "HostResource");
    if (!paths || !paths[0])
        return 0;                                     /* a template, or a drive without a disk */
    int r = wmi_get(h->hyperv, paths[0], w, &drive, e);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    AUTO_FREE char *device = str_printf(WIN_DEVICE "%u", (unsigned)wmi_uint(drive, "DriveNumber", UINT32_MAX));
    for (size_t i = 0; i < l->n && device && r == 0; i++)
        if (str_ieq(l->at[i].device, device) && !set_text(&l->at[i].user, "a VM of Hyper-V"))
            r = err_oom(e);
    return device ? r : err_oom(e);
}

/* Without Hyper-V there are none. */
static int add_pass_through(struct win_host *h, struct hostdisks *l, struct err *e)
{
    struct wmi_wait w = {.timeout_ms = WIN_READ_MS, .stop = h->base.cfg.stop, .arg = h->base.cfg.arg};
    struct wmi_rows rows = {0};
    int r = h->hyperv ? 0 : wmi_open(h->p->wmi, h->p->wmi_arg, WMI_NS_HYPERV, &w, &h->hyperv, e);
    if (r < 0)
        return wmi_hresult(e) == WMI_E_INVALID_NAMESPACE ? 0 : r;
    r = wmi_query(h->hyperv, "SELECT * FROM Msvm_ResourceAllocationSettingData WHERE ResourceSubType='" PASS_THROUGH "'", WMI_ROWS_MAX, &w, &rows, e);
    for (size_t i = 0; i < rows.n && r == 0; i++)
        r = each_pass_through(h, l, rows.at[i], &w, e);
    wmi_rows_clear(&rows);
    return r;
}

int win_disks(struct win_host *h, struct hostdisks *ret, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    AUTO(win_map_clear) struct win_map m = {0};
    int r = win_map_read(h, &m, e);
    for (size_t i = 0; i < m.disks.n && r == 0; i++) {
        struct hostdisk *d = hostdisks_add(&l);
        r = d ? add_disk(h, d, m.disks.at[i], win_physical_of(&m, m.disks.at[i]), e) : err_oom(e);
    }
    for (size_t i = 0; i < m.physical.n && r == 0; i++) {
        if (win_disk_of(&m, m.physical.at[i]))
            continue;
        struct hostdisk *d = hostdisks_add(&l);
        r = d ? add_hidden(h, d, m.physical.at[i], e) : err_oom(e);
    }
    if (r == 0)
        r = add_pools(h, &l, &m, e);
    if (r == 0)
        r = add_pass_through(h, &l, e);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct hostdisks){0};
    return 0;
}

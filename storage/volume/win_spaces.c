/* Several disks as one: a pool of Storage Spaces that is made of the first disk and takes the others one by one, a virtual disk that stripes over all of them,
 * and on that a table with one partition. The pool's description has the volume's id. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/volume/win.h"

#define APPEAR_MS 60000u
#define APPEAR_LOOK_MS 500u
#define INTERLEAVE 65536u                            /* of a stripe, as the clusters of the file system */
#define USAGE_OTHER 1u
#define PROVISIONING_FIXED 2u

char *win_pool_volume(const struct wmi_object *pool)
{
    AUTO_FREE char *text = wmi_str(pool, "OtherUsageDescription");
    const char *id = text && str_starts(text, WIN_POOL_TEXT) ? text + strlen(WIN_POOL_TEXT) : NULL;
    return id && crypto_is_uuid(id) ? str_dup(id) : NULL;
}

int win_pool_of(struct win_host *h, const char *volume_id, struct wmi_object **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = win_query(h, &rows, e, "SELECT * FROM MSFT_StoragePool WHERE IsPrimordial=FALSE");
    *ret = NULL;
    for (size_t i = 0; i < rows.n && r == 0 && !*ret; i++) {
        AUTO_FREE char *id = win_pool_volume(rows.at[i]);
        if (id && !strcmp(id, volume_id))
            *ret = STEAL(rows.at[i]);
    }
    wmi_rows_clear(&rows);
    return r;
}

int win_space_of(struct win_host *h, const struct wmi_object *pool, struct wmi_object **ret, struct err *e)
{
    return win_other(h, pool, "MSFT_StoragePoolToVirtualDisk", ret, e);
}

int win_space_disk(struct win_host *h, const struct wmi_object *space, unsigned wait_ms, struct wmi_object **ret, struct err *e)
{
    int64_t deadline = h->p->ops->now_ms(h->p->arg) + wait_ms;
    for (;;) {
        int r = win_other(h, space, "MSFT_VirtualDiskToDisk", ret, e);
        if (r < 0 || *ret || h->p->ops->now_ms(h->p->arg) >= deadline)
            return r;
        if ((r = win_sleep(h, APPEAR_LOOK_MS, e)) < 0)
            return r;
    }
}

/* ---- the pool ---- */

/* The pool that a disk is in; *ret NULL: none. */
static int pool_around(struct win_host *h, const struct wmi_object *physical, struct wmi_object **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = win_others(h, physical, "MSFT_StoragePoolToPhysicalDisk", &rows, e);
    *ret = NULL;
    for (size_t i = 0; i < rows.n && !*ret; i++)
        if (!wmi_bool(rows.at[i], "IsPrimordial", false))
            *ret = STEAL(rows.at[i]);
    wmi_rows_clear(&rows);
    return r;
}

int win_spaces_mine(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, enum volume_mine *ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL, *pool = NULL, *partition = NULL;
    size_t n = 0;
    *ret = VOLUME_FOREIGN;
    int r = win_find(h, d->id, &disk, &physical, e);
    if (r == 0 && physical)
        r = pool_around(h, physical, &pool, e);
    if (r < 0)
        return r;
    if (pool) {
        AUTO_FREE char *id = win_pool_volume(pool);
        *ret = id && !strcmp(id, p->id) ? VOLUME_WHOLLY : VOLUME_FOREIGN;
        return 0;
    }
    if (!disk)
        return 0;
    bool raw = wmi_uint(disk, "PartitionStyle", 0) == 0;
    if ((r = win_look(h, d, 2, !raw, e)) < 0 || (r = win_data_partitions(h, disk, &partition, &n, e)) < 0)
        return r;
    if (n == 0 && d->blank == HOSTDISK_BLANK)
        *ret = raw ? VOLUME_BARE : VOLUME_PARTLY;
    return 0;
}

/* Windows' own among those that can make pools; that of a cluster can, too. */
static int subsystem(struct win_host *h, struct wmi_object **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = win_query(h, &rows, e, "SELECT * FROM MSFT_StorageSubSystem");
    *ret = NULL;
    for (size_t i = 0; i < rows.n && r == 0; i++) {
        AUTO_FREE char *model = wmi_str(rows.at[i], "Model"), *name = wmi_str(rows.at[i], "FriendlyName");
        bool clustered = (model && str_istarts(model, "Clustered")) || (name && str_istarts(name, "Clustered"));
        if (!*ret && !clustered && wmi_bool(rows.at[i], "SupportsStoragePoolCreation", false))
            *ret = STEAL(rows.at[i]);
    }
    wmi_rows_clear(&rows);
    if (r == 0 && !*ret)
        r = err_set(e, ERR_UNSUPPORTED, "this Windows has no Storage Spaces that could join disks");
    return r;
}

static int create_pool(struct win_host *h, const struct volume_plan *p, const char *what, struct wmi_object *physical, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *sub = NULL, *in = NULL;
    AUTO_FREE char *name = str_printf("vmrecover-%s", p->label), *text = str_printf(WIN_POOL_TEXT "%s", p->id);
    if (!name || !text)
        return err_oom(e);
    int r = subsystem(h, &sub, e);
    if (r == 0)
        r = win_in(h, "MSFT_StorageSubSystem", "CreateStoragePool", &in, e);
    if (r == 0)
        r = wmi_put_str(in, "FriendlyName", name, e);
    if (r == 0)
        r = wmi_put_uint(in, "Usage", USAGE_OTHER, e);
    if (r == 0)
        r = wmi_put_str(in, "OtherUsageDescription", text, e);
    if (r == 0)
        r = wmi_put_instances_in(in, "PhysicalDisks", &physical, 1, e);
    return r < 0 ? r : win_exec(h, what, sub, "CreateStoragePool", in, WIN_CHANGE_MS, e);
}

static int add_to_pool(struct win_host *h, const char *what, const struct wmi_object *pool, struct wmi_object *physical, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_StoragePool", "AddPhysicalDisk", &in, e);
    if (r == 0)
        r = wmi_put_instances_in(in, "PhysicalDisks", &physical, 1, e);
    return r < 0 ? r : win_exec(h, what, pool, "AddPhysicalDisk", in, WIN_CHANGE_MS, e);
}

static int cannot(const struct hostdisk *d, const struct wmi_object *physical, struct err *e)
{
    static const char *const words[] = {[2] = "it is in a pool", [3] = "it is not healthy", [4] = "it can be removed", [5] = "it belongs to a failover cluster",
                                        [6] = "it is offline", [7] = "it is too small", [8] = "it is a spare", [9] = "it is reserved", [10] = "it is starting"};
    uint64_t reason = wmi_uint_at(physical, "CannotPoolReason", 0, 0);
    err_set(e, ERR_DISK_REFUSED, "Storage Spaces does not take the disk %.120s: %s", d->id,
            reason < ARRAY_LEN(words) && words[reason] ? words[reason] : "Windows gives no reason");
    return err_hint(e, "Choose another disk, or disks one by one (\"layout\": \"single\").");
}

/* Online, writable, and without the table that a try of ours left. */
static int ready_disk(struct win_host *h, const char *what, struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = wmi_bool(disk, "IsOffline", false) ? win_exec(h, what, disk, "Online", NULL, WIN_CHANGE_MS, e) : 0;
    if (r == 0 && wmi_bool(disk, "IsReadOnly", false) && (r = win_in(h, "MSFT_Disk", "SetAttributes", &in, e)) == 0 &&
        (r = wmi_put_bool(in, "IsReadOnly", false, e)) == 0)
        r = win_exec(h, what, disk, "SetAttributes", in, WIN_CHANGE_MS, e);
    if (r == 0 && wmi_uint(disk, "PartitionStyle", 0) != 0)
        r = win_clear(h, what, disk, false, e);
    return r < 0 ? r : win_refresh(h, e);
}

int win_spaces_add(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL, *pool = NULL;
    AUTO_FREE char *what = str_printf("putting the disk %.120s into a storage pool", d->id);
    int r = what ? win_find(h, d->id, &disk, &physical, e) : err_oom(e);
    if (r == 0 && disk && (r = ready_disk(h, what, disk, e)) == 0) {
        wmi_object_free(STEAL(disk));
        wmi_object_free(STEAL(physical));
        r = win_find(h, d->id, &disk, &physical, e);
    }
    if (r == 0 && !physical)
        r = err_set(e, ERR_DISK_REFUSED, "Storage Spaces does not know the disk %.120s", d->id);
    if (r == 0 && !wmi_bool(physical, "CanPool", false))
        r = cannot(d, physical, e);
    if (r < 0 || (r = win_pool_of(h, p->id, &pool, e)) < 0)
        return r;
    r = pool ? add_to_pool(h, what, pool, physical, e) : create_pool(h, p, what, physical, e);
    return r < 0 ? r : win_refresh(h, e);
}

/* ---- the virtual disk ---- */

static int create_space(struct win_host *h, const struct volume_plan *p, const char *what, const struct wmi_object *pool, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    AUTO_FREE char *name = str_printf("vmrecover-%s", p->label), *text = str_printf(WIN_POOL_TEXT "%s", p->id);
    const struct { const char *name; uint64_t value; } numbers[] = {
        {"ProvisioningType", PROVISIONING_FIXED}, {"NumberOfColumns", p->n_disks}, {"Interleave", INTERLEAVE}, {"Usage", USAGE_OTHER}};
    const struct { const char *name, *value; } texts[] = {{"FriendlyName", name}, {"ResiliencySettingName", "Simple"}, {"OtherUsageDescription", text}};
    int r = name && text ? win_in(h, "MSFT_StoragePool", "CreateVirtualDisk", &in, e) : err_oom(e);
    if (r == 0)
        r = wmi_put_bool(in, "UseMaximumSize", true, e);
    for (size_t i = 0; i < ARRAY_LEN(numbers) && r == 0; i++)
        r = wmi_put_uint(in, numbers[i].name, numbers[i].value, e);
    for (size_t i = 0; i < ARRAY_LEN(texts) && r == 0; i++)
        r = wmi_put_str(in, texts[i].name, texts[i].value, e);
    return r < 0 ? r : win_exec(h, what, pool, "CreateVirtualDisk", in, WIN_CHANGE_MS, e);
}

static int no_pool(const struct volume_plan *p, struct err *e)
{
    return err_set(e, ERR_VOLUME, "the storage pool of the volume %s is not there", p->id);
}

int win_spaces_join(struct win_host *h, const struct volume_plan *p, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *pool = NULL, *space = NULL, *disk = NULL, *in = NULL;
    AUTO_FREE char *what = str_printf("making a virtual disk in the storage pool vmrecover-%s", p->label), *name = str_printf("the virtual disk vmrecover-%s", p->label);
    int r = what && name ? win_pool_of(h, p->id, &pool, e) : err_oom(e);
    if (r == 0 && !pool)
        r = no_pool(p, e);
    if (r < 0 || (r = win_space_of(h, pool, &space, e)) < 0)
        return r;
    if (!space && ((r = create_space(h, p, what, pool, e)) < 0 || (r = win_refresh(h, e)) < 0 || (r = win_space_of(h, pool, &space, e)) < 0))
        return r;
    if (!space)
        return err_set(e, ERR_VOLUME, "%s: Windows made it, and does not show it", what);
    if ((r = win_space_disk(h, space, 0, &disk, e)) < 0)
        return r;
    if (!disk && wmi_uint(space, "DetachedReason", 0) && (r = win_in(h, "MSFT_VirtualDisk", "Attach", &in, e)) == 0)
        r = win_exec(h, name, space, "Attach", in, WIN_CHANGE_MS, e);
    if (r == 0 && !disk)
        r = win_space_disk(h, space, APPEAR_MS, &disk, e);
    if (r == 0 && !disk)
        r = err_set(e, ERR_VOLUME, "%s does not appear as a disk", name);
    return r < 0 ? r : win_partition_make(h, p, name, disk, e);
}

/* ---- apart again ---- */

/* What was written must not show on the single disks: while they are joined it can be emptied as one. */
static int empty_space(struct win_host *h, const struct volume_plan *p, const char *what, struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL;
    AUTO(hostdisk_clear) struct hostdisk d = {.size = wmi_uint(disk, "Size", 0), .sector = (uint32_t)wmi_uint(disk, "LogicalSectorSize", 512), .device = str_printf(WIN_DEVICE "%u", (unsigned)wmi_uint(disk, "Number", 0))};
    size_t n = 0;
    int r = d.device ? win_data_partitions(h, disk, &partition, &n, e) : err_oom(e);
    if (r == 0 && partition)
        r = win_exec(h, what, partition, "DeleteObject", NULL, WIN_CHANGE_MS, e);
    if (r == 0)
        r = win_zero_edges(h, p, &d, e);
    if (r == 0)
        r = win_look(h, &d, 0, true, e);
    if (r < 0)
        return r;
    bool zero = d.blank != HOSTDISK_BLANK;
    r = wmi_uint(disk, "PartitionStyle", 0) || zero ? win_clear(h, what, disk, zero, e) : 0;
    return r < 0 && win_code(e) == WIN_NOT_INITIALIZED ? 0 : r;
}

int win_spaces_apart(struct win_host *h, const struct volume_plan *p, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *pool = NULL, *space = NULL, *disk = NULL, *in = NULL;
    AUTO_FREE char *what = str_printf("removing the virtual disk vmrecover-%s", p->label);
    int r = what ? win_pool_of(h, p->id, &pool, e) : err_oom(e);
    if (r < 0 || !pool || (r = win_space_of(h, pool, &space, e)) < 0 || !space || (r = win_space_disk(h, space, 0, &disk, e)) < 0)
        return r;
    if (disk && (r = empty_space(h, p, what, disk, e)) < 0)
        return r;
    if ((r = win_in(h, "MSFT_VirtualDisk", "DeleteObject", &in, e)) == 0)
        r = win_exec(h, what, space, "DeleteObject", in, WIN_CHANGE_MS, e);
    return r < 0 ? r : win_refresh(h, e);
}

static int delete_pool(struct win_host *h, const char *what, const struct wmi_object *pool, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_StoragePool", "DeleteObject", &in, e);
    if (r == 0)
        r = win_exec(h, what, pool, "DeleteObject", in, WIN_CHANGE_MS, e);
    return r < 0 ? r : win_refresh(h, e);
}

/* Out of the pool the disk is one with a table again, some time later. */
static int wait_for_disk(struct win_host *h, const char *id, struct wmi_object **ret, struct err *e)
{
    int64_t deadline = h->p->ops->now_ms(h->p->arg) + APPEAR_MS;
    for (;;) {
        AUTO(wmi_object_free_ptr) struct wmi_object *physical = NULL;
        int r = win_find(h, id, ret, &physical, e);
        if (r < 0 || *ret)
            return r;
        if (h->p->ops->now_ms(h->p->arg) > deadline)
            return err_set(e, ERR_VOLUME, "the disk %.120s does not come back from its storage pool", id);
        if ((r = win_sleep(h, APPEAR_LOOK_MS, e)) < 0)
            return r;
    }
}

int win_spaces_wipe(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *pool = NULL, *disk = NULL, *partition = NULL, *in = NULL;
    AUTO_FREE char *what = str_printf("emptying the disk %.120s", d->id), *pool_what = str_printf("removing the storage pool vmrecover-%s", p->label);
    size_t n = 0;
    int r = what && pool_what ? win_pool_of(h, p->id, &pool, e) : err_oom(e);
    if (r == 0 && pool)
        r = delete_pool(h, pool_what, pool, e);
    if (r < 0 || (r = wait_for_disk(h, d->id, &disk, e)) < 0 || (r = win_data_partitions(h, disk, &partition, &n, e)) < 0)
        return r;
    if (n)
        return err_set(e, ERR_DISK_REFUSED, "the disk %.120s has partitions that this job did not make", d->id);
    free(d->device);                                  /* its number may be another one now */
    if (!(d->device = str_printf(WIN_DEVICE "%u", (unsigned)wmi_uint(disk, "Number", 0))))
        return err_oom(e);
    bool raw = wmi_uint(disk, "PartitionStyle", 0) == 0;
    if (!raw && (r = win_clear(h, what, disk, false, e)) < 0)
        return r;
    if ((r = win_look(h, d, 3, false, e)) < 0 || d->blank == HOSTDISK_BLANK)
        return r;
    /* a RAW disk cannot be cleared, so that it gets a table first */
    AUTO(hostdisk_clear) struct hostdisk middle = {.size = d->size, .device = str_dup(d->device)};
    if (!middle.device || (r = win_look(h, &middle, 3, true, e)) < 0)
        return middle.device ? r : err_oom(e);
    if ((r = win_in(h, "MSFT_Disk", "Initialize", &in, e)) == 0 && (r = wmi_put_uint(in, "PartitionStyle", 2, e)) == 0 &&
        (r = win_exec(h, what, disk, "Initialize", in, WIN_CHANGE_MS, e)) == 0 && (r = win_clear(h, what, disk, middle.blank != HOSTDISK_BLANK, e)) == 0)
        r = win_look(h, d, 3, false, e);
    if (r == 0 && d->blank != HOSTDISK_BLANK)
        r = err_set(e, ERR_VOLUME, "the disk %.120s is not empty after it was emptied: byte %" PRIu64 " is not zero", d->id, d->blank_at);
    return r;
}

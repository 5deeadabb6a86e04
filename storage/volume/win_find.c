/* Finding disks, partitions and volumes again. Numbers and letters may be others' in the next moment, so that everything is asked for by its id. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "storage/volume/win.h"

#define APPEAR_LOOK_MS 250u
#define MSR "{e3c9e316-0b5c-4db8-817d-f92df00215ae}"

void win_map_clear(struct win_map *m)
{
    wmi_rows_clear(&m->disks);
    wmi_rows_clear(&m->physical);
}

int win_map_read(struct win_host *h, struct win_map *ret, struct err *e)
{
    int r = win_query(h, &ret->disks, e, "SELECT * FROM MSFT_Disk");
    return r < 0 ? r : win_query(h, &ret->physical, e, "SELECT * FROM MSFT_PhysicalDisk");
}

/* Both ids are the disk's own, of its SCSI page 0x83 or its NVMe identity, but not always in the same of its forms; then number, size and serial tell. */
static bool same_disk(const struct wmi_object *disk, const struct wmi_object *physical)
{
    AUTO_FREE char *a = wmi_str(disk, "UniqueId"), *b = wmi_str(physical, "UniqueId");
    if (a && b && *a && str_ieq(a, b))
        return true;
    AUTO_FREE char *number = wmi_str(physical, "DeviceId"), *serial = wmi_str(disk, "SerialNumber"), *other = wmi_str(physical, "SerialNumber");
    unsigned long long n;
    return number && str_to_u64(number, UINT32_MAX, &n) && n == wmi_uint(disk, "Number", UINT64_MAX) && serial && other && str_ieq(serial, other) &&
           wmi_uint(disk, "Size", 0) == wmi_uint(physical, "Size", 1);
}

struct wmi_object *win_physical_of(const struct win_map *m, const struct wmi_object *disk)
{
    for (size_t i = 0; i < m->physical.n; i++)
        if (same_disk(disk, m->physical.at[i]))
            return m->physical.at[i];
    return NULL;
}

struct wmi_object *win_disk_of(const struct win_map *m, const struct wmi_object *physical)
{
    for (size_t i = 0; i < m->disks.n; i++)
        if (same_disk(m->disks.at[i], physical))
            return m->disks.at[i];
    return NULL;
}

char *win_id(const struct wmi_object *disk, const struct wmi_object *physical)
{
    char *id = physical ? wmi_str(physical, "UniqueId") : NULL;
    if ((!id || !*id) && disk) {
        free(id);
        id = wmi_str(disk, "UniqueId");
    }
    if (!id || !*id) {                               /* a disk that does not say who it is: where it is */
        free(id);
        id = wmi_str(disk ? disk : physical, "ObjectId");
    }
    return id ? id : str_dup("");
}

/* Out of the rows, which keep a hole. */
static struct wmi_object *take(struct wmi_rows *rows, const struct wmi_object *o)
{
    for (size_t i = 0; i < rows->n; i++)
        if (o && rows->at[i] == o)
            return STEAL(rows->at[i]);
    return NULL;
}

int win_find(struct win_host *h, const char *id, struct wmi_object **ret_disk, struct wmi_object **ret_physical, struct err *e)
{
    AUTO(win_map_clear) struct win_map m = {0};
    *ret_disk = *ret_physical = NULL;
    int r = win_map_read(h, &m, e);
    for (size_t i = 0; i < m.disks.n && r == 0; i++) {
        struct wmi_object *physical = win_physical_of(&m, m.disks.at[i]);
        AUTO_FREE char *own = win_id(m.disks.at[i], physical);
        if (!own || strcmp(own, id))
            continue;
        *ret_physical = take(&m.physical, physical);
        *ret_disk = STEAL(m.disks.at[i]);
        return 0;
    }
    for (size_t i = 0; i < m.physical.n && r == 0; i++) {
        AUTO_FREE char *own = win_id(NULL, m.physical.at[i]);
        if (!own || strcmp(own, id))
            continue;
        *ret_physical = STEAL(m.physical.at[i]);
        return 0;
    }
    return r < 0 ? r : err_set(e, ERR_NOT_FOUND, "the disk %.200s is not there any more", id);
}

bool win_is_reserved(const struct wmi_object *partition)
{
    AUTO_FREE char *type = wmi_str(partition, "GptType");
    return type && str_ieq(type, MSR);
}

int win_data_partitions(struct win_host *h, const struct wmi_object *disk, struct wmi_object **ret, size_t *ret_n, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = win_others(h, disk, "MSFT_DiskToPartition", &rows, e);
    *ret = NULL;
    *ret_n = 0;
    for (size_t i = 0; i < rows.n; i++) {
        if (win_is_reserved(rows.at[i]))
            continue;
        if (!(*ret_n)++)
            *ret = STEAL(rows.at[i]);
    }
    wmi_rows_clear(&rows);
    return r;
}

int win_volume_on(struct win_host *h, const struct wmi_object *partition, unsigned wait_ms, struct wmi_object **ret, struct err *e)
{
    int64_t deadline = h->p->ops->now_ms(h->p->arg) + wait_ms;
    for (;;) {
        int r = win_other(h, partition, "MSFT_PartitionToVolume", ret, e);
        if (r < 0 || *ret || h->p->ops->now_ms(h->p->arg) >= deadline)
            return r;
        if ((r = win_sleep(h, APPEAR_LOOK_MS, e)) < 0)
            return r;
    }
}

static bool is_separator(char c)
{
    return c == '\\' || c == '/';
}

bool win_same_folder(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    while (n && is_separator(a[n - 1]))
        n--;
    while (m && is_separator(b[m - 1]))
        m--;
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(is_separator(a[i]) && is_separator(b[i])) && tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
            return false;
    return true;
}

char *win_path_to(const struct wmi_object *partition)
{
    AUTO(wmi_strs_free_ptr) char **paths = wmi_strs(partition, "AccessPaths");
    for (size_t i = 0; paths && paths[i]; i++)
        if (!str_starts(paths[i], "\\\\"))           /* \\?\Volume{…}\ is none that people use */
            return str_dup(paths[i]);
    return NULL;
}

char *win_file_system(const struct wmi_object *volume)
{
    char *fs = wmi_str(volume, "FileSystem");
    if (fs && *fs && !str_ieq(fs, "RAW") && !str_ieq(fs, "Unknown"))
        return fs;
    free(fs);
    return NULL;
}

int win_target(struct win_host *h, const char *volume_id, bool striped, const char *disk_id, struct wmi_object **ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *physical = NULL, *pool = NULL, *space = NULL;
    *ret = NULL;
    int r = striped ? win_pool_of(h, volume_id, &pool, e) : win_find(h, disk_id, ret, &physical, e);
    if (r == 0 && pool)
        r = win_space_of(h, pool, &space, e);
    if (r == 0 && space)
        r = win_space_disk(h, space, 0, ret, e);
    if (r == 0 && !*ret)
        r = err_set(e, ERR_VOLUME, striped ? "the virtual disk of the volume %s is not there" : "the disk of the volume %s is not there", volume_id);
    return r;
}

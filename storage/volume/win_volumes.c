/* The volumes of Windows, ours among them. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/os.h"
#include "storage/volume/win.h"

#define MARK_MAX 4096
#define DRIVE_FIXED 3

int win_read_mark(struct win_host *h, const struct wmi_object *partition, const struct wmi_object *volume, char **ret, struct err *e)
{
    AUTO_FREE char *at = win_path_to(partition), *text = NULL, *path = at ? os_path_join(at, VOLUME_MARK) : NULL, *own = wmi_str(volume, "Path");
    AUTO_FREE char *fs = win_file_system(volume);
    size_t n = 0;
    json_t *o = NULL;
    struct err why;
    *ret = NULL;
    if (!fs || !own)
        return 0;
    int r = path ? os_read_file(path, MARK_MAX, &text, &n, &why) : h->p->ops->read_file(h->p->arg, own, VOLUME_MARK, MARK_MAX, &text, &n, &why);
    if (r == 0)
        r = json_parse(text, n, &o, &why);
    const char *id = r == 0 ? json_string_value(json_object_get(o, "volume")) : NULL;
    if (id && crypto_is_uuid(id) && !(*ret = str_dup(id)))
        r = err_oom(e);
    else
        r = 0;                                        /* what has no mark that can be read is not ours */
    json_decref(o);
    return r;
}

/* Volume{…} of \\?\Volume{…}\. */
static char *volume_id(const char *path)
{
    const char *open = strchr(path, '{'), *close = open ? strchr(open, '}') : NULL;
    return close ? str_ndup(open + 1, (size_t)(close - open - 1)) : str_dup(path);
}

static int fill(struct win_host *h, struct hostvolume *v, const struct wmi_object *volume, const struct wmi_object *partition, struct err *e)
{
    (void)h;
    v->device = wmi_str(volume, "Path");
    v->mount_point = partition ? win_path_to(partition) : NULL;
    v->file_system = win_file_system(volume);
    v->label = wmi_str(volume, "FileSystemLabel");
    v->size = wmi_uint(volume, "Size", 0);
    v->free = wmi_uint(volume, "SizeRemaining", 0);
    v->read_only = partition && wmi_bool(partition, "IsReadOnly", false);
    /* a folder is given without the separator at its end, as everywhere else; a letter is the root of something, and keeps it */
    size_t n = v->mount_point ? strlen(v->mount_point) : 0;
    if (n > 3 && (v->mount_point[n - 1] == '\\' || v->mount_point[n - 1] == '/'))
        v->mount_point[n - 1] = 0;
    if (!v->id && v->device)
        v->id = volume_id(v->device);
    return v->device && v->id ? 0 : err_oom(e);
}

/* The partition that a volume lies on. */
static int partition_of(struct win_host *h, const struct wmi_object *volume, struct wmi_object **ret, struct err *e)
{
    return win_other(h, volume, "MSFT_PartitionToVolume", ret, e);
}

static int add_ours(struct win_host *h, const struct hostdisks *disks, const struct hostdisk *first, struct hostvolumes *l, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *partition = NULL, *volume = NULL;
    struct hostvolume *v = hostvolumes_add(l);
    struct err why;
    size_t n = 0;
    if (!v || !(v->id = str_dup(first->volume)) || !(v->device = str_dup(first->device)))
        return err_oom(e);
    v->managed = true;
    for (size_t i = 0; i < disks->n && v->n_disks < VOLUME_DISKS_MAX; i++)
        if (disks->at[i].volume && !strcmp(disks->at[i].volume, first->volume) && !(v->disks[v->n_disks++] = str_dup(disks->at[i].id)))
            return err_oom(e);
    v->broken = true;
    int r = win_target(h, first->volume, first->pooled, first->id, &disk, &why);
    if (r < 0) {
        if (r != -ERR_VOLUME && r != -ERR_NOT_FOUND)
            *e = why;
        return r == -ERR_VOLUME || r == -ERR_NOT_FOUND ? 0 : r;
    }
    if ((r = win_data_partitions(h, disk, &partition, &n, e)) < 0 || n != 1 || (r = win_volume_on(h, partition, 0, &volume, e)) < 0 || !volume)
        return r;
    free(STEAL(v->device));
    r = fill(h, v, volume, partition, e);
    v->broken = !v->file_system || wmi_uint(disk, "HealthStatus", 0) > 1 || wmi_bool(disk, "IsOffline", false);
    v->read_only |= wmi_bool(disk, "IsReadOnly", false);
    return r;
}

static bool is_listed(const struct hostvolumes *l, const char *id, const char *device)
{
    for (size_t i = 0; i < l->n; i++)
        if ((id && l->at[i].managed && !strcmp(l->at[i].id, id)) || (device && str_ieq(l->at[i].device, device)))
            return true;
    return false;
}

int win_volumes(struct win_host *h, const struct hostdisks *disks, struct hostvolumes *ret, struct err *e)
{
    AUTO(hostvolumes_clear) struct hostvolumes l = {0};
    struct wmi_rows rows = {0};
    int r = win_query(h, &rows, e, "SELECT * FROM MSFT_Volume");
    for (size_t i = 0; i < disks->n && r == 0; i++)
        if (disks->at[i].volume && !is_listed(&l, disks->at[i].volume, NULL))
            r = add_ours(h, disks, &disks->at[i], &l, e);
    for (size_t i = 0; i < rows.n && r == 0; i++) {
        AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL;
        AUTO_FREE char *fs = win_file_system(rows.at[i]), *path = wmi_str(rows.at[i], "Path");
        if (!fs || !path || wmi_uint(rows.at[i], "DriveType", 0) != DRIVE_FIXED || is_listed(&l, NULL, path))
            continue;
        struct hostvolume *v = hostvolumes_add(&l);
        if (!v)
            break;                                    /* too many */
        if ((r = partition_of(h, rows.at[i], &partition, e)) == 0)
            r = fill(h, v, rows.at[i], partition, e);
    }
    wmi_rows_clear(&rows);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct hostvolumes){0};
    return 0;
}

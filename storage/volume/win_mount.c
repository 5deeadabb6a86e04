/* The file system, and the folder or letter that leads to it. No letter is taken unless one is asked for: a folder does as well, and there are always some. */
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/volume/win.h"

#define APPEAR_MS 60000u
#define FORMAT_MS 1800000u
#define TRIM_MS 3600000u
#define CLUSTER 65536u                               /* disks of VMs are few, large files; fewer clusters, fewer fragments */

/* The partition of ours and the volume on it. */
static int volume_of(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct wmi_object **ret_partition,
                     struct wmi_object **ret_volume, struct err *e)
{
    size_t n = 0;
    int r = win_data_partitions(h, disk, ret_partition, &n, e);
    if (r < 0)
        return r;
    if (n != 1)
        return err_set(e, ERR_VOLUME, "the volume %s has %zu partitions, and not one", p->label, n);
    if ((r = win_volume_on(h, *ret_partition, APPEAR_MS, ret_volume, e)) == 0 && !*ret_volume)
        r = err_set(e, ERR_VOLUME, "Windows shows no volume on the partition of the volume %s", p->label);
    return r;
}

/* ---- the file system ---- */

/* No letter of its own accord, which a desktop would open and offer to format. */
static int keep_quiet(struct win_host *h, const char *what, const struct wmi_object *partition, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    AUTO_FREE char *type = wmi_str(partition, "GptType");
    if (!type)
        return 0;
    int r = win_in(h, "MSFT_Partition", "SetAttributes", &in, e);
    if (r == 0)
        r = wmi_put_bool(in, "NoDefaultDriveLetter", true, e);
    return r < 0 ? r : win_exec(h, what, partition, "SetAttributes", in, WIN_CHANGE_MS, e);
}

static int put_if_there(struct wmi_object *in, const char *name, bool value, struct err *e)
{
    return wmi_has(in, name) ? wmi_put_bool(in, name, value, e) : 0;
}

/* Quick: a full format writes all of the disk, which takes hours and is billed. */
static int run_format(struct win_host *h, const struct volume_plan *p, const char *what, const char *fs, bool begun, const struct wmi_object *volume, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    const struct { const char *name; bool value, fits; } flags[] = {
        {"Full", false, true}, {"Force", true, begun}, {"RunAsJob", true, true}, {"UseLargeFRS", true, p->fs == VOLUME_NTFS},
        {"SetIntegrityStreams", false, p->fs == VOLUME_REFS}};
    int r = win_in(h, "MSFT_Volume", "Format", &in, e);
    if (r == 0)
        r = wmi_put_str(in, "FileSystem", fs, e);
    if (r == 0)
        r = wmi_put_str(in, "FileSystemLabel", p->label, e);
    if (r == 0)
        r = wmi_put_uint(in, "AllocationUnitSize", CLUSTER, e);
    for (size_t i = 0; i < ARRAY_LEN(flags) && r == 0; i++)
        r = flags[i].fits ? put_if_there(in, flags[i].name, flags[i].value, e) : 0;
    return r < 0 ? r : win_exec(h, what, volume, "Format", in, FORMAT_MS, e);
}

int win_format(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL, *volume = NULL, *made = NULL;
    AUTO_FREE char *what = str_printf("formatting the volume %s", p->label);
    const char *fs = p->fs == VOLUME_REFS ? "ReFS" : "NTFS";
    int r = what ? volume_of(h, p, disk, &partition, &volume, e) : err_oom(e);
    if (r < 0)
        return r;
    AUTO_FREE char *there = win_file_system(volume), *label = wmi_str(volume, "FileSystemLabel");
    /* one with our label, on our partition, is the beginning of an earlier try: nothing was written into it before this step was recorded as done */
    bool begun = there && str_ieq(there, fs) && label && !strcmp(label, p->label);
    if (there && !begun)
        return err_set(e, ERR_DISK_REFUSED, "the partition for the volume %s holds %.40s %.40s, which this job did not write", p->label, there, label ? label : "");
    if ((r = keep_quiet(h, what, partition, e)) < 0 || (r = run_format(h, p, what, fs, begun, volume, e)) < 0 || (r = win_volume_on(h, partition, 0, &made, e)) < 0)
        return r;
    AUTO_FREE char *now = made ? win_file_system(made) : NULL;
    return now && str_ieq(now, fs) ? 0 : err_set(e, ERR_VOLUME, "%s: Windows is done, and shows %.40s", what, now ? now : "no file system");
}

/* ---- where it is ---- */

static int on_entry(void *arg, const char *name)
{
    snprintf(arg, 80, "%s", name);
    return 1;
}

/* The folder must be ours to take: new, or empty. */
static int make_place(const struct volume_plan *p, struct err *e)
{
    struct os_stat st;
    char first[80] = "";
    int r = os_stat(p->mount_point, &st, e);
    if (r < 0)
        return r;
    if (!st.exists)
        return os_mkdirs(p->mount_point, OS_PRIVATE, e);
    if (!st.is_dir)
        return err_set(e, ERR_VOLUME, "%s is a file; a volume is put into a folder", p->mount_point);
    if ((r = os_list_dir(p->mount_point, on_entry, first, e)) <= 0)
        return r;
    err_set(e, ERR_VOLUME, "the folder %s is not empty (%s): a volume that is put there would hide that", p->mount_point, first);
    return err_hint(e, "Empty the folder, or ask for another mount_point.");
}

static bool is_letter(const char *path)
{
    return path[0] && path[1] == ':' && strlen(path) <= 3;
}

/* A letter without, a folder with a separator at its end: heap or NULL. */
static char *access_path(const struct volume_plan *p)
{
    const char *path = p->mount_point;
    size_t n = strlen(path);
    if (is_letter(path))
        return str_ndup(path, 2);
    bool closed = path[n - 1] == '\\' || path[n - 1] == '/';
    return str_printf("%s%s", path, closed ? "" : strchr(path, '\\') ? "\\" : "/");
}

/* The access path of the partition that the plan means, as Windows has it; NULL: it is not there. */
static char *find_path(const struct volume_plan *p, const struct wmi_object *partition)
{
    AUTO(wmi_strs_free_ptr) char **paths = wmi_strs(partition, "AccessPaths");
    for (size_t i = 0; paths && paths[i]; i++)
        if (win_same_folder(paths[i], p->mount_point))
            return str_dup(paths[i]);
    return NULL;
}

static int path_call(struct win_host *h, const char *what, const struct wmi_object *partition, const char *method, const char *path, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_Partition", method, &in, e);
    if (r == 0)
        r = wmi_put_str(in, "AccessPath", path, e);
    return r < 0 ? r : win_exec(h, what, partition, method, in, WIN_CHANGE_MS, e);
}

int win_mount(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL, *volume = NULL;
    AUTO_FREE char *what = str_printf("putting the volume %s at %.160s", p->label, p->mount_point), *path = access_path(p);
    int r = what && path ? volume_of(h, p, disk, &partition, &volume, e) : err_oom(e);
    if (r < 0)
        return r;
    AUTO_FREE char *there = find_path(p, partition);
    if (!there && !is_letter(p->mount_point) && (r = make_place(p, e)) < 0)
        return r;
    if (!there && (r = path_call(h, what, partition, "AddAccessPath", path, e)) < 0)
        return win_code(e) == WIN_PATH_IN_USE ? err_hint(e, "Ask for another letter, or for none: then the volume gets a folder.") : r;
    return p->found || p->done == VOLUME_MOUNTED ? 0 : h->p->ops->close_root(h->p->arg, p->mount_point, e);
}

/* Lets the disks below forget what was deleted, where they can: then nothing has to be written to empty them. */
static int trim(struct win_host *h, const struct volume_plan *p, const struct wmi_object *volume, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    AUTO_FREE char *what = str_printf("trimming the volume %s", p->label);
    struct err why;
    int r = what ? win_in(h, "MSFT_Volume", "Optimize", &in, e) : err_oom(e);
    if (r == 0)
        r = wmi_put_bool(in, "ReTrim", true, e);
    if (r == 0 && (r = put_if_there(in, "RunAsJob", true, e)) == 0 && win_exec(h, what, volume, "Optimize", in, TRIM_MS, &why) == -ERR_CANCELLED) {
        *e = why;
        r = -ERR_CANCELLED;
    }
    return r;
}

int win_unmount(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL, *volume = NULL;
    AUTO_FREE char *what = str_printf("taking the volume %s from %.160s", p->label, p->mount_point);
    struct err ignored;
    size_t n = 0;
    int r = what ? win_data_partitions(h, disk, &partition, &n, e) : err_oom(e);
    if (r < 0 || n != 1 || (r = win_volume_on(h, partition, 0, &volume, e)) < 0)
        return r;
    AUTO_FREE char *fs = volume ? win_file_system(volume) : NULL, *path = find_path(p, partition);
    if (fs && (r = trim(h, p, volume, e)) < 0)
        return r;
    if (path && (r = path_call(h, what, partition, "RemoveAccessPath", path, e)) < 0)
        return r;
    if (!is_letter(p->mount_point))
        os_remove_empty_dir(p->mount_point, &ignored);
    return 0;
}

/* Volumes on Windows. The steps are in the files beside (win.h); here is what ties them to struct volume_ops. */
#include "common/os.h"
#include "storage/volume/win.h"

static struct win_host *win_of(struct volume_host *h)
{
    return (struct win_host *)h;
}

static void host_close(struct volume_host *h)
{
    wmi_close(win_of(h)->wmi);
    wmi_close(win_of(h)->hyperv);
    free(h);
}

static int host_disks(struct volume_host *h, struct hostdisks *ret, struct err *e)
{
    return win_disks(win_of(h), ret, e);
}

static int host_look(struct volume_host *h, struct hostdisk *d, unsigned turn, struct err *e)
{
    return win_look(win_of(h), d, turn, false, e);
}

static int host_volumes(struct volume_host *h, const struct hostdisks *disks, struct hostvolumes *ret, struct err *e)
{
    return win_volumes(win_of(h), disks, ret, e);
}

static enum volume_fs host_fs(struct volume_host *h, enum volume_layout layout)
{
    (void)h;
    (void)layout;
    return VOLUME_NTFS;
}

/* A Windows that cannot make ReFS says so when it is asked. */
static bool host_takes_fs(struct volume_host *h, enum volume_fs fs)
{
    (void)h;
    return fs == VOLUME_NTFS || fs == VOLUME_REFS;
}

static char *host_place(struct volume_host *h, const char *label)
{
    AUTO_FREE char *folder = os_path_join(h->cfg.data_dir, "volumes");
    return folder ? os_path_join(folder, label) : NULL;
}

static int host_online(struct volume_host *h, struct hostdisk *d, struct err *e)
{
    return win_online(win_of(h), d, e);
}

static bool striped(const struct volume_plan *p)
{
    return p->layout == VOLUME_STRIPED;
}

static int host_mine(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, enum volume_mine *ret, struct err *e)
{
    (void)k;
    return striped(p) ? win_spaces_mine(win_of(h), p, d, ret, e) : win_table_mine(win_of(h), p, d, ret, e);
}

static int host_take_disk(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, struct err *e)
{
    (void)k;
    return striped(p) ? win_spaces_add(win_of(h), p, d, e) : win_table_make(win_of(h), p, d, e);
}

static int host_join(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    (void)disks;
    return win_spaces_join(win_of(h), p, e);
}

/* On the disk that the file system lies on. */
static int on_target(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks,
                     int (*fn)(struct win_host *, const struct volume_plan *, const struct wmi_object *, struct err *), struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL;
    int r = win_target(win_of(h), p->id, striped(p), disks[0]->id, &disk, e);
    return r < 0 ? r : fn(win_of(h), p, disk, e);
}

static int host_format(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    return on_target(h, p, disks, win_format, e);
}

/* After a restart a virtual disk may wait to be attached, and its disk be offline. */
static int host_mount(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    int r = striped(p) ? win_spaces_join(win_of(h), p, e) : 0;
    return r < 0 ? r : on_target(h, p, disks, win_mount, e);
}

static int host_release(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL;
    struct err why;
    int r = win_target(win_of(h), p->id, striped(p), disks[0]->id, &disk, &why);
    if (r < 0 && r != -ERR_VOLUME) {
        *e = why;
        return r;
    }
    enum volume_mine mine = VOLUME_FOREIGN;
    if (disk && !striped(p) && (r = win_table_mine(win_of(h), p, disks[0], &mine, e)) < 0)
        return r;
    if (disk && (striped(p) || mine == VOLUME_WHOLLY) && (r = win_unmount(win_of(h), p, disk, e)) < 0)
        return r;
    return striped(p) ? win_spaces_apart(win_of(h), p, e) : 0;
}

static int host_wipe_disk(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, struct err *e)
{
    (void)k;
    return striped(p) ? win_spaces_wipe(win_of(h), p, d, e) : win_table_wipe(win_of(h), p, d, e);
}

static const struct volume_ops ops = {
    .name = "windows", .close = host_close, .disks = host_disks, .look = host_look, .volumes = host_volumes, .fs = host_fs, .takes_fs = host_takes_fs,
    .place = host_place, .online = host_online, .mine = host_mine, .take_disk = host_take_disk, .join = host_join, .format = host_format, .mount = host_mount,
    .release = host_release, .wipe_disk = host_wipe_disk,
};

int win_open_on(const struct win_platform *p, const struct volume_config *cfg, struct volume_host **ret, struct err *e)
{
    struct win_host *h = calloc(1, sizeof *h);
    if (!h)
        return err_oom(e);
    *h = (struct win_host){.base = {&ops, *cfg}, .p = p};
    *ret = &h->base;
    return 0;
}

/* Volumes on Linux. The steps are in the files beside (linux.h); here is what ties them to struct volume_ops. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/clock.h"
#include "common/os.h"
#include "storage/volume/linux.h"
#include "storage/volume/mark.h"
#include "storage/volume/tool.h"

#define FORMAT_MS 1800000
#define ALIGN 4096
#define SETTLE_MS 5000                               /* afterwards it is none of ours that has a disk open */

static struct linux_host *linux_of(struct volume_host *h)
{
    return (struct linux_host *)h;
}

static void host_close(struct volume_host *h)
{
    free(h);
}

static int host_disks(struct volume_host *h, struct hostdisks *ret, struct err *e)
{
    const struct linux_host *lh = linux_of(h);
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    int r = sysfs_disks(lh, &l, e);
    if (r == 0)
        r = rawdisk_probe(lh, &l, e);
    for (size_t i = 0; i < l.n && r == 0; i++)
        if ((r = content_read(lh, &l.at[i], e)) == 0)
            r = mark_recognise(&l.at[i], e);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct hostdisks){0};
    return 0;
}

static int host_look(struct volume_host *h, struct hostdisk *d, unsigned turn, struct err *e)
{
    (void)h;
    return rawdisk_look(d, turn, false, e);
}

/* ---- volumes ---- */

static bool fill_space(struct hostvolume *v)
{
    struct statvfs s;
    if (statvfs(v->mount_point, &s) < 0)
        return false;
    v->size = (uint64_t)s.f_blocks * s.f_frsize;
    v->free = (uint64_t)s.f_bavail * s.f_frsize;
    return true;
}

static int fill_content(const struct linux_host *h, struct hostvolume *v, struct err *e)
{
    AUTO(hostdisk_content_clear) struct hostdisk_content c = {0};
    struct err why;
    if (content_of(h, v->device, &c, &why) < 0 && (why.code == ERR_OOM || why.code == ERR_CANCELLED)) {
        *e = why;
        return -(int)e->code;
    }
    if (!v->id)
        v->id = str_dup(c.uuid ? c.uuid : v->device);
    if (!v->file_system)
        v->file_system = STEAL(c.type);
    v->label = STEAL(c.label);
    return v->id ? 0 : err_oom(e);
}

/* Of those that are mounted, that of this device. */
static struct sysfs_mount *mount_of(struct sysfs_mount *list, size_t n, const char *device)
{
    struct stat st, other;
    if (stat(device, &st) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (list[i].where && stat(list[i].device, &other) == 0 && other.st_rdev == st.st_rdev)
            return &list[i];
    return NULL;
}

/* One of ours, by one of its disks; the others are looked for. */
static int add_ours(const struct linux_host *h, const struct hostdisks *disks, const struct hostdisk *first, struct sysfs_mount *mounts, size_t n,
                    struct hostvolumes *l, struct err *e)
{
    struct volume_plan p = {0};
    const struct hostdisk_part *part = &first->parts[0];
    bool striped = part->type && part->content.type && !strcmp(part->content.type, "LVM2_member");
    struct hostvolume *v = hostvolumes_add(l);
    struct stat st;
    if (!v)
        return err_oom(e);
    memcpy(p.id, first->volume, UUID_LEN);
    v->managed = true;
    v->id = str_dup(first->volume);
    v->device = striped ? lvm_device(&p) : str_dup(part->device ? part->device : first->device);
    if (!v->id || !v->device)
        return err_oom(e);
    for (size_t i = 0; i < disks->n && v->n_disks < VOLUME_DISKS_MAX; i++)
        if (disks->at[i].volume && !strcmp(disks->at[i].volume, first->volume) && !(v->disks[v->n_disks++] = str_dup(disks->at[i].id)))
            return err_oom(e);
    v->broken = !part->device || stat(v->device, &st) < 0;
    int r = v->broken ? 0 : fill_content(h, v, e);
    v->broken |= !v->file_system;                     /* half-made */
    struct sysfs_mount *m = v->broken ? NULL : mount_of(mounts, n, v->device);
    if (r < 0 || !m)
        return r;
    v->mount_point = STEAL(m->where);
    v->read_only = m->read_only;
    fill_space(v);
    return 0;
}

static bool is_listed(const struct hostvolumes *l, const char *id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i].managed && !strcmp(l->at[i].id, id))
            return true;
    return false;
}

static int host_volumes(struct volume_host *h, const struct hostdisks *disks, struct hostvolumes *ret, struct err *e)
{
    const struct linux_host *lh = linux_of(h);
    AUTO(hostvolumes_clear) struct hostvolumes l = {0};
    struct sysfs_mount *mounts = NULL;
    size_t n = 0;
    int r = sysfs_mounts(lh, &mounts, &n, e);
    for (size_t i = 0; i < disks->n && r == 0; i++)
        if (disks->at[i].volume && !is_listed(&l, disks->at[i].volume))
            r = add_ours(lh, disks, &disks->at[i], mounts, n, &l, e);
    for (size_t i = 0; i < n && r == 0; i++) {
        struct hostvolume *v = mounts[i].where ? hostvolumes_add(&l) : NULL;
        if (!v)
            continue;                                 /* ours, or too many */
        v->mount_point = STEAL(mounts[i].where);
        v->device = str_dup(mounts[i].device);
        v->file_system = str_dup(mounts[i].type);
        v->read_only = mounts[i].read_only;
        r = v->device && v->file_system ? fill_content(lh, v, e) : err_oom(e);
        if (r == 0 && !fill_space(v))
            v->size = v->free = 0;
    }
    sysfs_mounts_free(mounts, n);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct hostvolumes){0};
    return 0;
}

/* ---- what fits here ---- */

static bool host_takes_fs(struct volume_host *h, enum volume_fs fs)
{
    (void)h;
    return fs == VOLUME_XFS ? tool_there("mkfs.xfs") : fs == VOLUME_EXT4 && tool_there("mkfs.ext4");
}

static enum volume_fs host_fs(struct volume_host *h, enum volume_layout layout)
{
    (void)layout;
    return host_takes_fs(h, VOLUME_XFS) ? VOLUME_XFS : VOLUME_EXT4;
}

static char *host_place(struct volume_host *h, const char *label)
{
    AUTO_FREE char *folder = os_path_join(h->cfg.data_dir, "volumes");
    return folder ? os_path_join(folder, label) : NULL;
}

/* ---- steps ---- */

static int host_mine(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, enum volume_mine *ret, struct err *e)
{
    (void)h;
    AUTO_FREE uint8_t *buf = malloc(2 * MARK_EDGE_BYTES + ALIGN);
    if (!buf)
        return err_oom(e);
    uint8_t *head = buf + (ALIGN - (uintptr_t)buf % ALIGN), *tail = head + MARK_EDGE_BYTES;
    int r = rawdisk_read(d->device, head, MARK_EDGE_BYTES, 0, e);
    if (r < 0 || (r = rawdisk_read(d->device, tail, MARK_EDGE_BYTES, d->size - MARK_EDGE_BYTES, e)) < 0)
        return r;
    return mark_judge(p, k, head, tail, ret, e);
}

/* Does somebody have a disk of the plan open? */
static int in_hands(const struct linux_host *h, const struct volume_plan *p, bool *ret, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    int r = sysfs_disks(h, &l, e);
    if (r < 0 || (r = rawdisk_users(h, &l, e)) < 0)
        return r;
    *ret = false;
    for (size_t i = 0; i < p->n_disks; i++) {
        const struct hostdisk *d = hostdisks_find(&l, p->disks[i].id);
        *ret |= d && d->user;
    }
    return 0;
}

/* Where systemd rules, a program may be at work in its service; elsewhere it was killed with its daemon, and may have to wait for its last write. */
static int host_settle(struct volume_host *h, const struct volume_plan *p, struct err *e)
{
    const struct linux_host *lh = linux_of(h);
    int64_t deadline = clock_mono_ms() + SETTLE_MS;
    bool busy = true;
    if (tool_systemd())
        tool_end(p);
    for (int r; !tool_systemd() && busy && clock_mono_ms() < deadline; clock_sleep_ms(busy ? 50 : 0)) {
        if ((r = in_hands(lh, p, &busy, e)) < 0)
            return r;
        if (busy && lh->stop && lh->stop(lh->arg))
            return err_set(e, ERR_CANCELLED, "stopped");
    }
    return 0;
}

static int host_take_disk(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, struct err *e)
{
    return table_make(linux_of(h), p, k, d, e);
}

static int host_join(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    return lvm_join(linux_of(h), p, disks, e);
}

static int device_of_plan(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, char **ret, struct err *e)
{
    if (p->layout != VOLUME_STRIPED)
        return table_partition(h, p, disks[0], ret, e);
    struct stat st;
    AUTO_FREE char *device = lvm_device(p);
    if (!device)
        return err_oom(e);
    int r = stat(device, &st) < 0 ? lvm_activate(h, p, disks, e) : 0;
    if (r == 0)
        *ret = STEAL(device);
    return r;
}

static int host_format(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    const struct linux_host *lh = linux_of(h);
    AUTO_FREE char *device = NULL;
    AUTO(hostdisk_content_clear) struct hostdisk_content c = {0};
    int r = device_of_plan(lh, p, disks, &device, e);
    if (r < 0 || (r = content_of(lh, device, &c, e)) < 0)
        return r;
    /* a file system with our id is the beginning of an earlier try: nothing was written into it before this step was recorded as done */
    bool begun = c.uuid && str_ieq(c.uuid, p->id);
    if (c.type && !begun)
        return err_set(e, ERR_DISK_REFUSED, "%s holds %.40s%s%.40s, which this job did not write", device, c.type, c.label ? " " : "", c.label ? c.label : "");
    AUTO_FREE char *uuid = str_printf("uuid=%s", p->id);
    struct tool_rights rights = {.volume = p->id, .devices = {device}, .n_devices = 1, .mapper = p->layout == VOLUME_STRIPED};
    if (!uuid)
        return err_oom(e);
    /* nothing is discarded or initialised that is empty already: writing or unmapping all of a large cloud disk takes long, and is billed */
    const char *const xfs[] = {"mkfs.xfs", "-q", "-K", "-m", uuid, "-L", p->label, begun ? "-f" : device, begun ? device : NULL, NULL};
    const char *const ext4[] = {"mkfs.ext4", "-q", "-F", "-U", p->id, "-L", p->label, "-m", "0", "-E", "nodiscard,lazy_itable_init=1", device, NULL};
    return tool_change(lh, &rights, p->fs == VOLUME_XFS ? xfs : ext4, NULL, FORMAT_MS, NULL, e);
}

static int host_mount(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    AUTO_FREE char *device = NULL;
    int r = device_of_plan(linux_of(h), p, disks, &device, e);
    return r < 0 ? r : mount_make(linux_of(h), p, device, e);
}

static int host_release(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    const struct linux_host *lh = linux_of(h);
    AUTO_FREE char *device = NULL;
    uint64_t offset, size;
    bool all = true;
    int r = 0;
    for (size_t i = 0; i < p->n_disks && r == 0; i++) {
        AUTO_FREE char *part = NULL;
        mark_span(disks[i]->size, &offset, &size);
        r = sysfs_partition(lh, disks[i]->device, offset, size, &part, e);
        all &= part != NULL;
        if (part && p->layout != VOLUME_STRIPED)
            device = STEAL(part);
    }
    if (r == 0 && p->layout == VOLUME_STRIPED && all && !(device = lvm_device(p)))
        r = err_oom(e);
    if (r == 0)
        r = mount_remove(lh, p, device, e);
    if (r == 0 && p->layout == VOLUME_STRIPED && all)
        r = lvm_remove(lh, p, disks, e);
    for (size_t i = 0; i < p->n_disks && r == 0; i++)
        r = p->disks[i].begun ? table_forget(lh, p, disks[i], e) : 0;
    return r;
}

static int host_wipe_disk(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, struct err *e)
{
    (void)k;
    return table_wipe(linux_of(h), p, d, e);
}

static const struct volume_ops ops = {
    .name = "linux", .close = host_close, .disks = host_disks, .look = host_look, .volumes = host_volumes, .fs = host_fs, .takes_fs = host_takes_fs,
    .place = host_place, .settle = host_settle, .mine = host_mine, .take_disk = host_take_disk, .join = host_join, .format = host_format, .mount = host_mount,
    .release = host_release, .wipe_disk = host_wipe_disk,
};

int volume_open(const struct volume_config *cfg, struct volume_host **ret, struct err *e)
{
    struct linux_host *h = calloc(1, sizeof *h);
    if (!h)
        return err_oom(e);
    *h = (struct linux_host){.base = {&ops, *cfg}, .sys = "/sys", .proc = "/proc", .dev = "/dev", .loop = cfg->loop_devices, .stop = cfg->stop, .arg = cfg->arg};
    *ret = &h->base;
    return 0;
}

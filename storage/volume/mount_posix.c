/* Where a volume is: a mount unit of systemd, so that it is there again after a restart (and a restart goes on without it when it is gone), or a plain mount
 * where there is no systemd. */
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/volume/linux.h"
#include "storage/volume/tool.h"

#define UNITS "/etc/systemd/system"
#define OPTIONS "noatime,nodev,nosuid,noexec"        /* images of disks lie there, and nothing that is run */
#define MOUNT_MS 150000

/* The unit of a mount point has its path as name: '/' becomes '-', what else is special \xNN. */
static char *unit_of(const char *path)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.";
    AUTO_STRBUF struct strbuf b = {.max = 200};
    for (const char *s = path + strspn(path, "/"); *s; s++) {
        if (*s == '/') {
            if (s[1] && s[1] != '/')
                strbuf_adds(&b, "-");
        } else if (strchr(plain, *s) && !(*s == '.' && !b.len)) {
            strbuf_add(&b, s, 1);
        } else {
            strbuf_addf(&b, "\\x%02x", (unsigned char)*s);
        }
    }
    strbuf_adds(&b, ".mount");
    return strbuf_steal(&b);
}

/* '%' begins a specifier in a unit. */
static void add_value(struct strbuf *b, const char *s)
{
    for (; *s; s++)
        strbuf_adds(b, *s == '%' ? "%%" : (char[2]){*s, 0});
}

static int unit_text(const struct volume_plan *p, struct strbuf *b, struct err *e)
{
    strbuf_addf(b, "# Made by vmrecover for the volume %s, and removed with it.\n[Unit]\nDescription=vmrecover volume %s\n\n[Mount]\nWhat=/dev/disk/by-uuid/%s\nWhere=", p->id,
                p->label, p->id);
    add_value(b, p->mount_point);
    strbuf_addf(b, "\nType=%s\nOptions=nofail," OPTIONS "\n\n[Install]\nWantedBy=multi-user.target\n", volume_fs_name(p->fs));
    return b->failed ? err_oom(e) : 0;
}

/* A unit of that name may be the administrator's, a package's, or fstab's. *ret: it is the one of this volume; false: there is none. */
static int find_unit(const struct volume_plan *p, const char *unit, bool *ret, char **ret_other, struct err *e)
{
    static const char *const folders[] = {UNITS, "/run/systemd/system", "/run/systemd/generator", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"};
    *ret = false;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        AUTO_FREE char *file = os_path_join(folders[i], unit), *text = NULL;
        struct err why;
        if (!file)
            return err_oom(e);
        int r = os_read_file(file, 65536, &text, NULL, &why);
        if (r == -ERR_NOT_FOUND)
            continue;
        if (r == 0 && strstr(text, p->id))
            *ret = true;
        else if (!*ret_other && !(*ret_other = STEAL(file)))
            return err_oom(e);
    }
    return 0;
}

/* Brings a file into the folder of the units, where the daemon itself may not write. */
static int install_unit(const struct linux_host *h, const struct volume_plan *p, const char *unit, struct err *e)
{
    AUTO_STRBUF struct strbuf text = {.max = OS_INPUT_MAX};
    AUTO_FREE char *target = os_path_join(UNITS, unit), *other = NULL;
    struct tool_rights rights = {.volume = p->id, .folder = UNITS};
    bool ours;
    if (!target)
        return err_oom(e);
    int r = find_unit(p, unit, &ours, &other, e);
    if (r == 0 && other) {
        err_set(e, ERR_VOLUME, "%s is another's: something else is to be mounted at %s", other, p->mount_point);
        r = err_hint(e, "Ask for another mount_point, or remove what %.200s stands for.", other);
    }
    if (r < 0 || (r = unit_text(p, &text, e)) < 0)
        return r;
    const char *const argv[] = {"install", "-m", "644", "-T", "/dev/stdin", target, NULL};
    if ((r = tool_change(h, &rights, argv, text.data, TOOL_MS, NULL, e)) < 0)
        return r;
    return tool_systemctl(h, "daemon-reload", NULL, e);
}

static int on_entry(void *arg, const char *name)
{
    snprintf(arg, 80, "%s", name);
    return 1;
}

/* The folder must be ours to take: new, or empty. */
static int check_place(const struct volume_plan *p, struct err *e)
{
    struct os_stat st;
    char first[80] = "";
    int r = os_stat(p->mount_point, &st, e);
    if (r < 0 || !st.exists)
        return r;
    if (!st.is_dir)
        return err_set(e, ERR_VOLUME, "%s is a file; a volume is mounted on a folder", p->mount_point);
    if ((r = os_list_dir(p->mount_point, on_entry, first, e)) <= 0)
        return r;
    err_set(e, ERR_VOLUME, "the folder %s is not empty (%s): a volume that is mounted there would hide that", p->mount_point, first);
    return err_hint(e, "Empty the folder, or ask for another mount_point.");
}

static int by_device(const struct linux_host *h, const struct volume_plan *p, const char *device, struct err *e)
{
    struct tool_rights rights = {.volume = p->id, .devices = {device}, .n_devices = 1};
    int r = os_mkdirs(p->mount_point, 0, e);
    if (r < 0)
        return r;
    const char *const argv[] = {"mount", "--types", volume_fs_name(p->fs), "--options", OPTIONS, device, p->mount_point, NULL};
    return tool_change(h, &rights, argv, NULL, MOUNT_MS, NULL, e);
}

/* *ret: the device is mounted at the place of the plan. *ret_other: something else is; where the place is to be taken (ret_other NULL), that is
 * ERR_VOLUME. So is the device at another place. */
static int find_mount(const struct linux_host *h, const struct volume_plan *p, const char *device, bool *ret, bool *ret_other, struct err *e)
{
    struct sysfs_mount *list;
    size_t n;
    AUTO_FREE char *real = device ? os_real_path(device) : NULL;
    int r = sysfs_mounts(h, &list, &n, e);
    if (r < 0)
        return r;
    *ret = false;
    for (size_t i = 0; i < n && r == 0; i++) {
        AUTO_FREE char *other = os_real_path(list[i].device);
        bool here = !strcmp(list[i].where, p->mount_point), same = real && other && !strcmp(real, other);
        if (here && !same && ret_other)
            *ret_other = true;
        else if (here && !same)
            r = err_set(e, ERR_VOLUME, "%s is taken: %s is mounted there", p->mount_point, list[i].device);
        else if (same && !here)
            r = err_set(e, ERR_VOLUME, "the volume %s is mounted at %s already, and not at %s", p->label, list[i].where, p->mount_point);
        *ret |= here && same;
    }
    sysfs_mounts_free(list, n);
    return r;
}

int mount_make(const struct linux_host *h, const struct volume_plan *p, const char *device, struct err *e)
{
    bool there;
    int r = find_mount(h, p, device, &there, NULL, e);
    if (r < 0 || (!there && (r = check_place(p, e)) < 0))
        return r;
    if (!tool_systemd())
        return there ? 0 : by_device(h, p, device, e);
    AUTO_FREE char *unit = unit_of(p->mount_point);
    if (!unit)
        return err_set(e, ERR_VALUE, "the path %.200s is too long for a mount unit", p->mount_point);
    if ((r = install_unit(h, p, unit, e)) < 0 || (r = tool_systemctl(h, "enable", unit, e)) < 0)
        return r;
    return tool_systemctl(h, "start", unit, e);
}

static int remove_unit(const struct linux_host *h, const struct volume_plan *p, bool mounted, struct err *e)
{
    AUTO_FREE char *unit = unit_of(p->mount_point), *file = unit ? os_path_join(UNITS, unit) : NULL, *other = NULL;
    struct tool_rights rights = {.volume = p->id, .folder = UNITS};
    bool ours;
    if (!file)
        return err_oom(e);
    int r = find_unit(p, unit, &ours, &other, e);
    if (r == 0 && mounted)                           /* PID 1 has a unit for every mount, whoever made it */
        r = tool_systemctl(h, "stop", unit, e);
    if (r < 0 || !ours)
        return r;
    if ((r = tool_systemctl(h, "disable", unit, e)) < 0 ||
        (r = tool_change(h, &rights, (const char *const[]){"rm", "-f", file, NULL}, NULL, TOOL_MS, NULL, e)) < 0)
        return r;
    return tool_systemctl(h, "daemon-reload", NULL, e);
}

/* What else is there, and not of this plan, stays. */
int mount_remove(const struct linux_host *h, const struct volume_plan *p, const char *device, struct err *e)
{
    struct tool_rights rights = {.volume = p->id};
    struct err ignored;
    bool there = false, other = false;
    int r = find_mount(h, p, device, &there, &other, e);
    if (r < 0)
        return r;
    if (tool_systemd())
        r = remove_unit(h, p, there, e);
    else if (there)
        r = tool_change(h, &rights, (const char *const[]){"umount", p->mount_point, NULL}, NULL, MOUNT_MS, NULL, e);
    if (r == 0 && !other)
        os_remove_empty_dir(p->mount_point, &ignored);
    return r;
}

/* The host's disks as the kernel lists them: size, model, id, bus, partitions, what is mounted from them and built on them.
 *
 * Ids, the first that there is: the World Wide Name of the disk (wwid); its serial number; for a loop device its file; the place where it is connected.
 * Roles come from what runs from the disk and, in Azure, from the channel that it is behind (device ids of VMBus, models of NVMe disks, as in the udev
 * rules that Azure's images bring). */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/os.h"
#include "storage/volume/linux.h"

#define FILE_MAX 65536
#define MOUNTS_MAX (4 << 20)
#define DEPTH_MAX 8                                  /* a partition, LUKS, LVM, a cache below … */

static char *trimmed(char *s)
{
    size_t n = strlen(s), from = 0;
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    while (from < n && isspace((unsigned char)s[from]))
        from++;
    memmove(s, s + from, n - from);
    s[n - from] = 0;
    return s;
}

char *linux_read(const char *folder, const char *name)
{
    AUTO_FREE char *path = os_path_join(folder, name);
    char *text = NULL;
    size_t n;
    struct err ignored;
    if (!path || os_read_file(path, FILE_MAX, &text, &n, &ignored) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)                   /* binary rubbish in a serial number is no text */
        if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t')
            text[i] = ' ';
    if (!str_is_utf8(text, n))
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)text[i] >= 0x80)
                text[i] = '?';
    return trimmed(text);
}

static unsigned long long number(const char *folder, const char *name)
{
    AUTO_FREE char *text = linux_read(folder, name);
    unsigned long long v = 0;
    return text && str_to_u64(text, UINT64_MAX, &v) ? v : 0;
}

static bool is(const char *folder, const char *name, const char *value)
{
    AUTO_FREE char *text = linux_read(folder, name);
    return text && !strcmp(text, value);
}

/* ---- what is mounted, and what is swapped to: by device number ---- */

struct mount { unsigned major, minor; char *where; };
struct mounts { struct mount *at; size_t n; };

static void mounts_clear(struct mounts *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->at[i].where);
    free(m->at);
    *m = (struct mounts){0};
}

/* \040 and the like, as the kernel writes spaces in paths */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++, to++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *to = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to = *s;
        }
    }
    *to = 0;
}

static int add_mount(struct mounts *m, unsigned major, unsigned minor, const char *where, struct err *e)
{
    if (!(m->n & (m->n - 1))) {
        void *more = realloc(m->at, (m->n ? m->n * 2 : 1) * sizeof *m->at);
        if (!more)
            return err_oom(e);
        m->at = more;
    }
    struct mount *one = &m->at[m->n];
    *one = (struct mount){major, minor, str_dup(where)};
    if (!one->where)
        return err_oom(e);
    m->n++;
    return 0;
}

/* The device behind a path of the host; false: it is none. */
static bool device_of(const struct linux_host *h, char *path, unsigned *ret_major, unsigned *ret_minor)
{
    struct stat st;
    unescape(path);
    AUTO_FREE char *real = str_starts(path, "/dev/") ? str_printf("%s%s", h->dev, path + strlen("/dev")) : str_dup(path);
    if (!real || stat(real, &st) < 0 || !S_ISBLK(st.st_mode))
        return false;
    *ret_major = major(st.st_rdev);
    *ret_minor = minor(st.st_rdev);
    return true;
}

/* "36 35 98:0 /root /where options … - type source …" */
static int add_mount_line(const struct linux_host *h, struct mounts *m, char *line, struct err *e)
{
    char *field[5], *rest = line;
    for (size_t i = 0; i < ARRAY_LEN(field); i++)
        if (!(field[i] = str_sep(&rest, " ")))
            return 0;
    unsigned ma, mi;
    char end;
    if (sscanf(field[2], "%u:%u%c", &ma, &mi, &end) != 2)
        return 0;
    unescape(field[4]);
    int r = 0;
    char *source = rest ? strstr(rest, " - ") : NULL;
    if (ma)
        r = add_mount(m, ma, mi, field[4], e);
    if (r < 0 || !source)
        return r;
    source += 3;
    str_sep(&source, " ");                           /* the type; btrfs mounts have a device number of their own, and name the device here */
    char *device = str_sep(&source, " ");
    return !ma && device && device_of(h, device, &ma, &mi) ? add_mount(m, ma, mi, field[4], e) : 0;
}

static int read_mounts(const struct linux_host *h, struct mounts *m, struct err *e)
{
    AUTO_FREE char *info = str_printf("%s/self/mountinfo", h->proc), *swaps = str_printf("%s/swaps", h->proc), *text = NULL, *swap_text = NULL;
    if (!info || !swaps)
        return err_oom(e);
    int r = os_read_file(info, MOUNTS_MAX, &text, NULL, e);
    char *rest = text;
    for (char *line; r == 0 && (line = str_sep(&rest, "\n"));)
        r = add_mount_line(h, m, line, e);
    struct err ignored;
    if (r < 0 || os_read_file(swaps, MOUNTS_MAX, &swap_text, NULL, &ignored) < 0)      /* a kernel without swapping has none */
        return r;
    rest = swap_text;
    for (char *line; r == 0 && (line = str_sep(&rest, "\n"));) {
        unsigned ma, mi;
        line[strcspn(line, " \t")] = 0;
        if (device_of(h, line, &ma, &mi))
            r = add_mount(m, ma, mi, "[SWAP]", e);
    }
    return r;
}

static const char *mounted_at(const struct mounts *m, const char *folder)
{
    AUTO_FREE char *dev = linux_read(folder, "dev");
    unsigned ma, mi;
    const char *found = NULL;
    if (!dev || sscanf(dev, "%u:%u", &ma, &mi) != 2)
        return NULL;
    for (size_t i = 0; i < m->n; i++)
        if (m->at[i].major == ma && m->at[i].minor == mi && (!found || strlen(m->at[i].where) < strlen(found)))
            found = m->at[i].where;                  /* of several the shortest: the others are mostly binds of parts of it */
    return found;
}

static bool is_system_place(const char *where)
{
    static const char *const places[] = {"/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/etc"};
    for (size_t i = 0; where && i < ARRAY_LEN(places); i++)
        if (!strcmp(where, places[i]))
            return true;
    return false;
}

/* Calls fn with each entry of a folder of sysfs, in the order of the names, until it returns something else than 0. */
struct names { char **at; size_t n; };
static int add_name(void *arg, const char *name)
{
    struct names *l = arg;
    if (!(l->n & (l->n - 1))) {
        void *more = realloc(l->at, (l->n ? l->n * 2 : 1) * sizeof *l->at);
        if (!more)
            return -ERR_OOM;
        l->at = more;
    }
    if (!(l->at[l->n] = str_dup(name)))
        return -ERR_OOM;
    l->n++;
    return 0;
}
static void names_clear(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
}
static int by_name(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}
static int list_names(const char *folder, struct names *ret, struct err *e)
{
    int r = os_list_dir(folder, add_name, ret, e);
    if (r == -ERR_OOM)
        return err_oom(e);
    if (r == 0 && ret->n)
        qsort(ret->at, ret->n, sizeof *ret->at, by_name);
    return r;
}

/* ---- what is built on it ---- */

/* Does the system run from what is built on this device, or on its partitions? */
static bool carries_system(const struct linux_host *h, const struct mounts *m, const char *folder, unsigned depth)
{
    AUTO(names_clear) struct names holders = {0}, parts = {0};
    AUTO_FREE char *below = os_path_join(folder, "holders");
    struct err ignored;
    bool yes = is_system_place(mounted_at(m, folder));
    if (depth == DEPTH_MAX || !below)
        return true;                                 /* nobody can tell: take the safe side */
    if (list_names(below, &holders, &ignored) == 0)
        for (size_t i = 0; i < holders.n && !yes; i++) {
            AUTO_FREE char *one = str_printf("%s/block/%s", h->sys, holders.at[i]);
            yes = !one || carries_system(h, m, one, depth + 1);
        }
    if (list_names(folder, &parts, &ignored) == 0)
        for (size_t i = 0; i < parts.n && !yes; i++) {
            AUTO_FREE char *one = os_path_join(folder, parts.at[i]);
            AUTO_FREE char *is_part = one ? linux_read(one, "partition") : NULL;
            yes = !one || (is_part && carries_system(h, m, one, depth + 1));
        }
    return yes;
}

/* "dm-0 (vg-volume), md0" */
static int add_holders(const struct linux_host *h, const char *folder, struct strbuf *text, struct err *e)
{
    AUTO(names_clear) struct names holders = {0};
    AUTO_FREE char *below = os_path_join(folder, "holders");
    struct err ignored;
    if (!below)
        return err_oom(e);
    if (list_names(below, &holders, &ignored) < 0)
        return 0;
    for (size_t i = 0; i < holders.n; i++) {
        AUTO_FREE char *one = str_printf("%s/block/%s", h->sys, holders.at[i]);
        AUTO_FREE char *name = one ? linux_read(one, "dm/name") : NULL;
        strbuf_addf(text, "%s%s%s%s%s", text->len ? ", " : "", holders.at[i], name ? " (" : "", name ? name : "", name ? ")" : "");
    }
    return 0;
}

/* ---- partitions that the kernel knows ---- */

static int add_parts(const struct linux_host *h, const struct mounts *m, const char *folder, struct hostdisk *d, struct strbuf *holders, struct err *e)
{
    AUTO(names_clear) struct names l = {0};
    int r = list_names(folder, &l, e);
    for (size_t i = 0; r == 0 && i < l.n; i++) {
        AUTO_FREE char *one = os_path_join(folder, l.at[i]);
        AUTO_FREE char *is_part = one ? linux_read(one, "partition") : NULL;
        if (!is_part)
            continue;
        struct hostdisk_part *p = hostdisk_add_part(d);
        if (!p)
            return err_oom(e);
        const char *where = mounted_at(m, one);
        p->number = (unsigned)number(one, "partition");
        p->offset = number(one, "start") * 512;
        p->size = number(one, "size") * 512;
        p->device = str_printf("%s/%s", h->dev, l.at[i]);
        p->mounted = str_dup(where);
        if (!p->device || (where && !p->mounted))
            return err_oom(e);
        r = add_holders(h, one, holders, e);
    }
    return r;
}

/* ---- the disk itself ---- */

/* One word of what a vendor wrote: nothing that would need quoting in a shell or a URL. */
static char *word(const char *prefix, const char *s)
{
    AUTO_STRBUF struct strbuf b = {.max = 200};
    strbuf_adds(&b, prefix);
    for (bool gap = false; *s; s++) {
        bool plain = isalnum((unsigned char)*s) || strchr("._:-+", *s);
        if (plain || !gap)
            strbuf_add(&b, plain ? s : "_", 1);
        gap = !plain;
    }
    return strbuf_steal(&b);
}

static enum hostdisk_bus bus_of(const char *name, const char *path)
{
    static const struct { const char *part; enum hostdisk_bus bus; } parts[] = {
        {"/usb", HOSTDISK_USB}, {"/session", HOSTDISK_ISCSI}, {"/rport-", HOSTDISK_FC}, {"/end_device-", HOSTDISK_SAS}, {"/ata", HOSTDISK_SATA},
        {"/nvme/", HOSTDISK_NVME}, {"/mmc_host/", HOSTDISK_MMC}, {"/virtio", HOSTDISK_VIRTIO}, {"/vbd-", HOSTDISK_XEN},
    };
    if (str_starts(name, "loop"))
        return HOSTDISK_LOOP;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(path, parts[i].part))
            return parts[i].bus;
    return str_starts(name, "nvme") ? HOSTDISK_NVME : str_starts(name, "sd") ? HOSTDISK_SCSI : HOSTDISK_BUS_OTHER;
}

/* The device id of the VMBus channel that the disk is behind, without braces: Hyper-V's and Azure's. "" if there is none. */
static void vmbus_id(const char *path, char ret[40])
{
    AUTO_FREE char *at = str_dup(path);
    *ret = 0;
    for (char *slash; at && (slash = strrchr(at, '/')) && slash != at; *slash = 0) {
        AUTO_FREE char *id = linux_read(at, "device_id");
        if (!id)
            continue;
        const char *from = id + (*id == '{');
        snprintf(ret, 40, "%.*s", (int)strcspn(from, "}"), from);
        return;
    }
}

/* path: of the disk's device in sysfs, links resolved. */
static enum hostdisk_role cloud_role(const char *path, const char *model, const char *folder)
{
    static const char *const local_models[] = {"Microsoft NVMe Direct Disk", "Amazon EC2 NVMe Instance Storage"};
    for (size_t i = 0; i < ARRAY_LEN(local_models); i++)
        if (str_starts(model, local_models[i]))
            return HOSTDISK_TEMPORARY;
    if (str_starts(model, "MSFT NVMe Accelerator"))
        return number(folder, "nsid") == 1 ? HOSTDISK_OS : HOSTDISK_DATA;
    char id[40];
    vmbus_id(path, id);
    if (str_istarts(id, "00000000-0000-"))            /* generation 1: the first IDE channel, and the second */
        return HOSTDISK_OS;
    if (str_istarts(id, "00000000-0001-"))
        return HOSTDISK_TEMPORARY;
    if (str_ieq(id, "f8b3781a-1e82-4818-a1c3-63d806ec15bb")) {      /* generation 2: the SCSI controller of the system's own disks */
        const char *lun = strrchr(path, ':');
        if (lun && !strcmp(lun, ":0"))
            return HOSTDISK_OS;
        if (lun && !strcmp(lun, ":1"))
            return HOSTDISK_TEMPORARY;
    }
    return HOSTDISK_DATA;
}

/* What tells the disk from any other, now and after a restart. */
static char *id_of(const struct linux_host *h, const char *folder, const char *path, const struct hostdisk *d, const char *backing)
{
    AUTO_FREE char *own = linux_read(folder, "wwid"), *device = own && *own ? NULL : linux_read(folder, "device/wwid");
    const char *wwid = own && *own ? own : device;
    AUTO_FREE char *real_sys = os_real_path(h->sys);
    if (backing)
        return str_printf("loop-%s", backing);
    if (wwid && *wwid)
        return word("", wwid);
    if (*d->serial) {
        AUTO_FREE char *prefix = str_printf("%s-", hostdisk_bus_name(d->bus));
        return prefix ? word(prefix, d->serial) : NULL;
    }
    const char *place = path;
    if (real_sys && str_starts(path, real_sys))
        place = path + strlen(real_sys);
    place += str_starts(place, "/devices/") ? strlen("/devices/") : 0;
    return word("path-", place);
}

static char *serial_of(const char *folder)
{
    static const char *const names[] = {"serial", "device/serial"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *s = linux_read(folder, names[i]);
        if (s && *s)
            return s;
        free(s);
    }
    AUTO_FREE char *path = os_path_join(folder, "device/vpd_pg80");   /* unit serial number: four bytes, then the text */
    char *page = NULL;
    size_t n = 0;
    struct err ignored;
    if (path && os_read_file(path, FILE_MAX, &page, &n, &ignored) == 0 && n > 4 && str_is_utf8(page + 4, strnlen(page + 4, n - 4))) {
        memmove(page, page + 4, n - 3);
        return trimmed(page);
    }
    free(page);
    return str_dup("");
}

static char *model_of(const char *folder)
{
    AUTO_FREE char *vendor = linux_read(folder, "device/vendor"), *model = linux_read(folder, "device/model");
    if (vendor && str_starts(vendor, "0x"))           /* a number of virtio's */
        *vendor = 0;
    return str_printf("%s%s%s", vendor ? vendor : "", vendor && *vendor && model ? " " : "", model ? model : "");
}

/* Is the file of a loop device the same that it was when it was attached? Then its number is a serial. */
static char *backing_serial(const char *backing)
{
    struct stat st;
    return stat(backing, &st) < 0 ? str_dup("") : str_printf("%u:%u-%llu", major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino);
}

static int add_disk(const struct linux_host *h, const struct mounts *m, const char *name, const char *folder, const char *boot, struct hostdisks *l,
                    struct err *e)
{
    AUTO_FREE char *backing = linux_read(folder, "loop/backing_file"), *device_link = os_path_join(folder, backing ? "" : "device");
    AUTO_FREE char *path = device_link ? os_real_path(device_link) : NULL;
    AUTO_STRBUF struct strbuf holders = {.max = 4096};
    if (!path)
        return err_oom(e);
    struct hostdisk *d = hostdisks_add(l);
    if (!d)
        return l->n == HOSTDISKS_MAX ? 0 : err_oom(e);
    d->size = number(folder, "size") * 512;
    d->sector = (uint32_t)number(folder, "queue/logical_block_size");
    d->read_only = number(folder, "ro") != 0;
    d->removable = !backing && number(folder, "removable") != 0;
    d->no_medium = d->size == 0;
    d->bus = bus_of(name, path);
    if (d->bus == HOSTDISK_MMC && is(folder, "device/type", "SD"))
        d->bus = HOSTDISK_SD;
    unsigned long long seq = number(folder, "diskseq");
    d->device = str_printf("%s/%s", h->dev, name);
    d->model = backing ? str_dup("loop device") : model_of(folder);
    d->serial = backing ? backing_serial(backing) : serial_of(folder);
    d->moment = seq && boot ? str_printf("%s/%llu", boot, seq) : str_dup("");
    d->id = d->serial ? id_of(h, folder, path, d, backing) : NULL;
    if (!d->device || !d->model || !d->serial || !d->moment || !d->id)
        return err_oom(e);
    if (is(folder, "queue/zoned", "host-managed") && !(d->health = str_dup("its zones must be written in order (host-managed)")))
        return err_oom(e);
    const char *where = mounted_at(m, folder);
    d->mounted = str_dup(where);
    if (where && !d->mounted)
        return err_oom(e);
    d->role = carries_system(h, m, folder, 0) ? HOSTDISK_OS : backing ? HOSTDISK_DATA : cloud_role(path, d->model, folder);
    int r = add_holders(h, folder, &holders, e);
    if (r == 0)
        r = add_parts(h, m, folder, d, &holders, e);
    if (r == 0 && (holders.len || holders.failed) && !(d->holders = strbuf_steal(&holders)))
        r = err_oom(e);
    return r;
}

/* Disks in the sense of the word: behind a bus, or a loop device when those count. No floppies, optical drives or tapes; no paths of a multipath NVMe
 * disk that has a name of its own; nothing that is built on something else. */
static bool is_disk(const struct linux_host *h, const char *name, const char *folder)
{
    static const char *const others[] = {"sr", "fd", "mtd", "ram", "zram", "nbd"};
    AUTO_FREE char *device = os_path_join(folder, "device"), *loop = os_path_join(folder, "loop");
    AUTO_FREE char *type = linux_read(folder, "device/type");
    struct os_stat st;
    struct err ignored;
    if (str_starts(name, "loop"))
        return h->loop && loop && os_stat(loop, &st, &ignored) == 0 && st.exists;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (str_starts(name, others[i]))
            return false;
    if (str_starts(name, "sd") && type && strcmp(type, "0") != 0 && strcmp(type, "14") != 0 && strcmp(type, "20") != 0)
        return false;                                 /* SCSI: direct access, reduced, zoned */
    if (is(folder, "hidden", "1"))
        return false;
    return device && os_stat(device, &st, &ignored) == 0 && st.exists;
}

int sysfs_disks(const struct linux_host *h, struct hostdisks *ret, struct err *e)
{
    AUTO(mounts_clear) struct mounts m = {0};
    AUTO(names_clear) struct names blocks = {0};
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    AUTO_FREE char *block = os_path_join(h->sys, "block"), *boot = linux_read(h->proc, "sys/kernel/random/boot_id");
    if (!block)
        return err_oom(e);
    int r = read_mounts(h, &m, e);
    if (r == 0)
        r = list_names(block, &blocks, e);
    for (size_t i = 0; r == 0 && i < blocks.n; i++) {
        AUTO_FREE char *folder = os_path_join(block, blocks.at[i]);
        if (!folder)
            return err_oom(e);
        if (is_disk(h, blocks.at[i], folder))
            r = add_disk(h, &m, blocks.at[i], folder, boot, &l, e);
    }
    if (r < 0)
        return r;
    hostdisks_mark_ambiguous(&l);
    *ret = l;
    l = (struct hostdisks){0};
    return 0;
}

/* ---- single questions ---- */

int sysfs_partition(const struct linux_host *h, const char *disk, uint64_t offset, uint64_t size, char **ret_device, struct err *e)
{
    AUTO(names_clear) struct names l = {0};
    AUTO_FREE char *folder = str_printf("%s/block/%s", h->sys, os_path_base(disk));
    *ret_device = NULL;
    if (!folder)
        return err_oom(e);
    int r = list_names(folder, &l, e);
    for (size_t i = 0; i < l.n && r == 0 && !*ret_device; i++) {
        AUTO_FREE char *one = os_path_join(folder, l.at[i]);
        AUTO_FREE char *is_part = one ? linux_read(one, "partition") : NULL, *device = is_part ? str_printf("%s/%s", h->dev, l.at[i]) : NULL;
        struct stat st;
        if (device && number(one, "start") * 512 == offset && number(one, "size") * 512 == size && stat(device, &st) == 0 && S_ISBLK(st.st_mode))
            *ret_device = STEAL(device);
    }
    return r;
}

bool sysfs_discards(const struct linux_host *h, const char *disk)
{
    AUTO_FREE char *folder = str_printf("%s/block/%s", h->sys, os_path_base(disk));
    return folder && number(folder, "queue/discard_max_bytes") > 0;
}

void sysfs_mounts_free(struct sysfs_mount *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].where);
        free(list[i].device);
        free(list[i].type);
    }
    free(list);
}

/* A whole file system, not a folder of it; of a device that is mounted at several places the first. */
static int take_mount(const struct linux_host *h, char *line, struct sysfs_mount **list, size_t *n, struct err *e)
{
    char *field[6], *rest = line;
    for (size_t i = 0; i < ARRAY_LEN(field); i++)
        if (!(field[i] = str_sep(&rest, " ")))
            return 0;
    /* optional fields may stand before the '-', or none */
    char *source = !rest ? NULL : str_starts(rest, "- ") ? rest + 2 : strstr(rest, " - ");
    if (!source || strcmp(field[3], "/"))
        return 0;
    source += *source == ' ' ? 3 : 0;
    char *type = str_sep(&source, " "), *device = str_sep(&source, " ");
    unsigned ma, mi;
    if (!type || !device || !device_of(h, device, &ma, &mi))
        return 0;
    for (size_t i = 0; i < *n; i++)
        if ((*list)[i].major == ma && (*list)[i].minor == mi)
            return 0;
    if (!(*n & (*n - 1))) {
        void *more = realloc(*list, (*n ? *n * 2 : 1) * sizeof **list);
        if (!more)
            return err_oom(e);
        *list = more;
    }
    unescape(field[4]);
    struct sysfs_mount *one = &(*list)[(*n)++];
    *one = (struct sysfs_mount){ma, mi, str_dup(field[4]), str_dup(device), str_dup(type), !strncmp(field[5], "ro", 2)};
    return one->where && one->device && one->type ? 0 : err_oom(e);
}

int sysfs_mounts(const struct linux_host *h, struct sysfs_mount **ret, size_t *ret_n, struct err *e)
{
    AUTO_FREE char *path = str_printf("%s/self/mountinfo", h->proc), *text = NULL;
    struct sysfs_mount *list = NULL;
    size_t n = 0;
    if (!path)
        return err_oom(e);
    int r = os_read_file(path, MOUNTS_MAX, &text, NULL, e);
    char *rest = text;
    for (char *line; r == 0 && (line = str_sep(&rest, "\n"));)
        r = take_mount(h, line, &list, &n, e);
    if (r < 0) {
        sysfs_mounts_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

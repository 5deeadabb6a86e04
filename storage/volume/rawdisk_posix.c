/* The disks' devices: who has them open, and their bytes. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/os.h"
#include "storage/volume/linux.h"

/* ---- who has it open: every descriptor of every process that we may look at ---- */

/* Looks at each new disk for a moment, as we do. */
static bool is_passer_by(const char *name)
{
    return !strcmp(name, "systemd-udevd") || !strcmp(name, "(udev-worker)") || !strcmp(name, "multipathd") || !strcmp(name, "udisksd");
}

/* The disk that this device is, or is a partition of. */
static struct hostdisk *disk_of(struct hostdisks *l, const dev_t *numbers, const size_t *owners, size_t n, dev_t rdev)
{
    for (size_t i = 0; i < n; i++)
        if (numbers[i] == rdev)
            return &l->at[owners[i]];
    return NULL;
}

struct nodes { dev_t *numbers; size_t *owners; size_t n; };

static int list_nodes(const struct hostdisks *l, struct nodes *ret, struct err *e)
{
    size_t max = l->n;
    for (size_t i = 0; i < l->n; i++)
        max += l->at[i].n_parts;
    ret->numbers = calloc(max + 1, sizeof *ret->numbers);
    ret->owners = calloc(max + 1, sizeof *ret->owners);
    if (!ret->numbers || !ret->owners)
        return err_oom(e);
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k <= l->at[i].n_parts; k++) {
            const char *path = k ? l->at[i].parts[k - 1].device : l->at[i].device;
            struct stat st;
            if (!path || stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
                continue;
            ret->numbers[ret->n] = st.st_rdev;
            ret->owners[ret->n++] = i;
        }
    return 0;
}

static void look_into(const struct linux_host *h, const char *pid, struct hostdisks *l, const struct nodes *nodes)
{
    AUTO_FREE char *folder = str_printf("%s/%s/fd", h->proc, pid), *process = str_printf("%s/%s", h->proc, pid);
    DIR *fds = folder && process ? opendir(folder) : NULL;
    for (struct dirent *ent; fds && (ent = readdir(fds));) {
        struct stat st;
        if (fstatat(dirfd(fds), ent->d_name, &st, 0) < 0 || !S_ISBLK(st.st_mode))
            continue;
        struct hostdisk *d = disk_of(l, nodes->numbers, nodes->owners, nodes->n, st.st_rdev);
        AUTO_FREE char *name = d && !d->user ? linux_read(process, "comm") : NULL;
        if (name && !is_passer_by(name))
            d->user = str_printf("the program %.40s (process %s)", name, pid);
    }
    if (fds)
        closedir(fds);
}

int rawdisk_users(const struct linux_host *h, struct hostdisks *l, struct err *e)
{
    struct nodes nodes = {0};
    int r = list_nodes(l, &nodes, e);
    DIR *proc = r == 0 && nodes.n ? opendir(h->proc) : NULL;
    pid_t self = getpid();
    for (struct dirent *ent; proc && (ent = readdir(proc));)
        if (isdigit((unsigned char)ent->d_name[0]) && atoi(ent->d_name) != self)
            look_into(h, ent->d_name, l, &nodes);
    if (proc)
        closedir(proc);
    free(nodes.numbers);
    free(nodes.owners);
    return r;
}

/* A device that is mounted, swapped to, or built on is claimed by the kernel; so is one whose partition is. */
int rawdisk_free(const char *device, struct err *e)
{
    int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    return errno == EBUSY ? err_set(e, ERR_BUSY, "%s is in use", device) : err_os(e, ERR_IO, errno, "cannot open %s", device);
}

static int try_claim(struct hostdisk *d, struct err *e)
{
    struct err why;
    int r = rawdisk_free(d->device, &why);
    d->claimed = r == -ERR_BUSY;
    if (r < 0 && !d->claimed && !(d->unreadable = str_dup(why.msg)))
        return err_oom(e);
    return 0;
}

int rawdisk_probe(const struct linux_host *h, struct hostdisks *l, struct err *e)
{
    int r = rawdisk_users(h, l, e);
    for (size_t i = 0; i < l->n && r == 0; i++)
        if (!l->at[i].no_medium)
            r = try_claim(&l->at[i], e);
    return r;
}

/* ---- its bytes ---- */

struct raw { int fd; const char *name; };

static int read_raw(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    const struct raw *raw = arg;
    for (size_t done = 0; done < n;) {
        ssize_t k = pread(raw->fd, (char *)buf + done, n - done, (off_t)(offset + done));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_os(e, ERR_IO, errno, "cannot read %s at %llu", raw->name, (unsigned long long)(offset + done));
        if (k == 0)
            return err_set(e, ERR_IO, "%s ends at %llu, and should be longer", raw->name, (unsigned long long)(offset + done));
        done += (size_t)k;
    }
    return 0;
}

static int open_raw(const char *device, struct raw *ret, struct err *e)
{
    *ret = (struct raw){open(device, O_RDONLY | O_DIRECT | O_CLOEXEC), device};
    if (ret->fd < 0 && errno == EINVAL)               /* a driver without it */
        ret->fd = open(device, O_RDONLY | O_CLOEXEC);
    return ret->fd < 0 ? err_os(e, ERR_IO, errno, "cannot open %s", device) : 0;
}

int rawdisk_read(const char *device, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct raw raw;
    int r = open_raw(device, &raw, e);
    if (r < 0)
        return r;
    r = read_raw(&raw, buf, n, offset, e);
    close(raw.fd);
    return r;
}

int rawdisk_look(struct hostdisk *d, unsigned turn, bool between, struct err *e)
{
    struct raw raw;
    struct err why;
    if (open_raw(d->device, &raw, &why) < 0)
        return (d->unreadable = str_dup(why.msg)) ? 0 : err_oom(e);
    int r = (between ? hostdisk_look_between : hostdisk_look)(d, turn, read_raw, &raw, e);
    close(raw.fd);
    return r;
}

#include "common/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

struct os_file {
    int fd;
    char name[];                                      /* for messages */
};

int os_main_args(int *argc, char ***argv, struct err *e)
{
    (void)argc;
    (void)argv;
    (void)e;
    return 0;
}

char *os_getenv(const char *name)
{
    return str_dup(getenv(name));
}

enum err_code os_error_code(long os_code)
{
    switch (os_code) {
    case ENOSPC: case EDQUOT: case EFBIG: return ERR_DISK_FULL;
    case EACCES: case EPERM: case EROFS: return ERR_PERMISSION;
    case ENOMEM: return ERR_OOM;
    case ENOENT: case ENOTDIR: return ERR_NOT_FOUND;
    default: return ERR_OK;
    }
}

void os_error_text(long os_code, char *buf, size_t size)
{
    char tmp[128];
    snprintf(buf, size, "%s", strerror_r((int)os_code, tmp, sizeof tmp));      /* the GNU form returns the text */
}

/* ---- files ---- */

int os_file_open(const char *path, unsigned flags, struct os_file **ret, struct err *e)
{
    int how = O_CLOEXEC | (flags & OS_WRITE ? O_RDWR : O_RDONLY) | (flags & OS_CREATE ? O_CREAT : 0) |
              (flags & OS_EXCLUSIVE ? O_EXCL : 0) | (flags & OS_TRUNCATE ? O_TRUNC : 0);
    size_t n = strlen(path) + 1;
    AUTO_FREE struct os_file *f = malloc(sizeof *f + n);
    if (!f)
        return err_oom(e);
    memcpy(f->name, path, n);
    do
        f->fd = open(path, how, flags & OS_PRIVATE ? 0600 : 0640);
    while (f->fd < 0 && errno == EINTR);
    if (f->fd < 0)
        return err_os(e, ERR_IO, errno, "cannot open %s", path);
    *ret = STEAL(f);
    return 0;
}

void os_file_close(struct os_file *f)
{
    if (!f)
        return;
    close(f->fd);
    free(f);
}

const char *os_file_name(const struct os_file *f)
{
    return f->name;
}

int os_file_read_some(struct os_file *f, void *buf, size_t n, uint64_t offset, size_t *ret_n, struct err *e)
{
    size_t got = 0;
    while (got < n) {
        ssize_t k = pread(f->fd, (char *)buf + got, n - got, (off_t)(offset + got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_os(e, ERR_IO, errno, "cannot read %s at %llu", f->name, (unsigned long long)(offset + got));
        if (k == 0)
            break;
        got += (size_t)k;
    }
    *ret_n = got;
    return 0;
}

int os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = pwrite(f->fd, (const char *)buf + done, n - done, (off_t)(offset + done));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_os(e, ERR_IO, errno, "cannot write %s at %llu", f->name, (unsigned long long)(offset + done));
        done += (size_t)k;
    }
    return 0;
}

int os_file_size(struct os_file *f, uint64_t *ret, struct err *e)
{
    /* seeking, since a block device has no size in its stat; positional I/O everywhere else leaves the offset free */
    off_t end = lseek(f->fd, 0, SEEK_END);
    if (end < 0)
        return err_os(e, ERR_IO, errno, "cannot tell the size of %s", f->name);
    *ret = (uint64_t)end;
    return 0;
}

int os_file_next_data(struct os_file *f, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
    *ret_start = *ret_end = limit;
    if (offset >= limit)
        return 0;
    off_t start = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (start < 0 && errno == ENXIO)                  /* a hole to the end */
        return 0;
    if (start < 0 && errno != EINVAL && errno != EOPNOTSUPP)
        return err_os(e, ERR_IO, errno, "cannot look for data in %s", f->name);
    if (start < 0)                                    /* a block device, or a file system without */
        start = (off_t)offset;
    else if ((uint64_t)start >= limit)
        return 0;
    off_t end = lseek(f->fd, start, SEEK_HOLE);
    *ret_start = (uint64_t)start;
    *ret_end = end > start && (uint64_t)end < limit ? (uint64_t)end : limit;
    return 0;
}

int os_file_truncate(struct os_file *f, uint64_t size, struct err *e)
{
    if (ftruncate(f->fd, (off_t)size) < 0)
        return err_os(e, ERR_IO, errno, "cannot set the size of %s to %llu", f->name, (unsigned long long)size);
    return 0;
}

bool os_files_are_sparse(void)
{
    return true;
}

int os_file_sync(struct os_file *f, struct err *e)
{
    if (fdatasync(f->fd) < 0)
        return err_os(e, ERR_IO, errno, "cannot flush %s to its disk", f->name);
    return 0;
}

void os_file_write_behind(struct os_file *f, uint64_t offset, uint64_t n)
{
    sync_file_range(f->fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

intptr_t os_file_native(struct os_file *f)
{
    return f->fd;
}

int os_file_lock(struct os_file *f, struct err *e)
{
    if (flock(f->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(e, ERR_LOCKED, "%s is locked by another process", f->name);
    return err_os(e, ERR_IO, errno, "cannot lock %s", f->name);
}

int os_stat(const char *path, struct os_stat *ret, struct err *e)
{
    struct stat st;
    *ret = (struct os_stat){0};
    if (stat(path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return err_os(e, ERR_IO, errno, "cannot look at %s", path);
    }
    *ret = (struct os_stat){.exists = true, .is_dir = S_ISDIR(st.st_mode), .is_file = S_ISREG(st.st_mode), .size = (uint64_t)st.st_size,
                            .allocated = (uint64_t)st.st_blocks * 512,
                            .mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000};
    return 0;
}

static int sync_parent(const char *path, struct err *e)
{
    const char *base = os_path_base(path);
    AUTO_FREE char *dir = base > path ? str_ndup(path, (size_t)(base - path)) : str_dup(".");
    if (!dir)
        return err_oom(e);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_os(e, ERR_IO, errno, "cannot open the folder %s", dir);
    int r = fsync(fd) < 0 && errno != EINVAL ? err_os(e, ERR_IO, errno, "cannot flush the folder %s", dir) : 0;
    close(fd);
    return r;
}

int os_rename(const char *from, const char *to, struct err *e)
{
    if (rename(from, to) < 0)
        return err_os(e, ERR_IO, errno, "cannot rename %s to %s", from, to);
    return sync_parent(to, e);
}

static int taken(const char *path, struct err *e)
{
    return err_set(e, ERR_WRONG_STATE, "there is something at %s already", path);
}

/* Where the file system knows no rename without replacing: an empty file of ours takes the place first, and only that is replaced. */
static int publish_over(const char *from, const char *to, struct err *e)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == EEXIST ? taken(to, e) : err_os(e, ERR_IO, errno, "cannot make %s", to);
    close(fd);
    if (rename(from, to) == 0)
        return 0;
    int r = err_os(e, ERR_IO, errno, "cannot rename %s to %s", from, to);
    unlink(to);
    return r;
}

int os_publish(const char *from, const char *to, struct err *e)
{
    int r = 0;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0) {
        if (errno == EEXIST)
            return taken(to, e);
        if (errno != EINVAL && errno != ENOSYS)
            return err_os(e, ERR_IO, errno, "cannot rename %s to %s", from, to);
        r = publish_over(from, to, e);
    }
    return r < 0 ? r : sync_parent(to, e);
}

int os_file_id(const char *path, char ret[OS_FILE_ID], struct err *e)
{
    struct statx x;
    ret[0] = 0;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME | STATX_MTIME, &x) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_os(e, ERR_IO, errno, "cannot look at %s", path);
    /* numbers are used again; where the file system keeps no birth, the last write stands for it, and a file that was changed is not ours */
    const struct statx_timestamp *t = x.stx_mask & STATX_BTIME ? &x.stx_btime : &x.stx_mtime;
    snprintf(ret, OS_FILE_ID, "%x:%x:%llx:%llx.%x", x.stx_dev_major, x.stx_dev_minor, (unsigned long long)x.stx_ino, (unsigned long long)t->tv_sec,
             t->tv_nsec);
    return 0;
}

int os_remove(const char *path, struct err *e)
{
    if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
        return err_os(e, ERR_IO, errno, "cannot remove %s", path);
    return 0;
}

int os_mkdirs(const char *path, unsigned flags, struct err *e)
{
    AUTO_FREE char *copy = str_dup(path);
    if (!copy)
        return err_oom(e);
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = 0;
    for (char *p = copy + 1; p <= copy + n; p++) {
        if (*p && *p != '/')
            continue;
        bool last = !*p;
        *p = 0;
        int made = mkdir(copy, last && (flags & OS_PRIVATE) ? 0700 : 0755);
        if (made < 0 && errno == EEXIST && last && (flags & OS_EXCLUSIVE))
            return taken(copy, e);
        if (made < 0 && errno != EEXIST)
            return err_os(e, ERR_IO, errno, "cannot make the folder %s", copy);
        if (!last)
            *p = '/';
    }
    struct stat st;
    if (stat(copy, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ERR_IO, "%s is there and is not a folder", copy);
    return 0;
}

/* Works on descriptors, so that a link that somebody puts in the way is removed and never followed. */
static int remove_tree_at(int parent, const char *name, const char *path, struct err *e)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || ((errno == ENOTDIR || errno == ELOOP) && (unlinkat(parent, name, 0) == 0 || errno == ENOENT)))
            return 0;
        return err_os(e, ERR_IO, errno, "cannot remove %s", path);
    }
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return err_os(e, ERR_IO, errno, "cannot list %s", path);
    }
    int r = 0;
    for (struct dirent *ent; r == 0 && (ent = readdir(d));) {
        if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
            continue;
        if (unlinkat(fd, ent->d_name, 0) == 0 || errno == ENOENT)
            continue;
        AUTO_FREE char *inner = str_printf("%s/%s", path, ent->d_name);
        r = inner ? remove_tree_at(fd, ent->d_name, inner, e) : err_oom(e);
    }
    closedir(d);
    if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = err_os(e, ERR_IO, errno, "cannot remove the folder %s", path);
    return r;
}

int os_remove_tree(const char *path, struct err *e)
{
    return remove_tree_at(AT_FDCWD, path, path, e);
}

int os_remove_empty_dir(const char *path, struct err *e)
{
    if (rmdir(path) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
        return err_os(e, ERR_IO, errno, "cannot remove the folder %s", path);
    return 0;
}

int os_list_dir(const char *path, int (*fn)(void *arg, const char *name), void *arg, struct err *e)
{
    DIR *d = opendir(path);
    if (!d)
        return err_os(e, ERR_IO, errno, "cannot list %s", path);
    int r = 0;
    for (struct dirent *ent; r == 0 && (ent = readdir(d));)
        if (strcmp(ent->d_name, ".") && strcmp(ent->d_name, ".."))
            r = fn(arg, ent->d_name);
    closedir(d);
    return r;
}

int os_free_space(const char *path, uint64_t *ret_bytes, struct err *e)
{
    AUTO_FREE char *p = str_dup(path);
    if (!p)
        return err_oom(e);
    struct statvfs v;
    while (statvfs(p, &v) < 0) {
        char *slash = strrchr(p, '/');
        if (errno != ENOENT || !slash || slash == p)
            return err_os(e, ERR_IO, errno, "cannot tell the free space at %s", path);
        *slash = 0;
    }
    *ret_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}

int os_check_owner(const char *path, struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_os(e, ERR_IO, errno, "cannot look at %s", path);
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        err_set(e, ERR_PERMISSION, "%s belongs to user %u, neither to root nor to this account", path, (unsigned)st.st_uid);
        return err_hint(e, "Somebody else may have put it there. Look at it; then remove it, or give it to root (chown root).");
    }
    return 0;
}

/* ---- paths ---- */

bool os_path_is_absolute(const char *path)
{
    return path[0] == '/';
}

char *os_path_join(const char *a, const char *b)
{
    size_t n = strlen(a);
    return str_printf("%s%s%s", a, n && a[n - 1] == '/' ? "" : "/", b);
}

char *os_real_path(const char *path)
{
    return realpath(path, NULL);
}

const char *os_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool os_path_within(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    while (n && folder[n - 1] == '/')
        n--;
    return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

const char *os_path_refuse_name(const char *path)
{
    (void)path;                                       /* any bytes are a name */
    return NULL;
}

char *os_native_path(const char *path)
{
    return str_dup(path);
}

/* ---- host ---- */

int os_random(void *buf, size_t n, struct err *e)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = getrandom((char *)buf + got, n - got, 0);
        if (k < 0 && errno != EINTR)
            return err_os(e, ERR_INTERNAL, errno, "the system gives no random bytes");
        if (k > 0)
            got += (size_t)k;
    }
    return 0;
}

void os_host_name(char *buf, size_t size)
{
    if (gethostname(buf, size) < 0)
        snprintf(buf, size, "localhost");
    buf[size - 1] = 0;
}

uint64_t os_memory_total(void)
{
    struct sysinfo s;
    return sysinfo(&s) == 0 ? (uint64_t)s.totalram * s.mem_unit : 0;
}

uint64_t os_memory_available(void)
{
    struct err e;
    AUTO_FREE char *text = NULL;
    if (os_read_file("/proc/meminfo", 65536, &text, NULL, &e) < 0)
        return 0;
    const char *p = strstr(text, "MemAvailable:");
    unsigned long long kib = 0;
    return p && sscanf(p, "MemAvailable: %llu kB", &kib) == 1 ? kib * 1024 : 0;
}

unsigned os_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

bool os_is_admin(void)
{
    return geteuid() == 0;
}

const char *os_write_hint(void)
{
    return "Leave \"path\" out (the file then goes to the folder exports of the data folder), or let the service write there: ReadWritePaths= "
           "with `systemctl edit vmrecoverd`, then restart it.";
}

char *os_as_daemon(const char *command, const char *variable, const char *value)
{
    return value ? str_printf("sudo %s=%s %s", variable, value, command) : str_printf("sudo %s", command);
}

const char *os_status_command(void)
{
    return "systemctl status vmrecoverd";
}

const char *os_config_path(void)
{
    return "/etc/vmrecover/vmrecover.conf";
}

const char *os_data_path(void)
{
    return "/var/lib/vmrecover";
}

const char *os_arc_token_dir(void)
{
    return "/var/opt/azcmagent/tokens";
}

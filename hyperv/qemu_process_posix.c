/* QEMU's processes. A number in a file proves nothing: numbers are reused. A process is ours when its command line carries the VM's id,
 * it runs under the VMs' account or ours, and its working directory is the VM's folder. A pidfd holds it while it is examined and killed, where the kernel has pidfds; elsewhere
 * it is examined again right before. When the host has no descriptors or memory left to look with, a process counts as alive but is
 * not touched: taking it for dead would start a second QEMU, or remove the folder of a running one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "hyperv/qemu.h"

#define KILL_WAIT_MS 20000                             /* for a process in an uninterruptible disk wait */
#define CMDLINE_MAX 65536

int qemu_read_at(int dirfd, const char *name, uint64_t offset, void *buf, size_t max, size_t *ret_n, uint64_t *ret_size, struct err *e)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_os(e, ERR_IO, errno, "cannot open %s of the virtual machine", name);
    struct stat st;
    size_t n = 0;
    int r = 0;
    if (fstat(fd, &st) < 0)
        r = err_os(e, ERR_IO, errno, "cannot look at %s of the virtual machine", name);
    else if (!S_ISREG(st.st_mode))
        r = err_set(e, ERR_IO, "%s of the virtual machine is not a file", name);
    while (r == 0 && n < max) {
        ssize_t k = pread(fd, (char *)buf + n, max - n, (off_t)(offset + n));
        if (k > 0)
            n += (size_t)k;
        else if (k == 0)
            break;
        else if (errno != EINTR)
            r = err_os(e, ERR_IO, errno, "cannot read %s of the virtual machine", name);
    }
    close(fd);
    if (r == 0) {
        *ret_n = n;
        if (ret_size)
            *ret_size = (uint64_t)st.st_size;
    }
    return r;
}

static bool exhausted(long os_code)
{
    return os_code == EMFILE || os_code == ENFILE || os_code == ENOMEM;
}

/* /proc/<pid>/<name>, NUL-terminated; 0 bytes for a zombie or a process that is gone; errno says which error made it 0, or is 0. */
static size_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    size_t n = 0;
    buf[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (ssize_t k; n < size - 1 && (k = read(fd, buf + n, size - 1 - n)) > 0;)
        n += (size_t)k;
    close(fd);
    buf[n] = 0;
    errno = 0;
    return n;
}

enum whose { OTHERS, OURS, UNSURE };

/* Is the process the VM account's or ours: /proc/<pid> belongs to the account that it runs as. */
static bool right_account(const struct qemu_home *home, pid_t pid)
{
    char path[32];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && (st.st_uid == home->uid || st.st_uid == geteuid());
}

/* The folder was removed under it: what /proc still says of it. */
static enum whose in_lost_folder(const struct qemu_home *home, const char *proc_cwd)
{
    char cwd[4096];
    ssize_t n = readlink(proc_cwd, cwd, sizeof cwd - 1);
    if (n < 0)
        return errno == EACCES ? OURS : exhausted(errno) ? UNSURE : OTHERS;
    cwd[n] = 0;
    AUTO_FREE char *lost = str_printf("%s (deleted)", home->dir);
    return !lost ? UNSURE : strcmp(cwd, lost) ? OTHERS : OURS;
}

static enum whose whose(const struct qemu_home *home, pid_t pid)
{
    AUTO_FREE char *line = malloc(CMDLINE_MAX);
    if (!line)
        return UNSURE;
    size_t n = read_proc(pid, "cmdline", line, CMDLINE_MAX);
    if (n == 0 && exhausted(errno))
        return UNSURE;
    bool named = false;
    for (size_t at = 0, next; at < n && !named; at = next) {
        next = at + strlen(line + at) + 1;
        named = !strcmp(line + at, "-uuid") && next < n && !strcmp(line + next, home->id);
    }
    if (!named || !right_account(home, pid))
        return OTHERS;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
    struct stat cwd, dir;
    if (home->dirfd < 0)
        return in_lost_folder(home, path);
    if (fstat(home->dirfd, &dir) < 0)
        return UNSURE;
    if (stat(path, &cwd) < 0)                          /* the VM account's process and no right to look: id and account must do */
        return errno == EACCES ? OURS : exhausted(errno) ? UNSURE : OTHERS;
    return cwd.st_dev == dir.st_dev && cwd.st_ino == dir.st_ino ? OURS : OTHERS;
}

static bool take(const struct qemu_home *home, pid_t pid, struct qemu_process *ret)
{
    if (pid <= 1)
        return false;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0u);
    if (fd < 0 && errno == ESRCH)
        return false;
    enum whose w = whose(home, pid);
    if (w == OTHERS) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    *ret = (struct qemu_process){.pid = pid, .fd = fd, .home = *home, .sure = w == OURS};
    return true;
}

bool qemu_process_find(const struct qemu_home *home, bool scan, struct qemu_process *ret)
{
    char text[32] = "";
    size_t n = 0;
    unsigned long long pid = 0;
    struct err why = {0};
    if (home->dirfd >= 0 && qemu_read_at(home->dirfd, "qemu.pid", 0, text, sizeof text - 1, &n, NULL, &why) == 0) {
        text[strcspn(text, "\n")] = 0;
        if (str_to_u64(text, INT32_MAX, &pid) && take(home, (pid_t)pid, ret))
            return true;
    } else if (exhausted(why.os_code)) {
        *ret = (struct qemu_process){.fd = -1, .home = *home};
        return true;
    }
    DIR *proc = scan ? opendir("/proc") : NULL;
    bool found = false;
    for (struct dirent *ent; proc && !found && (ent = readdir(proc));)
        found = str_to_u64(ent->d_name, INT32_MAX, &pid) && take(home, (pid_t)pid, ret);
    if (proc)
        closedir(proc);
    return found;
}

bool qemu_process_exists(int64_t pid)
{
    char line[512];
    /* not the command line: it reads as empty for a moment while systemd-run becomes QEMU */
    size_t n = pid > 1 ? read_proc((pid_t)pid, "stat", line, sizeof line) : 0;
    const char *name_end = n ? strrchr(line, ')') : NULL;
    return name_end && name_end[1] && !strchr("ZX", name_end[2]);
}

bool qemu_process_wait(const struct qemu_process *p, unsigned timeout_ms)
{
    int64_t deadline = clock_mono_ms() + timeout_ms;
    while (p->fd < 0) {                                /* no pidfd: look often */
        if (p->sure && whose(&p->home, p->pid) == OTHERS)
            return true;
        if (clock_mono_ms() >= deadline)
            return false;
        clock_sleep_ms(20);
    }
    for (;;) {
        int64_t left = deadline - clock_mono_ms();
        struct pollfd f = {.fd = p->fd, .events = POLLIN};
        int n = poll(&f, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

int qemu_process_kill(const struct qemu_process *p, struct err *e)
{
    if (!p->sure)
        return err_set(e, ERR_BUSY, "the host has no descriptors or memory left to find the QEMU process of the VM");
    long r = 0;
    if (p->fd >= 0)
        r = syscall(SYS_pidfd_send_signal, p->fd, SIGKILL, NULL, 0u);
    else if (whose(&p->home, p->pid) == OURS)
        r = kill(p->pid, SIGKILL);
    if (r < 0 && errno != ESRCH)
        return err_os(e, ERR_IO, errno, "cannot end the QEMU process %d", (int)p->pid);
    if (!qemu_process_wait(p, KILL_WAIT_MS))
        return err_set(e, ERR_TIMEOUT, "the QEMU process %d does not end: it waits for a disk of the host", (int)p->pid);
    return 0;
}

void qemu_process_close(struct qemu_process *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

bool qemu_process_left_pidfile(int dirfd)
{
    struct stat st;
    return fstatat(dirfd, "qemu.pid", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void qemu_process_forget(int dirfd)
{
    static const char *const names[] = {"qemu.pid", "qmp.sock", "serial.sock", "vnc.sock"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlinkat(dirfd, names[i], 0);
}

void qemu_process_boot_id(char ret[UUID_LEN])
{
    memset(ret, 0, UUID_LEN);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, ret, UUID_LEN - 1) != UUID_LEN - 1)
        ret[0] = 0;
    close(fd);
}

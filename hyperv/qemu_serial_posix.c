/* The serial console. QEMU writes all that the guest says to serial.log, whether anybody is connected or not, so nothing is lost while the
 * daemon is down. Typing connects to the socket for as long as it takes: a connection that stays open and is not read
 * would fill up and block the guest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "hyperv/qemu.h"

#define TYPING_MS (10 * 60 * 1000)                     /* for all of it: a guest may take a byte now and then for ever */
#define STALL_MS 5000                                  /* a guest that takes no byte for so long has no reader on its port */
#define KEEP_BYTES ((uint64_t)64 << 20)                /* of a log, on disk; older bytes read as zeros */
#define BLOCK ((uint64_t)1 << 20)

int qemu_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e)
{
    struct qemu_vm *vm = qemu_vm_ref((struct qemu *)hv, id);
    if (!vm)
        return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", id);
    struct stat st;
    int r = 0;
    size_t got = 0;
    uint64_t size = 0;
    if (fstatat(vm->dirfd, "serial.log", &st, AT_SYMLINK_NOFOLLOW) == 0)             /* before the first start there is none */
        r = qemu_read_at(vm->dirfd, "serial.log", offset, buf, n, &got, &size, e);
    qemu_vm_unref(vm);
    if (r == 0) {
        *ret_n = got;
        *ret_size = size > offset + got || !got ? size : offset + got;  /* the log grew between the two looks */
    }
    return r;
}

static void trim(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_blocks * 512 > KEEP_BYTES + 16 * BLOCK &&
        (uint64_t)st.st_size > KEEP_BYTES) {
        uint64_t cut = ((uint64_t)st.st_size - KEEP_BYTES) / BLOCK * BLOCK;
        /* a file system without holes keeps all: nothing to do about it here */
        (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)cut);
    }
    close(fd);
}

void qemu_serial_trim(struct qemu_vm *vm)
{
    trim(vm->dirfd, "serial.log");
    trim(vm->dirfd, "qemu.log");                       /* a guest can make QEMU complain without end */
}

/* Throws away what the guest says meanwhile: it is in the log. False: the connection is closed. */
static bool drain(int fd)
{
    char chunk[4096];
    ssize_t k;
    do
        k = recv(fd, chunk, sizeof chunk, 0);
    while (k > 0 || (k < 0 && errno == EINTR));
    return k < 0 && errno == EAGAIN;
}

static int closed(struct err *e)
{
    return err_set(e, ERR_VM, "the serial console was closed: the virtual machine ended");
}

/* Returns once the guest's port has taken all of it. Closing earlier would lose what is still in the socket. */
static int feed(struct qemu_vm *vm, int fd, const char *buf, size_t n, struct err *e)
{
    size_t sent = 0;
    int before = -1;
    int64_t deadline = clock_mono_ms() + STALL_MS, end = clock_mono_ms() + TYPING_MS;
    for (;;) {
        int waiting = 0;
        if (qemu_vm_given_up(vm))
            return err_set(e, ERR_CANCELLED, "the typing was given up: the VM was stopped, or the daemon stops");
        if (!drain(fd))
            return closed(e);
        if (sent < n) {
            ssize_t k = send(fd, buf + sent, n - sent, MSG_NOSIGNAL);
            if (k < 0 && errno != EAGAIN && errno != EINTR)
                return closed(e);
            if (k > 0) {
                sent += (size_t)k;
                deadline = clock_mono_ms() + STALL_MS;
            }
        }
        if (ioctl(fd, SIOCOUTQ, &waiting) < 0)
            return err_os(e, ERR_IO, errno, "cannot look at the serial console's socket");
        if (sent == n && waiting == 0)
            return 0;
        if (waiting != before)
            deadline = clock_mono_ms() + STALL_MS;
        before = waiting;
        if (clock_mono_ms() > end)
            return err_set(e, ERR_TIMEOUT, "the guest did not read the %zu bytes within %d minutes", n, TYPING_MS / 60000);
        if (clock_mono_ms() > deadline) {
            err_set(e, ERR_TIMEOUT, "the guest reads nothing from its serial port");
            return err_hint(e, "The guest needs a console on its first serial port (Linux: console=ttyS0); the screen and keyboard may work."),
                   -(int)ERR_TIMEOUT;
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, 5);
    }
}

int qemu_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_need_on(vm, "take input on its serial console", e);
    if (r == 0 && vm->state != HV_RUNNING) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is paused and reads nothing: %s", id, vm->detail);
        err_hint(e, "Start it to go on.");
        r = -(int)ERR_WRONG_STATE;
    }
    /* the guest may take seconds: screen and keys go on meanwhile */
    struct qemu_vm *keep = r == 0 ? qemu_vm_ref((struct qemu *)hv, id) : NULL;
    qemu_op_end(vm);
    if (r < 0)
        return r;
    if (!keep)
        return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", id);
    pthread_mutex_lock(&keep->serial);
    int fd = qemu_connect(keep->dirfd, "serial.sock");
    if (fd < 0)
        r = err_os(e, ERR_VM, -fd, "cannot connect to the serial console");
    else
        r = feed(keep, fd, buf, n, e);
    if (fd >= 0)
        close(fd);
    pthread_mutex_unlock(&keep->serial);
    qemu_vm_unref(keep);
    return r;
}

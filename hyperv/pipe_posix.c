/* Pipes for the tests' double of Hyper-V, which serves them as UNIX sockets in the abstract namespace. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hyperv/pipe.h"

struct pipe { int fd; };

int pipe_open(const char *name, struct pipe **ret, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};   /* sun_path[0] stays 0: abstract */
    const char *base = str_starts(name, PIPE_PREFIX) ? name + strlen(PIPE_PREFIX) : "";
    size_t n = strlen(base);
    if (!n || n >= sizeof sa.sun_path)
        return err_set(e, ERR_VALUE, "'%s' is not the name of a pipe", name);
    memcpy(sa.sun_path + 1, base, n);
    struct pipe *p = malloc(sizeof *p);
    if (!p)
        return err_oom(e);
    int r = 0;
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0)
        r = err_os(e, ERR_IO, errno, "cannot make a socket");
    else if (connect(p->fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) < 0)
        r = err_set(e, errno == EAGAIN ? ERR_BUSY : ERR_NOT_FOUND, "nobody serves the pipe %s", name);
    if (r < 0)
        pipe_close(p);
    else
        *ret = p;
    return r;
}

void pipe_close(struct pipe *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

static int gone(struct err *e)
{
    return err_set(e, ERR_EMPTY, "the other end of the pipe is gone");
}

int pipe_read(struct pipe *p, void *buf, size_t n, unsigned timeout_ms, size_t *ret_n, struct err *e)
{
    struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
    *ret_n = 0;
    if (poll(&pfd, 1, (int)timeout_ms) <= 0)
        return 0;
    ssize_t k = recv(p->fd, buf, n, 0);
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (k <= 0)
        return gone(e);
    *ret_n = (size_t)k;
    return 0;
}

int pipe_write(struct pipe *p, const void *buf, size_t n, unsigned timeout_ms, size_t *ret_n, struct err *e)
{
    struct pollfd pfd = {.fd = p->fd, .events = POLLOUT};
    *ret_n = 0;
    if (poll(&pfd, 1, (int)timeout_ms) <= 0)
        return 0;
    ssize_t k = send(p->fd, buf, n, MSG_NOSIGNAL);
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (k < 0)
        return gone(e);
    *ret_n = (size_t)k;
    return 0;
}

/* Serial ports as pipe_posix.c reaches them: \\.\pipe\NAME is the UNIX stream socket NAME in the abstract namespace. One thread serves a port. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/doubles/wmi/core.h"

struct serial_port {
    pthread_mutex_t lock;
    pthread_t thread;
    pid_t owner;                                       /* a child after fork has no thread */
    int listening, client, wake;
    int plug[4];                                       /* connections of our own that fill the queue: whoever else comes is told to wait */
    bool stop, echo;
    int64_t busy_until_ms;                             /* 0: not busy */
    struct sockaddr_un address;
    socklen_t address_length;
    struct strbuf out, in;                             /* to the client, from the client */
};

/* While there is a client, the pipe is busy: connect says EAGAIN, as CreateFile says ERROR_PIPE_BUSY. */
static void plug(struct serial_port *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->plug); i++) {
        p->plug[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (p->plug[i] >= 0 && connect(p->plug[i], (struct sockaddr *)&p->address, p->address_length) < 0) {
            close(p->plug[i]);
            p->plug[i] = -1;
        }
    }
}

static void unplug(struct serial_port *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->plug); i++) {
        if (p->plug[i] >= 0)
            close(p->plug[i]);
        p->plug[i] = -1;
    }
}

static void drop_client(struct serial_port *p)
{
    if (p->client >= 0)
        close(p->client);
    p->client = -1;
    unplug(p);
    strbuf_reset(&p->out);
}

static void from_client(struct serial_port *p)
{
    char buf[4096];
    ssize_t n = recv(p->client, buf, sizeof buf, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        drop_client(p);
    } else if (n > 0) {
        strbuf_add(&p->in, buf, (size_t)n);
        if (p->echo)
            strbuf_add(&p->out, buf, (size_t)n);
    }
}

static void to_client(struct serial_port *p)
{
    ssize_t n = send(p->client, p->out.data, p->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        drop_client(p);
    else if (n > 0) {
        memmove(p->out.data, p->out.data + n, p->out.len - (size_t)n + 1);
        p->out.len -= (size_t)n;
    }
}

static void *serve(void *arg)
{
    struct serial_port *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        int64_t busy = p->busy_until_ms ? p->busy_until_ms - clock_mono_ms() : 0;
        if (p->busy_until_ms && busy <= 0) {
            p->busy_until_ms = 0;
            unplug(p);
        }
        struct pollfd f[3] = {{.fd = p->wake, .events = POLLIN},
                              {.fd = p->client < 0 && !p->busy_until_ms ? p->listening : -1, .events = POLLIN},     /* one client at a time */
                              {.fd = p->client, .events = (short)(POLLIN | (p->out.len ? POLLOUT : 0))}};
        pthread_mutex_unlock(&p->lock);
        poll(f, 3, busy > 0 ? (int)busy + 1 : -1);
        pthread_mutex_lock(&p->lock);
        uint64_t count;
        if ((f[0].revents & POLLIN) && read(p->wake, &count, sizeof count) < 0)
            break;
        if (p->stop)
            break;
        if ((f[1].revents & POLLIN) && p->client < 0 && !p->busy_until_ms) {      /* serial_busy may have come between */
            int fd = accept4(p->listening, NULL, NULL, SOCK_CLOEXEC);
            char c;
            if (fd >= 0 && recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
                close(fd);                             /* gone already: one of ours, most likely */
            } else if (fd >= 0) {
                p->client = fd;
                strbuf_reset(&p->out);                 /* what was said before is lost */
                plug(p);
            }
        } else if (f[2].revents) {
            if (f[2].revents & POLLOUT)
                to_client(p);
            if (p->client >= 0 && (f[2].revents & (POLLIN | POLLHUP | POLLERR)))
                from_client(p);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void wake(struct serial_port *p)
{
    uint64_t one = 1;
    if (write(p->wake, &one, sizeof one) < 0)
        return;
}

struct serial_port *serial_open(const char *pipe, bool echo)
{
    const char *name = strrchr(pipe, '\\') + 1;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    if (n == 0 || n > sizeof a.sun_path - 1)
        return NULL;
    memcpy(a.sun_path + 1, name, n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), wake_fd = eventfd(0, EFD_CLOEXEC);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
    if (fd < 0 || wake_fd < 0 || bind(fd, (struct sockaddr *)&a, length) < 0 || listen(fd, 1) < 0) {
        if (fd >= 0)
            close(fd);
        if (wake_fd >= 0)
            close(wake_fd);
        return NULL;
    }
    struct serial_port *p = x_calloc(1, sizeof *p);
    *p = (struct serial_port){.listening = fd, .client = -1, .wake = wake_fd, .plug = {-1, -1, -1, -1}, .echo = echo, .owner = getpid(),
                              .address = a, .address_length = length};
    pthread_mutex_init(&p->lock, NULL);
    if (pthread_create(&p->thread, NULL, serve, p))
        abort();
    return p;
}

void serial_close(struct serial_port *p)
{
    if (!p)
        return;
    if (p->owner == getpid()) {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_mutex_unlock(&p->lock);
        wake(p);
        pthread_join(p->thread, NULL);
        pthread_mutex_destroy(&p->lock);
    }
    unplug(p);
    close(p->listening);
    close(p->wake);
    if (p->client >= 0)
        close(p->client);
    strbuf_free(&p->out);
    strbuf_free(&p->in);
    free(p);
}

void serial_busy(struct serial_port *p, unsigned ms)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->busy_until_ms = clock_mono_ms() + ms;
    plug(p);
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

void serial_say(struct serial_port *p, const void *bytes, size_t n)
{
    if (!p || p->owner != getpid())
        return;
    pthread_mutex_lock(&p->lock);
    if (p->client >= 0)
        strbuf_add(&p->out, bytes, n);
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

size_t serial_heard(struct serial_port *p, void *buf, size_t n)
{
    if (!p || p->owner != getpid())
        return 0;
    pthread_mutex_lock(&p->lock);
    size_t have = p->in.len < n ? p->in.len : n;
    if (have) {
        memcpy(buf, p->in.data, have);
        memmove(p->in.data, p->in.data + have, p->in.len - have + 1);
        p->in.len -= have;
    }
    pthread_mutex_unlock(&p->lock);
    return have;
}

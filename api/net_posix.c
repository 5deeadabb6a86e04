#include "api/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 128

int net_listen(bool ipv6, uint16_t *port, MHD_socket *ret, struct err *e)
{
    const char *host = ipv6 ? "[::1]" : "127.0.0.1";
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    memset(&a, 0, sizeof a);
    socklen_t len;
    if (ipv6) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(*port);
        a.v6.sin6_addr = in6addr_loopback;
        len = sizeof a.v6;
    } else {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(*port);
        a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        len = sizeof a.v4;
    }
    int s = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (s < 0)
        return err_os(e, errno == EAFNOSUPPORT ? ERR_UNSUPPORTED : ERR_IO, errno, "cannot make a socket for %s", host);
    /* Addresses of a daemon that just ended may be taken again at once; a live listener still refuses us. */
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ipv6)
        setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(s, &a.any, len) < 0 || listen(s, BACKLOG) < 0 || getsockname(s, &a.any, &len) < 0) {
        int err = errno;
        close(s);
        if (err == EADDRINUSE)
            return err_set(e, ERR_PORT, "another program listens on %s:%u", host, *port);
        return err_os(e, err == EADDRNOTAVAIL ? ERR_UNSUPPORTED : ERR_IO, err, "cannot listen on %s:%u", host, *port);
    }
    *port = ntohs(ipv6 ? a.v6.sin6_port : a.v4.sin_port);
    *ret = s;
    return 0;
}

void net_close(MHD_socket s)
{
    close(s);
}

bool net_peer_gone(MHD_socket s)
{
    char c;
    ssize_t n = recv(s, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void net_make_quick(MHD_socket s)
{
    int flags = fcntl(s, F_GETFL), on = 1;
    if (flags >= 0)
        fcntl(s, F_SETFL, flags | O_NONBLOCK);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void net_wait(struct net_watch *w, size_t n, unsigned ms)
{
    struct pollfd p[4];
    n = n < 4 ? n : 4;
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = w[i].read || w[i].write ? w[i].socket : -1, .events = (short)((w[i].read ? POLLIN : 0) | (w[i].write ? POLLOUT : 0))};
    int r = poll(p, (nfds_t)n, (int)ms);
    for (size_t i = 0; i < n; i++) {
        short end = r > 0 ? p[i].revents & (POLLHUP | POLLERR | POLLNVAL) : 0;
        w[i].read = end || (r > 0 && p[i].revents & POLLIN);
        w[i].write = end || (r > 0 && p[i].revents & POLLOUT);
    }
}

static long outcome(ssize_t n)
{
    return n >= 0 ? n : errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

long net_read(MHD_socket s, void *buf, size_t n)
{
    ssize_t got = recv(s, buf, n, 0);
    return got == 0 ? -1 : outcome(got);
}

long net_write(MHD_socket s, const void *buf, size_t n)
{
    return outcome(send(s, buf, n, MSG_NOSIGNAL));
}

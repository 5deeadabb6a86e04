#include "api/net.h"

#include <winsock2.h>
#include <ws2tcpip.h>

#include <limits.h>
#include <pthread.h>
#include <string.h>

#define BACKLOG 128

static int started;                                   /* WSAStartup's error */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start_winsock(void)
{
    WSADATA data;
    started = WSAStartup(MAKEWORD(2, 2), &data);      /* until the process ends; libcurl and libmicrohttpd count for themselves */
}

/* The error of the call that failed; closes the socket. */
static int listen_error(SOCKET s, const char *host, uint16_t port, struct err *e)
{
    int error = WSAGetLastError();
    closesocket(s);
    if (error == WSAEADDRINUSE)
        return err_set(e, ERR_PORT, "another program listens on %s:%u", host, port);
    if (error == WSAEACCES) {
        err_set(e, ERR_PORT, "%s:%u cannot be listened on: another program has it for itself, or Windows keeps the port for Hyper-V", host, port);
        return err_hint(e, "Choose another port with --listen. `netsh interface ipv4 show excludedportrange tcp` lists the ports that Windows keeps.");
    }
    return err_os(e, error == WSAEADDRNOTAVAIL ? ERR_UNSUPPORTED : ERR_IO, error, "cannot listen on %s:%u", host, port);
}

int net_listen(bool ipv6, uint16_t *port, MHD_socket *ret, struct err *e)
{
    const char *host = ipv6 ? "[::1]" : "127.0.0.1";
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    memset(&a, 0, sizeof a);
    int len;
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
    pthread_once(&once, start_winsock);
    if (started)
        return err_os(e, ERR_IO, started, "Windows Sockets cannot be used");
    SOCKET s = WSASocketW(a.any.sa_family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (s == INVALID_SOCKET) {
        int error = WSAGetLastError();
        return err_os(e, error == WSAEAFNOSUPPORT ? ERR_UNSUPPORTED : ERR_IO, error, "cannot make a socket for %s", host);
    }
    /* SO_REUSEADDR would let another program take the port from us on Windows; this keeps it ours. Addresses of a daemon that just ended
     * are free at once here anyway. */
    BOOL on = TRUE;
    u_long no_wait = 1;
    if (setsockopt(s, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof on) ||
        (ipv6 && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, (const char *)&on, sizeof on)) || ioctlsocket(s, (long)FIONBIO, &no_wait) ||
        bind(s, &a.any, len) || listen(s, BACKLOG) || getsockname(s, &a.any, &len))
        return listen_error(s, host, *port, e);
    *port = ntohs(ipv6 ? a.v6.sin6_port : a.v4.sin_port);
    *ret = s;
    return 0;
}

void net_close(MHD_socket s)
{
    closesocket(s);
}

bool net_peer_gone(MHD_socket s)
{
    /* There is no MSG_DONTWAIT here: look first whether a read would return at once. */
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(s, &readable);
    int n = select(0, &readable, NULL, NULL, &(struct timeval){0});
    if (n <= 0)
        return n < 0;
    char c;
    n = recv(s, &c, 1, MSG_PEEK);
    return n == 0 || (n < 0 && WSAGetLastError() != WSAEWOULDBLOCK);
}

void net_make_quick(MHD_socket s)
{
    u_long no_wait = 1;
    BOOL on = TRUE;
    ioctlsocket(s, (long)FIONBIO, &no_wait);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
}

void net_wait(struct net_watch *w, size_t n, unsigned ms)
{
    WSAPOLLFD p[4];
    n = n < 4 ? n : 4;
    for (size_t i = 0; i < n; i++)
        p[i] = (WSAPOLLFD){.fd = w[i].read || w[i].write ? w[i].socket : INVALID_SOCKET, .events = (SHORT)((w[i].read ? POLLRDNORM : 0) | (w[i].write ? POLLWRNORM : 0))};
    int r = WSAPoll(p, (ULONG)n, (INT)ms);
    for (size_t i = 0; i < n; i++) {
        SHORT end = r > 0 ? p[i].revents & (POLLHUP | POLLERR | POLLNVAL) : 0;
        w[i].read = end || (r > 0 && p[i].revents & POLLRDNORM);
        w[i].write = end || (r > 0 && p[i].revents & POLLWRNORM);
    }
}

static long outcome(int n)
{
    return n >= 0 ? n : WSAGetLastError() == WSAEWOULDBLOCK ? 0 : -1;
}

long net_read(MHD_socket s, void *buf, size_t n)
{
    int got = recv(s, buf, n > INT_MAX ? INT_MAX : (int)n, 0);
    return got == 0 ? -1 : outcome(got);
}

long net_write(MHD_socket s, const void *buf, size_t n)
{
    return outcome(send(s, buf, n > INT_MAX ? INT_MAX : (int)n, 0));
}

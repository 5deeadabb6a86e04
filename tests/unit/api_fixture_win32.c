#include "tests/unit/api_fixture.h"

#include <winsock2.h>

#include <string.h>

raw_socket raw_open(struct fixture *f, const char *bytes)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)fixture_port(f)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
    if (s == INVALID_SOCKET || connect(s, (struct sockaddr *)&a, sizeof a))
        abort();
    for (size_t n = strlen(bytes), at = 0; at < n;) {
        int w = send(s, bytes + at, (int)(n - at), 0);
        if (w <= 0)
            break;
        at += (size_t)w;
    }
    return (raw_socket)s;
}

void raw_close(raw_socket s)
{
    closesocket((SOCKET)s);
}

int raw_receive(raw_socket s, void *buf, size_t n, unsigned wait_ms)
{
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET((SOCKET)s, &readable);
    struct timeval wait = {.tv_sec = (long)wait_ms / 1000, .tv_usec = (long)(wait_ms % 1000) * 1000};
    if (select(0, &readable, NULL, NULL, &wait) <= 0)
        return 0;
    int got = recv((SOCKET)s, buf, (int)n, 0);
    return got > 0 ? got : -1;
}

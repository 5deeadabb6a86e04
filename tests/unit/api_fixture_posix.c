#include "tests/unit/api_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

raw_socket raw_open(struct fixture *f, const char *bytes)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)fixture_port(f)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a) < 0)
        abort();
    for (size_t n = strlen(bytes), at = 0; at < n;) {
        ssize_t w = send(s, bytes + at, n - at, MSG_NOSIGNAL);
        if (w <= 0)
            break;
        at += (size_t)w;
    }
    return s;
}

void raw_close(raw_socket s)
{
    close((int)s);
}

int raw_receive(raw_socket s, void *buf, size_t n, unsigned wait_ms)
{
    struct pollfd p = {.fd = (int)s, .events = POLLIN};
    if (poll(&p, 1, (int)wait_ms) <= 0)
        return 0;
    ssize_t got = recv((int)s, buf, n, 0);
    return got > 0 ? (int)got : -1;
}

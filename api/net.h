/* Sockets of the server, as far as libmicrohttpd leaves them to us; loopback only. net_posix.c and net_win32.c. Threads: any. */
#ifndef VMR_API_NET_H
#define VMR_API_NET_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/* A listening socket on 127.0.0.1 or ::1, not blocking, not inherited; *port 0 picks a free one and is filled. ERR_UNSUPPORTED when
 * the host has no such address family, ERR_IO (a taken port too). The caller owns the socket. */
int net_listen(bool ipv6, uint16_t *port, MHD_socket *ret, struct err *e);
void net_close(MHD_socket s);
/* The other side of a connection has gone or sends no more. Does not block, takes nothing from the socket. */
bool net_peer_gone(MHD_socket s);

#endif

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

/* ---- for a socket that is ours to pump ---- */
void net_make_quick(MHD_socket s);                   /* does not block, and small packets leave at once */
struct net_watch { MHD_socket socket; bool read, write; };               /* what to wait for (nothing: left out); then what may be done without blocking */
/* Waits at most ms until one of them can do what it is watched for, or is closed (both true then). */
void net_wait(struct net_watch *w, size_t n, unsigned ms);
/* Bytes read; 0: none now; -1: the other side has closed, or the connection is broken. */
long net_read(MHD_socket s, void *buf, size_t n);
/* Bytes taken; 0: none now; -1: the connection is broken. */
long net_write(MHD_socket s, const void *buf, size_t n);

#endif

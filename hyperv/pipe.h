/* The client's end of a named pipe: how a VM's serial port reaches us. The VM's worker process is the server; the pipe exists only while the VM
 * runs. pipe_win32.c uses overlapped I/O. pipe_posix.c, for the tests' double of Hyper-V, takes the last part of \\.\pipe\NAME for the name of a
 * UNIX stream socket in the abstract namespace.
 *
 * Threads: one thread reads, another may write at the same time; nobody uses a pipe while it is being closed. */
#ifndef VMR_HYPERV_PIPE_H
#define VMR_HYPERV_PIPE_H

#include <stddef.h>

#include "common/error.h"
#include "common/mem.h"

#define PIPE_PREFIX "\\\\.\\pipe\\"

struct pipe;
/* Does not wait. ERR_NOT_FOUND: nobody serves it, the VM is off; ERR_BUSY: it has a client already, or is just being made anew (a reset). */
int pipe_open(const char *name, struct pipe **ret, struct err *e);
void pipe_close(struct pipe *p);                       /* NULL is a no-op */
DEFINE_AUTO(struct pipe, pipe_close)
/* Waits at most timeout_ms for something to read. 0 with *ret_n == 0: nothing came. ERR_EMPTY: the other end is gone. */
int pipe_read(struct pipe *p, void *buf, size_t n, unsigned timeout_ms, size_t *ret_n, struct err *e);
/* Some of n bytes, as the other end takes them within timeout_ms. 0 with *ret_n == 0: it took none. ERR_EMPTY: the other end is gone. */
int pipe_write(struct pipe *p, const void *buf, size_t n, unsigned timeout_ms, size_t *ret_n, struct err *e);

#endif

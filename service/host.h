/* The thin shell around the daemon: what the service manager wants and says. host_posix.c: signals and systemd's notify protocol;
 * host_win32.c: Windows' service manager, or a console.
 *
 * Order of calls: host_serve (main); then, inside of it or after it said false: host_init, host_ready, host_stopping, host_stopped. */
#ifndef VMR_SERVICE_HOST_H
#define VMR_SERVICE_HOST_H

#include <stdbool.h>

#include "common/error.h"

#define HOST_STOP_S 60                               /* what a stop may take; then the process is ended (systemd's TimeoutStopSec is the same) */

/* If it was Windows' service manager that started the program: runs `serve` as its service until it returns, sets *ret_status to what it
 * returned, and is true. False: it was not, nothing was run; always so elsewhere, where systemd runs the daemon in the foreground. */
bool host_serve(int (*serve)(int argc, char **argv), int argc, char **argv, int *ret_status);
bool host_is_service(void);                          /* inside of host_serve */
/* Stop requests (SIGTERM, SIGINT; Ctrl-C, Ctrl-Break, a console that closes; the service manager's stop) are caught from here on. Call before
 * threads start. run_as (may be empty): the account of VM processes. A root daemon then gives the files that it makes to the group of that account,
 * which may read them and nothing more; elsewhere it changes nothing. */
int host_init(const char *run_as, struct err *e);
bool host_stop_requested(void);                      /* any thread */
void host_request_stop(void);                        /* any thread: the daemon itself wants to end */
/* Waits until a stop is requested, at most timeout_ms; true: it was. One thread. */
bool host_wait_stop(unsigned timeout_ms);
void host_ready(const char *status);                 /* the database is open, the ports are bound */
void host_stopping(const char *status);
/* The last call: nothing runs any more. why: what kept the daemon from running; NULL: it was asked to stop. */
void host_stopped(const struct err *why);
void host_alive(void);                               /* watchdog; cheap */
unsigned host_watchdog_ms(void);                     /* how often host_alive must be called at the least; 0: no watchdog */

#endif

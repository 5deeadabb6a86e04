/* The thin shell around the daemon: what the service manager wants and says. host_posix.c: signals and systemd's notify protocol. */
#ifndef VMR_SERVICE_HOST_H
#define VMR_SERVICE_HOST_H

#include <stdbool.h>

#include "common/error.h"

/* Stop requests (SIGTERM, SIGINT; the service manager's stop) are caught from here on. Call before threads start. */
int host_init(struct err *e);
bool host_stop_requested(void);                      /* any thread */
void host_request_stop(void);                        /* any thread: the daemon itself wants to end */
/* Waits until a stop is requested, at most timeout_ms; true: it was. One thread. */
bool host_wait_stop(unsigned timeout_ms);
void host_ready(const char *status);                 /* the database is open, the ports are bound */
void host_stopping(const char *status);
void host_alive(void);                               /* watchdog; cheap */
unsigned host_watchdog_ms(void);                     /* how often host_alive must be called at the least; 0: no watchdog */

#endif

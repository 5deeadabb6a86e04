/* Condition variables whose waits end by the monotonic clock (clock_mono_ms), so that a change of the wall clock neither ends nor
 * prolongs one. cond_posix.c and cond_win32.c; all the rest is pthread's own. */
#ifndef VMR_COMMON_COND_H
#define VMR_COMMON_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

void cond_init(pthread_cond_t *c);
/* As pthread_cond_wait, up to deadline_ms; false: it is over. May wake for no reason, so callers look at what they wait for. */
bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline_ms);

#endif

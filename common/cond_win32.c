/* winpthreads knows the wall clock alone for absolute times, so every wait is made a relative one here. */
#include "common/cond.h"

#include "common/clock.h"

void cond_init(pthread_cond_t *c)
{
    pthread_cond_init(c, NULL);
}

bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_mono_ms();
    if (left <= 0)
        return false;
    struct timespec span = {.tv_sec = left / 1000, .tv_nsec = (long)(left % 1000) * 1000000};
    return pthread_cond_timedwait_relative_np(c, lock, &span) == 0;
}

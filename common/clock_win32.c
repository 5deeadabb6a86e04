#include "common/clock.h"

#include <windows.h>

#define EPOCH_MS 11644473600000ll                    /* from 1601, where Windows begins to count, to 1970 */

int64_t clock_now_ms(void)
{
    FILETIME t;                                      /* units of 100 ns */
    GetSystemTimePreciseAsFileTime(&t);
    return (int64_t)((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime) / 10000 - EPOCH_MS;
}

int64_t clock_mono_ms(void)
{
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    /* in two steps: the product of the whole would overflow after weeks at a high frequency */
    return now.QuadPart / per_second.QuadPart * 1000 + now.QuadPart % per_second.QuadPart * 1000 / per_second.QuadPart;
}

void clock_sleep_ms(unsigned ms)
{
    Sleep(ms);
}

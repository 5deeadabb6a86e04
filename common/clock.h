/* Time. Wall clock in milliseconds since 1970 UTC; a monotonic one for deadlines and rates (clock_posix.c,
 * clock_win32.c). Threads: any. */
#ifndef VMR_COMMON_CLOCK_H
#define VMR_COMMON_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_TEXT 32                                /* bytes for clock_format's text */

int64_t clock_now_ms(void);                          /* wall clock */
int64_t clock_mono_ms(void);                         /* monotonic, origin unspecified */
void clock_sleep_ms(unsigned ms);
/* RFC 3339, UTC, milliseconds: 2026-01-31T12:00:00.000Z */
void clock_format(int64_t ms, char buf[CLOCK_TEXT]);
/* RFC 9110 IMF-fixdate (Sun, 06 Nov 1994 08:49:37 GMT), as HTTP and Azure want it. */
void clock_format_http(int64_t ms, char buf[CLOCK_TEXT]);
/* RFC 3339 with or without a fraction, Z or an offset; false if it is none. */
bool clock_parse(const char *s, int64_t *ret_ms);

#endif

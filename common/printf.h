/* Marks a function that takes a printf format. Formats are ISO C's on every system (%zu, %lld): mingw-w64's own stdio sees to that, and
 * says so in __MINGW_PRINTF_FORMAT, while the compiler's plain "printf" means Microsoft's old rules there. */
#ifndef VMR_COMMON_PRINTF_H
#define VMR_COMMON_PRINTF_H

#include <stdio.h>

#ifdef __MINGW_PRINTF_FORMAT
#define PRINTF_LIKE(fmt, args) __attribute__((format(__MINGW_PRINTF_FORMAT, fmt, args)))
#else
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#endif

#endif

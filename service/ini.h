/* Files of sections with "key = value" lines. Threads: any. */
#ifndef VMR_SERVICE_INI_H
#define VMR_SERVICE_INI_H

#include "common/error.h"

#define INI_FILE_MAX ((size_t)1 << 20)
#define INI_LINE_MAX 1000

/* Called for each key in the file's order, with the section above it ("" if none). `where` is "FILE, line N", for messages. What it
 * returns, if negative, ends the reading and is passed on. The texts live as long as the call. */
typedef int ini_fn(void *arg, const char *section, const char *name, const char *value, const char *where, struct err *e);

/* A line is [section], "name = value" or "name: value", or a comment that begins with # or ;. Blanks around names and values do not
 * count; " ;" ends a value. Lines may end with \r\n, and the file may begin with a UTF-8 byte order mark. Anything else, and a file or
 * line that is too long, is ERR_CONFIG with the line; a file that cannot be read is ERR_CONFIG with the system's reason. */
int ini_read(const char *file, ini_fn *fn, void *arg, struct err *e);

#endif

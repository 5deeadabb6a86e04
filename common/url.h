/* URLs as far as we need them. Parsing is libcurl's; the query of a SAS URL is kept byte for byte. */
#ifndef VMR_COMMON_URL_H
#define VMR_COMMON_URL_H

#include <stdbool.h>

#include "common/error.h"

/* The URL without query, fragment and user info, for logs, events and replies. Caller frees; NULL when memory ran out
 * or the URL cannot be parsed. */
char *url_redact(const char *url);
/* A usable http or https URL: host present, no user info, no fragment, at most 4096 bytes of printable ASCII; http only
 * when allow_http or when the host is loopback. ERR_VALUE otherwise (no field set). */
int url_check(const char *url, bool allow_http, struct err *e);

/* Percent-encoded as a part of a path or as a value of a query, and back (a %00 ends it). Caller frees; NULL when memory ran out. */
char *url_escape(const char *text);
char *url_unescape(const char *text);

#endif

/* Lists of proxies and of what bypasses them, in the form that Windows (WinHTTP) keeps them and vmrecover.conf takes them:
 *   proxies   [SCHEME=][http://]HOST[:PORT], separated by ';' or spaces; without SCHEME= for every scheme, without PORT 80
 *   bypass    [SCHEME://]HOST[:PORT], separated by ';', ',' or spaces; '*' in it stands for anything, a leading '.' for "*.", and
 *             "<local>" for every name without a period
 * Threads: any; nothing is kept. */
#ifndef VMR_STORAGE_PROXY_H
#define VMR_STORAGE_PROXY_H

#include <stdbool.h>

#include "common/error.h"

/* A list that someone wrote: ERR_CONFIG with what is wrong with it. The text is not repeated, it may hold a password. */
int proxy_check(const char *list, struct err *e);
bool proxy_has_password(const char *list);
/* The proxy for a URL of this scheme as libcurl takes it ("http://HOST:PORT"); NULL: there is none in the list, or memory ran out
 * (then *ret_oom). Caller frees with mem_free_secret. */
char *proxy_pick(const char *list, const char *scheme, bool *ret_oom);
/* host: as in a URL, IPv6 with its brackets. */
bool proxy_bypassed(const char *list, const char *scheme, const char *host, unsigned port);

#endif

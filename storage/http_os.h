/* What http.c needs of the system: http_posix.c (OpenSSL), http_win32.c (Schannel, WinHTTP). */
#ifndef VMR_STORAGE_HTTP_OS_H
#define VMR_STORAGE_HTTP_OS_H

#include <curl/curl.h>
#include <stdbool.h>

/* Lets h trust what the system trusts, and beside it the CAs in ca_file (NULL: none). A ca_file that cannot be read is named when
 * the connection is made. */
CURLcode http_os_set_ca(CURL *h, const char *ca_file);
/* The machine's own list of proxies and of what bypasses them (proxy.h; caller frees with mem_free_secret and free), NULL where it has
 * none; false: memory ran out. */
bool http_os_proxy(char **ret_list, char **ret_bypass);
/* What http_os_set_ca's own look at a certificate said against it, the last time in this thread. */
const char *http_os_refusal(void);

#endif

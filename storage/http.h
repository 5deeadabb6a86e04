/* Outgoing HTTP, on libcurl: what every request of ours has in common. */
#ifndef VMR_STORAGE_HTTP_H
#define VMR_STORAGE_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>

#include "common/error.h"
#include "common/mem.h"

struct http_config {
    const char *ca_file;                             /* further CA for https, or NULL */
    unsigned connect_timeout_ms;                     /* 0: 15 s */
    unsigned stall_timeout_ms;                       /* less than 1 KiB/s for so long is an error; 0: 30 s */
};
/* Once per process, before threads start. */
int http_init(struct err *e);
/* Which proxies the whole process uses, in the forms of proxy.h: "" the system's, else the environment's as libcurl reads it; "none"
 * none at all. What no_proxy names is reached directly, and so are this machine and 169.254.169.254 always. Before threads start. */
int http_use_proxy(const char *proxy, const char *no_proxy, struct err *e);
/* A handle with our options: https (TLS 1.2 at least) and http only, no redirects, timeouts, no signals, proxy, user agent, the
 * system's CAs and ca_file. NULL when memory ran out. */
CURL *http_handle(const struct http_config *cfg, const char *url);
/* CURLE_ABORTED_BY_CALLBACK is either a stop that the caller asked for, or a certificate that was refused: this is the second. */
bool http_refused(CURLcode code, const char *detail);
/* CURLcode -> ERR_UNREACHABLE, ERR_TLS, ERR_TIMEOUT …; the message names the redacted URL. */
int http_error(CURLcode code, const char *detail, const char *url, struct err *e);

/* Answer headers that we look at, collected by http_collect_header (a CURLOPT_HEADERFUNCTION with a struct http_headers as its
 * data). Call http_headers_reset before each request. A new status line starts them afresh. Values are cut at their size. An answer with
 * more than HTTP_HEADERS_MAX bytes of headers is aborted. */
#define HTTP_HEADERS_MAX ((size_t)256 << 10)
struct http_headers {
    int status;
    size_t bytes;                                    /* of all header lines since the reset */
    char etag[128], last_modified[64], content_range[96], request_id[96], error_code[96], blob_type[32], content_md5[64], content_crc64[32];
    char snapshot[48], copy_id[64], copy_status[16], copy_progress[48], copy_why[160];     /* x-ms-snapshot, x-ms-copy-… */
    char job[64];                                    /* x-ms-meta-vmrecoverjob: our mark on what we made in somebody's storage account */
    char location[256];                              /* without query and fragment: it is for messages only */
    unsigned long long content_length;               /* ULLONG_MAX: not sent */
    unsigned long long blob_content_length;          /* x-ms-blob-content-length; ULLONG_MAX: not sent */
    unsigned retry_after_ms;                         /* from now, whether seconds or a date were sent; at most 10 min; 0: not sent */
    bool accept_ranges;
    bool azure;                                      /* x-ms-version or x-ms-request-id was there */
};
void http_headers_reset(struct http_headers *h);
size_t http_collect_header(char *line, size_t size, size_t n, void *headers);

#endif

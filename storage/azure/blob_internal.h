/* Shared by blob.c, blob_error.c and page_ranges.c; nobody else includes this. */
#ifndef VMR_STORAGE_AZURE_BLOB_INTERNAL_H
#define VMR_STORAGE_AZURE_BLOB_INTERNAL_H

#include <stdatomic.h>

#include "storage/azure/blob.h"

struct blob {
    char *url;                                       /* its query may be a SAS: never shown */
    char *name;
    enum blob_auth auth;
    char *account, *key, *ca_file;
    struct http_config http;
    bool (*stop)(void *arg);                         /* or NULL */
    void *stop_arg;
    bool has_signature;                              /* the URL carries a SAS */
    int64_t sas_expires_ms;                          /* its se=; 0: not in the URL (a stored policy) or no SAS */
    atomic_bool no_conditions;                       /* also set when the server refuses them */
    int (*token)(void *arg, char **ret, struct err *e);
    void (*token_refused)(void *arg, const char *token);
    void *token_arg;
};

#define BLOB_ERROR_BODY_MAX ((size_t)16384)          /* what is kept of an error answer */

/* The request's header lines, signed or with the token; the caller frees them (blob_headers_free). range: "bytes=0-1" or NULL; if_match: ETag or
 * NULL; more: further lines "x-ms-…: value", NULL at the end, or NULL. */
int blob_headers(struct blob *b, const char *verb, const char *url, const char *range, bool azure, const char *if_match, const char *const *more,
                 struct curl_slist **ret, struct err *e);
/* One blocking request with the handle, which has its URL and verb; `lines` is freed. The answer's body goes to `take`; `tick` is called about once a
 * second, also while nothing arrives. *detail is what libcurl says of a failure. */
struct blob_body { curl_write_callback take; void *arg; curl_xferinfo_callback tick; void *tick_arg; };
CURLcode blob_perform(CURL *h, struct curl_slist *lines, struct http_headers *headers, const struct blob_body *body, char detail[CURL_ERROR_SIZE]);
/* Whether a small request is worth try number `attempt` + 1: what failed may pass, or a new token may do (asked for once: *renewed). */
bool blob_may_retry(struct blob *b, unsigned attempt, bool *renewed, const struct err *e);
/* The ETag for If-Match, or NULL when there is none that may be sent (a weak one never matches). */
const char *blob_if_match(struct blob *b, const struct blob_info *info);

/* An answer that is no success, as our error, upstream filled. what: "HEAD", "GET of bytes 0-1" …; body: NUL-terminated or NULL. */
int blob_error(struct blob *b, const char *what, const struct http_headers *h, const char *body, struct err *e);
/* Waits before try number `attempt` (1 after the first failure): exponential, at least what e asks for, at most max_ms.
 * false: stop said so. */
bool blob_backoff(unsigned attempt, unsigned max_ms, const struct err *e, bool (*stop)(void *), void *arg);

#endif

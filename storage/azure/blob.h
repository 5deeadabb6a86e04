/* Blobs over REST, and plain files behind any HTTP server with ranges: what a download needs of them.
 * Sources: Azure Storage REST (Get Blob, Get Blob Properties, Get Page Ranges, SharedKey authorization); RFC 9110. Threads: a
 * struct blob is read-only after blob_open and may be shared; requests take a CURL handle of the caller's. */
#ifndef VMR_STORAGE_AZURE_BLOB_H
#define VMR_STORAGE_AZURE_BLOB_H

#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"
#include "storage/http.h"

#define BLOB_API_VERSION "2020-10-02"
#define BLOB_READ_MAX ((size_t)4 << 20)
#define BLOB_RANGES_MAX ((size_t)1 << 20)            /* a longer page list has its small gaps closed: memory stays bounded */

enum blob_auth { BLOB_ANONYMOUS /* or a SAS inside the URL */, BLOB_SHARED_KEY };

struct blob_access {
    const char *url;                                 /* whole, its query (SAS, snapshot=…) kept byte for byte */
    enum blob_auth auth;
    const char *account, *key;                       /* BLOB_SHARED_KEY: name and base64 key */
    struct http_config http;
    bool (*stop)(void *arg);                         /* polled during small requests: true gives them up with ERR_CANCELLED; may be NULL */
    void *stop_arg;
    bool no_conditions;                              /* a host that refuses condition headers; known for managed disks (md-…) */
    /* A token that goes with each request, beside a SAS or alone (not with BLOB_SHARED_KEY); NULL: none. Asked for anew each time: whoever gives
     * it keeps it. refused: the host did not take it. Both from the threads that make requests; the errors of token are those of the request. */
    int (*token)(void *arg, char **ret, struct err *e);   /* the blob frees it (mem_free_secret) */
    void (*token_refused)(void *arg, const char *token);
    void *token_arg;
};
struct blob;
int blob_open(const struct blob_access *a, struct blob **ret, struct err *e);    /* copies what it needs; no request yet */
void blob_close(struct blob *b);
DEFINE_AUTO(struct blob, blob_close)
const char *blob_name(const struct blob *b);         /* the redacted URL, the middle of a long one left out: for messages */

struct blob_info {
    uint64_t length;
    char etag[128], last_modified[64];
    bool page_blob;
    bool azure;                                      /* answered as Azure Storage does (x-ms-version or x-ms-request-id) */
};
/* HEAD, and where a server does not do that, GET of the first byte. ERR_CANCELLED, ERR_SOURCE_NOT_FOUND, ERR_SOURCE_DENIED, ERR_SAS_EXPIRED,
 * ERR_RANGE_IGNORED, ERR_UNREACHABLE, ERR_THROTTLED, ERR_UPSTREAM … with upstream filled. */
int blob_head(struct blob *b, struct blob_info *ret, struct err *e);

struct blob_range { uint64_t start, end; };          /* bytes [start, end) */
struct blob_ranges { struct blob_range *list; size_t n; uint64_t bytes; bool complete; /* false: not a page list, all bytes */ };
void blob_ranges_free(struct blob_ranges *r);
/* The ranges that may hold data: sorted, disjoint, merged when they touch, inside [0, length). Window by window (x-ms-range),
 * windows halved on failure, NextMarker followed. Not a page blob, or a list that cannot be had: one range with everything and
 * complete = false; only denial, absence, change (ETag) and stop are errors. */
int blob_page_ranges(struct blob *b, const struct blob_info *info, bool (*stop)(void *), void *arg, struct blob_ranges *ret,
                     struct err *e);

/* A sum of the range that the service is asked to send along. Of at most BLOB_CHECKED_MAX bytes. */
enum blob_check { BLOB_UNCHECKED, BLOB_MD5 /* Content-MD5 */, BLOB_CRC64 /* x-ms-content-crc64; crc64.h */ };
#define BLOB_CHECKED_MAX ((uint64_t)4 << 20)
/* Sets up `h` for a GET of [start, end) with If-Match (where allowed); *ret: the header list (caller: blob_headers_free after the transfer).
 * Signed, or with its token, anew each time. ERR_OOM, and what the token's giver says. */
int blob_prepare_get(struct blob *b, const struct blob_info *info, CURL *h, uint64_t start, uint64_t end, enum blob_check check,
                     struct curl_slist **ret, struct err *e);
void blob_headers_free(struct curl_slist *list);     /* wipes: a token may be in it; NULL is a no-op */
/* Judges the answer of such a GET by its headers: 0 when it is 206 with exactly this range, total length, ETag and Last-Modified
 * of `info`; else the error (ERR_SOURCE_CHANGED, ERR_SOURCE_TRUNCATED, ERR_RANGE_IGNORED, ERR_SAS_EXPIRED, ERR_THROTTLED …).
 * body: the start of an error answer's body, or NULL. */
int blob_check_get(struct blob *b, const struct blob_info *info, uint64_t start, uint64_t end, const struct http_headers *h,
                   const char *body, struct err *e);
/* For a caller that makes its own handles: the options that blob_open was given, and the URL, which may hold a SAS. Borrowed. */
const struct http_config *blob_http(const struct blob *b);
const char *blob_url(const struct blob *b);
/* Access to the source ended, was taken back, or its token is over (401, 403): another access may do. */
bool blob_error_is_refusal(const struct err *e);
/* The token that requests carry now was refused: the next request asks for another. A no-op without one. */
void blob_refuse_token(struct blob *b);
/* Whether a later try of the same request may do better (throttled, 5xx, cut, no answer, too late). */
bool blob_error_is_transient(const struct err *e);
/* One small range, blocking, retried a few times (n at most 4 MiB). */
int blob_read(struct blob *b, const struct blob_info *info, void *buf, size_t n, uint64_t offset, struct err *e);

#endif

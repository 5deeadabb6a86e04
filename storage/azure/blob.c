#include "storage/azure/blob.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/url.h"
#include "storage/azure/blob_internal.h"
#include "storage/azure/sharedkey.h"

#define TRIES 4 /* of one small request */
#define BACKOFF_MAX_MS 5000

/* ---- opening ---- */

/* The decoded value of a query parameter, cut at the buffer; false if it is not there. */
static bool query_value(const char *url, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name);
    for (const char *p = strchr(url, '?'); p; p = strchr(p, '&')) {
        p++;
        if (strncmp(p, name, n) || p[n] != '=')
            continue;
        size_t m = 0;
        for (p += n + 1; *p && *p != '&' && *p != '#' && m + 1 < size; p++) {
            unsigned c = (unsigned char)*p;
            if (c == '%' && sscanf(p + 1, "%2x", &c) == 1 && p[1] && p[2])
                p += 2;
            ret[m++] = (char)c;
        }
        ret[m] = 0;
        return true;
    }
    return false;
}

/* se= as a time: a date, or date and time with or without seconds. 0: not there or not understood. */
static int64_t expiry_of(const char *url)
{
    char se[40], text[64];
    if (!query_value(url, "se", se, sizeof se))
        return 0;
    size_t n = strlen(se);
    if (n == 10)
        snprintf(text, sizeof text, "%sT00:00:00Z", se);
    else if (n == 17)
        snprintf(text, sizeof text, "%.16s:00Z", se);
    else
        snprintf(text, sizeof text, "%s", se);
    int64_t ms;
    return clock_parse(text, &ms) ? ms : 0;
}

/* Exported managed disks refuse condition headers. */
static bool is_disk_export(const char *url)
{
    const char *host = strstr(url, "://");
    return host && str_istarts(host + 3, "md-");
}

/* The middle of a long name is left out: it stands in messages beside what went wrong. */
static void shorten(char *name)
{
    const size_t head = 100, tail = 100;
    size_t n = strlen(name);
    if (n <= head + 3 + tail)
        return;
    memcpy(name + head, "...", 3);
    memmove(name + head + 3, name + n - tail, tail + 1);
}

int blob_open(const struct blob_access *a, struct blob **ret, struct err *e)
{
    if (a->auth == BLOB_SHARED_KEY && (!a->account || !*a->account || !a->key))
        return err_set(e, ERR_CREDENTIAL, "the credential has no account name or no key");
    if (a->auth == BLOB_SHARED_KEY) { /* said here, so that signing a request can only run out of memory */
        AUTO_SECRET char *line = NULL;
        int r = sharedkey_sign(a->account, a->key, "GET", a->url, NULL, &line, e);
        if (r < 0)
            return r;
    }
    AUTO(blob_close_ptr) struct blob *b = calloc(1, sizeof *b);
    if (!b)
        return err_oom(e);
    b->url = str_dup(a->url);
    b->name = url_redact(a->url);
    b->auth = a->auth;
    b->account = str_dup(a->account);
    b->key = str_dup(a->key);
    b->http = a->http;
    b->stop = a->stop;
    b->stop_arg = a->stop_arg;
    b->token = a->token;
    b->token_refused = a->token_refused;
    b->token_arg = a->token_arg;
    b->ca_file = str_dup(a->http.ca_file);
    b->http.ca_file = b->ca_file;
    if (!b->url || (a->account && !b->account) || (a->key && !b->key) || (a->http.ca_file && !b->ca_file))
        return err_oom(e);
    if (!b->name)
        return err_set(e, ERR_VALUE, "the source's URL cannot be parsed");
    shorten(b->name);
    char sig[8];
    b->has_signature = query_value(b->url, "sig", sig, sizeof sig);
    b->sas_expires_ms = expiry_of(b->url);
    atomic_init(&b->no_conditions, a->no_conditions || is_disk_export(b->url));
    *ret = STEAL(b);
    return 0;
}

void blob_close(struct blob *b)
{
    if (!b)
        return;
    mem_free_secret(b->url);
    mem_free_secret(b->key);
    free(b->name);
    free(b->account);
    free(b->ca_file);
    free(b);
}

const char *blob_name(const struct blob *b)
{
    return b->name;
}

const struct http_config *blob_http(const struct blob *b)
{
    return &b->http;
}

const char *blob_url(const struct blob *b)
{
    return b->url;
}

/* ---- requests ---- */

static bool add(struct curl_slist **list, const char *name, const char *value)
{
    AUTO_FREE char *line = str_printf("%s: %s", name, value);
    struct curl_slist *l = line ? curl_slist_append(*list, line) : NULL;
    if (!l)
        return false;
    *list = l;
    return true;
}

void blob_headers_free(struct curl_slist *list)
{
    for (struct curl_slist *l = list; l; l = l->next)
        mem_wipe(l->data, strlen(l->data));
    curl_slist_free_all(list);
}

static int add_token(struct blob *b, struct curl_slist **list, struct err *e)
{
    AUTO_SECRET char *token = NULL, *line = NULL;
    int r = b->token(b->token_arg, &token, e);
    if (r < 0)
        return r;
    line = str_printf("Authorization: Bearer %s", token);
    struct curl_slist *with = line ? curl_slist_append(*list, line) : NULL;
    if (!with)
        return err_oom(e);
    *list = with;
    return 0;
}

void blob_refuse_token(struct blob *b)
{
    AUTO_SECRET char *token = NULL;
    struct err ignored;
    if (b->token && b->token(b->token_arg, &token, &ignored) == 0)
        b->token_refused(b->token_arg, token);
}

int blob_headers(struct blob *b, const char *verb, const char *url, const char *range, bool azure, const char *if_match, const char *const *more,
                 struct curl_slist **ret, struct err *e)
{
    bool key = b->auth == BLOB_SHARED_KEY;
    struct curl_slist *l = NULL;
    char now[CLOCK_TEXT];
    clock_format_http(clock_now_ms(), now);
    bool ok = add(&l, "x-ms-version", BLOB_API_VERSION) && (!key || add(&l, "x-ms-date", now));
    if (ok && range)
        ok = add(&l, azure || key ? "x-ms-range" : "Range", range);
    if (ok && if_match)
        ok = add(&l, "If-Match", if_match);
    for (; ok && more && *more; more++) {
        struct curl_slist *with = curl_slist_append(l, *more);
        l = with ? with : l;
        ok = with;
    }
    int r = ok ? 0 : err_oom(e);
    if (ok && !key && b->token)
        r = add_token(b, &l, e);
    if (ok && key) {
        AUTO_SECRET char *line = NULL;
        r = sharedkey_sign(b->account, b->key, verb, url, l, &line, e);
        if (r == 0) {
            struct curl_slist *with = curl_slist_append(l, line);
            if (with)
                l = with;
            else
                r = err_oom(e);
        }
    }
    if (r < 0) {
        blob_headers_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

const char *blob_if_match(struct blob *b, const struct blob_info *info)
{
    return info->etag[0] == '"' && !atomic_load(&b->no_conditions) ? info->etag : NULL;
}

struct answer {
    struct http_headers headers;
    uint8_t *into; /* where a 206's body goes, n bytes; NULL: nowhere */
    size_t n, got;
    struct strbuf error; /* body of an answer that is no success */
};

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    n *= size;
    if (a->headers.status >= 300) {
        size_t room = a->error.max - a->error.len;
        strbuf_add(&a->error, p, n < room ? n : room);
        return room ? n : 0;                          /* an error that does not end */
    }
    if (n > a->n - a->got)
        return 0; /* more than was asked for: the headers say what is wrong */
    if (a->into)
        memcpy(a->into + a->got, p, n);
    a->got += n;
    return n;
}

/* libcurl calls this about once a second, also while nothing arrives. */
static int on_tick(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
    (void)dt, (void)dn, (void)ut, (void)un;
    const struct blob *b = arg;
    return b->stop && b->stop(b->stop_arg);
}

CURLcode blob_perform(CURL *h, struct curl_slist *lines, struct http_headers *headers, const struct blob_body *body, char detail[CURL_ERROR_SIZE])
{
    http_headers_reset(headers);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, lines);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, http_collect_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, headers);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, body->take);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, body->arg);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, body->tick);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, body->tick_arg);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail);
    CURLcode c = curl_easy_perform(h);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, NULL);
    blob_headers_free(lines);
    return c;
}

/* One request, no retry. 0: an answer came (whatever its status). */
static int perform(struct blob *b, CURL *h, const char *verb, const char *range, bool azure, const char *if_match,
                   struct answer *a, struct err *e)
{
    struct curl_slist *list = NULL;
    int r = blob_headers(b, verb, b->url, range, azure, if_match, NULL, &list, e);
    if (r < 0)
        return r;
    char detail[CURL_ERROR_SIZE] = "";
    a->got = 0;
    strbuf_reset(&a->error);
    curl_easy_setopt(h, CURLOPT_NOBODY, !strcmp(verb, "HEAD") ? 1L : 0L);
    if (strcmp(verb, "HEAD"))
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    CURLcode c = blob_perform(h, list, &a->headers, &(struct blob_body){on_body, a, on_tick, b}, detail);
    if (c == CURLE_ABORTED_BY_CALLBACK && !http_refused(c, detail))
        return err_set(e, ERR_CANCELLED, "stopped while %s was asked", b->name);
    /* Once a status is known the headers judge: an error's body may be cut, a body that is too long was refused. */
    if (c == CURLE_OK || (a->headers.status >= 200 && c == CURLE_WRITE_ERROR) || a->headers.status >= 400)
        return 0;
    return http_error(c, detail, b->url, e);
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void info_from(const struct http_headers *h, uint64_t length, struct blob_info *ret)
{
    *ret = (struct blob_info){.length = length, .azure = h->azure, .page_blob = str_ieq(h->blob_type, "PageBlob")};
    copy(ret->etag, sizeof ret->etag, h->etag);
    copy(ret->last_modified, sizeof ret->last_modified, h->last_modified);
}

/* "bytes START-END/TOTAL" with an inclusive end; false on anything else. */
static bool parse_content_range(const char *s, uint64_t *start, uint64_t *end, uint64_t *total)
{
    char a[24], b[24], t[24];
    unsigned long long x, y, z;
    int used = 0;
    if (!str_istarts(s, "bytes ") || sscanf(s + 6, " %20[0-9]-%20[0-9]/%20[0-9]%n", a, b, t, &used) != 3 || s[6 + used])
        return false;
    if (!str_to_u64(a, INT64_MAX, &x) || !str_to_u64(b, INT64_MAX - 1, &y) || !str_to_u64(t, INT64_MAX, &z) || y < x)
        return false;
    *start = x;
    *end = y + 1;
    *total = z;
    return true;
}

static int head_by_get(struct blob *b, CURL *h, struct answer *a, struct blob_info *ret, struct err *e)
{
    int r = perform(b, h, "GET", "bytes=0-0", a->headers.azure, NULL, a, e);
    if (r < 0)
        return r;
    uint64_t start, end, total;
    if (a->headers.status == 200) {
        err_set(e, ERR_RANGE_IGNORED, "%s answered a request for one byte with the whole file", b->name);
        return -ERR_RANGE_IGNORED;
    }
    if (a->headers.status != 206)
        return blob_error(b, "GET of the first byte", &a->headers, a->error.data, e);
    if (!parse_content_range(a->headers.content_range, &start, &end, &total))
        return err_set(e, ERR_RANGE_IGNORED, "%s answered 206 without saying the file's length (Content-Range: %.90s)", b->name,
                       a->headers.content_range);
    info_from(&a->headers, total, ret);
    return 0;
}

static int head_once(struct blob *b, CURL *h, struct answer *a, void *ret, struct err *e)
{
    int r = perform(b, h, "HEAD", NULL, true, NULL, a, e);
    if (r < 0)
        return r;
    const struct http_headers *x = &a->headers;
    if (x->status == 200 && x->content_length != ULLONG_MAX) {
        if (x->content_length > INT64_MAX)
            return err_set(e, ERR_UPSTREAM_FINAL, "%s says that it is %llu bytes long", b->name, x->content_length);
        info_from(x, x->content_length, ret);
        return 0;
    }
    /* A refused HEAD has no body that says why, and some servers and signed URLs know only GET. */
    bool retry = x->status == 408 || x->status == 429 || (x->status >= 500 && x->status != 501);
    if (x->status == 404 || (x->status >= 300 && x->status < 400) || retry)
        return blob_error(b, "HEAD", x, NULL, e);
    return head_by_get(b, h, a, ret, e);
}

bool blob_may_retry(struct blob *b, unsigned attempt, bool *renewed, const struct err *e)
{
    if (b->token && !*renewed && (e->upstream.status == 401 || !strcmp(e->upstream.code, "InvalidAuthenticationInfo"))) {
        *renewed = true;
        blob_refuse_token(b);
        return true;
    }
    return attempt < TRIES && blob_error_is_transient(e);
}

typedef int once_fn(struct blob *b, CURL *h, struct answer *a, void *arg, struct err *e);

/* A small request until it is answered, fails for good or is stopped. into: as in struct answer. */
static int persist(struct blob *b, uint8_t *into, size_t n, once_fn *once, void *arg, struct err *e)
{
    CURL *h = http_handle(&b->http, b->url);
    if (!h)
        return err_oom(e);
    struct answer a = {.into = into, .n = n, .error = {.max = BLOB_ERROR_BODY_MAX}};
    bool renewed = false;
    int r;
    for (unsigned attempt = 1;; attempt++) {
        r = once(b, h, &a, arg, e);
        if (r == 0 || !blob_may_retry(b, attempt, &renewed, e))
            break;
        if (!blob_backoff(attempt, BACKOFF_MAX_MS, e, b->stop, b->stop_arg)) {
            r = err_set(e, ERR_CANCELLED, "stopped while %s was asked", b->name);
            break;
        }
    }
    strbuf_free(&a.error);
    curl_easy_cleanup(h);
    return r;
}

int blob_head(struct blob *b, struct blob_info *ret, struct err *e)
{
    uint8_t byte;
    return persist(b, &byte, 1, head_once, ret, e);
}

int blob_prepare_get(struct blob *b, const struct blob_info *info, CURL *h, uint64_t start, uint64_t end, enum blob_check check,
                     struct curl_slist **ret, struct err *e)
{
    static const char *const ask[][2] = {
        [BLOB_UNCHECKED] = {NULL}, [BLOB_MD5] = {"x-ms-range-get-content-md5: true"}, [BLOB_CRC64] = {"x-ms-range-get-content-crc64: true"}};
    char range[64];
    struct curl_slist *list = NULL;
    snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, start, end - 1);
    int r = blob_headers(b, "GET", b->url, range, info->azure, blob_if_match(b, info), ask[check], &list, e);
    if (r < 0)
        return r;
    if (curl_easy_setopt(h, CURLOPT_URL, b->url) || curl_easy_setopt(h, CURLOPT_HTTPGET, 1L) ||
        curl_easy_setopt(h, CURLOPT_HTTPHEADER, list)) {
        blob_headers_free(list);
        return err_oom(e);
    }
    *ret = list;
    return 0;
}

static int changed(const struct blob *b, struct err *e, const char *what, const char *now, const char *then)
{
    return err_set(e, ERR_SOURCE_CHANGED, "%s was changed during the download: its %s is now %.130s and was %.130s", b->name,
                   what, now, then);
}

/* An answer that breaks the protocol: perhaps a broken proxy, so another try may do better. */
static int bad_answer(const struct blob *b, const struct http_headers *h, const char *what, const char *text, struct err *e)
{
    err_set(e, ERR_UPSTREAM, "%s answered %s with %s", b->name, what, text);
    snprintf(e->upstream.service, sizeof e->upstream.service, "%s", h->azure ? "azure_storage" : "http");
    e->upstream.status = h->status;
    copy(e->upstream.request_id, sizeof e->upstream.request_id, h->request_id);
    return -ERR_UPSTREAM;
}

int blob_check_get(struct blob *b, const struct blob_info *info, uint64_t start, uint64_t end, const struct http_headers *h,
                   const char *body, struct err *e)
{
    char what[80], now[32], then[32];
    uint64_t got_start, got_end, total;
    snprintf(what, sizeof what, "GET of bytes %" PRIu64 "-%" PRIu64, start, end - 1);
    snprintf(then, sizeof then, "%" PRIu64, info->length);
    if (h->status == 200)
        return err_set(e, ERR_RANGE_IGNORED, "%s answered %s with the whole file (200)", b->name, what);
    if (h->status == 416) {
        char *slash = strchr(h->content_range, '/');
        unsigned long long n;
        if (slash && str_to_u64(slash + 1, INT64_MAX, &n) && n != info->length)
            return changed(b, e, "length", slash + 1, then);
        blob_error(b, what, h, body, e);
        e->code = ERR_SOURCE_TRUNCATED;
        return -ERR_SOURCE_TRUNCATED;
    }
    if (h->status == 412) {
        blob_error(b, what, h, body, e);
        return err_prefix(e, "the source was changed during the download");
    }
    if (h->status != 206)
        return h->status >= 200 && h->status < 300 ? bad_answer(b, h, what, "a status that is not 206", e)
                                                   : blob_error(b, what, h, body, e);
    if (!parse_content_range(h->content_range, &got_start, &got_end, &total))
        return bad_answer(b, h, what, "no usable Content-Range", e);
    if (total != info->length) {
        snprintf(now, sizeof now, "%" PRIu64, total);
        return changed(b, e, "length", now, then);
    }
    if (info->etag[0] && h->etag[0] && strcmp(info->etag, h->etag))
        return changed(b, e, "ETag", h->etag, info->etag);
    if (info->last_modified[0] && h->last_modified[0] && strcmp(info->last_modified, h->last_modified))
        return changed(b, e, "Last-Modified", h->last_modified, info->last_modified);
    if ((info->etag[0] && !h->etag[0]) || (info->last_modified[0] && !h->last_modified[0]))
        return bad_answer(b, h, what, "neither the ETag nor the Last-Modified that it gave before", e);
    if (got_start == start && got_end < end && got_end <= total)
        return err_set(e, ERR_SOURCE_TRUNCATED,
                       "%s has no bytes from %" PRIu64 " on, though it says that it is %" PRIu64 " bytes long", b->name, got_end,
                       total);
    if (got_start != start || got_end != end)
        return bad_answer(b, h, what, "another range", e);
    if (h->content_length != ULLONG_MAX && h->content_length != end - start)
        return bad_answer(b, h, what, "a Content-Length that does not fit the range", e);
    return 0;
}

struct read { const struct blob_info *info; uint64_t offset; };

static int read_once(struct blob *b, CURL *h, struct answer *a, void *arg, struct err *e)
{
    const struct read *read = arg;
    char range[64];
    uint64_t end = read->offset + a->n;
    snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, read->offset, end - 1);
    int r = perform(b, h, "GET", range, read->info->azure, blob_if_match(b, read->info), a, e);
    if (r == 0)
        r = blob_check_get(b, read->info, read->offset, end, &a->headers, a->error.data, e);
    if (r == 0 && a->got != a->n)
        r = err_set(e, ERR_UNREACHABLE, "%s ended its answer after %zu of %zu bytes", b->name, a->got, a->n);
    return r;
}

int blob_read(struct blob *b, const struct blob_info *info, void *buf, size_t n, uint64_t offset, struct err *e)
{
    if (n == 0)
        return 0;
    if (n > BLOB_READ_MAX || offset > info->length || n > info->length - offset)
        return err_set(e, ERR_INTERNAL, "a read of %zu bytes at %" PRIu64 " does not fit %s (%" PRIu64 " bytes)", n, offset,
                       b->name, info->length);
    return persist(b, buf, n, read_once, &(struct read){info, offset}, e);
}

#include "storage/azure/page_blob.h"

#include <stdio.h>
#include <string.h>

#include "common/url.h"
#include "storage/azure/blob_internal.h"
#include "storage/azure/rest.h"

#define LIST_PAGES_MAX 100
#define FOUND_MAX 16
#define TRIES 4
#define BACKOFF_MAX_MS 5000

/* ---- requests ---- */

static char *url_with(const struct blob *b, const char *query)
{
    return str_printf("%s%c%s", b->url, strchr(b->url, '?') ? '&' : '?', query);
}

static int denied(struct err *e)
{
    if (e->code == ERR_SOURCE_DENIED)
        err_hint(e, "The credential must be allowed to create, list and delete in that container: the role Storage Blob Data Contributor, the account's "
                    "key, or a SAS with the permissions racwdl.");
    return -(int)e->code;
}

static int send_once(struct blob *b, CURL *h, const char *verb, const char *url, const char *const *lines, struct rest_answer *a, struct err *e)
{
    struct curl_slist *list = NULL;
    int r = blob_headers(b, verb, url, NULL, true, NULL, lines, &list, e);
    if (r < 0)
        return r;
    struct rest_request q = {.method = verb, .url = url, .stop = b->stop, .arg = b->stop_arg};
    size_t n = 0;
    for (struct curl_slist *l = list; l && n < REST_HEADERS_MAX; l = l->next)
        q.headers[n++] = l->data;
    r = rest_perform(h, &q, a, e);
    blob_headers_free(list);
    return r;
}

/* what: for messages. Any 2xx is 0; so is what `also` names (a status), if not 0. A try that only wanted a new token does not count. */
static int send_tries(struct blob *b, unsigned tries, const char *what, const char *verb, const char *url, const char *const *lines, int also,
                      struct rest_answer *a, struct err *e)
{
    CURL *h = http_handle(&b->http, url);
    if (!h)
        return err_oom(e);
    bool renewed = false;
    int r;
    for (unsigned attempt = 1;; attempt++) {
        r = send_once(b, h, verb, url, lines, a, e);
        if (r == 0 && (a->headers.status < 200 || a->headers.status > 299) && a->headers.status != also) {
            char *body = a->body.data;
            r = blob_error(b, what, &a->headers, body, e);
        }
        bool before = renewed;
        if (r == 0 || !blob_may_retry(b, attempt, &renewed, e))
            break;
        if (renewed != before) {
            attempt--;
            continue;
        }
        if (attempt >= tries)
            break;
        if (!blob_backoff(attempt, BACKOFF_MAX_MS, e, b->stop, b->stop_arg)) {
            r = err_set(e, ERR_CANCELLED, "stopped while %s was asked", b->name);
            break;
        }
    }
    curl_easy_cleanup(h);
    return r < 0 ? denied(e) : 0;
}

static int blob_send(struct blob *b, const char *what, const char *verb, const char *url, const char *const *lines, int also, struct rest_answer *a,
                     struct err *e)
{
    return send_tries(b, TRIES, what, verb, url, lines, also, a, e);
}

static void mark(const char *job_id, char ret[96])
{
    snprintf(ret, 96, "x-ms-meta-vmrecoverjob: %s", job_id);
}

/* ---- snapshots ---- */

char *page_blob_snapshot_url(const char *url, const char *time)
{
    AUTO_FREE char *escaped = url_escape(time);
    return escaped ? str_printf("%s%csnapshot=%s", url, strchr(url, '?') ? '&' : '?', escaped) : NULL;
}

/* The URL of the container's list of this blob and its snapshots, and the blob's name as the list has it. */
static int list_url(const struct blob *b, const char *more, char **ret_url, char **ret_name, struct err *e)
{
    size_t path = strcspn(b->url, "?#"), slash = path;
    const char *authority = strstr(b->url, "://");
    size_t first = authority ? (size_t)(authority - b->url) + 3 : 0;
    while (slash > first && b->url[slash - 1] != '/')
        slash--;
    if (slash <= first + 1 || slash == path)
        return err_set(e, ERR_VALUE, "%s is no blob in a container", b->name);
    AUTO_FREE char *escaped = str_ndup(b->url + slash, path - slash), *container = str_ndup(b->url, slash - 1);
    AUTO_FREE char *name = escaped ? url_unescape(escaped) : NULL, *again = name ? url_escape(name) : NULL, *marker = url_escape(more);
    if (!container || !again || !marker)
        return err_oom(e);
    const char *query = b->url[path] == '?' ? b->url + path + 1 : "";
    *ret_url = str_printf("%s?%s%srestype=container&comp=list&include=metadata,snapshots&prefix=%s%s%s", container, query, *query ? "&" : "", again,
                          *more ? "&marker=" : "", marker);
    if (!*ret_url)
        return err_oom(e);
    *ret_name = STEAL(name);
    return 0;
}

/* Times of the snapshots of this blob that carry the job's id. */
static int find(struct blob *b, const char *job_id, char (*ret)[PAGE_BLOB_TIME_MAX], size_t *ret_n, struct err *e)
{
    char more[1024] = "";
    *ret_n = 0;
    for (unsigned page = 0; page < LIST_PAGES_MAX; page++) {
        AUTO_SECRET char *url = NULL;
        AUTO_FREE char *name = NULL;
        AUTO(rest_answer_clear) struct rest_answer a = {0};
        size_t n = 0;
        int r = list_url(b, more, &url, &name, e);
        if (r < 0 || (r = blob_send(b, "List Blobs", "GET", url, NULL, 0, &a, e)) < 0 ||
            (r = page_blob_parse_list(a.body.data ? a.body.data : "", a.body.len, name, job_id, ret + *ret_n, FOUND_MAX - *ret_n, &n, more, e)) < 0)
            return r;
        *ret_n += n;
        if (!*more || *ret_n == FOUND_MAX)
            return 0;
    }
    return err_set(e, ERR_UPSTREAM_FINAL, "%s: the list of its snapshots does not end", b->name);
}

/* The same; without the right to list nothing is found. */
static int find_if_allowed(struct blob *b, const char *job_id, char (*ret)[PAGE_BLOB_TIME_MAX], size_t *ret_n, bool *ret_unlisted, struct err *e)
{
    int r = find(b, job_id, ret, ret_n, e);
    bool unlisted = r < 0 && blob_error_is_refusal(e);
    if (ret_unlisted)
        *ret_unlisted = unlisted;
    return unlisted ? 0 : r;
}

static int take(struct blob *b, const char *job_id, char ret[PAGE_BLOB_TIME_MAX], struct err *e)
{
    char line[96];
    mark(job_id, line);
    AUTO_SECRET char *url = url_with(b, "comp=snapshot");
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    if (!url)
        return err_oom(e);
    int r = send_tries(b, 1, "Snapshot Blob", "PUT", url, (const char *const[]){line, NULL}, 0, &a, e);
    if (r < 0)
        return r;
    if (!a.headers.snapshot[0])
        return err_set(e, ERR_UPSTREAM, "%s: a snapshot was made, but its time was not told", b->name);
    snprintf(ret, PAGE_BLOB_TIME_MAX, "%s", a.headers.snapshot);
    return 0;
}

/* Each request makes another snapshot: before it is repeated, what it made although its answer was lost is looked for. */
int page_blob_snapshot(struct blob *b, const char *job_id, char ret[PAGE_BLOB_TIME_MAX], bool *ret_unlisted, struct err *e)
{
    char found[FOUND_MAX][PAGE_BLOB_TIME_MAX];
    for (unsigned attempt = 1;; attempt++) {
        size_t n = 0;
        int r = find_if_allowed(b, job_id, found, &n, ret_unlisted, e);
        if (r < 0)
            return r;
        if (n) {
            memcpy(ret, found[0], PAGE_BLOB_TIME_MAX);
            return 0;
        }
        r = take(b, job_id, ret, e);
        if (r == 0 || attempt == TRIES || !blob_error_is_transient(e))
            return r;
        if (!blob_backoff(attempt, BACKOFF_MAX_MS, e, b->stop, b->stop_arg))
            return err_set(e, ERR_CANCELLED, "stopped while %s was asked", b->name);
    }
}

static int delete_one(struct blob *b, const char *time, struct err *e)
{
    AUTO_SECRET char *url = page_blob_snapshot_url(b->url, time);
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    return url ? blob_send(b, "Delete Blob (snapshot)", "DELETE", url, NULL, 404, &a, e) : err_oom(e);
}

int page_blob_snapshot_delete(struct blob *b, const char *job_id, const char *time, bool *ret_unlisted, struct err *e)
{
    if (ret_unlisted)
        *ret_unlisted = false;
    if (time)
        return delete_one(b, time, e);
    char found[FOUND_MAX][PAGE_BLOB_TIME_MAX];
    size_t n = 0;
    int r = find_if_allowed(b, job_id, found, &n, ret_unlisted, e);
    if (r == -ERR_SOURCE_NOT_FOUND)
        return 0;                                    /* the container is gone */
    for (size_t i = 0; r == 0 && i < n; i++)
        r = delete_one(b, found[i], e);
    return r;
}

/* ---- copies ---- */

int page_blob_copy_state(struct blob *b, const char *job_id, struct page_blob_copy *ret, struct err *e)
{
    static const struct { const char *word; enum page_blob_copy_state state; } words[] = {
        {"pending", COPY_PENDING}, {"success", COPY_SUCCEEDED}, {"failed", COPY_FAILED}, {"aborted", COPY_ABORTED},
    };
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    int r = blob_send(b, "HEAD", "HEAD", b->url, NULL, 404, &a, e);
    if (r < 0)
        return r;
    const struct http_headers *h = &a.headers;
    *ret = (struct page_blob_copy){.state = COPY_NONE};
    if (h->status == 404)
        return !strcmp(h->error_code, "ContainerNotFound") ? blob_error(b, "HEAD", h, NULL, e) : 0;
    ret->ours = !strcmp(h->job, job_id);
    ret->state = COPY_FAILED;                        /* a blob that no copy made */
    snprintf(ret->id, sizeof ret->id, "%s", h->copy_id);
    rest_text(h->copy_why, NULL, ret->why, sizeof ret->why);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(h->copy_status, words[i].word))
            ret->state = words[i].state;
    char done[24], total[24];
    unsigned long long x = 0, y = 0;
    if (sscanf(h->copy_progress, "%20[0-9]/%20[0-9]", done, total) == 2 && str_to_u64(done, INT64_MAX, &x) && str_to_u64(total, INT64_MAX, &y) && x <= y) {
        ret->done = x;
        ret->total = y;
    }
    return 0;
}

int page_blob_copy_begin(struct blob *b, const char *job_id, const char *source, struct err *e)
{
    char line[96];
    mark(job_id, line);
    AUTO_SECRET char *from = str_printf("x-ms-copy-source: %s", source);
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    if (!from)
        return err_oom(e);
    const char *const lines[] = {from, line, "If-None-Match: *", NULL};
    int r = blob_send(b, "Copy Blob", "PUT", b->url, lines, 0, &a, e);
    if (r < 0 && (e->upstream.status == 409 || e->upstream.status == 412)) {
        struct page_blob_copy c;
        struct err why;
        int x = page_blob_copy_state(b, job_id, &c, &why);
        if (x < 0) {                                 /* whose it is is not known */
            *e = why;
            return x;
        }
        if (c.ours && (c.state == COPY_PENDING || c.state == COPY_SUCCEEDED))
            return 0;                                /* an earlier try, whose answer was lost */
        e->code = ERR_WRONG_STATE;
        return err_hint(e, "Remove that blob, or name another container.");
    }
    if (r < 0 && (e->upstream.status == 404 || !strcmp(e->upstream.code, "ContainerNotFound")))
        err_hint(e, "Make the container first: it is not made for you.");
    if (r < 0 && !strcmp(e->upstream.code, "CannotVerifyCopySource")) {
        e->code = ERR_UPSTREAM;                      /* access may be granted anew */
        err_hint(e, "The storage service could not read the disk's export.");
    }
    return r < 0 ? -(int)e->code : 0;
}

int page_blob_copy_delete(struct blob *b, const char *job_id, struct err *e)
{
    struct page_blob_copy c;
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    int r = page_blob_copy_state(b, job_id, &c, e);
    if (r == -ERR_SOURCE_NOT_FOUND)
        return 0;
    if (r < 0 || c.state == COPY_NONE)
        return r;
    if (!c.ours)
        return err_set(e, ERR_WRONG_STATE, "%s does not carry this job's id; it is not deleted", b->name);
    if (c.state == COPY_PENDING && *c.id) {
        AUTO_FREE char *escaped = url_escape(c.id), *query = escaped ? str_printf("comp=copy&copyid=%s", escaped) : NULL;
        AUTO_SECRET char *url = query ? url_with(b, query) : NULL;
        if (!url)
            return err_oom(e);
        static const char *const lines[] = {"x-ms-copy-action: abort", NULL};
        if ((r = blob_send(b, "Abort Copy Blob", "PUT", url, lines, 409, &a, e)) < 0)      /* 409: it is over meanwhile */
            return r;
    }
    return blob_send(b, "Delete Blob", "DELETE", b->url, NULL, 404, &a, e);
}

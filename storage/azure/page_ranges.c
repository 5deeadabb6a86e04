/* Get Page Ranges. A list that cannot be had, or that cannot be trusted, costs speed only: then every byte counts as data.
 *
 * The blob is asked window by window, because the service may time out on a fragmented one; a window that fails is halved. Each
 * answer must be well-formed, ascending and without overlap, and is cut to its window. Answers are parsed as they arrive. */
#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "storage/azure/blob_internal.h"

#define WINDOW_MAX ((uint64_t)32 << 30)
#define WINDOW_MIN ((uint64_t)256 << 20)
#define FAILURES_MAX 6                   /* in all; then every byte is data */
#define BAD_COUNTS 3                     /* a list that came and was wrong is hardly better the next time */
#define PAUSE_MAX_MS 5000                /* waited here; who asks for more is asked again by the task's next try */
#define PAGES_MAX 100000                 /* of one window */
#define ANSWER_MAX ((uint64_t)256 << 20) /* bytes of one answer */
#define MARKER_MAX 2048
#define DEPTH_MAX 8

/* ---- the growing list ---- */

struct list {
    struct blob_range *r;
    size_t n, size;
    uint64_t close_gap; /* gaps up to this are closed: 0 until the list is too long */
};

static void close_gaps(struct list *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (n && l->r[i].start - l->r[n - 1].end <= l->close_gap)
            l->r[n - 1].end = l->r[i].end;
        else
            l->r[n++] = l->r[i];
    l->n = n;
}

/* start is at or behind the end of the list. */
static bool list_add(struct list *l, uint64_t start, uint64_t end)
{
    if (l->n && start - l->r[l->n - 1].end <= l->close_gap) {
        l->r[l->n - 1].end = end;
        return true;
    }
    while (l->n >= BLOB_RANGES_MAX) { /* halved, so that this is rare; gaps beyond 2^62 do not exist */
        l->close_gap = l->close_gap ? l->close_gap * 2 : 65536;
        close_gaps(l);
        if (l->n <= BLOB_RANGES_MAX / 2)
            return list_add(l, start, end);
    }
    if (l->n == l->size) {
        size_t size = l->size ? l->size * 2 : 1024;
        struct blob_range *r = realloc(l->r, size * sizeof *r);
        if (!r)
            return false;
        l->r = r;
        l->size = size;
    }
    l->r[l->n++] = (struct blob_range){start, end};
    return true;
}

/* ---- one answer ---- */

enum element { OTHER, START, END, MARKER };

struct answer {
    struct http_headers headers;
    XML_Parser parser;
    struct list *list;
    uint64_t from, to; /* the window */
    uint64_t last_end; /* of the ranges of this window so far, unclipped */
    uint64_t length;   /* of the blob */
    uint64_t start, end;
    bool in_range, have_start, have_end, root_seen, bad, oom;
    unsigned depth;
    enum element element;
    char text[MARKER_MAX];
    size_t text_len;
    char marker[MARKER_MAX]; /* where the list goes on; empty: it is complete */
    uint64_t bytes;
    struct strbuf error;
    bool (*stop)(void *);
    void *arg;
};

static void bad(struct answer *a)
{
    a->bad = true;
    XML_StopParser(a->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    struct answer *a = arg;
    if (++a->depth > DEPTH_MAX || (a->depth == 1 && strcmp(name, "PageList"))) {
        bad(a);
        return;
    }
    a->root_seen = true;
    a->text_len = 0;
    a->element = OTHER;
    if (a->depth == 2 && !strcmp(name, "PageRange")) {
        a->in_range = true;
        a->have_start = a->have_end = false;
    } else if (a->depth == 2 && !strcmp(name, "NextMarker"))
        a->element = MARKER;
    else if (a->depth == 3 && a->in_range && !strcmp(name, "Start"))
        a->element = START;
    else if (a->depth == 3 && a->in_range && !strcmp(name, "End"))
        a->element = END;
}

static void XMLCALL on_text(void *arg, const XML_Char *s, int n)
{
    struct answer *a = arg;
    if (a->element == OTHER)
        return;
    size_t max = a->element == MARKER ? sizeof a->text - 1 : 24;
    if ((size_t)n > max - a->text_len) {
        bad(a);
        return;
    }
    memcpy(a->text + a->text_len, s, (size_t)n);
    a->text_len += (size_t)n;
}

static void add_range(struct answer *a)
{
    /* Ends are inclusive in the list; here they are not any more. */
    if (!a->have_start || !a->have_end || a->start >= a->end || a->start < a->last_end || a->end > a->length) {
        bad(a);
        return;
    }
    a->last_end = a->end;
    uint64_t start = a->start < a->from ? a->from : a->start, end = a->end > a->to ? a->to : a->end;
    if (start < end && !list_add(a->list, start, end)) {
        a->oom = true;
        bad(a);
    }
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    (void)name;
    struct answer *a = arg;
    unsigned long long n = 0;
    a->text[a->text_len] = 0;
    if (a->element == START || a->element == END) {
        if (!str_to_u64(a->text, INT64_MAX - 1, &n)) {
            bad(a);
            return;
        }
        if (a->element == START) {
            a->start = n;
            a->have_start = true;
        } else {
            a->end = n + 1;
            a->have_end = true;
        }
    } else if (a->element == MARKER)
        memcpy(a->marker, a->text, a->text_len + 1);
    else if (a->depth == 2 && a->in_range) {
        a->in_range = false;
        add_range(a);
    }
    a->element = OTHER;
    a->depth--;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    bad(arg); /* no entities, so none that grow */
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    n *= size;
    if (a->headers.status != 200) {
        size_t room = a->error.max - a->error.len;
        strbuf_add(&a->error, p, n < room ? n : room);
        return room ? n : 0;                          /* an error that does not end */
    }
    a->bytes += n;
    if (a->bytes > ANSWER_MAX || n > INT_MAX || XML_Parse(a->parser, p, (int)n, 0) != XML_STATUS_OK) {
        a->bad = true;
        return 0;
    }
    return n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct answer *x = arg;
    return x->stop && x->stop(x->arg);
}

/* ---- asking ---- */

static char *list_url(struct blob *b, CURL *h, const char *marker)
{
    AUTO_FREE char *bare = str_ndup(b->url, strcspn(b->url, "#"));
    if (!bare)
        return NULL;
    const char *sep = strchr(bare, '?') ? "&" : "?";
    char *url;
    if (*marker) {
        char *escaped = curl_easy_escape(h, marker, 0);
        url = escaped ? str_printf("%s%scomp=pagelist&marker=%s", bare, sep, escaped) : NULL;
        curl_free(escaped);
    } else
        url = str_printf("%s%scomp=pagelist", bare, sep);
    mem_wipe(bare, strlen(bare));
    return url;
}

static int send_request(struct blob *b, const struct blob_info *info, CURL *h, struct answer *a, struct err *e)
{
    AUTO_SECRET char *url = list_url(b, h, a->marker);
    if (!url)
        return err_oom(e);
    char range[64], detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *list = NULL;
    snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)a->from, (unsigned long long)a->to - 1);
    int r = blob_headers(b, "GET", url, range, true, blob_if_match(b, info), NULL, &list, e);
    if (r < 0)
        return r;
    a->marker[0] = 0;
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    CURLcode c = blob_perform(h, list, &a->headers, &(struct blob_body){on_body, a, on_progress, a}, detail);
    if (c == CURLE_ABORTED_BY_CALLBACK && !http_refused(c, detail))
        return err_set(e, ERR_CANCELLED, "stopped while the page list was read");
    if (a->oom)
        return err_oom(e);
    if (c == CURLE_OK || a->bad || a->headers.status >= 300)
        return 0;
    return http_error(c, detail, b->url, e);
}

/* One page of the list of [from, to); *ret_more: a marker came. */
static int ask_page(struct blob *b, const struct blob_info *info, CURL *h, struct answer *a, struct err *e)
{
    a->parser = XML_ParserCreate("UTF-8");
    if (!a->parser)
        return err_oom(e);
    XML_SetUserData(a->parser, a);
    XML_SetElementHandler(a->parser, on_start, on_end);
    XML_SetCharacterDataHandler(a->parser, on_text);
    XML_SetStartDoctypeDeclHandler(a->parser, on_doctype);
    a->depth = 0;
    a->bytes = 0;
    a->in_range = a->root_seen = a->bad = a->oom = false;
    a->element = OTHER;
    strbuf_reset(&a->error);
    int r = send_request(b, info, h, a, e);
    if (r == 0 && a->headers.status == 200 && !a->bad && XML_Parse(a->parser, "", 0, 1) != XML_STATUS_OK)
        a->bad = true;
    XML_ParserFree(a->parser);
    if (r < 0)
        return r;
    const struct http_headers *x = &a->headers;
    if (x->status != 200) {
        r = blob_error(b, "Get Page Ranges", x, a->error.data, e);
        return e->code == ERR_SOURCE_CHANGED ? err_prefix(e, "the source was changed") : r;
    }
    if ((info->etag[0] && x->etag[0] && strcmp(info->etag, x->etag)) ||
        (x->blob_content_length != ULLONG_MAX && x->blob_content_length != info->length))
        return err_set(e, ERR_SOURCE_CHANGED, "%s was changed while its page list was read", b->name);
    if (a->bad || !a->root_seen)
        return err_set(e, ERR_UPSTREAM, "%s answered Get Page Ranges with a list that is damaged or not in order", b->name);
    return 0;
}

static int ask_window(struct blob *b, const struct blob_info *info, CURL *h, struct answer *a, struct err *e)
{
    a->marker[0] = 0;
    a->last_end = 0;
    unsigned idle = 0;
    for (unsigned page = 0; page < PAGES_MAX; page++) {
        uint64_t before = a->last_end;
        int r = ask_page(b, info, h, a, e);
        if (r < 0 || !a->marker[0])
            return r;
        idle = a->last_end == before ? idle + 1 : 0;
        if (idle > 100)
            break;
    }
    return err_set(e, ERR_UPSTREAM, "%s answered Get Page Ranges with markers that lead nowhere", b->name);
}

/* A source that is busy or out of reach is asked for its list again later, by the task's next try; only where the list itself is refused or
 * wrong there is nothing to wait for, and all bytes are fetched. */
static bool is_worth_waiting(const struct err *e)
{
    return e->code == ERR_THROTTLED || e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT;
}

static bool is_final(const struct err *e)
{
    return e->code == ERR_SOURCE_NOT_FOUND || e->code == ERR_SOURCE_DENIED || e->code == ERR_SAS_EXPIRED ||
           e->code == ERR_SOURCE_CHANGED || e->code == ERR_CANCELLED || e->code == ERR_OOM;
}

static int ask_all(struct blob *b, const struct blob_info *info, CURL *h, struct answer *a, struct err *e)
{
    uint64_t window = WINDOW_MAX;
    unsigned failures = 0;
    bool renewed = false;
    for (uint64_t at = 0; at < info->length;) {
        size_t kept = a->list->n;
        struct blob_range last = kept ? a->list->r[kept - 1] : (struct blob_range){0, 0};
        uint64_t gap = a->list->close_gap;
        a->from = at;
        a->to = info->length - at > window ? at + window : info->length;
        int r = ask_window(b, info, h, a, e);
        if (r == 0) {
            at = a->to;
            continue;
        }
        bool again = !renewed && is_final(e) && blob_may_retry(b, 1, &renewed, e); /* with a new token */
        if (a->list->close_gap != gap || (!again && (is_final(e) || !blob_error_is_transient(e) || e->retry_after_ms > PAUSE_MAX_MS ||
                                                     (failures += a->bad ? BAD_COUNTS : 1) >= FAILURES_MAX)))
            return r; /* gaps closed meanwhile: what this window added cannot be told apart */
        a->bad = false;
        a->list->n = kept;
        if (kept)
            a->list->r[kept - 1] = last;
        if (again)
            continue;
        if (window > WINDOW_MIN)
            window /= 2;
        if (!blob_backoff(failures, PAUSE_MAX_MS, e, a->stop, a->arg))
            return err_set(e, ERR_CANCELLED, "stopped while the page list was read");
    }
    return 0;
}

static int everything(const struct blob_info *info, struct blob_ranges *ret, struct err *e)
{
    struct blob_range *all = malloc(sizeof *all);
    if (!all)
        return err_oom(e);
    *all = (struct blob_range){0, info->length};
    *ret = (struct blob_ranges){.list = all, .n = info->length ? 1 : 0, .bytes = info->length, .complete = false};
    return 0;
}

void blob_ranges_free(struct blob_ranges *r)
{
    free(r->list);
    *r = (struct blob_ranges){0};
}

int blob_page_ranges(struct blob *b, const struct blob_info *info, bool (*stop)(void *), void *arg, struct blob_ranges *ret,
                     struct err *e)
{
    if (!info->page_blob)
        return everything(info, ret, e);
    CURL *h = http_handle(&b->http, b->url);
    if (!h)
        return err_oom(e);
    struct list list = {0};
    struct answer *a = calloc(1, sizeof *a);
    int r;
    if (a) {
        a->list = &list;
        a->length = info->length;
        a->error.max = BLOB_ERROR_BODY_MAX;
        a->stop = stop;
        a->arg = arg;
        r = ask_all(b, info, h, a, e);
        strbuf_free(&a->error);
        free(a);
    } else
        r = err_oom(e);
    curl_easy_cleanup(h);
    if (r < 0) {
        free(list.r);
        if (is_final(e) || is_worth_waiting(e))
            return r;
        log_warning("no page list, all bytes are fetched", KS("source", b->name), KS("detail", e->msg));
        return everything(info, ret, e);
    }
    *ret = (struct blob_ranges){.list = list.r, .n = list.n, .complete = true};
    for (size_t i = 0; i < list.n; i++)
        ret->bytes += list.r[i].end - list.r[i].start;
    return 0;
}

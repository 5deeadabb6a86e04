#include "storage/azure/rest.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#define VALUE_MAX 16384                              /* of a header that is kept whole */
#define REMAINING_MAX 4096
#define MARK "\xE2\x80\xA6"                          /* "…" */

void rest_answer_clear(struct rest_answer *a)
{
    free(a->operation);
    free(a->location);
    free(a->challenge);
    strbuf_free(&a->remaining);
    if (a->body.data)
        mem_wipe(a->body.data, a->body.len);
    strbuf_free(&a->body);
    *a = (struct rest_answer){.max = a->max, .body.max = a->max};
    http_headers_reset(&a->headers);
}

/* ---- headers ---- */

/* A value that is kept whole: printable ASCII, or it is not kept. */
static void keep(char **to, const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (value[i] < ' ' || value[i] > '~')
            return;
    free(*to);
    *to = n <= VALUE_MAX ? str_ndup(value, n) : NULL;
}

static bool is_name(const char *line, size_t n, const char *name)
{
    return n == strlen(name) && str_istarts(line, name);
}

static void keep_remaining(struct rest_answer *a, const char *line, size_t name, const char *value, size_t n)
{
    a->remaining.max = REMAINING_MAX;
    if (name + n + 4 > REMAINING_MAX - a->remaining.len)
        return;
    for (size_t i = 0; i < name; i++) {
        char c = line[i] >= 'A' && line[i] <= 'Z' ? (char)(line[i] + ('a' - 'A')) : line[i];
        strbuf_add(&a->remaining, &c, 1);
    }
    strbuf_adds(&a->remaining, ": ");
    strbuf_add(&a->remaining, value, n);
    strbuf_adds(&a->remaining, "\n");
}

size_t rest_collect_header(char *line, size_t size, size_t n, void *answer)
{
    struct rest_answer *a = answer;
    size_t len = size * n;
    if (http_collect_header(line, size, n, &a->headers) != len)
        return 0;
    size_t m = len;
    while (m && (line[m - 1] == '\r' || line[m - 1] == '\n' || line[m - 1] == ' '))
        m--;
    if (m >= 5 && !strncmp(line, "HTTP/", 5)) {      /* after a 100, or a proxy's answer to CONNECT */
        struct http_headers headers = a->headers;
        rest_answer_clear(a);
        a->headers = headers;
        return len;
    }
    const char *colon = memchr(line, ':', m);
    if (!colon)
        return len;
    size_t name = (size_t)(colon - line), at = name + 1;
    while (at < m && line[at] == ' ')
        at++;
    const char *value = line + at;
    size_t value_len = m - at;
    if (is_name(line, name, "azure-asyncoperation"))
        keep(&a->operation, value, value_len);
    else if (is_name(line, name, "location"))
        keep(&a->location, value, value_len);
    else if (is_name(line, name, "www-authenticate"))
        keep(&a->challenge, value, value_len);
    else if (is_name(line, name, "x-ms-correlation-request-id"))
        snprintf(a->correlation_id, sizeof a->correlation_id, "%.*s", value_len < 95 ? (int)value_len : 95, value);
    else if (name > 23 && str_istarts(line, "x-ms-ratelimit-remaining-") && memchr(value, 0, value_len) == NULL)
        keep_remaining(a, line, name, value, value_len);
    return len;
}

/* ---- one request ---- */


static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct rest_answer *a = arg;
    strbuf_add(&a->body, p, size * n);
    return a->body.failed ? 0 : size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct rest_request *q = arg;
    return q->stop && q->stop(q->arg);
}

static struct curl_slist *header_list(const struct rest_request *q)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (list && (!q->body || !*q->body) && !curl_slist_append(list, "Content-Type:")) {
        curl_slist_free_all(list);
        return NULL;
    }
    for (size_t i = 0; list && i < REST_HEADERS_MAX && q->headers[i]; i++)
        if (!curl_slist_append(list, q->headers[i])) {
            curl_slist_free_all(list);
            return NULL;
        }
    return list;
}

/* libcurl's copies of the lines may hold a token. */
static void free_list(struct curl_slist *list)
{
    for (struct curl_slist *l = list; l; l = l->next)
        mem_wipe(l->data, strlen(l->data));
    curl_slist_free_all(list);
}

static void set_options(CURL *h, const struct rest_request *q, struct rest_answer *a, struct curl_slist *list, char *detail)
{
    long timeout_ms = q->timeout_ms ? (long)q->timeout_ms : 60000;
    curl_easy_setopt(h, CURLOPT_URL, q->url);
    curl_easy_setopt(h, CURLOPT_NOBODY, 0L);
    if (!strcmp(q->method, "HEAD")) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else if (!strcmp(q->method, "GET") || (!strcmp(q->method, "DELETE") && !q->body)) {
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    } else {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, q->body ? q->body : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, q->body ? (long)strlen(q->body) : 0L);
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, q->method);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, q->connect_ms ? (long)q->connect_ms : 15000L);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, 0L);
    if (q->no_proxy)
        curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, rest_collect_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, q);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail);
}

int rest_perform(CURL *h, const struct rest_request *q, struct rest_answer *a, struct err *e)
{
    if (q->stop && q->stop(q->arg))
        return err_set(e, ERR_CANCELLED, "stopped before the request");
    struct curl_slist *list = header_list(q);
    if (!list)
        return err_oom(e);
    char detail[CURL_ERROR_SIZE] = "";
    a->max = q->max ? q->max : (size_t)1 << 20;
    rest_answer_clear(a);
    set_options(h, q, a, list, detail);
    CURLcode c = curl_easy_perform(h);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, NULL);
    free_list(list);
    if (c == CURLE_OK)
        return 0;
    if (c == CURLE_WRITE_ERROR && a->body.failed) {
        http_error(CURLE_FILESIZE_EXCEEDED, "the answer is larger than is accepted", q->url, e);
        e->code = ERR_UPSTREAM_FINAL;
        return -ERR_UPSTREAM_FINAL;
    }
    return http_error(c, detail, q->url, e);
}

bool rest_pause(unsigned ms, bool (*stop)(void *arg), void *arg)
{
    for (int64_t end = clock_mono_ms() + ms, left; (left = end - clock_mono_ms()) > 0; clock_sleep_ms(left < 50 ? (unsigned)left : 50))
        if (stop && stop(arg))
            return false;
    return !(stop && stop(arg));
}

/* ---- text for messages ---- */

static bool is_token_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* Bytes of a secret that begins at p; *ret_keep of them may stand. */
static size_t secret_at(const char *p, const char *secret, size_t *ret_keep)
{
    *ret_keep = 0;
    if (secret && *secret && !strncmp(p, secret, strlen(secret)))
        return strlen(secret);
    if (str_istarts(p, "sig=")) {
        *ret_keep = 4;
        return 4 + strcspn(p + 4, " &\"'<>\t\r\n");
    }
    size_t n = 0;
    if (str_starts(p, "eyJ"))
        while (is_token_char(p[n]))
            n++;
    return n >= 20 ? n : 0;
}

void rest_text(const char *from, const char *secret, char *ret, size_t size)
{
    size_t o = 0;
    for (const char *p = from; *p && o + 1 < size;) {
        size_t kept, n = secret_at(p, secret, &kept);
        if (n) {
            o += (size_t)snprintf(ret + o, size - o, "%.*s%s", (int)kept, p, MARK);
            if (o >= size)
                o = size - 1;
            p += n;
            continue;
        }
        unsigned char c = (unsigned char)*p++;
        if (c < ' ' || c == 0x7F) {
            if (o && ret[o - 1] != ' ')
                ret[o++] = ' ';
        } else {
            ret[o++] = (char)c;
        }
    }
    while (o && ret[o - 1] == ' ')
        o--;
    ret[o] = 0;
    for (size_t left = o; left && !str_is_utf8(ret, o); left--)     /* cut within a character */
        if ((unsigned char)ret[o - 1] >= 0x80)
            ret[--o] = 0;
        else
            break;
}

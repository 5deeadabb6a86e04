#include "api/cli/client.h"

#include <curl/curl.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/os.h"
#include "common/url.h"

#define DEFAULT_URL "http://127.0.0.1:8480"

enum {
    CONNECT_MS = 5000,
    READ_MS = 60 * 1000,
    CHANGE_MS = 20 * 60 * 1000,                      /* keys are answered after the last one is sent, checkpoints after memory is written */
    BODY_MAX = 64 << 20,
    TOKEN_MAX = 4096,
    LINE_MAX_BYTES = 1 << 20,                        /* of an event stream */
    RETRIES = 3,
};

struct client {
    CURL *curl;
    char *base;                                      /* without a slash at the end */
    char *authorization;                             /* the whole header line: a secret */
    json_t *problem;
};

/* A variable that is set, and not to nothing; heap. */
static char *setting(const char *name)
{
    AUTO_FREE char *v = os_getenv(name);
    return v && *v ? STEAL(v) : NULL;
}

static int read_token(struct client *c, struct err *e)
{
    AUTO_FREE char *given = setting("VMRECOVER_TOKEN_FILE"), *path = given ? STEAL(given) : os_path_join(os_data_path(), "token");
    AUTO_SECRET char *token = NULL;
    size_t n = 0;
    int r = path ? os_read_file(path, TOKEN_MAX, &token, &n, e) : err_oom(e);
    if (r < 0) {
        e->code = ERR_UNREACHABLE;
        err_hint(e, "The daemon makes the file 'token' in its data folder. Run as an administrator, or set VMRECOVER_TOKEN_FILE.");
        return err_prefix(e, "the token cannot be read");
    }
    while (n > 0 && strchr("\r\n \t", token[n - 1]))
        token[--n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (token[i] <= ' ' || token[i] > '~')
            n = 0;
    if (n == 0)
        return err_set(e, ERR_UNREACHABLE, "%s holds no token", path);
    c->authorization = str_printf("Authorization: Bearer %s", token);
    return c->authorization ? 0 : err_oom(e);
}

int client_open(struct client **ret, struct err *e)
{
    AUTO(client_close_ptr) struct client *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(e);
    c->base = setting("VMRECOVER_URL");
    if (!c->base && !(c->base = str_dup(DEFAULT_URL)))
        return err_oom(e);
    const char *url = c->base;
    int r = url_check(url, false, e);
    if (r == 0 && strchr(url, '?'))
        r = err_set(e, ERR_VALUE, "the address has a query");
    if (r < 0) {
        e->code = ERR_VALUE;
        err_hint(e, "VMRECOVER_URL must look like http://127.0.0.1:8480, or https://HOST:PORT for another machine.");
        return err_prefix(e, "VMRECOVER_URL");
    }
    for (size_t n = strlen(c->base); n > 0 && c->base[n - 1] == '/'; n--)
        c->base[n - 1] = '\0';
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(c->curl = curl_easy_init()))
        return err_set(e, ERR_INTERNAL, "libcurl cannot be initialised");
    *ret = STEAL(c);
    return 0;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    if (c->curl)
        curl_easy_cleanup(c->curl);
    curl_global_cleanup();
    free(c->base);
    mem_free_secret(c->authorization);
    json_decref(c->problem);
    free(c);
}

void reply_clear(struct reply *r)
{
    free(r->body);
    json_decref(r->json);
    *r = (struct reply){0};
}

const char *client_base(const struct client *c)
{
    return c->base;
}

const json_t *client_problem(const struct client *c)
{
    return c->problem;
}

char *client_escape(struct client *c, const char *s)
{
    char *escaped = curl_easy_escape(c->curl, s, 0);
    char *copy = str_dup(escaped);
    curl_free(escaped);
    return copy;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct strbuf *b = arg;
    strbuf_add(b, p, size * n);
    return b->failed ? 0 : size * n;
}

/* Sets what every request has; the caller frees *headers after the transfer. */
static int prepare(struct client *c, const char *method, const char *path, const char *accept, const char *extra, bool has_body,
                   char **url, struct curl_slist **headers, struct err *e)
{
    int r = c->authorization ? 0 : read_token(c, e);
    if (r < 0)
        return r;
    json_decref(c->problem);
    c->problem = NULL;
    curl_easy_reset(c->curl);
    *url = str_printf("%s%s", c->base, path);
    AUTO_FREE char *accept_line = str_printf("Accept: %s", accept);
    if (!*url || !accept_line)
        return err_oom(e);
    /* no "Expect: 100-continue": the daemon answers at once anyhow */
    const char *lines[] = {c->authorization, accept_line, "Expect:", has_body ? "Content-Type: application/json" : NULL, extra};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct curl_slist *next = lines[i] ? curl_slist_append(*headers, lines[i]) : *headers;
        if (!next)
            return err_oom(e);
        *headers = next;
    }
    curl_easy_setopt(c->curl, CURLOPT_URL, *url);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "vmrecover/" VMR_VERSION);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    return 0;
}

static int unreachable(struct client *c, CURLcode rc, struct err *e)
{
    err_set(e, ERR_UNREACHABLE, "no answer from the daemon at %s: %s", c->base, curl_easy_strerror(rc));
    e->os_code = (long)rc;
    return err_hint(e, "Check that vmrecoverd runs (%s), and that VMRECOVER_URL names its address.", os_status_command());
}

/* Keeps the daemon's problem object for whoever prints it, and gives it our shape. */
static int refused(struct client *c, long status, json_t *body, struct err *e)
{
    if (json_is_object(body) && json_is_string(json_object_get(body, "code"))) {
        c->problem = json_incref(body);
        json_to_err(body, e);
        if (e->code == ERR_OK)                        /* a word that this version does not know */
            return err_set(e, ERR_UPSTREAM_FINAL, "the daemon answered HTTP %ld", status);
        return -(int)e->code;
    }
    return err_set(e, ERR_UPSTREAM_FINAL, "%s answered HTTP %ld and does not look like vmrecoverd", c->base, status);
}

static int call_once(struct client *c, const struct call *call, const char *payload, struct reply *ret, struct err *e)
{
    AUTO_FREE char *key = NULL, *url = NULL;
    if (call->idempotency_key && !(key = str_printf("Idempotency-Key: %s", call->idempotency_key)))
        return err_oom(e);
    struct curl_slist *headers = NULL;
    AUTO_STRBUF struct strbuf body = {.max = BODY_MAX};
    bool change = strcmp(call->method, "GET") != 0;
    int r = prepare(c, call->method, call->path, call->accept ? call->accept : "application/json", key, payload != NULL, &url, &headers, e);
    if (r < 0) {
        curl_slist_free_all(headers);
        return r;
    }
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &body);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, change ? (long)CHANGE_MS : (long)READ_MS);
    if (payload)
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, payload);
    else if (change)
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE, 0L);          /* "Content-Length: 0", as POST without a body wants it */
    if (change && !payload)
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, "");
    CURLcode rc = curl_easy_perform(c->curl);
    curl_slist_free_all(headers);
    if (body.failed)
        return err_set(e, ERR_TOO_LARGE, "the daemon's answer is larger than %d bytes", (int)BODY_MAX);
    if (rc != CURLE_OK)
        return unreachable(c, rc, e);
    struct reply reply = {0};
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &reply.status);
    struct curl_header *location = NULL;
    if (curl_easy_header(c->curl, "Location", 0, CURLH_HEADER, -1, &location) == CURLHE_OK)
        snprintf(reply.location, sizeof reply.location, "%s", location->value);
    char *type = NULL;
    curl_easy_getinfo(c->curl, CURLINFO_CONTENT_TYPE, &type);
    if (type && (str_istarts(type, "application/json") || str_istarts(type, "application/problem+json")) && body.len)
        reply.json = json_loadb(body.data, body.len, 0, NULL);
    if (reply.status < 200 || reply.status > 299) {
        r = refused(c, reply.status, reply.json, e);
        reply_clear(&reply);
        return r;
    }
    reply.len = body.len;
    reply.body = strbuf_steal(&body);
    if (!reply.body && !(reply.body = str_dup(""))) {
        reply_clear(&reply);
        return err_oom(e);
    }
    *ret = reply;
    return 0;
}

int client_call(struct client *c, const struct call *call, struct reply *ret, struct err *e)
{
    char *payload = NULL;
    if (call->body && !(payload = json_dumps(call->body, JSON_COMPACT)))
        return err_oom(e);
    int r = call_once(c, call, payload, ret, e);
    /* The request may have been carried out before the line broke: the key makes asking again harmless. */
    for (unsigned i = 1; call->idempotency_key && i < RETRIES && r == -ERR_UNREACHABLE && !c->problem && e->os_code != CURLE_COULDNT_CONNECT;
         i++) {
        clock_sleep_ms(500 * i);
        r = call_once(c, call, payload, ret, e);
    }
    mem_free_secret(payload);                        /* it may hold a SAS or an account key */
    return r;
}

/* Server-sent events: lines "field: value"; an empty line ends an event. */
struct stream {
    CURL *curl;
    struct strbuf line, data, refusal;
    char id[64], type[64];
    long status;
    client_event_fn *fn;
    void *arg;
    int result;
};

static void stream_line(struct stream *s, const char *line)
{
    if (!*line) {
        if (s->data.len && s->result == 0)
            s->result = s->fn(s->arg, s->id, *s->type ? s->type : "message", s->data.data);
        strbuf_reset(&s->data);
        s->type[0] = '\0';
        return;
    }
    const char *value = strchr(line, ':');
    size_t name_len = value ? (size_t)(value - line) : strlen(line);
    value = value ? value + 1 : "";
    if (*value == ' ')
        value++;
    if (name_len == 4 && strncmp(line, "data", 4) == 0) {
        if (s->data.len)
            strbuf_adds(&s->data, "\n");
        strbuf_adds(&s->data, value);
    } else if (name_len == 5 && strncmp(line, "event", 5) == 0) {
        snprintf(s->type, sizeof s->type, "%s", value);
    } else if (name_len == 2 && strncmp(line, "id", 2) == 0) {
        snprintf(s->id, sizeof s->id, "%s", value);
    }
}

static size_t on_stream(char *p, size_t size, size_t n, void *arg)
{
    struct stream *s = arg;
    size_t len = size * n;
    if (s->status == 0)
        curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &s->status);
    if (s->status != 200) {
        strbuf_add(&s->refusal, p, len);
        return len;
    }
    for (size_t i = 0; i < len && s->result == 0; i++) {
        if (p[i] == '\n') {
            stream_line(s, s->line.data ? s->line.data : "");
            strbuf_reset(&s->line);
        } else if (p[i] != '\r') {
            strbuf_add(&s->line, &p[i], 1);
        }
    }
    return s->result != 0 || s->line.failed || s->data.failed ? 0 : len;
}

int client_stream(struct client *c, const char *path, const char *last_id, client_event_fn *fn, void *arg, struct err *e)
{
    AUTO_FREE char *url = NULL, *resume = NULL;
    if (last_id && *last_id && !(resume = str_printf("Last-Event-ID: %s", last_id)))
        return err_oom(e);
    struct curl_slist *headers = NULL;
    struct stream s = {.curl = c->curl, .line.max = LINE_MAX_BYTES, .data.max = LINE_MAX_BYTES, .refusal.max = LINE_MAX_BYTES, .fn = fn, .arg = arg};
    int r = prepare(c, "GET", path, "text/event-stream", resume, false, &url, &headers, e);
    if (r == 0) {
        curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_stream);
        curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &s);
        CURLcode rc = curl_easy_perform(c->curl);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &s.status);
        if (s.result != 0) {
            r = s.result;
        } else if (s.status != 0 && s.status != 200) {
            json_t *body = s.refusal.len ? json_loadb(s.refusal.data, s.refusal.len, 0, NULL) : NULL;
            r = refused(c, s.status, body, e);
            json_decref(body);
        } else if (s.line.failed || s.data.failed) {
            r = err_set(e, ERR_TOO_LARGE, "an event is larger than %d bytes", (int)LINE_MAX_BYTES);
        } else if (rc != CURLE_OK) {
            r = unreachable(c, rc, e);
        }
    }
    curl_slist_free_all(headers);
    strbuf_free(&s.line);
    strbuf_free(&s.data);
    strbuf_free(&s.refusal);
    return r;
}

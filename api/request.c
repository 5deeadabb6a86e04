/* One request, from the request line to the handler's reply; see internal.h for its life. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/sse.h"
#include "common/clock.h"
#include "common/cond.h"
#include "common/json.h"
#include "common/log.h"

#define ABANDON_POLL_MS 200
#define TEXT_BODY_MAX (64 << 10)

struct request *request_begin(struct api *api, struct MHD_Connection *conn, const char *uri)
{
    struct request *rq = calloc(1, sizeof *rq);
    if (!rq)
        return NULL;                                 /* the first request_step then closes the connection */
    rq->api = api;
    rq->conn = conn;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    rq->socket = info ? info->connect_fd : MHD_INVALID_SOCKET;
    rq->started_ms = clock_mono_ms();
    rq->target_len = strlen(uri);
    size_t n = strcspn(uri, "?");
    snprintf(rq->path, sizeof rq->path, "%.*s", (int)(n < sizeof rq->path ? n : sizeof rq->path), uri);
    rq->bad_target = strstr(uri, "%00");             /* libmicrohttpd would cut the path there */
    rq->body.max = api->cfg.max_body;
    pthread_mutex_lock(&api->lock);
    api->n_requests++;
    pthread_mutex_unlock(&api->lock);
    return rq;
}

void request_end(struct request *rq)
{
    struct api *api = rq->api;
    turn_leave(rq);
    if (rq->response)
        MHD_destroy_response(rq->response);
    if (rq->body.data)
        mem_wipe(rq->body.data, rq->body.size);      /* may hold a SAS or a key */
    strbuf_free(&rq->body);
    display_free(rq->display);
    json_decref(rq->json);
    free((char *)rq->allow);
    free(rq);
    pthread_mutex_lock(&api->lock);
    api->n_requests--;
    pthread_cond_broadcast(&api->changed);
    pthread_mutex_unlock(&api->lock);
}

int request_db(struct request *rq, struct db **ret, struct err *e)
{
    int r = rq->db ? 0 : dbpool_get(rq->api->pool, &rq->db, e);
    if (r == 0)
        *ret = rq->db;
    return r;
}

int request_hv(struct request *rq, struct hv **ret, struct err *e)
{
    if (!rq->api->cfg.hv) {
        *e = rq->api->hv_error;
        return -(int)e->code;
    }
    *ret = rq->api->cfg.hv;
    return 0;
}

const char *request_header(struct request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, name);
}

const char *request_query(struct request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->conn, MHD_GET_ARGUMENT_KIND, name);
}

int request_query_u64(struct request *rq, const char *name, uint64_t def, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
    unsigned long long v = def;
    const char *s = request_query(rq, name);
    if (s && (!str_to_u64(s, max, &v) || v < min)) {
        char field[48];
        snprintf(field, sizeof field, "?%s", name);
        return err_field(e, ERR_VALUE, field, "%s must be a number from %llu to %llu", name, (unsigned long long)min,
                         (unsigned long long)max);
    }
    *ret = v;
    return 0;
}

/* The weight (thousandths) that an Accept header gives a media type: that of the most exact range that fits; -1: none does. */
static int accept_weight(const char *accept, const char *type)
{
    int best = -1, best_exact = -1;
    size_t type_len = strlen(type), main_len = strcspn(type, "/");
    while (*accept) {
        accept += strspn(accept, " \t,");
        size_t n = strcspn(accept, ","), range = strcspn(accept, " \t;,");
        int exact = -1, q = 1000;
        if (range == type_len && str_istarts(accept, type))
            exact = 2;
        else if (range == main_len + 2 && !strncasecmp(accept, type, main_len + 1) && accept[main_len + 1] == '*')
            exact = 1;
        else if (range == 3 && !strncmp(accept, "*/*", 3))
            exact = 0;
        for (size_t i = range; i + 2 < n; i++)
            if (accept[i] == ';') {
                size_t k = i + 1 + strspn(accept + i + 1, " \t");
                if (!strncasecmp(accept + k, "q=", 2))
                    q = (int)(strtod(accept + k + 2, NULL) * 1000);
            }
        if (exact > best_exact) {
            best_exact = exact;
            best = q;
        }
        accept += n;
    }
    return best;
}

bool request_prefers(struct request *rq, const char *type, const char *other)
{
    const char *accept = request_header(rq, "Accept");
    return accept && accept_weight(accept, type) > 0 && accept_weight(accept, type) > accept_weight(accept, other);
}

bool request_lists(struct request *rq, const char *header, const char *item)
{
    const char *p = request_header(rq, header);
    size_t len = strlen(item);
    while (p && *p) {
        p += strspn(p, " \t,");
        size_t n = strcspn(p, ","), word = strcspn(p, " \t;,");
        const char *weight = strstr(p, "q=");
        if (word == len && str_istarts(p, item))
            return !(weight && weight < p + n && strtod(weight + 2, NULL) <= 0);
        p += n;
    }
    return false;
}

bool request_abandoned(struct request *rq)
{
    return atomic_load(&rq->api->stopping) || net_peer_gone(rq->socket);
}

bool request_sleep(struct request *rq, unsigned ms)
{
    struct api *api = rq->api;
    int64_t end = clock_mono_ms() + ms;
    for (;;) {
        int64_t left = end - clock_mono_ms();
        if (left <= 0)
            return true;
        if (request_abandoned(rq))
            return false;
        int64_t until = left < ABANDON_POLL_MS ? end : end - left + ABANDON_POLL_MS;
        pthread_mutex_lock(&api->lock);
        if (!atomic_load(&api->stopping))
            cond_wait_until(&api->changed, &api->lock, until);
        pthread_mutex_unlock(&api->lock);
    }
}

void request_changed(struct request *rq)
{
    const struct api_config *cfg = &rq->api->cfg;
    if (cfg->wake)
        cfg->wake(cfg->arg);
    api_notify(rq->api);
}

/* ---- what is checked before the body ---- */

struct query_check { const struct route *route; unsigned seen; struct err *e; };

static enum MHD_Result check_parameter(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    struct query_check *q = arg;
    char field[64];
    snprintf(field, sizeof field, "?%s", key);
    for (char *p = field; *p; p++)                   /* not ours, so it may be anything */
        if (*p < ' ' || *p > '~')
            *p = '?';
    for (unsigned i = 0; i < ARRAY_LEN(q->route->query) && q->route->query[i]; i++) {
        if (strcmp(q->route->query[i], key))
            continue;
        if (q->seen & 1U << i)
            err_field(q->e, ERR_VALUE, field, "the parameter is there twice");
        else if (!value || !*value)
            err_field(q->e, ERR_VALUE, field, "the parameter has no value");
        q->seen |= 1U << i;
        return q->e->code ? MHD_NO : MHD_YES;
    }
    err_field(q->e, ERR_UNKNOWN_FIELD, field, "this path knows no such query parameter");
    return MHD_NO;
}

static int check_query(struct request *rq, struct err *e)
{
    struct query_check q = {.route = rq->route, .e = e};
    MHD_get_connection_values(rq->conn, MHD_GET_ARGUMENT_KIND, check_parameter, &q);
    return -(int)e->code;
}

/* The media type without its parameters; a charset must be UTF-8. */
static bool is_type(const char *header, const char *type)
{
    size_t n = strcspn(header, "; \t");
    if (n != strlen(type) || !str_istarts(header, type))
        return false;
    for (const char *p = header + n; *p; p++)
        if (str_istarts(p, "charset="))
            return str_istarts(p + 8, "utf-8") || str_istarts(p + 8, "\"utf-8\"");
    return true;
}

static int check_body(struct request *rq, uint64_t *ret_length, struct err *e)
{
    const char *length = request_header(rq, "Content-Length");
    unsigned long long n = 0;
    if (length && !str_to_u64(length, UINT64_MAX >> 1, &n))
        return err_set(e, ERR_BAD_REQUEST, "the Content-Length header holds no length");
    *ret_length = n;
    if (n > rq->api->cfg.max_body)
        return err_set(e, ERR_TOO_LARGE, "the body has %llu bytes, at most %zu are taken", n, rq->api->cfg.max_body);
    if (!n && !request_header(rq, "Transfer-Encoding"))
        return 0;
    const char *type = request_header(rq, "Content-Type");
    if (type && is_type(type, "application/json"))
        return 0;
    if (rq->route->flags & ROUTE_TEXT) {
        if (type && is_type(type, "text/plain"))
            return 0;
        err_set(e, ERR_MEDIA, "the body must be text/plain or application/json in UTF-8");
        return err_hint(e, "Send 'Content-Type: text/plain' with the text as it is, or JSON.");
    }
    return err_set(e, ERR_MEDIA, "the body must be application/json in UTF-8");
}

static int check(struct request *rq, const char *url, const char *method, const char *version, uint64_t *ret_length, struct err *e)
{
    if (rq->target_len > API_URI_MAX)
        return err_set(e, ERR_URI_TOO_LONG, "path and query have %zu bytes, at most %d are taken", rq->target_len, API_URI_MAX);
    if (rq->bad_target)
        return err_set(e, ERR_BAD_REQUEST, "path and query must not hold a NUL");
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(rq->conn, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info && info->header_size > API_HEADERS_MAX)
        return err_set(e, ERR_HEADERS, "the headers have %zu bytes, at most %d are taken", info->header_size, API_HEADERS_MAX);
    if (atomic_load(&rq->api->stopping))
        return err_set(e, ERR_STOPPING, "the daemon is stopping");
    int r = auth_check_host(rq, version, e);
    if (r == 0)
        r = auth_check_origin(rq, e);
    if (r < 0)
        return r;
    struct err no_route = {0};
    r = route_find(rq, method, url, &no_route);
    /* Without a token nobody learns which paths there are. */
    if (!(r == 0 && rq->route->flags & ROUTE_OPEN) && auth_check_caller(rq, method, e) < 0)
        return -(int)e->code;
    if (r < 0) {
        *e = no_route;
        return r;
    }
    r = check_query(rq, e);
    return r < 0 ? r : check_body(rq, ret_length, e);
}

/* ---- the body and the handler ---- */

/* Where no body is taken, an empty object is as good as none. */
static int parse_body(struct request *rq, struct err *e)
{
    bool json_route = rq->route->flags & ROUTE_JSON;
    const char *type = request_header(rq, "Content-Type");
    if (rq->route->flags & ROUTE_TEXT && !(type && is_type(type, "application/json")))
        return 0;
    if (!rq->body.len && (!json_route || rq->route->flags & ROUTE_EMPTY))
        return json_route && !(rq->json = json_object()) ? err_oom(e) : 0;
    if (!rq->body.len)
        return err_set(e, ERR_JSON, "the body is empty");
    int r = json_parse(rq->body.data, rq->body.len, &rq->json, e);
    if (r < 0 || json_route || rq->route->flags & ROUTE_TEXT)
        return r;
    struct json_in in = json_in_root(rq->json, e);
    return json_in_end(&in);
}

static void handle(struct request *rq)
{
    struct err e = rq->refused;
    int r = -(int)e.code;
    if (r == 0)
        r = parse_body(rq, &e);
    if (r == 0)
        r = rq->route->fn(rq, &e);
    if (r == -ERR_NOT_FOUND && !rq->refused.code && str_starts(rq->path, "/v1/vms/"))       /* refused: no handler, and no thread to ask on */
        r = vm_explain_missing(rq, &e);
    dbpool_put(rq->api->pool, rq->db);
    rq->db = NULL;
    if (r < 0) {
        const struct err_info *info = err_info(e.code);
        if (info->http_status >= 500) {
            char what[192];
            snprintf(what, sizeof what, "%s %s failed", rq->method, rq->path);
            log_err(LOG_LEVEL_WARNING, what, &e);
        }
        if (!(rq->route && rq->route->flags & ROUTE_PAGE && reply_signed_out(rq, &e)))
            reply_problem(rq, &e);
    }
    log_debug("request", KS("method", rq->method), KS("path", rq->path), KI("status", rq->status),
              KI("ms", clock_mono_ms() - rq->started_ms));
}

static void *slow_thread(void *arg)
{
    struct request *rq = arg;
    struct api *api = rq->api;
    handle(rq);
    turn_leave(rq);
    MHD_resume_connection(rq->conn);                 /* rq is the pool thread's again */
    pthread_mutex_lock(&api->lock);
    api->n_slow--;
    pthread_cond_broadcast(&api->changed);
    pthread_mutex_unlock(&api->lock);
    return NULL;
}

/* True: suspended, and request_step is called again once the thread has resumed it. False: there is a reply already.
 * The connection is suspended first: the thread may be done before pthread_create returns here. */
static bool start_slow(struct request *rq)
{
    struct api *api = rq->api;
    struct err e = {0};
    if (rq->route->flags & ROUTE_IN_ORDER && turn_take(rq, &e) < 0) {
        reply_problem(rq, &e);
        return false;
    }
    pthread_mutex_lock(&api->lock);
    api->n_slow++;
    pthread_mutex_unlock(&api->lock);
    MHD_suspend_connection(rq->conn);
    pthread_t t;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = pthread_create(&t, &attr, slow_thread, rq);
    pthread_attr_destroy(&attr);
    if (!err)
        return true;
    pthread_mutex_lock(&api->lock);
    api->n_slow--;
    pthread_mutex_unlock(&api->lock);
    err_set(&e, ERR_BUSY, "no thread could be started for this request");
    reply_problem(rq, &e);
    MHD_resume_connection(rq->conn);
    return true;
}

static void take_upload(struct request *rq, const char *data, size_t n)
{
    rq->body_seen += n;
    if (rq->refused.code)
        return;
    size_t max = rq->route->flags & ROUTE_TEXT && rq->api->cfg.max_body > TEXT_BODY_MAX ? TEXT_BODY_MAX : rq->api->cfg.max_body;
    if (rq->body_seen > max)
        err_set(&rq->refused, ERR_TOO_LARGE, "the body has more than %zu bytes", max);
    else
        strbuf_add(&rq->body, data, n);
    if (rq->body.failed && !rq->refused.code)
        err_oom(&rq->refused);
}

enum MHD_Result request_step(struct request *rq, const char *url, const char *method, const char *version, const char *upload,
                             size_t *upload_size)
{
    if (!rq->checked) {
        rq->checked = true;
        snprintf(rq->method, sizeof rq->method, "%s", method);
        uint64_t length = 0;
        check(rq, url, method, version, &length, &rq->refused);
        /* A refused body is read and thrown away, so that the client reads the reply instead of a reset; but not a huge
         * one, and not one that the client has not begun to send. */
        if (!rq->refused.code || (length <= API_DRAIN_MAX && !request_header(rq, "Expect")))
            return MHD_YES;
        rq->handled = true;
        handle(rq);
        return reply_send(rq);
    }
    if (*upload_size) {
        take_upload(rq, upload, *upload_size);
        *upload_size = 0;
        return rq->body_seen > API_DRAIN_MAX || clock_mono_ms() - rq->started_ms > API_BODY_MS ? MHD_NO : MHD_YES;
    }
    if (!rq->handled) {
        rq->handled = true;
        if (rq->refused.code || !(rq->route->flags & ROUTE_SLOW))
            handle(rq);
        else if (start_slow(rq))
            return MHD_YES;
    }
    return reply_send(rq);
}

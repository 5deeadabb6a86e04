#include <string.h>

#include "api/internal.h"
#include "common/json.h"

int reply_response(struct request *rq, unsigned status, const char *type, struct MHD_Response *response, struct err *e)
{
    if (!response)
        return err_oom(e);
    if (rq->response)
        MHD_destroy_response(rq->response);
    rq->response = response;
    rq->status = status;
    if (type)
        reply_header(rq, "Content-Type", type);
    return 0;
}

int reply_bytes(struct request *rq, unsigned status, const char *type, void *data, size_t n, struct err *e)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(n, data, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(data);
    return reply_response(rq, status, type, response, e);
}

int reply_json(struct request *rq, unsigned status, struct jsonw *w, struct err *e)
{
    strbuf_add(&w->b, "\n", 1);
    size_t n = w->b.len;
    char *text = strbuf_steal(&w->b);
    return text ? reply_bytes(rq, status, "application/json", text, n, e) : err_oom(e);
}

int reply_empty(struct request *rq, unsigned status, struct err *e)
{
    return reply_response(rq, status, NULL, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), e);
}

void reply_header(struct request *rq, const char *name, const char *value)
{
    if (rq->response)
        MHD_add_response_header(rq->response, name, value);
}

void reply_problem(struct request *rq, const struct err *e)
{
    static const char oom[] = "{\"type\":\"urn:vmrecover:problem:out_of_memory\",\"title\":\"Out of memory\",\"status\":500,"
                              "\"detail\":\"the host has no memory left for this\",\"code\":\"out_of_memory\"}\n";
    const struct err_info *info = err_info(e->code);
    json_t *j = json_from_err(e);
    if (j)
        json_object_set_new(j, "status", json_integer(info->http_status));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    struct err ignored;
    unsigned status = (unsigned)info->http_status;
    if (text) {
        reply_bytes(rq, status, "application/problem+json", text, strlen(text), &ignored);
    } else {
        status = 500;
        reply_response(rq, status, "application/problem+json",
                       MHD_create_response_from_buffer(sizeof oom - 1, (void *)oom, MHD_RESPMEM_PERSISTENT), &ignored);
    }
    if (status == 401)
        reply_header(rq, "WWW-Authenticate", "Bearer realm=\"vmrecover\"");
    if (status == 405 && rq->allow)
        reply_header(rq, "Allow", rq->allow);
    if (status == 429 || status == 503)
        reply_header(rq, "Retry-After", "5");
    if (e->code == ERR_STOPPING)
        reply_header(rq, "Connection", "close");
}

/* On every reply that does not say otherwise: no page may show, run or read it. */
static const struct { const char *name, *value; } always[] = {
    {"Cache-Control", "no-store"},
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

enum MHD_Result reply_send(struct request *rq)
{
    if (!rq->response)
        return MHD_NO;
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        if (!MHD_get_response_header(rq->response, always[i].name))
            reply_header(rq, always[i].name, always[i].value);
    atomic_fetch_add(&rq->api->answered[rq->status / 100 < 6 ? rq->status / 100 : 5], 1);
    enum MHD_Result r = MHD_queue_response(rq->conn, rq->status, rq->response);
    MHD_destroy_response(rq->response);
    rq->response = NULL;
    return r;
}

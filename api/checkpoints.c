/* Undo points of a VM. */
#include <stdio.h>

#include "api/internal.h"
#include "common/clock.h"
#include "common/json.h"

static void checkpoint_json(struct jsonw *w, const struct hv_checkpoint *c)
{
    jsonw_open(w, NULL, '{');
    jsonw_str(w, "id", c->id);
    jsonw_str(w, "name", c->name);
    jsonw_time(w, "created_at", c->created_at_ms);
    jsonw_bool(w, "with_memory", c->with_memory);
    jsonw_close(w, '}');
}

int checkpoints_get(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    AUTO_FREE struct hv_checkpoint *list = NULL;
    size_t n = 0;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_checkpoint_list(hv, rq->id, &list, &n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_open(&w, "checkpoints", '[');
    for (size_t i = 0; i < n; i++)
        checkpoint_json(&w, &list[i]);
    jsonw_close(&w, ']');
    jsonw_close(&w, '}');
    return reply_json(rq, 200, &w, e);
}

int checkpoints_post(struct request *rq, struct err *e)
{
    struct json_in in = json_in_root(rq->json, e);
    char now[CLOCK_TEXT];
    clock_format(clock_now_ms(), now);
    const char *name = json_in_string(&in, "name", now, HV_NAME_MAX);
    struct hv *hv = NULL;
    struct hv_checkpoint c = {0};
    int r = json_in_end(&in);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_checkpoint_create(hv, rq->id, name, &c, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    checkpoint_json(&w, &c);
    r = reply_json(rq, 201, &w, e);
    if (r == 0) {
        char location[128];
        snprintf(location, sizeof location, "/v1/vms/%s/checkpoints/%s", rq->id, c.id);
        reply_header(rq, "Location", location);
    }
    return r;
}

int checkpoint_restore(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_checkpoint_restore(hv, rq->id, rq->checkpoint, e);
    return r < 0 ? r : vm_get_one(rq, e);
}

int checkpoint_delete(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_checkpoint_delete(hv, rq->id, rq->checkpoint, e);
    return r < 0 ? r : reply_empty(rq, 204, e);
}

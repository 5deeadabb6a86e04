/* The disks of this host, and its volumes. The service looks; here are the replies. */
#include "api/internal.h"

static bool on_stop(void *rq)
{
    return request_abandoned(rq);
}

static int reply(struct request *rq, const char *name, json_t *list, struct err *e)
{
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_json(&w, name, list);
    jsonw_close(&w, '}');
    json_decref(list);
    return reply_json(rq, 200, &w, e);
}

int disks_get(struct request *rq, struct err *e)
{
    const struct api_config *cfg = &rq->api->cfg;
    json_t *list = NULL;
    if (!cfg->disks)
        return err_set(e, ERR_UNSUPPORTED, "this daemon does not look at the disks of its host");
    int r = cfg->disks(cfg->arg, on_stop, rq, &list, e);
    return r < 0 ? r : reply(rq, "disks", list, e);
}

int volumes_get(struct request *rq, struct err *e)
{
    const struct api_config *cfg = &rq->api->cfg;
    struct db *db = NULL;
    json_t *list = NULL;
    if (!cfg->volumes)
        return err_set(e, ERR_UNSUPPORTED, "this daemon does not look at the volumes of its host");
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = cfg->volumes(cfg->arg, db, on_stop, rq, &list, e);
    return r < 0 ? r : reply(rq, "volumes", list, e);
}

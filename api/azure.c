/* What there is in Azure. The service asks; here are the queries and the replies. */
#include <string.h>

#include "api/internal.h"
#include "db/credential.h"

#define TEXT_BYTES_MAX 128

static bool on_stop(void *rq)
{
    return request_abandoned(rq);
}

/* A query parameter that goes on to Azure: short, no control characters. */
static int take_text(struct request *rq, const char *name, const char **ret, struct err *e)
{
    char field[64];
    *ret = request_query(rq, name);
    size_t n = *ret ? strlen(*ret) : 0;
    bool bad = n > TEXT_BYTES_MAX || (n && !str_is_utf8(*ret, n));
    for (size_t i = 0; i < n && !bad; i++)
        bad = (unsigned char)(*ret)[i] < ' ' || (*ret)[i] == 0x7F;
    if (!bad)
        return 0;
    snprintf(field, sizeof field, "?%s", name);
    return err_field(e, ERR_VALUE, field, "must be UTF-8 of at most %d bytes without control characters", TEXT_BYTES_MAX);
}

static int ask(struct request *rq, struct api_azure_query *q, json_t **ret, struct err *e)
{
    const struct api_config *cfg = &rq->api->cfg;
    struct db *db = NULL;
    if (!cfg->azure)
        return err_set(e, ERR_UNSUPPORTED, "this daemon has no access to Azure");
    if (q->credential && !credential_name_ok(q->credential))
        return err_field(e, ERR_VALUE, "?credential", "this is no name of a credential");
    int r = request_db(rq, &db, e);
    q->stop = on_stop;
    q->arg = rq;
    return r < 0 ? r : cfg->azure(cfg->arg, db, q, ret, e);
}

static int reply(struct request *rq, unsigned status, json_t *o, struct err *e)
{
    AUTO_JSONW struct jsonw w = {0};
    jsonw_json(&w, NULL, o);
    json_decref(o);
    return reply_json(rq, status, &w, e);
}

int azure_subscriptions_get(struct request *rq, struct err *e)
{
    struct api_azure_query q = {.what = API_AZURE_SUBSCRIPTIONS};
    json_t *o = NULL;
    int r = take_text(rq, "credential", &q.credential, e);
    if (r == 0)
        r = ask(rq, &q, &o, e);
    return r < 0 ? r : reply(rq, 200, o, e);
}

int azure_vms_get(struct request *rq, struct err *e)
{
    struct api_azure_query q = {.what = API_AZURE_VMS};
    json_t *o = NULL;
    int r;
    if ((r = take_text(rq, "credential", &q.credential, e)) < 0 || (r = take_text(rq, "subscription", &q.subscription, e)) < 0 ||
        (r = take_text(rq, "resource_group", &q.resource_group, e)) < 0 || (r = take_text(rq, "filter", &q.filter, e)) < 0)
        return r;
    if (q.subscription && !crypto_is_uuid(q.subscription))
        return err_field(e, ERR_VALUE, "?subscription", "a subscription is named by its id, a GUID");
    if (q.resource_group && !q.subscription)
        return err_field(e, ERR_MISSING, "?subscription", "a resource group is one of a subscription: name that too");
    r = ask(rq, &q, &o, e);
    return r < 0 ? r : reply(rq, 200, o, e);
}

int credential_sign_in(struct request *rq, struct err *e)
{
    struct api_azure_query q = {.what = API_AZURE_SIGN_IN, .credential = rq->name};
    AUTO(credential_free_ptr) struct credential *c = NULL;
    struct db *db = NULL;
    json_t *o = NULL;
    int r = take_text(rq, "shown", &q.shown, e);
    if (r == 0)
        r = request_db(rq, &db, e);
    if (r == 0)
        r = credential_get(db, rq->name, &c, e);     /* 404 before anything is asked */
    if (r == 0)
        r = ask(rq, &q, &o, e);
    if (r < 0)
        return r;
    const char *state = json_string_value(json_object_get(o, "state"));
    bool done = state && !strcmp(state, "signed_in");
    if (done)
        request_changed(rq);
    return reply(rq, done ? 200 : 202, o, e);
}

/* Credentials: secrets go in and never come out. */
#include <stdio.h>

#include "api/internal.h"
#include "db/credential.h"

static void credential_json(struct jsonw *w, const struct credential *c)
{
    jsonw_open(w, NULL, '{');
    jsonw_str(w, "name", c->name);
    jsonw_str(w, "type", credential_type_name(c->type));
    if (c->account)
        jsonw_str(w, "account", c->account);
    if (c->tenant_id)
        jsonw_str(w, "tenant_id", c->tenant_id);
    if (c->client_id)
        jsonw_str(w, "client_id", c->client_id);
    if (credential_proof_name(c->proof))
        jsonw_str(w, "proof", credential_proof_name(c->proof));
    if (c->token_file)
        jsonw_str(w, "token_file", c->token_file);
    if (c->type == CREDENTIAL_DEVICE_CODE)
        jsonw_bool(w, "signed_in", c->signed_in);
    jsonw_time(w, "updated_at", c->updated_at_ms);
    jsonw_close(w, '}');
}

int credentials_get(struct request *rq, struct err *e)
{
    struct db *db = NULL;
    struct credential *list = NULL;
    size_t n = 0;
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = credential_list(db, &list, &n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_open(&w, "credentials", '[');
    for (size_t i = 0; i < n; i++)
        credential_json(&w, &list[i]);
    jsonw_close(&w, ']');
    jsonw_close(&w, '}');
    credential_list_free(list, n);
    return reply_json(rq, 200, &w, e);
}

int credential_put_one(struct request *rq, struct err *e)
{
    struct db *db = NULL;
    AUTO(credential_free_ptr) struct credential *c = NULL;
    AUTO(credential_free_ptr) struct credential *stored = NULL;
    bool created = false;
    int r = credential_parse(rq->name, rq->json, &c, e);
    if (r == 0)
        r = request_db(rq, &db, e);
    if (r == 0)
        r = credential_put(db, c, &created, e);
    if (r == 0)
        r = credential_get(db, rq->name, &stored, e);
    if (r < 0)
        return r;
    request_changed(rq);                             /* a task may wait for it */
    AUTO_JSONW struct jsonw w = {0};
    credential_json(&w, stored);
    r = reply_json(rq, created ? 201 : 200, &w, e);
    if (r == 0 && created) {
        char location[96];
        snprintf(location, sizeof location, "/v1/credentials/%s", rq->name);
        reply_header(rq, "Location", location);
    }
    return r;
}

int credential_delete_one(struct request *rq, struct err *e)
{
    struct db *db = NULL;
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = credential_delete(db, rq->name, e);
    return r < 0 ? r : reply_empty(rq, 204, e);
}

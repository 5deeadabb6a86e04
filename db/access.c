#include "db/access.h"

#include <stdio.h>
#include <string.h>

#include "db/state.h"

#define CONTEXT_MAX 80

static const char *const access_words[ACCESS_KINDS] = {"disk", "snapshot", "blob_snapshot", "blob"};

void job_access_free(struct job_access *a)
{
    if (!a)
        return;
    mem_free_secret(a->url);
    free(a->ident);
    free(a);
}

static void access_context(const char *job_id, unsigned disk, char buf[CONTEXT_MAX])
{
    snprintf(buf, CONTEXT_MAX, "job/%.36s/access/%u", job_id, disk);
}

int job_access_put(struct db *db, const char *id, unsigned disk, const struct job_access *a, struct err *e)
{
    char context[CONTEXT_MAX];
    AUTO_FREE uint8_t *sealed = NULL;
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    access_context(id, disk, context);
    json_t *o = json_pack("{s:s, s:s, s:I, s:b, s:s, s:I, s:s, s:s, s:s}", "kind", access_words[a->kind], "ident", a->ident, "expires_at_ms",
                          (json_int_t)a->expires_at_ms, "bearer", a->bearer, "unique_id", a->unique_id, "owned_at_ms",
                          (json_int_t)a->owned_at_ms, "etag", a->etag, "last_modified", a->last_modified, "identity", a->identity);
    int r = o ? sql_dump(o, &text, e) : err_oom(e);
    json_decref(o);
    if (r < 0 || (a->url && (r = secret_seal(db->box, context, a->url, &sealed, &n, e)) < 0))
        return r;
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0 ||
        (r = sql_run(db, e, "UPDATE disk SET access = ?3, sealed_url = ?4 WHERE job = ?1 AND disk = ?2", SI(seq), SI(disk), SS(text), SB(sealed, n))) < 0)
        return r;
    return r ? sql_commit(&tx, e) : err_set(e, ERR_NOT_FOUND, "the job %s has no disk %u", id, disk);
}

int job_access_get(struct db *db, const char *id, unsigned disk, struct job_access **ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    AUTO(job_access_free_ptr) struct job_access *a = NULL;
    json_t *o = NULL;
    int r = sql_query(db, &q, e, "SELECT access, sealed_url FROM disk WHERE job = (SELECT seq FROM job WHERE id = ?1) AND disk = ?2", SS(id), SI(disk));
    if (r < 0 || (r = sql_step(db, q, e)) < 0 || (r && (r = sql_json(q, 0, &o, e)) < 0))
        return r;
    if (!o)
        return err_set(e, ERR_NOT_FOUND, "disk %u of the job %.64s cannot be read at present", disk, id);
    if (!(a = calloc(1, sizeof *a)))
        r = err_oom(e);
    const char *word = json_string_value(json_object_get(o, "kind"));
    int kind = 0;
    while (word && kind < ACCESS_KINDS && strcmp(word, access_words[kind]) != 0)
        kind++;
    if (r == 0 && (r = sql_member(o, "ident", &a->ident, e)) == 0 && (!word || kind == ACCESS_KINDS || !a->ident))
        r = sql_damaged(e, "the database holds an access of the job %.64s that cannot be read", id);
    if (r == 0) {
        a->kind = (enum access_kind)kind;
        a->expires_at_ms = json_integer_value(json_object_get(o, "expires_at_ms"));
        a->owned_at_ms = json_integer_value(json_object_get(o, "owned_at_ms"));
        a->bearer = json_is_true(json_object_get(o, "bearer"));
#define COPY(member) \
    snprintf(a->member, sizeof a->member, "%s", json_is_string(json_object_get(o, #member)) ? json_string_value(json_object_get(o, #member)) : "")
        COPY(unique_id);
        COPY(etag);
        COPY(last_modified);
        COPY(identity);
#undef COPY
    }
    json_decref(o);
    if (r == 0 && sqlite3_column_type(q, 1) != SQLITE_NULL) {
        char context[CONTEXT_MAX];
        access_context(id, disk, context);
        r = secret_unseal(db->box, context, sqlite3_column_blob(q, 1), (size_t)sqlite3_column_bytes(q, 1), &a->url, e);
    }
    if (r == 0)
        *ret = STEAL(a);
    return r;
}

int job_access_ended(struct db *db, const char *id, unsigned disk, const char *ident, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0 ||
        (r = sql_run(db, e, "UPDATE disk SET sealed_url = NULL WHERE job = ?1 AND disk = ?2 AND access ->> '$.ident' = ?3", SI(seq), SI(disk), SS(ident))) < 0)
        return r;
    return sql_commit(&tx, e);
}

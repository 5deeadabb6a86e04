#include "db/resource.h"

#include <inttypes.h>
#include <string.h>

#include "db/state.h"

#define PER_JOB_MAX 1000

void resource_list_free(struct resource *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++) {
        free(list[i].ident);
        free(list[i].proof);
    }
    free(list);
}

int resource_intend(struct db *db, const char *job_id, int disk, const char *kind, const char *ident, const char *proof, bool user_data,
                    int64_t *ret_id, struct err *e)
{
    if (strlen(kind) >= sizeof((struct resource *)0)->kind)
        return err_set(e, ERR_INTERNAL, "a resource of kind \"%s\" cannot be stored", kind);
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq, id, n;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, job_id, &seq, e)) < 0)
        return r;
    if ((r = sql_int(db, &id, e, "SELECT id FROM resource WHERE job = ?1 AND kind = ?2 AND ident = ?3", SI(seq), SS(kind), SS(ident))) < 0)
        return r;
    if (!r) {
        if ((r = sql_int(db, &n, e, "SELECT count(*) FROM resource WHERE job = ?1", SI(seq))) < 0)
            return r;
        if (n >= PER_JOB_MAX)
            return err_set(e, ERR_BUSY, "the job %s has %d resources already, which is the limit", job_id, PER_JOB_MAX);
        if ((r = sql_run(db, e, "INSERT INTO resource (job, disk, kind, ident, user_data) VALUES (?1, ?2, ?3, ?4, ?5)", SI(seq), SI(disk), SS(kind),
                         SS(ident), SI(user_data))) < 0)
            return r;
        id = sqlite3_last_insert_rowid(db->conn);
    }
    if ((proof && (r = sql_run(db, e, "UPDATE resource SET proof = ?2 WHERE id = ?1", SI(id), SS(proof))) < 0) || (r = sql_commit(&tx, e)) < 0)
        return r;
    *ret_id = id;
    return 0;
}

static int change(struct db *db, const char *sql, int64_t id, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = sql_run_args(db, e, sql, SQL_ARGS(SI(id)))) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "there is no resource %" PRId64, id);
    return sql_commit(&tx, e);
}

int resource_made(struct db *db, int64_t id, struct err *e)
{
    return change(db, "UPDATE resource SET made = 1 WHERE id = ?1", id, e);
}

int resource_forget(struct db *db, int64_t id, struct err *e)
{
    return change(db, "DELETE FROM resource WHERE id = ?1", id, e);
}

int resource_list(struct db *db, const char *job_id, struct resource **ret, size_t *ret_n, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    AUTO_STMT sqlite3_stmt *q = NULL;
    int64_t seq, rows;
    int r;
    if ((r = sql_begin_read(db, &tx, e)) < 0 || (r = job_seq(db, job_id, &seq, e)) < 0 ||
        (r = sql_int(db, &rows, e, "SELECT count(*) FROM resource WHERE job = ?1", SI(seq))) < 0 ||
        (r = sql_query(db, &q, e, "SELECT id, kind, ident, disk, user_data, made, proof FROM resource WHERE job = ?1 ORDER BY id DESC", SI(seq))) < 0)
        return r;
    struct resource *list = calloc((size_t)rows + 1, sizeof *list);
    size_t n = 0;
    if (!list)
        return err_oom(e);
    while (r >= 0 && (r = sql_step(db, q, e)) > 0) {
        struct resource *res = &list[n++];
        res->id = sql_i64(q, 0);
        sql_copy(q, 1, res->kind, sizeof res->kind);
        res->disk = (int)sql_i64(q, 3);
        res->user_data = sql_i64(q, 4) != 0;
        res->state = sql_i64(q, 5) ? RESOURCE_MADE : RESOURCE_INTENT;
        if ((r = sql_dup(q, 2, &res->ident, e)) == 0)
            r = sql_dup(q, 6, &res->proof, e);
    }
    if (r < 0) {
        resource_list_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

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
    } else if ((r = sql_run(db, e, "UPDATE resource SET intents = intents + 1 WHERE id = ?1", SI(id))) < 0)
        return r;
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

#define COLUMNS "r.id, r.kind, r.ident, r.disk, r.user_data, r.made, r.proof, r.intents"

static int list_of(struct db *db, const char *job_id, const char *sql, struct resource **ret, size_t *ret_n, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    AUTO_STMT sqlite3_stmt *q = NULL;
    int64_t seq, rows;
    int r;
    if ((r = sql_begin_read(db, &tx, e)) < 0 || (r = job_seq(db, job_id, &seq, e)) < 0 ||
        (r = sql_int(db, &rows, e, "SELECT count(*) FROM resource WHERE job = ?1", SI(seq))) < 0 ||
        (r = sql_query_args(db, &q, e, sql, SQL_ARGS(SI(seq)))) < 0)
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
        res->intents = sql_i64(q, 7);
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

int resource_list(struct db *db, const char *job_id, struct resource **ret, size_t *ret_n, struct err *e)
{
    return list_of(db, job_id, "SELECT " COLUMNS " FROM resource r WHERE r.job = ?1 ORDER BY r.id DESC", ret, ret_n, e);
}

/* ---- borrowed ---- */

#define BORROWED "('sas', 'snapshot', 'blob', 'blob_snapshot')"
/* What is pending counts only in a job that goes on. A task that runs may be making snapshots of several disks of its VM. */
#define IDLE \
    "r.kind IN " BORROWED " AND NOT EXISTS (SELECT 1 FROM task t WHERE t.job = r.job AND t.kind IN ('export', 'download')" \
    " AND ((t.state = 'running' AND (t.disk = r.disk OR r.kind = 'snapshot'))" \
    " OR (t.state = 'pending' AND t.disk = r.disk AND j.state NOT IN ('failed', 'cancelled') AND NOT j.delete_requested)))"

bool resource_is_borrowed(const struct resource *r)
{
    static const char *const kinds[] = {"sas", "snapshot", "blob", "blob_snapshot"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(r->kind, kinds[i]))
            return true;
    return false;
}

int resource_returned(struct db *db, const struct resource *r, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int x;
    if ((x = sql_begin(db, &tx, e)) < 0 ||
        (x = sql_run(db, e, "DELETE FROM resource WHERE id = ?1 AND intents = ?2", SI(r->id), SI(r->intents))) < 0)
        return x;
    return sql_commit(&tx, e);
}

int resource_list_idle(struct db *db, const char *job_id, struct resource **ret, size_t *ret_n, struct err *e)
{
    /* a copy before what it is made from, access before what it was granted to */
    return list_of(db, job_id,
                   "SELECT " COLUMNS " FROM resource r JOIN job j ON j.seq = r.job WHERE r.job = ?1 AND " IDLE
                   " ORDER BY CASE r.kind WHEN 'blob' THEN 0 WHEN 'sas' THEN 1 ELSE 2 END, r.id DESC", ret, ret_n, e);
}

int resource_jobs_idle(struct db *db, char ***ret, size_t *ret_n, struct err *e)
{
    enum { PAGE = 1000 };                            /* what is left comes with the next call */
    AUTO_STMT sqlite3_stmt *q = NULL;
    char **ids = calloc(PAGE, sizeof *ids);
    size_t n = 0;
    if (!ids)
        return err_oom(e);
    int r = sql_query(db, &q, e, "SELECT DISTINCT j.id FROM resource r JOIN job j ON j.seq = r.job WHERE " IDLE " ORDER BY j.seq LIMIT ?1", SI(PAGE));
    while (r >= 0 && n < PAGE && (r = sql_step(db, q, e)) > 0)
        r = sql_dup(q, 0, &ids[n++], e);
    if (r < 0) {
        for (size_t i = 0; i < n; i++)
            free(ids[i]);
        free(ids);
        return r;
    }
    *ret = ids;
    *ret_n = n;
    return 0;
}

#include "db/transfer.h"

#include "db/state.h"

int transfer_get(struct db *db, const char *job_id, unsigned disk, struct transfer_row *ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    r = sql_query(db, &q, e,
                  "SELECT length, etag, last_modified, listed_bytes, transferred_bytes, runs FROM transfer"
                  " WHERE job = (SELECT seq FROM job WHERE id = ?1) AND disk = ?2", SS(job_id), SI(disk));
    if (r < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "disk %u of the job %s has no transfer", disk, job_id);
    *ret = (struct transfer_row){.length = sql_u64(q, 0), .listed_bytes = sql_u64(q, 3), .transferred_bytes = sql_u64(q, 4), .runs = (unsigned)sql_u64(q, 5)};
    sql_copy(q, 1, ret->etag, sizeof ret->etag);
    sql_copy(q, 2, ret->last_modified, sizeof ret->last_modified);
    return 0;
}

int transfer_put(struct db *db, const char *job_id, unsigned disk, const struct transfer_row *row, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq, there;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, job_id, &seq, e)) < 0 ||
        (r = sql_int(db, &there, e, "SELECT 1 FROM disk WHERE job = ?1 AND disk = ?2", SI(seq), SI(disk))) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "the job %s has no disk %u", job_id, disk);
    r = sql_run(db, e,
                "INSERT OR REPLACE INTO transfer (job, disk, length, etag, last_modified, listed_bytes, transferred_bytes, runs)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                SI(seq), SI(disk), SU(row->length), SS(row->etag), SS(row->last_modified), SU(row->listed_bytes), SU(row->transferred_bytes),
                SI(row->runs));
    return r < 0 ? r : sql_commit(&tx, e);
}

int transfer_pending(struct db *db, const char *job_id, transfer_pending_fn *fn, void *arg, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int64_t seq;
    int r;
    if ((r = job_seq(db, job_id, &seq, e)) < 0 ||
        (r = sql_query(db, &q, e,
                       "SELECT d.path, x.listed_bytes, x.length, d.format FROM task t JOIN job j ON j.seq = t.job JOIN disk d ON d.job = t.job AND d.disk = t.disk"
                       " JOIN transfer x ON x.job = t.job AND x.disk = t.disk"
                       " WHERE t.kind = 'download' AND t.state IN ('pending', 'running') AND t.job <> ?1 AND d.path IS NOT NULL"
                       " AND NOT j.cancel_requested AND NOT j.delete_requested AND (t.job < ?1 OR EXISTS"
                       " (SELECT 1 FROM task p WHERE p.job = t.job AND p.kind = 'preflight' AND p.state = 'succeeded'))",
                       SI(seq))) < 0)
        return r;
    while ((r = sql_step(db, q, e)) > 0) {
        enum disk_format format = FORMAT_AUTO;
        disk_format_parse(sql_text(q, 3), &format);
        if ((r = fn(arg, sql_text(q, 0), format, sql_u64(q, 1), sql_u64(q, 2))) != 0)
            return r;
    }
    return r;
}

int transfer_total(struct db *db, uint64_t *ret, struct err *e)
{
    int64_t total;
    int r = sql_int(db, &total, e, "SELECT coalesce(sum(transferred_bytes), 0) FROM transfer");
    if (r < 0)
        return r;
    *ret = total < 0 ? 0 : (uint64_t)total;
    return 0;
}

#include "db/event.h"

#include <string.h>

#include "common/clock.h"
#include "db/state.h"

#define DATA_BYTES_MAX 65536
#define PAGE_MAX 10000

void event_list_free(struct event *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++) {
        free(list[i].job_id);
        free(list[i].type);
        json_decref(list[i].data);
    }
    free(list);
}

static int insert(struct db *db, int64_t seq, int64_t now_ms, const char *type, const json_t *data, struct err *e)
{
    AUTO_FREE char *text = NULL;
    int r;
    if ((r = sql_dump(data, &text, e)) < 0)
        return r;
    if (text && strlen(text) > DATA_BYTES_MAX)
        return err_set(e, ERR_INTERNAL, "the data of an event \"%s\" is longer than %d bytes", type, DATA_BYTES_MAX);
    r = sql_run(db, e, "INSERT INTO event (at_ms, job, type, data) VALUES (?1, nullif(?2, 0), ?3, ?4)", SI(now_ms), SI(seq), SS(type),
                SS(text ? text : "{}"));
    return r < 0 ? r : 0;
}

int event_insert(struct db *db, int64_t seq, int64_t now_ms, const char *type, json_t *data, struct err *e)
{
    if (!data)
        return err_oom(e);
    int r = insert(db, seq, now_ms, type, data, e);
    json_decref(data);
    return r;
}

int event_add(struct db *db, const char *job_id, const char *type, json_t *data, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq = 0;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (job_id && (r = job_seq(db, job_id, &seq, e)) < 0) ||
        (r = insert(db, seq, clock_now_ms(), type, data, e)) < 0)
        return r;
    return sql_commit(&tx, e);
}

static int from_row(sqlite3_stmt *q, struct event *ev, struct err *e)
{
    int r;
    ev->id = sql_i64(q, 0);
    ev->at_ms = sql_i64(q, 1);
    if ((r = sql_dup(q, 2, &ev->job_id, e)) < 0 || (r = sql_dup(q, 3, &ev->type, e)) < 0)
        return r;
    return sql_json(q, 4, &ev->data, e);
}

int event_list(struct db *db, const char *job_id, int64_t after, size_t limit, struct event **ret, size_t *ret_n, struct err *e)
{
    if (limit > PAGE_MAX)
        limit = PAGE_MAX;
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    if (job_id)
        r = sql_query(db, &q, e,
                      "SELECT event.id, event.at_ms, job.id, event.type, event.data FROM job JOIN event ON event.job = job.seq"
                      " WHERE job.id = ?1 AND event.id > ?2 ORDER BY event.id LIMIT ?3", SS(job_id), SI(after), SI(limit));
    else
        r = sql_query(db, &q, e,
                      "SELECT event.id, event.at_ms, job.id, event.type, event.data FROM event LEFT JOIN job ON job.seq = event.job"
                      " WHERE event.id > ?1 ORDER BY event.id LIMIT ?2", SI(after), SI(limit));
    if (r < 0)
        return r;
    struct event *list = NULL;
    size_t n = 0, size = 0;
    while ((r = sql_step(db, q, e)) > 0) {
        if (n == size) {
            size = size ? size * 2 : 16;
            struct event *bigger = realloc(list, size * sizeof *list);
            if (!bigger) {
                r = err_oom(e);
                break;
            }
            list = bigger;
        }
        list[n] = (struct event){0};
        if ((r = from_row(q, &list[n++], e)) < 0)
            break;
    }
    if (r < 0) {
        event_list_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int event_last_id(struct db *db, int64_t *ret, struct err *e)
{
    /* from the counter and not from the rows, which may all have been pruned */
    int r = sql_int(db, ret, e, "SELECT seq FROM sqlite_sequence WHERE name = 'event'");
    return r < 0 ? r : 0;
}

int event_prune(struct db *db, int64_t before_ms, size_t *ret_n, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0)
        return r;
    int n = sql_run(db, e, "DELETE FROM event WHERE at_ms < ?1", SI(before_ms));
    if (n < 0 || (n > 0 && (r = sql_commit(&tx, e)) < 0))
        return n < 0 ? n : r;
    if (ret_n)
        *ret_n = (size_t)n;
    return 0;
}

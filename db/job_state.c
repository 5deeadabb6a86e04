/* The state of a job: derived from its tasks and the user's flags, stored in the transaction that moves it. */
#include <string.h>

#include "common/clock.h"
#include "db/state.h"

static const char *const state_words[] = {"queued", "running", "paused", "succeeded", "failed", "cancelled"};

/*             .--------- pause, resume ---------.
 *             v                                 v
 *  QUEUED --claim--> RUNNING --last task--> SUCCEEDED --export_vm asked for--> RUNNING
 *     \                  |---a task fails---> FAILED --retry, export_vm--> QUEUED, RUNNING
 *      \---- PAUSED -----|                      | cancel
 *                        '---cancel---------> CANCELLED --retry--> QUEUED, RUNNING
 *
 * QUEUED     no task was started            RUNNING  a task runs or has run, and one is left
 * PAUSED     the pause flag is set; running tasks are being parked, or an export or check of a failed job is
 * SUCCEEDED  all tasks of the graph succeeded or were skipped, no export is left to do; neither pause nor (unless it is to be deleted)
 *            cancel flag is set. An export that failed or was cancelled changes nothing of it: the machine is there, and it can be asked for again
 * FAILED     a task of the graph failed, none runs; the pause flag is not set; what is pending is held until a retry
 * CANCELLED  the cancel flag is set, no task runs or is pending, the graph is not done; the pause flag is not set
 * A paused job moves on to the last three when its running tasks end so. */
static const bool may_move[JOB_STATES][JOB_STATES] = {
    [JOB_QUEUED] = {[JOB_RUNNING] = true, [JOB_PAUSED] = true, [JOB_CANCELLED] = true},
    [JOB_RUNNING] = {[JOB_PAUSED] = true, [JOB_SUCCEEDED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
    [JOB_PAUSED] = {[JOB_QUEUED] = true, [JOB_RUNNING] = true, [JOB_SUCCEEDED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true},
    [JOB_SUCCEEDED] = {[JOB_RUNNING] = true},
    [JOB_FAILED] = {[JOB_QUEUED] = true, [JOB_RUNNING] = true, [JOB_CANCELLED] = true},
    [JOB_CANCELLED] = {[JOB_QUEUED] = true, [JOB_RUNNING] = true},
};

const char *job_state_name(enum job_state s)
{
    return state_words[s];
}

bool job_state_parse(const char *word, enum job_state *ret)
{
    for (int i = 0; word && i < JOB_STATES; i++)
        if (!strcmp(word, state_words[i])) {
            *ret = (enum job_state)i;
            return true;
        }
    return false;
}

static bool is_finished(enum job_state s)
{
    return s == JOB_SUCCEEDED || s == JOB_FAILED || s == JOB_CANCELLED;
}

int job_seq(struct db *db, const char *id, int64_t *ret, struct err *e)
{
    int r = sql_int(db, ret, e, "SELECT seq FROM job WHERE id = ?1", SS(id));
    return r < 0 ? r : r ? 0 : err_set(e, ERR_NOT_FOUND, "there is no job %.64s", id);
}

/* ---- deriving ---- */

struct flags {
    int64_t seq;
    enum job_state state;                            /* as stored */
    bool paused, cancel;
    enum job_delete del;
};

static int flags_get(struct db *db, int64_t seq, struct flags *ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    if ((r = sql_query(db, &q, e, "SELECT state, paused, cancel_requested, delete_requested FROM job WHERE seq = ?1", SI(seq))) < 0 ||
        (r = sql_step(db, q, e)) < 0)
        return r;
    struct flags f = {.seq = seq, .paused = sql_i64(q, 1), .cancel = sql_i64(q, 2), .del = (enum job_delete)sql_i64(q, 3)};
    if (!r || !job_state_parse(sql_text(q, 0), &f.state))
        return sql_damaged(e, "the database holds a job without a valid state");
    *ret = f;
    return 0;
}

/* export_vm and verify are asked for after the recovery and count apart: their failure keeps nothing of the graph from running, and a
 * failed graph does not keep them from running. */
struct counts {
    int64_t running, pending;
    int64_t graph_pending, graph_failed, graph_cancelled;    /* without export_vm and verify */
    int64_t started;                                 /* run or have run */
};

static int counts_get(struct db *db, int64_t seq, struct counts *ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query(db, &q, e,
                      "SELECT total(state = 'running'), total(state = 'pending'), total(state = 'pending' AND kind NOT IN " KINDS_ASKED_LATER "),"
                      " total(state = 'failed' AND kind NOT IN " KINDS_ASKED_LATER "),"
                      " total(state = 'cancelled' AND kind NOT IN " KINDS_ASKED_LATER "), total(started_at_ms > 0)"
                      " FROM task WHERE job = ?1", SI(seq));
    if (r < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    *ret = (struct counts){sql_i64(q, 0), sql_i64(q, 1), sql_i64(q, 2), sql_i64(q, 3), sql_i64(q, 4), sql_i64(q, 5)};
    return 0;
}

static enum job_state derive(const struct flags *f, const struct counts *c)
{
    bool graph_done = !c->graph_pending && !c->graph_failed && !c->graph_cancelled;
    if (!c->running) {
        if (graph_done && !c->pending)
            return JOB_SUCCEEDED;                    /* also when the wish to cancel came too late, or meant an export */
        if (f->cancel)
            return JOB_CANCELLED;
        bool waits = f->paused && c->pending > c->graph_pending;         /* what was asked for later goes on all the same, and is to wait */
        if (c->graph_failed && !waits)
            return JOB_FAILED;
    }
    if (f->paused)
        return JOB_PAUSED;
    return c->started ? JOB_RUNNING : JOB_QUEUED;
}

int job_settle(struct db *db, int64_t seq, int64_t now_ms, struct err *e)
{
    struct flags f;
    struct counts c;
    int r;
    if ((r = flags_get(db, seq, &f, e)) < 0 || (f.cancel && (r = task_cancel_pending(db, seq, now_ms, e)) < 0) ||
        (r = counts_get(db, seq, &c, e)) < 0)
        return r;
    enum job_state to = derive(&f, &c);
    if (to != f.state && !may_move[f.state][to])
        return err_set(e, ERR_INTERNAL, "a job cannot go from %s to %s", state_words[f.state], state_words[to]);
    if (is_finished(to))
        f.paused = false;
    if (to == JOB_SUCCEEDED && !f.del)
        f.cancel = false;
    if ((r = sql_run(db, e, "UPDATE job SET state = ?2, paused = ?3, cancel_requested = ?4, updated_at_ms = ?5 WHERE seq = ?1", SI(seq),
                     SS(state_words[to]), SI(f.paused), SI(f.cancel), SI(now_ms))) < 0)
        return r;
    int held = (f.paused ? HELD_PAUSE : 0) | (f.cancel ? HELD_CANCEL : 0) | (f.del ? HELD_DELETE : 0);
    r = sql_run(db, e, "UPDATE task SET held = iif(kind IN " KINDS_ASKED_LATER ", ?2, ?3)"
                " WHERE job = ?1 AND held <> iif(kind IN " KINDS_ASKED_LATER ", ?2, ?3)", SI(seq), SI(held), SI(held | (c.graph_failed ? HELD_FAILED : 0)));
    if (r < 0 || to == f.state)
        return r < 0 ? r : 0;
    static const char *const events[] = {"job_queued", "job_running", "job_paused", "job_succeeded", "job_failed", "job_cancelled"};
    return event_insert(db, seq, now_ms, events[to], json_pack("{s:s, s:s}", "state", state_words[to], "from", state_words[f.state]), e);
}

/* ---- what a user asks for ---- */

static int refuse(struct err *e, const char *id, const struct flags *f, const char *what)
{
    if (f->del)
        return err_set(e, ERR_WRONG_STATE, "the job %s is being deleted and cannot be %s", id, what);
    if (f->cancel && !is_finished(f->state))
        return err_set(e, ERR_WRONG_STATE, "the job %s is being cancelled and cannot be %s", id, what);
    return err_set(e, ERR_WRONG_STATE, "the job %s is %s and cannot be %s", id, state_words[f->state], what);
}

static int begin(struct db *db, const char *id, struct sql_tx *tx, struct flags *f, struct err *e)
{
    int64_t seq;
    int r;
    if ((r = sql_begin(db, tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0)
        return r;
    return flags_get(db, seq, f, e);
}

/* Stores the flags as changed, settles, commits. `event` may be NULL: the move has one of its own. */
static int end(struct db *db, struct sql_tx *tx, const struct flags *f, const char *event, json_t *data, struct err *e)
{
    int64_t now = clock_now_ms();
    int r = event ? event_insert(db, f->seq, now, event, data, e) : 0;
    if (r < 0 || (r = sql_run(db, e, "UPDATE job SET paused = ?2, cancel_requested = ?3, delete_requested = ?4 WHERE seq = ?1", SI(f->seq),
                              SI(f->paused), SI(f->cancel), SI(f->del))) < 0 ||
        (r = job_settle(db, f->seq, now, e)) < 0)
        return r;
    return sql_commit(tx, e);
}

int job_set_rate(struct db *db, const char *id, uint64_t bytes_per_second, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int r = begin(db, id, &tx, &f, e);
    if (r < 0)
        return r;
    if (f.del)
        return refuse(e, id, &f, "changed");
    if ((r = sql_run(db, e, "UPDATE job SET spec = json_set(spec, '$.max_bytes_per_second', ?2) WHERE seq = ?1", SI(f.seq), SI((int64_t)bytes_per_second))) < 0)
        return r;
    return end(db, &tx, &f, "job_changed", json_pack("{s:I}", "max_bytes_per_second", (json_int_t)bytes_per_second), e);
}

int job_pause(struct db *db, const char *id, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int r = begin(db, id, &tx, &f, e);
    if (r < 0)
        return r;
    if (is_finished(f.state) || f.cancel || f.del)
        return refuse(e, id, &f, "paused");
    if (f.paused)
        return 0;
    f.paused = true;
    return end(db, &tx, &f, NULL, NULL, e);
}

int job_resume(struct db *db, const char *id, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int r = begin(db, id, &tx, &f, e);
    if (r < 0)
        return r;
    if (!f.paused)
        return refuse(e, id, &f, "resumed");
    f.paused = false;
    return end(db, &tx, &f, NULL, NULL, e);
}

int job_cancel(struct db *db, const char *id, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int r = begin(db, id, &tx, &f, e);
    if (r < 0)
        return r;
    if (f.state == JOB_SUCCEEDED || f.state == JOB_CANCELLED)
        return refuse(e, id, &f, "cancelled");
    if (f.cancel)
        return 0;
    f.cancel = true;
    f.paused = false;                                /* a retry after it is to go on at once */
    return end(db, &tx, &f, "job_cancel_requested", json_object(), e);
}

int job_retry(struct db *db, const char *id, struct err *e)
{
    return job_retry_with(db, id, NULL, 0, e);
}

int job_retry_with(struct db *db, const char *id, const struct job_renewal *list, size_t n, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int r = begin(db, id, &tx, &f, e);
    if (r < 0)
        return r;
    if ((f.state != JOB_FAILED && f.state != JOB_CANCELLED) || f.del)
        return refuse(e, id, &f, "retried");
    for (size_t i = 0; i < n; i++)
        if ((r = job_renew(db, f.seq, id, i, &list[i], e)) < 0)
            return r;
    f.cancel = false;
    if ((r = task_reopen(db, f.seq, clock_now_ms(), e)) < 0)
        return r;
    return end(db, &tx, &f, NULL, NULL, e);
}

int job_delete(struct db *db, const char *id, enum job_delete how, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int r = begin(db, id, &tx, &f, e);
    if (r < 0)
        return r;
    if (how == DELETE_NO)
        return err_set(e, ERR_INTERNAL, "a job cannot be deleted in no way");
    if (how < f.del)
        return err_set(e, ERR_WRONG_STATE, "the job %s is being deleted with its disks already", id);
    if (how == f.del)
        return 0;
    f.del = how;
    f.cancel = true;
    f.paused = false;
    return end(db, &tx, &f, "job_delete_requested", json_pack("{s:s}", "disks", how == DELETE_ALL ? "delete" : "keep"), e);
}

int job_list_deletable(struct db *db, char ***ret, size_t *ret_n, struct err *e)
{
    enum { PAGE = 10000 };                           /* what is left comes with the next call */
    AUTO_STMT sqlite3_stmt *q = NULL;
    char **ids = calloc(PAGE, sizeof *ids);
    size_t n = 0;
    if (!ids)
        return err_oom(e);
    int r = sql_query(db, &q, e,
                      "SELECT id FROM job WHERE delete_requested > 0 AND NOT EXISTS"
                      " (SELECT 1 FROM task WHERE task.job = job.seq AND task.state = 'running') ORDER BY seq LIMIT ?1", SI(PAGE));
    while (r >= 0 && (r = sql_step(db, q, e)) > 0)
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

int job_forget(struct db *db, const char *id, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct flags f;
    int64_t running, resources;
    int r;
    if ((r = begin(db, id, &tx, &f, e)) < 0 ||
        (r = sql_int(db, &running, e, "SELECT count(*) FROM task WHERE job = ?1 AND state = 'running'", SI(f.seq))) < 0 ||
        (r = sql_int(db, &resources, e, "SELECT count(*) FROM resource WHERE job = ?1", SI(f.seq))) < 0)
        return r;
    if (!f.del)
        return err_set(e, ERR_WRONG_STATE, "the job %s is not to be deleted", id);
    if (running || resources)
        return err_set(e, ERR_WRONG_STATE, "the job %s still has %d running tasks and %d resources", id, (int)running, (int)resources);
    if ((r = sql_run(db, e, "DELETE FROM job WHERE seq = ?1", SI(f.seq))) < 0 ||
        (r = event_insert(db, 0, clock_now_ms(), "job_deleted", json_pack("{s:s}", "id", id), e)) < 0)
        return r;
    return sql_commit(&tx, e);
}

#include "db/task.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "db/state.h"

#define RUNNING_MAX 1024                             /* workers are a few; a bound for what recovery looks at */
#define PER_JOB_MAX 64
#define DELAY_MS_MAX (24ull * 3600 * 1000)
#define PARAMS_BYTES_MAX 16384

static const char *const state_words[] = {"pending", "running", "succeeded", "failed", "cancelled", "skipped"};
static const char *const lane_words[] = {"network", "disk", "hypervisor"};

/*  PENDING --claim--> RUNNING --finish--> SUCCEEDED     SKIPPED: born so, terminal, counts as success
 *    |  ^                |--finish--> FAILED --reopen--> PENDING
 *    |  '--park, retry later, recover--'
 *    '--cancel--> CANCELLED <--finish--'  --reopen--> PENDING
 *
 * PENDING    may be claimed when unmet = 0, held = 0 and not_before_ms has come
 * RUNNING    exactly one worker has it; heartbeats come
 * SUCCEEDED  was subtracted, once, from `unmet` of those that wait for it: so it never leaves this state
 * FAILED     has an error; holds back what else is pending in its job
 * CANCELLED  only in a job that was asked to cancel */
static const bool may_move[TASK_STATES][TASK_STATES] = {
    [TASK_PENDING] = {[TASK_RUNNING] = true, [TASK_CANCELLED] = true},
    [TASK_RUNNING] = {[TASK_SUCCEEDED] = true, [TASK_FAILED] = true, [TASK_CANCELLED] = true, [TASK_PENDING] = true},
    [TASK_FAILED] = {[TASK_PENDING] = true},
    [TASK_CANCELLED] = {[TASK_PENDING] = true},
};

const char *task_state_name(enum task_state s)
{
    return state_words[s];
}

bool task_state_parse(const char *word, enum task_state *ret)
{
    for (int i = 0; word && i < TASK_STATES; i++)
        if (!strcmp(word, state_words[i])) {
            *ret = (enum task_state)i;
            return true;
        }
    return false;
}

const char *task_lane_name(enum task_lane l)
{
    return lane_words[l];
}

enum task_lane task_kind_lane(enum task_kind k)
{
    switch (k) {
    case TASK_EXPORT:
    case TASK_DOWNLOAD: return LANE_NETWORK;
    case TASK_VOLUME:
    case TASK_EXPORT_VM:
    case TASK_VERIFY: return LANE_DISK;
    default: return LANE_HYPERVISOR;
    }
}

void task_clear(struct task *t)
{
    json_decref(t->params);
    *t = (struct task){0};
}

int task_from_row(sqlite3_stmt *q, int col, struct task *ret, struct err *e)
{
    struct task t = {
        .id = sql_i64(q, col),
        .disk = (int)sql_i64(q, col + 2),
        .attempts = (unsigned)sql_u64(q, col + 4),
        .started_at_ms = sql_i64(q, col + 5),
        .finished_at_ms = sql_i64(q, col + 6),
        .not_before_ms = sql_i64(q, col + 7),
        .progress = {.total = sql_u64(q, col + 8), .done = sql_u64(q, col + 9), .transferred = sql_u64(q, col + 10), .skipped = sql_u64(q, col + 11),
                     .bytes_per_second = sql_u64(q, col + 12), .eta_seconds = sql_i64(q, col + 13)},
    };
    if (!task_kind_parse(sql_text(q, col + 1), &t.kind) || !task_state_parse(sql_text(q, col + 3), &t.state))
        return sql_damaged(e, "the database holds a task %" PRId64 " of unknown kind or state", t.id);
    json_t *error;
    int r;
    if ((r = sql_json(q, col + 14, &error, e)) < 0)
        return r;
    if (error)
        json_to_err(error, &t.error);
    json_decref(error);
    if ((r = sql_json(q, col + 15, &t.params, e)) < 0)
        return r;
    *ret = t;
    return 0;
}

/* ---- moves ---- */

struct row {
    int64_t id, job;
    enum task_kind kind;
    int disk;
    enum task_state state;
    unsigned attempts;
};

#define ROW_COLUMNS "SELECT id, job, kind, disk, state, attempts FROM task "

/* At most max rows of a query that selects ROW_COLUMNS by one integer. */
static int rows_get(struct db *db, const char *sql, int64_t by, struct row *ret, size_t max, size_t *ret_n, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    size_t n = 0;
    int r = sql_query_args(db, &q, e, sql, SQL_ARGS(SI(by)));
    while (r >= 0 && n < max && (r = sql_step(db, q, e)) > 0) {
        struct row *t = &ret[n++];
        *t = (struct row){.id = sql_i64(q, 0), .job = sql_i64(q, 1), .disk = (int)sql_i64(q, 3), .attempts = (unsigned)sql_u64(q, 5)};
        if (!task_kind_parse(sql_text(q, 2), &t->kind) || !task_state_parse(sql_text(q, 4), &t->state))
            return sql_damaged(e, "the database holds a task %" PRId64 " of unknown kind or state", t->id);
    }
    *ret_n = n;
    return r < 0 ? r : 0;
}

static int check_move(const struct row *t, enum task_state to, struct err *e)
{
    if (may_move[t->state][to])
        return 0;
    return err_set(e, ERR_WRONG_STATE, "the task %s (%" PRId64 ") is %s and cannot become %s", task_kind_name(t->kind), t->id, state_words[t->state],
                   state_words[to]);
}

static int add_event(struct db *db, const struct row *t, enum task_state state, unsigned attempts, const char *type, const struct err *err,
                     uint64_t delay_ms, int64_t now_ms, struct err *e)
{
    json_t *disk = t->disk < 0 ? json_null() : json_integer(t->disk);
    json_t *data = json_pack("{s:I, s:s, s:o, s:s, s:i}", "task", (json_int_t)t->id, "kind", task_kind_name(t->kind), "disk", disk, "state",
                             state_words[state], "attempts", (int)attempts);
    if (data && err && json_object_set_new(data, "error", json_from_err(err))) {
        json_decref(data);
        data = NULL;
    }
    if (data && delay_ms && json_object_set_new(data, "retry_in_ms", json_integer((json_int_t)delay_ms))) {
        json_decref(data);
        data = NULL;
    }
    return event_insert(db, t->job, now_ms, type, data, e);
}

struct change {
    enum task_state to;
    const char *event;
    unsigned attempts;
    uint64_t delay_ms;                               /* PENDING: claimable only after it */
    bool afresh;                                     /* PENDING: as if it had never been started */
    const struct err *err;
};

/* Every move but the claim goes through here. */
static int move(struct db *db, const struct row *t, const struct change *c, int64_t now_ms, struct err *e)
{
    int r = check_move(t, c->to, e);
    if (r < 0)
        return r;
    AUTO_FREE char *error = NULL;
    if (c->err) {
        json_t *j = json_from_err(c->err);
        if (!j)
            return err_oom(e);
        r = sql_dump(j, &error, e);
        json_decref(j);
        if (r < 0)
            return r;
    }
    r = sql_run(db, e,
                "UPDATE task SET state = ?2, attempts = ?3, not_before_ms = ?4, finished_at_ms = ?5, error = ?6, bytes_per_second = 0,"
                " eta_seconds = -1, started_at_ms = CASE ?7 WHEN 0 THEN started_at_ms ELSE 0 END WHERE id = ?1",
                SI(t->id), SS(state_words[c->to]), SI(c->attempts), SI(c->delay_ms ? now_ms + (int64_t)c->delay_ms : 0),
                SI(c->to == TASK_PENDING ? 0 : now_ms), SS(error), SI(c->afresh));
    if (r < 0)
        return r;
    if (c->to == TASK_SUCCEEDED && (r = sql_run(db, e, "UPDATE task SET unmet = unmet - 1 WHERE id IN (SELECT task FROM task_need WHERE needs = ?1)",
                                                SI(t->id))) < 0)
        return r;
    return add_event(db, t, c->to, c->attempts, c->event, c->err, c->delay_ms, now_ms, e);
}

int task_cancel_pending(struct db *db, int64_t seq, int64_t now_ms, struct err *e)
{
    struct row rows[PER_JOB_MAX];
    size_t n;
    int r = rows_get(db, ROW_COLUMNS "WHERE job = ?1 AND state = 'pending' ORDER BY id", seq, rows, PER_JOB_MAX, &n, e);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        struct change c = {.to = TASK_CANCELLED, .event = "task_cancelled", .attempts = rows[i].attempts};
        r = move(db, &rows[i], &c, now_ms, e);
    }
    return r < 0 ? r : 0;
}

int task_reopen(struct db *db, int64_t seq, int64_t now_ms, struct err *e)
{
    struct row rows[PER_JOB_MAX];
    size_t n;
    /* What was asked for later is asked for again: its time and place are over, and an export would keep the VM from starting. */
    int r = rows_get(db, ROW_COLUMNS "WHERE job = ?1 AND state IN ('failed', 'cancelled') AND kind NOT IN " KINDS_ASKED_LATER " ORDER BY id", seq, rows,
                     PER_JOB_MAX, &n, e);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        struct change c = {.to = TASK_PENDING, .event = "task_reopened", .afresh = true};
        r = move(db, &rows[i], &c, now_ms, e);
    }
    if (r >= 0)
        r = sql_run(db, e, "UPDATE task SET not_before_ms = 0, attempts = 0 WHERE job = ?1 AND state = 'pending'", SI(seq));
    return r < 0 ? r : 0;
}

/* ---- the queue ---- */

/* All three parts read the head of one index range, so the cost does not grow with what is queued, held, finished or waiting. The last one: no
 * pause is longer than DELAY_MS_MAX, so a time beyond it was written before somebody set the clock back, and is over. */
#define CLAIMABLE "FROM task WHERE state = 'pending' AND unmet = 0 AND held = 0 AND lane = ?1 AND not_before_ms "
#define CLAIM \
    "UPDATE task SET state = 'running', attempts = attempts + 1, not_before_ms = 0, finished_at_ms = 0, error = NULL, heartbeat_at_ms = ?2," \
    " started_at_ms = CASE started_at_ms WHEN 0 THEN ?2 ELSE started_at_ms END" \
    " WHERE id = (SELECT id FROM (" \
    "SELECT * FROM (SELECT id " CLAIMABLE "= 0 ORDER BY id LIMIT 1)" \
    " UNION ALL " \
    "SELECT * FROM (SELECT id " CLAIMABLE "BETWEEN 1 AND ?2 ORDER BY not_before_ms, id LIMIT 1)" \
    " UNION ALL " \
    "SELECT * FROM (SELECT id " CLAIMABLE "> ?3 ORDER BY not_before_ms, id LIMIT 1)" \
    ") ORDER BY id LIMIT 1) RETURNING id"
const char *const task_claim_sql = CLAIM;

static int get(struct db *db, int64_t id, struct task *ret, int64_t *ret_seq, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query(db, &q, e, "SELECT job.id, job.seq, " TASK_COLUMNS " FROM task JOIN job ON job.seq = task.job WHERE task.id = ?1", SI(id));
    if (r < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "there is no task %" PRId64, id);
    if ((r = task_from_row(q, 2, ret, e)) < 0)
        return r;
    sql_copy(q, 0, ret->job_id, sizeof ret->job_id);
    *ret_seq = sql_i64(q, 1);
    return 0;
}

static int wait_for_next(struct db *db, enum task_lane lane, int64_t now_ms, uint64_t *ret, struct err *e)
{
    int64_t next;
    int r = sql_int(db, &next, e, "SELECT not_before_ms " CLAIMABLE "> 0 ORDER BY not_before_ms LIMIT 1", SS(lane_words[lane]));
    if (r < 0)
        return r;
    *ret = !r ? UINT64_MAX : next <= now_ms ? 0 : (uint64_t)(next - now_ms);
    return 0;
}

int task_claim(struct db *db, enum task_lane lane, struct task *ret, uint64_t *ret_wait_ms, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t id, seq = 0, now = clock_now_ms();
    uint64_t wait = 0;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0)
        return r;
    {
        AUTO_STMT sqlite3_stmt *q = NULL;
        if ((r = sql_query_args(db, &q, e, task_claim_sql, SQL_ARGS(SS(lane_words[lane]), SI(now), SI(now + (int64_t)DELAY_MS_MAX)))) < 0 || (r = sql_step(db, q, e)) < 0)
            return r;
        id = r ? sql_i64(q, 0) : 0;
        if (r && (r = sql_step(db, q, e)) < 0)       /* the statement takes effect when it has run to its end */
            return r;
    }
    if (!id) {
        if ((r = wait_for_next(db, lane, now, &wait, e)) < 0)
            return r;
        if (ret_wait_ms)
            *ret_wait_ms = wait;
        return err_set(e, ERR_EMPTY, "no %s task can be started", lane_words[lane]);
    }
    struct task t = {0};
    if ((r = get(db, id, &t, &seq, e)) < 0)
        return r;
    struct row row = {.id = id, .job = seq, .kind = t.kind, .disk = t.disk, .state = TASK_PENDING};
    if ((r = check_move(&row, TASK_RUNNING, e)) < 0 || (r = add_event(db, &row, TASK_RUNNING, t.attempts, "task_started", NULL, 0, now, e)) < 0 ||
        (r = job_settle(db, seq, now, e)) < 0 || (r = sql_commit(&tx, e)) < 0) {
        task_clear(&t);
        return r;
    }
    *ret = t;
    return 0;
}

static int store_progress(struct db *db, int64_t id, const struct task_progress *p, struct err *e)
{
    return sql_run(db, e,
                   "UPDATE task SET total_bytes = ?2, done_bytes = ?3, transferred_bytes = ?4, skipped_bytes = ?5, bytes_per_second = ?6,"
                   " eta_seconds = ?7 WHERE id = ?1",
                   SI(id), SU(p->total), SU(p->done), SU(p->transferred), SU(p->skipped), SU(p->bytes_per_second),
                   SI(p->eta_seconds < 0 ? -1 : p->eta_seconds));
}

int task_heartbeat(struct db *db, int64_t id, const struct task_progress *p, struct task_flags *ret, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t held, rate = 0;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = sql_int(db, &held, e, "SELECT held FROM task WHERE id = ?1 AND state = 'running'", SI(id))) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "the task %" PRId64 " does not run any more", id);
    r = sql_int(db, &rate, e, "SELECT json_extract(spec, '$.max_bytes_per_second') FROM job WHERE seq = (SELECT job FROM task WHERE id = ?1)", SI(id));
    if (r < 0 || (r = sql_run(db, e, "UPDATE task SET heartbeat_at_ms = ?2 WHERE id = ?1", SI(id), SI(clock_now_ms()))) < 0 ||
        (p && (r = store_progress(db, id, p, e)) < 0) || (r = sql_commit(&tx, e)) < 0)
        return r;
    *ret = (struct task_flags){.pause = held & HELD_PAUSE, .cancel = held & (HELD_CANCEL | HELD_DELETE), .max_bytes_per_second = rate > 0 ? (uint64_t)rate : 0};
    return 0;
}

/* The move that ends a run with this outcome. An attempt that was cut short by us is given back. */
static struct change change_of(enum task_outcome o, const struct row *t, const struct err *err, uint64_t delay_ms)
{
    static const struct err unknown = {.code = ERR_INTERNAL, .msg = "the task failed without saying why"};
    unsigned returned = t->attempts ? t->attempts - 1 : 0;
    switch (o) {
    case OUTCOME_SUCCEEDED: return (struct change){.to = TASK_SUCCEEDED, .event = "task_succeeded", .attempts = t->attempts};
    case OUTCOME_CANCELLED: return (struct change){.to = TASK_CANCELLED, .event = "task_cancelled", .attempts = t->attempts};
    case OUTCOME_PARKED: return (struct change){.to = TASK_PENDING, .event = "task_parked", .attempts = returned};
    case OUTCOME_RETRY:
        return (struct change){.to = TASK_PENDING, .event = "task_retry", .attempts = t->attempts, .err = err && err->code ? err : &unknown,
                               .delay_ms = delay_ms > DELAY_MS_MAX ? DELAY_MS_MAX : delay_ms};
    default:
        return (struct change){.to = TASK_FAILED, .event = "task_failed", .attempts = t->attempts, .err = err && err->code ? err : &unknown};
    }
}

int task_finish(struct db *db, int64_t id, enum task_outcome o, const struct err *err, uint64_t delay_ms, const struct task_progress *p,
                struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    struct row t;
    size_t n;
    int64_t now = clock_now_ms(), cancel;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = rows_get(db, ROW_COLUMNS "WHERE id = ?1", id, &t, 1, &n, e)) < 0)
        return r;
    if (!n)
        return err_set(e, ERR_NOT_FOUND, "there is no task %" PRId64, id);
    if (t.state != TASK_RUNNING)
        return err_set(e, ERR_WRONG_STATE, "the task %s (%" PRId64 ") is %s, so it cannot be finished", task_kind_name(t.kind), id, state_words[t.state]);
    if (o == OUTCOME_CANCELLED) {
        if ((r = sql_int(db, &cancel, e, "SELECT cancel_requested FROM job WHERE seq = ?1", SI(t.job))) < 0)
            return r;
        if (!cancel)
            return err_set(e, ERR_WRONG_STATE, "the task %s (%" PRId64 ") cannot be cancelled: nobody asked its job to", task_kind_name(t.kind), id);
    }
    if (p && (r = store_progress(db, id, p, e)) < 0)
        return r;
    struct change c = change_of(o, &t, err, delay_ms);
    if ((r = move(db, &t, &c, now, e)) < 0 || (r = job_settle(db, t.job, now, e)) < 0)
        return r;
    return sql_commit(&tx, e);
}

int task_recover(struct db *db, size_t *ret_n, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    AUTO_FREE struct row *rows = calloc(RUNNING_MAX, sizeof *rows);
    int64_t now = clock_now_ms();
    size_t n = 0, total = 0;
    int r;
    if (!rows)
        return err_oom(e);
    if ((r = sql_begin(db, &tx, e)) < 0)
        return r;
    do {                                             /* each round leaves none of those that it saw */
        if ((r = rows_get(db, ROW_COLUMNS "WHERE state = 'running' ORDER BY job, id LIMIT ?1", RUNNING_MAX, rows, RUNNING_MAX, &n, e)) < 0)
            return r;
        for (size_t i = 0; i < n; i++) {
            struct change c = change_of(OUTCOME_PARKED, &rows[i], NULL, 0);
            c.event = "task_recovered";
            if ((r = move(db, &rows[i], &c, now, e)) < 0)
                return r;
        }
        for (size_t i = 0; i < n; i++)
            if ((i + 1 == n || rows[i + 1].job != rows[i].job) && (r = job_settle(db, rows[i].job, now, e)) < 0)
                return r;
        total += n;
    } while (n == RUNNING_MAX);
    if (total && (r = sql_commit(&tx, e)) < 0)
        return r;
    if (ret_n)
        *ret_n = total;
    return 0;
}

/* ---- export_vm, verify: asked for later ---- */

static const struct asked { enum task_kind kind; const char *what, *needs, *missing; } asked[] = {
    {TASK_EXPORT_VM, "an export of the VM", "SELECT vm_id IS NOT NULL FROM job WHERE seq = ?1", "has no VM whose disk could be exported"},
    {TASK_VERIFY, "a check of the disks", "SELECT count(*) FROM task WHERE job = ?1 AND kind = 'download' AND state = 'succeeded'",
     "has no disk whose download is done"},
};

static int add_asked(struct db *db, const char *job_id, const struct asked *a, const char *params, int64_t *ret_id, struct err *e)
{
    const char *kind = task_kind_name(a->kind);
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq, there, ending, busy, now = clock_now_ms();
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, job_id, &seq, e)) < 0 || (r = sql_int(db, &there, e, a->needs, SI(seq))) < 0 ||
        (r = sql_int(db, &ending, e, "SELECT cancel_requested OR delete_requested FROM job WHERE seq = ?1", SI(seq))) < 0 ||
        (r = sql_int(db, &busy, e, "SELECT state IN ('pending', 'running') FROM task WHERE job = ?1 AND kind = ?2 AND disk = -1", SI(seq), SS(kind))) < 0)
        return r;
    if (!there)
        return err_set(e, ERR_WRONG_STATE, "the job %s %s", job_id, a->missing);
    if (ending) {
        err_set(e, ERR_WRONG_STATE, "the job %s is cancelled or being deleted", job_id);
        return err_hint(e, "Wait until what was cancelled has ended; a job that stays cancelled must be retried first.");
    }
    if (busy)
        return err_set(e, ERR_WRONG_STATE, "%s of the job %s is not finished yet", a->what, job_id);
    if ((r = sql_run(db, e, "DELETE FROM task WHERE job = ?1 AND kind = ?2", SI(seq), SS(kind))) < 0 ||
        (r = sql_run(db, e, "INSERT INTO task (job, kind, disk, lane, state, unmet, params) VALUES (?1, ?2, -1, ?3, 'pending', 0, ?4)", SI(seq), SS(kind),
                     SS(lane_words[task_kind_lane(a->kind)]), SS(params))) < 0)
        return r;
    struct row t = {.id = sqlite3_last_insert_rowid(db->conn), .job = seq, .kind = a->kind, .disk = -1, .state = TASK_PENDING};
    if ((r = add_event(db, &t, TASK_PENDING, 0, "task_added", NULL, 0, now, e)) < 0 || (r = job_settle(db, seq, now, e)) < 0 ||
        (r = sql_commit(&tx, e)) < 0)
        return r;
    *ret_id = t.id;
    return 0;
}

int task_add_export_vm(struct db *db, const char *job_id, json_t *params, int64_t *ret_id, struct err *e)
{
    AUTO_FREE char *text = NULL;
    int r = sql_dump(params, &text, e);
    if (r < 0)
        return r;
    if (text && strlen(text) > PARAMS_BYTES_MAX)
        return err_set(e, ERR_VALUE, "the parameters of the export are longer than %d bytes", PARAMS_BYTES_MAX);
    return add_asked(db, job_id, &asked[0], text, ret_id, e);
}

int task_add_verify(struct db *db, const char *job_id, int64_t *ret_id, struct err *e)
{
    return add_asked(db, job_id, &asked[1], NULL, ret_id, e);
}

int task_counts(struct db *db, uint64_t ret[TASK_KINDS][TASK_STATES], struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    uint64_t counts[TASK_KINDS][TASK_STATES] = {0};
    int r = sql_query(db, &q, e, "SELECT kind, state, count(*) FROM task GROUP BY kind, state");
    while (r >= 0 && (r = sql_step(db, q, e)) > 0) {
        enum task_kind kind;
        enum task_state state;
        if (!task_kind_parse(sql_text(q, 0), &kind) || !task_state_parse(sql_text(q, 1), &state))
            return sql_damaged(e, "the database holds tasks of unknown kind or state");
        counts[kind][state] = sql_u64(q, 2);
    }
    if (r < 0)
        return r;
    memcpy(ret, counts, sizeof counts);
    return 0;
}

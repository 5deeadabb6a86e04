#include "tests/unit/db_util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/json.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    assert_non_null(f);
    f->dir = tmp_make();
    f->path = tmp_path(f->dir, "queue.db");
    ok(secret_open(f->dir, &f->box, &err));
    ok(db_create(f->path, f->box, &f->db, &err));
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    db_close(f->db);
    secret_close(f->box);
    free(f->path);
    tmp_remove(f->dir);
    free(f);
    return 0;
}

void ok_at(int r, const struct err *e, const char *what, const char *file, int line)
{
    if (r != 0) {
        print_error("%s gave %d: %s %s\n", what, r, e->field, e->msg);
        _fail(file, line);
    }
}

void fails_at(int r, int code, const struct err *e, const char *what, const char *file, int line)
{
    if (r != -code || (int)e->code != code || !e->msg[0]) {
        print_error("%s gave %d (%s), expected -%s\n", what, r, r ? e->msg : "no error", err_info(code)->word);
        _fail(file, line);
    }
}

char *json_text_of(const char *text)
{
    struct strbuf b = {0};
    for (; *text; text++) {
        if (text[0] == '@' && text[1] == '/')
            strbuf_adds(&b, tmp_root);
        else
            strbuf_add(&b, *text == '\'' ? "\"" : text, 1);
    }
    char *s = strbuf_steal(&b);
    assert_non_null(s);
    return s;
}

struct spec *spec_of(const char *json)
{
    AUTO_FREE char *text = json_text_of(json);
    struct err err;
    struct spec *s;
    json_t *body;
    ok(json_parse(text, strlen(text), &body, &err));
    int r = spec_parse(body, &s, &err);
    json_decref(body);
    ok(r);
    return s;
}

void make_job(struct db *db, const char *json, char ret[UUID_LEN])
{
    AUTO(spec_free_ptr) struct spec *s = spec_of(json ? json : "{'disks':[{'source':{'type':'blob','url':'https://a.example/c/web01.vhd'}}]}");
    static const uint8_t hash[SHA256_LEN];
    struct err err;
    bool existing = true;
    ok(job_create(db, s, NULL, hash, ret, &existing, &err));
    assert_false(existing);
}

int64_t claim(struct db *db, enum task_lane lane, enum task_kind kind)
{
    struct task t = {0};
    uint64_t wait;
    struct err err;
    int r = task_claim(db, lane, &t, &wait, &err);
    if (kind == TASK_KINDS) {
        fails(r, ERR_EMPTY);
        return 0;
    }
    ok(r);
    assert_int_equal(t.kind, kind);
    assert_int_equal(t.state, TASK_RUNNING);
    int64_t id = t.id;
    task_clear(&t);
    return id;
}

void finish(struct db *db, int64_t id, enum task_outcome o)
{
    struct err err, why;
    err_set(&why, ERR_UNREACHABLE, "the test says no");
    ok(task_finish(db, id, o, &why, 0, NULL, &err));
}

void run_one(struct db *db, enum task_kind kind)
{
    finish(db, claim(db, task_kind_lane(kind), kind), OUTCOME_SUCCEEDED);
}

void run_all(struct db *db)
{
    for (bool any = true; any;) {
        any = false;
        for (int lane = 0; lane < LANES; lane++) {
            struct task t = {0};
            struct err err;
            if (task_claim(db, (enum task_lane)lane, &t, NULL, &err) != 0)
                continue;
            any = true;
            finish(db, t.id, OUTCOME_SUCCEEDED);
            task_clear(&t);
        }
    }
}

enum job_state state_of(struct db *db, const char *id)
{
    struct job *j;
    struct err err;
    ok(job_get(db, id, &j, &err));
    enum job_state s = j->state;
    job_free(j);
    return s;
}

enum task_state task_state_of(struct db *db, const char *id, enum task_kind kind, int disk)
{
    struct job *j;
    struct err err;
    enum task_state s = TASK_STATES;
    ok(job_get(db, id, &j, &err));
    for (size_t i = 0; i < j->n_tasks; i++)
        if (j->tasks[i].kind == kind && j->tasks[i].disk == disk)
            s = j->tasks[i].state;
    job_free(j);
    assert_int_not_equal(s, TASK_STATES);
    return s;
}

static sqlite3 *look(const char *path)
{
    sqlite3 *conn;
    assert_int_equal(sqlite3_open_v2(path, &conn, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(conn, 10000);
    return conn;
}

static void query(sqlite3 *conn, const char *sql, struct strbuf *out)
{
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(conn, sql, -1, &q, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(conn));
    while (sqlite3_step(q) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(q); i++) {
            const char *text = (const char *)sqlite3_column_text(q, i);
            strbuf_addf(out, "%s%s", i ? "|" : out->len ? "\n" : "", text ? text : "NULL");
        }
    }
    if (sqlite3_finalize(q) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(conn));
}

char *ask(const char *path, const char *sql)
{
    struct strbuf out = {0};
    sqlite3 *conn = look(path);
    query(conn, sql, &out);
    sqlite3_close(conn);
    return strbuf_steal(&out);
}

/* Each gives the rows that are wrong. `derived` is the header's description of a job's state, put down a second time. */
static const char *const rules[] = {
    "PRAGMA foreign_key_check",
    "WITH c AS (SELECT job, count(*) FILTER (WHERE state = 'running') run, count(*) FILTER (WHERE state IN ('running', 'pending')) undone,"
    " count(*) FILTER (WHERE state = 'pending' AND kind IN ('export_vm', 'verify')) later,"
    " count(*) FILTER (WHERE state NOT IN ('succeeded', 'skipped') AND kind NOT IN ('export_vm', 'verify')) graph_not_good,"
    " count(*) FILTER (WHERE state = 'failed' AND kind NOT IN ('export_vm', 'verify')) graph_bad, max(started_at_ms) started FROM task GROUP BY job),"
    " derived AS (SELECT seq, state, CASE WHEN undone = 0 AND graph_not_good = 0 THEN 'succeeded' WHEN run = 0 AND cancel_requested THEN 'cancelled'"
    " WHEN run = 0 AND graph_bad AND NOT (paused AND later) THEN 'failed' WHEN paused THEN 'paused' WHEN started THEN 'running'"
    " ELSE 'queued' END AS must FROM job JOIN c ON c.job = job.seq)"
    " SELECT 'job state', * FROM derived WHERE state <> must",
    "SELECT 'flags of a finished job', seq, state FROM job WHERE (state IN ('succeeded', 'failed', 'cancelled') AND paused)"
    " OR (state = 'succeeded' AND cancel_requested AND NOT delete_requested)",
    "SELECT 'pending in a cancelled job', task.id FROM task JOIN job ON job.seq = task.job WHERE cancel_requested AND task.state = 'pending'",
    "SELECT 'cancelled in a job that is not', task.id FROM task JOIN job ON job.seq = task.job WHERE NOT cancel_requested AND task.state = 'cancelled'"
    " AND task.kind NOT IN ('export_vm', 'verify')",
    "SELECT 'unmet', t.id, t.unmet FROM task t WHERE t.state <> 'skipped' AND t.unmet <>"
    " (SELECT count(*) FROM task_need n JOIN task p ON p.id = n.needs WHERE n.task = t.id AND p.state <> 'succeeded')",
    "SELECT 'held', t.id, t.held FROM task t JOIN job j ON j.seq = t.job WHERE t.held <> j.paused + 2 * j.cancel_requested"
    " + 4 * (j.delete_requested > 0) + 8 * (t.kind NOT IN ('export_vm', 'verify') AND EXISTS"
    " (SELECT 1 FROM task f WHERE f.job = t.job AND f.state = 'failed' AND f.kind NOT IN ('export_vm', 'verify')))",
    "SELECT 'ran too early', t.id FROM task t WHERE t.state IN ('running', 'succeeded', 'failed') AND t.unmet > 0",
    "SELECT 'times', id FROM task WHERE (state = 'running') AND (started_at_ms = 0 OR finished_at_ms <> 0)"
    " OR (state IN ('succeeded', 'failed', 'cancelled')) <> (finished_at_ms > 0)",
    "SELECT 'error', id FROM task WHERE (state = 'failed' AND error IS NULL) OR (state IN ('running', 'succeeded', 'cancelled') AND error IS NOT NULL)",
    /* the last event tells the state: each move has its event, in the same transaction */
    "WITH last AS (SELECT data ->> '$.task' AS task, max(id) AS id FROM event WHERE type LIKE 'task_%' GROUP BY 1)"
    " SELECT 'task event', t.id, t.state, e.data FROM task t LEFT JOIN last ON last.task = t.id LEFT JOIN event e ON e.id = last.id"
    " WHERE t.state <> 'skipped' AND coalesce(e.data ->> '$.state', 'pending') <> t.state",
    "WITH last AS (SELECT job, max(id) AS id FROM event WHERE type LIKE 'job_%' AND data ->> '$.state' IS NOT NULL GROUP BY job)"
    " SELECT 'job event', j.seq, j.state, e.data FROM job j LEFT JOIN last ON last.job = j.seq LEFT JOIN event e ON e.id = last.id"
    " WHERE e.data ->> '$.state' IS NOT j.state",
};

void check_consistent(const char *path)
{
    sqlite3 *conn = look(path);
    struct strbuf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        query(conn, rules[i], &out);
        if (out.len)
            fail_msg("inconsistent: %.2000s", out.data);
    }
    query(conn, "PRAGMA integrity_check", &out);
    assert_string_equal(out.data, "ok");
    strbuf_free(&out);
    sqlite3_close(conn);
}

char *dump_all(const char *path)
{
    static const char *const tables[] = {"job", "disk", "task", "task_need", "resource", "transfer", "event", "credential"};
    sqlite3 *conn = look(path);
    struct strbuf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        AUTO_FREE char *sql = str_printf("SELECT '%s', * FROM %s ORDER BY 2, 3", tables[i], tables[i]);
        query(conn, sql, &out);
    }
    sqlite3_close(conn);
    return strbuf_steal(&out);
}

struct needle { const char *dir, *secret; };

static int look_into(void *arg, const char *name)
{
    const struct needle *n = arg;
    AUTO_FREE char *path = os_path_join(n->dir, name), *data = NULL;
    size_t len;
    struct err err;
    ok(os_read_file(path, 64u << 20, &data, &len, &err));
    if (tmp_contains(data, len, n->secret))
        fail_msg("a secret lies in %s", name);
    return 0;
}

void assert_not_in_files(const char *dir, const char *secret)
{
    struct needle n = {dir, secret};
    struct err err;
    ok(os_list_dir(dir, look_into, &n, &err));
}

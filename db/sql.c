#include "db/sql.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/os.h"

#define STATEMENTS_MAX 256

static enum err_code code_of(int rc, int os_code)
{
    if (rc == SQLITE_IOERR_NOMEM)
        return ERR_OOM;
    switch (rc & 0xFF) {
    case SQLITE_NOMEM: return ERR_OOM;
    case SQLITE_FULL: return ERR_DISK_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_DB_DAMAGED;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return ERR_PERMISSION;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: {
        enum err_code os = os_code ? os_error_code(os_code) : ERR_OK;
        return os == ERR_DISK_FULL || os == ERR_PERMISSION || os == ERR_OOM ? os : ERR_DB;
    }
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT: return ERR_INTERNAL;     /* the program asked for something that the schema forbids */
    default: return ERR_DB;
    }
}

int sql_error(struct db *db, int rc, struct err *e)
{
    int os_code = db->conn ? sqlite3_system_errno(db->conn) : 0;
    const char *text = db->conn && sqlite3_errcode(db->conn) ? sqlite3_errmsg(db->conn) : sqlite3_errstr(rc);
    const char *path = db->conn ? sqlite3_db_filename(db->conn, "main") : NULL;
    enum err_code code = code_of(rc, os_code);
    if ((rc & 0xFF) == SQLITE_BUSY)
        err_set(e, code, "the database %s stayed locked by another writer", path ? path : "");
    else
        err_set(e, code, "the database %s could not be used: %s (SQLite %d)", path ? path : "", text, rc);
    e->os_code = rc;
    return -(int)code;
}

int sql_damaged(struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_set(e, ERR_DB_DAMAGED, "%s", "");
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return -ERR_DB_DAMAGED;
}

static int statement(struct db *db, const char *sql, sqlite3_stmt **ret, struct err *e)
{
    for (size_t i = 0; i < db->n_cache; i++)
        if (db->cache[i].sql == sql) {
            if (sqlite3_stmt_busy(db->cache[i].stmt))
                return err_set(e, ERR_INTERNAL, "a statement was used inside itself: %s", sql);
            *ret = db->cache[i].stmt;
            return 0;
        }
    if (db->n_cache == STATEMENTS_MAX)
        return err_set(e, ERR_INTERNAL, "too many kinds of statements on one connection");
    if (db->n_cache == db->cache_size) {
        size_t size = db->cache_size ? db->cache_size * 2 : 32;
        struct sql_cached *cache = realloc(db->cache, size * sizeof *cache);
        if (!cache)
            return err_oom(e);
        db->cache = cache;
        db->cache_size = size;
    }
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v3(db->conn, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (rc)
        return sql_error(db, rc, e);
    db->cache[db->n_cache++] = (struct sql_cached){.sql = sql, .stmt = stmt};
    *ret = stmt;
    return 0;
}

void sql_done(sqlite3_stmt **q)
{
    if (*q) {
        sqlite3_reset(*q);
        sqlite3_clear_bindings(*q);
    }
    *q = NULL;
}

int sql_query_args(struct db *db, sqlite3_stmt **ret, struct err *e, const char *sql, const struct sql_arg *args)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = statement(db, sql, &q, e);
    if (r < 0)
        return r;
    for (int i = 0; args[i].type != SQL_END; i++) {
        const struct sql_arg *a = &args[i];
        int rc;
        if (a->type == SQL_INT)
            rc = sqlite3_bind_int64(q, i + 1, a->i);
        else if (!a->p)
            rc = sqlite3_bind_null(q, i + 1);
        else if (a->type == SQL_TEXT)
            rc = sqlite3_bind_text(q, i + 1, a->p, -1, SQLITE_STATIC);
        else
            rc = sqlite3_bind_blob64(q, i + 1, a->p, a->n, SQLITE_STATIC);
        if (rc)
            return sql_error(db, rc, e);
    }
    *ret = STEAL(q);
    return 0;
}

int sql_step(struct db *db, sqlite3_stmt *q, struct err *e)
{
    int rc = sqlite3_step(q);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : sql_error(db, rc, e);
}

int sql_run_args(struct db *db, struct err *e, const char *sql, const struct sql_arg *args)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query_args(db, &q, e, sql, args);
    if (r < 0)
        return r;
    while ((r = sql_step(db, q, e)) > 0)
        ;
    return r < 0 ? r : sqlite3_changes(db->conn);
}

int sql_int_args(struct db *db, int64_t *ret, struct err *e, const char *sql, const struct sql_arg *args)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query_args(db, &q, e, sql, args);
    if (r < 0)
        return r;
    r = sql_step(db, q, e);
    if (r >= 0)
        *ret = r ? sql_i64(q, 0) : 0;
    return r;
}

int sql_dup(sqlite3_stmt *q, int col, char **ret, struct err *e)
{
    *ret = NULL;
    if (sqlite3_column_type(q, col) == SQLITE_NULL)
        return 0;
    *ret = str_dup(sql_text(q, col));
    return *ret ? 0 : err_oom(e);
}

int sql_json(sqlite3_stmt *q, int col, json_t **ret, struct err *e)
{
    *ret = NULL;
    if (sqlite3_column_type(q, col) == SQLITE_NULL)
        return 0;
    const char *text = sql_text(q, col);
    if (!text)
        return err_oom(e);
    json_error_t je;
    *ret = json_loads(text, 0, &je);
    if (*ret)
        return 0;
    if (!je.text[0] || json_error_code(&je) == json_error_out_of_memory)     /* no memory at all: jansson says nothing then */
        return err_oom(e);
    return sql_damaged(e, "the database holds a value that is not valid JSON: %s", je.text);
}

int sql_member(const json_t *o, const char *key, char **ret, struct err *e)
{
    const char *s = json_string_value(json_object_get(o, key));
    *ret = str_dup(s);
    return s && !*ret ? err_oom(e) : 0;
}

int sql_dump(const json_t *json, char **ret, struct err *e)
{
    *ret = NULL;
    if (!json)
        return 0;
    /* Not json_dumps: when memory runs out within a member's name it goes on without it, and what comes out is no JSON. */
    size_t n = json_dumpb(json, NULL, 0, JSON_COMPACT);
    AUTO_FREE char *text = n ? malloc(n + 1) : NULL;
    if (!text || json_dumpb(json, text, n, JSON_COMPACT) != n)
        return err_oom(e);
    text[n] = 0;
    *ret = STEAL(text);
    return 0;
}

void sql_copy(sqlite3_stmt *q, int col, char *buf, size_t size)
{
    const char *text = sql_text(q, col);
    snprintf(buf, size, "%s", text ? text : "");
}

/* The writers of this process wait for each other here. SQLite's own wait for its lock is a poll with growing pauses that knows no
 * turns: under load a writer would lose for seconds. It stays for other processes, and for who finds this turn taken too long. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
#define TURN_TIMEOUT_S 10

static bool take_turn(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TURN_TIMEOUT_S;
    return pthread_mutex_timedlock(&turn, &until) == 0;
}

/* The transaction is over. */
static void end(struct sql_tx *tx)
{
    tx->db->in_tx = false;
    tx->db = NULL;
    if (tx->has_turn)
        pthread_mutex_unlock(&turn);
    tx->has_turn = false;
}

static int begin(struct db *db, struct sql_tx *tx, const char *sql, bool writes, struct err *e)
{
    if (db->in_tx)
        return err_set(e, ERR_INTERNAL, "a transaction was begun inside another");
    bool has_turn = writes && take_turn();
    int r = sql_run_args(db, e, sql, SQL_ARGS());
    if (r < 0) {
        if (has_turn)
            pthread_mutex_unlock(&turn);
        return r;
    }
    db->in_tx = true;
    tx->db = db;
    tx->has_turn = has_turn;
    return 0;
}

int sql_begin(struct db *db, struct sql_tx *tx, struct err *e)
{
    return begin(db, tx, "BEGIN IMMEDIATE", true, e);
}

int sql_begin_read(struct db *db, struct sql_tx *tx, struct err *e)
{
    return begin(db, tx, "BEGIN", false, e);
}

int sql_commit(struct sql_tx *tx, struct err *e)
{
    int r = sql_run(tx->db, e, "COMMIT");
    if (r < 0)
        return r;                                    /* still open: AUTO_TX rolls back */
    end(tx);
    return 0;
}

void sql_rollback(struct sql_tx *tx)
{
    if (!tx->db)
        return;
    /* SQLite has rolled back by itself after some errors (disk full, I/O): then there is nothing left to do. */
    if (!sqlite3_get_autocommit(tx->db->conn)) {
        struct err ignored;
        sql_run(tx->db, &ignored, "ROLLBACK");
    }
    end(tx);
}

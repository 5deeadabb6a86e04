/* Statements and transactions, for the files of db/ only. SQL text is always a literal: it is the key of the connection's
 * cache of prepared statements, and values are bound, never printed into it.
 *
 *   AUTO_TX struct sql_tx tx = {0};                       // rolls back on every early return
 *   if ((r = sql_begin(db, &tx, e)) < 0) return r;
 *   if ((r = sql_run(db, e, "UPDATE job SET paused = 1 WHERE seq = ?1", SI(seq))) < 0) return r;
 *   return sql_commit(&tx, e);
 *
 *   AUTO_STMT sqlite3_stmt *q = NULL;                     // reset and unbound when it goes out of scope
 *   if ((r = sql_query(db, &q, e, "SELECT id FROM job WHERE state = ?1", SS("queued"))) < 0) return r;
 *   while ((r = sql_step(db, q, e)) > 0) ... sql_text(q, 0) ... */
#ifndef VMR_DB_SQL_H
#define VMR_DB_SQL_H

#include <jansson.h>
#include <sqlite3.h>
#include <stdint.h>

#include "db/db.h"

struct db {
    sqlite3 *conn;
    struct secret_box *box;
    struct sql_cached { const char *sql; sqlite3_stmt *stmt; } *cache;
    size_t n_cache, cache_size;
    bool in_tx;
};

struct sql_arg {
    enum { SQL_END, SQL_INT, SQL_TEXT, SQL_BLOB } type;
    int64_t i;
    const void *p;                                   /* NULL binds NULL */
    size_t n;
};
#define SI(v) ((struct sql_arg){.type = SQL_INT, .i = (int64_t)(v)})
#define SU(v) SI(sql_clamp(v))
#define SS(v) ((struct sql_arg){.type = SQL_TEXT, .p = (v)})
#define SB(v, len) ((struct sql_arg){.type = SQL_BLOB, .p = (v), .n = (len)})
#define SQL_ARGS(...) ((const struct sql_arg[]){__VA_ARGS__ __VA_OPT__(, ) {.type = SQL_END}})
#define AUTO_STMT AUTO(sql_done)
#define AUTO_TX AUTO(sql_rollback)

/* SQLite's integers are signed: what is larger than they can hold is stored as the largest. */
static inline int64_t sql_clamp(uint64_t v) { return v > INT64_MAX ? INT64_MAX : (int64_t)v; }

/* Binds the values in the order of ?1, ?2, ... The texts and blobs must live until the statement is done. */
#define sql_query(db, ret, e, sql, ...) sql_query_args(db, ret, e, sql, SQL_ARGS(__VA_ARGS__))
int sql_query_args(struct db *db, sqlite3_stmt **ret, struct err *e, const char *sql, const struct sql_arg *args);
int sql_step(struct db *db, sqlite3_stmt *q, struct err *e);           /* 1: a row, 0: no more, else an error */
void sql_done(sqlite3_stmt **q);
/* Runs to the end; returns the number of rows changed, or an error. Rows that it gives are thrown away. */
#define sql_run(db, e, sql, ...) sql_run_args(db, e, sql, SQL_ARGS(__VA_ARGS__))
int sql_run_args(struct db *db, struct err *e, const char *sql, const struct sql_arg *args);
/* One integer of one row: 1, or 0 when there is no row (then *ret is 0). */
#define sql_int(db, ret, e, sql, ...) sql_int_args(db, ret, e, sql, SQL_ARGS(__VA_ARGS__))
int sql_int_args(struct db *db, int64_t *ret, struct err *e, const char *sql, const struct sql_arg *args);

static inline int64_t sql_i64(sqlite3_stmt *q, int col) { return sqlite3_column_int64(q, col); }
static inline uint64_t sql_u64(sqlite3_stmt *q, int col) { int64_t v = sqlite3_column_int64(q, col); return v < 0 ? 0 : (uint64_t)v; }
static inline const char *sql_text(sqlite3_stmt *q, int col) { return (const char *)sqlite3_column_text(q, col); }
int sql_dup(sqlite3_stmt *q, int col, char **ret, struct err *e);      /* NULL gives NULL; caller frees */
int sql_json(sqlite3_stmt *q, int col, json_t **ret, struct err *e);   /* NULL gives NULL; new reference */
int sql_member(const json_t *o, const char *key, char **ret, struct err *e);    /* a text of it; absent gives NULL; caller frees */
int sql_dump(const json_t *json, char **ret, struct err *e);           /* compact text; NULL gives NULL; caller frees */
void sql_copy(sqlite3_stmt *q, int col, char *buf, size_t size);       /* cut to size; NULL gives "" */

struct sql_tx { struct db *db; bool has_turn; };
int sql_begin(struct db *db, struct sql_tx *tx, struct err *e);        /* to write: IMMEDIATE */
int sql_begin_read(struct db *db, struct sql_tx *tx, struct err *e);   /* one view for several reads */
int sql_commit(struct sql_tx *tx, struct err *e);
void sql_rollback(struct sql_tx *tx);                /* no-op when committed or never begun */

/* What SQLite answered as ours: returns the negative code, never 0. */
int sql_error(struct db *db, int rc, struct err *e);
/* A stored value that this program would never have written. */
int sql_damaged(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* migrate.c: brings a database that is open and in WAL mode to the newest schema, in one transaction. */
int migrate(struct db *db, struct err *e);
/* 0 when the schema is the newest; ERR_DB when it is older or none, ERR_DB_NEWER, ERR_DB_DAMAGED for another program's file. */
int migrate_check(struct db *db, struct err *e);

#endif

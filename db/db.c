/* Opening. A file that is damaged, of another program or of a newer version must come out of it byte for byte as it was:
 * it is looked at before anything is written, and until it has passed, closing does not fold the WAL into it. */
#include "db/db.h"

#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "db/sql.h"

#define BUSY_TIMEOUT_MS 10000
/* Up to this size the whole file is checked at the start (about a second from a slow disk); of a larger one only the
 * tables that the queue lives from. */
#define CHECK_WHOLE_BYTES (64u << 20)
#define WAL_KEPT_BYTES "16777216"                    /* the WAL is cut back to this after a checkpoint */

static const char magic[16] = "SQLite format 3";     /* with its NUL: the first 16 bytes of every database */

void db_close(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->n_cache; i++)
        sqlite3_finalize(db->cache[i].stmt);
    free(db->cache);
    sqlite3_close(db->conn);
    free(db);
}

static int pragma(struct db *db, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(db->conn, sql, NULL, NULL, NULL);
    return rc ? sql_error(db, rc, e) : 0;
}

static int connect_file(const char *path, struct secret_box *box, struct db **ret, struct err *e)
{
    AUTO(db_close_ptr) struct db *db = calloc(1, sizeof *db);
    if (!db)
        return err_oom(e);
    db->box = box;
    AUTO_FREE char *native = os_native_path(path);
    if (!native)
        return err_oom(e);
    int rc = sqlite3_open_v2(native, &db->conn, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc) {
        int r = sql_error(db, rc, e);
        err_prefix(e, "opening %s", path);
        return r;
    }
    sqlite3_busy_timeout(db->conn, BUSY_TIMEOUT_MS);
    sqlite3_db_config(db->conn, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->conn, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int r = pragma(db, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                       "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = " WAL_KEPT_BYTES, e);
    if (r < 0)
        return r;
    *ret = STEAL(db);
    return 0;
}

/* Sound as far as its first bytes tell. *ret_new: there is none yet, or an empty one. */
static int look_at_file(const char *path, bool *ret_new, struct err *e)
{
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r < 0)
        return r;
    if (st.exists && !st.is_file)
        return err_set(e, ERR_DB_DAMAGED, "%s is not a file", path);
    if (!st.exists || !st.size) {
        AUTO_FREE char *wal = str_printf("%s-wal", path);
        if (!wal)
            return err_oom(e);
        /* SQLite writes the first page before it writes a WAL: a WAL beside nothing means that the file was lost. */
        if ((r = os_stat(wal, &st, e)) < 0)
            return r;
        if (st.exists && st.size)
            return err_set(e, ERR_DB_DAMAGED, "%s is missing or empty, yet its write-ahead log %s is there", path, wal);
        *ret_new = true;
        return 0;
    }
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    char head[sizeof magic];
    size_t n;
    if ((r = os_file_open(path, OS_READ, &f, e)) < 0 || (r = os_file_read_some(f, head, sizeof head, 0, &n, e)) < 0)
        return r;
    if (n < sizeof head || memcmp(head, magic, sizeof head) != 0)
        return err_set(e, ERR_DB_DAMAGED, "%s is not an SQLite database, or its beginning is damaged", path);
    *ret_new = false;
    return 0;
}

static int check_one(struct db *db, const char *sql, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query_args(db, &q, e, sql, SQL_ARGS());
    if (r < 0 || (r = sql_step(db, q, e)) <= 0)
        return r;
    const char *text = sql_text(q, 0);
    if (text && !strcmp(text, "ok"))
        return 0;
    return sql_damaged(e, "%s is damaged: %s", sqlite3_db_filename(db->conn, "main"), text ? text : "no answer from the check");
}

static int check_pages(struct db *db, struct err *e)
{
    int64_t pages, page_bytes;
    int r;
    if ((r = sql_int(db, &pages, e, "PRAGMA page_count")) < 0 || (r = sql_int(db, &page_bytes, e, "PRAGMA page_size")) < 0)
        return r;
    if (pages * page_bytes <= CHECK_WHOLE_BYTES)
        return check_one(db, "PRAGMA quick_check(1)", e);
    static const char *const tables[] = {"PRAGMA quick_check('job')", "PRAGMA quick_check('disk')", "PRAGMA quick_check('task')",
                                         "PRAGMA quick_check('resource')", "PRAGMA quick_check('credential')"};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        if ((r = check_one(db, tables[i], e)) < 0)
            return r;
    return 0;
}

int db_create(const char *path, struct secret_box *box, struct db **ret, struct err *e)
{
    bool is_new = false;
    int r = look_at_file(path, &is_new, e);
    if (r < 0)
        return r;
    if (is_new) {                                    /* made here for its mode; SQLite gives it to the WAL as well */
        AUTO(os_file_close_ptr) struct os_file *f = NULL;
        if ((r = os_file_open(path, OS_WRITE | OS_CREATE | OS_PRIVATE, &f, e)) < 0)
            return r;
    }
    AUTO(db_close_ptr) struct db *db = NULL;
    if ((r = connect_file(path, box, &db, e)) < 0)
        return r;
    if (!is_new) {
        r = migrate_check(db, e);
        if (r < 0 && r != -ERR_DB)                   /* ERR_DB: older, to be migrated */
            return r;
        if ((r = check_pages(db, e)) < 0)
            return r;
    }
    if ((r = pragma(db, "PRAGMA journal_mode = WAL", e)) < 0 || (r = migrate(db, e)) < 0)
        return r;
    sqlite3_db_config(db->conn, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    *ret = STEAL(db);
    return 0;
}

int db_open(const char *path, struct secret_box *box, struct db **ret, struct err *e)
{
    AUTO(db_close_ptr) struct db *db = NULL;
    int r;
    if ((r = connect_file(path, box, &db, e)) < 0 || (r = migrate_check(db, e)) < 0)
        return r;
    sqlite3_db_config(db->conn, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    *ret = STEAL(db);
    return 0;
}

/* The database: one SQLite file, WAL, synchronous=FULL, foreign keys on, strict tables, migrations by user_version. The
 * only folder with SQL. A struct db is one connection and belongs to one thread at a time (each worker and each HTTP
 * thread has its own). Every function that changes something is one IMMEDIATE transaction: after it returned 0 the
 * change is durable, after an error nothing has changed. Waits up to 10 s for another writer, then ERR_DB (retryable).
 * All functions: ERR_DB, ERR_DB_DAMAGED, ERR_OOM, ERR_DISK_FULL besides what their comment says. */
#ifndef VMR_DB_DB_H
#define VMR_DB_DB_H

#include "common/error.h"
#include "common/mem.h"
#include "common/secret.h"

struct db;
/* Opens (db_create: makes and migrates too; call once at the start, before the others). ERR_DB_NEWER for a schema that
 * this program does not know, ERR_DB_DAMAGED for a file that is no sound database (it is left as it is). `box` seals
 * the secrets in it and must outlive the connection. */
int db_create(const char *path, struct secret_box *box, struct db **ret, struct err *e);
int db_open(const char *path, struct secret_box *box, struct db **ret, struct err *e);
void db_close(struct db *db);                        /* NULL is a no-op */
DEFINE_AUTO(struct db, db_close)

#endif

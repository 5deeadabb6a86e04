/* Versions of the schema. PRAGMA user_version is the number of steps that a database has seen; a new version is one more
 * row in `steps`. All missing steps and the new number are one transaction, so a crash leaves the old version or the new one. */
#include <inttypes.h>

#include "common/embed.h"
#include "db/sql.h"

EMBED(migrate_schema_sql, "db/schema.sql");
extern const char migrate_schema_sql[];

#define APPLICATION_ID 0x766d7276                    /* as schema.sql sets it */

static const char *const steps[] = {
    migrate_schema_sql,
    /* what tells a file that we made from another at the same path (os_file_id); NULL: it lies where only we write */
    "ALTER TABLE resource ADD COLUMN proof TEXT",
    /* what a credential has besides its secret (credential.c); NULL: account_key and sas, which have none */
    "ALTER TABLE credential ADD COLUMN settings TEXT",
    /* Disks in Azure. origin: the entry of the request that a disk stands for (NULL: its own). target: what was found there, JSON. access: how
     * it can be read at present, JSON; a URL with its SAS is in sealed_url. intents: how often a resource was meant to be made: whoever gives
     * it back forgets it only when nobody meant it again meanwhile. */
    "ALTER TABLE disk ADD COLUMN origin INTEGER;"
    "ALTER TABLE disk ADD COLUMN target TEXT;"
    "ALTER TABLE disk ADD COLUMN access TEXT;"
    "ALTER TABLE disk ADD COLUMN storage_credential TEXT;"
    "CREATE INDEX disk_by_storage_credential ON disk (storage_credential, job) WHERE storage_credential IS NOT NULL;"
    "ALTER TABLE resource ADD COLUMN intents INTEGER NOT NULL DEFAULT 1;"
    "CREATE INDEX resource_by_kind ON resource (kind)",
    /* the volume that the job's disks are put on, as the service plans it and how far it is made; JSON, the service's */
    "ALTER TABLE job ADD COLUMN volume TEXT",
};

/* Tells what the file is: 0 with its version, or why it is not ours. A file without any table is version 0. */
static int version_of(struct db *db, int64_t *ret, struct err *e)
{
    int64_t application, version, tables;
    int r;
    if ((r = sql_int(db, &application, e, "PRAGMA application_id")) < 0 || (r = sql_int(db, &version, e, "PRAGMA user_version")) < 0 ||
        (r = sql_int(db, &tables, e, "SELECT count(*) FROM sqlite_schema")) < 0)
        return r;
    const char *path = sqlite3_db_filename(db->conn, "main");
    bool empty = !application && !version && !tables;
    if (!empty && application != APPLICATION_ID) {
        err_set(e, ERR_DB_DAMAGED, "%s is a database of another program (application id 0x%" PRIx64 ")", path, (uint64_t)application);
        return err_hint(e, "Use another data folder, or move that file away; it is not overwritten.");
    }
    if (version > (int64_t)ARRAY_LEN(steps))
        return err_set(e, ERR_DB_NEWER, "%s has schema version %" PRId64 "; this program knows versions up to %zu", path, version, ARRAY_LEN(steps));
    if (!empty && version < 1)
        return sql_damaged(e, "%s has no valid schema version (%" PRId64 ")", path, version);
    *ret = version;
    return 0;
}

int migrate(struct db *db, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t version;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = version_of(db, &version, e)) < 0)
        return r;
    if (version == (int64_t)ARRAY_LEN(steps))
        return 0;
    for (size_t i = (size_t)version; i < ARRAY_LEN(steps); i++) {
        int rc = sqlite3_exec(db->conn, steps[i], NULL, NULL, NULL);
        if (rc)
            return sql_error(db, rc, e);
    }
    char sql[64];
    sqlite3_snprintf(sizeof sql, sql, "PRAGMA user_version = %d", (int)ARRAY_LEN(steps));    /* pragmas take no bound values */
    int rc = sqlite3_exec(db->conn, sql, NULL, NULL, NULL);
    if (rc)
        return sql_error(db, rc, e);
    return sql_commit(&tx, e);
}

int migrate_check(struct db *db, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t version;
    int r;
    if ((r = sql_begin_read(db, &tx, e)) < 0 || (r = version_of(db, &version, e)) < 0)
        return r;
    if (version != (int64_t)ARRAY_LEN(steps))
        return err_set(e, ERR_DB, "%s has schema version %" PRId64 " and must be migrated first", sqlite3_db_filename(db->conn, "main"), version);
    return 0;
}

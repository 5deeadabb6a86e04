#include "db/reserve.h"

#include "common/log.h"
#include "common/os.h"
#include "db/sql.h"

#define AMPLE_BYTES (RESERVE_BYTES * 16)
#define CHUNK ((size_t)1 << 16)

static char *path_of(const char *db_path)
{
    return str_printf("%s.reserve", db_path);
}

int reserve_keep(const char *db_path, struct err *e)
{
    AUTO_FREE char *path = path_of(db_path), *chunk = malloc(CHUNK);
    struct os_stat st;
    uint64_t room = 0;
    if (!path || !chunk)
        return err_oom(e);
    int r = os_stat(path, &st, e);
    if (r < 0 || st.size == RESERVE_BYTES || (r = os_free_space(db_path, &room, e)) < 0 || room < AMPLE_BYTES)
        return r;
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    if ((r = os_random(chunk, CHUNK, e)) < 0)         /* nothing that a file system could store for less */
        return r;
    if ((r = os_file_open(path, OS_WRITE | OS_CREATE | OS_TRUNCATE | OS_PRIVATE, &f, e)) < 0)
        return r;
    for (uint64_t at = 0; r == 0 && at < RESERVE_BYTES; at += CHUNK)
        r = os_file_pwrite(f, chunk, CHUNK, at, e);
    if (r < 0) {
        struct err ignored;
        os_file_close(STEAL(f));
        os_remove(path, &ignored);
    }
    return r;
}

bool reserve_release(struct db *db)
{
    AUTO_FREE char *path = path_of(sqlite3_db_filename(db->conn, "main"));
    struct os_stat st;
    struct err e;
    if (!path || os_stat(path, &st, &e) < 0 || !st.exists || os_remove(path, &e) < 0)
        return false;
    log_warning("the disk is full: the space kept for this is given back", KS("path", path), KI("bytes", st.size));
    return true;
}

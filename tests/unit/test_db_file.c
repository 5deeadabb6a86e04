/* The file: what is made, what is refused and left as it is, a process killed within transactions, and writes and allocations
 * that fail one after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/os.h"
#include "db/access.h"
#include "db/credential.h"
#include "db/event.h"
#include "db/resource.h"
#include "db/transfer.h"
#include "tests/unit/db_util.h"
#include "tests/unit/tmp.h"

static void close_db(struct fixture *f)
{
    db_close(f->db);
    f->db = NULL;
}

static void change(const char *path, const char *sql)
{
    sqlite3 *conn;
    char *why = NULL;
    assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
    if (sqlite3_exec(conn, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(conn);
}

static void test_made(void **state)
{
    struct fixture *f = *state;
    struct err err;
    tmp_assert_private(f->path);
    assert_ask(f->path, "PRAGMA journal_mode", "wal");
    assert_ask(f->path, "PRAGMA user_version", "5");
    assert_ask(f->path, "PRAGMA application_id", "1986884214");
    assert_ask(f->path, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%' AND NOT strict", "0");
    int64_t v;
    ok(sql_int(f->db, &v, &err, "PRAGMA synchronous") - 1);
    assert_int_equal(v, 2);
    ok(sql_int(f->db, &v, &err, "PRAGMA foreign_keys") - 1);
    assert_int_equal(v, 1);
    /* once more over the same file keeps what is in it; a second connection sees it */
    char id[UUID_LEN];
    make_job(f->db, NULL, id);
    close_db(f);
    ok(db_create(f->path, f->box, &f->db, &err));
    AUTO(db_close_ptr) struct db *second = NULL;
    ok(db_open(f->path, f->box, &second, &err));
    assert_int_equal(state_of(second, id), JOB_QUEUED);
}

/* db_create and db_open must refuse, and the files must be as before. */
static void refused(struct fixture *f, int code, int open_code)
{
    struct err err;
    size_t n, m;
    AUTO_FREE char *before = NULL, *after = NULL;
    ok(os_read_file(f->path, 64u << 20, &before, &n, &err));
    fails(db_create(f->path, f->box, &f->db, &err), code);
    assert_non_null(strstr(err.msg, "queue.db"));
    if (open_code)
        fails(db_open(f->path, f->box, &f->db, &err), open_code);
    ok(os_read_file(f->path, 64u << 20, &after, &m, &err));
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
}

static void test_newer(void **state)
{
    struct fixture *f = *state;
    close_db(f);
    change(f->path, "PRAGMA user_version = 6");
    refused(f, ERR_DB_NEWER, ERR_DB_NEWER);
}

/* The first schema, with a resource in it, becomes the newest one and keeps it. */
extern const char migrate_schema_sql[];
static void test_version_1(void **state)
{
    struct fixture *f = *state;
    struct err err;
    close_db(f);
    ok(os_remove(f->path, &err));
    change(f->path, migrate_schema_sql);
    change(f->path, "PRAGMA user_version = 1; PRAGMA journal_mode = wal;"
                    "INSERT INTO job (id, spec, state, created_at_ms, updated_at_ms) VALUES ('11111111-2222-4333-8444-555555555555', '{}', 'queued', 1, 1);"
                    "INSERT INTO resource (job, disk, kind, ident, user_data, made) VALUES (1, 0, 'file', '/d/x.vhd', 1, 1);"
                    "INSERT INTO credential (name, type, account, sealed, updated_at_ms) VALUES ('prod', 'account_key', 'acct', x'00', 1)");
    fails(db_open(f->path, f->box, &f->db, &err), ERR_DB);              /* the daemon migrates first */
    ok(db_create(f->path, f->box, &f->db, &err));
    assert_ask(f->path, "PRAGMA user_version", "5");
    struct resource *list;
    size_t n;
    ok(resource_list(f->db, "11111111-2222-4333-8444-555555555555", &list, &n, &err));
    assert_int_equal(n, 1);
    assert_true(list[0].state == RESOURCE_MADE && !list[0].proof && !strcmp(list[0].ident, "/d/x.vhd"));
    resource_list_free(list, n);
    struct credential *creds;
    ok(credential_list(f->db, &creds, &n, &err));
    assert_true(n == 1 && creds[0].type == CREDENTIAL_ACCOUNT_KEY && !strcmp(creds[0].account, "acct") && !creds[0].client_id && !creds[0].signed_in);
    credential_list_free(creds, n);
}

static void test_foreign(void **state)
{
    struct fixture *f = *state;
    struct err err;
    close_db(f);
    ok(os_remove(f->path, &err));
    change(f->path, "CREATE TABLE notes (t TEXT)");
    refused(f, ERR_DB_DAMAGED, ERR_DB_DAMAGED);
    change(f->path, "PRAGMA application_id = 4711");
    refused(f, ERR_DB_DAMAGED, ERR_DB_DAMAGED);
}

static void test_no_database(void **state)
{
    struct fixture *f = *state;
    struct err err;
    close_db(f);
    static const char *const contents[] = {"x", "SQLite format 3", "this is a text file that someone put there by mistake\n"};
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        ok(os_write_file(f->path, contents[i], strlen(contents[i]), 0, &err));
        refused(f, ERR_DB_DAMAGED, 0);
    }
    ok(os_remove(f->path, &err));
    assert_true(db_open(f->path, f->box, &f->db, &err) < 0);         /* opening makes nothing */
    struct os_stat st;
    ok(os_stat(f->path, &st, &err));
    assert_false(st.exists);
    ok(os_mkdirs(f->path, 0, &err));
    fails(db_create(f->path, f->box, &f->db, &err), ERR_DB_DAMAGED);
}

/* A database of some pages, closed, nothing left in the WAL. */
static size_t filled(struct fixture *f)
{
    struct err err;
    struct os_stat st;
    char id[UUID_LEN];
    sqlite3_exec(f->db->conn, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    for (int i = 0; i < 60; i++)
        make_job(f->db, NULL, id);
    close_db(f);
    ok(os_stat(f->path, &st, &err));
    assert_true(st.size > 80000);
    return st.size;
}

static void test_damaged_pages(void **state)
{
    struct fixture *f = *state;
    struct err err;
    size_t size = filled(f), len;
    AUTO_FREE char *good = NULL;
    ok(os_read_file(f->path, 64u << 20, &good, &len, &err));
    int found = 0, pages = 0;
    for (size_t at = 4096; at < size; at += 4096, pages++) {         /* each page in turn: its b-tree header destroyed */
        AUTO_FREE char *bad = malloc(len);
        memcpy(bad, good, len);
        memset(bad + at, 0xA5, 64);
        ok(os_write_file(f->path, bad, len, 0, &err));
        int r = db_create(f->path, f->box, &f->db, &err);
        if (r == 0) {
            close_db(f);
            continue;
        }
        assert_int_equal(r, -ERR_DB_DAMAGED);
        found++;
        AUTO_FREE char *after = NULL;
        size_t n;
        ok(os_read_file(f->path, 64u << 20, &after, &n, &err));
        assert_int_equal(n, len);
        assert_memory_equal(after, bad, len);
    }
    assert_int_equal(found, pages);
    /* cut short, at a page and within one */
    size_t cuts[] = {size / 2 / 4096 * 4096, size / 2 + 1000, 4096, 100, 20};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        ok(os_write_file(f->path, good, cuts[i], 0, &err));
        refused(f, ERR_DB_DAMAGED, 0);
    }
    ok(os_write_file(f->path, good, len, 0, &err));
    ok(db_create(f->path, f->box, &f->db, &err));
    check_consistent(f->path);
}

/* With a WAL beside it, as after a crash: closing what was refused must not fold the one into the other. */
static void test_damaged_beside_a_wal(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    AUTO_FREE char *wal_path = str_printf("%s-wal", f->path), *file = NULL, *wal = NULL;
    size_t n, wal_n;
    filled(f);
    ok(db_open(f->path, f->box, &f->db, &err));
    make_job(f->db, NULL, id);
    ok(os_read_file(f->path, 64u << 20, &file, &n, &err));
    ok(os_read_file(wal_path, 64u << 20, &wal, &wal_n, &err));
    assert_true(wal_n > 4096);
    close_db(f);
    memset(file + 4096, 0xA5, n - 4096);
    ok(os_write_file(f->path, file, n, 0, &err));
    ok(os_write_file(wal_path, wal, wal_n, 0, &err));
    refused(f, ERR_DB_DAMAGED, 0);
    AUTO_FREE char *still = NULL;
    size_t m;
    ok(os_read_file(wal_path, 64u << 20, &still, &m, &err));
    assert_int_equal(m, wal_n);
    assert_memory_equal(still, wal, m);
}

static void test_lost_but_for_the_wal(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char id[UUID_LEN];
    AUTO_FREE char *wal = str_printf("%s-wal", f->path), *kept = NULL, *still = NULL;
    size_t n, m;
    make_job(f->db, NULL, id);
    ok(os_read_file(wal, 64u << 20, &kept, &n, &err));
    assert_true(n > 4096);
    close_db(f);
    ok(os_remove(f->path, &err));
    ok(os_write_file(wal, kept, n, 0, &err));
    fails(db_create(f->path, f->box, &f->db, &err), ERR_DB_DAMAGED);
    ok(os_read_file(wal, 64u << 20, &still, &m, &err));
    assert_int_equal(n, m);
    assert_memory_equal(kept, still, n);
}

static void test_damage_met_later(void **state)
{
    struct fixture *f = *state;
    struct err err;
    uint64_t counts[JOB_STATES];
    char id[UUID_LEN];
    make_job(f->db, NULL, id);
    change(f->path, "PRAGMA ignore_check_constraints = ON; UPDATE job SET state = 'dancing'");
    struct job *j;
    fails(job_get(f->db, id, &j, &err), ERR_DB_DAMAGED);
    fails(job_counts(f->db, counts, &err), ERR_DB_DAMAGED);
    fails(job_pause(f->db, id, &err), ERR_DB_DAMAGED);
    change(f->path, "UPDATE job SET state = 'queued', spec = '{}'");
    fails(job_get(f->db, id, &j, &err), ERR_DB_DAMAGED);
    change(f->path, "UPDATE job SET spec = 'no json'");
    fails(job_get(f->db, id, &j, &err), ERR_DB_DAMAGED);
}

/* ---- killed ---- */

/* Writes a byte after each round, so that it is killed at work and not before. */
static int busy_child(const char *dir, const char *path, const char *number)
{
    struct err err;
    struct db *db;
    struct secret_box *box;
    char id[UUID_LEN];
    if (secret_open(dir, &box, &err) < 0 || db_create(path, box, &db, &err) < 0)
        return 3;
    sqlite3_wal_autocheckpoint(db->conn, 20);        /* kills within checkpoints as well */
    task_recover(db, NULL, &err);
    for (uint32_t seed = (uint32_t)atoi(number);; seed = seed * 1664525 + 1013904223) {
        struct task t;
        if ((seed >> 8) % 4 == 0)
            make_job(db, NULL, id);
        else if ((seed >> 8) % 16 == 1)
            job_cancel(db, id, &err);
        else if ((seed >> 8) % 16 == 2)
            job_retry(db, id, &err);
        else if (task_claim(db, (enum task_lane)((seed >> 12) % LANES), &t, NULL, &err) == 0) {
            enum task_outcome o = (seed >> 16) % 8 == 0 ? OUTCOME_FAILED : (seed >> 16) % 8 == 1 ? OUTCOME_PARKED : OUTCOME_SUCCEEDED;
            if ((seed >> 20) % 8)
                task_finish(db, t.id, o, NULL, 0, NULL, &err);
            task_clear(&t);
        }
        if (putchar('.') < 0 || fflush(stdout))
            return 4;
    }
}

static void test_killed(void **state)
{
    struct fixture *f = *state;
    struct err err;
    size_t recovered, total = 0;
    close_db(f);
    AUTO_FREE char *valgrind = os_getenv("VALGRIND"), *log = tmp_path(f->dir, "log");
    int kills = valgrind ? 4 : 15;
    for (int i = 0; i < kills; i++) {
        char seed[16];
        struct os_stat st = {0};
        snprintf(seed, sizeof seed, "%d", i * 77 + 1);
        ok(os_remove(log, &err));
        int64_t pid = tmp_start(log, (const char *const[]){f->dir, f->path, seed, NULL});
        for (int64_t until = clock_mono_ms() + 60000; st.size < 40u + (unsigned)i; clock_sleep_ms(1)) {
            assert_true(os_process_alive(pid) && clock_mono_ms() < until);
            ok(os_stat(log, &st, &err));
        }
        clock_sleep_ms((unsigned)i * 7 % 60);
        assert_true(os_process_alive(pid));
        tmp_kill(pid);
        ok(db_create(f->path, f->box, &f->db, &err));
        check_consistent(f->path);
        ok(task_recover(f->db, &recovered, &err));
        total += recovered;
        check_consistent(f->path);
        close_db(f);
    }
    AUTO_FREE char *jobs = ask(f->path, "SELECT count(*) FROM job");
    printf("%s jobs, %zu tasks found running over %d kills\n", jobs, total, kills);
    assert_true(atoi(jobs) > kills);
    assert_true(total > 0);
}

/* ---- faults: the Nth write, sync or allocation fails; then either nothing has changed or all of it ---- */

static int fault_at, fault_count, fault_code;        /* fault_at 0: off */

static bool fault(bool memory)
{
    return fault_at && memory == (fault_code == SQLITE_NOMEM) && ++fault_count == fault_at;
}

/* A VFS over the system's own. Each file is this struct with the real one behind it, to which every call is passed on. */
static sqlite3_vfs *real_vfs, faulty_vfs;
struct faulty_file {
    sqlite3_file base;
};
static sqlite3_file *inner(sqlite3_file *f)
{
    return (sqlite3_file *)(void *)((struct faulty_file *)(void *)f + 1);
}
static int f_close(sqlite3_file *f) { return inner(f)->pMethods->xClose(inner(f)); }
static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) { return inner(f)->pMethods->xRead(inner(f), p, n, at); }
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return fault(false) ? fault_code == SQLITE_IOERR ? SQLITE_IOERR_WRITE : fault_code : inner(f)->pMethods->xWrite(inner(f), p, n, at);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 n) { return fault(false) ? SQLITE_IOERR_TRUNCATE : inner(f)->pMethods->xTruncate(inner(f), n); }
static int f_sync(sqlite3_file *f, int flags) { return fault(false) ? SQLITE_IOERR_FSYNC : inner(f)->pMethods->xSync(inner(f), flags); }
static int f_size(sqlite3_file *f, sqlite3_int64 *n) { return inner(f)->pMethods->xFileSize(inner(f), n); }
static int f_lock(sqlite3_file *f, int l) { return inner(f)->pMethods->xLock(inner(f), l); }
static int f_unlock(sqlite3_file *f, int l) { return inner(f)->pMethods->xUnlock(inner(f), l); }
static int f_reserved(sqlite3_file *f, int *r) { return inner(f)->pMethods->xCheckReservedLock(inner(f), r); }
static int f_control(sqlite3_file *f, int op, void *p) { return inner(f)->pMethods->xFileControl(inner(f), op, p); }
static int f_sector(sqlite3_file *f) { return inner(f)->pMethods->xSectorSize(inner(f)); }
static int f_device(sqlite3_file *f) { return inner(f)->pMethods->xDeviceCharacteristics(inner(f)); }
static int f_shm_map(sqlite3_file *f, int a, int b, int c, void volatile **p) { return inner(f)->pMethods->xShmMap(inner(f), a, b, c, p); }
static int f_shm_lock(sqlite3_file *f, int a, int b, int c) { return inner(f)->pMethods->xShmLock(inner(f), a, b, c); }
static void f_shm_barrier(sqlite3_file *f) { inner(f)->pMethods->xShmBarrier(inner(f)); }
static int f_shm_unmap(sqlite3_file *f, int del) { return inner(f)->pMethods->xShmUnmap(inner(f), del); }

static const sqlite3_io_methods faulty_methods = {
    .iVersion = 2, .xClose = f_close, .xRead = f_read, .xWrite = f_write, .xTruncate = f_truncate, .xSync = f_sync, .xFileSize = f_size,
    .xLock = f_lock, .xUnlock = f_unlock, .xCheckReservedLock = f_reserved, .xFileControl = f_control, .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_device, .xShmMap = f_shm_map, .xShmLock = f_shm_lock, .xShmBarrier = f_shm_barrier, .xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    (void)vfs;
    int rc = real_vfs->xOpen(real_vfs, name, inner(f), flags, out);
    f->pMethods = inner(f)->pMethods ? &faulty_methods : NULL;
    return rc;
}

static sqlite3_mem_methods real_mem, faulty_mem;
static void *m_malloc(int n) { return fault(true) ? NULL : real_mem.xMalloc(n); }
static void *m_realloc(void *p, int n) { return fault(true) ? NULL : real_mem.xRealloc(p, n); }
static void *j_malloc(size_t n) { return fault(true) ? NULL : malloc(n); }

static int fault_tools(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_mem), SQLITE_OK);
    faulty_mem = real_mem;
    faulty_mem.xMalloc = m_malloc;
    faulty_mem.xRealloc = m_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &faulty_mem), SQLITE_OK);
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
    json_set_alloc_funcs(j_malloc, free);
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.szOsFile = (int)sizeof(struct faulty_file) + real_vfs->szOsFile;
    faulty_vfs.xOpen = v_open;
    faulty_vfs.pNext = NULL;
    assert_int_equal(sqlite3_vfs_register(&faulty_vfs, 1), SQLITE_OK);
    return 0;
}

struct scene { struct fixture *f; char id[UUID_LEN]; int64_t task, resource; struct spec *spec; };

static int do_create(struct scene *s, struct err *e)
{
    uint8_t hash[SHA256_LEN] = {0};
    char id[UUID_LEN];
    bool existing;
    return job_create(s->f->db, s->spec, "key", hash, id, &existing, e);
}
static int do_claim(struct scene *s, struct err *e)
{
    struct task t = {0};
    int r = task_claim(s->f->db, LANE_HYPERVISOR, &t, NULL, e);
    if (r == 0)
        task_clear(&t);
    return r;
}
static int do_finish(struct scene *s, struct err *e) { return task_finish(s->f->db, s->task, OUTCOME_SUCCEEDED, NULL, 0, NULL, e); }
static int do_fail(struct scene *s, struct err *e)
{
    struct err why;
    err_set(&why, ERR_TLS, "a sentence");
    return task_finish(s->f->db, s->task, OUTCOME_FAILED, &why, 0, &(struct task_progress){.total = 5}, e);
}
static int do_cancel(struct scene *s, struct err *e) { return job_cancel(s->f->db, s->id, e); }
static int do_delete(struct scene *s, struct err *e) { return job_delete(s->f->db, s->id, DELETE_ALL, e); }
static int do_recover(struct scene *s, struct err *e) { return task_recover(s->f->db, NULL, e); }
static int do_intend(struct scene *s, struct err *e) { return resource_intend(s->f->db, s->id, 0, "file", "/x", NULL, true, &s->resource, e); }
static int do_transfer(struct scene *s, struct err *e) { return transfer_put(s->f->db, s->id, 0, &(struct transfer_row){.length = 1}, e); }
static int do_credential(struct scene *s, struct err *e)
{
    struct credential c = {.name = (char *)(uintptr_t)"c", .type = CREDENTIAL_SAS, .secret = (char *)(uintptr_t)"sig=1"};
    bool created;
    return credential_put(s->f->db, &c, &created, e);
}
static int do_resolve(struct scene *s, struct err *e)
{
    static const struct job_target targets[] = {{.name = (char *)(uintptr_t) "os", .id = (char *)(uintptr_t) "/os", .lun = -1},
                                                {.name = (char *)(uintptr_t) "data", .url = (char *)(uintptr_t) "https://h.example/d"}};
    const struct job_found found[] = {{0, &targets[0]}, {0, &targets[1]}};
    return job_resolve(s->f->db, s->id, found, 2, e);
}
static int do_access(struct scene *s, struct err *e)
{
    struct job_access a = {.ident = (char *)(uintptr_t) "/os", .identity = "content", .expires_at_ms = 1};     /* no URL: what is sealed is another each time */
    return job_access_put(s->f->db, s->id, 0, &a, e);
}
static int do_event(struct scene *s, struct err *e) { return event_add(s->f->db, s->id, "note", NULL, e); }
static int do_list(struct scene *s, struct err *e)
{
    struct job **jobs;
    size_t n;
    int r = job_list(s->f->db, -1, 0, 10, &jobs, &n, e);
    if (r == 0)
        job_list_free(jobs, n);
    return r;
}
static int do_events(struct scene *s, struct err *e)
{
    struct event *list;
    size_t n;
    int r = event_list(s->f->db, NULL, 0, 10, &list, &n, e);
    if (r == 0)
        event_list_free(list, n);
    return r;
}

static int (*const scenes[])(struct scene *s, struct err *e) = {do_create, do_claim,    do_finish,     do_fail,  do_cancel, do_delete, do_recover,
                                                                do_intend, do_transfer, do_credential, do_event, do_list,   do_events,
                                                                do_resolve, do_access};

/* A fresh database in which every scene has something to do: one job that runs, one that waits. */
static void set_the_scene(struct scene *s)
{
    char other[UUID_LEN];
    assert_int_equal(fixture_setup((void **)&s->f), 0);
    make_job(s->f->db, NULL, s->id);
    s->task = claim(s->f->db, LANE_HYPERVISOR, TASK_PREFLIGHT);
    make_job(s->f->db, NULL, other);
    s->spec = spec_of("{'disks':[{'source':{'type':'blob','url':'https://h.example/x?sig=1'}}]}");
}

static int faults_of(int code, const char *what)
{
    int fired = 0;
    fault_code = code;
    for (size_t i = 0; i < ARRAY_LEN(scenes); i++) {
        struct scene s = {0};
        set_the_scene(&s);
        AUTO(db_close_ptr) struct db *other = NULL;  /* keeps the WAL: what failed is not to come back through its recovery */
        struct err err;
        ok(db_open(s.f->path, s.f->box, &other, &err));
        for (int n = 1;; n++) {
            AUTO_FREE char *before = dump_all(s.f->path);
            fault_count = 0;
            fault_at = n;
            int r = scenes[i](&s, &err);
            bool hit = fault_count >= n;
            fault_at = 0;
            AUTO_FREE char *after = dump_all(s.f->path);
            if (r < 0) {
                if (!hit)
                    fail_msg("scene %zu, %s %d: %s", i, what, n, err.msg);
                bool fits = code == SQLITE_NOMEM ? err.code == ERR_OOM : err.code == ERR_DISK_FULL || err.code == ERR_DB;
                if (!fits)
                    fail_msg("scene %zu, %s %d: %s: %s", i, what, n, err_info(err.code)->word, err.msg);
                assert_string_equal(before, after);
                check_consistent(s.f->path);
                fired++;
                continue;
            }
            if (!hit)
                break;                               /* every call has failed once */
            check_consistent(s.f->path);             /* it was saved in spite of the fault; the scene starts anew */
            db_close(other);
            other = NULL;
            spec_free(s.spec);
            fixture_teardown((void **)&s.f);
            set_the_scene(&s);
            ok(db_open(s.f->path, s.f->box, &other, &err));
            assert_true(n < 2000);
        }
        db_close(other);
        other = NULL;
        spec_free(s.spec);
        fixture_teardown((void **)&s.f);
    }
    print_message("%s: %d calls failed, none left a trace\n", what, fired);
    return fired;
}

static void test_write_faults(void **state)
{
    (void)state;
    assert_true(faults_of(SQLITE_FULL, "disk full") > 10);
    assert_true(faults_of(SQLITE_IOERR, "I/O error") > 10);
}

static void test_memory_faults(void **state)
{
    (void)state;
    AUTO_FREE char *valgrind = os_getenv("VALGRIND");
    if (valgrind)
        skip();                                      /* the same under ASan, in a tenth of the time */
    assert_true(faults_of(SQLITE_NOMEM, "out of memory") > 50);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(int argc, char **argv)
{
    struct err err;
    if (os_main_args(&argc, &argv, &err) < 0)
        return 2;
    if (argc == 4)
        return busy_child(argv[1], argv[2], argv[3]);
    const struct CMUnitTest files[] = {
        T(test_made),          T(test_newer), T(test_version_1),                T(test_foreign),              T(test_no_database),
        T(test_damaged_pages), T(test_damaged_beside_a_wal), T(test_lost_but_for_the_wal), T(test_damage_met_later),
        T(test_killed),
    };
    const struct CMUnitTest faults[] = {cmocka_unit_test(test_write_faults), cmocka_unit_test(test_memory_faults)};
    int failed = cmocka_run_group_tests(files, NULL, NULL);
    return failed + cmocka_run_group_tests(faults, fault_tools, NULL);
}

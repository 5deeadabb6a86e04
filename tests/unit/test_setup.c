/* Removing the data folder: not while machines are in it, not under a running daemon, and nothing that is not ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/os.h"
#include "service/setup.h"
#include "tests/unit/db_util.h"
#include "tests/unit/tmp.h"

static void put(const char *dir, const char *name)
{
    struct err err;
    AUTO_FREE char *path = tmp_path(dir, name), *folder = str_ndup(path, (size_t)(os_path_base(path) - path));
    ok(os_mkdirs(folder, 0, &err));
    ok(os_write_file(path, "x", 1, 0, &err));
}

static void test_machines_keep_it(void **state)
{
    (void)state;
    struct err err;
    char *dir = tmp_make(), id[UUID_LEN], first[UUID_LEN];
    AUTO_FREE char *path = tmp_path(dir, "vmrecover.db");
    ok(setup_check_data(dir, &err));                  /* no database, no machine */
    struct secret_box *box;
    struct db *db;
    ok(secret_open(dir, &box, &err));
    ok(db_create(path, box, &db, &err));
    make_job(db, NULL, first);
    for (int i = 0; i < 130; i++)                     /* more than a page */
        make_job(db, NULL, id);
    ok(setup_check_data(dir, &err));
    ok(job_set_vm(db, first, first, 1, &err));
    fails(setup_check_data(dir, &err), ERR_WRONG_STATE);
    assert_non_null(strstr(err.msg, first));
    assert_non_null(strstr(err.hint, "delete"));
    ok(job_set_vm(db, first, NULL, 0, &err));
    ok(setup_check_data(dir, &err));
    db_close(db);
    secret_close(box);
    ok(os_write_file(path, "no database, but long enough to look like one .........................................................", 100, 0, &err));
    assert_true(setup_check_data(dir, &err) < 0);     /* nobody can say what it had: it stays */
    tmp_remove(dir);
}

static void test_remove(void **state)
{
    (void)state;
    struct err err;
    char *dir = tmp_make();
    AUTO_FREE char *lock_path = tmp_path(dir, "lock"), *foreign = tmp_path(dir, "holiday.jpg"), *token = tmp_path(dir, "token");
    static const char *const ours[] = {"token", "secret.key", "address", "vmrecover.db", "vmrecover.db-wal", "vmrecover.db.reserve", "vmrecover.conf", "logs/vmrecoverd.log",
                                       "disks/1/os.vhd", "vms/1/log", "exports/a/b/c.vhd"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        put(dir, ours[i]);
    put(dir, "holiday.jpg");

    struct os_file *lock;
    ok(os_file_open(lock_path, OS_WRITE | OS_CREATE, &lock, &err));
    ok(os_file_lock(lock, &err));
    fails(setup_check_data(dir, &err), ERR_WRONG_STATE);
    fails(setup_remove_data(dir, &err), ERR_WRONG_STATE);
    assert_non_null(strstr(err.msg, "holiday.jpg"));
    assert_true(tmp_exists(foreign) && tmp_exists(token) && tmp_exists(lock_path));
    ok(os_remove(foreign, &err));

    fails(setup_remove_data(dir, &err), ERR_LOCKED);
    assert_non_null(strstr(err.msg, dir));
    assert_true(tmp_exists(token));
    os_file_close(lock);
    ok(setup_remove_data(dir, &err));
    assert_false(tmp_exists(dir));
    ok(setup_remove_data(dir, &err));                 /* nothing there is nothing to do */
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_machines_keep_it), cmocka_unit_test(test_remove)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

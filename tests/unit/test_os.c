/* Files, folders and the host: the same tests on every system. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = tmp_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(dir);
    return 0;
}

static void test_files(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, "a file \xC3\xA4");
    struct os_file *f;
    assert_int_equal(os_file_open(path, OS_READ, &f, &e), -ERR_NOT_FOUND);
    assert_int_equal(os_file_open(path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE | OS_PRIVATE, &f, &e), 0);
    assert_int_equal(os_file_pwrite(f, "hello", 5, 10, &e), 0);
    uint64_t size;
    assert_int_equal(os_file_size(f, &size, &e), 0);
    assert_int_equal(size, 15);
    char buf[16];
    size_t n;
    assert_int_equal(os_file_read_some(f, buf, sizeof buf, 10, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(os_file_pread(f, buf, 6, 10, &e), -ERR_IO);
    assert_non_null(strstr(e.msg, "ends at 15"));
    assert_int_equal(os_file_truncate(f, 64 << 20, &e), 0);
    assert_int_equal(os_file_sync(f, &e), 0);
    os_file_write_behind(f, 0, 64 << 20);
    os_file_close(f);
    struct os_stat st;
    assert_int_equal(os_stat(path, &st, &e), 0);
    assert_true(st.exists && st.is_file && !st.is_dir && st.size == 64 << 20);
    assert_true(st.allocated < 1 << 20 || !os_files_are_sparse());
    assert_true(st.mtime_ms > clock_now_ms() - 600000 && st.mtime_ms < clock_now_ms() + 600000);
    assert_int_equal(os_file_open(path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &f, &e), -ERR_IO);
    assert_int_equal(os_file_open(path, OS_READ, &f, &e), 0);
    assert_true(os_file_pwrite(f, "x", 1, 0, &e) < 0);
    os_file_close(f);
    os_file_close(NULL);
}

static void test_whole_files(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, "w"), *text = NULL;
    size_t n;
    assert_int_equal(os_write_file(path, "one", 3, OS_PRIVATE, &e), 0);
    assert_int_equal(os_write_file(path, "twenty", 6, 0, &e), 0);
    assert_int_equal(os_read_file(path, 6, &text, &n, &e), 0);
    assert_int_equal(n, 6);
    assert_string_equal(text, "twenty");
    char *more;
    assert_int_equal(os_read_file(path, 5, &more, &n, &e), -ERR_TOO_LARGE);
    assert_int_equal(os_remove(path, &e), 0);
    assert_int_equal(os_remove(path, &e), 0);
    AUTO_FREE char *missing = tmp_path(dir, "no/such/w");
    assert_true(os_write_file(missing, "x", 1, 0, &e) < 0);
}

/* What a write leaves that is killed on its way is told from whatever else may lie there. */
static void test_unfinished_files(void **state)
{
    (void)state;
    struct err e;
    struct os_stat st;
    AUTO_FREE char *folder = tmp_path(dir, "unfinished"), *sub = tmp_path(folder, "folder.01234567.tmp");
    static const struct { const char *name; bool goes; } files[] = {
        {"token.0123abcd.tmp", true},   {"vm.json.ffffffff.tmp", true}, {"token", false},           {"a.tmp", false},
        {"notes.0123abcg.tmp", false},  {"x.0123ABCD.tmp", false},      {"x.012345678.tmp", false}, {".01234567.tmp", false},
        {"x.01234567.tmp.old", false},
    };
    assert_int_equal(os_mkdirs(sub, 0, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO_FREE char *path = tmp_path(folder, files[i].name);
        assert_int_equal(os_write_file(path, "x", 1, 0, &e), 0);
    }
    assert_int_equal(os_remove_unfinished(folder, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO_FREE char *path = tmp_path(folder, files[i].name);
        assert_int_equal(os_stat(path, &st, &e), 0);
        if (st.exists == files[i].goes)
            fail_msg("%s %s", files[i].name, st.exists ? "stayed" : "went");
    }
    assert_int_equal(os_stat(sub, &st, &e), 0);
    assert_true(st.is_dir);
    assert_int_equal(os_remove_tree(folder, &e), 0);
}

static int count(void *arg, const char *name)
{
    ++*(int *)arg;
    return !strcmp(name, "stop") ? 42 : 0;
}

static void test_folders(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *deep = tmp_path(dir, "t/a/b/c"), *top = tmp_path(dir, "t"), *file = tmp_path(dir, "t/a/f"), *bad = tmp_path(dir, "t/a/f/x");
    assert_int_equal(os_mkdirs(deep, OS_PRIVATE, &e), 0);
    assert_int_equal(os_mkdirs(deep, OS_PRIVATE, &e), 0);
    assert_int_equal(os_write_file(file, "x", 1, 0, &e), 0);
    assert_true(os_mkdirs(bad, 0, &e) < 0);
    AUTO_FREE char *a = tmp_path(dir, "t/a");
    int entries = 0;
    assert_int_equal(os_list_dir(a, count, &entries, &e), 0);
    assert_int_equal(entries, 2);
    assert_int_equal(os_remove_empty_dir(a, &e), 0);                 /* not empty: stays */
    struct os_stat st;
    assert_int_equal(os_stat(a, &st, &e), 0);
    assert_true(st.is_dir);
    assert_int_equal(os_remove_tree(top, &e), 0);
    assert_int_equal(os_stat(top, &st, &e), 0);
    assert_false(st.exists);
    assert_int_equal(os_remove_tree(top, &e), 0);
    uint64_t bytes;
    assert_int_equal(os_free_space(deep, &bytes, &e), 0);            /* the nearest parent counts */
    assert_true(bytes > 0);
    assert_string_equal(os_path_base("/a/b"), "b");
    AUTO_FREE char *j = os_path_join("/a/", "b");
    assert_string_equal(j, "/a/b");
}

/* What POSIX promises, promised everywhere: names change and go while somebody has the file open. */
static void test_open_files(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *a = tmp_path(dir, "a"), *b = tmp_path(dir, "b"), *c = tmp_path(dir, "c"), *text = NULL;
    struct os_file *old, *moved;
    char buf[8];
    assert_int_equal(os_write_file(a, "new", 3, 0, &e), 0);
    assert_int_equal(os_file_open(a, OS_WRITE, &moved, &e), 0);
    assert_int_equal(os_rename(a, b, &e), 0);        /* of an open file */
    assert_false(tmp_exists(a));
    assert_int_equal(os_rename(a, b, &e), -ERR_NOT_FOUND);
    assert_int_equal(os_file_pwrite(moved, "NEW", 3, 0, &e), 0);
    assert_int_equal(os_read_file(b, 10, &text, NULL, &e), 0);
    assert_string_equal(text, "NEW");
    os_file_close(moved);
    if (tmp_wine_lacks("POSIX semantics of names: renaming over a file that is open, removing one (FileRenameInfoEx, FileDispositionInfoEx)"))
        return;
    assert_int_equal(os_write_file(c, "old", 3, 0, &e), 0);
    assert_int_equal(os_file_open(c, OS_READ, &old, &e), 0);
    assert_int_equal(os_rename(b, c, &e), 0);        /* over an open file */
    assert_int_equal(os_file_pread(old, buf, 3, 0, &e), 0);
    assert_memory_equal(buf, "old", 3);              /* who has it open keeps what it was */
    os_file_close(old);
    assert_int_equal(os_file_open(c, OS_READ, &old, &e), 0);
    assert_int_equal(os_remove(c, &e), 0);
    assert_false(tmp_exists(c));
    assert_int_equal(os_write_file(c, "again", 5, 0, &e), 0);        /* the name is free though the old file is open still */
    assert_int_equal(os_file_pread(old, buf, 3, 0, &e), 0);
    assert_memory_equal(buf, "NEW", 3);
    os_file_close(old);
}

/* Names in all scripts, paths longer than Windows used to take, both ways of writing a separator. */
static void test_names(void **state)
{
    (void)state;
    struct err e;
    static const char *const names[] = {"\xE5\xBE\xA9\xE6\x97\xA7 \xE3\x83\x87\xE3\x82\xA3\xE3\x82\xB9\xE3\x82\xAF", "\xF0\x9F\x92\xBE\xF0\x9F\x94\xA7",
                                        "\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F", "e\xCC\x81", " leading", "a b.c d", "100%"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO_FREE char *folder = tmp_path(dir, names[i]), *file = tmp_path(folder, names[i]), *text = NULL, *real = NULL;
        assert_int_equal(os_mkdirs(folder, 0, &e), 0);
        assert_int_equal(os_write_file(file, "x", 1, 0, &e), 0);
        assert_int_equal(os_read_file(file, 10, &text, NULL, &e), 0);
        int entries = 0;
        assert_int_equal(os_list_dir(folder, count, &entries, &e), 0);
        assert_int_equal(entries, 1);
        assert_non_null(real = os_real_path(file));
        assert_true(str_ends(real, names[i]));
        assert_string_equal(os_path_base(real), names[i]);
    }
    AUTO_FREE char *deep = str_dup(dir);
    while (strlen(deep) < 1500) {
        char *longer = tmp_path(deep, "a-part-of-a-path-that-is-fifty-characters-long-----");
        free(deep);
        deep = longer;
    }
    AUTO_FREE char *file = tmp_path(deep, "f"), *other = tmp_path(deep, "g"), *dotted = tmp_path(deep, "./../"), *text = NULL;
    uint64_t bytes;
    assert_int_equal(os_free_space(file, &bytes, &e), 0);
    if (os_mkdirs(deep, OS_PRIVATE, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(os_write_file(file, "deep", 4, OS_PRIVATE, &e), 0);
    tmp_assert_private(file);
    assert_int_equal(os_rename(file, other, &e), 0);
    assert_int_equal(os_read_file(other, 10, &text, NULL, &e), 0);
    assert_string_equal(text, "deep");
    int entries = 0;
    assert_int_equal(os_list_dir(dotted, count, &entries, &e), 0);
    assert_int_equal(entries, 1);
    AUTO_FREE char *real = os_real_path(other), *native = os_native_path(other), *again = NULL;
    assert_non_null(native);
    if (!tmp_wine_lacks("GetFinalPathNameByHandle of a path beyond 260 characters")) {
        assert_non_null(real);
        assert_true(strlen(real) > 1500 && os_path_is_absolute(real) && !os_path_refuse(real));
    }
    assert_int_equal(os_free_space(other, &bytes, &e), 0);
    assert_int_equal(os_check_owner(other, &e), 0);
    assert_null(again = os_real_path(file));
}

static void test_bad_names(void **state)
{
    (void)state;
    struct err e;
    struct os_file *f;
    struct os_stat st;
    assert_true(os_file_open("", OS_READ, &f, &e) < 0);
    assert_true(os_file_open(dir, OS_WRITE, &f, &e) < 0);            /* a folder */
    AUTO_FREE char *missing = tmp_path(dir, "no/such/file"), *file = tmp_path(dir, "file"), *below = tmp_path(file, "x");
    assert_int_equal(os_stat(missing, &st, &e), 0);
    assert_false(st.exists);
    assert_int_equal(os_write_file(file, "x", 1, 0, &e), 0);
    assert_int_equal(os_stat(below, &st, &e), 0);    /* a file is no folder */
    assert_false(st.exists);
    assert_int_equal(os_file_open(missing, OS_WRITE | OS_CREATE, &f, &e), -ERR_NOT_FOUND);
    assert_int_equal(os_list_dir(missing, count, NULL, &e), -ERR_NOT_FOUND);
    assert_int_equal(os_check_owner(missing, &e), -ERR_NOT_FOUND);
    assert_int_equal(os_remove_empty_dir(missing, &e), 0);
    assert_true(os_list_dir(file, count, NULL, &e) < 0);
    static const char *const relative[] = {"", "a", "./a", "../a", "a/b"};
    for (size_t i = 0; i < ARRAY_LEN(relative); i++) {
        assert_false(os_path_is_absolute(relative[i]));
        assert_non_null(os_path_refuse(relative[i]));
    }
    static const char *const dots[] = {"/a/../b", "/..", "/a/b/..", "/a\\..\\b"};
    for (size_t i = 0; i < ARRAY_LEN(dots); i++) {
        AUTO_FREE char *path = str_printf("%s%s", tmp_root, dots[i]);
        assert_non_null(os_path_refuse(path));
        assert_non_null(strstr(os_path_refuse(path), "'..'"));
    }
    AUTO_FREE char *good = str_printf("%s/srv/a..b/..c/disk.vhd", tmp_root);
    assert_null(os_path_refuse(good));
}

static void test_within(void **state)
{
    (void)state;
    AUTO_FREE char *in = tmp_path(dir, "x"), *beside = str_printf("%sx", dir), *slash = tmp_path(dir, "");
    assert_true(os_path_within(dir, dir));
    assert_true(os_path_within(in, dir));
    assert_true(os_path_within(in, slash));
    assert_true(os_path_within(dir, slash));
    assert_false(os_path_within(beside, dir));
    assert_false(os_path_within(dir, in));
}

static void test_disk_full(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *volume = tmp_volume(dir, 12);
    if (!volume)
        skip();
    AUTO_FREE char *path = tmp_path(volume, "f"), *folder = tmp_path(volume, "d");
    static char block[1 << 20];
    uint64_t bytes = 0, left = 0;
    assert_int_equal(os_free_space(volume, &bytes, &e), 0);
    assert_in_range(bytes, 11 << 20, 12 << 20);
    struct os_file *f;
    assert_int_equal(os_file_open(path, OS_WRITE | OS_CREATE, &f, &e), 0);
    int r = 0;
    uint64_t at = 0;
    memset(block, 'x', sizeof block);
    while (r == 0 && at < 64 << 20)
        if ((r = os_file_pwrite(f, block, sizeof block, at, &e)) == 0)
            at += sizeof block;
    assert_int_equal(r, -ERR_DISK_FULL);
    assert_non_null(strstr(e.msg, path));
    assert_in_range(at, 10 << 20, 12 << 20);
    assert_int_equal(os_free_space(folder, &left, &e), 0);
    assert_true(left < 1 << 20);
    assert_int_equal(os_write_file(folder, block, sizeof block, 0, &e), -ERR_DISK_FULL);
    assert_false(tmp_exists(folder));                /* and nothing half-written is left */
    os_file_close(f);
    tmp_volume_drop(volume);
}

static void test_environment(void **state)
{
    (void)state;
    AUTO_FREE char *none = os_getenv("VMR_TEST_NONE"), *set = NULL, *empty = NULL;
    assert_null(none);
    tmp_setenv("VMR_TEST_SET", "C:\\a b/c");
    assert_non_null(set = os_getenv("VMR_TEST_SET"));
    assert_string_equal(set, "C:\\a b/c");
    tmp_setenv("VMR_TEST_SET", "");
    empty = os_getenv("VMR_TEST_SET");
    assert_true(!empty || !*empty);
    tmp_setenv("VMR_TEST_SET", NULL);
    assert_null(os_getenv("VMR_TEST_SET"));
}

static void test_lock(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, "lock");
    struct os_file *a, *b;
    assert_int_equal(os_file_open(path, OS_WRITE | OS_CREATE, &a, &e), 0);
    assert_int_equal(os_file_open(path, OS_WRITE | OS_CREATE, &b, &e), 0);
    assert_int_equal(os_file_lock(a, &e), 0);
    assert_int_equal(os_file_lock(b, &e), -ERR_LOCKED);
    char byte;
    assert_int_equal(os_file_pwrite(b, "x", 1, 0, &e), 0);           /* it is an agreement and bars no reads and writes */
    assert_int_equal(os_file_pread(a, &byte, 1, 0, &e), 0);
    os_file_close(a);
    assert_int_equal(os_file_lock(b, &e), 0);
    os_file_close(b);
}

static void test_host(void **state)
{
    (void)state;
    char name[256];
    os_host_name(name, sizeof name);
    assert_true(strlen(name) > 0);
    assert_true(os_cpu_count() >= 1);
    assert_true(os_memory_total() >= os_memory_available() && os_memory_available() > 0);
    struct err e;
    uint8_t a[32], b[32];
    assert_int_equal(os_random(a, sizeof a, &e), 0);
    assert_int_equal(os_random(b, sizeof b, &e), 0);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(os_path_is_absolute(os_config_path()) && os_path_is_absolute(os_data_path()));
    assert_string_equal(os_path_base(os_config_path()), "vmrecover.conf");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_files), T(test_whole_files), T(test_unfinished_files), T(test_folders), T(test_open_files), T(test_names), T(test_bad_names), T(test_within),
        T(test_lock),  T(test_environment), T(test_host),    T(test_disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

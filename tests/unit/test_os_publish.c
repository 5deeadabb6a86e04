/* os_publish and os_file_id: a file gets its name without ever replacing another, and is known again by its identity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

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

static void put(const char *path, const char *text)
{
    struct err e;
    assert_int_equal(os_write_file(path, text, strlen(text), 0, &e), 0);
}

static void assert_content(const char *path, const char *text)
{
    struct err e;
    AUTO_FREE char *got = NULL;
    assert_int_equal(os_read_file(path, 100, &got, NULL, &e), 0);
    assert_string_equal(got, text);
}

static void test_publish(void **state)
{
    (void)state;
    struct err e;
    struct os_stat st;
    AUTO_FREE char *a = tmp_path(dir, "a"), *b = tmp_path(dir, "b"), *folder = tmp_path(dir, "folder"), *none = tmp_path(dir, "none");
    put(a, "one");
    assert_int_equal(os_publish(a, b, &e), 0);
    assert_content(b, "one");
    assert_int_equal(os_stat(a, &st, &e), 0);
    assert_false(st.exists);
    put(a, "two");
    assert_int_equal(os_publish(a, b, &e), -ERR_WRONG_STATE);
    assert_non_null(strstr(e.msg, b));
    assert_content(a, "two");
    assert_content(b, "one");
    assert_int_equal(os_mkdirs(folder, 0, &e), 0);
    assert_int_equal(os_publish(a, folder, &e), -ERR_WRONG_STATE);
    assert_int_equal(os_publish(none, folder, &e), -ERR_NOT_FOUND);
    AUTO_FREE char *inner = tmp_path(dir, "none/a");
    assert_int_equal(os_publish(a, inner, &e), -ERR_NOT_FOUND);
    assert_content(a, "two");
}

static void test_exclusive_folder(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *x = tmp_path(dir, "x/y"), *f = tmp_path(dir, "f");
    assert_int_equal(os_mkdirs(x, OS_PRIVATE | OS_EXCLUSIVE, &e), 0);
    assert_int_equal(os_mkdirs(x, OS_PRIVATE | OS_EXCLUSIVE, &e), -ERR_WRONG_STATE);
    assert_int_equal(os_mkdirs(x, OS_PRIVATE, &e), 0);
    put(f, "");
    assert_int_equal(os_mkdirs(f, OS_EXCLUSIVE, &e), -ERR_WRONG_STATE);
}

static void test_identity(void **state)
{
    (void)state;
    struct err e;
    char first[OS_FILE_ID], again[OS_FILE_ID], moved[OS_FILE_ID], other[OS_FILE_ID];
    AUTO_FREE char *a = tmp_path(dir, "i1"), *b = tmp_path(dir, "i2");
    assert_int_equal(os_file_id(a, first, &e), 0);
    assert_string_equal(first, "");
    put(a, "x");
    assert_int_equal(os_file_id(a, first, &e), 0);
    assert_true(first[0]);
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    assert_int_equal(os_file_open(a, OS_WRITE, &f, &e), 0);
    assert_int_equal(os_file_pwrite(f, "longer", 6, 0, &e), 0);
    os_file_close(STEAL(f));
    assert_int_equal(os_file_id(a, again, &e), 0);
    assert_string_equal(again, first);
    assert_int_equal(os_publish(a, b, &e), 0);
    assert_int_equal(os_file_id(b, moved, &e), 0);
    assert_string_equal(moved, first);
    put(a, "y");
    assert_int_equal(os_file_id(a, other, &e), 0);
    assert_string_not_equal(other, first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_publish), cmocka_unit_test(test_exclusive_folder), cmocka_unit_test(test_identity)};
    return cmocka_run_group_tests(tests, setup, teardown);
}

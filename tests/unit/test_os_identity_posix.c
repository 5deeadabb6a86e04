/* os_file_id where the numbers of removed files are given out again at once. (Wine takes the same numbers, but cannot tell when a file was made;
 * NTFS counts their uses.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/os.h"
#include "tests/unit/tmp.h"

static void test_numbers_used_again(void **state)
{
    (void)state;
    struct err e;
    char first[OS_FILE_ID], other[OS_FILE_ID], *dir = tmp_make();
    AUTO_FREE char *path = tmp_path(dir, "x");
    assert_int_equal(os_write_file(path, "x", 1, 0, &e), 0);
    assert_int_equal(os_file_id(path, first, &e), 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(os_remove(path, &e), 0);
        assert_int_equal(os_write_file(path, "x", 1, 0, &e), 0);
        assert_int_equal(os_file_id(path, other, &e), 0);
        assert_string_not_equal(other, first);
    }
    tmp_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers_used_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

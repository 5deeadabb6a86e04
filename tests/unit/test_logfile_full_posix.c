/* The log file on a full disk: played by the limit of a file's size, which fails writes in the same way (EFBIG for ENOSPC). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/logfile.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

static unsigned troubles;
static enum err_code why_code;

static void on_trouble(void *arg, const struct err *why)
{
    (void)arg;
    troubles++;
    why_code = why->code;
}

static void limit(rlim_t bytes)
{
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &now), 0);
    now.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static void test_full(void **state)
{
    (void)state;
    struct err e;
    char *dir = tmp_make(), line[] = "123456789\n", *text;
    AUTO_FREE char *path = tmp_path(dir, "d.log");
    struct logfile *f = logfile_new(&(struct logfile_config){path, 1000, 2, 50, on_trouble, NULL});
    assert_non_null(f);
    limit(25);                                        /* room for two lines and a half */
    for (int i = 0; i < 5; i++)
        logfile_write(f, line, 10);
    assert_int_equal(logfile_lost(f), 3);
    assert_int_equal(troubles, 1);
    assert_int_equal(why_code, ERR_DISK_FULL);
    assert_int_equal(os_read_file(path, 1000, &text, NULL, &e), 0);
    assert_string_equal(text, "123456789\n123456789\n");    /* no half line */
    free(text);
    limit(RLIM_INFINITY);
    clock_sleep_ms(60);
    logfile_write(f, line, 10);
    assert_int_equal(os_read_file(path, 1000, &text, NULL, &e), 0);
    const char *gap = strstr(text, "lines=3\n");
    assert_non_null(gap);
    assert_string_equal(gap, "lines=3\n123456789\n");
    free(text);
    assert_int_equal(troubles, 1);
    logfile_free(f);
    tmp_remove(dir);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Child processes where they are POSIX's own: PATH and scripts, the end of the parent, descriptors, zombies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void test_programs(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *out = NULL, *out2 = NULL;
    int status;
    const char *echo[] = {"printf", "%s|", "a b", "\"q\"", "back\\slash", "", "$HOME;`id`", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = echo}, 10000, 4096, NULL, NULL, &out, &status, &e), 0);
    assert_int_equal(status, 0);
    assert_string_equal(out, "a b|\"q\"|back\\slash||$HOME;`id`|");
    const char *fails[] = {"sh", "-c", "echo oops >&2; exit 7", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = fails}, 10000, 4096, NULL, NULL, &out2, &status, &e), 0);
    assert_int_equal(status, 7);
    assert_string_equal(out2, "oops\n");
}

/* What os_run started ends when its caller is killed, whichever account it runs as. */
static void test_run_ends_with_us(void **state)
{
    (void)state;
    for (int as_other = 0; as_other <= (os_is_admin() ? 1 : 0); as_other++) {
        pid_t caller = fork();
        if (caller == 0) {
            struct err e;
            int status;
            const char *argv[] = {"sh", "-c", "exec sleep 30", NULL};
            os_run(&(struct os_exec){.argv = argv, .run_as = as_other ? "nobody" : NULL}, 25000, 0, NULL, NULL, NULL, &status, &e);
            _exit(0);
        }
        int64_t child = 0;
        for (int i = 0; i < 500 && !child; i++) {
            AUTO_FREE char *path = str_printf("/proc/%d/task/%d/children", (int)caller, (int)caller), *text = NULL;
            struct err e;
            long long pid = 0;
            if (os_read_file(path, 100, &text, NULL, &e) == 0 && sscanf(text, "%lld", &pid) == 1)
                child = pid;
            clock_sleep_ms(10);
        }
        assert_true(child > 1);
        AUTO_FREE char *comm = str_printf("/proc/%lld/comm", (long long)child);
        for (int i = 0; i < 500; i++) {              /* until it is what it was started as */
            AUTO_FREE char *text = NULL;
            struct err e;
            if (os_read_file(comm, 100, &text, NULL, &e) == 0 && !strcmp(text, "sleep\n"))
                break;
            clock_sleep_ms(10);
        }
        assert_true(os_process_alive(child));
        kill(caller, SIGKILL);
        waitpid(caller, NULL, 0);
        for (int i = 0; i < 500 && os_process_alive(child); i++)
            clock_sleep_ms(10);
        assert_false(os_process_alive(child));
    }
}

static void test_spawn(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *log = tmp_path(dir, "log"), *text = NULL;
    struct os_file *secret;
    AUTO_FREE char *sp = tmp_path(dir, "open");
    assert_int_equal(os_file_open(sp, OS_WRITE | OS_CREATE, &secret, &e), 0);
    const char *argv[] = {"sh", "-c", "pwd; ls /proc/self/fd | wc -l; exec sleep 30", NULL};
    int64_t pid;
    assert_int_equal(os_spawn(&(struct os_exec){.argv = argv, .cwd = dir, .log_path = log}, &pid, &e), 0);
    assert_true(pid > 1 && os_process_alive(pid));
    for (int i = 0; i < 200; i++) {
        free(STEAL(text));
        assert_int_equal(os_read_file(log, 4096, &text, NULL, &e), 0);
        if (strchr(text, '\n') && strchr(strchr(text, '\n') + 1, '\n'))
            break;
        clock_sleep_ms(20);
    }
    AUTO_FREE char *real = os_real_path(dir);
    AUTO_FREE char *want = str_printf("%s\n4\n", real);              /* stdio, and the folder that ls has open */
    assert_string_equal(text, want);
    assert_int_equal(os_process_kill(pid, &e), 0);
    for (int i = 0; i < 500 && os_process_alive(pid); i++)
        clock_sleep_ms(10);
    assert_false(os_process_alive(pid));                             /* and no zombie of ours */
    assert_int_equal(os_process_kill(pid, &e), 0);
    assert_true(os_process_kill(1, &e) < 0);
    os_file_close(secret);
    const char *none[] = {"/no/such/program", NULL};
    assert_true(os_spawn(&(struct os_exec){.argv = none, .log_path = log}, &pid, &e) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_programs), cmocka_unit_test(test_run_ends_with_us),
                                       cmocka_unit_test_setup_teardown(test_spawn, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

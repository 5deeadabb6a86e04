/* The platform layer: the same tests on every system. */
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
    assert_true(st.allocated < 1 << 20);                             /* sparse */
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
    os_file_close(a);
    assert_int_equal(os_file_lock(b, &e), 0);
    os_file_close(b);
}

static bool stop_now(void *arg)
{
    ++*(int *)arg;
    return *(int *)arg > 2;
}

static void test_run(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *out = NULL;
    int status;
    const char *echo[] = {"printf", "%s|", "a b", "\"q\"", "back\\slash", "", "$HOME;`id`", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = echo}, 10000, 4096, NULL, NULL, &out, &status, &e), 0);
    assert_int_equal(status, 0);
    assert_string_equal(out, "a b|\"q\"|back\\slash||$HOME;`id`|");
    const char *fails[] = {"sh", "-c", "echo oops >&2; exit 7", NULL};
    char *out2 = NULL;
    assert_int_equal(os_run(&(struct os_exec){.argv = fails}, 10000, 4096, NULL, NULL, &out2, &status, &e), 0);
    assert_int_equal(status, 7);
    assert_string_equal(out2, "oops\n");
    free(out2);
    const char *slow[] = {"sleep", "30", NULL};
    int64_t before = clock_mono_ms();
    assert_int_equal(os_run(&(struct os_exec){.argv = slow}, 200, 0, NULL, NULL, NULL, &status, &e), -ERR_TIMEOUT);
    int polls = 0;
    assert_int_equal(os_run(&(struct os_exec){.argv = slow}, 20000, 0, stop_now, &polls, NULL, &status, &e), -ERR_CANCELLED);
    assert_true(clock_mono_ms() - before < 15000);
    const char *none[] = {"no-such-program-here", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = none}, 1000, 0, NULL, NULL, NULL, &status, &e), -ERR_NOT_FOUND);
    const char *much[] = {"head", "-c", "1000000", "/dev/zero", NULL};
    char *out3 = NULL;
    assert_int_equal(os_run(&(struct os_exec){.argv = much}, 10000, 100, NULL, NULL, &out3, &status, &e), 0);   /* drained, not blocked */
    assert_int_equal(status, 0);
    free(out3);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown), cmocka_unit_test_setup_teardown(test_whole_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders, setup, teardown), cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test(test_run), cmocka_unit_test(test_run_ends_with_us), cmocka_unit_test_setup_teardown(test_spawn, setup, teardown), cmocka_unit_test(test_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Child processes: this program, started once more, says what it was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

static char *dir, *self;

static int setup(void **state)
{
    (void)state;
    dir = tmp_make();
    self = tmp_self();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(self);
    tmp_remove(dir);
    return 0;
}

/* ---- the other part ---- */

static int child(int argc, char **argv)
{
    struct err e;
    const char *what = argv[1];
    if (!strcmp(what, "args")) {                     /* each in hexadecimal: no output can be taken for another */
        for (int i = 2; i < argc; i++) {
            for (const char *p = argv[i]; *p; p++)
                printf("%02x", (unsigned char)*p);
            putchar('|');
        }
        return 0;
    }
    if (!strcmp(what, "fail")) {
        fputs("oops\n", stderr);
        return atoi(argv[2]);
    }
    if (!strcmp(what, "much")) {
        static char line[1000];
        memset(line, 'x', sizeof line);
        for (int i = 0; i < 1000; i++)
            fwrite(line, 1, sizeof line, stdout);
        fputs("and the end", stderr);
        return 0;
    }
    if (!strcmp(what, "cwd")) {
        AUTO_FREE char *cwd = tmp_cwd();
        puts(cwd);
        return 0;
    }
    if (!strcmp(what, "sleep")) {
        puts("sleeping");
        fflush(stdout);
        clock_sleep_ms(60000);
        return 0;
    }
    if (!strcmp(what, "echo")) {
        for (int c; (c = getchar()) != EOF;)
            putchar(c);
        return 0;
    }
    if (!strcmp(what, "input")) {
        printf("%d", getchar() == EOF);
        return 0;
    }
    if (!strcmp(what, "parent")) {                   /* starts a child that sleeps and goes or stays */
        AUTO_FREE char *path = tmp_self();
        const char *sleeper[] = {path, "sleep", NULL};
        int status;
        if (!strcmp(argv[2], "run"))
            return -os_run(&(struct os_exec){.argv = sleeper}, 60000, 0, NULL, NULL, NULL, &status, &e);
        int64_t pid;
        if (os_spawn(&(struct os_exec){.argv = sleeper}, &pid, &e) < 0)
            return 1;
        printf("%lld\n", (long long)pid);
        return 0;
    }
    return 99;
}

/* ---- tests ---- */

static void hex_of(const char *const *args, struct strbuf *ret)
{
    strbuf_reset(ret);
    for (; *args; args++) {
        for (const char *p = *args; *p; p++)
            strbuf_addf(ret, "%02x", (unsigned char)*p);
        strbuf_adds(ret, "|");
    }
}

#define ARGS_MAX 64
static void expect_args(const char *const *args)
{
    struct err e;
    AUTO_FREE char *out = NULL;
    AUTO_STRBUF struct strbuf want = {0};
    const char *argv[ARGS_MAX + 3] = {self, "args"};
    int status;
    size_t n = 0;
    for (; args[n] && n < ARGS_MAX; n++)
        argv[n + 2] = args[n];
    hex_of(args, &want);
    if (os_run(&(struct os_exec){.argv = argv}, 60000, 1 << 20, NULL, NULL, &out, &status, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(status, 0);
    assert_string_equal(out, want.data ? want.data : "");
}

static void test_arguments(void **state)
{
    (void)state;
    expect_args((const char *const[]){NULL});
    expect_args((const char *const[]){"", NULL});
    expect_args((const char *const[]){"", "", "a", "", NULL});
    expect_args((const char *const[]){"a b", "\"q\"", "\"", "\"\"", "\"\"\"", "back\\slash", "\\", "\\\\", "a\\", "a b\\", "a b\\\\", "\\\"", "\\\\\"", "a\\\" b", NULL});
    expect_args((const char *const[]){"$HOME", "`id`", ";", "|", "&", "&&", ">x", "<x", "%PATH%", "%", "^", "!", "*", "?", "*.c", "[a]", "'", "~", "#", "(", ")", NULL});
    expect_args((const char *const[]){"tab\there", "line\nbreak", "\r", "\v", " ", "  ", "\x01", "\x7f", "--x=y z", "/x", "-x", "@file", NULL});
    expect_args((const char *const[]){"\xE5\xBE\xA9\xE6\x97\xA7", "\xF0\x9F\x92\xBE \xF0\x9F\x94\xA7", "\xC3\xA4\"\xC3\xB6", "\xEF\xBB\xBF", NULL});
    char *large = calloc(1, 20001);
    memset(large, '"', 10000);
    expect_args((const char *const[]){large, NULL});
    memset(large, '\\', 10000);
    large[5000] = ' ';
    expect_args((const char *const[]){large, NULL});
    free(large);
}

/* Random words over the characters that quoting is about. The seed is printed, VMR_SEED gives another. */
static void test_random_arguments(void **state)
{
    (void)state;
    static const char alphabet[] = "\\\\\\\"\"\" \t\nab*%^&|<>'`$";
    AUTO_FREE char *given = os_getenv("VMR_SEED"), *soak = os_getenv("SOAK");
    unsigned long long number = 1;
    if (given)
        assert_true(str_to_u64(given, UINT32_MAX, &number));
    uint32_t seed = (uint32_t)number;
    printf("seed %u\n", seed);
    for (int round = 0; round < (soak ? 200 : 20); round++) {
        char words[40][24];
        const char *args[41] = {NULL};
        for (int i = 0; i < 40; i++) {
            seed = seed * 1664525 + 1013904223;
            unsigned n = (seed >> 16) % 23;
            for (unsigned k = 0; k < n; k++) {
                seed = seed * 1664525 + 1013904223;
                words[i][k] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
            }
            words[i][n] = 0;
            args[i] = words[i];
        }
        expect_args(args);
    }
}

static bool stop_now(void *arg)
{
    ++*(int *)arg;
    return *(int *)arg > 2;
}

static void test_ends(void **state)
{
    (void)state;
    struct err e;
    int status = -1;
    AUTO_FREE char *out = NULL, *much = NULL, *input = NULL;
    const char *fails[] = {self, "fail", "7", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = fails}, 60000, 4096, NULL, NULL, &out, &status, &e), 0);
    assert_int_equal(status, 7);
    assert_string_equal(out, "oops\n");
    const char *slow[] = {self, "sleep", NULL};
    int64_t before = clock_mono_ms();
    assert_int_equal(os_run(&(struct os_exec){.argv = slow}, 500, 0, NULL, NULL, NULL, &status, &e), -ERR_TIMEOUT);
    int polls = 0;
    assert_int_equal(os_run(&(struct os_exec){.argv = slow}, 50000, 0, stop_now, &polls, NULL, &status, &e), -ERR_CANCELLED);
    assert_int_equal(polls, 3);
    assert_true(clock_mono_ms() - before < 30000);
    const char *lots[] = {self, "much", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = lots}, 60000, 2 << 20, NULL, NULL, &much, &status, &e), 0);
    assert_int_equal(strlen(much), 1000000 + strlen("and the end"));
    free(STEAL(much));
    assert_int_equal(os_run(&(struct os_exec){.argv = lots}, 60000, 100, NULL, NULL, &much, &status, &e), 0);    /* drained, not blocked */
    assert_int_equal(status, 0);
    assert_true(strlen(much) <= 100);
    const char *reads[] = {self, "input", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = reads}, 60000, 100, NULL, NULL, &input, &status, &e), 0);
    assert_string_equal(input, "1");                 /* there is nothing to read, and nobody to wait for */
}

static void test_folder(void **state)
{
    (void)state;
    struct err e;
    int status;
    AUTO_FREE char *out = NULL, *real = os_real_path(dir);
    const char *argv[] = {self, "cwd", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = argv, .cwd = dir}, 60000, 4096, NULL, NULL, &out, &status, &e), 0);
    out[strcspn(out, "\r\n")] = 0;
    assert_true(os_path_within(out, real) && os_path_within(real, out));
    AUTO_FREE char *missing = tmp_path(dir, "missing");
    assert_true(os_run(&(struct os_exec){.argv = argv, .cwd = missing}, 60000, 4096, NULL, NULL, NULL, &status, &e) < 0);
}

static void test_input(void **state)
{
    (void)state;
    struct err e;
    int status;
    const char *argv[] = {self, "echo", NULL};
    AUTO_FREE char *long_text = malloc(OS_INPUT_MAX + 2);
    memset(long_text, 'x', OS_INPUT_MAX + 1);
    long_text[OS_INPUT_MAX + 1] = 0;
    const char *texts[] = {"", "label: gpt\nsecond line\n", long_text + 1};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_FREE char *out = NULL;
        assert_int_equal(os_run(&(struct os_exec){.argv = argv, .input = texts[i]}, 60000, 8192, NULL, NULL, &out, &status, &e), 0);
        for (char *cr; (cr = strchr(out, '\r'));)
            memmove(cr, cr + 1, strlen(cr));
        assert_string_equal(out, texts[i]);
    }
    assert_int_equal(os_run(&(struct os_exec){.argv = argv, .input = long_text}, 60000, 8192, NULL, NULL, NULL, &status, &e), -ERR_INTERNAL);
}

static void test_not_there(void **state)
{
    (void)state;
    struct err e;
    int status;
    int64_t pid;
    AUTO_FREE char *missing = tmp_path(dir, "missing"), *text = tmp_path(dir, "text"), *log = tmp_path(dir, "log");
    const char *none[] = {"no-such-program-here", NULL}, *path[] = {missing, NULL}, *no_program[] = {text, NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = none}, 1000, 0, NULL, NULL, NULL, &status, &e), -ERR_NOT_FOUND);
    assert_true(os_run(&(struct os_exec){.argv = path}, 1000, 0, NULL, NULL, NULL, &status, &e) < 0);
    assert_non_null(strstr(e.msg, "missing"));
    assert_true(os_spawn(&(struct os_exec){.argv = path, .log_path = log}, &pid, &e) < 0);
    assert_int_equal(os_write_file(text, "hello", 5, 0, &e), 0);
    assert_true(os_run(&(struct os_exec){.argv = no_program}, 1000, 0, NULL, NULL, NULL, &status, &e) < 0);
}

static void wait_for_end(int64_t pid)
{
    for (int64_t until = clock_mono_ms() + 20000; os_process_alive(pid); clock_sleep_ms(10))
        assert_true(clock_mono_ms() < until);
}

static void test_spawn(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *log = tmp_path(dir, "log"), *text = NULL;
    const char *argv[] = {self, "sleep", NULL};
    int64_t pid;
    assert_int_equal(os_write_file(log, "before ", 7, 0, &e), 0);
    assert_int_equal(os_spawn(&(struct os_exec){.argv = argv, .cwd = dir, .log_path = log}, &pid, &e), 0);
    assert_true(os_process_alive(pid));
    for (int64_t until = clock_mono_ms() + 20000;;) {
        free(STEAL(text));
        assert_int_equal(os_read_file(log, 4096, &text, NULL, &e), 0);
        if (strchr(text, '\n'))
            break;
        assert_true(clock_mono_ms() < until);
        clock_sleep_ms(20);
    }
    assert_true(str_starts(text, "before sleeping"));                /* appended */
    assert_int_equal(os_process_kill(pid, &e), 0);
    wait_for_end(pid);
    assert_int_equal(os_process_kill(pid, &e), 0);   /* it is gone already */
    for (int64_t never = -1; never <= 1; never++)
        assert_true(os_process_kill(never, &e) < 0);
    assert_false(os_process_alive(0) || os_process_alive(-5));
}

/* What is spawned outlives who spawned it. */
static void test_outlives(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *log = tmp_path(dir, "log"), *out = NULL;
    int64_t parent = tmp_start(log, (const char *const[]){"parent", "spawn", NULL});
    wait_for_end(parent);
    assert_int_equal(os_read_file(log, 100, &out, NULL, &e), 0);
    long long pid = atoll(out);
    assert_true(pid > 1 && os_process_alive(pid));
    tmp_kill(pid);
}

int main(int argc, char **argv)
{
    struct err e;
    if (os_main_args(&argc, &argv, &e) < 0)
        return 98;
    if (argc > 1)
        return child(argc, argv);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_arguments), T(test_random_arguments), T(test_ends), T(test_folder), T(test_input), T(test_not_there), T(test_spawn), T(test_outlives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The rotating log file: nothing lost or mixed, limits kept, and every kind of failure survived, reported once and made good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/logfile.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

static char *dir;
static unsigned troubles;
static struct err last_trouble;

static void on_trouble(void *arg, const struct err *why)
{
    assert_ptr_equal(arg, &troubles);
    troubles++;
    last_trouble = *why;
}

static struct logfile *new_log(const char *path, uint64_t max_bytes, unsigned files)
{
    struct logfile *f = logfile_new(&(struct logfile_config){path, max_bytes, files, 50, on_trouble, &troubles});
    assert_non_null(f);
    return f;
}

static void put(struct logfile *f, const char *line)
{
    logfile_write(f, line, strlen(line));
}

/* Content of a file, "" if it is not there. */
static char *content(const char *path)
{
    struct err e;
    char *s = NULL;
    if (os_read_file(path, 1 << 20, &s, NULL, &e) < 0)
        s = str_dup("");
    assert_non_null(s);
    return s;
}

static void expect(const char *path, const char *text)
{
    AUTO_FREE char *s = content(path);
    assert_string_equal(s, text);
}

static void test_rotation(void **state)
{
    (void)state;
    AUTO_FREE char *p0 = tmp_path(dir, "logs/d.log"), *p1 = tmp_path(dir, "logs/d.1.log"), *p2 = tmp_path(dir, "logs/d.2.log"),
                   *p3 = tmp_path(dir, "logs/d.3.log");
    AUTO(logfile_free_ptr) struct logfile *f = new_log(p0, 20, 3);
    struct os_stat st;
    struct err e;
    assert_int_equal(os_stat(p0, &st, &e), 0);
    assert_false(st.exists);
    const char *lines[] = {"line 1111\n", "line 2222\n", "line 3333\n", "a line that is longer than a whole file\n", "line 5555\n", "line 6\n"};
    put(f, lines[0]);
    put(f, lines[1]);                                 /* just full */
    expect(p0, "line 1111\nline 2222\n");
    expect(p1, "");
    put(f, lines[2]);
    expect(p0, "line 3333\n");
    expect(p1, "line 1111\nline 2222\n");
    put(f, lines[3]);                                 /* takes a file of its own rather than being cut */
    put(f, lines[4]);
    expect(p0, "line 5555\n");
    expect(p1, lines[3]);
    expect(p2, "line 3333\n");
    logfile_free(STEAL(f));
    f = new_log(p0, 20, 3);                           /* the next start goes on in the same file */
    put(f, lines[5]);
    expect(p0, "line 5555\nline 6\n");
    expect(p3, "");
    assert_int_equal(logfile_lost(f), 0);
    assert_int_equal(troubles, 0);
}

static void test_one_file(void **state)
{
    (void)state;
    AUTO_FREE char *p0 = tmp_path(dir, "one.log"), *p1 = tmp_path(dir, "one.1.log");
    AUTO(logfile_free_ptr) struct logfile *f = new_log(p0, 10, 1);
    put(f, "1234567\n");
    put(f, "abc\n");
    expect(p0, "abc\n");
    expect(p1, "");
    assert_int_equal(troubles, 0);
}

static void test_cut_line(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *p0 = tmp_path(dir, "cut.log");
    assert_int_equal(os_write_file(p0, "half a li", 9, 0, &e), 0);
    AUTO(logfile_free_ptr) struct logfile *f = new_log(p0, 1000, 2);
    put(f, "whole\n");
    expect(p0, "half a li\nwhole\n");
}

/* The folder cannot be: its place is taken by a file. */
static void test_no_folder(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *blocker = tmp_path(dir, "taken"), *p0 = tmp_path(dir, "taken/x.log");
    assert_int_equal(os_write_file(blocker, "", 0, 0, &e), 0);
    AUTO(logfile_free_ptr) struct logfile *f = new_log(p0, 1000, 2);
    put(f, "lost 1\n");
    put(f, "lost 2\n");
    assert_int_equal(logfile_lost(f), 2);
    assert_int_equal(troubles, 1);
    assert_non_null(strstr(last_trouble.msg, "taken"));
    clock_sleep_ms(60);
    put(f, "lost 3\n");                               /* tried again, in vain: no second report */
    assert_int_equal(troubles, 1);
    assert_int_equal(os_remove(blocker, &e), 0);
    clock_sleep_ms(60);
    put(f, "found\n");
    AUTO_FREE char *s = content(p0);
    const char *gap = strstr(s, "level=warning msg=\"log lines could not be written\" lines=3\n");
    assert_non_null(gap);
    assert_string_equal(strchr(gap, '\n'), "\nfound\n");
    assert_int_equal(logfile_lost(f), 3);
    put(f, "more\n");
    AUTO_FREE char *after = content(p0);
    assert_int_equal(strlen(after), strlen(s) + 5);   /* the gap is told once */
}

/* Renaming fails: a folder with something in it stands where the old file should go. */
static void test_no_rename(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *p0 = tmp_path(dir, "r.log"), *p1 = tmp_path(dir, "r.1.log"), *inside = tmp_path(dir, "r.1.log/in");
    assert_int_equal(os_mkdirs(inside, 0, &e), 0);
    AUTO(logfile_free_ptr) struct logfile *f = new_log(p0, 100, 2);
    uint64_t largest = 0;
    char line[12];
    for (int i = 0; i < 24; i++) {
        struct os_stat st;
        snprintf(line, sizeof line, "line %04d\n", i);
        put(f, line);
        AUTO_FREE char *s = content(p0);
        assert_non_null(strstr(s, line));             /* the newest line is always there */
        assert_int_equal(os_stat(p0, &st, &e), 0);
        largest = st.size > largest ? st.size : largest;
    }
    assert_true(largest > 100 && largest <= 225);
    assert_int_equal(logfile_lost(f), 0);
    assert_int_equal(troubles, 1);
    assert_non_null(strstr(last_trouble.msg, "rename"));
    assert_int_equal(os_remove_tree(p1, &e), 0);
    for (int i = 0; i < 60; i++) {
        snprintf(line, sizeof line, "good %04d\n", i);
        put(f, line);
    }
    AUTO_FREE char *old = content(p1), *now = content(p0);
    assert_int_equal(strlen(old), 100);
    assert_non_null(strstr(now, "good 0059\n"));
    assert_int_equal(troubles, 1);
    assert_int_equal(os_remove(p1, &e), 0);
    assert_int_equal(os_mkdirs(inside, 0, &e), 0);
    for (int i = 0; i < 12; i++)
        put(f, "once more\n");
    assert_int_equal(troubles, 2);                    /* a new outage is a new report */
}

#define THREADS 4
#define LINES 500
static void *writer(void *arg)
{
    struct logfile *f = *(struct logfile **)arg;
    char line[64];
    for (int i = 0; i < LINES; i++) {
        snprintf(line, sizeof line, "thread %p line %d end\n", (void *)pthread_self(), i);
        put(f, line);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    AUTO_FREE char *p0 = tmp_path(dir, "t.log");
    AUTO(logfile_free_ptr) struct logfile *f = new_log(p0, 4096, 50);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer, &f), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int lines = 0;
    for (unsigned g = 0; g < 50; g++) {
        char name[32];
        snprintf(name, sizeof name, g ? "t.%u.log" : "t.log", g);
        AUTO_FREE char *path = tmp_path(dir, name), *s = content(path);
        assert_true(strlen(s) <= 4096);
        for (char *at = s, *end; *at; at = end + 1, lines++) {
            assert_non_null(end = strchr(at, '\n'));
            assert_true(str_starts(at, "thread ") && !strncmp(end - 4, " end", 4));
        }
    }
    assert_int_equal(lines, THREADS * LINES);
    assert_int_equal(troubles, 0);
}

static int setup(void **state)
{
    (void)state;
    dir = tmp_make();
    troubles = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(dir);
    return 0;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {T(test_rotation), T(test_one_file), T(test_cut_line), T(test_no_folder), T(test_no_rename), T(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

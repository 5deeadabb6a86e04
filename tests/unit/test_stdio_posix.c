/* Programs started by a daemon whose own standard descriptors are closed: they get theirs, and their output arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

static const char *const argv[] = {"sh", "-c", "cat; echo out; echo err >&2", NULL};

/* In a process without stdio: 0 when all went well, else the number of what did not. */
static int without_stdio(unsigned which, const char *log)
{
    struct err e;
    AUTO_FREE char *out = NULL, *text = NULL;
    int status = -1;
    int64_t pid;
    for (int fd = 0; fd < 3; fd++)
        if (which & 1u << fd)
            close(fd);
    struct os_exec run = {.argv = argv}, spawn = {.argv = argv, .log_path = log};
    if (os_run(&run, 20000, 1000, NULL, NULL, &out, &status, &e) < 0)
        return 1;
    if (status || strcmp(out, "out\nerr\n"))
        return 2;
    if (os_spawn(&spawn, &pid, &e) < 0)
        return 3;
    for (int i = 0; i < 1000; i++) {
        clock_sleep_ms(10);
        free(STEAL(text));
        if (os_read_file(log, 1000, &text, NULL, &e) == 0 && !strcmp(text, "out\nerr\n"))
            return 0;
    }
    return 4;
}

static void test_closed_stdio(void **state)
{
    (void)state;
    static char *dir, *log;                           /* in reach of valgrind also in the child */
    dir = tmp_make();
    for (unsigned which = 0; which < 8; which++) {
        char name[16];
        snprintf(name, sizeof name, "log%u", which);
        log = tmp_path(dir, name);
        pid_t pid = fork();
        if (pid == 0)
            _exit(without_stdio(which, log));
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            fail_msg("with the descriptors %u closed: status %d", which, status);
        free(STEAL(log));
    }
    tmp_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed_stdio)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

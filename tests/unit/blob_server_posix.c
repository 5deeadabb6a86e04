#include "tests/unit/blob_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void server_start(struct blob_server *s, const char *const *args)
{
    const char *argv[40] = {"node", "tests/doubles/blob_server.mjs"};
    int n = 2, out[2];
    while (*args && n < 39)
        argv[n++] = *args++;
    assert_int_equal(pipe(out), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    assert_non_null(f);
    if (fscanf(f, "%u", &s->port) != 1)
        fail_msg("the blob server did not start");
    fclose(f);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/vhds/disk.vhd", s->port);
}

void server_stop(struct blob_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        waitpid(s->pid, NULL, 0);
    }
    s->pid = 0;
}

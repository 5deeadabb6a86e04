/* The server runs on the machine that Wine runs on. */
#include "tests/unit/blob_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "common/mem.h"
#include "tests/unit/helper_win32.h"

void server_start(struct blob_server *s, const char *const *args)
{
    AUTO_FREE char *answer = helper_call("start", args);
    if (sscanf(answer, "%d %u", &s->pid, &s->port) != 2)
        fail_msg("the blob server did not start: %s", answer);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/vhds/disk.vhd", s->port);
}

void server_stop(struct blob_server *s)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", s->pid);
    if (s->pid > 0)
        free(helper_call("stop", (const char *const[]){pid, NULL}));
    s->pid = 0;
}

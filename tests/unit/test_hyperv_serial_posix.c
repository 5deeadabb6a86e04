/* The reader of a VM's serial pipe, against a server that behaves as a VM's worker does: there while the VM runs, one client, gone at a reset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "hyperv/hyperv.h"
#include "hyperv/pipe.h"
#include "tests/unit/hv_fixture.h"
#include "tests/unit/tmp.h"

#define WAIT_MS 20000

struct rig {
    char *dir, id[UUID_LEN];
    struct hyperv_serial *s;
    int listener, client;                              /* of the server; -1: none */
};

static void serve(struct rig *g)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char name[64];
    snprintf(name, sizeof name, "vmrecover-%s", g->id);
    memcpy(sa.sun_path + 1, name, strlen(name));
    g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(g->listener >= 0);
    assert_int_equal(bind(g->listener, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))), 0);
    assert_int_equal(listen(g->listener, 0), 0);
}

static void accept_client(struct rig *g)
{
    struct pollfd p = {.fd = g->listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    g->client = accept(g->listener, NULL, NULL);
    assert_true(g->client >= 0);
}

static void hang_up(struct rig *g)
{
    close(g->client);
    close(g->listener);
    g->client = g->listener = -1;
}

static void say(struct rig *g, const char *text)
{
    assert_int_equal(send(g->client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What the log says from the beginning, once it ends with this. */
static void wait_log(struct rig *g, const char *all)
{
    AUTO_FREE char *dir = os_path_join(g->dir, "serial");
    struct err e;
    for (int64_t until = clock_mono_ms() + WAIT_MS;; clock_sleep_ms(5)) {
        struct hyperv_log *l = NULL;
        char buf[4096] = "";
        size_t n = 0;
        uint64_t size = 0;
        OK(hyperv_log_open(dir, &l, &e));
        OK(hyperv_log_read(l, 0, buf, sizeof buf - 1, &n, &size, &e));
        hyperv_log_close(l);
        if (n >= strlen(all) || clock_mono_ms() > until) {
            buf[n] = 0;
            assert_string_equal(buf, all);
            return;
        }
    }
}

static int setup(void **state)
{
    struct err e;
    struct rig *g = calloc(1, sizeof *g);
    g->dir = tmp_make();
    g->listener = g->client = -1;
    OK(crypto_uuid(g->id, &e));
    OK(hyperv_serial_new(g->id, g->dir, &g->s, &e));
    *state = g;
    return 0;
}

static int teardown(void **state)
{
    struct rig *g = *state;
    hyperv_serial_free(g->s);
    if (g->client >= 0)
        close(g->client);
    if (g->listener >= 0)
        close(g->listener);
    tmp_remove(g->dir);
    free(g);
    return 0;
}

/* The reader waits before power-on, so the first word is heard; a reset breaks the pipe, and the next connection goes on in the same log. */
static void first_word_and_reset(void **state)
{
    struct rig *g = *state;
    struct err e;
    OK(hyperv_serial_listen(g->s, &e));
    OK(hyperv_serial_listen(g->s, &e));                /* twice is once */
    clock_sleep_ms(50);
    serve(g);
    accept_client(g);
    say(g, "Loading GRUB\r\n");
    wait_log(g, "Loading GRUB\r\n");
    hang_up(g);
    clock_sleep_ms(50);
    serve(g);
    accept_client(g);
    say(g, "again");
    wait_log(g, "Loading GRUB\r\nagain");
    struct pipe *second = NULL;
    AUTO_FREE char *name = str_printf(PIPE_PREFIX "vmrecover-%s", g->id);
    OK(pipe_open(name, &second, &e));                  /* waits in the queue; as long as it does, another is refused */
    struct pipe *third = NULL;
    assert_int_equal(pipe_open(name, &third, &e), -ERR_BUSY);
    pipe_close(second);
}

/* Seen off it goes away after a while; seen running it is there again. */
static void comes_and_goes(void **state)
{
    struct rig *g = *state;
    struct err e;
    for (int i = 0; i < 2; i++) {
        OK(hyperv_serial_listen(g->s, &e));
        serve(g);
        accept_client(g);
        say(g, "x");
        hyperv_serial_off(g->s);                       /* known off before the pipe breaks: what is in it is still read */
        say(g, "y");
        wait_log(g, i ? "xyxy" : "xy");
        hang_up(g);
        hyperv_serial_off(g->s);
        clock_sleep_ms(i ? 2600 : 100);                /* the second time it has ended by itself */
    }
    serve(g);
    struct pollfd p = {.fd = g->listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 300), 0);             /* nobody comes */
    OK(hyperv_serial_listen(g->s, &e));
    accept_client(g);
    say(g, "z");
    wait_log(g, "xyxyz");
    hyperv_serial_silence(g->s);
    OK(hyperv_serial_listen(g->s, &e));                /* the VM is being deleted: silent for good */
    assert_int_equal(poll(&p, 1, 300), 0);
}

static void bad_names(void **state)
{
    (void)state;
    struct err e;
    struct pipe *p = NULL;
    assert_int_equal(pipe_open("x", &p, &e), -ERR_VALUE);
    assert_int_equal(pipe_open(PIPE_PREFIX, &p, &e), -ERR_VALUE);
    assert_int_equal(pipe_open(PIPE_PREFIX "vmrecover-nobody-serves-this", &p, &e), -ERR_NOT_FOUND);
    pipe_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_word_and_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(comes_and_goes, setup, teardown),
        cmocka_unit_test(bad_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

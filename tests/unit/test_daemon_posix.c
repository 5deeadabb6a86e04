/* The whole daemon in this process, with the service manager's notify socket played by the test: ready only when the port is bound,
 * watchdog fed while it runs, a clean stop on SIGTERM, a second daemon on the same data folder refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/os.h"
#include "service/config.h"
#include "service/daemon.h"
#include "service/host.h"
#include "tests/unit/tmp.h"

static char *dir;
static int sock;

/* The next message whose first line is `what`; fails after 20 s. */
static void expect_notify(const char *what, char *text, size_t size)
{
    for (int64_t until = clock_mono_ms() + 20000; clock_mono_ms() < until;) {
        struct pollfd p = {.fd = sock, .events = POLLIN};
        if (poll(&p, 1, 1000) <= 0)
            continue;
        ssize_t n = recv(sock, text, size - 1, 0);
        assert_true(n > 0);
        text[n] = 0;
        if (!strncmp(text, what, strlen(what)))
            return;
    }
    fail_msg("no %s within 20 s", what);
}

static struct config *load(void)
{
    struct err e;
    struct config *c = NULL;
    AUTO_FREE char *conf = tmp_path(dir, "conf"), *data = tmp_path(dir, "data");
    assert_int_equal(os_write_file(conf, "", 0, 0, &e), 0);
    char *options[] = {"--data-dir", data, "--listen", "127.0.0.1:0", "--accel", "tcg", "--log-level", "error"};
    if (config_load(conf, ARRAY_LEN(options), options, &c, &e) < 0)
        fail_msg("%s", e.msg);
    return c;
}

/* The API's place. */
static int front_start(struct daemon *d, void **ret, char **ret_bound, struct err *e)
{
    *ret = d;
    *ret_bound = str_dup("127.0.0.1:1234\n");
    return *ret_bound ? 0 : err_oom(e);
}

static int fronts_stopped;
static void front_stop(void *front)
{
    fronts_stopped += front != NULL;
}
static const struct daemon_front front = {front_start, front_stop};

static void *run(void *arg)
{
    struct err e;
    int r = daemon_run(arg, &front, &e);
    if (r < 0)
        fprintf(stderr, "daemon_run: %s\n", e.msg);
    return (void *)(intptr_t)r;
}

static void test_life(void **state)
{
    (void)state;
    struct err e;
    char text[1024];
    AUTO(config_free_ptr) struct config *cfg = load();
    pthread_t thread;
    assert_int_equal(host_watchdog_ms(), 100);
    AUTO_FREE char *data = tmp_path(dir, "data"), *left = tmp_path(data, "address.0badcafe.tmp");       /* of one that was killed */
    assert_int_equal(os_mkdirs(data, OS_PRIVATE, &e), 0);
    assert_int_equal(os_write_file(left, "127.", 4, 0, &e), 0);
    assert_int_equal(pthread_create(&thread, NULL, run, cfg), 0);
    expect_notify("READY=1", text, sizeof text);
    assert_non_null(strstr(text, "STATUS="));

    AUTO_FREE char *path = tmp_path(dir, "data/address"), *address = NULL;
    assert_int_equal(os_read_file(path, 200, &address, NULL, &e), 0);       /* ready means: bound and said where */
    assert_string_equal(address, "127.0.0.1:1234\n");
    assert_int_not_equal(access(left, F_OK), 0);
    expect_notify("WATCHDOG=1", text, sizeof text);
    expect_notify("WATCHDOG=1", text, sizeof text);

    assert_int_equal(daemon_run(cfg, &front, &e), -ERR_LOCKED);
    assert_non_null(strstr(e.msg, "data folder"));

    raise(SIGTERM);
    expect_notify("STOPPING=1", text, sizeof text);
    void *result;
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, 0);
    assert_int_equal(fronts_stopped, 1);
}

static int setup(void **state)
{
    (void)state;
    struct err e;
    dir = tmp_make();
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/notify", dir);
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || bind(sock, (struct sockaddr *)&a, sizeof a) < 0)
        return -1;
    char pid[32];
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("NOTIFY_SOCKET", a.sun_path, 1);
    setenv("WATCHDOG_USEC", "300000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    return host_init("", &e);
}

static int teardown(void **state)
{
    (void)state;
    close(sock);
    tmp_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_life, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

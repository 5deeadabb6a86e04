/* A process that downloads is killed, hard, at random instants, again and again: the file is right in the end, and little was fetched
 * twice. VMR_KILLS sets how many kills at most (default 12), VMR_SEED the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

#define RATE ((uint64_t)12 << 20)
#define COMMIT_MS 100

static int child(const char *url, const char *path)
{
    struct err e;
    struct source src;
    if (http_init(&e) < 0)
        return 1;
    source_open(&src, url);
    struct transfer t = {.blob = src.blob,
                         .info = &src.info,
                         .ranges = &src.ranges,
                         .path = path,
                         .connections = 4,
                         .range_bytes = 1 << 20,
                         .commit_interval_ms = COMMIT_MS,
                         .step_bytes = 64 << 10,
                         .max_bytes_per_second = RATE};
    int r = transfer_run(&t, NULL, &e);
    puts(r < 0 ? e.msg : "done");
    source_close(&src);
    return r < 0 ? 1 : 0;
}

static unsigned env(const char *name, unsigned def)
{
    AUTO_FREE char *s = os_getenv(name);
    unsigned long long n;
    return s && str_to_u64(s, 1000000, &n) ? (unsigned)n : def;
}

static void test_kill(void **state)
{
    (void)state;
    struct err e;
    struct blob_server server;
    char *dir = tmp_make(), *expected = tmp_path(dir, "expected"), *path = tmp_path(dir, "disk.vhd");
    AUTO_FREE char *log = tmp_path(dir, "log"), *said = NULL;
    assert_int_equal(http_init(&e), 0);
    server_start(&server, (const char *const[]){"--size", "64M", "--used", "50", "--vhd", NULL});
    server_fetch(&server, expected);
    uint64_t listed = server_stat(&server, "listed_bytes"), before = server_stat(&server, "body_bytes");
    unsigned most = env("VMR_KILLS", 12), seed = env("VMR_SEED", 1), kills = 0;
    printf("seed %u\n", seed);
    for (;;) {
        int64_t pid = tmp_start(log, (const char *const[]){server.url, path, NULL});
        seed = seed * 1103515245u + 12345;
        int64_t end = clock_mono_ms() + (kills < most ? 30 + seed / 65536 % 700 : 60000);
        while (os_process_alive(pid) && clock_mono_ms() < end)
            clock_sleep_ms(5);
        if (os_process_alive(pid)) {
            assert_true(kills < most);               /* else it hangs */
            tmp_kill(pid);
            kills++;
            struct os_stat st;
            assert_int_equal(os_stat(path, &st, &e), 0);
            if (st.exists) /* it may only be there when it is whole */
                assert_same_file(path, expected);
            continue;
        }
        free(STEAL(said));
        assert_int_equal(os_read_file(log, 65536, &said, NULL, &e), 0);
        if (!str_starts(said, "done"))
            fail_msg("the child said: %s", said);
        break;
    }
    assert_same_file(path, expected);
    AUTO_FREE char *part = tmp_path(dir, "disk.vhd.part");
    AUTO_FREE char *journal = tmp_path(dir, "disk.vhd.part.journal");
    assert_true(!tmp_exists(part) && !tmp_exists(journal));
    struct os_stat st;
    assert_int_equal(os_stat(path, &st, &e), 0);
    assert_true(st.allocated <= listed + listed / 50 + 65536 || !os_files_are_sparse());
    uint64_t sent = server_stat(&server, "body_bytes") - before;
    printf("%u kills, %" PRIu64 " bytes listed, %" PRIu64 " sent\n", kills, listed, sent);
    assert_true(kills > 0);
    /* A kill loses what was not committed (an interval and the time of a sync, a second in all on a slow machine), and what the server had sent
     * but nobody read: socket buffers of four connections. The page list is asked anew each time. */
    assert_true(sent <= listed + kills * (RATE + ((uint64_t)16 << 20)));
    server_stop(&server);
    free(expected);
    free(path);
    tmp_remove(dir);
}

int main(int argc, char **argv)
{
    struct err e;
    if (os_main_args(&argc, &argv, &e) < 0)
        return 2;
    if (argc == 3)
        return child(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

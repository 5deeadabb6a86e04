/* A process that downloads is killed, hard, at random instants, again and again: what its journal names is there each time, the file is right in the
 * end, and little was fetched twice. An image is a valid one after every kill: qemu-img says so. VMR_KILLS sets how many kills at most for each
 * form (default 12, for images 6; with SOAK=1 100), VMR_SEED the seed. */
#include "tests/unit/image_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "storage/image/open.h"
#include "storage/transfer/journal.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

#define RATE ((uint64_t)12 << 20)
#define COMMIT_MS 100

static const struct form { const char *name; bool image; struct image_layout layout; const char *check, *driver; } forms[] = {
    {"vhd", false, {0}, NULL, NULL},
    {"vhdx", true, {.format = IMAGE_VHDX}, "qemu-img check -q -f vhdx", "driver=vhdx"},
    {"vhd_dynamic", true, {.format = IMAGE_VHD_DYNAMIC}, "qemu-img info -f vpc", "driver=vpc,force_size_calc=current_size"},
};

static const struct form *form_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (!strcmp(forms[i].name, name))
            return &forms[i];
    return NULL;
}

static void source_open_disk(struct source *src, const char *url, const struct form *f, struct image_layout *l)
{
    source_open(src, url);
    *l = f->layout;
    l->virtual_size = src->info.length - 512;
    if (f->image)
        source_leave_footer(src);
}

static int child(const char *url, const char *path, const struct form *f)
{
    struct err e;
    struct source src;
    struct image_layout l;
    if (!f || http_init(&e) < 0)
        return 1;
    source_open_disk(&src, url, f, &l);
    struct transfer t = {.blob = src.blob,
                         .info = &src.info,
                         .ranges = &src.ranges,
                         .image = f->image ? &l : NULL,
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

static unsigned kills_most(const struct form *f)
{
    AUTO_FREE char *soak = os_getenv("SOAK");
    return env("VMR_KILLS", soak && *soak ? 100 : f->image ? 6 : 12);
}

static struct blob_server server;

/* What the journal says is there must be there. */
static uint64_t assert_journalled(const struct form *f, struct os_file *expected)
{
    struct source src;
    struct image_layout l;
    AUTO(journal_close_ptr) struct journal *j = NULL;
    AUTO(image_close_ptr) struct image *image = NULL;
    AUTO_IMAGE_FILE struct image_source file = {0};
    bool damaged;
    source_open_disk(&src, server.url, f, &l);
    const struct journal_source js = {.length = src.info.length, .etag = src.info.etag, .last_modified = src.info.last_modified};
    int r = journal_open("disk.part.journal", &js, &j, &damaged, &err_);
    source_close(&src);
    if (r == -ERR_EMPTY && !damaged)
        return 0;
    OK(r);
    if (f->check)
        sh("%s disk.part", f->check);
    const struct image_source *disk = &file;
    if (f->image) {
        OK(image_open("disk.part", (int)f->layout.format, &image, &err_));
        disk = image_disk(image);
        assert_true(disk->size == l.virtual_size);
    } else {
        OK(image_file_open("disk.part", &file, &err_));
    }
    static char a[1 << 20], b[1 << 20];
    uint64_t bytes = 0;
    const struct spans *s = journal_spans(j);
    for (size_t i = 0; i < s->n; i++)
        for (uint64_t at = s->list[i].start, n; at < s->list[i].end; at += n) {
            n = s->list[i].end - at < sizeof a ? s->list[i].end - at : sizeof a;
            OK(disk->read(disk->arg, a, (size_t)n, at, &err_));
            OK(os_file_pread(expected, b, (size_t)n, at, &err_));
            if (memcmp(a, b, (size_t)n))
                fail_msg("the journal has bytes %" PRIu64 "-%" PRIu64 ", and the file does not", at, at + n - 1);
            bytes += n;
        }
    return bytes;
}

static void judge(const struct form *f, uint64_t virtual_size)
{
    if (f->check)
        sh("%s disk", f->check);
    if (f->image)
        sh("qemu-img compare --image-opts %s,file.filename=disk driver=raw,size=%" PRIu64 ",file.filename=expected", f->driver, virtual_size);
    else
        assert_same_file("disk", "expected");
    struct transfer_verdict verdict;
    OK(transfer_verify(&(const struct transfer_verify){.path = "disk"}, &verdict, &err_));
    assert_true(verdict.damaged_bytes == 0 && verdict.unknown_bytes == 0);
}

static void kill_form(const struct form *f)
{
    AUTO_FREE char *said = NULL;
    AUTO(os_file_close_ptr) struct os_file *expected = NULL;
    unsigned most = kills_most(f), seed = env("VMR_SEED", 1), kills = 0, full = 0;
    OK(os_file_open("expected", OS_READ, &expected, &err_));
    uint64_t length, listed = server_stat(&server, "listed_bytes"), before = server_stat(&server, "body_bytes");
    OK(os_file_size(expected, &length, &err_));
    printf("%s, seed %u\n", f->name, seed);
    for (;;) {
        int64_t pid = tmp_start("log", (const char *const[]){server.url, "disk", f->name, NULL});
        seed = seed * 1103515245u + 12345;
        int64_t end = clock_mono_ms() + (kills < most ? 30 + seed / 65536 % 700 : 120000);
        while (os_process_alive(pid) && clock_mono_ms() < end)
            clock_sleep_ms(5);
        if (os_process_alive(pid)) {
            assert_true(kills < most);               /* else it hangs */
            tmp_kill(pid);
            kills++;
            struct os_stat st;
            OK(os_stat("disk", &st, &err_));
            if (st.exists)                           /* it may only be there when it is whole */
                judge(f, length - 512);
            else if (assert_journalled(f, expected))
                full++;
            continue;
        }
        free(STEAL(said));
        OK(os_read_file("log", 65536, &said, NULL, &err_));
        if (!str_starts(said, "done"))
            fail_msg("the child said: %s", said);
        break;
    }
    judge(f, length - 512);
    assert_true(!tmp_exists("disk.part") && !tmp_exists("disk.part.journal"));
    struct os_stat st;
    OK(os_stat("disk", &st, &err_));
    assert_true(st.allocated <= listed + listed / 50 + (f->image ? 8 * MIB : 65536) || !os_files_are_sparse());
    uint64_t sent = server_stat(&server, "body_bytes") - before;
    printf("%s: %u kills, after %u of them something was journalled; %" PRIu64 " bytes listed, %" PRIu64 " sent\n", f->name, kills, full, listed, sent);
    assert_true(kills > 0 && full > 0);
    /* A kill loses what was not committed (an interval and the time of a sync, a second in all on a slow machine), and what the server had sent
     * but nobody read: socket buffers of four connections. The page list is asked anew each time. */
    assert_true(sent <= listed + kills * (RATE + ((uint64_t)16 << 20)));
    OK(os_remove("disk", &err_));
    OK(transfer_discard("disk", &err_));
}

static void kill_plain(void **state) { (void)state; kill_form(form_named("vhd")); }
static void kill_vhdx(void **state) { (void)state; kill_form(form_named("vhdx")); }
static void kill_vhd_dynamic(void **state) { (void)state; kill_form(form_named("vhd_dynamic")); }

static int enter(void **state)
{
    char size[16];
    snprintf(size, sizeof size, "%uM", kills_most(&forms[0]) > 12 ? 512 : 64);
    OK(http_init(&err_));
    server_start(&server, (const char *const[]){"--size", size, "--used", "50", "--vhd", NULL});       /* before the folder changes */
    int r = scratch_enter(state);
    server_fetch(&server, "expected");
    return r;
}

static int leave(void **state)
{
    server_stop(&server);
    return scratch_leave(state);
}

int main(int argc, char **argv)
{
    struct err e;
    if (os_main_args(&argc, &argv, &e) < 0)
        return 2;
    if (argc == 4)
        return child(argv[1], argv[2], form_named(argv[3]));
    const struct CMUnitTest tests[] = {cmocka_unit_test(kill_plain), cmocka_unit_test(kill_vhdx), cmocka_unit_test(kill_vhd_dynamic)};
    return cmocka_run_group_tests(tests, enter, leave);
}

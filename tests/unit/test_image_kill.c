/* The writer, cut off. What it asks of the file is recorded; then the file is made again as a kill between any two of these calls, a kill in
 * the middle of one, or a loss of power (any of the sectors that no flush covered) would leave it. Each time the image must be valid,
 * must hold all that was committed, and must become the same disk as the undisturbed one when it is gone on with. */
#include "tests/unit/image_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/image/open.h"
#include "storage/image/writer.h"

#define DISK (150 * MIB + 512)                       /* a VHD grows by 128 MiB at a time */
#define RANGES 60

/* ---- the recorder, between the writer and the file (the linker's --wrap) ---- */

enum kind { OP_WRITE, OP_SIZE, OP_SYNC };
struct op { enum kind kind; uint64_t offset; size_t n; uint8_t *data; unsigned committed; };   /* committed: ranges that were when the call came */
static struct op ops[4096];
static size_t n_ops;
static bool recording;
static unsigned committed;

int __real_os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e);
int __real_os_file_truncate(struct os_file *f, uint64_t size, struct err *e);
int __real_os_file_sync(struct os_file *f, struct err *e);
int __wrap_os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e);
int __wrap_os_file_truncate(struct os_file *f, uint64_t size, struct err *e);
int __wrap_os_file_sync(struct os_file *f, struct err *e);

static void record(enum kind kind, const void *buf, size_t n, uint64_t offset)
{
    if (!recording)
        return;
    assert_true(n_ops < ARRAY_LEN(ops));
    ops[n_ops] = (struct op){.kind = kind, .offset = offset, .n = n, .data = n ? malloc(n) : NULL, .committed = committed};
    if (n) {
        assert_non_null(ops[n_ops].data);
        memcpy(ops[n_ops].data, buf, n);
    }
    n_ops++;
}

int __wrap_os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e)
{
    record(OP_WRITE, buf, n, offset);
    return __real_os_file_pwrite(f, buf, n, offset, e);
}

int __wrap_os_file_truncate(struct os_file *f, uint64_t size, struct err *e)
{
    record(OP_SIZE, NULL, 0, size);
    return __real_os_file_truncate(f, size, e);
}

int __wrap_os_file_sync(struct os_file *f, struct err *e)
{
    record(OP_SYNC, NULL, 0, 0);
    return recording ? 0 : __real_os_file_sync(f, e);    /* what is durable is decided here */
}

/* ---- the disk ---- */

static struct range { uint64_t at; size_t n; } ranges[RANGES];         /* disjoint */
static uint8_t *final_;                              /* with all of them */

static void make_ranges(void)
{
    final_ = calloc(1, DISK);
    assert_non_null(final_);
    for (unsigned i = 0; i < RANGES;) {
        struct range r = {.at = dice(DISK / 512) * 512, .n = (size_t)(1 + dice(40)) * 512};
        if (i == 0)
            r = (struct range){DISK - 512, 512};
        if (r.at + r.n > DISK)
            continue;
        bool clash = false;
        for (unsigned k = 0; k < i; k++)
            clash = clash || (r.at < ranges[k].at + ranges[k].n && ranges[k].at < r.at + r.n);
        if (clash)
            continue;
        ranges[i++] = r;
        for (size_t k = 0; k < r.n; k++)
            final_[r.at + k] = (uint8_t)(dice(255) + 1);
    }
}

static void write_ranges(struct image_writer *w, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        OK(image_writer_write(w, final_ + ranges[i].at, ranges[i].n, ranges[i].at, &err_));
        if (i % 9 == 8) {
            OK(image_writer_commit(w, &err_));
            committed = recording ? i + 1 : committed;
        }
    }
}

static size_t record_all(const struct image_layout *l)
{
    for (size_t i = 0; i < n_ops; i++)
        free(ops[i].data);
    n_ops = 0;
    committed = 0;
    recording = true;
    os_remove("w", &err_);
    struct image_writer *w = NULL;
    OK(image_writer_create("w", l, &w, &err_));
    size_t created = n_ops;
    write_ranges(w, 0, RANGES);
    OK(image_writer_finish(w, &err_));
    committed = RANGES;
    record(OP_SYNC, NULL, 0, 0);
    recording = false;
    image_writer_close(w);
    return created;
}

/* ---- judges ---- */

static void assert_holds(const char *path, const struct image_layout *l, unsigned n, const char *what, size_t at)
{
    AUTO(image_close_ptr) struct image *i = NULL;
    if (image_open(path, (int)l->format, &i, &err_) < 0)
        fail_msg("%s %zu: %s", what, at, err_.msg);
    const struct image_source *d = image_disk(i);
    assert_true(d->size == DISK);
    static uint8_t buf[64 * 512];
    for (unsigned k = 0; k < RANGES; k++) {
        OK(d->read(d->arg, buf, ranges[k].n, ranges[k].at, &err_));
        for (size_t b = 0; b < ranges[k].n; b += 512)
            if (memcmp(buf + b, final_ + ranges[k].at + b, 512) && (k < n || memcmp(buf + b, (uint8_t[512]){0}, 512)))
                fail_msg("%s %zu: range %u of %u that are committed is not there", what, at, k, n);
    }
    static unsigned looks;
    if (!os_files_are_sparse() && looks++ % 16)      /* there all of a fixed disk is data, and would be read each time */
        return;
    static uint8_t big[MIB];                         /* and nothing anywhere else */
    for (uint64_t from = 0, start, end = 0;; from = end) {
        OK(image_next_data(d, from, DISK, &start, &end, &err_));
        if (start == end)
            break;
        if (end - start > sizeof big)
            end = start + sizeof big;
        OK(d->read(d->arg, big, (size_t)(end - start), start, &err_));
        for (uint64_t b = start; b < end; b++)
            if (big[b - start] && big[b - start] != final_[b])
                fail_msg("%s %zu: byte %" PRIu64 " was never written", what, at, b);
    }
}

static void judge(const struct image_layout *l, const char *path)
{
    if (l->format == IMAGE_VHDX)
        sh("qemu-img check -q -f vhdx %s", path);
    else
        sh("qemu-img info -f %s %s", l->format == IMAGE_RAW ? "raw" : "vpc", path);
}

static void copy_file(const char *from, const char *to)
{
    sh("cp --sparse=always %s %s", from, to);
}

static void compare_with_final(const struct image_layout *l, const char *path)
{
    static const char *const drivers[] = {
        [IMAGE_RAW] = "driver=raw", [IMAGE_VHD] = "driver=vpc,force_size_calc=current_size", [IMAGE_VHD_DYNAMIC] = "driver=vpc,force_size_calc=current_size",
        [IMAGE_VHDX] = "driver=vhdx"};
    sh("qemu-img compare --image-opts %s,file.filename=%s driver=raw,file.filename=final", drivers[l->format], path);
}

/* Go on with a copy, from what was committed. */
static void resume(const struct image_layout *l, const char *path, unsigned n, const char *what, size_t at, bool compare)
{
    copy_file(path, "r");
    struct image_writer *w = NULL;
    if (image_writer_open("r", l, &w, &err_) < 0)
        fail_msg("%s %zu: %s", what, at, err_.msg);
    assert_holds("r", l, n, what, at);
    write_ranges(w, n, RANGES);
    OK(image_writer_finish(w, &err_));
    image_writer_close(w);
    assert_holds("r", l, RANGES, what, at);
    if (compare) {
        judge(l, "r");
        compare_with_final(l, "r");
    }
}

static void apply(struct os_file *f, const struct op *op, size_t from, size_t n)
{
    if (op->kind == OP_WRITE)
        OK(__real_os_file_pwrite(f, op->data + from, n, op->offset + from, &err_));
    else if (op->kind == OP_SIZE)
        OK(__real_os_file_truncate(f, op->offset, &err_));
}

/* Where files are not sparse a fixed VHD gets its footer at the end. */
static void skip_late_footer(const struct image_layout *l)
{
    if (l->format == IMAGE_VHD && !os_files_are_sparse())
        skip();
}

static void every_kill(const struct image_layout *l)
{
    skip_late_footer(l);
    AUTO_FREE char *soak = os_getenv("SOAK");
    size_t created = record_all(l), judged = 0, step = soak && *soak ? 1 : 11, halves = 0;
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    OK(os_file_open("k", OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, &err_));
    for (size_t i = 0; i < n_ops; i++) {
        const struct op *op = &ops[i];
        if (i >= created && op->kind == OP_WRITE && op->n > 512) {     /* in the middle: whole sectors of the call */
            size_t half = (size_t)((op->offset + (1 + dice(op->n / 512 - 1)) * 512) / 512 * 512 - op->offset);
            apply(f, op, 0, half);
            assert_holds("k", l, op->committed, "half of call", i);
            halves++;
        }
        apply(f, op, 0, op->n);
        if (i + 1 < created || op->kind == OP_SYNC)
            continue;
        assert_holds("k", l, op->committed, "after call", i);
        if (i % step == 0 && (os_files_are_sparse() || i % 3 == 0)) {
            judge(l, "k");
            resume(l, "k", op->committed, "resumed after call", i, judged++ % 3 == 0);
        }
    }
    assert_true(judged > 1 && halves > 20);
    compare_with_final(l, "k");
    print_message("%u calls, each cut before, %u also within; qemu-img asked %u times\n", (unsigned)n_ops, (unsigned)halves, (unsigned)judged);
}

/* Since the last flush: each write whole, in part, or lost, sector by sector; changes of the size up to one of them. */
static void power_loss(const struct image_layout *l)
{
    skip_late_footer(l);
    AUTO_FREE char *soak = os_getenv("SOAK");
    unsigned rounds = soak && *soak ? 4000 : os_files_are_sparse() ? 150 : 30;
    size_t created = record_all(l);
    for (unsigned round = 0; round < rounds; round++) {
        size_t at = created + dice(n_ops - created), flushed = at;
        while (flushed && ops[flushed - 1].kind != OP_SYNC)
            flushed--;
        struct os_file *f = NULL;
        OK(os_file_open("k", OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, &err_));
        for (size_t i = 0; i < flushed; i++)
            apply(f, &ops[i], 0, ops[i].n);
        size_t sized = flushed + dice(at - flushed + 1);
        for (size_t i = flushed; i < at; i++) {
            if (ops[i].kind == OP_SIZE && i < sized)
                apply(f, &ops[i], 0, 0);
            for (size_t k = 0; k < ops[i].n; k += 512)
                if (dice(2))
                    apply(f, &ops[i], k, ops[i].n - k < 512 ? ops[i].n - k : 512);
        }
        os_file_close(f);
        assert_holds("k", l, ops[at].committed, "power lost at call", at);
        if (round % 30 == 0) {
            judge(l, "k");
            resume(l, "k", ops[at].committed, "resumed after power was lost at call", at, true);
        }
    }
}

#define KILL_TEST(name, ...) \
    static void kill_##name(void **state) { (void)state; every_kill(&(const struct image_layout){.virtual_size = DISK, __VA_ARGS__}); } \
    static void power_##name(void **state) { (void)state; power_loss(&(const struct image_layout){.virtual_size = DISK, __VA_ARGS__}); }
KILL_TEST(raw, .format = IMAGE_RAW)
KILL_TEST(vhd, .format = IMAGE_VHD)
KILL_TEST(vhd_dynamic, .format = IMAGE_VHD_DYNAMIC)
KILL_TEST(vhdx, .format = IMAGE_VHDX)
KILL_TEST(vhdx_fixed, .format = IMAGE_VHDX, .fixed = true)

static int enter(void **state)
{
    int r = scratch_enter(state);
    make_ranges();
    return r ? r : os_write_file("final", final_, DISK, 0, &err_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_raw),  cmocka_unit_test(kill_vhd),  cmocka_unit_test(kill_vhd_dynamic),  cmocka_unit_test(kill_vhdx),  cmocka_unit_test(kill_vhdx_fixed),
        cmocka_unit_test(power_raw), cmocka_unit_test(power_vhd), cmocka_unit_test(power_vhd_dynamic), cmocka_unit_test(power_vhdx), cmocka_unit_test(power_vhdx_fixed),
    };
    return cmocka_run_group_tests(tests, enter, scratch_leave);
}

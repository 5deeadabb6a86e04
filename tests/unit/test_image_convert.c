/* Differencing chains and conversions. The chains are made by the Hyper-V double's own disk code; libvhdi reads them too. */
#include "tests/unit/image_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/image/convert.h"
#include "storage/image/disk.h"
#include "tests/doubles/wmi/core.h"
#include "tests/unit/tmp.h"

#define DISK (21 * MIB + 512 * 3)

/* ---- chains ---- */

static void scribble(const char *path, uint8_t *model, int times)
{
    for (int i = 0; i < times; i++) {
        uint8_t data[5 * 512];
        uint64_t at = dice(DISK / 512 - 5) * 512;
        size_t n = (size_t)(1 + dice(5)) * 512;
        for (size_t k = 0; k < n; k++)
            data[k] = (uint8_t)(1 + dice(255));
        assert_int_equal(disk_write(path, at, data, n), 0);
        memcpy(model + at, data, n);
    }
}

/* Gives sectors of a child's stored blocks back to the parent, in the child's bitmap. `model` is the child's view, `below` the parent's. */
static void punch_vhd(const char *path, uint8_t *model, const uint8_t *below)
{
    struct mem_image m = mem_load(path);
    uint64_t header = be64(m.data + 16), table = be64(m.data + header + 16), block_bytes = be32(m.data + header + 32), punched = 0;
    for (uint64_t b = 0; b * block_bytes < DISK; b++) {
        uint64_t at = be32(m.data + table + 4 * b) * UINT64_C(512);
        if (be32(m.data + table + 4 * b) == UINT32_MAX)
            continue;
        for (uint64_t s = 0; s < block_bytes / 512 && b * block_bytes + s * 512 < DISK; s++)
            if (dice(3) == 0) {
                m.data[at + s / 8] &= (uint8_t)~(0x80 >> s % 8);
                memset(m.data + at + 512 + s * 512, 0xee, 512);          /* what lies there counts no more */
                memcpy(model + b * block_bytes + s * 512, below + b * block_bytes + s * 512, 512);
                punched++;
            }
    }
    assert_true(punched > 100);
    OK(os_write_file(path, m.data, m.size, 0, &err_));
    mem_drop(&m);
}

static void punch_vhdx(const char *path, uint8_t *model, const uint8_t *below)
{
    struct mem_image m = mem_load(path);
    const uint64_t table = 3 * MIB, block_bytes = 2 * MIB, chunk = (UINT64_C(1) << 32) / block_bytes;      /* as the double makes them */
    uint64_t bitmap_at = (m.size + MIB - 1) / MIB * MIB, punched = 0;
    struct mem_image big = mem_zeros(bitmap_at + MIB);
    memcpy(big.data, m.data, m.size);
    uint8_t *bits = big.data + bitmap_at;
    for (uint64_t b = 0; b * block_bytes < DISK; b++) {
        uint8_t *entry = big.data + table + 8 * b;
        if ((entry[0] & 7) != 6)
            continue;
        entry[0] = (uint8_t)((entry[0] & ~7) | 7);
        uint64_t data = le64(entry) >> 20 << 20, first = b * block_bytes / 512;
        for (uint64_t s = 0; s < block_bytes / 512 && b * block_bytes + s * 512 < DISK; s++) {
            if (dice(3)) {
                bits[(first + s) / 8] |= (uint8_t)(1 << (first + s) % 8);
                continue;
            }
            memset(big.data + data + s * 512, 0xee, 512);
            memcpy(model + b * block_bytes + s * 512, below + b * block_bytes + s * 512, 512);
            punched++;
        }
    }
    assert_true(punched > 100);
    put_le32(big.data + table + 8 * chunk, (uint32_t)(bitmap_at | 6));
    OK(os_write_file(path, big.data, big.size, 0, &err_));
    mem_drop(&m);
    mem_drop(&big);
}

struct chain { const char *base, *middle, *top; int format; uint8_t *model; };

static struct chain make_chain(int format, bool punched)
{
    struct chain c = format == DISK_VHD ? (struct chain){"base.vhd", "middle.vhd", "top.vhd", format, NULL} : (struct chain){"base.vhdx", "middle.vhdx", "top.vhdx", format, NULL};
    uint8_t *base = calloc(1, DISK), *middle = malloc(DISK), *top = malloc(DISK);
    assert_true(base && middle && top);
    AUTO_FREE char *here = tmp_cwd(), *base_path = os_path_join(here, c.base), *middle_path = os_path_join(here, c.middle);
    sh("rm -f %s %s %s", c.base, c.middle, c.top);
    assert_int_equal(disk_create(c.base, format, DISK_DYNAMIC, DISK, NULL, 0, 0), 0);
    scribble(c.base, base, 60);
    assert_int_equal(disk_create(c.middle, format, DISK_DIFF, 0, base_path, 0, 0), 0);
    memcpy(middle, base, DISK);
    scribble(c.middle, middle, 8);
    if (punched)
        format == DISK_VHD ? punch_vhd(c.middle, middle, base) : punch_vhdx(c.middle, middle, base);
    assert_int_equal(disk_create(c.top, format, DISK_DIFF, 0, middle_path, 0, 0), 0);
    memcpy(top, middle, DISK);
    if (!punched)                                    /* the double, as it writes, would read through a bitmap that it does not know */
        scribble(c.top, top, 4);
    free(base);
    free(middle);
    c.model = top;
    return c;
}

static void libvhdi_agrees(const struct chain *c)
{
    sh("/usr/bin/python3 -c 'import pyvhdi, sys\n"
       "fs = [pyvhdi.file() for p in sys.argv[1:]]\n"
       "for f, p in zip(fs, sys.argv[1:]): f.open(p)\n"
       "for a, b in zip(fs, fs[1:]): a.set_parent(b)\n"
       "model = open(\"model\", \"rb\").read()\n"
       "assert fs[0].get_media_size() == len(model)\n"
       "for at in range(0, len(model), 65536): assert fs[0].read_buffer_at_offset(min(65536, len(model) - at), at) == model[at:at + 65536], at\n"
       "' %s %s %s", c->top, c->middle, c->base);
}

static void reads_chains(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct chain c = make_chain(k % 2 ? DISK_VHDX : DISK_VHD, k >= 2);
        assert_reads(c.top, -1, c.model, DISK);
        OK(os_write_file("model", c.model, DISK, 0, &err_));
        if (k != 2)                                  /* Debian 12's takes sectors of a VHD for there when any of the bitmap's byte is */
            libvhdi_agrees(&c);
        AUTO(image_close_ptr) struct image *i = NULL;
        OK(image_open(c.top, -1, &i, &err_));
        assert_int_equal(image_layers(i), 3);
        assert_true(image_info(i)->differencing && image_layer(i, 1)->differencing && !image_layer(i, 2)->differencing);
        assert_non_null(strstr(image_layer(i, 2)->path, c.base));
        struct image_info info;
        assert_int_equal(file_probe(c.top, -1, &info, &err_), -ERR_UNSUPPORTED);     /* where a whole disk is needed */
        free(c.model);
    }
}

/* Moved with its parents to another folder: the absolute name is of no use any more. */
static void finds_parents_or_says_why_not(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct chain c = make_chain(k ? DISK_VHDX : DISK_VHD, false);
        sh("rm -rf else; mkdir else; mv %s %s %s else/", c.top, c.middle, c.base);
        AUTO_FREE char *top = os_path_join("else", c.top);
        assert_reads(top, -1, c.model, DISK);
        AUTO(image_close_ptr) struct image *i = NULL;
        sh("mv else/%s else/gone", c.base);
        assert_int_equal(image_open(top, -1, &i, &err_), -ERR_NOT_FOUND);
        assert_non_null(strstr(err_.msg, c.base));
        sh("cp else/gone %s", c.base);               /* where the absolute name says */
        assert_reads(top, -1, c.model, DISK);
        sh("rm %s", c.base);
        assert_int_equal(disk_create(c.base, c.format, DISK_DYNAMIC, DISK, NULL, 0, 0), 0);
        sh("mv %s else/%s", c.base, c.base);         /* of this name, and another disk */
        assert_int_equal(image_open(top, -1, &i, &err_), -ERR_NOT_FOUND);
        assert_non_null(strstr(err_.msg, "another disk"));
        sh("cp else/%s else/%s", c.middle, c.base);  /* a circle: its parent is no file of another id, however often it is asked */
        assert_int_equal(image_open(top, -1, &i, &err_), -ERR_NOT_FOUND);
        free(c.model);
    }
}

/* ---- conversions ---- */

struct stopper { unsigned calls, after; };

static bool stop_after(void *arg)
{
    struct stopper *s = arg;
    return ++s->calls > s->after;
}

static int convert(const char *from, int expect, const char *to, const char *format, bool (*stop)(void *arg), void *arg, struct image_convert_progress *p)
{
    AUTO(image_close_ptr) struct image *i = NULL;
    OK(image_open(from, expect, &i, &err_));
    struct image_convert c = {.from = i, .to = to, .stop = stop, .arg = arg};
    assert_true(image_convert_format(format, &c));
    struct image_convert_progress ignored;
    return image_convert(&c, p ? p : &ignored, &err_);
}

static const char *const formats[] = {"raw", "vhd", "vhd_dynamic", "vhdx", "vhdx_fixed", "azure"};

static void flattens_chains_into_every_format(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct chain c = make_chain(k ? DISK_VHDX : DISK_VHD, true);
        for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
            bool azure = !strcmp(formats[f], "azure");
            uint64_t size = azure ? (DISK + MIB - 1) / MIB * MIB : DISK;
            uint8_t *model = calloc(1, size);
            assert_non_null(model);
            memcpy(model, c.model, DISK);
            sh("rm -f out");
            OK(convert(c.top, -1, "out", formats[f], NULL, NULL, NULL));
            assert_reads("out", f ? -1 : IMAGE_RAW, model, size);
            if (azure) {
                struct os_stat st;
                OK(os_stat("out", &st, &err_));
                assert_true((st.size - 512) % MIB == 0);
            }
            sh("! ls out.part out.part.state");
            free(model);
        }
        free(c.model);
    }
}

static void make_source(const char *path, uint8_t **ret_model)
{
    uint8_t *model = calloc(1, DISK);
    assert_non_null(model);
    for (int i = 0; i < 40; i++)
        memset(model + dice(DISK - 70000), (int)(1 + dice(255)), 1 + dice(70000));
    OK(os_write_file(path, model, DISK, 0, &err_));
    *ret_model = model;
}

/* Stopped after every step that there is, and gone on with: nothing is read twice but what no commit covered, and the end is the same. */
static void goes_on_after_each_stop(void **state)
{
    (void)state;
    uint8_t *model;
    make_source("s.raw", &model);
    for (size_t f = 0; f < ARRAY_LEN(formats) - 1; f++) {
        sh("rm -f out");
        unsigned rounds = 0;
        uint64_t last = 0;
        for (int r = -ERR_CANCELLED; r == -ERR_CANCELLED; rounds++) {
            struct stopper s = {.after = 1};
            struct image_convert_progress p = {0};
            r = convert("s.raw", IMAGE_RAW, "out", formats[f], stop_after, &s, &p);
            if (r < 0 && r != -ERR_CANCELLED)
                fail_msg("%s", err_.msg);
            assert_true(p.resumed_at == last && (p.done > last || r == 0));
            last = p.done;
            if (r < 0)
                sh("! ls out; ls out.part out.part.state");
        }
        assert_true(rounds > 10);
        assert_reads("out", f ? -1 : IMAGE_RAW, model, DISK);
        sh("! ls out.part out.part.state");
    }
    free(model);
}

static void begins_anew_when_it_must(void **state)
{
    (void)state;
    uint8_t *model;
    make_source("s.raw", &model);
    struct stopper s = {.after = 5};
    struct image_convert_progress p;
    sh("rm -f out");
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", stop_after, &s, &p), -ERR_CANCELLED);
    free(model);
    sh("rm s.raw");
    make_source("s.raw", &model);                    /* another source of the name */
    OK(convert("s.raw", IMAGE_RAW, "out", "vhdx", NULL, NULL, &p));
    assert_true(p.resumed_at == 0);
    assert_reads("out", -1, model, DISK);
    sh("rm out");
    s.calls = 0;
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", stop_after, &s, &p), -ERR_CANCELLED);
    OK(convert("s.raw", IMAGE_RAW, "out", "vhd", NULL, NULL, &p));       /* another format */
    assert_true(p.resumed_at == 0);
    assert_reads("out", IMAGE_VHD, model, DISK);
    sh("rm out");
    s.calls = 0;
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", stop_after, &s, &p), -ERR_CANCELLED);
    struct mem_image part = mem_load("out.part");    /* damaged meanwhile, but still that file */
    memset(part.data + 64 * 1024, 0, 128 * 1024);
    struct os_file *f = NULL;
    OK(os_file_open("out.part", OS_WRITE, &f, &err_));
    OK(os_file_pwrite(f, part.data, part.size, 0, &err_));
    os_file_close(f);
    mem_drop(&part);
    OK(convert("s.raw", IMAGE_RAW, "out", "vhdx", NULL, NULL, &p));
    assert_true(p.resumed_at == 0);
    assert_reads("out", -1, model, DISK);
    free(model);
}

static void touches_nothing_of_others(void **state)
{
    (void)state;
    uint8_t *model;
    make_source("s.raw", &model);
    static const char *const names[] = {"out", "out.part", "out.part.state"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        sh("rm -f out*; echo mine >%s", names[i]);
        assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", NULL, NULL, NULL), -ERR_WRONG_STATE);
        assert_non_null(strstr(err_.msg, names[i]));
        sh("[ \"$(cat %s)\" = mine ] && [ $(ls -d out* | wc -l) = 1 ]", names[i]);
    }
    struct stopper s = {.after = 3};
    sh("rm -f out*");
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", stop_after, &s, NULL), -ERR_CANCELLED);
    sh("echo mine >other; mv other out.part");       /* in the place of ours */
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", NULL, NULL, NULL), -ERR_WRONG_STATE);
    sh("[ \"$(cat out.part)\" = mine ]; rm out.part");
    AUTO(image_close_ptr) struct image *i = NULL;    /* two at a time */
    s.calls = 0;
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", stop_after, &s, NULL), -ERR_CANCELLED);
    struct os_file *f = NULL;
    OK(os_file_open("out.part", OS_WRITE, &f, &err_));
    OK(os_file_lock(f, &err_));
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhdx", NULL, NULL, NULL), -ERR_LOCKED);
    assert_int_equal(convert("s.raw", IMAGE_RAW, "out", "vhd", NULL, NULL, NULL), -ERR_LOCKED);
    os_file_close(f);
    OK(convert("s.raw", IMAGE_RAW, "out", "vhdx", NULL, NULL, NULL));
    assert_reads("out", -1, model, DISK);
    /* what cannot be written is refused before a file is made */
    sh("qemu-img create -q -f vhdx big.vhdx 3T");
    OK(image_open("big.vhdx", -1, &i, &err_));
    struct image_convert c = {.from = i, .to = "big.vhd"};
    assert_true(image_convert_format("vhd_dynamic", &c));
    assert_int_equal(image_convert(&c, NULL, &err_), -ERR_UNSUPPORTED);
    sh("! ls big.vhd big.vhd.part big.vhd.part.state");
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_chains), cmocka_unit_test(finds_parents_or_says_why_not), cmocka_unit_test(flattens_chains_into_every_format),
        cmocka_unit_test(goes_on_after_each_stop), cmocka_unit_test(begins_anew_when_it_must), cmocka_unit_test(touches_nothing_of_others),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

/* The readers beside qemu-img: images with wrong bytes in the places that matter, right checksums put over most of them. Either may refuse
 * one; where both take it, they must read the same disk. */
#include "tests/unit/image_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/image/open.h"
#include "storage/image/vhd.h"
#include "storage/image/vhdx.h"
#include "storage/image/writer.h"
#include "tests/unit/tmp.h"

/* Where a wrong byte means something: offset, length, and the structure whose checksum covers it (0: none), with the checksum's place in it. */
struct place { uint64_t at, n, sealed, sealed_n, field; };
static const struct place in_vhd[] = {
    {0, 90, 0, 512, 64}, {512, 60, 512, 1024, 36}, {1536, 64, 0, 0, 0}, {512, 1024, 512, 1024, 36},
};
static const struct place in_vhdx[] = {
    {64 << 10, 80, 64 << 10, 4096, 4},   {128 << 10, 80, 128 << 10, 4096, 4}, {192 << 10, 80, 192 << 10, 65536, 4}, {256 << 10, 80, 256 << 10, 65536, 4},
    {2 << 20, 192, 0, 0, 0},             {(2 << 20) + (64 << 10), 48, 0, 0, 0}, {3 << 20, 160, 0, 0, 0},              {3 << 20, 160, 0, 0, 0},
};

static void damage(uint8_t *p, uint64_t size, const struct place *places, size_t n_places, bool vhd)
{
    for (uint64_t times = 1 + dice(3); times; times--) {
        const struct place *w = &places[dice(n_places)];
        uint64_t at = w->at + dice(w->n);
        static const uint8_t values[] = {0, 1, 2, 3, 4, 6, 7, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xfe, 0xff};
        if (dice(3))
            p[at] = values[dice(ARRAY_LEN(values))];
        else
            p[at] = (uint8_t)(p[at] ^ (1u << dice(8)));
        if (!w->sealed_n || !dice(10))
            continue;
        if (vhd)
            vhd_seal(p + w->sealed, w->sealed_n, w->field);
        else
            put_le32(p + w->sealed + w->field, vhdx_checksum(p + w->sealed, w->sealed_n, w->field));
        if (vhd && w->sealed == 0)
            memcpy(p + size - 512, p, 512);          /* qemu-img believes the copy, we the footer */
    }
}

static struct mem_image make(enum image_format format)
{
    struct image_layout l = {.format = format, .virtual_size = 24 * MIB + 512};
    os_remove("o", &err_);
    struct image_writer *w = NULL;
    OK(image_writer_create("o", &l, &w, &err_));
    for (int i = 0; i < 12; i++) {
        uint8_t data[9000];
        memset(data, (int)(1 + dice(255)), sizeof data);
        OK(image_writer_write(w, data, sizeof data, dice(l.virtual_size - sizeof data), &err_));
    }
    OK(image_writer_finish(w, &err_));
    image_writer_close(w);
    return mem_load("o");
}

/* -1: refused; else the disk lies in "flat". Larger ones than that are not worth a comparison. */
static int read_ours(enum image_format format)
{
    AUTO(image_close_ptr) struct image *i = NULL;
    if (image_open("x", (int)format, &i, &err_) < 0)
        return -1;
    const struct image_source *d = image_disk(i);
    if (image_layers(i) > 1 || d->size > 512 * MIB)
        return -1;
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    OK(os_file_open("flat", OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, &err_));
    OK(os_file_truncate(f, d->size, &err_));
    static uint8_t buf[MIB];
    for (uint64_t from = 0, start, end; from < d->size; from = end) {
        if (image_next_data(d, from, d->size, &start, &end, &err_) < 0)
            return -1;
        end = end - start > sizeof buf ? start + sizeof buf : end;
        if (end > start && d->read(d->arg, buf, (size_t)(end - start), start, &err_) < 0)
            return -1;
        if (end > start)
            OK(os_file_pwrite(f, buf, (size_t)(end - start), start, &err_));
    }
    return 0;
}

static void differ(enum image_format format, const struct place *places, size_t n_places)
{
    AUTO_FREE char *soak = os_getenv("SOAK"), *cwd = tmp_cwd();
    unsigned rounds = soak && *soak ? 2000 : 120, ours = 0, both = 0;
    bool vhd = format == IMAGE_VHD_DYNAMIC;
    dice_from(88172645463325252u + (uint64_t)format);
    struct mem_image good = make(format);
    for (unsigned round = 0; round < rounds; round++) {
        struct mem_image m = mem_copy(&good, good.size);
        if (round)                                   /* the first is as it was made */
            damage(m.data, m.size, places, n_places, vhd);
        OK(os_write_file("x", m.data, m.size, 0, &err_));
        mem_drop(&m);
        if (read_ours(format) < 0)
            continue;
        ours++;
        AUTO_FREE char *line = str_printf("PATH=$PATH:/usr/bin; timeout 60 qemu-img compare --image-opts %s,file.filename=x driver=raw,file.filename=flat >said 2>&1; s=$?; grep -q mismatch said && s=1; exit $s",
                                          vhd ? "driver=vpc,force_size_calc=current_size" : "driver=vhdx");
        assert_non_null(line);
        int status = tmp_shell(cwd, line);
        both += status == 0;
        if (status == 1) {
            AUTO_FREE char *said = NULL;
            OK(os_read_file("said", 65536, &said, NULL, &err_));
            fail_msg("round %u: we read another disk than qemu-img: %s", round, said);
        }
    }
    print_message("%u images, %u read by us, %u of them by qemu-img too, and the same\n", rounds, ours, both);
    assert_true(ours > rounds / 8 && both > rounds / 10);
    mem_drop(&good);
}

static void vhd_as_qemu_reads_it(void **state)
{
    (void)state;
    differ(IMAGE_VHD_DYNAMIC, in_vhd, ARRAY_LEN(in_vhd));
}

static void vhdx_as_qemu_reads_it(void **state)
{
    (void)state;
    differ(IMAGE_VHDX, in_vhdx, ARRAY_LEN(in_vhdx));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vhd_as_qemu_reads_it), cmocka_unit_test(vhdx_as_qemu_reads_it)};
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

/* VHD, made by qemu-img and then damaged in every way that matters. */
#include "tests/unit/image_util.h"

#include <stdio.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)

static const uint64_t sizes[] = {MIB, 5 * MIB, 40 * MIB, 127 * GIB, 2040 * GIB};

static void make_fixed(const char *name, uint64_t bytes)
{
    sh("qemu-img create -q -f vpc -o subformat=fixed,force_size=on %s %llu", name, (unsigned long long)bytes);
}

static uint64_t file_size(const char *name)
{
    struct image_source src = {0};
    struct err e;
    assert_int_equal(image_file_open(name, &src, &e), 0);
    uint64_t n = src.size;
    image_file_close(&src);
    return n;
}

static void reads_every_size(void **state)
{
    (void)state;
    struct image_info info;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        make_fixed("f.vhd", sizes[i]);
        assert_int_equal(file_probe("f.vhd", -1, &info, &e), 0);
        assert_int_equal(info.format, IMAGE_VHD);
        assert_true(info.virtual_size == sizes[i]);
        assert_true(file_size("f.vhd") == sizes[i] + 512);
        assert_int_equal(info.sector_size, 512);
        assert_int_equal(info.table, TABLE_NONE);
        assert_int_equal(info.generation, 1);
        assert_int_equal(file_probe("f.vhd", IMAGE_VHD, &info, &e), 0);
        assert_int_equal(file_probe("f.vhd", IMAGE_VHD_DYNAMIC, &info, &e), -ERR_NOT_VHD);

        sh("qemu-img create -q -f vpc -o subformat=dynamic,force_size=on d.vhd %llu", (unsigned long long)sizes[i]);
        assert_int_equal(file_probe("d.vhd", -1, &info, &e), 0);
        assert_int_equal(info.format, IMAGE_VHD_DYNAMIC);
        assert_true(info.virtual_size == sizes[i]);
        assert_int_equal(file_probe("d.vhd", IMAGE_VHD, &info, &e), -ERR_NOT_VHD);
    }
}

/* Without force_size qemu-img rounds up to whole cylinders; what the footer says is what the file holds. */
static void reads_sizes_of_whole_cylinders(void **state)
{
    (void)state;
    struct image_info info;
    struct err e;
    sh("qemu-img create -q -f vpc -o subformat=fixed c.vhd 10M");
    assert_int_equal(file_probe("c.vhd", -1, &info, &e), 0);
    assert_true(info.virtual_size == file_size("c.vhd") - 512);
    assert_true(info.virtual_size > 10 * MIB);
}

static void refuses_every_flipped_footer_byte(void **state)
{
    (void)state;
    make_fixed("f.vhd", MIB);
    struct mem_image m = mem_load("f.vhd");
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < 512; i++)
        for (size_t k = 0; k < ARRAY_LEN(flips); k++) {
            m.data[m.size - 512 + i] ^= flips[k];
            assert_refused(&m, -1, ERR_VHD_DAMAGED, "offset 1048576");
            m.data[m.size - 512 + i] ^= flips[k];
        }
    struct image_info info;
    struct err e;
    assert_int_equal(mem_probe(&m, -1, &info, &e), 0);
    mem_drop(&m);
}

static void says_what_was_found(void **state)
{
    (void)state;
    make_fixed("f.vhd", MIB);
    struct mem_image m = mem_load("f.vhd");
    uint8_t *f = m.data + m.size - 512;
    f[0] = 'x';
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "78 6f 6e 65 63 74 69 78 ('xonectix')");
    f[0] = 'c';
    put_be32(f + 64, 0x12345678);
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "its checksum is 0x12345678, its bytes give 0x");
    mem_drop(&m);
}

static void refuses_impossible_footers(void **state)
{
    (void)state;
    make_fixed("f.vhd", MIB);
    struct mem_image m = mem_load("f.vhd");
    uint8_t *f = m.data + m.size - 512, good[512];
    memcpy(good, f, sizeof good);
    static const struct { uint64_t size; enum err_code code; } sizes_bad[] = {
        {0, ERR_VHD_DAMAGED},        {UINT64_MAX, ERR_VHD_DAMAGED},     {(uint64_t)INT64_MIN, ERR_VHD_DAMAGED}, {(uint64_t)-512, ERR_VHD_DAMAGED},
        {INT64_MAX, ERR_VHD_DAMAGED}, {MIB + 1, ERR_VHD_DAMAGED},       {MIB - 512, ERR_VHD_DAMAGED},           {512, ERR_VHD_DAMAGED},
        {MIB + 512, ERR_SOURCE_TRUNCATED}, {64 * 1024 * GIB, ERR_SOURCE_TRUNCATED}, {64 * 1024 * GIB + 512, ERR_VHD_DAMAGED},
    };
    for (size_t i = 0; i < ARRAY_LEN(sizes_bad); i++) {
        char text[32];
        snprintf(text, sizeof text, "%llu bytes", (unsigned long long)sizes_bad[i].size);
        put_be64(f + 48, sizes_bad[i].size);
        vhd_seal(f, 512, 64);
        assert_refused(&m, -1, sizes_bad[i].code, text);
    }
    memcpy(f, good, sizeof good);
    static const struct { uint32_t type; enum err_code code; const char *text; } types[] = {
        {0, ERR_VHD_DAMAGED, "disk type 0"}, {1, ERR_VHD_DAMAGED, "disk type 1"}, {5, ERR_VHD_DAMAGED, "disk type 5"},
        {UINT32_MAX, ERR_VHD_DAMAGED, "disk type 4294967295"}, {4, ERR_UNSUPPORTED, "differencing"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        put_be32(f + 60, types[i].type);
        vhd_seal(f, 512, 64);
        assert_refused(&m, -1, types[i].code, types[i].text);
    }
    memcpy(f, good, sizeof good);
    put_be32(f + 12, 0x00020000);
    vhd_seal(f, 512, 64);
    assert_refused(&m, -1, ERR_UNSUPPORTED, "version 2.0");
    /* A dynamic disk's footer on a fixed disk: where its header should be there is none. */
    memcpy(f, good, sizeof good);
    put_be32(f + 60, 3);
    vhd_seal(f, 512, 64);
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "past the end of the data");
    put_be64(f + 16, 0);
    vhd_seal(f, 512, 64);
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "at offset 0 is 00 00 00 00 00 00 00 00 where");
    mem_drop(&m);
}

/* Azure's exports: creator "wa" and zeros, a geometry of fewer sectors than the disk has. */
static void reads_azure_exports(void **state)
{
    (void)state;
    make_fixed("f.vhd", 8 * MIB);
    struct mem_image m = mem_load("f.vhd");
    uint8_t *f = m.data + m.size - 512;
    memcpy(f + 28, "wa\0\0", 4);
    put_be32(f + 56, 0x00f0040f);
    memset(f + 68, 0xa5, 16);
    vhd_seal(f, 512, 64);
    struct image_info info;
    struct err e;
    assert_int_equal(mem_probe(&m, -1, &info, &e), 0);
    assert_true(info.virtual_size == 8 * MIB);
    assert_string_equal(info.creator, "wa");
    for (int i = 0; i < 16; i++)
        assert_int_equal(info.unique_id[i], 0xa5);
    memcpy(f + 28, "\x1b[2J", 4);                    /* nothing that a terminal would act on */
    vhd_seal(f, 512, 64);
    assert_int_equal(mem_probe(&m, -1, &info, &e), 0);
    assert_string_equal(info.creator, "");
    /* A size that is not a whole number of MiB is odd for Azure but a disk all the same. */
    struct mem_image odd = mem_copy(&m, MIB + 1024);
    memcpy(odd.data + odd.size - 512, f, 512);
    put_be64(odd.data + odd.size - 512 + 48, MIB + 512);
    vhd_seal(odd.data + odd.size - 512, 512, 64);
    assert_int_equal(mem_probe(&odd, IMAGE_VHD, &info, &e), 0);
    assert_true(info.virtual_size == MIB + 512);
    mem_drop(&odd);
    mem_drop(&m);
}

static void tells_truncated_fixed_disks(void **state)
{
    (void)state;
    make_fixed("plain.vhd", 4 * MIB);
    sh("truncate -s 4M p.raw; echo 'start=2048, type=83' | sfdisk -q p.raw; qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on p.raw part.vhd");
    struct mem_image plain = mem_load("plain.vhd"), part = mem_load("part.vhd");
    for (size_t cut = 1; cut <= 2048; cut++) {
        struct mem_image a = mem_copy(&plain, plain.size - cut), b = mem_copy(&part, part.size - cut);
        if (cut <= 508) {                            /* enough of the footer is left to know it */
            assert_refused(&a, -1, ERR_SOURCE_TRUNCATED, "a VHD footer begins at offset 4194304");
            assert_refused(&b, -1, ERR_SOURCE_TRUNCATED, "a VHD footer begins at offset 4194304");
        } else {
            assert_refused(&a, -1, ERR_NOT_VHD, "'conectix' should be");
            if (cut <= 512)                          /* all that the table names is still there */
                assert_refused(&b, -1, ERR_NOT_VHD, "'conectix' should be");
            else
                assert_refused(&b, -1, ERR_SOURCE_TRUNCATED, "the MBR partition table at its start reaches to byte 4194304");
        }
        mem_drop(&a);
        mem_drop(&b);
    }
    /* Bytes added behind the footer. */
    struct mem_image longer = mem_zeros(plain.size + 512);
    memcpy(longer.data, plain.data, plain.size);
    assert_refused(&longer, -1, ERR_NOT_VHD, "00 00 00 00 00 00 00 00 where a VHD footer's");
    mem_drop(&longer);
    mem_drop(&plain);
    mem_drop(&part);
}

static struct mem_image make_dynamic(void)
{
    sh("truncate -s 8M d.raw; printf 'start=2048,size=2048,type=83\nsize=2048,type=7\n' | sfdisk -q d.raw");
    sh("dd if=/dev/urandom of=d.raw bs=64k seek=100 count=1 conv=notrunc");
    sh("qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on d.raw d.vhd");
    return mem_load("d.vhd");
}

static void assert_dynamic(struct mem_image *m)
{
    struct image_info info;
    struct err e;
    int r = mem_probe(m, -1, &info, &e);
    if (r)
        fail_msg("%s", e.msg);
    assert_int_equal(info.format, IMAGE_VHD_DYNAMIC);
    assert_true(info.virtual_size == 8 * MIB);
    assert_int_equal(info.table, TABLE_MBR);
    assert_int_equal(info.partitions, 2);
    assert_false(info.table_damaged);
}

static void reads_dynamic_disks_with_one_good_footer(void **state)
{
    (void)state;
    struct mem_image m = make_dynamic();
    uint8_t *end = m.data + m.size - 512;
    assert_dynamic(&m);
    for (size_t i = 0; i < 512; i++) {
        end[i] ^= 0x40;
        assert_dynamic(&m);                          /* by the copy at the start */
        m.data[i] ^= 0x40;
        assert_refused(&m, -1, ERR_VHD_DAMAGED, NULL);
        end[i] ^= 0x40;
        assert_dynamic(&m);                          /* by the footer */
        m.data[i] ^= 0x40;
    }
    mem_drop(&m);
}

static void tells_truncated_dynamic_disks(void **state)
{
    (void)state;
    struct mem_image m = make_dynamic();
    for (size_t cut = 1; cut <= 2048; cut++) {
        struct mem_image a = mem_copy(&m, m.size - cut);
        assert_refused(&a, -1, ERR_SOURCE_TRUNCATED, NULL);
        mem_drop(&a);
    }
    for (size_t size = 4096; size < m.size; size += 65536 + 512) {
        struct mem_image a = mem_copy(&m, size);
        assert_refused(&a, -1, ERR_SOURCE_TRUNCATED, "begins as a dynamic VHD");
        mem_drop(&a);
    }
    mem_drop(&m);
}

static void refuses_bad_dynamic_headers(void **state)
{
    (void)state;
    struct mem_image m = make_dynamic();
    uint8_t *h = m.data + 512, good[1024];
    memcpy(good, h, sizeof good);
    for (size_t i = 0; i < sizeof good; i++) {
        h[i] ^= 0x10;
        assert_refused(&m, -1, ERR_VHD_DAMAGED, "offset 512");
        h[i] ^= 0x10;
    }
    static const struct { size_t at; unsigned bytes; uint64_t value; enum err_code code; const char *text; } fields[] = {
        {16, 8, UINT64_MAX, ERR_VHD_DAMAGED, "past the end"},  {16, 8, 100 * MIB, ERR_VHD_DAMAGED, "past the end"},
        {16, 8, UINT64_MAX - 15, ERR_VHD_DAMAGED, "past the end"}, {24, 4, 0x00020000, ERR_UNSUPPORTED, "version"},
        {28, 4, 0, ERR_VHD_DAMAGED, "0 entries"},              {28, 4, 3, ERR_VHD_DAMAGED, "3 entries"},
        {32, 4, 0, ERR_VHD_DAMAGED, "block size of 0"},        {32, 4, 3 * MIB, ERR_VHD_DAMAGED, "block size of 3145728"},
        {32, 4, 512, ERR_VHD_DAMAGED, "block size of 512"},    {32, 4, 0x80000000, ERR_VHD_DAMAGED, "block size of 2147483648"},
        {32, 4, 4096, ERR_VHD_DAMAGED, "entries"},
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].bytes == 8)
            put_be64(h + fields[i].at, fields[i].value);
        else
            put_be32(h + fields[i].at, (uint32_t)fields[i].value);
        vhd_seal(h, 1024, 36);
        assert_refused(&m, -1, fields[i].code, fields[i].text);
        memcpy(h, good, sizeof good);
    }
    assert_dynamic(&m);
    mem_drop(&m);
}

static void refuses_blocks_outside_the_file(void **state)
{
    (void)state;
    struct mem_image m = make_dynamic();
    uint8_t *table = m.data + 1536;                  /* where qemu-img puts it */
    uint32_t first = (uint32_t)table[0] << 24 | (uint32_t)table[1] << 16 | (uint32_t)table[2] << 8 | table[3];
    assert_true(first != UINT32_MAX);
    put_be32(table, (uint32_t)(m.size / 512));       /* begins behind the end */
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "puts block 0 at sector");
    put_be32(table, UINT32_MAX - 1);
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "puts block 0 at sector 4294967294");
    put_be32(table, (uint32_t)(m.size / 512) - 8);   /* begins in the file, ends behind it */
    assert_refused(&m, -1, ERR_SOURCE_TRUNCATED, "puts block 0 at sector");
    put_be32(table, first);
    assert_dynamic(&m);
    put_be32(table, UINT32_MAX);                     /* nothing stored: zeros, so no partition table */
    struct image_info info;
    struct err e;
    assert_int_equal(mem_probe(&m, -1, &info, &e), 0);
    assert_int_equal(info.table, TABLE_NONE);
    mem_drop(&m);
}

static void refuses_what_is_no_vhd(void **state)
{
    (void)state;
    for (size_t n = 0; n < 1024; n += 93) {
        struct mem_image m = mem_zeros(n);
        assert_refused(&m, -1, ERR_NOT_VHD, "too few");
        mem_drop(&m);
    }
    struct mem_image zeros = mem_zeros(MIB);
    assert_refused(&zeros, -1, ERR_NOT_VHD, "at offset 1048064 (the last 512 of 1048576 bytes) is 00 00 00 00 00 00 00 00 where");
    static const struct { const char *start, *what; } known[] = {
        {"\x1f\x8b\x08", "a gzip file"}, {"<!DOCTYPE html>", "a web page"}, {"PK\x03\x04", "a zip archive"}, {"<?xml version", "an XML document"},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        memset(zeros.data, 0, 64);
        memcpy(zeros.data, known[i].start, strlen(known[i].start));
        assert_refused(&zeros, -1, ERR_NOT_VHD, known[i].what);
    }
    mem_drop(&zeros);
    static const struct { const char *format, *what; } formats[] = {{"qcow2", "a qcow2 image"}, {"vmdk", "a VMDK image"}, {"vdi", "a VDI image"}};
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        sh("qemu-img create -q -f %s other 8M", formats[i].format);
        struct mem_image m = mem_load("other");
        assert_refused(&m, -1, ERR_NOT_VHD, formats[i].what);
        mem_drop(&m);
    }
    /* A raw disk is refused unless asked for, and the hint says how. */
    sh("truncate -s 4M r.raw; echo 'start=2048, type=83' | sfdisk -q r.raw");
    struct image_info info;
    struct err e;
    assert_int_equal(file_probe("r.raw", -1, &info, &e), -ERR_NOT_VHD);
    assert_non_null(strstr(e.hint, "\"format\": \"raw\""));
    assert_int_equal(file_probe("r.raw", IMAGE_RAW, &info, &e), 0);
    assert_int_equal(info.format, IMAGE_RAW);
    assert_true(info.virtual_size == 4 * MIB);
    assert_int_equal(info.partitions, 1);
    sh("truncate -s +1 r.raw");
    assert_int_equal(file_probe("r.raw", IMAGE_RAW, &info, &e), -ERR_NOT_VHD);
    assert_int_equal(file_probe("no such file", -1, &info, &e), -ERR_NOT_FOUND);
}

static void passes_read_errors_on(void **state)
{
    (void)state;
    struct mem_image m = make_dynamic();
    assert_read_errors_passed_on(&m, 5);
    mem_drop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_size),
        cmocka_unit_test(reads_sizes_of_whole_cylinders),
        cmocka_unit_test(refuses_every_flipped_footer_byte),
        cmocka_unit_test(says_what_was_found),
        cmocka_unit_test(refuses_impossible_footers),
        cmocka_unit_test(reads_azure_exports),
        cmocka_unit_test(tells_truncated_fixed_disks),
        cmocka_unit_test(reads_dynamic_disks_with_one_good_footer),
        cmocka_unit_test(tells_truncated_dynamic_disks),
        cmocka_unit_test(refuses_bad_dynamic_headers),
        cmocka_unit_test(refuses_blocks_outside_the_file),
        cmocka_unit_test(refuses_what_is_no_vhd),
        cmocka_unit_test(passes_read_errors_on),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

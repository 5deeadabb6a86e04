/* VHDX, made by qemu-img and then damaged. */
#include "tests/unit/image_util.h"

#include <string.h>

#define KIB 1024
#define GIB (UINT64_C(1) << 30)

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void seal(uint8_t *p, size_t n)
{
    put_le32(p + 4, 0);
    put_le32(p + 4, crc32c(p, n));
}

/* 64 MiB, two MBR partitions, the second one's data where a block is. */
static struct mem_image make(void)
{
    sh("truncate -s 64M x.raw; printf 'start=2048,size=2048,type=83\nsize=2048,type=7\n' | sfdisk -q x.raw");
    sh("dd if=/dev/urandom of=x.raw bs=64k seek=700 count=1 conv=notrunc; qemu-img convert -f raw -O vhdx -o block_size=1M x.raw x.vhdx");
    return mem_load("x.vhdx");
}

static void assert_good(struct mem_image *m)
{
    struct image_info info;
    struct err e;
    int r = mem_probe(m, -1, &info, &e);
    if (r)
        fail_msg("%s", e.msg);
    assert_int_equal(info.format, IMAGE_VHDX);
    assert_true(info.virtual_size == 64 * MIB);
    assert_int_equal(info.sector_size, 512);
    assert_int_equal(info.table, TABLE_MBR);
    assert_int_equal(info.partitions, 2);
    assert_false(info.table_damaged);
    assert_int_equal(info.generation, 1);
}

/* Where the item with this GUID's first bytes lies in the file, by the table's own word. */
static uint8_t *item(struct mem_image *m, uint8_t **ret_entry, uint8_t b0, uint8_t b1)
{
    for (size_t region = MIB; region < m->size; region += MIB) {
        uint8_t *t = m->data + region;
        for (uint8_t *p = t + 32; !memcmp(t, "metadata", 8) && p < t + 1024; p += 32)
            if (p[0] == b0 && p[1] == b1) {
                *ret_entry = p;
                return t + ((size_t)p[16] | (size_t)p[17] << 8 | (size_t)p[18] << 16);
            }
    }
    fail_msg("no such metadata item");
    return NULL;
}

static void reads_every_size(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {MIB, 40 * MIB, 127 * GIB, 2040 * GIB, 64 * 1024 * GIB};
    struct image_info info;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        sh("qemu-img create -q -f vhdx s.vhdx %llu", (unsigned long long)sizes[i]);
        int r = file_probe("s.vhdx", -1, &info, &e);
        if (r)
            fail_msg("%s", e.msg);
        assert_int_equal(info.format, IMAGE_VHDX);
        assert_true(info.virtual_size == sizes[i]);
    }
    assert_int_equal(file_probe("s.vhdx", IMAGE_VHDX, &info, &e), 0);
    assert_int_equal(file_probe("s.vhdx", IMAGE_VHD, &info, &e), -ERR_NOT_VHD);
    assert_non_null(strstr(e.msg, "\"vhdx\", not \"vhd\""));
}

static void needs_one_good_copy_of_each(void **state)
{
    (void)state;
    struct mem_image m = make();
    assert_good(&m);
    static const struct { size_t first, second, bytes, step; const char *what; } pairs[] = {
        {64 * KIB, 128 * KIB, 4096, 1, "header"},
        {192 * KIB, 256 * KIB, 64 * KIB, 251, "region table"},
    };
    for (size_t p = 0; p < ARRAY_LEN(pairs); p++)
        for (size_t i = 0; i < pairs[p].bytes; i += i < 128 ? 1 : pairs[p].step * 7) {
            uint8_t *a = m.data + pairs[p].first + i, *b = m.data + pairs[p].second + i;
            *a ^= 0x20;
            assert_good(&m);
            *b ^= 0x20;
            assert_refused(&m, -1, ERR_VHD_DAMAGED, pairs[p].what);
            *a ^= 0x20;
            assert_good(&m);
            *b ^= 0x20;
        }
    mem_drop(&m);
}

static void refuses_a_log_to_replay(void **state)
{
    (void)state;
    struct mem_image m = make();
    for (int i = 0; i < 2; i++) {
        uint8_t *h = m.data + (i ? 128 : 64) * KIB;
        h[48] = 1;
        seal(h, 4096);
    }
    assert_refused(&m, -1, ERR_UNSUPPORTED, "log");
    mem_drop(&m);
}

static void refuses_bad_metadata(void **state)
{
    (void)state;
    struct mem_image m = make();
    uint8_t *entry, *size = item(&m, &entry, 0x24, 0x42), save[32];
    static const struct { uint32_t low, high; const char *text; } sizes_bad[] = {
        {0, 0, "disk size of 0"}, {513, 0, "disk size of 513"}, {UINT32_MAX, UINT32_MAX, "disk size of 18446744073709551615"},
        {0, 0x80000000, "disk size of 9223372036854775808"}, {0, 0x4001, "disk size of"},
    };
    memcpy(save, size, 8);
    for (size_t i = 0; i < ARRAY_LEN(sizes_bad); i++) {
        put_le32(size, sizes_bad[i].low);
        put_le32(size + 4, sizes_bad[i].high);
        assert_refused(&m, -1, ERR_VHD_DAMAGED, sizes_bad[i].text);
    }
    put_le32(size, 0);
    put_le32(size + 4, 0x100);                       /* 1 TiB: more blocks than the table has entries */
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "needs 8");
    memcpy(size, save, 8);

    memcpy(save, entry, 32);
    static const struct { unsigned at; uint32_t value; } entries_bad[] = {{0, 0}, {16, 0}, {16, UINT32_MAX}, {16, 1 << 20}, {20, 4}, {20, UINT32_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(entries_bad); i++) {
        put_le32(entry + entries_bad[i].at, entries_bad[i].value);
        assert_refused(&m, -1, ERR_VHD_DAMAGED, "virtual disk size");
        memcpy(entry, save, 32);
    }

    uint8_t *sector = item(&m, &entry, 0x1d, 0xbf);
    put_le32(sector, 520);
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "sector size of 520");
    put_le32(sector, 512);

    uint8_t *parameters = item(&m, &entry, 0x37, 0x67);
    static const uint32_t blocks_bad[] = {0, 512, 3 << 20, 512 << 20, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(blocks_bad); i++) {
        put_le32(parameters, blocks_bad[i]);
        assert_refused(&m, -1, ERR_VHD_DAMAGED, "block size of");
    }
    put_le32(parameters, 1 << 20);
    parameters[4] |= 2;
    assert_refused(&m, -1, ERR_UNSUPPORTED, "differencing");
    parameters[4] &= (uint8_t)~2;
    assert_good(&m);
    mem_drop(&m);
}

static void refuses_regions_that_do_not_fit(void **state)
{
    (void)state;
    struct mem_image m = make();
    uint8_t *t = m.data + 192 * KIB, good[64 * KIB];
    memcpy(good, t, sizeof good);
    static const struct { unsigned at; uint32_t value; enum err_code code; const char *text; } bad[] = {
        {8, 0, ERR_VHD_DAMAGED, "lacks"},       {8, 1, ERR_VHD_DAMAGED, "lacks"},       {8, 2048, ERR_VHD_DAMAGED, "2048 entries"},
        {8, UINT32_MAX, ERR_VHD_DAMAGED, "4294967295 entries"},                         {32, 0, ERR_VHD_DAMAGED, "at offset 0 does"},
        {36, 1, ERR_SOURCE_TRUNCATED, "does not fit"},                                  {40, UINT32_MAX, ERR_SOURCE_TRUNCATED, "does not fit"},
        {40, 0, ERR_VHD_DAMAGED, "lacks"},      {16, 0x11223344, ERR_VHD_DAMAGED, "lacks the block table"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        put_le32(t + bad[i].at, bad[i].value);
        seal(t, sizeof good);
        assert_refused(&m, -1, bad[i].code, bad[i].text);
        memcpy(t, good, sizeof good);
    }
    put_le32(t + 8, 3);                              /* a third one of an unknown kind: fine unless it is required */
    memset(t + 80, 0xab, 16);
    seal(t, sizeof good);
    assert_good(&m);
    put_le32(t + 80 + 28, 1);
    seal(t, sizeof good);
    assert_refused(&m, -1, ERR_UNSUPPORTED, "unknown kind");
    mem_drop(&m);
}

static void checks_the_block_table(void **state)
{
    (void)state;
    struct mem_image m = make();
    /* The block table's place stands in the region table, in whichever entry has its GUID. */
    const uint8_t *t = m.data + 192 * KIB + 16;
    t += t[0] == 0x66 ? 0 : 32;
    size_t at = t[16] | (size_t)t[17] << 8 | (size_t)t[18] << 16 | (size_t)t[19] << 24;
    uint8_t *bat = m.data + at, save[8];
    memcpy(save, bat, 8);
    assert_int_equal(save[0] & 7, 6);
    for (uint8_t block_state = 0; block_state < 8; block_state++) {
        bat[0] = block_state;
        struct image_info info;
        struct err e;
        if (block_state == 6) {
            assert_good(&m);
        } else if (block_state == 4 || block_state == 5 || block_state == 7) {
            assert_refused(&m, -1, ERR_VHD_DAMAGED, "block 0 the impossible state");
        } else {                                     /* reads as zeros */
            assert_int_equal(mem_probe(&m, -1, &info, &e), 0);
            assert_int_equal(info.table, TABLE_NONE);
        }
    }
    bat[0] = 6;
    memset(bat + 3, 0xff, 5);
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "puts block 0 at offset");
    memset(bat + 1, 0, 7);                           /* over the headers */
    assert_refused(&m, -1, ERR_VHD_DAMAGED, "puts block 0 at offset 0");
    memcpy(bat, save, 8);
    for (size_t size = 512 * 3; size < m.size; size += 200 * KIB + 512) {
        struct mem_image a = mem_copy(&m, size);
        assert_refused(&a, -1, ERR_SOURCE_TRUNCATED, NULL);
        mem_drop(&a);
    }
    mem_drop(&m);
}

static void reads_sectors_of_4096_bytes(void **state)
{
    (void)state;
    sh("truncate -s 64M k.raw; printf 'g\nn\n\n\n+8M\nt\n1\nn\n\n\n\nw\n' | fdisk -b 4096 k.raw");
    sh("qemu-img convert -f raw -O vhdx k.raw k.vhdx");
    struct mem_image m = mem_load("k.vhdx");
    struct image_info info;
    struct err e;
    uint8_t *entry, *sector = item(&m, &entry, 0x1d, 0xbf);
    put_le32(sector, 4096);
    assert_int_equal(mem_probe(&m, -1, &info, &e), 0);
    assert_int_equal(info.sector_size, 4096);
    assert_int_equal(info.table, TABLE_GPT);
    assert_false(info.table_damaged);
    assert_int_equal(info.partitions, 2);
    assert_true(info.efi_system);
    assert_int_equal(info.generation, 2);
    mem_drop(&m);
    /* The same disk raw: only 4096 makes sense of it. */
    assert_int_equal(file_probe("k.raw", IMAGE_RAW, &info, &e), 0);
    assert_int_equal(info.sector_size, 4096);
    assert_int_equal(info.partitions, 2);
    assert_false(info.table_damaged);
}

static void passes_read_errors_on(void **state)
{
    (void)state;
    struct mem_image m = make();
    assert_read_errors_passed_on(&m, 8);
    mem_drop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_size),
        cmocka_unit_test(needs_one_good_copy_of_each),
        cmocka_unit_test(refuses_a_log_to_replay),
        cmocka_unit_test(refuses_bad_metadata),
        cmocka_unit_test(refuses_regions_that_do_not_fit),
        cmocka_unit_test(checks_the_block_table),
        cmocka_unit_test(reads_sectors_of_4096_bytes),
        cmocka_unit_test(passes_read_errors_on),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

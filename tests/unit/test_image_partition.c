/* Partition tables made by sfdisk, whole and damaged; the generation that follows. */
#include "tests/unit/image_util.h"

#include <string.h>

#define ESP "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
#define BIOS "21686148-6449-6E6F-744E-656564454649"
#define LINUX "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

static struct mem_image make(const char *script)
{
    sh("rm -f t.raw; truncate -s 32M t.raw; printf '%s' | sfdisk -q t.raw", script);
    return mem_load("t.raw");
}

static struct image_info probe(struct mem_image *m)
{
    struct image_info info;
    struct err e;
    int r = mem_probe(m, IMAGE_RAW, &info, &e);
    if (r)
        fail_msg("%s", e.msg);
    assert_true(info.virtual_size == m->size);
    return info;
}

static void chooses_the_generation(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        bool code;                                   /* put boot code into the first sector */
        enum image_table table;
        unsigned partitions;
        bool efi, bios;
        unsigned generation;
    } rows[] = {
        {"label: dos\nsize=4096,type=83\nsize=4096,type=7\n", true, TABLE_MBR, 2, false, false, 1},
        {"label: dos\nsize=4096,type=83\n", false, TABLE_MBR, 1, false, false, 1},
        {"label: dos\n", true, TABLE_MBR, 0, false, false, 1},
        {"label: dos\nsize=4096,type=ef\nsize=4096,type=83\n", true, TABLE_MBR, 2, true, false, 1},
        {"label: dos\nsize=4096,type=ef\nsize=4096,type=83\n", false, TABLE_MBR, 2, true, false, 2},
        {"label: dos\nsize=4096,type=83\nsize=4096,type=7\nx3 : size=20000,type=5\nx5 : size=4096\nx6 : size=4096\nx7 : size=4096\n", true, TABLE_MBR, 5, false, false, 1},
        {"label: dos\nx1 : size=40960,type=f\nx5 : size=4096\nx6 : size=4096\n", true, TABLE_MBR, 2, false, false, 1},
        {"label: gpt\nsize=4096,type=" ESP "\nsize=4096,type=" LINUX "\n", false, TABLE_GPT, 2, true, false, 2},
        {"label: gpt\nsize=4096,type=" ESP "\nsize=4096,type=" LINUX "\n", true, TABLE_GPT, 2, true, false, 2},
        {"label: gpt\nsize=2048,type=" BIOS "\nsize=4096,type=" ESP "\nsize=4096,type=" LINUX "\n", true, TABLE_GPT, 3, true, true, 1},
        {"label: gpt\nsize=2048,type=" BIOS "\nsize=4096,type=" LINUX "\n", false, TABLE_GPT, 2, false, true, 1},
        {"label: gpt\nsize=2048,type=83BD6B9D-7F41-11DC-BE0B-001560B84F0F\n", true, TABLE_GPT, 1, false, true, 1},
        {"label: gpt\nsize=4096,type=" LINUX "\n", true, TABLE_GPT, 1, false, false, 1},
        {"label: gpt\nsize=4096,type=" LINUX "\n", false, TABLE_GPT, 1, false, false, 2},
        {"label: gpt\n", false, TABLE_GPT, 0, false, false, 2},
        {"label: gpt\ntable-length: 4\nsize=4096,type=" ESP "\n", false, TABLE_GPT, 1, true, false, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mem_image m = make(rows[i].script);
        if (rows[i].code)
            m.data[0] = 0xeb;
        struct image_info info = probe(&m);
        if (info.table != rows[i].table || info.partitions != rows[i].partitions || info.efi_system != rows[i].efi || info.bios_boot != rows[i].bios ||
            info.boot_code != rows[i].code || info.table_damaged || info.generation != rows[i].generation || info.sector_size != 512)
            fail_msg("row %zu: table %s, %u partitions, efi %d, bios %d, code %d, damaged %d, generation %u", i, image_table_name(info.table),
                     info.partitions, info.efi_system, info.bios_boot, info.boot_code, info.table_damaged, info.generation);
        mem_drop(&m);
    }
}

static void knows_disks_without_a_table(void **state)
{
    (void)state;
    struct mem_image m = mem_zeros(MIB);
    struct image_info info = probe(&m);
    assert_int_equal(info.table, TABLE_NONE);
    assert_int_equal(info.generation, 1);
    assert_false(info.boot_code);
    /* A file system's boot sector has the signature too, and text where the table would be. */
    m.data[0] = 0xeb;
    memset(m.data + 440, 'A', 70);
    m.data[510] = 0x55;
    m.data[511] = 0xaa;
    info = probe(&m);
    assert_int_equal(info.table, TABLE_NONE);
    assert_int_equal(info.partitions, 0);
    mem_drop(&m);
    for (size_t n = 512; n <= 8192; n += 512) {      /* too small for a table, or just large enough */
        m = mem_zeros(n);
        m.data[510] = 0x55;
        m.data[511] = 0xaa;
        m.data[450] = 0xee;
        info = probe(&m);
        assert_int_equal(info.table, n == 512 ? TABLE_NONE : TABLE_GPT);
        assert_int_equal(info.table_damaged, n != 512);
        mem_drop(&m);
    }
}

static const char gpt_script[] = "label: gpt\nsize=4096,type=" ESP "\nsize=4096,type=" LINUX "\n";

static void assert_gpt(struct mem_image *m, bool damaged, unsigned generation)
{
    struct image_info info = probe(m);
    assert_int_equal(info.table, TABLE_GPT);
    assert_int_equal(info.table_damaged, damaged);
    assert_int_equal(info.generation, generation);
    if (!damaged)
        assert_int_equal(info.partitions, 2);
}

static void reads_gpt_from_either_copy(void **state)
{
    (void)state;
    struct mem_image m = make(gpt_script);
    uint8_t *first = m.data + 512, *second = m.data + m.size - 512, *entries = m.data + 1024, *entries2 = second - 128 * 128;
    for (size_t i = 0; i < 92; i++) {                /* the header proper; behind it lie zeros that nothing guards */
        first[i] ^= 0x04;
        assert_gpt(&m, false, 2);
        second[i] ^= 0x04;
        assert_gpt(&m, true, 2);
        first[i] ^= 0x04;
        assert_gpt(&m, false, 2);
        second[i] ^= 0x04;
    }
    for (size_t i = 0; i < 128 * 128; i += i < 256 ? 1 : 97) {
        entries[i] ^= 0x80;
        assert_gpt(&m, false, 2);
        entries2[i] ^= 0x80;
        assert_gpt(&m, true, 2);
        m.data[0] = 0xeb;                            /* boot code: then BIOS is the better guess */
        assert_gpt(&m, true, 1);
        m.data[0] = 0;
        entries[i] ^= 0x80;
        entries2[i] ^= 0x80;
    }
    /* The disk grew after it was partitioned: the second copy is no longer at the end, the first one says where it is. */
    struct mem_image grown = mem_zeros(m.size + 8 * MIB);
    memcpy(grown.data, m.data, m.size);
    assert_gpt(&grown, false, 2);
    grown.data[1024] ^= 1;
    assert_gpt(&grown, false, 2);
    grown.data[512 + 32] ^= 1;
    assert_gpt(&grown, true, 2);
    mem_drop(&grown);
    /* No protective MBR: the table is there, but firmware may not accept it. */
    m.data[510] = 0;
    assert_gpt(&m, true, 2);
    memset(first, 0, 512);
    assert_gpt(&m, true, 2);
    memset(second, 0, 512);
    struct image_info info = probe(&m);
    assert_int_equal(info.table, TABLE_NONE);
    mem_drop(&m);
}

static uint32_t crc32_ieee(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Headers whose checksum is right and whose numbers are not. */
static void refuses_impossible_gpt_headers(void **state)
{
    (void)state;
    struct mem_image m = make(gpt_script);
    memset(m.data + m.size - 512, 0, 512);
    uint8_t *h = m.data + 512, good[512];
    memcpy(good, h, sizeof good);
    static const struct { unsigned at; uint32_t value; } bad[] = {
        {12, 0}, {12, 91}, {12, 513}, {12, UINT32_MAX}, {24, 2}, {28, 1}, {72, 65535}, {72, UINT32_MAX}, {76, UINT32_MAX}, {80, 0}, {80, UINT32_MAX},
        {80, 65536}, {84, 0}, {84, 64}, {84, 129}, {84, 8192}, {84, UINT32_MAX}, {88, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        put_le32(h + bad[i].at, bad[i].value);
        put_le32(h + 16, 0);
        uint32_t n = bad[i].at == 12 && bad[i].value <= 512 ? bad[i].value : 92;
        put_le32(h + 16, crc32_ieee(h, n));
        assert_gpt(&m, true, 2);
        memcpy(h, good, sizeof good);
    }
    assert_gpt(&m, false, 2);
    mem_drop(&m);
}

static void survives_broken_chains(void **state)
{
    (void)state;
    struct mem_image m = make("label: dos\nx1 : size=40960,type=5\nx5 : size=4096\nx6 : size=4096\nx7 : size=4096\n");
    struct image_info info = probe(&m);
    assert_int_equal(info.partitions, 3);
    assert_false(info.table_damaged);
    uint32_t extended = (uint32_t)m.data[454] | (uint32_t)m.data[455] << 8;
    uint8_t *link = m.data + (size_t)extended * 512, save[512];
    memcpy(save, link, sizeof save);
    put_le32(link + 446 + 16 + 8, 0);                /* the next link is this one */
    info = probe(&m);
    assert_true(info.table_damaged);
    assert_true(m.reads < 400);
    put_le32(link + 446 + 16 + 8, UINT32_MAX);       /* past the end */
    info = probe(&m);
    assert_true(info.table_damaged);
    assert_int_equal(info.partitions, 1);
    memcpy(link, save, sizeof save);
    link[510] = 0;                                   /* no link there at all */
    info = probe(&m);
    assert_true(info.table_damaged);
    assert_int_equal(info.partitions, 0);
    assert_int_equal(info.generation, 1);
    mem_drop(&m);
    /* A partition that reaches past the end of the disk. */
    m = make("label: dos\nsize=4096,type=83\n");
    put_le32(m.data + 446 + 12, UINT32_MAX);
    info = probe(&m);
    assert_true(info.table_damaged);
    assert_int_equal(info.partitions, 1);
    mem_drop(&m);
}

static void passes_read_errors_on(void **state)
{
    (void)state;
    struct mem_image m = make("label: dos\nx1 : size=40960,type=5\nx5 : size=4096\nx6 : size=4096\n"), g = make(gpt_script);
    g.data[1024] ^= 1;                               /* so that the second copy is read too */
    struct mem_image *both[] = {&m, &g};
    for (size_t i = 0; i < 2; i++) {
        struct image_info info;
        struct err e;
        probe(both[i]);
        int reads = both[i]->reads;
        assert_true(reads >= 3);
        for (both[i]->fail_at = 1; both[i]->fail_at <= reads; both[i]->fail_at++)
            assert_int_equal(mem_probe(both[i], IMAGE_RAW, &info, &e), -ERR_UPSTREAM);
        mem_drop(both[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_the_generation),
        cmocka_unit_test(knows_disks_without_a_table),
        cmocka_unit_test(reads_gpt_from_either_copy),
        cmocka_unit_test(refuses_impossible_gpt_headers),
        cmocka_unit_test(survives_broken_chains),
        cmocka_unit_test(passes_read_errors_on),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

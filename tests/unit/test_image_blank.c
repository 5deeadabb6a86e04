/* Blank disks, judged by qemu-img. */
#include "tests/unit/image_util.h"

#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "tests/unit/tmp.h"

#define GIB (UINT64_C(1) << 30)

static void is_sparse_and_of_the_right_size(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {MIB, 30 * GIB, 2040 * GIB};
    struct err e;
    struct image_info info;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        unsigned long long n = sizes[i];
        assert_int_equal(image_create_blank("b.vhd", IMAGE_VHD, n, NULL, NULL, &e), 0);
        struct os_stat st;
        assert_int_equal(os_stat("b.vhd", &st, &e), 0);
        assert_true(st.size == n + 512);
        assert_true(st.allocated <= 64 * 1024 || !os_files_are_sparse());
        assert_int_equal(file_probe("b.vhd", IMAGE_VHD, &info, &e), 0);
        assert_true(info.virtual_size == n);
        assert_int_equal(info.table, TABLE_NONE);
        sh("qemu-img info --output=json -f vpc b.vhd | grep '\"virtual-size\": %llu,'", n);
        sh("qemu-img create -q -f vpc -o subformat=fixed,force_size=on q.vhd %llu; qemu-img compare -f vpc -F vpc b.vhd q.vhd | grep identical", n);
        assert_int_equal(image_create_blank("b.raw", IMAGE_RAW, n, NULL, NULL, &e), 0);
        assert_int_equal(os_stat("b.raw", &st, &e), 0);
        assert_true(st.size == n && (st.allocated <= 64 * 1024 || !os_files_are_sparse()));
        sh("rm b.vhd b.raw");
    }
}

static void footer_is_as_qemu_writes_it(void **state)
{
    (void)state;
    uint8_t a[512], b[512];
    struct err e;
    static const uint64_t sizes[] = {MIB, 20 * MIB, 504 * MIB, 600 * MIB, 2 * GIB, 8 * GIB, 127 * GIB, 128 * GIB, 2040 * GIB};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(image_vhd_footer(sizes[i], a, &e), 0);
        assert_int_equal(image_vhd_footer(sizes[i], b, &e), 0);
        assert_memory_not_equal(a + 68, b + 68, 16); /* an id of its own */
        sh("qemu-img create -q -f vpc -o subformat=fixed,force_size=on q.vhd %llu; tail -c 512 q.vhd >q.footer", (unsigned long long)sizes[i]);
        struct mem_image q = mem_load("q.footer");
        assert_memory_equal(a, q.data, 16);          /* cookie, features, version */
        assert_memory_equal(a + 40, q.data + 40, 16); /* sizes */
        assert_memory_equal(a + 60, q.data + 60, 4); /* type */
        mem_drop(&q);
    }
    /* The geometry of the specification's appendix, for sizes that are whole cylinders (qemu-img rounds up to those). */
    static const uint64_t about[] = {4 * MIB, 20 * MIB, 500 * MIB, 600 * MIB, 2 * GIB, 8 * GIB, 31 * GIB, 40 * GIB, 126 * GIB};
    for (size_t i = 0; i < ARRAY_LEN(about); i++) {
        sh("qemu-img create -q -f vpc -o subformat=fixed q.vhd %llu; tail -c 512 q.vhd >q.footer", (unsigned long long)about[i]);
        struct mem_image q = mem_load("q.footer");
        struct image_info info;
        assert_int_equal(file_probe("q.vhd", IMAGE_VHD, &info, &e), 0);
        assert_int_equal(image_vhd_footer(info.virtual_size, a, &e), 0);
        assert_memory_equal(a + 56, q.data + 56, 4);
        mem_drop(&q);
    }
    static const uint64_t bad[] = {0, 1, 511, 513, UINT64_MAX, 65536 * GIB + 512, (uint64_t)-512};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(image_vhd_footer(bad[i], a, &e), -ERR_VALUE);
        assert_int_equal(image_create_blank("bad.vhd", IMAGE_VHD, bad[i], NULL, NULL, &e), bad[i] == 65536 * GIB + 512 || bad[i] == (uint64_t)-512 ? -ERR_UNSUPPORTED : -ERR_VALUE);
        assert_false(tmp_exists("bad.vhd"));
    }
}

static void is_idempotent(void **state)
{
    (void)state;
    struct err e;
    struct image_info info;
    assert_int_equal(image_create_blank("i.vhd", IMAGE_VHD, 4 * MIB, NULL, NULL, &e), 0);
    sh("printf hello | dd of=i.vhd conv=notrunc; cp i.vhd keep");
    assert_int_equal(image_create_blank("i.vhd", IMAGE_VHD, 4 * MIB, NULL, NULL, &e), 0);
    sh("cmp i.vhd keep");
    assert_int_equal(image_create_blank("i.vhd", IMAGE_VHD, 5 * MIB, NULL, NULL, &e), -ERR_IO);
    assert_non_null(strstr(e.msg, "4194304"));
    assert_int_equal(image_create_blank("i.vhd", IMAGE_RAW, 4 * MIB, NULL, NULL, &e), -ERR_IO);
    sh("cmp i.vhd keep; truncate -s -512 i.vhd");
    assert_int_equal(image_create_blank("i.vhd", IMAGE_VHD, 4 * MIB, NULL, NULL, &e), -ERR_IO);
    /* What a crash left behind is made anew. */
    sh("rm i.vhd; printf rubbish >i.vhd.part");
    assert_int_equal(image_create_blank("i.vhd", IMAGE_VHD, 4 * MIB, NULL, NULL, &e), 0);
    sh("test ! -e i.vhd.part; qemu-img info -f vpc i.vhd");
    assert_int_equal(image_create_blank("none/i.vhd", IMAGE_VHD, 4 * MIB, NULL, NULL, &e), -ERR_NOT_FOUND);
    static const struct { const char *name; enum image_format format; const char *driver; } dynamic[] = {
        {"i.vhdx", IMAGE_VHDX, "vhdx"}, {"i.dyn", IMAGE_VHD_DYNAMIC, "vpc"}};
    for (size_t i = 0; i < ARRAY_LEN(dynamic); i++) {
        sh("echo half >%s.part", dynamic[i].name);   /* of a run that was killed */
        for (int again = 0; again < 2; again++)
            assert_int_equal(image_create_blank(dynamic[i].name, dynamic[i].format, 40 * MIB, NULL, NULL, &e), 0);
        assert_int_equal(file_probe(dynamic[i].name, (int)dynamic[i].format, &info, &e), 0);
        assert_true(info.virtual_size == 40 * MIB);
        sh("qemu-img convert -f %s -O raw %s i.raw && truncate -s 41943040 zeros && cmp -n 41943040 i.raw zeros && ! ls %s.part", dynamic[i].driver, dynamic[i].name,
           dynamic[i].name);
        assert_int_equal(image_create_blank(dynamic[i].name, dynamic[i].format, 41 * MIB, NULL, NULL, &e), -ERR_IO);
    }
    assert_int_equal(image_create_blank("i.big", IMAGE_VHD_DYNAMIC, 3 * MIB << 20, NULL, NULL, &e), -ERR_UNSUPPORTED);
}

static bool at_the_third(void *arg)
{
    return ++*(int *)arg == 3;
}

static void can_be_stopped(void **state)
{
    (void)state;
    struct err e;
    int asked = 0;
    int r = image_create_blank("s.vhd", IMAGE_VHD, 10 * GIB, at_the_third, &asked, &e);
    if (os_files_are_sparse()) {                     /* there is nothing to stop */
        assert_int_equal(r, 0);
        assert_int_equal(asked, 0);
        return;
    }
    assert_int_equal(r, -ERR_CANCELLED);
    assert_int_equal(asked, 3);
    assert_false(tmp_exists("s.vhd") || tmp_exists("s.vhd.part"));
    assert_int_equal(image_create_blank("s.vhd", IMAGE_VHD, 10 * GIB, at_the_third, &asked, &e), 0);
    struct image_info info;
    assert_int_equal(file_probe("s.vhd", IMAGE_VHD, &info, &e), 0);
    assert_true(info.virtual_size == 10 * GIB && asked > 100);
    sh("rm s.vhd");
}

/* Grown to whole MiB with zeros, the footer moved; what was there stays. */
static void grows_to_whole_mib(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {512, 1048576 - 512, 1048576, 1048576 + 512, 3 * 1048576 + 2560};
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t want = (sizes[i] + 1048575) / 1048576 * 1048576;
        sh("rm -f g.vhd");
        assert_int_equal(image_create_blank("g.vhd", IMAGE_VHD, sizes[i], NULL, NULL, &e), 0);
        sh("printf x | dd of=g.vhd bs=1 seek=%llu conv=notrunc", (unsigned long long)sizes[i] - 1);
        if (image_vhd_whole_mib("g.vhd", &e) < 0)
            fail_msg("%s", e.msg);
        struct image_info info;
        assert_int_equal(file_probe("g.vhd", IMAGE_VHD, &info, &e), 0);
        assert_true(info.virtual_size == want);
        struct mem_image m = mem_load("g.vhd");
        for (uint64_t at = 0; at < want; at++)
            assert_int_equal(m.data[at], at == sizes[i] - 1 ? 'x' : 0);
        mem_drop(&m);
    }
    sh("qemu-img create -q -f vhdx g.vhdx 1M");
    assert_int_equal(image_vhd_whole_mib("g.vhdx", &e), -ERR_NOT_VHD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_sparse_and_of_the_right_size),
        cmocka_unit_test(footer_is_as_qemu_writes_it),
        cmocka_unit_test(is_idempotent),
        cmocka_unit_test(can_be_stopped),
        cmocka_unit_test(grows_to_whole_mib),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

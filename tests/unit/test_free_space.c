/* Cutting a page list down to a map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/free_space.h"

#define KIB UINT64_C(1024)

static struct blob_ranges cut(struct fsmap_range *used, size_t n_used, const struct blob_range *listed, size_t n, uint64_t disk)
{
    struct fsmap m = {.used = {.list = used, .n = n_used}};
    struct blob_ranges r = {.list = calloc(n, sizeof *listed), .n = n, .complete = true};
    struct err e;
    assert_non_null(r.list);
    for (size_t i = 0; i < n; i++) {
        r.list[i] = listed[i];
        r.bytes += listed[i].end - listed[i].start;
    }
    assert_int_equal(free_space_cut(&m, disk, &r, &e), 0);
    assert_true(r.complete);
    uint64_t bytes = 0;
    for (size_t i = 0; i < r.n; i++) {
        assert_true(r.list[i].start < r.list[i].end && (!i || r.list[i].start > r.list[i - 1].end));
        bytes += r.list[i].end - r.list[i].start;
    }
    assert_true(bytes == r.bytes);
    return r;
}

static void keeps_what_both_have(void **state)
{
    (void)state;
    struct fsmap_range used[] = {{0, 512 * KIB}, {1024 * KIB, 1536 * KIB}, {4096 * KIB, 8192 * KIB}};
    const struct blob_range listed[] = {{256 * KIB, 1280 * KIB}, {2048 * KIB, 3072 * KIB}, {5120 * KIB, 6144 * KIB}, {7168 * KIB, 8192 * KIB + 512}};
    AUTO(blob_ranges_free) struct blob_ranges r = cut(used, ARRAY_LEN(used), listed, ARRAY_LEN(listed), 8192 * KIB);
    static const struct blob_range expected[] = {{256 * KIB, 512 * KIB}, {1024 * KIB, 1280 * KIB}, {5120 * KIB, 6144 * KIB}, {7168 * KIB, 8192 * KIB + 512}};
    assert_int_equal(r.n, ARRAY_LEN(expected));
    for (size_t i = 0; i < r.n; i++)
        assert_true(r.list[i].start == expected[i].start && r.list[i].end == expected[i].end);
}

/* A VHD's footer stays, also when the map has nothing of the listed range. */
static void keeps_what_lies_behind_the_disk(void **state)
{
    (void)state;
    struct fsmap_range used[] = {{0, 512}};
    const struct blob_range listed[] = {{0, 1024 * KIB + 512}};
    AUTO(blob_ranges_free) struct blob_ranges r = cut(used, 1, listed, 1, 1024 * KIB);
    assert_int_equal(r.n, 2);
    assert_true(r.bytes == 1024 && r.list[1].start == 1024 * KIB && r.list[1].end == 1024 * KIB + 512);
}

/* Short gaps are closed while they add little; many of them are left open, the shortest closed first. */
static void closes_gaps_that_cost_little(void **state)
{
    (void)state;
    struct fsmap_range few[] = {{0, 8192 * KIB}, {8192 * KIB + 65536, 16384 * KIB}};
    const struct blob_range all[] = {{0, 16384 * KIB}};
    AUTO(blob_ranges_free) struct blob_ranges r = cut(few, ARRAY_LEN(few), all, 1, 16384 * KIB);
    assert_int_equal(r.n, 1);
    static struct fsmap_range many[1024];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct fsmap_range){i * 16 * KIB, i * 16 * KIB + (i % 64 ? 8 * KIB : 15 * KIB)};
    uint64_t used = 0;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        used += many[i].end - many[i].start;
    AUTO(blob_ranges_free) struct blob_ranges s = cut(many, ARRAY_LEN(many), all, 1, 16384 * KIB);
    assert_int_equal(s.n, ARRAY_LEN(many) - ARRAY_LEN(many) / 64);     /* those of 1 KiB, one in 64 */
    assert_true(s.bytes > used && s.bytes <= used + used / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_what_both_have), cmocka_unit_test(keeps_what_lies_behind_the_disk),
                                       cmocka_unit_test(closes_gaps_that_cost_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

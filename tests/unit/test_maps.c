/* Maps of downloads: every byte is counted in its part, the letters say what holds, and there are never more than a few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "service/maps.h"
#include "storage/transfer/spans.h"

static uint64_t total(const struct cells *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < CELLS_MAX; i++)
        sum += c->bytes[i];
    return sum;
}

static void test_cells(void **state)
{
    (void)state;
    static struct cells c;
    static const uint64_t lengths[] = {0, 1, 999, 1000, 1001, 512, 64 << 20, (uint64_t)127 << 30, ((uint64_t)4095 << 30) + 512, UINT64_MAX / 4};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        cells_begin(&c, lengths[i]);
        assert_true(c.n <= CELLS_MAX && c.n * c.cell_bytes >= lengths[i] && (c.n == 0 || (c.n - 1) * c.cell_bytes < lengths[i]));
        cells_add(&c, 0, lengths[i] / 3);
        cells_add(&c, lengths[i] / 3, lengths[i]);
        assert_true(total(&c) == lengths[i]);
        for (size_t k = 0; k + 1 < c.n; k++)
            assert_true(c.bytes[k] == c.cell_bytes);
        cells_add(&c, lengths[i], lengths[i] + 5 * c.cell_bytes);        /* beyond the end: at most the rest of the last part */
        assert_true(total(&c) <= c.n * c.cell_bytes);
    }
    cells_begin(&c, 10000);
    assert_int_equal(c.cell_bytes, 11);
    cells_add(&c, 10, 23);
    assert_int_equal(c.bytes[0], 1);
    assert_int_equal(c.bytes[1], 11);
    assert_int_equal(c.bytes[2], 1);
    struct blob_range list[] = {{0, 11}, {30, 60}};
    const struct blob_ranges ranges = {.list = list, .n = 2, .bytes = 41};
    struct spans s = {0};
    assert_true(spans_add(&s, 5, 40));
    cells_begin(&c, 10000);
    spans_count(&s, &ranges, &c);
    assert_int_equal(total(&c), spans_common(&s, &ranges));
    assert_int_equal(total(&c), 6 + 10);
    assert_int_equal(c.bytes[0], 6);
    spans_free(&s);
}

static void test_maps(void **state)
{
    (void)state;
    static struct cells held, wanted, here, busy;
    struct maps *m = maps_new();
    assert_non_null(m);
    struct cells *all[] = {&held, &wanted, &here, &busy};
    for (size_t i = 0; i < 4; i++)
        cells_begin(all[i], 6000);                                       /* 7 bytes a part */
    cells_add(&held, 7, 6000);
    cells_add(&wanted, 14, 42);
    cells_add(&here, 14, 21);
    cells_add(&here, 28, 30);
    cells_add(&here, 35, 36);
    cells_add(&busy, 36, 37);
    char id[UUID_LEN], cells[CELLS_MAX + 1];
    uint64_t bytes = 0;
    struct err e;
    assert_int_equal(crypto_uuid(id, &e), 0);
    assert_false(maps_get(m, id, 0, cells, &bytes));
    maps_put(m, id, 0, &held, &wanted, &here, &busy);
    assert_true(maps_get(m, id, 0, cells, &bytes));
    assert_int_equal(bytes, 7);
    assert_int_equal(strlen(cells), 858);
    assert_int_equal(strncmp(cells, "esfwpbss", 8), 0);
    assert_false(maps_get(m, id, 1, cells, &bytes));
    cells_add(&here, 37, 42);
    cells_add(&here, 36, 37);
    maps_put(m, id, 0, &held, &wanted, &here, &busy);                    /* takes the place of the one before */
    assert_true(maps_get(m, id, 0, cells, &bytes));
    assert_int_equal(strncmp(cells, "esfwpfss", 8), 0);
    for (unsigned i = 1; i < 64; i++)
        maps_put(m, id, i, &held, &wanted, &here, &busy);
    maps_put(m, id, 0, &held, &wanted, &here, &busy);                    /* the newest again */
    maps_put(m, id, 64, &held, &wanted, &here, &busy);
    assert_true(maps_get(m, id, 0, cells, &bytes));
    assert_false(maps_get(m, id, 1, cells, &bytes));
    assert_true(maps_get(m, id, 2, cells, &bytes) && maps_get(m, id, 64, cells, &bytes));
    maps_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cells), cmocka_unit_test(test_maps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* One budget for several transfers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/transfer/share.h"

#define MB UINT64_C(1000000)

static void test_equal(void **state)
{
    (void)state;
    AUTO(share_free_ptr) struct share *s = share_new(90 * MB);
    int a = share_join(s), b, c;
    assert_true(share_limit(s, a, 0, 0) == 90 * MB);
    b = share_join(s);
    c = share_join(s);
    assert_true(share_limit(s, a, 0, 80 * MB) == 30 * MB && share_limit(s, b, 0, 0) == 30 * MB && share_limit(s, c, 0, 0) == 30 * MB);
    assert_true(share_limit(s, b, 10 * MB, 0) == 10 * MB);             /* its own limit is less: the others get the rest */
    assert_true(share_limit(s, a, 0, 30 * MB) == 40 * MB && share_limit(s, c, 0, 30 * MB) == 40 * MB);
    share_leave(s, b);
    assert_true(share_limit(s, a, 0, 40 * MB) == 45 * MB);
    share_leave(s, a);
    assert_true(share_limit(s, c, 0, 45 * MB) == 90 * MB);             /* twice what it takes, and all that there is */
    assert_true(share_limit(s, c, 7 * MB, 45 * MB) == 7 * MB);
    share_leave(s, c);
}

/* One whose source gives 5 MB/s does not keep the other from the rest; when its source gets better it comes back to its half. */
static void test_slow_source(void **state)
{
    (void)state;
    AUTO(share_free_ptr) struct share *s = share_new(100 * MB);
    int slow = share_join(s), fast = share_join(s);
    uint64_t for_slow = 0, for_fast = 0, source = 5 * MB;
    for (int second = 0; second < 60; second++) {
        if (second == 30)
            source = 1000 * MB;
        for_slow = share_limit(s, slow, 0, for_slow < source ? for_slow : source);
        for_fast = share_limit(s, fast, 0, for_fast);
        assert_true(for_slow + for_fast <= 200 * MB);
        if (second == 29)
            assert_true(for_slow >= 5 * MB && for_slow < 11 * MB && for_fast > 89 * MB);
    }
    assert_true(for_slow > 45 * MB && for_fast <= 55 * MB);
    share_leave(s, slow);
    share_leave(s, fast);
}

static void test_many_and_none(void **state)
{
    (void)state;
    AUTO(share_free_ptr) struct share *s = share_new(64 * MB), *none = share_new(0);
    int m[SHARE_MEMBERS];
    for (int i = 0; i < SHARE_MEMBERS; i++)
        assert_true((m[i] = share_join(s)) >= 0);
    assert_int_equal(share_join(s), -1);
    assert_true(share_limit(s, -1, 5, 0) == 5);
    for (int i = 0; i < SHARE_MEMBERS; i++)
        assert_true(share_limit(s, m[i], 0, 0) == MB);
    int a = share_join(none);
    assert_true(share_limit(none, a, 0, 7) == 0 && share_limit(none, a, 3, 7) == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal), cmocka_unit_test(test_slow_source), cmocka_unit_test(test_many_and_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

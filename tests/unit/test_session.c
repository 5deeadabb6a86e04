/* One-time links and sessions: a link is good once, neither stands for the other, and there are never more than a few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/session.h"

static void test_sessions(void **state)
{
    (void)state;
    struct sessions *s = NULL;
    struct err e;
    char code[SESSION_SECRET_LEN], first[SESSION_SECRET_LEN], cookie[SESSION_SECRET_LEN];
    assert_int_equal(sessions_open(&s, &e), 0);
    assert_int_equal(session_begin(s, "", cookie, &e), -ERR_UNAUTHORIZED);
    assert_int_equal(session_link(s, code, &e), 0);
    assert_int_equal(session_begin(s, code, first, &e), 0);
    assert_int_equal(session_begin(s, code, cookie, &e), -ERR_UNAUTHORIZED);
    assert_int_equal(session_find(s, code), 0);                          /* a code is no cookie, nor the other way round */
    assert_int_equal(session_begin(s, first, cookie, &e), -ERR_UNAUTHORIZED);
    uint64_t number = session_find(s, first);
    assert_true(number && session_alive(s, number, false));
    /* many more: there is a limit, and the one that is used stays */
    char last[SESSION_SECRET_LEN];
    for (int i = 0; i < 100; i++) {
        assert_int_equal(session_link(s, code, &e), 0);
        assert_int_equal(session_begin(s, code, i ? cookie : last, &e), 0);
        assert_int_not_equal(session_find(s, cookie), number);
    }
    assert_int_equal(session_find(s, last), 0);
    uint64_t newest = session_find(s, cookie);
    assert_true(newest);
    session_end(s, newest);
    assert_false(session_alive(s, newest, true));
    assert_int_equal(session_find(s, cookie), 0);
    sessions_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sessions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Lists of proxies and bypasses, as WinHTTP keeps them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/mem.h"
#include "storage/proxy.h"

static void test_pick(void **state)
{
    (void)state;
    static const struct { const char *list, *scheme, *proxy; } rows[] = {
        {"", "https", NULL},
        {"  ; ", "https", NULL},
        {"proxy:8080", "https", "http://proxy:8080"},
        {"proxy", "http", "http://proxy:80"},
        {"http://proxy.corp.example:3128", "https", "http://proxy.corp.example:3128"},
        {"http://proxy:3128/", "https", "http://proxy:3128"},
        {"http=a:1;https=b:2", "https", "http://b:2"},
        {"http=a:1;https=b:2", "http", "http://a:1"},
        {"http=a:1", "https", NULL},
        {"HTTPS=http://B:2 ftp=c:3", "https", "http://B:2"},
        {"https=https://secure:443", "https", "https://secure:443"},
        {"socks5h://s:1080", "https", "socks5h://s:1080"},
        {"a:1 b:2", "https", "http://a:1"},
        {"a:1;https=b:2;https=c:3", "https", "http://b:2"},
        {"[fe80::1]:8080", "https", "http://[fe80::1]:8080"},
        {"[fe80::1]", "https", "http://[fe80::1]:80"},
        {"http://user:p%40:ss@word@proxy:8080", "https", "http://user:p%40:ss@word@proxy:8080"},
        {"bad:port;good:1", "https", "http://good:1"},
        {"gopher://x:1", "https", NULL},
        {"a:0", "https", NULL}, {"a:65536", "https", NULL}, {"a:", "https", NULL}, {"a:123456", "https", NULL}, {":80", "https", NULL},
        {"[::1:80", "https", NULL}, {"[::1]x:80", "https", NULL}, {"a:*", "https", NULL}, {"a/b:80", "https", NULL}, {"https=", "https", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool oom = true;
        AUTO_SECRET char *got = proxy_pick(rows[i].list, rows[i].scheme, &oom);
        assert_false(oom);
        if (!got != !rows[i].proxy || (got && strcmp(got, rows[i].proxy)))
            fail_msg("\"%s\" for %s gives %s", rows[i].list, rows[i].scheme, got ? got : "none");
    }
}

static void test_bypass(void **state)
{
    (void)state;
    static const struct { const char *list, *scheme, *host; unsigned port; bool bypassed; } rows[] = {
        {"", "https", "a.example", 443, false},
        {"a.example", "https", "A.Example", 443, true},
        {"a.example", "https", "b.a.example", 443, false},
        {"*.example", "https", "b.a.example", 443, true},
        {"*.example", "https", "example", 443, false},
        {".example", "https", "b.a.example", 443, true},
        {".example", "https", "example", 443, false},
        {".example", "https", "notexample", 443, false},
        {"10.*;192.168.*", "https", "192.168.1.2", 443, true},
        {"10.*;192.168.*", "https", "172.16.1.2", 443, false},
        {"10.*", "https", "110.0.0.1", 443, false},
        {"*blob*", "https", "acct.blob.core.windows.net", 443, true},
        {"*a*b", "https", "aXbXb", 443, true},
        {"*a*b", "https", "aXbXc", 443, false},
        {"<local>", "https", "server", 443, true},
        {"<LOCAL>", "https", "server", 443, true},
        {"<local>", "https", "server.corp", 443, false},
        {"<local>", "https", "[fe80::1]", 443, false},
        {"x;<local>,y", "https", "y", 443, true},
        {"a.example:8443", "https", "a.example", 443, false},
        {"a.example:8443", "https", "a.example", 8443, true},
        {"a.example:*", "https", "a.example", 8443, true},
        {"http://a.example", "https", "a.example", 443, false},
        {"http://a.example", "http", "a.example", 80, true},
        {"http*://a.example", "https", "a.example", 443, true},
        {"[fe80::1]", "https", "[FE80::1]", 443, true},
        {"[fe80::1]:444", "https", "[fe80::1]", 443, false},
        {"*", "https", "anything.example", 443, true},
        {"  \t a.example \n", "https", "a.example", 443, true},
        {"[broken;ok.example", "https", "ok.example", 443, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (proxy_bypassed(rows[i].list, rows[i].scheme, rows[i].host, rows[i].port) != rows[i].bypassed)
            fail_msg("\"%s\" and %s://%s:%u", rows[i].list, rows[i].scheme, rows[i].host, rows[i].port);
}

static void test_check(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(proxy_check("", &e), 0);
    assert_int_equal(proxy_check("http=a:1; https=https://b:2", &e), 0);
    assert_int_equal(proxy_check("a:1;u:s3cret@b:port", &e), -ERR_CONFIG);
    assert_non_null(strstr(e.msg, "entry 2"));
    assert_null(strstr(e.msg, "s3cret"));
    assert_false(proxy_has_password("http://proxy:80 b"));
    assert_true(proxy_has_password("a;http://u:p@proxy:80"));
    assert_true(proxy_has_password("http://u:p@proxy:wrong"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pick), cmocka_unit_test(test_bypass), cmocka_unit_test(test_check)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Certificates as libcrypto makes them, in every form that it knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "tests/unit/cert_util_posix.h"
#include "tests/unit/db_util.h"

static struct test_cert plain, locked;

static int setup(void **state)
{
    (void)state;
    plain = test_cert_make(2048, 30, "");
    locked = test_cert_make(2048, 30, "pass word");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_cert_free(&plain);
    test_cert_free(&locked);
    return 0;
}

static void assert_signs(const struct crypto_cert *c, const struct test_cert *with)
{
    struct err err;
    uint8_t *sig, digest[SHA256_LEN], want[32];
    size_t n;
    unsigned m;
    ok(crypto_cert_sign_ps256(c, "header.claims", 13, &sig, &n, &err));
    assert_int_equal(n, 256);
    assert_true(test_cert_verify(with, "header.claims", 13, sig, n));
    assert_false(test_cert_verify(with, "header.claimt", 13, sig, n));
    free(sig);
    ok(crypto_cert_sha256(c, digest, &err));
    assert_int_equal(X509_digest(with->x509, EVP_sha256(), want, &m), 1);
    assert_memory_equal(digest, want, 32);
    int64_t days = (crypto_cert_expires_ms(c) - clock_now_ms()) / 86400000;
    assert_in_range(days, 29, 30);
}

static void test_forms(void **state)
{
    (void)state;
    AUTO_FREE char *reversed = str_printf("%s%s", plain.cert_pem, plain.key_pem), *chain = str_printf("%s%s%s", locked.cert_pem, plain.cert_pem, plain.key_pem);
    AUTO_FREE char *crlf = str_printf("Bag Attributes\r\n%s\r\n%s", plain.key_pem, plain.cert_pem);
    const struct { const void *data; size_t n; const char *password; const struct test_cert *cert; } rows[] = {
        {plain.pem, strlen(plain.pem), NULL, &plain}, {reversed, strlen(reversed), NULL, &plain}, {chain, strlen(chain), NULL, &plain},
        {crlf, strlen(crlf), NULL, &plain}, {plain.pfx, plain.pfx_len, NULL, &plain}, {locked.pem, strlen(locked.pem), "pass word", &locked},
        {locked.pfx, locked.pfx_len, "pass word", &locked}, {plain.pem, strlen(plain.pem), "not needed", &plain},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        AUTO(crypto_cert_close_ptr) struct crypto_cert *c = NULL;
        if (crypto_cert_open(rows[i].data, rows[i].n, rows[i].password, &c, &err) < 0)
            fail_msg("row %zu: %s", i, err.msg);
        assert_signs(c, rows[i].cert);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct test_cert small = test_cert_make(1024, 30, ""), curve = test_cert_make(0, 30, "");
    AUTO_FREE char *other = str_printf("%s%s", plain.key_pem, locked.cert_pem), *cut = str_ndup(plain.pem, strlen(plain.pem) / 2);
    const struct { const void *data; size_t n; const char *password; const char *says; } rows[] = {
        {"", 0, NULL, "neither PEM"}, {"x", 1, NULL, "neither PEM"}, {plain.pfx, plain.pfx_len - 1, NULL, "neither PEM"},
        {plain.key_pem, strlen(plain.key_pem), NULL, "no certificate"}, {plain.cert_pem, strlen(plain.cert_pem), NULL, "no private key"},
        {other, strlen(other), NULL, "no certificate that belongs"}, {cut, strlen(cut), NULL, "no private key"},
        {locked.pem, strlen(locked.pem), NULL, "without a password"}, {locked.pem, strlen(locked.pem), "wrong", "with this password"},
        {locked.pfx, locked.pfx_len, NULL, "without a password"}, {locked.pfx, locked.pfx_len, "wrong", "with this password"},
        {small.pem, strlen(small.pem), NULL, "no RSA key of 2048"}, {curve.pem, strlen(curve.pem), NULL, "no RSA key"},
        {curve.pfx, curve.pfx_len, NULL, "no RSA key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        struct crypto_cert *c = NULL;
        int r = crypto_cert_open(rows[i].data, rows[i].n, rows[i].password, &c, &err);
        if (r != -ERR_VALUE || c || !strstr(err.msg, rows[i].says))
            fail_msg("row %zu: %d %s", i, r, r ? err.msg : "accepted");
        assert_null(strstr(err.msg, "wrong"));
    }
    test_cert_free(&small);
    test_cert_free(&curve);
    struct test_cert old = test_cert_make(2048, -1, "");
    struct err err;
    AUTO(crypto_cert_close_ptr) struct crypto_cert *c = NULL;
    ok(crypto_cert_open(old.pem, strlen(old.pem), NULL, &c, &err));      /* the caller judges the date */
    assert_true(crypto_cert_expires_ms(c) < clock_now_ms());
    test_cert_free(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, setup, teardown);
}

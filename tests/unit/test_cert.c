/* Certificates and their signatures on every system, with certificates that are always the same; and base64url. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/crypto.h"
#include "tests/unit/cert_vectors.h"
#include "tests/unit/cert_verify.h"
#include "tests/unit/db_util.h"

static void assert_signs(const struct crypto_cert *c)
{
    struct err err;
    uint8_t *sig, digest[SHA256_LEN];
    char hex[HEX_LEN(SHA256_LEN)];
    size_t n;
    for (int i = 0; i < 3; i++) {
        ok(crypto_cert_sign_ps256(c, "header.claims", 13, &sig, &n, &err));
        assert_int_equal(n, 256);
        assert_true(cert_verify_ps256(VECTOR_CERT, "header.claims", 13, sig, n));
        assert_false(cert_verify_ps256(VECTOR_CERT, "header.claimt", 13, sig, n));
        assert_false(cert_verify_ps256(VECTOR_OTHER_CERT, "header.claims", 13, sig, n));
        free(sig);
    }
    ok(crypto_cert_sha256(c, digest, &err));
    crypto_hex(digest, sizeof digest, hex);
    assert_string_equal(hex, VECTOR_SHA256);
    assert_int_equal(crypto_cert_expires_ms(c), VECTOR_EXPIRES_MS);
}

static void test_forms(void **state)
{
    (void)state;
    AUTO_FREE char *plain = str_printf("%s%s", VECTOR_KEY, VECTOR_CERT), *pkcs1 = str_printf("%s%s", VECTOR_KEY_PKCS1, VECTOR_CERT);
    AUTO_FREE char *reversed = str_printf("%s%s", VECTOR_CERT, VECTOR_KEY), *chain = str_printf("words\r\n%s%s\n%s", VECTOR_OTHER_CERT, VECTOR_CERT, VECTOR_KEY);
    const char *const rows[] = {plain, pkcs1, reversed, chain};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        AUTO(crypto_cert_close_ptr) struct crypto_cert *c = NULL;
        if (crypto_cert_open(rows[i], strlen(rows[i]), NULL, &c, &err) < 0)
            fail_msg("row %zu: %s", i, err.msg);
        assert_signs(c);
    }
}

static void test_pkcs12(void **state)
{
    (void)state;
    struct err err;
    uint8_t *raw;
    size_t n;
    if (!cert_verify_has_pkcs12())
        skip();
    AUTO(crypto_cert_close_ptr) struct crypto_cert *c = NULL, *none = NULL;
    assert_true(crypto_base64_decode(VECTOR_PFX, &raw, &n));
    ok(crypto_cert_open(raw, n, VECTOR_PASSWORD, &c, &err));
    assert_signs(c);
    fails(crypto_cert_open(raw, n, "wrong", &none, &err), ERR_VALUE);
    assert_null(strstr(err.msg, "wrong"));
    fails(crypto_cert_open(raw, n, NULL, &none, &err), ERR_VALUE);
    free(raw);
}

static void test_refused(void **state)
{
    (void)state;
    AUTO_FREE char *other = str_printf("%s%s", VECTOR_KEY, VECTOR_OTHER_CERT), *cut = str_ndup(VECTOR_KEY, strlen(VECTOR_KEY) / 2);
    AUTO_FREE char *encrypted = str_printf("%s%s", VECTOR_KEY_ENCRYPTED, VECTOR_CERT), *curve = str_printf("%s%s", VECTOR_EC_KEY, VECTOR_CERT);
    AUTO_FREE char *small = str_printf("%s%s", VECTOR_SMALL_KEY, VECTOR_CERT);
    const char *const rows[] = {"", "x", "PLANTED -----BEGIN ", "-----BEGIN PRIVATE KEY-----\nPLANTED!\n-----END PRIVATE KEY-----\n", VECTOR_KEY, VECTOR_CERT, other, cut, encrypted, curve, small};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        struct crypto_cert *c = NULL;
        int r = crypto_cert_open(rows[i], strlen(rows[i]), NULL, &c, &err);
        if (r != -ERR_VALUE || c || !err.msg[0] || strstr(err.msg, "PLANTED"))
            fail_msg("row %zu: %d %s", i, r, r ? err.msg : "accepted");
    }
}

static void test_base64url(void **state)
{
    (void)state;
    static const struct { const char *data; size_t n; const char *text; } rows[] = {
        {"", 0, ""}, {"f", 1, "Zg"}, {"fo", 2, "Zm8"}, {"foo", 3, "Zm9v"}, {"\xFB\xFF\xBF", 3, "-_-_"}, {"\xFF\xFF", 2, "__8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_FREE char *s = crypto_base64url(rows[i].data, rows[i].n);
        assert_string_equal(s, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_pkcs12), cmocka_unit_test(test_refused), cmocka_unit_test(test_base64url)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

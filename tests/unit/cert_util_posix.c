#include "tests/unit/cert_util_posix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

static char *taken(BIO *b)
{
    char *p;
    long n = BIO_get_mem_data(b, &p);
    char *s = str_ndup(p, (size_t)n);
    BIO_free(b);
    assert_non_null(s);
    return s;
}

struct test_cert test_cert_make(int bits, int days, const char *password)
{
    struct test_cert c = {0};
    c.key = bits ? EVP_RSA_gen((unsigned)bits) : EVP_EC_gen("P-256");
    c.x509 = X509_new();
    assert_non_null(c.key);
    assert_non_null(c.x509);
    X509_set_version(c.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), 4711);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), -86400);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), 86400L * days);
    X509_NAME *name = X509_get_subject_name(c.x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"vmrecover test", -1, -1, 0);
    X509_set_issuer_name(c.x509, name);
    X509_set_pubkey(c.x509, c.key);
    assert_true(X509_sign(c.x509, c.key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(b, c.key, *password ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)(uintptr_t)(*password ? password : NULL)), 1);
    c.key_pem = taken(b);
    b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(b, c.x509), 1);
    c.cert_pem = taken(b);
    c.pem = str_printf("%s%s", c.key_pem, c.cert_pem);
    PKCS12 *p12 = PKCS12_create(password, "test", c.key, c.x509, NULL, 0, 0, 0, 0, 0);
    assert_non_null(p12);
    unsigned char *der = NULL;
    int n = i2d_PKCS12(p12, &der);
    PKCS12_free(p12);
    assert_true(n > 0);
    c.pfx_len = (size_t)n;
    c.pfx = malloc(c.pfx_len);
    memcpy(c.pfx, der, c.pfx_len);
    OPENSSL_free(der);
    return c;
}

void test_cert_free(struct test_cert *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->x509);
    free(c->key_pem);
    free(c->cert_pem);
    free(c->pem);
    free(c->pfx);
}

bool test_cert_verify(const struct test_cert *c, const void *data, size_t n, const uint8_t *sig, size_t sig_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *k = NULL;
    bool ok = EVP_DigestVerifyInit(ctx, &k, EVP_sha256(), NULL, c->key) == 1 && EVP_PKEY_CTX_set_rsa_padding(k, RSA_PKCS1_PSS_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(k, 32) == 1 && EVP_DigestVerify(ctx, sig, sig_len, data, n) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

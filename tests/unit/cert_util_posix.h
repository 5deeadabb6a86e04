/* Certificates for tests, made anew each run. Any failure fails the test. */
#ifndef VMR_TESTS_UNIT_CERT_UTIL_POSIX_H
#define VMR_TESTS_UNIT_CERT_UTIL_POSIX_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_cert {
    EVP_PKEY *key;
    X509 *x509;
    char *key_pem, *cert_pem, *pem;                  /* pem: key and certificate */
    uint8_t *pfx;                                    /* under the password, "" for none */
    size_t pfx_len;
};
/* bits 0: an EC key instead of RSA. days: until it expires, may be negative. */
struct test_cert test_cert_make(int bits, int days, const char *password);
void test_cert_free(struct test_cert *c);
/* Checks RSASSA-PSS with SHA-256 and a salt of 32 bytes, nothing else. */
bool test_cert_verify(const struct test_cert *c, const void *data, size_t n, const uint8_t *sig, size_t sig_len);

#endif

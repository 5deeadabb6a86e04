#include "tests/unit/cert_verify.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>

bool cert_verify_ps256(const char *pem, const void *data, size_t n, const uint8_t *sig, size_t sig_len)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key = NULL;
    bool ok = x509 && ctx && EVP_DigestVerifyInit(ctx, &key, EVP_sha256(), NULL, X509_get0_pubkey(x509)) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(key, 32) == 1 &&
              EVP_DigestVerify(ctx, sig, sig_len, data, n) == 1;
    EVP_MD_CTX_free(ctx);
    X509_free(x509);
    BIO_free(bio);
    return ok;
}

bool cert_verify_has_pkcs12(void)
{
    return true;
}

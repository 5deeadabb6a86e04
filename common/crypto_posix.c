/* The digests of crypto.h on OpenSSL's libcrypto. */
#include "common/crypto.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

int crypto_sha256(const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    return EVP_Digest(data, n, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : err_set(e, ERR_INTERNAL, "SHA-256 is not available in libcrypto");
}

int crypto_sha1(const void *data, size_t n, uint8_t ret[SHA1_LEN], struct err *e)
{
    return EVP_Digest(data, n, ret, NULL, EVP_sha1(), NULL) == 1 ? 0 : err_set(e, ERR_INTERNAL, "SHA-1 is not available in libcrypto");
}

int crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), key, (int)key_len, data, n, ret, &len) && len == SHA256_LEN
               ? 0 : err_set(e, ERR_INTERNAL, "HMAC-SHA-256 is not available in libcrypto");
}

/* An EVP_MD_CTX under a name of ours. */
struct crypto_md5 *crypto_md5_new(void)
{
    EVP_MD_CTX *m = EVP_MD_CTX_new();
    if (m && EVP_DigestInit_ex(m, EVP_md5(), NULL) != 1) {
        EVP_MD_CTX_free(m);
        return NULL;
    }
    return (struct crypto_md5 *)m;
}

void crypto_md5_free(struct crypto_md5 *m)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)m);
}

bool crypto_md5_begin(struct crypto_md5 *m)
{
    return EVP_DigestInit_ex((EVP_MD_CTX *)m, EVP_md5(), NULL) == 1;
}

bool crypto_md5_add(struct crypto_md5 *m, const void *data, size_t n)
{
    return EVP_DigestUpdate((EVP_MD_CTX *)m, data, n) == 1;
}

bool crypto_md5_end(struct crypto_md5 *m, uint8_t ret[MD5_LEN])
{
    return EVP_DigestFinal_ex((EVP_MD_CTX *)m, ret, NULL) == 1;
}

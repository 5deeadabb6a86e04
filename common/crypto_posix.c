/* The digests of crypto.h on OpenSSL's libcrypto. */
#include "common/crypto.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

int crypto_sha256(const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    return EVP_Digest(data, n, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : err_set(e, ERR_INTERNAL, "SHA-256 is not available in libcrypto");
}

int crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), key, (int)key_len, data, n, ret, &len) && len == SHA256_LEN
               ? 0 : err_set(e, ERR_INTERNAL, "HMAC-SHA-256 is not available in libcrypto");
}

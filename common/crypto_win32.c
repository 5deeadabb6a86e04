/* The digests of crypto.h on BCrypt. */
#include "common/crypto.h"

#include <windows.h>

#include <bcrypt.h>
#include <pthread.h>

#define STEP_MAX ((size_t)1 << 30)                    /* BCrypt counts bytes in 32 bits */

static BCRYPT_ALG_HANDLE plain, keyed;                /* for the life of the process */
static NTSTATUS opened;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_algorithms(void)
{
    opened = BCryptOpenAlgorithmProvider(&plain, BCRYPT_SHA256_ALGORITHM, NULL, 0);
    if (opened >= 0)
        opened = BCryptOpenAlgorithmProvider(&keyed, BCRYPT_SHA256_ALGORITHM, NULL, BCRYPT_ALG_HANDLE_HMAC_FLAG);
}

static int digest(bool with_key, const void *key, size_t key_len, const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    pthread_once(&once, open_algorithms);
    BCRYPT_HASH_HANDLE h = NULL;
    NTSTATUS s = opened;
    if (s >= 0)
        s = BCryptCreateHash(with_key ? keyed : plain, &h, NULL, 0, with_key ? (PUCHAR)(uintptr_t)key : NULL, with_key ? (ULONG)key_len : 0, 0);
    for (size_t done = 0; s >= 0 && done < n;) {
        size_t step = n - done < STEP_MAX ? n - done : STEP_MAX;
        s = BCryptHashData(h, (PUCHAR)(uintptr_t)data + done, (ULONG)step, 0);
        done += step;
    }
    if (s >= 0)
        s = BCryptFinishHash(h, ret, SHA256_LEN, 0);
    if (h)
        BCryptDestroyHash(h);
    return s >= 0 ? 0 : err_set(e, ERR_INTERNAL, "SHA-256 is not available in BCrypt (status 0x%08lX)", (unsigned long)s);
}

int crypto_sha256(const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    return digest(false, NULL, 0, data, n, ret, e);
}

int crypto_sha1(const void *data, size_t n, uint8_t ret[SHA1_LEN], struct err *e)
{
    BCRYPT_ALG_HANDLE algorithm = NULL;
    NTSTATUS s = n > STEP_MAX ? -1 : BCryptOpenAlgorithmProvider(&algorithm, BCRYPT_SHA1_ALGORITHM, NULL, 0);
    if (s >= 0)
        s = BCryptHash(algorithm, NULL, 0, (PUCHAR)(uintptr_t)data, (ULONG)n, ret, SHA1_LEN);
    if (algorithm)
        BCryptCloseAlgorithmProvider(algorithm, 0);
    return s >= 0 ? 0 : err_set(e, ERR_INTERNAL, "SHA-1 is not available in BCrypt (status 0x%08lX)", (unsigned long)s);
}

int crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    return digest(true, key, key_len, data, n, ret, e);
}

struct crypto_md5 { BCRYPT_ALG_HANDLE algorithm; BCRYPT_HASH_HANDLE hash; };

struct crypto_md5 *crypto_md5_new(void)
{
    struct crypto_md5 *m = calloc(1, sizeof *m);
    if (m && (BCryptOpenAlgorithmProvider(&m->algorithm, BCRYPT_MD5_ALGORITHM, NULL, 0) < 0 || !crypto_md5_begin(m))) {
        crypto_md5_free(m);
        return NULL;
    }
    return m;
}

void crypto_md5_free(struct crypto_md5 *m)
{
    if (!m)
        return;
    if (m->hash)
        BCryptDestroyHash(m->hash);
    if (m->algorithm)
        BCryptCloseAlgorithmProvider(m->algorithm, 0);
    free(m);
}

bool crypto_md5_begin(struct crypto_md5 *m)
{
    if (m->hash)
        BCryptDestroyHash(m->hash);
    m->hash = NULL;
    return BCryptCreateHash(m->algorithm, &m->hash, NULL, 0, NULL, 0, 0) >= 0;
}

bool crypto_md5_add(struct crypto_md5 *m, const void *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t step = n - done < STEP_MAX ? n - done : STEP_MAX;
        if (BCryptHashData(m->hash, (PUCHAR)(uintptr_t)data + done, (ULONG)step, 0) < 0)
            return false;
        done += step;
    }
    return true;
}

bool crypto_md5_end(struct crypto_md5 *m, uint8_t ret[MD5_LEN])
{
    return BCryptFinishHash(m->hash, ret, MD5_LEN, 0) >= 0;
}

/* The certificates of crypto.h on OpenSSL's libcrypto. */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <string.h>

#include "common/crypto.h"

#define RSA_BITS_MIN 2048
#define CERTIFICATES_MAX 16                          /* of one PEM text: a chain is short */

struct crypto_cert {
    X509 *x509;
    EVP_PKEY *key;
};

void crypto_cert_close(struct crypto_cert *c)
{
    if (!c)
        return;
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    free(c);
}

/* What libcrypto asks for the password of a PEM key: without this it would ask on a terminal. */
static int give_password(char *buf, int size, int writing, void *password)
{
    (void)writing;
    size_t n = password ? strlen(password) : 0;
    if (!n || n > (size_t)size)
        return 0;
    memcpy(buf, password, n);
    return (int)n;
}

/* The certificate that belongs to the key, wherever it stands among others. */
static X509 *find_certificate(const void *data, size_t n, EVP_PKEY *key)
{
    BIO *bio = BIO_new_mem_buf(data, (int)n);
    X509 *found = NULL;
    for (int i = 0; bio && !found && i < CERTIFICATES_MAX; i++) {
        X509 *x = PEM_read_bio_X509(bio, NULL, give_password, NULL);
        if (!x)
            break;
        if (X509_check_private_key(x, key) == 1)
            found = x;
        else
            X509_free(x);
    }
    BIO_free(bio);
    return found;
}

static int open_pem(struct crypto_cert *c, const void *data, size_t n, const char *password, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(data, (int)n);
    if (!bio)
        return err_oom(e);
    c->key = PEM_read_bio_PrivateKey(bio, NULL, give_password, (void *)(uintptr_t)password);
    BIO_free(bio);
    if (!c->key)
        return err_set(e, ERR_VALUE, "the PEM text has no private key that can be read%s", password ? " with this password" : " without a password");
    c->x509 = find_certificate(data, n, c->key);
    return c->x509 ? 0 : err_set(e, ERR_VALUE, "the PEM text has no certificate that belongs to its private key");
}

static int open_pkcs12(struct crypto_cert *c, const void *data, size_t n, const char *password, struct err *e)
{
    const unsigned char *p = data;
    PKCS12 *box = d2i_PKCS12(NULL, &p, (long)n);
    if (!box)
        return err_set(e, ERR_VALUE, "it is neither PEM with certificate and private key nor PKCS#12");
    int ok = PKCS12_parse(box, password ? password : "", &c->key, &c->x509, NULL);
    PKCS12_free(box);
    if (!ok)
        return err_set(e, ERR_VALUE, "the PKCS#12 cannot be opened %s", password ? "with this password" : "without a password");
    if (!c->key || !c->x509)
        return err_set(e, ERR_VALUE, "the PKCS#12 has no %s", c->key ? "certificate" : "private key");
    return 0;
}

int crypto_cert_open(const void *data, size_t n, const char *password, struct crypto_cert **ret, struct err *e)
{
    if (n > INT_MAX)
        return err_set(e, ERR_VALUE, "it is too large for a certificate");
    struct crypto_cert *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(e);
    bool pem = n >= 10 && memmem(data, n, "-----BEGIN ", 11);
    int r = pem ? open_pem(c, data, n, password, e) : open_pkcs12(c, data, n, password, e);
    if (r == 0 && (!EVP_PKEY_is_a(c->key, "RSA") || EVP_PKEY_get_bits(c->key) < RSA_BITS_MIN))
        r = err_set(e, ERR_VALUE, "the private key is no RSA key of %d bits or more", RSA_BITS_MIN);
    ERR_clear_error();
    if (r < 0) {
        crypto_cert_close(c);
        return r;
    }
    *ret = c;
    return 0;
}

int crypto_cert_sha256(const struct crypto_cert *c, uint8_t ret[SHA256_LEN], struct err *e)
{
    unsigned len = 0;
    return X509_digest(c->x509, EVP_sha256(), ret, &len) == 1 && len == SHA256_LEN
               ? 0 : err_set(e, ERR_INTERNAL, "the certificate cannot be digested");
}

int64_t crypto_cert_expires_ms(const struct crypto_cert *c)
{
    struct tm tm;
    time_t t;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(c->x509), &tm) != 1 || (t = timegm(&tm)) == (time_t)-1)
        return 0;
    return (int64_t)t * 1000;
}

int crypto_cert_sign_ps256(const struct crypto_cert *c, const void *data, size_t n, uint8_t **ret, size_t *ret_len, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key = NULL;                        /* ctx owns it */
    size_t len = 0;
    uint8_t *sig = NULL;
    bool ok = ctx && EVP_DigestSignInit(ctx, &key, EVP_sha256(), NULL, c->key) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(key, EVP_sha256()) == 1 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) == 1 && EVP_DigestSign(ctx, NULL, &len, data, n) == 1 &&
              (sig = malloc(len)) != NULL && EVP_DigestSign(ctx, sig, &len, data, n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (!ok) {
        free(sig);
        return err_set(e, ERR_INTERNAL, "the assertion cannot be signed with the certificate's key");
    }
    *ret = sig;
    *ret_len = len;
    return 0;
}

/* Digests, MACs and encodings; crypto_posix.c uses OpenSSL's libcrypto, crypto_win32.c BCrypt. Threads: any. */
#ifndef VMR_COMMON_CRYPTO_H
#define VMR_COMMON_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

#define SHA256_LEN 32
int crypto_sha256(const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e);
/* For protocols that want just this one, as a form of words (RFC 6455); it keeps nothing safe. */
#define SHA1_LEN 20
int crypto_sha1(const void *data, size_t n, uint8_t ret[SHA1_LEN], struct err *e);
int crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e);
/* MD5, for comparing with what storage services send; it proves nothing about intent. NULL when memory ran out or the system's rules forbid it. */
#define MD5_LEN 16
struct crypto_md5;
struct crypto_md5 *crypto_md5_new(void);
void crypto_md5_free(struct crypto_md5 *m);                              /* NULL is a no-op */
bool crypto_md5_begin(struct crypto_md5 *m);                             /* afresh */
bool crypto_md5_add(struct crypto_md5 *m, const void *data, size_t n);
bool crypto_md5_end(struct crypto_md5 *m, uint8_t ret[MD5_LEN]);
/* Takes the same time wherever they differ. */
bool crypto_equal(const void *a, const void *b, size_t n);

#define HEX_LEN(n) ((n) * 2 + 1)
void crypto_hex(const void *data, size_t n, char *ret);                  /* lower case, NUL-terminated: HEX_LEN(n) bytes */
char *crypto_base64(const void *data, size_t n);                         /* heap or NULL */
/* Strict RFC 4648 with padding; false on anything else. Caller frees *ret. */
bool crypto_base64_decode(const char *s, uint8_t **ret, size_t *ret_len);

/* RFC 4648 section 5 without padding, as JSON Web Tokens want it; heap or NULL. */
char *crypto_base64url(const void *data, size_t n);

/* An X.509 certificate with its RSA private key (2048 bits or more), to sign assertions with (cert_posix.c, cert_win32.c). `data` is PEM
 * text with both (any order, further certificates are ignored) or PKCS#12; password opens the key (on Windows that of a PKCS#12 alone), NULL
 * when it has none. ERR_VALUE saying what is missing or wrong; no message repeats data. */
struct crypto_cert;
int crypto_cert_open(const void *data, size_t n, const char *password, struct crypto_cert **ret, struct err *e);
void crypto_cert_close(struct crypto_cert *c);                           /* NULL is a no-op */
DEFINE_AUTO(struct crypto_cert, crypto_cert_close)
int crypto_cert_sha256(const struct crypto_cert *c, uint8_t ret[SHA256_LEN], struct err *e);   /* of the certificate's DER */
int64_t crypto_cert_expires_ms(const struct crypto_cert *c);             /* wall clock; 0: not known */
/* RSASSA-PSS, SHA-256 as digest and in MGF1, salt of 32 bytes (PS256 of RFC 7518). Caller frees *ret. */
int crypto_cert_sign_ps256(const struct crypto_cert *c, const void *data, size_t n, uint8_t **ret, size_t *ret_len, struct err *e);

#define UUID_LEN 37
int crypto_uuid(char ret[UUID_LEN], struct err *e);                      /* random (version 4), lower case */
bool crypto_is_uuid(const char *s);

/* CRC-32 (IEEE), for our own journals. */
uint32_t crypto_crc32(uint32_t crc, const void *data, size_t n);

#endif

/* The certificates of crypto.h on CryptoAPI and CNG. A key from PEM lives in BCrypt, one from PKCS#12 in NCrypt; neither is written to disk. */
#include "common/crypto.h"

#include <windows.h>

#include <bcrypt.h>
#include <limits.h>
#include <ncrypt.h>
#include <stdio.h>
#include <string.h>
#include <wincrypt.h>

#include "common/os_win32.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 16384
#define SECTIONS_MAX 17                              /* of one PEM text: a key and a short chain */
#define EPOCH_DIFFERENCE_MS 11644473600000LL         /* from 1601 to 1970 */

struct crypto_cert {
    PCCERT_CONTEXT x509;
    BCRYPT_ALG_HANDLE rsa;
    BCRYPT_KEY_HANDLE key;                           /* PEM */
    NCRYPT_KEY_HANDLE stored;                        /* PKCS#12 */
    HCERTSTORE store;
};

static void wipe_free(void *p, size_t n)
{
    mem_wipe(p, n);
    LocalFree(p);
}

void crypto_cert_close(struct crypto_cert *c)
{
    if (!c)
        return;
    if (c->key)
        BCryptDestroyKey(c->key);
    if (c->rsa)
        BCryptCloseAlgorithmProvider(c->rsa, 0);
    if (c->stored)
        NCryptFreeObject(c->stored);
    if (c->x509)
        CertFreeCertificateContext(c->x509);
    if (c->store)
        CertCloseStore(c->store, 0);
    free(c);
}

/* ---- PEM ---- */

/* The bytes between "-----BEGIN label-----" and its end; *at moves behind it. false: no more, or no base64. Caller wipes and frees. */
static bool next_section(const char **at, char label[40], BYTE **ret, DWORD *ret_n)
{
    const char *begin = strstr(*at, "-----BEGIN ");
    const char *name = begin ? begin + 11 : NULL, *name_end = name ? strstr(name, "-----") : NULL;
    const char *end = name_end ? strstr(name_end + 5, "-----END ") : NULL, *stop = end ? strstr(end + 9, "-----") : NULL;
    if (!stop || name_end - name >= 40)
        return false;
    snprintf(label, 40, "%.*s", (int)(name_end - name), name);
    *at = stop + 5;
    DWORD length = (DWORD)(stop + 5 - begin), n = 0;
    if (!CryptStringToBinaryA(begin, length, CRYPT_STRING_BASE64HEADER, NULL, &n, NULL, NULL) || !(*ret = malloc(n ? n : 1)))
        return false;
    if (CryptStringToBinaryA(begin, length, CRYPT_STRING_BASE64HEADER, *ret, &n, NULL, NULL)) {
        *ret_n = n;
        return true;
    }
    free(*ret);
    return false;
}

/* CryptoAPI gives numbers with the least byte first, CNG takes them the other way round. */
static void add_reversed(BYTE **to, const BYTE *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *(*to)++ = from[n - 1 - i];
}

/* A decoded RSAPrivateKey: BLOBHEADER, RSAPUBKEY, modulus, prime1, prime2, … */
static int import_blob(struct crypto_cert *c, const BYTE *blob, DWORD n, struct err *e)
{
    RSAPUBKEY head;
    if (n < sizeof(BLOBHEADER) + sizeof head)
        return err_set(e, ERR_VALUE, "the private key is damaged");
    memcpy(&head, blob + sizeof(BLOBHEADER), sizeof head);
    DWORD size = head.bitlen / 8;
    if (head.bitlen < RSA_BITS_MIN)
        return err_set(e, ERR_VALUE, "the private key is no RSA key of %d bits or more", RSA_BITS_MIN);
    if (head.bitlen > RSA_BITS_MAX || head.bitlen % 16 || n < sizeof(BLOBHEADER) + sizeof head + 2 * (size_t)size)
        return err_set(e, ERR_VALUE, "the private key has a size that is not supported");
    const BYTE *modulus = blob + sizeof(BLOBHEADER) + sizeof head;
    BCRYPT_RSAKEY_BLOB out = {.Magic = BCRYPT_RSAPRIVATE_MAGIC, .BitLength = head.bitlen, .cbPublicExp = 4, .cbModulus = size, .cbPrime1 = size / 2,
                              .cbPrime2 = size / 2};
    ULONG total = (ULONG)(sizeof out + 4 + 2 * (size_t)size);
    BYTE *copy = malloc(total);
    if (!copy)
        return err_oom(e);
    BYTE *to = copy + sizeof out;
    memcpy(copy, &out, sizeof out);
    add_reversed(&to, (const BYTE *)&head.pubexp, 4);
    add_reversed(&to, modulus, size);
    add_reversed(&to, modulus + size, size / 2);
    add_reversed(&to, modulus + size + size / 2, size / 2);
    NTSTATUS s = BCryptOpenAlgorithmProvider(&c->rsa, BCRYPT_RSA_ALGORITHM, NULL, 0);
    if (s >= 0)
        s = BCryptImportKeyPair(c->rsa, NULL, BCRYPT_RSAPRIVATE_BLOB, &c->key, copy, total, 0);
    mem_wipe(copy, total);
    free(copy);
    return s >= 0 ? 0 : err_set(e, ERR_VALUE, "the private key is not accepted (status 0x%08lX)", (unsigned long)s);
}

static int import_pkcs1(struct crypto_cert *c, const BYTE *der, DWORD n, struct err *e)
{
    BYTE *blob = NULL;
    DWORD blob_n = 0;
    if (!CryptDecodeObjectEx(X509_ASN_ENCODING, PKCS_RSA_PRIVATE_KEY, der, n, CRYPT_DECODE_ALLOC_FLAG, NULL, &blob, &blob_n))
        return err_set(e, ERR_VALUE, "the PEM text has no private key that can be read");
    int r = import_blob(c, blob, blob_n, e);
    wipe_free(blob, blob_n);
    return r;
}

/* One DER element with this tag at *at: its content, and *at moves behind it. false: it is another, or does not fit. */
static bool der_take(const BYTE **at, const BYTE *end, BYTE tag, const BYTE **ret, size_t *ret_n)
{
    const BYTE *p = *at;
    if (end - p < 2 || *p++ != tag)
        return false;
    size_t n = *p++;
    if (n >= 0x80) {
        size_t digits = n & 0x7F;
        if (digits < 1 || digits > 3 || (size_t)(end - p) < digits)
            return false;
        for (n = 0; digits; digits--)
            n = n << 8 | *p++;
    }
    if ((size_t)(end - p) < n)
        return false;
    *ret = p;
    *ret_n = n;
    *at = p + n;
    return true;
}

/* PrivateKeyInfo of RFC 5208: version, algorithm, and the key of that algorithm as an octet string. */
static int import_pkcs8(struct crypto_cert *c, const BYTE *der, DWORD n, struct err *e)
{
    static const BYTE rsa[] = {0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01};    /* 1.2.840.113549.1.1.1 */
    enum { INTEGER = 0x02, OCTETS = 0x04, OID = 0x06, SEQUENCE = 0x30 };
    const BYTE *all, *version, *algorithm, *oid, *key, *at = der;
    size_t all_n, version_n, algorithm_n, oid_n, key_n;
    bool ok = der_take(&at, der + n, SEQUENCE, &all, &all_n);
    const BYTE *inner = ok ? all : NULL, *end = ok ? all + all_n : NULL;
    ok = ok && der_take(&inner, end, INTEGER, &version, &version_n) && der_take(&inner, end, SEQUENCE, &algorithm, &algorithm_n) &&
         der_take(&inner, end, OCTETS, &key, &key_n);
    const BYTE *first = ok ? algorithm : NULL;
    if (!ok || !der_take(&first, algorithm + algorithm_n, OID, &oid, &oid_n))
        return err_set(e, ERR_VALUE, "the PEM text has no private key that can be read");
    if (oid_n != sizeof rsa || memcmp(oid, rsa, sizeof rsa))
        return err_set(e, ERR_VALUE, "the private key is no RSA key of %d bits or more", RSA_BITS_MIN);
    return import_pkcs1(c, key, (DWORD)key_n, e);
}

static int import_key(struct crypto_cert *c, const char *label, const BYTE *der, DWORD n, struct err *e)
{
    if (!strcmp(label, "PRIVATE KEY"))
        return import_pkcs8(c, der, n, e);
    if (!strcmp(label, "RSA PRIVATE KEY"))
        return import_pkcs1(c, der, n, e);
    if (!strcmp(label, "ENCRYPTED PRIVATE KEY"))
        return err_set(e, ERR_VALUE, "a private key with a password is taken as PKCS#12 only on this system, not as PEM");
    return err_set(e, ERR_VALUE, "the private key is no RSA key of %d bits or more", RSA_BITS_MIN);
}

/* The modulus of a key, as CNG exports it; the caller frees. */
static bool modulus_of(BCRYPT_KEY_HANDLE key, BYTE **ret, ULONG *ret_n)
{
    ULONG n = 0;
    if (BCryptExportKey(key, NULL, BCRYPT_RSAPUBLIC_BLOB, NULL, 0, &n, 0) < 0 || !(*ret = malloc(n ? n : 1)))
        return false;
    if (BCryptExportKey(key, NULL, BCRYPT_RSAPUBLIC_BLOB, *ret, n, ret_n, 0) >= 0)
        return true;
    free(*ret);
    return false;
}

/* Whether the certificate holds the public part of the key: the numbers in both blobs are compared, whatever their headers say. */
static bool belongs(PCCERT_CONTEXT x509, BCRYPT_KEY_HANDLE key)
{
    BCRYPT_KEY_HANDLE public = NULL;
    BYTE *a = NULL, *b = NULL;
    ULONG n = 0, m = 0;
    BCRYPT_RSAKEY_BLOB x, y;
    bool same = false;
    if (!CryptImportPublicKeyInfoEx2(X509_ASN_ENCODING, &x509->pCertInfo->SubjectPublicKeyInfo, 0, NULL, &public))
        return false;
    if (modulus_of(public, &a, &n) && modulus_of(key, &b, &m) && n >= sizeof x && m >= sizeof y) {
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        same = x.cbModulus == y.cbModulus && n >= sizeof x + x.cbPublicExp + x.cbModulus && m >= sizeof y + y.cbPublicExp + y.cbModulus &&
               !memcmp(a + sizeof x + x.cbPublicExp, b + sizeof y + y.cbPublicExp, x.cbModulus);
    }
    free(a);
    free(b);
    BCryptDestroyKey(public);
    return same;
}

static int open_pem(struct crypto_cert *c, const char *text, struct err *e)
{
    PCCERT_CONTEXT found[SECTIONS_MAX] = {0};
    size_t n_found = 0;
    int r = 0;
    BYTE *der;
    DWORD n;
    char label[40];
    for (int i = 0; i < SECTIONS_MAX && r == 0 && next_section(&text, label, &der, &n); i++) {
        if (!strcmp(label, "CERTIFICATE") && (found[n_found] = CertCreateCertificateContext(X509_ASN_ENCODING, der, n)))
            n_found++;
        else if (str_ends(label, "PRIVATE KEY") && !c->key)
            r = import_key(c, label, der, n, e);
        mem_wipe(der, n);
        free(der);
    }
    if (r == 0 && !c->key)
        r = err_set(e, ERR_VALUE, "the PEM text has no private key that can be read without a password");
    for (size_t i = 0; i < n_found; i++)
        if (r == 0 && !c->x509 && belongs(found[i], c->key))
            c->x509 = found[i];
        else
            CertFreeCertificateContext(found[i]);
    return r < 0 || c->x509 ? r : err_set(e, ERR_VALUE, "the PEM text has no certificate that belongs to its private key");
}

/* ---- PKCS#12 ---- */

static int open_pkcs12(struct crypto_cert *c, const void *data, size_t n, const char *password, struct err *e)
{
    CRYPT_DATA_BLOB blob = {.cbData = (DWORD)n, .pbData = (BYTE *)(uintptr_t)data};
    AUTO_FREE wchar_t *wide = NULL;
    if (!PFXIsPFXBlob(&blob))
        return err_set(e, ERR_VALUE, "it is neither PEM with certificate and private key nor PKCS#12");
    int r = win_utf16(password ? password : "", &wide, e);
    if (r < 0)
        return r;
    c->store = PFXImportCertStore(&blob, wide, PKCS12_NO_PERSIST_KEY | PKCS12_ALWAYS_CNG_KSP);
    mem_wipe(wide, wcslen(wide) * sizeof *wide);
    if (!c->store)
        return err_set(e, ERR_VALUE, "the PKCS#12 cannot be opened %s (error 0x%08lX)", password ? "with this password" : "without a password",
                       GetLastError());
    DWORD spec = 0, bits = 0, size = sizeof bits;
    BOOL own = FALSE;
    HCRYPTPROV_OR_NCRYPT_KEY_HANDLE key = 0;
    c->x509 = CertFindCertificateInStore(c->store, X509_ASN_ENCODING, 0, CERT_FIND_HAS_PRIVATE_KEY, NULL, NULL);
    if (!c->x509)
        return err_set(e, ERR_VALUE, "the PKCS#12 has no certificate with its private key");
    if (!CryptAcquireCertificatePrivateKey(c->x509, CRYPT_ACQUIRE_ONLY_NCRYPT_KEY_FLAG | CRYPT_ACQUIRE_SILENT_FLAG, NULL, &key, &spec, &own) || !own)
        return err_set(e, ERR_VALUE, "the private key of the PKCS#12 cannot be used (error 0x%08lX)", GetLastError());
    c->stored = key;
    if (NCryptGetProperty(key, NCRYPT_LENGTH_PROPERTY, (PBYTE)&bits, size, &size, 0) != ERROR_SUCCESS || bits < RSA_BITS_MIN ||
        strcmp(c->x509->pCertInfo->SubjectPublicKeyInfo.Algorithm.pszObjId, szOID_RSA_RSA))
        return err_set(e, ERR_VALUE, "the private key is no RSA key of %d bits or more", RSA_BITS_MIN);
    return 0;
}

/* ---- both ---- */

int crypto_cert_open(const void *data, size_t n, const char *password, struct crypto_cert **ret, struct err *e)
{
    if (n > INT_MAX)
        return err_set(e, ERR_VALUE, "it is too large for a certificate");
    AUTO(crypto_cert_close_ptr) struct crypto_cert *c = calloc(1, sizeof *c);
    AUTO_SECRET char *text = str_ndup(data, n);
    if (!c || !text)
        return err_oom(e);
    int r = strstr(text, "-----BEGIN ") ? open_pem(c, text, e) : open_pkcs12(c, data, n, password, e);
    if (r < 0)
        return r;
    *ret = STEAL(c);
    return 0;
}

int crypto_cert_sha256(const struct crypto_cert *c, uint8_t ret[SHA256_LEN], struct err *e)
{
    return crypto_sha256(c->x509->pbCertEncoded, c->x509->cbCertEncoded, ret, e);
}

int64_t crypto_cert_expires_ms(const struct crypto_cert *c)
{
    FILETIME t = c->x509->pCertInfo->NotAfter;
    return (int64_t)(((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime) / 10000) - EPOCH_DIFFERENCE_MS;
}

int crypto_cert_sign_ps256(const struct crypto_cert *c, const void *data, size_t n, uint8_t **ret, size_t *ret_len, struct err *e)
{
    BCRYPT_PSS_PADDING_INFO padding = {.pszAlgId = BCRYPT_SHA256_ALGORITHM, .cbSalt = SHA256_LEN};
    uint8_t digest[SHA256_LEN];
    int r = crypto_sha256(data, n, digest, e);
    if (r < 0)
        return r;
    ULONG len = RSA_BITS_MAX / 8;
    uint8_t *sig = malloc(len);
    if (!sig)
        return err_oom(e);
    long status = c->key ? (long)BCryptSignHash(c->key, &padding, digest, SHA256_LEN, sig, len, &len, BCRYPT_PAD_PSS)
                         : (long)NCryptSignHash(c->stored, &padding, digest, SHA256_LEN, sig, len, &len, BCRYPT_PAD_PSS);
    if (status != 0) {
        free(sig);
        return err_set(e, ERR_INTERNAL, "the assertion cannot be signed with the certificate's key (status 0x%08lX)", (unsigned long)status);
    }
    *ret = sig;
    *ret_len = len;
    return 0;
}

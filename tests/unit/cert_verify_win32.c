#include "tests/unit/cert_verify.h"

#include <windows.h>

#include <bcrypt.h>
#include <string.h>
#include <wincrypt.h>

#include "common/crypto.h"

bool cert_verify_ps256(const char *pem, const void *data, size_t n, const uint8_t *sig, size_t sig_len)
{
    BYTE der[4096];
    DWORD len = sizeof der;
    struct err e;
    uint8_t digest[SHA256_LEN];
    BCRYPT_KEY_HANDLE key = NULL;
    BCRYPT_PSS_PADDING_INFO padding = {.pszAlgId = BCRYPT_SHA256_ALGORITHM, .cbSalt = SHA256_LEN};
    if (!CryptStringToBinaryA(pem, 0, CRYPT_STRING_BASE64HEADER, der, &len, NULL, NULL) || crypto_sha256(data, n, digest, &e) < 0)
        return false;
    PCCERT_CONTEXT x509 = CertCreateCertificateContext(X509_ASN_ENCODING, der, len);
    bool ok = x509 && CryptImportPublicKeyInfoEx2(X509_ASN_ENCODING, &x509->pCertInfo->SubjectPublicKeyInfo, 0, NULL, &key) &&
              BCryptVerifySignature(key, &padding, digest, SHA256_LEN, (PUCHAR)(uintptr_t)sig, (ULONG)sig_len, BCRYPT_PAD_PSS) == 0;
    if (key)
        BCryptDestroyKey(key);
    if (x509)
        CertFreeCertificateContext(x509);
    return ok;
}

bool cert_verify_has_pkcs12(void)
{
    return !GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version");
}

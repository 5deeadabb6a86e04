#define SECURITY_WIN32
#define CERT_CHAIN_PARA_HAS_EXTRA_FIELDS
#include "storage/tls_win32.h"

#include <windows.h>

#include <pthread.h>
#include <schannel.h>
#include <security.h>
#include <stddef.h>
#include <string.h>
#include <wchar.h>
#include <wincrypt.h>

#include "common/os.h"
#include "common/os_win32.h"

#define CA_FILE_MAX ((size_t)4 << 20)
#define FETCH_MS 15000                               /* for what Windows fetches to judge: missing CAs, lists of revoked certificates */

/* The file's CAs. Never freed once it was in use: another thread may be judging by it. */
struct further {
    char *path;
    HCERTSTORE store;
    HCERTCHAINENGINE engine;                          /* trusts the store alone; NULL: why says why not */
    struct err why;
};
static struct further *further;
static pthread_mutex_t further_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char refusal[400];

/* ---- the file ---- */

static int add_certificates(HCERTSTORE store, const char *path, const char *pem, struct err *e)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
    unsigned n = 0;
    for (const char *at = pem; (at = strstr(at, begin)); n++) {
        const char *stop = strstr(at, end);
        if (!stop)
            return err_set(e, ERR_TLS, "ca_file: the certificate %u in %s has no end", n + 1, path);
        stop += strlen(end);
        DWORD len = 0, size = (DWORD)(stop - at);
        CryptStringToBinaryA(at, size, CRYPT_STRING_BASE64HEADER, NULL, &len, NULL, NULL);
        AUTO_FREE BYTE *der = malloc(len + 1);
        if (!der)
            return err_oom(e);
        if (!CryptStringToBinaryA(at, size, CRYPT_STRING_BASE64HEADER, der, &len, NULL, NULL) ||
            !CertAddEncodedCertificateToStore(store, X509_ASN_ENCODING, der, len, CERT_STORE_ADD_ALWAYS, NULL))
            return err_os(e, ERR_TLS, (long)GetLastError(), "ca_file: the certificate %u in %s cannot be read", n + 1, path);
        at = stop;
    }
    return n ? 0 : err_set(e, ERR_TLS, "ca_file: there is no certificate in %s (PEM is expected)", path);
}

static int open_engine(struct further *f, struct err *e)
{
    AUTO_FREE char *pem = NULL;
    int r = os_read_file(f->path, CA_FILE_MAX, &pem, NULL, e);
    if (r < 0)
        return err_prefix(e, "ca_file");
    f->store = CertOpenStore(CERT_STORE_PROV_MEMORY, 0, 0, CERT_STORE_CREATE_NEW_FLAG, NULL);
    if (!f->store)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot make a store for certificates");
    if ((r = add_certificates(f->store, f->path, pem, e)) < 0)
        return r;
    CERT_CHAIN_ENGINE_CONFIG config = {.cbSize = sizeof config, .dwUrlRetrievalTimeout = FETCH_MS, .hExclusiveRoot = f->store,
                                       .dwExclusiveFlags = CERT_CHAIN_EXCLUSIVE_ENABLE_CA_FLAG};
    bool made = CertCreateCertificateChainEngine(&config, &f->engine);
    if (!made) {                                      /* without the last member: then the file must have the root, not only a CA below it */
        config.cbSize = offsetof(CERT_CHAIN_ENGINE_CONFIG, dwExclusiveFlags);
        made = CertCreateCertificateChainEngine(&config, &f->engine);
    }
    if (!made) {
        f->engine = NULL;
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "ca_file: Windows cannot judge by %s", f->path);
    }
    return 0;
}

static void further_free(struct further *f)
{
    if (f && f->store)
        CertCloseStore(f->store, 0);
    if (f)
        free(f->path);
    free(f);
}

/* NULL when memory ran out. */
static struct further *further_of(const char *path)
{
    pthread_mutex_lock(&further_lock);
    if (!further || strcmp(further->path, path)) {
        struct further *f = calloc(1, sizeof *f);
        if (f && (f->path = str_dup(path))) {
            open_engine(f, &f->why);
            further = f;
        } else {
            further_free(f);
            further = NULL;
        }
    }
    struct further *ret = further;
    pthread_mutex_unlock(&further_lock);
    return ret;
}

/* ---- the judgement ---- */

/* What a chain can have against it; the first that applies is told. The last ones are the policy's. */
static const struct fault { DWORD bit; long code; const char *text; } faults[] = {
    {CERT_TRUST_IS_REVOKED, CRYPT_E_REVOKED, "it is revoked"},
    {CERT_TRUST_IS_NOT_SIGNATURE_VALID, TRUST_E_CERT_SIGNATURE, "a signature in its chain is wrong"},
    {CERT_TRUST_IS_NOT_TIME_VALID, CERT_E_EXPIRED, "it is expired, or not valid yet"},
    {CERT_TRUST_IS_UNTRUSTED_ROOT, CERT_E_UNTRUSTEDROOT, "its CA is not trusted"},
    {CERT_TRUST_IS_PARTIAL_CHAIN, CERT_E_CHAINING, "it leads to no known CA"},
    {CERT_TRUST_IS_NOT_VALID_FOR_USAGE, CERT_E_WRONG_USAGE, "it is not meant for servers"},
    {CERT_TRUST_INVALID_BASIC_CONSTRAINTS, TRUST_E_BASIC_CONSTRAINTS, "a certificate in its chain is none of a CA"},
    {0, CERT_E_CN_NO_MATCH, "it is for another name"},
};

static void text_of(long code, char *buf, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (faults[i].code == code) {
            snprintf(buf, size, "%s", faults[i].text);
            return;
        }
    os_error_text(code, buf, size);
}

/* That no list of revoked certificates could be had is no fault: a recovery host is often let out to its source alone. Nor that a
 * certificate lives longer than its CA, which Windows' own policy does not mind. */
#define NO_FAULT (CERT_TRUST_REVOCATION_STATUS_UNKNOWN | CERT_TRUST_IS_OFFLINE_REVOCATION | CERT_TRUST_IS_NOT_TIME_NESTED)
#define IGNORE_REVOCATION 0x80                        /* SECURITY_FLAG_IGNORE_REVOCATION: of the policy; the chain's status has it */

/* 0, or the code of what is wrong. The chain's own status counts beside the policy's word, which says whether the name is right. */
static long judge_chain(HCERTCHAINENGINE engine, PCCERT_CONTEXT cert, wchar_t *host)
{
    static char server_auth[] = szOID_PKIX_KP_SERVER_AUTH;
    char *usages[] = {server_auth};
    CERT_CHAIN_PARA how = {.cbSize = sizeof how, .RequestedUsage = {USAGE_MATCH_TYPE_AND, {ARRAY_LEN(usages), usages}},
                           .dwUrlRetrievalTimeout = FETCH_MS};
    PCCERT_CHAIN_CONTEXT chain = NULL;
    if (!CertGetCertificateChain(engine, cert, NULL, cert->hCertStore, &how,
                                 CERT_CHAIN_REVOCATION_CHECK_CHAIN_EXCLUDE_ROOT | CERT_CHAIN_REVOCATION_ACCUMULATIVE_TIMEOUT, NULL, &chain))
        return (long)GetLastError();
    SSL_EXTRA_CERT_CHAIN_POLICY_PARA ssl = {.cbSize = sizeof ssl, .dwAuthType = AUTHTYPE_SERVER, .fdwChecks = IGNORE_REVOCATION, .pwszServerName = host};
    CERT_CHAIN_POLICY_PARA policy = {sizeof policy, 0, &ssl};
    CERT_CHAIN_POLICY_STATUS status = {.cbSize = sizeof status};
    DWORD against = chain->TrustStatus.dwErrorStatus & ~(DWORD)NO_FAULT;
    long code = against ? CERT_E_CRITICAL : 0;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (against & faults[i].bit) {
            code = faults[i].code;
            break;
        }
    if (!code)
        code = CertVerifyCertificateChainPolicy(CERT_CHAIN_POLICY_SSL, chain, &policy, &status) ? (long)status.dwError : CERT_E_CRITICAL;
    CertFreeCertificateChain(chain);
    return code;
}

static bool host_of(CURL *h, wchar_t **ret, bool *ret_tls)
{
    const char *url = NULL;
    char *scheme = NULL, *host = NULL;
    struct err ignored;
    curl_easy_getinfo(h, CURLINFO_EFFECTIVE_URL, &url);
    CURLU *u = curl_url();
    bool ok = u && url && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
              !curl_url_get(u, CURLUPART_HOST, &host, 0) && win_utf16(host, ret, &ignored) == 0;
    *ret_tls = !ok || strcmp(scheme, "http") != 0;
    if (ok && (*ret)[0] == L'[') {                    /* an IPv6 address stands without its brackets in certificates */
        size_t n = wcslen(*ret);
        wmemmove(*ret, *ret + 1, n);
        (*ret)[n - 2] = 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return ok;
}

static int refuse(const char *why)
{
    snprintf(refusal, sizeof refusal, "the server's certificate is refused: %s", why);
    return CURL_PREREQFUNC_ABORT;
}

/* Called by libcurl for every request, also on a connection that is used again, before anything of the request is sent. */
static int judge(void *handle, char *ip, char *local_ip, int port, int local_port)
{
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    CURL *h = handle;
    AUTO_FREE wchar_t *host = NULL;
    bool tls;
    bool known = host_of(h, &host, &tls);
    if (!tls)
        return CURL_PREREQFUNC_OK;
    struct curl_tlssessioninfo *session = NULL;
    PCCERT_CONTEXT cert = NULL;
    if (!known || curl_easy_getinfo(h, CURLINFO_TLS_SSL_PTR, &session) || !session || session->backend != CURLSSLBACKEND_SCHANNEL ||
        !session->internals || QueryContextAttributesW(session->internals, SECPKG_ATTR_REMOTE_CERT_CONTEXT, &cert) != SEC_E_OK || !cert)
        return refuse("it cannot be looked at");
    pthread_mutex_lock(&further_lock);
    const struct further *f = further;
    pthread_mutex_unlock(&further_lock);
    long by_system = judge_chain(NULL, cert, host), by_file = by_system;
    char text[2][160];
    if (by_system && f && f->engine)
        by_file = judge_chain(f->engine, cert, host);
    CertFreeCertificateContext(cert);
    if (!by_system || !by_file)
        return CURL_PREREQFUNC_OK;
    text_of(by_system, text[0], sizeof text[0]);
    text_of(by_file, text[1], sizeof text[1]);
    AUTO_FREE char *why = NULL;
    if (!f || !f->engine)
        why = str_printf("%s (%s)", text[0], f ? f->why.msg : "no ca_file");
    else if (by_system == by_file)
        why = str_dup(text[0]);
    else
        why = str_printf("by the system's CAs: %s; by ca_file: %s", text[0], text[1]);
    return refuse(why ? why : text[0]);
}

CURLcode tls_also_trust(CURL *h, const char *ca_file)
{
    if (!further_of(ca_file))
        return CURLE_OUT_OF_MEMORY;
    CURLcode c = curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, judge);
    c = c ? c : curl_easy_setopt(h, CURLOPT_PREREQDATA, h);
    c = c ? c : curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);       /* judge() does both */
    return c ? c : curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
}

const char *tls_refusal(void)
{
    return refusal;
}

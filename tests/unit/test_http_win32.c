/* What http takes from Windows: [tls] ca_file adds to the machine's store, whose CAs count as before, and proxies come from WinHTTP's
 * settings. Changes both, so it runs under Wine alone, where they go with the test. What must be refused is in test_blob.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/os.h"
#include "storage/http.h"
#include "storage/http_os.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

#include <windows.h>

#include <string.h>
#include <wincrypt.h>
#include <winhttp.h>

static char *dir;

static void trust(const char *name)
{
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, name), *pem = NULL;
    size_t n;
    BYTE der[4096];
    DWORD len = sizeof der;
    assert_int_equal(os_read_file(path, 1 << 16, &pem, &n, &e), 0);
    assert_true(CryptStringToBinaryA(pem, (DWORD)n, CRYPT_STRING_BASE64HEADER, der, &len, NULL, NULL));
    HCERTSTORE store = CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, CERT_SYSTEM_STORE_LOCAL_MACHINE, L"ROOT");
    assert_non_null(store);
    assert_true(CertAddEncodedCertificateToStore(store, X509_ASN_ENCODING, der, len, CERT_STORE_ADD_ALWAYS, NULL));
    CertCloseStore(store, 0);
}

/* HEAD of a server that shows NAME.pem; the sentence of the error, "" for none. */
static char *ask(const char *name, const char *host, const char *ca_name)
{
    struct err e = {0}, e2;
    char detail[CURL_ERROR_SIZE] = "";
    AUTO_FREE char *cert_name = str_printf("%s.pem", name), *key_name = str_printf("%s.key", name);
    AUTO_FREE char *cert = tmp_path(dir, cert_name), *key = tmp_path(dir, key_name), *ca = tmp_path(dir, ca_name), *log = tmp_path(dir, "requests");
    struct blob_server s;
    struct os_stat st;
    assert_int_equal(os_remove(log, &e2), 0);
    server_start(&s, (const char *const[]){"--size", "1M", "--cert", cert, "--key", key, "--log", log, NULL});
    AUTO_FREE char *url = str_printf("https://%s:%u/vhds/disk.vhd?sig=s3cret", host, s.port);
    CURL *h = http_handle(&(struct http_config){.ca_file = ca}, url);
    assert_non_null(h);
    curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail);
    CURLcode c = curl_easy_perform(h);
    if (c == CURLE_OK) {                              /* and once more on the same connection, which is judged again */
        assert_int_equal(curl_easy_perform(h), CURLE_OK);
        long connects = 1;
        curl_easy_getinfo(h, CURLINFO_NUM_CONNECTS, &connects);
        assert_int_equal(connects, 0);
        assert_int_equal(os_stat(log, &st, &e2), 0);
        assert_true(st.size > 0);
    } else {
        http_error(c, detail, url, &e);
        assert_int_equal(e.code, ERR_TLS);
        assert_null(strstr(e.msg, "s3cret"));
        assert_int_equal(os_stat(log, &st, &e2), 0);
        assert_int_equal(st.size, 0);                 /* nothing was sent */
    }
    curl_easy_cleanup(h);
    server_stop(&s);
    return str_dup(e.msg);
}

static void expect(const char *name, const char *host, const char *ca, const char *says)
{
    AUTO_FREE char *said = ask(name, host, ca);
    if (*says ? !strstr(said, says) : *said)
        fail_msg("%s trusting %s: \"%s\", not \"%s\"", name, ca, said, says);
}

static void test_both(void **state)
{
    (void)state;
    if (!tmp_is_wine())
        skip();
    assert_int_equal(tmp_shell(dir,
        "set -e; exec >log 2>&1\n"
        "key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n"
        "for ca in public private; do\n"
        "  openssl req -x509 $key -keyout $ca.key -out $ca.pem -days 2 -subj /CN=$ca\n"
        "  printf 'subjectAltName=DNS:localhost\\n' >ext\n"
        "  for days in 2 -1; do\n"
        "    openssl req $key -keyout $ca$days.key -out csr -subj /CN=server\n"
        "    openssl x509 -req -in csr -CA $ca.pem -CAkey $ca.key -days $days -extfile ext -out $ca$days.pem\n"
        "  done\n"
        "done\n"
        "printf -- '-----BEGIN CERTIFICATE-----\\nbm8=\\n-----END CERTIFICATE-----\\n' >broken.pem\n"), 0);
    trust("public.pem");                              /* first of all: Wine looks at its store once */
    expect("public2", "localhost", "private.pem", "");
    expect("private2", "localhost", "private.pem", "");
    expect("public2", "127.0.0.1", "private.pem", "the server's certificate is refused: by the system's CAs: it is for another name; ");
    expect("private2", "127.0.0.1", "private.pem", "by ca_file: it is for another name");
    expect("public-1", "localhost", "private.pem", "it is expired, or not valid yet");
    expect("private-1", "localhost", "private.pem", "it is expired, or not valid yet");
    expect("private2", "localhost", "broken.pem", "the certificate 1 in");
    expect("private2", "localhost", "public.key", "there is no certificate in");
    expect("private2", "localhost", "nothing.pem", "ca_file: ");
    expect("public2", "localhost", "nothing.pem", "");               /* the system's trust needs no file */
}

static void set_proxy(DWORD type, const wchar_t *list, const wchar_t *bypass)
{
    WINHTTP_PROXY_INFO info = {type, (wchar_t *)(uintptr_t)list, (wchar_t *)(uintptr_t)bypass};
    assert_true(WinHttpSetDefaultProxyConfiguration(&info));
}

static void expect_proxy(const char *list, const char *bypass)
{
    char *got = NULL, *except = NULL;
    assert_true(http_os_proxy(&got, &except));
    if (!got != !list || (got && strcmp(got, list)))
        fail_msg("proxies \"%s\", not \"%s\"", got ? got : "none", list ? list : "none");
    if (!except != !bypass || (except && strcmp(except, bypass)))
        fail_msg("bypass \"%s\", not \"%s\"", except ? except : "none", bypass ? bypass : "none");
    mem_free_secret(got);
    free(except);
}

static CURLcode get(const char *url)
{
    CURL *h = http_handle(&(struct http_config){0}, url);
    assert_non_null(h);
    curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    CURLcode c = curl_easy_perform(h);
    curl_easy_cleanup(h);
    return c;
}

static void test_proxies(void **state)
{
    (void)state;
    if (!tmp_is_wine())
        skip();
    struct blob_server s;
    server_start(&s, (const char *const[]){"--size", "1M", NULL});
    AUTO_FREE char *url = str_printf("http://0.0.0.0:%u/vhds/disk.vhd", s.port);    /* this machine, but not by a name that needs no proxy */
    tmp_setenv("http_proxy", NULL);
    expect_proxy(NULL, NULL);
    assert_int_equal(get(url), CURLE_OK);
    set_proxy(WINHTTP_ACCESS_TYPE_NAMED_PROXY, L"http=127.0.0.1:1;https=proxy:8080", L"<local>;*.corp.example");
    expect_proxy("http=127.0.0.1:1;https=proxy:8080", "<local>;*.corp.example");
    assert_int_equal(get(url), CURLE_COULDNT_CONNECT);               /* a change counts at once */
    assert_int_equal(get(s.url), CURLE_OK);
    set_proxy(WINHTTP_ACCESS_TYPE_NAMED_PROXY, L"127.0.0.1:1", L"0.0.0.*");
    expect_proxy("127.0.0.1:1", "0.0.0.*");
    assert_int_equal(get(url), CURLE_OK);
    set_proxy(WINHTTP_ACCESS_TYPE_NAMED_PROXY, L"127.0.0.1:1", NULL);
    expect_proxy("127.0.0.1:1", NULL);
    assert_int_equal(get(url), CURLE_COULDNT_CONNECT);
    set_proxy(WINHTTP_ACCESS_TYPE_NO_PROXY, NULL, NULL);
    expect_proxy(NULL, NULL);
    assert_int_equal(get(url), CURLE_OK);
    tmp_setenv("http_proxy", "http://127.0.0.1:1");                   /* where WinHTTP has none, the environment as libcurl reads it */
    assert_int_equal(get(url), CURLE_COULDNT_CONNECT);
    tmp_setenv("http_proxy", NULL);
    server_stop(&s);
}

int main(void)
{
    struct err e;
    if (http_init(&e) < 0)
        return 1;
    dir = tmp_make();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both), cmocka_unit_test(test_proxies)};
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    tmp_remove(dir);
    return r;
}

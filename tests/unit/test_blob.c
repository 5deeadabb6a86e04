/* Blob requests: SharedKey, properties, small reads, what a refusal means, headers, TLS, proxies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/os.h"
#include "storage/azure/sharedkey.h"
#include "tests/unit/blob_server.h"
#include "tests/unit/tmp.h"

/* The key that Azurite and its predecessors publish; it protects nothing. */
#define KEY "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

static char *dir;
static struct blob_server server;

static int group_setup(void **state)
{
    (void)state;
    struct err e;
    dir = tmp_make();
    server_start(&server, (const char *const[]){"--size", "1M", "--used", "0-511,4096-1048575", NULL});
    return http_init(&e);
}

static int group_teardown(void **state)
{
    (void)state;
    server_stop(&server);
    tmp_remove(dir);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    server_faults(&server, "");
    return 0;
}

/* ---- SharedKey: string and signature made beforehand with another implementation ---- */

static void test_sharedkey(void **state)
{
    (void)state;
    struct err e;
    struct curl_slist *l = curl_slist_append(NULL, "x-ms-version: 2020-10-02");
    l = curl_slist_append(l, "x-ms-date:   Sun, 06 Nov  1994 08:49:37 GMT ");
    l = curl_slist_append(l, "X-MS-Range: bytes=0-511");
    l = curl_slist_append(l, "If-Match: \"0x1\"");
    const char *url = "http://127.0.0.1:10000/devstoreaccount1/vhds/a%20b.vhd?x=2&comp=pagelist&X=1&marker=2%2116%21a%3d#no";
    AUTO_STRBUF struct strbuf b = {0};
    assert_int_equal(sharedkey_string("devstoreaccount1", "GET", url, l, &b, &e), 0);
    assert_string_equal(
        b.data,
        "GET\n\n\n\n\n\n\n\n\"0x1\"\n\n\n\nx-ms-date:Sun, 06 Nov 1994 08:49:37 GMT\nx-ms-range:bytes=0-511\n"
        "x-ms-version:2020-10-02\n/devstoreaccount1/devstoreaccount1/vhds/a%20b.vhd\ncomp:pagelist\nmarker:2!16!a=\nx:1,2");
    AUTO_SECRET char *line = NULL;
    assert_int_equal(sharedkey_sign("devstoreaccount1", KEY, "GET", url, l, &line, &e), 0);
    assert_string_equal(line, "Authorization: SharedKey devstoreaccount1:ftKD+AYgund3k8zAk6YOpVi57MVINowQlUIjidsYFoI=");
    curl_slist_free_all(l);
    /* host style, nothing but a host */
    AUTO_STRBUF struct strbuf c = {0};
    l = curl_slist_append(NULL, "Range: bytes=1-2");
    assert_int_equal(sharedkey_string("acct", "HEAD", "https://acct.blob.core.windows.net", l, &c, &e), 0);
    assert_string_equal(c.data, "HEAD\n\n\n\n\n\n\n\n\n\n\nbytes=1-2\n/acct/");
    curl_slist_free_all(l);
}

static void test_sharedkey_limits(void **state)
{
    (void)state;
    struct err e;
    AUTO_STRBUF struct strbuf url = {0}, b = {0};
    strbuf_adds(&url, "http://h/p?a=1");
    for (int i = 0; i < 100; i++)
        strbuf_addf(&url, "&p%d=%%", i);
    assert_int_equal(sharedkey_string("a", "GET", url.data, NULL, &b, &e), -ERR_VALUE);
    struct blob *blob;
    struct blob_access a = {.url = server.url, .auth = BLOB_SHARED_KEY, .account = "acct", .key = "not base64!"};
    assert_int_equal(blob_open(&a, &blob, &e), -ERR_CREDENTIAL);
    assert_null(strstr(e.msg, "not base64!"));
    a.key = NULL;
    assert_int_equal(blob_open(&a, &blob, &e), -ERR_CREDENTIAL);
}

/* ---- headers ---- */

static void feed(struct http_headers *h, const char *line)
{
    char copy[1024];
    snprintf(copy, sizeof copy, "%s\r\n", line);
    assert_int_equal(http_collect_header(copy, 1, strlen(copy), h), strlen(copy));
}

static void test_headers(void **state)
{
    (void)state;
    struct http_headers h;
    http_headers_reset(&h);
    feed(&h, "HTTP/1.1 100 Continue");
    feed(&h, "ETag: old");
    feed(&h, "HTTP/1.1 206 Partial Content");
    assert_int_equal(h.status, 206);
    assert_string_equal(h.etag, "");
    feed(&h, "etag:\"0x1\"");
    feed(&h, "CONTENT-LENGTH:  512 ");
    feed(&h, "Location: https://host/path?sig=secret");
    feed(&h, "Retry-After: 999999999999999999999");
    feed(&h, "x-ms-request-id: a\x01"
             "b\xFF");
    feed(&h, "no colon");
    assert_string_equal(h.etag, "\"0x1\"");
    assert_int_equal(h.content_length, 512);
    assert_string_equal(h.location, "https://host/path");
    assert_int_equal(h.retry_after_ms, 0);
    assert_string_equal(h.request_id, "a b");
    assert_true(h.azure);
    feed(&h, "Retry-After: 100000");
    assert_int_equal(h.retry_after_ms, 600000);
    feed(&h, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT");
    assert_int_equal(h.retry_after_ms, 0);
    feed(&h, "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT");
    assert_int_equal(h.retry_after_ms, 600000);
    feed(&h, "Content-Length: -1");
    assert_int_equal(h.content_length, ULLONG_MAX);
    feed(&h, "x-ms-blob-content-length: 18446744073709551616");
    assert_int_equal(h.blob_content_length, ULLONG_MAX);
    char line[1000];
    memset(line, 'x', sizeof line);
    memcpy(line, "etag: ", 6);
    size_t n = 0;
    while (http_collect_header(line, 1, sizeof line, &h))
        assert_true(++n < 1000);
    assert_int_equal(strlen(h.etag), 127);
    assert_in_range(n, HTTP_HEADERS_MAX / sizeof line - 1, HTTP_HEADERS_MAX / sizeof line);
}

/* ---- requests ---- */

static int head_of(const char *url, struct blob_info *info, struct err *e)
{
    struct blob *b;
    struct blob_access a = {.url = url, .http = {.connect_timeout_ms = 3000, .stall_timeout_ms = 1000}};
    int r = blob_open(&a, &b, e);
    if (r == 0) {
        r = blob_head(b, info, e);
        blob_close(b);
    }
    return r;
}

static void test_head(void **state)
{
    (void)state;
    struct err e;
    struct blob_info info, other;
    assert_int_equal(head_of(server.url, &info, &e), 0);
    assert_int_equal(info.length, 1 << 20);
    assert_true(info.azure && info.page_blob && info.etag[0] == '"' && info.last_modified[0]);
    server_faults(&server, "no_head");
    assert_int_equal(head_of(server.url, &other, &e), 0); /* by GET of the first byte */
    assert_memory_equal(&info, &other, sizeof info);
    server_faults(&server, "status,on=any,code=503,times=2");
    assert_int_equal(head_of(server.url, &info, &e), 0);
}

static void test_head_errors(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *query;
        enum err_code code;
        const char *upstream;
    } cases[] = {
        {"gone", "", ERR_SOURCE_NOT_FOUND, "BlobNotFound"},
        {"expired", "?sig=x&se=2020-01-01", ERR_SAS_EXPIRED, "AuthenticationFailed"},
        {"status,on=any,times=0,code=403,xcode=AuthorizationFailure", "?se=2020-01-01T00%3A00Z&sig=x", ERR_SAS_EXPIRED,
         "AuthorizationFailure"},
        {"status,on=any,times=0,code=403,xcode=AuthorizationFailure", "?se=2099-01-01T00%3A00%3A00Z&sig=x", ERR_SOURCE_DENIED,
         "AuthorizationFailure"},
        {"status,on=any,times=0,code=403,xcode=AuthenticationFailed", "?sig=x&si=policy", ERR_SAS_EXPIRED,
         "AuthenticationFailed"},
        {"status,on=any,times=0,code=403,xcode=AuthenticationFailed", "", ERR_SOURCE_DENIED, "AuthenticationFailed"},
        {"status,on=any,times=0,code=409,xcode=PublicAccessNotPermitted", "", ERR_SOURCE_DENIED, "PublicAccessNotPermitted"},
        {"status,on=any,times=0,code=401,xcode=NoAuthenticationInformation", "", ERR_SOURCE_DENIED,
         "NoAuthenticationInformation"},
        {"status,on=any,times=0,code=400,xcode=InvalidUri", "", ERR_UPSTREAM_FINAL, "InvalidUri"},
        {"status,on=any,times=0,code=503,retry=1", "", ERR_THROTTLED, "ServerBusy"},
        {"redirect,on=any,times=0,to=https://elsewhere.example/x?sig=secret", "?sig=x", ERR_UPSTREAM_FINAL, ""},
        {"no_head\nfull", "", ERR_RANGE_IGNORED, NULL},
        {"garbage,on=any,times=0", "", ERR_UPSTREAM, NULL},
    };
    struct err e;
    struct blob_info info;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char url[256];
        snprintf(url, sizeof url, "%s%s", server.url, cases[i].query);
        server_faults(&server, cases[i].fault);
        err_clear(&e);
        if (head_of(url, &info, &e) != -(int)cases[i].code)
            fail_msg("%s: expected %s, got %s: %s", cases[i].fault, err_info(cases[i].code)->word, err_info(e.code)->word, e.msg);
        if (cases[i].upstream) {
            assert_string_equal(e.upstream.code, cases[i].upstream);
            assert_string_equal(e.upstream.service, "azure_storage");
            assert_true(e.upstream.status >= 300 && e.upstream.request_id[0]);
        }
        assert_true(!strstr(e.msg, "sig=") && !strstr(e.msg, "secret") && !strstr(err_hint_text(&e), "sig="));
    }
    server_faults(&server, "");
    char url[256];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/other/disk.vhd", server.port);
    assert_int_equal(head_of(url, &info, &e), -ERR_SOURCE_NOT_FOUND);
    assert_string_equal(e.upstream.code, "ContainerNotFound");
    assert_non_null(strstr(err_hint_text(&e), "container"));
    assert_int_equal(head_of("http://127.0.0.1:1/x", &info, &e), -ERR_UNREACHABLE);
    assert_int_equal(e.os_code, CURLE_COULDNT_CONNECT);
}

static void test_read(void **state)
{
    (void)state;
    struct err e;
    struct source src;
    uint8_t buf[1024];
    source_open(&src, server.url);
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 3584, &e), 0);
    assert_memory_equal(buf, ((uint8_t[512]){0}), 512);
    assert_memory_equal(buf + 512, ((uint8_t[8]){0, 16}), 8); /* each page begins with its offset: 4096 */
    server_faults(&server, "status,code=503\nshort,after=1\nreset,after=2");
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 0, &e), 0);
    assert_memory_equal(buf + 512, ((uint8_t[512]){0}), 512);
    server_faults(&server, "full");
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 0, &e), -ERR_RANGE_IGNORED);
    server_faults(&server, "long_length,bytes=512,times=0");
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 0, &e), -ERR_UPSTREAM);
    server_faults(&server, "changed");
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 0, &e), -ERR_SOURCE_CHANGED);
    server_faults(&server, "changed,silent=1");
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 0, &e), -ERR_SOURCE_CHANGED);
    server_faults(&server, "truncated,at=1000");
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 0, &e), -ERR_SOURCE_TRUNCATED);
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, 4096, &e), -ERR_SOURCE_TRUNCATED);
    assert_int_equal(blob_read(src.blob, &src.info, buf, 1024, (1 << 20) - 1023, &e), -ERR_INTERNAL);
    assert_int_equal(blob_read(src.blob, &src.info, buf, 0, 0, &e), 0);
    source_close(&src);
}

/* The judge of ranged answers, header by header. */
static void test_check_get(void **state)
{
    (void)state;
    struct err e;
    struct blob *b;
    struct blob_access a = {.url = "https://acct.blob.core.windows.net/c/b.vhd?sig=x"};
    assert_int_equal(blob_open(&a, &b, &e), 0);
    assert_string_equal(blob_name(b), "https://acct.blob.core.windows.net/c/b.vhd");
    const struct blob_info info = {.length = 1000000, .etag = "\"1\"", .last_modified = "L", .azure = true};
    static const struct {
        int status;
        const char *range, *etag, *modified;
        unsigned long long length;
        int result;
    } cases[] = {
        {206, "bytes 512-1023/1000000", "\"1\"", "L", 512, 0},
        {206, "bytes 512-1023/1000000", "\"1\"", "L", ULLONG_MAX, 0},
        {206, "Bytes 512-1023/1000000", "\"1\"", "L", 512, 0},
        {206, "bytes 512-1023/1000000", "\"1\"", "L", 511, -ERR_UPSTREAM},
        {206, "bytes 512-1023/1000000", "\"2\"", "L", 512, -ERR_SOURCE_CHANGED},
        {206, "bytes 512-1023/1000000", "W/\"1\"", "L", 512, -ERR_SOURCE_CHANGED},
        {206, "bytes 512-1023/1000000", "\"1\"", "M", 512, -ERR_SOURCE_CHANGED},
        {206, "bytes 512-1023/1000001", "\"1\"", "L", 512, -ERR_SOURCE_CHANGED},
        {206, "bytes 512-1023/1000000", "", "L", 512, -ERR_UPSTREAM},
        {206, "bytes 512-1023/*", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {206, "bytes 512-1023", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {206, "", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {206, "bytes 0-511/1000000", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {206, "bytes 512-1024/1000000", "\"1\"", "L", 513, -ERR_UPSTREAM},
        {206, "bytes 512-1022/1000000", "\"1\"", "L", 511, -ERR_SOURCE_TRUNCATED},
        {206, "bytes 512-99999999999999999999/1000000", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {206, "bytes 1023-512/1000000", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {206, "bytes 512-1023/1000000 x", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {204, "bytes 512-1023/1000000", "\"1\"", "L", 512, -ERR_UPSTREAM},
        {200, "bytes 512-1023/1000000", "\"1\"", "L", 512, -ERR_RANGE_IGNORED},
        {416, "bytes */1000000", "\"1\"", "L", 0, -ERR_SOURCE_TRUNCATED},
        {416, "bytes */512", "\"1\"", "L", 0, -ERR_SOURCE_CHANGED},
        {412, "", "", "", 0, -ERR_SOURCE_CHANGED},
        {304, "", "", "", 0, -ERR_UPSTREAM_FINAL},
        {0, "", "", "", 0, -ERR_UPSTREAM_FINAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_headers h;
        http_headers_reset(&h);
        h.status = cases[i].status;
        h.content_length = cases[i].length;
        snprintf(h.content_range, sizeof h.content_range, "%s", cases[i].range);
        snprintf(h.etag, sizeof h.etag, "%s", cases[i].etag);
        snprintf(h.last_modified, sizeof h.last_modified, "%s", cases[i].modified);
        int r = blob_check_get(b, &info, 512, 1024, &h, NULL, &e);
        if (r != cases[i].result)
            fail_msg("case %zu: %d, not %d: %s", i, r, cases[i].result, r ? e.msg : "");
    }
    blob_close(b);
}

/* Error bodies are hostile too. */
static void test_error_bodies(void **state)
{
    (void)state;
    struct err e;
    struct blob *b;
    struct blob_access a = {.url = "https://acct.blob.core.windows.net/c/b.vhd"};
    assert_int_equal(blob_open(&a, &b, &e), 0);
    const struct blob_info info = {.length = 1000000, .azure = true};
    struct http_headers h;
    http_headers_reset(&h);
    h.status = 400;
    static const struct {
        const char *body, *code, *in_message;
    } cases[] = {
        {"\xEF\xBB\xBF<?xml version=\"1.0\"?><Error><Code>InvalidInput</Code><Message>One thing.\nRequestId:1</Message></Error>",
         "InvalidInput", "One thing."},
        {"<Error><Code>Cut</Code><Message>half a sen", "Cut", "half a sen"},
        {"<!DOCTYPE x [<!ENTITY a \"boom\">]><Error><Code>&a;</Code></Error>", "", "400"},
        {"<Error><Code>\x1b[31mred</Code></Error>", "", "400"},
        {"<html><body>no</body></html>", "", "400"},
        {"", "", "400"},
        {"<Error><Message>see https://h/?sv=1&amp;sig=abc</Message></Error>", "", "see https"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(blob_check_get(b, &info, 0, 512, &h, cases[i].body, &e), -ERR_UPSTREAM_FINAL);
        assert_string_equal(e.upstream.code, cases[i].code);
        assert_non_null(strstr(e.msg, cases[i].in_message));
        assert_true(!strstr(e.msg, "RequestId") && !strstr(e.msg, "abc") && !strstr(e.msg, "boom"));
        for (const char *p = e.msg; *p; p++)
            assert_true(*p >= ' ');
    }
    blob_close(b);
}

/* Managed disks refuse condition headers; other hosts may too, which is found out. */
static void test_conditions(void **state)
{
    (void)state;
    struct err e;
    struct blob *b;
    const struct blob_info strong = {.length = 1000, .etag = "\"1\"", .azure = true}, weak = {.length = 1000, .etag = "W/\"1\""};
    static const struct {
        const char *url;
        bool weak, expected;
    } cases[] = {
        {"https://acct.blob.core.windows.net/c/b", false, true},
        {"https://acct.blob.core.windows.net/c/b", true, false},
        {"https://md-ggrfnlb0cczz.z47.blob.storage.azure.net/v42nvgv31lnp/abcd?sig=x", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(blob_open(&(struct blob_access){.url = cases[i].url}, &b, &e), 0);
        CURL *h = curl_easy_init();
        struct curl_slist *l = NULL;
        assert_int_equal(blob_prepare_get(b, cases[i].weak ? &weak : &strong, h, 0, 512, BLOB_UNCHECKED, &l, &e), 0);
        bool there = false, range = false;
        for (struct curl_slist *x = l; x; x = x->next) {
            there |= str_istarts(x->data, "If-");
            range |= !strcmp(x->data, cases[i].weak ? "Range: bytes=0-511" : "x-ms-range: bytes=0-511");
        }
        assert_true(range);
        assert_int_equal(there, cases[i].expected);
        blob_headers_free(l);
        curl_easy_cleanup(h);
        blob_close(b);
    }
}

static void test_long_name(void **state)
{
    (void)state;
    struct err e;
    struct blob *b;
    AUTO_STRBUF struct strbuf url = {0};
    strbuf_adds(&url, "http://127.0.0.1:1/");
    for (int i = 0; i < 400; i++)
        strbuf_adds(&url, "0123456789");
    strbuf_adds(&url, "/end.vhd?sig=secret");
    assert_int_equal(blob_open(&(struct blob_access){.url = url.data}, &b, &e), 0);
    assert_int_equal(strlen(blob_name(b)), 203);
    assert_true(str_starts(blob_name(b), "http://127.0.0.1:1/0123") && str_ends(blob_name(b), "/end.vhd"));
    blob_close(b);
}

/* ---- TLS and proxies ---- */

/* Certificates of every kind that must not be taken, beside the good ones. NAME.pem is what a server shows, NAME.key its key. */
static const char make_certificates[] =
    "set -e; exec >log 2>&1\n"
    "key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n"
    "root() { openssl req -x509 $key -keyout $1.key -out $1.pem -days 2 -subj /CN=$1; }\n"
    "issue() {\n"                                   /* NAME CA DAYS EXTENSIONS */
    "  openssl req $key -keyout $1.key -out $1.csr -subj /CN=$1\n"
    "  printf \"$4\" >$1.ext\n"
    "  openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -days $3 -extfile $1.ext -out $1.pem\n"
    "}\n"
    "root ca; root other_ca; root between_ca\n"
    "issue good ca 2 'subjectAltName=DNS:localhost'\n"
    "issue expired ca -1 'subjectAltName=DNS:localhost'\n"
    "issue elsewhere ca 2 'subjectAltName=DNS:example.org'\n"
    "issue client ca 2 'subjectAltName=DNS:localhost\\nextendedKeyUsage=clientAuth'\n"
    "issue foreign other_ca 2 'subjectAltName=DNS:localhost'\n"
    "issue middle ca 2 'basicConstraints=critical,CA:TRUE'\n"
    "issue below middle 2 'subjectAltName=DNS:localhost'\n"
    "cat middle.pem >>below.pem\n"                  /* the server shows the one in between, as it should */
    "openssl req -x509 $key -keyout alone.key -out alone.pem -days 2 -subj /CN=alone -addext subjectAltName=DNS:localhost\n"
    "cat other_ca.pem ca.pem >both.pem; echo none >empty.pem\n";

static void test_tls(void **state)
{
    (void)state;
    assert_int_equal(tmp_shell(dir, make_certificates), 0);
    static const struct {
        const char *shows, *host, *ca;                /* the server's certificate, the name that it is asked by, the file that is trusted */
        int result;
    } cases[] = {
        {"good", "localhost", "ca.pem", 0},
        {"good", "localhost", "both.pem", 0},
        {"below", "localhost", "ca.pem", 0},
        {"alone", "localhost", "alone.pem", 0},
        {"good", "localhost", NULL, -ERR_TLS},
        {"good", "127.0.0.1", "ca.pem", -ERR_TLS},
        {"good", "localhost", "other_ca.pem", -ERR_TLS},
        {"good", "localhost", "missing.pem", -ERR_TLS},
        {"good", "localhost", "empty.pem", -ERR_TLS},
        {"expired", "localhost", "ca.pem", -ERR_TLS},
        {"elsewhere", "localhost", "ca.pem", -ERR_TLS},
        {"client", "localhost", "ca.pem", -ERR_TLS},
        {"foreign", "localhost", "ca.pem", -ERR_TLS},
        {"foreign", "localhost", "both.pem", 0},
        {"alone", "localhost", "ca.pem", -ERR_TLS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!cases[i].ca && tmp_wine_lacks("a judgement of certificates by the system's store alone"))
            continue;                                /* Wine's Schannel takes any certificate when no CA is given */
        AUTO_FREE char *cert_name = str_printf("%s.pem", cases[i].shows), *key_name = str_printf("%s.key", cases[i].shows);
        AUTO_FREE char *cert = tmp_path(dir, cert_name), *key = tmp_path(dir, key_name), *ca = cases[i].ca ? tmp_path(dir, cases[i].ca) : NULL;
        struct blob_server s;
        server_start(&s, (const char *const[]){"--size", "1M", "--cert", cert, "--key", key, "--sas", "sig=x", NULL});
        struct err e = {0};
        struct blob *b;
        struct blob_info info;
        AUTO_FREE char *url = str_printf("https://%s:%u/vhds/disk.vhd?sig=x", cases[i].host, s.port);
        assert_int_equal(blob_open(&(struct blob_access){.url = url, .http = {.ca_file = ca}}, &b, &e), 0);
        if (blob_head(b, &info, &e) != cases[i].result)
            fail_msg("%s from %s, trusting %s: %s", cases[i].shows, cases[i].host, cases[i].ca ? cases[i].ca : "no file", e.msg);
        blob_close(b);
        server_stop(&s);
    }
}

static void test_proxy(void **state)
{
    (void)state;
    struct err e;
    struct blob_info info;
    char url[128];
    /* 0.0.0.0 is this machine too, but nothing that we leave proxies out for */
    snprintf(url, sizeof url, "http://0.0.0.0:%u/vhds/disk.vhd", server.port);
    static const struct { const char *proxy, *no_proxy, *http_proxy_env, *no_proxy_env; int result; } rows[] = {
        {"", "", NULL, NULL, 0},
        {"", "", "http://127.0.0.1:1", NULL, -ERR_UNREACHABLE},
        {"", "", "http://127.0.0.1:1", "0.0.0.0", 0},
        {"", "0.0.*", "http://127.0.0.1:1", NULL, 0},
        {"none", "", "http://127.0.0.1:1", NULL, 0},
        {"127.0.0.1:1", "", NULL, NULL, -ERR_UNREACHABLE},
        {"127.0.0.1:1", "0.0.*", NULL, NULL, 0},
        {"127.0.0.1:1", "", NULL, "0.0.0.0", -ERR_UNREACHABLE},      /* a proxy of ours has exceptions of ours */
        {"https=127.0.0.1:1", "", "http://127.0.0.1:1", NULL, 0},     /* none for this scheme */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        tmp_setenv("http_proxy", rows[i].http_proxy_env);
        tmp_setenv("no_proxy", rows[i].no_proxy_env);
        assert_int_equal(http_use_proxy(rows[i].proxy, rows[i].no_proxy, &e), 0);
        if (head_of(url, &info, &e) != rows[i].result)
            fail_msg("row %zu: %s", i, e.msg);
        if (rows[i].result)
            assert_int_equal(e.os_code, CURLE_COULDNT_CONNECT);
        assert_int_equal(head_of(server.url, &info, &e), 0);          /* loopback: never through a proxy */
    }
    tmp_setenv("http_proxy", NULL);
    tmp_setenv("no_proxy", NULL);

    assert_int_equal(http_use_proxy("127.0.0.1:1", "", &e), 0);
    char to[64];
    snprintf(url, sizeof url, "http://169.254.169.254/vhds/disk.vhd");
    snprintf(to, sizeof to, "::127.0.0.1:%u", server.port);
    struct curl_slist *connect_to = curl_slist_append(NULL, to);
    CURL *h = http_handle(&(struct http_config){0}, url);
    assert_non_null(h);
    curl_easy_setopt(h, CURLOPT_CONNECT_TO, connect_to);
    curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    assert_int_equal(curl_easy_perform(h), CURLE_OK);  /* the metadata address: never through a proxy */
    curl_easy_cleanup(h);
    curl_slist_free_all(connect_to);
    assert_int_equal(http_use_proxy("", "", &e), 0);
}

static void test_errors_of_curl(void **state)
{
    (void)state;
    static const struct {
        CURLcode code;
        const char *detail;
        enum err_code ours;
    } cases[] = {
        {CURLE_COULDNT_RESOLVE_HOST, "Could not resolve host: x", ERR_UNREACHABLE},
        {CURLE_OPERATION_TIMEDOUT, "", ERR_TIMEOUT},
        {CURLE_PEER_FAILED_VERIFICATION, NULL, ERR_TLS},
        {CURLE_SSL_CONNECT_ERROR, "wrong version number", ERR_TLS},
        {CURLE_SSL_CONNECT_ERROR, "OpenSSL SSL_connect: SSL_ERROR_SYSCALL", ERR_UNREACHABLE},
        {CURLE_OUT_OF_MEMORY, NULL, ERR_OOM},
        {CURLE_UNSUPPORTED_PROTOCOL, "Protocol \"ftp\" not supported", ERR_VALUE},
        {CURLE_WEIRD_SERVER_REPLY, NULL, ERR_UPSTREAM},
    };
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(http_error(cases[i].code, cases[i].detail, "https://h/p?sig=secret", &e), -(int)cases[i].ours);
        assert_true(strstr(e.msg, "https://h/p") && !strstr(e.msg, "secret"));
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        T(test_sharedkey),
        T(test_sharedkey_limits),
        T(test_headers),
        T(test_head),
        T(test_head_errors),
        T(test_read),
        T(test_check_get),
        T(test_error_bodies),
        T(test_conditions),
        T(test_long_name),
        T(test_tls),
        T(test_proxy),
        T(test_errors_of_curl),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

/* Each way to sign in against a scripted service: what is sent, what is made of the answers, and what is tried again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "storage/azure/token_internal.h"
#include "tests/unit/cert_util_posix.h"
#include "tests/unit/db_util.h"
#include "tests/unit/script_server_posix.h"
#include "tests/unit/tmp.h"

#define TENANT "contoso.example"
#define CLIENT "0aa1bb22-1111-2222-3333-444455556666"
#define GOOD "HTTP/1.1 200 OK\n\n{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"tok\"}"
#define BAD(status, error, description) "HTTP/1.1 " status " X\n\n{\"error\":\"" error "\",\"error_description\":\"" description "\",\"correlation_id\":\"corr-1\"}"

static struct script server;
static struct cloud cloud;
static struct tokens_config config = {.cloud = &cloud};
static char *dir;

static int setup(void **state)
{
    (void)state;
    script_start(&server, NULL, 0);
    dir = tmp_make();
    cloud = (struct cloud){.arm = server.url, .login = server.url, .imds = server.url, .arc = server.url, .arc_token_dir = dir};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    script_stop(&server);
    tmp_remove(dir);
    return 0;
}

static struct token_ask ask_for(const struct token_identity *id)
{
    return (struct token_ask){.cfg = &config, .id = id, .resource = "https://arm.example/", .scope = "https://arm.example/.default"};
}

static void assert_gives(token_fn *fn, const struct token_identity *id, const char *token, int64_t life_s)
{
    struct err err;
    struct token_got got = {0};
    struct token_ask ask = ask_for(id);
    ok(fn(&ask, &got, &err));
    assert_string_equal(got.token, token);
    assert_in_range(got.life_s, life_s - 2, life_s);
    token_got_clear(&got);
}

static struct err assert_refuses(token_fn *fn, const struct token_identity *id, enum err_code code)
{
    struct err err;
    struct token_got got = {0};
    struct token_ask ask = ask_for(id);
    fails(fn(&ask, &got, &err), code);
    assert_null(got.token);
    assert_null(strstr(err.msg, "PLANTED"));
    return err;
}

/* ---- answers ---- */

static void test_answers(void **state)
{
    (void)state;
    const int64_t now = 1700000000;
    static const struct { const char *text; const char *client; enum err_code code; const char *token; int64_t life_s; } rows[] = {
        {"{\"access_token\":\"t\",\"expires_in\":3599}", NULL, 0, "t", 3599},
        {"{\"access_token\":\"t\",\"expires_in\":\"86399\",\"expires_on\":\"1700086399\",\"token_type\":\"Bearer\"}", NULL, 0, "t", 86399},
        {"{\"access_token\":\"t\",\"expires_on\":\"1700000100\"}", NULL, 0, "t", 100},
        {"{\"access_token\":\"t\",\"expires_in\":3599.7}", NULL, 0, "t", 3599},
        {"{\"accessToken\":\"t\",\"tokenType\":\"bearer\",\"expires_on\":1700000100}", NULL, 0, "t", 100},
        {"{\"access_token\":\"t\",\"expires_in\":999999999}", NULL, 0, "t", TOKEN_LIFE_MAX_S},
        {"{\"access_token\":\"t\",\"expires_in\":60,\"client_id\":\"" CLIENT "\"}", CLIENT, 0, "t", 60},
        {"{\"access_token\":\"t\",\"expires_in\":60}", CLIENT, 0, "t", 60},
        {"{\"access_token\":\"t\",\"expires_in\":60,\"client_id\":\"other\"}", CLIENT, ERR_CREDENTIAL, NULL, 0},
        {"{\"access_token\":\"t\"}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"t\",\"expires_in\":0}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"t\",\"expires_in\":-5}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"t\",\"expires_on\":1699999999}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"t\",\"expires_in\":\"soon\"}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"\",\"expires_in\":60}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"a b\",\"expires_in\":60}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":60}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"\xC3\xA4\",\"expires_in\":60}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":7,\"expires_in\":60}", NULL, ERR_UPSTREAM, NULL, 0},
        {"{\"access_token\":\"t\",\"token_type\":\"mac\",\"expires_in\":60}", NULL, ERR_UPSTREAM_FINAL, NULL, 0},
        {"[]", NULL, ERR_UPSTREAM, NULL, 0}, {"", NULL, ERR_UPSTREAM, NULL, 0}, {"<html>", NULL, ERR_UPSTREAM, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        struct token_got got = {0};
        int r = token_parse(rows[i].text, strlen(rows[i].text), "the service", rows[i].client, now, &got, &err);
        if (r != -(int)rows[i].code || (r == 0 && (strcmp(got.token, rows[i].token) || got.life_s != rows[i].life_s)))
            fail_msg("%s: %d, %lld s %s", rows[i].text, r, (long long)got.life_s, r ? err.msg : got.token);
        token_got_clear(&got);
    }
    /* az before 2.54 says local time alone */
    time_t later = (time_t)now + 7200;
    struct tm tm;
    char text[128];
    struct err err;
    struct token_got got = {0};
    localtime_r(&later, &tm);
    strftime(text, sizeof text, "{\"accessToken\":\"t\",\"expiresOn\":\"%Y-%m-%d %H:%M:%S.123456\"}", &tm);
    ok(token_parse(text, strlen(text), "az", NULL, now, &got, &err));
    assert_int_equal(got.life_s, 7200);
    token_got_clear(&got);
}

/* ---- service principals ---- */

static void test_secret(void **state)
{
    (void)state;
    const struct token_identity id = {.method = TOKEN_CLIENT_SECRET, .name = "prod", .tenant_id = TENANT, .client_id = CLIENT, .secret = "PLANTED s&c=r%t+"};
    char buf[128];
    SCRIPT(&server, GOOD);
    assert_gives(token_from_secret, &id, "tok", 3599);
    assert_string_equal(server.got[0].line, "POST /" TENANT "/oauth2/v2.0/token");
    assert_string_equal(server.got[0].body, "grant_type=client_credentials&client_id=" CLIENT "&scope=https%3A%2F%2Farm.example%2F.default&client_secret=PLANTED%20s%26c%3Dr%25t%2B");
    assert_string_equal(script_header(&server, 0, "Content-Type", buf, sizeof buf), "application/x-www-form-urlencoded");

    SCRIPT(&server, BAD("401", "invalid_client", "AADSTS7000215: Invalid client secret provided: PLANTED s&c=r%t+. Trace ID: x Correlation ID: y"));
    struct err e = assert_refuses(token_from_secret, &id, ERR_CREDENTIAL);
    assert_int_equal(server.n, 1);
    assert_non_null(strstr(e.msg, "\"prod\" was answered 401 invalid_client: AADSTS7000215: Invalid client secret provided: \xE2\x80\xA6. by entra"));
    assert_non_null(strstr(e.hint, "secret's value"));
    assert_string_equal(e.upstream.service, "entra");
    assert_string_equal(e.upstream.code, "invalid_client");
    assert_string_equal(e.upstream.request_id, "corr-1");
    assert_int_equal(e.upstream.status, 401);

    SCRIPT(&server, "HTTP/1.1 503 X\n\n", "", "HTTP/1.1 429 X\nRetry-After: 1\n\n", GOOD);
    assert_gives(token_from_secret, &id, "tok", 3599);
    assert_int_equal(server.n, 4);
    SCRIPT(&server, BAD("400", "temporarily_unavailable", "AADSTS90033: A transient error"));
    assert_refuses(token_from_secret, &id, ERR_UPSTREAM);
    SCRIPT(&server, "HTTP/1.1 404 X\n\nPLANTED");
    assert_refuses(token_from_secret, &id, ERR_CREDENTIAL);
    /* a long wait is the caller's to make: who asks may be a person */
    SCRIPT(&server, "HTTP/1.1 429 X\nRetry-After: 300\n\n", GOOD);
    int64_t began = clock_mono_ms();
    e = assert_refuses(token_from_secret, &id, ERR_THROTTLED);
    assert_true(clock_mono_ms() - began < 5000);
    assert_int_equal(e.retry_after_ms, 300000);
    /* more than any answer of a sign-in has */
    AUTO_FREE char *large = malloc((2 << 20) + 1), *answer = NULL;
    memset(large, 'x', 2 << 20);
    large[2 << 20] = 0;
    answer = str_printf("HTTP/1.1 200 OK\n\n{\"access_token\":\"tok\",\"expires_in\":60,\"more\":\"%s\"}", large);
    script_set(&server, (const char *const[]){answer}, 1);
    e = assert_refuses(token_from_secret, &id, ERR_UPSTREAM_FINAL);
    assert_non_null(strstr(e.msg, "larger than is accepted"));
}

static json_t *part(const char *from, size_t n)
{
    AUTO_FREE char *s = calloc(1, n + 4);
    memcpy(s, from, n);
    for (char *p = s; *p; p++)
        *p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
    while (strlen(s) % 4)
        strcat(s, "=");
    uint8_t *raw;
    size_t len;
    assert_true(crypto_base64_decode(s, &raw, &len));
    json_t *o = json_loadb((char *)raw, len, 0, NULL);
    free(raw);
    return o;
}

static void test_certificate(void **state)
{
    (void)state;
    struct test_cert cert = test_cert_make(2048, 30, "");
    struct token_identity id = {.method = TOKEN_CERTIFICATE, .name = "prod", .tenant_id = TENANT, .client_id = CLIENT, .secret = cert.pem};
    AUTO_FREE char *pfx = crypto_base64(cert.pfx, cert.pfx_len);
    for (int i = 0; i < 2; i++) {
        SCRIPT(&server, GOOD);
        assert_gives(token_from_certificate, &id, "tok", 3599);
        char *jwt = strstr(server.got[0].body, "client_assertion=");
        assert_non_null(jwt);
        assert_non_null(strstr(server.got[0].body, "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"));
        jwt += strlen("client_assertion=");
        char *claims = strchr(jwt, '.') + 1, *sig = strchr(claims, '.') + 1;
        json_t *head = part(jwt, (size_t)(claims - jwt) - 1), *body = part(claims, (size_t)(sig - claims) - 1);
        assert_string_equal(json_string_value(json_object_get(head, "alg")), "PS256");
        uint8_t digest[32];
        unsigned m;
        X509_digest(cert.x509, EVP_sha256(), digest, &m);
        AUTO_FREE char *thumbprint = crypto_base64url(digest, 32);
        assert_string_equal(json_string_value(json_object_get(head, "x5t#S256")), thumbprint);
        AUTO_FREE char *audience = str_printf("%s/" TENANT "/oauth2/v2.0/token", server.url);
        assert_string_equal(json_string_value(json_object_get(body, "aud")), audience);
        assert_string_equal(json_string_value(json_object_get(body, "iss")), CLIENT);
        assert_string_equal(json_string_value(json_object_get(body, "sub")), CLIENT);
        assert_true(crypto_is_uuid(json_string_value(json_object_get(body, "jti"))));
        json_int_t from = json_integer_value(json_object_get(body, "nbf")), to = json_integer_value(json_object_get(body, "exp"));
        assert_in_range(to - from, 300, 600);
        assert_in_range(from, time(NULL) - 5, time(NULL));
        json_decref(head);
        json_decref(body);
        id.secret = pfx;
    }
    struct test_cert old = test_cert_make(2048, -1, "");
    id.secret = old.pem;
    SCRIPT(&server, GOOD);
    struct err e = assert_refuses(token_from_certificate, &id, ERR_CREDENTIAL);
    assert_non_null(strstr(e.msg, "expired at"));
    id.secret = "PLANTED nonsense";
    assert_refuses(token_from_certificate, &id, ERR_CREDENTIAL);
    assert_int_equal(server.n, 0);
    test_cert_free(&old);
    test_cert_free(&cert);
}

static void write_file(const char *path, const char *text)
{
    struct err err;
    ok(os_write_file(path, text, strlen(text), OS_PRIVATE, &err));
}

static void test_token_file(void **state)
{
    (void)state;
    AUTO_FREE char *path = tmp_path(dir, "token");
    const struct token_identity id = {.method = TOKEN_TOKEN_FILE, .name = "prod", .tenant_id = TENANT, .client_id = CLIENT, .token_file = path};
    write_file(path, "first.jwt.token\n");
    SCRIPT(&server, GOOD);
    assert_gives(token_from_file, &id, "tok", 3599);
    assert_non_null(strstr(server.got[0].body, "&client_assertion=first.jwt.token"));
    write_file(path, "second.jwt.token");
    assert_gives(token_from_file, &id, "tok", 3599);
    assert_non_null(strstr(server.got[1].body, "&client_assertion=second.jwt.token"));
    SCRIPT(&server, GOOD);
    for (const char *const *bad = (const char *const[]){"", "\n", "PLANTED two words", NULL}; *bad; bad++) {
        write_file(path, *bad);
        assert_refuses(token_from_file, &id, ERR_CREDENTIAL);
    }
    struct err err;
    ok(os_remove(path, &err));
    struct err e = assert_refuses(token_from_file, &id, ERR_CREDENTIAL);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(server.n, 0);
}

/* ---- the host ---- */

static void test_imds(void **state)
{
    (void)state;
    const struct token_identity system = {.method = TOKEN_MANAGED_IDENTITY, .name = "mi"}, user = {.method = TOKEN_MANAGED_IDENTITY, .name = "mi", .client_id = CLIENT};
    char buf[64];
    SCRIPT(&server, "HTTP/1.1 200 OK\n\n{\"access_token\":\"tok\",\"expires_in\":\"86399\",\"client_id\":\"" CLIENT "\"}");
    assert_gives(token_from_imds, &system, "tok", 86399);
    assert_gives(token_from_imds, &user, "tok", 86399);
    assert_string_equal(server.got[0].line, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Farm.example%2F");
    assert_string_equal(server.got[1].line, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Farm.example%2F&client_id=" CLIENT);
    assert_string_equal(script_header(&server, 0, "Metadata", buf, sizeof buf), "true");
    /* what it is asked again after; 410 means that it is being updated */
    SCRIPT(&server, "HTTP/1.1 410 Gone\n\n", "HTTP/1.1 200 OK\n\n{\"access_token\":\"tok\",\"expires_in\":\"60\"}");
    assert_gives(token_from_imds, &system, "tok", 60);
    SCRIPT(&server, "HTTP/1.1 404 X\n\n", "HTTP/1.1 200 OK\n\n{\"access_token\":\"tok\",\"expires_in\":\"60\"}");
    assert_gives(token_from_imds, &system, "tok", 60);
    SCRIPT(&server, BAD("400", "invalid_request", "Identity not found"));
    struct err e = assert_refuses(token_from_imds, &user, ERR_CREDENTIAL);
    assert_int_equal(server.n, 1);
    assert_non_null(strstr(e.hint, "managed identity"));
    SCRIPT(&server, "HTTP/1.1 302 Found\nLocation: http://127.0.0.1:1/\n\n");
    assert_refuses(token_from_imds, &system, ERR_UPSTREAM_FINAL);
    SCRIPT(&server, "HTTP/1.1 200 OK\n\n{\"access_token\":\"tok\",\"expires_in\":\"60\",\"client_id\":\"other\"}");
    assert_refuses(token_from_imds, &user, ERR_CREDENTIAL);
    /* nobody there: this is no Azure VM */
    cloud.imds = (char *)(uintptr_t)"http://127.0.0.1:9";
    e = assert_refuses(token_from_imds, &system, ERR_UNREACHABLE);
    assert_non_null(strstr(e.hint, "Azure virtual machines only"));
}

static void test_arc(void **state)
{
    (void)state;
    const struct token_identity id = {.method = TOKEN_ARC, .name = "arc"};
    AUTO_FREE char *path = tmp_path(dir, "abc.key"), *quoted = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=\"%s\"\n\n", path);
    AUTO_FREE char *challenge = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=%s\n\n", path);
    char buf[64];
    for (int i = 0; i < 2; i++) {
        write_file(path, "challenge content\n");
        script_set(&server, (const char *const[]){i ? quoted : challenge, GOOD}, 2);
        assert_gives(token_from_arc, &id, "tok", 3599);
        assert_string_equal(server.got[0].line, "GET /metadata/identity/oauth2/token?api-version=2020-06-01&resource=https%3A%2F%2Farm.example%2F");
        assert_string_equal(script_header(&server, 0, "Authorization", buf, sizeof buf), "");
        assert_string_equal(script_header(&server, 1, "Authorization", buf, sizeof buf), "Basic challenge content");
    }
    /* files that are not read, and files that cannot be what they should */
    AUTO_FREE char *elsewhere = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=%s/../%s/abc.key\n\n", dir, os_path_base(dir));
    AUTO_FREE char *deeper = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=%s/sub/abc.key\n\n", dir), *other = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=%s/abc.txt\n\n", dir);
    AUTO_FREE char *missing = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=%s/none.key\n\n", dir), *bare = str_printf("HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=%s/.key\n\n", dir);
    const char *const bad[] = {elsewhere, deeper, other, bare, "HTTP/1.1 401 X\nWWW-Authenticate: Basic realm=/etc/passwd\n\n", "HTTP/1.1 401 X\nWWW-Authenticate: Bearer x\n\n", "HTTP/1.1 401 X\n\n", GOOD};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        script_set(&server, &bad[i], 1);
        assert_refuses(token_from_arc, &id, ERR_UPSTREAM_FINAL);
        assert_int_equal(server.n, 1);
    }
    script_set(&server, (const char *const[]){missing}, 1);
    struct err err, *e = &err;
    struct token_got got = {0};
    struct token_ask ask = ask_for(&id);
    assert_true(token_from_arc(&ask, &got, e) < 0);
    assert_non_null(strstr(e->hint, "himds"));
    AUTO_FREE char *large = calloc(1, 4200);
    memset(large, 'x', 4199);
    const char *const contents[] = {"", "\n", "two\nlines", large};
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        write_file(path, contents[i]);
        script_set(&server, (const char *const[]){challenge}, 1);
        assert_true(token_from_arc(&ask, &got, e) < 0);
        assert_int_equal(server.n, 1);
    }
    write_file(path, "c");
    script_set(&server, (const char *const[]){challenge, BAD("401", "unauthorized", "no")}, 2);
    assert_refuses(token_from_arc, &id, ERR_CREDENTIAL);
}

/* ---- people ---- */

static void test_device_code(void **state)
{
    (void)state;
    struct token_identity id = {.method = TOKEN_DEVICE_CODE, .name = "me"};
    struct token_ask ask = ask_for(&id);
    struct err err;
    AUTO(token_pending_clear) struct token_pending p = {0};
    AUTO(token_got_clear) struct token_got got = {0};
    SCRIPT(&server, "HTTP/1.1 200 OK\n\n{\"device_code\":\"PLANTEDdevice\",\"user_code\":\"ABCD\",\"verification_uri\":\"https://microsoft.com/devicelogin\",\"expires_in\":900,\"interval\":5,"
           "\"message\":\"To sign in, \\u0007enter ABCD\"}");
    ok(token_code_start(&ask, &p, &err));
    assert_string_equal(server.got[0].line, "POST /organizations/oauth2/v2.0/devicecode");
    AUTO_FREE char *scope = curl_easy_escape(NULL, server.url, 0);
    AUTO_FREE char *body = str_printf("client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&scope=%s%%2Fuser_impersonation%%20offline_access", scope);
    assert_string_equal(server.got[0].body, body);
    assert_string_equal(p.message, "To sign in, enter ABCD");
    assert_int_equal(p.interval_ms, 5000);
    assert_in_range(p.expires_at_ms - clock_mono_ms(), 890000, 900000);

    SCRIPT(&server, BAD("400", "authorization_pending", "x"), BAD("400", "slow_down", "x"), "HTTP/1.1 200 OK\n\n{\"access_token\":\"tok\",\"expires_in\":60,\"refresh_token\":\"refresh\"}");
    assert_int_equal(token_code_poll(&ask, &p, &got, &err), 0);
    assert_int_equal(p.interval_ms, 5000);
    assert_int_equal(token_code_poll(&ask, &p, &got, &err), 0);
    assert_int_equal(p.interval_ms, 10000);
    assert_int_equal(token_code_poll(&ask, &p, &got, &err), 1);
    assert_string_equal(got.refresh_token, "refresh");
    assert_string_equal(server.got[2].body, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&device_code=PLANTEDdevice");
    SCRIPT(&server, BAD("400", "expired_token", "AADSTS70020: The provided value for the input parameter 'device_code' is not valid. This code has expired."));
    assert_int_equal(token_code_poll(&ask, &p, &got, &err), 2);
    static const char *const ends[] = {BAD("400", "authorization_declined", "PLANTEDdevice"), BAD("400", "bad_verification_code", "x"), BAD("400", "access_denied", "x")};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        script_set(&server, &ends[i], 1);
        fails(token_code_poll(&ask, &p, &got, &err), ERR_CREDENTIAL);
        assert_null(strstr(err.msg, "PLANTED"));
        assert_string_not_equal(err.hint, "");
    }
    /* answers that hold no code */
    for (const char *const *bad = (const char *const[]){"{}", "[]", "", "{\"device_code\":\"d\",\"user_code\":\"\",\"verification_uri\":\"u\"}", "{\"user_code\":\"u\",\"verification_uri\":\"u\"}", NULL}; *bad; bad++) {
        AUTO_FREE char *text = str_printf("HTTP/1.1 200 OK\n\n%s", *bad);
        script_set(&server, (const char *const[]){text}, 1);
        struct token_pending none = {0};
        fails(token_code_start(&ask, &none, &err), ERR_UPSTREAM);
    }
    /* refresh tokens: refused is no error, the person signs in again */
    token_got_clear(&got);
    SCRIPT(&server, BAD("400", "invalid_grant", "PLANTEDrefresh has expired"), GOOD, "HTTP/1.1 400 X\n\n{\"error\":\"temporarily_unavailable\"}");
    assert_int_equal(token_from_refresh(&ask, "PLANTEDrefresh", &got, &err), 0);
    assert_int_equal(token_from_refresh(&ask, "PLANTEDrefresh", &got, &err), 1);
    assert_non_null(strstr(server.got[1].body, "grant_type=refresh_token&client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&scope=https%3A%2F%2Farm.example%2F.default%20offline_access&refresh_token=PLANTEDrefresh"));
    fails(token_from_refresh(&ask, "PLANTEDrefresh", &got, &err), ERR_UPSTREAM);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {T(test_answers), T(test_secret), T(test_certificate), T(test_token_file), T(test_imds), T(test_arc), T(test_device_code)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

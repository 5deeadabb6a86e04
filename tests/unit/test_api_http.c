/* What holds for every request: who may call, what is refused before a handler sees it, and the shape of refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/os.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/tmp.h"

static struct fixture *f;

static void test_health_and_token(void **state)
{
    (void)state;
    AUTO_REPLY struct reply ok = call(f, "GET", "/healthz", NULL, "Authorization;");
    assert_int_equal(ok.status, 200);
    assert_string_equal(text_at(&ok, "status"), "ok");
    atomic_store(&f->sick, true);
    AUTO_REPLY struct reply sick = call(f, "GET", "/healthz", NULL, NULL);
    assert_int_equal(sick.status, 503);
    assert_string_equal(text_at(&sick, "code"), "stopping");
    atomic_store(&f->sick, false);

    AUTO_REPLY struct reply none = call(f, "GET", "/v1/jobs", NULL, "Authorization;");
    char buf[100];
    assert_int_equal(none.status, 401);
    assert_non_null(reply_header_of(&none, "WWW-Authenticate", buf, sizeof buf));
    assert_string_equal(reply_header_of(&none, "Content-Type", buf, sizeof buf), "application/problem+json");
    assert_string_equal(text_at(&none, "code"), "unauthorized");
    assert_int_equal(json_integer_value(json_object_get(none.json, "status")), 401);
    assert_null(strstr(none.body, f->token));
    AUTO_REPLY struct reply wrong = call(f, "GET", "/v1/jobs", NULL, "Authorization: Bearer 0123456789abcdef0123456789abcdef");
    assert_int_equal(wrong.status, 401);
    AUTO_REPLY struct reply basic = call(f, "GET", "/v1/jobs", NULL, "Authorization: Basic dTpw");
    assert_int_equal(basic.status, 401);
    AUTO_REPLY struct reply good = call(f, "GET", "/v1/jobs", NULL, NULL);
    assert_int_equal(good.status, 200);
    assert_string_equal(reply_header_of(&good, "X-Content-Type-Options", buf, sizeof buf), "nosniff");
    assert_string_equal(reply_header_of(&good, "Cache-Control", buf, sizeof buf), "no-store");
    AUTO_REPLY struct reply head = call(f, "HEAD", "/v1/jobs", NULL, NULL);
    assert_int_equal(head.status, 200);
    assert_int_equal(head.len, 0);
}

static void test_token_file(void **state)
{
    (void)state;
    AUTO_FREE char *path = tmp_path(f->dir, "token");
    tmp_assert_private(path);
    assert_int_equal(strlen(f->token), 64);

    char *dir = tmp_make();
    AUTO_FREE char *bad = tmp_path(dir, "token");
    struct err e;
    char *token = NULL, *again = NULL;
    assert_int_equal(auth_token(dir, &token, &e), 0);
    assert_int_equal(auth_token(dir, &again, &e), 0);
    assert_string_equal(token, again);
    free(token);
    free(again);
    assert_int_equal(os_write_file(bad, "short\n", 6, 0, &e), 0);
    assert_int_equal(auth_token(dir, &token, &e), -ERR_CONFIG);
    tmp_remove(dir);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"0.0.0.0:8480", "192.168.1.5:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "[::]:1", "example.com:80",
                                      "127.0.0.1.evil.com:80", ":8480", ""};
    struct err e;
    struct api *api = NULL;
    struct api_config cfg = {.n_listen = 1, .data_dir = f->dir, .db_path = f->db_path, .box = f->box, .max_connections = 8, .max_streams = 1,
                             .threads = 2, .max_body = 1000};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cfg.listen[0] = bad[i];
        assert_int_equal(api_start(&cfg, &api, &e), -ERR_CONFIG);
    }
    AUTO_FREE char *taken = str_dup(api_address(f->api, 0));
    cfg.listen[0] = taken;
    assert_int_equal(api_start(&cfg, &api, &e), -ERR_PORT);
    /* An address family that the host lacks is no reason to serve nobody; where it is there, both serve. */
    cfg.listen[0] = "[::1]:0";
    cfg.listen[1] = "localhost:0";
    cfg.n_listen = 2;
    assert_int_equal(api_start(&cfg, &api, &e), 0);
    assert_non_null(api_address(api, 0));
    assert_null(api_address(api, 2));
    api_stop(api);
}

struct bad {
    const char *method, *path, *headers, *body;
    int status;
    const char *code, *field;
};

static void test_refusals(void **state)
{
    (void)state;
    static const struct bad rows[] = {
        {"GET", "//", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/assets/none.css", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/assets/..%2findex.html", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/assets/index.html", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs/", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/disk", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs/1", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs/../credentials", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs/..%2f..%2fetc%2fpasswd", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs/" NO_ID, NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs/" NO_ID "x", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/jobs%00", NULL, NULL, 400, "bad_request", NULL},
        {"GET", "/v1/vms/" NO_ID, NULL, NULL, 404, "not_found", NULL},
        {"POST", "/v1/jobs/" NO_ID "/pause", NULL, NULL, 404, "not_found", NULL},
        {"PUT", "/v1/credentials/.hidden", NULL, "{}", 404, "not_found", NULL},
        {"POST", "/v1/credentials/none/sign_in", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/credentials/none/sign_in", NULL, NULL, 405, "method_not_allowed", NULL},
        {"GET", "/v1/azure/vms", NULL, NULL, 501, "not_supported", NULL},    /* the fixture has no Azure */
        {"GET", "/v1/azure/subscriptions?credential=.x", NULL, NULL, 501, "not_supported", NULL},
        {"GET", "/v1/azure/vms?subscription=web", NULL, NULL, 400, "invalid_value", "?subscription"},
        {"GET", "/v1/azure/vms?resource_group=rg", NULL, NULL, 400, "missing_field", "?subscription"},
        {"GET", "/v1/azure", NULL, NULL, 404, "not_found", NULL},
        {"PUT", "/v1/credentials/a%2Fb", NULL, "{}", 404, "not_found", NULL},
        {"DELETE", "/v1/credentials/none", NULL, NULL, 404, "not_found", NULL},
        {"PATCH", "/v1/jobs", NULL, NULL, 405, "method_not_allowed", NULL},
        {"DELETE", "/v1/jobs", NULL, NULL, 405, "method_not_allowed", NULL},
        {"OPTIONS", "/v1/jobs", NULL, NULL, 405, "method_not_allowed", NULL},
        {"POST", "/healthz", NULL, NULL, 405, "method_not_allowed", NULL},
        {"GET", "/v1/jobs?limit=0", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?limit=201", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?limit=-1", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?limit=ten", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?limit=99999999999999999999999", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?limit=1&limit=2", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?limit", NULL, NULL, 400, "invalid_value", "?limit"},
        {"GET", "/v1/jobs?cursor=x", NULL, NULL, 400, "invalid_value", "?cursor"},
        {"GET", "/v1/jobs?cursor=AAAAAAAAAAAA", NULL, NULL, 400, "invalid_value", "?cursor"},
        {"GET", "/v1/jobs?state=done", NULL, NULL, 400, "invalid_value", "?state"},
        {"GET", "/v1/jobs?bogus=1", NULL, NULL, 400, "unknown_field", "?bogus"},
        {"GET", "/v1/events?after=-1", NULL, NULL, 400, "invalid_value", "?after"},
        {"GET", "/v1/events?after=x", "Accept: text/event-stream", NULL, 400, "invalid_value", "?after"},
        {"GET", "/v1/events", "Accept: text/event-stream\nLast-Event-ID: x", NULL, 400, "invalid_value", "Last-Event-ID"},
        {"GET", "/v1/vms/" VM_ID "/screen?width=15", NULL, NULL, 400, "invalid_value", "?width"},
        {"GET", "/v1/vms/" VM_ID "/screen?width=4097", NULL, NULL, 400, "invalid_value", "?width"},
        {"DELETE", "/v1/jobs/" NO_ID "?disks=burn", NULL, NULL, 400, "invalid_value", "?disks"},
        {"PUT", "/v1/vms/" VM_ID "/disks/4", NULL, "{}", 404, "not_found", NULL},
        {"POST", "/v1/jobs", NULL, NULL, 400, "invalid_json", NULL},
        {"POST", "/v1/jobs", NULL, "{", 400, "invalid_json", NULL},
        {"POST", "/v1/jobs", NULL, "{\"disks\":[],\"disks\":[]}", 400, "invalid_json", NULL},
        {"POST", "/v1/jobs", NULL, "[]", 400, "invalid_type", NULL},
        {"POST", "/v1/jobs", NULL, "{}", 400, "missing_field", "/disks"},
        {"POST", "/v1/jobs", NULL, "{\"disks\":[{\"source\":{\"type\":\"blank\",\"size\":1048576}}],\"bogus\":1}", 400, "unknown_field", "/bogus"},
        {"POST", "/v1/jobs", NULL, "{\"disks\":[{\"source\":{\"type\":\"blank\",\"size\":1048576}}],\"vm\":{\"cpus\":\"2\"}}", 400, "invalid_type",
         "/vm/cpus"},
        {"POST", "/v1/jobs", NULL, "{\"disks\":[{\"source\":{\"type\":\"blob\",\"url\":\"https://a.example/x\",\"credential\":\"none\"}}]}", 400,
         "invalid_value", "/disks/0/source/credential"},
        {"POST", "/v1/jobs", "Content-Type: text/plain", "{}", 415, "unsupported_media_type", NULL},
        {"POST", "/v1/jobs", "Content-Type: application/json; charset=latin1", "{}", 415, "unsupported_media_type", NULL},
        {"POST", "/v1/jobs", "Idempotency-Key: \xC3\xA9", "{}", 400, "invalid_value", "Idempotency-Key"},
        {"POST", "/v1/jobs/" NO_ID "/cancel", NULL, "{\"now\":true}", 400, "unknown_field", "/now"},
        {"GET", "/v1/jobs", "Host: evil.example", NULL, 403, "host_not_allowed", NULL},
        {"GET", "/v1/jobs", "Host: 127.0.0.1:1", NULL, 403, "host_not_allowed", NULL},
        {"GET", "/v1/jobs", "Host: 127.0.0.1.evil.example", NULL, 403, "host_not_allowed", NULL},
        {"GET", "/healthz", "Host: evil.example", NULL, 403, "host_not_allowed", NULL},
        {"GET", "/v1/jobs", "Origin: http://evil.example", NULL, 403, "origin_not_allowed", NULL},
        {"GET", "/v1/jobs", "Origin: null", NULL, 403, "origin_not_allowed", NULL},
        {"GET", "/v1/jobs", "Origin: https://localhost", NULL, 403, "origin_not_allowed", NULL},
        {"GET", "/v1/jobs", "Origin: http://127.0.0.1:1", NULL, 403, "origin_not_allowed", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct bad *b = &rows[i];
        AUTO_REPLY struct reply r = call(f, b->method, b->path, b->body, b->headers);
        const char *field = text_at(&r, "field");
        if (r.status != b->status || strcmp(text_at(&r, "code"), b->code) || strcmp(field, b->field ? b->field : ""))
            fail_msg("row %zu, %s %s: %ld %s", i, b->method, b->path, r.status, r.body);
        assert_int_equal(json_integer_value(json_object_get(r.json, "status")), b->status);
        assert_true(text_at(&r, "title")[0] && text_at(&r, "detail")[0] && text_at(&r, "type")[0]);
    }
    AUTO_REPLY struct reply r = call(f, "PATCH", "/v1/jobs", NULL, NULL);
    char buf[100];
    assert_string_equal(reply_header_of(&r, "Allow", buf, sizeof buf), "POST, GET, HEAD");
}

static void test_own_names(void **state)
{
    (void)state;
    static const char *const forms[] = {"Host: localhost:%u", "Host: [::1]:%u", "Host: LOCALHOST", "Host: 127.0.0.1",
                                        "Origin: http://127.0.0.1:%u", "Origin: http://localhost:%u"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char header[100];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(header, sizeof header, forms[i], fixture_port(f));
#pragma GCC diagnostic pop
        AUTO_REPLY struct reply r = call(f, "GET", "/v1/jobs", NULL, header);
        assert_int_equal(r.status, 200);
    }
}

static void expect_raw(const char *request, const char *status, const char *code)
{
    AUTO_FREE char *text = raw(f, request, "\"hint\"");
    if (strncmp(text, status, strlen(status)) || !strstr(text, code))
        fail_msg("%.200s: %s", request, text);
}

static void test_raw(void **state)
{
    (void)state;
    expect_raw("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "bad_request");
    expect_raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400", "bad_request");
    /* Refused by its announced length, before a byte of it. */
    AUTO_FREE char *huge = str_printf("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
                                      "Content-Length: 999999999999\r\n\r\n", f->token);
    expect_raw(huge, "HTTP/1.1 413", "body_too_large");
    AUTO_FREE char *expects = str_printf("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
                                         "Expect: 100-continue\r\nContent-Length: 200000\r\n\r\n", f->token);
    expect_raw(expects, "HTTP/1.1 413", "body_too_large");

    AUTO_STRBUF struct strbuf b = {0};
    strbuf_adds(&b, "GET /");
    for (int i = 0; i < 5000; i++)
        strbuf_adds(&b, "a");
    strbuf_adds(&b, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_raw(b.data, "HTTP/1.1 414", "uri_too_long");
    strbuf_reset(&b);
    strbuf_adds(&b, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ");
    for (int i = 0; i < 20000; i++)
        strbuf_adds(&b, "a");
    strbuf_adds(&b, "\r\n\r\n");
    expect_raw(b.data, "HTTP/1.1 431", "headers_too_large");
}

static void test_bodies(void **state)
{
    (void)state;
    AUTO_STRBUF struct strbuf b = {0};
    strbuf_adds(&b, "{\"name\":\"");
    for (int i = 0; i < 300000; i++)
        strbuf_adds(&b, "aaaaaaaaaa");
    strbuf_adds(&b, "\"}");
    AUTO_REPLY struct reply r = call(f, "POST", "/v1/jobs", b.data, NULL);
    assert_int_equal(r.status, 413);
    AUTO_REPLY struct reply chunked = call(f, "POST", "/v1/jobs", b.data, "Transfer-Encoding: chunked");
    assert_int_equal(chunked.status, 413);
    assert_string_equal(text_at(&chunked, "code"), "body_too_large");
    AUTO_REPLY struct reply small = call(f, "POST", "/v1/jobs", "{\"x\":1}", "Transfer-Encoding: chunked");
    assert_string_equal(text_at(&small, "code"), "missing_field");
    AUTO_REPLY struct reply unauthorized = call(f, "POST", "/v1/jobs", b.data, "Authorization: Bearer x");
    assert_int_equal(unauthorized.status, 401);
    AUTO_REPLY struct reply empty = call(f, "POST", "/v1/jobs/" NO_ID "/pause", "{}", NULL);
    assert_int_equal(empty.status, 404);
}

/* Every route is in the document and the other way round, and so is every query parameter. */
static void test_openapi(void **state)
{
    (void)state;
    AUTO_REPLY struct reply r = call(f, "GET", "/v1/openapi.json", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(text_at(&r, "openapi"), "3.1.0");
    assert_string_equal(json_string_value(json_object_get(json_object_get(r.json, "info"), "version")), VMR_VERSION);
    json_t *paths = json_object_get(r.json, "paths"), *path, *op, *shared = json_object_get(json_object_get(r.json, "components"), "parameters");
    size_t documented = 0;
    const char *name, *method;
    json_object_foreach(paths, name, path) json_object_foreach(path, method, op) documented++;
    assert_int_equal(documented, n_routes);
    for (size_t i = 0; i < n_routes; i++) {
        char lower[10] = {0};
        for (size_t k = 0; routes[i].method[k]; k++)
            lower[k] = (char)(routes[i].method[k] | 0x20);
        op = json_object_get(json_object_get(paths, routes[i].path), lower);
        if (!op)
            fail_msg("%s %s is not documented", routes[i].method, routes[i].path);
        size_t n_query = 0, known = 0, k;
        json_t *p;
        while (n_query < ARRAY_LEN(routes[i].query) && routes[i].query[n_query])
            n_query++;
        json_array_foreach(json_object_get(op, "parameters"), k, p) {
            const char *ref = json_string_value(json_object_get(p, "$ref"));
            if (ref)
                p = json_object_get(shared, strrchr(ref, '/') + 1);
            if (strcmp(json_string_value(json_object_get(p, "in")), "query"))
                continue;
            known++;
            bool found = false;
            for (size_t q = 0; q < n_query; q++)
                found |= !strcmp(routes[i].query[q], json_string_value(json_object_get(p, "name")));
            assert_true(found);
        }
        assert_int_equal(known, n_query);
        bool takes = routes[i].flags & (ROUTE_JSON | ROUTE_TEXT);
        assert_int_equal(takes, json_object_get(op, "requestBody") != NULL);
    }
}

static void test_metrics(void **state)
{
    (void)state;
    AUTO_REPLY struct reply r = call(f, "GET", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "vmrecover_jobs{state=\"queued\"} 0\n"));
    assert_non_null(strstr(r.body, "vmrecover_tasks{kind=\"download\",state=\"running\"} 0\n"));
    assert_non_null(strstr(r.body, "vmrecover_build_info{version=\"" VMR_VERSION "\"} 1\n"));
    const char *answered = strstr(r.body, "vmrecover_http_requests_total{status=\"4xx\"} ");
    assert_non_null(answered);
    assert_true(atoi(strchr(answered, ' ') + 1) > 10);
}

static void test_host(void **state)
{
    (void)state;
    AUTO_REPLY struct reply r = call(f, "GET", "/v1/host", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(text_at(&r, "hypervisor"), "fake");
    json_t *checks = json_object_get(r.json, "checks"), *c;
    size_t i;
    unsigned seen = 0;
    json_array_foreach(checks, i, c) {
        const char *check = json_string_value(json_object_get(c, "check"));
        seen |= !strcmp(check, "acceleration") ? 1U : !strcmp(check, "memory") ? 2U : !strcmp(check, "free_space") ? 4U
                : !strcmp(check, "rights") ? 8U : 0U;
    }
    assert_int_equal(seen, 15);

    struct fixture *without = fixture_new(false);
    AUTO_REPLY struct reply none = call(without, "GET", "/v1/host", NULL, NULL);
    assert_int_equal(none.status, 200);
    assert_true(json_is_null(json_object_get(none.json, "hypervisor")));
    assert_non_null(strstr(none.body, "the test has none"));
    AUTO_REPLY struct reply vms = call(without, "GET", "/v1/vms", NULL, NULL);
    assert_int_equal(vms.status, 503);
    assert_string_equal(text_at(&vms, "code"), "hypervisor_unavailable");
    fixture_free(without);
}

static void set_role(struct hv_role role)
{
    pthread_mutex_lock(&f->hv->lock);
    f->hv->role = role;
    pthread_mutex_unlock(&f->hv->lock);
}

static void role_is(const char *state_word, bool percent, bool error)
{
    AUTO_REPLY struct reply r = call(f, "GET", "/v1/host", NULL, NULL);
    json_t *role = json_object_get(r.json, "role");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(role, "state")), state_word);
    assert_int_equal(json_is_integer(json_object_get(role, "percent")), percent);
    assert_int_equal(json_is_object(json_object_get(role, "error")), error);
}

static void test_role(void **state)
{
    (void)state;
    const char *path = "/v1/host/enable-hyperv";
    struct hv_role failed = {.state = HV_ROLE_FAILED};
    role_is("unavailable", false, false);
    AUTO_REPLY struct reply bad = call(f, "POST", path, "{\"force\": 1}", NULL);
    assert_int_equal(bad.status, 400);
    assert_string_equal(text_at(&bad, "field"), "/force");
    AUTO_REPLY struct reply begun = call(f, "POST", path, NULL, NULL);
    assert_int_equal(begun.status, 202);
    assert_string_equal(text_at(&begun, "state"), "enabling");
    assert_false(f->hv->forced);
    role_is("enabling", true, false);
    AUTO_REPLY struct reply again = call(f, "POST", path, "{}", NULL);
    assert_int_equal(again.status, 409);
    err_set(&failed.error, ERR_DISK_FULL, "the volume is full");
    set_role(failed);
    role_is("failed", false, true);
    AUTO_REPLY struct reply forced = call(f, "POST", path, "{\"force\": true}", NULL);
    assert_int_equal(forced.status, 202);
    assert_true(f->hv->forced);
    set_role((struct hv_role){.state = HV_ROLE_RESTART_NEEDED});
    role_is("restart_needed", false, false);
    AUTO_REPLY struct reply get = call(f, "GET", path, NULL, NULL);
    assert_int_equal(get.status, 405);

    struct fixture *without = fixture_new(false);
    AUTO_REPLY struct reply none = call(without, "POST", path, NULL, NULL);
    assert_int_equal(none.status, 503);
    fixture_free(without);
}

static int setup(void **state)
{
    (void)state;
    f = fixture_new(true);
    fake_hv_add(f->hv, VM_ID, "web01");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_and_token), cmocka_unit_test(test_token_file), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_own_names), cmocka_unit_test(test_raw), cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_openapi), cmocka_unit_test(test_metrics), cmocka_unit_test(test_host), cmocka_unit_test(test_role),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

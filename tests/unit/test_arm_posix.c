/* Requests to Azure Resource Manager against a scripted server: errors in every shape, retries, tokens, pages, long-running operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "storage/azure/azure_internal.h"
#include "tests/unit/db_util.h"
#include "tests/unit/script_server_posix.h"

#define SUB "0aa1bb22-1111-2222-3333-444455556666"
#define DISK "/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/disks/d1"
#define TOKEN "HTTP/1.1 200 OK\n\n{\"access_token\":\"PLANTEDTOKEN\",\"expires_in\":\"3600\",\"token_type\":\"Bearer\"}"
#define OK_ "HTTP/1.1 200 OK\n\n"

static struct script arm_server, imds_server;
static struct azure *azure;
static struct arm *arm;
static atomic_bool stop;

static bool on_stop(void *arg)
{
    (void)arg;
    return atomic_load(&stop);
}

static struct arm *client(unsigned tries, unsigned pause_ms)
{
    struct err err;
    struct arm *a;
    struct arm_config ac = {.azure = azure, .identity = {.method = TOKEN_MANAGED_IDENTITY, .name = "prod"}, .wait = {.stop = on_stop}, .max_tries = tries,
                            .max_pause_ms = pause_ms};
    ok(arm_open(&ac, &a, &err));
    return a;
}

static int setup(void **state)
{
    (void)state;
    static const char *const token[] = {TOKEN};
    struct err err;
    script_start(&arm_server, NULL, 0);
    script_start(&imds_server, token, 1);
    struct azure_config cfg = {.cloud = {.cloud = "custom", .arm_endpoint = arm_server.url, .login_endpoint = imds_server.url, .imds_endpoint = imds_server.url,
                                         .blob_suffix = "127.0.0.1", .disk_sas_suffix = "127.0.0.1"}};
    ok(azure_open(&cfg, &azure, &err));
    atomic_store(&stop, false);
    arm = client(1, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arm_close(arm);
    azure_close(azure);
    script_stop(&arm_server);
    script_stop(&imds_server);
    return 0;
}

/* ---- errors ---- */

#define AUTHZ "The client 'x' with object id 'y' does not have authorization to perform action 'Microsoft.Compute/disks/beginGetAccess/action' over scope '/s'."

static void test_errors(void **state)
{
    (void)state;
    static const struct { const char *answer; enum err_code code; const char *word, *says, *hint, *request; } rows[] = {
        {"HTTP/1.1 404 Not Found\nx-ms-request-id: r1\n\n{\"error\":{\"code\":\"ResourceNotFound\",\"message\":\"The Resource 'd1' was not found.\"}}", ERR_NOT_FOUND, "ResourceNotFound",
         "The Resource 'd1' was not found.", "resource group", "r1"},
        {"HTTP/1.1 404 Not Found\nx-ms-correlation-request-id: c1\n\n{\"error\":{\"code\":\"NotFound\",\"message\":\"Disk d1 is not found.\"}}", ERR_NOT_FOUND, "NotFound", "is not found", "", "c1"},
        {"HTTP/1.1 403 Forbidden\n\n{\"error\":{\"code\":\"AuthorizationFailed\",\"message\":\"" AUTHZ "\"}}", ERR_CREDENTIAL, "AuthorizationFailed", "does not have authorization",
         "\"prod\" a role with Microsoft.Compute/disks/beginGetAccess/action", ""},
        {"HTTP/1.1 403 Forbidden\n\n{\"error\":{\"code\":\"RequestDisallowedByPolicy\",\"message\":\"no\"}}", ERR_UPSTREAM_FINAL, "RequestDisallowedByPolicy", "no", "policy", ""},
        {"HTTP/1.1 409 Conflict\n\n{\"error\":{\"code\":\"Conflict\",\"message\":\"Access not permitted because disk d1 is currently attached to running VM vm1.\"}}", ERR_WRONG_STATE, "Conflict",
         "attached to running VM vm1", "snapshot", ""},
        {"HTTP/1.1 409 Conflict\n\n{\"error\":{\"code\":\"AnotherOperationInProgress\",\"message\":\"Another operation.\"}}", ERR_UPSTREAM, "AnotherOperationInProgress", "Another operation", "", ""},
        {"HTTP/1.1 409 Conflict\n\n{\"error\":{\"code\":\"OperationNotAllowed\",\"message\":\"Another operation is in progress\"}}", ERR_UPSTREAM, "OperationNotAllowed", "Another", "", ""},
        {"HTTP/1.1 409 Conflict\n\n{\"error\":{\"code\":\"OperationNotAllowed\",\"message\":\"There is an active shared access signature outstanding for disk d1.\"}}", ERR_WRONG_STATE,
         "OperationNotAllowed", "active shared access signature", "revoke", ""},
        {"HTTP/1.1 412 Precondition Failed\n\n{\"error\":{\"code\":\"ConditionNotMet\",\"message\":\"etag\"}}", ERR_WRONG_STATE, "ConditionNotMet", "etag", "", ""},
        {"HTTP/1.1 429 Too Many Requests\nRetry-After: 7\n\n{\"error\":{\"code\":\"OperationNotAllowed\",\"message\":\"The server rejected the request because too many requests have been received.\","
         "\"details\":[{\"code\":\"TooManyRequests\",\"target\":\"HighCostGet30Min\",\"message\":\"{\\\"allowedRequestCount\\\":900}\"}],\"innererror\":{\"internalErrorCode\":\"TooManyRequestsReceived\"}}}",
         ERR_THROTTLED, "TooManyRequests", "too many requests", "", ""},
        {"HTTP/1.1 503 Service Unavailable\n\n", ERR_UPSTREAM, "", "was answered 503", "", ""},
        {"HTTP/1.1 502 Bad Gateway\nContent-Type: text/html\n\n<html><head><title>502 - Web server\r\nreceived an invalid response</title></head></html>", ERR_UPSTREAM, "", "502 - Web server received", "", ""},
        {"HTTP/1.1 500 Internal Server Error\n\n<html><body>no title</body></html>", ERR_UPSTREAM, "", "was answered 500", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n{\"code\":\"InvalidParameter\",\"message\":\"top level\"}", ERR_UPSTREAM_FINAL, "InvalidParameter", "top level", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n{\"Code\":\"InvalidParameter\",\"Message\":\"capitals\"}", ERR_UPSTREAM_FINAL, "InvalidParameter", "capitals", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n\xEF\xBB\xBF{\"error\":{\"code\":\"BadRequest\",\"message\":\"\",\"details\":[{\"code\":\"\"},{\"code\":\"SkuNotAvailable\",\"message\":\"within\"}]}}", ERR_UPSTREAM_FINAL,
         "SkuNotAvailable", "", "", ""},
        {"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer authorization_uri=\"https://l\", error=\"invalid_token\"\n\n", ERR_CREDENTIAL, "InvalidAuthenticationToken", "401", "clock", ""},
        {"HTTP/1.1 401 Unauthorized\n\n{\"error\":\"invalid_token\",\"error_description\":\"as Entra words it\"}", ERR_CREDENTIAL, "invalid_token", "as Entra words it", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n{\"error\":{\"code\":\"InvalidVhd\",\"message\":\"see https://md-x.blob/abcd?sv=1&sig=PLANTEDSIG&x=1 and eyJ0eXAiOiJKV1QiLCJPLANTEDTOKEN.x\"}}", ERR_UPSTREAM_FINAL,
         "InvalidVhd", "sig=", "", ""},
        {"HTTP/1.1 302 Found\nLocation: https://elsewhere.example/x?sig=PLANTEDSIG\n\n", ERR_UPSTREAM_FINAL, "", "a redirect that is not followed, to https://elsewhere.example/x", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n[1,2]", ERR_UPSTREAM_FINAL, "", "was answered 400", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n{\"error\":{\"code\":7,\"message\":[]}}", ERR_UPSTREAM_FINAL, "", "was answered 400", "", ""},
        {"HTTP/1.1 400 Bad Request\n\n{\"error\":{\"code\":\"Bad\\nCode<x>\",\"message\":\"a\\u0001b\"}}", ERR_UPSTREAM_FINAL, "Bad", "400 Bad", "", ""},
        {"HTTP/1.1 418 I'm a teapot\n\n", ERR_UPSTREAM_FINAL, "", "418", "", ""},
        {"HTTP/1.1 599 Odd\n\n", ERR_UPSTREAM, "", "599", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        json_t *o = NULL;
        SCRIPT(&arm_server, rows[i].answer);
        int r = arm_get(arm, DISK "?api-version=1", &o, &err);
        if (r != -(int)rows[i].code || strcmp(err.upstream.code, rows[i].word) || !strstr(err.msg, rows[i].says) || !strstr(err_hint_text(&err), rows[i].hint))
            fail_msg("row %zu: %s, code '%s': %s (%s)", i, r ? err_info(r)->word : "no error", err.upstream.code, err.msg, err_hint_text(&err));
        assert_string_equal(err.upstream.service, "arm");
        assert_true(err.upstream.status >= 300);
        assert_string_equal(err.upstream.request_id, rows[i].request);
        assert_true(str_starts(err.msg, "GET disks/d1 was answered"));
        assert_null(strstr(err.msg, "PLANTED"));
        assert_null(strstr(err.hint, "PLANTED"));
        assert_int_equal(err.retry_after_ms, rows[i].code == ERR_THROTTLED ? 7000 : 0);
        /* a 429 keeps its kind of request away for a while; the next row shall not wait */
        if (rows[i].code == ERR_THROTTLED)
            budgets_learn(azure->budgets, SUB " GET /subscriptions/resourcegroups/providers/microsoft.compute/disks", 429, NULL, 0, 0),
                (azure->budgets = (budgets_free(azure->budgets), budgets_new()));
    }
}

/* ---- requests ---- */

static void test_request(void **state)
{
    (void)state;
    struct err err;
    char buf[256];
    json_t *o = NULL, *body = json_pack("{s:s}", "access", "Read");
    SCRIPT(&arm_server, OK_ "{\"name\":\"d1\"}", OK_ "{\"accessSAS\":\"x\"}", "HTTP/1.1 204 No Content\n\n");
    ok(arm_get(arm, DISK "?api-version=1", &o, &err));
    assert_string_equal(json_string_value(json_object_get(o, "name")), "d1");
    json_decref(o);
    ok(arm_run(arm, &(struct arm_call){.method = "POST", .path = DISK "/beginGetAccess?api-version=1", .body = body}, &o, &err));
    json_decref(o);
    ok(arm_run(arm, &(struct arm_call){.method = "POST", .path = DISK "/endGetAccess?api-version=1"}, &o, &err));
    assert_null(o);
    json_decref(body);
    assert_string_equal(arm_server.got[0].line, "GET " DISK "?api-version=1");
    assert_string_equal(script_header(&arm_server, 0, "Authorization", buf, sizeof buf), "Bearer PLANTEDTOKEN");
    assert_string_equal(script_header(&arm_server, 0, "Content-Type", buf, sizeof buf), "");
    assert_string_equal(arm_server.got[1].body, "{\"access\":\"Read\"}");
    assert_string_equal(script_header(&arm_server, 1, "Content-Type", buf, sizeof buf), "application/json");
    assert_string_equal(arm_server.got[2].body, "");
    assert_string_equal(script_header(&arm_server, 2, "Content-Length", buf, sizeof buf), "0");
    assert_string_equal(script_header(&arm_server, 2, "Content-Type", buf, sizeof buf), "");
    assert_int_equal(imds_server.n, 1);
    for (const char *const *bad = (const char *const[]){OK_, OK_ "[]", OK_ "{", "HTTP/1.1 204 No Content\n\n", NULL}; *bad; bad++) {
        script_set(&arm_server, bad, 1);
        fails(arm_get(arm, DISK, &o, &err), ERR_UPSTREAM);
    }
}

static void test_retries(void **state)
{
    (void)state;
    struct err err;
    json_t *o = NULL;
    struct arm *patient = client(4, 0);
    SCRIPT(&arm_server, "HTTP/1.1 503 Service Unavailable\n\n", "", OK_ "{}");
    ok(arm_get(patient, "/a", &o, &err));
    json_decref(o);
    assert_int_equal(arm_server.n, 3);
    /* as long as Retry-After says, not as the backoff would have it */
    SCRIPT(&arm_server, "HTTP/1.1 429 Too Many Requests\nRetry-After: 2\n\n", OK_ "{}");
    ok(arm_get(patient, "/b", &o, &err));
    json_decref(o);
    assert_in_range(arm_server.got[1].at_ms - arm_server.got[0].at_ms, 1990, 3500);
    /* and no longer than the caller has patience */
    struct arm *quick = client(4, 1000);
    SCRIPT(&arm_server, "HTTP/1.1 429 Too Many Requests\nRetry-After: 60\n\n", OK_ "{}");
    fails(arm_get(quick, "/c", &o, &err), ERR_THROTTLED);
    assert_int_equal(arm_server.n, 1);
    assert_int_equal(err.upstream.status, 429);
    assert_true(err.retry_after_ms >= 60000);
    fails(arm_get(quick, "/c", &o, &err), ERR_THROTTLED);           /* the next one is not even sent */
    assert_int_equal(arm_server.n, 1);
    arm_close(quick);
    /* what does not pass is not tried again */
    SCRIPT(&arm_server, "HTTP/1.1 400 Bad Request\n\n");
    fails(arm_get(patient, "/d", &o, &err), ERR_UPSTREAM_FINAL);
    assert_int_equal(arm_server.n, 1);
    arm_close(patient);
    struct arm *two = client(2, 0);
    SCRIPT(&arm_server, "HTTP/1.1 500 Internal Server Error\n\n{\"error\":{\"code\":\"InternalServerError\",\"message\":\"own words\"}}");
    fails(arm_get(two, "/e", &o, &err), ERR_UPSTREAM);
    assert_int_equal(arm_server.n, 2);
    assert_non_null(strstr(err.msg, "own words"));
    arm_close(two);
}

static void test_new_token_once(void **state)
{
    (void)state;
    struct err err;
    json_t *o = NULL;
    static const char *const tokens[] = {"HTTP/1.1 200 OK\n\n{\"access_token\":\"one\",\"expires_in\":\"3600\"}", "HTTP/1.1 200 OK\n\n{\"access_token\":\"two\",\"expires_in\":\"3600\"}"};
    char buf[64];
    script_set(&imds_server, tokens, 2);
    SCRIPT(&arm_server, "HTTP/1.1 401 Unauthorized\n\n{\"error\":{\"code\":\"ExpiredAuthenticationToken\",\"message\":\"x\"}}", OK_ "{}");
    ok(arm_get(arm, "/a", &o, &err));
    json_decref(o);
    assert_string_equal(script_header(&arm_server, 0, "Authorization", buf, sizeof buf), "Bearer one");
    assert_string_equal(script_header(&arm_server, 1, "Authorization", buf, sizeof buf), "Bearer two");
    SCRIPT(&arm_server, "HTTP/1.1 401 Unauthorized\n\n{\"error\":{\"code\":\"ExpiredAuthenticationToken\",\"message\":\"x\"}}");
    fails(arm_get(arm, "/a", &o, &err), ERR_CREDENTIAL);
    assert_int_equal(arm_server.n, 2);
    /* no token at all: nothing is asked */
    SCRIPT(&imds_server, "HTTP/1.1 400 Bad Request\n\n{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}");
    SCRIPT(&arm_server, OK_ "{}");
    fails(arm_get(arm, "/a", &o, &err), ERR_CREDENTIAL);
    assert_string_equal(err.upstream.service, "imds");
    assert_int_equal(arm_server.n, 0);
}

/* ---- pages ---- */

static void test_pages(void **state)
{
    (void)state;
    struct err err;
    json_t *o = NULL;
    SCRIPT(&arm_server, OK_ "{\"value\":[{\"a\":1},{\"a\":2}],\"nextLink\":\"@/l?$skiptoken=%5Bx%5d\"}", OK_ "{\"value\":[],\"nextLink\":\"@/l?$skiptoken=2\"}", OK_ "{\"value\":[{\"a\":3},7],\"nextLink\":\"\"}");
    ok(arm_list(arm, "/l?api-version=1", &o, &err));
    assert_int_equal(json_array_size(o), 3);         /* what is no object is left out */
    json_decref(o);
    assert_string_equal(arm_server.got[1].line, "GET /l?$skiptoken=%5Bx%5d");     /* byte for byte */
    static const struct { const char *answer; enum err_code code; const char *says; } bad[] = {
        {OK_ "{\"value\":[],\"nextLink\":\"http://127.0.0.1:1/l?sig=PLANTED\"}", ERR_UPSTREAM_FINAL, "no token is sent there"},
        {OK_ "{\"value\":[],\"nextLink\":\"https://evil.example/l\"}", ERR_UPSTREAM_FINAL, "no token is sent there"},
        {OK_ "{\"value\":[],\"nextLink\":\"/l?x\"}", ERR_UPSTREAM_FINAL, "no token is sent there"},
        {OK_ "{\"value\":[],\"nextLink\":\"@/a b\"}", ERR_UPSTREAM_FINAL, "no token is sent there"},
        {OK_ "{\"value\":[],\"nextLink\":\"@/l?same\"}", ERR_UPSTREAM_FINAL, "same page"},
        {OK_ "{\"value\":{}}", ERR_UPSTREAM, "without a list"},
        {OK_ "{}", ERR_UPSTREAM, "without a list"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        SCRIPT(&arm_server, bad[i].answer);
        fails(arm_list(arm, "/l?same", &o, &err), bad[i].code);
        if (!strstr(err.msg, bad[i].says) || strstr(err.msg, "PLANTED"))
            fail_msg("row %zu: %s", i, err.msg);
        assert_int_equal(arm_server.n, 1);
    }
    /* pages without end */
    SCRIPT(&arm_server, OK_ "{\"value\":[],\"nextLink\":\"@/l?1\"}", OK_ "{\"value\":[],\"nextLink\":\"@/l?2\"}", OK_ "{\"value\":[],\"nextLink\":\"@/l?1\"}", "HTTP/1.1 404 Not Found\n\n");
    fails(arm_list(arm, "/l", &o, &err), ERR_NOT_FOUND);
}

/* ---- operations: the state machine alone ---- */

static void take(struct rest_answer *a, const char *text)
{
    static char head[8192];
    rest_answer_clear(a);
    a->body.max = 1 << 20;
    const char *gap = strstr(text, "\n\n");
    snprintf(head, sizeof head, "%.*s", (int)(gap - text), text);
    for (char *line = strtok(head, "\n"); line; line = strtok(NULL, "\n")) {
        AUTO_STRBUF struct strbuf b = {0};
        for (const char *p = line; *p; p++)
            if (*p == '@')
                strbuf_adds(&b, arm_server.url);
            else
                strbuf_add(&b, p, 1);
        strbuf_adds(&b, "\r\n");
        assert_int_equal(rest_collect_header(b.data, 1, b.len, a), b.len);
    }
    strbuf_adds(&a->body, gap + 2);
}

#define ACCEPTED "HTTP/1.1 202 Accepted\n"
#define ASYNC "Azure-AsyncOperation: @/op/1?t=1&c=x\n"
#define LOCATION "Location: @/op/1?monitor=true\n"

static void test_state_machine(void **state)
{
    (void)state;
    /* answers in turn; result: the "r" of what came out ("": nothing), or the error; asked: what is to be asked, in turn */
    static const struct { const char *method; const char *answers[5]; const char *result; enum err_code code; const char *asked[5]; unsigned first_pause_ms; } rows[] = {
        /* as recorded: both headers, the output in the operation */
        {"POST", {ACCEPTED ASYNC LOCATION "Retry-After: 10\n\n", OK_ "{\"status\":\"InProgress\"}", OK_ "{\"status\":\"Succeeded\",\"properties\":{\"output\":{\"r\":\"o\"}}}"}, "o", 0,
         {"/op/1?t=1&c=x", "/op/1?t=1&c=x"}, 10000},
        /* no output: Location is asked once */
        {"POST", {ACCEPTED ASYNC LOCATION "\n\n", OK_ "{\"status\":\"Succeeded\"}", OK_ "{\"r\":\"l\"}"}, "l", 0, {"/op/1?t=1&c=x", "/op/1?monitor=true"}, 500},
        {"POST", {ACCEPTED ASYNC "\n", OK_ "{\"status\":\"Succeeded\"}"}, "", 0, {"/op/1?t=1&c=x"}, 500},
        /* 200 with the header is an operation all the same; a PUT gives the resource in the end */
        {"PUT", {"HTTP/1.1 200 OK\n" ASYNC "\n{\"r\":\"early\",\"properties\":{\"provisioningState\":\"Updating\"}}", OK_ "{\"status\":\"Succeeded\"}", OK_ "{\"r\":\"late\"}"}, "late", 0,
         {"/op/1?t=1&c=x", "/disk?v=1"}, 500},
        {"PUT", {"HTTP/1.1 201 Created\n" ASYNC LOCATION "\n{}", OK_ "{\"status\":\"Succeeded\",\"properties\":{\"output\":{\"r\":\"o\"}}}"}, "o", 0, {"/op/1?t=1&c=x"}, 500},
        /* any other word means: it runs; words are compared without case */
        {"POST", {ACCEPTED ASYNC "\n", OK_ "{\"status\":\"Creating\"}", OK_ "{}", OK_ "{\"status\":\"succeeded\"}"}, "", 0, {"/op/1?t=1&c=x", "/op/1?t=1&c=x", "/op/1?t=1&c=x"}, 500},
        /* failed under HTTP 200 */
        {"POST", {ACCEPTED ASYNC "\n", OK_ "{\"status\":\"Failed\",\"error\":{\"code\":\"Conflict\",\"message\":\"attached to running VM x\"}}"}, NULL, ERR_WRONG_STATE, {"/op/1?t=1&c=x"}, 500},
        {"POST", {ACCEPTED ASYNC "\n", OK_ "{\"status\":\"Failed\",\"error\":{\"code\":\"InternalExecutionError\",\"message\":\"m\"}}"}, NULL, ERR_UPSTREAM, {"/op/1?t=1&c=x"}, 500},
        {"POST", {ACCEPTED ASYNC "\n", OK_ "{\"status\":\"Failed\"}"}, NULL, ERR_UPSTREAM_FINAL, {"/op/1?t=1&c=x"}, 500},
        {"POST", {ACCEPTED ASYNC "\n", OK_ "{\"status\":\"Canceled\"}"}, NULL, ERR_UPSTREAM_FINAL, {"/op/1?t=1&c=x"}, 500},
        /* Location alone */
        {"POST", {ACCEPTED LOCATION "\n", ACCEPTED "Retry-After: 3\n\n", OK_ "{\"r\":\"l\"}"}, "l", 0, {"/op/1?monitor=true", "/op/1?monitor=true"}, 500},
        {"DELETE", {ACCEPTED LOCATION "\n", "HTTP/1.1 204 No Content\n\n"}, "", 0, {"/op/1?monitor=true"}, 500},
        {"POST", {ACCEPTED LOCATION "\n", ACCEPTED "Location: @/op/2\n\n", OK_ "{\"r\":\"2\"}"}, "2", 0, {"/op/1?monitor=true", "/op/2"}, 500},
        /* neither: PUT is watched at the resource */
        {"PUT", {"HTTP/1.1 201 Created\n\n{\"properties\":{\"provisioningState\":\"Creating\"}}", OK_ "{\"r\":\"p\",\"properties\":{\"provisioningState\":\"Succeeded\"}}"}, "p", 0, {"/disk?v=1"}, 500},
        {"PUT", {ACCEPTED "\n{\"properties\":{\"provisioningState\":\"Updating\"}}", OK_ "{\"properties\":{\"provisioningState\":\"Failed\"}}"}, NULL, ERR_UPSTREAM_FINAL, {"/disk?v=1"}, 500},
        {"PUT", {OK_ "{\"r\":\"now\",\"properties\":{\"provisioningState\":\"Succeeded\"}}"}, "now", 0, {NULL}, 0},
        /* done at once */
        {"POST", {OK_ "{\"r\":\"sync\"}"}, "sync", 0, {NULL}, 0},
        {"POST", {"HTTP/1.1 201 Created\n" LOCATION "\n{\"r\":\"created\"}"}, "created", 0, {NULL}, 0},
        {"DELETE", {"HTTP/1.1 204 No Content\n\n"}, "", 0, {NULL}, 0},
        {"POST", {ACCEPTED "\n"}, NULL, ERR_UPSTREAM_FINAL, {NULL}, 0},
        /* URLs that lead elsewhere */
        {"POST", {ACCEPTED "Azure-AsyncOperation: https://evil.example/op?sig=PLANTED\n\n"}, NULL, ERR_UPSTREAM_FINAL, {NULL}, 0},
        {"POST", {ACCEPTED "Location: http://127.0.0.1:1/op\n\n"}, NULL, ERR_UPSTREAM_FINAL, {NULL}, 0},
        {"POST", {ACCEPTED ASYNC "Location: https://evil.example/op\n\n", OK_ "{\"status\":\"Succeeded\"}"}, NULL, ERR_UPSTREAM_FINAL, {"/op/1?t=1&c=x"}, 500},
        {"POST", {ACCEPTED ASYNC "\n", "HTTP/1.1 200 OK\nAzure-AsyncOperation: https://evil.example/op\n\n{\"status\":\"InProgress\"}"}, NULL, ERR_UPSTREAM_FINAL, {"/op/1?t=1&c=x"}, 500},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        AUTO(rest_answer_clear) struct rest_answer a = {0};
        AUTO_FREE char *url = str_printf("%s/disk?v=1", arm_server.url);
        AUTO(operation_clear) struct operation o = {.arm = arm, .method = rows[i].method, .url = url};
        int r = 0;
        size_t n = 0;
        err_clear(&err);
        for (; rows[i].answers[n] && r == 0 && o.state != OPERATION_DONE; n++) {
            take(&a, rows[i].answers[n]);
            json_t *body = json_loads(a.body.data, 0, NULL);
            r = n == 0 ? operation_begin(&o, &a, body, &err) : operation_step(&o, &a, body, &err);
            json_decref(body);
            if (n == 0 && r == 0 && o.pause_ms != rows[i].first_pause_ms)
                fail_msg("row %zu: the first pause is %u ms", i, o.pause_ms);
            AUTO_FREE char *want = rows[i].asked[n] ? str_printf("%s%s", arm_server.url, rows[i].asked[n]) : NULL;
            if (r == 0 && o.state != OPERATION_DONE && (!want || strcmp(want, o.next)))
                fail_msg("row %zu: answer %zu leads to %s", i, n, o.next);
        }
        if (rows[i].answers[n])
            fail_msg("row %zu: over after %zu answers: %s", i, n, err.msg);
        if (r != -(int)rows[i].code)
            fail_msg("row %zu: %d %s", i, r, err.msg);
        assert_null(strstr(err.msg, "PLANTED"));
        if (r < 0)
            continue;
        if (o.state != OPERATION_DONE)
            fail_msg("row %zu: not over", i);
        const char *got = json_string_value(json_object_get(o.result, "r"));
        if (strcmp(got ? got : "", rows[i].result))
            fail_msg("row %zu: the result is %s", i, got ? got : "nothing");
    }
}

/* ---- operations: the loop ---- */

static void test_operation(void **state)
{
    (void)state;
    struct err err;
    json_t *o = NULL;
    const struct arm_call grant = {.method = "POST", .path = DISK "/beginGetAccess?api-version=1"};
    /* a long URL as it is; polls that fail in every way say nothing */
    AUTO_STRBUF struct strbuf long_url = {.max = 16384};
    strbuf_adds(&long_url, "@/op/1?t=6384&c=");
    for (int i = 0; i < 3300; i++)
        strbuf_adds(&long_url, i % 3 ? "x" : "%2B");
    AUTO_FREE char *first = str_printf(ACCEPTED "Azure-AsyncOperation: %s\nLocation: %s&monitor=true\n\n", long_url.data, long_url.data);
    script_set(&arm_server, (const char *const[]){first, "HTTP/1.1 503 Service Unavailable\n\n", OK_, "HTTP/1.1 404 Not Found\n\n{\"error\":{\"code\":\"NotFound\"}}",
                                                OK_ "{\"status\":\"Succeeded\",\"properties\":{\"output\":{\"accessSAS\":\"https://x\"}}}"}, 5);
    ok(arm_run(arm, &grant, &o, &err));
    assert_string_equal(json_string_value(json_object_get(o, "accessSAS")), "https://x");
    json_decref(o);
    assert_int_equal(arm_server.n, 5);
    AUTO_FREE char *line = str_printf("GET %s", long_url.data + 1);
    for (size_t i = 1; i < 5; i++)
        assert_string_equal(arm_server.got[i].line, line);
    /* Retry-After of the first answer and of the polls */
    SCRIPT(&arm_server, ACCEPTED ASYNC "Retry-After: 1\n\n", "HTTP/1.1 200 OK\nRetry-After: 2\n\n{\"status\":\"InProgress\"}", OK_ "{\"status\":\"Succeeded\"}");
    ok(arm_run(arm, &grant, &o, &err));
    assert_null(o);
    assert_in_range(arm_server.got[1].at_ms - arm_server.got[0].at_ms, 990, 1900);
    assert_in_range(arm_server.got[2].at_ms - arm_server.got[1].at_ms, 1990, 2900);
    /* the answer of Location alone is the operation's own */
    SCRIPT(&arm_server, ACCEPTED LOCATION "\n", "HTTP/1.1 409 Conflict\n\n{\"error\":{\"code\":\"Conflict\",\"message\":\"attached to running VM x\"}}");
    fails(arm_run(arm, &grant, &o, &err), ERR_WRONG_STATE);
    assert_non_null(strstr(err.msg, "POST disks/d1/beginGetAccess"));
    /* gone is gone */
    const struct arm_call remove = {.method = "DELETE", .path = DISK "?api-version=1"};
    SCRIPT(&arm_server, "HTTP/1.1 404 Not Found\n\n{\"error\":{\"code\":\"ResourceNotFound\"}}", "HTTP/1.1 404 Not Found\n\n");
    ok(arm_run(arm, &remove, NULL, &err));
    fails(arm_run(arm, &remove, NULL, &err), ERR_NOT_FOUND);
    /* an operation that is not found is not what it was done to */
    SCRIPT(&arm_server, ACCEPTED ASYNC "\n", "HTTP/1.1 404 Not Found\n\n{\"error\":{\"code\":\"NotFound\"}}");
    struct arm_call end = grant;
    end.deadline_ms = 30000;
    fails(arm_run(arm, &end, &o, &err), ERR_UPSTREAM);
    assert_non_null(strstr(err.msg, "its end is not known"));
    /* without a result nothing is asked for one */
    SCRIPT(&arm_server, ACCEPTED ASYNC LOCATION "\n", OK_ "{\"status\":\"Succeeded\"}", "HTTP/1.1 410 Gone\n\n");
    ok(arm_run(arm, &grant, NULL, &err));
    assert_int_equal(arm_server.n, 2);
    /* not for ever */
    SCRIPT(&arm_server, ACCEPTED ASYNC "\n", OK_ "{\"status\":\"InProgress\"}");
    struct arm_call late = grant;
    late.deadline_ms = 700;
    int64_t began = clock_mono_ms();
    fails(arm_run(arm, &late, &o, &err), ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - began, 690, 1500);
}

static void *stop_soon(void *arg)
{
    (void)arg;
    clock_sleep_ms(300);
    atomic_store(&stop, true);
    return NULL;
}

static void test_stop(void **state)
{
    (void)state;
    struct err err;
    json_t *o = NULL;
    struct arm *patient = client(5, 0);
    static const char *const waits[] = {
        "wait",                                                                  /* no answer */
        "HTTP/1.1 429 Too Many Requests\nRetry-After: 60\n\n",                    /* a pause */
        ACCEPTED ASYNC "Retry-After: 60\n\n",                                    /* an operation */
    };
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        pthread_t t;
        atomic_store(&stop, false);
        script_set(&arm_server, &waits[i], 1);
        assert_int_equal(pthread_create(&t, NULL, stop_soon, NULL), 0);
        int64_t began = clock_mono_ms();
        char path[32];
        snprintf(path, sizeof path, "/w%zu", i);
        fails(arm_run(patient, &(struct arm_call){.method = "POST", .path = path}, &o, &err), ERR_CANCELLED);
        assert_true(clock_mono_ms() - began < 3000);
        pthread_join(t, NULL);
    }
    arm_close(patient);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_errors), T(test_request), T(test_retries), T(test_new_token_once), T(test_pages), T(test_state_machine), T(test_operation), T(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

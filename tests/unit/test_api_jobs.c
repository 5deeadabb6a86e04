/* Jobs, credentials and events through HTTP, on a real database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "db/event.h"
#include "tests/unit/api_fixture.h"

#define BLOB_BODY "{\"name\":\"web01\",\"disks\":[{\"source\":{\"type\":\"blob\",\"url\":\"https://a.blob.core.windows.net/c/x.vhd?sv=1&sig=SECRETSIG\"}}]}"

static struct fixture *f;

static long status_of(const char *method, const char *path, const char *body, const char *headers)
{
    AUTO_REPLY struct reply r = call(f, method, path, body, headers);
    return r.status;
}

static void expect_state(const char *id, const char *state)
{
    AUTO_FREE char *path = str_printf("/v1/jobs/%s", id);
    AUTO_REPLY struct reply r = call(f, "GET", path, NULL, NULL);
    assert_string_equal(text_at(&r, "state"), state);
}

static void test_submit(void **state)
{
    (void)state;
    unsigned wakes = atomic_load(&f->wakes);
    AUTO_REPLY struct reply r = call(f, "POST", "/v1/jobs", BLOB_BODY, "Idempotency-Key: one");
    char location[100], path[100];
    assert_int_equal(r.status, 201);
    assert_true(atomic_load(&f->wakes) > wakes);
    assert_non_null(reply_header_of(&r, "Location", location, sizeof location));
    snprintf(path, sizeof path, "/v1/jobs/%s", text_at(&r, "id"));
    assert_string_equal(location, path);
    assert_string_equal(text_at(&r, "name"), "web01");
    assert_string_equal(text_at(&r, "state"), "queued");
    assert_true(json_is_null(json_object_get(r.json, "vm_id")));
    assert_null(strstr(r.body, "SECRETSIG"));
    json_t *disk = json_array_get(json_object_get(r.json, "disks"), 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(disk, "source"), "url")), "https://a.blob.core.windows.net/c/x.vhd");
    json_t *tasks = json_object_get(r.json, "tasks"), *first = json_array_get(tasks, 0);
    assert_true(json_array_size(tasks) >= 5);
    assert_string_equal(json_string_value(json_object_get(first, "kind")), "preflight");
    assert_string_equal(json_string_value(json_object_get(first, "state")), "pending");
    assert_true(json_is_null(json_object_get(first, "disk")) && json_is_null(json_object_get(first, "error")));
    assert_int_equal(json_object_size(json_object_get(first, "progress")), 6);
    assert_true(json_is_object(json_object_get(r.json, "request")));

    /* The same meaning in other words is the same request. */
    AUTO_REPLY struct reply again = call(f, "POST", "/v1/jobs",
        "{ \"disks\": [{\"source\":{\"url\":\"https://a.blob.core.windows.net/c/x.vhd?sv=1&sig=SECRETSIG\",\"type\":\"blob\"}}], \"name\": \"web01\" }",
        "Idempotency-Key: one");
    assert_int_equal(again.status, 201);
    assert_string_equal(text_at(&again, "id"), text_at(&r, "id"));
    assert_non_null(reply_header_of(&again, "Idempotency-Replayed", location, sizeof location));
    AUTO_REPLY struct reply other = call(f, "POST", "/v1/jobs", "{\"disks\":[{\"source\":{\"type\":\"blank\",\"size\":1048576}}]}", "Idempotency-Key: one");
    assert_int_equal(other.status, 409);
    assert_string_equal(text_at(&other, "code"), "idempotency_key_reused");
    AUTO_REPLY struct reply got = call(f, "GET", path, NULL, NULL);
    assert_int_equal(got.status, 200);
    assert_string_equal(text_at(&got, "id"), text_at(&r, "id"));
}

static void test_pages(void **state)
{
    (void)state;
    char *ids[7];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = fixture_job(f, "page");
    AUTO_FREE char *cursor = NULL;
    for (size_t at = ARRAY_LEN(ids); at > 1; at -= 2) {      /* newest first, two a page */
        AUTO_FREE char *path = cursor ? str_printf("/v1/jobs?limit=2&cursor=%s", cursor) : str_dup("/v1/jobs?limit=2");
        AUTO_REPLY struct reply r = call(f, "GET", path, NULL, NULL);
        json_t *jobs = json_object_get(r.json, "jobs");
        assert_int_equal(json_array_size(jobs), 2);
        for (size_t k = 0; k < 2; k++)
            assert_string_equal(json_string_value(json_object_get(json_array_get(jobs, k), "id")), ids[at - 1 - k]);
        assert_null(json_object_get(json_array_get(jobs, 0), "request"));
        free(cursor);
        cursor = str_dup(text_at(&r, "next_cursor"));
        assert_true(cursor && *cursor);
    }
    AUTO_REPLY struct reply all = call(f, "GET", "/v1/jobs?limit=200&state=queued", NULL, NULL);
    assert_true(json_is_null(json_object_get(all.json, "next_cursor")));
    assert_true(json_array_size(json_object_get(all.json, "jobs")) >= ARRAY_LEN(ids));
    AUTO_REPLY struct reply none = call(f, "GET", "/v1/jobs?state=failed", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(none.json, "jobs")), 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        free(ids[i]);
}

static void test_actions(void **state)
{
    (void)state;
    AUTO_FREE char *id = fixture_job(f, "actions"), *path = str_printf("/v1/jobs/%s", id), *pause = str_printf("%s/pause", path),
                   *resume = str_printf("%s/resume", path), *cancel = str_printf("%s/cancel", path), *retry = str_printf("%s/retry", path);
    AUTO_FREE char *delete = str_printf("%s?disks=delete", path);
    assert_int_equal(status_of("POST", resume, NULL, NULL), 409);
    assert_int_equal(status_of("POST", pause, NULL, NULL), 202);
    expect_state(id, "paused");
    assert_int_equal(status_of("POST", resume, NULL, NULL), 202);
    expect_state(id, "queued");
    AUTO_REPLY struct reply wrong = call(f, "POST", retry, NULL, NULL);
    assert_int_equal(wrong.status, 409);
    assert_string_equal(text_at(&wrong, "code"), "wrong_state");
    unsigned wakes = atomic_load(&f->wakes);
    assert_int_equal(status_of("POST", cancel, NULL, NULL), 202);
    assert_true(atomic_load(&f->wakes) > wakes);
    expect_state(id, "cancelled");
    assert_int_equal(status_of("POST", retry, NULL, NULL), 202);
    expect_state(id, "queued");
    AUTO_REPLY struct reply deleted = call(f, "DELETE", delete, NULL, NULL);
    assert_int_equal(deleted.status, 202);
    assert_string_equal(text_at(&deleted, "delete_requested"), "delete");
}

static void test_failed_task(void **state)
{
    (void)state;
    struct err e, fault;
    AUTO_FREE char *id = NULL;
    struct task t = {0};
    uint64_t wait;
    while (task_claim(f->db, LANE_HYPERVISOR, &t, &wait, &e) == 0) {     /* preflights of all jobs so far */
        free(id);
        id = str_dup(t.job_id);
        err_set(&fault, ERR_SOURCE_DENIED, "the server said no");
        snprintf(fault.upstream.service, sizeof fault.upstream.service, "azure_storage");
        fault.upstream.status = 403;
        struct task_progress p = {.total = 100, .done = 40, .transferred = 30, .skipped = 10, .bytes_per_second = 5, .eta_seconds = -1};
        assert_int_equal(task_finish(f->db, t.id, OUTCOME_FAILED, &fault, 0, &p, &e), 0);
        task_clear(&t);
    }
    assert_non_null(id);
    AUTO_FREE char *path = str_printf("/v1/jobs/%s", id);
    AUTO_REPLY struct reply r = call(f, "GET", path, NULL, NULL);
    assert_string_equal(text_at(&r, "state"), "failed");
    json_t *task = json_array_get(json_object_get(r.json, "tasks"), 0), *error = json_object_get(task, "error");
    assert_string_equal(json_string_value(json_object_get(error, "code")), "source_denied");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(error, "upstream"), "status")), 403);
    assert_true(json_string_value(json_object_get(error, "hint"))[0]);
    json_t *progress = json_object_get(task, "progress");
    assert_int_equal(json_integer_value(json_object_get(progress, "done_bytes")), 40);
    assert_true(json_is_null(json_object_get(progress, "eta_seconds")));
}

static void test_credentials(void **state)
{
    (void)state;
    const char *body = "{\"type\":\"account_key\",\"account\":\"acct\",\"key\":\"U0VDUkVUS0VZ\"}";
    AUTO_REPLY struct reply made = call(f, "PUT", "/v1/credentials/prod", body, NULL);
    assert_int_equal(made.status, 201);
    assert_null(strstr(made.body, "U0VDUkVUS0VZ"));
    AUTO_REPLY struct reply again = call(f, "PUT", "/v1/credentials/prod", body, NULL);
    assert_int_equal(again.status, 200);
    AUTO_REPLY struct reply list = call(f, "GET", "/v1/credentials", NULL, NULL);
    json_t *first = json_array_get(json_object_get(list.json, "credentials"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "name")), "prod");
    assert_string_equal(json_string_value(json_object_get(first, "account")), "acct");
    assert_null(strstr(list.body, "U0VDUkVUS0VZ"));
    AUTO_REPLY struct reply bad = call(f, "PUT", "/v1/credentials/prod", "{\"type\":\"account_key\",\"account\":\"acct\"}", NULL);
    assert_int_equal(bad.status, 400);
    assert_string_equal(text_at(&bad, "field"), "/key");

    const char *job = "{\"disks\":[{\"source\":{\"type\":\"blob\",\"url\":\"https://acct.blob.core.windows.net/c/x.vhd\",\"credential\":\"prod\"}}]}";
    AUTO_REPLY struct reply used = call(f, "POST", "/v1/jobs", job, NULL);
    assert_int_equal(used.status, 201);
    AUTO_REPLY struct reply in_use = call(f, "DELETE", "/v1/credentials/prod", NULL, NULL);
    assert_int_equal(in_use.status, 409);
    assert_string_equal(text_at(&in_use, "code"), "credential_in_use");
    AUTO_FREE char *cancel = str_printf("/v1/jobs/%s/cancel", text_at(&used, "id"));
    assert_int_equal(status_of("POST", cancel, NULL, NULL), 202);
    assert_int_equal(status_of("DELETE", "/v1/credentials/prod", NULL, NULL), 204);
    assert_int_equal(status_of("DELETE", "/v1/credentials/prod", NULL, NULL), 404);
}

static void test_event_pages(void **state)
{
    (void)state;
    AUTO_FREE char *id = fixture_job(f, "events"), *path = str_printf("/v1/jobs/%s/events", id);
    AUTO_REPLY struct reply r = call(f, "GET", path, NULL, NULL);
    json_t *events = json_object_get(r.json, "events"), *first = json_array_get(events, 0);
    assert_int_equal(json_array_size(events), 1);
    assert_string_equal(json_string_value(json_object_get(first, "type")), "job_created");
    assert_string_equal(json_string_value(json_object_get(first, "job_id")), id);
    json_int_t last = json_integer_value(json_object_get(first, "id"));
    assert_int_equal(json_integer_value(json_object_get(r.json, "next_after")), last);
    AUTO_FREE char *before = str_printf("/v1/events?limit=1&after=%lld", (long long)last - 1), *after = str_printf("%s?after=%lld", path, (long long)last);
    AUTO_REPLY struct reply one = call(f, "GET", before, NULL, NULL);
    assert_int_equal(json_integer_value(json_object_get(one.json, "next_after")), last);
    AUTO_REPLY struct reply none = call(f, "GET", after, NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(none.json, "events")), 0);
    assert_int_equal(json_integer_value(json_object_get(none.json, "next_after")), last);
    AUTO_REPLY struct reply latest = call(f, "GET", "/v1/events?after=latest", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(latest.json, "events")), 0);
    assert_int_equal(status_of("GET", "/v1/jobs/" NO_ID "/events", NULL, NULL), 404);
    assert_int_equal(status_of("GET", "/v1/jobs/" NO_ID "/events", NULL, "Accept: text/event-stream"), 404);
}

/* ---- streams ---- */

static raw_socket stream_open(const char *path, const char *headers)
{
    AUTO_FREE char *request = str_printf("GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n%s\r\n",
                                         path, f->token, headers ? headers : "");
    return raw_open(f, request);
}

static void test_stream(void **state)
{
    (void)state;
    AUTO_FREE char *id = fixture_job(f, "stream"), *path = str_printf("/v1/jobs/%s/events", id), *pause = str_printf("/v1/jobs/%s/pause", id),
                   *delete = str_printf("/v1/jobs/%s", id);
    raw_socket s = stream_open(path, NULL);
    AUTO_FREE char *first = raw_read(s, "job_created\"", 10000);
    assert_non_null(strstr(first, "HTTP/1.1 200"));
    assert_non_null(strstr(first, "text/event-stream"));
    assert_non_null(strstr(first, "event: job_created\ndata: {"));
    int64_t seen = atoll(strstr(first, "\nid: ") + 5);
    assert_true(seen > 0);
    int64_t start = clock_mono_ms();
    assert_int_equal(status_of("POST", pause, NULL, NULL), 202);
    AUTO_FREE char *second = raw_read(s, "event: job_paused", 10000);
    assert_non_null(strstr(second, "event: job_paused"));
    assert_true(clock_mono_ms() - start < 10000);
    assert_null(strstr(second, "job_created"));
    raw_close(s);

    /* A client that comes back goes on behind what it has seen. */
    AUTO_FREE char *header = str_printf("Last-Event-ID: %" PRId64 "\r\n", seen);
    s = stream_open(path, header);
    AUTO_FREE char *resumed = raw_read(s, "event: job_paused", 10000);
    assert_non_null(strstr(resumed, "event: job_paused"));
    assert_null(strstr(resumed, "job_created"));

    /* Deleted: the last message says so, and the stream ends by itself. */
    struct err e;
    assert_int_equal(status_of("DELETE", delete, NULL, NULL), 202);
    assert_int_equal(job_forget(f->db, id, &e), 0);
    AUTO_FREE char *end = raw_read(s, NULL, 1);
    free(end);
    end = raw_read(s, "\r\n0\r\n\r\n", 20000);
    assert_non_null(strstr(end, "event: job_deleted"));
    assert_non_null(strstr(end, "\r\n0\r\n\r\n"));
    raw_close(s);
}

static void test_progress(void **state)
{
    (void)state;
    struct err e;
    struct task t = {0};
    uint64_t wait;
    struct task_flags flags;
    AUTO_FREE char *id = fixture_job(f, "progress"), *path = str_printf("/v1/jobs/%s/events", id);
    /* older jobs' preflights come first */
    while (task_claim(f->db, LANE_HYPERVISOR, &t, &wait, &e) == 0 && strcmp(t.job_id, id)) {
        assert_int_equal(task_finish(f->db, t.id, OUTCOME_SUCCEEDED, NULL, 0, NULL, &e), 0);
        task_clear(&t);
    }
    assert_string_equal(t.job_id, id);
    raw_socket s = stream_open(path, NULL), all = stream_open("/v1/events?after=latest", NULL);
    struct task_progress p = {.total = 1000, .done = 123, .transferred = 123, .eta_seconds = 9};
    assert_int_equal(task_heartbeat(f->db, t.id, &p, &flags, &e), 0);
    AUTO_FREE char *one = raw_read(s, "\"done_bytes\":123", 10000), *other = raw_read(all, "\"done_bytes\":123", 10000);
    assert_non_null(strstr(one, "event: progress\ndata: {\"job_id\""));
    assert_non_null(strstr(one, "\"done_bytes\":123"));
    assert_non_null(strstr(other, "\"done_bytes\":123"));
    assert_null(strstr(other, "job_created"));
    raw_close(s);
    raw_close(all);
    assert_int_equal(task_finish(f->db, t.id, OUTCOME_SUCCEEDED, NULL, 0, NULL, &e), 0);
    task_clear(&t);
}

/* Many events come through in order and whole, though no buffer holds them all. */
static void test_backlog(void **state)
{
    (void)state;
    struct err e;
    int64_t from;
    assert_int_equal(event_last_id(f->db, &from, &e), 0);
    AUTO_STRBUF struct strbuf pad = {0};
    for (int i = 0; i < 1000; i++)
        strbuf_adds(&pad, "0123456789");
    enum { N = 300 };
    for (int i = 0; i < N; i++) {
        json_t *data = json_pack("{s:i, s:s}", "n", i, "pad", pad.data);
        assert_int_equal(event_add(f->db, NULL, "test", data, &e), 0);
        json_decref(data);
    }
    AUTO_FREE char *path = str_printf("/v1/events?after=%" PRId64, from), *mark = str_printf("\"n\":%d,", N - 1);
    /* HTTP/1.0 has no chunks, whose frames would fall into the text. */
    AUTO_FREE char *request = str_printf("GET %s HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", path, f->token);
    raw_socket s = raw_open(f, request);
    clock_sleep_ms(300);                             /* a reader that is slow at first */
    AUTO_FREE char *text = raw_read(s, mark, 60000);
    raw_close(s);
    const char *p = text;
    for (int i = 0; i < N; i++) {
        AUTO_FREE char *want = str_printf("\"n\":%d,", i);
        const char *at = strstr(p, want);
        if (!at)
            fail_msg("event %d of %d is missing", i, N);
        p = at;
    }
}

static void wait_for_no_streams(void)
{
    for (int64_t end = clock_mono_ms() + 30000;; clock_sleep_ms(50)) {
        AUTO_REPLY struct reply r = call(f, "GET", "/metrics", NULL, NULL);
        if (strstr(r.body, "vmrecover_http_streams 0\n"))
            return;
        if (clock_mono_ms() > end)
            fail_msg("streams of clients that are gone stay open: %s", r.body);
    }
}

static void test_stream_limit(void **state)
{
    (void)state;
    wait_for_no_streams();                           /* those of the tests before */
    raw_socket s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = stream_open("/v1/events?after=latest", NULL);
        AUTO_FREE char *head = raw_read(s[i], "retry:", 10000);
        assert_non_null(strstr(head, "HTTP/1.1 200"));
    }
    AUTO_REPLY struct reply full = call(f, "GET", "/v1/events", NULL, "Accept: text/event-stream");
    assert_int_equal(full.status, 429);
    /* Open streams hold up nothing else: the pool has two threads. */
    for (int i = 0; i < 20; i++)
        assert_int_equal(status_of("GET", "/v1/jobs?limit=1", NULL, NULL), 200);
    for (int i = 0; i < 3; i++)
        raw_close(s[i]);
    wait_for_no_streams();                           /* a client that is gone frees its place */
}

/* A stop ends streams properly. */
static void test_stop(void **state)
{
    (void)state;
    struct fixture *own = fixture_new(true), *kept = f;
    f = own;
    raw_socket s = stream_open("/v1/events", NULL);
    AUTO_FREE char *head = raw_read(s, "retry:", 10000);
    assert_non_null(strstr(head, "200"));
    f = kept;
    fixture_free(own);
    AUTO_FREE char *end = raw_read(s, NULL, 5000);
    assert_true(str_ends(end, "0\r\n\r\n"));
    raw_close(s);
}

static int setup(void **state)
{
    (void)state;
    f = fixture_new(true);
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
        cmocka_unit_test(test_submit), cmocka_unit_test(test_pages), cmocka_unit_test(test_actions), cmocka_unit_test(test_failed_task),
        cmocka_unit_test(test_credentials), cmocka_unit_test(test_event_pages), cmocka_unit_test(test_stream), cmocka_unit_test(test_progress),
        cmocka_unit_test(test_backlog), cmocka_unit_test(test_stream_limit), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

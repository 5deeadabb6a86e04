/* Virtual machines and their console through HTTP, over a hypervisor in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <png.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/tmp.h"

#define VM "/v1/vms/" VM_ID

static struct fixture *f;

static long status_of(const char *method, const char *path, const char *body)
{
    AUTO_REPLY struct reply r = call(f, method, path, body, NULL);
    return r.status;
}

static void test_list_and_power(void **state)
{
    (void)state;
    AUTO_REPLY struct reply list = call(f, "GET", "/v1/vms", NULL, NULL);
    json_t *vm = json_array_get(json_object_get(list.json, "vms"), 0);
    assert_string_equal(json_string_value(json_object_get(vm, "id")), VM_ID);
    assert_string_equal(json_string_value(json_object_get(vm, "state")), "off");
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(vm, "disks"), 0), "format")), "vhd");
    assert_int_equal(status_of("POST", VM "/shutdown", NULL), 409);
    AUTO_REPLY struct reply on = call(f, "POST", VM "/start", NULL, NULL);
    assert_int_equal(on.status, 200);
    assert_string_equal(text_at(&on, "state"), "running");
    assert_string_equal(text_at(&on, "started_at"), "2023-11-14T22:13:20.000Z");
    assert_int_equal(status_of("POST", VM "/reset", NULL), 200);
    assert_int_equal(status_of("POST", VM "/shutdown", NULL), 202);
    AUTO_REPLY struct reply off = call(f, "POST", VM "/stop", NULL, NULL);
    assert_string_equal(text_at(&off, "state"), "off");
    struct fake_vm *v = fake_hv_vm(f->hv, VM_ID);
    assert_int_equal(v->starts, 1);
    assert_int_equal(v->resets, 1);
    assert_int_equal(v->shutdowns, 1);
    assert_int_equal(v->stops, 1);
    assert_int_equal(status_of("POST", "/v1/vms/" NO_ID "/start", NULL), 404);
    f->hv->fail = ERR_VM;
    AUTO_REPLY struct reply failed = call(f, "POST", VM "/reset", NULL, NULL);
    f->hv->fail = ERR_OK;
    assert_int_equal(failed.status, 500);
    assert_string_equal(text_at(&failed, "code"), "vm_failed");
}

/* ---- screen ---- */

struct picture { png_image image; png_bytep rgb; };

static struct picture decode(const struct reply *r)
{
    struct picture p = {.image = {.version = PNG_IMAGE_VERSION}};
    assert_true(png_image_begin_read_from_memory(&p.image, r->body, r->len));
    p.image.format = PNG_FORMAT_RGB;
    p.rgb = malloc(PNG_IMAGE_SIZE(p.image));
    assert_true(png_image_finish_read(&p.image, NULL, p.rgb, 0, NULL));
    return p;
}

static void test_screen(void **state)
{
    (void)state;
    char type[60];
    AUTO_REPLY struct reply full = call(f, "GET", VM "/screen", NULL, NULL);
    assert_string_equal(reply_header_of(&full, "Content-Type", type, sizeof type), "image/png");
    struct picture p = decode(&full);
    assert_int_equal(p.image.width, 720);
    assert_int_equal(p.image.height, 400);
    for (unsigned y = 0; y < 400; y += 57)
        for (unsigned x = 0; x < 720; x += 31) {
            assert_int_equal(p.rgb[(y * 720 + x) * 3], x * 255 / 720);
            assert_int_equal(p.rgb[(y * 720 + x) * 3 + 1], y * 255 / 400);
            assert_int_equal(p.rgb[(y * 720 + x) * 3 + 2], 7);
        }
    free(p.rgb);
    static const unsigned widths[] = {16, 90, 719, 720, 1440, 4096};
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        char path[100];
        snprintf(path, sizeof path, VM "/screen?width=%u", widths[i]);
        AUTO_REPLY struct reply r = call(f, "GET", path, NULL, NULL);
        p = decode(&r);
        unsigned h = (widths[i] * 400 + 360) / 720;
        assert_int_equal(p.image.width, widths[i]);
        assert_int_equal(p.image.height, h);
        /* the middle of the gradient stays the middle */
        unsigned char *middle = p.rgb + ((size_t)(h / 2) * widths[i] + widths[i] / 2) * 3;
        assert_in_range(middle[0], 119, 136);
        assert_in_range(middle[1], 110, 145);
        free(p.rgb);
    }
    AUTO_REPLY struct reply text = call(f, "GET", VM "/screen", NULL, "Accept: text/plain");
    assert_string_equal(reply_header_of(&text, "Content-Type", type, sizeof type), "text/plain; charset=utf-8");
    assert_non_null(strstr(text.body, "emergency mode"));
    AUTO_REPLY struct reply both = call(f, "GET", VM "/screen", NULL, "Accept: text/plain;q=0.5, image/*");
    assert_string_equal(reply_header_of(&both, "Content-Type", type, sizeof type), "image/png");
}

/* ---- serial ---- */

static void test_serial(void **state)
{
    (void)state;
    static const char bytes[] = "boot\r\n\x00\xFF\xC3\xA4";
    char number[40];
    fake_hv_say(f->hv, VM_ID, bytes, sizeof bytes - 1);
    AUTO_REPLY struct reply all = call(f, "GET", VM "/serial", NULL, NULL);
    assert_int_equal(all.status, 200);
    assert_int_equal(all.len, sizeof bytes - 1);
    assert_memory_equal(all.body, bytes, sizeof bytes - 1);
    assert_string_equal(reply_header_of(&all, "Vmrecover-Next-After", number, sizeof number), "10");
    AUTO_REPLY struct reply rest = call(f, "GET", VM "/serial?after=4", NULL, NULL);
    assert_int_equal(rest.len, 6);
    AUTO_REPLY struct reply none = call(f, "GET", VM "/serial?after=99", NULL, NULL);
    assert_int_equal(none.status, 200);
    assert_int_equal(none.len, 0);

    AUTO_REPLY struct reply typed = call(f, "POST", VM "/serial", "root\n\x03", "Content-Type: text/plain");
    assert_int_equal(typed.status, 200);
    AUTO_REPLY struct reply json = call(f, "POST", VM "/serial", "{\"text\":\"x\\r\"}", NULL);
    assert_int_equal(json_integer_value(json_object_get(json.json, "bytes_sent")), 2);
    assert_string_equal(fake_hv_vm(f->hv, VM_ID)->typed.data, "root\n\x03x\r");
    AUTO_REPLY struct reply bad = call(f, "POST", VM "/serial", "{\"txt\":\"x\"}", NULL);
    assert_int_equal(bad.status, 400);
    assert_int_equal(status_of("POST", VM "/serial", NULL), 400);

    AUTO_FREE char *request = str_printf("GET " VM "/serial?after=8 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
                                         "Accept: text/event-stream\r\n\r\n", f->token);
    raw_socket s = raw_open(f, request);
    AUTO_FREE char *first = raw_read(s, "\"after\":10", 10000);
    assert_non_null(strstr(first, "id: 10\nevent: serial\ndata: {\"after\":10,\"text\":\"\xC3\xA4\"}"));
    /* a character that comes in two parts is told whole */
    fake_hv_say(f->hv, VM_ID, "a\xE2\x82", 3);
    AUTO_FREE char *second = raw_read(s, "\"after\":11", 10000);
    assert_non_null(strstr(second, "\"text\":\"a\""));
    fake_hv_say(f->hv, VM_ID, "\xAC", 1);
    AUTO_FREE char *third = raw_read(s, "\"after\":14", 10000);
    assert_non_null(strstr(third, "\"text\":\"\xE2\x82\xAC\""));
    raw_close(s);
}

/* ---- keys ---- */

static void expect_keys(const char *want)
{
    AUTO_FREE char *keys = fake_hv_keys(f->hv, VM_ID);
    assert_string_equal(keys, want);
    strbuf_reset(&fake_hv_vm(f->hv, VM_ID)->keys);
}

static void test_keys(void **state)
{
    (void)state;
    int64_t start = clock_mono_ms();
    AUTO_REPLY struct reply r = call(f, "POST", VM "/keys",
        "{\"sequence\":[{\"press\":[\"ControlLeft\",\"AltLeft\",\"Delete\"]},{\"press\":[\"F8\"],\"repeat\":3,\"interval_ms\":10},"
        "{\"text\":\"aB\\n\"},{\"wait_ms\":200}]}", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(json_integer_value(json_object_get(r.json, "keys_sent")), 7);
    assert_true(clock_mono_ms() - start >= 200);
    expect_keys("ControlLeft+AltLeft+Delete F8 F8 F8 KeyA ShiftLeft+KeyB Enter ");
}

static void test_bad_keys(void **state)
{
    (void)state;
    static const struct { const char *body, *code, *field; } rows[] = {
        {"{}", "missing_field", "/sequence"},
        {"{\"sequence\":[]}", "invalid_value", "/sequence"},
        {"{\"sequence\":{}}", "invalid_type", "/sequence"},
        {"{\"sequence\":[{\"text\":\"a\"}],\"x\":1}", "unknown_field", "/x"},
        {"{\"sequence\":[7]}", "invalid_type", "/sequence/0"},
        {"{\"sequence\":[{}]}", "missing_field", "/sequence/0"},
        {"{\"sequence\":[{\"text\":\"a\"},{\"press\":[\"KeyA\",\"Bogus\"]}]}", "invalid_value", "/sequence/1/press/1"},
        {"{\"sequence\":[{\"press\":[\"KeyA\",7]}]}", "invalid_type", "/sequence/0/press/1"},
        {"{\"sequence\":[{\"press\":[\"KeyA\",\"KeyA\"]}]}", "invalid_value", "/sequence/0/press/1"},
        {"{\"sequence\":[{\"press\":[]}]}", "invalid_value", "/sequence/0/press"},
        {"{\"sequence\":[{\"press\":[\"KeyA\"],\"repeat\":0}]}", "invalid_value", "/sequence/0/repeat"},
        {"{\"sequence\":[{\"press\":[\"KeyA\"],\"repeat\":1001}]}", "invalid_value", "/sequence/0/repeat"},
        {"{\"sequence\":[{\"press\":[\"KeyA\"],\"interval_ms\":-1}]}", "invalid_value", "/sequence/0/interval_ms"},
        {"{\"sequence\":[{\"press\":[\"KeyA\"],\"text\":\"a\"}]}", "invalid_value", "/sequence/0"},
        {"{\"sequence\":[{\"text\":\"a\"},{\"text\":\"\xC3\xA4\"}]}", "invalid_value", "/sequence/1/text"},
        {"{\"sequence\":[{\"text\":\"\"}]}", "invalid_value", "/sequence/0/text"},
        {"{\"sequence\":[{\"text\":5}]}", "invalid_type", "/sequence/0/text"},
        {"{\"sequence\":[{\"wait_ms\":60001}]}", "invalid_value", "/sequence/0/wait_ms"},
        {"{\"sequence\":[{\"wait_ms\":1,\"repeat\":2}]}", "unknown_field", "/sequence/0/repeat"},
        {"{\"sequence\":[{\"press\":[\"KeyA\"],\"repeat\":1000,\"interval_ms\":601}]}", "invalid_value", "/sequence"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_REPLY struct reply r = call(f, "POST", VM "/keys", rows[i].body, NULL);
        if (r.status != 400 || strcmp(text_at(&r, "code"), rows[i].code) || strcmp(text_at(&r, "field"), rows[i].field))
            fail_msg("row %zu: %ld %s", i, r.status, r.body);
    }
    expect_keys("");                                 /* not one key of a sequence that is wrong further on */
    assert_int_equal(status_of("POST", "/v1/vms/" NO_ID "/keys", "{\"sequence\":[{\"text\":\"a\"}]}"), 404);
}

static void *post_keys(void *body)
{
    AUTO_REPLY struct reply r = call(f, "POST", VM "/keys", body, NULL);
    return (void *)(intptr_t)r.status;
}

static void wait_for_held(unsigned n)
{
    for (int64_t end = clock_mono_ms() + 30000; fake_hv_held(f->hv) < n; clock_sleep_ms(5))
        if (clock_mono_ms() > end)
            fail_msg("%u of %u calls reached the hypervisor", fake_hv_held(f->hv), n);
}

/* Two calls do not mix, the first comes first, and nothing else waits for them. */
static void test_keys_in_order(void **state)
{
    (void)state;
    static char first[] = "{\"sequence\":[{\"text\":\"aaaaaaaa\",\"interval_ms\":20}]}", second[] = "{\"sequence\":[{\"text\":\"bbbb\"}]}";
    pthread_t t1, t2;
    void *r1, *r2;
    fake_hv_hold(f->hv, true);
    pthread_create(&t1, NULL, post_keys, first);
    wait_for_held(1);
    pthread_create(&t2, NULL, post_keys, second);
    for (int i = 0; i < 10; i++)
        assert_int_equal(status_of("GET", "/v1/jobs?limit=1", NULL), 200);
    clock_sleep_ms(100);                             /* time for the second to do wrong */
    assert_int_equal(fake_hv_held(f->hv), 1);
    fake_hv_hold(f->hv, false);
    pthread_join(t1, &r1);
    pthread_join(t2, &r2);
    assert_int_equal((intptr_t)r1, 200);
    assert_int_equal((intptr_t)r2, 200);
    expect_keys("KeyA KeyA KeyA KeyA KeyA KeyA KeyA KeyA KeyB KeyB KeyB KeyB ");
}

/* A client that leaves takes its sequence with it, and the next is served. */
static void test_keys_client_leaves(void **state)
{
    (void)state;
    static const char body[] = "{\"sequence\":[{\"press\":[\"KeyA\"],\"repeat\":1000,\"interval_ms\":100}]}";
    AUTO_FREE char *request = str_printf("POST " VM "/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
                                         "Content-Length: %zu\r\n\r\n%s", f->token, strlen(body), body);
    raw_socket s = raw_open(f, request);
    for (int i = 0; i < 1000; i++) {
        AUTO_FREE char *keys = fake_hv_keys(f->hv, VM_ID);
        if (*keys)
            break;
        clock_sleep_ms(5);
    }
    raw_close(s);
    int64_t start = clock_mono_ms();
    assert_int_equal(status_of("POST", VM "/keys", "{\"sequence\":[{\"text\":\"b\"}]}"), 200);
    assert_true(clock_mono_ms() - start < 20000);
    AUTO_FREE char *keys = fake_hv_keys(f->hv, VM_ID);
    assert_true(str_ends(keys, "KeyA KeyB "));
    strbuf_reset(&fake_hv_vm(f->hv, VM_ID)->keys);
}

/* A hypervisor that is slow holds up its own requests alone: the pool has two threads. */
static void *post_start(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)status_of("POST", VM "/start", NULL);
}

/* A job goes with its disks unless a VM lies over them. */
static void *delete_job(void *id)
{
    AUTO_FREE char *path = str_printf("/v1/jobs/%s?disks=delete", (char *)id);
    return (void *)(intptr_t)status_of("DELETE", path, NULL);
}

static void hold_up(void *(*fn)(void *), void *arg, int status)
{
    enum { N = 6 };
    pthread_t t[N];
    fake_hv_hold(f->hv, true);
    for (int i = 0; i < N; i++)
        pthread_create(&t[i], NULL, fn, arg);
    wait_for_held(N);
    for (int i = 0; i < 10; i++)
        assert_int_equal(status_of("GET", "/healthz", NULL), 200);
    fake_hv_hold(f->hv, false);
    for (int i = 0; i < N; i++) {
        void *r;
        pthread_join(t[i], &r);
        assert_int_equal((intptr_t)r, status);
    }
}

static void test_slow_hypervisor(void **state)
{
    (void)state;
    AUTO_FREE char *job = fixture_job(f, "slow");
    hold_up(post_start, NULL, 200);
    hold_up(delete_job, job, 202);
    assert_int_equal(status_of("POST", VM "/stop", NULL), 200);
}

/* The daemon stops in the middle of a sequence. */
static void test_stop(void **state)
{
    (void)state;
    struct fixture *own = fixture_new(true), *kept = f;
    fake_hv_add(own->hv, VM_ID, "web01");
    static char body[] = "{\"sequence\":[{\"press\":[\"KeyA\"],\"repeat\":1000,\"interval_ms\":200}]}";
    pthread_t t;
    void *status;
    f = own;
    pthread_create(&t, NULL, post_keys, body);
    for (int i = 0; i < 1000; i++) {
        AUTO_FREE char *keys = fake_hv_keys(f->hv, VM_ID);
        if (*keys)
            break;
        clock_sleep_ms(5);
    }
    int64_t start = clock_mono_ms();
    api_stop(own->api);
    own->api = NULL;
    assert_true(clock_mono_ms() - start < 20000);
    pthread_join(t, &status);
    assert_int_equal((intptr_t)status, 503);
    f = kept;
    fixture_free(own);
}

/* ---- DVD, disks, checkpoints, export ---- */

static void expect_path_refused(const char *method, const char *where, const char *path, int status, const char *code)
{
    AUTO_FREE char *body = str_ends(where, "dvd") || str_ends(where, "export") ? body_of("{s:s}", "path", path)
                                                                               : body_of("{s:s, s:s}", "path", path, "format", "raw");
    AUTO_REPLY struct reply r = call(f, method, where, body, NULL);
    if (r.status != status || strcmp(text_at(&r, "code"), code) || strcmp(text_at(&r, "field"), "/path"))
        fail_msg("%s %s: %ld %s", where, path, r.status, r.body);
}

static void test_files(void **state)
{
    (void)state;
    struct err e;
    char *dir = tmp_make();
    AUTO_FREE char *iso = tmp_path(dir, "a.iso"), *missing = tmp_path(dir, "b.iso"), *disk = tmp_path(dir, "d.img"), *odd = tmp_path(dir, "odd.img"),
                   *token = tmp_path(f->dir, "token"), *link = tmp_path(dir, "link.iso"), *dotted = str_printf("%s/../%s", dir, "b.iso");
    char block[1024] = {0};
    assert_int_equal(os_write_file(iso, "iso", 3, 0, &e), 0);
    assert_int_equal(os_write_file(disk, block, sizeof block, 0, &e), 0);
    assert_int_equal(os_write_file(odd, block, 700, 0, &e), 0);
    bool linked = tmp_symlink(token, link);
    static const char *const wheres[] = {VM "/dvd", VM "/disks/1"};
    for (size_t i = 0; i < ARRAY_LEN(wheres); i++) {
        expect_path_refused("PUT", wheres[i], "relative.iso", 400, "invalid_value");
        expect_path_refused("PUT", wheres[i], missing, 400, "invalid_value");
        expect_path_refused("PUT", wheres[i], dir, 400, "invalid_value");
        expect_path_refused("PUT", wheres[i], tmp_device, 400, "invalid_value");
        expect_path_refused("PUT", wheres[i], token, 400, "invalid_value");
        if (linked)
            expect_path_refused("PUT", wheres[i], link, 400, "invalid_value");
        expect_path_refused("PUT", wheres[i], dotted, 400, "invalid_value");
    }
    expect_path_refused("PUT", VM "/disks/1", odd, 400, "invalid_value");
    AUTO_FREE char *body = body_of("{s:s}", "path", iso), *attach = body_of("{s:s, s:s}", "path", disk, "format", "raw");
    AUTO_REPLY struct reply in = call(f, "PUT", VM "/dvd", body, NULL);
    assert_int_equal(in.status, 200);
    assert_string_equal(text_at(&in, "dvd"), iso);
    AUTO_REPLY struct reply out = call(f, "DELETE", VM "/dvd", NULL, NULL);
    assert_true(json_is_null(json_object_get(out.json, "dvd")));
    AUTO_REPLY struct reply attached = call(f, "PUT", VM "/disks/1", attach, NULL);
    assert_int_equal(attached.status, 200);
    json_t *one = json_array_get(json_object_get(attached.json, "disks"), 1);
    assert_string_equal(json_string_value(json_object_get(one, "path")), disk);
    assert_int_equal(json_integer_value(json_object_get(one, "slot")), 1);
    assert_int_equal(json_integer_value(json_object_get(one, "virtual_size")), 1024);
    assert_true(json_is_true(json_object_get(one, "overlay")));
    AUTO_REPLY struct reply detached = call(f, "DELETE", VM "/disks/1", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(detached.json, "disks")), 1);
    assert_int_equal(status_of("POST", VM "/start", NULL), 200);
    assert_int_equal(status_of("PUT", VM "/disks/1", attach), 409);
    assert_int_equal(status_of("POST", VM "/stop", NULL), 200);
    tmp_remove(dir);
}

static void test_checkpoints(void **state)
{
    (void)state;
    AUTO_REPLY struct reply made = call(f, "POST", VM "/checkpoints", "{\"name\":\"before\"}", NULL);
    assert_int_equal(made.status, 201);
    char location[200];
    assert_non_null(reply_header_of(&made, "Location", location, sizeof location));
    AUTO_REPLY struct reply unnamed = call(f, "POST", VM "/checkpoints", NULL, NULL);
    assert_int_equal(unnamed.status, 201);
    assert_true(text_at(&unnamed, "name")[0]);
    AUTO_REPLY struct reply list = call(f, "GET", VM "/checkpoints", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(list.json, "checkpoints")), 2);
    AUTO_FREE char *restore = str_printf("%s/restore", location);
    assert_int_equal(status_of("POST", restore, NULL), 200);
    assert_int_equal(status_of("DELETE", location, NULL), 204);
    assert_int_equal(status_of("DELETE", location, NULL), 404);
    assert_int_equal(status_of("DELETE", VM "/checkpoints/x", NULL), 404);
    assert_int_equal(status_of("POST", VM "/checkpoints", "{\"name\":\"\"}"), 400);
}

static void test_export(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *id = fixture_job(f, "export"), *path = str_printf("/v1/vms/%s/export", id);
    assert_int_equal(status_of("POST", path, NULL), 404);
    assert_int_equal(job_set_vm(f->db, id, id, 1, &e), 0);
    AUTO_REPLY struct reply gone = call(f, "POST", path, NULL, NULL);
    assert_int_equal(gone.status, 410);
    assert_string_equal(text_at(&gone, "code"), "vm_gone");
    assert_int_equal(job_set_vm(f->db, id, NULL, 0, &e), 0);
    fake_hv_add(f->hv, id, "export");
    assert_int_equal(status_of("POST", path, NULL), 409);        /* the job has no VM yet, says the queue */
    assert_int_equal(job_set_vm(f->db, id, id, 1, &e), 0);
    AUTO_FREE char *taken = tmp_path(f->dir, "exports/x.vhd"), *own = tmp_path(f->dir, "vmrecover2.db"), *nowhere = tmp_path(f->dir, "exports/no/x.vhd");
    assert_int_equal(os_write_file(taken, "x", 1, 0, &e), 0);
    expect_path_refused("POST", path, taken, 409, "wrong_state");
    expect_path_refused("POST", path, own, 400, "invalid_value");
    expect_path_refused("POST", path, nowhere, 400, "invalid_value");
    expect_path_refused("POST", path, "x.vhd", 400, "invalid_value");
    AUTO_REPLY struct reply slot = call(f, "POST", path, "{\"slot\":3}", NULL);
    assert_int_equal(slot.status, 400);
    assert_string_equal(text_at(&slot, "field"), "/slot");
    AUTO_REPLY struct reply r = call(f, "POST", path, "{\"format\":\"vhdx\"}", NULL);
    assert_int_equal(r.status, 202);
    assert_string_equal(text_at(&r, "kind"), "export_vm");
    assert_string_equal(text_at(&r, "state"), "pending");
    json_t *params = json_object_get(r.json, "params");
    AUTO_FREE char *end = str_printf("%s.vhdx", id), *inner = tmp_path("exports", end);
    assert_true(str_ends(json_string_value(json_object_get(params, "path")), inner));
    assert_string_equal(json_string_value(json_object_get(params, "format")), "vhdx");
    assert_int_equal(status_of("POST", path, NULL), 409);        /* one at a time */
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
        cmocka_unit_test(test_list_and_power), cmocka_unit_test(test_screen), cmocka_unit_test(test_serial), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bad_keys), cmocka_unit_test(test_keys_in_order), cmocka_unit_test(test_keys_client_leaves),
        cmocka_unit_test(test_slow_hypervisor), cmocka_unit_test(test_stop), cmocka_unit_test(test_files), cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_export),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

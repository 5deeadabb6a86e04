/* vm.json of the Hyper-V driver, and the log of the serial port: what survives the daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "hyperv/hyperv.h"
#include "hyperv/vmspec.h"
#include "tests/unit/hv_fixture.h"
#include "tests/unit/tmp.h"

#define ID "6f1c0b8e-0d7c-4a9e-8d8a-1d2f3a4b5c6d"
#define MARK "11111111-2222-4333-8444-555555555555"
#define GUID "AABBCCDD-0011-4233-8455-66778899AABB"

static struct hyperv_record make(void)
{
    struct hyperv_record r = {.complete = true, .started_at_ms = 1700000000000, .next_file = 7};
    struct hv_vm_spec s = {.id = str_dup(ID), .job_id = str_dup(ID), .name = str_dup("web\u00e401"), .generation = 2, .memory_mib = 2048, .cpus = 2,
                           .network = str_dup("switch:a b"), .n_disks = 3, .dvd = str_dup("/i/x.iso"), .guest = HV_GUEST_LINUX, .nested = true};
    s.disks[0] = (struct hv_disk){.path = str_dup("/d/os.vhdx"), .format = HV_VHDX, .virtual_size = (uint64_t)127 << 30, .overlay = true};
    s.disks[2] = (struct hv_disk){.path = str_dup("/d/data.vhd"), .format = HV_VHD_DYNAMIC, .virtual_size = 1 << 20};
    r.spec = s;
    r.created = vmspec_json(&s);
    snprintf(r.guid, sizeof r.guid, GUID);
    snprintf(r.mark, sizeof r.mark, MARK);
    snprintf(r.layers[0].top, HYPERV_FILE, "disk0-1.vhdx");
    snprintf(r.layers[0].base, HYPERV_FILE, "base0-2.vhdx");
    r.checkpoints = calloc(HV_CHECKPOINTS_MAX, sizeof *r.checkpoints);
    assert_non_null(r.checkpoints);
    struct err e;
    for (int i = 0; i < 2; i++) {
        struct hyperv_checkpoint *c = &r.checkpoints[r.n_checkpoints++];
        snprintf(c->c.id, sizeof c->c.id, "%s", i ? "22222222-2222-4333-8444-555555555555" : "33333333-2222-4333-8444-555555555555");
        snprintf(c->c.name, sizeof c->c.name, "n\u00e4chster %d", i);
        c->c.created_at_ms = 1700000000001 + i;
        c->c.with_memory = i == 0;
        if (i == 0)
            snprintf(c->instance, sizeof c->instance, "Microsoft:" GUID);
        memcpy(c->layers, r.layers, sizeof r.layers);
        assert_int_equal(hv_vm_spec_copy(&s, &c->spec, &e), 0);
        c->before = calloc(2, sizeof(char *));
        c->before[0] = i ? str_dup("Microsoft:X") : NULL;
    }
    return r;
}

static void equal(const struct hyperv_record *a, const struct hyperv_record *b)
{
    assert_string_equal(a->guid, b->guid);
    assert_string_equal(a->mark, b->mark);
    assert_int_equal(a->complete, b->complete);
    assert_int_equal(a->started_at_ms, b->started_at_ms);
    assert_int_equal(a->next_file, b->next_file);
    assert_memory_equal(a->layers, b->layers, sizeof a->layers);
    json_t *x = vmspec_json(&a->spec), *y = vmspec_json(&b->spec);
    assert_true(json_equal(x, y));
    assert_true(json_equal(a->created, b->created));
    json_decref(x);
    json_decref(y);
    assert_int_equal(a->n_checkpoints, b->n_checkpoints);
    for (size_t i = 0; i < a->n_checkpoints; i++) {
        const struct hyperv_checkpoint *c = &a->checkpoints[i], *d = &b->checkpoints[i];
        assert_string_equal(c->c.id, d->c.id);
        assert_string_equal(c->c.name, d->c.name);
        assert_int_equal(c->c.created_at_ms, d->c.created_at_ms);
        assert_int_equal(c->c.with_memory, d->c.with_memory);
        assert_string_equal(c->instance, d->instance);
        assert_memory_equal(c->layers, d->layers, sizeof c->layers);
        assert_int_equal(c->before && c->before[0], d->before && d->before[0]);
        x = vmspec_json(&c->spec);
        y = vmspec_json(&d->spec);
        assert_true(json_equal(x, y));
        json_decref(x);
        json_decref(y);
    }
}

static void round_trip(void **state)
{
    (void)state;
    struct err e;
    char *dir = tmp_make();
    struct hyperv_record r = make(), back = {0}, copy = {0};
    assert_int_equal(hyperv_record_load(dir, &back, &e), -ERR_NOT_FOUND);
    OK(hyperv_record_save(dir, &r, &e));
    OK(hyperv_record_load(dir, &back, &e));
    equal(&r, &back);
    OK(hyperv_record_copy(&back, &copy, &e));
    equal(&back, &copy);
    hyperv_record_drop_checkpoint(&copy, 0);
    assert_int_equal(copy.n_checkpoints, 1);
    assert_string_equal(copy.checkpoints[0].before[0], "Microsoft:X");
    assert_int_equal(back.n_checkpoints, 2);
    char a[HYPERV_FILE], b[HYPERV_FILE];
    hyperv_record_file(&copy, "disk", 3, "vhdx", a);
    hyperv_record_file(&copy, "disk", 3, "vhdx", b);
    assert_string_equal(a, "disk3-8.vhdx");
    assert_string_equal(b, "disk3-9.vhdx");
    hyperv_record_clear(&copy);
    hyperv_record_clear(&copy);
    hyperv_record_clear(&back);
    hyperv_record_clear(&r);
    tmp_remove(dir);
}

/* A record that was tampered with leads nowhere outside of the VM's folder, and a damaged one is refused, not guessed. */
static void damage(void **state)
{
    (void)state;
    static const struct { const char *from, *to; } wrong[] = {
        {"\"version\": 1", "\"version\": 2"}, {"disk0-1.vhdx", "../../x.vhdx"}, {"disk0-1.vhdx", "a\\\\\\\\b.vhdx"}, {"base0-2.vhdx", "C:x.vhdx"},
        {"base0-2.vhdx", ".hidden"}, {GUID "\",\n  \"mark", "not-a-guid\",\n  \"mark"}, {"\"slot\": 0", "\"slot\": 4"}, {"\"generation\": 2", "\"generation\": 3"},
        {"\"format\": \"vhdx\"", "\"format\": \"vmdk\""}, {"\"guest\": \"linux\"", "\"guest\": \"plan9\""}, {"\"checkpoints\"", "\"chekpoints\""},
        {"\"next_file\": 7", "\"next_file\": -1"}, {"{", "["},
    };
    struct err e;
    char *dir = tmp_make(), *path = tmp_path(dir, "vm.json");
    struct hyperv_record r = make(), back;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        AUTO_FREE char *text = NULL;
        size_t n = 0;
        OK(hyperv_record_save(dir, &r, &e));
        OK(os_read_file(path, 1 << 20, &text, &n, &e));
        char *at = strstr(text, wrong[i].from);
        if (!at)
            fail_msg("%s is not in %s", wrong[i].from, text);
        AUTO_FREE char *changed = str_printf("%.*s%s%s", (int)(at - text), text, wrong[i].to, at + strlen(wrong[i].from));
        OK(os_write_file(path, changed, strlen(changed), 0, &e));
        int status = hyperv_record_load(dir, &back, &e);
        if (status == 0)
            fail_msg("taken: %s for %s", wrong[i].to, wrong[i].from);
        assert_true(status != -ERR_NOT_FOUND);
    }
    hyperv_record_clear(&r);
    free(path);
    tmp_remove(dir);
}

/* ---- the serial log ---- */

static void fill(uint8_t *p, size_t n, uint64_t offset)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((offset + i) * 2654435761u >> 13);
}

static void serial_log(void **state)
{
    (void)state;
    enum { CHUNK = 1 << 20, TOTAL = 70 };
    struct err e;
    char *dir = tmp_make(), *log_dir = tmp_path(dir, "serial");
    struct hyperv_log *l = NULL;
    uint8_t *chunk = malloc(CHUNK), *want = malloc(CHUNK);
    size_t n = 0;
    uint64_t size = 1;
    OK(hyperv_log_open(log_dir, &l, &e));
    OK(hyperv_log_read(l, 0, chunk, CHUNK, &n, &size, &e));
    assert_int_equal(n, 0);
    assert_int_equal(size, 0);
    OK(hyperv_log_append(l, "boot", 4, &e));
    for (uint64_t at = 4; at < (uint64_t)TOTAL * CHUNK;) {               /* sizes that do not fit the segments */
        size_t part = at % 3 ? CHUNK - 13 : 77777;
        fill(chunk, part, at);
        OK(hyperv_log_append(l, chunk, part, &e));
        at += part;
        size = at;
    }
    hyperv_log_close(l);
    uint64_t total = size;
    OK(hyperv_log_open(log_dir, &l, &e));                                /* a new daemon goes on where the old one was */
    OK(hyperv_log_append(l, "tail", 4, &e));
    OK(hyperv_log_read(l, total, chunk, CHUNK, &n, &size, &e));
    assert_int_equal(n, 4);
    assert_memory_equal(chunk, "tail", 4);
    assert_int_equal(size, total + 4);
    OK(hyperv_log_read(l, total - CHUNK / 2, chunk, CHUNK / 2, &n, &size, &e));
    assert_int_equal(n, CHUNK / 2);
    fill(want, CHUNK / 2, total - CHUNK / 2);
    assert_memory_equal(chunk, want, CHUNK / 2);
    OK(hyperv_log_read(l, 60 * (uint64_t)CHUNK - 100, chunk, 200, &n, &size, &e));      /* over the border of two segments */
    assert_int_equal(n, 200);
    fill(want, 200, 60 * (uint64_t)CHUNK - 100);
    assert_memory_equal(chunk, want, 200);
    OK(hyperv_log_read(l, 0, chunk, 16, &n, &size, &e));                 /* dropped: zeros */
    assert_int_equal(n, 16);
    memset(want, 0, 16);
    assert_memory_equal(chunk, want, 16);
    OK(hyperv_log_read(l, size + 5, chunk, 16, &n, &size, &e));
    assert_int_equal(n, 0);
    hyperv_log_close(l);
    hyperv_log_close(NULL);
    free(chunk);
    free(want);
    free(log_dir);
    tmp_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(damage), cmocka_unit_test(serial_log)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Screen, keyboard, serial port, heartbeat and shutdown of a VM on the double of Hyper-V. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/clock.h"
#include "hyperv/keys.h"
#include "tests/unit/hyperv_rig.h"

#define WAIT_MS 20000

static struct rig *rig_with(struct dbl_guest guest, bool real_time)
{
    struct dbl_options o = rig_calm();
    o.guest = guest;
    o.real_time = real_time;
    return rig_new(&o);
}

static char *started(struct rig *g, unsigned generation)
{
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    char *id = rig_vm(g, generation, image, HV_VHDX);
    OK(hv_vm_start(g->hv, id, &e));
    return id;
}

static bool has_colours(const struct hv_image *img)
{
    for (size_t i = 3; i < (size_t)img->width * img->height * 3; i += 3)
        if (memcmp(img->rgb, img->rgb + i, 3))
            return true;
    return false;
}

static void screens(void **state)
{
    (void)state;
    static const struct { unsigned width, height; bool black; } modes[] = {{640, 480, false}, {720, 400, false}, {1366, 768, false}, {1024, 768, true}};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct rig *g = rig_with((struct dbl_guest){.width = modes[i].width, .height = modes[i].height, .black = modes[i].black, .boot_ms = 1000}, false);
        struct err e;
        AUTO_FREE char *id = started(g, 1 + (unsigned)(i % 2));
        dbl_pass(g->d, 60000);
        struct hv_image img = {0};
        OK(hv_screen(g->hv, id, &img, &e));
        assert_int_equal(img.width, modes[i].width);
        assert_int_equal(img.height, modes[i].height);
        assert_int_equal(has_colours(&img), !modes[i].black);
        hv_image_clear(&img);
        OK(hv_vm_stop(g->hv, id, &e));
        assert_int_equal(hv_screen(g->hv, id, &img, &e), -ERR_WRONG_STATE);
        rig_free(g);
    }
}

/* What a text becomes, key for key, in the guest's own buffer: in order and complete, at a pace that a slow keyboard takes. */
static void keys(void **state)
{
    (void)state;
    for (int slow = 0; slow < 2; slow++) {
        struct rig *g = rig_with((struct dbl_guest){.slow_keys = slow}, false);
        struct err e;
        AUTO_FREE char *id = started(g, 1);
        static const char text[] = "root\nmount -o remount,rw / && vi \"/etc/fstab\" ~!@#$%^&*()_+|";
        uint8_t want[2048], got[2048];
        size_t n = 0;
        for (const char *p = text; *p; p++) {
            struct hv_chord c;
            assert_true(hv_key_for_char(*p, &c));
            for (size_t k = 0; k < c.n; k++)
                n += hv_key_scancodes(c.codes[k], false, want + n);
            for (size_t k = c.n; k > 0; k--)
                n += hv_key_scancodes(c.codes[k - 1], true, want + n);
            OK(hv_keys(g->hv, id, &c, &e));
        }
        struct hv_chord eight = {.codes = {"ControlRight", "AltRight", "MetaLeft", "ArrowUp", "ArrowLeft", "Home", "PageUp", "Delete"}, .n = 8};
        OK(hv_keys(g->hv, id, &eight, &e));            /* more than one piece */
        for (size_t k = 0; k < 8; k++)
            n += hv_key_scancodes(eight.codes[k], false, want + n);
        for (size_t k = 8; k > 0; k--)
            n += hv_key_scancodes(eight.codes[k - 1], true, want + n);
        dbl_pass(g->d, 1000);
        assert_int_equal(dbl_vm_keys(g->d, rig_guid(g, 0), got, sizeof got), n);
        assert_memory_equal(got, want, n);
        rig_free(g);
    }
}

/* A chord that fails in the middle leaves no key down. */
static void keys_fail(void **state)
{
    (void)state;
    struct rig *g = rig_with((struct dbl_guest){.boot_ms = 1}, false);
    struct err e;
    AUTO_FREE char *id = started(g, 2);
    struct hv_chord eight = {.codes = {"ControlRight", "AltRight", "MetaLeft", "ArrowUp", "ArrowLeft", "Home", "PageUp", "Delete"}, .n = 8};
    struct dbl_fault f = {.kind = DBL_HRESULT, .code = 0x80041004, .at = 2, .method = "TypeScancodes"};
    dbl_fault_add(g->d, &f);
    assert_true(hv_keys(g->hv, id, &eight, &e) < 0);
    assert_string_equal(e.upstream.code, "0x80041004");
    uint8_t got[128], down[256] = {0};
    size_t n = dbl_vm_keys(g->d, rig_guid(g, 0), got, sizeof got);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        if (got[i] >= 0xE0)
            continue;
        down[got[i] & 0x7F] = !(got[i] & 0x80);
    }
    for (size_t i = 0; i < sizeof down; i++)
        assert_int_equal(down[i], 0);
    rig_free(g);
}

static void wait_serial(struct rig *g, const char *id, const char *want)
{
    struct err e;
    for (int64_t until = clock_mono_ms() + WAIT_MS;; clock_sleep_ms(5)) {
        char buf[1024] = "";
        size_t n = 0;
        uint64_t size = 0;
        OK(hv_serial_read(g->hv, id, 0, buf, sizeof buf - 1, &n, &size, &e));
        assert_int_equal(n, size);
        if (n >= strlen(want) || clock_mono_ms() > until) {
            assert_string_equal(buf, want);
            return;
        }
    }
}

static void serial(void **state)
{
    (void)state;
    struct rig *g = rig_with((struct dbl_guest){.echoes_serial = true}, false);
    struct err e;
    AUTO_FREE char *id = started(g, 2);
    const char *guid = rig_guid(g, 0);
    OK(hv_serial_write(g->hv, id, "ls\r", 3, &e));     /* connected by now, and echoed */
    wait_serial(g, id, "ls\r");
    dbl_vm_serial_say(g->d, guid, 0, "login: ", 7);
    wait_serial(g, id, "ls\rlogin: ");
    char heard[16];
    assert_int_equal(dbl_vm_serial_heard(g->d, guid, 0, heard, sizeof heard), 3);
    assert_memory_equal(heard, "ls\r", 3);
    rig_reopen(g);                                     /* a new daemon finds the running VM and its port */
    OK(hv_serial_write(g->hv, id, "x", 1, &e));
    wait_serial(g, id, "ls\rlogin: x");
    OK(hv_vm_stop(g->hv, id, &e));
    assert_int_equal(hv_serial_write(g->hv, id, "x", 1, &e), -ERR_WRONG_STATE);
    OK(hv_vm_start(g->hv, id, &e));
    OK(hv_serial_write(g->hv, id, "y", 1, &e));
    wait_serial(g, id, "ls\rlogin: xy");               /* one log over all starts */
    OK(hv_vm_delete(g->hv, id, &e));
    rig_free(g);
}

static void heartbeat_and_shutdown(void **state)
{
    (void)state;
    struct rig *g = rig_with((struct dbl_guest){.boot_ms = 30000, .shutdown_ms = 5000}, false);
    struct err e;
    AUTO_FREE char *id = started(g, 2);
    AUTO(hv_vm_free_ptr) struct hv_vm *early = NULL, *late = NULL;
    OK(hv_vm_get(g->hv, id, &early, &e));
    assert_false(early->guest_alive);
    assert_int_equal(hv_vm_shutdown(g->hv, id, &e), -ERR_WRONG_STATE);   /* it has not booted yet */
    assert_true(e.hint[0]);
    dbl_pass(g->d, 60000);
    OK(hv_vm_get(g->hv, id, &late, &e));
    assert_true(late->guest_alive);
    assert_true(late->started_at_ms > 0);
    struct hv_vm **list = NULL;
    size_t n = 0;
    OK(hv_vm_list(g->hv, &list, &n, &e));
    assert_true(n == 1 && list[0]->guest_alive);
    hv_vm_list_free(list, n);
    OK(hv_vm_shutdown(g->hv, id, &e));
    dbl_pass(g->d, 60000);
    assert_int_equal(rig_state(g, id, NULL), HV_OFF);
    assert_int_equal(hv_vm_shutdown(g->hv, id, &e), -ERR_WRONG_STATE);
    rig_free(g);
}

static void guests_without_services(void **state)
{
    (void)state;
    struct rig *g = rig_with((struct dbl_guest){.no_services = true}, false);
    struct err e;
    AUTO_FREE char *id = started(g, 1);
    dbl_pass(g->d, 600000);
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    OK(hv_vm_get(g->hv, id, &vm, &e));
    assert_false(vm->guest_alive);
    assert_int_equal(hv_vm_shutdown(g->hv, id, &e), -ERR_WRONG_STATE);
    dbl_vm_crash(g->d, rig_guid(g, 0));
    assert_int_equal(rig_state(g, id, NULL), HV_OFF);
    OK(hv_vm_start(g->hv, id, &e));
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(screens), cmocka_unit_test(keys), cmocka_unit_test(keys_fail), cmocka_unit_test(serial), cmocka_unit_test(heartbeat_and_shutdown),
        cmocka_unit_test(guests_without_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

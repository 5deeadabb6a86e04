/* The double's screens, keyboards, serial ports, heartbeat and shutdown. [D] documented, [C] public code, [I] issue, [U] not confirmed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "hyperv/pipe.h"
#include "tests/unit/wmi_kit.h"

static char *running(struct kit *k, char **ret_guid)
{
    char *s = kit_define(k, 1, "c");
    assert_int_equal(kit_state(k, s, 2), 0);
    *ret_guid = kit_guid(k, s);
    return s;
}

static char *component(struct kit *k, const char *class, const char *guid)
{
    AUTO_FREE char *wql = str_printf("SELECT * FROM %s WHERE SystemName='%s'", class, guid);
    return kit_path_of(k, k->hv, wql);
}

static struct said thumbnail(struct kit *k, const char *settings, unsigned w, unsigned h)
{
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "GetVirtualSystemThumbnailImage");
    wmi_put_str(in, "TargetSystem", settings, &k->e);
    wmi_put_uint(in, "WidthPixels", w, &k->e);
    wmi_put_uint(in, "HeightPixels", h, &k->e);
    return kit_exec(k, k->hv, service, "GetVirtualSystemThumbnailImage", in);
}

/* RGB565, width * 2 bytes a row [D]; several heads, one of them 0x0 [I] openvmm #1826; black while firmware starts; off: 32775 or empty [U]. */
static void test_screen(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.guest = {.boot_ms = 10000, .width = 800, .height = 600}});
    AUTO_FREE char *guid = NULL, *s = running(k, &guid);
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_VideoHead WHERE SystemName='%s'", guid);
    struct wmi_rows rows = {0};
    assert_int_equal(wmi_query(k->hv, wql, 10, &k->wait, &rows, &k->e), 0);
    assert_int_equal(rows.n, 2);
    assert_int_equal(wmi_uint(rows.at[0], "CurrentHorizontalResolution", 1) * wmi_uint(rows.at[1], "CurrentHorizontalResolution", 1), 0);
    wmi_rows_clear(&rows);
    for (unsigned late = 0; late < 2; late++) {
        struct said said = thumbnail(k, s, 320, 240);
        struct wmi_value v = {0};
        assert_int_equal(said.value, 0);
        assert_int_equal(wmi_get_value(said.out, "ImageData", &v, &k->e), 0);
        assert_int_equal(v.n, 320 * 240 * 2);
        size_t lit = 0;
        for (size_t i = 0; i < v.n; i++)
            lit += v.bytes[i] != 0;
        assert_int_equal(lit > 0, late);
        wmi_value_clear(&v);
        kit_said_clear(&said);
        dbl_pass(k->d, 20000);
    }
    struct said said = thumbnail(k, s, 0, 240);
    assert_int_equal(said.value, 32773);
    kit_said_clear(&said);
    assert_int_equal(kit_state(k, s, 3), 0);
    said = thumbnail(k, s, 320, 240);
    assert_int_equal(said.value, 32775);
    kit_said_clear(&said);
    AUTO_FREE char *head = component(k, "Msvm_VideoHead", guid);
    assert_null(head);
    kit_free(k);
    k = kit_new(&(struct dbl_options){.choices = DBL_EVER});
    AUTO_FREE char *off = kit_define(k, 1, "off");
    said = thumbnail(k, off, 320, 240);
    struct wmi_value v = {0};
    assert_int_equal(said.value, 0);
    assert_int_equal(wmi_get_value(said.out, "ImageData", &v, &k->e), 0);
    assert_int_equal(v.n, 0);
    wmi_value_clear(&v);
    kit_said_clear(&said);
    kit_free(k);
}

static uint32_t type(struct kit *k, const char *keyboard, const uint8_t *codes, size_t n)
{
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_Keyboard", "TypeScancodes");
    assert_int_equal(wmi_put_bytes(in, "Scancodes", codes, n, &k->e), 0);
    return kit_call(k, k->hv, keyboard, "TypeScancodes", in);
}

/* Keys arrive in order; bursts lose some where the guest is slow [I] packer #5291; off: no keyboard, or 32775 [U]. */
static void test_keyboard(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.guest = {.boot_ms = 100}});
    AUTO_FREE char *guid = NULL, *s = running(k, &guid), *keyboard = component(k, "Msvm_Keyboard", guid);
    uint8_t codes[64], got[64];
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i + 1);
    assert_int_equal(type(k, keyboard, codes, 64), 0);
    assert_int_equal(dbl_vm_keys(k->d, guid, got, sizeof got), 64);
    assert_memory_equal(codes, got, 64);
    assert_int_equal(type(k, keyboard, codes, 0), 32773);
    struct wmi_object *in = NULL;
    assert_int_equal(wmi_method(k->hv, "Msvm_Keyboard", "TypeCtrlAltDel", &k->wait, &in, &k->e), 0);
    assert_null(in);
    assert_int_equal(kit_call(k, k->hv, keyboard, "TypeCtrlAltDel", NULL), 0);
    assert_int_equal(dbl_vm_keys(k->d, guid, got, sizeof got), 8);
    dbl_vm_guest(k->d, guid, &(struct dbl_guest){.boot_ms = 100, .slow_keys = true});
    assert_int_equal(type(k, keyboard, codes, 64), 0);
    assert_int_equal(dbl_vm_keys(k->d, guid, got, sizeof got), 16);
    dbl_pass(k->d, 100);
    for (size_t at = 0; at < 64; at += 16) {
        assert_int_equal(type(k, keyboard, codes + at, 16), 0);
        dbl_pass(k->d, 64);
    }
    assert_int_equal(dbl_vm_keys(k->d, guid, got, sizeof got), 64);
    assert_memory_equal(codes, got, 64);
    assert_int_equal(kit_state(k, s, 3), 0);
    AUTO_FREE char *gone = component(k, "Msvm_Keyboard", guid);
    assert_null(gone);
    kit_free(k);
    k = kit_new(&(struct dbl_options){.choices = DBL_EVER});
    AUTO_FREE char *guid2 = NULL, *s2 = running(k, &guid2), *there = component(k, "Msvm_Keyboard", guid2);
    assert_int_equal(kit_state(k, s2, 3), 0);
    assert_int_equal(type(k, there, codes, 1), 32775);
    kit_free(k);
}

static uint64_t heartbeat(struct kit *k, const char *guid)
{
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_HeartbeatComponent WHERE SystemName='%s'", guid);
    struct wmi_object *o = kit_one(k, k->hv, wql);
    uint64_t u = o ? wmi_uint_at(o, "OperationalStatus", 0, 0) : 0;
    wmi_object_free(o);
    return u;
}

static uint32_t shut_down(struct kit *k, const char *guid)
{
    AUTO_FREE char *component_path = component(k, "Msvm_ShutdownComponent", guid);
    assert_non_null(component_path);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ShutdownComponent", "InitiateShutdown");
    wmi_put_bool(in, "Force", true, &k->e);
    wmi_put_str(in, "Reason", "test", &k->e);
    return kit_call(k, k->hv, component_path, "InitiateShutdown", in);
}

/* Heartbeat 12 until the services answer, then 2; 13 when it hangs [D]. Shutdown: no component when off, 32775 or 32768 while it boots, 0 means
 * accepted: off a while later, or never [C]. */
static void test_services(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.guest = {.boot_ms = 5000, .shutdown_ms = 3000}});
    AUTO_FREE char *guid = NULL, *s = running(k, &guid);
    assert_int_equal(heartbeat(k, guid), 12);
    uint32_t early = shut_down(k, guid);
    assert_true(early == 32775 || early == 32768);
    dbl_pass(k->d, 6000);
    assert_int_equal(heartbeat(k, guid), 2);
    assert_int_equal(shut_down(k, guid), 0);
    assert_int_equal(dbl_vm_state(k->d, guid), 2);
    dbl_pass(k->d, 4000);
    assert_int_equal(dbl_vm_state(k->d, guid), 3);
    assert_int_equal(heartbeat(k, guid), 0);
    AUTO_FREE char *gone = component(k, "Msvm_ShutdownComponent", guid);
    assert_null(gone);
    dbl_vm_guest(k->d, guid, &(struct dbl_guest){.boot_ms = 1000, .ignores_shutdown = true});
    assert_int_equal(kit_state(k, s, 2), 0);
    dbl_pass(k->d, 2000);
    assert_int_equal(shut_down(k, guid), 0);
    dbl_pass(k->d, 3600000);
    assert_int_equal(dbl_vm_state(k->d, guid), 2);
    dbl_vm_guest(k->d, guid, &(struct dbl_guest){.boot_ms = 1000, .hangs = true});
    dbl_pass(k->d, 20000);
    assert_int_equal(heartbeat(k, guid), 13);
    assert_int_equal(shut_down(k, guid), 32768);
    dbl_vm_guest(k->d, guid, &(struct dbl_guest){.no_services = true});
    dbl_pass(k->d, 1000);
    assert_int_equal(heartbeat(k, guid), 12);
    /* GetSummaryInformation tells the same [D]: objects, not text */
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "GetSummaryInformation");
    wmi_put_uints(in, "RequestedInformation", (const uint64_t[]){0, 1, 100, 104}, 4, &k->e);
    struct said said = kit_exec(k, k->hv, service, "GetSummaryInformation", in);
    struct wmi_value v = {0};
    assert_int_equal(wmi_get_value(said.out, "SummaryInformation", &v, &k->e), 0);
    assert_int_equal(v.n, 3);
    bool found = false;
    for (size_t i = 0; i < v.n; i++) {
        AUTO_FREE char *name = wmi_str(v.items[i].o, "Name"), *path = wmi_str(v.items[i].o, "__PATH");
        assert_null(path);
        if (str_ieq(name, guid)) {
            found = true;
            assert_int_equal(wmi_uint(v.items[i].o, "Heartbeat", 0), 12);
            assert_int_equal(wmi_uint(v.items[i].o, "EnabledState", 0), 2);
        }
    }
    assert_true(found);
    wmi_value_clear(&v);
    kit_said_clear(&said);
    kit_free(k);
}

static size_t read_for(struct pipe *p, char *buf, size_t room, unsigned ms)
{
    struct err e;
    size_t n = 0, got;
    int64_t end = clock_mono_ms() + ms;
    while (n < room && clock_mono_ms() < end && pipe_read(p, buf + n, room - n, 50, &got, &e) == 0)
        n += got;
    return n;
}

/* The pipe is there while the VM runs; output without a reader is lost; one client at a time; a bad name is 32773 [C]. */
static void test_serial(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.guest = {.boot_ms = 100}});
    AUTO_FREE char *s = kit_define(k, 2, "serial"), *guid = kit_guid(k, s), *port = kit_device(k, s, "Serial Port", 0);
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, port, &k->wait, &o, &k->e), 0);
    AUTO_FREE char *id = wmi_str(o, "InstanceID"), *pipe_name = str_printf("\\\\.\\pipe\\%s", strrchr(k->tmp, '/') + 1);
    wmi_object_free(o);
    assert_int_equal(kit_modify(k, "Msvm_SerialPortSettingData", (const char *const[]){"InstanceID", id, "Connection", "/dev/ttyS0", NULL}), 32773);
    assert_int_equal(kit_modify(k, "Msvm_SerialPortSettingData", (const char *const[]){"InstanceID", id, "Connection", pipe_name, NULL}), 0);
    struct pipe *p = NULL;
    assert_int_equal(pipe_open(pipe_name, &p, &k->e), -ERR_NOT_FOUND);
    assert_int_equal(kit_state(k, s, 2), 0);
    dbl_vm_serial_say(k->d, guid, 0, "lost", 4);
    assert_int_equal(pipe_open(pipe_name, &p, &k->e), 0);
    char buf[64] = "";
    size_t n = 0;
    for (unsigned tries = 0; tries < 50 && n == 0; tries++) {            /* until the server has taken us */
        dbl_vm_serial_say(k->d, guid, 0, "!", 1);
        n = read_for(p, buf, 1, 100);
    }
    struct pipe *second = NULL;
    assert_int_equal(pipe_open(pipe_name, &second, &k->e), -ERR_BUSY);
    dbl_vm_serial_say(k->d, guid, 0, "login: ", 7);
    for (n = 0; n < sizeof buf - 1 && !strstr(buf, "login: ");)
        n += read_for(p, buf + n, 1, 1000);
    assert_null(strstr(buf, "lost"));
    size_t took;
    assert_int_equal(pipe_write(p, "root\n", 5, 1000, &took, &k->e), 0);
    char heard[16] = "";
    for (n = 0; n < 5;) {
        n += dbl_vm_serial_heard(k->d, guid, 0, heard + n, sizeof heard - n);
        clock_sleep_ms(1);
    }
    assert_string_equal(heard, "root\n");
    assert_int_equal(kit_state(k, s, 11), 0);                            /* a reset makes it anew: busy at first */
    int r;
    while ((r = pipe_read(p, buf, 1, 1000, &n, &k->e)) == 0)
        ;
    assert_int_equal(r, -ERR_EMPTY);
    pipe_close(p);
    bool busy = false;
    while ((r = pipe_open(pipe_name, &p, &k->e)) < 0 && r != -ERR_NOT_FOUND) {
        busy = true;
        clock_sleep_ms(5);
    }
    assert_true(r == 0 && busy);
    assert_int_equal(kit_state(k, s, 3), 0);
    while ((r = pipe_read(p, buf, 1, 1000, &n, &k->e)) == 0)
        ;
    assert_int_equal(r, -ERR_EMPTY);
    pipe_close(p);
    assert_int_equal(pipe_open(pipe_name, &p, &k->e), -ERR_NOT_FOUND);
    /* disconnected: an empty text, or no text */
    assert_int_equal(kit_modify(k, "Msvm_SerialPortSettingData", (const char *const[]){"InstanceID", id, "Connection", "", NULL}), 0);
    assert_int_equal(kit_state(k, s, 2), 0);
    assert_int_equal(pipe_open(pipe_name, &p, &k->e), -ERR_NOT_FOUND);
    kit_free(k);
}

/* States that nobody asked for [D]: only power off leads out of a critical one. A job of somebody else holds changes up (32775). */
static void test_trouble(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.guest = {.boot_ms = 100}});
    AUTO_FREE char *guid = NULL, *s = running(k, &guid);
    dbl_vm_trouble(k->d, guid, 32781, 25);
    assert_int_equal(kit_state(k, s, 2), 32775);
    assert_int_equal(kit_state(k, s, 3), 0);
    assert_int_equal(dbl_vm_state(k->d, guid), 3);
    dbl_vm_job(k->d, guid, 90, 60000);
    assert_int_equal(kit_state(k, s, 2), 32775);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ConcreteJob WHERE JobState<7"), 1);
    dbl_pass(k->d, 61000);
    assert_int_equal(kit_state(k, s, 2), 0);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screen),
        cmocka_unit_test(test_keyboard),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_serial),
        cmocka_unit_test(test_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

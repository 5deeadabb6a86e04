/* The console of a VM: screen, keyboard, serial port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "tests/unit/hv_fixture.h"

static size_t lit_pixels(const struct hv_image *img)
{
    size_t lit = 0;
    for (size_t i = 0; i < (size_t)img->width * img->height; i++)
        lit += img->rgb[i * 3] > 100 && img->rgb[i * 3 + 1] > 100 && img->rgb[i * 3 + 2] > 100;
    return lit;
}

static void screen_shows_the_text(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "Caf\202 \260\333 ready");      /* code page 437 */
    hvt_wait_text(f, id, "Caf\u00e9 \u2591\u2588 ready");
    AUTO_FREE char *text = hvt_text(f, id);
    assert_true(str_starts(text, "Caf\u00e9 \u2591\u2588 ready\n\n"));
    size_t lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 25);

    struct hv_image before = {0}, after = {0};
    OK(hv_screen(f->hv, id, &before, &e));
    assert_int_equal(before.width, 720);
    assert_int_equal(before.height, 400);
    hvt_type(f, id, "MMMMMMMMMM");
    hvt_wait_text(f, id, "readyMMMMMMMMMM");
    OK(hv_screen(f->hv, id, &after, &e));
    assert_true(lit_pixels(&before) > 50);
    assert_true(lit_pixels(&after) > lit_pixels(&before) + 100);        /* ten letters of more than ten pixels each */
    hv_image_clear(&before);
    hv_image_clear(&after);
    assert_int_equal(hvt_state(f, id, NULL), HV_RUNNING);           /* reading the text has not left it stopped */

    hvt_type(f, id, "@");
    int64_t deadline = clock_mono_ms() + HVT_WAIT_MS;
    int r = 0;
    while (r == 0 && clock_mono_ms() < deadline) {
        AUTO_FREE char *t = NULL;
        r = hv_screen_text(f->hv, id, &t, &e);
    }
    assert_int_equal(r, -ERR_UNSUPPORTED);
    OK(hv_screen(f->hv, id, &after, &e));
    assert_int_not_equal(after.width, 720);
    hv_image_clear(&after);
    OK(hv_vm_delete(f->hv, id, &e));
}

static void keys_arrive(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "type:");
    hvt_wait_text(f, id, "type:");
    static const char all[] = "root ABZabz 0123456789 -=[]\\;',./` _+{}|:\"<>?~ #$%^&*()";
    hvt_type(f, id, all);
    hvt_wait_text(f, id, all);

    struct hv_chord shifted = {.codes = {"ShiftRight", "KeyQ"}, .n = 2};
    OK(hv_keys(f->hv, id, &shifted, &e));
    hvt_wait_text(f, id, "*()Q");
    struct hv_chord bad = {.codes = {"KeyA", "Bogus"}, .n = 2};
    assert_int_equal(hv_keys(f->hv, id, &bad, &e), -ERR_VALUE);
    struct hv_chord none = {.n = 0};
    assert_int_equal(hv_keys(f->hv, id, &none, &e), -ERR_VALUE);

    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hv_keys(f->hv, id, &shifted, &e), -ERR_WRONG_STATE);
    struct hv_image img = {0};
    assert_int_equal(hv_screen(f->hv, id, &img, &e), -ERR_WRONG_STATE);
    char *text = NULL;
    assert_int_equal(hv_screen_text(f->hv, id, &text, &e), -ERR_WRONG_STATE);
    OK(hv_vm_delete(f->hv, id, &e));
}

/* Every key that the table knows is one that QEMU knows; F13 to F24 came after 7.2. */
static void keys_known_to_qemu(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "x");
    static const char *const codes[] = {
        "Escape", "F1", "F12", "PrintScreen", "ScrollLock", "Pause", "Backquote", "Backspace", "Insert", "Home", "PageUp", "NumLock",
        "NumpadDivide", "NumpadMultiply", "NumpadSubtract", "NumpadAdd", "NumpadEnter", "NumpadDecimal", "NumpadComma", "NumpadEqual",
        "Numpad0", "Numpad9", "Tab", "CapsLock", "Enter", "ShiftLeft", "IntlBackslash", "ControlLeft", "MetaLeft", "AltLeft", "Space",
        "AltRight", "MetaRight", "ContextMenu", "ControlRight", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Delete", "End", "PageDown",
        "IntlRo", "IntlYen", "KanaMode", "Convert", "NonConvert", "Lang1", "Lang2", "Help"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        struct hv_chord k = {.codes = {codes[i]}, .n = 1};
        int r = hv_keys(f->hv, id, &k, &e);
        if (r < 0)
            fail_msg("%s: %s", codes[i], e.msg);
    }
    struct hv_chord f13 = {.codes = {"F13"}, .n = 1};
    int r = hv_keys(f->hv, id, &f13, &e);
    assert_true(r == 0 || r == -ERR_UNSUPPORTED);
    OK(hv_vm_delete(f->hv, id, &e));
}

/* The whole log so far; heap. */
static char *serial_log(struct hvt *f, const char *id, uint64_t offset)
{
    char buf[4096];
    size_t n = 0;
    uint64_t size = 0;
    struct err e;
    OK(hv_serial_read(f->hv, id, offset, buf, sizeof buf - 1, &n, &size, &e));
    buf[n] = 0;
    assert_true(size >= offset + n || n == 0);
    return str_dup(buf);
}

static void wait_serial(struct hvt *f, const char *id, const char *text)
{
    int64_t deadline = clock_mono_ms() + HVT_WAIT_MS;
    for (;;) {
        AUTO_FREE char *log = serial_log(f, id, 0);
        if (strstr(log, text))
            return;
        if (clock_mono_ms() > deadline)
            fail_msg("'%s' does not appear on the serial port:\n%s", text, log);
        clock_sleep_ms(50);
    }
}

static void serial_echoes(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "serial>");
    wait_serial(f, id, "serial>");
    OK(hv_serial_write(f->hv, id, "hello", 5, &e));
    wait_serial(f, id, "serial>hello");
    hvt_wait_text(f, id, "serial>hello");
    hvt_reopen(f);
    OK(hv_serial_write(f->hv, id, "+again", 6, &e));
    wait_serial(f, id, "serial>hello+again");
    char buf[8];
    size_t n = 0;
    uint64_t size = 0;
    AUTO_FREE char *all = serial_log(f, id, 0);
    uint64_t at = (uint64_t)(strstr(all, "hello") - all);
    OK(hv_serial_read(f->hv, id, at, buf, 5, &n, &size, &e));
    assert_int_equal(n, 5);
    assert_memory_equal(buf, "hello", 5);
    OK(hv_serial_read(f->hv, id, size + 1000, buf, 5, &n, &size, &e));
    assert_int_equal(n, 0);

    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hv_serial_write(f->hv, id, "x", 1, &e), -ERR_WRONG_STATE);
    AUTO_FREE char *kept = serial_log(f, id, 0);
    assert_non_null(strstr(kept, "serial>hello+again"));                /* the log outlives the run */
    OK(hv_vm_start(f->hv, id, &e));
    hvt_wait_text(f, id, "serial>");
    AUTO_FREE char *more = serial_log(f, id, strlen(kept));
    assert_non_null(strstr(more, "serial>"));                           /* and grows by the next */
    OK(hv_vm_delete(f->hv, id, &e));
}

/* Typing into a guest that takes its time ends with the daemon. */
static bool stop_now;
static bool on_stop(void *arg)
{
    (void)arg;
    return __atomic_load_n(&stop_now, __ATOMIC_SEQ_CST);
}

struct hang { int pid; };
static void *hang_and_stop(void *arg)
{
    const struct hang *h = arg;
    clock_sleep_ms(50);
    kill(h->pid, SIGSTOP);
    clock_sleep_ms(300);
    __atomic_store_n(&stop_now, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void typing_ends_with_the_daemon(void **state)
{
    enum { N = 65536 };
    struct hvt *f = *state;
    struct err e;
    struct hv *keep = f->hv;
    pthread_t thread;
    struct hv_config cfg = {.data_dir = f->dir, .accel = "tcg", .scope = "none", .stop = on_stop};
    OK(hv_open(&hv_qemu, &cfg, &f->hv, &e));
    AUTO_FREE char *id = hvt_vm(f, "slow>"), *text = malloc(N);
    memset(text, 'x', N);
    hvt_wait_text(f, id, "slow>");
    struct hang h = {hvt_pid(f, id)};
    assert_int_equal(pthread_create(&thread, NULL, hang_and_stop, &h), 0);
    int r = hv_serial_write(f->hv, id, text, N, &e);
    pthread_join(thread, NULL);
    kill(h.pid, SIGCONT);
    __atomic_store_n(&stop_now, false, __ATOMIC_SEQ_CST);
    assert_int_equal(r, -ERR_CANCELLED);
    OK(hv_vm_delete(f->hv, id, &e));
    hv_close(f->hv);
    f->hv = keep;
}

/* A guest that never stops talking must not fill the host's disk; offsets stay what they were. */
static void serial_log_is_bounded(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct os_stat st;
    AUTO_FREE char *id = hvt_vm(f, "x"), *path = hvt_path(f, "vms/%s/serial.log", id), *chunk = malloc(1 << 20);
    OK(hv_vm_stop(f->hv, id, &e));
    struct os_file *log = NULL;
    memset(chunk, 'y', 1 << 20);
    OK(os_file_open(path, OS_WRITE, &log, &e));
    for (uint64_t i = 0; i < 100; i++)
        OK(os_file_pwrite(log, chunk, 1 << 20, i << 20, &e));
    os_file_close(log);
    hv_tend(f->hv);                                    /* nobody looks at the VM */
    OK(os_stat(path, &st, &e));
    assert_int_equal(st.size, 100 << 20);
    assert_true(st.allocated <= (uint64_t)66 << 20);
    char tail[4];
    size_t n = 0;
    uint64_t size = 0;
    OK(hv_serial_read(f->hv, id, ((uint64_t)100 << 20) - 4, tail, sizeof tail, &n, &size, &e));
    assert_int_equal(n, 4);
    assert_memory_equal(tail, "yyyy", 4);
    assert_int_equal(size, 100 << 20);
    OK(hv_vm_delete(f->hv, id, &e));
}

struct load {
    struct hvt *f;
    const char *id;
    int kind, failed;
};

static void *load_thread(void *arg)
{
    struct load *l = arg;
    struct err e;
    for (int i = 0; i < 15; i++) {
        struct hv_image img = {0};
        AUTO_FREE char *text = NULL;
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        struct hv_chord k = {.codes = {"KeyK"}, .n = 1};
        struct hv_vm **list = NULL;
        size_t n = 0;
        int r = l->kind == 0   ? hv_screen(l->f->hv, l->id, &img, &e)
                : l->kind == 1 ? hv_screen_text(l->f->hv, l->id, &text, &e)
                : l->kind == 2 ? hv_keys(l->f->hv, l->id, &k, &e)
                : l->kind == 3 ? hv_vm_get(l->f->hv, l->id, &vm, &e)
                : l->kind == 4 ? hv_vm_list(l->f->hv, &list, &n, &e)
                               : hv_serial_write(l->f->hv, l->id, "s", 1, &e);
        l->failed += r < 0;
        hv_image_clear(&img);
        hv_vm_list_free(list, n);
    }
    return NULL;
}

static void many_callers(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "busy:");
    hvt_wait_text(f, id, "busy:");
    pthread_t t[6];
    struct load load[6];
    for (int i = 0; i < 6; i++) {
        load[i] = (struct load){.f = f, .id = id, .kind = i};
        assert_int_equal(pthread_create(&t[i], NULL, load_thread, &load[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(load[i].failed, 0);
    }
    int64_t deadline = clock_mono_ms() + HVT_WAIT_MS;
    size_t k = 0, s = 0;
    while ((k != 15 || s != 15) && clock_mono_ms() < deadline) {        /* no key and no byte was lost or doubled */
        AUTO_FREE char *text = hvt_text(f, id);
        k = s = 0;
        const char *from = strstr(text, "busy:") + 5;
        for (const char *p = from; *p; p++) {
            k += *p == 'k';
            s += *p == 's';
        }
        clock_sleep_ms(50);
    }
    assert_int_equal(k, 15);
    assert_int_equal(s, 15);
    OK(hv_vm_delete(f->hv, id, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(screen_shows_the_text), cmocka_unit_test(keys_arrive),  cmocka_unit_test(keys_known_to_qemu),
        cmocka_unit_test(serial_echoes),         cmocka_unit_test(many_callers), cmocka_unit_test(serial_log_is_bounded),
        cmocka_unit_test(typing_ends_with_the_daemon),
    };
    return cmocka_run_group_tests(tests, hvt_setup, hvt_teardown);
}

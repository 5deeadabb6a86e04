/* What the Hyper-V driver asks of a Windows host: files, rights, processor; and the client's end of a serial port's pipe. */
#include <windows.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "common/os_win32.h"
#include "hyperv/hyperv_host_win32.h"
#include "hyperv/pipe.h"
#include "tests/doubles/wmi/core.h"
#include "tests/unit/tmp.h"

static const struct hyperv_host_ops *const host = &hyperv_host_win32;
static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = tmp_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(dir);
    return 0;
}

/* ---- files and rights ---- */

static void attributes(void **state)
{
    (void)state;
    struct hyperv_file f;
    struct err e;
    AUTO_FREE char *path = os_path_join(dir, "disk.vhdx"), *missing = os_path_join(dir, "none.vhdx");
    assert_int_equal(os_write_file(path, "x", 1, 0, &e), 0);
    assert_int_equal(host->file(NULL, path, &f, &e), 0);
    assert_false(f.sparse || f.compressed || f.encrypted || f.recalled);
    assert_true(f.file_system[0] != 0);
    assert_int_equal(host->file(NULL, dir, &f, &e), 0);
    assert_int_equal(host->file(NULL, missing, &f, &e), -ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "none.vhdx"));
    assert_int_equal(host->uncompressed_folder(NULL, dir, &e), 0);
    assert_int_equal(host->uncompressed_folder(NULL, missing, &e), -ERR_NOT_FOUND);
}

/* A restart is due while servicing's key is there. */
static void facts(void **state)
{
    (void)state;
    static const wchar_t pending[] = L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending";
    struct host_facts before = {.build = 7}, during = {0}, after = {0};
    struct hyperv_cpu cpu;
    HKEY key;
    DWORD how;
    assert_true(hyperv_cpu(&cpu));
    host->facts(NULL, &before);
    assert_int_equal(before.build, 7);
    assert_true(before.cpu_known && before.reboot_known && !before.reboot_pending);
    assert_int_equal(before.root, cpu.root);
    assert_int_equal(before.nested, cpu.nested);
    assert_string_equal(before.vendor, cpu.vendor);
    assert_int_equal(RegCreateKeyExW(HKEY_LOCAL_MACHINE, pending, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, &how), ERROR_SUCCESS);
    assert_int_equal(how, REG_CREATED_NEW_KEY);
    RegCloseKey(key);
    host->facts(NULL, &during);
    assert_int_equal(RegDeleteKeyW(HKEY_LOCAL_MACHINE, pending), ERROR_SUCCESS);
    host->facts(NULL, &after);
    assert_true(during.reboot_pending);
    assert_false(after.reboot_pending);
}

/* The account of the first is in an event of Hyper-V's worker, beside the VM's GUID. */
static void accounts(void **state)
{
    (void)state;
    char sid[96];
    struct err e;
    assert_int_equal(hyperv_account_sid("D9E0EB0A-5B37-508E-9173-67E9ADE83ACF", sid, sizeof sid, &e), 0);
    assert_string_equal(sid, "S-1-5-83-1-3655396106-1351506743-3915871121-3476744365");
    assert_int_equal(hyperv_account_sid("00000000-0000-0000-0000-0000000000ff", sid, sizeof sid, &e), 0);
    assert_string_equal(sid, "S-1-5-83-1-0-0-0-4278190080");
    assert_int_equal(hyperv_account_sid(NULL, sid, sizeof sid, &e), 0);
    assert_string_equal(sid, "S-1-5-83-0");
    static const char *const wrong[] = {"", "x", "D9E0EB0A-5B37-508E-9173-67E9ADE83AC", "{D9E0EB0A-5B37-508E-9173-67E9ADE83ACF}",
                                        "D9E0EB0A-5B37-508E-9173-67E9ADE83ACF0"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(hyperv_account_sid(wrong[i], sid, sizeof sid, &e), -ERR_INTERNAL);
}

/* Wine turns access lists into mode bits, so what was granted cannot be read back there; that nothing else changes can. */
static void rights(void **state)
{
    (void)state;
    static const char guid[] = "D9E0EB0A-5B37-508E-9173-67E9ADE83ACF";
    struct err e;
    AUTO_FREE char *path = os_path_join(dir, "granted.vhdx"), *missing = os_path_join(dir, "none.vhdx"), *text = NULL;
    size_t n;
    assert_int_equal(os_write_file(path, "disk", 4, 0, &e), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(host->grant(NULL, path, guid, true, &e), 0);
        assert_int_equal(host->grant(NULL, path, NULL, false, &e), 0);
        assert_int_equal(host->grant(NULL, dir, guid, true, &e), 0);
    }
    assert_int_equal(os_read_file(path, 100, &text, &n, &e), 0);
    assert_string_equal(text, "disk");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(host->revoke(NULL, path, guid, &e), 0);
        assert_int_equal(host->revoke(NULL, dir, guid, &e), 0);
    }
    assert_int_equal(os_write_file(path, "still ours", 10, 0, &e), 0);
    assert_int_equal(host->grant(NULL, missing, guid, true, &e), -ERR_NOT_FOUND);
    assert_int_equal(host->revoke(NULL, missing, guid, &e), 0);
    assert_int_equal(host->grant(NULL, path, "no guid", true, &e), -ERR_INTERNAL);
}

static void processor(void **state)
{
    (void)state;
    struct hyperv_cpu cpu;
    uint64_t total = 0, available = 0;
    unsigned cpus = 0;
    assert_true(hyperv_cpu(&cpu));
    assert_true(cpu.hypervisor || !cpu.root);
    assert_true(!cpu.root || !strcmp(cpu.vendor, "Microsoft Hv"));
    assert_int_equal(host->hypervisor_runs(NULL), cpu.root);
    host->size(NULL, &total, &available, &cpus);
    assert_true(cpus >= 1 && available > 0 && available <= total);
    int64_t began = host->now_ms(NULL);
    host->sleep_ms(NULL, 50);
    assert_true(host->now_ms(NULL) - began >= 45);
}

/* ---- pipes ---- */

static HANDLE serve(const char *name)
{
    AUTO_FREE wchar_t *w = NULL;
    struct err e;
    assert_int_equal(win_utf16(name, &w, &e), 0);
    HANDLE h = CreateNamedPipeW(w, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, NULL);
    assert_true(h != INVALID_HANDLE_VALUE);
    return h;
}

static void pipe_name(char *buf, size_t size)
{
    static unsigned n;
    snprintf(buf, size, PIPE_PREFIX "vmr-test-%lu-%u", (unsigned long)GetCurrentProcessId(), n++);
}

static void pipe_opening(void **state)
{
    (void)state;
    char name[100];
    struct pipe *a = NULL, *b = NULL;
    struct err e;
    pipe_name(name, sizeof name);
    assert_int_equal(pipe_open("C:\\not a pipe", &a, &e), -ERR_VALUE);
    assert_int_equal(pipe_open(PIPE_PREFIX, &a, &e), -ERR_VALUE);
    assert_int_equal(pipe_open(name, &a, &e), -ERR_NOT_FOUND);
    HANDLE h = serve(name);
    assert_int_equal(pipe_open(name, &a, &e), 0);
    assert_int_equal(pipe_open(name, &b, &e), -ERR_BUSY);
    assert_null(b);
    pipe_close(a);
    CloseHandle(h);
    pipe_close(NULL);
}

static void pipe_talk(void **state)
{
    (void)state;
    char name[100], buf[64];
    struct pipe *p = NULL;
    struct err e;
    size_t n;
    DWORD k;
    pipe_name(name, sizeof name);
    HANDLE h = serve(name);
    assert_int_equal(pipe_open(name, &p, &e), 0);
    int64_t began = clock_mono_ms();
    assert_int_equal(pipe_read(p, buf, sizeof buf, 150, &n, &e), 0);             /* nothing comes: gives up in time */
    assert_true(n == 0 && clock_mono_ms() - began >= 140 && clock_mono_ms() - began < 5000);
    assert_true(WriteFile(h, "login: ", 7, &k, NULL));
    assert_int_equal(pipe_read(p, buf, sizeof buf, 5000, &n, &e), 0);
    assert_true(n == 7 && !memcmp(buf, "login: ", 7));
    assert_int_equal(pipe_write(p, "root\n", 5, 5000, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_true(ReadFile(h, buf, sizeof buf, &k, NULL) && k == 5 && !memcmp(buf, "root\n", 5));
    DisconnectNamedPipe(h);
    assert_int_equal(pipe_read(p, buf, sizeof buf, 5000, &n, &e), -ERR_EMPTY);
    assert_int_equal(pipe_write(p, "x", 1, 5000, &n, &e), -ERR_EMPTY);
    pipe_close(p);
    CloseHandle(h);
}

/* A guest that does not read: the writer gives up in time. */
static void pipe_full(void **state)
{
    (void)state;
    char name[100];
    static char much[1 << 20];
    struct pipe *p = NULL;
    struct err e;
    size_t n = 1;
    pipe_name(name, sizeof name);
    HANDLE h = serve(name);
    assert_int_equal(pipe_open(name, &p, &e), 0);
    int64_t began = clock_mono_ms();
    for (int i = 0; n && i < 64; i++)
        assert_int_equal(pipe_write(p, much, sizeof much, 200, &n, &e), 0);
    assert_true(n < sizeof much && clock_mono_ms() - began < 20000);
    pipe_close(p);
    CloseHandle(h);
}

struct talk { struct pipe *p; char got[32]; size_t n; };

static void *reader(void *arg)
{
    struct talk *t = arg;
    struct err e;
    for (int i = 0; i < 50 && t->n < 5; i++) {
        size_t n = 0;
        if (pipe_read(t->p, t->got + t->n, sizeof t->got - t->n, 200, &n, &e) < 0)
            break;
        t->n += n;
    }
    return NULL;
}

/* A read that waits does not keep a write from going out. */
static void pipe_both_ways(void **state)
{
    (void)state;
    char name[100], buf[16];
    struct talk t = {0};
    struct err e;
    pthread_t thread;
    size_t n;
    DWORD k;
    pipe_name(name, sizeof name);
    HANDLE h = serve(name);
    assert_int_equal(pipe_open(name, &t.p, &e), 0);
    assert_int_equal(pthread_create(&thread, NULL, reader, &t), 0);
    clock_sleep_ms(50);
    assert_int_equal(pipe_write(t.p, "ping", 4, 5000, &n, &e), 0);
    assert_int_equal(n, 4);
    assert_true(ReadFile(h, buf, sizeof buf, &k, NULL) && k == 4);
    assert_true(WriteFile(h, "pong!", 5, &k, NULL));
    pthread_join(thread, NULL);
    assert_true(t.n == 5 && !memcmp(t.got, "pong!", 5));
    pipe_close(t.p);
    CloseHandle(h);
}

/* The double's serial port, as end-to-end tests use it. */
static void serial_double(void **state)
{
    (void)state;
    char name[100], buf[64];
    struct pipe *p = NULL;
    struct err e;
    size_t n = 0;
    pipe_name(name, sizeof name);
    for (int round = 0; round < 2; round++) {
        struct serial_port *port = serial_open(name, true);
        assert_non_null(port);
        assert_null(serial_open(name, true));
        serial_say(port, "lost", 4);
        for (int again = 0; again < 2; again++) {          /* a client goes, another comes */
            for (int i = 0; i < 100 && pipe_open(name, &p, &e) < 0; i++)
                clock_sleep_ms(20);
            assert_non_null(p);
            for (int i = 0; i < 100 && n == 0; i++) {
                serial_say(port, "login: ", 7);
                assert_int_equal(pipe_read(p, buf, 7, 50, &n, &e), 0);
            }
            assert_true(n == 7 && !memcmp(buf, "login: ", 7));
            do
                assert_int_equal(pipe_read(p, buf, sizeof buf, 100, &n, &e), 0);
            while (n);
            assert_int_equal(pipe_write(p, "root\n", 5, 5000, &n, &e), 0);
            assert_int_equal(pipe_read(p, buf, sizeof buf, 5000, &n, &e), 0);      /* the echo */
            assert_true(n == 5 && !memcmp(buf, "root\n", 5));
            assert_int_equal(serial_heard(port, buf, sizeof buf), 5);
            if (again)
                break;
            pipe_close(p);
            p = NULL;
            n = 0;
        }
        serial_close(port);
        assert_int_equal(pipe_read(p, buf, sizeof buf, 5000, &n, &e), -ERR_EMPTY);
        pipe_close(p);
        p = NULL;
        n = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes), cmocka_unit_test(facts), cmocka_unit_test(accounts), cmocka_unit_test(rights), cmocka_unit_test(processor),
        cmocka_unit_test(pipe_opening), cmocka_unit_test(pipe_talk), cmocka_unit_test(pipe_full), cmocka_unit_test(pipe_both_ways),
        cmocka_unit_test(serial_double),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* Child processes where Windows differs: the command line, what is inherited, job objects, what is no program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <windows.h>
#include <shellapi.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "common/os_win32.h"
#include "tests/unit/tmp.h"

static char *dir, *self;

static int setup(void **state)
{
    (void)state;
    dir = tmp_make();
    self = tmp_self();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(self);
    tmp_remove(dir);
    return 0;
}

/* ---- the other part: argv is what the C runtime made of the command line ---- */

static int child(int argc, char **argv)
{
    struct err e;
    if (!strcmp(argv[1], "crt")) {
        for (int i = 2; i < argc; i++) {
            for (const char *p = argv[i]; *p; p++)
                printf("%02x", (unsigned char)*p);
            putchar('|');
        }
        return 0;
    }
    if (!strcmp(argv[1], "main")) {                  /* 98: no Unicode */
        int n = argc;
        char **list = argv;
        if (os_main_args(&n, &list, &e) < 0)
            return e.code == ERR_VALUE && strstr(e.msg, "argument") ? 98 : 97;
        puts("a\nb");                                /* not one \r */
        return n == argc ? 0 : 96;
    }
    if (!strcmp(argv[1], "handle")) {                /* is there anything behind this number? */
        HANDLE h = (HANDLE)(uintptr_t)strtoull(argv[2], NULL, 16);
        char byte;
        DWORD got;
        SetLastError(0);
        bool usable = ReadFile(h, &byte, 1, &got, &(OVERLAPPED){0}) && got == 1 && byte == 'S';
        return usable ? 1 : 0;
    }
    if (!strcmp(argv[1], "tree")) {                  /* a child of a child, both sleeping; the ids go to a file */
        int64_t pid = GetCurrentProcessId();
        bool last = argc > 3;
        AUTO_FREE char *path = str_printf("%s%s", argv[2], last ? "2" : "1"), *text = str_printf("%lld", (long long)pid), *own = tmp_self();
        if (os_write_file(path, text, strlen(text), 0, &e) < 0)
            return 1;
        if (last)
            clock_sleep_ms(60000);
        const char *next[] = {own, "tree", argv[2], "last", NULL};
        STARTUPINFOW si = {.cb = sizeof si};
        PROCESS_INFORMATION p;
        AUTO_FREE wchar_t *line = NULL;
        if (win_command_line(next, &line, &e) < 0 || !CreateProcessW(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &si, &p))
            return 2;
        clock_sleep_ms(60000);
        return 0;
    }
    if (!strcmp(argv[1], "caller")) {                /* what os_run starts ends with us, however we end */
        const char *tree[] = {argv[0], "tree", argv[2], NULL};
        AUTO_FREE char *own = tmp_self();
        int status;
        tree[0] = own;
        os_run(&(struct os_exec){.argv = tree}, 60000, 0, NULL, NULL, NULL, &status, &e);
        return 0;
    }
    return 99;
}

/* ---- tests ---- */

/* Made and taken apart again by the system's own function, without a process: many of them. */
static void test_command_line(void **state)
{
    (void)state;
    static const char alphabet[] = "\\\\\\\\\"\"\" \t\n\vab*%^\xC3\xA4";
    AUTO_FREE char *given = os_getenv("VMR_SEED"), *soak = os_getenv("SOAK");
    unsigned long long number = 1;
    if (given)
        assert_true(str_to_u64(given, UINT32_MAX, &number));
    uint32_t seed = (uint32_t)number;
    printf("seed %u\n", seed);
    for (int round = 0; round < (soak ? 200000 : 10000); round++) {
        char words[8][24];
        const char *argv[10] = {"C:\\Program Files\\x y\\a.exe"};
        int n = 1;
        seed = seed * 1664525 + 1013904223;
        for (int count = (int)(seed >> 16) % 9; n <= count; n++) {
            char *word = words[n - 1];
            seed = seed * 1664525 + 1013904223;
            size_t length = (seed >> 16) % 20, k = 0;
            while (k < length) {
                seed = seed * 1664525 + 1013904223;
                size_t at = (seed >> 16) % (sizeof alphabet - 1);
                if ((unsigned char)alphabet[at] >= 0x80) {           /* both bytes of the one letter that has two */
                    memcpy(word + k, "\xC3\xA4", 2);
                    k += 2;
                } else {
                    word[k++] = alphabet[at];
                }
            }
            word[k] = 0;
            argv[n] = word;
        }
        struct err e;
        AUTO_FREE wchar_t *line = NULL;
        int got = 0;
        if (win_command_line(argv, &line, &e) < 0)
            fail_msg("%s", e.msg);
        wchar_t **list = CommandLineToArgvW(line, &got);
        assert_non_null(list);
        assert_int_equal(got, n);
        for (int i = 0; i < n; i++) {
            AUTO_FREE char *word = NULL;
            assert_int_equal(win_utf8(list[i], &word, &e), 0);
            assert_string_equal(word, argv[i]);
        }
        LocalFree(list);
    }
    struct err e;
    wchar_t *line = NULL;
    assert_int_equal(win_command_line((const char *const[]){"a\"b", NULL}, &line, &e), -ERR_VALUE);
    assert_int_equal(win_command_line((const char *const[]){"a", "\xFF", NULL}, &line, &e), -ERR_VALUE);
    AUTO_FREE char *large = calloc(1, 33000);
    memset(large, 'x', 32999);
    assert_int_equal(win_command_line((const char *const[]){"a", large, NULL}, &line, &e), -ERR_TOO_LARGE);
}

/* The C runtime of a program that knows nothing of us. */
static void test_c_runtime(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *out = NULL;
    AUTO_STRBUF struct strbuf want = {0};
    int status;
    const char *argv[] = {self, "crt", "", "a b", "\"", "\\\"", "a\\", "a b\\", "\\\\\"x", "\"\"", "tab\there", "%PATH%", "^&|", "'q'", NULL};
    for (int i = 2; argv[i]; i++) {
        for (const char *p = argv[i]; *p; p++)
            strbuf_addf(&want, "%02x", (unsigned char)*p);
        strbuf_adds(&want, "|");
    }
    assert_int_equal(os_run(&(struct os_exec){.argv = argv}, 60000, 65536, NULL, NULL, &out, &status, &e), 0);
    assert_string_equal(out, want.data);
}

static int run_line(const wchar_t *arguments)
{
    AUTO_FREE wchar_t *line = calloc(2000, sizeof *line), *program = NULL;
    struct err e;
    assert_int_equal(win_utf16(self, &program, &e), 0);
    wcscat(wcscat(wcscat(wcscpy(line, L"\""), program), L"\" "), arguments);
    STARTUPINFOW si = {.cb = sizeof si};
    PROCESS_INFORMATION p;
    DWORD status = 1000;
    assert_true(CreateProcessW(program, line, NULL, NULL, FALSE, CREATE_NO_WINDOW, NULL, NULL, &si, &p));
    assert_int_equal(WaitForSingleObject(p.hProcess, 60000), WAIT_OBJECT_0);
    assert_true(GetExitCodeProcess(p.hProcess, &status));
    CloseHandle(p.hProcess);
    CloseHandle(p.hThread);
    return (int)status;
}

static void test_main(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *out = NULL;
    int status;
    assert_int_equal(run_line(L"main x y"), 0);
    assert_int_equal(run_line(L"main \u5FA9"), 0);
    assert_int_equal(run_line(L"main a\xD800" L"b"), 98);            /* half a character: an error, not another name */
    const char *argv[] = {self, "main", "*", NULL};  /* and nothing is expanded */
    assert_int_equal(os_run(&(struct os_exec){.argv = argv, .cwd = dir}, 60000, 100, NULL, NULL, &out, &status, &e), 0);
    assert_string_equal(out, "a\nb\n");
}

static void test_inherits_nothing(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, "secret"), *log = tmp_path(dir, "log");
    assert_int_equal(os_write_file(path, "S", 1, OS_PRIVATE, &e), 0);
    for (int inheritable = 0; inheritable <= 1; inheritable++) {
        struct os_file *f;
        char number[32];
        int status;
        assert_int_equal(os_file_open(path, OS_READ, &f, &e), 0);
        DWORD flags = 0;
        assert_true(GetHandleInformation((HANDLE)os_file_native(f), &flags));
        assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
        /* even a handle that could be inherited (of a library, say) stays here: the child gets those on its list */
        if (inheritable)
            assert_true(SetHandleInformation((HANDLE)os_file_native(f), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
        snprintf(number, sizeof number, "%llx", (unsigned long long)os_file_native(f));
        const char *argv[] = {self, "handle", number, NULL};
        assert_int_equal(os_run(&(struct os_exec){.argv = argv}, 60000, 100, NULL, NULL, NULL, &status, &e), 0);
        assert_int_equal(status, 0);
        os_file_close(f);
    }
}

static int64_t pid_in(const char *path)
{
    for (int64_t until = clock_mono_ms() + 20000; clock_mono_ms() < until; clock_sleep_ms(20)) {
        struct err e;
        AUTO_FREE char *text = NULL;
        unsigned long long pid;
        if (tmp_exists(path) && os_read_file(path, 32, &text, NULL, &e) == 0 && str_to_u64(text, UINT32_MAX, &pid))
            return (int64_t)pid;
    }
    fail_msg("nobody wrote %s", path);
    return 0;
}

static bool both_are_there(void *arg)
{
    AUTO_FREE char *second = str_printf("%s2", (const char *)arg);
    return tmp_exists(second);
}

static void gone(int64_t pid)
{
    for (int64_t until = clock_mono_ms() + 20000; os_process_alive(pid); clock_sleep_ms(10))
        assert_true(clock_mono_ms() < until);
}

/* Stopped, timed out, or with us: the whole tree ends. */
static void test_trees(void **state)
{
    (void)state;
    struct err e;
    int status;
    AUTO_FREE char *log = tmp_path(dir, "log");
    for (int how = 0; how < 3; how++) {
        AUTO_FREE char *base = str_printf("%s\\pid%d.", dir, how), *first = str_printf("%s1", base), *second = str_printf("%s2", base);
        const char *tree[] = {self, "tree", base, NULL};
        int64_t caller = 0;
        if (how == 0)
            assert_int_equal(os_run(&(struct os_exec){.argv = tree}, 60000, 0, both_are_there, base, NULL, &status, &e), -ERR_CANCELLED);
        else if (how == 1)
            assert_int_equal(os_run(&(struct os_exec){.argv = tree}, 5000, 0, NULL, NULL, NULL, &status, &e), -ERR_TIMEOUT);
        else
            caller = tmp_start(log, (const char *const[]){"caller", base, NULL});
        int64_t a = pid_in(first), b = pid_in(second);
        assert_true(a != b);
        if (how == 2) {
            assert_true(os_process_alive(a) && os_process_alive(b));
            tmp_kill(caller);
        }
        gone(a);
        gone(b);
    }
}

static void test_no_programs(void **state)
{
    (void)state;
    struct err e;
    int status;
    static const char *const names[] = {"x.bat", "x.cmd", "x.BAT", "x.vbs", "x.ps1", "x.txt", "x."};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO_FREE char *path = tmp_path(dir, names[i]);
        if (!str_ends(path, "."))
            assert_int_equal(os_write_file(path, "@echo off\r\n", 11, 0, &e), 0);
        const char *argv[] = {path, "a", NULL};
        assert_int_equal(os_run(&(struct os_exec){.argv = argv}, 5000, 0, NULL, NULL, NULL, &status, &e), -ERR_UNSUPPORTED);
        const char *bare[] = {names[i], NULL};
        assert_int_equal(os_run(&(struct os_exec){.argv = bare}, 5000, 0, NULL, NULL, NULL, &status, &e), -ERR_UNSUPPORTED);
    }
    const char *argv[] = {self, "crt", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = argv, .run_as = "nobody"}, 5000, 0, NULL, NULL, NULL, &status, &e), -ERR_UNSUPPORTED);
    assert_int_equal(os_run(&(struct os_exec){.argv = argv, .run_as = ""}, 60000, 0, NULL, NULL, NULL, &status, &e), 0);
}

/* As the Azure CLI is one: where it is asked for, with arguments that no shell can misread, and never in the place of a program. */
static void test_batch(void **state)
{
    (void)state;
    struct err e;
    int status;
    AUTO_FREE char *path = os_getenv("PATH"), *folder = tmp_path(dir, "a b & (c)"), *odd = tmp_path(dir, "%PATH%"), *out = NULL;
    AUTO_FREE char *tool = os_path_join(folder, "tool.cmd"), *other = os_path_join(odd, "odd.cmd");
    static const char text[] = "@echo off\r\necho [%1] [%2] [%3] [%~n0]\r\necho why 1>&2\r\nexit /b 7\r\n";
    assert_int_equal(os_mkdirs(folder, 0, &e), 0);
    assert_int_equal(os_mkdirs(odd, 0, &e), 0);
    assert_int_equal(os_write_file(tool, text, sizeof text - 1, 0, &e), 0);
    assert_int_equal(os_write_file(other, text, sizeof text - 1, 0, &e), 0);
    AUTO_FREE char *longer = str_printf("%s;%s;%s", folder, odd, path ? path : "");
    assert_true(SetEnvironmentVariableA("PATH", longer));
    const char *argv[] = {"tool", "get-token", "--resource", "https://management.azure.com:443/x_y", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = argv, .maybe_batch = true}, 60000, 1000, NULL, NULL, &out, &status, &e), 0);
    assert_int_equal(status, 7);
    assert_non_null(strstr(out, "[get-token] [--resource] [https://management.azure.com:443/x_y] [tool]"));
    assert_non_null(strstr(out, "why"));
    assert_int_equal(os_run(&(struct os_exec){.argv = argv}, 60000, 1000, NULL, NULL, NULL, &status, &e), -ERR_NOT_FOUND);
    static const char *const unsafe[] = {"a b", "", "a&calc", "%PATH%", "a^b", "\"", "a\"b", "(x)", "a|b", "a>b", "a,b", "a=b", "a;b", "!x!", "\xC3\xA4", "a\nb", "a\\b"};
    for (size_t i = 0; i < ARRAY_LEN(unsafe); i++) {
        const char *bad[] = {"tool", "ok", unsafe[i], NULL};
        if (os_run(&(struct os_exec){.argv = bad, .maybe_batch = true}, 60000, 1000, NULL, NULL, NULL, &status, &e) != -ERR_UNSUPPORTED)
            fail_msg("%s was not refused", unsafe[i]);
    }
    assert_int_equal(os_run(&(struct os_exec){.argv = (const char *const[]){"odd", NULL}, .maybe_batch = true}, 60000, 1000, NULL, NULL, NULL, &status, &e), -ERR_UNSUPPORTED);
    assert_int_equal(os_run(&(struct os_exec){.argv = (const char *const[]){"none", NULL}, .maybe_batch = true}, 60000, 1000, NULL, NULL, NULL, &status, &e), -ERR_NOT_FOUND);
    assert_int_equal(os_run(&(struct os_exec){.argv = (const char *const[]){tool, NULL}, .maybe_batch = true}, 60000, 1000, NULL, NULL, NULL, &status, &e), -ERR_UNSUPPORTED);
    SetEnvironmentVariableA("PATH", path);
}

/* PATH's folders that are named in full, ".exe" or not; never the current folder. */
static void test_search(void **state)
{
    (void)state;
    struct err e;
    int status;
    AUTO_FREE char *bin = tmp_path(dir, "bin \xC3\xA4"), *program = NULL, *text = NULL, *before = os_getenv("PATH"), *cwd = tmp_cwd(), *short_name = NULL;
    size_t n;
    assert_int_equal(os_mkdirs(bin, 0, &e), 0);
    program = tmp_path(bin, "vmrtestprogram.exe");
    assert_int_equal(os_read_file(self, 1u << 30, &text, &n, &e), 0);
    assert_int_equal(os_write_file(program, text, n, 0, &e), 0);
    const char *with[] = {"vmrtestprogram.exe", "crt", NULL}, *without[] = {"vmrtestprogram", "crt", NULL};
    tmp_chdir(bin);
    assert_int_equal(os_run(&(struct os_exec){.argv = without}, 60000, 0, NULL, NULL, NULL, &status, &e), -ERR_NOT_FOUND);
    tmp_setenv("PATH", ".;;bin;C:");
    assert_int_equal(os_run(&(struct os_exec){.argv = without}, 60000, 0, NULL, NULL, NULL, &status, &e), -ERR_NOT_FOUND);
    AUTO_FREE wchar_t *w = NULL;
    AUTO_FREE char *path = str_printf("C:\\nowhere;%s;C:\\windows", bin);
    assert_int_equal(win_utf16(path, &w, &e), 0);
    assert_true(SetEnvironmentVariableW(L"PATH", w));
    tmp_chdir(cwd);
    for (int i = 0; i < 2; i++) {
        status = -1;
        if (os_run(&(struct os_exec){.argv = i ? with : without}, 60000, 0, NULL, NULL, NULL, &status, &e) < 0)
            fail_msg("%s", e.msg);
        assert_int_equal(status, 0);
    }
    short_name = tmp_path(bin, "vmrtestprogram");
    const char *full[] = {short_name, "crt", NULL};
    assert_int_equal(os_run(&(struct os_exec){.argv = full}, 60000, 0, NULL, NULL, NULL, &status, &e), 0);
    tmp_setenv("PATH", before);
}

/* The number that a new handle gets grows when handles are left open. */
static uintptr_t next_handle(void)
{
    HANDLE h = CreateEventW(NULL, FALSE, FALSE, NULL);
    assert_non_null(h);
    CloseHandle(h);
    return (uintptr_t)h;
}

static void test_no_leaks(void **state)
{
    (void)state;
    struct err e;
    struct os_file *f;
    struct os_stat st;
    int status;
    uint64_t bytes;
    AUTO_FREE char *missing = tmp_path(dir, "missing"), *log = tmp_path(dir, "log"), *tree = tmp_path(dir, "tree"), *inner = tmp_path(tree, "a");
    const char *good[] = {self, "crt", NULL}, *none[] = {missing, NULL}, *sleeps[] = {self, "tree", missing, "last", NULL};
    uintptr_t before = 0;
    for (int round = 0; round < 8; round++) {
        if (round == 2)                              /* what is made once is made */
            before = next_handle();
        os_run(&(struct os_exec){.argv = good}, 60000, 100, NULL, NULL, NULL, &status, &e);
        os_run(&(struct os_exec){.argv = none}, 60000, 100, NULL, NULL, NULL, &status, &e);
        os_run(&(struct os_exec){.argv = good, .cwd = missing}, 60000, 100, NULL, NULL, NULL, &status, &e);
        os_run(&(struct os_exec){.argv = sleeps}, 100, 100, NULL, NULL, NULL, &status, &e);
        int64_t pid = tmp_start(log, (const char *const[]){"crt", NULL});
        gone(pid);
        os_process_kill(pid, &e);
        os_file_open(missing, OS_READ, &f, &e);
        os_stat(dir, &st, &e);
        os_stat(missing, &st, &e);
        os_free_space(dir, &bytes, &e);
        free(os_real_path(dir));
        os_mkdirs(inner, OS_PRIVATE, &e);
        os_mkdirs(inner, OS_PRIVATE, &e);
        os_write_file(log, "x", 1, OS_PRIVATE, &e);
        os_rename(missing, log, &e);
        os_remove(missing, &e);
        os_remove_tree(tree, &e);
        os_check_owner(dir, &e);
    }
    assert_in_range(next_handle(), 0, before + 4 * 4);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return child(argc, argv);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_command_line), T(test_c_runtime), T(test_main), T(test_inherits_nothing), T(test_trees), T(test_no_programs), T(test_batch), T(test_search), T(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

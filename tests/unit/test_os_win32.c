/* The platform layer where Windows differs: names, rights, errors, files that others hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <aclapi.h>
#include <pthread.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "common/os_win32.h"
#include "db/db.h"
#include "tests/unit/db_util.h"
#include "tests/unit/tmp.h"

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

/* ---- paths as texts ---- */

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *path, *why; } bad[] = {
        {"", "absolute"}, {"a.vhd", "absolute"}, {"\\a", "absolute"}, {"/a", "absolute"}, {"C:a", "absolute"}, {"C:", "absolute"}, {"1:\\a", "absolute"},
        {"\\\\server", "absolute"}, {"\\\\server\\", "absolute"}, {"\\\\\\share\\a", "absolute"}, {"//server", "absolute"},
        {"\\\\?\\C:\\a", "absolute"}, {"\\\\.\\PhysicalDrive0", "absolute"}, {"//?/C:/a", "absolute"}, {"//./nul", "absolute"}, {"\\??\\C:\\a", "absolute"},
        {"\\\\?\\GLOBALROOT\\Device\\Harddisk0", "absolute"}, {"\\\\?\\UNC\\server\\share\\a", "absolute"},
        {"C:\\a\\..\\b", "'..'"}, {"C:/../b", "'..'"}, {"C:\\a\\..", "'..'"}, {"\\\\server\\share\\..\\x", "'..'"}, {"\\\\..\\share\\x", "'..'"},
        {"C:\\a:b", "any of"}, {"C:\\a\\b.vhd:stream", "any of"}, {"C:\\a::$DATA", "any of"}, {"C:\\C:\\a", "any of"}, {"\\\\server\\c:\\a", "any of"},
        {"C:\\a*", "any of"}, {"C:\\a?", "any of"}, {"C:\\a<b", "any of"}, {"C:\\a>b", "any of"}, {"C:\\a|b", "any of"}, {"C:\\\"a\"", "any of"},
        {"C:\\a\nb", "control"}, {"C:\\a\tb", "control"}, {"C:\\\x01", "control"},
        {"C:\\a.", "ends with"}, {"C:\\a ", "ends with"}, {"C:\\a.\\b", "ends with"}, {"C:\\a \\b", "ends with"}, {"C:\\...\\b", "ends with"}, {"C:\\.\\b", "ends with"},
        {"C:\\CON", "device"}, {"C:\\nul", "device"}, {"C:\\a\\Aux.txt", "device"}, {"C:\\prn\\x", "device"}, {"C:\\com1", "device"}, {"C:\\COM9.vhd", "device"},
        {"C:\\lpt0", "device"}, {"C:\\COM\xC2\xB9", "device"}, {"C:\\LPT\xC2\xB3.x", "device"}, {"C:\\CONIN$", "device"}, {"C:\\conout$", "device"},
        {"C:\\nul .txt", "device"}, {"C:/NUL", "device"}, {"\\\\server\\share\\NUL", "device"}, {"C:\\con.tar.gz", "device"},
        {"\\\\server\\pipe\\x", "pipe"}, {"\\\\.\\pipe\\x", "absolute"}, {"//localhost/PIPE/x", "pipe"}, {"\\\\s\\mailslot\\x", "pipe"}, {"\\\\s\\IPC$\\x", "pipe"},
        {"C:\\\xFF", "UTF-8"}, {"C:\\\xED\xA0\x80", "UTF-8"}, {"C:\\\xC0\xAF", "UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *why = os_path_refuse(bad[i].path);
        if (!why || !strstr(why, bad[i].why))
            fail_msg("%s: %s, expected %s", bad[i].path, why ? why : "accepted", bad[i].why);
        /* what a client may not say, no call opens: but for relative paths, "..", and roots alone */
        wchar_t *w = NULL;
        struct err e;
        bool may = strstr("absolute'..'", bad[i].why) != NULL || strstr(bad[i].path, "\\.\\") || !strcmp(bad[i].why, "pipe");
        if (!may && win_path(bad[i].path, &w, &e) != -ERR_VALUE)
            fail_msg("%s is opened", bad[i].path);
    }
    static const char *const good[] = {
        "C:\\", "c:/", "C:\\a", "C:/a/b.vhd", "D:\\images\\web 01\\disk.vhdx", "\\\\server\\share", "\\\\server\\share\\", "\\\\server\\share\\a.vhd", "//server/share/a",
        "\\\\192.168.0.1\\c$\\a", "C:\\a..b\\c", "C:\\.hidden", "C:\\console", "C:\\nulls", "C:\\com", "C:\\com10", "C:\\lpt1a", "C:\\xcon", "C:\\a con",
        "C:\\\xE5\xBE\xA9\xE6\x97\xA7\\\xF0\x9F\x92\xBE.vhd", "C:\\100%\\a;b,c=d+e [f] {g} (h) 'i' `j` ~k !l @m #n $o ^p &q", "C:\\a\\\\b", "\\\\server\\pipes\\x",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (os_path_refuse(good[i]))
            fail_msg("%s: %s", good[i], os_path_refuse(good[i]));
}

static void test_opened_as(void **state)
{
    (void)state;
    tmp_chdir("C:\\windows\\system32");
    static const struct { const char *path, *as; } rows[] = {
        {"C:\\", "\\\\?\\C:\\"}, {"c:/", "\\\\?\\c:\\"}, {"C:\\a\\b", "\\\\?\\C:\\a\\b"}, {"C:/a//b/", "\\\\?\\C:\\a\\b"}, {"C:\\a\\.\\b\\..\\c", "\\\\?\\C:\\a\\c"},
        {"C:\\..\\..\\a", "\\\\?\\C:\\a"}, {"C:\\a\\..", "\\\\?\\C:\\"}, {"\\\\server\\share", "\\\\?\\UNC\\server\\share\\"},
        {"//server/share/a/../b", "\\\\?\\UNC\\server\\share\\b"}, {"\\\\server\\share\\..\\..\\x", "\\\\?\\UNC\\server\\share\\x"},
        {"a", "\\\\?\\C:\\windows\\system32\\a"}, {"..\\a/b", "\\\\?\\C:\\windows\\a\\b"}, {".", "\\\\?\\C:\\windows\\system32"}, {"..\\..\\..", "\\\\?\\C:\\"},
        {"\\a", "\\\\?\\C:\\a"}, {"/", "\\\\?\\C:\\"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_FREE wchar_t *w = NULL;
        AUTO_FREE char *text = NULL;
        struct err e;
        if (win_path(rows[i].path, &w, &e) < 0 || win_utf8(w, &text, &e) < 0)
            fail_msg("%s: %s", rows[i].path, e.msg);
        if (strcmp(text, rows[i].as))
            fail_msg("%s: %s, expected %s", rows[i].path, text, rows[i].as);
    }
    static const char *const bad[] = {"", "C:a", "\\\\server", "\\\\?\\C:\\a", "\\\\.\\C:", "NUL", "a\\nul", "con", "a:b", "a ", "a.", "a*", "\xFF"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        wchar_t *w = NULL;
        struct err e;
        if (win_path(bad[i], &w, &e) != -ERR_VALUE || !e.msg[0])
            fail_msg("%s is taken", bad[i]);
    }
    AUTO_FREE char *too_long = malloc(40001);
    memset(too_long, 'a', 40000);
    memcpy(too_long, "C:\\", 3);
    for (int i = 100; i < 40000; i += 100)
        too_long[i] = '\\';
    too_long[40000] = 0;
    wchar_t *w;
    struct err e;
    assert_int_equal(win_path(too_long, &w, &e), -ERR_VALUE);
    wchar_t drive[] = L"\\\\?\\C:\\a", share[] = L"\\\\?\\UNC\\server\\share\\a", plain[] = L"C:\\a";
    assert_true(!wcscmp(win_path_plain(drive), L"C:\\a") && !wcscmp(win_path_plain(share), L"\\\\server\\share\\a") && !wcscmp(win_path_plain(plain), L"C:\\a"));
}

static void test_parts(void **state)
{
    (void)state;
    assert_string_equal(os_path_base("C:\\a\\b.vhd"), "b.vhd");
    assert_string_equal(os_path_base("C:/a\\b/c"), "c");
    assert_string_equal(os_path_base("C:x"), "x");
    assert_string_equal(os_path_base("C:\\"), "");
    assert_string_equal(os_path_base("x"), "x");
    const struct { const char *a, *b, *joined; } joins[] = {
        {"C:\\a", "b", "C:\\a\\b"}, {"C:\\a\\", "b", "C:\\a\\b"}, {"C:/a/", "b", "C:/a/b"}, {"C:\\", "b", "C:\\b"}, {"\\\\s\\x", "b", "\\\\s\\x\\b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(joins); i++) {
        AUTO_FREE char *joined = os_path_join(joins[i].a, joins[i].b);
        assert_string_equal(joined, joins[i].joined);
    }
    assert_true(os_path_within("c:\\DATA\\x", "C:\\data"));
    assert_true(os_path_within("C:/data/x", "C:\\data\\"));
    assert_true(os_path_within("C:\\data", "C:\\data"));
    assert_false(os_path_within("C:\\data2", "C:\\data"));
    assert_false(os_path_within("C:\\dat", "C:\\data"));
    assert_false(os_path_within("D:\\data\\x", "C:\\data"));
    AUTO_FREE char *lower = tmp_path(dir, "Case"), *upper = tmp_path(dir, "cASE"), *real = NULL;
    struct err e;
    assert_int_equal(os_mkdirs(lower, 0, &e), 0);
    assert_non_null(real = os_real_path(upper));     /* in the spelling of the file system */
    assert_true(os_path_within(real, lower) && os_path_within(lower, real));
    AUTO_FREE char *slashes = str_dup(lower), *real2 = NULL;
    for (char *p = slashes; *p; p++)
        *p = (char)(*p == '\\' ? '/' : *p);
    assert_non_null(real2 = os_real_path(slashes));
    assert_string_equal(real, real2);
}

/* The spec of a job names the member. */
static void test_spec_fields(void **state)
{
    (void)state;
    static const char *const paths[] = {"/srv/a.vhd", "\\\\\\\\.\\\\PhysicalDrive0", "C:a.vhd", "C:\\\\a.vhd:s", "C:\\\\NUL", "C:\\\\a.vhd.", "C:\\\\x\\\\..\\\\a.vhd"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        AUTO_FREE char *text = str_printf("{\"disks\":[{\"source\":{\"type\":\"file\",\"path\":\"%s\"}}]}", paths[i]);
        AUTO_FREE char *dvd = str_printf("{\"disks\":[{\"source\":{\"type\":\"blank\",\"size\":1048576}}],\"vm\":{\"dvd\":\"%s\"}}", paths[i]);
        struct err e;
        struct spec *s;
        json_t *a = json_loads(text, 0, NULL), *b = json_loads(dvd, 0, NULL);
        assert_true(a && b);
        assert_int_equal(spec_parse(a, &s, &e), -ERR_VALUE);
        assert_string_equal(e.field, "/disks/0/source/path");
        assert_int_equal(spec_parse(b, &s, &e), -ERR_VALUE);
        assert_string_equal(e.field, "/vm/dvd");
        json_decref(a);
        json_decref(b);
    }
}

/* ---- rights ---- */

static void test_private(void **state)
{
    (void)state;
    for (int folder = 0; folder <= 1; folder++) {
        AUTO_FREE char *asked = NULL, *back = NULL;
        PSECURITY_DESCRIPTOR sd = NULL;
        struct err e;
        wchar_t *w = NULL;
        assert_int_equal(win_private_sddl(folder, &asked, &e), 0);
        printf("asked for: %s\n", asked);
        const char *base = folder ? "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)" : "D:P(A;;FA;;;SY)(A;;FA;;;BA)";
        assert_true(str_starts(asked, base));
        const char *rest = asked + strlen(base);
        if (os_is_admin())
            assert_string_equal(rest, "");
        else                                         /* this account, and nobody else */
            assert_true(str_starts(rest, folder ? "(A;OICI;FA;;;S-1-5-" : "(A;;FA;;;S-1-5-") && strchr(rest, ')') == rest + strlen(rest) - 1);
        assert_int_equal(win_private_descriptor(folder, &sd, &e), 0);
        SECURITY_DESCRIPTOR_CONTROL control;
        DWORD revision;
        assert_true(GetSecurityDescriptorControl(sd, &control, &revision));
        assert_true((control & SE_DACL_PRESENT) && (control & SE_DACL_PROTECTED));
        assert_true(ConvertSecurityDescriptorToStringSecurityDescriptorW(sd, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &w, NULL));
        assert_int_equal(win_utf8(w, &back, &e), 0);
        assert_string_equal(back, asked);
        LocalFree(w);
        LocalFree(sd);
    }
}

static void test_owner(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *own = tmp_path(dir, "own"), *foreign = tmp_path(dir, "foreign");
    assert_int_equal(os_mkdirs(own, OS_PRIVATE, &e), 0);
    assert_int_equal(os_check_owner(own, &e), 0);
    assert_int_equal(os_mkdirs(own, OS_PRIVATE, &e), 0);             /* there already, and ours */
    assert_int_equal(os_mkdirs(foreign, 0, &e), 0);
    if (tmp_shell(dir, "chown 54321 foreign") != 0)
        skip();
    assert_int_equal(os_check_owner(foreign, &e), -ERR_PERMISSION);
    assert_non_null(strstr(e.msg, "belongs to"));
    assert_non_null(strstr(e.hint, "takeown"));
    assert_int_equal(os_mkdirs(foreign, OS_PRIVATE, &e), -ERR_PERMISSION);
    assert_int_equal(os_mkdirs(foreign, 0, &e), 0);
}

/* ---- errors ---- */

static void test_errors(void **state)
{
    (void)state;
    static const struct { long code; enum err_code ours; } rows[] = {
        {ERROR_DISK_FULL, ERR_DISK_FULL}, {ERROR_HANDLE_DISK_FULL, ERR_DISK_FULL}, {1295, ERR_DISK_FULL}, {ERROR_FILE_TOO_LARGE, ERR_DISK_FULL},
        {ERROR_ACCESS_DENIED, ERR_PERMISSION}, {ERROR_WRITE_PROTECT, ERR_PERMISSION}, {ERROR_PRIVILEGE_NOT_HELD, ERR_PERMISSION}, {WSAEACCES, ERR_PERMISSION},
        {ERROR_FILE_NOT_FOUND, ERR_NOT_FOUND}, {ERROR_PATH_NOT_FOUND, ERR_NOT_FOUND}, {ERROR_NOT_ENOUGH_MEMORY, ERR_OOM}, {ERROR_COMMITMENT_LIMIT, ERR_OOM},
        {WSAENOBUFS, ERR_OOM}, {ERROR_SHARING_VIOLATION, ERR_IO}, {ERROR_LOCK_VIOLATION, ERR_IO}, {WSAETIMEDOUT, ERR_TIMEOUT}, {WSAECONNREFUSED, ERR_UNREACHABLE},
        {(long)0x80070005, ERR_PERMISSION}, {(long)0x80070070, ERR_DISK_FULL}, {(long)0x8007000E, ERR_OOM}, {(long)0xC03A001A, ERR_OK}, {0, ERR_OK}, {ERROR_CRC, ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (os_error_code(rows[i].code) != rows[i].ours)
            fail_msg("%ld: %s, expected %s", rows[i].code, err_info(os_error_code(rows[i].code))->word, err_info((int)rows[i].ours)->word);
    static const long codes[] = {2, 5, 32, 112, 10061, 1, 87, 99999, (long)0x80070005, (long)0xDEADBEEF};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        char text[160];
        os_error_text(codes[i], text, sizeof text);
        size_t n = strlen(text);
        assert_true(n > 3 && str_is_utf8(text, n) && !strpbrk(text, "\r\n") && text[n - 1] != ' ' && text[n - 1] != '.');
        os_error_text(codes[i], text, 8);            /* cut, not overrun */
        assert_true(strlen(text) <= 7);
    }
    char text[160];
    os_error_text((long)0xDEADBEEF, text, sizeof text);
    assert_string_equal(text, "Windows error 0xDEADBEEF");
}

static void test_texts(void **state)
{
    (void)state;
    struct err e;
    static const char *const good[] = {"", "a", "\xC3\xA4", "\xE5\xBE\xA9", "\xF0\x9F\x92\xBE", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        AUTO_FREE wchar_t *w = NULL;
        AUTO_FREE char *back = NULL;
        assert_int_equal(win_utf16(good[i], &w, &e), 0);
        assert_int_equal(win_utf8(w, &back, &e), 0);
        assert_string_equal(back, good[i]);
    }
    static const char *const bad[] = {"\x80", "\xC3", "\xE5\xBE", "\xED\xA0\x80", "\xC0\x80", "\xF5\x80\x80\x80", "a\xFF"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        wchar_t *w = NULL;
        assert_int_equal(win_utf16(bad[i], &w, &e), -ERR_VALUE);
    }
    char *s = NULL;
    assert_int_equal(win_utf8(L"a\xD800" L"b", &s, &e), -ERR_VALUE);
    assert_int_equal(win_utf8(L"\xDC00", &s, &e), -ERR_VALUE);
    assert_true(SetEnvironmentVariableW(L"VMR_TEST_WIDE", L"\u5FA9\u65E7 \xD83D\xDCBE"));
    AUTO_FREE char *value = os_getenv("VMR_TEST_WIDE");
    assert_string_equal(value, "\xE5\xBE\xA9\xE6\x97\xA7 \xF0\x9F\x92\xBE");
    wchar_t large[5001];
    for (int i = 0; i < 5000; i++)
        large[i] = L'x';
    large[5000] = 0;
    assert_true(SetEnvironmentVariableW(L"VMR_TEST_WIDE", large));
    AUTO_FREE char *longer = os_getenv("VMR_TEST_WIDE");
    assert_int_equal(strlen(longer), 5000);
    SetEnvironmentVariableW(L"VMR_TEST_WIDE", NULL);
}

/* ---- files that others hold ---- */

static HANDLE hold(const char *path, DWORD share)
{
    struct err e;
    AUTO_FREE wchar_t *w = NULL;
    assert_int_equal(win_path(path, &w, &e), 0);
    HANDLE h = CreateFileW(w, GENERIC_READ, share, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(h != INVALID_HANDLE_VALUE);
    return h;
}

static void *let_go(void *arg)
{
    clock_sleep_ms(100);
    CloseHandle(arg);
    return NULL;
}

/* What a scanner holds for a moment is waited for; what is held on is an error that says so, soon. */
static void test_held(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *a = tmp_path(dir, "a"), *b = tmp_path(dir, "b");
    struct os_file *f;
    pthread_t thread;
    for (int what = 0; what < 4; what++) {
        for (int lets_go = 0; lets_go <= 1; lets_go++) {
            assert_int_equal(os_write_file(a, "x", 1, 0, &e), 0);
            assert_int_equal(os_write_file(b, "y", 1, 0, &e), 0);
            HANDLE h = hold(what == 3 ? a : b, what == 0 ? 0 : FILE_SHARE_READ);
            if (lets_go)
                assert_int_equal(pthread_create(&thread, NULL, let_go, h), 0);
            int64_t start = clock_mono_ms();
            int r = what == 0 ? os_file_open(b, OS_READ, &f, &e) : what == 1 ? os_rename(a, b, &e) : what == 2 ? os_remove(b, &e) : os_rename(a, b, &e);
            int64_t ms = clock_mono_ms() - start;
            if (lets_go) {
                pthread_join(thread, NULL);
                if (r < 0)
                    fail_msg("case %d: %s", what, e.msg);
                assert_true(ms >= 50);
                if (what == 0)
                    os_file_close(f);
            } else {
                assert_true(r == -ERR_IO || r == -ERR_PERMISSION);
                assert_true(ms >= 400 && ms < 5000);
                if (what == 0)
                    assert_non_null(strstr(e.hint, "Another program"));
                CloseHandle(h);
            }
        }
    }
}

static void test_folders_in_the_way(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *file = tmp_path(dir, "f"), *folder = tmp_path(dir, "d");
    assert_int_equal(os_write_file(file, "x", 1, 0, &e), 0);
    assert_int_equal(os_mkdirs(folder, 0, &e), 0);
    int64_t start = clock_mono_ms();
    assert_int_equal(os_rename(file, folder, &e), -ERR_IO);
    assert_int_equal(os_remove(folder, &e), -ERR_IO);
    struct os_file *f;
    assert_int_equal(os_file_open(folder, OS_READ, &f, &e), -ERR_IO);
    assert_non_null(strstr(e.msg, "folder"));
    assert_true(clock_mono_ms() - start < 400);      /* nobody will move a folder away: no waiting */
}

static void test_attributes(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *tree = tmp_path(dir, "tree"), *file = tmp_path(dir, "tree/inner/f"), *inner = tmp_path(dir, "tree/inner");
    AUTO_FREE wchar_t *w = NULL, *folder = NULL;
    struct os_file *f;
    char byte = 'x';
    assert_int_equal(os_mkdirs(inner, 0, &e), 0);
    assert_int_equal(os_file_open(file, OS_WRITE | OS_CREATE, &f, &e), 0);
    assert_int_equal(os_file_truncate(f, (uint64_t)6 << 30, &e), 0);
    assert_int_equal(os_file_pwrite(f, &byte, 1, (uint64_t)5 << 30, &e), 0);         /* beyond 32 bits */
    byte = 0;
    assert_int_equal(os_file_pread(f, &byte, 1, (uint64_t)5 << 30, &e), 0);
    assert_int_equal(byte, 'x');
    assert_int_equal(os_file_pread(f, &byte, 1, (uint64_t)6 << 30, &e), -ERR_IO);
    assert_int_equal(os_file_truncate(f, UINT64_MAX, &e), -ERR_DISK_FULL);
    os_file_close(f);
    assert_int_equal(win_path(file, &w, &e), 0);
    assert_int_equal(win_path(inner, &folder, &e), 0);
    tmp_wine_lacks("NTFS compression and encryption: that new folders have neither cannot fail here");
    DWORD bad = FILE_ATTRIBUTE_SPARSE_FILE | FILE_ATTRIBUTE_COMPRESSED | FILE_ATTRIBUTE_ENCRYPTED;
    assert_int_equal(GetFileAttributesW(w) & bad, 0);
    assert_int_equal(GetFileAttributesW(folder) & bad, 0);
    assert_true(SetFileAttributesW(w, FILE_ATTRIBUTE_READONLY));
    assert_int_equal(os_remove_tree(tree, &e), 0);   /* read-only files go too */
    assert_false(tmp_exists(tree));
}

/* A database where paths are longer than 260 characters, WAL and all. */
static void test_long_database(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *deep = str_dup(dir);
    while (strlen(deep) < 400) {
        char *longer = tmp_path(deep, "a-part-of-a-path-that-is-fifty-characters-long-----");
        free(deep);
        deep = longer;
    }
    assert_int_equal(os_mkdirs(deep, OS_PRIVATE, &e), 0);
    AUTO_FREE char *path = tmp_path(deep, "vmrecover.db");
    struct secret_box *box;
    struct db *db;
    assert_int_equal(secret_open(deep, &box, &e), 0);
    if (db_create(path, box, &db, &e) < 0)
        fail_msg("%s", e.msg);
    char id[UUID_LEN];
    make_job(db, NULL, id);
    db_close(db);
    assert_int_equal(db_open(path, box, &db, &e), 0);
    struct job *j;
    assert_int_equal(job_get(db, id, &j, &e), 0);
    job_free(j);
    db_close(db);
    secret_close(box);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_refused), T(test_opened_as), T(test_parts), T(test_spec_fields), T(test_private), T(test_owner), T(test_errors), T(test_texts),
        T(test_held), T(test_folders_in_the_way), T(test_attributes), T(test_long_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

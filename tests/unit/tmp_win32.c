#include "tests/unit/tmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <aclapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/os.h"
#include "common/os_win32.h"
#include "tests/unit/helper_win32.h"

const char tmp_root[] = "C:", tmp_device[] = "C:/NUL";
const long tmp_disk_full = ERROR_DISK_FULL;

char *tmp_base(void)
{
    wchar_t w[MAX_PATH + 1];
    struct err e;
    char *ret = NULL;
    assert_true(GetTempPathW(ARRAY_LEN(w), w) > 0);
    assert_int_equal(win_utf8(w, &ret, &e), 0);
    return ret;
}

char *tmp_cwd(void)
{
    wchar_t w[4096];
    struct err e;
    char *ret = NULL;
    DWORD n = GetCurrentDirectoryW(ARRAY_LEN(w), w);
    assert_in_range(n, 1, ARRAY_LEN(w) - 1);
    assert_int_equal(win_utf8(w, &ret, &e), 0);
    return ret;
}

void tmp_chdir(const char *path)
{
    struct err e;
    AUTO_FREE wchar_t *w = NULL;
    assert_int_equal(win_path(path, &w, &e), 0);
    assert_true(SetCurrentDirectoryW(win_path_plain(w)));
}

char *tmp_self(void)
{
    wchar_t w[4096];
    struct err e;
    char *ret = NULL;
    DWORD n = GetModuleFileNameW(NULL, w, ARRAY_LEN(w));
    assert_in_range(n, 1, ARRAY_LEN(w) - 1);
    assert_int_equal(win_utf8(w, &ret, &e), 0);
    return ret;
}

/* Wine folds access lists into the mode of a file: what can be read back is that nobody else's rights are in the list. */
void tmp_assert_private(const char *path)
{
    struct err e;
    AUTO_FREE wchar_t *w = NULL;
    PSECURITY_DESCRIPTOR sd = NULL;
    PACL acl = NULL;
    tmp_wine_lacks("access lists of files: they become mode bits, so only what is asked for is tested");
    assert_int_equal(win_path(path, &w, &e), 0);
    assert_int_equal(GetNamedSecurityInfoW(w, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, &acl, NULL, &sd), 0);
    BYTE world[SECURITY_MAX_SID_SIZE], users[SECURITY_MAX_SID_SIZE];
    DWORD n = sizeof world, m = sizeof users;
    assert_true(CreateWellKnownSid(WinWorldSid, NULL, world, &n) && CreateWellKnownSid(WinBuiltinUsersSid, NULL, users, &m));
    assert_non_null(acl);
    for (DWORD i = 0; i < acl->AceCount; i++) {
        ACCESS_ALLOWED_ACE *ace;
        assert_true(GetAce(acl, i, (void **)&ace));
        if (ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE && (EqualSid(&ace->SidStart, world) || EqualSid(&ace->SidStart, users)))
            assert_int_equal(ace->Mask & (FILE_READ_DATA | FILE_WRITE_DATA | FILE_APPEND_DATA), 0);
    }
    LocalFree(sd);
}

bool tmp_symlink(const char *target, const char *link)
{
    struct err e;
    AUTO_FREE wchar_t *a = NULL, *b = NULL;
    if (tmp_wine_lacks("symbolic links (CreateSymbolicLink): paths that lead through one"))
        return false;
    assert_int_equal(win_path(target, &a, &e), 0);
    assert_int_equal(win_path(link, &b, &e), 0);
    if (!CreateSymbolicLinkW(b, win_path_plain(a), 0))
        fail_msg("no symbolic link: error %lu", GetLastError());
    return true;
}

int tmp_shell(const char *folder, const char *line)
{
    AUTO_FREE char *status = helper_call("shell", (const char *const[]){folder, line, NULL});
    return atoi(status);
}

char *tmp_outside(const char *path)
{
    return helper_call("path", (const char *const[]){path, NULL});
}

void tmp_setenv(const char *name, const char *value)
{
    assert_true(SetEnvironmentVariableA(name, value) || !value);
}

bool tmp_is_wine(void)
{
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != NULL;
}

bool tmp_wine_lacks(const char *what)
{
    if (tmp_is_wine())
        printf("Wine lacks: %s\n", what);
    return tmp_is_wine();
}

struct os_file *tmp_unsyncable(const char *dir)
{
    struct err e;
    struct os_file *f;
    AUTO_FREE char *path = tmp_path(dir, "unsyncable");
    assert_int_equal(os_write_file(path, "x", 1, 0, &e), 0);
    assert_int_equal(os_file_open(path, OS_READ, &f, &e), 0);        /* FlushFileBuffers wants the right to write */
    return f;
}

/* The drive that the runner has put on a small file system, emptied. It has one size. */
char *tmp_volume(const char *dir, unsigned mib)
{
    (void)dir;
    AUTO_FREE char *volume = os_getenv("VMR_TEST_VOLUME"), *size = os_getenv("VMR_TEST_VOLUME_MIB");
    if (!volume || !size)
        return NULL;
    assert_int_equal(atoi(size), mib);
    return STEAL(volume);
}

void tmp_volume_drop(const char *volume)
{
    if (tmp_shell(volume, "rm -rf ./*") != 0)
        fail_msg("%s cannot be emptied", volume);
}

/* Volumes on Windows: WMI by COM, and what is not WMI. */
#include "common/wmi/wmi_com_win32.h"

#include <aclapi.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "common/os_win32.h"
#include "storage/volume/win.h"

#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

struct win_raw {
    HANDLE h;
    char device[64];
};

/* A device is named as it is: the paths of files go another way (os.h), where no name leads to one. */
static int raw_open(void *arg, const char *device, bool write, struct win_raw **ret, struct err *e)
{
    (void)arg;
    AUTO_FREE wchar_t *w = NULL;
    struct win_raw *r = calloc(1, sizeof *r);
    if (!r)
        return err_oom(e);
    int rc = str_starts(device, WIN_DEVICE) && strlen(device) < sizeof r->device ? win_utf16(device, &w, e) : err_set(e, ERR_INTERNAL, "%.80s is no disk", device);
    if (rc == 0) {
        snprintf(r->device, sizeof r->device, "%s", device);
        r->h = CreateFileW(w, GENERIC_READ | (write ? GENERIC_WRITE : 0), FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                           FILE_FLAG_NO_BUFFERING | (write ? FILE_FLAG_WRITE_THROUGH : 0), NULL);
        if (r->h == INVALID_HANDLE_VALUE)
            rc = err_os(e, ERR_IO, (long)GetLastError(), "cannot open %s", device);
    }
    if (rc < 0) {
        free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

static void raw_close(struct win_raw *r)
{
    if (r)
        CloseHandle(r->h);
    free(r);
}

static int raw_read(struct win_raw *r, void *buf, size_t n, uint64_t offset, struct err *e)
{
    OVERLAPPED at = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
    DWORD got = 0;
    if (!ReadFile(r->h, buf, (DWORD)n, &got, &at))
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot read %s at byte %llu", r->device, (unsigned long long)offset);
    return got == n ? 0 : err_set(e, ERR_IO, "%s ends at byte %llu", r->device, (unsigned long long)(offset + got));
}

static int raw_write(struct win_raw *r, const void *buf, size_t n, uint64_t offset, struct err *e)
{
    OVERLAPPED at = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
    DWORD put = 0;
    if (!WriteFile(r->h, buf, (DWORD)n, &put, &at) || put != n)
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot write to %s at byte %llu", r->device, (unsigned long long)offset);
    return 0;
}

static int read_file(void *arg, const char *volume, const char *name, size_t max, char **ret, size_t *ret_n, struct err *e)
{
    (void)arg;
    AUTO_FREE wchar_t *w = NULL;
    AUTO_FREE char *path = str_printf("%s%s", volume, name), *text = malloc(max + 1);
    int r = path && text ? win_utf16(path, &w, e) : err_oom(e);
    if (r < 0)
        return r;
    AUTO_HANDLE HANDLE h = CreateFileW(w, GENERIC_READ, SHARE_ALL, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    DWORD n = 0;
    if (h == INVALID_HANDLE_VALUE || !ReadFile(h, text, (DWORD)max, &n, NULL))
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot read %s", path);
    text[n] = 0;
    *ret_n = n;
    *ret = STEAL(text);
    return 0;
}

/* Windows lets everybody into the root of a new volume. */
static int close_root(void *arg, const char *path, struct err *e)
{
    (void)arg;
    AUTO_FREE wchar_t *w = NULL;
    AUTO_FREE char *root = str_printf("%s%s", path, str_ends(path, "\\") ? "" : "\\");      /* of the volume, not of the folder it is in */
    PSECURITY_DESCRIPTOR sd = NULL;
    BOOL present = FALSE, defaulted;
    PACL acl = NULL;
    int r = root ? win_path(root, &w, e) : err_oom(e);
    if (r < 0 || (r = win_private_descriptor(true, &sd, e)) < 0)
        return r;
    AUTO_HANDLE HANDLE h = CreateFileW(w, READ_CONTROL | WRITE_DAC, SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    DWORD rc = h == INVALID_HANDLE_VALUE || !GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted)
                   ? GetLastError()
                   : SetSecurityInfo(h, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL);
    LocalFree(sd);
    return rc ? err_os(e, ERR_PERMISSION, (long)rc, "the rights of the volume at %s cannot be closed", path) : 0;
}

static int64_t now_ms(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static void sleep_ms(void *arg, unsigned ms)
{
    (void)arg;
    clock_sleep_ms(ms);
}

static const struct win_ops here = {.raw_open = raw_open, .raw_close = raw_close, .raw_read = raw_read, .raw_write = raw_write, .read_file = read_file,
                                    .close_root = close_root, .now_ms = now_ms, .sleep_ms = sleep_ms};
static char run[UUID_LEN];
static struct win_platform platform = {.wmi = &wmi_com_ops, .ops = &here, .run = run};

static void begin(void)
{
    struct err ignored;
    if (crypto_uuid(run, &ignored) < 0)
        snprintf(run, sizeof run, "%llx", (unsigned long long)GetTickCount64());
}

int volume_open(const struct volume_config *cfg, struct volume_host **ret, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    return win_open_on(&platform, cfg, ret, e);
}

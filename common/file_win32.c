/* Files of os.h. Handles are synchronous and every transfer names its place (OVERLAPPED), so that threads may share one. */
#include "common/os.h"
#include "common/os_win32.h"

#include <string.h>

#define STEP_MAX ((size_t)32 << 20)                   /* of one transfer: larger ones pin too much memory at once */
#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define EPOCH_MS 11644473600000ll
#define LOCK_AT ((uint64_t)1 << 62)                   /* locks of Windows bar reads and writes: one byte that no file has */

struct os_file {
    HANDLE h;
    char name[];                                      /* for messages */
};

static OVERLAPPED place(uint64_t offset)
{
    return (OVERLAPPED){.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
}

static bool is_folder(const wchar_t *path)
{
    DWORD attributes = GetFileAttributesW(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

/* Why an open failed, better than Windows says it. */
static int open_error(const wchar_t *w, const char *path, DWORD error, struct err *e)
{
    if (error == ERROR_ACCESS_DENIED && is_folder(w))
        return err_set(e, ERR_IO, "cannot open %s: it is a folder", path);
    int r = err_os(e, ERR_IO, (long)error, "cannot open %s", path);
    if (error == ERROR_SHARING_VIOLATION)
        err_hint(e, "Another program has the file open (a backup, a virus scanner, a running VM). Close it there and try again.");
    return r;
}

int os_file_open(const char *path, unsigned flags, struct os_file **ret, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    size_t n = strlen(path) + 1;
    AUTO(os_file_close_ptr) struct os_file *f = calloc(1, sizeof *f + n);
    if (!f)
        return err_oom(e);
    memcpy(f->name, path, n);
    SECURITY_ATTRIBUTES sa = {.nLength = sizeof sa};  /* not inherited by child processes */
    if ((flags & OS_PRIVATE) && (r = win_private_descriptor(false, &sa.lpSecurityDescriptor, e)) < 0)
        return r;
    DWORD access = GENERIC_READ | (flags & OS_WRITE ? GENERIC_WRITE : 0);
    /* Emptied by hand below: CREATE_ALWAYS would take a file's attributes away and fails on hidden ones. */
    DWORD how = !(flags & OS_CREATE) ? OPEN_EXISTING : flags & OS_EXCLUSIVE ? CREATE_NEW : OPEN_ALWAYS;
    DWORD error = ERROR_SUCCESS;
    for (unsigned attempt = 0;;) {
        f->h = CreateFileW(w, access, SHARE_ALL, &sa, how, FILE_ATTRIBUTE_NORMAL, NULL);
        error = GetLastError();
        if (f->h != INVALID_HANDLE_VALUE || error != ERROR_SHARING_VIOLATION || !win_try_again(&attempt, error))
            break;
    }
    LocalFree(sa.lpSecurityDescriptor);
    if (f->h == INVALID_HANDLE_VALUE)
        return open_error(w, path, error, e);
    if ((flags & OS_TRUNCATE) && (r = os_file_truncate(f, 0, e)) < 0)
        return r;
    *ret = STEAL(f);
    return 0;
}

void os_file_close(struct os_file *f)
{
    if (!f)
        return;
    win_close(&f->h);
    free(f);
}

const char *os_file_name(const struct os_file *f)
{
    return f->name;
}

int os_file_read_some(struct os_file *f, void *buf, size_t n, uint64_t offset, size_t *ret_n, struct err *e)
{
    size_t got = 0;
    while (got < n) {
        OVERLAPPED at = place(offset + got);
        DWORD k = 0;
        if (!ReadFile(f->h, (char *)buf + got, (DWORD)(n - got < STEP_MAX ? n - got : STEP_MAX), &k, &at)) {
            if (GetLastError() == ERROR_HANDLE_EOF)
                break;
            return err_os(e, ERR_IO, (long)GetLastError(), "cannot read %s at %llu", f->name, (unsigned long long)(offset + got));
        }
        if (k == 0)
            break;
        got += k;
    }
    *ret_n = got;
    return 0;
}

int os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e)
{
    for (size_t done = 0; done < n;) {
        OVERLAPPED at = place(offset + done);
        DWORD k = 0;
        if (!WriteFile(f->h, (const char *)buf + done, (DWORD)(n - done < STEP_MAX ? n - done : STEP_MAX), &k, &at))
            return err_os(e, ERR_IO, (long)GetLastError(), "cannot write %s at %llu", f->name, (unsigned long long)(offset + done));
        if (k == 0)
            return err_set(e, ERR_IO, "cannot write %s at %llu: nothing was taken", f->name, (unsigned long long)(offset + done));
        done += k;
    }
    return 0;
}

int os_file_size(struct os_file *f, uint64_t *ret, struct err *e)
{
    LARGE_INTEGER n;
    if (!GetFileSizeEx(f->h, &n))
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot tell the size of %s", f->name);
    *ret = (uint64_t)n.QuadPart;
    return 0;
}

int os_file_next_data(struct os_file *f, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
    (void)e;
    FILE_ALLOCATED_RANGE_BUFFER ask, found;
    DWORD n = 0;
    *ret_start = *ret_end = limit;
    if (offset >= limit)
        return 0;
    ask.FileOffset.QuadPart = (LONGLONG)offset;
    ask.Length.QuadPart = (LONGLONG)(limit - offset);
    if (!DeviceIoControl(f->h, FSCTL_QUERY_ALLOCATED_RANGES, &ask, sizeof ask, &found, sizeof found, &n, NULL) && GetLastError() != ERROR_MORE_DATA) {
        *ret_start = offset;                          /* a file system without, or a disk */
        return 0;
    }
    if (n < sizeof found)
        return 0;
    uint64_t start = (uint64_t)found.FileOffset.QuadPart, end = start + (uint64_t)found.Length.QuadPart;
    if (start >= limit || end <= offset)
        return 0;
    *ret_start = start > offset ? start : offset;
    *ret_end = end < limit ? end : limit;
    return 0;
}

int os_file_truncate(struct os_file *f, uint64_t size, struct err *e)
{
    FILE_END_OF_FILE_INFO end = {.EndOfFile.QuadPart = (LONGLONG)size};
    if (size > INT64_MAX || !SetFileInformationByHandle(f->h, FileEndOfFileInfo, &end, sizeof end))
        return err_os(e, ERR_IO, size > INT64_MAX ? ERROR_FILE_TOO_LARGE : (long)GetLastError(), "cannot set the size of %s to %llu", f->name,
                      (unsigned long long)size);
    return 0;
}

bool os_files_are_sparse(void)
{
    return false;
}

int os_file_sync(struct os_file *f, struct err *e)
{
    if (!FlushFileBuffers(f->h))
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot flush %s to its disk", f->name);
    return 0;
}

/* Windows has no call for it; its lazy writer begins within a second by itself. */
void os_file_write_behind(struct os_file *f, uint64_t offset, uint64_t n)
{
    (void)f;
    (void)offset;
    (void)n;
}

intptr_t os_file_native(struct os_file *f)
{
    return (intptr_t)f->h;
}

int os_file_lock(struct os_file *f, struct err *e)
{
    OVERLAPPED at = place(LOCK_AT);
    if (LockFileEx(f->h, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at))
        return 0;
    DWORD error = GetLastError();
    if (error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING)
        return err_set(e, ERR_LOCKED, "%s is locked by another process", f->name);
    return err_os(e, ERR_IO, (long)error, "cannot lock %s", f->name);
}

static bool is_missing(DWORD error)
{
    return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND || error == ERROR_INVALID_DRIVE || error == ERROR_DIRECTORY;
}

static int64_t to_ms(FILETIME t)
{
    return (int64_t)((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime) / 10000 - EPOCH_MS;
}

int os_stat(const char *path, struct os_stat *ret, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    *ret = (struct os_stat){0};
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    /* no access asked for: opens what others hold for themselves, and follows links */
    AUTO_HANDLE HANDLE h = CreateFileW(w, FILE_READ_ATTRIBUTES, SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return is_missing(GetLastError()) ? 0 : err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", path);
    BY_HANDLE_FILE_INFORMATION basic;
    FILE_STANDARD_INFO standard;
    if (!GetFileInformationByHandle(h, &basic) || !GetFileInformationByHandleEx(h, FileStandardInfo, &standard, sizeof standard))
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", path);
    bool dir = basic.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY;
    *ret = (struct os_stat){.exists = true, .is_dir = dir, .is_file = !dir && GetFileType(h) == FILE_TYPE_DISK,
                            .size = dir ? 0 : (uint64_t)standard.EndOfFile.QuadPart, .allocated = (uint64_t)standard.AllocationSize.QuadPart,
                            .mtime_ms = to_ms(basic.ftLastWriteTime)};
    return 0;
}

/* ---- names ---- */

/* As POSIX renames: the new name is taken over at once even while somebody has its old file open. Windows knows that from Server 2016 on, on
 * NTFS. Durable by write-through: the change of names is in the log of the file system when the call returns. */
static bool rename_over(const wchar_t *from, const wchar_t *to)
{
    size_t bytes = wcslen(to) * sizeof *to;
    struct { DWORD flags; HANDLE root; DWORD bytes; wchar_t name[]; } *info = calloc(1, sizeof *info + bytes + sizeof *to);
    if (!info)
        return false;
    info->flags = 0x1 | 0x2;                          /* FILE_RENAME_REPLACE_IF_EXISTS | FILE_RENAME_POSIX_SEMANTICS */
    info->bytes = (DWORD)bytes;
    memcpy(info->name, to, bytes);
    AUTO_HANDLE HANDLE h = CreateFileW(from, DELETE | SYNCHRONIZE | FILE_READ_ATTRIBUTES, SHARE_ALL, NULL, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_WRITE_THROUGH, NULL);
    bool done = h != INVALID_HANDLE_VALUE && SetFileInformationByHandle(h, (FILE_INFO_BY_HANDLE_CLASS)22 /* FileRenameInfoEx */, info,
                                                                        (DWORD)(sizeof *info + bytes + sizeof *to));
    free(info);
    return done;
}

int os_rename(const char *from, const char *to, struct err *e)
{
    AUTO_FREE wchar_t *a = NULL, *b = NULL;
    int r = win_path(from, &a, e);
    if (r < 0 || (r = win_path(to, &b, e)) < 0)
        return r;
    DWORD error = ERROR_SUCCESS;
    unsigned attempt = 0;
    do {
        /* the second where the file system does not know the first */
        if (rename_over(a, b) || MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
            return 0;
        error = GetLastError();
        if (is_folder(b))
            return err_set(e, ERR_IO, "cannot rename %s to %s: there is a folder of that name", from, to);
    } while (win_try_again(&attempt, error));
    r = err_os(e, ERR_IO, (long)error, "cannot rename %s to %s", from, to);
    if (error == ERROR_SHARING_VIOLATION)
        err_hint(e, "Another program has one of the two open. Close it there and try again.");
    return r;
}

/* The name goes at once even while the file is open elsewhere (Server 2016 on, NTFS). */
static bool remove_now(const wchar_t *path)
{
    struct { DWORD flags; } info = {0x1 | 0x2};       /* FILE_DISPOSITION_DELETE | FILE_DISPOSITION_POSIX_SEMANTICS */
    AUTO_HANDLE HANDLE h = CreateFileW(path, DELETE, SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    return h != INVALID_HANDLE_VALUE && SetFileInformationByHandle(h, (FILE_INFO_BY_HANDLE_CLASS)21 /* FileDispositionInfoEx */, &info, sizeof info);
}

int os_remove(const char *path, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    DWORD error = ERROR_SUCCESS;
    unsigned attempt = 0;
    do {
        if (remove_now(w) || DeleteFileW(w))
            return 0;
        error = GetLastError();
        if (is_missing(error))
            return 0;
        if (is_folder(w))
            return err_set(e, ERR_IO, "cannot remove %s: it is a folder", path);
    } while (win_try_again(&attempt, error));
    r = err_os(e, ERR_IO, (long)error, "cannot remove %s", path);
    if (error == ERROR_SHARING_VIOLATION)
        err_hint(e, "Another program has the file open (a backup, a running VM). Close it there and try again.");
    return r;
}

/* Folders of os.h. */
#include "common/os.h"
#include "common/os_win32.h"

#include <string.h>
#include <winioctl.h>

#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define LIST_BYTES 16384

/* ---- making ---- */

/* What lies in the folder later must be neither compressed nor encrypted, whatever the folder above says: Hyper-V refuses such files. */
static int open_up(const wchar_t *path, const char *name, struct err *e)
{
    DWORD attributes = GetFileAttributesW(path);
    if (attributes == INVALID_FILE_ATTRIBUTES || !(attributes & (FILE_ATTRIBUTE_COMPRESSED | FILE_ATTRIBUTE_ENCRYPTED)))
        return 0;
    if ((attributes & FILE_ATTRIBUTE_ENCRYPTED) && !DecryptFileW(path, 0))
        return err_os(e, ERR_IO, (long)GetLastError(), "the encryption of the folder %s cannot be switched off", name);
    if (!(attributes & FILE_ATTRIBUTE_COMPRESSED))
        return 0;
    USHORT none = COMPRESSION_FORMAT_NONE;
    DWORD got;
    AUTO_HANDLE HANDLE h = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE || !DeviceIoControl(h, FSCTL_SET_COMPRESSION, &none, sizeof none, NULL, 0, &got, NULL))
        return err_os(e, ERR_IO, (long)GetLastError(), "the compression of the folder %s cannot be switched off", name);
    return 0;
}

static bool is_folder(const wchar_t *path)
{
    DWORD attributes = GetFileAttributesW(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

/* Where the parts begin behind "\\?\C:\" or "\\?\UNC\server\share\". */
static wchar_t *first_part(wchar_t *path)
{
    if (wcsncmp(path, L"\\\\?\\UNC\\", 8))
        return path + 7;
    wchar_t *p = wcschr(path + 8, L'\\');
    p = p ? wcschr(p + 1, L'\\') : NULL;
    return p ? p + 1 : path + wcslen(path);
}

int os_mkdirs(const char *path, unsigned flags, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    PSECURITY_DESCRIPTOR sd = NULL;
    int r = win_path(path, &w, e);
    if (r == 0 && (flags & OS_PRIVATE))
        r = win_private_descriptor(true, &sd, e);
    if (r < 0)
        return r;
    SECURITY_ATTRIBUTES sa = {.nLength = sizeof sa, .lpSecurityDescriptor = sd};
    bool made = false;
    for (wchar_t *p = first_part(w); r == 0 && *p;) {
        wchar_t *end = p + wcscspn(p, L"\\"), was = *end;
        *end = 0;
        made = CreateDirectoryW(w, was ? NULL : &sa);
        DWORD error = made ? ERROR_SUCCESS : GetLastError();
        if (made)
            r = open_up(w, path, e);
        else if (!was && (flags & OS_EXCLUSIVE) && error == ERROR_ALREADY_EXISTS)
            r = err_set(e, ERR_WRONG_STATE, "there is something at %s already", path);
        else if (!is_folder(w))                       /* what is there may refuse us and still be what we need */
            r = error == ERROR_ALREADY_EXISTS ? err_set(e, ERR_IO, "%s cannot be made: a part of it is there and is not a folder", path)
                                              : err_os(e, ERR_IO, (long)error, "cannot make the folder %s", path);
        *end = was;
        p = end + (was != 0);
    }
    LocalFree(sd);
    if (r == 0 && !is_folder(w))
        r = err_set(e, ERR_IO, "there is no folder %s", path);       /* a root that is not there */
    return r == 0 && (flags & OS_PRIVATE) && !made ? win_private_folder(w, path, e) : r;
}

/* ---- listing ---- */

int os_list_dir(const char *path, int (*fn)(void *arg, const char *name), void *arg, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL, *pattern = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    size_t n = wcslen(w);
    pattern = malloc((n + 3) * sizeof *pattern);
    if (!pattern)
        return err_oom(e);
    memcpy(pattern, w, n * sizeof *w);
    if (pattern[n - 1] != L'\\')
        pattern[n++] = L'\\';
    pattern[n++] = L'*';
    pattern[n] = 0;
    WIN32_FIND_DATAW entry;
    HANDLE find = FindFirstFileExW(pattern, FindExInfoBasic, &entry, FindExSearchNameMatch, NULL, FIND_FIRST_EX_LARGE_FETCH);
    if (find == INVALID_HANDLE_VALUE)
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot list %s", path);
    do {
        AUTO_FREE char *name = NULL;
        if (!wcscmp(entry.cFileName, L".") || !wcscmp(entry.cFileName, L".."))
            continue;
        if ((r = win_utf8(entry.cFileName, &name, e)) < 0)
            err_prefix(e, "a name in %s", path);
        else
            r = fn(arg, name);
    } while (r == 0 && FindNextFileW(find, &entry));
    DWORD error = GetLastError();
    FindClose(find);
    if (r == 0 && error != ERROR_NO_MORE_FILES)
        return err_os(e, ERR_IO, (long)error, "cannot list %s", path);
    return r;
}

/* ---- removing ---- */

/* Marks what is open for deletion; read-only files too. */
static bool dispose(HANDLE h)
{
    struct { DWORD flags; } now = {0x1 | 0x2};        /* FILE_DISPOSITION_DELETE | FILE_DISPOSITION_POSIX_SEMANTICS: NTFS from Server 2016 on */
    if (SetFileInformationByHandle(h, (FILE_INFO_BY_HANDLE_CLASS)21 /* FileDispositionInfoEx */, &now, sizeof now))
        return true;
    FILE_BASIC_INFO basic;
    if (GetFileInformationByHandleEx(h, FileBasicInfo, &basic, sizeof basic) && (basic.FileAttributes & FILE_ATTRIBUTE_READONLY)) {
        basic.FileAttributes &= ~(DWORD)FILE_ATTRIBUTE_READONLY;
        if (!basic.FileAttributes)
            basic.FileAttributes = FILE_ATTRIBUTE_NORMAL;
        SetFileInformationByHandle(h, FileBasicInfo, &basic, sizeof basic);
    }
    FILE_DISPOSITION_INFO old = {TRUE};
    return SetFileInformationByHandle(h, FileDispositionInfo, &old, sizeof old);
}

static int remove_one(const wchar_t *path, struct err *e);

static int remove_content(HANDLE h, const wchar_t *path, struct err *e)
{
    AUTO_FREE char *buf = malloc(LIST_BYTES);
    if (!buf)
        return err_oom(e);
    size_t n = wcslen(path);
    for (FILE_INFO_BY_HANDLE_CLASS how = FileIdBothDirectoryRestartInfo;; how = FileIdBothDirectoryInfo) {
        if (!GetFileInformationByHandleEx(h, how, buf, LIST_BYTES)) {
            if (GetLastError() == ERROR_NO_MORE_FILES || GetLastError() == ERROR_FILE_NOT_FOUND)
                return 0;
            AUTO_FREE char *name = NULL;
            long error = (long)GetLastError();
            struct err ignored;
            win_utf8(path, &name, &ignored);
            return err_os(e, ERR_IO, error, "cannot list %s", name ? name : "a folder");
        }
        const FILE_ID_BOTH_DIR_INFO *entry = (const void *)buf;
        for (;;) {
            size_t m = entry->FileNameLength / sizeof(wchar_t);
            bool dots = (m == 1 || m == 2) && entry->FileName[0] == L'.' && entry->FileName[m - 1] == L'.';
            if (!dots) {
                AUTO_FREE wchar_t *inner = malloc((n + m + 2) * sizeof *inner);
                if (!inner)
                    return err_oom(e);
                memcpy(inner, path, n * sizeof *inner);
                inner[n] = L'\\';
                memcpy(inner + n + 1, entry->FileName, m * sizeof *inner);
                inner[n + 1 + m] = 0;
                int r = remove_one(inner, e);
                if (r < 0)
                    return r;
            }
            if (!entry->NextEntryOffset)
                break;
            entry = (const void *)((const char *)entry + entry->NextEntryOffset);
        }
    }
}

/* Each folder stays open, and not for renaming or deletion by others, while what is in it is removed: nobody can put a link in its place.
 * What is a link (any reparse point) is removed itself and never entered. */
static int remove_one(const wchar_t *path, struct err *e)
{
    DWORD error = ERROR_SUCCESS;
    unsigned attempt = 0;
    do {
        AUTO_HANDLE HANDLE h = CreateFileW(path, DELETE | FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE,
                                           FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                                           FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
        error = h == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
        FILE_ATTRIBUTE_TAG_INFO tag;
        if (!error && !GetFileInformationByHandleEx(h, FileAttributeTagInfo, &tag, sizeof tag))
            error = GetLastError();
        if (!error && (tag.FileAttributes & FILE_ATTRIBUTE_DIRECTORY) && !(tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT)) {
            int r = remove_content(h, path, e);
            if (r < 0)
                return r;
        }
        if (!error && !dispose(h))
            error = GetLastError();
        if (!error || error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND)
            return 0;
        /* a folder whose last entry is still held open by somebody is empty a moment later */
    } while (win_try_again(&attempt, error == ERROR_DIR_NOT_EMPTY ? ERROR_ACCESS_DENIED : error));
    AUTO_FREE char *name = NULL;
    struct err ignored;
    win_utf8(path, &name, &ignored);
    return err_os(e, ERR_IO, (long)error, "cannot remove %s", name ? name + (str_starts(name, "\\\\?\\UNC\\") ? 0 : 4) : "a file");
}

int os_remove_tree(const char *path, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    return r < 0 ? r : remove_one(w, e);
}

int os_remove_empty_dir(const char *path, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    DWORD error = ERROR_SUCCESS;
    unsigned attempt = 0;
    do {
        if (RemoveDirectoryW(w))
            return 0;
        error = GetLastError();
        if (error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND || error == ERROR_DIR_NOT_EMPTY)
            return 0;
    } while (win_try_again(&attempt, error));
    return err_os(e, ERR_IO, (long)error, "cannot remove the folder %s", path);
}

/* ---- space ---- */

int os_free_space(const char *path, uint64_t *ret_bytes, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL, *folder = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    size_t n = wcslen(w), root = (size_t)(first_part(w) - w);
    folder = calloc(n + 2, sizeof *folder);
    if (!folder)
        return err_oom(e);
    memcpy(folder, w, n * sizeof *folder);
    for (ULARGE_INTEGER bytes;;) {
        if (folder[n - 1] != L'\\') {
            folder[n] = L'\\';                        /* the root of a share must end in one */
            folder[n + 1] = 0;
        }
        if (GetDiskFreeSpaceExW(folder, &bytes, NULL, NULL)) {
            *ret_bytes = bytes.QuadPart;
            return 0;
        }
        DWORD error = GetLastError();
        /* the last two of a file */
        bool higher = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND || error == ERROR_DIRECTORY || error == ERROR_INVALID_NAME;
        if (!higher || n <= root)
            return err_os(e, ERR_IO, (long)error, "cannot tell the free space at %s", path);
        while (n > root && folder[n - 1] != L'\\')    /* the last part, then its separator */
            n--;
        if (n > root)
            n--;
        folder[n] = 0;
    }
}

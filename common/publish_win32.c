/* Names that are given without replacing, and what tells one file from another. */
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "common/os_win32.h"

int os_publish(const char *from, const char *to, struct err *e)
{
    AUTO_FREE wchar_t *a = NULL, *b = NULL;
    int r = win_path(from, &a, e);
    if (r < 0 || (r = win_path(to, &b, e)) < 0)
        return r;
    DWORD error = ERROR_SUCCESS;
    unsigned attempt = 0;
    do {
        if (MoveFileExW(a, b, MOVEFILE_WRITE_THROUGH))
            return 0;
        error = GetLastError();
        if (error == ERROR_ALREADY_EXISTS || error == ERROR_FILE_EXISTS ||
            (error == ERROR_ACCESS_DENIED && GetFileAttributesW(b) != INVALID_FILE_ATTRIBUTES))      /* the last: a folder is there */
            return err_set(e, ERR_WRONG_STATE, "there is something at %s already", to);
    } while (win_try_again(&attempt, error));
    return err_os(e, ERR_IO, (long)error, "cannot rename %s to %s", from, to);
}

/* The number holds a count of its uses on NTFS and is never used again on ReFS: no time of birth is needed, which a new file of the same
 * name would inherit anyway for some seconds ("tunneling"). */
int os_file_id(const char *path, char ret[OS_FILE_ID], struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    ret[0] = 0;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    AUTO_HANDLE HANDLE h = CreateFileW(w, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        DWORD error = GetLastError();
        if (error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND)
            return 0;
        return err_os(e, ERR_IO, (long)error, "cannot look at %s", path);
    }
    FILE_ID_INFO id;
    BY_HANDLE_FILE_INFORMATION basic;
    if (GetFileInformationByHandleEx(h, FileIdInfo, &id, sizeof id)) {
        uint64_t part[2];
        memcpy(part, &id.FileId, sizeof part);
        snprintf(ret, OS_FILE_ID, "%llx:%llx:%llx", (unsigned long long)id.VolumeSerialNumber, (unsigned long long)part[1], (unsigned long long)part[0]);
    } else if (GetFileInformationByHandle(h, &basic)) {
        snprintf(ret, OS_FILE_ID, "%lx:%lx:%lx", basic.dwVolumeSerialNumber, basic.nFileIndexHigh, basic.nFileIndexLow);
    } else {
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", path);
    }
    return 0;
}

/* UTF-8 and UTF-16, error texts, the program's arguments and environment. */
#include "common/os_win32.h"

#include <fcntl.h>
#include <io.h>
#include <limits.h>
#include <shellapi.h>
#include <string.h>

#include "common/os.h"

#ifndef ERROR_DISK_QUOTA_EXCEEDED
#define ERROR_DISK_QUOTA_EXCEEDED 1295               /* winerror.h of mingw-w64 lacks it */
#endif

int win_utf16(const char *s, wchar_t **ret, struct err *e)
{
    size_t n = strlen(s);
    if (!str_is_utf8(s, n))
        return err_set(e, ERR_VALUE, "a text is not valid UTF-8: %.200s", s);
    if (n >= INT_MAX)
        return err_set(e, ERR_TOO_LARGE, "a text of %zu bytes is too long", n);
    wchar_t *w = malloc((n + 1) * sizeof *w);         /* no character has more units in UTF-16 than bytes in UTF-8 */
    if (!w)
        return err_oom(e);
    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, s, -1, w, (int)n + 1)) {
        free(w);
        return err_os(e, ERR_VALUE, (long)GetLastError(), "a text cannot be converted to UTF-16");
    }
    *ret = w;
    return 0;
}

int win_utf8(const wchar_t *s, char **ret, struct err *e)
{
    int n = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, s, -1, NULL, 0, NULL, NULL);
    if (n <= 0)
        return err_os(e, ERR_VALUE, (long)GetLastError(), "a text of the system is no well-formed UTF-16");
    char *text = malloc((size_t)n);
    if (!text)
        return err_oom(e);
    WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, s, -1, text, n, NULL, NULL);
    *ret = text;
    return 0;
}

/* ---- errors ---- */

enum err_code os_error_code(long os_code)
{
    if (((unsigned long)os_code & 0xFFFF0000) == 0x80070000)         /* a Win32 error in an HRESULT */
        os_code &= 0xFFFF;
    switch ((DWORD)os_code) {
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case ERROR_DISK_QUOTA_EXCEEDED:
    case ERROR_FILE_TOO_LARGE: return ERR_DISK_FULL;
    case ERROR_ACCESS_DENIED:
    case ERROR_WRITE_PROTECT:
    case ERROR_PRIVILEGE_NOT_HELD:
    case ERROR_NETWORK_ACCESS_DENIED:
    case ERROR_LOGON_FAILURE:
    case WSAEACCES: return ERR_PERMISSION;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NOT_ENOUGH_QUOTA:
    case (DWORD)E_OUTOFMEMORY:
    case WSAENOBUFS: return ERR_OOM;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NET_NAME:
    case ERROR_DIRECTORY: return ERR_NOT_FOUND;
    case ERROR_BAD_NETPATH:
    case ERROR_NETNAME_DELETED:
    case ERROR_UNEXP_NET_ERR:
    case WSAECONNREFUSED:
    case WSAECONNRESET:
    case WSAENETUNREACH:
    case WSAEHOSTUNREACH: return ERR_UNREACHABLE;
    case ERROR_SEM_TIMEOUT:
    case WSAETIMEDOUT: return ERR_TIMEOUT;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION: return ERR_IO;         /* somebody else's for the moment: worth another attempt */
    default: return ERR_OK;
    }
}

void os_error_text(long os_code, char *buf, size_t size)
{
    wchar_t w[400];
    DWORD n = 0, how = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
    const DWORD languages[] = {MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), 0};     /* 0: whatever the system has */
    for (size_t i = 0; i < ARRAY_LEN(languages) && !n; i++)
        n = FormatMessageW(how, NULL, (DWORD)os_code, languages[i], w, ARRAY_LEN(w), NULL);
    while (n && (w[n - 1] <= L' ' || w[n - 1] == L'.'))
        w[--n] = 0;
    struct err ignored;
    AUTO_FREE char *text = NULL;
    if (n && win_utf8(w, &text, &ignored) == 0)
        snprintf(buf, size, "%s", text);
    else if (os_code >= 0 && os_code < 100000)
        snprintf(buf, size, "Windows error %ld", os_code);
    else
        snprintf(buf, size, "Windows error 0x%08lX", (unsigned long)os_code);
}

bool win_try_again(unsigned *attempt, DWORD error)
{
    static const unsigned pauses_ms[] = {1, 2, 5, 10, 20, 40, 80, 150, 200};
    if ((error != ERROR_SHARING_VIOLATION && error != ERROR_LOCK_VIOLATION && error != ERROR_ACCESS_DENIED) || *attempt >= ARRAY_LEN(pauses_ms))
        return false;
    Sleep(pauses_ms[(*attempt)++]);
    SetLastError(error);
    return true;
}

/* ---- the program ---- */

/* Beside the arguments, what a service wants of its process: no message boxes that nobody can close, libraries from the system's own
 * folder alone (not from beside the program or the current folder), the end at once when the heap is damaged. */
static void prepare_process(void)
{
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    SetDllDirectoryW(L"");
    SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32);
    HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
    const int in = _fileno(stdin), all[] = {in, _fileno(stdout), _fileno(stderr)};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i] >= 0 && !(all[i] == in && _isatty(in)))           /* a console ends input with Ctrl-Z, as text does */
            _setmode(all[i], _O_BINARY);
}

int os_main_args(int *argc, char ***argv, struct err *e)
{
    prepare_process();
    int n = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    if (!wide)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the command line cannot be read");
    char **list = calloc((size_t)n + 1, sizeof *list);
    int r = list ? 0 : err_oom(e);
    for (int i = 0; i < n && r == 0; i++)
        if ((r = win_utf8(wide[i], &list[i], e)) < 0)
            err_prefix(e, "argument %d", i);
    LocalFree(wide);
    if (r < 0) {
        for (int i = 0; list && i < n; i++)
            free(list[i]);
        free(list);
        return r;
    }
    *argc = n;
    *argv = list;                                     /* for the life of the process */
    return 0;
}

char *os_getenv(const char *name)
{
    struct err ignored;
    AUTO_FREE wchar_t *key = NULL, *value = NULL;
    char *ret = NULL;
    if (win_utf16(name, &key, &ignored) < 0)
        return NULL;
    for (DWORD size = 256;;) {
        free(value);
        if (!(value = malloc(size * sizeof *value)))
            return NULL;
        SetLastError(ERROR_SUCCESS);
        DWORD n = GetEnvironmentVariableW(key, value, size);
        if (n == 0 && GetLastError() == ERROR_ENVVAR_NOT_FOUND)
            return NULL;
        if (n < size)
            break;
        size = n;                                     /* it may grow again meanwhile: once more */
    }
    return win_utf8(value, &ret, &ignored) == 0 ? ret : NULL;
}

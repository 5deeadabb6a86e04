/* What the Windows side of os.h shares between its files, and with the other *_win32.c. Paths and texts are UTF-8 everywhere else;
 * UTF-16 begins here. Threads: any. */
#ifndef VMR_COMMON_OS_WIN32_H
#define VMR_COMMON_OS_WIN32_H

#include <stdbool.h>
#include <windows.h>

#include "common/error.h"
#include "common/mem.h"

/* ---- texts (text_win32.c) ---- */
/* Strict both ways: what is not well-formed is ERR_VALUE, never a changed text. Caller frees *ret. */
int win_utf16(const char *s, wchar_t **ret, struct err *e);
int win_utf8(const wchar_t *s, char **ret, struct err *e);

/* ---- paths (path_win32.c) ---- */
/* The path as it is opened: absolute, with \\?\ in front, '\' alone as separator, without "." and "..". ERR_VALUE for what os.h says. */
int win_path(const char *path, wchar_t **ret, struct err *e);
/* Of what win_path gave, the form without \\?\ that older calls want (they take no more than some 250 characters). In place. */
wchar_t *win_path_plain(wchar_t *path);

/* ---- rights (access_win32.c) ---- */
/* What is asked for where OS_PRIVATE is: a protected access list in SDDL, "D:P(A;;FA;;;SY)(A;;FA;;;BA)", inheritable for a folder, with
 * the account of this process behind it when that is neither SYSTEM nor an administrator with its rights in force. Caller frees. */
int win_private_sddl(bool folder, char **ret, struct err *e);
/* The same as a descriptor for CreateFileW and its like; LocalFree it. */
int win_private_descriptor(bool folder, PSECURITY_DESCRIPTOR *ret, struct err *e);
/* A folder that was there before us: its owner must be trusted; its rights are closed if they are inherited. */
int win_private_folder(const wchar_t *path, const char *name, struct err *e);

/* ---- handles and errors ---- */
static inline void win_close(HANDLE *h)
{
    if (*h && *h != INVALID_HANDLE_VALUE)
        CloseHandle(*h);
    *h = NULL;
}
#define AUTO_HANDLE AUTO(win_close)
/* Is the failure one that goes by itself (a virus scanner, an indexer or a viewer has the file open)? Then it has waited a moment, longer
 * each time; false after half a second. `attempt` begins with 0 and belongs to one operation. Keeps GetLastError. */
bool win_try_again(unsigned *attempt, DWORD error);

/* ---- processes (process_win32.c) ---- */
/* The command line from which Microsoft's C runtime and CommandLineToArgvW make these arguments again. Caller frees. */
int win_command_line(const char *const *argv, wchar_t **ret, struct err *e);

#endif

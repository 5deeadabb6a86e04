/* Arguments of a process are for its own account and administrators to read. */
#include <windows.h>

#include <shellapi.h>

#include "api/cli/cli.h"
#include "common/os_win32.h"

void browser_open(const char *link)
{
    struct err e;
    AUTO_FREE wchar_t *wide = NULL;
    if (win_utf16(link, &wide, &e) == 0)
        ShellExecuteW(NULL, L"open", wide, NULL, NULL, SW_SHOWNORMAL);       /* a failure is no matter: the link is there to copy */
}

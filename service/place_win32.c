#include "service/place_win32.h"

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <string.h>

#include "common/mem.h"

/* To write into the file or to put another one in its place; of a folder, to add files to it: a DLL beside a program is loaded by it. */
#define CHANGES (FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL)

static bool is_everybody(PSID sid)
{
    static const WELL_KNOWN_SID_TYPE groups[] = {WinWorldSid, WinAuthenticatedUserSid, WinBuiltinUsersSid, WinInteractiveSid};
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (IsWellKnownSid(sid, groups[i]))
            return true;
    return false;
}

/* What is denied besides is not weighed: a warning too many does no harm. No list at all lets everybody do everything. */
static bool acl_is_open(PACL acl)
{
    if (!acl)
        return true;
    for (DWORD i = 0; i < acl->AceCount; i++) {
        void *ace = NULL;
        if (!GetAce(acl, i, &ace))
            continue;
        const ACCESS_ALLOWED_ACE *allowed = ace;
        if (allowed->Header.AceType == ACCESS_ALLOWED_ACE_TYPE && !(allowed->Header.AceFlags & INHERIT_ONLY_ACE) && (allowed->Mask & CHANGES) &&
            is_everybody((PSID)(uintptr_t)&allowed->SidStart))
            return true;
    }
    return false;
}

bool place_sddl_is_open(const wchar_t *sddl)
{
    PSECURITY_DESCRIPTOR sd = NULL;
    PACL acl = NULL;
    BOOL present = FALSE, defaulted;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, NULL))
        return false;
    bool open = GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted) && present && acl_is_open(acl);
    LocalFree(sd);
    return open;
}

static bool path_is_open(const wchar_t *path)
{
    PSECURITY_DESCRIPTOR sd = NULL;
    PACL acl = NULL;
    if (GetNamedSecurityInfoW(path, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, &acl, NULL, &sd) != ERROR_SUCCESS)
        return false;                                 /* nothing is known, so nothing is said */
    bool open = acl_is_open(acl);
    LocalFree(sd);
    return open;
}

bool place_is_open(const wchar_t *program)
{
    AUTO_FREE wchar_t *folder = _wcsdup(program);
    wchar_t *slash = folder ? wcsrchr(folder, L'\\') : NULL;
    if (slash)
        *slash = 0;
    return path_is_open(program) || (slash && path_is_open(folder));
}

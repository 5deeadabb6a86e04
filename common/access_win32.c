/* Who may open what: the access list that is asked for, and who is trusted to have made a folder before us. */
#include "common/os.h"
#include "common/os_win32.h"

#include <aclapi.h>
#include <sddl.h>
#include <string.h>

/* NT SERVICE\TrustedInstaller, which owns what came with Windows; the same on every machine. */
#define TRUSTED_INSTALLER L"S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

struct account { TOKEN_USER *user; };

static void account_free(struct account *a)
{
    free(a->user);
}

/* The account that this process runs as. */
static int own_account(struct account *ret, struct err *e)
{
    AUTO_HANDLE HANDLE token = NULL;
    DWORD n = 0;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the process's own account cannot be found");
    GetTokenInformation(token, TokenUser, NULL, 0, &n);
    ret->user = malloc(n ? n : 1);
    if (!ret->user)
        return err_oom(e);
    if (!GetTokenInformation(token, TokenUser, ret->user, n, &n))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the process's own account cannot be found");
    return 0;
}

bool os_is_admin(void)
{
    BYTE sid[SECURITY_MAX_SID_SIZE];
    DWORD n = sizeof sid;
    BOOL member = FALSE;
    /* With the rights in force: false for an administrator whose token is cut down (not elevated). SYSTEM is a member. */
    return CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &n) && CheckTokenMembership(NULL, sid, &member) && member;
}

int win_private_sddl(bool folder, char **ret, struct err *e)
{
    const char *inherit = folder ? "OICI" : "";
    AUTO_FREE char *own = NULL;
    AUTO(account_free) struct account a = {0};
    int r = own_account(&a, e);
    if (r < 0)
        return r;
    if (!IsWellKnownSid(a.user->User.Sid, WinLocalSystemSid) && !os_is_admin()) {
        wchar_t *sid = NULL;
        if (!ConvertSidToStringSidW(a.user->User.Sid, &sid))
            return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the process's own account has no text form");
        r = win_utf8(sid, &own, e);
        LocalFree(sid);
        if (r < 0)
            return r;
    }
    *ret = str_printf("D:P(A;%s;FA;;;SY)(A;%s;FA;;;BA)%s%s%s%s%s", inherit, inherit, own ? "(A;" : "", own ? inherit : "", own ? ";FA;;;" : "",
                      own ? own : "", own ? ")" : "");
    return *ret ? 0 : err_oom(e);
}

int win_private_descriptor(bool folder, PSECURITY_DESCRIPTOR *ret, struct err *e)
{
    AUTO_FREE char *sddl = NULL;
    AUTO_FREE wchar_t *w = NULL;
    int r = win_private_sddl(folder, &sddl, e);
    if (r < 0 || (r = win_utf16(sddl, &w, e)) < 0)
        return r;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(w, SDDL_REVISION_1, ret, NULL))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the access list %s is not understood", sddl);
    return 0;
}

static bool is_trusted(PSID owner, PSID self)
{
    if (!owner)
        return false;
    if (IsWellKnownSid(owner, WinLocalSystemSid) || IsWellKnownSid(owner, WinBuiltinAdministratorsSid) || EqualSid(owner, self))
        return true;
    PSID installer = NULL;
    bool same = ConvertStringSidToSidW(TRUSTED_INSTALLER, &installer) && EqualSid(owner, installer);
    LocalFree(installer);
    return same;
}

/* *ret_inherits may be NULL. `flags`: FILE_FLAG_OPEN_REPARSE_POINT looks at a link itself. */
static int check_owner(const wchar_t *path, DWORD flags, const char *name, bool *ret_inherits, struct err *e)
{
    AUTO(account_free) struct account self = {0};
    int r = own_account(&self, e);
    if (r < 0)
        return r;
    AUTO_HANDLE HANDLE h = CreateFileW(path, READ_CONTROL, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS | flags, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", name);
    PSID owner = NULL;
    PSECURITY_DESCRIPTOR sd = NULL;
    DWORD rc = GetSecurityInfo(h, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, NULL, NULL, NULL, &sd);
    if (rc)
        return err_os(e, ERR_IO, (long)rc, "cannot tell whom %s belongs to", name);
    SECURITY_DESCRIPTOR_CONTROL control = 0;
    DWORD revision;
    if (!is_trusted(owner, self.user->User.Sid)) {
        wchar_t *sid = NULL;
        AUTO_FREE char *text = NULL;
        struct err ignored;
        if (owner && ConvertSidToStringSidW(owner, &sid))
            win_utf8(sid, &text, &ignored);
        LocalFree(sid);
        err_set(e, ERR_PERMISSION, "%s belongs to %s, neither to SYSTEM or Administrators nor to this account", name, text ? text : "nobody");
        r = err_hint(e, "Somebody else may have put it there. Look at it; then remove it, or give it to Administrators (takeown /a).");
    } else if (ret_inherits) {
        *ret_inherits = GetSecurityDescriptorControl(sd, &control, &revision) && !(control & SE_DACL_PROTECTED);
    }
    LocalFree(sd);
    return r;
}

int os_check_owner(const char *path, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    if (r < 0 || (r = check_owner(w, FILE_FLAG_OPEN_REPARSE_POINT, path, NULL, e)) < 0)
        return r;
    return check_owner(w, 0, path, NULL, e);
}

/* "\\?\C:\": closing the root of a volume would lock out everybody from all of it. */
static bool is_volume_root(const wchar_t *path)
{
    return wcslen(path) == 7 && path[5] == L':';
}

int win_private_folder(const wchar_t *path, const char *name, struct err *e)
{
    bool inherits = false;
    int r = check_owner(path, FILE_FLAG_OPEN_REPARSE_POINT, name, NULL, e);
    if (r < 0 || (r = check_owner(path, 0, name, &inherits, e)) < 0 || !inherits || is_volume_root(path))
        return r;
    PSECURITY_DESCRIPTOR sd = NULL;
    if ((r = win_private_descriptor(true, &sd, e)) < 0)
        return r;
    BOOL present = FALSE, defaulted;
    PACL acl = NULL;
    DWORD rc = ERROR_SUCCESS;
    AUTO_HANDLE HANDLE h = CreateFileW(path, READ_CONTROL | WRITE_DAC, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE || !GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted))
        rc = GetLastError();
    else
        rc = SetSecurityInfo(h, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL);
    LocalFree(sd);
    return rc ? err_os(e, ERR_PERMISSION, (long)rc, "the rights of the folder %s cannot be closed", name) : 0;
}

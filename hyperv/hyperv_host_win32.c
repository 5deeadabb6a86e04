/* The Windows host as the Hyper-V driver asks about it: files, rights of the VMs' accounts, the processor. */
#include <windows.h>
#include <aclapi.h>
#include <cpuid.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>
#include <winioctl.h>

#include "common/clock.h"
#include "common/os.h"
#include "common/os_win32.h"
#include "hyperv/hyperv_host_win32.h"

#ifndef FILE_ATTRIBUTE_RECALL_ON_OPEN
#define FILE_ATTRIBUTE_RECALL_ON_OPEN 0x00040000
#endif
#ifndef FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS
#define FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS 0x00400000
#endif

/* ---- files ---- */

static void file_system(wchar_t *path, char *ret, size_t size)
{
    wchar_t volume[MAX_PATH + 1], name[MAX_PATH + 1];
    struct err ignored;
    AUTO_FREE char *text = NULL;
    *ret = 0;
    if (GetVolumePathNameW(path, volume, ARRAY_LEN(volume)) && GetVolumeInformationW(volume, NULL, 0, NULL, NULL, NULL, name, ARRAY_LEN(name)) &&
        win_utf8(name, &text, &ignored) == 0)
        snprintf(ret, size, "%s", text);
}

static int host_file(void *arg, const char *path, struct hyperv_file *ret, struct err *e)
{
    (void)arg;
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    DWORD a = GetFileAttributesW(w);
    if (a == INVALID_FILE_ATTRIBUTES)
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", path);
    *ret = (struct hyperv_file){
        .sparse = a & FILE_ATTRIBUTE_SPARSE_FILE,
        .compressed = a & FILE_ATTRIBUTE_COMPRESSED,
        .encrypted = a & FILE_ATTRIBUTE_ENCRYPTED,
        .recalled = a & (FILE_ATTRIBUTE_OFFLINE | FILE_ATTRIBUTE_RECALL_ON_OPEN | FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS),
    };
    file_system(w, ret->file_system, sizeof ret->file_system);
    return 0;
}

/* A file system without compression has nothing to turn off. */
static int host_uncompressed_folder(void *arg, const char *path, struct err *e)
{
    (void)arg;
    AUTO_FREE wchar_t *w = NULL;
    USHORT none = COMPRESSION_FORMAT_NONE;
    DWORD n;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    DWORD a = GetFileAttributesW(w);
    if (a == INVALID_FILE_ATTRIBUTES)
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", path);
    if (!(a & FILE_ATTRIBUTE_COMPRESSED))
        return 0;
    AUTO_HANDLE HANDLE h = CreateFileW(w, FILE_READ_DATA | FILE_WRITE_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE || !DeviceIoControl(h, FSCTL_SET_COMPRESSION, &none, sizeof none, NULL, 0, &n, NULL))
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot turn compression off in %s", path);
    return 0;
}

/* ---- rights ---- */

int hyperv_account_sid(const char *vm_guid, char *ret, size_t size, struct err *e)
{
    unsigned d1, d2, d3, b[8];
    if (!vm_guid) {
        snprintf(ret, size, "S-1-5-83-0");
        return 0;
    }
    bool good = strlen(vm_guid) == 36 && strspn(vm_guid, "0123456789abcdefABCDEF-") == 36;
    if (!good || sscanf(vm_guid, "%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", &d1, &d2, &d3, &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6], &b[7]) != 11)
        return err_set(e, ERR_INTERNAL, "'%.60s' is not the GUID of a virtual machine", vm_guid);
    snprintf(ret, size, "S-1-5-83-1-%u-%u-%u-%u", d1, d3 << 16 | d2, b[3] << 24 | b[2] << 16 | b[1] << 8 | b[0], b[7] << 24 | b[6] << 16 | b[5] << 8 | b[4]);
    return 0;
}

static void local_free(void *p)
{
    void **pp = p;
    LocalFree(*pp);
    *pp = NULL;
}
#define AUTO_LOCAL AUTO(local_free)

struct rights {                                        /* of a file or folder */
    wchar_t *path;
    PSECURITY_DESCRIPTOR sd;
    PACL acl;                                          /* inside of sd; NULL: everybody may do everything */
    PSID sid;                                          /* of the account in question */
    bool folder;
};

static void rights_free(struct rights *t)
{
    free(t->path);
    LocalFree(t->sd);
    LocalFree(t->sid);
}
#define AUTO_RIGHTS AUTO(rights_free)

static int rights_read(const char *path, const char *vm_guid, struct rights *ret, struct err *e)
{
    char text[96];
    AUTO_FREE wchar_t *sid = NULL;
    int r = hyperv_account_sid(vm_guid, text, sizeof text, e);
    if (r < 0 || (r = win_utf16(text, &sid, e)) < 0 || (r = win_path(path, &ret->path, e)) < 0)
        return r;
    if (!ConvertStringSidToSidW(sid, &ret->sid))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the account %s is not understood", text);
    DWORD a = GetFileAttributesW(ret->path);
    if (a == INVALID_FILE_ATTRIBUTES)
        return err_os(e, ERR_IO, (long)GetLastError(), "cannot look at %s", path);
    ret->folder = a & FILE_ATTRIBUTE_DIRECTORY;
    DWORD failed = GetNamedSecurityInfoW(ret->path, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, &ret->acl, NULL, &ret->sd);
    return failed ? err_os(e, ERR_IO, (long)failed, "cannot read who may use %s", path) : 0;
}

/* The rights that entries for the account itself give, inherited ones too. */
static DWORD rights_held(const struct rights *t)
{
    DWORD held = 0;
    for (DWORD i = 0; t->acl && i < t->acl->AceCount; i++) {
        ACCESS_ALLOWED_ACE *ace;
        if (GetAce(t->acl, i, (void **)&ace) && ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE && !(ace->Header.AceFlags & INHERIT_ONLY_ACE) &&
            EqualSid(t->sid, &ace->SidStart))
            held |= ace->Mask;
    }
    return held;
}

static int rights_write(const struct rights *t, ACCESS_MODE mode, DWORD mask, const char *path, struct err *e)
{
    AUTO_LOCAL PACL acl = NULL;
    EXPLICIT_ACCESSW entry = {
        .grfAccessPermissions = mask,
        .grfAccessMode = mode,
        .grfInheritance = t->folder ? SUB_CONTAINERS_AND_OBJECTS_INHERIT : NO_INHERITANCE,
        .Trustee = {.TrusteeForm = TRUSTEE_IS_SID, .TrusteeType = TRUSTEE_IS_UNKNOWN, .ptstrName = (wchar_t *)t->sid},
    };
    DWORD failed = SetEntriesInAclW(1, &entry, t->acl, &acl);
    if (!failed)
        failed = SetNamedSecurityInfoW(t->path, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL);
    if (!failed)
        return 0;
    err_os(e, ERR_PERMISSION, (long)failed, "cannot change who may use %s", path);
    return err_hint(e, "Give SYSTEM full control of that file or folder, or move it to the data folder.");
}

/* What Hyper-V itself gives to a disk: reading and writing, or reading. */
static int host_grant(void *arg, const char *path, const char *vm_guid, bool write, struct err *e)
{
    (void)arg;
    AUTO_RIGHTS struct rights t = {0};
    DWORD mask = write ? FILE_GENERIC_READ | FILE_GENERIC_WRITE : FILE_GENERIC_READ;
    int r = rights_read(path, vm_guid, &t, e);
    if (r < 0)
        return r;
    if (t.folder)
        mask |= FILE_GENERIC_EXECUTE;                  /* to pass through it */
    if (!t.acl || (rights_held(&t) & mask) == mask)
        return 0;
    return rights_write(&t, GRANT_ACCESS, mask, path, e);
}

static int host_revoke(void *arg, const char *path, const char *vm_guid, struct err *e)
{
    (void)arg;
    AUTO_RIGHTS struct rights t = {0};
    int r = rights_read(path, vm_guid, &t, e);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0 || !rights_held(&t))
        return r;
    return rights_write(&t, REVOKE_ACCESS, 0, path, e);
}

/* ---- processor, memory, time ---- */

/* Windows runs on Hyper-V's hypervisor in the root partition and in guests; only the root may create partitions. */
bool hyperv_cpu(struct hyperv_cpu *ret)
{
    unsigned a, b, c, d;
    *ret = (struct hyperv_cpu){0};
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    ret->hypervisor = c >> 31;
    ret->nested = c >> 5 & 1;                          /* VMX; SVM below */
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        ret->nested = ret->nested || (c >> 2 & 1);
    if (!ret->hypervisor)
        return true;
    __cpuid(0x40000000, a, b, c, d);
    memcpy(ret->vendor, &b, 4);
    memcpy(ret->vendor + 4, &c, 4);
    memcpy(ret->vendor + 8, &d, 4);
    if (a >= 0x40000003 && !strcmp(ret->vendor, "Microsoft Hv")) {
        __cpuid(0x40000003, a, b, c, d);
        ret->root = b & 1;
    }
    return true;
}

static bool host_hypervisor_runs(void *arg)
{
    (void)arg;
    struct hyperv_cpu cpu;
    return hyperv_cpu(&cpu) && cpu.root;
}

static bool key_exists(const wchar_t *path)
{
    HKEY key;
    bool there = RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_QUERY_VALUE | KEY_WOW64_64KEY, &key) == ERROR_SUCCESS;
    if (there)
        RegCloseKey(key);
    return there;
}

/* PendingFileRenameOperations is there on most hosts most of the time, so it is not asked. */
static void host_facts(void *arg, struct host_facts *ret)
{
    (void)arg;
    static const wchar_t *const pending[] = {
        L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending",
        L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootInProgress",
        L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired",
    };
    struct hyperv_cpu cpu;
    ret->cpu_known = hyperv_cpu(&cpu);
    ret->hypervisor = cpu.hypervisor;
    ret->root = cpu.root;
    ret->nested = cpu.nested;
    memcpy(ret->vendor, cpu.vendor, sizeof ret->vendor);
    ret->reboot_known = true;
    ret->reboot_pending = false;
    for (size_t i = 0; i < ARRAY_LEN(pending); i++)
        ret->reboot_pending = ret->reboot_pending || key_exists(pending[i]);
}

static void host_size(void *arg, uint64_t *ret_total, uint64_t *ret_available, unsigned *ret_cpus)
{
    (void)arg;
    *ret_total = os_memory_total();
    *ret_available = os_memory_available();
    *ret_cpus = os_cpu_count();
}

static int64_t host_now(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static void host_sleep(void *arg, unsigned ms)
{
    (void)arg;
    clock_sleep_ms(ms);
}

const struct hyperv_host_ops hyperv_host_win32 = {
    .file = host_file,
    .grant = host_grant,
    .revoke = host_revoke,
    .uncompressed_folder = host_uncompressed_folder,
    .hypervisor_runs = host_hypervisor_runs,
    .facts = host_facts,
    .size = host_size,
    .now_ms = host_now,
    .sleep_ms = host_sleep,
};

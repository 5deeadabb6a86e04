#include "service/scm_win32.h"

#include <windows.h>

#include "common/clock.h"
#include "common/os_win32.h"
#include "service/host.h"
#include "service/service_win32.h"

#define CONFIG_MAX 8192                              /* what QueryServiceConfig returns at the most */
#define POLL_MS 200
#define START_S 120
#define END_MS 15000
#define EVENT_KEY L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\" SERVICE_NAME

static void close_service(SC_HANDLE *h)
{
    if (*h)
        CloseServiceHandle(*h);
}
#define AUTO_SERVICE AUTO(close_service)

static int failed(struct err *e, const char *what)
{
    DWORD code = GetLastError();
    err_os(e, ERR_INTERNAL, (long)code, "%s", what);
    switch (code) {
    case ERROR_ACCESS_DENIED: return err_hint(e, "Run this as an administrator (\"Run as administrator\").");
    case ERROR_SERVICE_MARKED_FOR_DELETE:
        return err_hint(e, "The service is being removed. Close Services and other programs that show it, or restart Windows, and try again.");
    case ERROR_SERVICE_DOES_NOT_EXIST:
        e->code = ERR_NOT_FOUND;
        return err_hint(e, "Install it first: vmrecoverd install");
    case ERROR_SERVICE_DISABLED: return err_hint(e, "Enable it first: sc config vmrecoverd start= delayed-auto");
    case ERROR_SERVICE_DEPENDENCY_FAIL: return err_hint(e, "Start Hyper-V's service (vmms) first, and see why it did not start.");
    default: return err_hint(e, "See the System event log, source Service Control Manager.");
    }
}

static int open_manager(DWORD access, SC_HANDLE *ret, struct err *e)
{
    *ret = OpenSCManagerW(NULL, NULL, access);
    return *ret ? 0 : failed(e, "the service manager does not let us in");
}

static int open_entry(DWORD access, SC_HANDLE *ret_scm, SC_HANDLE *ret, struct err *e)
{
    int r = open_manager(SC_MANAGER_CONNECT, ret_scm, e);
    if (r < 0)
        return r;
    *ret = OpenServiceW(*ret_scm, SERVICE_NAME, access);
    return *ret ? 0 : failed(e, "the service vmrecoverd cannot be opened");
}

/* ---- making and changing ---- */

int scm_register(const wchar_t *command, bool *ret_made, struct err *e)
{
    AUTO_SERVICE SC_HANDLE scm = NULL, entry = NULL;
    int r = open_manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE, &scm, e);
    if (r < 0)
        return r;
    entry = CreateServiceW(scm, SERVICE_NAME, SERVICE_TITLE, SERVICE_CHANGE_CONFIG, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                           SERVICE_ERROR_NORMAL, command, NULL, NULL, NULL, NULL, NULL);
    *ret_made = entry != NULL;
    if (entry)
        return 0;
    if (GetLastError() != ERROR_SERVICE_EXISTS)
        return failed(e, "the service vmrecoverd cannot be made");
    if (!(entry = OpenServiceW(scm, SERVICE_NAME, SERVICE_CHANGE_CONFIG)))
        return failed(e, "the service vmrecoverd cannot be opened");
    if (!ChangeServiceConfigW(entry, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, command, NULL, NULL, NULL,
                              L"LocalSystem", NULL, SERVICE_TITLE))
        return failed(e, "the service vmrecoverd cannot be changed");
    return 0;
}

static int query(SC_HANDLE entry, QUERY_SERVICE_CONFIGW **ret, struct err *e)
{
    DWORD used;
    AUTO_FREE QUERY_SERVICE_CONFIGW *c = malloc(CONFIG_MAX);
    if (!c)
        return err_oom(e);
    if (!QueryServiceConfigW(entry, c, CONFIG_MAX, &used))
        return failed(e, "the configuration of the service cannot be read");
    *ret = STEAL(c);
    return 0;
}

/* Hyper-V's service is there, and somebody may start it. */
static bool hyperv_is_there(SC_HANDLE scm)
{
    struct err ignored;
    AUTO_SERVICE SC_HANDLE vmms = OpenServiceW(scm, L"vmms", SERVICE_QUERY_CONFIG);
    AUTO_FREE QUERY_SERVICE_CONFIGW *c = NULL;
    return vmms && query(vmms, &c, &ignored) == 0 && c->dwStartType != SERVICE_DISABLED;
}

bool scm_dependencies(const wchar_t *now, bool vmms, wchar_t *ret, size_t ret_size, bool *ret_same)
{
    size_t used = 0;
    bool was = false;
    const wchar_t *const more = vmms ? L"vmms\0" : L"\0";
    for (const wchar_t *one = now; one && *one; one += wcslen(one) + 1) {
        bool is_vmms = !_wcsicmp(one, L"vmms");
        size_t n = wcslen(one) + 1;
        was = was || is_vmms;
        if (is_vmms)
            continue;
        if (ret_size - used < n)
            return false;
        wmemcpy(ret + used, one, n);
        used += n;
    }
    size_t n = vmms ? 6 : 2;                          /* an empty list is two NULs as well */
    if (ret_size - used < n)
        return false;
    wmemcpy(ret + used, more, n);
    *ret_same = was == vmms;
    return true;
}

/* Without Hyper-V the service runs all the same and downloads, so the dependency is there only where Hyper-V is. */
static int set_dependency(SC_HANDLE scm, SC_HANDLE entry, struct err *e)
{
    AUTO_FREE QUERY_SERVICE_CONFIGW *c = NULL;
    wchar_t list[CONFIG_MAX / sizeof(wchar_t)];
    bool same;
    int r = query(entry, &c, e);
    if (r < 0)
        return r;
    if (!scm_dependencies(c->lpDependencies, hyperv_is_there(scm), list, ARRAY_LEN(list), &same))
        return err_set(e, ERR_TOO_LARGE, "the service has too many dependencies for one more");
    if (!same && !ChangeServiceConfigW(entry, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, NULL, NULL, NULL, list, NULL, NULL, NULL))
        return failed(e, "the dependency on Hyper-V's service vmms cannot be changed");
    return 0;
}

/* What the daemon does with its account (SYSTEM): it calls WMI, which asks for no privilege, and works on disks and volumes. All other
 * privileges of SYSTEM are taken from it. */
static wchar_t privileges[] = L"SeChangeNotifyPrivilege\0SeCreateGlobalPrivilege\0SeImpersonatePrivilege\0SeManageVolumePrivilege\0";
static wchar_t about[] = SERVICE_ABOUT;
static SC_ACTION actions[] = {{SC_ACTION_RESTART, 5000}, {SC_ACTION_RESTART, 30000}, {SC_ACTION_RESTART, 60000}};   /* the last one repeats */

/* A later Windows than the one that lacks a setting is the rule; the service works without each of them, less well. */
static bool is_unknown(DWORD code)
{
    return code == ERROR_INVALID_PARAMETER || code == ERROR_INVALID_LEVEL || code == ERROR_CALL_NOT_IMPLEMENTED || code == ERROR_NOT_SUPPORTED;
}

int scm_configure(void (*warn)(const struct err *why), struct err *e)
{
    AUTO_SERVICE SC_HANDLE scm = NULL, entry = NULL;
    int r = open_entry(SERVICE_CHANGE_CONFIG | SERVICE_QUERY_CONFIG | SERVICE_START, &scm, &entry, e);
    if (r < 0 || (r = set_dependency(scm, entry, e)) < 0)
        return r;
    const struct { const char *what; DWORD level; void *info; } settings[] = {
        {"its description", SERVICE_CONFIG_DESCRIPTION, &(SERVICE_DESCRIPTIONW){about}},
        {"restarts after a failure", SERVICE_CONFIG_FAILURE_ACTIONS,
         &(SERVICE_FAILURE_ACTIONSW){.dwResetPeriod = 86400, .cActions = ARRAY_LEN(actions), .lpsaActions = actions}},
        {"restarts after an error code", SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &(SERVICE_FAILURE_ACTIONS_FLAG){TRUE}},
        {"a delayed start", SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &(SERVICE_DELAYED_AUTO_START_INFO){TRUE}},
        {"time to stop when Windows shuts down", SERVICE_CONFIG_PRESHUTDOWN_INFO, &(SERVICE_PRESHUTDOWN_INFO){(HOST_STOP_S + 10) * 1000}},
        {"an identity of its own", SERVICE_CONFIG_SERVICE_SID_INFO, &(SERVICE_SID_INFO){SERVICE_SID_TYPE_UNRESTRICTED}},
        {"fewer privileges", SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &(SERVICE_REQUIRED_PRIVILEGES_INFOW){privileges}},
    };
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (ChangeServiceConfig2W(entry, settings[i].level, settings[i].info))
            continue;
        DWORD code = GetLastError();
        err_os(e, ERR_INTERNAL, (long)code, "the service cannot be given %s", settings[i].what);
        if (!is_unknown(code))
            return -(int)e->code;
        warn(e);
    }
    return 0;
}

int scm_command(char **ret, struct err *e)
{
    AUTO_SERVICE SC_HANDLE scm = NULL, entry = NULL;
    AUTO_FREE QUERY_SERVICE_CONFIGW *c = NULL;
    int r = open_entry(SERVICE_QUERY_CONFIG, &scm, &entry, e);
    *ret = NULL;
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r < 0 || (r = query(entry, &c, e)) < 0)
        return r;
    return win_utf8(c->lpBinaryPathName, ret, e);
}

/* ---- running ---- */

/* Until the state is `wanted`, it goes into STOPPED, or the time is over. A growing checkpoint prolongs it. */
static int wait_for(SC_HANDLE entry, DWORD wanted, unsigned seconds, SERVICE_STATUS *ret, struct err *e)
{
    DWORD checkpoint = 0;
    for (int64_t deadline = clock_mono_ms() + seconds * 1000;;) {
        if (!QueryServiceStatus(entry, ret))
            return failed(e, "the state of the service cannot be read");
        if (ret->dwCurrentState == wanted || ret->dwCurrentState == SERVICE_STOPPED)
            return 0;
        if (ret->dwCheckPoint > checkpoint && wanted == SERVICE_RUNNING)
            deadline = clock_mono_ms() + seconds * 1000;
        checkpoint = ret->dwCheckPoint;
        if (clock_mono_ms() > deadline) {
            err_set(e, ERR_TIMEOUT, "the service has not %s within %u seconds", wanted == SERVICE_RUNNING ? "started" : "stopped", seconds);
            return err_hint(e, "See the Application event log, source vmrecoverd, and logs\\vmrecoverd.log in its data folder.");
        }
        clock_sleep_ms(POLL_MS);
    }
}

int scm_start(bool *ret_ran, struct err *e)
{
    AUTO_SERVICE SC_HANDLE scm = NULL, entry = NULL;
    SERVICE_STATUS status;
    int r = open_entry(SERVICE_START | SERVICE_QUERY_STATUS, &scm, &entry, e);
    if (r < 0)
        return r;
    *ret_ran = false;
    if (!StartServiceW(entry, 0, NULL)) {
        if (GetLastError() != ERROR_SERVICE_ALREADY_RUNNING)
            return failed(e, "the service cannot be started");
        *ret_ran = true;
    }
    if ((r = wait_for(entry, SERVICE_RUNNING, START_S, &status, e)) < 0 || status.dwCurrentState == SERVICE_RUNNING)
        return r;
    if (status.dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR)
        err_set(e, ERR_INTERNAL, "the service stopped while it started, with the code %lu", (unsigned long)status.dwServiceSpecificExitCode);
    else
        err_os(e, ERR_INTERNAL, (long)status.dwWin32ExitCode, "the service stopped while it started");
    return err_hint(e, "The Application event log, source vmrecoverd, says why and what to do.");
}

/* The process behind the entry; NULL: there is none, or it is not to be had. */
static HANDLE process_of(SC_HANDLE entry)
{
    SERVICE_STATUS_PROCESS s;
    DWORD used;
    bool known = QueryServiceStatusEx(entry, SC_STATUS_PROCESS_INFO, (BYTE *)&s, sizeof s, &used) && s.dwProcessId;
    return known ? OpenProcess(SYNCHRONIZE, FALSE, s.dwProcessId) : NULL;
}

static int stop_entry(SC_HANDLE entry, struct err *e)
{
    SERVICE_STATUS status;
    /* one that is just starting takes no stop: it gets the time to start first */
    for (int64_t deadline = clock_mono_ms() + START_S * 1000; !ControlService(entry, SERVICE_CONTROL_STOP, &status);) {
        DWORD code = GetLastError();
        if (code == ERROR_SERVICE_NOT_ACTIVE)
            return 0;
        bool busy = code == ERROR_SERVICE_CANNOT_ACCEPT_CTRL || code == ERROR_INVALID_SERVICE_CONTROL;
        if (!busy || clock_mono_ms() > deadline)
            return failed(e, "the service cannot be stopped");
        if (QueryServiceStatus(entry, &status) && status.dwCurrentState == SERVICE_STOP_PENDING)
            break;
        clock_sleep_ms(POLL_MS);
    }
    return wait_for(entry, SERVICE_STOPPED, HOST_STOP_S + 30, &status, e);
}

int scm_stop(struct err *e)
{
    AUTO_SERVICE SC_HANDLE scm = NULL, entry = NULL;
    int r = open_entry(SERVICE_STOP | SERVICE_QUERY_STATUS, &scm, &entry, e);
    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    AUTO_HANDLE HANDLE process = process_of(entry);
    if ((r = stop_entry(entry, e)) == 0 && process)
        WaitForSingleObject(process, END_MS);         /* one that does not end hinders only who replaces its program */
    return r;
}

int scm_remove(bool *ret_there, bool *ret_pending, struct err *e)
{
    AUTO_SERVICE SC_HANDLE scm = NULL;
    SC_HANDLE entry = NULL;
    int r = open_entry(DELETE, &scm, &entry, e);
    *ret_there = r == 0;
    *ret_pending = false;
    if (r < 0)
        return r == -ERR_NOT_FOUND ? 0 : r;
    BOOL gone = DeleteService(entry);
    DWORD code = GetLastError();
    CloseServiceHandle(entry);
    if (!gone && code != ERROR_SERVICE_MARKED_FOR_DELETE) {
        SetLastError(code);
        return failed(e, "the service cannot be removed");
    }
    entry = OpenServiceW(scm, SERVICE_NAME, SERVICE_QUERY_STATUS);
    *ret_pending = entry != NULL;
    close_service(&entry);
    return 0;
}

/* ---- the source of events ---- */

int scm_add_event_source(const wchar_t *program, struct err *e)
{
    DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    LSTATUS s = RegSetKeyValueW(HKEY_LOCAL_MACHINE, EVENT_KEY, L"EventMessageFile", REG_SZ, program, (DWORD)((wcslen(program) + 1) * sizeof *program));
    if (s == ERROR_SUCCESS)
        s = RegSetKeyValueW(HKEY_LOCAL_MACHINE, EVENT_KEY, L"TypesSupported", REG_DWORD, &types, sizeof types);
    return s == ERROR_SUCCESS ? 0 : err_os(e, ERR_INTERNAL, s, "the source vmrecoverd cannot be added to the Application event log");
}

int scm_remove_event_source(struct err *e)
{
    LSTATUS s = RegDeleteKeyW(HKEY_LOCAL_MACHINE, EVENT_KEY);
    if (s == ERROR_SUCCESS || s == ERROR_FILE_NOT_FOUND)
        return 0;
    return err_os(e, ERR_INTERNAL, s, "the source vmrecoverd cannot be removed from the Application event log");
}

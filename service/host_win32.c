/* The service manager's view of the daemon:
 *
 *   START_PENDING --host_ready--> RUNNING --stop, shutdown, or the daemon itself--> STOP_PENDING --serve returned--> STOPPED
 *
 * It can be reached from every state by STOPPED, with the reason as a service-specific exit code. While something is pending a thread
 * reports growing checkpoints, up to a limit: a start that takes longer is shown as hanging, a stop that takes longer is ended, for every
 * task can be resumed after that.
 *
 * In the foreground the console's events ask for the stop: the first Ctrl-C gracefully, the second ends the process. */
#include "service/host.h"

#include <windows.h>

#include "common/clock.h"
#include "common/mem.h"
#include "service/eventlog.h"
#include "service/logs.h"
#include "service/service_win32.h"

#define TICK_MS 2000
#define WAIT_HINT_MS 10000                           /* how long the service manager waits for the next checkpoint */
#define START_LIMIT_S 600
#define CLOSE_MS 30000                               /* Windows ends the process sooner: 5 s after a close, 20 s at a log-off */

static HANDLE stop_event, ended_event;               /* manual reset */
static LONG stop_flag;

static struct {
    int (*serve)(int argc, char **argv);
    int argc, result;
    char **argv;
    wchar_t name[257];                               /* the limit of service names, and NUL */
    SERVICE_STATUS_HANDLE handle;                    /* NULL: in the foreground */
    SRWLOCK lock;                                    /* over what follows, and over calls of SetServiceStatus, so that none overtakes another */
    SERVICE_STATUS status;
    int64_t since_ms;                                /* of the state */
    bool start_is_late, ended_late;
    HANDLE ticker, ticker_end;
} svc = {.lock = SRWLOCK_INIT};

/* ---- the state ---- */

static int rank(DWORD state)
{
    static const DWORD order[] = {SERVICE_START_PENDING, SERVICE_RUNNING, SERVICE_STOP_PENDING, SERVICE_STOPPED};
    int i = 0;
    while (order[i] != state)
        i++;
    return i;
}

static bool is_pending(DWORD state)
{
    return state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
}

/* Caller holds the lock. */
static void report(void)
{
    bool pending = is_pending(svc.status.dwCurrentState);
    svc.status.dwControlsAccepted =
        svc.status.dwCurrentState == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PRESHUTDOWN : 0;
    svc.status.dwCheckPoint = pending ? svc.status.dwCheckPoint + 1 : 0;
    svc.status.dwWaitHint = pending ? WAIT_HINT_MS : 0;
    SetServiceStatus(svc.handle, &svc.status);
}

/* Only forward: what comes too late (ready, after a stop was asked for) changes nothing. */
static void move(DWORD state)
{
    if (!svc.handle)
        return;
    AcquireSRWLockExclusive(&svc.lock);
    if (rank(state) > rank(svc.status.dwCurrentState)) {
        svc.status.dwCurrentState = state;
        svc.status.dwCheckPoint = 0;
        svc.since_ms = clock_mono_ms();
        report();
    }
    ReleaseSRWLockExclusive(&svc.lock);
}

/* ---- checkpoints ---- */

static void tell_late(enum eventlog_id id, unsigned seconds, enum log_level level, const char *msg)
{
    char number[16];
    snprintf(number, sizeof number, "%u", seconds);
    logs_event(id, (const char *const[]){number}, level, msg, (const struct log_kv[]){KI("seconds", seconds), {0}});
}

/* Nothing is lost by it: what the tasks had done is in their journals. Exit code 0, since with another one the failure actions would start
 * again what somebody wanted stopped. The state comes before the log line, which may hang with what hangs. */
static void end_late(void)
{
    svc.ended_late = true;
    move(SERVICE_STOPPED);
    tell_late(EVENTLOG_STOP_LATE, HOST_STOP_S, LOG_LEVEL_ERROR, "the daemon did not stop in time and is ended");
    TerminateProcess(GetCurrentProcess(), 1);
}

static DWORD WINAPI tick(void *arg)
{
    (void)arg;
    while (WaitForSingleObject(svc.ticker_end, TICK_MS) == WAIT_TIMEOUT) {
        AcquireSRWLockExclusive(&svc.lock);
        DWORD state = svc.status.dwCurrentState;
        bool late = is_pending(state) && clock_mono_ms() - svc.since_ms > 1000 * (state == SERVICE_START_PENDING ? START_LIMIT_S : HOST_STOP_S);
        bool told = svc.start_is_late;
        if (is_pending(state) && !late)
            report();
        ReleaseSRWLockExclusive(&svc.lock);
        if (late && state == SERVICE_STOP_PENDING)
            end_late();
        if (late && state == SERVICE_START_PENDING && !told) {
            svc.start_is_late = true;
            tell_late(EVENTLOG_START_LATE, START_LIMIT_S, LOG_LEVEL_WARNING, "the start takes long");
        }
    }
    return 0;
}

/* ---- the service manager's calls ---- */

static DWORD WINAPI on_control(DWORD control, DWORD type, void *data, void *arg)
{
    (void)type, (void)data, (void)arg;
    switch (control) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_SHUTDOWN:
    case SERVICE_CONTROL_PRESHUTDOWN:
        move(SERVICE_STOP_PENDING);
        host_request_stop();
        return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE: return NO_ERROR;
    default: return ERROR_CALL_NOT_IMPLEMENTED;
    }
}

/* Failure actions follow crashes in any case. Whether they follow an exit code too depends on a flag of the service, which is set here by
 * the reason: what somebody must correct first is not tried again once a minute for ever. */
static void allow_restart(bool useful)
{
    SC_HANDLE scm = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE me = scm ? OpenServiceW(scm, svc.name, SERVICE_CHANGE_CONFIG) : NULL;
    SERVICE_FAILURE_ACTIONS_FLAG flag = {useful};
    if (me)
        ChangeServiceConfig2W(me, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &flag);
    if (me)
        CloseServiceHandle(me);
    if (scm)
        CloseServiceHandle(scm);
}

static void WINAPI service_main(DWORD argc, wchar_t **argv)
{
    wcsncpy(svc.name, argc && argv[0][0] ? argv[0] : SERVICE_NAME, ARRAY_LEN(svc.name) - 1);
    svc.handle = RegisterServiceCtrlHandlerExW(svc.name, on_control, NULL);
    if (!svc.handle)
        return;                                       /* there is no way to say anything to anybody */
    svc.status = (SERVICE_STATUS){.dwServiceType = SERVICE_WIN32_OWN_PROCESS, .dwCurrentState = SERVICE_START_PENDING};
    svc.since_ms = clock_mono_ms();
    report();
    svc.ticker_end = CreateEventW(NULL, TRUE, FALSE, NULL);
    svc.ticker = svc.ticker_end ? CreateThread(NULL, 0, tick, NULL, 0, NULL) : NULL;    /* without it: fewer checkpoints, no more */

    svc.result = svc.serve(svc.argc, svc.argv);

    if (svc.ticker) {
        SetEvent(svc.ticker_end);
        WaitForSingleObject(svc.ticker, INFINITE);
    }
    if (svc.result && svc.status.dwWin32ExitCode == NO_ERROR) {
        svc.status.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;
        svc.status.dwServiceSpecificExitCode = EVENTLOG_NO_START_OTHER;
    }
    move(SERVICE_STOPPED);
}

bool host_serve(int (*serve)(int argc, char **argv), int argc, char **argv, int *ret_status)
{
    svc.serve = serve;
    svc.argc = argc;
    svc.argv = argv;
    const SERVICE_TABLE_ENTRYW table[] = {{SERVICE_NAME, service_main}, {NULL, NULL}};
    if (!StartServiceCtrlDispatcherW(table))
        return false;                                 /* ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: started by hand */
    if (svc.ended_late)
        Sleep(INFINITE);                              /* the ticker ends the process when it has said why */
    *ret_status = svc.result;
    return true;
}

bool host_is_service(void)
{
    return svc.handle != NULL;
}

/* ---- stop requests ---- */

static BOOL WINAPI on_console(DWORD event)
{
    if (svc.handle)                                  /* a service sees others log off; its own end comes from the service manager */
        return TRUE;
    if (event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT) {
        if (host_stop_requested())
            return FALSE;                             /* once more: Windows ends the process */
        host_request_stop();
        return TRUE;
    }
    host_request_stop();                              /* close, log-off, shutdown: the process ends when this returns */
    WaitForSingleObject(ended_event, CLOSE_MS);
    return TRUE;
}

int host_init(const char *run_as, struct err *e)
{
    (void)run_as;
    stop_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    ended_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!stop_event || !ended_event)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot make an event");
    if (!SetConsoleCtrlHandler(on_console, TRUE))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot handle console events");
    if (host_stop_requested())
        SetEvent(stop_event);
    return 0;
}

void host_request_stop(void)
{
    InterlockedExchange(&stop_flag, 1);
    if (stop_event)
        SetEvent(stop_event);
}

bool host_stop_requested(void)
{
    return InterlockedCompareExchange(&stop_flag, 0, 0);
}

bool host_wait_stop(unsigned timeout_ms)
{
    WaitForSingleObject(stop_event, timeout_ms);
    return host_stop_requested();
}

void host_ready(const char *status)
{
    (void)status;
    move(SERVICE_RUNNING);
}

void host_stopping(const char *status)
{
    (void)status;
    move(SERVICE_STOP_PENDING);
}

void host_stopped(const struct err *why)
{
    if (svc.handle && why) {
        enum eventlog_id id = eventlog_failure(why);
        allow_restart(eventlog_restart_helps(id));
        svc.status.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;    /* reported by service_main with the state */
        svc.status.dwServiceSpecificExitCode = (DWORD)id;
    }
    if (ended_event)
        SetEvent(ended_event);
}

void host_alive(void)
{
}

unsigned host_watchdog_ms(void)
{
    return 0;                                         /* the service manager has none */
}

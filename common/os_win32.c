/* The host, as os.h asks about it. */
#include "common/os.h"
#include "common/os_win32.h"

#include <bcrypt.h>
#include <pthread.h>
#include <shlobj.h>
#include <string.h>

int os_random(void *buf, size_t n, struct err *e)
{
    for (size_t got = 0; got < n;) {
        size_t step = n - got < 1u << 30 ? n - got : 1u << 30;
        NTSTATUS s = BCryptGenRandom(NULL, (PUCHAR)buf + got, (ULONG)step, BCRYPT_USE_SYSTEM_PREFERRED_RNG);
        if (s < 0)
            return err_set(e, ERR_INTERNAL, "the system gives no random bytes (status 0x%08lX)", (unsigned long)s);
        got += step;
    }
    return 0;
}

void os_host_name(char *buf, size_t size)
{
    wchar_t w[256];
    DWORD n = ARRAY_LEN(w);
    struct err ignored;
    AUTO_FREE char *name = NULL;
    if (!GetComputerNameExW(ComputerNameDnsHostname, w, &n) || win_utf8(w, &name, &ignored) < 0)
        name = NULL;
    snprintf(buf, size, "%s", name && *name ? name : "localhost");
}

static MEMORYSTATUSEX memory(void)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    if (!GlobalMemoryStatusEx(&m))
        m = (MEMORYSTATUSEX){0};
    return m;
}

uint64_t os_memory_total(void)
{
    return memory().ullTotalPhys;
}

uint64_t os_memory_available(void)
{
    return memory().ullAvailPhys;
}

unsigned os_cpu_count(void)
{
    DWORD n = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return n ? n : 1;
}

/* ---- where things usually are ---- */

static char *data_path, *config_path, *arc_token_dir;

/* Asked of the system, not of the environment, which an ordinary user can set for programs that he starts elevated. */
static void find_places(void)
{
    wchar_t w[MAX_PATH];
    struct err ignored;
    AUTO_FREE char *folder = NULL;
    if (SHGetFolderPathW(NULL, CSIDL_COMMON_APPDATA, NULL, SHGFP_TYPE_CURRENT, w) != S_OK || win_utf8(w, &folder, &ignored) < 0)
        folder = NULL;
    data_path = os_path_join(folder ? folder : "C:\\ProgramData", "vmrecover");
    config_path = data_path ? os_path_join(data_path, "vmrecover.conf") : NULL;
    arc_token_dir = os_path_join(folder ? folder : "C:\\ProgramData", "AzureConnectedMachineAgent\\Tokens");
    if (!data_path || !config_path || !arc_token_dir)
        abort();                                      /* no memory at the start of the program */
}

static pthread_once_t places = PTHREAD_ONCE_INIT;

/* The service's account is SYSTEM, which nobody signs in to; PsExec is Microsoft's own. */
char *os_as_daemon(const char *command, const char *variable, const char *value)
{
    return value ? str_printf("PsExec -s cmd /c \"set %s=%s&& %s\"", variable, value, command) : str_printf("PsExec -s cmd /c %s", command);
}

const char *os_status_command(void)
{
    return "sc.exe query vmrecoverd";                 /* in PowerShell sc alone is another command */
}

const char *os_write_hint(void)
{
    return "Leave \"path\" out (the file then goes to the folder exports of the data folder), or let the account of the service (SYSTEM) write to "
           "that folder.";
}

const char *os_config_path(void)
{
    pthread_once(&places, find_places);
    return config_path;
}

const char *os_data_path(void)
{
    pthread_once(&places, find_places);
    return data_path;
}

const char *os_arc_token_dir(void)
{
    pthread_once(&places, find_places);
    return arc_token_dir;
}

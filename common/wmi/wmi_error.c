/* HRESULTs of WMI and of COM below it, as our errors: one table. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/wmi/wmi.h"

static const struct status {
    uint32_t hresult;
    enum err_code code;
    const char *text, *hint;
} table[] = {
    {WMI_E_FAILED, ERR_UPSTREAM_FINAL, "the call failed", NULL},
    {WMI_E_NOT_FOUND, ERR_NOT_FOUND, "there is no such object", NULL},
    {WMI_E_ACCESS_DENIED, ERR_PERMISSION, "access was denied",
     "Run the daemon as SYSTEM, as an elevated administrator, or as a member of Hyper-V Administrators (S-1-5-32-578)."},
    {WMI_E_PROVIDER_FAILURE, ERR_UPSTREAM, "the provider failed", "See whether the service behind it runs (Hyper-V: vmms), and its event log."},
    {WMI_E_TYPE_MISMATCH, ERR_INTERNAL, "a value has the wrong type", NULL},
    {WMI_E_OUT_OF_MEMORY, ERR_OOM, "WMI has no memory", NULL},
    {WMI_E_INVALID_PARAMETER, ERR_INTERNAL, "a parameter is not valid", NULL},
    {WMI_E_NOT_SUPPORTED, ERR_UNSUPPORTED, "the provider does not do that", NULL},
    {WMI_E_INVALID_NAMESPACE, ERR_HYPERVISOR, "the namespace is not there",
     "Install the Hyper-V role (on a server: Install-WindowsFeature Hyper-V -IncludeManagementTools; else: the Windows feature Hyper-V) and restart."},
    {WMI_E_INVALID_CLASS, ERR_NOT_FOUND, "there is no such class", NULL},
    {WMI_E_PROVIDER_LOAD_FAILURE, ERR_HYPERVISOR, "the provider cannot be loaded", "Repair or reinstall the Hyper-V role."},
    {WMI_E_INVALID_QUERY, ERR_INTERNAL, "the query is not valid", NULL},
    {WMI_E_ALREADY_EXISTS, ERR_WRONG_STATE, "it exists already", NULL},
    {WMI_E_INVALID_METHOD, ERR_INTERNAL, "there is no such method", NULL},
    {WMI_E_INVALID_METHOD_PARAMETERS, ERR_INTERNAL, "the method does not take these parameters", NULL},
    {WMI_E_CALL_CANCELLED, ERR_CANCELLED, "the call was cancelled", NULL},
    {WMI_E_SHUTTING_DOWN, ERR_UNREACHABLE, "WMI is shutting down", NULL},
    {WMI_E_INVALID_OBJECT_PATH, ERR_INTERNAL, "the object path is not valid", NULL},
    {WMI_E_SERVER_TOO_BUSY, ERR_UPSTREAM, "WMI is too busy", NULL},
    {WMI_E_PRIVILEGE_NOT_HELD, ERR_PERMISSION, "a privilege is missing", "Run the daemon as SYSTEM or as an elevated administrator."},
    {WMI_E_TIMED_OUT, ERR_TIMEOUT, "it did not answer in time", NULL},
    {WMI_E_QUOTA_VIOLATION, ERR_UPSTREAM, "a quota of WMI is used up", NULL},
    {WMI_E_PROVIDER_TIMED_OUT, ERR_TIMEOUT, "the provider did not answer in time", NULL},
    {WMI_E_RPC_UNAVAILABLE, ERR_UNREACHABLE, "the service does not answer (RPC server unavailable)",
     "It may just be restarting; see whether the service runs (Hyper-V: vmms)."},
    {WMI_E_RPC_FAILED, ERR_UNREACHABLE, "the service ended during the call", "It may just be restarting; see whether the service runs (Hyper-V: vmms)."},
    {WMI_E_RPC_NOT_DONE, ERR_UNREACHABLE, "the service ended before the call", "It may just be restarting; see whether the service runs (Hyper-V: vmms)."},
    {WMI_E_SERVER_DIED, ERR_UNREACHABLE, "the service ended during the call", "It may just be restarting; see whether the service runs (Hyper-V: vmms)."},
    {WMI_E_SERVER_DIED_BEFORE, ERR_UNREACHABLE, "the service ended before the call", "It may just be restarting; see whether the service runs (Hyper-V: vmms)."},
    {WMI_E_DISCONNECTED, ERR_UNREACHABLE, "the service was restarted", NULL},
    {WMI_E_NOT_CONNECTED, ERR_UNREACHABLE, "the service was restarted", NULL},
    {WMI_E_TRANSPORT_FAILURE, ERR_UNREACHABLE, "the connection to WMI broke", NULL},
    {0x80070002u, ERR_NOT_FOUND, "the file was not found", NULL},
    {0x80070003u, ERR_NOT_FOUND, "the path was not found", NULL},
    {0x80070005u, ERR_PERMISSION, "access was denied",
     "Run the daemon as SYSTEM, as an elevated administrator, or as a member of Hyper-V Administrators (S-1-5-32-578)."},
    {0x8007000Eu, ERR_OOM, "there is not enough memory", NULL},
    {0x80070057u, ERR_UPSTREAM_FINAL, "a parameter is wrong", NULL},
    {0x80070070u, ERR_DISK_FULL, "the volume is full", NULL},
    {0x80070490u, ERR_UPSTREAM_FINAL, "an element was not found", NULL},
    {0x80040154u, ERR_HYPERVISOR, "a component of Windows is not registered", "Repair Windows Management Instrumentation."},
};

static const char *service_of(const char *ns)
{
    return str_ieq(ns, WMI_NS_HYPERV)    ? "hyperv"
           : str_ieq(ns, WMI_NS_STORAGE) ? "windows_storage"
           : str_ieq(ns, WMI_NS_NETWORK) ? "windows_network"
                                         : "wmi";
}

int wmi_fail(struct err *e, const char *ns, uint32_t hresult, const struct wmi_status *ext, const char *fmt, ...)
{
    static const struct status unknown = {0, ERR_UPSTREAM_FINAL, "it failed", NULL};
    const struct status *s = &unknown;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].hresult == hresult)
            s = &table[i];
    char what[sizeof e->msg], detail[sizeof e->msg] = "";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (ext && (ext->description || ext->parameter || ext->operation))
        snprintf(detail, sizeof detail, " (%.160s%s%.80s%s%.60s)", ext->description ? ext->description : "",
                 ext->description && ext->parameter ? "; " : "", ext->parameter ? ext->parameter : "",
                 ext->operation && (ext->description || ext->parameter) ? "; in " : "", ext->operation ? ext->operation : "");
    for (char *p = detail; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    err_set(e, s->code, "%.240s: %s, 0x%08X%s", what, s->text, (unsigned)hresult, detail);
    e->os_code = (long)(int32_t)hresult;
    snprintf(e->upstream.service, sizeof e->upstream.service, "%s", service_of(ns));
    snprintf(e->upstream.code, sizeof e->upstream.code, "0x%08X", (unsigned)hresult);
    if (s->hint)
        err_hint(e, "%s", s->hint);
    return -(int)s->code;
}

int wmi_no_answer(struct err *e, const char *ns)
{
    if (!e->upstream.service[0])
        snprintf(e->upstream.service, sizeof e->upstream.service, "%s", service_of(ns));
    return err_hint(e, "See whether the service behind it answers (Hyper-V: vmms, for instance in Hyper-V Manager); the task is tried again.");
}

uint32_t wmi_hresult(const struct err *e)
{
    bool ours = str_starts(e->upstream.code, "0x") && e->os_code < 0;
    return ours ? (uint32_t)(int32_t)e->os_code : 0;
}

/* Connections to Hyper-V and to Windows' network settings, made at the first need: the role may be installed while we run. */
#include <stdarg.h>
#include <string.h>

#include "common/clock.h"
#include "hyperv/hyperv.h"

#define SLEEP_SLICE_MS 200u

static const char *const service_classes[HYPERV_SERVICES] = {
    [HYPERV_VMS] = "Msvm_VirtualSystemManagementService",
    [HYPERV_SNAPSHOTS] = "Msvm_VirtualSystemSnapshotService",
    [HYPERV_IMAGES] = "Msvm_ImageManagementService",
    [HYPERV_SWITCHES] = "Msvm_VirtualEthernetSwitchManagementService",
};

const char *hyperv_service_class(enum hyperv_service s)
{
    return service_classes[s];
}

struct wmi_wait hyperv_wait(struct hyperv *h, unsigned timeout_ms, bool stoppable)
{
    return (struct wmi_wait){.timeout_ms = timeout_ms, .stop = stoppable ? h->stop : NULL, .arg = h->stop_arg};
}

int64_t hyperv_now(struct hyperv *h)
{
    return h->p.host->now_ms(h->p.host_arg);
}

int hyperv_sleep(struct hyperv *h, const struct wmi_wait *w, unsigned ms, struct err *e)
{
    for (;;) {
        if (w->stop && w->stop(w->arg))
            return err_set(e, ERR_CANCELLED, "the operation was given up");
        if (!ms)
            return 0;
        unsigned slice = ms < SLEEP_SLICE_MS ? ms : SLEEP_SLICE_MS;
        h->p.host->sleep_ms(h->p.host_arg, slice);
        ms -= slice;
    }
}

static int connect_to(struct hyperv *h, const char *ns, struct wmi **place, const struct wmi_wait *w, struct wmi **ret, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&h->connecting);
    if (!*place) {
        struct wmi *made = NULL;
        r = wmi_open(h->p.wmi, h->p.wmi_arg, ns, w, &made, e);
        if (r == 0) {
            wmi_set_trace(made, h->p.trace, h->p.trace_arg);
            *place = made;
        }
    }
    if (r == 0)
        *ret = *place;
    pthread_mutex_unlock(&h->connecting);
    return r;
}

int hyperv_wmi(struct hyperv *h, const struct wmi_wait *w, struct wmi **ret, struct err *e)
{
    return connect_to(h, WMI_NS_HYPERV, &h->wmi, w, ret, e);
}

int hyperv_network_wmi(struct hyperv *h, const struct wmi_wait *w, struct wmi **ret, struct err *e)
{
    return connect_to(h, WMI_NS_NETWORK, &h->network, w, ret, e);
}

int hyperv_query(struct hyperv *h, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *wql = str_vprintf(fmt, ap);
    va_end(ap);
    struct wmi *wmi;
    int r = wql ? hyperv_wmi(h, w, &wmi, e) : err_oom(e);
    return r < 0 ? r : wmi_query(wmi, wql, WMI_ROWS_MAX, w, ret, e);
}

int hyperv_query_one(struct hyperv *h, const struct wmi_wait *w, struct wmi_object **ret, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *wql = str_vprintf(fmt, ap);
    va_end(ap);
    struct wmi *wmi;
    int r = wql ? hyperv_wmi(h, w, &wmi, e) : err_oom(e);
    return r < 0 ? r : wmi_query_one(wmi, wql, w, ret, e);
}

/* An account without rights is not refused: it sees no instances. */
int hyperv_service(struct hyperv *h, enum hyperv_service s, const struct wmi_wait *w, const char **ret, struct err *e)
{
    pthread_mutex_lock(&h->connecting);
    *ret = h->services[s];
    pthread_mutex_unlock(&h->connecting);
    if (*ret)
        return 0;
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    char *path = NULL;
    int r = hyperv_query_one(h, w, &o, e, "SELECT * FROM %s", service_classes[s]);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e)) {
        err_set(e, ERR_PERMISSION, "Hyper-V does not show %s to this account", service_classes[s]);
        snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
        return err_hint(e, "Run the daemon as SYSTEM, as an elevated administrator, or as a member of Hyper-V Administrators (S-1-5-32-578); "
                           "see that the service vmms runs.");
    }
    if (r == 0)
        r = wmi_path(o, &path, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&h->connecting);
    if (h->services[s])
        free(path);
    else
        h->services[s] = path;
    *ret = h->services[s];
    pthread_mutex_unlock(&h->connecting);
    return 0;
}

/* What this host's Hyper-V can do, as rows of the host report. */
#include <string.h>

#include "hyperv/hyperv.h"

#define MIB ((uint64_t)1 << 20)
#define LITTLE_MIB 1024u

struct report { struct hv_check *rows; size_t n, max; };

static void row(struct report *t, const char *check, enum hv_check_status status, const char *remedy, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
static void row(struct report *t, const char *check, enum hv_check_status status, const char *remedy, const char *fmt, ...)
{
    if (t->n >= t->max)
        return;
    struct hv_check *c = &t->rows[t->n++];
    va_list ap;
    memset(c, 0, sizeof *c);
    c->status = status;
    snprintf(c->check, sizeof c->check, "%s", check);
    snprintf(c->remedy, sizeof c->remedy, "%s", remedy ? remedy : "");
    va_start(ap, fmt);
    vsnprintf(c->detail, sizeof c->detail, fmt, ap);
    va_end(ap);
}

/* The newest configuration version that Hyper-V here makes stands for its release. */
static bool report_hypervisor(struct hyperv *h, struct report *t, const struct wmi_wait *w)
{
    const char *service;
    struct err e;
    int r = hyperv_service(h, HYPERV_VMS, w, &service, &e);
    if (r == -ERR_PERMISSION) {
        row(t, "hypervisor", HV_OK, NULL, "Hyper-V is installed");
        row(t, "rights", HV_CHECK_FAILED, err_hint_text(&e), "%.200s", e.msg);
        return false;
    }
    if (r < 0) {
        row(t, "hypervisor", HV_CHECK_FAILED, err_hint_text(&e), "%.200s", e.msg);
        return false;
    }
    row(t, "hypervisor", HV_OK, NULL, "Hyper-V is installed");
    row(t, "rights", HV_OK, NULL, "this account may manage Hyper-V");
    return true;
}

static void report_acceleration(struct hyperv *h, struct report *t)
{
    if (h->p.host->hypervisor_runs(h->p.host_arg))
        row(t, "acceleration", HV_OK, NULL, "the hypervisor runs");
    else
        row(t, "acceleration", HV_CHECK_FAILED,
            "Turn on virtualization in the firmware (in Azure: a VM size with nested virtualization, security type Standard); "
            "see that bcdedit shows hypervisorlaunchtype Auto; restart the host.",
            "the hypervisor does not run; virtual machines can be defined, not started");
}

static void report_size(struct hyperv *h, struct report *t)
{
    uint64_t total = 0, available = 0;
    unsigned cpus = 0;
    h->p.host->size(h->p.host_arg, &total, &available, &cpus);
    bool little = available / MIB < LITTLE_MIB;
    row(t, "memory", little ? HV_WARNING : HV_OK, little ? "Stop other virtual machines or programs." : NULL,
        "%llu MiB of %llu MiB are free; %u processors", (unsigned long long)(available / MIB), (unsigned long long)(total / MIB), cpus);
}

static void report_switches(struct hyperv *h, struct report *t, const struct wmi_wait *w)
{
    struct wmi_rows rows = {0};
    struct err e;
    AUTO_STRBUF struct strbuf names = {.max = 180};
    if (hyperv_query(h, w, &rows, &e, "SELECT * FROM Msvm_VirtualEthernetSwitch") < 0) {
        row(t, "switches", HV_WARNING, err_hint_text(&e), "%.200s", e.msg);
        return;
    }
    for (size_t i = 0; i < rows.n; i++) {
        AUTO_FREE char *name = wmi_str(rows.at[i], "ElementName");
        if (name)
            strbuf_addf(&names, "%s%s", names.len ? ", " : "", name);
    }
    row(t, "switches", HV_OK, NULL, rows.n ? "switch:<name> can be: %s%s" : "there is no virtual switch%s%s", names.data ? names.data : "",
        names.failed ? ", …" : "");
    wmi_rows_clear(&rows);
    char prefix[32];
    if (hyperv_nat_prefix(h, prefix, sizeof prefix))
        row(t, "nat", HV_OK, NULL, "the network 'nat' is %s; guests get no address by themselves: give them one of it, with its first as gateway", prefix);
}

size_t hyperv_report(struct hv *hv, struct hv_check *rows, size_t max)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    struct report t = {rows, 0, max};
    bool usable = report_hypervisor(h, &t, &w);
    report_acceleration(h, &t);
    report_size(h, &t);
    if (usable)
        report_switches(h, &t, &w);
    return t.n;
}

/* What this host's Hyper-V can do, as rows of the host report. */
#include <stdlib.h>
#include <string.h>

#include "hyperv/hyperv.h"

#define MIB ((uint64_t)1 << 20)
#define LITTLE_MIB 1024u
#define FEATURE_MS 15000

/* The newest configuration version that Hyper-V here makes stands for its release. */
static bool report_hypervisor(struct hyperv *h, struct hv_rows *t, const struct wmi_wait *w, bool *ret_enabled)
{
    const char *service;
    struct err e;
    int r = hyperv_service(h, HYPERV_VMS, w, &service, &e);
    *ret_enabled = r == 0 || r == -ERR_PERMISSION;
    if (r == -ERR_PERMISSION) {
        hv_rows_add(t, "hypervisor", HV_OK, NULL, "Hyper-V is installed");
        hv_rows_add(t, "rights", HV_CHECK_FAILED, err_hint_text(&e), "%.200s", e.msg);
        return false;
    }
    if (r < 0) {
        hv_rows_add(t, "hypervisor", HV_CHECK_FAILED, err_hint_text(&e), "%.200s", e.msg);
        return false;
    }
    hv_rows_add(t, "hypervisor", HV_OK, NULL, "Hyper-V is installed");
    hv_rows_add(t, "rights", HV_OK, NULL, "this account may manage Hyper-V");
    return true;
}

/* Editions without Hyper-V: Home, and its siblings (OperatingSystemSKU). */
static bool is_home(uint64_t sku)
{
    return sku == 2 || sku == 3 || sku == 5 || (sku >= 98 && sku <= 101);
}

/* Asking for the feature is slow: only when Hyper-V did not answer already. */
static void read_windows(struct hyperv *h, bool enabled, struct host_facts *f)
{
    struct wmi_wait w = hyperv_wait(h, FEATURE_MS, true);
    struct err ignored;
    AUTO(wmi_close_ptr) struct wmi *wmi = NULL;
    AUTO(wmi_object_free_ptr) struct wmi_object *os = NULL, *feature = NULL;
    f->feature = enabled ? HOST_FEATURE_ENABLED : HOST_FEATURE_UNKNOWN;
    if (wmi_open(h->p.wmi, h->p.wmi_arg, WMI_NS_CIMV2, &w, &wmi, &ignored) < 0)
        return;
    if (wmi_query_one(wmi, "SELECT * FROM Win32_OperatingSystem", &w, &os, &ignored) == 0) {
        AUTO_FREE char *build = wmi_str(os, "BuildNumber");
        f->build = build ? (unsigned)strtoul(build, NULL, 10) : 0;
        f->client = wmi_uint(os, "ProductType", 3) == 1;
        f->home = is_home(wmi_uint(os, "OperatingSystemSKU", 0));
    }
    if (enabled)
        return;
    int r = wmi_query_one(wmi, "SELECT * FROM Win32_OptionalFeature WHERE Name=\"Microsoft-Hyper-V\"", &w, &feature, &ignored);
    uint64_t state = r == 0 ? wmi_uint(feature, "InstallState", 4) : 4;
    f->feature = state == 1 ? HOST_FEATURE_ENABLED : state == 2 ? HOST_FEATURE_DISABLED : state == 3 ? HOST_FEATURE_ABSENT : HOST_FEATURE_UNKNOWN;
}

void hyperv_host_facts(const struct hyperv_platform *p, struct host_facts *ret)
{
    *ret = (struct host_facts){.cpu_known = true};
    ret->root = p->host->hypervisor_runs(p->host_arg);
    ret->nested = true;                                /* where nobody can say, this is not what is missing */
    if (p->host->facts)
        p->host->facts(p->host_arg, ret);
}

static void report_facts(struct hyperv *h, struct hv_rows *t, bool enabled, struct hv_role *ret_role)
{
    struct host_facts f;
    hyperv_host_facts(&h->p, &f);
    role_get(h->role, ret_role);
    f.task = ret_role->state;
    f.task_percent = ret_role->percent;
    read_windows(h, enabled, &f);
    t->n += host_facts_judge(&f, t->rows + t->n, t->max - t->n);
    ret_role->state = host_facts_role(&f);
}

int hyperv_role_enable(struct hv *hv, bool force, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct host_facts f;
    struct hv_role task;
    role_get(h->role, &task);
    hyperv_host_facts(&h->p, &f);
    int r = force || task.state == HV_ROLE_ENABLING ? 0 : host_facts_may_enable(&f, e);
    return r < 0 ? r : role_start(h->role, e);
}

static void report_size(struct hyperv *h, struct hv_rows *t)
{
    uint64_t total = 0, available = 0;
    unsigned cpus = 0;
    h->p.host->size(h->p.host_arg, &total, &available, &cpus);
    bool little = available / MIB < LITTLE_MIB;
    hv_rows_add(t, "memory", little ? HV_WARNING : HV_OK, little ? "Stop other virtual machines or programs." : NULL,
        "%llu MiB of %llu MiB are free; %u processors", (unsigned long long)(available / MIB), (unsigned long long)(total / MIB), cpus);
}

static void report_switches(struct hyperv *h, struct hv_rows *t, const struct wmi_wait *w)
{
    struct wmi_rows rows = {0};
    struct err e;
    AUTO_STRBUF struct strbuf names = {.max = 180};
    if (hyperv_query(h, w, &rows, &e, "SELECT * FROM Msvm_VirtualEthernetSwitch") < 0) {
        hv_rows_add(t, "switches", HV_WARNING, err_hint_text(&e), "%.200s", e.msg);
        return;
    }
    for (size_t i = 0; i < rows.n; i++) {
        AUTO_FREE char *name = wmi_str(rows.at[i], "ElementName");
        if (name)
            strbuf_addf(&names, "%s%s", names.len ? ", " : "", name);
    }
    hv_rows_add(t, "switches", HV_OK, NULL, rows.n ? "switch:<name> can be: %s%s" : "there is no virtual switch%s%s", names.data ? names.data : "",
        names.failed ? ", …" : "");
    wmi_rows_clear(&rows);
    char prefix[32];
    if (hyperv_nat_prefix(h, prefix, sizeof prefix))
        hv_rows_add(t, "nat", HV_OK, NULL,
                    "the network 'nat' is %s; guests get no address by themselves: give them one of it, with its first as gateway", prefix);
}

size_t hyperv_report(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    struct hv_rows t = {rows, 0, max};
    bool enabled = false, usable = report_hypervisor(h, &t, &w, &enabled);
    report_facts(h, &t, enabled, ret_role);
    report_size(h, &t);
    if (usable)
        report_switches(h, &t, &w);
    return t.n;
}

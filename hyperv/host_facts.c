#include "hyperv/host_facts.h"

static void judge_windows(const struct host_facts *f, struct hv_rows *t)
{
    if (!f->build)
        return;
    const char *kind = f->client ? "Windows" : "Windows Server";
    if (f->build < HOST_OLDEST_BUILD)
        hv_rows_add(t, "windows", HV_CHECK_FAILED, "Use Windows Server 2016 or later.", "%s, build %u, is too old", kind, f->build);
    else if (f->home)
        hv_rows_add(t, "windows", HV_CHECK_FAILED, "Use Windows Server, or a Pro, Enterprise or Education edition.",
                    "this edition of Windows (build %u) has no Hyper-V", f->build);
    else
        hv_rows_add(t, "windows", HV_OK, NULL, "%s, build %u", kind, f->build);
}

/* Without VMX or SVM the role would install and no VM would start: said before anybody installs it. */
static bool can_run(const struct host_facts *f)
{
    return !f->cpu_known || f->root || f->nested;
}

static void judge_role(const struct host_facts *f, struct hv_rows *t)
{
    const char *how = f->client ? "Turn on the Windows feature Hyper-V (dism /online /enable-feature /all /featurename:Microsoft-Hyper-V-All), then restart."
                                : "Install the role Hyper-V (dism /online /enable-feature /all /featurename:Microsoft-Hyper-V), then restart.";
    switch (f->feature) {
    case HOST_FEATURE_ENABLED:
        hv_rows_add(t, "hyperv_role", HV_OK, NULL, "the feature Hyper-V is enabled");
        break;
    case HOST_FEATURE_DISABLED:
        hv_rows_add(t, "hyperv_role", HV_CHECK_FAILED, can_run(f) ? how : "See nested_virtualization first: here the feature would be of no use.",
                    "the feature Hyper-V is not enabled");
        break;
    case HOST_FEATURE_ABSENT:
        hv_rows_add(t, "hyperv_role", HV_CHECK_FAILED,
            f->home ? "Use an edition of Windows that has Hyper-V." : "Its files were removed from this Windows: install it with a source (dism /source:…).",
            "the feature Hyper-V is not there");
        break;
    default: break;
    }
}

static void judge_processor(const struct host_facts *f, struct hv_rows *t)
{
    if (!f->cpu_known)
        return;
    bool guest = f->hypervisor && !f->root;
    if (f->root)
        hv_rows_add(t, "acceleration", HV_OK, NULL, "the hypervisor runs");
    else
        hv_rows_add(t, "acceleration", HV_CHECK_FAILED,
            !f->nested                                ? "See nested_virtualization."
            : f->reboot_pending                       ? "Restart the host."
            : f->feature != HOST_FEATURE_ENABLED      ? "Install the role Hyper-V, then restart the host."
                                                      : "See that bcdedit shows hypervisorlaunchtype Auto, then restart the host.",
            "Hyper-V's hypervisor does not run; virtual machines can be defined, not started");
    if (f->root)
        return;                                        /* it has what it needs */
    if (f->nested)
        hv_rows_add(t, "nested_virtualization", HV_OK, NULL,
                    guest ? "this host is a virtual machine, and may run virtual machines itself" : "the processor's virtualization is on");
    else if (guest)
        hv_rows_add(t, "nested_virtualization", HV_CHECK_FAILED,
            "In Azure: resize this VM to a size with nested virtualization (Dv3, Ev3 and most later D and E sizes), security type Standard, not Trusted launch. "
            "Elsewhere: let the host expose it to this VM.",
            "this host is a virtual machine (%s) without nested virtualization", *f->vendor ? f->vendor : "unknown hypervisor");
    else
        hv_rows_add(t, "nested_virtualization", HV_CHECK_FAILED, "Turn on VT-x or AMD-V in the firmware.",
                    "the processor's virtualization is off or missing");
}

size_t host_facts_judge(const struct host_facts *f, struct hv_check *rows, size_t max)
{
    struct hv_rows t = {rows, 0, max};
    judge_windows(f, &t);
    judge_role(f, &t);
    judge_processor(f, &t);
    if (f->reboot_known && f->reboot_pending)
        hv_rows_add(&t, "reboot", f->root ? HV_WARNING : HV_CHECK_FAILED, "Restart the host; running virtual machines stop with it.",
                    "Windows waits for a restart to finish an installation");
    else if (f->reboot_known)
        hv_rows_add(&t, "reboot", HV_OK, NULL, "no restart is pending");
    return t.n;
}

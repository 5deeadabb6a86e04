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

enum hv_role_state host_facts_role(const struct host_facts *f)
{
    if (f->task == HV_ROLE_ENABLING)
        return HV_ROLE_ENABLING;
    if (f->feature == HOST_FEATURE_ENABLED || f->task == HV_ROLE_ENABLED) {
        bool due = f->task == HV_ROLE_RESTART_NEEDED || (f->reboot_known && f->reboot_pending);
        return due && !f->root ? HV_ROLE_RESTART_NEEDED : HV_ROLE_ENABLED;
    }
    if (f->task != HV_ROLE_UNAVAILABLE)                /* servicing knows before the feature's row does */
        return f->task;
    return f->feature == HOST_FEATURE_DISABLED ? HV_ROLE_DISABLED : HV_ROLE_UNAVAILABLE;
}

#define ENABLE "Enable it: `vmrecover enable-hyperv`, or `vmrecoverd setup`; then restart the host."

static void judge_role(const struct host_facts *f, struct hv_rows *t)
{
    enum hv_role_state state = host_facts_role(f);
    if (state == HV_ROLE_ENABLING)
        hv_rows_add(t, "hyperv_role", HV_CHECK_FAILED, "Wait until it is done.", "the feature Hyper-V is being enabled: %u %%", f->task_percent);
    else if (state == HV_ROLE_RESTART_NEEDED)
        hv_rows_add(t, "hyperv_role", HV_CHECK_FAILED, "Restart the host.", "the feature Hyper-V is enabled from the next restart on");
    else if (state == HV_ROLE_ENABLED)
        hv_rows_add(t, "hyperv_role", HV_OK, NULL, "the feature Hyper-V is enabled");
    else if (f->feature == HOST_FEATURE_DISABLED)
        hv_rows_add(t, "hyperv_role", HV_CHECK_FAILED, can_run(f) ? ENABLE : "See nested_virtualization first: here the feature would be of no use.",
                    state == HV_ROLE_FAILED ? "enabling the feature Hyper-V failed" : "the feature Hyper-V is not enabled");
    else if (f->feature == HOST_FEATURE_ABSENT || state == HV_ROLE_FAILED)
        hv_rows_add(t, "hyperv_role", HV_CHECK_FAILED,
            f->home ? "Use an edition of Windows that has Hyper-V."
                    : "Try `vmrecover enable-hyperv`: it says what is missing. Where its files were removed, dism takes a medium of this Windows (/source:…).",
            state == HV_ROLE_FAILED ? "enabling the feature Hyper-V failed" : "the feature Hyper-V is not there");
}

static bool is_guest(const struct host_facts *f)
{
    return f->hypervisor && !f->root;
}

#define RESIZE "In Azure: resize this VM to a size with nested virtualization (Dv3, Ev3 and most later D and E sizes), security type Standard, not Trusted launch. " \
               "Elsewhere: let the host expose it to this VM."
#define FIRMWARE "Turn on VT-x or AMD-V in the firmware."

int host_facts_may_enable(const struct host_facts *f, struct err *e)
{
    if (can_run(f))
        return 0;
    if (is_guest(f))
        err_set(e, ERR_WRONG_STATE, "Hyper-V would be of no use here: this host is a virtual machine (%s) without nested virtualization, and could start none itself",
                *f->vendor ? f->vendor : "unknown hypervisor");
    else
        err_set(e, ERR_WRONG_STATE, "Hyper-V would be of no use here: the processor's virtualization is off or missing");
    return err_hint(e, "%s To enable it all the same: --force, or {\"force\": true}.", is_guest(f) ? RESIZE : FIRMWARE);
}

static void judge_processor(const struct host_facts *f, struct hv_rows *t)
{
    if (!f->cpu_known)
        return;
    bool guest = is_guest(f);
    if (f->root)
        hv_rows_add(t, "acceleration", HV_OK, NULL, "the hypervisor runs");
    else
        hv_rows_add(t, "acceleration", HV_CHECK_FAILED,
            !f->nested                                ? "See nested_virtualization."
            : f->reboot_pending || host_facts_role(f) == HV_ROLE_RESTART_NEEDED ? "Restart the host."
            : host_facts_role(f) != HV_ROLE_ENABLED   ? "See hyperv_role."
                                                      : "See that bcdedit shows hypervisorlaunchtype Auto, then restart the host.",
            "Hyper-V's hypervisor does not run; virtual machines can be defined, not started");
    if (f->root)
        return;                                        /* it has what it needs */
    if (f->nested)
        hv_rows_add(t, "nested_virtualization", HV_OK, NULL,
                    guest ? "this host is a virtual machine, and may run virtual machines itself" : "the processor's virtualization is on");
    else if (guest)
        hv_rows_add(t, "nested_virtualization", HV_CHECK_FAILED, RESIZE, "this host is a virtual machine (%s) without nested virtualization", *f->vendor ? f->vendor : "unknown hypervisor");
    else
        hv_rows_add(t, "nested_virtualization", HV_CHECK_FAILED, FIRMWARE,
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

/* What makes a Windows host fit for Hyper-V: facts, and what follows from them as rows of the host report. The facts are read elsewhere (hyperv_report.c from
 * WMI, hyperv_host_win32.c from the processor and the registry), so that what is said about each combination is tested on any system. Threads: any. */
#ifndef VMR_HYPERV_HOST_FACTS_H
#define VMR_HYPERV_HOST_FACTS_H

#include "hyperv/hypervisor.h"

#define HOST_OLDEST_BUILD 14393u                       /* Server 2016, Windows 10 1607 */

enum host_feature { HOST_FEATURE_UNKNOWN, HOST_FEATURE_ENABLED, HOST_FEATURE_DISABLED, HOST_FEATURE_ABSENT };      /* Win32_OptionalFeature.InstallState */

struct host_facts {
    unsigned build;                                    /* 0: not known */
    bool client;                                       /* Windows 10 or 11 */
    bool home;                                         /* an edition without Hyper-V */
    enum host_feature feature;
    /* CPUID. Under Hyper-V as root partition `nested` says nothing: the hypervisor takes VMX and SVM for itself. */
    bool cpu_known, hypervisor, root, nested;
    char vendor[13];                                   /* of the hypervisor below us */
    bool reboot_known, reboot_pending;                 /* Windows' servicing waits for a restart */
    enum hv_role_state task;                           /* our own enabling of the role: how it ended, or goes on; HV_ROLE_UNAVAILABLE: there was none */
    unsigned task_percent;
};

/* Fills at most max rows, returns how many: "windows", "hyperv_role", "acceleration", "nested_virtualization", "reboot". Facts that are not known make no row, but
 * for those that decide. */
size_t host_facts_judge(const struct host_facts *f, struct hv_check *rows, size_t max);
/* What has become of the role. */
enum hv_role_state host_facts_role(const struct host_facts *f);
/* Is it of use to enable the role? ERR_WRONG_STATE: no VM could run on this processor. Looks at the processor alone. */
int host_facts_may_enable(const struct host_facts *f, struct err *e);

#endif

/* The Windows host below the Hyper-V driver: hyperv_host.h on Windows, and what its tests and the host report look at. Threads: any. */
#ifndef VMR_HYPERV_HOST_WIN32_H
#define VMR_HYPERV_HOST_WIN32_H

#include "hyperv/hyperv_host.h"

extern const struct hyperv_host_ops hyperv_host_win32;
extern const struct role_ops role_dism;                /* role_win32.c */

/* The account of a VM's process as text: NT VIRTUAL MACHINE\<GUID>, S-1-5-83-1- and the GUID as four numbers; of all VMs with NULL. */
int hyperv_account_sid(const char *vm_guid, char *ret, size_t size, struct err *e);

struct hyperv_cpu {
    bool hypervisor;                                   /* some hypervisor is below us: Hyper-V in its root partition, or any in a guest */
    bool root;                                         /* it is Hyper-V, and we are its root partition: VMs can run */
    bool nested;                                       /* VMX or SVM is there; under Hyper-V as root it is hidden */
    char vendor[13];                                   /* "Microsoft Hv", "KVMKVMKVM"; empty: none */
};
bool hyperv_cpu(struct hyperv_cpu *ret);               /* false: the processor cannot be asked */

#endif

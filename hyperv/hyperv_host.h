/* What the Hyper-V driver wants of the host beside WMI: facts about files, rights for the VM's account, the clock. hyperv_host_win32.c has the
 * real one; the tests' double of Hyper-V brings its own, so that a file can be "sparse" and an hour can pass at once.
 *
 * Threads: any at once. `arg` is what came with the table in struct hyperv_platform (hyperv.h). */
#ifndef VMR_HYPERV_HOST_H
#define VMR_HYPERV_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "hyperv/host_facts.h"
#include "hyperv/hypervisor.h"
#include "hyperv/role.h"
#include "common/wmi/wmi.h"

struct hyperv_file {
    bool sparse, compressed, encrypted;                /* FILE_ATTRIBUTE_…: Hyper-V refuses such files with 0xC03A001A */
    bool recalled;                                     /* FILE_ATTRIBUTE_OFFLINE, RECALL_ON_…: contents lie elsewhere */
    char file_system[16];                              /* "NTFS", "ReFS", "FAT32"; empty: not known */
};

struct hyperv_host_ops {
    /* ERR_NOT_FOUND when there is no such file or folder. */
    int (*file)(void *arg, const char *path, struct hyperv_file *ret, struct err *e);
    /* Lets a VM's process use a file or folder: an entry in its ACL for NT VIRTUAL MACHINE\<vm_guid> (S-1-5-83-1-…), or with NULL for the
     * group of all VMs (S-1-5-83-0): read, or with `write` read and write. An entry that is there is left as it is. */
    int (*grant)(void *arg, const char *path, const char *vm_guid, bool write, struct err *e);
    /* Takes that entry away again; one that is not there, or a path that is not, is 0. */
    int (*revoke)(void *arg, const char *path, const char *vm_guid, struct err *e);
    /* New files in this folder are not compressed, whatever the folder inherited (FSCTL_SET_COMPRESSION). */
    int (*uncompressed_folder)(void *arg, const char *path, struct err *e);
    /* Does the hypervisor run, and are we its root partition (CPUID 0x40000003, EBX bit 0)? */
    bool (*hypervisor_runs)(void *arg);
    /* What the processor and the registry say: cpu_known and what follows it, reboot_known and what follows it; the rest is left alone. NULL: unknown. */
    void (*facts)(void *arg, struct host_facts *ret);
    /* Memory in bytes, and logical processors: the VM must fit in. */
    void (*size)(void *arg, uint64_t *ret_total, uint64_t *ret_available, unsigned *ret_cpus);
    /* Milliseconds on a monotonic clock, and waiting on that clock. */
    int64_t (*now_ms)(void *arg);
    void (*sleep_ms)(void *arg, unsigned ms);
};

/* What a Hyper-V driver stands on. Borrowed for as long as it is open. */
struct hyperv_platform {
    const struct wmi_ops *wmi;
    void *wmi_arg;
    const struct hyperv_host_ops *host;
    void *host_arg;
    const struct role_ops *role;                       /* Windows' servicing; NULL: none */
    void *role_arg;
    wmi_trace_fn *trace;                               /* told of every call; NULL: nobody is */
    void *trace_arg;
};
/* What is quickly known of it: processor and registry; the rest is zero. hyperv_report.c */
void hyperv_host_facts(const struct hyperv_platform *p, struct host_facts *ret);
/* hv_open of hv_hyperv is this with the platform of the system that we run on. */
int hyperv_open_on(const struct hyperv_platform *p, const struct hv_config *cfg, struct hv **ret, struct err *e);
/* NULL where there is no Hyper-V. driver_win32.c, hyperv_host_posix.c */
const struct hyperv_platform *hyperv_platform_here(void);

#endif

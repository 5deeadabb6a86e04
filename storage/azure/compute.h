/* Microsoft.Compute and subscriptions, typed, as far as discovery and export need them. Each provider has its own api-version.
 * What Azure does not send is "" or 0. Enumerations that are for people and for comparing stay Azure's words.
 * All functions: the errors of arm.h. Sources: azure-rest-api-specs, ComputeRP 2024-03-01, DiskRP 2023-10-02, Resources 2022-12-01.
 * Threads: as arm.h. */
#ifndef VMR_STORAGE_AZURE_COMPUTE_H
#define VMR_STORAGE_AZURE_COMPUTE_H

#include <stdint.h>

#include "storage/azure/arm.h"
#include "common/arm_id.h"

#define COMPUTE_VM_API "2024-03-01"
#define COMPUTE_DISK_API "2023-10-02"
#define COMPUTE_SUBSCRIPTION_API "2022-12-01"
#define COMPUTE_ACCESS_MAX_S 5184000                 /* 60 days: the longest grant */

#define COMPUTE_VM_TYPE "Microsoft.Compute/virtualMachines"
#define COMPUTE_DISK_TYPE "Microsoft.Compute/disks"
#define COMPUTE_SNAPSHOT_TYPE "Microsoft.Compute/snapshots"

/* ---- subscriptions ---- */
struct compute_subscription { char id[37], tenant_id[37], state[24]; char *name; };
void compute_subscriptions_free(struct compute_subscription *list, size_t n);
/* Those that the identity may see. */
int compute_subscriptions(struct arm *a, struct compute_subscription **ret, size_t *ret_n, struct err *e);

/* ---- disks and snapshots: one shape, two types ---- */
struct compute_disk {
    char *id;                                        /* as Azure wrote it: compare with arm_id_equal */
    char *name, *location;
    bool snapshot;
    uint64_t size_bytes;
    char sku[32];                                    /* "Premium_LRS", "PremiumV2_LRS", "UltraSSD_LRS" … */
    char state[24];                                  /* diskState: "Unattached", "Attached", "Reserved", "ActiveSAS" … */
    char os_type[16];                                /* "Windows", "Linux"; "" for a data disk */
    unsigned generation;                             /* 1, 2; 0: not said */
    char encryption[56];                             /* encryption.type: "EncryptionAtRestWithPlatformKey" … */
    bool ade;                                        /* encryptionSettingsCollection.enabled: Azure Disk Encryption inside the guest */
    char security_type[64];                          /* securityProfile.securityType: "TrustedLaunch", "ConfidentialVM_…" */
    char data_access_auth_mode[24];                  /* "None", "AzureActiveDirectory" */
    char network_access_policy[16];                  /* "AllowAll", "AllowPrivate", "DenyAll" */
    char public_network_access[12];                  /* "Enabled", "Disabled" */
    unsigned logical_sector_size;                    /* 512, 4096; 0: not said (512) */
    unsigned shares;                                 /* maxShares: VMs that may have the disk at once; 0, 1: it is not shared */
    bool incremental;                                /* snapshot */
    double completion_percent;                       /* of a background copy; -1: not said (complete) */
    char unique_id[40];
    char *source_id;                                 /* creationData.sourceResourceId, or NULL */
    char source_unique_id[40];
    char *managed_by;                                /* id of the VM, or NULL */
    char *job_tag;                                   /* value of our tag, see COMPUTE_JOB_TAG; or NULL */
    int64_t created_at_ms;                           /* 0: not said */
    int64_t owned_at_ms;                             /* disk: when it was last attached or detached, or its VM started or deallocated; 0: not said */
};
#define COMPUTE_JOB_TAG "vmrecover-job"              /* the tag that names the job that made a snapshot */
void compute_disk_free(struct compute_disk *d);
DEFINE_AUTO(struct compute_disk, compute_disk_free)
void compute_disks_free(struct compute_disk *list, size_t n);
/* Disk or snapshot, as the id's type says. */
int compute_disk_get(struct arm *a, const char *id, struct compute_disk **ret, struct err *e);
/* Of a subscription; resource_group NULL: all. */
int compute_disk_list(struct arm *a, const char *subscription, const char *resource_group, struct compute_disk **ret, size_t *ret_n,
                      struct err *e);
int compute_snapshot_list(struct arm *a, const char *subscription, const char *resource_group, struct compute_disk **ret, size_t *ret_n,
                          struct err *e);

/* Time-limited read access. The SAS is a secret; it has no expiry in it, so that expires_at_ms is reckoned from before the request.
 * beginGetAccess again, while access is granted, gives a SAS again: a grant whose answer was lost is repeated or ended.
 * ERR_WRONG_STATE with Azure's words when the disk is attached to a running VM. */
struct compute_access {
    char *sas;                                       /* mem_free_secret, by compute_access_free */
    char *security_sas;                              /* guest state (…_vmgs) of a confidential or trusted launch disk, or NULL */
    int64_t expires_at_ms;                           /* wall clock */
};
void compute_access_free(struct compute_access *x);  /* wipes; the struct itself is the caller's */
struct compute_access_options {
    unsigned duration_s;                             /* 1..COMPUTE_ACCESS_MAX_S */
    bool guest_state;                                /* ask for security_sas too */
    bool vhdx;                                       /* fileFormat VHDX: snapshots with 4096-byte sectors */
};
int compute_begin_access(struct arm *a, const char *id, const struct compute_access_options *o, struct compute_access *ret, struct err *e);
/* A disk that is gone (arm_error_is_gone) or has no access granted is 0. */
int compute_end_access(struct arm *a, const char *id, struct err *e);

struct compute_snapshot_request {
    const char *id;                                  /* of the snapshot to make */
    const char *source_id, *location;                /* of the disk */
    const char *job_id;                              /* for the tag */
    bool incremental;
    bool zone_redundant;                             /* Standard_ZRS instead of Standard_LRS */
};
/* Find or create: what is there with our tag and this source is taken as it is; ERR_WRONG_STATE when it is somebody else's. Returns when
 * Azure says that it is made; a background copy may still run (completion_percent). */
int compute_snapshot_create(struct arm *a, const struct compute_snapshot_request *q, struct compute_disk **ret, struct err *e);
/* Only what carries the tag of this job: ERR_WRONG_STATE otherwise. What is gone (arm_error_is_gone) is 0. */
int compute_snapshot_delete(struct arm *a, const char *id, const char *job_id, struct err *e);

/* ---- virtual machines ---- */
enum compute_power {
    POWER_UNKNOWN, POWER_STARTING, POWER_RUNNING, POWER_STOPPING, POWER_STOPPED /* still allocated: its disks are attached */,
    POWER_DEALLOCATING, POWER_DEALLOCATED, POWER_STATES
};
const char *compute_power_name(enum compute_power p);    /* "unknown", "starting", "running" … */

struct compute_vm_disk {
    bool os;
    int lun;                                         /* data disk; -1: the OS disk */
    char *name;
    char *id;                                        /* managed disk, as Azure wrote it; NULL: unmanaged */
    char *vhd_url;                                   /* unmanaged: page blob in the user's storage account; NULL: managed */
    uint64_t size_bytes;                             /* as the VM says (whole GiB); 0: not said */
    char storage_type[32];                           /* managedDisk.storageAccountType */
    char security_encryption[40];                    /* managedDisk.securityProfile.securityEncryptionType: confidential VMs */
    bool ephemeral;                                  /* diffDiskSettings: lies on the Azure host, cannot be exported */
    bool ade;                                        /* encryptionSettings of the VM (older Azure Disk Encryption) */
};
#define COMPUTE_VM_DISKS_MAX 65
struct compute_vm {
    char *id, *name, *location, *size;               /* size: "Standard_D2s_v3" */
    char subscription[37], resource_group[91];
    char vm_id[40];                                  /* properties.vmId */
    char os_type[16];
    unsigned generation;                             /* from the instance view; 0: not said (the OS disk tells) */
    enum compute_power power;
    char provisioning_state[24];
    char security_type[24];                          /* "TrustedLaunch", "ConfidentialVM", "" */
    bool encryption_at_host;
    bool boot_diagnostics;                           /* enabled */
    char *boot_diagnostics_storage;                  /* storageUri without query; NULL: managed by Azure, or not enabled */
    char *os_name, *os_version;                      /* what the guest agent said, or NULL */
    struct compute_vm_disk *disks;                   /* the OS disk first, then by LUN */
    size_t n_disks;
};
void compute_vm_free(struct compute_vm *vm);
DEFINE_AUTO(struct compute_vm, compute_vm_free)
void compute_vms_free(struct compute_vm *list, size_t n);
int compute_vm_get(struct arm *a, const char *id, struct compute_vm **ret, struct err *e);     /* with its instance view */
/* name_part: only VMs whose name contains it, ASCII case ignored; NULL: all. Two lists for a whole subscription (model, and status); for a
 * resource group one, and one request more per VM. */
int compute_vm_list(struct arm *a, const char *subscription, const char *resource_group, const char *name_part, struct compute_vm **ret,
                    size_t *ret_n, struct err *e);
/* Waits until it is done (minutes). */
int compute_vm_deallocate(struct arm *a, const char *id, struct err *e);
int compute_vm_start(struct arm *a, const char *id, struct err *e);

#endif

/* A Windows host in memory, behind the seam of common/wmi/wmi.h: Hyper-V, Windows Storage, the network's NAT, and what a host report reads. It
 * answers as the facts say that Windows does; what nobody could find out is a choice, made by the seed, so that a driver meets both.
 *
 * Threads: any at once, but for dbl_new, dbl_free. Objects and connections that a driver holds must be gone before dbl_free. */
#ifndef VMR_TESTS_WMI_DOUBLE_H
#define VMR_TESTS_WMI_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/os.h"
#include "hyperv/hyperv_host.h"
#include "common/wmi/wmi.h"

struct dbl;

enum { DBL_2016 = 14393, DBL_2019 = 17763, DBL_2025 = 26100 };           /* builds of Windows Server */
enum dbl_mode { DBL_CALM, DBL_EVER, DBL_MAYBE };       /* never, always, by chance */

/* What only a real host could tell. Without chance each is as its comment says first. */
enum dbl_choice {
    DBL_SPARSE_AT_START,                               /* 0xC03A001A comes when the disk is attached, or only when the VM starts */
    DBL_EFFECT_AT_END,                                 /* what a job does is to be seen at once, or only when it is done */
    DBL_OUTS_WITH_JOB,                                 /* with 4096 the other results are NULL, or there */
    DBL_STATE_AS_JOB,                                  /* a wrong moment is 32775, or a job that fails */
    DBL_KEYBOARD_WHEN_OFF,                             /* a VM that is off has no Msvm_Keyboard, or one that answers 32775 */
    DBL_SCSI_BY_DEFAULT,                               /* a Generation 2 VM comes without a SCSI controller, or with one */
    DBL_GEN2_REFUSES_VHD,                              /* a .vhd on Generation 2 is taken, or refused */
    DBL_VMMS_GRANTS_PARENTS,                           /* attaching gives the VM rights on the file alone, or on its parents too */
    DBL_LEAVES_FOLDERS,                                /* DestroySystem removes its folders, or leaves them empty */
    DBL_LEAVES_SNAPSHOT_DISKS,                         /* DestroySystem merges checkpoints, or leaves their .avhdx behind */
    DBL_HALF_MADE,                                     /* a failed DefineSystem job leaves nothing, or half a VM */
    DBL_THUMBNAIL_EMPTY,                               /* the screen of a VM that is off is 32775, or empty */
    DBL_STALE_AS_JOB,                                  /* removing what is gone is 32773, or a job that fails */
    DBL_CPUS_AT_START,                                 /* more processors than the host has: 32773 at once, or the start fails */
    DBL_NAT_OVERLAP_IN_EXT,                            /* an overlapping NAT is 0x80070057, or 0x80041001 with 87 in the extended status */
    DBL_OFFLINE_UNREADABLE,                            /* an offline disk's bytes can be read, or not */
    DBL_NO_TRIM,                                       /* disks forget what is trimmed, or cannot */
    DBL_POOL_LEAVES_EDGES,                             /* a disk that leaves a pool is empty at both ends, or not */
    DBL_CHOICES
};

struct dbl_guest {                                     /* what a guest does; times in ms of the double's clock */
    unsigned boot_ms;                                  /* until its integration services answer */
    bool no_services;                                  /* they never do: heartbeat stays 12 */
    bool hangs;                                        /* some time after booting: heartbeat 13, no shutdown */
    unsigned shutdown_ms;                              /* until it is off, once asked */
    bool ignores_shutdown;
    unsigned width, height;                            /* of its screen */
    bool black;                                        /* nothing is ever drawn */
    bool slow_keys;                                    /* its keyboard buffer takes 16 scan codes and drains one each 4 ms */
    bool echoes_serial;
};

struct dbl_options {
    const struct schema *schema;                       /* its build is the host's; borrowed */
    uint64_t seed;
    bool real_time;                                    /* the clock is the system's; else it moves with calls and with sleep_ms alone */
    enum dbl_mode jobs;                                /* methods that may start one: DBL_CALM returns 0 at once */
    enum dbl_mode choices;                             /* CALM: the first of each; EVER: the second; MAYBE: by the seed, one way for one host */
    bool shuffles;                                     /* rows come in any order, paths in any spelling of host and namespace */
    unsigned locked_per_mille;                         /* chance that settings stay locked for some calls after a change: 32775 */
    unsigned vanish_per_mille;                         /* chance that a finished job is gone after a look or two */
    unsigned warn_per_mille;                           /* chance of 32768, completed with warnings */
    const char *language;                              /* of captions and messages: "en", "de", "zh". NULL: en */
    bool client;                                       /* Windows 10/11: automatic checkpoints, Default Switch */
    bool no_role, no_rights, no_hypervisor, no_nat;
    bool nat_once;                                     /* only one NAT per host */
    bool storage_as_text;                              /* embedded objects of Windows Storage: see schema; false */
    unsigned cpus;                                     /* 0: 8 */
    uint64_t memory_mib;                               /* that VMs can have; 0: 16 GiB */
    const char *work_dir;                              /* for files that Windows would make by itself; NULL: none are made */
    struct dbl_guest guest;                            /* of every VM that is made; boot_ms 0: 3 s */
};

struct dbl *dbl_new(const struct dbl_options *o);
void dbl_free(struct dbl *d);
/* The options of a host where all goes by chance. Faults come on top: dbl_fault_rate. */
struct dbl_options dbl_wild(const struct schema *schema, uint64_t seed);
/* Loads tests/doubles/wmi/schema.json (or the file that WMI_SCHEMA names) for a build, once; kept until the program ends. */
const struct schema *dbl_schema(unsigned build);

/* ---- for the driver ---- */
extern const struct wmi_ops dbl_wmi_ops;               /* arg of wmi_open: the struct dbl */
extern const struct hyperv_host_ops dbl_host_ops;      /* arg: the struct dbl */

/* ---- time ---- */
int64_t dbl_now(struct dbl *d);
void dbl_pass(struct dbl *d, unsigned ms);             /* lets time pass */

/* ---- files: attributes and rights that the test's file system does not have ---- */
struct dbl_file {
    bool sparse, compressed, encrypted, recalled;
    bool refs;                                         /* lies on ReFS */
    bool denied;                                       /* the management service may not write there */
};
void dbl_file_set(struct dbl *d, const char *path, struct dbl_file attr);      /* of a folder: inherited by what is made in it */
void dbl_file_mounted(struct dbl *d, const char *path, bool mounted);          /* attached to the host */
bool dbl_file_granted(struct dbl *d, const char *path, const char *guid, bool write);

/* ---- VMs ---- */
/* Somebody else's VM. Its disk need not be there. Returns its GUID, valid until dbl_free or its end. */
const char *dbl_foreign_vm(struct dbl *d, const char *name, const char *notes, unsigned generation, bool running);
size_t dbl_vms(struct dbl *d, bool foreign);           /* how many there are */
const char *dbl_vm_guid(struct dbl *d, size_t i);      /* i-th of those that are not foreign; NULL: no such */
unsigned dbl_vm_state(struct dbl *d, const char *guid);                        /* EnabledState; 0: no such VM */
void dbl_vm_guest(struct dbl *d, const char *guid, const struct dbl_guest *plan);
/* Scan codes that reached the guest since the last call; copies at most n, returns how many there were. */
size_t dbl_vm_keys(struct dbl *d, const char *guid, uint8_t *buf, size_t n);
void dbl_vm_serial_say(struct dbl *d, const char *guid, unsigned port, const void *bytes, size_t n);
size_t dbl_vm_serial_heard(struct dbl *d, const char *guid, unsigned port, void *buf, size_t n);
void dbl_vm_crash(struct dbl *d, const char *guid);    /* it goes off by itself */
/* A state that nobody asked for: EnabledState 32781… when the host's disk is full, with HealthState 20 or 25. Power off leads out of it. */
void dbl_vm_trouble(struct dbl *d, const char *guid, unsigned enabled_state, unsigned health);
/* A job of somebody else on a VM, a backup for instance, that runs for ms. */
void dbl_vm_job(struct dbl *d, const char *guid, unsigned job_type, unsigned ms);
/* Path of the file that a disk drive holds: HostResource; NULL: none. Caller frees. */
char *dbl_vm_medium(struct dbl *d, const char *guid, const char *controller, unsigned bus, unsigned lun);
/* As the guest writes to its disk. 0 or an HRESULT. */
uint32_t dbl_disk_write(struct dbl *d, const char *path, uint64_t offset, const void *data, size_t n);
uint32_t dbl_disk_read(struct dbl *d, const char *path, uint64_t offset, void *data, size_t n);
/* ---- Windows Storage ---- */
void dbl_disks_renumber(struct dbl *d);                /* MSFT_Disk.Number of every disk becomes another one */
struct dbl_disk {
    const char *serial, *model;                        /* model NULL: a virtual disk's */
    uint64_t size;
    unsigned bus, sector, style;                       /* MSFT_Disk.BusType (0: SAS), LogicalSectorSize (0: 512), PartitionStyle */
    bool offline;                                      /* by policy: its style is then seen only when it is online */
};
void dbl_disk_add(struct dbl *d, const struct dbl_disk *k);
/* Makes a property of an MSFT_Disk (physical: of its MSFT_PhysicalDisk) another: a number, a boolean, or an array of one number. */
void dbl_disk_set(struct dbl *d, const char *serial, bool physical, const char *name, uint64_t value);
void dbl_disk_name(struct dbl *d, const char *serial, const char *name, const char *text);       /* a text, of both */
void dbl_disk_partition(struct dbl *d, const char *serial, const char *gpt_type, unsigned mbr_type, const char *file_system, const char *label);
void dbl_disk_pool(struct dbl *d, const char *serial);                         /* into somebody else's pool */
void dbl_disk_pass_through(struct dbl *d, const char *serial);                 /* to a VM */
/* The bytes of the disks lie in files in work_dir, of which only what is written takes space; what is behind their end reads as zeros. */
void dbl_disk_write_bytes(struct dbl *d, const char *serial, uint64_t offset, const void *data, size_t n);
char *dbl_disk_file(struct dbl *d, const char *serial);                        /* heap */
char *dbl_disk_behind(struct dbl *d, unsigned number);                         /* serial of \\.\PhysicalDriveN; heap; NULL: it cannot be opened */
char *dbl_disk_bytes(struct dbl *d, const char *serial);                       /* all that is not zero, as text; serial NULL: of all disks. Heap */
char *dbl_volume_folder(struct dbl *d, const char *path);                      /* where the files of an MSFT_Volume.Path lie that no folder leads to; heap */

/* ---- faults ---- */
enum dbl_fault_kind {
    DBL_HRESULT,                                       /* the call fails with `code`, nothing was done */
    DBL_HRESULT_AFTER,                                 /* it was done, but the answer is `code` */
    DBL_CUT,                                           /* RPC fails before anything was done; the connection must be made anew */
    DBL_CUT_AFTER,                                     /* the same, but it was done */
    DBL_RESTART,                                       /* the management service restarts: jobs end, connections break */
    DBL_RETURN,                                        /* the method returns `code` */
    DBL_JOB_FAILS,                                     /* the method starts a job, which fails with `code` */
    DBL_SLOW,                                          /* it takes `code` ms more */
    DBL_KILL,                                          /* dbl_on_kill's function is called instead of the call */
    DBL_KILL_AFTER,                                    /* and after it */
};
struct dbl_fault {
    enum dbl_fault_kind kind;
    uint32_t code;
    unsigned at;                                       /* the Nth call from now, from 1, among those that fit; 0: every one */
    const char *method;                                /* of execs of this method alone; NULL: any call. Borrowed */
    const char *call;                                  /* "query", "get", "exec", …; NULL: any */
};
void dbl_fault_add(struct dbl *d, const struct dbl_fault *f);
void dbl_fault_rate(struct dbl *d, unsigned per_mille);        /* random faults at random calls; 0: none any more */
void dbl_faults_clear(struct dbl *d);
unsigned dbl_faults_fired(struct dbl *d);              /* since dbl_new */
void dbl_on_kill(struct dbl *d, void (*fn)(void *arg), void *arg);
unsigned dbl_calls(struct dbl *d);                     /* across the seam, since dbl_new */
void dbl_vmms_restart(struct dbl *d);

/* ---- looking back ---- */
/* Everything in all namespaces, one instance a line, sorted; without jobs, and without what changes by itself (uptimes). Caller frees. */
enum dbl_part { DBL_ALL, DBL_FOREIGN, DBL_OURS };
char *dbl_dump(struct dbl *d, enum dbl_part part);
long dbl_live_objects(struct dbl *d);                  /* that callers hold */
long dbl_live_connections(struct dbl *d);
/* Which names were used, from both sides of the seam's schema; sorted. known: some version of Windows has it. */
typedef void dbl_used_fn(void *arg, const char *kind, const char *ns, const char *class, const char *name, bool known);
void dbl_used(struct dbl *d, dbl_used_fn *fn, void *arg);
/* Names that were asked for and that no version of Windows has: one a line; "" when all was well. Caller frees. */
char *dbl_unknown_names(struct dbl *d);
/* What was asked for that Windows has but the double does not play: one a line; "" when all was well. Caller frees. */
char *dbl_unmodelled(struct dbl *d);
/* A line per call from now on, until dbl_free. Caller frees. */
void dbl_log_on(struct dbl *d);
char *dbl_log(struct dbl *d);

#endif

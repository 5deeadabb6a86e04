/* Inside of the Hyper-V driver (the hyperv*.c files): its structures, its locks and what the files owe each other. Portable C above wmi.h,
 * hyperv_host.h and pipe.h.
 *
 * Protocol source: "Hyper-V WMI provider (V2)", root\virtualization\v2; for NAT root\StandardCimv2.
 *
 * A VM is a folder, data_dir/vms/<id>:
 *   vm.json               our record: definition, Hyper-V's GUID, mark, layers, checkpoints; written atomically, as an intent before Hyper-V is asked
 *   disk<slot>-<n>.vhdx   the layer over the image of that slot (.vhd over a .vhd); of checkpoints Hyper-V puts .avhdx files beside it
 *   base<slot>-<n>.vhdx   a copy of the image, where Generation 2 refuses it as it is
 *   serial/               what the guest's serial port said
 *   all else              Hyper-V's own: configuration, saved memory
 *
 * Whose VM: Notes[0] of a VM of ours begins with "vmrecover <id> <mark>". The mark is made anew for each VM and kept in vm.json. Only a VM whose
 * GUID is in our record and whose notes carry that record's mark is ever changed or removed.
 *
 * Uncertain ends: when the connection broke during a call, or a job vanished, nobody knows what was done, or still will be. Every operation begins
 * by reading the state, so once all jobs are done it is simply done once more (hyperv_again).
 *
 * Locks, in this order: a claim on an id, op, keys, nat, the serial console's, h->lock, vm->lock. No lock is held while WMI is called, except the
 * first four, of which each belongs to one VM or one purpose, and `connecting`, which only who needs the same connection waits for.
 *   claim      one create or delete of an id at a time
 *   op         one change of a VM at a time (busy_with says which); looking, keys and the serial console do not need it
 *   keys       chords of one VM do not mix
 *   nat        making and removing the shared NAT
 *   h->lock    the table of VMs, reference counts, claims; held for an instant
 *   vm->lock   record, state, op; held for an instant. The record changes only under op and lock, so that either allows reading. */
#ifndef VMR_HYPERV_HYPERV_H
#define VMR_HYPERV_HYPERV_H

#include <jansson.h>
#include <pthread.h>

#include "common/crypto.h"
#include "common/os.h"
#include "hyperv/hypervisor.h"
#include "hyperv/hyperv_host.h"
#include "hyperv/role.h"
#include "common/wmi/wmi.h"

#define HYPERV_CALL_MS 120000                          /* one call: VMMS may take its time even for what normally returns at once */
#define HYPERV_GLANCE_MS 5000                          /* one call of who only wants to look */
#define HYPERV_JOB_MS (10u * 60 * 1000)                /* a job, unless it copies a disk */
#define HYPERV_COPY_MS (24u * 60 * 60 * 1000)
#define HYPERV_SETTLE_MS 60000u                        /* after a change, until the state says so */
#define HYPERV_MERGE_MS (2u * 60 * 60 * 1000)          /* until the disks of deleted checkpoints are merged */
#define HYPERV_VMS_MAX 1000

struct hyperv;

/* ---- hyperv_error.c: what Hyper-V answers, as ours. The table knows return codes and HRESULTs. ---- */
#define HYPERV_STARTED 4096                            /* "method parameters checked, job started" */
#define HYPERV_INVALID_PARAMETER 32773
#define HYPERV_INVALID_STATE 32775
/* `words`: Hyper-V's own, in the host's language; may be NULL. The format says what failed. Returns -code. */
int hyperv_fail(struct err *e, uint32_t code, const char *words, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* What a slot answers: WMI's "no such object" in the middle of an operation does not mean that there is no such VM. */
int hyperv_answer(int r, struct err *e);
uint32_t hyperv_code(const struct err *e);             /* return code or HRESULT of a failure; 0: none */
/* The "(0x........)" that ends Hyper-V's descriptions; 0: there is none. */
uint32_t hyperv_code_in(const char *words);

/* ---- hyperv_connect.c: connections and services, made at the first need ---- */
enum hyperv_service { HYPERV_VMS, HYPERV_SNAPSHOTS, HYPERV_IMAGES, HYPERV_SWITCHES, HYPERV_SERVICES };
/* Waiting for one call of timeout_ms; `stoppable`: the daemon's stop gives up. */
struct wmi_wait hyperv_wait(struct hyperv *h, unsigned timeout_ms, bool stoppable);
/* Sleeps, but not past a stop: ERR_CANCELLED. */
int hyperv_sleep(struct hyperv *h, const struct wmi_wait *w, unsigned ms, struct err *e);
int64_t hyperv_now(struct hyperv *h);
/* Borrowed, stay valid until close. ERR_HYPERVISOR when the role is not there. */
int hyperv_wmi(struct hyperv *h, const struct wmi_wait *w, struct wmi **ret, struct err *e);
int hyperv_network_wmi(struct hyperv *h, const struct wmi_wait *w, struct wmi **ret, struct err *e);
/* The path of a service, and its class. ERR_PERMISSION: Hyper-V shows it to administrators only. */
int hyperv_service(struct hyperv *h, enum hyperv_service s, const struct wmi_wait *w, const char **ret, struct err *e);
const char *hyperv_service_class(enum hyperv_service s);
/* wmi_query with a formatted text; values go through wmi_quote before. */
int hyperv_query(struct hyperv *h, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
int hyperv_query_one(struct hyperv *h, const struct wmi_wait *w, struct wmi_object **ret, struct err *e, const char *fmt, ...)
    PRINTF_LIKE(5, 6);       /* ERR_NOT_FOUND: nothing */

/* ---- hyperv_job.c: calls that may become jobs ---- */
struct hyperv_call {
    const char *path, *method;                         /* borrowed */
    struct wmi_object *in;                             /* owned; NULL: the method takes nothing */
    const char *what;                                  /* borrowed: what did not work, when it fails: "cannot start the VM x" */
    unsigned job_ms;                                   /* 0: HYPERV_JOB_MS */
    bool once;                                         /* 32775 means something here: do not wait it out */
    void (*progress)(void *arg, unsigned percent);     /* NULL: none */
    void *progress_arg;
};
void hyperv_call_clear(struct hyperv_call *c);
/* Gets ready to call a method of a service, or of an instance of a class: in-parameters are then put into ret->in. */
int hyperv_prepare(struct hyperv *h, enum hyperv_service s, const char *method, const char *what, const struct wmi_wait *w, struct hyperv_call *ret,
                   struct err *e);
int hyperv_prepare_at(struct hyperv *h, const char *class_name, const char *path, const char *method, const char *what, const struct wmi_wait *w,
                      struct hyperv_call *ret, struct err *e);
struct hyperv_result { struct wmi_object *out; char *job; };              /* job: NULL when it was done at once */
void hyperv_result_clear(struct hyperv_result *r);
/* Returns when it is done. A failed job is an error with the job's words and code. ERR_CANCELLED ends a job that can be ended. *ret may be NULL. */
int hyperv_invoke(struct hyperv *h, const struct hyperv_call *c, const struct wmi_wait *w, struct hyperv_result *ret, struct err *e);
/* The path of what a call made: its out-parameter, or where a job left that NULL, the job's affected element of that class. ERR_NOT_FOUND. */
int hyperv_made(struct hyperv *h, const struct hyperv_result *r, const char *param, const char *class_name, const struct wmi_wait *w, char **ret,
                struct err *e);
bool hyperv_uncertain(const struct err *e);
/* Waits, within a minute, until Hyper-V has no job under way that changes a VM: what was begun by a call whose answer never came is then done or
 * not, and reading the state says which. */
void hyperv_quiet(struct hyperv *h);
/* Should an operation that failed so be done once more: it is uncertain, and by now it is quiet. */
bool hyperv_again(struct hyperv *h, const struct err *e);

/* ---- hyperv_record.c: vm.json ---- */
#define HYPERV_FILE 32
struct hyperv_layer {                                  /* of a slot; names in the VM's folder */
    char top[HYPERV_FILE];                             /* empty: the image itself is attached */
    char base[HYPERV_FILE];                            /* a copy below `top`; empty: the image itself lies there */
};
struct hyperv_checkpoint {
    struct hv_checkpoint c;
    char instance[80];                                 /* InstanceID of its settings in Hyper-V; empty: only the intent */
    struct hv_vm_spec spec;                            /* what the VM was then */
    struct hyperv_layer layers[HV_DISKS_MAX];
    char **before;                                     /* intent: InstanceIDs of the checkpoints that were there; NULL-terminated */
};
struct hyperv_record {
    struct hv_vm_spec spec;                            /* what the VM is now; memory and processors as they were fitted */
    json_t *created;                                   /* the specification that vm_create was called with */
    char guid[UUID_LEN];                               /* Hyper-V's name of it, upper case; empty: not defined yet */
    char mark[UUID_LEN];
    bool complete;                                     /* false: the intent; something may be left in Hyper-V */
    int64_t started_at_ms;                             /* the last start */
    unsigned next_file;                                /* number of the next layer or base */
    struct hyperv_layer layers[HV_DISKS_MAX];
    struct hyperv_checkpoint *checkpoints;
    size_t n_checkpoints;
};
void hyperv_record_clear(struct hyperv_record *r);
int hyperv_record_copy(const struct hyperv_record *r, struct hyperv_record *ret, struct err *e);
void hyperv_record_drop_checkpoint(struct hyperv_record *r, size_t i);
int hyperv_record_load(const char *dir, struct hyperv_record *ret, struct err *e);   /* ERR_NOT_FOUND: no vm.json */
int hyperv_record_save(const char *dir, const struct hyperv_record *r, struct err *e);
/* A name for a new file in the VM's folder that no earlier one had. */
void hyperv_record_file(struct hyperv_record *r, const char *kind, unsigned slot, const char *ext, char ret[HYPERV_FILE]);

/* ---- a VM: hyperv_vm.c has the table, claims and op ---- */
struct hyperv_serial;
struct hyperv_vm {
    char id[UUID_LEN];
    char *dir;
    struct hyperv *h;
    unsigned refs;                                     /* under h->lock */
    struct hyperv_serial *serial;
    pthread_mutex_t keys;
    char *keyboard;                                    /* under keys: path of its keyboard; NULL: not looked up */
    int64_t keys_proven_until_ms;                      /* under keys: that it is ours was seen a moment ago */

    pthread_mutex_t lock;
    const char *busy_with;                             /* op: what is being done; NULL: nothing */
    bool exporting, gone;                              /* gone: deleted, who waited for op must give up */
    struct hyperv_record rec;
    enum hv_state state;
    bool state_known, guest_alive;
    char detail[128];
    char failure[128];                                 /* of the last start; empty: none. Shown while it is off */
};

struct hyperv {
    struct hv hv;                                      /* first */
    struct hyperv_platform p;
    struct role *role;
    char *data_dir, *vms_dir;
    hv_stop_fn *stop;                                  /* NULL: never */
    void *stop_arg;
    pthread_mutex_t connecting;
    struct wmi *wmi, *network;                         /* NULL: not connected yet */
    char *services[HYPERV_SERVICES];
    pthread_mutex_t nat;
    pthread_mutex_t lock;
    pthread_cond_t claims_changed;
    struct hyperv_vm **vms;
    size_t n_vms;
    struct hyperv_claim { const char *id; struct hyperv_claim *next; } *claims;
};

/* Takes over *rec. The table keeps a reference. */
int hyperv_vm_add(struct hyperv *h, const char *id, const char *dir, struct hyperv_record *rec, struct err *e);
void hyperv_vm_remove(struct hyperv_vm *vm);           /* from the table: gone for all who come */
struct hyperv_vm *hyperv_vm_ref(struct hyperv *h, const char *id);       /* NULL: none */
void hyperv_vm_unref(struct hyperv_vm *vm);
/* References to all VMs, NULL-terminated; NULL: no memory. Each unref, then free. */
struct hyperv_vm **hyperv_vm_all(struct hyperv *h);
void hyperv_claim(struct hyperv *h, struct hyperv_claim *c, const char *id);
void hyperv_unclaim(struct hyperv *h, struct hyperv_claim *c);
/* Finds the VM and takes its op. `doing` is a literal: "is being started". ERR_NOT_FOUND; ERR_BUSY when another operation takes too long. Every
 * begin needs its end. */
int hyperv_op_begin(struct hyperv *h, const char *id, const char *doing, struct hyperv_vm **ret, struct err *e);
void hyperv_op_end(struct hyperv_vm *vm);
void hyperv_guid_of(struct hyperv_vm *vm, char ret[UUID_LEN]);          /* without op: as it is at this moment */
int hyperv_no_vm(const char *id, struct err *e);       /* ERR_NOT_FOUND */
/* Under op: changes the record through `r` (a copy whose ownership passes on), on disk first. */
int hyperv_commit(struct hyperv_vm *vm, struct hyperv_record *r, struct err *e);

/* ---- hyperv_machine.c: a VM as Hyper-V knows it: found, defined, destroyed ---- */
struct hyperv_machine {
    char guid[UUID_LEN], id[UUID_LEN];                 /* Hyper-V's name of it, and ours */
    char *path, *settings_path;                        /* Msvm_ComputerSystem, Msvm_VirtualSystemSettingData */
    struct wmi_object *settings;
};
void hyperv_machine_clear(struct hyperv_machine *m);
char *hyperv_short_name(const char *name);             /* the 100 characters that Hyper-V takes; heap or NULL */
bool hyperv_is_guid(const char *s);                    /* with dashes, without braces, in either case */
/* ERR_VM_GONE: Hyper-V does not know it any more. ERR_WRONG_STATE: its notes do not carry the record's mark: it is not to be touched. */
int hyperv_machine_open(struct hyperv *h, const struct hyperv_record *r, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e);
/* The same without op, of the record as it is at this moment. */
int hyperv_machine_of(struct hyperv_vm *vm, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e);
/* The VM whose notes carry this id, and with `mark` not NULL this mark. ERR_NOT_FOUND. */
int hyperv_machine_search(struct hyperv *h, const char *id, const char *mark, const struct wmi_wait *w, char ret_guid[UUID_LEN], struct err *e);
int hyperv_machine_define(struct hyperv *h, const struct hyperv_record *r, const char *dir, const struct wmi_wait *w, char ret_guid[UUID_LEN],
                          struct err *e);
/* Memory, processors, firmware's order of boot devices; VM off. */
int hyperv_machine_fit(struct hyperv *h, struct hv_vm_spec *s, struct err *e);       /* to the host, before definition */
int hyperv_machine_set_up(struct hyperv *h, struct hyperv_machine *m, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e);
int hyperv_machine_boot_order(struct hyperv *h, struct hyperv_machine *m, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e);
int hyperv_machine_destroy(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct err *e);   /* VM off */
/* The settings changed through put(s) on a clone are given back with ModifySystemSettings. */
int hyperv_machine_modify(struct hyperv *h, struct wmi_object *settings, const char *what, const struct wmi_wait *w, struct err *e);

/* ---- hyperv_resource.c: settings of devices ---- */
/* The default settings of a kind of device. */
int hyperv_template(struct hyperv *h, const char *class_name, const char *subtype, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
/* All settings of a class that belong to a VM. */
int hyperv_resources(struct hyperv *h, const struct hyperv_machine *m, const char *class_name, const struct wmi_wait *w, struct wmi_rows *ret,
                     struct err *e);
/* *ret_path (may be NULL) is the path of the new settings. */
int hyperv_add(struct hyperv *h, const struct hyperv_machine *m, struct wmi_object *settings, const char *what, const struct wmi_wait *w,
               char **ret_path, struct err *e);
int hyperv_modify(struct hyperv *h, struct wmi_object *settings, const char *what, const struct wmi_wait *w, struct err *e);
int hyperv_remove(struct hyperv *h, const char *path, const char *what, const struct wmi_wait *w, struct err *e);

/* ---- hyperv_drive.c: controllers, drives and what lies in them ---- */
#define HYPERV_DVD HV_DISKS_MAX                        /* the slot of the DVD drive */
/* The drive of a slot, made where it is not there (VM off). Caller frees *ret, its path. */
int hyperv_drive(struct hyperv *h, const struct hyperv_machine *m, unsigned generation, unsigned slot, bool make, const struct wmi_wait *w,
                 char **ret, struct err *e);
/* The medium's settings in a drive; ERR_NOT_FOUND: it is empty. */
int hyperv_medium(struct hyperv *h, const struct hyperv_machine *m, const char *drive, const struct wmi_wait *w, struct wmi_object **ret,
                  struct err *e);
/* Puts a file into a drive, in the place of what is there; NULL takes it out. */
int hyperv_insert(struct hyperv *h, const struct hyperv_machine *m, const char *drive, bool dvd, const char *path, const struct wmi_wait *w,
                  struct err *e);
/* Takes disk and drive of a slot away; VM off. None there is 0. */
int hyperv_drive_remove(struct hyperv *h, const struct hyperv_machine *m, unsigned generation, unsigned slot, const struct wmi_wait *w,
                        struct err *e);
/* The file that Hyper-V writes to for a slot now: of a VM with checkpoints not the one that was attached. Caller frees. */
int hyperv_drive_file(struct hyperv *h, const struct hyperv_machine *m, unsigned generation, unsigned slot, const struct wmi_wait *w, char **ret,
                      struct err *e);

/* ---- hyperv_disk.c: images and layers ---- */
/* Is the image there, of a kind that Hyper-V takes, and in a state that it takes: no attributes that it refuses. */
int hyperv_disk_check(struct hyperv *h, const struct hv_disk *d, struct err *e);
int hyperv_dvd_check(struct hyperv *h, const char *iso, struct err *e);
/* A folder in which Hyper-V is to make files: they take over its attributes. */
int hyperv_folder_check(struct hyperv *h, const char *dir, struct err *e);
/* The files in the VM's folder, `dir`, that it stands on. */
int hyperv_layers_check(struct hyperv *h, const char *dir, const struct hyperv_record *rec, struct err *e);
/* Makes the layer over an image; rec->layers[slot] and next_file change. Save the record after it. */
int hyperv_disk_layer(struct hyperv *h, const char *dir, struct hyperv_record *rec, unsigned slot, const struct wmi_wait *w, struct err *e);
/* Puts the disk of a slot into the machine. Where Generation 2 refuses a .vhd the image is copied to a .vhdx first, and the record changes. */
int hyperv_disk_plug(struct hyperv *h, const char *dir, const struct hyperv_machine *m, struct hyperv_record *rec, unsigned slot,
                     const struct wmi_wait *w, struct err *e);
/* Lets the VM's process use all its files; after a file was replaced too. */
int hyperv_disk_grant(struct hyperv *h, const char *dir, const struct hyperv_record *rec, struct err *e);
void hyperv_disk_revoke(struct hyperv *h, const struct hyperv_record *rec);          /* on files that are not ours to remove */
/* Removes layers and bases that neither the VM nor a checkpoint needs. */
void hyperv_disk_sweep(const char *dir, const struct hyperv_record *rec);
void hyperv_disk_forget(const char *dir, const char *name);             /* removes one file of the VM's folder; "" is none */
/* Caller frees; NULL: no memory. */
char *hyperv_disk_path(const char *dir, const struct hyperv_record *rec, unsigned slot);
/* Copies a disk with all below it into a new file. */
int hyperv_disk_copy(struct hyperv *h, const char *from, const char *to, enum hv_format format, const struct wmi_wait *w, hv_progress_fn *progress,
                     void *arg, uint64_t size, struct err *e);

/* ---- hyperv_network.c, hyperv_nat.c ---- */
/* Connects the VM as its specification says; VM off. */
int hyperv_network_plug(struct hyperv *h, const struct hyperv_machine *m, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e);
/* The switch whose guests get out, made if there is none, and used by the VM `id` from now on. Caller frees *ret_switch, its path. */
int hyperv_nat_get(struct hyperv *h, const char *id, const struct wmi_wait *w, char **ret_switch, struct err *e);
/* The VM uses it no more; removes what we made with the last user. A VM that used none is fine. */
int hyperv_nat_release(struct hyperv *h, const char *id, const struct wmi_wait *w, struct err *e);
/* "192.168.200.0/24" of our own NAT; false: there is none now. */
bool hyperv_nat_prefix(struct hyperv *h, char *ret, size_t size);

/* ---- hyperv_state.c: power ---- */
struct hyperv_state {
    unsigned enabled;                                  /* EnabledState */
    enum hv_state state;
    char detail[128];
    uint64_t on_ms;                                    /* since power-on */
    unsigned process;                                  /* of the VM's worker */
    bool settling;                                     /* on its way into another state, or disks are being merged */
};
#define HYPERV_STATE_COLUMNS "Name,EnabledState,HealthState,OperationalStatus,OnTimeInMilliseconds,ProcessID"
void hyperv_state_from(const struct wmi_object *computer_system, struct hyperv_state *ret);
int hyperv_state_read(struct hyperv *h, const char *guid, const struct wmi_wait *w, struct hyperv_state *ret, struct err *e);   /* ERR_VM_GONE */
/* Waits until the VM is in that state, or in none on the way to another. */
int hyperv_state_settle(struct hyperv *h, const char *guid, unsigned timeout_ms, const struct wmi_wait *w, struct hyperv_state *ret, struct err *e);
/* Under op. */
int hyperv_power_on(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e);
int hyperv_power_off(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct err *e);
/* settle_ms: how long Hyper-V may be at work on it before. */
int hyperv_need_off(struct hyperv_vm *vm, const char *what, unsigned settle_ms, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e);
int hyperv_exporting(struct hyperv_vm *vm, struct err *e);        /* ERR_WRONG_STATE while a disk is exported */
/* Is the guest's heartbeat there? */
bool hyperv_heartbeat(struct hyperv *h, const char *guid, const struct wmi_wait *w);
void hyperv_vm_seen(struct hyperv_vm *vm, const struct hyperv_state *st, bool alive);   /* what was learnt */

/* ---- hyperv_serial.c: the reader of the pipe; hyperv_seriallog.c: what it read ---- */
struct hyperv_log;
int hyperv_log_open(const char *dir, struct hyperv_log **ret, struct err *e);
void hyperv_log_close(struct hyperv_log *l);
void hyperv_log_let_go(struct hyperv_log *l);          /* closes its file until the next append */
int hyperv_log_append(struct hyperv_log *l, const void *p, size_t n, struct err *e);
int hyperv_log_read(struct hyperv_log *l, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e);
int hyperv_serial_new(const char *id, const char *dir, struct hyperv_serial **ret, struct err *e);
void hyperv_serial_free(struct hyperv_serial *s);      /* NULL is a no-op; waits for the reader's end */
/* A reader is there from now on, until the VM is seen off for a while. */
int hyperv_serial_listen(struct hyperv_serial *s, struct err *e);
void hyperv_serial_off(struct hyperv_serial *s);       /* the VM is off: nobody need wait for its pipe */
void hyperv_serial_silence(struct hyperv_serial *s);   /* ends the reader for good and closes the log's file */
/* \\.\pipe\vmrecover-<id>. Connects the first serial port of the machine to it. */
int hyperv_serial_plug(struct hyperv *h, const struct hyperv_machine *m, const char *id, const struct wmi_wait *w, struct err *e);

/* Slots of hv_hyperv. */
int hyperv_vm_create(struct hv *hv, const struct hv_vm_spec *s, struct err *e);
int hyperv_vm_delete(struct hv *hv, const char *id, struct err *e);
int hyperv_vm_start(struct hv *hv, const char *id, struct err *e);
int hyperv_vm_stop(struct hv *hv, const char *id, struct err *e);
int hyperv_vm_shutdown(struct hv *hv, const char *id, struct err *e);
int hyperv_vm_reset(struct hv *hv, const char *id, struct err *e);
int hyperv_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e);
int hyperv_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e);
int hyperv_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e);
int hyperv_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e);
int hyperv_dvd(struct hv *hv, const char *id, const char *iso, struct err *e);
int hyperv_disk_attach(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *d, struct err *e);
int hyperv_disk_detach(struct hv *hv, const char *id, unsigned slot, struct err *e);
int hyperv_disk_export(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path, hv_stop_fn *stop,
                       hv_progress_fn *progress, void *arg, struct err *e);
int hyperv_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e);
int hyperv_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e);
int hyperv_checkpoint_restore(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
int hyperv_checkpoint_delete(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
size_t hyperv_report(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role);
int hyperv_role_enable(struct hv *hv, bool force, struct err *e);
/* Pixels of a thumbnail (RGB565, little-endian) as 8-bit RGB. */
void hyperv_rgb565(const uint8_t *in, size_t pixels, uint8_t *ret);

#endif

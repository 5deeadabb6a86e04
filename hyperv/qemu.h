/* Inside of the QEMU driver (the qemu_*_posix.c files): its structures, its locks and what the files owe each other.
 *
 * A VM is a folder, data_dir/vms/<id>:
 *   vm.json         definition, checkpoints, last start; written atomically; its presence makes the folder a VM
 *   disk<slot>.qcow2 overlay over the image of that slot    vars.qcow2   Gen 2: the firmware's variables
 *   qmp.sock serial.sock vnc.sock   control, serial console, screen       qemu.pid     written and removed by QEMU itself
 *   qemu.log        what QEMU said                          serial.log   what the guest's serial port said
 * QEMU runs with this folder as its working directory and is given relative names: a UNIX socket's path has room for 107 bytes.
 *
 * Who may write there: with run_as the folder belongs to us, its group is that of the VM account, and it has the sticky bit: QEMU
 * makes and removes its own files, but cannot replace vm.json. What QEMU could have forged is opened without following
 * links, and the backing file named inside an overlay is never believed: every open states the whole chain.
 *
 * Locks, in this order: a claim on an id, vm->op, vm->serial, q->lock, vm->lock, probe->lock.
 *   claim       one create or delete of an id at a time: find-or-create must not meet a removal; other ids go on meanwhile
 *   vm->op      one hypervisor operation on a VM at a time; may be held for seconds; guards qmp, exporting, silent_until_ms, glance_until_ms
 *   vm->serial  one writer on the serial port at a time
 *   q->lock     the table of VMs and their reference counts; held for an instant
 *   vm->lock    def, state, detail, gone; held for an instant. def changes only under op and lock, so that either allows reading. */
#ifndef VMR_HYPERV_QEMU_H
#define VMR_HYPERV_QEMU_H

#include <jansson.h>
#include <pthread.h>
#include <sys/types.h>

#include "common/crypto.h"
#include "common/os.h"
#include "hyperv/hypervisor.h"

/* ---- qemu_qmp_posix.c: the control socket. One thread at a time. ---- */
#define QMP_TIMEOUT_MS 10000                           /* one command; a QEMU that hangs is an error, not a hang of ours */
struct qmp;
/* Connects to `qmp.sock` in the folder and negotiates, all within timeout_ms. ERR_UNREACHABLE: nobody listens; ERR_TIMEOUT: no greeting.
 * stop (NULL: never) ends this and every later wait on the connection with ERR_CANCELLED, and breaks it, when it says true; it is asked
 * some times a second. */
int qmp_open(int dirfd, unsigned timeout_ms, hv_stop_fn *stop, void *arg, struct qmp **ret, struct err *e);
void qmp_close(struct qmp *m);                         /* NULL is a no-op */
/* True once an answer was missed (timeout, end of file, nonsense): later answers would be taken for others; close it. */
bool qmp_broken(const struct qmp *m);
/* `args` is stolen, may be NULL; *ret (may be NULL) gets a new reference to the "return" value. What QEMU refused is ERR_VM (or
 * ERR_DISK_FULL, ERR_PERMISSION) with upstream.service "qemu" and its class as code. */
int qmp_call(struct qmp *m, const char *command, json_t *args, unsigned timeout_ms, json_t **ret, struct err *e);
/* A human monitor line; *ret is its output (caller frees; NULL to ignore). */
int qmp_hmp(struct qmp *m, const char *line, char **ret, struct err *e);
/* Runs a job command (`args` without job-id) and waits for its end. The whole of QEMU may be silent meanwhile. *ret_begun (may be NULL): QEMU
 * took the command, so that it may have had some effect. */
int qmp_job(struct qmp *m, const char *command, json_t *args, unsigned timeout_ms, bool *ret_begun, struct err *e);

/* ---- qemu_process_posix.c: QEMU processes, found and ended only when they are proven ours ---- */
/* Where a VM's process is at home, which proves it ours. Borrowed by the qemu_process that was found with it. */
struct qemu_home {
    const char *id, *dir;
    int dirfd;                                         /* -1: the folder is gone */
    uid_t uid;                                         /* the account of VM processes */
};
struct qemu_process {
    pid_t pid;
    int fd;                                            /* pidfd: stays this process, whatever becomes of the number; -1: there are none here */
    bool sure;                                         /* proven ours; else it only counts as alive */
    struct qemu_home home;                             /* to prove it again */
};
/* The living QEMU of the VM in this folder; false if there is none. `scan` looks through all processes when qemu.pid is missing
 * (a start that was cut off). qemu_process_close after true. */
bool qemu_process_find(const struct qemu_home *home, bool scan, struct qemu_process *ret);
/* Has not ended; a zombie that nobody collects yet has. */
bool qemu_process_exists(int64_t pid);
bool qemu_process_wait(const struct qemu_process *p, unsigned timeout_ms);   /* true: it has ended */
int qemu_process_kill(const struct qemu_process *p, struct err *e);          /* SIGKILL, and waits for the end */
void qemu_process_close(struct qemu_process *p);
/* QEMU removes qemu.pid when it ends by itself or is asked to; one that is left says that it crashed or was killed. */
bool qemu_process_left_pidfile(int dirfd);
void qemu_process_forget(int dirfd);                   /* removes what a dead QEMU left: pid file, sockets */
/* Name of this boot of the host, to tell "crashed" from "the host was restarted". */
void qemu_process_boot_id(char ret[UUID_LEN]);

/* ---- qemu_probe_posix.c: what this host can do; probed at the first need, successes are kept ---- */
struct qemu_probe {
    pthread_mutex_t lock;
    bool have_program, have_img, machine_ran, have_kvm, kvm_probed, have_scope, scope_probed, have_user_net;
    char version[64];                                  /* "QEMU emulator version 7.2.22 (Debian …)" */
    char machine[48];                                  /* what "pc" stands for in this QEMU: "pc-i440fx-7.2" */
    char kvm_detail[200];                              /* why KVM is not used; empty: it is */
    char scope_detail[200];
    const char *ovmf_code, *ovmf_vars;                 /* NULL: no UEFI firmware */
};
struct qemu;
int qemu_probe_program(struct qemu *q, struct err *e); /* ERR_HYPERVISOR when QEMU or qemu-img is missing or does not run */
/* *ret_kvm: use KVM. ERR_HYPERVISOR when KVM is demanded by configuration and does not work. */
int qemu_probe_accel(struct qemu *q, bool *ret_kvm, struct err *e);
bool qemu_probe_scope(struct qemu *q);                 /* start VMs in systemd scopes of their own */
void qemu_probe_firmware(const char **ret_code, const char **ret_vars);
unsigned qemu_probe_capabilities(struct qemu *q);
size_t qemu_probe_report(struct qemu *q, struct hv_check *rows, size_t max);

/* ---- qemu_def_posix.c: vm.json ---- */
struct qemu_checkpoint {
    struct hv_checkpoint c;
    unsigned slots;                                    /* bit per slot whose overlay holds it */
    unsigned lost;                                     /* slots among them whose disk was detached since */
    bool complete;                                     /* false: the intent; something may be left of it in the overlays */
};
struct qemu_def {
    struct hv_vm_spec spec;
    json_t *created;                                   /* the specification that vm_create was called with */
    char machine[48];                                  /* pinned, so that saved memory fits after an upgrade of QEMU */
    int64_t started_at_ms;                             /* 0: not supposed to run */
    char boot_id[UUID_LEN];                            /* of the host, at that start */
    struct qemu_checkpoint checkpoints[HV_CHECKPOINTS_MAX];
    size_t n_checkpoints;
};
void qemu_def_clear(struct qemu_def *d);
int qemu_def_load(const char *dir, struct qemu_def *ret, struct err *e);     /* ERR_NOT_FOUND: no vm.json */
int qemu_def_save(const char *dir, const struct qemu_def *d, struct err *e);

/* ---- qemu_disk_posix.c: images, overlays, qemu-img ---- */
/* The block graph of a slot for -blockdev and qemu-img, every driver and size stated. `named`: with node-name disk<slot>. `dir`: where the
 * overlay lies, NULL: the working directory. New reference or NULL. */
json_t *qemu_disk_node(const struct hv_disk *d, unsigned slot, const char *dir, bool named);
int qemu_disk_check(const struct hv_disk *d, struct err *e);                 /* image there, and as long as it must be */
int qemu_disk_make_overlay(struct qemu *q, const char *dir, const struct hv_disk *d, unsigned slot, struct err *e);
void qemu_disk_remove_overlay(const char *dir, unsigned slot);
int qemu_disk_make_vars(struct qemu *q, const char *dir, struct err *e);     /* vars.qcow2 from the firmware's template */
json_t *qemu_disk_vars_node(const char *dir);
/* The last line with something in it, where these programs say what is wrong; cuts text into lines. */
const char *qemu_last_line(char *text);
/* qemu-img with these arguments (NULL-terminated, without argv[0]); as the VM account unless own_account. */
int qemu_img(struct qemu *q, const char *const *args, bool own_account, unsigned timeout_ms, hv_stop_fn *stop, void *arg, char **ret_out,
             struct err *e);
/* `qemu-img snapshot -<op> tag` on a slot's overlay, or on the variables (slot QEMU_VARS). VM off. */
#define QEMU_VARS HV_DISKS_MAX
int qemu_disk_snapshot(struct qemu *q, const char *dir, const struct hv_disk *d, unsigned slot, char op, const char *tag, struct err *e);
int qemu_disk_convert(struct qemu *q, const char *dir, const struct hv_disk *d, unsigned slot, enum hv_format format, const char *path,
                      hv_stop_fn *stop, hv_progress_fn *progress, void *arg, struct err *e);

/* ---- a VM ---- */
struct qemu_vm {
    char id[UUID_LEN];
    char *dir;
    int dirfd;
    struct qemu *q;
    unsigned refs;                                     /* under q->lock */

    pthread_mutex_t op;
    struct qmp *qmp;
    bool exporting;
    bool interrupted;                                  /* atomic: somebody wants to end the VM: who waits for QEMU gives up */
    int64_t silent_until_ms, glance_until_ms;          /* QEMU did not answer in time: nobody waits for it again until then */

    pthread_mutex_t serial;

    pthread_mutex_t lock;
    struct qemu_def def;
    enum hv_state state;
    char detail[128];
    bool gone;                                         /* deleted: who waited for op must give up */
};

struct qemu {
    struct hv hv;                                      /* first */
    char *vms_dir;
    char *run_as, *accel, *program, *img_program, *scope;                    /* run_as: NULL: our own account */
    bool as_other;                                     /* run_as is another account and we can become it */
    uid_t uid;
    gid_t gid;
    struct qemu_probe probe;
    hv_stop_fn *stop;                                  /* NULL: never */
    void *stop_arg;
    pthread_mutex_t lock;
    struct qemu_vm **vms;
    size_t n_vms;
    struct qemu_claim { const char *id; struct qemu_claim *next; } *claims;    /* under lock: ids that are being created or deleted */
    pthread_cond_t claims_changed;
};

/* qemu_vm_posix.c */
/* Finds the VM and takes its op lock; ERR_NOT_FOUND. Every op_begin needs its op_end. */
int qemu_op_begin(struct qemu *q, const char *id, struct qemu_vm **ret, struct err *e);
void qemu_op_end(struct qemu_vm *vm);
/* The same for who ends the VM: an operation that waits for a job of QEMU is given up first. */
int qemu_op_begin_end(struct qemu *q, const char *id, struct qemu_vm **ret, struct err *e);
/* An hv_stop_fn for what waits for a VM: somebody wants to end it, or the daemon stops. Any thread. */
bool qemu_vm_given_up(void *vm);
/* Under op: the control connection, whose waits end with the daemon and with the VM. */
int qemu_vm_connect(struct qemu_vm *vm, unsigned timeout_ms, struct err *e);
struct qemu_vm *qemu_vm_ref(struct qemu *q, const char *id);                 /* NULL: none */
void qemu_vm_unref(struct qemu_vm *vm);
/* Under op: learns what the VM really is; connects when it runs. Never fails: trouble becomes state and detail. A QEMU that hangs costs
 * the first caller QMP_TIMEOUT_MS and those of the next seconds nothing. */
void qemu_vm_refresh(struct qemu_vm *vm);
/* The same for who only wants to show it: waits at most patience_ms (below QMP_TIMEOUT_MS), with 0 looks at the process alone. */
void qemu_vm_glance(struct qemu_vm *vm, unsigned patience_ms);
struct qemu_home qemu_vm_home(const struct qemu_vm *vm);
void qemu_vm_set_state(struct qemu_vm *vm, enum hv_state state, const char *detail);
/* Under op, after refresh: ERR_WRONG_STATE with a useful hint unless the VM is so. */
int qemu_vm_need_off(struct qemu_vm *vm, const char *what, struct err *e);
int qemu_vm_need_on(struct qemu_vm *vm, const char *what, struct err *e);
/* Under op: changes the definition through `d` (a copy of def whose ownership passes on), on disk first. */
int qemu_vm_commit(struct qemu_vm *vm, struct qemu_def *d, struct err *e);
int qemu_def_copy(const struct qemu_def *d, struct qemu_def *ret, struct err *e);
/* Under op: a QMP command that drops the connection when that broke. */
int qemu_vm_call(struct qemu_vm *vm, const char *command, json_t *args, json_t **ret, struct err *e);
/* Under op: processes. launch leaves QEMU connected and stopped before its first instruction. */
int qemu_vm_launch(struct qemu_vm *vm, struct err *e);
/* After refresh: a QEMU that does not listen yet was just started, by a daemon that died meanwhile; waits for it, but not for one that hangs. */
void qemu_vm_await_launch(struct qemu_vm *vm);
int qemu_vm_power_off(struct qemu_vm *vm, struct err *e);

/* qemu_args_posix.c: the command line. Strings in *ret belong to the caller: qemu_args_free. */
int qemu_args(struct qemu_vm *vm, bool kvm, bool scope, char ***ret, struct err *e);
void qemu_args_free(char **argv);

/* qemu_screen_posix.c, qemu_serial_posix.c, qemu_checkpoint_posix.c: slots of hv_qemu. */
int qemu_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e);
int qemu_display(struct hv *hv, const char *id, intptr_t *ret_socket, struct err *e);
int qemu_screen_text(struct hv *hv, const char *id, char **ret, struct err *e);
int qemu_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e);
int qemu_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e);
int qemu_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e);
void qemu_serial_trim(struct qemu_vm *vm);             /* bounds what serial.log and qemu.log take on the host's disk; any thread */
int qemu_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e);
int qemu_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e);
int qemu_checkpoint_restore(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
int qemu_checkpoint_delete(struct hv *hv, const char *id, const char *checkpoint, struct err *e);

/* A file that QEMU may have written, read without following links: at most max bytes from offset on. */
int qemu_read_at(int dirfd, const char *name, uint64_t offset, void *buf, size_t max, size_t *ret_n, uint64_t *ret_size, struct err *e);
/* Connects to a UNIX socket in the folder, whatever the length of its path; non-blocking descriptor or -errno. */
int qemu_connect(int dirfd, const char *name);

#endif

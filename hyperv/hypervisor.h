/* The hypervisor interface: one struct of functions plus capabilities. QEMU (qemu_posix.c) implements it, and a double for fault
 * injection; Hyper-V will. Callers use the hv_* wrappers below, which check arguments and capabilities once.
 *
 * Threads: a struct hv may be used from any thread at once; a driver serialises per VM where it must.
 * VMs outlive the daemon and are found again by the next hv_open. A VM's id is chosen by the caller (a UUID); `create` is
 * find-or-create by it. Only VMs that we made are ever listed or touched.
 * Errors: ERR_NOT_FOUND for an id that does not exist, ERR_WRONG_STATE when the VM's power state does not allow the call,
 * ERR_UNSUPPORTED for a slot that is NULL, ERR_HYPERVISOR when the hypervisor cannot be used at all, ERR_VM for what it refused
 * (upstream.service is the driver's name), ERR_DISK_FULL, ERR_CANCELLED. */
#ifndef VMR_HYPERV_HYPERVISOR_H
#define VMR_HYPERV_HYPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

#define HV_DISKS_MAX 4                                 /* Generation 1: IDE has four places */
#define HV_NAME_MAX 100                                /* bytes */
#define HV_CHECKPOINTS_MAX 64                          /* of one VM */
#define HV_MEMORY_MIB_MIN 16
#define HV_MEMORY_MIB_MAX (1024 * 1024)
#define HV_CPUS_MAX 64
#define HV_DISK_BYTES_MAX ((uint64_t)64 << 40)

enum hv_format { HV_RAW, HV_VHD, HV_VHD_DYNAMIC, HV_VHDX, HV_QCOW2 };
enum hv_guest { HV_GUEST_UNKNOWN, HV_GUEST_WINDOWS, HV_GUEST_LINUX };    /* decides whose boot loaders Secure Boot lets pass; unknown: all */
enum hv_state { HV_OFF, HV_RUNNING, HV_PAUSED, HV_FAILED };
const char *hv_state_name(enum hv_state s);            /* "off", "running", "paused", "failed" */

typedef bool hv_stop_fn(void *arg);                    /* true: give up soon with ERR_CANCELLED. Any thread */
typedef void hv_progress_fn(void *arg, uint64_t done, uint64_t total);   /* bytes */

struct hv_config {
    const char *data_dir;                              /* VMs lie under data_dir/vms/<id> */
    const char *run_as;                                /* account for VM processes, NULL: the daemon's own */
    const char *accel;                                 /* QEMU: "auto", "kvm", "tcg" */
    const char *program;                               /* QEMU: system emulator; NULL: qemu-system-x86_64 from PATH */
    const char *scope;                                 /* QEMU: "auto" (own systemd scope where systemd runs), "none" */
    hv_stop_fn *stop;                                  /* true: the daemon stops; vm_create and vm_start give up with ERR_CANCELLED. NULL: never */
    void *stop_arg;
};

struct hv_disk {
    char *path;                                        /* absolute; NULL: the slot is empty (after disk_detach) */
    enum hv_format format;
    uint64_t virtual_size;                             /* bytes the guest sees; for HV_VHD the file has 512 more */
    bool overlay;                                      /* writes go to a layer of the VM, the file stays as it is */
};

struct hv_vm_spec {
    char *id;                                          /* UUID, ours */
    char *job_id;
    char *name;                                        /* for people; not unique */
    unsigned generation;                               /* 1 or 2 */
    unsigned memory_mib, cpus;
    char *network;                                     /* "none", "nat", "switch:<name>" */
    struct hv_disk disks[HV_DISKS_MAX];
    size_t n_disks;                                    /* highest slot in use + 1; disks[i] is in slot i */
    char *dvd;                                         /* ISO path or NULL */
    enum hv_guest guest;                               /* Generation 2 */
    bool nested;                                       /* the guest may run virtual machines itself */
};
void hv_vm_spec_clear(struct hv_vm_spec *s);           /* frees the members */
int hv_vm_spec_copy(const struct hv_vm_spec *s, struct hv_vm_spec *ret, struct err *e);      /* deep; hv_vm_spec_clear after use */

struct hv_vm {                                         /* what a VM is now */
    struct hv_vm_spec spec;
    enum hv_state state;
    char state_detail[128];                            /* why paused or failed; empty: nothing to say */
    int64_t started_at_ms;                             /* 0: not running */
    bool guest_alive;                                  /* the guest's own drivers answer the hypervisor: it has booted. false: no, or not known */
};
void hv_vm_free(struct hv_vm *vm);
DEFINE_AUTO(struct hv_vm, hv_vm_free)

struct hv_image {                                      /* 8-bit RGB, rows of width * 3 bytes, top first */
    unsigned width, height;
    uint8_t *rgb;
};
void hv_image_clear(struct hv_image *img);

enum hv_check_status { HV_OK, HV_WARNING, HV_CHECK_FAILED };
struct hv_check {                                      /* a row of the host report */
    char check[48];                                    /* stable snake_case name: "hypervisor", "acceleration", "firmware_gen2" */
    enum hv_check_status status;
    char detail[256], remedy[256];
};

/* Rows as they are collected: at most max of them. A text that is too long is cut; a row that is HV_OK has no remedy (NULL: none). */
struct hv_rows { struct hv_check *rows; size_t n, max; };
void hv_rows_add(struct hv_rows *t, const char *check, enum hv_check_status status, const char *remedy, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* The role or feature of the host that its hypervisor is, where it is one: Hyper-V on Windows. */
enum hv_role_state { HV_ROLE_UNAVAILABLE, HV_ROLE_DISABLED, HV_ROLE_ENABLING, HV_ROLE_RESTART_NEEDED, HV_ROLE_ENABLED, HV_ROLE_FAILED };
const char *hv_role_name(enum hv_role_state s);        /* "unavailable", "disabled", "enabling", "restart_needed", "enabled", "failed" */
struct hv_role {
    enum hv_role_state state;
    unsigned percent;                                  /* while enabling */
    struct err error;                                  /* when it failed */
};

/* A key event: W3C UI Events `code` value ("KeyA", "F8", "ControlLeft"), pressed and released together. */
struct hv_chord { const char *codes[8]; size_t n; };

struct hv_checkpoint {
    char id[40];                                       /* UUID, ours */
    char name[HV_NAME_MAX + 1];
    int64_t created_at_ms;
    bool with_memory;
};

enum hv_cap {
    HV_CAP_GEN2 = 1, HV_CAP_SCREEN_TEXT = 2, HV_CAP_SERIAL = 4, HV_CAP_CHECKPOINT = 8, HV_CAP_NAT = 16,
    HV_CAP_SWITCH = 32, HV_CAP_ATTACH = 64, HV_CAP_EXPORT = 128, HV_CAP_NESTED = 256, HV_CAP_DISPLAY = 512,
};

struct hv;

struct hv_ops {
    const char *name;                                  /* "qemu", "hyperv" */
    int (*open)(const struct hv_config *cfg, struct hv **ret, struct err *e);          /* required; finds running VMs again */
    void (*close)(struct hv *hv);                      /* required; leaves VMs running */
    unsigned (*capabilities)(struct hv *hv);           /* required: set of enum hv_cap */
    enum hv_format (*preferred_format)(struct hv *hv, unsigned generation);            /* required: "format": "auto" */
    /* Fills at most max rows, returns how many. Probes are cached by the driver. */
    size_t (*report)(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role);      /* required; ret_role: never NULL */
    /* Begins to enable it and returns; the report says how far it is. ERR_WRONG_STATE while that goes on, and without `force` where no VM could run. */
    int (*role_enable)(struct hv *hv, bool force, struct err *e);
    int (*vm_create)(struct hv *hv, const struct hv_vm_spec *s, struct err *e);        /* required: find or create; idempotent */
    int (*vm_delete)(struct hv *hv, const char *id, struct err *e);                    /* required: powers off, removes all that create made; missing is 0 */
    int (*vm_get)(struct hv *hv, const char *id, struct hv_vm **ret, struct err *e);   /* required */
    int (*vm_list)(struct hv *hv, struct hv_vm ***ret, size_t *ret_n, struct err *e);  /* required; caller frees each and the array */
    /* Running already is 0; one that is paused goes on. */
    int (*vm_start)(struct hv *hv, const char *id, struct err *e);                     /* required */
    int (*vm_stop)(struct hv *hv, const char *id, struct err *e);                      /* required: power off; off already is 0 */
    int (*vm_shutdown)(struct hv *hv, const char *id, struct err *e);                  /* asks the guest, does not wait */
    int (*vm_reset)(struct hv *hv, const char *id, struct err *e);
    int (*screen)(struct hv *hv, const char *id, struct hv_image *ret, struct err *e);
    /* A connection to the VM's screen, keyboard and pointer: a stream socket of this host that does not block and speaks RFB (RFC 6143) without a
     * password. Several at once are fine. The caller closes it; it ends with the VM. ERR_WRONG_STATE: off, or started without a display. */
    int (*display)(struct hv *hv, const char *id, intptr_t *ret_socket, struct err *e);
    int (*screen_text)(struct hv *hv, const char *id, char **ret, struct err *e);      /* UTF-8 lines; ERR_UNSUPPORTED in a graphics mode */
    /* Returns after the keys are up again, at a pace that slow guests take. ERR_UNSUPPORTED: this hypervisor lacks one of them. */
    int (*keys)(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e);
    /* Bytes of the serial console's log from `offset`, at most n; *ret_n may be 0. The log grows over the VM's life. */
    int (*serial_read)(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e);
    /* Returns once the guest's port has taken all; ERR_TIMEOUT when nothing reads there. */
    int (*serial_write)(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e);
    int (*dvd)(struct hv *hv, const char *id, const char *iso, struct err *e);         /* NULL ejects */
    int (*disk_attach)(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *d, struct err *e);  /* VM off */
    int (*disk_detach)(struct hv *hv, const char *id, unsigned slot, struct err *e);
    /* Of a running VM with its memory where the hypervisor can (ret->with_memory says so). At most HV_CHECKPOINTS_MAX. */
    int (*checkpoint_create)(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e);
    int (*checkpoint_list)(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e);
    /* Brings back disks and power state: with memory the VM runs after it, without it is off. */
    int (*checkpoint_restore)(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
    int (*checkpoint_delete)(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
    /* Flattens disk `slot` with all layers into a new file, which is on stable storage at the end and removed on failure; ERR_WRONG_STATE when
     * there is something at path. The VM must be off, and cannot be started, changed or deleted meanwhile. */
    int (*disk_export)(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path,
                       hv_stop_fn *stop, hv_progress_fn *progress, void *arg, struct err *e);
    /* Called some times a minute, whether anybody looks at VMs or not: bounds what their logs take on the host's disk. Waits for nobody. */
    void (*tend)(struct hv *hv);
};

/* Every driver embeds this as its first member. */
struct hv { const struct hv_ops *ops; };

extern const struct hv_ops hv_qemu;
extern const struct hv_ops hv_hyperv;

int hv_open(const struct hv_ops *ops, const struct hv_config *cfg, struct hv **ret, struct err *e);
/* The one of this platform (driver_posix.c, driver_win32.c); ERR_HYPERVISOR where this version has none. */
int hv_open_host(const struct hv_config *cfg, struct hv **ret, struct err *e);
void hv_close(struct hv *hv);
unsigned hv_capabilities(struct hv *hv);
enum hv_format hv_preferred_format(struct hv *hv, unsigned generation);
size_t hv_report(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role);              /* ret_role may be NULL */
int hv_role_enable(struct hv *hv, bool force, struct err *e);
int hv_vm_create(struct hv *hv, const struct hv_vm_spec *s, struct err *e);
int hv_vm_delete(struct hv *hv, const char *id, struct err *e);
int hv_vm_get(struct hv *hv, const char *id, struct hv_vm **ret, struct err *e);
int hv_vm_list(struct hv *hv, struct hv_vm ***ret, size_t *ret_n, struct err *e);
void hv_vm_list_free(struct hv_vm **list, size_t n);
int hv_vm_start(struct hv *hv, const char *id, struct err *e);
int hv_vm_stop(struct hv *hv, const char *id, struct err *e);
int hv_vm_shutdown(struct hv *hv, const char *id, struct err *e);
int hv_vm_reset(struct hv *hv, const char *id, struct err *e);
int hv_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e);
int hv_display(struct hv *hv, const char *id, intptr_t *ret_socket, struct err *e);
int hv_screen_text(struct hv *hv, const char *id, char **ret, struct err *e);
int hv_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e);
int hv_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e);
int hv_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e);
int hv_dvd(struct hv *hv, const char *id, const char *iso, struct err *e);
int hv_disk_attach(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *d, struct err *e);
int hv_disk_detach(struct hv *hv, const char *id, unsigned slot, struct err *e);
int hv_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e);
int hv_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e);
int hv_checkpoint_restore(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
int hv_checkpoint_delete(struct hv *hv, const char *id, const char *checkpoint, struct err *e);
int hv_disk_export(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path,
                   hv_stop_fn *stop, hv_progress_fn *progress, void *arg, struct err *e);
void hv_tend(struct hv *hv);

/* keys.c: is this a W3C code that a PC keyboard has, and how a text is typed on a US layout: the chord for one
 * character (ASCII; '\n' is Enter, '\t' Tab); false if it has none. */
bool hv_key_known(const char *code);
bool hv_key_for_char(char c, struct hv_chord *ret);

#endif

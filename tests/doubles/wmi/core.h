/* Inside the double. A struct dbl is one Windows host in memory: objects of each namespace, jobs, VMs, files' attributes, time.
 *
 * One lock: every call across the seam, and every function of double.h, takes d->lock; all below runs under it. Memory that runs out ends the
 * program: it is a test's. Portable C (common/ and the seam's types), so that the same behaviour can be served through COM. */
#ifndef VMR_TESTS_WMI_CORE_H
#define VMR_TESTS_WMI_CORE_H

#include <pthread.h>
#include <stdint.h>

#include "tests/doubles/wmi/double.h"
#include "tests/doubles/wmi/schema.h"

/* ---- memory ---- */
void *x_calloc(size_t n, size_t size);
void *x_grow(void *p, size_t n, size_t size);          /* realloc to n elements */
char *x_dup(const char *s);                            /* NULL gives NULL */
char *x_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ---- objects: object.c ---- */
struct dobj {                                          /* an instance, a class definition, or parameters */
    struct wmi_object base;
    struct dbl *d;
    const struct schema_class *class;                  /* NULL: parameters */
    const struct schema_class *owner;                  /* parameters: of a method of this class */
    const struct schema_method *method;                /* parameters: of this one; else NULL */
    const struct schema_layout *layout;
    struct wmi_value *values;                          /* one for each member of the layout */
    bool definition;                                   /* a class, not an instance */
    char *rel;                                         /* __RELPATH; NULL: none (embedded, new, parameters, or a row without its keys) */
    char *server, *ns;                                 /* as __PATH spells them; NULL with rel */
};
extern const struct wmi_ops dbl_wmi_ops;
struct dobj *obj_new(struct dbl *d, const struct schema_class *c);
struct dobj *obj_params(struct dbl *d, const struct schema_class *owner, const struct schema_method *m, bool out);
struct dobj *obj_clone(const struct dobj *o);
void obj_free(struct dobj *o);
char *obj_text(const struct dobj *o);                  /* CIM DTD 2.0 */
/* Parses an instance text of a class that this version has. NULL: no such text, and *why says so. */
struct dobj *obj_parse(struct dbl *d, const char *ns, const char *text, char **why);
/* Settings of Hyper-V of this class, or one derived from it. NULL: `text` is none, or NULL. */
struct dobj *obj_settings(struct dbl *d, const char *text, const char *class);

/* By name. A name that no version has ends the program; one that this version lacks reads as nothing, and setting it does nothing. */
const struct wmi_value *obj_get(const struct dobj *o, const char *name);
bool obj_has(const struct dobj *o, const char *name);                    /* has a value */
const char *obj_str(const struct dobj *o, const char *name);             /* borrowed; NULL: none */
uint64_t obj_uint(const struct dobj *o, const char *name, uint64_t def);
bool obj_bool(const struct dobj *o, const char *name, bool def);
size_t obj_n(const struct dobj *o, const char *name);                    /* elements of an array */
const char *obj_str_at(const struct dobj *o, const char *name, size_t i);
uint64_t obj_uint_at(const struct dobj *o, const char *name, size_t i, uint64_t def);
void obj_set(struct dobj *o, const char *name, const struct wmi_value *v);                      /* copies */
void obj_unset(struct dobj *o, const char *name);
void obj_set_str(struct dobj *o, const char *name, const char *s);       /* string, datetime, reference; NULL unsets */
void obj_set_uint(struct dobj *o, const char *name, uint64_t u);         /* any number */
void obj_set_bool(struct dobj *o, const char *name, bool b);
void obj_set_strs(struct dobj *o, const char *name, const char *const *list, size_t n);
void obj_set_uints(struct dobj *o, const char *name, const uint64_t *list, size_t n);
void obj_set_bytes(struct dobj *o, const char *name, const uint8_t *bytes, size_t n);
void obj_set_objs(struct dobj *o, const char *name, struct dobj **list, size_t n);              /* takes the objects over */
void obj_set_obj(struct dobj *o, const char *name, struct dobj *embedded);                      /* takes it over */
/* Put as WMI does it: 0 or an HRESULT. */
uint32_t obj_put(struct dobj *o, int member, const struct wmi_value *v);

/* ---- paths: path.c ---- */
#define PATH_KEYS 10
struct path {
    char *server, *ns, *class;                         /* server, ns: NULL when relative */
    bool is_class;                                     /* no keys at all */
    struct { char *name, *value; } key[PATH_KEYS];     /* name NULL: the only key */
    size_t n;
};
uint32_t path_parse(const char *s, struct path *ret);  /* 0 or WMI_E_INVALID_OBJECT_PATH */
void path_clear(struct path *p);
char *path_of(const struct dobj *o);                   /* relative path from an instance's keys; NULL: a key has no value */

/* ---- what lies in a namespace: store.c ---- */
struct inst {
    struct dobj *o;
    struct space *space;
    struct vm *vm;                                     /* that it belongs to, or NULL */
    bool foreign;                                      /* there from the start, or put in as somebody else's */
    bool template;                                     /* a default, not a device */
    char *rel;                                         /* relative path, fixed at birth */
    uint64_t born;                                     /* order of birth */
};
struct link {                                          /* an instance of an association */
    const struct schema_class *class;
    struct inst *a, *b;
    const char *role_a, *role_b;                       /* names of the reference properties */
    struct dobj *extra;                                /* other properties; NULL: none */
    bool foreign;
    int64_t from_ms;                                   /* not seen before */
};
struct space {
    const char *name;                                  /* the schema's */
    struct inst **at;
    size_t n;
    struct link *links;
    size_t n_links;
};
struct space *space_of(struct dbl *d, const char *ns);
/* Makes an instance whose keys are set by `o` (taken over). */
struct inst *inst_add(struct dbl *d, const char *ns, struct dobj *o);
struct inst *inst_new(struct dbl *d, const char *ns, const char *class);                        /* not yet in: set keys, then inst_enter */
void inst_enter(struct dbl *d, struct inst *i);
void inst_remove(struct dbl *d, struct inst *i);       /* and every link to it */
struct inst *inst_find(struct dbl *d, struct space *s, const struct path *p);
struct inst *inst_by_path(struct dbl *d, const char *ns, const char *path);                     /* NULL: bad path, or nothing there */
struct inst *inst_by_key(struct dbl *d, const char *ns, const char *class, const char *key, const char *value);
char *inst_path(struct dbl *d, const struct inst *i);  /* full path in one of its spellings; caller frees */
struct link *link_add(struct dbl *d, const char *ns, const char *class, const char *role_a, struct inst *a, const char *role_b, struct inst *b);
void link_remove(struct space *s, const char *class, const struct inst *a, const struct inst *b);   /* NULL: any */
struct inst *link_other(struct space *s, const char *class, const struct inst *i, size_t nth);  /* NULL: no more */
struct dobj *link_object(struct dbl *d, const struct space *s, const struct link *l);           /* the association as an instance */
/* What a caller gets: a copy with path, in one of the spellings; `columns` NULL: all. */
struct dobj *inst_copy(struct dbl *d, const struct inst *i);

/* ---- queries: wql.c (text), query.c (answers) ---- */
enum wql_op { WQL_EQ, WQL_NE, WQL_LT, WQL_GT, WQL_LE, WQL_GE, WQL_LIKE, WQL_ISA, WQL_IS_NULL, WQL_NOT_NULL, WQL_AND, WQL_OR, WQL_NOT };
struct wql_expr {
    enum wql_op op;
    struct wql_expr *left, *right;
    char *property, *value;
    bool quoted;                                       /* value was a string literal */
};
struct wql {
    char *class;                                       /* SELECT */
    char **columns;                                    /* NULL: all */
    size_t n_columns;
    struct wql_expr *where;
    char *of, *assoc, *result, *role, *result_role;    /* ASSOCIATORS OF, REFERENCES OF: `of` is the path */
    bool references;
};
uint32_t wql_parse(const char *text, struct wql *ret);  /* 0, WMI_E_INVALID_QUERY or WMI_E_INVALID_OBJECT_PATH */
void wql_clear(struct wql *q);
bool wql_like(const char *text, const char *pattern);
uint32_t query_run(struct dbl *d, struct space *s, const struct wql *q, struct dobj ***ret, size_t *ret_n);

/* ---- time: due.c ---- */
typedef void due_fn(struct dbl *d, void *arg);       /* frees arg */
int64_t now_ms(struct dbl *d);
void due_add(struct dbl *d, int64_t in_ms, due_fn *fn, due_fn *drop, void *arg);          /* drop: frees arg of one that never happens */
void due_run(struct dbl *d);                         /* what is due */
void due_drop_all(struct dbl *d);
char *datetime_text(struct dbl *d, int64_t at_ms);     /* DMTF, UTC */
char *interval_text(int64_t ms);

/* ---- chance ---- */
uint32_t rnd(struct dbl *d, uint32_t n);               /* 0..n-1 */
bool chance(struct dbl *d, unsigned per_mille);
void guid_new(struct dbl *d, char ret[37]);            /* upper case, no braces */
/* One of the spellings of a choice that only a real host could decide: `fixed` for a double without chance. */
bool choose(struct dbl *d, enum dbl_choice c);
const char *word(struct dbl *d, const char *english);  /* in the host's language; borrowed */

/* ---- calls: call.c ---- */
struct call {
    struct dbl *d;
    struct space *space;
    struct inst *target;                               /* NULL: a static method */
    char *target_rel;                                  /* to find it again */
    const struct schema_class *class;
    struct vm *vm;                                     /* that is changed: locked meanwhile. Set by check */
    const struct schema_method *method;
    const struct impl *impl;
    struct dobj *in;                                   /* never NULL, perhaps empty */
    struct dobj *out;                                  /* apply puts results here */
    struct inst *affected[16];
    size_t n_affected;
    uint32_t error;                                    /* apply: HRESULT-like code of what went wrong; 0: nothing */
    char *error_text;
    struct job *job;                                   /* under which it runs, or NULL */
    char *vm_guid;                                     /* to find vm again when it is applied later */
};
struct impl {
    const char *ns, *class, *method;
    unsigned flags;
    unsigned job_type;
    unsigned min_ms, max_ms;                           /* how long a job takes */
    uint32_t (*check)(struct call *c);                 /* ReturnValue of a refusal, or 0. NULL: nothing to check */
    void (*apply)(struct call *c);
    void (*begin)(struct call *c);                     /* when a job starts, before apply. NULL: nothing */
    void (*failed)(struct call *c);                    /* when the job ended without apply having succeeded. NULL: nothing */
};
#define IMPL_SYNC 1                                    /* never a job */
#define IMPL_JOB 2                                     /* always a job */
#define IMPL_STORAGE_JOB 4                             /* Msvm_StorageJob */
#define IMPL_LOCKS 8                                   /* the VM's settings stay locked for a moment */
#define IMPL_VALUE 16                                  /* check's result is the ReturnValue; what it put into `out` goes back with it */
#define IMPL_AT_END 32                                 /* a job's effect comes at its end, whatever the choice */
#define IMPL_HALF 64                                   /* a failed job may have done it nevertheless: DBL_HALF_MADE */
#define IMPL_READS 128                                 /* changes nothing */
#define IMPL_CANCELLABLE 256
#define RET_ASYNC 4096u
#define RET_FAILED 32768u
#define RET_ACCESS_DENIED 32769u
#define RET_NOT_SUPPORTED 32770u
#define RET_INVALID_PARAMETER 32773u
#define RET_IN_USE 32774u
#define RET_INVALID_STATE 32775u
#define RET_FILE_NOT_FOUND 32779u
#define RET_NOT_FOUND 32789u
void call_fail(struct call *c, uint32_t code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void call_affects(struct call *c, struct inst *i);
void call_out_ref(struct call *c, const char *name, struct inst *i);
void call_out_refs(struct call *c, const char *name, struct inst **list, size_t n);
/* Runs a method: 0 and *ret, or an HRESULT. */
uint32_t call_run(struct dbl *d, struct space *s, struct inst *target, const struct schema_class *class, const struct schema_method *m,
                  struct dobj *in, uint32_t forced_return, uint32_t forced_job_error, struct dobj **ret);
void call_free(struct call *c);
const struct impl *impl_of(const struct schema_class *c, const char *method);                    /* NULL: not played */

/* ---- jobs: job.c ---- */
struct job {
    struct job *next;
    struct inst *inst;
    struct call *call;                                 /* still to be applied (begin_ms to end_ms), or NULL */
    const struct impl *impl;
    bool apply_at_end, hooks;
    int64_t begin_ms, end_ms, gone_ms;
    bool finished, failed, warned, killed;
    unsigned polls_left;                               /* after the end, until it vanishes; 0: by time */
    uint32_t error;
    char *error_text;
    char *vm_guid;
};
struct job *job_new(struct dbl *d, struct call *c, int64_t takes_ms);
void job_affects(struct dbl *d, struct job *j, struct inst *i);
void jobs_tick(struct dbl *d);                         /* progress, and effects that are due */
void job_seen(struct dbl *d, struct inst *i);          /* somebody read it */
bool job_runs_on(struct dbl *d, const char *vm_guid);
void jobs_drop(struct dbl *d, bool running_only);      /* the management service restarts */
extern const struct impl job_impls[];

/* ---- Hyper-V ---- */
enum vm_state { VM_RUNNING = 2, VM_OFF = 3, VM_STOPPING = 4, VM_SAVED = 6, VM_PAUSED = 9, VM_STARTING = 10, VM_SAVING = 32773, VM_STOPPING2 = 32774 };
struct guest {                                         /* what happens inside a VM that runs */
    int64_t started_ms;
    struct dbl_guest plan;
    struct strbuf keys;                                /* scan codes that arrived */
    unsigned buffered;                                 /* in the keyboard's buffer */
    int64_t drained_ms;
    int64_t shutdown_ms;                               /* it has been asked: ends then; 0: not asked */
};
struct vm {
    struct vm *next;
    char guid[37];
    bool foreign;
    unsigned generation;
    enum vm_state state;
    struct inst *system, *settings;
    struct guest guest;
    int64_t locked_until_ms;
    unsigned locked_calls;                             /* so many more changes are refused */
    struct serial_port *serial[2];
    enum vm_state before;                              /* when a change of state began: where it falls back to */
    char *config_root;                                 /* where its files were made; NULL: nowhere */
};
struct vm *vm_by_guid(struct dbl *d, const char *guid);
struct vm *vm_by_ref(struct dbl *d, const char *path);  /* of a VM, of its settings or of one of its devices */
bool vm_is_locked(struct dbl *d, struct vm *vm);
void vm_lock_a_while(struct dbl *d, struct vm *vm);
struct vm *vm_new(struct dbl *d, const struct dobj *settings, bool foreign);                    /* with its default devices */
void vm_remove(struct dbl *d, struct vm *vm);
struct inst *runtime_add(struct dbl *d, struct vm *vm, const char *class, const char *id);      /* a device as it runs */
void runtime_remove(struct dbl *d, struct vm *vm, bool all);
void vm_set_state(struct dbl *d, struct vm *vm, enum vm_state state);
void vm_power_on(struct dbl *d, struct vm *vm);        /* what is inside begins to run */
void vm_power_off(struct dbl *d, struct vm *vm);
bool vm_is_off(const struct vm *vm);                   /* off or saved */
void vm_tick(struct dbl *d, struct vm *vm);            /* guest's own doings */
extern const struct impl vm_impls[], resource_impls[], power_impls[], console_impls[], snapshot_impls[], image_impls[], switch_impls[],
    storage_impls[], network_impls[];
void hyperv_populate(struct dbl *d);
/* Devices of a VM by their settings. */
struct inst *vm_device(struct dbl *d, const struct inst *settings, const char *sub_type, size_t nth);
struct inst *device_add(struct dbl *d, struct vm *vm, struct inst *settings, const char *class, const char *instance_id);
const char *sub_type_of(const struct inst *i);         /* without Microsoft:Hyper-V: */
struct inst *parent_of(struct dbl *d, const struct inst *i);
bool is_child_of(struct dbl *d, const struct inst *i, const struct inst *parent);
const char *medium_path(const struct inst *i);         /* HostResource[0], or NULL */
void resource_defaults(struct dbl *d, struct vm *vm);
void resource_templates(struct dbl *d);
/* Adds, as AddResourceSettings does; `made` are those of the same call. 0, a ReturnValue, or with c->error set what a job says. */
uint32_t resource_check(struct dbl *d, struct vm *vm, const struct dobj *given, bool defining);
struct inst *resource_add(struct call *c, struct vm *vm, const struct dobj *given);
uint32_t resource_modify_check(struct dbl *d, struct vm *vm, struct inst *i, const struct dobj *given);
void resource_modify(struct call *c, struct vm *vm, struct inst *i, const struct dobj *given);
void resource_remove(struct dbl *d, struct vm *vm, struct inst *i);
void overwrite(struct dobj *to, const struct dobj *from);                /* every property that `from` has a value for, but keys */
struct inst *settings_copy(struct dbl *d, struct vm *vm, const struct inst *from, const char *new_prefix);
void boot_source_add(struct dbl *d, struct vm *vm, struct inst *device);
void boot_source_remove(struct dbl *d, struct vm *vm, struct inst *device);
void switch_populate(struct dbl *d);
void network_populate(struct dbl *d);
void storage_populate(struct dbl *d);
void storage_free(struct dbl *d);
void cimv2_populate(struct dbl *d);
/* Snapshots' life cycle around disks. */
void snapshots_remove(struct dbl *d, struct vm *vm);
void snapshot_automatic(struct dbl *d, struct vm *vm);

/* ---- network ---- */
struct inst *adapter_add(struct dbl *d, const char *name, const char *guid);
void adapter_remove(struct dbl *d, const char *guid);
uint32_t network_put(struct dbl *d, struct dobj *o, enum wmi_put how, char **why);
uint32_t network_delete(struct dbl *d, struct inst *i);

/* ---- files: file.c, disk.c ---- */
struct dfile {
    char *path;
    struct dbl_file attr;
    struct { char guid[37]; bool write; char file_id[OS_FILE_ID]; } grant[16];
    size_t n_grants;
    bool mounted;                                      /* attached to the host: in use */
};
struct dfile *file_of(struct dbl *d, const char *path, bool make);
struct dbl_file file_attributes(struct dbl *d, const char *path);
bool file_may(struct dbl *d, const char *path, const char *guid, bool write);
void file_grant(struct dbl *d, const char *path, const char *guid, bool write);
void file_revoke(struct dbl *d, const char *path, const char *guid);
/* May Hyper-V use this disk file? 0, or the HRESULT that it gives; `chain` looks at parents too. */
uint32_t media_check(struct dbl *d, const char *path, bool attributes);
bool same_file(const char *a, const char *b);

enum { DISK_VHD = 2, DISK_VHDX = 3 };                  /* Msvm_VirtualHardDiskSettingData.Format */
enum { DISK_FIXED = 2, DISK_DYNAMIC = 3, DISK_DIFF = 4 };                /* .Type */
struct disk_info {
    int format, type;
    uint64_t size;                                     /* virtual */
    uint32_t block_size, sector, physical_sector;
    uint8_t id[16], link[16], parent_link[16];         /* link: what a child remembers of its parent */
    uint32_t stamp, parent_stamp;                      /* VHD: seconds; 0: none */
    char parent[1024];
};
uint32_t disk_info_of(const char *path, struct disk_info *ret);            /* 0 or an HRESULT: 0xC03A…, 0x80070002 */
uint32_t disk_check_chain(const char *path);
uint32_t disk_create(const char *path, int format, int type, uint64_t size, const char *parent, uint32_t block_size, uint32_t sector);
uint32_t disk_convert(const char *from, const char *to, int format, int type);
uint32_t disk_merge(const char *child, const char *into);                /* `into` is an ancestor: takes what lies above it */
uint32_t disk_reparent(const char *path, const char *parent);            /* makes a differencing disk the child of another file */
uint32_t disk_write(const char *path, uint64_t offset, const void *data, size_t n);             /* as a guest does */
uint32_t disk_read(const char *path, uint64_t offset, void *data, size_t n);
int disk_format_of_name(const char *path);             /* DISK_VHD, DISK_VHDX by extension, 0 otherwise */

/* ---- serial ports: serial_posix.c ---- */
/* The server of a named pipe, as a VM's worker process is one: one client, output without a client is lost. */
struct serial_port *serial_open(const char *pipe, bool echo);            /* NULL: the name is taken */
void serial_close(struct serial_port *p);
void serial_busy(struct serial_port *p, unsigned ms);  /* real ms: nobody gets in, as just after a reset. Before anybody came */
void serial_say(struct serial_port *p, const void *bytes, size_t n);
size_t serial_heard(struct serial_port *p, void *buf, size_t n);         /* takes what came */

/* ---- the host ---- */
struct usage;
struct event;
struct fault_plan;
void host_tick(struct dbl *d);                         /* all that is due by now */
struct dbl {
    pthread_mutex_t lock;
    const struct schema *schema;
    struct dbl_options o;
    char *host_name, *work_dir;
    uint64_t rng;
    int64_t clock_ms, mono_base_ms;
    uint64_t births;
    struct space spaces[4];
    struct event *events;
    struct job *jobs;
    struct vm *vms;
    struct dfile **files;
    size_t n_files;
    long live_objects, live_connections;               /* atomic */
    unsigned generation;                               /* counts restarts of the management service */
    struct fault_plan *faults;
    unsigned calls;
    struct usage *usage;
    struct strbuf log;
    bool keep_log;
    char **unmodelled;
    size_t n_unmodelled;
    unsigned next_adapter, next_partition;
    bool storage_stale;
    void *storage;
    void (*on_kill)(void *arg);
    void *kill_arg;
    pthread_t main_thread;
};
struct conn {
    struct wmi base;
    struct dbl *d;
    struct space *space;
    unsigned generation;                               /* of the host when it was made */
    bool broken;
};
void host_unmodelled(struct dbl *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
void usage_add(struct dbl *d, const char *kind, const char *ns, const char *class, const char *name, bool known);
void usage_free(struct usage *u);

/* ---- faults: fault.c ---- */
enum fault_when { FAULT_NONE, FAULT_BEFORE, FAULT_AFTER, FAULT_RETURN, FAULT_JOB };
struct fault_hit {                                     /* what is to happen to this call */
    enum fault_when when;
    uint32_t code;
    bool cuts;                                         /* the connection is broken afterwards */
    bool restarts;                                     /* and the management service begins anew */
    bool kills;
    unsigned slow_ms;
};
struct fault_hit fault_next(struct dbl *d, const char *kind, const char *method, bool mutates);
void faults_free(struct fault_plan *f);

#endif

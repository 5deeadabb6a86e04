/* Jobs and their disks. */
#ifndef VMR_DB_JOB_H
#define VMR_DB_JOB_H

#include "common/crypto.h"
#include "db/db.h"
#include "db/spec.h"
#include "db/task.h"

/*  QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED; PAUSED while the pause flag is set and it is not finished.
 *  Derived from the tasks and the flags, stored with the job in the same transaction as the change that moves it (job_state.c):
 *  succeeded: all tasks succeeded or were skipped, also when a cancel came too late; cancelled: the cancel flag is set and nothing
 *  runs any more; failed: a task failed and nothing runs any more, what is pending waits for a retry; running: a task runs or has
 *  run; queued: none has. An export_vm or verify that is asked for later makes a finished job run again; its failure does not keep the
 *  tasks of the graph from running, nor theirs it. Each move adds an event "job_<state>" with the state and where it came "from". */
enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_PAUSED, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED, JOB_STATES };
const char *job_state_name(enum job_state s);
bool job_state_parse(const char *word, enum job_state *ret);

/* A disk in Azure that an entry of the request stands for, as preflight found it. */
struct job_target {
    char *name;                                      /* of the disk or snapshot; unmanaged: as the VM calls it */
    char *id;                                        /* of the disk or snapshot, as Azure wrote it; NULL: unmanaged */
    char *url;                                       /* unmanaged: its page blob, without query; NULL: managed */
    char *location;                                  /* region */
    int lun;                                         /* of a data disk; -1: OS disk, or not of a VM */
    uint64_t size_bytes;                             /* 0: not said */
};
void job_target_free(struct job_target *t);
DEFINE_AUTO(struct job_target, job_target_free)

struct job_disk {
    unsigned index;
    unsigned origin;                                 /* index of the request's entry that it stands for: its own, or that of a VM whose data disk it is */
    struct spec_disk spec;                           /* of that entry; url is redacted here; job_disk_url has it whole */
    struct job_target *target;                       /* NULL: not in Azure, or not found yet */
    char *path;                                      /* NULL until known */
    enum disk_format format;                         /* FORMAT_AUTO until known */
    uint64_t virtual_size;                           /* 0 until known */
};

enum job_delete { DELETE_NO, DELETE_KEEP_DISKS, DELETE_ALL };

struct job {
    char id[UUID_LEN];
    int64_t seq;                                     /* rises with each job; what cursors hold */
    struct spec *spec;                               /* with redacted URLs */
    enum job_state state;
    bool paused, cancel_requested;
    enum job_delete delete_requested;
    int64_t created_at_ms, updated_at_ms;
    char *vm_id;                                     /* NULL until the VM is made; then the same UUID as the job's */
    unsigned generation;                             /* of the VM, 0 until known */
    json_t *volume;                                  /* what the service keeps of the job's volume; NULL: none (yet) */
    struct job_disk disks[SPEC_DISKS_MAX];
    size_t n_disks;                                  /* the request's entries, then what preflight added for them */
    struct task *tasks;                              /* in graph order, then by disk */
    size_t n_tasks;
};
void job_free(struct job *j);
DEFINE_AUTO(struct job, job_free)

/* Inserts job, disks, tasks with their dependencies, and the event "job_created". Tasks that need not run are born SKIPPED:
 * export for all but sources in Azure Resource Manager, download for files (blank keeps it: it makes the disk), volume unless one is asked for, what
 * lies after `until`, start_vm when vm.start is false. Secrets are sealed. `key` (Idempotency-Key, or NULL): when it is known and the
 * body's hash is the same, *ret_id is the earlier job's and *ret_existing true; with another body ERR_IDEMPOTENCY.
 * ERR_CREDENTIAL with its field for a credential that is not there, or does not sign in where it must. */
int job_create(struct db *db, const struct spec *s, const char *key, const uint8_t body_sha256[SHA256_LEN],
               char ret_id[UUID_LEN], bool *ret_existing, struct err *e);
int job_get(struct db *db, const char *id, struct job **ret, struct err *e);        /* ERR_NOT_FOUND */
/* Newest first; state -1 for all; before_seq 0 for the first page. Caller frees each job and the array (job_list_free). */
int job_list(struct db *db, int state, int64_t before_seq, size_t limit, struct job ***ret, size_t *ret_n, struct err *e);
void job_list_free(struct job **jobs, size_t n);
/* Numbers per state, for /metrics. */
int job_counts(struct db *db, uint64_t ret[JOB_STATES], struct err *e);
/* The source URL with its SAS. Caller frees with mem_free_secret. */
int job_disk_url(struct db *db, const char *job_id, unsigned disk, char **ret, struct err *e);

/* Any state but being deleted; running transfers see it with their next heartbeat. Event "job_changed". All: ERR_NOT_FOUND. */
#define JOB_RATE_MAX 1000000000000ll                 /* bytes per second */
int job_set_rate(struct db *db, const char *id, uint64_t bytes_per_second, struct err *e);

/* pause: ERR_WRONG_STATE when finished (pausing a paused job is fine). resume: ERR_WRONG_STATE when not paused. cancel: ERR_WRONG_STATE when succeeded or cancelled
 * already; pending tasks become CANCELLED at once, running ones see the flag. retry: ERR_WRONG_STATE unless failed or
 * cancelled; FAILED and CANCELLED tasks become PENDING with attempts 0. delete: any state; cancels first; the service's cleaner does
 * the rest; asking again may only go from KEEP to ALL. All: ERR_NOT_FOUND. */
int job_pause(struct db *db, const char *id, struct err *e);
int job_resume(struct db *db, const char *id, struct err *e);
int job_cancel(struct db *db, const char *id, struct err *e);
int job_retry(struct db *db, const char *id, struct err *e);
/* The same with new SAS for sources whose URL holds one: each must name the blob that the job has, and only its query may differ. ERR_VALUE
 * with field /sources/<i>/… otherwise; nothing has changed then. */
struct job_renewal { unsigned disk; const char *url; };
int job_retry_with(struct db *db, const char *id, const struct job_renewal *list, size_t n, struct err *e);
int job_delete(struct db *db, const char *id, enum job_delete how, struct err *e);

/* For the service. */
int job_set_disk(struct db *db, const char *id, unsigned disk, const char *path, enum disk_format format, uint64_t virtual_size, struct err *e);
/* Another job that names the file as a disk, downloaded or given: its id, or "". */
int job_with_image(struct db *db, const char *path, const char *except_id, char ret[UUID_LEN], struct err *e);
/* Every disk of every job whose path is known; fn returns non-zero to stop, which is then returned. */
int job_each_path(struct db *db, int (*fn)(void *arg, const char *job_id, const char *path), void *arg, struct err *e);
int job_set_volume(struct db *db, const char *id, const json_t *volume, struct err *e);     /* NULL: none any more */
/* The volume of every job that has one; fn as above. */
int job_each_volume(struct db *db, int (*fn)(void *arg, const char *job_id, json_t *volume, struct err *e), void *arg, struct err *e);
int job_set_vm(struct db *db, const char *id, const char *vm_id, unsigned generation, struct err *e);   /* vm_id NULL: no VM any more */
/* What preflight found for the entries of a request that are in Azure: one target or more for each such entry, in the order of the entries. The
 * first of an entry becomes the entry's disk, each further one a disk of its own, with tasks, behind those that there are. May be done again
 * as long as preflight runs. ERR_VALUE beyond SPEC_DISKS_MAX disks. */
struct job_found { unsigned origin; const struct job_target *target; };
int job_resolve(struct db *db, const char *id, const struct job_found *found, size_t n, struct err *e);

/* Ids of jobs to be deleted of which no task runs. Caller frees each and the array. */
int job_list_deletable(struct db *db, char ***ret, size_t *ret_n, struct err *e);
/* Removes the rows of the job: resources must be gone. Adds the event "job_deleted" (of no job, id in its data). */
int job_forget(struct db *db, const char *id, struct err *e);

#endif

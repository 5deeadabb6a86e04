/* Tasks: the durable queue. */
#ifndef VMR_DB_TASK_H
#define VMR_DB_TASK_H

#include <jansson.h>

#include "common/crypto.h"
#include "db/db.h"
#include "db/spec.h"

/*  PENDING --claim--> RUNNING --finish--> SUCCEEDED     SKIPPED: born so, terminal, counts as success
 *    |  ^                |--finish--> FAILED --retry--> PENDING
 *    |  '--park, retry later, restart of the daemon--'
 *    '--cancel--> CANCELLED <--finish--'  --retry--> PENDING */
enum task_state { TASK_PENDING, TASK_RUNNING, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED, TASK_SKIPPED, TASK_STATES };
const char *task_state_name(enum task_state s);
bool task_state_parse(const char *word, enum task_state *ret);

/* What a task needs most; each lane has its own number of workers. */
enum task_lane { LANE_NETWORK, LANE_DISK, LANE_HYPERVISOR, LANES };
const char *task_lane_name(enum task_lane l);        /* "network", "disk", "hypervisor" */
enum task_lane task_kind_lane(enum task_kind k);     /* export, download: network; volume, export_vm, verify: disk; the rest: hypervisor */

struct task_progress {                               /* bytes; eta -1: unknown */
    uint64_t total, done, transferred, skipped, bytes_per_second;
    int64_t eta_seconds;
};

struct task {
    int64_t id;
    char job_id[UUID_LEN];
    enum task_kind kind;
    int disk;                                        /* -1: of the whole job */
    enum task_state state;
    unsigned attempts;
    int64_t started_at_ms, finished_at_ms;           /* 0: not yet */
    int64_t not_before_ms;                           /* backoff: when it may be claimed again */
    struct task_progress progress;
    struct err error;                                /* code ERR_OK: none */
    json_t *params;                                  /* export_vm: {"slot","format","path"}; else NULL */
};
void task_clear(struct task *t);                     /* frees the members */

/* Claims the oldest task of the lane that is PENDING, whose dependencies are done, whose not_before has come and whose job
 * is neither paused nor cancelled nor being deleted. One statement; cost does not grow with the number of jobs. Event "task_started".
 * ERR_EMPTY when there is none; *ret_wait_ms is then the time until the next backoff ends (UINT64_MAX: none waits). */
int task_claim(struct db *db, enum task_lane lane, struct task *ret, uint64_t *ret_wait_ms, struct err *e);

struct task_flags {                                  /* what the user wants of the job meanwhile */
    bool pause, cancel;                              /* delete sets cancel */
    uint64_t max_bytes_per_second;                   /* 0: none of its own */
};
/* Heartbeat of a running task: stores progress (may be NULL) and the time, tells the flags. No event. ERR_NOT_FOUND if it no longer runs. */
int task_heartbeat(struct db *db, int64_t id, const struct task_progress *p, struct task_flags *ret, struct err *e);

enum task_outcome { OUTCOME_SUCCEEDED, OUTCOME_FAILED, OUTCOME_CANCELLED, OUTCOME_PARKED, OUTCOME_RETRY };
/* Ends a RUNNING task. `err` for FAILED and RETRY; RETRY makes it PENDING not before now + delay_ms; PARKED makes it PENDING
 * and gives the attempt back. `p` may be NULL. Events "task_succeeded", "task_failed", "task_cancelled", "task_parked", "task_retry". */
int task_finish(struct db *db, int64_t id, enum task_outcome o, const struct err *err, uint64_t delay_ms,
                const struct task_progress *p, struct err *e);
/* RUNNING -> PENDING for all, at the start of the daemon; attempts given back. Event "task_recovered". */
int task_recover(struct db *db, size_t *ret_n, struct err *e);
/* Adds an export_vm task to a job that has a VM; ERR_WRONG_STATE if one is not finished yet, or the job is cancelled or being
 * deleted. A finished one is replaced. Event "task_added". (A retry of the job adds "task_reopened" for each task.) */
int task_add_export_vm(struct db *db, const char *job_id, json_t *params, int64_t *ret_id, struct err *e);
/* Likewise a verify task, to a job that has downloaded a disk. */
int task_add_verify(struct db *db, const char *job_id, int64_t *ret_id, struct err *e);
int task_counts(struct db *db, uint64_t ret[TASK_KINDS][TASK_STATES], struct err *e);    /* for /metrics */

#endif

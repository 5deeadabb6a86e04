/* What the files of db/ that move jobs and tasks share. All functions run inside the caller's transaction. */
#ifndef VMR_DB_STATE_H
#define VMR_DB_STATE_H

#include "db/job.h"
#include "db/sql.h"

/* Bits of task.held: why a task may not be claimed. Heartbeats tell the first two to the worker. */
enum { HELD_PAUSE = 1, HELD_CANCEL = 2, HELD_DELETE = 4, HELD_FAILED = 8 };

/* Tasks that are asked for after the recovery and are not of the graph: they count apart. For SQL. */
#define KINDS_ASKED_LATER "('export_vm', 'verify')"

/* job_state.c */
int job_seq(struct db *db, const char *id, int64_t *ret, struct err *e);             /* ERR_NOT_FOUND */
/* After any change of the tasks or flags of a job: cancels what is pending when the job is to be cancelled, derives and
 * stores the job's state, carries the flags over into its tasks, adds the event of the move. */
int job_settle(struct db *db, int64_t seq, int64_t now_ms, struct err *e);

/* graph.c: inserts the tasks of a new job with what each waits for. */
struct graph_disk { enum source_type type; unsigned origin; };
int graph_insert(struct db *db, int64_t seq, const struct spec *s, const struct graph_disk *disks, size_t n, struct err *e);
/* Makes the tasks behind preflight, which runs, anew for other disks. None of them may have run. */
int graph_replace(struct db *db, int64_t seq, const struct spec *s, const struct graph_disk *disks, size_t n, struct err *e);

/* target.c: the column disk.target; NULL gives NULL. */
int target_from_row(sqlite3_stmt *q, int col, struct job_target **ret, struct err *e);
/* job.c: the credential that a disk uses besides the source's, or NULL. */
const char *disk_storage_credential(const struct spec_disk *d);

/* event.c: job 0 for none; steals data (NULL: memory ran out while it was built). */
int event_insert(struct db *db, int64_t seq, int64_t now_ms, const char *type, json_t *data, struct err *e);

/* task.c */
#define TASK_COLUMNS \
    "task.id, task.kind, task.disk, task.state, task.attempts, task.started_at_ms, task.finished_at_ms, task.not_before_ms, task.total_bytes," \
    " task.done_bytes, task.transferred_bytes, task.skipped_bytes, task.bytes_per_second, task.eta_seconds, task.error, task.params"
int task_from_row(sqlite3_stmt *q, int col, struct task *ret, struct err *e);        /* all but job_id; TASK_COLUMNS from col on */
int task_cancel_pending(struct db *db, int64_t seq, int64_t now_ms, struct err *e);  /* PENDING -> CANCELLED */
extern const char *const task_claim_sql;             /* the one statement of a claim, for tests that look at its plan */
int task_reopen(struct db *db, int64_t seq, int64_t now_ms, struct err *e);          /* FAILED, CANCELLED of the graph -> PENDING; ends backoffs */

/* Puts a new SAS into the URL of a disk, inside of a transaction; `at` is the place in the request, for the error's field. */
int job_renew(struct db *db, int64_t seq, const char *id, size_t at, const struct job_renewal *x, struct err *e);

#endif

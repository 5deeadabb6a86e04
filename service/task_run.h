/* One task while a worker carries it out: what every kind of task needs. Belongs to the worker's thread. */
#ifndef VMR_SERVICE_TASK_RUN_H
#define VMR_SERVICE_TASK_RUN_H

#include "db/job.h"
#include "service/daemon.h"
#include "storage/azure/blob.h"
#include "storage/image/image.h"

struct task_run {
    struct daemon *d;
    struct db *db;
    struct task *task;
    struct job *job;
    struct task_progress progress;
    struct task_flags flags;                         /* what the user wanted at the last heartbeat */
    bool stopping;                                   /* the daemon wants to stop */
    int64_t next_beat_ms;
    uint64_t rings;
};

/* Heartbeat when one is due; true: end soon with ERR_CANCELLED. The `stop` callback of whatever runs long. */
bool task_run_stop(void *run);
/* err for a run that must end: ERR_CANCELLED. */
int task_run_stopped(struct task_run *t, struct err *e);
/* Waits, stopping early; ERR_CANCELLED then. */
int task_run_sleep(struct task_run *t, unsigned ms, struct err *e);
/* Adds an event of the job; takes the reference of data. A failure is logged, not returned: events tell, they do not decide. */
void task_run_event(struct task_run *t, const char *type, json_t *data);

/* The hypervisor is there; else why not. */
int task_run_hypervisor(struct task_run *t, struct err *e);

/* A task kind: 0 means succeeded. ERR_CANCELLED after task_run_stop() said true. Safe to run again after a crash at any instruction. */
typedef int task_fn(struct task_run *t, struct err *e);
task_fn task_preflight, task_export, task_volume, task_download, task_create_vm, task_start_vm, task_export_vm, task_verify;

/* ---- disk.c: the disks of a job as tasks see them ---- */

/* Where disk `index` of the job lies: the user's file, or the place on the job's volume or under the data folder in the form `format`. Caller frees. */
char *disk_path(const struct task_run *t, unsigned index, enum disk_format format);
/* Reads of a blob as an image. */
struct disk_blob_reader { struct blob *blob; const struct blob_info *info; };
struct image_source disk_blob_source(struct disk_blob_reader *reader);
/* The format as the API names it for what was found, checked against what was asked for. */
int disk_format_of(const struct spec_disk *spec, const struct image_info *info, const char *name, enum disk_format *ret, struct err *e);
enum image_format disk_image_format(enum disk_format f);               /* of one that is known, not auto */
enum hv_format disk_hv_format(enum disk_format f);
int disk_probe(const struct spec_disk *spec, const struct image_source *src, struct image_info *ret, struct err *e);

#endif

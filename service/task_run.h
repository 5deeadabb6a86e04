/* One task while a worker carries it out: what every kind of task needs. Belongs to the worker's thread. */
#ifndef VMR_SERVICE_TASK_RUN_H
#define VMR_SERVICE_TASK_RUN_H

#include "db/job.h"
#include "service/daemon.h"
#include "storage/azure/blob.h"
#include "storage/image/image.h"
#include "storage/image/writer.h"

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
/* What a call on the job's VM gave, r with e: ERR_NOT_FOUND becomes ERR_VM_GONE when it is the VM that is not there any more. */
int task_run_vm(struct task_run *t, int r, struct err *e);

/* A task kind: 0 means succeeded. ERR_CANCELLED after task_run_stop() said true. Safe to run again after a crash at any instruction. */
typedef int task_fn(struct task_run *t, struct err *e);
task_fn task_preflight, task_export, task_volume, task_download, task_create_vm, task_start_vm, task_export_vm, task_verify;

/* ---- disk.c: the disks of a job as tasks see them ---- */

/* Where disk `index` of the job lies: the user's file, or the place on the job's volume or under the data folder in the form `format`. Caller frees. */
char *disk_path(const struct task_run *t, unsigned index, enum disk_format format);
/* Reads of a blob as an image. */
struct disk_blob_reader { struct blob *blob; const struct blob_info *info; };
struct image_source disk_blob_source(struct disk_blob_reader *reader);
/* The format as the API names it for what was found, checked against what was asked for: of a file that is used where it lies. */
int disk_format_of(const struct spec_disk *spec, const struct image_info *info, const char *name, enum disk_format *ret, struct err *e);
enum image_format disk_image_format(enum disk_format f);               /* of one that is known, not auto */
enum hv_format disk_hv_format(enum disk_format f);
/* The format of a disk that is made here when the request leaves it to us: what the hypervisor prefers; without one what costs no more than the disk
 * holds. */
enum disk_format disk_auto_format(const struct task_run *t);
/* Of a download, whose source was found to be `source`: as it is, or, of a fixed VHD, what was asked for or is preferred. ERR_UNSUPPORTED. */
int disk_download_format(const struct task_run *t, const struct spec_disk *spec, const struct image_info *source, const char *name, enum disk_format *ret,
                         struct err *e);
/* How a download in this format is written. false: byte for byte, as the source is. */
bool disk_download_layout(enum disk_format format, const struct image_info *source, struct image_layout *ret);
/* What a blob is: a raw disk only when that was asked for and it is nothing else. */
int disk_probe_source(const struct spec_disk *spec, const struct image_source *src, struct image_info *ret, struct err *e);
/* The local file. */
int disk_probe(const struct spec_disk *spec, const struct image_source *src, struct image_info *ret, struct err *e);

#endif

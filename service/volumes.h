/* Volumes as jobs and clients see them.
 *
 *   preflight   volumes_resolve   which volume, of which disks: kept with the job (job.volume, a struct volume_plan in JSON)
 *   volume      task_volume       makes what is missing; each step is kept before it begins
 *   later       volumes_ready     the volume is mounted, before a task counts on what lies there
 *   deleting    volumes_undo      takes it apart when nobody needs it any more
 *
 * A volume belongs to the job that made it. When that job is deleted with its disks while another's lie there too, it becomes the other's. */
#ifndef VMR_SERVICE_VOLUMES_H
#define VMR_SERVICE_VOLUMES_H

#include "service/task_run.h"
#include "storage/volume/volume.h"

/* The disks and volumes of this host, for one thread; `stop` ends what takes long. */
int volumes_open(struct daemon *d, bool (*stop)(void *arg), void *arg, struct volume_host **ret, struct err *e);

/* What the job keeps of its volume. */
int volumes_plan_of(const struct job *j, struct volume_plan *ret, struct err *e);
int volumes_keep_plan(struct db *db, struct job *j, const struct volume_plan *p, struct err *e);
/* The plan of the job, for disks of `wanted` bytes together; nothing for a job without a volume. Disks whose form is known get their path on it. */
int volumes_resolve(struct task_run *t, uint64_t wanted, struct err *e);
/* Where the disks of the job go: the volume's folder, or the daemon's. The run's. */
const char *volumes_folder(const struct task_run *t);
/* Bytes that are free there, or will be. */
int volumes_free_space(const struct task_run *t, uint64_t *ret, struct err *e);
int volumes_ready(struct task_run *t, struct err *e);
/* At the start of the daemon: mounts the volumes of jobs that are not, best effort. */
void volumes_bring_up(struct daemon *d, struct db *db);
/* Before the job's files are removed: its volume must be mounted, unless it is half taken apart already. */
int volumes_reach(struct daemon *d, const struct job *job, struct err *e);
/* keep: the disks of the job stay. */
int volumes_undo(struct daemon *d, struct db *db, const struct job *job, bool keep, struct err *e);

/* The lists of the API: new references. */
int volumes_view_disks(struct daemon *d, bool (*stop)(void *arg), void *arg, json_t **ret, struct err *e);
int volumes_view(struct daemon *d, struct db *db, bool (*stop)(void *arg), void *arg, json_t **ret, struct err *e);

#endif

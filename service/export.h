/* Disks in Azure, from an id to bytes that can be read, and back.
 *
 *   preflight        export_resolve     which disks an entry of the request stands for; what stands in the way; regions
 *   export[disk]     export_prepare     (first disk of a VM) deallocates when asked, takes the snapshots of all its disks
 *                    export_access      snapshot where needed, SAS, copy into the user's storage account when asked
 *   download[disk]   export_access      again when access ended or dies on the way
 *                    export_give_back   as soon as the disk is here
 *   giveback_main    whatever no task needs any more, for whatever reason: done, failed, cancelled, deleted
 *
 * What is borrowed is written down before it is asked for, as a resource: "sas", "snapshot", "blob" (the copy), "blob_snapshot". It is forgotten
 * only after it was given back, and only when no task meant it again meanwhile. So nothing stays open after a crash, and a retry of a job whose
 * access was given back is granted access anew. From a snapshot that was removed meanwhile it does not go on: a new one shows a later moment, and
 * the download begins again. */
#ifndef VMR_SERVICE_EXPORT_H
#define VMR_SERVICE_EXPORT_H

#include "db/access.h"
#include "service/disk_source.h"

/* Adds the disks that were found to the job, t->job too. ERR_NOT_EXPORTABLE, ERR_CROSS_REGION, ERR_TOO_MANY_DISKS, and those of arm.h. Nothing for a
 * job without sources in Azure. */
int export_resolve(struct task_run *t, struct err *e);

/* For the disk that an entry of the request is itself: what must have happened before its disks are exported one by one. */
int export_prepare(struct task_run *t, unsigned disk, struct err *e);

/* Access to the disk, recorded with the job (disk_source_open finds it). again: what is recorded was refused, or may have been. ERR_SOURCE_NOT_FOUND
 * and ERR_SOURCE_DENIED about the disk, those of arm.h and blob.h. */
int export_access(struct task_run *t, unsigned disk, bool again, struct err *e);

/* ---- giveback.c ---- */

/* Gives back what was borrowed for the disk, all of it or (copied) what its copy was made from. What cannot be given back now is left to
 * giveback_main, with an event. */
enum export_rest { EXPORT_ALL, EXPORT_BEHIND_COPY };
void export_give_back(struct task_run *t, unsigned disk, enum export_rest what);

#endif

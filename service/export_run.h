/* What the files of an export share about the disk that they work on. Belongs to the task's thread. */
#ifndef VMR_SERVICE_EXPORT_RUN_H
#define VMR_SERVICE_EXPORT_RUN_H

#include "common/arm_id.h"
#include "service/export.h"
#include "storage/azure/exportable.h"
#include "storage/azure/page_blob.h"

struct export_run {
    struct task_run *t;
    unsigned index;
    const struct job_disk *disk;
    const struct spec_disk *spec;
    const struct job_target *target;
    struct source_env env;
    struct arm *arm;
    struct job_access *old;                          /* NULL: the disk was never read before */
};
int export_open(struct task_run *t, unsigned disk, struct export_run *ret, struct err *e);
void export_close(struct export_run *x);

/* Written down before (row) and after something is borrowed; event "borrowed" {kind, what, disk}. proof may be NULL. */
int export_intend(struct export_run *x, unsigned disk, const char *kind, const char *ident, const char *proof, int64_t *ret_row, struct err *e);
int export_borrowed(struct export_run *x, unsigned disk, const char *kind, const char *ident, int64_t row, struct err *e);
/* What is written down of that kind for the disk; *ret_ident (and *ret_proof, may be NULL): caller frees. ERR_NOT_FOUND. */
int export_row(struct export_run *x, unsigned disk, const char *kind, char **ret_ident, char **ret_proof, struct err *e);

/* ---- export_snapshot.c ---- */

/* Snapshots of the disk and of the others of its VM that are not downloaded yet, one right after the other; those that there are stay. */
int export_take_snapshots(struct export_run *x, struct err *e);
/* The snapshot of this disk that an earlier run made, if it is still there; *ret NULL when not. */
int export_find_snapshot(struct export_run *x, struct compute_disk **ret, struct err *e);
/* Waits until Azure has filled it. */
int export_wait_filled(struct export_run *x, const char *id, struct err *e);
/* Opens the page blob of an unmanaged disk with the credential of its storage account. */
int export_open_page_blob(struct export_run *x, unsigned disk, struct disk_source **ret, struct err *e);

/* ---- export_copy.c ---- */

/* The URL of the disk's copy in the user's storage account. Caller frees. */
char *export_copy_url(const struct task_run *t, unsigned disk);
int export_open_copy(struct export_run *x, struct disk_source **ret, struct err *e);
/* Lets Azure copy from `sas` and waits until it has. sas NULL: only looks; *ret_there tells whether the copy is whole. ERR_SAS_EXPIRED when access to
 * the disk ended meanwhile: with another one it begins again. */
int export_copy(struct export_run *x, const char *sas, bool *ret_there, struct err *e);

#endif

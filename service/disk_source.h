/* What the disks of a job are read from: a blob that the user named, or what was granted or made in Azure. Opened with its credential.
 * Threads: a disk_source belongs to one. */
#ifndef VMR_SERVICE_DISK_SOURCE_H
#define VMR_SERVICE_DISK_SOURCE_H

#include "service/azure.h"

/* Who opens: a task, or the thread that gives back. */
struct source_env {
    struct daemon *d;
    struct db *db;
    struct token_wait wait;                          /* its stop ends small requests too */
};
struct source_env source_env_of(struct task_run *t);

struct source_place {
    const char *url;                                 /* whole; a SAS of its own may be in it */
    const char *credential;                          /* name; NULL: none */
    bool disk;                                       /* behind the SAS of a disk: no condition headers; a credential gives a token for the disk's data */
};
struct disk_source;
/* ERR_CREDENTIAL when the credential is gone or does not fit; ERR_VALUE for a host that its token must not go to. No request yet. */
int disk_source_open_at(const struct source_env *env, const struct source_place *p, struct disk_source **ret, struct err *e);
/* The source of disk `index` of the job, as the request or the recorded access has it; ERR_NOT_FOUND when there is no access at present. */
int disk_source_open(struct task_run *t, unsigned index, struct disk_source **ret, struct err *e);
void disk_source_close(struct disk_source *s);       /* NULL is a no-op */
DEFINE_AUTO(struct disk_source, disk_source_close)
struct blob *disk_source_blob(struct disk_source *s);

/* ---- source_check.c ---- */

/* Reads what the source says of itself and how much of it is in use, and keeps it: format, path and size of the disk, row of its transfer.
 * identity: NULL, or what stands for ETag and Last-Modified. *ret_needed: bytes that the download will add to the volume. */
int source_check(struct task_run *t, unsigned index, struct blob *blob, const char *identity, struct image_info *ret_image, uint64_t *ret_needed,
                 struct err *e);
/* Is there room for `needed` bytes, beside what other jobs are going to write? *ret_free, *ret_promised: may be NULL. */
int source_check_space(struct task_run *t, uint64_t needed, uint64_t *ret_free, uint64_t *ret_promised, struct err *e);
/* Bytes that writing a disk of this length at path will add, of which `listed` are taken by data (free_space_room). */
uint64_t source_still_needed(const char *path, enum disk_format format, uint64_t listed, uint64_t length);
/* A "preflight_warning": to the log and to the job's events. */
void source_warn(struct task_run *t, const char *check, const char *detail, const char *remedy);

#endif

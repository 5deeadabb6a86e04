/* What a job made outside the database, written down as an intent before and as made after, so that a crash between the two
 * leaves nothing unknown. Deleting a job undoes them in reverse order. */
#ifndef VMR_DB_RESOURCE_H
#define VMR_DB_RESOURCE_H

#include "db/db.h"

enum resource_state { RESOURCE_INTENT, RESOURCE_MADE };
struct resource {
    int64_t id;
    /* "file", "folder" (ident: path), "vm" (ident: vm id); borrowed in Azure: "sas", "snapshot" (ident: id of the disk or snapshot), "blob" (a copy;
     * ident: its URL, proof: id of the copy), "blob_snapshot" (ident: the blob's URL, proof: the snapshot's time) */
    char kind[24];
    char *ident;
    char *proof;                                     /* of an export: its os_file_id; NULL: of a file in our own folders */
    int disk;                                        /* -1: of the job */
    bool user_data;                                  /* a disk that disks=keep spares */
    enum resource_state state;
    int64_t intents;                                 /* how often it was intended */
};
void resource_list_free(struct resource *list, size_t n);

/* Find or insert by (job, kind, ident); an existing one keeps its state. proof: NULL, or what tells this thing from another under the same
 * name (an existing row takes it over). */
int resource_intend(struct db *db, const char *job_id, int disk, const char *kind, const char *ident, const char *proof,
                    bool user_data, int64_t *ret_id, struct err *e);
int resource_made(struct db *db, int64_t id, struct err *e);
int resource_forget(struct db *db, int64_t id, struct err *e);
/* Newest first. Caller frees (resource_list_free). */
int resource_list(struct db *db, const char *job_id, struct resource **ret, size_t *ret_n, struct err *e);

/* ---- what is borrowed in Azure ---- */
bool resource_is_borrowed(const struct resource *r);
/* Forgets what was given back, unless it was intended again since it was listed. */
int resource_returned(struct db *db, const struct resource *r, struct err *e);
/* Of this job, what no task needs any more: none that exports or downloads its disk runs or may still run. In the order in which it must be given
 * back. Caller frees (resource_list_free). */
int resource_list_idle(struct db *db, const char *job_id, struct resource **ret, size_t *ret_n, struct err *e);
/* Ids of jobs that have such. Caller frees each and the array. */
int resource_jobs_idle(struct db *db, char ***ret, size_t *ret_n, struct err *e);

#endif

/* What a job made outside the database, written down as an intent before and as made after, so that a crash between the two
 * leaves nothing unknown. Deleting a job undoes them in reverse order. */
#ifndef VMR_DB_RESOURCE_H
#define VMR_DB_RESOURCE_H

#include "db/db.h"

enum resource_state { RESOURCE_INTENT, RESOURCE_MADE };
struct resource {
    int64_t id;
    char kind[24];                                   /* "file", "folder" (ident: path), "vm" (ident: vm id), later "snapshot", "sas", "volume" */
    char *ident;
    char *proof;                                     /* of an export: its os_file_id; NULL: of a file in our own folders */
    int disk;                                        /* -1: of the job */
    bool user_data;                                  /* a disk that disks=keep spares */
    enum resource_state state;
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

#endif

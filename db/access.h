/* How the disks of a job that are in Azure can be read: what was granted, by which URL, and what tells their content. */
#ifndef VMR_DB_ACCESS_H
#define VMR_DB_ACCESS_H

#include "db/db.h"

enum access_kind { ACCESS_DISK /* SAS of the disk or snapshot itself */, ACCESS_SNAPSHOT /* SAS of a snapshot of ours */,
                   ACCESS_BLOB_SNAPSHOT /* of an unmanaged disk's page blob */, ACCESS_BLOB /* copy in the user's storage account */, ACCESS_KINDS };
struct job_access {
    enum access_kind kind;
    char *url;                                       /* whole; a SAS in it is a secret */
    char *ident;                                     /* of what access was granted to: an id of Azure Resource Manager, or the blob's URL */
    int64_t expires_at_ms;                           /* 0: does not expire */
    bool bearer;                                     /* the SAS alone does not do: a token goes with it */
    char unique_id[40];                              /* of the disk or snapshot */
    int64_t owned_at_ms;                             /* when the disk last changed hands (attached, started …); 0: not said */
    char etag[128], last_modified[64];               /* as the data's host answered last */
    char identity[128];                              /* stays the same as long as the content is known to be the same */
};
void job_access_free(struct job_access *a);
DEFINE_AUTO(struct job_access, job_access_free)
int job_access_put(struct db *db, const char *id, unsigned disk, const struct job_access *a, struct err *e);
int job_access_get(struct db *db, const char *id, unsigned disk, struct job_access **ret, struct err *e);   /* ERR_NOT_FOUND: none is known */
/* The URL is not good any more, if it is that of an access to `ident`; what tells the content stays. */
int job_access_ended(struct db *db, const char *id, unsigned disk, const char *ident, struct err *e);

#endif

/* What an export makes in a user's storage account: snapshots of a page blob, and copies into one. Each carries the id of its job, in its
 * metadata, so that it is found again after a crash and nothing of somebody else's is ever removed.
 * Sources: Azure Storage REST (Snapshot Blob, Copy Blob, Abort Copy Blob, Delete Blob, List Blobs). Threads: as blob.h. */
#ifndef VMR_STORAGE_AZURE_PAGE_BLOB_H
#define VMR_STORAGE_AZURE_PAGE_BLOB_H

#include "storage/azure/blob.h"

#define PAGE_BLOB_TIME_MAX 48                        /* of a snapshot's time, the value of snapshot= */

/* All: the errors of blob_head; ERR_SOURCE_DENIED with what the credential must be allowed to do. Requests are tried again like reads. */

/* Find or create. ret: the snapshot's time. *ret_unlisted: earlier snapshots could not be looked for (the credential may not list), so that
 * one of this job may be left beside the new one. */
int page_blob_snapshot(struct blob *b, const char *job_id, char ret[PAGE_BLOB_TIME_MAX], bool *ret_unlisted, struct err *e);
/* Deletes the snapshot of that time, or (time NULL) all that carry the job's id. What is gone is 0. *ret_unlisted as above; may be NULL. */
int page_blob_snapshot_delete(struct blob *b, const char *job_id, const char *time, bool *ret_unlisted, struct err *e);
/* The URL at which it is read: that of the blob, its query kept, with the snapshot's time. Caller frees (mem_free_secret). */
char *page_blob_snapshot_url(const char *url, const char *time);

enum page_blob_copy_state { COPY_NONE /* there is no blob */, COPY_PENDING, COPY_SUCCEEDED, COPY_FAILED, COPY_ABORTED };
struct page_blob_copy {
    enum page_blob_copy_state state;
    bool ours;                                       /* carries the job's id */
    char id[64];
    uint64_t done, total;                            /* bytes */
    char why[160];                                   /* of a copy that failed, in Azure's words */
};
int page_blob_copy_state(struct blob *b, const char *job_id, struct page_blob_copy *ret, struct err *e);
/* Azure begins to copy from `source` (whole URL, with its SAS) into b, which is made. ERR_WRONG_STATE when there is a blob already. */
int page_blob_copy_begin(struct blob *b, const char *job_id, const char *source, struct err *e);
/* Aborts a copy at work, then deletes the blob, if it is this job's. What is gone is 0; ERR_WRONG_STATE for another's. */
int page_blob_copy_delete(struct blob *b, const char *job_id, struct err *e);

/* ---- for tests ---- */
/* The times of the blob's snapshots that carry the job's id, in an answer to List Blobs (some bytes, not NUL-terminated). At most max; *ret_more:
 * where the list goes on, "" at its end. ERR_UPSTREAM when it is no such answer. */
int page_blob_parse_list(const char *text, size_t len, const char *blob, const char *job_id, char (*ret)[PAGE_BLOB_TIME_MAX], size_t max,
                         size_t *ret_n, char ret_more[1024], struct err *e);

#endif

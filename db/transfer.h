/* What is known of the source of a disk since its download began: a source that is another one later is an error, not a mixture. */
#ifndef VMR_DB_TRANSFER_H
#define VMR_DB_TRANSFER_H

#include "db/db.h"
#include "db/spec.h"

struct transfer_row {
    uint64_t length;
    char etag[128], last_modified[64];
    uint64_t listed_bytes;                           /* that the download writes: what the page list says is in use, in whole blocks of the local
                                                      * file where that matters; length when there is none */
    uint64_t transferred_bytes;                      /* over all attempts, what was read from the network */
    unsigned runs;                                   /* how many times the engine was started */
};
int transfer_get(struct db *db, const char *job_id, unsigned disk, struct transfer_row *ret, struct err *e);   /* ERR_NOT_FOUND */
int transfer_put(struct db *db, const char *job_id, unsigned disk, const struct transfer_row *row, struct err *e);
/* What other jobs still bring onto this host: downloads that are not finished, of jobs whose preflight is done or that are older than
 * this one (so that of two preflights at once only the younger counts the other). fn gets the place and format of the image, the bytes listed and the
 * source's length; not 0 ends it and is returned. */
typedef int transfer_pending_fn(void *arg, const char *path, enum disk_format format, uint64_t listed_bytes, uint64_t length);
int transfer_pending(struct db *db, const char *job_id, transfer_pending_fn *fn, void *arg, struct err *e);
/* Bytes transferred for all jobs that there are. */
int transfer_total(struct db *db, uint64_t *ret, struct err *e);

#endif

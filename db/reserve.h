/* A file beside the database that takes space for bad times: on a full disk every write of the queue fails, also the one that would delete a
 * job and free the disk. Who frees something gives this space back first and tries again. Threads: any. */
#ifndef VMR_DB_RESERVE_H
#define VMR_DB_RESERVE_H

#include "db/db.h"

#define RESERVE_BYTES ((uint64_t)16 << 20)

/* Makes the file when it is missing and there is ample room; else nothing. */
int reserve_keep(const char *db_path, struct err *e);
/* After ERR_DISK_FULL: true when the file was there and is removed, so that one more try makes sense. */
bool reserve_release(struct db *db);

#endif

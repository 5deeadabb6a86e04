/* Connections to the database for HTTP threads: one belongs to one request at a time and is kept open for the next. Threads: any. */
#ifndef VMR_API_DBPOOL_H
#define VMR_API_DBPOOL_H

#include "db/db.h"

struct dbpool;
/* path and box are borrowed and must outlive the pool. Opens nothing yet. */
int dbpool_open(const char *path, struct secret_box *box, struct dbpool **ret, struct err *e);
/* All connections must have been given back. NULL is a no-op. */
void dbpool_close(struct dbpool *p);
/* An idle connection or a new one; give it back with dbpool_put (NULL is a no-op there). */
int dbpool_get(struct dbpool *p, struct db **ret, struct err *e);
void dbpool_put(struct dbpool *p, struct db *db);

#endif

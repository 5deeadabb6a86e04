/* Events: append-only, feeding the stream; pruned by age. Ids rise and are never used again. */
#ifndef VMR_DB_EVENT_H
#define VMR_DB_EVENT_H

#include <jansson.h>

#include "db/db.h"

struct event {
    int64_t id, at_ms;
    char *job_id;                                    /* NULL: of no job */
    char *type;                                      /* "job_created", "task_started", … */
    json_t *data;                                    /* object; never a secret */
};
void event_list_free(struct event *list, size_t n);

/* job_id may be NULL; takes its own reference of data (may be NULL). */
int event_add(struct db *db, const char *job_id, const char *type, json_t *data, struct err *e);
/* Those after `after`, oldest first, at most limit; job_id NULL for all. Caller frees. */
int event_list(struct db *db, const char *job_id, int64_t after, size_t limit, struct event **ret, size_t *ret_n, struct err *e);
int event_last_id(struct db *db, int64_t *ret, struct err *e);         /* 0: none yet */
int event_prune(struct db *db, int64_t before_ms, size_t *ret_n, struct err *e);

#endif

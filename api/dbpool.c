#include "api/dbpool.h"

#include <pthread.h>

#define IDLE_MAX 16   /* kept open; a burst may have more for its time */

struct dbpool {
    const char *path;
    struct secret_box *box;
    pthread_mutex_t lock;
    struct db *idle[IDLE_MAX];
    size_t n;
};

int dbpool_open(const char *path, struct secret_box *box, struct dbpool **ret, struct err *e)
{
    struct dbpool *p = calloc(1, sizeof *p);
    if (!p)
        return err_oom(e);
    p->path = path;
    p->box = box;
    pthread_mutex_init(&p->lock, NULL);
    *ret = p;
    return 0;
}

void dbpool_close(struct dbpool *p)
{
    if (!p)
        return;
    while (p->n)
        db_close(p->idle[--p->n]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int dbpool_get(struct dbpool *p, struct db **ret, struct err *e)
{
    pthread_mutex_lock(&p->lock);
    struct db *db = p->n ? p->idle[--p->n] : NULL;
    pthread_mutex_unlock(&p->lock);
    if (!db)
        return db_open(p->path, p->box, ret, e);
    *ret = db;
    return 0;
}

void dbpool_put(struct dbpool *p, struct db *db)
{
    pthread_mutex_lock(&p->lock);
    if (db && p->n < IDLE_MAX) {
        p->idle[p->n++] = db;
        db = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    db_close(db);
}

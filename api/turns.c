/* Queues of requests that type into the same VM: served one after the other, in the order in which they came. */
#include <string.h>

#include "api/internal.h"

struct turn {
    struct turn *next;
    char id[UUID_LEN];
    bool first;                                      /* under lock */
};

/* One list for all VMs, oldest first; a turn is first when none before it has its id. Short: at most one per connection. */
static struct {
    pthread_mutex_t lock;
    struct turn *head;
} turns = {.lock = PTHREAD_MUTEX_INITIALIZER};

int turn_take(struct request *rq, struct err *e)
{
    struct turn *t = calloc(1, sizeof *t);
    if (!t)
        return err_oom(e);
    memcpy(t->id, rq->id, sizeof t->id);
    t->first = true;
    pthread_mutex_lock(&turns.lock);
    struct turn **p = &turns.head;
    for (; *p; p = &(*p)->next)
        if (!strcmp((*p)->id, t->id))
            t->first = false;
    *p = t;
    pthread_mutex_unlock(&turns.lock);
    rq->turn = t;
    return 0;
}

bool turn_wait(struct request *rq)
{
    for (;;) {
        pthread_mutex_lock(&turns.lock);
        bool first = rq->turn->first;
        pthread_mutex_unlock(&turns.lock);
        if (first)
            return true;
        if (!request_sleep(rq, 20))
            return false;
    }
}

void turn_leave(struct request *rq)
{
    struct turn *t = rq->turn;
    if (!t)
        return;
    rq->turn = NULL;
    pthread_mutex_lock(&turns.lock);
    struct turn **p = &turns.head;
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    struct turn *after = t->next;
    while (after && strcmp(after->id, t->id))
        after = after->next;
    if (after && t->first)
        after->first = true;
    pthread_mutex_unlock(&turns.lock);
    free(t);
}

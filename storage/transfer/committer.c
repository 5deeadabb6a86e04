#include "storage/transfer/committer.h"

#include <pthread.h>

struct committer {
    struct target *data;
    struct sums_file *record;
    struct journal *journal;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below; not held while a batch is worked on */
    pthread_cond_t moved;
    struct spans batch; /* the thread's while busy */
    struct sums sums;   /* likewise */
    bool busy, quit;
    struct err err; /* code: the first failure */
};

static void *run(void *arg)
{
    struct committer *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->busy && !c->quit)
            pthread_cond_wait(&c->moved, &c->lock);
        if (!c->busy)
            break;
        pthread_mutex_unlock(&c->lock);
        struct err e = {0};
        int r = target_commit(c->data, &e);
        if (r == 0 && c->record)
            r = sums_append(c->record, &c->sums, &e);
        if (r == 0)
            r = journal_append(c->journal, &c->batch, &e);
        pthread_mutex_lock(&c->lock);
        spans_free(&c->batch);
        sums_free(&c->sums);
        if (r < 0)
            c->err = e;
        c->busy = false;
        pthread_cond_broadcast(&c->moved);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int committer_start(struct target *data, struct sums_file *sums, struct journal *journal, struct committer **ret, struct err *e)
{
    struct committer *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(e);
    c->data = data;
    c->record = sums;
    c->journal = journal;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->moved, NULL);
    int error = pthread_create(&c->thread, NULL, run, c);
    if (error) {
        pthread_mutex_destroy(&c->lock);
        pthread_cond_destroy(&c->moved);
        free(c);
        return err_set(e, ERR_OOM, "a thread cannot be started (error %d)", error);
    }
    *ret = c;
    return 0;
}

static int result(const struct committer *c, struct err *e)
{
    if (c->err.code == ERR_OK)
        return c->busy;
    *e = c->err;
    return -(int)e->code;
}

int committer_poll(struct committer *c, struct err *e)
{
    pthread_mutex_lock(&c->lock);
    int r = result(c, e);
    pthread_mutex_unlock(&c->lock);
    return r;
}

void committer_push(struct committer *c, struct spans *take, struct sums *sums)
{
    pthread_mutex_lock(&c->lock);
    c->batch = *take;
    *take = (struct spans){0};
    if (sums) {
        c->sums = *sums;
        *sums = (struct sums){0};
    }
    c->busy = true;
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->lock);
}

int committer_wait(struct committer *c, struct err *e)
{
    pthread_mutex_lock(&c->lock);
    while (c->busy)
        pthread_cond_wait(&c->moved, &c->lock);
    int r = result(c, e);
    pthread_mutex_unlock(&c->lock);
    return r;
}

void committer_stop(struct committer *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->quit = true;
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->moved);
    spans_free(&c->batch);
    sums_free(&c->sums);
    free(c);
}

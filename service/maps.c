#include "service/maps.h"

#include <pthread.h>
#include <string.h>

#define MAPS_MAX 64

struct map {
    char job_id[UUID_LEN];                           /* empty: free */
    unsigned disk;
    uint64_t written;                                /* count; the smallest is the oldest */
    uint64_t cell_bytes;
    char cells[CELLS_MAX + 1];
};

struct maps {
    pthread_mutex_t lock;
    uint64_t count;
    struct map list[MAPS_MAX];
};

struct maps *maps_new(void)
{
    struct maps *m = calloc(1, sizeof *m);
    if (m)
        pthread_mutex_init(&m->lock, NULL);
    return m;
}

void maps_free(struct maps *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static enum map_letter letter(uint64_t held, uint64_t wanted, uint64_t here, uint64_t busy)
{
    if (!wanted)
        return held ? MAP_FREE : MAP_EMPTY;
    if (here >= wanted)
        return MAP_FETCHED;
    return busy ? MAP_BUSY : here ? MAP_PART : MAP_WAITING;
}

/* Under the lock. NULL: none. */
static struct map *find(struct maps *m, const char *job_id, unsigned disk)
{
    for (size_t i = 0; i < MAPS_MAX; i++)
        if (!strcmp(m->list[i].job_id, job_id) && m->list[i].disk == disk)
            return &m->list[i];
    return NULL;
}

void maps_put(struct maps *m, const char *job_id, unsigned disk, const struct cells *held, const struct cells *wanted, const struct cells *here, const struct cells *busy)
{
    struct map new = {.disk = disk, .cell_bytes = wanted->cell_bytes};
    memcpy(new.job_id, job_id, sizeof new.job_id - 1);
    for (size_t i = 0; i < wanted->n; i++)
        new.cells[i] = (char)letter(held->bytes[i], wanted->bytes[i], here->bytes[i], busy->bytes[i]);
    pthread_mutex_lock(&m->lock);
    struct map *at = find(m, job_id, disk), *oldest = &m->list[0];
    for (size_t i = 0; i < MAPS_MAX; i++)
        if (m->list[i].written < oldest->written)
            oldest = &m->list[i];
    if (!at)
        at = oldest;
    new.written = ++m->count;
    *at = new;
    pthread_mutex_unlock(&m->lock);
}

bool maps_get(struct maps *m, const char *job_id, unsigned disk, char ret[CELLS_MAX + 1], uint64_t *ret_cell_bytes)
{
    pthread_mutex_lock(&m->lock);
    const struct map *at = find(m, job_id, disk);
    if (at) {
        memcpy(ret, at->cells, sizeof at->cells);
        *ret_cell_bytes = at->cell_bytes;
    }
    pthread_mutex_unlock(&m->lock);
    return at;
}

#include "storage/transfer/share.h"

#include <pthread.h>

#define ROOM_BYTES ((uint64_t)256 << 10)             /* on top of what a member takes, so that it can show that it wants more */

struct member {
    bool here;
    uint64_t wants;                                  /* at most; UINT64_MAX: all that there is */
    uint64_t given;
};

struct share {
    pthread_mutex_t lock;                            /* guards all below */
    uint64_t total;
    struct member members[SHARE_MEMBERS];
};

struct share *share_new(uint64_t bytes_per_second)
{
    struct share *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->total = bytes_per_second;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void share_free(struct share *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Max-min: whoever wants less than an equal part of what is left gets that, then those who stay get equal parts. */
static void deal(struct share *s)
{
    bool fed[SHARE_MEMBERS] = {false};
    uint64_t left = s->total, n = 0;
    for (int i = 0; i < SHARE_MEMBERS; i++)
        n += s->members[i].here;
    for (bool more = true; more && n;) {
        more = false;
        for (int i = 0; i < SHARE_MEMBERS && n; i++) {
            struct member *m = &s->members[i];
            if (!m->here || fed[i] || m->wants > left / n)
                continue;
            m->given = m->wants;
            left -= m->wants;
            fed[i] = more = true;
            n--;
        }
    }
    for (int i = 0; i < SHARE_MEMBERS; i++)
        if (s->members[i].here && !fed[i])
            s->members[i].given = left / n;
}

int share_join(struct share *s)
{
    int found = -1;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < SHARE_MEMBERS && found < 0; i++)
        if (!s->members[i].here)
            found = i;
    if (found >= 0) {
        s->members[found] = (struct member){.here = true, .wants = UINT64_MAX};
        deal(s);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void share_leave(struct share *s, int member)
{
    if (member < 0)
        return;
    pthread_mutex_lock(&s->lock);
    s->members[member].here = false;
    deal(s);
    pthread_mutex_unlock(&s->lock);
}

uint64_t share_limit(struct share *s, int member, uint64_t own, uint64_t rate)
{
    if (member < 0 || !s->total)
        return own;
    pthread_mutex_lock(&s->lock);
    struct member *m = &s->members[member];
    uint64_t wants = rate && rate < UINT64_MAX / 4 ? 2 * rate + ROOM_BYTES : UINT64_MAX;     /* one that something else slows down leaves the rest */
    m->wants = own && own < wants ? own : wants;
    deal(s);
    uint64_t given = m->given ? m->given : 1;
    pthread_mutex_unlock(&s->lock);
    return given;
}

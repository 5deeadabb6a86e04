#include "api/session.h"

#include <pthread.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"

#define LINKS_MAX 8
#define SESSIONS_MAX 32

struct ticket {
    uint64_t number;                                 /* 0: free */
    uint8_t hash[SHA256_LEN];
    int64_t made_ms, used_ms;                        /* monotonic */
};

struct sessions {
    pthread_mutex_t lock;
    uint64_t last;                                   /* number given */
    struct ticket links[LINKS_MAX], sessions[SESSIONS_MAX];
};

int sessions_open(struct sessions **ret, struct err *e)
{
    struct sessions *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(e);
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

void sessions_close(struct sessions *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    mem_wipe(s, sizeof *s);
    free(s);
}

static bool link_valid(const struct ticket *t, int64_t now)
{
    return t->number && now - t->made_ms < SESSION_LINK_MS;
}

static bool session_valid(const struct ticket *t, int64_t now)
{
    return t->number && now - t->used_ms < SESSION_IDLE_MS && now - t->made_ms < SESSION_LIFE_MS;
}

static int new_secret(char ret[SESSION_SECRET_LEN], uint8_t hash[SHA256_LEN], struct err *e)
{
    uint8_t raw[32];
    int r = os_random(raw, sizeof raw, e);
    if (r < 0)
        return r;
    crypto_hex(raw, sizeof raw, ret);
    mem_wipe(raw, sizeof raw);
    return crypto_sha256(ret, SESSION_SECRET_LEN - 1, hash, e);
}

/* Into a place that is free or not valid any more, else into that of the one not used for longest. Under the lock. */
static void put(struct sessions *s, struct ticket *table, size_t n, bool (*valid)(const struct ticket *t, int64_t now), const uint8_t hash[SHA256_LEN])
{
    int64_t now = clock_mono_ms();
    struct ticket *at = table;
    for (size_t i = 0; i < n && valid(at, now); i++)
        if (!valid(&table[i], now) || table[i].used_ms < at->used_ms || (table[i].used_ms == at->used_ms && table[i].number < at->number))
            at = &table[i];
    *at = (struct ticket){.number = ++s->last, .made_ms = now, .used_ms = now};
    memcpy(at->hash, hash, SHA256_LEN);
}

/* Every row is compared, so that the time tells nothing. Under the lock. */
static struct ticket *find(struct ticket *table, size_t n, bool (*valid)(const struct ticket *t, int64_t now), const char *secret)
{
    uint8_t hash[SHA256_LEN];
    struct err e;
    struct ticket *found = NULL;
    int64_t now = clock_mono_ms();
    if (strlen(secret) != SESSION_SECRET_LEN - 1 || crypto_sha256(secret, SESSION_SECRET_LEN - 1, hash, &e) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (crypto_equal(table[i].hash, hash, SHA256_LEN) && valid(&table[i], now))
            found = &table[i];
    return found;
}

int session_link(struct sessions *s, char ret[SESSION_SECRET_LEN], struct err *e)
{
    uint8_t hash[SHA256_LEN];
    int r = new_secret(ret, hash, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    put(s, s->links, LINKS_MAX, link_valid, hash);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

int session_begin(struct sessions *s, const char *code, char ret[SESSION_SECRET_LEN], struct err *e)
{
    uint8_t hash[SHA256_LEN];
    int r = new_secret(ret, hash, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    struct ticket *link = find(s->links, LINKS_MAX, link_valid, code);
    if (link) {
        *link = (struct ticket){0};
        put(s, s->sessions, SESSIONS_MAX, session_valid, hash);
    }
    pthread_mutex_unlock(&s->lock);
    return link ? 0 : err_set(e, ERR_UNAUTHORIZED, "the link was used already, or is too old");
}

uint64_t session_find(struct sessions *s, const char *cookie)
{
    pthread_mutex_lock(&s->lock);
    struct ticket *t = find(s->sessions, SESSIONS_MAX, session_valid, cookie);
    uint64_t number = t ? t->number : 0;
    if (t)
        t->used_ms = clock_mono_ms();
    pthread_mutex_unlock(&s->lock);
    return number;
}

bool session_alive(struct sessions *s, uint64_t number, bool used)
{
    bool alive = false;
    int64_t now = clock_mono_ms();
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (s->sessions[i].number == number && session_valid(&s->sessions[i], now)) {
            alive = true;
            if (used)
                s->sessions[i].used_ms = now;
        }
    pthread_mutex_unlock(&s->lock);
    return alive;
}

void session_end(struct sessions *s, uint64_t number)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (s->sessions[i].number == number)
            s->sessions[i] = (struct ticket){0};
    pthread_mutex_unlock(&s->lock);
}

/* Which names of the schema a driver used. */
#include <string.h>

#include "tests/doubles/wmi/core.h"

struct usage {
    pthread_mutex_t lock;                              /* its own: objects are looked at without the host's */
    struct use { char *kind, *ns, *class, *name; bool known; } *at;    /* sorted */
    size_t n, room;
};

static int compare(const struct use *u, const char *kind, const char *ns, const char *class, const char *name)
{
    int r = strcmp(u->kind, kind);
    r = r ? r : strcmp(u->ns, ns);
    r = r ? r : strcmp(u->class, class);
    return r ? r : strcmp(u->name, name);
}

void usage_add(struct dbl *d, const char *kind, const char *ns, const char *class, const char *name, bool known)
{
    struct usage *u = __atomic_load_n(&d->usage, __ATOMIC_ACQUIRE);
    if (!u) {
        struct usage *fresh = x_calloc(1, sizeof *fresh);
        pthread_mutex_init(&fresh->lock, NULL);
        if (__atomic_compare_exchange_n(&d->usage, &u, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            u = fresh;
        } else {
            pthread_mutex_destroy(&fresh->lock);
            free(fresh);
        }
    }
    pthread_mutex_lock(&u->lock);
    size_t lo = 0, hi = u->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int r = compare(&u->at[mid], kind, ns, class, name);
        if (r == 0) {
            pthread_mutex_unlock(&u->lock);
            return;
        }
        if (r < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (u->n == u->room)
        u->at = x_grow(u->at, u->room = u->room * 2 + 64, sizeof *u->at);
    memmove(&u->at[lo + 1], &u->at[lo], (u->n - lo) * sizeof *u->at);
    u->at[lo] = (struct use){x_dup(kind), x_dup(ns), x_dup(class), x_dup(name), known};
    u->n++;
    pthread_mutex_unlock(&u->lock);
}

void dbl_used(struct dbl *d, dbl_used_fn *fn, void *arg)
{
    struct usage *u = __atomic_load_n(&d->usage, __ATOMIC_ACQUIRE);
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < u->n; i++)
        fn(arg, u->at[i].kind, u->at[i].ns, u->at[i].class, u->at[i].name, u->at[i].known);
    pthread_mutex_unlock(&u->lock);
}

static void add_unknown(void *arg, const char *kind, const char *ns, const char *class, const char *name, bool known)
{
    if (!known)
        strbuf_addf(arg, "%s %s.%s of %s\n", kind, class, name, ns);
}

char *dbl_unknown_names(struct dbl *d)
{
    struct strbuf b = {0};
    strbuf_adds(&b, "");
    dbl_used(d, add_unknown, &b);
    return strbuf_steal(&b);
}

void usage_free(struct usage *u)
{
    for (size_t i = 0; u && i < u->n; i++) {
        free(u->at[i].kind);
        free(u->at[i].ns);
        free(u->at[i].class);
        free(u->at[i].name);
    }
    if (u) {
        pthread_mutex_destroy(&u->lock);
        free(u->at);
    }
    free(u);
}

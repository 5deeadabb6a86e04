/* Faults: planned ones and random ones. */
#include <string.h>

#include "tests/doubles/wmi/core.h"

struct fault_plan {
    struct { struct dbl_fault f; unsigned seen; bool spent; } at[32];
    size_t n;
    unsigned per_mille, fired;
};

static struct fault_plan *plan(struct dbl *d)
{
    return d->faults ? d->faults : (d->faults = x_calloc(1, sizeof *d->faults));
}

void dbl_fault_add(struct dbl *d, const struct dbl_fault *f)
{
    pthread_mutex_lock(&d->lock);
    struct fault_plan *p = plan(d);
    if (p->n == ARRAY_LEN(p->at))
        abort();
    p->at[p->n].f = *f;
    p->at[p->n].seen = 0;
    p->at[p->n++].spent = false;
    pthread_mutex_unlock(&d->lock);
}

void dbl_fault_rate(struct dbl *d, unsigned per_mille)
{
    pthread_mutex_lock(&d->lock);
    plan(d)->per_mille = per_mille;
    pthread_mutex_unlock(&d->lock);
}

void dbl_faults_clear(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    plan(d)->n = 0;
    plan(d)->per_mille = 0;
    pthread_mutex_unlock(&d->lock);
}

unsigned dbl_faults_fired(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    unsigned n = plan(d)->fired;
    pthread_mutex_unlock(&d->lock);
    return n;
}

static struct fault_hit hit_of(enum dbl_fault_kind kind, uint32_t code)
{
    switch (kind) {
    case DBL_HRESULT:
        return (struct fault_hit){.when = FAULT_BEFORE, .code = code};
    case DBL_HRESULT_AFTER:
        return (struct fault_hit){.when = FAULT_AFTER, .code = code};
    case DBL_CUT:
        return (struct fault_hit){.when = FAULT_BEFORE, .code = code ? code : WMI_E_RPC_UNAVAILABLE, .cuts = true};
    case DBL_CUT_AFTER:
        return (struct fault_hit){.when = FAULT_AFTER, .code = code ? code : WMI_E_RPC_FAILED, .cuts = true};
    case DBL_RESTART:
        return (struct fault_hit){.when = FAULT_BEFORE, .code = code ? code : WMI_E_RPC_UNAVAILABLE, .cuts = true, .restarts = true};
    case DBL_RETURN:
        return (struct fault_hit){.when = FAULT_RETURN, .code = code};
    case DBL_JOB_FAILS:
        return (struct fault_hit){.when = FAULT_JOB, .code = code};
    case DBL_SLOW:
        return (struct fault_hit){.slow_ms = code};
    case DBL_KILL:
        return (struct fault_hit){.when = FAULT_BEFORE, .kills = true};
    case DBL_KILL_AFTER:
        return (struct fault_hit){.when = FAULT_AFTER, .kills = true};
    }
    return (struct fault_hit){0};
}

static struct fault_hit random_hit(struct dbl *d, const char *kind, bool mutates)
{
    static const uint32_t hresults[] = {WMI_E_FAILED, WMI_E_PROVIDER_FAILURE, WMI_E_SERVER_TOO_BUSY, WMI_E_QUOTA_VIOLATION, WMI_E_OUT_OF_MEMORY,
                                        WMI_E_PROVIDER_TIMED_OUT, WMI_E_TIMED_OUT, WMI_E_SHUTTING_DOWN};
    static const uint32_t cuts[] = {WMI_E_RPC_UNAVAILABLE, WMI_E_RPC_FAILED, WMI_E_DISCONNECTED};
    static const uint32_t returns[] = {RET_FAILED, 32772, RET_INVALID_STATE, 32778, 32780, RET_IN_USE};
    static const uint32_t jobs[] = {RET_FAILED, 0x80070005u, 0x8007000Eu, 0x80070070u, 0x80070020u, 0x800705AAu};
    bool exec = !strcmp(kind, "exec");
    switch (rnd(d, exec && mutates ? 9 : 5)) {
    case 0:
        return hit_of(DBL_HRESULT, hresults[rnd(d, ARRAY_LEN(hresults))]);
    case 1:
        return hit_of(DBL_CUT, cuts[rnd(d, ARRAY_LEN(cuts))]);
    case 2:
        return hit_of(DBL_CUT_AFTER, cuts[rnd(d, ARRAY_LEN(cuts))]);
    case 3:
        return hit_of(DBL_RESTART, 0);
    case 4:
        return hit_of(DBL_SLOW, 100 + rnd(d, 20000));
    case 5:
        return hit_of(DBL_HRESULT_AFTER, hresults[rnd(d, ARRAY_LEN(hresults))]);
    case 6:
        return hit_of(DBL_RETURN, returns[rnd(d, ARRAY_LEN(returns))]);
    default:
        return hit_of(DBL_JOB_FAILS, jobs[rnd(d, ARRAY_LEN(jobs))]);
    }
}

struct fault_hit fault_next(struct dbl *d, const char *kind, const char *method, bool mutates)
{
    struct fault_plan *p = d->faults;
    if (!p)
        return (struct fault_hit){0};
    for (size_t i = 0; i < p->n; i++) {
        const struct dbl_fault *f = &p->at[i].f;
        bool kills = f->kind == DBL_KILL || f->kind == DBL_KILL_AFTER;
        if (p->at[i].spent || (f->call && strcmp(f->call, kind) != 0) || (f->method && (strcmp(kind, "exec") != 0 || !str_ieq(f->method, method))) ||
            (kills && !pthread_equal(pthread_self(), d->main_thread)))
            continue;
        if (f->at && ++p->at[i].seen < f->at)
            continue;
        p->at[i].spent = f->at != 0;
        p->fired++;
        return hit_of(f->kind, f->code);
    }
    if (!chance(d, p->per_mille))
        return (struct fault_hit){0};
    p->fired++;
    return random_hit(d, kind, mutates);
}

void faults_free(struct fault_plan *f)
{
    free(f);
}

#include "storage/transfer/pace.h"

#define LIMIT_PER_CONNECTION ((uint64_t)128 << 10) /* under a limit, more connections than this would only wait */
#define SLOW_EVERY_MS 1000
#define MEASURE_MS 1000
#define GROW_AGAIN_MS 20000                          /* after a step that did not help, or an overload */

static unsigned fit(unsigned connections, uint64_t limit)
{
    if (limit && limit / LIMIT_PER_CONNECTION < connections)
        return limit < LIMIT_PER_CONNECTION ? 1 : (unsigned)(limit / LIMIT_PER_CONNECTION);
    return connections;
}

void pace_init(struct pace *p, unsigned connections, uint64_t limit, int64_t now_ms)
{
    unsigned first = connections < PACE_FIRST ? connections : PACE_FIRST;
    *p = (struct pace){.refilled_at_ms = now_ms,
                       .most = connections,
                       .now = first,
                       .allowed = first,
                       .measured_at_ms = now_ms,
                       .slowed_at_ms = now_ms - SLOW_EVERY_MS,
                       .open_at_ms = now_ms};
    pace_set_limit(p, limit, now_ms);
}

void pace_set_limit(struct pace *p, uint64_t limit, int64_t now_ms)
{
    if (limit > INT64_MAX / 4096)
        limit = 0;
    if (limit == p->limit)
        return;
    if (!p->limit)
        p->refilled_at_ms = now_ms;
    if (!p->limit || p->tokens > 0)
        p->tokens = 0;                               /* what was saved up under the old limit is not spent under the new */
    p->limit = limit;
}

/* The first step doubles, since on a long way one more is hardly seen; a step that did not help is taken back. */
void pace_measure(struct pace *p, int64_t now_ms, uint64_t bytes)
{
    int64_t passed = now_ms - p->measured_at_ms;
    if (passed < MEASURE_MS)
        return;
    uint64_t rate = (bytes - p->measured_bytes) * 1000 / (uint64_t)passed;
    p->measured_at_ms = now_ms;
    p->measured_bytes = bytes;
    if (p->limit || p->now < p->allowed || now_ms < p->grow_at_ms)
        return;                                      /* something else is the limit now */
    if (p->rate_before && rate < p->rate_before + p->rate_before / 16) {
        p->allowed = p->now = p->allowed_before;
        p->grow_at_ms = now_ms + GROW_AGAIN_MS;
        p->rate_before = 0;
        return;
    }
    if (!rate || p->allowed == p->most)
        return;
    p->rate_before = rate;
    p->allowed_before = p->allowed;
    p->allowed = p->allowed * 2 < p->most ? p->allowed * 2 : p->most;
    p->now = p->allowed;
}

void pace_refill(struct pace *p, int64_t now_ms)
{
    int64_t passed = now_ms - p->refilled_at_ms;
    if (!p->limit || passed <= 0)
        return;
    if (passed > 1000)
        passed = 1000;
    int64_t more = (int64_t)p->limit * passed / 1000, most = (int64_t)p->limit / 4 + 1;
    if (!more)
        return; /* wait until a whole byte is due */
    p->refilled_at_ms = now_ms;
    p->tokens += more;
    if (p->tokens > most)
        p->tokens = most;
}

bool pace_may_take(const struct pace *p)
{
    return !p->limit || p->tokens > 0;
}

void pace_take(struct pace *p, size_t n)
{
    if (p->limit)
        p->tokens -= (int64_t)n;
}

void pace_slow_down(struct pace *p, int64_t now_ms, unsigned retry_after_ms)
{
    if (now_ms + retry_after_ms > p->open_at_ms)
        p->open_at_ms = now_ms + retry_after_ms;
    p->good = 0;
    if (now_ms - p->slowed_at_ms < SLOW_EVERY_MS)
        return; /* one overload shows on several connections at once */
    p->slowed_at_ms = now_ms;
    if (p->now > 1)
        p->now /= 2;
    p->rate_before = 0;
    p->grow_at_ms = now_ms + GROW_AGAIN_MS;
}

void pace_went_well(struct pace *p, int64_t now_ms)
{
    if (p->now == p->allowed || ++p->good < p->now || now_ms - p->slowed_at_ms < SLOW_EVERY_MS)
        return;
    p->good = 0;
    p->now++;
}

unsigned pace_connections(const struct pace *p)
{
    return fit(p->now, p->limit);
}

int64_t pace_open_at(const struct pace *p)
{
    return p->open_at_ms;
}

uint64_t gauge_rate(struct gauge *g, int64_t now_ms, uint64_t bytes)
{
    unsigned oldest = g->n < GAUGE_SAMPLES ? 0 : g->next;
    uint64_t rate = 0;
    if (g->n) {
        int64_t ms = now_ms - g->samples[oldest].ms;
        rate = ms > 0 ? (bytes - g->samples[oldest].bytes) * 1000 / (uint64_t)ms : 0;
    }
    g->samples[g->next].ms = now_ms;
    g->samples[g->next].bytes = bytes;
    g->next = (g->next + 1) % GAUGE_SAMPLES;
    if (g->n < GAUGE_SAMPLES)
        g->n++;
    return rate;
}

/* Which bytes are fetched next: chunks in ascending order, out of the ranges less what is done; before that, likewise, out of what is wanted first. */
#include "common/os.h"
#include "storage/transfer/engine.h"

#define CHUNK_ALIGN ((uint64_t)64 << 10)

int deal_begin(struct engine *g, struct err *e)
{
    const struct blob_ranges *first = g->t->first, *all = g->t->ranges;
    bool ok = true;
    if (!first || !target_is_sparse(&g->form))
        return 0;
    for (size_t i = 0, k = 0; ok && i < first->n; i++) {
        const struct blob_range *f = &first->list[i];
        while (k < all->n && all->list[k].end <= f->start)
            k++;
        for (size_t j = k; ok && j < all->n && all->list[j].start < f->end; j++) {
            const struct blob_range *r = &all->list[j];
            ok = spans_add(&g->first, r->start > f->start ? r->start : f->start, r->end < f->end ? r->end : f->end);
        }
    }
    for (size_t i = 0; ok && i < g->first.n; i++)
        ok = spans_add(&g->not_rest, g->first.list[i].start, g->first.list[i].end);
    for (size_t i = 0; ok && g->first.n && i < g->done.n; i++)
        ok = spans_add(&g->not_rest, g->done.list[i].start, g->done.list[i].end);
    return ok ? 0 : err_oom(e);
}

/* The holes beside the chunk, when it reaches them. */
static void find_cover(const struct engine *g, struct slot *s)
{
    const struct blob_ranges *r = g->t->ranges;
    size_t lo = 0, hi = r->n - 1;
    while (lo < hi) {                                /* the range that holds it */
        size_t mid = lo + (hi - lo) / 2;
        if (r->list[mid].end <= s->start)
            lo = mid + 1;
        else
            hi = mid;
    }
    const struct blob_range *range = &r->list[lo];
    s->cover_start = s->start > range->start ? s->start : lo ? range[-1].end : 0;
    s->cover_end = s->end < range->end ? s->end : lo + 1 < r->n ? range[1].start : g->length;
}

/* The next chunk of the list, which is in order, less `skip`. */
static bool deal_from(const struct engine *g, const struct blob_range *list, size_t n, const struct spans *skip, size_t *next, uint64_t *cursor,
                      struct slot *s)
{
    while (*next < n) {
        const struct blob_range *range = &list[*next];
        uint64_t start = *cursor > range->start ? *cursor : range->start;
        const struct blob_range *done = spans_from(skip, start);
        if (done && done->start <= start)
            start = done->end;
        if (start >= range->end) {
            ++*next;
            continue;
        }
        uint64_t end = range->end;
        done = spans_from(skip, start);
        if (done && done->start < end)
            end = done->start;
        if (end - start > g->chunk_bytes) {
            end = start + g->chunk_bytes;
            if (end - end % CHUNK_ALIGN > start)
                end -= end % CHUNK_ALIGN;
        }
        *cursor = end;
        s->start = s->from = s->pos = s->stored = start;
        s->end = end;
        find_cover(g, s);
        s->attempts = s->short_bodies = 0;
        s->most = BLOB_CHECKED_MAX;
        return true;
    }
    return false;
}

bool deal_next(struct engine *g, struct slot *s)
{
    const struct blob_ranges *r = g->t->ranges;
    return deal_from(g, g->first.list, g->first.n, &g->done, &g->next_first, &g->first_cursor, s) ||
           deal_from(g, r->list, r->n, g->first.n ? &g->not_rest : &g->done, &g->next_range, &g->cursor, s);
}

bool deal_peek(struct engine *g, struct slot *ret)
{
    size_t next_first = g->next_first, next_range = g->next_range;
    uint64_t first_cursor = g->first_cursor, cursor = g->cursor;
    bool more = deal_next(g, ret);
    g->next_first = next_first;
    g->next_range = next_range;
    g->first_cursor = first_cursor;
    g->cursor = cursor;
    return more;
}

/* Where files are not sparse, the system itself fills up with zeros what lies before a write: for a hole of many GiB these are minutes
 * within one call, without a look at stop and without progress. So the way to the next chunk is gone in steps, each a sector of zeros in
 * the hole, one a turn of the loop. 1: not there yet. */
int deal_cross(struct engine *g, struct err *e)
{
    struct slot next;
    if (target_is_sparse(&g->form) || !deal_peek(g, &next))
        return 0;
    for (const struct blob_range *done; (done = spans_from(&g->done, g->reached)) && done->start <= g->reached + g->step_bytes;)
        g->reached = done->end;                      /* what earlier runs wrote is not to be written over */
    if (next.start <= g->reached + g->step_bytes)
        return 0;
    uint64_t to = g->reached + g->step_bytes;
    int r = target_write_zero_sector(g->file, to - 512, e);
    if (r < 0)
        return r;
    g->reached = to;
    return 1;
}

bool deal_is_over(const struct engine *g)
{
    return g->next_first == g->first.n && g->next_range == g->t->ranges->n;
}

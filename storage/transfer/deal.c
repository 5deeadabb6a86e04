/* Which bytes are fetched next: chunks in ascending order, out of the ranges less what is done. */
#include "common/os.h"
#include "storage/transfer/engine.h"

#define CHUNK_ALIGN ((uint64_t)64 << 10)

bool deal_next(struct engine *g, struct slot *s)
{
    const struct blob_ranges *r = g->t->ranges;
    while (g->next_range < r->n) {
        const struct blob_range *range = &r->list[g->next_range];
        uint64_t start = g->cursor > range->start ? g->cursor : range->start;
        const struct blob_range *done = spans_from(&g->done, start);
        if (done && done->start <= start)
            start = done->end;
        if (start >= range->end) {
            g->next_range++;
            continue;
        }
        uint64_t end = range->end;
        done = spans_from(&g->done, start);
        if (done && done->start < end)
            end = done->start;
        if (end - start > g->chunk_bytes) {
            end = start + g->chunk_bytes;
            if (end - end % CHUNK_ALIGN > start)
                end -= end % CHUNK_ALIGN;
        }
        g->cursor = end;
        s->start = s->from = s->pos = s->stored = start;
        s->end = end;
        s->cover_start = start > range->start ? start : g->next_range ? range[-1].end : 0;
        s->cover_end = end < range->end ? end : g->next_range + 1 < r->n ? range[1].start : g->length;
        s->attempts = s->short_bodies = 0;
        s->most = BLOB_CHECKED_MAX;
        return true;
    }
    return false;
}

bool deal_peek(struct engine *g, struct slot *ret)
{
    size_t next = g->next_range;
    uint64_t cursor = g->cursor;
    bool more = deal_next(g, ret);
    g->next_range = next;
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
    return g->next_range == g->t->ranges->n;
}

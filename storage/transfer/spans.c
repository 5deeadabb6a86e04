#include "storage/transfer/spans.h"

#include <string.h>

void spans_free(struct spans *s)
{
    free(s->list);
    *s = (struct spans){0};
}

/* Index of the first span whose end is >= offset. */
static size_t reach(const struct spans *s, uint64_t offset)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->list[mid].end < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool spans_add(struct spans *s, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    size_t i = reach(s, start), j = i;
    while (j < s->n && s->list[j].start <= end) /* i..j-1 touch the new span */
        j++;
    if (i < j) {
        if (s->list[i].start < start)
            start = s->list[i].start;
        if (s->list[j - 1].end > end)
            end = s->list[j - 1].end;
    } else if (s->n == s->size) {
        size_t size = s->size ? s->size * 2 : 32;
        struct blob_range *list = realloc(s->list, size * sizeof *list);
        if (!list)
            return false;
        s->list = list;
        s->size = size;
    }
    memmove(s->list + i + 1, s->list + j, (s->n - j) * sizeof *s->list);
    s->n = s->n - (j - i) + 1;
    s->list[i] = (struct blob_range){start, end};
    return true;
}

const struct blob_range *spans_from(const struct spans *s, uint64_t offset)
{
    size_t i = reach(s, offset);
    if (i < s->n && s->list[i].end == offset)
        i++;
    return i < s->n ? &s->list[i] : NULL;
}

/* Calls fn for each piece that is in both. */
static void common(const struct spans *s, const struct blob_ranges *r, void (*fn)(void *arg, uint64_t start, uint64_t end), void *arg)
{
    for (size_t i = 0, j = 0; i < s->n && j < r->n;) {
        uint64_t start = s->list[i].start > r->list[j].start ? s->list[i].start : r->list[j].start;
        uint64_t end = s->list[i].end < r->list[j].end ? s->list[i].end : r->list[j].end;
        if (start < end)
            fn(arg, start, end);
        if (s->list[i].end < r->list[j].end)
            i++;
        else
            j++;
    }
}

static void sum(void *arg, uint64_t start, uint64_t end)
{
    *(uint64_t *)arg += end - start;
}

uint64_t spans_common(const struct spans *s, const struct blob_ranges *r)
{
    uint64_t bytes = 0;
    common(s, r, sum, &bytes);
    return bytes;
}

static void count(void *arg, uint64_t start, uint64_t end)
{
    cells_add(arg, start, end);
}

void spans_count(const struct spans *s, const struct blob_ranges *r, struct cells *ret)
{
    common(s, r, count, ret);
}

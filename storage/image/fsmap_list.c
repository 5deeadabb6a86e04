/* Lists of spans. */
#include <string.h>

#include "storage/image/fsmap_volume.h"

void list_free(struct fsmap_list *l)
{
    free(l->list);
    *l = (struct fsmap_list){0};
}

bool list_add(struct fsmap_list *l, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    if (l->n && l->list[l->n - 1].end == start) {
        l->list[l->n - 1].end = end;
        return true;
    }
    if (l->n == l->size) {
        size_t size = l->size ? l->size * 2 : 64;
        void *p = realloc(l->list, size * sizeof *l->list);
        if (!p)
            return false;
        l->list = p;
        l->size = size;
    }
    l->list[l->n++] = (struct fsmap_range){start, end};
    return true;
}

static int by_start(const void *a, const void *b)
{
    const struct fsmap_range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

void list_sort(struct fsmap_list *l)
{
    size_t n = 0;
    if (l->n)
        qsort(l->list, l->n, sizeof *l->list, by_start);
    for (size_t i = 0; i < l->n; i++) {
        struct fsmap_range r = l->list[i];
        if (!n || r.start > l->list[n - 1].end)
            l->list[n++] = r;
        else if (r.end > l->list[n - 1].end)
            l->list[n - 1].end = r.end;
    }
    l->n = n;
}

uint64_t list_bytes(const struct fsmap_list *l)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < l->n; i++)
        sum += l->list[i].end - l->list[i].start;
    return sum;
}

bool free_list_add(struct free_list *f, uint64_t start, uint64_t end)
{
    if (end - start < f->shortest && !(f->spans.n && f->spans.list[f->spans.n - 1].end == start))
        return true;
    if (!list_add(&f->spans, start, end))
        return false;
    while (f->spans.n >= FSMAP_SPANS_MAX) {
        size_t n = 0;
        f->shortest = f->shortest ? f->shortest * 2 : 1024;
        for (size_t i = 0; i < f->spans.n; i++)
            if (f->spans.list[i].end - f->spans.list[i].start >= f->shortest)
                f->spans.list[n++] = f->spans.list[i];
        f->spans.n = n;
    }
    return true;
}

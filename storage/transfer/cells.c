#include "storage/transfer/cells.h"

#include <string.h>

void cells_begin(struct cells *c, uint64_t length)
{
    memset(c, 0, sizeof *c);
    c->cell_bytes = length / CELLS_MAX + 1;
    c->n = (size_t)((length + c->cell_bytes - 1) / c->cell_bytes);
}

void cells_add(struct cells *c, uint64_t start, uint64_t end)
{
    while (start < end && c->n) {
        uint64_t i = start / c->cell_bytes, next = (i + 1) * c->cell_bytes;
        if (i >= c->n)
            return;
        if (next > end)
            next = end;
        c->bytes[i] += next - start;
        start = next;
    }
}

void cells_add_ranges(struct cells *c, const struct blob_ranges *r)
{
    for (size_t i = 0; i < r->n; i++)
        cells_add(c, r->list[i].start, r->list[i].end);
}

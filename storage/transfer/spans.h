/* A set of bytes: sorted, disjoint spans that do not touch. Threads: one at a time. */
#ifndef VMR_STORAGE_TRANSFER_SPANS_H
#define VMR_STORAGE_TRANSFER_SPANS_H

#include "storage/transfer/cells.h"

struct spans {
    struct blob_range *list;
    size_t n, size;
};
void spans_free(struct spans *s);
bool spans_add(struct spans *s, uint64_t start, uint64_t end);         /* false: memory ran out, nothing changed */
/* The first span that ends behind offset: it holds offset, or it is the next one. NULL: none. */
const struct blob_range *spans_from(const struct spans *s, uint64_t offset);
/* How many bytes of the ranges are in the set. */
uint64_t spans_common(const struct spans *s, const struct blob_ranges *r);
/* Where they are. */
void spans_count(const struct spans *s, const struct blob_ranges *r, struct cells *ret);

#endif

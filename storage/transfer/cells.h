/* A file in parts of the same length, and how many bytes of each there are of something: for showing where a transfer is. Threads: one at a time. */
#ifndef VMR_STORAGE_TRANSFER_CELLS_H
#define VMR_STORAGE_TRANSFER_CELLS_H

#include <stdbool.h>

#include "storage/azure/blob.h"

#define CELLS_MAX 1000

struct cells {
    uint64_t cell_bytes;                             /* of each but the last; 0: nothing is known yet */
    size_t n;
    uint64_t bytes[CELLS_MAX];
};
void cells_begin(struct cells *c, uint64_t length);  /* of the file; all cells are empty */
void cells_add(struct cells *c, uint64_t start, uint64_t end);          /* bytes that were not counted before */
void cells_add_ranges(struct cells *c, const struct blob_ranges *r);

#endif

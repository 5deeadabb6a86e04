/* Leaving out of a download what the disk's own file systems do not use. */
#ifndef VMR_SERVICE_FREE_SPACE_H
#define VMR_SERVICE_FREE_SPACE_H

#include "common/crypto.h"
#include "service/task_run.h"
#include "storage/image/fsmap.h"

/* What is to be fetched of a disk. */
struct free_space {
    struct blob_ranges ranges;                       /* the page list, cut */
    bool mapped;                                     /* it was cut by a map: */
    uint8_t map_hash[SHA256_LEN];
};
void free_space_free(struct free_space *f);

/* Reads the page list of disk i and cuts it down to what the disk's file systems use, if the job asks for that (skip_free_space) and the blob is a
 * fixed VHD or raw. `tell`: as an event `free_space_skipped` with every rule that was applied and what came of it. The same content gives the same
 * list again, so that a resumed transfer goes on. A read that fails is an error. ERR_CANCELLED. */
int free_space_list(struct task_run *t, unsigned i, struct blob *blob, const struct blob_info *info, bool tell, struct free_space *ret, struct err *e);
/* Leaves out what lies behind the disk: a VHD's footer. */
void free_space_clip(struct blob_ranges *ranges, uint64_t disk_bytes);
/* Bytes that a file with this data takes where it is written in blocks of `block_bytes` that are there or not; 0: anywhere. */
uint64_t free_space_room(const struct blob_ranges *ranges, uint64_t block_bytes);
/* The cutting alone: what of the ranges is in use by the map, or behind its `disk_bytes` (a VHD's footer). Gaps too short to be worth a request
 * of their own are closed as long as that adds little. */
int free_space_cut(const struct fsmap *m, uint64_t disk_bytes, struct blob_ranges *ranges, struct err *e);

#endif

/* Private to the XFS reader: the superblock, for fsmap_xfs.c, fsmap_xfs_tree.c and fsmap_xfs_log.c. All numbers on the disk are big-endian. */
#ifndef VMR_STORAGE_IMAGE_FSMAP_XFS_H
#define VMR_STORAGE_IMAGE_FSMAP_XFS_H

#include "storage/image/fsmap_volume.h"

struct xfs {
    struct volume *v;
    bool v5;                                         /* metadata has checksums, its place and the file system's id in it */
    bool rmap;
    uint32_t block, sector;                          /* bytes */
    uint64_t blocks, free_blocks;
    uint32_t ag_blocks, ag_count;
    uint8_t ag_log;                                  /* bits of a block number inside its group */
    uint64_t log_at;                                 /* bytes */
    uint32_t log_blocks;
    uint8_t uuid[16], log_uuid[16];                  /* of metadata; of the file system as the log names it */
};

/* One group's free space, from one of its two trees. */
struct xfs_free {
    uint64_t extents, blocks, mix;                   /* mix: of all extents, whatever their order */
    uint32_t longest, tree_blocks;
    struct free_list spans;                          /* bytes of the volume; by block number only */
};
/* Walks a group's tree by block number (by_size false) or by size, level for level, registers the tree's blocks as metadata, and checks
 * order, bounds and checksums. *ret is the caller's to free (spans) also when refused. */
int xfs_tree_walk(struct xfs *x, uint32_t ag, uint32_t length, uint32_t root, uint32_t levels, bool by_size, struct xfs_free *ret, struct err *e);

/* FSMAP_IN_USE unless the log ends with the record that an unmount writes. */
int xfs_log_check(struct xfs *x, struct err *e);

#endif

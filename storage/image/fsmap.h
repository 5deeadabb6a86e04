/* Which bytes of a disk are in use, by what its file systems say of themselves: the rest need not be fetched and reads as zeros.
 *
 * The rule is in use until proved free. Each partition is judged for itself: a format that is not known, is encrypted, was not unmounted,
 * or does not agree with itself wherever it says the same thing twice (counts, checksums, copies, sizes) is in use as a whole. What no
 * partition covers is in use. Free are: clusters and blocks that the allocation map of an NTFS, ext2/3/4, XFS, FAT or exFAT file system
 * calls free (straight in a partition or the whole disk, or in an LVM logical volume), and LVM extents of no logical volume.
 *
 * The bytes are hostile: reads, memory and time are bounded by the disk's size whatever they say.
 * Sources are named in each format's file. Threads: any; a call keeps nothing but what it returns. */
#ifndef VMR_STORAGE_IMAGE_FSMAP_H
#define VMR_STORAGE_IMAGE_FSMAP_H

#include "storage/image/image.h"

#define FSMAP_READ_MAX ((size_t)1 << 20)             /* bytes that fsmap_read asks for at a time */
#define FSMAP_SPANS_MAX ((size_t)1 << 18)            /* more free spans than that: the smallest count as in use */

struct fsmap_range { uint64_t start, end; };         /* bytes [start, end) of the disk */
struct fsmap_list { struct fsmap_range *list; size_t n, size; };

/* What was decided for a part of the disk, for the record. All regions' `bytes` add up to the disk's size, their `used` to fsmap.bytes (to
 * less where there were more than FSMAP_SPANS_MAX spans). */
struct fsmap_region {
    uint64_t start, end;                             /* of the partition or gap that it lies in */
    uint64_t bytes, used;                            /* what the rule was applied to, and what of it is in use */
    const char *rule;                                /* "partition table", "ntfs", "ext4", "xfs", "fat32", "exfat", "lvm2", "swap", "luks", "unknown" … */
    char volume[64];                                 /* "vg/lv" for a logical volume, else "" */
    char reason[160];                                /* why it is in use as a whole; "" when the map was believed */
};

struct fsmap {
    struct fsmap_list used;                          /* sorted, disjoint, not touching; never empty for a disk with bytes */
    uint64_t bytes;                                  /* sum of it */
    struct fsmap_list first;                         /* what is worth having before the rest: partition tables, boot sectors, metadata whose
                                                      * place is known. Sorted, disjoint, inside `used` */
    struct fsmap_region *regions;                    /* by start */
    size_t n_regions;
    uint64_t read_bytes;                             /* that were asked of the source for this */
};

struct fsmap_options {
    uint32_t sector_size;                            /* logical: 512 or 4096 */
    bool skip_swap;                                  /* the contents of swap areas are free, their headers are not */
    bool skip_pagefiles;                             /* likewise NTFS's \pagefile.sys, \swapfile.sys; and \hiberfil.sys, on a volume that is clean */
    bool (*stop)(void *arg);                         /* asked before each read; true: ERR_CANCELLED. NULL: never */
    void *arg;
};

/* Reads what it needs of the disk (as a guest sees it: not the VHD around it) and fills *ret, which the caller gives to fsmap_free.
 * Bytes that make no sense are no error; a read that fails is, with what read gave. ERR_CANCELLED, ERR_OOM. */
int fsmap_read(const struct image_source *disk, const struct fsmap_options *o, struct fsmap *ret, struct err *e);
void fsmap_free(struct fsmap *m);                    /* fine on a zeroed struct */
#define AUTO_FSMAP AUTO(fsmap_free)

#endif

/* The partition table that we make, and how it is known again, whole or half-written. Portable, pure. */
#ifndef VMR_STORAGE_VOLUME_MARK_H
#define VMR_STORAGE_VOLUME_MARK_H

#include "storage/volume/volume.h"

#define MARK_EDGE_BYTES ((size_t)1 << 20)

/* One partition over all of the disk, aligned to whole MiB, the last one left to the table's copy: in bytes. */
void mark_span(uint64_t disk_size, uint64_t *ret_offset, uint64_t *ret_size);
/* What the first MiB of a disk and its last one hold, of the table that is made for the k-th disk of the plan. */
int mark_judge(const struct volume_plan *p, unsigned k, const uint8_t *head, const uint8_t *tail, enum volume_mine *ret, struct err *e);
/* The number that an MBR has in place of a GUID. */
int mark_mbr_id(const struct volume_plan *p, uint32_t *ret, struct err *e);
/* Does the beginning of a disk say, by the GUID or the number of its table alone, that it is the k-th of the plan? */
int mark_head(const struct volume_plan *p, unsigned k, uint32_t sector, const uint8_t *head, bool *ret, struct err *e);
/* Is the disk, by its table alone, part of a volume of ours? Sets d->volume. */
int mark_recognise(struct hostdisk *d, struct err *e);

#endif

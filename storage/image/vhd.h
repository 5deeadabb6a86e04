/* Private: the layout of a VHD, for the readers and the writer. Source: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0:
 * "Hard Disk Footer Format", "Dynamic Disk Header Format", "Block Allocation Table and Data Blocks", "Appendix: CHS Calculation". */
#ifndef VMR_STORAGE_IMAGE_VHD_H
#define VMR_STORAGE_IMAGE_VHD_H

#include "storage/image/disk.h"

#define VHD_COOKIE "conectix"
#define VHD_HEADER_COOKIE "cxsparse"
#define VHD_HEADER_BYTES 1024
#define VHD_VERSION_1 0x00010000u
#define VHD_ENTRY_UNUSED 0xffffffffu
#define VHD_DYNAMIC_MAX_BYTES (UINT64_C(2040) << 30) /* Microsoft's limit; sectors of the table have 32 bits */
#define VHD_BLOCK_BYTES (UINT32_C(2) << 20)          /* what is written; Hyper-V's own default */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* One's complement of the sum of all bytes but the four of the field. */
uint32_t vhd_checksum(const uint8_t *p, size_t n, size_t field);
/* Bytes of a block's sector bitmap, padded to whole sectors. */
static inline uint64_t vhd_bitmap_bytes(uint64_t block_bytes)
{
    return (block_bytes / 512 / 8 + 511) / 512 * 512;
}
/* A footer with a fresh unique id; data_offset: of the dynamic header, UINT64_MAX for a fixed disk. */
int vhd_footer(uint64_t virtual_size, enum vhd_type type, uint64_t data_offset, uint8_t ret[VHD_FOOTER_BYTES], struct err *e);

static inline void vhd_put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static inline void vhd_put64(uint8_t *p, uint64_t v)
{
    vhd_put32(p, (uint32_t)(v >> 32));
    vhd_put32(p + 4, (uint32_t)v);
}

#endif

/* Private: the layout of a VHDX, for the readers and the writer. Source: [MS-VHDX] (Microsoft, "Virtual Hard Disk v2 (VHDX) File Format"):
 * 2.2.1 file type identifier, 2.2.2 headers, 2.2.3 region table, 2.3 log, 2.4 blocks, 2.5 block allocation table, 2.6 metadata region. */
#ifndef VMR_STORAGE_IMAGE_VHDX_H
#define VMR_STORAGE_IMAGE_VHDX_H

#include "storage/image/disk.h"

#define VHDX_KIB UINT64_C(1024)
#define VHDX_MIB (UINT64_C(1) << 20)
#define VHDX_HEADER_BYTES 4096                       /* 2.2.2: at 64 and 128 KiB */
#define VHDX_TABLE_BYTES (64u << 10)                 /* region tables at 192 and 256 KiB; the metadata table */

extern const uint8_t vhdx_guid_bat[16], vhdx_guid_metadata[16];        /* regions, 2.2.3.2 */
/* metadata items, 2.6.2 */
extern const uint8_t vhdx_guid_file_parameters[16], vhdx_guid_disk_size[16], vhdx_guid_disk_id[16], vhdx_guid_sector_size[16],
    vhdx_guid_physical_sector_size[16], vhdx_guid_parent_locator[16];
extern const uint8_t vhdx_guid_locator_type[16];     /* 2.6.2.6.1 */

enum vhdx_block {                                    /* 2.5.1.1: payload blocks' states */
    VHDX_NOT_PRESENT, VHDX_UNDEFINED, VHDX_ZERO, VHDX_UNMAPPED, VHDX_FULL = 6, VHDX_PARTIAL = 7,
};
#define VHDX_BITMAP_PRESENT 6                        /* 2.5.1.2: the one state of a sector bitmap block that there is besides 0 */

/* CRC-32C of n bytes, the four of the field taken as zero. */
uint32_t vhdx_checksum(const uint8_t *p, size_t n, size_t field);
/* 2.5: so many payload blocks share a block of the sector bitmap. */
static inline uint64_t vhdx_chunk_blocks(uint32_t sector_size, uint64_t block_bytes)
{
    return (UINT64_C(1) << 23) * sector_size / block_bytes;
}

static inline void vhdx_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void vhdx_put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void vhdx_put64(uint8_t *p, uint64_t v)
{
    vhdx_put32(p, (uint32_t)v);
    vhdx_put32(p + 4, (uint32_t)(v >> 32));
}

#endif

/* Private to storage/image: the guest's bytes inside an image, and what the format readers share. */
#ifndef VMR_STORAGE_IMAGE_DISK_H
#define VMR_STORAGE_IMAGE_DISK_H

#include "storage/image/image.h"

/* A guest's disk inside an image. view.read gives the bytes that a guest would see; view.arg points at the struct itself once
 * a reader has filled it, so it must not be copied or moved after that. */
struct disk {
    struct image_source view;
    const struct image_source *src;
    uint64_t table_offset;                           /* block allocation table, in the file */
    uint64_t block_bytes;
    uint64_t bitmap_bytes;                           /* dynamic VHD: before each block's data */
    uint64_t chunk_blocks;                           /* VHDX: after so many blocks the table has an entry for their bitmap */
};

/* Each fills format, virtual_size and sector_size of *info and the view of *d. `head` is the first 512 bytes of src. */
int vhd_probe(const struct image_source *src, const uint8_t head[512], struct image_info *info, struct disk *d, struct err *e);
int vhdx_probe(const struct image_source *src, struct image_info *info, struct disk *d, struct err *e);
bool vhdx_recognise(const uint8_t head[512]);

/* Reads the partition table into *info (sector_size must be set) and chooses the generation. *ret_end: the end of the last partition
 * in bytes, 0 if there is none; it may lie past the end of the disk. Only a failed read is an error. */
int partition_read(const struct image_source *disk, struct image_info *info, uint64_t *ret_end, struct err *e);

/* The same, with what the table says of each partition that can hold data, in its order. `list` (zeroed before) is the caller's to free,
 * also after an error; NULL: only counted. */
struct partition {
    uint64_t start_sector, end_sector;               /* as the table says: may be past the end of the disk, overlap, or be upside down */
    uint8_t mbr_type;                                /* 0 in a GPT */
    uint8_t gpt_type[16];
};
struct partition_list {
    struct partition *list;
    size_t n, size;
    bool differ;                                     /* a second good copy of the GPT says something else */
};
int partition_list(const struct image_source *disk, struct image_info *info, uint64_t *ret_end, struct partition_list *list, struct err *e);
void partition_list_free(struct partition_list *l);
#define AUTO_PARTITIONS AUTO(partition_list_free)

/* The guest's bytes when they are the file's first `size` bytes. */
void disk_plain(struct disk *d, const struct image_source *src, uint64_t size);

/* Bytes for a message: "63 6f 6e 65 ('cone')". */
#define BYTES_TEXT 48
const char *bytes_text(const uint8_t *p, size_t n, char buf[BYTES_TEXT]);        /* n at most 8 */
/* The name of a source, short enough to leave room for what was found. */
#define NAME_FMT "%.150s"

static inline uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t be64(const uint8_t *p)
{
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static inline uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline uint64_t le64(const uint8_t *p)
{
    return (uint64_t)le32(p + 4) << 32 | le32(p);
}

#endif

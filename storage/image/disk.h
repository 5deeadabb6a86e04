/* Private to storage/image: the guest's bytes inside an image, and what the format readers share. */
#ifndef VMR_STORAGE_IMAGE_DISK_H
#define VMR_STORAGE_IMAGE_DISK_H

#include "storage/image/image.h"

/* Where a run of a guest's bytes is: in the file at `at`, in the parent at the same offset, or nowhere (zeros). */
enum piece_kind { PIECE_ZERO, PIECE_FILE, PIECE_PARENT };
struct disk_piece { enum piece_kind kind; uint64_t at, n; };

/* What a differencing disk says of its parent. */
#define PARENT_NAMES_MAX 4
struct disk_link {
    uint8_t id[2][16];                               /* the parent's unique id (VHD), its DataWriteGuid (VHDX): one of n_ids */
    unsigned n_ids;
    char *names[PARENT_NAMES_MAX];                   /* paths as its writer knew them, the likeliest first; hostile */
    unsigned n_names;
};

/* A guest's disk inside an image. view.read gives the bytes that a guest would see; view.arg points at the struct itself once
 * a reader has filled it, so it must not be copied or moved after that. */
struct disk {
    struct image_source view;
    const struct image_source *src;
    uint64_t table_offset;                           /* block allocation table, in the file */
    uint64_t block_bytes;
    uint64_t bitmap_bytes;                           /* dynamic VHD: before each block's data */
    uint64_t chunk_blocks;                           /* VHDX: after so many blocks the table has an entry for their bitmap */
    uint64_t table_bytes;                            /* what of the table is in use */
    uint32_t sector_size;
    bool fixed;                                      /* VHDX: made with all blocks allocated */
    int (*where)(struct disk *d, uint64_t offset, uint64_t max, struct disk_piece *ret, struct err *e);      /* ret->n: 1 .. max */
    uint8_t id[16];                                  /* what a child calls it by */
    /* Differencing disks: taken only when the caller set `chained`, who then puts the parent's view into `parent`; without one the
     * disk is read as if the parent were empty. */
    bool chained, differencing;
    const struct image_source *parent;
    struct disk_link link;
    uint8_t *bitmap;                                 /* heap: the last sector bitmap that was looked at, of bitmap_of */
    uint64_t bitmap_of;
    uint8_t page[4096];                              /* of the table, the last that was looked at */
    uint64_t page_at;                                /* its offset in the table */
    size_t page_n;
};
void disk_free(struct disk *d);                      /* what it holds on the heap; fine on a zeroed struct */
#define AUTO_DISK AUTO(disk_free)
/* `width` bytes of the table (a divisor of 4096) for entry `index`, through d->page. The pointer holds until the next call. */
int disk_entry(struct disk *d, uint64_t index, size_t width, const uint8_t **ret, struct err *e);
/* Sets the view of a disk whose `where` is set. */
void disk_view(struct disk *d, const struct image_source *src, uint64_t size);
/* UTF-16 up to n bytes or a NUL as UTF-8 on the heap; NULL: not well-formed, empty, or no memory. */
char *utf16_text(const uint8_t *p, size_t n, bool big_endian);

/* Each fills format, virtual_size and sector_size of *info and the view of *d. `head` is the first 512 bytes of src. */
int vhd_probe(const struct image_source *src, const uint8_t head[512], struct image_info *info, struct disk *d, struct err *e);
int vhdx_probe(const struct image_source *src, struct image_info *info, struct disk *d, struct err *e);
bool vhdx_recognise(const uint8_t head[512]);

/* The format alone, and the view: image_probe without the partition table. *info holds the default sector size before. */
int image_read_format(const struct image_source *src, int expect, struct image_info *info, struct disk *d, struct err *e);

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

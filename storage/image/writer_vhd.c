/* Dynamic VHDs:   footer copy | header | table | gap  bitmap  data | gap  bitmap  data | … | footer
 *
 * Data begins at multiples of 4 KiB, for disks with such sectors; the bitmap is right before it, so a gap of 3584 bytes follows each block. The
 * footer stands where the next gap begins: `limit` is such a place, up to GROW_BLOCKS ahead of `end`. */
#include <string.h>

#include "storage/image/vhd.h"
#include "storage/image/writer_format.h"

#define HEADER_AT 512
#define TABLE_AT (HEADER_AT + VHD_HEADER_BYTES)
#define GROW_BLOCKS 64

/* Where the block begins (with its bitmap) when the one before, and the footer that may have been there, end at `end`. */
static uint64_t block_at(const struct image_writer *w, uint64_t end)
{
    return (end + VHD_FOOTER_BYTES + w->bitmap_bytes + 4095) / 4096 * 4096 - w->bitmap_bytes;
}

static uint64_t block_end(const struct image_writer *w, uint64_t end)
{
    return block_at(w, end) + w->bitmap_bytes + w->layout.block_bytes;
}

static uint64_t table_end(const struct image_writer *w)
{
    uint64_t blocks = (w->layout.virtual_size + w->layout.block_bytes - 1) / w->layout.block_bytes;
    return TABLE_AT + (blocks * 4 + 511) / 512 * 512;
}

/* The first sector is the footer once more. */
static int footer_to(struct image_writer *w, uint64_t at, struct err *e)
{
    uint8_t footer[VHD_FOOTER_BYTES];
    int r = os_file_pread(w->file, footer, sizeof footer, 0, e);
    return r < 0 ? r : os_file_pwrite(w->file, footer, sizeof footer, at, e);
}

static int table_write(struct image_writer *w, struct err *e)
{
    uint8_t unused[4096];
    memset(unused, 0xff, sizeof unused);
    int r = 0;
    for (uint64_t at = TABLE_AT, end = table_end(w), n; r == 0 && at < end; at += n) {
        n = end - at < sizeof unused ? end - at : sizeof unused;
        r = os_file_pwrite(w->file, unused, (size_t)n, at, e);
    }
    return r;
}

static void set_up(struct image_writer *w)
{
    w->layout.block_bytes = VHD_BLOCK_BYTES;
    w->bitmap_bytes = vhd_bitmap_bytes(VHD_BLOCK_BYTES);
    w->table_at = TABLE_AT;
}

static int dynamic_create(struct image_writer *w, struct err *e)
{
    set_up(w);
    w->end = w->limit = table_end(w);
    uint8_t footer[VHD_FOOTER_BYTES], h[VHD_HEADER_BYTES] = {0};
    int r = vhd_footer(w->layout.virtual_size, VHD_DYNAMIC, HEADER_AT, footer, e);
    if (r < 0)
        return r;
    memcpy(h, VHD_HEADER_COOKIE, 8);
    memset(h + 8, 0xff, 8);
    vhd_put64(h + 16, TABLE_AT);
    vhd_put32(h + 24, VHD_VERSION_1);
    vhd_put32(h + 28, (uint32_t)((w->layout.virtual_size + VHD_BLOCK_BYTES - 1) / VHD_BLOCK_BYTES));
    vhd_put32(h + 32, VHD_BLOCK_BYTES);
    vhd_put32(h + 36, vhd_checksum(h, sizeof h, 36));
    r = os_file_pwrite(w->file, h, sizeof h, HEADER_AT, e);
    if (r == 0)
        r = table_write(w, e);
    if (r == 0)
        r = os_file_pwrite(w->file, footer, sizeof footer, w->limit, e);
    return r < 0 ? r : os_file_pwrite(w->file, footer, sizeof footer, 0, e);       /* what makes it a VHD, last */
}

/* Gives the file its end right behind the last block. The footer is there before what follows it goes. */
static int dynamic_trim(struct image_writer *w, struct err *e)
{
    int r = footer_to(w, w->end, e);
    if (r == 0)
        r = os_file_sync(w->file, e);
    if (r == 0)
        r = os_file_truncate(w->file, w->end + VHD_FOOTER_BYTES, e);
    w->limit = w->end;
    return r;
}

static int dynamic_resume(struct image_writer *w, struct disk *d, struct err *e)
{
    if (d->table_offset != TABLE_AT || d->block_bytes != VHD_BLOCK_BYTES)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is a VHD that something else made", os_file_name(w->file));
    set_up(w);
    int r = writer_last_end(w, d, table_end(w), e);
    return r < 0 ? r : dynamic_trim(w, e);           /* blocks that are made anew must begin as zeros */
}

static int dynamic_allocate(struct image_writer *w, uint64_t *ret_at, struct err *e)
{
    int r = 0;
    if (w->end == w->limit) {
        uint64_t limit = w->end;
        for (int i = 0; i < GROW_BLOCKS; i++)
            limit = block_end(w, limit);
        if ((r = footer_to(w, limit, e)) < 0 || (r = os_file_sync(w->file, e)) < 0)
            return r;
        w->limit = limit;
    }
    uint64_t at = block_at(w, w->end);
    uint8_t all[512];
    memset(all, 0xff, sizeof all);
    for (uint64_t k = 0; r == 0 && k < w->bitmap_bytes; k += sizeof all)
        r = os_file_pwrite(w->file, all, sizeof all, at + k, e);
    if (r < 0)
        return r;
    w->end = block_end(w, w->end);
    *ret_at = at;
    return 0;
}

static uint64_t entry_decode(const uint8_t *entry)
{
    return be32(entry) == VHD_ENTRY_UNUSED ? 0 : be32(entry) * UINT64_C(512);
}

static void entry_encode(uint64_t at, uint8_t *entry)
{
    vhd_put32(entry, (uint32_t)(at / 512));
}

static uint32_t dynamic_block_bytes(const struct image_layout *l)
{
    (void)l;
    return VHD_BLOCK_BYTES;
}

const struct writer_format writer_vhd_dynamic = {
    .block_bytes = dynamic_block_bytes,
    .create = dynamic_create, .resume = dynamic_resume, .finish = dynamic_trim, .entry_bytes = 4,
    .allocate = dynamic_allocate, .decode = entry_decode, .encode = entry_encode,
};

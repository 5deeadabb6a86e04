/* VHDX, dynamic and fixed:   0 identifier, headers, region tables | 1 MiB log (empty) | 2 MiB metadata | 3 MiB block table | blocks
 * Everything begins at whole MiB; [MS-VHDX] 2.2. Which section each value is of stands beside it. */
#include <string.h>

#include "storage/image/vhdx.h"
#include "storage/image/writer_format.h"

#define MIB VHDX_MIB
#define LOG_AT MIB
#define METADATA_AT (2 * MIB)
#define TABLE_AT (3 * MIB)
#define GROW_BYTES (16 * MIB)                        /* the file grows by so much at a time, or by a block */
#define ITEMS_AT (64 * 1024u)                        /* of the metadata region: behind its table, 2.6.1.2 */
#define IS_VIRTUAL_DISK 2u                           /* flags of metadata items, 2.6.1.2 */
#define IS_REQUIRED 4u
#define LEAVE_BLOCKS_ALLOCATED 1u                    /* of the file parameters, 2.6.2.1 */
#define PHYSICAL_SECTOR 4096u                        /* what disks have today, and Hyper-V's own default; 2.6.2.5 */
#define BLOCKS_WANTED (UINT64_C(1) << 20)            /* so many at most unless blocks cannot be larger */

static uint32_t default_block_bytes(uint64_t virtual_size)
{
    uint64_t b = MIB;
    while (b < 256 * MIB && virtual_size / b > BLOCKS_WANTED)
        b *= 2;
    return (uint32_t)b;
}

static uint64_t block_count(const struct image_writer *w)
{
    return (w->layout.virtual_size + w->layout.block_bytes - 1) / w->layout.block_bytes;
}

static uint64_t table_bytes(const struct image_writer *w)
{
    uint64_t blocks = block_count(w);
    return ((blocks + (blocks - 1) / w->chunk_blocks) * 8 + MIB - 1) / MIB * MIB;
}

static void set_up(struct image_writer *w)
{
    if (!w->layout.block_bytes)
        w->layout.block_bytes = default_block_bytes(w->layout.virtual_size);
    w->chunk_blocks = vhdx_chunk_blocks(w->layout.sector_size, w->layout.block_bytes);
    w->table_at = TABLE_AT;
    w->data_at = TABLE_AT + table_bytes(w);
}

static void seal(uint8_t *p, size_t n)
{
    vhdx_put32(p + 4, vhdx_checksum(p, n, 4));
}

/* 2.2.2; slot 0 or 1. Fresh ids: whoever knows the file by its last ones sees that it changed. */
static int header_write(struct image_writer *w, unsigned slot, uint64_t sequence, struct err *e)
{
    uint8_t h[VHDX_HEADER_BYTES] = "head";
    int r = os_random(h + 16, 32, e);                /* FileWriteGuid, DataWriteGuid */
    if (r < 0)
        return r;
    vhdx_put64(h + 8, sequence);
    vhdx_put16(h + 66, 1);                           /* version; the log's GUID and version are 0: nothing to replay */
    vhdx_put32(h + 68, (uint32_t)MIB);
    vhdx_put64(h + 72, LOG_AT);
    seal(h, sizeof h);
    return os_file_pwrite(w->file, h, sizeof h, (64 + 64 * slot) * VHDX_KIB, e);
}

/* 2.2.3, twice */
static int regions_write(struct image_writer *w, struct err *e)
{
    AUTO_FREE uint8_t *t = calloc(1, VHDX_TABLE_BYTES);
    if (!t)
        return err_oom(e);
    const struct { const uint8_t *guid; uint64_t at, n; } regions[] = {
        {vhdx_guid_bat, TABLE_AT, table_bytes(w)}, {vhdx_guid_metadata, METADATA_AT, MIB},
    };
    memcpy(t, "regi", 4);
    vhdx_put32(t + 8, ARRAY_LEN(regions));
    for (size_t i = 0; i < ARRAY_LEN(regions); i++) {
        uint8_t *p = t + 16 + 32 * i;
        memcpy(p, regions[i].guid, 16);
        vhdx_put64(p + 16, regions[i].at);
        vhdx_put32(p + 24, (uint32_t)regions[i].n);
        vhdx_put32(p + 28, 1);                       /* required */
    }
    seal(t, VHDX_TABLE_BYTES);
    int r = os_file_pwrite(w->file, t, VHDX_TABLE_BYTES, 192 * VHDX_KIB, e);
    return r < 0 ? r : os_file_pwrite(w->file, t, VHDX_TABLE_BYTES, 256 * VHDX_KIB, e);
}

/* 2.6.1 the table, 2.6.2 the items */
static int metadata_write(struct image_writer *w, struct err *e)
{
    AUTO_FREE uint8_t *t = calloc(1, ITEMS_AT + 4096);
    uint8_t parameters[8], size[8], id[16], sector[4], physical[4];
    int r = t ? os_random(id, sizeof id, e) : err_oom(e);
    if (r < 0)
        return r;
    vhdx_put32(parameters, w->layout.block_bytes);
    vhdx_put32(parameters + 4, w->layout.fixed ? LEAVE_BLOCKS_ALLOCATED : 0);
    vhdx_put64(size, w->layout.virtual_size);
    vhdx_put32(sector, w->layout.sector_size);
    vhdx_put32(physical, PHYSICAL_SECTOR);
    const struct { const uint8_t *guid, *value; size_t n; uint32_t flags; } items[] = {
        {vhdx_guid_file_parameters, parameters, sizeof parameters, IS_REQUIRED},
        {vhdx_guid_disk_size, size, sizeof size, IS_VIRTUAL_DISK | IS_REQUIRED},
        {vhdx_guid_disk_id, id, sizeof id, IS_VIRTUAL_DISK | IS_REQUIRED},
        {vhdx_guid_sector_size, sector, sizeof sector, IS_VIRTUAL_DISK | IS_REQUIRED},
        {vhdx_guid_physical_sector_size, physical, sizeof physical, IS_VIRTUAL_DISK | IS_REQUIRED},
    };
    memcpy(t, "metadata", 8);
    vhdx_put16(t + 10, ARRAY_LEN(items));
    uint32_t at = ITEMS_AT;
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        uint8_t *p = t + 32 + 32 * i;
        memcpy(p, items[i].guid, 16);
        vhdx_put32(p + 16, at);
        vhdx_put32(p + 20, (uint32_t)items[i].n);
        vhdx_put32(p + 24, items[i].flags);
        memcpy(t + at, items[i].value, items[i].n);
        at += (uint32_t)items[i].n;
    }
    return os_file_pwrite(w->file, t, ITEMS_AT + 4096, METADATA_AT, e);
}

static uint64_t entry_decode(const uint8_t *entry)
{
    uint64_t v = le64(entry);
    return (v & 7) == VHDX_FULL ? (v >> 20) * MIB : 0;
}

static void entry_encode(uint64_t at, uint8_t *entry)
{
    vhdx_put64(entry, at | VHDX_FULL);               /* a multiple of 1 MiB leaves the lower 20 bits free; 2.5.1 */
}

/* Fixed: every block is there. Between the chunks is an entry for a bitmap, which only differencing disks have. */
static int table_fill(struct image_writer *w, struct err *e)
{
    uint64_t blocks = block_count(w), entries = blocks + (blocks - 1) / w->chunk_blocks, block = 0;
    uint8_t buf[4096];
    int r = 0;
    for (uint64_t i = 0; i < entries && r == 0;) {
        uint64_t first = i;
        size_t n = 0;
        memset(buf, 0, sizeof buf);
        for (; i < entries && n < sizeof buf; i++, n += 8)
            if (i % (w->chunk_blocks + 1) != w->chunk_blocks)
                entry_encode(w->data_at + block++ * w->layout.block_bytes, buf + n);
        r = os_file_pwrite(w->file, buf, n, TABLE_AT + first * 8, e);
    }
    return r;
}

static int vhdx_create(struct image_writer *w, struct err *e)
{
    set_up(w);
    w->end = w->limit = w->data_at;
    uint64_t size = w->data_at + (w->layout.fixed ? block_count(w) * w->layout.block_bytes : 0);
    static const uint8_t creator[] = "v\0m\0r\0e\0c\0o\0v\0e\0r\0";           /* UTF-16; 2.2.1 */
    uint8_t identifier[512] = "vhdxfile";
    memcpy(identifier + 8, creator, sizeof creator);
    int r = os_file_truncate(w->file, size, e);
    if (r == 0)
        r = header_write(w, 0, 1, e);
    if (r == 0)
        r = header_write(w, 1, 2, e);
    if (r == 0)
        r = regions_write(w, e);
    if (r == 0)
        r = metadata_write(w, e);
    if (r == 0 && w->layout.fixed)
        r = table_fill(w, e);
    return r < 0 ? r : os_file_pwrite(w->file, identifier, sizeof identifier, 0, e);       /* what makes it a VHDX, last */
}

/* 2.2.2.1: the header that is not the current one is written, and flushed, with the next number. */
static int header_renew(struct image_writer *w, struct err *e)
{
    uint64_t newest = 0;
    unsigned current = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t h[VHDX_HEADER_BYTES];
        int r = os_file_pread(w->file, h, sizeof h, (64 + 64 * i) * VHDX_KIB, e);
        if (r < 0)
            return r;
        if (!memcmp(h, "head", 4) && le32(h + 4) == vhdx_checksum(h, sizeof h, 4) && le64(h + 8) >= newest) {
            newest = le64(h + 8);
            current = i;
        }
    }
    int r = header_write(w, !current, newest + 1, e);
    return r < 0 ? r : os_file_sync(w->file, e);
}

static int vhdx_trim(struct image_writer *w, struct err *e)
{
    w->limit = w->end;
    return w->layout.fixed ? 0 : os_file_truncate(w->file, w->end, e);
}

static int vhdx_resume(struct image_writer *w, struct disk *d, struct err *e)
{
    set_up(w);
    uint64_t size;
    int r = os_file_size(w->file, &size, e);
    if (r < 0)
        return r;
    if (d->table_offset != TABLE_AT || (w->layout.fixed && size != w->data_at + block_count(w) * w->layout.block_bytes))
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is a VHDX that something else made", os_file_name(w->file));
    if (!w->layout.fixed && (r = writer_last_end(w, d, w->data_at, e)) < 0)
        return r;
    r = header_renew(w, e);
    return r < 0 ? r : vhdx_trim(w, e);              /* blocks that are made anew must begin as zeros */
}

static int vhdx_allocate(struct image_writer *w, uint64_t *ret_at, struct err *e)
{
    uint64_t n = w->layout.block_bytes;
    if (w->end + n > w->limit) {
        uint64_t limit = w->end + (n > GROW_BYTES ? n : GROW_BYTES);
        int r = os_file_truncate(w->file, limit, e);
        if (r < 0)
            return r;
        w->limit = limit;
    }
    *ret_at = w->end;
    w->end += n;
    return 0;
}

static uint32_t vhdx_block_bytes(const struct image_layout *l)
{
    return l->fixed ? 0 : l->block_bytes ? l->block_bytes : default_block_bytes(l->virtual_size);
}

const struct writer_format writer_vhdx = {
    .block_bytes = vhdx_block_bytes,
    .create = vhdx_create, .resume = vhdx_resume, .finish = vhdx_trim, .entry_bytes = 8,
    .allocate = vhdx_allocate, .decode = entry_decode, .encode = entry_encode,
};

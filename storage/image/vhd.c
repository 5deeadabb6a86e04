/* VHD 1.0, fixed and dynamic: footer, header, block allocation table. All numbers are big-endian.
 *
 *   fixed     data | footer                          the footer's current size is the file's size less 512
 *   dynamic   footer copy | header | table | blocks | footer
 *
 * The footer (512 bytes): 0 cookie "conectix", 8 features, 12 version, 16 data offset (of the dynamic header), 24 time stamp,
 * 28 creator application, 32 creator version, 36 creator system, 40 original size, 48 current size, 56 geometry, 60 disk type,
 * 64 checksum (one's complement of the sum of all other bytes), 68 unique id, 84 saved state, zeros.
 * The dynamic header (1024 bytes): 0 cookie "cxsparse", 8 unused, 16 table offset, 24 version, 28 table entries, 32 block size,
 * 36 checksum. A table entry is the block's first sector in the file, all ones when nothing is stored; a block is a bitmap
 * of its sectors (the first one's bit is the highest of its byte), padded to 512 bytes, and the data. A sector that the bitmap calls unused
 * holds zeros in a dynamic disk, so it is read in differencing disks alone: there it is the parent's.
 * A differencing disk's header names the parent: 40 unique id, 64 name (UTF-16, big-endian), 576 eight locators of 24 bytes: 0 platform code,
 * 8 length, 16 offset; "W2ku" is the absolute path, "W2ru" the one from the child's folder, both UTF-16, little-endian. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/image/vhd.h"

#define BLOCK_BYTES_MIN (UINT32_C(4) << 10)          /* 512 KiB and 2 MiB are what programs write */
#define BLOCK_BYTES_MAX (UINT32_C(256) << 20)
#define TABLE_STEP (64u << 10)

#define LOCATORS 8                                   /* of the header */
#define LOCATOR_BYTES_MAX 65534
struct footer {
    uint64_t data_offset, current_size;
    uint32_t type;
    char creator[5];
    uint8_t unique_id[16];
};

uint32_t vhd_checksum(const uint8_t *p, size_t n, size_t field)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        if (i < field || i >= field + 4)
            sum += p[i];
    return ~sum;
}

static bool has_cookie(const uint8_t *p, const char *cookie)
{
    return !memcmp(p, cookie, 8);
}

/* Cookie, checksum, version, type and size range; offset is where p was found. */
static int footer_parse(const struct image_source *src, const uint8_t *p, uint64_t offset, bool chained, struct footer *ret, struct err *e)
{
    uint32_t found = be32(p + 64), expected = vhd_checksum(p, VHD_FOOTER_BYTES, 64);
    if (!has_cookie(p, VHD_COOKIE) || found != expected)
        return err_set(e, ERR_VHD_DAMAGED,
                       NAME_FMT ": the VHD footer at offset %" PRIu64 " is damaged: its checksum is 0x%08" PRIx32 ", its bytes give 0x%08" PRIx32,
                       src->name, offset, found, expected);
    if (be32(p + 12) >> 16 != VHD_VERSION_1 >> 16)
        return err_set(e, ERR_UNSUPPORTED, NAME_FMT ": the VHD footer at offset %" PRIu64 " has version %u.%u; only 1.x is known", src->name,
                       offset, be32(p + 12) >> 16, be32(p + 12) & 0xffff);
    struct footer f = {.data_offset = be64(p + 16), .current_size = be64(p + 48), .type = be32(p + 60)};
    if (f.type == VHD_DIFFERENCING && !chained) {
        err_set(e, ERR_UNSUPPORTED, NAME_FMT ": is a differencing VHD: it holds only the changes to another disk", src->name);
        return err_hint(e, "Merge it with its parent first (Hyper-V Manager: Edit Disk, Merge), or give the whole disk.");
    }
    if (f.type != VHD_FIXED && f.type != VHD_DYNAMIC && f.type != VHD_DIFFERENCING)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHD footer at offset %" PRIu64 " names disk type %" PRIu32 "; 2 (fixed) or 3 (dynamic) is expected",
                       src->name, offset, f.type);
    uint64_t max = f.type == VHD_FIXED ? IMAGE_MAX_BYTES : VHD_DYNAMIC_MAX_BYTES;
    if (!f.current_size || f.current_size % 512 || f.current_size > max)
        return err_set(e, ERR_VHD_DAMAGED,
                       NAME_FMT ": the VHD footer at offset %" PRIu64 " gives a disk size of %" PRIu64 " bytes; a multiple of 512 up to %" PRIu64 " is expected",
                       src->name, offset, f.current_size, max);
    memcpy(f.unique_id, p + 68, sizeof f.unique_id);
    for (int i = 0; i < 4 && p[28 + i] >= 0x20 && p[28 + i] < 0x7f; i++)
        f.creator[i] = (char)p[28 + i];
    *ret = f;
    return 0;
}

/* ---- dynamic ---- */

/* Differencing: how many sectors from in_block on are of the same owner as the first. */
static int bitmap_run(struct disk *d, uint64_t block, uint64_t bitmap_at, uint64_t in_block, uint64_t max, bool *ret_here, uint64_t *ret_n, struct err *e)
{
    if (!d->bitmap && !(d->bitmap = malloc((size_t)d->bitmap_bytes)))
        return err_oom(e);
    if (d->bitmap_of != block + 1) {
        d->bitmap_of = 0;
        int r = d->src->read(d->src->arg, d->bitmap, (size_t)d->bitmap_bytes, bitmap_at, e);
        if (r < 0)
            return r;
        d->bitmap_of = block + 1;
    }
    uint64_t sector = in_block / 512, last = (in_block + max - 1) / 512;
    bool here = d->bitmap[sector / 8] & 0x80 >> sector % 8;
    while (sector < last && here == !!(d->bitmap[(sector + 1) / 8] & 0x80 >> (sector + 1) % 8))
        sector++;
    uint64_t n = (sector + 1) * 512 - in_block;
    *ret_n = n < max ? n : max;
    *ret_here = here;
    return 0;
}

static int dynamic_where(struct disk *d, uint64_t offset, uint64_t max, struct disk_piece *ret, struct err *e)
{
    uint64_t block = offset / d->block_bytes, in_block = offset % d->block_bytes;
    uint64_t n = d->block_bytes - in_block < max ? d->block_bytes - in_block : max;
    const uint8_t *entry;
    int r = disk_entry(d, block, 4, &entry, e);
    if (r < 0)
        return r;
    uint64_t at = be32(entry) * UINT64_C(512);
    if (be32(entry) == VHD_ENTRY_UNUSED) {
        *ret = (struct disk_piece){.kind = d->differencing ? PIECE_PARENT : PIECE_ZERO, .n = n};
        return 0;
    }
    bool here = true;
    if (d->differencing && (r = bitmap_run(d, block, at, in_block, n, &here, &n, e)) < 0)
        return r;
    at += d->bitmap_bytes + in_block;
    if (at > d->src->size || n > d->src->size - at)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": block %" PRIu64 " of the VHD lies past the end of the file", d->src->name, block);
    *ret = here ? (struct disk_piece){.kind = PIECE_FILE, .at = at, .n = n} : (struct disk_piece){.kind = PIECE_PARENT, .n = n};
    return 0;
}

/* Every block that is stored must lie in the file, before the footer. */
static int table_check(const struct disk *d, uint64_t virtual_size, uint64_t blocks, struct err *e)
{
    const struct image_source *src = d->src;
    uint64_t limit = src->size - VHD_FOOTER_BYTES;
    AUTO_FREE uint8_t *buf = malloc(TABLE_STEP);
    if (!buf)
        return err_oom(e);
    for (uint64_t block = 0; block < blocks;) {
        uint64_t left = (blocks - block) * 4;
        size_t n = left < TABLE_STEP ? (size_t)left : TABLE_STEP;
        int r = src->read(src->arg, buf, n, d->table_offset + block * 4, e);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i += 4, block++) {
            uint32_t sector = be32(buf + i);
            if (sector == VHD_ENTRY_UNUSED)
                continue;
            uint64_t rest = virtual_size - block * d->block_bytes;           /* the last block may be stored in part */
            uint64_t end = sector * UINT64_C(512) + d->bitmap_bytes + (rest < d->block_bytes ? rest : d->block_bytes);
            if (end > limit)
                return err_set(e, sector * UINT64_C(512) < limit ? ERR_SOURCE_TRUNCATED : ERR_VHD_DAMAGED,
                               NAME_FMT ": the block table at offset %" PRIu64 " puts block %" PRIu64 " at sector %" PRIu32 ", to byte %" PRIu64
                                        ", but the data ends at %" PRIu64, src->name, d->table_offset, block, sector, end, limit);
        }
    }
    return 0;
}

/* Who the parent is, by the header. Names that cannot be read are left out: others may serve. */
static int parent_read(const struct image_source *src, const uint8_t *h, struct disk *d, struct err *e)
{
    static const char codes[][5] = {"W2ru", "W2ku"};
    struct disk_link *link = &d->link;
    d->differencing = true;
    memcpy(link->id[0], h + 40, 16);
    link->n_ids = 1;
    for (size_t k = 0; k < ARRAY_LEN(codes); k++)
        for (const uint8_t *l = h + 576; l < h + 576 + 24 * LOCATORS && link->n_names < PARENT_NAMES_MAX - 1; l += 24) {
            uint64_t n = be32(l + 8), at = be64(l + 16);
            if (memcmp(l, codes[k], 4) || !n || n > LOCATOR_BYTES_MAX || at > src->size || n > src->size - at)
                continue;
            AUTO_FREE uint8_t *text = malloc((size_t)n);
            if (!text)
                return err_oom(e);
            int r = src->read(src->arg, text, (size_t)n, at, e);
            if (r < 0)
                return r;
            char *name = utf16_text(text, (size_t)n, false);
            if (name)
                link->names[link->n_names++] = name;
        }
    char *name = utf16_text(h + 64, 512, true);
    if (name)
        link->names[link->n_names++] = name;
    return 0;
}

static int dynamic_probe(const struct image_source *src, const struct footer *f, struct disk *d, struct err *e)
{
    uint8_t h[VHD_HEADER_BYTES];
    uint64_t at = f->data_offset, limit = src->size - VHD_FOOTER_BYTES;
    if (at > limit || limit - at < sizeof h)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHD footer puts the dynamic header at offset %" PRIu64 ", past the end of the data (%" PRIu64 ")",
                       src->name, at, limit);
    int r = src->read(src->arg, h, sizeof h, at, e);
    if (r < 0)
        return r;
    char text[BYTES_TEXT];
    if (!has_cookie(h, VHD_HEADER_COOKIE))
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": at offset %" PRIu64 " is %s where the dynamic header's '" VHD_HEADER_COOKIE "' should be",
                       src->name, at, bytes_text(h, 8, text));
    uint32_t found = be32(h + 36), expected = vhd_checksum(h, sizeof h, 36);
    if (found != expected)
        return err_set(e, ERR_VHD_DAMAGED,
                       NAME_FMT ": the dynamic VHD header at offset %" PRIu64 " is damaged: its checksum is 0x%08" PRIx32 ", its bytes give 0x%08" PRIx32,
                       src->name, at, found, expected);
    if (be32(h + 24) >> 16 != VHD_VERSION_1 >> 16)
        return err_set(e, ERR_UNSUPPORTED, NAME_FMT ": the dynamic VHD header at offset %" PRIu64 " has version 0x%08" PRIx32 "; only 1.x is known",
                       src->name, at, be32(h + 24));
    uint32_t block_bytes = be32(h + 32);
    if (block_bytes < BLOCK_BYTES_MIN || block_bytes > BLOCK_BYTES_MAX || (block_bytes & (block_bytes - 1)))
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the dynamic VHD header at offset %" PRIu64 " gives a block size of %" PRIu32 " bytes", src->name,
                       at, block_bytes);
    uint64_t entries = be32(h + 28), blocks = (f->current_size + block_bytes - 1) / block_bytes;
    if (entries < blocks)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the block table has %" PRIu64 " entries, a disk of %" PRIu64 " bytes needs %" PRIu64, src->name,
                       entries, f->current_size, blocks);
    uint64_t table = be64(h + 16);
    if (table > limit || blocks * 4 > limit - table)
        return err_set(e, ERR_VHD_DAMAGED,
                       NAME_FMT ": the dynamic VHD header puts the block table (%" PRIu64 " entries) at offset %" PRIu64 ", past the end of the data (%" PRIu64 ")",
                       src->name, blocks, table, limit);
    d->src = src;
    d->table_offset = table;
    d->table_bytes = blocks * 4;
    d->block_bytes = block_bytes;
    d->bitmap_bytes = vhd_bitmap_bytes(block_bytes);
    d->where = dynamic_where;
    disk_view(d, src, f->current_size);
    r = table_check(d, f->current_size, blocks, e);
    return !r && f->type == VHD_DIFFERENCING ? parent_read(src, h, d, e) : r;
}

/* ---- no footer ---- */

static const char *other_format(const uint8_t head[512])
{
    static const struct { size_t at; const char *magic; size_t n; const char *what; } known[] = {
        {0, "QFI\xfb", 4, "a qcow2 image"},         {0, "KDMV", 4, "a VMDK image"},
        {0, "# Disk DescriptorFile", 21, "a VMDK descriptor"}, {64, "\x7f\x10\xda\xbe", 4, "a VDI image"},
        {0, "\x1f\x8b", 2, "a gzip file"},          {0, "\xfd" "7zXZ", 5, "an xz file"},
        {0, "PK\x03\x04", 4, "a zip archive"},      {0, "7z\xbc\xaf\x27\x1c", 6, "a 7z archive"},
        {0, "\x28\xb5\x2f\xfd", 4, "a zstd file"},  {0, "BZh", 3, "a bzip2 file"},
        {0, "<!DOCTYPE", 9, "a web page"},          {0, "<html", 5, "a web page"},
        {0, "<?xml", 5, "an XML document"},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (!memcmp(head + known[i].at, known[i].magic, known[i].n))
            return known[i].what;
    return NULL;
}

/* Says as exactly as can be known what is there instead of a footer. Always an error. */
static int no_footer(const struct image_source *src, const uint8_t head[512], const uint8_t tail[512], struct err *e)
{
    uint64_t at = src->size - VHD_FOOTER_BYTES;
    char text[BYTES_TEXT];
    /* Cut within its footer: the rest of one begins at the last sector boundary. */
    size_t odd = (size_t)(src->size % 512);
    const uint8_t *part = tail + (VHD_FOOTER_BYTES - odd);
    if (odd >= 4 && !memcmp(part, VHD_COOKIE, odd < 8 ? odd : 8))
        return err_set(e, ERR_SOURCE_TRUNCATED, NAME_FMT ": a VHD footer begins at offset %" PRIu64 ", but the source ends after %zu of its 512 bytes",
                       src->name, src->size - odd, odd);
    /* All of a footer but its first bytes. */
    uint32_t type = be32(tail + 60);
    if (be32(tail + 12) == VHD_VERSION_1 && ((type == VHD_FIXED && be64(tail + 48) == at) || (type == VHD_DYNAMIC && be64(tail + 16) < at)))
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHD footer at offset %" PRIu64 " is damaged: it begins with %s instead of '" VHD_COOKIE "'",
                       src->name, at, bytes_text(tail, 8, text));
    const char *other = other_format(head);
    if (other) {
        err_set(e, ERR_NOT_VHD, NAME_FMT ": is %s (it begins with %s), not a VHD", src->name, other, bytes_text(head, 8, text));
        return err_hint(e, "Convert it first: qemu-img convert -O vpc -o subformat=fixed,force_size=on");
    }
    struct image_info info = {.sector_size = 512};
    struct disk d = {0};
    uint64_t end;
    disk_plain(&d, src, src->size);
    int r = partition_read(&d.view, &info, &end, e);
    if (r < 0)
        return r;
    if (end > src->size)
        return err_set(e, ERR_SOURCE_TRUNCATED,
                       NAME_FMT ": holds %" PRIu64 " bytes without a VHD footer, but the %s partition table at its start reaches to byte %" PRIu64,
                       src->name, src->size, info.table == TABLE_GPT ? "GPT" : "MBR", end);
    err_set(e, ERR_NOT_VHD, NAME_FMT ": at offset %" PRIu64 " (the last 512 of %" PRIu64 " bytes) is %s where a VHD footer's '" VHD_COOKIE "' should be",
            src->name, at, src->size, bytes_text(tail, 8, text));
    return info.partitions ? err_hint(e, "It begins with a partition table: if it is a raw disk, say so with \"format\": \"raw\".") : -ERR_NOT_VHD;
}

/* The footer that counts: the one at the end; of a dynamic disk its copy at the start when the end is there but damaged. */
static int footer_choose(const struct image_source *src, const uint8_t head[512], const uint8_t tail[512], bool chained,
                         struct footer *ret, struct err *e)
{
    uint64_t at = src->size - VHD_FOOTER_BYTES;
    bool at_end = has_cookie(tail, VHD_COOKIE);
    if (at_end && !footer_parse(src, tail, at, chained, ret, e))
        return 0;
    struct err first = *e, second = {0};
    if (at_end && first.code != ERR_VHD_DAMAGED)
        return -(int)first.code;
    struct footer copy;
    if (has_cookie(head, VHD_COOKIE)) {
        int r = footer_parse(src, head, 0, chained, &copy, &second);
        bool same_but_cookie = !memcmp(head + 8, tail + 8, VHD_FOOTER_BYTES - 8);
        if (!r && copy.type != VHD_FIXED && (at_end || same_but_cookie)) {
            *ret = copy;
            return 0;
        }
        if (!r && copy.type != VHD_FIXED) {
            char text[BYTES_TEXT];
            return err_set(e, ERR_SOURCE_TRUNCATED,
                           NAME_FMT ": begins as a dynamic VHD, but at offset %" PRIu64 " (its end) is %s where the footer's '" VHD_COOKIE "' should be",
                           src->name, at, bytes_text(tail, 8, text));
        }
        if (r < 0 && !at_end) {
            *e = second;
            return r;
        }
    }
    if (at_end) {
        *e = first;
        return -(int)first.code;
    }
    return no_footer(src, head, tail, e);
}

int vhd_probe(const struct image_source *src, const uint8_t head[512], struct image_info *info, struct disk *d, struct err *e)
{
    uint8_t tail[VHD_FOOTER_BYTES];
    uint64_t at = src->size - sizeof tail;
    int r = src->read(src->arg, tail, sizeof tail, at, e);
    if (r < 0)
        return r;
    struct footer f;
    err_clear(e);
    r = footer_choose(src, head, tail, d->chained, &f, e);
    if (r < 0)
        return r;
    err_clear(e);
    if (f.type == VHD_FIXED && f.current_size != at)
        return err_set(e, f.current_size > at ? ERR_SOURCE_TRUNCATED : ERR_VHD_DAMAGED,
                       NAME_FMT ": the VHD footer at offset %" PRIu64 " gives a disk size of %" PRIu64 " bytes, but %" PRIu64 " bytes precede it",
                       src->name, at, f.current_size, at);
    if (f.type == VHD_FIXED)
        disk_plain(d, src, at);
    else if ((r = dynamic_probe(src, &f, d, e)) < 0)
        return r;
    info->format = f.type == VHD_FIXED ? IMAGE_VHD : IMAGE_VHD_DYNAMIC;
    info->virtual_size = f.current_size;
    info->sector_size = 512;
    info->fixed = f.type == VHD_FIXED;
    info->differencing = d->differencing;
    info->block_bytes = (uint32_t)d->block_bytes;
    memcpy(d->id, f.unique_id, sizeof d->id);
    memcpy(info->creator, f.creator, sizeof info->creator);
    memcpy(info->unique_id, f.unique_id, sizeof info->unique_id);
    return 0;
}

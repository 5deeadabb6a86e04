/* VHDX (MS-VHDX): enough to know the disk's size and sectors and to read its partition table. All numbers are little-endian.
 *
 *   0        file identifier "vhdxfile"
 *   64, 128 KiB   header, twice: "head", CRC-32C, sequence number 8, log GUID 48, version 66; the good one with the higher number counts
 *   192, 256 KiB  region table, twice: "regi", CRC-32C, count 8; entries of 32 bytes from 16 on: GUID, offset, length, required
 *   metadata region: "metadata", count 10; entries of 32 bytes from 32 on: GUID, offset in the region, length, flags
 *   block allocation table: 8 bytes a block: state in bits 0..2, offset in MiB from bit 20 on
 *
 * Header and region table carry checksums, the metadata does not: its values are checked against the format's limits. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "storage/image/vhdx.h"

#define KIB VHDX_KIB
#define MIB VHDX_MIB
#define HEADER_BYTES VHDX_HEADER_BYTES
#define TABLE_BYTES VHDX_TABLE_BYTES
#define ENTRIES_MAX 2047
#define BAT_MAX_BYTES (64 * MIB)                     /* checked in full; 256 TiB at the usual 32 MiB a block */

const uint8_t vhdx_guid_bat[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const uint8_t vhdx_guid_metadata[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
const uint8_t vhdx_guid_file_parameters[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
const uint8_t vhdx_guid_disk_size[16] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
const uint8_t vhdx_guid_disk_id[16] = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
const uint8_t vhdx_guid_sector_size[16] = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
const uint8_t vhdx_guid_physical_sector_size[16] = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
const uint8_t vhdx_guid_parent_locator[16] = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};
const uint8_t vhdx_guid_locator_type[16] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};

bool vhdx_recognise(const uint8_t head[512])
{
    return !memcmp(head, "vhdxfile", 8);
}

static uint32_t crc_table[256];

static void crc_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        crc_table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            crc_table[i] = crc_table[i] >> 1 ^ (crc_table[i] & 1 ? 0x82f63b78u : 0);
    }
}

uint32_t vhdx_checksum(const uint8_t *p, size_t n, size_t field)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, crc_fill);
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ crc_table[(crc ^ (i - field < 4 ? 0u : p[i])) & 0xff];
    return ~crc;
}

/* Reads a structure with signature and checksum; *ret_good is false (and why is said in e) if either is wrong. */
static int sealed_read(const struct image_source *src, const char *what, const char *signature, uint64_t offset, uint8_t *buf, size_t n, bool *ret_good,
                       struct err *e)
{
    *ret_good = false;
    if (src->size < offset + n)
        return err_set(e, ERR_SOURCE_TRUNCATED, NAME_FMT ": the VHDX ends after %" PRIu64 " bytes, before its %s at offset %" PRIu64, src->name,
                       src->size, what, offset);
    int r = src->read(src->arg, buf, n, offset, e);
    if (r < 0)
        return r;
    char text[BYTES_TEXT];
    uint32_t found = le32(buf + 4), expected = vhdx_checksum(buf, n, 4);
    if (memcmp(buf, signature, 4))
        err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": at offset %" PRIu64 " is %s where the VHDX %s's '%s' should be", src->name, offset,
                bytes_text(buf, 4, text), what, signature);
    else if (found != expected)
        err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX %s at offset %" PRIu64 " is damaged: its checksum is 0x%08" PRIx32 ", its bytes give 0x%08" PRIx32,
                src->name, what, offset, found, expected);
    else
        *ret_good = true;
    return 0;
}

static int header_check(const struct image_source *src, struct disk *d, struct err *e)
{
    uint8_t h[2][HEADER_BYTES];
    bool good[2];
    for (int i = 0; i < 2; i++) {
        int r = sealed_read(src, "header", "head", i ? 128 * KIB : 64 * KIB, h[i], HEADER_BYTES, &good[i], e);
        if (r < 0)
            return r;
    }
    if (!good[0] && !good[1])
        return -ERR_VHD_DAMAGED; /* said in e */
    int at = good[0] && good[1] ? le64(h[1] + 8) > le64(h[0] + 8) : good[1];
    if (le16(h[at] + 66) != 1)
        return err_set(e, ERR_UNSUPPORTED, NAME_FMT ": is a VHDX of version %u; only 1 is known", src->name, le16(h[at] + 66));
    memcpy(d->id, h[at] + 32, sizeof d->id);         /* DataWriteGuid */
    for (int i = 0; i < 16; i++)
        if (h[at][48 + i]) {
            err_set(e, ERR_UNSUPPORTED, NAME_FMT ": the VHDX was not closed properly: changes wait in its log", src->name);
            return err_hint(e, "Open it once where it comes from (mount and unmount it), or let qemu-img check -r all replay the log, then try again.");
        }
    return 0;
}

struct region {
    uint64_t offset;
    uint64_t length;
};

static int regions_parse(const struct image_source *src, const uint8_t *table, struct region *bat, struct region *metadata, struct err *e)
{
    uint32_t count = le32(table + 8);
    if (count > ENTRIES_MAX)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX region table has %" PRIu32 " entries; at most %d are possible", src->name, count, ENTRIES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = table + 16 + 32 * (size_t)i;
        struct region here = {.offset = le64(p + 16), .length = le32(p + 24)};
        struct region *which = !memcmp(p, vhdx_guid_bat, 16) ? bat : !memcmp(p, vhdx_guid_metadata, 16) ? metadata : NULL;
        if (which) {
            if (here.offset < MIB || here.offset > src->size || here.length > src->size - here.offset)
                return err_set(e, here.offset < MIB ? ERR_VHD_DAMAGED : ERR_SOURCE_TRUNCATED,
                               NAME_FMT ": a VHDX region of %" PRIu64 " bytes at offset %" PRIu64 " does not fit in the file of %" PRIu64, src->name, here.length,
                               here.offset, src->size);
            *which = here;
        } else if (le32(p + 28) & 1) {
            return err_set(e, ERR_UNSUPPORTED, NAME_FMT ": the VHDX has a required region of an unknown kind", src->name);
        }
    }
    if (!bat->length || metadata->length < TABLE_BYTES)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX region table lacks the %s", src->name, bat->length ? "metadata" : "block table");
    return 0;
}

static int regions_read(const struct image_source *src, struct region *bat, struct region *metadata, struct err *e)
{
    AUTO_FREE uint8_t *table = malloc(TABLE_BYTES);
    if (!table)
        return err_oom(e);
    for (int i = 0; i < 2; i++) {
        bool good;
        int r = sealed_read(src, "region table", "regi", i ? 256 * KIB : 192 * KIB, table, TABLE_BYTES, &good, e);
        if (r < 0)
            return r;
        if (good)
            return regions_parse(src, table, bat, metadata, e);
    }
    return -ERR_VHD_DAMAGED; /* said in e */
}

struct metadata {
    uint64_t disk_size;
    uint32_t block_bytes, flags, sector_size;
    uint64_t locator_at;                             /* in the file; of a differencing disk */
    uint32_t locator_bytes;                          /* 0: none */
};

/* "{83ed47ad-…}" as it lies in headers: the first three groups little-endian. */
static bool guid_parse(const char *text, uint8_t ret[16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    size_t n = 0;
    for (text += *text == '{'; n < 32 && *text; text++) {
        if (*text == '-')
            continue;
        const char *digits = "0123456789abcdef", *digit = strchr(digits, *text >= 'A' && *text <= 'F' ? *text + 32 : *text);
        if (!digit)
            return false;
        uint8_t *b = ret + order[n / 2], v = (uint8_t)(digit - digits);
        *b = (uint8_t)(n % 2 ? *b | v : v << 4);
        n++;
    }
    return n == 32;
}

/* A child's locator: pairs of a key and a value, both UTF-16. Names that cannot be read are left out: others may serve. */
static int locator_read(const struct image_source *src, uint64_t at, size_t n, struct disk *d, struct err *e)
{
    struct { const char *key; bool id; } known[] = {{"relative_path", false}, {"absolute_win32_path", false}, {"parent_linkage", true}, {"parent_linkage2", true}};
    AUTO_FREE uint8_t *p = malloc(n);
    if (!p)
        return err_oom(e);
    int r = src->read(src->arg, p, n, at, e);
    if (r < 0)
        return r;
    if (memcmp(p, vhdx_guid_locator_type, 16))
        return err_set(e, ERR_UNSUPPORTED, NAME_FMT ": the VHDX names its parent in a way that is not known", src->name);
    struct disk_link *link = &d->link;
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        for (size_t i = 0; i < le16(p + 18) && 20 + 12 * (i + 1) <= n; i++) {
            const uint8_t *entry = p + 20 + 12 * i;
            size_t key_at = le32(entry), value_at = le32(entry + 4), key_n = le16(entry + 8), value_n = le16(entry + 10);
            if (key_at > n || key_n > n - key_at || value_at > n || value_n > n - value_at)
                continue;
            AUTO_FREE char *key = utf16_text(p + key_at, key_n, false), *value = utf16_text(p + value_at, value_n, false);
            if (!key || !value || strcmp(key, known[k].key))
                continue;
            if (!known[k].id && link->n_names < PARENT_NAMES_MAX)
                link->names[link->n_names++] = STEAL(value);
            else if (known[k].id && link->n_ids < ARRAY_LEN(link->id) && guid_parse(value, link->id[link->n_ids]))
                link->n_ids++;
        }
    if (!link->n_ids)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX's parent locator does not say which disk the parent is", src->name);
    return 0;
}

static int metadata_read(const struct image_source *src, const struct region *where, struct metadata *ret, struct err *e)
{
    AUTO_FREE uint8_t *table = malloc(TABLE_BYTES);
    if (!table)
        return err_oom(e);
    int r = src->read(src->arg, table, TABLE_BYTES, where->offset, e);
    if (r < 0)
        return r;
    char text[BYTES_TEXT];
    uint16_t count = le16(table + 10);
    if (memcmp(table, "metadata", 8) || count > ENTRIES_MAX)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX metadata at offset %" PRIu64 " begins with %s and has %u entries", src->name, where->offset,
                       bytes_text(table, 8, text), count);
    struct { const uint8_t *guid; uint32_t bytes; const char *name; uint8_t value[8]; bool found; } items[] = {
        {vhdx_guid_file_parameters, 8, "file parameters", {0}, false},
        {vhdx_guid_disk_size, 8, "virtual disk size", {0}, false},
        {vhdx_guid_sector_size, 4, "logical sector size", {0}, false},
    };
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *p = table + 32 + 32 * (size_t)i;
        uint64_t from = le32(p + 16), bytes = le32(p + 20);
        if (!memcmp(p, vhdx_guid_parent_locator, 16) && from >= TABLE_BYTES && bytes >= 20 && bytes <= TABLE_BYTES && from + bytes <= where->length) {
            ret->locator_at = where->offset + from;
            ret->locator_bytes = (uint32_t)bytes;
        }
        for (size_t k = 0; k < ARRAY_LEN(items); k++) {
            if (memcmp(p, items[k].guid, 16))
                continue;
            uint64_t at = le32(p + 16);
            if (at < TABLE_BYTES || le32(p + 20) != items[k].bytes || at + items[k].bytes > where->length)
                return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX metadata puts its %s (%" PRIu32 " bytes) at offset %" PRIu64 " of its region", src->name,
                               items[k].name, le32(p + 20), at);
            if ((r = src->read(src->arg, items[k].value, items[k].bytes, where->offset + at, e)) < 0)
                return r;
            items[k].found = true;
        }
    }
    for (size_t k = 0; k < ARRAY_LEN(items); k++)
        if (!items[k].found)
            return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX metadata at offset %" PRIu64 " has no %s", src->name, where->offset, items[k].name);
    ret->block_bytes = le32(items[0].value);
    ret->flags = le32(items[0].value + 4);
    ret->disk_size = le64(items[1].value);
    ret->sector_size = le32(items[2].value);
    return 0;
}

static int metadata_check(const struct image_source *src, const struct metadata *m, bool chained, struct err *e)
{
    if (m->flags & 2 && chained && !m->locator_bytes)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": is a differencing VHDX without a parent locator", src->name);
    if (m->flags & 2 && !chained) {
        err_set(e, ERR_UNSUPPORTED, NAME_FMT ": is a differencing VHDX: it holds only the changes to another disk", src->name);
        return err_hint(e, "Merge it with its parent first (Hyper-V Manager: Edit Disk, Merge), or give the whole disk.");
    }
    if (m->sector_size != 512 && m->sector_size != 4096)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX metadata gives a sector size of %" PRIu32 " bytes; 512 or 4096 is expected", src->name,
                       m->sector_size);
    if (m->block_bytes < MIB || m->block_bytes > 256 * MIB || (m->block_bytes & (m->block_bytes - 1)))
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX metadata gives a block size of %" PRIu32 " bytes; a power of two from 1 to 256 MiB is expected",
                       src->name, m->block_bytes);
    if (!m->disk_size || m->disk_size % m->sector_size || m->disk_size > IMAGE_MAX_BYTES)
        return err_set(e, ERR_VHD_DAMAGED,
                       NAME_FMT ": the VHDX metadata gives a disk size of %" PRIu64 " bytes; a multiple of %" PRIu32 " up to %" PRIu64 " is expected", src->name,
                       m->disk_size, m->sector_size, IMAGE_MAX_BYTES);
    return 0;
}

/* ---- blocks ---- */

#define BITMAP_STEP 4096u                            /* of a chunk's bitmap, looked at together */

/* How many sectors from offset on are of the same owner as the first: here, or the parent. */
static int bitmap_run(struct disk *d, uint64_t offset, uint64_t max, bool *ret_here, uint64_t *ret_n, struct err *e)
{
    const struct image_source *src = d->src;
    uint64_t chunk = offset / d->block_bytes / d->chunk_blocks, sector = offset / d->sector_size - (chunk << 23);
    const uint8_t *entry;
    int r = disk_entry(d, chunk * (d->chunk_blocks + 1) + d->chunk_blocks, 8, &entry, e);
    if (r < 0)
        return r;
    uint64_t v = le64(entry), at = (v >> 20) * MIB, step = sector / 8 / BITMAP_STEP;
    if ((v & 7) != VHDX_BITMAP_PRESENT || at > src->size || MIB > src->size - at)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX has a block that is there in part, but not the bitmap that says which part", src->name);
    if (!d->bitmap && !(d->bitmap = malloc(BITMAP_STEP)))
        return err_oom(e);
    uint64_t id = (chunk << 8 | step) + 1;           /* a chunk has 256 steps */
    if (d->bitmap_of != id) {
        d->bitmap_of = 0;
        if ((r = src->read(src->arg, d->bitmap, BITMAP_STEP, at + step * BITMAP_STEP, e)) < 0)
            return r;
        d->bitmap_of = id;
    }
    uint64_t i = sector % (BITMAP_STEP * 8), in_sector = offset % d->sector_size, n = d->sector_size - in_sector;
    bool here = d->bitmap[i / 8] >> i % 8 & 1;
    while (n < max && ++i < BITMAP_STEP * 8 && here == (d->bitmap[i / 8] >> i % 8 & 1))
        n += d->sector_size;
    *ret_n = n < max ? n : max;
    *ret_here = here;
    return 0;
}

static int vhdx_where(struct disk *d, uint64_t offset, uint64_t max, struct disk_piece *ret, struct err *e)
{
    uint64_t block = offset / d->block_bytes, in_block = offset % d->block_bytes;
    uint64_t n = d->block_bytes - in_block < max ? d->block_bytes - in_block : max;
    const uint8_t *entry;
    int r = disk_entry(d, block + block / d->chunk_blocks, 8, &entry, e);
    if (r < 0)
        return r;
    uint64_t v = le64(entry), at = (v >> 20) * MIB + in_block;
    bool here = (v & 7) == VHDX_FULL;
    if ((v & 7) == VHDX_PARTIAL) {
        if ((r = bitmap_run(d, offset, n, &here, &n, e)) < 0)
            return r;
        if (!here) {
            *ret = (struct disk_piece){.kind = PIECE_PARENT, .n = n};
            return 0;
        }
    }
    if (!here) {
        *ret = (struct disk_piece){.kind = d->differencing && (v & 7) == VHDX_NOT_PRESENT ? PIECE_PARENT : PIECE_ZERO, .n = n};
        return 0;
    }
    if (at > d->src->size || n > d->src->size - at)
        return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": block %" PRIu64 " of the VHDX lies past the end of the file", d->src->name, block);
    *ret = (struct disk_piece){.kind = PIECE_FILE, .at = at, .n = n};
    return 0;
}

/* Every stored block must lie in the file, and none may need a parent. */
static int blocks_check(const struct disk *d, uint64_t disk_size, uint64_t entries, struct err *e)
{
    const struct image_source *src = d->src;
    AUTO_FREE uint8_t *buf = malloc(TABLE_BYTES);
    if (!buf)
        return err_oom(e);
    for (uint64_t i = 0; i < entries;) {
        uint64_t left = (entries - i) * 8;
        size_t n = left < TABLE_BYTES ? (size_t)left : TABLE_BYTES;
        int r = src->read(src->arg, buf, n, d->table_offset + i * 8, e);
        if (r < 0)
            return r;
        for (size_t k = 0; k < n; k += 8, i++) {
            if (i % (d->chunk_blocks + 1) == d->chunk_blocks)
                continue;                            /* a bitmap's entry; looked at when a block needs it */
            uint64_t v = le64(buf + k), at = (v >> 20) * MIB, block = i - i / (d->chunk_blocks + 1);
            unsigned state = v & 7;
            if (state == 4 || state == 5 || (state == VHDX_PARTIAL && !d->differencing))
                return err_set(e, ERR_VHD_DAMAGED, NAME_FMT ": the VHDX block table gives block %" PRIu64 " the impossible state %u", src->name, block, state);
            uint64_t rest = disk_size - block * d->block_bytes, need = rest < d->block_bytes ? rest : d->block_bytes;
            if (state >= VHDX_FULL && (at < MIB || at > src->size || need > src->size - at))
                return err_set(e, at >= MIB && at <= 2 * IMAGE_MAX_BYTES ? ERR_SOURCE_TRUNCATED : ERR_VHD_DAMAGED,
                               NAME_FMT ": the VHDX block table puts block %" PRIu64 " at offset %" PRIu64 ", but the file has %" PRIu64 " bytes", src->name, block,
                               at, src->size);
        }
    }
    return 0;
}

int vhdx_probe(const struct image_source *src, struct image_info *info, struct disk *d, struct err *e)
{
    struct region bat = {0}, where = {0};
    struct metadata m = {0};
    int r = header_check(src, d, e);
    if (!r)
        r = regions_read(src, &bat, &where, e);
    if (!r)
        r = metadata_read(src, &where, &m, e);
    if (!r)
        r = metadata_check(src, &m, d->chained, e);
    if (r < 0)
        return r;
    uint64_t blocks = (m.disk_size + m.block_bytes - 1) / m.block_bytes;
    d->chunk_blocks = vhdx_chunk_blocks(m.sector_size, m.block_bytes);
    d->differencing = m.flags & 2;
    d->fixed = m.flags & 1;
    /* 2.5: a differencing disk has an entry for every bitmap, any other ends with its last block's */
    uint64_t entries = d->differencing ? (blocks + d->chunk_blocks - 1) / d->chunk_blocks * (d->chunk_blocks + 1) : blocks + (blocks - 1) / d->chunk_blocks;
    if (entries * 8 > bat.length || entries * 8 > BAT_MAX_BYTES)
        return err_set(e, entries * 8 > bat.length ? ERR_VHD_DAMAGED : ERR_UNSUPPORTED,
                       NAME_FMT ": the VHDX block table at offset %" PRIu64 " has %" PRIu64 " bytes, a disk of %" PRIu64 " bytes in blocks of %" PRIu32 " needs %" PRIu64,
                       src->name, bat.offset, bat.length, m.disk_size, m.block_bytes, entries * 8);
    d->table_offset = bat.offset;
    d->table_bytes = entries * 8;
    d->block_bytes = m.block_bytes;
    d->sector_size = m.sector_size;
    d->where = vhdx_where;
    disk_view(d, src, m.disk_size);
    info->format = IMAGE_VHDX;
    info->virtual_size = m.disk_size;
    info->sector_size = m.sector_size;
    info->block_bytes = m.block_bytes;
    info->fixed = d->fixed;
    info->differencing = d->differencing;
    err_clear(e);
    r = blocks_check(d, m.disk_size, entries, e);
    return !r && d->differencing ? locator_read(src, m.locator_at, m.locator_bytes, d, e) : r;
}

/* Virtual disk files as Windows' parser sees them: VHD ("Virtual Hard Disk Image Format Specification" 1.0) and VHDX ([MS-VHDX]), fixed, dynamic
 * and differencing. Written apart from the product's own reader, so that one can be held against the other. */
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "tests/doubles/wmi/core.h"

#define MIB ((uint64_t)1 << 20)
#define E_FILE_NOT_FOUND 0x80070002u
#define E_FILE_EXISTS 0x80070050u
#define E_DISK_FULL 0x80070070u
#define E_HANDLE_EOF 0x80070026u

/* ---- bytes ---- */

static uint64_t get_be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

static void put_be(uint8_t *p, unsigned n, uint64_t v)
{
    while (n--) {
        p[n] = (uint8_t)v;
        v >>= 8;
    }
}

static uint64_t get_le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static void put_le(uint8_t *p, unsigned n, uint64_t v)
{
    for (; n--; v >>= 8)
        *p++ = (uint8_t)v;
}

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t c = 0xFFFFFFFFu;
    while (n--) {
        c ^= *p++;
        for (unsigned k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0x82F63B78u : 0);
    }
    return ~c;
}

static uint32_t ones_complement(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    while (n--)
        sum += *p++;
    return ~sum;
}

static void guid_bytes(const char *text, uint8_t ret[16])    /* as GUIDs lie in memory on Windows */
{
    unsigned long a;
    unsigned b, c, d[8];
    sscanf(text, "%8lx-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", &a, &b, &c, &d[0], &d[1], &d[2], &d[3], &d[4], &d[5], &d[6], &d[7]);
    put_le(ret, 4, a);
    put_le(ret + 4, 2, b);
    put_le(ret + 6, 2, c);
    for (unsigned i = 0; i < 8; i++)
        ret[8 + i] = (uint8_t)d[i];
}

static void guid_text(const uint8_t g[16], char ret[40])
{
    snprintf(ret, 40, "{%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X}", (unsigned)get_le(g, 4), (unsigned)get_le(g + 4, 2),
             (unsigned)get_le(g + 6, 2), g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

/* UTF-8 to UTF-16, in either order of bytes; returns bytes written. */
static size_t utf16(const char *s, uint8_t *to, size_t room, bool big)
{
    size_t n = 0;
    while (*s && n + 4 <= room) {
        unsigned char c = (unsigned char)*s;
        unsigned more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
        uint32_t u = more == 3 ? c & 7u : more == 2 ? c & 15u : more == 1 ? c & 31u : c;
        for (s++; more && *s; more--, s++)
            u = u << 6 | ((unsigned char)*s & 63u);
        uint32_t units[2] = {u, 0};
        unsigned count = 1;
        if (u >= 0x10000) {
            units[0] = 0xD800 + ((u - 0x10000) >> 10);
            units[1] = 0xDC00 + ((u - 0x10000) & 0x3FF);
            count = 2;
        }
        for (unsigned i = 0; i < count; i++, n += 2)
            (big ? put_be : put_le)(to + n, 2, units[i]);
    }
    return n;
}

static void utf8(const uint8_t *from, size_t bytes, bool big, char *to, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i + 2 <= bytes && n + 5 < room; i += 2) {
        uint32_t u = (uint32_t)(big ? get_be : get_le)(from + i, 2);
        if (!u)
            break;
        if (u >= 0xD800 && u < 0xDC00 && i + 4 <= bytes) {
            i += 2;
            u = 0x10000 + ((u & 0x3FF) << 10) + ((uint32_t)(big ? get_be : get_le)(from + i, 2) & 0x3FF);
        }
        if (u < 0x80) {
            to[n++] = (char)u;
        } else if (u < 0x800) {
            to[n++] = (char)(0xC0 | u >> 6);
            to[n++] = (char)(0x80 | (u & 63));
        } else if (u < 0x10000) {
            to[n++] = (char)(0xE0 | u >> 12);
            to[n++] = (char)(0x80 | (u >> 6 & 63));
            to[n++] = (char)(0x80 | (u & 63));
        } else {
            to[n++] = (char)(0xF0 | u >> 18);
            to[n++] = (char)(0x80 | (u >> 12 & 63));
            to[n++] = (char)(0x80 | (u >> 6 & 63));
            to[n++] = (char)(0x80 | (u & 63));
        }
    }
    to[n] = 0;
}

/* ---- an open disk ---- */

struct disk {
    struct os_file *f;
    struct disk_info info;
    uint64_t file_size;
    uint64_t bat, bat_entries;                         /* dynamic, differencing */
    uint64_t chunk;                                    /* VHDX: payload blocks between two entries for sector bitmaps */
    uint64_t metadata, header[2];                      /* VHDX */
    struct disk *parent;
};

static uint32_t rd(struct disk *k, uint64_t at, void *buf, size_t n)
{
    struct err e;
    return at + n > k->file_size || os_file_pread(k->f, buf, n, at, &e) < 0 ? E_HANDLE_EOF : 0;
}

static uint32_t wr(struct disk *k, uint64_t at, const void *buf, size_t n)
{
    struct err e;
    if (os_file_pwrite(k->f, buf, n, at, &e) < 0)
        return E_DISK_FULL;
    if (at + n > k->file_size)
        k->file_size = at + n;
    return 0;
}

int disk_format_of_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (dot && (str_ieq(dot, ".vhd") || str_ieq(dot, ".avhd")))
        return DISK_VHD;
    return dot && (str_ieq(dot, ".vhdx") || str_ieq(dot, ".avhdx")) ? DISK_VHDX : 0;
}

#define VHD_EPOCH 946684800

static uint32_t stamp_of(const char *path)
{
    struct os_stat st;
    struct err e;
    return os_stat(path, &st, &e) == 0 && st.exists ? (uint32_t)(st.mtime_ms / 1000 - VHD_EPOCH) : 0;
}

static uint32_t probe_vhd(struct disk *k)
{
    uint8_t f[512], h[1024];
    if (k->file_size < 512 || rd(k, k->file_size - 512, f, sizeof f))
        return 0xC03A0001u;
    if (memcmp(f, "conectix", 8) != 0) {
        uint8_t head[8];
        return rd(k, 0, head, 8) == 0 && !memcmp(head, "vhdxfile", 8) ? 0xC03A0014u : 0xC03A0001u;
    }
    uint32_t sum = (uint32_t)get_be(f + 64, 4);
    put_be(f + 64, 4, 0);
    if (ones_complement(f, sizeof f) != sum)
        return 0xC03A0002u;
    struct disk_info *i = &k->info;
    i->format = DISK_VHD;
    i->type = (int)get_be(f + 60, 4);
    i->size = get_be(f + 48, 8);
    i->sector = i->physical_sector = 512;
    memcpy(i->id, f + 68, 16);
    memcpy(i->link, f + 68, 16);
    if (i->type == DISK_FIXED)
        return i->size + 512 == k->file_size ? 0 : 0xC03A0013u;
    if (i->type != DISK_DYNAMIC && i->type != DISK_DIFF)
        return 0xC03A0003u;
    if (rd(k, get_be(f + 16, 8), h, sizeof h) || memcmp(h, "cxsparse", 8) != 0)
        return 0xC03A0006u;
    sum = (uint32_t)get_be(h + 36, 4);
    put_be(h + 36, 4, 0);
    if (ones_complement(h, sizeof h) != sum)
        return 0xC03A0007u;
    k->bat = get_be(h + 16, 8);
    k->bat_entries = get_be(h + 28, 4);
    i->block_size = (uint32_t)get_be(h + 32, 4);
    if (i->block_size != 512 << 10 && i->block_size != 2 << 20)
        return 0xC03A000Bu;
    if (i->type == DISK_DIFF) {
        memcpy(i->parent_link, h + 40, 16);
        i->parent_stamp = (uint32_t)get_be(h + 56, 4);
        for (unsigned n = 0; n < 8; n++) {
            const uint8_t *l = h + 576 + 24 * n;
            uint8_t path[2048];
            uint64_t bytes = get_be(l + 8, 4);
            if (!memcmp(l, "W2ku", 4) && bytes && bytes <= sizeof path && rd(k, get_be(l + 16, 8), path, (size_t)bytes) == 0)
                utf8(path, (size_t)bytes, false, i->parent, sizeof i->parent);
        }
    }
    return 0;
}

static void probe_locator(struct disk *k, uint64_t at, size_t n)
{
    uint8_t *p = x_calloc(n, 1);
    if (rd(k, at, p, n) == 0 && n >= 20)
        for (unsigned i = 0; i < get_le(p + 18, 2) && 20 + 12 * (i + 1) <= n; i++) {
            const uint8_t *e = p + 20 + 12 * i;
            size_t key = (size_t)get_le(e, 4), value = (size_t)get_le(e + 4, 4), key_n = (size_t)get_le(e + 8, 2), value_n = (size_t)get_le(e + 10, 2);
            char name[64], text[1024];
            if (key + key_n > n || value + value_n > n)
                continue;
            utf8(p + key, key_n, false, name, sizeof name);
            utf8(p + value, value_n, false, text, sizeof text);
            if (!strcmp(name, "absolute_win32_path"))
                snprintf(k->info.parent, sizeof k->info.parent, "%s", text);
            else if (!strcmp(name, "parent_linkage") && strlen(text) == 38)
                guid_bytes(text + 1, k->info.parent_link);
        }
    free(p);
}

static uint32_t probe_vhdx(struct disk *k)
{
    uint8_t b[65536], best[4096] = {0};
    static const char guids[][40] = {"2DC27766-F623-4200-9D64-115E9BFD4A08", "8B7CA206-4790-4B9A-B8FE-575F050F886E"};
    uint8_t bat_id[16], metadata_id[16];
    guid_bytes(guids[0], bat_id);
    guid_bytes(guids[1], metadata_id);
    if (k->file_size < MIB || rd(k, 0, b, 8) || memcmp(b, "vhdxfile", 8) != 0)
        return 0xC03A0015u;
    uint64_t newest = 0;
    bool any = false;
    for (unsigned n = 0; n < 2; n++) {
        uint8_t h[4096];
        k->header[n] = 65536 * (n + 1);
        if (rd(k, k->header[n], h, sizeof h) || memcmp(h, "head", 4) != 0)
            continue;
        uint32_t sum = (uint32_t)get_le(h + 4, 4);
        put_le(h + 4, 4, 0);
        if (crc32c(h, sizeof h) != sum || (any && get_le(h + 8, 8) < newest))
            continue;
        any = true;
        newest = get_le(h + 8, 8);
        memcpy(best, h, sizeof h);
    }
    if (!any)
        return 0xC03A0003u;
    memcpy(k->info.link, best + 32, 16);
    if (rd(k, 192 * 1024, b, sizeof b) || memcmp(b, "regi", 4) != 0)
        return 0xC03A0003u;
    uint64_t metadata = 0;
    for (unsigned n = 0; n < get_le(b + 8, 4) && n < 2047; n++) {
        const uint8_t *r = b + 16 + 32 * n;
        if (!memcmp(r, bat_id, 16)) {
            k->bat = get_le(r + 16, 8);
            k->bat_entries = get_le(r + 24, 4) / 8;
        } else if (!memcmp(r, metadata_id, 16)) {
            metadata = get_le(r + 16, 8);
        }
    }
    if (!metadata || !k->bat || rd(k, metadata, b, sizeof b) || memcmp(b, "metadata", 8) != 0)
        return 0xC03A0003u;
    k->metadata = metadata;
    static const char items[][40] = {"CAA16737-FA36-4D43-B3B6-33F0AA44E76B", "2FA54224-CD1B-4876-B211-5DBED83BF4B8", "BECA12AB-B2E6-4523-93EF-C309E000C746",
                                     "8141BF1D-A96F-4709-BA47-F233A8FAAB5F", "CDA348C7-445D-4471-9CC9-E9885251C556", "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C"};
    struct disk_info *i = &k->info;
    i->format = DISK_VHDX;
    unsigned flags = 0;
    for (unsigned n = 0; n < get_le(b + 10, 2) && n < 1023; n++) {
        const uint8_t *m = b + 32 + 32 * n;
        uint64_t at = metadata + get_le(m + 16, 4);
        size_t bytes = (size_t)get_le(m + 20, 4);
        uint8_t v[16] = {0};
        for (unsigned item = 0; item < ARRAY_LEN(items); item++) {
            uint8_t id[16];
            guid_bytes(items[item], id);
            if (memcmp(m, id, 16) != 0)
                continue;
            if (item == 5) {
                probe_locator(k, at, bytes < 65536 ? bytes : 65536);
                continue;
            }
            if (rd(k, at, v, bytes < 16 ? bytes : 16))
                return 0xC03A0010u;
            if (item == 0) {
                i->block_size = (uint32_t)get_le(v, 4);
                flags = (unsigned)get_le(v + 4, 4);
            } else if (item == 1) {
                i->size = get_le(v, 8);
            } else if (item == 2) {
                memcpy(i->id, v, 16);
            } else if (item == 3) {
                i->sector = (uint32_t)get_le(v, 4);
            } else {
                i->physical_sector = (uint32_t)get_le(v, 4);
            }
        }
    }
    if (i->block_size < MIB || (i->block_size & (i->block_size - 1)) || !i->sector)
        return 0xC03A000Bu;
    i->type = flags & 2 ? DISK_DIFF : flags & 1 ? DISK_FIXED : DISK_DYNAMIC;
    k->chunk = ((uint64_t)i->sector << 23) / i->block_size;
    return 0;
}

static void disk_close(struct disk *k)
{
    if (!k)
        return;
    disk_close(k->parent);
    os_file_close(k->f);
    free(k);
}

static uint32_t open_one(const char *path, bool write, struct disk **ret)
{
    struct os_stat st;
    struct err e;
    if (os_stat(path, &st, &e) < 0 || !st.is_file)
        return E_FILE_NOT_FOUND;
    int format = disk_format_of_name(path);
    if (!format)
        return 0xC03A0014u;
    struct disk *k = x_calloc(1, sizeof *k);
    k->file_size = st.size;
    uint32_t h = os_file_open(path, write ? OS_WRITE : OS_READ, &k->f, &e) < 0 ? 0x80070005u : format == DISK_VHD ? probe_vhd(k) : probe_vhdx(k);
    if (h)
        disk_close(k);
    else
        *ret = k;
    return h;
}

uint32_t disk_info_of(const char *path, struct disk_info *ret)
{
    struct disk *k = NULL;
    uint32_t h = open_one(path, false, &k);
    memset(ret, 0, sizeof *ret);
    if (h == 0)
        *ret = k->info;
    disk_close(k);
    return h;
}

/* With its parents, each of which must be the one that the child remembers. */
static uint32_t disk_open(const char *path, bool write, unsigned depth, struct disk **ret)
{
    struct disk *k = NULL;
    uint32_t h = depth > 64 ? 0xC03A0018u : open_one(path, write, &k);
    if (h)
        return h;
    if (k->info.type == DISK_DIFF) {
        h = disk_open(k->info.parent, false, depth + 1, &k->parent);
        if (h == E_FILE_NOT_FOUND)
            h = 0xC03A000Du;
        if (!h && memcmp(k->info.parent_link, k->parent->info.link, 16) != 0)
            h = 0xC03A000Eu;
        if (!h && k->info.format == DISK_VHD && k->info.parent_stamp != stamp_of(k->info.parent))
            h = 0xC03A000Fu;
        if (!h && k->info.size != k->parent->info.size && k->info.format == DISK_VHD)
            h = 0xC03A0017u;
    }
    if (h)
        disk_close(k);
    else
        *ret = k;
    return h;
}

uint32_t disk_check_chain(const char *path)
{
    struct disk *k = NULL;
    uint32_t h = disk_open(path, false, 0, &k);
    disk_close(k);
    return h;
}

/* ---- blocks ---- */

static uint64_t bitmap_bytes(const struct disk *k)
{
    return (k->info.block_size / 512 / 8 + 511) / 512 * 512;
}

/* Where a block's data lies in the file; 0: not here. */
static uint32_t find_block(struct disk *k, uint64_t block, uint64_t *ret)
{
    uint8_t e[8];
    *ret = 0;
    if (k->info.format == DISK_VHD) {
        uint32_t h = rd(k, k->bat + 4 * block, e, 4);
        if (!h && get_be(e, 4) != 0xFFFFFFFFu)
            *ret = get_be(e, 4) * 512 + bitmap_bytes(k);
        return h;
    }
    uint32_t h = rd(k, k->bat + 8 * (block + block / k->chunk), e, 8);
    uint64_t v = get_le(e, 8);
    if (!h && (v & 7) == 6)
        *ret = v >> 20 << 20;
    return h ? h : (v & 7) == 7 ? 0xC03A000Au : 0;     /* a block in part: we never write one */
}

static uint32_t read_at(struct disk *k, uint64_t at, uint8_t *buf, size_t n)
{
    if (k->info.type == DISK_FIXED && k->info.format == DISK_VHD)
        return rd(k, at, buf, n);
    while (n) {
        uint64_t block = at / k->info.block_size, in = at % k->info.block_size, where;
        size_t part = k->info.block_size - in < n ? (size_t)(k->info.block_size - in) : n;
        uint32_t h = find_block(k, block, &where);
        if (!h && where)
            h = rd(k, where + in, buf, part);
        else if (!h && k->parent && at < k->parent->info.size)
            h = read_at(k->parent, at, buf, part);
        else
            memset(buf, 0, part);
        if (h)
            return h;
        at += part;
        buf += part;
        n -= part;
    }
    return 0;
}

static uint32_t write_bat(struct disk *k, uint64_t block, uint64_t where)
{
    uint8_t e[8];
    if (k->info.format == DISK_VHD) {
        put_be(e, 4, where / 512);
        return wr(k, k->bat + 4 * block, e, 4);
    }
    put_le(e, 8, where | 6);
    return wr(k, k->bat + 8 * (block + block / k->chunk), e, 8);
}

#define STEP ((size_t)1 << 20)

/* A new block at the end of the file, with what was to be read there before; zeros are left to the file system. */
static uint32_t add_block(struct disk *k, uint64_t block, uint64_t *ret)
{
    uint64_t n = k->info.block_size, start = block * n, end = start + n < k->info.size ? start + n : k->info.size, where, data;
    uint8_t *buf = x_calloc(STEP, 1), footer[512];
    struct err e;
    uint32_t h = 0;
    if (k->info.format == DISK_VHD) {
        uint64_t bits = bitmap_bytes(k);
        where = k->file_size - 512;                    /* the footer moves on; the bitmap, a sector at least, takes its place */
        data = where + bits;
        memset(buf, 0xFF, (size_t)bits);
        h = rd(k, where, footer, sizeof footer);
        h = h ? h : wr(k, where, buf, (size_t)bits);
        h = h ? h : wr(k, data + n, footer, sizeof footer);
    } else {
        where = data = (k->file_size + MIB - 1) / MIB * MIB;
        if (os_file_truncate(k->f, data + n, &e) < 0)
            h = E_DISK_FULL;
        k->file_size = data + n;
    }
    for (uint64_t at = start; !h && at < end; at += STEP) {
        size_t part = end - at < STEP ? (size_t)(end - at) : STEP;
        h = read_at(k, at, buf, part);
        if (!h && !mem_is_zero(buf, part))
            h = wr(k, data + at - start, buf, part);
    }
    free(buf);
    h = h ? h : write_bat(k, block, where);
    *ret = data;
    return h;
}

static uint32_t write_at(struct disk *k, uint64_t at, const uint8_t *buf, size_t n)
{
    if (k->info.type == DISK_FIXED && k->info.format == DISK_VHD)
        return wr(k, at, buf, n);
    while (n) {
        uint64_t block = at / k->info.block_size, in = at % k->info.block_size, where;
        size_t part = k->info.block_size - in < n ? (size_t)(k->info.block_size - in) : n;
        uint32_t h = find_block(k, block, &where);
        if (!h && !where)
            h = add_block(k, block, &where);
        if (!h)
            h = wr(k, where + in, buf, part);
        if (h)
            return h;
        at += part;
        buf += part;
        n -= part;
    }
    return 0;
}

/* A header with a new mark: who remembers the old one is no child of this file any more. */
static uint32_t write_header(struct disk *k, const uint8_t link[16])
{
    uint8_t h[4096] = "head";
    uint8_t old[4096];
    uint64_t sequence = rd(k, 65536, old, sizeof old) == 0 ? get_le(old + 8, 8) + 2 : 2;
    for (unsigned n = 0; n < 2; n++) {
        memset(h + 4, 0, sizeof h - 4);
        put_le(h + 8, 8, sequence + n);
        memcpy(h + 16, link, 16);
        memcpy(h + 32, link, 16);
        put_le(h + 66, 2, 1);
        put_le(h + 68, 4, MIB);
        put_le(h + 72, 8, MIB);
        put_le(h + 4, 4, crc32c(h, sizeof h));
        uint32_t r = wr(k, 65536 * (n + 1), h, sizeof h);
        if (r)
            return r;
    }
    return 0;
}

static void fresh_guid(uint8_t g[16])
{
    struct err e;
    os_random(g, 16, &e);
    g[7] = (uint8_t)((g[7] & 15) | 0x40);
    g[8] = (uint8_t)((g[8] & 63) | 0x80);
}

uint32_t disk_write(const char *path, uint64_t offset, const void *data, size_t n)
{
    struct disk *k = NULL;
    uint32_t h = disk_open(path, true, 0, &k);
    if (!h && (offset > k->info.size || n > k->info.size - offset))
        h = E_HANDLE_EOF;
    if (!h)
        h = write_at(k, offset, data, n);
    if (!h && k->info.format == DISK_VHDX) {
        uint8_t link[16];
        fresh_guid(link);
        h = write_header(k, link);
    }
    disk_close(k);
    return h;
}

uint32_t disk_read(const char *path, uint64_t offset, void *data, size_t n)
{
    struct disk *k = NULL;
    uint32_t h = disk_open(path, false, 0, &k);
    if (!h && (offset > k->info.size || n > k->info.size - offset))
        h = E_HANDLE_EOF;
    if (!h)
        h = read_at(k, offset, data, n);
    disk_close(k);
    return h;
}

/* ---- making ---- */

static void make_footer(uint8_t f[512], int type, uint64_t size, const uint8_t id[16])
{
    memset(f, 0, 512);
    memcpy(f, "conectix", 8);
    put_be(f + 8, 4, 2);
    put_be(f + 12, 4, 0x10000);
    put_be(f + 16, 8, type == DISK_FIXED ? UINT64_MAX : 512);
    memcpy(f + 28, "win ", 4);
    put_be(f + 32, 4, 0xA0000);
    memcpy(f + 36, "Wi2k", 4);
    put_be(f + 40, 8, size);
    put_be(f + 48, 8, size);
    put_be(f + 56, 4, 0xFFFF10FFu);                    /* geometry: the largest there is */
    put_be(f + 60, 4, (uint64_t)type);
    memcpy(f + 68, id, 16);
    put_be(f + 64, 4, ones_complement(f, 512));
}

static uint32_t create_vhd(struct disk *k, int type, uint64_t size, const struct disk_info *parent, const char *parent_path, uint32_t block)
{
    uint8_t footer[512], h[1024] = "cxsparse", locator[2048] = {0}, id[16];
    struct err e;
    fresh_guid(id);
    make_footer(footer, type, size, id);
    if (type == DISK_FIXED)
        return os_file_truncate(k->f, size, &e) < 0 ? E_DISK_FULL : wr(k, size, footer, sizeof footer);
    uint64_t entries = (size + block - 1) / block, bat_bytes = (entries * 4 + 511) / 512 * 512;
    uint64_t bat = 512 + 1024 + (parent ? sizeof locator : 0);
    put_be(h + 8, 8, UINT64_MAX);
    put_be(h + 16, 8, bat);
    put_be(h + 24, 4, 0x10000);
    put_be(h + 28, 4, entries);
    put_be(h + 32, 4, block);
    if (parent) {
        const char *base = os_path_base(parent_path);
        size_t n = utf16(parent_path, locator, sizeof locator, false);
        memcpy(h + 40, parent->link, 16);
        put_be(h + 56, 4, stamp_of(parent_path));
        utf16(base, h + 64, 510, true);
        memcpy(h + 576, "W2ku", 4);
        put_be(h + 580, 4, sizeof locator);
        put_be(h + 584, 4, n);
        put_be(h + 592, 8, 512 + 1024);
    }
    put_be(h + 36, 4, ones_complement(h, sizeof h));
    uint32_t r = wr(k, 0, footer, sizeof footer);
    r = r ? r : wr(k, 512, h, sizeof h);
    if (!r && parent)
        r = wr(k, 512 + 1024, locator, sizeof locator);
    uint8_t *empty = x_calloc((size_t)bat_bytes, 1);
    memset(empty, 0xFF, (size_t)bat_bytes);
    r = r ? r : wr(k, bat, empty, (size_t)bat_bytes);
    free(empty);
    return r ? r : wr(k, bat + bat_bytes, footer, sizeof footer);
}

/* Item of the metadata table: values lie 64 KiB behind its start, one after the other. */
static void metadata_item(uint8_t *table, unsigned *n, size_t *at, const char *guid, const void *value, size_t bytes, unsigned flags)
{
    uint8_t *m = table + 32 + 32 * *n;
    guid_bytes(guid, m);
    put_le(m + 16, 4, *at);
    put_le(m + 20, 4, bytes);
    put_le(m + 24, 4, flags);
    memcpy(table + *at, value, bytes);
    *at += (bytes + 7) / 8 * 8;
    put_le(table + 10, 2, ++*n);
}

static size_t make_locator(uint8_t *p, size_t room, const uint8_t link[16], const char *path)
{
    char linkage[40];
    guid_text(link, linkage);
    for (char *s = linkage; *s; s++)
        *s = *s >= 'A' && *s <= 'F' ? (char)(*s + 32) : *s;
    AUTO_FREE char *relative = x_printf(".\\%s", os_path_base(path));
    const char *pairs[][2] = {{"parent_linkage", linkage}, {"relative_path", relative}, {"absolute_win32_path", path}};
    memset(p, 0, room);
    guid_bytes("B04AEFB7-D19E-4A81-B789-25B8E9445913", p);
    put_le(p + 18, 2, ARRAY_LEN(pairs));
    size_t at = 20 + 12 * ARRAY_LEN(pairs);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        for (unsigned v = 0; v < 2; v++) {
            size_t n = utf16(pairs[i][v], p + at, room - at, false);
            put_le(p + 20 + 12 * i + 4 * v, 4, at);
            put_le(p + 20 + 12 * i + 8 + 2 * v, 2, n);
            at += n;
        }
    return at;
}

static uint32_t write_metadata(struct disk *k, uint64_t at, int type, const struct disk_info *own, const uint8_t parent_link[16], const char *parent)
{
    uint8_t *table = x_calloc((size_t)MIB, 1), v[8], locator[4096];
    unsigned n = 0;
    size_t value = 65536;
    memcpy(table, "metadata", 8);
    put_le(v, 4, own->block_size);
    put_le(v + 4, 4, type == DISK_DIFF ? 2 : type == DISK_FIXED ? 1 : 0);
    metadata_item(table, &n, &value, "CAA16737-FA36-4D43-B3B6-33F0AA44E76B", v, 8, 4);
    put_le(v, 8, own->size);
    metadata_item(table, &n, &value, "2FA54224-CD1B-4876-B211-5DBED83BF4B8", v, 8, 6);
    metadata_item(table, &n, &value, "BECA12AB-B2E6-4523-93EF-C309E000C746", own->id, 16, 6);
    put_le(v, 4, own->sector);
    metadata_item(table, &n, &value, "8141BF1D-A96F-4709-BA47-F233A8FAAB5F", v, 4, 6);
    put_le(v, 4, own->physical_sector);
    metadata_item(table, &n, &value, "CDA348C7-445D-4471-9CC9-E9885251C556", v, 4, 6);
    if (type == DISK_DIFF)
        metadata_item(table, &n, &value, "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", locator, make_locator(locator, sizeof locator, parent_link, parent), 4);
    uint32_t r = wr(k, at, table, value < MIB ? value : (size_t)MIB);      /* the rest of it is zero */
    free(table);
    return r;
}

static uint32_t create_vhdx(struct disk *k, int type, uint64_t size, const struct disk_info *parent, const char *parent_path, uint32_t block,
                            uint32_t sector)
{
    uint8_t id[64] = "vhdxfile", region[65536] = "regi", link[16];
    struct disk_info own = {.size = size, .block_size = block, .sector = sector, .physical_sector = 4096};
    fresh_guid(own.id);
    fresh_guid(link);
    uint64_t payload = (size + block - 1) / block, chunk = ((uint64_t)sector << 23) / block;
    uint64_t entries = type == DISK_DIFF ? (payload + chunk - 1) / chunk * (chunk + 1) : payload + (payload ? (payload - 1) / chunk : 0);
    uint64_t bat_bytes = (entries * 8 + MIB - 1) / MIB * MIB;
    put_le(region + 8, 4, 2);
    guid_bytes("2DC27766-F623-4200-9D64-115E9BFD4A08", region + 16);
    put_le(region + 32, 8, 3 * MIB);
    put_le(region + 40, 4, bat_bytes);
    put_le(region + 44, 4, 1);
    guid_bytes("8B7CA206-4790-4B9A-B8FE-575F050F886E", region + 48);
    put_le(region + 64, 8, 2 * MIB);
    put_le(region + 72, 4, MIB);
    put_le(region + 76, 4, 1);
    put_le(region + 4, 4, crc32c(region, sizeof region));
    uint32_t r = wr(k, 0, id, sizeof id);
    r = r ? r : write_header(k, link);
    r = r ? r : wr(k, 192 * 1024, region, sizeof region);
    r = r ? r : wr(k, 256 * 1024, region, sizeof region);
    r = r ? r : write_metadata(k, 2 * MIB, type, &own, parent ? parent->link : link, parent_path);
    struct err e;
    if (!r && os_file_truncate(k->f, 3 * MIB + bat_bytes, &e) < 0)
        r = E_DISK_FULL;
    k->file_size = 3 * MIB + bat_bytes;
    return r;
}

uint32_t disk_create(const char *path, int format, int type, uint64_t size, const char *parent_path, uint32_t block, uint32_t sector)
{
    struct disk_info parent = {0};
    struct os_stat st;
    struct err e;
    if (disk_format_of_name(path) != format)
        return 0xC03A0014u;
    if (type == DISK_DIFF) {
        uint32_t h = disk_info_of(parent_path, &parent);
        if (h == E_FILE_NOT_FOUND)
            h = 0xC03A000Du;
        h = h ? h : disk_check_chain(parent_path);
        if (!h && parent.format != format)             /* a child has its parent's format */
            h = 0xC03A0014u;
        if (h)
            return h;
        size = parent.size;
        sector = parent.sector;
    }
    sector = sector ? sector : 512;
    if (!size || size % sector)
        return 0xC03A0012u;
    if (format == DISK_VHD && size > (uint64_t)2040 << 30)
        return 0xC03A0012u;
    block = block ? block : format == DISK_VHD ? 2u << 20 : type == DISK_DIFF ? 2u << 20 : 32u << 20;
    bool block_fits = format == DISK_VHD ? block == 512 << 10 || block == 2 << 20
                                         : block >= MIB && block <= 256 * MIB && !(block & (block - 1));
    if (!block_fits)
        return 0xC03A000Bu;
    if (os_stat(path, &st, &e) < 0 || st.exists)
        return E_FILE_EXISTS;
    struct disk *k = x_calloc(1, sizeof *k);
    uint32_t h = 0x80070003u;
    if (os_file_open(path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &k->f, &e) == 0) {
        const struct disk_info *p = type == DISK_DIFF ? &parent : NULL;
        h = format == DISK_VHD ? create_vhd(k, type, size, p, parent_path, block) : create_vhdx(k, type, size, p, parent_path, block, sector);
    }
    disk_close(k);
    if (h && h != 0x80070003u)
        os_remove(path, &e);
    return h;
}

/* Whole contents of `from` into `to`, what is zero left out. */
static uint32_t copy(struct disk *from, struct disk *to)
{
    uint8_t *buf = x_calloc(STEP, 1);
    uint32_t h = 0;
    for (uint64_t at = 0; !h && at < from->info.size; at += STEP) {
        size_t n = from->info.size - at < STEP ? (size_t)(from->info.size - at) : STEP;
        h = read_at(from, at, buf, n);
        if (!h && !mem_is_zero(buf, n))
            h = write_at(to, at, buf, n);
    }
    free(buf);
    return h;
}

uint32_t disk_convert(const char *from_path, const char *to_path, int format, int type)
{
    struct disk *from = NULL, *to = NULL;
    uint32_t h = disk_open(from_path, false, 0, &from);
    if (!h)
        h = disk_create(to_path, format, type, from->info.size, NULL, 0, from->info.sector);
    bool made = !h;
    h = h ? h : disk_open(to_path, true, 0, &to);
    h = h ? h : copy(from, to);
    disk_close(from);
    disk_close(to);
    struct err e;
    if (h && made)
        os_remove(to_path, &e);
    return h;
}

uint32_t disk_merge(const char *child_path, const char *into_path)
{
    struct disk *child = NULL, *into = NULL;
    uint32_t h = disk_open(child_path, false, 0, &child);
    if (!h)
        h = disk_open(into_path, true, 0, &into);
    uint64_t block = h ? 0 : child->info.block_size;
    uint8_t *buf = x_calloc((size_t)block + 1, 1);
    for (uint64_t n = 0; !h && n * block < child->info.size; n++) {
        bool above = false;                            /* does anything between the two hold a part of it? */
        for (struct disk *k = child; !h && !above && k->info.type == DISK_DIFF; k = k->parent) {
            uint64_t where, first = n * block / k->info.block_size, last = (n * block + block - 1) / k->info.block_size;
            for (uint64_t b = first; !h && b <= last && b * k->info.block_size < k->info.size; b++) {
                h = find_block(k, b, &where);
                above = above || where;
            }
            if (same_file(k->info.parent, into_path))
                break;
        }
        size_t bytes = child->info.size - n * block < block ? (size_t)(child->info.size - n * block) : (size_t)block;
        if (!h && above && (h = read_at(child, n * block, buf, bytes)) == 0)
            h = write_at(into, n * block, buf, bytes);
    }
    if (!h && into->info.format == DISK_VHDX) {
        uint8_t link[16];
        fresh_guid(link);
        h = write_header(into, link);
    }
    free(buf);
    disk_close(child);
    disk_close(into);
    return h;
}

uint32_t disk_reparent(const char *path, const char *parent_path)
{
    struct disk *k = NULL;
    struct disk_info parent;
    uint32_t h = open_one(path, true, &k);
    h = h ? h : disk_info_of(parent_path, &parent);
    if (!h && k->info.format == DISK_VHDX)
        h = write_metadata(k, k->metadata, DISK_DIFF, &k->info, parent.link, parent_path);
    else if (!h) {
        uint8_t hd[1024], locator[2048] = {0};
        size_t n = utf16(parent_path, locator, sizeof locator, false);
        if ((h = rd(k, 512, hd, sizeof hd)) == 0) {
            memcpy(hd + 40, parent.link, 16);
            put_be(hd + 56, 4, stamp_of(parent_path));
            put_be(hd + 584, 4, n);
            put_be(hd + 36, 4, 0);
            put_be(hd + 36, 4, ones_complement(hd, sizeof hd));
            h = wr(k, 512, hd, sizeof hd);
            h = h ? h : wr(k, get_be(hd + 592, 8), locator, sizeof locator);
        }
    }
    disk_close(k);
    return h;
}

/* XFS: one of an allocation group's two B+trees of free extents, walked level by level along the siblings. */
#include <string.h>

#include "storage/image/fsmap_xfs.h"

#define LEVELS_MAX 9
#define NO_BLOCK UINT32_MAX
#define HEADER(x) ((x)->v5 ? 56u : 16u)

struct walk {
    struct xfs *x;
    uint32_t ag, length;
    bool by_size;
    uint8_t *block;
    uint32_t count, start;                           /* the last extent, for the order */
    bool any;
};

static int block_read(struct walk *w, uint32_t number, uint32_t level, uint32_t left, struct err *e)
{
    struct xfs *x = w->x;
    uint8_t *b = w->block;
    uint64_t at = ((uint64_t)w->ag * x->ag_blocks + number) * x->block;
    if (number >= w->length)
        return volume_refuse(x->v, "a tree of free space in group %u leads out of it", w->ag);
    int r = volume_read(x->v, b, x->block, at, e);
    if (r)
        return r;
    const char *magic = x->v5 ? w->by_size ? "AB3C" : "AB3B" : w->by_size ? "ABTC" : "ABTB";
    uint32_t record = level ? 12 : 8, records = (uint32_t)(b[6] << 8 | b[7]);
    if (memcmp(b, magic, 4) || (uint32_t)(b[4] << 8 | b[5]) != level || be32(b + 8) != left || records > (x->block - HEADER(x)) / record)
        return volume_refuse(x->v, "block %u of a tree of free space in group %u is damaged", number, w->ag);
    if (x->v5 && (be64(b + 16) != at / 512 || be32(b + 48) != w->ag || memcmp(b + 32, x->uuid, 16) || fsmap_crc32c(b, x->block, 52) != le32(b + 52)))
        return volume_refuse(x->v, "the checksum or place of block %u in a tree of free space in group %u is wrong", number, w->ag);
    return volume_metadata(x->v, at, at + x->block, e);
}

/* Mixes an extent so that sums of mixes are the same only for the same extents. */
static uint64_t mix(uint32_t start, uint32_t count)
{
    uint64_t h = ((uint64_t)start << 32 | count) + UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    return h ^ h >> 31;
}

static int leaf_take(struct walk *w, struct xfs_free *ret, struct err *e)
{
    struct xfs *x = w->x;
    uint32_t records = (uint32_t)(w->block[6] << 8 | w->block[7]);
    uint64_t base = (uint64_t)w->ag * x->ag_blocks;
    for (uint32_t i = 0; i < records; i++) {
        const uint8_t *p = w->block + HEADER(x) + i * 8;
        uint32_t start = be32(p), count = be32(p + 4);
        if (!count || start >= w->length || count > w->length - start)
            return volume_refuse(x->v, "a free extent of group %u leads out of it", w->ag);
        bool order = w->by_size ? count > w->count || (count == w->count && start > w->start) : start > w->start && start - w->start > w->count;
        if (w->any && !order)
            return volume_refuse(x->v, "the free extents of group %u are out of order", w->ag);
        w->any = true;
        w->start = start;
        w->count = count;
        ret->extents++;
        ret->blocks += count;
        ret->mix += mix(start, count);
        ret->longest = count > ret->longest ? count : ret->longest;
        if (!w->by_size && !free_list_add(&ret->spans, (base + start) * x->block, (base + start + count) * x->block))
            return err_oom(e);
    }
    return 0;
}

int xfs_tree_walk(struct xfs *x, uint32_t ag, uint32_t length, uint32_t root, uint32_t levels, bool by_size, struct xfs_free *ret, struct err *e)
{
    if (!levels || levels > LEVELS_MAX)
        return volume_refuse(x->v, "a tree of free space in group %u has %u levels", ag, levels);
    AUTO_FREE uint8_t *block = malloc(x->block);
    if (!block)
        return err_oom(e);
    struct walk w = {.x = x, .ag = ag, .length = length, .by_size = by_size, .block = block};
    uint32_t first = root;
    uint64_t expected = 1;
    for (uint32_t level = levels; level-- > 0;) {
        uint32_t next = first, left = NO_BLOCK;
        uint64_t seen = 0, children = 0;
        while (next != NO_BLOCK) {
            int r = ++seen > expected ? volume_refuse(x->v, "a tree of free space in group %u has stray blocks", ag) : block_read(&w, next, level, left, e);
            if (r)
                return r;
            uint32_t records = (uint32_t)(block[6] << 8 | block[7]);
            if (level && !records)
                return volume_refuse(x->v, "a tree of free space in group %u has an empty block", ag);
            if (seen == 1 && level)
                first = be32(block + HEADER(x) + (x->block - HEADER(x)) / 12 * 8);
            children += records;
            left = next;
            next = be32(block + 12);
            if (!level && (r = leaf_take(&w, ret, e)))
                return r;
        }
        if (seen != expected)
            return volume_refuse(x->v, "a tree of free space in group %u lacks blocks", ag);
        ret->tree_blocks += (uint32_t)seen;
        expected = children;
    }
    return 0;
}

/* XFS: each allocation group has its free extents in two B+trees, by block number and by size.
 *
 * Believed when the log was ended by an unmount, every group's header and trees pass their checksums (v5), both trees hold the same extents,
 * their sums are those of the group's header, and the groups' sums that of the superblock.
 * Source: "XFS Algorithms & Data Structures", 3rd edition; Linux, fs/xfs/libxfs/xfs_format.h. */
#include <string.h>

#include "storage/image/fsmap_xfs.h"

#define SECTOR_MAX 4096
#define GROUPS_MAX 65536
#define INCOMPAT_KNOWN (1u | 2 | 4 | 8 | 0x20 | 0x40 | 0x80)           /* ftype, sparse inodes, meta_uuid, bigtime, nrext64, exchange, parent */
#define INCOMPAT_META_UUID 4u
#define RO_COMPAT_KNOWN 0xfu                                           /* finobt, rmapbt, reflink, inobtcnt */
#define RO_COMPAT_RMAP 2u
#define FEATURES2_LAZY 2u

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static int super_features(struct xfs *x, const uint8_t *b)
{
    struct volume *v = x->v;
    uint16_t version = be16(b + 100);
    x->v5 = (version & 15) == 5;
    if ((version & 15) != 4 && !x->v5)
        return volume_refuse(v, "its version is %u", version & 15);
    if (!(version & 0x8000) || !(be32(b + 200) & FEATURES2_LAZY) || be32(b + 200) != be32(b + 204))
        return volume_refuse(v, "it does not count its free blocks by group");
    memcpy(x->log_uuid, b + 32, 16);
    memcpy(x->uuid, b + 32, 16);
    if (!x->v5)
        return 0;
    uint32_t ro = be32(b + 212), incompat = be32(b + 216);
    if (incompat & ~INCOMPAT_KNOWN || ro & ~RO_COMPAT_KNOWN || be32(b + 220) & ~1u)
        return volume_refuse(v, "it has features that are not known, or needs repair (%#x, %#x, %#x)", incompat, ro, be32(b + 220));
    if (fsmap_crc32c(b, x->sector, 224) != le32(b + 224))
        return volume_refuse(v, "the superblock's checksum is wrong");
    x->rmap = ro & RO_COMPAT_RMAP;
    if (incompat & INCOMPAT_META_UUID)
        memcpy(x->uuid, b + 248, 16);
    return 0;
}

static int super_read(struct xfs *x, struct err *e)
{
    struct volume *v = x->v;
    uint8_t b[SECTOR_MAX];
    int r = volume_read(v, b, 512, 0, e);
    if (r)
        return r;
    x->block = be32(b + 4);
    x->sector = be16(b + 102);
    x->blocks = be64(b + 8);
    x->ag_blocks = be32(b + 84);
    x->ag_count = be32(b + 88);
    x->ag_log = b[124];
    x->log_blocks = be32(b + 96);
    x->free_blocks = be64(b + 144);
    if (x->block < 512 || x->block > 65536 || x->block & (x->block - 1) || x->sector < 512 || x->sector > SECTOR_MAX || x->sector & (x->sector - 1) ||
        x->sector > x->block)
        return volume_refuse(v, "the superblock's block or sector size makes no sense");
    if ((r = volume_read(v, b, x->sector, 0, e)) || (r = super_features(x, b)))
        return r;
    if (!x->blocks || x->blocks > v->size / x->block || !x->ag_count || x->ag_count > GROUPS_MAX || x->ag_blocks < 64 || x->ag_log > 31 ||
        x->ag_blocks > UINT64_C(1) << x->ag_log || (x->ag_log && x->ag_blocks <= UINT64_C(1) << (x->ag_log - 1)) ||
        x->blocks > (uint64_t)x->ag_count * x->ag_blocks || x->blocks <= (uint64_t)(x->ag_count - 1) * x->ag_blocks || x->free_blocks > x->blocks)
        return volume_refuse(v, "it says to have %llu blocks in %u groups, which do not fit the volume", (unsigned long long)x->blocks, x->ag_count);
    if (b[126])
        return volume_refuse(v, "it is being made or grown");
    if (be64(b + 16) || be64(b + 24))
        return volume_refuse(v, "it has a realtime section");
    uint64_t log = be64(b + 48), group = log >> x->ag_log, in_group = log & ((UINT64_C(1) << x->ag_log) - 1);
    if (!log)
        return volume_refuse(v, "its log is on another device");
    uint64_t first = group * x->ag_blocks + in_group;
    if (group >= x->ag_count || in_group >= x->ag_blocks || x->log_blocks < 64 || x->log_blocks > x->ag_blocks || first + x->log_blocks > x->blocks)
        return volume_refuse(v, "its log's place makes no sense");
    x->log_at = first * x->block;
    return 0;
}

static int group_header_read(struct xfs *x, uint32_t ag, uint32_t length, uint8_t *b, struct err *e)
{
    uint64_t at = (uint64_t)ag * x->ag_blocks * x->block;
    uint32_t prealloc = (4 * x->sector + x->block - 1) / x->block;
    int r = volume_read(x->v, b, x->sector, at + x->sector, e);
    if (r)
        return r;
    if (memcmp(b, "XAGF", 4) || be32(b + 4) != 1 || be32(b + 8) != ag || be32(b + 12) != length)
        return volume_refuse(x->v, "the header of group %u is damaged", ag);
    if (x->v5 && (memcmp(b + 64, x->uuid, 16) || fsmap_crc32c(b, x->sector, 216) != le32(b + 216)))
        return volume_refuse(x->v, "the checksum or id in the header of group %u is wrong", ag);
    return volume_metadata(x->v, at, at + (uint64_t)prealloc * x->block, e);
}

static int group_compare(struct xfs *x, uint32_t ag, const uint8_t *b, const struct xfs_free *n, const struct xfs_free *s)
{
    uint32_t rmap = x->rmap ? be32(b + 80) - 1 : 0, blocks = n->tree_blocks + s->tree_blocks - 2 + rmap;
    if (n->extents != s->extents || n->blocks != s->blocks || n->mix != s->mix)
        return volume_refuse(x->v, "the two trees of free space in group %u differ", ag);
    if (n->blocks != be32(b + 52) || n->longest != be32(b + 56) || blocks != be32(b + 60))
        return volume_refuse(x->v, "the free space in group %u is not what its header says", ag);
    return 0;
}

static int group_read(struct xfs *x, uint32_t ag, uint64_t *free_blocks, struct err *e)
{
    uint8_t b[SECTOR_MAX];
    uint64_t left = x->blocks - (uint64_t)ag * x->ag_blocks;
    uint32_t length = left < x->ag_blocks ? (uint32_t)left : x->ag_blocks;
    struct xfs_free by_number = {0}, by_size = {0};
    volume_must_forget(x->v);
    int r = group_header_read(x, ag, length, b, e);
    if (!r && x->log_at / x->block / x->ag_blocks == ag)
        r = volume_metadata(x->v, x->log_at, x->log_at + (uint64_t)x->log_blocks * x->block, e);
    if (!r)
        r = xfs_tree_walk(x, ag, length, be32(b + 20), be32(b + 32), true, &by_size, e);
    if (!r)
        r = xfs_tree_walk(x, ag, length, be32(b + 16), be32(b + 28), false, &by_number, e);
    if (!r)
        r = group_compare(x, ag, b, &by_number, &by_size);
    for (size_t i = 0; !r && i < by_number.spans.spans.n; i++)
        r = volume_declare_free(x->v, by_number.spans.spans.list[i].start, by_number.spans.spans.list[i].end, e);
    list_free(&by_number.spans.spans);
    if (!r)
        *free_blocks += (uint64_t)be32(b + 52) + be32(b + 48) + be32(b + 60);    /* as the superblock counts: with free list and trees */
    return r;
}

int fsmap_xfs(struct volume *v, struct err *e)
{
    struct xfs x = {.v = v};
    uint64_t free_blocks = 0;
    int r = super_read(&x, e);
    if (!r)
        r = xfs_log_check(&x, e);
    for (uint32_t ag = 0; !r && ag < x.ag_count; ag++)
        r = group_read(&x, ag, &free_blocks, e);
    if (!r && free_blocks != x.free_blocks)
        return volume_refuse(v, "the superblock says %llu free blocks, the groups %llu", (unsigned long long)x.free_blocks, (unsigned long long)free_blocks);
    return r;
}

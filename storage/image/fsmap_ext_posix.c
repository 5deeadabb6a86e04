/* ext2, ext3, ext4 through libext2fs (LGPL-2, a shared library): block bitmaps, one block group at a time.
 *
 * The library opens the file system over our ranged reads; what of it grows with the file system are the group descriptors, which are
 * bounded before it sees the superblock. Its own loading of bitmaps is not used: its memory grows with the fragments.
 * Believed when: all features are known, it was unmounted without errors, its journal is inside and empty, checksums (where it has them) are
 * right, each group's count of free blocks is that of its bitmap and their sum the superblock's, and no group's metadata is called free.
 * Sources: libext2fs's header; Linux, Documentation/filesystems/ext4/ (layout, what uninitialised groups mean). */
#include <ext2fs/ext2fs.h>
#include <string.h>

#include "storage/image/fsmap_volume.h"

#define DESCRIPTORS_MAX_BYTES (16u << 20)            /* 32 TiB in blocks of 4 KiB */
#define JOURNAL_MAGIC 0xc03b3998u
#define COMPAT_KNOWN (EXT2_FEATURE_COMPAT_DIR_PREALLOC | EXT3_FEATURE_COMPAT_HAS_JOURNAL | EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_RESIZE_INODE | \
                      EXT2_FEATURE_COMPAT_DIR_INDEX | EXT4_FEATURE_COMPAT_SPARSE_SUPER2 | EXT4_FEATURE_COMPAT_FAST_COMMIT | \
                      EXT4_FEATURE_COMPAT_STABLE_INODES | EXT4_FEATURE_COMPAT_ORPHAN_FILE)
#define RO_COMPAT_KNOWN (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | EXT4_FEATURE_RO_COMPAT_HUGE_FILE | \
                         EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | \
                         EXT4_FEATURE_RO_COMPAT_QUOTA | EXT4_FEATURE_RO_COMPAT_BIGALLOC | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | \
                         EXT4_FEATURE_RO_COMPAT_READONLY | EXT4_FEATURE_RO_COMPAT_PROJECT | EXT4_FEATURE_RO_COMPAT_VERITY)
#define INCOMPAT_KNOWN (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT | \
                        EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_EA_INODE | EXT4_FEATURE_INCOMPAT_CSUM_SEED | \
                        EXT4_FEATURE_INCOMPAT_LARGEDIR | EXT4_FEATURE_INCOMPAT_INLINE_DATA | EXT4_FEATURE_INCOMPAT_ENCRYPT | \
                        EXT4_FEATURE_INCOMPAT_CASEFOLD)

/* ---- the library's view of the volume ---- */

struct view {
    struct volume *v;
    struct err *e;
    int result;                                      /* the first that was not 0 */
};
static struct struct_io_manager view_manager;
static _Thread_local struct view *opening;           /* the library opens by name: this hands the view to its open */

static errcode_t view_open(const char *name, int flags, io_channel *ret)
{
    (void)flags;
    struct struct_io_channel *c = calloc(1, sizeof *c);
    if (!c || !(c->name = str_dup(name))) {
        free(c);
        return EXT2_ET_NO_MEMORY;
    }
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->block_size = 1024;
    c->refcount = 1;
    c->private_data = opening;
    c->manager = &view_manager;
    *ret = c;
    return 0;
}

static errcode_t view_close(io_channel c)
{
    if (--c->refcount > 0)
        return 0;
    free(c->name);
    free(c);
    return 0;
}

static errcode_t view_block_size(io_channel c, int size)
{
    c->block_size = size;
    return 0;
}

static errcode_t view_read(io_channel c, unsigned long long block, int count, void *data)
{
    struct view *w = c->private_data;
    uint64_t unit = (uint64_t)c->block_size, n = count < 0 ? (uint64_t)-(int64_t)count : (uint64_t)count * unit;
    if (!w->result) {
        w->result = block > w->v->size / unit ? volume_refuse(w->v, "it names a block past the end of the volume")
                                              : volume_read(w->v, data, (size_t)n, block * unit, w->e);
    }
    return w->result ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t view_read_small(io_channel c, unsigned long block, int count, void *data)
{
    return view_read(c, block, count, data);
}

static errcode_t view_write(io_channel c, unsigned long block, int count, const void *data)
{
    (void)c, (void)block, (void)count, (void)data;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t view_write_large(io_channel c, unsigned long long block, int count, const void *data)
{
    (void)c, (void)block, (void)count, (void)data;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t view_flush(io_channel c)
{
    (void)c;
    return 0;
}

static struct struct_io_manager view_manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER, .name = "vmrecover", .open = view_open, .close = view_close, .set_blksize = view_block_size,
    .read_blk = view_read_small, .read_blk64 = view_read, .write_blk = view_write, .write_blk64 = view_write_large, .flush = view_flush};

/* ---- before the library sees it ---- */

static int check_super(struct volume *v, const uint8_t *b)
{
    uint32_t compat = le32(b + 0x5c), incompat = le32(b + 0x60), ro = le32(b + 0x64), log = le32(b + 0x18), cluster_log = le32(b + 0x1c);
    v->rule = incompat & EXT3_FEATURE_INCOMPAT_EXTENTS ? "ext4" : compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL ? "ext3" : "ext2";
    if (le32(b + 0x4c) != 1)
        return volume_refuse(v, "its revision is %u", le32(b + 0x4c));
    if (incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
        return volume_refuse(v, "it was not unmounted: its journal needs to be replayed");
    if (compat & ~(uint32_t)COMPAT_KNOWN || incompat & ~(uint32_t)INCOMPAT_KNOWN || ro & ~(uint32_t)RO_COMPAT_KNOWN)
        return volume_refuse(v, "it has features that are not known (%#x, %#x, %#x)", compat, incompat, ro);
    if ((le16(b + 0x3a) & 7) != 1)
        return volume_refuse(v, "it was not unmounted, or has errors (state %#x)", le16(b + 0x3a));
    if (le32(b + 0xe8))
        return volume_refuse(v, "deleted files are still open in it");
    bool journal = compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL;
    if (journal && (le32(b + 0xe0) == 0 || le32(b + 0xe4)))
        return volume_refuse(v, "its journal is on another device");
    uint64_t blocks = le32(b + 4) | (incompat & EXT4_FEATURE_INCOMPAT_64BIT ? (uint64_t)le32(b + 0x150) << 32 : 0);
    uint32_t per_group = le32(b + 0x20), clusters = le32(b + 0x24), inodes = le32(b + 0x28), first = le32(b + 0x14), inode_size = le16(b + 0x58);
    uint32_t descriptor = incompat & EXT4_FEATURE_INCOMPAT_64BIT ? le16(b + 0xfe) : 32;
    if (log > 6 || cluster_log > 20 || first > 1 || (descriptor != 32 && descriptor != 64))
        return volume_refuse(v, "the superblock's sizes make no sense");
    uint64_t block = UINT64_C(1024) << log;
    if (cluster_log < log || (cluster_log > log) > !!(ro & EXT4_FEATURE_RO_COMPAT_BIGALLOC) || !clusters || clusters > 8 * block || clusters % 8 ||
        per_group != (uint64_t)clusters << (cluster_log - log) || inode_size < 128 || inode_size > block || inode_size & (inode_size - 1) || !inodes ||
        inodes > 8 * block || le16(b + 0xce) > block / 4)
        return volume_refuse(v, "the superblock's sizes make no sense");
    if (blocks <= first || blocks > v->size / block)
        return volume_refuse(v, "it says to have %llu blocks, which do not fit the volume", (unsigned long long)blocks);
    uint64_t groups = (blocks - first + per_group - 1) / per_group;
    if (groups > DESCRIPTORS_MAX_BYTES / descriptor || groups * inodes != le32(b))
        return volume_refuse(v, "it has %llu groups: too many, or not as many as its inodes need", (unsigned long long)groups);
    return 0;
}

/* ---- with the library ---- */

struct ext {
    struct volume *v;
    ext2_filsys fs;
    struct view view;
    uint64_t block, ratio, unit;                     /* bytes; blocks in a cluster; bytes of a cluster */
    uint64_t free_clusters;
    bool checksums;
    struct fsmap_list metadata;                      /* of all groups, blocks, sorted: bitmaps, inode tables, superblocks and descriptors */
    size_t metadata_at;                              /* the first that is not before the group at hand */
};

/* A result of the library's: what reading said, if that is where it comes from. */
static int library(struct ext *x, errcode_t code, const char *what)
{
    if (!code)
        return 0;
    if (x->view.result)
        return x->view.result;
    return code == EXT2_ET_NO_MEMORY || code == ENOMEM ? err_oom(x->view.e) : volume_refuse(x->v, "%s: %s", what, error_message(code));
}

/* An unmounted journal has no transactions: it says so itself. */
static int check_journal(struct ext *x, struct err *e)
{
    uint8_t h[64];
    blk64_t at = 0;
    struct ext2_inode inode;
    if (!ext2fs_has_feature_journal(x->fs->super))
        return 0;
    int r = library(x, ext2fs_read_inode(x->fs, x->fs->super->s_journal_inum, &inode), "the journal's inode");
    if (!r)
        r = library(x, ext2fs_bmap2(x->fs, x->fs->super->s_journal_inum, &inode, NULL, 0, 0, NULL, &at), "the journal's first block");
    if (r)
        return r;
    if (!at || at >= ext2fs_blocks_count(x->fs->super))
        return volume_refuse(x->v, "its journal has no first block");
    if ((r = volume_read(x->v, h, sizeof h, at * x->block, e)))
        return r;
    if (be32(h) != JOURNAL_MAGIC || (be32(h + 4) != 3 && be32(h + 4) != 4) || be32(h + 12) != x->block)
        return volume_refuse(x->v, "its journal is damaged");
    if (be32(h + 28) || be32(h + 32))
        return volume_refuse(x->v, "it was not unmounted: its journal is not empty");
    return 0;
}

static int metadata_add(struct ext *x, uint64_t start, uint64_t n, struct err *e)
{
    uint64_t blocks = ext2fs_blocks_count(x->fs->super);
    if (!start || start >= blocks || n > blocks - start)
        return volume_refuse(x->v, "a group's metadata lies past the end of the file system");
    return list_add(&x->metadata, start, start + n) ? 0 : err_oom(e);
}

static int metadata_collect(struct ext *x, struct err *e)
{
    uint64_t reserved = x->fs->super->s_reserved_gdt_blocks, old = ext2fs_has_feature_meta_bg(x->fs->super) ? x->fs->super->s_first_meta_bg : x->fs->desc_blocks;
    for (dgrp_t g = 0; g < x->fs->group_desc_count; g++) {
        blk64_t super, old_desc, new_desc;
        int r = metadata_add(x, ext2fs_block_bitmap_loc(x->fs, g), 1, e);
        if (!r)
            r = metadata_add(x, ext2fs_inode_bitmap_loc(x->fs, g), 1, e);
        if (!r)
            r = metadata_add(x, ext2fs_inode_table_loc(x->fs, g), x->fs->inode_blocks_per_group, e);
        if (r)
            return r;
        ext2fs_super_and_bgd_loc2(x->fs, g, &super, &old_desc, &new_desc, NULL);
        if (g == 0 && !list_add(&x->metadata, 0, (uint64_t)x->fs->super->s_first_data_block + 1))      /* the boot block too */
            return err_oom(e);
        if (super && (r = metadata_add(x, super, 1, e)))
            return r;
        if (old_desc && (r = metadata_add(x, old_desc, old + reserved, e)))
            return r;
        if (new_desc && (r = metadata_add(x, new_desc, 1, e)))
            return r;
    }
    list_sort(&x->metadata);
    return 0;
}

/* Marks the metadata in [start, end) in the bitmap that a group without one would have. */
static void mark_metadata(struct ext *x, uint8_t *map, uint64_t start, uint64_t end)
{
    for (size_t i = x->metadata_at; i < x->metadata.n && x->metadata.list[i].start < end; i++) {
        uint64_t from = x->metadata.list[i].start > start ? x->metadata.list[i].start : start;
        uint64_t to = x->metadata.list[i].end < end ? x->metadata.list[i].end : end;
        for (uint64_t b = from; b < to; b++)
            map[(b - start) / x->ratio / 8] |= (uint8_t)(1u << (b - start) / x->ratio % 8);
    }
}

/* No metadata in [start, end) may be free by the bitmap. */
static bool metadata_marked(struct ext *x, const uint8_t *map, uint64_t start, uint64_t end)
{
    for (size_t i = x->metadata_at; i < x->metadata.n && x->metadata.list[i].start < end; i++) {
        uint64_t from = x->metadata.list[i].start > start ? x->metadata.list[i].start : start;
        uint64_t to = x->metadata.list[i].end < end ? x->metadata.list[i].end : end;
        for (uint64_t b = from; b < to; b++)
            if (!(map[(b - start) / x->ratio / 8] >> (b - start) / x->ratio % 8 & 1))
                return false;
    }
    return true;
}

static int group_scan(struct ext *x, dgrp_t g, uint8_t *map, struct err *e)
{
    uint64_t start = ext2fs_group_first_block2(x->fs, g), end = ext2fs_group_last_block2(x->fs, g) + 1, bits = (end - start + x->ratio - 1) / x->ratio;
    struct bitmap_scan s = {.v = x->v, .origin = start * x->block, .unit = x->unit};
    if (x->checksums && !ext2fs_group_desc_csum_verify(x->fs, g))
        return volume_refuse(x->v, "the checksum of group %u is wrong", g);
    while (x->metadata_at < x->metadata.n && x->metadata.list[x->metadata_at].end <= start)
        x->metadata_at++;
    if (x->checksums && ext2fs_bg_flags_test(x->fs, g, EXT2_BG_BLOCK_UNINIT)) {    /* no bitmap was written: nothing but metadata is in use */
        memset(map, 0, x->fs->blocksize);
        mark_metadata(x, map, start, end);
    } else {
        int r = volume_read(x->v, map, x->fs->blocksize, ext2fs_block_bitmap_loc(x->fs, g) * x->block, e);
        if (r)
            return r;
        if (!ext2fs_block_bitmap_csum_verify(x->fs, g, (char *)map, (int)(x->fs->super->s_clusters_per_group / 8)))
            return volume_refuse(x->v, "the checksum of the block bitmap of group %u is wrong", g);
        if (!metadata_marked(x, map, start, end))
            return volume_refuse(x->v, "the block bitmap of group %u calls metadata free", g);
    }
    /* The last cluster may be cut by the end of the file system: then it is in use. */
    uint64_t whole = (end - start) / x->ratio, cut_free = whole < bits && !(map[whole / 8] >> whole % 8 & 1);
    int r = bitmap_feed(&s, map, whole, e);
    if (!r)
        r = bitmap_end(&s, e);
    if (r)
        return r;
    if (s.free_bits + cut_free != ext2fs_bg_free_blocks_count(x->fs, g))
        return volume_refuse(x->v, "group %u has %llu free clusters, not %u as it says", g, (unsigned long long)(s.free_bits + cut_free),
                             ext2fs_bg_free_blocks_count(x->fs, g));
    x->free_clusters += s.free_bits + cut_free;
    return 0;
}

static int first_collect(struct ext *x, struct err *e)
{
    for (size_t i = 0; i < x->metadata.n && i < 4096; i++)
        if (!list_add(&x->v->first, x->metadata.list[i].start * x->block, x->metadata.list[i].end * x->block))
            return err_oom(e);
    return 0;
}

static int judge(struct ext *x, struct err *e)
{
    x->block = x->fs->blocksize;
    x->ratio = UINT64_C(1) << x->fs->cluster_ratio_bits;
    x->unit = x->block * x->ratio;
    x->checksums = ext2fs_has_group_desc_csum(x->fs);
    if (ext2fs_has_feature_metadata_csum(x->fs->super) && !ext2fs_superblock_csum_verify(x->fs, x->fs->super))
        return volume_refuse(x->v, "the superblock's checksum is wrong");
    int r = check_journal(x, e);
    if (!r)
        r = metadata_collect(x, e);
    if (!r)
        r = first_collect(x, e);
    AUTO_FREE uint8_t *map = malloc(x->block);
    if (!map)
        return err_oom(e);
    for (dgrp_t g = 0; !r && g < x->fs->group_desc_count; g++)
        r = group_scan(x, g, map, e);
    if (!r && x->free_clusters * x->ratio != ext2fs_free_blocks_count(x->fs->super))
        return volume_refuse(x->v, "the superblock says %llu free blocks, the groups %llu", (unsigned long long)ext2fs_free_blocks_count(x->fs->super),
                             (unsigned long long)(x->free_clusters * x->ratio));
    return r;
}

int fsmap_ext(struct volume *v, struct err *e)
{
    uint8_t b[1024];
    struct ext x = {.v = v, .view = {.v = v, .e = e}};
    int r = volume_read(v, b, sizeof b, 1024, e);
    if (!r)
        r = check_super(v, b);
    if (r)
        return r;
    opening = &x.view;
    errcode_t code = ext2fs_open2("volume", NULL, EXT2_FLAG_64BITS, 0, 0, &view_manager, &x.fs);
    opening = NULL;
    r = library(&x, code, "it cannot be opened");
    if (!r)
        r = judge(&x, e);
    if (x.fs)
        ext2fs_free(x.fs);
    list_free(&x.metadata);
    return r;
}

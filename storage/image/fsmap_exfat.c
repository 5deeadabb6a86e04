/* exFAT: an allocation bitmap in a chain of clusters, which the root folder names.
 * Believed when the boot region's checksum is right, the volume was unmounted, and the share of clusters in use is what the boot sector says.
 * Source: Microsoft, "exFAT file system specification". */
#include <string.h>

#include "storage/image/fsmap_volume.h"

#define ROOT_MAX_ENTRIES 65536
#define CHAIN_MAX 65536                              /* clusters of the root folder or the bitmap */

struct exfat {
    struct volume *v;
    uint32_t sector, cluster, clusters, root;        /* bytes, bytes, count, cluster number */
    uint64_t fat, fat_bytes, heap;                   /* bytes */
    uint8_t percent;
};

static int boot_read(struct exfat *x, struct err *e)
{
    struct volume *v = x->v;
    uint8_t b[4096];
    int r = volume_read(v, b, 512, 0, e);
    if (r)
        return r;
    uint8_t sector_log = b[108], cluster_log = b[109];
    if (sector_log < 9 || sector_log > 12 || cluster_log > 25 - sector_log || b[110] != 1 || b[105] != 1 || b[510] != 0x55 || b[511] != 0xaa)
        return volume_refuse(v, "the boot sector's sizes make no sense, or it has two tables");
    x->sector = 1u << sector_log;
    x->cluster = x->sector << cluster_log;
    x->clusters = le32(b + 92);
    x->root = le32(b + 96);
    x->fat = (uint64_t)le32(b + 80) * x->sector;
    x->fat_bytes = (uint64_t)le32(b + 84) * x->sector;
    x->heap = (uint64_t)le32(b + 88) * x->sector;
    x->percent = b[112];
    uint64_t sectors = le64(b + 72);
    if (sectors > v->size / x->sector || x->fat < 24 * (uint64_t)x->sector || x->heap < x->fat + x->fat_bytes || !x->clusters ||
        x->fat_bytes < ((uint64_t)x->clusters + 2) * 4 || x->heap + (uint64_t)x->clusters * x->cluster > sectors * x->sector)
        return volume_refuse(v, "its table and clusters do not fit the volume");
    if (le16(b + 106) & 6)
        return volume_refuse(v, "it was not unmounted, or the medium has errors");
    uint32_t sum = 0;
    for (uint32_t s = 0; s < 12; s++) {
        if ((r = volume_read(v, b, x->sector, (uint64_t)s * x->sector, e)))
            return r;
        for (uint32_t i = 0; i < x->sector && s < 11; i++)
            if (s || (i != 106 && i != 107 && i != 112))               /* flags and share may change without it */
                sum = (sum >> 1 | sum << 31) + b[i];
        for (uint32_t i = 0; i < x->sector && s == 11; i += 4)
            if (le32(b + i) != sum)
                return volume_refuse(v, "the boot region's checksum is wrong");
    }
    return volume_metadata(v, 0, x->heap, e);
}

/* The next cluster of a chain; 0 at its end. */
static int chain_next(struct exfat *x, uint32_t cluster, uint32_t *ret, struct err *e)
{
    uint8_t b[4];
    int r = volume_read(x->v, b, sizeof b, x->fat + (uint64_t)cluster * 4, e);
    if (r)
        return r;
    *ret = le32(b) == UINT32_MAX ? 0 : le32(b);
    return *ret && (*ret < 2 || *ret >= x->clusters + 2) ? volume_refuse(x->v, "a chain of clusters leads nowhere") : 0;
}

static uint64_t cluster_at(const struct exfat *x, uint32_t cluster)
{
    return x->heap + (uint64_t)(cluster - 2) * x->cluster;
}

static int bitmap_find(struct exfat *x, uint32_t *ret_cluster, uint64_t *ret_bytes, struct err *e)
{
    uint32_t cluster = x->root, next, found = 0;
    if (cluster < 2 || cluster >= x->clusters + 2)
        return volume_refuse(x->v, "its root folder is in no cluster");
    for (uint32_t n = 0, end = 0; cluster && !end && n < ROOT_MAX_ENTRIES; cluster = next) {
        uint64_t at = cluster_at(x, cluster);
        int r = volume_metadata(x->v, at, at + x->cluster, e);
        for (uint32_t i = 0; !r && !end && i < x->cluster; i += 32, n++) {
            uint8_t entry[32];
            if ((r = volume_read(x->v, entry, sizeof entry, at + i, e)))
                return r;
            end = entry[0] == 0;
            if (entry[0] != 0x81)
                continue;
            if (found++ || entry[1] & 1)
                return volume_refuse(x->v, "it has two allocation bitmaps");
            *ret_cluster = le32(entry + 20);
            *ret_bytes = le64(entry + 24);
        }
        if (!r)
            r = chain_next(x, cluster, &next, e);
        if (r)
            return r;
    }
    if (!found || *ret_cluster < 2 || *ret_cluster >= x->clusters + 2 || *ret_bytes != ((uint64_t)x->clusters + 7) / 8)
        return volume_refuse(x->v, "its root folder does not name an allocation bitmap for all clusters");
    return 0;
}

/* Where the bitmap lies, and that it does not call itself free. */
static int bitmap_chain(struct exfat *x, uint32_t first, uint64_t bytes, uint32_t **ret, size_t *ret_n, struct err *e)
{
    size_t n = (size_t)((bytes + x->cluster - 1) / x->cluster);
    if (n > CHAIN_MAX)
        return volume_refuse(x->v, "its allocation bitmap lies in more than %u clusters", CHAIN_MAX);
    AUTO_FREE uint32_t *chain = malloc(n * sizeof *chain);
    if (!chain)
        return err_oom(e);
    uint32_t cluster = first;
    for (size_t i = 0; i < n; i++) {
        if (!cluster)
            return volume_refuse(x->v, "its allocation bitmap is shorter than it says");
        chain[i] = cluster;
        int r = volume_metadata(x->v, cluster_at(x, cluster), cluster_at(x, cluster) + x->cluster, e);
        if (!r)
            r = chain_next(x, cluster, &cluster, e);
        if (r)
            return r;
    }
    *ret = STEAL(chain);
    *ret_n = n;
    return 0;
}

static int scan(struct exfat *x, const uint32_t *chain, size_t n, struct err *e)
{
    struct bitmap_scan s = {.v = x->v, .origin = x->heap, .unit = x->cluster};
    uint8_t map[4096];
    for (size_t i = 0; i < n; i++)
        for (uint32_t at = 0; at < x->cluster && s.bits < x->clusters; at += sizeof map) {
            size_t len = x->cluster - at < sizeof map ? x->cluster - at : sizeof map;
            uint64_t left = x->clusters - s.bits;
            int r = volume_read(x->v, map, len, cluster_at(x, chain[i]) + at, e);
            if (!r)
                r = bitmap_feed(&s, map, left < len * 8 ? left : len * 8, e);
            if (r)
                return r;
        }
    int r = bitmap_end(&s, e);
    uint64_t percent = (x->clusters - s.free_bits) * 100 / x->clusters;
    if (!r && x->percent != 0xff && (x->percent > 100 || percent != x->percent))
        return volume_refuse(x->v, "%u %% of it are in use, it says, its bitmap says %u %%", x->percent, (unsigned)percent);
    return r;
}

int fsmap_exfat(struct volume *v, struct err *e)
{
    struct exfat x = {.v = v};
    uint32_t first = 0;
    uint64_t bytes = 0;
    AUTO_FREE uint32_t *chain = NULL;
    size_t n = 0;
    int r = boot_read(&x, e);
    if (!r)
        r = bitmap_find(&x, &first, &bytes, e);
    if (!r)
        r = bitmap_chain(&x, first, bytes, &chain, &n, e);
    return r ? r : scan(&x, chain, n, e);
}

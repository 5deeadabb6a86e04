/* FAT12, FAT16, FAT32: a cluster whose table entry is 0 is free.
 * Believed when the table's copies are the same, nothing says that the volume was not unmounted, no chain leads into free clusters, and
 * FAT32's free count is right.
 * Source: Microsoft "FAT: General Overview of On-Disk Format" 1.03. */
#include <string.h>

#include "storage/image/fsmap_volume.h"

#define FAT_MAX_BYTES (8u << 20)                     /* of one copy: 64 GiB in clusters of 32 KiB, 8 GiB in the smallest that Windows chooses */

struct fat {
    struct volume *v;
    unsigned bits;                                   /* of an entry */
    uint32_t sector, cluster;                        /* bytes */
    uint32_t copies, clusters;
    uint64_t reserved, table_bytes, data, end;       /* bytes: where the first table begins, one table's length, cluster 2, behind the last */
    uint32_t root, info;                             /* FAT32: cluster, sector */
    uint8_t media, state;
};

static int boot_read(struct fat *f, struct err *e)
{
    struct volume *v = f->v;
    uint8_t b[512];
    int r = volume_read(v, b, sizeof b, 0, e);
    if (r)
        return r;
    uint32_t per_cluster = b[13], roots = le16(b + 17), total = le16(b + 19) ? le16(b + 19) : le32(b + 32);
    uint32_t table = le16(b + 22) ? le16(b + 22) : le32(b + 36);
    f->sector = le16(b + 11);
    f->copies = b[16];
    f->media = b[21];
    if (b[510] != 0x55 || b[511] != 0xaa || f->sector < 512 || f->sector > 4096 || f->sector & (f->sector - 1))
        return volume_refuse(v, "the boot sector is not one of FAT");
    if (!per_cluster || per_cluster & (per_cluster - 1) || !le16(b + 14) || f->copies < 1 || f->copies > 2 || !table || !total)
        return volume_refuse(v, "the boot sector's sizes make no sense");
    uint64_t root_sectors = ((uint64_t)roots * 32 + f->sector - 1) / f->sector, before = le16(b + 14) + (uint64_t)f->copies * table + root_sectors;
    if (before >= total || (uint64_t)total * f->sector > v->size)
        return volume_refuse(v, "it says to have %u sectors, which do not fit the volume", total);
    f->clusters = (uint32_t)((total - before) / per_cluster);
    f->bits = f->clusters < 4085 ? 12 : f->clusters < 65525 ? 16 : 32;
    f->cluster = per_cluster * f->sector;
    f->reserved = (uint64_t)le16(b + 14) * f->sector;
    f->table_bytes = (uint64_t)table * f->sector;
    f->data = before * f->sector;
    f->end = f->data + (uint64_t)f->clusters * f->cluster;
    bool fat32 = f->bits == 32;
    v->rule = f->bits == 12 ? "fat12" : fat32 ? "fat32" : "fat16";
    if (memcmp(b + (fat32 ? 82 : 54), fat32 ? "FAT32" : f->bits == 12 ? "FAT12" : "FAT16", 5) || fat32 != (roots == 0) || fat32 != (le16(b + 22) == 0))
        return volume_refuse(v, "its label is of another width than its %u clusters make it", f->clusters);
    if (f->table_bytes * 8 / f->bits < (uint64_t)f->clusters + 2)
        return volume_refuse(v, "its table has fewer entries than the volume has clusters");
    if (f->table_bytes > FAT_MAX_BYTES)
        return volume_refuse(v, "its table is larger than %u MiB", FAT_MAX_BYTES >> 20);
    f->state = b[fat32 ? 65 : 37];
    if (fat32) {
        if (le16(b + 40) & 0x80 || le16(b + 42))
            return volume_refuse(v, "only one of its tables is in use, or its version is not 0");
        f->root = le32(b + 44);
        f->info = le16(b + 48);
    }
    r = volume_metadata(v, 0, f->reserved, e);
    return r ? r : volume_metadata(v, f->reserved, f->data, e);
}

static int tables_read(struct fat *f, uint8_t *table, struct err *e)
{
    uint8_t part[16384];
    int r = volume_read(f->v, table, (size_t)f->table_bytes, f->reserved, e);
    for (uint64_t at = 0; !r && f->copies == 2 && at < f->table_bytes; at += sizeof part) {
        size_t n = f->table_bytes - at < sizeof part ? (size_t)(f->table_bytes - at) : sizeof part;
        r = volume_read(f->v, part, n, f->reserved + f->table_bytes + at, e);
        if (!r && memcmp(part, table + at, n))
            return volume_refuse(f->v, "the two copies of its table differ");
    }
    return r;
}

static uint32_t entry(const struct fat *f, const uint8_t *table, uint32_t i)
{
    if (f->bits == 32)
        return le32(table + (size_t)i * 4) & 0x0fffffff;
    if (f->bits == 16)
        return le16(table + (size_t)i * 2);
    uint16_t two = le16(table + (size_t)i * 3 / 2);
    return i & 1 ? two >> 4 : two & 0xfff;
}

/* Nobody had it mounted when the bytes were taken. */
static int check_clean(struct fat *f, const uint8_t *table, struct err *e)
{
    uint32_t all = f->bits == 32 ? 0x0fffffff : f->bits == 16 ? 0xffff : 0xfff, flags = f->bits == 32 ? 0x0c000000 : f->bits == 16 ? 0xc000 : 0;
    (void)e;
    if (entry(f, table, 0) != ((all & ~0xffu) | f->media))
        return volume_refuse(f->v, "its table does not begin with the media byte");
    if ((entry(f, table, 1) & flags) != flags || f->state & 3)
        return volume_refuse(f->v, "it was not unmounted");
    return 0;
}

static int check_count(struct fat *f, uint32_t free_clusters, struct err *e)
{
    uint8_t s[512];
    if (f->bits != 32 || !f->info || f->info == 0xffff)
        return 0;
    int r = volume_read(f->v, s, sizeof s, (uint64_t)f->info * f->sector, e);
    if (r)
        return r;
    if (le32(s) != 0x41615252 || le32(s + 484) != 0x61417272)
        return volume_refuse(f->v, "its information sector is damaged");
    uint32_t count = le32(s + 488);
    if (count != UINT32_MAX && count != free_clusters)
        return volume_refuse(f->v, "it says to have %u free clusters, its table has %u", count, free_clusters);
    return 0;
}

static int scan(struct fat *f, const uint8_t *table, struct err *e)
{
    uint32_t bad = f->bits == 32 ? 0x0ffffff7 : f->bits == 16 ? 0xfff7 : 0xff7, free_clusters = 0;
    for (uint32_t i = 2; i < f->clusters + 2; i++) {
        uint32_t next = entry(f, table, i);
        if (!next) {
            uint64_t at = f->data + (uint64_t)(i - 2) * f->cluster;
            int r = 0;
            free_clusters++;
            if (at < f->v->free_end || (r = volume_declare_free(f->v, at, at + f->cluster, e)))
                return r ? r : volume_refuse(f->v, "its clusters are out of order");
            continue;
        }
        if (next >= bad)                             /* bad, or the end of a chain */
            continue;
        if (next < 2 || next >= f->clusters + 2 || !entry(f, table, next))
            return volume_refuse(f->v, "cluster %u of a file leads to cluster %u, which is no part of one", i, next);
    }
    if (f->bits == 32 && (f->root < 2 || f->root >= f->clusters + 2 || !entry(f, table, f->root)))
        return volume_refuse(f->v, "its root folder is in no cluster");
    return check_count(f, free_clusters, e);
}

int fsmap_fat(struct volume *v, struct err *e)
{
    struct fat f = {.v = v};
    int r = boot_read(&f, e);
    if (r)
        return r;
    AUTO_FREE uint8_t *table = malloc((size_t)f.table_bytes + 2);
    if (!table)
        return err_oom(e);
    if ((r = tables_read(&f, table, e)) || (r = check_clean(&f, table, e)))
        return r;
    return scan(&f, table, e);
}

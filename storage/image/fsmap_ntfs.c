/* NTFS: $Bitmap says which clusters are in use.
 *
 * Believed when: the boot sector and its copy at the end agree, the MFT's first records and their mirror agree, the volume is not marked
 * dirty, $LogFile was closed (or is empty), no shadow copies lie in what is free now, and the bitmap covers the volume and has in use all
 * that the first MFT records say to lie somewhere: the system files among them.
 * Sources: Linux, fs/ntfs3/ntfs.h (layouts), fs/ntfs3/fslog.c (restart pages); "Volume Shadow Snapshot (VSS) format" of libvshadow. */
#include <string.h>

#include "storage/image/fsmap_ntfs.h"

#define SAMPLE_RECORDS 1024                          /* of the MFT, whose runs are held against the bitmap */
#define BITMAP_STEP (256u << 10)
#define VSS_BLOCKS_MAX 64

static int boot_read(struct ntfs *n, struct err *e)
{
    struct volume *v = n->v;
    uint8_t b[512], copy[512];
    int r = volume_read(v, b, sizeof b, 0, e);
    if (r)
        return r;
    n->sector = le16(b + 11);
    uint32_t per_cluster = b[13] <= 0x80 ? b[13] : b[13] >= 0xf4 ? 1u << (256 - b[13]) : 0;
    uint64_t sectors = le64(b + 40);
    if (b[510] != 0x55 || b[511] != 0xaa || n->sector < 512 || n->sector > 4096 || n->sector & (n->sector - 1) || !per_cluster ||
        per_cluster & (per_cluster - 1) || (uint64_t)per_cluster * n->sector > (2u << 20) || le16(b + 14) || b[16] || le16(b + 17) || le16(b + 22))
        return volume_refuse(v, "the boot sector's sizes make no sense");
    n->cluster = per_cluster * n->sector;
    if (sectors < 16 || sectors >= v->size / n->sector)
        return volume_refuse(v, "it says to have %llu sectors, which do not fit the volume", (unsigned long long)sectors);
    n->clusters = sectors / per_cluster;
    n->mft_lcn = le64(b + 48);
    n->mirror_lcn = le64(b + 56);
    int8_t record = (int8_t)b[64];
    n->record = record > 0 ? (uint32_t)record * n->cluster : record >= -12 ? 1u << -record : 0;
    if (n->record < 1024 || n->record > NTFS_RECORD_MAX || n->mft_lcn >= n->clusters || n->mirror_lcn >= n->clusters)
        return volume_refuse(v, "its MFT's place or record size makes no sense");
    if ((r = volume_read(v, copy, sizeof copy, sectors * n->sector, e)))
        return r;
    if (memcmp(b, copy, sizeof b))
        return volume_refuse(v, "the copy of the boot sector at its end differs");
    return volume_metadata(v, 0, 8192 < n->cluster ? n->cluster : 8192, e);
}

/* The MFT's own record is read from where the boot sector says, all others through the runs that it holds. */
static int mft_open(struct ntfs *n, struct err *e)
{
    uint64_t need = (4 * (uint64_t)n->record + n->cluster - 1) / n->cluster;
    AUTO_RUNS struct ntfs_runs found = {0};
    n->mft.list = calloc(16, sizeof *n->mft.list);
    if (!n->mft.list)
        return err_oom(e);
    n->mft.size = 16;
    n->mft.n = 1;
    n->mft.list[0] = (struct ntfs_run){n->mft_lcn, need};
    if (need > n->clusters - n->mft_lcn)
        return volume_refuse(n->v, "its MFT's place makes no sense");
    int r;
    /* Its own record alone gives the first part; with that, parts that lie elsewhere are found. */
    uint8_t record[NTFS_RECORD_MAX];
    struct ntfs_attribute a;
    bool used, broken;
    uint32_t at = 0;
    if ((r = ntfs_record_read(n, MFT, record, &used, e)))
        return r;
    bool have = false;
    while (used && !have && ntfs_attribute_next(n, record, &at, &a, &broken))
        have = a.type == ATTR_DATA && !a.name_length && !a.resident && a.lowest == 0;
    if (!have)
        return volume_refuse(n->v, "its MFT does not describe itself");
    if ((r = ntfs_runs_decode(n, &a, &found, e)))
        return r;
    ntfs_runs_free(&n->mft);
    n->mft = found;
    found = (struct ntfs_runs){0};
    if ((r = ntfs_runs_of(n, MFT, ATTR_DATA, &found, e)))
        return r;
    ntfs_runs_free(&n->mft);
    n->mft = found;
    found = (struct ntfs_runs){0};
    if (!n->mft.n || n->mft.list[0].lcn != n->mft_lcn || n->mft.bytes < 16 * (uint64_t)n->record)
        return volume_refuse(n->v, "its MFT is not where the boot sector says");
    return 0;
}

static int check_mirror(struct ntfs *n, struct err *e)
{
    uint8_t a[NTFS_RECORD_MAX], b[NTFS_RECORD_MAX];
    for (uint64_t i = 0; i < 4; i++) {
        int r = ntfs_runs_read(n, &n->mft, a, n->record, i * n->record, e);
        if (!r)
            r = volume_read(n->v, b, n->record, n->mirror_lcn * n->cluster + i * n->record, e);
        if (r)
            return r;
        if (memcmp(a, b, n->record))
            return volume_refuse(n->v, "the MFT and its mirror differ in record %llu", (unsigned long long)i);
    }
    return 0;
}

static int check_flags(struct ntfs *n, struct err *e)
{
    uint8_t record[NTFS_RECORD_MAX];
    struct ntfs_attribute a;
    bool used, broken;
    uint32_t at = 0;
    int r = ntfs_record_read(n, VOLUME, record, &used, e);
    if (r)
        return r;
    while (used && ntfs_attribute_next(n, record, &at, &a, &broken)) {
        if (a.type != ATTR_VOLUME_INFORMATION || !a.resident || a.value_length < 12)
            continue;
        uint16_t flags = le16(a.value + 10);
        if (a.value[8] != 3 || a.value[9] > 1)
            return volume_refuse(n->v, "its version is %u.%u", a.value[8], a.value[9]);
        /* dirty, log to be resized, upgrade at mount, journal being deleted, ids being repaired, chkdsk underway or done */
        return flags & 0xc037 ? volume_refuse(n->v, "the volume is marked dirty (flags %#06x)", flags) : 0;
    }
    return volume_refuse(n->v, "its volume record has no volume information");
}

/* One of the two restart pages of the log. */
struct restart { uint64_t lsn; bool closed; };

static int restart_read(struct ntfs *n, const struct ntfs_runs *runs, uint8_t *page, uint64_t offset, uint32_t size, struct restart *ret, struct err *e)
{
    int r = ntfs_runs_read(n, runs, page, size, offset, e);
    if (r)
        return r;
    uint32_t area = le16(page + 24);
    if (!ntfs_fixup(page, size, "RSTR") || le32(page + 16) != size || area < 30 || area % 8 || area > size - 64)
        return volume_refuse(n->v, "a restart page of its log is damaged");
    const uint8_t *a = page + area;
    ret->lsn = le64(a);
    ret->closed = le16(a + 12) == 0xffff || le16(a + 14) & 2;          /* no client has it open, or it says that the volume is clean */
    return 0;
}

/* Linux's drivers empty the log by filling it with 0xff; Windows closes it at a clean dismount. */
static int check_log(struct ntfs *n, struct err *e)
{
    AUTO_RUNS struct ntfs_runs runs = {0};
    int r = ntfs_runs_of(n, LOGFILE, ATTR_DATA, &runs, e);
    if (r)
        return r;
    const size_t head = 65536;
    if (runs.bytes < 2 * head)
        return volume_refuse(n->v, "its log is too short");
    AUTO_FREE uint8_t *page = malloc(head);
    if (!page)
        return err_oom(e);
    if ((r = ntfs_runs_read(n, &runs, page, head, 0, e)))
        return r;
    size_t full = 0;
    while (full < head && page[full] == 0xff)
        full++;
    if (full == head)
        return 0;
    uint32_t size = le32(page + 16);
    if (memcmp(page, "RSTR", 4) || size < 4096 || size > head || size & (size - 1))
        return volume_refuse(n->v, "its log does not begin with a restart page");
    struct restart one, two;
    if ((r = restart_read(n, &runs, page, 0, size, &one, e)) || (r = restart_read(n, &runs, page, size, size, &two, e)))
        return r;
    if (!(one.lsn > two.lsn ? one.closed : two.closed) || (one.lsn == two.lsn && !one.closed))
        return volume_refuse(n->v, "it was not unmounted: its log is open");
    return 0;
}

/* Shadow copies read what was not changed since from the volume itself, also where a file was deleted: such clusters are free by the
 * bitmap, and needed all the same. */
static int check_shadows(struct ntfs *n, struct err *e)
{
    static const uint8_t vss[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};
    uint8_t h[128];
    int r = volume_read(n->v, h, sizeof h, 0x1e00, e);
    if (r || memcmp(h, vss, sizeof vss))
        return r;
    uint64_t at = le64(h + 48);
    for (unsigned i = 0; at && i < VSS_BLOCKS_MAX; i++) {
        if ((r = volume_read(n->v, h, sizeof h, at, e)))
            return r;
        if (memcmp(h, vss, sizeof vss) || le32(h + 20) != 2)
            return volume_refuse(n->v, "its catalogue of shadow copies is damaged");
        uint64_t next = le64(h + 40);
        for (uint64_t entry = 128; entry < 16384; entry += 128) {
            if ((r = volume_read(n->v, h, sizeof h, at + entry, e)))
                return r;
            uint64_t type = le64(h);
            if (type > 1)
                return volume_refuse(n->v, "it has shadow copies, and they need what is free in the volume of today");
        }
        at = next;
    }
    return at ? volume_refuse(n->v, "its catalogue of shadow copies does not end") : 0;
}

static int must_runs(struct ntfs *n, const struct ntfs_runs *runs, bool first, struct err *e)
{
    for (size_t i = 0; i < runs->n; i++) {
        uint64_t at = runs->list[i].lcn * n->cluster, end = at + runs->list[i].n * n->cluster;
        if (runs->list[i].lcn == NTFS_HOLE)
            continue;
        int r = first ? volume_metadata(n->v, at, end, e) : volume_must(n->v, at, end, e);
        if (r)
            return r;
    }
    return 0;
}

static int must_system(struct ntfs *n, const struct ntfs_runs *bitmap, struct err *e)
{
    uint64_t mirror = n->mirror_lcn * n->cluster;
    int r = must_runs(n, &n->mft, true, e);
    if (!r)
        r = must_runs(n, bitmap, true, e);
    return r ? r : volume_metadata(n->v, mirror, mirror + 4 * (uint64_t)n->record, e);
}

/* Whatever the MFT's first records say to lie in clusters. */
static int must_sample(struct ntfs *n, struct err *e)
{
    uint8_t record[NTFS_RECORD_MAX];
    uint64_t records = n->mft.initialized / n->record;
    for (uint64_t i = 0; i < records && i < SAMPLE_RECORDS; i++) {
        bool used, broken = false;
        uint32_t at = 0;
        struct ntfs_attribute a;
        int r = ntfs_record_read(n, i, record, &used, e);
        if (r)
            return r;
        while (used && ntfs_attribute_next(n, record, &at, &a, &broken)) {
            AUTO_RUNS struct ntfs_runs runs = {0};
            if (a.resident || n->v->must.n >= 32768)
                continue;
            r = ntfs_runs_decode(n, &a, &runs, e);
            if (!r)
                r = must_runs(n, &runs, false, e);
            if (r)
                return r;
        }
        if (broken)
            return volume_refuse(n->v, "record %llu of its MFT is damaged", (unsigned long long)i);
    }
    return 0;
}

static int scan(struct ntfs *n, const struct ntfs_runs *bitmap, struct err *e)
{
    struct bitmap_scan s = {.v = n->v, .unit = n->cluster};
    uint64_t bytes = (n->clusters + 7) / 8;
    if (bitmap->bytes < bytes || bitmap->initialized != bitmap->bytes || bitmap->bytes - bytes > 65536)
        return volume_refuse(n->v, "its bitmap has %llu bytes for %llu clusters", (unsigned long long)bitmap->bytes, (unsigned long long)n->clusters);
    AUTO_FREE uint8_t *map = malloc(BITMAP_STEP);
    if (!map)
        return err_oom(e);
    for (uint64_t at = 0; at < bytes; at += BITMAP_STEP) {
        size_t len = bytes - at < BITMAP_STEP ? (size_t)(bytes - at) : BITMAP_STEP;
        int r = ntfs_runs_read(n, bitmap, map, len, at, e);
        if (!r)
            r = bitmap_feed(&s, map, n->clusters - s.bits < len * 8 ? n->clusters - s.bits : len * 8, e);
        if (r)
            return r;
    }
    return bitmap_end(&s, e);
}

static int add_pagefiles(struct ntfs *n, struct err *e)
{
    AUTO_LIST struct fsmap_list files = {0};
    if (!n->v->reader->o->skip_pagefiles)
        return 0;
    int r = ntfs_pagefiles(n, &files, e);
    for (size_t i = 0; !r && i < files.n; i++)
        if (!list_add(&n->v->free.spans, files.list[i].start, files.list[i].end))
            r = err_oom(e);
    list_sort(&n->v->free.spans);
    return r;
}

static int judge(struct ntfs *n, struct err *e)
{
    AUTO_RUNS struct ntfs_runs bitmap = {0};
    int r;
    if ((r = boot_read(n, e)) || (r = mft_open(n, e)) || (r = check_mirror(n, e)) || (r = check_flags(n, e)) || (r = check_log(n, e)) ||
        (r = check_shadows(n, e)) || (r = ntfs_runs_of(n, BITMAP, ATTR_DATA, &bitmap, e)) || (r = must_system(n, &bitmap, e)) ||
        (r = must_sample(n, e)) || (r = scan(n, &bitmap, e)))
        return r;
    return add_pagefiles(n, e);
}

int fsmap_ntfs(struct volume *v, struct err *e)
{
    struct ntfs n = {.v = v};
    int r = judge(&n, e);
    ntfs_runs_free(&n.mft);
    return r;
}

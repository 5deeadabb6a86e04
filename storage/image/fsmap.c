/* The map of a disk: partitions, each judged by the reader of what it holds; then the LVM groups that some of them are members of. */
#include <stdio.h>
#include <string.h>

#include "storage/image/fsmap_lvm.h"

#define PARTITIONS_MAX 1024
#define REGIONS_MAX 8192
#define FIRST_MAX 16384

struct map {
    struct reader reader;
    struct fsmap *out;
    size_t regions_size;
    struct free_list free;                           /* of the disk; LVM's come out of order */
    struct lvm_pv *pvs;
    size_t n_pvs;
    struct fsmap_list first;
};

static int region_add(struct map *m, const struct fsmap_region *r, struct err *e)
{
    if (m->out->n_regions == REGIONS_MAX)
        return err_set(e, ERR_INTERNAL, "more than %u regions on %s", REGIONS_MAX, m->reader.disk->name);
    if (m->out->n_regions == m->regions_size) {
        size_t size = m->regions_size ? m->regions_size * 2 : 16;
        void *p = realloc(m->out->regions, size * sizeof *m->out->regions);
        if (!p)
            return err_oom(e);
        m->out->regions = p;
        m->regions_size = size;
    }
    m->out->regions[m->out->n_regions++] = *r;
    return 0;
}

static int gap_add(struct map *m, uint64_t start, uint64_t end, const char *rule, const char *reason, struct err *e)
{
    struct fsmap_region r = {.start = start, .end = end, .bytes = end - start, .used = end - start, .rule = rule};
    if (start >= end)
        return 0;
    snprintf(r.reason, sizeof r.reason, "%s", reason);
    return region_add(m, &r, e);
}

static int on_free(void *arg, uint64_t start, uint64_t end)
{
    struct map *m = arg;
    return free_list_add(&m->free, start, end) ? 0 : -ERR_OOM;
}

static int on_first(void *arg, uint64_t start, uint64_t end)
{
    struct map *m = arg;
    return m->first.n >= FIRST_MAX || list_add(&m->first, start, end) ? 0 : -ERR_OOM;
}

/* Takes over what the reader said of a volume: all or nothing. */
static int volume_commit(struct map *m, struct volume *v, int verdict, struct fsmap_region *region, struct err *e)
{
    if (verdict)
        snprintf(region->reason, sizeof region->reason, "%s", v->reason);
    region->rule = v->rule;
    for (size_t i = 0; i < v->first.n; i++)
        if (volume_on_disk(v, v->first.list[i].start, v->first.list[i].end, on_first, m) < 0)
            return err_oom(e);
    for (size_t i = 0; !verdict && i < v->free.spans.n; i++)
        if (volume_on_disk(v, v->free.spans.list[i].start, v->free.spans.list[i].end, on_free, m) < 0)
            return err_oom(e);
    region->used = region->bytes - (verdict ? 0 : list_bytes(&v->free.spans));
    return region_add(m, region, e);
}

/* ---- LVM ---- */

static int pv_take(struct map *m, struct volume *v, struct err *e)
{
    if (m->n_pvs == LVM_PVS_MAX)
        return volume_refuse(v, "there are more than %u physical volumes on the disk", LVM_PVS_MAX);
    struct lvm_pv *pv = &m->pvs[m->n_pvs];
    pv->start = v->pieces[0].disk[0];
    pv->end = pv->start + v->size;
    int r = lvm_pv_read(v, pv, e);
    if (r < 0)
        return r;
    if (r)
        snprintf(pv->reason, sizeof pv->reason, "%s", v->reason);
    m->n_pvs++;
    for (size_t i = 0; i < v->first.n; i++)
        if (volume_on_disk(v, v->first.list[i].start, v->first.list[i].end, on_first, m) < 0)
            return err_oom(e);
    return 0;
}

static int sink_volume(void *arg, const struct lvm_pv *pv, const char *name, const struct piece *pieces, size_t n, struct err *e)
{
    struct map *m = arg;
    AUTO_VOLUME struct volume v;
    volume_init(&v, &m->reader, pieces, n);
    struct fsmap_region region = {.start = pv->start, .end = pv->end, .bytes = v.size};
    snprintf(region.volume, sizeof region.volume, "%s", name);
    int r = fsmap_judge(&v, e);
    return r < 0 ? r : volume_commit(m, &v, r, &region, e);
}

static int sink_in_use(void *arg, const struct lvm_pv *pv, const char *name, uint64_t bytes, const char *reason, struct err *e)
{
    struct fsmap_region region = {.start = pv->start, .end = pv->end, .bytes = bytes, .used = bytes, .rule = "lvm2"};
    snprintf(region.volume, sizeof region.volume, "%s", name);
    snprintf(region.reason, sizeof region.reason, "%s", reason);
    return region_add(arg, &region, e);
}

static int sink_rest(void *arg, const struct lvm_pv *pv, uint64_t bytes, const struct fsmap_list *free, const char *reason, struct err *e)
{
    struct map *m = arg;
    struct fsmap_region region = {.start = pv->start, .end = pv->end, .bytes = bytes, .used = bytes - list_bytes(free), .rule = "lvm2"};
    snprintf(region.reason, sizeof region.reason, "%s", reason);
    for (size_t i = 0; i < free->n; i++)
        if (!free_list_add(&m->free, free->list[i].start, free->list[i].end))
            return err_oom(e);
    return region_add(m, &region, e);
}

/* ---- partitions ---- */

static int partition_judge(struct map *m, uint64_t start, uint64_t end, const char *opaque, struct err *e)
{
    struct piece piece = {.length = end - start, .stripes = 1, .disk = {start}};
    AUTO_VOLUME struct volume v;
    volume_init(&v, &m->reader, &piece, 1);
    struct fsmap_region region = {.start = start, .end = end, .bytes = end - start};
    int r = opaque ? volume_refuse(&v, "%s", opaque) : fsmap_judge(&v, e);
    if (r == FSMAP_MEMBER) {
        r = pv_take(m, &v, e);
        if (r == 0)
            return 0;
    }
    return r < 0 ? r : volume_commit(m, &v, r, &region, e);
}

/* Partitions whose file system is not the partition's own. */
static const char *opaque_type(const struct partition *p)
{
    static const struct { uint8_t guid[16]; const char *why; } guids[] = {
        {{0xa0, 0x60, 0x9b, 0xaf, 0x31, 0x14, 0x62, 0x4f, 0xbc, 0x68, 0x33, 0x11, 0x71, 0x4a, 0x69, 0xad}, "it belongs to a Windows dynamic disk"},
        {{0xaa, 0xc8, 0x08, 0x58, 0x8f, 0x7e, 0xe0, 0x42, 0x85, 0xd2, 0xe1, 0xe9, 0x04, 0x34, 0xcf, 0xb3}, "it belongs to a Windows dynamic disk"},
        {{0x8f, 0xaf, 0x5c, 0xe7, 0x80, 0xf6, 0xee, 0x4c, 0xaf, 0xa3, 0xb0, 0x01, 0xe5, 0x6e, 0xfc, 0x2d}, "it belongs to a Windows storage pool"},
    };
    if (p->mbr_type == 0x42)
        return "it belongs to a Windows dynamic disk";
    for (size_t i = 0; i < ARRAY_LEN(guids); i++)
        if (!p->mbr_type && !memcmp(p->gpt_type, guids[i].guid, 16))
            return guids[i].why;
    return NULL;
}

static int partition_order(const void *a, const void *b)
{
    const struct partition *x = a, *y = b;
    return x->start_sector < y->start_sector ? -1 : x->start_sector > y->start_sector;
}

/* NULL: the table can be believed; the list is then sorted. */
static const char *table_doubt(const struct image_source *disk, const struct image_info *info, struct partition_list *l)
{
    if (info->table_damaged)
        return "the partition table is damaged";
    if (l->differ)
        return "the two copies of the partition table differ";
    if (l->n > PARTITIONS_MAX)
        return "there are too many partitions";
    if (l->n)
        qsort(l->list, l->n, sizeof *l->list, partition_order);
    for (size_t i = 0; i < l->n; i++) {
        const struct partition *p = &l->list[i];
        if (p->start_sector >= p->end_sector || p->end_sector > disk->size / info->sector_size)
            return "a partition does not fit the disk";
        if (!p->start_sector || (i && p->start_sector < p[-1].end_sector))
            return "partitions overlap";
    }
    return NULL;
}

/* A protective MBR has one entry; others (hybrid) must say what the GPT says. */
static int check_hybrid(struct map *m, const struct image_info *info, const struct partition_list *l, const char **ret_doubt, struct err *e)
{
    uint8_t s[512];
    int r = info->table == TABLE_GPT ? reader_read(&m->reader, s, sizeof s, 0, e) : 0;
    if (r < 0 || info->table != TABLE_GPT)
        return r;
    for (int i = 0; i < 4; i++) {
        const uint8_t *p = s + 446 + 16 * i;
        uint64_t start = le32(p + 8), end = start + le32(p + 12);
        bool known = !p[4] || p[4] == 0xee;
        for (size_t k = 0; k < l->n && !known; k++)
            known = l->list[k].start_sector == start && l->list[k].end_sector == end;
        if (!known)
            *ret_doubt = "the MBR has a partition that the GPT does not have";
    }
    return 0;
}

/* Does the disk as a whole look like a file system? */
static int whole_recognise(struct map *m, const char **ret_name, struct err *e)
{
    struct piece piece = {.length = m->reader.disk->size, .stripes = 1};
    AUTO_VOLUME struct volume v;
    volume_init(&v, &m->reader, &piece, 1);
    return fsmap_recognise(&v, ret_name, e);
}

static int partitions_judge(struct map *m, const struct image_info *info, const struct partition_list *l, struct err *e)
{
    uint64_t at = 0, ss = info->sector_size, size = m->reader.disk->size;
    for (size_t i = 0; i <= l->n; i++) {
        uint64_t start = i < l->n ? l->list[i].start_sector * ss : size, end = i < l->n ? l->list[i].end_sector * ss : size;
        bool table = at == 0 || i == l->n;
        int r = gap_add(m, at, start, table ? "partition table" : "gap", table ? "" : "no partition covers it", e);
        if (!r && i < l->n)
            r = partition_judge(m, start, end, opaque_type(&l->list[i]), e);
        if (r < 0)
            return r;
        at = end;
    }
    return 0;
}

static int cached_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    return reader_read(arg, buf, n, offset, e);
}

static int disk_judge(struct map *m, struct err *e)
{
    const struct image_source *disk = m->reader.disk;
    struct image_info info = {.sector_size = m->reader.o->sector_size};
    AUTO_PARTITIONS struct partition_list l = {0};
    uint64_t end;
    const char *whole = NULL;
    struct image_source view = {.read = cached_read, .arg = &m->reader, .size = disk->size, .name = disk->name};
    int r = partition_list(&view, &info, &end, &l, e);
    if (r < 0)
        return r;
    const char *doubt = table_doubt(disk, &info, &l);
    if (!doubt && (r = check_hybrid(m, &info, &l, &doubt, e)) < 0)
        return r;
    if ((r = whole_recognise(m, &whole, e)) < 0)
        return r;
    char reason[160] = "";
    if (l.n && whole)
        snprintf(reason, sizeof reason, "the disk has both partitions and the signature of %s", whole);
    else if (doubt)
        snprintf(reason, sizeof reason, "%s", doubt);
    if (reason[0])
        return gap_add(m, 0, disk->size, "unknown", reason, e);
    /* The first and the last MiB hold the tables, and the first what boots. */
    uint64_t head = disk->size < 1 << 20 ? disk->size : 1 << 20;
    if (on_first(m, 0, head) < 0 || (info.table == TABLE_GPT && on_first(m, disk->size - (head < 65536 ? head : 65536), disk->size) < 0))
        return err_oom(e);
    r = l.n ? partitions_judge(m, &info, &l, e) : partition_judge(m, 0, disk->size, NULL, e);
    if (r < 0)
        return r;
    const struct lvm_sink sink = {.arg = m, .volume = sink_volume, .in_use = sink_in_use, .rest = sink_rest};
    return lvm_judge(m->pvs, m->n_pvs, &sink, e);
}

/* ---- the result ---- */

static int used_make(struct map *m, struct err *e)
{
    struct fsmap_list *free = &m->free.spans, *used = &m->out->used;
    uint64_t at = 0;
    list_sort(free);
    for (size_t i = 0; i <= free->n; i++) {
        if (!list_add(used, at, i < free->n ? free->list[i].start : m->reader.disk->size))
            return err_oom(e);
        at = i < free->n ? free->list[i].end : at;
    }
    m->out->bytes = list_bytes(used);
    return 0;
}

/* The hint, cut to what is in use. */
static int first_make(struct map *m, struct err *e)
{
    const struct fsmap_list *used = &m->out->used;
    size_t k = 0;
    list_sort(&m->first);
    for (size_t i = 0; i < m->first.n; i++) {
        struct fsmap_range r = m->first.list[i];
        while (k < used->n && used->list[k].end <= r.start)
            k++;
        for (size_t u = k; u < used->n && used->list[u].start < r.end; u++) {
            uint64_t start = used->list[u].start > r.start ? used->list[u].start : r.start;
            if (!list_add(&m->out->first, start, used->list[u].end < r.end ? used->list[u].end : r.end))
                return err_oom(e);
        }
    }
    return 0;
}

static int region_order(const void *a, const void *b)
{
    const struct fsmap_region *x = a, *y = b;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : strcmp(x->volume, y->volume);
}

void fsmap_free(struct fsmap *m)
{
    list_free(&m->used);
    list_free(&m->first);
    free(m->regions);
    *m = (struct fsmap){0};
}

int fsmap_read(const struct image_source *disk, const struct fsmap_options *o, struct fsmap *ret, struct err *e)
{
    AUTO_FSMAP struct fsmap out = {0};
    struct map *m = calloc(1, sizeof *m);
    int r = 0;
    if (!m || !(m->pvs = calloc(LVM_PVS_MAX, sizeof *m->pvs))) {
        free(m);
        return err_oom(e);
    }
    m->reader = (struct reader){.disk = disk, .o = o};
    m->out = &out;
    r = disk_judge(m, e);
    if (r >= 0)
        r = used_make(m, e);
    if (r >= 0)
        r = first_make(m, e);
    out.read_bytes = m->reader.fetched;
    for (size_t i = 0; i < m->n_pvs; i++)
        lvm_pv_free(&m->pvs[i]);
    free(m->pvs);
    list_free(&m->free.spans);
    list_free(&m->first);
    reader_free(&m->reader);
    free(m);
    if (r < 0)
        return r;
    if (out.n_regions)
        qsort(out.regions, out.n_regions, sizeof *out.regions, region_order);
    *ret = out;
    out = (struct fsmap){0};
    return 0;
}

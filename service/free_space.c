#include "common/json.h"
#include "common/log.h"
#include "common/os.h"
#include "service/free_space.h"

#define TOLD_MAX 64                                  /* regions in the event; a disk has a few */
#define GAP_MAX 65536u                               /* a longer gap is worth another request */
#define ADDED_MAX_PERCENT 2                          /* by closing gaps */

static bool add(struct blob_ranges *r, size_t *size, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    if (r->n && r->list[r->n - 1].end >= start) {
        r->bytes += end - r->list[r->n - 1].end;
        r->list[r->n - 1].end = end;
        return true;
    }
    if (r->n == *size) {
        size_t more = *size ? *size * 2 : 256;
        void *p = realloc(r->list, more * sizeof *r->list);
        if (!p)
            return false;
        r->list = p;
        *size = more;
    }
    r->list[r->n++] = (struct blob_range){start, end};
    r->bytes += end - start;
    return true;
}

/* The longest gap to close, so that all of them together add no more than a few percent. */
static uint64_t gap_choose(const struct blob_ranges *r)
{
    for (uint64_t gap = GAP_MAX; gap >= 512; gap /= 2) {
        uint64_t added = 0;
        for (size_t i = 1; i < r->n; i++) {
            uint64_t between = r->list[i].start - r->list[i - 1].end;
            added += between <= gap ? between : 0;
        }
        if (added <= r->bytes / 100 * ADDED_MAX_PERCENT)
            return gap;
    }
    return 0;
}

static void gaps_close(struct blob_ranges *r, uint64_t gap)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (n && r->list[i].start - r->list[n - 1].end <= gap) {
            r->bytes += r->list[i].start - r->list[n - 1].end;
            r->list[n - 1].end = r->list[i].end;
        } else {
            r->list[n++] = r->list[i];
        }
    }
    r->n = n;
}

int free_space_cut(const struct fsmap *m, uint64_t disk_bytes, struct blob_ranges *ranges, struct err *e)
{
    AUTO(blob_ranges_free) struct blob_ranges cut = {.complete = ranges->complete};
    size_t size = 0, k = 0;
    for (size_t i = 0; i < ranges->n; i++) {
        const struct blob_range *r = &ranges->list[i];
        while (k < m->used.n && m->used.list[k].end <= r->start)
            k++;
        for (size_t u = k; u < m->used.n && m->used.list[u].start < r->end; u++) {
            const struct fsmap_range *in_use = &m->used.list[u];
            if (!add(&cut, &size, in_use->start > r->start ? in_use->start : r->start, in_use->end < r->end ? in_use->end : r->end))
                return err_oom(e);
        }
        if (!add(&cut, &size, r->start > disk_bytes ? r->start : disk_bytes, r->end))
            return err_oom(e);
    }
    gaps_close(&cut, gap_choose(&cut));
    struct blob_ranges before = *ranges;
    *ranges = cut;
    cut = before;                                    /* freed */
    return 0;
}

void free_space_clip(struct blob_ranges *ranges, uint64_t disk_bytes)
{
    while (ranges->n && ranges->list[ranges->n - 1].end > disk_bytes) {
        struct blob_range *last = &ranges->list[ranges->n - 1];
        ranges->bytes -= last->end - (last->start > disk_bytes ? last->start : disk_bytes);
        last->end = disk_bytes;
        ranges->n -= last->start >= disk_bytes;
    }
}

uint64_t free_space_room(const struct blob_ranges *ranges, uint64_t block_bytes)
{
    if (!block_bytes || os_files_are_sparse())
        return ranges->bytes;
    uint64_t blocks = 0, next = 0;                   /* next: the first block that is not counted */
    for (size_t i = 0; i < ranges->n; i++) {
        uint64_t first = ranges->list[i].start / block_bytes, end = (ranges->list[i].end + block_bytes - 1) / block_bytes;
        first = first > next ? first : next;
        if (end > first) {
            blocks += end - first;
            next = end;
        }
    }
    return blocks * block_bytes;
}

static json_t *regions_json(const struct fsmap *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_regions && i < TOLD_MAX; i++) {
        const struct fsmap_region *r = &m->regions[i];
        json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I}", "rule", r->rule, "start", (json_int_t)r->start, "end", (json_int_t)r->end, "bytes",
                              (json_int_t)r->bytes, "used_bytes", (json_int_t)r->used);
        if (r->volume[0])
            json_object_set_new(o, "volume", json_string(r->volume));
        if (r->reason[0])
            json_object_set_new(o, "reason", json_string(r->reason));
        json_array_append_new(list, o);
    }
    return list;
}

/* Spans are disjoint and sorted, so that the same map is the same bytes. */
static int map_hash(const struct fsmap *m, uint8_t ret[SHA256_LEN], struct err *e)
{
    return crypto_sha256(m->used.list, m->used.n * sizeof *m->used.list, ret, e);
}

static int skip(struct task_run *t, unsigned i, struct blob *blob, const struct blob_info *info, bool tell, struct free_space *f, struct err *e)
{
    const struct spec_disk *spec = &t->job->disks[i].spec;
    struct disk_blob_reader reader = {.blob = blob, .info = info};
    struct image_source file = disk_blob_source(&reader);
    struct image_info image;
    AUTO_FSMAP struct fsmap m = {0};
    int r = disk_probe_source(spec, &file, &image, e);
    if (r < 0 || (image.format != IMAGE_RAW && image.format != IMAGE_VHD))
        return r;
    struct image_source disk = file;                 /* a fixed VHD's disk is the file's beginning */
    disk.size = image.virtual_size;
    struct fsmap_options o = {.sector_size = image.sector_size, .stop = task_run_stop, .arg = t};
    uint64_t listed = f->ranges.bytes;
    r = fsmap_read(&disk, &o, &m, e);
    if (r == -ERR_INTERNAL) {                        /* more of something than a disk has: the map helps, it is not needed */
        log_err(LOG_LEVEL_WARNING, "free space is not looked for", e);
        return 0;
    }
    if (r < 0 || (r = map_hash(&m, f->map_hash, e)) < 0 || (r = free_space_cut(&m, image.virtual_size, &f->ranges, e)) < 0)
        return r;
    f->mapped = true;
    log_info("free space of file systems left out", KI("disk_bytes", disk.size), KI("used_bytes", m.bytes), KI("listed_bytes", listed),
             KI("fetch_bytes", f->ranges.bytes), KI("read_bytes", m.read_bytes));
    if (tell)
        task_run_event(t, "free_space_skipped",
                       json_pack("{s:i, s:I, s:I, s:I, s:I, s:o}", "disk", (int)i, "disk_bytes", (json_int_t)disk.size, "used_bytes", (json_int_t)m.bytes,
                                 "skipped_bytes", (json_int_t)(listed - (f->ranges.bytes < listed ? f->ranges.bytes : listed)), "read_bytes",
                                 (json_int_t)m.read_bytes, "regions", regions_json(&m)));
    return 0;
}

void free_space_free(struct free_space *f)
{
    blob_ranges_free(&f->ranges);
    *f = (struct free_space){0};
}

int free_space_list(struct task_run *t, unsigned i, struct blob *blob, const struct blob_info *info, bool tell, struct free_space *ret, struct err *e)
{
    AUTO(free_space_free) struct free_space f = {0};
    int r = blob_page_ranges(blob, info, task_run_stop, t, &f.ranges, e);
    if (r == 0 && t->job->disks[i].spec.skip_free_space)
        r = skip(t, i, blob, info, tell, &f, e);
    if (r < 0)
        return r;
    *ret = f;
    f = (struct free_space){0};
    return 0;
}

/* What all formats share: checks, the way from guest's to file's bytes, and new blocks that wait for their commit. */
#include <inttypes.h>
#include <string.h>

#include "storage/image/writer_format.h"

static const struct writer_format *const formats[] = {
    [IMAGE_RAW] = &writer_raw, [IMAGE_VHD] = &writer_vhd, [IMAGE_VHD_DYNAMIC] = &writer_vhd_dynamic, [IMAGE_VHDX] = &writer_vhdx,
};

int image_layout_check(const struct image_layout *l, struct err *e)
{
    uint32_t sector = l->sector_size ? l->sector_size : 512;
    uint64_t max = l->format == IMAGE_VHD_DYNAMIC ? IMAGE_VHD_DYNAMIC_MAX : IMAGE_MAX_BYTES;
    if ((unsigned)l->format > (unsigned)IMAGE_VHDX)
        return err_set(e, ERR_UNSUPPORTED, "disks of this format cannot be written");
    if (sector != 512 && sector != 4096)
        return err_set(e, ERR_VALUE, "a disk has sectors of 512 or 4096 bytes, not of %" PRIu32, sector);
    if (sector != 512 && l->format != IMAGE_VHDX && l->format != IMAGE_RAW) {
        err_set(e, ERR_UNSUPPORTED, "a VHD has sectors of 512 bytes; this disk has sectors of %" PRIu32, sector);
        return err_hint(e, "Write it as vhdx or raw. A system that counts in sectors of another size would not find its partitions.");
    }
    if (!l->virtual_size || l->virtual_size % sector)
        return err_set(e, ERR_VALUE, "a disk cannot have %" PRIu64 " bytes: a multiple of %" PRIu32 " is expected", l->virtual_size, sector);
    if (l->virtual_size > max) {
        err_set(e, ERR_UNSUPPORTED, "a disk of %" PRIu64 " bytes is too large for the format %s, which takes %" PRIu64, l->virtual_size,
                image_format_name(l->format), max);
        return l->format == IMAGE_VHD_DYNAMIC ? err_hint(e, "Write it as vhdx.") : -ERR_UNSUPPORTED;
    }
    uint64_t b = l->block_bytes;
    if (b && (l->format != IMAGE_VHDX || b < (1u << 20) || b > (256u << 20) || (b & (b - 1)) || l->virtual_size / b >= UINT64_C(1) << 23))
        return err_set(e, ERR_VALUE, "blocks of %" PRIu64 " bytes do not fit the disk: VHDX takes powers of two from 1 to 256 MiB, at most 2^23 of them", b);
    return 0;
}

uint32_t image_layout_block_bytes(const struct image_layout *l)
{
    const struct writer_format *f = formats[l->format];
    return f->block_bytes ? f->block_bytes(l) : 0;
}

static void pending_clear(struct writer_pending *p)
{
    memset(p->slot, 0, sizeof p->slot);
    p->n = 0;
}

/* Block numbers are spread by a multiplication (Knuth's), and a taken place sends on to the next. */
static struct writer_block *pending_slot(struct writer_pending *p, uint64_t block)
{
    size_t i = (size_t)(block * UINT64_C(0x9e3779b97f4a7c15) >> 40) % WRITER_SLOTS;
    while (p->slot[i].at && p->slot[i].block != block)
        i = (i + 1) % WRITER_SLOTS;
    return &p->slot[i];
}

static int writer_new(const char *path, unsigned how, const struct image_layout *l, struct image_writer **ret, struct err *e)
{
    int r = image_layout_check(l, e);
    if (r < 0)
        return r;
    AUTO(image_writer_close_ptr) struct image_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_oom(e);
    w->layout = *l;
    w->layout.sector_size = l->sector_size ? l->sector_size : 512;
    w->layout.fixed = l->format == IMAGE_VHDX && l->fixed;
    w->format = formats[l->format];
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_init(&w->commit_lock, NULL);
    if ((r = os_file_open(path, OS_WRITE | how, &w->file, e)) < 0 || (r = os_file_lock(w->file, e)) < 0)
        return r;
    *ret = STEAL(w);
    return 0;
}

int image_writer_create(const char *path, const struct image_layout *l, struct image_writer **ret, struct err *e)
{
    AUTO(image_writer_close_ptr) struct image_writer *w = NULL;
    int r = writer_new(path, OS_CREATE | OS_EXCLUSIVE, l, &w, e);
    if (r == 0)
        r = w->format->create(w, e);
    if (r == 0)
        r = os_file_sync(w->file, e);
    if (r < 0)
        return r;
    *ret = STEAL(w);
    return 0;
}

static int mismatch(const char *path, const struct err *why, struct err *e)
{
    return err_set(e, ERR_IMAGE_DAMAGED, "%s is not the unfinished disk that was begun%s%.300s", path, why ? ": " : "", why ? why->msg : "");
}

int image_writer_open(const char *path, const struct image_layout *l, struct image_writer **ret, struct err *e)
{
    AUTO(image_writer_close_ptr) struct image_writer *w = NULL;
    AUTO_IMAGE_FILE struct image_source src = {0};
    AUTO_DISK struct disk d = {0};
    struct image_info info = {.sector_size = 512};
    int r = writer_new(path, 0, l, &w, e);
    if (r == 0)
        r = image_file_open(path, &src, e);
    if (r < 0)
        return r;
    bool late_footer = l->format == IMAGE_VHD && !os_files_are_sparse();
    if (late_footer) {                               /* not there yet: the size is all that can be compared */
        if (src.size != l->virtual_size + VHD_FOOTER_BYTES)
            return mismatch(path, NULL, e);
    } else {
        r = image_read_format(&src, (int)l->format, &info, &d, e);
        if (r == -ERR_NOT_VHD || r == -ERR_VHD_DAMAGED || r == -ERR_SOURCE_TRUNCATED || r == -ERR_UNSUPPORTED) {
            struct err why = *e;
            return mismatch(path, &why, e);
        }
        if (r < 0)
            return r;
        if (info.virtual_size != l->virtual_size || (l->format == IMAGE_VHDX && (info.sector_size != w->layout.sector_size || info.fixed != l->fixed)) ||
            (l->block_bytes && info.block_bytes != l->block_bytes))
            return mismatch(path, NULL, e);
    }
    w->layout.block_bytes = info.block_bytes;
    r = w->format->resume(w, &d, e);
    if (r < 0)
        return r;
    *ret = STEAL(w);
    return 0;
}

/* ---- blocks ---- */

static uint64_t entry_offset(const struct image_writer *w, uint64_t block)
{
    uint64_t index = w->chunk_blocks ? block + block / w->chunk_blocks : block;
    return w->table_at + index * w->format->entry_bytes;
}

/* Where the block lies in the file, 0: nowhere. */
static int block_find(struct image_writer *w, uint64_t block, uint64_t *ret, struct err *e)
{
    pthread_mutex_lock(&w->lock);
    uint64_t at = pending_slot(&w->pending, block)->at;
    if (!at)
        at = pending_slot(&w->committing, block)->at;
    pthread_mutex_unlock(&w->lock);
    *ret = at;
    if (at)
        return 0;
    uint8_t entry[8];
    int r = os_file_pread(w->file, entry, w->format->entry_bytes, entry_offset(w, block), e);
    if (r == 0)
        *ret = w->format->decode(entry);
    return r;
}

static int block_add(struct image_writer *w, uint64_t block, uint64_t *ret, struct err *e)
{
    if (w->pending.n == WRITER_PENDING_MAX) {        /* rare: a commit every second comes before */
        int r = image_writer_commit(w, e);
        if (r < 0)
            return r;
    }
    uint64_t at;
    int r = w->format->allocate(w, &at, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&w->lock);
    *pending_slot(&w->pending, block) = (struct writer_block){.block = block, .at = at};
    w->pending.n++;
    pthread_mutex_unlock(&w->lock);
    *ret = at;
    return 0;
}

static bool is_flat(const struct image_writer *w)
{
    return !w->format->entry_bytes || w->layout.fixed;
}

/* Where a run lies in the file. A block that is not there is made, or (!make) *ret_at is 0: it reads as zeros. Not for flat formats. */
static int locate(struct image_writer *w, uint64_t offset, uint64_t n, bool make, uint64_t *ret_at, uint64_t *ret_n, struct err *e)
{
    uint64_t at, bytes = w->layout.block_bytes, in_block = offset % bytes;
    int r = block_find(w, offset / bytes, &at, e);
    if (r == 0 && !at && make)
        r = block_add(w, offset / bytes, &at, e);
    if (r < 0)
        return r;
    *ret_at = at ? at + w->bitmap_bytes + in_block : 0;
    *ret_n = n < bytes - in_block ? n : bytes - in_block;
    return 0;
}

int image_writer_place(struct image_writer *w, uint64_t offset, uint64_t n, uint64_t *ret_at, uint64_t *ret_n, struct err *e)
{
    if (!n || offset > w->layout.virtual_size || n > w->layout.virtual_size - offset)
        return err_set(e, ERR_INTERNAL, "%" PRIu64 " bytes at %" PRIu64 " do not lie in a disk of %" PRIu64, n, offset, w->layout.virtual_size);
    if (!is_flat(w))
        return locate(w, offset, n, true, ret_at, ret_n, e);
    *ret_at = w->data_at + offset;
    *ret_n = n;
    return 0;
}

int image_writer_read(struct image_writer *w, void *buf, size_t n, uint64_t offset, struct err *e)
{
    if (is_flat(w))
        return os_file_pread(w->file, buf, n, w->data_at + offset, e);
    for (uint8_t *p = buf; n;) {
        uint64_t at, k;
        int r = locate(w, offset, n, false, &at, &k, e);
        if (r == 0 && at)
            r = os_file_pread(w->file, p, (size_t)k, at, e);
        else if (r == 0)
            memset(p, 0, (size_t)k);
        if (r < 0)
            return r;
        p += k;
        offset += k;
        n -= (size_t)k;
    }
    return 0;
}

void image_writer_write_behind(struct image_writer *w, uint64_t offset, uint64_t n)
{
    struct err ignored;
    if (is_flat(w)) {
        os_file_write_behind(w->file, w->data_at + offset, n);
        return;
    }
    for (uint64_t at, k; n && locate(w, offset, n, false, &at, &k, &ignored) == 0; offset += k, n -= k)
        if (at)
            os_file_write_behind(w->file, at, k);
}

int image_writer_write(struct image_writer *w, const void *buf, size_t n, uint64_t offset, struct err *e)
{
    for (const uint8_t *p = buf; n;) {
        uint64_t at, k;
        int r = image_writer_place(w, offset, n, &at, &k, e);
        if (r == 0)
            r = os_file_pwrite(w->file, p, (size_t)k, at, e);
        if (r < 0)
            return r;
        p += k;
        offset += k;
        n -= (size_t)k;
    }
    return 0;
}

struct os_file *image_writer_file(struct image_writer *w)
{
    return w->file;
}

static int by_block(const void *a, const void *b)
{
    uint64_t x = ((const struct writer_block *)a)->block, y = ((const struct writer_block *)b)->block;
    return x < y ? -1 : x > y;
}

/* The entries of all blocks that are being committed, neighbours in one write. */
static int entries_write(struct image_writer *w, struct err *e)
{
    AUTO_FREE struct writer_block *list = malloc(WRITER_PENDING_MAX * sizeof *list);
    if (!list)
        return err_oom(e);
    size_t n = 0, width = w->format->entry_bytes;
    for (size_t i = 0; i < WRITER_SLOTS; i++)
        if (w->committing.slot[i].at)
            list[n++] = w->committing.slot[i];
    qsort(list, n, sizeof *list, by_block);
    for (size_t i = 0, k; i < n; i += k) {
        uint8_t run[4096];
        uint64_t from = entry_offset(w, list[i].block);
        for (k = 0; i + k < n && (k + 1) * width <= sizeof run && entry_offset(w, list[i + k].block) == from + k * width; k++)
            w->format->encode(list[i + k].at, run + k * width);
        int r = os_file_pwrite(w->file, run, k * width, from, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int commit(struct image_writer *w, struct err *e)
{
    pthread_mutex_lock(&w->lock);
    w->committing = w->pending;
    pending_clear(&w->pending);
    pthread_mutex_unlock(&w->lock);
    int r = os_file_sync(w->file, e);
    if (r == 0 && w->committing.n) {
        r = entries_write(w, e);
        if (r == 0)
            r = os_file_sync(w->file, e);
    }
    pthread_mutex_lock(&w->lock);
    if (r == 0)
        pending_clear(&w->committing);
    pthread_mutex_unlock(&w->lock);
    return r;
}

int image_writer_commit(struct image_writer *w, struct err *e)
{
    pthread_mutex_lock(&w->commit_lock);
    int r = w->failed ? err_set(e, ERR_IO, "%s could not be flushed before", os_file_name(w->file)) : commit(w, e);
    w->failed = w->failed || r < 0;                  /* a failed flush leaves unknown what is durable */
    pthread_mutex_unlock(&w->commit_lock);
    return r;
}

int image_writer_finish(struct image_writer *w, struct err *e)
{
    int r = image_writer_commit(w, e);
    if (r == 0 && w->format->finish)
        r = w->format->finish(w, e);
    return r < 0 ? r : os_file_sync(w->file, e);
}

void image_writer_close(struct image_writer *w)
{
    if (!w)
        return;
    os_file_close(w->file);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->commit_lock);
    free(w);
}

int writer_last_end(struct image_writer *w, struct disk *d, uint64_t from, struct err *e)
{
    uint64_t blocks = (w->layout.virtual_size + w->layout.block_bytes - 1) / w->layout.block_bytes, size = w->bitmap_bytes + w->layout.block_bytes;
    w->end = from;
    for (uint64_t block = 0; block < blocks; block++) {
        const uint8_t *entry;
        int r = disk_entry(d, w->chunk_blocks ? block + block / w->chunk_blocks : block, w->format->entry_bytes, &entry, e);
        if (r < 0)
            return r;
        uint64_t at = w->format->decode(entry);
        if (at && at + size > w->end)
            w->end = at + size;
    }
    return 0;
}

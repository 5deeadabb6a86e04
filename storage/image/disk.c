/* The guest's bytes, put together from where the formats say that they are. */
#include <string.h>

#include "storage/image/disk.h"

void disk_free(struct disk *d)
{
    for (unsigned i = 0; i < d->link.n_names; i++)
        free(d->link.names[i]);
    d->link.n_names = 0;
    free(d->bitmap);
    d->bitmap = NULL;
}

int image_next_data(const struct image_source *src, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
    if (limit > src->size)
        limit = src->size;
    if (offset >= limit) {
        *ret_start = *ret_end = limit;
        return 0;
    }
    if (src->next_data)
        return src->next_data(src->arg, offset, limit, ret_start, ret_end, e);
    *ret_start = offset;
    *ret_end = limit;
    return 0;
}

int disk_entry(struct disk *d, uint64_t index, size_t width, const uint8_t **ret, struct err *e)
{
    uint64_t at = index * width, page = at / sizeof d->page * sizeof d->page;
    if (!d->page_n || page != d->page_at) {
        uint64_t left = d->table_bytes - page;
        size_t n = left < sizeof d->page ? (size_t)left : sizeof d->page;
        d->page_n = 0;
        int r = d->src->read(d->src->arg, d->page, n, d->table_offset + page, e);
        if (r < 0)
            return r;
        d->page_n = n;
        d->page_at = page;
    }
    *ret = d->page + (at - page);
    return 0;
}

/* A parent may be smaller than its child. */
static int parent_read(const struct disk *d, uint8_t *p, size_t n, uint64_t offset, struct err *e)
{
    uint64_t there = d->parent && offset < d->parent->size ? d->parent->size - offset : 0;
    size_t k = there < n ? (size_t)there : n;
    memset(p + k, 0, n - k);
    return k ? d->parent->read(d->parent->arg, p, k, offset, e) : 0;
}

static int view_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct disk *d = arg;
    struct disk_piece piece;
    for (uint8_t *p = buf; n; p += piece.n, offset += piece.n, n -= (size_t)piece.n) {
        int r = d->where(d, offset, n, &piece, e);
        if (!r && piece.kind == PIECE_FILE)
            r = d->src->read(d->src->arg, p, (size_t)piece.n, piece.at, e);
        else if (!r && piece.kind == PIECE_PARENT)
            r = parent_read(d, p, (size_t)piece.n, offset, e);
        else if (!r)
            memset(p, 0, (size_t)piece.n);
        if (r < 0)
            return r;
    }
    return 0;
}

static int view_next_data(void *arg, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
    struct disk *d = arg;
    struct disk_piece piece;
    for (; offset < limit; offset += piece.n) {
        uint64_t start = 0, end = 0, base = offset;
        int r = d->where(d, offset, limit - offset, &piece, e);
        if (!r && piece.kind == PIECE_FILE) {
            r = image_next_data(d->src, piece.at, piece.at + piece.n, &start, &end, e);
            base = piece.at;
        } else if (!r && piece.kind == PIECE_PARENT && d->parent) {
            r = image_next_data(d->parent, offset, offset + piece.n, &start, &end, e);
        }
        if (r < 0)
            return r;
        if (start < end) {
            *ret_start = offset + (start - base);
            *ret_end = offset + (end - base);
            return 0;
        }
    }
    *ret_start = *ret_end = limit;
    return 0;
}

void disk_view(struct disk *d, const struct image_source *src, uint64_t size)
{
    d->src = src;
    d->view = (struct image_source){.read = view_read, .arg = d, .size = size, .name = src->name, .next_data = view_next_data};
}

static int plain_where(struct disk *d, uint64_t offset, uint64_t max, struct disk_piece *ret, struct err *e)
{
    (void)d;
    (void)e;
    *ret = (struct disk_piece){.kind = PIECE_FILE, .at = offset, .n = max};
    return 0;
}

void disk_plain(struct disk *d, const struct image_source *src, uint64_t size)
{
    d->where = plain_where;
    disk_view(d, src, size);
}

char *utf16_text(const uint8_t *p, size_t n, bool big_endian)
{
    AUTO_STRBUF struct strbuf b = {0};
    for (size_t i = 0; i + 1 < n; i += 2) {
        uint32_t c = (uint32_t)(big_endian ? p[i] << 8 | p[i + 1] : p[i + 1] << 8 | p[i]);
        if (!c)
            break;
        if (c >= 0xd800 && c < 0xdc00 && i + 3 < n) {
            uint32_t low = (uint32_t)(big_endian ? p[i + 2] << 8 | p[i + 3] : p[i + 3] << 8 | p[i + 2]);
            if (low < 0xdc00 || low > 0xdfff)
                return NULL;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        } else if (c >= 0xd800 && c < 0xe000) {
            return NULL;
        }
        char out[4];
        size_t k = 0;
        if (c < 0x80) {
            out[k++] = (char)c;
        } else {
            if (c < 0x800) {
                out[k++] = (char)(0xc0 | c >> 6);
            } else {
                if (c < 0x10000) {
                    out[k++] = (char)(0xe0 | c >> 12);
                } else {
                    out[k++] = (char)(0xf0 | c >> 18);
                    out[k++] = (char)(0x80 | (c >> 12 & 0x3f));
                }
                out[k++] = (char)(0x80 | (c >> 6 & 0x3f));
            }
            out[k++] = (char)(0x80 | (c & 0x3f));
        }
        strbuf_add(&b, out, k);
    }
    return b.len ? strbuf_steal(&b) : NULL;
}

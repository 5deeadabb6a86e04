/* The disk in pages of 64 KiB, the latest kept: metadata lies in clusters, and each read may be a request over a network. */
#include <string.h>

#include "storage/image/fsmap_volume.h"

void reader_free(struct reader *r)
{
    for (size_t i = 0; i < READER_PAGES; i++)
        free(r->pages[i].data);
    memset(r->pages, 0, sizeof r->pages);
}

static int fetch(struct reader *r, void *buf, size_t n, uint64_t offset, struct err *e)
{
    if (r->o->stop && r->o->stop(r->o->arg))
        return err_set(e, ERR_CANCELLED, "stopped while reading the file systems of %s", r->disk->name);
    r->fetched += n;
    return r->disk->read(r->disk->arg, buf, n, offset, e);
}

static size_t page_length(const struct reader *r, uint64_t number)
{
    uint64_t left = r->disk->size - number * READER_PAGE;
    return left < READER_PAGE ? (size_t)left : READER_PAGE;
}

static int page_get(struct reader *r, uint64_t number, struct page **ret, struct err *e)
{
    struct page *oldest = r->pages;
    for (size_t i = 0; i < READER_PAGES; i++) {
        struct page *p = &r->pages[i];
        if (p->used_at && p->number == number) {
            p->used_at = ++r->clock;
            *ret = p;
            return 0;
        }
        if (p->used_at < oldest->used_at)
            oldest = p;
    }
    if (!oldest->data && !(oldest->data = malloc(READER_PAGE)))
        return err_oom(e);
    oldest->used_at = 0;
    int x = fetch(r, oldest->data, page_length(r, number), number * READER_PAGE, e);
    if (x < 0)
        return x;
    oldest->number = number;
    oldest->used_at = ++r->clock;
    *ret = oldest;
    return 0;
}

int reader_read(struct reader *r, void *buf, size_t n, uint64_t offset, struct err *e)
{
    uint8_t *to = buf;
    while (n) {
        if (n >= 2 * READER_PAGE && offset % READER_PAGE == 0) {       /* a map: read once, no use in keeping it */
            size_t step = n < FSMAP_READ_MAX ? n / READER_PAGE * READER_PAGE : FSMAP_READ_MAX;
            int x = fetch(r, to, step, offset, e);
            if (x < 0)
                return x;
            to += step, offset += step, n -= step;
            continue;
        }
        struct page *p = NULL;
        int x = page_get(r, offset / READER_PAGE, &p, e);
        if (x < 0)
            return x;
        size_t skip = (size_t)(offset % READER_PAGE), part = READER_PAGE - skip < n ? READER_PAGE - skip : n;
        memcpy(to, p->data + skip, part);
        to += part, offset += part, n -= part;
    }
    return 0;
}

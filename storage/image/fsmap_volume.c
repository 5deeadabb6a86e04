/* Volumes: where they lie on the disk, what may be read of them, and what is declared free. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "storage/image/fsmap_volume.h"

#define MUST_MAX 65536
#define FIRST_MAX 4096

void volume_init(struct volume *v, struct reader *r, const struct piece *pieces, size_t n)
{
    *v = (struct volume){.reader = r, .pieces = pieces, .n_pieces = n, .rule = "unknown"};
    for (size_t i = 0; i < n; i++)
        v->size += pieces[i].length;
    /* The largest honest maps: one bit or FAT entry (32 bit, twice) for 512 bytes. */
    v->budget = (UINT64_C(64) << 20) + v->size / 32;
}

void volume_free(struct volume *v)
{
    list_free(&v->free.spans);
    list_free(&v->must);
    list_free(&v->first);
}

int volume_refuse(struct volume *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->reason, sizeof v->reason, fmt, ap);
    va_end(ap);
    return FSMAP_IN_USE;
}

/* How many of the first `x` bytes of a striped piece lie on stripe k. */
static uint64_t on_stripe(const struct piece *p, uint64_t x, unsigned k)
{
    if (p->stripes == 1)
        return x;
    uint64_t chunk = p->stripe_bytes, row = chunk * p->stripes, before = k * chunk, rest = x % row;
    uint64_t part = rest <= before ? 0 : rest - before < chunk ? rest - before : chunk;
    return x / row * chunk + part;
}

static const struct piece *piece_at(const struct volume *v, uint64_t offset)
{
    size_t low = 0, high = v->n_pieces;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (v->pieces[mid].at <= offset)
            low = mid;
        else
            high = mid;
    }
    return &v->pieces[low];
}

int volume_read(struct volume *v, void *buf, size_t n, uint64_t offset, struct err *e)
{
    uint8_t *to = buf;
    if (offset > v->size || n > v->size - offset)
        return volume_refuse(v, "a part of it lies past the end of the volume");
    uint64_t fetched = v->reader->fetched;
    while (n) {
        const struct piece *p = piece_at(v, offset);
        uint64_t inside = offset - p->at, length = p->length - inside, disk = p->disk[0] + inside;
        if (p->stripes > 1) {
            unsigned k = (unsigned)(inside / p->stripe_bytes % p->stripes);
            disk = p->disk[k] + on_stripe(p, inside, k);
            length = p->stripe_bytes - inside % p->stripe_bytes;
        }
        size_t part = length < n ? (size_t)length : n;
        if (v->budget < part)
            return volume_refuse(v, "its metadata is larger than a volume of this size can have");
        v->budget -= part;
        int r = reader_read(v->reader, to, part, disk, e);
        if (r < 0)
            return r;
        to += part, offset += part, n -= part;
    }
    fetched = v->reader->fetched - fetched;
    v->budget -= fetched < v->budget ? fetched : v->budget;
    return 0;
}

int volume_on_disk(const struct volume *v, uint64_t start, uint64_t end, int (*each)(void *arg, uint64_t start, uint64_t end), void *arg)
{
    while (start < end) {
        const struct piece *p = piece_at(v, start);
        uint64_t from = start - p->at, to = end - p->at < p->length ? end - p->at : p->length;
        for (unsigned k = 0; k < p->stripes; k++) {
            uint64_t a = p->disk[k] + on_stripe(p, from, k), b = p->disk[k] + on_stripe(p, to, k);
            int r = a < b ? each(arg, a, b) : 0;
            if (r)
                return r;
        }
        start = p->at + to;
    }
    return 0;
}

int volume_must(struct volume *v, uint64_t start, uint64_t end, struct err *e)
{
    if (start > end || end > v->size)
        return volume_refuse(v, "a part of it lies past the end of the volume");
    if (v->must.n >= MUST_MAX)
        return volume_refuse(v, "its metadata lies in more than %u pieces", MUST_MAX);
    v->must_sorted = false;
    return list_add(&v->must, start, end) ? 0 : err_oom(e);
}

void volume_must_forget(struct volume *v)
{
    v->must.n = v->must_at = 0;
}

int volume_metadata(struct volume *v, uint64_t start, uint64_t end, struct err *e)
{
    int r = volume_must(v, start, end, e);
    if (r || v->first.n >= FIRST_MAX)
        return r;
    return list_add(&v->first, start, end) ? 0 : err_oom(e);
}

int volume_declare_free(struct volume *v, uint64_t start, uint64_t end, struct err *e)
{
    if (!v->must_sorted) {
        list_sort(&v->must);
        v->must_sorted = true;
        v->must_at = 0;
    }
    if (start < v->free_end || start >= end || end > v->size)
        return volume_refuse(v, "its free space is out of order or past the end of the volume");
    while (v->must_at < v->must.n && v->must.list[v->must_at].end <= start)
        v->must_at++;
    if (v->must_at < v->must.n && v->must.list[v->must_at].start < end)
        return volume_refuse(v, "its map calls its own metadata or data free (at byte %llu)", (unsigned long long)v->must.list[v->must_at].start);
    v->free_end = end;
    return free_list_add(&v->free, start, end) ? 0 : err_oom(e);
}

int bitmap_end(struct bitmap_scan *s, struct err *e)
{
    if (!s->in_run)
        return 0;
    s->in_run = false;
    s->free_bits += s->bits - s->run;
    return volume_declare_free(s->v, s->origin + s->run * s->unit, s->origin + s->bits * s->unit, e);
}

static int bitmap_bit(struct bitmap_scan *s, bool used, struct err *e)
{
    int r = used ? bitmap_end(s, e) : 0;
    if (!used && !s->in_run) {
        s->in_run = true;
        s->run = s->bits;
    }
    s->bits++;
    return r;
}

int bitmap_feed(struct bitmap_scan *s, const uint8_t *map, uint64_t bits, struct err *e)
{
    for (uint64_t i = 0; i < bits;) {
        uint8_t byte = map[i / 8];
        if (i % 8 == 0 && bits - i >= 8 && (byte == 0xff ? !s->in_run : byte == 0 && s->in_run)) {     /* nothing changes */
            s->bits += 8;
            i += 8;
            continue;
        }
        int r = bitmap_bit(s, byte >> i % 8 & 1, e);
        if (r)
            return r;
        i++;
    }
    return 0;
}

uint32_t fsmap_crc32c(const uint8_t *p, size_t n, size_t field)
{
    static const uint32_t nibble[16] = {                               /* CRC-32C, four bits at a time */
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= i - field < 4 ? 0u : p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

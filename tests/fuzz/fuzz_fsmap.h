/* What the targets of the file system maps share: a sparse volume that the input describes.
 *   flags: 1 byte    bit 7: put right the checksums of what is read; the rest is the target's
 *   size: 6 bytes    of the volume, little-endian
 *   then pieces:     offset 6 bytes, kind and length 2 bytes (kind: the upper two bits), data; the later one wins, zeros elsewhere
 *     kind 0         length bytes of data
 *     kind 1         one byte of data, which fills length * 512 bytes
 *     kind 2         six bytes of data: where in the volume, as the pieces before make it, length bytes are copied from
 * Right checksums let mutated structures through to the code behind the checks. */
#ifndef VMR_TESTS_FUZZ_FUZZ_FSMAP_H
#define VMR_TESTS_FUZZ_FUZZ_FSMAP_H

#include "storage/image/fsmap_volume.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_READS 3000
#define FUZZ_HEADER 7

struct fuzz_volume {
    const uint8_t *pieces;
    size_t n;
    uint64_t size;
    unsigned reads;
    /* Puts right the checksums in a page; NULL: none. fuzz_bytes gives what lies elsewhere. */
    void (*seal)(const struct fuzz_volume *f, uint8_t *p, size_t n, uint64_t offset);
};

static inline uint64_t fuzz_le48(const uint8_t *p)
{
    return le32(p) | (uint64_t)le16(p + 4) << 32;
}

/* What the pieces before byte `until` of the input make of [offset, offset + n). */
static inline void fuzz_pieces(const struct fuzz_volume *f, uint8_t *buf, size_t n, uint64_t offset, size_t until, unsigned depth)
{
    memset(buf, 0, n);
    for (size_t at = 0; at + 8 <= until;) {
        uint64_t start = fuzz_le48(f->pieces + at);
        unsigned kind = le16(f->pieces + at + 6) >> 14;
        uint64_t len = le16(f->pieces + at + 6) & 0x3fff, bytes = kind == 1 ? len * 512 : len;
        size_t data = at + 8, stored = kind == 1 ? 1 : kind == 2 ? 6 : (size_t)len;
        if (stored > until - data)
            return;
        uint64_t from = start > offset ? start : offset, to = start + bytes < offset + n ? start + bytes : offset + n;
        if (from < to) {
            uint8_t *out = buf + (from - offset);
            if (kind == 1)
                memset(out, f->pieces[data], (size_t)(to - from));
            else if (kind == 2 && depth < 2)
                fuzz_pieces(f, out, (size_t)(to - from), fuzz_le48(f->pieces + data) + (from - start), at, depth + 1);
            else if (kind == 0)
                memcpy(out, f->pieces + data + (from - start), (size_t)(to - from));
        }
        at = data + stored;
    }
}

static inline void fuzz_bytes(const struct fuzz_volume *f, uint8_t *buf, size_t n, uint64_t offset)
{
    fuzz_pieces(f, buf, n, offset, f->n, 0);
}

static inline int fuzz_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct fuzz_volume *f = arg;
    MUST(n && n <= FSMAP_READ_MAX && offset <= f->size && n <= f->size - offset);
    if (++f->reads > FUZZ_READS)                     /* a huge map of a huge volume; nothing new comes of it */
        return err_set(e, ERR_IO, "enough");
    fuzz_bytes(f, buf, n, offset);
    if (f->seal)
        f->seal(f, buf, n, offset);
    return 0;
}

static inline void fuzz_put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* false: too short to be an input. */
static inline bool fuzz_volume_make(struct fuzz_volume *f, const uint8_t *data, size_t n, void (*seal)(const struct fuzz_volume *, uint8_t *, size_t, uint64_t))
{
    if (n < FUZZ_HEADER)
        return false;
    *f = (struct fuzz_volume){.pieces = data + FUZZ_HEADER, .n = n - FUZZ_HEADER, .size = fuzz_le48(data + 1) & 0x3fffffffffff};
    if (data[0] & 0x80)
        f->seal = seal;
    return true;
}

/* Lets a reader judge the volume, and checks what it promises. */
static inline void fuzz_judge(struct fuzz_volume *f, const struct fsmap_options *o, int (*judge)(struct volume *v, struct err *e))
{
    struct image_source src = {.read = fuzz_read, .arg = f, .size = f->size, .name = "input"};
    struct reader reader = {.disk = &src, .o = o};
    struct piece piece = {.length = f->size, .stripes = 1};
    struct volume v;
    struct err e = {0};
    volume_init(&v, &reader, &piece, 1);
    int r = judge(&v, &e);
    MUST(r == 0 || r == FSMAP_IN_USE || r == FSMAP_MEMBER || r < 0);
    must_be_result(r > 0 ? 0 : r, &e);
    if (r > 0)
        MUST(v.reason[0] && strlen(v.reason) < sizeof v.reason);
    uint64_t at = 0;
    for (size_t i = 0; r == 0 && i < v.free.spans.n; i++) {
        const struct fsmap_range *s = &v.free.spans.list[i];
        MUST(s->start < s->end && s->end <= f->size && (!i || s->start > at));
        at = s->end;
    }
    MUST(v.free.spans.n < FSMAP_SPANS_MAX);
    volume_free(&v);
    reader_free(&reader);
}

#endif

/* A finished download against its record. What is in no piece was a hole when it was written: it must read as zeros. */
#include <string.h>

#include "common/crc64.h"
#include "storage/image/open.h"
#include "storage/transfer/spans.h"
#include "storage/transfer/sums.h"
#include "storage/transfer/transfer.h"

#define BUFFER_BYTES ((size_t)1 << 20)

struct check {
    const struct transfer_verify *v;
    const struct image_source *file;                 /* or the disk in it */
    struct transfer_verdict *out;
    uint64_t at;                                     /* all before it is judged */
    char *buffer;
};

static int stopped(struct check *c, struct err *e)
{
    if (c->v->stop && c->v->stop(c->v->arg))
        return err_set(e, ERR_CANCELLED, "the check of %s was stopped", c->v->path);
    if (c->v->progress)
        c->v->progress(c->v->arg, c->at, c->out->length);
    return 0;
}

static void note(struct check *c, uint64_t start, uint64_t end)
{
    struct transfer_verdict *o = c->out;
    o->damaged_bytes += end - start;
    if (o->n && o->list[o->n - 1].end == start)
        o->list[o->n - 1].end = end;
    else if (o->n < TRANSFER_DAMAGES)
        o->list[o->n++] = (struct blob_range){start, end};
}

/* Not what another piece has said already. */
static int piece(struct check *c, const struct sum *s, struct err *e)
{
    uint64_t crc = 0;
    for (uint64_t at = s->start; at < s->end;) {
        size_t n = s->end - at < BUFFER_BYTES ? (size_t)(s->end - at) : BUFFER_BYTES;
        int r = c->file->read(c->file->arg, c->buffer, n, at, e);
        if (r < 0 || (r = stopped(c, e)) < 0)
            return r;
        crc = crc64(crc, c->buffer, n);
        at += n;
    }
    if (crc != s->crc)
        note(c, s->start, s->end);
    return 0;
}

static int hole(struct check *c, uint64_t end, bool partial, struct err *e)
{
    while (c->at < end) {
        uint64_t data = end, stop = end;
        int r = image_next_data(c->file, c->at, end, &data, &stop, e);
        if (r < 0 || (r = stopped(c, e)) < 0)
            return r;
        if (data >= end) {
            c->at = end;
            return 0;
        }
        if (data > c->at)
            c->at = data;
        size_t n = stop - c->at < BUFFER_BYTES ? (size_t)(stop - c->at) : BUFFER_BYTES;
        if ((r = c->file->read(c->file->arg, c->buffer, n, c->at, e)) < 0)
            return r;
        if (!mem_is_zero(c->buffer, n)) {
            if (partial)
                c->out->unknown_bytes += n;
            else
                note(c, c->at, c->at + n);
        }
        c->at += n;
    }
    return 0;
}

static int all(struct check *c, const struct sums *s, bool partial, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        int r = s->list[i].start > c->at ? hole(c, s->list[i].start, partial, e) : 0;
        if (r == 0)
            r = piece(c, &s->list[i], e);
        if (r < 0)
            return r;
        if (s->list[i].end > c->at)
            c->at = s->list[i].end;
    }
    return hole(c, c->out->length, partial, e);
}

/* PATH is no image of this kind any more, or cannot be read at all. */
static int no_image(const char *path, unsigned format, int r, struct err *e)
{
    if (r == -ERR_OOM || r == -ERR_IO)
        return r;
    struct err why = *e;
    return err_set(e, ERR_IMAGE_DAMAGED, "%s is not the %s image any more that was downloaded: %.300s", path, image_format_name((enum image_format)format),
                   why.msg);
}

int transfer_verify(const struct transfer_verify *v, struct transfer_verdict *ret, struct err *e)
{
    AUTO_IMAGE_FILE struct image_source file = {0};
    AUTO(image_close_ptr) struct image *image = NULL;
    AUTO(sums_free) struct sums s = {0};
    AUTO_FREE char *buffer = malloc(BUFFER_BYTES), *record = str_printf("%s" SUMS_SUFFIX, v->path);
    struct sums_kind kind = {0};
    uint64_t recorded = 0;
    *ret = (struct transfer_verdict){0};
    if (!buffer || !record)
        return err_oom(e);
    struct check c = {.v = v, .out = ret, .buffer = buffer};
    int r = sums_read(record, &recorded, &kind, &s, e);
    if (r == 0 && kind.form > 1 + IMAGE_VHDX)
        r = err_set(e, ERR_EMPTY, "the record %s is of a newer version", record);
    if (r < 0 && r != -ERR_EMPTY)
        return r;
    if (r == 0 && kind.form) {
        if ((r = image_open(v->path, (int)kind.form - 1, &image, e)) < 0)
            return no_image(v->path, kind.form - 1, r, e);
        c.file = image_disk(image);
    } else {
        struct err lost = *e;
        int opened = image_file_open(v->path, &file, e);
        if (opened < 0)
            return opened;
        if (v->length && file.size != v->length)
            return err_set(e, ERR_IMAGE_DAMAGED, "%s is %llu bytes long, and was %llu when its download ended", v->path, (unsigned long long)file.size,
                           (unsigned long long)v->length);
        if (r < 0) {
            *e = lost;
            return r;
        }
        c.file = &file;
    }
    ret->length = c.file->size;
    if (ret->length != recorded)
        return err_set(e, kind.form ? ERR_IMAGE_DAMAGED : ERR_EMPTY, "%s has %llu bytes, and its record is of %llu", v->path, (unsigned long long)ret->length,
                       (unsigned long long)recorded);
    return all(&c, &s, kind.partial, e);
}

/* A finished download against its record. What is in no piece was a hole when it was written: it must read as zeros. */
#include <string.h>

#include "common/crc64.h"
#include "storage/transfer/spans.h"
#include "storage/transfer/sums.h"
#include "storage/transfer/transfer.h"

#define BUFFER_BYTES ((size_t)1 << 20)

struct check {
    const struct transfer_verify *v;
    struct os_file *file;
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
        int r = os_file_pread(c->file, c->buffer, n, at, e);
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
        int r = os_file_next_data(c->file, c->at, end, &data, &stop, e);
        if (r < 0 || (r = stopped(c, e)) < 0)
            return r;
        if (data >= end) {
            c->at = end;
            return 0;
        }
        if (data > c->at)
            c->at = data;
        size_t n = stop - c->at < BUFFER_BYTES ? (size_t)(stop - c->at) : BUFFER_BYTES;
        if ((r = os_file_pread(c->file, c->buffer, n, c->at, e)) < 0)
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

int transfer_verify(const struct transfer_verify *v, struct transfer_verdict *ret, struct err *e)
{
    AUTO(os_file_close_ptr) struct os_file *file = NULL;
    AUTO(sums_free) struct sums s = {0};
    AUTO_FREE char *buffer = malloc(BUFFER_BYTES), *record = str_printf("%s" SUMS_SUFFIX, v->path);
    bool partial = false;
    *ret = (struct transfer_verdict){0};
    if (!buffer || !record)
        return err_oom(e);
    int r = os_file_open(v->path, OS_READ, &file, e);
    if (r < 0 || (r = os_file_size(file, &ret->length, e)) < 0)
        return r;
    if (v->length && ret->length != v->length)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is %llu bytes long, and was %llu when its download ended", v->path, (unsigned long long)ret->length,
                       (unsigned long long)v->length);
    if ((r = sums_read(record, ret->length, &s, &partial, e)) < 0)
        return r;
    struct check c = {.v = v, .file = file, .out = ret, .buffer = buffer};
    return all(&c, &s, partial, e);
}

/* Is a disk empty? No tool knows every format, but whoever wrote one wrote something, most likely at the beginning or the end. */
#include <string.h>

#include "storage/volume/hostdisk.h"

#define EDGE_BYTES ((size_t)1 << 20)
#define SAMPLE_BYTES ((size_t)64 << 10)
#define SAMPLES 256                                  /* 16 MiB in all: a second or two on the slowest cloud disk */
#define TURNS 7
#define SMALL_BYTES ((uint64_t)4 << 20)              /* a disk below this is judged too small, and not read */
#define ALIGN 4096                                   /* of memory, offsets and lengths: what reads past the cache ask for */

/* Index of the first byte that is not zero, or n. */
static size_t first_other(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t w[8];
        memcpy(w, p + i, sizeof w);
        if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
            break;
    }
    while (i < n && !p[i])
        i++;
    return i;
}

struct look {
    struct hostdisk *d;
    hostdisk_read_fn *read;
    void *arg;
    uint8_t *buf;
};

/* True: go on. */
static bool look_at(struct look *l, uint64_t offset, size_t n)
{
    struct err why;
    if (l->read(l->arg, l->buf, n, offset, &why) < 0) {
        l->d->unreadable = str_dup(why.msg);
        return false;
    }
    size_t i = first_other(l->buf, n);
    if (i == n)
        return true;
    l->d->blank = HOSTDISK_NOT_BLANK;
    l->d->blank_at = offset + i;
    return false;
}

static int look_init(struct look *l, struct hostdisk *d, hostdisk_read_fn *read, void *arg, void **ret_buf, struct err *e)
{
    uint8_t *buf = *ret_buf = malloc(EDGE_BYTES + ALIGN);
    d->blank = HOSTDISK_NOT_READ;
    *l = (struct look){d, read, arg, buf + (ALIGN - (uintptr_t)buf % ALIGN)};
    return buf ? 0 : err_oom(e);
}

static bool look_between(struct look *l, unsigned turn)
{
    uint64_t last = (l->d->size - EDGE_BYTES) / ALIGN * ALIGN, step = (last - EDGE_BYTES) / SAMPLES, shift = step * (turn % TURNS) / TURNS;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t at = EDGE_BYTES + (step * i + shift) / ALIGN * ALIGN;
        if (!look_at(l, at, at + SAMPLE_BYTES <= last ? SAMPLE_BYTES : (size_t)(last - at)))
            return false;
    }
    return true;
}

int hostdisk_look_between(struct hostdisk *d, unsigned turn, hostdisk_read_fn *read, void *arg, struct err *e)
{
    AUTO_FREE void *buf = NULL;
    struct look l;
    int r = look_init(&l, d, read, arg, &buf, e);
    if (r == 0 && d->size >= SMALL_BYTES && look_between(&l, turn))
        d->blank = HOSTDISK_BLANK;
    return r;
}

int hostdisk_look(struct hostdisk *d, unsigned turn, hostdisk_read_fn *read, void *arg, struct err *e)
{
    AUTO_FREE void *buf = NULL;
    struct look l;
    int r = look_init(&l, d, read, arg, &buf, e);
    if (r < 0 || d->size < SMALL_BYTES)
        return r;
    uint64_t last = (d->size - EDGE_BYTES) / ALIGN * ALIGN, tail = d->size - last;
    if (look_at(&l, 0, EDGE_BYTES) && look_at(&l, last, EDGE_BYTES) &&
        (tail == EDGE_BYTES || look_at(&l, last + EDGE_BYTES, (size_t)(tail - EDGE_BYTES))) && look_between(&l, turn))
        d->blank = HOSTDISK_BLANK;
    return 0;
}

/* XFS: was the file system unmounted? The log is a ring of 512-byte blocks, each beginning with the number of the round that wrote it (a
 * record's header has it behind its magic). Where the number falls is the head; an unmount leaves one last record that ends there.
 *
 * Up to 2 MiB before the head may be torn in a crash. An unmounted log is whole there, so anything else counts as not unmounted.
 * Source: Linux, fs/xfs/xfs_log_recover.c (xlog_find_head, xlog_check_unmount_rec), libxfs/xfs_log_format.h. */
#include <string.h>

#include "storage/image/fsmap_xfs.h"

#define BB 512u
#define TORN_BLOCKS 4096u                            /* 8 buffers of at most 256 KiB */
#define STEP_BLOCKS 128u
#define MAGIC 0xfeedbabeu
#define UNMOUNT 0x20

struct log { struct xfs *x; uint64_t blocks; };

static uint32_t cycle_of(const uint8_t *block)
{
    return be32(block) == MAGIC ? be32(block + 4) : be32(block);
}

static int cycle_read(struct log *l, uint64_t block, uint32_t *ret, struct err *e)
{
    uint8_t b[8];
    int r = volume_read(l->x->v, b, sizeof b, l->x->log_at + block * BB, e);
    if (!r)
        *ret = cycle_of(b);
    return r;
}

/* Blocks [from, to) all of this round? */
static int all_of(struct log *l, uint64_t from, uint64_t to, uint32_t cycle, struct err *e)
{
    uint8_t b[STEP_BLOCKS * BB];
    while (from < to) {
        uint64_t n = to - from < STEP_BLOCKS ? to - from : STEP_BLOCKS;
        int r = volume_read(l->x->v, b, (size_t)n * BB, l->x->log_at + from * BB, e);
        if (r)
            return r;
        for (uint64_t i = 0; i < n; i++)
            if (cycle_of(b + i * BB) != cycle)
                return volume_refuse(l->x->v, "its log is torn: it was not unmounted");
        from += n;
    }
    return 0;
}

/* The first block of the round before; that is 0 when the last block is of the round of the first. */
static int head_find(struct log *l, uint64_t *ret, uint32_t *ret_cycle, struct err *e)
{
    uint32_t first, last, c;
    int r = cycle_read(l, 0, &first, e);
    if (!r)
        r = cycle_read(l, l->blocks - 1, &last, e);
    if (r)
        return r;
    if (!first || (last != first && last != first - 1))
        return volume_refuse(l->x->v, "its log is empty or damaged");
    uint64_t low = 0, high = l->blocks;              /* block low is of `first`, block high of `last` (or behind the end) */
    while (last != first && high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if ((r = cycle_read(l, mid, &c, e)))
            return r;
        if (c != first && c != last)
            return volume_refuse(l->x->v, "its log is torn: it was not unmounted");
        if (c == first)
            low = mid;
        else
            high = mid;
    }
    *ret = high;
    *ret_cycle = first;
    uint64_t before = high < TORN_BLOCKS ? 0 : high - TORN_BLOCKS, behind = l->blocks - high < TORN_BLOCKS ? l->blocks : high + TORN_BLOCKS;
    r = all_of(l, before, high, first, e);
    if (!r)
        r = all_of(l, high, behind, first - 1, e);
    if (!r && before == 0 && high < TORN_BLOCKS && first > 1)          /* the stretch before the head begins at the ring's end */
        r = all_of(l, l->blocks - (TORN_BLOCKS - high < l->blocks - high ? TORN_BLOCKS - high : l->blocks - high), l->blocks, first - 1, e);
    return r;
}

/* A record's header at this block; the unmount record's blocks end at `head`. */
static int is_unmount(struct log *l, const uint8_t *h, uint64_t at, uint64_t head, uint32_t cycle, bool *ret, struct err *e)
{
    uint32_t bytes = be32(h + 12), size = be32(h + 320), headers = be32(h + 8) & 2 && size > 32768 ? (size + 32767) / 32768 : 1;
    uint8_t op[12];
    *ret = false;
    if (be32(h + 4) != cycle || be64(h + 16) != ((uint64_t)cycle << 32 | at) || memcmp(h + 304, l->x->log_uuid, 16) || be32(h + 40) != 1)
        return 0;
    if (bytes > 256u << 10 || size > 256u << 10 || at + headers + (bytes + BB - 1) / BB != head)
        return 0;
    int r = volume_read(l->x->v, op, sizeof op, l->x->log_at + (at + headers) * BB, e);
    if (!r)
        *ret = op[9] & UNMOUNT;
    return r;
}

int xfs_log_check(struct xfs *x, struct err *e)
{
    struct log l = {.x = x, .blocks = (uint64_t)x->log_blocks * x->block / BB};
    uint64_t head = 0;
    uint32_t cycle = 0;
    int r = head_find(&l, &head, &cycle, e);
    if (r)
        return r;
    /* The last record before the head. */
    for (uint64_t back = 1; back <= head && back <= TORN_BLOCKS; back++) {
        uint8_t h[BB];
        bool unmount;
        if ((r = volume_read(x->v, h, sizeof h, x->log_at + (head - back) * BB, e)))
            return r;
        if (be32(h) != MAGIC)
            continue;
        if ((r = is_unmount(&l, h, head - back, head, cycle, &unmount, e)))
            return r;
        return unmount ? 0 : volume_refuse(x->v, "its log is dirty: it was not unmounted");
    }
    return volume_refuse(x->v, "its log does not end with a record: it was not unmounted");
}

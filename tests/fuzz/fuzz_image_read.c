/* The readers behind image_open, over the same sparse file as fuzz_image: layers of a chain, what they say of their parents, every byte and
 * every hole. A parent is there where one is wanted, whatever its id. */
#include "tests/fuzz/fuzz_image.h"

#define READS 24

static int parent_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    (void)arg;
    (void)offset;
    (void)e;
    memset(buf, 0x5a, n);
    return 0;
}

static int parent_next_data(void *arg, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
    (void)arg;
    (void)e;
    MUST(offset < limit);
    *ret_start = offset;
    *ret_end = limit;
    return 0;
}

/* Holes hold zeros, data ends where it says, and the steps go forward. */
static void holes(const struct image_source *v)
{
    static uint8_t buf[65536];
    uint64_t at = 0, start, end;
    for (int i = 0; i < READS && at < v->size; i++, at = end) {
        struct err e;
        int r = image_next_data(v, at, v->size, &start, &end, &e);
        if (r < 0) {
            must_be_result(r, &e);
            return;
        }
        MUST(start >= at && end >= start && end <= v->size && (end > start || start == v->size));
        size_t n = start - at < sizeof buf ? (size_t)(start - at) : sizeof buf;
        if (n && v->read(v->arg, buf, n, at, &e) == 0)
            MUST(!buf[0] && !memcmp(buf, buf + 1, n - 1));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 9)
        return 0;
    struct input in = {.pieces = data + 9, .n = n - 9, .size = le64(data + 1) & INT64_MAX, .seal = data[0] & 0x80};
    struct image_source src = {.read = input_read, .arg = &in, .size = in.size, .name = "input"};
    struct image_source parent = {.read = parent_read, .next_data = parent_next_data, .size = in.size / 2, .name = "parent"};
    AUTO_DISK struct disk d = {.chained = true};
    struct image_info info = {.sector_size = 512};
    struct err e;
    int r = image_read_format(&src, (data[0] & 7) == 7 ? -1 : data[0] & 3, &info, &d, &e);
    must_be_result(r, &e);
    MUST(d.link.n_names <= PARENT_NAMES_MAX && d.link.n_ids <= 2);
    for (unsigned i = 0; i < d.link.n_names; i++)
        MUST(str_is_utf8(d.link.names[i], strlen(d.link.names[i])));
    if (r < 0)
        return 0;
    MUST(d.view.size == info.virtual_size && info.differencing == d.differencing);
    MUST(!d.differencing || d.link.n_ids);
    d.parent = d.differencing && n % 2 ? &parent : NULL;
    in.reads = 0;
    static uint8_t buf[65536];
    uint64_t step = d.view.size / READS + 1;
    for (uint64_t at = 0; at < d.view.size; at += step) {
        size_t k = d.view.size - at < sizeof buf ? (size_t)(d.view.size - at) : sizeof buf;
        if ((r = d.view.read(d.view.arg, buf, k, at, &e)) < 0)
            must_be_result(r, &e);
    }
    if (!d.parent)
        holes(&d.view);
    return 0;
}

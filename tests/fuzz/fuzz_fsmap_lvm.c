/* A whole disk that may hold LVM, with or without a partition table. Flag 1: swap contents are free. */
#include "common/crypto.h"
#include "tests/fuzz/fuzz_fsmap.h"

static uint32_t lvm_crc(const uint8_t *p, size_t n)
{
    return ~crypto_crc32(~0xf597a6cfu, p, n);
}

/* Labels, the headers of metadata areas, and in those the checksum of the text. */
static void seal(const struct fuzz_volume *f, uint8_t *p, size_t n, uint64_t offset)
{
    static uint8_t text[8192];
    for (size_t at = 0; at + 512 <= n; at += 512) {
        uint8_t *s = p + at;
        if (!memcmp(s, "LABELONE", 8)) {
            fuzz_put32(s + 16, lvm_crc(s + 20, 492));
        } else if (!memcmp(s + 4, " LVM2 x[5A%r0N*>", 16)) {
            uint64_t from = le64(s + 40), len = le64(s + 48), size = le64(s + 32);
            if (len <= sizeof text && from >= 512 && from <= size && len <= size - 512 && size <= f->size) {
                uint64_t head = len < size - from ? len : size - from;
                fuzz_bytes(f, text, (size_t)head, offset + at + from);
                fuzz_bytes(f, text + head, (size_t)(len - head), offset + at + 512);
                fuzz_put32(s + 56, lvm_crc(text, (size_t)len));
            }
            fuzz_put32(s, lvm_crc(s + 4, 508));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_volume f;
    struct err e = {0};
    struct fsmap m = {0};
    if (!fuzz_volume_make(&f, data, n, seal))
        return 0;
    struct image_source src = {.read = fuzz_read, .arg = &f, .size = f.size, .name = "input"};
    struct fsmap_options o = {.sector_size = data[0] & 2 ? 4096 : 512, .skip_swap = data[0] & 1};
    int r = fsmap_read(&src, &o, &m, &e);
    must_be_result(r, &e);
    if (r < 0)
        return 0;
    uint64_t sum = 0, bytes = 0, used = 0, at = 0;
    for (size_t i = 0; i < m.used.n; i++) {
        MUST(m.used.list[i].start < m.used.list[i].end && m.used.list[i].end <= f.size && (!i || m.used.list[i].start > at));
        at = m.used.list[i].end;
        sum += m.used.list[i].end - m.used.list[i].start;
    }
    for (size_t i = 0; i < m.n_regions; i++) {
        bytes += m.regions[i].bytes;
        used += m.regions[i].used;
    }
    MUST(sum == m.bytes && bytes == f.size && used <= sum);
    fsmap_free(&m);
    return 0;
}

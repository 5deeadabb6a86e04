/* The XFS reader. */
#include "tests/fuzz/fuzz_fsmap.h"

static void seal_at(uint8_t *p, size_t n, size_t field)
{
    fuzz_put32(p + field, fsmap_crc32c(p, n, field));
}

static void seal(const struct fuzz_volume *f, uint8_t *p, size_t n, uint64_t offset)
{
    uint8_t super[104];
    (void)offset;
    fuzz_bytes(f, super, sizeof super, 0);
    size_t block = be32(super + 4), sector = (size_t)super[102] << 8 | super[103];
    if (sector < 512 || sector > 4096 || block < 512 || block > 65536)
        return;
    for (size_t at = 0; at + 512 <= n; at += 512) {
        if (!memcmp(p + at, "XFSB", 4) && at + sector <= n)
            seal_at(p + at, sector, 224);
        else if (!memcmp(p + at, "XAGF", 4) && at + sector <= n)
            seal_at(p + at, sector, 216);
        else if (!memcmp(p + at, "AB3", 3) && at + block <= n)
            seal_at(p + at, block, 52);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_volume f;
    struct fsmap_options o = {.sector_size = 512};
    if (fuzz_volume_make(&f, data, n, seal))
        fuzz_judge(&f, &o, fsmap_xfs);
    return 0;
}

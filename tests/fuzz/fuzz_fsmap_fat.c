/* FAT, exFAT and swap areas, through the recognition that leads to them. */
#include "tests/fuzz/fuzz_fsmap.h"

/* exFAT's boot region: 11 sectors, then their sum all over the twelfth. */
static void seal(const struct fuzz_volume *f, uint8_t *p, size_t n, uint64_t offset)
{
    (void)f;
    if (offset || n < 12 * 512 || memcmp(p + 3, "EXFAT   ", 8) || p[108] < 9 || p[108] > 12)
        return;
    size_t sector = (size_t)1 << p[108];
    uint32_t sum = 0;
    for (size_t i = 0; i < 11 * sector && 12 * sector <= n; i++)
        if (i != 106 && i != 107 && i != 112)
            sum = (sum >> 1 | sum << 31) + p[i];
    for (size_t i = 11 * sector; i < 12 * sector && 12 * sector <= n; i += 4)
        fuzz_put32(p + i, sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_volume f;
    if (!fuzz_volume_make(&f, data, n, seal))
        return 0;
    struct fsmap_options o = {.sector_size = 512, .skip_swap = true};
    fuzz_judge(&f, &o, fsmap_judge);
    return 0;
}

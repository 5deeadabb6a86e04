/* The ext2/3/4 reader, libext2fs in it. */
#include "tests/fuzz/fuzz_fsmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_volume f;
    struct fsmap_options o = {.sector_size = 512};
    if (fuzz_volume_make(&f, data, n, NULL))
        fuzz_judge(&f, &o, fsmap_ext);
    return 0;
}

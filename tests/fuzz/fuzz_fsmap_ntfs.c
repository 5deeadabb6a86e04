/* The NTFS reader. Flag 1: paging files are looked for. */
#include "tests/fuzz/fuzz_fsmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_volume f;
    if (!fuzz_volume_make(&f, data, n, NULL))
        return 0;
    struct fsmap_options o = {.sector_size = 512, .skip_pagefiles = data[0] & 1};
    fuzz_judge(&f, &o, fsmap_ntfs);
    return 0;
}

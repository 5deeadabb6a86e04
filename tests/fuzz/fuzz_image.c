/* image_probe over a sparse file that the input describes:
 *   flags: 1 byte    bits 0..2: expected format (7: any), bit 7: put right checksums on what is read
 *   size: 8 bytes    of the file, little-endian
 *   then pieces:     offset 6 bytes, length 2 bytes, data; the later one wins; zeros elsewhere
 * Right checksums let mutated headers through to the code behind the checks. */
#include "tests/fuzz/fuzz_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 9)
        return 0;
    struct input in = {.pieces = data + 9, .n = n - 9, .size = le64(data + 1) & INT64_MAX, .seal = data[0] & 0x80};
    struct image_source src = {.read = input_read, .arg = &in, .size = in.size, .name = "input"};
    int expect = (data[0] & 7) == 7 ? -1 : data[0] & 3;
    struct image_info info;
    struct err e;
    memset(&info, 0xa5, sizeof info);
    int r = image_probe(&src, expect, &info, &e);
    must_be_result(r, &e);
    if (r < 0)
        return 0;
    MUST(expect < 0 || (int)info.format == expect);
    MUST(info.virtual_size > 0 && info.virtual_size % 512 == 0 && info.virtual_size <= IMAGE_MAX_BYTES);
    MUST(info.format != IMAGE_VHD || info.virtual_size == in.size - 512);
    MUST(info.format != IMAGE_RAW || info.virtual_size == in.size);
    MUST(info.sector_size == 512 || info.sector_size == 4096);
    MUST(info.generation == 1 || info.generation == 2);
    MUST(strlen(info.creator) < sizeof info.creator);
    MUST(info.table != TABLE_NONE || (!info.partitions && !info.table_damaged));
    return 0;
}

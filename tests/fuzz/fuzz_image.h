/* What the targets that read images share: a sparse file that the input describes. */
#ifndef VMR_TESTS_FUZZ_FUZZ_IMAGE_H
#define VMR_TESTS_FUZZ_FUZZ_IMAGE_H

#include "common/crypto.h"
#include "storage/image/disk.h"
#include "tests/fuzz/fuzz.h"

struct input {
    const uint8_t *pieces;
    size_t n;
    uint64_t size;
    bool seal;
    unsigned reads;
};

static void bytes(const struct input *in, uint8_t *buf, size_t n, uint64_t offset)
{
    memset(buf, 0, n);
    for (size_t at = 0; in->n - at >= 8;) {
        uint64_t start = le64(in->pieces + at) & 0xffffffffffff;
        size_t len = le16(in->pieces + at + 6);
        at += 8;
        if (len > in->n - at)
            len = in->n - at;
        uint64_t from = start > offset ? start : offset, to = start + len < offset + n ? start + len : offset + n;
        if (from < to)
            memcpy(buf + (from - offset), in->pieces + at + (from - start), (size_t)(to - from));
        at += len;
    }
}

static void put(uint8_t *p, uint32_t v, bool big)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (big ? 24 - 8 * i : 8 * i));
}

static void seal_sum(uint8_t *p, size_t n, size_t field)
{
    uint32_t sum = 0;
    put(p + field, 0, true);
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    put(p + field, ~sum, true);
}

static void seal_crc32c(uint8_t *p, size_t n)
{
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256 && !table[255]; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
        table[i] = c;
    }
    uint32_t crc = UINT32_MAX;
    put(p + 4, 0, false);
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xff];
    put(p + 4, ~crc, false);
}

/* A GPT header of a plain disk (fixed VHD, raw), with the checksum of the entries that it names. */
static void seal_gpt(const struct input *in, uint8_t *h, size_t n)
{
    static uint8_t entries[1 << 16];
    uint64_t at = le64(h + 72) * n, len = (uint64_t)le32(h + 80) * le32(h + 84);
    if (len <= sizeof entries && at < in->size && len <= in->size - at) {
        bytes(in, entries, (size_t)len, at);
        put(h + 88, crypto_crc32(0, entries, (size_t)len), false);
    }
    uint32_t size = le32(h + 12);
    put(h + 16, 0, false);
    if (size <= n)
        put(h + 16, crypto_crc32(0, h, size), false);
}

static int input_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct input *in = arg;
    uint8_t *p = buf;
    MUST(n <= 65536 && offset <= in->size && n <= in->size - offset);
    if (++in->reads > 4000)                          /* a huge table of a huge file; nothing new comes of it */
        return err_set(e, ERR_IO, "enough");
    bytes(in, p, n, offset);
    if (!in->seal)
        return 0;
    if (n == 512 && !memcmp(p, "conectix", 8))
        seal_sum(p, 512, 64);
    else if (n == 1024 && !memcmp(p, "cxsparse", 8))
        seal_sum(p, 1024, 36);
    else if ((n == 4096 && !memcmp(p, "head", 4)) || (n == 65536 && !memcmp(p, "regi", 4)))
        seal_crc32c(p, n);
    else if ((n == 512 || n == 4096) && !memcmp(p, "EFI PART", 8))
        seal_gpt(in, p, n);
    return 0;
}

#endif

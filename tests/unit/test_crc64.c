/* CRC-64/NVME: published values, what Azure answered, and the two ways against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/clock.h"
#include "common/crc64.h"
#include "common/crypto.h"

static uint64_t (*const ways[])(uint64_t crc, const void *data, size_t n) = {crc64, crc64_portable, crc64_clmul};

static void test_published(void **state)
{
    (void)state;
    static uint8_t block[4096];
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        assert_true(ways[w](0, "123456789", 9) == UINT64_C(0xAE8B14860A799888));
        /* NVM Express NVM Command Set Specification 1.0, figure 118: 4 KiB of zeros, of ones, of 0, 1, 2 … and of … 2, 1, 0 */
        memset(block, 0, sizeof block);
        assert_true(ways[w](0, block, sizeof block) == UINT64_C(0x6482D367EB22B64E));
        memset(block, 255, sizeof block);
        assert_true(ways[w](0, block, sizeof block) == UINT64_C(0xC0DDBA7302ECA3AC));
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (uint8_t)i;
        assert_true(ways[w](0, block, sizeof block) == UINT64_C(0x3E729F5F6750449C));
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (uint8_t)(255 - i);
        assert_true(ways[w](0, block, sizeof block) == UINT64_C(0x9A2DF64B8E9E517E));
    }
}

/* x-ms-content-crc64 of Put Page and Put Block, as the service gave it. */
static void test_azure(void **state)
{
    (void)state;
    static const struct { char fill; size_t n; const char *base64; } answers[] = {
        {0, 11, "YeJLfssylmU="}, {'a', 512, "u661BimQ84c="}, {'b', 512, "zGf3rvhKPeA="}, {'b', 1024, "pK+ypU+jreM="}, {'a', 1024, "ov8U1LLnyKc="}};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        char data[1024] = "Hello World";
        uint8_t *sent, bytes[8];
        size_t n;
        if (answers[i].fill)
            memset(data, answers[i].fill, sizeof data);
        assert_true(crypto_base64_decode(answers[i].base64, &sent, &n));
        assert_int_equal(n, 8);
        for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
            uint64_t crc = ways[w](0, data, answers[i].n);
            for (unsigned k = 0; k < 8; k++)
                bytes[k] = (uint8_t)(crc >> 8 * k);
            assert_memory_equal(bytes, sent, 8);
        }
        free(sent);
    }
}

/* Every length and place, in one piece and in two, and put together from two sums. */
static void test_each_other(void **state)
{
    (void)state;
    static uint8_t data[2100];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    for (size_t n = 0; n <= 1024; n++)
        for (size_t at = 0; at < 17; at += n % 3 + 1) {
            const uint8_t *p = data + at;
            uint64_t whole = crc64_portable(0, p, n);
            size_t cut = n * (at + 1) / 18;
            uint64_t head = crc64(0, p, cut), tail = crc64(0, p + cut, n - cut);
            assert_true(crc64_clmul(0, p, n) == whole && crc64(0, p, n) == whole);
            assert_true(crc64_clmul(head, p + cut, n - cut) == whole && crc64_portable(head, p + cut, n - cut) == whole);
            assert_true(crc64_combine(head, tail, n - cut) == whole);
        }
}

static void test_combine_far(void **state)
{
    (void)state;
    static uint8_t zeros[1 << 20];
    uint64_t crc = crc64(0, "a", 1);
    uint64_t all = crc, block = crc64(0, zeros, sizeof zeros), many = block, bytes = sizeof zeros;
    for (int i = 0; i < 6; i++, bytes *= 2)          /* 64 MiB of zeros, by doubling */
        many = crc64_combine(many, many, bytes);
    for (int i = 0; i < 64; i++)
        all = crc64(all, zeros, sizeof zeros);
    assert_true(crc64_combine(crc, many, bytes) == all);
}

/* What the processor can is worth it. */
static void test_fast(void **state)
{
    (void)state;
    enum { N = 8 << 20 };
    uint8_t *data = calloc(1, N);
    assert_non_null(data);
    int64_t best[2] = {INT64_MAX, INT64_MAX};
    uint64_t sum[2] = {0};
    for (int i = 0; i < 10; i++)
        for (int w = 0; w < 2; w++) {
            int64_t t = clock_mono_ms();
            for (int k = 0; k < 4; k++)
                sum[w] = ways[w + 1](sum[w], data, N);
            t = clock_mono_ms() - t;
            best[w] = t < best[w] ? t : best[w];
        }
    free(data);
    print_message("32 MiB: %lld ms portable, %lld ms without carry\n", (long long)best[0], (long long)best[1]);
    assert_true(sum[0] == sum[1]);
    if (crc64_clmul_works())
        assert_true(best[1] < best[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published), cmocka_unit_test(test_azure), cmocka_unit_test(test_each_other),
                                       cmocka_unit_test(test_combine_far), cmocka_unit_test(test_fast)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

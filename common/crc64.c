#include "common/crc64.h"

#include <pthread.h>

#define POLYNOMIAL UINT64_C(0x9A6C9329AC4BC9B5)
#define ONE (UINT64_C(1) << 63)                      /* x^0: the lowest power is the highest bit */

static uint64_t tables[8][256];                      /* [k][b]: byte b with k more bytes behind it */
static uint64_t powers[64];                          /* x^(2^k) */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool by_hardware;

static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    for (; a; a <<= 1) {
        if (a & ONE)
            product ^= b;
        b = b & 1 ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

static void init(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        tables[0][i] = c;
    }
    for (unsigned k = 1; k < 8; k++)
        for (unsigned i = 0; i < 256; i++)
            tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 255];
    powers[0] = ONE >> 1;
    for (unsigned k = 1; k < 64; k++)
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
    by_hardware = crc64_clmul_works();
}

uint64_t crc64_portable(uint64_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    pthread_once(&once, init);
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t sum = 0;
        for (unsigned k = 0; k < 8; k++)
            sum ^= tables[7 - k][(uint8_t)(crc >> 8 * k) ^ p[k]];
        crc = sum;
    }
    for (; n; n--)
        crc = crc >> 8 ^ tables[0][(uint8_t)crc ^ *p++];
    return ~crc;
}

uint64_t crc64(uint64_t crc, const void *data, size_t n)
{
    pthread_once(&once, init);
    return by_hardware && n >= 128 ? crc64_clmul(crc, data, n) : crc64_portable(crc, data, n);
}

/* The bytes of b move a up by x^(8 * b_bytes); the inversions of both cancel out. */
uint64_t crc64_combine(uint64_t a, uint64_t b, uint64_t b_bytes)
{
    pthread_once(&once, init);
    for (unsigned k = 3; b_bytes; k = k == 63 ? 0 : k + 1, b_bytes >>= 1)
        if (b_bytes & 1)
            a = multiply(powers[k], a);
    return a ^ b;
}

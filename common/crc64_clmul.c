/* CRC-64/NVME with PCLMULQDQ: Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), in its
 * reflected form. Four blocks of 16 bytes are folded 64 bytes ahead; what is left, 16 bytes, has the same remainder as all before it. The
 * constants are x^(D+63) and x^(D-1) modulo the polynomial, bits reversed, for a way of D bits. */
#include "common/crc64.h"

#if defined(__x86_64__)

#include <smmintrin.h>
#include <wmmintrin.h>

#define CLMUL __attribute__((target("pclmul,sse4.1")))

bool crc64_clmul_works(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

CLMUL static __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

CLMUL static __m128i fold(__m128i block, __m128i by, __m128i onto)
{
    return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11)), onto);
}

CLMUL uint64_t crc64_clmul(uint64_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    if (n < 64)
        return crc64_portable(crc, data, n);
    const __m128i by_64 = _mm_set_epi64x(0x62242240ace5045a, 0x0c32cdb31e18a84a), by_16 = _mm_set_epi64x(0x21e9761e252621ac, (long long)0xeadc41fd2ba3d420);
    __m128i x[4];
    for (unsigned k = 0; k < 4; k++)
        x[k] = load(p + 16 * k);
    x[0] = _mm_xor_si128(x[0], _mm_set_epi64x(0, (long long)~crc));
    for (p += 64, n -= 64; n >= 64; p += 64, n -= 64)
        for (unsigned k = 0; k < 4; k++)
            x[k] = fold(x[k], by_64, load(p + 16 * k));
    for (unsigned k = 1; k < 4; k++)
        x[k] = fold(x[k - 1], by_16, x[k]);
    for (; n >= 16; p += 16, n -= 16)
        x[3] = fold(x[3], by_16, load(p));
    uint8_t last[16];
    _mm_storeu_si128((__m128i *)(void *)last, x[3]);
    /* crc64_portable inverts what it is given: all ones for a register of zero */
    return crc64_portable(crc64_portable(~UINT64_C(0), last, sizeof last), p, n);
}

#else

bool crc64_clmul_works(void)
{
    return false;
}

uint64_t crc64_clmul(uint64_t crc, const void *data, size_t n)
{
    return crc64_portable(crc, data, n);
}

#endif

/* CRC-64/NVME: what Azure Storage sends as x-ms-content-crc64 (its 8 bytes little endian, base64), and the hash of our own records of a
 * download. Reflected polynomial 0x9A6C9329AC4BC9B5, register and result inverted; check value (NVM Express NVM Command Set
 * Specification 1.0, 5.2.1.3.4) 0xAE8B14860A799888 for "123456789". Threads: any. */
#ifndef VMR_COMMON_CRC64_H
#define VMR_COMMON_CRC64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t crc64(uint64_t crc, const void *data, size_t n);               /* crc: of what came before; 0 at the start */
/* Of a and b behind each other, from the sums of each; b_bytes: the length of b. */
uint64_t crc64_combine(uint64_t a, uint64_t b, uint64_t b_bytes);
/* The two ways, for tests. crc64 takes the second where the processor multiplies without carry. */
uint64_t crc64_portable(uint64_t crc, const void *data, size_t n);
bool crc64_clmul_works(void);
uint64_t crc64_clmul(uint64_t crc, const void *data, size_t n);

#endif

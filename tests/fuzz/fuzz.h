/* What the fuzz targets share. A target is fuzz_NAME.c with fuzz_one(); its seeds lie in corpus/NAME. */
#ifndef VMR_TESTS_FUZZ_FUZZ_H
#define VMR_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "common/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A broken promise of the code under test: libFuzzer keeps the input. */
#define MUST(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #what); \
            abort(); \
        } \
    } while (0)

/* A function of ours gives 0, or a negative code with the sentence that a user reads. */
static inline void must_be_result(int r, const struct err *e)
{
    MUST(r <= 0 && r > -ERR_CODES);
    if (r < 0) {
        MUST(e->code == -r && e->msg[0] && strlen(e->msg) < sizeof e->msg);
        MUST(str_is_utf8(e->msg, strlen(e->msg)));
    }
}

/* The input as a string of our own, so that a read past its end is seen. */
static inline char *fuzz_string(const uint8_t *data, size_t n)
{
    char *s = malloc(n + 1);
    MUST(s);
    if (n)
        memcpy(s, data, n);
    s[n] = 0;
    return s;
}

/* A secret in what the code under test is given, which none of its messages may hold. */
#define FUZZ_SECRET "Zq7Xj9Kv5Wy3Qz8JxU2m"

/* The input holds the secret's letters in order, whatever lies between them (a CDATA section joins parts): it may then come back. */
static inline bool fuzz_tells_secret(const uint8_t *data, size_t n)
{
    const char *left = FUZZ_SECRET;
    for (size_t i = 0; i < n && *left; i++)
        left += data[i] == (uint8_t)*left;
    return !*left;
}

#endif

/* What the image tests share: scratch folders, images in memory, shell commands. */
#ifndef VMR_TESTS_UNIT_IMAGE_UTIL_H
#define VMR_TESTS_UNIT_IMAGE_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/image/image.h"

#define MIB (UINT64_C(1) << 20)
/* What must not fail; the error is in err_. */
#define OK(expr) do { struct err *e_ = &err_; if ((expr) < 0) fail_msg("%s: %s", #expr, e_->msg); } while (0)
extern struct err err_;

/* 0..n-1, the same at every run; dice_from begins anew, from anything but 0. */
uint64_t dice(uint64_t n);
void dice_from(uint64_t seed);

/* cmocka group set-up and tear-down: a scratch folder, current while the tests run. */
int scratch_enter(void **state);
int scratch_leave(void **state);
/* Runs a command line in the scratch folder; fails the test if it fails. */
void sh(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* A file's bytes in memory as an image_source that fails the test when it is asked for more than the contract allows. */
struct mem_image {
    uint8_t *data;
    size_t size;
    int fail_at;                                     /* 0: never; n: the n-th read fails with ERR_UPSTREAM */
    int reads;
};
struct mem_image mem_load(const char *path);
struct mem_image mem_zeros(size_t size);
struct mem_image mem_copy(const struct mem_image *m, size_t size);               /* cut to size */
void mem_drop(struct mem_image *m);
int mem_probe(struct mem_image *m, int expect, struct image_info *ret, struct err *e);

/* The image at path says the same as the model, and what it calls empty holds zeros. */
void assert_reads(const char *path, int expect, const uint8_t *model, uint64_t size);

int file_probe(const char *path, int expect, struct image_info *ret, struct err *e);
void put_be32(uint8_t *p, uint32_t v);
void put_be64(uint8_t *p, uint64_t v);
void put_le32(uint8_t *p, uint32_t v);
/* Puts a right checksum at p + field over n bytes (VHD footer and dynamic header). */
void vhd_seal(uint8_t *p, size_t n, size_t field);
/* The probe takes `least` reads or more, and fails with the error of whichever fails, at once. */
void assert_read_errors_passed_on(struct mem_image *m, int least);
/* The probe must fail with this code, and the sentence must hold text (NULL: anything). */
void assert_refused(struct mem_image *m, int expect, enum err_code code, const char *text);

#endif

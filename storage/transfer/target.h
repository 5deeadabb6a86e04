/* Where a transfer writes: a file that is the source byte for byte, or a disk image (storage/image/writer.h) of the disk that the source's first
 * bytes are. Offsets are the source's. Threads: one; target_commit may run in another meanwhile, one at a time. */
#ifndef VMR_STORAGE_TRANSFER_TARGET_H
#define VMR_STORAGE_TRANSFER_TARGET_H

#include "common/os.h"
#include "storage/image/writer.h"

struct target_form {
    uint64_t bytes;                                  /* of the source that go there */
    const struct image_layout *image;                /* NULL: byte for byte; else its virtual_size is `bytes` */
};

struct target;
/* Makes path ours: opened or made, and locked, what it holds is left. Then target_make alone may follow. ERR_LOCKED. */
int target_claim(const char *path, const struct target_form *form, struct target **ret, struct err *e);
int target_make(struct target *t, struct err *e);    /* empty from now on, and durable so, whatever was there; reads as zeros */
/* Goes on with what target_make made at path. ERR_IMAGE_DAMAGED: what is there is not it. ERR_LOCKED. */
int target_open(const char *path, const struct target_form *form, struct target **ret, struct err *e);
/* Byte for byte into a file that is open and locked; the target's when this returns 0. */
int target_of_file(struct os_file *file, uint64_t bytes, struct target **ret, struct err *e);
void target_close(struct target *t);                 /* NULL is a no-op */
DEFINE_AUTO(struct target, target_close)

/* zeros: leave out blocks of zeros. `pristine`: nothing but the source's bytes was ever written, so that what is left out reads as zeros; else it is
 * looked whether it does. */
enum target_zeros { ZEROS_WRITE, ZEROS_LEAVE, ZEROS_LEAVE_PRISTINE };
int target_write(struct target *t, const char *p, size_t n, uint64_t offset, enum target_zeros zeros, struct err *e);
int target_write_zero_sector(struct target *t, uint64_t offset, struct err *e);        /* 512 bytes, not left out */
void target_write_behind(struct target *t, uint64_t offset, uint64_t n);         /* os_file_write_behind */
int target_commit(struct target *t, struct err *e);  /* what was written before the call is durable */
int target_finish(struct target *t, struct err *e);  /* likewise, and the file has its final shape; only target_close may follow */

/* Room is taken by blocks, where the source holds data: holes cost nothing, and the order of writes does not matter. */
bool target_is_sparse(const struct target_form *form);
/* Is path a complete target of this form, as far as its size says? */
int target_is_whole(const char *path, const struct target_form *form, bool *ret, struct err *e);

#endif

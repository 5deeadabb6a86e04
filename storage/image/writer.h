/* Writes a disk image from ranges of the guest's bytes that arrive in any order; what is never written reads as zeros.
 *
 * The file is a valid image after image_writer_create, after each commit and at every instant between: whatever order of system calls a kill
 * or a loss of power cuts off, readers find an image that holds at least what was committed. What the formats do for it:
 *
 *   raw, fixed VHD    every byte has its place from the start; the footer is written at creation. Where files are not sparse it is
 *                     written by image_writer_finish, since a file system that fills up to it would write the whole disk twice.
 *   fixed VHDX        likewise; the block table says from the start where each block is.
 *   dynamic VHDX,     a new block is put at the end of the file, where nothing refers to it; its data is flushed before its entry in the
 *   dynamic VHD       block table is written, and that is flushed before the commit returns. An entry goes once from "nothing" to
 *                     "there", lies within one sector, and stands for itself; so any subset of the entries of a commit makes a valid image,
 *                     and no entry of the VHDX log ([MS-VHDX] 2.3: for updates that must happen together) is needed: the log stays
 *                     empty, and no reader has to replay one. A VHDX's headers are updated in turn ([MS-VHDX] 2.2.2.1).
 *   dynamic VHD       also needs its footer last in the file. So that it always is, the file grows by many blocks at a time, the new footer
 *                     is flushed before a block is put in the room before it, and footers that were passed stay in gaps between blocks.
 *
 * Memory: some KiB, whatever the disk's size. Threads: write from one thread; commit may run in another meanwhile, one at a time. */
#ifndef VMR_STORAGE_IMAGE_WRITER_H
#define VMR_STORAGE_IMAGE_WRITER_H

#include "common/os.h"
#include "storage/image/image.h"

#define IMAGE_VHD_DYNAMIC_MAX (UINT64_C(2040) << 30) /* bytes of the largest dynamic VHD; a VHDX's and a fixed disk's are IMAGE_MAX_BYTES */

struct image_layout {
    enum image_format format;
    bool fixed;                                      /* VHDX: all blocks allocated; the other formats know for themselves */
    uint64_t virtual_size;
    uint32_t sector_size;                            /* 512, for a VHDX and raw also 4096; 0: 512 */
    uint32_t block_bytes;                            /* VHDX: a power of two from 1 to 256 MiB; 0: the smallest of which 2^20 cover the disk. VHD: 0 */
    const uint8_t *footer;                           /* fixed VHD: these VHD_FOOTER_BYTES instead of a footer of our own; must give its size. NULL: none */
};
/* Could such a disk be written? ERR_UNSUPPORTED or ERR_VALUE with the reason. */
int image_layout_check(const struct image_layout *l, struct err *e);

/* Bytes of the blocks in which it stores what was written, with the default filled in; 0: every byte has its place. */
uint32_t image_layout_block_bytes(const struct image_layout *l);

struct image_writer;
/* A new file; ERR_IO if something is at path. Durable when it returns, the name too as far as the caller syncs the folder. The file is locked
 * (os_file_lock) until the writer is closed. */
int image_writer_create(const char *path, const struct image_layout *l, struct image_writer **ret, struct err *e);
/* Goes on with a file that image_writer_create made with the same layout (footer and block_bytes of 0 fit any). Blocks that no commit
 * covered are gone. ERR_IMAGE_DAMAGED when the file is not of this layout or not what the writer leaves; ERR_LOCKED when another writer is at it. */
int image_writer_open(const char *path, const struct image_layout *l, struct image_writer **ret, struct err *e);
/* Within the disk. Zeros count as data: leave out what should take no room. */
int image_writer_write(struct image_writer *w, const void *buf, size_t n, uint64_t offset, struct err *e);
/* Where a run of the guest's bytes goes in the file: [*ret_at, + *ret_n), *ret_n from 1 to n. Makes room for it: bytes of it that are not
 * written read as zeros. For callers that write by themselves, into image_writer_file. */
int image_writer_place(struct image_writer *w, uint64_t offset, uint64_t n, uint64_t *ret_at, uint64_t *ret_n, struct err *e);
struct os_file *image_writer_file(struct image_writer *w);             /* the writer's */
/* What a guest would read there now. Within the disk; from the writing thread. */
int image_writer_read(struct image_writer *w, void *buf, size_t n, uint64_t offset, struct err *e);
/* os_file_write_behind for what was written of these bytes. From the writing thread. */
void image_writer_write_behind(struct image_writer *w, uint64_t offset, uint64_t n);
/* All that was written or placed before the call is durable, and part of the image. After an error nothing more must be committed. */
int image_writer_commit(struct image_writer *w, struct err *e);
/* Commits, and gives the file its final size and (fixed VHD) footer. Only image_writer_close may follow. */
int image_writer_finish(struct image_writer *w, struct err *e);
void image_writer_close(struct image_writer *w);     /* without commit; NULL is a no-op */
DEFINE_AUTO(struct image_writer, image_writer_close)

#endif

/* A local image with all that it is built on: differencing VHDs and VHDXs are opened with their parents, up to a disk that stands alone.
 *
 * Names of parents come out of files and are hostile. They are looked for where the child says, from its own folder and by its absolute path,
 * and else under their last part beside the child; never on another machine (\\server\share). What is found counts only if it is an image
 * that carries the id that the child asks for. Threads: one at a time. */
#ifndef VMR_STORAGE_IMAGE_OPEN_H
#define VMR_STORAGE_IMAGE_OPEN_H

#include "common/os.h"
#include "storage/image/image.h"

#define IMAGE_LAYERS_MAX 64

struct image_layer {
    const char *path;
    enum image_format format;
    bool differencing;
    uint64_t virtual_size, file_size, allocated;     /* allocated: bytes that the file takes on its volume */
    uint32_t block_bytes;
    int64_t mtime_ms;
    char file_id[OS_FILE_ID];
};

struct image;
/* expect: as for image_probe; a parent is never raw. Errors of image_probe; ERR_NOT_FOUND when a parent is not found, ERR_UNSUPPORTED for a
 * chain of more than IMAGE_LAYERS_MAX. */
int image_open(const char *path, int expect, struct image **ret, struct err *e);
void image_close(struct image *i);                   /* NULL is a no-op */
DEFINE_AUTO(struct image, image_close)
/* What a guest sees; the image's. Any size of read. */
const struct image_source *image_disk(const struct image *i);
const struct image_info *image_info(const struct image *i);
size_t image_layers(const struct image *i);          /* 1 for a disk that stands alone */
const struct image_layer *image_layer(const struct image *i, size_t n);          /* 0: the file that was opened; each further one its parent */

/* The parts of an image's file by which readers know it, each looked at for itself, so that damage can be told. */
struct image_part { const char *name; uint64_t offset; bool good, current; };
#define IMAGE_PARTS_MAX 4
/* Up to IMAGE_PARTS_MAX; a raw disk has none. An error only when reading fails. */
int image_parts(const struct image_source *src, struct image_part ret[IMAGE_PARTS_MAX], size_t *ret_n, struct err *e);

#endif

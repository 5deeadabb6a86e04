/* image_source over a local file. */
#include <string.h>

#include "common/os.h"
#include "storage/image/image.h"

struct image_file {
    struct os_file *file;
    char *name;
};

static int file_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct image_file *f = arg;
    return os_file_pread(f->file, buf, n, offset, e);
}

static int file_next_data(void *arg, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e)
{
    struct image_file *f = arg;
    return os_file_next_data(f->file, offset, limit, ret_start, ret_end, e);
}

void image_file_close(struct image_source *src)
{
    struct image_file *f = src->arg;
    if (f) {
        os_file_close(f->file);
        free(f->name);
        free(f);
    }
    memset(src, 0, sizeof *src);
}

int image_file_open(const char *path, struct image_source *ret, struct err *e)
{
    AUTO_IMAGE_FILE struct image_source src = {.read = file_read, .next_data = file_next_data};
    struct image_file *f = calloc(1, sizeof *f);
    if (!f)
        return err_oom(e);
    src.arg = f;
    src.name = f->name = str_dup(path);
    if (!f->name)
        return err_oom(e);
    int r = os_file_open(path, OS_READ, &f->file, e);
    if (!r)
        r = os_file_size(f->file, &src.size, e);
    if (r < 0)
        return r;
    *ret = src;
    src.arg = NULL; /* the caller's now */
    return 0;
}

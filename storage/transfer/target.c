#include "storage/transfer/target.h"

#include <string.h>

#include "storage/image/open.h"

#define HOLE_BLOCK 4096u                             /* what file systems can leave out */

struct target {
    struct target_form form;
    struct image_layout layout;
    char *path;
    struct os_file *file;                            /* byte for byte, or before target_make */
    struct image_writer *image;
};

static bool has_table(const struct target_form *f)
{
    return f->image && (f->image->format == IMAGE_VHD_DYNAMIC || (f->image->format == IMAGE_VHDX && !f->image->fixed));
}

bool target_is_sparse(const struct target_form *form)
{
    return os_files_are_sparse() || has_table(form);
}

void target_close(struct target *t)
{
    if (!t)
        return;
    image_writer_close(t->image);
    os_file_close(t->file);
    free(t->path);
    free(t);
}

static int target_new(const char *path, const struct target_form *form, struct target **ret, struct err *e)
{
    struct target *t = calloc(1, sizeof *t);
    if (!t || !(t->path = str_dup(path))) {
        target_close(t);
        return err_oom(e);
    }
    t->form = *form;
    if (form->image) {
        t->layout = *form->image;
        t->form.image = &t->layout;
    }
    *ret = t;
    return 0;
}

int target_claim(const char *path, const struct target_form *form, struct target **ret, struct err *e)
{
    AUTO(target_close_ptr) struct target *t = NULL;
    int r = target_new(path, form, &t, e);
    if (r < 0 || (r = os_file_open(path, OS_WRITE | OS_CREATE, &t->file, e)) < 0 || (r = os_file_lock(t->file, e)) < 0)
        return r;
    *ret = STEAL(t);
    return 0;
}

int target_make(struct target *t, struct err *e)
{
    int r;
    if (!t->form.image) {
        if ((r = os_file_truncate(t->file, 0, e)) < 0 || (r = os_file_truncate(t->file, t->form.bytes, e)) < 0)
            return r;
        return os_file_sync(t->file, e);
    }
    os_file_close(STEAL(t->file));                   /* the writer makes its own */
    r = os_remove(t->path, e);
    return r < 0 ? r : image_writer_create(t->path, &t->layout, &t->image, e);
}

int target_open(const char *path, const struct target_form *form, struct target **ret, struct err *e)
{
    AUTO(target_close_ptr) struct target *t = NULL;
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r == 0 && !st.exists)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is not there any more", path);
    if (r == 0 && !form->image && st.size != form->bytes)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s has %llu bytes instead of %llu", path, (unsigned long long)st.size, (unsigned long long)form->bytes);
    if (r < 0 || (r = target_new(path, form, &t, e)) < 0)
        return r;
    if (form->image)
        r = image_writer_open(path, &t->layout, &t->image, e);
    else if ((r = os_file_open(path, OS_WRITE, &t->file, e)) == 0)
        r = os_file_lock(t->file, e);
    if (r < 0)
        return r;
    *ret = STEAL(t);
    return 0;
}

int target_of_file(struct os_file *file, uint64_t bytes, struct target **ret, struct err *e)
{
    const struct target_form form = {.bytes = bytes};
    int r = target_new(os_file_name(file), &form, ret, e);
    if (r == 0)
        (*ret)->file = file;
    return r;
}

static int write_all(struct target *t, const char *p, size_t n, uint64_t offset, struct err *e)
{
    return t->image ? image_writer_write(t->image, p, n, offset, e) : os_file_pwrite(t->file, p, n, offset, e);
}

static int reads_as_zeros(struct target *t, size_t n, uint64_t offset, bool *ret, struct err *e)
{
    char there[HOLE_BLOCK];
    int r = t->image ? image_writer_read(t->image, there, n, offset, e) : os_file_pread(t->file, there, n, offset, e);
    *ret = r == 0 && mem_is_zero(there, n);
    return r;
}

int target_write(struct target *t, const char *p, size_t n, uint64_t offset, enum target_zeros zeros, struct err *e)
{
    if (zeros == ZEROS_WRITE)
        return write_all(t, p, n, offset, e);
    for (size_t from = 0, to = 0; from < n;) {
        size_t block = HOLE_BLOCK - (size_t)((offset + to) % HOLE_BLOCK);
        if (block > n - to)
            block = n - to;
        bool hole = block == 0 || mem_is_zero(p + to, block);
        int r = hole && block && zeros == ZEROS_LEAVE ? reads_as_zeros(t, block, offset + to, &hole, e) : 0;
        if (!hole)
            to += block;
        if (r == 0 && hole && to > from)             /* the data before the hole, or before the end */
            r = write_all(t, p + from, to - from, offset + from, e);
        if (r < 0)
            return r;
        if (hole)
            from = to += block;
    }
    return 0;
}

int target_write_zero_sector(struct target *t, uint64_t offset, struct err *e)
{
    static const char sector[512];
    return write_all(t, sector, sizeof sector, offset, e);
}

void target_write_behind(struct target *t, uint64_t offset, uint64_t n)
{
    if (t->image)
        image_writer_write_behind(t->image, offset, n);
    else
        os_file_write_behind(t->file, offset, n);
}

int target_commit(struct target *t, struct err *e)
{
    return t->image ? image_writer_commit(t->image, e) : os_file_sync(t->file, e);
}

int target_finish(struct target *t, struct err *e)
{
    return t->image ? image_writer_finish(t->image, e) : os_file_sync(t->file, e);
}

int target_is_whole(const char *path, const struct target_form *form, bool *ret, struct err *e)
{
    struct os_stat st;
    int r = os_stat(path, &st, e);
    *ret = r == 0 && st.is_file && (form->image || st.size == form->bytes);
    if (r < 0 || !*ret || !form->image)
        return r;
    AUTO(image_close_ptr) struct image *i = NULL;
    r = image_open(path, (int)form->image->format, &i, e);
    if (r == -ERR_OOM || r == -ERR_IO)
        return r;
    *ret = r == 0 && image_info(i)->virtual_size == form->bytes;
    return 0;
}

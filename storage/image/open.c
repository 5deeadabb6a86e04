#include "storage/image/open.h"

#include <string.h>

#include "storage/image/disk.h"

struct layer {
    struct image_source file;
    struct disk disk;                                /* not moved once it is read: its view points at it */
    struct image_info info;
    char *path;
    struct image_layer shown;
};

struct image {
    struct layer *layers[IMAGE_LAYERS_MAX];
    size_t n;
    struct image_info info;
};

static void layer_free(struct layer *l)
{
    if (!l)
        return;
    disk_free(&l->disk);
    image_file_close(&l->file);
    free(l->path);
    free(l);
}
DEFINE_AUTO(struct layer, layer_free)

static int layer_open(const char *path, int expect, struct layer **ret, struct err *e)
{
    AUTO(layer_free_ptr) struct layer *l = calloc(1, sizeof *l);
    if (!l || !(l->path = str_dup(path)))
        return err_oom(e);
    l->info.sector_size = 512;
    l->disk.chained = true;
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r == 0 && st.is_dir)
        return err_set(e, ERR_VALUE, "%s is a folder, not a disk image", path);
    if (r == 0)
        r = image_file_open(path, &l->file, e);
    if (r == 0)
        r = image_read_format(&l->file, expect, &l->info, &l->disk, e);
    if (r == 0)
        r = os_file_id(path, l->shown.file_id, e);
    if (r < 0)
        return r;
    l->shown.path = l->path;
    l->shown.format = l->info.format;
    l->shown.differencing = l->disk.differencing;
    l->shown.virtual_size = l->info.virtual_size;
    l->shown.file_size = l->file.size;
    l->shown.allocated = st.allocated;
    l->shown.block_bytes = l->info.block_bytes;
    l->shown.mtime_ms = st.mtime_ms;
    *ret = STEAL(l);
    return 0;
}

/* ---- parents ---- */

static bool is_parent(const struct layer *child, const struct layer *l)
{
    for (unsigned i = 0; i < child->disk.link.n_ids; i++)
        if (!memcmp(child->disk.link.id[i], l->disk.id, 16))
            return true;
    return false;
}

/* The last part of a path of either kind. */
static const char *last_part(const char *name)
{
    const char *last = name;
    for (const char *p = name; *p; p++)
        if (*p == '\\' || *p == '/')
            last = p + 1;
    return last;
}

static void add_candidate(char *list[], size_t *n, char *path)
{
    if (path && os_path_is_absolute(path) && !os_path_refuse_name(path) && !str_starts(path, "//") && !str_starts(path, "\\\\"))
        list[(*n)++] = path;
    else
        free(path);
}

/* A child's own words, as paths of this system. `folder` is the child's. */
static void candidates(const struct layer *child, const char *folder, char *list[], size_t *n)
{
    for (unsigned i = 0; i < child->disk.link.n_names; i++) {
        const char *name = child->disk.link.names[i];
        AUTO_FREE char *here = str_dup(name);
        for (char *p = here; p && *p; p++)
            if (*p == '\\')
                *p = '/';
        if (here && os_path_is_absolute(here))
            add_candidate(list, n, str_dup(here));
        else if (here && here[0] != '/' && !(here[0] && here[1] == ':'))
            add_candidate(list, n, os_path_join(folder, str_starts(here, "./") ? here + 2 : here));
    }
    for (unsigned i = 0; i < child->disk.link.n_names; i++)
        if (*last_part(child->disk.link.names[i]))
            add_candidate(list, n, os_path_join(folder, last_part(child->disk.link.names[i])));
}

static int parent_open(const struct layer *child, struct layer **ret, struct err *e)
{
    AUTO_FREE char *real = os_real_path(child->path);
    AUTO_FREE char *folder = real ? str_ndup(real, (size_t)(os_path_base(real) - real)) : NULL;
    if (!folder)
        return err_set(e, ERR_IO, "cannot tell in which folder %s lies", child->path);
    char *list[2 * PARENT_NAMES_MAX];
    size_t n = 0;
    candidates(child, folder, list, &n);
    struct err why = {0};
    struct layer *found = NULL;
    int r = 0;
    for (size_t i = 0; i < n && !found; i++) {
        struct os_stat st;
        struct err one = {0};
        AUTO(layer_free_ptr) struct layer *l = NULL;
        if (os_stat(list[i], &st, &one) < 0 || !st.is_file || layer_open(list[i], -1, &l, &one) < 0) {
            if (one.code && !why.code)
                why = one;
        } else if (!is_parent(child, l)) {
            err_set(&why, ERR_NOT_FOUND, "%s is another disk than the one that it was made upon", list[i]);
        } else {
            found = STEAL(l);
        }
    }
    if (!found && why.code) {
        r = err_set(e, why.code, "%.150s holds changes to a parent, and its parent cannot be used: %.300s", child->path, why.msg);
    } else if (!found) {
        err_set(e, ERR_NOT_FOUND, "%.150s holds changes to a parent, which is not found; it was %.200s", child->path,
                child->disk.link.n_names ? child->disk.link.names[0] : "without a name");
        r = err_hint(e, "Put the parent's file beside it, under its own name.");
    }
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    *ret = found;
    return r;
}

int image_open(const char *path, int expect, struct image **ret, struct err *e)
{
    AUTO(image_close_ptr) struct image *i = calloc(1, sizeof *i);
    if (!i)
        return err_oom(e);
    int r = layer_open(path, expect, &i->layers[0], e);
    if (r < 0)
        return r;
    for (i->n = 1; i->layers[i->n - 1]->disk.differencing; i->n++) {
        struct layer *child = i->layers[i->n - 1];
        if (i->n == IMAGE_LAYERS_MAX)
            return err_set(e, ERR_UNSUPPORTED, "%s is built on more than %d other files, or on itself", path, IMAGE_LAYERS_MAX - 1);
        if ((r = parent_open(child, &i->layers[i->n], e)) < 0)
            return r;
        child->disk.parent = &i->layers[i->n]->disk.view;
    }
    i->info = i->layers[0]->info;
    uint64_t end;
    r = partition_read(&i->layers[0]->disk.view, &i->info, &end, e);
    if (r < 0)
        return r;
    *ret = STEAL(i);
    return 0;
}

void image_close(struct image *i)
{
    if (!i)
        return;
    for (size_t k = 0; k < IMAGE_LAYERS_MAX; k++)
        layer_free(i->layers[k]);
    free(i);
}

const struct image_source *image_disk(const struct image *i)
{
    return &i->layers[0]->disk.view;
}

const struct image_info *image_info(const struct image *i)
{
    return &i->info;
}

size_t image_layers(const struct image *i)
{
    return i->n;
}

const struct image_layer *image_layer(const struct image *i, size_t n)
{
    return &i->layers[n]->shown;
}

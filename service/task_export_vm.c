/* A VM's disk with all that was repaired, flattened into one file at a place of the user's. That place is not ours: nothing is ever replaced
 * or removed there, and the finished file is the user's, also when its job is deleted.
 *
 *   1  folder PATH.<job>.part, made anew and private       recorded as "folder" before; its name is nobody else's
 *   2  the image is written into it, and flushed
 *   3  "file" PATH is recorded with the image's identity   (os_file_id, which survives a rename)
 *   4  the image is renamed to PATH, never over a file
 *   5  "file" is marked as made, the folder goes
 * A crash after 1 to 3 leaves a folder, which the next run or the job's end removes; one after 4 leaves a whole file that the next run
 * knows by its identity. Whatever else lies at PATH is somebody's, and stays. */
#include <string.h>

#include "common/log.h"
#include "db/resource.h"
#include "service/task_run.h"

struct export {
    struct task_run *t;
    const char *path;
    unsigned slot;
    enum disk_format format;
    bool whole_mib;                                   /* Azure takes no other */
    char *folder, *image;
    int64_t folder_row, file_row;                     /* 0: none */
    char proof[OS_FILE_ID];                           /* of the file row */
};

static void export_clear(struct export *x)
{
    free(x->folder);
    free(x->image);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct task_run *t = arg;
    t->progress.total = total;
    t->progress.done = t->progress.transferred = done;
}

static int read_params(struct export *x, struct err *e)
{
    json_t *p = x->t->task->params;
    const char *word = json_string_value(json_object_get(p, "format"));
    x->path = json_string_value(json_object_get(p, "path"));
    x->whole_mib = json_is_true(json_object_get(p, "whole_mib"));
    x->slot = (unsigned)json_integer_value(json_object_get(p, "slot"));
    if (!x->path || !word || !disk_format_parse(word, &x->format) || !x->t->job->vm_id)
        return err_set(e, ERR_INTERNAL, "the export task has no usable path, format or VM");
    x->folder = str_printf("%s.%s.part", x->path, x->t->job->id);
    x->image = x->folder ? os_path_join(x->folder, "image") : NULL;
    return x->image ? 0 : err_oom(e);
}

/* What earlier runs wrote down. */
static int find_rows(struct export *x, struct err *e)
{
    struct resource *list;
    size_t n;
    int r = resource_list(x->t->db, x->t->job->id, &list, &n, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(list[i].kind, "folder") && !strcmp(list[i].ident, x->folder))
            x->folder_row = list[i].id;
        if (!strcmp(list[i].kind, "file") && !strcmp(list[i].ident, x->path)) {
            x->file_row = list[i].id;
            snprintf(x->proof, sizeof x->proof, "%s", list[i].proof ? list[i].proof : "");
        }
    }
    resource_list_free(list, n);
    return 0;
}

static int forget(struct export *x, int64_t *row, struct err *e)
{
    int r = *row ? resource_forget(x->t->db, *row, e) : 0;
    if (r == 0)
        *row = 0;
    return r;
}

static int drop_folder(struct export *x, struct err *e)
{
    int r = x->folder_row ? os_remove_tree(x->folder, e) : 0;
    return r < 0 ? r : forget(x, &x->folder_row, e);
}

static int in_the_way(const struct export *x, struct err *e)
{
    err_set(e, ERR_WRONG_STATE, "there is something at %s already; an export does not overwrite", x->path);
    return err_hint(e, "Move it away, or export to another path.");
}

/* 1: the export is there already; 0: nothing is; else an error. */
static int look(struct export *x, struct err *e)
{
    char now[OS_FILE_ID];
    int r = os_file_id(x->path, now, e);
    if (r < 0)
        return r;
    if (now[0] && !strcmp(now, x->proof))
        return 1;
    if ((r = forget(x, &x->file_row, e)) < 0)         /* what it told of was never there, or is not any more */
        return r;
    return now[0] ? in_the_way(x, e) : 0;
}

static int make_folder(struct export *x, struct err *e)
{
    AUTO_FREE char *parent = str_ndup(x->path, (size_t)(os_path_base(x->path) - x->path));
    struct os_stat st;
    int r = parent ? os_stat(parent, &st, e) : err_oom(e);
    if (r == 0 && !st.is_dir) {
        err_set(e, ERR_NOT_FOUND, "the folder %s, where the export should go, is not there", parent);
        return err_hint(e, "Make the folder (or mount its volume) and export again.");
    }
    if (r < 0 || (r = drop_folder(x, e)) < 0 ||
        (r = resource_intend(x->t->db, x->t->job->id, (int)x->slot, "folder", x->folder, NULL, false, &x->folder_row, e)) < 0)
        return r;
    r = os_mkdirs(x->folder, OS_PRIVATE | OS_EXCLUSIVE, e);
    if (r < 0) {                                      /* not ours, whatever it is */
        struct err ignored;
        forget(x, &x->folder_row, &ignored);
    }
    return r;
}

/* The whole image is in the folder: give it its name. */
static int publish(struct export *x, struct err *e)
{
    struct task_run *t = x->t;
    int r = os_file_id(x->image, x->proof, e);
    if (r < 0 || (r = resource_intend(t->db, t->job->id, (int)x->slot, "file", x->path, x->proof, true, &x->file_row, e)) < 0)
        return r;
    r = os_publish(x->image, x->path, e);
    if (r == -ERR_WRONG_STATE) {
        struct err why;
        r = forget(x, &x->file_row, &why);
        if (r < 0) {
            *e = why;
            return r;
        }
        return in_the_way(x, e);
    }
    return r < 0 ? r : resource_made(t->db, x->file_row, e);
}

int task_export_vm(struct task_run *t, struct err *e)
{
    AUTO(export_clear) struct export x = {.t = t};
    int r = task_run_hypervisor(t, e);
    if (r < 0 || (r = read_params(&x, e)) < 0 || (r = find_rows(&x, e)) < 0 || (r = look(&x, e)) < 0)
        return r;
    if (r == 1)
        return (r = resource_made(t->db, x.file_row, e)) < 0 ? r : drop_folder(&x, e);
    if ((r = make_folder(&x, e)) < 0)
        return r;
    r = hv_disk_export(t->d->hv, t->job->vm_id, x.slot, disk_hv_format(x.format), x.image, task_run_stop, on_progress, t, e);
    if (r == 0 && x.whole_mib && x.format == FORMAT_VHD)
        r = image_vhd_whole_mib(x.image, e);
    if (r == 0)
        r = publish(&x, e);
    struct err left;
    if (drop_folder(&x, &left) < 0)                   /* the next run or the job's end removes it */
        log_err(LOG_LEVEL_WARNING, "the folder of an export stays for now", &left);
    return r == -ERR_CANCELLED ? task_run_stopped(t, e) : task_run_vm(t, r, e);
}

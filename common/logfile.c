#include "common/logfile.h"

#include <pthread.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/os.h"

#define RETRY_MS 5000

struct logfile {
    char *path, *folder;
    struct logfile_config c;
    pthread_mutex_t lock;
    struct os_file *file;                            /* NULL: closed; opened by the next line that is due */
    uint64_t size;                                   /* of the file; the next line goes there */
    uint64_t rotate_at;
    int64_t not_before_ms;                           /* no attempt to open earlier */
    uint64_t lost, lost_now;                         /* since the start; since the last line that was written */
    bool unwritable, unmovable;                      /* since the last line; since the last attempt to rename */
};

struct logfile *logfile_new(const struct logfile_config *c)
{
    struct logfile *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->c = *c;
    f->path = str_dup(c->path);
    f->folder = str_ndup(c->path, (size_t)(os_path_base(c->path) - c->path));
    if (!f->path || !f->folder) {
        free(f->path);
        free(f->folder);
        free(f);
        return NULL;
    }
    f->c.path = f->path;
    f->rotate_at = c->max_bytes;
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

/* NAME.log, NAME.1.log, NAME.2.log … */
static char *name_of(const struct logfile *f, unsigned generation)
{
    const char *base = os_path_base(f->path), *dot = strrchr(base, '.');
    size_t stem = dot ? (size_t)(dot - f->path) : strlen(f->path);
    return generation ? str_printf("%.*s.%u%s", (int)stem, f->path, generation, f->path + stem) : str_dup(f->path);
}

/* Opens at the end of what is there. A line that a crash cut short gets its newline. */
static int open_file(struct logfile *f, struct err *e)
{
    int r = os_mkdirs(f->folder, OS_PRIVATE, e);
    if (r < 0 || (r = os_file_open(f->path, OS_WRITE | OS_CREATE | OS_PRIVATE, &f->file, e)) < 0)
        return r;
    char last = '\n';
    if ((r = os_file_size(f->file, &f->size, e)) == 0 && f->size)
        r = os_file_pread(f->file, &last, 1, f->size - 1, e);
    if (r == 0 && last != '\n' && (r = os_file_pwrite(f->file, "\n", 1, f->size, e)) == 0)
        f->size++;
    if (r < 0)
        os_file_close(STEAL(f->file));
    return r;
}

/* Moves every file one further; those that are missing are no matter. The first failure ends it: going on would overwrite what could not
 * move. os_rename itself waits a moment for virus scanners and viewers to let go of a file. */
static int shift(struct logfile *f, struct err *e)
{
    int r = 0;
    for (unsigned i = f->c.files - 1; i >= 1 && r == 0; i--) {
        AUTO_FREE char *from = name_of(f, i - 1), *to = name_of(f, i);
        r = from && to ? os_rename(from, to, e) : err_oom(e);
        if (r == -ERR_NOT_FOUND)
            r = 0;
    }
    return r;
}

/* Makes room for more lines. What fails is in e, and yet the file is open again if it can be. */
static int rotate(struct logfile *f, struct err *e)
{
    int r = 0;
    if (f->c.files > 1) {
        os_file_close(STEAL(f->file));
        r = shift(f, e);
        f->unmovable = r < 0;
        struct err again;
        int opened = open_file(f, &again);
        if (opened < 0) {
            *e = again;
            return opened;
        }
        if (r == 0) {
            f->rotate_at = f->c.max_bytes;
            return 0;
        }
    }
    if (f->c.files > 1 && f->size < 2 * f->c.max_bytes) {
        f->rotate_at = f->size + f->c.max_bytes / 4;  /* go on here for a while */
        return r;
    }
    int cut = os_file_truncate(f->file, 0, e);
    if (cut < 0) {
        os_file_close(STEAL(f->file));
        return cut;
    }
    f->size = 0;
    f->rotate_at = f->c.max_bytes;
    return r;
}

static int put(struct logfile *f, const char *line, size_t n, struct err *e)
{
    int r = os_file_pwrite(f->file, line, n, f->size, e);
    if (r == 0)
        f->size += n;
    return r;
}

static int put_gap(struct logfile *f, struct err *e)
{
    AUTO_STRBUF struct strbuf b = {0};
    log_format(&b, LOG_LEVEL_WARNING, "log lines could not be written", (const struct log_kv[]){KI("lines", f->lost_now), {0}});
    int r = b.data ? put(f, b.data, b.len, e) : err_oom(e);
    if (r == 0)
        f->lost_now = 0;
    return r;
}

/* 0, or what went wrong; *ret_written tells whether the line was written all the same. */
static int write_line(struct logfile *f, const char *line, size_t n, bool *ret_written, struct err *e)
{
    int r = 0, rotated = 0;
    struct err why;
    if (!f->file) {
        if ((r = open_file(f, e)) < 0)
            return r;
        f->rotate_at = f->c.max_bytes;
    }
    if (f->size && f->size + n > f->rotate_at && (rotated = rotate(f, &why)) < 0)
        *e = why;
    if (!f->file)
        return rotated;
    if ((f->lost_now && (r = put_gap(f, e)) < 0) || (r = put(f, line, n, e)) < 0) {
        struct err ignored;
        os_file_truncate(f->file, f->size, &ignored);    /* no half line; if that fails, the next open adds a newline */
        os_file_close(STEAL(f->file));
        return r;
    }
    *ret_written = true;
    return rotated;
}

void logfile_write(struct logfile *f, const char *line, size_t n)
{
    struct err e;
    bool written = false;
    pthread_mutex_lock(&f->lock);
    bool unwritable = f->unwritable, unmovable = f->unmovable;
    int64_t now = clock_mono_ms();
    if (f->file || now >= f->not_before_ms) {
        write_line(f, line, n, &written, &e);
        if (!f->file)
            f->not_before_ms = now + (f->c.retry_ms ? f->c.retry_ms : RETRY_MS);
    }
    f->unwritable = !written;
    if (!written) {
        f->lost++;
        f->lost_now++;
    }
    bool tell = (f->unwritable && !unwritable) || (f->unmovable && !unmovable);
    pthread_mutex_unlock(&f->lock);
    if (tell && f->c.trouble)
        f->c.trouble(f->c.arg, &e);
}

const char *logfile_path(const struct logfile *f)
{
    return f->path;
}

uint64_t logfile_lost(struct logfile *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t n = f->lost;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void logfile_free(struct logfile *f)
{
    if (!f)
        return;
    os_file_close(f->file);
    pthread_mutex_destroy(&f->lock);
    free(f->path);
    free(f->folder);
    free(f);
}

/* What the guest's serial port said, on disk in segments: the log grows over the VM's life, its end is kept, and what was dropped reads as zeros. */
#include <inttypes.h>
#include <string.h>

#include "hyperv/hyperv.h"

#define SEGMENT ((uint64_t)4 << 20)
#define KEEP 16u                                       /* segments */

struct hyperv_log {
    char *dir;
    pthread_mutex_t lock;
    uint64_t size;                                     /* of the whole log */
    uint64_t open;                                     /* segment that f is */
    struct os_file *f;                                 /* for appending; NULL: not open */
};

static char *segment_path(const struct hyperv_log *l, uint64_t segment)
{
    char name[32];
    snprintf(name, sizeof name, "%010" PRIu64 ".log", segment);
    return os_path_join(l->dir, name);
}

static int find_last(void *arg, const char *name)
{
    struct hyperv_log *l = arg;
    const char *dot = strchr(name, '.');
    unsigned long long n;
    AUTO_FREE char *number = dot && !strcmp(dot, ".log") ? str_ndup(name, (size_t)(dot - name)) : NULL;
    if (number && str_to_u64(number, UINT32_MAX, &n)) {
        AUTO_FREE char *path = segment_path(l, n);
        struct os_stat st;
        struct err ignored;
        if (path && os_stat(path, &st, &ignored) == 0 && st.is_file) {
            uint64_t end = n * SEGMENT + (st.size < SEGMENT ? st.size : SEGMENT);
            l->size = end > l->size ? end : l->size;
        }
    }
    return 0;
}

int hyperv_log_open(const char *dir, struct hyperv_log **ret, struct err *e)
{
    struct hyperv_log *l = calloc(1, sizeof *l);
    if (!l)
        return err_oom(e);
    pthread_mutex_init(&l->lock, NULL);
    struct os_stat st;
    int r = (l->dir = str_dup(dir)) ? os_stat(dir, &st, e) : err_oom(e);
    if (r == 0 && st.exists)
        r = os_list_dir(dir, find_last, l, e);
    if (r < 0)
        hyperv_log_close(l);
    else
        *ret = l;
    return r;
}

void hyperv_log_close(struct hyperv_log *l)
{
    if (!l)
        return;
    os_file_close(l->f);
    pthread_mutex_destroy(&l->lock);
    free(l->dir);
    free(l);
}

void hyperv_log_let_go(struct hyperv_log *l)
{
    pthread_mutex_lock(&l->lock);
    os_file_close(l->f);
    l->f = NULL;
    pthread_mutex_unlock(&l->lock);
}

static int open_segment(struct hyperv_log *l, uint64_t segment, struct err *e)
{
    if (l->f && l->open == segment)
        return 0;
    os_file_close(l->f);
    l->f = NULL;
    AUTO_FREE char *path = segment_path(l, segment), *old = segment >= KEEP ? segment_path(l, segment - KEEP) : NULL;
    struct err ignored;
    if (old)
        os_remove(old, &ignored);
    int r = path ? os_mkdirs(l->dir, OS_PRIVATE, e) : err_oom(e);
    if (r == 0)
        r = os_file_open(path, OS_WRITE | OS_CREATE | OS_PRIVATE, &l->f, e);
    l->open = segment;
    return r;
}

int hyperv_log_append(struct hyperv_log *l, const void *p, size_t n, struct err *e)
{
    const char *from = p;
    int r = 0;
    pthread_mutex_lock(&l->lock);
    while (r == 0 && n) {
        uint64_t at = l->size % SEGMENT;
        size_t part = n < SEGMENT - at ? n : (size_t)(SEGMENT - at);
        r = open_segment(l, l->size / SEGMENT, e);
        if (r == 0)
            r = os_file_pwrite(l->f, from, part, at, e);
        if (r == 0) {
            from += part;
            n -= part;
            l->size += part;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return r;
}

static int read_part(struct hyperv_log *l, uint64_t offset, char *buf, size_t n, struct err *e)
{
    AUTO_FREE char *path = segment_path(l, offset / SEGMENT);
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    struct os_stat st;
    int r = path ? os_stat(path, &st, e) : err_oom(e);
    if (r == 0 && !st.exists)
        memset(buf, 0, n);
    if (r < 0 || !st.exists)
        return r;
    r = os_file_open(path, OS_READ, &f, e);
    return r < 0 ? r : os_file_pread(f, buf, n, offset % SEGMENT, e);
}

int hyperv_log_read(struct hyperv_log *l, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e)
{
    int r = 0;
    size_t got = 0;
    pthread_mutex_lock(&l->lock);
    uint64_t size = l->size;
    while (r == 0 && got < n && offset + got < size) {
        uint64_t at = offset + got, end = (at / SEGMENT + 1) * SEGMENT;
        uint64_t part = (end < size ? end : size) - at;
        if (part > n - got)
            part = n - got;
        r = read_part(l, at, (char *)buf + got, (size_t)part, e);
        got += r == 0 ? (size_t)part : 0;
    }
    pthread_mutex_unlock(&l->lock);
    if (r < 0)
        return r;
    *ret_n = got;
    *ret_size = size;
    return 0;
}

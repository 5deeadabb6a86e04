/* What of os.h is the same on every system. */
#include "common/os.h"

#include <string.h>

int os_file_pread(struct os_file *f, void *buf, size_t n, uint64_t offset, struct err *e)
{
    size_t got;
    int r = os_file_read_some(f, buf, n, offset, &got, e);
    if (r < 0)
        return r;
    if (got < n)
        return err_set(e, ERR_IO, "%s ends at %llu, %llu bytes too early", os_file_name(f), (unsigned long long)(offset + got),
                       (unsigned long long)(n - got));
    return 0;
}

int os_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *e)
{
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    int r = os_file_open(path, OS_READ, &f, e);
    if (r < 0)
        return r;
    AUTO_STRBUF struct strbuf b = {.max = max + 1};
    for (;;) {                                        /* not by size: files of /proc have none */
        char chunk[16384];
        size_t n;
        if ((r = os_file_read_some(f, chunk, sizeof chunk, b.len, &n, e)) < 0)
            return r;
        strbuf_add(&b, chunk, n);
        if (b.failed || b.len > max)
            return err_set(e, ERR_TOO_LARGE, "%s has more than %zu bytes", path, max);
        if (n < sizeof chunk)
            break;
    }
    size_t len = b.len;
    char *s = strbuf_steal(&b);
    if (!s)
        return err_oom(e);
    *ret = s;
    if (ret_len)
        *ret_len = len;
    return 0;
}

#define SALT_DIGITS 8
#define UNFINISHED ".tmp"

int os_write_file(const char *path, const void *data, size_t n, unsigned flags, struct err *e)
{
    uint64_t salt;
    int r = os_random(&salt, sizeof salt, e);
    if (r < 0)
        return r;
    AUTO_FREE char *tmp = str_printf("%s.%0*llx" UNFINISHED, path, SALT_DIGITS, (unsigned long long)(salt & 0xFFFFFFFF));
    if (!tmp)
        return err_oom(e);
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    if ((r = os_file_open(tmp, OS_WRITE | OS_CREATE | OS_EXCLUSIVE | (flags & OS_PRIVATE), &f, e)) < 0)
        return r;
    r = os_file_pwrite(f, data, n, 0, e);
    if (r == 0)
        r = os_file_sync(f, e);
    os_file_close(STEAL(f));
    if (r == 0)
        r = os_rename(tmp, path, e);
    if (r < 0) {
        struct err ignored;
        os_remove(tmp, &ignored);
    }
    return r;
}

/* NAME.<salt>.tmp */
static bool is_unfinished(const char *name)
{
    size_t n = strlen(name), end = strlen(UNFINISHED);
    if (n < 1 + 1 + SALT_DIGITS + end || strcmp(name + n - end, UNFINISHED) != 0)
        return false;
    const char *salt = name + n - end - SALT_DIGITS;
    return salt[-1] == '.' && strspn(salt, "0123456789abcdef") == SALT_DIGITS;
}

struct sweep { const char *dir; struct err *e; };

static int sweep_one(void *arg, const char *name)
{
    const struct sweep *s = arg;
    struct os_stat st;
    if (!is_unfinished(name))
        return 0;
    AUTO_FREE char *path = os_path_join(s->dir, name);
    int r = path ? os_stat(path, &st, s->e) : err_oom(s->e);
    return r < 0 || !st.is_file ? r : os_remove(path, s->e);
}

int os_remove_unfinished(const char *dir, struct err *e)
{
    return os_list_dir(dir, sweep_one, &(struct sweep){dir, e}, e);
}

/* Both separators count on every system: a path that is harmless on one must not be an escape on another. */
static bool has_dot_dot(const char *path)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/\\");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return true;
        p += n;
        p += *p != 0;
    }
    return false;
}

const char *os_path_refuse(const char *path)
{
    if (!os_path_is_absolute(path))
        return "must be an absolute path on the recovery host";
    if (has_dot_dot(path))
        return "must not have '..' in it";
    return os_path_refuse_name(path);
}

int os_dir_writable(const char *path, struct err *e)
{
    uint64_t salt = 0;
    int r = os_random(&salt, sizeof salt, e);
    if (r < 0)
        return r;
    AUTO_FREE char *name = str_printf(".vmrecover-%016llx.tmp", (unsigned long long)salt);
    AUTO_FREE char *trial = name ? os_path_join(path, name) : NULL;
    struct os_file *f;
    if (!trial)
        return err_oom(e);
    if ((r = os_file_open(trial, OS_WRITE | OS_CREATE | OS_EXCLUSIVE | OS_PRIVATE, &f, e)) < 0)
        return r;
    os_file_close(f);
    return os_remove(trial, e);
}

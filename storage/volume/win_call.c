/* Calls to Windows Storage: three layers may say no (WMI, the method's number, the job that it began), and a cache that is behind says so by a number. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "storage/volume/win.h"

#define SLICE_MS 200u
#define JOB_LOOK_MS 500u
#define STALE_TRIES 6
#define BUSY_TRIES 6
#define BUSY_MS 2000u
#define RETURN_JOB 4096u
#define RETURN_STALE 40003u

enum { JOB_COMPLETED = 7, JOB_TERMINATED = 8, JOB_KILLED = 9, JOB_EXCEPTION = 10, JOB_WARNED = 32768 };

/* ReturnValues that have words of their own; "Return Values" of each method. */
static const struct { unsigned value; enum err_code code; const char *text; } table[] = {
    {WIN_NOT_SUPPORTED, ERR_UNSUPPORTED, "it is not supported"},
    {3, ERR_TIMEOUT, "it took too long"},
    {5, ERR_INTERNAL, "a parameter is not valid"},
    {WIN_IN_USE, ERR_VOLUME, "it is in use"},
    {7, ERR_UNSUPPORTED, "a 32-bit program may not do this"},
    {40000, ERR_VOLUME, "there is no space for it"},
    {40001, ERR_PERMISSION, "access was denied"},
    {40002, ERR_VOLUME, "the host lacks the resources"},
    {RETURN_STALE, ERR_VOLUME, "Windows' own list of disks stays behind"},
    {40004, ERR_IO, "reading or writing failed"},
    {40005, ERR_INTERNAL, "exactly one way to say the size is needed"},
    {WIN_NOT_INITIALIZED, ERR_VOLUME, "the disk is not initialised"},
    {41001, ERR_DISK_REFUSED, "the disk has been initialised meanwhile, so it is not empty any more"},
    {41002, ERR_VOLUME, "the disk is read-only"},
    {41003, ERR_VOLUME, "the disk is offline"},
    {41008, ERR_DISK_REFUSED, "there are partitions with data on the disk"},
    {41009, ERR_DISK_REFUSED, "the system needs this disk"},
    {41011, ERR_UNSUPPORTED, "an MBR reaches 2 TiB"},
    {41014, ERR_UNSUPPORTED, "the disk is too small for a GPT"},
    {41015, ERR_DISK_REFUSED, "there is no medium in it"},
    {41018, ERR_DISK_REFUSED, "it belongs to a failover cluster"},
    {41019, ERR_DISK_REFUSED, "it belongs to a failover cluster"},
    {WIN_PATH_IN_USE, ERR_VOLUME, "the letter or folder is taken"},
    {42007, ERR_VOLUME, "the path cannot lead to a volume"},
    {43000, ERR_UNSUPPORTED, "the file system does not have clusters of this size"},
    {43001, ERR_UNSUPPORTED, "this Windows does not make that file system"},
    {43002, ERR_UNSUPPORTED, "this file system is not made quickly"},
    {43006, ERR_VOLUME, "the volume is read-only"},
    {48004, ERR_VOLUME, "too few disks of the pool can be used"},
    {48006, ERR_VOLUME, "the pool is not healthy"},
    {48007, ERR_VOLUME, "the pool is read-only"},
    {49006, ERR_UNSUPPORTED, "so many columns are not possible"},
    {51000, ERR_DISK_REFUSED, "the disk cannot be put into a pool"},
    {51001, ERR_DISK_REFUSED, "the disk is in a pool already"},
};

bool win_stopped(struct win_host *h)
{
    return h->base.cfg.stop && h->base.cfg.stop(h->base.cfg.arg);
}

int win_sleep(struct win_host *h, unsigned ms, struct err *e)
{
    while (ms && !win_stopped(h)) {
        unsigned slice = ms < SLICE_MS ? ms : SLICE_MS;
        h->p->ops->sleep_ms(h->p->arg, slice);
        ms -= slice;
    }
    return win_stopped(h) ? err_set(e, ERR_CANCELLED, "stopped") : 0;
}

static struct wmi_wait wait_of(struct win_host *h, unsigned timeout_ms)
{
    return (struct wmi_wait){.timeout_ms = timeout_ms, .stop = h->base.cfg.stop, .arg = h->base.cfg.arg};
}

static int connect(struct win_host *h, struct err *e)
{
    struct wmi_wait w = wait_of(h, WIN_READ_MS);
    return h->wmi ? 0 : wmi_open(h->p->wmi, h->p->wmi_arg, WMI_NS_STORAGE, &w, &h->wmi, e);
}

int win_query(struct win_host *h, struct wmi_rows *ret, struct err *e, const char *fmt, ...)
{
    struct wmi_wait w = wait_of(h, WIN_READ_MS);
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *wql = str_vprintf(fmt, ap);
    va_end(ap);
    int r = wql ? connect(h, e) : err_oom(e);
    return r < 0 ? r : wmi_query(h->wmi, wql, WMI_ROWS_MAX, &w, ret, e);
}

int win_others(struct win_host *h, const struct wmi_object *o, const char *association, struct wmi_rows *ret, struct err *e)
{
    AUTO_FREE char *path = NULL;
    int r = wmi_path(o, &path, e);
    return r < 0 ? r : win_query(h, ret, e, "ASSOCIATORS OF {%s} WHERE AssocClass=%s", path, association);
}

int win_other(struct win_host *h, const struct wmi_object *o, const char *association, struct wmi_object **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = win_others(h, o, association, &rows, e);
    *ret = r == 0 && rows.n ? STEAL(rows.at[0]) : NULL;
    wmi_rows_clear(&rows);
    return r;
}

int win_in(struct win_host *h, const char *class_name, const char *method, struct wmi_object **ret, struct err *e)
{
    struct wmi_wait w = wait_of(h, WIN_READ_MS);
    int r = connect(h, e);
    return r < 0 ? r : wmi_method(h->wmi, class_name, method, &w, ret, e);
}

/* ---- what a method says ---- */

/* Windows' own words about a failure; heap; NULL: none. */
static char *words_of(const struct wmi_object *out)
{
    struct wmi_value v = {0};
    struct wmi_instance_text t = {0};
    struct err ignored;
    char *words = NULL;
    if (wmi_get_value(out, "ExtendedStatus", &v, &ignored) < 0)
        return NULL;
    if (v.type == WMI_OBJECT && !v.array)
        words = wmi_str(v.one.o, "Message");
    else if (v.type == WMI_STRING && !v.array && wmi_text_parse(v.one.s, &t, &ignored) == 0)
        words = str_dup(wmi_text_value(&t, "Message"));
    wmi_text_clear(&t);
    wmi_value_clear(&v);
    for (char *s = words; s && *s; s++)
        if ((unsigned char)*s < 0x20)
            *s = ' ';
    return words;
}

static int refused(struct err *e, const char *what, unsigned value, const char *words)
{
    const char *text = "Windows gives no reason";
    enum err_code code = ERR_VOLUME;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].value == value) {
            code = table[i].code;
            text = table[i].text;
        }
    err_set(e, code, "%.200s failed: %s (%u)%s%.160s", what, text, value, words && *words ? ": " : "", words ? words : "");
    e->os_code = 0;
    snprintf(e->upstream.service, sizeof e->upstream.service, "windows_storage");
    snprintf(e->upstream.code, sizeof e->upstream.code, "%u", value);
    return -(int)code;
}

unsigned win_code(const struct err *e)
{
    unsigned long long v;
    return !strcmp(e->upstream.service, "windows_storage") && str_to_u64(e->upstream.code, UINT32_MAX, &v) ? (unsigned)v : 0;
}

int win_refresh(struct win_host *h, struct err *e)
{
    struct wmi_wait w = wait_of(h, WIN_CHANGE_MS);
    int r = connect(h, e);
    if (r < 0)
        return r;
    return wmi_exec_read(h->wmi, "MSFT_StorageSetting", "UpdateHostStorageCache", NULL, &w, NULL, e);
}

/* ---- jobs ---- */

/* Where the job is: by its path, or as an object without one. */
static char *job_path(const struct wmi_object *out)
{
    struct wmi_value v = {0};
    struct err ignored;
    char *path = NULL;
    if (wmi_get_value(out, "CreatedStorageJob", &v, &ignored) < 0)
        return NULL;
    if (v.type == WMI_OBJECT && !v.array) {
        AUTO_FREE char *id = wmi_str(v.one.o, "ObjectId"), *quoted = id ? wmi_quote(id) : NULL;
        path = quoted ? str_printf("MSFT_StorageJob.ObjectId=%s", quoted) : NULL;
    } else if ((v.type == WMI_STRING || v.type == WMI_REFERENCE) && !v.array) {
        path = str_dup(v.one.s);
    }
    wmi_value_clear(&v);
    return path;
}

/* A job that is gone came to some end: what it did is looked at by whoever asked for it. */
static int wait_for_job(struct win_host *h, const char *what, const char *path, unsigned timeout_ms, struct err *e)
{
    int64_t deadline = h->p->ops->now_ms(h->p->arg) + timeout_ms;
    for (;;) {
        AUTO(wmi_object_free_ptr) struct wmi_object *job = NULL;
        struct wmi_wait w = wait_of(h, WIN_READ_MS);
        int r = wmi_get(h->wmi, path, &w, &job, e);
        if (r < 0)
            return r == -ERR_NOT_FOUND ? 0 : r;
        uint64_t state = wmi_uint(job, "JobState", 0);
        if (state == JOB_COMPLETED || state == JOB_WARNED)
            return 0;
        if (state >= JOB_TERMINATED && state <= JOB_EXCEPTION) {
            AUTO_FREE char *words = wmi_str(job, "ErrorDescription");
            return refused(e, what, (unsigned)wmi_uint(job, "ErrorCode", 4), words);
        }
        if (h->p->ops->now_ms(h->p->arg) > deadline)
            return err_set(e, ERR_TIMEOUT, "%.200s: it is not done yet", what);
        if ((r = win_sleep(h, JOB_LOOK_MS, e)) < 0)
            return r;
    }
}

int win_exec(struct win_host *h, const char *what, const struct wmi_object *o, const char *method, struct wmi_object *in, unsigned timeout_ms, struct err *e)
{
    AUTO_FREE char *path = NULL;
    unsigned stale = 0, busy = 0;
    int r = wmi_path(o, &path, e);
    while (r == 0) {
        AUTO(wmi_object_free_ptr) struct wmi_object *out = NULL;
        struct wmi_wait w = wait_of(h, timeout_ms);
        if ((r = wmi_exec(h->wmi, path, method, in, &w, &out, e)) < 0)
            return r == -ERR_CANCELLED ? r : err_prefix(e, "%.120s", what);
        unsigned value = out ? (unsigned)wmi_uint(out, "ReturnValue", 0) : 0;
        AUTO_FREE char *words = value && value != RETURN_JOB ? words_of(out) : NULL;
        AUTO_FREE char *job = value == RETURN_JOB ? job_path(out) : NULL;
        if (!value)
            return 0;
        if (value == RETURN_JOB)
            return job ? wait_for_job(h, what, job, timeout_ms, e) : err_set(e, ERR_VOLUME, "%.200s: Windows began it, and does not say as what", what);
        if (value == RETURN_STALE && stale++ < STALE_TRIES)
            r = win_refresh(h, e);
        else if (value == WIN_IN_USE && busy++ < BUSY_TRIES)
            r = win_sleep(h, BUSY_MS, e);
        else
            return refused(e, what, value, words);
    }
    return r;
}

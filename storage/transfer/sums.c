#include "storage/transfer/sums.h"

#include <string.h>

#include "common/crc64.h"

#define MAGIC "VMRSUMS1"
#define FILE_MAX ((size_t)256 << 20)                 /* 8 TiB in pieces of a MiB */

struct header {
    char magic[8];
    uint64_t length;
    uint32_t partial, form;                          /* form: of struct sums_kind */
    uint64_t check;                                  /* of all before it */
};
struct record { uint64_t start, end, crc, check; };
_Static_assert(sizeof(struct header) == 32 && sizeof(struct record) == 32, "the file has no holes");

struct sums_file {
    struct os_file *file;
    struct header header;
    uint64_t size;                                   /* of the valid part: the next record goes here */
};

void sums_free(struct sums *s)
{
    free(s->list);
    *s = (struct sums){0};
}

static bool push(struct sums *s, const struct sum *add)
{
    if (s->n == s->size) {
        size_t size = s->size ? s->size * 2 : 64;
        void *p = realloc(s->list, size * sizeof *s->list);
        if (!p)
            return false;
        s->list = p;
        s->size = size;
    }
    s->list[s->n++] = *add;
    return true;
}

bool sums_add(struct sums *s, uint64_t start, uint64_t end, uint64_t crc)
{
    struct sum *last = s->n ? &s->list[s->n - 1] : NULL;
    if (last && last->end == start && end - last->start <= (1 << 20)) {    /* small ones only: where a large one is damaged would be known less well */
        last->crc = crc64_combine(last->crc, crc, end - start);
        last->end = end;
        return true;
    }
    return push(s, &(struct sum){start, end, crc});
}

static uint64_t record_check(const struct header *h, const struct record *r)
{
    return crc64(crc64(0, &h->length, sizeof h->length), r, offsetof(struct record, check));
}

static bool header_is_good(const struct header *h)
{
    return !memcmp(h->magic, MAGIC, sizeof h->magic) && h->check == crc64(0, h, offsetof(struct header, check));
}

/* Calls fn for each valid record; *ret_size: the end of the last. ERR_EMPTY as sums_read. */
static int scan(const char *path, struct header *ret, uint64_t *ret_size, bool (*fn)(void *arg, const struct sum *s), void *arg, struct err *e)
{
    struct os_stat st;
    AUTO_FREE char *data = NULL;
    size_t n = 0, at = sizeof *ret;
    int r = os_stat(path, &st, e);
    if (r == 0 && !st.exists)
        return err_set(e, ERR_EMPTY, "there is no record %s", path);
    if (r < 0 || (r = os_read_file(path, FILE_MAX, &data, &n, e)) < 0)
        return r;
    if (n >= sizeof *ret)
        memcpy(ret, data, sizeof *ret);
    if (n < sizeof *ret || !header_is_good(ret))
        return err_set(e, ERR_EMPTY, "the record %s is damaged", path);
    struct record rec;
    for (; n - at >= sizeof rec; at += sizeof rec) {
        memcpy(&rec, data + at, sizeof rec);
        if (rec.check != record_check(ret, &rec) || rec.start >= rec.end || rec.end > ret->length)
            break;
        if (fn && !fn(arg, &(struct sum){rec.start, rec.end, rec.crc}))
            return err_oom(e);
    }
    *ret_size = at;
    return 0;
}

int sums_open(const char *path, uint64_t length, const struct sums_kind *kind, bool keep, struct sums_file **ret, struct err *e)
{
    AUTO(sums_close_ptr) struct sums_file *f = calloc(1, sizeof *f);
    if (!f)
        return err_oom(e);
    int r = keep ? scan(path, &f->header, &f->size, NULL, NULL, e) : -ERR_EMPTY;
    if (r < 0 && keep && e->code != ERR_EMPTY)
        return r;
    bool fresh = r < 0 || f->header.length != length || f->header.form != kind->form;
    if ((r = os_file_open(path, OS_WRITE | OS_CREATE, &f->file, e)) < 0)
        return r;
    f->header = (struct header){.magic = MAGIC, .length = length, .partial = kind->partial || (!fresh && f->header.partial), .form = kind->form};
    f->header.check = crc64(0, &f->header, offsetof(struct header, check));
    if (fresh)
        f->size = sizeof f->header;
    r = os_file_pwrite(f->file, &f->header, sizeof f->header, 0, e);
    if (r < 0 || (r = os_file_truncate(f->file, f->size, e)) < 0)
        return r;
    *ret = STEAL(f);
    return 0;
}

void sums_close(struct sums_file *f)
{
    if (!f)
        return;
    os_file_close(f->file);
    free(f);
}

int sums_append(struct sums_file *f, const struct sums *s, struct err *e)
{
    if (!s->n)
        return 0;
    AUTO_FREE struct record *list = calloc(s->n, sizeof *list);
    if (!list)
        return err_oom(e);
    for (size_t i = 0; i < s->n; i++) {
        list[i] = (struct record){.start = s->list[i].start, .end = s->list[i].end, .crc = s->list[i].crc};
        list[i].check = record_check(&f->header, &list[i]);
    }
    int r = os_file_pwrite(f->file, list, s->n * sizeof *list, f->size, e);
    if (r == 0)
        f->size += s->n * sizeof *list;
    return r;
}

int sums_sync(struct sums_file *f, struct err *e)
{
    return os_file_sync(f->file, e);
}

static bool collect(void *arg, const struct sum *s)
{
    return push(arg, s);
}

static int by_start(const void *a, const void *b)
{
    const struct sum *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

int sums_read(const char *path, uint64_t *ret_length, struct sums_kind *ret_kind, struct sums *ret, struct err *e)
{
    struct sums s = {0};
    struct header h;
    uint64_t size;
    int r = scan(path, &h, &size, collect, &s, e);
    if (r < 0) {
        sums_free(&s);
        return r;
    }
    if (s.n)
        qsort(s.list, s.n, sizeof *s.list, by_start);
    *ret = s;
    *ret_length = h.length;
    *ret_kind = (struct sums_kind){.partial = h.partial != 0, .form = h.form};
    return 0;
}

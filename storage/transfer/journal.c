#include "storage/transfer/journal.h"

#include <stdio.h>
#include <string.h>

#include "common/os.h"

#define MAGIC "VMRJRNL1"
#define RECORD_MAGIC 0x4B4E5053u
#define FILE_MAX ((size_t)64 << 20)

struct header {
    char magic[8];
    uint64_t length;
    char etag[128], last_modified[64];
    uint8_t list_hash[SHA256_LEN], map_hash[SHA256_LEN];
    char form[64];
    uint8_t zero[168];
    uint32_t header_bytes, crc; /* crc: of all before it */
};
_Static_assert(sizeof(struct header) == JOURNAL_HEADER, "the header is one sector");

struct record {
    uint64_t start, end;
    uint32_t magic, crc; /* crc: of all before it, from the header's on */
};
_Static_assert(sizeof(struct record) == JOURNAL_RECORD, "records have no holes");

struct journal {
    char *path, *next; /* next: where a rewritten journal grows until it is renamed */
    struct os_file *file;
    struct header header;
    uint64_t size; /* of the valid part: the next record goes here */
    struct spans spans;
    bool list_differs, map_differs, form_differs;
};

static uint32_t record_crc(const struct journal *j, const struct record *r)
{
    return crypto_crc32(j->header.crc, r, offsetof(struct record, crc));
}

static struct header make_header(const struct journal_source *src)
{
    struct header h = {.magic = MAGIC, .length = src->length, .header_bytes = JOURNAL_HEADER};
    snprintf(h.etag, sizeof h.etag, "%s", src->etag);
    snprintf(h.last_modified, sizeof h.last_modified, "%s", src->last_modified);
    memcpy(h.list_hash, src->list_hash, sizeof h.list_hash);
    memcpy(h.map_hash, src->map_hash, sizeof h.map_hash);
    snprintf(h.form, sizeof h.form, "%s", src->form ? src->form : "");
    h.crc = crypto_crc32(0, &h, offsetof(struct header, crc));
    return h;
}

static void add_records(const struct journal *j, const struct spans *s, struct strbuf *b)
{
    for (size_t i = 0; i < s->n; i++) {
        struct record r = {.start = s->list[i].start, .end = s->list[i].end, .magic = RECORD_MAGIC};
        r.crc = record_crc(j, &r);
        strbuf_add(b, &r, sizeof r);
    }
}

/* The whole journal anew, and open. */
static int rewrite(struct journal *j, struct err *e)
{
    AUTO_STRBUF struct strbuf b = {.max = FILE_MAX};
    strbuf_add(&b, &j->header, sizeof j->header);
    add_records(j, &j->spans, &b);
    if (b.failed)
        return err_oom(e);
    os_file_close(j->file);
    j->file = NULL;
    struct os_file *f;
    int r = os_file_open(j->next, OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, e);
    if (r < 0)
        return r;
    r = os_file_pwrite(f, b.data, b.len, 0, e);
    if (r == 0)
        r = os_file_sync(f, e);
    os_file_close(f);
    if (r < 0 || (r = os_rename(j->next, j->path, e)) < 0 || (r = os_file_open(j->path, OS_WRITE, &j->file, e)) < 0)
        return r;
    j->size = b.len;
    return 0;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    os_file_close(j->file);
    spans_free(&j->spans);
    free(j->path);
    free(j->next);
    free(j);
}

static struct journal *journal_new(const char *path, const struct journal_source *src)
{
    AUTO(journal_close_ptr) struct journal *j = calloc(1, sizeof *j);
    if (!j || !(j->path = str_dup(path)) || !(j->next = str_printf("%s" JOURNAL_NEXT, path)))
        return NULL;
    j->header = make_header(src);
    return STEAL(j);
}

int journal_create(const char *path, const struct journal_source *src, struct journal **ret, struct err *e)
{
    AUTO(journal_close_ptr) struct journal *j = journal_new(path, src);
    if (!j)
        return err_oom(e);
    int r = rewrite(j, e);
    if (r < 0)
        return r;
    *ret = STEAL(j);
    return 0;
}

static int compare(const struct header *was, const struct header *now, const char *path, struct err *e)
{
    if (was->length != now->length)
        return err_set(e, ERR_SOURCE_CHANGED, "%s was begun from a source of %llu bytes, now it has %llu", path,
                       (unsigned long long)was->length, (unsigned long long)now->length);
    if (strcmp(was->etag, now->etag))
        return err_set(e, ERR_SOURCE_CHANGED, "%s was begun from a source with ETag %.127s, now it is %.127s", path, was->etag,
                       now->etag);
    if (strcmp(was->last_modified, now->last_modified))
        return err_set(e, ERR_SOURCE_CHANGED, "%s was begun from a source last modified %.63s, now it is %.63s", path,
                       was->last_modified, now->last_modified);
    return 0;
}

static int load_records(struct journal *j, const char *data, size_t n, struct err *e)
{
    size_t at = sizeof j->header;
    struct record r;
    for (; n - at >= sizeof r; at += sizeof r) {
        memcpy(&r, data + at, sizeof r);
        if (r.magic != RECORD_MAGIC || r.crc != record_crc(j, &r) || r.start >= r.end || r.end > j->header.length)
            break;
        if (!spans_add(&j->spans, r.start, r.end))
            return err_oom(e);
    }
    j->size = at;
    return 0;
}

int journal_open(const char *path, const struct journal_source *src, struct journal **ret, bool *ret_damaged, struct err *e)
{
    *ret_damaged = false;
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r < 0)
        return r;
    if (!st.exists)
        return err_set(e, ERR_EMPTY, "there is no journal %s", path);
    AUTO(journal_close_ptr) struct journal *j = journal_new(path, src);
    AUTO_FREE char *data = NULL;
    size_t n = 0;
    if (!j)
        return err_oom(e);
    struct header now = j->header;
    r = os_read_file(path, FILE_MAX, &data, &n, e);
    if (r < 0)
        return r;
    if (n >= sizeof j->header)
        memcpy(&j->header, data, sizeof j->header);
    const struct header *h = &j->header;
    if (n < sizeof *h || memcmp(h->magic, MAGIC, sizeof h->magic) || h->header_bytes != JOURNAL_HEADER ||
        h->crc != crypto_crc32(0, h, offsetof(struct header, crc)) || h->etag[sizeof h->etag - 1] ||
        h->last_modified[sizeof h->last_modified - 1] || h->form[sizeof h->form - 1]) {
        *ret_damaged = true;
        return err_set(e, ERR_EMPTY, "the journal %s is damaged", path);
    }
    r = compare(h, &now, path, e);
    if (r == 0)
        r = load_records(j, data, n, e);
    if (r == 0)
        r = os_file_open(path, OS_WRITE, &j->file, e);
    if (r < 0)
        return r;
    j->list_differs = memcmp(h->list_hash, now.list_hash, sizeof now.list_hash) != 0;
    j->map_differs = memcmp(h->map_hash, now.map_hash, sizeof now.map_hash) != 0;
    j->form_differs = strcmp(h->form, now.form) != 0;
    *ret = STEAL(j);
    return 0;
}

const struct spans *journal_spans(const struct journal *j)
{
    return &j->spans;
}

bool journal_list_differs(const struct journal *j)
{
    return j->list_differs;
}

bool journal_map_differs(const struct journal *j)
{
    return j->map_differs;
}

bool journal_form_differs(const struct journal *j)
{
    return j->form_differs;
}

int journal_append(struct journal *j, const struct spans *add, struct err *e)
{
    if (!add->n)
        return 0;
    for (size_t i = 0; i < add->n; i++)
        if (!spans_add(&j->spans, add->list[i].start, add->list[i].end))
            return err_oom(e);
    uint64_t records = j->size - JOURNAL_HEADER + add->n * JOURNAL_RECORD;
    if (!j->file || records > JOURNAL_COMPACT_BYTES + 2 * j->spans.n * JOURNAL_RECORD)
        return rewrite(j, e);
    AUTO_STRBUF struct strbuf b = {.max = FILE_MAX};
    add_records(j, add, &b);
    if (b.failed)
        return err_oom(e);
    int r = os_file_pwrite(j->file, b.data, b.len, j->size, e);
    if (r == 0)
        r = os_file_sync(j->file, e);
    if (r == 0)
        j->size += b.len;
    return r;
}

int journal_remove(const char *path, struct err *e)
{
    AUTO_FREE char *next = str_printf("%s" JOURNAL_NEXT, path);
    if (!next)
        return err_oom(e);
    int r = os_remove(next, e);
    return r < 0 ? r : os_remove(path, e);
}

#include "tests/unit/image_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "storage/image/open.h"
#include "tests/unit/tmp.h"

static char *scratch, *before;

int scratch_enter(void **state)
{
    (void)state;
    scratch = tmp_make();
    before = tmp_cwd();
    tmp_chdir(scratch);
    return 0;
}

int scratch_leave(void **state)
{
    (void)state;
    tmp_chdir(before);
    tmp_remove(scratch);
    free(before);
    return 0;
}

void sh(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *line = str_vprintf(fmt, ap);
    va_end(ap);
    assert_non_null(line);
    AUTO_FREE char *quiet = str_printf("PATH=$PATH:/usr/sbin:/sbin; { %s; } >sh.log 2>&1", line);
    assert_non_null(quiet);
    if (tmp_shell(scratch, quiet)) {
        AUTO_FREE char *said = NULL;
        struct err e;
        os_read_file("sh.log", 1 << 20, &said, NULL, &e);
        fail_msg("failed: %s\n%s", line, said ? said : "");
    }
}

struct mem_image mem_zeros(size_t size)
{
    struct mem_image m = {.data = calloc(1, size ? size : 1), .size = size};
    assert_non_null(m.data);
    return m;
}

struct mem_image mem_load(const char *path)
{
    struct err e;
    char *data;
    size_t n;
    if (os_read_file(path, (size_t)1 << 30, &data, &n, &e) < 0)
        fail_msg("%s", e.msg);
    return (struct mem_image){.data = (uint8_t *)data, .size = n};
}

struct mem_image mem_copy(const struct mem_image *m, size_t size)
{
    struct mem_image c = mem_zeros(size);
    memcpy(c.data, m->data, size);
    return c;
}

void mem_drop(struct mem_image *m)
{
    free(m->data);
    memset(m, 0, sizeof *m);
}

static int mem_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct mem_image *m = arg;
    if (n > 65536 || offset > m->size || n > m->size - offset)
        fail_msg("read of %zu bytes at %llu of %zu", n, (unsigned long long)offset, m->size);
    if (++m->reads == m->fail_at)
        return err_set(e, ERR_UPSTREAM, "read %d fails", m->reads);
    memcpy(buf, m->data + offset, n);
    return 0;
}

int mem_probe(struct mem_image *m, int expect, struct image_info *ret, struct err *e)
{
    struct image_source src = {.read = mem_read, .arg = m, .size = m->size, .name = "memory"};
    m->reads = 0;
    return image_probe(&src, expect, ret, e);
}

int file_probe(const char *path, int expect, struct image_info *ret, struct err *e)
{
    AUTO_IMAGE_FILE struct image_source src = {0};
    int r = image_file_open(path, &src, e);
    return r ? r : image_probe(&src, expect, ret, e);
}

void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void vhd_seal(uint8_t *p, size_t n, size_t field)
{
    uint32_t sum = 0;
    put_be32(p + field, 0);
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    put_be32(p + field, ~sum);
}

void assert_refused(struct mem_image *m, int expect, enum err_code code, const char *text)
{
    struct image_info info;
    struct err e;
    int r = mem_probe(m, expect, &info, &e);
    if (r != -(int)code || e.code != (int)code || (text && !strstr(e.msg, text)))
        fail_msg("%s with \"%s\" is expected, not %s: %s", err_info((int)code)->word, text ? text : "", err_info(r)->word, r ? e.msg : "no error");
}

struct err err_;
static uint64_t seed = 88172645463325252u;

void dice_from(uint64_t from)
{
    seed = from;
}

uint64_t dice(uint64_t n)                            /* xorshift64 */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

void assert_reads(const char *path, int expect, const uint8_t *model, uint64_t size)
{
    AUTO(image_close_ptr) struct image *i = NULL;
    OK(image_open(path, expect, &i, &err_));
    const struct image_source *d = image_disk(i);
    assert_true(d->size == size);
    static uint8_t buf[300001];                      /* no multiple of anything */
    for (uint64_t at = 0, n; at < size; at += n) {
        n = size - at < sizeof buf ? size - at : sizeof buf;
        OK(d->read(d->arg, buf, (size_t)n, at, &err_));
        for (uint64_t k = 0; memcmp(buf, model + at, (size_t)n) && k < n; k++)
            if (buf[k] != model[at + k])
                fail_msg("%s: byte %" PRIu64 " is %u, %u is expected", path, at + k, buf[k], model[at + k]);
    }
    for (uint64_t from = 0, start, end; from < size; from = end) {
        OK(image_next_data(d, from, size, &start, &end, &err_));
        assert_true(start >= from && (end > start || start == size));
        for (uint64_t k = from; k < start; k++)
            if (model[k])
                fail_msg("%s: byte %" PRIu64 " is called empty", path, k);
    }
}

void assert_read_errors_passed_on(struct mem_image *m, int least)
{
    struct image_info info;
    struct err e;
    m->fail_at = m->reads = 0;
    assert_int_equal(mem_probe(m, -1, &info, &e), 0);
    int reads = m->reads;
    assert_true(reads >= least);
    for (m->fail_at = 1; m->fail_at <= reads; m->fail_at++) {
        assert_int_equal(mem_probe(m, -1, &info, &e), -ERR_UPSTREAM);
        assert_int_equal(m->reads, m->fail_at);
    }
}

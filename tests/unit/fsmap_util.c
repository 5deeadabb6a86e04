#include "tests/unit/fsmap_util.h"

#include <stdio.h>
#include <string.h>

struct counted { struct image_source src; };

static int counted_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct counted *c = arg;
    if (!n || n > FSMAP_READ_MAX || offset > c->src.size || n > c->src.size - offset)
        fail_msg("read of %zu bytes at %llu of %llu", n, (unsigned long long)offset, (unsigned long long)c->src.size);
    return c->src.read(c->src.arg, buf, n, offset, e);
}

static void check_promises(const struct fsmap *m, uint64_t size)
{
    uint64_t sum = 0, bytes = 0, used = 0, at = 0;
    for (size_t i = 0; i < m->used.n; i++) {
        const struct fsmap_range *r = &m->used.list[i];
        assert_true(r->start < r->end && r->end <= size && (i == 0 || r->start > at));
        sum += r->end - r->start;
        at = r->end;
    }
    assert_true(sum == m->bytes && m->bytes <= size);
    for (size_t i = 0, k = 0; i < m->first.n; i++) {
        while (k < m->used.n && m->used.list[k].end <= m->first.list[i].start)
            k++;
        assert_true(k < m->used.n && m->used.list[k].start <= m->first.list[i].start && m->used.list[k].end >= m->first.list[i].end);
    }
    for (size_t i = 0; i < m->n_regions; i++) {
        assert_true(m->regions[i].rule && m->regions[i].used <= m->regions[i].bytes);
        bytes += m->regions[i].bytes;
        used += m->regions[i].used;
    }
    assert_true(bytes == size);
    assert_true(used == m->bytes);
}

struct fsmap map_file(const char *path, const struct fsmap_options *o)
{
    struct counted c = {0};
    struct fsmap m;
    struct err e;
    if (image_file_open(path, &c.src, &e) < 0)
        fail_msg("%s", e.msg);
    struct image_source src = {.read = counted_read, .arg = &c, .size = c.src.size, .name = path};
    if (fsmap_read(&src, o, &m, &e) < 0)
        fail_msg("%s", e.msg);
    check_promises(&m, src.size);
    image_file_close(&c.src);
    return m;
}

void map_copy(const struct fsmap *m, const char *from, const char *to)
{
    static uint8_t buf[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    fseeko(in, 0, SEEK_END);
    off_t size = ftello(in);
    for (size_t i = 0; i < m->used.n; i++)
        for (uint64_t at = m->used.list[i].start; at < m->used.list[i].end;) {
            uint64_t left = m->used.list[i].end - at;
            size_t n = left < sizeof buf ? (size_t)left : sizeof buf;
            assert_int_equal(fseeko(in, (off_t)at, SEEK_SET) | fseeko(out, (off_t)at, SEEK_SET), 0);
            assert_true(fread(buf, 1, n, in) == n && fwrite(buf, 1, n, out) == n);
            at += n;
        }
    fclose(in);
    assert_int_equal(fclose(out), 0);
    sh("truncate -s %lld %s", (long long)size, to);
}

const struct fsmap_region *map_region(const struct fsmap *m, const char *rule)
{
    for (size_t i = 0; i < m->n_regions; i++)
        if (rule ? !strcmp(m->regions[i].rule, rule) : strcmp(m->regions[i].rule, "partition table") && strcmp(m->regions[i].rule, "gap"))
            return &m->regions[i];
    fail_msg("no region of rule %s", rule ? rule : "(any)");
    return NULL;
}

void assert_in_use(const char *path, const char *text)
{
    struct fsmap_options o = {.sector_size = 512};
    struct fsmap m = map_file(path, &o);
    bool told = false;
    for (size_t i = 0; i < m.n_regions; i++)
        told = told || strstr(m.regions[i].reason, text);
    uint64_t size = 0;
    for (size_t i = 0; i < m.n_regions; i++)
        size += m.regions[i].bytes;
    if (!told || m.bytes != size) {
        for (size_t i = 0; i < m.n_regions; i++)
            print_message("%s %s: %llu of %llu: %s\n", m.regions[i].rule, m.regions[i].volume, (unsigned long long)m.regions[i].used,
                          (unsigned long long)m.regions[i].bytes, m.regions[i].reason);
        fail_msg("%s: all in use because \"%s\" is expected", path, text);
    }
    fsmap_free(&m);
}

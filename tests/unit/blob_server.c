#include "tests/unit/blob_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"

static size_t to_strbuf(char *p, size_t size, size_t n, void *arg)
{
    strbuf_add(arg, p, size * n);
    return size * n;
}

static void control(const struct blob_server *s, const char *what, const char *post, struct strbuf *ret)
{
    char url[160];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/_control/%s", s->port, what);
    CURL *h = http_handle(&(struct http_config){0}, url);
    assert_non_null(h);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, to_strbuf);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, ret);
    if (post)
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, post);
    long status = 0;
    assert_int_equal(curl_easy_perform(h), CURLE_OK);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(h);
    if (status != 200)
        fail_msg("control %s: %ld %s", what, status, ret->data);
}

void server_faults(const struct blob_server *s, const char *lines)
{
    AUTO_STRBUF struct strbuf b = {0};
    control(s, "faults", lines, &b);
}

unsigned long long server_stat(const struct blob_server *s, const char *name)
{
    AUTO_STRBUF struct strbuf b = {0};
    char key[64];
    unsigned long long n = 0;
    control(s, "stats", NULL, &b);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *p = strstr(b.data, key);
    if (!p || sscanf(p + strlen(key), "%llu", &n) != 1)
        fail_msg("no %s in %s", name, b.data);
    return n;
}

void server_fetch(const struct blob_server *s, const char *path)
{
    CURL *h = http_handle(&(struct http_config){0}, s->url);
    AUTO_STRBUF struct strbuf b = {.max = (size_t)1 << 30};
    struct err e;
    assert_non_null(h);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, to_strbuf);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &b);
    assert_int_equal(curl_easy_perform(h), CURLE_OK);
    curl_easy_cleanup(h);
    assert_false(b.failed);
    if (os_write_file(path, b.data, b.len, 0, &e) < 0)
        fail_msg("%s", e.msg);
}

void assert_same_file(const char *a, const char *b)
{
    struct os_file *x, *y;
    struct err e;
    if (os_file_open(a, OS_READ, &x, &e) < 0 || os_file_open(b, OS_READ, &y, &e) < 0)
        fail_msg("%s", e.msg);
    static char p[1 << 20], q[1 << 20];
    size_t n, m, at = 0;
    do {
        if (os_file_read_some(x, p, sizeof p, at, &n, &e) < 0 || os_file_read_some(y, q, sizeof q, at, &m, &e) < 0)
            fail_msg("%s", e.msg);
        if (n != m)
            fail_msg("%s and %s have different sizes", a, b);
        for (size_t i = 0; n && memcmp(p, q, n) && i < n; i++)
            if (p[i] != q[i])
                fail_msg("%s and %s differ at byte %zu", a, b, at + i);
        at += n;
    } while (n);
    os_file_close(x);
    os_file_close(y);
}

void source_open(struct source *src, const char *url)
{
    struct err e;
    memset(src, 0, sizeof *src);
    struct blob_access a = {.url = url, .http = {.connect_timeout_ms = 5000, .stall_timeout_ms = 1000}};
    if (blob_open(&a, &src->blob, &e) < 0 || blob_head(src->blob, &src->info, &e) < 0 ||
        blob_page_ranges(src->blob, &src->info, NULL, NULL, &src->ranges, &e) < 0)
        fail_msg("%s", e.msg);
}

void source_leave_footer(struct source *src)
{
    struct blob_ranges *r = &src->ranges;
    uint64_t end = src->info.length - 512;
    while (r->n && r->list[r->n - 1].end > end) {
        struct blob_range *last = &r->list[r->n - 1];
        r->bytes -= last->end - (last->start > end ? last->start : end);
        last->end = end;
        r->n -= last->start >= end;
    }
}

void source_close(struct source *src)
{
    blob_ranges_free(&src->ranges);
    blob_close(src->blob);
    src->blob = NULL;
}

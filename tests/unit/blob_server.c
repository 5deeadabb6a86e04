#include "tests/unit/blob_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/os.h"

void server_start(struct blob_server *s, const char *const *args)
{
    const char *argv[40] = {"node", "tests/doubles/blob_server.mjs"};
    int n = 2, out[2];
    while (*args && n < 39)
        argv[n++] = *args++;
    assert_int_equal(pipe(out), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    assert_non_null(f);
    if (fscanf(f, "%u", &s->port) != 1)
        fail_msg("the blob server did not start");
    fclose(f);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/vhds/disk.vhd", s->port);
}

void server_stop(struct blob_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        waitpid(s->pid, NULL, 0);
    }
    s->pid = 0;
}

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
    FILE *f = fopen(path, "wb");
    assert_non_null(h);
    assert_non_null(f);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, f);
    assert_int_equal(curl_easy_perform(h), CURLE_OK);
    curl_easy_cleanup(h);
    assert_int_equal(fclose(f), 0);
}

void assert_same_file(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    if (!x || !y)
        fail_msg("cannot open %s", x ? b : a);
    static char p[1 << 20], q[1 << 20];
    size_t n, at = 0;
    do {
        n = fread(p, 1, sizeof p, x);
        size_t m = fread(q, 1, sizeof q, y);
        if (n != m)
            fail_msg("%s and %s have different sizes", a, b);
        for (size_t i = 0; n && memcmp(p, q, n) && i < n; i++)
            if (p[i] != q[i])
                fail_msg("%s and %s differ at byte %zu", a, b, at + i);
        at += n;
    } while (n);
    fclose(x);
    fclose(y);
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

void source_close(struct source *src)
{
    blob_ranges_free(&src->ranges);
    blob_close(src->blob);
    src->blob = NULL;
}

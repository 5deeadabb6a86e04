#include "tests/unit/api_fixture.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/os.h"
#include "db/job.h"
#include "tests/unit/tmp.h"

static void must(int r, const struct err *e)
{
    if (r < 0) {
        fprintf(stderr, "fixture: %s\n", e->msg);
        abort();
    }
}

static void on_wake(void *arg)
{
    atomic_fetch_add(&((struct fixture *)arg)->wakes, 1);
}

static bool on_healthy(void *arg)
{
    return !atomic_load(&((struct fixture *)arg)->sick);
}

struct fixture *fixture_new(bool with_hv)
{
    struct err e;
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    curl_global_init(CURL_GLOBAL_ALL);
    log_set_level(LOG_LEVEL_ERROR);
    f->dir = tmp_make();
    f->db_path = tmp_path(f->dir, "vmrecover.db");
    f->max_streams = 3;
    must(secret_open(f->dir, &f->box, &e), &e);
    must(db_create(f->db_path, f->box, &f->db, &e), &e);
    f->hv = with_hv ? fake_hv_new() : NULL;
    struct err no_hv;
    err_set(&no_hv, ERR_HYPERVISOR, "the test has none");
    struct api_config cfg = {.listen = {"127.0.0.1:0"}, .n_listen = 1, .data_dir = f->dir, .db_path = f->db_path, .box = f->box,
                             .hv = with_hv ? &f->hv->hv : NULL, .hv_error = &no_hv, .max_connections = 64, .max_streams = f->max_streams,
                             .threads = 2, .max_body = 128 << 10, .wake = on_wake, .healthy = on_healthy, .arg = f};
    must(api_start(&cfg, &f->api, &e), &e);
    AUTO_FREE char *path = tmp_path(f->dir, "token"), *token = NULL;
    must(os_read_file(path, 70, &token, NULL, &e), &e);
    snprintf(f->token, sizeof f->token, "%s", token);
    return f;
}

void fixture_free(struct fixture *f)
{
    api_stop(f->api);
    fake_hv_free(f->hv);
    db_close(f->db);
    secret_close(f->box);
    free(f->db_path);
    tmp_remove(f->dir);
    free(f);
    curl_global_cleanup();
}

unsigned fixture_port(struct fixture *f)
{
    return (unsigned)atoi(strrchr(api_address(f->api, 0), ':') + 1);
}

char *fixture_job(struct fixture *f, const char *name)
{
    AUTO_FREE char *body = str_printf("{\"name\":\"%s\",\"disks\":[{\"source\":{\"type\":\"blank\",\"size\":1048576}}]}", name);
    AUTO_REPLY struct reply r = call(f, "POST", "/v1/jobs", body, NULL);
    if (r.status != 201) {
        fprintf(stderr, "fixture: job not made: %s\n", r.body);
        abort();
    }
    return str_dup(text_at(&r, "id"));
}

/* ---- client ---- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    strbuf_add(arg, p, size * n);
    return size * n;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct reply *r = arg;
    size_t len = strlen(r->headers);
    if (len + size * n < sizeof r->headers)
        memcpy(r->headers + len, p, size * n);
    return size * n;
}

struct reply call(struct fixture *f, const char *method, const char *path, const char *body, const char *headers)
{
    struct reply r = {0};
    struct strbuf b = {0};
    CURL *c = curl_easy_init();
    AUTO_FREE char *url = str_printf("http://%s%s", api_address(f->api, 0), path);
    struct curl_slist *list = NULL;
    AUTO_FREE char *auth = str_printf("Authorization: Bearer %s", f->token), *copy = str_dup(headers ? headers : "");
    char *rest = copy;
    for (char *line; (line = str_sep(&rest, "\n"));)
        if (*line)
            list = curl_slist_append(list, line);
    if (!strstr(copy ? copy : "", "Authorization") && !(headers && strstr(headers, "Authorization")))
        list = curl_slist_append(list, auth);
    if (body && !(headers && strstr(headers, "Content-Type")))
        list = curl_slist_append(list, "Content-Type: application/json");
    list = curl_slist_append(list, "Expect:");
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    if (!strcmp(method, "HEAD"))
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    if (body)
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &b);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &r);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
    CURLcode code = curl_easy_perform(c);
    if (code)
        fprintf(stderr, "%s %s: %s\n", method, path, curl_easy_strerror(code));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r.status);
    curl_slist_free_all(list);
    curl_easy_cleanup(c);
    r.len = b.len;
    r.body = b.data ? b.data : str_dup("");
    r.json = json_loadb(r.body, r.len, 0, NULL);
    return r;
}

void reply_clear(struct reply *r)
{
    free(r->body);
    json_decref(r->json);
    memset(r, 0, sizeof *r);
}

const char *reply_header_of(struct reply *r, const char *name, char *buf, size_t size)
{
    size_t n = strlen(name);
    for (const char *p = r->headers; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] != 0))
        if (str_istarts(p, name) && p[n] == ':') {
            p += n + 1;
            p += strspn(p, " ");
            snprintf(buf, size, "%.*s", (int)strcspn(p, "\r\n"), p);
            return buf;
        }
    return NULL;
}

char *body_of(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    json_t *j = json_vpack_ex(NULL, 0, format, ap);
    va_end(ap);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text)
        abort();
    return text;
}

const char *text_at(const struct reply *r, const char *key)
{
    const char *s = json_string_value(json_object_get(r->json, key));
    return s ? s : "";
}

/* ---- raw connections ---- */

char *raw_read(raw_socket s, const char *until, unsigned ms)
{
    struct strbuf b = {0};
    int64_t end = clock_mono_ms() + ms;
    char buf[4096];
    size_t looked = 0;                               /* bytes in which `until` does not begin */
    while (clock_mono_ms() < end && !(until && b.data && strstr(b.data + looked, until))) {
        looked = until && b.len > strlen(until) ? b.len - strlen(until) : 0;
        int n = raw_receive(s, buf, sizeof buf, 100);
        if (n < 0)
            break;
        strbuf_add(&b, buf, (size_t)n);
    }
    return b.data ? b.data : str_dup("");
}

char *raw(struct fixture *f, const char *bytes, const char *until)
{
    raw_socket s = raw_open(f, bytes);
    char *text = raw_read(s, until, 10000);
    raw_close(s);
    return text;
}

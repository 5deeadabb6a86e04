#include "storage/http.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/url.h"
#include "storage/http_os.h"
#include "storage/proxy.h"

#define RETRY_AFTER_MAX_S 600

static char *own_proxy, *own_no_proxy;               /* http_use_proxy's */

int http_init(struct err *e)
{
    CURLcode c = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (c != CURLE_OK)
        return err_set(e, ERR_INTERNAL, "libcurl cannot be used: %s", curl_easy_strerror(c));
    const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
    if (!(v->features & CURL_VERSION_SSL))
        return err_set(e, ERR_INTERNAL, "libcurl %s was built without TLS", v->version);
    return 0;
}

int http_use_proxy(const char *proxy, const char *no_proxy, struct err *e)
{
    mem_free_secret(own_proxy);
    free(own_no_proxy);
    own_proxy = str_dup(proxy);
    own_no_proxy = str_dup(no_proxy);
    return own_proxy && own_no_proxy ? 0 : err_oom(e);
}

struct target { char *scheme, *host, *port; };

static void target_free(struct target *t)
{
    curl_free(t->scheme);
    curl_free(t->host);
    curl_free(t->port);
}

static bool target_of(const char *url, struct target *t)
{
    CURLU *u = curl_url();
    bool ok = u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_SCHEME, &t->scheme, 0) &&
              !curl_url_get(u, CURLUPART_HOST, &t->host, 0) && !curl_url_get(u, CURLUPART_PORT, &t->port, CURLU_DEFAULT_PORT);
    curl_url_cleanup(u);
    return ok;
}

/* This machine and the metadata address of a cloud, which no proxy can reach for us. */
static bool is_near(const char *host)
{
    unsigned a, b, c, d;
    int used = 0;
    return str_ieq(host, "localhost") || !strcmp(host, "[::1]") || !strcmp(host, "169.254.169.254") ||
           (sscanf(host, "%3u.%3u.%3u.%3u%n", &a, &b, &c, &d, &used) == 4 && !host[used] && a == 127);
}

/* Ours, else the system's, else libcurl's own look at the environment. */
static CURLcode set_proxy(CURL *h, const char *url)
{
    AUTO(target_free) struct target t = {0};
    if (!target_of(url, &t))
        return CURLE_OK;                              /* libcurl will say what is wrong with it */
    unsigned long long port = 0;
    str_to_u64(t.port, 65535, &port);
    AUTO_SECRET char *system = NULL;
    AUTO_FREE char *bypass = NULL;
    bool own = own_proxy && *own_proxy;
    if (is_near(t.host) || (own && !strcmp(own_proxy, "none")) ||
        (own_no_proxy && proxy_bypassed(own_no_proxy, t.scheme, t.host, (unsigned)port)))
        return curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    if (!own && !http_os_proxy(&system, &bypass))
        return CURLE_OUT_OF_MEMORY;
    const char *list = own ? own_proxy : system;
    if (!list)
        return CURLE_OK;
    if (bypass && proxy_bypassed(bypass, t.scheme, t.host, (unsigned)port))
        return curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    bool oom;
    AUTO_SECRET char *proxy = proxy_pick(list, t.scheme, &oom);
    if (oom)
        return CURLE_OUT_OF_MEMORY;
    if (!proxy)                                       /* a list that has none for this scheme */
        return curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    CURLcode c = curl_easy_setopt(h, CURLOPT_PROXY, proxy);
    return c ? c : curl_easy_setopt(h, CURLOPT_NOPROXY, "");    /* nor what the environment excepts */
}

CURL *http_handle(const struct http_config *cfg, const char *url)
{
    CURL *h = curl_easy_init();
    if (!h)
        return NULL;
    long connect_ms = cfg->connect_timeout_ms ? (long)cfg->connect_timeout_ms : 15000;
    long stall_s = cfg->stall_timeout_ms ? ((long)cfg->stall_timeout_ms + 999) / 1000 : 30;
    CURLcode c = curl_easy_setopt(h, CURLOPT_URL, url);
#define SET(option, value) (c = c ? c : curl_easy_setopt(h, option, value))
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* parallel connections, not streams of one */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1024L);
    SET(CURLOPT_LOW_SPEED_TIME, stall_s);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_USERAGENT, "vmrecover/" VMR_VERSION);
#undef SET
    c = c ? c : set_proxy(h, url);
    c = c ? c : http_os_set_ca(h, cfg->ca_file);
    if (c) {
        curl_easy_cleanup(h);
        return NULL;
    }
    return h;
}

static bool cut_in_handshake(const char *detail)
{
    static const char *const says[] = {"SYSCALL", "reset", "failed to receive handshake", "failed to send"};    /* OpenSSL, OpenSSL, Schannel */
    for (size_t i = 0; detail && i < ARRAY_LEN(says); i++)
        if (strstr(detail, says[i]))
            return true;
    return false;
}

static enum err_code code_of(CURLcode code, const char *detail)
{
    switch (code) {
    case CURLE_OUT_OF_MEMORY: return ERR_OOM;
    case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
    case CURLE_ABORTED_BY_CALLBACK: return ERR_CANCELLED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS: return ERR_TLS;
    case CURLE_SSL_CONNECT_ERROR: /* a connection cut in the handshake says nothing about certificates */
        return cut_in_handshake(detail) ? ERR_UNREACHABLE : ERR_TLS;
    case CURLE_UNSUPPORTED_PROTOCOL: /* also said of an answer that is no HTTP/1 */
        return detail && strstr(detail, "HTTP/0.9") ? ERR_UPSTREAM : ERR_VALUE;
    case CURLE_URL_MALFORMAT: return ERR_VALUE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_PROXY: return ERR_UNREACHABLE;
    default: return ERR_UPSTREAM;
    }
}

bool http_refused(CURLcode code, const char *detail)
{
    return code == CURLE_ABORTED_BY_CALLBACK && detail && strstr(detail, "pre-request");     /* libcurl's name for where it was asked */
}

int http_error(CURLcode code, const char *detail, const char *url, struct err *e)
{
    AUTO_FREE char *name = url_redact(url);
    if (detail && !*detail)
        detail = NULL;
    if (http_refused(code, detail))
        err_set(e, ERR_TLS, "%s: %s", name ? name : "the server", http_os_refusal());
    else
        err_set(e, code_of(code, detail), "%s: %s", name ? name : "the server", detail ? detail : curl_easy_strerror(code));
    e->os_code = (long)code;
    return -(int)e->code;
}

void http_headers_reset(struct http_headers *h)
{
    *h = (struct http_headers){.content_length = ULLONG_MAX, .blob_content_length = ULLONG_MAX};
}

static void set_number(const char *value, unsigned long long *ret)
{
    if (!str_to_u64(value, ULLONG_MAX - 1, ret))
        *ret = ULLONG_MAX;
}

static unsigned retry_after_ms(const char *value)
{
    unsigned long long s = 0;
    if (!str_to_u64(value, ULLONG_MAX, &s)) {
        if (*value >= '0' && *value <= '9')
            return 0;
        time_t then = curl_getdate(value, NULL), now = time(NULL);
        s = then > now ? (unsigned long long)(then - now) : 0;
    }
    return (unsigned)(s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S) * 1000;
}

#define HEADER(name, member)                                                                                                     \
    {                                                                                                                            \
        name, offsetof(struct http_headers, member), sizeof(((struct http_headers *)0)->member)                                  \
    }
static const struct {
    const char *name;
    size_t offset, size;
} texts[] = {
    HEADER("etag", etag),
    HEADER("last-modified", last_modified),
    HEADER("content-range", content_range),
    HEADER("x-ms-request-id", request_id),
    HEADER("x-ms-error-code", error_code),
    HEADER("x-ms-blob-type", blob_type),
    HEADER("content-md5", content_md5),
    HEADER("x-ms-content-crc64", content_crc64),
    HEADER("x-ms-snapshot", snapshot),
    HEADER("x-ms-copy-id", copy_id),
    HEADER("x-ms-copy-status", copy_status),
    HEADER("x-ms-copy-progress", copy_progress),
    HEADER("x-ms-copy-status-description", copy_why),
    HEADER("x-ms-meta-vmrecoverjob", job),
    HEADER("location", location),
};

static void collect(struct http_headers *h, const char *name, const char *value)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (str_ieq(name, texts[i].name))
            snprintf((char *)h + texts[i].offset, texts[i].size, "%s", value);
    if (str_ieq(name, "location"))
        h->location[strcspn(h->location, "?#")] = 0;
    else if (str_ieq(name, "content-length"))
        set_number(value, &h->content_length);
    else if (str_ieq(name, "x-ms-blob-content-length"))
        set_number(value, &h->blob_content_length);
    else if (str_ieq(name, "retry-after"))
        h->retry_after_ms = retry_after_ms(value);
    else if (str_ieq(name, "accept-ranges"))
        h->accept_ranges = str_ieq(value, "bytes");
    if (str_ieq(name, "x-ms-version") || str_ieq(name, "x-ms-request-id"))
        h->azure = true;
}

size_t http_collect_header(char *line, size_t size, size_t n, void *headers)
{
    struct http_headers *h = headers;
    size_t len = size * n;
    size_t bytes = h->bytes + len;
    if (bytes > HTTP_HEADERS_MAX)
        return 0;
    h->bytes = bytes;
    char text[512]; /* longer lines are cut: no value that we keep is longer */
    size_t m = len < sizeof text - 1 ? len : sizeof text - 1;
    for (size_t i = 0; i < m; i++) /* what is no printable ASCII must not reach messages */
        text[i] = line[i] >= ' ' && line[i] < 0x7F ? line[i] : ' ';
    text[m] = 0;
    while (m && text[m - 1] == ' ')
        text[--m] = 0;
    if (str_starts(text, "HTTP/")) {
        http_headers_reset(h);
        h->bytes = bytes;
        const char *p = strchr(text, ' ');
        unsigned status = 0;
        if (p && sscanf(p, " %3u", &status) == 1)
            h->status = (int)status;
        return len;
    }
    char *colon = strchr(text, ':');
    if (!colon)
        return len;
    *colon = 0;
    const char *value = colon + 1;
    while (*value == ' ')
        value++;
    collect(h, text, value);
    return len;
}

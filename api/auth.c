/* Who may call: a token for each request, and against web pages in a browser on this machine the Host header (DNS
 * rebinding) and the Origin header.
 *
 * The dashboard has a cookie in place of the token. A browser adds it to what other pages ask for as well, as far as SameSite lets it (it counts
 * another port of this machine as the same site): so with the cookie a request must show that it comes from the dashboard's own page. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/log.h"
#include "common/os.h"

#define TOKEN_BYTES 32
#define TOKEN_MIN 32
#define TOKEN_MAX 256

static int make_token(const char *path, char **ret, struct err *e)
{
    uint8_t raw[TOKEN_BYTES];
    int r = os_random(raw, sizeof raw, e);
    if (r < 0)
        return r;
    AUTO_SECRET char *token = malloc(HEX_LEN(TOKEN_BYTES));
    if (!token)
        return err_oom(e);
    crypto_hex(raw, sizeof raw, token);
    mem_wipe(raw, sizeof raw);
    r = os_write_file(path, token, strlen(token), OS_PRIVATE, e);
    if (r < 0)
        return r;
    *ret = STEAL(token);
    return 0;
}

int auth_token(const char *data_dir, char **ret, struct err *e)
{
    AUTO_FREE char *path = os_path_join(data_dir, "token");
    if (!path)
        return err_oom(e);
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r < 0)
        return r;
    if (!st.exists)
        return make_token(path, ret, e);
    AUTO_SECRET char *token = NULL;
    size_t n;
    r = os_read_file(path, TOKEN_MAX, &token, &n, e);
    if (r < 0 && r != -ERR_TOO_LARGE)
        return r;
    bool ok = r == 0;
    if (ok) {
        while (n && (token[n - 1] == '\n' || token[n - 1] == '\r'))
            token[--n] = 0;
        ok = n >= TOKEN_MIN;
        for (size_t i = 0; i < n && ok; i++)
            ok = token[i] > ' ' && token[i] < 0x7F;
    }
    if (!ok) {
        err_set(e, ERR_CONFIG, "%s does not hold a token of %d to %d printable characters", path, TOKEN_MIN, TOKEN_MAX);
        return err_hint(e, "Remove the file; the next start makes a new token.");
    }
    *ret = STEAL(token);
    return 0;
}

/* "host[:port]" names this machine: one of the loopback names, with one of our ports or with none where that is allowed. */
static bool is_own(struct request *rq, const char *s, bool port_needed)
{
    static const char *const names[] = {"127.0.0.1", "[::1]", "localhost"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!str_istarts(s, names[i]))
            continue;
        const char *rest = s + strlen(names[i]);
        unsigned long long port = 80;
        if (!*rest && !port_needed)
            return true;
        if (*rest && (*rest != ':' || !str_to_u64(rest + 1, 65535, &port)))
            continue;
        for (size_t k = 0; k < rq->api->n_listeners; k++)
            if (rq->api->listeners[k].port == port)
                return true;
    }
    return false;
}

struct host_headers { unsigned n; const char *value; };

static enum MHD_Result count_host(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    struct host_headers *h = arg;
    if (str_ieq(key, "Host")) {
        h->n++;
        h->value = value;
    }
    return MHD_YES;
}

int auth_check_host(struct request *rq, const char *version, struct err *e)
{
    struct host_headers h = {0};
    MHD_get_connection_values(rq->conn, MHD_HEADER_KIND, count_host, &h);
    if (h.n > 1)
        return err_set(e, ERR_BAD_REQUEST, "the request has more than one Host header");
    if (!h.value || !*h.value) {
        if (!strcmp(version, "HTTP/1.0") && !h.n)
            return 0;                                /* no browser speaks it */
        return err_set(e, ERR_BAD_REQUEST, "the request has no Host header");
    }
    if (!is_own(rq, h.value, false))
        return err_set(e, ERR_HOST, "requests for this host are not answered here");
    return 0;
}

int auth_check_origin(struct request *rq, struct err *e)
{
    const char *origin = request_header(rq, "Origin");
    if (!origin || (str_starts(origin, "http://") && is_own(rq, origin + strlen("http://"), true)))
        return 0;
    return err_set(e, ERR_ORIGIN, "a web page of another origin must not call this API");
}

static int check_token(struct request *rq, const char *s, struct err *e)
{
    if (!str_istarts(s, "Bearer "))
        return err_set(e, ERR_UNAUTHORIZED, "the Authorization header is not of the kind 'Bearer'");
    s += strlen("Bearer ");
    while (*s == ' ')
        s++;
    size_t n = strlen(s);
    if (n != strlen(rq->api->token) || !crypto_equal(s, rq->api->token, n))
        return err_set(e, ERR_UNAUTHORIZED, "the token is not the one of this daemon");
    return 0;
}

/* The very origin that the request was sent to: scheme, name and port. */
static bool is_same_origin(struct request *rq, const char *origin)
{
    const char *host = request_header(rq, "Host");
    return host && str_starts(origin, "http://") && str_ieq(origin + strlen("http://"), host);
}

static int check_cookie(struct request *rq, const char *method, const char *cookie, struct err *e)
{
    const char *origin = request_header(rq, "Origin"), *site = request_header(rq, "Sec-Fetch-Site");
    bool reads = (!strcmp(method, "GET") || !strcmp(method, "HEAD")) && !request_header(rq, "Upgrade");
    if (origin ? !is_same_origin(rq, origin) : !reads)
        return err_set(e, ERR_ORIGIN, origin ? "with the dashboard's cookie, only its own page may call" : "with the dashboard's cookie, this needs an Origin header");
    if (site && strcmp(site, "same-origin") && !(reads && !strcmp(site, "none")))
        return err_set(e, ERR_ORIGIN, "with the dashboard's cookie, only its own page may call");
    rq->session = session_find(rq->api->sessions, cookie);
    if (rq->session)
        return 0;
    err_set(e, ERR_UNAUTHORIZED, "the session has ended");
    return err_hint(e, "Run `vmrecover dashboard` on this machine and open the link that it prints.");
}

int auth_check_caller(struct request *rq, const char *method, struct err *e)
{
    const char *authorization = request_header(rq, "Authorization");
    const char *cookie = MHD_lookup_connection_value(rq->conn, MHD_COOKIE_KIND, rq->api->cookie);
    if (authorization)
        return check_token(rq, authorization, e);
    return cookie ? check_cookie(rq, method, cookie, e) : err_set(e, ERR_UNAUTHORIZED, "the request has no Authorization header");
}

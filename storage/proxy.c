#include "storage/proxy.h"

#include <stdint.h>
#include <string.h>

#include "common/mem.h"

#define PROXY_PORT 80                                /* WinHTTP's; libcurl would take 1080 */

static const char *const kinds[] = {"http", "https", "socks5", "socks5h"};    /* how a proxy itself is spoken to */

struct span { const char *p; size_t n; };

/* The next entry of a list, false at its end. */
static bool next(const char **rest, const char *separators, struct span *ret)
{
    *rest += strspn(*rest, separators);
    *ret = (struct span){*rest, strcspn(*rest, separators)};
    *rest += ret->n;
    return ret->n > 0;
}

static struct span tail(struct span s, size_t skip)
{
    return (struct span){s.p + skip, s.n - skip};
}

static const char *find(struct span s, const char *what)
{
    size_t m = strlen(what);
    for (size_t i = 0; i + m <= s.n; i++)
        if (!memcmp(s.p + i, what, m))
            return s.p + i;
    return NULL;
}

static int fold(char c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static bool same(struct span s, const char *word)
{
    for (size_t i = 0; i < s.n; i++)
        if (!word[i] || fold(s.p[i]) != fold(word[i]))
            return false;
    return !word[s.n];
}

struct server { struct span scheme, kind, user, host, port; };   /* each may be empty, host is as in a URL */

/* [kind://][user@]host[:port][/]; false: no usable host or port. */
static bool parse_server(struct span s, struct server *ret)
{
    const char *at = find(s, "://");
    if (at) {
        ret->kind = (struct span){s.p, (size_t)(at - s.p)};
        s = tail(s, ret->kind.n + 3);
    }
    for (size_t i = s.n; i > 0; i--)                  /* a password may hold '@' */
        if (s.p[i - 1] == '@') {
            ret->user = (struct span){s.p, i - 1};
            s = tail(s, i);
            break;
        }
    if (s.n && s.p[s.n - 1] == '/')
        s.n--;
    const char *end = s.n && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
    if (s.n && s.p[0] == '[' && !end)
        return false;
    const char *colon = memchr(end ? end : s.p, ':', s.n - (end ? (size_t)(end - s.p) : 0));
    ret->host = (struct span){s.p, colon ? (size_t)(colon - s.p) : s.n};
    if (end && ret->host.p + ret->host.n != end + 1)
        return false;
    if (colon) {
        ret->port = tail(s, ret->host.n + 1);
        if (!ret->port.n || ret->port.n > 5)
            return false;
    }
    for (size_t i = 0; i < ret->port.n; i++)
        if (ret->port.p[i] < '0' || ret->port.p[i] > '9')
            return ret->port.n == 1 && ret->port.p[0] == '*';      /* bypass lists only; proxies are checked further */
    return ret->host.n > 0;
}

/* [scheme=]server */
static bool parse_proxy(struct span s, struct server *ret)
{
    *ret = (struct server){0};
    size_t n = 0;
    while (n < s.n && ((s.p[n] >= 'a' && s.p[n] <= 'z') || (s.p[n] >= 'A' && s.p[n] <= 'Z')))
        n++;
    if (n && n < s.n && s.p[n] == '=') {
        ret->scheme = (struct span){s.p, n};
        s = tail(s, n + 1);
    }
    if (!parse_server(s, ret))
        return false;
    for (size_t i = 0; i < ret->host.n; i++)          /* what no host name and no address has */
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_[]:", ret->host.p[i]))
            return false;
    unsigned port = 0;
    for (size_t i = 0; i < ret->port.n; i++) {
        if (ret->port.p[i] == '*')
            return false;
        port = port * 10 + (unsigned)(ret->port.p[i] - '0');
    }
    if (port > 65535 || (ret->port.n && !port))
        return false;
    bool known = !ret->kind.n;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        known = known || same(ret->kind, kinds[i]);
    return known;
}

#define PROXY_SEPARATORS "; \t\r\n"
#define BYPASS_SEPARATORS ";, \t\r\n"

int proxy_check(const char *list, struct err *e)
{
    struct span one;
    struct server s;
    for (unsigned n = 1; next(&list, PROXY_SEPARATORS, &one); n++)
        if (!parse_proxy(one, &s))
            return err_set(e, ERR_CONFIG, "entry %u of the proxies is not [SCHEME=][http://]HOST[:PORT]", n);
    return 0;
}

bool proxy_has_password(const char *list)
{
    struct span one;
    struct server s;
    while (next(&list, PROXY_SEPARATORS, &one))
        if (!parse_proxy(one, &s) ? memchr(one.p, '@', one.n) != NULL : s.user.n > 0)
            return true;
    return false;
}

char *proxy_pick(const char *list, const char *scheme, bool *ret_oom)
{
    struct span one;
    struct server s, best = {0};
    while (next(&list, PROXY_SEPARATORS, &one)) {
        if (!parse_proxy(one, &s))
            continue;
        if (s.scheme.n ? same(s.scheme, scheme) && !best.scheme.n : !best.host.n)
            best = s;                                 /* the first of this scheme, else the first of all */
    }
    *ret_oom = false;
    if (!best.host.n)
        return NULL;
    char port[8] = "";
    memcpy(port, best.port.p ? best.port.p : "", best.port.n);
    AUTO_SECRET char *url =
        str_printf("%.*s://%.*s%s%.*s:%s", best.kind.n ? (int)best.kind.n : 4, best.kind.n ? best.kind.p : "http", (int)best.user.n,
                   best.user.n ? best.user.p : "", best.user.n ? "@" : "", (int)best.host.n, best.host.p, best.port.n ? port : "80");
    *ret_oom = !url;
    return STEAL(url);
}

/* Letters without case, '*' for any run of characters. */
static bool glob(struct span pattern, struct span text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.n && fold(pattern.p[p]) == fold(text.p[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

bool proxy_bypassed(const char *list, const char *scheme, const char *host, unsigned port)
{
    struct span one, name = {host, strlen(host)};
    while (next(&list, BYPASS_SEPARATORS, &one)) {
        struct server s = {0};
        if (same(one, "<local>")) {
            if (!strpbrk(host, ".:"))
                return true;
            continue;
        }
        if (!parse_server(one, &s) || (s.kind.n && !glob(s.kind, (struct span){scheme, strlen(scheme)})))
            continue;
        if (s.port.n && s.port.p[0] != '*') {
            unsigned wanted = 0;
            for (size_t i = 0; i < s.port.n; i++)
                wanted = wanted * 10 + (unsigned)(s.port.p[i] - '0');
            if (wanted != port)
                continue;
        }
        bool suffix = s.host.p[0] == '.' && name.n > s.host.n;
        if (glob(s.host, suffix ? tail(name, name.n - s.host.n) : name))
            return true;
    }
    return false;
}

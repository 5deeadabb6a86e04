#include "storage/azure/sharedkey.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/crypto.h"

#define PAIRS_MAX 64

struct pair {
    char *name, *value;
};
struct pairs {
    struct pair p[PAIRS_MAX];
    size_t n;
};

static void pairs_free(struct pairs *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->p[i].name);
        free(l->p[i].value);
    }
}

static void lower(char *s)
{
    for (; *s; s++)
        *s = (char)tolower((unsigned char)*s);
}

static int compare(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->value, y->value);
}

/* Takes both strings, even when it fails. */
static int pairs_add(struct pairs *l, char *name, char *value, struct err *e)
{
    if (!name || !value || l->n == PAIRS_MAX) {
        bool oom = !name || !value;
        free(name);
        free(value);
        return oom ? err_oom(e) : err_set(e, ERR_VALUE, "the URL or request has more than %d parameters or headers", PAIRS_MAX);
    }
    lower(name);
    l->p[l->n++] = (struct pair){name, value};
    return 0;
}

static char *decode(const char *s, size_t n)
{
    char *out = malloc(n + 1);
    if (!out)
        return NULL;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%' && i + 2 < n && isxdigit((unsigned char)s[i + 1]) && isxdigit((unsigned char)s[i + 2])) {
            char hex[3] = {s[i + 1], s[i + 2], 0};
            out[m++] = (char)strtol(hex, NULL, 16);
            i += 2;
        } else
            out[m++] = s[i];
    }
    out[m] = 0;
    return out;
}

/* The trimmed value of a header line, runs of blanks inside folded to one. */
static char *header_value(const char *line)
{
    const char *p = strchr(line, ':');
    p = p ? p + 1 : "";
    char *out = malloc(strlen(p) + 1);
    if (!out)
        return NULL;
    size_t m = 0;
    for (; *p; p++) {
        bool blank = *p == ' ' || *p == '\t';
        if (blank && (!m || out[m - 1] == ' '))
            continue;
        out[m++] = blank ? ' ' : *p;
    }
    if (m && out[m - 1] == ' ')
        m--;
    out[m] = 0;
    return out;
}

static bool header_is(const char *line, const char *name)
{
    size_t n = strlen(name);
    return str_istarts(line, name) && line[n] == ':';
}

static int add_standard(const struct curl_slist *headers, struct strbuf *b, struct err *e)
{
    /* Date stays empty: x-ms-date is always sent */
    static const char *const names[] = {
        "content-encoding",  "content-language", "content-length", "content-md5",         "content-type", NULL,
        "if-modified-since", "if-match",         "if-none-match",  "if-unmodified-since", "range"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (const struct curl_slist *h = headers; h && names[i]; h = h->next)
            if (header_is(h->data, names[i])) {
                AUTO_FREE char *v = header_value(h->data);
                if (!v)
                    return err_oom(e);
                strbuf_adds(b, v);
            }
        strbuf_adds(b, "\n");
    }
    return 0;
}

static int add_ms_headers(const struct curl_slist *headers, struct strbuf *b, struct err *e)
{
    struct pairs AUTO(pairs_free) l = {.n = 0};
    for (const struct curl_slist *h = headers; h; h = h->next) {
        const char *colon = strchr(h->data, ':');
        if (!colon || !str_istarts(h->data, "x-ms-"))
            continue;
        int r = pairs_add(&l, str_ndup(h->data, (size_t)(colon - h->data)), header_value(h->data), e);
        if (r < 0)
            return r;
    }
    qsort(l.p, l.n, sizeof l.p[0], compare);
    for (size_t i = 0; i < l.n; i++)
        strbuf_addf(b, "%s:%s\n", l.p[i].name, l.p[i].value);
    return 0;
}

static int add_resource(const char *account, const char *url, struct strbuf *b, struct err *e)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    const char *path = host + strcspn(host, "/?#");
    size_t path_len = strcspn(path, "?#");
    strbuf_addf(b, "/%s", account);
    strbuf_add(b, path_len ? path : "/", path_len ? path_len : 1);
    if (path[path_len] != '?')
        return 0;
    struct pairs AUTO(pairs_free) l = {.n = 0};
    const char *p = path + path_len + 1, *end = p + strcspn(p, "#");
    while (p < end) {
        size_t n = strcspn(p, "&#"), name = strcspn(p, "=&#");
        size_t skip = name < n ? name + 1 : n;
        if (n) {
            int r = pairs_add(&l, decode(p, name), decode(p + skip, n - skip), e);
            if (r < 0)
                return r;
        }
        p += n + 1;
    }
    qsort(l.p, l.n, sizeof l.p[0], compare);
    for (size_t i = 0; i < l.n; i++) {
        if (i && !strcmp(l.p[i].name, l.p[i - 1].name))
            strbuf_addf(b, ",%s", l.p[i].value);
        else
            strbuf_addf(b, "\n%s:%s", l.p[i].name, l.p[i].value);
    }
    return 0;
}

int sharedkey_string(const char *account, const char *verb, const char *url, const struct curl_slist *headers, struct strbuf *ret,
                     struct err *e)
{
    strbuf_addf(ret, "%s\n", verb);
    int r = add_standard(headers, ret, e);
    if (r == 0)
        r = add_ms_headers(headers, ret, e);
    if (r == 0)
        r = add_resource(account, url, ret, e);
    return r < 0 ? r : ret->failed ? err_oom(e) : 0;
}

int sharedkey_sign(const char *account, const char *key, const char *verb, const char *url, const struct curl_slist *headers,
                   char **ret, struct err *e)
{
    AUTO_STRBUF struct strbuf text = {.max = 65536};
    int r = sharedkey_string(account, verb, url, headers, &text, e);
    if (r < 0)
        return r;
    uint8_t *raw = NULL, mac[SHA256_LEN];
    size_t raw_len = 0;
    if (!crypto_base64_decode(key, &raw, &raw_len)) {
        err_set(e, ERR_CREDENTIAL, "the key of storage account '%s' is not valid base64", account);
        return err_hint(e, "Put the credential again with key1 or key2 of the storage account, as the portal shows it.");
    }
    r = crypto_hmac_sha256(raw, raw_len, text.data, text.len, mac, e);
    mem_wipe(raw, raw_len);
    free(raw);
    if (r < 0)
        return r;
    AUTO_FREE char *signature = crypto_base64(mac, sizeof mac);
    char *line = signature ? str_printf("Authorization: SharedKey %s:%s", account, signature) : NULL;
    if (!line)
        return err_oom(e);
    *ret = line;
    return 0;
}

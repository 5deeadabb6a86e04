/* Object paths: [\\server\namespace:]Class.Key="value",… ("WMI Object Path Requirements"). Inside quotes \\ and \" are the only escapes; a single
 * backslash makes the path invalid. */
#include <ctype.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

void path_clear(struct path *p)
{
    free(p->server);
    free(p->ns);
    free(p->class);
    for (size_t i = 0; i < p->n; i++) {
        free(p->key[i].name);
        free(p->key[i].value);
    }
    memset(p, 0, sizeof *p);
}

static size_t identifier(const char *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_')
        n++;
    return n && !isdigit((unsigned char)s[0]) ? n : 0;
}

/* "text" or a bare number, boolean or @ */
static bool value(const char **p, char **ret)
{
    const char *s = *p;
    struct strbuf b = {.max = WMI_TEXT_MAX};
    strbuf_adds(&b, "");
    bool ok = true;
    if (*s == '"') {
        for (s++; ok && *s != '"'; s++) {
            if (*s == '\\' && (ok = s[1] == '\\' || s[1] == '"'))
                s++;
            ok = ok && *s;
            strbuf_add(&b, s, 1);
        }
        s++;
    } else {
        size_t n = strcspn(s, ",");
        for (size_t i = 0; i < n; i++)
            ok = ok && (isalnum((unsigned char)s[i]) || s[i] == '-' || s[i] == '@');
        ok = ok && n;
        strbuf_add(&b, s, n);
        s += n;
    }
    *p = s;
    *ret = strbuf_steal(&b);
    return ok;
}

static bool parse(const char *s, struct path *p)
{
    bool unc = str_starts(s, "\\\\") || str_starts(s, "//");
    const char *colon = NULL;
    if (unc) {
        size_t n = strcspn(s + 2, "\\/");
        p->server = str_ndup(s + 2, n);
        s += 2 + n;
        if (!*s || !n || !(colon = strchr(s, ':')))
            return false;
        s++;
    } else if (str_istarts(s, "root\\") || str_istarts(s, "root/")) {
        colon = strchr(s, ':');
        if (!colon)
            return false;
    }
    if (colon) {
        p->ns = str_ndup(s, (size_t)(colon - s));
        for (char *c = p->ns; c && *c; c++)
            if (*c == '/')
                *c = '\\';
        s = colon + 1;
    }
    size_t n = identifier(s);
    if (!n)
        return false;
    p->class = str_ndup(s, n);
    s += n;
    if (!*s)
        return (p->is_class = true);
    if (*s == '=') {                                   /* the only key, unnamed; =@ for a class with none */
        s++;
        p->n = 1;
        return value(&s, &p->key[0].value) && !*s;
    }
    while (*s == (p->n ? ',' : '.') && p->n < PATH_KEYS) {
        s++;
        if (!(n = identifier(s)) || s[n] != '=')
            return false;
        p->key[p->n++].name = str_ndup(s, n);
        s += n + 1;
        if (!value(&s, &p->key[p->n - 1].value))
            return false;
    }
    return p->n && !*s;
}

uint32_t path_parse(const char *s, struct path *ret)
{
    memset(ret, 0, sizeof *ret);
    if (parse(s, ret))
        return 0;
    path_clear(ret);
    return WMI_E_INVALID_OBJECT_PATH;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct schema_member *const *)a)->name, (*(const struct schema_member *const *)b)->name);
}

char *path_of(const struct dobj *o)
{
    const struct schema_member *keys[PATH_KEYS];
    size_t n = 0;
    for (size_t i = 0; i < o->layout->n && n < PATH_KEYS; i++)
        if (o->layout->at[i].key)
            keys[n++] = &o->layout->at[i];
    qsort(keys, n, sizeof *keys, by_name);
    AUTO_STRBUF struct strbuf b = {.max = WMI_TEXT_MAX};
    strbuf_adds(&b, o->class->name);
    if (!n)
        strbuf_adds(&b, "=@");
    for (size_t i = 0; i < n; i++) {
        const struct wmi_value *v = &o->values[keys[i] - o->layout->at];
        strbuf_addf(&b, "%s%s=", i ? "," : ".", keys[i]->name);
        if (v->type == WMI_NULL)
            return NULL;
        if (v->type == WMI_STRING || v->type == WMI_DATETIME || v->type == WMI_REFERENCE) {
            strbuf_adds(&b, "\"");
            for (const char *s = v->one.s; *s; s++) {
                if (*s == '\\' || *s == '"')
                    strbuf_adds(&b, "\\");
                strbuf_add(&b, s, 1);
            }
            strbuf_adds(&b, "\"");
        } else if (v->type == WMI_BOOLEAN) {
            strbuf_adds(&b, v->one.b ? "TRUE" : "FALSE");
        } else {
            strbuf_addf(&b, "%llu", (unsigned long long)v->one.u);
        }
    }
    char *s = strbuf_steal(&b);
    if (!s)
        abort();
    return s;
}

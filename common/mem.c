#include "common/mem.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool mem_is_zero(const void *p, size_t n)
{
    const char *c = p;
    return !n || (!c[0] && !memcmp(c, c + 1, n - 1));
}

void mem_wipe(void *p, size_t n)
{
    if (!p)
        return;
    memset(p, 0, n);
    __asm__ volatile("" : : "r"(p) : "memory");      /* the compiler must assume that p is read */
}

void mem_free_secret(char *s)
{
    if (s)
        mem_wipe(s, strlen(s));
    free(s);
}

char *str_vprintf(const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        return NULL;
    char *s = malloc((size_t)n + 1);
    if (s)
        vsnprintf(s, (size_t)n + 1, fmt, ap);
    return s;
}

char *str_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = str_vprintf(fmt, ap);
    va_end(ap);
    return s;
}

char *str_ndup(const char *s, size_t n)
{
    char *copy = malloc(n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *str_dup(const char *s)
{
    return s ? str_ndup(s, strlen(s)) : NULL;
}

bool str_starts(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

bool str_istarts(const char *s, const char *prefix)
{
    for (; *prefix; s++, prefix++)
        if (tolower((unsigned char)*s) != tolower((unsigned char)*prefix))
            return false;
    return true;
}

bool str_ieq(const char *a, const char *b)
{
    return strlen(a) == strlen(b) && str_istarts(a, b);
}

bool str_is_utf8(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s, *end = p + n;
    while (p < end) {
        unsigned c = *p++;
        if (c < 0x80)
            continue;
        int more = c >= 0xF0 && c < 0xF5 ? 3 : c >= 0xE0 && c < 0xF0 ? 2 : c >= 0xC2 && c < 0xE0 ? 1 : 0;
        if (!more || end - p < more)
            return false;
        uint32_t v = c & (0x3Fu >> more);
        for (int i = 0; i < more; i++, p++) {
            if ((*p & 0xC0) != 0x80)
                return false;
            v = v << 6 | (*p & 0x3Fu);
        }
        if ((more == 2 && (v < 0x800 || (v >= 0xD800 && v < 0xE000))) || (more == 3 && (v < 0x10000 || v > 0x10FFFF)))
            return false;
    }
    return true;
}

char *str_sep(char **rest, const char *delimiters)
{
    char *s = *rest;
    if (!s)
        return NULL;
    size_t n = strcspn(s, delimiters);
    *rest = s[n] ? s + n + 1 : NULL;
    s[n] = 0;
    return s;
}

bool str_to_u64(const char *s, unsigned long long max, unsigned long long *ret)
{
    unsigned long long v = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        unsigned d = (unsigned)(*s - '0');
        if (v > (max - d) / 10 || d > max)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

static bool strbuf_room(struct strbuf *b, size_t n)
{
    size_t max = b->max ? b->max : (size_t)16 << 20;
    if (b->failed || n > max - b->len) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n + 1;
    if (need <= b->size)
        return true;
    size_t size = b->size ? b->size : 64;
    while (size < need)
        size *= 2;
    char *data = realloc(b->data, size);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->size = size;
    return true;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    if (!strbuf_room(b, n))
        return;
    if (n)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
}

void strbuf_adds(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        b->failed = true;
    else if (strbuf_room(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
        b->len += (size_t)n;
    }
    va_end(ap);
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = 0;
}

void strbuf_free(struct strbuf *b)
{
    free(b->data);
    *b = (struct strbuf){.max = b->max};
}

char *strbuf_steal(struct strbuf *b)
{
    if (!b->failed && !b->data)
        strbuf_add(b, "", 0);
    if (b->failed) {
        strbuf_free(b);
        return NULL;
    }
    char *s = b->data;
    *b = (struct strbuf){.max = b->max};
    return s;
}

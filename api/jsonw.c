#include "api/jsonw.h"

#include <string.h>

#include "common/clock.h"

void jsonw_free(struct jsonw *w)
{
    strbuf_free(&w->b);
}

/* Whether a comma is due follows from what was written last: nothing but an opening bracket ends in one, for strings end in a quote. */
static void begin(struct jsonw *w, const char *key)
{
    char last = w->b.len ? w->b.data[w->b.len - 1] : '{', text[80];
    size_t n = 0, len = key ? strlen(key) : 0;
    if (last != '{' && last != '[')
        text[n++] = ',';
    if (key && len <= sizeof text - 4) {             /* keys are our own words */
        text[n++] = '"';
        memcpy(text + n, key, len);
        n += len;
        text[n++] = '"';
        text[n++] = ':';
    }
    strbuf_add(&w->b, text, n);
}

void jsonw_open(struct jsonw *w, const char *key, char bracket)
{
    begin(w, key);
    strbuf_add(&w->b, &bracket, 1);
}

void jsonw_close(struct jsonw *w, char bracket)
{
    strbuf_add(&w->b, &bracket, 1);
}

/* Bytes of the well-formed UTF-8 character at s, 0 if it is none. */
static size_t character(const char *s, size_t n)
{
    unsigned char c = (unsigned char)*s;
    size_t len = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
    return len && len <= n && (len == 1 || str_is_utf8(s, len)) ? len : 0;
}

void jsonw_strn(struct jsonw *w, const char *key, const char *s, size_t n)
{
    begin(w, key);
    strbuf_add(&w->b, "\"", 1);
    size_t plain = 0;                                /* bytes before s + i that go out as they are */
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        if (c >= ' ' && c < 0x7F && c != '"' && c != '\\') {
            i++, plain++;
            continue;
        }
        size_t len = character(s + i, n - i);
        if (len > 1) {
            i += len, plain += len;
            continue;
        }
        strbuf_add(&w->b, s + i - plain, plain);
        plain = 0;
        if (!len)
            strbuf_adds(&w->b, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            strbuf_addf(&w->b, "\\%c", c);
        else if (c == '\n')
            strbuf_adds(&w->b, "\\n");
        else
            strbuf_addf(&w->b, "\\u%04x", c);
        i++;
    }
    strbuf_add(&w->b, s + n - plain, plain);
    strbuf_add(&w->b, "\"", 1);
}

void jsonw_str(struct jsonw *w, const char *key, const char *s)
{
    if (s)
        jsonw_strn(w, key, s, strlen(s));
    else
        jsonw_null(w, key);
}

void jsonw_int(struct jsonw *w, const char *key, int64_t v)
{
    char text[20];                                   /* a list has thousands of numbers: printf would take half of its time */
    size_t at = sizeof text;
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do
        text[--at] = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0)
        text[--at] = '-';
    begin(w, key);
    strbuf_add(&w->b, text + at, sizeof text - at);
}

/* JSON integers here stay below 2^63, as clients and jansson read them. */
void jsonw_u64(struct jsonw *w, const char *key, uint64_t v)
{
    jsonw_int(w, key, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

void jsonw_bool(struct jsonw *w, const char *key, bool v)
{
    begin(w, key);
    strbuf_adds(&w->b, v ? "true" : "false");
}

void jsonw_null(struct jsonw *w, const char *key)
{
    begin(w, key);
    strbuf_adds(&w->b, "null");
}

void jsonw_time(struct jsonw *w, const char *key, int64_t ms)
{
    char text[CLOCK_TEXT];
    if (!ms) {
        jsonw_null(w, key);
        return;
    }
    clock_format(ms, text);
    jsonw_str(w, key, text);
}

static int dump(const char *buf, size_t n, void *arg)
{
    struct strbuf *b = arg;
    strbuf_add(b, buf, n);
    return b->failed ? -1 : 0;
}

void jsonw_json(struct jsonw *w, const char *key, json_t *j)
{
    if (!j) {
        jsonw_null(w, key);
        return;
    }
    begin(w, key);
    if (json_dump_callback(j, dump, &w->b, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
        w->b.failed = true;
}

#include "common/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

int json_parse(const char *text, size_t len, json_t **ret, struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!j && (!je.text[0] || json_error_code(&je) == json_error_out_of_memory))    /* no memory at all: jansson says nothing then */
        return err_oom(e);
    if (!j)
        return err_set(e, ERR_JSON, "line %d, column %d: %s", je.line, je.column, je.text);
    *ret = j;
    return 0;
}

/* pointer + "/" + key with RFC 6901's escapes; cut at the size, which no known member reaches */
static void append_pointer(char *dst, size_t size, const char *base, const char *key)
{
    size_t n = (size_t)snprintf(dst, size, "%s/", base);
    for (const char *p = key; *p && n + 3 < size; p++) {
        if (*p == '~' || *p == '/') {
            dst[n++] = '~';
            dst[n++] = *p == '~' ? '0' : '1';
        } else {
            dst[n++] = *p;
        }
    }
    if (n < size)
        dst[n] = 0;
}

static int PRINTF_LIKE(4, 0) vfail(struct json_in *in, const char *key, enum err_code code, const char *fmt, va_list ap)
{
    if (in->e->code)
        return -(int)in->e->code;
    char field[sizeof in->e->field], msg[sizeof in->e->msg];
    if (key)
        append_pointer(field, sizeof field, in->pointer, key);
    else
        snprintf(field, sizeof field, "%s", in->pointer);
    vsnprintf(msg, sizeof msg, fmt, ap);
    return err_field(in->e, code, field, "%s", msg);
}

int json_in_fail(struct json_in *in, const char *key, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = vfail(in, key, code, fmt, ap);
    va_end(ap);
    return r;
}

static const char *type_name(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a fraction";
    case JSON_TRUE: case JSON_FALSE: return "a boolean";
    default: return "null";
    }
}

struct json_in json_in_root(json_t *object, struct err *e)
{
    struct json_in in = {.e = e};
    err_clear(e);
    if (json_is_object(object))
        in.object = object;
    else
        json_in_fail(&in, NULL, ERR_TYPE, "expected an object, found %s", object ? type_name(object) : "nothing");
    return in;
}

/* The member, remembered as known; NULL when absent or after an error. */
static json_t *take(struct json_in *in, const char *key)
{
    if (in->n_seen < JSON_IN_MEMBERS)
        in->seen[in->n_seen++] = key;
    return in->object && !in->e->code ? json_object_get(in->object, key) : NULL;
}

bool json_in_has(struct json_in *in, const char *key)
{
    return in->object && json_object_get(in->object, key);
}

void json_in_require(struct json_in *in, const char *key)
{
    if (in->object && !json_object_get(in->object, key))
        json_in_fail(in, key, ERR_MISSING, "\"%s\" is required", key);
}

struct json_in json_in_object(struct json_in *in, const char *key)
{
    json_t *j = take(in, key);
    struct json_in ret = {.e = in->e};
    append_pointer(ret.pointer, sizeof ret.pointer, in->pointer, key);
    if (j && !json_is_object(j))
        json_in_fail(in, key, ERR_TYPE, "expected an object, found %s", type_name(j));
    else
        ret.object = j;
    return ret;
}

static const char *take_string(struct json_in *in, const char *key, const char *def, size_t max, const char *controls)
{
    json_t *j = take(in, key);
    if (!j)
        return def;
    const char *s = json_string_value(j);
    if (!s) {
        json_in_fail(in, key, ERR_TYPE, "expected a string, found %s", type_name(j));
        return def;
    }
    size_t n = json_string_length(j);
    if (n == 0)
        json_in_fail(in, key, ERR_VALUE, "must not be empty");
    else if (n > max)
        json_in_fail(in, key, ERR_VALUE, "has %zu bytes, at most %zu are allowed", n, max);
    for (size_t i = 0; i < n && !in->e->code; i++)
        if (((unsigned char)s[i] < ' ' || s[i] == 0x7F) && !(s[i] && strchr(controls, s[i])))
            json_in_fail(in, key, ERR_VALUE, "has a control character at position %zu", i);
    return in->e->code ? def : s;
}

const char *json_in_string(struct json_in *in, const char *key, const char *def, size_t max)
{
    return take_string(in, key, def, max, "");
}

const char *json_in_text(struct json_in *in, const char *key, const char *def, size_t max)
{
    return take_string(in, key, def, max, "\t\r\n");
}

long long json_in_int(struct json_in *in, const char *key, long long def, long long min, long long max)
{
    json_t *j = take(in, key);
    if (!j)
        return def;
    if (!json_is_integer(j)) {
        json_in_fail(in, key, ERR_TYPE, "expected an integer, found %s", type_name(j));
        return def;
    }
    long long v = json_integer_value(j);
    if (v < min || v > max) {
        json_in_fail(in, key, ERR_VALUE, "must be between %lld and %lld", min, max);
        return def;
    }
    return v;
}

bool json_in_bool(struct json_in *in, const char *key, bool def)
{
    json_t *j = take(in, key);
    if (!j)
        return def;
    if (!json_is_boolean(j)) {
        json_in_fail(in, key, ERR_TYPE, "expected true or false, found %s", type_name(j));
        return def;
    }
    return json_is_true(j);
}

int json_in_enum(struct json_in *in, const char *key, const char *const *words, int def)
{
    json_t *j = take(in, key);
    if (!j)
        return def;
    if (!json_is_string(j)) {
        json_in_fail(in, key, ERR_TYPE, "expected a string, found %s", type_name(j));
        return def;
    }
    AUTO_STRBUF struct strbuf list = {.max = 300};
    for (int i = 0; words[i]; i++) {
        if (!strcmp(json_string_value(j), words[i]))
            return i;
        strbuf_addf(&list, "%s%s", i ? ", " : "", words[i]);
    }
    json_in_fail(in, key, ERR_VALUE, "must be one of: %s", list.data ? list.data : "");
    return def;
}

json_t *json_in_array(struct json_in *in, const char *key, size_t min, size_t max)
{
    json_t *j = take(in, key);
    if (!j)
        return NULL;
    if (!json_is_array(j)) {
        json_in_fail(in, key, ERR_TYPE, "expected an array, found %s", type_name(j));
        return NULL;
    }
    size_t n = json_array_size(j);
    if (n < min || n > max) {
        json_in_fail(in, key, ERR_VALUE, "has %zu elements, from %zu to %zu are allowed", n, min, max);
        return NULL;
    }
    return j;
}

struct json_in json_in_element(struct json_in *in, const char *key, size_t index)
{
    char name[64];
    struct json_in ret = {.e = in->e};
    snprintf(name, sizeof name, "%s/%zu", key, index);
    size_t n = (size_t)snprintf(ret.pointer, sizeof ret.pointer, "%s/%s", in->pointer, name);
    json_t *j = in->object && n < sizeof ret.pointer ? json_array_get(json_object_get(in->object, key), index) : NULL;
    if (j && !json_is_object(j))
        json_in_fail(&ret, NULL, ERR_TYPE, "expected an object, found %s", type_name(j));
    else
        ret.object = j;
    return ret;
}

int json_in_end(struct json_in *in)
{
    const char *key;
    json_t *value;
    if (in->object && !in->e->code) {
        json_object_foreach(in->object, key, value) {
            size_t i = 0;
            while (i < in->n_seen && strcmp(in->seen[i], key))
                i++;
            if (i == in->n_seen)
                return json_in_fail(in, key, ERR_UNKNOWN_FIELD, "\"%.100s\" is not known here", key);
        }
    }
    return -(int)in->e->code;
}

/* Text that came from outside may be cut in the middle of a character; jansson refuses what is no UTF-8. */
static json_t *text(const char *s)
{
    size_t n = strlen(s);
    while (n && !str_is_utf8(s, n))
        n--;
    return json_stringn(s, n);
}

json_t *json_from_err(const struct err *e)
{
    const struct err_info *info = err_info(e->code);
    json_t *j = json_pack("{s:s+, s:s, s:o, s:s, s:o}", "type", "urn:vmrecover:problem:", info->word, "title", info->title, "detail",
                          text(e->msg), "code", info->word, "hint", text(err_hint_text(e)));
    if (j && e->field[0])
        json_object_set_new(j, "field", text(e->field));
    if (j && e->upstream.service[0]) {
        json_t *up = json_pack("{s:s, s:i}", "service", e->upstream.service, "status", e->upstream.status);
        if (up && e->upstream.code[0])
            json_object_set_new(up, "code", text(e->upstream.code));
        if (up && e->upstream.request_id[0])
            json_object_set_new(up, "request_id", text(e->upstream.request_id));
        json_object_set_new(j, "upstream", up);
    }
    return j;
}

static void copy_text(json_t *object, const char *key, char *dst, size_t size)
{
    const char *s = json_string_value(json_object_get(object, key));
    snprintf(dst, size, "%s", s ? s : "");
}

void json_to_err(json_t *object, struct err *ret)
{
    err_clear(ret);
    const char *word = json_string_value(json_object_get(object, "code"));
    if (!word)
        return;
    ret->code = err_from_word(word);
    if (!ret->code)
        ret->code = ERR_INTERNAL;
    copy_text(object, "detail", ret->msg, sizeof ret->msg);
    copy_text(object, "hint", ret->hint, sizeof ret->hint);
    copy_text(object, "field", ret->field, sizeof ret->field);
    json_t *up = json_object_get(object, "upstream");
    copy_text(up, "service", ret->upstream.service, sizeof ret->upstream.service);
    copy_text(up, "code", ret->upstream.code, sizeof ret->upstream.code);
    copy_text(up, "request_id", ret->upstream.request_id, sizeof ret->upstream.request_id);
    ret->upstream.status = (int)json_integer_value(json_object_get(up, "status"));
}

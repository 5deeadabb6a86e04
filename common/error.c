#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/os.h"

static const struct err_info table[ERR_CODES] = {
    [ERR_OK] = {"ok", 200, false, "OK", ""},
#define ERR_ROW(code, word, http, retry, title, hint) [code] = {word, http, retry, title, hint},
    ERR_MAP(ERR_ROW)
#undef ERR_ROW
};

const struct err_info *err_info(int code)
{
    if (code < 0)
        code = -code;
    return code < ERR_CODES ? &table[code] : &table[ERR_INTERNAL];
}

enum err_code err_from_word(const char *word)
{
    for (int i = 1; i < ERR_CODES; i++)
        if (!strcmp(table[i].word, word))
            return (enum err_code)i;
    return ERR_OK;
}

void err_clear(struct err *e)
{
    memset(e, 0, sizeof *e);
}

/* What came from outside, or was cut within a character, must not make the sentence ill-formed. */
static void keep_utf8(char *s)
{
    for (size_t left = strlen(s); left;) {
        size_t n = 1;
        while (n <= 4 && n <= left && !str_is_utf8(s, n))
            n++;
        if (n > 4 || n > left) {
            *s = '?';
            n = 1;
        }
        s += n;
        left -= n;
    }
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    err_clear(e);
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    keep_utf8(e->msg);
    return -(int)code;
}

int err_os(struct err *e, enum err_code code, long os_code, const char *fmt, ...)
{
    err_clear(e);
    enum err_code own = os_error_code(os_code);
    e->code = own ? own : code;
    e->os_code = os_code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->msg);
    char text[160];
    os_error_text(os_code, text, sizeof text);
    snprintf(e->msg + n, sizeof e->msg - n, ": %s", text);
    keep_utf8(e->msg);
    return -(int)e->code;
}

int err_oom(struct err *e)
{
    return err_set(e, ERR_OOM, "the host has no memory left for this");
}

int err_field(struct err *e, enum err_code code, const char *pointer, const char *fmt, ...)
{
    err_clear(e);
    e->code = code;
    snprintf(e->field, sizeof e->field, "%s", pointer);
    keep_utf8(e->field);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    keep_utf8(e->msg);
    return -(int)code;
}

int err_hint(struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->hint, sizeof e->hint, fmt, ap);
    va_end(ap);
    keep_utf8(e->hint);
    return -(int)e->code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof e->msg];
    memcpy(old, e->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->msg);
    snprintf(e->msg + n, sizeof e->msg - n, ": %s", old);
    keep_utf8(e->msg);
    return -(int)e->code;
}

const char *err_hint_text(const struct err *e)
{
    return e->hint[0] ? e->hint : err_info(e->code)->hint;
}

#include "api/cli/cli.h"

#include <string.h>

/* C0, DEL, and the C1 controls, which are U+0080..U+009F: C2 80..C2 9F in UTF-8. */
static bool is_control(const char *s)
{
    unsigned char c = (unsigned char)*s, next = (unsigned char)s[c ? 1 : 0];
    return c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next <= 0x9f);
}

void print_text(FILE *f, const char *s)
{
    while (*s) {
        const char *from = s;
        while (*s && !is_control(s))
            s++;
        fwrite(from, 1, (size_t)(s - from), f);      /* at once: a console may take no character in two pieces */
        if (!*s)
            break;
        fputc('?', f);
        s += (unsigned char)*s == 0xc2 ? 2 : 1;
    }
}

void print_field(FILE *f, const char *s, int width)
{
    int columns = 0;                                 /* characters, that is bytes that continue none */
    for (const char *p = s; *p; p++)
        columns += ((unsigned char)*p & 0xc0) != 0x80;
    int pad = (width < 0 ? -width : width) - columns;
    if (width < 0 && pad > 0)
        fprintf(f, "%*s", pad, "");
    print_text(f, s);
    if (width > 0 && pad > 0)
        fprintf(f, "%*s", pad, "");
}

static void dump(json_t *j, size_t flags)
{
    char *text = json_dumps(j, flags | JSON_ENCODE_ANY);
    if (!text)
        return;
    puts(text);                                      /* JSON escapes control characters itself */
    mem_free_secret(text);
    fflush(stdout);
}

void print_json(json_t *j)
{
    dump(j, JSON_INDENT(2));
}

void print_json_line(json_t *j)
{
    dump(j, JSON_COMPACT);
}

const char *jstr(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

int64_t jint(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void line(const char *label, const char *text)
{
    if (!*text)
        return;
    fprintf(stderr, "  %s: ", label);
    print_text(stderr, text);
    fputc('\n', stderr);
}

void print_problem(const json_t *problem)
{
    fputs("vmrecover: ", stderr);
    print_text(stderr, jstr(problem, "title"));
    if (*jstr(problem, "detail")) {
        fputs(": ", stderr);
        print_text(stderr, jstr(problem, "detail"));
    }
    fprintf(stderr, " (");
    print_text(stderr, jstr(problem, "code"));
    fputs(")\n", stderr);
    line("field", jstr(problem, "field"));
    line("hint", jstr(problem, "hint"));
    const json_t *up = json_object_get(problem, "upstream");
    if (json_is_object(up)) {
        char text[320];
        int64_t status = jint(up, "status");
        snprintf(text, sizeof text, "%s%s%.0lld%s%s%s%s", jstr(up, "service"), status ? " " : "", (long long)status, *jstr(up, "code") ? " " : "",
                 jstr(up, "code"), *jstr(up, "request_id") ? ", request " : "", jstr(up, "request_id"));
        line("upstream", text);
    }
}

void print_err(const struct err *e)
{
    fputs("vmrecover: ", stderr);
    print_text(stderr, e->msg);
    fputc('\n', stderr);
    /* the table's hints speak of HTTP requests; a hint of the error's own is worth showing */
    line("hint", e->hint);
}

void size_text(uint64_t bytes, char buf[SIZE_TEXT])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) {
        snprintf(buf, SIZE_TEXT, "%u B", (unsigned)bytes);
        return;
    }
    double n = (double)bytes / 1024;
    size_t u = 0;
    while (n >= 1000 && u + 1 < ARRAY_LEN(units)) {
        n /= 1024;
        u++;
    }
    snprintf(buf, SIZE_TEXT, "%.*f %s", n < 10 ? 2 : n < 100 ? 1 : 0, n, units[u]);
}

void seconds_text(int64_t seconds, char buf[SIZE_TEXT])
{
    long long s = seconds < 0 ? 0 : (long long)seconds;
    if (s >= 3600)
        snprintf(buf, SIZE_TEXT, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, SIZE_TEXT, "%lld:%02lld", s / 60, s % 60);
}

#include "service/ini.h"

#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/os.h"

#define BLANKS " \t\r\v\f"

/* The text without blanks at its ends; changes it. */
static char *trim(char *s)
{
    s += strspn(s, BLANKS);
    for (size_t n = strlen(s); n && strchr(BLANKS, s[n - 1]); n--)
        s[n - 1] = 0;
    return s;
}

/* Cuts a value where a comment begins: at a ; with a blank, or nothing, before it. */
static void cut_comment(char *value)
{
    for (char *p = value; (p = strchr(p, ';')); p++)
        if (p == value || strchr(BLANKS, p[-1])) {
            *p = 0;
            return;
        }
}

static int read_line(char *line, const char **section, const char *where, ini_fn *fn, void *arg, struct err *e)
{
    char *s = trim(line), *end;
    if (!*s || *s == '#' || *s == ';')
        return 0;
    if (*s == '[' && (end = strchr(s, ']'))) {
        cut_comment(end + 1);
        *end = 0;
        if (!*trim(end + 1)) {
            *section = s + 1;
            return 0;
        }
    } else if (*s != '[' && (end = strpbrk(s, "=:")) && end > s) {
        *end = 0;
        cut_comment(end + 1);
        return fn(arg, *section, trim(s), trim(end + 1), where, e);
    }
    return err_set(e, ERR_CONFIG, "%s: expected [section], key = value or a comment", where);
}

int ini_read(const char *file, ini_fn *fn, void *arg, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t len;
    int r = os_read_file(file, INI_FILE_MAX, &text, &len, e);
    if (r < 0) {
        e->code = ERR_CONFIG;
        return err_prefix(e, "the configuration");
    }
    const char *section = "";
    char *rest = text + (str_starts(text, "\xEF\xBB\xBF") ? 3 : 0);
    for (unsigned n = 1; rest; n++) {
        char *line = str_sep(&rest, "\n"), *end = rest ? rest - 1 : text + len, where[300];
        snprintf(where, sizeof where, "%s, line %u", file, n);
        if (line + strlen(line) != end)
            return err_set(e, ERR_CONFIG, "%s: holds a NUL byte; the file must be UTF-8 text", where);
        if (strlen(line) > INI_LINE_MAX)
            return err_set(e, ERR_CONFIG, "%s: longer than %d characters", where, INI_LINE_MAX);
        if ((r = read_line(line, &section, where, fn, arg, e)) < 0)
            return r;
    }
    return 0;
}

#include "api/cli/cli.h"

#include <string.h>

#include "common/os.h"

int opt_too_many(const char *word, struct err *e)
{
    return err_set(e, ERR_VALUE, "'%s' is one word too many", word);
}

int opt_next(struct opt_iter *it, struct err *e)
{
    if (it->i >= it->argc)
        return OPT_END;
    char *arg = it->argv[it->i++];
    if (!it->words_only && strcmp(arg, "--") == 0) {
        it->words_only = true;
        return opt_next(it, e);
    }
    if (it->words_only || arg[0] != '-' || !arg[1]) {
        it->value = arg;
        if (!it->word)
            return OPT_WORD;
        if (*it->word)
            return opt_too_many(arg, e);
        *it->word = arg;
        return opt_next(it, e);
    }
    bool two_dashes = arg[1] == '-';
    char *name = arg + (two_dashes ? 2 : 1);
    char *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    for (const struct opt_spec *s = it->spec; s && s->name; s++) {
        if (strlen(s->name) != len || strncmp(s->name, name, len) != 0 || two_dashes != (len > 1))
            continue;
        if (!s->value && equals)
            return err_set(e, ERR_VALUE, "option %.*s takes no value", (int)(equals - arg), arg);
        if (s->value && !equals && it->i >= it->argc)
            return err_set(e, ERR_VALUE, "option %s needs a value", arg);
        it->value = !s->value ? NULL : equals ? equals + 1 : it->argv[it->i++];
        return s->id;
    }
    return err_set(e, ERR_VALUE, "there is no option %s%.*s", two_dashes ? "--" : "-", (int)len, name);
}

int opt_words(int argc, char **argv, size_t min, size_t max, char **ret, size_t *ret_n, struct err *e)
{
    struct opt_iter it = {.argc = argc, .argv = argv};
    size_t n = 0;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (n == max)
            return opt_too_many(it.value, e);
        ret[n++] = it.value;
    }
    if (n < min)
        return err_set(e, ERR_VALUE, "%zu more %s needed", min - n, min - n == 1 ? "word is" : "words are");
    if (ret_n)
        *ret_n = n;
    return 0;
}

int opt_number(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
    unsigned long long n;
    if (!str_to_u64(value, max, &n) || n < min)
        return err_set(e, ERR_VALUE, "%s takes a number from %llu to %llu, not '%s'", option, (unsigned long long)min, (unsigned long long)max, value);
    *ret = n;
    return 0;
}

int opt_size(const char *option, const char *value, uint64_t *ret, struct err *e)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    size_t digits = strspn(value, "0123456789");
    AUTO_FREE char *number = str_ndup(value, digits);
    if (!number)
        return err_oom(e);
    unsigned long long n;
    for (unsigned u = 0; digits && u < ARRAY_LEN(units); u++) {
        const char *rest = value + digits;
        size_t unit_len = strlen(units[u]);
        if (strncmp(rest, units[u], unit_len) != 0)
            continue;
        rest += unit_len;
        if (*rest && strcmp(rest, "B") != 0 && !(unit_len && strcmp(rest, "iB") == 0))
            continue;
        if (!str_to_u64(number, UINT64_C(1) << (62 - 10 * u), &n))
            break;
        *ret = n << (10 * u);
        return 0;
    }
    return err_set(e, ERR_VALUE, "%s takes a size such as 512M, 40G or 1073741824, not '%s'", option, value);
}

int opt_read_input(const char *path, size_t max, char **ret, size_t *ret_len, struct err *e)
{
    if (strcmp(path, "-") != 0)
        return os_read_file(path, max, ret, ret_len, e);
    char *buf = malloc(max + 2);
    if (!buf)
        return err_oom(e);
    size_t n = fread(buf, 1, max + 1, stdin);
    int r = 0;
    if (ferror(stdin))
        r = err_set(e, ERR_IO, "standard input cannot be read");
    else if (n > max)
        r = err_set(e, ERR_TOO_LARGE, "standard input holds more than %zu bytes", max);
    if (r < 0) {
        mem_wipe(buf, n);
        free(buf);
        return r;
    }
    buf[n] = '\0';
    *ret = buf;
    if (ret_len)
        *ret_len = n;
    return 0;
}

int opt_unescape(const char *word, char **ret, struct err *e)
{
    static const char from[] = "nt\\", to[] = "\n\t\\";
    AUTO_SECRET char *text = calloc(1, strlen(word) + 1);    /* ends wherever it stands, for the wiping of a half-made one */
    if (!text)
        return err_oom(e);
    char *w = text;
    for (const char *p = word; *p; p++) {
        const char *which = *p != '\\' ? NULL : p[1] ? strchr(from, p[1]) : NULL;
        if (*p == '\\' && !which)
            return err_set(e, ERR_VALUE, "after a backslash stands n, t or another backslash; a text from a file is taken as it is");
        *w++ = which ? to[which - from] : *p;
        p += which != NULL;
    }
    *w = '\0';
    *ret = STEAL(text);
    return 0;
}

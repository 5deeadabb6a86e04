/* WQL as IWbemServices takes it ("WQL (SQL for WMI)"): SELECT … FROM … WHERE …, ASSOCIATORS OF and REFERENCES OF. In a string literal a
 * backslash is followed by a backslash or a quote, anything else is an invalid query. */
#include <ctype.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

struct lex {
    const char *p;
    enum { END, WORD, TEXT, NUMBER, SIGN, BAD } kind;
    char *text;                                        /* of WORD, TEXT, NUMBER, SIGN */
};

static void next(struct lex *l)
{
    free(l->text);
    l->text = NULL;
    while (isspace((unsigned char)*l->p))
        l->p++;
    const char *s = l->p;
    if (!*s) {
        l->kind = END;
    } else if (isalpha((unsigned char)*s) || *s == '_') {
        while (isalnum((unsigned char)*l->p) || *l->p == '_' || *l->p == '.')
            l->p++;
        l->kind = WORD;
        l->text = str_ndup(s, (size_t)(l->p - s));
    } else if (isdigit((unsigned char)*s) || (*s == '-' && isdigit((unsigned char)s[1]))) {
        l->p++;
        while (isalnum((unsigned char)*l->p))
            l->p++;
        l->kind = NUMBER;
        l->text = str_ndup(s, (size_t)(l->p - s));
    } else if (*s == '\'' || *s == '"') {
        struct strbuf b = {.max = WMI_TEXT_MAX};
        strbuf_adds(&b, "");
        l->kind = TEXT;
        for (l->p++; *l->p && *l->p != *s; l->p++) {
            if (*l->p == '\\' && l->p[1] != '\\' && l->p[1] != '"' && l->p[1] != '\'')
                l->kind = BAD;
            if (*l->p == '\\' && l->p[1])
                l->p++;
            strbuf_add(&b, l->p, 1);
        }
        l->kind = *l->p ? l->kind : BAD;
        l->p += *l->p != 0;
        l->text = strbuf_steal(&b);
    } else {
        size_t n = (s[0] == '<' && (s[1] == '>' || s[1] == '=')) || (s[0] == '>' && s[1] == '=') || (s[0] == '!' && s[1] == '=') ? 2 : 1;
        l->kind = strchr("=<>!(),*", *s) ? SIGN : BAD;
        l->text = str_ndup(s, n);
        l->p += n;
    }
}

static bool is(const struct lex *l, const char *word)
{
    return (l->kind == WORD || l->kind == SIGN) && str_ieq(l->text, word);
}

static bool eat(struct lex *l, const char *word)
{
    if (!is(l, word))
        return false;
    next(l);
    return true;
}

static void expr_free(struct wql_expr *x)
{
    if (!x)
        return;
    expr_free(x->left);
    expr_free(x->right);
    free(x->property);
    free(x->value);
    free(x);
}

static struct wql_expr *parse_or(struct lex *l, unsigned depth);

static struct wql_expr *expr(enum wql_op op, struct wql_expr *left, struct wql_expr *right)
{
    struct wql_expr *x = x_calloc(1, sizeof *x);
    *x = (struct wql_expr){.op = op, .left = left, .right = right};
    return x;
}

static struct wql_expr *parse_comparison(struct lex *l)
{
    static const struct { const char *sign; enum wql_op op; } signs[] = {{"=", WQL_EQ},  {"<>", WQL_NE}, {"!=", WQL_NE},     {"<", WQL_LT},
                                                                        {">", WQL_GT},  {"<=", WQL_LE}, {">=", WQL_GE},     {"LIKE", WQL_LIKE},
                                                                        {"ISA", WQL_ISA}, {"IS", WQL_IS_NULL}};
    if (l->kind != WORD)
        return NULL;
    struct wql_expr *x = expr(WQL_EQ, NULL, NULL);
    x->property = STEAL(l->text);
    next(l);
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(signs) && !found; i++)
        if ((found = is(l, signs[i].sign)))
            x->op = signs[i].op;
    if (!found)
        goto bad;
    next(l);
    if (x->op == WQL_IS_NULL) {
        x->op = eat(l, "NOT") ? WQL_NOT_NULL : WQL_IS_NULL;
        if (eat(l, "NULL"))
            return x;
        goto bad;
    }
    if ((x->op == WQL_EQ || x->op == WQL_NE) && eat(l, "NULL")) {
        x->op = x->op == WQL_EQ ? WQL_IS_NULL : WQL_NOT_NULL;
        return x;
    }
    bool boolean = is(l, "TRUE") || is(l, "FALSE");
    if (l->kind != TEXT && l->kind != NUMBER && !boolean)
        goto bad;
    if ((x->op == WQL_LIKE || x->op == WQL_ISA) && l->kind != TEXT)
        goto bad;
    x->quoted = l->kind == TEXT;
    x->value = STEAL(l->text);
    next(l);
    return x;
bad:
    expr_free(x);
    return NULL;
}

static struct wql_expr *parse_not(struct lex *l, unsigned depth)
{
    if (depth > 64)
        return NULL;
    if (eat(l, "NOT")) {
        struct wql_expr *x = parse_not(l, depth + 1);
        return x ? expr(WQL_NOT, x, NULL) : NULL;
    }
    if (!eat(l, "("))
        return parse_comparison(l);
    struct wql_expr *x = parse_or(l, depth + 1);
    if (x && eat(l, ")"))
        return x;
    expr_free(x);
    return NULL;
}

static struct wql_expr *parse_chain(struct lex *l, unsigned depth, const char *word, enum wql_op op,
                                    struct wql_expr *(*inner)(struct lex *l, unsigned depth))
{
    struct wql_expr *x = inner(l, depth);
    while (x && eat(l, word)) {
        struct wql_expr *right = inner(l, depth);
        if (!right) {
            expr_free(x);
            return NULL;
        }
        x = expr(op, x, right);
    }
    return x;
}

static struct wql_expr *parse_and(struct lex *l, unsigned depth)
{
    return parse_chain(l, depth, "AND", WQL_AND, parse_not);
}

static struct wql_expr *parse_or(struct lex *l, unsigned depth)
{
    return parse_chain(l, depth, "OR", WQL_OR, parse_and);
}

static bool parse_select(struct lex *l, struct wql *q)
{
    if (!eat(l, "*"))
        do {
            if (l->kind != WORD)
                return false;
            q->columns = x_grow(q->columns, q->n_columns + 1, sizeof *q->columns);
            q->columns[q->n_columns++] = STEAL(l->text);
            next(l);
        } while (eat(l, ","));
    if (!eat(l, "FROM") || l->kind != WORD)
        return false;
    q->class = STEAL(l->text);
    next(l);
    if (eat(l, "WHERE") && !(q->where = parse_or(l, 0)))
        return false;
    return l->kind == END;
}

/* {path} is raw: nothing in it is escaped but as in any path. */
static bool parse_of(struct lex *l, struct wql *q)
{
    if (!is(l, "OF"))
        return false;
    while (isspace((unsigned char)*l->p))
        l->p++;
    const char *end = *l->p == '{' ? l->p + 1 : NULL;
    for (bool quoted = false; end && *end && (quoted || *end != '}'); end++) {
        if (*end == '\\' && quoted && end[1])
            end++;
        else if (*end == '"')
            quoted = !quoted;
    }
    if (!end || !*end)
        return false;
    q->of = str_ndup(l->p + 1, (size_t)(end - l->p - 1));
    l->p = end + 1;
    next(l);
    if (l->kind == END)
        return true;
    if (!eat(l, "WHERE"))
        return false;
    struct { const char *word; char **to; } clauses[] = {{"AssocClass", q->references ? NULL : &q->assoc},
                                                         {"ResultClass", &q->result},
                                                         {"Role", &q->role},
                                                         {"ResultRole", q->references ? NULL : &q->result_role}};
    while (l->kind != END) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(clauses) && !found; i++)
            if (is(l, clauses[i].word)) {
                found = true;
                next(l);
                if (!clauses[i].to || *clauses[i].to || !eat(l, "=") || l->kind != WORD)
                    return false;
                *clauses[i].to = STEAL(l->text);
                next(l);
            }
        if (!found)                                    /* properties cannot be compared here, and there is no AND */
            return false;
    }
    return true;
}

uint32_t wql_parse(const char *text, struct wql *ret)
{
    memset(ret, 0, sizeof *ret);
    struct lex l = {.p = text};
    next(&l);
    bool ok = false;
    if (eat(&l, "SELECT"))
        ok = parse_select(&l, ret);
    else if (is(&l, "ASSOCIATORS") || is(&l, "REFERENCES")) {
        ret->references = is(&l, "REFERENCES");
        next(&l);
        ok = parse_of(&l, ret);
    }
    free(l.text);
    if (!ok)
        wql_clear(ret);
    return ok ? 0 : WMI_E_INVALID_QUERY;
}

void wql_clear(struct wql *q)
{
    free(q->class);
    for (size_t i = 0; i < q->n_columns; i++)
        free(q->columns[i]);
    free(q->columns);
    expr_free(q->where);
    free(q->of);
    free(q->assoc);
    free(q->result);
    free(q->role);
    free(q->result_role);
    memset(q, 0, sizeof *q);
}

/* % any text, _ any character, [a-c] one of a set, [^a-c] none of it. */
bool wql_like(const char *text, const char *pattern)
{
    if (!*pattern)
        return !*text;
    if (*pattern == '%') {
        for (;; text++) {
            if (wql_like(text, pattern + 1))
                return true;
            if (!*text)
                return false;
        }
    }
    if (!*text)
        return false;
    int c = tolower((unsigned char)*text);
    const char *end = *pattern == '[' ? strchr(pattern + 1, ']') : NULL;
    if (end) {
        bool none = pattern[1] == '^', hit = false;
        for (const char *p = pattern + 1 + none; p < end; p++) {
            int from = tolower((unsigned char)*p), to = from;
            if (p[1] == '-' && p + 2 < end) {
                to = tolower((unsigned char)p[2]);
                p += 2;
            }
            hit = hit || (c >= from && c <= to);
        }
        return hit != none && wql_like(text + 1, end + 1);
    }
    return (*pattern == '_' || tolower((unsigned char)*pattern) == c) && wql_like(text + 1, pattern + 1);
}

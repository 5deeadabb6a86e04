/* LVM2's metadata text: `name = value`, `name { … }`, values are numbers, "strings" and [arrays, of both]; # begins a comment.
 * Source: lvm2, libdm/libdm-config.c (what its parser takes), lib/format_text/export.c (what it writes). */
#include <string.h>

#include "storage/image/fsmap_lvm.h"

#define NODES_MAX 65536
#define DEPTH_MAX 12

struct parse { const char *at, *end; struct lvm_text *t; const char *why; };

static void skip_space(struct parse *p)
{
    while (p->at < p->end && (strchr(" \t\r\n", *p->at) || *p->at == '#')) {       /* a NUL byte too: text ends with one */
        if (*p->at == '#')
            while (p->at < p->end && *p->at != '\n')
                p->at++;
        else
            p->at++;
    }
}

/* A new last child; 0: no. *last is the one before, of the same parent. */
static uint32_t node_new(struct parse *p, uint32_t parent, uint32_t *last)
{
    struct lvm_text *t = p->t;
    if (t->n >= NODES_MAX) {
        p->why = "it has too many members";
        return 0;
    }
    if (t->n == t->size) {
        uint32_t size = t->size ? t->size * 2 : 256;
        void *nodes = realloc(t->nodes, size * sizeof *t->nodes);
        if (!nodes) {
            p->why = "out of memory";
            return 0;
        }
        t->nodes = nodes;
        t->size = size;
    }
    uint32_t i = t->n++;
    t->nodes[i] = (struct lvm_node){0};
    if (*last)
        t->nodes[*last].next = i;
    else if (i)
        t->nodes[parent].child = i;
    return *last = i;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-.+/", c));
}

static bool wrong(struct parse *p, const char *why)
{
    p->why = why;
    return false;
}

static bool scalar_read(struct parse *p, uint32_t node)
{
    struct lvm_node *n = &p->t->nodes[node];
    if (p->at < p->end && *p->at == '"') {
        n->kind = LVM_STRING;
        n->text = ++p->at;
        while (p->at < p->end && *p->at != '"') {
            if (*p->at == '\\')
                p->at++;
            if (p->at < p->end)
                p->at++;
        }
        if (p->at >= p->end)
            return wrong(p, "a string does not end");
        n->text_length = (uint32_t)(p->at++ - n->text);
        return true;
    }
    const char *start = p->at;
    n->kind = LVM_NUMBER;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
        if (n->number > (UINT64_MAX - 9) / 10)
            return wrong(p, "a number is too large");
        n->number = n->number * 10 + (uint64_t)(*p->at++ - '0');
    }
    return p->at > start || wrong(p, "a value is neither number nor string");
}

static bool array_read(struct parse *p, uint32_t array)
{
    uint32_t last = 0;
    p->t->nodes[array].kind = LVM_ARRAY;
    p->at++;
    for (;;) {
        skip_space(p);
        if (p->at < p->end && *p->at == ']') {
            p->at++;
            return true;
        }
        uint32_t i = node_new(p, array, &last);
        if (!i || !scalar_read(p, i))
            return false;
        skip_space(p);
        if (p->at < p->end && *p->at == ',')
            p->at++;
        else if (p->at >= p->end || *p->at != ']')
            return wrong(p, "an array does not end");
    }
}

static bool section_read(struct parse *p, uint32_t section, unsigned depth)
{
    uint32_t last = 0;
    if (depth > DEPTH_MAX)
        return wrong(p, "it is nested too deep");
    for (;;) {
        skip_space(p);
        if (p->at >= p->end)
            return depth == 0 || wrong(p, "a section does not end");
        if (*p->at == '}') {
            p->at++;
            return depth > 0 || wrong(p, "a section ends that was not begun");
        }
        const char *name = p->at;
        while (p->at < p->end && is_name(*p->at))
            p->at++;
        uint32_t length = (uint32_t)(p->at - name);
        uint32_t i = length ? node_new(p, section, &last) : 0;
        if (!i)
            return length ? false : wrong(p, "a name is missing");
        p->t->nodes[i].name = name;
        p->t->nodes[i].name_length = length;
        skip_space(p);
        char c = p->at < p->end ? *p->at : 0;
        if (c == '{') {
            p->at++;
            if (!section_read(p, i, depth + 1))
                return false;
            continue;
        }
        if (c != '=')
            return wrong(p, "a name has no value");
        p->at++;
        skip_space(p);
        if (!(p->at < p->end && *p->at == '[' ? array_read(p, i) : scalar_read(p, i)))
            return false;
    }
}

bool lvm_text_parse(const char *text, size_t n, struct lvm_text *ret, const char **ret_why)
{
    struct parse p = {.at = text, .end = text + n, .t = ret};
    uint32_t none = 0;
    *ret = (struct lvm_text){0};
    node_new(&p, 0, &none);
    bool good = ret->n && section_read(&p, 0, 0);
    *ret_why = p.why;
    return good;
}

const struct lvm_node *lvm_find(const struct lvm_text *t, const struct lvm_node *in, const char *name, enum lvm_kind kind)
{
    size_t n = strlen(name);
    for (uint32_t i = in->child; i; i = t->nodes[i].next) {
        const struct lvm_node *node = &t->nodes[i];
        if (node->name && node->name_length == n && !memcmp(node->name, name, n))
            return node->kind == kind ? node : NULL;
    }
    return NULL;
}

bool lvm_number(const struct lvm_text *t, const struct lvm_node *in, const char *name, uint64_t max, uint64_t *ret)
{
    const struct lvm_node *n = lvm_find(t, in, name, LVM_NUMBER);
    if (!n || n->number > max)
        return false;
    *ret = n->number;
    return true;
}

bool lvm_named(const struct lvm_node *n, const char *s, size_t len)
{
    return n && n->kind == LVM_STRING && n->text_length == len && !memcmp(n->text, s, len);
}

bool lvm_is(const struct lvm_node *n, const char *s)
{
    return lvm_named(n, s, strlen(s));
}

bool lvm_only(const struct lvm_text *t, const struct lvm_node *in, const char *name, const char *const *words)
{
    const struct lvm_node *array = lvm_find(t, in, name, LVM_ARRAY);
    for (uint32_t i = array ? array->child : 0; i; i = t->nodes[i].next) {
        size_t w = 0;
        while (words[w] && !lvm_is(&t->nodes[i], words[w]))
            w++;
        if (!words[w])
            return false;
    }
    return true;
}

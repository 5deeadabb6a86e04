/* Reads schema.json; lays classes out with what they inherit. */
#include "tests/doubles/wmi/schema.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct schema {
    unsigned build;
    struct schema_class *classes;
    size_t n;
    char *namespaces[8];
    size_t n_namespaces;
};

static enum wmi_type type_named(const char *name, size_t n)
{
    for (int t = WMI_BOOLEAN; t <= WMI_OBJECT; t++)
        if (strlen(wmi_type_name((enum wmi_type)t)) == n && !strncmp(wmi_type_name((enum wmi_type)t), name, n))
            return (enum wmi_type)t;
    return WMI_NULL;
}

/* "uint16", "string []", "ref CIM_Job since 17763", "object MSFT_Disk [] since 26100" */
static int member(struct schema *s, const char *name, const char *spec, struct schema_member *m, struct err *e)
{
    size_t n = strcspn(spec, " ");
    bool ref = n == 3 && !strncmp(spec, "ref", 3), object = n == 6 && !strncmp(spec, "object", 6);
    m->type = ref ? WMI_REFERENCE : object ? WMI_OBJECT : type_named(spec, n);
    if (m->type == WMI_NULL)
        return err_set(e, ERR_INTERNAL, "schema: %s has the unknown type %s", name, spec);
    const char *p = spec + n + (spec[n] == ' ');
    if (ref || object) {
        n = strcspn(p, " ");
        if (!(m->of = str_ndup(p, n)))
            return err_oom(e);
        p += n + (p[n] == ' ');
    }
    if (str_starts(p, "[]")) {
        m->array = true;
        p += 2 + (p[2] == ' ');
    }
    unsigned long long since = 0;
    if (str_starts(p, "since ") && !str_to_u64(p + 6, 1000000, &since))
        return err_set(e, ERR_INTERNAL, "schema: %s: bad build in %s", name, spec);
    if (*p && !since)
        return err_set(e, ERR_INTERNAL, "schema: %s: cannot read %s", name, spec);
    m->newer = since > s->build;
    return (m->name = str_dup(name)) ? 0 : err_oom(e);
}

static struct schema_member *grow(struct schema_layout *l)
{
    struct schema_member *at = realloc(l->at, (l->n + 1) * sizeof *at);
    if (!at)
        return NULL;
    l->at = at;
    memset(&at[l->n], 0, sizeof *at);
    return &at[l->n++];
}

static int add(struct schema *s, struct schema_layout *l, const char *name, const char *spec, struct err *e)
{
    struct schema_member *m = grow(l);
    return m ? member(s, name, spec, m, e) : err_oom(e);
}

static void layout_free(struct schema_layout *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->at[i].name);
        free(l->at[i].of);
    }
    free(l->at);
}

static int param(struct schema *s, struct schema_method *m, const char *name, const char *spec, struct err *e)
{
    bool inout = str_starts(spec, "inout "), in = inout || str_starts(spec, "in "), out = inout || str_starts(spec, "out ");
    if (!in && !out)
        return err_set(e, ERR_INTERNAL, "schema: parameter %s of %s has no direction", name, m->name);
    const char *type = strchr(spec, ' ') + 1;
    int r = in ? add(s, &m->in, name, type, e) : 0;
    return r == 0 && out ? add(s, &m->out, name, type, e) : r;
}

static bool newer(const struct schema *s, json_t *o)
{
    return json_integer_value(json_object_get(o, "since")) > (json_int_t)s->build;
}

static int method(struct schema *s, const char *base, const char *name, json_t *o, struct schema_method *m, struct err *e)
{
    const char *doc = json_string_value(json_object_get(o, "doc")), *returns = json_string_value(json_object_get(o, "returns"));
    m->name = str_dup(name);
    m->doc = doc ? str_printf("%s%s", base, doc) : NULL;
    m->is_static = json_is_true(json_object_get(o, "static"));
    m->newer = newer(s, o);
    int r = m->name && (m->doc || !doc) ? add(s, &m->out, "ReturnValue", returns && strcmp(returns, "void") ? returns : "uint32", e) : err_oom(e);
    const char *key;
    json_t *spec;
    json_object_foreach(json_object_get(o, "params"), key, spec)
        if (r == 0)
            r = param(s, m, key, json_string_value(spec) ? json_string_value(spec) : "", e);
    return r;
}

static int class(struct schema *s, const char *ns, const char *base, const char *name, json_t *o, struct err *e)
{
    struct schema_class *c = &s->classes[s->n++];
    const char *doc = json_string_value(json_object_get(o, "doc")), *generated = json_string_value(json_object_get(o, "generated"));
    c->ns = ns;
    c->name = str_dup(name);
    c->parent_name = str_dup(json_string_value(json_object_get(o, "parent")));
    c->doc = doc ? str_printf("%s%s", base, doc) : generated ? str_printf("generated %s", generated) : NULL;
    c->newer = newer(s, o);
    if (!c->name)
        return err_oom(e);
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(o, "properties"), key, v) {
        int r = add(s, &c->layout, key, json_string_value(v) ? json_string_value(v) : "", e);
        if (r < 0)
            return r;
    }
    json_t *methods = json_object_get(o, "methods");
    if (!(c->methods = calloc(json_object_size(methods) + 1, sizeof *c->methods)))
        return err_oom(e);
    json_object_foreach(methods, key, v) {
        int r = method(s, base, key, v, &c->methods[c->n_methods++], e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Puts the inherited properties before the own ones. */
static int inherit(struct schema *s, struct schema_class *c, struct err *e)
{
    if (!c->parent_name || c->parent)
        return 0;
    struct schema_class *parent = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (s->classes[i].ns == c->ns && str_ieq(s->classes[i].name, c->parent_name))
            parent = &s->classes[i];
    if (!parent)
        return err_set(e, ERR_INTERNAL, "schema: %s derives from %s, which is not there", c->name, c->parent_name);
    int r = inherit(s, parent, e);
    if (r < 0)
        return r;
    c->parent = parent;
    struct schema_layout own = c->layout, all = {0};
    c->layout = all;
    for (size_t i = 0; i < parent->layout.n; i++) {
        const struct schema_member *p = &parent->layout.at[i];
        struct schema_member *m = grow(&c->layout);
        if (!m)
            return err_oom(e);
        *m = *p;
        m->name = str_dup(p->name);
        m->of = str_dup(p->of);
    }
    for (size_t i = 0; i < own.n; i++) {
        int at = schema_member_any(&c->layout, own.at[i].name);          /* a class may name an inherited one anew */
        struct schema_member *m = at >= 0 ? &c->layout.at[at] : grow(&c->layout);
        if (!m)
            return err_oom(e);
        bool key = m->key;
        free(m->name);
        free(m->of);
        *m = own.at[i];
        m->key |= key;
    }
    free(own.at);
    return 0;
}

static int keys(struct schema_class *c, const char *list, struct err *e)
{
    while (list && *list) {
        size_t n = strcspn(list, " ");
        AUTO_FREE char *name = str_ndup(list, n);
        int at = name ? schema_member_any(&c->layout, name) : -1;
        if (at < 0)
            return err_set(e, ERR_INTERNAL, "schema: the key %s of %s is no property", name ? name : "", c->name);
        c->layout.at[at].key = true;
        list += n + (list[n] == ' ');
    }
    return 0;
}

static int load(struct schema *s, json_t *root, struct err *e)
{
    json_t *namespaces = json_object_get(root, "namespaces"), *o, *v;
    const char *ns, *name;
    size_t count = 0;
    json_object_foreach(namespaces, ns, o)
        count += json_object_size(json_object_get(o, "classes"));
    if (!count || json_object_size(namespaces) > ARRAY_LEN(s->namespaces))
        return err_set(e, ERR_INTERNAL, "schema: no namespaces, or too many");
    if (!(s->classes = calloc(count, sizeof *s->classes)))
        return err_oom(e);
    json_object_foreach(namespaces, ns, o) {
        const char *base = json_string_value(json_object_get(o, "documentation"));
        char *copy = s->namespaces[s->n_namespaces++] = str_dup(ns);
        json_object_foreach(json_object_get(o, "classes"), name, v) {
            int r = class(s, copy, base ? base : "", name, v, e);
            if (r < 0)
                return r;
        }
    }
    for (size_t i = 0; i < s->n; i++) {
        int r = inherit(s, &s->classes[i], e);
        if (r < 0)
            return r;
    }
    /* keys name properties of the class or inherited ones; they count for all that derive */
    for (size_t i = 0; i < s->n; i++)
        for (const struct schema_class *up = &s->classes[i]; up; up = up->parent) {
            json_t *c = json_object_get(json_object_get(json_object_get(namespaces, up->ns), "classes"), up->name);
            int r = keys(&s->classes[i], json_string_value(json_object_get(c, "keys")), e);
            if (r < 0)
                return r;
        }
    return 0;
}

int schema_load(const char *text, size_t n, unsigned build, struct schema **ret, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(e, ERR_INTERNAL, "schema: line %d: %s", je.line, je.text);
    struct schema *s = calloc(1, sizeof *s);
    int r = s ? 0 : err_oom(e);
    if (s) {
        s->build = build;
        r = load(s, root, e);
    }
    json_decref(root);
    if (r < 0)
        schema_free(s);
    else
        *ret = s;
    return r;
}

void schema_free(struct schema *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        struct schema_class *c = &s->classes[i];
        for (size_t k = 0; k < c->n_methods; k++) {
            free(c->methods[k].name);
            free(c->methods[k].doc);
            layout_free(&c->methods[k].in);
            layout_free(&c->methods[k].out);
        }
        free(c->methods);
        layout_free(&c->layout);
        free(c->name);
        free(c->doc);
        free(c->parent_name);
    }
    free(s->classes);
    for (size_t i = 0; i < s->n_namespaces; i++)
        free(s->namespaces[i]);
    free(s);
}

unsigned schema_build(const struct schema *s)
{
    return s->build;
}

const char *schema_namespace(const struct schema *s, const char *ns)
{
    for (size_t i = 0; i < s->n_namespaces; i++)
        if (str_ieq(s->namespaces[i], ns))
            return s->namespaces[i];
    return NULL;
}

const struct schema_class *schema_class_any(const struct schema *s, const char *ns, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_ieq(s->classes[i].name, name) && str_ieq(s->classes[i].ns, ns))
            return &s->classes[i];
    return NULL;
}

const struct schema_class *schema_class(const struct schema *s, const char *ns, const char *name)
{
    const struct schema_class *c = schema_class_any(s, ns, name);
    return c && !c->newer ? c : NULL;
}

bool schema_isa(const struct schema_class *c, const char *base)
{
    for (; c; c = c->parent)
        if (str_ieq(c->name, base))
            return true;
    return false;
}

const struct schema_method *schema_method_any(const struct schema_class *c, const char *name)
{
    for (; c; c = c->parent)
        for (size_t i = 0; i < c->n_methods; i++)
            if (str_ieq(c->methods[i].name, name))
                return &c->methods[i];
    return NULL;
}

const struct schema_method *schema_method(const struct schema_class *c, const char *name)
{
    const struct schema_method *m = schema_method_any(c, name);
    return m && !m->newer ? m : NULL;
}

int schema_member_any(const struct schema_layout *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_ieq(l->at[i].name, name))
            return (int)i;
    return -1;
}

int schema_member(const struct schema_layout *l, const char *name)
{
    int at = schema_member_any(l, name);
    return at >= 0 && !l->at[at].newer ? at : -1;
}

size_t schema_count(const struct schema *s)
{
    return s->n;
}

const struct schema_class *schema_at(const struct schema *s, size_t i)
{
    return &s->classes[i];
}

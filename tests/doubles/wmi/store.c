/* What lies in the namespaces: instances, and the associations between them. */
#include <ctype.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

struct space *space_of(struct dbl *d, const char *ns)
{
    for (size_t i = 0; i < ARRAY_LEN(d->spaces); i++)
        if (d->spaces[i].name && str_ieq(d->spaces[i].name, ns))
            return &d->spaces[i];
    return NULL;
}

struct inst *inst_new(struct dbl *d, const char *ns, const char *class)
{
    const struct schema_class *c = schema_class_any(d->schema, ns, class);
    if (!c)
        abort();
    struct inst *i = x_calloc(1, sizeof *i);
    i->space = space_of(d, ns);
    i->o = obj_new(d, c);
    return i;
}

void inst_enter(struct dbl *d, struct inst *i)
{
    if (!(i->rel = path_of(i->o)))
        abort();
    __atomic_sub_fetch(&d->live_objects, 1, __ATOMIC_RELAXED);           /* only what callers hold counts */
    i->born = ++d->births;
    struct space *s = i->space;
    s->at = x_grow(s->at, s->n + 1, sizeof *s->at);
    s->at[s->n++] = i;
}

struct inst *inst_add(struct dbl *d, const char *ns, struct dobj *o)
{
    struct inst *i = x_calloc(1, sizeof *i);
    i->space = space_of(d, ns);
    i->o = o;
    inst_enter(d, i);
    return i;
}

static void link_clear(struct dbl *d, struct link *l)
{
    if (l->extra)
        __atomic_add_fetch(&d->live_objects, 1, __ATOMIC_RELAXED);
    obj_free(l->extra);
}

void link_remove(struct space *s, const char *class, const struct inst *a, const struct inst *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n_links; i++) {
        struct link *l = &s->links[i];
        if ((!class || schema_isa(l->class, class)) && (!a || l->a == a) && (!b || l->b == b))
            link_clear(l->a->o->d, l);
        else
            s->links[kept++] = *l;
    }
    s->n_links = kept;
}

void inst_remove(struct dbl *d, struct inst *i)
{
    struct space *s = i->space;
    link_remove(s, NULL, i, NULL);
    link_remove(s, NULL, NULL, i);
    for (size_t k = 0; k < s->n; k++)
        if (s->at[k] == i) {
            memmove(&s->at[k], &s->at[k + 1], (s->n - k - 1) * sizeof *s->at);
            s->n--;
            break;
        }
    __atomic_add_fetch(&d->live_objects, 1, __ATOMIC_RELAXED);
    obj_free(i->o);
    free(i->rel);
    free(i);
}

static bool key_is(const struct dobj *o, size_t member, const char *value)
{
    const struct wmi_value *v = &o->values[member];
    if (v->type == WMI_STRING || v->type == WMI_DATETIME || v->type == WMI_REFERENCE)
        return str_ieq(v->one.s, value);
    unsigned long long u;
    return v->type == WMI_BOOLEAN ? str_ieq(value, v->one.b ? "TRUE" : "FALSE") : str_to_u64(value, UINT64_MAX, &u) && u == v->one.u;
}

static bool matches(const struct inst *i, const struct path *p)
{
    if (!str_ieq(i->o->class->name, p->class))
        return false;
    size_t keys = 0;
    for (size_t k = 0; k < i->o->layout->n; k++) {
        if (!i->o->layout->at[k].key)
            continue;
        keys++;
        bool hit = false;
        for (size_t n = 0; n < p->n && !hit; n++)
            hit = (!p->key[n].name || str_ieq(p->key[n].name, i->o->layout->at[k].name)) && key_is(i->o, k, p->key[n].value);
        if (!hit)
            return false;
    }
    return keys == p->n;
}

struct inst *inst_find(struct dbl *d, struct space *s, const struct path *p)
{
    if (p->ns && !str_ieq(p->ns, s->name))
        return NULL;
    if (p->server && !str_ieq(p->server, d->host_name) && strcmp(p->server, ".") != 0)
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        if (matches(s->at[i], p))
            return s->at[i];
    return NULL;
}

struct inst *inst_by_path(struct dbl *d, const char *ns, const char *path)
{
    struct path p;
    if (!path || path_parse(path, &p))
        return NULL;
    struct inst *i = p.is_class ? NULL : inst_find(d, space_of(d, ns), &p);
    path_clear(&p);
    return i;
}

struct inst *inst_by_key(struct dbl *d, const char *ns, const char *class, const char *key, const char *value)
{
    struct space *s = space_of(d, ns);
    for (size_t i = 0; i < s->n; i++) {
        const struct dobj *o = s->at[i]->o;
        int at = schema_isa(o->class, class) ? schema_member_any(o->layout, key) : -1;
        if (at >= 0 && o->values[at].type != WMI_NULL && key_is(o, (size_t)at, value))
            return s->at[i];
    }
    return NULL;
}

/* The spelling of host and namespace differs from call to call, as it does between WMI's own functions. */
static void spell(struct dbl *d, const struct space *s, char **server, char **ns)
{
    *server = x_dup(d->host_name);
    *ns = x_dup(s->name);
    bool low_root = !d->o.shuffles || rnd(d, 2);
    for (char *p = *ns; *p && *p != '\\'; p++)
        *p = (char)(low_root ? tolower((unsigned char)*p) : toupper((unsigned char)*p));
    if (d->o.shuffles && rnd(d, 4) == 0)
        for (char *p = *server; *p; p++)
            *p = (char)tolower((unsigned char)*p);
}

char *inst_path(struct dbl *d, const struct inst *i)
{
    AUTO_FREE char *server = NULL, *ns = NULL;
    spell(d, i->space, &server, &ns);
    return x_printf("\\\\%s\\%s:%s", server, ns, i->rel);
}

struct dobj *inst_copy(struct dbl *d, const struct inst *i)
{
    struct dobj *o = obj_clone(i->o);
    o->rel = x_dup(i->rel);
    spell(d, i->space, &o->server, &o->ns);
    return o;
}

struct link *link_add(struct dbl *d, const char *ns, const char *class, const char *role_a, struct inst *a, const char *role_b, struct inst *b)
{
    const struct schema_class *c = schema_class_any(d->schema, ns, class);
    if (!c || schema_member_any(&c->layout, role_a) < 0 || schema_member_any(&c->layout, role_b) < 0)
        abort();
    struct space *s = space_of(d, ns);
    s->links = x_grow(s->links, s->n_links + 1, sizeof *s->links);
    struct link *l = &s->links[s->n_links++];
    *l = (struct link){.class = c, .a = a, .b = b, .role_a = role_a, .role_b = role_b, .foreign = a->foreign && b->foreign};
    return l;
}

struct inst *link_other(struct space *s, const char *class, const struct inst *i, size_t nth)
{
    for (size_t k = 0; k < s->n_links; k++) {
        const struct link *l = &s->links[k];
        if (!schema_isa(l->class, class) || (l->a != i && l->b != i))
            continue;
        if (nth-- == 0)
            return l->a == i ? l->b : l->a;
    }
    return NULL;
}

struct dobj *link_object(struct dbl *d, const struct space *s, const struct link *l)
{
    struct dobj *o = l->extra ? obj_clone(l->extra) : obj_new(d, l->class);
    AUTO_FREE char *a = inst_path(d, l->a), *b = inst_path(d, l->b);
    obj_set_str(o, l->role_a, a);
    obj_set_str(o, l->role_b, b);
    o->rel = path_of(o);
    spell(d, s, &o->server, &o->ns);
    return o;
}

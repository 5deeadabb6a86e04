/* Answers queries from the store. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

/* ---- SELECT ---- */

static bool is_text(const struct schema_member *m)
{
    return m->type == WMI_STRING || m->type == WMI_DATETIME || m->type == WMI_REFERENCE;
}

/* Every property that is named exists, is no array, and is compared with what it can be compared with. */
static bool expr_is_valid(const struct schema_class *c, const struct wql_expr *x)
{
    if (!x)
        return true;
    if (!x->property)
        return expr_is_valid(c, x->left) && expr_is_valid(c, x->right);
    if (str_ieq(x->property, "__CLASS") || x->op == WQL_ISA)
        return true;
    int at = schema_member(&c->layout, x->property);
    if (at < 0 || (c->layout.at[at].array && x->value) || c->layout.at[at].type == WMI_OBJECT)
        return false;
    const struct schema_member *m = &c->layout.at[at];
    unsigned long long u;
    if (!x->value)
        return true;
    if (x->op == WQL_LIKE)
        return is_text(m);
    if (m->type == WMI_BOOLEAN)
        return str_ieq(x->value, "TRUE") || str_ieq(x->value, "FALSE");
    if (is_text(m))
        return x->quoted;
    const char *digits = x->value[0] == '-' ? x->value + 1 : x->value;
    return str_to_u64(digits, UINT64_MAX, &u);
}

/* Notes what WHERE compares. */
static void note(struct dbl *d, const struct schema_class *c, const struct wql_expr *x)
{
    if (!x)
        return;
    if (x->property && !str_starts(x->property, "__")) {
        int at = schema_member_any(&c->layout, x->property);
        usage_add(d, "property", c->ns, c->name, at < 0 ? x->property : c->layout.at[at].name, at >= 0);
    }
    note(d, c, x->left);
    note(d, c, x->right);
}

static int compare(const struct schema_member *m, const struct wmi_value *v, const char *literal)
{
    if (is_text(m)) {
        char a, b;
        for (const char *s = v->one.s, *t = literal;; s++, t++) {
            a = *s >= 'A' && *s <= 'Z' ? (char)(*s + 32) : *s;
            b = *t >= 'A' && *t <= 'Z' ? (char)(*t + 32) : *t;
            if (a != b || !a)
                return (unsigned char)a - (unsigned char)b;
        }
    }
    if (m->type == WMI_BOOLEAN)
        return (int)v->one.b - (int)str_ieq(literal, "TRUE");
    bool is_signed = m->type == WMI_SINT8 || m->type == WMI_SINT16 || m->type == WMI_SINT32 || m->type == WMI_SINT64;
    if (is_signed || literal[0] == '-') {
        long long a = v->one.i, b = strtoll(literal, NULL, 10);
        return (a > b) - (a < b);
    }
    unsigned long long a = v->one.u, b = strtoull(literal, NULL, 10);
    return (a > b) - (a < b);
}

/* Three values: 1, 0, and -1 for unknown, as a comparison with NULL is. */
static int holds(const struct dobj *o, const struct wql_expr *x)
{
    if (!x)
        return 1;
    int l, r;
    switch (x->op) {
    case WQL_AND:
        l = holds(o, x->left);
        r = holds(o, x->right);
        return l == 0 || r == 0 ? 0 : l < 0 || r < 0 ? -1 : 1;
    case WQL_OR:
        l = holds(o, x->left);
        r = holds(o, x->right);
        return l == 1 || r == 1 ? 1 : l < 0 || r < 0 ? -1 : 0;
    case WQL_NOT:
        l = holds(o, x->left);
        return l < 0 ? -1 : !l;
    default:
        break;
    }
    if (str_ieq(x->property, "__CLASS"))
        return x->value && x->op == WQL_EQ ? str_ieq(o->class->name, x->value)
               : x->op == WQL_ISA          ? schema_isa(o->class, x->value)
                                           : x->value && !str_ieq(o->class->name, x->value);
    int at = schema_member(o->layout, x->property);
    const struct wmi_value *v = at < 0 ? NULL : &o->values[at];
    bool null = !v || v->type == WMI_NULL;
    if (x->op == WQL_IS_NULL || x->op == WQL_NOT_NULL)
        return null == (x->op == WQL_IS_NULL);
    if (null)
        return -1;
    const struct schema_member *m = &o->layout->at[at];
    if (x->op == WQL_LIKE)
        return wql_like(v->one.s, x->value);
    int cmp = compare(m, v, x->value);
    switch (x->op) {
    case WQL_EQ:
        return cmp == 0;
    case WQL_NE:
        return cmp != 0;
    case WQL_LT:
        return cmp < 0;
    case WQL_GT:
        return cmp > 0;
    case WQL_LE:
        return cmp <= 0;
    default:
        return cmp >= 0;
    }
}

static bool named(const struct wql *q, const char *name)
{
    for (size_t i = 0; i < q->n_columns; i++)
        if (str_ieq(q->columns[i], name))
            return true;
    return false;
}

/* What SELECT did not name is NULL; without its keys a row has no path. */
static void project(struct dobj *o, const struct wql *q)
{
    if (!q->columns)
        return;
    bool path = named(q, "__PATH") || named(q, "__RELPATH"), keys = true;
    for (size_t i = 0; i < o->layout->n; i++) {
        const struct schema_member *m = &o->layout->at[i];
        bool wanted = named(q, m->name) || (path && m->key);
        keys = keys && (wanted || !m->key);
        if (!wanted)
            wmi_value_clear(&o->values[i]);
    }
    if (!keys) {
        free(STEAL(o->rel));
        free(STEAL(o->server));
        free(STEAL(o->ns));
    }
}

struct rows {
    struct dobj **at;
    size_t n;
};

static void row(struct rows *r, struct dobj *o)
{
    r->at = x_grow(r->at, r->n + 1, sizeof *r->at);
    r->at[r->n++] = o;
}

static void shuffle(struct dbl *d, struct rows *r)
{
    for (size_t i = r->n; d->o.shuffles && i > 1; i--) {
        size_t k = rnd(d, (uint32_t)i);
        struct dobj *t = r->at[i - 1];
        r->at[i - 1] = r->at[k];
        r->at[k] = t;
    }
}

static bool visible(struct dbl *d, const struct link *l)
{
    return l->from_ms <= now_ms(d);
}

/* Classes of which a host may well have nothing at a moment: jobs, NATs, video heads of VMs that are off… */
static bool comes_and_goes(const char *class)
{
    static const char *const names[] = {"Msvm_ConcreteJob", "Msvm_StorageJob", "MSFT_NetNat", "Msvm_VirtualEthernetSwitch", "Msvm_VirtualEthernetSwitchSettingData",
                                        "Msvm_HeartbeatComponent", "Msvm_ShutdownComponent", "Msvm_VideoHead", "Msvm_Keyboard", "Msvm_SerialPortSettingData"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(names[i], class))
            return true;
    return false;
}

static uint32_t select_rows(struct dbl *d, struct space *s, const struct wql *q, struct rows *r)
{
    const struct schema_class *c = schema_class(d->schema, s->name, q->class);
    if (d->o.no_nat && str_ieq(q->class, "MSFT_NetNat"))
        return WMI_E_INVALID_CLASS;
    if (!c) {
        usage_add(d, "class", s->name, q->class, "", schema_class_any(d->schema, s->name, q->class) != NULL);
        return WMI_E_INVALID_CLASS;
    }
    usage_add(d, "class", s->name, c->name, "", true);
    for (size_t i = 0; i < q->n_columns; i++) {
        if (str_starts(q->columns[i], "__"))
            continue;
        int at = schema_member_any(&c->layout, q->columns[i]);
        usage_add(d, "property", s->name, c->name, at < 0 ? q->columns[i] : c->layout.at[at].name, at >= 0);
        if (schema_member(&c->layout, q->columns[i]) < 0)
            return WMI_E_INVALID_QUERY;
    }
    note(d, c, q->where);
    if (!expr_is_valid(c, q->where))
        return WMI_E_INVALID_QUERY;
    bool any = false;
    for (size_t i = 0; i < s->n; i++) {
        if (!schema_isa(s->at[i]->o->class, c->name) || s->at[i]->o->class->newer)
            continue;
        any = true;
        if (holds(s->at[i]->o, q->where) == 1) {
            struct dobj *o = inst_copy(d, s->at[i]);
            job_seen(d, s->at[i]);
            row(r, o);
        }
    }
    for (size_t i = 0; i < s->n_links; i++) {
        if (!schema_isa(s->links[i].class, c->name) || !visible(d, &s->links[i]))
            continue;
        any = true;
        struct dobj *o = link_object(d, s, &s->links[i]);
        if (holds(o, q->where) == 1)
            row(r, o);
        else
            obj_free(o);
    }
    if (!any && !comes_and_goes(c->name))
        host_unmodelled(d, "query of %s: %s", s->name, c->name);
    for (size_t i = 0; i < r->n; i++)
        project(r->at[i], q);
    return 0;
}

/* ---- ASSOCIATORS OF, REFERENCES OF ---- */

static bool class_fits(const struct schema_class *c, const char *name)
{
    return !name || schema_isa(c, name);
}

static bool role_fits(const char *role, const char *wanted)
{
    return !wanted || str_ieq(role, wanted);
}

static uint32_t associators(struct dbl *d, struct space *s, const struct wql *q, struct rows *r)
{
    struct path p;
    if (path_parse(q->of, &p))
        return WMI_E_INVALID_OBJECT_PATH;
    struct inst *of = p.is_class ? NULL : inst_find(d, s, &p);
    path_clear(&p);
    const char *classes[] = {q->assoc, q->result};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (!classes[i])
            continue;
        const struct schema_class *c = schema_class_any(d->schema, s->name, classes[i]);
        usage_add(d, "class", s->name, c ? c->name : classes[i], "", c != NULL);
        if (!schema_class(d->schema, s->name, classes[i]))
            return WMI_E_INVALID_CLASS;
    }
    if (!of)
        return WMI_E_NOT_FOUND;
    struct inst **seen = NULL;
    size_t n_seen = 0;
    for (size_t i = 0; i < s->n_links; i++) {
        const struct link *l = &s->links[i];
        if ((l->a != of && l->b != of) || !visible(d, l) || l->class->newer)
            continue;
        struct inst *other = l->a == of ? l->b : l->a;
        const char *mine = l->a == of ? l->role_a : l->role_b, *its = l->a == of ? l->role_b : l->role_a;
        if (q->references) {
            if (class_fits(l->class, q->result) && role_fits(mine, q->role))
                row(r, link_object(d, s, l));
            continue;
        }
        if (!class_fits(l->class, q->assoc) || !class_fits(other->o->class, q->result) || !role_fits(mine, q->role) || !role_fits(its, q->result_role))
            continue;
        bool twice = other->o->class->newer;
        for (size_t k = 0; k < n_seen; k++)
            twice = twice || seen[k] == other;
        if (twice)
            continue;
        seen = x_grow(seen, n_seen + 1, sizeof *seen);
        seen[n_seen++] = other;
        row(r, inst_copy(d, other));
    }
    free(seen);
    return 0;
}

uint32_t query_run(struct dbl *d, struct space *s, const struct wql *q, struct dobj ***ret, size_t *ret_n)
{
    struct rows r = {0};
    uint32_t h = q->class ? select_rows(d, s, q, &r) : associators(d, s, q, &r);
    if (h || (d->o.no_rights && str_ieq(s->name, WMI_NS_HYPERV))) {      /* no rights: nothing there, and no error */
        for (size_t i = 0; i < r.n; i++)
            obj_free(r.at[i]);
        free(r.at);
        r = (struct rows){0};
    }
    shuffle(d, &r);
    *ret = r.at;
    *ret_n = r.n;
    return h;
}

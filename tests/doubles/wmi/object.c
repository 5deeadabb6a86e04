/* Instances, class definitions and parameters, and their text form. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

/* ---- memory ---- */

void *x_calloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        abort();
    return p;
}

void *x_grow(void *p, size_t n, size_t size)
{
    void *q = n <= SIZE_MAX / size ? realloc(p, (n ? n : 1) * size) : NULL;
    if (!q)
        abort();
    return q;
}

char *x_dup(const char *s)
{
    char *c = str_dup(s);
    if (s && !c)
        abort();
    return c;
}

char *x_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = str_vprintf(fmt, ap);
    va_end(ap);
    if (!s)
        abort();
    return s;
}

/* ---- life ---- */

static struct dobj *make(struct dbl *d, const struct schema_layout *l)
{
    struct dobj *o = x_calloc(1, sizeof *o);
    o->base.ops = &dbl_wmi_ops;
    o->d = d;
    o->layout = l;
    o->values = x_calloc(l->n, sizeof *o->values);
    __atomic_add_fetch(&d->live_objects, 1, __ATOMIC_RELAXED);
    return o;
}

struct dobj *obj_new(struct dbl *d, const struct schema_class *c)
{
    struct dobj *o = make(d, &c->layout);
    o->class = c;
    return o;
}

struct dobj *obj_params(struct dbl *d, const struct schema_class *owner, const struct schema_method *m, bool out)
{
    struct dobj *o = make(d, out ? &m->out : &m->in);
    o->owner = owner;
    o->method = m;
    return o;
}

struct dobj *obj_clone(const struct dobj *from)
{
    struct dobj *o = make(from->d, from->layout);
    o->class = from->class;
    o->owner = from->owner;
    o->method = from->method;
    o->definition = from->definition;
    o->rel = x_dup(from->rel);
    o->server = x_dup(from->server);
    o->ns = x_dup(from->ns);
    struct err e;
    for (size_t i = 0; i < o->layout->n; i++)
        if (wmi_value_copy(&from->values[i], &o->values[i], &e) < 0)
            abort();
    return o;
}

void obj_free(struct dobj *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->layout->n; i++)
        wmi_value_clear(&o->values[i]);
    __atomic_sub_fetch(&o->d->live_objects, 1, __ATOMIC_RELAXED);
    free(o->values);
    free(o->rel);
    free(o->server);
    free(o->ns);
    free(o);
}

/* ---- values by name ---- */

/* -1: this version does not have it. */
static int index_of(const struct dobj *o, const char *name)
{
    int at = schema_member_any(o->layout, name);
    if (at < 0) {
        fprintf(stderr, "double: %s has no %s in any version\n", o->class ? o->class->name : o->method->name, name);
        abort();
    }
    return o->layout->at[at].newer ? -1 : at;
}

const struct wmi_value *obj_get(const struct dobj *o, const char *name)
{
    static const struct wmi_value nothing;
    int at = index_of(o, name);
    return at < 0 ? &nothing : &o->values[at];
}

bool obj_has(const struct dobj *o, const char *name)
{
    return obj_get(o, name)->type != WMI_NULL;
}

static bool is_text(enum wmi_type t)
{
    return t == WMI_STRING || t == WMI_DATETIME || t == WMI_REFERENCE;
}

static bool is_signed(enum wmi_type t)
{
    return t == WMI_SINT8 || t == WMI_SINT16 || t == WMI_SINT32 || t == WMI_SINT64;
}

static bool is_number(enum wmi_type t)
{
    return is_signed(t) || t == WMI_UINT8 || t == WMI_UINT16 || t == WMI_UINT32 || t == WMI_UINT64 || t == WMI_CHAR16;
}

const char *obj_str(const struct dobj *o, const char *name)
{
    const struct wmi_value *v = obj_get(o, name);
    return !v->array && is_text(v->type) ? v->one.s : NULL;
}

uint64_t obj_uint(const struct dobj *o, const char *name, uint64_t def)
{
    const struct wmi_value *v = obj_get(o, name);
    return !v->array && is_number(v->type) ? v->one.u : def;
}

bool obj_bool(const struct dobj *o, const char *name, bool def)
{
    const struct wmi_value *v = obj_get(o, name);
    return !v->array && v->type == WMI_BOOLEAN ? v->one.b : def;
}

size_t obj_n(const struct dobj *o, const char *name)
{
    const struct wmi_value *v = obj_get(o, name);
    return v->array ? v->n : 0;
}

const char *obj_str_at(const struct dobj *o, const char *name, size_t i)
{
    const struct wmi_value *v = obj_get(o, name);
    return v->array && is_text(v->type) && i < v->n ? v->items[i].s : NULL;
}

uint64_t obj_uint_at(const struct dobj *o, const char *name, size_t i, uint64_t def)
{
    const struct wmi_value *v = obj_get(o, name);
    if (!v->array || i >= v->n)
        return def;
    return v->type == WMI_UINT8 ? v->bytes[i] : is_number(v->type) ? v->items[i].u : def;
}

/* ---- putting ---- */

static const struct { uint64_t max; int64_t min; } range[] = {
    [WMI_SINT8] = {INT8_MAX, INT8_MIN},    [WMI_UINT8] = {UINT8_MAX, 0},   [WMI_SINT16] = {INT16_MAX, INT16_MIN}, [WMI_UINT16] = {UINT16_MAX, 0},
    [WMI_SINT32] = {INT32_MAX, INT32_MIN}, [WMI_UINT32] = {UINT32_MAX, 0}, [WMI_SINT64] = {INT64_MAX, INT64_MIN}, [WMI_UINT64] = {UINT64_MAX, 0},
    [WMI_CHAR16] = {UINT16_MAX, 0},
};

static bool fits(enum wmi_type to, enum wmi_type from, const union wmi_item *item)
{
    if (is_signed(from) && item->i < 0)
        return item->i >= range[to].min;
    return item->u <= range[to].max;
}

/* One element, as WMI would take it: false for a type that it does not. */
static bool convert(enum wmi_type to, enum wmi_type from, const union wmi_item *item, union wmi_item *ret)
{
    *ret = *item;
    if (is_number(to) && is_number(from))
        return fits(to, from, item);
    if (is_text(to) && is_text(from)) {
        ret->s = x_dup(item->s);
        return true;
    }
    if (to == WMI_OBJECT && from == WMI_OBJECT) {
        ret->o = &obj_clone((const struct dobj *)item->o)->base;
        return true;
    }
    return to == from;
}

uint32_t obj_put(struct dobj *o, int member, const struct wmi_value *v)
{
    const struct schema_member *m = &o->layout->at[member];
    struct wmi_value c = {.type = v->type == WMI_NULL ? WMI_NULL : m->type};
    bool ok = true;
    if (v->type != WMI_NULL) {
        if (v->array != m->array)
            return WMI_E_TYPE_MISMATCH;
        c.array = v->array;
        if (!v->array) {
            ok = convert(m->type, v->type, &v->one, &c.one);
        } else {
            bool bytes = m->type == WMI_UINT8;
            if (bytes)
                c.bytes = x_calloc(v->n + 1, 1);
            else
                c.items = x_calloc(v->n + 1, sizeof *c.items);
            for (; ok && c.n < v->n; c.n += ok) {
                union wmi_item from = {0}, to;
                if (v->type == WMI_UINT8)
                    from.u = v->bytes[c.n];
                else
                    from = v->items[c.n];
                if ((ok = convert(m->type, v->type, &from, &to)) && bytes)
                    c.bytes[c.n] = (uint8_t)to.u;
                else if (ok)
                    c.items[c.n] = to;
            }
        }
    }
    if (!ok) {
        if (c.array)
            wmi_value_clear(&c);
        return WMI_E_TYPE_MISMATCH;
    }
    wmi_value_clear(&o->values[member]);
    o->values[member] = c;
    return 0;
}

void obj_set(struct dobj *o, const char *name, const struct wmi_value *v)
{
    int at = index_of(o, name);
    if (at >= 0 && obj_put(o, at, v)) {
        fprintf(stderr, "double: %s of %s does not take that\n", name, o->class ? o->class->name : o->method->name);
        abort();
    }
}

void obj_unset(struct dobj *o, const char *name)
{
    obj_set(o, name, &(struct wmi_value){0});
}

void obj_set_str(struct dobj *o, const char *name, const char *s)
{
    AUTO_FREE char *copy = x_dup(s);
    struct wmi_value v = {.type = s ? WMI_STRING : WMI_NULL};
    if (s)
        v.one.s = copy;
    obj_set(o, name, &v);
}

void obj_set_uint(struct dobj *o, const char *name, uint64_t u)
{
    obj_set(o, name, &(struct wmi_value){.type = WMI_UINT64, .one.u = u});
}

void obj_set_bool(struct dobj *o, const char *name, bool b)
{
    obj_set(o, name, &(struct wmi_value){.type = WMI_BOOLEAN, .one.b = b});
}

void obj_set_strs(struct dobj *o, const char *name, const char *const *list, size_t n)
{
    struct wmi_value v = {.type = WMI_STRING, .array = true, .n = n, .items = x_calloc(n, sizeof *v.items)};
    for (size_t i = 0; i < n; i++)
        v.items[i].s = x_dup(list[i]);
    obj_set(o, name, &v);
    wmi_value_clear(&v);
}

void obj_set_uints(struct dobj *o, const char *name, const uint64_t *list, size_t n)
{
    struct wmi_value v = {.type = WMI_UINT64, .array = true, .n = n, .items = x_calloc(n, sizeof *v.items)};
    for (size_t i = 0; i < n; i++)
        v.items[i].u = list[i];
    obj_set(o, name, &v);
    wmi_value_clear(&v);
}

void obj_set_bytes(struct dobj *o, const char *name, const uint8_t *bytes, size_t n)
{
    struct wmi_value v = {.type = WMI_UINT8, .array = true, .n = n, .bytes = x_calloc(n + 1, 1)};
    if (n)
        memcpy(v.bytes, bytes, n);
    obj_set(o, name, &v);
    wmi_value_clear(&v);
}

void obj_set_objs(struct dobj *o, const char *name, struct dobj **list, size_t n)
{
    struct wmi_value v = {.type = WMI_OBJECT, .array = true, .n = n, .items = x_calloc(n, sizeof *v.items)};
    for (size_t i = 0; i < n; i++)
        v.items[i].o = &list[i]->base;
    obj_set(o, name, &v);
    wmi_value_clear(&v);
}

void obj_set_obj(struct dobj *o, const char *name, struct dobj *embedded)
{
    struct wmi_value v = {.type = WMI_OBJECT, .one.o = &embedded->base};
    obj_set(o, name, &v);
    wmi_value_clear(&v);
}

/* ---- text ---- */

static void add_escaped(struct strbuf *b, const char *s)
{
    for (; *s; s++) {
        const char *r = *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '"' ? "&quot;" : *s == '\'' ? "&apos;" : NULL;
        if (r)
            strbuf_adds(b, r);
        else if ((unsigned char)*s < 0x20)
            strbuf_addf(b, "&#%d;", *s);
        else
            strbuf_add(b, s, 1);
    }
}

static void add_value(struct strbuf *b, enum wmi_type t, const union wmi_item *item)
{
    if (is_text(t))
        add_escaped(b, item->s);
    else if (t == WMI_BOOLEAN)
        strbuf_adds(b, item->b ? "TRUE" : "FALSE");
    else if (is_signed(t))
        strbuf_addf(b, "%lld", (long long)item->i);
    else
        strbuf_addf(b, "%llu", (unsigned long long)item->u);
}

static void add_instance(struct strbuf *b, const struct dobj *o)
{
    strbuf_addf(b, "<INSTANCE CLASSNAME=\"%s\">", o->class ? o->class->name : "__PARAMETERS");
    for (size_t i = 0; i < o->layout->n; i++) {
        const struct schema_member *m = &o->layout->at[i];
        const struct wmi_value *v = &o->values[i];
        if (v->type == WMI_NULL)
            continue;
        bool ref = m->type == WMI_REFERENCE, object = m->type == WMI_OBJECT;
        const char *element = v->array ? "PROPERTY.ARRAY" : ref ? "PROPERTY.REFERENCE" : object ? "PROPERTY.OBJECT" : "PROPERTY";
        strbuf_addf(b, "<%s NAME=\"%s\" %s=\"%s\">", element, m->name, ref && !v->array ? "REFERENCECLASS" : "TYPE",
                    ref && !v->array ? (m->of ? m->of : "") : wmi_type_name(m->type));
        if (v->array)
            strbuf_adds(b, "<VALUE.ARRAY>");
        for (size_t k = 0; k < (v->array ? v->n : 1); k++) {
            union wmi_item byte = {.u = v->array && v->type == WMI_UINT8 ? v->bytes[k] : 0};
            const union wmi_item *item = !v->array ? &v->one : v->type == WMI_UINT8 ? &byte : &v->items[k];
            const char *inner = ref && !v->array ? "VALUE.REFERENCE" : object ? "VALUE.OBJECT" : "VALUE";
            strbuf_addf(b, "<%s>", inner);
            if (object)
                add_instance(b, (const struct dobj *)item->o);
            else
                add_value(b, v->type, item);
            strbuf_addf(b, "</%s>", inner);
        }
        if (v->array)
            strbuf_adds(b, "</VALUE.ARRAY>");
        strbuf_addf(b, "</%s>", element);
    }
    strbuf_adds(b, "</INSTANCE>");
}

char *obj_text(const struct dobj *o)
{
    struct strbuf b = {.max = WMI_TEXT_MAX};
    add_instance(&b, o);
    char *s = strbuf_steal(&b);
    if (!s)
        abort();
    return s;
}

/* ---- reading text: the elements of DSP0201 2.0 that an instance has, in the CIM and the WMI DTD. Qualifiers are skipped. ---- */

struct xml {
    const char *p;
    char name[64];                                     /* of the tag that was read last */
    bool closes, empty;
    char attr_name[256], attr_type[64];                /* NAME or CLASSNAME, TYPE */
};

static bool entity(struct strbuf *b, const char **p)
{
    static const struct { const char *name; char c; } names[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}};
    const char *s = *p + 1;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_starts(s, names[i].name)) {
            strbuf_add(b, &names[i].c, 1);
            *p = s + strlen(names[i].name);
            return true;
        }
    if (*s != '#')
        return false;
    bool hex = s[1] == 'x';
    char *end;
    unsigned long u = strtoul(s + (hex ? 2 : 1), &end, hex ? 16 : 10);
    if (*end != ';' || u == 0 || u > 0x10FFFF)
        return false;
    char utf[5] = {0};
    if (u < 0x80) {
        utf[0] = (char)u;
    } else if (u < 0x800) {
        utf[0] = (char)(0xC0 | (u >> 6));
        utf[1] = (char)(0x80 | (u & 63));
    } else if (u < 0x10000) {
        utf[0] = (char)(0xE0 | (u >> 12));
        utf[1] = (char)(0x80 | ((u >> 6) & 63));
        utf[2] = (char)(0x80 | (u & 63));
    } else {
        utf[0] = (char)(0xF0 | (u >> 18));
        utf[1] = (char)(0x80 | ((u >> 12) & 63));
        utf[2] = (char)(0x80 | ((u >> 6) & 63));
        utf[3] = (char)(0x80 | (u & 63));
    }
    strbuf_adds(b, utf);
    *p = end + 1;
    return true;
}

/* Text up to the next tag, decoded. */
static bool xml_text(struct xml *x, struct strbuf *b)
{
    while (*x->p && *x->p != '<')
        if (*x->p == '&') {
            if (!entity(b, &x->p))
                return false;
        } else {
            strbuf_add(b, x->p++, 1);
        }
    return *x->p == '<';
}

static void blanks(struct xml *x)
{
    while (isspace((unsigned char)*x->p))
        x->p++;
}

/* The next tag; text before it must be blank. */
static bool xml_tag(struct xml *x)
{
    blanks(x);
    if (*x->p++ != '<')
        return false;
    x->closes = *x->p == '/';
    x->p += x->closes;
    size_t n = strcspn(x->p, " \t\r\n/>");
    if (n == 0 || n >= sizeof x->name)
        return false;
    memcpy(x->name, x->p, n);
    x->name[n] = 0;
    x->p += n;
    x->attr_name[0] = x->attr_type[0] = 0;
    x->empty = false;
    for (;;) {
        blanks(x);
        if (*x->p == '>') {
            x->p++;
            return true;
        }
        if (x->p[0] == '/' && x->p[1] == '>') {
            x->p += 2;
            x->empty = true;
            return true;
        }
        n = strcspn(x->p, "= \t\r\n/>");
        const char *attribute = x->p, *eq = x->p + n;
        if (n == 0 || eq[0] != '=' || (eq[1] != '"' && eq[1] != '\''))
            return false;
        const char *end = strchr(eq + 2, eq[1]);
        if (!end)
            return false;
        struct strbuf value = {.max = 4096};
        x->p = eq + 2;
        bool ok = true;
        while (ok && x->p < end)
            if (*x->p == '&')
                ok = entity(&value, &x->p);
            else
                strbuf_add(&value, x->p++, 1);
        x->p = end + 1;
        const char *v = value.data ? value.data : "";
        if ((n == 4 && !strncmp(attribute, "NAME", 4)) || (n == 9 && !strncmp(attribute, "CLASSNAME", 9)))
            snprintf(x->attr_name, sizeof x->attr_name, "%s", v);
        else if (n == 4 && !strncmp(attribute, "TYPE", 4))
            snprintf(x->attr_type, sizeof x->attr_type, "%s", v);
        strbuf_free(&value);
        if (!ok)
            return false;
    }
}

/* Skips an element whose opening tag was just read. */
static bool xml_skip(struct xml *x)
{
    unsigned depth = x->empty ? 0 : 1;
    while (depth) {
        while (*x->p && *x->p != '<')
            x->p++;
        if (!*x->p || !xml_tag(x))
            return false;
        depth += x->closes ? -1u : !x->empty;
    }
    return true;
}

static bool parse_item(enum wmi_type t, const char *s, union wmi_item *ret)
{
    char *end = NULL;
    if (is_text(t)) {
        ret->s = x_dup(s);
        return true;
    }
    if (t == WMI_BOOLEAN) {
        ret->b = str_ieq(s, "TRUE");
        return ret->b || str_ieq(s, "FALSE");
    }
    if (!is_number(t) || !*s || isspace((unsigned char)*s))
        return false;
    if (*s == '-')
        ret->i = strtoll(s, &end, 10);
    else
        ret->u = strtoull(s, &end, 10);
    return !*end && fits(t, *s == '-' ? WMI_SINT64 : WMI_UINT64, ret);
}

static bool is_value(const char *name)
{
    return !strcmp(name, "VALUE") || !strcmp(name, "VALUE.REFERENCE");
}

/* Behind <PROPERTY…>: its value, if there is one, up to and with the closing tag. */
static bool parse_property(struct xml *x, struct dobj *o, int at, const char *element)
{
    const struct schema_member *m = &o->layout->at[at];
    struct wmi_value v = {.type = m->type, .array = m->array};
    bool array = false, any = false, ok = true;
    size_t room = 0;
    while (ok && (ok = xml_tag(x)) && !(x->closes && !strcmp(x->name, element))) {
        if (x->closes)
            ok = array && !strcmp(x->name, "VALUE.ARRAY");
        else if (!strcmp(x->name, "QUALIFIER"))
            ok = xml_skip(x);
        else if (!strcmp(x->name, "VALUE.ARRAY"))
            ok = any = array = m->array && !array;
        else if (is_value(x->name) && m->type != WMI_OBJECT) {
            char tag[64];
            snprintf(tag, sizeof tag, "%s", x->name);
            AUTO_STRBUF struct strbuf text = {.max = WMI_TEXT_MAX};
            ok = m->array == array && (array || !any) && (x->empty || (xml_text(x, &text) && xml_tag(x) && x->closes && !strcmp(x->name, tag)));
            union wmi_item item;
            if (!ok || !(ok = parse_item(m->type, text.data ? text.data : "", &item)))
                break;
            any = true;
            if (!array) {
                v.one = item;
            } else if (m->type == WMI_UINT8) {
                if (v.n == room)
                    v.bytes = x_grow(v.bytes, room = room * 2 + 16, 1);
                v.bytes[v.n++] = (uint8_t)item.u;
            } else {
                if (v.n == room)
                    v.items = x_grow(v.items, room = room * 2 + 16, sizeof *v.items);
                v.items[v.n++] = item;
            }
        } else {
            ok = false;
        }
    }
    if (ok && any) {
        if (v.array && !v.items)
            v.items = x_calloc(1, sizeof *v.items);    /* the same pointer as bytes */
        wmi_value_clear(&o->values[at]);
        o->values[at] = v;
    } else if (any || v.array) {
        wmi_value_clear(&v);
    }
    return ok;
}

static struct dobj *refuse(struct dobj *o, char **why, char *text)
{
    obj_free(o);
    *why = text;
    return NULL;
}

struct dobj *obj_parse(struct dbl *d, const char *ns, const char *text, char **why)
{
    struct xml x = {.p = text};
    if (!xml_tag(&x) || x.closes || strcmp(x.name, "INSTANCE") != 0)
        return refuse(NULL, why, x_printf("no INSTANCE element: %.60s", text));
    const struct schema_class *c = schema_class(d->schema, ns, x.attr_name);
    if (!c)
        return refuse(NULL, why, x_printf("there is no class %s", x.attr_name));
    struct dobj *o = obj_new(d, c);
    bool ok = true, done = x.empty;
    while (ok && !done && (ok = xml_tag(&x))) {
        if (x.closes) {
            ok = done = !strcmp(x.name, "INSTANCE");
        } else if (str_starts(x.name, "PROPERTY")) {
            char element[64];
            snprintf(element, sizeof element, "%s", x.name);
            int at = schema_member(&c->layout, x.attr_name);
            if (at < 0)
                return refuse(o, why, x_printf("%s has no property %s", c->name, x.attr_name));
            const struct schema_member *m = &c->layout.at[at];
            bool array = !strcmp(element, "PROPERTY.ARRAY");
            if (array != m->array || (x.attr_type[0] && !str_ieq(x.attr_type, wmi_type_name(m->type))))
                return refuse(o, why, x_printf("%s of %s is %s%s, not %s%s", m->name, c->name, wmi_type_name(m->type), m->array ? " []" : "",
                                               x.attr_type, array ? " []" : ""));
            if (!x.empty && !(ok = parse_property(&x, o, at, element)))
                return refuse(o, why, x_printf("the value of %s cannot be read", m->name));
        } else {
            ok = !strcmp(x.name, "QUALIFIER") && xml_skip(&x);
        }
    }
    blanks(&x);
    return ok && done && !*x.p ? o : refuse(o, why, x_dup("the text is not one well-formed INSTANCE"));
}

struct dobj *obj_settings(struct dbl *d, const char *text, const char *class)
{
    AUTO_FREE char *why = NULL;
    struct dobj *o = text ? obj_parse(d, WMI_NS_HYPERV, text, &why) : NULL;
    if (!o || schema_isa(o->class, class))
        return o;
    obj_free(o);
    return NULL;
}

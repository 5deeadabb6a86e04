/* Callers' side of the seam: when RPC fails, the connection is made anew; what only reads is then done again, what changes is reported. Typed
 * access to properties. */
#include "common/wmi/wmi.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

void wmi_set_trace(struct wmi *wmi, wmi_trace_fn *fn, void *arg)
{
    wmi->trace = fn;
    wmi->trace_arg = arg;
}

static void trace(const struct wmi *wmi, const char *kind, const char *target, const char *method, int64_t began_us, int r, const struct err *e,
                  const struct wmi_object *out)
{
    if (!wmi->trace)
        return;
    uint32_t hresult = r < 0 ? wmi_hresult(e) : 0;
    struct wmi_call c = {.ns = wmi->ns, .kind = kind, .target = target, .method = method, .hresult = r < 0 && !hresult ? WMI_E_FAILED : hresult,
                         .return_value = -1, .took_us = clock_mono_ms() * 1000 - began_us};
    if (out)
        c.return_value = (int64_t)wmi_uint(out, "ReturnValue", UINT64_MAX);
    wmi->trace(wmi->trace_arg, &c);
}

int wmi_open(const struct wmi_ops *ops, void *arg, const char *ns, const struct wmi_wait *w, struct wmi **ret, struct err *e)
{
    struct wmi *wmi = NULL;
    if (strlen(ns) >= sizeof wmi->ns)
        return err_set(e, ERR_INTERNAL, "the WMI namespace %s has too long a name", ns);
    int r = ops->open(arg, ns, w, &wmi, e);
    if (r < 0)
        return r;
    wmi->ops = ops;
    snprintf(wmi->ns, sizeof wmi->ns, "%s", ns);
    *ret = wmi;
    return 0;
}

void wmi_close(struct wmi *wmi)
{
    if (wmi)
        wmi->ops->close(wmi);
}

bool wmi_was_cut_off(const struct err *e)
{
    static const uint32_t broken[] = {WMI_E_RPC_UNAVAILABLE, WMI_E_RPC_FAILED, WMI_E_RPC_NOT_DONE, WMI_E_SERVER_DIED, WMI_E_SERVER_DIED_BEFORE,
                                      WMI_E_DISCONNECTED, WMI_E_NOT_CONNECTED, WMI_E_TRANSPORT_FAILURE};
    uint32_t h = wmi_hresult(e);
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        if (h == broken[i])
            return true;
    return false;
}

/* One call as data, so that repeating is written once. */
struct call {
    const char *kind, *target, *method;
    struct wmi_object *in;
    size_t max;
    enum wmi_put how;
    struct wmi_rows *ret_rows;
    struct wmi_object **ret_object;
    int (*fn)(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e);
};

static int once(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    int64_t began = clock_mono_ms() * 1000;
    if (c->ret_object)
        *c->ret_object = NULL;
    int r = c->fn(wmi, c, w, e);
    if (r == -ERR_TIMEOUT)
        wmi_no_answer(e, wmi->ns);
    trace(wmi, c->kind, c->target, c->method, began, r, e, c->method && r == 0 && !strcmp(c->kind, "exec") ? *c->ret_object : NULL);
    return r;
}

static int call(struct wmi *wmi, const struct call *c, bool repeat, const struct wmi_wait *w, struct err *e)
{
    unsigned seen = __atomic_load_n(&wmi->connection, __ATOMIC_ACQUIRE);
    int r = once(wmi, c, w, e);
    if (r == 0 || !wmi_was_cut_off(e))
        return r;
    struct err why;
    int64_t began = clock_mono_ms() * 1000;
    int again = wmi->ops->reconnect(wmi, seen, w, &why);
    trace(wmi, "reconnect", wmi->ns, NULL, began, again, &why, NULL);
    return repeat && again == 0 ? once(wmi, c, w, e) : r;
}

static int do_query(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->query(wmi, c->target, c->max, w, c->ret_rows, e);
}

static int do_get(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->get(wmi, c->target, w, c->ret_object, e);
}

static int do_spawn(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->spawn(wmi, c->target, w, c->ret_object, e);
}

static int do_method(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->method(wmi, c->target, c->method, w, c->ret_object, e);
}

static int do_exec(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->exec(wmi, c->target, c->method, c->in, w, c->ret_object, e);
}

static int do_put(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->put_instance(wmi, c->in, c->how, w, e);
}

static int do_delete(struct wmi *wmi, const struct call *c, const struct wmi_wait *w, struct err *e)
{
    return wmi->ops->delete_instance(wmi, c->target, w, e);
}

int wmi_query(struct wmi *wmi, const char *wql, size_t max, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e)
{
    struct call c = {.kind = "query", .target = wql, .max = max, .ret_rows = ret, .fn = do_query};
    return call(wmi, &c, true, w, e);
}

int wmi_query_one(struct wmi *wmi, const char *wql, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = wmi_query(wmi, wql, WMI_ROWS_MAX, w, &rows, e);
    if (r < 0)
        return r;
    if (rows.n == 0)
        r = err_set(e, ERR_NOT_FOUND, "WMI finds nothing for %.300s", wql);
    else
        *ret = STEAL(rows.at[0]);
    wmi_rows_clear(&rows);
    return r;
}

int wmi_get(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct call c = {.kind = "get", .target = path, .ret_object = ret, .fn = do_get};
    return call(wmi, &c, true, w, e);
}

int wmi_spawn(struct wmi *wmi, const char *class_name, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct call c = {.kind = "spawn", .target = class_name, .ret_object = ret, .fn = do_spawn};
    return call(wmi, &c, true, w, e);
}

int wmi_method(struct wmi *wmi, const char *class_name, const char *method, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct call c = {.kind = "method", .target = class_name, .method = method, .ret_object = ret, .fn = do_method};
    return call(wmi, &c, true, w, e);
}

static int exec(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, bool repeat, const struct wmi_wait *w,
                struct wmi_object **ret, struct err *e)
{
    struct wmi_object *out = NULL;
    struct call c = {.kind = "exec", .target = path, .method = method, .in = in, .ret_object = &out, .fn = do_exec};
    int r = call(wmi, &c, repeat, w, e);
    if (r == 0 && ret)
        *ret = STEAL(out);
    wmi_object_free(out);
    return r;
}

int wmi_exec(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, const struct wmi_wait *w, struct wmi_object **ret,
             struct err *e)
{
    return exec(wmi, path, method, in, false, w, ret, e);
}

int wmi_exec_read(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, const struct wmi_wait *w, struct wmi_object **ret,
                  struct err *e)
{
    return exec(wmi, path, method, in, true, w, ret, e);
}

int wmi_put_instance(struct wmi *wmi, struct wmi_object *o, enum wmi_put how, const struct wmi_wait *w, struct err *e)
{
    AUTO_FREE char *class_name = wmi_str(o, "__CLASS");
    struct call c = {.kind = "put", .target = class_name ? class_name : "", .in = o, .how = how, .fn = do_put};
    return call(wmi, &c, false, w, e);
}

int wmi_delete_instance(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct err *e)
{
    struct call c = {.kind = "delete", .target = path, .fn = do_delete};
    return call(wmi, &c, false, w, e);
}

/* ---- objects ---- */

void wmi_object_free(struct wmi_object *o)
{
    if (o)
        o->ops->object_free(o);
}

void wmi_rows_clear(struct wmi_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        wmi_object_free(rows->at[i]);
    free(rows->at);
    *rows = (struct wmi_rows){0};
}

int wmi_clone(const struct wmi_object *o, struct wmi_object **ret, struct err *e)
{
    return o->ops->object_clone(o, ret, e);
}

bool wmi_has(const struct wmi_object *o, const char *name)
{
    struct wmi_property p;
    struct err ignored;
    return o->ops->property(o, name, &p, &ignored) == 0;
}

int wmi_get_value(const struct wmi_object *o, const char *name, struct wmi_value *ret, struct err *e)
{
    return o->ops->get_value(o, name, ret, e);
}

int wmi_put_value(struct wmi_object *o, const char *name, const struct wmi_value *v, struct err *e)
{
    return o->ops->put_value(o, name, v, e);
}

int wmi_text(const struct wmi_object *o, char **ret, struct err *e)
{
    return o->ops->text(o, ret, e);
}

/* ---- values ---- */

const char *wmi_type_name(enum wmi_type t)
{
    static const char *const names[] = {
        [WMI_NULL] = "null",     [WMI_BOOLEAN] = "boolean", [WMI_SINT8] = "sint8",   [WMI_UINT8] = "uint8",       [WMI_SINT16] = "sint16",
        [WMI_UINT16] = "uint16", [WMI_SINT32] = "sint32",   [WMI_UINT32] = "uint32", [WMI_SINT64] = "sint64",     [WMI_UINT64] = "uint64",
        [WMI_CHAR16] = "char16", [WMI_STRING] = "string",   [WMI_DATETIME] = "datetime", [WMI_REFERENCE] = "reference", [WMI_OBJECT] = "object"};
    return (size_t)t < ARRAY_LEN(names) ? names[t] : "null";
}

static bool is_text(enum wmi_type t)
{
    return t == WMI_STRING || t == WMI_DATETIME || t == WMI_REFERENCE;
}

static bool is_signed(enum wmi_type t)
{
    return t == WMI_SINT8 || t == WMI_SINT16 || t == WMI_SINT32 || t == WMI_SINT64;
}

static bool is_unsigned(enum wmi_type t)
{
    return t == WMI_UINT8 || t == WMI_UINT16 || t == WMI_UINT32 || t == WMI_UINT64 || t == WMI_CHAR16;
}

static void item_clear(enum wmi_type type, union wmi_item *item)
{
    if (is_text(type))
        free(item->s);
    else if (type == WMI_OBJECT)
        wmi_object_free(item->o);
}

void wmi_value_clear(struct wmi_value *v)
{
    if (v->array && v->type == WMI_UINT8) {
        free(v->bytes);
    } else if (v->array) {
        for (size_t i = 0; i < v->n; i++)
            item_clear(v->type, &v->items[i]);
        free(v->items);
    } else {
        item_clear(v->type, &v->one);
    }
    memset(v, 0, sizeof *v);
}

static int item_copy(enum wmi_type type, const union wmi_item *item, union wmi_item *ret, struct err *e)
{
    *ret = *item;
    if (is_text(type))
        return (ret->s = str_dup(item->s)) ? 0 : err_oom(e);
    return type == WMI_OBJECT ? wmi_clone(item->o, &ret->o, e) : 0;
}

int wmi_value_copy(const struct wmi_value *v, struct wmi_value *ret, struct err *e)
{
    struct wmi_value c = {.type = v->type, .array = v->array};
    int r = 0;
    if (!v->array) {
        r = item_copy(v->type, &v->one, &c.one, e);
    } else if (v->type == WMI_UINT8) {
        if (!(c.bytes = malloc(v->n + 1)))
            return err_oom(e);
        if (v->n)
            memcpy(c.bytes, v->bytes, v->n);
        c.n = v->n;
    } else {
        if (!(c.items = calloc(v->n + 1, sizeof *c.items)))
            return err_oom(e);
        for (; r == 0 && c.n < v->n; c.n += r == 0)
            r = item_copy(v->type, &v->items[c.n], &c.items[c.n], e);
    }
    if (r < 0)
        wmi_value_clear(&c);
    else
        *ret = c;
    return r;
}

char *wmi_str(const struct wmi_object *o, const char *name)
{
    struct wmi_value v = {0};
    struct err ignored;
    char *s = NULL;
    if (wmi_get_value(o, name, &v, &ignored) < 0)
        return NULL;
    if (!v.array && is_text(v.type))
        s = STEAL(v.one.s);
    wmi_value_clear(&v);
    return s;
}

static uint64_t as_uint(const struct wmi_value *v, size_t i, uint64_t def)
{
    if (v->array && v->type == WMI_UINT8)
        return i < v->n ? v->bytes[i] : def;
    if (v->array && i >= v->n)
        return def;
    const union wmi_item *item = v->array ? &v->items[i] : &v->one;
    if (is_signed(v->type))
        return item->i >= 0 ? (uint64_t)item->i : def;
    return is_unsigned(v->type) ? item->u : def;
}

static uint64_t uint_of(const struct wmi_object *o, const char *name, bool array, size_t i, uint64_t def)
{
    struct wmi_value v = {0};
    struct err ignored;
    if (wmi_get_value(o, name, &v, &ignored) < 0)
        return def;
    uint64_t u = v.array == array ? as_uint(&v, i, def) : def;
    wmi_value_clear(&v);
    return u;
}

uint64_t wmi_uint(const struct wmi_object *o, const char *name, uint64_t def)
{
    return uint_of(o, name, false, 0, def);
}

uint64_t wmi_uint_at(const struct wmi_object *o, const char *name, size_t index, uint64_t def)
{
    return uint_of(o, name, true, index, def);
}

bool wmi_bool(const struct wmi_object *o, const char *name, bool def)
{
    struct wmi_value v = {0};
    struct err ignored;
    if (wmi_get_value(o, name, &v, &ignored) < 0)
        return def;
    bool b = !v.array && v.type == WMI_BOOLEAN ? v.one.b : def;
    wmi_value_clear(&v);
    return b;
}

char **wmi_strs(const struct wmi_object *o, const char *name)
{
    struct wmi_value v = {0};
    struct err ignored;
    char **list = NULL;
    if (wmi_get_value(o, name, &v, &ignored) < 0)
        return NULL;
    if (v.array && is_text(v.type) && (list = calloc(v.n + 1, sizeof(char *))))
        for (size_t i = 0; i < v.n; i++)
            list[i] = STEAL(v.items[i].s);
    wmi_value_clear(&v);
    return list;
}

void wmi_strs_free(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

int wmi_path(const struct wmi_object *o, char **ret, struct err *e)
{
    *ret = wmi_str(o, "__PATH");
    return *ret ? 0 : err_set(e, ERR_INTERNAL, "an object from WMI has no path");
}

int wmi_put_str(struct wmi_object *o, const char *name, const char *s, struct err *e)
{
    AUTO_FREE char *copy = str_dup(s);
    if (s && !copy)
        return err_oom(e);
    struct wmi_value v = {.type = s ? WMI_STRING : WMI_NULL};
    if (s)
        v.one.s = copy;
    return wmi_put_value(o, name, &v, e);
}

int wmi_put_uint(struct wmi_object *o, const char *name, uint64_t u, struct err *e)
{
    struct wmi_value v = {.type = WMI_UINT64, .one.u = u};
    return wmi_put_value(o, name, &v, e);
}

int wmi_put_bool(struct wmi_object *o, const char *name, bool b, struct err *e)
{
    struct wmi_value v = {.type = WMI_BOOLEAN, .one.b = b};
    return wmi_put_value(o, name, &v, e);
}

int wmi_put_strs(struct wmi_object *o, const char *name, const char *const *list, size_t n, struct err *e)
{
    struct wmi_value v = {.type = WMI_STRING, .array = true};
    int r = (v.items = calloc(n + 1, sizeof *v.items)) ? 0 : err_oom(e);
    for (; r == 0 && v.n < n; v.n++)
        if (!(v.items[v.n].s = str_dup(list[v.n])))
            r = err_oom(e);
    if (r == 0)
        r = wmi_put_value(o, name, &v, e);
    wmi_value_clear(&v);
    return r;
}

int wmi_put_uints(struct wmi_object *o, const char *name, const uint64_t *list, size_t n, struct err *e)
{
    struct wmi_value v = {.type = WMI_UINT64, .array = true, .n = n};
    if (!(v.items = calloc(n + 1, sizeof *v.items)))
        return err_oom(e);
    for (size_t i = 0; i < n; i++)
        v.items[i].u = list[i];
    int r = wmi_put_value(o, name, &v, e);
    wmi_value_clear(&v);
    return r;
}

int wmi_put_bytes(struct wmi_object *o, const char *name, const uint8_t *bytes, size_t n, struct err *e)
{
    struct wmi_value v = {.type = WMI_UINT8, .array = true, .n = n};
    if (!(v.bytes = malloc(n + 1)))
        return err_oom(e);
    memcpy(v.bytes, bytes, n);
    int r = wmi_put_value(o, name, &v, e);
    wmi_value_clear(&v);
    return r;
}

/* One embedded instance as the property has it. */
static int embed(enum wmi_type type, const struct wmi_object *instance, union wmi_item *ret, struct err *e)
{
    return type == WMI_OBJECT ? wmi_clone(instance, &ret->o, e) : wmi_text(instance, &ret->s, e);
}

int wmi_put_instance_in(struct wmi_object *o, const char *name, const struct wmi_object *instance, struct err *e)
{
    struct wmi_property p;
    int r = o->ops->property(o, name, &p, e);
    if (r < 0)
        return r;
    struct wmi_value v = {0};
    enum wmi_type type = p.type == WMI_OBJECT ? WMI_OBJECT : WMI_STRING;
    if ((r = embed(type, instance, &v.one, e)) < 0)
        return r;
    v.type = type;
    r = wmi_put_value(o, name, &v, e);
    wmi_value_clear(&v);
    return r;
}

int wmi_put_instances_in(struct wmi_object *o, const char *name, struct wmi_object *const *instances, size_t n, struct err *e)
{
    struct wmi_property p;
    int r = o->ops->property(o, name, &p, e);
    if (r < 0)
        return r;
    struct wmi_value v = {.type = p.type == WMI_OBJECT ? WMI_OBJECT : WMI_STRING, .array = true};
    if (!(v.items = calloc(n + 1, sizeof *v.items)))
        return err_oom(e);
    for (; r == 0 && v.n < n; v.n += r == 0)
        r = embed(v.type, instances[v.n], &v.items[v.n], e);
    if (r == 0)
        r = wmi_put_value(o, name, &v, e);
    wmi_value_clear(&v);
    return r;
}

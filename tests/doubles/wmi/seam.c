/* The double's side of the seam: each call is counted, may meet a fault, is held against the schema, and answered from the store. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "tests/doubles/wmi/core.h"

#define PROVIDER_NOT_CAPABLE 0x80041024u

static struct conn *conn_of(struct wmi *wmi)
{
    return (struct conn *)wmi;
}

/* One call under way. */
struct step {
    struct conn *c;
    struct dbl *d;
    const char *kind, *target, *method;
    struct fault_hit hit;
    bool timed_out, cancelled;
};

static void log_line(struct step *s, const char *what, uint32_t code)
{
    if (s->d->keep_log)
        strbuf_addf(&s->d->log, "%lld %s %s%s%s -> %s 0x%X\n", (long long)now_ms(s->d), s->kind, s->target, s->method ? "." : "",
                    s->method ? s->method : "", what, (unsigned)code);
}

/* Lets the host's clock go on while the caller waits. */
static void take_time(struct step *s, unsigned ms, const struct wmi_wait *w)
{
    unsigned waited = 0;
    while (waited < ms && !s->timed_out && !s->cancelled) {
        unsigned slice = ms - waited < WMI_SLICE_MS ? ms - waited : WMI_SLICE_MS;
        if (w->stop && w->stop(w->arg))
            s->cancelled = true;
        if (w->timeout_ms && waited + slice > w->timeout_ms)
            s->timed_out = true;
        if (s->d->o.real_time) {
            pthread_mutex_unlock(&s->d->lock);
            clock_sleep_ms(slice);
            pthread_mutex_lock(&s->d->lock);
        } else {
            s->d->clock_ms += slice;
        }
        waited += slice;
    }
}

static void die(struct step *s)
{
    struct dbl *d = s->d;
    void (*fn)(void *arg) = d->on_kill;
    void *arg = d->kill_arg;
    log_line(s, "killed", 0);
    pthread_mutex_unlock(&d->lock);
    if (!fn)
        abort();
    fn(arg);                                           /* usually does not come back */
    pthread_mutex_lock(&d->lock);
}

/* Takes the lock. 0: go on; else the HRESULT to fail with. */
static uint32_t begin(struct step *s, bool mutates, const struct wmi_wait *w)
{
    struct dbl *d = s->d;
    pthread_mutex_lock(&d->lock);
    d->calls++;
    if (!d->o.real_time)
        d->clock_ms += d->o.shuffles ? 1 + rnd(d, 8) : 1;
    host_tick(d);
    if (w->stop && w->stop(w->arg)) {
        s->cancelled = true;
        return WMI_E_CALL_CANCELLED;
    }
    if (s->c && (s->c->broken || s->c->generation != d->generation)) {
        s->c->broken = true;
        return s->c->generation != d->generation ? WMI_E_DISCONNECTED : WMI_E_RPC_UNAVAILABLE;
    }
    s->hit = fault_next(d, s->kind, s->method, mutates);
    if (s->hit.slow_ms) {
        take_time(s, s->hit.slow_ms, w);
        host_tick(d);
        if (s->cancelled)
            return WMI_E_CALL_CANCELLED;
    }
    if (s->hit.when != FAULT_BEFORE)
        return 0;
    if (s->hit.kills)
        die(s);
    if (s->hit.restarts) {
        jobs_drop(d, true);
        d->generation++;
    }
    if (s->hit.cuts && s->c)
        s->c->broken = true;
    return s->hit.code;
}

/* Gives the lock back; `h` is what the call itself said. */
static int end(struct step *s, uint32_t h, const struct wmi_status *ext, struct err *e)
{
    if (!h && s->hit.when == FAULT_AFTER) {
        if (s->hit.kills)
            die(s);
        if (s->hit.cuts && s->c)
            s->c->broken = true;
        h = s->hit.code;
    }
    log_line(s, h ? "failed" : s->timed_out ? "timed out" : "done", h);
    pthread_mutex_unlock(&s->d->lock);
    const char *ns = s->c ? s->c->space->name : "", *method = s->method ? s->method : "";
    if (s->cancelled)
        return err_set(e, ERR_CANCELLED, "%s of %.200s was given up", s->kind, s->target);
    if (!h && s->timed_out)
        return err_set(e, ERR_TIMEOUT, "%s of %.200s took too long", s->kind, s->target);
    return h ? wmi_fail(e, ns, h, ext, "%s of %.200s%s%.40s", s->kind, s->target, *method ? "." : "", method) : 0;
}

/* ---- connections ---- */

static int seam_open(void *arg, const char *ns, const struct wmi_wait *w, struct wmi **ret, struct err *e)
{
    struct dbl *d = arg;
    struct step s = {.d = d, .kind = "open", .target = ns};
    uint32_t h = begin(&s, false, w);
    struct space *space = space_of(d, ns);
    if (!h && (!space || (d->o.no_role && str_ieq(ns, WMI_NS_HYPERV))))
        h = WMI_E_INVALID_NAMESPACE;
    struct conn *c = NULL;
    if (!h) {
        c = x_calloc(1, sizeof *c);
        c->base.ops = &dbl_wmi_ops;
        snprintf(c->base.ns, sizeof c->base.ns, "%s", ns);
        c->d = d;
        c->space = space;
        c->generation = d->generation;
        __atomic_add_fetch(&d->live_connections, 1, __ATOMIC_RELAXED);
    }
    log_line(&s, h ? "failed" : "done", h);
    pthread_mutex_unlock(&d->lock);
    if (s.cancelled)
        return err_set(e, ERR_CANCELLED, "connecting to %s was given up", ns);
    if (h)
        return wmi_fail(e, ns, h, NULL, "connecting to %s", ns);
    *ret = &c->base;
    return 0;
}

static void seam_close(struct wmi *wmi)
{
    __atomic_sub_fetch(&conn_of(wmi)->d->live_connections, 1, __ATOMIC_RELAXED);
    free(wmi);
}

static int seam_reconnect(struct wmi *wmi, unsigned seen, const struct wmi_wait *w, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct step s = {.d = c->d, .kind = "reconnect", .target = wmi->ns};
    uint32_t h = begin(&s, false, w);
    if (!h && __atomic_load_n(&wmi->connection, __ATOMIC_ACQUIRE) == seen) {
        c->broken = false;
        c->generation = c->d->generation;
        __atomic_add_fetch(&wmi->connection, 1, __ATOMIC_RELEASE);
    }
    s.c = c;
    return end(&s, h, NULL, e);
}

/* ---- calls ---- */

static int seam_query(struct wmi *wmi, const char *wql, size_t max, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct step s = {.c = c, .d = c->d, .kind = "query", .target = wql};
    uint32_t h = begin(&s, false, w);
    struct dobj **rows = NULL;
    size_t n = 0;
    if (!h) {
        struct wql q;
        if ((h = wql_parse(wql, &q)) == 0) {
            h = query_run(c->d, c->space, &q, &rows, &n);
            wql_clear(&q);
        }
    }
    int r = end(&s, h, NULL, e);
    if (r == 0 && n > max)
        r = err_set(e, ERR_UPSTREAM_FINAL, "%.200s has more than %zu rows", wql, max);
    if (r == 0) {
        ret->n = n;
        ret->at = x_calloc(n + 1, sizeof *ret->at);
        for (size_t i = 0; i < n; i++)
            ret->at[i] = &rows[i]->base;
    } else {
        for (size_t i = 0; i < n; i++)
            obj_free(rows[i]);
    }
    free(rows);
    return r;
}

static struct dobj *definition(struct conn *c, const struct schema_class *class)
{
    struct dobj *o = obj_new(c->d, class);
    o->definition = true;
    o->rel = x_dup(class->name);
    o->server = x_dup(c->d->host_name);
    o->ns = x_dup(c->space->name);
    return o;
}

/* A class by name; what it is called for is noted. */
static uint32_t find_class(struct conn *c, const char *name, const struct schema_class **ret)
{
    const struct schema_class *any = schema_class_any(c->d->schema, c->space->name, name);
    usage_add(c->d, "class", c->space->name, any ? any->name : name, "", any != NULL);
    if (str_ieq(name, "MSFT_NetNat") && c->d->o.no_nat)
        any = NULL;
    if (!any || any->newer)
        return WMI_E_NOT_FOUND;
    *ret = any;
    return 0;
}

static uint32_t find_instance(struct conn *c, const struct path *p, struct inst **ret)
{
    const struct schema_class *class;
    uint32_t h = find_class(c, p->class, &class);
    if (h)
        return h;
    size_t keys = 0;
    for (size_t i = 0; i < class->layout.n; i++)
        keys += class->layout.at[i].key;
    if (p->n != (keys ? keys : 1) || (p->n > 1 && !p->key[0].name))
        return WMI_E_INVALID_OBJECT_PATH;
    for (size_t k = 0; k < p->n; k++) {
        int at = p->key[k].name ? schema_member(&class->layout, p->key[k].name) : -1;
        if (p->key[k].name && (at < 0 || !class->layout.at[at].key))
            return WMI_E_INVALID_OBJECT_PATH;
    }
    *ret = inst_find(c->d, c->space, p);
    bool hidden = c->d->o.no_rights && str_ieq(c->space->name, WMI_NS_HYPERV);
    return *ret && !hidden ? 0 : WMI_E_NOT_FOUND;
}

static int seam_get(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct step s = {.c = c, .d = c->d, .kind = "get", .target = path};
    uint32_t h = begin(&s, false, w);
    struct dobj *o = NULL;
    struct path p = {0};
    if (!h && (h = path_parse(path, &p)) == 0) {
        const struct schema_class *class;
        struct inst *i = NULL;
        if (p.is_class && (h = find_class(c, p.class, &class)) == 0)
            o = definition(c, class);
        else if (!p.is_class && (h = find_instance(c, &p, &i)) == 0) {
            o = inst_copy(c->d, i);
            job_seen(c->d, i);
        }
    }
    path_clear(&p);
    int r = end(&s, h, NULL, e);
    if (r < 0)
        obj_free(o);
    else
        *ret = &o->base;
    return r;
}

static int seam_spawn(struct wmi *wmi, const char *class_name, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct step s = {.c = c, .d = c->d, .kind = "spawn", .target = class_name};
    uint32_t h = begin(&s, false, w);
    const struct schema_class *class = NULL;
    if (!h)
        h = find_class(c, class_name, &class);
    int r = end(&s, h, NULL, e);
    if (r == 0)
        *ret = &obj_new(c->d, class)->base;
    return r;
}

static void note_method(struct dbl *d, const struct schema_class *class, const char *method)
{
    const struct schema_method *m = schema_method_any(class, method);
    usage_add(d, "method", class->ns, class->name, m ? m->name : method, m != NULL);
}

static int seam_method(struct wmi *wmi, const char *class_name, const char *method, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct step s = {.c = c, .d = c->d, .kind = "method", .target = class_name, .method = method};
    uint32_t h = begin(&s, false, w);
    const struct schema_class *class = NULL;
    const struct schema_method *m = NULL;
    if (!h && (h = find_class(c, class_name, &class)) == 0) {
        note_method(c->d, class, method);
        if (!(m = schema_method(class, method)))
            h = WMI_E_INVALID_METHOD;
    }
    int r = end(&s, h, NULL, e);
    if (r == 0)
        *ret = m->in.n ? &obj_params(c->d, class, m, false)->base : NULL;
    return r;
}

/* In-parameters must be those of this method, and there where it takes some. */
static uint32_t check_in(const struct schema_method *m, const struct dobj *in)
{
    if (!m->in.n)
        return in ? WMI_E_INVALID_METHOD_PARAMETERS : 0;
    return in && in->method == m && in->layout == &m->in ? 0 : WMI_E_INVALID_METHOD_PARAMETERS;
}

static int seam_exec(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in_object, const struct wmi_wait *w,
                     struct wmi_object **ret, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct dobj *in = (struct dobj *)in_object, *out = NULL;
    struct step s = {.c = c, .d = c->d, .kind = "exec", .target = path, .method = method};
    struct path p = {0};
    const struct schema_class *class = NULL;
    const struct schema_method *m = NULL;
    struct inst *target = NULL;
    /* whether it only reads decides which faults it may meet */
    const struct schema_class *named = !path_parse(path, &p) ? schema_class(c->d->schema, c->space->name, p.class) : NULL;
    const struct impl *impl = named ? impl_of(named, method) : NULL;
    uint32_t h = begin(&s, !(impl && (impl->flags & IMPL_READS)), w);
    if (!h && !p.class)
        h = WMI_E_INVALID_OBJECT_PATH;
    if (!h)
        h = find_class(c, p.class, &class);
    if (!h) {
        note_method(c->d, class, method);
        if (!(m = schema_method(class, method)))
            h = WMI_E_INVALID_METHOD;
        else if (p.is_class && !m->is_static)
            h = WMI_E_INVALID_METHOD_PARAMETERS;
        else if ((h = check_in(m, in)) == 0 && !p.is_class)
            h = find_instance(c, &p, &target);
    }
    if (!h && c->d->o.no_rights && str_ieq(c->space->name, WMI_NS_HYPERV))
        h = WMI_E_ACCESS_DENIED;
    if (!h)
        h = call_run(c->d, c->space, target, class, m, in, s.hit.when == FAULT_RETURN ? s.hit.code : 0,
                     s.hit.when == FAULT_JOB ? s.hit.code : 0, &out);
    path_clear(&p);
    int r = end(&s, h, NULL, e);
    if (r < 0)
        obj_free(out);
    else
        *ret = &out->base;
    return r;
}

static int seam_put_instance(struct wmi *wmi, struct wmi_object *object, enum wmi_put how, const struct wmi_wait *w, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct dobj *o = (struct dobj *)object;
    struct step s = {.c = c, .d = c->d, .kind = "put", .target = o->class ? o->class->name : "parameters"};
    uint32_t h = begin(&s, true, w);
    char *why = NULL;
    if (!h && (!o->class || o->definition))
        h = WMI_E_INVALID_PARAMETER;
    if (!h)
        h = str_ieq(c->space->name, WMI_NS_NETWORK) ? network_put(c->d, o, how, &why) : PROVIDER_NOT_CAPABLE;
    struct wmi_status ext = {.operation = "PutInstance", .description = why, .status = 87};
    int r = end(&s, h, why ? &ext : NULL, e);
    free(why);
    return r;
}

static int seam_delete_instance(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct err *e)
{
    struct conn *c = conn_of(wmi);
    struct step s = {.c = c, .d = c->d, .kind = "delete", .target = path};
    uint32_t h = begin(&s, true, w);
    struct path p = {0};
    struct inst *i = NULL;
    if (!h && (h = path_parse(path, &p)) == 0 && p.is_class)
        h = WMI_E_INVALID_OBJECT_PATH;
    if (!h)
        h = find_instance(c, &p, &i);
    if (!h)
        h = str_ieq(c->space->name, WMI_NS_NETWORK) ? network_delete(c->d, i) : PROVIDER_NOT_CAPABLE;
    path_clear(&p);
    return end(&s, h, NULL, e);
}

/* ---- objects: local, they meet no faults ---- */

static const struct dobj *dobj_of(const struct wmi_object *o)
{
    return (const struct dobj *)o;
}

static void seam_object_free(struct wmi_object *o)
{
    obj_free((struct dobj *)o);
}

static int seam_object_clone(const struct wmi_object *o, struct wmi_object **ret, struct err *e)
{
    (void)e;
    *ret = &obj_clone(dobj_of(o))->base;
    return 0;
}

/* -1: no such member; the name is noted either way. */
static int member_of(const struct dobj *o, const char *name)
{
    int any = schema_member_any(o->layout, name);
    const struct schema_class *c = o->class ? o->class : o->owner;
    if (any >= 0)
        name = o->layout->at[any].name;                /* as the schema spells it */
    AUTO_FREE char *param = o->class ? NULL : x_printf("%s(%s)", o->method->name, name);
    usage_add(o->d, o->class ? "property" : "parameter", c->ns, c->name, param ? param : name, any >= 0);
    return schema_member(o->layout, name);
}

static int no_member(const struct dobj *o, const char *name, struct err *e)
{
    const struct schema_class *c = o->class ? o->class : o->owner;
    return wmi_fail(e, c->ns, WMI_E_NOT_FOUND, NULL, "%.80s of %s", name, o->class ? c->name : o->method->name);
}

static int seam_property(const struct wmi_object *object, const char *name, struct wmi_property *ret, struct err *e)
{
    const struct dobj *o = dobj_of(object);
    if (str_starts(name, "__")) {
        *ret = (struct wmi_property){.type = WMI_STRING};
        return 0;
    }
    int at = member_of(o, name);
    if (at < 0)
        return no_member(o, name, e);
    *ret = (struct wmi_property){.type = o->layout->at[at].type, .array = o->layout->at[at].array};
    return 0;
}

/* false: no such system property */
static bool system_property(const struct dobj *o, const char *name, char **ret)
{
    if (str_ieq(name, "__CLASS"))
        *ret = x_dup(o->class ? o->class->name : "__PARAMETERS");
    else if (str_ieq(name, "__SUPERCLASS"))
        *ret = o->class ? x_dup(o->class->parent_name) : NULL;
    else if (str_ieq(name, "__RELPATH"))
        *ret = x_dup(o->rel);
    else if (str_ieq(name, "__NAMESPACE"))
        *ret = x_dup(o->ns);
    else if (str_ieq(name, "__SERVER"))
        *ret = x_dup(o->server);
    else if (str_ieq(name, "__PATH"))
        *ret = o->rel ? x_printf("\\\\%s\\%s:%s", o->server, o->ns, o->rel) : NULL;
    else
        return false;
    return true;
}

static int seam_get_value(const struct wmi_object *object, const char *name, struct wmi_value *ret, struct err *e)
{
    const struct dobj *o = dobj_of(object);
    char *s = NULL;
    if (str_starts(name, "__") && system_property(o, name, &s)) {
        *ret = s ? (struct wmi_value){.type = WMI_STRING, .one.s = s} : (struct wmi_value){0};
        return 0;
    }
    int at = member_of(o, name);
    return at < 0 ? no_member(o, name, e) : wmi_value_copy(&o->values[at], ret, e);
}

static int seam_put_value(struct wmi_object *object, const char *name, const struct wmi_value *v, struct err *e)
{
    struct dobj *o = (struct dobj *)object;
    if (str_starts(name, "__"))
        return wmi_fail(e, o->class ? o->class->ns : "", WMI_E_INVALID_PARAMETER, NULL, "setting %.40s", name);
    int at = member_of(o, name);
    if (at < 0)
        return no_member(o, name, e);
    const struct schema_class *c = o->class ? o->class : o->owner;
    uint32_t h = obj_put(o, at, v);
    return h ? wmi_fail(e, c->ns, h, NULL, "setting %s of %s", o->layout->at[at].name, o->class ? c->name : o->method->name) : 0;
}

static int seam_text(const struct wmi_object *o, char **ret, struct err *e)
{
    (void)e;
    *ret = obj_text(dobj_of(o));
    return 0;
}

const struct wmi_ops dbl_wmi_ops = {
    .name = "double",
    .open = seam_open,
    .close = seam_close,
    .reconnect = seam_reconnect,
    .query = seam_query,
    .get = seam_get,
    .spawn = seam_spawn,
    .method = seam_method,
    .exec = seam_exec,
    .put_instance = seam_put_instance,
    .delete_instance = seam_delete_instance,
    .object_free = seam_object_free,
    .object_clone = seam_object_clone,
    .property = seam_property,
    .get_value = seam_get_value,
    .put_value = seam_put_value,
    .text = seam_text,
};

/* WMI by COM: connections and calls. Calls are semisynchronous: WMI answers at once with a result that is then asked for in slices, so that the
 * caller's stop and deadline count. Giving up releases that result; the provider is not told. */
#include <pthread.h>
#include <string.h>

#include "common/clock.h"
#include "common/wmi/wmi_com_win32.h"

#define BATCH 16                                       /* rows of one round trip */

struct com {
    struct wmi base;                                   /* first */
    pthread_mutex_t lock;                              /* of services; held for an instant */
    pthread_mutex_t reconnecting;                      /* one thread connects anew, the others wait for it */
    IWbemServices *services;
    bool waits;                                        /* it lives in another process and can be waited for in slices */
};

/* ---- COM itself ---- */

static HRESULT started = S_OK;

/* WMI's providers want to act for us; the default of COM does not let them. Somebody else in the process may have set the security before: then
 * the blankets do. */
static void start(void)
{
    CO_MTA_USAGE_COOKIE cookie;
    HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
    started = CoIncrementMTAUsage(&cookie);            /* never given back */
    if (SUCCEEDED(started)) {
        HRESULT security = CoInitializeSecurity(NULL, -1, NULL, NULL, RPC_C_AUTHN_LEVEL_DEFAULT, RPC_C_IMP_LEVEL_IMPERSONATE, NULL, EOAC_NONE, NULL);
        if (FAILED(security) && security != RPC_E_TOO_LATE)
            started = security;
    }
    if (SUCCEEDED(hr))
        CoUninitialize();
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

HRESULT com_begin(void)
{
    pthread_once(&once, start);
    return started;
}

/* Not inherited: each proxy needs its own. */
static HRESULT secure(void *proxy)
{
    return CoSetProxyBlanket(proxy, RPC_C_AUTHN_WINNT, RPC_C_AUTHZ_NONE, NULL, RPC_C_AUTHN_LEVEL_PKT_PRIVACY, RPC_C_IMP_LEVEL_IMPERSONATE, NULL, EOAC_NONE);
}

/* ---- one call ---- */

struct step {
    struct com *c;
    const char *kind, *target, *method;
    const struct wmi_wait *w;
    int64_t until;                                     /* on clock_mono_ms; 0: no deadline */
    IWbemServices *services;                           /* a reference of its own: a reconnect may replace the connection's */
    IWbemCallResult *call;
    BSTR path, name;
};

static void step_end(struct step *s)
{
    com_release(&s->call);
    com_release(&s->services);
    com_bstr_free(&s->path);
    com_bstr_free(&s->name);
}
#define AUTO_STEP AUTO(step_end)

static int step_fail(const struct step *s, HRESULT hr, struct err *e)
{
    return com_fail(e, s->c->base.ns, hr, "%s of %.200s%s%.40s", s->kind, s->target, s->method ? "." : "", s->method ? s->method : "");
}

static int step_begin(struct step *s, struct err *e)
{
    if (s->w->stop && s->w->stop(s->w->arg))
        return err_set(e, ERR_CANCELLED, "%s of %.200s was given up", s->kind, s->target);
    s->until = s->w->timeout_ms ? clock_mono_ms() + s->w->timeout_ms : 0;
    pthread_mutex_lock(&s->c->lock);
    s->services = s->c->services;
    IWbemServices_AddRef(s->services);
    pthread_mutex_unlock(&s->c->lock);
    com_error_forget();
    int r = com_bstr(s->target, &s->path, e);
    if (r == 0 && s->method)
        r = com_bstr(s->method, &s->name, e);
    return r;
}

/* How long the next slice may be, or why there is none. */
static int step_slice(const struct step *s, LONG *ret_ms, struct err *e)
{
    if (s->w->stop && s->w->stop(s->w->arg))
        return err_set(e, ERR_CANCELLED, "%s of %.200s was given up", s->kind, s->target);
    int64_t left = s->until ? s->until - clock_mono_ms() : WMI_SLICE_MS;
    if (left <= 0)
        return err_set(e, ERR_TIMEOUT, "%s of %.200s%s%.40s took longer than %u ms", s->kind, s->target, s->method ? "." : "", s->method ? s->method : "",
                       s->w->timeout_ms);
    *ret_ms = left < WMI_SLICE_MS ? (LONG)left : WMI_SLICE_MS;
    return 0;
}

/* How a semisynchronous call that was accepted ends; with ret_object also what it returns. */
static int step_await(const struct step *s, IWbemClassObject **ret_object, struct err *e)
{
    HRESULT hr = s->call ? secure(s->call) : (HRESULT)WMI_E_FAILED;
    LONG status = WBEM_S_NO_ERROR, ms;
    int r = FAILED(hr) ? step_fail(s, hr, e) : 0;
    do {
        if (r == 0)
            r = step_slice(s, &ms, e);
        if (r < 0)
            return r;
        hr = IWbemCallResult_GetCallStatus(s->call, ms, &status);
    } while (hr == WBEM_S_TIMEDOUT);
    if (FAILED(hr))
        return step_fail(s, hr, e);
    if (ret_object) {                                  /* of a failed call: its error, with the words about it */
        hr = IWbemCallResult_GetResultObject(s->call, 0, ret_object);
        if (SUCCEEDED(status) && FAILED(hr))
            return step_fail(s, hr, e);
    }
    return FAILED(status) ? step_fail(s, (HRESULT)status, e) : 0;
}

/* The flag and the place for the result: a WMI in our own process (Wine's) has neither. */
static LONG step_flags(const struct step *s)
{
    return s->c->waits ? WBEM_FLAG_RETURN_IMMEDIATELY : 0;
}

/* ---- connections ---- */

static int connect_services(const char *ns, const struct wmi_wait *w, IWbemServices **ret, struct err *e)
{
    AUTO_COM IWbemLocator *locator = NULL;
    AUTO_COM IWbemServices *services = NULL;
    AUTO_BSTR BSTR name = NULL;
    if (w->stop && w->stop(w->arg))
        return err_set(e, ERR_CANCELLED, "connecting to %s was given up", ns);
    int r = com_bstr(ns, &name, e);
    if (r < 0)
        return r;
    com_error_forget();
    HRESULT hr = CoCreateInstance(&CLSID_WbemLocator, NULL, CLSCTX_INPROC_SERVER, &IID_IWbemLocator, (void **)&locator);
    if (SUCCEEDED(hr))                                 /* waits two minutes at most, in one piece */
        hr = IWbemLocator_ConnectServer(locator, name, NULL, NULL, NULL, WBEM_FLAG_CONNECT_USE_MAX_WAIT, NULL, NULL, &services);
    if (SUCCEEDED(hr))
        hr = secure(services);
    if (FAILED(hr))
        return com_fail(e, ns, hr, "connecting to %s", ns);
    *ret = STEAL(services);
    return 0;
}

/* Every proxy that COM makes has IMultiQI. */
static bool is_proxy(IWbemServices *services)
{
    AUTO_COM IUnknown *u = NULL;
    return SUCCEEDED(IWbemServices_QueryInterface(services, &IID_IMultiQI, (void **)&u)) && u;
}

static int com_open(void *arg, const char *ns, const struct wmi_wait *w, struct wmi **ret, struct err *e)
{
    (void)arg;
    if (FAILED(com_begin()))
        return com_fail(e, ns, started, "starting COM");
    IWbemServices *services;
    int r = connect_services(ns, w, &services, e);
    if (r < 0)
        return r;
    struct com *c = calloc(1, sizeof *c);
    if (!c) {
        IWbemServices_Release(services);
        return err_oom(e);
    }
    c->base.ops = &wmi_com_ops;
    snprintf(c->base.ns, sizeof c->base.ns, "%s", ns);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->reconnecting, NULL);
    c->services = services;
    c->waits = is_proxy(services);
    *ret = &c->base;
    return 0;
}

static void com_close(struct wmi *wmi)
{
    struct com *c = (struct com *)wmi;
    com_release(&c->services);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->reconnecting);
    free(c);
}

static int com_reconnect(struct wmi *wmi, unsigned seen, const struct wmi_wait *w, struct err *e)
{
    struct com *c = (struct com *)wmi;
    IWbemServices *fresh = NULL;
    int r = 0;
    pthread_mutex_lock(&c->reconnecting);
    if (__atomic_load_n(&wmi->connection, __ATOMIC_ACQUIRE) == seen && (r = connect_services(wmi->ns, w, &fresh, e)) == 0) {
        pthread_mutex_lock(&c->lock);
        IWbemServices *old = c->services;
        c->services = fresh;
        pthread_mutex_unlock(&c->lock);
        IWbemServices_Release(old);
        __atomic_add_fetch(&wmi->connection, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&c->reconnecting);
    return r;
}

/* ---- reading ---- */

/* Takes all of objs[0..n) over, also when it fails. */
static int take_rows(struct step *s, IWbemClassObject **objs, size_t n, size_t max, struct wmi_rows *rows, struct err *e)
{
    int r = 0;
    struct wmi_object **grown = n ? realloc(rows->at, (rows->n + n) * sizeof(struct wmi_object *)) : NULL;
    if (grown)
        rows->at = grown;
    else if (n)
        r = err_oom(e);
    if (r == 0 && rows->n + n > max)
        r = err_set(e, ERR_UPSTREAM_FINAL, "%.200s has more than %zu rows", s->target, max);
    for (size_t i = 0; i < n; i++) {
        if (r < 0)
            IWbemClassObject_Release(objs[i]);
        else if ((r = com_wrap(s->c->base.ns, objs[i], &rows->at[rows->n], e)) == 0)
            rows->n++;
    }
    return r;
}

static int fetch_rows(struct step *s, IEnumWbemClassObject *rows, size_t max, struct wmi_rows *ret, struct err *e)
{
    for (HRESULT hr = WBEM_S_NO_ERROR; hr != WBEM_S_FALSE;) {
        IWbemClassObject *objs[BATCH] = {NULL};
        ULONG n = 0;
        LONG ms;
        int r = step_slice(s, &ms, e);
        if (r < 0)
            return r;
        hr = IEnumWbemClassObject_Next(rows, ms, BATCH, objs, &n);
        r = take_rows(s, objs, n, max, ret, e);
        if (r == 0 && FAILED(hr))
            r = step_fail(s, hr, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int com_query(struct wmi *wmi, const char *wql, size_t max, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e)
{
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "query", .target = wql, .w = w};
    AUTO_COM IEnumWbemClassObject *rows = NULL;
    AUTO_BSTR BSTR language = NULL;
    struct wmi_rows got = {0};
    int r = step_begin(&s, e);
    if (r == 0)
        r = com_bstr("WQL", &language, e);
    if (r < 0)
        return r;
    HRESULT hr = IWbemServices_ExecQuery(s.services, language, s.path, WBEM_FLAG_FORWARD_ONLY | WBEM_FLAG_RETURN_IMMEDIATELY, NULL, &rows);
    if (SUCCEEDED(hr))
        hr = secure(rows);
    r = FAILED(hr) ? step_fail(&s, hr, e) : fetch_rows(&s, rows, max, &got, e);
    if (r < 0)
        wmi_rows_clear(&got);
    else
        *ret = got;
    return r;
}

static int get_object(struct step *s, IWbemClassObject **ret, struct err *e)
{
    int r = step_begin(s, e);
    if (r < 0)
        return r;
    bool waits = s->c->waits;
    HRESULT hr = IWbemServices_GetObject(s->services, s->path, step_flags(s), NULL, waits ? NULL : ret, waits ? &s->call : NULL);
    return FAILED(hr) ? step_fail(s, hr, e) : waits ? step_await(s, ret, e) : 0;
}

static int com_get(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "get", .target = path, .w = w};
    IWbemClassObject *o = NULL;
    int r = get_object(&s, &o, e);
    return r < 0 ? r : com_wrap(wmi->ns, o, ret, e);
}

static int com_spawn(struct wmi *wmi, const char *class_name, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "spawn", .target = class_name, .w = w};
    AUTO_COM IWbemClassObject *class = NULL;
    IWbemClassObject *o = NULL;
    int r = get_object(&s, &class, e);
    if (r < 0)
        return r;
    HRESULT hr = IWbemClassObject_SpawnInstance(class, 0, &o);
    return FAILED(hr) ? step_fail(&s, hr, e) : com_wrap(wmi->ns, o, ret, e);
}

/* Only the class knows a method's parameters. */
static int com_method(struct wmi *wmi, const char *class_name, const char *method, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "method", .target = class_name, .method = method, .w = w};
    AUTO_COM IWbemClassObject *class = NULL, *in = NULL, *out = NULL;
    IWbemClassObject *o = NULL;
    int r = get_object(&s, &class, e);
    if (r < 0)
        return r;
    HRESULT hr = IWbemClassObject_GetMethod(class, s.name, 0, &in, &out);
    if (hr == (HRESULT)WMI_E_NOT_FOUND)
        hr = (HRESULT)WMI_E_INVALID_METHOD;
    if (SUCCEEDED(hr) && in)
        hr = IWbemClassObject_SpawnInstance(in, 0, &o);
    if (FAILED(hr))
        return step_fail(&s, hr, e);
    *ret = NULL;
    return o ? com_wrap(wmi->ns, o, ret, e) : 0;
}

/* ---- changing ---- */

static int com_exec(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, const struct wmi_wait *w, struct wmi_object **ret,
                    struct err *e)
{
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "exec", .target = path, .method = method, .w = w};
    IWbemClassObject *out = NULL;
    int r = step_begin(&s, e);
    if (r < 0)
        return r;
    bool waits = s.c->waits;
    HRESULT hr = IWbemServices_ExecMethod(s.services, s.path, s.name, step_flags(&s), NULL, in ? com_object_of(in) : NULL, waits ? NULL : &out,
                                          waits ? &s.call : NULL);
    r = FAILED(hr) ? step_fail(&s, hr, e) : waits ? step_await(&s, &out, e) : 0;
    if (r < 0)
        return r;
    *ret = NULL;
    return out ? com_wrap(wmi->ns, out, ret, e) : 0;
}

static int com_put_instance(struct wmi *wmi, struct wmi_object *o, enum wmi_put how, const struct wmi_wait *w, struct err *e)
{
    AUTO_FREE char *class_name = wmi_str(o, "__CLASS");
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "put", .target = class_name ? class_name : "an instance", .w = w};
    int r = step_begin(&s, e);
    if (r < 0)
        return r;
    HRESULT hr = IWbemServices_PutInstance(s.services, com_object_of(o), (LONG)how | step_flags(&s), NULL, s.c->waits ? &s.call : NULL);
    return FAILED(hr) ? step_fail(&s, hr, e) : s.c->waits ? step_await(&s, NULL, e) : 0;
}

static int com_delete_instance(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct err *e)
{
    AUTO_STEP struct step s = {.c = (struct com *)wmi, .kind = "delete", .target = path, .w = w};
    int r = step_begin(&s, e);
    if (r < 0)
        return r;
    HRESULT hr = IWbemServices_DeleteInstance(s.services, s.path, step_flags(&s), NULL, s.c->waits ? &s.call : NULL);
    return FAILED(hr) ? step_fail(&s, hr, e) : s.c->waits ? step_await(&s, NULL, e) : 0;
}

const struct wmi_ops wmi_com_ops = {
    .name = "com",
    .open = com_open,
    .close = com_close,
    .reconnect = com_reconnect,
    .query = com_query,
    .get = com_get,
    .spawn = com_spawn,
    .method = com_method,
    .exec = com_exec,
    .put_instance = com_put_instance,
    .delete_instance = com_delete_instance,
    .object_free = com_object_free,
    .object_clone = com_object_clone,
    .property = com_object_property,
    .get_value = com_object_get,
    .put_value = com_object_put,
    .text = com_object_text,
};

/* IWbemServices over a connection to the double, with enumerators and the results of semisynchronous calls. */
#include "tests/doubles/com/com_double_win32.h"

#include <string.h>

static const struct wmi_wait forever = {0};

struct com_services {
    const IWbemServicesVtbl *vtbl;
    LONG refs;
    struct com_security security;
    struct wmi *wmi;
};

static bool is_interface(REFIID iid, REFIID own)
{
    return IsEqualGUID(iid, &IID_IUnknown) || IsEqualGUID(iid, own);
}

struct wmi *com_services_wmi(struct com_services *s)
{
    return s->wmi;
}

void com_services_ref(struct com_services *s)
{
    InterlockedIncrement(&s->refs);
}

void com_services_unref(struct com_services *s)
{
    if (InterlockedDecrement(&s->refs))
        return;
    s->wmi->ops->close(s->wmi);
    free(s);
    com_live(COM_SERVICES, -1);
}

HRESULT com_hresult(const struct err *e)
{
    uint32_t h = wmi_hresult(e);
    return (HRESULT)(h ? h : WMI_E_FAILED);
}

/* ---- enumerators: the query runs at the first Next, where its errors come too ---- */

struct rows {
    const IEnumWbemClassObjectVtbl *vtbl;
    LONG refs;
    struct com_security security;
    struct com_services *services;
    char *wql;
    struct wmi_rows got;
    size_t at;
    bool ran, slow;                                    /* slow: nothing there yet at the first look */
};

static HRESULT STDMETHODCALLTYPE rows_query(IEnumWbemClassObject *This, REFIID iid, void **ret)
{
    struct rows *s = (struct rows *)This;
    *ret = is_interface(iid, &IID_IEnumWbemClassObject) ? (void *)s : IsEqualGUID(iid, &IID_IClientSecurity) ? (void *)&s->security : NULL;
    if (!*ret)
        return E_NOINTERFACE;
    InterlockedIncrement(&s->refs);
    return S_OK;
}

static ULONG STDMETHODCALLTYPE rows_add_ref(IEnumWbemClassObject *This)
{
    return (ULONG)InterlockedIncrement(&((struct rows *)This)->refs);
}

static ULONG STDMETHODCALLTYPE rows_release(IEnumWbemClassObject *This)
{
    struct rows *s = (struct rows *)This;
    LONG left = InterlockedDecrement(&s->refs);
    if (left)
        return (ULONG)left;
    for (size_t i = s->at; i < s->got.n; i++)
        wmi_object_free(s->got.at[i]);
    free(s->got.at);
    free(s->wql);
    com_services_unref(s->services);
    free(s);
    com_live(COM_ROWS, -1);
    return 0;
}

static HRESULT STDMETHODCALLTYPE rows_next(IEnumWbemClassObject *This, LONG timeout, ULONG count, IWbemClassObject **objs, ULONG *ret_n)
{
    struct rows *s = (struct rows *)This;
    struct err e;
    HRESULT hr = com_may_call(&s->security);
    *ret_n = 0;
    if (FAILED(hr) || !count)
        return FAILED(hr) ? hr : (HRESULT)WMI_E_INVALID_PARAMETER;
    if (s->slow) {
        s->slow = false;
        if (timeout != (LONG)WBEM_INFINITE)
            return WBEM_S_TIMEDOUT;
    }
    if (!s->ran) {
        s->ran = true;
        if (s->services->wmi->ops->query(s->services->wmi, s->wql, SIZE_MAX, &forever, &s->got, &e) < 0) {
            com_leave_words(&e, "ExecQuery");
            return com_hresult(&e);
        }
    }
    for (; *ret_n < count && s->at < s->got.n; s->at++)
        objs[(*ret_n)++] = com_object_new(s->got.at[s->at], NULL);
    return *ret_n < count ? WBEM_S_FALSE : WBEM_S_NO_ERROR;
}

static const IEnumWbemClassObjectVtbl rows_vtbl = {
    .QueryInterface = rows_query,
    .AddRef = rows_add_ref,
    .Release = rows_release,
    .Next = rows_next,
    NOT_IMPL(IEnumWbemClassObjectVtbl, Reset), NOT_IMPL(IEnumWbemClassObjectVtbl, NextAsync), NOT_IMPL(IEnumWbemClassObjectVtbl, Clone),
    NOT_IMPL(IEnumWbemClassObjectVtbl, Skip),
};

/* ---- calls: each runs on a thread of its own, so that its caller can wait in slices or give up ---- */

enum call_kind { CALL_GET, CALL_EXEC, CALL_PUT, CALL_DELETE };

struct call {
    const IWbemCallResultVtbl *vtbl;
    LONG clients;                                      /* references that callers hold; all of them together are one of `refs` */
    LONG refs;                                         /* one of the callers', one of the thread's until it is done */
    struct com_security security;
    struct com_services *services;
    enum call_kind kind;
    char *path, *method;
    struct wmi_object *in;
    enum wmi_put how;
    HANDLE done;
    volatile bool abandoned;
    HRESULT status;
    struct err e;
    struct wmi_object *out;
};

static void call_unref(struct call *c)
{
    if (InterlockedDecrement(&c->refs))
        return;
    wmi_object_free(c->in);
    wmi_object_free(c->out);
    free(c->path);
    free(c->method);
    CloseHandle(c->done);
    com_services_unref(c->services);
    free(c);
    com_live(COM_CALL, -1);
}

static bool is_abandoned(void *arg)
{
    return ((struct call *)arg)->abandoned;
}

static void call_run(struct call *c)
{
    struct wmi *wmi = c->services->wmi;
    struct wmi_wait w = {.stop = is_abandoned, .arg = c};
    int r = 0;
    switch (c->kind) {
    case CALL_GET: r = wmi->ops->get(wmi, c->path, &w, &c->out, &c->e); break;
    case CALL_EXEC: r = wmi->ops->exec(wmi, c->path, c->method, c->in, &w, &c->out, &c->e); break;
    case CALL_PUT: r = wmi->ops->put_instance(wmi, c->in, c->how, &w, &c->e); break;
    case CALL_DELETE: r = wmi->ops->delete_instance(wmi, c->path, &w, &c->e); break;
    }
    c->status = r < 0 ? com_hresult(&c->e) : WBEM_S_NO_ERROR;
}

static DWORD WINAPI call_thread(void *arg)
{
    struct call *c = arg;
    call_run(c);
    SetEvent(c->done);
    call_unref(c);
    return 0;
}

static HRESULT STDMETHODCALLTYPE call_query(IWbemCallResult *This, REFIID iid, void **ret)
{
    struct call *c = (struct call *)This;
    *ret = is_interface(iid, &IID_IWbemCallResult) ? (void *)c : IsEqualGUID(iid, &IID_IClientSecurity) ? (void *)&c->security : NULL;
    if (!*ret)
        return E_NOINTERFACE;
    InterlockedIncrement(&c->clients);
    return S_OK;
}

static ULONG STDMETHODCALLTYPE call_add_ref(IWbemCallResult *This)
{
    return (ULONG)InterlockedIncrement(&((struct call *)This)->clients);
}

static ULONG STDMETHODCALLTYPE call_release(IWbemCallResult *This)
{
    struct call *c = (struct call *)This;
    LONG left = InterlockedDecrement(&c->clients);
    if (!left) {
        c->abandoned = true;
        call_unref(c);
    }
    return (ULONG)left;
}

static HRESULT call_wait(struct call *c, LONG timeout)
{
    HRESULT hr = com_may_call(&c->security);
    if (FAILED(hr))
        return hr;
    return WaitForSingleObject(c->done, (DWORD)timeout) == WAIT_OBJECT_0 ? WBEM_S_NO_ERROR : WBEM_S_TIMEDOUT;
}

/* What IWbemClassObjects get: classes make instances, whatever else there is does not. */
static IWbemClassObject *result_of(struct call *c)
{
    struct com_services *class_of = c->kind == CALL_GET && !strpbrk(c->path, "=@") ? c->services : NULL;
    struct wmi_object *o = STEAL(c->out);
    return o ? com_object_new(o, class_of) : NULL;
}

static HRESULT STDMETHODCALLTYPE call_status(IWbemCallResult *This, LONG timeout, LONG *ret)
{
    struct call *c = (struct call *)This;
    HRESULT hr = call_wait(c, timeout);
    if (hr != WBEM_S_NO_ERROR)
        return hr;
    if (FAILED(c->status) && c->kind != CALL_GET && c->kind != CALL_EXEC)
        com_leave_words(&c->e, c->kind == CALL_PUT ? "PutInstance" : "DeleteInstance");
    *ret = c->status;
    return WBEM_S_NO_ERROR;
}

static HRESULT STDMETHODCALLTYPE call_object(IWbemCallResult *This, LONG timeout, IWbemClassObject **ret)
{
    struct call *c = (struct call *)This;
    HRESULT hr = call_wait(c, timeout);
    if (hr != WBEM_S_NO_ERROR)
        return hr;
    if (FAILED(c->status)) {
        com_leave_words(&c->e, c->kind == CALL_GET ? "GetObject" : "ExecMethod");
        return c->status;
    }
    if (c->kind != CALL_GET && c->kind != CALL_EXEC)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    *ret = result_of(c);
    return WBEM_S_NO_ERROR;
}

static const IWbemCallResultVtbl call_vtbl = {
    .QueryInterface = call_query,
    .AddRef = call_add_ref,
    .Release = call_release,
    .GetCallStatus = call_status,
    .GetResultObject = call_object,
    NOT_IMPL(IWbemCallResultVtbl, GetResultString), NOT_IMPL(IWbemCallResultVtbl, GetResultServices),
};

static struct call *call_new(struct com_services *s, enum call_kind kind, const wchar_t *path, const wchar_t *method, IWbemClassObject *in)
{
    struct call *c = calloc(1, sizeof *c);
    struct wmi_object *inside = in ? com_object_inside(in) : NULL;
    struct err e;
    if (!c)
        abort();
    *c = (struct call){.vtbl = &call_vtbl, .clients = 1, .refs = 1, .services = s, .kind = kind, .path = com_text(path), .method = com_text(method),
                       .done = CreateEventW(NULL, TRUE, FALSE, NULL)};
    if (!c->done || (inside && wmi_clone(inside, &c->in, &e) < 0))               /* by value, as it travels to WMI */
        abort();
    com_security_init(&c->security, c);
    com_services_ref(s);
    com_live(COM_CALL, 1);
    return c;
}

/* Takes the call over. Semisynchronous: its result alone; synchronous: the object alone. */
static HRESULT call_start(struct call *c, LONG flags, IWbemClassObject **ret_object, IWbemCallResult **ret_result)
{
    bool later = flags & WBEM_FLAG_RETURN_IMMEDIATELY;
    HRESULT hr = com_may_call(&c->services->security);
    if (SUCCEEDED(hr) && (later ? !ret_result || *ret_result || ret_object : ret_result != NULL))
        hr = (HRESULT)WMI_E_INVALID_PARAMETER;
    if (SUCCEEDED(hr) && later) {
        c->refs = 2;
        HANDLE t = CreateThread(NULL, 0, call_thread, c, 0, NULL);
        if (!t)
            abort();
        CloseHandle(t);
        *ret_result = (IWbemCallResult *)c;
        return WBEM_S_NO_ERROR;
    }
    if (SUCCEEDED(hr)) {
        call_run(c);
        hr = c->status;
        if (FAILED(hr))
            com_leave_words(&c->e, "call");
        else if (ret_object)
            *ret_object = result_of(c);
    }
    call_unref(c);
    return hr;
}

/* ---- services ---- */

static HRESULT STDMETHODCALLTYPE query(IWbemServices *This, REFIID iid, void **ret)
{
    struct com_services *s = (struct com_services *)This;
    bool proxy = IsEqualGUID(iid, &IID_IMultiQI);      /* as a proxy has it; nobody may call it here */
    *ret = proxy || is_interface(iid, &IID_IWbemServices) ? (void *)s : IsEqualGUID(iid, &IID_IClientSecurity) ? (void *)&s->security : NULL;
    if (!*ret)
        return E_NOINTERFACE;
    com_services_ref(s);
    return S_OK;
}

static ULONG STDMETHODCALLTYPE add_ref(IWbemServices *This)
{
    com_services_ref((struct com_services *)This);
    return 1;
}

static ULONG STDMETHODCALLTYPE release(IWbemServices *This)
{
    com_services_unref((struct com_services *)This);
    return 0;
}

static HRESULT STDMETHODCALLTYPE get_object(IWbemServices *This, const BSTR path, LONG flags, IWbemContext *ctx, IWbemClassObject **ret, IWbemCallResult **ret_call)
{
    if (!path || ctx || (flags & ~WBEM_FLAG_RETURN_IMMEDIATELY))
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    return call_start(call_new((struct com_services *)This, CALL_GET, path, NULL, NULL), flags, ret, ret_call);
}

static HRESULT STDMETHODCALLTYPE exec_method(IWbemServices *This, const BSTR path, const BSTR method, LONG flags, IWbemContext *ctx, IWbemClassObject *in,
                                             IWbemClassObject **ret, IWbemCallResult **ret_call)
{
    if (!path || !method || ctx || (in && !com_object_inside(in)) || (flags & ~WBEM_FLAG_RETURN_IMMEDIATELY))
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    return call_start(call_new((struct com_services *)This, CALL_EXEC, path, method, in), flags, ret, ret_call);
}

static HRESULT STDMETHODCALLTYPE put_instance(IWbemServices *This, IWbemClassObject *o, LONG flags, IWbemContext *ctx, IWbemCallResult **ret_call)
{
    if (!com_object_inside(o) || ctx)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    struct call *c = call_new((struct com_services *)This, CALL_PUT, L"", NULL, o);
    c->how = (enum wmi_put)(flags & 3);
    return call_start(c, flags, NULL, ret_call);
}

static HRESULT STDMETHODCALLTYPE delete_instance(IWbemServices *This, const BSTR path, LONG flags, IWbemContext *ctx, IWbemCallResult **ret_call)
{
    if (!path || ctx)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    return call_start(call_new((struct com_services *)This, CALL_DELETE, path, NULL, NULL), flags, NULL, ret_call);
}

static HRESULT STDMETHODCALLTYPE exec_query(IWbemServices *This, const BSTR language, const BSTR wql, LONG flags, IWbemContext *ctx, IEnumWbemClassObject **ret)
{
    static LONG count;
    struct com_services *s = (struct com_services *)This;
    HRESULT hr = com_may_call(&s->security);
    if (FAILED(hr))
        return hr;
    if (!language || !wql || ctx || wcscmp(language, L"WQL") != 0 || flags != (WBEM_FLAG_FORWARD_ONLY | WBEM_FLAG_RETURN_IMMEDIATELY))
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    struct rows *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    *r = (struct rows){.vtbl = &rows_vtbl, .refs = 1, .services = s, .wql = com_text(wql), .slow = InterlockedIncrement(&count) % 3 == 0};
    com_security_init(&r->security, r);
    com_services_ref(s);
    com_live(COM_ROWS, 1);
    *ret = (IEnumWbemClassObject *)r;
    return WBEM_S_NO_ERROR;
}

static const IWbemServicesVtbl vtbl = {
    .QueryInterface = query,
    .AddRef = add_ref,
    .Release = release,
    .GetObject = get_object,
    .ExecMethod = exec_method,
    .PutInstance = put_instance,
    .DeleteInstance = delete_instance,
    .ExecQuery = exec_query,
    NOT_IMPL(IWbemServicesVtbl, OpenNamespace), NOT_IMPL(IWbemServicesVtbl, CancelAsyncCall), NOT_IMPL(IWbemServicesVtbl, QueryObjectSink),
    NOT_IMPL(IWbemServicesVtbl, GetObjectAsync), NOT_IMPL(IWbemServicesVtbl, PutClass), NOT_IMPL(IWbemServicesVtbl, PutClassAsync),
    NOT_IMPL(IWbemServicesVtbl, DeleteClass), NOT_IMPL(IWbemServicesVtbl, DeleteClassAsync), NOT_IMPL(IWbemServicesVtbl, CreateClassEnum),
    NOT_IMPL(IWbemServicesVtbl, CreateClassEnumAsync), NOT_IMPL(IWbemServicesVtbl, PutInstanceAsync), NOT_IMPL(IWbemServicesVtbl, DeleteInstanceAsync),
    NOT_IMPL(IWbemServicesVtbl, CreateInstanceEnum), NOT_IMPL(IWbemServicesVtbl, CreateInstanceEnumAsync), NOT_IMPL(IWbemServicesVtbl, ExecQueryAsync),
    NOT_IMPL(IWbemServicesVtbl, ExecNotificationQuery), NOT_IMPL(IWbemServicesVtbl, ExecNotificationQueryAsync), NOT_IMPL(IWbemServicesVtbl, ExecMethodAsync),
};

HRESULT com_connect(const char *ns, IWbemServices **ret)
{
    struct com_services *s = calloc(1, sizeof *s);
    struct wmi *wmi = NULL;
    struct err e;
    if (!s)
        abort();
    if (dbl_wmi_ops.open(com_host(), ns, &forever, &wmi, &e) < 0) {
        free(s);
        return com_hresult(&e);
    }
    *s = (struct com_services){.vtbl = &vtbl, .refs = 1, .wmi = wmi};
    com_security_init(&s->security, s);
    com_live(COM_SERVICES, 1);
    *ret = (IWbemServices *)s;
    return S_OK;
}

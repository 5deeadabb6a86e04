/* IWbemClassObject over an object of the double, and what turns one into text. */
#include "tests/doubles/com/com_double_win32.h"

#include <string.h>

struct object {
    const IWbemClassObjectVtbl *vtbl;
    LONG refs;
    struct wmi_object *o;                              /* NULL: the signature of out-parameters */
    struct com_services *services;                     /* of a class, or of a signature */
    bool signature;                                    /* of in-parameters: gives instances, has no values itself */
};

static const IWbemClassObjectVtbl vtbl;

static struct object *make(struct wmi_object *o, struct com_services *services)
{
    struct object *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    *p = (struct object){.vtbl = &vtbl, .refs = 1, .o = o, .services = services};
    if (services)
        com_services_ref(services);
    com_live(COM_OBJECT, 1);
    return p;
}

IWbemClassObject *com_object_new(struct wmi_object *o, struct com_services *services)
{
    return (IWbemClassObject *)make(o, services);
}

struct wmi_object *com_object_inside(IWbemClassObject *o)
{
    struct object *p = (struct object *)o;
    return p && p->vtbl == &vtbl ? p->o : NULL;
}

static HRESULT STDMETHODCALLTYPE query(IWbemClassObject *This, REFIID iid, void **ret)
{
    *ret = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IWbemClassObject))
        return E_NOINTERFACE;
    IWbemClassObject_AddRef(This);
    *ret = This;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE add_ref(IWbemClassObject *This)
{
    return (ULONG)InterlockedIncrement(&((struct object *)This)->refs);
}

static ULONG STDMETHODCALLTYPE release(IWbemClassObject *This)
{
    struct object *p = (struct object *)This;
    LONG left = InterlockedDecrement(&p->refs);
    if (left)
        return (ULONG)left;
    wmi_object_free(p->o);
    if (p->services)
        com_services_unref(p->services);
    free(p);
    com_live(COM_OBJECT, -1);
    return 0;
}

static HRESULT STDMETHODCALLTYPE get(IWbemClassObject *This, LPCWSTR name, LONG flags, VARIANT *ret, CIMTYPE *ret_type, LONG *ret_flavor)
{
    struct object *p = (struct object *)This;
    AUTO_FREE char *text = com_text(name);
    struct wmi_property type;
    struct wmi_value v;
    struct err e;
    if (flags || !text || !p->o || p->signature)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    if (p->o->ops->property(p->o, text, &type, &e) < 0 || wmi_get_value(p->o, text, &v, &e) < 0)
        return com_hresult(&e);
    if (ret_type)
        *ret_type = com_cim(type);
    if (ret_flavor)
        *ret_flavor = 0;
    HRESULT hr = ret ? com_to_variant(&v, ret) : S_OK;
    wmi_value_clear(&v);
    return hr;
}

static HRESULT STDMETHODCALLTYPE put(IWbemClassObject *This, LPCWSTR name, LONG flags, VARIANT *v, CIMTYPE type)
{
    struct object *p = (struct object *)This;
    AUTO_FREE char *text = com_text(name);
    struct wmi_property property;
    struct wmi_value value;
    struct err e;
    if (flags || type || !text || !v || !p->o || p->signature)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    if (p->o->ops->property(p->o, text, &property, &e) < 0)
        return com_hresult(&e);
    HRESULT hr = com_from_variant(v, property, &value);
    if (FAILED(hr))
        return hr;
    hr = wmi_put_value(p->o, text, &value, &e) < 0 ? com_hresult(&e) : S_OK;
    wmi_value_clear(&value);
    return hr;
}

static HRESULT STDMETHODCALLTYPE clone(IWbemClassObject *This, IWbemClassObject **ret)
{
    struct object *p = (struct object *)This;
    struct wmi_object *copy;
    struct err e;
    if (!p->o || p->signature || wmi_clone(p->o, &copy, &e) < 0)
        return (HRESULT)WMI_E_FAILED;
    *ret = com_object_new(copy, p->services);
    return S_OK;
}

static const struct wmi_wait forever = {0};

static HRESULT STDMETHODCALLTYPE spawn(IWbemClassObject *This, LONG flags, IWbemClassObject **ret)
{
    struct object *p = (struct object *)This;
    struct wmi_object *o = NULL;
    struct err e;
    if (flags || !p->services)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    struct wmi *wmi = com_services_wmi(p->services);
    AUTO_FREE char *class = p->signature || !p->o ? NULL : wmi_str(p->o, "__CLASS");
    if (!p->signature && !class)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    int r = p->signature ? wmi_clone(p->o, &o, &e) : wmi->ops->spawn(wmi, class, &forever, &o, &e);
    if (r < 0)
        return com_hresult(&e);
    *ret = com_object_new(o, NULL);
    return S_OK;
}

/* A method without in-parameters has no signature of them. */
static HRESULT STDMETHODCALLTYPE get_method(IWbemClassObject *This, LPCWSTR name, LONG flags, IWbemClassObject **ret_in, IWbemClassObject **ret_out)
{
    struct object *p = (struct object *)This;
    AUTO_FREE char *method = com_text(name), *class = p->o ? wmi_str(p->o, "__CLASS") : NULL;
    struct wmi_object *in = NULL;
    struct err e;
    if (flags || !p->services || !class || !method)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    struct wmi *wmi = com_services_wmi(p->services);
    if (wmi->ops->method(wmi, class, method, &forever, &in, &e) < 0)
        return wmi_hresult(&e) == WMI_E_INVALID_METHOD ? (HRESULT)WMI_E_NOT_FOUND : com_hresult(&e);
    *ret_in = NULL;
    if (in) {
        struct object *signature = make(in, p->services);
        signature->signature = true;
        *ret_in = (IWbemClassObject *)signature;
    }
    *ret_out = com_object_new(NULL, p->services);
    return S_OK;
}

static const IWbemClassObjectVtbl vtbl = {
    .QueryInterface = query,
    .AddRef = add_ref,
    .Release = release,
    .Get = get,
    .Put = put,
    .Clone = clone,
    .SpawnInstance = spawn,
    .GetMethod = get_method,
    NOT_IMPL(IWbemClassObjectVtbl, GetQualifierSet), NOT_IMPL(IWbemClassObjectVtbl, Delete), NOT_IMPL(IWbemClassObjectVtbl, GetNames),
    NOT_IMPL(IWbemClassObjectVtbl, BeginEnumeration), NOT_IMPL(IWbemClassObjectVtbl, Next), NOT_IMPL(IWbemClassObjectVtbl, EndEnumeration),
    NOT_IMPL(IWbemClassObjectVtbl, GetPropertyQualifierSet), NOT_IMPL(IWbemClassObjectVtbl, GetObjectText),
    NOT_IMPL(IWbemClassObjectVtbl, SpawnDerivedClass), NOT_IMPL(IWbemClassObjectVtbl, CompareTo), NOT_IMPL(IWbemClassObjectVtbl, GetPropertyOrigin),
    NOT_IMPL(IWbemClassObjectVtbl, InheritsFrom), NOT_IMPL(IWbemClassObjectVtbl, PutMethod), NOT_IMPL(IWbemClassObjectVtbl, DeleteMethod),
    NOT_IMPL(IWbemClassObjectVtbl, BeginMethodEnumeration), NOT_IMPL(IWbemClassObjectVtbl, NextMethod),
    NOT_IMPL(IWbemClassObjectVtbl, EndMethodEnumeration), NOT_IMPL(IWbemClassObjectVtbl, GetMethodQualifierSet),
    NOT_IMPL(IWbemClassObjectVtbl, GetMethodOrigin),
};

/* ---- IWbemObjectTextSrc ---- */

struct source { const IWbemObjectTextSrcVtbl *vtbl; LONG refs; };

static HRESULT STDMETHODCALLTYPE source_query(IWbemObjectTextSrc *This, REFIID iid, void **ret)
{
    *ret = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IWbemObjectTextSrc))
        return E_NOINTERFACE;
    IWbemObjectTextSrc_AddRef(This);
    *ret = This;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE source_add_ref(IWbemObjectTextSrc *This)
{
    return (ULONG)InterlockedIncrement(&((struct source *)This)->refs);
}

static ULONG STDMETHODCALLTYPE source_release(IWbemObjectTextSrc *This)
{
    LONG left = InterlockedDecrement(&((struct source *)This)->refs);
    if (!left) {
        free(This);
        com_live(COM_TEXT, -1);
    }
    return (ULONG)left;
}

static HRESULT STDMETHODCALLTYPE source_get(IWbemObjectTextSrc *This, LONG flags, IWbemClassObject *o, ULONG format, IWbemContext *ctx, BSTR *ret)
{
    (void)This;
    struct wmi_object *inside = com_object_inside(o);
    AUTO_FREE char *text = NULL;
    struct err e;
    if (flags || ctx || !inside || (format != WMI_OBJ_TEXT_CIM_DTD_2_0 && format != WMI_OBJ_TEXT_WMI_DTD_2_0) || wmi_text(inside, &text, &e) < 0)
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    *ret = com_new_bstr(text);
    return S_OK;
}

static const IWbemObjectTextSrcVtbl source_vtbl = {
    .QueryInterface = source_query,
    .AddRef = source_add_ref,
    .Release = source_release,
    .GetText = source_get,
    NOT_IMPL(IWbemObjectTextSrcVtbl, CreateFromText),
};

HRESULT com_text_source(REFIID iid, void **ret)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return E_OUTOFMEMORY;
    *s = (struct source){.vtbl = &source_vtbl, .refs = 1};
    com_live(COM_TEXT, 1);
    HRESULT hr = IWbemObjectTextSrc_QueryInterface((IWbemObjectTextSrc *)s, iid, ret);
    IWbemObjectTextSrc_Release((IWbemObjectTextSrc *)s);
    return hr;
}

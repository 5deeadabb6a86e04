/* Objects of WMI: instances, classes, parameters. They are values in our own process: nothing here waits. */
#include <string.h>

#include "common/wmi/wmi_com_win32.h"

static const char *ns_of(const struct wmi_object *o)
{
    return ((const struct com_object *)o)->ns;
}

int com_wrap(const char *ns, IWbemClassObject *o, struct wmi_object **ret, struct err *e)
{
    if (!o)
        return wmi_fail(e, ns, WMI_E_FAILED, NULL, "an object that WMI said it gave, but did not");
    struct com_object *c = calloc(1, sizeof *c);
    if (!c) {
        IWbemClassObject_Release(o);
        return err_oom(e);
    }
    c->base.ops = &wmi_com_ops;
    snprintf(c->ns, sizeof c->ns, "%s", ns);
    c->o = o;
    *ret = &c->base;
    return 0;
}

void com_object_free(struct wmi_object *o)
{
    IWbemClassObject_Release(com_object_of(o));
    free(o);
}

int com_object_clone(const struct wmi_object *o, struct wmi_object **ret, struct err *e)
{
    IWbemClassObject *copy = NULL;
    com_error_forget();
    HRESULT hr = IWbemClassObject_Clone(com_object_of(o), &copy);
    return FAILED(hr) ? com_fail(e, ns_of(o), hr, "copying an object") : com_wrap(ns_of(o), copy, ret, e);
}

/* A property with its type. */
static int fetch(const struct wmi_object *o, const char *name, VARIANT *ret, CIMTYPE *ret_type, struct err *e)
{
    AUTO_BSTR BSTR w = NULL;
    int r = com_bstr(name, &w, e);
    if (r < 0)
        return r;
    com_error_forget();
    HRESULT hr = IWbemClassObject_Get(com_object_of(o), w, 0, ret, ret_type, NULL);
    return FAILED(hr) ? com_fail(e, ns_of(o), hr, "%.80s of an object", name) : 0;
}

int com_object_property(const struct wmi_object *o, const char *name, struct wmi_property *ret, struct err *e)
{
    AUTO_VARIANT VARIANT v;
    CIMTYPE type = CIM_EMPTY;
    VariantInit(&v);
    if (str_starts(name, "__")) {                      /* not of a class: what type they have is the same everywhere */
        *ret = (struct wmi_property){.type = WMI_STRING};
        return 0;
    }
    int r = fetch(o, name, &v, &type, e);
    if (r == 0)
        *ret = com_property(type);
    return r;
}

int com_object_get(const struct wmi_object *o, const char *name, struct wmi_value *ret, struct err *e)
{
    AUTO_VARIANT VARIANT v;
    CIMTYPE type = CIM_EMPTY;
    VariantInit(&v);
    int r = fetch(o, name, &v, &type, e);
    if (r == 0 && (r = com_read(&v, type, ns_of(o), ret, e)) < 0)
        err_prefix(e, "%.80s", name);
    return r;
}

int com_object_put(struct wmi_object *o, const char *name, const struct wmi_value *v, struct err *e)
{
    AUTO_VARIANT VARIANT old, new;
    AUTO_BSTR BSTR w = NULL;
    CIMTYPE type = CIM_EMPTY;
    uint32_t refused = 0;
    VariantInit(&old);
    VariantInit(&new);
    int r = fetch(o, name, &old, &type, e);
    if (r == 0)
        r = com_write(v, type, &new, &refused, e);
    if (r == 0 && refused)
        r = wmi_fail(e, ns_of(o), refused, NULL, "setting %.80s, which is a %s%s, to a %s%s", name, wmi_type_name(com_property(type).type),
                     com_property(type).array ? " array" : "", wmi_type_name(v->type), v->array ? " array" : "");
    if (r == 0)
        r = com_bstr(name, &w, e);
    if (r < 0)
        return r;
    com_error_forget();
    HRESULT hr = IWbemClassObject_Put(com_object_of(o), w, 0, &new, 0);
    return FAILED(hr) ? com_fail(e, ns_of(o), hr, "setting %.80s", name) : 0;
}

int com_object_text(const struct wmi_object *o, char **ret, struct err *e)
{
    AUTO_COM IWbemObjectTextSrc *source = NULL;
    AUTO_BSTR BSTR text = NULL;
    com_error_forget();
    HRESULT hr = CoCreateInstance(&CLSID_WbemObjectTextSrc, NULL, CLSCTX_INPROC_SERVER, &IID_IWbemObjectTextSrc, (void **)&source);
    if (FAILED(hr))
        return com_fail(e, ns_of(o), hr, "the writer of instance texts");
    hr = IWbemObjectTextSrc_GetText(source, 0, com_object_of(o), WMI_OBJ_TEXT_CIM_DTD_2_0, NULL, &text);
    return FAILED(hr) ? com_fail(e, ns_of(o), hr, "writing an instance as text") : com_utf8(text, ret, e);
}

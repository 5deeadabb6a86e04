/* What WMI leaves on a thread beside an HRESULT: IErrorInfo, which is an instance of __ExtendedStatus too. */
#include "tests/doubles/com/com_double_win32.h"

#include <string.h>
#include <wchar.h>

struct status {
    const IErrorInfoVtbl *info;
    const IWbemClassObjectVtbl *object;
    LONG refs;
    char *operation, *description;
    uint32_t code;
};

static struct status *of_object(IWbemClassObject *o)
{
    return (struct status *)((char *)o - offsetof(struct status, object));
}

static HRESULT query(struct status *s, REFIID iid, void **ret)
{
    *ret = IsEqualGUID(iid, &IID_IUnknown) || IsEqualGUID(iid, &IID_IErrorInfo) ? (void *)s : IsEqualGUID(iid, &IID_IWbemClassObject) ? (void *)&s->object : NULL;
    if (!*ret)
        return E_NOINTERFACE;
    InterlockedIncrement(&s->refs);
    return S_OK;
}

static ULONG release(struct status *s)
{
    LONG left = InterlockedDecrement(&s->refs);
    if (!left) {
        free(s->operation);
        free(s->description);
        free(s);
        com_live(COM_STATUS, -1);
    }
    return (ULONG)left;
}

static HRESULT STDMETHODCALLTYPE info_query(IErrorInfo *This, REFIID iid, void **ret)
{
    return query((struct status *)This, iid, ret);
}

static ULONG STDMETHODCALLTYPE info_add_ref(IErrorInfo *This)
{
    return (ULONG)InterlockedIncrement(&((struct status *)This)->refs);
}

static ULONG STDMETHODCALLTYPE info_release(IErrorInfo *This)
{
    return release((struct status *)This);
}

static HRESULT STDMETHODCALLTYPE info_description(IErrorInfo *This, BSTR *ret)
{
    *ret = com_new_bstr(((struct status *)This)->description);
    return S_OK;
}

static const IErrorInfoVtbl info_vtbl = {
    .QueryInterface = info_query,
    .AddRef = info_add_ref,
    .Release = info_release,
    .GetDescription = info_description,
    NOT_IMPL(IErrorInfoVtbl, GetGUID), NOT_IMPL(IErrorInfoVtbl, GetSource), NOT_IMPL(IErrorInfoVtbl, GetHelpFile), NOT_IMPL(IErrorInfoVtbl, GetHelpContext),
};

static HRESULT STDMETHODCALLTYPE object_query(IWbemClassObject *This, REFIID iid, void **ret)
{
    return query(of_object(This), iid, ret);
}

static ULONG STDMETHODCALLTYPE object_add_ref(IWbemClassObject *This)
{
    return (ULONG)InterlockedIncrement(&of_object(This)->refs);
}

static ULONG STDMETHODCALLTYPE object_release(IWbemClassObject *This)
{
    return release(of_object(This));
}

static HRESULT STDMETHODCALLTYPE object_get(IWbemClassObject *This, LPCWSTR name, LONG flags, VARIANT *ret, CIMTYPE *ret_type, LONG *ret_flavor)
{
    struct status *s = of_object(This);
    (void)flags;
    (void)ret_type;
    (void)ret_flavor;
    VariantInit(ret);
    if (!wcscmp(name, L"StatusCode")) {
        V_VT(ret) = VT_I4;
        V_I4(ret) = (LONG)s->code;
    } else if (!wcscmp(name, L"Operation") || !wcscmp(name, L"Description") || !wcscmp(name, L"ProviderName")) {
        V_VT(ret) = VT_BSTR;
        V_BSTR(ret) = com_new_bstr(name[0] == L'O' ? s->operation : name[0] == L'D' ? s->description : "VmmsWmiInstanceAndMethodProvider");
    } else if (!wcscmp(name, L"ParameterInfo")) {
        V_VT(ret) = VT_NULL;
    } else {
        return (HRESULT)WMI_E_NOT_FOUND;
    }
    return S_OK;
}

static const IWbemClassObjectVtbl object_vtbl = {
    .QueryInterface = object_query,
    .AddRef = object_add_ref,
    .Release = object_release,
    .Get = object_get,
    NOT_IMPL(IWbemClassObjectVtbl, Put), NOT_IMPL(IWbemClassObjectVtbl, Clone), NOT_IMPL(IWbemClassObjectVtbl, SpawnInstance),
    NOT_IMPL(IWbemClassObjectVtbl, GetMethod), NOT_IMPL(IWbemClassObjectVtbl, GetQualifierSet), NOT_IMPL(IWbemClassObjectVtbl, Delete),
    NOT_IMPL(IWbemClassObjectVtbl, GetNames), NOT_IMPL(IWbemClassObjectVtbl, BeginEnumeration), NOT_IMPL(IWbemClassObjectVtbl, Next),
    NOT_IMPL(IWbemClassObjectVtbl, EndEnumeration), NOT_IMPL(IWbemClassObjectVtbl, GetPropertyQualifierSet), NOT_IMPL(IWbemClassObjectVtbl, GetObjectText),
    NOT_IMPL(IWbemClassObjectVtbl, SpawnDerivedClass), NOT_IMPL(IWbemClassObjectVtbl, CompareTo), NOT_IMPL(IWbemClassObjectVtbl, GetPropertyOrigin),
    NOT_IMPL(IWbemClassObjectVtbl, InheritsFrom), NOT_IMPL(IWbemClassObjectVtbl, PutMethod), NOT_IMPL(IWbemClassObjectVtbl, DeleteMethod),
    NOT_IMPL(IWbemClassObjectVtbl, BeginMethodEnumeration), NOT_IMPL(IWbemClassObjectVtbl, NextMethod),
    NOT_IMPL(IWbemClassObjectVtbl, EndMethodEnumeration), NOT_IMPL(IWbemClassObjectVtbl, GetMethodQualifierSet),
    NOT_IMPL(IWbemClassObjectVtbl, GetMethodOrigin),
};

/* The double's words are what its error has in brackets at the end. */
void com_leave_words(const struct err *e, const char *operation)
{
    const char *open = strrchr(e->msg, '('), *close = e->msg[0] ? e->msg + strlen(e->msg) - 1 : NULL;
    if (!open || *close != ')')
        return;
    struct status *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    *s = (struct status){.info = &info_vtbl, .object = &object_vtbl, .refs = 1, .code = wmi_hresult(e)};
    s->operation = str_dup(operation);
    s->description = str_ndup(open + 1, (size_t)(close - open - 1));
    if (!s->operation || !s->description)
        abort();
    com_live(COM_STATUS, 1);
    SetErrorInfo(0, (IErrorInfo *)s);
    release(s);
}

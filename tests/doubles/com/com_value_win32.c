/* VARIANTs as WMI has them: one VARTYPE for each CIM type, nothing else. */
#include "tests/doubles/com/com_double_win32.h"

#include <stdio.h>
#include <string.h>
#include <wchar.h>

char *com_text(const wchar_t *s)
{
    if (!s)
        return NULL;
    int n = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, s, -1, NULL, 0, NULL, NULL);
    char *text = n > 0 ? malloc((size_t)n) : NULL;
    if (!text)
        abort();
    WideCharToMultiByte(CP_UTF8, 0, s, -1, text, n, NULL, NULL);
    return text;
}

BSTR com_new_bstr(const char *s)
{
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, s, -1, NULL, 0);
    BSTR b = n > 0 ? SysAllocStringLen(NULL, (UINT)n - 1) : NULL;
    if (!b)
        abort();
    MultiByteToWideChar(CP_UTF8, 0, s, -1, b, n);
    return b;
}

CIMTYPE com_cim(struct wmi_property p)
{
    static const CIMTYPE types[] = {
        [WMI_NULL] = CIM_EMPTY,       [WMI_BOOLEAN] = CIM_BOOLEAN, [WMI_SINT8] = CIM_SINT8,   [WMI_UINT8] = CIM_UINT8,
        [WMI_SINT16] = CIM_SINT16,    [WMI_UINT16] = CIM_UINT16,   [WMI_SINT32] = CIM_SINT32, [WMI_UINT32] = CIM_UINT32,
        [WMI_SINT64] = CIM_SINT64,    [WMI_UINT64] = CIM_UINT64,   [WMI_CHAR16] = CIM_CHAR16, [WMI_STRING] = CIM_STRING,
        [WMI_DATETIME] = CIM_DATETIME, [WMI_REFERENCE] = CIM_REFERENCE, [WMI_OBJECT] = CIM_OBJECT,
    };
    return (CIMTYPE)(types[p.type] | (p.array ? CIM_FLAG_ARRAY : 0));
}

static VARTYPE vartype(enum wmi_type t)
{
    switch (t) {
    case WMI_BOOLEAN: return VT_BOOL;
    case WMI_UINT8: return VT_UI1;
    case WMI_SINT8: case WMI_SINT16: case WMI_CHAR16: return VT_I2;
    case WMI_UINT16: case WMI_SINT32: case WMI_UINT32: return VT_I4;
    case WMI_OBJECT: return VT_UNKNOWN;
    case WMI_NULL: return VT_NULL;
    default: return VT_BSTR;
    }
}

/* Fills the value part of a VARIANT; its VARTYPE is vartype(t). */
static void put_item(VARIANT *v, enum wmi_type t, const union wmi_item *item)
{
    char text[24];
    V_VT(v) = vartype(t);
    switch (t) {
    case WMI_BOOLEAN: V_BOOL(v) = item->b ? VARIANT_TRUE : VARIANT_FALSE; break;
    case WMI_SINT8: case WMI_SINT16: V_I2(v) = (SHORT)item->i; break;
    case WMI_CHAR16: V_I2(v) = (SHORT)item->u; break;
    case WMI_UINT8: V_UI1(v) = (BYTE)item->u; break;
    case WMI_SINT32: V_I4(v) = (LONG)item->i; break;
    case WMI_UINT16: case WMI_UINT32: V_I4(v) = (LONG)(uint32_t)item->u; break;
    case WMI_SINT64: snprintf(text, sizeof text, "%lld", (long long)item->i); V_BSTR(v) = com_new_bstr(text); break;
    case WMI_UINT64: snprintf(text, sizeof text, "%llu", (unsigned long long)item->u); V_BSTR(v) = com_new_bstr(text); break;
    case WMI_OBJECT: {
        struct wmi_object *copy;
        struct err e;
        if (wmi_clone(item->o, &copy, &e) < 0)
            abort();
        V_UNKNOWN(v) = (IUnknown *)com_object_new(copy, NULL);
        break;
    }
    default: V_BSTR(v) = com_new_bstr(item->s);
    }
}

HRESULT com_to_variant(const struct wmi_value *v, VARIANT *ret)
{
    VariantInit(ret);
    V_VT(ret) = VT_NULL;
    if (v->type == WMI_NULL)
        return S_OK;
    if (!v->array) {
        put_item(ret, v->type, &v->one);
        return S_OK;
    }
    SAFEARRAY *a = SafeArrayCreateVector(vartype(v->type), 0, (ULONG)v->n);
    void *data;
    if (!a)
        return E_OUTOFMEMORY;
    if (v->type == WMI_UINT8 && SUCCEEDED(SafeArrayAccessData(a, &data))) {
        memcpy(data, v->bytes, v->n);
        SafeArrayUnaccessData(a);
    }
    for (LONG i = 0; v->type != WMI_UINT8 && i < (LONG)v->n; i++) {
        VARIANT item;
        put_item(&item, v->type, &v->items[i]);
        /* texts and objects are given as pointers, all else by its place; copied either way */
        bool pointer = V_VT(&item) == VT_BSTR || V_VT(&item) == VT_UNKNOWN;
        HRESULT hr = SafeArrayPutElement(a, &i, pointer ? (void *)V_BSTR(&item) : (void *)&V_UI1(&item));
        VariantClear(&item);
        if (FAILED(hr))
            abort();
    }
    V_VT(ret) = (VARTYPE)(VT_ARRAY | vartype(v->type));
    V_ARRAY(ret) = a;
    return S_OK;
}

static bool number_from_text(const wchar_t *s, bool with_sign, union wmi_item *ret)
{
    wchar_t *end;
    if (!s || !*s || wcsspn(s, with_sign ? L"-0123456789" : L"0123456789") != wcslen(s))
        return false;
    if (with_sign)
        ret->i = wcstoll(s, &end, 10);
    else
        ret->u = wcstoull(s, &end, 10);
    return !*end;
}

/* One value of exactly the right VARTYPE. */
static bool take_item(VARTYPE vt, const void *data, enum wmi_type t, union wmi_item *ret)
{
    if (vt != vartype(t))
        return false;
    switch (t) {
    case WMI_BOOLEAN: ret->b = *(const VARIANT_BOOL *)data != VARIANT_FALSE; return true;
    case WMI_UINT8: ret->u = *(const BYTE *)data; return true;
    case WMI_SINT8: ret->i = *(const SHORT *)data; return ret->i >= INT8_MIN && ret->i <= INT8_MAX;
    case WMI_SINT16: ret->i = *(const SHORT *)data; return true;
    case WMI_CHAR16: ret->u = *(const USHORT *)data; return true;
    case WMI_SINT32: ret->i = *(const LONG *)data; return true;
    case WMI_UINT32: ret->u = *(const ULONG *)data; return true;
    case WMI_UINT16: ret->u = *(const ULONG *)data; return ret->u <= UINT16_MAX;
    case WMI_SINT64: case WMI_UINT64: return number_from_text(*(BSTR const *)data, t == WMI_SINT64, ret);
    case WMI_OBJECT: {
        struct wmi_object *inside = com_object_inside(*(IWbemClassObject *const *)data);
        struct err e;
        return inside && wmi_clone(inside, &ret->o, &e) == 0;
    }
    default:
        ret->s = com_text(*(BSTR const *)data ? *(BSTR const *)data : L"");
        return true;
    }
}

static HRESULT take_array(const VARIANT *v, enum wmi_type t, struct wmi_value *ret)
{
    SAFEARRAY *a = V_ARRAY(v);
    LONG low, high;
    uint8_t *data;
    if (!a || SafeArrayGetDim(a) != 1 || FAILED(SafeArrayGetLBound(a, 1, &low)) || FAILED(SafeArrayGetUBound(a, 1, &high)) ||
        FAILED(SafeArrayAccessData(a, (void **)&data)))
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    size_t n = (size_t)(high - low + 1);
    bool ok = true;
    *ret = (struct wmi_value){.type = t, .array = true};
    if (t == WMI_UINT8) {
        ret->bytes = malloc(n + 1);
        if (!ret->bytes)
            abort();
        memcpy(ret->bytes, data, n);
        ret->n = n;
    } else {
        ret->items = calloc(n + 1, sizeof *ret->items);
        if (!ret->items)
            abort();
        for (; ok && ret->n < n; ret->n += ok)
            ok = take_item(vartype(t), data + ret->n * SafeArrayGetElemsize(a), t, &ret->items[ret->n]);
    }
    SafeArrayUnaccessData(a);
    if (!ok)
        wmi_value_clear(ret);
    return ok ? S_OK : (HRESULT)WMI_E_TYPE_MISMATCH;
}

HRESULT com_from_variant(const VARIANT *v, struct wmi_property p, struct wmi_value *ret)
{
    *ret = (struct wmi_value){0};
    if (V_VT(v) == VT_NULL)
        return S_OK;
    if (V_VT(v) != (p.array ? (VT_ARRAY | vartype(p.type)) : vartype(p.type)))
        return (HRESULT)WMI_E_TYPE_MISMATCH;
    if (p.array)
        return take_array(v, p.type, ret);
    union wmi_item item = {0};
    if (!take_item(V_VT(v), &V_UI1(v), p.type, &item))
        return (HRESULT)WMI_E_TYPE_MISMATCH;
    *ret = (struct wmi_value){.type = p.type, .one = item};
    return S_OK;
}

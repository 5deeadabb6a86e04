/* VARIANTs and CIM values. WMI takes exactly one VARTYPE for each CIM type: 64-bit numbers, dates and references travel as text, and most of
 * the smaller numbers as VT_I4 whatever their sign. Reading takes any VARTYPE that holds the value. */
#include "common/wmi/wmi_com_win32.h"

#include <errno.h>
#include <string.h>
#include <wchar.h>

#include "common/os_win32.h"

/* ---- types ---- */

/* min and max bound what fits; for 64 bits the text does. */
static const struct row {
    CIMTYPE cim;
    enum wmi_type type;
    VARTYPE vt;
    int64_t min;
    uint64_t max;
} rows[] = {
    {CIM_BOOLEAN, WMI_BOOLEAN, VT_BOOL, 0, 0},
    {CIM_SINT8, WMI_SINT8, VT_I2, INT8_MIN, INT8_MAX},
    {CIM_UINT8, WMI_UINT8, VT_UI1, 0, UINT8_MAX},
    {CIM_SINT16, WMI_SINT16, VT_I2, INT16_MIN, INT16_MAX},
    {CIM_UINT16, WMI_UINT16, VT_I4, 0, UINT16_MAX},
    {CIM_SINT32, WMI_SINT32, VT_I4, INT32_MIN, INT32_MAX},
    {CIM_UINT32, WMI_UINT32, VT_I4, 0, UINT32_MAX},
    {CIM_SINT64, WMI_SINT64, VT_BSTR, INT64_MIN, INT64_MAX},
    {CIM_UINT64, WMI_UINT64, VT_BSTR, 0, UINT64_MAX},
    {CIM_CHAR16, WMI_CHAR16, VT_I2, 0, UINT16_MAX},
    {CIM_STRING, WMI_STRING, VT_BSTR, 0, 0},
    {CIM_DATETIME, WMI_DATETIME, VT_BSTR, 0, 0},
    {CIM_REFERENCE, WMI_REFERENCE, VT_BSTR, 0, 0},
    {CIM_OBJECT, WMI_OBJECT, VT_UNKNOWN, 0, 0},
};

static const struct row *row_of(CIMTYPE type)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].cim == (type & ~CIM_FLAG_ARRAY))
            return &rows[i];
    return NULL;
}

struct wmi_property com_property(CIMTYPE type)
{
    const struct row *r = row_of(type);
    return (struct wmi_property){.type = r ? r->type : WMI_NULL, .array = r && (type & CIM_FLAG_ARRAY)};
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
    return t >= WMI_SINT8 && t <= WMI_CHAR16;
}

/* ---- texts ---- */

int com_bstr(const char *s, BSTR *ret, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    int r = win_utf16(s, &w, e);
    if (r < 0)
        return r;
    *ret = SysAllocString(w);
    return *ret ? 0 : err_oom(e);
}

int com_utf8(const wchar_t *s, char **ret, struct err *e)
{
    size_t n = s ? wcslen(s) : 0;
    if (n > WMI_TEXT_MAX)
        return err_set(e, ERR_UPSTREAM_FINAL, "WMI gives a text of %zu characters, more than the %u that are read", n, WMI_TEXT_MAX);
    int need = n ? WideCharToMultiByte(CP_UTF8, 0, s, (int)n, NULL, 0, NULL, NULL) : 0;
    char *text = malloc((size_t)need + 1);
    if (!text)
        return err_oom(e);
    if (need)
        WideCharToMultiByte(CP_UTF8, 0, s, (int)n, text, need, NULL, NULL);
    text[need] = 0;
    if ((size_t)need > WMI_TEXT_MAX) {
        free(text);
        return err_set(e, ERR_UPSTREAM_FINAL, "WMI gives a text of %d bytes, more than the %u that are read", need, WMI_TEXT_MAX);
    }
    *ret = text;
    return 0;
}

/* ---- reading ---- */

static int strange(struct err *e, VARTYPE vt, enum wmi_type type)
{
    return err_set(e, ERR_UPSTREAM_FINAL, "WMI gives a %s as VARTYPE %u, which cannot be one", wmi_type_name(type), vt);
}

/* A number of any VARTYPE, as 64 bits; `data` is where a VARIANT or an array has it. */
static bool as_bits(VARTYPE vt, const void *data, uint64_t *ret)
{
    switch (vt) {
    case VT_I1: *ret = (uint64_t)*(const int8_t *)data; return true;
    case VT_UI1: *ret = *(const uint8_t *)data; return true;
    case VT_I2: case VT_BOOL: *ret = (uint64_t)*(const int16_t *)data; return true;
    case VT_UI2: *ret = *(const uint16_t *)data; return true;
    case VT_I4: case VT_INT: *ret = (uint64_t)*(const int32_t *)data; return true;
    case VT_UI4: case VT_UINT: *ret = *(const uint32_t *)data; return true;
    case VT_I8: case VT_UI8: *ret = *(const uint64_t *)data; return true;
    default: return false;
    }
}

static bool parse_number(const wchar_t *s, bool with_sign, uint64_t *ret)
{
    wchar_t *end;
    if (!s || !(*s == L'-' || (*s >= L'0' && *s <= L'9')))
        return false;
    errno = 0;
    *ret = with_sign ? (uint64_t)wcstoll(s, &end, 10) : wcstoull(s, &end, 10);
    return !*end && !errno && (with_sign || *s != L'-');
}

/* uint32 from 2^31 on comes as a negative VT_I4: only the declared width counts. */
static union wmi_item narrow(enum wmi_type type, uint64_t bits)
{
    switch (type) {
    case WMI_SINT8: return (union wmi_item){.i = (int8_t)bits};
    case WMI_SINT16: return (union wmi_item){.i = (int16_t)bits};
    case WMI_SINT32: return (union wmi_item){.i = (int32_t)bits};
    case WMI_SINT64: return (union wmi_item){.i = (int64_t)bits};
    case WMI_UINT8: return (union wmi_item){.u = (uint8_t)bits};
    case WMI_UINT16: case WMI_CHAR16: return (union wmi_item){.u = (uint16_t)bits};
    case WMI_UINT32: return (union wmi_item){.u = (uint32_t)bits};
    default: return (union wmi_item){.u = bits};
    }
}

static int read_object(IUnknown *u, const char *ns, union wmi_item *ret, struct err *e)
{
    IWbemClassObject *o = NULL;
    HRESULT hr = IUnknown_QueryInterface(u, &IID_IWbemClassObject, (void **)&o);
    return FAILED(hr) ? com_fail(e, ns, hr, "reading an embedded object") : com_wrap(ns, o, &ret->o, e);
}

/* One value. *ret_none: there is nothing (NULL in an array of texts or objects). */
static int read_one(VARTYPE vt, const void *data, const struct row *row, const char *ns, union wmi_item *ret, bool *ret_none, struct err *e)
{
    uint64_t bits = 0;
    *ret_none = false;
    if (is_text(row->type)) {
        if (vt != VT_BSTR)
            return strange(e, vt, row->type);
        *ret_none = !*(BSTR const *)data;
        return com_utf8(*(BSTR const *)data, &ret->s, e);
    }
    if (row->type == WMI_OBJECT) {
        IUnknown *u = vt == VT_UNKNOWN || vt == VT_DISPATCH ? *(IUnknown *const *)data : NULL;
        if (vt != VT_UNKNOWN && vt != VT_DISPATCH)
            return strange(e, vt, row->type);
        *ret_none = !u;
        return u ? read_object(u, ns, ret, e) : 0;
    }
    if (vt == VT_BSTR ? !parse_number(*(BSTR const *)data, is_signed(row->type), &bits) : !as_bits(vt, data, &bits))
        return strange(e, vt, row->type);
    if (row->type == WMI_BOOLEAN)
        ret->b = bits != 0;
    else
        *ret = narrow(row->type, bits);
    return 0;
}

static int read_items(VARTYPE vt, const uint8_t *data, size_t size, size_t n, const struct row *row, const char *ns, struct wmi_value *v, struct err *e)
{
    if (row->type == WMI_UINT8 && vt == VT_UI1) {
        if (!(v->bytes = malloc(n + 1)))
            return err_oom(e);
        memcpy(v->bytes, data, n);
        v->n = n;
        return 0;
    }
    if (row->type == WMI_UINT8)
        return strange(e, vt, row->type);
    if (!(v->items = calloc(n + 1, sizeof *v->items)))
        return err_oom(e);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        bool none;
        r = read_one(vt, data + i * size, row, ns, &v->items[v->n], &none, e);
        if (r == 0 && none && is_text(row->type))
            free(v->items[v->n].s);
        v->n += r == 0 && !none;
    }
    return r;
}

static int read_array(SAFEARRAY *a, const struct row *row, const char *ns, struct wmi_value *ret, struct err *e)
{
    LONG low = 0, high = -1;
    VARTYPE vt = VT_EMPTY;
    void *data = NULL;
    if (!a || SafeArrayGetDim(a) != 1 || FAILED(SafeArrayGetVartype(a, &vt)) || FAILED(SafeArrayGetLBound(a, 1, &low)) ||
        FAILED(SafeArrayGetUBound(a, 1, &high)))
        return err_set(e, ERR_UPSTREAM_FINAL, "WMI gives an array that is none");
    size_t n = high < low ? 0 : (size_t)((int64_t)high - low + 1);
    if (n > WMI_ARRAY_MAX)
        return err_set(e, ERR_UPSTREAM_FINAL, "WMI gives an array of %zu elements, more than the %u that are read", n, WMI_ARRAY_MAX);
    HRESULT hr = SafeArrayAccessData(a, &data);
    if (FAILED(hr))
        return com_fail(e, ns, hr, "reading an array");
    struct wmi_value v = {.type = row->type, .array = true};
    int r = read_items(vt, data, SafeArrayGetElemsize(a), n, row, ns, &v, e);
    SafeArrayUnaccessData(a);
    if (r < 0)
        wmi_value_clear(&v);
    else
        *ret = v;
    return r;
}

int com_read(const VARIANT *v, CIMTYPE type, const char *ns, struct wmi_value *ret, struct err *e)
{
    const struct row *row = row_of(type);
    VARTYPE vt = V_VT(v);
    *ret = (struct wmi_value){0};
    if (!row || vt == VT_NULL || vt == VT_EMPTY)
        return 0;
    if (!!(vt & VT_ARRAY) != !!(type & CIM_FLAG_ARRAY))
        return strange(e, vt, row->type);
    if (vt & VT_ARRAY)
        return read_array(V_ARRAY(v), row, ns, ret, e);
    struct wmi_value one = {.type = row->type};
    bool none;
    int r = read_one(vt, &V_UI1(v), row, ns, &one.one, &none, e);
    if (r == 0 && (!none || is_text(row->type)))         /* a NULL BSTR is the empty text */
        *ret = one;
    return r;
}

/* ---- writing ---- */

/* As 64 bits if the target's range holds it. */
static bool fit(const struct row *to, enum wmi_type from, const union wmi_item *item, uint64_t *ret)
{
    if (!is_number(from) || !is_number(to->type))
        return false;
    if (is_signed(from) && item->i < 0) {
        *ret = (uint64_t)item->i;
        return item->i >= to->min;
    }
    *ret = item->u;
    return item->u <= to->max;
}

/* Room for any of the VARTYPEs of the table, where a VARIANT or an array would have it. */
union cell { VARIANT_BOOL b; BYTE ui1; SHORT i2; LONG i4; BSTR s; IUnknown *u; };

/* 0 with *ret_hresult set when WMI would not take it. */
static int write_one(const struct row *to, enum wmi_type from, const union wmi_item *item, union cell *ret, uint32_t *ret_hresult, struct err *e)
{
    uint64_t bits = 0;
    *ret_hresult = 0;
    if (is_text(to->type) && is_text(from))
        return com_bstr(item->s, &ret->s, e);
    if (to->type == WMI_OBJECT && from == WMI_OBJECT) {
        ret->u = (IUnknown *)com_object_of(item->o);
        IUnknown_AddRef(ret->u);
        return 0;
    }
    if (to->type == WMI_BOOLEAN && from == WMI_BOOLEAN) {
        ret->b = item->b ? VARIANT_TRUE : VARIANT_FALSE;
        return 0;
    }
    if (!fit(to, from, item, &bits)) {
        *ret_hresult = WMI_E_TYPE_MISMATCH;
        return 0;
    }
    if (to->vt == VT_BSTR) {
        char text[24];
        if (is_signed(to->type))
            snprintf(text, sizeof text, "%lld", (long long)(int64_t)bits);
        else
            snprintf(text, sizeof text, "%llu", (unsigned long long)bits);
        return com_bstr(text, &ret->s, e);
    }
    if (to->vt == VT_UI1)
        ret->ui1 = (BYTE)bits;
    else if (to->vt == VT_I2)
        ret->i2 = (SHORT)bits;
    else
        ret->i4 = (LONG)bits;
    return 0;
}

static size_t cell_size(VARTYPE vt)
{
    return vt == VT_UI1 ? 1 : vt == VT_I2 || vt == VT_BOOL ? 2 : vt == VT_I4 ? 4 : sizeof(void *);
}

static int write_array(const struct wmi_value *v, const struct row *row, VARIANT *ret, uint32_t *ret_hresult, struct err *e)
{
    if (v->n > WMI_ARRAY_MAX)
        return err_set(e, ERR_INTERNAL, "an array of %zu elements is more than WMI is given", v->n);
    SAFEARRAY *a = SafeArrayCreateVector(row->vt, 0, (ULONG)v->n);
    if (!a)
        return err_oom(e);
    V_VT(ret) = (VARTYPE)(VT_ARRAY | row->vt);           /* the caller's from now on, with all that lies in it */
    V_ARRAY(ret) = a;
    uint8_t *data = NULL;
    HRESULT hr = SafeArrayAccessData(a, (void **)&data);
    if (FAILED(hr))
        return err_oom(e);
    int r = 0;
    for (size_t i = 0; r == 0 && !*ret_hresult && i < v->n; i++) {
        union wmi_item byte = {.u = v->type == WMI_UINT8 ? v->bytes[i] : 0};
        union cell cell = {0};
        r = write_one(row, v->type, v->type == WMI_UINT8 ? &byte : &v->items[i], &cell, ret_hresult, e);
        memcpy(data + i * cell_size(row->vt), &cell, cell_size(row->vt));
    }
    SafeArrayUnaccessData(a);
    return r;
}

int com_write(const struct wmi_value *v, CIMTYPE type, VARIANT *ret, uint32_t *ret_hresult, struct err *e)
{
    const struct row *row = row_of(type);
    *ret_hresult = 0;
    VariantInit(ret);
    V_VT(ret) = VT_NULL;
    if (v->type == WMI_NULL)
        return 0;
    if (!row || v->array != !!(type & CIM_FLAG_ARRAY)) {
        *ret_hresult = WMI_E_TYPE_MISMATCH;
        return 0;
    }
    if (v->array)
        return write_array(v, row, ret, ret_hresult, e);
    union cell cell = {0};
    int r = write_one(row, v->type, &v->one, &cell, ret_hresult, e);
    if (r == 0 && !*ret_hresult) {
        V_VT(ret) = row->vt;
        memcpy(&V_UI1(ret), &cell, cell_size(row->vt));
    }
    return r;
}

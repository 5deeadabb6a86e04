/* The COM side of the seam against a WMI that is not ours: what root\cimv2 of this Windows (or Wine) answers. Hyper-V is not asked. */
#include "common/wmi/wmi_com_win32.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "common/os_win32.h"

#define HKLM 0x80000002u

static const struct wmi_wait wait = {.timeout_ms = 60000};

static struct wmi *cimv2(void)
{
    struct wmi *wmi = NULL;
    struct err e;
    int r = wmi_open(&wmi_com_ops, NULL, WMI_NS_CIMV2, &wait, &wmi, &e);
    if (r < 0)
        fail_msg("%s", e.msg);
    return wmi;
}

#define OK(call, e) \
    do { \
        if ((call) < 0) \
            fail_msg("%s: %s", #call, (e).msg); \
    } while (0)

/* ---- connections ---- */

static void no_such_namespace(void **state)
{
    (void)state;
    struct wmi *wmi = NULL;
    struct err e;
    assert_int_equal(wmi_open(&wmi_com_ops, NULL, "ROOT\\there\\is\\none", &wait, &wmi, &e), -ERR_HYPERVISOR);
    assert_int_equal(wmi_hresult(&e), WMI_E_INVALID_NAMESPACE);
    assert_string_equal(e.upstream.service, "wmi");
    assert_string_equal(e.upstream.code, "0x8004100E");
    assert_non_null(strstr(e.msg, "there\\is\\none"));
    assert_null(wmi);
}

static bool now(void *arg)
{
    ++*(int *)arg;
    return true;
}

static void stopped(void **state)
{
    (void)state;
    struct wmi *wmi = NULL;
    struct wmi_rows rows = {0};
    struct wmi_object *o = NULL;
    struct err e;
    int asked = 0;
    struct wmi_wait stop = {.timeout_ms = 60000, .stop = now, .arg = &asked};
    assert_int_equal(wmi_open(&wmi_com_ops, NULL, WMI_NS_CIMV2, &stop, &wmi, &e), -ERR_CANCELLED);
    wmi = cimv2();
    assert_int_equal(wmi_query(wmi, "SELECT * FROM Win32_OperatingSystem", 10, &stop, &rows, &e), -ERR_CANCELLED);
    assert_int_equal(wmi_get(wmi, "Win32_OperatingSystem", &stop, &o, &e), -ERR_CANCELLED);
    assert_int_equal(wmi_exec(wmi, "StdRegProv", "EnumKey", NULL, &stop, &o, &e), -ERR_CANCELLED);
    assert_int_equal(wmi_delete_instance(wmi, "Win32_OperatingSystem=@", &stop, &e), -ERR_CANCELLED);
    assert_true(asked >= 5 && !rows.n && !o);
    wmi_close(wmi);
}

static void reconnects(void **state)
{
    (void)state;
    struct wmi *wmi = cimv2();
    struct wmi_object *os = NULL;
    struct err e;
    assert_int_equal(wmi->connection, 0);
    OK(wmi_com_ops.reconnect(wmi, 0, &wait, &e), e);
    assert_int_equal(wmi->connection, 1);
    OK(wmi_com_ops.reconnect(wmi, 0, &wait, &e), e);      /* somebody else has done it */
    assert_int_equal(wmi->connection, 1);
    OK(wmi_query_one(wmi, "SELECT * FROM Win32_OperatingSystem", &wait, &os, &e), e);
    wmi_close(wmi);                                       /* objects outlive it */
    AUTO_FREE char *name = wmi_str(os, "Caption");
    assert_non_null(name);
    wmi_object_free(os);
}

/* ---- queries and values ---- */

static void system_facts(void **state)
{
    (void)state;
    struct wmi *wmi = cimv2();
    struct wmi_object *os = NULL;
    struct err e;
    OK(wmi_query_one(wmi, "SELECT * FROM Win32_OperatingSystem", &wait, &os, &e), e);
    AUTO_FREE char *class_name = wmi_str(os, "__CLASS"), *build = wmi_str(os, "BuildNumber"), *boot = wmi_str(os, "LastBootUpTime");
    AUTO_FREE char *path = NULL;
    assert_string_equal(class_name, "Win32_OperatingSystem");
    assert_true(build && atoi(build) >= 7600);
    assert_true(boot && strlen(boot) == 25 && boot[14] == '.');                  /* datetime: 20250101000000.000000+060 */
    OK(wmi_path(os, &path, &e), e);
    assert_true(str_starts(path, "\\\\") && strstr(path, "Win32_OperatingSystem"));

    static const struct { const char *name; enum wmi_type type; bool array; } types[] = {
        {"Caption", WMI_STRING, false}, {"LastBootUpTime", WMI_DATETIME, false}, {"TotalVisibleMemorySize", WMI_UINT64, false},
        {"OSProductSuite", WMI_UINT32, false}, {"Primary", WMI_BOOLEAN, false}, {"CurrentTimeZone", WMI_SINT16, false},
        {"ServicePackMajorVersion", WMI_UINT16, false}, {"__PATH", WMI_STRING, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct wmi_property p;
        OK(os->ops->property(os, types[i].name, &p, &e), e);
        if (p.type != types[i].type || p.array != types[i].array)
            fail_msg("%s is a %s", types[i].name, wmi_type_name(p.type));
        struct wmi_value v;
        OK(wmi_get_value(os, types[i].name, &v, &e), e);
        assert_true(v.type == types[i].type || v.type == WMI_NULL);
        wmi_value_clear(&v);
    }
    /* KiB, as text in a VARIANT; the same memory that the system itself tells of */
    uint64_t kib = wmi_uint(os, "TotalVisibleMemorySize", 0), mine = os_memory_total() / 1024;
    assert_true(kib && (kib > mine ? kib - mine : mine - kib) < mine / 16 + 1);
    assert_true(wmi_has(os, "caption"));
    assert_false(wmi_has(os, "NoSuchProperty"));
    struct wmi_value v;
    assert_int_equal(wmi_get_value(os, "NoSuchProperty", &v, &e), -ERR_NOT_FOUND);
    assert_int_equal(wmi_hresult(&e), WMI_E_NOT_FOUND);
    assert_non_null(strstr(e.msg, "NoSuchProperty"));
    wmi_object_free(os);
    wmi_close(wmi);
}

static void rows_and_limits(void **state)
{
    (void)state;
    struct wmi *wmi = cimv2();
    struct wmi_rows rows = {0};
    struct wmi_object *c = NULL;
    struct err e;
    OK(wmi_query(wmi, "SELECT DeviceID, DriveType FROM Win32_LogicalDisk", WMI_ROWS_MAX, &wait, &rows, &e), e);
    bool found = false;
    for (size_t i = 0; i < rows.n; i++) {
        AUTO_FREE char *id = wmi_str(rows.at[i], "DeviceID");
        found = found || (id && str_ieq(id, "C:") && wmi_uint(rows.at[i], "DriveType", 0) == 3);
    }
    assert_true(found && rows.n >= 1);
    size_t n = rows.n;
    wmi_rows_clear(&rows);
    OK(wmi_query(wmi, "SELECT DeviceID FROM Win32_LogicalDisk", n, &wait, &rows, &e), e);
    wmi_rows_clear(&rows);
    assert_int_equal(wmi_query(wmi, "SELECT DeviceID FROM Win32_LogicalDisk", n - 1, &wait, &rows, &e), -ERR_UPSTREAM_FINAL);
    assert_int_equal(rows.n, 0);
    assert_int_equal(wmi_query_one(wmi, "SELECT * FROM Win32_LogicalDisk WHERE DeviceID = '1:'", &wait, &c, &e), -ERR_NOT_FOUND);
    OK(wmi_query_one(wmi, "SELECT * FROM Win32_LogicalDisk WHERE DeviceID = 'C:'", &wait, &c, &e), e);
    assert_true(wmi_uint(c, "Size", 0) > 1u << 20);       /* uint64 */
    wmi_object_free(c);
    assert_true(wmi_query(wmi, "SELECT FROM WHERE", 1, &wait, &rows, &e) < 0);
    assert_true(wmi_hresult(&e) != 0);
    wmi_close(wmi);
}

static void get_and_errors(void **state)
{
    (void)state;
    struct wmi *wmi = cimv2();
    struct wmi_object *o = NULL;
    struct err e;
    OK(wmi_get(wmi, "Win32_LogicalDisk.DeviceID=\"C:\"", &wait, &o, &e), e);
    AUTO_FREE char *id = wmi_str(o, "DeviceID");
    assert_string_equal(id, "C:");
    wmi_object_free(o);
    OK(wmi_get(wmi, "Win32_OperatingSystem", &wait, &o, &e), e);                /* a class */
    assert_true(wmi_has(o, "Caption"));
    wmi_object_free(o);
    o = NULL;
    assert_int_equal(wmi_get(wmi, "No_SuchClass", &wait, &o, &e), -ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "No_SuchClass"));
    assert_int_equal(wmi_get(wmi, "Win32_LogicalDisk.DeviceID=\"1:\"", &wait, &o, &e), -ERR_NOT_FOUND);
    assert_null(o);
    wmi_close(wmi);
}

/* ---- methods ---- */

/* A uint32 on Windows, a sint32 on Wine. */
static void put_hive(struct wmi_object *in)
{
    struct wmi_property p;
    struct err e;
    OK(in->ops->property(in, "hDefKey", &p, &e), e);
    struct wmi_value v = {.type = p.type};
    if (p.type == WMI_SINT32)
        v.one.i = (int32_t)HKLM;
    else
        v.one.u = HKLM;
    OK(wmi_put_value(in, "hDefKey", &v, &e), e);
    struct wmi_value back;
    OK(wmi_get_value(in, "hDefKey", &back, &e), e);
    assert_true(back.type == p.type && back.one.u == v.one.u);
}

/* Reads a value of the registry through the provider of it: a static method with uint32 and string in, uint32 and string out. */
static void calls_a_method(void **state)
{
    (void)state;
    struct wmi *wmi = cimv2();
    struct wmi_object *in = NULL, *out = NULL;
    struct err e;
    OK(wmi_method(wmi, "StdRegProv", "GetStringValue", &wait, &in, &e), e);
    put_hive(in);
    OK(wmi_put_str(in, "sSubKeyName", "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion", &e), e);
    OK(wmi_put_str(in, "sValueName", "CurrentVersion", &e), e);
    OK(wmi_exec(wmi, "StdRegProv", "GetStringValue", in, &wait, &out, &e), e);
    assert_int_equal(wmi_uint(out, "ReturnValue", 99), 0);
    AUTO_FREE char *version = wmi_str(out, "sValue");
    assert_true(version && strchr(version, '.'));
    wmi_object_free(in);
    wmi_object_free(out);

    /* an array of strings out */
    OK(wmi_method(wmi, "StdRegProv", "EnumKey", &wait, &in, &e), e);
    put_hive(in);
    OK(wmi_put_str(in, "sSubKeyName", "SYSTEM", &e), e);
    OK(wmi_exec(wmi, "StdRegProv", "EnumKey", in, &wait, &out, &e), e);
    AUTO(wmi_strs_free_ptr) char **names = wmi_strs(out, "sNames");
    bool found = false;
    for (size_t i = 0; names && names[i]; i++)
        found = found || str_ieq(names[i], "CurrentControlSet");
    assert_true(found);
    wmi_object_free(out);

    /* a failing return value is none of the call's */
    OK(wmi_put_str(in, "sSubKeyName", "there is no such key", &e), e);
    OK(wmi_exec(wmi, "StdRegProv", "EnumKey", in, &wait, &out, &e), e);
    assert_int_equal(wmi_uint(out, "ReturnValue", 0), ERROR_FILE_NOT_FOUND);
    wmi_object_free(out);

    /* what a parameter does not take */
    assert_int_equal(wmi_put_bool(in, "hDefKey", true, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_hresult(&e), WMI_E_TYPE_MISMATCH);
    assert_non_null(strstr(e.msg, "hDefKey"));
    assert_int_equal(wmi_put_uint(in, "hDefKey", (uint64_t)1 << 32, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_put_strs(in, "sSubKeyName", (const char *const[]){"a"}, 1, &e), -ERR_INTERNAL);
    assert_true(wmi_put_str(in, "sNoSuchParameter", "x", &e) < 0);
    assert_non_null(strstr(e.msg, "sNoSuchParameter"));
    wmi_object_free(in);
    in = NULL;
    assert_int_equal(wmi_method(wmi, "StdRegProv", "NoSuchMethod", &wait, &in, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_hresult(&e), WMI_E_INVALID_METHOD);
    assert_null(in);
    wmi_close(wmi);
}

static void *asks(void *arg)
{
    struct wmi_object *os = NULL;
    struct err e;
    bool ok = true;
    for (int i = 0; ok && i < 20; i++) {
        ok = wmi_query_one(arg, "SELECT * FROM Win32_OperatingSystem", &wait, &os, &e) == 0 && wmi_uint(os, "TotalVisibleMemorySize", 0) > 0;
        if (ok)
            wmi_object_free(os);
    }
    return ok ? arg : NULL;
}

/* Threads that have never heard of COM; one after the other, since Wine's own WMI is not made for several at once. */
static void any_thread(void **state)
{
    (void)state;
    struct wmi *wmi = cimv2();
    for (size_t i = 0; i < 4; i++) {
        pthread_t t;
        void *result;
        assert_int_equal(pthread_create(&t, NULL, asks, wmi), 0);
        pthread_join(t, &result);
        assert_ptr_equal(result, wmi);
    }
    wmi_close(wmi);
}

/* ---- values without WMI ---- */

struct value_case { CIMTYPE cim; VARTYPE vt; struct wmi_value v; const char *text; int64_t number; };

static void values_both_ways(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {CIM_BOOLEAN, VT_BOOL, {.type = WMI_BOOLEAN, .one.b = true}, NULL, VARIANT_TRUE},
        {CIM_BOOLEAN, VT_BOOL, {.type = WMI_BOOLEAN, .one.b = false}, NULL, VARIANT_FALSE},
        {CIM_SINT8, VT_I2, {.type = WMI_SINT8, .one.i = -128}, NULL, -128},
        {CIM_UINT8, VT_UI1, {.type = WMI_UINT8, .one.u = 255}, NULL, 255},
        {CIM_SINT16, VT_I2, {.type = WMI_SINT16, .one.i = -32768}, NULL, -32768},
        {CIM_UINT16, VT_I4, {.type = WMI_UINT16, .one.u = 65535}, NULL, 65535},
        {CIM_CHAR16, VT_I2, {.type = WMI_CHAR16, .one.u = 0xFFFE}, NULL, -2},
        {CIM_SINT32, VT_I4, {.type = WMI_SINT32, .one.i = INT32_MIN}, NULL, INT32_MIN},
        {CIM_UINT32, VT_I4, {.type = WMI_UINT32, .one.u = UINT32_MAX}, NULL, -1},
        {CIM_SINT64, VT_BSTR, {.type = WMI_SINT64, .one.i = INT64_MIN}, "-9223372036854775808", 0},
        {CIM_UINT64, VT_BSTR, {.type = WMI_UINT64, .one.u = UINT64_MAX}, "18446744073709551615", 0},
        {CIM_STRING, VT_BSTR, {.type = WMI_STRING, .one.s = (char *)"Grüße 測試 \U0001F5A5"}, "Grüße 測試 \U0001F5A5", 0},
        {CIM_STRING, VT_BSTR, {.type = WMI_STRING, .one.s = (char *)""}, "", 0},
        {CIM_DATETIME, VT_BSTR, {.type = WMI_DATETIME, .one.s = (char *)"00000000000100.000000:000"}, "00000000000100.000000:000", 0},
        {CIM_REFERENCE, VT_BSTR, {.type = WMI_REFERENCE, .one.s = (char *)"X.A=\"b\\\\c\""}, "X.A=\"b\\\\c\"", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        VARIANT v;
        uint32_t refused;
        struct err e;
        struct wmi_value back;
        OK(com_write(&cases[i].v, cases[i].cim, &v, &refused, &e), e);
        assert_int_equal(refused, 0);
        assert_int_equal(V_VT(&v), cases[i].vt);
        if (cases[i].vt == VT_BSTR) {
            AUTO_FREE char *text = NULL;
            OK(com_utf8(V_BSTR(&v), &text, &e), e);
            assert_string_equal(text, cases[i].text);
        } else {
            int64_t n = cases[i].vt == VT_UI1 ? V_UI1(&v) : cases[i].vt == VT_I4 ? V_I4(&v) : V_I2(&v);
            assert_int_equal(n, cases[i].number);
        }
        OK(com_read(&v, cases[i].cim, "", &back, &e), e);
        assert_int_equal(back.type, cases[i].v.type);
        if (cases[i].text && cases[i].cim != CIM_SINT64 && cases[i].cim != CIM_UINT64)
            assert_string_equal(back.one.s, cases[i].text);
        else
            assert_memory_equal(&back.one, &cases[i].v.one, back.type == WMI_BOOLEAN ? 1 : 8);
        wmi_value_clear(&back);
        VariantClear(&v);
    }
}

static void refused_values(void **state)
{
    (void)state;
    union wmi_item number = {.u = 7};
    static const struct { CIMTYPE cim; struct wmi_value v; } cases[] = {
        {CIM_UINT8, {.type = WMI_UINT64, .one.u = 256}},
        {CIM_UINT16, {.type = WMI_UINT64, .one.u = 65536}},
        {CIM_UINT16, {.type = WMI_SINT32, .one.i = -1}},
        {CIM_SINT8, {.type = WMI_UINT64, .one.u = 128}},
        {CIM_SINT64, {.type = WMI_UINT64, .one.u = (uint64_t)INT64_MAX + 1}},
        {CIM_UINT64, {.type = WMI_SINT64, .one.i = -1}},
        {CIM_UINT32, {.type = WMI_STRING, .one.s = (char *)"7"}},
        {CIM_STRING, {.type = WMI_UINT32, .one.u = 7}},
        {CIM_UINT32, {.type = WMI_BOOLEAN, .one.b = true}},
        {CIM_BOOLEAN, {.type = WMI_UINT8, .one.u = 1}},
        {CIM_REAL32, {.type = WMI_UINT8, .one.u = 1}},
        {CIM_OBJECT, {.type = WMI_STRING, .one.s = (char *)"x"}},
        {CIM_STRING | CIM_FLAG_ARRAY, {.type = WMI_STRING, .one.s = (char *)"x"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        VARIANT v;
        uint32_t refused = 0;
        struct err e;
        OK(com_write(&cases[i].v, cases[i].cim, &v, &refused, &e), e);
        assert_int_equal(refused, WMI_E_TYPE_MISMATCH);
        VariantClear(&v);
    }
    struct wmi_value list = {.type = WMI_UINT32, .array = true, .n = 1, .items = &number};
    VARIANT v;
    uint32_t refused = 0;
    struct err e;
    OK(com_write(&list, CIM_UINT32, &v, &refused, &e), e);
    assert_int_equal(refused, WMI_E_TYPE_MISMATCH);
    struct wmi_value bad = {.type = WMI_STRING, .one.s = (char *)"\xff"};
    assert_int_equal(com_write(&bad, CIM_STRING, &v, &refused, &e), -ERR_VALUE);
}

static void arrays_both_ways(void **state)
{
    (void)state;
    union wmi_item numbers[] = {{.u = 1}, {.u = 4000000000u}}, big[] = {{.u = UINT64_MAX}}, texts[] = {{.s = (char *)"a"}, {.s = (char *)""}};
    uint8_t bytes[] = {0, 0x1D, 0x9D, 255};
    struct { CIMTYPE cim; VARTYPE vt; struct wmi_value v; } cases[] = {
        {CIM_UINT32, VT_I4, {.type = WMI_UINT32, .array = true, .n = 2, .items = numbers}},
        {CIM_UINT64, VT_BSTR, {.type = WMI_UINT64, .array = true, .n = 1, .items = big}},
        {CIM_STRING, VT_BSTR, {.type = WMI_STRING, .array = true, .n = 2, .items = texts}},
        {CIM_REFERENCE, VT_BSTR, {.type = WMI_STRING, .array = true, .n = 2, .items = texts}},
        {CIM_UINT8, VT_UI1, {.type = WMI_UINT8, .array = true, .n = 4, .bytes = bytes}},
        {CIM_UINT16, VT_I4, {.type = WMI_UINT8, .array = true, .n = 4, .bytes = bytes}},
        {CIM_STRING, VT_BSTR, {.type = WMI_STRING, .array = true}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        VARIANT v;
        uint32_t refused;
        VARTYPE inside;
        struct wmi_value back;
        struct err e;
        CIMTYPE type = (CIMTYPE)(cases[i].cim | CIM_FLAG_ARRAY);
        OK(com_write(&cases[i].v, type, &v, &refused, &e), e);
        assert_int_equal(refused, 0);
        assert_int_equal(V_VT(&v), VT_ARRAY | cases[i].vt);
        assert_int_equal(SafeArrayGetVartype(V_ARRAY(&v), &inside), S_OK);
        assert_int_equal(inside, cases[i].vt);
        OK(com_read(&v, type, "", &back, &e), e);
        assert_int_equal(back.n, cases[i].v.n);
        assert_true(back.array);
        for (size_t k = 0; k < back.n; k++) {
            if (back.type == WMI_UINT8)
                assert_int_equal(back.bytes[k], bytes[k]);
            else if (back.type == WMI_STRING || back.type == WMI_REFERENCE)
                assert_string_equal(back.items[k].s, texts[k].s);
            else
                assert_int_equal(back.items[k].u, cases[i].v.type == WMI_UINT8 ? bytes[k] : cases[i].v.items[k].u);
        }
        wmi_value_clear(&back);
        VariantClear(&v);
    }
}

/* What a provider may send that it should not, and what people name their VMs. */
static void strange_values(void **state)
{
    (void)state;
    struct wmi_value v;
    struct err e;
    VARIANT in;
    VariantInit(&in);
    OK(com_read(&in, CIM_STRING, "", &v, &e), e);
    assert_int_equal(v.type, WMI_NULL);
    V_VT(&in) = VT_I4;
    V_I4(&in) = 3;
    assert_int_equal(com_read(&in, CIM_STRING, "", &v, &e), -ERR_UPSTREAM_FINAL);
    assert_int_equal(com_read(&in, CIM_UINT32 | CIM_FLAG_ARRAY, "", &v, &e), -ERR_UPSTREAM_FINAL);
    OK(com_read(&in, CIM_REAL64, "", &v, &e), e);
    assert_int_equal(v.type, WMI_NULL);
    V_VT(&in) = VT_BSTR;
    static const wchar_t *const not_numbers[] = {L"", L"-1", L"12x", L" 1", L"18446744073709551616", L"0x10"};
    for (size_t i = 0; i < ARRAY_LEN(not_numbers); i++) {
        V_BSTR(&in) = SysAllocString(not_numbers[i]);
        assert_int_equal(com_read(&in, CIM_UINT64, "", &v, &e), -ERR_UPSTREAM_FINAL);
        SysFreeString(V_BSTR(&in));
    }
    V_BSTR(&in) = SysAllocString(L"half \xD83D pair");
    OK(com_read(&in, CIM_STRING, "", &v, &e), e);
    assert_string_equal(v.one.s, "half \uFFFD pair");
    wmi_value_clear(&v);
    VariantClear(&in);
    V_VT(&in) = VT_BSTR;
    V_BSTR(&in) = NULL;
    OK(com_read(&in, CIM_STRING, "", &v, &e), e);
    assert_string_equal(v.one.s, "");
    wmi_value_clear(&v);

    /* an array with a hole: the element is left out */
    SAFEARRAY *a = SafeArrayCreateVector(VT_BSTR, 0, 3);
    BSTR *data;
    assert_int_equal(SafeArrayAccessData(a, (void **)&data), S_OK);
    data[0] = SysAllocString(L"x");
    data[2] = SysAllocString(L"y");
    SafeArrayUnaccessData(a);
    V_VT(&in) = VT_ARRAY | VT_BSTR;
    V_ARRAY(&in) = a;
    OK(com_read(&in, CIM_STRING | CIM_FLAG_ARRAY, "", &v, &e), e);
    assert_int_equal(v.n, 2);
    assert_string_equal(v.items[1].s, "y");
    wmi_value_clear(&v);
    VariantClear(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_both_ways), cmocka_unit_test(refused_values), cmocka_unit_test(arrays_both_ways), cmocka_unit_test(strange_values),
        cmocka_unit_test(no_such_namespace), cmocka_unit_test(stopped), cmocka_unit_test(reconnects), cmocka_unit_test(system_facts),
        cmocka_unit_test(rows_and_limits), cmocka_unit_test(get_and_errors), cmocka_unit_test(calls_a_method), cmocka_unit_test(any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

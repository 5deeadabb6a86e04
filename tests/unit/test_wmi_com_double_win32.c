/* The COM side of the seam against the COM double (build/…/wmi_double.dll), which has what Wine's WMI has not: semisynchronous calls, security of
 * each proxy, text forms, embedded objects, words beside an HRESULT, broken connections; it refuses wrong VARTYPEs and counts what is held. */
#define COBJMACROS
#include <winsock2.h>

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
#include "tests/unit/tmp.h"

static const struct wmi_wait wait = {.timeout_ms = 60000};
static char *dir;

#define OK(call) \
    do { \
        if ((call) < 0) \
            fail_msg("%s: %s", #call, e.msg); \
    } while (0)

/* One command to the double (com_control_win32.c). */
static char *ask(const char *command)
{
    AUTO_FREE char *path = os_path_join(dir, "port"), *port = NULL;
    struct strbuf b = {0};
    char buf[4096];
    size_t n;
    struct err e;
    OK(os_read_file(path, 100, &port, &n, &e));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((u_short)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(s, (struct sockaddr *)&a, sizeof a), 0);
    send(s, command, (int)strlen(command), 0);
    send(s, "\n", 1, 0);
    for (int k; (k = recv(s, buf, sizeof buf, 0)) > 0;)
        strbuf_add(&b, buf, (size_t)k);
    closesocket(s);
    strbuf_adds(&b, "");
    return strbuf_steal(&b);
}

static void tell(const char *command)
{
    free(ask(command));
}

/* The DLL's factories take the place of the system's in this process. */
static int setup(void **state)
{
    (void)state;
    typedef HRESULT STDMETHODCALLTYPE get_class_fn(REFCLSID clsid, REFIID iid, void **ret);
    static const CLSID *const classes[] = {&CLSID_WbemLocator, &CLSID_WbemObjectTextSrc};
    WSADATA data;
    WSAStartup(MAKEWORD(2, 2), &data);
    dir = tmp_make();
    SetEnvironmentVariableA("VMR_DOUBLE_DIR", dir);
    SetEnvironmentVariableA("VMR_DOUBLE_CHOICES", "second");
    AUTO_FREE char *self = tmp_self();
    char *slash = strrchr(self, '\\');
    *slash = 0;
    AUTO_FREE char *dll = str_printf("%s\\..\\wmi_double.dll", self);
    HMODULE m = LoadLibraryA(dll);
    get_class_fn *fn = m ? (get_class_fn *)(void (*)(void))GetProcAddress(m, "DllGetClassObject") : NULL;
    if (!fn || FAILED(CoInitializeEx(NULL, COINIT_MULTITHREADED)))
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        IUnknown *factory = NULL;
        DWORD cookie;
        if (FAILED(fn(classes[i], &IID_IClassFactory, (void **)&factory)) ||
            FAILED(CoRegisterClassObject(classes[i], factory, CLSCTX_INPROC_SERVER, REGCLS_MULTIPLEUSE, &cookie)))
            return -1;
        IUnknown_Release(factory);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tmp_remove(dir);
    return 0;
}

static struct wmi *hyperv(void)
{
    struct wmi *wmi = NULL;
    struct err e;
    OK(wmi_open(&wmi_com_ops, NULL, WMI_NS_HYPERV, &wait, &wmi, &e));
    return wmi;
}

/* What is held beside connections and the factories. */
static void nothing_held(void)
{
    AUTO_FREE char *s = ask("live");
    assert_non_null(strstr(s, "locator 0 "));
    assert_non_null(strstr(s, " rows 0 call 0 object 0 text 0 status 0 inside 0 "));
}

static struct wmi_object *service(struct wmi *wmi, char **ret_path)
{
    struct wmi_object *o = NULL;
    struct err e;
    OK(wmi_query_one(wmi, "SELECT * FROM Msvm_VirtualSystemManagementService", &wait, &o, &e));
    OK(wmi_path(o, ret_path, &e));
    return o;
}

/* ---- tests ---- */

static void namespaces(void **state)
{
    (void)state;
    struct wmi *a = hyperv(), *b = NULL;
    struct err e;
    OK(wmi_open(&wmi_com_ops, NULL, WMI_NS_NETWORK, &wait, &b, &e));
    wmi_close(b);
    OK(wmi_open(&wmi_com_ops, NULL, "ROOT\\WMI", &wait, &b, &e));                /* the system's own */
    wmi_close(b);
    assert_int_equal(wmi_open(&wmi_com_ops, NULL, "ROOT\\virtualization\\v3", &wait, &b, &e), -ERR_HYPERVISOR);
    wmi_close(a);
    nothing_held();
}

static void objects(void **state)
{
    (void)state;
    struct wmi *wmi = hyperv();
    struct wmi_object *o = NULL, *copy = NULL, *same = NULL;
    struct wmi_property p;
    struct err e;
    OK(wmi_spawn(wmi, "Msvm_VirtualSystemSettingData", &wait, &o, &e));
    OK(wmi_put_str(o, "ElementName", "Grüße 測試", &e));
    OK(wmi_put_bool(o, "AutomaticSnapshotsEnabled", false, &e));
    OK(wmi_put_uint(o, "AutomaticStartupAction", 2, &e));
    OK(wmi_put_strs(o, "Notes", (const char *const[]){"a", "b & <c>"}, 2, &e));
    OK(wmi_put_uints(o, "BootOrder", (const uint64_t[]){2, 1, 3, 0}, 4, &e));
    OK(o->ops->property(o, "BootOrder", &p, &e));
    assert_true(p.type == WMI_UINT16 && p.array);
    assert_int_equal(wmi_uint_at(o, "BootOrder", 2, 9), 3);
    OK(wmi_clone(o, &copy, &e));
    OK(wmi_put_str(copy, "ElementName", "other", &e));
    AUTO_FREE char *name = wmi_str(o, "ElementName"), *text = NULL, *path = wmi_str(o, "__PATH");
    assert_string_equal(name, "Grüße 測試");
    assert_null(path);                                   /* not stored yet */
    OK(wmi_text(o, &text, &e));
    struct wmi_instance_text t;
    OK(wmi_text_parse(text, &t, &e));
    assert_string_equal(t.class_name, "Msvm_VirtualSystemSettingData");
    assert_string_equal(wmi_text_value(&t, "ElementName"), "Grüße 測試");
    wmi_text_clear(&t);
    OK(wmi_put_str(o, "ElementName", NULL, &e));
    assert_null(wmi_str(o, "ElementName"));
    assert_int_equal(wmi_put_str(o, "AutomaticStartupAction", "2", &e), -ERR_INTERNAL);
    assert_int_equal(wmi_hresult(&e), WMI_E_TYPE_MISMATCH);
    assert_int_equal(wmi_put_uint(o, "AutomaticStartupAction", 65536, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_put_uint(o, "NoSuchProperty", 1, &e), -ERR_NOT_FOUND);
    assert_string_equal(e.upstream.service, "hyperv");
    assert_false(wmi_has(o, "NoSuchProperty"));
    wmi_object_free(o);
    wmi_object_free(copy);

    AUTO_FREE char *service_path = NULL;
    struct wmi_object *s = service(wmi, &service_path);
    OK(wmi_get(wmi, service_path, &wait, &same, &e));
    AUTO_FREE char *same_path = NULL;
    OK(wmi_path(same, &same_path, &e));
    assert_true(wmi_same_path(same_path, service_path));
    wmi_object_free(s);
    wmi_object_free(same);
    assert_int_equal(wmi_get(wmi, "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"none\"", &wait, &o, &e), -ERR_NOT_FOUND);
    assert_int_equal(wmi_spawn(wmi, "Msvm_NoSuchClass", &wait, &o, &e), -ERR_NOT_FOUND);
    assert_int_equal(wmi_query_one(wmi, "SELECT * FROM", &wait, &o, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_hresult(&e), WMI_E_INVALID_QUERY);
    wmi_close(wmi);
    nothing_held();
}

/* A VM by the seam alone: text in, references out, a screen as bytes, a summary as embedded objects. */
static void methods(void **state)
{
    (void)state;
    struct wmi *wmi = hyperv();
    struct wmi_object *settings = NULL, *in = NULL, *out = NULL;
    struct err e;
    AUTO_FREE char *path = NULL;
    wmi_object_free(service(wmi, &path));
    OK(wmi_spawn(wmi, "Msvm_VirtualSystemSettingData", &wait, &settings, &e));
    OK(wmi_put_str(settings, "ElementName", "seam", &e));
    OK(wmi_put_str(settings, "VirtualSystemSubType", "Microsoft:Hyper-V:SubType:1", &e));
    OK(wmi_method(wmi, "Msvm_VirtualSystemManagementService", "DefineSystem", &wait, &in, &e));
    OK(wmi_put_instance_in(in, "SystemSettings", settings, &e));
    OK(wmi_exec(wmi, path, "DefineSystem", in, &wait, &out, &e));
    assert_int_equal(wmi_uint(out, "ReturnValue", 99), 0);
    AUTO_FREE char *vm = wmi_str(out, "ResultingSystem");
    assert_non_null(vm);
    wmi_object_free(settings);
    wmi_object_free(in);
    wmi_object_free(out);

    OK(wmi_method(wmi, "Msvm_ComputerSystem", "RequestStateChange", &wait, &in, &e));
    OK(wmi_put_uint(in, "RequestedState", 2, &e));
    OK(wmi_exec(wmi, vm, "RequestStateChange", in, &wait, &out, &e));
    assert_int_equal(wmi_uint(out, "ReturnValue", 99), 0);
    wmi_object_free(out);
    OK(wmi_put_uint(in, "RequestedState", 12345, &e));   /* a refusal is none of the call's */
    OK(wmi_exec(wmi, vm, "RequestStateChange", in, &wait, &out, &e));
    assert_true(wmi_uint(out, "ReturnValue", 0) >= 4);
    wmi_object_free(in);
    wmi_object_free(out);

    OK(wmi_method(wmi, "Msvm_VirtualSystemManagementService", "GetVirtualSystemThumbnailImage", &wait, &in, &e));
    OK(wmi_put_str(in, "TargetSystem", vm, &e));
    OK(wmi_put_uint(in, "WidthPixels", 64, &e));
    OK(wmi_put_uint(in, "HeightPixels", 48, &e));
    OK(wmi_exec_read(wmi, path, "GetVirtualSystemThumbnailImage", in, &wait, &out, &e));
    struct wmi_value v;
    OK(wmi_get_value(out, "ImageData", &v, &e));
    assert_true(v.type == WMI_UINT8 && v.array && v.n == 64 * 48 * 2);
    wmi_value_clear(&v);
    wmi_object_free(in);
    wmi_object_free(out);

    OK(wmi_method(wmi, "Msvm_VirtualSystemManagementService", "GetSummaryInformation", &wait, &in, &e));
    OK(wmi_put_uints(in, "RequestedInformation", (const uint64_t[]){0, 1, 100}, 3, &e));
    OK(wmi_exec_read(wmi, path, "GetSummaryInformation", in, &wait, &out, &e));
    OK(wmi_get_value(out, "SummaryInformation", &v, &e));
    assert_true(v.type == WMI_OBJECT && v.array && v.n >= 1);                    /* other people's VMs as well */
    bool found = false;
    for (size_t i = 0; i < v.n; i++) {
        AUTO_FREE char *name = wmi_str(v.items[i].o, "ElementName");
        found = found || (name && !strcmp(name, "seam"));
    }
    assert_true(found);
    wmi_value_clear(&v);
    wmi_object_free(in);
    wmi_object_free(out);

    assert_int_equal(wmi_method(wmi, "Msvm_ComputerSystem", "NoSuchMethod", &wait, &in, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_hresult(&e), WMI_E_INVALID_METHOD);
    assert_int_equal(wmi_exec(wmi, vm, "RequestStateChange", NULL, &wait, &out, &e), -ERR_INTERNAL);
    assert_int_equal(wmi_hresult(&e), WMI_E_INVALID_METHOD_PARAMETERS);
    OK(wmi_method(wmi, "Msvm_ComputerSystem", "RequestStateChange", &wait, &in, &e));
    OK(wmi_put_uint(in, "RequestedState", 3, &e));
    OK(wmi_exec(wmi, vm, "RequestStateChange", in, &wait, NULL, &e));            /* nobody wants the answer */
    wmi_object_free(in);
    wmi_close(wmi);
    nothing_held();
}

static bool after_a_while(void *arg)
{
    return clock_mono_ms() > *(int64_t *)arg;
}

/* A call that takes three seconds is left, by its time or by a stop; what it did is not known. */
static void giving_up(void **state)
{
    (void)state;
    struct wmi *wmi = hyperv();
    struct wmi_object *o = NULL;
    struct err e;
    int64_t began = clock_mono_ms();
    tell("slow 3000");
    assert_int_equal(wmi_get(wmi, "Msvm_ComputerSystem", &(struct wmi_wait){.timeout_ms = 300}, &o, &e), -ERR_TIMEOUT);
    assert_true(clock_mono_ms() - began < 2500);
    clock_sleep_ms(3500);                                /* the double plays one call at a time */
    tell("slow 3000");
    int64_t stop = clock_mono_ms() + 200;
    began = clock_mono_ms();
    assert_int_equal(wmi_get(wmi, "Msvm_ComputerSystem", &(struct wmi_wait){.timeout_ms = 60000, .stop = after_a_while, .arg = &stop}, &o, &e),
                     -ERR_CANCELLED);
    assert_true(clock_mono_ms() - began < 2500);
    assert_null(o);
    clock_sleep_ms(3500);
    OK(wmi_get(wmi, "Msvm_ComputerSystem", &wait, &o, &e));
    wmi_object_free(o);
    wmi_close(wmi);
    nothing_held();
}

static void broken_connection(void **state)
{
    (void)state;
    struct wmi *wmi = hyperv();
    struct wmi_object *o = NULL, *in = NULL, *out = NULL;
    AUTO_FREE char *path = NULL;
    struct err e;
    tell("cut 1");
    o = service(wmi, &path);                             /* reading is done again */
    wmi_object_free(o);
    assert_int_equal(wmi->connection, 1);
    OK(wmi_method(wmi, "Msvm_VirtualSystemManagementService", "DefineSystem", &wait, &in, &e));
    tell("cut 1");
    assert_true(wmi_exec(wmi, path, "DefineSystem", in, &wait, &out, &e) < 0);   /* changing is not */
    assert_true(wmi_was_cut_off(&e));
    assert_int_equal(e.code, ERR_UNREACHABLE);
    assert_int_equal(wmi->connection, 2);
    tell("restart");
    OK(wmi_query_one(wmi, "SELECT * FROM Msvm_VirtualSystemManagementService", &wait, &o, &e));
    wmi_object_free(o);
    wmi_object_free(in);
    wmi_close(wmi);
    nothing_held();
}

/* Making an instance, and the words beside the HRESULT of a second that cannot be. */
static void words(void **state)
{
    (void)state;
    struct wmi *wmi = NULL;
    struct wmi_object *nat = NULL, *found = NULL;
    struct err e;
    AUTO_FREE char *path = NULL;
    OK(wmi_open(&wmi_com_ops, NULL, WMI_NS_NETWORK, &wait, &wmi, &e));
    OK(wmi_spawn(wmi, "MSFT_NetNat", &wait, &nat, &e));
    OK(wmi_put_str(nat, "Name", "seam", &e));
    OK(wmi_put_str(nat, "InternalIPInterfaceAddressPrefix", "192.168.77.0/24", &e));
    OK(wmi_put_instance(wmi, nat, WMI_CREATE_ONLY, &wait, &e));
    OK(wmi_put_str(nat, "Name", "seam2", &e));
    int r = wmi_put_instance(wmi, nat, WMI_CREATE_ONLY, &wait, &e);              /* overlaps */
    assert_true(r < 0 && wmi_hresult(&e));
    assert_non_null(strstr(e.msg, "MSFT_NetNat"));
    assert_non_null(strstr(e.msg, "in PutInstance"));
    assert_string_equal(e.upstream.service, "windows_network");
    OK(wmi_query_one(wmi, "SELECT * FROM MSFT_NetNat WHERE Name='seam'", &wait, &found, &e));
    OK(wmi_path(found, &path, &e));
    OK(wmi_delete_instance(wmi, path, &wait, &e));
    assert_int_equal(wmi_delete_instance(wmi, path, &wait, &e), -ERR_NOT_FOUND);
    wmi_object_free(found);
    wmi_object_free(nat);
    wmi_close(wmi);
    tell("live");
    SetErrorInfo(0, NULL);
    nothing_held();
}

static void *asks(void *arg)
{
    struct wmi_object *o = NULL;
    struct err e;
    for (int i = 0; i < 50; i++) {
        int r = wmi_query_one(arg, "SELECT * FROM Msvm_VirtualSystemManagementService", &wait, &o, &e);
        if (r == 0) {
            wmi_object_free(o);
            r = wmi_get(arg, "Msvm_ComputerSystem", &wait, &o, &e);
        }
        if (r < 0) {
            print_error("%s\n", e.msg);
            return NULL;
        }
        wmi_object_free(o);
    }
    return arg;
}

static void threads(void **state)
{
    (void)state;
    struct wmi *wmi = hyperv();
    pthread_t t[6];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, asks, wmi), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        void *result;
        pthread_join(t[i], &result);
        assert_ptr_equal(result, wmi);
    }
    wmi_close(wmi);
    nothing_held();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(namespaces), cmocka_unit_test(objects), cmocka_unit_test(methods), cmocka_unit_test(giving_up),
        cmocka_unit_test(broken_connection), cmocka_unit_test(words), cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

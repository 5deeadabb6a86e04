/* The network of a VM on the double of Hyper-V: switches by name, and the NAT that is made for the first user and removed with the last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/os.h"
#include "tests/unit/hyperv_rig.h"

static char *vm_on(struct rig *g, const char *image, const char *network)
{
    struct err e;
    AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
    free(s.network);
    s.network = str_dup(network);
    OK(hv_vm_create(g->hv, &s, &e));
    return str_dup(s.id);
}

static int try_on(struct rig *g, const char *image, const char *network, struct err *e)
{
    AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
    free(s.network);
    s.network = str_dup(network);
    return hv_vm_create(g->hv, &s, e);
}

/* Instances of a class, as another program sees them. */
static size_t count(struct rig *g, const char *ns, const char *wql)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    struct wmi_rows rows = {0};
    AUTO(wmi_close_ptr) struct wmi *wmi = NULL;
    OK(wmi_open(&dbl_wmi_ops, g->d, ns, &w, &wmi, &e));
    OK(wmi_query(wmi, wql, 1000, &w, &rows, &e));
    size_t n = rows.n;
    wmi_rows_clear(&rows);
    return n;
}

#define NATS count(g, WMI_NS_NETWORK, "SELECT * FROM MSFT_NetNat")
#define SWITCHES count(g, WMI_NS_HYPERV, "SELECT * FROM Msvm_VirtualEthernetSwitch")

static void shared(void **state)
{
    (void)state;
    for (int jobs = 0; jobs < 2; jobs++) {
        struct dbl_options o = rig_calm();
        o.jobs = jobs ? DBL_EVER : DBL_CALM;
        struct rig *g = rig_new(&o);
        struct err e;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *before = dbl_dump(g->d, DBL_ALL);
        size_t nats = NATS, switches = SWITCHES;
        AUTO_FREE char *a = vm_on(g, image, "nat"), *b = vm_on(g, image, "nat"), *c = vm_on(g, image, "none");
        assert_int_equal(NATS, nats + 1);
        assert_int_equal(SWITCHES, switches + 1);
        OK(hv_vm_start(g->hv, a, &e));
        rig_reopen(g);
        OK(hv_vm_delete(g->hv, a, &e));
        assert_int_equal(NATS, nats + 1);              /* b still uses it */
        OK(hv_vm_delete(g->hv, c, &e));
        assert_int_equal(SWITCHES, switches + 1);
        AUTO_FREE char *d = vm_on(g, image, "nat");
        OK(hv_vm_delete(g->hv, b, &e));
        assert_int_equal(NATS, nats + 1);
        OK(hv_vm_delete(g->hv, d, &e));
        AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
        assert_string_equal(before, after);
        rig_free(g);
    }
}

/* A creation that fails after the network was made takes it away again. */
static void failed_creation(void **state)
{
    (void)state;
    struct rig *g;
    struct err e;
    static const char *const methods[] = {"DefineSystem", "Create", "AddResourceSettings", "ModifyResourceSettings"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        for (unsigned at = 1; at <= 6; at++) {
            struct dbl_options o = rig_calm();
            g = rig_new(&o);
            AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *before = dbl_dump(g->d, DBL_ALL);
            struct dbl_fault f = {.kind = DBL_HRESULT, .code = 0x80041001, .at = at, .method = methods[i]};
            dbl_fault_add(g->d, &f);
            int r = try_on(g, image, "nat", &e);
            dbl_faults_clear(g->d);
            if (r < 0) {
                AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
                assert_string_equal(before, after);
            }
            rig_free(g);
        }
}

/* Windows may allow one NAT only: a network inside of that one is used, and the NAT itself stays whose it is. */
static void only_one_nat(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct dbl_options o = rig_calm();
        o.nat_once = true;
        struct rig *g = rig_new(&o);
        struct err e;
        struct wmi_wait w = {.timeout_ms = 60000};
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
        {
            AUTO(wmi_close_ptr) struct wmi *net = NULL;
            AUTO(wmi_object_free_ptr) struct wmi_object *nat = NULL;
            OK(wmi_open(&dbl_wmi_ops, g->d, WMI_NS_NETWORK, &w, &net, &e));
            OK(wmi_spawn(net, "MSFT_NetNat", &w, &nat, &e));
            OK(wmi_put_str(nat, "Name", "DockerNAT", &e));
            OK(wmi_put_str(nat, "InternalIPInterfaceAddressPrefix", with ? "172.20.0.0/16" : "172.20.1.0/24", &e));
            OK(wmi_put_instance(net, nat, WMI_CREATE_ONLY, &w, &e));
        }
        AUTO_FREE char *before = dbl_dump(g->d, DBL_ALL);
        if (with) {
            AUTO_FREE char *id = vm_on(g, image, "nat");
            assert_int_equal(NATS, 1);
            struct hv_check rows[16];
            size_t n = hv_report(g->hv, rows, ARRAY_LEN(rows), NULL);
            bool told = false;
            for (size_t i = 0; i < n; i++)
                told = told || (!strcmp(rows[i].check, "nat") && strstr(rows[i].detail, "172.20."));
            assert_true(told);
            OK(hv_vm_delete(g->hv, id, &e));
        } else {
            assert_true(try_on(g, image, "nat", &e) < 0);
            assert_true(e.hint[0]);
            assert_string_equal(e.upstream.service, "windows_network");
        }
        AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
        assert_string_equal(before, after);
        rig_free(g);
    }
}

static void clients_and_hosts_without(void **state)
{
    (void)state;
    struct dbl_options client = rig_calm(), without = rig_calm();
    struct err e;
    client.client = true;
    struct rig *g = rig_new(&client);
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *before = dbl_dump(g->d, DBL_ALL), *id = vm_on(g, image, "nat");
    assert_int_equal(NATS, 0);                         /* the Default Switch does it */
    OK(hv_vm_delete(g->hv, id, &e));
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
    assert_string_equal(before, after);
    rig_free(g);

    without.no_nat = true;
    g = rig_new(&without);
    AUTO_FREE char *other = rig_image(g, "os", HV_VHDX), *untouched = dbl_dump(g->d, DBL_ALL);
    int r = try_on(g, other, "nat", &e);
    if (r != -ERR_UNSUPPORTED)
        fail_msg("%d: %s", r, e.msg);
    assert_non_null(strstr(e.hint, "switch:"));
    AUTO_FREE char *still = dbl_dump(g->d, DBL_ALL);
    assert_string_equal(untouched, still);
    rig_free(g);
}

static void switches(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    o.client = true;
    struct rig *g = rig_new(&o);
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    assert_int_equal(try_on(g, image, "switch:no such switch", &e), -ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "no such switch"));
    assert_int_equal(try_on(g, image, "switch:it's \\ \"quoted\"", &e), -ERR_NOT_FOUND);
    AUTO_FREE char *id = vm_on(g, image, "switch:Default Switch");
    OK(hv_vm_start(g->hv, id, &e));
    OK(hv_vm_delete(g->hv, id, &e));
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shared), cmocka_unit_test(failed_creation), cmocka_unit_test(only_one_nat),
                                       cmocka_unit_test(clients_and_hosts_without), cmocka_unit_test(switches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

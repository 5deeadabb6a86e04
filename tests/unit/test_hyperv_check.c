/* The check of a Hyper-V host against the double, on the oldest and the newest Windows, held against the records in tests/golden. When what the driver
 * calls has changed, WRITE_GOLDEN=1 writes them anew (times as 0), and the difference is there to be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "hyperv/check.h"
#include "tests/unit/hyperv_rig.h"

static const struct { unsigned build; const char *golden; } hosts[] = {{DBL_2016, "tests/golden/check-host-2016.json"}, {DBL_2025, "tests/golden/check-host-2025.json"}};

static void line(void *arg, const char *text)
{
    (void)arg;
    if (strstr(text, " failed: "))
        print_error("%s\n", text);
}

static json_t *run(const struct dbl_options *o, size_t *ret_failed)
{
    struct rig *g = rig_new(o);
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *further = rig_image(g, "data", HV_VHDX), *iso = rig_iso(g, "rescue");
    AUTO_FREE char *dir = rig_path(g, "check");
    OK(os_mkdirs(dir, 0, &e));
    dbl_foreign_vm(g->d, "PAYROLL7", "a secret note", 1, true);
    AUTO_FREE char *before = dbl_dump(g->d, DBL_ALL);
    struct hyperv_check c = {.platform = &g->platform, .dir = dir, .iso = iso, .nat = true, .said = line};
    c.os = (struct hv_disk){.path = image, .format = HV_VHDX, .virtual_size = RIG_DISK_BYTES, .overlay = true};
    c.further = (struct hv_disk){.path = further, .format = HV_VHDX, .virtual_size = RIG_DISK_BYTES, .overlay = true};
    json_t *record = NULL;
    OK(hyperv_check_run(&c, &record, ret_failed, &e));
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
    assert_string_equal(before, after);
    AUTO_FREE char *text = json_dumps(record, 0);
    static const char *const private[] = {"PAYROLL7", "secret note", "os.vhdx", ".iso", "vmrecover check"};
    for (size_t i = 0; i < ARRAY_LEN(private); i++)
        assert_null(strstr(text, private[i]));
    assert_null(strstr(text, g->dir));
    for (const char *p = text; strlen(p) >= 36; p++) { /* no id of a VM, nor of anything else */
        AUTO_FREE char *word = str_ndup(p, 36);
        assert_false(crypto_is_uuid(word));
    }
    rig_free(g);
    return record;
}

static void without_times(json_t *record)
{
    size_t i, k, m;
    json_t *life, *step, *call;
    json_array_foreach(json_object_get(record, "lives"), i, life)
        json_array_foreach(json_object_get(life, "steps"), k, step) {
            json_object_set_new(step, "ms", json_integer(0));
            json_array_foreach(json_object_get(step, "calls"), m, call)
                json_object_set_new(call, "ms", json_integer(0));
        }
}

static json_t *load(const char *path)
{
    struct err e;
    AUTO_FREE char *text = NULL;
    size_t n;
    json_t *o = NULL;
    OK(os_read_file(path, HYPERV_RECORD_MAX, &text, &n, &e));
    OK(json_parse(text, n, &o, &e));
    return o;
}

static void golden(void **state)
{
    (void)state;
    const char *write = getenv("WRITE_GOLDEN");
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct dbl_options o = rig_calm();
        o.schema = dbl_schema(hosts[i].build);
        o.jobs = DBL_EVER;                             /* as a real host does it */
        size_t failed = 1, n = 1;
        json_t *record = run(&o, &failed);
        assert_int_equal(failed, 0);
        if (write && !strcmp(write, "1")) {
            without_times(record);
            json_object_set_new(record, "program", json_string("0"));
            assert_int_equal(json_dump_file(record, hosts[i].golden, JSON_INDENT(1)), 0);
        }
        json_t *reference = load(hosts[i].golden);
        AUTO_STRBUF struct strbuf out = {0};
        OK(hyperv_check_compare(reference, record, &out, &n, &e));
        if (n)
            print_error("%s:\n%s", hosts[i].golden, out.data);
        assert_int_equal(n, 0);
        assert_true(json_equal(json_object_get(reference, "windows"), json_object_get(record, "windows")));
        assert_int_equal(json_array_size(json_object_get(record, "lives")), 3);
        json_decref(reference);
        json_decref(record);
    }
}

/* A host that goes another way is told apart, call by call. */
static void differences(void **state)
{
    (void)state;
    struct err e;
    struct dbl_options o = rig_calm();
    o.schema = dbl_schema(DBL_2016);
    size_t failed = 0, n = 0;
    json_t *at_once = run(&o, &failed), *reference = load(hosts[0].golden);
    AUTO_STRBUF struct strbuf out = {0};
    OK(hyperv_check_compare(reference, at_once, &out, &n, &e));
    assert_true(n > 0);
    assert_non_null(strstr(out.data, "Generation 1, network none, create: only in the reference: exec Msvm_VirtualSystemManagementService.DefineSystem (ROOT\\virtualization\\v2), returned 4096"));
    assert_non_null(strstr(out.data, "Generation 1, network none, create: only in the record: exec Msvm_VirtualSystemManagementService.DefineSystem (ROOT\\virtualization\\v2), returned 0"));
    json_decref(at_once);
    json_t *less = json_deep_copy(reference);
    json_t *steps = json_object_get(json_array_get(json_object_get(less, "lives"), 0), "steps");
    json_object_set_new(json_array_get(steps, 0), "end", json_string("failed"));
    json_object_set_new(json_array_get(steps, 0), "error", json_pack("{ss ss}", "code", "hypervisor", "upstream", "32773"));
    json_array_remove(steps, 3);
    json_array_remove(json_object_get(less, "lives"), 2);
    strbuf_reset(&out);
    OK(hyperv_check_compare(reference, less, &out, &n, &e));
    assert_string_equal(out.data, "Generation 1, network none, create: failed, was to be ok (hypervisor 32773)\n"
                                  "Generation 1, network none, get: only in the reference\n"
                                  "Generation 2, network nat: only in the reference\n");
    assert_int_equal(n, 3);
    json_t *none = json_object();
    assert_int_equal(hyperv_check_compare(reference, none, &out, &n, &e), -ERR_VALUE);
    assert_non_null(strstr(e.msg, "second"));
    json_decref(none);
    json_decref(less);
    json_decref(reference);
}

/* Nothing can be checked: an error with the way out, and no record. */
static void no_role(void **state)
{
    (void)state;
    struct err e;
    for (int rights = 0; rights < 2; rights++) {
        struct dbl_options o = rig_calm();
        o.no_role = !rights;
        o.no_rights = rights;
        struct rig *g = rig_new(&o);
        json_t *record = NULL;
        size_t failed;
        AUTO_FREE char *dir = rig_path(g, "check");
        OK(os_mkdirs(dir, 0, &e));
        struct hyperv_check c = {.platform = &g->platform, .dir = dir};
        assert_int_equal(hyperv_check_run(&c, &record, &failed, &e), rights ? -ERR_PERMISSION : -ERR_HYPERVISOR);
        assert_null(record);
        assert_true(*err_hint_text(&e) != 0);
        rig_free(g);
    }
}

static void subjects(void **state)
{
    (void)state;
    static const struct { const char *kind, *target, *want; } rows[] = {
        {"query", "SELECT * FROM Msvm_ComputerSystem WHERE Name=\"SECRET\"", "Msvm_ComputerSystem"},
        {"query", "ASSOCIATORS OF {\\\\HOST\\root\\virtualization\\v2:Msvm_ComputerSystem.Name=\"x:y}\"} WHERE ResultClass=Msvm_X", "ASSOCIATORS Msvm_ComputerSystem WHERE ResultClass=Msvm_X"},
        {"exec", "\\\\HOST\\ROOT\\virtualization\\v2:Msvm_Keyboard.DeviceID=\"a:b\"", "Msvm_Keyboard"},
        {"exec", "MSFT_NetNat", "MSFT_NetNat"},
        {"get", "Msvm_ConcreteJob.InstanceID=\"C:\\\\x\"", "Msvm_ConcreteJob"},
        {"open", "ROOT\\cimv2", ""},
        {"query", "nonsense", "?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_STRBUF struct strbuf b = {0};
        hyperv_check_subject(rows[i].kind, rows[i].target, &b);
        assert_string_equal(b.data ? b.data : "", rows[i].want);
    }
}

int main(void)
{
    rig_in_memory();
    const struct CMUnitTest tests[] = {cmocka_unit_test(subjects), cmocka_unit_test(no_role), cmocka_unit_test(golden), cmocka_unit_test(differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

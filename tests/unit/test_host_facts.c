/* What the host report says about every combination of facts about a Windows host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/mem.h"
#include "hyperv/host_facts.h"

#define ROWS 8

static const struct hv_check *find(const struct hv_check *rows, size_t n, const char *check)
{
    const struct hv_check *found = NULL;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rows[i].check, check)) {
            assert_null(found);                        /* each once */
            found = &rows[i];
        }
    return found;
}

/* Every combination: what failed has a remedy, what is well has none; texts are whole; fit exactly when the root partition is ours. */
static void every_combination(void **state)
{
    (void)state;
    static const unsigned builds[] = {0, 9600, 14393, 26100};
    size_t seen = 0;
    for (size_t b = 0; b < ARRAY_LEN(builds); b++)
        for (unsigned feature = 0; feature < 4; feature++)
            for (unsigned bits = 0; bits < 256; bits++) {
                struct host_facts f = {.build = builds[b], .feature = (enum host_feature)feature, .client = bits & 1, .home = bits & 2, .cpu_known = bits & 4,
                                       .hypervisor = bits & 8, .root = bits & 16, .nested = bits & 32, .reboot_known = bits & 64, .reboot_pending = bits & 128,
                                       .vendor = "Microsoft Hv"};
                struct hv_check rows[ROWS];
                size_t n = host_facts_judge(&f, rows, ROWS);
                assert_true(n < ROWS);
                for (size_t i = 0; i < n; i++) {
                    assert_true(*rows[i].detail && strlen(rows[i].detail) < sizeof rows[i].detail - 1);
                    assert_true(strlen(rows[i].remedy) < sizeof rows[i].remedy - 1);
                    assert_int_equal(*rows[i].remedy != 0, rows[i].status != HV_OK);
                }
                const struct hv_check *acc = find(rows, n, "acceleration"), *nested = find(rows, n, "nested_virtualization");
                assert_int_equal(acc != NULL, f.cpu_known);
                assert_int_equal(acc && acc->status == HV_OK, f.cpu_known && f.root);
                assert_int_equal(nested != NULL, f.cpu_known && !f.root);
                if (nested)
                    assert_int_equal(nested->status == HV_OK, f.nested);
                assert_int_equal(find(rows, n, "windows") != NULL, f.build != 0);
                assert_int_equal(find(rows, n, "reboot") != NULL, f.reboot_known);
                assert_int_equal(find(rows, n, "hyperv_role") != NULL, f.feature != HOST_FEATURE_UNKNOWN);
                for (size_t max = 0; max < n; max++)
                    assert_int_equal(host_facts_judge(&f, rows, max), max);
                seen++;
            }
    assert_int_equal(seen, 4096);
}

/* Whatever our own task and Windows say of the role, the report and its state agree, and advice is there. */
static void role_in_every_state(void **state)
{
    (void)state;
    for (unsigned feature = 0; feature < 4; feature++)
        for (unsigned task = 0; task <= HV_ROLE_FAILED; task++)
            for (unsigned bits = 0; bits < 16; bits++) {
                if (task == HV_ROLE_DISABLED)          /* no task ends so */
                    continue;
                struct host_facts f = {.build = 20348, .feature = (enum host_feature)feature, .task = (enum hv_role_state)task, .task_percent = 42, .cpu_known = true,
                                       .root = bits & 1, .nested = bits & 2, .reboot_known = true, .reboot_pending = bits & 4, .home = bits & 8};
                struct hv_check rows[ROWS];
                size_t n = host_facts_judge(&f, rows, ROWS);
                const struct hv_check *c = find(rows, n, "hyperv_role"), *acc = find(rows, n, "acceleration");
                enum hv_role_state s = host_facts_role(&f);
                assert_int_equal(c == NULL, s == HV_ROLE_UNAVAILABLE && f.feature == HOST_FEATURE_UNKNOWN);
                assert_int_equal(c && c->status == HV_OK, s == HV_ROLE_ENABLED);
                assert_int_equal(s == HV_ROLE_ENABLING, f.task == HV_ROLE_ENABLING);
                assert_true(s != HV_ROLE_RESTART_NEEDED || f.task == HV_ROLE_RESTART_NEEDED || f.reboot_pending);
                if (f.root && f.feature == HOST_FEATURE_ENABLED && f.task != HV_ROLE_ENABLING)
                    assert_int_equal(s, HV_ROLE_ENABLED);
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(*rows[i].remedy != 0, rows[i].status != HV_OK);
                if (s == HV_ROLE_RESTART_NEEDED && f.nested && !f.root)
                    assert_non_null(strstr(acc->remedy, "Restart"));
                if (s == HV_ROLE_ENABLING)
                    assert_non_null(strstr(c->detail, "42 %"));
                struct err e = {0};
                assert_int_equal(host_facts_may_enable(&f, &e), f.root || f.nested ? 0 : -ERR_WRONG_STATE);
                assert_int_equal(e.hint[0] != 0, e.code != 0);
            }
}

static void told(const struct host_facts *f, const char *check, enum hv_check_status status, const char *detail, const char *remedy)
{
    struct hv_check rows[ROWS];
    const struct hv_check *c = find(rows, host_facts_judge(f, rows, ROWS), check);
    assert_non_null(c);
    assert_int_equal(c->status, status);
    if (!strstr(c->detail, detail) || !strstr(c->remedy, remedy))
        fail_msg("%s: '%s' '%s' lacks '%s' or '%s'", check, c->detail, c->remedy, detail, remedy);
}

static void what_is_said(void **state)
{
    (void)state;
    struct host_facts f = {.build = 20348, .feature = HOST_FEATURE_DISABLED, .cpu_known = true, .hypervisor = true, .vendor = "Microsoft Hv"};
    told(&f, "windows", HV_OK, "Windows Server, build 20348", "");
    told(&f, "nested_virtualization", HV_CHECK_FAILED, "Microsoft Hv", "In Azure: resize");
    told(&f, "hyperv_role", HV_CHECK_FAILED, "not enabled", "nested_virtualization first");
    told(&f, "acceleration", HV_CHECK_FAILED, "does not run", "nested_virtualization");
    f.nested = true;
    told(&f, "hyperv_role", HV_CHECK_FAILED, "not enabled", "vmrecover enable-hyperv");
    told(&f, "acceleration", HV_CHECK_FAILED, "does not run", "See hyperv_role");
    f.task = HV_ROLE_FAILED;
    told(&f, "hyperv_role", HV_CHECK_FAILED, "failed", "vmrecover enable-hyperv");
    f.task = HV_ROLE_RESTART_NEEDED;
    told(&f, "hyperv_role", HV_CHECK_FAILED, "next restart", "Restart");
    f.task = HV_ROLE_UNAVAILABLE;
    f.feature = HOST_FEATURE_ENABLED;
    told(&f, "acceleration", HV_CHECK_FAILED, "does not run", "hypervisorlaunchtype");
    f.reboot_known = f.reboot_pending = true;
    told(&f, "acceleration", HV_CHECK_FAILED, "does not run", "Restart the host");
    told(&f, "reboot", HV_CHECK_FAILED, "waits for a restart", "Restart");
    f.root = true;
    told(&f, "reboot", HV_WARNING, "waits for a restart", "Restart");
    f = (struct host_facts){.build = 26100, .client = true, .home = true, .feature = HOST_FEATURE_ABSENT, .cpu_known = true};
    told(&f, "windows", HV_CHECK_FAILED, "has no Hyper-V", "Pro");
    told(&f, "hyperv_role", HV_CHECK_FAILED, "not there", "edition");
    told(&f, "nested_virtualization", HV_CHECK_FAILED, "off or missing", "firmware");
    f = (struct host_facts){.build = 9600};
    told(&f, "windows", HV_CHECK_FAILED, "too old", "2016");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_combination), cmocka_unit_test(role_in_every_state), cmocka_unit_test(what_is_said)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

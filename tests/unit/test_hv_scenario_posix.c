/* The scenario of a VM's life on the QEMU driver: what Hyper-V is asked for is what every driver does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/os.h"
#include "hyperv/scenario.h"
#include "tests/unit/hv_fixture.h"
#include "tests/unit/hv_guest.h"

static void report(void *arg, const struct scenario_step *step, enum scenario_end end, int64_t took_ms, const struct err *e)
{
    (void)arg;
    (void)took_ms;
    if (end == SCENARIO_FAILED)
        print_error("%s: %s\n", step->name, e->msg);
    assert_int_not_equal(end, SCENARIO_SKIPPED);
}

static void life(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *os = hvt_path(f, "os.raw"), *data = hvt_path(f, "data.raw"), *iso = hvt_path(f, "x.iso");
    guest_raw(os, "scenario:");
    guest_blank(data);
    guest_iso(iso, "iso:");
    struct scenario s = {.hv = f->hv, .dir = f->dir, .generation = 1, .memory_mib = 32, .cpus = 1, .network = "none", .iso = iso};
    s.os = (struct hv_disk){.path = os, .format = HV_RAW, .virtual_size = GUEST_DISK_BYTES, .overlay = true};
    s.further = (struct hv_disk){.path = data, .format = HV_RAW, .virtual_size = GUEST_DISK_BYTES, .overlay = true};
    OK(crypto_uuid(s.id, &e));
    assert_int_equal(scenario_run(&s, report, NULL), 0);
    AUTO_FREE char *folder = hvt_path(f, "vms/%s", s.id);
    struct os_stat st;
    OK(os_stat(folder, &st, &e));
    assert_false(st.exists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(life)};
    return cmocka_run_group_tests(tests, hvt_setup, hvt_teardown);
}

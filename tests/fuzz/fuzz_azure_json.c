/* What Azure says of virtual machines and disks: an array whose first element is a VM and whose others are disks; then the rules. */
#include <jansson.h>

#include "storage/azure/compute_internal.h"
#include "storage/azure/exportable.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_error_t je;
    struct err e = {0};
    struct compute_vm vm;
    struct compute_disk disks[8];
    const struct compute_disk *list[8];
    size_t count = 0;
    json_t *o = json_loadb((const char *)data, n, 0, &je);
    int r = compute_parse_vm(json_array_get(o, 0), &vm, &e);
    must_be_result(r, &e);
    bool has_vm = r == 0;
    if (has_vm) {
        MUST(vm.id && vm.name && vm.n_disks <= COMPUTE_VM_DISKS_MAX && *compute_power_name(vm.power));
        for (size_t i = 1; i < vm.n_disks; i++)
            MUST(vm.disks[i - 1].lun <= vm.disks[i].lun);
    }
    for (size_t i = 1; i < json_array_size(o) && count < 8; i++) {
        r = compute_parse_disk(json_array_get(o, i), &disks[count], &e);
        must_be_result(r, &e);
        if (r == 0) {
            MUST(disks[count].id && disks[count].name && disks[count].completion_percent <= 100);
            list[count] = &disks[count];
            count++;
        }
    }
    struct exportable x;
    for (int inside = 0; inside < 2; inside++) {
        struct exportable_question q = {.vm = has_vm ? &vm : NULL, .disks = list, .n = count, .data_disks = true, .inside_azure = inside};
        MUST(exportable_judge(&q, &x, &e) == 0);
        bool blocked = false;
        for (size_t i = 0; i < x.n; i++) {
            MUST(x.reasons[i].code && *x.reasons[i].detail);
            MUST(str_is_utf8(x.reasons[i].detail, strlen(x.reasons[i].detail)));
            blocked |= x.reasons[i].weight == EXPORTABLE_BLOCKED;
        }
        MUST(x.possible == !blocked);
        exportable_free(&x);
    }
    for (size_t i = 0; i < count; i++) {
        (void)exportable_needs_snapshot(has_vm ? &vm : NULL, &disks[i]);
        compute_disk_clear(&disks[i]);
    }
    if (has_vm)
        compute_vm_clear(&vm);
    json_decref(o);
    return 0;
}

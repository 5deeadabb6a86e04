/* Disks of a VM on the double of Hyper-V: further disks, DVD, checkpoints with what is on the disks, export. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/os.h"
#include "tests/unit/hyperv_rig.h"

static struct rig *calm_rig(void)
{
    struct dbl_options o = rig_calm();
    return rig_new(&o);
}

static void guest_writes(struct rig *g, const char *id, unsigned generation, unsigned slot, const char *text)
{
    (void)id;
    AUTO_FREE char *medium = rig_medium(g, rig_guid(g, 0), generation, slot);
    char sector[512] = "";
    snprintf(sector, sizeof sector, "%s", text);
    assert_int_equal(dbl_disk_write(g->d, medium, 0, sector, sizeof sector), 0);
}

static void guest_reads(struct rig *g, unsigned generation, unsigned slot, const char *want)
{
    AUTO_FREE char *medium = rig_medium(g, rig_guid(g, 0), generation, slot);
    char sector[512];
    assert_int_equal(dbl_disk_read(g->d, medium, 0, sector, sizeof sector), 0);
    if (want)
        assert_string_equal(sector, want);
    else
        assert_int_equal(sector[0], 'a');              /* the image's own */
}

static struct hv_disk disk(const char *path, enum hv_format format, bool overlay)
{
    return (struct hv_disk){.path = (char *)path, .format = format, .virtual_size = RIG_DISK_BYTES, .overlay = overlay};
}

/* Every slot, over its image and directly. */
static void slots(void **state)
{
    (void)state;
    for (unsigned generation = 1; generation <= 2; generation++) {
        struct rig *g = calm_rig();
        struct err e;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, generation, image, HV_VHDX), *shared = rig_image(g, "shared", HV_VHDX);
        AUTO_FREE char *hash = rig_hash(shared), *direct = rig_image(g, "direct", HV_VHDX);
        struct hv_disk over = disk(shared, HV_VHDX, true), through = disk(direct, HV_VHDX, false), again = disk(shared, HV_VHDX, false);
        OK(hv_disk_attach(g->hv, id, 1, &over, &e));
        OK(hv_disk_attach(g->hv, id, 2, &over, &e));   /* the same image twice, a layer each */
        OK(hv_disk_attach(g->hv, id, 3, &through, &e));
        assert_int_equal(hv_disk_attach(g->hv, id, 3, &over, &e), -ERR_WRONG_STATE);
        guest_writes(g, id, generation, 1, "one");
        guest_writes(g, id, generation, 2, "two");
        guest_writes(g, id, generation, 3, "three");
        guest_reads(g, generation, 1, "one");
        guest_reads(g, generation, 2, "two");
        AUTO_FREE char *same = rig_hash(shared), *medium = rig_medium(g, rig_guid(g, 0), generation, 3);
        assert_string_equal(hash, same);
        assert_string_equal(medium, direct);
        rig_reopen(g);
        OK(hv_vm_start(g->hv, id, &e));
        assert_int_equal(hv_disk_detach(g->hv, id, 1, &e), -ERR_WRONG_STATE);
        OK(hv_vm_stop(g->hv, id, &e));
        OK(hv_disk_detach(g->hv, id, 1, &e));
        assert_int_equal(hv_disk_detach(g->hv, id, 1, &e), -ERR_NOT_FOUND);
        assert_int_equal(hv_disk_attach(g->hv, id, 1, &again, &e), -ERR_WRONG_STATE);        /* it lies under slot 2 */
        OK(hv_disk_attach(g->hv, id, 1, &over, &e));
        guest_reads(g, generation, 1, NULL);           /* a new layer, nothing of the old one */
        OK(hv_vm_delete(g->hv, id, &e));
        struct os_stat st;
        OK(os_stat(direct, &st, &e));
        assert_true(st.is_file);                       /* somebody's file: it stays, with what was written */
        char sector[512];
        assert_int_equal(dbl_disk_read(g->d, direct, 0, sector, sizeof sector), 0);
        assert_string_equal(sector, "three");
        rig_free(g);
    }
}

static void attach_fails(void **state)
{
    (void)state;
    struct rig *g = calm_rig();
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, 1, image, HV_VHDX), *more = rig_image(g, "more", HV_VHDX);
    AUTO_FREE char *before = dbl_dump(g->d, DBL_ALL);
    struct hv_disk d = disk(more, HV_VHDX, true);
    static const char *const methods[] = {"CreateVirtualHardDisk", "AddResourceSettings"};
    for (size_t i = 0; i < ARRAY_LEN(methods) * 2; i++) {
        struct dbl_fault f = {.kind = DBL_JOB_FAILS, .code = 0x80070020, .method = methods[i / 2], .at = 1 + (unsigned)(i % 2)};
        dbl_fault_add(g->d, &f);
        int r = hv_disk_attach(g->hv, id, 1, &d, &e);
        dbl_faults_clear(g->d);
        if (r == 0) {                                  /* there was no second such call */
            OK(hv_disk_detach(g->hv, id, 1, &e));
            continue;
        }
        assert_string_equal(e.upstream.code, "0x80070020");
        AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
        assert_string_equal(before, after);
    }
    OK(hv_disk_attach(g->hv, id, 1, &d, &e));
    rig_free(g);
}

static void dvd(void **state)
{
    (void)state;
    for (unsigned generation = 1; generation <= 2; generation++) {
        struct rig *g = calm_rig();
        struct err e;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *a = rig_iso(g, "a"), *b = rig_iso(g, "b"), *none = rig_path(g, "none.iso");
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, generation, image, HV_VHDX);
        s.dvd = str_dup(a);
        OK(hv_vm_create(g->hv, &s, &e));
        const char *guid = rig_guid(g, 0);
        assert_true(dbl_file_granted(g->d, a, guid, false));
        for (int running = 0; running < 2; running++) {
            if (running)
                OK(hv_vm_start(g->hv, s.id, &e));
            OK(hv_dvd(g->hv, s.id, b, &e));
            assert_true(dbl_file_granted(g->d, b, guid, false));
            assert_false(dbl_file_granted(g->d, a, guid, false));
            OK(hv_dvd(g->hv, s.id, NULL, &e));
            assert_false(dbl_file_granted(g->d, b, guid, false));
            OK(hv_dvd(g->hv, s.id, NULL, &e));         /* out of an empty drive */
            assert_int_equal(hv_dvd(g->hv, s.id, none, &e), -ERR_NOT_FOUND);
            OK(hv_dvd(g->hv, s.id, a, &e));
        }
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        rig_reopen(g);
        OK(hv_vm_get(g->hv, s.id, &vm, &e));
        assert_string_equal(vm->spec.dvd, a);
        OK(hv_vm_delete(g->hv, s.id, &e));
        rig_free(g);
    }
}

static size_t count(struct rig *g, const char *id)
{
    struct hv_checkpoint *list = NULL;
    size_t n = 0;
    struct err e;
    OK(hv_checkpoint_list(g->hv, id, &list, &n, &e));
    free(list);
    return n;
}

static void checkpoints(void **state)
{
    (void)state;
    for (unsigned generation = 1; generation <= 2; generation++) {
        struct rig *g = calm_rig();
        struct err e;
        struct hv_checkpoint a, b;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *hash = rig_hash(image), *id = rig_vm(g, generation, image, HV_VHDX);
        AUTO_FREE char *more = rig_image(g, "more", HV_VHDX);
        struct hv_disk d = disk(more, HV_VHDX, true);
        OK(hv_disk_attach(g->hv, id, 1, &d, &e));
        guest_writes(g, id, generation, 0, "first");
        guest_writes(g, id, generation, 1, "data");
        OK(hv_checkpoint_create(g->hv, id, "off", &a, &e));
        assert_false(a.with_memory);
        guest_writes(g, id, generation, 0, "second");
        OK(hv_vm_start(g->hv, id, &e));
        OK(hv_checkpoint_create(g->hv, id, "n\u00e4chster", &b, &e));
        assert_true(b.with_memory);
        guest_writes(g, id, generation, 0, "third");
        OK(hv_vm_stop(g->hv, id, &e));
        OK(hv_disk_detach(g->hv, id, 1, &e));          /* what the checkpoints hold of it stays */
        rig_reopen(g);
        assert_int_equal(count(g, id), 2);

        OK(hv_checkpoint_restore(g->hv, id, a.id, &e));
        assert_int_equal(rig_state(g, id, NULL), HV_OFF);
        guest_reads(g, generation, 0, "first");
        guest_reads(g, generation, 1, "data");         /* the disk is back */
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        OK(hv_vm_get(g->hv, id, &vm, &e));
        assert_int_equal(vm->spec.n_disks, 2);
        OK(hv_checkpoint_restore(g->hv, id, b.id, &e));
        assert_int_equal(rig_state(g, id, NULL), HV_RUNNING);
        guest_reads(g, generation, 0, "second");
        OK(hv_checkpoint_delete(g->hv, id, b.id, &e)); /* while it runs */
        assert_int_equal(count(g, id), 1);
        OK(hv_vm_stop(g->hv, id, &e));
        OK(hv_checkpoint_delete(g->hv, id, a.id, &e));
        dbl_pass(g->d, 600000);                        /* merged by then */
        guest_reads(g, generation, 0, "second");
        AUTO_FREE char *after = rig_hash(image);
        assert_string_equal(hash, after);
        OK(hv_vm_start(g->hv, id, &e));
        OK(hv_vm_delete(g->hv, id, &e));
        rig_free(g);
    }
}

/* With checkpoints the whole VM goes at once, files and all. */
static void delete_with_checkpoints(void **state)
{
    (void)state;
    for (int choice = 0; choice < 2; choice++) {
        struct dbl_options o = rig_calm();
        o.choices = choice ? DBL_EVER : DBL_CALM;
        struct rig *g = rig_new(&o);
        struct err e;
        struct hv_checkpoint c;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *before = dbl_dump(g->d, DBL_ALL), *id = rig_vm(g, 2, image, HV_VHDX);
        for (int i = 0; i < 3; i++)
            OK(hv_checkpoint_create(g->hv, id, "c", &c, &e));
        OK(hv_vm_start(g->hv, id, &e));
        OK(hv_vm_delete(g->hv, id, &e));
        AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL), *folder = rig_path(g, "data/vms/%s", id);
        struct os_stat st;
        OK(os_stat(folder, &st, &e));
        assert_false(st.exists);
        assert_string_equal(before, after);
        rig_free(g);
    }
}

static void checkpoint_rules(void **state)
{
    (void)state;
    struct rig *g = calm_rig();
    struct err e;
    struct hv_checkpoint c;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, 2, image, HV_VHDX), *direct = rig_image(g, "direct", HV_VHDX);
    struct hv_disk d = disk(direct, HV_VHDX, false);
    OK(hv_disk_attach(g->hv, id, 1, &d, &e));
    assert_int_equal(hv_checkpoint_create(g->hv, id, "c", &c, &e), -ERR_WRONG_STATE);        /* an .avhdx beside somebody's file */
    OK(hv_disk_detach(g->hv, id, 1, &e));
    for (size_t i = 0; i < HV_CHECKPOINTS_MAX; i++)
        OK(hv_checkpoint_create(g->hv, id, "", &c, &e));
    assert_int_equal(hv_checkpoint_create(g->hv, id, "one more", &c, &e), -ERR_WRONG_STATE);
    assert_int_equal(hv_checkpoint_restore(g->hv, id, "7c9e6679-7425-40de-944b-e07fc1f90ae7", &e), -ERR_NOT_FOUND);
    assert_int_equal(hv_checkpoint_delete(g->hv, id, "7c9e6679-7425-40de-944b-e07fc1f90ae7", &e), -ERR_NOT_FOUND);
    OK(hv_vm_delete(g->hv, id, &e));
    rig_free(g);
}

/* ---- export ---- */

struct watched { uint64_t last, total; unsigned calls; bool stop; };

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct watched *w = arg;
    assert_true(done >= w->last && done <= total);
    w->last = done;
    w->total = total;
    w->calls++;
}

static bool on_stop(void *arg)
{
    struct watched *w = arg;
    return w->stop && w->calls > 0;
}

static uint64_t big_endian(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static void exports(void **state)
{
    (void)state;
    for (unsigned generation = 1; generation <= 2; generation++) {
        struct dbl_options o = rig_calm();
        o.jobs = generation == 1 ? DBL_CALM : DBL_EVER;
        struct rig *g = rig_new(&o);
        struct err e;
        struct hv_checkpoint c;
        struct watched w = {0};
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, generation, image, HV_VHDX);
        AUTO_FREE char *fixed = rig_path(g, "image"), *raw = rig_path(g, "raw"), *dynamic = rig_path(g, "dynamic.vhd"), *vhdx = rig_path(g, "x.vhdx");
        guest_writes(g, id, generation, 0, "before");
        OK(hv_checkpoint_create(g->hv, id, "c", &c, &e));                /* the layer has a layer now */
        guest_writes(g, id, generation, 0, "after");
        OK(hv_disk_export(g->hv, id, 0, HV_VHD, fixed, on_stop, on_progress, &w, &e));
        assert_true(w.calls > 0 && w.last == w.total && w.total == RIG_DISK_BYTES);
        AUTO_FREE char *data = NULL, *flat = NULL;
        size_t n = 0, m = 0;
        OK(os_read_file(fixed, 64 << 20, &data, &n, &e));
        assert_int_equal(n, RIG_DISK_BYTES + 512);
        assert_string_equal(data, "after");
        assert_int_equal(data[RIG_DISK_BYTES / 4], 'b');
        assert_memory_equal(data + RIG_DISK_BYTES, "conectix", 8);
        assert_int_equal(big_endian(data + RIG_DISK_BYTES + 48), RIG_DISK_BYTES);
        OK(hv_disk_export(g->hv, id, 0, HV_RAW, raw, NULL, NULL, NULL, &e));
        OK(os_read_file(raw, 64 << 20, &flat, &m, &e));
        assert_int_equal(m, RIG_DISK_BYTES);
        assert_memory_equal(flat, data, m);
        OK(hv_disk_export(g->hv, id, 0, HV_VHD_DYNAMIC, dynamic, NULL, NULL, NULL, &e));
        OK(hv_disk_export(g->hv, id, 0, HV_VHDX, vhdx, NULL, NULL, NULL, &e));
        char sector[512];
        assert_int_equal(dbl_disk_read(g->d, vhdx, 0, sector, sizeof sector), 0);
        assert_string_equal(sector, "after");
        assert_int_equal(dbl_disk_read(g->d, dynamic, 0, sector, sizeof sector), 0);
        assert_string_equal(sector, "after");

        AUTO_FREE char *before = rig_hash(vhdx);
        assert_int_equal(hv_disk_export(g->hv, id, 0, HV_VHDX, vhdx, NULL, NULL, NULL, &e), -ERR_WRONG_STATE);   /* never over a file */
        AUTO_FREE char *after = rig_hash(vhdx), *other = rig_path(g, "other");
        assert_string_equal(before, after);
        assert_int_equal(hv_disk_export(g->hv, id, 0, HV_QCOW2, other, NULL, NULL, NULL, &e), -ERR_VALUE);
        assert_int_equal(hv_disk_export(g->hv, id, 1, HV_VHD, other, NULL, NULL, NULL, &e), -ERR_NOT_FOUND);
        struct dbl_fault f = {.kind = DBL_JOB_FAILS, .code = 0x80070070, .method = "ConvertVirtualHardDisk"};
        dbl_fault_add(g->d, &f);
        assert_int_equal(hv_disk_export(g->hv, id, 0, HV_VHD, other, NULL, NULL, NULL, &e), -ERR_DISK_FULL);
        dbl_faults_clear(g->d);
        struct os_stat st;
        OK(os_stat(other, &st, &e));
        assert_false(st.exists);
        OK(hv_vm_start(g->hv, id, &e));                /* not busy with an export any more */
        OK(hv_vm_delete(g->hv, id, &e));
        rig_free(g);
    }
}

/* Cancelled in the middle: the job is ended, nothing is left, and the VM is free again. */
static void export_cancelled(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    o.jobs = DBL_EVER;
    struct rig *g = rig_new(&o);
    struct err e;
    struct watched w = {.stop = true};
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, 2, image, HV_VHDX), *folder = rig_path(g, "out"), *path = rig_path(g, "out/image");
    OK(os_mkdirs(folder, 0, &e));
    assert_int_equal(hv_disk_export(g->hv, id, 0, HV_VHD, path, on_stop, on_progress, &w, &e), -ERR_CANCELLED);
    dbl_pass(g->d, 600000);
    OK(os_remove_empty_dir(folder, &e));
    struct os_stat st;
    OK(os_stat(folder, &st, &e));
    assert_false(st.exists);                           /* it was empty */
    OK(hv_vm_start(g->hv, id, &e));
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots),       cmocka_unit_test(attach_fails),            cmocka_unit_test(dvd),
        cmocka_unit_test(checkpoints), cmocka_unit_test(delete_with_checkpoints), cmocka_unit_test(checkpoint_rules),
        cmocka_unit_test(exports),     cmocka_unit_test(export_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

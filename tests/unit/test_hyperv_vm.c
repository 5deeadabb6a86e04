/* The Hyper-V driver on the double: whose VMs are touched, what happens when somebody else interferes, and what Hyper-V's answers become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/hyperv_rig.h"

static struct rig *calm_rig(void)
{
    struct dbl_options o = rig_calm();
    return rig_new(&o);
}

/* The VM's settings as an administrator sees and changes them. */
static struct wmi_object *settings_of(struct wmi *wmi, const char *guid)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    struct wmi_object *o = NULL;
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_VirtualSystemSettingData WHERE InstanceID='Microsoft:%s'", guid);
    OK(wmi_query_one(wmi, wql, &w, &o, &e));
    return o;
}

static struct wmi *administrator(struct rig *g)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    struct wmi *wmi = NULL;
    OK(wmi_open(&dbl_wmi_ops, g->d, WMI_NS_HYPERV, &w, &wmi, &e));
    return wmi;
}

static void call_service(struct wmi *wmi, const char *class_name, const char *method, struct wmi_object *in)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    AUTO(wmi_object_free_ptr) struct wmi_object *service = NULL, *out = NULL;
    AUTO_FREE char *wql = str_printf("SELECT * FROM %s", class_name), *path = NULL;
    OK(wmi_query_one(wmi, wql, &w, &service, &e));
    OK(wmi_path(service, &path, &e));
    OK(wmi_exec(wmi, path, method, in, &w, &out, &e));
    assert_int_equal(wmi_uint(out, "ReturnValue", 1), 0);
}

static char **notes_of(struct rig *g, const char *guid)
{
    AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
    AUTO(wmi_object_free_ptr) struct wmi_object *o = settings_of(wmi, guid);
    return wmi_strs(o, "Notes");
}

static void set_notes(struct rig *g, const char *guid, const char *notes)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
    AUTO(wmi_object_free_ptr) struct wmi_object *o = settings_of(wmi, guid), *in = NULL;
    OK(wmi_put_strs(o, "Notes", &notes, 1, &e));
    OK(wmi_method(wmi, "Msvm_VirtualSystemManagementService", "ModifySystemSettings", &w, &in, &e));
    OK(wmi_put_instance_in(in, "SystemSettings", o, &e));
    call_service(wmi, "Msvm_VirtualSystemManagementService", "ModifySystemSettings", in);
}

static void destroy_behind_our_back(struct rig *g, const char *guid)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
    AUTO(wmi_object_free_ptr) struct wmi_object *system = NULL, *in = NULL;
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_ComputerSystem WHERE Name='%s'", guid), *path = NULL;
    OK(wmi_query_one(wmi, wql, &w, &system, &e));
    OK(wmi_path(system, &path, &e));
    OK(wmi_method(wmi, "Msvm_VirtualSystemManagementService", "DestroySystem", &w, &in, &e));
    OK(wmi_put_str(in, "AffectedSystem", path, &e));
    call_service(wmi, "Msvm_VirtualSystemManagementService", "DestroySystem", in);
}

/* ---- definition ---- */

/* One value of the VM's settings in Hyper-V. */
static uint64_t setting(struct rig *g, const char *guid, const char *name)
{
    AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
    AUTO(wmi_object_free_ptr) struct wmi_object *o = settings_of(wmi, guid);
    return wmi_uint(o, name, UINT64_MAX);
}

static bool flag(struct rig *g, const char *guid, const char *name)
{
    AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
    AUTO(wmi_object_free_ptr) struct wmi_object *o = settings_of(wmi, guid);
    return wmi_bool(o, name, false);
}

static uint64_t device_value(struct rig *g, const char *guid, const char *class_name, const char *name)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    AUTO_FREE char *wql = str_printf("SELECT * FROM %s WHERE InstanceID LIKE 'Microsoft:%s%%'", class_name, guid);
    OK(wmi_query_one(wmi, wql, &w, &o, &e));
    return str_ieq(name, "ExposeVirtualizationExtensions") ? wmi_bool(o, name, false) : wmi_uint(o, name, UINT64_MAX);
}

static void definition(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    o.client = true;                                   /* where automatic checkpoints are on by default */
    struct rig *g = rig_new(&o);
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 1, image, HV_VHDX);
    s.memory_mib = 513;
    s.nested = true;
    free(s.name);
    s.name = str_printf("%0120d", 7);
    OK(hv_vm_create(g->hv, &s, &e));
    AUTO_FREE char *guid = str_dup(rig_guid(g, 0));
    assert_int_equal(setting(g, guid, "AutomaticStartupAction"), 2);
    assert_int_equal(setting(g, guid, "AutomaticShutdownAction"), 2);
    assert_int_equal(setting(g, guid, "UserSnapshotType"), 5);
    assert_false(flag(g, guid, "AutomaticSnapshotsEnabled"));
    assert_int_equal(device_value(g, guid, "Msvm_MemorySettingData", "VirtualQuantity"), 514);
    assert_int_equal(device_value(g, guid, "Msvm_MemorySettingData", "Limit"), 514);
    assert_int_equal(device_value(g, guid, "Msvm_ProcessorSettingData", "VirtualQuantity"), 2);
    assert_int_equal(device_value(g, guid, "Msvm_ProcessorSettingData", "ExposeVirtualizationExtensions"), 1);
    AUTO_FREE char *folder = rig_path(g, "data/vms/%s", s.id);
    {
        AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
        AUTO(wmi_object_free_ptr) struct wmi_object *settings = settings_of(wmi, guid);
        AUTO_FREE char *name = wmi_str(settings, "ElementName"), *root = wmi_str(settings, "ConfigurationDataRoot");
        assert_int_equal(strlen(name), 100);
        AUTO(wmi_strs_free_ptr) char **notes = wmi_strs(settings, "Notes");
        assert_true(str_starts(notes[0], "vmrecover "));
        assert_non_null(strstr(notes[0], s.id));
        assert_string_equal(root, folder);
        assert_int_equal(wmi_uint_at(settings, "BootOrder", 0, 9), 2);       /* IDE, then CD */
        assert_int_equal(wmi_uint_at(settings, "BootOrder", 1, 9), 1);
    }
    AUTO_FREE char *medium = rig_medium(g, guid, 1, 0);
    assert_true(str_starts(medium, folder));
    assert_true(dbl_file_granted(g->d, medium, guid, true));
    assert_true(dbl_file_granted(g->d, image, guid, false));
    OK(hv_vm_delete(g->hv, s.id, &e));
    assert_false(dbl_file_granted(g->d, image, guid, false));            /* the image's ACL is as it was */
    rig_free(g);
}

static void secure_boot(void **state)
{
    (void)state;
    static const struct { enum hv_guest guest; bool on; const char *template_id; } cases[] = {
        {HV_GUEST_UNKNOWN, false, NULL},
        {HV_GUEST_WINDOWS, true, "1734c6e8-3154-4dda-ba5f-a874cc483422"},
        {HV_GUEST_LINUX, true, "272e7447-90a4-4563-a4b9-8e4ab00526ce"},
    };
    struct rig *g = calm_rig();
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *iso = rig_iso(g, "rescue");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
        s.guest = cases[i].guest;
        s.dvd = str_dup(iso);
        free(s.network);
        s.network = str_dup("nat");
        OK(hv_vm_create(g->hv, &s, &e));
        AUTO(wmi_close_ptr) struct wmi *wmi = administrator(g);
        AUTO(wmi_object_free_ptr) struct wmi_object *settings = settings_of(wmi, rig_guid(g, 0));
        assert_int_equal(wmi_bool(settings, "SecureBootEnabled", !cases[i].on), cases[i].on);
        AUTO_FREE char *id = wmi_str(settings, "SecureBootTemplateId");
        if (cases[i].on)
            assert_true(id && str_ieq(id, cases[i].template_id));
        /* the OS disk comes first, the DVD second, the network last */
        AUTO(wmi_strs_free_ptr) char **order = wmi_strs(settings, "BootSourceOrder");
        static const uint32_t kinds[] = {1, 1, 2};
        for (size_t k = 0; k < 3; k++) {
            struct wmi_wait w = {.timeout_ms = 60000};
            AUTO(wmi_object_free_ptr) struct wmi_object *source = NULL;
            assert_non_null(order[k]);
            OK(wmi_get(wmi, order[k], &w, &source, &e));
            assert_int_equal(wmi_uint(source, "BootSourceType", 9), kinds[k]);
        }
        assert_null(order[3]);
        OK(hv_vm_delete(g->hv, s.id, &e));
    }
    rig_free(g);
}

/* What the host does not have, the VM does not get. */
static void fitted(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    o.memory_mib = 2048;
    o.cpus = 2;
    struct rig *g = rig_new(&o);
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    s.memory_mib = 65536;
    s.cpus = 16;
    OK(hv_vm_create(g->hv, &s, &e));
    OK(hv_vm_get(g->hv, s.id, &vm, &e));
    assert_in_range(vm->spec.memory_mib, 1024, 2048);
    assert_int_equal(vm->spec.memory_mib % 2, 0);
    assert_int_equal(vm->spec.cpus, 2);
    OK(hv_vm_create(g->hv, &s, &e));                   /* the same wish is still granted */
    OK(hv_vm_start(g->hv, s.id, &e));
    rig_free(g);
}

/* ---- images ---- */

static void unfit_images(void **state)
{
    (void)state;
    static const struct { struct dbl_file attr; const char *word; } cases[] = {
        {{.sparse = true}, "sparse"}, {{.compressed = true}, "compressed"}, {{.encrypted = true}, "encrypted"}, {{.recalled = true}, "not on this host"}};
    struct rig *g = calm_rig();
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *iso = rig_iso(g, "rescue"), *wrong = rig_path(g, "os.img"), *none = rig_path(g, "none.vhdx");
    AUTO_FREE char *before = dbl_dump(g->d, DBL_ALL);
    for (size_t i = 0; i < ARRAY_LEN(cases) * 2; i++) {
        const char *path = i % 2 ? iso : image;
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 1, image, HV_VHDX);
        s.dvd = str_dup(iso);
        dbl_file_set(g->d, path, cases[i / 2].attr);
        assert_true(hv_vm_create(g->hv, &s, &e) < 0);
        assert_non_null(strstr(e.msg, cases[i / 2].word));
        assert_non_null(strstr(e.msg, path));
        assert_true(e.hint[0]);
        dbl_file_set(g->d, path, (struct dbl_file){0});
    }
    dbl_file_set(g->d, image, (struct dbl_file){.sparse = true, .refs = true});      /* ReFS allows it */
    AUTO_FREE char *id = rig_vm(g, 1, image, HV_VHDX);
    dbl_file_set(g->d, image, (struct dbl_file){.sparse = true});        /* somebody copied it away and back */
    assert_true(hv_vm_start(g->hv, id, &e) < 0);
    assert_non_null(strstr(e.msg, "sparse"));
    dbl_file_set(g->d, image, (struct dbl_file){0});
    AUTO_FREE char *layer = rig_medium(g, rig_guid(g, 0), 1, 0), *out = rig_path(g, "out"), *exported = rig_path(g, "out/os.vhd");
    dbl_file_set(g->d, layer, (struct dbl_file){.compressed = true});    /* somebody saved space in our folder */
    assert_true(hv_vm_start(g->hv, id, &e) < 0);
    assert_non_null(strstr(e.msg, layer));
    dbl_file_set(g->d, layer, (struct dbl_file){0});
    OK(os_mkdirs(out, 0, &e));
    dbl_file_set(g->d, out, (struct dbl_file){.encrypted = true});
    assert_true(hv_disk_export(g->hv, id, 0, HV_VHD, exported, NULL, NULL, NULL, &e) < 0);
    assert_non_null(strstr(e.msg, out));
    assert_true(e.hint[0]);
    OK(hv_vm_start(g->hv, id, &e));
    OK(hv_vm_delete(g->hv, id, &e));

    /* a VM's folder: compression is turned off, encryption is told */
    AUTO_FREE char *vms = rig_path(g, "data/vms");
    dbl_file_set(g->d, vms, (struct dbl_file){.compressed = true});
    AUTO_FREE char *other = rig_vm(g, 2, image, HV_VHDX);
    OK(hv_vm_start(g->hv, other, &e));
    OK(hv_vm_delete(g->hv, other, &e));
    dbl_file_set(g->d, vms, (struct dbl_file){.encrypted = true});
    AUTO(hv_vm_spec_clear) struct hv_vm_spec secret = rig_spec(g, 1, image, HV_VHDX);
    assert_true(hv_vm_create(g->hv, &secret, &e) < 0);
    assert_non_null(strstr(e.msg, vms));
    assert_non_null(strstr(e.msg, "encrypted"));
    OK(hv_vm_delete(g->hv, secret.id, &e));
    dbl_file_set(g->d, vms, (struct dbl_file){0});

    static const struct { const char *from; enum hv_format format; enum err_code code; } names[] = {
        {"wrong", HV_VHD, ERR_VALUE}, {"none", HV_VHDX, ERR_NOT_FOUND}, {"image", HV_RAW, ERR_VALUE}, {"image", HV_QCOW2, ERR_VALUE}, {"image", HV_VHD, ERR_VALUE}};
    OK(os_write_file(wrong, before, strlen(before), 0, &e));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *path = names[i].from[0] == 'w' ? wrong : names[i].from[0] == 'n' ? none : image;
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 1, path, names[i].format);
        s.disks[0].virtual_size = 512;
        assert_int_equal(hv_vm_create(g->hv, &s, &e), -(int)names[i].code);
        assert_non_null(strstr(e.msg, path));
    }
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
    assert_string_equal(before, after);
    rig_free(g);
}

/* A VM that lost its right to a file (replaced, restored from a backup) gets it back at the next start. */
static void replaced_file(void **state)
{
    (void)state;
    struct rig *g = calm_rig();
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, 2, image, HV_VHDX);
    const char *guid = rig_guid(g, 0);
    AUTO_FREE char *data = NULL;
    size_t n = 0;
    AUTO_FREE char *medium = rig_medium(g, guid, 2, 0);
    OK(os_read_file(medium, 64 << 20, &data, &n, &e));
    OK(os_write_file(medium, data, n, 0, &e));
    assert_false(dbl_file_granted(g->d, medium, guid, true));
    OK(hv_vm_start(g->hv, id, &e));
    assert_true(dbl_file_granted(g->d, medium, guid, true));
    rig_free(g);
}

static void vhd_on_generation_2(void **state)
{
    (void)state;
    for (int refuses = 0; refuses < 2; refuses++) {
        struct dbl_options o = rig_calm();
        o.choices = refuses ? DBL_EVER : DBL_CALM;
        struct rig *g = rig_new(&o);
        struct err e;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHD), *hash = rig_hash(image), *id = rig_vm(g, 2, image, HV_VHD);
        AUTO_FREE char *medium = rig_medium(g, rig_guid(g, 0), 2, 0), *after = rig_hash(image), *out = rig_path(g, "out.vhd");
        assert_true(str_ends(medium, refuses ? ".vhdx" : ".vhd"));
        assert_string_equal(hash, after);
        char sector[512];
        assert_int_equal(dbl_disk_read(g->d, medium, RIG_DISK_BYTES / 4, sector, sizeof sector), 0);
        assert_int_equal(sector[0], 'b');              /* the layer, over the copy or over the image, shows the image */
        OK(hv_vm_start(g->hv, id, &e));
        OK(hv_vm_stop(g->hv, id, &e));
        OK(hv_disk_export(g->hv, id, 0, HV_VHD, out, NULL, NULL, NULL, &e));
        OK(hv_vm_delete(g->hv, id, &e));
        rig_free(g);
    }
}

/* ---- whose VM ---- */

static void others_are_not_touched(void **state)
{
    (void)state;
    struct rig *g = calm_rig();
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *id = rig_vm(g, 2, image, HV_VHDX);
    const char *guid = rig_guid(g, 0);
    AUTO(wmi_strs_free_ptr) char **notes = notes_of(g, guid);
    /* a copy of our VM, as an import makes it: the same notes, another GUID */
    dbl_foreign_vm(g->d, "web01", notes[0], 2, true);
    dbl_foreign_vm(g->d, "web01", "vmrecover", 2, false);
    AUTO_FREE char *foreign = dbl_dump(g->d, DBL_FOREIGN);
    struct hv_vm **list = NULL;
    size_t n = 0;
    OK(hv_vm_list(g->hv, &list, &n, &e));
    assert_int_equal(n, 1);
    hv_vm_list_free(list, n);
    OK(hv_vm_start(g->hv, id, &e));
    OK(hv_vm_stop(g->hv, id, &e));

    /* somebody rewrote our VM's notes: it is not ours to change any more */
    set_notes(g, guid, "please keep this one");
    AUTO_FREE char *before = dbl_dump(g->d, DBL_ALL);
    static const char *const what[] = {"start", "delete", "dvd", "checkpoint", "export"};
    AUTO_FREE char *iso = rig_iso(g, "x"), *out = rig_path(g, "out.vhdx");
    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        struct hv_checkpoint c;
        int r = i == 0   ? hv_vm_start(g->hv, id, &e)
                : i == 1 ? hv_vm_delete(g->hv, id, &e)
                : i == 2 ? hv_dvd(g->hv, id, iso, &e)
                : i == 3 ? hv_checkpoint_create(g->hv, id, "c", &c, &e)
                         : hv_disk_export(g->hv, id, 0, HV_VHDX, out, NULL, NULL, NULL, &e);
        if (r != -ERR_WRONG_STATE)
            fail_msg("%s: %s", what[i], r ? e.msg : "done");
        assert_non_null(strstr(e.hint, "vmrecover "));
    }
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
    assert_string_equal(before, after);
    AUTO_FREE char *text = str_printf("%s\r\nand a word of the administrator", notes[0]);
    set_notes(g, guid, text);                          /* our line is back, with more below */
    OK(hv_vm_delete(g->hv, id, &e));
    assert_int_equal(dbl_vms(g->d, false), 0);
    AUTO_FREE char *still = dbl_dump(g->d, DBL_FOREIGN);
    assert_string_equal(foreign, still);
    rig_free(g);
}

/* Our record is lost, the VM in Hyper-V is not: it may hold somebody's repair. */
static void lost_record(void **state)
{
    (void)state;
    struct rig *g = calm_rig();
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
    OK(hv_vm_create(g->hv, &s, &e));
    AUTO_FREE char *json = rig_path(g, "data/vms/%s/vm.json", s.id), *before = dbl_dump(g->d, DBL_ALL), *text = NULL;
    size_t n = 0;
    OK(os_read_file(json, 1 << 20, &text, &n, &e));
    for (int damaged = 0; damaged < 2; damaged++) {
        if (damaged)
            OK(os_write_file(json, "{}", 2, 0, &e));
        else
            OK(os_remove(json, &e));
        rig_reopen(g);
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        assert_int_equal(hv_vm_get(g->hv, s.id, &vm, &e), -ERR_NOT_FOUND);
        assert_true(hv_vm_create(g->hv, &s, &e) < 0);
        assert_true(e.hint[0]);
        assert_int_equal(hv_vm_delete(g->hv, s.id, &e), -ERR_WRONG_STATE);
        AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
        assert_string_equal(before, after);
    }
    OK(os_write_file(json, text, n, 0, &e));           /* restored from a backup */
    rig_reopen(g);
    OK(hv_vm_delete(g->hv, s.id, &e));
    assert_int_equal(dbl_vms(g->d, false), 0);
    rig_free(g);
}

/* Removed in Hyper-V Manager: the repair lies in the layer, so the VM is defined anew around it. */
static void removed_behind_our_back(void **state)
{
    (void)state;
    for (unsigned generation = 1; generation <= 2; generation++) {
        struct rig *g = calm_rig();
        struct err e;
        char detail[128];
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, generation, image, HV_VHDX);
        OK(hv_vm_create(g->hv, &s, &e));
        AUTO_FREE char *medium = rig_medium(g, rig_guid(g, 0), generation, 0);
        assert_int_equal(dbl_disk_write(g->d, medium, 0, "repaired", 8), 0);
        destroy_behind_our_back(g, rig_guid(g, 0));
        assert_int_equal(rig_state(g, s.id, detail), HV_FAILED);
        assert_non_null(strstr(detail, "removed from Hyper-V"));
        assert_int_equal(hv_vm_start(g->hv, s.id, &e), -ERR_VM_GONE);
        OK(hv_vm_create(g->hv, &s, &e));
        assert_int_equal(dbl_vms(g->d, false), 1);
        AUTO_FREE char *again = rig_medium(g, rig_guid(g, 0), generation, 0);
        char buf[8];
        assert_int_equal(dbl_disk_read(g->d, again, 0, buf, sizeof buf), 0);
        assert_memory_equal(buf, "repaired", 8);
        OK(hv_vm_start(g->hv, s.id, &e));
        OK(hv_vm_stop(g->hv, s.id, &e));
        destroy_behind_our_back(g, rig_guid(g, 0));
        OK(hv_vm_delete(g->hv, s.id, &e));             /* nothing there is fine */
        rig_free(g);
    }
}

/* ---- what the host lacks ---- */

static bool has_row(struct hv *hv, const char *check, enum hv_check_status status)
{
    struct hv_check rows[16];
    size_t n = hv_report(hv, rows, ARRAY_LEN(rows), NULL);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rows[i].check, check) && rows[i].status == status)
            return status == HV_OK || rows[i].remedy[0];
    return false;
}

static void hosts_that_lack_something(void **state)
{
    (void)state;
    static const struct { const char *what; enum err_code create, start; const char *row; } cases[] = {
        {"role", ERR_HYPERVISOR, ERR_OK, "hypervisor"},
        {"rights", ERR_PERMISSION, ERR_OK, "rights"},
        {"hypervisor", ERR_OK, ERR_HYPERVISOR, "acceleration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *full = calm_rig();                 /* to make the image */
        AUTO_FREE char *made = rig_image(full, "os", HV_VHDX), *data = NULL;
        size_t n = 0;
        struct err e;
        OK(os_read_file(made, 64 << 20, &data, &n, &e));
        rig_free(full);
        struct dbl_options o = rig_calm();
        o.no_role = i == 0;
        o.no_rights = i == 1;
        o.no_hypervisor = i == 2;
        struct rig *g = rig_new(&o);
        AUTO_FREE char *image = rig_path(g, "os.vhdx");
        OK(os_write_file(image, data, n, 0, &e));
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
        int r = hv_vm_create(g->hv, &s, &e);
        assert_int_equal(r, -(int)cases[i].create);
        if (r == 0) {
            char detail[128];
            r = hv_vm_start(g->hv, s.id, &e);
            assert_int_equal(r, -(int)cases[i].start);
            assert_string_equal(e.upstream.code, "0xC0351000");
            assert_int_equal(rig_state(g, s.id, detail), HV_FAILED);     /* a failed start stays visible */
            assert_true(detail[0]);
            OK(hv_vm_stop(g->hv, s.id, &e));
            assert_int_equal(rig_state(g, s.id, NULL), HV_OFF);
        }
        assert_string_equal(e.upstream.service, r < 0 ? "hyperv" : "");
        assert_true(err_hint_text(&e)[0] || r == 0);
        assert_true(has_row(g->hv, cases[i].row, HV_CHECK_FAILED));
        assert_true(has_row(g->hv, "windows", HV_OK) && has_row(g->hv, "hyperv_role", i ? HV_OK : HV_CHECK_FAILED));
        OK(hv_vm_delete(g->hv, s.id, &e));             /* nothing was made, or it goes */
        rig_free(g);
    }
    struct rig *g = calm_rig();
    assert_true(has_row(g->hv, "hypervisor", HV_OK) && has_row(g->hv, "rights", HV_OK) && has_row(g->hv, "acceleration", HV_OK));
    rig_free(g);
}

/* ---- Hyper-V's own words ---- */

static void failures(void **state)
{
    (void)state;
    static const struct { enum dbl_fault_kind kind; uint32_t code; const char *method; enum err_code ours; const char *upstream; } cases[] = {
        {DBL_RETURN, 32773, "DefineSystem", ERR_VM, "32773"},
        {DBL_RETURN, 32769, "DefineSystem", ERR_PERMISSION, "32769"},
        {DBL_JOB_FAILS, 0x80070005, "DefineSystem", ERR_PERMISSION, "0x80070005"},
        {DBL_JOB_FAILS, 0x80070070, "CreateVirtualHardDisk", ERR_DISK_FULL, "0x80070070"},
        {DBL_JOB_FAILS, 0xC03A001A, "AddResourceSettings", ERR_VM, "0xC03A001A"},
        {DBL_HRESULT, 0x80041003, "AddResourceSettings", ERR_PERMISSION, "0x80041003"},
        {DBL_HRESULT, 0x80041004, "ModifyResourceSettings", ERR_UPSTREAM, "0x80041004"},
        {DBL_RETURN, 32775, "ModifyResourceSettings", ERR_WRONG_STATE, "32775"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *g = calm_rig();
        struct err e;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *before = dbl_dump(g->d, DBL_ALL);
        AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
        struct dbl_fault f = {.kind = cases[i].kind, .code = cases[i].code, .method = cases[i].method};
        dbl_fault_add(g->d, &f);
        int r = hv_vm_create(g->hv, &s, &e);
        if (r != -(int)cases[i].ours || strcmp(e.upstream.code, cases[i].upstream) || strcmp(e.upstream.service, "hyperv"))
            fail_msg("case %zu: %s: %s (%s, %s)", i, err_info(r)->word, e.msg, e.upstream.service, e.upstream.code);
        assert_true(strstr(e.msg, s.id) || strstr(e.msg, image));        /* on which object */
        dbl_faults_clear(g->d);
        AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
        assert_string_equal(before, after);            /* rolled back */
        OK(hv_vm_create(g->hv, &s, &e));               /* and the next try works */
        assert_int_equal(dbl_vms(g->d, false), 1);
        OK(hv_vm_delete(g->hv, s.id, &e));
        rig_free(g);
    }
}

/* Settings stay locked for a moment after a change; that is waited out, not reported. */
static void locked_for_a_moment(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    o.locked_per_mille = 1000;
    o.jobs = DBL_MAYBE;
    struct rig *g = rig_new(&o);
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    for (unsigned generation = 1; generation <= 2; generation++) {
        AUTO_FREE char *id = rig_vm(g, generation, image, HV_VHDX);
        OK(hv_vm_start(g->hv, id, &e));
        OK(hv_vm_delete(g->hv, id, &e));
    }
    rig_free(g);
}

static bool always(void *arg)
{
    return __atomic_load_n((bool *)arg, __ATOMIC_RELAXED);
}

/* The daemon stops: create and start give up, and leave nothing half. */
static void stopping(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    o.jobs = DBL_EVER;
    struct rig *g = rig_new(&o);
    struct err e;
    bool stop = false;
    g->cfg.stop = always;
    g->cfg.stop_arg = &stop;
    rig_reopen(g);
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *before = dbl_dump(g->d, DBL_ALL), *id = rig_vm(g, 2, image, HV_VHDX);
    AUTO(hv_vm_spec_clear) struct hv_vm_spec s = rig_spec(g, 1, image, HV_VHDX);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    assert_int_equal(hv_vm_create(g->hv, &s, &e), -ERR_CANCELLED);
    assert_int_equal(hv_vm_start(g->hv, id, &e), -ERR_CANCELLED);
    assert_int_equal(dbl_vms(g->d, false), 1);
    __atomic_store_n(&stop, false, __ATOMIC_RELAXED);
    OK(hv_vm_delete(g->hv, id, &e));
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL);
    assert_string_equal(before, after);
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definition),
        cmocka_unit_test(secure_boot),
        cmocka_unit_test(fitted),
        cmocka_unit_test(unfit_images),
        cmocka_unit_test(replaced_file),
        cmocka_unit_test(vhd_on_generation_2),
        cmocka_unit_test(others_are_not_touched),
        cmocka_unit_test(lost_record),
        cmocka_unit_test(removed_behind_our_back),
        cmocka_unit_test(hosts_that_lack_something),
        cmocka_unit_test(failures),
        cmocka_unit_test(locked_for_a_moment),
        cmocka_unit_test(stopping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

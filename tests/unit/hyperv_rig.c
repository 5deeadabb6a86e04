#include "tests/unit/hyperv_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/tmp.h"

void rig_ok(int r, const struct err *e, const char *what, const char *file, int line)
{
    if (r < 0)
        fail_msg("%s:%d: %s: %s (%s, %s)", file, line, what, e->msg, err_info(r)->word, e->upstream.code);
}

struct dbl_options rig_calm(void)
{
    return (struct dbl_options){.schema = dbl_schema(DBL_2019), .seed = 1};
}

void rig_in_memory(void)
{
    struct os_stat st;
    struct err e;
    if (!getenv("TMPDIR") && os_stat("/dev/shm", &st, &e) == 0 && st.exists)
        tmp_setenv("TMPDIR", "/dev/shm");
}

struct rig *rig_new(const struct dbl_options *o)
{
    struct rig *g = calloc(1, sizeof *g);
    struct dbl_options options = *o;
    struct err e;
    g->dir = tmp_make();
    AUTO_FREE char *work = tmp_path(g->dir, "host");
    options.work_dir = work;
    OK(os_mkdirs(work, 0, &e));
    g->d = dbl_new(&options);
    g->platform = (struct hyperv_platform){.wmi = &dbl_wmi_ops, .wmi_arg = g->d, .host = &dbl_host_ops, .host_arg = g->d};
    rig_open(g);
    return g;
}

void rig_open(struct rig *g)
{
    struct err e;
    AUTO_FREE char *data = tmp_path(g->dir, "data");
    g->cfg.data_dir = data;
    OK(hyperv_open_on(&g->platform, &g->cfg, &g->hv, &e));
    g->cfg.data_dir = NULL;
}

void rig_reopen(struct rig *g)
{
    hv_close(g->hv);
    g->hv = NULL;
    rig_open(g);
}

void rig_free(struct rig *g)
{
    hv_close(g->hv);
    assert_int_equal(dbl_live_objects(g->d), 0);
    assert_int_equal(dbl_live_connections(g->d), 0);
    AUTO_FREE char *asked = dbl_unmodelled(g->d);
    assert_string_equal(asked, "");
    AUTO_FREE char *unknown = dbl_unknown_names(g->d);
    assert_string_equal(unknown, "");
    dbl_free(g->d);
    tmp_remove(g->dir);
    free(g);
}

char *rig_path(struct rig *g, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *name = str_vprintf(fmt, ap);
    va_end(ap);
    return tmp_path(g->dir, name);
}

/* CreateVirtualHardDisk, as Hyper-V Manager does it. */
static void create_disk(struct rig *g, const char *path, unsigned type, unsigned format)
{
    struct err e;
    struct wmi_wait w = {.timeout_ms = 60000};
    AUTO(wmi_close_ptr) struct wmi *wmi = NULL;
    AUTO(wmi_object_free_ptr) struct wmi_object *service = NULL, *settings = NULL, *in = NULL, *out = NULL;
    AUTO_FREE char *service_path = NULL;
    OK(wmi_open(&dbl_wmi_ops, g->d, WMI_NS_HYPERV, &w, &wmi, &e));
    OK(wmi_query_one(wmi, "SELECT * FROM Msvm_ImageManagementService", &w, &service, &e));
    OK(wmi_path(service, &service_path, &e));
    OK(wmi_spawn(wmi, "Msvm_VirtualHardDiskSettingData", &w, &settings, &e));
    OK(wmi_put_uint(settings, "Type", type, &e));
    OK(wmi_put_uint(settings, "Format", format, &e));
    OK(wmi_put_str(settings, "Path", path, &e));
    OK(wmi_put_uint(settings, "MaxInternalSize", RIG_DISK_BYTES, &e));
    OK(wmi_method(wmi, "Msvm_ImageManagementService", "CreateVirtualHardDisk", &w, &in, &e));
    OK(wmi_put_instance_in(in, "VirtualDiskSettingData", settings, &e));
    OK(wmi_exec(wmi, service_path, "CreateVirtualHardDisk", in, &w, &out, &e));
    uint64_t value = wmi_uint(out, "ReturnValue", 1);
    assert_true(value == 0 || value == 4096);
    AUTO_FREE char *job = wmi_str(out, "Job");
    for (uint64_t state = 0; value && state != 7 && state != 32768;) {
        AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
        dbl_pass(g->d, 100);
        if (wmi_get(wmi, job, &w, &o, &e) < 0)         /* gone already: then it was done */
            break;
        state = wmi_uint(o, "JobState", 0);
        assert_false(state == 8 || state == 9 || state == 10);
    }
}

char *rig_image(struct rig *g, const char *name, enum hv_format format)
{
    char *path = rig_path(g, "%s.%s", name, format == HV_VHDX ? "vhdx" : "vhd");
    create_disk(g, path, format == HV_VHD ? 2 : 3, format == HV_VHDX ? 3 : 2);
    for (uint64_t at = 0; at < RIG_DISK_BYTES; at += RIG_DISK_BYTES / 4) {
        char sector[512];
        memset(sector, 'a' + (int)(at / (RIG_DISK_BYTES / 4)), sizeof sector);
        assert_int_equal(dbl_disk_write(g->d, path, at, sector, sizeof sector), 0);
    }
    return path;
}

char *rig_iso(struct rig *g, const char *name)
{
    struct err e;
    char *path = rig_path(g, "%s.iso", name);
    char sectors[2048 * 18] = "";
    memcpy(sectors + 2048 * 16 + 1, "CD001", 5);
    sectors[2048 * 16] = 1;
    OK(os_write_file(path, sectors, sizeof sectors, 0, &e));
    return path;
}

struct hv_vm_spec rig_spec(struct rig *g, unsigned generation, const char *image, enum hv_format format)
{
    struct err e;
    char id[UUID_LEN];
    (void)g;
    OK(crypto_uuid(id, &e));
    struct hv_vm_spec s = {.id = str_dup(id), .job_id = str_dup(id), .name = str_dup("web01"), .generation = generation, .memory_mib = 512, .cpus = 2,
                           .network = str_dup("none"), .n_disks = 1};
    s.disks[0] = (struct hv_disk){.path = str_dup(image), .format = format, .virtual_size = RIG_DISK_BYTES, .overlay = true};
    return s;
}

char *rig_vm(struct rig *g, unsigned generation, const char *image, enum hv_format format)
{
    struct err e;
    struct hv_vm_spec s = rig_spec(g, generation, image, format);
    OK(hv_vm_create(g->hv, &s, &e));
    char *id = str_dup(s.id);
    hv_vm_spec_clear(&s);
    return id;
}

enum hv_state rig_state(struct rig *g, const char *id, char detail[128])
{
    struct err e;
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    OK(hv_vm_get(g->hv, id, &vm, &e));
    if (detail)
        memcpy(detail, vm->state_detail, 128);
    return vm->state;
}

const char *rig_guid(struct rig *g, size_t i)
{
    const char *guid = dbl_vm_guid(g->d, i);
    assert_non_null(guid);
    return guid;
}

char *rig_medium(struct rig *g, const char *guid, unsigned generation, unsigned slot)
{
    bool scsi = generation == 2 || slot == 3;
    char *path = dbl_vm_medium(g->d, guid, scsi ? "Synthetic SCSI Controller" : "Emulated IDE Controller", scsi ? 0 : slot / 2, scsi ? slot : slot == 2 ? 1 : slot % 2);
    assert_non_null(path);
    return path;
}

char *rig_hash(const char *path)
{
    struct err e;
    AUTO_FREE char *data = NULL;
    size_t n = 0;
    uint8_t sum[SHA256_LEN];
    OK(os_read_file(path, (size_t)64 << 20, &data, &n, &e));
    OK(crypto_sha256(data, n, sum, &e));
    char *hex = malloc(HEX_LEN(SHA256_LEN));
    crypto_hex(sum, sizeof sum, hex);
    return hex;
}

struct scenario rig_scenario(struct rig *g, unsigned generation, const char *image, enum hv_format format, const char *further, const char *iso)
{
    struct err e;
    struct scenario s = {.hv = g->hv, .dir = g->dir, .generation = generation, .memory_mib = 512, .cpus = 2, .network = "none", .iso = iso};
    s.os = (struct hv_disk){.path = (char *)image, .format = format, .virtual_size = RIG_DISK_BYTES, .overlay = true};
    if (further)
        s.further = (struct hv_disk){.path = (char *)further, .format = HV_VHDX, .virtual_size = RIG_DISK_BYTES, .overlay = true};
    OK(crypto_uuid(s.id, &e));
    return s;
}

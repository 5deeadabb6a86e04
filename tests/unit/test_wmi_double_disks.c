/* Disk files before the double: what Hyper-V refuses of them and when, the image service, checkpoints. Written files are held against qemu-img. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/tmp.h"
#include "tests/unit/wmi_kit.h"

enum { VHD = 2, VHDX = 3, FIXED = 2, DYNAMIC = 3, DIFF = 4 };
#define MIB ((uint64_t)1 << 20)
#define IDE "Emulated IDE Controller"
#define SCSI "Synthetic SCSI Controller"

static char *images(struct kit *k)
{
    return kit_path_of(k, k->hv, "SELECT * FROM Msvm_ImageManagementService");
}

static uint32_t image_call(struct kit *k, const char *method, const char *param, const char *value, const char *settings)
{
    AUTO_FREE char *service = images(k);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ImageManagementService", method);
    if (param)
        assert_int_equal(wmi_put_str(in, param, value, &k->e), 0);
    if (settings)
        assert_int_equal(wmi_put_str(in, "VirtualDiskSettingData", settings, &k->e), 0);
    return kit_call(k, k->hv, service, method, in);
}

static uint32_t create(struct kit *k, const char *const *pairs)
{
    AUTO_FREE char *text = kit_text(k, "Msvm_VirtualHardDiskSettingData", pairs);
    return image_call(k, "CreateVirtualHardDisk", NULL, NULL, text);
}

static int qemu_img(const char *const *argv, char **ret_out)
{
    struct err e;
    int status = -1;
    AUTO_FREE char *out = NULL;
    if (os_run(&(struct os_exec){.argv = argv}, 60000, 1 << 20, NULL, NULL, &out, &status, &e) < 0)
        fail_msg("%s", e.msg);
    if (ret_out)
        *ret_out = STEAL(out);
    return status;
}

/* Attributes [I]: sparse, compressed, encrypted on NTFS: 0xC03A001A, when the disk is attached or when the VM starts (both were seen); a sparse file
 * on ReFS passes from 2019 on. */
static void test_attributes(void **state)
{
    (void)state;
    static const struct dbl_file bad[] = {{.sparse = true}, {.compressed = true}, {.encrypted = true}};
    for (unsigned late = 0; late < 2; late++)
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            struct kit *k = kit_new(&(struct dbl_options){.choices = late ? DBL_EVER : DBL_CALM});
            AUTO_FREE char *file = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL), *s = kit_define(k, 1, "a");
            dbl_file_set(k->d, file, bad[i]);
            struct hyperv_file seen;
            assert_int_equal(dbl_host_ops.file(k->d, file, &seen, &k->e), 0);
            assert_true(seen.sparse == bad[i].sparse && seen.compressed == bad[i].compressed && seen.encrypted == bad[i].encrypted);
            assert_int_equal(kit_attach(k, s, IDE, 0, "0", file), late ? 0 : 0xC03A001Au);
            if (late)
                assert_int_equal(kit_state(k, s, 2), 0xC03A001Au);
            kit_free(k);
        }
    const unsigned builds[] = {DBL_2016, DBL_2019};
    for (size_t b = 0; b < 2; b++) {
        struct kit *k = kit_new(&(struct dbl_options){.schema = dbl_schema(builds[b])});
        AUTO_FREE char *file = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL), *s = kit_define(k, 1, "a");
        dbl_file_set(k->d, file, (struct dbl_file){.sparse = true, .refs = true});
        assert_int_equal(kit_attach(k, s, IDE, 0, "0", file), b ? 0 : 0xC03A001Au);
        kit_free(k);
    }
    /* what a folder has is inherited; the parent's attribute counts for the child */
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *parent = kit_vhd(k, "p.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL), *child = kit_vhd(k, "c.vhdx", VHDX, DIFF, 0, parent), *s = kit_define(k, 1, "a");
    dbl_file_set(k->d, parent, (struct dbl_file){.sparse = true});
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", child), 0xC03A001Au);
    dbl_file_set(k->d, parent, (struct dbl_file){0});
    AUTO_FREE char *inside = kit_vhd(k, "i.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL);
    dbl_file_set(k->d, k->tmp, (struct dbl_file){.compressed = true});
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", inside), 0xC03A001Au);
    assert_int_equal(dbl_host_ops.uncompressed_folder(k->d, k->tmp, &k->e), 0);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", inside), 0);
    kit_free(k);
}

static void flip(const char *path, uint64_t at, int whence_end)
{
    struct err e;
    struct os_stat st;
    struct os_file *f = NULL;
    uint8_t b;
    assert_int_equal(os_stat(path, &st, &e), 0);
    assert_int_equal(os_file_open(path, OS_WRITE, &f, &e), 0);
    at = whence_end ? st.size - at : at;
    assert_int_equal(os_file_pread(f, &b, 1, at, &e), 0);
    b ^= 0xFF;
    assert_int_equal(os_file_pwrite(f, &b, 1, at, &e), 0);
    os_file_close(f);
}

/* Contents [D: winerror.h]: footer missing 01, its checksum 02, file size 13, extension against content 14 and 15, no such file. */
static void test_contents(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *s = kit_define(k, 1, "c"), *fixed = kit_vhd(k, "f.vhd", VHD, FIXED, 4 * MIB, NULL);
    AUTO_FREE char *missing = tmp_path(k->tmp, "no.vhdx");
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", missing), 0x80070002u);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", fixed), 0);
    AUTO_FREE char *drive = kit_device(k, s, "Synthetic Disk Drive", 0);
    assert_int_equal(kit_remove(k, drive), 0);
    flip(fixed, 512 - 20, 1);                          /* within the footer */
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", fixed), 0xC03A0002u);
    flip(fixed, 512 - 20, 1);
    flip(fixed, 512, 1);                               /* its cookie */
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", fixed), 0xC03A0001u);
    flip(fixed, 512, 1);
    char *bytes;
    size_t n;
    assert_int_equal(os_read_file(fixed, 8 << 20, &bytes, &n, &k->e), 0);
    AUTO_FREE char *cut = kit_file(k, "cut.vhd", bytes + MIB, n - MIB), *named = kit_file(k, "n.vhdx", bytes, n);
    free(bytes);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", cut), 0xC03A0013u);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", named), 0xC03A0015u);
    AUTO_FREE char *x = kit_vhd(k, "x.vhdx", VHDX, DYNAMIC, 4 * MIB, NULL), *as_vhd = tmp_path(k->tmp, "x.vhd");
    assert_int_equal(os_rename(x, as_vhd, &k->e), 0);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", as_vhd), 0xC03A0014u);
    AUTO_FREE char *raw = kit_file(k, "r.img", "raw", 3);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", raw), 0xC03A0014u);
    /* dynamic and odd sizes are Azure's concern, not Hyper-V's [C] */
    AUTO_FREE char *odd = kit_vhd(k, "odd.vhd", VHD, DYNAMIC, 5 * MIB + 512, NULL);
    assert_int_equal(kit_attach(k, s, IDE, 0, "0", odd), 0);
    kit_free(k);
}

/* A .vhd on Generation 2 [I]: taken on today's builds (Microsoft's own tests boot from one), refused by what was documented: a choice. */
static void test_vhd_on_generation_2(void **state)
{
    (void)state;
    for (unsigned refuses = 0; refuses < 2; refuses++) {
        struct kit *k = kit_new(&(struct dbl_options){.choices = refuses ? DBL_EVER : DBL_CALM});
        AUTO_FREE char *s = kit_define(k, 2, "g2"), *vhd = kit_vhd(k, "a.vhd", VHD, FIXED, 4 * MIB, NULL), *vhdx = kit_vhd(k, "a.vhdx", VHDX, FIXED, 4 * MIB, NULL);
        if (!refuses)
            assert_int_equal(kit_add(k, s, "Msvm_ResourceAllocationSettingData",
                                     (const char *const[]){"ResourceType", "6", "ResourceSubType", "Microsoft:Hyper-V:" SCSI, NULL}), 0);
        assert_int_equal(kit_attach(k, s, SCSI, 0, "0", vhd), refuses ? 0xC03A0014u : 0);
        assert_int_equal(kit_attach(k, s, SCSI, 0, "1", vhdx), 0);
        kit_free(k);
    }
}

/* Chains [D]: parent gone 0D, another one in its place 0E, written to since 0E (VHDX) or 0F (VHD); the child has its parent's format. */
static void test_chains(void **state)
{
    (void)state;
    for (int format = VHD; format <= VHDX; format++) {
        struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
        const char *end = format == VHD ? "vhd" : "vhdx";
        AUTO_FREE char *pn = str_printf("p.%s", end), *cn = str_printf("c.%s", end), *gn = str_printf("g.%s", end), *an = str_printf("aside.%s", end);
        AUTO_FREE char *aside = tmp_path(k->tmp, an);
        AUTO_FREE char *parent = kit_vhd(k, pn, format, DYNAMIC, 8 * MIB, NULL), *child = kit_vhd(k, cn, format, DIFF, 0, parent);
        AUTO_FREE char *grand = kit_vhd(k, gn, format, DIFF, 0, child);
        assert_int_equal(image_call(k, "ValidateVirtualHardDisk", "Path", grand, NULL), 0);
        uint8_t in[3000], out[3000];
        for (size_t i = 0; i < sizeof in; i++)
            in[i] = (uint8_t)(i * 7 + 1);
        assert_int_equal(dbl_disk_write(k->d, grand, 2 * MIB - 1500, in, sizeof in), 0);
        assert_int_equal(dbl_disk_read(k->d, grand, 2 * MIB - 1500, out, sizeof out), 0);
        assert_memory_equal(in, out, sizeof in);
        assert_int_equal(dbl_disk_read(k->d, child, 2 * MIB - 1500, out, sizeof out), 0);
        assert_int_equal(out[0], 0);
        assert_int_equal(os_rename(parent, aside, &k->e), 0);
        assert_int_equal(image_call(k, "ValidateVirtualHardDisk", "Path", grand, NULL), 0xC03A000Du);
        free(kit_vhd(k, pn, format, DYNAMIC, 8 * MIB, NULL));
        assert_int_equal(image_call(k, "ValidateVirtualHardDisk", "Path", grand, NULL), 0xC03A000Eu);
        assert_int_equal(os_rename(aside, parent, &k->e), 0);
        assert_int_equal(image_call(k, "ValidateVirtualHardDisk", "Path", grand, NULL), 0);
        if (format == VHDX) {
            assert_int_equal(dbl_disk_write(k->d, parent, 0, in, 10), 0);
            assert_int_equal(image_call(k, "ValidateVirtualHardDisk", "Path", grand, NULL), 0xC03A000Eu);
        }
        AUTO_FREE char *other = tmp_path(k->tmp, format == VHD ? "o.vhdx" : "o.vhd");
        assert_int_equal(create(k, (const char *const[]){"Path", other, "Format", format == VHD ? "3" : "2", "Type", "4", "ParentPath", child, NULL}),
                         format == VHD ? 0xC03A0014u : 0xC03A000Eu);
        kit_free(k);
    }
}

/* CreateVirtualHardDisk [D]: bad settings 32773, the extension fits the format, sizes and block sizes have limits, a file that is there stays. */
static void test_create(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *a = tmp_path(k->tmp, "a.vhdx"), *b = tmp_path(k->tmp, "b.vhd"), *deep = tmp_path(k->tmp, "no/such/folder/a.vhdx");
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "3", NULL}), 32773);
    assert_int_equal(create(k, (const char *const[]){"Path", "a.vhdx", "Format", "3", "Type", "3", "MaxInternalSize", "1048576", NULL}), 32773);
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "9", "Type", "3", "MaxInternalSize", "1048576", NULL}), 32773);
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "4", NULL}), 32773);
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "2", "Type", "3", "MaxInternalSize", "1048576", NULL}), 0xC03A0014u);
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "3", "MaxInternalSize", "1000", NULL}), 0xC03A0012u);
    assert_int_equal(create(k, (const char *const[]){"Path", b, "Format", "2", "Type", "3", "MaxInternalSize", "3298534883328", NULL}), 0xC03A0012u);
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "3", "MaxInternalSize", "1048576", "BlockSize", "3000000", NULL}), 0xC03A000Bu);
    assert_int_equal(create(k, (const char *const[]){"Path", deep, "Format", "3", "Type", "3", "MaxInternalSize", "1048576", NULL}), 0x80070003u);
    dbl_file_set(k->d, k->tmp, (struct dbl_file){.denied = true});
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "3", "MaxInternalSize", "1048576", NULL}), 0x80070005u);
    dbl_file_set(k->d, k->tmp, (struct dbl_file){0});
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "3", "MaxInternalSize", "1048576", NULL}), 0);
    assert_int_equal(create(k, (const char *const[]){"Path", a, "Format", "3", "Type", "3", "MaxInternalSize", "1048576", NULL}), 0x80070050u);
    kit_free(k);
}

/* What the double writes is what qemu-img reads, in every kind. */
static void test_against_qemu_img(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    static const struct { const char *name; int format, type; const char *driver; } kinds[] = {
        {"f.vhd", VHD, FIXED, "raw"}, {"d.vhd", VHD, DYNAMIC, "vpc"}, {"f.vhdx", VHDX, FIXED, "vhdx"}, {"d.vhdx", VHDX, DYNAMIC, "vhdx"}};
    uint64_t size = 70 * MIB;
    AUTO_FREE char *raw = tmp_path(k->tmp, "want.raw");
    struct os_file *f = NULL;
    uint8_t *data = malloc(3 * MIB);
    for (size_t i = 0; i < 3 * MIB; i++)
        data[i] = (uint8_t)(i >> 8 ^ i);
    assert_int_equal(os_file_open(raw, OS_WRITE | OS_CREATE, &f, &k->e), 0);
    assert_int_equal(os_file_truncate(f, size, &k->e), 0);
    assert_int_equal(os_file_pwrite(f, data, 3 * MIB, 31 * MIB + 512, &k->e), 0);
    assert_int_equal(os_file_pwrite(f, data, 4096, size - 4096, &k->e), 0);
    os_file_close(f);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO_FREE char *path = kit_vhd(k, kinds[i].name, kinds[i].format, kinds[i].type, size, NULL);
        assert_int_equal(dbl_disk_write(k->d, path, 31 * MIB + 512, data, 3 * MIB), 0);
        assert_int_equal(dbl_disk_write(k->d, path, size - 4096, data, 4096), 0);
        AUTO_FREE char *source = str_printf("driver=%s,%sfile.filename=%s", kinds[i].driver, !strcmp(kinds[i].driver, "raw") ? "size=73400320," : "", path);
        AUTO_FREE char *out = NULL;
        AUTO_FREE char *want = str_printf("driver=raw,file.filename=%s", raw);
        if (qemu_img((const char *const[]){"qemu-img", "compare", "--image-opts", want, source, NULL}, &out) != 0)
            fail_msg("%s: %s", kinds[i].name, out);
        if (kinds[i].type == DYNAMIC && kinds[i].format == VHDX &&
            qemu_img((const char *const[]){"qemu-img", "check", "-f", kinds[i].driver, path, NULL}, NULL) != 0)
            fail_msg("%s: qemu-img check", kinds[i].name);
        /* and the other way: a conversion reads it all again */
        AUTO_FREE char *converted = tmp_path(k->tmp, "converted.vhd");
        AUTO_FREE char *text = kit_text(k, "Msvm_VirtualHardDiskSettingData", (const char *const[]){"Path", converted, "Format", "2", "Type", "2", NULL});
        assert_int_equal(image_call(k, "ConvertVirtualHardDisk", "SourcePath", path, text), 0);
        AUTO_FREE char *fixed = str_printf("driver=raw,size=73400320,file.filename=%s", converted), *words = NULL;
        if (qemu_img((const char *const[]){"qemu-img", "compare", "--image-opts", want, fixed, NULL}, &words) != 0)
            fail_msg("converted from %s: %s", kinds[i].name, words);
        /* it refuses an existing target [C] */
        assert_int_equal(image_call(k, "ConvertVirtualHardDisk", "SourcePath", path, text), 0x80070050u);
        os_remove(converted, &k->e);
    }
    free(data);
    kit_free(k);
}

/* A conversion that fails may leave a part of its file [C]. */
static void test_convert_failure(void **state)
{
    (void)state;
    unsigned left = 0;
    for (unsigned seed = 0; seed < 16; seed++) {
        struct kit *k = kit_new(&(struct dbl_options){.seed = seed});
        AUTO_FREE char *from = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 4 * MIB, NULL), *to = tmp_path(k->tmp, "b.vhd");
        AUTO_FREE char *text = kit_text(k, "Msvm_VirtualHardDiskSettingData", (const char *const[]){"Path", to, "Format", "2", "Type", "2", NULL});
        dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_JOB_FAILS, .code = 0x80070070u, .method = "ConvertVirtualHardDisk", .at = 1});
        assert_int_equal(image_call(k, "ConvertVirtualHardDisk", "SourcePath", from, text), 0x80070070u);
        struct os_stat st;
        assert_int_equal(os_stat(to, &st, &k->e), 0);
        left += st.exists;
        kit_free(k);
    }
    assert_true(left > 0 && left < 16);
}

static void test_describe(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *service = images(k), *parent = kit_vhd(k, "p.vhdx", VHDX, DYNAMIC, 8 * MIB, NULL), *child = kit_vhd(k, "c.vhdx", VHDX, DIFF, 0, parent);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ImageManagementService", "GetVirtualHardDiskSettingData");
    wmi_put_str(in, "Path", child, &k->e);
    struct said s = kit_exec(k, k->hv, service, "GetVirtualHardDiskSettingData", in);
    assert_int_equal(s.value, 0);
    AUTO_FREE char *text = wmi_str(s.out, "SettingData");
    struct wmi_instance_text t = {0};
    assert_int_equal(wmi_text_parse(text, &t, &k->e), 0);
    assert_string_equal(wmi_text_value(&t, "ParentPath"), parent);
    assert_string_equal(wmi_text_value(&t, "MaxInternalSize"), "8388608");
    assert_string_equal(wmi_text_value(&t, "Type"), "4");
    wmi_text_clear(&t);
    kit_said_clear(&s);
    in = kit_in(k, k->hv, "Msvm_ImageManagementService", "GetVirtualHardDiskSettingData");
    wmi_put_str(in, "Path", "/no/such.vhdx", &k->e);
    assert_int_equal(kit_call(k, k->hv, service, "GetVirtualHardDiskSettingData", in), 32779);
    /* MergeVirtualHardDisk [D]: the child goes into any ancestor */
    assert_int_equal(dbl_disk_write(k->d, child, 100, "merged", 6), 0);
    in = kit_in(k, k->hv, "Msvm_ImageManagementService", "MergeVirtualHardDisk");
    wmi_put_str(in, "SourcePath", child, &k->e);
    wmi_put_str(in, "DestinationPath", parent, &k->e);
    assert_int_equal(kit_call(k, k->hv, service, "MergeVirtualHardDisk", in), 0);
    char buf[6];
    assert_int_equal(dbl_disk_read(k->d, parent, 100, buf, 6), 0);
    assert_memory_equal(buf, "merged", 6);
    kit_free(k);
}

/* ---- checkpoints ---- */

static char *snapshots(struct kit *k)
{
    return kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSnapshotService");
}

static uint32_t snapshot(struct kit *k, const char *vm)
{
    AUTO_FREE char *service = snapshots(k);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemSnapshotService", "CreateSnapshot");
    wmi_put_str(in, "AffectedSystem", vm, &k->e);
    wmi_put_str(in, "SnapshotSettings", "", &k->e);
    wmi_put_uint(in, "SnapshotType", 2, &k->e);
    return kit_call(k, k->hv, service, "CreateSnapshot", in);
}

static uint32_t snapshot_call(struct kit *k, const char *method, const char *param, const char *path)
{
    AUTO_FREE char *service = snapshots(k);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemSnapshotService", method);
    wmi_put_str(in, param, path, &k->e);
    return kit_call(k, k->hv, service, method, in);
}

static char *newest(struct kit *k, const char *vm)
{
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_MostCurrentSnapshotInBranch", vm);
    return kit_path_of(k, k->hv, wql);
}

static void write_text(struct kit *k, const char *guid, const char *text)
{
    AUTO_FREE char *disk = dbl_vm_medium(k->d, guid, IDE, 0, 0);
    assert_int_equal(dbl_disk_write(k->d, disk, 0, text, strlen(text) + 1), 0);
}

static void read_text(struct kit *k, const char *guid, const char *want)
{
    char buf[64] = "";
    AUTO_FREE char *disk = dbl_vm_medium(k->d, guid, IDE, 0, 0);
    assert_int_equal(dbl_disk_read(k->d, disk, 0, buf, sizeof buf), 0);
    assert_string_equal(buf, want);
}

/* A checkpoint gives the VM .avhdx children [D]; applying needs it off (32775) and is always a job [C]; deleting merges, some time after its job [C],
 * and leaves what is no checkpoint's own as it was: the image under an overlay. */
static void test_checkpoints(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 4; seed++) {
        struct kit *k = kit_new(&(struct dbl_options){.seed = seed, .jobs = DBL_MAYBE});
        AUTO_FREE char *image = kit_vhd(k, "image.vhdx", VHDX, DYNAMIC, 8 * MIB, NULL), *overlay = kit_vhd(k, "overlay.vhdx", VHDX, DIFF, 0, image);
        AUTO_FREE char *s = kit_define(k, 1, "c"), *vm = kit_vm_path(k, s), *guid = kit_guid(k, s);
        assert_int_equal(kit_attach(k, s, IDE, 0, "0", overlay), 0);
        assert_int_equal(kit_state(k, s, 2), 0x80070005u);               /* the parent needs an entry of its own [C] */
        assert_int_equal(dbl_host_ops.grant(k->d, image, guid, false, &k->e), 0);
        write_text(k, guid, "zero");
        assert_int_equal(snapshot(k, vm), 0);
        AUTO_FREE char *first = newest(k, vm), *top = dbl_vm_medium(k->d, guid, IDE, 0, 0);
        assert_true(str_ends(top, ".avhdx"));
        write_text(k, guid, "one");
        assert_int_equal(snapshot(k, vm), 0);
        AUTO_FREE char *second = newest(k, vm);
        assert_false(wmi_same_path(first, second));
        write_text(k, guid, "two");
        AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_SnapshotOfVirtualSystem", vm);
        assert_int_equal(kit_count(k, k->hv, wql), 2);
        /* settings of snapshots have their own type; devices carry the snapshot's id */
        assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemType='Microsoft:Hyper-V:Snapshot:Realized'"), 2);
        assert_int_equal(kit_state(k, s, 2), 0);
        assert_int_equal(snapshot_call(k, "ApplySnapshot", "Snapshot", first), 32775);
        assert_int_equal(kit_state(k, s, 3), 0);
        assert_int_equal(snapshot_call(k, "ApplySnapshot", "Snapshot", first), 0);
        read_text(k, guid, "zero");
        write_text(k, guid, "other branch");
        assert_int_equal(snapshot_call(k, "ApplySnapshot", "Snapshot", second), 0);
        read_text(k, guid, "one");
        write_text(k, guid, "last");
        /* delete both: the disk is the overlay again, with the last contents, the image untouched */
        assert_int_equal(snapshot_call(k, "DestroySnapshot", "AffectedSnapshot", first), 0);
        assert_int_equal(snapshot_call(k, "DestroySnapshot", "AffectedSnapshot", second), 0);
        assert_int_equal(snapshot_call(k, "DestroySnapshot", "AffectedSnapshot", second), 32773);
        dbl_pass(k->d, 20000);
        AUTO_FREE char *base = dbl_vm_medium(k->d, guid, IDE, 0, 0);
        assert_string_equal(base, overlay);
        read_text(k, guid, "last");
        char clean[4] = "x";
        assert_int_equal(dbl_disk_read(k->d, image, 0, clean, sizeof clean), 0);
        assert_int_equal(clean[0], 0);
        assert_int_equal(kit_state(k, s, 2), 0);
        kit_free(k);
    }
}

static bool is_avhdx(const char *name)
{
    return str_ends(name, ".avhdx");
}

static int count_avhdx(void *arg, const char *name)
{
    *(unsigned *)arg += is_avhdx(name);
    return 0;
}

/* DestroySystem with checkpoints: their disks are merged, or left behind [U]. Disabled checkpoints fail as a job. */
static void test_checkpoints_and_the_end(void **state)
{
    (void)state;
    for (unsigned leaves = 0; leaves < 2; leaves++) {
        struct kit *k = kit_new(&(struct dbl_options){.choices = leaves ? DBL_EVER : DBL_CALM});
        AUTO_FREE char *disk = kit_vhd(k, "d.vhdx", VHDX, DYNAMIC, 8 * MIB, NULL), *s = kit_define(k, 1, "c"), *vm = kit_vm_path(k, s), *guid = kit_guid(k, s);
        assert_int_equal(kit_attach(k, s, IDE, 0, "0", disk), 0);
        assert_int_equal(snapshot(k, vm), 0);
        write_text(k, guid, "kept");
        AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
        struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "DestroySystem");
        wmi_put_str(in, "AffectedSystem", vm, &k->e);
        assert_int_equal(kit_call(k, k->hv, service, "DestroySystem", in), 0);
        unsigned n = 0;
        assert_int_equal(os_list_dir(k->tmp, count_avhdx, &n, &k->e), 0);
        assert_int_equal(n, leaves);
        char buf[8] = "";
        assert_int_equal(dbl_disk_read(k->d, disk, 0, buf, sizeof buf), 0);
        assert_string_equal(buf, leaves ? "" : "kept");
        kit_free(k);
    }
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *s = kit_define(k, 1, "none"), *vm = kit_vm_path(k, s);
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, s, &k->wait, &o, &k->e), 0);
    AUTO_FREE char *id = wmi_str(o, "InstanceID");
    wmi_object_free(o);
    struct said said = kit_service(k, "ModifySystemSettings", "SystemSettings",
                                   kit_text(k, "Msvm_VirtualSystemSettingData", (const char *const[]){"InstanceID", id, "UserSnapshotType", "2", NULL}), NULL);
    kit_said_clear(&said);
    assert_int_equal(snapshot(k, vm), 32768);
    kit_free(k);
}

/* On a client, AutomaticSnapshotsEnabled is on unless it is turned off: a start silently moves the VM to an .avhdx [C]. */
static void test_automatic_checkpoints(void **state)
{
    (void)state;
    for (unsigned off = 0; off < 2; off++) {
        struct kit *k = kit_new(&(struct dbl_options){.client = true});
        AUTO_FREE char *disk = kit_vhd(k, "d.vhdx", VHDX, DYNAMIC, 8 * MIB, NULL);
        struct said said = kit_service(k, "DefineSystem", "SystemSettings",
                                       kit_text(k, "Msvm_VirtualSystemSettingData",
                                                off ? (const char *const[]){"ElementName", "auto", "AutomaticSnapshotsEnabled", "FALSE", NULL}
                                                    : (const char *const[]){"ElementName", "auto", NULL}), NULL);
        kit_said_clear(&said);
        AUTO_FREE char *s = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSettingData WHERE ElementName='auto'"), *guid = kit_guid(k, s);
        assert_int_equal(kit_attach(k, s, IDE, 0, "0", disk), 0);
        assert_int_equal(kit_state(k, s, 2), 0);
        AUTO_FREE char *now = dbl_vm_medium(k->d, guid, IDE, 0, 0);
        assert_int_equal(is_avhdx(now), !off);
        kit_free(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes),      cmocka_unit_test(test_contents),     cmocka_unit_test(test_vhd_on_generation_2),
        cmocka_unit_test(test_chains),          cmocka_unit_test(test_create),       cmocka_unit_test(test_against_qemu_img),
        cmocka_unit_test(test_convert_failure), cmocka_unit_test(test_describe),     cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_checkpoints_and_the_end), cmocka_unit_test(test_automatic_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

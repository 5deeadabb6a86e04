/* Disks of a VM: images of every format stay as they are, overlays, exports, DVDs, further disks, a host disk that is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/hv_fixture.h"
#include "tests/unit/hv_guest.h"

static char *run_tool(int expect, const char *const *argv)
{
    struct err e;
    struct os_exec x = {.argv = argv, .cwd = "/"};
    char *out = NULL;
    int status = 0;
    OK(os_run(&x, 120000, 65536, NULL, NULL, &out, &status, &e));
    if (status != expect)
        fail_msg("%s %s: status %d: %s", argv[0], argv[1], status, out);
    return out;
}
#define TOOL(expect, ...) free(run_tool(expect, (const char *const[]){__VA_ARGS__, NULL}))

static char *digest(const char *path)
{
    char *text = NULL;
    size_t n = 0;
    struct err e;
    uint8_t sum[SHA256_LEN];
    OK(os_read_file(path, (size_t)64 << 20, &text, &n, &e));
    OK(crypto_sha256(text, n, sum, &e));
    free(text);
    char *hex = malloc(HEX_LEN(SHA256_LEN));
    crypto_hex(sum, SHA256_LEN, hex);
    return hex;
}

static void boot_sector_of(const char *path, uint64_t lba, uint8_t ret[512])
{
    struct os_file *f = NULL;
    struct err e;
    OK(os_file_open(path, OS_READ, &f, &e));
    OK(os_file_pread(f, ret, 512, lba * 512, &e));
    os_file_close(f);
}

/* Boots the disk, lets the guest write its second sector, and stops it. */
static void boot_and_write(struct hvt *f, const char *id, const char *text)
{
    struct err e;
    OK(hv_vm_start(f->hv, id, &e));
    hvt_wait_text(f, id, text);
    hvt_type(f, id, "!");
    AUTO_FREE char *want = str_printf("%s+", text);
    hvt_wait_text(f, id, want);
    OK(hv_vm_stop(f->hv, id, &e));
}

/* As Azure's tools write it: QEMU, left alone, would take the size of such an image from its geometry, which is smaller. */
static void make_azure_like(const char *path)
{
    struct os_file *f = NULL;
    struct err e;
    uint64_t size = 0;
    OK(os_file_open(path, OS_WRITE, &f, &e));
    OK(os_file_size(f, &size, &e));
    for (int copy = 0; copy < 2; copy++) {
        uint8_t footer[512];
        uint64_t at = copy ? size - 512 : 0;
        OK(os_file_pread(f, footer, 512, at, &e));
        assert_memory_equal(footer, "conectix", 8);
        memcpy(footer + 28, "wa\0\0", 4);
        memcpy(footer + 56, "\0\36\4\21", 4);           /* 30 cylinders, 4 heads, 17 sectors: 2040 of 2048 sectors */
        memset(footer + 64, 0, 4);
        uint32_t sum = 0;
        for (size_t i = 0; i < sizeof footer; i++)
            sum += footer[i];
        for (int i = 0; i < 4; i++)
            footer[64 + i] = (uint8_t)(~sum >> (24 - 8 * i));
        OK(os_file_pwrite(f, footer, 512, at, &e));
    }
    os_file_close(f);
    AUTO_FREE char *info = run_tool(0, (const char *const[]){"qemu-img", "info", "-f", "vpc", path, NULL});
    assert_null(strstr(info, "(1048576 bytes)"));      /* the trap is set */
}

/* Each format boots, is written to, and its file has not changed by a bit; the flat copy holds what was written. */
static void formats(void **state)
{
    struct hvt *f = *state;
    struct err e;
    static const struct {
        const char *name;
        enum hv_format format;
    } cases[] = {{"raw", HV_RAW}, {"vhd", HV_VHD}, {"dynamic", HV_VHD_DYNAMIC}, {"vhdx", HV_VHDX}, {"qcow2", HV_QCOW2}};
    AUTO_FREE char *raw = hvt_path(f, "formats.raw");
    guest_raw(raw, "format:");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *path = hvt_path(f, "image.%s", cases[i].name), *flat = hvt_path(f, "flat.%s", cases[i].name);
        switch (cases[i].format) {
        case HV_RAW: guest_raw(path, "format:"); break;
        case HV_VHD: guest_fixed_vhd(path, "format:"); break;
        case HV_VHD_DYNAMIC:
            TOOL(0, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size=on", raw, path);
            make_azure_like(path);
            break;
        case HV_VHDX: TOOL(0, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", raw, path); break;
        case HV_QCOW2: TOOL(0, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path); break;
        }
        struct hv_vm_spec s = hvt_spec(f, (const char *const[]){path, NULL});
        s.disks[0].format = cases[i].format;
        AUTO_FREE char *before = digest(path);
        OK(hv_vm_create(f->hv, &s, &e));
        boot_and_write(f, s.id, "format:");
        AUTO_FREE char *after = digest(path);
        assert_string_equal(before, after);
        OK(hv_disk_export(f->hv, s.id, 0, HV_RAW, flat, NULL, NULL, NULL, &e));
        uint8_t first[512], second[512], last[512];
        boot_sector_of(flat, 0, first);
        boot_sector_of(flat, 1, second);
        assert_memory_equal(first, second, 512);       /* the guest wrote a copy of its code there */
        boot_sector_of(flat, GUEST_DISK_BYTES / 512 - 1, last);         /* not one sector lost at the end */
        if (cases[i].format != HV_VHD)
            assert_memory_equal(last + 501, "last sector", 11);
        struct os_stat st;
        OK(os_stat(flat, &st, &e));
        assert_int_equal(st.size, GUEST_DISK_BYTES);
        OK(hv_vm_delete(f->hv, s.id, &e));
        AUTO_FREE char *still = digest(path);
        assert_string_equal(before, still);
        hv_vm_spec_clear(&s);
    }
}

static bool stop_at_once(void *arg)
{
    ++*(int *)arg;
    return true;
}

struct seen {
    uint64_t done, total;
    int calls;
};

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct seen *s = arg;
    assert_true(done >= s->done && done <= total);
    *s = (struct seen){.done = done, .total = total, .calls = s->calls + 1};
}

static void exports(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "export:"), *overlay = hvt_path(f, "vms/%s/disk0.qcow2", id), *path = hvt_path(f, "out.vhd");
    AUTO_FREE char *part = hvt_path(f, "out.vhd.part");
    hvt_wait_text(f, id, "export:");
    hvt_type(f, id, "!");
    hvt_wait_text(f, id, "export:+");
    assert_int_equal(hv_disk_export(f->hv, id, 0, HV_VHD, path, NULL, NULL, NULL, &e), -ERR_WRONG_STATE);
    assert_true(strstr(err_hint_text(&e), "stop"));
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hv_disk_export(f->hv, id, 1, HV_VHD, path, NULL, NULL, NULL, &e), -ERR_NOT_FOUND);
    assert_int_equal(hv_disk_export(f->hv, id, 9, HV_VHD, path, NULL, NULL, NULL, &e), -ERR_VALUE);

    struct seen seen = {0};
    OK(hv_disk_export(f->hv, id, 0, HV_VHD, path, NULL, progress, &seen, &e));
    assert_true(seen.calls > 0 && seen.done == GUEST_DISK_BYTES && seen.total == GUEST_DISK_BYTES);
    struct os_stat st;
    OK(os_stat(path, &st, &e));
    assert_int_equal(st.size, GUEST_DISK_BYTES + 512);
    AUTO_FREE char *chain = str_printf("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", overlay);
    AUTO_FREE char *flat = str_printf("json:{\"driver\":\"raw\",\"size\":%llu,\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
                                      (unsigned long long)GUEST_DISK_BYTES, path);
    TOOL(0, "qemu-img", "compare", chain, flat);
    AUTO_FREE char *info = run_tool(0, (const char *const[]){"qemu-img", "info", "-f", "vpc", path, NULL});
    assert_non_null(strstr(info, "(1048576 bytes)"));
    assert_int_equal(hv_disk_export(f->hv, id, 0, HV_VHD, path, NULL, NULL, NULL, &e), -ERR_WRONG_STATE);   /* never overwrites */

    static const struct {
        enum hv_format format;
        const char *name, *driver;
    } more[] = {{HV_VHD_DYNAMIC, "out.dynamic", "vpc"}, {HV_VHDX, "out.vhdx", "vhdx"}, {HV_QCOW2, "out.qcow2", "qcow2"}, {HV_RAW, "out.raw", "raw"}};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        AUTO_FREE char *out = hvt_path(f, "%s", more[i].name);
        OK(hv_disk_export(f->hv, id, 0, more[i].format, out, NULL, NULL, NULL, &e));
        if (more[i].format == HV_VHD_DYNAMIC)
            continue;                                  /* qemu-img would read its size from the geometry; the size was given by us */
        TOOL(0, "qemu-img", "compare", "-F", more[i].driver, chain, out);
    }

    int asked = 0;
    OK(os_remove(path, &e));
    assert_int_equal(hv_disk_export(f->hv, id, 0, HV_VHD, path, stop_at_once, NULL, &asked, &e), -ERR_CANCELLED);
    assert_true(asked > 0);
    OK(os_stat(path, &st, &e));
    assert_false(st.exists);
    OK(os_stat(part, &st, &e));
    assert_false(st.exists);
    OK(hv_vm_start(f->hv, id, &e));                    /* nothing is held back */
    OK(hv_vm_stop(f->hv, id, &e));

    /* the overlay belongs to the VM account: what its header names beside itself is not ours to read */
    AUTO_FREE char *secret = hvt_path(f, "secret"), *options = str_printf("data_file=%s,data_file_raw=on", secret);
    OK(os_remove(overlay, &e));
    TOOL(0, "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, overlay, "1M");
    assert_int_equal(hv_disk_export(f->hv, id, 0, HV_RAW, path, NULL, NULL, NULL, &e), -ERR_IMAGE_DAMAGED);
    OK(os_stat(path, &st, &e));
    assert_false(st.exists);
    OK(hv_vm_delete(f->hv, id, &e));
}

static void dvd(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *blank = hvt_path(f, "blank.raw"), *one = hvt_path(f, "one.iso"), *two = hvt_path(f, "two, \"odd\".iso");
    guest_blank(blank);
    guest_iso(one, "from DVD one");
    guest_iso(two, "from DVD two");
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){blank, NULL});
    s.dvd = str_dup(one);
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "from DVD one");            /* a blank disk falls through */
    OK(hv_dvd(f->hv, s.id, two, &e));
    OK(hv_vm_reset(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "from DVD two");
    OK(hv_dvd(f->hv, s.id, NULL, &e));
    OK(hv_dvd(f->hv, s.id, NULL, &e));
    OK(hv_vm_reset(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "No bootable device");
    OK(hv_dvd(f->hv, s.id, one, &e));
    hvt_reopen(f);                                     /* remembered by the next daemon and the next start */
    OK(hv_vm_stop(f->hv, s.id, &e));
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    OK(hv_vm_get(f->hv, s.id, &vm, &e));
    assert_string_equal(vm->spec.dvd, one);
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "from DVD one");
    OK(hv_vm_stop(f->hv, s.id, &e));
    OK(hv_dvd(f->hv, s.id, two, &e));                  /* while it is off */
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "from DVD two");
    AUTO_FREE char *missing = hvt_path(f, "missing.iso");
    assert_int_equal(hv_dvd(f->hv, s.id, missing, &e), -ERR_NOT_FOUND);
    OK(hv_vm_delete(f->hv, s.id, &e));
    hv_vm_spec_clear(&s);
}

/* All four places taken: the DVD drive is on USB, boots, and changes its medium. */
static void four_disks_and_dvd(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *a = hvt_path(f, "a.raw"), *b = hvt_path(f, "b.raw"), *c = hvt_path(f, "c.raw"), *d = hvt_path(f, "d.raw");
    AUTO_FREE char *iso = hvt_path(f, "usb.iso"), *other = hvt_path(f, "usb2.iso");
    guest_blank(a);
    guest_blank(b);
    guest_blank(c);
    guest_blank(d);
    guest_iso(iso, "from USB one");
    guest_iso(other, "from USB two");
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){a, b, c, d, NULL});
    s.dvd = str_dup(iso);
    s.network = (free(s.network), str_dup("nat"));
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "from USB one");
    OK(hv_dvd(f->hv, s.id, other, &e));
    OK(hv_vm_reset(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "from USB two");
    OK(hv_vm_delete(f->hv, s.id, &e));
    hv_vm_spec_clear(&s);
}

static void attach(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "attach:"), *backup = hvt_path(f, "backup.vhd"), *direct = hvt_path(f, "direct.raw");
    guest_fixed_vhd(backup, "backup");
    guest_raw(direct, "direct");
    struct hv_disk d = {.path = backup, .format = HV_VHD, .virtual_size = GUEST_DISK_BYTES, .overlay = true};
    struct hv_disk w = {.path = direct, .format = HV_RAW, .virtual_size = GUEST_DISK_BYTES};
    assert_int_equal(hv_disk_attach(f->hv, id, 1, &d, &e), -ERR_WRONG_STATE);
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hv_disk_attach(f->hv, id, 0, &d, &e), -ERR_VALUE);
    assert_int_equal(hv_disk_attach(f->hv, id, 4, &d, &e), -ERR_VALUE);
    OK(hv_disk_attach(f->hv, id, 2, &d, &e));
    assert_int_equal(hv_disk_attach(f->hv, id, 2, &w, &e), -ERR_WRONG_STATE);
    OK(hv_disk_attach(f->hv, id, 1, &w, &e));
    assert_int_equal(hv_disk_attach(f->hv, id, 3, &w, &e), -ERR_WRONG_STATE);        /* written to directly: once */
    hvt_reopen(f);
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    OK(hv_vm_get(f->hv, id, &vm, &e));
    assert_int_equal(vm->spec.n_disks, 3);
    assert_string_equal(vm->spec.disks[2].path, backup);
    assert_int_equal(vm->spec.disks[2].format, HV_VHD);
    assert_true(vm->spec.disks[2].overlay && !vm->spec.disks[1].overlay);
    OK(hv_vm_start(f->hv, id, &e));
    hvt_wait_text(f, id, "attach:");
    struct hv_checkpoint c;
    assert_int_equal(hv_checkpoint_create(f->hv, id, "x", &c, &e), -ERR_WRONG_STATE);         /* slot 1 cannot be undone */
    assert_int_equal(hv_disk_detach(f->hv, id, 1, &e), -ERR_WRONG_STATE);
    OK(hv_vm_stop(f->hv, id, &e));
    OK(hv_disk_detach(f->hv, id, 1, &e));
    assert_int_equal(hv_disk_detach(f->hv, id, 1, &e), -ERR_NOT_FOUND);
    OK(hv_vm_start(f->hv, id, &e));                    /* slot 2 stays, with a hole before it */
    hvt_wait_text(f, id, "attach:");
    OK(hv_vm_stop(f->hv, id, &e));
    OK(hv_disk_detach(f->hv, id, 2, &e));
    AUTO_FREE char *overlay = hvt_path(f, "vms/%s/disk2.qcow2", id);
    assert_int_not_equal(access(overlay, F_OK), 0);
    assert_int_equal(access(backup, F_OK) | access(direct, F_OK), 0);
    OK(hv_vm_delete(f->hv, id, &e));
}

/* A disk that is written through really is. */
static void written_through(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *path = hvt_path(f, "through.vhd");
    guest_fixed_vhd(path, "through:");
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){path, NULL});
    s.disks[0].format = HV_VHD;
    s.disks[0].overlay = false;
    OK(hv_vm_create(f->hv, &s, &e));
    boot_and_write(f, s.id, "through:");
    uint8_t first[512], second[512], footer[512];
    boot_sector_of(path, 0, first);
    boot_sector_of(path, 1, second);
    boot_sector_of(path, GUEST_DISK_BYTES / 512, footer);
    assert_memory_equal(first, second, 512);
    assert_memory_equal(footer, "conectix", 8);
    OK(hv_vm_delete(f->hv, s.id, &e));
    assert_int_equal(access(path, F_OK), 0);
    hv_vm_spec_clear(&s);
}

/* The host's disk runs full under a guest that writes: it pauses, says why, and goes on when there is room. */
static void host_disk_full(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *data = hvt_path(f, "small"), *disk = hvt_path(f, "full.raw"), *filler = os_path_join(data, "filler");
    OK(os_mkdirs(data, 0, &e));
    if (mount("tmpfs", data, "tmpfs", 0, "size=2m") < 0)
        skip();
    guest_raw(disk, "full:");
    struct hv *keep = f->hv;
    struct hv_config cfg = {.data_dir = data, .accel = "tcg", .scope = "none"};
    OK(hv_open(&hv_qemu, &cfg, &f->hv, &e));
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "full:");
    uint64_t room = 0;
    OK(os_free_space(data, &room, &e));
    char *zeros = malloc(room);
    memset(zeros, 'x', room);
    struct os_file *file = NULL;
    OK(os_file_open(filler, OS_WRITE | OS_CREATE, &file, &e));
    OK(os_file_pwrite(file, zeros, room, 0, &e));
    os_file_close(file);
    free(zeros);
    hvt_type(f, s.id, "!");
    hvt_wait_state(f, s.id, HV_PAUSED);
    char detail[128];
    hvt_state(f, s.id, detail);
    assert_non_null(strstr(detail, "disk is full"));
    struct hv_chord k = {.codes = {"KeyA"}, .n = 1};
    assert_int_equal(hv_keys(f->hv, s.id, &k, &e), -ERR_WRONG_STATE);
    OK(os_remove(filler, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "full:+");
    assert_int_equal(hvt_state(f, s.id, NULL), HV_RUNNING);
    OK(hv_vm_delete(f->hv, s.id, &e));
    hv_vm_spec_clear(&s);
    hv_close(f->hv);
    f->hv = keep;
    int unmounted = -1;
    for (int i = 0; unmounted && i < 100; i++) {       /* the kernel lets go of what a process had a moment after the process has ended */
        unmounted = umount(data);
        if (unmounted)
            clock_sleep_ms(50);
    }
    assert_int_equal(unmounted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats), cmocka_unit_test(exports),         cmocka_unit_test(dvd),            cmocka_unit_test(four_disks_and_dvd),
        cmocka_unit_test(attach),  cmocka_unit_test(written_through), cmocka_unit_test(host_disk_full),
    };
    return cmocka_run_group_tests(tests, hvt_setup, hvt_teardown);
}

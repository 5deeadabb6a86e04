#include "tests/unit/hv_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/hv_guest.h"

static void open_driver(struct hvt *f)
{
    struct err e;
    struct hv_config cfg = {.data_dir = f->dir, .accel = "tcg", .scope = "none"};
    OK(hv_open(&hv_qemu, &cfg, &f->hv, &e));
}

int hvt_setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct hvt *f = calloc(1, sizeof *f);
    f->dir = str_printf("%s/vmr-hv-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    open_driver(f);
    *state = f;
    return 0;
}

int hvt_teardown(void **state)
{
    struct hvt *f = *state;
    struct hv_vm **list = NULL;
    size_t n = 0;
    struct err e;
    OK(hv_vm_list(f->hv, &list, &n, &e));
    for (size_t i = 0; i < n; i++)
        OK(hv_vm_delete(f->hv, list[i]->spec.id, &e));
    hv_vm_list_free(list, n);
    hv_close(f->hv);
    OK(os_remove_tree(f->dir, &e));
    free(f->dir);
    free(f);
    return 0;
}

void hvt_reopen(struct hvt *f)
{
    hv_close(f->hv);
    open_driver(f);
}

char *hvt_path(struct hvt *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *name = str_vprintf(fmt, ap), *path = os_path_join(f->dir, name);
    va_end(ap);
    free(name);
    assert_non_null(path);
    return path;
}

struct hv_vm_spec hvt_spec(struct hvt *f, const char *const *disks)
{
    struct hv_vm_spec s = {.generation = 1, .memory_mib = 32, .cpus = 1};
    struct err e;
    (void)f;
    s.id = calloc(1, UUID_LEN);
    OK(crypto_uuid(s.id, &e));
    s.job_id = str_dup("7c9e6679-7425-40de-944b-e07fc1f90ae7");
    s.name = str_dup("guest, of a \"test\"");
    s.network = str_dup("none");
    for (; *disks; disks++)
        s.disks[s.n_disks++] = (struct hv_disk){.path = str_dup(*disks), .format = HV_RAW, .virtual_size = GUEST_DISK_BYTES, .overlay = true};
    return s;
}

char *hvt_vm(struct hvt *f, const char *text)
{
    struct err e;
    AUTO_FREE char *disk = hvt_path(f, "disk%u.raw", f->next++);
    guest_raw(disk, text);
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    char *id = str_dup(s.id);
    hv_vm_spec_clear(&s);
    return id;
}

enum hv_state hvt_state(struct hvt *f, const char *id, char *ret_detail)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    struct err e;
    OK(hv_vm_get(f->hv, id, &vm, &e));
    if (ret_detail)
        memcpy(ret_detail, vm->state_detail, sizeof vm->state_detail);
    return vm->state;
}

char *hvt_text(struct hvt *f, const char *id)
{
    char *text = NULL;
    struct err e;
    OK(hv_screen_text(f->hv, id, &text, &e));
    return text;
}

void hvt_wait_text(struct hvt *f, const char *id, const char *text)
{
    int64_t deadline = clock_mono_ms() + HVT_WAIT_MS;
    for (;;) {
        AUTO_FREE char *screen = NULL;
        struct err e;
        int r = hv_screen_text(f->hv, id, &screen, &e);
        if (r < 0 && r != -ERR_UNSUPPORTED)
            fail_msg("hv_screen_text: %s", e.msg);
        if (r == 0 && strstr(screen, text))
            return;
        if (clock_mono_ms() > deadline)
            fail_msg("'%s' does not appear on the screen:\n%s", text, screen ? screen : e.msg);
        clock_sleep_ms(50);
    }
}

void hvt_wait_state(struct hvt *f, const char *id, enum hv_state state)
{
    int64_t deadline = clock_mono_ms() + HVT_WAIT_MS;
    char detail[128];
    enum hv_state now;
    while ((now = hvt_state(f, id, detail)) != state) {
        if (clock_mono_ms() > deadline)
            fail_msg("the VM is %s (%s), not %s", hv_state_name(now), detail, hv_state_name(state));
        clock_sleep_ms(50);
    }
}

void hvt_type(struct hvt *f, const char *id, const char *text)
{
    struct err e;
    for (; *text; text++) {
        struct hv_chord k;
        assert_true(hv_key_for_char(*text, &k));
        OK(hv_keys(f->hv, id, &k, &e));
    }
}

int hvt_pid(struct hvt *f, const char *id)
{
    AUTO_FREE char *path = hvt_path(f, "vms/%s/qemu.pid", id), *text = NULL;
    size_t n;
    struct err e;
    return os_read_file(path, 64, &text, &n, &e) == 0 ? atoi(text) : 0;
}

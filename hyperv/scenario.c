/* The steps of a VM's life, each with what must be true around it. */
#include "hyperv/scenario.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"

#define SLOT 1u                                        /* of the further disk */
#define SERIAL_BYTES 256

/* ---- helpers ---- */

static int broken(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int broken(struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *text = str_vprintf(fmt, ap);
    va_end(ap);
    return err_set(e, ERR_INTERNAL, "the hypervisor broke its promise: %s", text ? text : fmt);
}

/* The call must fail so. Unreachable and the like are passed on: they say nothing about the promise. */
static int expect(int r, enum err_code want, const char *what, struct err *e)
{
    if (r == -(int)want)
        return 0;
    if (r < 0 && (err_info(r)->retryable || r == -ERR_CANCELLED))
        return r;
    return r == 0 ? broken(e, "%s was accepted", what) : broken(e, "%s ended with %s: %.200s", what, err_info(r)->word, e->msg);
}

static int state_is(struct scenario *s, enum hv_state want, struct err *e)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    int r = hv_vm_get(s->hv, s->id, &vm, e);
    if (r == 0 && vm->state != want)
        r = broken(e, "the VM is %s (%s) and should be %s", hv_state_name(vm->state), vm->state_detail, hv_state_name(want));
    return r;
}

static int spec_for(const struct scenario *s, const char *network, struct hv_vm_spec *ret, struct err *e)
{
    struct hv_vm_spec spec = {.id = (char *)s->id, .job_id = (char *)s->id, .name = (char *)"vmrecover check", .generation = s->generation,
                              .memory_mib = s->memory_mib, .cpus = s->cpus, .network = (char *)network, .n_disks = 1, .nested = s->nested};
    spec.disks[0] = s->os;
    return hv_vm_spec_copy(&spec, ret, e);
}

static int find_in_list(struct scenario *s, bool *ret, struct err *e)
{
    struct hv_vm **list = NULL;
    size_t n = 0, seen = 0;
    int r = hv_vm_list(s->hv, &list, &n, e);
    for (size_t i = 0; r == 0 && i < n; i++)
        seen += !strcmp(list[i]->spec.id, s->id);
    hv_vm_list_free(list, n);
    *ret = seen == 1;
    return r == 0 && seen > 1 ? broken(e, "the VM is listed %zu times", seen) : r;
}

static int disk_in_slot(struct scenario *s, unsigned slot, bool *ret, struct err *e)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    int r = hv_vm_get(s->hv, s->id, &vm, e);
    if (r == 0)
        *ret = slot < vm->spec.n_disks && vm->spec.disks[slot].path;
    return r;
}

static int has_checkpoint(struct scenario *s, const char *id, bool *ret, struct err *e)
{
    struct hv_checkpoint *list = NULL;
    size_t n = 0;
    *ret = false;
    int r = hv_checkpoint_list(s->hv, s->id, &list, &n, e);
    for (size_t i = 0; r == 0 && i < n; i++)
        *ret = *ret || !strcmp(list[i].id, id);
    free(list);
    return r;
}

/* ---- steps ---- */

static int create(struct scenario *s, struct err *e)
{
    AUTO(hv_vm_spec_clear) struct hv_vm_spec spec = {0};
    bool listed = false;
    int r = spec_for(s, s->network, &spec, e);
    if (r == 0)
        r = hv_vm_create(s->hv, &spec, e);
    if (r == 0)
        r = find_in_list(s, &listed, e);
    if (r == 0 && !listed)
        r = broken(e, "the new VM is not listed");
    return r == 0 ? state_is(s, HV_OFF, e) : r;
}

static int create_other(struct scenario *s, struct err *e)
{
    AUTO(hv_vm_spec_clear) struct hv_vm_spec spec = {0};
    int r = spec_for(s, s->network, &spec, e);
    if (r < 0)
        return r;
    spec.cpus = s->cpus == 1 ? 2 : 1;
    return expect(hv_vm_create(s->hv, &spec, e), ERR_WRONG_STATE, "another definition of a VM that is there", e);
}

static int get(struct scenario *s, struct err *e)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    int r = hv_vm_get(s->hv, s->id, &vm, e);
    if (r < 0)
        return r;
    if (vm->spec.generation != s->generation || strcmp(vm->spec.network, s->network) || !vm->spec.disks[0].path || !vm->spec.disks[0].overlay ||
        strcmp(vm->spec.disks[0].path, s->os.path))
        return broken(e, "the VM is not what was asked for");
    if (!vm->spec.memory_mib || vm->spec.memory_mib > s->memory_mib + 32 || !vm->spec.cpus || vm->spec.cpus > s->cpus)
        return broken(e, "the VM has %u MiB and %u processors, %u and %u were asked for", vm->spec.memory_mib, vm->spec.cpus, s->memory_mib, s->cpus);
    return 0;
}

/* What an off VM cannot do is refused with the right word. */
static int refuse_while_off(struct scenario *s, struct err *e)
{
    struct hv_image img = {0};
    struct hv_chord key = {.codes = {"KeyA"}, .n = 1};
    int r = hv_screen(s->hv, s->id, &img, e);
    hv_image_clear(&img);
    r = expect(r, ERR_WRONG_STATE, "reading the screen of a VM that is off", e);
    if (r == 0)
        r = expect(hv_keys(s->hv, s->id, &key, e), ERR_WRONG_STATE, "typing on a VM that is off", e);
    if (r == 0)
        r = expect(hv_vm_reset(s->hv, s->id, e), ERR_WRONG_STATE, "resetting a VM that is off", e);
    if (r == 0)
        r = expect(hv_vm_shutdown(s->hv, s->id, e), ERR_WRONG_STATE, "shutting down a VM that is off", e);
    return r;
}

static int attach(struct scenario *s, struct err *e)
{
    bool there = false;
    int r = s->further.path ? disk_in_slot(s, SLOT, &there, e) : 0;
    if (r < 0 || !s->further.path)
        return r;
    if (!there)
        r = hv_disk_attach(s->hv, s->id, SLOT, &s->further, e);
    if (r == 0)
        r = disk_in_slot(s, SLOT, &there, e);
    if (r == 0 && !there)
        r = broken(e, "the attached disk is not in its slot");
    return r == 0 ? expect(hv_disk_attach(s->hv, s->id, SLOT, &s->further, e), ERR_WRONG_STATE, "a second disk in a slot", e) : r;
}

static int dvd_is(struct scenario *s, const char *iso, struct err *e)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    int r = hv_dvd(s->hv, s->id, iso, e);
    if (r == 0)
        r = hv_vm_get(s->hv, s->id, &vm, e);
    if (r == 0 && (iso ? !vm->spec.dvd || strcmp(vm->spec.dvd, iso) : vm->spec.dvd != NULL))
        r = broken(e, "the DVD drive holds '%s' and should hold '%s'", vm->spec.dvd ? vm->spec.dvd : "", iso ? iso : "");
    return r;
}

static int dvd(struct scenario *s, struct err *e)
{
    int r = 0;
    const char *order[] = {s->iso, NULL, NULL, s->iso, s->iso};          /* out of an empty drive too, and in over another */
    for (size_t i = 0; r == 0 && s->iso && i < ARRAY_LEN(order); i++)
        r = dvd_is(s, order[i], e);
    return r;
}

static int start(struct scenario *s, struct err *e)
{
    int r = hv_vm_start(s->hv, s->id, e);
    return r == 0 ? state_is(s, HV_RUNNING, e) : r;
}

static int screen(struct scenario *s, struct err *e)
{
    struct hv_image img = {0};
    int r = hv_screen(s->hv, s->id, &img, e);
    if (r == 0 && (img.width < 16 || img.height < 16 || !img.rgb))
        r = broken(e, "the screen has %ux%u pixels", img.width, img.height);
    hv_image_clear(&img);
    return r;
}

static int keys(struct scenario *s, struct err *e)
{
    static const struct hv_chord chords[] = {
        {.codes = {"KeyA"}, .n = 1},
        {.codes = {"ShiftLeft", "KeyB"}, .n = 2},
        {.codes = {"F8"}, .n = 1},
        {.codes = {"Pause"}, .n = 1},
        {.codes = {"ControlLeft", "AltLeft", "F1"}, .n = 3},
        {.codes = {"ControlRight", "AltRight", "ShiftRight", "ArrowUp", "ArrowLeft", "Home", "PageUp", "Delete"}, .n = 8},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(chords); i++)
        r = hv_keys(s->hv, s->id, &chords[i], e);
    return r;
}

static int serial(struct scenario *s, struct err *e)
{
    char buf[SERIAL_BYTES];
    size_t n = 0;
    uint64_t size = 0;
    int r = hv_serial_read(s->hv, s->id, 0, buf, sizeof buf, &n, &size, e);
    if (r == 0 && (n > sizeof buf || n > size))
        r = broken(e, "%zu bytes came from a serial log of %" PRIu64, n, size);
    if (r == 0)
        r = hv_serial_read(s->hv, s->id, size + 4096, buf, sizeof buf, &n, &size, e);
    if (r == 0 && n)
        r = broken(e, "%zu bytes came from behind the end of the serial log", n);
    if (r == 0)
        r = hv_serial_write(s->hv, s->id, "\r", 1, e);
    return r == -ERR_TIMEOUT ? 0 : r;                  /* nobody reads there */
}

static int refuse_while_on(struct scenario *s, struct err *e)
{
    AUTO_FREE char *path = os_path_join(s->dir, "vmrecover-refused");
    int r = path ? 0 : err_oom(e);
    if (r == 0 && s->further.path)
        r = expect(hv_disk_detach(s->hv, s->id, SLOT, e), ERR_WRONG_STATE, "detaching a disk of a running VM", e);
    if (r == 0)
        r = expect(hv_disk_export(s->hv, s->id, 0, HV_VHDX, path, NULL, NULL, NULL, e), ERR_WRONG_STATE, "exporting a disk of a running VM", e);
    return r;
}

static int take_checkpoint(struct scenario *s, const char *name, char ret_id[40], bool *ret_memory, struct err *e)
{
    struct hv_checkpoint c;
    bool there = false;
    int r = ret_id[0] ? has_checkpoint(s, ret_id, &there, e) : 0;
    if (r < 0 || there)
        return r;
    r = hv_checkpoint_create(s->hv, s->id, name, &c, e);
    if (r < 0)
        return r;
    snprintf(ret_id, 40, "%s", c.id);
    *ret_memory = c.with_memory;
    r = has_checkpoint(s, ret_id, &there, e);
    return r == 0 && !there ? broken(e, "the new checkpoint is not listed") : r;
}

static int checkpoint_running(struct scenario *s, struct err *e)
{
    int r = take_checkpoint(s, "running", s->checkpoint, &s->memory_in_checkpoint, e);
    return r == 0 ? state_is(s, HV_RUNNING, e) : r;
}

static int reset(struct scenario *s, struct err *e)
{
    int r = hv_vm_reset(s->hv, s->id, e);
    return r == 0 ? state_is(s, HV_RUNNING, e) : r;
}

static int restore_running(struct scenario *s, struct err *e)
{
    int r = hv_checkpoint_restore(s->hv, s->id, s->checkpoint, e);
    if (r == 0)
        r = state_is(s, s->memory_in_checkpoint ? HV_RUNNING : HV_OFF, e);
    return r == 0 ? expect(hv_checkpoint_restore(s->hv, s->id, "7c9e6679-7425-40de-944b-e07fc1f90ae7", e), ERR_NOT_FOUND,
                           "restoring a checkpoint that is not there", e)
                  : r;
}

static int stop(struct scenario *s, struct err *e)
{
    int r = hv_vm_stop(s->hv, s->id, e);
    if (r == 0)
        r = state_is(s, HV_OFF, e);
    return r == 0 ? hv_vm_stop(s->hv, s->id, e) : r;   /* off already is fine */
}

static int checkpoint_off(struct scenario *s, struct err *e)
{
    bool memory = false;
    int r = take_checkpoint(s, "off", s->checkpoint_off, &memory, e);
    return r == 0 && memory ? broken(e, "a checkpoint of a VM that is off has memory") : r;
}

static int restore_off(struct scenario *s, struct err *e)
{
    int r = hv_checkpoint_restore(s->hv, s->id, s->checkpoint_off, e);
    return r == 0 ? state_is(s, HV_OFF, e) : r;
}

static int drop_checkpoint(struct scenario *s, const char *id, struct err *e)
{
    bool there = false;
    int r = has_checkpoint(s, id, &there, e);
    if (r == 0 && there)
        r = hv_checkpoint_delete(s->hv, s->id, id, e);
    if (r == 0)
        r = has_checkpoint(s, id, &there, e);
    if (r == 0 && there)
        r = broken(e, "a deleted checkpoint is still listed");
    return r == 0 ? expect(hv_checkpoint_delete(s->hv, s->id, id, e), ERR_NOT_FOUND, "deleting a checkpoint twice", e) : r;
}

static int checkpoints_delete(struct scenario *s, struct err *e)
{
    int r = drop_checkpoint(s, s->checkpoint, e);
    return r == 0 ? drop_checkpoint(s, s->checkpoint_off, e) : r;
}

static int detach(struct scenario *s, struct err *e)
{
    bool there = false;
    int r = disk_in_slot(s, SLOT, &there, e);
    if (r == 0 && there)
        r = hv_disk_detach(s->hv, s->id, SLOT, e);
    return r == 0 ? expect(hv_disk_detach(s->hv, s->id, SLOT, e), ERR_NOT_FOUND, "detaching from an empty slot", e) : r;
}

static int export_as(struct scenario *s, enum hv_format format, const char *name, uint64_t want, struct err *e)
{
    AUTO_FREE char *path = os_path_join(s->dir, name);
    struct os_stat st;
    int r = path ? os_remove(path, e) : err_oom(e);    /* of an earlier try */
    if (r == 0)
        r = hv_disk_export(s->hv, s->id, 0, format, path, NULL, NULL, NULL, e);
    if (r < 0)
        return r;
    r = os_stat(path, &st, e);
    if (r == 0 && (!st.is_file || (want ? st.size != want : !st.size)))
        r = broken(e, "the exported disk has %" PRIu64 " bytes, %" PRIu64 " were expected", st.size, want);
    if (r == 0)
        r = expect(hv_disk_export(s->hv, s->id, 0, format, path, NULL, NULL, NULL, e), ERR_WRONG_STATE, "an export over a file", e);
    struct err ignored;
    os_remove(path, &ignored);
    return r;
}

static int export_disk(struct scenario *s, struct err *e)
{
    int r = export_as(s, HV_VHD, "vmrecover-check.vhd", s->os.virtual_size + 512, e);
    if (r == 0)
        r = export_as(s, HV_VHDX, "vmrecover-check.vhdx", 0, e);
    return r == 0 ? export_as(s, HV_RAW, "vmrecover-check.img", s->os.virtual_size, e) : r;
}

/* An empty VM has no guest that could; one that can is off in the end or ignores it. */
static int shutdown_guest(struct scenario *s, struct err *e)
{
    int r = hv_vm_shutdown(s->hv, s->id, e);
    return r == -ERR_WRONG_STATE ? 0 : r;
}

static int delete(struct scenario *s, struct err *e)
{
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    bool listed = false;
    int r = hv_vm_delete(s->hv, s->id, e);
    if (r == 0)
        r = hv_vm_delete(s->hv, s->id, e);             /* missing is fine */
    if (r == 0)
        r = find_in_list(s, &listed, e);
    if (r == 0 && listed)
        r = broken(e, "the deleted VM is still listed");
    return r == 0 ? expect(hv_vm_get(s->hv, s->id, &vm, e), ERR_NOT_FOUND, "looking at a deleted VM", e) : r;
}

const struct scenario_step scenario_steps[] = {
    {"create", 0, create},
    {"create_again", 0, create},
    {"create_other", 0, create_other},
    {"get", 0, get},
    {"refuse_while_off", 0, refuse_while_off},
    {"attach", HV_CAP_ATTACH, attach},
    {"dvd_off", 0, dvd},
    {"start", 0, start},
    {"start_again", 0, start},
    {"screen", 0, screen},
    {"keys", 0, keys},
    {"serial", HV_CAP_SERIAL, serial},
    {"dvd_running", 0, dvd},
    {"refuse_while_on", HV_CAP_EXPORT, refuse_while_on},
    {"checkpoint_running", HV_CAP_CHECKPOINT, checkpoint_running},
    {"reset", 0, reset},
    {"restore_running", HV_CAP_CHECKPOINT, restore_running},
    {"screen_restored", 0, screen},
    {"stop", 0, stop},
    {"checkpoint_off", HV_CAP_CHECKPOINT, checkpoint_off},
    {"restore_off", HV_CAP_CHECKPOINT, restore_off},
    {"checkpoints_delete", HV_CAP_CHECKPOINT, checkpoints_delete},
    {"detach", HV_CAP_ATTACH, detach},
    {"export", HV_CAP_EXPORT, export_disk},
    {"start_last", 0, start},
    {"shutdown", 0, shutdown_guest},
    {"stop_last", 0, stop},
    {"delete", 0, delete},
};
const size_t scenario_n_steps = ARRAY_LEN(scenario_steps);

size_t scenario_run(struct scenario *s, scenario_report_fn *report, void *arg)
{
    unsigned caps = hv_capabilities(s->hv);
    size_t failed = 0;
    for (size_t i = 0; i < scenario_n_steps; i++) {
        const struct scenario_step *step = &scenario_steps[i];
        bool last = i + 1 == scenario_n_steps, skip = (step->needs & caps) != step->needs || (failed && !last);
        int64_t began = clock_mono_ms();
        struct err e = {0};
        int r = skip ? 0 : step->run(s, &e);
        failed += r < 0;
        if (report)
            report(arg, step, skip ? SCENARIO_SKIPPED : r < 0 ? SCENARIO_FAILED : SCENARIO_OK, clock_mono_ms() - began, &e);
    }
    return failed;
}

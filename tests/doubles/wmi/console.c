/* Screen and keyboard, and what a test asks a VM. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV

/* ---- the screen: RGB565, little-endian, top row first ---- */

/* What the guest draws: nothing while firmware starts, then bars whose colours go on with time, so that a later picture differs. */
static uint16_t pixel(struct dbl *d, const struct vm *vm, unsigned x, unsigned y, unsigned w, unsigned h)
{
    int64_t age = now_ms(d) - vm->guest.started_ms;
    if (vm->guest.plan.black || age < vm->guest.plan.boot_ms / 2)
        return 0;
    unsigned bar = x * 8 / w, step = (unsigned)(age / 1000);
    if (y * 16 / h != step % 16)
        return (uint16_t)(bar & 1 ? 0xFFFF : 0);
    return (uint16_t)(0x1F << (bar % 3 * 5));
}

static uint32_t thumbnail(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *i = inst_by_path(d, NS, obj_str(c->in, "TargetSystem"));
    uint64_t w = obj_uint(c->in, "WidthPixels", 0), h = obj_uint(c->in, "HeightPixels", 0);
    if (!i || !i->vm || (i != i->vm->settings && i != i->vm->system) || !w || !h || w > 4096 || h > 4096)
        return RET_INVALID_PARAMETER;
    struct vm *vm = i->vm;
    if (vm->state != VM_RUNNING && vm->state != VM_PAUSED) {
        if (!choose(d, DBL_THUMBNAIL_EMPTY))
            return RET_INVALID_STATE;
        obj_set_bytes(c->out, "ImageData", NULL, 0);
        return 0;
    }
    size_t n = (size_t)(w * h * 2);
    uint8_t *image = x_calloc(n, 1);
    for (unsigned y = 0; y < h; y++)
        for (unsigned x = 0; x < w; x++) {
            uint16_t p = pixel(d, vm, x, y, (unsigned)w, (unsigned)h);
            image[2 * (y * w + x)] = (uint8_t)p;
            image[2 * (y * w + x) + 1] = (uint8_t)(p >> 8);
        }
    obj_set_bytes(c->out, "ImageData", image, n);
    free(image);
    return 0;
}

/* ---- the keyboard ---- */

#define BUFFER 16                                      /* scan codes that a slow guest holds; it takes one each 4 ms */

static void type_codes(struct dbl *d, struct vm *vm, const uint8_t *codes, size_t n)
{
    struct guest *g = &vm->guest;
    if (g->plan.slow_keys) {
        unsigned taken = (unsigned)((now_ms(d) - g->drained_ms) / 4);
        g->buffered = taken >= g->buffered ? 0 : g->buffered - taken;
        g->drained_ms = now_ms(d);
    }
    for (size_t i = 0; i < n; i++)
        if (!g->plan.slow_keys || g->buffered < BUFFER) {
            strbuf_add(&g->keys, &codes[i], 1);
            g->buffered += g->plan.slow_keys;
        }
}

static uint32_t keyboard(struct call *c)
{
    return c->target->vm->state == VM_RUNNING ? 0 : RET_INVALID_STATE;
}

static uint32_t type_scancodes(struct call *c)
{
    uint32_t r = keyboard(c);
    const struct wmi_value *v = obj_get(c->in, "Scancodes");
    if (r == 0 && (v->type == WMI_NULL || !v->n))
        r = RET_INVALID_PARAMETER;
    if (r == 0)
        type_codes(c->d, c->target->vm, v->bytes, v->n);
    return r;
}

static uint32_t type_cad(struct call *c)
{
    static const uint8_t codes[] = {0x1D, 0x38, 0xE0, 0x53, 0xE0, 0xD3, 0xB8, 0x9D};
    uint32_t r = keyboard(c);
    if (r == 0)
        type_codes(c->d, c->target->vm, codes, sizeof codes);
    return r;
}

/* ---- what a test asks ---- */

size_t dbl_vms(struct dbl *d, bool foreign)
{
    size_t n = 0;
    pthread_mutex_lock(&d->lock);
    for (struct vm *vm = d->vms; vm; vm = vm->next)
        n += vm->foreign == foreign;
    pthread_mutex_unlock(&d->lock);
    return n;
}

const char *dbl_vm_guid(struct dbl *d, size_t i)
{
    const char *guid = NULL;
    pthread_mutex_lock(&d->lock);
    for (struct vm *vm = d->vms; vm && !guid; vm = vm->next)
        if (!vm->foreign && i-- == 0)
            guid = vm->guid;
    pthread_mutex_unlock(&d->lock);
    return guid;
}

unsigned dbl_vm_state(struct dbl *d, const char *guid)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    unsigned s = vm ? (unsigned)vm->state : 0;
    pthread_mutex_unlock(&d->lock);
    return s;
}

void dbl_vm_guest(struct dbl *d, const char *guid, const struct dbl_guest *plan)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    if (vm)
        vm->guest.plan = *plan;
    pthread_mutex_unlock(&d->lock);
}

size_t dbl_vm_keys(struct dbl *d, const char *guid, uint8_t *buf, size_t n)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    size_t have = vm ? vm->guest.keys.len : 0;
    if (have)
        memcpy(buf, vm->guest.keys.data, have < n ? have : n);
    if (vm)
        strbuf_reset(&vm->guest.keys);
    pthread_mutex_unlock(&d->lock);
    return have;
}

void dbl_vm_serial_say(struct dbl *d, const char *guid, unsigned port, const void *bytes, size_t n)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    if (vm)
        serial_say(vm->serial[port], bytes, n);
    pthread_mutex_unlock(&d->lock);
}

size_t dbl_vm_serial_heard(struct dbl *d, const char *guid, unsigned port, void *buf, size_t n)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    size_t got = vm ? serial_heard(vm->serial[port], buf, n) : 0;
    pthread_mutex_unlock(&d->lock);
    return got;
}

void dbl_vm_crash(struct dbl *d, const char *guid)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    if (vm && !vm_is_off(vm))
        vm_power_off(d, vm);
    pthread_mutex_unlock(&d->lock);
}

void dbl_vm_trouble(struct dbl *d, const char *guid, unsigned enabled_state, unsigned health)
{
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    if (vm) {
        vm_set_state(d, vm, (enum vm_state)enabled_state);
        obj_set_uint(vm->system->o, "HealthState", health);
    }
    pthread_mutex_unlock(&d->lock);
}

void dbl_vm_job(struct dbl *d, const char *guid, unsigned job_type, unsigned ms)
{
    static const struct impl somebody_elses = {.ns = NS, .class = "Msvm_ComputerSystem", .method = "Backup"};
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    if (vm) {
        struct call *c = x_calloc(1, sizeof *c);
        *c = (struct call){.d = d, .impl = &somebody_elses, .vm = vm, .vm_guid = x_dup(guid)};
        struct job *j = job_new(d, c, ms);
        obj_set_uint(j->inst->o, "JobType", job_type);
    }
    pthread_mutex_unlock(&d->lock);
}

char *dbl_vm_medium(struct dbl *d, const char *guid, const char *controller, unsigned bus, unsigned lun)
{
    char *path = NULL;
    pthread_mutex_lock(&d->lock);
    struct vm *vm = vm_by_guid(d, guid);
    struct inst *on = vm ? vm_device(d, vm->settings, controller, bus) : NULL;
    for (size_t n = 0; on && !path; n++) {
        struct inst *drive = vm_device(d, vm->settings, NULL, n);
        if (!drive)
            break;
        unsigned long long at;
        if (!is_child_of(d, drive, on) || !obj_str(drive->o, "AddressOnParent") || !str_to_u64(obj_str(drive->o, "AddressOnParent"), 63, &at) ||
            at != lun)
            continue;
        for (size_t k = 0; !path; k++) {
            struct inst *medium = vm_device(d, vm->settings, NULL, k);
            if (!medium)
                break;
            if (is_child_of(d, medium, drive))
                path = x_dup(medium_path(medium));
        }
    }
    pthread_mutex_unlock(&d->lock);
    return path;
}

const struct impl console_impls[] = {
    {NS, "Msvm_VirtualSystemManagementService", "GetVirtualSystemThumbnailImage", IMPL_SYNC | IMPL_VALUE | IMPL_READS, .check = thumbnail},
    {NS, "Msvm_Keyboard", "TypeScancodes", IMPL_SYNC | IMPL_VALUE, .check = type_scancodes},
    {NS, "Msvm_Keyboard", "TypeCtrlAltDel", IMPL_SYNC | IMPL_VALUE, .check = type_cad},
    {0},
};

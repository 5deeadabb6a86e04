/* Power: Msvm_ComputerSystem.RequestStateChange, what a start looks at, what runs inside, and the integration services. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV

/* ---- devices as they run ---- */

struct inst *runtime_add(struct dbl *d, struct vm *vm, const char *class, const char *id)
{
    struct inst *i = inst_new(d, NS, class);
    AUTO_FREE char *device = x_printf("Microsoft:%s\\%s", vm->guid, id);
    obj_set_str(i->o, "SystemCreationClassName", "Msvm_ComputerSystem");
    obj_set_str(i->o, "SystemName", vm->guid);
    obj_set_str(i->o, "CreationClassName", class);
    obj_set_str(i->o, "DeviceID", device);
    obj_set_uint(i->o, "EnabledState", 2);
    i->vm = vm;
    i->foreign = vm->foreign;
    inst_enter(d, i);
    link_add(d, NS, "Msvm_SystemDevice", "GroupComponent", vm->system, "PartComponent", i);
    return i;
}

static bool is_runtime(const struct inst *i)
{
    return schema_isa(i->o->class, "CIM_LogicalDevice");
}

void runtime_remove(struct dbl *d, struct vm *vm, bool all)
{
    struct space *s = space_of(d, NS);
    for (size_t i = s->n; i > 0; i--) {
        struct inst *r = s->at[i - 1];
        if (r->vm == vm && is_runtime(r) && (all || !schema_isa(r->o->class, "Msvm_Keyboard")))
            inst_remove(d, r);
    }
}

static struct inst *runtime(struct dbl *d, const struct vm *vm, const char *class)
{
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i]->vm == vm && schema_isa(s->at[i]->o->class, class))
            return s->at[i];
    return NULL;
}

static void open_serial(struct dbl *d, struct vm *vm)
{
    for (unsigned n = 0; n < ARRAY_LEN(vm->serial); n++) {
        struct inst *port = vm_device(d, vm->settings, "Serial Port", n);
        const char *pipe = port ? obj_str_at(port->o, "Connection", 0) : NULL;
        serial_close(vm->serial[n]);
        vm->serial[n] = pipe && *pipe ? serial_open(pipe, vm->guest.plan.echoes_serial) : NULL;
    }
}

static void begin_guest(struct dbl *d, struct vm *vm)
{
    vm->guest.started_ms = now_ms(d);
    vm->guest.shutdown_ms = 0;
    vm->guest.buffered = 0;
    vm->guest.drained_ms = now_ms(d);
}

void vm_power_on(struct dbl *d, struct vm *vm)
{
    bool anew = vm->before == VM_OFF;
    if (anew)
        begin_guest(d, vm);
    vm_set_state(d, vm, VM_RUNNING);
    obj_set_uint(vm->system->o, "ProcessID", 4000 + rnd(d, 20000));
    if (!runtime(d, vm, "Msvm_Keyboard"))
        runtime_add(d, vm, "Msvm_Keyboard", "Keyboard");
    if (runtime(d, vm, "Msvm_HeartbeatComponent"))
        return;                                        /* it was only paused */
    struct inst *dead = runtime_add(d, vm, "Msvm_VideoHead", "VideoHead\\0");
    struct inst *head = runtime_add(d, vm, "Msvm_VideoHead", "VideoHead\\1");
    obj_set_uint(dead->o, "CurrentHorizontalResolution", 0);
    obj_set_uint(dead->o, "CurrentVerticalResolution", 0);
    obj_set_uint(head->o, "CurrentHorizontalResolution", vm->guest.plan.width);
    obj_set_uint(head->o, "CurrentVerticalResolution", vm->guest.plan.height);
    struct inst *heart = runtime_add(d, vm, "Msvm_HeartbeatComponent", "Heartbeat");
    obj_set_uints(heart->o, "OperationalStatus", (const uint64_t[]){12, 32784}, 2);
    runtime_add(d, vm, "Msvm_ShutdownComponent", "Shutdown");
    runtime_add(d, vm, "Msvm_KvpExchangeComponent", "Kvp");
    runtime_add(d, vm, "Msvm_SyntheticMouse", "Mouse");
    open_serial(d, vm);
}

static void stop_running(struct dbl *d, struct vm *vm)
{
    runtime_remove(d, vm, !choose(d, DBL_KEYBOARD_WHEN_OFF));
    obj_unset(vm->system->o, "ProcessID");
    obj_set_uint(vm->system->o, "OnTimeInMilliseconds", 0);
    for (size_t n = 0; n < ARRAY_LEN(vm->serial); n++) {
        serial_close(vm->serial[n]);
        vm->serial[n] = NULL;
    }
}

void vm_power_off(struct dbl *d, struct vm *vm)
{
    stop_running(d, vm);
    vm_set_state(d, vm, VM_OFF);
}

static bool answers(struct dbl *d, const struct vm *vm)
{
    const struct dbl_guest *p = &vm->guest.plan;
    return vm->state == VM_RUNNING && !p->no_services && now_ms(d) - vm->guest.started_ms >= p->boot_ms;
}

static bool hung(struct dbl *d, const struct vm *vm)
{
    return vm->guest.plan.hangs && now_ms(d) - vm->guest.started_ms >= vm->guest.plan.boot_ms + 10000;
}

void vm_tick(struct dbl *d, struct vm *vm)
{
    if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
        return;
    if (vm->state == VM_RUNNING && vm->guest.shutdown_ms && now_ms(d) >= vm->guest.shutdown_ms) {
        vm_power_off(d, vm);
        return;
    }
    obj_set_uint(vm->system->o, "OnTimeInMilliseconds", (uint64_t)(now_ms(d) - vm->guest.started_ms));
    struct inst *heart = runtime(d, vm, "Msvm_HeartbeatComponent");
    if (!heart)
        return;
    bool ok = answers(d, vm);
    uint64_t status = vm->state == VM_PAUSED ? 15 : !ok ? 12 : hung(d, vm) ? 13 : 2;
    obj_set_uints(heart->o, "OperationalStatus", (const uint64_t[]){status, status == 2 ? 2 : 32784}, 2);
}

/* ---- what a start looks at ---- */

static uint64_t memory_of(struct dbl *d, const struct vm *vm)
{
    struct inst *m = vm_device(d, vm->settings, "Memory", 0);
    return m ? obj_uint(m->o, "VirtualQuantity", 0) : 0;
}

static bool holds_file(struct dbl *d, const struct vm *vm, const char *path)
{
    for (size_t n = 0;; n++) {
        struct inst *i = vm_device(d, vm->settings, "Virtual Hard Disk", n);
        if (!i)
            return false;
        if (medium_path(i) && same_file(medium_path(i), path))
            return true;
    }
}

static uint32_t check_disk(struct dbl *d, struct vm *vm, const char *path)
{
    struct os_stat st;
    struct err e;
    if (os_stat(path, &st, &e) < 0 || !st.is_file)
        return 0x80070002u;
    uint32_t h = media_check(d, path, true);
    if (h)
        return h;
    if (!file_may(d, path, vm->guid, true))
        return 0x80070005u;
    struct disk_info info;
    AUTO_FREE char *at = x_dup(path);
    for (unsigned n = 0; n < 64 && disk_info_of(at, &info) == 0 && info.type == DISK_DIFF; n++) {
        if (!file_may(d, info.parent, vm->guid, false))
            return 0x80070005u;
        free(at);
        at = x_dup(info.parent);
    }
    struct dfile *f = file_of(d, path, false);
    if (f && f->mounted)
        return 0x80070020u;
    for (struct vm *o = d->vms; o; o = o->next)
        if (o != vm && !vm_is_off(o) && holds_file(d, o, path))
            return 0x80070020u;
    return 0;
}

static void check_start(struct call *c, struct vm *vm)
{
    struct dbl *d = c->d;
    const char *name = obj_str(vm->settings->o, "ElementName");
    uint64_t used = 0;
    for (struct vm *o = d->vms; o; o = o->next)
        used += o != vm && !vm_is_off(o) && !o->foreign ? memory_of(d, o) : 0;
    struct inst *cpu = vm_device(d, vm->settings, "Processor", 0);
    if (d->o.no_hypervisor)
        call_fail(c, 0xC0351000u, "'%s' could not be started because the hypervisor is not running.", name);
    else if (used + memory_of(d, vm) > d->o.memory_mib)
        call_fail(c, 0x8007000Eu, "Not enough memory in the system to start the virtual machine '%s'.", name);
    else if (cpu && obj_uint(cpu->o, "VirtualQuantity", 1) > d->o.cpus)
        call_fail(c, 0xC0350005u, "'%s' has more processors than the host.", name);
    for (size_t n = 0; !c->error; n++) {
        struct inst *i = vm_device(d, vm->settings, "Ethernet Connection", n);
        const char *to = i ? obj_str_at(i->o, "HostResource", 0) : NULL;
        if (!i)
            break;
        if (to && *to && !inst_by_path(d, NS, to))
            call_fail(c, 0x80070002u, "'%s' could not find its virtual switch.", name);
    }
    for (size_t n = 0; !c->error; n++) {
        struct inst *i = vm_device(d, vm->settings, "Virtual Hard Disk", n);
        if (!i)
            break;
        if (!medium_path(i))
            continue;
        uint32_t h = check_disk(d, vm, medium_path(i));
        if (h)
            call_fail(c, h, "'%s' Synthetic SCSI Controller or IDE Controller: Failed to Power on. Attachment '%s' failed to open.", name,
                      medium_path(i));
    }
    for (size_t n = 0; !c->error; n++) {
        struct inst *i = vm_device(d, vm->settings, "Virtual CD/DVD Disk", n);
        if (!i)
            break;
        struct os_stat st;
        struct err e;
        if (!medium_path(i))
            continue;
        if (os_stat(medium_path(i), &st, &e) < 0 || !st.is_file)
            call_fail(c, 0x80070002u, "'%s': Attachment '%s' was not found.", name, medium_path(i));
        else if (!file_may(d, medium_path(i), vm->guid, false))
            call_fail(c, 0x80070005u, "'%s': Attachment '%s' could not be opened.", name, medium_path(i));
    }
}

/* ---- RequestStateChange ---- */

static uint32_t change_check(struct call *c)
{
    struct vm *vm = c->target->vm;
    uint64_t want = obj_uint(c->in, "RequestedState", 0);
    if (!vm)
        return RET_NOT_SUPPORTED;
    c->vm = vm;
    enum vm_state s = vm->state;
    bool critical = s >= 32781;
    if (s != VM_RUNNING && s != VM_OFF && s != VM_SAVED && s != VM_PAUSED && !(critical && want == 3))
        return RET_INVALID_STATE;
    bool ok;
    switch (want) {
    case 2:
        ok = s != VM_RUNNING;
        break;
    case 3:
        ok = s != VM_OFF;
        break;
    case 4:
        ok = s == VM_RUNNING && answers(c->d, vm) && !hung(c->d, vm);
        break;
    case 6:
        ok = s == VM_RUNNING || s == VM_PAUSED;
        break;
    case 9:
    case 10:
        ok = s == VM_RUNNING;
        break;
    case 11:
        ok = s == VM_RUNNING || s == VM_PAUSED;
        break;
    default:
        return RET_INVALID_PARAMETER;
    }
    if (ok && job_runs_on(c->d, vm->guid))
        ok = false;
    return ok ? 0 : RET_INVALID_STATE;
}

static void change_begin(struct call *c)
{
    struct vm *vm = c->target->vm;
    uint64_t want = obj_uint(c->in, "RequestedState", 0);
    static const unsigned types[12] = {[2] = 12, [3] = 13, [4] = 14, [6] = 15, [9] = 17, [10] = 16, [11] = 16};
    obj_set_uint(c->job->inst->o, "JobType", want < 12 ? types[want] : 0);
    vm->before = vm->state;
    if (want == 2)
        vm_set_state(c->d, vm, vm->before == VM_OFF || vm->before == VM_SAVED ? VM_STARTING : (enum vm_state)32777);
    else if (want == 6)
        vm_set_state(c->d, vm, VM_SAVING);
    else if (want == 3)
        vm_set_state(c->d, vm, VM_STOPPING2);
}

static void change_failed(struct call *c)
{
    if (!c->vm)
        return;
    enum vm_state s = c->vm->state;
    if (s == VM_STARTING || s == VM_SAVING || s == VM_STOPPING2 || s == (enum vm_state)32777)
        vm_set_state(c->d, c->vm, c->vm->before);
}

static void change_apply(struct call *c)
{
    struct dbl *d = c->d;
    struct vm *vm = c->target->vm;
    uint64_t want = obj_uint(c->in, "RequestedState", 0);
    if (!c->job)
        vm->before = vm->state;
    switch (want) {
    case 2:
        if (vm->before == VM_OFF || vm->before == VM_SAVED)
            check_start(c, vm);
        if (c->error)
            return;
        if (vm->before == VM_OFF)
            snapshot_automatic(d, vm);
        vm_power_on(d, vm);
        break;
    case 3:
        obj_set_uint(vm->system->o, "HealthState", 5);
        vm_power_off(d, vm);
        break;
    case 4:
        if (!vm->guest.plan.ignores_shutdown)
            vm->guest.shutdown_ms = now_ms(d) + vm->guest.plan.shutdown_ms;
        break;
    case 6:
        stop_running(d, vm);
        vm_set_state(d, vm, VM_SAVED);
        break;
    case 9:
        vm_set_state(d, vm, VM_PAUSED);
        break;
    default:                                           /* the pipes are made anew: busy for a moment, and what was said is lost */
        begin_guest(d, vm);
        vm_set_state(d, vm, VM_RUNNING);
        open_serial(d, vm);
        for (unsigned n = 0; n < ARRAY_LEN(vm->serial); n++)
            serial_busy(vm->serial[n], 50);
        break;
    }
    call_affects(c, vm->system);
}

/* ---- the guest's services ---- */

static uint32_t shutdown_check(struct call *c)
{
    struct vm *vm = c->target->vm;
    struct dbl *d = c->d;
    if (vm->state != VM_RUNNING)
        return RET_INVALID_STATE;
    if (!answers(d, vm))
        return rnd(d, 2) ? RET_INVALID_STATE : RET_FAILED;
    if (hung(d, vm))
        return RET_FAILED;
    if (!vm->guest.plan.ignores_shutdown)
        vm->guest.shutdown_ms = now_ms(d) + vm->guest.plan.shutdown_ms;
    return 0;
}

static uint32_t reboot_check(struct call *c)
{
    struct vm *vm = c->target->vm;
    if (vm->state != VM_RUNNING || !answers(c->d, vm) || hung(c->d, vm))
        return RET_INVALID_STATE;
    begin_guest(c->d, vm);
    return 0;
}

const struct impl power_impls[] = {
    {NS, "Msvm_ComputerSystem", "RequestStateChange", IMPL_AT_END, 12, 500, 8000, .check = change_check, .apply = change_apply,
     .begin = change_begin, .failed = change_failed},
    {NS, "Msvm_ShutdownComponent", "InitiateShutdown", IMPL_SYNC | IMPL_VALUE, .check = shutdown_check},
    {NS, "Msvm_ShutdownComponent", "InitiateReboot", IMPL_SYNC | IMPL_VALUE, .check = reboot_check},
    {0},
};

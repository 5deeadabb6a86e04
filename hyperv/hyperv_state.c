/* Power. What Hyper-V calls EnabledState, as ours, and the ways from one to another.
 *
 * RequestStateChange answers 32775 also when the VM is there already or on its way: the state is read again before that counts as a failure. */
#include <string.h>

#include "common/clock.h"
#include "hyperv/hyperv.h"

#define POLL_MS 250u

#define OFF_CRITICAL 32782                             /* off, and its files cannot be reached */

enum request { REQUEST_START = 2, REQUEST_OFF = 3, REQUEST_RESET = 11 };

static const struct known {
    unsigned enabled;
    enum hv_state state;
    bool settling;
    const char *detail;
} states[] = {
    {2, HV_RUNNING, false, ""},
    {3, HV_OFF, false, ""},
    {4, HV_RUNNING, true, "it is shutting down"},
    {6, HV_PAUSED, false, "its memory is saved on disk; start it to go on"},
    {9, HV_PAUSED, false, "paused; start it to go on"},
    {10, HV_RUNNING, true, "it is starting"},
    {32768, HV_PAUSED, false, "paused; start it to go on"},
    {32769, HV_PAUSED, false, "its memory is saved on disk; start it to go on"},
    {32770, HV_RUNNING, true, "it is starting"},
    {32771, HV_RUNNING, true, "a checkpoint is being made"},
    {32773, HV_RUNNING, true, "its memory is being saved"},
    {32774, HV_RUNNING, true, "it is being stopped"},
    {32776, HV_PAUSED, true, "it is being paused"},
    {32777, HV_RUNNING, true, "it is being resumed"},
    {32779, HV_PAUSED, false, "its memory is saved on disk; start it to go on"},
    {32780, HV_RUNNING, true, "its memory is being saved"},
    {32781, HV_RUNNING, false, "Hyper-V calls it critical: see that its files can be reached and the host's disk is not full"},
    {32782, HV_FAILED, false, "Hyper-V cannot reach its files: see that their volume is there"},
    {32783, HV_FAILED, false, "Hyper-V cannot reach its files while it is being stopped"},
    {32784, HV_FAILED, false, "its memory is saved, but Hyper-V cannot reach its files: see that their volume is there"},
    {32785, HV_PAUSED, false, "the host's disk is full or a file cannot be reached: free space, then start the virtual machine to go on"},
};

/* OperationalStatus[1] while Hyper-V is at work on a VM: making, applying, deleting checkpoints, waiting, merging disks, exporting, migrating. */
static const struct { unsigned status; const char *detail; } works[] = {
    {32768, "a checkpoint is being made"},      {32769, "a checkpoint is being restored"}, {32770, "a checkpoint is being deleted"},
    {32771, "it waits for its start"},          {32772, "its disks are being merged"},     {32773, "it is being exported"},
    {32774, "it is being moved to another host"},
};

void hyperv_state_from(const struct wmi_object *o, struct hyperv_state *ret)
{
    struct hyperv_state s = {.enabled = (unsigned)wmi_uint(o, "EnabledState", 0), .state = HV_FAILED, .on_ms = wmi_uint(o, "OnTimeInMilliseconds", 0),
                             .process = (unsigned)wmi_uint(o, "ProcessID", 0)};
    snprintf(s.detail, sizeof s.detail, "Hyper-V says state %u", s.enabled);
    if (s.enabled > 32785 && s.enabled <= 32792)
        snprintf(s.detail, sizeof s.detail, "Hyper-V calls it critical (state %u): see that its files can be reached", s.enabled);
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (states[i].enabled == s.enabled) {
            s.state = states[i].state;
            s.settling = states[i].settling;
            snprintf(s.detail, sizeof s.detail, "%s", states[i].detail);
        }
    unsigned work = (unsigned)wmi_uint_at(o, "OperationalStatus", 1, 0);
    for (size_t i = 0; i < ARRAY_LEN(works); i++)
        if (works[i].status == work) {
            s.settling = true;
            snprintf(s.detail, sizeof s.detail, "%s", works[i].detail);
        }
    *ret = s;
}

int hyperv_state_read(struct hyperv *h, const char *guid, const struct wmi_wait *w, struct hyperv_state *ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    int r = hyperv_query_one(h, w, &o, e, "SELECT " HYPERV_STATE_COLUMNS " FROM Msvm_ComputerSystem WHERE Name='%s'", guid);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e)) {
        err_set(e, ERR_VM_GONE, "the virtual machine %s was removed from Hyper-V", guid);
        return -(int)ERR_VM_GONE;
    }
    if (r == 0)
        hyperv_state_from(o, ret);
    return r;
}

int hyperv_state_settle(struct hyperv *h, const char *guid, unsigned timeout_ms, const struct wmi_wait *w, struct hyperv_state *ret, struct err *e)
{
    for (int64_t deadline = hyperv_now(h) + timeout_ms;;) {
        int r = hyperv_state_read(h, guid, w, ret, e);
        if (r < 0 || !ret->settling || hyperv_now(h) > deadline)
            return r;
        if ((r = hyperv_sleep(h, w, POLL_MS, e)) < 0)
            return r;
    }
}

void hyperv_vm_seen(struct hyperv_vm *vm, const struct hyperv_state *st, bool alive)
{
    pthread_mutex_lock(&vm->lock);
    vm->state = st->state;
    vm->state_known = true;
    vm->guest_alive = alive;
    snprintf(vm->detail, sizeof vm->detail, "%s", st->detail);
    if (st->state == HV_OFF && vm->failure[0]) {
        vm->state = HV_FAILED;
        memcpy(vm->detail, vm->failure, sizeof vm->detail);
    } else if (st->state == HV_RUNNING) {
        vm->failure[0] = 0;
    }
    bool off = st->state == HV_OFF;
    pthread_mutex_unlock(&vm->lock);
    struct err ignored;
    if (off)
        hyperv_serial_off(vm->serial);
    else
        hyperv_serial_listen(vm->serial, &ignored);   /* it may have been started by somebody else */
}

static int request(struct hyperv *h, const char *path, enum request state, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare_at(h, "Msvm_ComputerSystem", path, "RequestStateChange", what, w, &c, e);
    if (r == 0)
        r = wmi_put_uint(c.in, "RequestedState", state, e);
    c.once = true;
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

/* Asks for a state until it is there: 32775 may mean that it already was, or that something else had to end first. */
static int bring_to(struct hyperv *h, const struct hyperv_machine *m, enum request want, enum hv_state state, const char *what,
                    const struct wmi_wait *w, struct hyperv_state *ret, struct err *e)
{
    int r = 0;
    for (unsigned attempt = 0; attempt < 10; attempt++) {
        r = hyperv_state_settle(h, m->guid, HYPERV_SETTLE_MS, w, ret, e);
        if (r < 0 || (!ret->settling && (ret->state == state || (want == REQUEST_OFF && ret->enabled == OFF_CRITICAL))))
            return r;
        r = request(h, m->path, want, what, w, e);
        if (r < 0 && hyperv_code(e) != HYPERV_INVALID_STATE)
            return r;
        int again = r < 0 ? hyperv_sleep(h, w, 1000, e) : hyperv_state_settle(h, m->guid, HYPERV_SETTLE_MS, w, ret, e);
        if (again < 0)
            return again;
        if (r == 0 && ret->state == state)
            return 0;
    }
    if (r < 0)
        return r;
    err_set(e, ERR_TIMEOUT, "%s: it is %s%s%s after Hyper-V said that it is done", what, hv_state_name(ret->state), ret->detail[0] ? ": " : "",
            ret->detail);
    snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
    return -ERR_TIMEOUT;
}

int hyperv_power_off(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_state st = {0};
    AUTO_FREE char *what = str_printf("cannot power off the VM %s", m->id);
    int r = what ? bring_to(h, m, REQUEST_OFF, HV_OFF, what, w, &st, e) : err_oom(e);
    if (r < 0 && st.process && hyperv_state_read(h, m->guid, w, &st, &(struct err){0}) == 0 && st.process)
        err_hint(e, "As a last resort end the process %u (vmwp.exe) on the host: it runs this virtual machine and nothing else.", st.process);
    return r;
}

int hyperv_exporting(struct hyperv_vm *vm, struct err *e)
{
    pthread_mutex_lock(&vm->lock);
    bool exporting = vm->exporting;                    /* an export ends without op */
    pthread_mutex_unlock(&vm->lock);
    if (!exporting)
        return 0;
    err_set(e, ERR_WRONG_STATE, "a disk of the VM %s is being exported", vm->id);
    return err_hint(e, "Wait for the export's end, or cancel it.");
}

int hyperv_need_off(struct hyperv_vm *vm, const char *what, unsigned settle_ms, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e)
{
    struct hyperv_state st = {0};
    int r = hyperv_exporting(vm, e);
    if (r == 0)
        r = hyperv_machine_open(vm->h, &vm->rec, w, ret, e);
    if (r == 0)
        r = hyperv_state_settle(vm->h, ret->guid, settle_ms, w, &st, e);
    if (r == 0 && (st.state != HV_OFF || st.settling)) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is %s%s%s; it must be off to %s", vm->id, hv_state_name(st.state), st.detail[0] ? ": " : "", st.detail,
                what);
        r = err_hint(e, st.state == HV_OFF ? "Wait until Hyper-V is done with it." : "Shut it down or stop it first.");
    }
    if (r < 0)
        hyperv_machine_clear(ret);
    return r;
}

bool hyperv_heartbeat(struct hyperv *h, const char *guid, const struct wmi_wait *w)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    struct err ignored;
    if (hyperv_query_one(h, w, &o, &ignored, "SELECT SystemName,OperationalStatus FROM Msvm_HeartbeatComponent WHERE SystemName='%s'", guid) < 0)
        return false;
    uint64_t status = wmi_uint_at(o, "OperationalStatus", 0, 0);
    return status == 2 || status == 3;                 /* ok, or alive with an older protocol */
}

/* ---- slots ---- */

/* What Hyper-V would refuse with a number is found before, in our words. */
static int check_files(struct hyperv_vm *vm, struct err *e)
{
    const struct hv_vm_spec *s = &vm->rec.spec;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < s->n_disks; i++)
        if (s->disks[i].path && !vm->rec.layers[i].base[0])
            r = hyperv_disk_check(vm->h, &s->disks[i], e);
    if (r == 0)
        r = hyperv_layers_check(vm->h, vm->dir, &vm->rec, e);
    if (r == 0 && s->dvd)
        r = hyperv_dvd_check(vm->h, s->dvd, e);
    return r;
}

static int remember_start(struct hyperv_vm *vm, struct err *e)
{
    struct hyperv_record rec;
    int r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    rec.started_at_ms = clock_now_ms();
    return hyperv_commit(vm, &rec, e);
}

int hyperv_power_on(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO_FREE char *what = str_printf("cannot start the VM %s", vm->id);
    struct hyperv_state st = {0};
    int r = what ? hyperv_exporting(vm, e) : err_oom(e);
    if (r == 0)
        r = hyperv_machine_open(h, &vm->rec, w, &m, e);
    if (r == 0)
        r = hyperv_state_settle(h, m.guid, HYPERV_SETTLE_MS, w, &st, e);
    if (r < 0)
        return r;
    if (st.state == HV_RUNNING && !st.settling) {
        hyperv_vm_seen(vm, &st, false);
        return 0;
    }
    bool resumes = st.state == HV_PAUSED;
    if (!resumes)
        r = check_files(vm, e);
    if (r == 0)
        r = hyperv_disk_grant(h, vm->dir, &vm->rec, e);              /* a file that was replaced has lost the VM's entry */
    if (r == 0 && !resumes)
        r = remember_start(vm, e);
    if (r == 0)
        r = hyperv_serial_listen(vm->serial, e);                     /* before the guest says its first word */
    if (r == 0)
        r = bring_to(h, &m, REQUEST_START, HV_RUNNING, what, w, &st, e);
    if (r == -ERR_CANCELLED || (r < 0 && hyperv_uncertain(e)))
        return r;
    if (r < 0) {
        pthread_mutex_lock(&vm->lock);
        snprintf(vm->failure, sizeof vm->failure, "%.120s", e->msg);
        pthread_mutex_unlock(&vm->lock);
        struct err ignored;
        hyperv_state_read(h, m.guid, w, &st, &ignored);
    }
    if (st.enabled)
        hyperv_vm_seen(vm, &st, false);
    return r;
}

static int stop_vm(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    struct hyperv_state off = {.enabled = 3, .state = HV_OFF};
    int r = hyperv_machine_open(vm->h, &vm->rec, w, &m, e);
    if (r == 0)
        r = hyperv_power_off(vm->h, &m, w, e);
    if (r == 0) {
        pthread_mutex_lock(&vm->lock);
        vm->failure[0] = 0;
        pthread_mutex_unlock(&vm->lock);
        hyperv_vm_seen(vm, &off, false);
    }
    return r;
}

static int need_on(struct hyperv_vm *vm, const char *what, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e)
{
    struct hyperv_state st = {0};
    int r = hyperv_machine_open(vm->h, &vm->rec, w, ret, e);
    if (r == 0)
        r = hyperv_state_settle(vm->h, ret->guid, HYPERV_SETTLE_MS, w, &st, e);
    if (r == 0 && st.state != HV_RUNNING) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is %s%s%s; it must run to %s", vm->id, hv_state_name(st.state), st.detail[0] ? ": " : "", st.detail,
                what);
        r = err_hint(e, "Start it first.");
    }
    return r;
}

/* The guest's own shutdown service does it; a guest that has not booted has none. */
static int shutdown_vm(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO(wmi_object_free_ptr) struct wmi_object *component = NULL;
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO_FREE char *path = NULL, *what = str_printf("cannot ask the guest of the VM %s to shut down", vm->id);
    int r = need_on(vm, "be shut down", w, &m, e);
    if (r == 0)
        r = hyperv_query_one(vm->h, w, &component, e, "SELECT * FROM Msvm_ShutdownComponent WHERE SystemName='%s'", m.guid);
    if (r == 0)
        r = wmi_path(component, &path, e);
    if (r == 0)
        r = hyperv_prepare_at(vm->h, "Msvm_ShutdownComponent", path, "InitiateShutdown", what, w, &c, e);
    if (r == 0)
        r = wmi_put_bool(c.in, "Force", true, e);      /* also where nobody, or somebody else, is logged on */
    if (r == 0)
        r = wmi_put_str(c.in, "Reason", "vmrecover", e);
    c.once = true;
    if (r == 0)
        r = hyperv_invoke(vm->h, &c, w, NULL, e);
    uint32_t code = r < 0 ? hyperv_code(e) : 0;
    if (r == -ERR_NOT_FOUND || code == HYPERV_INVALID_STATE || code == 32768 || code == 32780) {
        err_set(e, ERR_WRONG_STATE, "the guest of the VM %s does not take a shutdown: its integration services do not run (yet)", vm->id);
        r = err_hint(e, "Wait until it has booted, shut it down with keys, or stop it.");
    }
    return r;
}

static int reset_vm(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO_FREE char *what = str_printf("cannot reset the VM %s", vm->id);
    struct hyperv_state st = {0};
    int r = hyperv_machine_open(vm->h, &vm->rec, w, &m, e);
    if (r == 0)
        r = hyperv_state_settle(vm->h, m.guid, HYPERV_SETTLE_MS, w, &st, e);
    if (r == 0 && st.state == HV_OFF) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is off; it must run to be reset", vm->id);
        r = err_hint(e, "Start it first.");
    }
    if (r == 0 && st.state == HV_PAUSED)               /* off and on: a reset alone would leave it paused */
        return (r = hyperv_power_off(vm->h, &m, w, e)) < 0 ? r : hyperv_power_on(vm, w, e);
    return r < 0 ? r : request(vm->h, m.path, REQUEST_RESET, what, w, e);
}

static int with_vm(struct hv *hv, const char *id, const char *doing, bool stoppable,
                   int (*fn)(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e), struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, stoppable);
    int r = hyperv_op_begin(h, id, doing, &vm, e);
    if (r < 0)
        return r;
    r = fn(vm, &w, e);
    if (r < 0 && hyperv_again(h, e))                  /* each reads the state first, so doing it again does it once */
        r = fn(vm, &w, e);
    hyperv_op_end(vm);
    return hyperv_answer(r, e);
}

int hyperv_vm_start(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, "is being started", true, hyperv_power_on, e);
}

int hyperv_vm_stop(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, "is being stopped", false, stop_vm, e);
}

int hyperv_vm_shutdown(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, "is being asked to shut down", false, shutdown_vm, e);
}

int hyperv_vm_reset(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, "is being reset", false, reset_vm, e);
}

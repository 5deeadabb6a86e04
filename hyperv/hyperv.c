/* Hyper-V as a hypervisor: opening, looking, and the table of slots. The design is in hyperv.h. */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "hyperv/hyperv.h"

#define FOLDER "vms"

/* ---- open and close ---- */

/* A VM of ours is a folder with a complete record. Half-made ones wait for their job's next try. */
static int adopt(void *arg, const char *name)
{
    struct hyperv *h = arg;
    struct err e;
    AUTO_FREE char *dir = crypto_is_uuid(name) ? os_path_join(h->vms_dir, name) : NULL;
    struct hyperv_record rec = {0};
    if (!dir)
        return 0;
    int r = hyperv_record_load(dir, &rec, &e);
    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == 0 && rec.complete)
        r = hyperv_vm_add(h, name, dir, &rec, &e);
    if (r < 0)                                         /* one damaged VM must not keep the others from their users */
        log_err(LOG_LEVEL_ERROR, "a virtual machine is left out", &e);
    hyperv_record_clear(&rec);
    return 0;
}

static void drv_close(struct hv *hv)
{
    struct hyperv *h = (struct hyperv *)hv;
    role_free(h->role);
    while (h->n_vms) {                                 /* no other thread is in a call any more */
        struct hyperv_vm *vm = h->vms[--h->n_vms];
        hyperv_vm_unref(vm);
    }
    free(h->vms);
    for (size_t i = 0; i < HYPERV_SERVICES; i++)
        free(h->services[i]);
    wmi_close(h->wmi);
    wmi_close(h->network);
    free(h->vms_dir);
    free(h->data_dir);
    pthread_mutex_destroy(&h->connecting);
    pthread_mutex_destroy(&h->nat);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->claims_changed);
    free(h);
}

static void look_at_all(struct hyperv *h, const struct wmi_wait *w);

/* Hyper-V itself need not be there yet: the report says what is missing, and the role may be installed while we run. */
int hyperv_open_on(const struct hyperv_platform *p, const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    struct hyperv *h = calloc(1, sizeof *h);
    if (!h)
        return err_oom(e);
    h->hv.ops = &hv_hyperv;
    h->p = *p;
    h->stop = cfg->stop;
    h->stop_arg = cfg->stop_arg;
    pthread_mutex_init(&h->connecting, NULL);
    pthread_mutex_init(&h->nat, NULL);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->claims_changed, NULL);
    h->data_dir = str_dup(cfg->data_dir);
    h->vms_dir = os_path_join(cfg->data_dir, FOLDER);
    h->role = role_new(p->role, p->role_arg);
    int r = h->data_dir && h->vms_dir && h->role ? os_mkdirs(h->vms_dir, OS_PRIVATE, e) : err_oom(e);
    if (r == 0)
        r = os_list_dir(h->vms_dir, adopt, h, e);
    if (r < 0) {
        drv_close(&h->hv);
        return r;
    }
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    if (h->n_vms)                                      /* readers for the serial consoles of those that run */
        look_at_all(h, &w);
    *ret = &h->hv;
    return 0;
}

static int drv_open(const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    const struct hyperv_platform *here = hyperv_platform_here();
    return here ? hyperv_open_on(here, cfg, ret, e) : err_set(e, ERR_HYPERVISOR, "Hyper-V is part of Windows; this host runs another system");
}

static unsigned drv_capabilities(struct hv *hv)
{
    (void)hv;
    return HV_CAP_GEN2 | HV_CAP_SERIAL | HV_CAP_CHECKPOINT | HV_CAP_NAT | HV_CAP_SWITCH | HV_CAP_ATTACH | HV_CAP_EXPORT | HV_CAP_NESTED;
}

/* Costs no more than what the disk holds, is refused nowhere, and every generation takes it. */
static enum hv_format drv_preferred_format(struct hv *hv, unsigned generation)
{
    (void)hv;
    (void)generation;
    return HV_VHDX;
}

/* ---- get and list ---- */

static void seen_gone(struct hyperv_vm *vm)
{
    struct hyperv_state st = {.state = HV_FAILED};
    snprintf(st.detail, sizeof st.detail, "it was removed from Hyper-V; retry the job to define it anew with its disks");
    pthread_mutex_lock(&vm->lock);
    vm->state = st.state;
    vm->state_known = true;
    vm->guest_alive = false;
    memcpy(vm->detail, st.detail, sizeof vm->detail);
    pthread_mutex_unlock(&vm->lock);
    hyperv_serial_off(vm->serial);
}

/* Nobody could be asked: what was last seen must do, with a word about it. */
static void seen_silent(struct hyperv_vm *vm, const struct err *e)
{
    pthread_mutex_lock(&vm->lock);
    if (!vm->state_known)
        vm->state = HV_FAILED;
    snprintf(vm->detail, sizeof vm->detail, "Hyper-V cannot be asked: %.90s", e->msg);
    pthread_mutex_unlock(&vm->lock);
}

static bool busy(struct hyperv_vm *vm, char *ret, size_t size)
{
    pthread_mutex_lock(&vm->lock);
    bool is = vm->busy_with != NULL;
    snprintf(ret, size, "it %s", is ? vm->busy_with : "");
    pthread_mutex_unlock(&vm->lock);
    return is;
}

static void look_at(struct hyperv_vm *vm, const struct wmi_wait *w)
{
    char guid[UUID_LEN];
    struct hyperv_state st;
    struct err e;
    hyperv_guid_of(vm, guid);
    int r = hyperv_state_read(vm->h, guid, w, &st, &e);
    if (r == 0)
        hyperv_vm_seen(vm, &st, st.state == HV_RUNNING && hyperv_heartbeat(vm->h, guid, w));
    else if (r == -ERR_VM_GONE)
        seen_gone(vm);
    else
        seen_silent(vm, &e);
}

static struct wmi_object *row_of(const struct wmi_rows *rows, const char *property, const char *guid)
{
    for (size_t i = 0; i < rows->n; i++) {
        AUTO_FREE char *name = wmi_str(rows->at[i], property);
        if (name && str_ieq(name, guid))
            return rows->at[i];
    }
    return NULL;
}

/* Two questions for all VMs: a host may have many. */
static void look_at_all(struct hyperv *h, const struct wmi_wait *w)
{
    struct wmi_rows systems = {0}, hearts = {0};
    struct err e = {0}, ignored;
    const char *service;
    struct hyperv_vm **all = hyperv_vm_all(h);
    int r = hyperv_service(h, HYPERV_VMS, w, &service, &e);
    if (r == 0)
        r = hyperv_query(h, w, &systems, &e, "SELECT " HYPERV_STATE_COLUMNS " FROM Msvm_ComputerSystem");
    if (r == 0)
        hyperv_query(h, w, &hearts, &ignored, "SELECT SystemName,OperationalStatus FROM Msvm_HeartbeatComponent");
    for (size_t i = 0; all && all[i]; i++) {
        char guid[UUID_LEN];
        struct hyperv_state st;
        hyperv_guid_of(all[i], guid);
        const struct wmi_object *system = row_of(&systems, "Name", guid), *heart = row_of(&hearts, "SystemName", guid);
        uint64_t beat = heart ? wmi_uint_at(heart, "OperationalStatus", 0, 0) : 0;
        if (system) {
            hyperv_state_from(system, &st);
            hyperv_vm_seen(all[i], &st, st.state == HV_RUNNING && (beat == 2 || beat == 3));
        } else if (r == 0) {
            seen_gone(all[i]);
        } else {
            seen_silent(all[i], &e);
        }
        hyperv_vm_unref(all[i]);
    }
    free(all);
    wmi_rows_clear(&systems);
    wmi_rows_clear(&hearts);
}

static int snapshot(struct hyperv_vm *vm, struct hv_vm **ret, struct err *e)
{
    struct hv_vm *v = calloc(1, sizeof *v);
    if (!v)
        return err_oom(e);
    char doing[128];
    bool is_busy = busy(vm, doing, sizeof doing);
    pthread_mutex_lock(&vm->lock);
    int r = vm->gone ? hyperv_no_vm(vm->id, e) : hv_vm_spec_copy(&vm->rec.spec, &v->spec, e);
    v->state = vm->state;
    v->guest_alive = vm->guest_alive;
    memcpy(v->state_detail, vm->detail, sizeof v->state_detail);
    v->started_at_ms = vm->state == HV_RUNNING || vm->state == HV_PAUSED ? vm->rec.started_at_ms : 0;
    pthread_mutex_unlock(&vm->lock);
    if (is_busy && !v->state_detail[0])
        memcpy(v->state_detail, doing, sizeof v->state_detail);
    if (r < 0)
        hv_vm_free(v);
    else
        *ret = v;
    return r;
}

static int drv_vm_get(struct hv *hv, const char *id, struct hv_vm **ret, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm = hyperv_vm_ref(h, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    look_at(vm, &w);
    int r = snapshot(vm, ret, e);
    hyperv_vm_unref(vm);
    return r;
}

static int drv_vm_list(struct hv *hv, struct hv_vm ***ret, size_t *ret_n, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    look_at_all(h, &w);
    struct hyperv_vm **all = hyperv_vm_all(h);
    size_t n = 0, filled = 0;
    while (all && all[n])
        n++;
    struct hv_vm **list = calloc(n + 1, sizeof(struct hv_vm *));
    int r = all && list ? 0 : err_oom(e);
    for (size_t i = 0; i < n; i++) {
        if (r == 0) {
            r = snapshot(all[i], &list[filled], e);
            filled += r == 0;
            if (r == -ERR_NOT_FOUND)                   /* deleted just now */
                r = 0;
        }
        hyperv_vm_unref(all[i]);
    }
    free(all);
    if (r < 0) {
        hv_vm_list_free(list, filled);
        return r;
    }
    *ret = list;
    *ret_n = filled;
    return 0;
}

const struct hv_ops hv_hyperv = {
    .name = "hyperv",
    .open = drv_open,
    .close = drv_close,
    .capabilities = drv_capabilities,
    .preferred_format = drv_preferred_format,
    .report = hyperv_report,
    .role_enable = hyperv_role_enable,
    .vm_create = hyperv_vm_create,
    .vm_delete = hyperv_vm_delete,
    .vm_get = drv_vm_get,
    .vm_list = drv_vm_list,
    .vm_start = hyperv_vm_start,
    .vm_stop = hyperv_vm_stop,
    .vm_shutdown = hyperv_vm_shutdown,
    .vm_reset = hyperv_vm_reset,
    .screen = hyperv_screen,
    .keys = hyperv_keys,
    .serial_read = hyperv_serial_read,
    .serial_write = hyperv_serial_write,
    .dvd = hyperv_dvd,
    .disk_attach = hyperv_disk_attach,
    .disk_detach = hyperv_disk_detach,
    .checkpoint_create = hyperv_checkpoint_create,
    .checkpoint_list = hyperv_checkpoint_list,
    .checkpoint_restore = hyperv_checkpoint_restore,
    .checkpoint_delete = hyperv_checkpoint_delete,
    .disk_export = hyperv_disk_export,
};

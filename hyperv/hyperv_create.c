/* Making and removing whole VMs. Find-or-create and removal by the job's id, safe to be cut off at any instruction:
 *
 *   1  vm.json, not complete, with a fresh mark        what is found of it later is swept away and made anew
 *   2  layers over the images, in the VM's folder
 *   3  DefineSystem with the mark in the notes; its GUID into vm.json
 *   4  memory, processors, disks, DVD drive, network, serial port, boot order, rights to files
 *   5  vm.json, complete                               from here on it is a VM
 *
 * A VM that somebody removed from Hyper-V while its folder is there is defined anew around the layers that it had: they hold what was repaired. */
#include <string.h>

#include "common/log.h"
#include "hyperv/hyperv.h"
#include "hyperv/vmspec.h"

#define RELEASE_MS 120000                              /* until Hyper-V has let go of the files of a VM that it removed */

/* ---- removal ---- */

/* Powers off and removes the machine if Hyper-V has it. */
static int destroy(struct hyperv *h, const struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    int r = hyperv_machine_open(h, rec, w, &m, e);
    if (r == -ERR_VM_GONE)
        return 0;
    if (r == 0)
        r = hyperv_power_off(h, &m, w, e);
    if (r == 0)
        r = hyperv_machine_destroy(h, &m, w, e);
    if (r < 0)
        return r;
    struct hyperv_machine left = {0};
    struct err look;
    if (hyperv_machine_open(h, rec, w, &left, &look) != -ERR_VM_GONE) {
        hyperv_machine_clear(&left);
        err_set(e, ERR_VM, "Hyper-V says that it removed the VM %s, and still lists it", rec->guid);
        return err_hint(e, "Remove it in Hyper-V Manager, then try again.");
    }
    return 0;
}

/* What a try that was cut off left in Hyper-V: the GUID may not have been written down, the mark was. */
static int destroy_intent(struct hyperv *h, struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    int r = 0;
    if (!rec->guid[0]) {
        hyperv_quiet(h);                               /* its definition may still be under way */
        r = hyperv_machine_search(h, rec->spec.id, rec->mark, w, rec->guid, e);
    }
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e))
        return 0;
    return r < 0 ? r : destroy(h, rec, w, e);
}

static int destroy_again(struct hyperv *h, struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    int r = destroy_intent(h, rec, w, e);
    return r < 0 && hyperv_again(h, e) ? destroy_intent(h, rec, w, e) : r;
}

/* Hyper-V lets go of files some time after it has removed their VM, where it merges checkpoints even later. By now the VM is proven gone: a folder
 * that is left without its vm.json is removed by the next create or delete. */
static int remove_folder(struct hyperv *h, const char *dir, const struct wmi_wait *w, struct err *e)
{
    int r;
    for (int64_t deadline = hyperv_now(h) + RELEASE_MS;;) {
        r = os_remove_tree(dir, e);
        if (r == 0 || hyperv_now(h) > deadline)
            return r;
        struct err why = *e;
        int slept = hyperv_sleep(h, w, 1000, e);
        if (slept < 0)
            return slept;
        *e = why;
    }
}

/* All of a VM: machine, rights, network, folder. */
static int remove_all(struct hyperv *h, struct hyperv_record *rec, const char *dir, const struct wmi_wait *w, struct err *e)
{
    int r = destroy_again(h, rec, w, e);
    if (r < 0)
        return r;
    hyperv_disk_revoke(h, rec);
    r = hyperv_nat_release(h, rec->spec.id, w, e);
    return r < 0 ? r : remove_folder(h, dir, w, e);
}

/* ---- making ---- */

static int check_images(struct hyperv *h, const struct hv_vm_spec *s, struct err *e)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < s->n_disks; i++)
        if (s->disks[i].path)
            r = hyperv_disk_check(h, &s->disks[i], e);
    return r == 0 && s->dvd ? hyperv_dvd_check(h, s->dvd, e) : r;
}

static int begin_record(struct hyperv *h, const struct hv_vm_spec *s, struct hyperv_record *rec, struct err *e)
{
    int r = hv_vm_spec_copy(s, &rec->spec, e);
    if (r == 0 && !(rec->created = vmspec_json(s)))
        r = err_oom(e);
    if (r == 0 && !(rec->checkpoints = calloc(HV_CHECKPOINTS_MAX, sizeof *rec->checkpoints)))
        r = err_oom(e);
    if (r == 0)
        r = crypto_uuid(rec->mark, e);
    return r < 0 ? r : hyperv_machine_fit(h, &rec->spec, e);
}

/* What lies in the folder of a new VM's id. With a record that is not complete it is the rest of a try. Without any record a VM in Hyper-V that
 * names this id is not proven ours. */
static int clear_place(struct hyperv *h, const char *id, const char *dir, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_record rec = {0};
    char guid[UUID_LEN];
    int r = hyperv_record_load(dir, &rec, e);
    if (r == 0 && rec.complete) {
        err_set(e, ERR_VM, "the folder %s holds a VM that could not be taken over when the daemon started", dir);
        r = err_hint(e, "Restart the daemon; its log says what is wrong.");
    } else if (r == 0) {
        r = remove_all(h, &rec, dir, w, e);
    } else if (r == -ERR_NOT_FOUND) {
        r = hyperv_machine_search(h, id, NULL, w, guid, e);
        if (r == 0) {
            err_set(e, ERR_WRONG_STATE, "the VM %s in Hyper-V names this job in its notes, but there is no record of it here; it is not touched", guid);
            r = err_hint(e, "Remove it in Hyper-V Manager if it is not needed, then retry the job.");
        } else if (r == -ERR_NOT_FOUND && !wmi_hresult(e)) {
            r = remove_folder(h, dir, w, e);
        }
    } else {
        err_hint(e, "Save what you need of the folder %s, then delete the job and submit it again.", dir);
    }
    hyperv_record_clear(&rec);
    return r;
}

/* Everything inside the machine. */
static int fit_out(struct hyperv *h, const char *dir, struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    const struct hv_vm_spec *s = &rec->spec;
    AUTO_FREE char *dvd = NULL;
    int r = hyperv_machine_open(h, rec, w, &m, e);
    if (r == 0)
        r = hyperv_machine_set_up(h, &m, s, w, e);
    if (r == 0)
        r = hyperv_disk_grant(h, dir, rec, e);
    for (unsigned i = 0; r == 0 && i < s->n_disks; i++)                  /* before the network: firmware tries in the order of arrival */
        if (s->disks[i].path)
            r = hyperv_disk_plug(h, dir, &m, rec, i, w, e);
    if (r == 0)
        r = hyperv_drive(h, &m, s->generation, HYPERV_DVD, true, w, &dvd, e);      /* IDE takes none while the VM runs */
    if (r == 0 && s->dvd)
        r = hyperv_insert(h, &m, dvd, true, s->dvd, w, e);
    if (r == 0)
        r = hyperv_network_plug(h, &m, s, w, e);
    if (r == 0)
        r = hyperv_serial_plug(h, &m, s->id, w, e);
    if (r == 0)
        r = hyperv_machine_boot_order(h, &m, s, w, e);
    return r == 0 ? hyperv_disk_grant(h, dir, rec, e) : r;               /* a disk may have been copied meanwhile */
}

static int make_layers(struct hyperv *h, const char *dir, struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < rec->spec.n_disks; i++)
        if (rec->spec.disks[i].path && rec->spec.disks[i].overlay)
            r = hyperv_disk_layer(h, dir, rec, i, w, e);
    return r;
}

static int define(struct hyperv *h, const char *dir, struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    int r = hyperv_machine_define(h, rec, dir, w, rec->guid, e);
    if (r == 0)
        r = hyperv_record_save(dir, rec, e);
    return r < 0 ? r : fit_out(h, dir, rec, w, e);
}

static int make(struct hyperv *h, const struct hv_vm_spec *s, const char *dir, struct hyperv_record *rec, const struct wmi_wait *w, struct err *e)
{
    int r = begin_record(h, s, rec, e);
    if (r == 0)
        r = os_mkdirs(dir, OS_PRIVATE, e);
    if (r == 0)
        r = h->p.host->uncompressed_folder(h->p.host_arg, dir, e);
    if (r == 0)
        r = hyperv_folder_check(h, dir, e);
    if (r == 0)
        r = hyperv_record_save(dir, rec, e);
    if (r == 0)
        r = make_layers(h, dir, rec, w, e);
    if (r == 0)
        r = define(h, dir, rec, w, e);
    if (r < 0)
        return r;
    rec->complete = true;
    return hyperv_record_save(dir, rec, e);
}

static int make_vm(struct hyperv *h, const struct hv_vm_spec *s, const char *dir, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_record rec = {0};
    struct wmi_wait firm = hyperv_wait(h, HYPERV_CALL_MS, false);
    int r = check_images(h, s, e);
    if (r == 0)
        r = clear_place(h, s->id, dir, w, e);
    if (r < 0)
        return r;
    r = make(h, s, dir, &rec, w, e);
    if (r == 0)
        r = hyperv_vm_add(h, s->id, dir, &rec, e);
    if (r < 0 && rec.mark[0]) {
        struct err left;
        if (remove_all(h, &rec, dir, &firm, &left) < 0)                  /* vm.json stays: the next create or delete goes on from there */
            log_err(LOG_LEVEL_WARNING, "the rest of a virtual machine stays for now", &left);
    }
    hyperv_record_clear(&rec);
    return r;
}

/* ---- find ---- */

/* Somebody removed it from Hyper-V: around the same layers once more. Checkpoints went with it. */
static int define_anew(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    struct hyperv_record rec;
    int r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    if (rec.n_checkpoints) {
        hyperv_record_clear(&rec);
        err_set(e, ERR_VM_GONE, "the VM %s, which had checkpoints, was removed from Hyper-V", vm->id);
        return err_hint(e, "What was repaired is in the newest .avhdx file of %s: save it, then delete the job and submit it again.", vm->dir);
    }
    log_warning("the virtual machine was removed from Hyper-V; it is defined anew with the disks that it had", KS("vm", vm->id));
    rec.guid[0] = 0;
    rec.complete = true;                               /* its layers are worth keeping whatever happens now */
    hyperv_quiet(h);
    r = hyperv_machine_search(h, vm->id, rec.mark, w, rec.guid, e);      /* of a try that was cut off */
    if (r == 0)
        r = destroy(h, &rec, w, e);
    else if (r == -ERR_NOT_FOUND && !wmi_hresult(e))
        r = 0;
    rec.guid[0] = 0;
    if (r == 0)
        r = define(h, vm->dir, &rec, w, e);
    if (r < 0) {
        struct wmi_wait firm = hyperv_wait(h, HYPERV_CALL_MS, false);
        struct err left;
        destroy_again(h, &rec, &firm, &left);
        hyperv_record_clear(&rec);
        return r;
    }
    return hyperv_commit(vm, &rec, e);
}

static int find_vm(struct hyperv *h, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_vm *vm;
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    json_t *wish = vmspec_json(s);
    int r = wish ? hyperv_op_begin(h, s->id, "is being created", &vm, e) : err_oom(e);
    if (r < 0) {
        json_decref(wish);
        return r;
    }
    if (!json_equal(wish, vm->rec.created)) {
        err_set(e, ERR_WRONG_STATE, "there is a VM %s already, with another definition", s->id);
        r = err_hint(e, "Delete it first, or use another id.");
    } else {
        r = hyperv_machine_open(h, &vm->rec, w, &m, e);
        if (r == -ERR_VM_GONE)
            r = define_anew(vm, w, e);
    }
    json_decref(wish);
    hyperv_op_end(vm);
    return r;
}

/* ---- slots ---- */

static int create(struct hyperv *h, const struct hv_vm_spec *s, const char *dir, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_vm *vm = hyperv_vm_ref(h, s->id);
    int r = vm ? find_vm(h, s, w, e) : make_vm(h, s, dir, w, e);
    hyperv_vm_unref(vm);
    return r;
}

int hyperv_vm_create(struct hv *hv, const struct hv_vm_spec *s, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    AUTO_FREE char *dir = os_path_join(h->vms_dir, s->id);
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, true);
    struct hyperv_claim c;
    if (!dir)
        return err_oom(e);
    hyperv_claim(h, &c, s->id);
    int r = create(h, s, dir, &w, e);
    if (r < 0 && hyperv_again(h, e))
        r = create(h, s, dir, &w, e);
    hyperv_unclaim(h, &c);
    return hyperv_answer(r, e);
}

/* A folder that is not in the table: half made, or its record is damaged. */
static int delete_folder(struct hyperv *h, const char *id, const char *dir, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_record rec = {0};
    struct os_stat st;
    char guid[UUID_LEN];
    int r = hyperv_record_load(dir, &rec, e);
    if (r == 0) {
        r = remove_all(h, &rec, dir, w, e);
        hyperv_record_clear(&rec);
        return r;
    }
    r = os_stat(dir, &st, e);
    if (r < 0 || !st.exists)
        return r < 0 ? r : hyperv_nat_release(h, id, w, e);
    r = hyperv_machine_search(h, id, NULL, w, guid, e);
    if (r == 0) {
        err_set(e, ERR_WRONG_STATE, "the record of the VM %s is missing or damaged; the VM %s in Hyper-V is not touched", id, guid);
        return err_hint(e, "Remove the VM in Hyper-V Manager, then delete the job again.");
    }
    if (r != -ERR_NOT_FOUND || wmi_hresult(e))
        return r;
    r = hyperv_nat_release(h, id, w, e);
    return r < 0 ? r : remove_folder(h, dir, w, e);
}

static int delete_vm(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    struct hyperv_record rec;
    int r = hyperv_exporting(vm, e);
    if (r == 0)
        r = hyperv_record_copy(&vm->rec, &rec, e);
    if (r < 0)
        return r;
    r = destroy_again(vm->h, &rec, w, e);
    if (r == 0) {                                      /* no longer a VM, whatever happens to the rest */
        rec.complete = false;
        r = hyperv_record_save(vm->dir, &rec, e);
    }
    if (r == 0) {
        hyperv_vm_remove(vm);
        hyperv_serial_off(vm->serial);
        hyperv_serial_silence(vm->serial);             /* its log lies in the folder */
        r = remove_all(vm->h, &rec, vm->dir, w, e);
    }
    hyperv_record_clear(&rec);
    return r;
}

int hyperv_vm_delete(struct hv *hv, const char *id, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    AUTO_FREE char *dir = os_path_join(h->vms_dir, id);
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    struct hyperv_claim c;
    struct hyperv_vm *vm;
    if (!dir)
        return err_oom(e);
    hyperv_claim(h, &c, id);                           /* a create of the same id must not begin in the middle */
    int r = hyperv_op_begin(h, id, "is being deleted", &vm, e);
    if (r == 0) {
        r = delete_vm(vm, &w, e);
        hyperv_op_end(vm);
    } else if (r == -ERR_NOT_FOUND) {
        r = delete_folder(h, id, dir, &w, e);
    }
    hyperv_unclaim(h, &c);
    return hyperv_answer(r, e);
}

/* Virtual machines: the ones that we made, their power, DVD, disks and export. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/json.h"
#include "common/os.h"

#define PATH_LEN_MAX 1024

/* In the order of enum hv_format. */
static const char *const format_words[] = {"raw", "vhd", "vhd_dynamic", "vhdx", "qcow2", NULL};
#define VHD_FOOTER 512

/* live_screen: GET …/console works while it runs. */
static void vm_json(struct jsonw *w, const struct hv_vm *vm, bool live_screen)
{
    const struct hv_vm_spec *s = &vm->spec;
    jsonw_open(w, NULL, '{');
    jsonw_str(w, "id", s->id);
    jsonw_str(w, "job_id", s->job_id);
    jsonw_str(w, "name", s->name);
    jsonw_str(w, "state", hv_state_name(vm->state));
    jsonw_str(w, "state_detail", vm->state_detail[0] ? vm->state_detail : NULL);
    jsonw_int(w, "generation", s->generation);
    jsonw_int(w, "memory_mib", s->memory_mib);
    jsonw_int(w, "cpus", s->cpus);
    jsonw_str(w, "network", s->network);
    jsonw_open(w, "disks", '[');
    for (size_t i = 0; i < s->n_disks; i++) {
        if (!s->disks[i].path)
            continue;                                /* a slot that is free */
        jsonw_open(w, NULL, '{');
        jsonw_int(w, "slot", (int64_t)i);
        jsonw_str(w, "path", s->disks[i].path);
        jsonw_str(w, "format", format_words[s->disks[i].format]);
        jsonw_u64(w, "virtual_size", s->disks[i].virtual_size);
        jsonw_bool(w, "overlay", s->disks[i].overlay);
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
    jsonw_str(w, "dvd", s->dvd);
    jsonw_bool(w, "live_screen", live_screen);
    jsonw_time(w, "started_at", vm->started_at_ms);
    jsonw_close(w, '}');
}

int vms_get(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    struct hv_vm **list = NULL;
    size_t n = 0;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_vm_list(hv, &list, &n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_open(&w, "vms", '[');
    for (size_t i = 0; i < n; i++)
        vm_json(&w, list[i], hv_capabilities(hv) & HV_CAP_DISPLAY);
    jsonw_close(&w, ']');
    jsonw_close(&w, '}');
    hv_vm_list_free(list, n);
    return reply_json(rq, 200, &w, e);
}

static int reply_vm(struct request *rq, unsigned status, struct err *e)
{
    struct hv *hv = NULL;
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_vm_get(hv, rq->id, &vm, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    vm_json(&w, vm, hv_capabilities(hv) & HV_CAP_DISPLAY);
    return reply_json(rq, status, &w, e);
}

int vm_explain_missing(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    struct db *db = NULL;
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    AUTO(job_free_ptr) struct job *job = NULL;
    struct err why;
    if (!crypto_is_uuid(rq->id) || request_hv(rq, &hv, &why) < 0 || hv_vm_get(hv, rq->id, &vm, &why) != -ERR_NOT_FOUND ||
        request_db(rq, &db, &why) < 0 || job_get(db, rq->id, &job, &why) < 0 || !job->vm_id)
        return -(int)e->code;
    return err_set(e, ERR_VM_GONE, "the VM %s, which the job of this id made, is not there any more", rq->id);
}

int vm_get_one(struct request *rq, struct err *e)
{
    return reply_vm(rq, 200, e);
}

/* ---- power ---- */

static int power(struct request *rq, int (*fn)(struct hv *hv, const char *id, struct err *e), unsigned status, struct err *e)
{
    struct hv *hv = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = fn(hv, rq->id, e);
    return r < 0 ? r : reply_vm(rq, status, e);
}

int vm_post_start(struct request *rq, struct err *e)
{
    return power(rq, hv_vm_start, 200, e);
}

int vm_post_stop(struct request *rq, struct err *e)
{
    return power(rq, hv_vm_stop, 200, e);
}

/* 202: the guest has been asked, and may take its time or not listen. */
int vm_post_shutdown(struct request *rq, struct err *e)
{
    return power(rq, hv_vm_shutdown, 202, e);
}

int vm_post_reset(struct request *rq, struct err *e)
{
    return power(rq, hv_vm_reset, 200, e);
}

/* ---- DVD and disks ---- */

int vm_put_dvd(struct request *rq, struct err *e)
{
    struct json_in in = json_in_root(rq->json, e);
    json_in_require(&in, "path");
    const char *path = json_in_string(&in, "path", NULL, PATH_LEN_MAX);
    struct hv *hv = NULL;
    int r = json_in_end(&in);
    if (r == 0)
        r = hostfile_existing(rq, path, e);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_dvd(hv, rq->id, path, e);
    return r < 0 ? r : reply_vm(rq, 200, e);
}

int vm_delete_dvd(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_dvd(hv, rq->id, NULL, e);
    return r < 0 ? r : reply_vm(rq, 200, e);
}

static int disk_size(struct request *rq, const char *path, enum hv_format format, uint64_t *ret, struct err *e)
{
    const struct api_config *cfg = &rq->api->cfg;
    if (cfg->disk_size) {
        int r = cfg->disk_size(cfg->arg, path, format, ret, e);
        if (r < 0)
            snprintf(e->field, sizeof e->field, "/path");
        return r;
    }
    struct os_stat st;
    if (os_stat(path, &st, e) < 0)
        return -(int)e->code;
    uint64_t footer = format == HV_VHD ? VHD_FOOTER : 0;
    if ((format != HV_RAW && format != HV_VHD) || st.size <= footer || st.size % 512)
        return err_field(e, ERR_VALUE, "/path", "a file of %llu bytes is no disk of the format %s", (unsigned long long)st.size,
                         format_words[format]);
    *ret = st.size - footer;
    return 0;
}

/* The file stays as it is: the VM writes to a layer of its own. */
int vm_put_disk(struct request *rq, struct err *e)
{
    static const char *const words[] = {"raw", "vhd", "vhd_dynamic", "vhdx", NULL};
    struct json_in in = json_in_root(rq->json, e);
    json_in_require(&in, "path");
    json_in_require(&in, "format");
    const char *path = json_in_string(&in, "path", NULL, PATH_LEN_MAX);
    enum hv_format format = (enum hv_format)json_in_enum(&in, "format", words, HV_RAW);
    struct hv *hv = NULL;
    uint64_t size = 0;
    int r = json_in_end(&in);
    if (r == 0)
        r = hostfile_existing(rq, path, e);
    if (r == 0)
        r = disk_size(rq, path, format, &size, e);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r < 0)
        return r;
    struct hv_disk d = {.path = (char *)path, .format = format, .virtual_size = size, .overlay = true};
    r = hv_disk_attach(hv, rq->id, rq->slot, &d, e);
    return r < 0 ? r : reply_vm(rq, 200, e);
}

int vm_delete_disk(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_disk_detach(hv, rq->id, rq->slot, e);
    return r < 0 ? r : reply_vm(rq, 200, e);
}

/* ---- export ---- */

/* data_dir/exports/<vm>.<extension>; the folder is made, so that the rule for paths from outside holds for it too. */
static int default_path(struct request *rq, const char *extension, char **ret, struct err *e)
{
    AUTO_FREE char *folder = os_path_join(rq->api->cfg.data_dir, "exports");
    AUTO_FREE char *name = str_printf("%s.%s", rq->id, extension);
    AUTO_FREE char *real = NULL;
    if (!folder || !name)
        return err_oom(e);
    int r = os_mkdirs(folder, OS_PRIVATE, e);
    if (r < 0)
        return r;
    real = os_real_path(folder);
    *ret = real ? os_path_join(real, name) : NULL;
    return *ret ? 0 : err_oom(e);
}

int vm_post_export(struct request *rq, struct err *e)
{
    static const char *const words[] = {"azure", "vhd", "vhd_dynamic", "vhdx", "raw", NULL};
    static const struct { const char *format, *extension; } files[] = {{"vhd", "vhd"}, {"vhd", "vhd"}, {"vhd_dynamic", "vhd"}, {"vhdx", "vhdx"}, {"raw", "img"}};
    struct json_in in = json_in_root(rq->json, e);
    int format = json_in_enum(&in, "format", words, 0);
    const char *path = json_in_string(&in, "path", NULL, PATH_LEN_MAX);
    long long slot = json_in_int(&in, "slot", 0, 0, HV_DISKS_MAX - 1);
    struct hv *hv = NULL;
    struct db *db = NULL;
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    AUTO_FREE char *own_path = NULL;
    int r = json_in_end(&in);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_vm_get(hv, rq->id, &vm, e);
    if (r == 0 && !(hv_capabilities(hv) & HV_CAP_EXPORT))
        r = err_set(e, ERR_UNSUPPORTED, "this hypervisor cannot export disks");
    if (r == 0 && vm->state != HV_OFF && vm->state != HV_FAILED) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is %s; it must be off to export a disk of it", rq->id, hv_state_name(vm->state));
        r = err_hint(e, "Shut it down or stop it first.");
    }
    if (r == 0 && ((size_t)slot >= vm->spec.n_disks || !vm->spec.disks[slot].path))
        r = err_field(e, ERR_VALUE, "/slot", "the VM has no disk in slot %lld", slot);
    if (r == 0 && !path) {
        r = default_path(rq, files[format].extension, &own_path, e);
        path = own_path;
    }
    if (r == 0)
        r = hostfile_new(rq, path, e);
    if (r == 0)
        r = request_db(rq, &db, e);
    if (r < 0)
        return r;
    json_t *params = json_pack("{s:i, s:s, s:s}", "slot", (int)slot, "format", files[format].format, "path", path);
    int64_t task_id;
    if (!params || (format == 0 && json_object_set_new(params, "whole_mib", json_true()) < 0)) {
        json_decref(params);
        return err_oom(e);
    }
    r = task_add_export_vm(db, vm->spec.job_id, params, &task_id, e);
    json_decref(params);
    if (r < 0)
        return r;
    request_changed(rq);
    return reply_task(rq, db, vm->spec.job_id, task_id, e);
}

/* What there is in Azure, as the API shows it: subscriptions, virtual machines with their disks, and whether they can be recovered. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "service/azure.h"
#include "storage/azure/exportable.h"

#define SUBSCRIPTIONS_MAX 500                        /* asked when none is named */
#define DISKS_ASKED_MAX 1000                         /* one by one: those that no list had */
#define DENIALS_MAX 50                               /* of them; then the rest is taken for unreadable too */

static int open_client(const struct azure_view *v, struct arm **ret, struct err *e)
{
    AUTO_FREE char *only = NULL;
    int r;
    if (!v->credential && (r = credential_only_sign_in(v->db, &only, e)) < 0) {
        if (r == -ERR_MISSING)
            snprintf(e->field, sizeof e->field, "?credential");
        return r;
    }
    return request_arm_open(v->d, v->db, v->credential ? v->credential : only, v->stop, v->arg, ret, e);
}

/* Takes the reference of value. */
static int set_or_oom(json_t *o, const char *key, json_t *value, struct err *e)
{
    if (o)
        return json_object_set_new(o, key, value) == 0 ? 0 : err_oom(e);
    json_decref(value);
    return err_oom(e);
}

/* ---- subscriptions ---- */

int azure_view_subscriptions(const struct azure_view *v, json_t **ret, struct err *e)
{
    AUTO(arm_close_ptr) struct arm *a = NULL;
    struct compute_subscription *list = NULL;
    size_t n = 0;
    int r = open_client(v, &a, e);
    if (r == 0)
        r = compute_subscriptions(a, &list, &n, e);
    if (r < 0)
        return r;
    json_t *all = json_array(), *o = json_pack("{s:o}", "subscriptions", all);
    bool failed = !o;
    for (size_t i = 0; i < n && !failed; i++)
        failed = json_array_append_new(all, json_pack("{s:s, s:s?, s:s, s:s}", "id", list[i].id, "name", list[i].name, "tenant_id", list[i].tenant_id,
                                                      "state", list[i].state)) < 0;
    compute_subscriptions_free(list, n);
    if (failed) {
        json_decref(o);
        return err_oom(e);
    }
    *ret = o;
    return 0;
}

/* ---- disks of many VMs ---- */

struct known { char key[ARM_ID_MAX]; const struct compute_disk *disk; };

struct disks {
    struct compute_disk *list;                       /* from the list of the subscription or group */
    size_t n;
    struct compute_disk **asked;                     /* one by one */
    size_t n_asked;
    struct known *index;                             /* over both, by key */
    size_t n_index;
};

static void disks_free(struct disks *d)
{
    compute_disks_free(d->list, d->n);
    for (size_t i = 0; i < d->n_asked; i++)
        compute_disk_free(d->asked[i]);
    free(d->asked);
    free(d->index);
    *d = (struct disks){0};
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct known *)a)->key, ((const struct known *)b)->key);
}

static void add_key(struct disks *d, const struct compute_disk *disk)
{
    struct arm_id id;
    struct err ignored;
    if (arm_id_parse(disk->id, NULL, &id, &ignored) < 0)
        return;
    arm_id_key(&id, d->index[d->n_index].key);
    d->index[d->n_index++].disk = disk;
}

static const struct compute_disk *find_disk(const struct disks *d, const char *id_text)
{
    struct arm_id id;
    struct err ignored;
    if (!id_text || !d->n_index || arm_id_parse(id_text, NULL, &id, &ignored) < 0)
        return NULL;
    AUTO_FREE struct known *wanted = calloc(1, sizeof *wanted);
    if (!wanted)
        return NULL;
    arm_id_key(&id, wanted->key);
    const struct known *found = bsearch(wanted, d->index, d->n_index, sizeof *d->index, by_key);
    return found ? found->disk : NULL;
}

static bool means_none(const struct err *e)
{
    return e->code == ERR_CREDENTIAL || e->code == ERR_NOT_FOUND || e->code == ERR_VALUE;
}

/* Disks of VMs may lie in other groups than the list is of. What may not be read stays unknown. */
static int ask_missing(struct arm *a, const struct compute_vm *vms, size_t n, struct disks *d, struct err *e)
{
    size_t have = d->n_index, denied = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < vms[i].n_disks && d->n_asked < DISKS_ASKED_MAX && denied < DENIALS_MAX; k++) {
            const char *id = vms[i].disks[k].id;
            if (!id || find_disk(d, id))
                continue;
            struct compute_disk **asked = realloc(d->asked, (d->n_asked + 1) * sizeof(struct compute_disk *));
            if (!asked)
                return err_oom(e);
            d->asked = asked;
            int r = compute_disk_get(a, id, &asked[d->n_asked], e);
            if (r == 0)
                d->n_asked++;
            else if (!means_none(e))
                return r;
            else
                denied++;
        }
    struct known *index = realloc(d->index, (have + d->n_asked + 1) * sizeof *index);
    if (!index)
        return err_oom(e);
    d->index = index;
    for (size_t i = 0; i < d->n_asked; i++)
        add_key(d, d->asked[i]);
    qsort(d->index, d->n_index, sizeof *d->index, by_key);
    return 0;
}

static int read_disks(struct arm *a, const char *subscription, const char *group, const struct compute_vm *vms, size_t n, struct disks *d, struct err *e)
{
    if (!n)
        return 0;
    int r = compute_disk_list(a, subscription, group, &d->list, &d->n, e);
    if (r < 0 && !means_none(e))
        return r;
    d->index = calloc(d->n + 1, sizeof *d->index);
    if (!d->index)
        return err_oom(e);
    for (size_t i = 0; i < d->n; i++)
        add_key(d, &d->list[i]);
    qsort(d->index, d->n_index, sizeof *d->index, by_key);
    return ask_missing(a, vms, n, d, e);
}

/* ---- virtual machines ---- */

static const char *or_null(const char *s)
{
    return s && *s ? s : NULL;
}

static json_t *disk_json(const struct compute_vm_disk *v, const struct compute_disk *d)
{
    json_t *o = json_pack("{s:s?, s:s, s:s?, s:s?, s:b, s:b}", "name", v->name, "role", v->os ? "os" : "data", "id", v->id, "url", v->vhd_url, "managed",
                          v->id != NULL, "ephemeral", v->ephemeral);
    uint64_t size = d && d->size_bytes ? d->size_bytes : v->size_bytes;
    bool failed = !o || json_object_set_new(o, "lun", v->os ? json_null() : json_integer(v->lun)) < 0 ||
                  json_object_set_new(o, "size", size ? json_integer((json_int_t)size) : json_null()) < 0 ||
                  json_object_set_new(o, "azure_disk_encryption", json_boolean(v->ade || (d && d->ade))) < 0;
    const struct { const char *key, *value; } texts[] = {
        {"sku", d && *d->sku ? d->sku : v->storage_type}, {"state", d ? d->state : NULL}, {"encryption", d ? d->encryption : NULL},
        {"security_type", d && *d->security_type ? d->security_type : v->security_encryption},
        {"data_access_auth_mode", d ? d->data_access_auth_mode : NULL},
        {"network_access_policy", d ? d->network_access_policy : NULL}, {"public_network_access", d ? d->public_network_access : NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts) && !failed; i++)
        failed = json_object_set_new(o, texts[i].key, or_null(texts[i].value) ? json_string(texts[i].value) : json_null()) < 0;
    if (!failed)
        return o;
    json_decref(o);
    return NULL;
}

/* Whether the OS disk can be had decides; what keeps a data disk is told all the same. */
static int reasons_json(json_t *vm_json, const struct compute_vm *vm, const struct compute_disk *const *disks, size_t n, bool inside_azure, struct err *e)
{
    static const char *const weights[] = {"note", "warning", "blocked"};
    struct exportable_question q = {.vm = vm, .disks = disks, .n = n, .data_disks = true, .inside_azure = inside_azure};
    AUTO(exportable_free) struct exportable x;
    int r = exportable_judge(&q, &x, e);
    if (r < 0)
        return r;
    json_t *list = json_array();
    const char *os = vm->n_disks && vm->disks[0].os ? vm->disks[0].name : NULL;
    bool recoverable = true, failed = !list;
    for (size_t i = 0; i < x.n && !failed; i++) {
        const struct exportable_reason *y = &x.reasons[i];
        if (y->weight == EXPORTABLE_BLOCKED && (!y->disk || (os && !strcmp(y->disk, os))))
            recoverable = false;
        failed = json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s, s:s}", "code", y->code, "weight", weights[y->weight], "disk", y->disk,
                                                       "detail", y->detail, "remedy", y->remedy)) < 0;
    }
    if (failed) {
        json_decref(list);
        return err_oom(e);
    }
    r = set_or_oom(vm_json, "reasons", list, e);
    return r < 0 ? r : set_or_oom(vm_json, "recoverable", json_boolean(recoverable), e);
}

static int vm_json(const struct compute_vm *vm, const struct disks *all, bool inside_azure, json_t **ret, struct err *e)
{
    const struct compute_disk *found[COMPUTE_VM_DISKS_MAX];
    size_t n = 0;
    unsigned generation = vm->generation;
    json_t *disks = json_array();
    bool failed = !disks;
    for (size_t i = 0; i < vm->n_disks && !failed; i++) {
        const struct compute_disk *d = find_disk(all, vm->disks[i].id);
        if (d)
            found[n++] = d;
        if (d && vm->disks[i].os && !generation)
            generation = d->generation;
        failed = json_array_append_new(disks, disk_json(&vm->disks[i], d)) < 0;
    }
    json_t *o = failed ? NULL : json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?, s:s?, s:s, s:s?, s:s?, s:b, s:{s:b, s:s?}, s:s?, s:s?, s:O}", "id", vm->id, "name",
                                          vm->name, "subscription_id", vm->subscription, "resource_group", vm->resource_group, "location", vm->location,
                                          "vm_size", vm->size, "os_type", or_null(vm->os_type), "power_state", compute_power_name(vm->power),
                                          "provisioning_state", or_null(vm->provisioning_state), "security_type", or_null(vm->security_type),
                                          "encryption_at_host", vm->encryption_at_host, "boot_diagnostics", "enabled", vm->boot_diagnostics, "storage_url",
                                          vm->boot_diagnostics_storage, "os_name", vm->os_name, "os_version", vm->os_version, "disks", disks);
    json_decref(disks);
    int r = set_or_oom(o, "generation", generation ? json_integer(generation) : json_null(), e);
    if (r == 0)
        r = reasons_json(o, vm, found, n, inside_azure, e);
    if (r < 0) {
        json_decref(o);
        return r;
    }
    *ret = o;
    return 0;
}

struct listing {
    const struct azure_view *v;
    struct arm *a;
    bool inside_azure;
    json_t *vms, *unreadable;
};

static int list_subscription(struct listing *l, const char *subscription, struct err *e)
{
    struct compute_vm *vms = NULL;
    size_t n = 0;
    AUTO(disks_free) struct disks disks = {0};
    int r = compute_vm_list(l->a, subscription, l->v->resource_group, l->v->filter, &vms, &n, e);
    if (r == 0)
        r = read_disks(l->a, subscription, l->v->resource_group, vms, n, &disks, e);
    for (size_t i = 0; i < n && r == 0; i++) {
        json_t *o = NULL;
        r = vm_json(&vms[i], &disks, l->inside_azure, &o, e);
        if (r == 0 && json_array_append_new(l->vms, o) < 0)
            r = err_oom(e);
    }
    compute_vms_free(vms, n);
    return r;
}

/* One subscription that cannot be read must not hide the others. */
static int note_unreadable(struct listing *l, const char *subscription, const struct err *why, struct err *e)
{
    json_t *problem = json_from_err(why);
    json_t *o = problem ? json_pack("{s:s, s:o}", "subscription_id", subscription, "error", problem) : NULL;
    return o && json_array_append_new(l->unreadable, o) == 0 ? 0 : err_oom(e);
}

static int list_all(struct listing *l, struct err *e)
{
    struct compute_subscription *list = NULL;
    size_t n = 0;
    size_t asked = 0;
    int r = compute_subscriptions(l->a, &list, &n, e);
    for (size_t i = 0; i < n && r == 0; i++) {
        if (*list[i].state && !str_ieq(list[i].state, "Enabled") && !str_ieq(list[i].state, "Warned") && !str_ieq(list[i].state, "PastDue"))
            continue;                                /* disabled: nothing can be read */
        if (asked++ < SUBSCRIPTIONS_MAX) {
            r = list_subscription(l, list[i].id, e);
        } else {
            r = err_set(e, ERR_UPSTREAM_FINAL, "it was not asked: the credential sees more than %d subscriptions", SUBSCRIPTIONS_MAX);
            err_hint(e, "Name the subscription.");
        }
        if (r < 0 && (e->code == ERR_CREDENTIAL || e->code == ERR_NOT_FOUND || e->code == ERR_UPSTREAM_FINAL)) {
            struct err why = *e;
            r = note_unreadable(l, list[i].id, &why, e);
        }
    }
    compute_subscriptions_free(list, n);
    return r;
}

int azure_view_vms(const struct azure_view *v, json_t **ret, struct err *e)
{
    AUTO(arm_close_ptr) struct arm *a = NULL;
    char region[64];
    if (v->resource_group && !v->subscription)
        return err_field(e, ERR_MISSING, "?subscription", "a resource group is one of a subscription: name that too");
    int r = open_client(v, &a, e);
    if (r < 0)
        return r;
    azure_host_region(v->d->azure, region, sizeof region);
    struct listing l = {.v = v, .a = a, .inside_azure = *region, .vms = json_array(), .unreadable = json_array()};
    if (!l.vms || !l.unreadable)
        r = err_oom(e);
    if (r == 0)
        r = v->subscription ? list_subscription(&l, v->subscription, e) : list_all(&l, e);
    if (r == -ERR_VALUE && !e->field[0])
        snprintf(e->field, sizeof e->field, v->resource_group && strstr(e->msg, "resource group") ? "?resource_group" : "?subscription");
    *ret = r == 0 ? json_pack("{s:O, s:O}", "vms", l.vms, "unreadable", l.unreadable) : NULL;
    json_decref(l.vms);
    json_decref(l.unreadable);
    return r < 0 ? r : *ret ? 0 : err_oom(e);
}

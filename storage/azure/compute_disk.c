/* Managed disks and snapshots: reading, granting access, making and deleting snapshots. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/url.h"
#include "storage/azure/compute_internal.h"

#define ACCESS_DEADLINE_MS 300000
#define SNAPSHOT_DEADLINE_MS 1800000

/* ---- reading ---- */

void compute_disk_clear(struct compute_disk *d)
{
    free(d->id);
    free(d->name);
    free(d->location);
    free(d->source_id);
    free(d->managed_by);
    free(d->job_tag);
    *d = (struct compute_disk){0};
}

void compute_disk_free(struct compute_disk *d)
{
    if (d)
        compute_disk_clear(d);
    free(d);
}

void compute_disks_free(struct compute_disk *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        compute_disk_clear(&list[i]);
    free(list);
}

/* Names of tags are compared without case. */
static const char *job_tag(const json_t *o)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)compute_member(o, "tags"), key, value) {
        if (str_ieq(key, COMPUTE_JOB_TAG) && json_is_string(value))
            return json_string_value(value);
    }
    return NULL;
}

static double percent_of(const json_t *o)
{
    const json_t *j = compute_member(o, "properties.completionPercent");
    double p = json_is_number(j) ? json_number_value(j) : -1;
    return p >= 0 && p <= 100 ? p : -1;
}

static const char *type_of(const char *id)
{
    struct arm_id x;
    struct err ignored;
    if (arm_id_parse(id, COMPUTE_DISK_TYPE, &x, &ignored) == 0)
        return COMPUTE_DISK_TYPE;
    return arm_id_parse(id, COMPUTE_SNAPSHOT_TYPE, &x, &ignored) == 0 ? COMPUTE_SNAPSHOT_TYPE : NULL;
}

int compute_parse_disk(const json_t *o, struct compute_disk *ret, struct err *e)
{
    struct compute_disk d = {0};
    bool failed = false;
    d.id = compute_dup(o, "id", &failed);
    const char *type = d.id ? type_of(d.id) : NULL;
    if (!failed && !type) {
        compute_disk_clear(&d);
        return err_set(e, ERR_UPSTREAM, "Azure described a disk without a usable id");
    }
    d.snapshot = type && !strcmp(type, COMPUTE_SNAPSHOT_TYPE);
    d.name = compute_dup(o, "name", &failed);
    if (!d.name && !failed && d.id)
        d.name = str_dup(strrchr(d.id, '/') + 1);
    d.location = compute_dup(o, "location", &failed);
    d.source_id = compute_dup(o, "properties.creationData.sourceResourceId", &failed);
    d.managed_by = compute_dup(o, "managedBy", &failed);
    const char *tag = job_tag(o);
    d.job_tag = tag && strlen(tag) <= 256 ? str_dup(tag) : NULL;
    json_int_t bytes = json_integer_value(compute_member(o, "properties.diskSizeBytes"));
    d.size_bytes = bytes > 0 ? (uint64_t)bytes : compute_gib(o, "properties.diskSizeGB");
    COMPUTE_COPY(d.sku, o, "sku.name");
    COMPUTE_COPY(d.state, o, "properties.diskState");
    COMPUTE_COPY(d.os_type, o, "properties.osType");
    d.generation = compute_generation(compute_text(o, "properties.hyperVGeneration"));
    COMPUTE_COPY(d.encryption, o, "properties.encryption.type");
    d.ade = json_is_true(compute_member(o, "properties.encryptionSettingsCollection.enabled"));
    COMPUTE_COPY(d.security_type, o, "properties.securityProfile.securityType");
    COMPUTE_COPY(d.data_access_auth_mode, o, "properties.dataAccessAuthMode");
    COMPUTE_COPY(d.network_access_policy, o, "properties.networkAccessPolicy");
    COMPUTE_COPY(d.public_network_access, o, "properties.publicNetworkAccess");
    json_int_t sector = json_integer_value(compute_member(o, "properties.creationData.logicalSectorSize"));
    d.logical_sector_size = sector == 512 || sector == 4096 ? (unsigned)sector : 0;
    json_int_t shares = json_integer_value(compute_member(o, "properties.maxShares"));
    d.shares = shares > 0 && shares < 1000 ? (unsigned)shares : 0;
    d.incremental = json_is_true(compute_member(o, "properties.incremental"));
    d.completion_percent = percent_of(o);
    COMPUTE_COPY(d.unique_id, o, "properties.uniqueId");
    COMPUTE_COPY(d.source_unique_id, o, "properties.creationData.sourceUniqueId");
    clock_parse(compute_text(o, "properties.timeCreated"), &d.created_at_ms);
    clock_parse(compute_text(o, "properties.LastOwnershipUpdateTime"), &d.owned_at_ms);
    if (failed || !d.name || (tag && !d.job_tag && strlen(tag) <= 256)) {
        compute_disk_clear(&d);
        return err_oom(e);
    }
    *ret = d;
    return 0;
}

static int parse_new(const json_t *o, struct compute_disk **ret, struct err *e)
{
    AUTO(compute_disk_free_ptr) struct compute_disk *d = calloc(1, sizeof *d);
    if (!d)
        return err_oom(e);
    int r = compute_parse_disk(o, d, e);
    if (r < 0)
        return r;
    *ret = STEAL(d);
    return 0;
}

/* The path of a disk or of a snapshot, as the id says. */
static char *path_of(const char *id, const char *action, struct err *e)
{
    const char *type = type_of(id);
    return compute_path(id, type ? type : COMPUTE_DISK_TYPE, action, COMPUTE_DISK_API, e);
}

int compute_disk_get(struct arm *a, const char *id, struct compute_disk **ret, struct err *e)
{
    AUTO_FREE char *path = path_of(id, "", e);
    json_t *o = NULL;
    if (!path)
        return -(int)e->code;
    int r = arm_get(a, path, &o, e);
    if (r == 0)
        r = parse_new(o, ret, e);
    json_decref(o);
    return r;
}

static int list_of(struct arm *a, const char *subscription, const char *resource_group, const char *type, struct compute_disk **ret, size_t *ret_n,
                   struct err *e)
{
    AUTO_FREE char *path = compute_list_path(subscription, resource_group, type, "api-version=" COMPUTE_DISK_API, e);
    json_t *all = NULL, *o;
    if (!path)
        return -(int)e->code;
    int r = arm_list(a, path, &all, e);
    if (r < 0)
        return r;
    size_t n = 0, i;
    struct compute_disk *list = calloc(json_array_size(all) + 1, sizeof *list);
    if (!list)
        r = err_oom(e);
    json_array_foreach(all, i, o) {
        if (r < 0)
            break;
        r = compute_parse_disk(o, &list[n], e);
        n += r == 0;
        if (r == -ERR_UPSTREAM)                      /* one that cannot be understood hides no other */
            r = 0;
    }
    json_decref(all);
    if (r < 0) {
        compute_disks_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int compute_disk_list(struct arm *a, const char *subscription, const char *resource_group, struct compute_disk **ret, size_t *ret_n,
                      struct err *e)
{
    return list_of(a, subscription, resource_group, COMPUTE_DISK_TYPE, ret, ret_n, e);
}

int compute_snapshot_list(struct arm *a, const char *subscription, const char *resource_group, struct compute_disk **ret, size_t *ret_n,
                          struct err *e)
{
    return list_of(a, subscription, resource_group, COMPUTE_SNAPSHOT_TYPE, ret, ret_n, e);
}

/* ---- access ---- */

void compute_access_free(struct compute_access *x)
{
    mem_free_secret(x->sas);
    mem_free_secret(x->security_sas);
    *x = (struct compute_access){0};
}

/* What Azure gave is used byte for byte; it must be a URL of a disk of this cloud. */
static int take_sas(struct arm *a, const json_t *o, const char *key, char **ret, struct err *e)
{
    const char *s = json_string_value(json_object_get(o, key));
    if (!s || !*s) {
        *ret = NULL;
        return 0;
    }
    if (url_check(s, false, e) < 0)
        return err_set(e, ERR_UPSTREAM_FINAL, "Azure granted access with a URL that cannot be used");
    int r = cloud_check_disk_sas(arm_cloud(a), s, e);
    if (r < 0)
        return r;
    *ret = str_dup(s);
    return *ret ? 0 : err_oom(e);
}

int compute_begin_access(struct arm *a, const char *id, const struct compute_access_options *o, struct compute_access *ret, struct err *e)
{
    if (o->duration_s < 1 || o->duration_s > COMPUTE_ACCESS_MAX_S)
        return err_set(e, ERR_VALUE, "access is granted for 1 to %d seconds, not for %u", COMPUTE_ACCESS_MAX_S, o->duration_s);
    AUTO_FREE char *path = path_of(id, "/beginGetAccess", e);
    if (!path)
        return -(int)e->code;
    json_t *body = json_pack("{s:s, s:i}", "access", "Read", "durationInSeconds", (int)o->duration_s), *got = NULL;
    if (!body || (o->guest_state && json_object_set_new(body, "getSecureVMGuestStateSAS", json_true()) < 0) ||
        (o->vhdx && json_object_set_new(body, "fileFormat", json_string("VHDX")) < 0)) {
        json_decref(body);
        return err_oom(e);
    }
    struct compute_access x = {.expires_at_ms = clock_now_ms() + (int64_t)o->duration_s * 1000};
    struct arm_call c = {.method = "POST", .path = path, .body = body, .deadline_ms = ACCESS_DEADLINE_MS};
    int r = arm_run(a, &c, &got, e);
    json_decref(body);
    if (r == 0)
        r = take_sas(a, got, "accessSAS", &x.sas, e);
    if (r == 0)
        r = take_sas(a, got, "securityDataAccessSAS", &x.security_sas, e);
    json_decref(got);
    if (r == 0 && !x.sas) {
        r = err_set(e, ERR_UPSTREAM, "Azure granted access to the disk without saying where it can be read");
        snprintf(e->upstream.service, sizeof e->upstream.service, "arm");
    }
    if (r < 0) {
        compute_access_free(&x);
        return r;
    }
    *ret = x;
    return 0;
}

int compute_end_access(struct arm *a, const char *id, struct err *e)
{
    AUTO_FREE char *path = path_of(id, "/endGetAccess", e);
    if (!path)
        return -(int)e->code;
    struct arm_call c = {.method = "POST", .path = path, .deadline_ms = ACCESS_DEADLINE_MS};
    int r = arm_run(a, &c, NULL, e);
    return r < 0 && arm_error_is_gone(e) ? 0 : r;
}

/* ---- snapshots ---- */

static bool is_ours(const struct compute_disk *d, const char *job_id)
{
    return d->job_tag && !strcmp(d->job_tag, job_id);
}

/* 1: it is there and good; 0: it must be made (again). */
static int find_ours(struct arm *a, const struct compute_snapshot_request *q, struct compute_disk **ret, struct err *e)
{
    AUTO_FREE char *path = path_of(q->id, "", e);
    AUTO(compute_disk_free_ptr) struct compute_disk *d = NULL;
    json_t *o = NULL;
    if (!path)
        return -(int)e->code;
    int r = arm_get(a, path, &o, e);
    if (r == -ERR_NOT_FOUND) {
        err_clear(e);
        return 0;
    }
    if (r == 0)
        r = parse_new(o, &d, e);
    bool made = r == 0 && str_ieq(compute_text(o, "properties.provisioningState"), "Succeeded");
    json_decref(o);
    if (r < 0)
        return r;
    if (!is_ours(d, q->job_id) || !d->source_id || !arm_id_equal(d->source_id, q->source_id)) {
        err_set(e, ERR_WRONG_STATE, "there is a snapshot %s already, and it is not of this job", d->name);
        return err_hint(e, "It is left alone. Submit the job again for another name.");
    }
    if (made)
        *ret = STEAL(d);
    return made;
}

int compute_snapshot_create(struct arm *a, const struct compute_snapshot_request *q, struct compute_disk **ret, struct err *e)
{
    int r = find_ours(a, q, ret, e);
    if (r != 0)
        return r < 0 ? r : 0;
    AUTO_FREE char *path = compute_path(q->id, COMPUTE_SNAPSHOT_TYPE, "", COMPUTE_DISK_API, e);
    if (!path)
        return -(int)e->code;
    json_t *body = json_pack("{s:s, s:{s:s}, s:{s:s}, s:{s:{s:s, s:s}, s:b}}", "location", q->location, "sku", "name",
                             q->zone_redundant ? "Standard_ZRS" : "Standard_LRS", "tags", COMPUTE_JOB_TAG, q->job_id, "properties", "creationData",
                             "createOption", "Copy", "sourceResourceId", q->source_id, "incremental", q->incremental);
    if (!body)
        return err_oom(e);
    json_t *o = NULL;
    struct arm_call c = {.method = "PUT", .path = path, .body = body, .deadline_ms = SNAPSHOT_DEADLINE_MS};
    r = arm_run(a, &c, &o, e);
    json_decref(body);
    if (r == 0)
        r = o ? parse_new(o, ret, e) : compute_disk_get(a, q->id, ret, e);
    json_decref(o);
    return r;
}

int compute_snapshot_delete(struct arm *a, const char *id, const char *job_id, struct err *e)
{
    AUTO(compute_disk_free_ptr) struct compute_disk *d = NULL;
    AUTO_FREE char *path = compute_path(id, COMPUTE_SNAPSHOT_TYPE, "", COMPUTE_DISK_API, e);
    if (!path)
        return -(int)e->code;
    int r = compute_disk_get(a, id, &d, e);
    if (r < 0)
        return arm_error_is_gone(e) ? 0 : r;
    if (!is_ours(d, job_id))
        return err_set(e, ERR_WRONG_STATE, "the snapshot %s does not carry this job's tag; it is not deleted", d->name);
    struct arm_call c = {.method = "DELETE", .path = path, .deadline_ms = SNAPSHOT_DEADLINE_MS};
    return arm_run(a, &c, NULL, e);
}

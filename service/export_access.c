/* Granting access to a disk: which thing it is granted to, for how long, and whether what it shows is what it showed before. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "db/resource.h"
#include "service/export_run.h"

#define TRIES 3                                      /* the VM may be started or stopped between a look and a grant */
#define ACCESS_MIN_S 86400u
#define ACCESS_RATE ((uint64_t)10 << 20)             /* bytes a second that a download is expected to reach at the least */
#define FRESH_MS (10 * 60 * 1000)                    /* access that lasts less is renewed before it is used */
#define HOST_TRIES 3
#define HOST_PAUSE_MS 1000

int export_open(struct task_run *t, unsigned disk, struct export_run *ret, struct err *e)
{
    *ret = (struct export_run){.t = t, .index = disk, .disk = &t->job->disks[disk], .env = source_env_of(t)};
    ret->spec = &ret->disk->spec;
    ret->target = ret->disk->target;
    if (!ret->target)
        return err_set(e, ERR_INTERNAL, "disk %u was not found, though preflight is done", disk);
    int r = job_access_get(t->db, t->job->id, disk, &ret->old, e);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return r;
    return ret->target->id ? task_arm_open(t, ret->spec->credential, &ret->arm, e) : 0;
}

void export_close(struct export_run *x)
{
    arm_close(x->arm);
    job_access_free(x->old);
}

/* ---- what is written down ---- */

int export_intend(struct export_run *x, unsigned disk, const char *kind, const char *ident, const char *proof, int64_t *ret_row, struct err *e)
{
    return resource_intend(x->t->db, x->t->job->id, (int)disk, kind, ident, proof, false, ret_row, e);
}

int export_borrowed(struct export_run *x, unsigned disk, const char *kind, const char *ident, int64_t row, struct err *e)
{
    task_run_event(x->t, "borrowed", json_pack("{s:s, s:s, s:i}", "kind", kind, "what", ident, "disk", (int)disk));
    log_info("borrowed", KS("kind", kind), KS("what", ident));
    return resource_made(x->t->db, row, e);
}

int export_row(struct export_run *x, unsigned disk, const char *kind, char **ret_ident, char **ret_proof, struct err *e)
{
    struct resource *list;
    size_t n, i = 0;
    int r = resource_list(x->t->db, x->t->job->id, &list, &n, e);
    if (r < 0)
        return r;
    while (i < n && ((unsigned)list[i].disk != disk || strcmp(list[i].kind, kind) != 0))
        i++;
    if (i < n) {
        *ret_ident = STEAL(list[i].ident);
        if (ret_proof)
            *ret_proof = STEAL(list[i].proof);
    }
    resource_list_free(list, n);
    return i < n ? 0 : err_set(e, ERR_NOT_FOUND, "nothing of the kind %s is written down for disk %u", kind, disk);
}

/* ---- granting ---- */

static unsigned duration_s(const struct export_run *x)
{
    uint64_t limit = x->t->job->spec->max_bytes_per_second ? x->t->job->spec->max_bytes_per_second : x->t->d->cfg->max_bytes_per_second;
    uint64_t rate = limit && limit < ACCESS_RATE ? limit : ACCESS_RATE, s = x->target->size_bytes / rate * 2;
    return (unsigned)(s < ACCESS_MIN_S ? ACCESS_MIN_S : s > COMPUTE_ACCESS_MAX_S ? COMPUTE_ACCESS_MAX_S : s);
}

/* What a host says of itself right after access was granted. A refusal may be older than the grant. */
static int look(struct export_run *x, struct job_access *a, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    struct source_place p = {.url = a->url, .disk = true, .credential = a->bearer ? x->spec->credential : NULL};
    struct blob_info info;
    int r = disk_source_open_at(&x->env, &p, &s, e);
    for (unsigned i = 1; r == 0; i++) {
        r = blob_head(disk_source_blob(s), &info, e);
        if (r == 0 || i == HOST_TRIES || !blob_error_is_refusal(e))
            break;
        struct err why = *e;
        if ((r = task_run_sleep(x->t, HOST_PAUSE_MS, e)) == 0)
            *e = why;
    }
    if (r < 0 && blob_error_is_refusal(e))
        err_hint(e, a->bearer ? "Reading this disk's data needs the role Data Operator for Managed Disks besides the right to export it."
                              : "Access was granted, but the disk's host refuses this one: check the disk's network access (its policy, and "
                                "private endpoints).");
    if (r < 0)
        return r;
    snprintf(a->etag, sizeof a->etag, "%s", info.etag);
    snprintf(a->last_modified, sizeof a->last_modified, "%s", info.last_modified);
    return 0;
}

/* A snapshot never changes. A disk has not changed when its host says so, or when nobody had it since. */
static bool is_same(const struct job_access *old, const struct job_access *now)
{
    if (old->kind != now->kind || !arm_id_equal(old->ident, now->ident) || strcmp(old->unique_id, now->unique_id) != 0)
        return false;
    struct arm_id id;
    struct err ignored;
    if (*now->unique_id && arm_id_parse(now->ident, COMPUTE_SNAPSHOT_TYPE, &id, &ignored) == 0)
        return true;
    if (*now->etag && !strcmp(old->etag, now->etag) && !strcmp(old->last_modified, now->last_modified))
        return true;
    return now->owned_at_ms && now->owned_at_ms == old->owned_at_ms;
}

/* The name of the content: the old one, or a new one. */
static int name_content(struct export_run *x, struct job_access *a, bool same, struct err *e)
{
    char fresh[UUID_LEN];
    if (same) {
        memcpy(a->identity, x->old->identity, sizeof a->identity);
        return 0;
    }
    int r = crypto_uuid(fresh, e);
    if (r < 0)
        return r;
    snprintf(a->identity, sizeof a->identity, "content %s", fresh);
    if (x->old)
        log_warning("the disk is not what it was when its download began", KI("disk", x->index));
    return 0;
}

static int keep(struct export_run *x, struct job_access *a, bool same, struct err *e)
{
    int r = name_content(x, a, same, e);
    return r < 0 ? r : job_access_put(x->t->db, x->t->job->id, x->index, a, e);
}

/* Disks of 4096-byte sectors are exported as VHDX. Of a snapshot Azure need not say which sectors it has: then its answer tells. */
static int begin_access(struct export_run *x, const struct compute_disk *d, struct compute_access *ret, struct err *e)
{
    struct compute_access_options o = {.duration_s = duration_s(x), .vhdx = exportable_is_vhdx(d)};
    int r = compute_begin_access(x->arm, d->id, &o, ret, e);
    if (r == -ERR_UPSTREAM_FINAL && strstr(e->msg, "fileFormat")) {
        o.vhdx = !o.vhdx;
        r = compute_begin_access(x->arm, d->id, &o, ret, e);
    }
    return r;
}

static int grant(struct export_run *x, const struct compute_disk *d, enum access_kind kind, struct err *e)
{
    AUTO(compute_access_free) struct compute_access got = {0};
    struct job_access a = {.kind = kind, .ident = d->id, .owned_at_ms = d->owned_at_ms,
                           .bearer = str_ieq(d->data_access_auth_mode, "AzureActiveDirectory")};
    int64_t row;
    int r = export_intend(x, x->index, "sas", d->id, NULL, &row, e);
    if (r < 0 || (r = begin_access(x, d, &got, e)) < 0)
        return r;
    snprintf(a.unique_id, sizeof a.unique_id, "%s", d->unique_id);
    a.url = got.sas;
    a.expires_at_ms = got.expires_at_ms;
    /* The host of disks need not be within this host's reach when Azure copies from it. */
    if ((!x->spec->via.url && (r = look(x, &a, e)) < 0) || (r = keep(x, &a, x->old && is_same(x->old, &a), e)) < 0)
        return r;
    return export_borrowed(x, x->index, "sas", d->id, row, e);
}

/* The disk itself, or a snapshot of it: the one that an earlier run took, else one that is taken now when the VM runs. */
static int choose(struct export_run *x, struct compute_disk **ret, enum access_kind *ret_kind, struct err *e)
{
    AUTO(compute_vm_free_ptr) struct compute_vm *vm = NULL;
    AUTO(compute_disk_free_ptr) struct compute_disk *disk = NULL, *snapshot = NULL;
    int r = export_find_snapshot(x, &snapshot, e);
    if (r < 0)
        return r;
    if (!snapshot) {
        if ((r = compute_disk_get(x->arm, x->target->id, &disk, e)) < 0) {
            if (r != -ERR_NOT_FOUND)
                return r;
            e->code = ERR_SOURCE_NOT_FOUND;
            err_hint(e, "The disk is gone from Azure.");
            return -ERR_SOURCE_NOT_FOUND;
        }
        if (x->spec->type == SOURCE_VM && (r = compute_vm_get(x->arm, x->spec->id, &vm, e)) < 0 && r != -ERR_NOT_FOUND)
            return r;
        if (!exportable_needs_snapshot(vm, disk)) {
            *ret = STEAL(disk);
            *ret_kind = ACCESS_DISK;
            return 0;
        }
        if ((r = export_take_snapshots(x, e)) < 0 || (r = export_find_snapshot(x, &snapshot, e)) < 0)
            return r;
        if (!snapshot)
            return err_set(e, ERR_UPSTREAM, "%s: its snapshot was taken and is gone", x->target->name);
    }
    if ((r = export_wait_filled(x, snapshot->id, e)) < 0)
        return r;
    *ret = STEAL(snapshot);
    *ret_kind = ACCESS_SNAPSHOT;
    return 0;
}

static int access_managed(struct export_run *x, struct err *e)
{
    for (unsigned i = 1;; i++) {
        AUTO(compute_disk_free_ptr) struct compute_disk *d = NULL;
        enum access_kind kind = ACCESS_DISK;
        int r = choose(x, &d, &kind, e);
        if (r == 0)
            r = grant(x, d, kind, e);
        bool moved = (r == -ERR_WRONG_STATE && kind == ACCESS_DISK) || (r == -ERR_NOT_FOUND && kind == ACCESS_SNAPSHOT);
        if (!moved || i == TRIES)
            return r;
        log_err(LOG_LEVEL_INFO, "access is asked for once more", e);
        if ((r = task_run_sleep(x->t, 500 * i, e)) < 0)
            return r;
    }
}

/* ---- the other ways ---- */

static int access_unmanaged(struct export_run *x, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    AUTO_FREE char *blob = NULL, *time = NULL;
    AUTO_SECRET char *url = NULL;
    int r = export_take_snapshots(x, e);
    if (r < 0 || (r = export_row(x, x->index, "blob_snapshot", &blob, &time, e)) < 0)
        return r;
    if (!time)
        return err_set(e, ERR_INTERNAL, "the time of the snapshot of %s is not written down", blob);
    if (!(url = page_blob_snapshot_url(blob, time)))
        return err_oom(e);
    struct source_place p = {.url = url, .credential = x->spec->storage_credential ? x->spec->storage_credential : x->spec->credential};
    struct job_access a = {.kind = ACCESS_BLOB_SNAPSHOT, .url = url, .ident = url};
    struct blob_info info;
    if ((r = disk_source_open_at(&x->env, &p, &s, e)) < 0 || (r = blob_head(disk_source_blob(s), &info, e)) < 0)
        return r;
    return keep(x, &a, x->old && x->old->kind == a.kind && !strcmp(x->old->ident, url), e);
}

/* The disk's content as a blob of the user's. Access to the disk is needed until Azure has copied it, and ends then. */
static int access_copy(struct export_run *x, struct err *e)
{
    AUTO_FREE char *url = export_copy_url(x->t, x->index);
    if (!url)
        return err_oom(e);
    bool there = false;
    int r = export_copy(x, NULL, &there, e);
    for (unsigned i = 1; r == 0 && !there; i++) {
        AUTO(job_access_free_ptr) struct job_access *sas = NULL;
        job_access_free(STEAL(x->old));              /* the copy is whole or it is begun again: which content it was does not matter */
        if ((r = access_managed(x, e)) < 0 || (r = job_access_get(x->t->db, x->t->job->id, x->index, &sas, e)) < 0)
            return r;
        r = export_copy(x, sas->url, &there, e);
        if (r == -ERR_SAS_EXPIRED && i < TRIES)
            r = 0;
    }
    if (r < 0)
        return r;
    struct job_access a = {.kind = ACCESS_BLOB, .url = url, .ident = url};
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    struct blob_info info;
    if ((r = export_open_copy(x, &s, e)) < 0 || (r = blob_head(disk_source_blob(s), &info, e)) < 0)
        return r;
    snprintf(a.etag, sizeof a.etag, "%s", info.etag);
    snprintf(a.last_modified, sizeof a.last_modified, "%s", info.last_modified);
    bool same = x->old && x->old->kind == a.kind && !strcmp(x->old->etag, a.etag) && !strcmp(x->old->last_modified, a.last_modified);
    if ((r = keep(x, &a, same, e)) < 0)
        return r;
    export_give_back(x->t, x->index, EXPORT_BEHIND_COPY);
    return 0;
}

/* ---- from outside ---- */

static bool is_good(const struct job_access *a)
{
    return a && a->url && (!a->expires_at_ms || a->expires_at_ms - clock_now_ms() > FRESH_MS);
}

int export_access(struct task_run *t, unsigned disk, bool again, struct err *e)
{
    AUTO(export_close) struct export_run x;
    int r = export_open(t, disk, &x, e);
    if (r < 0 || (!again && is_good(x.old)))
        return r;
    if (!x.target->id)
        return access_unmanaged(&x, e);
    return x.spec->via.url ? access_copy(&x, e) : access_managed(&x, e);
}

int export_prepare(struct task_run *t, unsigned disk, struct err *e)
{
    if (t->job->disks[disk].origin != disk || t->job->disks[disk].spec.type != SOURCE_VM)
        return 0;
    AUTO(export_close) struct export_run x;
    AUTO(compute_vm_free_ptr) struct compute_vm *vm = NULL;
    int r = export_open(t, disk, &x, e);
    if (r < 0 || (!x.arm && (r = task_arm_open(t, x.spec->credential, &x.arm, e)) < 0) || (r = compute_vm_get(x.arm, x.spec->id, &vm, e)) < 0)
        return r;
    if (x.spec->deallocate && vm->power != POWER_DEALLOCATED) {
        task_run_event(t, "vm_deallocating", json_pack("{s:s, s:s}", "name", vm->name, "power", compute_power_name(vm->power)));
        if ((r = compute_vm_deallocate(x.arm, x.spec->id, e)) < 0)
            return r;
        task_run_event(t, "vm_deallocated", json_pack("{s:s}", "name", vm->name));
        vm->power = POWER_DEALLOCATED;
    }
    bool unmanaged = !x.target->id;
    return vm->power == POWER_DEALLOCATED && !unmanaged ? 0 : export_take_snapshots(&x, e);
}

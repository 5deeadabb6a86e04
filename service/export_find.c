/* What the entries of a request that are in Azure stand for, and whether it may be brought here: preflight's part of an export. */
#include "service/export.h"
#include "service/volumes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/arm_id.h"
#include "common/log.h"
#include "storage/azure/exportable.h"

#define REGION_MAX 64
#define DISK_RATE ((uint64_t)60 << 20)               /* bytes a second that Azure gives of one disk */

/* One entry, as Azure describes it. */
struct entry {
    unsigned origin;
    const struct spec_disk *spec;
    struct compute_vm *vm;                           /* NULL: a disk or snapshot alone */
    struct compute_disk *disks[COMPUTE_VM_DISKS_MAX];
    size_t n;
};

struct finding {
    struct task_run *t;
    char region[REGION_MAX];                         /* of this host; "": not known */
    struct entry entry;
    struct job_target targets[SPEC_DISKS_MAX];       /* their strings are copies */
    struct job_found found[SPEC_DISKS_MAX];
    size_t n;
    struct strbuf left_out;                          /* names of the disks that there is no room for */
};

static void entry_clear(struct entry *x)
{
    compute_vm_free(x->vm);
    for (size_t i = 0; i < x->n; i++)
        compute_disk_free(x->disks[i]);
    *x = (struct entry){0};
}

static void finding_clear(struct finding *f)
{
    entry_clear(&f->entry);
    strbuf_free(&f->left_out);
    for (size_t i = 0; i < f->n; i++) {
        free(f->targets[i].name);
        free(f->targets[i].id);
        free(f->targets[i].url);
        free(f->targets[i].location);
    }
}

/* ---- reading ---- */

static bool wanted(const struct entry *x, const struct compute_vm_disk *v)
{
    return v->os || x->spec->data_disks;
}

static int missing(struct err *e)
{
    if (e->code == ERR_NOT_FOUND) {
        e->code = ERR_SOURCE_NOT_FOUND;
        err_hint(e, "Check the id; `vmrecover azure vms` lists what this credential may see.");
    }
    return -(int)e->code;
}

static int read_vm(struct entry *x, struct arm *arm, struct err *e)
{
    int r = compute_vm_get(arm, x->spec->id, &x->vm, e);
    if (r < 0)
        return missing(e);
    for (size_t i = 0; i < x->vm->n_disks && x->n < COMPUTE_VM_DISKS_MAX; i++) {
        const struct compute_vm_disk *v = &x->vm->disks[i];
        if (!v->id || !wanted(x, v))
            continue;
        r = compute_disk_get(arm, v->id, &x->disks[x->n], e);
        if (r == 0)
            x->n++;
        else if (e->code != ERR_NOT_FOUND && e->code != ERR_CREDENTIAL)    /* these: the rules name it */
            return r;
    }
    return 0;
}

static int read_entry(struct finding *f, struct arm *arm, struct err *e)
{
    struct entry *x = &f->entry;
    if (x->spec->type == SOURCE_VM)
        return read_vm(x, arm, e);
    int r = compute_disk_get(arm, x->spec->id, &x->disks[0], e);
    if (r < 0)
        return missing(e);
    x->n = 1;
    return 0;
}

/* ---- judging ---- */

/* What is worth knowing is told; what stands in the way is the error, the first with its way out. */
static int judge(struct finding *f, struct err *e)
{
    const struct entry *x = &f->entry;
    const struct exportable_question q = {.vm = x->vm, .disks = (const struct compute_disk *const *)x->disks, .n = x->n,
                                          .data_disks = x->spec->data_disks, .inside_azure = *f->region};
    struct exportable all;
    int r = exportable_judge(&q, &all, e);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        const struct exportable_reason *why = &all.reasons[i];
        AUTO_FREE char *detail = str_printf("%s%s%s", why->disk ? why->disk : "", why->disk ? ": " : "", why->detail);
        if (!detail)
            r = err_oom(e);
        else if (why->weight == EXPORTABLE_NOTE)
            task_run_event(f->t, "preflight_note", json_pack("{s:s, s:s, s:s}", "check", why->code, "detail", detail, "remedy", why->remedy));
        else
            source_warn(f->t, why->code, detail, why->remedy);
    }
    for (size_t i = 0; r == 0 && i < all.n; i++)
        if (all.reasons[i].weight == EXPORTABLE_BLOCKED) {
            const struct exportable_reason *why = &all.reasons[i];
            const char *name = why->disk ? why->disk : x->vm ? x->vm->name : "";
            r = err_set(e, ERR_NOT_EXPORTABLE, "%s%s%s (%s)", name, *name ? ": " : "", why->detail, why->code);
            if (*why->remedy)
                err_hint(e, "%s", why->remedy);
        }
    exportable_free(&all);
    return r;
}

/* Regions are written "westeurope" and "West Europe". */
static bool same_region(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a == ' ')
            a++;
        while (*b == ' ')
            b++;
        char x[2] = {*a, 0}, y[2] = {*b, 0};
        if (!str_ieq(x, y))
            return false;
        if (!*a)
            return true;
    }
}

static void amount(uint64_t bytes, char ret[32])
{
    snprintf(ret, 32, "%.1f GiB", (double)bytes / (double)((uint64_t)1 << 30));
}

static uint64_t sum(const struct finding *f)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < f->n; i++)
        bytes += f->targets[i].size_bytes;
    return bytes;
}

static int judge_regions(struct finding *f, struct err *e)
{
    char text[32], detail[400];
    amount(sum(f), text);
    if (!*f->region) {
        snprintf(detail, sizeof detail,
                 "this host is not in Azure, or its metadata service does not answer: up to %s leave Azure, which it charges for", text);
        source_warn(f->t, "region", detail, "A recovery host in the same region reads without that cost.");
        return 0;
    }
    for (size_t i = 0; i < f->n; i++) {
        const struct job_target *g = &f->targets[i];
        if (!g->location || same_region(g->location, f->region))
            continue;
        snprintf(detail, sizeof detail,
                 "%s is in %s and this host in %s: up to %s would go from region to region, which Azure charges for and which is slower",
                 g->name, g->location, f->region, text);
        if (!f->t->job->spec->allow_cross_region) {
            err_set(e, ERR_CROSS_REGION, "%s", detail);
            return err_hint(e, "Submit with \"allow_cross_region\": true to go on all the same, or use a recovery host in %s.", g->location);
        }
        source_warn(f->t, "region", detail, "Allowed by \"allow_cross_region\".");
        return 0;
    }
    return 0;
}

/* ---- what was found ---- */

static int add_target(struct finding *f, const struct compute_vm_disk *v, const struct compute_disk *d, struct err *e)
{
    const char *name = v && v->name ? v->name : d ? d->name : "";
    if (f->n == SPEC_DISKS_MAX) {
        strbuf_addf(&f->left_out, "%s%s", f->left_out.len ? ", " : "", name);
        return f->left_out.failed ? err_oom(e) : 0;
    }
    struct job_target *g = &f->targets[f->n];
    const char *id = d ? d->id : v ? v->id : NULL, *location = d ? d->location : f->entry.vm ? f->entry.vm->location : NULL;
    *g = (struct job_target){.name = str_dup(name), .id = str_dup(id), .url = id || !v ? NULL : str_dup(v->vhd_url), .location = str_dup(location),
                             .lun = v ? v->lun : -1, .size_bytes = d ? d->size_bytes : v ? v->size_bytes : 0};
    f->found[f->n] = (struct job_found){f->entry.origin, g};
    f->n++;
    return g->name && (g->id || g->url) && (g->location || !location) ? 0 : err_oom(e);
}

static const struct compute_disk *disk_of(const struct entry *x, const struct compute_vm_disk *v)
{
    for (size_t i = 0; v->id && i < x->n; i++)
        if (arm_id_equal(x->disks[i]->id, v->id))
            return x->disks[i];
    return NULL;
}

static int add_targets(struct finding *f, struct err *e)
{
    const struct entry *x = &f->entry;
    int r = 0;
    if (!x->vm)
        return add_target(f, NULL, x->disks[0], e);
    for (size_t i = 0; r == 0 && i < x->vm->n_disks; i++)
        if (wanted(x, &x->vm->disks[i]))
            r = add_target(f, &x->vm->disks[i], disk_of(x, &x->vm->disks[i]), e);
    return r;
}

/* What Azure does not copy into a storage account: an unmanaged disk lies in one already, and data that asks for a token is shown to nobody else. */
static int check_route(const struct entry *x, struct err *e)
{
    if (!x->spec->via.url)
        return 0;
    for (size_t i = 0; i < x->n; i++)
        if (str_ieq(x->disks[i]->data_access_auth_mode, "AzureActiveDirectory")) {
            err_set(e, ERR_NOT_EXPORTABLE, "%s: reading the disk's data needs a Microsoft Entra token, which Azure does not use when it copies",
                    x->disks[i]->name);
            return err_hint(e, "Submit without \"via_storage_account\", or set the disk's data access authentication mode to None.");
        }
    for (size_t i = 0; x->vm && i < x->vm->n_disks; i++)
        if (wanted(x, &x->vm->disks[i]) && !x->vm->disks[i].id) {
            const char *name = x->vm->disks[i].name;
            err_set(e, ERR_NOT_EXPORTABLE, "%s: the disk is a page blob in a storage account already", name ? name : x->vm->name);
            return err_hint(e, "Submit without \"via_storage_account\".");
        }
    return 0;
}

static int find(struct finding *f, unsigned origin, struct err *e)
{
    AUTO(arm_close_ptr) struct arm *arm = NULL;
    entry_clear(&f->entry);
    f->entry.origin = origin;
    f->entry.spec = &f->t->job->spec->disks[origin];
    int r = task_arm_open(f->t, f->entry.spec->credential, &arm, e);
    if (r < 0 || (r = read_entry(f, arm, e)) < 0 || (r = judge(f, e)) < 0 || (r = check_route(&f->entry, e)) < 0)
        return r;
    return add_targets(f, e);
}

static size_t others(const struct spec *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_disks; i++)
        n += !source_is_arm(s->disks[i].type);
    return n;
}

static int check_number(const struct finding *f, struct err *e)
{
    size_t beside = others(f->t->job->spec);
    if (!f->left_out.len && f->n + beside <= SPEC_DISKS_MAX)
        return 0;
    AUTO_STRBUF struct strbuf names = {.max = 300};
    for (size_t i = SPEC_DISKS_MAX - beside; i < f->n; i++)
        strbuf_addf(&names, "%s%s", names.len ? ", " : "", f->targets[i].name);
    strbuf_addf(&names, "%s%s", names.len && f->left_out.len ? ", " : "", f->left_out.len ? f->left_out.data : "");
    err_set(e, ERR_TOO_MANY_DISKS, "a recovered VM takes %d disks; there would be no place for %s", SPEC_DISKS_MAX, names.data ? names.data : "some");
    return err_hint(e, "Submit without \"data_disks\" and name the data disks that matter as entries of type managed_disk, in this job or in jobs of "
                       "their own.");
}

static void tell(const struct finding *f, const uint64_t *free_bytes)
{
    json_t *disks = json_array();
    uint64_t bytes = sum(f), rate = f->t->job->spec->max_bytes_per_second, largest = 0;
    for (size_t i = 0; disks && i < f->n; i++) {
        const struct job_target *g = &f->targets[i];
        json_array_append_new(disks, json_pack("{s:s, s:I, s:s*}", "name", g->name, "size_bytes", (json_int_t)g->size_bytes, "region",
                                               g->location));
        largest = g->size_bytes > largest ? g->size_bytes : largest;
    }
    uint64_t seconds = largest / DISK_RATE, limited = rate ? bytes / rate : 0;    /* disks are read side by side */
    task_run_event(f->t, "preflight_estimate",
                   json_pack("{s:o, s:I, s:I, s:o*, s:s*}", "disks", disks, "bytes_at_most", (json_int_t)bytes, "seconds_at_most",
                             (json_int_t)(limited > seconds ? limited : seconds), "free_bytes", free_bytes ? json_integer((json_int_t)*free_bytes) : NULL, "host_region",
                             *f->region ? f->region : NULL));
    if (free_bytes && bytes > *free_bytes) {
        char all[32], have[32], detail[200];
        amount(bytes, all);
        amount(*free_bytes, have);
        snprintf(detail, sizeof detail, "the disks are %s large and %s are free here; how much of them is in use is known once they are exported",
                 all, have);
        source_warn(f->t, "space", detail, "Free space, or go on: a disk that does not fit stops the job before a byte of it is downloaded.");
    }
}

static int reload(struct task_run *t, struct err *e)
{
    struct job *now;
    int r = job_get(t->db, t->job->id, &now, e);
    if (r < 0)
        return r;
    job_free(t->job);
    t->job = now;
    return 0;
}

int export_resolve(struct task_run *t, struct err *e)
{
    AUTO(finding_clear) struct finding f = {.t = t, .left_out = {.max = 2000}};
    uint64_t free_bytes = 0;
    int r = 0;
    if (others(t->job->spec) == t->job->spec->n_disks)
        return 0;
    azure_host_region(t->d->azure, f.region, sizeof f.region);
    for (unsigned i = 0; r == 0 && i < t->job->spec->n_disks; i++)
        if (source_is_arm(t->job->spec->disks[i].type))
            r = find(&f, i, e);
    if (r < 0 || (r = check_number(&f, e)) < 0 || (r = judge_regions(&f, e)) < 0 || (r = volumes_free_space(t, &free_bytes, e)) < 0)
        return r;
    tell(&f, t->job->spec->volume && !t->job->volume ? NULL : &free_bytes);      /* a volume that is not chosen yet may be of any size */
    if ((r = job_resolve(t->db, t->job->id, f.found, f.n, e)) < 0)
        return r;
    return reload(t, e);
}

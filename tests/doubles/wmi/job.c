/* Msvm_ConcreteJob and Msvm_StorageJob: progress by the clock, effects when due, and their end. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

enum { NEW = 2, STARTING = 3, RUNNING = 4, COMPLETED = 7, TERMINATED = 8, KILLED = 9, EXCEPTION = 10, WARNINGS = 32768 };
#define GONE_MS (5 * 60 * 1000)                        /* TimeBeforeRemoval */

struct job *job_new(struct dbl *d, struct call *c, int64_t takes_ms)
{
    const struct impl *m = c->impl;
    struct job *j = x_calloc(1, sizeof *j);
    j->inst = inst_new(d, WMI_NS_HYPERV, m->flags & IMPL_STORAGE_JOB ? "Msvm_StorageJob" : "Msvm_ConcreteJob");
    char guid[37];
    guid_new(d, guid);
    struct dobj *o = j->inst->o;
    obj_set_str(o, "InstanceID", guid);
    obj_set_str(o, "Name", guid);
    obj_set_str(o, "Caption", word(d, "Job is running"));
    obj_set_uint(o, "JobType", m->job_type);
    obj_set_uint(o, "JobState", NEW);
    obj_set_str(o, "JobStatus", word(d, "Job is running"));
    obj_set_uint(o, "PercentComplete", 0);
    obj_set_bool(o, "Cancellable", (m->flags & IMPL_CANCELLABLE) != 0);
    obj_set_bool(o, "DeleteOnCompletion", false);
    AUTO_FREE char *now = datetime_text(d, now_ms(d)), *removal = interval_text(GONE_MS);
    obj_set_str(o, "StartTime", now);
    obj_set_str(o, "TimeBeforeRemoval", removal);
    inst_enter(d, j->inst);
    j->impl = m;
    j->call = c;
    j->begin_ms = now_ms(d);
    j->end_ms = j->begin_ms + takes_ms;
    j->vm_guid = x_dup(c->vm_guid);
    j->next = d->jobs;
    d->jobs = j;
    struct inst *host = inst_by_key(d, WMI_NS_HYPERV, "Msvm_ComputerSystem", "Name", d->host_name);
    if (host)
        job_affects(d, j, host);
    if (c->vm)
        job_affects(d, j, c->vm->system);
    return j;
}

void job_affects(struct dbl *d, struct job *j, struct inst *i)
{
    struct space *s = space_of(d, WMI_NS_HYPERV);
    if (i->space != s)
        return;
    for (size_t k = 0; k < s->n_links; k++)
        if (s->links[k].a == i && s->links[k].b == j->inst)
            return;
    link_add(d, WMI_NS_HYPERV, "Msvm_AffectedJobElement", "AffectedElement", i, "AffectingElement", j->inst);
}

static void remove_job(struct dbl *d, struct job *j)
{
    struct job **at = &d->jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    inst_remove(d, j->inst);
    call_free(j->call);
    free(j->error_text);
    free(j->vm_guid);
    free(j);
}

static void finish(struct dbl *d, struct job *j)
{
    struct dobj *o = j->inst->o;
    struct call *c = j->call;
    if (c && j->apply_at_end && !j->killed) {
        /* what it is about may have changed meanwhile: looked at anew */
        c->vm = c->vm_guid ? vm_by_guid(d, c->vm_guid) : NULL;
        struct path p;
        c->target = NULL;
        if (c->target_rel && !path_parse(c->target_rel, &p)) {
            c->target = inst_find(d, c->space, &p);
            path_clear(&p);
        }
        c->n_affected = 0;
        if (c->target_rel && !c->target)
            call_fail(c, RET_NOT_FOUND, "The object was not found.");
        else if (j->impl->check && !j->impl->begin) {
            uint32_t refused = j->impl->check(c);
            if (refused)
                call_fail(c, refused, "The virtual machine is not in a valid state to perform the operation.");
        }
        if (!c->error) {
            if (!c->out)
                c->out = obj_params(d, c->class, c->method, true);
            j->impl->apply(c);
        }
        for (size_t i = 0; i < c->n_affected; i++)
            job_affects(d, j, c->affected[i]);
    }
    if (c && c->error) {
        j->failed = true;
        j->error = c->error;
        j->error_text = x_dup(c->error_text);
    }
    if (c && (j->failed || j->killed) && j->hooks && j->impl->failed)
        j->impl->failed(c);
    j->finished = true;
    j->gone_ms = now_ms(d) + GONE_MS;
    if (chance(d, d->o.vanish_per_mille))
        j->polls_left = 1 + rnd(d, 2);
    j->warned = !j->failed && !j->killed && chance(d, d->o.warn_per_mille);
    obj_set_uint(o, "JobState", j->killed ? TERMINATED : j->failed ? EXCEPTION : j->warned ? WARNINGS : COMPLETED);
    obj_set_uint(o, "PercentComplete", j->failed || j->killed ? obj_uint(o, "PercentComplete", 0) : 100);
    obj_set_str(o, "JobStatus", j->failed ? word(d, "The operation failed.") : word(d, "Job is completed"));
    obj_set_uint(o, "ErrorCode", j->failed ? (j->error < 0x10000 ? j->error : RET_FAILED) : 0);
    if (j->failed) {
        obj_set_str(o, "ErrorDescription", j->error_text);
        obj_set_str(o, "ErrorSummaryDescription", word(d, "The operation failed."));
        if (j->error >= 0x80000000u && schema_isa(o->class, "Msvm_StorageJob"))
            obj_set_uint(o, "JobCompletionStatusCode", j->error);
    }
    if (j->vm_guid && (j->impl->flags & IMPL_LOCKS) && vm_by_guid(d, j->vm_guid))
        vm_lock_a_while(d, vm_by_guid(d, j->vm_guid));
    call_free(STEAL(j->call));
}

void jobs_tick(struct dbl *d)
{
    for (struct job *j = d->jobs, *next; j; j = next) {
        next = j->next;
        int64_t now = now_ms(d);
        if (j->finished) {
            if (now >= j->gone_ms)
                remove_job(d, j);
            continue;
        }
        struct dobj *o = j->inst->o;
        int64_t takes = j->end_ms - j->begin_ms, done = now - j->begin_ms;
        AUTO_FREE char *elapsed = interval_text(done);
        obj_set_str(o, "ElapsedTime", elapsed);
        if (now >= j->end_ms) {
            finish(d, j);
            next = d->jobs == j ? j->next : next;
        } else {
            uint64_t percent = takes ? (uint64_t)(done * 100 / takes) : 0;
            obj_set_uint(o, "PercentComplete", percent);
            obj_set_uint(o, "JobState", percent < 5 ? NEW : percent < 10 ? STARTING : RUNNING);
        }
    }
}

void job_seen(struct dbl *d, struct inst *i)
{
    for (struct job *j = d->jobs; j; j = j->next)
        if (j->inst == i && j->finished && j->polls_left && --j->polls_left == 0)
            j->gone_ms = now_ms(d);                    /* gone at the next call */
}

bool job_runs_on(struct dbl *d, const char *vm_guid)
{
    for (const struct job *j = d->jobs; j; j = j->next)
        if (!j->finished && j->vm_guid && str_ieq(j->vm_guid, vm_guid))
            return true;
    return false;
}

void jobs_drop(struct dbl *d, bool running_only)
{
    for (struct job *j = d->jobs, *next; j; j = next) {
        next = j->next;
        if (running_only && !j->finished && j->impl->failed && j->call && j->hooks) {
            struct call *c = j->call;
            c->vm = c->vm_guid ? vm_by_guid(d, c->vm_guid) : NULL;
            if (j->apply_at_end || c->error)           /* not done yet, or bound to fail */
                j->impl->failed(c);
        }
        remove_job(d, j);
    }
}

/* ---- methods of a job ---- */

static struct job *job_of(struct call *c)
{
    struct job *j = c->d->jobs;
    while (j && j->inst != c->target)
        j = j->next;
    return j;
}

static uint32_t get_error_ex(struct call *c)
{
    struct job *j = job_of(c);
    if (!j || !j->failed) {
        obj_set_strs(c->out, "Errors", NULL, 0);
        return 0;
    }
    const struct schema_class *ec = schema_class(c->d->schema, WMI_NS_HYPERV, "Msvm_Error");
    struct dobj *e = obj_new(c->d, ec);
    AUTO_FREE char *id = x_printf("%u", (unsigned)j->error);
    obj_set_str(e, "MessageID", id);
    obj_set_str(e, "Message", j->error_text);
    obj_set_str(e, "ErrorSource", "Microsoft-Windows-Hyper-V-VMMS");
    obj_set_uint(e, "ProbableCause", 0);
    AUTO_FREE char *text = obj_text(e);
    obj_set_strs(c->out, "Errors", (const char *const[]){text}, 1);
    obj_free(e);
    return 0;
}

static uint32_t get_error(struct call *c)
{
    struct job *j = job_of(c);
    if (j && j->failed)
        obj_set_str(c->out, "Error", j->error_text);
    return 0;
}

static uint32_t change_state(struct call *c)
{
    struct job *j = job_of(c);
    uint64_t want = obj_uint(c->in, "RequestedState", 0);
    if (!j || (want != 4 && want != 5))
        return RET_INVALID_PARAMETER;
    if (j->finished || !(j->impl->flags & IMPL_CANCELLABLE) || !j->apply_at_end)
        return RET_INVALID_STATE;
    j->killed = true;
    j->end_ms = now_ms(c->d);
    return 0;
}

const struct impl job_impls[] = {
    {WMI_NS_HYPERV, "CIM_ConcreteJob", "GetErrorEx", IMPL_SYNC | IMPL_VALUE | IMPL_READS, .check = get_error_ex},
    {WMI_NS_HYPERV, "CIM_ConcreteJob", "GetError", IMPL_SYNC | IMPL_VALUE | IMPL_READS, .check = get_error},
    {WMI_NS_HYPERV, "CIM_ConcreteJob", "RequestStateChange", IMPL_SYNC | IMPL_VALUE, .check = change_state},
    {0},
};

/* Methods: found in the tables, checked, and done at once or as a job. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/storage.h"

static const struct impl *const tables[] = {vm_impls,       resource_impls, power_impls,  console_impls, snapshot_impls,
                                            image_impls,    switch_impls,   job_impls,    storage_impls, pool_impls, network_impls};

const struct impl *impl_of(const struct schema_class *c, const char *method)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct impl *i = tables[t]; i->method; i++)
            if (str_ieq(i->method, method) && str_ieq(i->ns, c->ns) && schema_isa(c, i->class))
                return i;
    return NULL;
}

void call_fail(struct call *c, uint32_t code, const char *fmt, ...)
{
    if (c->error)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->error = code;
    /* a facility's code stands in brackets at the end, as in Hyper-V's messages */
    c->error_text = code >= 0x80000000u ? x_printf("%s %s (0x%08X).", word(c->d, "The operation failed."), text, (unsigned)code)
                                        : x_printf("%s %s", word(c->d, "The operation failed."), text);
}

void call_affects(struct call *c, struct inst *i)
{
    for (size_t k = 0; k < c->n_affected; k++)
        if (c->affected[k] == i)
            return;
    if (c->n_affected < ARRAY_LEN(c->affected))
        c->affected[c->n_affected++] = i;
}

void call_out_ref(struct call *c, const char *name, struct inst *i)
{
    AUTO_FREE char *path = inst_path(c->d, i);
    obj_set_str(c->out, name, path);
}

void call_out_refs(struct call *c, const char *name, struct inst **list, size_t n)
{
    char **paths = x_calloc(n + 1, sizeof *paths);
    for (size_t i = 0; i < n; i++)
        paths[i] = inst_path(c->d, list[i]);
    obj_set_strs(c->out, name, (const char *const *)paths, n);
    wmi_strs_free(paths);
}

void call_free(struct call *c)
{
    if (!c)
        return;
    obj_free(c->in);
    obj_free(c->out);
    free(c->error_text);
    free(c->vm_guid);
    free(c->target_rel);
    free(c);
}

static void set_return(struct dobj *out, uint64_t value)
{
    if (out->layout->at[0].type == WMI_BOOLEAN)
        obj_set_bool(out, "ReturnValue", value != 0);
    else
        obj_set_uint(out, "ReturnValue", value);
}

/* Forgets results that a caller of a job does not get to see. */
static void blank_outs(struct dobj *out)
{
    for (size_t i = 1; i < out->layout->n; i++)
        wmi_value_clear(&out->values[i]);
}

/* `refused`: nothing of it happens, the job just says so. */
static uint32_t start_job(struct call *c, uint32_t forced_error, const char *forced_text, bool refused)
{
    struct dbl *d = c->d;
    const struct impl *m = c->impl;
    struct job *j = job_new(d, c, m->min_ms + rnd(d, m->max_ms > m->min_ms ? m->max_ms - m->min_ms : 1));
    c->job = j;
    j->hooks = !refused;
    if (m->begin && !refused)
        m->begin(c);
    struct dobj *out = obj_params(d, c->class, c->method, true);
    bool at_end = (m->flags & IMPL_AT_END) || choose(d, DBL_EFFECT_AT_END);
    if (forced_error) {
        bool half = !refused && (m->flags & IMPL_HALF) && choose(d, DBL_HALF_MADE);
        if (half)
            m->apply(c);
        free(c->error_text);
        c->error = 0;
        c->error_text = NULL;
        call_fail(c, forced_error, "%s", forced_text);
    } else if (at_end) {
        j->apply_at_end = true;
    } else {
        m->apply(c);
        if (!c->error && choose(d, DBL_OUTS_WITH_JOB)) {
            obj_free(out);
            out = obj_clone(c->out);
        }
    }
    for (size_t i = 0; i < c->n_affected; i++)
        job_affects(d, j, c->affected[i]);
    call_out_ref(&(struct call){.d = d, .out = out}, "Job", j->inst);
    set_return(out, RET_ASYNC);
    obj_free(c->out);
    c->out = out;
    return RET_ASYNC;
}

static bool wants_job(struct dbl *d, const struct impl *m)
{
    if (m->flags & IMPL_SYNC)
        return false;
    return (m->flags & IMPL_JOB) || d->o.jobs == DBL_EVER || (d->o.jobs == DBL_MAYBE && rnd(d, 2));
}

static uint32_t run(struct call *c, uint32_t forced_return, uint32_t forced_job_error)
{
    struct dbl *d = c->d;
    const struct impl *m = c->impl;
    if (forced_return)
        return forced_return;
    uint32_t refused = m->check ? m->check(c) : 0;
    if (m->flags & IMPL_VALUE)
        return refused;
    if (c->vm)
        c->vm_guid = x_dup(c->vm->guid);
    if (!refused && (m->flags & IMPL_LOCKS) && c->vm && vm_is_locked(d, c->vm))
        refused = RET_INVALID_STATE;
    bool may_job = !(m->flags & IMPL_SYNC);
    if (refused == RET_INVALID_STATE && may_job && choose(d, DBL_STATE_AS_JOB))
        return start_job(c, RET_INVALID_STATE, "The virtual machine is not in a valid state to perform the operation.", true);
    if (refused)
        return refused;
    if (forced_job_error && may_job)
        return start_job(c, forced_job_error, "An unexpected error occurred.", false);
    if (wants_job(d, m))
        return start_job(c, 0, NULL, false);
    m->apply(c);
    if ((m->flags & IMPL_LOCKS) && c->vm_guid && vm_by_guid(d, c->vm_guid))
        vm_lock_a_while(d, vm_by_guid(d, c->vm_guid));
    if (!c->error)
        return 0;
    if (!may_job) {
        blank_outs(c->out);
        return c->error < 0x10000 ? c->error : RET_FAILED;
    }
    uint32_t code = c->error;                          /* what goes wrong in the middle comes as a job */
    AUTO_FREE char *text = STEAL(c->error_text);
    c->error = 0;
    uint32_t r = start_job(c, code, "", false);
    free(c->error_text);
    c->error_text = STEAL(text);
    return r;
}

uint32_t call_run(struct dbl *d, struct space *s, struct inst *target, const struct schema_class *class, const struct schema_method *m,
                  struct dobj *in, uint32_t forced_return, uint32_t forced_job_error, struct dobj **ret)
{
    const struct impl *impl = impl_of(class, m->name);
    if (!impl) {
        host_unmodelled(d, "method %s.%s of %s", class->name, m->name, class->ns);
        return WMI_E_NOT_SUPPORTED;
    }
    struct call *c = x_calloc(1, sizeof *c);
    *c = (struct call){.d = d, .space = s, .target = target, .class = class, .method = m, .impl = impl};
    c->target_rel = target ? x_dup(target->rel) : NULL;
    c->in = in ? obj_clone(in) : obj_params(d, class, m, false);
    c->out = obj_params(d, class, m, true);
    uint32_t value = run(c, forced_return, forced_job_error);
    if (value != 0 && value != RET_ASYNC && !(impl->flags & IMPL_VALUE))
        blank_outs(c->out);
    set_return(c->out, value);
    *ret = STEAL(c->out);
    if (!c->job)                                       /* a job keeps it */
        call_free(c);
    return 0;
}

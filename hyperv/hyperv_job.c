/* Calls of methods. A method of Hyper-V is done at once (0), starts a job (4096), or refuses. Three layers must be fine: the call itself (HRESULT),
 * its ReturnValue, and the job's end. Finished jobs live for some minutes, and all vanish when VMMS restarts.
 *
 * A VM whose settings were changed just now refuses the next change for a moment (32775): such calls are repeated within limits. */
#include <string.h>

#include "common/log.h"
#include "hyperv/hyperv.h"

#define POLL_MIN_MS 100u
#define POLL_MAX_MS 1000u
#define RETRIES 10
#define RETRY_MS 1000u                                 /* the first time; then longer, up to RETRY_MAX_MS */
#define RETRY_MAX_MS 5000u
#define END_MS 30000                                   /* for a job that was told to end */
#define QUIET_MS 60000
#define RESTART_MS 15000                               /* VMMS answers again */
#define VANISHED "job_vanished"
#define JOB_TYPE_MERGE 50

enum { JOB_COMPLETED = 7, JOB_TERMINATED = 8, JOB_KILLED = 9, JOB_EXCEPTION = 10, JOB_WARNINGS = 32768 };

void hyperv_call_clear(struct hyperv_call *c)
{
    wmi_object_free(c->in);
    *c = (struct hyperv_call){0};
}

int hyperv_prepare_at(struct hyperv *h, const char *class_name, const char *path, const char *method, const char *what, const struct wmi_wait *w,
                      struct hyperv_call *ret, struct err *e)
{
    struct wmi *wmi;
    int r = what ? hyperv_wmi(h, w, &wmi, e) : err_oom(e);            /* `what` is formatted by every caller */
    if (r == 0)
        r = wmi_method(wmi, class_name, method, w, &ret->in, e);
    if (r == 0) {
        ret->path = path;
        ret->method = method;
        ret->what = what;
    }
    return r;
}

int hyperv_prepare(struct hyperv *h, enum hyperv_service s, const char *method, const char *what, const struct wmi_wait *w, struct hyperv_call *ret,
                   struct err *e)
{
    const char *path;
    int r = hyperv_service(h, s, w, &path, e);
    return r < 0 ? r : hyperv_prepare_at(h, hyperv_service_class(s), path, method, what, w, ret, e);
}

void hyperv_result_clear(struct hyperv_result *r)
{
    wmi_object_free(r->out);
    free(r->job);
    *r = (struct hyperv_result){0};
}

bool hyperv_uncertain(const struct err *e)
{
    return wmi_was_cut_off(e) || !strcmp(e->upstream.code, VANISHED);
}

/* Jobs that change VMs, of anybody: merging disks and other storage jobs take long, and nothing here waits for them. */
static bool all_quiet(struct hyperv *h, bool *ret_asked)
{
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    struct wmi_rows rows = {0};
    struct err ignored;
    bool quiet = true;
    *ret_asked = hyperv_query(h, &w, &rows, &ignored, "SELECT InstanceID,JobState,JobType FROM Msvm_ConcreteJob") == 0;
    if (!*ret_asked)
        return false;
    for (size_t i = 0; i < rows.n; i++) {
        AUTO_FREE char *class_name = wmi_str(rows.at[i], "__CLASS");
        if (class_name && str_ieq(class_name, "Msvm_ConcreteJob") && wmi_uint(rows.at[i], "JobType", 0) != JOB_TYPE_MERGE &&
            wmi_uint(rows.at[i], "JobState", JOB_COMPLETED) < JOB_COMPLETED)
            quiet = false;
    }
    wmi_rows_clear(&rows);
    return quiet;
}

void hyperv_quiet(struct hyperv *h)
{
    int64_t began = hyperv_now(h);
    bool asked = false;
    while (!all_quiet(h, &asked) && hyperv_now(h) - began < (asked ? QUIET_MS : RESTART_MS))
        h->p.host->sleep_ms(h->p.host_arg, POLL_MAX_MS);
}

bool hyperv_again(struct hyperv *h, const struct err *e)
{
    if (!hyperv_uncertain(e))
        return false;
    hyperv_quiet(h);
    return true;
}

static bool finished(uint64_t state)
{
    return (state >= JOB_COMPLETED && state <= JOB_EXCEPTION) || state == JOB_WARNINGS;
}

/* The job's own words: GetErrorEx has more than ErrorDescription where there is a chain of errors. */
static char *words_of(struct hyperv *h, struct wmi *wmi, const char *path, const struct wmi_object *job, const struct wmi_wait *w)
{
    struct err ignored;
    AUTO(wmi_object_free_ptr) struct wmi_object *errors = NULL, *in = NULL, *out = NULL;
    AUTO(wmi_strs_free_ptr) char **list = NULL;
    const char *service;
    char *words = wmi_str(job, "ErrorDescription");
    if (wmi_exec_read(wmi, path, "GetErrorEx", NULL, w, &errors, &ignored) < 0 || !errors || !(list = wmi_strs(errors, "Errors")) || !list[0])
        return words;
    size_t n = 0;
    while (list[n])
        n++;
    if (hyperv_service(h, HYPERV_VMS, w, &service, &ignored) < 0 ||
        wmi_method(wmi, hyperv_service_class(HYPERV_VMS), "FormatError", w, &in, &ignored) < 0 || !in ||
        wmi_put_strs(in, "Errors", (const char *const *)list, n, &ignored) < 0 ||
        wmi_exec_read(wmi, service, "FormatError", in, w, &out, &ignored) < 0 || !out)
        return words;
    char *formatted = wmi_str(out, "ErrorMessage");
    if (!formatted || !*formatted || (words && hyperv_code_in(words) && !hyperv_code_in(formatted))) {
        free(formatted);
        return words;
    }
    free(words);
    return formatted;
}

static int failed(struct hyperv *h, struct wmi *wmi, const char *path, const struct wmi_object *job, uint64_t state, const char *what,
                  const struct wmi_wait *w, struct err *e)
{
    AUTO_FREE char *words = words_of(h, wmi, path, job, w);
    uint32_t code = hyperv_code_in(words);
    if (!code)
        code = (uint32_t)wmi_uint(job, "ErrorCode", 0);
    if (!code)
        code = 32768;
    if (state == JOB_TERMINATED || state == JOB_KILLED) {
        err_set(e, ERR_VM, "%s: the job was ended by somebody else", what);
        snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
        return err_hint(e, "Try again.");
    }
    return hyperv_fail(e, code, words, "%s", what);
}

static void end_job(struct hyperv *h, struct wmi *wmi, const char *path, const struct wmi_object *job)
{
    struct err ignored;
    struct wmi_wait w = hyperv_wait(h, HYPERV_CALL_MS, false);
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    if (!wmi_bool(job, "Cancellable", false))
        return;
    AUTO_FREE char *class_name = wmi_str(job, "__CLASS");
    if (!class_name || wmi_method(wmi, class_name, "RequestStateChange", &w, &in, &ignored) < 0 || !in ||
        wmi_put_uint(in, "RequestedState", 4, &ignored) < 0 || wmi_exec(wmi, path, "RequestStateChange", in, &w, NULL, &ignored) < 0)
        return;
    for (int64_t deadline = hyperv_now(h) + END_MS; hyperv_now(h) < deadline;) {
        AUTO(wmi_object_free_ptr) struct wmi_object *now = NULL;
        if (wmi_get(wmi, path, &w, &now, &ignored) < 0 || finished(wmi_uint(now, "JobState", 0)))
            return;
        h->p.host->sleep_ms(h->p.host_arg, POLL_MIN_MS);
    }
}

static int vanished(const char *what, struct err *e)
{
    err_set(e, ERR_UPSTREAM, "%s: Hyper-V's job is gone, so its result is not known", what);
    snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
    snprintf(e->upstream.code, sizeof e->upstream.code, "%s", VANISHED);
    return -ERR_UPSTREAM;
}

static int wait_for_job(struct hyperv *h, const struct hyperv_call *c, const char *path, const struct wmi_wait *w, struct err *e)
{
    int64_t deadline = hyperv_now(h) + (c->job_ms ? c->job_ms : HYPERV_JOB_MS);
    struct wmi_wait firm = hyperv_wait(h, w->timeout_ms, false);        /* a stop ends the job, not the look at it */
    struct wmi *wmi;
    int r = hyperv_wmi(h, &firm, &wmi, e);
    if (r < 0)
        return r;
    for (unsigned pause = POLL_MIN_MS;; pause = pause * 3 / 2 > POLL_MAX_MS ? POLL_MAX_MS : pause * 3 / 2) {
        AUTO(wmi_object_free_ptr) struct wmi_object *job = NULL;
        r = wmi_get(wmi, path, &firm, &job, e);
        if (r == -ERR_NOT_FOUND)
            return vanished(c->what, e);
        if (r < 0 && e->code != ERR_TIMEOUT && e->code != ERR_UNREACHABLE && e->code != ERR_UPSTREAM)
            return r;
        if (r == 0) {
            uint64_t state = wmi_uint(job, "JobState", 0);
            if (c->progress)
                c->progress(c->progress_arg, (unsigned)wmi_uint(job, "PercentComplete", 0));
            if (state == JOB_WARNINGS) {
                AUTO_FREE char *words = wmi_str(job, "ErrorDescription");
                log_warning("Hyper-V completed a job with warnings", KS("call", c->method), KS("words", words ? words : ""));
            }
            if (state == JOB_COMPLETED || state == JOB_WARNINGS)
                return 0;
            if (finished(state))
                return failed(h, wmi, path, job, state, c->what, &firm, e);
        }
        if (hyperv_now(h) > deadline) {
            if (job)
                end_job(h, wmi, path, job);
            err_set(e, ERR_TIMEOUT, "%s: Hyper-V's job did not end within %u s", c->what, (c->job_ms ? c->job_ms : HYPERV_JOB_MS) / 1000);
            snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
            return -ERR_TIMEOUT;
        }
        r = hyperv_sleep(h, w, pause, e);
        if (r < 0) {
            if (job)
                end_job(h, wmi, path, job);
            return r;
        }
    }
}

/* One attempt. */
static int invoke(struct hyperv *h, const struct hyperv_call *c, const struct wmi_wait *w, struct hyperv_result *ret, struct err *e)
{
    struct wmi *wmi;
    int r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = wmi_exec(wmi, c->path, c->method, c->in, w, &ret->out, e);
    if (r < 0)
        return err_prefix(e, "%s", c->what);
    if (!ret->out)
        return hyperv_fail(e, 32771, NULL, "%s", c->what);
    uint64_t value = wmi_uint(ret->out, "ReturnValue", 32771);
    if (value == 0)
        return 0;
    if (value != HYPERV_STARTED)
        return hyperv_fail(e, (uint32_t)value, NULL, "%s", c->what);
    ret->job = wmi_str(ret->out, "Job");
    if (!ret->job)
        return vanished(c->what, e);
    return wait_for_job(h, c, ret->job, w, e);
}

int hyperv_invoke(struct hyperv *h, const struct hyperv_call *c, const struct wmi_wait *w, struct hyperv_result *ret, struct err *e)
{
    int r = 0;
    for (unsigned attempt = 0, pause = RETRY_MS; attempt <= RETRIES; attempt++) {
        struct hyperv_result result = {0};
        r = invoke(h, c, w, &result, e);
        if (r == 0 && ret)
            *ret = result;
        else
            hyperv_result_clear(&result);
        if (r == 0 || c->once || hyperv_code(e) != HYPERV_INVALID_STATE || attempt == RETRIES)
            return r;
        struct err why = *e;
        if ((r = hyperv_sleep(h, w, pause, e)) < 0)
            return r;
        log_debug("Hyper-V is asked again", KS("call", c->method), KS("because", why.msg));
        pause = pause * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : pause * 2;
    }
    return r;
}

static char *first_text(const struct wmi_object *out, const char *param)
{
    char *one = wmi_str(out, param);
    if (one)
        return one;
    char **list = wmi_strs(out, param);
    if (list && list[0]) {
        one = list[0];
        list[0] = NULL;
        for (size_t i = 1; list[i]; i++)
            free(list[i]);
        free(list);
        return one;
    }
    wmi_strs_free(list);
    return NULL;
}

int hyperv_made(struct hyperv *h, const struct hyperv_result *r, const char *param, const char *class_name, const struct wmi_wait *w, char **ret,
                struct err *e)
{
    *ret = r->out ? first_text(r->out, param) : NULL;
    if (*ret)
        return 0;
    if (!r->job)
        return err_set(e, ERR_NOT_FOUND, "Hyper-V did not say what it made (%s)", param);
    struct wmi_rows rows = {0};
    int status = hyperv_query(h, w, &rows, e, "ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_AffectedJobElement", r->job);
    for (size_t i = 0; status == 0 && !*ret && i < rows.n; i++) {       /* a mix of what was made, the VM, its settings and the host */
        AUTO_FREE char *class_of = wmi_str(rows.at[i], "__CLASS");
        if (!class_of || !str_ieq(class_of, class_name))
            continue;
        AUTO_FREE char *name = str_ieq(class_name, "Msvm_ComputerSystem") ? wmi_str(rows.at[i], "Name") : NULL;
        bool host = str_ieq(class_name, "Msvm_ComputerSystem") && !(name && hyperv_is_guid(name));
        if (!host)
            status = wmi_path(rows.at[i], ret, e);
    }
    wmi_rows_clear(&rows);
    if (status == 0 && !*ret)
        status = err_set(e, ERR_NOT_FOUND, "Hyper-V's job does not lead to what it made (%s)", class_name);
    return status;
}

#include "hyperv/role.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/log.h"

#define FREE_MS 20000

/* The first is the role. The others come with it, and are asked for by name where somebody had left them out: the clients of Windows have the hypervisor
 * and the services apart, the servers what runs in an online system. Tools for people are none of our business. */
static const char *const features[] = {
    "Microsoft-Hyper-V", "Microsoft-Hyper-V-Hypervisor", "Microsoft-Hyper-V-Services", "Microsoft-Hyper-V-Online",
};

/* ---- what servicing answers ---- */

#define RESTART 3010u                                  /* ERROR_SUCCESS_REBOOT_REQUIRED; comes bare, and inside of an HRESULT */
#define RIGHTS "Run it elevated: in a terminal that was opened with \"Run as administrator\", or by the service, which is SYSTEM."
#define SOURCE "Let this host reach Windows Update, or install the feature from a medium of this Windows: " \
               "dism /online /enable-feature /all /featurename:Microsoft-Hyper-V /source:D:\\sources\\sxs"
#define STORE "Repair Windows' component store (dism /online /cleanup-image /restorehealth), then try again."

static const struct answer {
    uint32_t hresult;
    enum err_code code;
    const char *what, *hint;
} answers[] = {
    {0x800F0902, ERR_WRONG_STATE, "Windows installs something else right now", "Wait until that is done (Windows Update, another installation), then try again."},
    {0x800F0806, ERR_WRONG_STATE, "Windows waits for a restart to finish an installation", "Restart the host, then try again."},
    {0x800F0821, ERR_WRONG_STATE, "Windows' servicing gave the operation up", "Restart the host, then try again."},
    {0x800F080C, ERR_UNSUPPORTED, "this Windows does not know the feature", "Use Windows Server, or a Pro, Enterprise or Education edition."},
    {0xC004000D, ERR_UPSTREAM_FINAL, "a feature above it is not enabled", "Enable it by hand: dism /online /enable-feature /all /featurename:Microsoft-Hyper-V"},
    {0x800F081F, ERR_UPSTREAM_FINAL, "its files are not on this host", SOURCE},
    {0x800F0906, ERR_UPSTREAM_FINAL, "its files could not be downloaded", SOURCE},
    {0x800F0907, ERR_UPSTREAM_FINAL, "a policy forbids to download its files", SOURCE},
    {0x800F0954, ERR_UPSTREAM_FINAL, "this host's update server does not have its files", SOURCE},
    {0x80070005, ERR_PERMISSION, "this account may not do that", RIGHTS},
    {0x800702E4, ERR_PERMISSION, "this account may not do that", RIGHTS},
    {0x80070522, ERR_PERMISSION, "this account may not do that", RIGHTS},
    {0x80070422, ERR_UPSTREAM_FINAL, "a service that it needs is disabled", "Enable the service TrustedInstaller (Windows Modules Installer), then try again."},
    {0x80070070, ERR_DISK_FULL, "the system's volume is full", "Free space on the system's volume, then try again."},
    {0x800F0831, ERR_UPSTREAM_FINAL, "Windows' component store is damaged", STORE},
    {0x80073712, ERR_UPSTREAM_FINAL, "Windows' component store is damaged", STORE},
    {0x800704C7, ERR_CANCELLED, "it was cancelled", "Start it again."},
    {0x80004004, ERR_CANCELLED, "it was cancelled", "Start it again."},
};

bool role_succeeded(uint32_t hresult, bool *ret_restart)
{
    *ret_restart = (hresult & 0xFFFF) == RESTART;
    return !(hresult & 0x80000000u) || *ret_restart;
}

int role_fail(struct err *e, uint32_t hresult, const char *words, const char *doing, const char *feature)
{
    const struct answer *a = NULL;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (answers[i].hresult == hresult)
            a = &answers[i];
    bool said = words && *words;
    char other[160];
    snprintf(other, sizeof other, "%s", said ? words : "Windows' servicing refused");
    err_set(e, a ? a->code : ERR_UPSTREAM_FINAL, "cannot %s%s%s: %s (0x%08X)", doing, *feature ? " " : "", feature, a ? a->what : other, (unsigned)hresult);
    e->os_code = (long)(int32_t)hresult;
    snprintf(e->upstream.service, sizeof e->upstream.service, "dism");
    snprintf(e->upstream.code, sizeof e->upstream.code, "0x%08X", (unsigned)hresult);
    return err_hint(e, "%s", a ? a->hint : "Windows' own log says more: %windir%\\Logs\\DISM\\dism.log.");
}

/* ---- enabling ---- */

struct share {                                         /* of one feature in the whole */
    role_progress_fn *progress;
    void *arg;
    size_t i, n;
};

static void on_percent(void *arg, unsigned percent)
{
    const struct share *s = arg;
    s->progress(s->arg, (unsigned)((s->i * 100 + (percent < 100 ? percent : 100)) / s->n));
}

static int enable_in(const struct role_ops *ops, void *session, role_progress_fn *progress, void *progress_arg, enum hv_role_state *ret, struct err *e)
{
    enum role_feature state[ARRAY_LEN(features)];
    struct share share = {.progress = progress, .arg = progress_arg};
    bool restart = false;
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        int r = ops->look(session, features[i], &state[i], e);
        if (r < 0)
            return r;
        if (i == 0 && state[i] == ROLE_NO_FEATURE) {
            err_set(e, ERR_UNSUPPORTED, "this Windows has no feature %s", features[i]);
            return err_hint(e, "Use Windows Server, or a Pro, Enterprise or Education edition.");
        }
        share.n += state[i] == ROLE_OFF;
        restart = restart || state[i] == ROLE_PENDING;
    }
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        if (state[i] != ROLE_OFF)
            continue;
        bool later = false;
        int r = i ? ops->look(session, features[i], &state[i], e) : 0;       /* the role may have brought it */
        if (r == 0 && state[i] == ROLE_OFF)
            r = ops->enable(session, features[i], on_percent, &share, &later, e);
        if (r < 0)
            return r;
        restart = restart || later || state[i] == ROLE_PENDING;
        share.i++;
        on_percent(&share, 0);
    }
    *ret = restart ? HV_ROLE_RESTART_NEEDED : HV_ROLE_ENABLED;
    return 0;
}

int role_enable(const struct role_ops *ops, void *arg, role_progress_fn *progress, void *progress_arg, enum hv_role_state *ret, struct err *e)
{
    void *session;
    int r = ops->open(arg, &session, e);
    if (r < 0)
        return r;
    r = enable_in(ops, session, progress, progress_arg, ret, e);
    ops->close(session);
    return r;
}

/* ---- in the background ---- */

struct role {
    const struct role_ops *ops;                        /* NULL: no servicing here */
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    pthread_t thread;                                  /* all that follows under lock */
    bool started, running, cancelled;
    void *session;                                     /* while one is open */
    struct hv_role now;
};

static void percent_is(void *arg, unsigned percent)
{
    struct role *r = arg;
    pthread_mutex_lock(&r->lock);
    if (percent > r->now.percent)                      /* it never goes back */
        r->now.percent = percent;
    pthread_mutex_unlock(&r->lock);
}

/* The session that role_free may cancel. */
static void note_session(struct role *r, void *session)
{
    pthread_mutex_lock(&r->lock);
    r->session = session;
    if (session && r->cancelled)
        r->ops->cancel(session);
    pthread_mutex_unlock(&r->lock);
}

static void *run(void *arg)
{
    struct role *r = arg;
    struct hv_role end = {0};
    void *session;
    log_context(NULL, "enable_hyperv");
    log_info("enabling Hyper-V");
    int failed = r->ops->open(r->arg, &session, &end.error);
    if (failed == 0) {
        note_session(r, session);
        failed = enable_in(r->ops, session, percent_is, r, &end.state, &end.error);
        note_session(r, NULL);
        r->ops->close(session);
    }
    if (failed < 0) {
        end.state = HV_ROLE_FAILED;
        log_err(LOG_LEVEL_ERROR, "Hyper-V was not enabled", &end.error);
    } else if (end.state == HV_ROLE_RESTART_NEEDED) {
        log_warning("Hyper-V is enabled from the next restart of the host on");
    } else {
        log_info("Hyper-V is enabled");
    }
    log_context(NULL, NULL);
    pthread_mutex_lock(&r->lock);
    r->now = end;
    r->running = false;
    pthread_cond_broadcast(&r->ended);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct role *role_new(const struct role_ops *ops, void *arg)
{
    struct role *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->ops = ops;
    r->arg = arg;
    pthread_mutex_init(&r->lock, NULL);
    cond_init(&r->ended);
    return r;
}

void role_free(struct role *r)
{
    if (!r)
        return;
    int64_t until = clock_mono_ms() + FREE_MS;
    pthread_mutex_lock(&r->lock);
    r->cancelled = true;
    if (r->session)
        r->ops->cancel(r->session);
    while (r->running && cond_wait_until(&r->ended, &r->lock, until))
        ;
    bool left = r->running, started = r->started;
    pthread_mutex_unlock(&r->lock);
    if (left)                                          /* its thread still uses it */
        return;
    if (started)
        pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->ended);
    free(r);
}

static int start_locked(struct role *r, struct err *e)
{
    if (r->running) {
        err_set(e, ERR_WRONG_STATE, "Hyper-V is being enabled already, %u %% are done", r->now.percent);
        return err_hint(e, "Wait for its end: GET /v1/host tells it under `role`.");
    }
    if (r->started)
        pthread_join(r->thread, NULL);                 /* it has nothing left to do */
    struct hv_role before = r->now;
    r->now = (struct hv_role){.state = HV_ROLE_ENABLING};
    int os = pthread_create(&r->thread, NULL, run, r);
    r->started = r->running = os == 0;
    if (os)
        r->now = before;
    return os ? err_os(e, ERR_OOM, os, "no thread can be started") : 0;
}

int role_start(struct role *r, struct err *e)
{
    if (!r->ops)
        return err_set(e, ERR_UNSUPPORTED, "there is no role to enable on this host");
    pthread_mutex_lock(&r->lock);
    int failed = start_locked(r, e);
    pthread_mutex_unlock(&r->lock);
    return failed;
}

bool role_get(struct role *r, struct hv_role *ret)
{
    pthread_mutex_lock(&r->lock);
    *ret = r->now;
    pthread_mutex_unlock(&r->lock);
    return ret->state != HV_ROLE_UNAVAILABLE;
}

/* Enabling Hyper-V: what is enabled and in which order, what each answer of Windows' servicing means, the task in the background, the driver above it, and
 * `vmrecoverd setup`. Servicing is a table here; tests/windows/role.test.mjs has the shipped service on a DISM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "common/clock.h"
#include "hyperv/role.h"
#include "service/commands.h"
#include "tests/unit/hyperv_rig.h"

#define FEATURES 4
static const char *const names[FEATURES] = {"Microsoft-Hyper-V", "Microsoft-Hyper-V-Hypervisor", "Microsoft-Hyper-V-Services", "Microsoft-Hyper-V-Online"};

/* ---- servicing ---- */

struct servicing {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum role_feature features[FEATURES];
    bool restart;                                      /* what is enabled is on from the next restart */
    bool brings;                                       /* the role brings the others */
    bool hold;                                         /* enabling waits until it is false, or cancelled */
    unsigned holding, calls, fail_at, open, opened, enabled;
    bool cancelled;
    char order[FEATURES * 32];
};

static struct servicing servicing(void)
{
    return (struct servicing){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .features = {ROLE_OFF}};
}

static int counted(struct servicing *s, const char *doing, const char *feature, struct err *e)
{
    return ++s->calls == s->fail_at ? role_fail(e, 0x800F0902, NULL, doing, feature) : 0;
}

static int fake_open(void *arg, void **ret, struct err *e)
{
    struct servicing *s = arg;
    pthread_mutex_lock(&s->lock);
    assert_int_equal(s->open, 0);                      /* one at a time */
    int r = counted(s, "open this Windows", "", e);
    s->open += r == 0;
    s->opened += r == 0;
    s->cancelled = false;
    pthread_mutex_unlock(&s->lock);
    *ret = s;
    return r;
}

static void fake_close(void *session)
{
    struct servicing *s = session;
    pthread_mutex_lock(&s->lock);
    assert_int_equal(s->open, 1);
    s->open = 0;
    pthread_mutex_unlock(&s->lock);
}

static size_t at(const char *feature)
{
    for (size_t i = 0; i < FEATURES; i++)
        if (!strcmp(names[i], feature))
            return i;
    fail_msg("'%s' is not asked for", feature);
    return 0;
}

static int fake_look(void *session, const char *feature, enum role_feature *ret, struct err *e)
{
    struct servicing *s = session;
    pthread_mutex_lock(&s->lock);
    int r = counted(s, "look at", feature, e);
    *ret = s->features[at(feature)];
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int fake_enable(void *session, const char *feature, role_progress_fn *progress, void *progress_arg, bool *ret_restart, struct err *e)
{
    struct servicing *s = session;
    pthread_mutex_lock(&s->lock);
    int r = counted(s, "enable", feature, e);
    pthread_mutex_unlock(&s->lock);
    if (r < 0)
        return r;
    progress(progress_arg, 0);
    progress(progress_arg, 40);
    pthread_mutex_lock(&s->lock);
    s->holding++;
    pthread_cond_broadcast(&s->changed);
    while (s->hold && !s->cancelled)
        pthread_cond_wait(&s->changed, &s->lock);
    s->holding--;
    r = s->cancelled ? role_fail(e, 0x800704C7, NULL, "enable", feature) : 0;
    size_t i = at(feature);
    assert_int_equal(s->features[i], ROLE_OFF);        /* nothing is enabled twice */
    for (size_t k = 0; r == 0 && k < FEATURES; k++)
        if (k == i || (s->brings && i == 0 && s->features[k] == ROLE_OFF))
            s->features[k] = s->restart ? ROLE_PENDING : ROLE_ON;
    s->enabled += r == 0;
    snprintf(s->order + strlen(s->order), sizeof s->order - strlen(s->order), "%zu", i);
    *ret_restart = s->restart;
    pthread_mutex_unlock(&s->lock);
    if (r == 0)
        progress(progress_arg, 100);
    return r;
}

static void fake_cancel(void *session)
{
    struct servicing *s = session;
    pthread_mutex_lock(&s->lock);
    assert_int_equal(s->open, 1);                      /* never one that is closed */
    s->cancelled = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static const struct role_ops ops = {.open = fake_open, .close = fake_close, .look = fake_look, .enable = fake_enable, .cancel = fake_cancel};

static void hold(struct servicing *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    s->hold = on;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void wait_holding(struct servicing *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->holding)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* ---- enabling ---- */

struct seen { unsigned last, times; };

static void on_progress(void *arg, unsigned percent)
{
    struct seen *seen = arg;
    assert_true(percent <= 100 && percent >= seen->last);
    seen->last = percent;
    seen->times++;
}

/* Whatever is on, off, pending or unknown before: afterwards all that this Windows has is on or pending, the role came first, and nothing was asked for
 * that was there. */
static void every_state(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 256 * 4; bits++) {
        struct servicing s = servicing();
        struct seen seen = {0};
        struct err e;
        enum hv_role_state end = HV_ROLE_UNAVAILABLE;
        bool off = false, pending = false;
        for (size_t i = 0; i < FEATURES; i++) {
            s.features[i] = (enum role_feature)(bits >> 2 * i & 3);
            off = off || s.features[i] == ROLE_OFF;
            pending = pending || s.features[i] == ROLE_PENDING;
        }
        s.restart = bits >> 8 & 1;
        s.brings = bits >> 9 & 1;
        bool known = s.features[0] != ROLE_NO_FEATURE, first_off = s.features[0] == ROLE_OFF;
        int r = role_enable(&ops, &s, on_progress, &seen, &end, &e);
        assert_int_equal(r, known ? 0 : -ERR_UNSUPPORTED);
        assert_int_equal(s.open, 0);
        if (!known) {
            assert_int_equal(s.enabled, 0);
            assert_true(e.hint[0]);
            continue;
        }
        assert_int_equal(end, pending || (off && s.restart) ? HV_ROLE_RESTART_NEEDED : HV_ROLE_ENABLED);
        assert_int_equal(s.enabled != 0, off);
        assert_int_equal(seen.last, off ? 100 : 0);
        for (size_t i = 0; i < FEATURES; i++)
            assert_true(s.features[i] != ROLE_OFF);
        if (first_off)
            assert_int_equal(s.order[0], '0');
    }
}

/* Each call in turn fails: the error comes through, and the session is closed. */
static void every_failure(void **state)
{
    (void)state;
    unsigned n = 0;
    for (bool failed = true; failed;) {
        struct servicing s = servicing();
        struct seen seen = {0};
        struct err e = {0};
        enum hv_role_state end = HV_ROLE_UNAVAILABLE;
        for (size_t i = 0; i < FEATURES; i++)
            s.features[i] = ROLE_OFF;
        s.fail_at = ++n;
        failed = role_enable(&ops, &s, on_progress, &seen, &end, &e) < 0;
        assert_int_equal(failed, s.calls == n && end == HV_ROLE_UNAVAILABLE);
        assert_int_equal(s.open, 0);
        if (failed)
            assert_string_equal(e.upstream.code, "0x800F0902");
    }
    assert_int_equal(n, 1 + FEATURES + FEATURES - 1 + FEATURES + 1);
}

static void answers(void **state)
{
    (void)state;
    static const struct { uint32_t hresult; enum err_code code; const char *hint; } cases[] = {
        {0x800F0902, ERR_WRONG_STATE, "Wait"}, {0x800F080C, ERR_UNSUPPORTED, "edition"}, {0xC004000D, ERR_UPSTREAM_FINAL, "/all"},
        {0x800F0806, ERR_WRONG_STATE, "Restart"}, {0x800F081F, ERR_UPSTREAM_FINAL, "/source"}, {0x800F0906, ERR_UPSTREAM_FINAL, "/source"},
        {0x800F0907, ERR_UPSTREAM_FINAL, "/source"}, {0x800F0954, ERR_UPSTREAM_FINAL, "/source"}, {0x80070005, ERR_PERMISSION, "elevated"},
        {0x800702E4, ERR_PERMISSION, "elevated"}, {0x80070422, ERR_UPSTREAM_FINAL, "TrustedInstaller"}, {0x80070070, ERR_DISK_FULL, "Free space"},
        {0x80073712, ERR_UPSTREAM_FINAL, "restorehealth"}, {0x800704C7, ERR_CANCELLED, "again"}, {0x80004005, ERR_UPSTREAM_FINAL, "dism.log"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        char code[16];
        bool restart;
        snprintf(code, sizeof code, "0x%08X", (unsigned)cases[i].hresult);
        assert_false(role_succeeded(cases[i].hresult, &restart));
        assert_int_equal(role_fail(&e, cases[i].hresult, "Die Quelle fehlt.", "enable the feature", names[0]), -(int)cases[i].code);
        assert_non_null(strstr(e.msg, code));
        assert_non_null(strstr(e.msg, names[0]));
        assert_non_null(strstr(e.hint, cases[i].hint));
        assert_string_equal(e.upstream.code, code);
        assert_string_equal(e.upstream.service, "dism");
    }
    struct err e;
    role_fail(&e, 0x80004005, "Die Quelle fehlt.", "enable the feature", names[0]);
    assert_non_null(strstr(e.msg, "Die Quelle fehlt."));
    role_fail(&e, 0x80004005, NULL, "open this Windows", "");
    assert_non_null(strstr(e.msg, "open this Windows: "));
    static const struct { uint32_t hresult; bool restart; } good[] = {{0, false}, {1, false}, {3010, true}, {0x80070BC2, true}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        bool restart = !good[i].restart;
        assert_true(role_succeeded(good[i].hresult, &restart));
        assert_int_equal(restart, good[i].restart);
    }
}

/* ---- in the background ---- */

static struct hv_role ended(struct role *r)
{
    struct hv_role now;
    for (int i = 0; i < 1000; i++) {
        assert_true(role_get(r, &now));
        if (now.state != HV_ROLE_ENABLING)
            return now;
        clock_sleep_ms(10);
    }
    fail_msg("it does not end");
    return now;
}

static void in_the_background(void **state)
{
    (void)state;
    struct servicing s = servicing();
    struct hv_role now;
    struct err e;
    struct role *r = role_new(&ops, &s);
    assert_false(role_get(r, &now));
    s.features[0] = ROLE_OFF;
    s.restart = s.hold = true;
    OK(role_start(r, &e));
    wait_holding(&s);
    assert_true(role_get(r, &now));
    assert_int_equal(now.state, HV_ROLE_ENABLING);
    assert_int_equal(now.percent, 40);
    assert_int_equal(role_start(r, &e), -ERR_WRONG_STATE);
    assert_non_null(strstr(e.msg, "40 %"));
    hold(&s, false);
    assert_int_equal(ended(r).state, HV_ROLE_RESTART_NEEDED);
    OK(role_start(r, &e));                             /* once more changes nothing */
    assert_int_equal(ended(r).state, HV_ROLE_RESTART_NEEDED);
    assert_int_equal(s.enabled, 1);
    s.features[0] = ROLE_OFF;
    s.fail_at = s.calls + 1;
    OK(role_start(r, &e));
    now = ended(r);
    assert_int_equal(now.state, HV_ROLE_FAILED);
    assert_int_equal(now.error.code, ERR_WRONG_STATE);
    s.restart = false;
    OK(role_start(r, &e));                             /* a failure is not the end */
    now = ended(r);
    assert_int_equal(now.state, HV_ROLE_ENABLED);
    assert_int_equal(now.error.code, ERR_OK);
    role_free(r);
    assert_int_equal(s.open, 0);
}

/* The daemon stops: what goes on is cancelled, at whatever point, and nothing of it is left. */
static void stopped(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct servicing s = servicing();
        struct err e;
        s.features[0] = ROLE_OFF;
        s.hold = i % 2;
        struct role *r = role_new(&ops, &s);
        OK(role_start(r, &e));
        if (i % 4 == 1)
            wait_holding(&s);
        role_free(r);
        assert_int_equal(s.open, 0);
        assert_int_equal(s.opened, 1);
        if (i % 4 == 1)
            assert_int_equal(s.features[0], ROLE_OFF);
    }
    role_free(NULL);
    struct role *none = role_new(NULL, NULL);
    struct err e;
    assert_int_equal(role_start(none, &e), -ERR_UNSUPPORTED);
    role_free(none);
}

/* ---- the driver ---- */

static struct host_facts host;                         /* what processor and registry say */
static void facts(void *arg, struct host_facts *ret)
{
    (void)arg;
    *ret = host;
}
static bool runs(void *arg)
{
    (void)arg;
    return host.root;
}

static struct hv_role role_of(struct rig *g, enum hv_check_status row)
{
    struct hv_check rows[16];
    struct hv_role role;
    size_t n = hv_report(g->hv, rows, ARRAY_LEN(rows), &role), seen = 0;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rows[i].check, "hyperv_role")) {
            assert_int_equal(rows[i].status, row);
            seen++;
        }
    assert_int_equal(seen, 1);
    return role;
}

static struct hv_role role_when_done(struct rig *g)
{
    struct hv_role role = role_of(g, HV_CHECK_FAILED);
    for (int i = 0; i < 1000 && role.state == HV_ROLE_ENABLING; i++) {
        clock_sleep_ms(10);
        role = role_of(g, HV_CHECK_FAILED);
    }
    return role;
}

static void by_the_driver(void **state)
{
    (void)state;
    struct servicing s = servicing();
    struct err e;
    struct dbl_options o = rig_calm();
    o.no_role = true;
    struct rig *g = rig_new(&o);
    struct hyperv_host_ops mine = dbl_host_ops;
    mine.facts = facts;
    mine.hypervisor_runs = runs;
    host = (struct host_facts){.cpu_known = true, .hypervisor = true, .vendor = "Microsoft Hv"};
    g->platform.host = &mine;
    rig_reopen(g);
    assert_int_equal(role_of(g, HV_CHECK_FAILED).state, HV_ROLE_DISABLED);
    assert_int_equal(hv_role_enable(g->hv, true, &e), -ERR_UNSUPPORTED);     /* no servicing */
    g->platform.role = &ops;
    g->platform.role_arg = &s;
    rig_reopen(g);

    s.features[0] = ROLE_OFF;
    s.restart = s.hold = true;
    assert_int_equal(hv_role_enable(g->hv, false, &e), -ERR_WRONG_STATE);
    assert_non_null(strstr(e.msg, "nested virtualization"));
    assert_non_null(strstr(e.hint, "In Azure: resize"));
    assert_int_equal(role_of(g, HV_CHECK_FAILED).state, HV_ROLE_DISABLED);
    OK(hv_role_enable(g->hv, true, &e));
    wait_holding(&s);
    struct hv_role role = role_of(g, HV_CHECK_FAILED);
    assert_int_equal(role.state, HV_ROLE_ENABLING);
    assert_int_equal(role.percent, 40);
    assert_int_equal(hv_role_enable(g->hv, false, &e), -ERR_WRONG_STATE);
    assert_non_null(strstr(e.msg, "already"));
    hold(&s, false);
    assert_int_equal(role_when_done(g).state, HV_ROLE_RESTART_NEEDED);
    rig_free(g);

    o.no_role = false;                                 /* after the restart */
    g = rig_new(&o);
    g->platform.host = &mine;
    g->platform.role = &ops;
    g->platform.role_arg = &s;
    host.root = true;
    rig_reopen(g);
    assert_int_equal(role_of(g, HV_OK).state, HV_ROLE_ENABLED);
    host.root = false;                                 /* without one, though Windows waits for it */
    host.reboot_known = host.reboot_pending = host.nested = true;
    assert_int_equal(role_of(g, HV_CHECK_FAILED).state, HV_ROLE_RESTART_NEEDED);
    rig_free(g);

    o.no_role = true;
    g = rig_new(&o);
    g->platform.host = &mine;
    g->platform.role = &ops;
    g->platform.role_arg = &s;
    host = (struct host_facts){.cpu_known = true, .nested = true};
    rig_reopen(g);
    s.features[0] = ROLE_OFF;
    s.fail_at = s.calls + 1;
    OK(hv_role_enable(g->hv, false, &e));
    role = role_when_done(g);
    assert_int_equal(role.state, HV_ROLE_FAILED);
    assert_string_equal(role.error.upstream.code, "0x800F0902");
    rig_free(g);
}

/* ---- vmrecoverd setup ---- */

static void by_setup(void **state)
{
    (void)state;
    struct servicing s = servicing();
    struct hyperv_host_ops mine = {.hypervisor_runs = runs, .facts = facts};
    struct hyperv_platform p = {.host = &mine, .role = &ops, .role_arg = &s};
    host = (struct host_facts){.cpu_known = true};
    s.features[0] = ROLE_OFF;
    s.restart = true;
    assert_int_equal(command_setup_on(&p, false), 1);  /* the processor's virtualization is off */
    assert_int_equal(s.opened, 0);
    host.nested = true;
    assert_int_equal(command_setup_on(&p, false), 3);
    assert_int_equal(s.enabled, 1);
    assert_int_equal(command_setup_on(&p, false), 3);  /* still due */
    s.features[0] = ROLE_ON;                           /* as if restarted, with hypervisorlaunchtype off */
    assert_int_equal(command_setup_on(&p, false), 1);
    host.reboot_known = host.reboot_pending = true;    /* or with another restart due */
    assert_int_equal(command_setup_on(&p, false), 3);
    host = (struct host_facts){.cpu_known = true, .root = true};
    assert_int_equal(command_setup_on(&p, false), 0);
    assert_int_equal(s.enabled, 1);
    s.features[0] = ROLE_NO_FEATURE;
    assert_int_equal(command_setup_on(&p, false), 1);
    s.features[0] = ROLE_OFF;
    s.restart = false;
    host = (struct host_facts){.cpu_known = true};
    assert_int_equal(command_setup_on(&p, true), 1);   /* forced; and no VM can run */
    assert_int_equal(s.features[0], ROLE_ON);
    s.fail_at = s.calls + 1;
    assert_int_equal(command_setup_on(&p, true), 1);
    p.role = NULL;
    assert_int_equal(command_setup_on(&p, true), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_state), cmocka_unit_test(every_failure), cmocka_unit_test(answers),
                                       cmocka_unit_test(in_the_background), cmocka_unit_test(stopped), cmocka_unit_test(by_the_driver),
                                       cmocka_unit_test(by_setup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The whole life of a VM on hosts where everything goes by chance, with random faults at random calls, and with the daemon dying at any call. What
 * must hold at every moment: never two VMs for one job, never a VM touched that is not ours, every failure with words and a way on; and in the
 * end the host as it was. SOAK=1 runs the full counts, HYPERV_SEED=N one run alone, with the last calls when it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/unit/hyperv_rig.h"

#define TRIES 14                                       /* of a step; from CALM_AFTER on without faults */
#define CALM_AFTER 8

static const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};

static void quiet(const struct log_entry *entry)
{
    (void)entry;
}

static unsigned from_environment(const char *name, unsigned def)
{
    const char *s = getenv(name);
    unsigned long long v;
    return s && str_to_u64(s, 100000000, &v) ? (unsigned)v : def;
}

static bool soak(void)
{
    const char *s = getenv("SOAK");
    return s && !strcmp(s, "1");
}

struct storm {
    struct rig *g;
    struct scenario s;
    char *image, *further, *iso, *hash, *before, *foreign;
    unsigned seed;
    struct dbl_fault death;
};

static void storm_new(struct storm *t, unsigned seed)
{
    struct dbl_options o = dbl_wild(dbl_schema(builds[seed % 3]), seed);
    bool nat = seed % 7 == 0 && !o.no_nat;
    t->seed = seed;
    t->g = rig_new(&o);
    t->image = rig_image(t->g, "os", HV_VHDX);
    t->further = seed % 2 ? rig_image(t->g, "data", HV_VHDX) : NULL;
    t->iso = rig_iso(t->g, "rescue");
    t->hash = rig_hash(t->image);
    const char *other = dbl_foreign_vm(t->g->d, "web01", "vmrecover", 1 + seed % 2, seed % 3 == 0);
    if (seed % 5 == 2)                                 /* somebody else's merge, which takes its hours */
        dbl_vm_job(t->g->d, other, 50, 3u * 60 * 60 * 1000);
    t->before = dbl_dump(t->g->d, DBL_ALL);
    t->foreign = dbl_dump(t->g->d, DBL_FOREIGN);
    t->s = rig_scenario(t->g, 1 + seed / 3 % 2, t->image, HV_VHDX, t->further, t->iso);
    t->s.network = nat ? "nat" : "none";
}

static void storm_free(struct storm *t)
{
    free(t->image);
    free(t->further);
    free(t->iso);
    free(t->hash);
    free(t->before);
    free(t->foreign);
}

/* The last calls across the seam. */
static void tell_calls(struct storm *t)
{
    AUTO_FREE char *log = dbl_log(t->g->d);
    size_t n = log ? strlen(log) : 0;
    const char *guid = dbl_vm_guid(t->g->d, 0);
    if (n)
        fprintf(stderr, "%s\nEnabledState %u\n", log, guid ? dbl_vm_state(t->g->d, guid) : 0);
}

/* Lines of `a` that are not in `b`. */
static void tell_lines(const char *sign, const char *a, const char *b)
{
    AUTO_FREE char *copy = str_dup(a);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (!strstr(b, line))
            fprintf(stderr, "%s %s\n", sign, line);
}

static void must_be_same(struct storm *t, const char *what, const char *now, const char *before)
{
    if (!strcmp(now, before))
        return;
    tell_lines("-", before, now);
    tell_lines("+", now, before);
    fail_msg("seed %u: %s", t->seed, what);
}

/* What holds at every moment. */
static void invariants(struct storm *t, const char *step)
{
    size_t n = dbl_vms(t->g->d, false);
    if (n > 1)
        fail_msg("seed %u, %s: %zu VMs for one job", t->seed, step, n);
    AUTO_FREE char *foreign = dbl_dump(t->g->d, DBL_FOREIGN);
    must_be_same(t, "what is not ours was changed", foreign, t->foreign);
}

static void failure_is_told(struct storm *t, const char *step, int r, const struct err *e)
{
    if (e->code != (enum err_code)-r || !e->msg[0] || !str_is_utf8(e->msg, strlen(e->msg)) ||
        (!err_hint_text(e)[0] && !err_info(r)->retryable))
        fail_msg("seed %u, %s: a failure without words: %d, '%s'", t->seed, step, r, e->msg);
}

static void all_is_as_before(struct storm *t)
{
    struct rig *g = t->g;
    struct err e;
    struct os_stat st;
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL), *hash = rig_hash(t->image), *folder = rig_path(g, "data/vms/%s", t->s.id);
    if (strcmp(after, t->before))
        tell_calls(t);
    must_be_same(t, "the host is not as it was", after, t->before);
    assert_string_equal(hash, t->hash);
    OK(os_stat(folder, &st, &e));
    assert_false(st.exists);
}

/* One step until it succeeds. */
static void weather(struct storm *t, const struct scenario_step *step, unsigned per_mille)
{
    struct err e = {0};
    int r = -1;
    if ((step->needs & hv_capabilities(t->g->hv)) != step->needs)
        return;
    for (unsigned i = 0; r < 0 && i < TRIES; i++) {
        dbl_fault_rate(t->g->d, i < CALM_AFTER ? per_mille : 0);
        memset(&e, 0, sizeof e);
        r = step->run(&t->s, &e);
        dbl_fault_rate(t->g->d, 0);
        invariants(t, step->name);
        if (r < 0) {
            failure_is_told(t, step->name, r, &e);
            dbl_pass(t->g->d, 30000);                  /* the queue's back-off */
        }
    }
    if (r < 0)
        tell_calls(t);
    if (r < 0)
        fail_msg("seed %u: %s never succeeds: %s (%s, %s)", t->seed, step->name, e.msg, e.upstream.service, e.upstream.code);
}

static void faults(void **state)
{
    (void)state;
    unsigned one = from_environment("HYPERV_SEED", 0), n = soak() ? 1000 : 40, fired = 0;
    for (unsigned seed = one ? one : 1; seed <= (one ? one : n); seed++) {
        struct storm t = {0};
        storm_new(&t, seed);
        if (one)
            dbl_log_on(t.g->d);
        for (size_t i = 0; i < scenario_n_steps; i++)
            weather(&t, &scenario_steps[i], 20 + seed % 4 * 20);
        fired += dbl_faults_fired(t.g->d);
        all_is_as_before(&t);
        rig_free(t.g);
        storm_free(&t);
    }
    assert_true(fired > n / 2 || one);                 /* the weather was bad indeed */
}

/* ---- the daemon dies ---- */

static sem_t frozen, never;

/* Instead of the call: this thread does nothing any more, as a process that was killed. What it holds is never released. */
static void freeze(void *arg)
{
    (void)arg;
    sem_post(&frozen);
    for (;;)
        sem_wait(&never);
}

/* The double knows the thread that made it: that one dies. */
static void *live(void *arg)
{
    struct storm *t = arg;
    storm_new(t, t->seed);
    dbl_on_kill(t->g->d, freeze, NULL);
    dbl_fault_add(t->g->d, &t->death);
    for (size_t i = 0; i < scenario_n_steps; i++) {
        struct err e = {0};
        for (unsigned k = 0; k < TRIES && scenario_steps[i].run(&t->s, &e) < 0; k++)
            dbl_pass(t->g->d, 30000);
    }
    sem_post(&frozen);
    return NULL;
}

static void *abandoned[4096];                          /* keeps what a frozen thread held in reach */
static size_t n_abandoned;

/* A new daemon after a death at the nth call: the job's next try finds or makes its VM, and its end removes it. False: there was no nth call. */
static bool dies_at(unsigned seed, unsigned at, bool after)
{
    struct storm *t = calloc(1, sizeof *t);
    t->seed = seed;
    t->death = (struct dbl_fault){.kind = after ? DBL_KILL_AFTER : DBL_KILL, .at = at};
    pthread_t thread;
    pthread_attr_t small;
    struct err e;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, (size_t)1 << 20);
    assert_int_equal(pthread_create(&thread, &small, live, t), 0);
    pthread_attr_destroy(&small);
    while (sem_wait(&frozen))
        ;
    struct rig *g = t->g;
    bool died = dbl_faults_fired(g->d) > 0;
    dbl_faults_clear(g->d);
    if (!died) {
        pthread_join(thread, NULL);
        all_is_as_before(t);
        rig_free(g);
        storm_free(t);
        free(t);
        return false;
    }
    pthread_detach(thread);
    struct hv *dead = g->hv;
    struct scenario s = t->s;                          /* as the queue knows the job */
    rig_open(g);
    s.hv = g->hv;
    dbl_pass(g->d, 60000);
    invariants(t, "after a death");
    bool deleting = seed % 4 == 0;                     /* some jobs are deleted at once */
    for (size_t i = 0; i < 2 && !deleting; i++) {
        int r = scenario_steps[0].run(&s, &e);         /* create: it may run, and then it is not off */
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        if (r < 0 && hv_vm_get(g->hv, s.id, &vm, &e) < 0)
            fail_msg("seed %u, call %u: no VM after a death: %s", seed, at, e.msg);
        invariants(t, "created after a death");
        assert_int_equal(dbl_vms(g->d, false), 1);
    }
    if (!deleting && hv_vm_start(g->hv, s.id, &e) < 0)
        fail_msg("seed %u, call %u: it does not start after a death: %s", seed, at, e.msg);
    OK(hv_vm_delete(g->hv, s.id, &e));
    dbl_pass(g->d, 600000);
    AUTO_FREE char *rest = dbl_dump(g->d, DBL_ALL);
    must_be_same(t, "after a death something stays", rest, t->before);
    hv_close(g->hv);
    g->hv = dead;
    OK(os_remove_tree(g->dir, &e));
    dbl_free(STEAL(g->d));                             /* the frozen thread will not come back to it */
    assert_true(n_abandoned < ARRAY_LEN(abandoned));
    abandoned[n_abandoned++] = t;
    return true;
}

static void deaths(void **state)
{
    (void)state;
    unsigned n = soak() ? 1000 : 30, died = 0;
    if (from_environment("HYPERV_SEED", 0))
        return;
    sem_init(&frozen, 0, 0);
    sem_init(&never, 0, 0);
    for (unsigned seed = 1; seed <= n; seed++) {
        unsigned at = 1 + seed * 2654435761u % 900;    /* a life has some hundreds of calls */
        died += dies_at(seed, at, seed % 2);
    }
    assert_true(died > n / 4);
}

int main(void)
{
    log_set_sink(quiet);
    const struct CMUnitTest tests[] = {cmocka_unit_test(faults), cmocka_unit_test(deaths)};
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    if (abandoned[0])
        _exit(r);                                      /* threads that never end hold what they hold */
    return r;
}

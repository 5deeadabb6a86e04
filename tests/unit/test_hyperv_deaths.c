/* The daemon dies at any call to WMI, before it or after it, on hosts where everything goes by chance. A new one finds what is there: the job goes on
 * with one VM, starts it, and removes it without a trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <semaphore.h>
#include <string.h>

#include "tests/unit/hyperv_storm.h"

#pragma weak __lsan_disable                            /* there in sanitizer builds alone */

/* ThreadSanitizer asks for it: threads of daemons that died are left for ever. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0";
}

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
    if (__lsan_disable)
        __lsan_disable();                              /* what this thread makes is lost with it; test_hyperv_storm.c looks for leaks */
    storm_new(t, t->seed);
    dbl_on_kill(t->g->d, freeze, NULL);
    dbl_fault_add(t->g->d, &t->death);
    for (size_t i = 0; i < scenario_n_steps; i++) {
        struct err e = {0};
        for (unsigned k = 0; k < STORM_TRIES && scenario_steps[i].run(&t->s, &e) < 0; k++)
            dbl_pass(t->g->d, STORM_BACK_OFF_MS);
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
        storm_all_is_as_before(t);
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
    storm_invariants(t, "after a death");
    bool deleting = seed % 4 == 0;                     /* some jobs are deleted at once */
    for (size_t i = 0; i < 2 && !deleting; i++) {
        int r = scenario_steps[0].run(&s, &e);         /* create: it may run, and then it is not off */
        AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
        if (r < 0 && hv_vm_get(g->hv, s.id, &vm, &e) < 0)
            fail_msg("seed %u, call %u: no VM after a death: %s", seed, at, e.msg);
        storm_invariants(t, "created after a death");
        assert_int_equal(dbl_vms(g->d, false), 1);
    }
    if (!deleting && hv_vm_start(g->hv, s.id, &e) < 0)
        fail_msg("seed %u, call %u: it does not start after a death: %s", seed, at, e.msg);
    OK(hv_vm_delete(g->hv, s.id, &e));
    dbl_pass(g->d, 600000);
    AUTO_FREE char *rest = dbl_dump(g->d, DBL_ALL);
    storm_must_be_same(t, "after a death something stays", rest, t->before);
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
    unsigned n = storm_soak() ? 1000 : 30, died = 0;
    sem_init(&frozen, 0, 0);
    sem_init(&never, 0, 0);
    for (unsigned seed = 1; seed <= n; seed++) {
        unsigned at = 1 + seed * 2654435761u % 900;    /* a life has some hundreds of calls */
        died += dies_at(seed, at, seed % 2);
    }
    print_message("# %u lives, %u of them cut off by a death\n", n, died);
    assert_true(died > n / 4);
}

int main(void)
{
    log_set_sink(storm_quiet);
    rig_in_memory();
    const struct CMUnitTest tests[] = {cmocka_unit_test(deaths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The daemon dies at any call to Windows Storage, before it or after it, on hosts where much goes by chance. A new one, which knows what was saved, finishes the
 * volume or takes it apart; no other disk is touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/os.h"
#include "tests/unit/tmp.h"
#include "tests/unit/volume_rig.h"

#pragma weak __lsan_disable                            /* there in sanitizer builds alone */

/* ThreadSanitizer asks for it: threads of daemons that died are left for ever. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0";
}

static sem_t frozen, never;
static void *abandoned[4096];                          /* keeps what a frozen thread held in reach */
static size_t n_abandoned;

struct life { struct volume_rig *g; struct volume_plan p; unsigned seed; char *before; struct dbl_fault death; };

static void quiet(const struct log_entry *entry)
{
    (void)entry;
}

/* Instead of the call: this thread does nothing any more, as a process that was killed. What it holds is never released. */
static void freeze(void *arg)
{
    (void)arg;
    sem_post(&frozen);
    for (;;)
        sem_wait(&never);
}

static const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};

/* The double knows the thread that made it: that one dies. */
static void *live(void *arg)
{
    struct life *l = arg;
    static const char *const disks[] = {"00000003", "00000007", "00000008"};
    struct dbl_options o = {.schema = dbl_schema(builds[l->seed % 3]), .seed = l->seed, .shuffles = l->seed % 2, .choices = DBL_MAYBE};
    struct err e;
    if (__lsan_disable)
        __lsan_disable();
    l->g = volume_rig_new(&o);
    dbl_disk_add(l->g->d, &(struct dbl_disk){.serial = "00000008", .size = 128 * VOLUME_GIB});
    l->before = volume_rig_state(l->g);
    l->p = volume_rig_plan(l->g, disks, l->seed % 2 ? 3 : 1, VOLUME_LAYOUT_AUTO, "recovery");
    struct volume_watch w = volume_rig_watch(l->g);
    AUTO_FREE char *kept = NULL;
    OK(w.save(w.arg, &l->p, &e));
    dbl_on_kill(l->g->d, freeze, NULL);
    dbl_fault_add(l->g->d, &l->death);
    /* some die while they take it apart */
    if (volume_make(l->g->h, &l->p, &w, &e) == 0 && l->seed % 3 == 0)
        volume_undo(l->g->h, &l->p, &w, &kept, &e);
    sem_post(&frozen);
    return NULL;
}

static bool dies_at(unsigned seed, unsigned at, bool after)
{
    struct life *l = calloc(1, sizeof *l);
    struct err e;
    l->seed = seed;
    l->death = (struct dbl_fault){.kind = after ? DBL_KILL_AFTER : DBL_KILL, .at = at};
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, (size_t)1 << 20);
    assert_int_equal(pthread_create(&thread, &small, live, l), 0);
    pthread_attr_destroy(&small);
    while (sem_wait(&frozen))
        ;
    struct volume_rig *g = l->g;
    struct volume_watch w = volume_rig_watch(g);
    bool died = dbl_faults_fired(g->d) > 0;
    dbl_faults_clear(g->d);
    if (died)
        pthread_detach(thread);
    else
        pthread_join(thread, NULL);
    struct volume_host *dead = STEAL(g->h);
    struct volume_plan now = g->kept;
    g->kept = (struct volume_plan){0};
    g->p.run = "another run";
    volume_rig_open(g);
    dbl_pass(g->d, 60000);
    AUTO_FREE char *kept = NULL;
    /* the job goes on, unless it was being deleted */
    if (seed % 3 && volume_make(g->h, &now, &w, &e) < 0)
        fail_msg("seed %u, call %u: not finished after a death: %s", seed, at, e.msg);
    if (volume_undo(g->h, &now, &w, &kept, &e) < 0 || kept)
        fail_msg("seed %u, call %u: not taken apart after a death: %s", seed, at, kept ? kept : e.msg);
    AUTO_FREE char *after_all = volume_rig_state(g);
    if (strcmp(l->before, after_all))
        fail_msg("seed %u, call %u: the host is not as it was:\n%s\n---\n%s", seed, at, l->before, after_all);
    volume_plan_clear(&now);
    if (!died) {
        volume_close(dead);
        volume_plan_clear(&l->p);
        volume_rig_free(g);
        free(l->before);
        free(l);
        return false;
    }
    volume_close(STEAL(g->h));
    g->h = dead;
    OK(os_remove_tree(g->dir, &e));
    dbl_free(STEAL(g->d));                             /* the frozen thread will not come back to it */
    assert_true(n_abandoned < ARRAY_LEN(abandoned));
    abandoned[n_abandoned++] = l;
    return true;
}

static void test_deaths(void **state)
{
    (void)state;
    const char *soak = getenv("SOAK");
    unsigned n = soak && !strcmp(soak, "1") ? 100 : 24, died = 0;
    sem_init(&frozen, 0, 0);
    sem_init(&never, 0, 0);
    for (unsigned seed = 1; seed <= n; seed++)
        died += dies_at(seed, 1 + seed * 2654435761u % (seed % 2 ? 420 : 220), seed / 2 % 2);
    print_message("# %u lives, %u of them cut off by a death\n", n, died);
    assert_true(died > n / 4);
}

int main(void)
{
    log_set_sink(quiet);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deaths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The whole life of a VM on hosts where everything goes by chance, with random faults at random calls: every failure has words and a way on, every
 * step succeeds in the end, and then the host is as it was. Nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "tests/unit/hyperv_storm.h"

#define CALM_AFTER 8                                   /* tries of a step; from then on without faults */

static struct { unsigned calls, faults, steps, failures, codes; } sum;

/* Words, a way on, whose they are; and the code, unless nothing was answered. */
static void failure_is_told(struct storm *t, const char *step, int r, const struct err *e)
{
    sum.failures++;
    sum.codes += e->upstream.code[0] != 0;
    if (!e->upstream.service[0] || (!e->upstream.code[0] && r != -ERR_TIMEOUT))
        fail_msg("seed %u, %s: a failure without upstream's words: %s: %s", t->seed, step, err_info(r)->word, e->msg);
    if (e->code != (enum err_code)-r || !e->msg[0] || !str_is_utf8(e->msg, strlen(e->msg)) ||
        (!err_hint_text(e)[0] && !err_info(r)->retryable))
        fail_msg("seed %u, %s: a failure without words: %d, '%s'", t->seed, step, r, e->msg);
}

/* One step until it succeeds. */
static void weather(struct storm *t, const struct scenario_step *step, unsigned per_mille)
{
    struct err e = {0};
    int r = -1;
    if ((step->needs & hv_capabilities(t->g->hv)) != step->needs)
        return;
    for (unsigned i = 0; r < 0 && i < STORM_TRIES; i++) {
        dbl_fault_rate(t->g->d, i < CALM_AFTER ? per_mille : 0);
        memset(&e, 0, sizeof e);
        sum.steps++;
        r = step->run(&t->s, &e);
        dbl_fault_rate(t->g->d, 0);
        storm_invariants(t, step->name);
        if (r < 0) {
            failure_is_told(t, step->name, r, &e);
            dbl_pass(t->g->d, STORM_BACK_OFF_MS);
        }
    }
    if (r < 0)
        storm_tell_calls(t);
    if (r < 0)
        fail_msg("seed %u: %s never succeeds: %s (%s, %s)", t->seed, step->name, e.msg, e.upstream.service, e.upstream.code);
}

static void faults(void **state)
{
    (void)state;
    unsigned one = storm_number("HYPERV_SEED", 0), n = storm_soak() ? 1000 : 40;
    for (unsigned seed = one ? one : 1; seed <= (one ? one : n); seed++) {
        struct storm t = {0};
        storm_new(&t, seed);
        if (one)
            dbl_log_on(t.g->d);
        for (size_t i = 0; i < scenario_n_steps; i++)
            weather(&t, &scenario_steps[i], 20 + seed % 4 * 20);
        sum.faults += dbl_faults_fired(t.g->d);
        sum.calls += dbl_calls(t.g->d);
        storm_all_is_as_before(&t);
        rig_free(t.g);
        storm_free(&t);
    }
    print_message("# %u lives, %u calls, %u faults, %u steps run, of which %u failed (%u with a code of WMI or Hyper-V) and were run again\n",
                  one ? 1 : n, sum.calls, sum.faults, sum.steps, sum.failures, sum.codes);
    assert_true(sum.faults > n / 2 || one);            /* the weather was bad indeed */
}

int main(void)
{
    log_set_sink(storm_quiet);
    rig_in_memory();
    const struct CMUnitTest tests[] = {cmocka_unit_test(faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

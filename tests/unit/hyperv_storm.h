/* What the random lives of a VM share (test_hyperv_storm.c, test_hyperv_deaths.c): a host where everything goes by chance, with VMs of somebody else,
 * one job of ours, and what must hold at every moment: never two VMs for one job, never a VM touched that is not ours, in the end all as it was.
 *
 * SOAK=1 runs the full counts, HYPERV_SEED=N one run alone. */
#ifndef VMR_TESTS_HYPERV_STORM_H
#define VMR_TESTS_HYPERV_STORM_H

#include "common/log.h"
#include "tests/unit/hyperv_rig.h"

#define STORM_TRIES 14                                 /* of a step */
#define STORM_BACK_OFF_MS 30000                        /* the queue's, between two tries */

struct storm {                                         /* one job on one host */
    struct rig *g;
    struct scenario s;
    char *image, *further, *iso, *hash, *before, *foreign;
    unsigned seed;
    struct dbl_fault death;
};

void storm_quiet(const struct log_entry *entry);       /* log_set_sink: what goes wrong here is meant to */
unsigned storm_number(const char *name, unsigned def); /* of the environment */
bool storm_soak(void);
/* The seed decides the host, generation, disks, network, and who else is there. */
void storm_new(struct storm *t, unsigned seed);
void storm_free(struct storm *t);                      /* all but the rig */
/* What holds at every moment; fails the test otherwise, naming seed and step. */
void storm_invariants(struct storm *t, const char *step);
void storm_must_be_same(struct storm *t, const char *what, const char *now, const char *before);
/* What holds after the job is deleted. */
void storm_all_is_as_before(struct storm *t);
void storm_tell_calls(struct storm *t);                /* to stderr: the last calls across the seam, if they were logged */

#endif

/* The whole life of a VM as a list of steps, through the hypervisor interface alone: what `vmrecoverd check-host` does on a real host, and what the
 * tests do on the double of Hyper-V, so that the two can be laid side by side.
 *
 * A step looks at how things are before it acts and after it: done again it is done once. It fails when the hypervisor does something else than the
 * interface promises; what an empty VM may or may not be able to do (a guest that is asked to shut down, that reads its serial port) is accepted
 * either way.
 *
 * Threads: one scenario at a time in a thread. */
#ifndef VMR_HYPERV_SCENARIO_H
#define VMR_HYPERV_SCENARIO_H

#include "common/crypto.h"
#include "hyperv/hypervisor.h"

struct scenario {
    struct hv *hv;
    const char *dir;                                   /* absolute; exports go here and are removed again */
    char id[UUID_LEN];                                 /* of the VM; must not exist before */
    unsigned generation;
    unsigned memory_mib, cpus;
    const char *network;
    struct hv_disk os, further;                        /* images that may be used: they stay as they are (overlay). further.path NULL: none */
    const char *iso;                                   /* NULL: none */
    bool nested;
    /* Filled by the steps. */
    char checkpoint[40];                               /* of the running VM */
    char checkpoint_off[40];
    bool memory_in_checkpoint;
};

struct scenario_step {
    const char *name;                                  /* stable, snake_case */
    unsigned needs;                                    /* set of enum hv_cap; without them the step is left out */
    int (*run)(struct scenario *s, struct err *e);     /* -ERR_INTERNAL "…": the promise was broken; else what the hypervisor said */
};

extern const struct scenario_step scenario_steps[];
extern const size_t scenario_n_steps;

enum scenario_end { SCENARIO_OK, SCENARIO_SKIPPED, SCENARIO_FAILED };
typedef void scenario_report_fn(void *arg, const struct scenario_step *step, enum scenario_end end, int64_t took_ms, const struct err *e);

/* All steps in order; after a failure only the last, which removes the VM. Returns how many failed. `report` may be NULL. */
size_t scenario_run(struct scenario *s, scenario_report_fn *report, void *arg);

#endif

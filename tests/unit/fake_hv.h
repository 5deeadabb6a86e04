/* A hypervisor in memory, for tests of the API: it keeps what it was told and shows what the test put in. Threads: any. */
#ifndef VMR_TESTS_FAKE_HV_H
#define VMR_TESTS_FAKE_HV_H

#include <pthread.h>

#include "hyperv/hypervisor.h"

#define FAKE_VMS 8
#define FAKE_CHECKPOINTS 8

struct fake_vm {
    struct hv_vm_spec spec;
    enum hv_state state;
    struct hv_checkpoint checkpoints[FAKE_CHECKPOINTS];
    size_t n_checkpoints;
    struct strbuf serial, typed;                     /* what the guest said, what was typed to it */
    struct strbuf keys;                              /* "ControlLeft+KeyC F8 " */
    unsigned starts, stops, resets, shutdowns;
};

struct fake_hv {
    struct hv hv;
    pthread_mutex_t lock;
    struct fake_vm vms[FAKE_VMS];
    size_t n;
    unsigned width, height;                          /* of the screen, which shows a gradient */
    bool hold;                                       /* under lock: starts, keys and lists wait until it is false */
    unsigned held;                                   /* under lock: how many do */
    pthread_cond_t changed;
    unsigned tended;                                 /* under lock: how often */
    struct hv_role role;                             /* under lock; enabled by the next call, unless it is being enabled */
    bool forced;                                     /* under lock: the last call said so */
    enum err_code fail;                              /* every call on a VM fails with it */
};

struct fake_hv *fake_hv_new(void);
void fake_hv_free(struct fake_hv *f);
/* A VM that is off, with one disk. */
void fake_hv_add(struct fake_hv *f, const char *id, const char *name);
struct fake_vm *fake_hv_vm(struct fake_hv *f, const char *id);           /* look at it while nothing runs, or under lock */
void fake_hv_say(struct fake_hv *f, const char *id, const void *bytes, size_t n);
void fake_hv_hold(struct fake_hv *f, bool on);
unsigned fake_hv_held(struct fake_hv *f);
char *fake_hv_keys(struct fake_hv *f, const char *id);                   /* copy of .keys; caller frees */

#endif

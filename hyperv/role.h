/* The role Hyper-V of a Windows host: looked at and enabled through Windows' servicing (role_win32.c), in the background for the API, or by the caller's
 * own thread for `vmrecoverd setup`. What is enabled, in which order, and what each failure means is portable (role.c).
 *
 * Protocol source: "DISM API reference"; the names of the features are those of `dism /online /get-features`. */
#ifndef VMR_HYPERV_ROLE_H
#define VMR_HYPERV_ROLE_H

#include "hyperv/hypervisor.h"

enum role_feature { ROLE_NO_FEATURE, ROLE_OFF, ROLE_ON, ROLE_PENDING };        /* PENDING: on from the next restart */

typedef void role_progress_fn(void *arg, unsigned percent);

/* Windows' servicing. A process has at most one session at a time; but for `cancel` a session belongs to the thread that opened it. */
struct role_ops {
    int (*open)(void *arg, void **ret, struct err *e);
    void (*close)(void *session);
    /* One that this Windows does not know is ROLE_NO_FEATURE. */
    int (*look)(void *session, const char *feature, enum role_feature *ret, struct err *e);
    /* With all that it needs; takes minutes. *ret_restart: it is on from the next restart. Progress comes from any thread. */
    int (*enable)(void *session, const char *feature, role_progress_fn *progress, void *progress_arg, bool *ret_restart, struct err *e);
    void (*cancel)(void *session);                     /* any thread: an `enable` that runs soon ends with ERR_CANCELLED */
};

/* The error for what servicing answered (an HRESULT) about a feature; words: its own, may be NULL. Returns -code. */
int role_fail(struct err *e, uint32_t hresult, const char *words, const char *doing, const char *feature);
/* Not an error: done, or done with the next restart. */
bool role_succeeded(uint32_t hresult, bool *ret_restart);

/* Enables what is not yet on, and returns when it is: *ret is HV_ROLE_ENABLED or HV_ROLE_RESTART_NEEDED. ERR_UNSUPPORTED: this Windows has no Hyper-V.
 * The caller's thread waits for minutes, and is told how far it is. */
int role_enable(const struct role_ops *ops, void *arg, role_progress_fn *progress, void *progress_arg, enum hv_role_state *ret, struct err *e);

/* ---- the same in the background, once at a time. Threads: any ---- */
struct role;
/* ops NULL: there is no servicing here, and role_start says so. NULL: no memory. */
struct role *role_new(const struct role_ops *ops, void *arg);
/* Cancels what runs, and waits for its end; if that takes longer than 20 s, it ends with the process. NULL is a no-op. */
void role_free(struct role *r);
/* ERR_WRONG_STATE while it runs, ERR_UNSUPPORTED where there is no servicing. */
int role_start(struct role *r, struct err *e);
/* How far it is, or how the last one ended: HV_ROLE_ENABLING, _ENABLED, _RESTART_NEEDED, _FAILED; false: none was started. */
bool role_get(struct role *r, struct hv_role *ret);

#endif

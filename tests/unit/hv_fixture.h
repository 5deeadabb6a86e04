/* What the tests of the QEMU driver share: a temporary folder, a driver opened on it, VMs of the tiny guest. TCG, real QEMU. */
#ifndef VMR_TESTS_HV_FIXTURE_H
#define VMR_TESTS_HV_FIXTURE_H

#include "hyperv/hypervisor.h"

#define HVT_WAIT_MS 60000                          /* longest wait for a guest; nothing is timed */

struct hvt {
    char *dir;                                         /* absolute, removed at the end */
    struct hv *hv;
    unsigned next;                                     /* for ids */
};

int hvt_setup(void **state);                       /* cmocka group setup and teardown */
int hvt_teardown(void **state);
void hvt_reopen(struct hvt *f);                /* hv_close, hv_open: what a new daemon does */
char *hvt_path(struct hvt *f, const char *fmt, ...) PRINTF_LIKE(2, 3);      /* inside dir; heap */
/* A specification with these disks (paths in raw format, overlays), everything else small. hv_vm_spec_clear after use. */
struct hv_vm_spec hvt_spec(struct hvt *f, const char *const *disks);
/* Creates and starts a VM of the guest that prints `text`; *ret_id is heap. */
char *hvt_vm(struct hvt *f, const char *text);
enum hv_state hvt_state(struct hvt *f, const char *id, char *ret_detail);   /* detail: 128 bytes or NULL */
/* The text of the screen; heap. */
char *hvt_text(struct hvt *f, const char *id);
void hvt_wait_text(struct hvt *f, const char *id, const char *text);        /* fails the test when it does not appear */
void hvt_wait_state(struct hvt *f, const char *id, enum hv_state state);
void hvt_type(struct hvt *f, const char *id, const char *text);
int hvt_pid(struct hvt *f, const char *id);    /* of QEMU, from its pid file; 0: none */
/* Asserts success and says what failed. */
#define OK(call) hvt_ok((call), &e, #call)
void hvt_ok(int r, const struct err *e, const char *what);

#endif

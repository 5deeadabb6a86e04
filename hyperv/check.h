/* The check of a Hyper-V host: the scenario of scenario.h, once for each generation and once with the network 'nat', and a record of what Hyper-V answered to
 * every call. Two records can be laid side by side: a real host's beside that of the tests' double (tests/golden/check-host-*.json).
 *
 * A record holds names that Microsoft documents (classes, methods), codes, times and versions: no path, no name of a host or VM, no words of Hyper-V's.
 *
 *   {"record": 1, "program": "0.1.0", "windows": {"version": "10.0.20348", "product_type": 3, "sku": 8},
 *    "lives": [{"generation": 1, "network": "none", "steps": [{"name": "create", "end": "ok"|"skipped"|"failed", "ms": 40, "error"?: {"code", "upstream"},
 *      "calls": [{"namespace": "ROOT\\…", "call": "exec Class.Method", "return": 4096|null, "hresult": "0x00000000", "times": 1, "ms": 12}]}]}]}
 *
 * Threads: one check at a time in a thread. */
#ifndef VMR_HYPERV_CHECK_H
#define VMR_HYPERV_CHECK_H

#include <jansson.h>

#include "hyperv/hyperv_host.h"

#define HYPERV_RECORD 1                                /* version of the record */
#define HYPERV_RECORD_MAX ((size_t)8 << 20)            /* bytes of its text */

struct hyperv_check {                                  /* all borrowed */
    const struct hyperv_platform *platform;            /* its trace is not used */
    const char *dir;                                   /* absolute, exists, is the check's own: what an ended check left there is removed first */
    struct hv_disk os, further;                        /* images; they stay as they are */
    const char *iso;
    bool nat;                                          /* once more with the network 'nat' */
    void (*said)(void *arg, const char *line);         /* a line a step, for a person; NULL: nobody listens */
    void *arg;
};

/* *ret: new reference. *ret_failed: how many steps did not do what they should. An error when there is nothing to check: no role, no rights. */
int hyperv_check_run(const struct hyperv_check *c, json_t **ret, size_t *ret_failed, struct err *e);
/* Appends a line for each difference in what was done and answered; times, and how often a call was made, are none. *ret_n: how many. ERR_VALUE: not a record. */
int hyperv_check_compare(json_t *expected, json_t *found, struct strbuf *ret, size_t *ret_n, struct err *e);
/* What a call was about, without whose: class names, and for ASSOCIATORS its filters. For queries the WQL, else a path or a class. */
void hyperv_check_subject(const char *kind, const char *target, struct strbuf *ret);

#endif

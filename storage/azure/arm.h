/* Azure Resource Manager: requests, pages, long-running operations.
 *
 * Every request: the token first (renewed when due), then the budget (below), then the request, tried again after 408, 429, 5xx and broken
 * connections with exponential pauses or as Retry-After says; once with a new token after 401; 409 only for codes that name another
 * running operation. All calls that we make are idempotent, POST too, so that a try whose answer was lost may be repeated.
 *
 * Operations are told by their headers whatever the 2xx status is. Azure-AsyncOperation: polled until its body says Succeeded, Failed or
 * Canceled (any other word: it runs; the HTTP status is 200 also when it failed); then the result is properties.output of that body, else
 * the answer of Location, else that of the resource. Location alone: 202 while it runs. Poll URLs are used byte for byte, and only on the
 * configured ARM host: they are sent our token. A poll that fails says nothing about the operation and is tried again.
 *
 * Budgets: x-ms-ratelimit-remaining-* of the answers are remembered per subscription and kind of request, for all clients of one struct
 * azure. When little is left requests are spread over the budget's window, and after a 429 nobody asks before its Retry-After is over.
 *
 * Nothing is logged here. Bodies never appear in messages: they may hold a SAS. Sources: Azure Resource Manager RPC contract (async API
 * reference), Microsoft.Compute throttling. Threads: a struct arm belongs to one thread at a time; any number of them may share a
 * struct azure. */
#ifndef VMR_STORAGE_AZURE_ARM_H
#define VMR_STORAGE_AZURE_ARM_H

#include <jansson.h>

#include "storage/azure/azure.h"

#define ARM_PAGES_MAX 1000                           /* of one list */
#define ARM_ITEMS_MAX 50000
#define ARM_BODY_MAX ((size_t)16 << 20)              /* of one answer */
#define ARM_URL_MAX 16384                            /* of a poll or page URL */

struct arm;
struct arm_config {
    struct azure *azure;
    struct token_identity identity;                  /* copied */
    struct token_wait wait;                          /* stop ends every wait, request and poll with ERR_CANCELLED */
    unsigned max_tries;                              /* of one request; 0: 5 */
    unsigned max_pause_ms;                           /* a longer pause that Azure asks for is an error instead (ERR_THROTTLED); 0: none is too long */
};
int arm_open(const struct arm_config *cfg, struct arm **ret, struct err *e);
void arm_close(struct arm *a);                       /* NULL is a no-op */
DEFINE_AUTO(struct arm, arm_close)
const struct cloud *arm_cloud(const struct arm *a);

/* Errors of all of these: those of tokens_get; ERR_NOT_FOUND (404), ERR_CREDENTIAL (401 with a fresh token; 403: the identity lacks the right
 * that the hint names), ERR_WRONG_STATE (409: a conflict that does not pass by itself), ERR_THROTTLED, ERR_TIMEOUT, ERR_UNREACHABLE, ERR_TLS,
 * ERR_UPSTREAM (may pass), ERR_UPSTREAM_FINAL, ERR_CANCELLED. upstream: service "arm", HTTP status (0 for an operation that failed), Azure's
 * code, and x-ms-request-id or x-ms-correlation-request-id. The message has Azure's own words and the redacted path.
 * path: begins with '/', percent-encoded, with its query (api-version included). */

/* GET of one object; *ret is an object, json_decref it. */
int arm_get(struct arm *a, const char *path, json_t **ret, struct err *e);
/* GET of a list with all of its pages; *ret is an array of objects (`value` of all pages). nextLink is followed verbatim, on the ARM host
 * only; ERR_UPSTREAM_FINAL beyond ARM_PAGES_MAX pages or ARM_ITEMS_MAX items. */
int arm_list(struct arm *a, const char *path, json_t **ret, struct err *e);
/* A request that may be a long-running operation, until its end or for deadline_ms (0: 10 minutes): ERR_TIMEOUT then, and the operation
 * goes on. body: borrowed, or NULL. *ret: the result, an object, or NULL when there is none; json_decref it. ret NULL: nobody needs the result,
 * and nothing is asked for it once the operation has succeeded. DELETE of what is gone (arm_error_is_gone, 204) is 0. */
struct arm_call {
    const char *method, *path;
    json_t *body;
    unsigned deadline_ms;
};
int arm_run(struct arm *a, const struct arm_call *c, json_t **ret, struct err *e);
/* Whether the same call may do better later by itself. */
bool arm_error_is_transient(const struct err *e);
/* Whether Azure says of the object itself, or of its resource group, that it is not there. A subscription that is not found may be one that the
 * identity may not see any more, and a 404 without Azure's words comes from something in between: neither means that the object is gone. */
bool arm_error_is_gone(const struct err *e);

#endif

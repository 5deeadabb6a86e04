/* Shared by azure.c and the files of arm.h; nobody else includes this. */
#ifndef VMR_STORAGE_AZURE_AZURE_INTERNAL_H
#define VMR_STORAGE_AZURE_AZURE_INTERNAL_H

#include <pthread.h>

#include "storage/azure/arm.h"
#include "storage/azure/budget.h"
#include "storage/azure/rest.h"

struct azure {
    struct cloud *cloud;
    struct tokens *tokens;
    struct budgets *budgets;
    struct http_config http;
    pthread_mutex_t lock;                            /* of what follows; held for no call */
    char region[64];
    int64_t asked_at_ms;                             /* monotonic; INT64_MIN: not yet */
};

struct arm {
    struct azure *azure;
    struct token_identity identity;                  /* its strings are ours */
    struct token_wait wait;
    unsigned max_tries, max_pause_ms;
    CURL *h;
};

/* ---- arm.c ---- */
/* A request with all its retries until an answer 2xx; url: whole. */
int arm_send(struct arm *a, const char *method, const char *url, const char *body, struct rest_answer *ret, struct err *e);
char *arm_url(const struct arm *a, const char *path);
/* A URL that Azure gave, checked before a token is sent there: our ARM host, no odd characters, bounded. what: "nextLink". */
int arm_check_url(const struct arm *a, const char *what, const char *url, struct err *e);
/* The body as an object. */
int arm_json(const char *url, const struct rest_answer *a, json_t **ret, struct err *e);

/* ---- arm_error.c ---- */
/* "POST disks/web01-os/beginGetAccess": what was asked, for messages. */
#define ARM_WHAT_MAX 200
void arm_what(const char *method, const char *url, char ret[ARM_WHAT_MAX]);
/* An answer that is no success. */
int arm_error(const struct arm *a, const char *method, const char *url, const struct rest_answer *answer, struct err *e);
/* An operation that ended badly: body is what its poll answered. */
int arm_operation_error(const struct arm *a, const char *what, const char *state, const json_t *body, const struct rest_answer *answer, struct err *e);

/* ---- arm_operation.c ---- */

/* Where an operation is, and what comes next. No requests here: the caller GETs `next` until the state is DONE.
 *
 *   begin --Azure-AsyncOperation------> POLLING --Succeeded, no output--> FETCHING --200, 204--> DONE      (at once when no_result)
 *     |---202 + Location alone--------> WAITING --200, 204-----------------------------------------^
 *     |---provisioningState runs------> WATCHING --terminal----------------------------------------^
 *     \---anything else 2xx-----------------------------------------------------------------------^
 * Failed and Canceled are errors from any of them. */
enum operation_state { OPERATION_POLLING, OPERATION_WAITING, OPERATION_WATCHING, OPERATION_FETCHING, OPERATION_DONE };
struct operation {
    const struct arm *arm;
    const char *method, *url;                        /* of the request that began it */
    bool no_result;                                  /* nobody needs what it gives */
    enum operation_state state;
    char *next;                                      /* URL of the next GET */
    char *location;                                  /* as it came, not checked yet; or NULL */
    unsigned pause_ms;                               /* before it */
    unsigned polls;
    json_t *result;                                  /* DONE: an object or NULL */
};
/* The answer (2xx) to the request; body: it as JSON, or NULL. */
int operation_begin(struct operation *o, const struct rest_answer *a, json_t *body, struct err *e);
/* The answer (2xx) to `next`. */
int operation_step(struct operation *o, const struct rest_answer *a, json_t *body, struct err *e);
void operation_clear(struct operation *o);

#endif

/* The daemon's Azure: stored credentials as identities, clients for tasks and for requests, and what the API asks.
 * Threads: any; database connections are the caller's. */
#ifndef VMR_SERVICE_AZURE_H
#define VMR_SERVICE_AZURE_H

#include <jansson.h>

#include "db/credential.h"
#include "service/task_run.h"
#include "storage/azure/arm.h"

/* Opens d->azure from the configuration. ERR_CONFIG naming the key. */
int daemon_azure_open(struct daemon *d, struct err *e);

/* The identity of a credential that signs in; its strings are c's. */
struct token_identity azure_identity(const struct credential *c);
/* The credential with its secrets. ERR_CREDENTIAL when it is gone or does not sign in to Entra. */
int azure_credential(struct db *db, const char *name, struct credential **ret, struct err *e);

/* A client for a task: patient, stopped by task_run_stop; a device code goes to the job's events as "sign_in_needed"
 * {credential, user_code, verification_url, message, expires_at}. */
int task_arm_open(struct task_run *t, const char *credential, struct arm **ret, struct err *e);
/* How a task waits for tokens of its own (data behind a disk SAS). */
struct token_wait task_token_wait(struct task_run *t);
/* A client for a request that somebody waits for: a few tries, no long pauses, no device code (ERR_SIGN_IN). */
int request_arm_open(struct daemon *d, struct db *db, const char *credential, bool (*stop)(void *arg), void *arg, struct arm **ret, struct err *e);

/* ---- discovery.c and sign_in.c: answers of the API; *ret: new reference ---- */
struct azure_view {
    struct daemon *d;
    struct db *db;
    const char *credential;                          /* NULL: the only one that signs in */
    const char *subscription, *resource_group, *filter;    /* NULL: all */
    bool (*stop)(void *arg);
    void *arg;
};
int azure_view_subscriptions(const struct azure_view *v, json_t **ret, struct err *e);
int azure_view_vms(const struct azure_view *v, json_t **ret, struct err *e);
/* Signs in, or tells the code with which a person must: {"state": "signed_in"} or {"state": "pending", "user_code", "verification_url",
 * "message", "expires_at"}. shown: the code that the client shows already; then it waits some 20 seconds for news. */
int azure_view_sign_in(const struct azure_view *v, const char *shown, json_t **ret, struct err *e);

#endif

/* HTTP towards the daemon. The address is VMRECOVER_URL (default http://127.0.0.1:8480), the token the content of the file
 * VMRECOVER_TOKEN_FILE (default: `token` in os_data_path()). Plain http goes to this machine only, proxies are never used, redirects
 * never followed, so that the token reaches the daemon and nobody else. */
#ifndef VMR_API_CLI_CLIENT_H
#define VMR_API_CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

struct client;
/* ERR_VALUE for an address that cannot be used. The token is read for the first call, so that wrong usage is found without it. */
int client_open(struct client **ret, struct err *e);
void client_close(struct client *c);                 /* NULL is a no-op */
DEFINE_AUTO(struct client, client_close)

/* The daemon's address, without a slash at the end; the client's. */
const char *client_base(const struct client *c);

struct reply {
    long status;
    char *body;                                      /* NUL-terminated; may hold NULs (a picture) */
    size_t len;
    json_t *json;                                    /* NULL when the body is no JSON */
    char location[256];
};
void reply_clear(struct reply *r);
#define AUTO_REPLY AUTO(reply_clear)

struct call {
    const char *method, *path;                       /* path with its query, escaped where needed (client_escape) */
    json_t *body;                                    /* borrowed; NULL: none */
    const char *accept;                              /* NULL: application/json */
    const char *idempotency_key;                     /* NULL: none; with one, a lost answer is asked for again */
};
/* 0 for a 2xx answer. ERR_UNREACHABLE when there was no answer or the token cannot be read; another -ERR_* when the daemon refused, and its own
 * words are client_problem() until the next call. *ret is filled only on success. */
int client_call(struct client *c, const struct call *call, struct reply *ret, struct err *e);
const json_t *client_problem(const struct client *c);                  /* NULL: the last call was not refused */

/* One event of a stream; strings are borrowed. Non-zero ends the stream, and client_stream returns that. */
typedef int client_event_fn(void *arg, const char *id, const char *type, const char *data);
/* Follows an event stream until fn ends it or the daemon does; begins behind last_id when that is not NULL. */
int client_stream(struct client *c, const char *path, const char *last_id, client_event_fn *fn, void *arg, struct err *e);
/* Percent-encodes a path segment or query value. Caller frees; NULL when memory ran out. */
char *client_escape(struct client *c, const char *s);

#endif

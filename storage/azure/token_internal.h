/* Shared by token.c, token_entra.c, token_host.c and token_answer.c; nobody else includes this. */
#ifndef VMR_STORAGE_AZURE_TOKEN_INTERNAL_H
#define VMR_STORAGE_AZURE_TOKEN_INTERNAL_H

#include "storage/azure/rest.h"
#include "storage/azure/token.h"

#define TOKEN_BYTES_MAX 65536
#define TOKEN_LIFE_MAX_S (7 * 86400)

/* One sign-in: for whom, for what. */
struct token_ask {
    const struct tokens_config *cfg;
    const struct token_identity *id;
    const char *resource, *scope;                    /* v1 and v2 names of the audience */
    bool (*stop)(void *arg);
    void *arg;
};
struct token_got {
    char *token, *refresh_token;                     /* secrets; refresh_token: NULL when none came */
    int64_t life_s;                                  /* seconds from when the answer came, at least 1 */
};
void token_got_clear(struct token_got *g);

/* ---- token_answer.c: what sign-in services answer ---- */

/* A token answer of Entra, IMDS, Arc or az; what: who answered, for messages. now_s: seconds since 1970. wanted_client: the client_id that
 * must be echoed if one is, or NULL. */
int token_parse(const char *text, size_t n, const char *what, const char *wanted_client, int64_t now_s, struct token_got *ret, struct err *e);
/* An answer that is no success. service: "entra", "imds", "arc". ret_word (may be NULL): the `error` member ("invalid_grant"). */
int token_refusal(const struct token_ask *ask, const char *service, const struct rest_answer *a, char ret_word[64], struct err *e);

/* ---- asking, with the retries of the service ---- */
struct token_policy {
    const char *service;
    unsigned tries;
    unsigned delays_ms[5];                           /* before the second try, the third … */
    unsigned unreachable_tries;                      /* tries when nothing answers at all */
    bool (*retry)(int status);                       /* answers worth another try */
    unsigned gone_ms;                                /* 410: at least so long */
};
/* Returns 0 with any answer that is final, whatever its status. */
int token_request(const struct token_ask *ask, const struct token_policy *p, const struct rest_request *q, struct rest_answer *a, struct err *e);

/* ---- token_host.c, token_entra.c: one function a method ---- */
typedef int token_fn(const struct token_ask *ask, struct token_got *ret, struct err *e);
token_fn token_from_imds, token_from_arc, token_from_az, token_from_secret, token_from_certificate, token_from_file;

/* Device code. */
struct token_pending {                               /* a code that somebody may be using now */
    char *device_code;                               /* secret */
    char *user_code, *verification_url, *message;
    unsigned interval_ms;
    int64_t expires_at_ms;                           /* monotonic */
};
void token_pending_clear(struct token_pending *p);
int token_parse_code(const struct rest_answer *a, struct token_pending *ret, struct err *e);    /* the answer that holds a code */
int token_code_start(const struct token_ask *ask, struct token_pending *ret, struct err *e);
/* 1: a token; 0: not yet (p->interval_ms may have grown); 2: nobody entered the code in time; negative: an error. */
int token_code_poll(const struct token_ask *ask, struct token_pending *p, struct token_got *ret, struct err *e);
/* 1: a token; 0: the refresh token is not accepted any more; negative: an error. */
int token_from_refresh(const struct token_ask *ask, const char *refresh_token, struct token_got *ret, struct err *e);

#endif

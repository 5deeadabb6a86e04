/* Access tokens: how each kind of credential signs in, kept in memory and renewed in time.
 *
 * A token is kept per (identity, audience). Who asks for one that is missing or due renews it in its own thread; all others that ask
 * meanwhile wait for that one renewal. When its caller is stopped, a waiter takes over (also an open device code). Due means: less than
 * 5 minutes or less than a fifth of its life left, whichever is less; half its life when it lives longer than 2 hours. A renewal that fails
 * while the old token is good for a minute more gives the old one.
 *
 * Nothing is written to disk here, and no message holds a secret, a token or an assertion. Memory of tokens is wiped when it is freed.
 * Sources: Microsoft identity platform (OAuth 2.0 client credentials, device authorization grant, certificate assertions), Azure Instance
 * Metadata Service 2018-02-01, Azure Arc HIMDS 2020-06-01, Azure CLI `account get-access-token`. Threads: any. */
#ifndef VMR_STORAGE_AZURE_TOKEN_H
#define VMR_STORAGE_AZURE_TOKEN_H

#include <stdint.h>

#include "storage/azure/cloud.h"
#include "storage/http.h"

enum token_method {
    TOKEN_MANAGED_IDENTITY,                          /* IMDS; client_id: a user-assigned one, or NULL */
    TOKEN_ARC,                                       /* the Arc agent's system identity */
    TOKEN_CLIENT_SECRET,                             /* service principal; secret */
    TOKEN_CERTIFICATE,                               /* service principal; secret: the certificate (see secret), password or NULL */
    TOKEN_TOKEN_FILE,                                /* service principal; token_file: a federated assertion, read at each renewal */
    TOKEN_AZ_CLI,                                    /* `az` of the daemon's account; tenant_id or NULL */
    TOKEN_DEVICE_CODE,                               /* a person signs in; tenant_id, client_id or NULL; secret: a refresh token or NULL */
    TOKEN_METHODS
};
/* Who signs in. All strings are borrowed for the call. */
struct token_identity {
    enum token_method method;
    const char *name;                                /* of the credential, for messages */
    const char *tenant_id, *client_id;
    const char *secret;                              /* a certificate is PEM (certificate and key), or PKCS#12 in base64 */
    const char *password;                            /* of the PKCS#12, or NULL */
    const char *token_file;                          /* absolute path */
    int64_t revision;                                /* of the credential: another one means another identity */
};
enum token_audience { TOKEN_FOR_ARM, TOKEN_FOR_DISK /* data behind a disk SAS */, TOKEN_FOR_STORAGE /* blobs */, TOKEN_AUDIENCES };

struct token_code {                                  /* of a device code sign-in */
    const char *credential;                          /* its name */
    const char *user_code, *verification_url;        /* both are for the eyes of the person that signs in */
    const char *message;                             /* as the login service words it */
    int64_t expires_at_ms;                           /* wall clock */
};
/* How the caller waits. */
struct token_wait {
    bool (*stop)(void *arg);                         /* polled some 5 times a second; true: ERR_CANCELLED. NULL: never */
    /* A person must sign in: called once per code and caller, from the caller's thread. NULL: this caller cannot show one, and
     * gets ERR_SIGN_IN instead of waiting. */
    void (*show_code)(void *arg, const struct token_code *code);
    void *arg;
};

struct tokens;
struct tokens_config {
    const struct cloud *cloud;                       /* must outlive the tokens */
    struct http_config http;                         /* its strings too */
    /* A device code sign-in gave a (new) refresh token: keep it sealed, so that the next start of the daemon needs no person. NULL: it is
     * kept in memory only. From any thread, no lock held. */
    void (*keep_refresh_token)(void *arg, const char *credential, int64_t revision, const char *refresh_token);
    void *arg;
};
int tokens_open(const struct tokens_config *cfg, struct tokens **ret, struct err *e);
void tokens_close(struct tokens *t);                 /* nobody may be waiting; NULL is a no-op */
DEFINE_AUTO(struct tokens, tokens_close)

/* A token that is good for a request now. Caller frees *ret with mem_free_secret. ERR_CREDENTIAL when the sign-in is refused or the
 * method cannot work on this host (hint: what to do); ERR_SIGN_IN; ERR_UNREACHABLE, ERR_THROTTLED, ERR_TIMEOUT, ERR_UPSTREAM after the retries that
 * each service asks for; ERR_CANCELLED. upstream: "entra", "imds", "arc" or "az". */
int tokens_get(struct tokens *t, const struct token_identity *id, enum token_audience audience, const struct token_wait *w, char **ret,
               struct err *e);
/* A service refused this token (401): it is not given out again. A no-op when it has been renewed since. */
void tokens_refused(struct tokens *t, const struct token_identity *id, enum token_audience audience, const char *token);
/* What the audience is called: the v1 resource ("https://management.azure.com/"). Borrowed from t. */
const char *tokens_resource(const struct tokens *t, enum token_audience audience);

#endif

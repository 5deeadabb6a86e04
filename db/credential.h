/* Named credentials; the secret part is sealed and leaves the database only towards a task. */
#ifndef VMR_DB_CREDENTIAL_H
#define VMR_DB_CREDENTIAL_H

#include <jansson.h>

#include "db/db.h"

/* In the order of the API's words. */
enum credential_type {
    CREDENTIAL_ACCOUNT_KEY, CREDENTIAL_SAS, CREDENTIAL_MANAGED_IDENTITY, CREDENTIAL_ARC, CREDENTIAL_SERVICE_PRINCIPAL, CREDENTIAL_AZ_CLI,
    CREDENTIAL_DEVICE_CODE, CREDENTIAL_TYPES
};
const char *credential_type_name(enum credential_type t);              /* "account_key", "sas", "managed_identity" … */
/* Signs in to Microsoft Entra: everything but account_key and sas. */
bool credential_signs_in(enum credential_type t);

/* How a service principal proves who it is. */
enum credential_proof { PROOF_NONE, PROOF_CLIENT_SECRET, PROOF_CERTIFICATE, PROOF_TOKEN_FILE, PROOFS };
const char *credential_proof_name(enum credential_proof p);            /* "client_secret", "certificate", "token_file"; NULL for none */

struct credential {
    char *name;                                      /* 1..64 of [A-Za-z0-9._-], not starting with '.' */
    enum credential_type type;
    char *account;                                   /* account_key: storage account name */
    char *tenant_id, *client_id;                     /* where the type has them; NULL: not given */
    enum credential_proof proof;
    char *token_file;                                /* PROOF_TOKEN_FILE: absolute path on this host */
    /* Sealed: key (base64), SAS query without '?', client secret, certificate (PEM, or PKCS#12 in base64), refresh token of a device code
     * sign-in. NULL when the type has none (yet), and from credential_list. */
    char *secret;
    char *password;                                  /* sealed: of the PKCS#12; NULL: none */
    bool signed_in;                                  /* device_code: secret is the refresh token of a sign-in */
    int64_t updated_at_ms;                           /* of the last PUT */
};
void credential_free(struct credential *c);
DEFINE_AUTO(struct credential, credential_free)
void credential_list_free(struct credential *list, size_t n);

bool credential_name_ok(const char *name);
/* Checks the body of PUT /v1/credentials/{name}; errors name the member. */
int credential_parse(const char *name, json_t *body, struct credential **ret, struct err *e);
/* Inserts or replaces; *ret_created tells which. */
int credential_put(struct db *db, const struct credential *c, bool *ret_created, struct err *e);
int credential_get(struct db *db, const char *name, struct credential **ret, struct err *e);   /* with secret; ERR_NOT_FOUND */
int credential_list(struct db *db, struct credential **ret, size_t *ret_n, struct err *e);     /* by name */
/* The refresh token of a device code sign-in, if the credential is still the one of updated_at_ms; it and updated_at_ms stay otherwise. */
int credential_keep_refresh_token(struct db *db, const char *name, int64_t updated_at_ms, const char *token, struct err *e);
/* The name of the only credential that signs in to Entra: what a request that names none means. ERR_MISSING when there is none, or more. */
int credential_only_sign_in(struct db *db, char **ret, struct err *e);
int credential_delete(struct db *db, const char *name, struct err *e); /* ERR_NOT_FOUND, ERR_CRED_IN_USE */

#endif

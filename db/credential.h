/* Named credentials; the secret part is sealed and leaves the database only towards a task. */
#ifndef VMR_DB_CREDENTIAL_H
#define VMR_DB_CREDENTIAL_H

#include <jansson.h>

#include "db/db.h"

enum credential_type { CREDENTIAL_ACCOUNT_KEY, CREDENTIAL_SAS, CREDENTIAL_TYPES };
const char *credential_type_name(enum credential_type t);              /* "account_key", "sas" */

struct credential {
    char *name;                                      /* 1..64 of [A-Za-z0-9._-], not starting with '.' */
    enum credential_type type;
    char *account;                                   /* account_key: storage account name */
    char *secret;                                    /* key (base64) or SAS query without '?'; NULL from credential_list */
    int64_t updated_at_ms;
};
void credential_free(struct credential *c);
DEFINE_AUTO(struct credential, credential_free)
void credential_list_free(struct credential *list, size_t n);

bool credential_name_ok(const char *name);
/* Checks the body of PUT /v1/credentials/{name}; types of later versions are ERR_VALUE at /type. */
int credential_parse(const char *name, json_t *body, struct credential **ret, struct err *e);
/* Inserts or replaces; *ret_created tells which. */
int credential_put(struct db *db, const struct credential *c, bool *ret_created, struct err *e);
int credential_get(struct db *db, const char *name, struct credential **ret, struct err *e);   /* with secret; ERR_NOT_FOUND */
int credential_list(struct db *db, struct credential **ret, size_t *ret_n, struct err *e);     /* by name */
int credential_delete(struct db *db, const char *name, struct err *e); /* ERR_NOT_FOUND, ERR_CRED_IN_USE */

#endif

#include "db/credential.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/os.h"
#include "db/sql.h"

#define NAME_BYTES_MAX 64
#define CONTEXT_MAX 96
#define KEY_TEXT_MAX 256
#define SAS_BYTES_MAX 4096
#define SECRET_BYTES_MAX 4096
#define CERTIFICATE_BYTES_MAX 65536
#define PATH_BYTES_MAX 1024
#define CREDENTIALS_MAX 1000

/* In the order of the enums. */
static const char *const type_words[] = {"account_key", "sas", "managed_identity", "arc", "service_principal", "az_cli", "device_code", NULL};
static const char *const proof_words[PROOFS] = {NULL, "client_secret", "certificate", "token_file"};

const char *credential_type_name(enum credential_type t)
{
    return type_words[t];
}

const char *credential_proof_name(enum credential_proof p)
{
    return proof_words[p];
}

bool credential_signs_in(enum credential_type t)
{
    return t != CREDENTIAL_ACCOUNT_KEY && t != CREDENTIAL_SAS;
}

static void clear(struct credential *c)
{
    free(c->name);
    free(c->account);
    free(c->tenant_id);
    free(c->client_id);
    free(c->token_file);
    mem_free_secret(c->secret);
    mem_free_secret(c->password);
    *c = (struct credential){0};
}

void credential_free(struct credential *c)
{
    if (c)
        clear(c);
    free(c);
}

void credential_list_free(struct credential *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        clear(&list[i]);
    free(list);
}

bool credential_name_ok(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n >= 1 && n <= NAME_BYTES_MAX && !name[n] && name[0] != '.';
}

/* ---- the body of PUT ---- */

static void parse_account_key(struct json_in *in, struct credential *c)
{
    json_in_require(in, "account");
    json_in_require(in, "key");
    const char *account = json_in_string(in, "account", NULL, 24);
    if (account && (strlen(account) < 3 || account[strspn(account, "abcdefghijklmnopqrstuvwxyz0123456789")]))
        json_in_fail(in, "account", ERR_VALUE, "must be a storage account name: 3 to 24 lower-case letters and digits");
    const char *key = json_in_string(in, "key", NULL, KEY_TEXT_MAX);
    if (!account || !key || in->e->code)
        return;
    uint8_t *raw = NULL;
    size_t n = 0;
    if (!crypto_base64_decode(key, &raw, &n) || !n)
        json_in_fail(in, "key", ERR_VALUE, "must be the account's key in base64, as Azure shows it");
    if (raw)
        mem_wipe(raw, n);
    free(raw);
    c->account = str_dup(account);
    c->secret = str_dup(key);
    if (!in->e->code && (!c->account || !c->secret))
        err_oom(in->e);
}

static void parse_sas(struct json_in *in, struct credential *c)
{
    json_in_require(in, "sas");
    const char *sas = json_in_string(in, "sas", NULL, SAS_BYTES_MAX);
    if (!sas)
        return;
    if (*sas == '?')
        sas++;
    for (const char *p = sas; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '?' || *p == '#') {
            json_in_fail(in, "sas", ERR_VALUE, "must be the query of a SAS alone, percent-encoded, without the URL in front of it");
            return;
        }
    const char *sig = sas;
    while (sig && !(str_starts(sig, "sig=") && sig[4] && sig[4] != '&')) {
        sig = strchr(sig, '&');
        if (sig)
            sig++;
    }
    if (!sig) {
        json_in_fail(in, "sas", ERR_VALUE, "has no signature (sig=)");
        return;
    }
    c->secret = str_dup(sas);
    if (!c->secret)
        err_oom(in->e);
}

static void keep(struct json_in *in, const char *value, char **to)
{
    if (!value || in->e->code)
        return;
    *to = str_dup(value);
    if (!*to)
        err_oom(in->e);
}

static void take_guid(struct json_in *in, const char *key, char **to)
{
    const char *id = json_in_string(in, key, NULL, UUID_LEN - 1);
    if (id && !crypto_is_uuid(id))
        json_in_fail(in, key, ERR_VALUE, "must be a GUID, as Azure shows it");
    keep(in, id, to);
}

/* A GUID, one of the tenant's domain names, or what stands for several: "organizations", "common". Becomes a part of a URL. */
static void take_tenant(struct json_in *in, char **to)
{
    const char *id = json_in_string(in, "tenant_id", NULL, 253);
    if (id && (id[strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")] || *id == '.' || *id == '-' || strstr(id, "..")))
        json_in_fail(in, "tenant_id", ERR_VALUE, "must be the tenant's GUID or one of its domain names");
    keep(in, id, to);
}

static void parse_managed_identity(struct json_in *in, struct credential *c)
{
    take_guid(in, "client_id", &c->client_id);
}

static void parse_arc(struct json_in *in, struct credential *c)
{
    (void)in, (void)c;                               /* the agent has one identity */
}

static void check_certificate(struct json_in *in, struct credential *c)
{
    uint8_t *raw = NULL;
    size_t n = 0;
    struct crypto_cert *cert = NULL;
    struct err e = {0};
    int r;
    if (strstr(c->secret, "-----BEGIN ")) {
        r = crypto_cert_open(c->secret, strlen(c->secret), c->password, &cert, &e);
    } else if (crypto_base64_decode(c->secret, &raw, &n)) {
        r = crypto_cert_open(raw, n, c->password, &cert, &e);
        mem_wipe(raw, n);
    } else {
        r = err_set(&e, ERR_VALUE, "it is neither PEM with certificate and private key nor PKCS#12 in base64");
    }
    free(raw);
    crypto_cert_close(cert);
    if (r == -ERR_VALUE)
        json_in_fail(in, "certificate", ERR_VALUE, "%s", e.msg);
    else if (r < 0)
        *in->e = e;
}

static void parse_service_principal(struct json_in *in, struct credential *c)
{
    json_in_require(in, "tenant_id");
    json_in_require(in, "client_id");
    take_tenant(in, &c->tenant_id);
    take_guid(in, "client_id", &c->client_id);
    const char *secret = json_in_string(in, "client_secret", NULL, SECRET_BYTES_MAX);
    const char *certificate = json_in_text(in, "certificate", NULL, CERTIFICATE_BYTES_MAX);
    const char *password = json_in_string(in, "certificate_password", NULL, SECRET_BYTES_MAX);
    const char *file = json_in_string(in, "token_file", NULL, PATH_BYTES_MAX);
    int proofs = json_in_has(in, "client_secret") + json_in_has(in, "certificate") + json_in_has(in, "token_file");
    if (!proofs)
        json_in_fail(in, "client_secret", ERR_MISSING, "one of \"client_secret\", \"certificate\" and \"token_file\" is required");
    if (proofs > 1)
        json_in_fail(in, json_in_has(in, "token_file") ? "token_file" : "certificate", ERR_VALUE,
                     "only one of \"client_secret\", \"certificate\" and \"token_file\" may be given");
    if (password && !certificate)
        json_in_fail(in, "certificate_password", ERR_VALUE, "goes with \"certificate\" alone");
    if (file && !os_path_is_absolute(file))
        json_in_fail(in, "token_file", ERR_VALUE, "must be an absolute path on the daemon's host");
    c->proof = secret ? PROOF_CLIENT_SECRET : certificate ? PROOF_CERTIFICATE : PROOF_TOKEN_FILE;
    keep(in, secret ? secret : certificate, &c->secret);
    keep(in, password, &c->password);
    keep(in, file, &c->token_file);
    if (certificate && !in->e->code)
        check_certificate(in, c);
}

static void parse_az_cli(struct json_in *in, struct credential *c)
{
    take_tenant(in, &c->tenant_id);
}

static void parse_device_code(struct json_in *in, struct credential *c)
{
    take_tenant(in, &c->tenant_id);
    take_guid(in, "client_id", &c->client_id);
}

int credential_parse(const char *name, json_t *body, struct credential **ret, struct err *e)
{
    static void (*const parsers[CREDENTIAL_TYPES])(struct json_in *in, struct credential *c) = {
        parse_account_key, parse_sas, parse_managed_identity, parse_arc, parse_service_principal, parse_az_cli, parse_device_code,
    };
    if (!credential_name_ok(name))
        return err_set(e, ERR_VALUE, "a credential's name is 1 to 64 of A-Z a-z 0-9 . _ - and has no '.' in front");
    AUTO(credential_free_ptr) struct credential *c = calloc(1, sizeof *c);
    if (!c || !(c->name = str_dup(name)))
        return err_oom(e);
    struct json_in in = json_in_root(body, e);
    json_in_require(&in, "type");
    c->type = (enum credential_type)json_in_enum(&in, "type", type_words, CREDENTIAL_ACCOUNT_KEY);
    if (!in.e->code)
        parsers[c->type](&in, c);
    int r = json_in_end(&in);
    if (r < 0)
        return r;
    *ret = STEAL(c);
    return 0;
}

/* ---- rows ---- */

static void context_of(const char *name, char buf[CONTEXT_MAX])
{
    snprintf(buf, CONTEXT_MAX, "credential/%s", name);
}

static int settings_of(const struct credential *c, char **ret, struct err *e)
{
    *ret = NULL;
    if (!credential_signs_in(c->type))
        return 0;
    json_t *o = json_pack("{s:s*, s:s*, s:s*, s:s*, s:b, s:b}", "tenant_id", c->tenant_id, "client_id", c->client_id, "proof",
                          credential_proof_name(c->proof), "token_file", c->token_file, "password", c->password != NULL, "signed_in", c->signed_in);
    int r = o ? sql_dump(o, ret, e) : err_oom(e);
    json_decref(o);
    return r;
}

/* What is sealed: the secret, and when there is a password too, both as JSON. */
static int seal(struct db *db, const struct credential *c, uint8_t **ret, size_t *ret_n, struct err *e)
{
    char context[CONTEXT_MAX];
    AUTO_SECRET char *both = NULL;
    context_of(c->name, context);
    if (c->password) {
        json_t *o = json_pack("{s:s, s:s}", "secret", c->secret, "password", c->password);
        both = o ? json_dumps(o, JSON_COMPACT) : NULL;
        json_decref(o);
        if (!both)
            return err_oom(e);
    }
    return secret_seal(db->box, context, both ? both : c->secret ? c->secret : "", ret, ret_n, e);
}

static int unseal(struct db *db, const void *sealed, size_t n, bool has_password, struct credential *c, struct err *e)
{
    char context[CONTEXT_MAX];
    AUTO_SECRET char *text = NULL;
    context_of(c->name, context);
    int r = secret_unseal(db->box, context, sealed, n, &text, e);
    if (r < 0)
        return r;
    if (!has_password) {
        c->secret = *text ? STEAL(text) : NULL;
        return 0;
    }
    json_t *o = json_loads(text, 0, NULL);
    const char *secret = json_string_value(json_object_get(o, "secret")), *password = json_string_value(json_object_get(o, "password"));
    c->secret = str_dup(secret);
    c->password = str_dup(password);
    r = !secret || !password ? sql_damaged(e, "the secret of the credential \"%s\" has another form than it should", c->name)
                             : !c->secret || !c->password ? err_oom(e) : 0;
    json_decref(o);
    return r;
}

int credential_put(struct db *db, const struct credential *c, bool *ret_created, struct err *e)
{
    AUTO_FREE uint8_t *sealed = NULL;
    AUTO_FREE char *settings = NULL;
    size_t n;
    int r;
    if ((r = seal(db, c, &sealed, &n, e)) < 0 || (r = settings_of(c, &settings, e)) < 0)
        return r;
    AUTO_TX struct sql_tx tx = {0};
    int64_t others;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = sql_int(db, &others, e, "SELECT count(*) FROM credential WHERE name <> ?1", SS(c->name))) < 0)
        return r;
    if (others >= CREDENTIALS_MAX) {
        err_set(e, ERR_BUSY, "there are %d credentials already, which is the limit", CREDENTIALS_MAX);
        return err_hint(e, "Delete credentials that are not used any more.");
    }
    /* the time tells one version from the next, also when both are put within a millisecond */
    int updated = sql_run(db, e, "UPDATE credential SET type = ?2, account = ?3, sealed = ?4, settings = ?6, updated_at_ms = max(?5, updated_at_ms + 1)"
                          " WHERE name = ?1", SS(c->name), SS(type_words[c->type]), SS(c->account), SB(sealed, n), SI(clock_now_ms()), SS(settings));
    if (updated < 0)
        return updated;
    if (!updated && (r = sql_run(db, e, "INSERT INTO credential (name, type, account, sealed, settings, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?6, ?5)",
                                 SS(c->name), SS(type_words[c->type]), SS(c->account), SB(sealed, n), SI(clock_now_ms()), SS(settings))) < 0)
        return r;
    if ((r = sql_commit(&tx, e)) < 0)
        return r;
    *ret_created = !updated;
    return 0;
}

static int read_settings(const json_t *o, struct credential *c, bool *ret_password, struct err *e)
{
    int r;
    *ret_password = json_is_true(json_object_get(o, "password"));
    if ((r = sql_member(o, "tenant_id", &c->tenant_id, e)) < 0 || (r = sql_member(o, "client_id", &c->client_id, e)) < 0 ||
        (r = sql_member(o, "token_file", &c->token_file, e)) < 0)
        return r;
    const char *proof = json_string_value(json_object_get(o, "proof"));
    for (int i = PROOF_CLIENT_SECRET; proof && i < PROOFS; i++)
        if (!strcmp(proof, proof_words[i]))
            c->proof = (enum credential_proof)i;
    c->signed_in = json_is_true(json_object_get(o, "signed_in"));
    return 0;
}

/* Columns: name, type, account, updated_at_ms, settings. */
#define COLUMNS "name, type, account, updated_at_ms, settings"
static int from_row(sqlite3_stmt *q, struct credential *c, bool *ret_password, struct err *e)
{
    json_t *settings = NULL;
    int r;
    if ((r = sql_dup(q, 0, &c->name, e)) < 0 || (r = sql_dup(q, 2, &c->account, e)) < 0 || (r = sql_json(q, 4, &settings, e)) < 0)
        return r;
    c->updated_at_ms = sql_i64(q, 3);
    r = read_settings(settings, c, ret_password, e);
    json_decref(settings);
    if (r < 0)
        return r;
    const char *word = sql_text(q, 1);
    for (int i = 0; word && i < CREDENTIAL_TYPES; i++)
        if (!strcmp(word, type_words[i])) {
            c->type = (enum credential_type)i;
            return 0;
        }
    return sql_damaged(e, "the database holds the credential \"%s\" with an unknown type", c->name);
}

int credential_get(struct db *db, const char *name, struct credential **ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    if ((r = sql_query(db, &q, e, "SELECT " COLUMNS ", sealed FROM credential WHERE name = ?1", SS(name))) < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "there is no credential \"%.64s\"", name);
    AUTO(credential_free_ptr) struct credential *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(e);
    bool has_password = false;
    const void *sealed = sqlite3_column_blob(q, 5);
    if ((r = from_row(q, c, &has_password, e)) < 0 || (r = unseal(db, sealed, (size_t)sqlite3_column_bytes(q, 5), has_password, c, e)) < 0)
        return r;
    *ret = STEAL(c);
    return 0;
}

int credential_list(struct db *db, struct credential **ret, size_t *ret_n, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    struct credential *list = calloc(CREDENTIALS_MAX, sizeof *list);
    size_t n = 0;
    int r;
    bool ignored;
    if (!list)
        return err_oom(e);
    r = sql_query(db, &q, e, "SELECT " COLUMNS " FROM credential ORDER BY name LIMIT ?1", SI(CREDENTIALS_MAX));
    while (r >= 0 && (r = sql_step(db, q, e)) > 0)
        r = from_row(q, &list[n++], &ignored, e);
    if (r < 0) {
        credential_list_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int credential_keep_refresh_token(struct db *db, const char *name, int64_t updated_at_ms, const char *token, struct err *e)
{
    char context[CONTEXT_MAX];
    AUTO_FREE uint8_t *sealed = NULL;
    size_t n;
    context_of(name, context);
    int r = secret_seal(db->box, context, token, &sealed, &n, e);
    if (r < 0)
        return r;
    AUTO_TX struct sql_tx tx = {0};
    if ((r = sql_begin(db, &tx, e)) < 0 ||
        (r = sql_run(db, e, "UPDATE credential SET sealed = ?3, settings = json_set(settings, '$.signed_in', json('true'))"
                     " WHERE name = ?1 AND updated_at_ms = ?2 AND type = 'device_code'", SS(name), SI(updated_at_ms), SB(sealed, n))) < 0)
        return r;
    return sql_commit(&tx, e);
}

int credential_only_sign_in(struct db *db, char **ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    if ((r = sql_query(db, &q, e, "SELECT name FROM credential WHERE type NOT IN ('account_key', 'sas') ORDER BY name LIMIT 2")) < 0 ||
        (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r) {
        err_set(e, ERR_MISSING, "there is no credential that signs in to Azure");
        return err_hint(e, "PUT /v1/credentials/{name} with a type such as managed_identity, service_principal or device_code.");
    }
    AUTO_FREE char *name = NULL;
    if ((r = sql_dup(q, 0, &name, e)) < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (r) {
        err_set(e, ERR_MISSING, "there are several credentials that sign in to Azure: one must be named");
        return err_hint(e, "Name it with credential; GET /v1/credentials lists them.");
    }
    *ret = STEAL(name);
    return 0;
}

int credential_delete(struct db *db, const char *name, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t user;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0)
        return r;
    r = sql_int(db, &user, e,
                "SELECT job.seq FROM (SELECT job AS seq FROM disk WHERE credential = ?1 UNION SELECT job FROM disk WHERE storage_credential = ?1) AS user"
                " JOIN job ON job.seq = user.seq WHERE job.state IN ('queued', 'running', 'paused')"
                " OR EXISTS (SELECT 1 FROM resource r WHERE r.job = job.seq AND r.kind IN ('sas', 'snapshot', 'blob', 'blob_snapshot')) LIMIT 1",
                SS(name));
    if (r < 0)
        return r;
    int used = r;
    if ((r = sql_run(db, e, "DELETE FROM credential WHERE name = ?1", SS(name))) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "there is no credential \"%.64s\"", name);
    if (used)
        return err_set(e, ERR_CRED_IN_USE, "the credential \"%s\" is used by a job that is not finished, or has not given back yet what it borrowed", name);
    return sql_commit(&tx, e);
}

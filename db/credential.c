#include "db/credential.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "db/sql.h"

#define NAME_BYTES_MAX 64
#define CONTEXT_MAX 96
#define KEY_TEXT_MAX 256
#define SAS_BYTES_MAX 4096
#define CREDENTIALS_MAX 1000

/* The types that are carried out come first, in the order of the enum. */
static const char *const type_words[] = {"account_key", "sas", "managed_identity", "arc", "service_principal", "az_cli", "device_code", NULL};

const char *credential_type_name(enum credential_type t)
{
    return type_words[t];
}

static void clear(struct credential *c)
{
    free(c->name);
    free(c->account);
    mem_free_secret(c->secret);
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

int credential_parse(const char *name, json_t *body, struct credential **ret, struct err *e)
{
    if (!credential_name_ok(name))
        return err_set(e, ERR_VALUE, "a credential's name is 1 to 64 of A-Z a-z 0-9 . _ - and has no '.' in front");
    AUTO(credential_free_ptr) struct credential *c = calloc(1, sizeof *c);
    if (!c || !(c->name = str_dup(name)))
        return err_oom(e);
    struct json_in in = json_in_root(body, e);
    json_in_require(&in, "type");
    int type = json_in_enum(&in, "type", type_words, CREDENTIAL_ACCOUNT_KEY);
    if (type >= CREDENTIAL_TYPES)
        return json_in_fail(&in, "type", ERR_VALUE, "this version does not use credentials of type \"%s\" yet; give \"account_key\" or \"sas\"",
                            type_words[type]);
    c->type = (enum credential_type)type;
    if (c->type == CREDENTIAL_ACCOUNT_KEY)
        parse_account_key(&in, c);
    else
        parse_sas(&in, c);
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

int credential_put(struct db *db, const struct credential *c, bool *ret_created, struct err *e)
{
    char context[CONTEXT_MAX];
    AUTO_FREE uint8_t *sealed = NULL;
    size_t n;
    int r;
    context_of(c->name, context);
    if ((r = secret_seal(db->box, context, c->secret, &sealed, &n, e)) < 0)
        return r;
    AUTO_TX struct sql_tx tx = {0};
    int64_t others;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = sql_int(db, &others, e, "SELECT count(*) FROM credential WHERE name <> ?1", SS(c->name))) < 0)
        return r;
    if (others >= CREDENTIALS_MAX) {
        err_set(e, ERR_BUSY, "there are %d credentials already, which is the limit", CREDENTIALS_MAX);
        return err_hint(e, "Delete credentials that are not used any more.");
    }
    int updated = sql_run(db, e, "UPDATE credential SET type = ?2, account = ?3, sealed = ?4, updated_at_ms = ?5 WHERE name = ?1", SS(c->name),
                          SS(type_words[c->type]), SS(c->account), SB(sealed, n), SI(clock_now_ms()));
    if (updated < 0)
        return updated;
    if (!updated && (r = sql_run(db, e, "INSERT INTO credential (name, type, account, sealed, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                                 SS(c->name), SS(type_words[c->type]), SS(c->account), SB(sealed, n), SI(clock_now_ms()))) < 0)
        return r;
    if ((r = sql_commit(&tx, e)) < 0)
        return r;
    *ret_created = !updated;
    return 0;
}

/* Columns: name, type, account, updated_at_ms. */
static int from_row(sqlite3_stmt *q, struct credential *c, struct err *e)
{
    int r;
    if ((r = sql_dup(q, 0, &c->name, e)) < 0 || (r = sql_dup(q, 2, &c->account, e)) < 0)
        return r;
    c->updated_at_ms = sql_i64(q, 3);
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
    if ((r = sql_query(db, &q, e, "SELECT name, type, account, updated_at_ms, sealed FROM credential WHERE name = ?1", SS(name))) < 0 ||
        (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "there is no credential \"%.64s\"", name);
    AUTO(credential_free_ptr) struct credential *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(e);
    char context[CONTEXT_MAX];
    context_of(name, context);
    const void *sealed = sqlite3_column_blob(q, 4);
    if ((r = from_row(q, c, e)) < 0 || (r = secret_unseal(db->box, context, sealed, (size_t)sqlite3_column_bytes(q, 4), &c->secret, e)) < 0)
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
    if (!list)
        return err_oom(e);
    r = sql_query(db, &q, e, "SELECT name, type, account, updated_at_ms FROM credential ORDER BY name LIMIT ?1", SI(CREDENTIALS_MAX));
    while (r >= 0 && (r = sql_step(db, q, e)) > 0)
        r = from_row(q, &list[n++], e);
    if (r < 0) {
        credential_list_free(list, n);
        return r;
    }
    *ret = list;
    *ret_n = n;
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
                "SELECT job.seq FROM disk JOIN job ON job.seq = disk.job WHERE disk.credential = ?1"
                " AND job.state IN ('queued', 'running', 'paused') LIMIT 1", SS(name));
    if (r < 0)
        return r;
    int used = r;
    if ((r = sql_run(db, e, "DELETE FROM credential WHERE name = ?1", SS(name))) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "there is no credential \"%.64s\"", name);
    if (used)
        return err_set(e, ERR_CRED_IN_USE, "the credential \"%s\" is used by a job that is not finished", name);
    return sql_commit(&tx, e);
}

#include "service/azure.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define REQUEST_TRIES 4
#define REQUEST_PAUSE_MAX_MS 20000

/* ---- opening ---- */

/* The refresh token of a person's sign-in, for the next start of the daemon. It also stays in memory, so a failure costs one more sign-in
 * after that start and nothing else. */
static void on_refresh_token(void *daemon, const char *credential, int64_t revision, const char *refresh_token)
{
    struct daemon *d = daemon;
    AUTO(db_close_ptr) struct db *db = NULL;
    struct err e;
    if (db_open(d->db_path, d->box, &db, &e) < 0 || credential_keep_refresh_token(db, credential, revision, refresh_token, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "a sign-in is not kept for the next start", &e);
}

int daemon_azure_open(struct daemon *d, struct err *e)
{
    const struct config *c = d->cfg;
    struct azure_config ac = {
        .cloud = {.cloud = c->cloud, .arm_endpoint = c->arm_endpoint, .login_endpoint = c->login_endpoint, .imds_endpoint = c->imds_endpoint,
                  .arc_endpoint = c->arc_endpoint, .blob_suffix = c->blob_suffix, .disk_sas_suffix = c->disk_sas_suffix,
                  .arc_token_dir = c->arc_token_dir},
        .http = {.ca_file = *c->ca_file ? c->ca_file : NULL}, .keep_refresh_token = on_refresh_token, .arg = d};
    return azure_open(&ac, &d->azure, e);
}

/* ---- credentials ---- */

struct token_identity azure_identity(const struct credential *c)
{
    static const enum token_method proofs[] = {[PROOF_CLIENT_SECRET] = TOKEN_CLIENT_SECRET, [PROOF_CERTIFICATE] = TOKEN_CERTIFICATE,
                                               [PROOF_TOKEN_FILE] = TOKEN_TOKEN_FILE};
    static const enum token_method types[CREDENTIAL_TYPES] = {
        [CREDENTIAL_MANAGED_IDENTITY] = TOKEN_MANAGED_IDENTITY, [CREDENTIAL_ARC] = TOKEN_ARC, [CREDENTIAL_AZ_CLI] = TOKEN_AZ_CLI,
        [CREDENTIAL_DEVICE_CODE] = TOKEN_DEVICE_CODE};
    return (struct token_identity){.method = c->type == CREDENTIAL_SERVICE_PRINCIPAL ? proofs[c->proof] : types[c->type], .name = c->name,
                                   .tenant_id = c->tenant_id, .client_id = c->client_id, .secret = c->secret, .password = c->password,
                                   .token_file = c->token_file, .revision = c->updated_at_ms};
}

int azure_credential(struct db *db, const char *name, struct credential **ret, struct err *e)
{
    AUTO(credential_free_ptr) struct credential *c = NULL;
    int r = credential_get(db, name, &c, e);
    if (r == -ERR_NOT_FOUND)
        return err_set(e, ERR_CREDENTIAL, "there is no credential \"%.64s\"", name);
    if (r < 0)
        return r;
    if (!credential_signs_in(c->type) || (c->type == CREDENTIAL_SERVICE_PRINCIPAL && c->proof == PROOF_NONE)) {
        err_set(e, ERR_CREDENTIAL, "the credential \"%s\" of type %s does not sign in to Azure", c->name, credential_type_name(c->type));
        return err_hint(e, "Name one of type managed_identity, arc, service_principal, az_cli or device_code.");
    }
    *ret = STEAL(c);
    return 0;
}

/* ---- clients ---- */

static void on_code(void *run, const struct token_code *code)
{
    char until[CLOCK_TEXT];
    clock_format(code->expires_at_ms, until);
    log_info("a person must sign in", KS("credential", code->credential), KS("verification_url", code->verification_url));
    task_run_event(run, "sign_in_needed", json_pack("{s:s, s:s, s:s, s:s, s:s}", "credential", code->credential, "user_code", code->user_code,
                                                    "verification_url", code->verification_url, "message", code->message, "expires_at", until));
}

/* Azure has the daemon wait: a task that stands still says why. */
static void on_pause(void *run, unsigned ms, const struct err *why)
{
    const char *reason = why->code ? why->msg : "Azure lets only so many requests pass in a time, and few are left";
    log_info("waiting for Azure", KI("seconds", ms / 1000), KS("reason", reason));
    task_run_event(run, "waiting_for_azure", json_pack("{s:i, s:s}", "seconds", (int)(ms / 1000), "reason", reason));
}

struct token_wait task_token_wait(struct task_run *t)
{
    return (struct token_wait){.stop = task_run_stop, .show_code = on_code, .arg = t};
}

int task_arm_open(struct task_run *t, const char *credential, struct arm **ret, struct err *e)
{
    AUTO(credential_free_ptr) struct credential *c = NULL;
    int r = azure_credential(t->db, credential, &c, e);
    if (r < 0)
        return r;
    struct arm_config ac = {.azure = t->d->azure, .identity = azure_identity(c), .wait = task_token_wait(t), .on_pause = on_pause};
    return arm_open(&ac, ret, e);
}

int request_arm_open(struct daemon *d, struct db *db, const char *credential, bool (*stop)(void *arg), void *arg, struct arm **ret, struct err *e)
{
    AUTO(credential_free_ptr) struct credential *c = NULL;
    int r = azure_credential(db, credential, &c, e);
    if (r < 0)
        return r;
    struct arm_config ac = {.azure = d->azure, .identity = azure_identity(c), .wait = {.stop = stop, .arg = arg}, .max_tries = REQUEST_TRIES,
                            .max_pause_ms = REQUEST_PAUSE_MAX_MS};
    return arm_open(&ac, ret, e);
}

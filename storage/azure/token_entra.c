/* Sign-in at Microsoft Entra: service principals (secret, certificate, federated token), device code, refresh tokens. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "storage/azure/token_internal.h"

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define DEVICE_GRANT "urn:ietf:params:oauth:grant-type:device_code"
#define ASSERTION_LIFE_S 600
#define PUBLIC_CLIENT "04b07795-8ddb-461a-bbee-02f9e1bf7b46"        /* the Azure CLI's app, which every tenant knows */
#define CODE_LIFE_MAX_S 3600
#define INTERVAL_MAX_MS 60000

static bool entra_retries(int status)
{
    return status == 408 || status == 429 || status >= 500;
}
static const struct token_policy policy = {.service = "entra", .tries = 4, .delays_ms = {500, 1000, 2000, 4000, 4000}, .unreachable_tries = 3,
                                           .retry = entra_retries};

/* ---- forms ---- */

struct field { const char *name, *value; };

/* application/x-www-form-urlencoded; a secret. */
static char *form(const struct field *fields, size_t n)
{
    AUTO_STRBUF struct strbuf b = {.max = 4 * TOKEN_BYTES_MAX};
    for (size_t i = 0; i < n; i++) {
        char *value = curl_easy_escape(NULL, fields[i].value, 0);
        if (!value)
            b.failed = true;
        else
            strbuf_addf(&b, "%s%s=%s", i ? "&" : "", fields[i].name, value);
        if (value)
            mem_wipe(value, strlen(value));
        curl_free(value);
    }
    return strbuf_steal(&b);
}

static const char *client_of(const struct token_ask *ask)
{
    return ask->id->client_id ? ask->id->client_id : PUBLIC_CLIENT;
}

static char *entra_url(const struct token_ask *ask, const char *what)
{
    return str_printf("%s/%s/oauth2/v2.0/%s", ask->cfg->cloud->login, ask->id->tenant_id ? ask->id->tenant_id : "organizations", what);
}

static int post(const struct token_ask *ask, const char *what, const struct field *fields, size_t n, struct rest_answer *a, struct err *e)
{
    AUTO_FREE char *url = entra_url(ask, what);
    AUTO_SECRET char *body = form(fields, n);
    if (!url || !body)
        return err_oom(e);
    struct rest_request q = {.method = "POST", .url = url, .headers = {"Content-Type: application/x-www-form-urlencoded", "Accept: application/json"},
                             .body = body, .timeout_ms = 30000, .stop = ask->stop, .arg = ask->arg};
    return token_request(ask, &policy, &q, a, e);
}

static int parse(const struct rest_answer *a, struct token_got *ret, struct err *e)
{
    return token_parse(a->body.data ? a->body.data : "", a->body.len, "Microsoft Entra", NULL, (int64_t)time(NULL), ret, e);
}

static int ask_token(const struct token_ask *ask, const struct field *fields, size_t n, struct token_got *ret, struct err *e)
{
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    int r = post(ask, "token", fields, n, &a, e);
    if (r < 0)
        return r;
    return a.headers.status == 200 ? parse(&a, ret, e) : token_refusal(ask, "entra", &a, NULL, e);
}

/* ---- service principals ---- */

int token_from_secret(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    const struct field fields[] = {{"grant_type", "client_credentials"}, {"client_id", ask->id->client_id}, {"scope", ask->scope},
                                   {"client_secret", ask->id->secret}};
    return ask_token(ask, fields, ARRAY_LEN(fields), ret, e);
}

static int ask_with_assertion(const struct token_ask *ask, const char *assertion, struct token_got *ret, struct err *e)
{
    const struct field fields[] = {{"grant_type", "client_credentials"}, {"client_id", ask->id->client_id}, {"scope", ask->scope},
                                   {"client_assertion_type", ASSERTION_TYPE}, {"client_assertion", assertion}};
    return ask_token(ask, fields, ARRAY_LEN(fields), ret, e);
}

static char *encoded(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    char *ret = text ? crypto_base64url(text, strlen(text)) : NULL;
    free(text);
    return ret;
}

/* The assertion of RFC 7523, signed PS256 as Entra asks for. */
static int sign_assertion(const struct token_ask *ask, const struct crypto_cert *cert, char **ret, struct err *e)
{
    uint8_t digest[SHA256_LEN];
    char id[UUID_LEN];
    int r;
    if ((r = crypto_cert_sha256(cert, digest, e)) < 0 || (r = crypto_uuid(id, e)) < 0)
        return r;
    long long now = (long long)time(NULL);
    AUTO_FREE char *audience = entra_url(ask, "token");
    AUTO_FREE char *thumbprint = crypto_base64url(digest, sizeof digest);
    if (!audience || !thumbprint)
        return err_oom(e);
    AUTO_FREE char *head = encoded(json_pack("{s:s, s:s, s:s}", "alg", "PS256", "typ", "JWT", "x5t#S256", thumbprint));
    AUTO_FREE char *claims = encoded(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "aud", audience, "iss", ask->id->client_id, "sub",
                                               ask->id->client_id, "jti", id, "nbf", (json_int_t)now, "iat", (json_int_t)now, "exp",
                                               (json_int_t)(now + ASSERTION_LIFE_S)));
    AUTO_FREE char *signed_part = head && claims ? str_printf("%s.%s", head, claims) : NULL;
    AUTO_FREE uint8_t *signature = NULL;
    size_t n;
    if (!signed_part)
        return err_oom(e);
    if ((r = crypto_cert_sign_ps256(cert, signed_part, strlen(signed_part), &signature, &n, e)) < 0)
        return r;
    AUTO_FREE char *last = crypto_base64url(signature, n);
    *ret = last ? str_printf("%s.%s", signed_part, last) : NULL;
    return *ret ? 0 : err_oom(e);
}

static int open_certificate(const struct token_ask *ask, struct crypto_cert **ret, struct err *e)
{
    const char *text = ask->id->secret ? ask->id->secret : "";
    uint8_t *raw = NULL;
    size_t n = 0;
    int r;
    if (strstr(text, "-----BEGIN ")) {
        r = crypto_cert_open(text, strlen(text), ask->id->password, ret, e);
    } else if (crypto_base64_decode(text, &raw, &n)) {
        r = crypto_cert_open(raw, n, ask->id->password, ret, e);
        mem_wipe(raw, n);
        free(raw);
    } else {
        r = err_set(e, ERR_VALUE, "it is neither PEM nor PKCS#12 in base64");
    }
    if (r == 0 || r == -ERR_OOM)
        return r;
    e->code = ERR_CREDENTIAL;
    err_prefix(e, "the certificate of credential \"%s\" cannot be used", ask->id->name);
    return err_hint(e, "Put the credential again with certificate and private key.");
}

int token_from_certificate(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    AUTO(crypto_cert_close_ptr) struct crypto_cert *cert = NULL;
    AUTO_SECRET char *assertion = NULL;
    int r = open_certificate(ask, &cert, e);
    if (r < 0)
        return r;
    int64_t until = crypto_cert_expires_ms(cert);
    if (until && until < clock_now_ms()) {
        char text[CLOCK_TEXT];
        clock_format(until, text);
        err_set(e, ERR_CREDENTIAL, "the certificate of credential \"%s\" expired at %s", ask->id->name, text);
        return err_hint(e, "Register a new certificate for the app, and put the credential again with it.");
    }
    if ((r = sign_assertion(ask, cert, &assertion, e)) < 0)
        return r;
    return ask_with_assertion(ask, assertion, ret, e);
}

/* Read anew each time: whoever writes the file renews it. */
int token_from_file(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    AUTO_SECRET char *assertion = NULL;
    size_t n = 0;
    int r = os_read_file(ask->id->token_file, TOKEN_BYTES_MAX, &assertion, &n, e);
    if (r < 0) {
        e->code = ERR_CREDENTIAL;
        err_prefix(e, "the token file of credential \"%s\"", ask->id->name);
        return err_hint(e, "The file must be there, readable for the daemon, and hold one token.");
    }
    while (n && strchr("\r\n \t", assertion[n - 1]))
        assertion[--n] = 0;
    for (size_t i = 0; i < n; i++)
        if (assertion[i] <= ' ' || assertion[i] > '~')
            n = 0;
    if (!n)
        return err_set(e, ERR_CREDENTIAL, "the token file %s of credential \"%s\" holds no token", ask->id->token_file, ask->id->name);
    return ask_with_assertion(ask, assertion, ret, e);
}

/* ---- people ---- */

void token_pending_clear(struct token_pending *p)
{
    mem_free_secret(p->device_code);
    mem_free_secret(p->user_code);
    free(p->verification_url);
    free(p->message);
    *p = (struct token_pending){0};
}

static char *member_text(const json_t *o, const char *key, size_t max)
{
    const char *s = json_string_value(json_object_get(o, key));
    if (!s || !*s || strlen(s) > max)
        return NULL;
    char *text = malloc(max + 1);
    if (text)
        rest_text(s, NULL, text, max + 1);
    return text;
}

static int64_t member_number(const json_t *o, const char *key, int64_t def, int64_t max)
{
    const json_t *j = json_object_get(o, key);
    unsigned long long n;
    int64_t v = json_is_integer(j)                                                                    ? json_integer_value(j)
                : json_is_string(j) && str_to_u64(json_string_value(j), (unsigned long long)max, &n) ? (int64_t)n
                                                                                                      : def;
    return v < 1 ? def : v > max ? max : v;
}

int token_parse_code(const struct rest_answer *a, struct token_pending *ret, struct err *e)
{
    json_error_t ignored;
    json_t *o = a->body.len ? json_loadb(a->body.data, a->body.len, 0, &ignored) : NULL;
    const char *device_code = json_string_value(json_object_get(o, "device_code"));
    struct token_pending p = {
        .device_code = device_code && strlen(device_code) <= TOKEN_BYTES_MAX ? str_dup(device_code) : NULL,
        .user_code = member_text(o, "user_code", 64), .verification_url = member_text(o, "verification_uri", 300),
        .message = member_text(o, "message", 600),
        .interval_ms = (unsigned)member_number(o, "interval", 5, INTERVAL_MAX_MS / 1000) * 1000,
        .expires_at_ms = clock_mono_ms() + member_number(o, "expires_in", 900, CODE_LIFE_MAX_S) * 1000};
    if (!p.verification_url)
        p.verification_url = member_text(o, "verification_url", 300);
    json_decref(o);
    if (!p.device_code || !p.user_code || !p.verification_url) {
        token_pending_clear(&p);
        return err_set(e, ERR_UPSTREAM, "Microsoft Entra answered a device code sign-in without a code");
    }
    if (!p.message)
        p.message = str_printf("To sign in, open %s in a browser and enter the code %s.", p.verification_url, p.user_code);
    if (!p.message) {
        token_pending_clear(&p);
        return err_oom(e);
    }
    *ret = p;
    return 0;
}

/* The sign-in is for what we need first; its refresh token gives tokens for the rest. */
static char *code_scope(const struct token_ask *ask)
{
    return str_printf("%s/user_impersonation offline_access", ask->cfg->cloud->arm);
}

int token_code_start(const struct token_ask *ask, struct token_pending *ret, struct err *e)
{
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    AUTO_FREE char *scope = code_scope(ask);
    if (!scope)
        return err_oom(e);
    const struct field fields[] = {{"client_id", client_of(ask)}, {"scope", scope}};
    int r = post(ask, "devicecode", fields, ARRAY_LEN(fields), &a, e);
    if (r < 0)
        return r;
    return a.headers.status == 200 ? token_parse_code(&a, ret, e) : token_refusal(ask, "entra", &a, NULL, e);
}

int token_code_poll(const struct token_ask *ask, struct token_pending *p, struct token_got *ret, struct err *e)
{
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    const struct field fields[] = {{"grant_type", DEVICE_GRANT}, {"client_id", client_of(ask)}, {"device_code", p->device_code}};
    char word[64];
    struct token_identity id = *ask->id;
    struct token_ask own = *ask;
    id.secret = p->device_code;                      /* what an answer must not repeat */
    own.id = &id;
    int r = post(&own, "token", fields, ARRAY_LEN(fields), &a, e);
    if (r < 0)
        return r == -ERR_CANCELLED || r == -ERR_OOM || r == -ERR_TLS ? r : 0;       /* the code may be entered all the same */
    if (a.headers.status == 200)
        return (r = parse(&a, ret, e)) < 0 ? r : 1;
    r = token_refusal(&own, "entra", &a, word, e);
    if (!strcmp(word, "authorization_pending"))
        return 0;
    if (!strcmp(word, "slow_down")) {
        p->interval_ms = p->interval_ms + 5000 < INTERVAL_MAX_MS ? p->interval_ms + 5000 : INTERVAL_MAX_MS;
        return 0;
    }
    if (!strcmp(word, "expired_token") || !strcmp(word, "code_expired"))
        return 2;                                    /* also long before the time that was told */
    return e->code == ERR_CREDENTIAL ? r : 0;
}

int token_from_refresh(const struct token_ask *ask, const char *refresh_token, struct token_got *ret, struct err *e)
{
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    AUTO_FREE char *scope = str_printf("%s offline_access", ask->scope);
    if (!scope)
        return err_oom(e);
    const struct field fields[] = {{"grant_type", "refresh_token"}, {"client_id", client_of(ask)}, {"scope", scope}, {"refresh_token", refresh_token}};
    struct token_identity id = *ask->id;
    struct token_ask own = *ask;
    id.secret = refresh_token;
    own.id = &id;
    int r = post(&own, "token", fields, ARRAY_LEN(fields), &a, e);
    if (r < 0)
        return r;
    if (a.headers.status == 200)
        return (r = parse(&a, ret, e)) < 0 ? r : 1;
    r = token_refusal(&own, "entra", &a, NULL, e);
    return e->code == ERR_CREDENTIAL ? 0 : r;
}

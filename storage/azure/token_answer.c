/* What sign-in services answer: tokens, and why not. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "storage/azure/token_internal.h"

void token_got_clear(struct token_got *g)
{
    mem_free_secret(g->token);
    mem_free_secret(g->refresh_token);
    *g = (struct token_got){0};
}

/* ---- tokens ---- */

/* A number, or a text of digits: IMDS sends texts where Entra sends numbers. */
static bool number_of(const json_t *j, int64_t *ret)
{
    unsigned long long n;
    if (json_is_integer(j))
        *ret = json_integer_value(j);
    else if (json_is_real(j) && json_real_value(j) >= 0 && json_real_value(j) < 1e15)
        *ret = (int64_t)json_real_value(j);
    else if (json_is_string(j) && str_to_u64(json_string_value(j), INT64_MAX, &n))
        *ret = (int64_t)n;
    else
        return false;
    return *ret >= 0;
}

/* az before 2.54 sends only this: the host's local time. */
static bool local_time_of(const json_t *j, int64_t *ret_s)
{
    struct tm tm = {.tm_isdst = -1};
    const char *s = json_string_value(j);
    if (!s || sscanf(s, "%4d-%2d-%2d%*1[ T]%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6 ||
        tm.tm_year < 1970 || tm.tm_year > 9999)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t t = mktime(&tm);
    *ret_s = (int64_t)t;
    return t != (time_t)-1;
}

/* Goes into a header line: nothing that could end it. */
static bool is_token(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    return n > 0 && n <= TOKEN_BYTES_MAX;
}

static const char *member(const json_t *o, const char *a, const char *b)
{
    const char *s = json_string_value(json_object_get(o, a));
    return s || !b ? s : json_string_value(json_object_get(o, b));
}

/* expires_in counts from now, whatever this host's clock says; the others are times of day. */
static bool life_of(const json_t *o, int64_t now_s, int64_t *ret)
{
    int64_t at;
    if (number_of(json_object_get(o, "expires_in"), ret))
        return true;
    if (!number_of(json_object_get(o, "expires_on"), &at) && !local_time_of(json_object_get(o, "expiresOn"), &at))
        return false;
    *ret = at - now_s;
    return true;
}

int token_parse(const char *text, size_t n, const char *what, const char *wanted_client, int64_t now_s, struct token_got *ret, struct err *e)
{
    json_error_t ignored;
    json_t *o = json_loadb(text, n, 0, &ignored);
    struct token_got g = {0};
    int r = 0;
    const char *token = member(o, "access_token", "accessToken"), *type = member(o, "token_type", "tokenType");
    const char *refresh = member(o, "refresh_token", NULL), *client = member(o, "client_id", NULL);
    if (!json_is_object(o))
        r = err_set(e, ERR_UPSTREAM, "%s answered a request for a token with something that is no JSON object", what);
    else if (!token || !is_token(token))
        r = err_set(e, ERR_UPSTREAM, "%s answered a request for a token without a usable one", what);
    else if (type && !str_ieq(type, "Bearer"))
        r = err_set(e, ERR_UPSTREAM_FINAL, "%s gave a token of another type than Bearer", what);
    else if (!life_of(o, now_s, &g.life_s))
        r = err_set(e, ERR_UPSTREAM, "%s does not say how long its token lives", what);
    else if (g.life_s < 1)
        r = err_set(e, ERR_UPSTREAM, "%s gave a token that has expired already; is this host's clock right?", what);
    else if (wanted_client && client && !str_ieq(client, wanted_client)) {
        err_set(e, ERR_CREDENTIAL, "%s gave the token of another identity than client_id names", what);
        r = err_hint(e, "Update the agent, or leave client_id out to use the identity that it has.");
    }
    if (r == 0) {
        if (g.life_s > TOKEN_LIFE_MAX_S)
            g.life_s = TOKEN_LIFE_MAX_S;
        g.token = str_dup(token);
        g.refresh_token = refresh && is_token(refresh) ? str_dup(refresh) : NULL;
        if (!g.token) {
            token_got_clear(&g);
            r = err_oom(e);
        } else
            *ret = g;
    }
    json_decref(o);
    return r;
}

/* ---- refusals ---- */

/* What to do about it, by `error`, or by the number of Entra's own code. */
static const struct {
    const char *word;
    const char *hint;
} hints[] = {
    {"AADSTS7000215", "The client secret is wrong: put the credential again with the secret's value (not its id)."},
    {"AADSTS7000222", "The client secret has expired: make a new one for the app registration and put the credential again."},
    {"AADSTS700016", "The tenant does not know this client_id: check tenant_id and client_id."},
    {"AADSTS90002", "There is no such tenant: check tenant_id, and [azure] cloud in vmrecover.conf."},
    {"AADSTS900023", "tenant_id is no tenant: give its GUID or one of its domain names."},
    {"AADSTS700027", "The certificate is not registered for the app, or has expired: upload it to the app registration."},
    {"AADSTS700021", "The assertion's times were not accepted: check this host's clock."},
    {"AADSTS700024", "The assertion's times were not accepted: check this host's clock, and that the token file is renewed."},
    {"AADSTS70021", "No federated credential of the app fits the token file: compare issuer, subject and audience."},
    {"AADSTS700213", "No federated credential of the app fits the token file: compare issuer, subject and audience."},
    {"AADSTS7000112", "The app is disabled in the tenant: let its administrator enable it."},
    {"AADSTS65001", "Nobody has consented to this app in the tenant: leave client_id out, or let an administrator consent."},
    {"AADSTS53003", "A Conditional Access policy forbids it: use another kind of credential, or let an administrator exempt this one."},
    {"AADSTS50076", "The sign-in needs multi-factor authentication again: sign in once more."},
    {"invalid_client", "Check client_id and the secret, certificate or token file, and put the credential again."},
    {"unauthorized_client", "The app may not sign in this way: allow it in the app registration."},
    {"access_denied", "The sign-in was declined."},
    {"authorization_declined", "The sign-in was declined: start again and confirm it."},
    {"bad_verification_code", "The code is not valid any more: start again."},
    {"identity_not_found", "Give the VM a managed identity, or name one that it has with client_id."},
};

static const char *hint_of(const char *word, const char *description)
{
    for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
        const char *at = str_starts(hints[i].word, "AADSTS") ? strstr(description, hints[i].word) : NULL;
        if ((at && at[strlen(hints[i].word)] == ':') || !strcmp(word, hints[i].word))
            return hints[i].hint;
    }
    return NULL;
}

/* The first sentence; what follows are ids, of which the correlation id is kept apart. */
static void cut_ids(char *s)
{
    static const char *const begin[] = {" Trace ID:", " Correlation ID:", "\\r\\n"};
    for (size_t i = 0; i < ARRAY_LEN(begin); i++) {
        char *at = strstr(s, begin[i]);
        if (at)
            *at = 0;
    }
}

static enum err_code code_of(int status, const char *word)
{
    static const char *const busy[] = {"temporarily_unavailable", "server_error", "timeout", "service_unavailable"};
    for (size_t i = 0; i < ARRAY_LEN(busy); i++)
        if (!strcmp(word, busy[i]))
            return ERR_UPSTREAM;
    if (status == 429)
        return ERR_THROTTLED;
    if (status == 408 || status >= 500)
        return ERR_UPSTREAM;
    return status >= 400 ? ERR_CREDENTIAL : ERR_UPSTREAM_FINAL;
}

/* Never with the secret in it, wherever a service repeats it. */
static void copy_word(const char *from, const char *secret, char *to, size_t size)
{
    if (from && secret && *secret && strstr(from, secret))
        from = NULL;
    size_t n = from ? strspn(from, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") : 0;
    snprintf(to, size, "%.*s", n < size ? (int)n : (int)size - 1, from ? from : "");
}

int token_refusal(const struct token_ask *ask, const char *service, const struct rest_answer *a, char ret_word[64], struct err *e)
{
    json_error_t ignored;
    json_t *o = a->body.len ? json_loadb(a->body.data, a->body.len, 0, &ignored) : NULL;
    char word[64], text[300], request[96];
    copy_word(member(o, "error", NULL), ask->id->secret, word, sizeof word);
    const char *description = member(o, "error_description", NULL);
    rest_text(description ? description : "", ask->id->secret, text, sizeof text);
    copy_word(member(o, "correlation_id", "trace_id"), ask->id->secret, request, sizeof request);
    json_decref(o);
    cut_ids(text);
    const char *hint = hint_of(word, text);
    enum err_code code = code_of(a->headers.status, word);
    err_set(e, code, "the sign-in with credential \"%s\" was answered %d%s%s%s%s by %s", ask->id->name, a->headers.status, *word ? " " : "", word,
            *text ? ": " : "", text, service);
    if (hint && code == ERR_CREDENTIAL)
        err_hint(e, "%s", hint);
    snprintf(e->upstream.service, sizeof e->upstream.service, "%s", service);
    e->upstream.status = a->headers.status;
    snprintf(e->upstream.code, sizeof e->upstream.code, "%s", word);
    snprintf(e->upstream.request_id, sizeof e->upstream.request_id, "%s", *request ? request : a->headers.request_id);
    e->retry_after_ms = a->headers.retry_after_ms;
    if (ret_word)
        snprintf(ret_word, 64, "%s", word);
    return -(int)code;
}

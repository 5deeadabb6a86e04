/* What Azure Resource Manager means when it says no, in every shape that it has been seen to say it. */
#include <stdio.h>
#include <string.h>

#include "common/url.h"
#include "storage/azure/azure_internal.h"

#define BODY_PARSE_MAX ((size_t)256 << 10)
#define DEPTH_MAX 4                                  /* of `details` and `innererror` */

struct said {
    char code[96], message[400];
    bool specific;                                   /* the code says more than "something failed" */
};

/* ---- what was asked ---- */

void arm_what(const char *method, const char *url, char ret[ARM_WHAT_MAX])
{
    const char *path = strstr(url, "://");
    path = path ? strchr(path + 3, '/') : strchr(url, '/');
    if (!path)
        path = "/";
    size_t n = strcspn(path, "?#");
    const char *at = NULL;
    for (const char *p = path; p < path + n; p++)     /* behind the last namespace: type, name, action */
        if (str_istarts(p, "/providers/"))
            at = p + 11;
    if (at && at < path + n) {
        size_t skip = strcspn(at, "/?#");
        if (at[skip] == '/') {
            n -= (size_t)(at + skip + 1 - path);
            path = at + skip + 1;
        }
    }
    AUTO_FREE char *text = str_ndup(path, n < 170 ? n : 170);
    char clean[ARM_WHAT_MAX];
    rest_text(text ? text : "", NULL, clean, sizeof clean);
    snprintf(ret, ARM_WHAT_MAX, "%.10s %.185s", method, clean);
}

/* ---- bodies ---- */

/* Codes that wrap another: what is inside says more. */
static bool is_wrapper(const char *code)
{
    static const char *const wrappers[] = {"", "OperationNotAllowed", "BadRequest", "Conflict", "InternalError", "DeploymentFailed", "OperationFailed",
                                           "ResourceOperationFailure"};
    for (size_t i = 0; i < ARRAY_LEN(wrappers); i++)
        if (str_ieq(code, wrappers[i]))
            return true;
    return false;
}

static void copy_code(const char *from, char *ret, size_t size)
{
    size_t n = from ? strspn(from, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") : 0;
    snprintf(ret, size, "%.*s", n < size ? (int)n : (int)size - 1, from ? from : "");
}

/* Members come as "code" and as "Code". */
static const json_t *member(const json_t *o, const char *lower, const char *upper)
{
    const json_t *j = json_object_get(o, lower);
    return j ? j : json_object_get(o, upper);
}

/* {"code","message","details":[{…}],"innererror":{…}}: the outermost message, and the code that says most. */
static void read_error(const json_t *o, struct said *ret, unsigned depth)
{
    const char *code = json_string_value(member(o, "code", "Code")), *message = json_string_value(member(o, "message", "Message"));
    char own[96];
    copy_code(code, own, sizeof own);
    if (*own && !ret->specific) {
        memcpy(ret->code, own, sizeof own);
        ret->specific = !is_wrapper(own);
    }
    if (message && !ret->message[0])
        rest_text(message, NULL, ret->message, sizeof ret->message);
    if (depth == DEPTH_MAX)
        return;
    const json_t *details = member(o, "details", "Details");
    size_t n = json_array_size(details);
    for (size_t i = 0; i < n && i < 8 && !ret->specific; i++) {
        struct said inner = {0};
        read_error(json_array_get(details, i), &inner, depth + 1);
        if (inner.specific) {
            memcpy(ret->code, inner.code, sizeof ret->code);
            ret->specific = true;
            if (!ret->message[0])
                memcpy(ret->message, inner.message, sizeof ret->message);
        }
    }
}

static void read_json(const json_t *o, struct said *ret)
{
    const json_t *error = member(o, "error", "Error");
    if (json_is_object(error)) {
        read_error(error, ret, 0);
    } else if (json_is_string(error)) {              /* as the sign-in service words it */
        const char *text = json_string_value(json_object_get(o, "error_description"));
        copy_code(json_string_value(error), ret->code, sizeof ret->code);
        rest_text(text ? text : "", NULL, ret->message, sizeof ret->message);
    } else {
        read_error(o, ret, 0);
    }
}

/* A page of some proxy or gateway: its title, without markup. */
static void read_html(const char *body, struct said *ret)
{
    const char *from = NULL;
    for (const char *p = body; *p && !from; p++)
        if (*p == '<' && (str_istarts(p, "<title>") || str_istarts(p, "<h1>") || str_istarts(p, "<h2>")))
            from = strchr(p, '>') + 1;
    if (!from)
        return;
    AUTO_FREE char *title = str_ndup(from, strcspn(from, "<"));
    rest_text(title ? title : "", NULL, ret->message, sizeof ret->message);
}

static void read_body(const struct rest_answer *a, struct said *ret)
{
    *ret = (struct said){0};
    if (!a->body.len)
        return;
    json_error_t ignored;
    const char *p = str_starts(a->body.data, "\xEF\xBB\xBF") ? a->body.data + 3 : a->body.data;
    size_t n = a->body.len - (size_t)(p - a->body.data);
    json_t *o = n <= BODY_PARSE_MAX ? json_loadb(p, n, 0, &ignored) : NULL;
    if (json_is_object(o))
        read_json(o, ret);
    else if (!o && strchr(p, '<'))
        read_html(p, ret);
    json_decref(o);
}

/* ---- meaning ---- */

static bool conflict_passes(const char *code, const char *message)
{
    static const char *const words[] = {"AnotherOperationInProgress", "ConflictingConcurrentWriteNotAllowed", "ConcurrentOperationsNotAllowed",
                                        "OperationPreempted", "RetryableError", "RetryableErrorDueToAnotherOperation"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(code, words[i]))
            return true;
    return str_ieq(code, "OperationNotAllowed") && strstr(message, "nother operation is in progress");
}

/* Codes that an operation, which has no HTTP status of its own, ends with. */
static const struct {
    const char *code;
    enum err_code ours;
} failures[] = {
    {"NotFound", ERR_NOT_FOUND}, {"ResourceNotFound", ERR_NOT_FOUND}, {"Conflict", ERR_WRONG_STATE}, {"OperationNotAllowed", ERR_WRONG_STATE},
    {"AuthorizationFailed", ERR_CREDENTIAL}, {"LinkedAuthorizationFailed", ERR_CREDENTIAL}, {"InternalServerError", ERR_UPSTREAM},
    {"InternalExecutionError", ERR_UPSTREAM}, {"InternalOperationError", ERR_UPSTREAM}, {"InternalError", ERR_UPSTREAM},
    {"ServiceUnavailable", ERR_UPSTREAM}, {"ServerTimeout", ERR_UPSTREAM}, {"OperationTimedOut", ERR_UPSTREAM},
    {"NetworkingInternalOperationError", ERR_UPSTREAM}, {"TooManyRequests", ERR_THROTTLED},
};

static enum err_code classify(int status, const struct said *s)
{
    const char *code = s->code;
    if (conflict_passes(code, s->message))
        return ERR_UPSTREAM;
    for (size_t i = 0; status == 0 && i < ARRAY_LEN(failures); i++)
        if (str_ieq(code, failures[i].code))
            return failures[i].ours;
    switch (status) {
    case 401:
    case 403: return str_ieq(code, "RequestDisallowedByPolicy") || str_ieq(code, "ReadOnlyDisabledSubscription") ? ERR_UPSTREAM_FINAL : ERR_CREDENTIAL;
    case 404:
    case 410: return ERR_NOT_FOUND;
    case 409:
    case 412: return ERR_WRONG_STATE;
    case 429: return ERR_THROTTLED;
    case 408:
    case 500:
    case 502:
    case 503:
    case 504: return ERR_UPSTREAM;
    default: return status >= 500 ? ERR_UPSTREAM : ERR_UPSTREAM_FINAL;
    }
}

static const struct {
    const char *code, *hint;
} hints[] = {
    {"InvalidAuthenticationTokenTenant", "The credential signs in to another tenant than the subscription's: put it again with that tenant_id."},
    {"InvalidAuthenticationToken", "Check [azure] cloud in vmrecover.conf and this host's clock, and put the credential again."},
    {"ExpiredAuthenticationToken", "Check this host's clock."},
    {"SubscriptionNotFound", "Check the subscription's id; it is also said of subscriptions that the credential may not see."},
    {"ResourceGroupNotFound", "Check the resource group's name and the subscription."},
    {"ResourceNotFound", "Check the id: name, resource group and subscription."},
    {"ScopeLocked", "A lock forbids the change: remove it for the time of the recovery."},
    {"RequestDisallowedByPolicy", "An Azure policy forbids it: exempt the resource group, or let the policy's owner allow it."},
    {"ReadOnlyDisabledSubscription", "The subscription is disabled: enable it again first."},
    {"MissingSubscriptionRegistration", "Register the provider Microsoft.Compute in the subscription."},
    {"QuotaExceeded", "Ask for a higher quota, or delete what is not needed."},
};

/* "… does not have authorization to perform action 'Microsoft.Compute/disks/read' over scope …" */
static bool missing_right(const char *message, char *ret, size_t size)
{
    const char *at = strstr(message, "action '");
    size_t n = at ? strcspn(at + 8, "'") : 0;
    if (!n || at[8 + n] != '\'' || n >= size)
        return false;
    snprintf(ret, size, "%.*s", (int)n, at + 8);
    return true;
}

static void add_hint(const struct arm *a, const struct said *s, struct err *e)
{
    char right[160];
    if (e->code == ERR_CREDENTIAL && missing_right(s->message, right, sizeof right)) {
        err_hint(e, "Give the identity of credential \"%s\" a role with %s at that scope (Reader to look; Disk Snapshot Contributor to export).",
                 a->identity.name, right);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(hints); i++)
        if (str_ieq(s->code, hints[i].code)) {
            err_hint(e, "%s", hints[i].hint);
            return;
        }
    if (e->code == ERR_CREDENTIAL)
        err_hint(e, "Check what the identity of credential \"%s\" may do in this subscription.", a->identity.name);
    else if (strstr(s->message, "attached to running VM"))
        err_hint(e, "Export a snapshot of the disk instead, or deallocate the VM.");
    else if (strstr(s->message, "active shared access signature"))
        err_hint(e, "Access to the disk was granted before and not given back: revoke it (az disk revoke-access), then retry.");
    else if (e->code == ERR_NOT_FOUND)
        err_hint(e, "Check the id: name, resource group and subscription.");
}

static void fill_upstream(int status, const struct said *s, const struct rest_answer *answer, struct err *e)
{
    snprintf(e->upstream.service, sizeof e->upstream.service, "arm");
    e->upstream.status = status;
    snprintf(e->upstream.code, sizeof e->upstream.code, "%s", s->code);
    snprintf(e->upstream.request_id, sizeof e->upstream.request_id, "%s",
             answer->headers.request_id[0] ? answer->headers.request_id : answer->correlation_id);
    e->retry_after_ms = answer->headers.retry_after_ms;
}

int arm_error(const struct arm *a, const char *method, const char *url, const struct rest_answer *answer, struct err *e)
{
    struct said s;
    char what[ARM_WHAT_MAX];
    read_body(answer, &s);
    arm_what(method, url, what);
    int status = answer->headers.status;
    if (status == 401 && answer->challenge && !s.code[0] && strstr(answer->challenge, "error=\"invalid_token\""))
        snprintf(s.code, sizeof s.code, "InvalidAuthenticationToken");
    const char *target = answer->headers.location;
    AUTO_FREE char *redirect = status >= 300 && status < 400 && *target ? url_redact(target) : NULL;
    enum err_code ours = classify(status, &s);
    err_set(e, ours, "%s was answered %d%s%s%s%s%s%s", what, status, s.code[0] ? " " : "", s.code, s.message[0] ? ": " : "", s.message,
            redirect ? ", a redirect that is not followed, to " : "", redirect ? redirect : "");
    fill_upstream(status, &s, answer, e);
    add_hint(a, &s, e);
    return -(int)ours;
}

int arm_operation_error(const struct arm *a, const char *what, const char *state, const json_t *body, const struct rest_answer *answer, struct err *e)
{
    struct said s = {0};
    char clean[32];
    const json_t *error = member(body, "error", "Error");
    if (!error)                                      /* some put it where the result would be */
        error = member(json_object_get(body, "properties"), "error", "Error");
    if (json_is_object(error))
        read_error(error, &s, 0);
    copy_code(state, clean, sizeof clean);
    bool cancelled = str_ieq(clean, "Canceled") || str_ieq(clean, "Cancelled");
    enum err_code ours = cancelled ? ERR_UPSTREAM_FINAL : classify(0, &s);
    err_set(e, ours, "%s: the operation ended %s%s%s%s%s", what, clean, s.code[0] ? " with " : "", s.code, s.message[0] ? ": " : "", s.message);
    fill_upstream(0, &s, answer, e);
    add_hint(a, &s, e);
    return -(int)ours;
}

bool arm_error_is_gone(const struct err *e)
{
    static const char *const words[] = {"ResourceNotFound", "NotFound", "ResourceGroupNotFound"};
    for (size_t i = 0; e->code == ERR_NOT_FOUND && i < ARRAY_LEN(words); i++)
        if (str_ieq(e->upstream.code, words[i]))
            return true;
    return false;
}

bool arm_error_is_transient(const struct err *e)
{
    return e->code == ERR_THROTTLED || e->code == ERR_UPSTREAM || e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT || e->code == ERR_OOM;
}

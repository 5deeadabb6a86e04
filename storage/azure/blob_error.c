/* What Azure Storage (or a plain server) means when it says no. */
#include <expat.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/url.h"
#include "storage/azure/blob_internal.h"

struct error_body {
    char code[96], message[256], detail[256];
    char *into; /* the member that character data goes to, or NULL */
    size_t size, len;
    unsigned depth;
    XML_Parser parser;
};

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    struct error_body *b = arg;
    b->into = NULL;
    if (++b->depth != 2)
        return;
    b->len = 0;
#define INTO(element, member)                                                                                                    \
    if (!strcmp(name, element)) {                                                                                                \
        b->into = b->member;                                                                                                     \
        b->size = sizeof b->member;                                                                                              \
    }
    INTO("Code", code)
    INTO("Message", message)
    INTO("AuthenticationErrorDetail", detail)
#undef INTO
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    (void)name;
    struct error_body *b = arg;
    b->depth--;
    b->into = NULL;
}

static void XMLCALL on_text(void *arg, const XML_Char *s, int n)
{
    struct error_body *b = arg;
    for (int i = 0; b->into && i < n && b->len + 1 < b->size; i++) {
        b->into[b->len++] = s[i] >= ' ' && s[i] < 0x7F ? s[i] : s[i] == '\n' ? '\n' : ' ';
        b->into[b->len] = 0;
    }
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    struct error_body *b = arg;
    XML_StopParser(b->parser, XML_FALSE); /* no entities, so none that grow */
}

/* Cut or broken XML leaves what was read so far. */
static void parse(const char *body, struct error_body *ret)
{
    memset(ret, 0, sizeof *ret);
    const char *p = str_starts(body, "\xEF\xBB\xBF") ? body + 3 : body;
    if (*p != '<' || !(ret->parser = XML_ParserCreate("UTF-8")))
        return;
    XML_SetUserData(ret->parser, ret);
    XML_SetElementHandler(ret->parser, on_start, on_end);
    XML_SetCharacterDataHandler(ret->parser, on_text);
    XML_SetStartDoctypeDeclHandler(ret->parser, on_doctype);
    XML_Parse(ret->parser, p, (int)strlen(p), 0);
    XML_ParserFree(ret->parser);
    ret->message[strcspn(ret->message, "\n")] = 0; /* request id and time follow */
    char *secret = strstr(ret->message, "sig=");
    if (secret)
        *secret = 0;
    ret->code[strcspn(ret->code, "\n ")] = 0;
}

static bool any_of(const char *code, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(code, *words))
            return true;
    return false;
}

static bool sas_expired(const struct blob *b, const char *code, const struct error_body *body)
{
    if (!b->has_signature)
        return false;
    if (strstr(body->detail, "Signature not valid in the specified time frame") ||
        strstr(body->message, "Signature not valid in the specified time frame"))
        return true;
    if (strcmp(code, "AuthenticationFailed") && strcmp(code, "AuthorizationFailure") && *code)
        return false;
    /* A SAS without se= belongs to a stored policy or to a granted disk access: what worked when it was made ended since. */
    return b->sas_expires_ms ? b->sas_expires_ms < clock_now_ms() : !strcmp(code, "AuthenticationFailed");
}

static const struct {
    const char *code, *hint;
} hints[] = {
    {"ContainerNotFound", "The account answers, but the container does not exist: check the container's name in the URL."},
    {"BlobNotFound",
     "The container is there, but not the blob: check the blob's name in the URL, upper and lower case included."},
    {"ResourceNotFound", "Azure says so for a missing blob and also when anonymous access is off: check the URL, and add a SAS "
                         "or name a credential."},
    {"PublicAccessNotPermitted", "The account does not allow anonymous access: add a SAS to the URL or name a credential."},
    {"NoAuthenticationInformation", "The URL has no SAS: add one that allows reading, or name a credential."},
    {"InvalidAuthenticationInfo", "The disk asks for a Microsoft Entra token besides the SAS (data access authentication mode): "
                                  "switch that off for this disk, or use another SAS."},
    {"AuthorizationPermissionMismatch", "The SAS or account does not allow reading: make a SAS with permission r."},
    {"AuthorizationProtocolMismatch", "The SAS is for https only: use an https URL."},
    {"AuthorizationSourceIPMismatch", "The SAS admits other addresses only: make one that admits this host."},
    {"AuthorizationResourceTypeMismatch",
     "The SAS does not cover objects: make one for the blob, or an account SAS with resource type o."},
    {"AuthorizationServiceMismatch", "The SAS does not cover the Blob service: make one for the blob."},
    {"AuthorizationFailure", "The account's network rules may keep this host out, or the SAS does not fit: allow this host's "
                             "address, or make a new SAS."},
    {"KeyBasedAuthenticationNotPermitted", "The account does not allow keys, nor SAS made from them: use a user delegation SAS."},
    {"BlobArchived", "The blob is in the archive tier: rehydrate it first."},
};

/* Says the code that the message shall carry: 408 and 5xx are worth a further try, most of 4xx not. */
static enum err_code classify(const struct blob *b, int status, const char *code, const struct error_body *body)
{
    static const char *const denied[] = {"PublicAccessNotPermitted", "KeyBasedAuthenticationNotPermitted", NULL};
    if (any_of(code, denied))
        return ERR_SOURCE_DENIED;
    switch (status) {
    case 401: return ERR_SOURCE_DENIED;
    case 403: return sas_expired(b, code, body) ? ERR_SAS_EXPIRED : ERR_SOURCE_DENIED;
    case 404:
    case 410: return ERR_SOURCE_NOT_FOUND;
    case 412: return ERR_SOURCE_CHANGED;
    case 408:
    case 500:
    case 502:
    case 504: return !strcmp(code, "OperationTimedOut") ? ERR_THROTTLED : ERR_UPSTREAM;
    case 429:
    case 503: return ERR_THROTTLED;
    default: break;
    }
    if (status == 400 && !strcmp(code, "ConditionHeadersNotSupported"))
        return ERR_UPSTREAM;
    return ERR_UPSTREAM_FINAL;
}

int blob_error(struct blob *b, const char *what, const struct http_headers *h, const char *body, struct err *e)
{
    struct error_body x;
    parse(body ? body : "", &x);
    const char *code = h->error_code[0] ? h->error_code : x.code;
    enum err_code ours = classify(b, h->status, code, &x);
    if (!strcmp(code, "ConditionHeadersNotSupported"))
        atomic_store(&b->no_conditions, true); /* the next try goes without; we compare the ETag ourselves anyway */
    char expired[CLOCK_TEXT];
    AUTO_FREE char *target = h->location[0] ? url_redact(h->location) : NULL; /* it may carry a signature of its own */
    if (h->status >= 300 && h->status < 400) {
        err_set(e, ours, "%s of %s was answered %d, a redirect to %.200s, which is not followed", what, b->name, h->status,
                target           ? target
                : h->location[0] ? "another place"
                                 : "nowhere");
    } else if (ours == ERR_SAS_EXPIRED && b->sas_expires_ms && b->sas_expires_ms < clock_now_ms()) {
        clock_format(b->sas_expires_ms, expired);
        err_set(e, ours, "%s of %s was answered %d%s%s: the SAS expired at %s", what, b->name, h->status, *code ? " " : "", code,
                expired);
    } else {
        err_set(e, ours, "%s of %s was answered %d%s%s%s%s", what, b->name, h->status, *code ? " " : "", code,
                x.message[0] ? ": " : "", x.message);
    }
    if (h->status >= 300 && h->status < 400)
        err_hint(e, "Give the URL that the redirect names.");
    if (ours == ERR_SOURCE_DENIED && b->auth == BLOB_ANONYMOUS && !strchr(b->url, '?'))
        err_hint(e, "The URL carries no SAS and no credential was named: this blob cannot be read by everybody. Give one of the two.");
    for (size_t i = 0; i < ARRAY_LEN(hints) && ours != ERR_SAS_EXPIRED; i++)
        if (!strcmp(hints[i].code, code))
            err_hint(e, "%s", hints[i].hint);
    if (b->auth == BLOB_SHARED_KEY && (!strcmp(code, "AuthenticationFailed") || !strcmp(code, "AuthorizationFailure")))
        err_hint(e, "The account key is not accepted, or the account's network rules keep this host out: put the credential "
                    "again with a current "
                    "key, check this host's clock (at most 15 minutes off), allow its address.");
    snprintf(e->upstream.service, sizeof e->upstream.service, "%s", h->azure ? "azure_storage" : "http");
    e->upstream.status = h->status;
    snprintf(e->upstream.code, sizeof e->upstream.code, "%s", code);
    snprintf(e->upstream.request_id, sizeof e->upstream.request_id, "%s", h->request_id);
    e->retry_after_ms = h->retry_after_ms;
    return -(int)e->code;
}

bool blob_error_is_refusal(const struct err *e)
{
    return (e->code == ERR_SOURCE_DENIED || e->code == ERR_SAS_EXPIRED) && (e->upstream.status == 401 || e->upstream.status == 403);
}

bool blob_error_is_transient(const struct err *e)
{
    return e->code == ERR_THROTTLED || e->code == ERR_UPSTREAM || e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT;
}

bool blob_backoff(unsigned attempt, unsigned max_ms, const struct err *e, bool (*stop)(void *), void *arg)
{
    unsigned ms = 250u << (attempt < 8 ? attempt - 1 : 7);
    if (e->retry_after_ms > ms)
        ms = e->retry_after_ms;
    if (ms > max_ms)
        ms = max_ms;
    for (int64_t end = clock_mono_ms() + ms; clock_mono_ms() < end; clock_sleep_ms(50))
        if (stop && stop(arg))
            return false;
    return !(stop && stop(arg));
}

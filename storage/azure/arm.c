#include "storage/azure/arm.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "common/url.h"
#include "storage/azure/azure_internal.h"

#define TRIES 5
#define BACKOFF_MAX_MS 30000

/* ---- opening ---- */

int arm_open(const struct arm_config *cfg, struct arm **ret, struct err *e)
{
    AUTO(arm_close_ptr) struct arm *a = calloc(1, sizeof *a);
    if (!a)
        return err_oom(e);
    const struct token_identity *id = &cfg->identity;
    a->azure = cfg->azure;
    a->wait = cfg->wait;
    a->max_tries = cfg->max_tries ? cfg->max_tries : TRIES;
    a->max_pause_ms = cfg->max_pause_ms;
    a->on_pause = cfg->on_pause;
    a->identity = (struct token_identity){
        .method = id->method, .revision = id->revision, .name = str_dup(id->name ? id->name : ""), .tenant_id = str_dup(id->tenant_id),
        .client_id = str_dup(id->client_id), .secret = str_dup(id->secret), .password = str_dup(id->password), .token_file = str_dup(id->token_file)};
    const struct token_identity *own = &a->identity;
    if (!own->name || (id->tenant_id && !own->tenant_id) || (id->client_id && !own->client_id) || (id->secret && !own->secret) ||
        (id->password && !own->password) || (id->token_file && !own->token_file))
        return err_oom(e);
    if (!(a->h = http_handle(&cfg->azure->http, cfg->azure->cloud->arm)))
        return err_oom(e);
    *ret = STEAL(a);
    return 0;
}

void arm_close(struct arm *a)
{
    if (!a)
        return;
    curl_easy_cleanup(a->h);
    free((char *)a->identity.name);
    free((char *)a->identity.tenant_id);
    free((char *)a->identity.client_id);
    mem_free_secret((char *)a->identity.secret);
    mem_free_secret((char *)a->identity.password);
    free((char *)a->identity.token_file);
    free(a);
}

const struct cloud *arm_cloud(const struct arm *a)
{
    return a->azure->cloud;
}

/* ---- URLs and bodies ---- */

char *arm_url(const struct arm *a, const char *path)
{
    return str_printf("%s%s", a->azure->cloud->arm, path);
}

int arm_check_url(const struct arm *a, const char *what, const char *url, struct err *e)
{
    size_t n = strlen(url);
    if (n > ARM_URL_MAX)
        return err_set(e, ERR_UPSTREAM_FINAL, "Azure answered with a %s of %zu bytes, which is not followed", what, n);
    bool plain = n > 0;
    for (const char *p = url; *p; p++)
        plain = plain && *p > ' ' && *p <= '~';
    if (plain && cloud_same_origin(url, a->azure->cloud->arm))
        return 0;
    AUTO_FREE char *name = plain ? url_redact(url) : NULL;
    err_set(e, ERR_UPSTREAM_FINAL, "Azure answered with a %s at %.200s, which is not %s: no token is sent there", what, name ? name : "no URL",
            a->azure->cloud->arm);
    return err_hint(e, "Check [azure] cloud and arm_endpoint in vmrecover.conf.");
}

int arm_json(const char *url, const struct rest_answer *a, json_t **ret, struct err *e)
{
    json_error_t je;
    char what[ARM_WHAT_MAX];
    const char *p = a->body.data ? a->body.data : "";
    size_t skip = str_starts(p, "\xEF\xBB\xBF") ? 3 : 0;
    json_t *o = a->body.len ? json_loadb(p + skip, a->body.len - skip, 0, &je) : NULL;
    if (json_is_object(o)) {
        *ret = o;
        return 0;
    }
    json_decref(o);
    arm_what("", url, what);
    err_set(e, ERR_UPSTREAM, "Azure answered%s with %s", what, a->body.len ? "something that is no JSON object" : "an empty body");
    snprintf(e->upstream.service, sizeof e->upstream.service, "arm");
    e->upstream.status = a->headers.status;
    snprintf(e->upstream.request_id, sizeof e->upstream.request_id, "%s", a->headers.request_id);
    return -ERR_UPSTREAM;
}

/* ---- one request with its retries ---- */

/* Doubled with each try, half of it at random, so that many do not come back together. */
static unsigned backoff_ms(unsigned attempt)
{
    unsigned ms = 1000u << (attempt < 6 ? attempt - 1 : 5), random = 0;
    struct err ignored;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    if (os_random(&random, sizeof random, &ignored) < 0)
        random = ms / 2;
    return ms / 2 + random % (ms / 2 + 1);
}

static int pause_for(struct arm *a, unsigned ms, struct err *e)
{
    if (a->max_pause_ms && ms > a->max_pause_ms) {
        struct err was = *e;
        err_set(e, ERR_THROTTLED, "Azure asks to wait %u s before the next request of this kind", (ms + 999) / 1000);
        e->upstream = was.upstream;
        e->retry_after_ms = ms;
        return -ERR_THROTTLED;
    }
    if (a->on_pause && ms >= ARM_TOLD_MS)
        a->on_pause(a->wait.arg, ms, e);
    return rest_pause(ms, a->wait.stop, a->wait.arg) ? 0 : err_set(e, ERR_CANCELLED, "stopped while Azure was asked");
}

/* With a token and within the budget. */
static int send_once(struct arm *a, const char *method, const char *url, const char *kind, const char *body, char **ret_token,
                     struct rest_answer *ret, struct err *e)
{
    AUTO_SECRET char *token = NULL;
    int r;
    err_clear(e);
    unsigned ms = budgets_take(a->azure->budgets, kind, clock_mono_ms());
    if (ms && (r = pause_for(a, ms, e)) < 0)
        return r;
    if ((r = tokens_get(a->azure->tokens, &a->identity, TOKEN_FOR_ARM, &a->wait, &token, e)) < 0)
        return r;
    AUTO_SECRET char *bearer = str_printf("Authorization: Bearer %s", token);
    if (!bearer)
        return err_oom(e);
    struct rest_request q = {.method = method, .url = url, .headers = {bearer, "Accept: application/json", body ? "Content-Type: application/json" : NULL},
                             .body = body, .max = ARM_BODY_MAX, .stop = a->wait.stop, .arg = a->wait.arg};
    r = rest_perform(a->h, &q, ret, e);
    if (r == 0)
        budgets_learn(a->azure->budgets, kind, ret->headers.status, ret->remaining.data, ret->headers.retry_after_ms, clock_mono_ms());
    *ret_token = STEAL(token);
    return r;
}

int arm_send(struct arm *a, const char *method, const char *url, const char *body, struct rest_answer *ret, struct err *e)
{
    char kind[BUDGET_KIND_MAX];
    const char *path = strstr(url, "://");
    path = path ? strchr(path + 3, '/') : NULL;
    budget_kind(method, path ? path : "/", kind);
    bool renewed = false;
    for (unsigned attempt = 1;; attempt++) {
        AUTO_SECRET char *token = NULL;
        int r = send_once(a, method, url, kind, body, &token, ret, e);
        if (r == 0 && ret->headers.status >= 200 && ret->headers.status < 300)
            return 0;
        if (!token)                                  /* it did not come to a request */
            return r;
        if (r == 0 && ret->headers.status == 401)
            tokens_refused(a->azure->tokens, &a->identity, TOKEN_FOR_ARM, token);
        if (r == 0 && ret->headers.status == 401 && !renewed) {
            renewed = true;
            attempt--;
            continue;
        }
        if (r == 0)
            r = arm_error(a, method, url, ret, e);
        if (!arm_error_is_transient(e) || e->code == ERR_OOM || attempt >= a->max_tries)
            return r;
        unsigned ms = backoff_ms(attempt);
        if ((r = pause_for(a, e->retry_after_ms > ms ? e->retry_after_ms : ms, e)) < 0)
            return r;
    }
}

/* ---- reading ---- */

int arm_get(struct arm *a, const char *path, json_t **ret, struct err *e)
{
    AUTO(rest_answer_clear) struct rest_answer answer = {0};
    AUTO_FREE char *url = arm_url(a, path);
    if (!url)
        return err_oom(e);
    int r = arm_send(a, "GET", url, NULL, &answer, e);
    return r < 0 ? r : arm_json(url, &answer, ret, e);
}

static int add_page(const char *url, const json_t *page, json_t *all, struct err *e)
{
    json_t *value = json_object_get(page, "value"), *item;
    char what[ARM_WHAT_MAX];
    size_t i;
    if (!json_is_array(value)) {
        arm_what("", url, what);
        return err_set(e, ERR_UPSTREAM, "Azure answered%s with a page without a list", what);
    }
    if (json_array_size(all) + json_array_size(value) > ARM_ITEMS_MAX)
        return err_set(e, ERR_UPSTREAM_FINAL, "Azure lists more than %d items", ARM_ITEMS_MAX);
    json_array_foreach(value, i, item) {
        if (json_is_object(item) && json_array_append(all, item) < 0)
            return err_oom(e);
    }
    return 0;
}

int arm_list(struct arm *a, const char *path, json_t **ret, struct err *e)
{
    AUTO_FREE char *url = arm_url(a, path);
    json_t *all = json_array();
    int r = url && all ? 0 : err_oom(e);
    for (unsigned pages = 0; r == 0 && url; pages++) {
        AUTO(rest_answer_clear) struct rest_answer answer = {0};
        json_t *page = NULL;
        if (pages == ARM_PAGES_MAX)
            r = err_set(e, ERR_UPSTREAM_FINAL, "Azure gives a list more than %d pages", ARM_PAGES_MAX);
        if (r == 0 && (r = arm_send(a, "GET", url, NULL, &answer, e)) == 0 && (r = arm_json(url, &answer, &page, e)) == 0)
            r = add_page(url, page, all, e);
        const char *next = r == 0 ? json_string_value(json_object_get(page, "nextLink")) : NULL;
        if (next && *next && (r = arm_check_url(a, "nextLink", next, e)) == 0 && !strcmp(next, url))
            r = err_set(e, ERR_UPSTREAM_FINAL, "Azure gives a list whose next page is the same page");
        char *follow = r == 0 && next && *next ? str_dup(next) : NULL;
        if (r == 0 && next && *next && !follow)
            r = err_oom(e);
        json_decref(page);
        free(url);
        url = follow;
    }
    if (r < 0) {
        json_decref(all);
        return r;
    }
    *ret = all;
    return 0;
}

#include "storage/azure/azure.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "storage/azure/azure_internal.h"

#define INSTANCE_API "2021-02-01"
#define REGION_MAX 64
#define ASK_AGAIN_MS 300000

int azure_open(const struct azure_config *cfg, struct azure **ret, struct err *e)
{
    AUTO(azure_close_ptr) struct azure *a = calloc(1, sizeof *a);
    if (!a)
        return err_oom(e);
    pthread_mutex_init(&a->lock, NULL);
    a->http = cfg->http;
    a->asked_at_ms = INT64_MIN;
    if (!(a->budgets = budgets_new()))
        return err_oom(e);
    int r = cloud_open(&cfg->cloud, &a->cloud, e);
    if (r < 0)
        return r;
    struct tokens_config tc = {.cloud = a->cloud, .http = cfg->http, .keep_refresh_token = cfg->keep_refresh_token, .arg = cfg->arg};
    if ((r = tokens_open(&tc, &a->tokens, e)) < 0)
        return r;
    *ret = STEAL(a);
    return 0;
}

void azure_close(struct azure *a)
{
    if (!a)
        return;
    tokens_close(a->tokens);
    budgets_free(a->budgets);
    cloud_close(a->cloud);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

const struct cloud *azure_cloud(const struct azure *a)
{
    return a->cloud;
}

struct tokens *azure_tokens(struct azure *a)
{
    return a->tokens;
}

const struct http_config *azure_http(const struct azure *a)
{
    return &a->http;
}

/* ---- the host ---- */

static void ask_region(struct azure *a, char *ret, size_t size)
{
    AUTO_FREE char *url = str_printf("%s/metadata/instance?api-version=" INSTANCE_API, a->cloud->imds);
    AUTO(rest_answer_clear) struct rest_answer answer = {0};
    CURL *h = url ? http_handle(&a->http, url) : NULL;
    struct rest_request q = {.method = "GET", .url = url, .headers = {"Metadata: true"}, .connect_ms = 1000, .timeout_ms = 3000, .no_proxy = true};
    struct err ignored;
    *ret = 0;
    if (!h)
        return;
    if (rest_perform(h, &q, &answer, &ignored) == 0 && answer.headers.status == 200 && answer.body.len) {
        json_error_t je;
        json_t *o = json_loadb(answer.body.data, answer.body.len, 0, &je);
        const char *s = json_string_value(json_object_get(json_object_get(o, "compute"), "location"));
        if (s && strlen(s) < size && !s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")])
            snprintf(ret, size, "%s", s);
        json_decref(o);
    }
    curl_easy_cleanup(h);
}

void azure_host_region(struct azure *a, char *ret, size_t size)
{
    char region[REGION_MAX];
    pthread_mutex_lock(&a->lock);
    int64_t now = clock_mono_ms();
    bool known = a->region[0] || (a->asked_at_ms != INT64_MIN && now - a->asked_at_ms < ASK_AGAIN_MS);
    snprintf(ret, size, "%s", a->region);
    pthread_mutex_unlock(&a->lock);
    if (known)
        return;
    ask_region(a, region, sizeof region);
    pthread_mutex_lock(&a->lock);
    snprintf(a->region, sizeof a->region, "%s", region);
    a->asked_at_ms = clock_mono_ms();
    pthread_mutex_unlock(&a->lock);
    snprintf(ret, size, "%s", region);
}

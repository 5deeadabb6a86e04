/* What the typed operations share, and subscriptions. */
#include "storage/azure/compute.h"

#include <stdio.h>
#include <string.h>

#include "common/crypto.h"
#include "storage/azure/compute_internal.h"
#include "storage/azure/rest.h"

#define GIB_MAX (UINT64_C(1) << 20)                  /* 1 PiB: far beyond any disk */

/* ---- reading ---- */

const json_t *compute_member(const json_t *o, const char *path)
{
    while (o && *path) {
        char key[64];
        size_t n = strcspn(path, ".");
        if (n >= sizeof key)
            return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        o = json_object_get(o, key);
        path += n + (path[n] == '.');
    }
    return o;
}

const char *compute_text(const json_t *o, const char *path)
{
    const char *s = json_string_value(compute_member(o, path));
    return s ? s : "";
}

void compute_copy(char *to, size_t size, const json_t *o, const char *path)
{
    rest_text(compute_text(o, path), NULL, to, size);
}

char *compute_dup(const json_t *o, const char *path, bool *failed)
{
    const char *s = compute_text(o, path);
    if (!*s)
        return NULL;
    size_t n = strlen(s);
    if (n > 2048)                                    /* no name, id or URL that is meant is longer */
        n = 2048;
    char *copy = malloc(n + 1);
    if (copy)
        rest_text(s, NULL, copy, n + 1);
    else
        *failed = true;
    return copy;
}

uint64_t compute_gib(const json_t *o, const char *path)
{
    const json_t *j = compute_member(o, path);
    json_int_t n = json_integer_value(j);
    return n > 0 && (uint64_t)n <= GIB_MAX ? (uint64_t)n << 30 : 0;
}

unsigned compute_generation(const char *word)
{
    return str_ieq(word, "V1") ? 1 : str_ieq(word, "V2") ? 2 : 0;
}

/* ---- paths ---- */

char *compute_path(const char *id, const char *type, const char *action, const char *api, struct err *e)
{
    struct arm_id x;
    char path[ARM_ID_MAX];
    if (arm_id_parse(id, type, &x, e) < 0)
        return NULL;
    arm_id_path(&x, path);
    const char *query = strchr(action, '?') ? "&" : "?";
    char *ret = str_printf("%s%s%sapi-version=%s", path, action, query, api);
    if (!ret)
        err_oom(e);
    return ret;
}

char *compute_list_path(const char *subscription, const char *resource_group, const char *type, const char *query, struct err *e)
{
    struct arm_id x;
    char path[ARM_ID_MAX];
    char *ret;
    if (!crypto_is_uuid(subscription)) {
        err_set(e, ERR_VALUE, "a subscription is named by its id, a GUID, not by \"%.60s\"", subscription);
        return NULL;
    }
    if (resource_group) {
        if (arm_id_make(subscription, resource_group, type, "x", &x, e) < 0) {
            err_set(e, ERR_VALUE, "\"%.100s\" is no name of a resource group", resource_group);
            return NULL;
        }
        arm_id_path(&x, path);
        path[strlen(path) - 2] = 0;                  /* "/x" */
        ret = str_printf("%s?%s", path, query);
    } else {
        ret = str_printf("/subscriptions/%s/providers/%s?%s", subscription, type, query);
    }
    if (!ret)
        err_oom(e);
    return ret;
}

/* ---- subscriptions ---- */

void compute_subscriptions_free(struct compute_subscription *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        free(list[i].name);
    free(list);
}

int compute_subscriptions(struct arm *a, struct compute_subscription **ret, size_t *ret_n, struct err *e)
{
    json_t *all = NULL, *o;
    int r = arm_list(a, "/subscriptions?api-version=" COMPUTE_SUBSCRIPTION_API, &all, e);
    if (r < 0)
        return r;
    size_t n = 0, i;
    bool failed = false;
    struct compute_subscription *list = calloc(json_array_size(all) + 1, sizeof *list);
    json_array_foreach(all, i, o) {
        const char *id = compute_text(o, "subscriptionId");
        if (!list || !crypto_is_uuid(id))
            continue;
        struct compute_subscription *s = &list[n++];
        COMPUTE_COPY(s->id, o, "subscriptionId");
        COMPUTE_COPY(s->tenant_id, o, "tenantId");
        COMPUTE_COPY(s->state, o, "state");
        s->name = compute_dup(o, "displayName", &failed);
    }
    json_decref(all);
    if (!list || failed) {
        compute_subscriptions_free(list, n);
        return err_oom(e);
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

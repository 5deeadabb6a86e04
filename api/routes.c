/* Every path of the API. A row of method and path; {id} and {checkpoint} take UUIDs, {name} a credential's name, {asset} that of a file
 * of the dashboard, {slot} a number.
 * What does not have that form is no object, so it is never looked up. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "db/credential.h"
#include "db/job.h"

const struct route routes[] = {
    {"GET", "/", dashboard_get, ROUTE_PAGE, {0}},
    {"GET", "/assets/{asset}", asset_get, ROUTE_OPEN, {0}},
    {"GET", "/sign-in", sign_in_get, ROUTE_OPEN | ROUTE_PAGE, {"code"}},
    {"POST", "/v1/sign_in_links", sign_in_link_post, 0, {0}},
    {"DELETE", "/v1/session", session_delete, 0, {0}},
    {"GET", "/healthz", healthz_get, ROUTE_OPEN, {0}},
    {"GET", "/metrics", metrics_get, 0, {0}},
    {"GET", "/v1/openapi.json", openapi_get, 0, {0}},
    {"GET", "/v1/host", host_get, ROUTE_SLOW, {0}},
    {"POST", "/v1/host/enable-hyperv", host_post_enable_hyperv, ROUTE_SLOW | ROUTE_JSON | ROUTE_EMPTY, {0}},
    {"POST", "/v1/jobs", jobs_post, ROUTE_JSON, {0}},
    {"GET", "/v1/jobs", jobs_get, 0, {"state", "limit", "cursor"}},
    {"GET", "/v1/jobs/{id}", job_get_one, 0, {0}},
    {"PATCH", "/v1/jobs/{id}", job_patch_one, ROUTE_JSON, {0}},
    {"DELETE", "/v1/jobs/{id}", job_delete_one, ROUTE_SLOW, {"disks"}},
    {"POST", "/v1/jobs/{id}/pause", job_post_pause, 0, {0}},
    {"POST", "/v1/jobs/{id}/resume", job_post_resume, 0, {0}},
    {"POST", "/v1/jobs/{id}/cancel", job_post_cancel, 0, {0}},
    {"POST", "/v1/jobs/{id}/retry", job_post_retry, ROUTE_JSON | ROUTE_EMPTY, {0}},
    {"POST", "/v1/jobs/{id}/verify", job_post_verify, 0, {0}},
    {"GET", "/v1/jobs/{id}/events", job_events_get, 0, {"after", "limit"}},
    {"GET", "/v1/events", events_get, 0, {"after", "limit"}},
    {"GET", "/v1/credentials", credentials_get, 0, {0}},
    {"PUT", "/v1/credentials/{name}", credential_put_one, ROUTE_JSON, {0}},
    {"DELETE", "/v1/credentials/{name}", credential_delete_one, 0, {0}},
    {"POST", "/v1/credentials/{name}/sign_in", credential_sign_in, ROUTE_SLOW, {"shown"}},
    {"GET", "/v1/azure/subscriptions", azure_subscriptions_get, ROUTE_SLOW, {"credential"}},
    {"GET", "/v1/azure/vms", azure_vms_get, ROUTE_SLOW, {"credential", "subscription", "resource_group", "filter"}},
    {"GET", "/v1/disks", disks_get, ROUTE_SLOW, {0}},
    {"GET", "/v1/volumes", volumes_get, ROUTE_SLOW, {0}},
    {"POST", "/v1/volumes", volumes_post, ROUTE_JSON | ROUTE_EMPTY, {0}},
    {"GET", "/v1/vms", vms_get, ROUTE_SLOW, {0}},
    {"GET", "/v1/vms/{id}", vm_get_one, ROUTE_SLOW, {0}},
    {"POST", "/v1/vms/{id}/start", vm_post_start, ROUTE_SLOW, {0}},
    {"POST", "/v1/vms/{id}/stop", vm_post_stop, ROUTE_SLOW, {0}},
    {"POST", "/v1/vms/{id}/shutdown", vm_post_shutdown, ROUTE_SLOW, {0}},
    {"POST", "/v1/vms/{id}/reset", vm_post_reset, ROUTE_SLOW, {0}},
    {"GET", "/v1/vms/{id}/console", display_get, ROUTE_SLOW, {0}},
    {"GET", "/v1/vms/{id}/screen", screen_get, ROUTE_SLOW, {"width"}},
    {"GET", "/v1/vms/{id}/serial", serial_get, ROUTE_SLOW, {"after"}},
    {"POST", "/v1/vms/{id}/serial", serial_post, ROUTE_SLOW | ROUTE_TEXT, {0}},
    {"POST", "/v1/vms/{id}/keys", keys_post, ROUTE_SLOW | ROUTE_JSON | ROUTE_IN_ORDER, {0}},
    {"PUT", "/v1/vms/{id}/dvd", vm_put_dvd, ROUTE_SLOW | ROUTE_JSON, {0}},
    {"DELETE", "/v1/vms/{id}/dvd", vm_delete_dvd, ROUTE_SLOW, {0}},
    {"GET", "/v1/vms/{id}/checkpoints", checkpoints_get, ROUTE_SLOW, {0}},
    {"POST", "/v1/vms/{id}/checkpoints", checkpoints_post, ROUTE_SLOW | ROUTE_JSON | ROUTE_EMPTY, {0}},
    {"POST", "/v1/vms/{id}/checkpoints/{checkpoint}/restore", checkpoint_restore, ROUTE_SLOW, {0}},
    {"DELETE", "/v1/vms/{id}/checkpoints/{checkpoint}", checkpoint_delete, ROUTE_SLOW, {0}},
    {"PUT", "/v1/vms/{id}/disks/{slot}", vm_put_disk, ROUTE_SLOW | ROUTE_JSON, {0}},
    {"DELETE", "/v1/vms/{id}/disks/{slot}", vm_delete_disk, ROUTE_SLOW, {0}},
    {"POST", "/v1/vms/{id}/export", vm_post_export, ROUTE_SLOW | ROUTE_JSON | ROUTE_EMPTY, {0}},
};
const size_t n_routes = ARRAY_LEN(routes);

/* One {parameter} against one part of the path. */
static bool take_part(struct request *rq, const char *pattern, const char *part, size_t n)
{
    char text[80];
    if (n == 0 || n >= sizeof text)
        return false;
    memcpy(text, part, n);
    text[n] = 0;
    if (str_starts(pattern, "{id}") || str_starts(pattern, "{checkpoint}")) {
        if (!crypto_is_uuid(text))
            return false;
        char *dst = pattern[1] == 'i' ? rq->id : rq->checkpoint;
        for (size_t i = 0; i <= n; i++)              /* our ids are lower case; either way names the same object */
            dst[i] = (char)tolower((unsigned char)text[i]);
        return true;
    }
    if (str_starts(pattern, "{asset}")) {
        snprintf(rq->name, sizeof rq->name, "%.64s", text);
        return n < sizeof rq->name && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
    }
    if (str_starts(pattern, "{name}")) {
        if (!credential_name_ok(text))
            return false;
        snprintf(rq->name, sizeof rq->name, "%.64s", text);
        return true;
    }
    unsigned long long slot;                         /* {slot} */
    if (!str_to_u64(text, HV_DISKS_MAX - 1, &slot))
        return false;
    rq->slot = (unsigned)slot;
    return true;
}

static bool matches(struct request *rq, const char *pattern, const char *path)
{
    for (;;) {
        size_t np = strcspn(pattern + 1, "/"), n = strcspn(path + 1, "/");
        if (pattern[1] == '{' ? !take_part(rq, pattern + 1, path + 1, n) : np != n || memcmp(pattern + 1, path + 1, n))
            return false;
        pattern += np + 1;
        path += n + 1;
        if (!*pattern || !*path)
            return *pattern == *path;
    }
}

int route_find(struct request *rq, const char *method, const char *path, struct err *e)
{
    AUTO_STRBUF struct strbuf allow = {.max = 100};
    rq->head = !strcmp(method, "HEAD");
    const char *wanted = rq->head ? "GET" : method;
    for (size_t i = 0; i < n_routes && *path == '/'; i++) {
        if (!matches(rq, routes[i].path, path))
            continue;
        if (!strcmp(routes[i].method, wanted)) {
            rq->route = &routes[i];
            return 0;
        }
        strbuf_addf(&allow, "%s%s", allow.len ? ", " : "", routes[i].method);
        if (!strcmp(routes[i].method, "GET"))
            strbuf_adds(&allow, ", HEAD");
    }
    if (!allow.len)
        return err_set(e, ERR_NOT_FOUND, "there is nothing at this path");
    rq->allow = strbuf_steal(&allow);
    return err_set(e, ERR_METHOD, "this path answers %s", rq->allow ? rq->allow : "other methods");
}

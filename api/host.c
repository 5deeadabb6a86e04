/* What this host can do, and whether the daemon is well. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/json.h"
#include "common/os.h"

#define ROWS_MAX 32
#define MEMORY_LOW (1ULL << 30)
#define SPACE_LOW (10ULL << 30)

int healthz_get(struct request *rq, struct err *e)
{
    const struct api_config *cfg = &rq->api->cfg;
    if (cfg->healthy && !cfg->healthy(cfg->arg))
        return err_set(e, ERR_STOPPING, "the daemon is stopping, or one of its parts has failed");
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_str(&w, "status", "ok");
    jsonw_close(&w, '}');
    return reply_json(rq, 200, &w, e);
}

static void row(struct jsonw *w, const char *check, enum hv_check_status status, const char *detail, const char *remedy)
{
    static const char *const words[] = {"ok", "warning", "failed"};
    jsonw_open(w, NULL, '{');
    jsonw_str(w, "check", check);
    jsonw_str(w, "status", words[status]);
    jsonw_str(w, "detail", detail);
    jsonw_str(w, "remedy", remedy);
    jsonw_close(w, '}');
}

static void capabilities(struct jsonw *w, unsigned set)
{
    static const struct { unsigned cap; const char *word; } words[] = {
        {HV_CAP_GEN2, "generation_2"}, {HV_CAP_SCREEN_TEXT, "screen_text"}, {HV_CAP_SERIAL, "serial"},
        {HV_CAP_CHECKPOINT, "checkpoints"}, {HV_CAP_NAT, "network_nat"}, {HV_CAP_SWITCH, "network_switch"},
        {HV_CAP_ATTACH, "attach_disk"}, {HV_CAP_EXPORT, "export"},
    };
    jsonw_open(w, "capabilities", '[');
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (set & words[i].cap)
            jsonw_str(w, NULL, words[i].word);
    jsonw_close(w, ']');
}

static void role_json(struct jsonw *w, const char *key, const struct hv_role *role)
{
    jsonw_open(w, key, '{');
    jsonw_str(w, "state", hv_role_name(role->state));
    if (role->state == HV_ROLE_ENABLING)
        jsonw_int(w, "percent", role->percent);
    else
        jsonw_null(w, "percent");
    json_t *error = role->state == HV_ROLE_FAILED ? json_from_err(&role->error) : NULL;
    jsonw_json(w, "error", error);
    json_decref(error);
    jsonw_close(w, '}');
}

/* The rows that follow are named once each: *ret_memory, *ret_rights: the hypervisor has said it, and knows better. */
static void hypervisor_rows(struct jsonw *w, struct api *api, bool *ret_memory, bool *ret_rights, struct hv_role *ret_role)
{
    *ret_role = (struct hv_role){.state = HV_ROLE_UNAVAILABLE};
    *ret_memory = *ret_rights = false;
    if (!api->cfg.hv) {
        row(w, "hypervisor", HV_CHECK_FAILED, api->hv_error.msg, err_hint_text(&api->hv_error));
        return;
    }
    struct hv_check *rows = calloc(ROWS_MAX, sizeof *rows);
    size_t n = rows ? hv_report(api->cfg.hv, rows, ROWS_MAX, ret_role) : 0;
    for (size_t i = 0; i < n; i++) {
        row(w, rows[i].check, rows[i].status, rows[i].detail, rows[i].remedy);
        *ret_memory = *ret_memory || !strcmp(rows[i].check, "memory");
        *ret_rights = *ret_rights || !strcmp(rows[i].check, "rights");
    }
    if (!rows)
        w->b.failed = true;
    free(rows);
}

int host_get(struct request *rq, struct err *e)
{
    struct api *api = rq->api;
    char text[128], name[256];
    uint64_t memory = os_memory_total(), available = os_memory_available(), space = 0;
    struct err space_err = {0};
    int r = os_free_space(api->cfg.data_dir, &space, &space_err);
    os_host_name(name, sizeof name);
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_str(&w, "version", VMR_VERSION);
    jsonw_str(&w, "host_name", name);
    jsonw_str(&w, "hypervisor", api->cfg.hv ? api->cfg.hv->ops->name : NULL);
    capabilities(&w, api->cfg.hv ? hv_capabilities(api->cfg.hv) : 0);
    jsonw_int(&w, "cpus", os_cpu_count());
    jsonw_u64(&w, "memory_total", memory);
    jsonw_u64(&w, "memory_available", available);
    if (r < 0)
        jsonw_null(&w, "free_space");
    else
        jsonw_u64(&w, "free_space", space);
    char region[64] = "";
    if (api->cfg.host_region)
        api->cfg.host_region(api->cfg.arg, region, sizeof region);
    jsonw_str(&w, "azure_region", *region ? region : NULL);
    jsonw_open(&w, "checks", '[');
    bool memory_said, rights_said;
    struct hv_role role;
    hypervisor_rows(&w, api, &memory_said, &rights_said, &role);

    snprintf(text, sizeof text, "%llu of %llu MiB are available", (unsigned long long)available >> 20, (unsigned long long)memory >> 20);
    bool low = available < MEMORY_LOW;
    if (!memory_said)
        row(&w, "memory", low ? HV_WARNING : HV_OK, text, low ? "Close other programs, or ask for less with vm.memory_mib." : "");

    snprintf(text, sizeof text, "%llu MiB are free where the disks go", (unsigned long long)space >> 20);
    low = r == 0 && space < SPACE_LOW;
    row(&w, "free_space", r < 0 ? HV_CHECK_FAILED : low ? HV_WARNING : HV_OK, r < 0 ? space_err.msg : text,
        r < 0 ? err_hint_text(&space_err) : low ? "Free space, or move the data folder to a larger volume." : "");

    bool admin = os_is_admin();
    if (!rights_said)
        row(&w, "rights", HV_OK, admin ? "the daemon runs as an administrator" : "the daemon runs as an ordinary account", "");
    jsonw_close(&w, ']');
    role_json(&w, "role", &role);
    jsonw_close(&w, '}');
    return reply_json(rq, 200, &w, e);
}

/* 202: it has begun, and takes minutes. */
int host_post_enable_hyperv(struct request *rq, struct err *e)
{
    struct json_in in = json_in_root(rq->json, e);
    bool force = json_in_bool(&in, "force", false);
    struct hv *hv = NULL;
    int r = json_in_end(&in);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_role_enable(hv, force, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    role_json(&w, NULL, &(struct hv_role){.state = HV_ROLE_ENABLING});
    if ((r = reply_json(rq, 202, &w, e)) == 0)
        reply_header(rq, "Location", "/v1/host");
    return r;
}

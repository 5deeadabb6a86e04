/* Sign-in by what this host is or has: a managed identity (IMDS), an Azure Arc agent, the Azure CLI. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/os.h"
#include "storage/azure/token_internal.h"

#define IMDS_API "2018-02-01"
#define ARC_API "2020-06-01"
#define CHALLENGE_MAX 4096                           /* bytes of an Arc challenge file */
#define AZ_TIMEOUT_MS 120000
#define WAIT_MAX_MS 20000                            /* that a service asks for: a longer wait is left to the caller, who is told of it */
#define AZ_OUTPUT_MAX ((size_t)256 << 10)

/* ---- retries, for all of sign-in ---- */

int token_request(const struct token_ask *ask, const struct token_policy *p, const struct rest_request *q, struct rest_answer *a, struct err *e)
{
    CURL *h = http_handle(&ask->cfg->http, q->url);
    if (!h)
        return err_oom(e);
    int64_t begun = clock_mono_ms();
    int r;
    for (unsigned attempt = 1, silent = 0;; attempt++) {
        r = rest_perform(h, q, a, e);
        bool none = r == -ERR_UNREACHABLE || r == -ERR_TIMEOUT;
        silent += none;
        if (r < 0 ? !none || silent >= p->unreachable_tries : !p->retry(a->headers.status))
            break;
        bool gone = r == 0 && a->headers.status == 410 && clock_mono_ms() - begun < p->gone_ms;
        if (attempt >= p->tries && !gone)
            break;
        unsigned ms = p->delays_ms[attempt <= ARRAY_LEN(p->delays_ms) ? attempt - 1 : ARRAY_LEN(p->delays_ms) - 1];
        if (none && ms > 1000)
            ms = 1000;
        if (r == 0 && a->headers.retry_after_ms > WAIT_MAX_MS)
            break;
        if (r == 0 && a->headers.retry_after_ms > ms)
            ms = a->headers.retry_after_ms;
        if (!rest_pause(ms, ask->stop, ask->arg)) {
            r = err_set(e, ERR_CANCELLED, "stopped during the sign-in");
            break;
        }
    }
    curl_easy_cleanup(h);
    if (r < 0 && r != -ERR_CANCELLED)
        err_prefix(e, "the sign-in with credential \"%s\" did not reach %s", ask->id->name, p->service);
    return r < 0 ? -(int)e->code : 0;
}

static bool imds_retries(int status)
{
    return status == 404 || status == 410 || status == 429 || status >= 500;
}

static int parse(const struct token_ask *ask, const struct rest_answer *a, const char *what, struct token_got *ret, struct err *e)
{
    return token_parse(a->body.data ? a->body.data : "", a->body.len, what, ask->id->client_id, (int64_t)time(NULL), ret, e);
}

/* ---- managed identity ---- */

static char *metadata_url(const struct token_ask *ask, const char *endpoint, const char *api)
{
    char *resource = curl_easy_escape(NULL, ask->resource, 0);
    char *client = ask->id->client_id ? curl_easy_escape(NULL, ask->id->client_id, 0) : NULL;
    char *url = resource && (client || !ask->id->client_id)
                    ? str_printf("%s/metadata/identity/oauth2/token?api-version=%s&resource=%s%s%s", endpoint, api, resource,
                                 client ? "&client_id=" : "", client ? client : "")
                    : NULL;
    curl_free(resource);
    curl_free(client);
    return url;
}

int token_from_imds(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    static const struct token_policy policy = {.service = "imds", .tries = 5, .delays_ms = {500, 2000, 6000, 14000, 30000}, .unreachable_tries = 2,
                                               .retry = imds_retries, .gone_ms = 70000};
    AUTO_FREE char *url = metadata_url(ask, ask->cfg->cloud->imds, IMDS_API);
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    if (!url)
        return err_oom(e);
    struct rest_request q = {.method = "GET", .url = url, .headers = {"Metadata: true"}, .connect_ms = 2000, .timeout_ms = 15000, .no_proxy = true,
                             .stop = ask->stop, .arg = ask->arg};
    int r = token_request(ask, &policy, &q, &a, e);
    if (r == -ERR_UNREACHABLE || r == -ERR_TIMEOUT)
        return err_hint(e, "A managed identity works on Azure virtual machines only, whose metadata service answers at %s. Elsewhere use a credential "
                           "of type arc, service_principal, az_cli or device_code.", ask->cfg->cloud->imds);
    if (r < 0)
        return r;
    if (a.headers.status == 200)
        return parse(ask, &a, "the metadata service", ret, e);
    r = token_refusal(ask, "imds", &a, NULL, e);
    if (e->code == ERR_CREDENTIAL && !e->hint[0])
        err_hint(e, "Give the VM that this host is a managed identity, or name one that it has with client_id.");
    return r;
}

/* ---- Azure Arc ---- */

/* "Basic realm=/var/opt/azcmagent/tokens/….key": the file proves that we may read what the agent writes for its group. Nothing but such
 * a file is read, whatever the answer names. */
static int read_challenge(const struct token_ask *ask, const char *challenge, char **ret, struct err *e)
{
    static const char scheme[] = "Basic realm=";
    const char *dir = ask->cfg->cloud->arc_token_dir;
    if (!challenge || !str_istarts(challenge, scheme))
        return err_set(e, ERR_UPSTREAM_FINAL, "the Azure Arc agent did not name a challenge file");
    const char *from = challenge + sizeof scheme - 1;
    bool quoted = *from == '"';
    from += quoted;
    AUTO_FREE char *path = str_ndup(from, strcspn(from, quoted ? "\"" : " ,\""));
    if (!path)
        return err_oom(e);
    const char *base = os_path_base(path);
    size_t n = strlen(dir), folder = base > path ? (size_t)(base - path) - 1 : 0;
    while (n && (dir[n - 1] == '/' || dir[n - 1] == '\\'))
        n--;
    if (folder != n || strncmp(path, dir, n) || !str_ends(base, ".key") || strlen(base) < 5)
        return err_set(e, ERR_UPSTREAM_FINAL, "the Azure Arc agent named a challenge file that is no .key file in %s; it is not read", dir);
    size_t len;
    int r = os_read_file(path, CHALLENGE_MAX, ret, &len, e);
    if (r < 0) {
        err_prefix(e, "the Azure Arc agent's challenge file");
        return err_hint(e, "The daemon's account must be root or in the group himds.");
    }
    while (len && strchr("\r\n \t", (*ret)[len - 1]))
        (*ret)[--len] = 0;
    for (size_t i = 0; i < len; i++)
        if ((*ret)[i] < ' ' || (*ret)[i] > '~')
            len = 0;
    if (!len) {
        mem_free_secret(*ret);
        *ret = NULL;
        return err_set(e, ERR_UPSTREAM_FINAL, "the Azure Arc agent's challenge file %s is empty or no text", path);
    }
    return 0;
}

int token_from_arc(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    static const struct token_policy policy = {.service = "arc", .tries = 4, .delays_ms = {500, 2000, 6000, 14000, 14000}, .unreachable_tries = 2,
                                               .retry = imds_retries};
    AUTO_FREE char *url = metadata_url(ask, ask->cfg->cloud->arc, ARC_API);
    AUTO(rest_answer_clear) struct rest_answer a = {0};
    AUTO_SECRET char *key = NULL;
    if (!url)
        return err_oom(e);
    struct rest_request q = {.method = "GET", .url = url, .headers = {"Metadata: true"}, .connect_ms = 2000, .timeout_ms = 15000, .no_proxy = true,
                             .stop = ask->stop, .arg = ask->arg};
    int r = token_request(ask, &policy, &q, &a, e);
    if (r == -ERR_UNREACHABLE || r == -ERR_TIMEOUT)
        return err_hint(e, "A credential of type arc needs the Azure Connected Machine agent on this host: see `azcmagent show`, and "
                           "[azure] arc_endpoint.");
    if (r < 0)
        return r;
    if (a.headers.status != 401)
        return a.headers.status == 200 ? err_set(e, ERR_UPSTREAM_FINAL, "what answers at %s is no Azure Arc agent: it asked for no proof",
                                                 ask->cfg->cloud->arc)
                                       : token_refusal(ask, "arc", &a, NULL, e);
    if ((r = read_challenge(ask, a.challenge, &key, e)) < 0)
        return r;
    AUTO_SECRET char *proof = str_printf("Authorization: Basic %s", key);
    if (!proof)
        return err_oom(e);
    q.headers[1] = proof;
    if ((r = token_request(ask, &policy, &q, &a, e)) < 0)
        return r;
    return a.headers.status == 200 ? parse(ask, &a, "the Azure Arc agent", ret, e) : token_refusal(ask, "arc", &a, NULL, e);
}

/* ---- Azure CLI ---- */

/* How to sign in so that the daemon's az finds it: as the daemon's account, and where its environment says. */
static int az_hint(struct err *e, const struct token_ask *ask, const char *before)
{
    AUTO_FREE char *dir = os_getenv("AZURE_CONFIG_DIR");
    AUTO_FREE char *command = os_as_daemon(ask->id->tenant_id ? "az login --use-device-code --tenant TENANT" : "az login --use-device-code",
                                           "AZURE_CONFIG_DIR", dir);
    return err_hint(e, "%s with the Azure CLI as the daemon's account: %.300s.", before, command ? command : "az login");
}

/* What az prints before it gives up: its last line says why. */
static void last_line(const char *out, char *ret, size_t size)
{
    const char *end = out + strlen(out);
    while (end > out && strchr("\r\n ", end[-1]))
        end--;
    const char *begin = end;
    while (begin > out && begin[-1] != '\n')
        begin--;
    AUTO_FREE char *line = str_ndup(begin, (size_t)(end - begin));
    rest_text(line ? line : "", NULL, ret, size);
}

int token_from_az(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    const char *argv[] = {"az", "account", "get-access-token", "--resource", ask->resource, "--output", "json",
                          ask->id->tenant_id ? "--tenant" : NULL, ask->id->tenant_id, NULL};
    AUTO_SECRET char *out = NULL;
    int status = 0;
    struct os_exec x = {.argv = argv, .maybe_batch = true};
    int r = os_run(&x, AZ_TIMEOUT_MS, AZ_OUTPUT_MAX, ask->stop, ask->arg, &out, &status, e);
    if (r == -ERR_CANCELLED)
        return r;
    if (r < 0) {
        err_prefix(e, "the sign-in with credential \"%s\" could not ask the Azure CLI", ask->id->name);
        if (r != -ERR_TIMEOUT && r != -ERR_OOM)
            e->code = ERR_CREDENTIAL;
        return az_hint(e, ask, "Install the Azure CLI so that the daemon finds `az` in its PATH, and sign in");
    }
    if (status != 0) {
        char line[300];
        last_line(out, line, sizeof line);
        err_set(e, ERR_CREDENTIAL, "az account get-access-token ended with status %d for credential \"%s\": %s", status, ask->id->name, line);
        snprintf(e->upstream.service, sizeof e->upstream.service, "az");
        return az_hint(e, ask, "Sign in");
    }
    const char *json = strchr(out, '{');             /* warnings may stand before it and behind it */
    const char *end = strrchr(out, '}');
    if (!json || !end || end < json)
        return err_set(e, ERR_UPSTREAM_FINAL, "az account get-access-token printed no JSON");
    return token_parse(json, (size_t)(end - json) + 1, "the Azure CLI", NULL, (int64_t)time(NULL), ret, e);
}

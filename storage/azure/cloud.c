#include "storage/azure/cloud.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "common/url.h"

#define METADATA_HOST "169.254.169.254"
#define HOST_MAX 254

static const struct known {
    const char *name, *arm, *login, *blob_suffix, *disk_sas_suffix;
} clouds[] = {
    {"public", "https://management.azure.com", "https://login.microsoftonline.com", "blob.core.windows.net", "blob.storage.azure.net"},
    {"china", "https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn", "blob.core.chinacloudapi.cn", "blob.storage.azure.cn"},
    {"usgov", "https://management.usgovcloudapi.net", "https://login.microsoftonline.us", "blob.core.usgovcloudapi.net",
     "blob.storage.usgovcloudapi.net"},
    {"custom", NULL, NULL, NULL, NULL},
};

/* ---- parts of URLs ---- */

struct origin {
    bool https, plain;                               /* plain: nothing but scheme, host and port */
    char host[HOST_MAX];                             /* lower case */
    char port[8];
};

static void lower(char *s)
{
    for (; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s + ('a' - 'A'));
}

static bool has(CURLU *u, CURLUPart what)
{
    char *s = NULL;
    bool found = curl_url_get(u, what, &s, 0) == CURLUE_OK;
    curl_free(s);
    return found;
}

/* False for what url_check refuses: not http(s), user info, odd characters. */
static bool origin_of(const char *url, struct origin *ret)
{
    struct err ignored;
    if (strlen(url) > 4096) {                        /* poll URLs are long; only what stands before the path counts here */
        const char *at = strstr(url, "://");
        AUTO_FREE char *head = at ? str_ndup(url, (size_t)(at + 3 - url) + strcspn(at + 3, "/?#")) : NULL;
        if (!head || strlen(head) > 4096 || !origin_of(head, ret))
            return false;
        ret->plain = false;
        return true;
    }
    if (url_check(url, true, &ignored) < 0)
        return false;
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL;
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK && strlen(host) < sizeof ret->host && strlen(port) < sizeof ret->port;
    if (ok) {
        *ret = (struct origin){.https = str_ieq(scheme, "https"), .plain = (!*path || !strcmp(path, "/")) && !has(u, CURLUPART_QUERY)};
        snprintf(ret->host, sizeof ret->host, "%s", host);
        snprintf(ret->port, sizeof ret->port, "%s", port);
        lower(ret->host);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_url_cleanup(u);
    return ok;
}

bool cloud_same_origin(const char *url, const char *endpoint)
{
    struct origin a, b;
    return origin_of(url, &a) && origin_of(endpoint, &b) && a.https == b.https && !strcmp(a.host, b.host) && !strcmp(a.port, b.port);
}

static bool is_loopback(const char *url)
{
    struct err ignored;
    return url_check(url, false, &ignored) == 0;     /* which takes plain http for loopback alone */
}

/* ---- opening ---- */

static int take_endpoint(const char *key, const char *given, const char *known, bool metadata, char **ret, struct err *e)
{
    const char *value = given && *given ? given : known;
    struct origin o;
    if (!value)
        return err_set(e, ERR_CONFIG, "[azure] %s must be given with cloud = custom", key);
    if (!origin_of(value, &o) || !o.plain)
        return err_set(e, ERR_CONFIG, "[azure] %s must be an https URL of scheme, host and port alone, not \"%.100s\"", key, value);
    if (!o.https && !is_loopback(value) && !(metadata && !strcmp(o.host, METADATA_HOST)))
        return err_set(e, ERR_CONFIG, "[azure] %s is plain http, which is accepted for this machine%s only: \"%.100s\"", key,
                       metadata ? " and " METADATA_HOST : "", value);
    size_t n = strlen(value);
    while (n && value[n - 1] == '/')
        n--;
    *ret = str_ndup(value, n);
    return *ret ? 0 : err_oom(e);
}

/* A host name, without dots at its ends: letters, digits, '-', '.'. */
static int take_suffix(const char *key, const char *given, const char *known, char **ret, struct err *e)
{
    const char *value = given && *given ? given : known;
    if (!value)
        return err_set(e, ERR_CONFIG, "[azure] %s must be given with cloud = custom", key);
    size_t n = strlen(value);
    if (n >= HOST_MAX || value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.")] || value[0] == '.' ||
        value[n - 1] == '.' || strstr(value, ".."))
        return err_set(e, ERR_CONFIG, "[azure] %s must be the end of a host name, such as \"blob.core.windows.net\", not \"%.100s\"", key, value);
    if (!(*ret = str_dup(value)))
        return err_oom(e);
    lower(*ret);
    return 0;
}

/* The agent's installer sets IDENTITY_ENDPOINT for the whole machine; scheme, host and port of it are ours, the path is known. */
static char *arc_of_environment(void)
{
    AUTO_FREE char *url = os_getenv("IDENTITY_ENDPOINT"), *imds = os_getenv("IMDS_ENDPOINT");
    if (!url || !imds || !is_loopback(url))
        return NULL;
    const char *host = strstr(url, "://") + 3;
    return str_ndup(url, (size_t)(host - url) + strcspn(host, "/?#"));
}

int cloud_open(const struct cloud_options *o, struct cloud **ret, struct err *e)
{
    const char *name = o->cloud && *o->cloud ? o->cloud : "public";
    const struct known *k = NULL;
    for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
        if (!strcmp(clouds[i].name, name))
            k = &clouds[i];
    if (!k)
        return err_set(e, ERR_CONFIG, "[azure] cloud must be public, china, usgov or custom, not \"%.60s\"", name);
    AUTO(cloud_close_ptr) struct cloud *c = calloc(1, sizeof *c);
    AUTO_FREE char *arc = arc_of_environment();
    if (!c || !(c->name = str_dup(name)))
        return err_oom(e);
    c->custom = !k->arm;
    int r;
    if ((r = take_endpoint("arm_endpoint", o->arm_endpoint, k->arm, false, &c->arm, e)) < 0 ||
        (r = take_endpoint("login_endpoint", o->login_endpoint, k->login, false, &c->login, e)) < 0 ||
        (r = take_endpoint("imds_endpoint", o->imds_endpoint, "http://" METADATA_HOST, true, &c->imds, e)) < 0 ||
        (r = take_endpoint("arc_endpoint", o->arc_endpoint, arc ? arc : "http://127.0.0.1:40342", true, &c->arc, e)) < 0 ||
        (r = take_suffix("blob_suffix", o->blob_suffix, k->blob_suffix, &c->blob_suffix, e)) < 0 ||
        (r = take_suffix("disk_sas_suffix", o->disk_sas_suffix, k->disk_sas_suffix, &c->disk_sas_suffix, e)) < 0)
        return r;
    const char *dir = o->arc_token_dir && *o->arc_token_dir ? o->arc_token_dir : os_arc_token_dir();
    if (!os_path_is_absolute(dir))
        return err_set(e, ERR_CONFIG, "[azure] arc_token_dir must be an absolute path, not \"%.100s\"", dir);
    if (!(c->arc_token_dir = str_dup(dir)))
        return err_oom(e);
    *ret = STEAL(c);
    return 0;
}

void cloud_close(struct cloud *c)
{
    if (!c)
        return;
    free(c->name);
    free(c->arm);
    free(c->login);
    free(c->imds);
    free(c->arc);
    free(c->blob_suffix);
    free(c->disk_sas_suffix);
    free(c->arc_token_dir);
    free(c);
}

/* ---- storage hosts ---- */

static bool is_below(const char *host, const char *suffix)
{
    size_t n = strlen(host), m = strlen(suffix);
    return n > m + 1 && !strcmp(host + n - m, suffix) && host[n - m - 1] == '.';
}

int cloud_check_disk_sas(const struct cloud *c, const char *url, struct err *e)
{
    struct origin o;
    if (!origin_of(url, &o))
        return err_set(e, ERR_UPSTREAM_FINAL, "Azure answered with a disk URL that is no URL");
    bool ours = c->custom ? is_below(o.host, c->disk_sas_suffix) || !strcmp(o.host, c->disk_sas_suffix)
                          : is_below(o.host, c->disk_sas_suffix) && str_starts(o.host, "md-");
    if (ours && (o.https || is_loopback(url)))
        return 0;
    err_set(e, ERR_UPSTREAM_FINAL, "Azure answered with a disk URL at %s%.200s, which is no host of disks in this cloud (%s)",
            o.https ? "" : "http://", o.host, c->disk_sas_suffix);
    return err_hint(e, "Check [azure] cloud and disk_sas_suffix in vmrecover.conf.");
}

int cloud_check_blob(const struct cloud *c, const char *url, struct err *e)
{
    struct origin o;
    int r = url_check(url, false, e);
    if (r < 0)
        return r;
    if (!origin_of(url, &o))
        return err_set(e, ERR_VALUE, "the blob's URL cannot be understood");
    if (is_below(o.host, c->blob_suffix) || (c->custom && !strcmp(o.host, c->blob_suffix)))
        return 0;
    err_set(e, ERR_VALUE, "the blob lies at %.200s, which is no storage account of this cloud (%s)", o.host, c->blob_suffix);
    return err_hint(e, "Check [azure] cloud and blob_suffix in vmrecover.conf.");
}

#include "service/config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/os.h"
#include "service/ini.h"
#include "storage/proxy.h"

enum type { TEXT, NUMBER };
struct key {
    const char *section, *name;
    enum type type;
    size_t offset;
    const char *def;                                  /* as it would stand in the file; "" is an empty text; NULL is os_data_path() */
    uint64_t min, max;                                /* NUMBER */
    const char *const *words;                         /* TEXT: the only values allowed, or NULL */
    const char *help;
};

static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
static const char *const clouds[] = {"public", "china", "usgov", "custom", NULL};
static const char *const scopes[] = {"auto", "none", NULL};
static const char *const checks[] = {"auto", "off", NULL};
static const char *const log_files[] = {"auto", "on", "off", NULL};
static const char *const switches[] = {"false", "true", NULL};

#define T(sec, member, def_, words_, help_) {#sec, #member, TEXT, offsetof(struct config, member), def_, 0, 0, words_, help_}
#define N(sec, member, def_, min_, max_, help_) {#sec, #member, NUMBER, offsetof(struct config, member), def_, min_, max_, NULL, help_}
#define W(lane, word, def_, help_) {"workers", word, NUMBER, offsetof(struct config, workers) + (lane) * sizeof(uint64_t), def_, 1, 64, NULL, help_}
static const struct key keys[] = {
    T(daemon, data_dir, NULL, NULL, "folder of the database, the token, the images and the VMs"),
    T(daemon, listen, "127.0.0.1:8480,[::1]:8480", NULL, "loopback addresses of the API, separated by commas; port 0 takes a free one"),
    T(daemon, log_level, "info", levels, "error, warning, info or debug"),
    T(daemon, log_file, "auto", log_files, "on, off or auto (on for the Windows service): lines go to logs/vmrecoverd.log in the data folder too"),
    N(daemon, log_file_mib, "8", 1, 1024, "size of one log file, in MiB"),
    N(daemon, log_files, "5", 1, 100, "log files that are kept, the current one included"),
    W(LANE_NETWORK, "network", "4", "transfers at a time"),
    W(LANE_DISK, "disk", "2", "pieces of disk work at a time"),
    W(LANE_HYPERVISOR, "hypervisor", "4", "pieces of hypervisor work at a time"),
    N(transfer, connections, "16", 1, 64, "most connections of one transfer; it begins with 8 and takes more while that makes it faster"),
    N(transfer, range_kib, "4096", 64, 65536, "largest range asked for at once, in KiB"),
    N(transfer, max_bytes_per_second, "0", 0, UINT64_MAX / 2, "limit of one transfer that names none itself; 0: none"),
    N(transfer, total_bytes_per_second, "0", 0, UINT64_MAX / 2, "limit of all transfers together, who share it fairly; 0: none"),
    T(transfer, checks, "auto", checks, "auto: ranges are compared with sums that the service sends, where it does; off"),
    N(retry, max_attempts, "6", 1, 1000, "tries of a task before it fails"),
    N(retry, backoff_ms, "2000", 10, 3600000, "pause before the second try; doubled for each further one"),
    N(retry, backoff_max_ms, "300000", 10, 86400000, "longest pause between two tries"),
    T(hypervisor, accel, "auto", accels, "auto (KVM where it is proven to work), kvm or tcg"),
    T(hypervisor, qemu, "", NULL, "QEMU's program; empty: qemu-system-x86_64 from PATH"),
    T(hypervisor, run_as, "", NULL, "account of the VM processes when the daemon is root; empty: the daemon's own"),
    T(hypervisor, scope, "auto", scopes, "auto: each VM in its own systemd scope where systemd runs; none"),
    N(hypervisor, start_timeout_s, "300", 5, 86400, "time for a started VM to show something on its console, in seconds"),
    T(network, proxy, "", NULL, "proxies for outgoing requests, [SCHEME=][http://]HOST[:PORT]; none: no proxy; empty: the system's"),
    T(network, no_proxy, "", NULL, "hosts that are reached without a proxy, separated by commas; * stands for anything"),
    N(api, max_connections, "256", 4, 10000, "open connections"),
    N(api, max_streams, "64", 1, 5000, "open event streams"),
    N(api, max_body_kib, "1024", 16, 16384, "largest request body, in KiB"),
    {"events", "keep_days", NUMBER, offsetof(struct config, event_days), "30", 1, 3650, NULL, "days that events are kept"},
    T(azure, cloud, "public", clouds, "public, china, usgov or custom"),
    T(azure, arm_endpoint, "", NULL, "URL of Azure Resource Manager; empty: the cloud's"),
    T(azure, login_endpoint, "", NULL, "URL of the sign-in service; empty: the cloud's"),
    T(azure, imds_endpoint, "", NULL, "URL of the instance metadata service; empty: http://169.254.169.254"),
    T(azure, arc_endpoint, "", NULL, "URL of the Azure Arc agent; empty: what IDENTITY_ENDPOINT says, else http://127.0.0.1:40342"),
    T(azure, arc_token_dir, "", NULL, "folder of the Arc agent's challenge files; empty: where the agent has it"),
    T(azure, blob_suffix, "", NULL, "end of the names of storage hosts; empty: the cloud's"),
    T(azure, disk_sas_suffix, "", NULL, "end of the names of hosts that disks are exported from; empty: the cloud's"),
    T(volumes, loop_devices, "false", switches, "true or false: whether loop devices count as disks of the host (for tests)"),
    T(tls, ca_file, "", NULL, "further CA certificates for outgoing https, in PEM"),
};
#undef T
#undef N
#undef W

static const char *default_of(const struct key *k)
{
    return k->def ? k->def : os_data_path();
}

static int set(struct config *c, const struct key *k, const char *value, const char *where, struct err *e)
{
    void *p = (char *)c + k->offset;
    if (k->type == NUMBER) {
        unsigned long long v;
        if (!str_to_u64(value, k->max, &v) || v < k->min)
            return err_set(e, ERR_CONFIG, "%s: %s must be a number from %llu to %llu, not \"%.80s\"", where, k->name, (unsigned long long)k->min,
                           (unsigned long long)k->max, value);
        *(uint64_t *)p = v;
        return 0;
    }
    if (k->words) {
        size_t i = 0;
        while (k->words[i] && strcmp(k->words[i], value))
            i++;
        if (!k->words[i])
            return err_set(e, ERR_CONFIG, "%s: %s must be %s, not \"%.80s\"", where, k->name, k->help, value);
    }
    char *copy = str_dup(value);
    if (!copy)
        return err_oom(e);
    free(*(char **)p);
    *(char **)p = copy;
    return 0;
}

static int on_value(void *arg, const char *section, const char *name, const char *value, const char *where, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!strcmp(keys[i].section, section) && !strcmp(keys[i].name, name))
            return set(arg, &keys[i], value, where, e);
    return err_set(e, ERR_CONFIG, "%s: there is no key %.60s in [%.60s]", where, name, section);
}

/* --key, --section.key; '-' and '_' are the same in names */
static const struct key *find_option(const char *name, size_t n)
{
    const struct key *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char full[80];
        int full_n = snprintf(full, sizeof full, "%s.%s", keys[i].section, keys[i].name);
        for (const char *candidate = full; candidate; candidate = candidate == full ? full + strlen(keys[i].section) + 1 : NULL) {
            size_t m = (size_t)full_n - (size_t)(candidate - full), k = 0;
            while (k < n && k < m && (name[k] == candidate[k] || (name[k] == '-' && candidate[k] == '_')))
                k++;
            if (k == n && n == m) {
                if (found && found != &keys[i])
                    return NULL;
                found = &keys[i];
            }
        }
    }
    return found;
}

static int read_options(struct config *c, int argc, char **argv, struct err *e)
{
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!str_starts(arg, "--"))
            return err_set(e, ERR_CONFIG, "unexpected argument \"%.80s\"", arg);
        const char *eq = strchr(arg, '=');
        size_t n = eq ? (size_t)(eq - arg - 2) : strlen(arg) - 2;
        const struct key *k = find_option(arg + 2, n);
        if (!k)
            return err_set(e, ERR_CONFIG, "there is no option %.*s", (int)n + 2, arg);
        const char *value = eq ? eq + 1 : ++i < argc ? argv[i] : NULL;
        if (!value)
            return err_set(e, ERR_CONFIG, "the option %s needs a value", arg);
        char where[100];
        snprintf(where, sizeof where, "option %.*s", (int)n + 2, arg);
        if (k->offset == offsetof(struct config, proxy) && proxy_has_password(value)) {
            err_set(e, ERR_CONFIG, "%s: a password on a command line can be read by everybody on this machine", where);
            return err_hint(e, "Write the proxy into vmrecover.conf, under [network].");
        }
        int r = set(c, k, value, where, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int config_load(const char *file, int argc, char **argv, struct config **ret, struct err *e)
{
    AUTO(config_free_ptr) struct config *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(e);
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if ((r = set(c, &keys[i], default_of(&keys[i]), "default", e)) < 0)
            return r;
    const char *usual = os_config_path();
    struct os_stat st = {0};
    if (!file && ((r = os_stat(usual, &st, e)) < 0 || (st.exists && (r = os_check_owner(usual, e)) < 0)))
        return r;
    if ((file || st.exists) && (r = ini_read(file ? file : usual, on_value, c, e)) < 0)
        return r;
    if ((r = read_options(c, argc, argv, e)) < 0)
        return r;
    if (!*c->data_dir)
        return err_set(e, ERR_CONFIG, "data_dir must not be empty");
    if (c->backoff_max_ms < c->backoff_ms)
        return err_set(e, ERR_CONFIG, "backoff_max_ms (%llu) must not be less than backoff_ms (%llu)", (unsigned long long)c->backoff_max_ms,
                       (unsigned long long)c->backoff_ms);
    if (strcmp(c->proxy, "none") && proxy_check(c->proxy, e) < 0)
        return err_prefix(e, "[network] proxy");
    if (*c->ca_file) {
        if ((r = os_stat(c->ca_file, &st, e)) < 0)
            return r;
        if (!st.is_file)
            return err_set(e, ERR_CONFIG, "ca_file: there is no file %s", c->ca_file);
    }
    *ret = STEAL(c);
    return 0;
}

int config_load_args(int argc, char **argv, struct config **ret, struct err *e)
{
    const char *file = NULL;
    AUTO_FREE char **rest = calloc((size_t)argc + 1, sizeof *rest);
    int n = 0;
    if (!rest)
        return err_oom(e);
    for (int i = 0; i < argc; i++)
        if (!strcmp(argv[i], "--config") && i + 1 < argc)
            file = argv[++i];
        else if (str_starts(argv[i], "--config="))
            file = argv[i] + strlen("--config=");
        else
            rest[n++] = argv[i];
    return config_load(file, n, rest, ret, e);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i].type == TEXT)
            free(*(char **)((char *)c + keys[i].offset));
    free(c);
}

void config_help(struct strbuf *b)
{
    const char *section = "";
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(section, keys[i].section))
            strbuf_addf(b, "\n[%s]\n", section = keys[i].section);
        const char *def = default_of(&keys[i]);
        strbuf_addf(b, "  %-22s %s (default: %s)\n", keys[i].name, keys[i].help, *def ? def : "empty");
    }
}

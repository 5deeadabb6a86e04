/* vmrecoverd: the one place that wires the parts. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "common/log.h"
#include "service/azure.h"
#include "service/commands.h"
#include "service/config.h"
#include "service/daemon.h"
#include "service/host.h"
#include "service/logs.h"
#include "service/setup.h"
#include "service/volumes.h"
#include "storage/image/image.h"

static int usage(FILE *to, int status)
{
    fputs("usage: vmrecoverd run [--config FILE] [--KEY VALUE ...]\n"
          "       vmrecoverd install [--no-start | --configure-only] [--config FILE] [--KEY VALUE ...]\n"
          "       vmrecoverd uninstall [--remove-data | --stop-only]\n"
          "       vmrecoverd setup [--force]\n"
          "       vmrecoverd check-host [--output FILE] [--no-nat] [--config FILE] [--KEY VALUE ...]\n"
          "       vmrecoverd check-host --compare REFERENCE RECORD\n"
          "       vmrecoverd inspect [--json] [--source-format FORMAT] FILE\n"
          "       vmrecoverd convert [--format FORMAT] [--source-format FORMAT] [--quiet] SRC DST\n"
          "       vmrecoverd --help | --version\n\n"
          "run        the daemon in the foreground\n"
          "install    Windows: makes or updates the service, with these options, and starts it\n"
          "uninstall  Windows: stops and removes the service; the data stays unless it is to be removed\n"
          "setup      Windows: enables Hyper-V, and says whether a restart is due\n"
          "check-host Windows: tries Hyper-V with empty VMs, removes them, writes a record (check-host.json)\n"
          "inspect    what a local disk image is, and what its file systems use\n"
          "convert    a local disk image in another format\n\n"
          "Every key of vmrecover.conf is an option too, with '-' for '_'; options win. Where two sections have a key\n"
          "of the same name, write --section.key.\n",
          to);
    AUTO_STRBUF struct strbuf keys = {0};
    config_help(&keys);
    if (to == stdout && keys.data)
        fputs(keys.data, to);
    return status;
}

/* Every end of the daemon but the one that was asked for. */
static int fail(const struct err *e)
{
    logs_failure(e);
    if (!host_is_service())
        fprintf(stderr, "vmrecoverd: %s\n  %s\n", e->msg, err_hint_text(e));
    return e->code == ERR_CONFIG ? 2 : 1;
}

/* ---- the API in front of the daemon ---- */

static void on_wake(void *daemon)
{
    daemon_wake(daemon);
}

static bool on_healthy(void *daemon)
{
    return !daemon_stopping(daemon);
}

/* What a client wants attached is looked at by the same code as what is downloaded. */
static int on_disk_size(void *daemon, const char *path, enum hv_format format, uint64_t *ret, struct err *e)
{
    (void)daemon;
    static const enum image_format formats[] = {
        [HV_RAW] = IMAGE_RAW, [HV_VHD] = IMAGE_VHD, [HV_VHD_DYNAMIC] = IMAGE_VHD_DYNAMIC, [HV_VHDX] = IMAGE_VHDX};
    struct image_info info;
    AUTO_IMAGE_FILE struct image_source src = {0};
    if ((size_t)format >= ARRAY_LEN(formats))
        return err_set(e, ERR_UNSUPPORTED, "disks of this format cannot be attached");
    int r = image_file_open(path, &src, e);
    if (r == 0)
        r = image_probe(&src, (int)formats[format], &info, e);
    if (r == 0)
        *ret = info.virtual_size;
    return r;
}

static int on_azure(void *daemon, struct db *db, const struct api_azure_query *q, json_t **ret, struct err *e)
{
    struct azure_view v = {.d = daemon, .db = db, .credential = q->credential, .subscription = q->subscription, .resource_group = q->resource_group,
                           .filter = q->filter, .stop = q->stop, .arg = q->arg};
    switch (q->what) {
    case API_AZURE_SUBSCRIPTIONS: return azure_view_subscriptions(&v, ret, e);
    case API_AZURE_VMS: return azure_view_vms(&v, ret, e);
    default: return azure_view_sign_in(&v, q->shown, ret, e);
    }
}

static int on_disks(void *daemon, bool (*stop)(void *), void *stop_arg, json_t **ret, struct err *e)
{
    return volumes_view_disks(daemon, stop, stop_arg, ret, e);
}

static int on_volumes(void *daemon, struct db *db, bool (*stop)(void *), void *stop_arg, json_t **ret, struct err *e)
{
    return volumes_view(daemon, db, stop, stop_arg, ret, e);
}

static void on_host_region(void *daemon, char *ret, size_t size)
{
    azure_host_region(((struct daemon *)daemon)->azure, ret, size);
}

static int front_start(struct daemon *d, void **ret, char **ret_bound, struct err *e)
{
    struct api_config ac = {.data_dir = d->data_dir, .db_path = d->db_path, .box = d->box, .hv = d->hv, .hv_error = &d->hv_error,
                            .max_connections = (unsigned)d->cfg->max_connections, .max_streams = (unsigned)d->cfg->max_streams,
                            .threads = os_cpu_count() > 4 ? 4 : os_cpu_count(), .max_body = (size_t)d->cfg->max_body_kib * 1024,
                            .wake = on_wake, .healthy = on_healthy, .disk_size = on_disk_size, .azure = on_azure,
                            .disks = on_disks, .volumes = on_volumes,
                            .host_region = on_host_region, .arg = d};
    AUTO_FREE char *listen = str_dup(d->cfg->listen);
    if (!listen)
        return err_oom(e);
    char *rest = listen;
    for (char *one; (one = str_sep(&rest, ","));) {
        one += strspn(one, " ");
        if (!*one)
            continue;
        if (ac.n_listen == API_LISTEN_MAX)
            return err_set(e, ERR_CONFIG, "listen names more than %d addresses", API_LISTEN_MAX);
        ac.listen[ac.n_listen++] = one;
    }
    if (!ac.n_listen)
        return err_set(e, ERR_CONFIG, "listen names no address");
    struct api *api;
    int r = api_start(&ac, &api, e);
    if (r < 0)
        return r;
    AUTO_STRBUF struct strbuf all = {0};
    for (size_t i = 0; i < ac.n_listen; i++)
        if (api_address(api, i))
            strbuf_addf(&all, "%s\n", api_address(api, i));
    if (!(*ret_bound = strbuf_steal(&all))) {
        api_stop(api);
        return err_oom(e);
    }
    *ret = api;
    return 0;
}

static void front_stop(void *front)
{
    api_stop(front);
}

static const struct daemon_front front = {.start = front_start, .stop = front_stop};

/* The daemon, in the foreground or as the service. */
static int run(int argc, char **argv)
{
    struct err e;
    AUTO(config_free_ptr) struct config *cfg = NULL;
    enum log_level level = LOG_LEVEL_INFO;
    logs_start(host_is_service());
    int r = config_load_args(argc, argv, &cfg, &e);
    if (r == 0 && log_parse_level(cfg->log_level, &level))
        log_set_level(level);
    if (r == 0)
        r = host_init(cfg->run_as, &e);
    if (r == 0)
        r = daemon_run(cfg, &front, &e);
    int status = r < 0 ? fail(&e) : 0;
    logs_end();
    host_stopped(r < 0 ? &e : NULL);
    return status;
}

static int help(int argc, char **argv)
{
    (void)argc, (void)argv;
    return usage(stdout, 0);
}

static int version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("vmrecoverd " VMR_VERSION);
    return 0;
}

static const struct {
    const char *word;
    int (*fn)(int argc, char **argv);                 /* what follows the word */
} commands[] = {
    {"run", run}, {"install", setup_install}, {"uninstall", setup_uninstall}, {"setup", command_setup}, {"check-host", command_check_host},
    {"inspect", command_inspect}, {"convert", command_convert}, {"--help", help}, {"help", help}, {"--version", version},
};

int main(int argc, char **argv)
{
    struct err e;
    if (os_main_args(&argc, &argv, &e) < 0)
        return fail(&e);
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], "--help"))
            return usage(stdout, 0);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (argc >= 2 && !strcmp(argv[1], commands[i].word))
            return commands[i].fn(argc - 2, argv + 2);
    /* what the service manager runs: the program with options, or with nothing */
    int status;
    if ((argc < 2 || str_starts(argv[1], "--")) && host_serve(run, argc - 1, argv + 1, &status))
        return status;
    return usage(stderr, 2);
}

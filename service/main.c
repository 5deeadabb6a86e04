/* vmrecoverd: the one place that wires the parts. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "service/config.h"
#include "service/daemon.h"
#include "service/host.h"

static int usage(FILE *to, int status)
{
    fputs("usage: vmrecoverd run [--config FILE] [--KEY VALUE ...]\n"
          "       vmrecoverd --help | --version\n\n"
          "run      the daemon in the foreground\n\n"
          "Every key of vmrecover.conf is an option too, with '-' for '_'; options win. Where two sections have a key\n"
          "of the same name, write --section.key.\n",
          to);
    if (to == stdout)
        config_help();
    return status;
}

static int fail(const struct err *e)
{
    log_err(LOG_LEVEL_ERROR, "vmrecoverd cannot run", e);
    fprintf(stderr, "vmrecoverd: %s\n  %s\n", e->msg, err_hint_text(e));
    return e->code == ERR_CONFIG ? 2 : 1;
}

static int run(int argc, char **argv)
{
    struct err e;
    const char *file = NULL;
    if (argc >= 2 && !strcmp(argv[0], "--config")) {
        file = argv[1];
        argc -= 2;
        argv += 2;
    } else if (argc >= 1 && !strncmp(argv[0], "--config=", 9)) {
        file = argv[0] + 9;
        argc--;
        argv++;
    }
    AUTO(config_free_ptr) struct config *cfg = NULL;
    enum log_level level = LOG_LEVEL_INFO;
    if (config_load(file, argc, argv, &cfg, &e) < 0)
        return fail(&e);
    if (log_parse_level(cfg->log_level, &level))
        log_set_level(level);
    if (host_init(&e) < 0 || daemon_run(cfg, &e) < 0)
        return fail(&e);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 2 && !strcmp(argv[1], "run"))
        return run(argc - 2, argv + 2);
    if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")))
        return usage(stdout, 0);
    if (argc >= 2 && !strcmp(argv[1], "--version")) {
        puts("vmrecoverd " VMR_VERSION);
        return 0;
    }
    return usage(stderr, 2);
}

/* vmrecover.conf and the command line: every key once, in one table (config.c). */
#ifndef VMR_SERVICE_CONFIG_H
#define VMR_SERVICE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/log.h"
#include "common/mem.h"
#include "db/task.h"

#define CONFIG_LISTEN_MAX 4

struct config {
    char *data_dir;
    char *listen;                                    /* comma-separated */
    char *log_level;
    char *log_file, *checks;
    uint64_t log_file_mib, log_files;
    char *ca_file;
    char *loop_devices;                              /* [volumes]: "true" or "false" */
    char *proxy, *no_proxy;
    uint64_t workers[LANES];
    uint64_t connections, range_kib, max_bytes_per_second, total_bytes_per_second;
    uint64_t max_attempts, backoff_ms, backoff_max_ms;
    uint64_t start_timeout_s;
    char *accel, *qemu, *run_as, *scope;
    char *cloud, *arm_endpoint, *login_endpoint, *imds_endpoint, *arc_endpoint, *blob_suffix, *disk_sas_suffix, *arc_token_dir;    /* [azure] */
    uint64_t max_connections, max_streams, max_body_kib, event_days;
};
/* Defaults, then the file (explicit: an error if missing; NULL: the usual place if it is there, and then it must be a trusted account's:
 * os_check_owner), then "--key=value" and "--key value" options. Unknown keys and bad values: ERR_CONFIG with file, line and what was
 * expected. */
int config_load(const char *file, int argc, char **argv, struct config **ret, struct err *e);
/* The same from a whole command line: "--config FILE" may stand first. */
int config_load_args(int argc, char **argv, struct config **ret, struct err *e);
void config_free(struct config *c);
DEFINE_AUTO(struct config, config_free)
/* Appends every key with its default and meaning, for --help. */
void config_help(struct strbuf *b);

#endif

/* Subcommands of vmrecoverd that do their work by themselves, without a daemon. Each gets what follows its word, writes results to stdout and trouble
 * to stderr, and returns the exit status: 0 done, 1 failed, 2 wrong usage. */
#ifndef VMR_SERVICE_COMMANDS_H
#define VMR_SERVICE_COMMANDS_H

#include "storage/image/open.h"

int command_inspect(int argc, char **argv);          /* [--json] [--source-format FORMAT] FILE */
int command_convert(int argc, char **argv);          /* [--format FORMAT] [--source-format FORMAT] [--quiet] SRC DST */
/* Does the Hyper-V of this host do what the driver expects? hyperv/check.h has the check itself. 1: it does not; 2 also where there is no Hyper-V.
 *   [--output FILE] [--no-nat] [options of run]   makes VMs, removes them again; FILE is check-host.json in the current folder unless named
 *   --compare REFERENCE RECORD                    two records side by side; touches no host */
int command_check_host(int argc, char **argv);

/* Enables Hyper-V where it is not yet, and looks whether it runs. 3: a restart is due; 2 also where there is no Hyper-V. May be repeated: after the
 * restart it says that all is well.   [--force] */
int command_setup(int argc, char **argv);
struct hyperv_platform;
int command_setup_on(const struct hyperv_platform *p, bool force);     /* on that Windows */

/* ---- what they share (command.c) ---- */
/* Options in argv are taken out, the rest stays in order; returns how many, -1 after a message for an unknown option, a missing value, or
 * a count outside min..max. `value` NULL: an option without value, which sets *flag. Ends with a NULL name. */
struct command_option { const char *name; const char **value; bool *flag; };
int command_options(const char *command, int argc, char **argv, const struct command_option *options, int min, int max, const char *usage);
/* What the source is taken for: image_probe's `expect`. A word of --source-format, or NULL: raw for devices and names that end in .raw and .img,
 * which are never looked into, since whoever can write a raw disk could make it look like another format; else whatever it says that it is.
 * Returns false for an unknown word. */
bool command_source_format(const char *path, const char *word, int *ret);
int command_fail(const struct err *e);               /* says it; returns the exit status */
const char *command_size(uint64_t bytes, char buf[32]);                /* "1.5 GiB" */

#endif

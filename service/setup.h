/* The subcommands install and uninstall. setup_win32.c does it; setup_posix.c says who does it there. setup.c: what both may need. */
#ifndef VMR_SERVICE_SETUP_H
#define VMR_SERVICE_SETUP_H

#include "common/error.h"

/* What follows the word on the command line. Exit status: 0 done, 2 the command line or the configuration is wrong, 1 anything else.
 *   install [--no-start | --configure-only] [options of run]   may be repeated: updates what is there
 *     --configure-only: the service exists (an installer made it); sets what else it needs, makes the data folder, starts nothing
 *   uninstall [--remove-data] [options of run]                 without options, those that the service was installed with
 *   uninstall --stop-only                                      for an installer: stops the service and waits until its process is over */
int setup_install(int argc, char **argv);
int setup_uninstall(int argc, char **argv);

/* The service, where there is one, starts after Hyper-V from now on. What does not work is a warning on stderr. */
void setup_follow(void);

/* May the data folder go? ERR_WRONG_STATE while a job has a virtual machine, for nobody would find it again, and while something lies in it that
 * is not the daemon's. A folder without a database may. */
int setup_check_data(const char *data_dir, struct err *e);
/* Removes what the daemon keeps in its data folder, disks and machines included, and then the folder. ERR_WRONG_STATE, and nothing is removed,
 * while something else lies in it. ERR_LOCKED while a daemon runs on it. A folder that is not there is 0. */
int setup_remove_data(const char *data_dir, struct err *e);

#endif

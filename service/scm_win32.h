/* The service's entry with Windows' service manager: made, changed, started, stopped, removed. All need an elevated administrator. */
#ifndef VMR_SERVICE_SCM_WIN32_H
#define VMR_SERVICE_SCM_WIN32_H

#include <stdbool.h>
#include <wchar.h>

#include "common/error.h"

/* Makes the entry, or updates the one that is there (*ret_made false), to run this command line. */
int scm_register(const wchar_t *command, bool *ret_made, struct err *e);
/* Everything else that the entry needs, of an entry that exists: dependency on Hyper-V where that is, delayed start, recovery, privileges …
 * What this Windows does not know is reported by warn and no error; ERR_NOT_FOUND: there is no entry. */
int scm_configure(void (*warn)(const struct err *why), struct err *e);
/* The list of dependencies (each with its NUL, one more behind them; NULL: none) with or without vmms, as ChangeServiceConfig takes it;
 * all others stay as they are. *ret_same: nothing changes. false: ret has no room. */
bool scm_dependencies(const wchar_t *now, bool vmms, wchar_t *ret, size_t ret_size, bool *ret_same);
/* The command line that the entry runs, UTF-8, caller frees; NULL when there is no entry. */
int scm_command(char **ret, struct err *e);
/* Starts, and waits until it runs. 0 as well when it ran already (*ret_ran). */
int scm_start(bool *ret_ran, struct err *e);
/* Stops, and waits until it has and until its process is over, so that the program can be replaced. 0 as well when it did not run, or is not
 * there. */
int scm_stop(struct err *e);
/* Removes the entry; it must be stopped. *ret_there: there was one. *ret_pending: it goes when the last program that looks at it closes. */
int scm_remove(bool *ret_there, bool *ret_pending, struct err *e);

/* The source of the service's events in the Application log; program: the file with their texts. */
int scm_add_event_source(const wchar_t *program, struct err *e);
int scm_remove_event_source(struct err *e);          /* one that is not there is 0 */

#endif

/* Where the daemon's lines go: in the foreground to standard error, as a Windows service to the event log (warnings and errors), and in both
 * to the log file in the data folder when the configuration wants one. */
#ifndef VMR_SERVICE_LOGS_H
#define VMR_SERVICE_LOGS_H

#include "service/config.h"
#include "service/eventlog.h"

/* First of all. `service`: started by Windows' service manager, so that nobody sees standard error. */
void logs_start(bool service);
/* When the data folder is ours alone, before threads start: opens logs/vmrecoverd.log in it if cfg says so. Trouble with the file is
 * reported, and never an error of the daemon. Once a process. */
void logs_use_file(const struct config *cfg, const char *data_dir);
/* A line that has an event of its own in the event log, with the texts that eventlog.h says. */
void logs_event(enum eventlog_id id, const char *const *texts, enum log_level level, const char *msg, const struct log_kv *kv);
/* The daemon cannot run: to all places, in the event log with what to do. */
void logs_failure(const struct err *e);
/* Where a person finds the lines: a file, or a command that shows them. Heap, caller frees; NULL when memory ran out. */
char *logs_place(void);
void logs_end(void);                                 /* when the other threads have ended */

#endif

/* A log file of limited size: NAME.log; when full it becomes NAME.1.log, that one NAME.2.log …, and the oldest goes.
 *
 * Writing never fails for the caller. What cannot be written (the disk is full, the folder is gone or refuses access) is counted; the
 * file is tried again every few seconds, and the first line after the gap says how many are missing. When the files cannot be
 * renamed (somebody holds one open), the current one grows to twice its size and then starts over, so the limit holds all the same.
 * One process a file. Threads: any; lines never mix. */
#ifndef VMR_COMMON_LOGFILE_H
#define VMR_COMMON_LOGFILE_H

#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

struct logfile;
struct logfile_config {
    const char *path;                                /* its folder is made if missing, for this account alone; copied */
    uint64_t max_bytes;                              /* of one file */
    unsigned files;                                  /* all together, at least 1 */
    unsigned retry_ms;                               /* pause after a failure; 0: 5 s */
    /* Called once when writing or renaming begins to fail, not again before it has worked in between. Runs in the thread that logs, without
     * our lock; must not log to this file. May be NULL. */
    void (*trouble)(void *arg, const struct err *why);
    void *arg;
};
/* Nothing is opened before the first line. NULL when memory ran out. */
struct logfile *logfile_new(const struct logfile_config *c);
void logfile_write(struct logfile *f, const char *line, size_t n);       /* with its newline */
const char *logfile_path(const struct logfile *f);    /* as it was given; the file's */
uint64_t logfile_lost(struct logfile *f);            /* lines that could not be written, since the start */
void logfile_free(struct logfile *f);                /* NULL is a no-op */
DEFINE_AUTO(struct logfile, logfile_free)

#endif

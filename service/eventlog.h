/* The system's event log, where an administrator looks first: on Windows the Application log, source "vmrecoverd"; elsewhere nothing, the
 * journal has the lines. The texts are in packaging/windows/messages.mc under the same numbers. The number of a failure to start is also
 * the service-specific exit code that the service manager shows; no Windows error has such a number, so none is shown in its place. */
#ifndef VMR_SERVICE_EVENTLOG_H
#define VMR_SERVICE_EVENTLOG_H

#include <stdint.h>

#include "common/error.h"
#include "common/log.h"
#include "common/mem.h"

/* name, number, level, how many texts are filled in. Numbers never change their meaning. */
#define EVENTLOG_MAP(X) \
    X(READY, 1, LOG_LEVEL_INFO, 3)                   /* version, addresses, data folder */ \
    X(STOPPED, 2, LOG_LEVEL_INFO, 0) \
    X(STOP_LATE, 3, LOG_LEVEL_ERROR, 1)              /* seconds */ \
    X(START_LATE, 4, LOG_LEVEL_WARNING, 1)           /* seconds */ \
    X(WARNING, 10, LOG_LEVEL_WARNING, 2)             /* what, details */ \
    X(ERROR, 11, LOG_LEVEL_ERROR, 2) \
    X(LOG_FILE, 12, LOG_LEVEL_WARNING, 1)            /* why */ \
    X(HELD_BACK, 13, LOG_LEVEL_WARNING, 1)           /* events an hour */ \
    X(NO_START_CONFIG, 21001, LOG_LEVEL_ERROR, 2)    /* what, hint */ \
    X(NO_START_LOCKED, 21002, LOG_LEVEL_ERROR, 2) \
    X(NO_START_DB_DAMAGED, 21003, LOG_LEVEL_ERROR, 2) \
    X(NO_START_DB_NEWER, 21004, LOG_LEVEL_ERROR, 2) \
    X(NO_START_PORT, 21005, LOG_LEVEL_ERROR, 2) \
    X(NO_START_KEY, 21006, LOG_LEVEL_ERROR, 2) \
    X(NO_START_DISK_FULL, 21007, LOG_LEVEL_ERROR, 2) \
    X(NO_START_PERMISSION, 21008, LOG_LEVEL_ERROR, 2) \
    X(NO_START_OTHER, 21009, LOG_LEVEL_ERROR, 2)
enum eventlog_id {
#define EVENTLOG_ENUM(name, number, level, texts) EVENTLOG_##name = number,
    EVENTLOG_MAP(EVENTLOG_ENUM)
#undef EVENTLOG_ENUM
};
#define EVENTLOG_TEXTS_MAX 3

/* ---- the log itself: eventlog_posix.c, eventlog_win32.c. Threads: any; open first and close last. ---- */
void eventlog_open(void);                            /* until then, and elsewhere than on Windows, nothing is written */
void eventlog_close(void);
/* As many texts as the table says, UTF-8. A failure is ignored: there is nobody left to tell. */
void eventlog_write(enum eventlog_id id, const char *const *texts);

/* ---- what goes there (eventlog.c) ---- */
/* A warning or error of the log as an event, others are none; repetitions are held back (below). */
void eventlog_line(const struct log_entry *entry);
/* Which failure to start this is; and whether starting again by itself can help, or somebody must change something first. */
enum eventlog_id eventlog_failure(const struct err *e);
bool eventlog_restart_helps(enum eventlog_id id);
/* The details of a line as an event shows them: the sentence, then "key: value" lines; held: how many like it were held back. */
void eventlog_details(struct strbuf *b, const struct log_entry *entry, unsigned held);
/* A text as an event viewer shows it unchanged: it would take "%1" for something to fill in. Control characters become spaces. */
void eventlog_plain(struct strbuf *b, const char *text);

/* Keeps a retry loop from flooding the log: of equal events one an hour, of all EVENTLOG_PER_HOUR an hour. */
#define EVENTLOG_PER_HOUR 200
#define EVENTLOG_SLOTS 128
struct eventlog_limit {                              /* all zero is a fresh one; a lock is the caller's */
    struct { uint64_t key; int64_t since_ms; unsigned held; } slots[EVENTLOG_SLOTS];
    int64_t hour_ms;                                 /* when the hour began; 0: not yet */
    unsigned in_hour;
};
enum eventlog_verdict { EVENTLOG_WRITE, EVENTLOG_HOLD, EVENTLOG_TELL };   /* TELL: hold, and say that the hour is full */
/* now_ms: of the monotonic clock, not 0. *ret_held (WRITE): equal ones held back since the last one. */
enum eventlog_verdict eventlog_judge(struct eventlog_limit *l, uint64_t key, int64_t now_ms, unsigned *ret_held);

#endif

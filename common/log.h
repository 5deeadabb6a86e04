/* Log: one line a fact, to standard error, in logfmt:
 *   time=2026-01-31T12:00:00.000Z level=info job=<id> task=download.0 msg="download finished" bytes=123
 * Values are quoted and escaped here, so nothing from outside can forge a line. Threads: any, lines never mix.
 * Never pass a secret, a SAS or a token: pass url_redact()ed URLs. */
#ifndef VMR_COMMON_LOG_H
#define VMR_COMMON_LOG_H

#include "common/error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_kv {
    const char *key;         /* NULL ends the list */
    const char *s;           /* NULL: i is the value */
    long long i;
};
static inline struct log_kv log_text(const char *key, const char *s)
{
    return (struct log_kv){.key = key, .s = s ? s : ""};
}
#define KS(k, v) log_text((k), (v))
#define KI(k, v) ((struct log_kv){.key = (k), .i = (long long)(v)})

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_at(level, msg, ...) log_write(level, msg, (const struct log_kv[]){__VA_ARGS__ __VA_OPT__(, ) {0}})

void log_write(enum log_level level, const char *msg, const struct log_kv *kv);
/* Adds code, sentence and upstream of e to the line. */
void log_err(enum log_level level, const char *msg, const struct err *e);
void log_set_level(enum log_level max);
/* "error", "warning", "info", "debug"; false if the word is none of them. */
bool log_parse_level(const char *word, enum log_level *ret);
/* What the calling thread works on, put on each of its lines; NULL clears. The strings are copied. */
void log_context(const char *job, const char *task);
/* What was said, as it reaches the sink. Everything belongs to log_write and is gone after the call. */
struct log_entry {
    enum log_level level;
    const char *job, *task;  /* "": none */
    const char *msg;
    const struct log_kv *kv;
    const char *line;        /* all of it in one line, escaped, with its newline */
    size_t len;
};
/* Where lines go; NULL: standard error. Called by any thread, several at once; must not log. Set before threads start. */
void log_set_sink(void (*sink)(const struct log_entry *entry));
void log_to_stderr(const struct log_entry *entry);
/* Appends what log_write would write, newline included, whatever the level. */
struct strbuf;
void log_format(struct strbuf *b, enum log_level level, const char *msg, const struct log_kv *kv);

#endif

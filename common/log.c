#include "common/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static enum log_level max_level = LOG_LEVEL_INFO;
static void (*line_sink)(const struct log_entry *);
static pthread_mutex_t stderr_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char context_job[64], context_task[32];

void log_set_level(enum log_level max)
{
    __atomic_store_n(&max_level, max, __ATOMIC_RELAXED);
}

void log_set_sink(void (*sink)(const struct log_entry *entry))
{
    line_sink = sink;
}

bool log_parse_level(const char *word, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (!strcmp(word, level_names[i])) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

void log_context(const char *job, const char *task)
{
    snprintf(context_job, sizeof context_job, "%s", job ? job : "");
    snprintf(context_task, sizeof context_task, "%s", task ? task : "");
}

static void add_value(struct strbuf *b, const char *key, const char *value)
{
    strbuf_addf(b, "%s%s=", b->len ? " " : "", key);
    bool plain = *value;
    for (const char *p = value; *p && plain; p++)
        plain = *p > ' ' && *p != '"' && *p != '=' && *p != '\\' && *p != 0x7F;
    if (plain) {
        strbuf_adds(b, value);
        return;
    }
    strbuf_adds(b, "\"");
    for (const char *p = value; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            strbuf_addf(b, "\\%c", c);
        else if (c < ' ' || c == 0x7F)
            strbuf_addf(b, "\\x%02x", c);
        else
            strbuf_add(b, p, 1);
    }
    strbuf_adds(b, "\"");
}

void log_format(struct strbuf *b, enum log_level level, const char *msg, const struct log_kv *kv)
{
    char now[CLOCK_TEXT];
    clock_format(clock_now_ms(), now);
    add_value(b, "time", now);
    add_value(b, "level", level_names[level]);
    if (context_job[0])
        add_value(b, "job", context_job);
    if (context_task[0])
        add_value(b, "task", context_task);
    add_value(b, "msg", msg);
    for (; kv->key; kv++) {
        if (kv->s)
            add_value(b, kv->key, kv->s);
        else
            strbuf_addf(b, " %s=%lld", kv->key, kv->i);
    }
    b->max = 0;                                       /* room for the newline even after a line that was cut */
    b->failed = false;
    strbuf_adds(b, "\n");
}

void log_to_stderr(const struct log_entry *entry)
{
    pthread_mutex_lock(&stderr_lock);
    fwrite(entry->line, 1, entry->len, stderr);
    fflush(stderr);                                   /* not every C runtime leaves it without a buffer */
    pthread_mutex_unlock(&stderr_lock);
}

void log_write(enum log_level level, const char *msg, const struct log_kv *kv)
{
    if (level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
        return;
    AUTO_STRBUF struct strbuf b = {.max = 16384};
    log_format(&b, level, msg, kv);
    struct log_entry entry = {level, context_job, context_task, msg, kv, b.data, b.len};
    if (b.data)
        (line_sink ? line_sink : log_to_stderr)(&entry);
}

void log_err(enum log_level level, const char *msg, const struct err *e)
{
    struct log_kv kv[8] = {KS("code", err_info(e->code)->word), KS("detail", e->msg)};
    size_t n = 2;
    if (e->os_code)
        kv[n++] = KI("os_code", e->os_code);
    if (e->upstream.service[0]) {
        kv[n++] = KS("upstream", e->upstream.service);
        kv[n++] = KI("upstream_status", e->upstream.status);
        kv[n++] = KS("upstream_code", e->upstream.code);
        kv[n++] = KS("request_id", e->upstream.request_id);
    }
    log_write(level, msg, kv);
}

#include "service/eventlog.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#define HOUR_MS 3600000
#define DETAILS_MAX 8000                             /* an event takes 31,839 characters a text */

static struct eventlog_limit limit;
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

enum eventlog_verdict eventlog_judge(struct eventlog_limit *l, uint64_t key, int64_t now_ms, unsigned *ret_held)
{
    size_t at = 0;
    for (size_t i = 0; i < EVENTLOG_SLOTS; i++) {
        if (l->slots[i].since_ms && l->slots[i].key == key) {
            at = i;
            break;
        }
        if (l->slots[i].since_ms < l->slots[at].since_ms)
            at = i;                                   /* a free one, else the oldest */
    }
    bool known = l->slots[at].since_ms && l->slots[at].key == key;
    if (known && now_ms - l->slots[at].since_ms < HOUR_MS) {
        l->slots[at].held++;
        return EVENTLOG_HOLD;
    }
    if (!l->hour_ms || now_ms - l->hour_ms >= HOUR_MS) {
        l->hour_ms = now_ms;
        l->in_hour = 0;
    }
    if (l->in_hour >= EVENTLOG_PER_HOUR)
        return l->in_hour++ == EVENTLOG_PER_HOUR ? EVENTLOG_TELL : EVENTLOG_HOLD;
    l->in_hour++;
    *ret_held = known ? l->slots[at].held : 0;
    l->slots[at].key = key;
    l->slots[at].since_ms = now_ms;
    l->slots[at].held = 0;
    return EVENTLOG_WRITE;
}

static uint64_t add_to_key(uint64_t key, const char *s)
{
    for (; *s; s++)
        key = (key ^ (unsigned char)*s) * 1099511628211u;
    return key * 1099511628211u;                      /* where one text ends is part of it */
}

/* Equal: the same thing said of the same task with the same code. The sentence may differ, in a number of bytes or a time. */
static uint64_t key_of(const struct log_entry *entry)
{
    uint64_t key = 14695981039346656037u + (uint64_t)entry->level;
    key = add_to_key(add_to_key(add_to_key(key, entry->job), entry->task), entry->msg);
    for (const struct log_kv *kv = entry->kv; kv->key; kv++)
        if (!strcmp(kv->key, "code") && kv->s)
            key = add_to_key(key, kv->s);
    return key;
}

void eventlog_plain(struct strbuf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        strbuf_add(b, (c < ' ' && c != '\n') || c == 0x7F ? " " : p, 1);
        if (c == '%' && p[1] >= '0' && p[1] <= '9')
            strbuf_adds(b, " ");
    }
}

static void add_detail(struct strbuf *b, const char *key, const char *value)
{
    if (*value)
        strbuf_addf(b, "%s: ", key);
    for (const char *p = value; *p; p++)              /* one line each: a line break inside would look like another detail */
        strbuf_add(b, *p == '\n' ? " " : p, 1);
    if (*value)
        strbuf_adds(b, "\n");
}

void eventlog_details(struct strbuf *b, const struct log_entry *entry, unsigned held)
{
    AUTO_STRBUF struct strbuf raw = {.max = DETAILS_MAX};
    for (const struct log_kv *kv = entry->kv; kv->key; kv++)
        if (!strcmp(kv->key, "detail") && kv->s && *kv->s)
            strbuf_addf(&raw, "%s\n\n", kv->s);
    add_detail(&raw, "job", entry->job);
    add_detail(&raw, "task", entry->task);
    for (const struct log_kv *kv = entry->kv; kv->key; kv++) {
        char number[32];
        snprintf(number, sizeof number, "%lld", kv->i);
        if (strcmp(kv->key, "detail"))
            add_detail(&raw, kv->key, kv->s ? kv->s : number);
    }
    if (held)
        strbuf_addf(&raw, "held back: %u like this one within the last hours; they are in the log file\n", held);
    while (raw.len && raw.data[raw.len - 1] == '\n')
        raw.data[--raw.len] = 0;
    if (raw.data)
        eventlog_plain(b, raw.data);
}

void eventlog_line(const struct log_entry *entry)
{
    if (entry->level > LOG_LEVEL_WARNING)
        return;
    unsigned held = 0;
    pthread_mutex_lock(&limit_lock);
    enum eventlog_verdict verdict = eventlog_judge(&limit, key_of(entry), clock_mono_ms() + 1, &held);
    pthread_mutex_unlock(&limit_lock);
    if (verdict == EVENTLOG_TELL) {
        char number[16];
        snprintf(number, sizeof number, "%d", EVENTLOG_PER_HOUR);
        eventlog_write(EVENTLOG_HELD_BACK, (const char *const[]){number});
    }
    if (verdict != EVENTLOG_WRITE)
        return;
    AUTO_STRBUF struct strbuf what = {0}, details = {0};
    eventlog_plain(&what, entry->msg);
    eventlog_details(&details, entry, held);
    eventlog_write(entry->level == LOG_LEVEL_ERROR ? EVENTLOG_ERROR : EVENTLOG_WARNING,
                   (const char *const[]){what.data ? what.data : "", details.data ? details.data : ""});
}

static const struct failure {
    enum err_code code;
    enum eventlog_id id;
    bool restart_helps;
} failures[] = {
    {ERR_CONFIG, EVENTLOG_NO_START_CONFIG, false},
    {ERR_LOCKED, EVENTLOG_NO_START_LOCKED, true},
    {ERR_DB_DAMAGED, EVENTLOG_NO_START_DB_DAMAGED, false},
    {ERR_DB_NEWER, EVENTLOG_NO_START_DB_NEWER, false},
    {ERR_PORT, EVENTLOG_NO_START_PORT, true},
    {ERR_SECRET, EVENTLOG_NO_START_KEY, false},
    {ERR_DISK_FULL, EVENTLOG_NO_START_DISK_FULL, true},
    {ERR_PERMISSION, EVENTLOG_NO_START_PERMISSION, true},
};

enum eventlog_id eventlog_failure(const struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(failures); i++)
        if (failures[i].code == e->code)
            return failures[i].id;
    return EVENTLOG_NO_START_OTHER;
}

bool eventlog_restart_helps(enum eventlog_id id)
{
    for (size_t i = 0; i < ARRAY_LEN(failures); i++)
        if (failures[i].id == id)
            return failures[i].restart_helps;
    return true;
}

#include "service/logs.h"

#include <string.h>

#include "common/logfile.h"
#include "common/os.h"

static bool as_service;
static struct logfile *file;
static _Thread_local bool event_is_written;          /* the line that is logged now has its event already */

static void sink(const struct log_entry *entry)
{
    if (as_service && !event_is_written)
        eventlog_line(entry);
    if (!as_service)
        log_to_stderr(entry);
    if (file)
        logfile_write(file, entry->line, entry->len);
}

void logs_start(bool service)
{
    as_service = service;
    if (service)
        eventlog_open();
    log_set_sink(sink);
}

static void on_trouble(void *arg, const struct err *why)
{
    (void)arg;
    if (as_service) {
        AUTO_STRBUF struct strbuf text = {0};
        eventlog_plain(&text, why->msg);
        eventlog_write(EVENTLOG_LOG_FILE, (const char *const[]){text.data ? text.data : ""});
        return;
    }
    AUTO_STRBUF struct strbuf b = {0};
    const struct log_kv kv[] = {KS("detail", why->msg), {0}};
    log_format(&b, LOG_LEVEL_WARNING, "the log file cannot be kept as it should", kv);
    if (b.data)
        log_to_stderr(&(struct log_entry){.level = LOG_LEVEL_WARNING, .kv = kv, .line = b.data, .len = b.len});
}

void logs_use_file(const struct config *cfg, const char *data_dir)
{
    if (file || !strcmp(cfg->log_file, "off") || (!strcmp(cfg->log_file, "auto") && !as_service))
        return;
    AUTO_FREE char *folder = os_path_join(data_dir, "logs"), *path = folder ? os_path_join(folder, "vmrecoverd.log") : NULL;
    if (path)
        file = logfile_new(&(struct logfile_config){.path = path, .max_bytes = cfg->log_file_mib << 20, .files = (unsigned)cfg->log_files,
                                                    .trouble = on_trouble});
    struct err e;
    if (!file) {
        err_oom(&e);
        on_trouble(NULL, &e);
    }
}

void logs_event(enum eventlog_id id, const char *const *texts, enum log_level level, const char *msg, const struct log_kv *kv)
{
    if (as_service)
        eventlog_write(id, texts);
    event_is_written = true;
    log_write(level, msg, kv);
    event_is_written = false;
}

void logs_failure(const struct err *e)
{
    AUTO_STRBUF struct strbuf what = {0}, hint = {0};
    eventlog_plain(&what, e->msg);
    eventlog_plain(&hint, err_hint_text(e));
    if (as_service)
        eventlog_write(eventlog_failure(e), (const char *const[]){what.data ? what.data : "", hint.data ? hint.data : ""});
    event_is_written = true;
    log_err(LOG_LEVEL_ERROR, "vmrecoverd cannot run", e);
    event_is_written = false;
}

char *logs_place(void)
{
    AUTO_FREE char *journal = os_getenv("JOURNAL_STREAM");           /* systemd sets it for what it starts */
    return str_dup(file ? logfile_path(file) : journal ? "journalctl -u vmrecoverd" : as_service ? "the Application event log" : "standard error of vmrecoverd");
}

void logs_end(void)
{
    log_set_sink(NULL);
    logfile_free(STEAL(file));
    eventlog_close();
}

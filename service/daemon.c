#include "service/daemon.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/log.h"
#include "db/event.h"
#include "db/reserve.h"
#include "service/azure.h"
#include "service/host.h"
#include "service/logs.h"
#include "storage/http.h"
#include "storage/transfer/share.h"

#define WORKERS_MAX (LANES * 64)

void daemon_wake(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->rings++;
    pthread_cond_broadcast(&d->bell);
    pthread_mutex_unlock(&d->lock);
}

uint64_t daemon_rings(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    uint64_t n = d->rings;
    pthread_mutex_unlock(&d->lock);
    return n;
}

bool daemon_stopping(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    bool s = d->stopping;
    pthread_mutex_unlock(&d->lock);
    return s;
}

void daemon_wait(struct daemon *d, uint64_t seen, unsigned timeout_ms)
{
    int64_t until = clock_mono_ms() + timeout_ms;
    pthread_mutex_lock(&d->lock);
    while (d->rings == seen && !d->stopping && cond_wait_until(&d->bell, &d->lock, until))
        ;
    pthread_mutex_unlock(&d->lock);
}

static void stop_all(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_broadcast(&d->bell);
    pthread_mutex_unlock(&d->lock);
}

/* The front's addresses go to the log and into the data folder, where scripts and the client find them. *addresses: separated by commas. */
static int start_front(struct daemon *d, const struct daemon_front *front, void **ret, struct strbuf *addresses, struct err *e)
{
    AUTO_FREE char *bound = NULL;
    int r = front->start(d, ret, &bound, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = os_path_join(d->data_dir, "address");
    r = path ? os_write_file(path, bound, strlen(bound), 0, e) : err_oom(e);
    char *rest = bound;
    for (char *one; r == 0 && (one = str_sep(&rest, "\n"));)
        if (*one) {
            log_info("listening", KS("address", one));
            strbuf_addf(addresses, "%s%s", addresses->len ? ", " : "", one);
        }
    if (r < 0)
        front->stop(STEAL(*ret));
    return r;
}

static bool on_hv_stop(void *d)
{
    return daemon_stopping(d);
}

/* What needs no thread: folders, lock, key, database, hypervisor. */
static int open_parts(struct daemon *d, struct os_file **ret_lock, struct err *e)
{
    int r = os_mkdirs(d->cfg->data_dir, OS_PRIVATE, e);
    if (r < 0)
        return r;
    d->data_dir = os_real_path(d->cfg->data_dir);
    d->disks_dir = d->data_dir ? os_path_join(d->data_dir, "disks") : NULL;
    d->db_path = d->data_dir ? os_path_join(d->data_dir, "vmrecover.db") : NULL;
    AUTO_FREE char *lock = d->data_dir ? os_path_join(d->data_dir, "lock") : NULL;
    if (!d->disks_dir || !d->db_path || !lock)
        return err_oom(e);
    if ((r = os_mkdirs(d->disks_dir, 0, e)) < 0 || (r = os_file_open(lock, OS_WRITE | OS_CREATE | OS_PRIVATE, ret_lock, e)) < 0)
        return r;
    if ((r = os_file_lock(*ret_lock, e)) < 0)
        return r == -ERR_LOCKED ? err_prefix(e, "another vmrecoverd uses the data folder %s", d->data_dir) : r;
    struct err why;
    if (os_remove_unfinished(d->data_dir, &why) < 0)
        log_err(LOG_LEVEL_WARNING, "what a killed daemon left unfinished stays", &why);
    logs_use_file(d->cfg, d->data_dir);
    if ((r = secret_open(d->data_dir, &d->box, e)) < 0)
        return r;
    AUTO(db_close_ptr) struct db *db = NULL;
    if ((r = db_create(d->db_path, d->box, &db, e)) < 0)
        return r;
    if (reserve_keep(d->db_path, &why) < 0)
        log_err(LOG_LEVEL_WARNING, "no space is kept for a full disk", &why);
    size_t recovered;
    if ((r = task_recover(db, &recovered, e)) < 0)
        return r;
    if (recovered)
        log_info("tasks of the last run go on", KI("tasks", recovered));
    if (!(d->share = share_new(d->cfg->total_bytes_per_second)))
        return err_oom(e);
    if ((r = daemon_azure_open(d, e)) < 0)
        return r;
    struct hv_config hc = {.data_dir = d->data_dir, .run_as = *d->cfg->run_as ? d->cfg->run_as : NULL, .accel = d->cfg->accel,
                           .program = *d->cfg->qemu ? d->cfg->qemu : NULL, .scope = d->cfg->scope, .stop = on_hv_stop, .stop_arg = d};
    if (hv_open_host(&hc, &d->hv, &d->hv_error) < 0) {
        d->hv = NULL;                                 /* downloads work without one; preflight says why a VM does not */
        log_err(LOG_LEVEL_WARNING, "no hypervisor", &d->hv_error);
    }
    return 0;
}

static void close_parts(struct daemon *d)
{
    hv_close(d->hv);
    azure_close(d->azure);
    share_free(d->share);
    secret_close(d->box);
    free(d->data_dir);
    free(d->disks_dir);
    free(d->db_path);
}

static int start_workers(struct daemon *d, struct worker *workers, size_t *ret_n, struct err *e)
{
    *ret_n = 0;
    for (int lane = 0; lane < LANES; lane++)
        for (unsigned i = 0; i < d->cfg->workers[lane]; i++) {
            struct worker *w = &workers[*ret_n];
            *w = (struct worker){.d = d, .lane = (enum task_lane)lane, .index = i};
            int rc = pthread_create(&w->thread, NULL, worker_main, w);
            if (rc)
                return err_set(e, ERR_OOM, "a worker thread cannot be started (error %d)", rc);
            ++*ret_n;
        }
    return 0;
}

/* The watchdog is fed from here as long as the database answers: a daemon that cannot reach its queue is of no use to anybody. */
static void watch(struct daemon *d)
{
    unsigned period = host_watchdog_ms();
    struct err e;
    AUTO(db_close_ptr) struct db *db = NULL;
    while (!host_wait_stop(period ? period : 60000)) {
        int64_t id;
        if (!db && db_open(d->db_path, d->box, &db, &e) < 0) {
            log_err(LOG_LEVEL_ERROR, "cannot open the database", &e);
            continue;
        }
        if (event_last_id(db, &id, &e) < 0) {
            log_err(LOG_LEVEL_ERROR, "the database does not answer", &e);
            db_close(STEAL(db));
            continue;
        }
        if (period)
            host_alive();
    }
}

int daemon_run(const struct config *cfg, const struct daemon_front *front, struct err *e)
{
    struct daemon d = {.cfg = cfg, .lock = PTHREAD_MUTEX_INITIALIZER, .volumes = PTHREAD_MUTEX_INITIALIZER};
    cond_init(&d.bell);

    AUTO(os_file_close_ptr) struct os_file *lock = NULL;
    AUTO_FREE struct worker *workers = calloc(WORKERS_MAX, sizeof *workers);
    void *serving = NULL;
    static void *(*const keepers[])(void *) = {cleaner_main, giveback_main};
    pthread_t threads[ARRAY_LEN(keepers)];
    size_t n_threads = 0;
    size_t n = 0;
    AUTO_STRBUF struct strbuf addresses = {0};
    int r = workers ? http_init(e) : err_oom(e);
    if (r == 0)
        r = http_use_proxy(cfg->proxy, cfg->no_proxy, e);
    if (r == 0)
        r = open_parts(&d, &lock, e);
    if (r == 0)
        r = start_workers(&d, workers, &n, e);
    if (r == 0) {
        int rc = 0;
        while (n_threads < ARRAY_LEN(keepers) && !(rc = pthread_create(&threads[n_threads], NULL, keepers[n_threads], &d)))
            n_threads++;
        if (rc)
            r = err_set(e, ERR_OOM, "a thread that cleans up cannot be started (error %d)", rc);
    }
    if (r == 0)
        r = start_front(&d, front, &serving, &addresses, e);
    if (r == 0) {
        logs_event(EVENTLOG_READY, (const char *const[]){VMR_VERSION, addresses.data ? addresses.data : "", d.data_dir}, LOG_LEVEL_INFO, "ready",
                   (const struct log_kv[]){KS("version", VMR_VERSION), KS("data_dir", d.data_dir), KI("workers", n), {0}});
        host_ready("ready");
        watch(&d);
        log_info("stopping");
        host_stopping("parking tasks");
    }
    stop_all(&d);
    front->stop(serving);
    for (size_t i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    close_parts(&d);
    pthread_cond_destroy(&d.bell);
    pthread_mutex_destroy(&d.lock);
    pthread_mutex_destroy(&d.volumes);
    if (r == 0)
        logs_event(EVENTLOG_STOPPED, NULL, LOG_LEVEL_INFO, "stopped", (const struct log_kv[]){{0}});
    return r;
}

#include "service/daemon.h"

#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "db/event.h"
#include "common/log.h"
#include "service/host.h"
#include "storage/http.h"

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
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&d->lock);
    while (d->rings == seen && !d->stopping)
        if (pthread_cond_timedwait(&d->bell, &d->lock, &until) != 0)
            break;
    pthread_mutex_unlock(&d->lock);
}

static void stop_all(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_broadcast(&d->bell);
    pthread_mutex_unlock(&d->lock);
}

/* ---- callbacks of the API ---- */

static void on_wake(void *arg)
{
    daemon_wake(arg);
}

static bool on_healthy(void *arg)
{
    return !daemon_stopping(arg);
}

static int start_api(struct daemon *d, char *listen, struct api **ret, struct err *e)
{
    struct api_config ac = {.data_dir = d->data_dir, .db_path = d->db_path, .box = d->box, .hv = d->hv, .hv_error = &d->hv_error,
                            .max_connections = (unsigned)d->cfg->max_connections, .max_streams = (unsigned)d->cfg->max_streams,
                            .threads = os_cpu_count() > 4 ? 4 : os_cpu_count(), .max_body = (size_t)d->cfg->max_body_kib * 1024,
                            .wake = on_wake, .healthy = on_healthy, .arg = d};
    char *rest = listen;
    for (char *one; (one = strsep(&rest, ","));) {
        one += strspn(one, " ");
        if (!*one)
            continue;
        if (ac.n_listen == API_LISTEN_MAX)
            return err_set(e, ERR_CONFIG, "listen names more than %d addresses", API_LISTEN_MAX);
        ac.listen[ac.n_listen++] = one;
    }
    if (!ac.n_listen)
        return err_set(e, ERR_CONFIG, "listen names no address");
    int r = api_start(&ac, ret, e);
    if (r < 0)
        return r;
    AUTO_STRBUF struct strbuf all = {0};
    for (size_t i = 0; i < ac.n_listen; i++) {
        const char *address = api_address(*ret, i);
        if (!address)
            continue;
        log_info("listening", KS("address", address));
        strbuf_addf(&all, "%s\n", address);
    }
    AUTO_FREE char *path = os_path_join(d->data_dir, "address");
    if (!path || all.failed)
        r = err_oom(e);
    else
        r = os_write_file(path, all.data ? all.data : "", all.len, 0, e);
    if (r < 0)
        api_stop(STEAL(*ret));
    return r;
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
    if ((r = secret_open(d->data_dir, &d->box, e)) < 0)
        return r;
    AUTO(db_close_ptr) struct db *db = NULL;
    if ((r = db_create(d->db_path, d->box, &db, e)) < 0)
        return r;
    size_t recovered;
    if ((r = task_recover(db, &recovered, e)) < 0)
        return r;
    if (recovered)
        log_info("tasks of the last run go on", KI("tasks", recovered));
    struct hv_config hc = {.data_dir = d->data_dir, .run_as = *d->cfg->run_as ? d->cfg->run_as : NULL, .accel = d->cfg->accel,
                           .program = *d->cfg->qemu ? d->cfg->qemu : NULL, .scope = d->cfg->scope};
    if (hv_open(&hv_qemu, &hc, &d->hv, &d->hv_error) < 0) {
        d->hv = NULL;                                 /* downloads work without one; preflight says why a VM does not */
        log_err(LOG_LEVEL_WARNING, "no hypervisor", &d->hv_error);
    }
    return 0;
}

static void close_parts(struct daemon *d)
{
    hv_close(d->hv);
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
                return err_os(e, ERR_INTERNAL, rc, "cannot start a worker thread");
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

int daemon_run(const struct config *cfg, struct err *e)
{
    struct daemon d = {.cfg = cfg, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d.bell, &attr);
    pthread_condattr_destroy(&attr);

    AUTO(os_file_close_ptr) struct os_file *lock = NULL;
    AUTO_FREE char *listen = str_dup(cfg->listen);
    AUTO_FREE struct worker *workers = calloc(WORKERS_MAX, sizeof *workers);
    struct api *api = NULL;
    pthread_t cleaner;
    bool cleaner_runs = false;
    size_t n = 0;
    int r = listen && workers ? http_init(e) : err_oom(e);
    if (r == 0)
        r = open_parts(&d, &lock, e);
    if (r == 0)
        r = start_workers(&d, workers, &n, e);
    if (r == 0) {
        int rc = pthread_create(&cleaner, NULL, cleaner_main, &d);
        cleaner_runs = rc == 0;
        if (rc)
            r = err_os(e, ERR_INTERNAL, rc, "cannot start the cleaner thread");
    }
    if (r == 0)
        r = start_api(&d, listen, &api, e);
    if (r == 0) {
        log_info("ready", KS("version", VMR_VERSION), KS("data_dir", d.data_dir), KI("workers", n));
        host_ready("ready");
        watch(&d);
        log_info("stopping");
        host_stopping("parking tasks");
    }
    stop_all(&d);
    api_stop(api);
    for (size_t i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    if (cleaner_runs)
        pthread_join(cleaner, NULL);
    close_parts(&d);
    pthread_cond_destroy(&d.bell);
    pthread_mutex_destroy(&d.lock);
    if (r == 0)
        log_info("stopped");
    return r;
}

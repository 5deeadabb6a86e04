/* Start and stop of the HTTP server: one libmicrohttpd daemon for each address, each with a pool of polling threads. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/sse.h"
#include "common/clock.h"
#include "common/cond.h"
#include "common/log.h"

#define CONNECTION_MEMORY (64 << 10)  /* bytes: request line, headers and the reply's headers */
#define CONNECTION_TIMEOUT_S 30       /* without a byte in either direction */
#define STOP_MS 5000                  /* for replies that clients are still reading */
#define THREADS_MIN 2
#define THREADS_MAX 64

static void mhd_log(void *arg, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void mhd_log(void *arg, const char *fmt, va_list ap)
{
    (void)arg;
    char text[256];
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = 0;
    log_debug(text);
}

static void *begin(void *arg, const char *uri, struct MHD_Connection *conn)
{
    return request_begin(arg, conn, uri);
}

static enum MHD_Result step(void *arg, struct MHD_Connection *conn, const char *url, const char *method, const char *version,
                            const char *upload, size_t *upload_size, void **req)
{
    (void)arg;
    (void)conn;
    return *req ? request_step(*req, url, method, version, upload, upload_size) : MHD_NO;
}

static void end(void *arg, struct MHD_Connection *conn, void **req, enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)conn;
    (void)why;
    if (*req)
        request_end(*req);
    *req = NULL;
}

/* "127.0.0.1:8480", "localhost:8480" or "[::1]:8480" */
static int parse_address(const char *s, bool *ret_ipv6, uint16_t *ret_port, struct err *e)
{
    static const struct { const char *host; bool ipv6; } hosts[] = {{"127.0.0.1:", false}, {"localhost:", false}, {"[::1]:", true}};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        unsigned long long port;
        if (!str_istarts(s, hosts[i].host))
            continue;
        if (!str_to_u64(s + strlen(hosts[i].host), 65535, &port))
            break;
        *ret_ipv6 = hosts[i].ipv6;
        *ret_port = (uint16_t)port;
        return 0;
    }
    err_set(e, ERR_CONFIG, "listen: \"%.100s\" is not a loopback address with a port", s);
    return err_hint(e, "Use 127.0.0.1:PORT or [::1]:PORT; nothing listens beyond this machine.");
}

static int listen_on(struct api *api, const char *address, struct err *e)
{
    struct listener *l = &api->listeners[api->n_listeners];
    int r = parse_address(address, &l->ipv6, &l->port, e);
    if (r == 0)
        r = net_listen(l->ipv6, &l->port, &l->socket, e);
    if (r < 0)
        return r;
    snprintf(l->address, sizeof l->address, "%s:%u", l->ipv6 ? "[::1]" : "127.0.0.1", l->port);
    api->n_listeners++;
    return 0;
}

static int serve(struct api *api, struct listener *l, struct err *e)
{
    unsigned threads = api->cfg.threads < THREADS_MIN ? THREADS_MIN : api->cfg.threads > THREADS_MAX ? THREADS_MAX : api->cfg.threads;
    unsigned connections = api->cfg.max_connections < threads ? threads : api->cfg.max_connections;
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG | (l->ipv6 ? MHD_USE_IPv6 : 0U);
    l->daemon = MHD_start_daemon(flags, l->port, NULL, NULL, step, api,
                                 MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, l->socket,
                                 MHD_OPTION_THREAD_POOL_SIZE, threads,
                                 MHD_OPTION_CONNECTION_LIMIT, connections,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                 MHD_OPTION_URI_LOG_CALLBACK, begin, api,
                                 MHD_OPTION_NOTIFY_COMPLETED, end, NULL,
                                 MHD_OPTION_END);
    return l->daemon ? 0 : err_set(e, ERR_INTERNAL, "the HTTP server on %s could not be started", l->address);
}

int api_start(const struct api_config *cfg, struct api **ret, struct err *e)
{
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return err_oom(e);
    api->cfg = *cfg;
    if (!cfg->hv) {
        if (cfg->hv_error)
            api->hv_error = *cfg->hv_error;
        else
            err_set(&api->hv_error, ERR_HYPERVISOR, "this daemon has no hypervisor");
        api->cfg.hv_error = &api->hv_error;
    }
    api->started_ms = clock_mono_ms();
    pthread_mutex_init(&api->lock, NULL);
    cond_init(&api->changed);

    int r = auth_token(cfg->data_dir, &api->token, e);
    if (r == 0)
        r = openapi_document(VMR_VERSION, &api->openapi, &api->openapi_len, e);
    if (r == 0)
        r = sessions_open(&api->sessions, e);
    if (r == 0)
        r = dbpool_open(cfg->db_path, cfg->box, &api->pool, e);
    if (r == 0)
        r = events_open(api, &api->events, e);
    if (r == 0)
        r = serials_open(api, &api->serials, e);
    struct err absent = {0};
    for (size_t i = 0; i < cfg->n_listen && i < API_LISTEN_MAX && r == 0; i++) {
        r = listen_on(api, cfg->listen[i], e);
        if (r == -ERR_UNSUPPORTED) {                 /* a host without IPv6 still serves on IPv4 */
            log_err(LOG_LEVEL_WARNING, "an address to listen on is not there", e);
            absent = *e;
            r = 0;
        }
    }
    if (r == 0 && !api->n_listeners) {
        r = err_set(e, ERR_CONFIG, "listen: no address is given");
        if (absent.code) {
            *e = absent;
            r = -(int)e->code;
        }
    }
    snprintf(api->cookie, sizeof api->cookie, "vmrecover_%u", api->listeners[0].port);
    /* Ports first, for auth_check_host looks at all of them. */
    for (size_t i = 0; i < api->n_listeners && r == 0; i++)
        r = serve(api, &api->listeners[i], e);
    if (r < 0) {
        api_stop(api);
        return r;
    }
    *ret = api;
    return 0;
}

const char *api_address(const struct api *api, size_t i)
{
    return i < api->n_listeners ? api->listeners[i].address : NULL;
}

/* Waits until *count is 0 or ms have passed (0: for ever). */
static void wait_for(struct api *api, const unsigned *count, unsigned ms)
{
    int64_t until = clock_mono_ms() + ms;
    pthread_mutex_lock(&api->lock);
    for (bool more = true; *count && more;)
        more = ms ? cond_wait_until(&api->changed, &api->lock, until) : !pthread_cond_wait(&api->changed, &api->lock);
    pthread_mutex_unlock(&api->lock);
}

void api_stop(struct api *api)
{
    if (!api)
        return;
    pthread_mutex_lock(&api->lock);
    atomic_store(&api->stopping, true);
    pthread_cond_broadcast(&api->changed);
    pthread_mutex_unlock(&api->lock);
    for (size_t i = 0; i < api->n_listeners; i++)
        if (api->listeners[i].daemon)
            MHD_quiesce_daemon(api->listeners[i].daemon);
    if (api->events)
        hub_end(api->events);
    if (api->serials)
        hub_end(api->serials);
    /* A thread that is inside the hypervisor uses our memory and its connection: it must come back first, and no connection
     * may be suspended when its daemon stops. Replies that nobody reads are cut off. */
    wait_for(api, &api->n_slow, 0);
    wait_for(api, &api->n_displays, STOP_MS);
    wait_for(api, &api->n_requests, STOP_MS);
    for (size_t i = 0; i < api->n_listeners; i++) {
        if (api->listeners[i].daemon)
            MHD_stop_daemon(api->listeners[i].daemon);
        net_close(api->listeners[i].socket);
    }
    hub_close(api->events);
    hub_close(api->serials);
    dbpool_close(api->pool);
    free(api->openapi);
    sessions_close(api->sessions);
    mem_free_secret(api->token);
    pthread_cond_destroy(&api->changed);
    pthread_mutex_destroy(&api->lock);
    free(api);
}

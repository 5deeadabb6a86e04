#include "api/sse.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/log.h"

#define KEEP_ALIVE_MS 15000
#define OUT_FULL (64 << 10)       /* no more is put into a buffer that has this much to send */
#define OUT_MAX (1 << 20)         /* one pump's text may go beyond OUT_FULL, never beyond this */
#define BLOCK 16384

struct hub {
    struct api *api;
    pump_fn *pump;
    unsigned tick_ms;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct stream *streams;
    size_t n;
    bool poked, ending, stop;
};

struct api *hub_api(struct hub *hub)
{
    return hub->api;
}

void hub_poke(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->poked = true;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
}

/* ---- libmicrohttpd's side ---- */

static ssize_t read_stream(void *arg, uint64_t pos, char *buf, size_t max)
{
    (void)pos;
    struct stream *s = arg;
    struct hub *hub = s->hub;
    ssize_t r = 0;
    pthread_mutex_lock(&hub->lock);
    size_t left = s->out.len - s->sent;
    if (left) {
        r = (ssize_t)(left < max ? left : max);
        memcpy(buf, s->out.data + s->sent, (size_t)r);
        s->sent += (size_t)r;
        if (s->sent == s->out.len) {
            strbuf_reset(&s->out);
            s->sent = 0;
            if (s->starved)                          /* there was more than fitted */
                hub->poked = true, pthread_cond_signal(&hub->wake);
        }
    } else if (s->ended) {
        r = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        /* Under the lock, so that the hub cannot resume before this is suspended. */
        s->suspended = true;
        MHD_suspend_connection(s->conn);
    }
    pthread_mutex_unlock(&hub->lock);
    return r;
}

static void destroy(struct stream *s)
{
    free(s->seen);
    strbuf_free(&s->out);
    free(s);
}

/* The connection is over. The hub's thread may be working on the stream: then it frees it. */
static void close_stream(void *arg)
{
    struct stream *s = arg;
    struct hub *hub = s->hub;
    pthread_mutex_lock(&hub->lock);
    struct stream **p = &hub->streams;
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    hub->n--;
    atomic_fetch_sub(&hub->api->n_streams, 1);
    s->closed = true;
    bool pinned = s->pinned;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
    if (!pinned)
        destroy(s);
}

int sse_reply(struct request *rq, struct hub *hub, const char *id, int64_t cursor, struct err *e)
{
    if (rq->head)
        return reply_response(rq, 200, "text/event-stream", MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), e);
    struct api *api = rq->api;
    if (atomic_fetch_add(&api->n_streams, 1) >= api->cfg.max_streams) {
        atomic_fetch_sub(&api->n_streams, 1);
        return err_set(e, ERR_BUSY, "%u event streams are open, which is the limit", api->cfg.max_streams);
    }
    struct stream *s = calloc(1, sizeof *s);
    if (!s) {
        atomic_fetch_sub(&api->n_streams, 1);
        return err_oom(e);
    }
    if (id)
        memcpy(s->id, id, sizeof s->id);
    s->cursor = cursor;
    s->session = rq->session;
    s->hub = hub;
    s->conn = rq->conn;
    s->socket = rq->socket;
    s->written_ms = clock_mono_ms();
    s->out.max = OUT_MAX;
    strbuf_adds(&s->out, "retry: 2000\n\n");         /* also makes the headers go out at once */
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, s, close_stream);
    if (!response) {
        atomic_fetch_sub(&api->n_streams, 1);
        destroy(s);
        return err_oom(e);
    }
    pthread_mutex_lock(&hub->lock);
    s->next = hub->streams;
    hub->streams = s;
    hub->n++;
    s->ended = hub->ending;
    hub->poked = true;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
    return reply_response(rq, 200, "text/event-stream", response, e);
}

int sse_cursor(struct request *rq, bool stream, int64_t *ret, struct err *e)
{
    unsigned long long v;
    const char *last = stream ? request_header(rq, "Last-Event-ID") : NULL;
    if (last) {
        if (!str_to_u64(last, INT64_MAX, &v))
            return err_field(e, ERR_VALUE, "Last-Event-ID", "the Last-Event-ID header must hold the id of an event");
        *ret = (int64_t)v;
        return 0;
    }
    uint64_t after;
    int r = request_query_u64(rq, "after", 0, 0, INT64_MAX, &after, e);
    if (r == 0)
        *ret = (int64_t)after;
    return r;
}

void sse_message(struct strbuf *out, int64_t id, const char *event, struct jsonw *w)
{
    if (!w->b.failed) {
        if (id >= 0)
            strbuf_addf(out, "id: %" PRId64 "\n", id);
        strbuf_addf(out, "event: %s\ndata: ", event);
        strbuf_add(out, w->b.data, w->b.len);        /* one line: control characters are escaped in it */
        strbuf_adds(out, "\n\n");
    }
    strbuf_reset(&w->b);
}

/* ---- the hub's thread ---- */

static void resume(struct stream *s)
{
    if (s->suspended) {
        s->suspended = false;
        MHD_resume_connection(s->conn);
    }
}

/* One look at one stream; under the lock, which is given up while the pump works. */
static void serve(struct hub *hub, struct stream *s)
{
    bool more = false, end = false;
    struct strbuf text = {.max = OUT_MAX - OUT_FULL};
    struct err e = {0};
    bool over = s->session && !session_alive(hub->api->sessions, s->session, false);
    if (over || (s->suspended && net_peer_gone(s->socket))) {
        s->ended = true;
        resume(s);                                   /* the write or the next read fails and closes it */
        return;
    }
    s->starved = s->out.len - s->sent >= OUT_FULL;
    if (s->ended || s->starved)
        return;
    pthread_mutex_unlock(&hub->lock);
    int r = hub->pump(hub, s, &text, &more, &end, &e);
    if (r < 0)
        log_err(LOG_LEVEL_WARNING, "an event stream could not be filled", &e);
    pthread_mutex_lock(&hub->lock);
    int64_t now = clock_mono_ms();
    if (!text.len && !end && now - s->written_ms >= KEEP_ALIVE_MS)
        strbuf_adds(&text, ": keep-alive\n\n");
    if (text.len && !text.failed) {                  /* half a message is worse than none */
        strbuf_add(&s->out, text.data, text.len);
        s->written_ms = now;
    }
    /* A text beyond the limit is lost with its cursor moved: end the stream, the client resumes from its last id. */
    s->ended |= end || text.failed || s->out.failed;
    s->starved = more;
    if (more && s->out.len - s->sent < OUT_FULL)
        hub->poked = true;
    if (text.len || s->ended)
        resume(s);
    strbuf_free(&text);
}

static void *hub_thread(void *arg)
{
    struct hub *hub = arg;
    pthread_mutex_lock(&hub->lock);
    while (!hub->stop) {
        hub->poked = false;
        /* serve() gives up the lock, so the list may change: work on a copy, whose streams are pinned in memory. */
        size_t n = 0;
        struct stream **all = hub->n ? malloc(hub->n * sizeof(struct stream *)) : NULL;
        for (struct stream *s = hub->streams; s && all; s = s->next) {
            s->pinned = true;
            all[n++] = s;
        }
        for (size_t i = 0; i < n; i++) {
            if (!all[i]->closed)
                serve(hub, all[i]);
        }
        for (size_t i = 0; i < n; i++) {
            all[i]->pinned = false;
            if (all[i]->closed)
                destroy(all[i]);
        }
        free(all);
        if (hub->stop)
            break;
        /* Without a stream there is nothing to look at. */
        if (!hub->n && !hub->poked)
            pthread_cond_wait(&hub->wake, &hub->lock);
        else if (!hub->poked)
            cond_wait_until(&hub->wake, &hub->lock, clock_mono_ms() + hub->tick_ms);
    }
    pthread_mutex_unlock(&hub->lock);
    return NULL;
}

int hub_open(struct api *api, pump_fn *pump, unsigned tick_ms, struct hub **ret, struct err *e)
{
    struct hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return err_oom(e);
    hub->api = api;
    hub->pump = pump;
    hub->tick_ms = tick_ms;
    pthread_mutex_init(&hub->lock, NULL);
    cond_init(&hub->wake);
    int err = pthread_create(&hub->thread, NULL, hub_thread, hub);
    if (err) {
        pthread_cond_destroy(&hub->wake);
        pthread_mutex_destroy(&hub->lock);
        free(hub);
        return err_set(e, ERR_OOM, "a thread cannot be started (error %d)", err);
    }
    *ret = hub;
    return 0;
}

void hub_end(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->ending = true;                              /* streams that come now are born ended */
    for (struct stream *s = hub->streams; s; s = s->next) {
        s->ended = true;
        resume(s);
    }
    pthread_mutex_unlock(&hub->lock);
}

void hub_close(struct hub *hub)
{
    if (!hub)
        return;
    pthread_mutex_lock(&hub->lock);
    hub->stop = true;
    pthread_cond_signal(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
    pthread_join(hub->thread, NULL);
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}

/* The live console: a WebSocket whose binary messages are the bytes of the VM's display connection (RFB, as noVNC speaks it), in both directions.
 *
 * The handshake is answered once the hypervisor has given its side, so a refusal is an HTTP reply with a code. Then the connection is ours: a thread of its
 * own carries bytes until either side closes, the VM stops, the session ends or the daemon stops. Neither side is read while the other has not taken what was
 * read before, so no memory grows. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/websocket.h"
#include "common/clock.h"
#include "common/log.h"

#define DISPLAYS_MAX 16                              /* at once */
#define DISPLAYS_VM_MAX 4                            /* of one VM */
#define BLOCK (64 << 10)
#define LOOK_MS 500                                  /* at the session, the daemon and the clock */
#define PING_MS 20000                                /* to a client from whom nothing came for so long */
#define SILENT_MS 60000                              /* a client that does not answer pings is gone */
#define CLOSE_MS 2000                                /* for the last bytes and the client's answer */

struct buffer {
    uint8_t data[WEBSOCKET_HEAD_MAX + BLOCK];
    size_t at, n;                                    /* data[at..n) is to be sent */
};

struct display {
    struct api *api;
    struct display *next;                            /* under api.lock */
    char id[UUID_LEN];
    uint64_t session;
    struct MHD_UpgradeResponseHandle *upgrade;
    MHD_socket web, vnc;
    struct websocket ws;
    struct buffer in;                                /* as it came from the client, and not looked at yet */
    const uint8_t *to_vnc;                           /* a part of `in`, unmasked */
    size_t to_vnc_n;
    struct buffer to_web;
    uint8_t control[WEBSOCKET_HEAD_MAX + WEBSOCKET_CONTROL_MAX];           /* goes out between two frames */
    size_t control_n;
    bool closing, closed;                            /* a close frame is on its way, came back */
    int64_t heard_ms, pinged_ms, close_by_ms;        /* monotonic */
};

/* ---- the list: limits, and what must be over before the server stops ---- */

static int enlist(struct display *d, struct err *e)
{
    struct api *api = d->api;
    unsigned all = 0, same = 0;
    pthread_mutex_lock(&api->lock);
    for (struct display *o = api->displays; o; o = o->next) {
        all++;
        same += !strcmp(o->id, d->id);
    }
    bool full = all >= DISPLAYS_MAX || same >= DISPLAYS_VM_MAX;
    if (!full) {
        d->next = api->displays;
        api->displays = d;
        api->n_displays++;
    }
    pthread_mutex_unlock(&api->lock);
    return full ? err_set(e, ERR_BUSY, "%u consoles are open, %u of them of this VM; at most %d and %d may be", all, same, DISPLAYS_MAX, DISPLAYS_VM_MAX) : 0;
}

void display_free(struct display *d)
{
    if (!d)
        return;
    struct api *api = d->api;
    if (d->vnc != MHD_INVALID_SOCKET)
        net_close(d->vnc);
    pthread_mutex_lock(&api->lock);
    struct display **p = &api->displays;
    while (*p && *p != d)
        p = &(*p)->next;
    if (*p) {
        *p = d->next;
        api->n_displays--;
        pthread_cond_broadcast(&api->changed);
    }
    pthread_mutex_unlock(&api->lock);
    free(d);
}

/* ---- carrying bytes ---- */

static void send_control(struct display *d, enum websocket_opcode opcode, const void *data, size_t n)
{
    if (d->control_n)
        return;                                      /* one is waiting already: a client may not make us queue pongs */
    d->control_n = websocket_head(d->control, opcode, n);
    if (n)
        memcpy(d->control + d->control_n, data, n);
    d->control_n += n;
}

static void close_with(struct display *d, enum websocket_status status, const char *reason)
{
    uint8_t body[WEBSOCKET_CONTROL_MAX] = {(uint8_t)(status >> 8), (uint8_t)status};
    size_t n = strlen(reason);
    if (d->closing)
        return;
    d->closing = true;
    d->close_by_ms = clock_mono_ms() + CLOSE_MS;
    memcpy(body + 2, reason, n);
    d->to_vnc_n = 0;
    d->control_n = 0;                                /* nothing is more urgent */
    send_control(d, WS_CLOSE, body, n + 2);
}

/* Looks at what the client sent, up to the next bytes for the VM. */
static void look(struct display *d)
{
    while (!d->to_vnc_n && !d->closed && d->in.at < d->in.n) {
        uint8_t *p = d->in.data + d->in.at;
        size_t left = d->in.n - d->in.at;
        struct websocket_event ev = websocket_take(&d->ws, &p, &left);
        d->in.at = d->in.n - left;
        if (ev.what == WS_DATA && !d->closing) {
            d->to_vnc = ev.data;
            d->to_vnc_n = ev.n;
        } else if (ev.what == WS_CONTROL && ev.opcode == WS_PING && !d->closing) {
            send_control(d, WS_PONG, ev.data, ev.n);
        } else if (ev.what == WS_CONTROL && ev.opcode == WS_CLOSE) {
            close_with(d, WS_NORMAL, "");
            d->closed = true;
        } else if (ev.what == WS_BROKEN) {
            close_with(d, ev.status, "");
            d->closed = true;                        /* what follows cannot be read */
        }
    }
}

static void from_web(struct display *d)
{
    long n = net_read(d->web, d->in.data, BLOCK);
    if (n < 0) {
        d->closing = d->closed = true;
        d->control_n = 0;
        return;
    }
    d->in.at = 0;
    d->in.n = (size_t)n;
    if (n)
        d->heard_ms = d->pinged_ms = clock_mono_ms();
}

static void from_vnc(struct display *d)
{
    long n = net_read(d->vnc, d->to_web.data + WEBSOCKET_HEAD_MAX, BLOCK);
    if (n < 0) {
        close_with(d, WS_NORMAL, "the virtual machine's display has ended");
    } else if (n) {
        uint8_t head[WEBSOCKET_HEAD_MAX];
        size_t len = websocket_head(head, WS_BINARY, (size_t)n);
        d->to_web.at = WEBSOCKET_HEAD_MAX - len;
        d->to_web.n = WEBSOCKET_HEAD_MAX + (size_t)n;
        memcpy(d->to_web.data + d->to_web.at, head, len);
    }
}

/* A frame that has begun goes out first. False: the client is gone. */
static bool to_web(struct display *d)
{
    if (d->to_web.at < d->to_web.n) {
        long n = net_write(d->web, d->to_web.data + d->to_web.at, d->to_web.n - d->to_web.at);
        if (n < 0)
            return false;
        d->to_web.at += (size_t)n;
        return true;
    }
    long n = d->control_n ? net_write(d->web, d->control, d->control_n) : 0;
    if (n < 0)
        return false;
    d->control_n -= (size_t)n;
    memmove(d->control, d->control + n, d->control_n);
    return true;
}

static void to_vnc(struct display *d)
{
    long n = net_write(d->vnc, d->to_vnc, d->to_vnc_n);
    if (n < 0) {
        close_with(d, WS_NORMAL, "the virtual machine's display has ended");
        d->to_vnc_n = 0;
        return;
    }
    d->to_vnc += n;
    d->to_vnc_n -= (size_t)n;
}

static void look_around(struct display *d, int64_t now)
{
    bool typed = d->heard_ms + LOOK_MS > now;
    if (atomic_load(&d->api->stopping))
        close_with(d, WS_GOING_AWAY, "the daemon stops");
    else if (d->session && !session_alive(d->api->sessions, d->session, typed))
        close_with(d, WS_SIGNED_OUT, "the session has ended");
    else if (now - d->heard_ms > SILENT_MS)
        close_with(d, WS_GOING_AWAY, "no answer from the browser");
    if (!d->closing && now - d->pinged_ms > PING_MS) {
        d->pinged_ms = now;
        send_control(d, WS_PING, NULL, 0);
    }
}

static void carry(struct display *d)
{
    int64_t looked_ms = 0;
    d->heard_ms = d->pinged_ms = clock_mono_ms();
    for (;;) {
        int64_t now = clock_mono_ms();
        if (now - looked_ms >= LOOK_MS) {
            looked_ms = now;
            look_around(d, now);
        }
        look(d);
        bool out = d->to_web.at < d->to_web.n || d->control_n;
        if (d->closing && ((d->closed && !out) || now >= d->close_by_ms))
            return;
        struct net_watch w[2] = {
            {.socket = d->web, .read = d->in.at == d->in.n && !d->to_vnc_n && !d->closed, .write = out},
            {.socket = d->vnc, .read = !out && !d->closing, .write = d->to_vnc_n && !d->closing},
        };
        struct net_watch wanted[2] = {w[0], w[1]};
        net_wait(w, d->closing ? 1 : 2, LOOK_MS);
        if (w[0].read && wanted[0].read)
            from_web(d);
        if (w[0].write && wanted[0].write && !to_web(d))
            return;
        if (d->closing)
            continue;
        if (w[1].read && wanted[1].read)
            from_vnc(d);
        if (w[1].write && wanted[1].write)
            to_vnc(d);
    }
}

static void *display_thread(void *arg)
{
    struct display *d = arg;
    net_make_quick(d->web);
    carry(d);
    MHD_upgrade_action(d->upgrade, MHD_UPGRADE_ACTION_CLOSE);
    log_debug("console closed", KS("vm", d->id));
    display_free(d);
    return NULL;
}

/* libmicrohttpd's pool thread: the reply is out, the socket is ours. */
static void upgraded(void *arg, struct MHD_Connection *conn, void *req, const char *extra, size_t extra_n, MHD_socket sock,
                     struct MHD_UpgradeResponseHandle *upgrade)
{
    (void)conn;
    (void)req;
    struct request *rq = arg;
    struct display *d = STEAL(rq->display);
    d->upgrade = upgrade;
    d->web = sock;
    pthread_t t;
    bool ok = extra_n <= BLOCK;                      /* frames that came with the request */
    if (ok) {
        memcpy(d->in.data, extra, extra_n);
        d->in.n = extra_n;
        ok = !pthread_create(&t, NULL, display_thread, d);
    }
    if (ok) {
        pthread_detach(t);
        return;
    }
    MHD_upgrade_action(upgrade, MHD_UPGRADE_ACTION_CLOSE);
    display_free(d);
}

/* ---- the request ---- */

static int check_upgrade(struct request *rq, char **ret_accept, struct err *e)
{
    const char *version = request_header(rq, "Sec-WebSocket-Version");
    if (rq->head || !request_lists(rq, "Upgrade", "websocket") || !request_lists(rq, "Connection", "upgrade"))
        return err_set(e, ERR_BAD_REQUEST, "this path is for WebSockets: the request asks for no upgrade to one");
    if (!version || strcmp(version, "13"))
        return err_set(e, ERR_BAD_REQUEST, "the Sec-WebSocket-Version header must be 13");
    return websocket_accept(request_header(rq, "Sec-WebSocket-Key"), ret_accept, e);
}

int display_get(struct request *rq, struct err *e)
{
    AUTO_FREE char *accept = NULL;
    struct hv *hv = NULL;
    int r = check_upgrade(rq, &accept, e);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r < 0)
        return r;
    struct display *d = calloc(1, sizeof *d);
    if (!d)
        return err_oom(e);
    *d = (struct display){.api = rq->api, .session = rq->session, .web = MHD_INVALID_SOCKET, .vnc = MHD_INVALID_SOCKET};
    memcpy(d->id, rq->id, sizeof d->id);
    intptr_t vnc;
    r = enlist(d, e);
    if (r == 0 && (r = hv_display(hv, rq->id, &vnc, e)) == 0)
        d->vnc = (MHD_socket)vnc;
    if (r < 0) {
        display_free(d);
        return r;
    }
    rq->display = d;                                 /* until it is upgraded; else request_end frees it */
    r = reply_response(rq, 101, NULL, MHD_create_response_for_upgrade(upgraded, rq), e);
    if (r < 0)
        return r;
    reply_header(rq, "Upgrade", "websocket");
    reply_header(rq, "Sec-WebSocket-Accept", accept);
    if (request_lists(rq, "Sec-WebSocket-Protocol", "binary"))
        reply_header(rq, "Sec-WebSocket-Protocol", "binary");
    log_debug("console opened", KS("vm", d->id));
    return 0;
}

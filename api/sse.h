/* Server-sent events. A hub is a set of open streams and one thread that fills them; it asks its `pump` for what is new.
 *
 * Why this way: a stream is open for hours and mostly silent. A thread for each would cost memory for nothing, and a reader that
 * blocks would hold a pool thread with all its connections. So a stream with nothing to send has its connection suspended (it
 * costs a socket and some 100 bytes), and the hub's thread resumes it when it has put text into the stream's buffer. A client that reads
 * slowly fills that buffer up to a limit; then its cursor waits, and no memory grows. */
#ifndef VMR_API_SSE_H
#define VMR_API_SSE_H

#include "api/internal.h"

struct stream {
    /* The hub's thread alone, after sse_reply */
    char id[UUID_LEN];                               /* job or VM; empty: all */
    int64_t cursor;                                  /* what has been put into the buffer so far */
    struct progress_seen *seen;                      /* events.c: what progress was told last; freed with the stream */
    size_t n_seen;
    int64_t progress_at_ms;

    /* Under hub.lock */
    uint64_t session;                                /* whose cookie opened it; 0: the token */
    struct stream *next;
    struct hub *hub;
    struct MHD_Connection *conn;
    MHD_socket socket;
    struct strbuf out;                               /* not sent yet: from `sent` */
    size_t sent;
    int64_t written_ms;                              /* monotonic: when something was last put in */
    bool suspended, ended, pinned, closed, starved;
};

/* Adds to `out` what is new for the stream and moves its cursor. *ret_more: call again as soon as there is room; *ret_end: nothing will follow.
 * Called by the hub's thread only, without its lock. An error is logged and the stream tried again at the next tick. */
typedef int pump_fn(struct hub *hub, struct stream *s, struct strbuf *out, bool *ret_more, bool *ret_end, struct err *e);

int hub_open(struct api *api, pump_fn *pump, unsigned tick_ms, struct hub **ret, struct err *e);
/* Ends all streams: their clients read what is in the buffers and a clean end. Does not wait. */
void hub_end(struct hub *hub);
void hub_close(struct hub *hub);                     /* after the server stopped; NULL is a no-op */
/* There may be something new. Any thread. */
void hub_poke(struct hub *hub);
struct api *hub_api(struct hub *hub);

/* Replies with a stream from `cursor` on. ERR_BUSY when max_streams are open (all hubs together). */
int sse_reply(struct request *rq, struct hub *hub, const char *id, int64_t cursor, struct err *e);
/* One message: "id" (left out when negative), "event" and one line of JSON from w, which is emptied. */
void sse_message(struct strbuf *out, int64_t id, const char *event, struct jsonw *w);
/* Where a reply begins: for a stream the Last-Event-ID header, else the query's `after`, else 0. */
int sse_cursor(struct request *rq, bool stream, int64_t *ret, struct err *e);

#endif

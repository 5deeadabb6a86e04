/* Inside the server: one request from its first header to its reply.
 *
 * Life of a request. libmicrohttpd calls on one of its pool threads: when the request line is there (request_begin), when the
 * headers are there (checks: request.c), for each part of the body, and when all is there. Then the route's handler runs:
 *  - on the pool thread itself, if it only uses the database;
 *  - for a ROUTE_SLOW route on a thread of its own, with the connection suspended: what waits for the hypervisor or for keystrokes must not hold up the other connections of that pool thread.
 * A handler returns 0 after one of the reply_* functions, or a negative ERR_* with *e filled; the caller makes the problem
 * reply and the log line of it. request_end frees all, after the last byte went out or the connection broke.
 *
 * A request belongs to one thread at a time; suspending and resuming hands it over.
 * Locks: api.lock, hub.lock and that of turns.c are never held together, or while the database or the hypervisor is called; that of session.c
 * is held for moments, under any of them. */
#ifndef VMR_API_INTERNAL_H
#define VMR_API_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/dbpool.h"
#include "api/jsonw.h"
#include "api/net.h"
#include "api/session.h"
#include "common/crypto.h"
#include "db/job.h"

#define API_URI_MAX 4096            /* bytes of path and query */
#define API_HEADERS_MAX (16 << 10)  /* bytes of request line and headers that are answered; libmicrohttpd refuses some 60 KiB itself */
#define API_DRAIN_MAX (16 << 20)    /* a body that is refused is read up to here, so that the client sees the reply and no reset */
#define API_BODY_MS 60000           /* a body must arrive within */

struct hub;

struct listener {
    struct MHD_Daemon *daemon;
    MHD_socket socket;
    uint16_t port;
    bool ipv6;
    char address[32];
};

struct api {
    struct api_config cfg;                           /* the strings are the caller's; they outlive us */
    struct err hv_error;                             /* why cfg.hv is NULL */
    struct listener listeners[API_LISTEN_MAX];
    size_t n_listeners;
    char *token;
    struct sessions *sessions;
    char cookie[24];                                 /* name of the dashboard's cookie: it holds the port, since browsers share cookies among ports */
    struct dbpool *pool;
    struct hub *events, *serials;
    atomic_uint n_streams;
    char *openapi;                                   /* the document with the version filled in */
    size_t openapi_len;
    int64_t started_ms;                              /* monotonic */
    atomic_bool stopping;
    atomic_ullong answered[6];                       /* replies by first digit of the status */

    pthread_mutex_t lock;
    pthread_cond_t changed;                          /* stopping was set, a request or a slow thread ended */
    unsigned n_requests, n_slow, n_displays;         /* under lock */
    struct display *displays;                        /* under lock: display.c */
};

enum route_flags {
    ROUTE_OPEN = 1,                                  /* no token */
    ROUTE_SLOW = 2,                                  /* own thread, see above */
    ROUTE_JSON = 4,                                  /* takes a JSON body */
    ROUTE_TEXT = 8,                                  /* takes text/plain or JSON */
    ROUTE_EMPTY = 32,                                /* with ROUTE_JSON: no body is as good as {} */
    ROUTE_IN_ORDER = 16,                             /* calls for one VM are served one after the other, as they came */
    ROUTE_PAGE = 64,                                 /* for people: who is not signed in is shown a page that says how to */
};

struct request;
typedef int handler_fn(struct request *rq, struct err *e);
struct route {
    const char *method, *path;                       /* "/v1/jobs/{id}" */
    handler_fn *fn;
    unsigned flags;
    const char *query[4];                            /* known parameters */
};

struct request {
    struct api *api;
    struct MHD_Connection *conn;
    MHD_socket socket;
    const struct route *route;
    bool head;                                       /* HEAD: as GET, without the body */
    char method[12];                                 /* for the log: never the query, which may hold what is nobody's business */
    char path[128];
    bool bad_target;                                 /* request line: too long or with a NUL */
    size_t target_len;
    int64_t started_ms;                              /* monotonic */

    char id[UUID_LEN], checkpoint[UUID_LEN];         /* from the path, checked */
    char name[65];                                   /* of a credential, or of an asset */
    unsigned slot;

    struct strbuf body;
    size_t body_seen;                                /* bytes, also those thrown away */
    json_t *json;                                    /* the body, if the route takes JSON and there was one */

    uint64_t session;                                /* by whose cookie the request is allowed; 0: by the token */
    struct db *db;
    struct display *display;                         /* a console that waits for its connection */
    struct turn *turn;                               /* ROUTE_IN_ORDER: the place in the queue of the VM */
    struct err refused;                              /* found before the body was read; code ERR_OK: go on */
    const char *allow;                               /* for 405; freed */
    bool checked, handled;
    struct MHD_Response *response;                   /* set by reply_*; ours until queued */
    unsigned status;
};

/* ---- request.c ---- */
struct request *request_begin(struct api *api, struct MHD_Connection *conn, const char *uri);
enum MHD_Result request_step(struct request *rq, const char *url, const char *method, const char *version, const char *upload,
                             size_t *upload_size);
void request_end(struct request *rq);
/* The connection to the database of this request. */
int request_db(struct request *rq, struct db **ret, struct err *e);
int request_hv(struct request *rq, struct hv **ret, struct err *e);      /* ERR_HYPERVISOR with the reason when there is none */
const char *request_header(struct request *rq, const char *name);
/* A query parameter or NULL; the caller checks the value. */
const char *request_query(struct request *rq, const char *name);
/* A decimal number from the query: def when absent, else ERR_VALUE unless min..max. */
int request_query_u64(struct request *rq, const char *name, uint64_t def, uint64_t min, uint64_t max, uint64_t *ret, struct err *e);
/* True when the Accept header names `type` with a higher weight than `other`. */
bool request_prefers(struct request *rq, const char *type, const char *other);
/* True when a header that holds a list ("a, b;q=0.5") has `item`, with a weight above 0. */
bool request_lists(struct request *rq, const char *header, const char *item);
/* The client went away or the daemon stops: a long handler gives up soon. For ROUTE_SLOW handlers. */
bool request_abandoned(struct request *rq);
/* Waits; false if the request was abandoned meanwhile. For ROUTE_SLOW handlers. */
bool request_sleep(struct request *rq, unsigned ms);
/* Something in the queue changed: wakes workers and streams. */
void request_changed(struct request *rq);

/* ---- reply.c ---- */
/* Takes w's buffer (w is empty after). */
int reply_json(struct request *rq, unsigned status, struct jsonw *w, struct err *e);
/* Takes data (from malloc), also on failure. */
int reply_bytes(struct request *rq, unsigned status, const char *type, void *data, size_t n, struct err *e);
int reply_empty(struct request *rq, unsigned status, struct err *e);
/* Adopts a response. */
int reply_response(struct request *rq, unsigned status, const char *type, struct MHD_Response *response, struct err *e);
/* After one of the above. */
void reply_header(struct request *rq, const char *name, const char *value);
/* RFC 9457; replaces a reply that was made before. */
void reply_problem(struct request *rq, const struct err *e);
/* Hands the reply to libmicrohttpd. */
enum MHD_Result reply_send(struct request *rq);

/* ---- routes.c ---- */
extern const struct route routes[];
extern const size_t n_routes;
/* Finds the row and fills the path members of rq. ERR_NOT_FOUND; ERR_METHOD with rq->allow. */
int route_find(struct request *rq, const char *method, const char *path, struct err *e);

/* ---- auth.c ---- */
/* Loads or makes the token of the data folder. Caller frees with mem_free_secret. */
int auth_token(const char *data_dir, char **ret, struct err *e);
int auth_check_host(struct request *rq, const char *version, struct err *e);
int auth_check_origin(struct request *rq, struct err *e);
/* Token, or cookie of the dashboard; fills rq->session. */
int auth_check_caller(struct request *rq, const char *method, struct err *e);

/* ---- openapi.c ---- */
/* The document with `version` filled in; NUL-terminated, caller frees. */
int openapi_document(const char *version, char **ret, size_t *ret_len, struct err *e);

/* ---- assets.c: the dashboard's files ---- */
/* A page by its name, with the policy that holds for it. */
int reply_page(struct request *rq, unsigned status, const char *name, struct err *e);
handler_fn asset_get;

/* ---- dashboard.c ---- */
/* The page for somebody who is not signed in, where `why` says just that and the client is a browser; false: nothing was replied. */
bool reply_signed_out(struct request *rq, const struct err *why);
handler_fn dashboard_get, sign_in_get, sign_in_link_post, session_delete;

/* ---- display.c: the console by WebSocket ---- */
handler_fn display_get;
void display_free(struct display *d);                /* NULL is a no-op */

/* ---- turns.c ---- */
/* Puts a request at the end of the queue of rq->id; cheap, on the pool thread, so that the order is that of arrival. */
int turn_take(struct request *rq, struct err *e);
/* Waits until all before have left; false if the request was abandoned. */
bool turn_wait(struct request *rq);
void turn_leave(struct request *rq);                 /* nothing taken is a no-op */

/* ---- handlers ---- */
handler_fn healthz_get, metrics_get, openapi_get, host_get, host_post_enable_hyperv;
handler_fn jobs_post, jobs_get, job_get_one, job_post_pause, job_post_resume, job_post_cancel, job_post_retry, job_post_verify, job_patch_one, job_delete_one;
/* 202 with a task that was added to the job, and where the job is (jobs.c). */
int reply_task(struct request *rq, struct db *db, const char *job_id, int64_t task_id, struct err *e);
handler_fn events_get, job_events_get;
handler_fn credentials_get, credential_put_one, credential_delete_one, credential_sign_in;
handler_fn azure_subscriptions_get, azure_vms_get;
handler_fn disks_get, volumes_get, volumes_post;
handler_fn vms_get, vm_get_one, vm_post_start, vm_post_stop, vm_post_shutdown, vm_post_reset, vm_put_dvd, vm_delete_dvd;
handler_fn vm_put_disk, vm_delete_disk, vm_post_export;
handler_fn checkpoints_get, checkpoints_post, checkpoint_restore, checkpoint_delete;
/* A VM that a job made and that is not there any more is ERR_VM_GONE instead of the ERR_NOT_FOUND in *e, which else stays. */
int vm_explain_missing(struct request *rq, struct err *e);
int events_open(struct api *api, struct hub **ret, struct err *e);       /* the hub of the event streams */
int serials_open(struct api *api, struct hub **ret, struct err *e);      /* and of the serial consoles */
handler_fn screen_get, serial_get, serial_post, keys_post;

/* ---- hostfile.c: paths that clients name ---- */
/* An existing regular file to read, not one of the daemon's own. ERR_VALUE or ERR_MISSING at /path. */
int hostfile_existing(struct request *rq, const char *path, struct err *e);
/* The same for a path whose file is looked at later (NULL is fine): only that it is not one of the daemon's own. ERR_VALUE at `field`. */
int hostfile_not_ours(struct request *rq, const char *path, const char *field, struct err *e);
/* A file to make: its folder is there, it is not (ERR_WRONG_STATE), and nothing of the daemon's own is touched. */
int hostfile_new(struct request *rq, const char *path, struct err *e);

/* ---- job_json.c ---- */
void job_json(struct jsonw *w, const char *key, const struct job *j, bool with_request);
void task_json(struct jsonw *w, const char *key, const struct task *t);
void progress_json(struct jsonw *w, const char *key, const struct task_progress *p);

#endif

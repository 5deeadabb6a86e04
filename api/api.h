/* The HTTP server of the REST API. Meets the service only in the queue and in the callbacks below. */
#ifndef VMR_API_API_H
#define VMR_API_API_H

#include <jansson.h>

#include "common/error.h"
#include "common/secret.h"
#include "hyperv/hypervisor.h"

#define API_LISTEN_MAX 4

/* What is asked of Azure; the answer is the JSON of the reply. */
struct api_azure_query {
    enum { API_AZURE_SUBSCRIPTIONS, API_AZURE_VMS, API_AZURE_SIGN_IN } what;
    const char *credential;                          /* name; NULL: the only one that signs in (not for SIGN_IN) */
    const char *subscription, *resource_group, *filter;    /* VMS; NULL: all */
    const char *shown;                               /* SIGN_IN: the code that the client shows already; NULL: none */
    bool (*stop)(void *arg);                         /* the client went away */
    void *arg;
};

struct db;
struct api_config {
    const char *listen[API_LISTEN_MAX];              /* "127.0.0.1:8480", "[::1]:8480"; loopback only; port 0: any free one */
    size_t n_listen;
    const char *data_dir;                            /* token file, free space */
    const char *db_path;
    struct secret_box *box;
    struct hv *hv;                                   /* NULL: none usable; hv_error then says why */
    const struct err *hv_error;
    unsigned max_connections, max_streams, threads;
    size_t max_body;                                 /* bytes */
    void (*wake)(void *arg);                         /* the queue changed; any thread */
    /* State of the daemon's own parts for /healthz: false makes it 503. Any thread. */
    bool (*healthy)(void *arg);
    /* Asks Azure, with the database connection of the request; *ret: new reference. NULL: ERR_UNSUPPORTED. Any thread. */
    int (*azure)(void *arg, struct db *db, const struct api_azure_query *q, json_t **ret, struct err *e);
    /* The disks of this host, and its volumes with the jobs whose disks lie on them, as the reply has them; *ret: new reference. `stop` ends it when the
     * client went away. NULL: ERR_UNSUPPORTED. Any thread. */
    int (*disks)(void *arg, bool (*stop)(void *), void *stop_arg, json_t **ret, struct err *e);
    int (*volumes)(void *arg, struct db *db, bool (*stop)(void *), void *stop_arg, json_t **ret, struct err *e);
    /* The Azure region of this host, "" when it is in none; may take a second. NULL: not known. Any thread. */
    void (*host_region)(void *arg, char *ret, size_t size);
    /* Bytes that a guest sees of a disk image that a client wants attached; an error when it is no image of this format.
     * NULL: only raw and fixed VHD files, by their length. Any thread. */
    int (*disk_size)(void *arg, const char *path, enum hv_format format, uint64_t *ret, struct err *e);
    void *arg;
};
struct api;
/* Makes the token file (mode 0600) if missing, binds, serves; returns once every port is bound. The strings of cfg stay the
 * caller's until api_stop, except `listen`. An address whose family the host lacks is logged and left out, as long as
 * another one is bound. ERR_CONFIG for an address that is not loopback or a token file without a token, ERR_IO when a port is taken. */
int api_start(const struct api_config *cfg, struct api **ret, struct err *e);
/* The addresses really bound, for the log and the tests ("127.0.0.1:41234"); NULL after the last. */
const char *api_address(const struct api *api, size_t i);
/* Ends streams and key sequences, finishes what is being answered (a few seconds, and as long as a call of the hypervisor
 * lasts), closes. NULL is a no-op. */
void api_stop(struct api *api);
/* Tells event streams that there may be something new (after the service added events). Any thread. */
void api_notify(struct api *api);

#endif

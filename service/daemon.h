/* The running daemon: its parts, and the worker pool that carries out tasks. Portable; host.h is the platform's shell. */
#ifndef VMR_SERVICE_DAEMON_H
#define VMR_SERVICE_DAEMON_H

#include <pthread.h>

#include "common/os.h"
#include "common/secret.h"
#include "db/job.h"
#include "hyperv/hypervisor.h"
#include "service/config.h"

struct azure;
struct share;
struct daemon {
    const struct config *cfg;
    char *data_dir, *disks_dir, *db_path;
    struct secret_box *box;
    struct hv *hv;                                   /* NULL: none usable, hv_error says why */
    struct err hv_error;
    struct azure *azure;
    struct share *share;                             /* of the bytes per second that all transfers together may take */

    /* The queue's doorbell. `rings` counts wake-ups, so that one between a look at the queue and the wait is not lost. */
    pthread_mutex_t lock;
    pthread_cond_t bell;
    uint64_t rings;
    bool stopping;

    pthread_mutex_t volumes;                         /* held while disks are chosen for a volume, and until that is written down */
};

void daemon_wake(struct daemon *d);                  /* something changed in the queue; any thread */
uint64_t daemon_rings(struct daemon *d);
bool daemon_stopping(struct daemon *d);
/* Waits until the bell has rung since `seen`, the daemon stops, or timeout_ms are over. */
void daemon_wait(struct daemon *d, uint64_t seen, unsigned timeout_ms);

/* What faces the clients; main.c hands it in, so that the service knows nothing of the API. */
struct daemon_front {
    /* Serves until stop. *ret_bound (caller frees): the addresses that were bound, one a line. */
    int (*start)(struct daemon *d, void **ret, char **ret_bound, struct err *e);
    void (*stop)(void *front);                       /* NULL is a no-op */
};

/* Runs until a stop is requested through host.h; running tasks are parked resumable, VMs go on. */
int daemon_run(const struct config *cfg, const struct daemon_front *front, struct err *e);

/* cleaner.c: undoes and forgets deleted jobs, prunes events; the thread's function. */
void *cleaner_main(void *daemon);
/* giveback.c: gives back what exports borrowed in Azure; the thread's function. */
void *giveback_main(void *daemon);
/* worker.c */
struct worker { struct daemon *d; enum task_lane lane; unsigned index; pthread_t thread; };
void *worker_main(void *worker);

#endif

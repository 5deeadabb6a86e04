/* Maps of disks whose download runs or ran: which parts are here, on their way, still to come or left out. In memory, of the last few; a map that a restart of
 * the daemon forgot is there again when its download goes on. Threads: any. */
#ifndef VMR_SERVICE_MAPS_H
#define VMR_SERVICE_MAPS_H

#include "common/crypto.h"
#include "storage/transfer/cells.h"

/* One letter for each part. */
enum map_letter {
    MAP_EMPTY = 'e',                                 /* the source holds nothing there */
    MAP_FREE = 's',                                  /* left out: free space of a file system */
    MAP_WAITING = 'w',
    MAP_BUSY = 'b',                                  /* being fetched now */
    MAP_PART = 'p',                                  /* some of it is here */
    MAP_FETCHED = 'f',
};

struct maps;
struct maps *maps_new(void);                         /* NULL when memory ran out */
void maps_free(struct maps *m);                      /* NULL is a no-op */
/* held: what the source holds; wanted: what of it is fetched; here: what of that is here; busy: where connections are at work. All of one length. */
void maps_put(struct maps *m, const char *job_id, unsigned disk, const struct cells *held, const struct cells *wanted, const struct cells *here, const struct cells *busy);
/* False: there is none. */
bool maps_get(struct maps *m, const char *job_id, unsigned disk, char ret[CELLS_MAX + 1], uint64_t *ret_cell_bytes);

#endif

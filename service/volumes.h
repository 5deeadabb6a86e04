/* Volumes as jobs and clients see them. */
#ifndef VMR_SERVICE_VOLUMES_H
#define VMR_SERVICE_VOLUMES_H

#include "service/task_run.h"
#include "storage/volume/volume.h"

/* The disks and volumes of this host, for one thread; `stop` ends what takes long. */
int volumes_open(struct daemon *d, bool (*stop)(void *arg), void *arg, struct volume_host **ret, struct err *e);

/* The lists of the API: new references. */
int volumes_view_disks(struct daemon *d, bool (*stop)(void *arg), void *arg, json_t **ret, struct err *e);
int volumes_view(struct daemon *d, struct db *db, bool (*stop)(void *arg), void *arg, json_t **ret, struct err *e);

#endif

/* The cleaner: undoes what deleted jobs made, in reverse order, and forgets them; prunes old events and the logs of VMs. Finished exports stay. First of
 * all it mounts the volumes that jobs lie on, where the system has not done so. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "db/event.h"
#include "db/reserve.h"
#include "db/resource.h"
#include "service/volumes.h"
#include "storage/transfer/transfer.h"

#define IDLE_MS 30000
#define PRUNE_MS 3600000

static int undo(struct daemon *d, struct db *db, const struct job *job, const struct resource *res, bool keep, struct err *e)
{
    if (!strcmp(res->kind, "volume"))
        return volumes_undo(d, db, job, keep, e);
    if (!strcmp(res->kind, "vm"))
        return d->hv ? hv_vm_delete(d->hv, res->ident, e) : err_set(e, ERR_HYPERVISOR, "the VM %s stays until there is a hypervisor", res->ident);
    if (!strcmp(res->kind, "folder"))
        return os_remove_tree(res->ident, e);
    if (!strcmp(res->kind, "file") && res->proof)     /* a finished export is what all was done for: it is the user's, whatever goes */
        return 0;
    if (!strcmp(res->kind, "file")) {
        int r = transfer_discard(res->ident, e);      /* a part of a disk is of no use without its job */
        return r < 0 || (keep && res->user_data && res->state == RESOURCE_MADE) ? r : os_remove(res->ident, e);
    }
    return err_set(e, ERR_INTERNAL, "a resource of the unknown kind %s", res->kind);
}

/* *ret: the job is gone; false: not yet. */
static int delete_job(struct daemon *d, struct db *db, const char *id, bool *ret, struct err *e)
{
    *ret = false;
    AUTO(job_free_ptr) struct job *job = NULL;
    struct resource *list = NULL;
    size_t n = 0;
    int r = job_get(db, id, &job, e);
    if (r < 0 || (r = resource_list(db, id, &list, &n, e)) < 0)
        return r;
    bool keep = job->delete_requested == DELETE_KEEP_DISKS, borrowed = false;
    for (size_t i = 0; i < n; i++)
        borrowed |= resource_is_borrowed(&list[i]);
    if (borrowed) {                                   /* giveback.c is at it, and rings when it is done */
        resource_list_free(list, n);
        return 0;
    }
    if (n && !keep)
        r = volumes_reach(d, job, e);                 /* what lies on it cannot be removed otherwise */
    for (size_t i = 0; i < n && r == 0; i++)
        if ((r = undo(d, db, job, &list[i], keep, e)) == 0)
            r = resource_forget(db, list[i].id, e);
    resource_list_free(list, n);
    if (r < 0)
        return r;
    const char *at = json_string_value(json_object_get(job->volume, "mount_point"));
    AUTO_FREE char *dir = os_path_join(d->disks_dir, id), *on_volume = os_path_join(at ? at : d->disks_dir, id);
    if (!dir || !on_volume)
        return err_oom(e);
    if ((r = os_remove_empty_dir(dir, e)) < 0 || (r = os_remove_empty_dir(on_volume, e)) < 0 || (r = job_forget(db, id, e)) < 0)
        return r;
    *ret = true;
    return 0;
}

/* Clients cannot read the log: what keeps a job from being deleted is told once by an event, and again when it is something else. */
static void tell(struct db *db, const char *id, const struct err *why)
{
    static struct { char id[UUID_LEN]; char msg[sizeof why->msg]; } told[16];      /* the cleaner is one thread */
    static size_t next;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        if (!strcmp(told[i].id, id) && !strcmp(told[i].msg, why->msg))
            return;
    snprintf(told[next].id, sizeof told[next].id, "%s", id);
    snprintf(told[next].msg, sizeof told[next].msg, "%s", why->msg);
    next = (next + 1) % ARRAY_LEN(told);
    json_t *error = json_from_err(why), *data = error ? json_pack("{s:o}", "error", error) : NULL;
    if (data && event_add(db, id, "job_delete_delayed", data, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "event not written", &e);
    json_decref(data);
}

static void delete_jobs(struct daemon *d, struct db *db)
{
    struct err e;
    char **ids;
    size_t n;
    if (job_list_deletable(db, &ids, &n, &e) < 0) {
        log_err(LOG_LEVEL_ERROR, "the queue does not answer", &e);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        log_context(ids[i], "delete");
        bool gone = false;
        int r = daemon_stopping(d) ? 0 : delete_job(d, db, ids[i], &gone, &e);
        if (r == -ERR_DISK_FULL && reserve_release(db))
            r = delete_job(d, db, ids[i], &gone, &e);
        if (r < 0) {
            log_err(LOG_LEVEL_ERROR, "the job is not deleted yet, it is tried again", &e);
            tell(db, ids[i], &e);
        } else if (gone) {
            log_info("job deleted");
        }
        log_context(NULL, NULL);
        free(ids[i]);
    }
    free(ids);
}

void *cleaner_main(void *arg)
{
    struct daemon *d = arg;
    AUTO(db_close_ptr) struct db *db = NULL;
    int64_t next_prune = 0;
    bool up = false;
    while (!daemon_stopping(d)) {
        struct err e;
        uint64_t seen = daemon_rings(d);
        if (!db && db_open(d->db_path, d->box, &db, &e) < 0)
            log_err(LOG_LEVEL_ERROR, "cannot open the database", &e);
        if (db && !up) {
            volumes_bring_up(d, db);
            up = true;
        }
        if (db)
            delete_jobs(d, db);
        if (db && clock_mono_ms() >= next_prune) {
            size_t n;
            if (event_prune(db, clock_now_ms() - (int64_t)d->cfg->event_days * 86400000, &n, &e) < 0)
                log_err(LOG_LEVEL_WARNING, "old events are not pruned", &e);
            next_prune = clock_mono_ms() + PRUNE_MS;
        }
        if (d->hv)
            hv_tend(d->hv);
        if (reserve_keep(d->db_path, &e) < 0)
            log_err(LOG_LEVEL_DEBUG, "no space is kept for a full disk", &e);
        daemon_wait(d, seen, IDLE_MS);
    }
    return NULL;
}

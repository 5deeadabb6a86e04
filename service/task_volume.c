/* Makes the volume that takes the disks of a job, or finds that it is there. */
#include "common/log.h"
#include "db/resource.h"
#include "service/volumes.h"

static int save(void *arg, const struct volume_plan *p, struct err *e)
{
    struct task_run *t = arg;
    return volumes_keep_plan(t->db, t->job, p, e);
}

/* A plan that nothing was done of yet is made anew when its disks are refused: a retry may choose others. */
static void drop_plan(struct task_run *t, const struct volume_plan *p, int64_t resource)
{
    struct err why;
    bool begun = p->found;
    for (size_t i = 0; i < p->n_disks; i++)
        begun |= p->disks[i].begun;
    if (!begun && (resource_forget(t->db, resource, &why) < 0 || job_set_volume(t->db, t->job->id, NULL, &why) < 0))
        log_err(LOG_LEVEL_WARNING, "the plan of the volume stays", &why);
}

int task_volume(struct task_run *t, struct err *e)
{
    AUTO(volume_close_ptr) struct volume_host *h = NULL;
    AUTO(volume_plan_clear) struct volume_plan p = {0};
    const struct volume_watch w = {.save = save, .arg = t};
    int64_t resource;
    uint64_t wanted = 0;
    for (size_t i = 0; i < t->job->n_disks; i++)
        wanted += t->job->disks[i].spec.type == SOURCE_FILE ? 0 : t->job->disks[i].virtual_size;
    int r = volumes_resolve(t, wanted, e);            /* preflight did so, unless its plan was dropped */
    if (r < 0)
        return r;
    if (!t->job->volume)
        return err_set(e, ERR_INTERNAL, "the job has no plan of its volume");
    if ((r = volumes_plan_of(t->job, &p, e)) < 0 || (r = volumes_open(t->d, task_run_stop, t, &h, e)) < 0 ||
        (r = resource_intend(t->db, t->job->id, -1, "volume", p.id, NULL, true, &resource, e)) < 0)
        return r;
    r = volume_make(h, &p, &w, e);
    if (r == -ERR_DISK_REFUSED)
        drop_plan(t, &p, resource);
    if (r < 0)
        return r == -ERR_CANCELLED ? task_run_stopped(t, e) : r;
    uint64_t space = 0;
    struct err ignored;
    os_free_space(p.mount_point, &space, &ignored);
    task_run_event(t, "volume_ready", json_pack("{s:s, s:b, s:s, s:s, s:I}", "volume", p.id, "found", p.found, "label", p.label, "mount_point", p.mount_point,
                                                "free_bytes", (json_int_t)space));
    return resource_made(t->db, resource, e);
}

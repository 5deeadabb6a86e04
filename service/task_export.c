/* Makes one disk in Azure readable from here, and finds out how much of it is in use. */
#include <inttypes.h>

#include "db/transfer.h"
#include "service/export.h"

/* What the job's downloads will add to the volume, as far as it is known. */
static int job_needs(struct task_run *t, uint64_t *ret, struct err *e)
{
    *ret = 0;
    for (unsigned i = 0; i < t->job->n_disks; i++) {
        struct transfer_row row;
        int r = t->job->disks[i].path ? transfer_get(t->db, t->job->id, i, &row, e) : -ERR_NOT_FOUND;
        if (r < 0 && r != -ERR_NOT_FOUND)
            return r;
        if (r == 0)
            *ret += source_still_needed(t->job->disks[i].path, t->job->disks[i].format, row.listed_bytes, row.length);
    }
    return 0;
}

static int check(struct task_run *t, unsigned i, struct err *e)
{
    AUTO(job_access_free_ptr) struct job_access *a = NULL;
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    struct image_info image = {0};
    struct transfer_row row;
    uint64_t ignored, needed;
    int r = job_access_get(t->db, t->job->id, i, &a, e);
    if (r < 0 || (r = disk_source_open(t, i, &s, e)) < 0 || (r = source_check(t, i, disk_source_blob(s), a->identity, &image, &ignored, e)) < 0 ||
        (r = job_needs(t, &needed, e)) < 0 || (r = source_check_space(t, needed, NULL, NULL, e)) < 0 ||
        (r = transfer_get(t->db, t->job->id, i, &row, e)) < 0)
        return r;
    if (image.table_damaged && i == 0)
        source_warn(t, "partition_table", "the partition table is damaged; the VM's generation is a guess", "Name vm.generation in the request.");
    static const char *const kinds[ACCESS_KINDS] = {"disk", "snapshot", "blob_snapshot", "blob"};
    task_run_event(t, "exported", json_pack("{s:i, s:s, s:s, s:I, s:I}", "disk", (int)i, "name", t->job->disks[i].target->name, "by", kinds[a->kind],
                                            "size_bytes", (json_int_t)row.length, "used_bytes", (json_int_t)row.listed_bytes));
    return 0;
}

int task_export(struct task_run *t, struct err *e)
{
    unsigned i = (unsigned)t->task->disk;
    int r = export_prepare(t, i, e);
    for (bool again = t->task->attempts > 1; r == 0; again = true) {
        if ((r = export_access(t, i, again, e)) < 0)
            break;
        if ((r = check(t, i, e)) == 0)
            return 0;
        if (again || !blob_error_is_refusal(e))
            break;
        r = 0;                                       /* what an earlier run was granted has ended */
    }
    return e->code == ERR_CANCELLED ? task_run_stopped(t, e) : r;
}

/* Are the disks of the job still what was downloaded? Each against the record that its download left beside it (storage/transfer/sums.h). */
#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "db/transfer.h"
#include "service/task_run.h"
#include "storage/transfer/transfer.h"

struct verify {
    struct task_run *t;
    uint64_t before;                                 /* bytes of the disks that are judged already */
};

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct verify *v = arg;
    (void)total;
    v->t->progress.done = v->before + done;
}

static bool on_stop(void *arg)
{
    return task_run_stop(((struct verify *)arg)->t);
}

static json_t *places(const struct transfer_verdict *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < v->n; i++)
        json_array_append_new(list, json_pack("{s:I, s:I}", "start", (json_int_t)v->list[i].start, "end", (json_int_t)v->list[i].end));
    return list;
}

static int judge(struct task_run *t, unsigned i, const struct transfer_verdict *v, struct err *e)
{
    task_run_event(t, v->damaged_bytes ? "disk_damaged" : "disk_verified",
                   json_pack("{s:i, s:I, s:I, s:I, s:o}", "disk", (int)i, "bytes", (json_int_t)v->length, "damaged_bytes", (json_int_t)v->damaged_bytes,
                             "unknown_bytes", (json_int_t)v->unknown_bytes, "damaged", places(v)));
    if (!v->damaged_bytes)
        return 0;
    err_set(e, ERR_IMAGE_DAMAGED, "%s is not what was downloaded: up to %" PRIu64 " bytes differ, the first between %" PRIu64 " and %" PRIu64,
            t->job->disks[i].path, v->damaged_bytes, v->list[0].start, v->list[0].end - 1);
    return err_hint(e, "Something wrote to the file, or the host's disk damages data: look at its health, then download the disk again with a new job.");
}

static int verify_disk(struct task_run *t, unsigned i, uint64_t length, uint64_t before, struct err *e)
{
    struct verify arg = {.t = t, .before = before};
    struct transfer_verdict verdict;
    struct transfer_verify v = {.path = t->job->disks[i].path, .length = length, .stop = on_stop, .progress = on_progress, .arg = &arg};
    int r = transfer_verify(&v, &verdict, e);
    if (r == -ERR_EMPTY) {
        err_set(e, ERR_WRONG_STATE, "%s has no record to compare it with", v.path);
        return err_hint(e, "The record is written by the download as %s.sums; it was removed, or an earlier version made the download.", v.path);
    }
    return r < 0 ? r : judge(t, i, &verdict, e);
}

int task_verify(struct task_run *t, struct err *e)
{
    struct transfer_row row;
    unsigned looked_at = 0;
    int result = 0;
    t->progress = (struct task_progress){.eta_seconds = -1};
    for (unsigned pass = 0; pass < 2; pass++) {      /* first how much there is */
        uint64_t before = 0;
        for (unsigned i = 0; i < t->job->n_disks; i++) {
            struct err why;
            int r = t->job->disks[i].path ? transfer_get(t->db, t->job->id, i, &row, e) : -ERR_NOT_FOUND;
            if (r == -ERR_NOT_FOUND)                 /* the user's own file, or a blank disk */
                continue;
            if (r < 0)
                return r;
            if (!pass) {
                t->progress.total += row.length;
                looked_at++;
                continue;
            }
            r = verify_disk(t, i, row.length, before, &why);
            if (r == -ERR_CANCELLED)
                return task_run_stopped(t, e);
            if (r < 0 && result == 0) {              /* the others are looked at all the same */
                *e = why;
                result = r;
            }
            before += row.length;
            t->progress.done = before;
        }
    }
    if (!looked_at)
        return err_set(e, ERR_WRONG_STATE, "no disk of this job was downloaded");
    t->progress.eta_seconds = 0;
    return result;
}

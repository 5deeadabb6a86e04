/* The classic route: Azure copies the disk's export into a page blob of the user's storage account, and that blob is downloaded. For hosts whose
 * network reaches that account only. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "service/export_run.h"

#define POLL_FIRST_MS 500
#define POLL_MAX_MS 5000

char *export_copy_url(const struct task_run *t, unsigned disk)
{
    return str_printf("%s/vmrecover-%s-disk%u.vhd", t->job->disks[disk].spec.via.url, t->job->id, disk);
}

int export_open_copy(struct export_run *x, struct disk_source **ret, struct err *e)
{
    AUTO_FREE char *url = export_copy_url(x->t, x->index);
    if (!url)
        return err_oom(e);
    struct source_place p = {.url = url, .credential = x->spec->via.credential ? x->spec->via.credential : x->spec->credential};
    return disk_source_open_at(&x->env, &p, ret, e);
}

static void report(struct export_run *x, const struct page_blob_copy *c, int64_t began_ms, uint64_t began_at)
{
    struct task_progress *p = &x->t->progress;
    int64_t ms = clock_mono_ms() - began_ms;
    *p = (struct task_progress){.total = c->total, .done = c->done, .transferred = c->done, .eta_seconds = -1};
    if (ms > 0 && c->done > began_at)
        p->bytes_per_second = (c->done - began_at) * 1000 / (uint64_t)ms;
    if (p->bytes_per_second)
        p->eta_seconds = (int64_t)((c->total - c->done) / p->bytes_per_second);
}

static int begin(struct export_run *x, struct blob *b, const char *sas, struct err *e)
{
    AUTO_FREE char *url = export_copy_url(x->t, x->index);
    int64_t row;
    if (!url)
        return err_oom(e);
    int r = export_intend(x, x->index, "blob", url, NULL, &row, e);
    if (r < 0 || (r = page_blob_copy_begin(b, x->t->job->id, sas, e)) < 0) {
        if (r < 0 && !strcmp(e->upstream.code, "CannotVerifyCopySource"))
            e->code = ERR_SAS_EXPIRED;
        return r < 0 ? -(int)e->code : r;
    }
    return export_borrowed(x, x->index, "blob", url, row, e);
}

/* A copy that came to nothing goes, so that the next one finds its place free. */
static int discard(struct export_run *x, struct blob *b, const struct page_blob_copy *c, bool begun, struct err *e)
{
    int r = page_blob_copy_delete(b, x->t->job->id, e);
    if (r < 0 || !begun)
        return r;
    err_set(e, ERR_SAS_EXPIRED, "Azure did not copy %s into %s: %s", x->target->name, blob_name(b), *c->why ? c->why : "the copy was aborted");
    return err_hint(e, "If it fails again, look at the storage account's network rules: the storage service itself reads the disk's export.");
}

int export_copy(struct export_run *x, const char *sas, bool *ret_there, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *s = NULL;
    struct page_blob_copy c;
    int64_t began_ms = clock_mono_ms();
    uint64_t began_at = 0;
    bool begun = false, told = false;
    *ret_there = false;
    int r = export_open_copy(x, &s, e);
    for (unsigned pause = POLL_FIRST_MS; r == 0; pause = pause * 2 < POLL_MAX_MS ? pause * 2 : POLL_MAX_MS) {
        struct blob *b = disk_source_blob(s);
        if ((r = page_blob_copy_state(b, x->t->job->id, &c, e)) < 0)
            return r;
        if (c.state != COPY_NONE && !c.ours) {
            err_set(e, ERR_WRONG_STATE, "there is a blob %s already, and it is not of this job", blob_name(b));
            return err_hint(e, "Remove that blob, or name another container.");
        }
        if (c.state == COPY_SUCCEEDED) {
            *ret_there = true;
            return 0;
        }
        if (c.state == COPY_NONE && !sas)
            return 0;
        if (c.state == COPY_NONE && (r = begun ? discard(x, b, &c, true, e) : begin(x, b, sas, e)) < 0)
            return r;
        if (c.state == COPY_NONE) {
            begun = true;
            continue;
        }
        if (c.state != COPY_PENDING) {
            if ((r = discard(x, b, &c, begun, e)) < 0 || !sas)
                return r;
            continue;
        }
        if (!told)
            began_at = c.done;
        told = true;
        report(x, &c, began_ms, began_at);
        r = task_run_sleep(x->t, pause, e);
    }
    return r;
}

/* What preflight found in Azure for the entries of a request: kept with the disks of the job. */
#include <string.h>

#include "common/clock.h"
#include "db/state.h"

void job_target_free(struct job_target *t)
{
    if (!t)
        return;
    free(t->name);
    free(t->id);
    free(t->url);
    free(t->location);
    free(t);
}

int target_from_row(sqlite3_stmt *q, int col, struct job_target **ret, struct err *e)
{
    json_t *o;
    int r = sql_json(q, col, &o, e);
    if (r < 0 || !o)
        return r;
    AUTO(job_target_free_ptr) struct job_target *t = calloc(1, sizeof *t);
    if (!t)
        r = err_oom(e);
    else if ((r = sql_member(o, "name", &t->name, e)) == 0 && (r = sql_member(o, "id", &t->id, e)) == 0 && (r = sql_member(o, "url", &t->url, e)) == 0 &&
             (r = sql_member(o, "location", &t->location, e)) == 0) {
        t->lun = (int)json_integer_value(json_object_get(o, "lun"));
        t->size_bytes = (uint64_t)json_integer_value(json_object_get(o, "size_bytes"));
        if (!t->name || (!t->id && !t->url))
            r = sql_damaged(e, "the database holds a disk in Azure without its name or place");
    }
    json_decref(o);
    if (r == 0)
        *ret = STEAL(t);
    return r;
}

static int target_text(const struct job_target *t, char **ret, struct err *e)
{
    json_t *o = json_pack("{s:s, s:s*, s:s*, s:s*, s:i, s:I}", "name", t->name, "id", t->id, "url", t->url, "location", t->location, "lun", t->lun,
                          "size_bytes", (json_int_t)sql_clamp(t->size_bytes));
    int r = o ? sql_dump(o, ret, e) : err_oom(e);
    json_decref(o);
    return r;
}

/* Where the k-th disk of a job comes from: each entry's own disk first, then what entries stand for besides. */
struct placed { unsigned origin; const struct job_target *target; };

static int place(const struct spec *s, const struct job_found *found, size_t n, struct placed *ret, size_t *ret_n, struct err *e)
{
    size_t total = s->n_disks;
    for (unsigned i = 0; i < s->n_disks; i++)
        ret[i] = (struct placed){.origin = i};
    for (size_t k = 0; k < n; k++) {
        if (found[k].origin >= s->n_disks)
            return err_set(e, ERR_INTERNAL, "a disk was found for entry %u, which the job does not have", found[k].origin);
        struct placed p = {found[k].origin, found[k].target};
        if (!ret[p.origin].target)
            ret[p.origin] = p;
        else if (total < SPEC_DISKS_MAX)
            ret[total++] = p;
        else
            return err_set(e, ERR_VALUE, "the job would have more than %d disks", SPEC_DISKS_MAX);
    }
    *ret_n = total;
    return 0;
}

static int store_disk(struct db *db, int64_t seq, const struct spec *s, size_t i, const struct placed *p, struct err *e)
{
    AUTO_FREE char *text = NULL;
    if (!p->target)
        return 0;
    int r = target_text(p->target, &text, e);
    if (r < 0)
        return r;
    if (i < s->n_disks)
        r = sql_run(db, e, "UPDATE disk SET target = ?3 WHERE job = ?1 AND disk = ?2", SI(seq), SI(i), SS(text));
    else
        r = sql_run(db, e, "INSERT INTO disk (job, disk, origin, target, credential, storage_credential) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", SI(seq), SI(i),
                    SI(p->origin), SS(text), SS(s->disks[p->origin].credential), SS(disk_storage_credential(&s->disks[p->origin])));
    return r < 0 ? r : 0;
}

int job_resolve(struct db *db, const char *id, const struct job_found *found, size_t n, struct err *e)
{
    AUTO(job_free_ptr) struct job *job = NULL;
    AUTO_TX struct sql_tx tx = {0};
    struct placed placed[SPEC_DISKS_MAX];
    struct graph_disk graph[SPEC_DISKS_MAX];
    int64_t seq, now = clock_now_ms();
    size_t total = 0;
    int r = job_get(db, id, &job, e);                /* the request never changes */
    if (r < 0)
        return r;
    const struct spec *s = job->spec;
    if ((r = place(s, found, n, placed, &total, e)) < 0 || (r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0 ||
        (r = sql_run(db, e, "DELETE FROM disk WHERE job = ?1 AND origin IS NOT NULL", SI(seq))) < 0)
        return r;
    int had = r;
    for (unsigned i = 0; i < total; i++) {
        if ((r = store_disk(db, seq, s, i, &placed[i], e)) < 0)
            return r;
        graph[i] = (struct graph_disk){s->disks[placed[i].origin].type, placed[i].origin};
    }
    if (((size_t)had + s->n_disks != total && (r = graph_replace(db, seq, s, graph, total, e)) < 0) || (r = job_settle(db, seq, now, e)) < 0)
        return r;
    return sql_commit(&tx, e);
}

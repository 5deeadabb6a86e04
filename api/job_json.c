/* A job and a task as the API shows them. */
#include "api/internal.h"
#include "common/json.h"
#include "db/job.h"

void progress_json(struct jsonw *w, const char *key, const struct task_progress *p)
{
    jsonw_open(w, key, '{');
    jsonw_u64(w, "total_bytes", p->total);
    jsonw_u64(w, "done_bytes", p->done);
    jsonw_u64(w, "transferred_bytes", p->transferred);
    jsonw_u64(w, "skipped_bytes", p->skipped);
    jsonw_u64(w, "bytes_per_second", p->bytes_per_second);
    if (p->eta_seconds < 0)
        jsonw_null(w, "eta_seconds");
    else
        jsonw_int(w, "eta_seconds", p->eta_seconds);
    jsonw_close(w, '}');
}

static void problem_json(struct jsonw *w, const char *key, const struct err *e)
{
    json_t *j = e->code ? json_from_err(e) : NULL;
    jsonw_json(w, key, j);
    json_decref(j);
}

void task_json(struct jsonw *w, const char *key, const struct task *t)
{
    jsonw_open(w, key, '{');
    jsonw_str(w, "kind", task_kind_name(t->kind));
    if (t->disk < 0)
        jsonw_null(w, "disk");
    else
        jsonw_int(w, "disk", t->disk);
    jsonw_str(w, "state", task_state_name(t->state));
    jsonw_int(w, "attempts", t->attempts);
    jsonw_time(w, "started_at", t->started_at_ms);
    jsonw_time(w, "finished_at", t->finished_at_ms);
    /* When a task that waits after a fault is tried again; meaningless in any other state. */
    jsonw_time(w, "not_before", t->state == TASK_PENDING ? t->not_before_ms : 0);
    progress_json(w, "progress", &t->progress);
    problem_json(w, "error", &t->error);
    if (t->params)
        jsonw_json(w, "params", t->params);
    jsonw_close(w, '}');
}

/* What was asked for, and the disk that was found. */
static void azure_json(struct jsonw *w, const struct job_disk *d)
{
    const struct spec_disk *s = &d->spec;
    jsonw_str(w, "id", s->id);
    if (s->type == SOURCE_VM) {
        jsonw_bool(w, "data_disks", s->data_disks);
        jsonw_bool(w, "deallocate", s->deallocate);
    }
    if (s->storage_credential)
        jsonw_str(w, "storage_credential", s->storage_credential);
    if (s->via.url) {
        jsonw_open(w, "via_storage_account", '{');
        jsonw_str(w, "url", s->via.url);
        if (s->via.credential)
            jsonw_str(w, "credential", s->via.credential);
        jsonw_close(w, '}');
    }
    const struct job_target *t = d->target;
    if (!t)
        return;
    jsonw_open(w, "found", '{');
    jsonw_str(w, "name", t->name);
    if (t->id)
        jsonw_str(w, "id", t->id);
    if (t->url)
        jsonw_str(w, "url", t->url);
    if (t->location)
        jsonw_str(w, "region", t->location);
    if (t->lun >= 0)
        jsonw_int(w, "lun", t->lun);
    jsonw_u64(w, "size", t->size_bytes);
    jsonw_close(w, '}');
}

static void disk_json(struct jsonw *w, const struct job_disk *d)
{
    jsonw_open(w, NULL, '{');
    jsonw_int(w, "index", d->index);
    jsonw_str(w, "path", d->path);
    jsonw_str(w, "format", disk_format_name(d->format));
    jsonw_u64(w, "virtual_size", d->virtual_size);
    jsonw_open(w, "source", '{');
    jsonw_str(w, "type", source_type_name(d->spec.type));
    if (d->spec.url)
        jsonw_str(w, "url", d->spec.url);
    if (d->spec.credential)
        jsonw_str(w, "credential", d->spec.credential);
    if (d->spec.path)
        jsonw_str(w, "path", d->spec.path);
    if (d->spec.type == SOURCE_BLANK)
        jsonw_u64(w, "size", d->spec.size);
    if (source_is_arm(d->spec.type))
        azure_json(w, d);
    jsonw_close(w, '}');
    jsonw_close(w, '}');
}

/* The service keeps more of it than clients need. */
static void volume_json(struct jsonw *w, const json_t *v)
{
    static const char *const members[] = {"id", "found", "label", "layout", "file_system", "mount_point"};
    json_t *disk;
    size_t i;
    if (!v) {
        jsonw_null(w, "volume");
        return;
    }
    jsonw_open(w, "volume", '{');
    for (i = 0; i < ARRAY_LEN(members); i++)
        jsonw_json(w, members[i], json_object_get(v, members[i]));
    jsonw_open(w, "disks", '[');
    json_array_foreach(json_object_get(v, "disks"), i, disk)
        jsonw_str(w, NULL, json_string_value(json_object_get(disk, "id")));
    jsonw_close(w, ']');
    jsonw_close(w, '}');
}

void job_json(struct jsonw *w, const char *key, const struct job *j, bool with_request)
{
    jsonw_open(w, key, '{');
    jsonw_str(w, "id", j->id);
    jsonw_str(w, "name", j->spec->name);
    jsonw_str(w, "state", job_state_name(j->state));
    jsonw_bool(w, "paused", j->paused);
    jsonw_bool(w, "cancel_requested", j->cancel_requested);
    jsonw_str(w, "delete_requested", j->delete_requested == DELETE_NO ? NULL : j->delete_requested == DELETE_ALL ? "delete" : "keep");
    jsonw_time(w, "created_at", j->created_at_ms);
    jsonw_time(w, "updated_at", j->updated_at_ms);
    jsonw_str(w, "vm_id", j->vm_id);
    if (j->generation)
        jsonw_int(w, "generation", j->generation);
    else
        jsonw_null(w, "generation");
    jsonw_open(w, "disks", '[');
    for (size_t i = 0; i < j->n_disks; i++)
        disk_json(w, &j->disks[i]);
    jsonw_close(w, ']');
    volume_json(w, j->volume);
    jsonw_open(w, "tasks", '[');
    for (size_t i = 0; i < j->n_tasks; i++)
        task_json(w, NULL, &j->tasks[i]);
    jsonw_close(w, ']');
    if (with_request) {
        json_t *request = spec_json(j->spec);
        jsonw_json(w, "request", request);
        json_decref(request);
    }
    jsonw_close(w, '}');
}

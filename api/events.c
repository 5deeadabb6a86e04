/* Events: pages of JSON, and streams of the same objects with the progress of running tasks between them. */
#include <stdio.h>
#include <string.h>

#include "api/sse.h"
#include "common/clock.h"
#include "db/event.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX 500
#define PUMP_BATCH 100
#define PUMP_BYTES (64 << 10)     /* no further event at a time; one has at most some 64 KiB */
#define PROGRESS_MS 1000          /* at most one progress message a second for a job */
#define PROGRESS_JOBS_MAX 100     /* running jobs told in the stream of all events */
#define TICK_MS 250               /* the service's own events come without a call of api_notify */

static void event_json(struct jsonw *w, const struct event *ev)
{
    jsonw_open(w, NULL, '{');
    jsonw_int(w, "id", ev->id);
    jsonw_time(w, "at", ev->at_ms);
    jsonw_str(w, "job_id", ev->job_id);
    jsonw_str(w, "type", ev->type);
    jsonw_json(w, "data", ev->data);
    jsonw_close(w, '}');
}

static int page(struct request *rq, struct db *db, const char *job_id, int64_t after, struct err *e)
{
    uint64_t limit;
    int r = request_query_u64(rq, "limit", PAGE_DEFAULT, 1, PAGE_MAX, &limit, e);
    if (r < 0)
        return r;
    struct event *list = NULL;
    size_t n = 0;
    r = event_list(db, job_id, after, limit, &list, &n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_open(&w, "events", '[');
    for (size_t i = 0; i < n; i++)
        event_json(&w, &list[i]);
    jsonw_close(&w, ']');
    jsonw_int(&w, "next_after", n ? list[n - 1].id : after);
    jsonw_close(&w, '}');
    event_list_free(list, n);
    return reply_json(rq, 200, &w, e);
}

static int get(struct request *rq, const char *job_id, struct err *e)
{
    struct db *db = NULL;
    int r = request_db(rq, &db, e);
    if (r < 0)
        return r;
    if (job_id) {
        struct job *j = NULL;
        r = job_get(db, job_id, &j, e);
        job_free(j);
        if (r < 0)
            return r;
    }
    bool stream = request_prefers(rq, "text/event-stream", "application/json");
    int64_t cursor;
    const char *after = request_query(rq, "after");
    if (after && !strcmp(after, "latest") && !(stream && request_header(rq, "Last-Event-ID")))
        r = event_last_id(db, &cursor, e);           /* only what comes from now on */
    else
        r = sse_cursor(rq, stream, &cursor, e);
    if (!stream)
        return r < 0 ? r : page(rq, db, job_id, cursor, e);
    if (r == 0 && request_query(rq, "limit"))
        r = err_field(e, ERR_VALUE, "?limit", "a stream has no limit");
    return r < 0 ? r : sse_reply(rq, rq->api->events, job_id, cursor, e);
}

int events_get(struct request *rq, struct err *e)
{
    return get(rq, NULL, e);
}

int job_events_get(struct request *rq, struct err *e)
{
    return get(rq, rq->id, e);
}

/* ---- streams ---- */

struct progress_seen {
    char id[UUID_LEN];
    uint64_t hash;
};

/* Of the progress of the running tasks; 0 when none runs. */
static uint64_t progress_hash(const struct job *j)
{
    uint64_t h = 0;
    for (size_t i = 0; i < j->n_tasks; i++) {
        const struct task *t = &j->tasks[i];
        if (t->state != TASK_RUNNING)
            continue;
        const uint64_t parts[] = {(uint64_t)t->id, t->attempts, t->progress.total, t->progress.done, t->progress.transferred,
                                  t->progress.bytes_per_second};
        for (size_t k = 0; k < ARRAY_LEN(parts); k++)
            h = (h ^ parts[k]) * 0x100000001B3ULL + 1;
    }
    return h;
}

static void progress_message(struct strbuf *out, const struct job *j)
{
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_str(&w, "job_id", j->id);
    jsonw_open(&w, "tasks", '[');
    for (size_t i = 0; i < j->n_tasks; i++) {
        const struct task *t = &j->tasks[i];
        if (t->state != TASK_RUNNING)
            continue;
        jsonw_open(&w, NULL, '{');
        jsonw_str(&w, "kind", task_kind_name(t->kind));
        if (t->disk < 0)
            jsonw_null(&w, "disk");
        else
            jsonw_int(&w, "disk", t->disk);
        progress_json(&w, "progress", &t->progress);
        jsonw_close(&w, '}');
    }
    jsonw_close(&w, ']');
    jsonw_close(&w, '}');
    sse_message(out, -1, "progress", &w);
}

/* What was told stays as long as the job runs. */
static int tell_progress(struct stream *s, struct job **jobs, size_t n, struct strbuf *out, struct err *e)
{
    struct progress_seen *now = n ? calloc(n, sizeof *now) : NULL;
    if (n && !now)
        return err_oom(e);
    for (size_t i = 0; i < n; i++) {
        memcpy(now[i].id, jobs[i]->id, sizeof now[i].id);
        now[i].hash = progress_hash(jobs[i]);
        uint64_t before = 0;
        for (size_t k = 0; k < s->n_seen; k++)
            if (!strcmp(s->seen[k].id, now[i].id))
                before = s->seen[k].hash;
        if (now[i].hash && now[i].hash != before)
            progress_message(out, jobs[i]);
    }
    free(s->seen);
    s->seen = now;
    s->n_seen = n;
    return 0;
}

/* The job of the stream is gone: its last event belongs to no job any more, so that it can outlive the job. */
static int tell_deletion(struct db *db, struct stream *s, struct strbuf *out, struct err *e)
{
    struct event *list;
    size_t n;
    do {
        list = NULL;
        n = 0;
        int r = event_list(db, NULL, s->cursor, PAGE_MAX, &list, &n, e);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++) {
            s->cursor = list[i].id;
            const char *id = json_string_value(json_object_get(list[i].data, "id"));
            if (strcmp(list[i].type, "job_deleted") || !id || strcmp(id, s->id))
                continue;
            AUTO_JSONW struct jsonw w = {0};
            event_json(&w, &list[i]);
            sse_message(out, list[i].id, list[i].type, &w);
            n = 0;                                   /* found: no further page */
            event_list_free(list, i + 1);
            list = NULL;
            break;
        }
        event_list_free(list, n);
    } while (n == PAGE_MAX);
    return 0;
}

static int pump_with(struct db *db, struct stream *s, struct strbuf *out, bool *ret_more, bool *ret_end, struct err *e)
{
    struct event *list = NULL;
    size_t n = 0;
    int r = event_list(db, s->id[0] ? s->id : NULL, s->cursor, PUMP_BATCH, &list, &n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    size_t i = 0;
    for (; i < n && out->len < PUMP_BYTES; i++) {
        event_json(&w, &list[i]);
        sse_message(out, list[i].id, list[i].type, &w);
        s->cursor = list[i].id;
    }
    *ret_more = n == PUMP_BATCH || i < n;
    event_list_free(list, n);
    int64_t now = clock_mono_ms();
    if (*ret_more || now - s->progress_at_ms < PROGRESS_MS)
        return 0;
    s->progress_at_ms = now;
    struct job **jobs = NULL, *one = NULL;
    n = 0;
    if (!s->id[0]) {
        r = job_list(db, JOB_RUNNING, 0, PROGRESS_JOBS_MAX, &jobs, &n, e);
        if (r == 0)
            r = tell_progress(s, jobs, n, out, e);
        job_list_free(jobs, n);
        return r;
    }
    r = job_get(db, s->id, &one, e);
    if (r == -ERR_NOT_FOUND) {
        *ret_end = true;
        return tell_deletion(db, s, out, e);
    }
    if (r == 0)
        r = tell_progress(s, &one, 1, out, e);
    job_free(one);
    return r;
}

static int pump(struct hub *hub, struct stream *s, struct strbuf *out, bool *ret_more, bool *ret_end, struct err *e)
{
    struct dbpool *pool = hub_api(hub)->pool;
    struct db *db = NULL;
    int r = dbpool_get(pool, &db, e);
    if (r == 0)
        r = pump_with(db, s, out, ret_more, ret_end, e);
    dbpool_put(pool, db);
    return r;
}

int events_open(struct api *api, struct hub **ret, struct err *e)
{
    return hub_open(api, pump, TICK_MS, ret, e);
}

void api_notify(struct api *api)
{
    hub_poke(api->events);
}

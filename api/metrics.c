/* /metrics: Prometheus' text format, version 0.0.4. */
#include <inttypes.h>

#include "api/internal.h"
#include "common/clock.h"
#include "db/event.h"
#include "db/transfer.h"

static void family(struct strbuf *b, const char *name, const char *type, const char *help)
{
    strbuf_addf(b, "# HELP vmrecover_%s %s\n# TYPE vmrecover_%s %s\n", name, help, name, type);
}

static int of_database(struct request *rq, struct strbuf *b, struct err *e)
{
    struct db *db = NULL;
    uint64_t jobs[JOB_STATES] = {0}, tasks[TASK_KINDS][TASK_STATES] = {0}, bytes = 0;
    int64_t last = 0;
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = job_counts(db, jobs, e);
    if (r == 0)
        r = task_counts(db, tasks, e);
    if (r == 0)
        r = event_last_id(db, &last, e);
    if (r == 0)
        r = transfer_total(db, &bytes, e);
    if (r < 0)
        return r;
    family(b, "jobs", "gauge", "Jobs in the database by state.");
    for (int s = 0; s < JOB_STATES; s++)
        strbuf_addf(b, "vmrecover_jobs{state=\"%s\"} %" PRIu64 "\n", job_state_name((enum job_state)s), jobs[s]);
    family(b, "tasks", "gauge", "Tasks in the database by kind and state.");
    for (int k = 0; k < TASK_KINDS; k++)
        for (int s = 0; s < TASK_STATES; s++)
            strbuf_addf(b, "vmrecover_tasks{kind=\"%s\",state=\"%s\"} %" PRIu64 "\n", task_kind_name((enum task_kind)k),
                        task_state_name((enum task_state)s), tasks[k][s]);
    family(b, "transferred_bytes", "gauge", "Bytes read from the network for the jobs in the database.");
    strbuf_addf(b, "vmrecover_transferred_bytes %" PRIu64 "\n", bytes);
    family(b, "event_last_id", "counter", "Id of the newest event.");
    strbuf_addf(b, "vmrecover_event_last_id %" PRId64 "\n", last);
    return 0;
}

int metrics_get(struct request *rq, struct err *e)
{
    struct api *api = rq->api;
    AUTO_STRBUF struct strbuf b = {0};
    family(&b, "build_info", "gauge", "Version of the daemon.");
    strbuf_addf(&b, "vmrecover_build_info{version=\"%s\"} 1\n", VMR_VERSION);
    int64_t up = clock_mono_ms() - api->started_ms;
    family(&b, "uptime_seconds", "gauge", "Time since the API was started.");
    strbuf_addf(&b, "vmrecover_uptime_seconds %" PRId64 ".%03" PRId64 "\n", up / 1000, up % 1000);
    int r = of_database(rq, &b, e);
    if (r < 0)
        return r;
    family(&b, "http_requests_total", "counter", "Requests answered, by class of their status.");
    for (int i = 2; i < 6; i++)
        strbuf_addf(&b, "vmrecover_http_requests_total{status=\"%dxx\"} %llu\n", i, atomic_load(&api->answered[i]));
    family(&b, "http_streams", "gauge", "Event streams that are open.");
    strbuf_addf(&b, "vmrecover_http_streams %u\n", atomic_load(&api->n_streams));
    size_t n = b.len;
    char *text = strbuf_steal(&b);
    return text ? reply_bytes(rq, 200, "text/plain; version=0.0.4; charset=utf-8", text, n, e) : err_oom(e);
}

/* The run: one thread, one curl multi handle, a slot for each connection (slot.c), chunks dealt to them (deal.c), the file (part.c).
 *
 *   IDLE --take a chunk--> RUNNING --whole chunk written--> IDLE
 *                            |  ^
 *             transient fault|  | its time came and a connection is allowed
 *                            v  |
 *                          WAITING          any other fault, or too many: the run ends
 *
 * When the source refuses access nothing new is started; once no connection is at work, access is renewed, and all go on where they were.
 *
 * Chunks are dealt in ascending order from the ranges less what is done. libcurl hands over at most 16 KiB at a time; a slot gathers them into
 * writes of GATHER_MAX, or of what a second brings (the one copy between socket and file). What was written enters `fresh`; once per commit
 * interval the committer makes it durable and journals it.
 *
 * A hole between two ranges is done together with the range before or behind it, so that finished work grows into a few large spans
 * and neither memory nor journal follow the number of ranges. This is sound because all of one run, and of the runs it resumes, see
 * one ETag: what a page list once called empty reads as zeros, which is what the file has there: on Linux it is sparse; NTFS
 * fills up with zeros what a write skips, so that chunks in ascending order cost the least. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "storage/transfer/engine.h"

#define CONNECTIONS_MAX 64
#define RANGE_MIN ((uint64_t)64 << 10)
#define RANGE_MAX ((uint64_t)64 << 20)
#define BUFFER_MAX (512L << 10) /* libcurl's, of a connection */
#define BUFFERS_BYTES (8L << 20) /* of all connections */
#define GATHER_MAX ((size_t)256 << 10) /* larger ones leave the processor's cache before they are written */
#define GATHERS_BYTES ((size_t)8 << 20) /* of all connections */
#define ERROR_BODY_KEPT ((size_t)16384)
#define TURN_MS 100
#define STEP_BYTES ((uint64_t)64 << 20)
#define COMMIT_FIRST_MS 100u
#define REPORT_MS 500
#define RENEWALS_IN_VAIN 3
#define RENEWAL_PAUSE_MS 1000

static void engine_free(struct engine *g)
{
    if (!g)
        return;
    for (unsigned i = 0; g->slots && i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        if (s->h && s->state == RUNNING)
            curl_multi_remove_handle(g->multi, s->h);
        curl_easy_cleanup(s->h);
        blob_headers_free(s->list);
        strbuf_free(&s->body);
        free(s->gather);
        sums_free(&s->held);
        crypto_md5_free(s->md5);
    }
    if (g->multi)
        curl_multi_cleanup(g->multi);
    committer_stop(g->committer);
    journal_close(g->journal);
    sums_close(g->record);
    target_close(g->file);
    spans_free(&g->done);
    spans_free(&g->fresh);
    sums_free(&g->sums);
    free(g->slots);
    free(g->part);
    free(g->journal_path);
    free(g->sums_path);
    free(g);
}
DEFINE_AUTO(struct engine, engine_free)

/* Nothing is at work any more: another access for all. 1: its time has not come. */
static int renew(struct engine *g, int64_t now, int *ret_wait_ms, struct err *e)
{
    if (g->p.network > g->network_then)
        g->renewed_in_vain = 0;
    if (g->renewed_in_vain == RENEWALS_IN_VAIN) {
        *e = g->refused;
        return err_prefix(e, "access was renewed %d times and is refused all the same", RENEWALS_IN_VAIN);
    }
    if (g->renewed_in_vain && g->renew_at_ms > now) {
        if (g->renew_at_ms - now < *ret_wait_ms)
            *ret_wait_ms = (int)(g->renew_at_ms - now);
        return 1;
    }
    struct blob *blob;
    const struct blob_info *info;
    int r = g->t->renew(g->t->arg, &g->refused, &blob, &info, e);
    if (r < 0)
        return r;
    if (info->length != g->info->length)
        return err_set(e, ERR_SOURCE_CHANGED, "%s is %" PRIu64 " bytes long after access was renewed, and was %" PRIu64, blob_name(blob), info->length,
                       g->info->length);
    g->blob = blob;
    g->info = info;
    g->access++;
    g->network_then = g->p.network;
    g->renewed_in_vain++;
    g->renew_at_ms = clock_mono_ms() + ((int64_t)RENEWAL_PAUSE_MS << g->renewed_in_vain);
    err_clear(&g->refused);
    return 0;
}

/* Starts what may run now; *ret_wait_ms becomes shorter when something is due before. */
static int schedule(struct engine *g, int64_t now, int *ret_wait_ms, struct err *e)
{
    if (g->refused.code) {
        int r = g->running ? 1 : renew(g, now, ret_wait_ms, e);
        if (r != 0)
            return r < 0 ? r : 0;
        now = clock_mono_ms();
    }
    int64_t due = pace_open_at(&g->pace);
    unsigned allowed = pace_connections(&g->pace);
    for (int waiting = 1; waiting >= 0; waiting--) /* first what waits: it is lower in the file */
        for (unsigned i = 0; i < g->n_slots && g->running < allowed; i++) {
            struct slot *s = &g->slots[i];
            if (s->state != (waiting ? WAITING : IDLE))
                continue;
            int64_t at = waiting && s->retry_at_ms > due ? s->retry_at_ms : due;
            if (at > now) {
                if (at - now < *ret_wait_ms)
                    *ret_wait_ms = (int)(at - now);
                continue;
            }
            int r = waiting ? 0 : deal_cross(g, e);
            if (r == 1)
                *ret_wait_ms = 0;
            if (r != 0)
                return r < 0 ? r : 0;
            if (!waiting && !deal_next(g, s))
                return 0;
            if (s->end > g->reached)
                g->reached = s->end;
            if ((r = slot_start(s, e)) < 0)
                return r;
            if (g->refused.code)
                return 0;
        }
    return 0;
}

static bool all_done(struct engine *g)
{
    for (unsigned i = 0; i < g->n_slots; i++)
        if (g->slots[i].state != IDLE)
            return false;
    struct slot probe;
    if (deal_is_over(g))
        return true;
    return !deal_peek(g, &probe);                         /* what is left may be done already */
}

static int unpause(struct engine *g, struct err *e)
{
    for (unsigned i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        if (!s->paused || !pace_may_take(&g->pace))
            continue;
        s->paused = false;
        CURLcode code = curl_easy_pause(s->h, CURLPAUSE_CONT); /* calls on_body */
        if (code != CURLE_OK) {
            int r = slot_finish(s, code, e);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* 1: tries ended, so that there is something to start; 0: none; else an error. */
static int drain(struct engine *g, struct err *e)
{
    bool ended = false;
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(g->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct slot *s = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
        int r = slot_finish(s, code, e);
        if (r < 0)
            return r;
        ended = true;
    }
    return ended;
}

/* On a slow link a gather fills for longer than data may wait. */
static int flush_all(struct engine *g, struct err *e)
{
    for (unsigned i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        if (s->state == RUNNING && s->trusted && slot_flush(s) < 0) {
            *e = s->err;
            return e->code == ERR_DISK_FULL ? part_disk_full(g, e) : -(int)e->code;
        }
    }
    return 0;
}

static int commit(struct engine *g, int64_t now, struct err *e)
{
    int r = committer_poll(g->committer, e);
    if (r == 1)
        return 0;
    if (r == 0 && now - g->committed_at_ms >= g->commit_ms && (r = flush_all(g, e)) < 0)
        return r;
    if (r == 0 && g->fresh.n && now - g->committed_at_ms >= g->commit_ms) {
        committer_push(g->committer, &g->fresh, &g->sums);
        g->committed_at_ms = now;
        g->commit_ms = g->commit_ms * 2 < g->commit_max_ms ? g->commit_ms * 2 : g->commit_max_ms;
    }
    return r < 0 && e->code == ERR_DISK_FULL ? part_disk_full(g, e) : r;
}

static void report(struct engine *g, int64_t now)
{
    g->reported_at_ms = now;
    g->p.bytes_per_second = gauge_rate(&g->gauge, now, g->p.network);
    g->p.done = g->p.transferred + g->p.skipped;
    uint64_t left = g->listed - g->p.transferred;
    g->p.eta_seconds = !left ? 0 : g->p.bytes_per_second ? (int64_t)(left / g->p.bytes_per_second) : -1;
    if (g->t->progress)
        g->t->progress(g->t->arg, &g->p);
}

static int turn(struct engine *g, struct err *e)
{
    int64_t now = clock_mono_ms();
    if (now - g->polled_at_ms >= TURN_MS) {
        g->polled_at_ms = now;
        if (g->t->stop && g->t->stop(g->t->arg))
            return err_set(e, ERR_CANCELLED, "the download of %s was stopped", blob_name(g->blob));
        if (g->t->limit)
            pace_set_limit(&g->pace, g->t->limit(g->t->arg), now);
    }
    int wait_ms = TURN_MS, running;
    pace_refill(&g->pace, now);
    pace_measure(&g->pace, now, g->p.network);
    int r = unpause(g, e);
    if (r == 0)
        r = schedule(g, now, &wait_ms, e);
    if (r < 0)
        return r;
    if (curl_multi_perform(g->multi, &running))
        return err_set(e, ERR_INTERNAL, "libcurl's multi interface failed");
    int ended = drain(g, e);
    if (ended < 0 || (r = commit(g, now, e)) < 0)
        return ended < 0 ? ended : r;
    if (now - g->reported_at_ms >= REPORT_MS)
        report(g, now);
    if (g->pace.limit && wait_ms > 20)
        wait_ms = 20;
    if (!ended && curl_multi_poll(g->multi, NULL, 0, wait_ms, NULL))
        return err_set(e, ERR_INTERNAL, "libcurl cannot wait for its connections");
    return 0;
}

/* Makes what was written durable and says so in the journal. */
static int settle(struct engine *g, struct err *e)
{
    int r = committer_wait(g->committer, e);
    if (r == 0 && g->fresh.n) {
        committer_push(g->committer, &g->fresh, &g->sums);
        r = committer_wait(g->committer, e);
    }
    return r < 0 && e->code == ERR_DISK_FULL ? part_disk_full(g, e) : r;
}

static int open_slots(struct engine *g, struct err *e)
{
    g->buffer = BUFFERS_BYTES / (long)g->n_slots;
    if (g->buffer > BUFFER_MAX)
        g->buffer = BUFFER_MAX;
    g->gather_bytes = GATHERS_BYTES / g->n_slots < GATHER_MAX ? GATHERS_BYTES / g->n_slots : GATHER_MAX;
    if (g->pace.limit)
        g->buffer = 65536; /* what a pause holds back is kept a second time */
    g->multi = curl_multi_init();
    g->slots = calloc(g->n_slots, sizeof *g->slots);
    if (!g->multi || !g->slots)
        return err_oom(e);
    curl_multi_setopt(g->multi, CURLMOPT_MAXCONNECTS, (long)g->n_slots);
    for (unsigned i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        s->engine = g;
        s->body.max = ERROR_BODY_KEPT;
        if (!(s->gather = malloc(g->gather_bytes)))
            return err_oom(e);
    }
    return 0;
}

static int run(struct engine *g, struct err *e)
{
    int r = part_open(g, e);
    if (r < 0)
        return r;
    g->p.transferred = spans_common(&g->done, g->t->ranges);
    if ((r = open_slots(g, e)) < 0 ||
        (r = committer_start(g->file, g->record, g->journal, &g->committer, e)) < 0)
        return r;
    int64_t now = clock_mono_ms();
    g->committed_at_ms = now;
    report(g, now);
    while (r == 0 && !all_done(g))
        r = turn(g, e);
    if (r == 0)
        return (r = settle(g, e)) < 0 ? r : part_publish(g, e);
    struct err ignored;
    flush_all(g, &ignored);
    settle(g, &ignored); /* what was fetched stays fetched, whatever went wrong */
    return r;
}

static int check_arguments(const struct transfer *t, struct err *e)
{
    uint64_t before = 0, length = t->image ? t->image->virtual_size : t->info->length;
    if (length > t->info->length)
        return err_set(e, ERR_INTERNAL, "a disk of %" PRIu64 " bytes is not in a source of %" PRIu64, length, t->info->length);
    if (t->connections < 1 || t->connections > CONNECTIONS_MAX || t->range_bytes < RANGE_MIN || t->range_bytes > RANGE_MAX)
        return err_set(e, ERR_INTERNAL, "%u connections of %" PRIu64 " bytes are not allowed", t->connections, t->range_bytes);
    for (size_t i = 0; i < t->ranges->n; i++) {
        const struct blob_range *r = &t->ranges->list[i];
        if (r->start >= r->end || r->end > length || r->start < before)
            return err_set(e, ERR_INTERNAL, "the page list of %s is not in order, or not of the disk", blob_name(t->blob));
        before = r->end;
    }
    return 0;
}

int transfer_run(const struct transfer *t, struct transfer_progress *ret, struct err *e)
{
    int r = check_arguments(t, e);
    if (r < 0)
        return r;
    AUTO(engine_free_ptr) struct engine *g = calloc(1, sizeof *g);
    if (!g)
        return err_oom(e);
    g->t = t;
    g->blob = t->blob;
    g->info = t->info;
    g->length = t->image ? t->image->virtual_size : t->info->length;
    g->form = (struct target_form){.bytes = g->length, .image = t->image};
    g->n_slots = t->connections;
    g->attempts_max = t->range_attempts ? t->range_attempts : 8;
    g->commit_max_ms = t->commit_interval_ms ? t->commit_interval_ms : 1000;
    g->commit_ms = g->commit_max_ms < COMMIT_FIRST_MS ? g->commit_max_ms : COMMIT_FIRST_MS;
    g->chunk_bytes = t->range_bytes;
    g->check = t->checks && t->info->azure ? BLOB_CRC64 : BLOB_UNCHECKED;
    g->step_bytes = t->step_bytes ? t->step_bytes : STEP_BYTES;
    g->part = str_printf("%s.part", t->path);
    g->journal_path = str_printf("%s.part.journal", t->path);
    g->sums_path = str_printf("%s" SUMS_SUFFIX, t->path);
    if (!g->part || !g->journal_path || !g->sums_path)
        return err_oom(e);
    for (size_t i = 0; i < t->ranges->n; i++)
        g->listed += t->ranges->list[i].end - t->ranges->list[i].start;
    g->p.total = g->length;
    g->p.skipped = g->length - g->listed;
    pace_init(&g->pace, t->connections, t->max_bytes_per_second, clock_mono_ms());
    if ((r = os_random(&g->random, sizeof g->random, e)) < 0)
        return r;
    g->random |= 1;
    r = part_look(g, e);
    if (r == 1)
        g->p.transferred = g->listed;
    else if (r == 0)
        r = run(g, e);
    report(g, clock_mono_ms());
    if (ret)
        *ret = g->p;
    return r < 0 ? r : 0;
}

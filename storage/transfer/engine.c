/* One thread, one curl multi handle, a slot for each connection.
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
 * writes of GATHER_MAX, or of what a second brings (the one copy between socket and file). What was written enters `fresh`; once per commit interval the committer makes it durable and journals it.
 *
 * A hole between two ranges is done together with the range before or behind it, so that finished work grows into a few large spans
 * and neither memory nor journal follow the number of ranges. This is sound because all of one run, and of the runs it resumes, see
 * one ETag: what a page list once called empty reads as zeros, which is what the file has there: on Linux it is sparse; NTFS
 * fills up with zeros what a write skips, so that chunks in ascending order cost the least. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/crc64.h"
#include "common/log.h"
#include "common/os.h"
#include "storage/transfer/committer.h"
#include "storage/transfer/pace.h"
#include "storage/transfer/transfer.h"

#define CONNECTIONS_MAX 64
#define RANGE_MIN ((uint64_t)64 << 10)
#define RANGE_MAX ((uint64_t)64 << 20)
#define BUFFER_MAX (512L << 10) /* libcurl's, of a connection */
#define BUFFERS_BYTES (8L << 20) /* of all connections */
#define CHECKED_MIN ((uint64_t)64 << 10) /* a checked range that was cut off is asked for again in parts not smaller than this */
#define CHECKED_MS 2000u /* a checked range should not take longer: what is not whole is lost when the process dies */
#define MD5_MAX_BYTES_PER_SECOND ((uint64_t)128 << 20)
#define GATHER_MAX ((size_t)256 << 10) /* larger ones leave the processor's cache before they are written */
#define GATHERS_BYTES ((size_t)8 << 20) /* of all connections */
#define CHUNK_ALIGN ((uint64_t)64 << 10)
#define HOLE_BLOCK 4096u                             /* what file systems can leave out */
#define ERROR_BODY_KEPT ((size_t)16384)
#define ERROR_BODY_MAX ((size_t)1 << 20)
#define BACKOFF_MIN_MS 200u
#define BACKOFF_MAX_MS 30000u
#define PROGRESS_RESETS ((uint64_t)64 << 10) /* a try that got so far starts the count of tries again */
#define TURN_MS 100
#define STEP_BYTES ((uint64_t)64 << 20)
#define COMMIT_FIRST_MS 100u
#define REPORT_MS 500
#define RENEWALS_IN_VAIN 3
#define RENEWAL_PAUSE_MS 1000

enum slot_state { IDLE, RUNNING, WAITING };

struct slot {
    struct engine *engine;
    CURL *h;
    unsigned access; /* with which this try was sent; of the handle too */
    enum slot_state state;
    uint64_t start, end;             /* the chunk */
    uint64_t cover_start, cover_end; /* with the holes beside it */
    uint64_t from, pos;              /* this try began at from; bytes before pos are here */
    uint64_t goal;                   /* where this try ends: end, or before it when the range is checked */
    uint64_t most;                   /* bytes of a checked try */
    enum blob_check check;
    struct crypto_md5 *md5;
    struct sums held;                /* pieces of a checked try, which count when it fits */
    uint64_t crc;                    /* of this try's bytes before `stored` */
    uint64_t stored;                 /* bytes before it are written; those up to pos are in `gather` */
    char *gather;
    unsigned attempts, short_bodies; /* of this chunk since it last got on */
    int64_t retry_at_ms;
    struct curl_slist *list;
    struct http_headers headers;
    struct strbuf body; /* of an error answer */
    uint64_t discarded;
    bool judged, trusted; /* headers were checked; they gave the body's length, so parts of it count */
    bool paused;
    bool local;     /* err is of this host: no retry */
    struct err err; /* code: why the callback stopped the try */
    char detail[CURL_ERROR_SIZE];
};

struct engine {
    const struct transfer *t;
    struct blob *blob;
    const struct blob_info *info;
    unsigned access;         /* counts renewals */
    struct err refused;      /* code: the source refused the present access */
    unsigned renewed_in_vain;
    uint64_t network_then;   /* at the last renewal */
    int64_t renew_at_ms;     /* not before */
    char *part, *journal_path, *sums_path;
    struct os_file *file;
    struct sums_file *record;
    struct journal *journal;
    struct committer *committer;
    CURLM *multi;
    struct slot *slots;
    unsigned n_slots, running;
    long buffer;
    size_t gather_bytes;
    enum blob_check check; /* the best that the service is known not to refuse */
    unsigned attempts_max, commit_max_ms;
    unsigned commit_ms; /* commit_ms grows to what was asked for: a process that dies early also gets on */
    uint64_t chunk_bytes;
    /* dealing */
    size_t next_range;
    uint64_t cursor;
    uint64_t reached, step_bytes; /* see cross() */
    struct spans done;  /* at the start of the run */
    struct spans fresh; /* written since the last commit */
    struct sums sums;   /* of the same */
    /* pace */
    struct pace pace;
    struct gauge gauge;
    uint64_t random;
    int64_t committed_at_ms, reported_at_ms, polled_at_ms;
    struct transfer_progress p;
    uint64_t listed;
};

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
    os_file_close(g->file);
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

/* ---- dealing ---- */

/* The next chunk in ascending order, or false when all are dealt. */
static bool deal(struct engine *g, struct slot *s)
{
    const struct blob_ranges *r = g->t->ranges;
    while (g->next_range < r->n) {
        const struct blob_range *range = &r->list[g->next_range];
        uint64_t start = g->cursor > range->start ? g->cursor : range->start;
        const struct blob_range *done = spans_from(&g->done, start);
        if (done && done->start <= start)
            start = done->end;
        if (start >= range->end) {
            g->next_range++;
            continue;
        }
        uint64_t end = range->end;
        done = spans_from(&g->done, start);
        if (done && done->start < end)
            end = done->start;
        if (end - start > g->chunk_bytes) {
            end = start + g->chunk_bytes;
            if (end - end % CHUNK_ALIGN > start)
                end -= end % CHUNK_ALIGN;
        }
        g->cursor = end;
        s->start = s->from = s->pos = s->stored = start;
        s->end = end;
        s->cover_start = start > range->start ? start : g->next_range ? range[-1].end : 0;
        s->cover_end = end < range->end ? end : g->next_range + 1 < r->n ? range[1].start : g->info->length;
        s->attempts = s->short_bodies = 0;
        s->most = BLOB_CHECKED_MAX;
        return true;
    }
    return false;
}

/* The same, but the chunk is left to be dealt. */
static bool peek(struct engine *g, struct slot *ret)
{
    size_t next = g->next_range;
    uint64_t cursor = g->cursor;
    bool more = deal(g, ret);
    g->next_range = next;
    g->cursor = cursor;
    return more;
}

/* Where files are not sparse, the system itself fills up with zeros what lies before a write: for a hole of many GiB these are minutes
 * within one call, without a look at stop and without progress. So the way to the next chunk is gone in steps, each a sector of zeros in
 * the hole, one a turn of the loop. 1: not there yet. */
static int cross(struct engine *g, struct err *e)
{
    static const char sector[512];
    struct slot next;
    if (os_files_are_sparse() || !peek(g, &next))
        return 0;
    for (const struct blob_range *done; (done = spans_from(&g->done, g->reached)) && done->start <= g->reached + g->step_bytes;)
        g->reached = done->end;                      /* what earlier runs wrote is not to be written over */
    if (next.start <= g->reached + g->step_bytes)
        return 0;
    uint64_t at = g->reached + g->step_bytes - sizeof sector;
    int r = os_file_pwrite(g->file, sector, sizeof sector, at, e);
    if (r < 0)
        return r;
    g->reached = at + sizeof sector;
    return 1;
}

static bool all_dealt(struct engine *g)
{
    return g->next_range == g->t->ranges->n;
}

/* ---- receiving ---- */

static int count(struct slot *s, uint64_t from, uint64_t to, uint64_t crc)
{
    struct engine *g = s->engine;
    uint64_t start = from == s->start ? s->cover_start : from, end = to == s->end ? s->cover_end : to;
    if (!spans_add(&g->fresh, start, end) || !sums_add(&g->sums, from, to, crc))
        return err_oom(&s->err);
    g->p.transferred += to - from;
    return 0;
}

/* The service does not give such sums: the next kind, or none. */
static void uncheck(struct slot *s)
{
    struct engine *g = s->engine;
    if (g->check == s->check)
        g->check = s->check == BLOB_CRC64 ? BLOB_MD5 : BLOB_UNCHECKED;
    s->check = BLOB_UNCHECKED;
}

static int judge(struct slot *s)
{
    s->judged = true;
    s->trusted = s->headers.content_length != ULLONG_MAX;
    int r = blob_check_get(s->engine->blob, s->engine->info, s->from, s->goal, &s->headers, s->body.data, &s->err);
    const char *sum = s->check == BLOB_MD5 ? s->headers.content_md5 : s->headers.content_crc64;
    if (r == 0 && s->check && !*sum)                 /* a service that does not know of this */
        uncheck(s);
    return r;
}

static bool is_zero(const char *p, size_t n)
{
    return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* To its place in the file. Without a page list blocks of zeros are left out of a sparse file: it reads as zeros there, since nothing
 * but these very bytes was ever written to it. */
static int store(struct engine *g, const char *p, size_t n, uint64_t pos, struct err *e)
{
    if (g->t->ranges->complete || !os_files_are_sparse())
        return os_file_pwrite(g->file, p, n, pos, e);
    for (size_t from = 0, to = 0; from < n;) {
        size_t block = HOLE_BLOCK - (size_t)((pos + to) % HOLE_BLOCK);
        if (block > n - to)
            block = n - to;
        bool hole = block == 0 || is_zero(p + to, block);
        if (!hole)
            to += block;
        if (hole && to > from) {                     /* the data before the hole, or before the end */
            int r = os_file_pwrite(g->file, p + from, to - from, pos + from, e);
            if (r < 0)
                return r;
        }
        if (hole)
            from = to += block;
    }
    return 0;
}

/* Writes what was gathered. With a length in the answer's headers it counts at once, unless there is a sum to come. */
static int flush(struct slot *s)
{
    struct engine *g = s->engine;
    if (s->stored == s->pos)
        return 0;
    size_t n = (size_t)(s->pos - s->stored);
    int r = store(g, s->gather, n, s->stored, &s->err);
    uint64_t crc = crc64(0, s->gather, n);
    if (r == 0 && s->check) {
        bool ok = sums_add(&s->held, s->stored, s->pos, crc);
        if (ok && s->check == BLOB_MD5)
            ok = crypto_md5_add(s->md5, s->gather, n);
        r = ok ? 0 : err_oom(&s->err);
    } else if (r == 0 && s->trusted) {
        r = count(s, s->stored, s->pos, crc);
    }
    if (r < 0) {
        s->local = true;
        return r;
    }
    s->crc = crc64_combine(s->crc, crc, n);
    s->stored = s->pos;
    return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct slot *s = arg;
    struct engine *g = s->engine;
    n *= size;
    if (s->headers.status >= 300) {
        size_t room = s->body.max - s->body.len;
        strbuf_add(&s->body, p, n < room ? n : room);
        s->discarded += n;
        return s->discarded > ERROR_BODY_MAX ? 0 : n;
    }
    if (!s->judged && judge(s) < 0)
        return 0;
    if (n > s->goal - s->pos) {
        err_set(&s->err, ERR_UPSTREAM, "%s sent more than the bytes %" PRIu64 "-%" PRIu64 " that were asked for",
                blob_name(g->blob), s->from, s->goal - 1);
        return 0;
    }
    if (!pace_may_take(&g->pace)) {
        s->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    pace_take(&g->pace, n);
    g->p.network += n;
    for (size_t left = n; left;) {
        size_t full = (size_t)(s->pos - s->stored), take = g->gather_bytes - full;
        if (take > left)
            take = left;
        memcpy(s->gather + full, p, take);
        s->pos += take;
        p += take;
        left -= take;
        if (full + take == g->gather_bytes && flush(s) < 0)
            return 0;
    }
    return n;
}

/* Why a try that is over did not bring the whole chunk; 0: it did. */
static int outcome(struct slot *s, CURLcode code, struct err *e)
{
    bool was_short = false;
    int r;
    if (s->trusted && s->pos == s->goal && s->err.code == ERR_OK)
        return 0;                                    /* whatever happened to the connection after */
    if (s->err.code != ERR_OK) {
        *e = s->err;
        r = -(int)e->code;
    } else if ((!s->judged && code == CURLE_OK) || s->headers.status >= 400) {
        r = judge(s);
        *e = s->err;
    } else
        r = 0;
    if (r == 0 && (code != CURLE_OK || s->pos < s->goal)) {
        was_short = code == CURLE_OK || code == CURLE_PARTIAL_FILE;
        if (was_short)
            r = err_set(e, ERR_UNREACHABLE, "%s ended its answer at byte %" PRIu64 ", before the end of %" PRIu64 "-%" PRIu64,
                        blob_name(s->engine->blob), s->pos, s->from, s->goal - 1);
        else
            r = http_error(code, s->detail, blob_name(s->engine->blob), e);
    }
    s->short_bodies = was_short ? s->short_bodies + 1 : 0;
    return r;
}

static unsigned jitter(struct engine *g, unsigned ms)
{
    g->random ^= g->random << 13; /* xorshift64 */
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return ms / 2 + (unsigned)(g->random % (ms / 2 + 1));
}

static int disk_full(struct engine *g, struct err *e)
{
    uint64_t all = os_files_are_sparse() ? g->listed : g->info->length, have = 0;
    uint64_t need = all > g->p.transferred ? all - g->p.transferred : 0;
    struct err ignored;
    if (os_free_space(g->part, &have, &ignored) < 0)
        have = 0;
    return err_set(e, ERR_DISK_FULL, "the volume of %s is full: %" PRIu64 " more bytes are needed, %" PRIu64 " are free",
                   g->t->path, need, have);
}

/* A try ended with e. 0: the slot waits for its next one. */
static int fault(struct slot *s, uint64_t got, struct err *e)
{
    struct engine *g = s->engine;
    if (s->local)
        return e->code == ERR_DISK_FULL ? disk_full(g, e) : -(int)e->code;
    int64_t now = clock_mono_ms();
    if (g->t->renew && blob_error_is_refusal(e)) {
        if (s->access == g->access && !g->refused.code)
            g->refused = *e;
        s->retry_at_ms = now;                        /* with the access that there is then */
        s->state = WAITING;
        return 0;
    }
    if (!blob_error_is_transient(e))
        return -(int)e->code;
    if (got >= PROGRESS_RESETS)
        s->attempts = s->short_bodies = 0;
    if (++s->attempts >= g->attempts_max) {
        if (s->short_bodies >= g->attempts_max)
            return err_set(e, ERR_SOURCE_TRUNCATED,
                           "%s ends at byte %" PRIu64 " though it says that it is %" PRIu64 " bytes long: %u answers ended there",
                           blob_name(g->blob), s->pos, g->info->length, s->short_bodies);
        return err_prefix(e, "gave up after %u tries", s->attempts);
    }
    unsigned ms = BACKOFF_MIN_MS << (s->attempts < 9 ? s->attempts - 1 : 8);
    ms = jitter(g, ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
    if (e->code == ERR_THROTTLED || e->code == ERR_TIMEOUT)
        pace_slow_down(&g->pace, now, e->retry_after_ms);
    if (e->retry_after_ms > ms)
        ms = e->retry_after_ms;
    s->retry_at_ms = now + ms;
    s->state = WAITING;
    return 0;
}

/* A handle for the host that is read now. */
static int open_handle(struct slot *s, struct err *e)
{
    struct engine *g = s->engine;
    curl_easy_cleanup(s->h);
    if (!(s->h = http_handle(blob_http(g->blob), blob_url(g->blob))))
        return err_oom(e);
    curl_easy_setopt(s->h, CURLOPT_PRIVATE, s);
    curl_easy_setopt(s->h, CURLOPT_BUFFERSIZE, g->buffer);
    curl_easy_setopt(s->h, CURLOPT_ERRORBUFFER, s->detail);
    curl_easy_setopt(s->h, CURLOPT_HEADERFUNCTION, http_collect_header);
    curl_easy_setopt(s->h, CURLOPT_HEADERDATA, &s->headers);
    curl_easy_setopt(s->h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(s->h, CURLOPT_WRITEDATA, s);
    s->access = g->access;
    return 0;
}

/* Whether this try is checked, and then how far it goes. */
static void choose(struct slot *s)
{
    struct engine *g = s->engine;
    s->check = g->check;
    s->goal = s->end;
    if (s->check == BLOB_MD5) {
        if (!s->md5)
            s->md5 = crypto_md5_new();
        if (!s->md5 || !crypto_md5_begin(s->md5))
            uncheck(s);
        else if (g->p.bytes_per_second > MD5_MAX_BYTES_PER_SECOND)
            s->check = BLOB_UNCHECKED;               /* this time */
    }
    if (!s->check)
        return;
    uint64_t slow = g->p.bytes_per_second * CHECKED_MS / 1000 / (g->running + 1), most = s->most;
    slow = slow > 4 * CHECKED_MIN ? slow - slow % CHECKED_MIN : 4 * CHECKED_MIN;
    if (slow < most && g->p.bytes_per_second)
        most = slow;
    if (s->end - s->from > most)
        s->goal = s->from + most;
}

static int slot_start(struct slot *s, struct err *e)
{
    struct engine *g = s->engine;
    s->from = s->pos;
    s->crc = 0;
    s->held.n = 0;
    choose(s);
    s->judged = s->trusted = s->paused = s->local = false;
    s->discarded = 0;
    err_clear(&s->err);
    s->detail[0] = 0;
    http_headers_reset(&s->headers);
    strbuf_reset(&s->body);
    int r = s->h && s->access == g->access ? 0 : open_handle(s, e);
    if (r == 0)
        r = blob_prepare_get(g->blob, g->info, s->h, s->pos, s->goal, s->check, &s->list, e);
    if (r < 0)
        return fault(s, 0, e);
    if (curl_multi_add_handle(g->multi, s->h))
        return err_oom(e);
    s->state = RUNNING;
    g->running++;
    return 0;
}

/* Does what came have the sum that the service gave? */
static int fits(struct slot *s, struct err *e)
{
    uint8_t mine[MD5_LEN];
    size_t n = s->check == BLOB_MD5 ? MD5_LEN : sizeof s->crc, sent_len = 0;
    const char *sum = s->check == BLOB_MD5 ? s->headers.content_md5 : s->headers.content_crc64;
    AUTO_FREE uint8_t *sent = NULL;
    if (s->check == BLOB_MD5 && !crypto_md5_end(s->md5, mine))
        return err_set(e, ERR_INTERNAL, "MD5 is not available");
    for (size_t k = 0; s->check == BLOB_CRC64 && k < sizeof s->crc; k++)
        mine[k] = (uint8_t)(s->crc >> 8 * k);
    if (crypto_base64_decode(sum, &sent, &sent_len) && sent_len == n && !memcmp(sent, mine, n))
        return 0;
    AUTO_FREE char *text = crypto_base64(mine, n);
    return err_set(e, ERR_UPSTREAM, "bytes %" PRIu64 "-%" PRIu64 " of %s did not arrive as they were sent: their %s is %s, and the service says %s", s->from,
                   s->goal - 1, blob_name(s->engine->blob), s->check == BLOB_MD5 ? "MD5" : "CRC-64", text ? text : "another", sum);
}

/* A checked try is over: all of it counts, or nothing. */
static int settle_checked(struct slot *s, int r, struct err *e)
{
    struct engine *g = s->engine;
    bool whole = r == 0;
    if (whole && (r = fits(s, e)) == 0) {
        for (size_t i = 0; i < s->held.n; i++)
            if (count(s, s->held.list[i].start, s->held.list[i].end, s->held.list[i].crc) < 0)
                return *e = s->err, -(int)e->code;
        g->p.checked += s->goal - s->from;
        return 0;
    }
    if (whole) {                                     /* as if nothing had come, so that such tries have an end */
        s->pos = s->stored = s->from;
        return r;
    }
    uint64_t got = s->pos - s->from;                 /* so much may come whole the next time */
    s->most = got > CHECKED_MIN ? got - got % CHECKED_MIN : CHECKED_MIN;
    return r;
}

/* The service does not take the header that asks for a sum. */
static bool refuses_check(const struct slot *s)
{
    const char *code = s->headers.error_code;
    return s->check && !str_starts(code, "Condition") && (s->headers.status == 400 || s->headers.status == 501 || !strcmp(code, "FeatureNotSupported"));
}

static int finish(struct slot *s, CURLcode code, struct err *e)
{
    struct engine *g = s->engine;
    curl_multi_remove_handle(g->multi, s->h);
    blob_headers_free(s->list);
    s->list = NULL;
    s->state = IDLE;
    s->paused = false;
    g->running--;
    flush(s);                                        /* s->err has why not */
    int r = outcome(s, code, e);
    if (r < 0 && refuses_check(s)) {
        uncheck(s);
        s->pos = s->stored = s->from;
        s->retry_at_ms = clock_mono_ms();
        s->state = WAITING;
        return 0;
    }
    if (s->check) {
        r = settle_checked(s, r, e);
    } else if (!s->trusted && r == 0 && (r = count(s, s->from, s->goal, s->crc)) < 0) {
        return *e = s->err, r;                       /* without a length only a whole body can be told from one that is too long or cut */
    }
    if (r < 0) {
        uint64_t got = s->trusted ? s->pos - s->from : 0;
        if (s->check || !s->trusted)
            s->pos = s->stored = s->from;
        return fault(s, got, e);
    }
    os_file_write_behind(g->file, s->from, s->goal - s->from);
    pace_went_well(&g->pace, clock_mono_ms());
    if (s->goal < s->end) {                          /* the rest of the chunk */
        s->attempts = s->short_bodies = 0;
        s->retry_at_ms = clock_mono_ms();
        s->state = WAITING;
    }
    return 0;
}

/* ---- the loop ---- */

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
            int r = waiting ? 0 : cross(g, e);
            if (r == 1)
                *ret_wait_ms = 0;
            if (r != 0)
                return r < 0 ? r : 0;
            if (!waiting && !deal(g, s))
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
    if (all_dealt(g))
        return true;
    return !peek(g, &probe);                         /* what is left may be done already */
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
            int r = finish(s, code, e);
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
        int r = finish(s, code, e);
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
        if (s->state == RUNNING && s->trusted && flush(s) < 0) {
            *e = s->err;
            return e->code == ERR_DISK_FULL ? disk_full(g, e) : -(int)e->code;
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
    return r < 0 && e->code == ERR_DISK_FULL ? disk_full(g, e) : r;
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
    }
    int wait_ms = TURN_MS, running;
    if (g->t->limit)
        pace_set_limit(&g->pace, g->t->limit(g->t->arg), now);
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
    return r < 0 && e->code == ERR_DISK_FULL ? disk_full(g, e) : r;
}

/* ---- beginning and end ---- */

static int hash_list(const struct blob_ranges *r, uint8_t ret[SHA256_LEN], struct err *e)
{
    uint8_t part[2][SHA256_LEN] = {{0}}; /* a chain over blocks: no copy of a long list */
    const size_t block = 4096;
    for (size_t i = 0; i < r->n; i += block) {
        size_t n = r->n - i < block ? r->n - i : block;
        int x = crypto_sha256(r->list + i, n * sizeof *r->list, part[1], e);
        if (x == 0)
            x = crypto_sha256(part, sizeof part, part[0], e);
        if (x < 0)
            return x;
    }
    memcpy(ret, part[0], SHA256_LEN);
    return 0;
}

static int new_part(struct engine *g, const struct journal_source *src, struct err *e)
{
    int r;
    if ((r = os_file_open(g->part, OS_WRITE | OS_CREATE, &g->file, e)) < 0 || (r = os_file_lock(g->file, e)) < 0)
        return r;
    /* The old journal goes before the old data does, and the new one comes after the new file is there. */
    if ((r = journal_remove(g->journal_path, e)) < 0 || (r = os_file_truncate(g->file, 0, e)) < 0)
        return r;
    if ((r = os_file_truncate(g->file, src->length, e)) < 0)
        return r == -ERR_DISK_FULL ? disk_full(g, e) : r;
    if ((r = os_file_sync(g->file, e)) < 0)
        return r;
    if ((r = sums_open(g->sums_path, src->length, false, false, &g->record, e)) < 0)
        return r == -ERR_DISK_FULL ? disk_full(g, e) : r;
    return journal_create(g->journal_path, src, &g->journal, e);
}

/* Was something written that the record of sums does not have? */
static int lacks_sums(struct engine *g, bool *ret, struct err *e)
{
    AUTO(sums_free) struct sums sums = {0};
    AUTO(spans_free) struct spans have = {0}, both = {0};
    bool was, ok = true;
    int r = sums_read(g->sums_path, g->info->length, &sums, &was, e);
    if (r < 0 && e->code != ERR_EMPTY)
        return r;
    for (size_t i = 0; ok && i < sums.n; i++)
        ok = spans_add(&have, sums.list[i].start, sums.list[i].end);
    const struct blob_ranges record = {.list = have.list, .n = have.n};
    for (size_t i = 0, k = 0; ok && i < g->done.n; i++) {            /* `both`: what is done of the ranges */
        const struct blob_range *d = &g->done.list[i], *list = g->t->ranges->list;
        while (k < g->t->ranges->n && list[k].end <= d->start)
            k++;
        for (size_t j = k; ok && j < g->t->ranges->n && list[j].start < d->end; j++)
            ok = spans_add(&both, list[j].start > d->start ? list[j].start : d->start, list[j].end < d->end ? list[j].end : d->end);
    }
    if (!ok)
        return err_oom(e);
    *ret = spans_common(&both, &record) != spans_common(&g->done, g->t->ranges);
    return 0;
}

/* Opens (resume) or makes PATH.part and its journal. */
static int open_part(struct engine *g, struct err *e)
{
    const struct blob_info *info = g->info;
    const char *identity = g->t->identity;
    struct journal_source src = {.length = info->length, .etag = identity ? identity : info->etag, .last_modified = identity ? "" : info->last_modified};
    bool damaged = false;
    if (g->t->map_hash)
        memcpy(src.map_hash, g->t->map_hash, sizeof src.map_hash);
    int r = hash_list(g->t->ranges, src.list_hash, e);
    if (r < 0)
        return r;
    if (!src.etag[0] && !src.last_modified[0]) /* nothing tells this source from another of the same length */
        r = journal_remove(g->journal_path, e) < 0 ? -(int)e->code : err_set(e, ERR_EMPTY, "cannot be resumed");
    else
        r = journal_open(g->journal_path, &src, &g->journal, &damaged, e);
    if (r == 0 && journal_map_differs(g->journal)) {
        log_warning("other parts of the disk are left out than when the download began, it starts again", KS("path", g->part));
        journal_close(STEAL(g->journal));
        return new_part(g, &src, e);
    }
    if (r == 0) {
        struct os_stat st;
        if ((r = os_stat(g->part, &st, e)) < 0)
            return r;
        if (!st.exists || st.size != info->length) {   /* somebody was at it: what the journal says of it is not true any more */
            log_warning("what was downloaded is gone, the download starts again", KS("path", g->part), KI("size", st.size),
                        KI("expected", info->length));
            journal_close(STEAL(g->journal));
            return new_part(g, &src, e);
        }
        if ((r = os_file_open(g->part, OS_WRITE, &g->file, e)) < 0 || (r = os_file_lock(g->file, e)) < 0)
            return r;
        const struct spans *had = journal_spans(g->journal);
        for (size_t i = 0; i < had->n; i++)
            if (!spans_add(&g->done, had->list[i].start, had->list[i].end))
                return err_oom(e);
        bool partial = false;
        if ((r = lacks_sums(g, &partial, e)) < 0 || (r = sums_open(g->sums_path, info->length, true, partial, &g->record, e)) < 0)
            return r;
        if (journal_list_differs(g->journal))
            log_info("the page list is another one than at the start; what is done stays done", KS("path", g->part));
        return 0;
    }
    if (e->code != ERR_EMPTY)
        return r;
    if (damaged)
        log_warning("the journal cannot be read, the download starts again", KS("path", g->journal_path));
    return new_part(g, &src, e);
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

/* From "every byte is journalled" to PATH. A crash leaves one of: PART and a full journal; PATH and a full journal; PATH alone. */
static int publish(struct engine *g, struct err *e)
{
    int r = os_file_sync(g->file, e); /* nothing may have been written in this run */
    if (r < 0 || (r = sums_sync(g->record, e)) < 0)
        return r;
    committer_stop(STEAL(g->committer));
    journal_close(STEAL(g->journal));
    sums_close(STEAL(g->record));
    os_file_close(STEAL(g->file));
    r = os_rename(g->part, g->t->path, e);
    return r < 0 ? r : journal_remove(g->journal_path, e);
}

/* 1: PATH is complete; 0: there is work; else an error. */
static int look(struct engine *g, struct err *e)
{
    struct os_stat path, part, journal;
    int r = os_stat(g->t->path, &path, e);
    if (r == 0)
        r = os_stat(g->part, &part, e);
    if (r == 0)
        r = os_stat(g->journal_path, &journal, e);
    if (r < 0 || !path.exists)
        return r;
    if (!path.is_file || path.size != g->info->length)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is there already, but it is no file of %" PRIu64 " bytes", g->t->path,
                       g->info->length);
    if (part.exists && journal.exists)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is there already, beside an unfinished download of it", g->t->path);
    /* A journal alone: the process died between the rename and this. */
    r = journal_remove(g->journal_path, e);
    return r < 0 ? r : 1;
}

static int run(struct engine *g, struct err *e)
{
    int r = open_part(g, e);
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
        return (r = settle(g, e)) < 0 ? r : publish(g, e);
    struct err ignored;
    flush_all(g, &ignored);
    settle(g, &ignored); /* what was fetched stays fetched, whatever went wrong */
    return r;
}

static int check_arguments(const struct transfer *t, struct err *e)
{
    uint64_t before = 0;
    if (t->connections < 1 || t->connections > CONNECTIONS_MAX || t->range_bytes < RANGE_MIN || t->range_bytes > RANGE_MAX)
        return err_set(e, ERR_INTERNAL, "%u connections of %" PRIu64 " bytes are not allowed", t->connections, t->range_bytes);
    for (size_t i = 0; i < t->ranges->n; i++) {
        const struct blob_range *r = &t->ranges->list[i];
        if (r->start >= r->end || r->end > t->info->length || r->start < before)
            return err_set(e, ERR_INTERNAL, "the page list of %s is not in order", blob_name(t->blob));
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
    g->p.total = t->info->length;
    g->p.skipped = t->info->length - g->listed;
    pace_init(&g->pace, t->connections, t->max_bytes_per_second, clock_mono_ms());
    if ((r = os_random(&g->random, sizeof g->random, e)) < 0)
        return r;
    g->random |= 1;
    r = look(g, e);
    if (r == 1)
        g->p.transferred = g->listed;
    else if (r == 0)
        r = run(g, e);
    report(g, clock_mono_ms());
    if (ret)
        *ret = g->p;
    return r < 0 ? r : 0;
}

int transfer_discard(const char *path, struct err *e)
{
    AUTO_FREE char *part = str_printf("%s.part", path);
    AUTO_FREE char *journal = str_printf("%s.part.journal", path), *sums = str_printf("%s" SUMS_SUFFIX, path);
    if (!part || !journal || !sums)
        return err_oom(e);
    int r = journal_remove(journal, e); /* data without a journal is worth nothing, a journal without data would lie */
    if (r == 0)
        r = os_remove(sums, e);
    return r < 0 ? r : os_remove(part, e);
}

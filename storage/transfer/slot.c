/* One connection: its tries at a chunk, what they bring, where that is written, and what a failed one means. */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "common/clock.h"
#include "common/crc64.h"
#include "common/os.h"
#include "storage/transfer/engine.h"

#define CHECKED_MIN ((uint64_t)64 << 10) /* a checked range that was cut off is asked for again in parts not smaller than this */
#define CHECKED_MS 2000u /* a checked range should not take longer: what is not whole is lost when the process dies */
#define MD5_MAX_BYTES_PER_SECOND ((uint64_t)128 << 20)
#define ERROR_BODY_MAX ((size_t)1 << 20)
#define BACKOFF_MIN_MS 200u
#define BACKOFF_MAX_MS 30000u
#define PROGRESS_RESETS ((uint64_t)64 << 10) /* a try that got so far starts the count of tries again */

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

/* To its place in the file. Blocks of zeros are left out of an image, and of a sparse file when there is no page list that does the same for less.
 * What a killed run left in the file, or a range that did not fit its sum, need not be zeros where zeros belong: then that is looked at. */
static int store(struct engine *g, const char *p, size_t n, uint64_t pos, struct err *e)
{
    bool leave = target_is_sparse(&g->form) && (!g->t->ranges->complete || g->form.image);
    return target_write(g->file, p, n, pos, !leave ? ZEROS_WRITE : g->pristine ? ZEROS_LEAVE_PRISTINE : ZEROS_LEAVE, e);
}

/* Writes what was gathered. With a length in the answer's headers it counts at once, unless there is a sum to come. */
int slot_flush(struct slot *s)
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
        if (full + take == g->gather_bytes && slot_flush(s) < 0)
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

/* A try ended with e. 0: the slot waits for its next one. */
static int fault(struct slot *s, uint64_t got, struct err *e)
{
    struct engine *g = s->engine;
    if (s->local)
        return e->code == ERR_DISK_FULL ? part_disk_full(g, e) : -(int)e->code;
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

int slot_start(struct slot *s, struct err *e)
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
static int settle(struct slot *s, int r, struct err *e)
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
        g->pristine = false;
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

int slot_finish(struct slot *s, CURLcode code, struct err *e)
{
    struct engine *g = s->engine;
    curl_multi_remove_handle(g->multi, s->h);
    blob_headers_free(s->list);
    s->list = NULL;
    s->state = IDLE;
    s->paused = false;
    g->running--;
    slot_flush(s);                                        /* s->err has why not */
    int r = outcome(s, code, e);
    if (r < 0 && refuses_check(s)) {
        uncheck(s);
        s->pos = s->stored = s->from;
        s->retry_at_ms = clock_mono_ms();
        s->state = WAITING;
        return 0;
    }
    if (s->check) {
        r = settle(s, r, e);
    } else if (!s->trusted && r == 0 && (r = count(s, s->from, s->goal, s->crc)) < 0) {
        return *e = s->err, r;                       /* without a length only a whole body can be told from one that is too long or cut */
    }
    if (r < 0) {
        uint64_t got = s->trusted ? s->pos - s->from : 0;
        if (s->check || !s->trusted)
            s->pos = s->stored = s->from;
        return fault(s, got, e);
    }
    target_write_behind(g->file, s->from, s->goal - s->from);
    pace_went_well(&g->pace, clock_mono_ms());
    if (s->goal < s->end) {                          /* the rest of the chunk */
        s->attempts = s->short_bodies = 0;
        s->retry_at_ms = clock_mono_ms();
        s->state = WAITING;
    }
    return 0;
}

/* The console of a VM: its screen, and its serial port.
 *
 * The serial log is bytes. A plain GET gives them as they are and tells in a header where to go on, so nothing is lost; a
 * stream is for reading along and carries UTF-8 text in JSON, with U+FFFD for what is none. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/png.h"
#include "api/sse.h"
#include "common/json.h"

#define WIDTH_MIN 16
#define WIDTH_MAX 4096
#define SERIAL_REPLY_MAX (1 << 20)
#define SERIAL_MESSAGE_MAX (16 << 10)
#define SERIAL_TICK_MS 250

/* By its pixels: the same picture has the same tag, so that a client that polls is sent what changed. */
static int picture_tag(const struct hv_image *img, char ret[40], struct err *e)
{
    uint8_t hash[SHA256_LEN];
    char hex[HEX_LEN(SHA256_LEN)];
    int r = crypto_sha256(img->rgb, (size_t)img->width * img->height * 3, hash, e);
    if (r == 0) {
        crypto_hex(hash, sizeof hash, hex);
        snprintf(ret, 40, "\"%.32s\"", hex);
    }
    return r;
}

static int reply_picture(struct request *rq, const struct hv_image *img, struct err *e)
{
    char tag[40];
    uint8_t *png = NULL;
    size_t n = 0;
    int r = picture_tag(img, tag, e);
    if (r < 0)
        return r;
    if (request_lists(rq, "If-None-Match", tag))
        r = reply_empty(rq, 304, e);
    else if ((r = png_encode(img, &png, &n, e)) == 0)
        r = reply_bytes(rq, 200, "image/png", png, n, e);
    if (r == 0)
        reply_header(rq, "ETag", tag);
    return r;
}

int screen_get(struct request *rq, struct err *e)
{
    uint64_t width;
    struct hv *hv = NULL;
    int r = request_query_u64(rq, "width", 0, WIDTH_MIN, WIDTH_MAX, &width, e);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r < 0)
        return r;
    if (request_prefers(rq, "text/plain", "image/png")) {
        char *text = NULL;
        r = hv_screen_text(hv, rq->id, &text, e);
        return r < 0 ? r : reply_bytes(rq, 200, "text/plain; charset=utf-8", text, strlen(text), e);
    }
    struct hv_image full = {0}, scaled = {0};
    r = hv_screen(hv, rq->id, &full, e);
    if (r == 0 && width && width != full.width)
        r = png_scale(&full, (unsigned)width, &scaled, e);
    if (r == 0)
        r = reply_picture(rq, scaled.rgb ? &scaled : &full, e);
    hv_image_clear(&full);
    hv_image_clear(&scaled);
    return r;
}

/* ---- serial ---- */

int serial_get(struct request *rq, struct err *e)
{
    int64_t after;
    struct hv *hv = NULL;
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    bool stream = request_prefers(rq, "text/event-stream", "application/octet-stream");
    int r = sse_cursor(rq, stream, &after, e);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_vm_get(hv, rq->id, &vm, e);
    if (r < 0)
        return r;
    if (stream)
        return sse_reply(rq, rq->api->serials, rq->id, after, e);
    AUTO_FREE char *buf = malloc(SERIAL_REPLY_MAX);
    size_t n = 0;
    uint64_t size = 0;
    if (!buf)
        return err_oom(e);
    r = hv_serial_read(hv, rq->id, (uint64_t)after, buf, SERIAL_REPLY_MAX, &n, &size, e);
    if (r < 0)
        return r;
    char *exact = n ? realloc(buf, n) : NULL;        /* a reply lives as long as its reader is slow */
    if (exact)
        buf = exact;
    r = reply_bytes(rq, 200, "application/octet-stream", STEAL(buf), n, e);
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, (uint64_t)after + n);
    reply_header(rq, "Vmrecover-Next-After", number);
    snprintf(number, sizeof number, "%" PRIu64, size);
    reply_header(rq, "Vmrecover-Size", number);
    return r;
}

/* How many of n bytes end with a whole UTF-8 character; an unfinished one at the end waits for the rest. */
static size_t whole(const uint8_t *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint8_t c = p[n - back];
        if (c < 0x80)
            return n;
        if (c >= 0xC0)
            return (c >= 0xF0 ? 4U : c >= 0xE0 ? 3U : 2U) > back ? n - back : n;
    }
    return n;
}

static int pump(struct hub *hub, struct stream *s, struct strbuf *out, bool *ret_more, bool *ret_end, struct err *e)
{
    uint8_t buf[SERIAL_MESSAGE_MAX];
    size_t n = 0;
    uint64_t size = 0;
    int r = hv_serial_read(hub_api(hub)->cfg.hv, s->id, (uint64_t)s->cursor, buf, sizeof buf, &n, &size, e);
    if (r == -ERR_NOT_FOUND) {
        *ret_end = true;                             /* the VM was deleted */
        return 0;
    }
    if (r < 0)
        return r;
    *ret_more = n == sizeof buf;
    n = whole(buf, n);
    if (!n)
        return 0;
    s->cursor += (int64_t)n;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_int(&w, "after", s->cursor);
    jsonw_strn(&w, "text", (const char *)buf, n);
    jsonw_close(&w, '}');
    sse_message(out, s->cursor, "serial", &w);
    return 0;
}

int serials_open(struct api *api, struct hub **ret, struct err *e)
{
    return hub_open(api, pump, SERIAL_TICK_MS, ret, e);
}

/* What is typed is bytes too: the body as it is, or {"text": "…"}. */
int serial_post(struct request *rq, struct err *e)
{
    const char *text = rq->body.data;
    size_t n = rq->body.len;
    if (rq->json) {
        struct json_in in = json_in_root(rq->json, e);
        json_in_require(&in, "text");
        json_t *j = json_object_get(rq->json, "text");
        in.seen[in.n_seen++] = "text";               /* not json_in_string: control characters are welcome here */
        if (!e->code && !json_is_string(j))
            json_in_fail(&in, "text", ERR_TYPE, "expected a string");
        int r = json_in_end(&in);
        if (r < 0)
            return r;
        text = json_string_value(j);
        n = json_string_length(j);
    }
    if (!n)
        return err_field(e, ERR_VALUE, rq->json ? "/text" : "", "there is no text to type");
    struct hv *hv = NULL;
    int r = request_hv(rq, &hv, e);
    if (r == 0)
        r = hv_serial_write(hv, rq->id, text, n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_u64(&w, "bytes_sent", n);
    jsonw_close(&w, '}');
    return reply_json(rq, 200, &w, e);
}

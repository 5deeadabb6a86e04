#include "api/websocket.h"

#include <string.h>

#include "common/crypto.h"
#include "common/mem.h"

#define KEY_BYTES 16
#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80

int websocket_accept(const char *key, char **ret, struct err *e)
{
    AUTO_FREE uint8_t *raw = NULL;
    size_t n = 0;
    uint8_t hash[SHA1_LEN];
    if (!key || strlen(key) > 2 * KEY_BYTES || !crypto_base64_decode(key, &raw, &n) || n != KEY_BYTES)
        return err_set(e, ERR_BAD_REQUEST, "the Sec-WebSocket-Key header does not hold 16 bytes in base64");
    AUTO_FREE char *text = str_printf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);      /* the protocol's own constant */
    if (!text)
        return err_oom(e);
    int r = crypto_sha1(text, strlen(text), hash, e);
    if (r < 0)
        return r;
    *ret = crypto_base64(hash, sizeof hash);
    return *ret ? 0 : err_oom(e);
}

static struct websocket_event broken(struct websocket *w, enum websocket_status status)
{
    w->need = SIZE_MAX;
    return (struct websocket_event){.what = WS_BROKEN, .status = status};
}

/* The head is there whole: what it says, against what it may say here. 0, or the status that ends the connection. */
static enum websocket_status read_head(struct websocket *w)
{
    const uint8_t *h = w->head;
    bool control = h[0] & 8;
    size_t extra = (h[1] & 0x7F) == 127 ? 8 : (h[1] & 0x7F) == 126 ? 2 : 0;
    w->fin = h[0] & FIN;
    w->opcode = (enum websocket_opcode)(h[0] & 0x0F);
    w->left = extra ? 0 : h[1] & 0x7F;
    for (size_t i = 0; i < extra; i++)
        w->left = w->left << 8 | h[2 + i];
    w->at = 0;
    if (control) {
        if (w->opcode > WS_PONG || !w->fin || extra)
            return WS_PROTOCOL_ERROR;
        w->control_len = 0;
        return 0;
    }
    if (w->opcode == WS_TEXT)
        return WS_UNSUPPORTED_DATA;
    if (w->opcode > WS_BINARY || (w->opcode == WS_CONTINUATION) != w->in_message || (extra == 2 && w->left < 126) || (extra == 8 && w->left <= UINT16_MAX))
        return WS_PROTOCOL_ERROR;
    w->in_message = !w->fin;
    return w->left > WEBSOCKET_PAYLOAD_MAX ? WS_TOO_BIG : 0;
}

/* Adds to the head until it is whole; false: more must come first. *ret is what read_head says. */
static bool take_head(struct websocket *w, uint8_t **p, size_t *n, enum websocket_status *ret)
{
    *ret = 0;
    while (w->have < 2 || w->have < w->need) {
        if (!*n)
            return false;
        w->head[w->have++] = *(*p)++;
        --*n;
        if (w->have != 2)
            continue;
        if (w->head[0] & RESERVED || !(w->head[1] & MASKED)) {
            *ret = WS_PROTOCOL_ERROR;
            return true;
        }
        w->need = 6 + ((w->head[1] & 0x7F) == 127 ? 8U : (w->head[1] & 0x7F) == 126 ? 2U : 0U);
    }
    if (w->have == w->need) {
        w->have++;                                   /* read once */
        *ret = read_head(w);
    }
    return true;
}

static void frame_is_over(struct websocket *w)
{
    w->have = w->need = 0;
}

struct websocket_event websocket_take(struct websocket *w, uint8_t **p, size_t *n)
{
    enum websocket_status wrong;
    for (;;) {
        if (w->need == SIZE_MAX || !take_head(w, p, n, &wrong))
            return (struct websocket_event){.what = WS_MORE};
        if (wrong)
            return broken(w, wrong);
        size_t part = w->left < *n ? (size_t)w->left : *n;
        uint8_t *data = *p;
        const uint8_t *mask = w->head + w->need - 4;
        for (size_t i = 0; i < part; i++)
            data[i] ^= mask[w->at++ & 3];
        *p += part;
        *n -= part;
        w->left -= part;
        bool control = w->opcode >= WS_CLOSE, over = !w->left;
        if (control) {
            memcpy(w->control + w->control_len, data, part);
            w->control_len += part;
        }
        if (over)
            frame_is_over(w);
        if (control && over)
            return (struct websocket_event){.what = WS_CONTROL, .opcode = w->opcode, .data = w->control, .n = w->control_len};
        if (!control && part)
            return (struct websocket_event){.what = WS_DATA, .data = data, .n = part};
        if (!over)
            return (struct websocket_event){.what = WS_MORE};
    }
}

size_t websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX], enum websocket_opcode opcode, size_t n)
{
    head[0] = (uint8_t)(FIN | opcode);
    size_t extra = n < 126 ? 0 : n <= UINT16_MAX ? 2 : 8;
    head[1] = (uint8_t)(extra == 0 ? n : extra == 2 ? 126 : 127);
    for (size_t i = 0; i < extra; i++)
        head[2 + i] = (uint8_t)((uint64_t)n >> 8 * (extra - 1 - i));
    return 2 + extra;
}

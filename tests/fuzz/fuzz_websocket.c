/* What a client sends on a WebSocket: taken in pieces (the first byte says how long) it means what it means at once. */
#include "api/websocket.h"
#include "tests/fuzz/fuzz.h"

struct taken {
    uint8_t *data;                                   /* of messages */
    size_t n, controls, control_bytes;
    enum websocket_status broken;
};

static void feed(struct taken *t, const uint8_t *data, size_t n, size_t step)
{
    struct websocket w = {0};
    *t = (struct taken){.data = malloc(n + 1)};
    MUST(t->data);
    for (size_t at = 0; at < n; at += step) {
        size_t left = n - at < step ? n - at : step, before = left + 1;
        uint8_t *piece = malloc(left), *p = piece;   /* so that a look beyond it is seen */
        MUST(piece);
        memcpy(piece, data + at, left);
        for (struct websocket_event ev; (ev = websocket_take(&w, &p, &left)).what != WS_MORE;) {
            MUST(!t->broken && left < before && (ev.what == WS_BROKEN || left <= n));
            before = left + 1;
            if (ev.what == WS_DATA) {
                MUST(ev.n && ev.data >= piece && ev.data + ev.n <= p);
                memcpy(t->data + t->n, ev.data, ev.n);
                t->n += ev.n;
            } else if (ev.what == WS_CONTROL) {
                MUST(ev.n <= WEBSOCKET_CONTROL_MAX && ev.opcode >= WS_CLOSE && ev.opcode <= WS_PONG);
                t->controls++;
                for (size_t i = 0; i < ev.n; i++)
                    t->control_bytes = t->control_bytes * 31 + ev.data[i];
            } else {
                t->broken = ev.status;
            }
        }
        MUST(!left || t->broken);
        free(piece);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    struct taken whole, parts;
    feed(&whole, data + 1, n - 1, n);
    feed(&parts, data + 1, n - 1, data[0] % 32 + 1U);
    MUST(whole.n == parts.n && !memcmp(whole.data, parts.data, whole.n) && whole.controls == parts.controls &&
         whole.control_bytes == parts.control_bytes && whole.broken == parts.broken);
    free(whole.data);
    free(parts.data);
    return 0;
}

/* WebSocket (RFC 6455), the server's side: the handshake's answer, and frames. No extensions. Threads: a struct websocket belongs to one at a time. */
#ifndef VMR_API_WEBSOCKET_H
#define VMR_API_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define WEBSOCKET_PAYLOAD_MAX (64 << 10)             /* bytes of a client's frame */
#define WEBSOCKET_HEAD_MAX 10                        /* bytes before what we send */
#define WEBSOCKET_CONTROL_MAX 125                    /* bytes of a ping, pong or close */

enum websocket_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
/* Status codes of a close frame. */
enum websocket_status { WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_PROTOCOL_ERROR = 1002, WS_UNSUPPORTED_DATA = 1003, WS_TOO_BIG = 1009, WS_SIGNED_OUT = 4001 };

/* What Sec-WebSocket-Accept answers to a key; ERR_BAD_REQUEST unless it is 16 bytes in base64. Caller frees *ret. */
int websocket_accept(const char *key, char **ret, struct err *e);

struct websocket {                                   /* zeroed at the start */
    uint8_t head[14];
    size_t have, need;                               /* of head */
    enum websocket_opcode opcode;
    bool fin, in_message;
    uint64_t left;                                   /* of the payload */
    unsigned at;                                     /* of the mask */
    uint8_t control[WEBSOCKET_CONTROL_MAX];
    size_t control_len;
};

/* What a part of the stream was. */
struct websocket_event {
    enum { WS_MORE, WS_DATA, WS_CONTROL, WS_BROKEN } what;
    const uint8_t *data;                             /* WS_DATA: a part of a binary message, in the caller's buffer. WS_CONTROL: all of it */
    size_t n;
    enum websocket_opcode opcode;                    /* WS_CONTROL */
    enum websocket_status status;                    /* WS_BROKEN: why, for the close frame */
};
/* Takes from *p..*n what makes the next event, moving both on; WS_MORE when nothing is left. Unmasks in place. After WS_BROKEN nothing more is taken. */
struct websocket_event websocket_take(struct websocket *w, uint8_t **p, size_t *n);
/* The head of a whole, unmasked frame of n bytes; returns its length. */
size_t websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX], enum websocket_opcode opcode, size_t n);

#endif

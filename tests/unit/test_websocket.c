/* WebSocket frames: what a client sends, cut at every place, is taken as it was meant; what it must not send ends with the right code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "api/websocket.h"

static void test_accept(void **state)
{
    (void)state;
    struct err e;
    char *answer = NULL;
    assert_int_equal(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", &answer, &e), 0);       /* RFC 6455, section 1.3 */
    assert_string_equal(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    free(answer);
    static const char *const bad[] = {NULL, "", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==\n", "AAAA", "dGhlIHNhbXBsZSBub25jZTEyMzQ1Njc4OTA="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(websocket_accept(bad[i], &answer, &e), -ERR_BAD_REQUEST);
}

/* A client's frame, masked. Returns its length. */
static size_t frame(uint8_t *out, uint8_t first, const void *data, size_t n)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = websocket_head(out, (enum websocket_opcode)(first & 0x0F), n);
    out[0] = first;
    out[1] |= 0x80;
    memcpy(out + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < n; i++)
        out[at++] = (uint8_t)(((const uint8_t *)data)[i] ^ mask[i & 3]);
    return at;
}

struct taken { uint8_t data[200000]; size_t n; char controls[64]; uint8_t control[128]; size_t control_n; int broken; };

/* Feeds a copy of the stream in pieces of `step` bytes. */
static void feed(struct taken *t, const uint8_t *stream, size_t n, size_t step)
{
    struct websocket w = {0};
    memset(t, 0, sizeof *t);
    uint8_t *copy = malloc(step);
    assert_non_null(copy);
    for (size_t at = 0; at < n; at += step) {
        size_t left = n - at < step ? n - at : step;
        uint8_t *p = copy;
        memcpy(copy, stream + at, left);
        for (;;) {
            struct websocket_event ev = websocket_take(&w, &p, &left);
            if (ev.what == WS_MORE)
                break;
            if (ev.what == WS_DATA) {
                memcpy(t->data + t->n, ev.data, ev.n);
                t->n += ev.n;
            } else if (ev.what == WS_CONTROL) {
                t->controls[strlen(t->controls)] = ev.opcode == WS_PING ? 'i' : ev.opcode == WS_PONG ? 'o' : 'c';
                memcpy(t->control, ev.data, ev.n);
                t->control_n = ev.n;
            } else {
                t->broken = ev.status;
            }
        }
        assert_true(left == 0 || t->broken);
    }
    free(copy);
}

static void test_frames(void **state)
{
    (void)state;
    static uint8_t stream[200000], payload[WEBSOCKET_PAYLOAD_MAX];
    static struct taken t;
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 7 + i / 256);
    size_t n = frame(stream, 0x82, payload, 125);
    n += frame(stream + n, 0x02, payload + 125, 1);                      /* a message in parts, with a ping and an empty part in it */
    n += frame(stream + n, 0x89, "hello", 5);
    n += frame(stream + n, 0x00, NULL, 0);
    n += frame(stream + n, 0x80, payload + 126, 65535 - 126);
    n += frame(stream + n, 0x82, NULL, 0);
    n += frame(stream + n, 0x8A, payload, 125);
    n += frame(stream + n, 0x82, payload, 65536);
    n += frame(stream + n, 0x88, "\x03\xe8" "bye", 5);
    static const size_t steps[] = {1, 2, 3, 7, 64, 4096, 65536, sizeof stream};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        feed(&t, stream, n, steps[i]);
        assert_int_equal(t.broken, 0);
        assert_int_equal(t.n, 65535 + 65536);
        assert_memory_equal(t.data, payload, 65535);
        assert_memory_equal(t.data + 65535, payload, 65536);
        assert_string_equal(t.controls, "ioc");
        assert_int_equal(t.control_n, 5);
        assert_memory_equal(t.control, "\x03\xe8" "bye", 5);
    }
}

static void test_broken(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t n; int status; } rows[] = {
        {"\x82\x00", 2, WS_PROTOCOL_ERROR},                              /* no mask */
        {"\xC2\x80\0\0\0\0", 6, WS_PROTOCOL_ERROR},                      /* an extension nobody agreed upon */
        {"\x81\x80\0\0\0\0", 6, WS_UNSUPPORTED_DATA},                    /* text */
        {"\x83\x80\0\0\0\0", 6, WS_PROTOCOL_ERROR},                      /* opcodes that there are not */
        {"\x8B\x80\0\0\0\0", 6, WS_PROTOCOL_ERROR},
        {"\x80\x80\0\0\0\0", 6, WS_PROTOCOL_ERROR},                      /* nothing to continue */
        {"\x02\x80\0\0\0\0\x82\x80\0\0\0\0", 12, WS_PROTOCOL_ERROR},     /* a message within another */
        {"\x09\x80\0\0\0\0", 6, WS_PROTOCOL_ERROR},                      /* a ping in parts, and a long one */
        {"\x89\xFE\0\x7E\0\0\0\0", 8, WS_PROTOCOL_ERROR},
        {"\x82\xFE\0\x7D\0\0\0\0", 8, WS_PROTOCOL_ERROR},                /* lengths in more bytes than they need */
        {"\x82\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0", 14, WS_PROTOCOL_ERROR},
        {"\x82\xFF\0\0\0\0\0\1\0\1\0\0\0\0", 14, WS_TOO_BIG},
        {"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", 14, WS_TOO_BIG},
    };
    static struct taken t;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step <= 14; step++) {
            feed(&t, (const uint8_t *)rows[i].bytes, rows[i].n, step);
            assert_int_equal(t.broken, rows[i].status);
            assert_int_equal(t.n, 0);
        }
}

static void test_heads(void **state)
{
    (void)state;
    static const struct { size_t n, len; const char *head; } rows[] = {
        {0, 2, "\x82\x00"}, {125, 2, "\x82\x7D"}, {126, 4, "\x82\x7E\0\x7E"}, {65535, 4, "\x82\x7E\xFF\xFF"},
        {65536, 10, "\x82\x7F\0\0\0\0\0\1\0\0"},
    };
    uint8_t head[WEBSOCKET_HEAD_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(websocket_head(head, WS_BINARY, rows[i].n), rows[i].len);
        assert_memory_equal(head, rows[i].head, rows[i].len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accept), cmocka_unit_test(test_frames), cmocka_unit_test(test_broken), cmocka_unit_test(test_heads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

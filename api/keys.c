/* Keystrokes. The whole sequence is checked before the first key goes down; then it is played on the request's own thread at
 * the asked pace, and given up when the client leaves or the daemon stops. Sequences for one VM wait for each other. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/json.h"

#define STEPS_MAX 1000
#define REPEAT_MAX 1000
#define INTERVAL_MAX_MS 10000
#define WAIT_MAX_MS 60000
#define TOTAL_MAX_MS (10 * 60 * 1000)
#define PRESS_INTERVAL_MS 100
#define TEXT_INTERVAL_MS 30       /* what a Linux console takes without losing a key */
#define TEXT_MAX 4096

struct step {
    struct hv_chord chord;                           /* press; the codes are the JSON's */
    const char *text;                                /* or a text: UTF-8, every character of which the layout has */
    size_t n_keys;                                   /* chords that it takes */
    enum hv_layout layout;
    unsigned repeat, interval_ms, wait_ms;
};

static void parse_press(struct json_in *in, struct step *s)
{
    json_t *press = json_in_array(in, "press", 1, ARRAY_LEN(s->chord.codes)), *j;
    size_t i;
    json_array_foreach(press, i, j) {
        const char *code = json_string_value(j);
        struct json_in at = *in;                     /* press/0 is two parts of a pointer, not one name */
        snprintf(at.pointer, sizeof at.pointer, "%.90s/press/%zu", in->pointer, i);
        if (!code)
            json_in_fail(&at, NULL, ERR_TYPE, "expected the code of a key");
        else if (!hv_key_known(code))
            json_in_fail(&at, NULL, ERR_VALUE, "\"%.40s\" is not the W3C code of a key on a PC keyboard", code);
        for (size_t k = 0; k < i && !in->e->code; k++)
            if (!strcmp(s->chord.codes[k], code))
                json_in_fail(&at, NULL, ERR_VALUE, "the key is there twice");
        if (in->e->code)
            return;
        s->chord.codes[s->chord.n++] = code;
    }
    s->repeat = (unsigned)json_in_int(in, "repeat", 1, 1, REPEAT_MAX);
    s->interval_ms = (unsigned)json_in_int(in, "interval_ms", PRESS_INTERVAL_MS, 0, INTERVAL_MAX_MS);
}

/* The next character of well-formed UTF-8 (jansson sees to that), moving *p on. */
static uint32_t next_character(const char **p)
{
    const uint8_t *s = (const uint8_t *)*p;
    unsigned more = *s < 0x80 ? 0 : *s < 0xE0 ? 1 : *s < 0xF0 ? 2 : 3;
    uint32_t c = more ? *s & (0x3FU >> more) : *s;
    for (unsigned i = 1; i <= more && s[i]; i++)
        c = c << 6 | (s[i] & 0x3FU);
    *p += 1 + more;
    return c;
}

static void parse_text(struct json_in *in, struct step *s)
{
    static const char *const words[] = {"us", "jp", "de", "fr", "uk", NULL};             /* as enum hv_layout */

    json_t *j = json_object_get(in->object, "text");
    in->seen[in->n_seen++] = "text";                 /* not json_in_string: a new line is a key like another */
    s->text = json_string_value(j);
    s->layout = (enum hv_layout)json_in_enum(in, "layout", words, HV_LAYOUT_US);
    if (!s->text)
        json_in_fail(in, "text", ERR_TYPE, "expected a string");
    struct hv_chord chords[HV_LAYOUT_CHORDS];
    size_t i = 0;
    const char *end = s->text ? s->text + json_string_length(j) : NULL;
    for (const char *p = s->text; p < end && i <= TEXT_MAX && !in->e->code; i++) {
        size_t n = hv_layout_keys(s->layout, next_character(&p), chords);
        s->n_keys += n;
        if (!n)
            json_in_fail(in, "text", ERR_VALUE, "the character at position %zu is not on a %s keyboard", i, hv_layout_name(s->layout));
    }
    if (i < 1 || i > TEXT_MAX)
        json_in_fail(in, "text", ERR_VALUE, "from 1 to %d characters are allowed", TEXT_MAX);
    s->interval_ms = (unsigned)json_in_int(in, "interval_ms", TEXT_INTERVAL_MS, 0, INTERVAL_MAX_MS);
}

/* Time that the step takes by itself. */
static uint64_t parse_step(struct json_in *in, struct step *s)
{
    int kinds = json_in_has(in, "press") + json_in_has(in, "text") + json_in_has(in, "wait_ms");
    if (in->object && kinds != 1)
        json_in_fail(in, NULL, kinds ? ERR_VALUE : ERR_MISSING, "a step has exactly one of press, text and wait_ms");
    else if (json_in_has(in, "press"))
        parse_press(in, s);
    else if (json_in_has(in, "text"))
        parse_text(in, s);
    else
        s->wait_ms = (unsigned)json_in_int(in, "wait_ms", 0, 0, WAIT_MAX_MS);
    json_in_end(in);
    return s->wait_ms + (uint64_t)s->interval_ms * (s->text ? s->n_keys : s->repeat);
}

static int parse(json_t *body, struct step **ret, size_t *ret_n, struct err *e)
{
    struct json_in in = json_in_root(body, e);
    json_in_require(&in, "sequence");
    json_t *sequence = json_in_array(&in, "sequence", 1, STEPS_MAX);
    size_t n = json_array_size(sequence);
    AUTO_FREE struct step *steps = calloc(n + 1, sizeof *steps);
    uint64_t total_ms = 0;
    if (!steps)
        return err_oom(e);
    for (size_t i = 0; i < n && !e->code; i++) {
        struct json_in one = json_in_element(&in, "sequence", i);
        total_ms += parse_step(&one, &steps[i]);
    }
    if (total_ms > TOTAL_MAX_MS)
        json_in_fail(&in, "sequence", ERR_VALUE, "would take %llu s, at most %d are allowed", (unsigned long long)total_ms / 1000,
                     TOTAL_MAX_MS / 1000);
    int r = json_in_end(&in);
    if (r < 0)
        return r;
    *ret = STEAL(steps);
    *ret_n = n;
    return 0;
}

static int give_up(struct request *rq, struct err *e)
{
    return atomic_load(&rq->api->stopping) ? err_set(e, ERR_STOPPING, "the daemon stopped before all keys were sent")
                                           : err_set(e, ERR_CANCELLED, "the client left before all keys were sent");
}

static int press(struct request *rq, struct hv *hv, const struct hv_chord *chord, unsigned interval_ms, uint64_t *sent, struct err *e)
{
    if (request_abandoned(rq))
        return give_up(rq, e);
    int r = hv_keys(hv, rq->id, chord, e);
    if (r < 0)
        return r;
    ++*sent;
    return request_sleep(rq, interval_ms) ? 0 : give_up(rq, e);
}

static int play(struct request *rq, struct hv *hv, const struct step *s, uint64_t *sent, struct err *e)
{
    int r = 0;
    for (const char *p = s->text; p && *p && r == 0;) {
        struct hv_chord chords[HV_LAYOUT_CHORDS];
        size_t n = hv_layout_keys(s->layout, next_character(&p), chords);
        for (size_t i = 0; i < n && r == 0; i++)
            r = press(rq, hv, &chords[i], s->interval_ms, sent, e);
    }
    for (unsigned i = 0; i < s->repeat && r == 0; i++)
        r = press(rq, hv, &s->chord, s->interval_ms, sent, e);
    if (r == 0 && !request_sleep(rq, s->wait_ms))
        r = give_up(rq, e);
    return r;
}

int keys_post(struct request *rq, struct err *e)
{
    struct hv *hv = NULL;
    AUTO_FREE struct step *steps = NULL;
    size_t n = 0;
    uint64_t sent = 0;
    int r = parse(rq->json, &steps, &n, e);
    if (r == 0)
        r = request_hv(rq, &hv, e);
    if (r == 0 && !turn_wait(rq))
        r = give_up(rq, e);
    for (size_t i = 0; i < n && r == 0; i++)
        r = play(rq, hv, &steps[i], &sent, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_u64(&w, "keys_sent", sent);
    jsonw_close(&w, '}');
    return reply_json(rq, 200, &w, e);
}

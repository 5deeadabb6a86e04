/* The body of POST /v1/vms/{id}/keys: what is accepted can be typed on a PC keyboard, and ends. */
#include "api/keys.c"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_FREE char *text = fuzz_string(data, n);
    struct err e = {0};
    json_t *body = NULL;
    int r = json_parse(text, n, &body, &e);
    must_be_result(r, &e);
    if (r < 0)
        return 0;
    AUTO_FREE struct step *steps = NULL;
    size_t count = 0;
    r = parse(body, &steps, &count, &e);
    must_be_result(r, &e);
    MUST(r < 0 || (count >= 1 && count <= STEPS_MAX));
    uint64_t total_ms = 0;
    for (size_t i = 0; i < count; i++) {
        const struct step *s = &steps[i];
        total_ms += s->wait_ms + (uint64_t)s->interval_ms * (s->text ? s->n_keys : s->repeat);
        MUST(s->chord.n <= ARRAY_LEN(s->chord.codes));
        for (size_t k = 0; k < s->chord.n; k++)
            MUST(hv_key_known(s->chord.codes[k]));
        struct hv_chord chords[HV_LAYOUT_CHORDS];
        size_t keys = 0;
        for (const char *p = s->text; p && *p;) {
            size_t c = hv_layout_keys(s->layout, next_character(&p), chords);
            MUST(c >= 1 && c <= HV_LAYOUT_CHORDS && chords[c - 1].n >= 1);
            keys += c;
        }
        MUST(keys == s->n_keys);
    }
    MUST(total_ms <= TOTAL_MAX_MS);
    json_decref(body);
    return 0;
}

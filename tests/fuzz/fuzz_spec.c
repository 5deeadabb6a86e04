/* The body of POST /v1/jobs. What was accepted must be accepted again in the form that is kept and shown. */
#include "common/json.h"
#include "db/spec.h"
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
    struct spec *s = NULL;
    r = spec_parse(body, &s, &e);
    must_be_result(r, &e);
    if (r == 0) {
        MUST(s->name && *s->name && s->n_disks <= SPEC_DISKS_MAX);
        json_t *shown = spec_json(s);
        MUST(shown);
        for (size_t i = 0; i < s->n_disks; i++) {
            const char *url = json_string_value(json_object_get(json_object_get(json_array_get(json_object_get(shown, "disks"), i), "source"), "url"));
            MUST((url != NULL) == (s->disks[i].type == SOURCE_BLOB));
            MUST(!url || !strpbrk(url, "?#"));
        }
        struct spec *again = NULL;
        r = spec_parse(shown, &again, &e);
        MUST(r == 0);
        spec_free(again);
        json_decref(shown);
        spec_free(s);
    } else {
        MUST(strlen(e.field) < sizeof e.field && str_is_utf8(e.field, strlen(e.field)));
        json_t *problem = json_from_err(&e);
        MUST(problem);
        json_decref(problem);
    }
    json_decref(body);
    return 0;
}

/* A source's URL: what is accepted has a redacted form without secrets, which is accepted too. */
#include "common/url.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_FREE char *url = fuzz_string(data, n);
    struct err e = {0};
    int r = url_check(url, false, &e);
    must_be_result(r, &e);
    struct err e2 = {0};
    int r2 = url_check(url, true, &e2);
    MUST(r2 == 0 || r < 0);                          /* what passes the strict check passes the other */
    AUTO_FREE char *shown = url_redact(url);
    if (shown)
        MUST(!strpbrk(shown, "?#"));
    if (r2 == 0) {
        MUST(shown && strlen(url) <= 4096 && !strchr(url, ' '));
        struct err e3 = {0};
        MUST(url_check(shown, true, &e3) == 0);
        AUTO_FREE char *twice = url_redact(shown);
        MUST(twice && !strcmp(shown, twice));
    }
    return 0;
}

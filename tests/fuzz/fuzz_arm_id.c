/* Resource ids: the input is one, or two parted by a newline. */
#include "common/arm_id.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *nl = memchr(data, '\n', n);
    size_t len = nl ? (size_t)(nl - data) : n;
    AUTO_FREE char *a = fuzz_string(data, len), *b = fuzz_string(nl ? nl + 1 : data, nl ? n - len - 1 : n);
    struct err e = {0};
    struct arm_id id, again;
    char path[ARM_ID_MAX], key[ARM_ID_MAX], other[ARM_ID_MAX];
    int r = arm_id_parse(a, NULL, &id, &e);
    must_be_result(r, &e);
    bool equal = arm_id_equal(a, b);
    MUST(equal == arm_id_equal(b, a));
    if (r < 0) {
        MUST(!equal);
        return 0;
    }
    arm_id_path(&id, path);
    arm_id_key(&id, key);
    MUST(*path == '/' && strlen(path) < sizeof path);
    for (const char *p = path; *p; p++)
        MUST(*p > ' ' && *p <= '~' && *p != '?' && *p != '#');
    /* a path without percent signs is an id again, and the same one */
    if (!strchr(path, '%')) {
        MUST(arm_id_parse(path, NULL, &again, &e) == 0 && !memcmp(&id, &again, sizeof id));
        MUST(arm_id_equal(a, path) && arm_id_equal(path, key));
    }
    if (equal) {
        MUST(arm_id_parse(b, NULL, &again, &e) == 0);
        arm_id_key(&again, other);
        MUST(!strcmp(key, other));
    }
    return 0;
}

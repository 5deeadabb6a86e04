/* The answer to List Blobs. Times that are found go into URLs of requests that delete. */
#include "storage/azure/page_blob.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err e = {0};
    char found[3][PAGE_BLOB_TIME_MAX], more[1024];
    size_t n_found = 0;
    AUTO_FREE char *text = fuzz_string(data, n);
    int r = page_blob_parse_list(text, n, "os.vhd", "j", found, 3, &n_found, more, &e);
    must_be_result(r, &e);
    MUST(memchr(more, 0, sizeof more));
    MUST(n_found <= 3);
    for (size_t i = 0; r == 0 && i < n_found; i++) {
        size_t len = strlen(found[i]);
        MUST(len > 10 && len < PAGE_BLOB_TIME_MAX && strspn(found[i], "0123456789-:.TZ") == len);
    }
    return 0;
}

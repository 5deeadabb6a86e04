/* The answer to a ranged GET: status line and headers, an empty line, the start of the body (the XML of an error). */
#include "storage/azure/blob_internal.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bool told = fuzz_tells_secret(data, n);        /* a server that repeats the secret where codes and tags go */
    struct http_headers h;
    http_headers_reset(&h);
    while (n) {
        const uint8_t *nl = memchr(data, '\n', n);
        size_t len = nl ? (size_t)(nl - data) + 1 : n;
        AUTO_FREE char *line = fuzz_string(data, len);
        if (http_collect_header(line, 1, len, &h) != len)
            return 0;
        data += len;
        n -= len;
        if (len <= 2)
            break;
    }
    MUST(strlen(h.etag) < sizeof h.etag && strlen(h.content_range) < sizeof h.content_range && strlen(h.location) < sizeof h.location);
    MUST(h.retry_after_ms <= 600000);
    AUTO_FREE char *body = fuzz_string(data, n < BLOB_ERROR_BODY_MAX ? n : BLOB_ERROR_BODY_MAX);
    struct err e = {0};
    AUTO(blob_close_ptr) struct blob *b = NULL;
    struct blob_access access = {.url = "https://account.blob.core.windows.net/c/disk.vhd?se=2020-01-01T00%3A00%3A00Z&sig=" FUZZ_SECRET};
    MUST(blob_open(&access, &b, &e) == 0);
    struct blob_info info = {.length = 1048576, .etag = "\"0x8D\"", .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT", .page_blob = true, .azure = true};
    int r = blob_check_get(b, &info, 4096, 8192, &h, n ? body : NULL, &e);
    must_be_result(r, &e);
    MUST(r < 0 || h.status == 206);
    if (r < 0) {
        MUST(told || !strstr(e.msg, FUZZ_SECRET));
        (void)blob_error_is_transient(&e);
    }
    return 0;
}

/* blob_page_ranges with a server made of the input: 8 bytes of blob length, then one answer after the other, parted by NUL: the
 * status line and headers, an empty line, the body. When they are used up nobody answers any more. */
#include "storage/azure/blob_internal.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t *answers;
static size_t answers_left;

/* Stands in for the network. */
#define blob_perform answer_from_input
#define blob_backoff(...) true                       /* no waiting */
static CURLcode answer_from_input(CURL *h, struct curl_slist *lines, struct http_headers *headers, const struct blob_body *body, char *detail);

#include "storage/azure/page_ranges.c"

static CURLcode answer_from_input(CURL *h, struct curl_slist *lines, struct http_headers *headers, const struct blob_body *body, char *detail)
{
    (void)h, (void)detail;
    http_headers_reset(headers);
    blob_headers_free(lines);
    if (!answers_left)
        return CURLE_COULDNT_CONNECT;
    const uint8_t *end = memchr(answers, 0, answers_left);
    size_t n = end ? (size_t)(end - answers) : answers_left;
    const uint8_t *p = answers;
    answers += end ? n + 1 : n;
    answers_left -= end ? n + 1 : n;
    while (n) {
        const uint8_t *nl = memchr(p, '\n', n);
        size_t len = nl ? (size_t)(nl - p) + 1 : n;
        AUTO_FREE char *line = fuzz_string(p, len);
        if (http_collect_header(line, 1, len, headers) != len)
            return CURLE_WRITE_ERROR;
        p += len;
        n -= len;
        if (len <= 2)
            break;
    }
    for (size_t half = n / 2; n; half = n) {         /* in two parts, as a network may cut it */
        if (!half)
            half = n;
        AUTO_FREE char *part = fuzz_string(p, half);
        if (body->take(part, 1, half, body->arg) != half)
            return CURLE_WRITE_ERROR;
        p += half;
        n -= half;
    }
    return CURLE_OK;
}

static void quiet(const struct log_entry *entry)
{
    (void)entry;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err e = {0};
    log_set_sink(quiet);
    if (n < 8)
        return 0;
    struct blob_info info = {.page_blob = true, .azure = true, .etag = "\"0x8D\""};
    for (int i = 0; i < 8; i++)
        info.length = info.length << 8 | data[i];
    info.length %= (UINT64_C(8) << 40) + 1;          /* the service's limit */
    answers = data + 8;
    answers_left = n - 8;
    AUTO(blob_close_ptr) struct blob *b = NULL;
    struct blob_access access = {.url = "https://account.blob.core.windows.net/c/disk.vhd?sv=2020-10-02&sig=" FUZZ_SECRET};
    MUST(blob_open(&access, &b, &e) == 0);
    struct blob_ranges r;
    int rc = blob_page_ranges(b, &info, NULL, NULL, &r, &e);
    must_be_result(rc, &e);
    if (rc < 0) {
        MUST(!strstr(e.msg, FUZZ_SECRET) || fuzz_tells_secret(data, n));
        return 0;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < r.n; i++) {
        MUST(r.list[i].start < r.list[i].end && r.list[i].end <= info.length);
        MUST(!i || r.list[i - 1].end < r.list[i].start);
        sum += r.list[i].end - r.list[i].start;
    }
    MUST(sum == r.bytes);
    MUST(r.complete || sum == info.length);
    blob_ranges_free(&r);
    return 0;
}

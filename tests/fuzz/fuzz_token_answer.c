/* What a sign-in service answers: status line and headers, an empty line, the body. It is taken for a token, a refusal, a device code. */
#include "storage/azure/token_internal.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bool told = fuzz_tells_secret(data, n);
    AUTO(rest_answer_clear) struct rest_answer a = {.max = 1 << 16};
    rest_answer_clear(&a);
    while (n) {
        const uint8_t *nl = memchr(data, '\n', n);
        size_t len = nl ? (size_t)(nl - data) + 1 : n;
        AUTO_FREE char *line = fuzz_string(data, len);
        if (rest_collect_header(line, 1, len, &a) != len)
            return 0;
        data += len;
        n -= len;
        if (len <= 2)
            break;
    }
    a.body.max = 1 << 16;
    strbuf_add(&a.body, data, n);
    const struct token_identity id = {.method = TOKEN_CLIENT_SECRET, .name = "prod", .tenant_id = "t", .client_id = "c", .secret = FUZZ_SECRET};
    struct tokens_config cfg = {0};
    const struct token_ask ask = {.cfg = &cfg, .id = &id, .resource = "https://arm.example/", .scope = "https://arm.example/.default"};
    struct err e = {0};
    struct token_got got = {0};
    int r = token_parse(a.body.data ? a.body.data : "", a.body.len, "the service", "c", 1700000000, &got, &e);
    must_be_result(r, &e);
    if (r == 0) {
        MUST(got.token && *got.token && strlen(got.token) <= TOKEN_BYTES_MAX && got.life_s >= 1 && got.life_s <= TOKEN_LIFE_MAX_S);
        for (const char *p = got.token; *p; p++)
            MUST(*p > ' ' && *p <= '~');
    }
    token_got_clear(&got);
    char word[64];
    r = token_refusal(&ask, "entra", &a, word, &e);
    must_be_result(r, &e);
    MUST(r < 0 && strlen(word) < sizeof word);
    MUST(!strstr(e.msg, FUZZ_SECRET) && !strstr(e.upstream.code, FUZZ_SECRET));
    MUST(told || !strstr(e.upstream.request_id, FUZZ_SECRET));         /* which is also taken from a header */
    struct token_pending p = {0};
    r = token_parse_code(&a, &p, &e);
    must_be_result(r, &e);
    if (r == 0) {
        MUST(p.device_code && p.user_code && p.verification_url && p.message && p.interval_ms >= 1000);
        MUST(str_is_utf8(p.message, strlen(p.message)) && str_is_utf8(p.user_code, strlen(p.user_code)));
    }
    token_pending_clear(&p);
    return 0;
}

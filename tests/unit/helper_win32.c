#include "tests/unit/helper_win32.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <string.h>

#include "common/os.h"

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    strbuf_add(arg, p, size * n);
    return size * n;
}

char *helper_call(const char *what, const char *const *words)
{
    AUTO_FREE char *base = os_getenv("VMR_TEST_HELPER"), *url = NULL;
    AUTO_STRBUF struct strbuf body = {0}, answer = {0};
    if (!base)
        fail_msg("VMR_TEST_HELPER is not set: run tests/windows/unit.sh");
    for (; *words; words++)
        strbuf_addf(&body, "%s%c", *words, 0);       /* as C strings, one behind the other */
    url = str_printf("%s/%s", base, what);
    CURL *c = curl_easy_init();
    assert_true(c && url && !body.failed);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)body.len);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.data);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
    long status = 0;
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    if (code || status != 200)
        fail_msg("the helper could not do %s: %s, status %ld: %s", what, curl_easy_strerror(code), status, answer.data ? answer.data : "");
    char *text = strbuf_steal(&answer);
    assert_non_null(text);
    return text;
}

/* The JSON writer: what jansson reads back is what was written, whatever the bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "api/jsonw.h"

static void test_values(void **state)
{
    (void)state;
    AUTO_JSONW struct jsonw w = {0};
    json_t *inner = json_pack("{s:[i,n,s]}", "a", 1, "x");
    jsonw_open(&w, NULL, '{');
    jsonw_int(&w, "min", INT64_MIN);
    jsonw_int(&w, "zero", 0);
    jsonw_int(&w, "minus", -705);
    jsonw_u64(&w, "max", UINT64_MAX);
    jsonw_bool(&w, "yes", true);
    jsonw_str(&w, "none", NULL);
    jsonw_time(&w, "never", 0);
    jsonw_time(&w, "then", 1700000000123);
    jsonw_json(&w, "inner", inner);
    jsonw_open(&w, "list", '[');
    jsonw_open(&w, NULL, '[');
    jsonw_close(&w, ']');
    jsonw_str(&w, NULL, "");
    jsonw_bool(&w, NULL, false);
    jsonw_close(&w, ']');
    jsonw_close(&w, '}');
    json_decref(inner);
    assert_string_equal(w.b.data,
        "{\"min\":-9223372036854775808,\"zero\":0,\"minus\":-705,\"max\":9223372036854775807,\"yes\":true,\"none\":null,\"never\":null,"
        "\"then\":\"2023-11-14T22:13:20.123Z\",\"inner\":{\"a\":[1,null,\"x\"]},\"list\":[[],\"\",false]}");
}

/* Well-formed text comes back as it was; of other bytes each becomes U+FFFD. */
static void test_text(void **state)
{
    (void)state;
    static const struct { const char *in; size_t n; const char *out; } rows[] = {
#define ROW(in, out) {in, sizeof in - 1, out}
        ROW("plain", "plain"), ROW("\"\\/\b\f\n\r\t\x01\x1F\x7F", "\"\\/\b\f\n\r\t\x01\x1F\x7F"),
        ROW("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"),
        ROW("a\xFF" "b", "a\xEF\xBF\xBD" "b"),
        ROW("\xC3", "\xEF\xBF\xBD"), ROW("\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"),
        ROW("\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"), ROW("\xE2\x82" "x", "\xEF\xBF\xBD\xEF\xBF\xBD" "x"),
        ROW("\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"), ROW("", ""),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_JSONW struct jsonw w = {0};
        jsonw_open(&w, NULL, '[');
        jsonw_strn(&w, NULL, rows[i].in, rows[i].n);
        jsonw_close(&w, ']');
        assert_null(strchr(w.b.data, '\n'));         /* a message of a stream is one line */
        json_t *j = json_loadb(w.b.data, w.b.len, 0, NULL);
        if (!j || strcmp(json_string_value(json_array_get(j, 0)), rows[i].out))
            fail_msg("row %zu: %s", i, w.b.data);
        json_decref(j);
    }
    AUTO_JSONW struct jsonw nul = {0};
    jsonw_strn(&nul, NULL, "a\0b", 3);
    assert_string_equal(nul.b.data, "\"a\\u0000b\"");
}

static void test_limit(void **state)
{
    (void)state;
    AUTO_JSONW struct jsonw w = {.b.max = 100};
    jsonw_open(&w, NULL, '[');
    for (int i = 0; i < 100; i++)
        jsonw_str(&w, NULL, "0123456789");
    assert_true(w.b.failed);
    assert_true(w.b.len <= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_text), cmocka_unit_test(test_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "hyperv/hypervisor.h"
#include "hyperv/keys.h"

static void known_codes(void **state)
{
    (void)state;
    static const char *const yes[] = {"KeyA", "KeyZ", "Digit0", "F1", "F12", "F24", "Numpad7", "NumpadEnter", "ControlLeft", "MetaRight",
                                      "ArrowUp", "IntlBackslash", "IntlRo", "IntlYen", "Lang1", "Convert", "PrintScreen", "Delete", "WakeUp"};
    static const char *const no[] = {"", "keya", "Key", "KeyAA", "F0", "F25", "a", "Ctrl", "AudioVolumeUp", "Unidentified"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(hv_key_known(yes[i]));
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(hv_key_known(no[i]));
    assert_false(hv_key_known(NULL));
    assert_string_equal(hv_key_qcode("Enter"), "ret");
    assert_string_equal(hv_key_qcode("AltRight"), "alt_r");
}

/* Every ASCII character is typed by one key, with Shift for those that the US layout has there, and no two characters alike. */
static void characters(void **state)
{
    (void)state;
    struct hv_chord seen[128];
    size_t n = 0;
    for (int c = 0x20; c < 0x7F; c++) {
        struct hv_chord k;
        assert_true(hv_key_for_char((char)c, &k));
        assert_true(k.n == 1 || (k.n == 2 && !strcmp(k.codes[0], "ShiftLeft")));
        assert_true(hv_key_known(k.codes[k.n - 1]));
        for (size_t i = 0; i < n; i++)
            assert_false(seen[i].n == k.n && !strcmp(seen[i].codes[k.n - 1], k.codes[k.n - 1]));
        seen[n++] = k;
    }
    struct hv_chord k;
    assert_true(hv_key_for_char('~', &k));
    assert_int_equal(k.n, 2);
    assert_string_equal(k.codes[1], "Backquote");
    assert_true(hv_key_for_char('\n', &k));
    assert_string_equal(k.codes[0], "Enter");
    assert_true(hv_key_for_char('\t', &k));
    assert_string_equal(k.codes[0], "Tab");
    assert_true(hv_key_for_char('Q', &k));
    assert_string_equal(k.codes[1], "KeyQ");
    assert_false(hv_key_for_char(0, &k));
    assert_false(hv_key_for_char(1, &k));
    assert_false(hv_key_for_char((char)0xC3, &k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_codes), cmocka_unit_test(characters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

/* Set 1, as a PC keyboard sends it: no two keys alike, and the release is the press with the high bit. */
static void scancodes(void **state)
{
    (void)state;
    static const struct { const char *code; uint8_t down[HV_SCANCODES_MAX]; size_t n; } known[] = {
        {"Escape", {0x01}, 1}, {"Digit1", {0x02}, 1}, {"Digit0", {0x0B}, 1}, {"KeyQ", {0x10}, 1}, {"KeyA", {0x1E}, 1}, {"KeyZ", {0x2C}, 1},
        {"Enter", {0x1C}, 1}, {"NumpadEnter", {0xE0, 0x1C}, 2}, {"ControlLeft", {0x1D}, 1}, {"ControlRight", {0xE0, 0x1D}, 2}, {"AltLeft", {0x38}, 1},
        {"AltRight", {0xE0, 0x38}, 2}, {"Delete", {0xE0, 0x53}, 2}, {"NumpadDecimal", {0x53}, 1}, {"F1", {0x3B}, 1}, {"F8", {0x42}, 1}, {"F10", {0x44}, 1},
        {"F11", {0x57}, 1}, {"F12", {0x58}, 1}, {"ArrowUp", {0xE0, 0x48}, 2}, {"Numpad8", {0x48}, 1}, {"MetaLeft", {0xE0, 0x5B}, 2},
        {"PrintScreen", {0xE0, 0x37}, 2}, {"NumLock", {0x45}, 1}, {"Pause", {0xE1, 0x1D, 0x45}, 3}, {"Space", {0x39}, 1}, {"Slash", {0x35}, 1},
        {"NumpadDivide", {0xE0, 0x35}, 2}, {"IntlBackslash", {0x56}, 1}, {"CapsLock", {0x3A}, 1}, {"ShiftLeft", {0x2A}, 1}, {"ShiftRight", {0x36}, 1},
    };
    uint8_t b[HV_SCANCODES_MAX];
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        assert_int_equal(hv_key_scancodes(known[i].code, false, b), known[i].n);
        assert_memory_equal(b, known[i].down, known[i].n);
        assert_int_equal(hv_key_scancodes(known[i].code, true, b), known[i].n);
        for (size_t k = 0; k < known[i].n; k++)
            assert_int_equal(b[k], known[i].down[k] >= 0xE0 ? known[i].down[k] : known[i].down[k] | 0x80);
    }
    assert_int_equal(hv_key_scancodes("AudioVolumeUp", false, b), 0);
    assert_int_equal(hv_key_scancodes(NULL, false, b), 0);
    uint32_t seen[256];
    size_t n = 0;
    for (int c = 1; c < 128; c++) {                    /* every key that typing a text uses has codes of its own */
        struct hv_chord k;
        if (!hv_key_for_char((char)c, &k))
            continue;
        size_t len = hv_key_scancodes(k.codes[k.n - 1], false, b);
        assert_in_range(len, 1, 2);
        assert_true(b[len - 1] < 0x80);
        uint32_t v = len == 2 ? (uint32_t)b[0] << 8 | b[1] : b[0];
        for (size_t i = 0; i < n; i++)
            assert_true(seen[i] != (v | (uint32_t)(k.n == 2) << 16) || c == '\r' || c == 0x7F);
        seen[n++] = v | (uint32_t)(k.n == 2) << 16;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_codes), cmocka_unit_test(characters), cmocka_unit_test(scancodes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Texts on other keyboards: every ASCII character can be typed on each, and by the key that QEMU's own keymaps (made from X's) have for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "hyperv/hypervisor.h"
#include "hyperv/keys.h"

#define KEYMAPS "/usr/share/qemu/keymaps/"

/* Names of X for what is no letter or digit. */
static const struct { uint32_t c; const char *name; } names[] = {
    {' ', "space"}, {'!', "exclam"}, {'"', "quotedbl"}, {'#', "numbersign"}, {'$', "dollar"}, {'%', "percent"}, {'&', "ampersand"}, {'\'', "apostrophe"},
    {'(', "parenleft"}, {')', "parenright"}, {'*', "asterisk"}, {'+', "plus"}, {',', "comma"}, {'-', "minus"}, {'.', "period"}, {'/', "slash"}, {':', "colon"},
    {';', "semicolon"}, {'<', "less"}, {'=', "equal"}, {'>', "greater"}, {'?', "question"}, {'@', "at"}, {'[', "bracketleft"}, {'\\', "backslash"},
    {']', "bracketright"}, {'^', "asciicircum"}, {'_', "underscore"}, {'`', "grave"}, {'{', "braceleft"}, {'|', "bar"}, {'}', "braceright"}, {'~', "asciitilde"},
    {0xA3, "sterling"}, {0xA7, "section"}, {0xAC, "notsign"}, {0xB0, "degree"}, {0xB2, "twosuperior"}, {0xB3, "threesuperior"}, {0xB5, "mu"}, {0x20AC, "EuroSign"},
    {0xDF, "ssharp"}, {0xE4, "adiaeresis"}, {0xF6, "odiaeresis"}, {0xFC, "udiaeresis"}, {0xC4, "Adiaeresis"}, {0xD6, "Odiaeresis"}, {0xDC, "Udiaeresis"},
    {0xE0, "agrave"}, {0xE7, "ccedilla"}, {0xE8, "egrave"}, {0xE9, "eacute"}, {0xF9, "ugrave"}, {0xA4, "currency"},
};

/* The keymap has a line for this name and key. */
static bool listed(const char *map, const char *name, unsigned scancode, const char *with)
{
    char wanted[80], shifted[80];
    snprintf(wanted, sizeof wanted, "\n%s 0x%02x%s\n", name, scancode, with);
    snprintf(shifted, sizeof shifted, "\n%s 0x%02x%s", name, scancode, with);
    return strstr(map, wanted) || (*with && strstr(map, shifted));
}

static void by_the_keymaps(void **state)
{
    (void)state;
    static const struct { enum hv_layout layout; const char *file; size_t own; } rows[] = {
        {HV_LAYOUT_US, "en-us", 0}, {HV_LAYOUT_JP, "ja", 0}, {HV_LAYOUT_DE, "de", 13}, {HV_LAYOUT_FR, "fr", 10}, {HV_LAYOUT_UK, "en-gb", 3}};
    static char map[65536];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[64];
        snprintf(path, sizeof path, KEYMAPS "%s", rows[i].file);
        FILE *f = fopen(path, "r");
        if (!f) {
            print_message("no %s (package qemu-system-data)\n", path);
            skip();
        }
        map[fread(map, 1, sizeof map - 1, f)] = 0;
        fclose(f);
        size_t beyond_ascii = 0;
        for (uint32_t c = 1; c < 0x2100; c++) {
            struct hv_chord k[HV_LAYOUT_CHORDS];
            size_t n = hv_layout_keys(rows[i].layout, c, k);
            const char *name = NULL;
            char letter[2] = {(char)c, 0};
            for (size_t m = 0; m < ARRAY_LEN(names); m++)
                if (names[m].c == c)
                    name = names[m].name;
            if (c < 0x7F && ((c | 0x20) - 'a' < 26 || c - '0' < 10))
                name = letter;
            if (c >= ' ' && c < 0x7F)
                assert_true(n >= 1);
            if (n != 1 || !name)
                continue;
            beyond_ascii += c > 0x7F;
            uint8_t code[HV_SCANCODES_MAX];
            const char *with = k[0].n == 1 ? "" : strcmp(k[0].codes[0], "ShiftLeft") ? " altgr" : " shift";
            assert_int_equal(hv_key_scancodes(k[0].codes[k[0].n - 1], false, code), 1);
            if (!listed(map, name, code[0], with))
                fail_msg("%s: %s is not 0x%02x%s", path, name, code[0], with);
        }
        assert_true(beyond_ascii >= rows[i].own);
    }
}

static void dead_keys(void **state)
{
    (void)state;
    struct hv_chord k[HV_LAYOUT_CHORDS];
    assert_int_equal(hv_layout_keys(HV_LAYOUT_DE, '^', k), 2);
    assert_string_equal(k[0].codes[0], "Backquote");
    assert_string_equal(k[1].codes[0], "Space");
    assert_int_equal(hv_layout_keys(HV_LAYOUT_FR, 0xEA, k), 2);           /* e with a circumflex */
    assert_string_equal(k[0].codes[0], "BracketLeft");
    assert_string_equal(k[1].codes[0], "KeyE");
    assert_int_equal(hv_layout_keys(HV_LAYOUT_FR, 0xC4, k), 2);           /* A with two dots */
    assert_int_equal(k[0].n, 2);
    assert_string_equal(k[0].codes[1], "BracketLeft");
    assert_string_equal(k[1].codes[0], "ShiftLeft");
    assert_string_equal(k[1].codes[1], "KeyQ");
    static const struct { enum hv_layout layout; uint32_t c; } no[] = {
        {HV_LAYOUT_US, 0xE4}, {HV_LAYOUT_US, 0x20AC}, {HV_LAYOUT_UK, 0xE4}, {HV_LAYOUT_JP, 0x3042}, {HV_LAYOUT_DE, 0x3B1}, {HV_LAYOUT_FR, 0x1F600},
        {HV_LAYOUT_DE, 0}, {HV_LAYOUT_DE, 1}, {HV_LAYOUT_US, 0x141}};
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_int_equal(hv_layout_keys(no[i].layout, no[i].c, k), 0);
    for (int l = 0; l < HV_LAYOUTS; l++) {
        assert_int_equal(hv_layout_keys((enum hv_layout)l, '\n', k), 1);
        assert_string_equal(k[0].codes[0], "Enter");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_the_keymaps), cmocka_unit_test(dead_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

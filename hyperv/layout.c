/* How a text is typed on a keyboard of another country: the tables are Windows' layouts (US, Japanese 106/109, German, French, United Kingdom), which Linux has
 * alike. A guest is given keys, not characters, so whoever types says which layout it has.
 *
 * A dead key writes nothing by itself but a mark over the next letter; with a space behind it, the mark itself. */
#include <stdint.h>
#include <uchar.h>

#include "hyperv/hypervisor.h"

struct layout_key {
    const char *code;
    char16_t plain, shifted, altgr;                      /* 0: nothing */
};
struct layout {
    const char *name;
    const struct layout_key *keys, *dead;                /* both end with code NULL. Letters that are where a US keyboard has them are left out */
};

/* clang-format off */
#define CONTROLS {"Space", ' ', 0, 0}, {"Enter", '\n', 0, 0}, {"Enter", '\r', 0, 0}, {"Tab", '\t', 0, 0}, {"Backspace", '\b', 0, 0}, {"Escape", 0x1B, 0, 0}

static const struct layout_key jp[] = {
    CONTROLS,
    {"Digit1", '1', '!', 0}, {"Digit2", '2', '"', 0}, {"Digit3", '3', '#', 0}, {"Digit4", '4', '$', 0}, {"Digit5", '5', '%', 0}, {"Digit6", '6', '&', 0},
    {"Digit7", '7', '\'', 0}, {"Digit8", '8', '(', 0}, {"Digit9", '9', ')', 0}, {"Digit0", '0', 0, 0}, {"Minus", '-', '=', 0}, {"Equal", '^', '~', 0},
    {"BracketLeft", '@', '`', 0}, {"BracketRight", '[', '{', 0}, {"Backslash", ']', '}', 0}, {"Semicolon", ';', '+', 0}, {"Quote", ':', '*', 0},
    {"Comma", ',', '<', 0}, {"Period", '.', '>', 0}, {"Slash", '/', '?', 0}, {"IntlRo", '\\', '_', 0}, {"IntlYen", 0, '|', 0}, {0},
};

static const struct layout_key uk[] = {
    CONTROLS,
    {"Digit1", '1', '!', 0}, {"Digit2", '2', '"', 0}, {"Digit3", '3', u'£', 0}, {"Digit4", '4', '$', u'€'}, {"Digit5", '5', '%', 0}, {"Digit6", '6', '^', 0},
    {"Digit7", '7', '&', 0}, {"Digit8", '8', '*', 0}, {"Digit9", '9', '(', 0}, {"Digit0", '0', ')', 0}, {"Minus", '-', '_', 0}, {"Equal", '=', '+', 0},
    {"BracketLeft", '[', '{', 0}, {"BracketRight", ']', '}', 0}, {"Backslash", '#', '~', 0}, {"Semicolon", ';', ':', 0}, {"Quote", '\'', '@', 0},
    {"Comma", ',', '<', 0}, {"Period", '.', '>', 0}, {"Slash", '/', '?', 0}, {"Backquote", '`', u'¬', 0}, {"IntlBackslash", '\\', '|', 0}, {0},
};

static const struct layout_key de[] = {
    CONTROLS,
    {"KeyY", 'z', 'Z', 0}, {"KeyZ", 'y', 'Y', 0}, {"KeyQ", 'q', 'Q', '@'}, {"KeyE", 'e', 'E', u'€'}, {"KeyM", 'm', 'M', u'µ'},
    {"Digit1", '1', '!', 0}, {"Digit2", '2', '"', u'²'}, {"Digit3", '3', u'§', u'³'}, {"Digit4", '4', '$', 0}, {"Digit5", '5', '%', 0}, {"Digit6", '6', '&', 0},
    {"Digit7", '7', '/', '{'}, {"Digit8", '8', '(', '['}, {"Digit9", '9', ')', ']'}, {"Digit0", '0', '=', '}'}, {"Minus", u'ß', '?', '\\'},
    {"BracketLeft", u'ü', u'Ü', 0}, {"BracketRight", '+', '*', '~'}, {"Backslash", '#', '\'', 0}, {"Semicolon", u'ö', u'Ö', 0}, {"Quote", u'ä', u'Ä', 0},
    {"Comma", ',', ';', 0}, {"Period", '.', ':', 0}, {"Slash", '-', '_', 0}, {"IntlBackslash", '<', '>', '|'}, {"Backquote", 0, u'°', 0}, {0},
};
static const struct layout_key de_dead[] = {{"Backquote", '^', 0, 0}, {"Equal", u'´', '`', 0}, {0}};

static const struct layout_key fr[] = {
    CONTROLS,
    {"KeyQ", 'a', 'A', 0}, {"KeyA", 'q', 'Q', 0}, {"KeyW", 'z', 'Z', 0}, {"KeyZ", 'w', 'W', 0}, {"Semicolon", 'm', 'M', 0}, {"KeyE", 'e', 'E', u'€'},
    {"Digit1", '&', '1', 0}, {"Digit2", u'é', '2', 0}, {"Digit3", '"', '3', '#'}, {"Digit4", '\'', '4', '{'}, {"Digit5", '(', '5', '['}, {"Digit6", '-', '6', '|'},
    {"Digit7", u'è', '7', 0}, {"Digit8", '_', '8', '\\'}, {"Digit9", u'ç', '9', '^'}, {"Digit0", u'à', '0', '@'}, {"Minus", ')', u'°', ']'}, {"Equal", '=', '+', '}'},
    {"BracketRight", '$', u'£', u'¤'}, {"Backslash", '*', u'µ', 0}, {"Quote", u'ù', '%', 0}, {"KeyM", ',', '?', 0}, {"Comma", ';', '.', 0},
    {"Period", ':', '/', 0}, {"Slash", '!', u'§', 0}, {"IntlBackslash", '<', '>', 0}, {"Backquote", u'²', 0, 0}, {0},
};
static const struct layout_key fr_dead[] = {{"BracketLeft", '^', u'¨', 0}, {"Digit2", 0, 0, '~'}, {"Digit7", 0, 0, '`'}, {0}};

static const struct layout_key none[] = {{0}};

static const struct { char16_t whole, letter, mark; } composed[] = {
    {u'â', 'a', '^'}, {u'ê', 'e', '^'}, {u'î', 'i', '^'}, {u'ô', 'o', '^'}, {u'û', 'u', '^'}, {u'Â', 'A', '^'}, {u'Ê', 'E', '^'}, {u'Î', 'I', '^'}, {u'Ô', 'O', '^'},
    {u'Û', 'U', '^'}, {u'ä', 'a', u'¨'}, {u'ë', 'e', u'¨'}, {u'ï', 'i', u'¨'}, {u'ö', 'o', u'¨'}, {u'ü', 'u', u'¨'}, {u'ÿ', 'y', u'¨'}, {u'Ä', 'A', u'¨'},
    {u'Ë', 'E', u'¨'}, {u'Ï', 'I', u'¨'}, {u'Ö', 'O', u'¨'}, {u'Ü', 'U', u'¨'}, {u'á', 'a', u'´'}, {u'é', 'e', u'´'}, {u'í', 'i', u'´'}, {u'ó', 'o', u'´'},
    {u'ú', 'u', u'´'}, {u'Á', 'A', u'´'}, {u'É', 'E', u'´'}, {u'Í', 'I', u'´'}, {u'Ó', 'O', u'´'}, {u'Ú', 'U', u'´'}, {u'à', 'a', '`'}, {u'è', 'e', '`'},
    {u'ì', 'i', '`'}, {u'ò', 'o', '`'}, {u'ù', 'u', '`'}, {u'À', 'A', '`'}, {u'È', 'E', '`'}, {u'Ì', 'I', '`'}, {u'Ò', 'O', '`'}, {u'Ù', 'U', '`'},
    {u'ã', 'a', '~'}, {u'ñ', 'n', '~'}, {u'õ', 'o', '~'}, {u'Ã', 'A', '~'}, {u'Ñ', 'N', '~'}, {u'Õ', 'O', '~'},
};
/* clang-format on */

static const struct layout layouts[HV_LAYOUTS] = {
    [HV_LAYOUT_US] = {"US", NULL, NULL},
    [HV_LAYOUT_JP] = {"Japanese", jp, none},
    [HV_LAYOUT_DE] = {"German", de, de_dead},
    [HV_LAYOUT_FR] = {"French", fr, fr_dead},
    [HV_LAYOUT_UK] = {"UK", uk, none},
};

const char *hv_layout_name(enum hv_layout layout)
{
    return layouts[layout].name;
}

static bool in_table(const struct layout_key *k, char16_t c, struct hv_chord *ret)
{
    for (; k->code; k++) {
        if (k->plain != c && k->shifted != c && k->altgr != c)
            continue;
        const char *with = k->plain == c ? NULL : k->shifted == c ? "ShiftLeft" : "AltRight";
        *ret = (struct hv_chord){.codes = {with ? with : k->code, with ? k->code : NULL}, .n = with ? 2 : 1};
        return true;
    }
    return false;
}

static bool without_mark(const struct layout *l, char16_t c, struct hv_chord *ret)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return in_table(l->keys, c, ret) || (letter && hv_key_for_char((char)c, ret));
}

size_t hv_layout_keys(enum hv_layout layout, uint32_t c, struct hv_chord ret[HV_LAYOUT_CHORDS])
{
    const struct layout *l = &layouts[layout];
    if (!c || c > UINT16_MAX)
        return 0;
    if (!l->keys)
        return c < 0x80 && hv_key_for_char((char)c, ret) ? 1 : 0;
    if (without_mark(l, (char16_t)c, ret))
        return 1;
    if (in_table(l->dead, (char16_t)c, ret))
        return without_mark(l, ' ', ret + 1) ? 2 : 0;
    for (size_t i = 0; i < ARRAY_LEN(composed); i++)
        if (composed[i].whole == c && in_table(l->dead, composed[i].mark, ret))
            return without_mark(l, composed[i].letter, ret + 1) ? 2 : 0;
    return 0;
}

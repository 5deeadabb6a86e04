/* The keys of a PC keyboard by their W3C names, and how a text is typed on a US layout. */
#include "hyperv/keys.h"

#include <string.h>

#include "hyperv/hypervisor.h"

/* Sorted by code, for bsearch. F13 to F24 need a QEMU newer than 7.2; an older one refuses them. */
static const struct key {
    const char *code, *qcode;
} keys[] = {
    /* clang-format off */
    {"AltLeft", "alt"}, {"AltRight", "alt_r"}, {"ArrowDown", "down"}, {"ArrowLeft", "left"}, {"ArrowRight", "right"},
    {"ArrowUp", "up"}, {"Backquote", "grave_accent"}, {"Backslash", "backslash"}, {"Backspace", "backspace"},
    {"BracketLeft", "bracket_left"}, {"BracketRight", "bracket_right"}, {"CapsLock", "caps_lock"}, {"Comma", "comma"},
    {"ContextMenu", "menu"}, {"ControlLeft", "ctrl"}, {"ControlRight", "ctrl_r"}, {"Convert", "henkan"}, {"Delete", "delete"},
    {"Digit0", "0"}, {"Digit1", "1"}, {"Digit2", "2"}, {"Digit3", "3"}, {"Digit4", "4"}, {"Digit5", "5"}, {"Digit6", "6"},
    {"Digit7", "7"}, {"Digit8", "8"}, {"Digit9", "9"}, {"End", "end"}, {"Enter", "ret"}, {"Equal", "equal"}, {"Escape", "esc"},
    {"F1", "f1"}, {"F10", "f10"}, {"F11", "f11"}, {"F12", "f12"}, {"F13", "f13"}, {"F14", "f14"}, {"F15", "f15"},
    {"F16", "f16"}, {"F17", "f17"}, {"F18", "f18"}, {"F19", "f19"}, {"F2", "f2"}, {"F20", "f20"}, {"F21", "f21"},
    {"F22", "f22"}, {"F23", "f23"}, {"F24", "f24"}, {"F3", "f3"}, {"F4", "f4"}, {"F5", "f5"}, {"F6", "f6"}, {"F7", "f7"},
    {"F8", "f8"}, {"F9", "f9"}, {"Help", "help"}, {"Home", "home"}, {"Insert", "insert"}, {"IntlBackslash", "less"},
    {"IntlRo", "ro"}, {"IntlYen", "yen"}, {"KanaMode", "katakanahiragana"}, {"KeyA", "a"}, {"KeyB", "b"}, {"KeyC", "c"},
    {"KeyD", "d"}, {"KeyE", "e"}, {"KeyF", "f"}, {"KeyG", "g"}, {"KeyH", "h"}, {"KeyI", "i"}, {"KeyJ", "j"}, {"KeyK", "k"},
    {"KeyL", "l"}, {"KeyM", "m"}, {"KeyN", "n"}, {"KeyO", "o"}, {"KeyP", "p"}, {"KeyQ", "q"}, {"KeyR", "r"}, {"KeyS", "s"},
    {"KeyT", "t"}, {"KeyU", "u"}, {"KeyV", "v"}, {"KeyW", "w"}, {"KeyX", "x"}, {"KeyY", "y"}, {"KeyZ", "z"}, {"Lang1", "lang1"},
    {"Lang2", "lang2"}, {"MetaLeft", "meta_l"}, {"MetaRight", "meta_r"}, {"Minus", "minus"}, {"NonConvert", "muhenkan"},
    {"NumLock", "num_lock"}, {"Numpad0", "kp_0"}, {"Numpad1", "kp_1"}, {"Numpad2", "kp_2"}, {"Numpad3", "kp_3"},
    {"Numpad4", "kp_4"}, {"Numpad5", "kp_5"}, {"Numpad6", "kp_6"}, {"Numpad7", "kp_7"}, {"Numpad8", "kp_8"},
    {"Numpad9", "kp_9"}, {"NumpadAdd", "kp_add"}, {"NumpadComma", "kp_comma"}, {"NumpadDecimal", "kp_decimal"},
    {"NumpadDivide", "kp_divide"}, {"NumpadEnter", "kp_enter"}, {"NumpadEqual", "kp_equals"}, {"NumpadMultiply", "kp_multiply"},
    {"NumpadSubtract", "kp_subtract"}, {"PageDown", "pgdn"}, {"PageUp", "pgup"}, {"Pause", "pause"}, {"Period", "dot"},
    {"Power", "power"}, {"PrintScreen", "print"}, {"Quote", "apostrophe"}, {"ScrollLock", "scroll_lock"},
    {"Semicolon", "semicolon"}, {"ShiftLeft", "shift"}, {"ShiftRight", "shift_r"}, {"Slash", "slash"}, {"Sleep", "sleep"},
    {"Space", "spc"}, {"Tab", "tab"}, {"WakeUp", "wake"},
    /* clang-format on */
};

static int by_code(const void *code, const void *key)
{
    return strcmp(code, ((const struct key *)key)->code);
}

const char *hv_key_qcode(const char *code)
{
    const struct key *k = code ? bsearch(code, keys, ARRAY_LEN(keys), sizeof *keys, by_code) : NULL;
    return k ? k->qcode : NULL;
}

bool hv_key_known(const char *code)
{
    return hv_key_qcode(code) != NULL;
}

/* US layout: the key of each character, and of what Shift makes of it. */
static const struct {
    const char *code;
    char plain, shifted;
} typed[] = {
    {"Backquote", '`', '~'},   {"Minus", '-', '_'},     {"Equal", '=', '+'},  {"BracketLeft", '[', '{'}, {"BracketRight", ']', '}'},
    {"Backslash", '\\', '|'},  {"Semicolon", ';', ':'}, {"Quote", '\'', '"'}, {"Comma", ',', '<'},       {"Period", '.', '>'},
    {"Slash", '/', '?'},       {"Digit1", '1', '!'},    {"Digit2", '2', '@'}, {"Digit3", '3', '#'},      {"Digit4", '4', '$'},
    {"Digit5", '5', '%'},      {"Digit6", '6', '^'},    {"Digit7", '7', '&'}, {"Digit8", '8', '*'},      {"Digit9", '9', '('},
    {"Digit0", '0', ')'},      {"Space", ' ', 0},       {"Enter", '\n', 0},   {"Enter", '\r', 0},        {"Tab", '\t', 0},
    {"Backspace", '\b', 0x7F}, {"Escape", 0x1B, 0},
};

/* "KeyA" to "KeyZ" come from the table above, so that the strings live as long as the program. */
static const char *letter_code(char lower)
{
    char code[] = {'K', 'e', 'y', (char)(lower - 'a' + 'A'), 0};
    const struct key *k = bsearch(code, keys, ARRAY_LEN(keys), sizeof *keys, by_code);
    return k ? k->code : NULL;
}

bool hv_key_for_char(char c, struct hv_chord *ret)
{
    const char *code = NULL;
    bool shift = false;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        shift = c <= 'Z';
        code = letter_code((char)(c | 0x20));
    }
    for (size_t i = 0; c && !code && i < ARRAY_LEN(typed); i++)
        if (typed[i].plain == c || typed[i].shifted == c) {
            code = typed[i].code;
            shift = typed[i].shifted == c && c != 0x7F;
        }
    if (!code)
        return false;
    *ret = (struct hv_chord){.codes = {shift ? "ShiftLeft" : code, shift ? code : NULL}, .n = shift ? 2 : 1};
    return true;
}

/* The keys of a PC keyboard by their W3C names, and how a text is typed on a US layout. */
#include "hyperv/keys.h"

#include <string.h>

#include "hyperv/hypervisor.h"

/* Sorted by code, for bsearch. F13 to F24 need a QEMU newer than 7.2; an older one refuses them. set1: what the key sends when it goes down, in
 * scan code set 1 ("Keyboard Scan Code Specification", Microsoft): E0 stands before, and of Pause's E1 1D 45 all. */
static const struct key {
    const char *code, *qcode;
    uint32_t set1;
} keys[] = {
    /* clang-format off */
    {"AltLeft", "alt", 0x38}, {"AltRight", "alt_r", 0xE038}, {"ArrowDown", "down", 0xE050}, {"ArrowLeft", "left", 0xE04B},
    {"ArrowRight", "right", 0xE04D}, {"ArrowUp", "up", 0xE048}, {"Backquote", "grave_accent", 0x29}, {"Backslash", "backslash", 0x2B},
    {"Backspace", "backspace", 0x0E}, {"BracketLeft", "bracket_left", 0x1A}, {"BracketRight", "bracket_right", 0x1B},
    {"CapsLock", "caps_lock", 0x3A}, {"Comma", "comma", 0x33}, {"ContextMenu", "menu", 0xE05D}, {"ControlLeft", "ctrl", 0x1D},
    {"ControlRight", "ctrl_r", 0xE01D}, {"Convert", "henkan", 0x79}, {"Delete", "delete", 0xE053}, {"Digit0", "0", 0x0B},
    {"Digit1", "1", 0x02}, {"Digit2", "2", 0x03}, {"Digit3", "3", 0x04}, {"Digit4", "4", 0x05}, {"Digit5", "5", 0x06},
    {"Digit6", "6", 0x07}, {"Digit7", "7", 0x08}, {"Digit8", "8", 0x09}, {"Digit9", "9", 0x0A}, {"End", "end", 0xE04F},
    {"Enter", "ret", 0x1C}, {"Equal", "equal", 0x0D}, {"Escape", "esc", 0x01}, {"F1", "f1", 0x3B}, {"F10", "f10", 0x44},
    {"F11", "f11", 0x57}, {"F12", "f12", 0x58}, {"F13", "f13", 0x64}, {"F14", "f14", 0x65}, {"F15", "f15", 0x66}, {"F16", "f16", 0x67},
    {"F17", "f17", 0x68}, {"F18", "f18", 0x69}, {"F19", "f19", 0x6A}, {"F2", "f2", 0x3C}, {"F20", "f20", 0x6B}, {"F21", "f21", 0x6C},
    {"F22", "f22", 0x6D}, {"F23", "f23", 0x6E}, {"F24", "f24", 0x76}, {"F3", "f3", 0x3D}, {"F4", "f4", 0x3E}, {"F5", "f5", 0x3F},
    {"F6", "f6", 0x40}, {"F7", "f7", 0x41}, {"F8", "f8", 0x42}, {"F9", "f9", 0x43}, {"Help", "help", 0xE03B}, {"Home", "home", 0xE047},
    {"Insert", "insert", 0xE052}, {"IntlBackslash", "less", 0x56}, {"IntlRo", "ro", 0x73}, {"IntlYen", "yen", 0x7D},
    {"KanaMode", "katakanahiragana", 0x70}, {"KeyA", "a", 0x1E}, {"KeyB", "b", 0x30}, {"KeyC", "c", 0x2E}, {"KeyD", "d", 0x20},
    {"KeyE", "e", 0x12}, {"KeyF", "f", 0x21}, {"KeyG", "g", 0x22}, {"KeyH", "h", 0x23}, {"KeyI", "i", 0x17}, {"KeyJ", "j", 0x24},
    {"KeyK", "k", 0x25}, {"KeyL", "l", 0x26}, {"KeyM", "m", 0x32}, {"KeyN", "n", 0x31}, {"KeyO", "o", 0x18}, {"KeyP", "p", 0x19},
    {"KeyQ", "q", 0x10}, {"KeyR", "r", 0x13}, {"KeyS", "s", 0x1F}, {"KeyT", "t", 0x14}, {"KeyU", "u", 0x16}, {"KeyV", "v", 0x2F},
    {"KeyW", "w", 0x11}, {"KeyX", "x", 0x2D}, {"KeyY", "y", 0x15}, {"KeyZ", "z", 0x2C}, {"Lang1", "lang1", 0x72}, {"Lang2", "lang2", 0x71},
    {"MetaLeft", "meta_l", 0xE05B}, {"MetaRight", "meta_r", 0xE05C}, {"Minus", "minus", 0x0C}, {"NonConvert", "muhenkan", 0x7B},
    {"NumLock", "num_lock", 0x45}, {"Numpad0", "kp_0", 0x52}, {"Numpad1", "kp_1", 0x4F}, {"Numpad2", "kp_2", 0x50},
    {"Numpad3", "kp_3", 0x51}, {"Numpad4", "kp_4", 0x4B}, {"Numpad5", "kp_5", 0x4C}, {"Numpad6", "kp_6", 0x4D}, {"Numpad7", "kp_7", 0x47},
    {"Numpad8", "kp_8", 0x48}, {"Numpad9", "kp_9", 0x49}, {"NumpadAdd", "kp_add", 0x4E}, {"NumpadComma", "kp_comma", 0x7E},
    {"NumpadDecimal", "kp_decimal", 0x53}, {"NumpadDivide", "kp_divide", 0xE035}, {"NumpadEnter", "kp_enter", 0xE01C},
    {"NumpadEqual", "kp_equals", 0x59}, {"NumpadMultiply", "kp_multiply", 0x37}, {"NumpadSubtract", "kp_subtract", 0x4A},
    {"PageDown", "pgdn", 0xE051}, {"PageUp", "pgup", 0xE049}, {"Pause", "pause", 0xE11D45}, {"Period", "dot", 0x34},
    {"Power", "power", 0xE05E}, {"PrintScreen", "print", 0xE037}, {"Quote", "apostrophe", 0x28}, {"ScrollLock", "scroll_lock", 0x46},
    {"Semicolon", "semicolon", 0x27}, {"ShiftLeft", "shift", 0x2A}, {"ShiftRight", "shift_r", 0x36}, {"Slash", "slash", 0x35},
    {"Sleep", "sleep", 0xE05F}, {"Space", "spc", 0x39}, {"Tab", "tab", 0x0F}, {"WakeUp", "wake", 0xE063},
    /* clang-format on */
};

static int by_code(const void *code, const void *key)
{
    return strcmp(code, ((const struct key *)key)->code);
}

static const struct key *find(const char *code)
{
    return code ? bsearch(code, keys, ARRAY_LEN(keys), sizeof *keys, by_code) : NULL;
}

const char *hv_key_qcode(const char *code)
{
    const struct key *k = find(code);
    return k ? k->qcode : NULL;
}

size_t hv_key_scancodes(const char *code, bool up, uint8_t ret[HV_SCANCODES_MAX])
{
    const struct key *k = find(code);
    uint8_t release = up ? 0x80 : 0;
    size_t n = 0;
    if (!k)
        return 0;
    if (k->set1 > 0xFFFF)
        ret[n++] = (uint8_t)(k->set1 >> 16);
    if (k->set1 > 0xFF) {
        uint8_t prefix = (uint8_t)(k->set1 >> 8);
        ret[n++] = prefix == 0xE0 ? prefix : prefix | release;
    }
    ret[n++] = (uint8_t)k->set1 | release;
    return n;
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
    const struct key *k = find(code);
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

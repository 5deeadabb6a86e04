/* keys: a small language on the command line becomes the key sequence of the API.
 *
 *   vmrecover keys web01 'root\n'                      text; \n is Enter, \t Tab, \\ a backslash
 *   vmrecover keys web01 --press Ctrl+Alt+Delete       keys held down together
 *   vmrecover keys web01 --press F8 --repeat 40 --interval 250
 *   vmrecover keys web01 --press e --wait 500 --press End ' single\n'
 *   vmrecover keys web01 --layout de 'größe\n'          on the keyboard that the guest believes to have: us, jp, de, fr, uk
 *   vmrecover keys web01 --text-file - <password       text that must not stand on a command line, as it is
 */
#include <ctype.h>
#include <string.h>

#include "api/cli/cli.h"

enum { TEXT_MAX = 64 << 10, CODE_MAX = 32 };

/* What people call keys, and the W3C UI Events code of each. Names that are codes already need no row. */
static const struct {
    const char *name, *code;
} names[] = {
    {"ctrl", "ControlLeft"}, {"control", "ControlLeft"}, {"rctrl", "ControlRight"}, {"alt", "AltLeft"}, {"altgr", "AltRight"},
    {"shift", "ShiftLeft"}, {"rshift", "ShiftRight"}, {"win", "MetaLeft"}, {"super", "MetaLeft"}, {"meta", "MetaLeft"},
    {"del", "Delete"}, {"delete", "Delete"}, {"ins", "Insert"}, {"insert", "Insert"}, {"esc", "Escape"}, {"escape", "Escape"},
    {"return", "Enter"}, {"enter", "Enter"}, {"bksp", "Backspace"}, {"backspace", "Backspace"}, {"tab", "Tab"}, {"space", "Space"},
    {"pgup", "PageUp"}, {"pageup", "PageUp"}, {"pgdn", "PageDown"}, {"pagedown", "PageDown"}, {"home", "Home"}, {"end", "End"},
    {"up", "ArrowUp"}, {"down", "ArrowDown"}, {"left", "ArrowLeft"}, {"right", "ArrowRight"}, {"print", "PrintScreen"},
    {"sysrq", "PrintScreen"}, {"pause", "Pause"}, {"break", "Pause"}, {"caps", "CapsLock"}, {"menu", "ContextMenu"},
    {"-", "Minus"}, {"=", "Equal"}, {"[", "BracketLeft"}, {"]", "BracketRight"}, {";", "Semicolon"}, {"'", "Quote"},
    {"`", "Backquote"}, {"\\", "Backslash"}, {",", "Comma"}, {".", "Period"}, {"/", "Slash"}, {"plus", "NumpadAdd"},
};

/* A code that we do not know is passed on: the daemon knows which there are. */
static void key_code(const char *name, char ret[CODE_MAX])
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(names[i].name, name)) {
            snprintf(ret, CODE_MAX, "%s", names[i].code);
            return;
        }
    unsigned char c = (unsigned char)name[0];
    if (c && !name[1] && isalpha(c))
        snprintf(ret, CODE_MAX, "Key%c", toupper(c));
    else if (c && !name[1] && isdigit(c))
        snprintf(ret, CODE_MAX, "Digit%c", c);
    else if (tolower(c) == 'f' && isdigit((unsigned char)name[1]))
        snprintf(ret, CODE_MAX, "F%s", name + 1);
    else
        snprintf(ret, CODE_MAX, "%s", name);
}

static int add_press(json_t *sequence, const char *chord, struct err *e)
{
    json_t *codes = json_array();
    const char *p = chord;
    for (;;) {
        size_t n = strcspn(p, "+");
        char name[CODE_MAX], code[CODE_MAX];
        if (n == 0 || n >= sizeof name) {
            json_decref(codes);
            return err_set(e, ERR_VALUE, "'%s' names no keys; write them as Ctrl+Alt+Delete (the plus key is 'plus')", chord);
        }
        memcpy(name, p, n);
        name[n] = '\0';
        key_code(name, code);
        if (json_array_append_new(codes, json_string(code)) != 0) {
            json_decref(codes);
            return err_set(e, ERR_VALUE, "'%s' is not UTF-8", chord);
        }
        if (!p[n])
            break;
        p += n + 1;
    }
    return json_array_append_new(sequence, json_pack("{s:o}", "press", codes)) == 0 ? 0 : err_oom(e);
}

static int add_text(json_t *sequence, const char *text, const char *layout, struct err *e)
{
    if (!*text)
        return 0;
    json_t *step = json_pack("{s:s, s:s*}", "text", text, "layout", layout);
    return step && json_array_append_new(sequence, step) == 0 ? 0 : err_set(e, ERR_VALUE, "the text is not UTF-8");
}

static int add_word(json_t *sequence, const char *word, const char *layout, struct err *e)
{
    AUTO_SECRET char *text = NULL;
    int r = opt_unescape(word, &text, e);
    return r < 0 ? r : add_text(sequence, text, layout, e);
}

static int add_file(json_t *sequence, const char *path, const char *layout, struct err *e)
{
    AUTO_SECRET char *text = NULL;
    int r = opt_read_input(path, TEXT_MAX, &text, NULL, e);
    return r < 0 ? r : add_text(sequence, text, layout, e);
}

/* --repeat and --interval belong to the press before them. */
static int modify(json_t *sequence, const char *option, const char *key, const char *value, uint64_t max, struct err *e)
{
    size_t n = json_array_size(sequence);
    json_t *last = n ? json_array_get(sequence, n - 1) : NULL;
    if (!json_object_get(last, "press"))
        return err_set(e, ERR_VALUE, "%s stands behind the --press that it is about", option);
    uint64_t number;
    int r = opt_number(option, value, 0, max, &number, e);
    if (r < 0)
        return r;
    return json_object_set_new(last, key, json_integer((json_int_t)number)) == 0 ? 0 : err_oom(e);
}

static int add_wait(json_t *sequence, const char *value, struct err *e)
{
    uint64_t ms;
    int r = opt_number("--wait", value, 0, 3600 * 1000, &ms, e);
    if (r < 0)
        return r;
    return json_array_append_new(sequence, json_pack("{s:I}", "wait_ms", (json_int_t)ms)) == 0 ? 0 : err_oom(e);
}

static int parse(int argc, char **argv, json_t *sequence, const char **vm, struct err *e)
{
    enum { PRESS = 1, KEY, REPEAT, INTERVAL, PAUSE, TEXT_FILE, ENTER, LAYOUT };
    static const struct opt_spec spec[] = {{"press", PRESS, true}, {"key", KEY, true}, {"repeat", REPEAT, true}, {"interval", INTERVAL, true},
                                           {"wait", PAUSE, true}, {"text-file", TEXT_FILE, true}, {"enter", ENTER, false},
                                           {"layout", LAYOUT, true}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *layout = NULL;                       /* of the texts behind it; NULL: the API's own */
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        int r = 0;
        if (o == OPT_WORD && !*vm)
            *vm = it.value;
        else if (o == OPT_WORD)
            r = add_word(sequence, it.value, layout, e);
        else if (o == PRESS || o == KEY)
            r = add_press(sequence, it.value, e);
        else if (o == ENTER)
            r = add_press(sequence, "Enter", e);
        else if (o == REPEAT)
            r = modify(sequence, "--repeat", "repeat", it.value, 100000, e);
        else if (o == INTERVAL)
            r = modify(sequence, "--interval", "interval_ms", it.value, 3600 * 1000, e);
        else if (o == PAUSE)
            r = add_wait(sequence, it.value, e);
        else if (o == LAYOUT)
            layout = it.value;
        else if (o == TEXT_FILE)
            r = add_file(sequence, it.value, layout, e);
        else
            r = o;
        if (r < 0)
            return r;
    }
    if (!*vm || json_array_size(sequence) == 0)
        return err_set(e, ERR_VALUE, "give the VM and what to type: TEXT, --press, --text-file");
    return 0;
}

int cmd_keys(struct cli *cli, int argc, char **argv, struct err *e)
{
    json_t *sequence = json_array();
    const char *given = NULL;
    AUTO_FREE char *id = NULL;
    int r = parse(argc, argv, sequence, &given, e);
    if (r == 0)
        r = name_vm(cli, given, &id, e);
    if (r == 0) {
        AUTO_FREE char *path = str_printf("/v1/vms/%s/keys", id);
        json_t *body = json_pack("{s:O}", "sequence", sequence);
        AUTO_REPLY struct reply reply = {0};
        r = path && body ? client_call(cli->client, &(struct call){.method = "POST", .path = path, .body = body}, &reply, e) : err_oom(e);
        if (r == 0 && cli->json && reply.json)
            print_json(reply.json);
        json_decref(body);
    }
    json_decref(sequence);
    return r;
}

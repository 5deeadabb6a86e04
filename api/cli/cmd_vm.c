/* vm and screen: virtual machines and their pictures. */
#include <string.h>

#include "api/cli/cli.h"
#include "common/os.h"

enum { CHECKPOINT_ARGS = 3 };

/* One request about /v1/vms/{id}{tail}; prints the answer when --json asks for it. */
static int vm_call(struct cli *cli, const char *given, const char *method, const char *tail, json_t *body, struct reply *reply, struct err *e)
{
    AUTO_FREE char *id = NULL;
    int r = name_vm(cli, given, &id, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/vms/%s%s", id, tail);
    if (!path)
        return err_oom(e);
    r = client_call(cli->client, &(struct call){.method = method, .path = path, .body = body}, reply, e);
    if (r == 0 && cli->json && reply->json)
        print_json(reply->json);
    return r;
}

/* The same, with nothing of the answer needed; takes body. */
static int vm_do(struct cli *cli, const char *given, const char *method, const char *tail, json_t *body, struct err *e)
{
    AUTO_REPLY struct reply reply = {0};
    int r = vm_call(cli, given, method, tail, body, &reply, e);
    json_decref(body);
    return r;
}

static void vm_line(const json_t *vm)
{
    print_field(stdout, jstr(vm, "id"), 38);
    print_field(stdout, jstr(vm, "state"), 9);
    printf("gen %d  ", (int)jint(vm, "generation"));
    print_text(stdout, jstr(vm, "name"));
    putchar('\n');
}

static int vm_list(struct cli *cli, struct err *e)
{
    return cli_list(cli, "/v1/vms", "vms", vm_line, e);
}

static int vm_show(struct cli *cli, const char *given, struct err *e)
{
    cli->json = true;                                /* a VM is a handful of plain members: its JSON is what there is to read */
    return vm_do(cli, given, "GET", "", NULL, e);
}

static int checkpoint_list(struct cli *cli, const char *given, struct err *e)
{
    AUTO_REPLY struct reply reply = {0};
    int r = vm_call(cli, given, "GET", "/checkpoints", NULL, &reply, e);
    if (r < 0 || cli->json)
        return r;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(reply.json, "checkpoints"), i, c) {
        print_field(stdout, jstr(c, "id"), 38);
        print_field(stdout, jstr(c, "created_at"), 26);
        print_text(stdout, jstr(c, "name"));
        putchar('\n');
    }
    return EXIT_DONE;
}

static int checkpoint_create(struct cli *cli, const char *given, const char *name, struct err *e)
{
    json_t *body = json_pack("{s:s}", "name", name);
    if (!body)
        return err_set(e, ERR_VALUE, "the name is not UTF-8");
    AUTO_REPLY struct reply reply = {0};
    int r = vm_call(cli, given, "POST", "/checkpoints", body, &reply, e);
    json_decref(body);
    if (r == 0 && !cli->json) {
        print_text(stdout, jstr(reply.json, "id"));
        putchar('\n');
    }
    return r;
}

static int checkpoint_use(struct cli *cli, const char *given, const char *verb, const char *checkpoint, struct err *e)
{
    AUTO_FREE char *escaped = client_escape(cli->client, checkpoint);
    bool restore = strcmp(verb, "restore") == 0;
    AUTO_FREE char *tail = escaped ? str_printf("/checkpoints/%s%s", escaped, restore ? "/restore" : "") : NULL;
    return tail ? vm_do(cli, given, restore ? "POST" : "DELETE", tail, NULL, e) : err_oom(e);
}

static int vm_checkpoint(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *w[CHECKPOINT_ARGS];
    size_t n;
    int r = opt_words(argc, argv, 1, CHECKPOINT_ARGS, w, &n, e);
    if (r < 0)
        return r;
    if (n == 1 || (n == 2 && strcmp(w[1], "list") == 0))
        return checkpoint_list(cli, w[0], e);
    if (n == 3 && strcmp(w[1], "create") == 0)
        return checkpoint_create(cli, w[0], w[2], e);
    if (n == 3 && (strcmp(w[1], "restore") == 0 || strcmp(w[1], "delete") == 0))
        return checkpoint_use(cli, w[0], w[1], w[2], e);
    return err_set(e, ERR_VALUE, "checkpoint takes list, create NAME, restore ID or delete ID");
}

static int vm_dvd(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { EJECT = 1 };
    static const struct opt_spec spec[] = {{"eject", EJECT, false}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *given = NULL, *iso = NULL;
    bool eject = false;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == EJECT)
            eject = true;
        else if (!given)
            given = it.value;
        else if (!iso)
            iso = it.value;
        else
            return opt_too_many(it.value, e);
    }
    if (!given || eject == (iso != NULL))
        return err_set(e, ERR_VALUE, "give the VM and either the path of an ISO on the host or --eject");
    if (eject)
        return vm_do(cli, given, "DELETE", "/dvd", NULL, e);
    json_t *body = json_pack("{s:s}", "path", iso);
    return body ? vm_do(cli, given, "PUT", "/dvd", body, e) : err_set(e, ERR_VALUE, "the path is not UTF-8");
}

static int slot_tail(const char *slot, char tail[16], struct err *e)
{
    uint64_t n;
    int r = opt_number("SLOT", slot, 0, 99, &n, e);
    if (r == 0)
        snprintf(tail, 16, "/disks/%u", (unsigned)n);
    return r;
}

static int vm_attach(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { FORMAT = 1 };
    static const struct opt_spec spec[] = {{"format", FORMAT, true}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *w[3], *format = NULL;
    size_t n = 0;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == FORMAT)
            format = it.value;
        else if (n == ARRAY_LEN(w))
            return opt_too_many(it.value, e);
        else
            w[n++] = it.value;
    }
    char tail[16];
    if (n < ARRAY_LEN(w))
        return err_set(e, ERR_VALUE, "give the VM, the slot and the path of an image on the host");
    if (!format)
        return err_set(e, ERR_VALUE, "say what the image is: --format raw, vhd, vhd_dynamic, vhdx or qcow2");
    int r = slot_tail(w[1], tail, e);
    if (r < 0)
        return r;
    json_t *body = json_pack("{s:s, s:s}", "path", w[2], "format", format);
    return body ? vm_do(cli, w[0], "PUT", tail, body, e) : err_set(e, ERR_VALUE, "the path is not UTF-8");
}

static int vm_detach(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *w[2], tail[16];
    int r = opt_words(argc, argv, 2, 2, w, NULL, e);
    if (r < 0 || (r = slot_tail(w[1], tail, e)) < 0)
        return r;
    return vm_do(cli, w[0], "DELETE", tail, NULL, e);
}

int cmd_vm(struct cli *cli, int argc, char **argv, struct err *e)
{
    static const char *const power[] = {"start", "stop", "shutdown", "reset"};
    static const struct {
        const char *verb;
        command_fn *run;
    } verbs[] = {{"checkpoint", vm_checkpoint}, {"dvd", vm_dvd}, {"attach", vm_attach}, {"detach", vm_detach}};
    const char *verb = argc > 0 ? argv[0] : "";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verb, verbs[i].verb) == 0)
            return verbs[i].run(cli, argc - 1, argv + 1, e);
    bool list = strcmp(verb, "list") == 0, show = strcmp(verb, "show") == 0, known = list || show;
    for (size_t i = 0; i < ARRAY_LEN(power); i++)
        known |= strcmp(verb, power[i]) == 0;
    if (!known)
        return err_set(e, ERR_VALUE, "vm takes list, show, start, stop, shutdown, reset, dvd, checkpoint, attach or detach");
    char *given = NULL;
    int r = opt_words(argc - 1, argv + 1, list ? 0 : 1, list ? 0 : 1, &given, NULL, e);
    if (r < 0)
        return r;
    if (list)
        return vm_list(cli, e);
    if (show)
        return vm_show(cli, given, e);
    char tail[16];
    snprintf(tail, sizeof tail, "/%s", verb);
    return vm_do(cli, given, "POST", tail, NULL, e);
}

static int write_out(const char *file, const struct reply *reply, bool text, struct err *e)
{
    if (file && strcmp(file, "-") != 0)
        return os_write_file(file, reply->body, reply->len, 0, e);
    if (text && term_is_tty(stdout)) {               /* a guest's screen must not drive the terminal */
        for (char *line = reply->body; *line;) {
            size_t n = strcspn(line, "\n");
            bool more = line[n] == '\n';
            line[n] = '\0';
            print_text(stdout, line);
            putchar('\n');
            line += n + (more ? 1 : 0);
        }
        return 0;
    }
    if (!text && term_is_tty(stdout))
        return err_set(e, ERR_VALUE, "a picture is not for a terminal: give -o FILE, or --text");
    return fwrite(reply->body, 1, reply->len, stdout) == reply->len ? 0 : err_set(e, ERR_IO, "standard output cannot be written");
}

int cmd_screen(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { TEXT = 1, OUTPUT, WIDTH };
    static const struct opt_spec spec[] = {{"text", TEXT, false}, {"o", OUTPUT, true}, {"output", OUTPUT, true}, {"width", WIDTH, true}, {0}};
    const char *given = NULL, *file = NULL;
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv, .word = &given};
    bool text = false;
    uint64_t width = 0;
    int r;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == TEXT)
            text = true;
        else if (o == OUTPUT)
            file = it.value;
        else if (o == WIDTH && (r = opt_number("--width", it.value, 1, 16384, &width, e)) < 0)
            return r;
    }
    if (!given)
        return err_set(e, ERR_VALUE, "name the VM");
    if (text && width)
        return err_set(e, ERR_VALUE, "--width is for pictures");
    AUTO_FREE char *id = NULL;
    r = name_vm(cli, given, &id, e);
    if (r < 0)
        return r;
    char query[32] = "";
    if (width)
        snprintf(query, sizeof query, "?width=%u", (unsigned)width);
    AUTO_FREE char *path = str_printf("/v1/vms/%s/screen%s", id, query);
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    r = client_call(cli->client, &(struct call){.method = "GET", .path = path, .accept = text ? "text/plain" : "image/png"}, &reply, e);
    return r < 0 ? r : write_out(file, &reply, text, e);
}

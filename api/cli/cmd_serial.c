/* serial: reads the VM's serial console, follows it, types into it. */
#include <string.h>

#include "api/cli/cli.h"

enum { SEND_MAX = 64 << 10 };

struct request {
    const char *vm, *send, *send_file;
    uint64_t after;
    bool follow;
};

static int parse(int argc, char **argv, struct request *q, struct err *e)
{
    enum { AFTER = 1, FOLLOW, SEND, SEND_FILE };
    static const struct opt_spec spec[] = {{"after", AFTER, true}, {"follow", FOLLOW, false}, {"send", SEND, true}, {"send-file", SEND_FILE, true}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv, .word = &q->vm};
    int r;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == AFTER && (r = opt_number("--after", it.value, 0, INT64_MAX, &q->after, e)) < 0)
            return r;
        if (o == FOLLOW)
            q->follow = true;
        else if (o == SEND)
            q->send = it.value;
        else if (o == SEND_FILE)
            q->send_file = it.value;
    }
    return q->vm ? 0 : err_set(e, ERR_VALUE, "name the VM");
}

/* What a guest says must not drive the terminal: there, controls other than new line and tab are dropped. Elsewhere all bytes
 * pass as they are. */
static int put(const char *text, size_t n, struct err *e)
{
    bool tty = term_is_tty(stdout);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!tty || c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f))
            putchar(c);
    }
    return fflush(stdout) == 0 ? 0 : err_set(e, ERR_IO, "standard output cannot be written");
}

/* The console so far, in as many answers as it takes. */
static int dump(struct cli *cli, const char *id, uint64_t after, struct err *e)
{
    for (;;) {
        AUTO_FREE char *path = str_printf("/v1/vms/%s/serial?after=%llu", id, (unsigned long long)after);
        if (!path)
            return err_oom(e);
        AUTO_REPLY struct reply reply = {0};
        int r = client_call(cli->client, &(struct call){.method = "GET", .path = path, .accept = "application/octet-stream"}, &reply, e);
        if (r < 0 || reply.len == 0)
            return r;
        after += reply.len;
        r = put(reply.body, reply.len, e);
        if (r < 0)
            return r;
    }
}

struct follower {
    struct cli *cli;
    struct err *e;
};

static int on_text(void *arg, const char *id, const char *type, const char *data)
{
    struct follower *f = arg;
    (void)id;
    json_t *message = strcmp(type, "serial") == 0 ? json_loads(data, 0, NULL) : NULL;
    const char *text = jstr(message, "text");
    int r = 0;
    if (f->cli->json && message)
        print_json_line(message);
    else
        r = put(text, strlen(text), f->e);
    json_decref(message);
    return r;
}

static int follow(struct cli *cli, const char *id, uint64_t after, struct err *e)
{
    AUTO_FREE char *path = str_printf("/v1/vms/%s/serial", id);
    char from[24];
    snprintf(from, sizeof from, "%llu", (unsigned long long)after);
    struct follower f = {.cli = cli, .e = e};
    return path ? client_stream(cli->client, path, from, on_text, &f, e) : err_oom(e);
}

static int type_text(struct cli *cli, const char *id, const char *text, size_t n, struct err *e)
{
    json_t *body = json_pack("{s:s%}", "text", text, n);
    AUTO_FREE char *path = str_printf("/v1/vms/%s/serial", id);
    AUTO_REPLY struct reply reply = {0};
    int r = !body ? err_set(e, ERR_VALUE, "the text is not UTF-8") : !path ? err_oom(e)
            : client_call(cli->client, &(struct call){.method = "POST", .path = path, .body = body}, &reply, e);
    json_decref(body);
    if (r == 0 && cli->json && reply.json)
        print_json(reply.json);
    return r;
}

int cmd_serial(struct cli *cli, int argc, char **argv, struct err *e)
{
    struct request q = {0};
    int r = parse(argc, argv, &q, e);
    AUTO_FREE char *id = NULL;
    if (r < 0 || (r = name_vm(cli, q.vm, &id, e)) < 0)
        return r;
    if ((q.send != NULL) + (q.send_file != NULL) + (q.follow || q.after) > 1)
        return err_set(e, ERR_VALUE, "either read, or --send, or --send-file");
    AUTO_SECRET char *text = NULL;
    if (q.send && (r = opt_unescape(q.send, &text, e)) < 0)
        return r;
    size_t n = text ? strlen(text) : 0;
    if (q.send_file && (r = opt_read_input(q.send_file, SEND_MAX, &text, &n, e)) < 0)
        return r;
    if (text)
        return type_text(cli, id, text, n, e);
    return q.follow ? follow(cli, id, q.after, e) : dump(cli, id, q.after, e);
}

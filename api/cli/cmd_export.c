/* export: the VM's disk with all that was repaired, written to a file on the daemon's host. A task of the job does it. */
#include <string.h>

#include "api/cli/cli.h"

struct request {
    const char *vm, *format, *path;
    uint64_t slot;
    bool no_wait;
};

static int parse(int argc, char **argv, struct request *q, struct err *e)
{
    enum { SLOT = 1, FORMAT, OUTPUT, NO_WAIT };
    static const struct opt_spec spec[] = {{"slot", SLOT, true}, {"format", FORMAT, true}, {"o", OUTPUT, true}, {"output", OUTPUT, true},
                                           {"no-wait", NO_WAIT, false}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv, .word = &q->vm};
    int r;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == SLOT && (r = opt_number("--slot", it.value, 0, 99, &q->slot, e)) < 0)
            return r;
        if (o == FORMAT)
            q->format = it.value;
        else if (o == OUTPUT)
            q->path = it.value;
        else if (o == NO_WAIT)
            q->no_wait = true;
    }
    return q->vm ? 0 : err_set(e, ERR_VALUE, "name the VM");
}

int cmd_export(struct cli *cli, int argc, char **argv, struct err *e)
{
    struct request q = {0};
    int r = parse(argc, argv, &q, e);
    AUTO_FREE char *id = NULL;
    if (r < 0 || (r = name_vm(cli, q.vm, &id, e)) < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/vms/%s/export", id);
    json_t *body = json_pack("{s:I, s:s*, s:s*}", "slot", (json_int_t)q.slot, "format", q.format, "path", q.path);
    AUTO_REPLY struct reply reply = {0};
    r = !body ? err_set(e, ERR_VALUE, "format or path is not UTF-8") : !path ? err_oom(e)
        : client_call(cli->client, &(struct call){.method = "POST", .path = path, .body = body}, &reply, e);
    json_decref(body);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(reply.json);
    const char *job = strrchr(reply.location, '/');  /* /v1/jobs/{id} */
    if (!q.no_wait && job && *++job)
        r = watch_task(cli, job, "export_vm", e);
    if (r == EXIT_DONE && !cli->json) {
        print_text(stdout, jstr(json_object_get(reply.json, "params"), "path"));
        putchar('\n');
    }
    return r;
}

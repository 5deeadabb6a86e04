/* verify: are the downloaded disks still what came from the source? A task of the job compares them with their records. */
#include <string.h>

#include "api/cli/cli.h"

int cmd_verify(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { NO_WAIT = 1 };
    static const struct opt_spec spec[] = {{"no-wait", NO_WAIT, false}, {0}};
    const char *job = NULL;
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv, .word = &job};
    bool no_wait = false;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == NO_WAIT)
            no_wait = true;
    }
    AUTO_FREE char *id = NULL;
    int r = job ? name_job(cli, job, &id, e) : err_set(e, ERR_VALUE, "name the job");
    if (r < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/jobs/%s/verify", id);
    AUTO_REPLY struct reply reply = {0};
    r = path ? client_call(cli->client, &(struct call){.method = "POST", .path = path}, &reply, e) : err_oom(e);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(reply.json);
    return no_wait ? r : watch_task(cli, id, "verify", e);
}

#include "api/cli/cli.h"

int cli_fetch(struct cli *cli, const char *path, struct reply *ret, struct err *e)
{
    int r = client_call(cli->client, &(struct call){.method = "GET", .path = path}, ret, e);
    if (r < 0 || !cli->json)
        return r;
    print_json(ret->json);
    reply_clear(ret);
    return 1;
}

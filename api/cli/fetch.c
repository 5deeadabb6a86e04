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

int cli_list(struct cli *cli, const char *path, const char *list, void (*line)(const json_t *object), struct err *e)
{
    AUTO_REPLY struct reply reply = {0};
    int r = cli_fetch(cli, path, &reply, e);
    if (r != 0)
        return r < 0 ? r : EXIT_DONE;
    size_t i;
    json_t *object;
    json_array_foreach(json_object_get(reply.json, list), i, object)
        line(object);
    return EXIT_DONE;
}

/* dashboard: a link that signs a browser in. */
#include <string.h>

#include "api/cli/cli.h"

int cmd_dashboard(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { NO_BROWSER = 1 };
    static const struct opt_spec spec[] = {{"no-browser", NO_BROWSER, false}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    bool browser = term_is_tty(stdout);
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o != NO_BROWSER)
            return err_set(e, ERR_VALUE, "dashboard takes no words");
        browser = false;
    }
    AUTO_REPLY struct reply reply = {0};
    int r = client_call(cli->client, &(struct call){.method = "POST", .path = "/v1/sign_in_links"}, &reply, e);
    if (r < 0)
        return r;
    if (cli->json) {
        print_json(reply.json);
        return EXIT_DONE;
    }
    AUTO_SECRET char *link = str_printf("%s%s", client_base(cli->client), jstr(reply.json, "path"));
    if (!link)
        return err_oom(e);
    print_text(stdout, link);
    putchar('\n');
    fflush(stdout);
    if (term_is_tty(stderr))
        fputs("Open it in a browser on this machine; it works once, within two minutes.\n", stderr);
    if (browser)
        browser_open(link);
    return EXIT_DONE;
}

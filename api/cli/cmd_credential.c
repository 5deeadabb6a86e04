/* credential list | set | delete. The secret comes from a file, from standard input or from the terminal, never from argv. */
#include <string.h>

#include "api/cli/cli.h"

enum { SECRET_MAX = 16 << 10 };

static int list(struct cli *cli, int argc, char **argv, struct err *e)
{
    int r = opt_words(argc, argv, 0, 0, NULL, NULL, e);
    if (r < 0)
        return r;
    AUTO_REPLY struct reply reply = {0};
    r = cli_fetch(cli, "/v1/credentials", &reply, e);
    if (r != 0)
        return r < 0 ? r : EXIT_DONE;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(reply.json, "credentials"), i, c) {
        print_field(stdout, jstr(c, "name"), 24);
        putchar(' ');
        print_field(stdout, jstr(c, "type"), 14);
        print_text(stdout, jstr(c, "account"));
        putchar('\n');
    }
    return EXIT_DONE;
}

static char *path_of(struct cli *cli, const char *name)
{
    AUTO_FREE char *escaped = client_escape(cli->client, name);
    return escaped ? str_printf("/v1/credentials/%s", escaped) : NULL;
}

static int read_secret(const char *file, const char *what, char **ret, struct err *e)
{
    if (!file && term_is_tty(stdin))
        return term_read_secret(what, ret, e);
    size_t n = 0;
    int r = opt_read_input(file ? file : "-", SECRET_MAX, ret, &n, e);
    while (r == 0 && n > 0 && strchr("\r\n \t", (*ret)[n - 1]))
        (*ret)[--n] = '\0';
    if (r == 0 && n == 0)
        r = err_set(e, ERR_VALUE, "the %s is empty", what);
    return r;
}

static int put(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { TYPE = 1, ACCOUNT, SECRET_FILE };
    static const struct opt_spec spec[] = {{"type", TYPE, true}, {"account", ACCOUNT, true}, {"secret-file", SECRET_FILE, true}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *name = NULL, *type = NULL, *account = NULL, *file = NULL;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == TYPE)
            type = it.value;
        else if (o == ACCOUNT)
            account = it.value;
        else if (o == SECRET_FILE)
            file = it.value;
        else if (name)
            return err_set(e, ERR_VALUE, "'%s' is one word too many; the secret is read from --secret-file or standard input", it.value);
        else
            name = it.value;
    }
    if (!name || !type)
        return err_set(e, ERR_VALUE, "give a name and --type account_key or --type sas");
    bool key = strcmp(type, "account_key") == 0;
    if (!key && strcmp(type, "sas") != 0)
        return err_set(e, ERR_VALUE, "--type takes account_key or sas, not '%s'", type);
    if (key != (account != NULL))
        return err_set(e, ERR_VALUE, key ? "an account_key needs --account NAME" : "--account goes with --type account_key");
    AUTO_SECRET char *secret = NULL;
    int r = read_secret(file, key ? "account key" : "SAS", &secret, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = path_of(cli, name);
    json_t *body = json_pack("{s:s, s:s*, s:s}", "type", type, "account", account, key ? "key" : "sas", secret);
    AUTO_REPLY struct reply reply = {0};
    if (!path || !body)
        r = err_set(e, ERR_VALUE, "name, account or secret is not UTF-8");
    else
        r = client_call(cli->client, &(struct call){.method = "PUT", .path = path, .body = body}, &reply, e);
    json_decref(body);
    if (r == 0 && cli->json && reply.json)
        print_json(reply.json);
    return r;
}

static int drop(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *name;
    int r = opt_words(argc, argv, 1, 1, &name, NULL, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = path_of(cli, name);
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    return client_call(cli->client, &(struct call){.method = "DELETE", .path = path}, &reply, e);
}

int cmd_credential(struct cli *cli, int argc, char **argv, struct err *e)
{
    static const struct {
        const char *verb;
        command_fn *run;
    } verbs[] = {{"list", list}, {"set", put}, {"delete", drop}};
    for (size_t i = 0; argc > 0 && i < ARRAY_LEN(verbs); i++)
        if (strcmp(argv[0], verbs[i].verb) == 0)
            return verbs[i].run(cli, argc - 1, argv + 1, e);
    return err_set(e, ERR_VALUE, "credential takes list, set or delete");
}

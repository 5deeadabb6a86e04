/* azure subscriptions | vms: what there is in Azure to recover. */
#include <string.h>

#include "api/cli/cli.h"

/* "?a=b&c=d" of what was given; heap, "" for nothing. */
static char *query_of(struct cli *cli, const char *const *keys, const char *const *values, size_t n)
{
    AUTO_STRBUF struct strbuf b = {.max = 8192};
    strbuf_adds(&b, "");
    for (size_t i = 0; i < n; i++) {
        if (!values[i])
            continue;
        AUTO_FREE char *escaped = client_escape(cli->client, values[i]);
        if (!escaped)
            return NULL;
        strbuf_addf(&b, "%s%s=%s", b.len ? "&" : "?", keys[i], escaped);
    }
    return strbuf_steal(&b);
}

/* The credential that the daemon takes when none is named: the only one that signs in. */
static int only_sign_in(struct cli *cli, char **ret, struct err *e)
{
    AUTO_REPLY struct reply reply = {0};
    int r = client_call(cli->client, &(struct call){.method = "GET", .path = "/v1/credentials"}, &reply, e);
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(reply.json, "credentials"), i, c) {
        if (r == 0 && !*ret && strcmp(jstr(c, "type"), "account_key") != 0 && strcmp(jstr(c, "type"), "sas") != 0 && !(*ret = str_dup(jstr(c, "name"))))
            r = err_oom(e);
    }
    return r;
}

static int fetch(struct cli *cli, const char *path, const char *credential, struct reply *ret, struct err *e)
{
    int r = cli_fetch(cli, path, ret, e);
    const json_t *problem = client_problem(cli->client);
    if (r >= 0 || !problem || strcmp(jstr(problem, "code"), "sign_in_needed") != 0)
        return r;
    AUTO_FREE char *name = str_dup(credential);
    if (!name && (r = only_sign_in(cli, &name, e)) < 0)
        return r;
    if (!name)
        return err_oom(e);
    r = cli_sign_in(cli, name, e);
    return r < 0 ? r : cli_fetch(cli, path, ret, e);
}

static int subscriptions(struct cli *cli, int argc, char **argv, struct err *e)
{
    static const struct opt_spec spec[] = {{"credential", 1, true}, {0}};
    static const char *const keys[] = {"credential"};
    const char *credential = NULL;
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == OPT_WORD)
            return opt_too_many(it.value, e);
        credential = it.value;
    }
    AUTO_FREE char *query = query_of(cli, keys, &credential, 1);
    AUTO_FREE char *path = query ? str_printf("/v1/azure/subscriptions%s", query) : NULL;
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    int r = fetch(cli, path, credential, &reply, e);
    if (r != 0)
        return r < 0 ? r : EXIT_DONE;
    size_t i;
    json_t *s;
    json_array_foreach(json_object_get(reply.json, "subscriptions"), i, s) {
        print_field(stdout, jstr(s, "id"), 38);
        print_field(stdout, jstr(s, "state"), 10);
        print_text(stdout, jstr(s, "name"));
        putchar('\n');
    }
    return EXIT_DONE;
}

static void vm_row(const json_t *vm)
{
    char size[SIZE_TEXT] = "-", generation[16] = "-";
    const json_t *os = json_array_get(json_object_get(vm, "disks"), 0);
    if (json_is_integer(json_object_get(os, "size")))
        size_text((uint64_t)jint(os, "size"), size);
    if (json_is_integer(json_object_get(vm, "generation")))
        snprintf(generation, sizeof generation, "gen %d", (int)jint(vm, "generation"));
    print_field(stdout, jstr(vm, "name"), 22);
    putchar(' ');
    print_field(stdout, jstr(vm, "power_state"), 12);
    printf(" %-6s ", generation);
    print_field(stdout, *jstr(vm, "os_type") ? jstr(vm, "os_type") : "-", 8);
    print_field(stdout, *jstr(vm, "vm_size") ? jstr(vm, "vm_size") : "-", 18);
    printf(" %10s  %s\n  ", size, json_is_true(json_object_get(vm, "recoverable")) ? "recoverable" : "not recoverable");
    print_text(stdout, jstr(vm, "id"));
    putchar('\n');
    size_t i;
    json_t *reason;
    json_array_foreach(json_object_get(vm, "reasons"), i, reason) {
        fputs("  ", stdout);
        print_text(stdout, jstr(reason, "weight"));
        if (*jstr(reason, "disk")) {
            fputs(", disk ", stdout);
            print_text(stdout, jstr(reason, "disk"));
        }
        fputs(": ", stdout);
        print_text(stdout, jstr(reason, "detail"));
        if (*jstr(reason, "remedy")) {
            fputs(". ", stdout);
            print_text(stdout, jstr(reason, "remedy"));
        }
        putchar('\n');
    }
}

static int vms(struct cli *cli, int argc, char **argv, struct err *e)
{
    static const struct opt_spec spec[] = {{"credential", 1, true}, {"subscription", 2, true}, {"resource-group", 3, true}, {"filter", 4, true}, {0}};
    static const char *const keys[] = {"credential", "subscription", "resource_group", "filter"};
    const char *values[ARRAY_LEN(keys)] = {0};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == OPT_WORD)
            return opt_too_many(it.value, e);
        values[(size_t)o - 1] = it.value;
    }
    AUTO_FREE char *query = query_of(cli, keys, values, ARRAY_LEN(keys));
    AUTO_FREE char *path = query ? str_printf("/v1/azure/vms%s", query) : NULL;
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    int r = fetch(cli, path, values[0], &reply, e);
    if (r != 0)
        return r < 0 ? r : EXIT_DONE;
    size_t i;
    json_t *o, *list = json_object_get(reply.json, "vms");
    if (json_array_size(list) == 0)
        fputs("no virtual machines\n", stderr);
    json_array_foreach(list, i, o)
        vm_row(o);
    json_array_foreach(json_object_get(reply.json, "unreadable"), i, o) {
        fputs("subscription ", stderr);
        print_text(stderr, jstr(o, "subscription_id"));
        fputs(" cannot be read: ", stderr);
        print_text(stderr, jstr(json_object_get(o, "error"), "detail"));
        fputc('\n', stderr);
    }
    return EXIT_DONE;
}

int cmd_azure(struct cli *cli, int argc, char **argv, struct err *e)
{
    if (argc > 0 && strcmp(argv[0], "subscriptions") == 0)
        return subscriptions(cli, argc - 1, argv + 1, e);
    if (argc > 0 && strcmp(argv[0], "vms") == 0)
        return vms(cli, argc - 1, argv + 1, e);
    return err_set(e, ERR_VALUE, "azure takes subscriptions or vms");
}

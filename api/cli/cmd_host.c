/* host and events: what the daemon says of its machine, and of what happens. */
#include <string.h>

#include "api/cli/cli.h"
#include "common/clock.h"

enum { RECONNECT_MS = 1000, RECONNECTS = 30, ROLE_LOOK_MS = 2000 };

int cmd_host(struct cli *cli, int argc, char **argv, struct err *e)
{
    int r = opt_words(argc, argv, 0, 0, NULL, NULL, e);
    if (r < 0)
        return r;
    AUTO_REPLY struct reply reply = {0};
    r = client_call(cli->client, &(struct call){.method = "GET", .path = "/v1/host"}, &reply, e);
    if (r < 0)
        return r;
    bool failed = false;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(reply.json, "checks"), i, row) {
        failed |= strcmp(jstr(row, "status"), "failed") == 0;
        if (cli->json)
            continue;
        print_field(stdout, jstr(row, "status"), 8);
        putchar(' ');
        print_field(stdout, jstr(row, "check"), 22);
        putchar(' ');
        print_text(stdout, jstr(row, "detail"));
        putchar('\n');
        if (strcmp(jstr(row, "status"), "ok") != 0 && *jstr(row, "remedy")) {
            printf("%9s%-22s ", "", "");
            print_text(stdout, jstr(row, "remedy"));
            putchar('\n');
        }
    }
    if (cli->json)
        print_json(reply.json);
    return failed ? EXIT_FAILED : EXIT_DONE;
}

/* ---- enable-hyperv ---- */

static int role_end(const json_t *role, struct err *e)
{
    const char *state = jstr(role, "state");
    if (!strcmp(state, "restart_needed"))
        puts("Hyper-V is enabled from the next restart of the host on. Restart it (virtual machines stop with it), then look: vmrecover host");
    else if (!strcmp(state, "enabled"))
        puts("Hyper-V is enabled. Whether its hypervisor runs, `vmrecover host` says.");
    else if (!strcmp(state, "failed"))
        print_problem(json_object_get(role, "error"));
    else
        return err_set(e, ERR_WRONG_STATE, "Hyper-V was being enabled, and now is '%.40s': the service was restarted meanwhile", state);
    return strcmp(state, "failed") ? EXIT_DONE : EXIT_FAILED;
}

/* Looks until it is no longer being enabled. */
static int role_watch(struct cli *cli, struct err *e)
{
    for (int64_t shown = -1;;) {
        AUTO_REPLY struct reply reply = {0};
        int r = client_call(cli->client, &(struct call){.method = "GET", .path = "/v1/host"}, &reply, e);
        if (r < 0)
            return r;
        json_t *role = json_object_get(reply.json, "role");
        if (strcmp(jstr(role, "state"), "enabling")) {
            if (!cli->json)
                return role_end(role, e);
            print_json(role);
            return strcmp(jstr(role, "state"), "failed") ? EXIT_DONE : EXIT_FAILED;
        }
        int64_t percent = jint(role, "percent");
        if (!cli->json && percent > shown) {
            printf("enabling Hyper-V: %lld %%\n", (long long)percent);
            fflush(stdout);
            shown = percent;
        }
        clock_sleep_ms(ROLE_LOOK_MS);
    }
}

int cmd_enable_hyperv(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { FORCE = 1, NO_WAIT };
    static const struct opt_spec spec[] = {{"force", FORCE, false}, {"no-wait", NO_WAIT, false}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    bool force = false, no_wait = false;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == OPT_WORD)
            return opt_too_many(it.value, e);
        force = force || o == FORCE;
        no_wait = no_wait || o == NO_WAIT;
    }
    json_t *body = json_pack("{s:b}", "force", force);
    AUTO_REPLY struct reply reply = {0};
    int r = body ? client_call(cli->client, &(struct call){.method = "POST", .path = "/v1/host/enable-hyperv", .body = body}, &reply, e) : err_oom(e);
    json_decref(body);
    if (r < 0)
        return r;
    if (no_wait && cli->json)
        print_json(reply.json);
    return no_wait ? EXIT_DONE : role_watch(cli, e);
}

/* ---- events ---- */

struct follower {
    struct cli *cli;
    char last_id[64];
};

static void event_line(const json_t *event)
{
    print_field(stdout, jstr(event, "at"), 26);
    print_field(stdout, *jstr(event, "job_id") ? jstr(event, "job_id") : "-", 38);
    print_field(stdout, jstr(event, "type"), 18);
    json_t *data = json_object_get(event, "data");
    char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;
    putchar(' ');
    print_text(stdout, text ? text : "");
    putchar('\n');
    free(text);
    fflush(stdout);
}

static int on_event(void *arg, const char *id, const char *type, const char *data)
{
    struct follower *f = arg;
    snprintf(f->last_id, sizeof f->last_id, "%s", id);
    json_t *event = json_loads(data, 0, NULL);
    if (!event)
        return 0;
    if (f->cli->json)
        print_json_line(event);
    else if (strcmp(type, "progress") != 0)          /* for machines: once a second, and of no lasting interest */
        event_line(event);
    json_decref(event);
    return ferror(stdout) ? -ERR_IO : 0;
}

static int follow(struct cli *cli, const char *path, const char *after, struct err *e)
{
    struct follower f = {.cli = cli};
    snprintf(f.last_id, sizeof f.last_id, "%s", after ? after : "");
    /* The daemon ends a stream when it stops; what it says after its next start follows on from the last id. */
    bool connected = false;
    for (unsigned away = 0; away < RECONNECTS; away++) {
        int r = client_stream(cli->client, path, f.last_id, on_event, &f, e);
        if (r == -ERR_IO)
            return err_set(e, ERR_IO, "standard output cannot be written");
        if (r < 0 && (r != -ERR_UNREACHABLE || !(connected || *f.last_id)))
            return r;
        if (r == 0) {
            connected = true;
            away = 0;
        }
        clock_sleep_ms(RECONNECT_MS);
    }
    return err_set(e, ERR_UNREACHABLE, "the daemon has been away for %u seconds", (unsigned)RECONNECTS);
}

int cmd_events(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { AFTER = 1, LIMIT, FOLLOW };
    static const struct opt_spec spec[] = {{"after", AFTER, true}, {"limit", LIMIT, true}, {"follow", FOLLOW, false}, {0}};
    const char *given = NULL, *after = NULL;
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv, .word = &given};
    uint64_t n, limit = 0;
    bool stream = false;
    int r;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == AFTER && (r = opt_number("--after", it.value, 0, INT64_MAX, &n, e)) < 0)
            return r;
        if (o == LIMIT && (r = opt_number("--limit", it.value, 1, INT32_MAX, &limit, e)) < 0)
            return r;
        if (o == AFTER)
            after = it.value;
        else if (o == FOLLOW)
            stream = true;
    }
    AUTO_FREE char *id = NULL;
    if (given && (r = name_job(cli, given, &id, e)) < 0)
        return r;
    AUTO_FREE char *path = id ? str_printf("/v1/jobs/%s/events", id) : str_dup("/v1/events");
    AUTO_FREE char *limit_arg = limit ? str_printf("&limit=%llu", (unsigned long long)limit) : str_dup("");
    AUTO_FREE char *page = path && limit_arg ? str_printf("%s?after=%s%s", path, after ? after : "0", limit_arg) : NULL;
    if (!page)
        return err_oom(e);
    if (stream)
        return follow(cli, path, after, e);
    return cli_list(cli, page, "events", event_line, e);
}

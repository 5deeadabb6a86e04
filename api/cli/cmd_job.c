/* list, show, watch, pause, resume, cancel, retry, delete. */
#include <string.h>

#include "api/cli/cli.h"
#include "common/clock.h"

enum { GONE_POLL_MS = 300, GONE_MAX_MS = 10 * 60 * 1000, URL_FILE_MAX = 8192 };

static void list_row(const json_t *job)
{
    print_field(stdout, jstr(job, "id"), 38);
    print_field(stdout, jstr(job, "state"), 11);
    print_field(stdout, jstr(job, "created_at"), 26);
    print_text(stdout, jstr(job, "name"));
    putchar('\n');
}

int cmd_list(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { STATE = 1, LIMIT, CURSOR };
    static const struct opt_spec spec[] = {{"state", STATE, true}, {"limit", LIMIT, true}, {"cursor", CURSOR, true}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *state = NULL, *cursor = NULL;
    uint64_t limit = 50;
    int r;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == STATE)
            state = it.value;
        else if (o == CURSOR)
            cursor = it.value;
        else if (o == LIMIT && (r = opt_number("--limit", it.value, 1, INT32_MAX, &limit, e)) < 0)
            return r;
        else if (o == OPT_WORD)
            return err_set(e, ERR_VALUE, "'%s' is one word too many", it.value);
    }
    AUTO_FREE char *state_arg = state ? client_escape(cli->client, state) : NULL;
    AUTO_FREE char *cursor_arg = cursor ? client_escape(cli->client, cursor) : NULL;
    AUTO_FREE char *path = str_printf("/v1/jobs?limit=%llu%s%s%s%s", (unsigned long long)limit, state_arg ? "&state=" : "", state_arg ? state_arg : "",
                                      cursor_arg ? "&cursor=" : "", cursor_arg ? cursor_arg : "");
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    r = cli_fetch(cli, path, &reply, e);
    if (r != 0)
        return r < 0 ? r : EXIT_DONE;
    size_t i;
    json_t *job, *jobs = json_object_get(reply.json, "jobs");
    if (json_array_size(jobs) == 0)
        fputs("no jobs\n", stderr);
    json_array_foreach(jobs, i, job)
        list_row(job);
    if (*jstr(reply.json, "next_cursor")) {
        fputs("older ones: --cursor ", stderr);
        print_text(stderr, jstr(reply.json, "next_cursor"));
        fputc('\n', stderr);
    }
    return EXIT_DONE;
}

static void show_disk(const json_t *disk)
{
    const json_t *source = json_object_get(disk, "source");
    char size[SIZE_TEXT];
    size_text((uint64_t)jint(disk, "virtual_size"), size);
    printf("disk %-4d ", (int)jint(disk, "index"));
    print_text(stdout, jstr(source, "type"));
    const char *from = *jstr(source, "url") ? jstr(source, "url") : jstr(source, "path");
    if (*from)
        putchar(' ');
    print_text(stdout, from);
    if (jint(disk, "virtual_size") > 0)
        printf(", %s", size);
    printf("\n          ");
    print_text(stdout, jstr(disk, "format"));
    putchar(' ');
    print_text(stdout, *jstr(disk, "path") ? jstr(disk, "path") : "(no file yet)");
    putchar('\n');
}

static void show_task(const json_t *task)
{
    const json_t *disk = json_object_get(task, "disk"), *progress = json_object_get(task, "progress");
    char label[40], done[SIZE_TEXT], total[SIZE_TEXT], moved[SIZE_TEXT];
    if (json_is_integer(disk))
        snprintf(label, sizeof label, "%s.%d", jstr(task, "kind"), (int)json_integer_value(disk));
    else
        snprintf(label, sizeof label, "%s", jstr(task, "kind"));
    print_field(stdout, label, 14);
    putchar(' ');
    print_field(stdout, jstr(task, "state"), 10);
    if (jint(task, "attempts") > 1)
        printf(" attempt %d", (int)jint(task, "attempts"));
    if (jint(progress, "total_bytes") > 0) {
        size_text((uint64_t)jint(progress, "done_bytes"), done);
        size_text((uint64_t)jint(progress, "total_bytes"), total);
        size_text((uint64_t)jint(progress, "transferred_bytes"), moved);
        printf(" %s of %s (%s transferred)", done, total, moved);
    }
    putchar('\n');
    const json_t *error = json_object_get(task, "error");
    if (json_is_object(error)) {
        fflush(stdout);
        print_problem(error);
    }
}

int cmd_show(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *given;
    int r = opt_words(argc, argv, 1, 1, &given, NULL, e);
    AUTO_FREE char *id = NULL;
    if (r < 0 || (r = name_job(cli, given, &id, e)) < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/jobs/%s", id);
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    r = cli_fetch(cli, path, &reply, e);
    if (r != 0)
        return r < 0 ? r : EXIT_DONE;
    static const char *const members[][2] = {{"job", "id"}, {"name", "name"}, {"state", "state"}, {"created", "created_at"}, {"VM", "vm_id"}};
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (!*jstr(reply.json, members[i][1]))
            continue;
        printf("%-9s ", members[i][0]);
        print_text(stdout, jstr(reply.json, members[i][1]));
        putchar('\n');
    }
    const json_t *volume = json_object_get(reply.json, "volume");
    if (json_is_object(volume)) {
        printf("volume    ");
        print_text(stdout, jstr(volume, "label"));
        printf(", %s, %s, ", jstr(volume, "layout"), jstr(volume, "file_system"));
        print_text(stdout, jstr(volume, "mount_point"));
        putchar('\n');
    }
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(reply.json, "disks"), i, item)
        show_disk(item);
    json_array_foreach(json_object_get(reply.json, "tasks"), i, item)
        show_task(item);
    return EXIT_DONE;
}

int cmd_watch(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *given;
    int r = opt_words(argc, argv, 1, 1, &given, NULL, e);
    AUTO_FREE char *id = NULL;
    if (r < 0 || (r = name_job(cli, given, &id, e)) < 0)
        return r;
    return watch_job(cli, id, e);
}

static int change(struct cli *cli, int argc, char **argv, const char *verb, struct err *e)
{
    char *given;
    int r = opt_words(argc, argv, 1, 1, &given, NULL, e);
    AUTO_FREE char *id = NULL;
    if (r < 0 || (r = name_job(cli, given, &id, e)) < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/jobs/%s/%s", id, verb);
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    r = client_call(cli->client, &(struct call){.method = "POST", .path = path}, &reply, e);
    if (r == 0 && cli->json && reply.json)
        print_json(reply.json);
    return r;
}

int cmd_pause(struct cli *cli, int argc, char **argv, struct err *e)
{
    return change(cli, argc, argv, "pause", e);
}

int cmd_resume(struct cli *cli, int argc, char **argv, struct err *e)
{
    return change(cli, argc, argv, "resume", e);
}

int cmd_cancel(struct cli *cli, int argc, char **argv, struct err *e)
{
    return change(cli, argc, argv, "cancel", e);
}

/* retry JOB [--url-file FILE [--disk N]]: the file holds the blob's URL with a new SAS, which so stays out of the list of processes. */
int cmd_retry(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { URL_FILE = 1, DISK };
    static const struct opt_spec spec[] = {{"url-file", URL_FILE, true}, {"disk", DISK, true}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *given = NULL, *file = NULL;
    uint64_t disk = 0;
    int o, r = 0;
    while ((o = opt_next(&it, e)) != OPT_END) {
        if (o < 0)
            return o;
        if (o == URL_FILE)
            file = it.value;
        else if (o == DISK && (r = opt_number("--disk", it.value, 0, 3, &disk, e)) < 0)
            return r;
        else if (o == OPT_WORD && given)
            return err_set(e, ERR_VALUE, "'%s' is one word too many", it.value);
        else if (o == OPT_WORD)
            given = it.value;
    }
    if (!given)
        return err_set(e, ERR_VALUE, "name the job");
    AUTO_FREE char *id = NULL;
    if ((r = name_job(cli, given, &id, e)) < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/jobs/%s/retry", id);
    AUTO_SECRET char *url = NULL;
    json_t *body = NULL;
    if (!path)
        return err_oom(e);
    if (file) {
        if ((r = opt_read_input(file, URL_FILE_MAX, &url, NULL, e)) < 0)
            return r;
        url[strcspn(url, "\r\n")] = '\0';
        if (!(body = json_pack("{s:[{s:I, s:s}]}", "sources", "disk", (json_int_t)disk, "url", url)))
            return err_set(e, ERR_VALUE, "the URL is not valid UTF-8");
    }
    AUTO_REPLY struct reply reply = {0};
    r = client_call(cli->client, &(struct call){.method = "POST", .path = path, .body = body}, &reply, e);
    json_decref(body);
    if (r == 0 && cli->json && reply.json)
        print_json(reply.json);
    return r;
}

/* Until the job is no longer there; the daemon cancels and undoes in the background. */
static int wait_gone(struct cli *cli, const char *id, struct err *e)
{
    AUTO_FREE char *path = str_printf("/v1/jobs/%s", id);
    if (!path)
        return err_oom(e);
    for (int64_t end = clock_mono_ms() + GONE_MAX_MS; clock_mono_ms() < end; clock_sleep_ms(GONE_POLL_MS)) {
        AUTO_REPLY struct reply reply = {0};
        int r = client_call(cli->client, &(struct call){.method = "GET", .path = path}, &reply, e);
        if (r == -ERR_NOT_FOUND) {
            err_clear(e);
            return EXIT_DONE;
        }
        if (r < 0)
            return r;
    }
    err_set(e, ERR_TIMEOUT, "job %s is still being deleted", id);
    return err_hint(e, "The daemon goes on; its log says what it waits for.");
}

int cmd_delete(struct cli *cli, int argc, char **argv, struct err *e)
{
    enum { DISKS = 1, NO_WAIT };
    static const struct opt_spec spec[] = {{"disks", DISKS, true}, {"no-wait", NO_WAIT, false}, {0}};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    const char *given = NULL, *disks = "keep";
    bool wait = true;
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o == NO_WAIT)
            wait = false;
        else if (o == DISKS)
            disks = it.value;
        else if (given)
            return err_set(e, ERR_VALUE, "'%s' is one word too many", it.value);
        else
            given = it.value;
    }
    if (!given)
        return err_set(e, ERR_VALUE, "name the job to delete");
    if (strcmp(disks, "keep") != 0 && strcmp(disks, "delete") != 0)
        return err_set(e, ERR_VALUE, "--disks takes keep or delete, not '%s'", disks);
    AUTO_FREE char *id = NULL;
    int r = name_job(cli, given, &id, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = str_printf("/v1/jobs/%s?disks=%s", id, disks);
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    r = client_call(cli->client, &(struct call){.method = "DELETE", .path = path}, &reply, e);
    if (r < 0)
        return r;
    if (cli->json && reply.json)
        print_json(reply.json);
    return wait ? wait_gone(cli, id, e) : EXIT_DONE;
}

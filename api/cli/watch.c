/* Following a job to its end by asking for it. On a terminal the tasks are drawn in place with bars; elsewhere every change
 * of a state, and every tenth of a task's bytes, is one line. The daemon may be restarted meanwhile: the job goes on, and so
 * does watching. */
#include "api/cli/cli.h"

#include <string.h>

#include "common/clock.h"

enum {
    POLL_MS = 500,
    SILENCE_MAX_MS = 60 * 1000,                      /* how long a daemon may be away */
    TASKS_MAX = 64,
    LABEL_MAX = 32,
    STEPS = 10,                                      /* lines over a task's bytes, where there is no terminal */
};

struct seen {                                        /* what was said last of a task */
    char state[16];
    int64_t step, attempts;
};

struct watch {
    bool tty;
    unsigned lines;                                  /* drawn on the terminal, to be drawn over */
    char state[16];                                  /* of the job */
    struct seen tasks[TASKS_MAX];
    char *last_json;
    int64_t after;                                   /* the last event that was looked at */
};

static void task_label(const json_t *task, char buf[LABEL_MAX])
{
    const json_t *disk = json_object_get(task, "disk");
    if (json_is_integer(disk))
        snprintf(buf, LABEL_MAX, "%s.%d", jstr(task, "kind"), (int)json_integer_value(disk));
    else
        snprintf(buf, LABEL_MAX, "%s", jstr(task, "kind"));
}

static unsigned percent_of(const json_t *progress, unsigned whole)
{
    double total = (double)jint(progress, "total_bytes"), done = (double)jint(progress, "done_bytes");
    return total <= 0 || done <= 0 ? 0 : done >= total ? whole : (unsigned)(done / total * whole);
}

static void figures_text(const json_t *progress, char *buf, size_t size)
{
    char done[SIZE_TEXT], total[SIZE_TEXT], rate[SIZE_TEXT], eta[SIZE_TEXT];
    size_text((uint64_t)jint(progress, "done_bytes"), done);
    size_text((uint64_t)jint(progress, "total_bytes"), total);
    size_text((uint64_t)jint(progress, "bytes_per_second"), rate);
    int n = snprintf(buf, size, "%s of %s", done, total);
    if (n > 0 && (size_t)n < size && jint(progress, "bytes_per_second") > 0) {
        const json_t *left = json_object_get(progress, "eta_seconds");
        bool known = json_is_integer(left) && json_integer_value(left) >= 0;
        if (known)
            seconds_text(json_integer_value(left), eta);
        snprintf(buf + n, size - (size_t)n, ", %s/s%s%s%s", rate, known ? ", " : "", known ? eta : "", known ? " left" : "");
    }
}

static void draw(struct watch *w, const json_t *job)
{
    if (w->lines)
        printf("\033[%uA", w->lines);
    unsigned columns = term_columns();
    /* a line that wraps could not be drawn over: the longest state has 9 columns */
    char name[128];
    snprintf(name, sizeof name, "%s", jstr(job, "name"));
    size_t n = strlen(name);
    if (n > columns - 12) {
        for (n = columns - 12; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80; n--)
            ;                                        /* not within a character */
        name[n] = '\0';
    }
    printf("\033[K");
    print_text(stdout, name);
    printf("  %s\n", jstr(job, "state"));
    w->lines = 1;
    size_t i;
    json_t *task;
    json_array_foreach(json_object_get(job, "tasks"), i, task) {
        const json_t *progress = json_object_get(task, "progress");
        const char *state = jstr(task, "state");
        char label[LABEL_MAX], figures[128];
        task_label(task, label);
        printf("\033[K  %-14s ", label);
        bool bytes = jint(progress, "total_bytes") > 0 && strcmp(state, "pending") != 0;
        if (bytes) {
            figures_text(progress, figures, sizeof figures);
            /* 17 columns before, 3 around the bar, 7 for the percentage, the figures, and one that stays free: the Windows console goes on
             * to the next line as soon as its last column is written. A terminal that is too narrow gets no bar. */
            size_t taken = 17 + 3 + 7 + strlen(figures) + 1;
            unsigned width = columns > taken + 8 ? (unsigned)(columns - taken) : 0;
            if (width > 40)
                width = 40;
            unsigned full = percent_of(progress, width);
            if (width)
                putchar('[');
            for (unsigned k = 0; k < width; k++)
                putchar(k < full ? '#' : '.');
            printf("%s%3u %%  %s", width ? "] " : "", percent_of(progress, 100), figures);
        }
        if (!bytes || strcmp(state, "running") != 0)
            printf("%s%s", bytes ? "  " : "", jint(task, "attempts") > 0 && strcmp(state, "pending") == 0 ? "waiting for another attempt" : state);
        putchar('\n');
        w->lines++;
    }
    fflush(stdout);
}

static void say(const char *label, const char *text)
{
    char now[CLOCK_TEXT];
    clock_format(clock_now_ms(), now);
    printf("%s %s ", now, label);
    print_text(stdout, text);
    putchar('\n');
    fflush(stdout);
}

static void tell(struct watch *w, const json_t *job)
{
    const char *state = jstr(job, "state");
    size_t i;
    json_t *task;
    json_array_foreach(json_object_get(job, "tasks"), i, task) {
        if (i >= TASKS_MAX)
            break;
        struct seen *s = &w->tasks[i];
        char label[LABEL_MAX], figures[128], text[192];
        task_label(task, label);
        const json_t *progress = json_object_get(task, "progress");
        int64_t step = percent_of(progress, STEPS);
        bool changed = strcmp(s->state, jstr(task, "state")) != 0;
        /* between two looks it may have run and failed: the count of attempts tells */
        const json_t *error = json_object_get(task, "error");
        if (strcmp(jstr(task, "state"), "pending") == 0 && json_is_object(error) && jint(task, "attempts") != s->attempts) {
            AUTO_FREE char *line = str_printf("tried %d times, next after %s: %s", (int)jint(task, "attempts"),
                                              *jstr(task, "not_before") ? jstr(task, "not_before") : "a moment", jstr(error, "detail"));
            say(label, line ? line : jstr(error, "detail"));
            s->attempts = jint(task, "attempts");
        }
        if (!changed && step == s->step)
            continue;
        /* "pending" at the first look says nothing that the job's own line does not */
        if (changed && (*s->state || strcmp(jstr(task, "state"), "pending") != 0))
            say(label, jstr(task, "state"));
        if (step != s->step && strcmp(jstr(task, "state"), "running") == 0) {
            figures_text(progress, figures, sizeof figures);
            snprintf(text, sizeof text, "%u %%  %s", percent_of(progress, 100), figures);
            say(label, text);
        }
        snprintf(s->state, sizeof s->state, "%s", jstr(task, "state"));
        s->step = step;
    }
    if (strcmp(w->state, state) != 0)
        say("job", state);
    snprintf(w->state, sizeof w->state, "%s", state);
}

static int show(struct cli *cli, struct watch *w, json_t *job, struct err *e)
{
    if (!cli->json) {
        if (w->tty)
            draw(w, job);
        else
            tell(w, job);
        return 0;
    }
    char *text = json_dumps(job, JSON_COMPACT);
    if (!text)
        return err_oom(e);
    if (!w->last_json || strcmp(w->last_json, text) != 0)
        print_json_line(job);
    free(w->last_json);
    w->last_json = text;
    return 0;
}

static bool is_final(const char *state)
{
    return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0 || strcmp(state, "skipped") == 0;
}

static const json_t *last_task(const json_t *job, const char *kind)
{
    const json_t *found = NULL;
    size_t i;
    json_t *task;
    json_array_foreach(json_object_get(job, "tasks"), i, task)
        if (strcmp(jstr(task, "kind"), kind) == 0)
            found = task;
    return found;
}

static int finish(struct cli *cli, const json_t *job, const char *state)
{
    size_t i;
    json_t *task;
    json_array_foreach(json_object_get(job, "tasks"), i, task) {
        char label[LABEL_MAX];
        if (cli->json || !json_is_object(json_object_get(task, "error")) || strcmp(jstr(task, "state"), "failed") != 0)
            continue;
        task_label(task, label);
        fprintf(stderr, "task %s failed\n", label);
        print_problem(json_object_get(task, "error"));
    }
    return strcmp(state, "succeeded") == 0 || strcmp(state, "skipped") == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* A task that waits for a person to sign in says so by an event. Codes that have expired are of no use to anybody. */
static void show_codes(struct cli *cli, struct watch *w, const char *id)
{
    AUTO_FREE char *path = str_printf("/v1/jobs/%s/events?after=%lld&limit=200", id, (long long)w->after);
    AUTO_REPLY struct reply reply = {0};
    struct err ignored;                              /* the next look at the job says it */
    if (!path || client_call(cli->client, &(struct call){.method = "GET", .path = path}, &reply, &ignored) < 0)
        return;
    size_t i;
    json_t *event;
    json_array_foreach(json_object_get(reply.json, "events"), i, event) {
        const json_t *data = json_object_get(event, "data");
        int64_t until = 0;
        w->after = jint(event, "id");
        if (strcmp(jstr(event, "type"), "sign_in_needed") != 0 || !clock_parse(jstr(data, "expires_at"), &until) || until < clock_now_ms())
            continue;
        fflush(stdout);
        print_text(stderr, jstr(data, "message"));
        fputc('\n', stderr);
        w->lines = 0;                                /* what is drawn next goes below */
    }
}

static int follow(struct cli *cli, struct watch *w, const char *id, const char *kind, struct err *e)
{
    AUTO_FREE char *path = str_printf("/v1/jobs/%s", id);
    if (!path)
        return err_oom(e);
    int64_t answered_at = 0;                         /* 0: never, and then a daemon that is away is an error at once */
    for (;;) {
        AUTO_REPLY struct reply reply = {0};
        int r = client_call(cli->client, &(struct call){.method = "GET", .path = path}, &reply, e);
        bool away = r < 0 && (e->code == ERR_UNREACHABLE || e->code == ERR_STOPPING);
        if (r < 0 && !(away && answered_at && clock_mono_ms() - answered_at < SILENCE_MAX_MS))
            return r;
        if (r == 0) {
            answered_at = clock_mono_ms();
            r = show(cli, w, reply.json, e);
            if (r < 0)
                return r;
            if (strcmp(jstr(reply.json, "state"), "running") == 0)
                show_codes(cli, w, id);
            const json_t *of = kind ? last_task(reply.json, kind) : reply.json;
            if (!of)
                return err_set(e, ERR_NOT_FOUND, "the job has no %s task", kind);
            if (is_final(jstr(of, "state")))
                return finish(cli, reply.json, jstr(of, "state"));
        }
        clock_sleep_ms(POLL_MS);
    }
}

int watch_task(struct cli *cli, const char *id, const char *kind, struct err *e)
{
    struct watch w = {.tty = term_draws()};
    int r = follow(cli, &w, id, kind, e);
    free(w.last_json);
    return r;
}

int watch_job(struct cli *cli, const char *id, struct err *e)
{
    return watch_task(cli, id, NULL, e);
}

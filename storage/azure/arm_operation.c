/* Long-running operations: the state machine, and the loop that feeds it. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "storage/azure/azure_internal.h"

#define DEADLINE_MS 600000
#define FAILURES_MAX 6                               /* polls in a row without an answer that says something */

void operation_clear(struct operation *o)
{
    free(o->next);
    free(o->location);
    json_decref(o->result);
    *o = (struct operation){0};
}

/* Most of what export needs is done within a second; what takes minutes is asked for rarely. */
static void set_pause(struct operation *o, const struct rest_answer *a)
{
    static const unsigned schedule_ms[] = {500, 1000, 2000, 3000, 5000, 8000, 13000, 20000, 30000};
    size_t i = o->polls < ARRAY_LEN(schedule_ms) ? o->polls : ARRAY_LEN(schedule_ms) - 1;
    o->pause_ms = a->headers.retry_after_ms ? a->headers.retry_after_ms : schedule_ms[i];
    o->polls++;
}

static int go_to(struct operation *o, enum operation_state state, const char *what, const char *url, struct err *e)
{
    int r = arm_check_url(o->arm, what, url, e);
    if (r < 0)
        return r;
    char *copy = str_dup(url);
    if (!copy)
        return err_oom(e);
    free(o->next);
    o->next = copy;
    o->state = state;
    return 0;
}

static int keep_location(struct operation *o, const struct rest_answer *a, struct err *e)
{
    if (!a->location)
        return 0;
    char *copy = str_dup(a->location);
    if (!copy)
        return err_oom(e);
    free(o->location);
    o->location = copy;
    return 0;
}

static int done(struct operation *o, json_t *result)
{
    o->state = OPERATION_DONE;
    o->result = json_is_object(result) ? json_incref(result) : NULL;
    return 0;
}

static const char *provisioning_state(const json_t *body)
{
    return json_string_value(json_object_get(json_object_get(body, "properties"), "provisioningState"));
}

static bool is_failure(const char *word)
{
    return str_ieq(word, "Failed") || str_ieq(word, "Canceled") || str_ieq(word, "Cancelled");
}

static bool changes_resource(const struct operation *o)
{
    return !strcmp(o->method, "PUT") || !strcmp(o->method, "PATCH");
}

static int failed(struct operation *o, const char *state, const json_t *body, const struct rest_answer *a, struct err *e)
{
    char what[ARM_WHAT_MAX];
    arm_what(o->method, o->url, what);
    return arm_operation_error(o->arm, what, state, body, a, e);
}

/* The resource itself: does it say that it is still being made? */
static int judge_resource(struct operation *o, const struct rest_answer *a, json_t *body, struct err *e)
{
    const char *state = provisioning_state(body);
    if (!state || str_ieq(state, "Succeeded"))
        return done(o, body);
    if (is_failure(state))
        return failed(o, state, body, a, e);
    set_pause(o, a);
    return go_to(o, OPERATION_WATCHING, "resource", o->url, e);
}

int operation_begin(struct operation *o, const struct rest_answer *a, json_t *body, struct err *e)
{
    char what[ARM_WHAT_MAX];
    int r = keep_location(o, a, e);
    if (r < 0)
        return r;
    if (a->operation) {
        set_pause(o, a);
        return go_to(o, OPERATION_POLLING, "Azure-AsyncOperation", a->operation, e);
    }
    if (a->headers.status == 202 && o->location) {
        set_pause(o, a);
        return go_to(o, OPERATION_WAITING, "Location", o->location, e);
    }
    if (changes_resource(o))
        return judge_resource(o, a, body, e);
    if (a->headers.status != 202)
        return done(o, body);
    arm_what(o->method, o->url, what);
    return err_set(e, ERR_UPSTREAM_FINAL, "%s was answered 202 without saying where the operation can be followed", what);
}

static int after_success(struct operation *o, const json_t *body, struct err *e)
{
    json_t *output = json_object_get(json_object_get(body, "properties"), "output");
    if (json_is_object(output))
        return done(o, output);
    o->pause_ms = 0;
    if (o->no_result)
        return done(o, NULL);
    if (changes_resource(o))
        return go_to(o, OPERATION_FETCHING, "resource", o->url, e);
    if (o->location && strcmp(o->method, "DELETE"))
        return go_to(o, OPERATION_FETCHING, "Location", o->location, e);
    return done(o, NULL);
}

int operation_step(struct operation *o, const struct rest_answer *a, json_t *body, struct err *e)
{
    int status = a->headers.status, r = keep_location(o, a, e);
    if (r < 0)
        return r;
    const char *word = json_string_value(json_object_get(body, "status"));
    switch (o->state) {
    case OPERATION_POLLING:
        if (word && str_ieq(word, "Succeeded"))
            return after_success(o, body, e);
        if (word && is_failure(word))
            return failed(o, word, body, a, e);
        set_pause(o, a);
        return a->operation ? go_to(o, OPERATION_POLLING, "Azure-AsyncOperation", a->operation, e) : 0;
    case OPERATION_WAITING:
    case OPERATION_FETCHING:
        if (status != 202)
            return done(o, status == 204 ? NULL : body);
        set_pause(o, a);
        return a->location ? go_to(o, o->state, "Location", a->location, e) : 0;
    case OPERATION_WATCHING:
        return judge_resource(o, a, body, e);
    default:
        return 0;
    }
}

/* ---- the loop ---- */

/* Whether a poll that failed says nothing about the operation. The answer of Location alone is the operation's own, good or bad. */
static bool says_nothing(const struct operation *o, const struct err *e)
{
    if (e->code == ERR_CANCELLED || e->code == ERR_OOM)
        return false;
    return o->state == OPERATION_POLLING || arm_error_is_transient(e);
}

static int follow(struct arm *a, struct operation *o, int64_t deadline, struct err *e)
{
    AUTO(rest_answer_clear) struct rest_answer answer = {0};
    char what[ARM_WHAT_MAX];
    arm_what(o->method, o->url, what);
    for (unsigned failures = 0; o->state != OPERATION_DONE;) {
        int64_t left = deadline - clock_mono_ms();
        if (left <= 0) {
            err_set(e, ERR_TIMEOUT, "%s: the operation still runs; nobody waits any longer", what);
            snprintf(e->upstream.service, sizeof e->upstream.service, "arm");
            return -ERR_TIMEOUT;
        }
        if (!rest_pause(o->pause_ms < left ? o->pause_ms : (unsigned)left, a->wait.stop, a->wait.arg))
            return err_set(e, ERR_CANCELLED, "%s: stopped while the operation ran", what);
        int r = arm_send(a, "GET", o->next, NULL, &answer, e);
        json_t *body = NULL;
        if (r == 0 && answer.body.len)
            r = arm_json(o->next, &answer, &body, e);
        else if (r == 0 && (o->state == OPERATION_POLLING || o->state == OPERATION_WATCHING))
            r = err_set(e, ERR_UPSTREAM, "the poll was answered without a body");
        if (r == 0) {
            failures = 0;
            r = operation_step(o, &answer, body, e);
            json_decref(body);
            if (r < 0)
                return r;
            continue;
        }
        if (!says_nothing(o, e) || ++failures == FAILURES_MAX) {
            if (e->code == ERR_NOT_FOUND && o->state != OPERATION_WATCHING)
                e->code = ERR_UPSTREAM;              /* what is not found is the operation, not what it is done to */
            return err_prefix(e, "%s: the operation began, and its end is not known", what);
        }
        set_pause(o, &answer);
    }
    return 0;
}

int arm_run(struct arm *a, const struct arm_call *c, json_t **ret, struct err *e)
{
    AUTO_SECRET char *text = c->body ? json_dumps(c->body, JSON_COMPACT) : NULL;
    AUTO_FREE char *url = arm_url(a, c->path);
    if (!url || (c->body && !text))
        return err_oom(e);
    AUTO(rest_answer_clear) struct rest_answer answer = {0};
    AUTO(operation_clear) struct operation o = {.arm = a, .method = c->method, .url = url, .no_result = !ret};
    int64_t deadline = clock_mono_ms() + (c->deadline_ms ? c->deadline_ms : DEADLINE_MS);
    int r = arm_send(a, c->method, url, text, &answer, e);
    if (r < 0 && arm_error_is_gone(e) && !strcmp(c->method, "DELETE")) {
        if (ret)
            *ret = NULL;
        return 0;
    }
    json_t *body = NULL;
    if (r == 0 && answer.body.len)
        r = arm_json(url, &answer, &body, e);
    if (r == 0)
        r = operation_begin(&o, &answer, body, e);
    json_decref(body);
    if (r == 0)
        r = follow(a, &o, deadline, e);
    if (r == 0 && ret)
        *ret = STEAL(o.result);
    return r;
}

#include "api/cli/cli.h"

#include <string.h>

#include "common/crypto.h"

enum { PREFIX_MIN = 4, PAGES_MAX = 50 };

struct search {
    const char *given;
    char *id, *prefix_id;
    unsigned names, prefixes;
    bool cut;                                        /* there are more than were looked at */
};

static int consider(struct search *s, const json_t *object, struct err *e)
{
    const char *id = jstr(object, "id");
    char **into = NULL;
    if (strcmp(jstr(object, "name"), s->given) == 0 && ++s->names == 1)
        into = &s->id;
    else if (strlen(s->given) >= PREFIX_MIN && str_istarts(id, s->given) && ++s->prefixes == 1)
        into = &s->prefix_id;
    return into && !(*into = str_dup(id)) ? err_oom(e) : 0;
}

/* Walks all pages of a list. */
static int find(struct cli *cli, const char *list, struct search *s, struct err *e)
{
    AUTO_FREE char *cursor = NULL;
    for (unsigned page = 0; page < PAGES_MAX; page++) {
        AUTO_FREE char *escaped = cursor ? client_escape(cli->client, cursor) : NULL;
        bool jobs = strcmp(list, "jobs") == 0;
        AUTO_FREE char *path = str_printf("/v1/%s%s%s%s", list, jobs ? "?limit=200" : "", escaped ? "&cursor=" : "", escaped ? escaped : "");
        if (!path || (cursor && !escaped))
            return err_oom(e);
        AUTO_REPLY struct reply reply = {0};
        int r = client_call(cli->client, &(struct call){.method = "GET", .path = path}, &reply, e);
        if (r < 0)
            return r;
        size_t i;
        json_t *object;
        json_array_foreach(json_object_get(reply.json, list), i, object) {
            r = consider(s, object, e);
            if (r < 0)
                return r;
        }
        const char *more = jstr(reply.json, "next_cursor");
        if (!*more)
            return 0;
        free(cursor);
        cursor = str_dup(more);
        if (!cursor)
            return err_oom(e);
    }
    s->cut = true;
    return 0;
}

static int name_of(struct cli *cli, const char *given, const char *list, const char *noun, char **ret_id, struct err *e)
{
    if (crypto_is_uuid(given)) {
        *ret_id = str_dup(given);
        return *ret_id ? 0 : err_oom(e);
    }
    struct search s = {.given = given};
    int r = find(cli, list, &s, e);
    if (r == 0) {
        if (s.names == 1)
            *ret_id = STEAL(s.id);
        else if (s.names == 0 && s.prefixes == 1)
            *ret_id = STEAL(s.prefix_id);
        else if (s.names + s.prefixes == 0)
            r = err_set(e, ERR_NOT_FOUND, s.cut ? "there is no %s '%s' among the newest 10,000; give its whole id" : "there is no %s '%s'", noun, given);
        else
            r = err_set(e, ERR_VALUE, "'%s' stands for %u %ss: give the whole id", given, s.names ? s.names : s.prefixes, noun);
    }
    free(s.id);
    free(s.prefix_id);
    return r;
}

int name_job(struct cli *cli, const char *given, char **ret_id, struct err *e)
{
    return name_of(cli, given, "jobs", "job", ret_id, e);
}

int name_vm(struct cli *cli, const char *given, char **ret_id, struct err *e)
{
    return name_of(cli, given, "vms", "VM", ret_id, e);
}

#include "common/arm_id.h"

#include <stdio.h>
#include <string.h>

#include "common/crypto.h"
#include "common/mem.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define EXAMPLE "/subscriptions/<guid>/resourceGroups/<group>/providers/<namespace>/<type>/<name>"

/* The parts of a path in order: a fixed word, or what is kept. */
enum part { WORD_SUBSCRIPTIONS, SUBSCRIPTION, WORD_GROUPS, GROUP, WORD_PROVIDERS, PROVIDER, TYPE, NAME, PARTS };
static const struct {
    const char *word, *what, *allowed;               /* word: the text itself, case ignored */
    size_t offset, size;
    bool any_language;                               /* letters beyond ASCII too */
} parts[PARTS] = {
#define KEPT(member) offsetof(struct arm_id, member), sizeof(((struct arm_id *)0)->member)
    [WORD_SUBSCRIPTIONS] = {.word = "subscriptions"},
    [SUBSCRIPTION] = {NULL, "subscription", LETTERS DIGITS "-", KEPT(subscription), false},
    [WORD_GROUPS] = {.word = "resourceGroups"},
    [GROUP] = {NULL, "resource group", LETTERS DIGITS "_-.()", KEPT(resource_group), true},
    [WORD_PROVIDERS] = {.word = "providers"},
    [PROVIDER] = {NULL, "provider", LETTERS DIGITS ".", KEPT(provider), false},
    [TYPE] = {NULL, "type", LETTERS DIGITS, KEPT(type), false},
    [NAME] = {NULL, "name", LETTERS DIGITS "_-.()", KEPT(name), false},
#undef KEPT
};

static bool allowed(const char *s, size_t n, enum part p)
{
    for (size_t i = 0; i < n; i++)
        if (!(s[i] && strchr(parts[p].allowed, s[i])) && !(parts[p].any_language && (unsigned char)s[i] >= 0x80))
            return false;
    return str_is_utf8(s, n);
}

static int take_part(const char *s, size_t n, enum part p, struct arm_id *ret, struct err *e)
{
    if (parts[p].word) {
        if (n == strlen(parts[p].word) && str_istarts(s, parts[p].word))
            return 0;
        return err_set(e, ERR_VALUE, "is no resource id: \"%s\" is expected where it has \"%.*s\" (%s)", parts[p].word, n < 60 ? (int)n : 60, s, EXAMPLE);
    }
    if (n == 0)
        return err_set(e, ERR_VALUE, "is no resource id: its %s is missing (%s)", parts[p].what, EXAMPLE);
    if (n >= parts[p].size)
        return err_set(e, ERR_VALUE, "is no resource id: its %s has %zu characters, at most %zu are allowed", parts[p].what, n, parts[p].size - 1);
    if (!allowed(s, n, p))
        return err_set(e, ERR_VALUE, "is no resource id: its %s has a character that is not allowed there", parts[p].what);
    memcpy((char *)ret + parts[p].offset, s, n);
    return 0;
}

static int check(struct arm_id *id, struct err *e)
{
    for (char *p = id->subscription; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + ('a' - 'A'));
    if (!crypto_is_uuid(id->subscription))
        return err_set(e, ERR_VALUE, "is no resource id: its subscription is no GUID");
    if (str_ends(id->resource_group, "."))
        return err_set(e, ERR_VALUE, "is no resource id: a resource group does not end in '.'");
    if (!strcmp(id->name, ".") || !strcmp(id->name, ".."))
        return err_set(e, ERR_VALUE, "is no resource id: its name is no name");
    return 0;
}

static bool is_type(const struct arm_id *id, const char *type)
{
    size_t n = strlen(id->provider);
    return str_istarts(type, id->provider) && type[n] == '/' && str_ieq(type + n + 1, id->type);
}

static int parse(const char *text, const char *type, struct arm_id *ret, struct err *e)
{
    struct arm_id id = {0};
    const char *s = text;
    for (int p = 0; p < PARTS; p++) {
        if (*s != '/')
            return *s || p == 0 ? err_set(e, ERR_VALUE, "is no resource id: it must begin with '/' (%s)", EXAMPLE)
                                : err_set(e, ERR_VALUE, "is no resource id: it ends too early (%s)", EXAMPLE);
        size_t n = strcspn(++s, "/");
        int r = take_part(s, n, (enum part)p, &id, e);
        if (r < 0)
            return r;
        s += n;
    }
    if (*s)
        return err_set(e, ERR_VALUE, "is the id of something within a resource; the resource's own is needed (%s)", EXAMPLE);
    int r = check(&id, e);
    if (r < 0)
        return r;
    if (type && !is_type(&id, type))
        return err_set(e, ERR_VALUE, "is the id of a %s/%s; the id of a %s is needed", id.provider, id.type, type);
    *ret = id;
    return 0;
}

int arm_id_parse(const char *text, const char *type, struct arm_id *ret, struct err *e)
{
    struct err why;
    return parse(text, type, ret, &why) < 0 ? err_set(e, why.code, "\"%.200s\" %s", text, why.msg) : 0;
}

int arm_id_make(const char *subscription, const char *resource_group, const char *type, const char *name, struct arm_id *ret, struct err *e)
{
    AUTO_FREE char *text = str_printf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", subscription, resource_group, type, name);
    return text ? arm_id_parse(text, type, ret, e) : err_oom(e);
}

/* Unreserved characters of RFC 3986 and parentheses, which Azure takes as they are. */
static void add_encoded(struct strbuf *b, const char *s)
{
    for (; *s; s++)
        if (strchr(LETTERS DIGITS "-._~()", *s))
            strbuf_add(b, s, 1);
        else
            strbuf_addf(b, "%%%02X", (unsigned char)*s);
}

void arm_id_path(const struct arm_id *id, char ret[ARM_ID_MAX])
{
    const char *const values[] = {id->subscription, id->resource_group, id->provider, id->type, id->name};
    static const char *const before[] = {"/subscriptions/", "/resourceGroups/", "/providers/", "/", "/"};
    AUTO_STRBUF struct strbuf b = {.max = 4096};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        strbuf_adds(&b, before[i]);
        add_encoded(&b, values[i]);
    }
    snprintf(ret, ARM_ID_MAX, "%s", b.failed || b.len >= ARM_ID_MAX ? "" : b.data);
}

void arm_id_key(const struct arm_id *id, char ret[ARM_ID_MAX])
{
    arm_id_path(id, ret);
    for (char *p = ret; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + ('a' - 'A'));
}

bool arm_id_equal(const char *a, const char *b)
{
    struct arm_id x, y;
    struct err ignored;
    return arm_id_parse(a, NULL, &x, &ignored) == 0 && arm_id_parse(b, NULL, &y, &ignored) == 0 && !strcmp(x.subscription, y.subscription) &&
           str_ieq(x.resource_group, y.resource_group) && str_ieq(x.provider, y.provider) && str_ieq(x.type, y.type) && str_ieq(x.name, y.name);
}

#include "hyperv/check.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "common/json.h"
#include "hyperv/hyperv.h"
#include "hyperv/scenario.h"

#define MEMORY_MIB 512
#define CALL_MS 30000
#define LIVES_MAX 16

/* ---- what a call was about ---- */

static void add_identifier(const char *s, struct strbuf *ret)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_')
        n++;
    strbuf_add(ret, s, n);
}

/* \\HOST\ROOT\namespace:Class.Key="…" or Class.Key="…"; a host name and a namespace have no colon. */
static void add_class(const char *path, struct strbuf *ret)
{
    const char *colon = !strncmp(path, "\\\\", 2) ? strchr(path, ':') : NULL;
    add_identifier(colon ? colon + 1 : path, ret);
}

void hyperv_check_subject(const char *kind, const char *target, struct strbuf *ret)
{
    if (!strcmp(kind, "open") || !strcmp(kind, "reconnect"))
        return;                                        /* the namespace says it */
    if (strcmp(kind, "query") != 0) {
        add_class(target, ret);
        return;
    }
    const char *from = strstr(target, " FROM "), *brace = strchr(target, '{'), *end = strrchr(target, '}');
    if (!strncmp(target, "SELECT ", 7) && from) {
        add_identifier(from + 6, ret);
    } else if (brace && end) {
        add_identifier(target, ret);
        strbuf_adds(ret, " ");
        add_class(brace + 1, ret);
        strbuf_adds(ret, end + 1);                     /* WHERE with names of classes */
    } else {
        strbuf_adds(ret, "?");
    }
}

/* ---- the record ---- */

struct recorder {
    const struct hyperv_check *c;
    pthread_mutex_t lock;                              /* over calls: the driver's own threads call too */
    json_t *calls;                                     /* of the step that runs */
    json_t *steps;                                     /* of the life that runs; borrowed */
    const char *life;
    bool failed;                                       /* out of memory */
};

static json_t *find_call(json_t *calls, const char *ns, const char *text, json_int_t value, const char *hresult)
{
    size_t i;
    json_t *o;
    json_array_foreach(calls, i, o) {
        json_t *ret = json_object_get(o, "return");
        if (!strcmp(json_string_value(json_object_get(o, "namespace")), ns) && !strcmp(json_string_value(json_object_get(o, "call")), text) &&
            (json_is_integer(ret) ? json_integer_value(ret) : -1) == value && !strcmp(json_string_value(json_object_get(o, "hresult")), hresult))
            return o;
    }
    return NULL;
}

static void on_call(void *arg, const struct wmi_call *c)
{
    struct recorder *t = arg;
    char hresult[16];
    AUTO_STRBUF struct strbuf text = {.max = 400};
    strbuf_addf(&text, "%s ", c->kind);
    hyperv_check_subject(c->kind, c->target, &text);
    if (c->method)
        strbuf_addf(&text, ".%s", c->method);
    snprintf(hresult, sizeof hresult, "0x%08" PRIX32, c->hresult);
    pthread_mutex_lock(&t->lock);
    json_t *seen = text.data ? find_call(t->calls, c->ns, text.data, c->return_value, hresult) : NULL;
    if (seen) {
        json_integer_set(json_object_get(seen, "times"), json_integer_value(json_object_get(seen, "times")) + 1);
        json_integer_set(json_object_get(seen, "ms"), json_integer_value(json_object_get(seen, "ms")) + c->took_us / 1000);
    } else {
        json_t *value = c->return_value < 0 ? json_null() : json_integer(c->return_value);
        json_t *o = json_pack("{ss ss so ss si sI}", "namespace", c->ns, "call", text.data ? text.data : "", "return", value, "hresult", hresult,
                              "times", 1, "ms", (json_int_t)(c->took_us / 1000));
        t->failed = json_array_append_new(t->calls, o) < 0 || t->failed;
    }
    pthread_mutex_unlock(&t->lock);
}

static const char *const ends[] = {[SCENARIO_OK] = "ok", [SCENARIO_SKIPPED] = "skipped", [SCENARIO_FAILED] = "failed"};

static void on_step(void *arg, const struct scenario_step *step, enum scenario_end end, int64_t took_ms, const struct err *e)
{
    struct recorder *t = arg;
    pthread_mutex_lock(&t->lock);
    json_t *o = json_pack("{ss ss sI so}", "name", step->name, "end", ends[end], "ms", (json_int_t)took_ms, "calls", t->calls);
    t->calls = json_array();
    bool bad = !o || !t->calls;
    if (!bad && end == SCENARIO_FAILED)
        bad = json_object_set_new(o, "error", json_pack("{ss ss}", "code", err_info(e->code)->word, "upstream", e->upstream.code)) < 0;
    t->failed = json_array_append_new(t->steps, o) < 0 || bad || t->failed;
    pthread_mutex_unlock(&t->lock);
    AUTO_FREE char *line = end == SCENARIO_FAILED ? str_printf("%s: %s failed: %s", t->life, step->name, e->msg)
                                                  : str_printf("%s: %s %s (%lld ms)", t->life, step->name, ends[end], (long long)took_ms);
    if (t->c->said && line)
        t->c->said(t->c->arg, line);
}

/* Which Windows: by its own numbers. */
static int windows_version(const struct hyperv_check *c, json_t **ret, struct err *e)
{
    struct wmi_wait w = {.timeout_ms = CALL_MS};
    AUTO(wmi_close_ptr) struct wmi *wmi = NULL;
    AUTO(wmi_object_free_ptr) struct wmi_object *os = NULL;
    int r = wmi_open(c->platform->wmi, c->platform->wmi_arg, WMI_NS_CIMV2, &w, &wmi, e);
    if (r == 0)
        r = wmi_query_one(wmi, "SELECT Version, ProductType, OperatingSystemSKU FROM Win32_OperatingSystem", &w, &os, e);
    if (r < 0)
        return err_prefix(e, "the version of Windows is not known");
    AUTO_FREE char *version = wmi_str(os, "Version");
    *ret = json_pack("{ss sI sI}", "version", version ? version : "", "product_type", (json_int_t)wmi_uint(os, "ProductType", 0), "sku",
                     (json_int_t)wmi_uint(os, "OperatingSystemSKU", 0));
    return *ret ? 0 : err_oom(e);
}

/* VMs of a check that was ended in its middle. */
static int remove_left(struct hv *hv, struct err *e)
{
    struct hv_vm **list = NULL;
    size_t n = 0;
    int r = hv_vm_list(hv, &list, &n, e);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = hv_vm_delete(hv, list[i]->spec.id, e);
    hv_vm_list_free(list, n);
    return r < 0 ? err_prefix(e, "the VMs of an earlier check cannot be removed") : 0;
}

static int one_life(struct recorder *t, struct hv *hv, unsigned generation, const char *network, json_t *lives, size_t *failed, struct err *e)
{
    char life[64];
    struct scenario s = {.hv = hv, .dir = t->c->dir, .generation = generation, .memory_mib = MEMORY_MIB, .cpus = 1, .network = network,
                         .os = t->c->os, .further = t->c->further, .iso = t->c->iso};
    int r = crypto_uuid(s.id, e);
    if (r < 0)
        return r;
    snprintf(life, sizeof life, "Generation %u, network %s", generation, network);
    t->life = life;
    pthread_mutex_lock(&t->lock);
    json_array_clear(t->calls);                        /* of looking around before */
    pthread_mutex_unlock(&t->lock);
    t->steps = json_array();
    json_t *o = json_pack("{si ss sO}", "generation", (int)generation, "network", network, "steps", t->steps);
    json_decref(t->steps);                             /* o holds it */
    if (!o || json_array_append_new(lives, o) < 0)
        return err_oom(e);
    *failed += scenario_run(&s, on_step, t);
    return t->failed ? err_oom(e) : 0;
}

static int run_lives(struct recorder *t, json_t *lives, size_t *failed, struct err *e)
{
    static const struct { unsigned generation; const char *network; } all[] = {{1, "none"}, {2, "none"}, {2, "nat"}};
    struct hyperv_platform p = *t->c->platform;
    p.trace = on_call;
    p.trace_arg = t;
    struct hv_config cfg = {.data_dir = (char *)t->c->dir};
    struct hv *hv = NULL;
    const char *service;
    int r = hyperv_open_on(&p, &cfg, &hv, e);
    if (r == 0) {                                      /* the driver opens without the role too: ask for it */
        struct wmi_wait w = hyperv_wait((struct hyperv *)hv, CALL_MS, true);
        r = hyperv_service((struct hyperv *)hv, HYPERV_VMS, &w, &service, e);
    }
    if (r == 0)
        r = remove_left(hv, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(all); i++)
        if (t->c->nat || strcmp(all[i].network, "nat") != 0)
            r = one_life(t, hv, all[i].generation, all[i].network, lives, failed, e);
    hv_close(hv);                                      /* before the recorder goes: its threads call back */
    return r;
}

int hyperv_check_run(const struct hyperv_check *c, json_t **ret, size_t *ret_failed, struct err *e)
{
    struct recorder t = {.c = c, .lock = PTHREAD_MUTEX_INITIALIZER, .calls = json_array()};
    json_t *windows = NULL, *lives = json_array();
    size_t failed = 0;
    int r = t.calls && lives ? windows_version(c, &windows, e) : err_oom(e);
    if (r == 0)
        r = run_lives(&t, lives, &failed, e);
    json_decref(t.calls);
    pthread_mutex_destroy(&t.lock);
    json_t *record = r == 0 ? json_pack("{si ss sO sO}", "record", HYPERV_RECORD, "program", VMR_VERSION, "windows", windows, "lives", lives) : NULL;
    json_decref(windows);
    json_decref(lives);
    if (r < 0)
        return r;
    if (!record)
        return err_oom(e);
    *ret = record;
    *ret_failed = failed;
    return 0;
}

/* ---- two records side by side ---- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static bool is_record(const json_t *r)
{
    const json_t *version = json_object_get(r, "record"), *lives = json_object_get(r, "lives");
    return json_is_integer(version) && json_integer_value(version) == HYPERV_RECORD && json_is_array(lives) && json_array_size(lives) <= LIVES_MAX;
}

struct diff {
    struct strbuf *out;
    size_t n;
    const char *life, *step;
};

static void differ(struct diff *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void differ(struct diff *d, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO_FREE char *text = str_vprintf(fmt, ap);
    va_end(ap);
    strbuf_addf(d->out, "%s%s%s: %s\n", d->life, d->step ? ", " : "", d->step ? d->step : "", text ? text : fmt);
    d->n++;
}

static bool same_call(const json_t *a, const json_t *b)
{
    return !strcmp(text_of(a, "namespace"), text_of(b, "namespace")) && !strcmp(text_of(a, "call"), text_of(b, "call")) &&
           !strcmp(text_of(a, "hresult"), text_of(b, "hresult")) && json_equal(json_object_get(a, "return"), json_object_get(b, "return"));
}

/* The calls of `a` that `b` has not. */
static void calls_missing(struct diff *d, const json_t *a, const json_t *b, const char *where)
{
    size_t i, k;
    json_t *one, *other;
    json_array_foreach(json_object_get(a, "calls"), i, one) {
        bool found = false;
        json_array_foreach(json_object_get(b, "calls"), k, other)
            found = found || same_call(one, other);
        const json_t *value = json_object_get(one, "return");
        AUTO_FREE char *number = json_is_integer(value) ? str_printf(", returned %lld", (long long)json_integer_value(value)) : NULL;
        if (!found)
            differ(d, "only in the %s: %s (%s)%s, HRESULT %s", where, text_of(one, "call"), text_of(one, "namespace"), number ? number : "", text_of(one, "hresult"));
    }
}

static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
        if (!strcmp(text_of(o, "name"), name))
            return o;
    return NULL;
}

static void compare_steps(struct diff *d, const json_t *expected, const json_t *found)
{
    size_t i;
    json_t *step;
    json_array_foreach(expected, i, step) {
        const json_t *other = named(found, text_of(step, "name"));
        d->step = text_of(step, "name");
        if (!other) {
            differ(d, "only in the reference");
            continue;
        }
        const json_t *why = json_object_get(other, "error");
        if (strcmp(text_of(step, "end"), text_of(other, "end")) != 0 || !json_equal(json_object_get(step, "error"), (json_t *)why))
            if (json_object_get(step, "error") || why || strcmp(text_of(step, "end"), text_of(other, "end")) != 0)
                differ(d, "%s, was to be %s (%s %s)", text_of(other, "end"), text_of(step, "end"), text_of(why, "code"), text_of(why, "upstream"));
        calls_missing(d, step, other, "reference");
        calls_missing(d, other, step, "record");
    }
    json_array_foreach(found, i, step) {
        d->step = text_of(step, "name");
        if (!named(expected, d->step))
            differ(d, "only in the record");
    }
    d->step = NULL;
}

static const json_t *life_like(const json_t *lives, const json_t *like)
{
    size_t i;
    json_t *o;
    json_array_foreach(lives, i, o)
        if (json_equal(json_object_get(o, "generation"), json_object_get(like, "generation")) && !strcmp(text_of(o, "network"), text_of(like, "network")))
            return o;
    return NULL;
}

static void lives_of(struct diff *d, const json_t *a, const json_t *b, bool steps)
{
    size_t i;
    json_t *life;
    json_array_foreach(json_object_get(a, "lives"), i, life) {
        const json_t *other = life_like(json_object_get(b, "lives"), life);
        AUTO_FREE char *name = str_printf("Generation %lld, network %s", (long long)json_integer_value(json_object_get(life, "generation")), text_of(life, "network"));
        d->life = name ? name : "";
        if (!other)
            differ(d, "only in the %s", steps ? "reference" : "record");
        else if (steps)
            compare_steps(d, json_object_get(life, "steps"), json_object_get(other, "steps"));
    }
}

int hyperv_check_compare(json_t *expected, json_t *found, struct strbuf *ret, size_t *ret_n, struct err *e)
{
    struct diff d = {.out = ret};
    if (!is_record(expected) || !is_record(found))
        return err_set(e, ERR_VALUE, "the %s is no record of check-host in version %d", is_record(expected) ? "second" : "first", HYPERV_RECORD);
    lives_of(&d, expected, found, true);
    lives_of(&d, found, expected, false);
    if (ret->failed)
        return err_oom(e);
    *ret_n = d.n;
    return 0;
}

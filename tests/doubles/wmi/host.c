/* A double's beginning and end, and what a test asks it about. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "tests/doubles/wmi/core.h"

/* ---- schema, once for each build ---- */

const struct schema *dbl_schema(unsigned build)
{
    static struct { unsigned build; struct schema *s; } have[4];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < ARRAY_LEN(have) && have[i].s && have[i].build != build)
        i++;
    if (i < ARRAY_LEN(have) && !have[i].s) {
        const char *file = getenv("WMI_SCHEMA");
        AUTO_FREE char *text = NULL;
        size_t n;
        struct err e;
        if (os_read_file(file ? file : "tests/doubles/wmi/schema.json", 4u << 20, &text, &n, &e) < 0 ||
            schema_load(text, n, build, &have[i].s, &e) < 0) {
            fprintf(stderr, "double: %s\n", e.msg);
            abort();
        }
        have[i].build = build;
    }
    const struct schema *s = i < ARRAY_LEN(have) ? have[i].s : NULL;
    pthread_mutex_unlock(&lock);
    return s;
}

/* ---- life ---- */

struct dbl_options dbl_wild(const struct schema *schema, uint64_t seed)
{
    static const char *const languages[] = {"en", "de", "zh"};
    return (struct dbl_options){
        .schema = schema,
        .seed = seed,
        .jobs = DBL_MAYBE,
        .choices = DBL_MAYBE,
        .shuffles = true,
        .locked_per_mille = 200,
        .vanish_per_mille = 100,
        .warn_per_mille = 100,
        .language = languages[seed % 3],
        .client = seed % 5 == 0,
        .nat_once = seed % 4 == 1,
        .guest = {.boot_ms = 500 + (unsigned)(seed * 7919 % 20000),
                  .shutdown_ms = 200 + (unsigned)(seed * 104729 % 20000),
                  .slow_keys = true,
                  .ignores_shutdown = seed % 11 == 3,
                  .no_services = seed % 13 == 5,
                  .hangs = seed % 17 == 7,
                  .black = seed % 19 == 9},
    };
}

struct dbl *dbl_new(const struct dbl_options *o)
{
    struct dbl *d = x_calloc(1, sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    d->o = *o;
    d->schema = o->schema;
    d->rng = (o->seed + 1) * 0x9E3779B97F4A7C15u;
    if (!d->o.cpus)
        d->o.cpus = 8;
    if (!d->o.memory_mib)
        d->o.memory_mib = 16384;
    if (!d->o.guest.boot_ms)
        d->o.guest.boot_ms = 3000;
    if (!d->o.guest.shutdown_ms)
        d->o.guest.shutdown_ms = 2000;
    if (!d->o.guest.width) {
        d->o.guest.width = 1024;
        d->o.guest.height = 768;
    }
    d->host_name = x_dup("WINHOST1");
    d->work_dir = x_dup(o->work_dir);
    d->mono_base_ms = clock_mono_ms();
    d->next_adapter = 5;
    d->main_thread = pthread_self();
    static const char *const names[] = {WMI_NS_HYPERV, WMI_NS_STORAGE, WMI_NS_NETWORK, WMI_NS_CIMV2};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        d->spaces[i].name = schema_namespace(d->schema, names[i]);
    hyperv_populate(d);
    switch_populate(d);
    network_populate(d);
    storage_populate(d);
    cimv2_populate(d);
    for (size_t i = 0; i < ARRAY_LEN(d->spaces); i++) {
        for (size_t k = 0; k < d->spaces[i].n; k++)
            d->spaces[i].at[k]->foreign = true;
        for (size_t k = 0; k < d->spaces[i].n_links; k++)
            d->spaces[i].links[k].foreign = true;
    }
    return d;
}

void dbl_free(struct dbl *d)
{
    if (!d)
        return;
    jobs_drop(d, false);
    due_drop_all(d);
    while (d->vms)
        vm_remove(d, d->vms);
    for (size_t i = 0; i < ARRAY_LEN(d->spaces); i++) {
        while (d->spaces[i].n)
            inst_remove(d, d->spaces[i].at[d->spaces[i].n - 1]);
        free(d->spaces[i].at);
        free(d->spaces[i].links);
    }
    for (size_t i = 0; i < d->n_files; i++) {
        free(d->files[i]->path);
        free(d->files[i]);
    }
    free(d->files);
    for (size_t i = 0; i < d->n_unmodelled; i++)
        free(d->unmodelled[i]);
    free(d->unmodelled);
    usage_free(d->usage);
    faults_free(d->faults);
    strbuf_free(&d->log);
    storage_free(d);
    free(d->host_name);
    free(d->work_dir);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* ---- time ---- */

void host_tick(struct dbl *d)
{
    due_run(d);
    jobs_tick(d);
    for (struct vm *vm = d->vms, *next; vm; vm = next) {
        next = vm->next;
        vm_tick(d, vm);
    }
}

int64_t dbl_now(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    int64_t now = now_ms(d);
    pthread_mutex_unlock(&d->lock);
    return now;
}

void dbl_pass(struct dbl *d, unsigned ms)
{
    if (d->o.real_time)
        clock_sleep_ms(ms);
    pthread_mutex_lock(&d->lock);
    if (!d->o.real_time)
        d->clock_ms += ms;
    host_tick(d);
    pthread_mutex_unlock(&d->lock);
}

void dbl_vmms_restart(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    jobs_drop(d, true);
    d->generation++;
    pthread_mutex_unlock(&d->lock);
}

void dbl_on_kill(struct dbl *d, void (*fn)(void *arg), void *arg)
{
    d->on_kill = fn;
    d->kill_arg = arg;
    d->main_thread = pthread_self();
}

/* ---- looking back ---- */

unsigned dbl_calls(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    unsigned n = d->calls;
    pthread_mutex_unlock(&d->lock);
    return n;
}

long dbl_live_objects(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    long n = __atomic_load_n(&d->live_objects, __ATOMIC_RELAXED);
    for (const struct job *j = d->jobs; j; j = j->next)                  /* what unfinished jobs keep is ours */
        if (j->call)
            n -= (j->call->in != NULL) + (j->call->out != NULL);
    pthread_mutex_unlock(&d->lock);
    return n;
}

long dbl_live_connections(struct dbl *d)
{
    return __atomic_load_n(&d->live_connections, __ATOMIC_RELAXED);
}

void dbl_log_on(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    d->keep_log = true;
    d->log.max = 64u << 20;
    pthread_mutex_unlock(&d->lock);
}

char *dbl_log(struct dbl *d)
{
    pthread_mutex_lock(&d->lock);
    char *s = x_dup(d->log.data ? d->log.data : "");
    pthread_mutex_unlock(&d->lock);
    return s;
}

void host_unmodelled(struct dbl *d, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = str_vprintf(fmt, ap);
    va_end(ap);
    for (size_t i = 0; s && i < d->n_unmodelled; i++)
        if (!strcmp(d->unmodelled[i], s)) {
            free(s);
            return;
        }
    d->unmodelled = x_grow(d->unmodelled, d->n_unmodelled + 1, sizeof *d->unmodelled);
    d->unmodelled[d->n_unmodelled++] = s;
}

char *dbl_unmodelled(struct dbl *d)
{
    struct strbuf b = {0};
    pthread_mutex_lock(&d->lock);
    strbuf_adds(&b, "");
    for (size_t i = 0; i < d->n_unmodelled; i++)
        strbuf_addf(&b, "%s\n", d->unmodelled[i]);
    pthread_mutex_unlock(&d->lock);
    return strbuf_steal(&b);
}

static bool changes_by_itself(const char *property)
{
    static const char *const names[] = {"OnTimeInMilliseconds", "TimeOfLastStateChange", "TimeOfLastConfigurationChange", "ElapsedTime", "OperationalStatus",
                                        "StatusDescriptions", "EnabledState", "HealthState", "ProcessID", "Notes_", "LocalDateTime",
                                        "FreePhysicalMemory", "FreeSpace"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i], property))
            return true;
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Alone EnabledState of a VM of ours may change by itself: of a foreign one it is part of what must stay. */
static char *dump_line(const struct inst *i)
{
    AUTO_STRBUF struct strbuf b = {.max = WMI_TEXT_MAX};
    strbuf_addf(&b, "%s %s", i->space->name, i->rel);
    for (size_t k = 0; k < i->o->layout->n; k++) {
        const struct schema_member *m = &i->o->layout->at[k];
        bool state = !strcmp(m->name, "EnabledState") && i->foreign;
        if (i->o->values[k].type == WMI_NULL || m->key || m->type == WMI_OBJECT || (changes_by_itself(m->name) && !state))
            continue;
        strbuf_addf(&b, " %s=", m->name);
        const struct wmi_value *v = &i->o->values[k];
        for (size_t n = 0; n < (v->array ? v->n : 1); n++) {
            if (v->array && v->type == WMI_UINT8)
                strbuf_addf(&b, "%u,", v->bytes[n]);
            else if (v->type == WMI_STRING || v->type == WMI_DATETIME || v->type == WMI_REFERENCE)
                strbuf_addf(&b, "%s,", v->array ? v->items[n].s : v->one.s);
            else if (v->type == WMI_BOOLEAN)
                strbuf_addf(&b, "%d,", v->array ? v->items[n].b : v->one.b);
            else
                strbuf_addf(&b, "%llu,", (unsigned long long)(v->array ? v->items[n].u : v->one.u));
        }
    }
    for (char *p = b.data; p && *p; p++)
        if (*p == '\n')
            *p = ' ';
    return strbuf_steal(&b);
}

static bool in_part(bool foreign, enum dbl_part part)
{
    return part == DBL_ALL || foreign == (part == DBL_FOREIGN);
}

static bool is_job(const struct inst *i)
{
    return schema_isa(i->o->class, "CIM_ConcreteJob") || schema_isa(i->o->class, "MSFT_StorageJob");
}

char *dbl_dump(struct dbl *d, enum dbl_part part)
{
    char **lines = NULL;
    size_t n = 0;
    pthread_mutex_lock(&d->lock);
    for (size_t s = 0; s < ARRAY_LEN(d->spaces); s++) {
        const struct space *space = &d->spaces[s];
        for (size_t i = 0; i < space->n; i++) {
            if (is_job(space->at[i]) || !in_part(space->at[i]->foreign, part))
                continue;
            lines = x_grow(lines, n + 1, sizeof *lines);
            lines[n++] = dump_line(space->at[i]);
        }
        for (size_t i = 0; i < space->n_links; i++) {
            const struct link *l = &space->links[i];
            if (is_job(l->a) || is_job(l->b) || !in_part(l->foreign, part))
                continue;
            lines = x_grow(lines, n + 1, sizeof *lines);
            lines[n++] = x_printf("%s %s %s -- %s", space->name, l->class->name, l->a->rel, l->b->rel);
        }
    }
    pthread_mutex_unlock(&d->lock);
    if (n)
        qsort(lines, n, sizeof *lines, by_text);
    struct strbuf b = {.max = 64u << 20};
    strbuf_adds(&b, "");
    for (size_t i = 0; i < n; i++) {
        strbuf_addf(&b, "%s\n", lines[i]);
        free(lines[i]);
    }
    free(lines);
    char *text = strbuf_steal(&b);
    if (!text)
        abort();
    return text;
}

/* Every class, property, method and parameter that the Hyper-V driver uses over the whole scenario, on the oldest and the newest Windows, held
 * against the schema: each must be known to some version, and say where it is documented. tests/golden/hyperv-names.txt is the list; when the driver
 * comes to use others, WRITE_GOLDEN=1 writes it anew, and the difference is there to be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "tests/doubles/wmi/schema.h"
#include "tests/unit/hyperv_rig.h"

#define GOLDEN "tests/golden/hyperv-names.txt"
static const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};

struct names { char **at; size_t n; unsigned unknown; };

static void quiet(const struct log_entry *entry)
{
    (void)entry;
}

/* The first build that has it; 0: none. *ret_doc: its page; borrowed. */
static unsigned since(const char *kind, const char *ns, const char *class, const char *name, const char **ret_doc)
{
    for (size_t b = 0; b < ARRAY_LEN(builds); b++) {
        const struct schema_class *c = schema_class(dbl_schema(builds[b]), ns, class);
        if (!c)
            continue;
        *ret_doc = c->doc;
        if (!strcmp(kind, "class"))
            return builds[b];
        if (!strcmp(kind, "property") && schema_member(&c->layout, name) >= 0)
            return builds[b];
        if (strcmp(kind, "method") != 0 && strcmp(kind, "parameter") != 0)
            continue;
        AUTO_FREE char *method = str_ndup(name, strcspn(name, "("));
        const struct schema_method *m = schema_method(c, method);
        if (!m)
            continue;
        *ret_doc = m->doc ? m->doc : c->doc;
        const char *paren = strchr(name, '(');
        AUTO_FREE char *param = paren ? str_ndup(paren + 1, strlen(paren) - 2) : NULL;
        if (!param || schema_member(&m->in, param) >= 0 || schema_member(&m->out, param) >= 0)
            return builds[b];
    }
    return 0;
}

static void on_used(void *arg, const char *kind, const char *ns, const char *class, const char *name, bool known)
{
    struct names *l = arg;
    const char *doc = NULL;
    unsigned build = since(kind, ns, class, name, &doc);
    if (!known || !build || !doc) {
        print_error("no version of Windows has %s %s.%s (%s)\n", kind, class, name, ns);
        l->unknown++;
        return;
    }
    char *line = build == DBL_2016 ? str_printf("%s %s%s%s  %s", ns, class, *name ? "." : "", name, doc)
                                   : str_printf("%s %s%s%s  %s  from build %u", ns, class, *name ? "." : "", name, doc, build);
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->at[i], line)) {
            free(line);
            return;
        }
    l->at = realloc(l->at, (l->n + 1) * sizeof *l->at);
    assert_non_null(l->at);
    l->at[l->n++] = line;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run(struct names *l, unsigned build, unsigned generation, const char *network, bool jobs, bool other)
{
    struct dbl_options o = rig_calm();
    o.schema = dbl_schema(build);
    o.jobs = jobs ? DBL_EVER : DBL_CALM;
    o.choices = other ? DBL_EVER : DBL_CALM;
    struct rig *g = rig_new(&o);
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *further = rig_image(g, "data", HV_VHDX), *iso = rig_iso(g, "rescue");
    struct scenario s = rig_scenario(g, generation, image, HV_VHDX, further, iso);
    struct hv_check rows[16];
    s.network = network;
    s.nested = true;
    hv_report(g->hv, rows, ARRAY_LEN(rows), NULL);
    assert_int_equal(scenario_run(&s, NULL, NULL), 0);
    rig_reopen(g);
    dbl_used(g->d, on_used, l);
    rig_free(g);
}

/* Guests of a known kind, on Generation 2. */
static void run_guests(struct names *l, unsigned build)
{
    struct dbl_options o = rig_calm();
    o.schema = dbl_schema(build);
    struct rig *g = rig_new(&o);
    struct err e;
    AUTO_FREE char *image = rig_image(g, "os", HV_VHDX);
    for (int guest = HV_GUEST_WINDOWS; guest <= HV_GUEST_LINUX; guest++) {
        struct hv_vm_spec s = rig_spec(g, 2, image, HV_VHDX);
        s.guest = (enum hv_guest)guest;
        OK(hv_vm_create(g->hv, &s, &e));
        OK(hv_vm_delete(g->hv, s.id, &e));
        hv_vm_spec_clear(&s);
    }
    dbl_used(g->d, on_used, l);
    rig_free(g);
}

/* What is read of failures: a life for each method whose job fails. */
static void run_failures(struct names *l, unsigned build)
{
    static const char *const methods[] = {"DefineSystem", "AddResourceSettings", "ModifySystemSettings", "ModifyResourceSettings", "RequestStateChange",
                                          "CreateVirtualHardDisk", "ConvertVirtualHardDisk", "CreateSnapshot", "ApplySnapshot", "DestroySnapshot"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct dbl_options o = rig_calm();
        o.schema = dbl_schema(build);
        struct rig *g = rig_new(&o);
        struct err e;
        AUTO_FREE char *image = rig_image(g, "os", HV_VHDX), *iso = rig_iso(g, "rescue");
        struct scenario s = rig_scenario(g, 1, image, HV_VHDX, NULL, iso);
        dbl_fault_add(g->d, &(struct dbl_fault){.kind = DBL_JOB_FAILS, .code = 0x80070070u, .method = methods[i]});
        scenario_run(&s, NULL, NULL);
        assert_true(dbl_faults_fired(g->d) > 0);
        dbl_faults_clear(g->d);
        OK(hv_vm_delete(g->hv, s.id, &e));
        dbl_used(g->d, on_used, l);
        rig_free(g);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct names l = {0};
    run_failures(&l, DBL_2025);
    for (size_t b = 0; b < ARRAY_LEN(builds); b += 2) {
        run_guests(&l, builds[b]);
        for (unsigned generation = 1; generation <= 2; generation++) {
            run(&l, builds[b], generation, "none", false, false);
            run(&l, builds[b], generation, "nat", true, true);
            run(&l, builds[b], generation, "switch:LAN", true, false);
        }
    }
    assert_int_equal(l.unknown, 0);
    assert_true(l.n > 50);
    qsort(l.at, l.n, sizeof *l.at, by_text);
    AUTO_STRBUF struct strbuf text = {.max = 1u << 20};
    strbuf_adds(&text, "# What the Hyper-V driver uses of WMI: namespace, class, property or method(parameter), source. Written by test_hyperv_names.\n");
    for (size_t i = 0; i < l.n; i++) {
        strbuf_addf(&text, "%s\n", l.at[i]);
        free(l.at[i]);
    }
    free(l.at);
    struct err e;
    if (getenv("WRITE_GOLDEN"))
        OK(os_write_file(GOLDEN, text.data, text.len, 0, &e));
    AUTO_FREE char *golden = NULL;
    size_t n;
    OK(os_read_file(GOLDEN, 1u << 20, &golden, &n, &e));
    if (strcmp(golden, text.data))
        fail_msg("the driver uses other names than " GOLDEN " lists (WRITE_GOLDEN=1 writes it anew):\n%s", text.data);
}

int main(void)
{
    log_set_sink(quiet);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

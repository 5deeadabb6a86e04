/* The scenario of a VM's whole life against the double of Hyper-V, on every kind of host: versions, generations, formats, jobs or none, either way
 * of what only a real host could decide. In the end the host is as it was, and the images too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "tests/unit/hyperv_rig.h"

static void report(void *arg, const struct scenario_step *step, enum scenario_end end, int64_t took_ms, const struct err *e)
{
    (void)took_ms;
    if (end == SCENARIO_FAILED)
        print_error("%s: %s: %s (%s)\n", (const char *)arg, step->name, e->msg, e->upstream.code);
}

/* Every class, property, method and parameter that the driver names is one that some version of Windows documents. */
static void known(void *arg, const char *kind, const char *ns, const char *class, const char *name, bool is_known)
{
    if (!is_known)
        fail_msg("%s: %s %s.%s of %s is not in the schema", (const char *)arg, kind, class, name, ns);
}

static void life(const struct dbl_options *o, unsigned generation, enum hv_format format, const char *network, const char *label)
{
    struct rig *g = rig_new(o);
    AUTO_FREE char *image = rig_image(g, "os", format), *further = rig_image(g, "data", HV_VHDX), *iso = rig_iso(g, "rescue");
    AUTO_FREE char *hash = rig_hash(image), *further_hash = rig_hash(further);
    dbl_foreign_vm(g->d, "web01", "a note", generation, true);
    AUTO_FREE char *before = dbl_dump(g->d, DBL_ALL);
    struct scenario s = rig_scenario(g, generation, image, format, further, iso);
    s.network = network;
    assert_int_equal(scenario_run(&s, report, (void *)label), 0);
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL), *hash_after = rig_hash(image), *further_after = rig_hash(further);
    assert_string_equal(before, after);
    assert_string_equal(hash, hash_after);
    assert_string_equal(further_hash, further_after);
    struct os_stat st;
    struct err e;
    AUTO_FREE char *folder = rig_path(g, "data/vms/%s", s.id), *nat = rig_path(g, "data/hyperv-nat.json");
    OK(os_stat(folder, &st, &e));
    assert_false(st.exists);
    OK(os_stat(nat, &st, &e));
    assert_false(st.exists);
    dbl_used(g->d, known, (void *)label);
    rig_free(g);
}

static const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};

static void calm(void **state)
{
    (void)state;
    for (size_t b = 0; b < ARRAY_LEN(builds); b++)
        for (unsigned generation = 1; generation <= 2; generation++) {
            struct dbl_options o = rig_calm();
            o.schema = dbl_schema(builds[b]);
            AUTO_FREE char *label = str_printf("calm, build %u, generation %u", builds[b], generation);
            life(&o, generation, HV_VHDX, "none", label);
        }
}

/* Every call a job, results found through what the job affects; and the other way of every choice. */
static void all_jobs_other_choices(void **state)
{
    (void)state;
    for (size_t b = 0; b < ARRAY_LEN(builds); b++)
        for (unsigned generation = 1; generation <= 2; generation++)
            for (int other = 0; other < 2; other++) {
                struct dbl_options o = rig_calm();
                o.schema = dbl_schema(builds[b]);
                o.jobs = DBL_EVER;
                o.choices = other ? DBL_EVER : DBL_CALM;
                AUTO_FREE char *label = str_printf("jobs, build %u, generation %u, choices %d", builds[b], generation, other);
                life(&o, generation, HV_VHDX, "none", label);
            }
}

static void formats(void **state)
{
    (void)state;
    static const enum hv_format list[] = {HV_VHD, HV_VHD_DYNAMIC, HV_VHDX};
    for (size_t f = 0; f < ARRAY_LEN(list); f++)
        for (unsigned generation = 1; generation <= 2; generation++)
            for (int other = 0; other < 2; other++) {                    /* a .vhd on Generation 2 is taken or refused */
                struct dbl_options o = rig_calm();
                o.choices = other ? DBL_EVER : DBL_CALM;
                AUTO_FREE char *label = str_printf("format %d, generation %u, choices %d", list[f], generation, other);
                life(&o, generation, list[f], "none", label);
            }
}

static void languages(void **state)
{
    (void)state;
    static const char *const list[] = {"de", "zh"};
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        for (unsigned generation = 1; generation <= 2; generation++) {
            struct dbl_options o = rig_calm();
            o.language = list[i];
            o.shuffles = true;
            o.jobs = DBL_MAYBE;
            life(&o, generation, HV_VHDX, "none", list[i]);
        }
}

static void networks(void **state)
{
    (void)state;
    struct dbl_options o = rig_calm();
    life(&o, 2, HV_VHDX, "nat", "nat");
    o.jobs = DBL_EVER;
    life(&o, 1, HV_VHDX, "nat", "nat, jobs");
    o.client = true;
    life(&o, 2, HV_VHDX, "switch:Default Switch", "client, switch");
    life(&o, 2, HV_VHDX, "nat", "client, nat");
}

static void wild(void **state)
{
    (void)state;
    const char *soak = getenv("SOAK");
    uint64_t n = soak && !strcmp(soak, "1") ? 300 : 8;
    for (uint64_t seed = 1; seed <= n; seed++) {
        struct dbl_options o = dbl_wild(dbl_schema(builds[seed % 3]), seed);
        AUTO_FREE char *label = str_printf("wild, seed %u", (unsigned)seed);
        life(&o, 1 + (unsigned)(seed / 3 % 2), HV_VHDX, seed % 5 == 0 && !o.no_nat ? "nat" : "none", label);
    }
}

int main(void)
{
    rig_in_memory();
    const struct CMUnitTest tests[] = {cmocka_unit_test(calm),      cmocka_unit_test(all_jobs_other_choices), cmocka_unit_test(formats),
                                       cmocka_unit_test(languages), cmocka_unit_test(networks),               cmocka_unit_test(wild)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

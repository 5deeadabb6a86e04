#include "tests/unit/hyperv_storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};

void storm_quiet(const struct log_entry *entry)
{
    (void)entry;
}

unsigned storm_number(const char *name, unsigned def)
{
    const char *s = getenv(name);
    unsigned long long v;
    return s && str_to_u64(s, 100000000, &v) ? (unsigned)v : def;
}

bool storm_soak(void)
{
    const char *s = getenv("SOAK");
    return s && !strcmp(s, "1");
}

void storm_new(struct storm *t, unsigned seed)
{
    struct dbl_options o = dbl_wild(dbl_schema(builds[seed % 3]), seed);
    bool nat = seed % 7 == 0 && !o.no_nat;
    t->seed = seed;
    t->g = rig_new(&o);
    t->image = rig_image(t->g, "os", HV_VHDX);
    t->further = seed % 2 ? rig_image(t->g, "data", HV_VHDX) : NULL;
    t->iso = rig_iso(t->g, "rescue");
    t->hash = rig_hash(t->image);
    const char *other = dbl_foreign_vm(t->g->d, "web01", "vmrecover", 1 + seed % 2, seed % 3 == 0);
    if (seed % 5 == 2)                                 /* somebody else's merge, which takes its hours */
        dbl_vm_job(t->g->d, other, 50, 3u * 60 * 60 * 1000);
    t->before = dbl_dump(t->g->d, DBL_ALL);
    t->foreign = dbl_dump(t->g->d, DBL_FOREIGN);
    t->s = rig_scenario(t->g, 1 + seed / 3 % 2, t->image, HV_VHDX, t->further, t->iso);
    t->s.network = nat ? "nat" : "none";
}

void storm_free(struct storm *t)
{
    free(t->image);
    free(t->further);
    free(t->iso);
    free(t->hash);
    free(t->before);
    free(t->foreign);
}

/* The last calls across the seam. */
void storm_tell_calls(struct storm *t)
{
    AUTO_FREE char *log = dbl_log(t->g->d);
    size_t n = log ? strlen(log) : 0;
    const char *guid = dbl_vm_guid(t->g->d, 0);
    if (n)
        fprintf(stderr, "%s\nEnabledState %u\n", log, guid ? dbl_vm_state(t->g->d, guid) : 0);
}

/* Lines of `a` that are not in `b`. */
static void tell_lines(const char *sign, const char *a, const char *b)
{
    AUTO_FREE char *copy = str_dup(a);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (!strstr(b, line))
            fprintf(stderr, "%s %s\n", sign, line);
}

void storm_must_be_same(struct storm *t, const char *what, const char *now, const char *before)
{
    if (!strcmp(now, before))
        return;
    tell_lines("-", before, now);
    tell_lines("+", now, before);
    fail_msg("seed %u: %s", t->seed, what);
}

/* What holds at every moment. */
void storm_invariants(struct storm *t, const char *step)
{
    size_t n = dbl_vms(t->g->d, false);
    if (n > 1)
        fail_msg("seed %u, %s: %zu VMs for one job", t->seed, step, n);
    AUTO_FREE char *foreign = dbl_dump(t->g->d, DBL_FOREIGN);
    storm_must_be_same(t, "what is not ours was changed", foreign, t->foreign);
}

void storm_all_is_as_before(struct storm *t)
{
    struct rig *g = t->g;
    struct err e;
    struct os_stat st;
    AUTO_FREE char *after = dbl_dump(g->d, DBL_ALL), *hash = rig_hash(t->image), *folder = rig_path(g, "data/vms/%s", t->s.id);
    if (strcmp(after, t->before))
        storm_tell_calls(t);
    storm_must_be_same(t, "the host is not as it was", after, t->before);
    assert_string_equal(hash, t->hash);
    OK(os_stat(folder, &st, &e));
    assert_false(st.exists);
}

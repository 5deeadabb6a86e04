/* The double's jobs, locks, faults and time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "tests/unit/wmi_kit.h"

static struct wmi_object *define_in(struct kit *k, const char *name)
{
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "DefineSystem");
    AUTO_FREE char *text = kit_text(k, "Msvm_VirtualSystemSettingData", (const char *const[]){"ElementName", name, NULL});
    assert_int_equal(wmi_put_str(in, "SystemSettings", text, &k->e), 0);
    return in;
}

static char *service(struct kit *k)
{
    return kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
}

/* 4096: a job, the other results NULL [C]; states 2, 3, 4, 7; what it made is found through Msvm_AffectedJobElement, among other things [C: os-win,
 * libvirt]; after five minutes it is gone [D]. */
static void test_job(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.jobs = DBL_EVER});
    AUTO_FREE char *vmms = service(k);
    struct wmi_object *in = define_in(k, "jobbed"), *out = NULL, *job = NULL;
    assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e), 0);
    assert_int_equal(wmi_uint(out, "ReturnValue", 0), 4096);
    AUTO_FREE char *path = wmi_str(out, "Job"), *system = wmi_str(out, "ResultingSystem");
    assert_null(system);
    bool seen[16] = {false};
    uint64_t percent = 0;
    for (unsigned n = 0; n < 1000 && !seen[7]; n++) {
        assert_int_equal(wmi_get(k->hv, path, &k->wait, &job, &k->e), 0);
        uint64_t s = wmi_uint(job, "JobState", 0), p = wmi_uint(job, "PercentComplete", 0);
        assert_true(s < 16 && p >= percent);
        seen[s] = true;
        percent = p;
        wmi_object_free(job);
        dbl_pass(k->d, 5);
    }
    assert_true(seen[2] && seen[4] && seen[7] && percent == 100);
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_AffectedJobElement", path);
    AUTO_FREE char *systems = str_printf("%s ResultClass=Msvm_ComputerSystem", wql);
    assert_true(kit_count(k, k->hv, wql) >= 3);
    assert_int_equal(kit_count(k, k->hv, systems), 2);                   /* the host is one */
    dbl_pass(k->d, 5 * 60 * 1000 + 10);
    assert_true(wmi_get(k->hv, path, &k->wait, &job, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_NOT_FOUND);
    wmi_object_free(in);
    wmi_object_free(out);
    kit_free(k);
}

/* What a job does is seen at once, or only at its end; its results come with the 4096, or not [U]. */
static void test_effects(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct kit *k = kit_new(&(struct dbl_options){.jobs = DBL_EVER, .choices = way ? DBL_EVER : DBL_CALM});
        AUTO_FREE char *vmms = service(k);
        struct wmi_object *in = define_in(k, "late"), *out = NULL;
        assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e), 0);
        const char *wql = "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='late'";
        assert_int_equal(kit_count(k, k->hv, wql), way ? 0 : 1);
        dbl_pass(k->d, 10000);
        assert_int_equal(kit_count(k, k->hv, wql), 1);
        wmi_object_free(in);
        wmi_object_free(out);
        kit_free(k);
    }
}

/* A job that fails: state 10, ErrorCode, words in the host's language with the code at their end [C]; GetErrorEx and FormatError give the same
 * words [D]. A failed DefineSystem may leave half a VM [C]. */
static void test_failed_job(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct kit *k = kit_new(&(struct dbl_options){.language = "de", .choices = way ? DBL_EVER : DBL_CALM});
        AUTO_FREE char *vmms = service(k);
        dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_JOB_FAILS, .code = 0x80070070u, .method = "DefineSystem", .at = 1});
        struct wmi_object *in = define_in(k, "half"), *out = NULL, *job = NULL;
        assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e), 0);
        wmi_object_free(in);
        AUTO_FREE char *path = wmi_str(out, "Job");
        wmi_object_free(out);
        dbl_pass(k->d, 10000);
        assert_int_equal(wmi_get(k->hv, path, &k->wait, &job, &k->e), 0);
        AUTO_FREE char *text = wmi_str(job, "ErrorDescription");
        assert_int_equal(wmi_uint(job, "JobState", 0), 10);
        assert_int_equal(wmi_uint(job, "ErrorCode", 0), 32768);
        assert_non_null(strstr(text, "Fehler"));
        assert_non_null(strstr(text, "(0x80070070)"));
        wmi_object_free(job);
        struct said s = kit_exec(k, k->hv, path, "GetErrorEx", NULL);
        char **errors = wmi_strs(s.out, "Errors");
        assert_non_null(strstr(errors[0], "Msvm_Error"));
        in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "FormatError");
        assert_int_equal(wmi_put_strs(in, "Errors", (const char *const *)errors, 1, &k->e), 0);
        wmi_strs_free(errors);
        kit_said_clear(&s);
        s = kit_exec(k, k->hv, vmms, "FormatError", in);
        AUTO_FREE char *words = wmi_str(s.out, "ErrorMessage");
        assert_string_equal(words, text);
        kit_said_clear(&s);
        assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='half'"), way);
        kit_free(k);
    }
}

/* Finished jobs that vanish after a look or two [C]; completed with warnings (32768) is a success [D]. */
static void test_vanishing(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.jobs = DBL_EVER, .vanish_per_mille = 1000, .warn_per_mille = 1000});
    AUTO_FREE char *vmms = service(k);
    struct wmi_object *in = define_in(k, "v"), *out = NULL, *job = NULL;
    assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e), 0);
    AUTO_FREE char *path = wmi_str(out, "Job");
    dbl_pass(k->d, 10000);
    unsigned looks = 0;
    while (wmi_get(k->hv, path, &k->wait, &job, &k->e) == 0) {
        assert_int_equal(wmi_uint(job, "JobState", 0), 32768);
        wmi_object_free(job);
        looks++;
    }
    assert_int_equal(wmi_hresult(&k->e), WMI_E_NOT_FOUND);
    assert_true(looks >= 1 && looks <= 2);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='v'"), 1);
    wmi_object_free(in);
    wmi_object_free(out);
    kit_free(k);
}

/* Right after one change the next is refused with 32775 for a while [I] microsoft/wmi PR #27; so it is while a job runs on the VM. */
static void test_locked(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.locked_per_mille = 1000, .seed = 7});
    AUTO_FREE char *s = kit_define(k, 1, "locked"), *id = NULL;
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, s, &k->wait, &o, &k->e), 0);
    id = wmi_str(o, "InstanceID");
    wmi_object_free(o);
    unsigned refused = 0;
    for (unsigned n = 0; n < 20; n++) {
        struct said said;
        for (unsigned tries = 0;; tries++) {
            said = kit_service(k, "ModifySystemSettings", "SystemSettings",
                               kit_text(k, "Msvm_VirtualSystemSettingData", (const char *const[]){"InstanceID", id, "ElementName", "locked", NULL}), NULL);
            kit_said_clear(&said);
            if (said.value == 0)
                break;
            assert_int_equal(said.value, 32775);
            assert_true(tries < 20);
            refused++;
            dbl_pass(k->d, 1000);
        }
    }
    assert_true(refused > 10);
    kit_free(k);

    k = kit_new(&(struct dbl_options){.jobs = DBL_EVER});
    AUTO_FREE char *t = kit_define(k, 1, "busy"), *vm = kit_vm_path(k, t), *guid = kit_guid(k, t);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ComputerSystem", "RequestStateChange"), *out = NULL;
    wmi_put_uint(in, "RequestedState", 2, &k->e);
    assert_int_equal(wmi_exec(k->hv, vm, "RequestStateChange", in, &k->wait, &out, &k->e), 0);
    wmi_object_free(out);
    assert_int_equal(dbl_vm_state(k->d, guid), 10);                      /* starting */
    assert_int_equal(wmi_exec(k->hv, vm, "RequestStateChange", in, &k->wait, &out, &k->e), 0);
    assert_int_equal(wmi_uint(out, "ReturnValue", 0), 32775);
    wmi_object_free(out);
    wmi_object_free(in);
    dbl_pass(k->d, 10000);
    assert_int_equal(dbl_vm_state(k->d, guid), 2);
    kit_free(k);
}

/* ---- faults ---- */

static void test_planned_faults(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *vmms = service(k);
    struct wmi_object *out = NULL, *in = define_in(k, "f");
    const char *count = "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='f'";
    /* before: nothing was done */
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_HRESULT, .code = WMI_E_SERVER_TOO_BUSY, .call = "exec", .at = 2});
    assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e), 0);
    wmi_object_free(out);
    assert_true(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_SERVER_TOO_BUSY);
    assert_int_equal(kit_count(k, k->hv, count), 1);
    /* after: it was done, the answer is lost */
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_HRESULT_AFTER, .code = WMI_E_PROVIDER_FAILURE, .method = "DefineSystem", .at = 1});
    assert_true(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e) < 0);
    assert_int_equal(kit_count(k, k->hv, count), 2);
    /* a return value, once */
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_RETURN, .code = 32772, .method = "DefineSystem", .at = 1});
    for (unsigned n = 0; n < 2; n++) {
        assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e), 0);
        assert_int_equal(wmi_uint(out, "ReturnValue", 1), n ? 0 : 32772);
        wmi_object_free(out);
    }
    assert_int_equal(kit_count(k, k->hv, count), 3);
    assert_int_equal(dbl_faults_fired(k->d), 3);
    wmi_object_free(in);
    kit_free(k);
}

/* RPC: the connection is broken until it is made anew [C]; reads are done again by the caller's side of the seam, what changes is not. */
static void test_cuts(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *vmms = service(k);
    unsigned before = k->hv->connection;
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_CUT, .call = "query", .at = 1});
    assert_true(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem") > 0);
    assert_int_equal(k->hv->connection, before + 1);
    struct wmi_object *out = NULL, *in = define_in(k, "cut");
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_CUT_AFTER, .method = "DefineSystem", .at = 1});
    assert_true(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e) < 0);
    assert_true(wmi_was_cut_off(&k->e));
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='cut'"), 1);
    /* the management service restarts: every connection, and jobs with it; objects that are held stay */
    struct wmi_object *held = kit_one(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='cut'");
    dbl_vmms_restart(k->d);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='cut'"), 1);
    AUTO_FREE char *name = wmi_str(held, "ElementName");
    assert_string_equal(name, "cut");
    wmi_object_free(held);
    wmi_object_free(in);
    kit_free(k);
}

/* A restart ends a start that was under way: the VM is off again, its job is gone [I]. */
static void test_restart_ends_jobs(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.jobs = DBL_EVER});
    AUTO_FREE char *s = kit_define(k, 1, "r"), *vm = kit_vm_path(k, s), *guid = kit_guid(k, s);
    struct wmi_object *out = NULL, *in = kit_in(k, k->hv, "Msvm_ComputerSystem", "RequestStateChange"), *job = NULL;
    wmi_put_uint(in, "RequestedState", 2, &k->e);
    assert_int_equal(wmi_exec(k->hv, vm, "RequestStateChange", in, &k->wait, &out, &k->e), 0);
    AUTO_FREE char *path = wmi_str(out, "Job");
    wmi_object_free(out);
    wmi_object_free(in);
    dbl_vmms_restart(k->d);
    assert_int_equal(dbl_vm_state(k->d, guid), 3);
    assert_int_equal(wmi_get(k->hv, path, &k->wait, &job, &k->e), -ERR_NOT_FOUND);
    dbl_pass(k->d, 60000);
    assert_int_equal(dbl_vm_state(k->d, guid), 3);
    assert_int_equal(kit_state(k, s, 2), 0);
    kit_free(k);
}

/* Slow calls: a deadline and a wish to stop end the waiting, not the work. */
static bool yes(void *arg)
{
    return *(bool *)arg;
}

static void test_slow(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *vmms = service(k);
    struct wmi_object *out = NULL, *in = define_in(k, "slow");
    struct wmi_wait impatient = {.timeout_ms = 5000};
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_SLOW, .code = 20000, .method = "DefineSystem", .at = 1});
    int64_t began = dbl_now(k->d);
    assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &impatient, &out, &k->e), -ERR_TIMEOUT);
    assert_true(dbl_now(k->d) - began >= 5000);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='slow'"), 1);
    bool stop = true;
    struct wmi_wait stopping = {.timeout_ms = 60000, .stop = yes, .arg = &stop};
    assert_int_equal(wmi_exec(k->hv, vmms, "DefineSystem", in, &stopping, &out, &k->e), -ERR_CANCELLED);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='slow'"), 1);
    wmi_object_free(in);
    kit_free(k);
}

/* Random faults: a seed gives the same run twice; with a rate of 1000 every call meets one. */
static void test_random_faults(void **state)
{
    (void)state;
    AUTO_FREE char *first = NULL;
    for (unsigned run = 0; run < 2; run++) {
        struct dbl_options o = dbl_wild(dbl_schema(DBL_2025), 42);
        struct kit *k = kit_new(&o);
        dbl_log_on(k->d);
        dbl_fault_rate(k->d, 300);
        struct wmi_rows rows = {0};
        for (unsigned n = 0; n < 50; n++)
            if (wmi_query(k->hv, "SELECT * FROM Msvm_ComputerSystem", 100, &k->wait, &rows, &k->e) == 0)
                wmi_rows_clear(&rows);
        assert_true(dbl_faults_fired(k->d) > 5);
        AUTO_FREE char *log = dbl_log(k->d);
        if (run)
            assert_string_equal(first, log);
        else
            first = STEAL(log);
        dbl_faults_clear(k->d);
        kit_free(k);
    }
}

struct death { struct dbl *d; size_t vms; unsigned times; };

static void on_kill(void *arg)
{
    struct death *x = arg;
    x->vms = dbl_vms(x->d, false);
    x->times++;
}

/* "The daemon dies" in the middle of a call: before it reached Windows, or after. The test decides what dying is; here it is a note. */
static void test_kill(void **state)
{
    (void)state;
    for (unsigned after = 0; after < 2; after++) {
        struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
        AUTO_FREE char *vmms = service(k);
        struct wmi_object *in = define_in(k, "killed"), *out = NULL;
        struct death x = {.d = k->d};
        dbl_on_kill(k->d, on_kill, &x);
        dbl_fault_add(k->d, &(struct dbl_fault){.kind = after ? DBL_KILL_AFTER : DBL_KILL, .method = "DefineSystem", .at = 1});
        wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e);
        assert_int_equal(x.times, 1);
        assert_int_equal(x.vms, after);
        wmi_object_free(in);
        wmi_object_free(out);
        kit_free(k);
    }
}

/* One connection, many threads: each sees its own objects, the host stays whole. */
struct worker { struct kit *k; pthread_t thread; unsigned number, made; };

static void *work(void *arg)
{
    struct worker *w = arg;
    struct wmi_wait wait = {.timeout_ms = 60000};
    struct err e;
    AUTO_FREE char *name = str_printf("thread%u", w->number), *wql = str_printf("SELECT * FROM Msvm_ComputerSystem WHERE ElementName='%s'", name);
    AUTO_FREE char *text = str_printf("<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"ElementName\" TYPE=\"string\"><VALUE>%s</VALUE>"
                                      "</PROPERTY></INSTANCE>", name);
    for (unsigned n = 0; n < 20; n++) {
        struct wmi_object *service = NULL, *in = NULL, *out = NULL;
        struct wmi_rows rows = {0};
        if (wmi_query_one(w->k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService", &wait, &service, &e) < 0)
            continue;
        AUTO_FREE char *path = wmi_str(service, "__PATH");
        wmi_object_free(service);
        if (wmi_method(w->k->hv, "Msvm_VirtualSystemManagementService", "DefineSystem", &wait, &in, &e) < 0)
            continue;
        if (wmi_put_str(in, "SystemSettings", text, &e) == 0 && wmi_exec(w->k->hv, path, "DefineSystem", in, &wait, &out, &e) == 0) {
            w->made += wmi_uint(out, "ReturnValue", 1) == 0;
            wmi_object_free(out);
        }
        wmi_object_free(in);
        if (wmi_query(w->k->hv, wql, 100, &wait, &rows, &e) == 0)
            wmi_rows_clear(&rows);
        dbl_host_ops.sleep_ms(w->k->d, 10);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.shuffles = true, .seed = 9});
    struct worker workers[4];
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_CUT, .call = "query", .at = 30});
    dbl_fault_add(k->d, &(struct dbl_fault){.kind = DBL_RESTART, .call = "exec", .at = 25});
    for (unsigned i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){.k = k, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    unsigned made = 0;
    for (unsigned i = 0; i < ARRAY_LEN(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        made += workers[i].made;
    }
    assert_true(made >= 70);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName LIKE 'thread%'"), made);
    kit_free(k);
}

/* What was used is remembered, the unknown too. */
struct found { bool define, name, nonsense; };

static void on_used(void *arg, const char *kind, const char *ns, const char *class, const char *name, bool known)
{
    struct found *f = arg;
    assert_string_equal(ns, WMI_NS_HYPERV);
    f->define = f->define || (!strcmp(kind, "method") && !strcmp(name, "DefineSystem") && !strcmp(class, "Msvm_VirtualSystemManagementService") && known);
    f->name = f->name || (!strcmp(kind, "property") && !strcmp(name, "ElementName") && known);
    f->nonsense = f->nonsense || (!strcmp(name, "Nonsense") && !known);
}

static void test_usage(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    free(kit_define(k, 1, "u"));
    struct wmi_object *o = kit_one(k, k->hv, "SELECT * FROM Msvm_ComputerSystem");
    assert_null(wmi_str(o, "Nonsense"));
    wmi_object_free(o);
    struct found f = {0};
    dbl_used(k->d, on_used, &f);
    assert_true(f.define && f.name && f.nonsense);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job),    cmocka_unit_test(test_effects),        cmocka_unit_test(test_failed_job),        cmocka_unit_test(test_vanishing),
        cmocka_unit_test(test_locked), cmocka_unit_test(test_planned_faults), cmocka_unit_test(test_cuts),              cmocka_unit_test(test_restart_ends_jobs),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_slow),   cmocka_unit_test(test_random_faults),  cmocka_unit_test(test_kill),              cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

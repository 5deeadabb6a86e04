/* The small parts below sign-in and Azure Resource Manager: endpoints, resource ids, texts for messages, budgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/arm_id.h"
#include "storage/azure/budget.h"
#include "storage/azure/cloud.h"
#include "storage/azure/rest.h"
#include "storage/azure/token.h"
#include "tests/unit/db_util.h"

#define SUB "0aa1bb22-1111-2222-3333-444455556666"
#define VM "/subscriptions/" SUB "/resourceGroups/rg-prod/providers/Microsoft.Compute/virtualMachines/web01"

/* ---- clouds ---- */

static void test_clouds(void **state)
{
    (void)state;
    static const struct { struct cloud_options o; const char *arm, *login, *blob, *disk; } rows[] = {
        {{0}, "https://management.azure.com", "https://login.microsoftonline.com", "blob.core.windows.net", "blob.storage.azure.net"},
        {{.cloud = "", .arm_endpoint = ""}, "https://management.azure.com", "https://login.microsoftonline.com", "blob.core.windows.net", "blob.storage.azure.net"},
        {{.cloud = "china"}, "https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn", "blob.core.chinacloudapi.cn", "blob.storage.azure.cn"},
        {{.cloud = "usgov"}, "https://management.usgovcloudapi.net", "https://login.microsoftonline.us", "blob.core.usgovcloudapi.net", "blob.storage.usgovcloudapi.net"},
        {{.cloud = "china", .login_endpoint = "https://login.partner.microsoftonline.cn/"}, "https://management.chinacloudapi.cn", "https://login.partner.microsoftonline.cn",
         "blob.core.chinacloudapi.cn", "blob.storage.azure.cn"},
        {{.cloud = "custom", .arm_endpoint = "http://127.0.0.1:8081/", .login_endpoint = "https://login.stack.example:8443", .blob_suffix = "Blob.Stack.Example", .disk_sas_suffix = "127.0.0.1"},
         "http://127.0.0.1:8081", "https://login.stack.example:8443", "blob.stack.example", "127.0.0.1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        AUTO(cloud_close_ptr) struct cloud *c = NULL;
        ok(cloud_open(&rows[i].o, &c, &err));
        assert_string_equal(c->arm, rows[i].arm);
        assert_string_equal(c->login, rows[i].login);
        assert_string_equal(c->blob_suffix, rows[i].blob);
        assert_string_equal(c->disk_sas_suffix, rows[i].disk);
        assert_string_equal(c->imds, "http://169.254.169.254");
        /* tokens are for the Azure Resource Manager of that cloud; data is asked for under one name everywhere */
        AUTO(tokens_close_ptr) struct tokens *t = NULL;
        AUTO_FREE char *resource = str_printf("%s/", rows[i].arm);
        ok(tokens_open(&(struct tokens_config){.cloud = c}, &t, &err));
        assert_string_equal(tokens_resource(t, TOKEN_FOR_ARM), resource);
        assert_string_equal(tokens_resource(t, TOKEN_FOR_DISK), "https://disk.azure.com/");
        assert_string_equal(tokens_resource(t, TOKEN_FOR_STORAGE), "https://storage.azure.com/");
    }
    static const struct { struct cloud_options o; const char *says; } bad[] = {
        {{.cloud = "germany"}, "cloud must be"},
        {{.cloud = "custom"}, "arm_endpoint must be given"},
        {{.cloud = "custom", .arm_endpoint = "https://a.example", .login_endpoint = "https://l.example", .blob_suffix = "b.example"}, "disk_sas_suffix must be given"},
        {{.arm_endpoint = "http://management.azure.com"}, "plain http"},
        {{.arm_endpoint = "http://169.254.169.254"}, "plain http"},
        {{.imds_endpoint = "http://169.254.169.253"}, "plain http"},
        {{.arm_endpoint = "https://user@management.azure.com"}, "arm_endpoint must be"},
        {{.arm_endpoint = "https://management.azure.com/?x"}, "arm_endpoint must be"},
        {{.arm_endpoint = "https://management.azure.com/tenant"}, "arm_endpoint must be"},
        {{.arm_endpoint = "management.azure.com"}, "arm_endpoint must be"},
        {{.blob_suffix = ".core.windows.net"}, "blob_suffix must be"},
        {{.blob_suffix = "core..windows.net"}, "blob_suffix must be"},
        {{.disk_sas_suffix = "blob.storage.azure.net:443"}, "disk_sas_suffix must be"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err;
        struct cloud *c = NULL;
        fails(cloud_open(&bad[i].o, &c, &err), ERR_CONFIG);
        if (!strstr(err.msg, bad[i].says))
            fail_msg("row %zu: %s", i, err.msg);
    }
}

static void test_origins(void **state)
{
    (void)state;
    static const struct { const char *url, *endpoint; bool same; } rows[] = {
        {"https://management.azure.com/subscriptions?x=1#f", "https://management.azure.com", false},     /* a fragment is none of a poll URL's */
        {"https://management.azure.com/subscriptions?x=1", "https://management.azure.com", true},
        {"https://MANAGEMENT.azure.com:443/", "https://management.azure.com", true},
        {"http://management.azure.com/", "https://management.azure.com", false},
        {"https://management.azure.com:444/", "https://management.azure.com", false},
        {"https://management.azure.com.evil.example/", "https://management.azure.com", false},
        {"https://management.azure.com@evil.example/", "https://management.azure.com", false},
        {"https://evil.example/https://management.azure.com", "https://management.azure.com", false},
        {"https://management.azure.com\\@evil.example/", "https://management.azure.com", false},
        {"//management.azure.com/", "https://management.azure.com", false},
        {"/subscriptions", "https://management.azure.com", false},
        {"", "https://management.azure.com", false},
        {"http://127.0.0.1:8081/x", "http://127.0.0.1:8081", true},
        {"http://127.0.0.1:8082/x", "http://127.0.0.1:8081", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (cloud_same_origin(rows[i].url, rows[i].endpoint) != rows[i].same)
            fail_msg("%s and %s are %sthe same", rows[i].url, rows[i].endpoint, rows[i].same ? "not " : "");
    /* poll URLs of 5 kB, as they come */
    AUTO_STRBUF struct strbuf b = {.max = 16384};
    strbuf_adds(&b, "https://management.azure.com/subscriptions/x/operations/y?t=1&c=");
    for (int i = 0; i < 5000; i++)
        strbuf_adds(&b, "A");
    assert_true(cloud_same_origin(b.data, "https://management.azure.com"));
    assert_false(cloud_same_origin(b.data, "https://management.chinacloudapi.cn"));
}

static void test_storage_hosts(void **state)
{
    (void)state;
    struct err err;
    AUTO(cloud_close_ptr) struct cloud *public = NULL, *custom = NULL, *china = NULL, *usgov = NULL;
    ok(cloud_open(&(struct cloud_options){0}, &public, &err));
    ok(cloud_open(&(struct cloud_options){.cloud = "custom", .arm_endpoint = "http://127.0.0.1:1", .login_endpoint = "http://127.0.0.1:2", .blob_suffix = "127.0.0.1", .disk_sas_suffix = "disks.example"},
                  &custom, &err));
    ok(cloud_open(&(struct cloud_options){.cloud = "china"}, &china, &err));
    ok(cloud_open(&(struct cloud_options){.cloud = "usgov"}, &usgov, &err));
    const struct { const struct cloud *c; const char *url; bool disk, blob; } rows[] = {
        {china, "https://md-x.z1.blob.storage.azure.cn/x/abcd?sig=PLANTED", true, false},
        {china, "https://md-x.z1.blob.storage.azure.net/x/abcd?sig=PLANTED", false, false},
        {china, "https://acct.blob.core.chinacloudapi.cn/vhds/x.vhd", false, true},
        {china, "https://acct.blob.core.windows.net/vhds/x.vhd", false, false},
        {usgov, "https://md-x.z1.blob.storage.usgovcloudapi.net/x/abcd?sig=PLANTED", true, false},
        {usgov, "https://md-x.z1.blob.storage.azure.net/x/abcd?sig=PLANTED", false, false},
        {usgov, "https://acct.blob.core.usgovcloudapi.net/vhds/x.vhd", false, true},
        {public, "https://md-ggrfnlb0cczz.z47.blob.storage.azure.net/v42/abcd?sv=2018-03-28&sr=b&si=x&sig=PLANTED", true, false},
        {public, "https://md-hdd-qk42btdgt4zs.z12.blob.storage.azure.net/x/abcd?sig=PLANTED", true, false},
        {public, "https://MD-x.z1.BLOB.storage.azure.net/x/abcd?sig=PLANTED", true, false},
        {public, "http://md-x.z1.blob.storage.azure.net/x/abcd?sig=PLANTED", false, false},
        {public, "https://other.z1.blob.storage.azure.net/x/abcd?sig=PLANTED", false, false},
        {public, "https://md-x.blob.storage.azure.net.evil.example/x?sig=PLANTED", false, false},
        {public, "https://md-xblob.storage.azure.net/x?sig=PLANTED", false, false},
        {public, "https://blob.storage.azure.net/x?sig=PLANTED", false, false},
        {public, "https://acct.blob.core.windows.net/vhds/x.vhd", false, true},
        {public, "https://blob.core.windows.net/vhds/x.vhd", false, false},
        {public, "http://acct.blob.core.windows.net/vhds/x.vhd", false, false},
        {public, "nonsense", false, false},
        {custom, "https://disks.example/x?sig=PLANTED", true, false},
        {custom, "https://a.disks.example/x?sig=PLANTED", true, false},
        {custom, "https://adisks.example/x?sig=PLANTED", false, false},
        {custom, "http://a.disks.example/x?sig=PLANTED", false, false},
        {custom, "http://127.0.0.1:10000/devstoreaccount1/c/b", false, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        err_clear(&err);
        if ((cloud_check_disk_sas(rows[i].c, rows[i].url, &err) == 0) != rows[i].disk)
            fail_msg("%s as a disk: %s", rows[i].url, err.msg);
        assert_null(strstr(err.msg, "PLANTED"));
        err_clear(&err);
        if ((cloud_check_blob(rows[i].c, rows[i].url, &err) == 0) != rows[i].blob)
            fail_msg("%s as a blob: %s", rows[i].url, err.msg);
        assert_null(strstr(err.msg, "PLANTED"));
    }
}

/* ---- ids ---- */

static void test_ids(void **state)
{
    (void)state;
    static const struct { const char *text, *type, *path; } good[] = {
        {VM, "Microsoft.Compute/virtualMachines", VM},
        {VM, NULL, VM},
        {"/SUBSCRIPTIONS/0AA1BB22-1111-2222-3333-444455556666/resourcegroups/RG-PROD/PROVIDERS/microsoft.compute/VIRTUALMACHINES/WEB01", "Microsoft.Compute/virtualMachines",
         "/subscriptions/" SUB "/resourceGroups/RG-PROD/providers/microsoft.compute/VIRTUALMACHINES/WEB01"},
        {"/subscriptions/" SUB "/resourceGroups/rg_(odd).name/providers/Microsoft.Compute/disks/a_b-c.d", "Microsoft.Compute/disks",
         "/subscriptions/" SUB "/resourceGroups/rg_(odd).name/providers/Microsoft.Compute/disks/a_b-c.d"},
        {"/subscriptions/" SUB "/resourceGroups/r\xC3\xA9seau/providers/Microsoft.Compute/disks/d", NULL, "/subscriptions/" SUB "/resourceGroups/r%C3%A9seau/providers/Microsoft.Compute/disks/d"},
    };
    struct err err;
    struct arm_id id;
    char path[ARM_ID_MAX], key[ARM_ID_MAX];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ok(arm_id_parse(good[i].text, good[i].type, &id, &err));
        arm_id_path(&id, path);
        assert_string_equal(path, good[i].path);
        arm_id_key(&id, key);
        assert_true(str_ieq(key, path) && !key[strcspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]);
        struct arm_id again;
        ok(arm_id_parse(good[i].text, NULL, &again, &err));
        assert_memory_equal(&id, &again, sizeof id);
    }
    static const struct { const char *text, *type, *says; } bad[] = {
        {"", NULL, "begin with '/'"}, {"web01", NULL, "begin with '/'"}, {"/subscriptions", NULL, "ends too early"}, {"/subscriptions/" SUB "/resourceGroups/rg", NULL, "ends too early"},
        {"/subscriptions/web/resourceGroups/rg/providers/Microsoft.Compute/disks/d", NULL, "no GUID"},
        {"/tenants/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/disks/d", NULL, "\"subscriptions\" is expected"},
        {"/subscriptions/" SUB "/resourceGroups//providers/Microsoft.Compute/disks/d", NULL, "resource group is missing"},
        {"/subscriptions/" SUB "/resourceGroups/rg./providers/Microsoft.Compute/disks/d", NULL, "does not end in"},
        {"/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/disks/a%2Fb", NULL, "not allowed"},
        {"/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/disks/a?b", NULL, "not allowed"},
        {"/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/disks/..", NULL, "no name"},
        {"/subscriptions/" SUB "/resourceGroups/../providers/Microsoft.Compute/disks/d", NULL, "does not end in"},
        {"/subscriptions/" SUB "/resourceGroups/r\xC3/providers/Microsoft.Compute/disks/d", NULL, "not allowed"},
        {VM "/", NULL, "something within"}, {VM "/extensions/e", NULL, "something within"}, {VM, "Microsoft.Compute/disks", "is the id of a Microsoft.Compute/virtualMachines"},
        {"/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/disks/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
         "123456789012345678901234567890", NULL, "at most 128"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fails(arm_id_parse(bad[i].text, bad[i].type, &id, &err), ERR_VALUE);
        if (!strstr(err.msg, bad[i].says))
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
    assert_true(arm_id_equal(VM, "/subscriptions/0AA1BB22-1111-2222-3333-444455556666/RESOURCEGROUPS/RG-PROD/providers/MICROSOFT.COMPUTE/virtualmachines/WEB01"));
    assert_false(arm_id_equal(VM, "/subscriptions/" SUB "/resourceGroups/rg-prod/providers/Microsoft.Compute/virtualMachines/web02"));
    assert_false(arm_id_equal(VM, "/subscriptions/" SUB "/resourceGroups/rg-prod/providers/Microsoft.Compute/disks/web01"));
    assert_false(arm_id_equal("nonsense", "nonsense"));
    ok(arm_id_make(SUB, "rg", "Microsoft.Compute/snapshots", "s1", &id, &err));
    assert_string_equal(id.type, "snapshots");
    fails(arm_id_make(SUB, "rg/x", "Microsoft.Compute/snapshots", "s1", &id, &err), ERR_VALUE);
}

/* ---- texts ---- */

static void test_texts(void **state)
{
    (void)state;
    static const struct { const char *from, *secret; size_t size; const char *to; } rows[] = {
        {"plain words", NULL, 64, "plain words"},
        {"two\r\nlines\tand\x01more ", NULL, 64, "two lines and more"},
        {"see https://a/b?sv=1&sig=abc%2Bdef&se=2 and go", NULL, 96, "see https://a/b?sv=1&sig=\xE2\x80\xA6&se=2 and go"},
        {"SIG=x y", NULL, 64, "SIG=\xE2\x80\xA6 y"},
        {"token eyJ0eXAiOiJKV1QiLCJhbGciOi.abc-_. end", NULL, 64, "token \xE2\x80\xA6 end"},
        {"eyJshort stays", NULL, 64, "eyJshort stays"},
        {"the secret p@ss word twice p@ss word", "p@ss word", 64, "the secret \xE2\x80\xA6 twice \xE2\x80\xA6"},
        {"abc\xC3\xA4", NULL, 5, "abc"},                              /* not cut within a character */
        {"abcdef", NULL, 4, "abc"},
        {"", "x", 8, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[128];
        memset(buf, '#', sizeof buf);
        rest_text(rows[i].from, rows[i].secret, buf, rows[i].size);
        assert_string_equal(buf, rows[i].to);
        assert_int_equal(buf[rows[i].size], '#');
    }
}

/* ---- budgets ---- */

static void test_kinds(void **state)
{
    (void)state;
    static const struct { const char *method, *path, *kind; } rows[] = {
        {"GET", "/subscriptions?api-version=1", " GET /subscriptions"},
        {"GET", "/subscriptions/" SUB "/providers/Microsoft.Compute/virtualMachines?statusOnly=true", SUB " GET /subscriptions/providers/microsoft.compute/virtualmachines"},
        {"POST", "/subscriptions/" SUB "/resourceGroups/RG/providers/Microsoft.Compute/disks/D1/beginGetAccess?api-version=1",
         SUB " POST /subscriptions/resourcegroups/providers/microsoft.compute/disks/begingetaccess"},
        {"GET", "/subscriptions/" SUB "/providers/Microsoft.Compute/locations/westeurope/DiskOperations/abc?p=1", SUB " GET /subscriptions/providers/microsoft.compute/locations/diskoperations"},
        {"GET", "", " GET "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char kind[BUDGET_KIND_MAX];
        budget_kind(rows[i].method, rows[i].path, kind);
        AUTO_FREE char *want = str_dup(rows[i].kind), *got = str_dup(kind);
        if (!str_ieq(want, got))
            fail_msg("%s gives %s", rows[i].path, kind);
    }
}

static void test_budgets(void **state)
{
    (void)state;
    struct budgets *b = budgets_new();
    assert_non_null(b);
    int64_t now = 1000000;
    const char *kind = SUB " GET list", *other = "1111 GET list";
    assert_int_equal(budgets_take(b, kind, now), 0);
    /* plenty is left */
    budgets_learn(b, kind, 200, "x-ms-ratelimit-remaining-resource: Microsoft.Compute/HighCostGet3Min;899,Microsoft.Compute/HighCostGet30Min;7999\n", 0, now);
    for (int i = 0; i < 100; i++)
        assert_int_equal(budgets_take(b, kind, now), 0);
    /* five left of a window of three minutes: one every 3 s */
    budgets_learn(b, kind, 200, "x-ms-ratelimit-remaining-resource: Microsoft.Compute/HighCostGet3Min;5,Microsoft.Compute/HighCostGet30Min;7999\n", 0, now);
    assert_in_range(budgets_take(b, kind, now), 2999, 3001);
    assert_in_range(budgets_take(b, kind, now), 5999, 6001);
    assert_in_range(budgets_take(b, kind, now), 8999, 9001);
    assert_int_equal(budgets_take(b, other, now), 0);
    /* nobody is made to wait for longer than half a minute by that */
    for (int i = 0; i < 50; i++)
        assert_true(budgets_take(b, kind, now) <= 30000);
    /* what was said is over with its window */
    now += 181000;
    assert_int_equal(budgets_take(b, kind, now), 0);
    /* nothing left */
    budgets_learn(b, kind, 200, "x-ms-ratelimit-remaining-resource: Microsoft.Compute/HighCostGet3Min;0\n", 0, now);
    assert_in_range(budgets_take(b, kind, now), 17999, 18001);
    /* 429: nobody before Retry-After, and no other kind is held up */
    now += 400000;
    budgets_learn(b, kind, 429, NULL, 60000, now);
    assert_in_range(budgets_take(b, kind, now), 59999, 60001);
    assert_int_equal(budgets_take(b, other, now), 0);
    assert_int_equal(budgets_take(b, kind, now + 60001), 0);
    budgets_learn(b, kind, 503, NULL, 60000, now + 60001);           /* that one says nothing about budgets */
    assert_int_equal(budgets_take(b, kind, now + 60001), 0);
    /* the level of the subscription */
    budgets_learn(b, other, 200, "x-ms-ratelimit-remaining-subscription-reads: 0\n", 0, now);
    assert_in_range(budgets_take(b, other, now), 5999, 6001);
    /* what makes no sense is no budget */
    static const char *const odd[] = {"x-ms-ratelimit-remaining-resource: \n", "x-ms-ratelimit-remaining-resource: ;;;,,,\n", "x-ms-ratelimit-remaining-resource: a;-1,b;x,c\n",
                                      "x-ms-ratelimit-remaining-resource: a;99999999999999999999999\n", "x-ms-ratelimit-remaining-x\n", "\n\n"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        budgets_learn(b, "2222 GET x", 200, odd[i], 0, now);
    assert_int_equal(budgets_take(b, "2222 GET x", now), 0);
    /* bounded, however many there are */
    for (int i = 0; i < 3000; i++) {
        char k[64], line[128];
        snprintf(k, sizeof k, "%d GET x", i);
        snprintf(line, sizeof line, "x-ms-ratelimit-remaining-resource: bucket%d;0\n", i);
        budgets_learn(b, k, 200, line, 0, now + i);
    }
    assert_true(budgets_take(b, "2999 GET x", now + 3000) > 0);
    assert_int_equal(budgets_take(b, "0 GET x", now + 3000), 0);
    budgets_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clouds), cmocka_unit_test(test_origins), cmocka_unit_test(test_storage_hosts), cmocka_unit_test(test_ids), cmocka_unit_test(test_texts),
        cmocka_unit_test(test_kinds), cmocka_unit_test(test_budgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

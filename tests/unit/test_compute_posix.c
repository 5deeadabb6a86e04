/* Virtual machines, disks and snapshots: what is read of Azure's answers, what is asked for, and what may be exported. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "storage/azure/compute_internal.h"
#include "storage/azure/exportable.h"
#include "tests/unit/db_util.h"
#include "tests/unit/script_server_posix.h"

#define SUB "0aa1bb22-1111-2222-3333-444455556666"
#define AT "/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/"
#define OK_ "HTTP/1.1 200 OK\n\n"
#define GONE(code) "HTTP/1.1 404 Not Found\n\n{\"error\":{\"code\":\"" code "\",\"message\":\"x was not found.\"}}"

/* ' for " */
static json_t *json_of(const char *text)
{
    AUTO_FREE char *copy = str_dup(text);
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_error_t je;
    json_t *o = json_loads(copy, 0, &je);
    if (!o)
        fail_msg("%s: %s", text, je.text);
    return o;
}

/* ---- reading ---- */

static void test_disk(void **state)
{
    (void)state;
    struct err err;
    struct compute_disk d;
    json_t *o = json_of("{'id':'" AT "disks/d1','name':'d1','location':'westeurope','managedBy':'" AT "virtualMachines/vm','sku':{'name':'PremiumV2_LRS'},'tags':{'VMRecover-Job':'j1','x':'y'},"
                        "'properties':{'osType':'Windows','hyperVGeneration':'V2','diskSizeGB':127,'diskSizeBytes':136365211648,'diskState':'Reserved','uniqueId':'u1','timeCreated':'2024-01-05T01:00:00.0000000+00:00',"
                        "'encryption':{'type':'EncryptionAtRestWithCustomerKey'},'encryptionSettingsCollection':{'enabled':true},'securityProfile':{'securityType':'TrustedLaunch'},"
                        "'dataAccessAuthMode':'AzureActiveDirectory','networkAccessPolicy':'AllowPrivate','publicNetworkAccess':'Disabled','completionPercent':12.5,"
                        "'creationData':{'createOption':'Copy','sourceResourceId':'" AT "disks/d0','sourceUniqueId':'u0','logicalSectorSize':4096}}}");
    ok(compute_parse_disk(o, &d, &err));
    json_decref(o);
    assert_true(!d.snapshot && d.size_bytes == 136365211648 && d.generation == 2 && d.ade && d.logical_sector_size == 4096 && !d.incremental);
    assert_true(d.completion_percent > 12.4 && d.completion_percent < 12.6);
    assert_string_equal(d.sku, "PremiumV2_LRS");
    assert_string_equal(d.state, "Reserved");
    assert_string_equal(d.encryption, "EncryptionAtRestWithCustomerKey");
    assert_string_equal(d.security_type, "TrustedLaunch");
    assert_string_equal(d.data_access_auth_mode, "AzureActiveDirectory");
    assert_string_equal(d.network_access_policy, "AllowPrivate");
    assert_string_equal(d.public_network_access, "Disabled");
    assert_string_equal(d.job_tag, "j1");
    assert_string_equal(d.source_id, AT "disks/d0");
    assert_string_equal(d.managed_by, AT "virtualMachines/vm");
    assert_int_equal(d.created_at_ms, 1704416400000);
    compute_disk_clear(&d);
    /* what is not there is empty, what is odd is ignored */
    o = json_of("{'id':'" AT "snapshots/s1','properties':{'diskSizeGB':4,'completionPercent':'x','creationData':{'logicalSectorSize':7},'osType':7,'incremental':true},'sku':[],'tags':'none'}");
    ok(compute_parse_disk(o, &d, &err));
    json_decref(o);
    assert_true(d.snapshot && d.size_bytes == 4ULL << 30 && d.incremental && d.completion_percent < 0 && !d.logical_sector_size && !d.job_tag && !d.source_id && !*d.os_type && !*d.sku);
    assert_string_equal(d.name, "s1");
    compute_disk_clear(&d);
    static const char *const bad[] = {"{}", "{'id':7}", "{'id':'x'}", "{'id':'" AT "virtualMachines/vm'}", "{'id':''}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        o = json_of(bad[i]);
        fails(compute_parse_disk(o, &d, &err), ERR_UPSTREAM);
        json_decref(o);
    }
}

static void test_vm(void **state)
{
    (void)state;
    struct err err;
    struct compute_vm vm;
    json_t *o = json_of("{'id':'" AT "virtualMachines/web01','name':'web01','location':'westeurope','properties':{'vmId':'v1','provisioningState':'Succeeded','hardwareProfile':{'vmSize':'Standard_D2s_v5'},"
                        "'securityProfile':{'securityType':'TrustedLaunch','encryptionAtHost':true},'diagnosticsProfile':{'bootDiagnostics':{'enabled':true,'storageUri':'https://diag.blob.core.windows.net/?sig=PLANTED'}},"
                        "'storageProfile':{'osDisk':{'osType':'Linux','name':'os','diskSizeGB':30,'managedDisk':{'id':'" AT "disks/OS','storageAccountType':'Premium_LRS'}},"
                        "'dataDisks':[{'lun':3,'name':'c'},{'lun':1,'name':'b','vhd':{'uri':'https://acct.blob.core.windows.net/vhds/b.vhd?sig=PLANTED'}}]},"
                        "'instanceView':{'hyperVGeneration':'V1','osName':'debian','statuses':[{'code':'ProvisioningState/succeeded'},{'code':'PowerState/stopped'}]}}}");
    ok(compute_parse_vm(o, &vm, &err));
    json_decref(o);
    assert_true(vm.power == POWER_STOPPED && vm.generation == 1 && vm.encryption_at_host && vm.boot_diagnostics && vm.n_disks == 3);
    assert_string_equal(vm.subscription, SUB);
    assert_string_equal(vm.resource_group, "rg");
    assert_string_equal(vm.boot_diagnostics_storage, "https://diag.blob.core.windows.net/");
    assert_true(vm.disks[0].os && vm.disks[0].lun == -1 && vm.disks[0].size_bytes == 30ULL << 30);
    assert_string_equal(vm.disks[0].id, AT "disks/OS");
    assert_string_equal(vm.disks[1].name, "b");       /* by LUN */
    assert_string_equal(vm.disks[1].vhd_url, "https://acct.blob.core.windows.net/vhds/b.vhd");
    assert_string_equal(vm.disks[2].name, "c");
    compute_vm_clear(&vm);
    static const char *const words[] = {"starting", "Running", "STOPPING", "stopped", "deallocating", "deallocated", "odd"};
    static const enum compute_power powers[] = {POWER_STARTING, POWER_RUNNING, POWER_STOPPING, POWER_STOPPED, POWER_DEALLOCATING, POWER_DEALLOCATED, POWER_UNKNOWN};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        char text[400];
        snprintf(text, sizeof text, "{'id':'" AT "virtualMachines/x','properties':{'instanceView':{'statuses':[7,{'code':'PowerState/%s'}]}}}", words[i]);
        o = json_of(text);
        ok(compute_parse_vm(o, &vm, &err));
        json_decref(o);
        assert_int_equal(vm.power, powers[i]);
        compute_vm_clear(&vm);
    }
    assert_string_equal(compute_power_name(POWER_DEALLOCATED), "deallocated");
    o = json_of("{'id':'" AT "disks/x'}");
    fails(compute_parse_vm(o, &vm, &err), ERR_UPSTREAM);
    json_decref(o);
}

/* ---- rules ---- */

static void test_rules(void **state)
{
    (void)state;
    static const struct { const char *vm, *disk; bool inside, snapshot, possible; const char *codes; } rows[] = {
        {"deallocated", "", false, false, true, ""},
        {"running", "", false, true, true, "running "},
        {"stopped", "", false, true, true, "stopped_not_deallocated "},
        {"odd", "'diskState':'Attached'", false, true, true, "power_state_unknown "},
        {"odd", "'diskState':'Reserved'", false, false, true, "power_state_unknown "},
        {"deallocated", "'diskState':'Attached'", false, false, true, ""},       /* Azure has not caught up yet */
        {"deallocated", "'diskState':'Attached','maxShares':2", false, true, true, ""},
        {"deallocated", "'diskState':'Reserved','maxShares':2", false, false, true, ""},
        {"deallocated", "'networkAccessPolicy':'AllowAll','publicNetworkAccess':'Enabled','dataAccessAuthMode':'None'", false, false, true, ""},
        {"deallocated", "'networkAccessPolicy':'DenyAll'", true, false, false, "network_access_denied "},
        {"deallocated", "'networkAccessPolicy':'AllowPrivate'", false, false, false, "private_network_only "},
        {"deallocated", "'networkAccessPolicy':'AllowPrivate'", true, false, true, "private_network_only "},
        {"deallocated", "'publicNetworkAccess':'Disabled'", false, false, false, "private_network_only "},
        {"deallocated", "'dataAccessAuthMode':'AzureActiveDirectory'", false, false, true, "entra_data_access "},
        {"deallocated", "'encryptionSettingsCollection':{'enabled':true}", false, false, true, "azure_disk_encryption "},
        {"deallocated", "'encryptionSettingsCollection':{'enabled':false}", false, false, true, ""},
        {"deallocated", "'completionPercent':99.9", false, false, false, "still_hydrating "},
        {"deallocated", "'completionPercent':100", false, false, true, ""},
        {"deallocated", "'diskState':'ReadyToUpload'", false, false, false, "being_uploaded "},
        {"deallocated", "'diskState':'ActiveSAS'", false, false, true, "access_already_granted "},
        {"deallocated", "'creationData':{'logicalSectorSize':4096}", false, false, true, "sector_size_4096 "},
        {"deallocated", "'securityProfile':{'securityType':'ConfidentialVM_DiskEncryptedWithCustomerKey'}", false, false, false, "confidential_vm "},
        {"deallocated", "'securityProfile':{'securityType':'ConfidentialVM_VMGuestStateOnlyEncryptedWithPlatformKey'}", false, false, true, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        struct compute_vm vm;
        struct compute_disk d;
        AUTO_FREE char *vm_text = str_printf("{'id':'" AT "virtualMachines/vm','properties':{'storageProfile':{'osDisk':{'name':'os','managedDisk':{'id':'" AT "DISKS/OS'}}},"
                                             "'instanceView':{'statuses':[{'code':'PowerState/%s'}]}}}", rows[i].vm);
        AUTO_FREE char *disk_text = str_printf("{'id':'" AT "disks/os','name':'os','properties':{%s}}", rows[i].disk);
        json_t *a = json_of(vm_text), *b = json_of(disk_text);
        ok(compute_parse_vm(a, &vm, &err));
        ok(compute_parse_disk(b, &d, &err));
        json_decref(a);
        json_decref(b);
        const struct compute_disk *disks[] = {&d};
        struct exportable x;
        ok(exportable_judge(&(struct exportable_question){.vm = &vm, .disks = disks, .n = 1, .inside_azure = rows[i].inside}, &x, &err));
        AUTO_STRBUF struct strbuf codes = {0};
        strbuf_adds(&codes, "");
        for (size_t k = 0; k < x.n; k++) {
            strbuf_addf(&codes, "%s ", x.reasons[k].code);
            assert_true(*x.reasons[k].detail && (x.reasons[k].weight != EXPORTABLE_BLOCKED || *x.reasons[k].remedy));
        }
        if (x.possible != rows[i].possible || strcmp(codes.data, rows[i].codes) || exportable_needs_snapshot(&vm, &d) != rows[i].snapshot)
            fail_msg("row %zu: possible %d, %s", i, x.possible, codes.data);
        exportable_free(&x);
        compute_vm_clear(&vm);
        compute_disk_clear(&d);
    }
}

/* ---- asking ---- */

static struct script server, imds;
static struct azure *azure;
static struct arm *arm;

static int setup(void **state)
{
    (void)state;
    static const char *const token[] = {OK_ "{\"access_token\":\"t\",\"expires_in\":\"3600\"}"};
    struct err err;
    script_start(&server, NULL, 0);
    script_start(&imds, token, 1);
    ok(azure_open(&(struct azure_config){.cloud = {.cloud = "custom", .arm_endpoint = server.url, .login_endpoint = imds.url, .imds_endpoint = imds.url, .blob_suffix = "127.0.0.1",
                                                   .disk_sas_suffix = "127.0.0.1"}}, &azure, &err));
    ok(arm_open(&(struct arm_config){.azure = azure, .identity = {.name = "mi"}, .max_tries = 1}, &arm, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arm_close(arm);
    azure_close(azure);
    script_stop(&server);
    script_stop(&imds);
    return 0;
}

static void test_access(void **state)
{
    (void)state;
    struct err err;
    struct compute_access x = {0};
    const struct compute_access_options o = {.duration_s = 86400}, all = {.duration_s = 1, .guest_state = true, .vhdx = true};
    SCRIPT(&server, OK_ "{\"accessSAS\":\"http://127.0.0.1:9/abcd?snapshot=2024-01-05T01%3A00%3A00Z&sv=1&sig=PLANTED%3D\"}",
           "HTTP/1.1 202 Accepted\nAzure-AsyncOperation: @/op\n\n", OK_ "{\"status\":\"Succeeded\",\"properties\":{\"output\":{\"accessSAS\":\"http://127.0.0.1:9/a?sig=x\",\"securityDataAccessSAS\":\"http://127.0.0.1:9/b_vmgs?sig=y\"}}}");
    int64_t before = clock_now_ms();
    ok(compute_begin_access(arm, AT "disks/d1", &o, &x, &err));
    assert_string_equal(x.sas, "http://127.0.0.1:9/abcd?snapshot=2024-01-05T01%3A00%3A00Z&sv=1&sig=PLANTED%3D");    /* byte for byte */
    assert_null(x.security_sas);
    assert_in_range(x.expires_at_ms - before, 86400000, 86405000);
    compute_access_free(&x);
    ok(compute_begin_access(arm, AT "snapshots/s1", &all, &x, &err));
    assert_string_equal(x.security_sas, "http://127.0.0.1:9/b_vmgs?sig=y");
    compute_access_free(&x);
    assert_string_equal(server.got[0].line, "POST " AT "disks/d1/beginGetAccess?api-version=2023-10-02");
    assert_string_equal(server.got[0].body, "{\"access\":\"Read\",\"durationInSeconds\":86400}");
    assert_string_equal(server.got[1].line, "POST " AT "snapshots/s1/beginGetAccess?api-version=2023-10-02");
    assert_string_equal(server.got[1].body, "{\"access\":\"Read\",\"durationInSeconds\":1,\"getSecureVMGuestStateSAS\":true,\"fileFormat\":\"VHDX\"}");
    static const struct { const char *answer; enum err_code code; } bad[] = {
        {OK_ "{\"accessSAS\":\"https://md-x.evil.example/abcd?sig=PLANTED\"}", ERR_UPSTREAM_FINAL}, {OK_ "{\"accessSAS\":\"nonsense PLANTED\"}", ERR_UPSTREAM_FINAL},
        {OK_ "{\"accessSAS\":\"\"}", ERR_UPSTREAM}, {OK_ "{}", ERR_UPSTREAM}, {"HTTP/1.1 204 No Content\n\n", ERR_UPSTREAM},
        {OK_ "{\"accessSAS\":\"http://127.0.0.1:9/a?sig=x\",\"securityDataAccessSAS\":\"http://10.0.0.1/PLANTED\"}", ERR_UPSTREAM_FINAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        SCRIPT(&server, bad[i].answer);
        fails(compute_begin_access(arm, AT "disks/d1", &o, &x, &err), bad[i].code);
        assert_null(strstr(err.msg, "PLANTED"));
    }
    fails(compute_begin_access(arm, AT "disks/d1", &(struct compute_access_options){.duration_s = COMPUTE_ACCESS_MAX_S + 1}, &x, &err), ERR_VALUE);
    fails(compute_begin_access(arm, AT "virtualMachines/d1", &o, &x, &err), ERR_VALUE);
    SCRIPT(&server, "HTTP/1.1 202 Accepted\nLocation: @/op\n\n", OK_, GONE("ResourceNotFound"));
    ok(compute_end_access(arm, AT "disks/d1", &err));
    ok(compute_end_access(arm, AT "disks/d1", &err));              /* a disk that is gone */
    assert_string_equal(server.got[0].line, "POST " AT "disks/d1/endGetAccess?api-version=2023-10-02");
    assert_string_equal(server.got[0].body, "");
    /* what ends access has no result to ask for */
    SCRIPT(&server, "HTTP/1.1 202 Accepted\nAzure-AsyncOperation: @/op\nLocation: @/end\n\n", OK_ "{\"status\":\"Succeeded\"}", GONE("NotFound"));
    ok(compute_end_access(arm, AT "disks/d1", &err));
    assert_int_equal(server.n, 2);
    /* access may still be granted: the subscription is out of sight, something in between has no such page, the operation is not known any more */
    static const char *const unknown[][2] = {{GONE("SubscriptionNotFound")}, {"HTTP/1.1 404 Not Found\n\n"}, {"HTTP/1.1 404 Not Found\n\n<html><h1>Not Found</h1>"},
                                             {"HTTP/1.1 202 Accepted\nLocation: @/op\n\n", GONE("NotFound")}};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        script_set(&server, unknown[i], unknown[i][1] ? 2 : 1);
        int r = compute_end_access(arm, AT "disks/d1", &err);
        if (r == 0)
            fail_msg("row %zu: access is taken for ended", i);
        assert_false(arm_error_is_gone(&err));
    }
    assert_int_equal(err.code, ERR_UPSTREAM);
    assert_non_null(strstr(err.msg, "its end is not known"));
}

#define SNAPSHOT(state, tag, source) "{\"id\":\"" AT "snapshots/s1\",\"name\":\"s1\",\"tags\":{\"vmrecover-job\":\"" tag "\"},\"properties\":{\"provisioningState\":\"" state "\",\"incremental\":true," \
    "\"creationData\":{\"createOption\":\"Copy\",\"sourceResourceId\":\"" source "\"}}}"
#define SOURCE AT "disks/d1"
#define SHOUTED "/subscriptions/" SUB "/resourceGroups/RG/providers/Microsoft.Compute/disks/D1"

static void test_snapshots(void **state)
{
    (void)state;
    struct err err;
    const struct compute_snapshot_request q = {.id = AT "snapshots/s1", .source_id = SOURCE, .location = "westeurope", .job_id = "j1", .incremental = true};
    struct compute_disk *d = NULL;
    SCRIPT(&server, "HTTP/1.1 404 Not Found\n\n", "HTTP/1.1 202 Accepted\nAzure-AsyncOperation: @/op\n\n" SNAPSHOT("Updating", "j1", SOURCE), OK_ "{\"status\":\"Succeeded\"}", OK_ SNAPSHOT("Succeeded", "j1", SOURCE));
    ok(compute_snapshot_create(arm, &q, &d, &err));
    assert_true(d->snapshot && d->incremental);
    compute_disk_free(d);
    assert_string_equal(server.got[1].line, "PUT " AT "snapshots/s1?api-version=2023-10-02");
    assert_string_equal(server.got[1].body, "{\"location\":\"westeurope\",\"sku\":{\"name\":\"Standard_LRS\"},\"tags\":{\"vmrecover-job\":\"j1\"},\"properties\":{\"creationData\":{\"createOption\":\"Copy\","
                        "\"sourceResourceId\":\"" SOURCE "\"},\"incremental\":true}}");
    /* found again: not made twice, in whatever case the id comes */
    SCRIPT(&server, OK_ SNAPSHOT("Succeeded", "j1", SHOUTED));
    ok(compute_snapshot_create(arm, &q, &d, &err));
    compute_disk_free(d);
    assert_int_equal(server.n, 1);
    /* half made: asked for again */
    SCRIPT(&server, OK_ SNAPSHOT("Failed", "j1", SOURCE), OK_ SNAPSHOT("Succeeded", "j1", SOURCE));
    ok(compute_snapshot_create(arm, &q, &d, &err));
    compute_disk_free(d);
    assert_int_equal(server.n, 2);
    /* somebody else's is left alone */
    static const char *const others[] = {OK_ SNAPSHOT("Succeeded", "j2", SOURCE), OK_ SNAPSHOT("Succeeded", "j1", AT "disks/d2")};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        script_set(&server, &others[i], 1);
        fails(compute_snapshot_create(arm, &q, &d, &err), ERR_WRONG_STATE);
        assert_int_equal(server.n, 1);
    }
    SCRIPT(&server, OK_ SNAPSHOT("Succeeded", "j2", SOURCE));
    fails(compute_snapshot_delete(arm, AT "snapshots/s1", "j1", &err), ERR_WRONG_STATE);
    assert_int_equal(server.n, 1);
    SCRIPT(&server, OK_ SNAPSHOT("Succeeded", "j1", SOURCE), "HTTP/1.1 204 No Content\n\n");
    ok(compute_snapshot_delete(arm, AT "snapshots/s1", "j1", &err));
    assert_string_equal(server.got[1].line, "DELETE " AT "snapshots/s1?api-version=2023-10-02");
    SCRIPT(&server, GONE("ResourceGroupNotFound"));
    ok(compute_snapshot_delete(arm, AT "snapshots/s1", "j1", &err));
    SCRIPT(&server, GONE("SubscriptionNotFound"));
    fails(compute_snapshot_delete(arm, AT "snapshots/s1", "j1", &err), ERR_NOT_FOUND);
    fails(compute_snapshot_delete(arm, AT "disks/d1", "j1", &err), ERR_VALUE);
}

static void test_vms(void **state)
{
    (void)state;
    struct err err;
    struct compute_vm *vm, *list;
    size_t n;
    SCRIPT(&server, OK_ "{\"id\":\"" AT "virtualMachines/web01\",\"name\":\"web01\"}");
    ok(compute_vm_get(arm, AT "virtualMachines/WEB01", &vm, &err));
    assert_string_equal(server.got[0].line, "GET " AT "virtualMachines/WEB01?$expand=instanceView&api-version=2024-03-01");
    compute_vm_free(vm);
    SCRIPT(&server, OK_ "{\"value\":[{\"id\":\"" AT "virtualMachines/web01\",\"name\":\"web01\"},{\"id\":\"nonsense\",\"name\":\"web02\"},{\"id\":\"" AT "virtualMachines/db\",\"name\":\"db\"}]}",
           OK_ "{\"value\":[{\"id\":\"/subscriptions/" SUB "/resourcegroups/RG/providers/Microsoft.Compute/virtualMachines/WEB01\",\"properties\":{\"instanceView\":{\"statuses\":[{\"code\":\"PowerState/running\"}]}}},{}]}");
    ok(compute_vm_list(arm, SUB, NULL, "EB", &list, &n, &err));
    assert_true(n == 1 && list[0].power == POWER_RUNNING);
    assert_string_equal(server.got[0].line, "GET /subscriptions/" SUB "/providers/Microsoft.Compute/virtualMachines?api-version=2024-03-01");
    assert_string_equal(server.got[1].line, "GET /subscriptions/" SUB "/providers/Microsoft.Compute/virtualMachines?statusOnly=true&api-version=2024-03-01");
    compute_vms_free(list, n);
    fails(compute_vm_list(arm, "web", NULL, NULL, &list, &n, &err), ERR_VALUE);
    fails(compute_vm_list(arm, SUB, "a/b", NULL, &list, &n, &err), ERR_VALUE);
    SCRIPT(&server, "HTTP/1.1 202 Accepted\nAzure-AsyncOperation: @/op\nLocation: @/op?monitor=true\n\n", OK_ "{\"status\":\"Succeeded\"}", OK_);
    ok(compute_vm_deallocate(arm, AT "virtualMachines/web01", &err));
    assert_string_equal(server.got[0].line, "POST " AT "virtualMachines/web01/deallocate?api-version=2024-03-01");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_disk), cmocka_unit_test(test_vm), cmocka_unit_test(test_rules), T(test_access), T(test_snapshots), T(test_vms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

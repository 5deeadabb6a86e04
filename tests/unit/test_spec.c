/* The body of POST /v1/jobs and of PUT /v1/credentials/{name}: what is accepted, with which defaults, and what is refused where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "db/credential.h"
#include "tests/unit/db_util.h"
#include "tests/unit/tmp.h"

#define URL "https://acct.blob.core.windows.net/vhds/web01.vhd"
#define BLOB "{'source':{'type':'blob','url':'" URL "'}}"
#define DISKS "'disks':[" BLOB "]"

#define ARM "/subscriptions/0aa1bb22-1111-2222-3333-444455556666/resourceGroups/prod/providers/Microsoft.Compute/"

static json_t *json_of(const char *text)
{
    AUTO_FREE char *copy = json_text_of(text);
    struct err err;
    json_t *j;
    ok(json_parse(copy, strlen(copy), &j, &err));
    return j;
}

static void test_defaults(void **state)
{
    (void)state;
    AUTO(spec_free_ptr) struct spec *s = spec_of("{" DISKS "}");
    assert_string_equal(s->name, "web01");
    assert_int_equal(s->n_disks, 1);
    assert_int_equal(s->disks[0].type, SOURCE_BLOB);
    assert_string_equal(s->disks[0].url, URL);
    assert_null(s->disks[0].credential);
    assert_int_equal(s->disks[0].format, FORMAT_AUTO);
    assert_true(s->disks[0].skip_free_space);
    assert_int_equal(s->vm.generation, 0);
    assert_int_equal(s->vm.memory_mib, 4096);
    assert_int_equal(s->vm.cpus, 2);
    assert_false(s->vm.nested);
    assert_string_equal(s->vm.network, "none");
    assert_true(s->vm.start);
    assert_null(s->vm.dvd);
    assert_false(s->allow_cross_region);
    assert_int_equal(s->max_bytes_per_second, 0);
    assert_int_equal(s->until, TASK_START_VM);
}

static void test_everything(void **state)
{
    (void)state;
    AUTO(spec_free_ptr) struct spec *s = spec_of(
        "{'name':'Web 01 \xC3\xA4','disks':[{'source':{'type':'blob','url':'" URL "?snapshot=2026','credential':'prod.1_a-b'},'format':'vhd',"
        "'skip_free_space':false},{'source':{'type':'file','path':'@/srv/a..b/data.vhdx'},'format':'vhdx'},{'source':{'type':'blank','size':70368744177664},"
        "'format':'raw'},{'source':{'type':'blob','url':'http://127.0.0.1:10000/devstoreaccount1/c/x'},'format':'vhd_dynamic'}],"
        "'vm':{'generation':2,'memory_mib':1048576,'cpus':64,'nested':true,'network':'switch:Extern \xC3\xA4','start':false,'dvd':'@/iso/debian.iso'},"
        "'allow_cross_region':true,'max_bytes_per_second':1000000,'until':'create_vm'}");
    assert_string_equal(s->name, "Web 01 \xC3\xA4");
    assert_int_equal(s->n_disks, 4);
    assert_string_equal(s->disks[0].url, URL "?snapshot=2026");
    assert_string_equal(s->disks[0].credential, "prod.1_a-b");
    assert_int_equal(s->disks[0].format, FORMAT_VHD);
    assert_false(s->disks[0].skip_free_space);
    assert_true(str_starts(s->disks[1].path, tmp_root));
    assert_string_equal(s->disks[1].path + strlen(tmp_root), "/srv/a..b/data.vhdx");
    assert_true(s->disks[2].size == UINT64_C(64) << 40);
    assert_int_equal(s->disks[2].format, FORMAT_RAW);
    assert_int_equal(s->disks[3].format, FORMAT_VHD_DYNAMIC);
    assert_int_equal(s->vm.generation, 2);
    assert_int_equal(s->vm.memory_mib, 1048576);
    assert_int_equal(s->vm.cpus, 64);
    assert_true(s->vm.nested);
    assert_string_equal(s->vm.network, "switch:Extern \xC3\xA4");
    assert_false(s->vm.start);
    assert_string_equal(s->vm.dvd + strlen(tmp_root), "/iso/debian.iso");
    assert_true(s->allow_cross_region);
    assert_int_equal(s->max_bytes_per_second, 1000000);
    assert_int_equal(s->until, TASK_CREATE_VM);

    /* to JSON and back is the same, except for the query */
    struct err err;
    json_t *once = spec_json(s);
    AUTO(spec_free_ptr) struct spec *again = NULL;
    ok(spec_parse(once, &again, &err));
    json_t *twice = spec_json(again);
    assert_true(json_equal(once, twice));
    assert_string_equal(again->disks[0].url, URL);
    json_decref(once);
    json_decref(twice);
}

static void test_redacted(void **state)
{
    (void)state;
    AUTO(spec_free_ptr) struct spec *s = spec_of("{'disks':[{'source':{'type':'blob','url':'" URL "?sv=2024&sig=PLANTED%3D'}}]}");
    json_t *j = spec_json(s);
    AUTO_FREE char *text = json_dumps(j, 0);
    json_decref(j);
    assert_null(strstr(text, "PLANTED"));
    assert_null(strchr(text, '?'));
    assert_non_null(strstr(text, URL));
    assert_string_equal(s->name, "web01");
}

static void test_default_names(void **state)
{
    (void)state;
    static const struct { const char *source, *name; } rows[] = {
        {"'type':'blob','url':'https://h.example/c/My%20Disk%20%C3%A4.VHDX'", "My Disk \xC3\xA4"},
        {"'type':'blob','url':'https://h.example/c/a%2Fb%00c.vhd?x=/y/z'", "a-b-c"},
        {"'type':'blob','url':'https://h.example/'", "recovery"},
        {"'type':'blob','url':'https://h.example'", "recovery"},
        {"'type':'blob','url':'https://h.example/c/%2E%2E'", "recovery"},
        {"'type':'blob','url':'https://h.example/c/%FF%FE'", "recovery"},
        {"'type':'blob','url':'https://h.example/c/.vhd'", ".vhd"},
        {"'type':'blob','url':'https://h.example/c/disk'", "disk"},
        {"'type':'file','path':'@/srv/disks/web 02.raw'", "web 02"},
        {"'type':'file','path':'@/srv/disks/100%25.img'", "100%25"},
        {"'type':'blank','size':1048576", "recovery"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_FREE char *text = str_printf("{'disks':[{'source':{%s}}]}", rows[i].source);
        AUTO(spec_free_ptr) struct spec *s = spec_of(text);
        assert_string_equal(s->name, rows[i].name);
    }
    /* 200 bytes of two-byte characters behind one: cut at 100 bytes would be within a character */
    AUTO_STRBUF struct strbuf url = {0};
    strbuf_adds(&url, "{'disks':[{'source':{'type':'file','path':'@/x");
    for (int i = 0; i < 100; i++)
        strbuf_adds(&url, "\xC3\xA4");
    strbuf_adds(&url, "'}}]}");
    AUTO(spec_free_ptr) struct spec *s = spec_of(url.data);
    assert_int_equal(strlen(s->name), 99);
    assert_true(str_is_utf8(s->name, 99));
}

static void test_free_space_default(void **state)
{
    (void)state;
    AUTO(spec_free_ptr) struct spec *a = spec_of("{" DISKS ",'until':'download'}"), *b = spec_of("{" DISKS ",'until':'create_vm'}");
    AUTO(spec_free_ptr) struct spec *c = spec_of("{'until':'download','disks':[{'source':{'type':'blob','url':'" URL "'},'skip_free_space':true}]}");
    assert_false(a->disks[0].skip_free_space);
    assert_true(b->disks[0].skip_free_space);
    assert_true(c->disks[0].skip_free_space);
}

#define SRC(s) "{'disks':[{'source':{" s "}}]}"
#define VOLUME(s) "{" DISKS ",'volume':{" s "}}"
#define VM(s) "{" DISKS ",'vm':{" s "}}"
#define VIA(s) SRC("'type':'managed_disk','id':'" ARM "disks/d','via_storage_account':" s)
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

static const struct { const char *body; int code; const char *field; } bad[] = {
    {"[]", ERR_TYPE, ""},
    {"{}", ERR_MISSING, "/disks"},
    {"{'disks':null}", ERR_TYPE, "/disks"},
    {"{'disks':{}}", ERR_TYPE, "/disks"},
    {"{'disks':[]}", ERR_VALUE, "/disks"},
    {"{'disks':[1]}", ERR_TYPE, "/disks/0"},
    {"{'disks':[" BLOB ",'x']}", ERR_TYPE, "/disks/1"},
    {"{'disks':[" BLOB "," BLOB "," BLOB "," BLOB "," BLOB "]}", ERR_VALUE, "/disks"},
    {"{" DISKS ",'bogus':1}", ERR_UNKNOWN_FIELD, "/bogus"},
    {"{" DISKS ",'a/b~c':1}", ERR_UNKNOWN_FIELD, "/a~1b~0c"},
    {"{'disks':[{}]}", ERR_MISSING, "/disks/0/source"},
    {"{'disks':[{'source':7}]}", ERR_TYPE, "/disks/0/source"},
    {"{'disks':[{'source':{'type':'blob','url':'" URL "'},'bogus':1}]}", ERR_UNKNOWN_FIELD, "/disks/0/bogus"},
    {"{'disks':[{'source':{'type':'blob','url':'" URL "'},'format':'qcow2'}]}", ERR_VALUE, "/disks/0/format"},
    {"{'disks':[{'source':{'type':'blob','url':'" URL "'},'format':1}]}", ERR_TYPE, "/disks/0/format"},
    {"{'disks':[{'source':{'type':'blob','url':'" URL "'},'skip_free_space':1}]}", ERR_TYPE, "/disks/0/skip_free_space"},
    {SRC("'url':'" URL "'"), ERR_MISSING, "/disks/0/source/type"},
    {SRC("'type':'tape'"), ERR_VALUE, "/disks/0/source/type"},
    {SRC("'type':3"), ERR_TYPE, "/disks/0/source/type"},
    {SRC("'type':'vm'"), ERR_MISSING, "/disks/0/source/id"},
    {SRC("'type':'vm','id':7"), ERR_TYPE, "/disks/0/source/id"},
    {SRC("'type':'vm','id':'/subscriptions/x'"), ERR_VALUE, "/disks/0/source/id"},
    {SRC("'type':'vm','id':'" ARM "disks/d'"), ERR_VALUE, "/disks/0/source/id"},
    {SRC("'type':'vm','id':'" ARM "virtualMachines/vm/extensions/x'"), ERR_VALUE, "/disks/0/source/id"},
    {SRC("'type':'managed_disk','id':'" ARM "snapshots/s'"), ERR_VALUE, "/disks/0/source/id"},
    {SRC("'type':'snapshot','id':'" ARM "disks/d?x=y'"), ERR_VALUE, "/disks/0/source/id"},
    {SRC("'type':'vm','id':'" ARM "virtualMachines/vm','credential':'a b'"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'vm','id':'" ARM "virtualMachines/vm','storage_credential':''"), ERR_VALUE, "/disks/0/source/storage_credential"},
    {SRC("'type':'vm','id':'" ARM "virtualMachines/vm','data_disks':1"), ERR_TYPE, "/disks/0/source/data_disks"},
    {SRC("'type':'vm','id':'" ARM "virtualMachines/vm','deallocate':'yes'"), ERR_TYPE, "/disks/0/source/deallocate"},
    {SRC("'type':'managed_disk','id':'" ARM "disks/d','deallocate':true"), ERR_UNKNOWN_FIELD, "/disks/0/source/deallocate"},
    {SRC("'type':'snapshot','id':'" ARM "snapshots/s','data_disks':true"), ERR_UNKNOWN_FIELD, "/disks/0/source/data_disks"},
    {SRC("'type':'snapshot','id':'" ARM "snapshots/s','url':'" URL "'"), ERR_UNKNOWN_FIELD, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'" URL "','deallocate':true"), ERR_UNKNOWN_FIELD, "/disks/0/source/deallocate"},
    {SRC("'type':'blob','url':'" URL "','via_storage_account':'x'"), ERR_UNKNOWN_FIELD, "/disks/0/source/via_storage_account"},
    {VIA("'x'"), ERR_TYPE, "/disks/0/source/via_storage_account"},
    {VIA("{}"), ERR_MISSING, "/disks/0/source/via_storage_account/url"},
    {VIA("{'url':'https://acct.blob.core.windows.net/'}"), ERR_VALUE, "/disks/0/source/via_storage_account/url"},
    {VIA("{'url':'https://acct.blob.core.windows.net/c/'}"), ERR_VALUE, "/disks/0/source/via_storage_account/url"},
    {VIA("{'url':'https://acct.blob.core.windows.net/c?sv=1&sig=PLANTED'}"), ERR_VALUE, "/disks/0/source/via_storage_account/url"},
    {VIA("{'url':'http://acct.blob.core.windows.net/c'}"), ERR_VALUE, "/disks/0/source/via_storage_account/url"},
    {VIA("{'url':'https://acct.blob.core.windows.net/c','credential':'a/b'}"), ERR_VALUE, "/disks/0/source/via_storage_account/credential"},
    {VIA("{'url':'https://acct.blob.core.windows.net/c','key':'PLANTED'}"), ERR_UNKNOWN_FIELD, "/disks/0/source/via_storage_account/key"},
    {SRC("'type':'blob','url':'" URL "','path':'@/x'"), ERR_UNKNOWN_FIELD, "/disks/0/source/path"},
    {SRC("'type':'blob'"), ERR_MISSING, "/disks/0/source/url"},
    {SRC("'type':'blob','url':''"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':5"), ERR_TYPE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'web01.vhd'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'file:///etc/shadow'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'ftp://h.example/x'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'https://user:pw@h.example/x'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'https://h.example/x#y'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'https://h.example/a b'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'https://h.example/a\\r\\nX: y'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'https:///x'"), ERR_VALUE, "/disks/0/source/url"},
    {SRC("'type':'blob','url':'" URL "','credential':'../x'"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'blob','url':'" URL "','credential':'.x'"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'blob','url':'" URL "','credential':''"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'blob','url':'" URL "','credential':'" X100 "'"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'blob','url':'" URL "?sv=1&sig=abc','credential':'prod'"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'blob','url':'" URL "?SIG=abc','credential':'prod'"), ERR_VALUE, "/disks/0/source/credential"},
    {SRC("'type':'file'"), ERR_MISSING, "/disks/0/source/path"},
    {SRC("'type':'file','path':'a.vhd'"), ERR_VALUE, "/disks/0/source/path"},
    {SRC("'type':'file','path':'@/srv/../etc/shadow'"), ERR_VALUE, "/disks/0/source/path"},
    {SRC("'type':'file','path':'@/srv/..'"), ERR_VALUE, "/disks/0/source/path"},
    {SRC("'type':'file','path':'@/srv\\\\..\\\\x'"), ERR_VALUE, "/disks/0/source/path"},
    {SRC("'type':'file','path':'@/a\\nb'"), ERR_VALUE, "/disks/0/source/path"},
    {SRC("'type':'file','path':'@/a','credential':'prod'"), ERR_UNKNOWN_FIELD, "/disks/0/source/credential"},
    {SRC("'type':'file','path':'@/" X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 "'"), ERR_VALUE, "/disks/0/source/path"},
    {SRC("'type':'blank'"), ERR_MISSING, "/disks/0/source/size"},
    {SRC("'type':'blank','size':0"), ERR_VALUE, "/disks/0/source/size"},
    {SRC("'type':'blank','size':-1048576"), ERR_VALUE, "/disks/0/source/size"},
    {SRC("'type':'blank','size':1048575"), ERR_VALUE, "/disks/0/source/size"},
    {SRC("'type':'blank','size':1048577"), ERR_VALUE, "/disks/0/source/size"},
    {SRC("'type':'blank','size':70368745226240"), ERR_VALUE, "/disks/0/source/size"},
    {SRC("'type':'blank','size':1048576.0"), ERR_TYPE, "/disks/0/source/size"},
    {SRC("'type':'blank','size':'1G'"), ERR_TYPE, "/disks/0/source/size"},
    {"{" DISKS ",'name':''}", ERR_VALUE, "/name"},
    {"{" DISKS ",'name':null}", ERR_TYPE, "/name"},
    {"{" DISKS ",'name':'" X100 "x'}", ERR_VALUE, "/name"},
    {"{" DISKS ",'name':'a/b'}", ERR_VALUE, "/name"},
    {"{" DISKS ",'name':'a\\\\b'}", ERR_VALUE, "/name"},
    {"{" DISKS ",'name':'..'}", ERR_VALUE, "/name"},
    {"{" DISKS ",'name':'a\\u0007b'}", ERR_VALUE, "/name"},
    {VOLUME("'disks':'all'"), ERR_VALUE, "/volume/disks"},
    {VOLUME("'disks':[]"), ERR_VALUE, "/volume/disks"},
    {VOLUME("'disks':['a',1]"), ERR_TYPE, "/volume/disks/1"},
    {VOLUME("'disks':['a','']"), ERR_VALUE, "/volume/disks/1"},
    {VOLUME("'disks':['a','b','a']"), ERR_VALUE, "/volume/disks/2"},
    {VOLUME("'disks':3"), ERR_TYPE, "/volume/disks"},
    {VOLUME("'layout':'mirror'"), ERR_VALUE, "/volume/layout"},
    {VOLUME("'disks':['a','b'],'layout':'single'"), ERR_VALUE, "/volume/layout"},
    {VOLUME("'disks':['a'],'layout':'striped'"), ERR_VALUE, "/volume/layout"},
    {VOLUME("'file_system':'btrfs'"), ERR_VALUE, "/volume/file_system"},
    {VOLUME("'partition_style':'none'"), ERR_VALUE, "/volume/partition_style"},
    {VOLUME("'disks':['a','b'],'partition_style':'mbr'"), ERR_VALUE, "/volume/partition_style"},
    {VOLUME("'label':''"), ERR_VALUE, "/volume/label"},
    {VOLUME("'label':'thirteen_long'"), ERR_VALUE, "/volume/label"},
    {VOLUME("'label':'-x'"), ERR_VALUE, "/volume/label"},
    {VOLUME("'label':'a b'"), ERR_VALUE, "/volume/label"},
    {VOLUME("'mount_point':'srv'"), ERR_VALUE, "/volume/mount_point"},
    {VOLUME("'mount_point':'@/srv/../x'"), ERR_VALUE, "/volume/mount_point"},
    {VOLUME("'drive_letter':'B'"), ERR_VALUE, "/volume/drive_letter"},
    {VOLUME("'drive_letter':'EE'"), ERR_VALUE, "/volume/drive_letter"},
    {VOLUME("'drive_letter':'E','mount_point':'@/srv'"), ERR_VALUE, "/volume/drive_letter"},
    {VOLUME("'force':true"), ERR_UNKNOWN_FIELD, "/volume/force"},
    {"{" DISKS ",'volume':'auto'}", ERR_TYPE, "/volume"},
    {"{'disks':[]}", ERR_VALUE, "/disks"},
    {"{'disks':[],'volume':{}}", ERR_VALUE, "/disks"},
    {"{'disks':[],'volume':{},'until':'download'}", ERR_VALUE, "/disks"},
    {"{" DISKS ",'until':'volume'}", ERR_VALUE, "/until"},
    {"{" DISKS ",'until':'export_vm'}", ERR_VALUE, "/until"},
    {"{" DISKS ",'until':'forever'}", ERR_VALUE, "/until"},
    {"{" DISKS ",'until':1}", ERR_TYPE, "/until"},
    {"{" DISKS ",'allow_cross_region':'yes'}", ERR_TYPE, "/allow_cross_region"},
    {"{" DISKS ",'max_bytes_per_second':-1}", ERR_VALUE, "/max_bytes_per_second"},
    {"{" DISKS ",'max_bytes_per_second':1e3}", ERR_TYPE, "/max_bytes_per_second"},
    {"{" DISKS ",'vm':[]}", ERR_TYPE, "/vm"},
    {VM("'bogus':1"), ERR_UNKNOWN_FIELD, "/vm/bogus"},
    {VM("'cpus':0"), ERR_VALUE, "/vm/cpus"},
    {VM("'cpus':65"), ERR_VALUE, "/vm/cpus"},
    {VM("'cpus':'2'"), ERR_TYPE, "/vm/cpus"},
    {VM("'cpus':1.5"), ERR_TYPE, "/vm/cpus"},
    {VM("'memory_mib':63"), ERR_VALUE, "/vm/memory_mib"},
    {VM("'memory_mib':1048577"), ERR_VALUE, "/vm/memory_mib"},
    {VM("'generation':0"), ERR_VALUE, "/vm/generation"},
    {VM("'generation':3"), ERR_VALUE, "/vm/generation"},
    {VM("'generation':'2'"), ERR_VALUE, "/vm/generation"},
    {VM("'generation':true"), ERR_TYPE, "/vm/generation"},
    {VM("'network':'bridge'"), ERR_VALUE, "/vm/network"},
    {VM("'network':'switch:'"), ERR_VALUE, "/vm/network"},
    {VM("'network':'switch:" X100 "'"), ERR_VALUE, "/vm/network"},
    {VM("'network':'NAT'"), ERR_VALUE, "/vm/network"},
    {VM("'start':0"), ERR_TYPE, "/vm/start"},
    {VM("'nested':'yes'"), ERR_TYPE, "/vm/nested"},
    {VM("'dvd':'debian.iso'"), ERR_VALUE, "/vm/dvd"},
    {VM("'dvd':'@/iso/../../etc/x'"), ERR_VALUE, "/vm/dvd"},
    {VM("'dvd':''"), ERR_VALUE, "/vm/dvd"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *body = json_of(bad[i].body);
        struct spec *s = (struct spec *)(uintptr_t)1;
        struct err err;
        int r = spec_parse(body, &s, &err);
        json_decref(body);
        if (r != -bad[i].code || strcmp(err.field, bad[i].field) != 0 || !err.msg[0] || s != (struct spec *)(uintptr_t)1)
            fail_msg("%s: %s at '%s' (%s), expected %s at '%s'", bad[i].body, r ? err_info(r)->word : "accepted", err.field, r ? err.msg : "",
                     err_info(bad[i].code)->word, bad[i].field);
    }
    assert_true(ARRAY_LEN(bad) > 100);
}

static void test_azure(void **state)
{
    (void)state;
    AUTO(spec_free_ptr) struct spec *s = spec_of(
        "{'disks':[{'source':{'type':'vm','id':'" ARM "VirtualMachines/Web01','credential':'prod','data_disks':true,'deallocate':true,"
        "'storage_credential':'acct'}},{'source':{'type':'managed_disk','id':'" ARM "disks/d','via_storage_account':"
        "{'url':'https://acct.blob.core.windows.net/recovery','credential':'acct'}}},{'source':{'type':'snapshot','id':'" ARM "snapshots/s'}}]}");
    assert_string_equal(s->name, "Web01");
    const struct spec_disk *vm = &s->disks[0], *disk = &s->disks[1], *snapshot = &s->disks[2];
    assert_true(vm->type == SOURCE_VM && disk->type == SOURCE_MANAGED_DISK && snapshot->type == SOURCE_SNAPSHOT);
    assert_true(vm->data_disks && vm->deallocate && !vm->via.url);
    assert_string_equal(vm->id, ARM "VirtualMachines/Web01");    /* as it was given */
    assert_string_equal(vm->credential, "prod");
    assert_string_equal(vm->storage_credential, "acct");
    assert_string_equal(disk->via.url, "https://acct.blob.core.windows.net/recovery");
    assert_string_equal(disk->via.credential, "acct");
    assert_true(!snapshot->credential && !snapshot->via.url && !snapshot->data_disks && !snapshot->deallocate && !snapshot->storage_credential);
    for (int t = 0; t < SOURCE_TYPES; t++)
        assert_int_equal(source_is_arm((enum source_type)t), t >= SOURCE_VM);
    struct err err;
    json_t *once = spec_json(s);
    AUTO(spec_free_ptr) struct spec *again = NULL;
    ok(spec_parse(once, &again, &err));
    json_t *twice = spec_json(again);
    assert_true(json_equal(once, twice));
    json_decref(once);
    json_decref(twice);
}

/* As it was asked for, with defaults filled in, and the same after a way through the database. */
static void test_volume(void **state)
{
    (void)state;
    static const struct { const char *body; size_t n_disks; const char *layout, *fs, *style, *label, *name; } good[] = {
        {"{" DISKS ",'volume':{}}", 0, "auto", "auto", "gpt", NULL, "web01"},
        {"{" DISKS ",'volume':{'disks':'auto','layout':'striped','file_system':'ext4','label':'recovery_1.x'}}", 0, "striped", "ext4", "gpt", "recovery_1.x", "web01"},
        {"{" DISKS ",'volume':{'disks':['loop-/a b, c','naa.1'],'mount_point':'@/srv/x'}}", 2, "auto", "auto", "gpt", NULL, "web01"},
        {"{'disks':[],'until':'volume','volume':{'disks':['a'],'partition_style':'mbr'}}", 1, "auto", "auto", "mbr", NULL, "volume"},
        {"{'disks':[],'until':'volume','volume':{'label':'big'}}", 0, "auto", "auto", "gpt", "big", "big"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        AUTO(spec_free_ptr) struct spec *s = spec_of(good[i].body), *again = NULL;
        assert_int_equal(s->volume->n_disks, good[i].n_disks);
        assert_string_equal(s->volume->layout, good[i].layout);
        assert_string_equal(s->volume->file_system, good[i].fs);
        assert_string_equal(s->volume->partition_style, good[i].style);
        assert_true(good[i].label ? !strcmp(s->volume->label, good[i].label) : !s->volume->label);
        assert_string_equal(s->name, good[i].name);
        struct err err;
        json_t *once = spec_json(s);
        ok(spec_parse(once, &again, &err));
        json_t *twice = spec_json(again);
        assert_true(json_equal(once, twice));
        json_decref(once);
        json_decref(twice);
    }
}

static void test_words(void **state)
{
    (void)state;
    for (int k = 0; k < TASK_KINDS; k++) {
        enum task_kind back;
        assert_true(task_kind_parse(task_kind_name((enum task_kind)k), &back));
        assert_int_equal(back, k);
    }
    for (int i = 0; i < FORMATS; i++) {
        enum disk_format back;
        assert_true(disk_format_parse(disk_format_name((enum disk_format)i), &back));
        assert_int_equal(back, i);
    }
    for (int i = 0; i < TASK_STATES; i++) {
        enum task_state back;
        assert_true(task_state_parse(task_state_name((enum task_state)i), &back));
        assert_int_equal(back, i);
    }
    for (int i = 0; i < JOB_STATES; i++) {
        enum job_state back;
        assert_true(job_state_parse(job_state_name((enum job_state)i), &back));
        assert_int_equal(back, i);
    }
    enum task_kind k;
    enum disk_format f;
    enum task_state t;
    enum job_state j;
    assert_false(task_kind_parse("", &k) || task_kind_parse(NULL, &k) || disk_format_parse("VHD", &f) || task_state_parse("run", &t) ||
                 job_state_parse("runningx", &j));
    assert_string_equal(source_type_name(SOURCE_BLOB), "blob");
    assert_string_equal(source_type_name(SOURCE_FILE), "file");
    assert_string_equal(source_type_name(SOURCE_BLANK), "blank");
}

/* ---- credentials ---- */

static void test_credential_good(void **state)
{
    (void)state;
    struct err err;
    AUTO(credential_free_ptr) struct credential *a = NULL, *b = NULL;
    json_t *key = json_of("{'type':'account_key','account':'devstoreaccount1','key':'a2V5a2V5'}"), *sas = json_of("{'type':'sas','sas':'?sv=1&sig=a%2Bb%3D'}");
    ok(credential_parse("prod", key, &a, &err));
    ok(credential_parse("A.z_0-9", sas, &b, &err));
    json_decref(key);
    json_decref(sas);
    assert_int_equal(a->type, CREDENTIAL_ACCOUNT_KEY);
    assert_string_equal(a->name, "prod");
    assert_string_equal(a->account, "devstoreaccount1");
    assert_string_equal(a->secret, "a2V5a2V5");
    assert_int_equal(b->type, CREDENTIAL_SAS);
    assert_null(b->account);
    assert_string_equal(b->secret, "sv=1&sig=a%2Bb%3D");
}

#define GUID "0aa1bb22-1111-2222-3333-444455556666"
#define SP "{'type':'service_principal','tenant_id':'contoso.example','client_id':'" GUID "',"

static void test_credential_sign_in(void **state)
{
    (void)state;
    static const struct { const char *body; enum credential_type type; const char *tenant, *client; enum credential_proof proof; const char *secret, *file; } rows[] = {
        {"{'type':'managed_identity'}", CREDENTIAL_MANAGED_IDENTITY, NULL, NULL, PROOF_NONE, NULL, NULL},
        {"{'type':'managed_identity','client_id':'" GUID "'}", CREDENTIAL_MANAGED_IDENTITY, NULL, GUID, PROOF_NONE, NULL, NULL},
        {"{'type':'arc'}", CREDENTIAL_ARC, NULL, NULL, PROOF_NONE, NULL, NULL},
        {"{'type':'az_cli'}", CREDENTIAL_AZ_CLI, NULL, NULL, PROOF_NONE, NULL, NULL},
        {"{'type':'az_cli','tenant_id':'contoso.example'}", CREDENTIAL_AZ_CLI, "contoso.example", NULL, PROOF_NONE, NULL, NULL},
        {"{'type':'device_code'}", CREDENTIAL_DEVICE_CODE, NULL, NULL, PROOF_NONE, NULL, NULL},
        {"{'type':'device_code','tenant_id':'" GUID "','client_id':'" GUID "'}", CREDENTIAL_DEVICE_CODE, GUID, GUID, PROOF_NONE, NULL, NULL},
        {SP "'client_secret':'s e~c.r'}", CREDENTIAL_SERVICE_PRINCIPAL, "contoso.example", GUID, PROOF_CLIENT_SECRET, "s e~c.r", NULL},
        {SP "'token_file':'@/var/run/token'}", CREDENTIAL_SERVICE_PRINCIPAL, "contoso.example", GUID, PROOF_TOKEN_FILE, NULL, "/var/run/token"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        AUTO(credential_free_ptr) struct credential *c = NULL;
        json_t *body = json_of(rows[i].body);
        ok(credential_parse("prod", body, &c, &err));
        json_decref(body);
        assert_int_equal(c->type, rows[i].type);
        assert_int_equal(c->proof, rows[i].proof);
        assert_true(credential_signs_in(c->type));
        assert_true(!c->token_file || str_starts(c->token_file, tmp_root));
        const char *file = c->token_file ? c->token_file + strlen(tmp_root) : NULL, *got[] = {c->tenant_id, c->client_id, c->secret, file};
        const char *want[] = {rows[i].tenant, rows[i].client, rows[i].secret, rows[i].file};
        for (size_t k = 0; k < ARRAY_LEN(got); k++)
            if (!got[k] != !want[k] || (got[k] && strcmp(got[k], want[k])))
                fail_msg("%s: member %zu is %s", rows[i].body, k, got[k] ? got[k] : "missing");
    }
}

static void test_credential_refused(void **state)
{
    (void)state;
    static const struct { const char *body; int code; const char *field; } rows[] = {
        {"{}", ERR_MISSING, "/type"},
        {"{'type':'password'}", ERR_VALUE, "/type"},
        {"{'type':'managed_identity','client_id':'web'}", ERR_VALUE, "/client_id"},
        {"{'type':'managed_identity','tenant_id':'t'}", ERR_UNKNOWN_FIELD, "/tenant_id"},
        {"{'type':'arc','client_id':'" GUID "'}", ERR_UNKNOWN_FIELD, "/client_id"},
        {"{'type':'az_cli','tenant_id':'a/b'}", ERR_VALUE, "/tenant_id"},
        {"{'type':'az_cli','tenant_id':'-a'}", ERR_VALUE, "/tenant_id"},
        {"{'type':'az_cli','client_id':'" GUID "'}", ERR_UNKNOWN_FIELD, "/client_id"},
        {"{'type':'device_code','tenant_id':''}", ERR_VALUE, "/tenant_id"},
        {"{'type':'device_code','tenant_id':'..'}", ERR_VALUE, "/tenant_id"},
        {"{'type':'device_code','client_id':7}", ERR_TYPE, "/client_id"},
        {"{'type':'service_principal'}", ERR_MISSING, "/tenant_id"},
        {"{'type':'service_principal','tenant_id':'t'}", ERR_MISSING, "/client_id"},
        {"{'type':'service_principal','tenant_id':'t','client_id':'" GUID "'}", ERR_MISSING, "/client_secret"},
        {SP "'client_secret':''}", ERR_VALUE, "/client_secret"},
        {SP "'client_secret':'PLANTED','token_file':'/t'}", ERR_VALUE, "/token_file"},
        {SP "'client_secret':'PLANTED','certificate':'PLANTED'}", ERR_VALUE, "/certificate"},
        {SP "'client_secret':'PLANTED','certificate_password':'PLANTED'}", ERR_VALUE, "/certificate_password"},
        {SP "'certificate':'PLANTED'}", ERR_VALUE, "/certificate"},
        {SP "'certificate':'UExBTlRFRA=='}", ERR_VALUE, "/certificate"},
        {SP "'certificate':'-----BEGIN PRIVATE KEY-----\\nPLANTED\\n-----END PRIVATE KEY-----'}", ERR_VALUE, "/certificate"},
        {SP "'certificate':'PLANTED\\u0001'}", ERR_VALUE, "/certificate"},
        {SP "'token_file':'relative'}", ERR_VALUE, "/token_file"},
        {SP "'client_secret':'PLANTED','account':'a'}", ERR_UNKNOWN_FIELD, "/account"},
        {"{'type':'account_key','key':'a2V5'}", ERR_MISSING, "/account"},
        {"{'type':'account_key','account':'acct'}", ERR_MISSING, "/key"},
        {"{'type':'account_key','account':'ab','key':'a2V5'}", ERR_VALUE, "/account"},
        {"{'type':'account_key','account':'Acct','key':'a2V5'}", ERR_VALUE, "/account"},
        {"{'type':'account_key','account':'acct-1','key':'a2V5'}", ERR_VALUE, "/account"},
        {"{'type':'account_key','account':'abcdefghijklmnopqrstuvwxy','key':'a2V5'}", ERR_VALUE, "/account"},
        {"{'type':'account_key','account':'acct','key':'PLANTED!'}", ERR_VALUE, "/key"},
        {"{'type':'account_key','account':'acct','key':'a2V'}", ERR_VALUE, "/key"},
        {"{'type':'account_key','account':'acct','key':7}", ERR_TYPE, "/key"},
        {"{'type':'account_key','account':'acct','key':'a2V5','sas':'sig=x'}", ERR_UNKNOWN_FIELD, "/sas"},
        {"{'type':'sas'}", ERR_MISSING, "/sas"},
        {"{'type':'sas','sas':''}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'?'}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'sv=1&PLANTED=2'}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'sv=1&sig='}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'sv=1&xsig=PLANTED'}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'https://a.example/c?sig=PLANTED'}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'sv=1&sig=PLANTED x'}", ERR_VALUE, "/sas"},
        {"{'type':'sas','sas':'sig=x','account':'acct'}", ERR_UNKNOWN_FIELD, "/account"},
    };
    struct err err;
    struct credential *c;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *body = json_of(rows[i].body);
        int r = credential_parse("prod", body, &c, &err);
        json_decref(body);
        if (r != -rows[i].code || strcmp(err.field, rows[i].field) != 0)
            fail_msg("%s: %s at '%s' (%s)", rows[i].body, r ? err_info(r)->word : "accepted", err.field, r ? err.msg : "");
        assert_null(strstr(err.msg, "PLANTED"));
    }
    static const char *const names[] = {"", ".", "..", ".a", "a/b", "a b", "a\nb", "\xC3\xA4", X10 X10 X10 X10 X10 X10 "xxxxx"};
    json_t *body = json_of("{'type':'sas','sas':'sig=x'}");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        fails(credential_parse(names[i], body, &c, &err), ERR_VALUE);
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_everything),      cmocka_unit_test(test_redacted),
        cmocka_unit_test(test_default_names),   cmocka_unit_test(test_free_space_default), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_azure),
        cmocka_unit_test(test_volume),   cmocka_unit_test(test_words),           cmocka_unit_test(test_credential_good),
        cmocka_unit_test(test_credential_refused), cmocka_unit_test(test_credential_sign_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The double of WMI takes nothing that the schema does not have, and answers with WMI's own codes. [D] documented, [C] seen in public code, [I] in
 * an issue, [U] not confirmed: which way the double goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/doubles/wmi/schema.h"
#include "tests/unit/wmi_kit.h"

static const struct dbl_options calm;

static void test_schema_is_whole(void **state)
{
    (void)state;
    const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};
    for (size_t b = 0; b < ARRAY_LEN(builds); b++) {
        const struct schema *s = dbl_schema(builds[b]);
        assert_true(schema_count(s) > 200);
        for (size_t i = 0; i < schema_count(s); i++) {
            const struct schema_class *c = schema_at(s, i);
            assert_non_null(c->doc);                   /* every class says where it is from */
            for (size_t k = 0; k < c->layout.n; k++)
                assert_true(c->layout.at[k].type != WMI_NULL && (c->layout.at[k].type != WMI_OBJECT || c->layout.at[k].of));
        }
    }
    /* what came later is not there before */
    const struct schema_class *old = schema_class(dbl_schema(DBL_2016), WMI_NS_HYPERV, "Msvm_VirtualSystemSettingData");
    const struct schema_class *fresh = schema_class(dbl_schema(DBL_2025), WMI_NS_HYPERV, "Msvm_VirtualSystemSettingData");
    assert_int_equal(schema_member(&old->layout, "AutomaticSnapshotsEnabled"), -1);
    assert_true(schema_member(&fresh->layout, "automaticsnapshotsenabled") >= 0);
    assert_true(schema_isa(fresh, "CIM_SettingData") && !schema_isa(fresh, "CIM_ResourceAllocationSettingData"));
}

/* Unknown names: [D] WBEM_E_INVALID_CLASS in a query, WBEM_E_NOT_FOUND for a class that is fetched. */
static void test_unknown_names(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    struct wmi_object *o = NULL;
    assert_int_equal(kit_query_code(k, k->hv, "SELECT * FROM Msvm_Nonsense"), WMI_E_INVALID_CLASS);
    assert_int_equal(kit_query_code(k, k->hv, "SELECT Nonsense FROM Msvm_ComputerSystem"), WMI_E_INVALID_QUERY);
    assert_int_equal(kit_query_code(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE Nonsense=1"), WMI_E_INVALID_QUERY);
    assert_int_equal(wmi_spawn(k->hv, "Msvm_Nonsense", &k->wait, &o, &k->e), -ERR_NOT_FOUND);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_NOT_FOUND);
    assert_true(wmi_method(k->hv, "Msvm_ComputerSystem", "Nonsense", &k->wait, &o, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_METHOD);
    /* a snapshot method on the management service: [I] a public project had that bug */
    assert_true(wmi_method(k->hv, "Msvm_VirtualSystemManagementService", "CreateSnapshot", &k->wait, &o, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_METHOD);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ComputerSystem", "RequestStateChange");
    assert_int_equal(wmi_put_uint(in, "Nonsense", 1, &k->e), -ERR_NOT_FOUND);
    wmi_object_free(in);
    assert_int_equal(wmi_spawn(k->hv, "Msvm_MemorySettingData", &k->wait, &o, &k->e), 0);
    assert_false(wmi_has(o, "Nonsense"));
    assert_true(wmi_has(o, "virtualquantity"));
    wmi_object_free(o);
    kit_free(k);
}

/* [D] a wrong type is refused before a provider sees it; a number goes where its range fits. */
static void test_types(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_spawn(k->hv, "Msvm_MemorySettingData", &k->wait, &o, &k->e), 0);
    assert_int_equal(wmi_put_uint(o, "VirtualQuantity", UINT64_MAX, &k->e), 0);
    assert_int_equal(wmi_put_uint(o, "ResourceType", 65535, &k->e), 0);
    assert_true(wmi_put_uint(o, "ResourceType", 65536, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_TYPE_MISMATCH);
    assert_true(wmi_put_str(o, "VirtualQuantity", "12", &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_TYPE_MISMATCH);
    assert_true(wmi_put_str(o, "HostResource", "text", &k->e) < 0);      /* an array */
    assert_int_equal(wmi_put_strs(o, "HostResource", (const char *const[]){"a", "b"}, 2, &k->e), 0);
    assert_true(wmi_put_bool(o, "ElementName", true, &k->e) < 0);
    assert_true(wmi_put_uint(o, "DynamicMemoryEnabled", 1, &k->e) < 0);
    struct wmi_value negative = {.type = WMI_SINT32, .one.i = -1};
    assert_true(wmi_put_value(o, "Weight", &negative, &k->e) < 0);
    assert_true(wmi_put_str(o, "__CLASS", "Other", &k->e) < 0);
    char **list = wmi_strs(o, "HostResource");
    assert_string_equal(list[1], "b");
    wmi_strs_free(list);
    assert_true(wmi_uint(o, "VirtualQuantity", 0) == UINT64_MAX);
    wmi_object_free(o);
    kit_free(k);
}

/* Paths: [D] backslashes in keys are doubled; all keys are named. [I] case of host and namespace differs between WMI's own functions. */
static void test_paths(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    struct wmi_object *o = NULL;
    static const struct { const char *path; uint32_t code; } cases[] = {
        {"Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:Definition\\VirtualSystem\\Default\"", WMI_E_INVALID_OBJECT_PATH},
        {"Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:Definition\\\\VirtualSystem\\\\Default\"", 0},
        {"msvm_virtualsystemsettingdata.instanceid=\"microsoft:definition\\\\virtualsystem\\\\default\"", 0},
        {"Msvm_VirtualSystemSettingData=\"Microsoft:Definition\\\\VirtualSystem\\\\Default\"", 0},
        {"\\\\winhost1\\ROOT\\virtualization\\v2:Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:Definition\\\\VirtualSystem\\\\Default\"", 0},
        {"\\\\.\\root\\virtualization\\V2:Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:Definition\\\\VirtualSystem\\\\Default\"", 0},
        {"Msvm_VirtualSystemSettingData.InstanceID=\"nobody\"", WMI_E_NOT_FOUND},
        {"Msvm_VirtualSystemSettingData.ElementName=\"New Virtual Machine\"", WMI_E_INVALID_OBJECT_PATH},
        {"Msvm_ComputerSystem.Name=\"WINHOST1\"", WMI_E_INVALID_OBJECT_PATH},
        {"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"WINHOST1\"", 0},
        {"Msvm_ComputerSystem.Name=\"winhost1\",CreationClassName=\"Msvm_ComputerSystem\"", 0},
        {"Msvm_ComputerSystem.", WMI_E_INVALID_OBJECT_PATH},
        {"", WMI_E_INVALID_OBJECT_PATH},
        {"Msvm_ComputerSystem.Name=\"WINHOST1", WMI_E_INVALID_OBJECT_PATH},
        {"Msvm_ComputerSystem", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int r = wmi_get(k->hv, cases[i].path, &k->wait, &o, &k->e);
        if ((r < 0 ? wmi_hresult(&k->e) : 0) != cases[i].code)
            fail_msg("%s: %s", cases[i].path, r < 0 ? k->e.msg : "came through");
        if (r == 0)
            wmi_object_free(o);
    }
    kit_free(k);

    struct dbl_options wild = dbl_wild(dbl_schema(DBL_2025), 3);
    k = kit_new(&wild);
    bool upper = false, lower = false, small_host = false;
    for (unsigned i = 0; i < 64; i++) {
        AUTO_FREE char *path = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
        upper = upper || strstr(path, "\\ROOT\\");
        lower = lower || strstr(path, "\\root\\");
        small_host = small_host || strstr(path, "\\\\winhost1\\");
        assert_int_equal(wmi_get(k->hv, path, &k->wait, &o, &k->e), 0);
        wmi_object_free(o);
    }
    assert_true(upper && lower && small_host);
    kit_free(k);
}

static void test_queries(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    static const struct { const char *wql; uint32_t code; } cases[] = {
        {"SELECT * FROM Msvm_ComputerSystem WHERE Name LIKE '%-%'", 0},
        {"select name, elementname from msvm_computersystem where name like '%-%' and enabledstate = 2", 0},
        {"SELECT * FROM Msvm_ResourceAllocationSettingData WHERE InstanceID LIKE '%\\\\Default'", 0},
        {"SELECT * FROM Msvm_ResourceAllocationSettingData WHERE InstanceID LIKE '%\\Default'", WMI_E_INVALID_QUERY},
        {"SELECT * FROM Msvm_ComputerSystem WHERE (Name='a' OR NOT Name='b') AND Caption IS NOT NULL", 0},
        {"SELECT * FROM Msvm_ComputerSystem WHERE Name='it\\'s'", 0},
        {"SELECT * FROM Msvm_ComputerSystem WHERE Name='it''s'", WMI_E_INVALID_QUERY},
        {"SELECT * FROM Msvm_ComputerSystem WHERE Name=5", WMI_E_INVALID_QUERY},
        {"SELECT * FROM Msvm_ComputerSystem WHERE EnabledState='two'", WMI_E_INVALID_QUERY},
        {"SELECT * FROM Msvm_ComputerSystem WHERE OperationalStatus=2", WMI_E_INVALID_QUERY},     /* an array */
        {"SELECT FROM Msvm_ComputerSystem", WMI_E_INVALID_QUERY},
        {"SELECT * Msvm_ComputerSystem", WMI_E_INVALID_QUERY},
        {"SELECT * FROM Msvm_ComputerSystem WHERE", WMI_E_INVALID_QUERY},
        {"SELECT * FROM Msvm_ComputerSystem ORDER BY Name", WMI_E_INVALID_QUERY},
        {"DELETE FROM Msvm_ComputerSystem", WMI_E_INVALID_QUERY},
        {"ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"WINHOST1\"}", 0},
        {"ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"WINHOST1\"} WHERE ResultClass=Msvm_Nonsense", WMI_E_INVALID_CLASS},
        {"ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"WINHOST1\"} WHERE Name='x'", WMI_E_INVALID_QUERY},
        {"ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"nobody\"}", WMI_E_NOT_FOUND},
        {"ASSOCIATORS OF {nonsense", WMI_E_INVALID_QUERY},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t code = kit_query_code(k, k->hv, cases[i].wql);
        if (code != cases[i].code)
            fail_msg("%s: 0x%08X", cases[i].wql, (unsigned)code);
    }
    /* [C] without the filter, templates come with the devices of every VM */
    size_t all = kit_count(k, k->hv, "SELECT * FROM Msvm_ResourceAllocationSettingData");
    size_t defaults = kit_count(k, k->hv, "SELECT * FROM Msvm_ResourceAllocationSettingData WHERE InstanceID LIKE 'Microsoft:Definition\\\\%\\\\Default'");
    assert_true(defaults > 3 && all > 4 * defaults);
    /* [C] the host is a Msvm_ComputerSystem too */
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem"), dbl_vms(k->d, true) + 1);
    /* AssocClass takes a base class; a base class is queried with all that derive from it */
    assert_true(kit_count(k, k->hv, "SELECT * FROM CIM_VirtualSystemSettingData") >= 3);
    kit_free(k);
}

/* [D] a row holds what SELECT named; without its keys it has no path. */
static void test_projection(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    struct wmi_object *o = kit_one(k, k->hv, "SELECT ElementName FROM Msvm_ComputerSystem WHERE Name='WINHOST1'");
    AUTO_FREE char *name = wmi_str(o, "ElementName"), *path = wmi_str(o, "__PATH"), *class = wmi_str(o, "__CLASS"), *caption = wmi_str(o, "Caption");
    assert_string_equal(name, "WINHOST1");
    assert_null(path);
    assert_null(caption);
    assert_string_equal(class, "Msvm_ComputerSystem");
    wmi_object_free(o);
    o = kit_one(k, k->hv, "SELECT Name, CreationClassName FROM Msvm_ComputerSystem WHERE Name='WINHOST1'");
    AUTO_FREE char *with = wmi_str(o, "__PATH");
    assert_non_null(with);
    wmi_object_free(o);
    o = kit_one(k, k->hv, "SELECT __PATH, ElementName FROM Msvm_ComputerSystem WHERE Name='WINHOST1'");
    AUTO_FREE char *asked = wmi_str(o, "__PATH");
    assert_non_null(asked);
    wmi_object_free(o);
    kit_free(k);
}

/* Namespaces and rights: [D] 0x8004100E without the role; [C] no rights: nothing is there, and nothing fails. */
static void test_presence(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.no_role = true});
    struct wmi *w = NULL;
    assert_int_equal(wmi_open(&dbl_wmi_ops, k->d, WMI_NS_HYPERV, &k->wait, &w, &k->e), -ERR_HYPERVISOR);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_NAMESPACE);
    assert_int_equal(wmi_open(&dbl_wmi_ops, k->d, "ROOT\\nowhere", &k->wait, &w, &k->e), -ERR_HYPERVISOR);
    kit_free(k);

    k = kit_new(&(struct dbl_options){.no_rights = true});
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService"), 0);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem"), 0);
    assert_int_equal(kit_query_code(k, k->hv, "SELECT * FROM Msvm_Nonsense"), WMI_E_INVALID_CLASS);
    kit_free(k);

    k = kit_new(&(struct dbl_options){.no_nat = true});
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_spawn(k->net, "MSFT_NetNat", &k->wait, &o, &k->e), -ERR_NOT_FOUND);
    kit_free(k);
}

/* Versions: a name of 2019 on 2016 is as unknown as any other. */
static void test_versions(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.schema = dbl_schema(DBL_2016)});
    struct wmi_object *o = NULL;
    assert_int_equal(kit_query_code(k, k->hv, "SELECT AutomaticSnapshotsEnabled FROM Msvm_VirtualSystemSettingData"), WMI_E_INVALID_QUERY);
    assert_int_equal(wmi_spawn(k->hv, "Msvm_VirtualSystemSettingData", &k->wait, &o, &k->e), 0);
    assert_false(wmi_has(o, "AutomaticSnapshotsEnabled"));
    assert_true(wmi_put_bool(o, "AutomaticSnapshotsEnabled", false, &k->e) < 0);
    wmi_object_free(o);
    struct said s = kit_service(k, "DefineSystem", "SystemSettings",
                                str_dup("<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"AutomaticSnapshotsEnabled\" TYPE=\"boolean\">"
                                        "<VALUE>FALSE</VALUE></PROPERTY></INSTANCE>"), NULL);
    assert_int_equal(s.value, 32773);
    kit_said_clear(&s);
    kit_free(k);
}

/* Instance texts: [C] CIM DTD and WMI DTD both; MOF, JSON, nothing: 32773 [C]. */
static void test_texts(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    static const struct { const char *text; uint32_t value; } cases[] = {
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"ElementName\" TYPE=\"string\"><VALUE>a&amp;b &lt;&#228;&gt;</VALUE></PROPERTY></INSTANCE>", 0},
        {"<INSTANCE CLASSNAME='msvm_virtualsystemsettingdata'>\r\n <QUALIFIER NAME=\"dynamic\" TYPE=\"boolean\"><VALUE>TRUE</VALUE></QUALIFIER>\r\n"
         "<PROPERTY NAME=\"elementname\" CLASSORIGIN=\"CIM_ManagedElement\" TYPE=\"string\"><QUALIFIER NAME=\"x\" TYPE=\"string\"><VALUE>y</VALUE></QUALIFIER>"
         "<VALUE>b</VALUE></PROPERTY><PROPERTY NAME=\"Caption\" TYPE=\"string\"></PROPERTY><PROPERTY NAME=\"Description\" TYPE=\"string\"/>"
         "<PROPERTY.ARRAY NAME=\"Notes\" TYPE=\"string\"><VALUE.ARRAY><VALUE>one</VALUE><VALUE></VALUE></VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>", 0},
        {"instance of Msvm_VirtualSystemSettingData {\n ElementName = \"a\";\n};", 32773},
        {"{\"ElementName\": \"a\"}", 32773},
        {"", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_MemorySettingData\"></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_Nonsense\"></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"Nonsense\" TYPE=\"string\"><VALUE>a</VALUE></PROPERTY></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"ElementName\" TYPE=\"uint16\"><VALUE>1</VALUE></PROPERTY></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"Notes\" TYPE=\"string\"><VALUE>1</VALUE></PROPERTY></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"ConsoleMode\" TYPE=\"uint16\"><VALUE>65536</VALUE></PROPERTY></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"ElementName\" TYPE=\"string\"><VALUE>a & b</VALUE></PROPERTY></INSTANCE>", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY NAME=\"ElementName\" TYPE=\"string\"><VALUE>a", 32773},
        {"<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"></INSTANCE>rest", 32773},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct said s = kit_service(k, "DefineSystem", "SystemSettings", str_dup(cases[i].text), NULL);
        if (s.value != cases[i].value)
            fail_msg("%s: %u", cases[i].text, (unsigned)s.value);
        kit_said_clear(&s);
    }
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='a&b <ä>'"), 1);
    /* what the double writes it reads */
    struct wmi_object *o = kit_one(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSettingData WHERE ElementName='b'");
    AUTO_FREE char *text = NULL;
    assert_int_equal(wmi_text(o, &text, &k->e), 0);
    struct wmi_instance_text t = {0};
    assert_int_equal(wmi_text_parse(text, &t, &k->e), 0);
    assert_string_equal(t.class_name, "Msvm_VirtualSystemSettingData");
    assert_string_equal(wmi_text_value(&t, "ElementName"), "b");
    wmi_text_clear(&t);
    wmi_object_free(o);
    struct said s = kit_service(k, "DefineSystem", "SystemSettings", STEAL(text), NULL);
    assert_int_equal(s.value, 0);
    kit_said_clear(&s);
    kit_free(k);
}

/* Calls: in-parameters of the right method, static and instance methods told apart, providers that write nothing. */
static void test_calls(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *vmms = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    struct wmi_object *out = NULL, *in = kit_in(k, k->hv, "Msvm_ComputerSystem", "RequestStateChange");
    assert_true(wmi_exec(k->hv, vmms, "DefineSystem", in, &k->wait, &out, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_METHOD_PARAMETERS);
    assert_true(wmi_exec(k->hv, vmms, "DefineSystem", NULL, &k->wait, &out, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_METHOD_PARAMETERS);
    assert_true(wmi_exec(k->hv, "Msvm_ComputerSystem", "RequestStateChange", in, &k->wait, &out, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_METHOD_PARAMETERS);
    wmi_object_free(in);
    assert_true(wmi_exec(k->hv, vmms, "Nonsense", NULL, &k->wait, &out, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_INVALID_METHOD);
    /* a method without parameters takes none, a static one the class's name */
    in = NULL;
    assert_int_equal(wmi_method(k->storage, "MSFT_StorageSetting", "UpdateHostStorageCache", &k->wait, &in, &k->e), 0);
    assert_null(in);
    assert_int_equal(kit_call(k, k->storage, "MSFT_StorageSetting", "UpdateHostStorageCache", NULL), 0);
    struct wmi_object *o = kit_one(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSettingData WHERE InstanceID LIKE '%\\\\Default'");
    assert_true(wmi_put_instance(k->hv, o, WMI_UPDATE_ONLY, &k->wait, &k->e) < 0);
    AUTO_FREE char *path = wmi_str(o, "__PATH");
    assert_true(wmi_delete_instance(k->hv, path, &k->wait, &k->e) < 0);
    wmi_object_free(o);
    kit_free(k);
}

/* [I] captions are in the host's language. */
static void test_language(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.language = "de"});
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE Caption='Virtual Machine'"), 0);
    assert_true(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE Caption='Virtueller Computer'") >= 2);
    kit_free(k);
}

/* The double never takes what the schema refuses: for every class of the schema, each of its names reads, and no other does. */
static void test_every_name(void **state)
{
    (void)state;
    const unsigned builds[] = {DBL_2016, DBL_2025};
    for (size_t b = 0; b < ARRAY_LEN(builds); b++) {
        const struct schema *s = dbl_schema(builds[b]);
        struct dbl_options o = {.schema = s};
        struct kit *k = kit_new(&o);
        for (size_t i = 0; i < schema_count(s); i++) {
            const struct schema_class *c = schema_at(s, i);
            struct wmi *w = str_ieq(c->ns, WMI_NS_HYPERV) ? k->hv : str_ieq(c->ns, WMI_NS_STORAGE) ? k->storage : str_ieq(c->ns, WMI_NS_NETWORK) ? k->net : NULL;
            struct wmi_object *x = NULL;
            if (!w)
                continue;
            assert_int_equal(wmi_spawn(w, c->name, &k->wait, &x, &k->e) == 0, !c->newer);
            if (!x)
                continue;
            for (size_t m = 0; m < c->layout.n; m++) {
                const struct schema_member *p = &c->layout.at[m];
                struct wmi_value v = {0};
                assert_int_equal(wmi_get_value(x, p->name, &v, &k->e) == 0, !p->newer);
                wmi_value_clear(&v);
                /* one type fits, another does not */
                bool text = p->type == WMI_STRING || p->type == WMI_DATETIME || p->type == WMI_REFERENCE;
                if (!p->newer && !p->array && p->type != WMI_OBJECT) {
                    assert_int_equal(wmi_put_str(x, p->name, "1", &k->e) == 0, text);
                    assert_int_equal(wmi_put_uint(x, p->name, 1, &k->e) == 0, !text && p->type != WMI_BOOLEAN);
                    assert_int_equal(wmi_put_bool(x, p->name, true, &k->e) == 0, p->type == WMI_BOOLEAN);
                    assert_true(wmi_put_strs(x, p->name, NULL, 0, &k->e) < 0);
                }
                AUTO_FREE char *wrong = str_printf("%sX", p->name);
                assert_false(wmi_has(x, wrong) && schema_member_any(&c->layout, wrong) < 0);
            }
            for (size_t m = 0; m < c->n_methods; m++) {
                struct wmi_object *in = NULL;
                assert_int_equal(wmi_method(w, c->name, c->methods[m].name, &k->wait, &in, &k->e) == 0, !c->methods[m].newer);
                wmi_object_free(in);
            }
            wmi_object_free(x);
        }
        kit_free(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_is_whole), cmocka_unit_test(test_unknown_names), cmocka_unit_test(test_types),   cmocka_unit_test(test_paths),
        cmocka_unit_test(test_queries),         cmocka_unit_test(test_projection),    cmocka_unit_test(test_presence), cmocka_unit_test(test_versions),
        cmocka_unit_test(test_texts),           cmocka_unit_test(test_calls),         cmocka_unit_test(test_language), cmocka_unit_test(test_every_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* WMI's text forms: WQL literals, object paths, instance texts; and the errors that come with HRESULTs and return codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "hyperv/hyperv.h"
#include "common/wmi/wmi.h"

static void quoting(void **state)
{
    (void)state;
    static const struct { const char *in, *out; } cases[] = {
        {"", "''"},
        {"plain", "'plain'"},
        {"it's", "'it\\'s'"},
        {"Microsoft:Definition\\X\\Default", "'Microsoft:Definition\\\\X\\\\Default'"},
        {"{1}\\\\HOST\\x:Y.Id=\"a\"", "'{1}\\\\\\\\HOST\\\\x:Y.Id=\"a\"'"},
        {"'\\'", "'\\'\\\\\\''"},
        {"Schalter f\u00fcr \u6e2c\u8a66", "'Schalter f\u00fcr \u6e2c\u8a66'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *s = wmi_quote(cases[i].in);
        assert_string_equal(s, cases[i].out);
    }
}

static void paths(void **state)
{
    (void)state;
    static const struct { const char *a, *b; bool same; } cases[] = {
        {"\\\\HOST\\root\\virtualization\\v2:Msvm_X.InstanceID=\"Microsoft:A\\\\0\\\\0\\\\D\"",
         "\\\\host\\ROOT\\Virtualization\\v2:msvm_x.InstanceID=\"Microsoft:A\\\\0\\\\0\\\\D\"", true},
        {"\\\\HOST\\root\\virtualization\\v2:Msvm_X.InstanceID=\"Microsoft:A\\\\0\"", "Msvm_X.InstanceID=\"Microsoft:a\\\\0\"", true},
        {"Msvm_X.InstanceID=\"Microsoft:A\\0\"", "Msvm_X.InstanceID=\"Microsoft:A\\\\0\"", true},
        {"Msvm_X.InstanceID=\"Microsoft:A\\\\0\"", "Msvm_X.InstanceID=\"Microsoft:A\\\\1\"", false},
        {"Msvm_X.InstanceID=\"Microsoft:A\"", "Msvm_X.InstanceID=\"Microsoft:A\\\\0\"", false},
        {"Msvm_X.InstanceID=\"Microsoft:A\"", "Msvm_Y.InstanceID=\"Microsoft:A\"", false},
        {"Msvm_X.Id=\"a\\\"b\"", "Msvm_X.Id=\"a\\\"b\"", true},
        {"\\\\HOST", "\\\\HOST", true},
        {"", "", true},
        {"", "x", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(wmi_same_path(cases[i].a, cases[i].b), cases[i].same);
        assert_int_equal(wmi_same_path(cases[i].b, cases[i].a), cases[i].same);
    }
}

static void instances(void **state)
{
    (void)state;
    struct wmi_instance_text t = {0};
    struct err e;
    static const char text[] =
        "<INSTANCE CLASSNAME=\"Msvm_Error\"><QUALIFIER NAME=\"x\" TYPE=\"string\"><VALUE>not a property</VALUE></QUALIFIER>"
        "<PROPERTY NAME=\"Message\" CLASSORIGIN=\"CIM_Error\" TYPE=\"string\"><VALUE>a &lt;b&gt; &amp; &quot;c&quot; &#x263a;\n2nd</VALUE></PROPERTY>"
        "<PROPERTY NAME=\"Empty\" TYPE=\"string\"><VALUE></VALUE></PROPERTY>"
        "<PROPERTY NAME=\"Null\" TYPE=\"string\"></PROPERTY>"
        "<PROPERTY.ARRAY NAME=\"List\" TYPE=\"uint16\"><VALUE.ARRAY><VALUE>1</VALUE><VALUE>2</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
        "<PROPERTY NAME=\"Inner\" TYPE=\"string\"><VALUE>&lt;INSTANCE CLASSNAME=&quot;Y&quot;&gt;&lt;/INSTANCE&gt;</VALUE></PROPERTY>"
        "</INSTANCE>";
    assert_int_equal(wmi_text_parse(text, &t, &e), 0);
    assert_string_equal(t.class_name, "Msvm_Error");
    assert_int_equal(t.n, 5);
    assert_string_equal(wmi_text_value(&t, "message"), "a <b> & \"c\" \u263a\n2nd");
    assert_string_equal(wmi_text_value(&t, "Empty"), "");
    assert_null(wmi_text_value(&t, "Null"));
    assert_null(wmi_text_value(&t, "x"));
    assert_null(wmi_text_value(&t, "Missing"));
    assert_true(t.properties[3].array);
    assert_int_equal(t.properties[3].n, 2);
    assert_string_equal(t.properties[3].values[1], "2");
    assert_string_equal(wmi_text_value(&t, "Inner"), "<INSTANCE CLASSNAME=\"Y\"></INSTANCE>");
    wmi_text_clear(&t);
    wmi_text_clear(&t);

    /* what lies in an embedded instance is not the outer one's */
    assert_int_equal(wmi_text_parse("<INSTANCE CLASSNAME='A'><PROPERTY.OBJECT NAME='o'><VALUE.OBJECT><INSTANCE CLASSNAME='B'><PROPERTY NAME='p'>"
                                    "<VALUE>inner</VALUE></PROPERTY></INSTANCE></VALUE.OBJECT></PROPERTY.OBJECT><PROPERTY NAME='p'><VALUE>outer</VALUE>"
                                    "</PROPERTY></INSTANCE>",
                                    &t, &e),
                     0);
    assert_string_equal(t.class_name, "A");
    assert_string_equal(wmi_text_value(&t, "p"), "outer");
    wmi_text_clear(&t);

    static const char *const bad[] = {
        "", "x", "<INSTANCE", "<INSTANCE CLASSNAME='A'>", "<CLASS NAME='A'></CLASS>", "<INSTANCE></INSTANCE>", "<INSTANCE CLASSNAME='A'></INSTANCE>x",
        "instance of Msvm_Error { Message = \"x\"; };", "<INSTANCE CLASSNAME='A'><PROPERTY TYPE='string'><VALUE>x</VALUE></PROPERTY></INSTANCE>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><INSTANCE CLASSNAME='A'><PROPERTY NAME='p'><VALUE>&b;</VALUE></PROPERTY></INSTANCE>",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(wmi_text_parse(bad[i], &t, &e), -ERR_UPSTREAM_FINAL);
}

static void hresults(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(wmi_fail(&e, WMI_NS_HYPERV, WMI_E_NOT_FOUND, NULL, "cannot get %s", "x"), -ERR_NOT_FOUND);
    assert_string_equal(e.upstream.service, "hyperv");
    assert_string_equal(e.upstream.code, "0x80041002");
    assert_int_equal(wmi_hresult(&e), WMI_E_NOT_FOUND);
    assert_non_null(strstr(e.msg, "cannot get x"));
    assert_false(wmi_was_cut_off(&e));

    struct wmi_status ext = {.description = "Der Parameter ist\r\nfalsch", .parameter = "Size", .operation = "ExecMethod", .status = 5};
    assert_int_equal(wmi_fail(&e, "root\\microsoft\\windows\\STORAGE", WMI_E_ACCESS_DENIED, &ext, "no"), -ERR_PERMISSION);
    assert_string_equal(e.upstream.service, "windows_storage");
    assert_non_null(strstr(e.msg, "Der Parameter ist  falsch"));
    assert_non_null(strstr(e.msg, "Size"));
    assert_true(e.hint[0]);

    assert_int_equal(wmi_fail(&e, WMI_NS_NETWORK, 0x80ABCDEFu, NULL, "no"), -ERR_UPSTREAM_FINAL);   /* nobody knows it */
    assert_string_equal(e.upstream.service, "windows_network");
    assert_int_equal(wmi_hresult(&e), 0x80ABCDEFu);

    static const struct { uint32_t hresult; bool cut; enum err_code code; } cut[] = {
        {WMI_E_RPC_UNAVAILABLE, true, ERR_UNREACHABLE}, {WMI_E_RPC_FAILED, true, ERR_UNREACHABLE}, {WMI_E_DISCONNECTED, true, ERR_UNREACHABLE},
        {WMI_E_TIMED_OUT, false, ERR_TIMEOUT},          {WMI_E_INVALID_NAMESPACE, false, ERR_HYPERVISOR},
    };
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        assert_int_equal(wmi_fail(&e, "ROOT\\other", cut[i].hresult, NULL, "no"), -(int)cut[i].code);
        assert_int_equal(wmi_was_cut_off(&e), cut[i].cut);
        assert_string_equal(e.upstream.service, "wmi");
    }
    err_set(&e, ERR_NOT_FOUND, "ours");
    assert_int_equal(wmi_hresult(&e), 0);
    err_os(&e, ERR_IO, 5, "ours");
    assert_int_equal(wmi_hresult(&e), 0);
}

static void return_codes(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(hyperv_fail(&e, 32775, NULL, "cannot start the VM %s", "x"), -ERR_WRONG_STATE);
    assert_string_equal(e.upstream.service, "hyperv");
    assert_string_equal(e.upstream.code, "32775");
    assert_int_equal(e.os_code, 32775);
    assert_int_equal(hyperv_code(&e), 32775);
    assert_true(str_starts(e.msg, "cannot start the VM x: "));
    assert_int_equal(wmi_hresult(&e), 0);
    assert_false(hyperv_uncertain(&e));

    static const struct { uint32_t code; enum err_code ours; } known[] = {
        {32769, ERR_PERMISSION}, {32773, ERR_VM}, {32778, ERR_VM}, {32779, ERR_NOT_FOUND}, {0x80070070, ERR_DISK_FULL}, {0x80070005, ERR_PERMISSION},
        {0x80070020, ERR_WRONG_STATE}, {0x8007000E, ERR_VM}, {0xC03A001A, ERR_VM}, {0xC03A000D, ERR_NOT_FOUND}, {0xC03A000E, ERR_IMAGE_DAMAGED},
        {0xC0351000, ERR_HYPERVISOR}, {4711, ERR_VM}, {0xC03AFFFF, ERR_VM},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        assert_int_equal(hyperv_fail(&e, known[i].code, "words of Hyper-V", "no"), -(int)known[i].ours);
        assert_int_equal(hyperv_code(&e), known[i].code);
        assert_non_null(strstr(e.msg, "words of Hyper-V"));
        assert_true(err_hint_text(&e)[0]);
    }
    /* the words are foreign and long: one line, whole characters, and the sentence ends within its buffer */
    char words[2001];
    for (size_t i = 0; i < sizeof words - 1; i += 2)
        memcpy(words + i, "\u00e4", 2);
    words[2000] = 0;
    words[10] = '\n';
    words[11] = '\t';
    hyperv_fail(&e, 32768, words, "no");
    assert_true(str_is_utf8(e.msg, strlen(e.msg)));
    assert_null(strchr(e.msg, '\n'));

    assert_int_equal(hyperv_code_in("'x' konnte nicht gestartet werden. (ID 1) Zugriff verweigert (0x80070005)."), 0x80070005);
    assert_int_equal(hyperv_code_in("first (0x80070005) then (0xC03A001A)"), 0xC03A001A);
    assert_int_equal(hyperv_code_in("no code (0x1234) (0x12345678"), 0);
    assert_int_equal(hyperv_code_in("(0xC03A001G)"), 0);
    assert_int_equal(hyperv_code_in(""), 0);
    assert_int_equal(hyperv_code_in(NULL), 0);
}

static void guids(void **state)
{
    (void)state;
    assert_true(hyperv_is_guid("C08CB7B8-9B3C-408E-8E30-5E16A3AEB444"));
    assert_true(hyperv_is_guid("c08cb7b8-9b3c-408e-8e30-5e16a3aeb444"));
    static const char *const no[] = {"", "HOST", "{C08CB7B8-9B3C-408E-8E30-5E16A3AEB444}", "C08CB7B8-9B3C-408E-8E30-5E16A3AEB44", "C08CB7B8x9B3C-408E-8E30-5E16A3AEB444",
                                     "C08CB7B8-9B3C-408E-8E30-5E16A3AEB44G"};
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(hyperv_is_guid(no[i]));
    AUTO_FREE char *s = hyperv_short_name("web01"), *empty = hyperv_short_name("");
    assert_string_equal(s, "web01");
    assert_string_equal(empty, "");
    char name[400] = "";
    for (int i = 0; i < 120; i++)
        strcat(name, "\u00df");
    AUTO_FREE char *cut = hyperv_short_name(name);
    assert_int_equal(strlen(cut), 200);                /* 100 characters of two bytes */
}

static void pixels(void **state)
{
    (void)state;
    static const struct { uint16_t in; uint8_t out[3]; } cases[] = {
        {0x0000, {0, 0, 0}}, {0xFFFF, {255, 255, 255}}, {0xF800, {255, 0, 0}}, {0x07E0, {0, 255, 0}}, {0x001F, {0, 0, 255}},
        {0x8410, {132, 130, 132}}, {0x0841, {8, 8, 8}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t in[2] = {(uint8_t)cases[i].in, (uint8_t)(cases[i].in >> 8)}, out[3];
        hyperv_rgb565(in, 1, out);
        assert_memory_equal(out, cases[i].out, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoting),      cmocka_unit_test(paths), cmocka_unit_test(instances), cmocka_unit_test(hresults),
        cmocka_unit_test(return_codes), cmocka_unit_test(guids), cmocka_unit_test(pixels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* An instance text as a method of WMI returns it, and the other texts of the same source: object paths and job descriptions. */
#include "hyperv/hyperv.h"
#include "common/wmi/wmi.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_FREE char *text = fuzz_string(data, n);
    struct wmi_instance_text t = {0};
    struct err e = {0};
    int r = wmi_text_parse(text, &t, &e);
    must_be_result(r, &e);
    if (r == 0) {
        MUST(t.class_name);
        for (size_t i = 0; i < t.n; i++) {
            MUST(t.properties[i].name);
            for (size_t k = 0; k < t.properties[i].n; k++)
                MUST(t.properties[i].values[k]);
            MUST(!t.properties[i].n || wmi_text_value(&t, t.properties[i].name) || i);
        }
        wmi_text_clear(&t);
    }
    MUST(!t.n && !t.properties && !t.class_name);

    MUST(wmi_same_path(text, text));
    AUTO_FREE char *literal = wmi_quote(text);
    MUST(literal && literal[0] == '\'');
    size_t quotes = 0;
    for (const char *p = literal; *p; p++) {           /* exactly the two that delimit it are not escaped */
        if (*p == '\\' && p[1])
            p++;
        else
            quotes += *p == '\'';
    }
    MUST(quotes == 2);
    uint32_t code = hyperv_code_in(text);
    struct err f = {0};
    r = hyperv_fail(&f, code ? code : 32768, str_is_utf8(text, strlen(text)) ? text : NULL, "cannot do it");
    must_be_result(r, &f);
    MUST(hyperv_code(&f) == (code ? code : 32768) || code <= 0xFFFF);
    return 0;
}

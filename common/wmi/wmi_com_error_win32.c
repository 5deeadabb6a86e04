/* What WMI says beside the HRESULT: an error object on the calling thread, which is an instance of __ExtendedStatus or of a class of the
 * provider's below it. */
#include <stdarg.h>

#include "common/wmi/wmi_com_win32.h"

void com_error_forget(void)
{
    SetErrorInfo(0, NULL);
}

/* Heap, or NULL. */
static char *text_of(IWbemClassObject *o, const wchar_t *name)
{
    AUTO_VARIANT VARIANT v;
    struct err ignored;
    char *s = NULL;
    VariantInit(&v);
    if (SUCCEEDED(IWbemClassObject_Get(o, name, 0, &v, NULL, NULL)) && V_VT(&v) == VT_BSTR && V_BSTR(&v) && com_utf8(V_BSTR(&v), &s, &ignored) < 0)
        s = NULL;
    return s;
}

static uint32_t number_of(IWbemClassObject *o, const wchar_t *name)
{
    AUTO_VARIANT VARIANT v;
    VariantInit(&v);
    return SUCCEEDED(IWbemClassObject_Get(o, name, 0, &v, NULL, NULL)) && V_VT(&v) == VT_I4 ? (uint32_t)V_I4(&v) : 0;
}

struct words { char *operation, *parameter, *provider, *description; uint32_t status; };

static void words_free(struct words *w)
{
    free(w->operation);
    free(w->parameter);
    free(w->provider);
    free(w->description);
}

static void read_words(struct words *w)
{
    AUTO_COM IErrorInfo *info = NULL;
    AUTO_COM IWbemClassObject *o = NULL;
    AUTO_BSTR BSTR text = NULL;
    struct err ignored;
    if (GetErrorInfo(0, &info) != S_OK || !info)
        return;
    if (SUCCEEDED(IErrorInfo_QueryInterface(info, &IID_IWbemClassObject, (void **)&o)) && o) {
        w->operation = text_of(o, L"Operation");
        w->parameter = text_of(o, L"ParameterInfo");
        w->provider = text_of(o, L"ProviderName");
        w->description = text_of(o, L"Description");
        w->status = number_of(o, L"StatusCode");
        if (!w->description)
            w->description = text_of(o, L"Message");     /* MSFT_WmiError and other children of CIM_Error */
    }
    if (!w->description && SUCCEEDED(IErrorInfo_GetDescription(info, &text)) && text && *text && com_utf8(text, &w->description, &ignored) < 0)
        w->description = NULL;
}

int com_fail(struct err *e, const char *ns, HRESULT hr, const char *fmt, ...)
{
    char what[sizeof e->msg];
    AUTO(words_free) struct words w = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    read_words(&w);
    struct wmi_status ext = {.operation = w.operation, .parameter = w.parameter, .provider = w.provider, .description = w.description, .status = w.status};
    return wmi_fail(e, ns, (uint32_t)hr, &ext, "%s", what);
}

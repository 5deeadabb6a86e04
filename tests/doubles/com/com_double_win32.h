/* The double of Windows' WMI (tests/doubles/wmi) as a COM server: a DLL that stands in for WbemLocator and WbemObjectTextSrc, so that a program
 * meets it unchanged. It is stricter than Windows where that finds mistakes: values of any other VARTYPE than WMI's are refused, so are calls on
 * a proxy without its own security blanket and calls from outside of the multithreaded apartment. Namespaces that the double does not have are
 * those of the system below.
 *
 * Environment: VMR_DOUBLE_DIR (a folder: `port` of the control connection is written there, `live` at the end, with what was not released),
 * VMR_DOUBLE_BUILD (of Windows; 17763), VMR_DOUBLE_SEED (everything by chance; without it, calm), VMR_DOUBLE_CHOICES (set: the second of each
 * enum dbl_choice), VMR_DOUBLE_NO_ROLE (set: Hyper-V is not enabled), WMI_SCHEMA (schema.json). */
#ifndef VMR_TESTS_COM_DOUBLE_WIN32_H
#define VMR_TESTS_COM_DOUBLE_WIN32_H

#define COBJMACROS
#define CONST_VTABLE
#include <winsock2.h>
#include <windows.h>
#include <oleauto.h>
#include <wbemidl.h>

#include "tests/doubles/wmi/double.h"
#include "tests/doubles/wmi/schema.h"

struct dbl *com_host(void);                            /* the one host of this process, made at the first need */
const struct schema *com_schema(void);
void com_control(struct dbl *d);                       /* serves the control connection from now on */

/* ---- what callers hold ---- */
enum com_kind { COM_FACTORY, COM_LOCATOR, COM_SERVICES, COM_ROWS, COM_CALL, COM_OBJECT, COM_TEXT, COM_STATUS, COM_KINDS };
void com_live(enum com_kind k, long delta);
void com_live_text(char *buf, size_t size);            /* "factory 0 locator 1 …" */

/* An unused slot of a vtable: E_NOTIMPL whatever its arguments are (on x64 one function does for all). */
HRESULT com_not_impl(void);
#define NOT_IMPL(vtbl, slot) .slot = (__typeof__(((vtbl *)0)->slot))(void (*)(void))com_not_impl

/* ---- security of a proxy: com_security_win32.c ---- */
struct com_security {
    const IClientSecurityVtbl *vtbl;                   /* first: this is the interface */
    IUnknown *outer;
    bool set;
};
void com_security_init(struct com_security *s, void *outer);
HRESULT com_may_call(const struct com_security *s);    /* S_OK, or why not */

/* ---- values: com_value_win32.c ---- */
char *com_text(const wchar_t *s);                      /* UTF-8, heap; NULL gives NULL. Aborts on what is no UTF-16 */
BSTR com_new_bstr(const char *s);
CIMTYPE com_cim(struct wmi_property p);
HRESULT com_to_variant(const struct wmi_value *v, VARIANT *ret);
HRESULT com_from_variant(const VARIANT *v, struct wmi_property p, struct wmi_value *ret);

/* ---- objects: com_object_win32.c ---- */
struct com_services;
/* Takes `o` over. `services` for class definitions, which make instances and signatures; NULL else. */
IWbemClassObject *com_object_new(struct wmi_object *o, struct com_services *services);
struct wmi_object *com_object_inside(IWbemClassObject *o);               /* NULL: not one of ours */
HRESULT com_text_source(REFIID iid, void **ret);

/* ---- services: com_services_win32.c ---- */
HRESULT com_connect(const char *ns, IWbemServices **ret);
struct wmi *com_services_wmi(struct com_services *s);
void com_services_ref(struct com_services *s);
void com_services_unref(struct com_services *s);
/* The HRESULT of a failure of the seam. */
HRESULT com_hresult(const struct err *e);
/* Leaves what WMI says beside an HRESULT on this thread, if there are words. */
void com_leave_words(const struct err *e, const char *operation);

#endif

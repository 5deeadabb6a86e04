/* Inside of the COM back end of wmi.h (the wmi_com*_win32.c files).
 *
 * Threads and apartments: the first wmi_open makes a multithreaded apartment that lasts as long as the process. Every thread that never asked COM
 * for another one is in it, so interfaces go from thread to thread as they are, and no thread has anything to begin or to end. */
#ifndef VMR_COMMON_WMI_COM_WIN32_H
#define VMR_COMMON_WMI_COM_WIN32_H

#define COBJMACROS                                     /* before the first windows.h: include this header first */
#define CONST_VTABLE
#include <windows.h>
#include <oleauto.h>
#include <wbemidl.h>

#include "common/wmi/wmi.h"

extern const struct wmi_ops wmi_com_ops;               /* "com"; wmi_open's arg is not used */

/* The apartment and the security of the process, once, before anything in it calls COM; wmi_open does so itself. */
HRESULT com_begin(void);

/* ---- what releases itself ---- */
static inline void com_release(void *p)
{
    IUnknown **u = p;
    if (*u)
        IUnknown_Release(*u);
    *u = NULL;
}
#define AUTO_COM AUTO(com_release)
static inline void com_bstr_free(BSTR *s)
{
    SysFreeString(*s);
    *s = NULL;
}
#define AUTO_BSTR AUTO(com_bstr_free)
static inline void com_variant_clear(VARIANT *v)
{
    VariantClear(v);
}
#define AUTO_VARIANT AUTO(com_variant_clear)

/* ---- texts and values: wmi_com_value_win32.c ---- */
int com_bstr(const char *s, BSTR *ret, struct err *e); /* what is not UTF-8 is ERR_VALUE */
/* NULL is the empty text. Reading is lenient: half of a surrogate pair becomes U+FFFD, since names come from people. Caller frees. */
int com_utf8(const wchar_t *s, char **ret, struct err *e);
struct wmi_property com_property(CIMTYPE type);        /* WMI_NULL for what wmi.h has no name for: reals */
/* A VARIANT that WMI gave for a property of that type. Objects inside are referenced anew, in namespace ns. */
int com_read(const VARIANT *v, CIMTYPE type, const char *ns, struct wmi_value *ret, struct err *e);
/* The VARIANT that WMI takes for a property of that type. 0, an HRESULT (WMI_E_TYPE_MISMATCH), or with *e filled -ERR_*. VariantClear after use. */
int com_write(const struct wmi_value *v, CIMTYPE type, VARIANT *ret, uint32_t *ret_hresult, struct err *e);

/* ---- objects: wmi_com_object_win32.c ---- */
struct com_object {
    struct wmi_object base;                            /* first */
    char ns[64];                                       /* for errors */
    IWbemClassObject *o;
};
/* Takes the reference over, also when it fails. */
int com_wrap(const char *ns, IWbemClassObject *o, struct wmi_object **ret, struct err *e);
static inline IWbemClassObject *com_object_of(const struct wmi_object *o)
{
    return ((const struct com_object *)o)->o;
}
void com_object_free(struct wmi_object *o);
int com_object_clone(const struct wmi_object *o, struct wmi_object **ret, struct err *e);
int com_object_property(const struct wmi_object *o, const char *name, struct wmi_property *ret, struct err *e);
int com_object_get(const struct wmi_object *o, const char *name, struct wmi_value *ret, struct err *e);
int com_object_put(struct wmi_object *o, const char *name, const struct wmi_value *v, struct err *e);
int com_object_text(const struct wmi_object *o, char **ret, struct err *e);

/* ---- errors: wmi_com_error_win32.c ---- */
void com_error_forget(void);                           /* before a call: what an earlier one left on this thread is not about it */
/* The error for an HRESULT, with what WMI left on this thread about it. Returns -code. */
int com_fail(struct err *e, const char *ns, HRESULT hr, const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif

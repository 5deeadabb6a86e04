/* The seam between us and WMI. Everything that is known about Hyper-V, Windows Storage and NAT lies above it in portable C; below it lies one
 * struct of functions, shaped like WMI itself: wmi_com_win32.c on COM, and the double of the tests.
 *
 * Protocol source: "Windows Management Instrumentation", IWbemServices and IWbemClassObject (wbemcli.h); DSP0004 (CIM types), DSP0201 2.0
 * (instance text).
 *
 * Threads: a struct wmi may be used from any thread at once; the back end sees to COM's apartments and to the security of every proxy, so
 * there is nothing to do per thread. A struct wmi_object belongs to one thread at a time, may be handed over, and stays valid after
 * wmi_close and after a reconnect.
 *
 * Names of classes, properties and methods ignore ASCII case, as WMI does. Text is UTF-8; a back end gives WMI UTF-16.
 *
 * Waiting: a call that talks to WMI takes a struct wmi_wait. The back end waits in slices of at most WMI_SLICE_MS and asks `stop` before each.
 * ERR_CANCELLED and ERR_TIMEOUT give up the waiting only: the provider may still do what it was asked for.
 *
 * Errors: every failure of WMI comes from wmi_fail(), which turns an HRESULT and the extended status into
 *   ERR_NOT_FOUND     no such instance, property, method or class           ERR_PERMISSION   access denied
 *   ERR_HYPERVISOR    the namespace or its provider is not there            ERR_UNREACHABLE  RPC failed: the service ended or restarted
 *   ERR_TIMEOUT, ERR_CANCELLED, ERR_OOM, ERR_DISK_FULL                      ERR_INTERNAL     we asked for what WMI does not know: bad query, wrong type
 *   ERR_UPSTREAM_FINAL  all else
 * with os_code the HRESULT (wmi_hresult reads it), upstream.service that of the namespace ("hyperv", "windows_storage", "windows_network",
 * "wmi") and upstream.code its text "0x80041002". A provider's own words are part of the sentence. */
#ifndef VMR_COMMON_WMI_H
#define VMR_COMMON_WMI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

#define WMI_NS_HYPERV "ROOT\\virtualization\\v2"
#define WMI_NS_STORAGE "ROOT\\Microsoft\\Windows\\Storage"
#define WMI_NS_NETWORK "ROOT\\StandardCimv2"
#define WMI_NS_CIMV2 "ROOT\\cimv2"

#define WMI_SLICE_MS 1000                              /* of waiting, between two looks at `stop` */
#define WMI_ROWS_MAX 4096                              /* of one query */
#define WMI_TEXT_MAX (4u << 20)                        /* bytes of one string value or of one instance's text */
#define WMI_ARRAY_MAX (64u << 20)                      /* elements of one array: a thumbnail is an array of bytes */

/* ---- HRESULTs that somebody above the seam looks at ---- */
#define WMI_E_FAILED 0x80041001u
#define WMI_E_NOT_FOUND 0x80041002u
#define WMI_E_ACCESS_DENIED 0x80041003u
#define WMI_E_PROVIDER_FAILURE 0x80041004u
#define WMI_E_TYPE_MISMATCH 0x80041005u
#define WMI_E_OUT_OF_MEMORY 0x80041006u
#define WMI_E_INVALID_PARAMETER 0x80041008u
#define WMI_E_NOT_SUPPORTED 0x8004100Cu
#define WMI_E_INVALID_NAMESPACE 0x8004100Eu
#define WMI_E_INVALID_CLASS 0x80041010u
#define WMI_E_PROVIDER_LOAD_FAILURE 0x80041013u
#define WMI_E_INVALID_QUERY 0x80041017u
#define WMI_E_ALREADY_EXISTS 0x80041019u
#define WMI_E_INVALID_METHOD 0x8004102Eu
#define WMI_E_INVALID_METHOD_PARAMETERS 0x8004102Fu
#define WMI_E_CALL_CANCELLED 0x80041032u
#define WMI_E_SHUTTING_DOWN 0x80041033u
#define WMI_E_INVALID_OBJECT_PATH 0x8004103Au
#define WMI_E_SERVER_TOO_BUSY 0x80041045u
#define WMI_E_PRIVILEGE_NOT_HELD 0x80041062u
#define WMI_E_TIMED_OUT 0x80041069u
#define WMI_E_QUOTA_VIOLATION 0x8004106Cu
#define WMI_E_PROVIDER_TIMED_OUT 0x80041088u
#define WMI_E_RPC_UNAVAILABLE 0x800706BAu              /* RPC_S_SERVER_UNAVAILABLE */
#define WMI_E_RPC_FAILED 0x800706BEu                   /* RPC_S_CALL_FAILED */
#define WMI_E_RPC_NOT_DONE 0x800706BFu                 /* RPC_S_CALL_FAILED_DNE */
#define WMI_E_SERVER_DIED 0x80010007u                  /* RPC_E_SERVER_DIED */
#define WMI_E_SERVER_DIED_BEFORE 0x80010012u           /* RPC_E_SERVER_DIED_DNE */
#define WMI_E_DISCONNECTED 0x80010108u                 /* RPC_E_DISCONNECTED */
#define WMI_E_NOT_CONNECTED 0x800401FDu                /* CO_E_OBJNOTCONNECTED */
#define WMI_E_TRANSPORT_FAILURE 0x80041015u

/* ---- values ---- */
enum wmi_type {                                        /* CIM types; reals are not used by any class that we know of */
    WMI_NULL = 0,
    WMI_BOOLEAN,
    WMI_SINT8, WMI_UINT8, WMI_SINT16, WMI_UINT16, WMI_SINT32, WMI_UINT32, WMI_SINT64, WMI_UINT64,
    WMI_CHAR16,                                        /* a number, as a drive letter is */
    WMI_STRING, WMI_DATETIME, WMI_REFERENCE,           /* text; a reference is an object path */
    WMI_OBJECT,                                        /* an embedded instance as an object, as Windows Storage has it */
};
const char *wmi_type_name(enum wmi_type t);            /* as the text form writes it: "uint16", "reference"; WMI_NULL: "null" */

struct wmi_object;

union wmi_item {
    bool b;                                            /* WMI_BOOLEAN */
    int64_t i;                                         /* sint8 to sint64 */
    uint64_t u;                                        /* uint8 to uint64, char16 */
    char *s;                                           /* string, datetime, reference; never NULL */
    struct wmi_object *o;                              /* object; never NULL */
};

/* One value. Who holds a value owns what it points to and clears it; wmi_put borrows and copies. Inside an array no element is NULL: a back
 * end leaves such elements out. */
struct wmi_value {
    enum wmi_type type;                                /* WMI_NULL: no value, all else is zero */
    bool array;
    size_t n;                                          /* elements of the array */
    union {
        union wmi_item one;                            /* not an array */
        uint8_t *bytes;                                /* array of uint8: n bytes */
        union wmi_item *items;                         /* any other array; NULL when n is 0 */
    };
};
void wmi_value_clear(struct wmi_value *v);             /* frees what it owns and makes it WMI_NULL; twice is fine */
/* Deep; objects are cloned. wmi_value_clear after use. */
int wmi_value_copy(const struct wmi_value *v, struct wmi_value *ret, struct err *e);

struct wmi_property {                                  /* what a class says of a property or of a method's parameter */
    enum wmi_type type;
    bool array;
};

/* ---- waiting ---- */
struct wmi_wait {
    unsigned timeout_ms;                               /* for this call */
    bool (*stop)(void *arg);                           /* NULL: never. Any thread */
    void *arg;
};

/* ---- back end ---- */
struct wmi;

struct wmi_rows {                                      /* what a query found */
    struct wmi_object **at;
    size_t n;
};
void wmi_rows_clear(struct wmi_rows *rows);

enum wmi_put { WMI_CREATE_ONLY = 2, WMI_UPDATE_ONLY = 1 };               /* WBEM_FLAG_… */

struct wmi_ops {
    const char *name;                                  /* "com", "double" */
    /* `arg` is what the caller of wmi_open gave: COM takes none, the double its host. WMI_E_INVALID_NAMESPACE when it is not there. */
    int (*open)(void *arg, const char *ns, const struct wmi_wait *w, struct wmi **ret, struct err *e);
    void (*close)(struct wmi *wmi);
    /* A new connection in place of the broken one that the caller saw: `seen` is wmi->connection from before its call. Does nothing when
     * another thread has reconnected since. */
    int (*reconnect)(struct wmi *wmi, unsigned seen, const struct wmi_wait *w, struct err *e);
    /* WQL, forward only. At most max rows; more is ERR_UPSTREAM_FINAL, nothing of them is returned. Rows hold the properties that SELECT named
     * (the others are NULL); they have a __PATH when all keys are among them. */
    int (*query)(struct wmi *wmi, const char *wql, size_t max, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e);
    /* An instance by its path (__PATH or relative), or a class definition by the name of the class. */
    int (*get)(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
    /* A new instance of a class, with the defaults of the class. */
    int (*spawn)(struct wmi *wmi, const char *class_name, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
    /* A new instance of a method's in-parameters, all unset: to be filled with put and given to exec. *ret is NULL for a method that takes
     * none. WMI_E_INVALID_METHOD for an unknown one. */
    int (*method)(struct wmi *wmi, const char *class_name, const char *method, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
    /* `path` names an instance, for a static method the class. `in` may be NULL. *ret holds ReturnValue and the out-parameters; it is NULL for a
     * method that returns nothing. A failing ReturnValue is no failure here. */
    int (*exec)(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, const struct wmi_wait *w, struct wmi_object **ret,
                struct err *e);
    int (*put_instance)(struct wmi *wmi, struct wmi_object *o, enum wmi_put how, const struct wmi_wait *w, struct err *e);
    int (*delete_instance)(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct err *e);

    /* Objects: instances, classes, parameters. Local, they never wait. */
    void (*object_free)(struct wmi_object *o);
    int (*object_clone)(const struct wmi_object *o, struct wmi_object **ret, struct err *e);
    /* ERR_NOT_FOUND: its class has no such property (in this version of Windows). System properties are WMI_STRING. */
    int (*property)(const struct wmi_object *o, const char *name, struct wmi_property *ret, struct err *e);
    /* ERR_NOT_FOUND likewise. System properties too: __PATH, __RELPATH, __CLASS, __NAMESPACE, __SERVER; NULL where an object has none, as embedded
     * ones have no __PATH. *ret has the declared type, or is WMI_NULL. */
    int (*get_value)(const struct wmi_object *o, const char *name, struct wmi_value *ret, struct err *e);
    /* WMI_NULL unsets. A number goes into any numeric type whose range holds it, a text into string, datetime and reference; an array into an
     * array of such. Everything else is WMI_E_TYPE_MISMATCH. The back end chooses the VARIANT by the declared type. */
    int (*put_value)(struct wmi_object *o, const char *name, const struct wmi_value *v, struct err *e);
    /* The instance in CIM DTD 2.0 (one INSTANCE element), as Hyper-V takes settings; caller frees. Only properties with a value appear. */
    int (*text)(const struct wmi_object *o, char **ret, struct err *e);
};

/* One call across the seam, for a record of them. */
struct wmi_call {
    const char *ns, *kind;                             /* "query", "get", "spawn", "method", "exec", "put", "delete", "open", "reconnect" */
    const char *target;                                /* WQL, path or class */
    const char *method;                                /* exec, method; else NULL */
    uint32_t hresult;                                  /* 0: the call came through */
    int64_t return_value;                              /* of exec; -1: none */
    int64_t took_us;
};
typedef void wmi_trace_fn(void *arg, const struct wmi_call *c);          /* any thread */

/* Every back end embeds these as the first member of its structures. */
struct wmi {
    const struct wmi_ops *ops;
    char ns[64];                                       /* as given to wmi_open */
    unsigned connection;                               /* counts reconnects; read and written atomically */
    wmi_trace_fn *trace;                               /* wmi.c's */
    void *trace_arg;
};
struct wmi_object {
    const struct wmi_ops *ops;
};

/* ---- for back ends: wmi_error.c ---- */
struct wmi_status {                                    /* what __ExtendedStatus said (or a subclass: MSFT_WmiError …); NULL members: nothing */
    const char *operation, *parameter, *provider, *description;
    uint32_t status;                                   /* its StatusCode; 0: none */
};
/* The error for an HRESULT; `ns` chooses upstream.service, `ext` may be NULL. The format says what failed, on which object. Returns -code. */
int wmi_fail(struct err *e, const char *ns, uint32_t hresult, const struct wmi_status *ext, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/* Completes an ERR_TIMEOUT: who did not answer, and where to look. wmi.c does so for every call of a back end. Returns -code. */
int wmi_no_answer(struct err *e, const char *ns);

/* ---- for callers: wmi.c. Reads are repeated once after a reconnect when RPC failed. ---- */
uint32_t wmi_hresult(const struct err *e);             /* of a failure of this module; 0: not from an HRESULT */
/* The connection broke in the middle: what a mutating call did is unknown. The connection is up again (or the next call says why not): read the
 * state anew before deciding to repeat. */
bool wmi_was_cut_off(const struct err *e);

int wmi_open(const struct wmi_ops *ops, void *arg, const char *ns, const struct wmi_wait *w, struct wmi **ret, struct err *e);
/* Before the first call of another thread. */
void wmi_set_trace(struct wmi *wmi, wmi_trace_fn *fn, void *arg);
void wmi_close(struct wmi *wmi);                       /* NULL is a no-op */
DEFINE_AUTO(struct wmi, wmi_close)
int wmi_query(struct wmi *wmi, const char *wql, size_t max, const struct wmi_wait *w, struct wmi_rows *ret, struct err *e);
/* The first row; ERR_NOT_FOUND if there is none. */
int wmi_query_one(struct wmi *wmi, const char *wql, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
int wmi_get(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
int wmi_spawn(struct wmi *wmi, const char *class_name, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
int wmi_method(struct wmi *wmi, const char *class_name, const char *method, const struct wmi_wait *w, struct wmi_object **ret, struct err *e);
/* Never repeated: see wmi_was_cut_off. */
int wmi_exec(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, const struct wmi_wait *w, struct wmi_object **ret,
             struct err *e);
/* For methods that only read (GetSummaryInformation, thumbnails, FormatError): repeated like a query. */
int wmi_exec_read(struct wmi *wmi, const char *path, const char *method, struct wmi_object *in, const struct wmi_wait *w, struct wmi_object **ret,
                  struct err *e);
int wmi_put_instance(struct wmi *wmi, struct wmi_object *o, enum wmi_put how, const struct wmi_wait *w, struct err *e);
int wmi_delete_instance(struct wmi *wmi, const char *path, const struct wmi_wait *w, struct err *e);

void wmi_object_free(struct wmi_object *o);            /* NULL is a no-op */
DEFINE_AUTO(struct wmi_object, wmi_object_free)
int wmi_clone(const struct wmi_object *o, struct wmi_object **ret, struct err *e);
bool wmi_has(const struct wmi_object *o, const char *name);              /* its class has the property: older Windows lacks some */
int wmi_get_value(const struct wmi_object *o, const char *name, struct wmi_value *ret, struct err *e);
int wmi_put_value(struct wmi_object *o, const char *name, const struct wmi_value *v, struct err *e);
int wmi_text(const struct wmi_object *o, char **ret, struct err *e);

/* Typed, for what is simply wanted. A missing or NULL property, or another type, gives the default. */
char *wmi_str(const struct wmi_object *o, const char *name);             /* heap; NULL: no text there, or no memory */
uint64_t wmi_uint(const struct wmi_object *o, const char *name, uint64_t def);
bool wmi_bool(const struct wmi_object *o, const char *name, bool def);
uint64_t wmi_uint_at(const struct wmi_object *o, const char *name, size_t index, uint64_t def);   /* element of an array of numbers */
/* Texts of an array of texts, NULL-terminated; wmi_strs_free. NULL when there is none, or no memory. */
char **wmi_strs(const struct wmi_object *o, const char *name);
void wmi_strs_free(char **list);
DEFINE_AUTO(char *, wmi_strs_free)
/* The path of an instance; ERR_INTERNAL when it has none. Caller frees. */
int wmi_path(const struct wmi_object *o, char **ret, struct err *e);

int wmi_put_str(struct wmi_object *o, const char *name, const char *s, struct err *e);            /* string, datetime, reference; NULL unsets */
int wmi_put_uint(struct wmi_object *o, const char *name, uint64_t u, struct err *e);
int wmi_put_bool(struct wmi_object *o, const char *name, bool b, struct err *e);
int wmi_put_strs(struct wmi_object *o, const char *name, const char *const *list, size_t n, struct err *e);
int wmi_put_uints(struct wmi_object *o, const char *name, const uint64_t *list, size_t n, struct err *e);
int wmi_put_bytes(struct wmi_object *o, const char *name, const uint8_t *bytes, size_t n, struct err *e);
/* An embedded instance, in the form that the parameter wants: as text where it is a string, as an object where it is one. */
int wmi_put_instance_in(struct wmi_object *o, const char *name, const struct wmi_object *instance, struct err *e);
int wmi_put_instances_in(struct wmi_object *o, const char *name, struct wmi_object *const *instances, size_t n, struct err *e);

/* ---- text: wmi_text.c ---- */
/* A literal for WQL with its quotes: backslashes and quotes escaped. Caller frees; NULL: no memory. */
char *wmi_quote(const char *s);
/* Compares object paths as WMI means them: case and the server's and namespace's spelling do not matter, doubled backslashes in keys do not. */
bool wmi_same_path(const char *a, const char *b);
/* An instance text as methods return it (Errors, SettingData, GuestIntrinsicExchangeItems), parsed. */
struct wmi_text_property { char *name; char **values; size_t n; bool array; };
struct wmi_instance_text { char *class_name; struct wmi_text_property *properties; size_t n; };
int wmi_text_parse(const char *xml, struct wmi_instance_text *ret, struct err *e);      /* ERR_UPSTREAM_FINAL: not an instance text */
void wmi_text_clear(struct wmi_instance_text *t);
const char *wmi_text_value(const struct wmi_instance_text *t, const char *name);        /* borrowed; NULL: no such value */

#endif

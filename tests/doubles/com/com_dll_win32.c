/* The DLL: class factories, the locator, and the host behind them. */
#include "tests/doubles/com/com_double_win32.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* ---- counting ---- */

static long live[COM_KINDS];
static const char *const kinds[COM_KINDS] = {"factory", "locator", "services", "rows", "call", "object", "text", "status"};

void com_live(enum com_kind k, long delta)
{
    __atomic_add_fetch(&live[k], delta, __ATOMIC_RELAXED);
}

void com_live_text(char *buf, size_t size)
{
    size_t n = 0;
    for (int k = 0; k < COM_KINDS; k++)
        n += (size_t)snprintf(buf + n, n < size ? size - n : 0, "%s%s %ld", k ? " " : "", kinds[k], __atomic_load_n(&live[k], __ATOMIC_RELAXED));
}

HRESULT com_not_impl(void)
{
    return E_NOTIMPL;
}

/* ---- the host ---- */

static struct dbl *host;
static const struct schema *schema;

/* Wine folds access lists into mode bits: what a VM may open cannot be read back, so every VM may. The rights are tested where the double's own
 * host keeps them (-Wl,--wrap=file_may). */
bool __wrap_file_may(struct dbl *d, const char *path, const char *guid, bool write);
bool __wrap_file_may(struct dbl *d, const char *path, const char *guid, bool write)
{
    (void)d;
    (void)path;
    (void)guid;
    (void)write;
    return true;
}

static void start(void)
{
    AUTO_FREE char *build = os_getenv("VMR_DOUBLE_BUILD"), *seed = os_getenv("VMR_DOUBLE_SEED"), *choices = os_getenv("VMR_DOUBLE_CHOICES"),
                   *no_role = os_getenv("VMR_DOUBLE_NO_ROLE");
    schema = dbl_schema(build ? (unsigned)strtoul(build, NULL, 10) : DBL_2019);
    struct dbl_options o = {.schema = schema};
    if (seed)
        o = dbl_wild(schema, strtoull(seed, NULL, 10));
    if (choices)
        o.choices = DBL_EVER;
    o.no_role = no_role != NULL;
    o.real_time = true;
    o.work_dir = os_getenv("VMR_DOUBLE_DIR");          /* lives as long as the process */
    o.guest.echoes_serial = true;
    host = dbl_new(&o);
    dbl_log_on(host);
    com_control(host);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

struct dbl *com_host(void)
{
    pthread_once(&once, start);
    return host;
}

const struct schema *com_schema(void)
{
    pthread_once(&once, start);
    return schema;
}

/* ---- the locator ---- */

struct plain { const void *vtbl; LONG refs; const CLSID *clsid; };         /* clsid: of a factory */

static HRESULT below(const BSTR ns, LONG flags, IWbemServices **ret)
{
    typedef HRESULT STDMETHODCALLTYPE get_class_fn(REFCLSID clsid, REFIID iid, void **ret);
    static HMODULE wbemprox;
    IClassFactory *factory = NULL;
    IWbemLocator *locator = NULL;
    if (!wbemprox)
        wbemprox = LoadLibraryW(L"wbemprox.dll");
    get_class_fn *fn = wbemprox ? (get_class_fn *)(void (*)(void))GetProcAddress(wbemprox, "DllGetClassObject") : NULL;
    HRESULT hr = fn ? fn(&CLSID_WbemLocator, &IID_IClassFactory, (void **)&factory) : E_FAIL;
    if (SUCCEEDED(hr))
        hr = IClassFactory_CreateInstance(factory, NULL, &IID_IWbemLocator, (void **)&locator);
    if (SUCCEEDED(hr))
        hr = IWbemLocator_ConnectServer(locator, ns, NULL, NULL, NULL, flags, NULL, NULL, ret);
    if (locator)
        IWbemLocator_Release(locator);
    if (factory)
        IClassFactory_Release(factory);
    return hr;
}

static HRESULT STDMETHODCALLTYPE connect_server(IWbemLocator *This, const BSTR ns, const BSTR user, const BSTR password, const BSTR locale, LONG flags,
                                                const BSTR authority, IWbemContext *ctx, IWbemServices **ret)
{
    (void)This;
    (void)locale;
    *ret = NULL;
    if (user || password || authority)
        return (HRESULT)0x80041064;                    /* WBEM_E_LOCAL_CREDENTIALS */
    if (!ns || ctx || (flags & ~WBEM_FLAG_CONNECT_USE_MAX_WAIT))
        return (HRESULT)WMI_E_INVALID_PARAMETER;
    AUTO_FREE char *name = com_text(ns);
    return schema_namespace(com_schema(), name) ? com_connect(name, ret) : below(ns, flags, ret);
}

static HRESULT STDMETHODCALLTYPE locator_query(IWbemLocator *This, REFIID iid, void **ret)
{
    *ret = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IWbemLocator))
        return E_NOINTERFACE;
    IWbemLocator_AddRef(This);
    *ret = This;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE locator_add_ref(IWbemLocator *This)
{
    return (ULONG)InterlockedIncrement(&((struct plain *)This)->refs);
}

static ULONG STDMETHODCALLTYPE locator_release(IWbemLocator *This)
{
    LONG left = InterlockedDecrement(&((struct plain *)This)->refs);
    if (!left) {
        free(This);
        com_live(COM_LOCATOR, -1);
    }
    return (ULONG)left;
}

static const IWbemLocatorVtbl locator_vtbl = {
    .QueryInterface = locator_query, .AddRef = locator_add_ref, .Release = locator_release, .ConnectServer = connect_server};

/* ---- factories ---- */

static HRESULT STDMETHODCALLTYPE factory_query(IClassFactory *This, REFIID iid, void **ret)
{
    *ret = NULL;
    if (!IsEqualGUID(iid, &IID_IUnknown) && !IsEqualGUID(iid, &IID_IClassFactory))
        return E_NOINTERFACE;
    IClassFactory_AddRef(This);
    *ret = This;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE factory_add_ref(IClassFactory *This)
{
    return (ULONG)InterlockedIncrement(&((struct plain *)This)->refs);
}

static ULONG STDMETHODCALLTYPE factory_release(IClassFactory *This)
{
    LONG left = InterlockedDecrement(&((struct plain *)This)->refs);
    if (!left) {
        free(This);
        com_live(COM_FACTORY, -1);
    }
    return (ULONG)left;
}

static struct plain *plain_new(const void *vtbl, const CLSID *clsid, enum com_kind kind)
{
    struct plain *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    *p = (struct plain){.vtbl = vtbl, .refs = 1, .clsid = clsid};
    com_live(kind, 1);
    return p;
}

static HRESULT STDMETHODCALLTYPE create(IClassFactory *This, IUnknown *outer, REFIID iid, void **ret)
{
    *ret = NULL;
    if (outer)
        return CLASS_E_NOAGGREGATION;
    if (IsEqualGUID(((struct plain *)This)->clsid, &CLSID_WbemObjectTextSrc))
        return com_text_source(iid, ret);
    IWbemLocator *locator = (IWbemLocator *)plain_new(&locator_vtbl, NULL, COM_LOCATOR);
    HRESULT hr = IWbemLocator_QueryInterface(locator, iid, ret);
    IWbemLocator_Release(locator);
    return hr;
}

static HRESULT STDMETHODCALLTYPE lock_server(IClassFactory *This, WINBOOL lock)
{
    (void)This;
    (void)lock;
    return S_OK;
}

static const IClassFactoryVtbl factory_vtbl = {.QueryInterface = factory_query, .AddRef = factory_add_ref, .Release = factory_release,
                                               .CreateInstance = create, .LockServer = lock_server};

/* ---- what COM and Windows call ---- */

STDAPI DllGetClassObject(REFCLSID clsid, REFIID iid, void **ret)
{
    const CLSID *known = IsEqualGUID(clsid, &CLSID_WbemLocator)         ? &CLSID_WbemLocator
                         : IsEqualGUID(clsid, &CLSID_WbemObjectTextSrc) ? &CLSID_WbemObjectTextSrc
                                                                        : NULL;
    *ret = NULL;
    if (!known)
        return CLASS_E_CLASSNOTAVAILABLE;
    IClassFactory *f = (IClassFactory *)plain_new(&factory_vtbl, known, COM_FACTORY);
    HRESULT hr = IClassFactory_QueryInterface(f, iid, ret);
    IClassFactory_Release(f);
    return hr;
}

STDAPI DllCanUnloadNow(void)
{
    return S_FALSE;                                    /* the host lives as long as the process */
}

/* At the end of the process: what its callers still held. */
static void say_live(void)
{
    char path[MAX_PATH], text[256];
    DWORD n = GetEnvironmentVariableA("VMR_DOUBLE_DIR", path, sizeof path - 8);
    if (!n || n >= sizeof path - 8)
        return;
    strcat(path, "\\live");
    com_live_text(text, sizeof text - 2);
    strcat(text, "\n");
    HANDLE h = CreateFileA(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (h != INVALID_HANDLE_VALUE) {
        WriteFile(h, text, (DWORD)strlen(text), &n, NULL);
        CloseHandle(h);
    }
}

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, void *reserved);
BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, void *reserved)
{
    (void)self;
    (void)reserved;
    if (reason == DLL_PROCESS_DETACH)
        say_live();
    return TRUE;
}

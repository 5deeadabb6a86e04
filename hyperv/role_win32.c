/* Windows' servicing as role.h wants it: the DISM API of the system's own dismapi.dll, which is loaded when it is needed: it costs time and memory, and a
 * host whose role is enabled never needs it.
 *
 * Protocol source: dismapi.h of the Windows ADK, "DISM API reference". Its structures are packed to one byte. */
#include "common/wmi/wmi_com_win32.h"

#include <stdio.h>

#include "common/os_win32.h"
#include "hyperv/hyperv_host_win32.h"

#define ONLINE_IMAGE L"DISM_{53BFAE52-B167-4E2F-A258-0A37B57FF845}"
#define UNKNOWN_FEATURE ((HRESULT)0x800F080C)

enum { LOG_ERRORS = 0, NO_PACKAGE = 0 };
enum { NOT_PRESENT, UNINSTALL_PENDING, STAGED, REMOVED, INSTALLED, INSTALL_PENDING, SUPERSEDED, PARTLY_INSTALLED };        /* DismPackageFeatureState */

#pragma pack(push, 1)
struct dism_feature {                                  /* DismFeatureInfo */
    const wchar_t *name;
    int state;
    const wchar_t *display_name, *description;
    int restart;
    void *properties;
    UINT n_properties;
};
struct dism_string { const wchar_t *value; };
#pragma pack(pop)
_Static_assert(sizeof(struct dism_feature) == 44 && offsetof(struct dism_feature, display_name) == 12, "as dismapi.h packs it");

typedef void WINAPI dism_progress_fn(UINT current, UINT total, void *arg);

static struct {
    HRESULT (WINAPI *Initialize)(int log_level, const wchar_t *log, const wchar_t *scratch);
    HRESULT (WINAPI *Shutdown)(void);
    HRESULT (WINAPI *OpenSession)(const wchar_t *image, const wchar_t *windows, const wchar_t *system_drive, UINT *ret);
    HRESULT (WINAPI *CloseSession)(UINT session);
    HRESULT (WINAPI *GetFeatureInfo)(UINT session, const wchar_t *feature, const wchar_t *package, int package_is, struct dism_feature **ret);
    HRESULT (WINAPI *EnableFeature)(UINT session, const wchar_t *feature, const wchar_t *package, int package_is, BOOL limit_access, const wchar_t **sources,
                                    UINT n_sources, BOOL enable_all, HANDLE cancel, dism_progress_fn *progress, void *arg);
    HRESULT (WINAPI *GetLastErrorMessage)(struct dism_string **ret);
    HRESULT (WINAPI *Delete)(void *);
} dism;

/* The pointers above, in their order. */
static const char *const names[] = {
    "DismInitialize", "DismShutdown", "DismOpenSession", "DismCloseSession", "DismGetFeatureInfo", "DismEnableFeature", "DismGetLastErrorMessage", "DismDelete",
};
_Static_assert(sizeof dism == sizeof(FARPROC) * ARRAY_LEN(names), "a name for each");

struct session {
    HANDLE cancel;                                     /* event */
    UINT dism;
    bool ready, opened;
};

/* Of the folder of Windows alone, whatever lies beside the program or in the PATH. It stays loaded: a service may come again. */
static int load(struct err *e)
{
    FARPROC *fn = (FARPROC *)(void *)&dism;
    HMODULE m = LoadLibraryExW(L"dismapi.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!m) {
        err_os(e, ERR_UNSUPPORTED, (long)GetLastError(), "Windows' servicing (dismapi.dll) cannot be loaded");
        e->code = ERR_UNSUPPORTED;
        return err_hint(e, "Enable the feature by hand: dism /online /enable-feature /all /featurename:Microsoft-Hyper-V, then restart.");
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!(fn[i] = GetProcAddress(m, names[i])))
            return err_os(e, ERR_UNSUPPORTED, (long)GetLastError(), "dismapi.dll has no %s", names[i]);
    return 0;
}

/* Its own words about the call that just failed, in the language of the host. */
static int fail(struct err *e, HRESULT hr, const char *doing, const wchar_t *feature)
{
    struct dism_string *words = NULL;
    AUTO_FREE char *said = NULL, *name = NULL;
    struct err ignored;
    if (SUCCEEDED(dism.GetLastErrorMessage(&words)) && words && words->value && win_utf8(words->value, &said, &ignored) == 0)
        for (char *p = said; *p; p++)
            if (*p == '\r' || *p == '\n')
                *p = ' ';
    if (words)
        dism.Delete(words);
    if (feature && win_utf8(feature, &name, &ignored) < 0)
        name = NULL;
    return role_fail(e, (uint32_t)hr, said, doing, name ? name : "");
}

static void session_close(void *p)
{
    struct session *s = p;
    if (s->opened)
        dism.CloseSession(s->dism);
    if (s->ready)
        dism.Shutdown();
    if (s->cancel)
        CloseHandle(s->cancel);
    free(s);
}

static int session_open(void *arg, void **ret, struct err *e)
{
    (void)arg;
    HRESULT hr = com_begin();                          /* servicing calls COM, and would set the security of the process to its own wishes */
    int r = load(e);
    if (r < 0)
        return r;
    if (FAILED(hr))
        return role_fail(e, (uint32_t)hr, NULL, "start COM", "");
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(e);
    if (!(s->cancel = CreateEventW(NULL, TRUE, FALSE, NULL)))
        r = err_os(e, ERR_OOM, (long)GetLastError(), "no event can be made");
    if (r == 0 && FAILED(hr = dism.Initialize(LOG_ERRORS, NULL, NULL)))
        r = fail(e, hr, "begin with Windows' servicing", NULL);
    s->ready = r == 0;
    if (r == 0 && FAILED(hr = dism.OpenSession(ONLINE_IMAGE, NULL, NULL, &s->dism)))
        r = fail(e, hr, "open this Windows for servicing", NULL);
    s->opened = r == 0;
    if (r < 0)
        session_close(s);
    else
        *ret = s;
    return r;
}

static int session_look(void *p, const char *feature, enum role_feature *ret, struct err *e)
{
    struct session *s = p;
    struct dism_feature *info = NULL;
    AUTO_FREE wchar_t *name = NULL;
    int r = win_utf16(feature, &name, e);
    if (r < 0)
        return r;
    HRESULT hr = dism.GetFeatureInfo(s->dism, name, NULL, NO_PACKAGE, &info);
    if (hr == UNKNOWN_FEATURE) {
        *ret = ROLE_NO_FEATURE;
        return 0;
    }
    if (FAILED(hr) || !info)
        return fail(e, FAILED(hr) ? hr : E_UNEXPECTED, "look at the feature", name);
    *ret = info->state == INSTALLED ? ROLE_ON : info->state == INSTALL_PENDING ? ROLE_PENDING : ROLE_OFF;
    dism.Delete(info);
    return 0;
}

struct progress { role_progress_fn *fn; void *arg; };

static void WINAPI on_progress(UINT current, UINT total, void *arg)
{
    const struct progress *p = arg;
    if (total)
        p->fn(p->arg, current < total ? (unsigned)((uint64_t)current * 100 / total) : 100);
}

static int session_enable(void *p, const char *feature, role_progress_fn *progress, void *progress_arg, bool *ret_restart, struct err *e)
{
    struct session *s = p;
    struct progress to = {progress, progress_arg};
    AUTO_FREE wchar_t *name = NULL;
    int r = win_utf16(feature, &name, e);
    if (r < 0)
        return r;
    HRESULT hr = dism.EnableFeature(s->dism, name, NULL, NO_PACKAGE, FALSE, NULL, 0, TRUE, s->cancel, on_progress, &to);
    return role_succeeded((uint32_t)hr, ret_restart) ? 0 : fail(e, hr, "enable the feature", name);
}

static void session_cancel(void *p)
{
    SetEvent(((struct session *)p)->cancel);
}

const struct role_ops role_dism = {.open = session_open, .close = session_close, .look = session_look, .enable = session_enable, .cancel = session_cancel};

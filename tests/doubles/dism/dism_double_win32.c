/* A double of Windows' dismapi.dll for Wine, which has none: the calls that enable a feature of the running Windows, as strict as the original about their
 * order and arguments. VMR_DISM_DOUBLE names a file that steers it, read anew by every call; a line each:
 *
 *   feature NAME STATE [PARENT]    STATE is a DismPackageFeatureState: 2 staged, 3 removed, 4 installed, 5 installed after a restart
 *   restart 1                      what is enabled is so after a restart: state 5, and 3010
 *   fail CALL HRESULT [WORDS]      this call fails
 *   slow MS                        each of the ten steps of enabling takes so long
 *
 * Enabling changes the states in that file. What was called is appended to the file with .log behind its name, with what was wrong about it ("BAD ...")
 * and, at each DismShutdown, how much was not given back. */
#include <windows.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONLINE L"DISM_{53BFAE52-B167-4E2F-A258-0A37B57FF845}"
#define NOT_INITIALIZED ((HRESULT)0xC0040000)
#define ALREADY_INITIALIZED ((HRESULT)0xC0040001)
#define PARENT_DISABLED ((HRESULT)0xC004000D)
#define UNKNOWN_FEATURE ((HRESULT)0x800F080C)
#define CANCELLED ((HRESULT)0x800704C7)
#define SESSION 7u
#define FEATURES 16

enum { STAGED = 2, INSTALLED = 4, INSTALL_PENDING = 5 };

#pragma pack(push, 1)
struct feature_info {
    const wchar_t *name;
    int state;
    const wchar_t *display_name, *description;
    int restart;
    void *properties;
    UINT n_properties;
};
struct string { const wchar_t *value; };
#pragma pack(pop)

typedef void CALLBACK progress_fn(UINT current, UINT total, void *arg);

/* The DLL's own; dismapi.h is in no package of Debian's. */
HRESULT WINAPI DismInitialize(int log_level, const wchar_t *log, const wchar_t *scratch);
HRESULT WINAPI DismShutdown(void);
HRESULT WINAPI DismOpenSession(const wchar_t *image, const wchar_t *windows, const wchar_t *drive, UINT *ret);
HRESULT WINAPI DismCloseSession(UINT session);
HRESULT WINAPI DismDelete(void *object);
HRESULT WINAPI DismGetFeatureInfo(UINT session, const wchar_t *name, const wchar_t *package, int package_is, struct feature_info **ret);
HRESULT WINAPI DismEnableFeature(UINT session, const wchar_t *name, const wchar_t *package, int package_is, BOOL limit_access,
    const wchar_t **sources, UINT n_sources, BOOL enable_all, HANDLE cancel, progress_fn *progress, void *arg);
HRESULT WINAPI DismGetLastErrorMessage(struct string **ret);

struct feature { char name[64], parent[64]; int state; };
struct steering {
    struct feature features[FEATURES];
    size_t n;
    bool restart;
    unsigned slow;
    char call[32], words[128];
    HRESULT failure;
};

static bool initialized, opened;
static long given;                                     /* DismDelete owes these */
static wchar_t last_words[256];

/* ---- the file ---- */

static FILE *file(const char *suffix, const char *mode)
{
    char path[MAX_PATH];
    DWORD n = GetEnvironmentVariableA("VMR_DISM_DOUBLE", path, sizeof path - 8);
    if (!n || n >= sizeof path - 8)
        return NULL;
    strcat(path, suffix);
    return fopen(path, mode);
}

static void note(const char *fmt, ...) __attribute__((format(gnu_printf, 1, 2)));
static void note(const char *fmt, ...)
{
    va_list ap;
    FILE *f = file(".log", "ab");
    if (!f)
        return;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fputs("\n", f);
    fclose(f);
}

static void steer(struct steering *s)
{
    char line[256], code[32];
    memset(s, 0, sizeof *s);
    FILE *f = file("", "r");
    while (f && fgets(line, sizeof line, f)) {
        struct feature *next = &s->features[s->n];
        unsigned on;
        if (s->n < FEATURES && sscanf(line, "feature %63s %d %63s", next->name, &next->state, next->parent) >= 2)
            s->n++;
        else if (sscanf(line, "restart %u", &on) == 1)
            s->restart = on;
        else if (sscanf(line, "fail %31s %31s %127[^\r\n]", s->call, code, s->words) >= 2)
            s->failure = (HRESULT)strtoul(code, NULL, 0);
        else
            sscanf(line, "slow %u", &s->slow);
    }
    if (f)
        fclose(f);
}

static void write_back(const struct steering *s)
{
    FILE *f = file("", "wb");
    if (!f)
        return;
    for (size_t i = 0; i < s->n; i++)
        fprintf(f, "feature %s %d %s\n", s->features[i].name, s->features[i].state, s->features[i].parent);
    fprintf(f, "restart %d\nslow %u\n", s->restart, s->slow);
    fclose(f);
}

static struct feature *find(struct steering *s, const wchar_t *name)
{
    char plain[64];
    if (!WideCharToMultiByte(CP_UTF8, 0, name, -1, plain, sizeof plain, NULL, NULL))
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->features[i].name, plain))
            return &s->features[i];
    return NULL;
}

static struct feature *parent_of(struct steering *s, const struct feature *f)
{
    for (size_t i = 0; i < s->n; i++)
        if (*f->parent && !strcmp(s->features[i].name, f->parent))
            return &s->features[i];
    return NULL;
}

/* ---- calls ---- */

static HRESULT refuse(const char *call, HRESULT hr, const char *words)
{
    note("%s 0x%08lX", call, (unsigned long)hr);
    MultiByteToWideChar(CP_UTF8, 0, words, -1, last_words, ARRAYSIZE(last_words));
    return hr;
}

static HRESULT bad(const char *call, HRESULT hr, const char *what)
{
    note("BAD %s: %s", call, what);
    return refuse(call, hr, what);
}

/* What every call but the first checks, and what the test wants to fail. */
static HRESULT enter(const char *call, struct steering *s, bool first, bool session, UINT given_session)
{
    steer(s);
    if (!first && !initialized)
        return bad(call, NOT_INITIALIZED, "before DismInitialize");
    if (session && (!opened || given_session != SESSION))
        return bad(call, (HRESULT)0x80070006, "no such session");
    return !strcmp(s->call, call) ? refuse(call, s->failure, s->words) : S_OK;
}

HRESULT WINAPI DismInitialize(int log_level, const wchar_t *log, const wchar_t *scratch)
{
    struct steering s;
    HRESULT hr = enter("DismInitialize", &s, true, false, 0);
    if (FAILED(hr))
        return hr;
    if (initialized)
        return bad("DismInitialize", ALREADY_INITIALIZED, "twice");
    if (log_level < 0 || log_level > 2 || log || scratch)
        return bad("DismInitialize", E_INVALIDARG, "its arguments");
    initialized = true;
    note("DismInitialize");
    return S_OK;
}

HRESULT WINAPI DismShutdown(void)
{
    struct steering s;
    HRESULT hr = enter("DismShutdown", &s, false, false, 0);
    if (FAILED(hr))
        return hr;
    note("DismShutdown sessions %d objects %ld", opened, given);
    initialized = opened = false;
    return S_OK;
}

HRESULT WINAPI DismOpenSession(const wchar_t *image, const wchar_t *windows, const wchar_t *drive, UINT *ret)
{
    struct steering s;
    HRESULT hr = enter("DismOpenSession", &s, false, false, 0);
    if (FAILED(hr))
        return hr;
    if (!image || wcscmp(image, ONLINE) || windows || drive || opened)
        return bad("DismOpenSession", E_INVALIDARG, "its arguments, or a second session");
    opened = true;
    *ret = SESSION;
    note("DismOpenSession");
    return S_OK;
}

HRESULT WINAPI DismCloseSession(UINT session)
{
    struct steering s;
    HRESULT hr = enter("DismCloseSession", &s, false, true, session);
    if (FAILED(hr))
        return hr;
    opened = false;
    note("DismCloseSession");
    return S_OK;
}

static const char magic[8] = "dismobj";

static void *give(size_t size)
{
    char *p = calloc(1, sizeof magic + size);
    if (!p)
        abort();
    memcpy(p, magic, sizeof magic);
    InterlockedIncrement(&given);
    return p + sizeof magic;
}

HRESULT WINAPI DismDelete(void *object)
{
    char *p = (char *)object - sizeof magic;
    if (!object || memcmp(p, magic, sizeof magic))
        return bad("DismDelete", E_INVALIDARG, "nothing of ours");
    memset(p, 0, sizeof magic);
    free(p);
    InterlockedDecrement(&given);
    return S_OK;
}

HRESULT WINAPI DismGetFeatureInfo(UINT session, const wchar_t *name, const wchar_t *package, int package_is, struct feature_info **ret)
{
    struct steering s;
    HRESULT hr = enter("DismGetFeatureInfo", &s, false, true, session);
    if (FAILED(hr))
        return hr;
    if (package || package_is)
        return bad("DismGetFeatureInfo", E_INVALIDARG, "a package");
    const struct feature *f = find(&s, name);
    if (!f)
        return refuse("DismGetFeatureInfo", UNKNOWN_FEATURE, "Der Featurename ist unbekannt.");
    size_t n = wcslen(name) + 1;
    struct feature_info *info = give(sizeof *info + n * sizeof *name);
    wchar_t *copy = (wchar_t *)(void *)((char *)info + sizeof *info);
    memcpy(copy, name, n * sizeof *name);
    info->name = info->display_name = info->description = copy;
    info->state = f->state;
    info->restart = 1;
    *ret = info;
    note("DismGetFeatureInfo %s %d", f->name, f->state);
    return S_OK;
}

static HRESULT steps(unsigned ms, HANDLE cancel, progress_fn *progress, void *arg)
{
    for (UINT i = 0; i <= 10; i++) {
        if (progress)
            progress(i * 100, 1000, arg);
        if (cancel && WaitForSingleObject(cancel, ms) == WAIT_OBJECT_0)
            return CANCELLED;
    }
    return S_OK;
}

HRESULT WINAPI DismEnableFeature(UINT session, const wchar_t *name, const wchar_t *package, int package_is, BOOL limit_access, const wchar_t **sources,
                                 UINT n_sources, BOOL enable_all, HANDLE cancel, progress_fn *progress, void *arg)
{
    struct steering s;
    HRESULT hr = enter("DismEnableFeature", &s, false, true, session);
    if (FAILED(hr))
        return hr;
    if (package || package_is || n_sources || sources)
        return bad("DismEnableFeature", E_INVALIDARG, "a package, or sources");
    struct feature *f = find(&s, name);
    if (!f)
        return refuse("DismEnableFeature", UNKNOWN_FEATURE, "Der Featurename ist unbekannt.");
    struct feature *parent = parent_of(&s, f);
    if (parent && parent->state == STAGED && !enable_all)
        return refuse("DismEnableFeature", PARENT_DISABLED, "Ein übergeordnetes Feature ist deaktiviert.");
    note("DismEnableFeature %s all %d limit %d cancel %d", f->name, enable_all, limit_access, cancel != NULL);
    if (FAILED(hr = steps(s.slow, cancel, progress, arg)))
        return refuse("DismEnableFeature", hr, "Der Vorgang wurde abgebrochen.");
    for (; f; f = parent_of(&s, f))
        if (f->state != INSTALLED)
            f->state = s.restart ? INSTALL_PENDING : INSTALLED;
    write_back(&s);
    return s.restart ? (HRESULT)ERROR_SUCCESS_REBOOT_REQUIRED : S_OK;
}

HRESULT WINAPI DismGetLastErrorMessage(struct string **ret)
{
    size_t n = wcslen(last_words) + 1;
    struct string *text = give(sizeof *text + n * sizeof *last_words);
    wchar_t *copy = (wchar_t *)(void *)((char *)text + sizeof *text);
    memcpy(copy, last_words, n * sizeof *last_words);
    text->value = copy;
    *ret = text;
    return S_OK;
}

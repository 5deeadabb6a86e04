/* Paths as Windows means them: C:\a\b and \\server\share\a\b, with '/' as good as '\'. */
#include "common/os.h"
#include "common/os_win32.h"

#include <string.h>

#define SEPARATORS "/\\"
#define LONG_PREFIX "\\\\?\\"
#define UNC_PREFIX LONG_PREFIX "UNC\\"
#define LONG_PATH 200                                  /* from here on \\?\ is needed, names that are put behind it included */

static bool is_separator(char c)
{
    return c == '/' || c == '\\';
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool has_drive(const char *p)
{
    return is_letter(p[0]) && p[1] == ':';
}

/* \\?\ and \\.\ and \??\, which lead past the file system to devices and to names that nothing checks */
static bool is_device_path(const char *p)
{
    return is_separator(p[0]) && ((is_separator(p[1]) && (p[2] == '?' || p[2] == '.') && is_separator(p[3])) || (p[1] == '?' && p[2] == '?'));
}

/* The length of "C:\" or of "\\server\share" with the separator behind it, if one is there; 0: the path is not absolute. */
static size_t root_length(const char *p)
{
    if (has_drive(p))
        return is_separator(p[2]) ? 3 : 0;
    if (!is_separator(p[0]) || !is_separator(p[1]) || is_device_path(p))
        return 0;
    size_t server = strcspn(p + 2, SEPARATORS);
    if (!server || !p[2 + server])
        return 0;
    size_t share = strcspn(p + 2 + server + 1, SEPARATORS), n = 2 + server + 1 + share;
    return share ? n + (p[n] != 0) : 0;
}

/* ---- names ---- */

static bool is_device_name(const char *p, size_t n)
{
    static const char *const names[] = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"};
    static const char *const digits[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "\xC2\xB9", "\xC2\xB2", "\xC2\xB3"};
    char base[16];
    size_t m = 0;
    while (m < n && p[m] != '.')                      /* NUL.txt is NUL */
        m++;
    while (m && p[m - 1] == ' ')
        m--;
    if (m >= sizeof base)
        return false;
    memcpy(base, p, m);
    base[m] = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(base, names[i]))
            return true;
    if (str_istarts(base, "COM") || str_istarts(base, "LPT"))
        for (size_t i = 0; i < ARRAY_LEN(digits); i++)
            if (!strcmp(base + 3, digits[i]))
                return true;
    return false;
}

/* What is wrong with one part of a path; NULL: nothing. */
static const char *bad_part(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] < ' ')
            return "must not have control characters in it";
        if (strchr("<>:\"|?*", p[i]))
            return "must not have any of < > : \" | ? * in it";
    }
    if (n && (p[n - 1] == ' ' || p[n - 1] == '.'))
        return "must not have a part that ends with a space or a dot";
    return is_device_name(p, n) ? "must not name a device, as CON, NUL or COM1 do" : NULL;
}

static bool is_dots(const char *p, size_t n)
{
    return (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.');
}

static const char *bad_parts(const char *p, bool allow_dots)
{
    while (*p) {
        size_t n = strcspn(p, SEPARATORS);
        const char *why = allow_dots && is_dots(p, n) ? NULL : bad_part(p, n);
        if (why)
            return why;
        p += n;
        p += *p != 0;
    }
    return NULL;
}

/* Of "\\server\share\…": these shares are no folders but ways to other programs. */
static bool is_pipe_share(const char *path)
{
    const char *share = path + 2 + strcspn(path + 2, SEPARATORS) + 1;
    size_t n = strcspn(share, SEPARATORS);
    static const char *const names[] = {"pipe", "mailslot", "ipc$"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i]) == n && str_istarts(share, names[i]))
            return true;
    return false;
}

const char *os_path_refuse_name(const char *path)
{
    if (!str_is_utf8(path, strlen(path)))
        return "must be valid UTF-8";
    if (!has_drive(path) && is_pipe_share(path))
        return "must not lead to a pipe";
    return bad_parts(has_drive(path) ? path + 3 : path + 2, false);
}

/* ---- the path as it is opened ---- */

static int current_folder(char **ret, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    for (DWORD size = 512;;) {
        free(w);
        if (!(w = malloc(size * sizeof *w)))
            return err_oom(e);
        DWORD n = GetCurrentDirectoryW(size, w);
        if (n == 0)
            return err_os(e, ERR_IO, (long)GetLastError(), "the current folder cannot be found");
        if (n < size)
            break;
        size = n;
    }
    return win_utf8(win_path_plain(w), ret, e);
}

/* Puts the parts of `rest` behind b[floor..], which "..' does not go below. */
static void add_parts(struct strbuf *b, size_t floor, const char *rest)
{
    while (*rest) {
        size_t n = strcspn(rest, SEPARATORS);
        if (n == 2 && is_dots(rest, n)) {
            while (b->len > floor && b->data[b->len - 1] != '\\')
                b->len--;
            if (b->len > floor)
                b->len--;                             /* the separator in front of the part */
            b->data[b->len] = 0;
        } else if (n && !is_dots(rest, n)) {
            strbuf_adds(b, "\\");
            strbuf_add(b, rest, n);
        }
        rest += n;
        rest += *rest != 0;
    }
}

static int absolute(const char *path, char **ret, struct err *e)
{
    const char *why = !*path ? "is empty" : !str_is_utf8(path, strlen(path)) ? "is not valid UTF-8" : NULL;
    AUTO_FREE char *cwd = NULL;
    AUTO_STRBUF struct strbuf b = {.max = 32760};
    size_t root = root_length(path);
    if (!why && is_device_path(path))
        why = "is a device path";
    if (!why && !root && has_drive(path))
        why = "depends on the current folder of a drive";
    if (!why && !root && is_separator(path[0]) && is_separator(path[1]))
        why = "names no share of a server";
    if (!why)
        why = bad_parts(root ? path + (has_drive(path) ? root : 2) : path, true);
    if (why)
        return err_set(e, ERR_VALUE, "the path \"%.200s\" %s", path, why);
    int r = root ? 0 : current_folder(&cwd, e);
    if (r < 0)
        return r;
    const char *base = cwd ? cwd : path;
    size_t base_root = root_length(base);
    if (!base_root)
        return err_set(e, ERR_IO, "the current folder \"%.200s\" is none that paths can begin with", base);
    size_t keep = base_root - (is_separator(base[base_root - 1]) ? 1 : 0);
    if (has_drive(base)) {
        strbuf_adds(&b, LONG_PREFIX);
        strbuf_add(&b, base, keep);
    } else {
        strbuf_adds(&b, UNC_PREFIX);
        strbuf_add(&b, base + 2, keep - 2);
    }
    for (char *p = b.data ? b.data : ""; *p; p++)
        *p = (char)(*p == '/' ? '\\' : *p);
    size_t floor = b.len;
    if (!b.failed && cwd && !is_separator(path[0]))
        add_parts(&b, floor, cwd + base_root);
    if (!b.failed)
        add_parts(&b, floor, root ? path + root : path);
    if (b.len == floor)
        strbuf_adds(&b, "\\");                        /* the root itself */
    if (b.failed)
        return err_set(e, ERR_VALUE, "the path \"%.200s…\" is longer than Windows allows", path);
    *ret = strbuf_steal(&b);
    return *ret ? 0 : err_oom(e);
}

int win_path(const char *path, wchar_t **ret, struct err *e)
{
    AUTO_FREE char *full = NULL;
    int r = absolute(path, &full, e);
    return r < 0 ? r : win_utf16(full, ret, e);
}

wchar_t *win_path_plain(wchar_t *path)
{
    if (!wcsncmp(path, L"\\\\?\\UNC\\", 8)) {
        path[6] = L'\\';
        return path + 6;
    }
    return !wcsncmp(path, L"\\\\?\\", 4) ? path + 4 : path;
}

char *os_native_path(const char *path)
{
    struct err ignored;
    AUTO_FREE char *full = NULL;
    if (strlen(path) < LONG_PATH || absolute(path, &full, &ignored) < 0)
        return str_dup(path);                         /* a path that is none is told by who opens it */
    return STEAL(full);
}

/* ---- paths as texts ---- */

bool os_path_is_absolute(const char *path)
{
    return root_length(path) > 0;
}

char *os_path_join(const char *a, const char *b)
{
    size_t n = strlen(a);
    return str_printf("%s%s%s", a, n && is_separator(a[n - 1]) ? "" : "\\", b);
}

const char *os_path_base(const char *path)
{
    const char *base = has_drive(path) ? path + 2 : path;
    for (const char *p = base; *p; p++)
        if (is_separator(*p))
            base = p + 1;
    return base;
}

static char fold(char c)
{
    return (char)(c == '/' ? '\\' : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Both come from the file system, which gives a name in one spelling always; the fold is for drive letters and the like. */
bool os_path_within(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    while (n && is_separator(folder[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if (fold(path[i]) != fold(folder[i]))
            return false;
    return is_separator(path[n]) || !path[n];
}

char *os_real_path(const char *path)
{
    struct err ignored;
    AUTO_FREE wchar_t *w = NULL, *full = NULL;
    char *ret = NULL;
    if (win_path(path, &w, &ignored) < 0)
        return NULL;
    AUTO_HANDLE HANDLE h = CreateFileW(w, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return NULL;
    for (DWORD size = 512;;) {
        free(full);
        if (!(full = malloc(size * sizeof *full)))
            return NULL;
        DWORD n = GetFinalPathNameByHandleW(h, full, size, FILE_NAME_NORMALIZED | VOLUME_NAME_DOS);
        if (n == 0)
            return NULL;
        if (n < size)
            break;
        size = n + 1;
    }
    return win_utf8(win_path_plain(full), &ret, &ignored) == 0 ? ret : NULL;
}

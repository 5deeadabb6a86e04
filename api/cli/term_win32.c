/* The console of Windows: told to read UTF-8 and control sequences, and left as it was found. */
#include "api/cli/cli.h"

#include <windows.h>

#include <io.h>
#include <string.h>

#include "common/os_win32.h"

#ifndef ENABLE_VIRTUAL_TERMINAL_PROCESSING
#define ENABLE_VIRTUAL_TERMINAL_PROCESSING 4
#endif

enum { SECRET_MAX = 16 << 10, OUT_BUFFER = 1 << 16 };

static HANDLE out;                                    /* the console, when stdout is one */
static DWORD out_mode;
static UINT out_code_page;

static bool console_mode(FILE *f, HANDLE *ret, DWORD *ret_mode)
{
    int fd = _fileno(f);
    *ret = fd >= 0 ? (HANDLE)_get_osfhandle(fd) : INVALID_HANDLE_VALUE;
    return *ret != INVALID_HANDLE_VALUE && GetConsoleMode(*ret, ret_mode);       /* fails for files, pipes and NUL */
}

static void leave(void)
{
    SetConsoleMode(out, out_mode);
    SetConsoleOutputCP(out_code_page);
}

static BOOL WINAPI on_control(DWORD what)
{
    (void)what;
    leave();
    return FALSE;                                     /* and then what Windows does: the process ends */
}

void term_init(void)
{
    DWORD ignored;
    HANDLE h;
    if (console_mode(stdout, &h, &out_mode)) {
        out = h;
        out_code_page = GetConsoleOutputCP();
        SetConsoleOutputCP(CP_UTF8);
        SetConsoleMode(out, out_mode | ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
        atexit(leave);
        SetConsoleCtrlHandler(on_control, TRUE);
    } else if (console_mode(stderr, &h, &ignored)) {
        SetConsoleOutputCP(CP_UTF8);
    }
    /* Older consoles take no character in two pieces, so a text is written at once: the commands flush where something is to be seen. */
    setvbuf(stdout, NULL, _IOFBF, OUT_BUFFER);
}

bool term_is_tty(FILE *f)
{
    HANDLE h;
    DWORD mode;
    return console_mode(f, &h, &mode);
}

bool term_draws(void)
{
    HANDLE h;
    DWORD mode;
    return console_mode(stdout, &h, &mode) && (mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}

unsigned term_columns(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    int n = out && GetConsoleScreenBufferInfo(out, &info) ? info.srWindow.Right - info.srWindow.Left + 1 : 0;
    return n >= 20 ? (unsigned)n : 80;
}

int term_read_secret(const char *prompt, char **ret, struct err *e)
{
    HANDLE in;
    DWORD mode, n = 0;
    if (!console_mode(stdin, &in, &mode))
        return err_set(e, ERR_VALUE, "standard input is no terminal");
    AUTO_FREE wchar_t *w = calloc(SECRET_MAX, sizeof *w);
    if (!w)
        return err_oom(e);
    fprintf(stderr, "%s: ", prompt);
    fflush(stderr);
    SetConsoleMode(in, (mode & ~(DWORD)ENABLE_ECHO_INPUT) | ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT);
    bool ok = ReadConsoleW(in, w, SECRET_MAX - 1, &n, NULL) && n > 0;
    SetConsoleMode(in, mode);
    fputc('\n', stderr);
    w[ok ? n : 0] = 0;
    w[wcscspn(w, L"\r\n")] = 0;
    int r = ok ? win_utf8(w, ret, e) : err_set(e, ERR_VALUE, "nothing was entered");
    mem_wipe(w, SECRET_MAX * sizeof *w);
    return r;
}

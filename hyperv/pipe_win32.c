/* The client's end of a named pipe with overlapped I/O: a read and a write may go on at once, and each gives up in time. */
#include <windows.h>
#include <string.h>

#include "common/os_win32.h"
#include "hyperv/pipe.h"

struct pipe {
    HANDLE h;
    HANDLE read_done, write_done;                      /* events, one for each direction */
};

static bool is_gone(DWORD error)
{
    return error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED || error == ERROR_NO_DATA || error == ERROR_INVALID_HANDLE;
}

/* SECURITY_IDENTIFICATION: whoever made a pipe of that name cannot act as us. */
int pipe_open(const char *name, struct pipe **ret, struct err *e)
{
    AUTO_FREE wchar_t *w = NULL;
    if (!str_istarts(name, PIPE_PREFIX) || !name[strlen(PIPE_PREFIX)])
        return err_set(e, ERR_VALUE, "'%s' is not the name of a pipe", name);
    int r = win_utf16(name, &w, e);
    if (r < 0)
        return r;
    struct pipe *p = calloc(1, sizeof *p);
    if (!p)
        return err_oom(e);
    p->h = CreateFileW(w, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    DWORD error = GetLastError();
    if (p->h == INVALID_HANDLE_VALUE && error == ERROR_FILE_NOT_FOUND)
        r = err_set(e, ERR_NOT_FOUND, "nobody serves the pipe %s", name);
    else if (p->h == INVALID_HANDLE_VALUE && error == ERROR_PIPE_BUSY)
        r = err_set(e, ERR_BUSY, "the pipe %s has a client already", name);
    else if (p->h == INVALID_HANDLE_VALUE)
        r = err_os(e, ERR_IO, (long)error, "cannot open the pipe %s", name);
    else if (!(p->read_done = CreateEventW(NULL, TRUE, FALSE, NULL)) || !(p->write_done = CreateEventW(NULL, TRUE, FALSE, NULL)))
        r = err_os(e, ERR_OOM, (long)GetLastError(), "cannot make an event");
    if (r < 0)
        pipe_close(p);
    else
        *ret = p;
    return r;
}

void pipe_close(struct pipe *p)
{
    if (!p)
        return;
    win_close(&p->h);
    win_close(&p->read_done);
    win_close(&p->write_done);
    free(p);
}

/* The end of an operation that was begun. When its time is over it is called back, but what was moved until then counts. */
static int finish(struct pipe *p, OVERLAPPED *o, BOOL done, unsigned timeout_ms, size_t *ret_n, struct err *e)
{
    DWORD error = done ? 0 : GetLastError(), n = 0;
    if (!done && error == ERROR_IO_PENDING) {
        if (WaitForSingleObject(o->hEvent, timeout_ms) != WAIT_OBJECT_0)
            CancelIoEx(p->h, o);
        error = 0;
    }
    if (!error)
        error = GetOverlappedResult(p->h, o, &n, TRUE) ? 0 : GetLastError();
    *ret_n = n;
    if (!error || error == ERROR_OPERATION_ABORTED || error == ERROR_MORE_DATA)
        return 0;
    return is_gone(error) ? err_set(e, ERR_EMPTY, "the other end of the pipe is gone") : err_os(e, ERR_IO, (long)error, "the pipe failed");
}

static DWORD bounded(size_t n)
{
    return n < 1u << 20 ? (DWORD)n : 1u << 20;
}

int pipe_read(struct pipe *p, void *buf, size_t n, unsigned timeout_ms, size_t *ret_n, struct err *e)
{
    OVERLAPPED o = {.hEvent = p->read_done};
    return finish(p, &o, ReadFile(p->h, buf, bounded(n), NULL, &o), timeout_ms, ret_n, e);
}

int pipe_write(struct pipe *p, const void *buf, size_t n, unsigned timeout_ms, size_t *ret_n, struct err *e)
{
    OVERLAPPED o = {.hEvent = p->write_done};
    return finish(p, &o, WriteFile(p->h, buf, bounded(n), NULL, &o), timeout_ms, ret_n, e);
}

/* Serial ports as pipe_win32.c reaches them: the named pipe \\.\pipe\NAME, one client at a time. One thread serves a port. */
#include <windows.h>
#include <string.h>

#include "common/clock.h"
#include "common/os_win32.h"
#include "tests/doubles/wmi/core.h"

#define CHUNK 4096

struct serial_port {
    pthread_mutex_t lock;
    pthread_t thread;
    HANDLE pipe;
    HANDLE wake;                                       /* event: something to say, or to stop */
    HANDLE own;                                        /* while busy: a client of our own, so that nobody else gets in */
    int64_t busy_until_ms;
    wchar_t *name;
    bool stop, echo, connected;
    struct strbuf out, in;                             /* to the client, from the client */
};

/* Begins to wait for a client. false: one is there already. */
static bool listen_now(struct serial_port *p, OVERLAPPED *o)
{
    ResetEvent(o->hEvent);
    bool pending = ConnectNamedPipe(p->pipe, o) || GetLastError() != ERROR_PIPE_CONNECTED;
    p->connected = !pending;
    strbuf_reset(&p->out);
    return pending;
}

/* The client is gone: another one may come. */
static bool listen_again(struct serial_port *p, OVERLAPPED *o)
{
    DisconnectNamedPipe(p->pipe);
    return listen_now(p, o);
}

/* What was said goes out, as much as the client takes now. false: it is gone. */
static bool to_client(struct serial_port *p)
{
    OVERLAPPED o = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    DWORD n = 0;
    bool ok = true;
    while (ok && p->out.len) {
        BOOL done = WriteFile(p->pipe, p->out.data, (DWORD)(p->out.len < CHUNK ? p->out.len : CHUNK), NULL, &o);
        ok = (done || GetLastError() == ERROR_IO_PENDING) && GetOverlappedResult(p->pipe, &o, &n, TRUE);
        if (ok) {
            memmove(p->out.data, p->out.data + n, p->out.len - n + 1);
            p->out.len -= n;
        }
    }
    CloseHandle(o.hEvent);
    return ok;
}

/* How long to wait for anything. The client of our own leaves when its time is over; its read then ends as if it had hung up. */
static DWORD patience(struct serial_port *p)
{
    if (!p->own)
        return INFINITE;
    int64_t left = p->busy_until_ms - clock_mono_ms();
    if (left > 0)
        return (DWORD)left + 1;
    win_close(&p->own);
    return INFINITE;
}

static void *serve(void *arg)
{
    struct serial_port *p = arg;
    char buf[CHUNK];
    OVERLAPPED o = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    HANDLE events[2] = {o.hEvent, p->wake};
    pthread_mutex_lock(&p->lock);
    bool pending = listen_now(p, &o), reading = false;
    while (!p->stop) {
        if (p->connected && p->out.len && !to_client(p)) {
            CancelIoEx(p->pipe, &o);
            pending = listen_again(p, &o);
            reading = false;
        }
        if (p->connected && !reading) {
            ResetEvent(o.hEvent);
            reading = ReadFile(p->pipe, buf, sizeof buf, NULL, &o) || GetLastError() == ERROR_IO_PENDING;
            if (!reading) {
                pending = listen_again(p, &o);
                continue;
            }
        }
        DWORD wait_ms = patience(p);
        pthread_mutex_unlock(&p->lock);
        DWORD which = WaitForMultipleObjects(2, events, FALSE, wait_ms);
        pthread_mutex_lock(&p->lock);
        if (which != WAIT_OBJECT_0)
            continue;
        DWORD n = 0;
        bool ok = GetOverlappedResult(p->pipe, &o, &n, TRUE);
        if (!p->connected) {
            p->connected = ok;
            strbuf_reset(&p->out);                     /* what was said before is lost */
            if (!ok)
                pending = listen_again(p, &o);
        } else if (ok) {
            strbuf_add(&p->in, buf, n);
            if (p->echo)
                strbuf_add(&p->out, buf, n);
            reading = false;
        } else {
            pending = listen_again(p, &o);
            reading = false;
        }
    }
    CancelIoEx(p->pipe, &o);
    DWORD n;
    if (reading || (pending && !p->connected))
        GetOverlappedResult(p->pipe, &o, &n, TRUE);
    pthread_mutex_unlock(&p->lock);
    CloseHandle(o.hEvent);
    return NULL;
}

struct serial_port *serial_open(const char *pipe, bool echo)
{
    AUTO_FREE wchar_t *w = NULL;
    struct err e;
    if (win_utf16(pipe, &w, &e) < 0)
        return NULL;
    HANDLE h = CreateNamedPipeW(w, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE, PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1,
                                CHUNK, CHUNK, 0, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return NULL;
    struct serial_port *p = x_calloc(1, sizeof *p);
    p->pipe = h;
    p->echo = echo;
    p->name = STEAL(w);
    p->wake = CreateEventW(NULL, FALSE, FALSE, NULL);
    pthread_mutex_init(&p->lock, NULL);
    if (!p->wake || pthread_create(&p->thread, NULL, serve, p))
        abort();
    return p;
}

void serial_close(struct serial_port *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    SetEvent(p->wake);
    pthread_join(p->thread, NULL);
    pthread_mutex_destroy(&p->lock);
    win_close(&p->own);
    CloseHandle(p->pipe);
    CloseHandle(p->wake);
    free(p->name);
    strbuf_free(&p->out);
    strbuf_free(&p->in);
    free(p);
}

void serial_busy(struct serial_port *p, unsigned ms)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    HANDLE h = CreateFileW(p->name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    p->own = h == INVALID_HANDLE_VALUE ? NULL : h;
    p->busy_until_ms = clock_mono_ms() + ms;
    pthread_mutex_unlock(&p->lock);
    SetEvent(p->wake);
}

void serial_say(struct serial_port *p, const void *bytes, size_t n)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->connected && !p->own)
        strbuf_add(&p->out, bytes, n);
    pthread_mutex_unlock(&p->lock);
    SetEvent(p->wake);
}

size_t serial_heard(struct serial_port *p, void *buf, size_t n)
{
    if (!p)
        return 0;
    pthread_mutex_lock(&p->lock);
    size_t have = p->in.len < n ? p->in.len : n;
    if (have) {
        memcpy(buf, p->in.data, have);
        memmove(p->in.data, p->in.data + have, p->in.len - have + 1);
        p->in.len -= have;
    }
    pthread_mutex_unlock(&p->lock);
    return have;
}

/* Child processes of os.h. A child inherits the handles that are named for it and no other (PROC_THREAD_ATTRIBUTE_HANDLE_LIST), has no
 * console, and is put into a job object before its first instruction: os_run's ends with the job, whose only handle is ours. */
#include "common/os.h"
#include "common/os_win32.h"

#include <string.h>

#include "common/clock.h"

#define COMMAND_MAX 32766                             /* characters, as CreateProcessW takes them */
#define POLL_MS 100
#define PIPE_BYTES 65536
#define KILL_WAIT_MS 10000

/* ---- the command line ---- */

/* One argument for a program that reads its command line as Microsoft's C runtime does: quotes are escaped by a backslash, and so are
 * backslashes, but only where they stand before a quote. */
static void add_argument(struct strbuf *b, const char *s)
{
    if (b->len)
        strbuf_adds(b, " ");
    if (*s && !strpbrk(s, " \t\n\v\"")) {
        strbuf_adds(b, s);
        return;
    }
    strbuf_adds(b, "\"");
    for (size_t slashes = 0;; s++) {
        if (*s == '\\') {
            slashes++;
            continue;
        }
        size_t n = *s == '"' ? slashes * 2 + 1 : *s ? slashes : slashes * 2;
        while (n--)
            strbuf_adds(b, "\\");
        slashes = 0;
        if (!*s)
            break;
        strbuf_add(b, s, 1);
    }
    strbuf_adds(b, "\"");
}

int win_command_line(const char *const *argv, wchar_t **ret, struct err *e)
{
    AUTO_STRBUF struct strbuf b = {.max = (size_t)COMMAND_MAX * 4};
    /* the program's own name is read by simpler rules: quotes around it, none in it */
    if (strchr(argv[0], '"'))
        return err_set(e, ERR_VALUE, "the program's name %.100s has a quote in it", argv[0]);
    strbuf_addf(&b, "\"%s\"", argv[0]);
    for (size_t i = 1; argv[i]; i++)
        add_argument(&b, argv[i]);
    AUTO_FREE wchar_t *w = NULL;
    int r = b.failed ? -ERR_TOO_LARGE : win_utf16(b.data, &w, e);
    if (r == -ERR_TOO_LARGE || (r == 0 && wcslen(w) > COMMAND_MAX))
        return err_set(e, ERR_TOO_LARGE, "the arguments of %.100s are longer than the %d characters that Windows takes", argv[0], COMMAND_MAX);
    if (r < 0)
        return err_prefix(e, "the arguments of %.100s", argv[0]);
    *ret = STEAL(w);
    return 0;
}

/* ---- the program ---- */

static bool is_program(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && (str_ieq(path + n - 4, ".exe") || str_ieq(path + n - 4, ".com"));
}

/* With ".exe" behind it where it has no extension; other files than programs are run by a shell (cmd.exe for .bat), whose quoting is
 * another one. */
static int with_extension(const char *path, char **ret, struct err *e)
{
    const char *dot = strrchr(os_path_base(path), '.');
    *ret = dot ? str_dup(path) : str_printf("%s.exe", path);
    if (!*ret)
        return err_oom(e);
    if (is_program(*ret))
        return 0;
    free(STEAL(*ret));
    err_set(e, ERR_UNSUPPORTED, "%s is no program (.exe)", path);
    return err_hint(e, "Scripts and batch files cannot be given arguments safely; name the program itself.");
}

/* In the folders of PATH, those that are named in full; never in the current folder. *ret NULL: in none of them. */
static int find_file(const char *file, char **ret, struct err *e)
{
    AUTO_FREE char *path = os_getenv("PATH");
    char *rest = path;
    *ret = NULL;
    for (char *folder; (folder = str_sep(&rest, ";"));) {
        struct os_stat st;
        struct err ignored;
        if (!os_path_is_absolute(folder))
            continue;
        AUTO_FREE char *candidate = os_path_join(folder, file);
        if (!candidate)
            return err_oom(e);
        if (os_stat(candidate, &st, &ignored) == 0 && st.is_file) {
            *ret = STEAL(candidate);
            return 0;
        }
    }
    return 0;
}

static int find_program(const char *name, char **ret, struct err *e)
{
    AUTO_FREE char *file = NULL;
    int r = with_extension(name, &file, e);
    if (r < 0)
        return r;
    if (strpbrk(file, "/\\")) {
        *ret = STEAL(file);
        return 0;
    }
    if ((r = find_file(file, ret, e)) < 0 || *ret)
        return r;
    err_set(e, ERR_NOT_FOUND, "the program %s is not installed or not in PATH", name);
    return err_hint(e, "Install the program that holds %s.", name);
}

/* ---- batch files ---- */

/* What cmd.exe takes as it is, inside of quotes and out of them: nothing that is expanded, ends an argument or begins another command. */
static bool is_plain(const char *s)
{
    return *s && !s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:")];
}

/* cmd.exe, by its full name, and its line: /d no commands of the registry, /v:off no !x!, /s only the outermost quotes are taken off. *ret_program
 * NULL: there is no such batch file. */
static int batch_line(const char *const *argv, char **ret_program, wchar_t **ret_line, struct err *e)
{
    AUTO_FREE char *file = strpbrk(argv[0], "/\\.") ? NULL : str_printf("%s.cmd", argv[0]), *path = NULL, *system = NULL, *program = NULL;
    AUTO_STRBUF struct strbuf b = {.max = COMMAND_MAX};
    wchar_t folder[MAX_PATH];
    int r;
    *ret_program = NULL;
    if (!file || (r = find_file(file, &path, e)) < 0 || !path)
        return file && !path ? r : 0;
    if (strpbrk(path, "%!\""))
        return err_set(e, ERR_UNSUPPORTED, "%s cannot be run: cmd.exe would read its name as another", path);
    UINT n = GetSystemDirectoryW(folder, MAX_PATH);
    if (!n || n >= MAX_PATH)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the folder of cmd.exe is not known");
    if ((r = win_utf8(folder, &system, e)) < 0)
        return r;
    if (!(program = os_path_join(system, "cmd.exe")))
        return err_oom(e);
    strbuf_addf(&b, "\"%s\" /d /v:off /s /c \"\"%s\"", program, path);
    for (size_t i = 1; argv[i]; i++) {
        if (!is_plain(argv[i]))
            return err_set(e, ERR_UNSUPPORTED, "%s is a batch file, which cannot be given the argument \"%.100s\" safely", path, argv[i]);
        strbuf_addf(&b, " %s", argv[i]);
    }
    strbuf_adds(&b, "\"");
    if (b.failed)
        return err_set(e, ERR_TOO_LARGE, "the arguments of %.100s are longer than Windows takes", path);
    if ((r = win_utf16(b.data, ret_line, e)) < 0)
        return r;
    *ret_program = STEAL(program);
    return 0;
}

static int program_line(const struct os_exec *x, char **ret_program, wchar_t **ret_line, struct err *e)
{
    int r = find_program(x->argv[0], ret_program, e);
    if (r == -ERR_NOT_FOUND && x->maybe_batch) {
        struct err why = *e;
        r = batch_line(x->argv, ret_program, ret_line, e);
        if (r < 0 || *ret_program)
            return r;
        *e = why;
        return -ERR_NOT_FOUND;
    }
    return r < 0 ? r : win_command_line(x->argv, ret_line, e);
}

/* ---- starting ---- */

struct child {
    HANDLE process, job;
    DWORD pid;
};

static void child_close(struct child *c)
{
    win_close(&c->process);
    win_close(&c->job);                               /* the last handle of the job: what is left in it ends */
}

/* Rights and names of our handles: ours alone, to be inherited. */
static SECURITY_ATTRIBUTES inherited(void)
{
    return (SECURITY_ATTRIBUTES){.nLength = sizeof(SECURITY_ATTRIBUTES), .bInheritHandle = TRUE};
}

static int make_job(HANDLE *ret, struct err *e)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE};
    *ret = CreateJobObjectW(NULL, NULL);
    if (!*ret || !SetInformationJobObject(*ret, JobObjectExtendedLimitInformation, &limits, sizeof limits))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "a job object cannot be made");
    return 0;
}

/* Suspended: its first instruction waits for resume(). */
static int create(const struct os_exec *x, const wchar_t *program, wchar_t *line, const wchar_t *cwd, HANDLE in, HANDLE out, DWORD flags,
                  PROCESS_INFORMATION *ret, struct err *e)
{
    SIZE_T n = 0;
    InitializeProcThreadAttributeList(NULL, 1, 0, &n);
    AUTO_FREE LPPROC_THREAD_ATTRIBUTE_LIST list = malloc(n ? n : 1);
    if (!list)
        return err_oom(e);
    HANDLE handles[] = {in, out};
    STARTUPINFOEXW si = {.StartupInfo = {.cb = sizeof si, .dwFlags = STARTF_USESTDHANDLES, .hStdInput = in, .hStdOutput = out, .hStdError = out},
                         .lpAttributeList = list};
    if (!InitializeProcThreadAttributeList(list, 1, 0, &n))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot start %s", x->argv[0]);
    bool done = UpdateProcThreadAttribute(list, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles, sizeof handles, NULL, NULL);
    flags |= CREATE_SUSPENDED | CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    done = done && CreateProcessW(program, line, NULL, NULL, TRUE, flags, NULL, cwd, &si.StartupInfo, ret);
    DWORD error = GetLastError();
    DeleteProcThreadAttributeList(list);
    return done ? 0 : err_os(e, ERR_IO, (long)error, "cannot start %s", x->argv[0]);
}

/* With a job (os_run) or outside of ours (os_spawn). The caller closes *c in any case. */
static int start(const struct os_exec *x, bool outlives, HANDLE in, HANDLE out, struct child *c, struct err *e)
{
    AUTO_FREE char *program = NULL;
    AUTO_FREE wchar_t *path = NULL, *line = NULL, *cwd = NULL;
    PROCESS_INFORMATION p = {0};
    if (x->run_as && *x->run_as)
        return err_set(e, ERR_UNSUPPORTED, "programs cannot be run as %s: on Windows they run as this account", x->run_as);
    int r = program_line(x, &program, &line, e);
    if (r < 0 || (r = win_path(program, &path, e)) < 0 ||
        (x->cwd && (r = win_path(x->cwd, &cwd, e)) < 0) || (!outlives && (r = make_job(&c->job, e)) < 0))
        return r;
    const wchar_t *folder = cwd ? win_path_plain(cwd) : NULL, *file = win_path_plain(path);
    DWORD flags = outlives ? CREATE_NEW_PROCESS_GROUP | CREATE_BREAKAWAY_FROM_JOB : 0;
    r = create(x, file, line, folder, in, out, flags, &p, e);
    if (r < 0 && outlives && e->os_code == ERROR_ACCESS_DENIED)      /* our job lets nobody go: then the child stays in it */
        r = create(x, file, line, folder, in, out, CREATE_NEW_PROCESS_GROUP, &p, e);
    if (r < 0)
        return r;
    c->process = p.hProcess;
    c->pid = p.dwProcessId;
    if (!outlives && !AssignProcessToJobObject(c->job, p.hProcess))
        r = err_os(e, ERR_INTERNAL, (long)GetLastError(), "%s cannot be put into a job object", x->argv[0]);
    else if (ResumeThread(p.hThread) == (DWORD)-1)
        r = err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot start %s", x->argv[0]);
    CloseHandle(p.hThread);
    if (r < 0)
        TerminateProcess(p.hProcess, 1);
    return r;
}

static int open_null(DWORD access, HANDLE *ret, struct err *e)
{
    SECURITY_ATTRIBUTES sa = inherited();
    *ret = CreateFileW(L"NUL", access, FILE_SHARE_READ | FILE_SHARE_WRITE, &sa, OPEN_EXISTING, 0, NULL);
    return *ret == INVALID_HANDLE_VALUE ? err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot open NUL") : 0;
}

/* What the child reads from: a pipe that holds all of `text` and has no writer any more, or nothing. */
static int open_input(const char *text, HANDLE *ret, struct err *e)
{
    size_t n = text ? strlen(text) : 0;
    if (n > OS_INPUT_MAX)
        return err_set(e, ERR_INTERNAL, "%zu bytes are too many for the input of a program", n);
    if (!text)
        return open_null(GENERIC_READ, ret, e);
    SECURITY_ATTRIBUTES sa = inherited();
    AUTO_HANDLE HANDLE ours = NULL;
    DWORD written = 0;
    if (!CreatePipe(ret, &ours, &sa, PIPE_BYTES) || !SetHandleInformation(ours, HANDLE_FLAG_INHERIT, 0) ||
        !WriteFile(ours, text, (DWORD)n, &written, NULL) || written != n)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot fill a pipe");
    return 0;
}

/* ---- os_run ---- */

/* Our end can be waited for together with the process, which anonymous pipes cannot. */
static int make_pipe(HANDLE *ret_ours, HANDLE *ret_theirs, struct err *e)
{
    uint64_t salt;
    int r = os_random(&salt, sizeof salt, e);
    if (r < 0)
        return r;
    AUTO_FREE char *name = str_printf("\\\\.\\pipe\\vmrecover-%lu-%016llx", GetCurrentProcessId(), (unsigned long long)salt);
    AUTO_FREE wchar_t *w = NULL;
    if (!name)
        return err_oom(e);
    if ((r = win_utf16(name, &w, e)) < 0)
        return r;
    SECURITY_ATTRIBUTES sa = inherited();
    *ret_ours = CreateNamedPipeW(w, PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                 PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, 0, PIPE_BYTES, 0, NULL);
    if (*ret_ours != INVALID_HANDLE_VALUE)
        *ret_theirs = CreateFileW(w, GENERIC_WRITE, 0, &sa, OPEN_EXISTING, 0, NULL);
    if (*ret_ours == INVALID_HANDLE_VALUE || *ret_theirs == INVALID_HANDLE_VALUE)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot make a pipe");
    return 0;
}

struct reader {
    HANDLE pipe, event;
    OVERLAPPED at;
    bool pending, ended;
    char chunk[8192];
    struct strbuf *text;
};

/* Takes what a read has brought; more than max is dropped, but read, so that the child is not blocked. */
static void take(struct reader *rd, bool ok, DWORD n)
{
    rd->pending = false;
    if (!ok)
        rd->ended = true;                             /* the other end is closed */
    else if (rd->text->len + n <= rd->text->max)
        strbuf_add(rd->text, rd->chunk, n);
}

static void read_on(struct reader *rd)
{
    while (!rd->ended && !rd->pending) {
        DWORD n = 0;
        rd->at = (OVERLAPPED){.hEvent = rd->event};
        ResetEvent(rd->event);
        bool ok = ReadFile(rd->pipe, rd->chunk, sizeof rd->chunk, &n, &rd->at);
        if (!ok && GetLastError() == ERROR_IO_PENDING)
            rd->pending = true;
        else
            take(rd, ok, n);
    }
}

static void read_finish(struct reader *rd)
{
    DWORD n = 0;
    bool ok = rd->pending && GetOverlappedResult(rd->pipe, &rd->at, &n, FALSE);
    if (rd->pending && (ok || GetLastError() != ERROR_IO_INCOMPLETE))
        take(rd, ok, n);
}

/* No read may be left at work on a chunk that goes out of scope. */
static void reader_close(struct reader *rd)
{
    DWORD n;
    if (rd->pending) {
        CancelIoEx(rd->pipe, &rd->at);
        GetOverlappedResult(rd->pipe, &rd->at, &n, TRUE);
    }
    win_close(&rd->pipe);
    win_close(&rd->event);
}

/* Until the child has ended; ERR_CANCELLED or ERR_TIMEOUT otherwise. */
static int attend(const struct os_exec *x, HANDLE process, struct reader *rd, unsigned timeout_ms, bool (*stop)(void *arg), void *stop_arg, struct err *e)
{
    int64_t deadline = clock_mono_ms() + timeout_ms, next_poll = 0;
    for (;;) {
        read_on(rd);
        HANDLE both[] = {process, rd->event};
        DWORD which = WaitForMultipleObjects(rd->pending ? 2 : 1, both, FALSE, POLL_MS);
        if (which == WAIT_OBJECT_0)
            return 0;
        if (which == WAIT_FAILED)
            return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot wait for %s", x->argv[0]);
        read_finish(rd);
        int64_t now = clock_mono_ms();
        if (now >= next_poll && stop && stop(stop_arg))
            return err_set(e, ERR_CANCELLED, "%s was stopped", x->argv[0]);
        if (now > deadline)
            return err_set(e, ERR_TIMEOUT, "%s did not end within %u s", x->argv[0], timeout_ms / 1000);
        if (now >= next_poll)
            next_poll = now + POLL_MS;
    }
}

int os_run(const struct os_exec *x, unsigned timeout_ms, size_t max, bool (*stop)(void *arg), void *stop_arg, char **ret_out, int *ret_status,
           struct err *e)
{
    AUTO_STRBUF struct strbuf text = {.max = max ? max : 1};
    AUTO(reader_close) struct reader rd = {.text = &text};
    AUTO_HANDLE HANDLE in = NULL;
    AUTO_HANDLE HANDLE out = NULL;
    AUTO(child_close) struct child c = {0};
    int r = open_input(x->input, &in, e);
    if (r < 0 || (r = make_pipe(&rd.pipe, &out, e)) < 0)
        return r;
    if (!(rd.event = CreateEventW(NULL, TRUE, FALSE, NULL)))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "cannot make an event");
    r = start(x, false, in, out, &c, e);
    win_close(&out);                                  /* the child's now: the pipe ends with it */
    if (r < 0)
        return r;
    r = attend(x, c.process, &rd, timeout_ms, stop, stop_arg, e);
    TerminateJobObject(c.job, 1);                     /* the child, if it is there still, and all that it has started */
    WaitForSingleObject(c.process, KILL_WAIT_MS);
    if (r < 0)
        return r;
    do {                                              /* what is left in the pipe; nobody writes any more */
        read_finish(&rd);
        read_on(&rd);
    } while (rd.pending && WaitForSingleObject(rd.event, 0) == WAIT_OBJECT_0);
    DWORD status = 1;
    if (!GetExitCodeProcess(c.process, &status))
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the exit code of %s is lost", x->argv[0]);
    if (ret_out) {
        *ret_out = strbuf_steal(&text);
        if (!*ret_out)
            return err_oom(e);
    }
    *ret_status = (int)status;
    return 0;
}

/* ---- programs that outlive us ---- */

static int open_log(const char *path, HANDLE *ret, struct err *e)
{
    if (!path)
        return open_null(GENERIC_WRITE, ret, e);
    AUTO_FREE wchar_t *w = NULL;
    int r = win_path(path, &w, e);
    if (r < 0)
        return r;
    SECURITY_ATTRIBUTES sa = inherited();
    *ret = CreateFileW(w, FILE_APPEND_DATA | SYNCHRONIZE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &sa, OPEN_ALWAYS,
                       FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    return *ret == INVALID_HANDLE_VALUE ? err_os(e, ERR_IO, (long)GetLastError(), "cannot open %s", path) : 0;
}

int os_spawn(const struct os_exec *x, int64_t *ret_pid, struct err *e)
{
    AUTO_HANDLE HANDLE in = NULL;
    AUTO_HANDLE HANDLE out = NULL;
    AUTO(child_close) struct child c = {0};
    int r = open_null(GENERIC_READ, &in, e);
    if (r < 0 || (r = open_log(x->log_path, &out, e)) < 0 || (r = start(x, true, in, out, &c, e)) < 0)
        return r;
    *ret_pid = c.pid;
    return 0;
}

bool os_process_alive(int64_t pid)
{
    if (pid <= 0 || pid > UINT32_MAX)
        return false;
    AUTO_HANDLE HANDLE h = OpenProcess(SYNCHRONIZE, FALSE, (DWORD)pid);
    if (!h)
        return GetLastError() == ERROR_ACCESS_DENIED;
    return WaitForSingleObject(h, 0) == WAIT_TIMEOUT;
}

int os_process_kill(int64_t pid, struct err *e)
{
    if (pid <= 4 || pid > UINT32_MAX)                 /* 0: idle, 4: the system itself */
        return err_set(e, ERR_INTERNAL, "refusing to kill process %lld", (long long)pid);
    AUTO_HANDLE HANDLE h = OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, (DWORD)pid);
    if (!h && GetLastError() == ERROR_INVALID_PARAMETER)
        return 0;                                     /* there is none */
    if (h && (TerminateProcess(h, 1) || WaitForSingleObject(h, 0) == WAIT_OBJECT_0))
        return 0;
    return err_os(e, ERR_IO, (long)GetLastError(), "cannot end process %lld", (long long)pid);
}

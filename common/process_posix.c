/* Child processes of os.h. Everything that allocates or looks names up happens before fork(); the child only makes
 * async-signal-safe calls, since other threads may hold locks at the moment of the fork. */
#include "common/os.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"

#define GROUPS_MAX 64

struct child {
    const struct os_exec *x;
    char *program;                                    /* resolved path */
    bool change_user;
    uid_t uid;
    gid_t gid, groups[GROUPS_MAX];
    int n_groups;
    int in, out;                                      /* descriptors for stdin and stdout + stderr */
    int report;                                       /* errno of what failed before exec goes here */
    bool new_session;
    pid_t parent;
};

static int find_program(const char *name, char **ret, struct err *e)
{
    if (strchr(name, '/')) {
        *ret = str_dup(name);
        return *ret ? 0 : err_oom(e);
    }
    const char *path = getenv("PATH");
    for (const char *p = path && *path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"; p;) {
        const char *end = strchrnul(p, ':');
        AUTO_FREE char *candidate = str_printf("%.*s/%s", (int)(end - p), p, name);
        if (!candidate)
            return err_oom(e);
        if (candidate[0] == '/' && access(candidate, X_OK) == 0) {
            *ret = STEAL(candidate);
            return 0;
        }
        p = *end ? end + 1 : NULL;
    }
    err_set(e, ERR_NOT_FOUND, "the program %s is not installed or not in PATH", name);
    return err_hint(e, "Install the package that holds %s.", name);
}

static int find_user(const char *name, struct child *c, struct err *e)
{
    char buf[16384];
    struct passwd pw, *found = NULL;
    int rc = getpwnam_r(name, &pw, buf, sizeof buf, &found);
    if (rc || !found) {
        err_set(e, ERR_CONFIG, "there is no user %s on this host", name);
        return err_hint(e, "Make the user, or set [hypervisor] run_as to one that exists (empty: the daemon's own account).");
    }
    c->uid = pw.pw_uid;
    c->gid = pw.pw_gid;
    c->n_groups = GROUPS_MAX;
    if (getgrouplist(name, pw.pw_gid, c->groups, &c->n_groups) < 0)
        c->n_groups = GROUPS_MAX;
    c->change_user = true;
    return 0;
}

static void __attribute__((noreturn)) run_child(const struct child *c)
{
    int fail = 0;
    sigset_t none;
    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (c->new_session && setsid() < 0)
        fail = errno;
    else if (!c->new_session && setpgid(0, 0) < 0)
        fail = errno;
    if (!fail && (dup2(c->in, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->out, 2) < 0))
        fail = errno;
    if (!fail && c->x->cwd && chdir(c->x->cwd) < 0)
        fail = errno;
    if (!fail && c->change_user &&
        (setgroups((size_t)c->n_groups, c->groups) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 || setresuid(c->uid, c->uid, c->uid) < 0))
        fail = errno;
    /* What os_run started ends with us: nobody else would know of it. (With the thread, to be exact, and that waits for it.) After
     * the change of user, which clears the wish. */
    if (!fail && !c->new_session && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail = errno;
    if (!fail && !c->new_session && getppid() != c->parent)
        fail = ESRCH;                                 /* we ended before the lines above */
    if (!fail) {
        /* all but stdio and the report pipe; that one closes by itself at exec */
        if (c->report > 3)
            syscall(SYS_close_range, 3u, (unsigned)c->report - 1, 0u);
        syscall(SYS_close_range, (unsigned)c->report + 1, ~0u, 0u);
        execv(c->program, (char *const *)(uintptr_t)c->x->argv);
        fail = errno;
    }
    while (write(c->report, &fail, sizeof fail) < 0 && errno == EINTR)
        ;
    _exit(127);
}

/* Moves a descriptor out of the way of stdio, which the child puts in its place: where ours is closed, a pipe may lie there. */
static int above_stdio(int *fd, struct err *e)
{
    if (*fd >= 3)
        return 0;
    int higher = fcntl(*fd, F_DUPFD_CLOEXEC, 3), code = errno;
    close(*fd);
    *fd = higher;
    return higher < 0 ? err_os(e, ERR_INTERNAL, code, "cannot copy a descriptor") : 0;
}

static int report_pipe(int ret[2], struct err *e)
{
    if (pipe2(ret, O_CLOEXEC) < 0)
        return err_os(e, ERR_INTERNAL, errno, "cannot make a pipe");
    int r = above_stdio(&ret[1], e);
    if (r < 0)
        close(ret[0]);
    return r;
}

/* Starts c->x; returns 0 once exec has happened. out_fd stays the caller's. */
static int start(struct child *c, pid_t *ret_pid, struct err *e)
{
    AUTO_FREE char *program = NULL;
    int r = find_program(c->x->argv[0], &program, e);
    if (r < 0)
        return r;
    c->program = program;
    if (c->x->run_as && *c->x->run_as && geteuid() == 0 && (r = find_user(c->x->run_as, c, e)) < 0)
        return r;
    int report[2];
    if ((r = report_pipe(report, e)) < 0)
        return r;
    c->report = report[1];
    c->parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        run_child(c);
    int fork_errno = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return err_os(e, ERR_INTERNAL, fork_errno, "cannot start %s", program);
    }
    int fail = 0;
    ssize_t k;
    do
        k = read(report[0], &fail, sizeof fail);
    while (k < 0 && errno == EINTR);
    close(report[0]);
    if (k == (ssize_t)sizeof fail) {
        waitpid(pid, NULL, 0);
        return err_os(e, ERR_IO, fail, "cannot start %s", program);
    }
    *ret_pid = pid;
    return 0;
}

static int open_log(const char *path, int *ret, struct err *e)
{
    *ret = open(path ? path : "/dev/null", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    return *ret < 0 ? err_os(e, ERR_IO, errno, "cannot open %s", path ? path : "/dev/null") : 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define AUTO_FD AUTO(close_fd)

/* What the child reads from: a pipe that holds all of `text` and has no writer any more, or nothing. */
static int open_input(const char *text, int *ret, struct err *e)
{
    int ends[2];
    size_t n = text ? strlen(text) : 0;
    if (n > OS_INPUT_MAX)
        return err_set(e, ERR_INTERNAL, "%zu bytes are too many for the input of a program", n);
    if (!text) {
        *ret = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return *ret < 0 ? err_os(e, ERR_INTERNAL, errno, "cannot open /dev/null") : 0;
    }
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_os(e, ERR_INTERNAL, errno, "cannot make a pipe");
    ssize_t k;
    do
        k = write(ends[1], text, n);
    while (k < 0 && errno == EINTR);
    close(ends[1]);
    *ret = ends[0];
    return k == (ssize_t)n ? 0 : err_set(e, ERR_INTERNAL, "cannot fill a pipe");
}

int os_run(const struct os_exec *x, unsigned timeout_ms, size_t max, bool (*stop)(void *arg), void *stop_arg, char **ret_out, int *ret_status,
           struct err *e)
{
    AUTO_FD int in = -1;
    int ends[2];
    int r = open_input(x->input, &in, e);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_os(e, ERR_INTERNAL, errno, "cannot make a pipe");
    AUTO_FD int out = ends[0];
    pid_t pid = -1;
    r = above_stdio(&ends[1], e);
    if (r == 0 && (r = above_stdio(&in, e)) == 0) {
        struct child c = {.x = x, .in = in, .out = ends[1]};
        r = start(&c, &pid, e);
    }
    if (ends[1] >= 0)
        close(ends[1]);
    if (r < 0)
        return r;
    AUTO_STRBUF struct strbuf text = {.max = max ? max : 1};
    int64_t deadline = clock_mono_ms() + timeout_ms;
    int status = 0;
    bool open_end = true, done = false;
    int nap_ms = 1;                                   /* most children end right after they close their output */
    while (!done) {
        struct pollfd p = {.fd = open_end ? out : -1, .events = POLLIN};
        if (!open_end)
            nap_ms = nap_ms < 20 ? nap_ms * 2 : 20;
        if (poll(&p, 1, open_end ? 100 : nap_ms / 2) > 0) {
            char chunk[8192];
            ssize_t k = read(out, chunk, sizeof chunk);
            if (k > 0 && text.len + (size_t)k <= text.max)
                strbuf_add(&text, chunk, (size_t)k);  /* more than max: read on, so that the child is not blocked, and drop it */
            else if (k == 0 || (k < 0 && errno != EINTR))
                open_end = false;
        }
        pid_t w = waitpid(pid, &status, WNOHANG);
        if (w == pid) {
            done = true;
        } else if (stop && stop(stop_arg)) {
            r = err_set(e, ERR_CANCELLED, "%s was stopped", x->argv[0]);
            break;
        } else if (clock_mono_ms() > deadline) {
            r = err_set(e, ERR_TIMEOUT, "%s did not end within %u s", x->argv[0], timeout_ms / 1000);
            break;
        }
    }
    if (!done) {
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        return r;
    }
    for (ssize_t k; open_end;) {                      /* what is left in the pipe; a grandchild may hold it open: no waiting */
        char chunk[8192];
        struct pollfd p = {.fd = out, .events = POLLIN};
        if (poll(&p, 1, 0) <= 0 || (k = read(out, chunk, sizeof chunk)) <= 0)
            break;
        if (text.len + (size_t)k <= text.max)
            strbuf_add(&text, chunk, (size_t)k);
    }
    if (ret_out) {
        *ret_out = strbuf_steal(&text);
        if (!*ret_out)
            return err_oom(e);
    }
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

/* A process that outlives us must not stay our zombie if it ends first: it is started by a child that ends at once, so that
 * init (or the nearest subreaper) becomes its parent. */
int os_spawn(const struct os_exec *x, int64_t *ret_pid, struct err *e)
{
    AUTO_FD int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    AUTO_FD int log = -1;
    int r = open_log(x->log_path, &log, e);
    if (r < 0)
        return r;
    if (null < 0)
        return err_os(e, ERR_INTERNAL, errno, "cannot open /dev/null");
    if ((r = above_stdio(&null, e)) < 0 || (r = above_stdio(&log, e)) < 0)
        return r;
    int ids[2];
    if (pipe2(ids, O_CLOEXEC) < 0)
        return err_os(e, ERR_INTERNAL, errno, "cannot make a pipe");
    AUTO_FREE char *program = NULL;
    struct child c = {.x = x, .in = null, .out = log, .new_session = true};
    r = find_program(x->argv[0], &program, e);
    if (r == 0 && x->run_as && *x->run_as && geteuid() == 0)
        r = find_user(x->run_as, &c, e);
    int report[2];
    if (r == 0)
        r = report_pipe(report, e);
    if (r < 0) {
        close(ids[0]);
        close(ids[1]);
        return r;
    }
    c.program = program;
    c.report = report[1];
    pid_t middle = fork();
    if (middle == 0) {
        pid_t pid = fork();
        if (pid == 0)
            run_child(&c);
        int fail = pid < 0 ? errno : 0;
        if (fail)
            while (write(report[1], &fail, sizeof fail) < 0 && errno == EINTR)
                ;
        while (write(ids[1], &pid, sizeof pid) < 0 && errno == EINTR)
            ;
        _exit(0);
    }
    int fork_errno = errno;
    close(report[1]);
    close(ids[1]);
    pid_t pid = -1;
    int fail = 0;
    if (middle > 0) {
        ssize_t k;
        while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
            ;
        do
            k = read(ids[0], &pid, sizeof pid);
        while (k < 0 && errno == EINTR);
        if (k != (ssize_t)sizeof pid)
            pid = -1;
        do
            k = read(report[0], &fail, sizeof fail);
        while (k < 0 && errno == EINTR);
        if (k != (ssize_t)sizeof fail)
            fail = 0;
    }
    close(ids[0]);
    close(report[0]);
    if (middle < 0)
        return err_os(e, ERR_INTERNAL, fork_errno, "cannot start %s", program);
    if (fail || pid <= 0)
        return err_os(e, ERR_IO, fail ? fail : ECHILD, "cannot start %s", program);
    *ret_pid = pid;
    return 0;
}

bool os_process_alive(int64_t pid)
{
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

int os_process_kill(int64_t pid, struct err *e)
{
    if (pid <= 1)
        return err_set(e, ERR_INTERNAL, "refusing to kill process %lld", (long long)pid);
    if (kill((pid_t)pid, SIGKILL) < 0 && errno != ESRCH)
        return err_os(e, ERR_IO, errno, "cannot end process %lld", (long long)pid);
    return 0;
}

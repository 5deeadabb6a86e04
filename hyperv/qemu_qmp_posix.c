/* QMP: JSON lines over a UNIX socket. Commands are answered in order; events come in between and are dropped, because the
 * driver asks for the state when it wants to know it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "hyperv/qemu.h"

#define LINE_MAX_BYTES ((size_t)4 << 20)               /* one message; ours are far below */
#define JOB_POLL_MS 40
#define STOP_POLL_MS 200

struct qmp {
    int fd;
    bool broken;
    unsigned next_id;
    struct strbuf in;                                  /* received, not yet a whole line */
    hv_stop_fn *stop;
    void *stop_arg;
};

int qemu_connect(int dirfd, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dirfd, name);
    if (n < 0 || (size_t)n >= sizeof a.sun_path)
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) < 0) {       /* EAGAIN: the backlog of a QEMU that hangs is full */
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

static int broken(struct qmp *m, struct err *e, enum err_code code, const char *what)
{
    m->broken = true;
    err_set(e, code, "QEMU's control socket %s", what);
    snprintf(e->upstream.service, sizeof e->upstream.service, "qemu");
    return err_hint(e, "Stop the virtual machine and start it again; its qemu.log may say more.");
}

static int wait_for(struct qmp *m, short events, int64_t deadline, struct err *e)
{
    for (;;) {
        int64_t left = deadline - clock_mono_ms();
        struct pollfd p = {.fd = m->fd, .events = events};
        int n = left > 0 ? poll(&p, 1, left > STOP_POLL_MS ? STOP_POLL_MS : (int)left) : 0;
        if (n > 0)
            return 0;
        if (n == 0 && left <= STOP_POLL_MS)
            return broken(m, e, ERR_TIMEOUT, "does not answer");
        if (n < 0 && errno != EINTR)
            return broken(m, e, ERR_VM, "cannot be waited for");
        if (m->stop && m->stop(m->stop_arg))
            return broken(m, e, ERR_CANCELLED, "was left before it had answered");
    }
}

/* The next message of any sort: *ret is a new reference. */
static int receive(struct qmp *m, int64_t deadline, json_t **ret, struct err *e)
{
    for (;;) {
        char *end = m->in.len ? memchr(m->in.data, '\n', m->in.len) : NULL;
        if (end) {
            size_t line = (size_t)(end - m->in.data);
            struct err why;
            int r = json_parse(m->in.data, line, ret, &why);
            memmove(m->in.data, end + 1, m->in.len - line);              /* with the NUL behind it */
            m->in.len -= line + 1;
            return r < 0 ? broken(m, e, ERR_VM, "sent something that is not JSON") : 0;
        }
        int r = wait_for(m, POLLIN, deadline, e);
        if (r < 0)
            return r;
        char chunk[4096];
        ssize_t k = recv(m->fd, chunk, sizeof chunk, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN && errno != EINTR))
            return broken(m, e, ERR_VM, "was closed: the virtual machine ended");
        if (k > 0)
            strbuf_add(&m->in, chunk, (size_t)k);
        if (m->in.failed)
            return broken(m, e, ERR_VM, "sent a message without end");
    }
}

static int send_line(struct qmp *m, const char *text, size_t n, int64_t deadline, struct err *e)
{
    while (n) {
        ssize_t k = send(m->fd, text, n, MSG_NOSIGNAL);
        if (k > 0) {
            text += k;
            n -= (size_t)k;
        } else if (k < 0 && errno == EAGAIN) {
            int r = wait_for(m, POLLOUT, deadline, e);
            if (r < 0)
                return r;
        } else if (errno != EINTR) {
            return broken(m, e, ERR_VM, "was closed: the virtual machine ended");
        }
    }
    return 0;
}

/* QEMU's own words, with the few causes that have a code of ours. */
static int refused(const char *command, json_t *error, struct err *e)
{
    const char *desc = json_string_value(json_object_get(error, "desc")), *class = json_string_value(json_object_get(error, "class"));
    enum err_code code = ERR_VM;
    if (desc && strstr(desc, "No space left on device"))
        code = ERR_DISK_FULL;
    else if (desc && strstr(desc, "Permission denied"))
        code = ERR_PERMISSION;
    err_set(e, code, "QEMU refused '%s': %s", command, desc ? desc : "no reason given");
    snprintf(e->upstream.service, sizeof e->upstream.service, "qemu");
    snprintf(e->upstream.code, sizeof e->upstream.code, "%s", class ? class : "");
    return -(int)code;
}

int qmp_call(struct qmp *m, const char *command, json_t *args, unsigned timeout_ms, json_t **ret, struct err *e)
{
    int64_t deadline = clock_mono_ms() + timeout_ms;
    unsigned id = ++m->next_id;
    json_t *message = args ? json_pack("{s:s, s:o, s:i}", "execute", command, "arguments", args, "id", (int)id)
                           : json_pack("{s:s, s:i}", "execute", command, "id", (int)id);
    AUTO_FREE char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    json_decref(message);
    if (!text)
        return err_oom(e);
    int r = m->broken ? broken(m, e, ERR_VM, "is not usable any more") : send_line(m, text, strlen(text), deadline, e);
    if (r == 0)
        r = send_line(m, "\n", 1, deadline, e);
    while (r == 0) {
        json_t *answer = NULL;
        r = receive(m, deadline, &answer, e);
        if (r < 0)
            break;
        json_t *value = json_object_get(answer, "return"), *error = json_object_get(answer, "error");
        bool ours = (value || error) && json_integer_value(json_object_get(answer, "id")) == (json_int_t)id;
        if (ours && error)
            r = refused(command, error, e);
        else if (ours && ret)
            *ret = json_incref(value);
        json_decref(answer);
        if (ours)
            break;
    }
    return r;
}

int qmp_hmp(struct qmp *m, const char *line, char **ret, struct err *e)
{
    json_t *value = NULL;
    int r = qmp_call(m, "human-monitor-command", json_pack("{s:s}", "command-line", line), QMP_TIMEOUT_MS, &value, e);
    if (r == 0 && ret) {
        *ret = str_dup(json_is_string(value) ? json_string_value(value) : "");
        if (!*ret)
            r = err_oom(e);
    }
    json_decref(value);
    return r;
}

/* True once the job has ended; r of its outcome in *ret. */
static bool job_done(json_t *jobs, const char *job_id, const char *command, int *ret, struct err *e)
{
    size_t i;
    json_t *job;
    json_array_foreach(jobs, i, job) {
        const char *id = json_string_value(json_object_get(job, "id")), *status = json_string_value(json_object_get(job, "status"));
        if (!id || strcmp(id, job_id))
            continue;
        if (!status || strcmp(status, "concluded"))
            return false;
        const char *error = json_string_value(json_object_get(job, "error"));
        *ret = 0;
        if (error) {
            json_t *desc = json_pack("{s:s, s:s}", "desc", error, "class", "JobError");
            *ret = refused(command, desc, e);
            json_decref(desc);
        }
        return true;
    }
    *ret = err_set(e, ERR_VM, "QEMU lost its job '%s'", command);
    return true;
}

int qmp_job(struct qmp *m, const char *command, json_t *args, unsigned timeout_ms, bool *ret_begun, struct err *e)
{
    /* QEMU keeps the ids of jobs that nobody dismissed, also those of connections before this one: none may come twice */
    char job_id[UUID_LEN + 1] = "j";                   /* must begin with a letter */
    int r = crypto_uuid(job_id + 1, e);
    if (r == 0 && (!args || json_object_set_new(args, "job-id", json_string(job_id)) < 0))
        r = err_oom(e);
    if (r < 0) {
        json_decref(args);
        return r;
    }
    int64_t deadline = clock_mono_ms() + timeout_ms;
    int outcome = 0;
    r = qmp_call(m, command, args, QMP_TIMEOUT_MS, NULL, e);
    if (ret_begun)                                     /* refused is refused; no answer may be anything */
        *ret_begun = r == 0 || qmp_broken(m);
    for (bool done = false; r == 0 && !done;) {
        json_t *jobs = NULL;
        int64_t left = deadline - clock_mono_ms();
        if (left <= 0)
            return broken(m, e, ERR_TIMEOUT, "did not finish a job in time");
        r = qmp_call(m, "query-jobs", NULL, (unsigned)left, &jobs, e);
        if (r == 0 && !(done = job_done(jobs, job_id, command, &outcome, e)))
            clock_sleep_ms(JOB_POLL_MS);
        json_decref(jobs);
    }
    if (r < 0)
        return r;
    struct err ignored;                                /* a job that is left concluded costs nothing */
    qmp_call(m, "job-dismiss", json_pack("{s:s}", "id", job_id), QMP_TIMEOUT_MS, NULL, &ignored);
    return outcome;
}

static unsigned left_ms(int64_t deadline)
{
    int64_t left = deadline - clock_mono_ms();
    return left > 0 ? (unsigned)left : 0;
}

/* Jobs of ours that ended while nobody was there to see it: the daemon died, or a wait was given up. One that still runs is left to end. */
static void dismiss_jobs(struct qmp *m, int64_t deadline)
{
    json_t *jobs = NULL, *job;
    struct err ignored;
    size_t i;
    if (qmp_call(m, "query-jobs", NULL, left_ms(deadline), &jobs, &ignored) == 0)
        json_array_foreach(jobs, i, job) {
            const char *id = json_string_value(json_object_get(job, "id")), *status = json_string_value(json_object_get(job, "status"));
            if (id && status && !strcmp(status, "concluded") && !m->broken)
                qmp_call(m, "job-dismiss", json_pack("{s:s}", "id", id), left_ms(deadline), NULL, &ignored);
        }
    json_decref(jobs);
}

int qmp_open(int dirfd, unsigned timeout_ms, hv_stop_fn *stop, void *arg, struct qmp **ret, struct err *e)
{
    int64_t deadline = clock_mono_ms() + timeout_ms;
    int fd = qemu_connect(dirfd, "qmp.sock");
    if (fd < 0)
        return err_os(e, ERR_UNREACHABLE, -fd, "cannot connect to QEMU's control socket");
    struct qmp *m = calloc(1, sizeof *m);
    if (!m) {
        close(fd);
        return err_oom(e);
    }
    m->fd = fd;
    m->in.max = LINE_MAX_BYTES;
    m->stop = stop;
    m->stop_arg = arg;
    json_t *greeting = NULL;
    int r = receive(m, deadline, &greeting, e);
    if (r == 0 && !json_object_get(greeting, "QMP"))
        r = broken(m, e, ERR_VM, "did not greet as QEMU does");
    json_decref(greeting);
    if (r == 0)
        r = qmp_call(m, "qmp_capabilities", NULL, left_ms(deadline), NULL, e);
    if (r == 0) {
        dismiss_jobs(m, deadline);
        if (m->broken)
            r = broken(m, e, ERR_TIMEOUT, "does not answer");
    }
    if (r < 0) {
        qmp_close(m);
        return r;
    }
    *ret = m;
    return 0;
}

void qmp_close(struct qmp *m)
{
    if (!m)
        return;
    close(m->fd);
    strbuf_free(&m->in);
    free(m);
}

bool qmp_broken(const struct qmp *m)
{
    return m->broken;
}

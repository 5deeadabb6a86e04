/* The notify protocol is the documented, stable one of sd_notify(3): one datagram of VARIABLE=value lines to $NOTIFY_SOCKET. */
#include "service/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

static int stop_pipe[2] = {-1, -1};
static volatile sig_atomic_t stop_flag;

static void on_signal(int sig)
{
    (void)sig;
    host_request_stop();
}

bool host_serve(int (*serve)(int argc, char **argv), int argc, char **argv, int *ret_status)
{
    (void)serve, (void)argc, (void)argv, (void)ret_status;
    return false;
}

bool host_is_service(void)
{
    return false;
}

void host_request_stop(void)
{
    int saved = errno;
    __atomic_store_n(&stop_flag, 1, __ATOMIC_SEQ_CST);
    /* the pipe never blocks: when it is full, somebody has asked before */
    if (write(stop_pipe[1], "s", 1) < 0) { }
    errno = saved;
}

/* As the systemd unit does by Group= and UMask=: images are whole servers, for nobody to read but us and the account of the VMs.
 * An account that does not exist is the driver's to complain of. */
static void share_with_group_of(const char *run_as)
{
    umask(077);
    char buf[16384];
    struct passwd pw, *found = NULL;
    if (geteuid() != 0 || !*run_as || getpwnam_r(run_as, &pw, buf, sizeof buf, &found) || !found || setegid(pw.pw_gid) < 0)
        return;
    umask(027);
}

int host_init(const char *run_as, struct err *e)
{
    share_with_group_of(run_as);
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_os(e, ERR_INTERNAL, errno, "cannot make a pipe");
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);               /* a limit of the size of files is an error of one write, not the end */
    return 0;
}

bool host_stop_requested(void)
{
    return __atomic_load_n(&stop_flag, __ATOMIC_SEQ_CST);
}

bool host_wait_stop(unsigned timeout_ms)
{
    struct pollfd p = {.fd = stop_pipe[0], .events = POLLIN};
    if (!host_stop_requested())
        poll(&p, 1, (int)timeout_ms);
    return host_stop_requested();
}

static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof a.sun_path)
        return;
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (a.sun_path[0] == '@')
        a.sun_path[0] = 0;                            /* the abstract name space */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] == '/'));
    if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a, len) < 0) { }   /* nobody listens: not our loss */
    close(fd);
}

static void notify_state(const char *state, const char *status)
{
    AUTO_FREE char *text = str_printf("%s\nSTATUS=%s", state, status);
    if (text)
        notify(text);
}

void host_ready(const char *status)
{
    notify_state("READY=1", status);
}

void host_stopping(const char *status)
{
    notify_state("STOPPING=1", status);
}

/* systemctl status shows why; that the daemon ended, systemd sees for itself */
void host_stopped(const struct err *why)
{
    AUTO_FREE char *text = why ? str_printf("STATUS=cannot run: %s", why->msg) : NULL;
    if (!text)
        return;
    for (char *p = text; *p; p++)
        if (*p == '\n')
            *p = ' ';
    notify(text);
}

void host_alive(void)
{
    notify("WATCHDOG=1");
}

unsigned host_watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    unsigned long long us, id;
    if (!usec || !str_to_u64(usec, 1000ull * 1000 * 86400, &us) || us < 10000)
        return 0;
    if (pid && (!str_to_u64(pid, 1ull << 31, &id) || id != (unsigned long long)getpid()))
        return 0;
    return (unsigned)(us / 1000 / 3);                 /* thrice as often as asked, so that one late call does no harm */
}

/* The serial console. The VM's worker serves a named pipe while the VM runs; what nobody reads is lost. So a thread waits for the pipe before
 * power-on, reads all that comes, over resets too, and puts it into the log. Typing goes through the same connection: the pipe has one client.
 *
 *   NONE --listen--> WAITING --pipe is there--> CONNECTED --pipe breaks--> WAITING --seen off, no pipe for OFF_MS--> NONE */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "hyperv/hyperv.h"
#include "hyperv/pipe.h"

#define EAGER_MS 60000                                 /* after listen: look for the pipe often */
#define LOOK_MS 20u
#define LOOK_LATER_MS 500u
#define OFF_MS 2000
#define READ_MS 50u                                    /* also how long its end is waited for */
#define WRITE_MS 200u
#define STALL_MS 5000                                  /* a guest that takes no byte for so long has no reader on its port */

struct hyperv_serial {
    char name[64];                                     /* of the pipe */
    char id[UUID_LEN];
    struct hyperv_log *log;
    pthread_mutex_t writing;                           /* one writer at a time */
    pthread_mutex_t io;                                /* the writer's use of pipe against its closing; after `writing` */
    struct pipe *pipe;                                 /* changed by the reader under io */
    pthread_mutex_t lock;                              /* the rest; for an instant */
    bool started, ended, quit, off;                    /* started: thread has to be joined; ended: it is on its way out */
    int64_t eager_until_ms, off_since_ms;
    pthread_t thread;
};

static void set_pipe(struct hyperv_serial *s, struct pipe *p)
{
    pthread_mutex_lock(&s->io);
    struct pipe *old = s->pipe;
    s->pipe = p;
    pipe_close(old);
    pthread_mutex_unlock(&s->io);
}

/* True: the thread ends. */
static bool done(struct hyperv_serial *s, unsigned *ret_pause)
{
    int64_t now = clock_mono_ms();
    pthread_mutex_lock(&s->lock);
    bool out = s->quit || (!s->pipe && s->off && now - s->off_since_ms > OFF_MS);
    s->ended = out;
    *ret_pause = now < s->eager_until_ms ? LOOK_MS : LOOK_LATER_MS;
    pthread_mutex_unlock(&s->lock);
    return out;
}

static void read_some(struct hyperv_serial *s)
{
    char buf[4096];
    size_t n = 0;
    struct err e;
    int r = pipe_read(s->pipe, buf, sizeof buf, READ_MS, &n, &e);
    if (r == 0 && n && hyperv_log_append(s->log, buf, n, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "what a serial console said is lost", &e);
    if (r < 0)
        set_pipe(s, NULL);
}

static void *reader(void *arg)
{
    struct hyperv_serial *s = arg;
    struct err ignored;
    unsigned pause;
    while (!done(s, &pause)) {
        struct pipe *p = NULL;
        if (s->pipe)
            read_some(s);
        else if (pipe_open(s->name, &p, &ignored) == 0)
            set_pipe(s, p);
        else
            clock_sleep_ms(pause);
    }
    set_pipe(s, NULL);
    return NULL;
}

int hyperv_serial_new(const char *id, const char *dir, struct hyperv_serial **ret, struct err *e)
{
    struct hyperv_serial *s = calloc(1, sizeof *s);
    AUTO_FREE char *log_dir = os_path_join(dir, "serial");
    if (!s || !log_dir) {
        free(s);
        return err_oom(e);
    }
    snprintf(s->name, sizeof s->name, PIPE_PREFIX "vmrecover-%s", id);
    snprintf(s->id, sizeof s->id, "%s", id);
    pthread_mutex_init(&s->writing, NULL);
    pthread_mutex_init(&s->io, NULL);
    pthread_mutex_init(&s->lock, NULL);
    int r = hyperv_log_open(log_dir, &s->log, e);
    if (r < 0)
        hyperv_serial_free(s);
    else
        *ret = s;
    return r;
}

void hyperv_serial_silence(struct hyperv_serial *s)
{
    pthread_mutex_lock(&s->lock);
    s->quit = true;
    bool started = s->started;
    s->started = false;
    pthread_mutex_unlock(&s->lock);
    if (started)
        pthread_join(s->thread, NULL);
    if (s->log)
        hyperv_log_let_go(s->log);
}

void hyperv_serial_free(struct hyperv_serial *s)
{
    if (!s)
        return;
    hyperv_serial_silence(s);
    hyperv_log_close(s->log);
    pthread_mutex_destroy(&s->writing);
    pthread_mutex_destroy(&s->io);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int hyperv_serial_listen(struct hyperv_serial *s, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&s->lock);
    bool eager = s->off || !s->started;                /* seen running again and again is no reason to hurry */
    s->off = false;
    if (eager)
        s->eager_until_ms = clock_mono_ms() + EAGER_MS;
    if (s->started && s->ended) {                      /* it holds no lock any more and takes only io */
        pthread_join(s->thread, NULL);
        s->started = false;
    }
    if (!s->started && !s->quit) {
        s->ended = false;
        int status = pthread_create(&s->thread, NULL, reader, s);
        s->started = status == 0;
        if (status)
            r = err_os(e, ERR_BUSY, status, "cannot start the thread that reads the serial console of the VM %s", s->id);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void hyperv_serial_off(struct hyperv_serial *s)
{
    pthread_mutex_lock(&s->lock);
    if (!s->off)
        s->off_since_ms = clock_mono_ms();
    s->off = true;
    pthread_mutex_unlock(&s->lock);
}

int hyperv_serial_plug(struct hyperv *h, const struct hyperv_machine *m, const char *id, const struct wmi_wait *w, struct err *e)
{
    struct wmi_rows rows = {0};
    struct wmi_object *port = NULL;
    AUTO_FREE char *name = str_printf(PIPE_PREFIX "vmrecover-%s", id), *what = str_printf("cannot connect the serial port of the VM %s", id);
    if (!name || !what)
        return err_oom(e);
    int r = hyperv_resources(h, m, "Msvm_SerialPortSettingData", w, &rows, e);
    for (size_t i = 0; i < rows.n && !port; i++) {     /* COM1: InstanceID ends in its number from 0 on */
        AUTO_FREE char *instance = wmi_str(rows.at[i], "InstanceID");
        if (instance && str_ends(instance, "\\0"))
            port = rows.at[i];
    }
    for (size_t i = 0; i < rows.n && !port; i++) {     /* or its name in the number from 1 on */
        AUTO_FREE char *element = wmi_str(rows.at[i], "ElementName");
        if (element && str_ends(element, "1"))
            port = rows.at[i];
    }
    const char *list[] = {name};
    if (r == 0 && !port)
        r = err_set(e, ERR_VM, "the VM %s has no serial port", id);
    if (r == 0)
        r = wmi_put_strs(port, "Connection", list, 1, e);
    if (r == 0)
        r = hyperv_modify(h, port, what, w, e);
    wmi_rows_clear(&rows);
    return r;
}

/* ---- slots ---- */

int hyperv_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e)
{
    struct hyperv_vm *vm = hyperv_vm_ref((struct hyperv *)hv, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    int r = hyperv_log_read(vm->serial->log, offset, buf, n, ret_n, ret_size, e);
    hyperv_vm_unref(vm);
    return hyperv_answer(r, e);
}

/* One piece to the guest; *ret_n may be 0. */
static int write_some(struct hyperv_serial *s, const char *buf, size_t n, size_t *ret_n, struct err *e)
{
    *ret_n = 0;
    pthread_mutex_lock(&s->io);
    bool connected = s->pipe != NULL;
    int r = connected ? pipe_write(s->pipe, buf, n, WRITE_MS, ret_n, e) : 0;
    pthread_mutex_unlock(&s->io);
    if (!connected)
        clock_sleep_ms(LOOK_MS);
    if (r == -ERR_EMPTY)                               /* a reset, or the end: the reader sees to a new connection */
        r = 0;
    return r;
}

static int write_all(struct hyperv_serial *s, const char *buf, size_t n, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&s->writing);
    int64_t deadline = clock_mono_ms() + STALL_MS;
    while (r == 0 && n) {
        size_t part = 0;
        r = write_some(s, buf, n, &part, e);
        buf += part;
        n -= part;
        if (part)
            deadline = clock_mono_ms() + STALL_MS;
        if (r == 0 && n && clock_mono_ms() > deadline) {
            err_set(e, ERR_TIMEOUT, "the guest reads nothing from its serial port");
            r = err_hint(e, "The guest needs a console on its first serial port (Linux: console=ttyS0); the screen and keyboard may work.");
        }
    }
    pthread_mutex_unlock(&s->writing);
    return r;
}

int hyperv_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm = hyperv_vm_ref(h, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    struct hyperv_state st = {0};
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    char guid[UUID_LEN];
    hyperv_guid_of(vm, guid);
    int r = hyperv_state_read(h, guid, &w, &st, e);
    if (r == 0 && st.state != HV_RUNNING) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is %s; it must run to take input on its serial console", id, hv_state_name(st.state));
        r = err_hint(e, "Start it first.");
    }
    if (r == 0)
        r = hyperv_serial_listen(vm->serial, e);
    if (r == 0)
        r = write_all(vm->serial, buf, n, e);
    hyperv_vm_unref(vm);
    return hyperv_answer(r, e);
}

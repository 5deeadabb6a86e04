/* One VM: what it is now, and how it is started and ended.
 *
 *   OFF --launch, cont--> RUNNING --a host error on a disk--> PAUSED --start (cont)--> RUNNING
 *    ^                       |  \--guest powers off, stop--> OFF
 *    |                       \--QEMU crashes or is killed--> FAILED --start or stop--> RUNNING or OFF
 * Nothing of this is remembered: the process, its pid file and QEMU's own answer say which it is (qemu_vm_refresh), so a daemon that
 * was started anew sees the same. state and detail are the last such finding, for readers that cannot wait for op. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "hyperv/qemu.h"

#define LAUNCH_MS 60000                                /* from exec to the greeting on the control socket */
#define QUIT_MS 5000                                   /* for an orderly end, before SIGKILL */
#define LOG_TAIL 4096
#define SILENT_MS 15000                                /* how long a QEMU that did not answer is left alone */

struct qemu_vm *qemu_vm_ref(struct qemu *q, const char *id)
{
    struct qemu_vm *vm = NULL;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->n_vms && !vm; i++)
        if (!strcasecmp(q->vms[i]->id, id)) {
            vm = q->vms[i];
            vm->refs++;
        }
    pthread_mutex_unlock(&q->lock);
    return vm;
}

void qemu_vm_unref(struct qemu_vm *vm)
{
    if (!vm)
        return;
    pthread_mutex_lock(&vm->q->lock);
    bool last = --vm->refs == 0;
    pthread_mutex_unlock(&vm->q->lock);
    if (!last)
        return;
    qmp_close(vm->qmp);
    if (vm->dirfd >= 0)
        close(vm->dirfd);
    qemu_def_clear(&vm->def);
    pthread_mutex_destroy(&vm->op);
    pthread_mutex_destroy(&vm->serial);
    pthread_mutex_destroy(&vm->lock);
    free(vm->dir);
    free(vm);
}

static int gone(const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", id);
}

static int begin(struct qemu *q, const char *id, bool interrupt, struct qemu_vm **ret, struct err *e)
{
    struct qemu_vm *vm = qemu_vm_ref(q, id);
    if (!vm)
        return gone(id, e);
    if (interrupt)
        __atomic_store_n(&vm->interrupted, true, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&vm->op);
    if (interrupt)
        __atomic_store_n(&vm->interrupted, false, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&vm->lock);
    bool deleted = vm->gone;
    pthread_mutex_unlock(&vm->lock);
    if (deleted) {
        qemu_op_end(vm);
        return gone(id, e);
    }
    *ret = vm;
    return 0;
}

int qemu_op_begin(struct qemu *q, const char *id, struct qemu_vm **ret, struct err *e)
{
    return begin(q, id, false, ret, e);
}

int qemu_op_begin_end(struct qemu *q, const char *id, struct qemu_vm **ret, struct err *e)
{
    return begin(q, id, true, ret, e);
}

bool qemu_vm_given_up(void *arg)
{
    const struct qemu_vm *vm = arg;
    return __atomic_load_n(&vm->interrupted, __ATOMIC_SEQ_CST) || (vm->q->stop && vm->q->stop(vm->q->stop_arg));
}

int qemu_vm_connect(struct qemu_vm *vm, unsigned timeout_ms, struct err *e)
{
    return qmp_open(vm->dirfd, timeout_ms, qemu_vm_given_up, vm, &vm->qmp, e);
}

void qemu_op_end(struct qemu_vm *vm)
{
    pthread_mutex_unlock(&vm->op);
    qemu_vm_unref(vm);
}

void qemu_vm_set_state(struct qemu_vm *vm, enum hv_state state, const char *detail)
{
    pthread_mutex_lock(&vm->lock);
    vm->state = state;
    snprintf(vm->detail, sizeof vm->detail, "%s", detail);
    pthread_mutex_unlock(&vm->lock);
}

int qemu_vm_commit(struct qemu_vm *vm, struct qemu_def *d, struct err *e)
{
    int r = qemu_def_save(vm->dir, d, e);
    if (r < 0) {
        qemu_def_clear(d);
        return r;
    }
    struct qemu_def old = vm->def;
    pthread_mutex_lock(&vm->lock);
    vm->def = *d;
    pthread_mutex_unlock(&vm->lock);
    memset(d, 0, sizeof *d);
    qemu_def_clear(&old);
    return 0;
}

struct qemu_home qemu_vm_home(const struct qemu_vm *vm)
{
    return (struct qemu_home){.id = vm->id, .dir = vm->dir, .dirfd = vm->dirfd, .uid = vm->q->as_other ? vm->q->uid : geteuid()};
}

/* Nobody answered within patience_ms: who has no more patience than that need not try again soon. */
static void mark_silent(struct qemu_vm *vm, unsigned patience_ms)
{
    vm->glance_until_ms = clock_mono_ms() + SILENT_MS;
    if (patience_ms >= QMP_TIMEOUT_MS)
        vm->silent_until_ms = vm->glance_until_ms;
}

static int call_within(struct qemu_vm *vm, const char *command, json_t *args, unsigned timeout_ms, json_t **ret, struct err *e)
{
    if (!vm->qmp) {
        json_decref(args);
        return err_set(e, ERR_VM, "QEMU's control socket cannot be reached");
    }
    int r = qmp_call(vm->qmp, command, args, timeout_ms, ret, e);
    if (qmp_broken(vm->qmp)) {
        qmp_close(vm->qmp);
        vm->qmp = NULL;
        if (e->code == ERR_TIMEOUT)
            mark_silent(vm, timeout_ms);
    }
    return r;
}

int qemu_vm_call(struct qemu_vm *vm, const char *command, json_t *args, json_t **ret, struct err *e)
{
    return call_within(vm, command, args, QMP_TIMEOUT_MS, ret, e);
}

/* The last line of qemu.log, without its time stamp: QEMU's dying words. */
static void last_words(int dirfd, char *ret, size_t size)
{
    char tail[LOG_TAIL + 1];
    size_t n = 0;
    uint64_t total = 0;
    struct err ignored;
    ret[0] = 0;
    if (qemu_read_at(dirfd, "qemu.log", 0, tail, 1, &n, &total, &ignored) < 0 ||
        qemu_read_at(dirfd, "qemu.log", total > LOG_TAIL ? total - LOG_TAIL : 0, tail, LOG_TAIL, &n, &total, &ignored) < 0)
        return;
    tail[n] = 0;
    char *save, *last = NULL;
    for (char *line = strtok_r(tail, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
        last = line;
    if (!last)
        return;
    char *text = strstr(last, "qemu-system");
    snprintf(ret, size, "%s", text ? text : last);
    for (char *p = ret; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F)
            *p = '?';
}

/* Why QEMU stopped the guest: the disk whose last request failed says so. */
static void pause_reason(struct qemu_vm *vm, char *ret, size_t size)
{
    json_t *blocks = NULL, *b;
    struct err ignored;
    size_t i;
    snprintf(ret, size, "a disk of the virtual machine failed on the host");
    if (qemu_vm_call(vm, "query-block", NULL, &blocks, &ignored) < 0)
        return;
    json_array_foreach(blocks, i, b) {
        const char *status = json_string_value(json_object_get(b, "io-status")), *dev = json_string_value(json_object_get(b, "qdev"));
        if (status && !strcmp(status, "nospace"))
            snprintf(ret, size, "the host's disk is full: free space, then start the virtual machine to go on");
        else if (status && !strcmp(status, "failed"))
            snprintf(ret, size, "the host could not read or write the file behind %.40s", dev ? dev : "a disk");
    }
    json_decref(blocks);
}

static const char no_answer[] = "QEMU does not answer on its control socket";

/* What query-status says, as ours. */
static void read_status(struct qemu_vm *vm, unsigned patience_ms)
{
    static const struct {
        const char *status;
        enum hv_state state;
        const char *detail;
    } map[] = {
        {"running", HV_RUNNING, ""},
        {"save-vm", HV_RUNNING, "a checkpoint is being made"},
        {"restore-vm", HV_PAUSED, "a checkpoint is being restored"},
        {"prelaunch", HV_PAUSED, "its start was interrupted; start it again"},
        {"paused", HV_PAUSED, "paused; start it to go on"},
        {"suspended", HV_PAUSED, "the guest sleeps"},
        {"internal-error", HV_FAILED, "the processor of the virtual machine got into a state that cannot be run; reset it or start it again"},
        {"guest-panicked", HV_FAILED, "the guest's kernel panicked"},
    };
    json_t *answer = NULL;
    struct err e;
    if (call_within(vm, "query-status", NULL, patience_ms, &answer, &e) < 0) {
        qemu_vm_set_state(vm, HV_RUNNING, no_answer);
        return;
    }
    const char *status = json_string_value(json_object_get(answer, "status"));
    char reason[sizeof vm->detail];
    snprintf(reason, sizeof reason, "QEMU calls it '%.40s'", status ? status : "");
    enum hv_state state = HV_PAUSED;
    for (size_t i = 0; status && i < ARRAY_LEN(map); i++)
        if (!strcmp(status, map[i].status)) {
            state = map[i].state;
            snprintf(reason, sizeof reason, "%s", map[i].detail);
        }
    if (status && !strcmp(status, "io-error"))
        pause_reason(vm, reason, sizeof reason);
    qemu_vm_set_state(vm, state, reason);
    json_decref(answer);
}

/* No process: it ended by itself in order, it was killed, or the host went down. */
static void read_end(struct qemu_vm *vm)
{
    qmp_close(vm->qmp);
    vm->qmp = NULL;
    vm->silent_until_ms = vm->glance_until_ms = 0;
    if (!qemu_process_left_pidfile(vm->dirfd)) {
        if (vm->state != HV_FAILED)                    /* a failed start stays visible */
            qemu_vm_set_state(vm, HV_OFF, "");
        return;
    }
    char boot[UUID_LEN], detail[sizeof vm->detail], words[sizeof vm->detail];
    qemu_process_boot_id(boot);
    last_words(vm->dirfd, words, sizeof words);
    if (strcmp(boot, vm->def.boot_id))
        qemu_vm_set_state(vm, HV_OFF, "the host was restarted while it ran");
    else {
        snprintf(detail, sizeof detail, "QEMU was killed or crashed%s%.90s", words[0] ? ": " : "", words);
        qemu_vm_set_state(vm, HV_FAILED, detail);
    }
}

static void learn(struct qemu_vm *vm, unsigned patience_ms)
{
    struct qemu_home home = qemu_vm_home(vm);
    struct qemu_process p;
    struct err e = {0};
    int64_t until = patience_ms < QMP_TIMEOUT_MS ? vm->glance_until_ms : vm->silent_until_ms;
    if (!qemu_process_find(&home, false, &p)) {
        read_end(vm);
        return;
    }
    if (!vm->qmp && (!patience_ms || clock_mono_ms() < until)) {
        qemu_vm_set_state(vm, HV_RUNNING, until ? no_answer : "it was not asked yet");
    } else if (!vm->qmp && qemu_vm_connect(vm, patience_ms, &e) < 0) {
        if (qemu_process_wait(&p, 200)) {              /* it was ending just then */
            read_end(vm);
        } else {
            if (e.code == ERR_TIMEOUT)                 /* else nobody listens: it is just starting, or ending */
                mark_silent(vm, patience_ms);
            qemu_vm_set_state(vm, HV_RUNNING, no_answer);
        }
    } else if (patience_ms) {
        vm->silent_until_ms = vm->glance_until_ms = 0;
        read_status(vm, patience_ms);
        if (!vm->qmp && qemu_process_wait(&p, 200))
            read_end(vm);
    }
    qemu_process_close(&p);
}

void qemu_vm_refresh(struct qemu_vm *vm)
{
    learn(vm, QMP_TIMEOUT_MS);
}

void qemu_vm_glance(struct qemu_vm *vm, unsigned patience_ms)
{
    learn(vm, patience_ms < QMP_TIMEOUT_MS ? patience_ms : QMP_TIMEOUT_MS - 1);
}

int qemu_vm_need_off(struct qemu_vm *vm, const char *what, struct err *e)
{
    if (vm->exporting) {
        err_set(e, ERR_WRONG_STATE, "a disk of the VM %s is being exported", vm->id);
        return err_hint(e, "Wait for the export's end, or cancel it.");
    }
    qemu_vm_refresh(vm);
    struct qemu_home home = qemu_vm_home(vm);
    struct qemu_process p;
    bool alive = qemu_process_find(&home, false, &p);
    if (!alive)
        return 0;
    qemu_process_close(&p);
    err_set(e, ERR_WRONG_STATE, "the VM %s is %s; it must be off to %s", vm->id, hv_state_name(vm->state), what);
    return err_hint(e, "Shut it down or stop it first.");
}

int qemu_vm_need_on(struct qemu_vm *vm, const char *what, struct err *e)
{
    qemu_vm_refresh(vm);
    if (vm->qmp)
        return 0;
    if (vm->state == HV_RUNNING) {
        err_set(e, ERR_TIMEOUT, "QEMU of the VM %s does not answer", vm->id);
        return err_hint(e, "Stop the virtual machine and start it again.");
    }
    err_set(e, ERR_WRONG_STATE, "the VM %s is %s; it must run to %s", vm->id, hv_state_name(vm->state), what);
    return err_hint(e, "Start it first.");
}

/* QEMU is up once its control socket greets; when it ends before, its log says why. */
static int wait_for_qemu(struct qemu_vm *vm, int64_t pid, struct err *e)
{
    int64_t deadline = clock_mono_ms() + LAUNCH_MS;
    for (unsigned pause = 10; clock_mono_ms() < deadline; pause = pause < 100 ? pause * 2 : pause) {
        if (qemu_vm_connect(vm, LAUNCH_MS / 2, e) == 0)
            return 0;
        if (!qemu_process_exists(pid)) {
            char words[200];
            last_words(vm->dirfd, words, sizeof words);
            enum err_code code = strstr(words, "No space left on device") ? ERR_DISK_FULL
                                 : strstr(words, "Permission denied")     ? ERR_PERMISSION
                                                                          : ERR_VM;
            err_set(e, code, "QEMU did not start: %s", words[0] ? words : "it said nothing");
            snprintf(e->upstream.service, sizeof e->upstream.service, "qemu");
            if (code == ERR_PERMISSION)
                err_hint(e, "Let the account under which virtual machines run read the named file and search the folders above it.");
            else if (code == ERR_VM)
                err_hint(e, "%s/qemu.log has all that it said.", vm->dir);
            return -(int)code;
        }
        if (qemu_vm_given_up(vm))
            return err_set(e, ERR_CANCELLED, "the start was given up: the VM was stopped, or the daemon stops");
        clock_sleep_ms(pause);
    }
    return err_set(e, ERR_TIMEOUT, "QEMU did not open its control socket within %d s", LAUNCH_MS / 1000);
}

/* The greeting must come from the process that we started, else another's socket lay in the folder. */
static int spawn(struct qemu_vm *vm, struct err *e)
{
    bool kvm = false;
    int r = qemu_probe_program(vm->q, e);
    if (r == 0)
        r = qemu_probe_accel(vm->q, &kvm, e);
    for (unsigned slot = 0; r == 0 && slot < vm->def.spec.n_disks; slot++)
        if (vm->def.spec.disks[slot].path)
            r = qemu_disk_check(&vm->def.spec.disks[slot], e);
    if (r < 0)
        return r;
    bool scope = qemu_probe_scope(vm->q);
    char **argv = NULL;
    r = qemu_args(vm, kvm, scope, &argv, e);
    if (r < 0)
        return r;
    AUTO_FREE char *log = os_path_join(vm->dir, "qemu.log");
    struct os_exec x = {.argv = (const char *const *)argv, .cwd = vm->dir, .log_path = log,
                        .run_as = vm->q->as_other && !scope ? vm->q->run_as : NULL};    /* in a scope systemd-run changes the account */
    int64_t pid = 0;
    r = log ? os_spawn(&x, &pid, e) : err_oom(e);
    qemu_args_free(argv);
    return r < 0 ? r : wait_for_qemu(vm, pid, e);
}

void qemu_vm_await_launch(struct qemu_vm *vm)
{
    int64_t deadline = clock_mono_ms() + LAUNCH_MS;
    while (vm->state == HV_RUNNING && !vm->qmp && !vm->silent_until_ms && clock_mono_ms() < deadline && !qemu_vm_given_up(vm)) {
        clock_sleep_ms(50);
        qemu_vm_refresh(vm);
    }
}

int qemu_vm_launch(struct qemu_vm *vm, struct err *e)
{
    struct qemu_home home = qemu_vm_home(vm);
    struct qemu_process p;
    if (qemu_process_find(&home, true, &p)) {               /* a start that was cut off before anything was written down */
        int r = qemu_process_kill(&p, e);
        qemu_process_close(&p);
        if (r < 0)
            return r;
    }
    qemu_process_forget(vm->dirfd);
    struct qemu_def d;
    int r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    d.started_at_ms = clock_now_ms();
    qemu_process_boot_id(d.boot_id);
    r = qemu_vm_commit(vm, &d, e);
    if (r == 0)
        r = spawn(vm, e);
    if (r < 0) {
        struct err ignored;
        if (qemu_process_find(&home, true, &p)) {
            qemu_process_kill(&p, &ignored);
            qemu_process_close(&p);
        }
        qemu_process_forget(vm->dirfd);
        char detail[sizeof vm->detail];
        snprintf(detail, sizeof detail, "%.120s", e->msg);
        qemu_vm_set_state(vm, HV_FAILED, detail);
    }
    return r;
}

int qemu_vm_power_off(struct qemu_vm *vm, struct err *e)
{
    struct qemu_home home = qemu_vm_home(vm);
    struct qemu_process p;
    if (qemu_process_find(&home, true, &p)) {
        struct err ignored;
        int r = 0;
        if (!p.sure) {                                 /* not to be touched; says why */
            r = qemu_process_kill(&p, e);
            qemu_process_close(&p);
            return r;
        }
        if (!vm->qmp && clock_mono_ms() >= vm->silent_until_ms)         /* a short try: who does not greet is killed */
            qemu_vm_connect(vm, QUIT_MS, &ignored);
        /* lets QEMU close its images in order; it may go before it has answered */
        bool asked = vm->qmp && (qmp_call(vm->qmp, "quit", NULL, QUIT_MS, NULL, &ignored) == 0 || ignored.code != ERR_TIMEOUT);
        if (!asked || !qemu_process_wait(&p, QUIT_MS))
            r = qemu_process_kill(&p, e);
        qemu_process_close(&p);
        if (r < 0)
            return r;
    }
    qmp_close(vm->qmp);
    vm->qmp = NULL;
    vm->silent_until_ms = vm->glance_until_ms = 0;
    qemu_process_forget(vm->dirfd);
    qemu_vm_set_state(vm, HV_OFF, "");
    return 0;
}

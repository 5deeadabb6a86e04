/* QEMU as a hypervisor: the table of VMs and the operations on whole VMs. The design is in qemu.h. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "hyperv/qemu.h"
#include "hyperv/vmspec.h"

#define VMS_MAX 1000
#define GLANCE_MS 2000                                 /* for a QEMU that is only to be shown */
#define GLANCES_MS 4000                                /* for all of a list that do not answer */
#define ADOPT_MS 10000                                 /* the same at the daemon's start */

static struct qemu *self(struct hv *hv)
{
    return (struct qemu *)hv;
}

/* ---- the table ---- */

/* Takes over *def. */
static int add_vm(struct qemu *q, const char *id, const char *dir, struct qemu_def *def, struct err *e)
{
    struct qemu_vm *vm = calloc(1, sizeof *vm);
    char *dir_copy = str_dup(dir);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (!vm || !dir_copy || fd < 0) {
        int r = fd < 0 ? err_os(e, ERR_IO, errno, "cannot open the folder %s", dir) : err_oom(e);
        if (fd >= 0)
            close(fd);
        free(vm);
        free(dir_copy);
        return r;
    }
    vm->q = q;
    vm->refs = 1;                                      /* the table's */
    vm->dir = dir_copy;
    vm->dirfd = fd;
    vm->state = HV_OFF;
    snprintf(vm->id, sizeof vm->id, "%s", id);
    pthread_mutex_init(&vm->op, NULL);
    pthread_mutex_init(&vm->serial, NULL);
    pthread_mutex_init(&vm->lock, NULL);
    pthread_mutex_lock(&q->lock);
    struct qemu_vm **grown = q->n_vms < VMS_MAX ? realloc(q->vms, (q->n_vms + 1) * sizeof(struct qemu_vm *)) : NULL;
    bool full = q->n_vms >= VMS_MAX;
    if (grown) {
        q->vms = grown;
        q->vms[q->n_vms++] = vm;
        vm->def = *def;
        memset(def, 0, sizeof *def);
    }
    pthread_mutex_unlock(&q->lock);
    if (grown)
        return 0;
    qemu_vm_unref(vm);
    return full ? err_set(e, ERR_BUSY, "there are %d virtual machines already, the most that are kept", VMS_MAX) : err_oom(e);
}

static void remove_vm(struct qemu *q, struct qemu_vm *vm)
{
    pthread_mutex_lock(&q->lock);
    size_t kept = 0;
    for (size_t i = 0; i < q->n_vms; i++)
        if (q->vms[i] != vm)
            q->vms[kept++] = q->vms[i];
    bool was_in = kept < q->n_vms;
    q->n_vms = kept;
    pthread_mutex_unlock(&q->lock);
    if (was_in)
        qemu_vm_unref(vm);
}

/* ---- claims ---- */

static void claim(struct qemu *q, struct qemu_claim *c, const char *id)
{
    c->id = id;
    pthread_mutex_lock(&q->lock);
    for (struct qemu_claim *other = q->claims; other;) {
        if (strcasecmp(other->id, id)) {
            other = other->next;
        } else {
            pthread_cond_wait(&q->claims_changed, &q->lock);
            other = q->claims;
        }
    }
    c->next = q->claims;
    q->claims = c;
    pthread_mutex_unlock(&q->lock);
}

static void unclaim(struct qemu *q, struct qemu_claim *c)
{
    pthread_mutex_lock(&q->lock);
    for (struct qemu_claim **p = &q->claims; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    pthread_cond_broadcast(&q->claims_changed);
    pthread_mutex_unlock(&q->lock);
}

/* ---- open and close ---- */

static int find_account(struct qemu *q, struct err *e)
{
    char buf[16384];
    struct passwd pw, *found = NULL;
    if (!q->run_as)
        return 0;
    if (getpwnam_r(q->run_as, &pw, buf, sizeof buf, &found) || !found) {
        err_set(e, ERR_CONFIG, "there is no account %s on this host for the virtual machines", q->run_as);
        return err_hint(e, "Make the account, or set [hypervisor] run_as to one that exists (empty: the daemon's own).");
    }
    q->uid = pw.pw_uid;
    q->gid = pw.pw_gid;
    q->as_other = geteuid() == 0 && pw.pw_uid != 0;
    return 0;
}

/* qemu-img lies beside an emulator that was named with its path, else in PATH. */
static char *beside(const char *program)
{
    const char *slash = strrchr(program, '/');
    AUTO_FREE char *path = slash ? str_printf("%.*s/qemu-img", (int)(slash - program), program) : NULL;
    return path && access(path, X_OK) == 0 ? STEAL(path) : str_dup("qemu-img");
}

struct adoption { struct qemu *q; int64_t until_ms; };

static unsigned glance_ms(int64_t until_ms)
{
    int64_t left = until_ms - clock_mono_ms();
    return left <= 0 ? 0 : left < GLANCE_MS ? (unsigned)left : GLANCE_MS;
}

static int adopt(void *arg, const char *name)
{
    struct adoption *a = arg;
    struct qemu *q = a->q;
    struct err e;
    if (str_starts(name, ".probe-")) {                 /* of a daemon that died while it probed */
        AUTO_FREE char *left = os_path_join(q->vms_dir, name);
        if (left)
            os_remove(left, &e);
        return 0;
    }
    AUTO_FREE char *dir = crypto_is_uuid(name) ? os_path_join(q->vms_dir, name) : NULL;
    if (!dir)
        return 0;
    struct qemu_def d = {0};
    os_remove_unfinished(dir, &e);                     /* vm.json on its way, when the last daemon was killed */
    int r = qemu_def_load(dir, &d, &e);
    if (r == -ERR_NOT_FOUND)                           /* half made: vm_create makes it anew, vm_delete removes it */
        return 0;
    if (r == 0)
        r = add_vm(q, name, dir, &d, &e);
    if (r < 0) {                                       /* one damaged VM must not keep the others from their users */
        log_err(LOG_LEVEL_ERROR, "a virtual machine is left out", &e);
        qemu_def_clear(&d);
        return 0;
    }
    struct qemu_vm *vm = NULL;
    if (qemu_op_begin(q, name, &vm, &e) < 0)
        return 0;
    qemu_vm_glance(vm, glance_ms(a->until_ms));
    json_t *status = NULL;
    /* We only ever pause a guest for the milliseconds in which its screen is read: a plain pause was left by a daemon that died then. */
    if (vm->qmp && qemu_vm_call(vm, "query-status", NULL, &status, &e) == 0) {
        const char *word = json_string_value(json_object_get(status, "status"));
        if (word && !strcmp(word, "paused") && qemu_vm_call(vm, "cont", NULL, NULL, &e) == 0)
            qemu_vm_glance(vm, GLANCE_MS);
    }
    json_decref(status);
    log_info("virtual machine found", KS("vm", vm->id), KS("state", hv_state_name(vm->state)));
    qemu_op_end(vm);
    return 0;
}

static void drv_close(struct hv *hv)
{
    struct qemu *q = self(hv);
    while (q->n_vms) {                                 /* no other thread is in a call any more */
        struct qemu_vm *vm = q->vms[--q->n_vms];
        qemu_vm_unref(vm);
    }
    free(q->vms);
    free(q->vms_dir);
    free(q->run_as);
    free(q->accel);
    free(q->program);
    free(q->img_program);
    free(q->scope);
    pthread_mutex_destroy(&q->probe.lock);
    pthread_cond_destroy(&q->claims_changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* The VM account reaches its folders and the images through the data folder: it may search it, not list it. Rights set by hand stay. */
static int let_through(const struct qemu *q, const char *dir, struct err *e)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return err_os(e, ERR_IO, errno, "cannot look at %s", dir);
    if (st.st_uid != geteuid() || (st.st_mode & 0777) != 0700)
        return 0;
    if (lchown(dir, (uid_t)-1, q->gid) < 0 || chmod(dir, 0710) < 0)
        return err_os(e, ERR_IO, errno, "cannot let the account %s through %s", q->run_as, dir);
    return 0;
}

/* QEMU itself need not be there yet: the report says what is missing, and it may be installed while we run. */
static int drv_open(const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    struct qemu *q = calloc(1, sizeof *q);
    if (!q)
        return err_oom(e);
    q->hv.ops = &hv_qemu;
    pthread_mutex_init(&q->probe.lock, NULL);
    pthread_cond_init(&q->claims_changed, NULL);
    q->stop = cfg->stop;
    q->stop_arg = cfg->stop_arg;
    pthread_mutex_init(&q->lock, NULL);
    const char *program = cfg->program && *cfg->program ? cfg->program : "qemu-system-x86_64";
    q->vms_dir = os_path_join(cfg->data_dir, "vms");
    q->run_as = cfg->run_as && *cfg->run_as ? str_dup(cfg->run_as) : NULL;
    q->accel = str_dup(cfg->accel && *cfg->accel ? cfg->accel : "auto");
    q->scope = str_dup(cfg->scope && *cfg->scope ? cfg->scope : "auto");
    q->program = str_dup(program);
    q->img_program = beside(program);
    int r = 0;
    if (!q->vms_dir || !q->accel || !q->scope || !q->program || !q->img_program || (cfg->run_as && *cfg->run_as && !q->run_as))
        r = err_oom(e);
    else if (strcmp(q->accel, "auto") && strcmp(q->accel, "kvm") && strcmp(q->accel, "tcg"))
        r = err_set(e, ERR_CONFIG, "the accelerator '%s' is not known: auto, kvm or tcg", q->accel);
    else if (strcmp(q->scope, "auto") && strcmp(q->scope, "none"))
        r = err_set(e, ERR_CONFIG, "the scope '%s' is not known: auto or none", q->scope);
    if (r == 0)
        r = find_account(q, e);
    if (r == 0)
        r = os_mkdirs(q->vms_dir, OS_PRIVATE, e);
    if (r == 0 && q->as_other)
        r = let_through(q, cfg->data_dir, e);
    if (r == 0 && q->as_other && chmod(q->vms_dir, 0711) < 0)           /* the VM account must reach its folders, not list them */
        r = err_os(e, ERR_IO, errno, "cannot set the rights of %s", q->vms_dir);
    if (r == 0)
        r = os_list_dir(q->vms_dir, adopt, &(struct adoption){q, clock_mono_ms() + ADOPT_MS}, e);
    if (r < 0)
        drv_close(&q->hv);
    else
        *ret = &q->hv;
    return r;
}

static unsigned drv_capabilities(struct hv *hv)
{
    return qemu_probe_capabilities(self(hv));
}

/* A sparse fixed VHD costs no more than what it holds, and QEMU reads it as plainly as raw. */
static enum hv_format drv_preferred_format(struct hv *hv, unsigned generation)
{
    (void)hv;
    (void)generation;
    return HV_VHD;
}

static size_t drv_report(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role)
{
    (void)ret_role;                                    /* a program, no role */
    return qemu_probe_report(self(hv), rows, max);
}

/* ---- create and delete ---- */

static int end_process_in(struct qemu *q, const char *id, const char *dir, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct qemu_home home = {.id = id, .dir = dir, .dirfd = fd, .uid = q->as_other ? q->uid : geteuid()};
    struct qemu_process p;
    int r = 0;
    if (qemu_process_find(&home, true, &p)) {
        r = qemu_process_kill(&p, e);
        qemu_process_close(&p);
    }
    if (fd >= 0)
        close(fd);
    return r;
}

/* Without vm.json there was never a VM in the folder, only a start of one. With one that is not in the table it cannot be read, and what was
 * repaired in it is worth more than a new VM. */
static int make_folder(struct qemu *q, const char *id, const char *dir, struct err *e)
{
    struct qemu_def d = {0};
    int r = qemu_def_load(dir, &d, e);
    if (r != -ERR_NOT_FOUND) {
        qemu_def_clear(&d);
        if (r == 0)
            err_set(e, ERR_VM, "the folder %s holds a VM that could not be taken over when the daemon started", dir);
        return err_hint(e, "Save what you need of the folder %s, then delete the job and submit it again.", dir);
    }
    if ((r = end_process_in(q, id, dir, e)) == 0)
        r = os_remove_tree(dir, e);
    if (r == 0)
        r = os_mkdirs(dir, OS_PRIVATE, e);
    if (r == 0 && q->as_other && (lchown(dir, (uid_t)-1, q->gid) < 0 || chmod(dir, 01770) < 0))
        r = err_os(e, ERR_IO, errno, "cannot set the rights of %s", dir);
    return r;
}

static int make_vm(struct qemu *q, const struct hv_vm_spec *s, const char *dir, struct err *e)
{
    struct qemu_def d = {0};
    struct os_stat st;
    int r = qemu_probe_program(q, e);
    for (unsigned i = 0; r == 0 && i < s->n_disks; i++)
        if (s->disks[i].path)
            r = qemu_disk_check(&s->disks[i], e);
    if (r == 0 && s->dvd && (r = os_stat(s->dvd, &st, e)) == 0 && !st.is_file)
        r = err_set(e, ERR_NOT_FOUND, "the DVD image %s does not exist", s->dvd);
    if (r == 0)
        r = make_folder(q, s->id, dir, e);
    if (r < 0)
        return r;
    for (unsigned i = 0; r == 0 && i < s->n_disks; i++)
        if (s->disks[i].path && s->disks[i].overlay)
            r = qemu_disk_make_overlay(q, dir, &s->disks[i], i, e);
    if (r == 0 && s->generation == 2)
        r = qemu_disk_make_vars(q, dir, e);
    if (r == 0)
        r = hv_vm_spec_copy(s, &d.spec, e);
    if (r == 0 && !(d.created = vmspec_json(s)))
        r = err_oom(e);
    if (r == 0) {
        snprintf(d.machine, sizeof d.machine, "%s", q->probe.machine);
        r = qemu_def_save(dir, &d, e);                 /* from here on it is a VM */
    }
    if (r == 0)
        r = add_vm(q, s->id, dir, &d, e);
    qemu_def_clear(&d);
    struct err ignored;
    if (r < 0)
        os_remove_tree(dir, &ignored);
    return r;
}

/* There already: the same wish is granted, another one is refused. */
static int same_vm(struct qemu_vm *vm, const struct hv_vm_spec *s, struct err *e)
{
    json_t *wish = vmspec_json(s);
    if (!wish)
        return err_oom(e);
    pthread_mutex_lock(&vm->lock);
    bool same = json_equal(wish, vm->def.created);
    pthread_mutex_unlock(&vm->lock);
    json_decref(wish);
    if (same)
        return 0;
    err_set(e, ERR_WRONG_STATE, "there is a VM %s already, with another definition", s->id);
    return err_hint(e, "Delete it first, or use another id.");
}

static int drv_vm_create(struct hv *hv, const struct hv_vm_spec *s, struct err *e)
{
    struct qemu *q = self(hv);
    AUTO_FREE char *dir = os_path_join(q->vms_dir, s->id);
    if (!dir)
        return err_oom(e);
    if (str_starts(s->network, "switch:"))
        return err_set(e, ERR_UNSUPPORTED, "QEMU on this host has no switches; the network is none or nat");
    struct qemu_claim c;
    claim(q, &c, s->id);
    struct qemu_vm *vm = qemu_vm_ref(q, s->id);
    int r = vm ? same_vm(vm, s, e) : make_vm(q, s, dir, e);
    qemu_vm_unref(vm);
    unclaim(q, &c);
    return r;
}

/* A folder that is not in the table: half made, its vm.json is damaged, or somebody removed it. A QEMU may run in it all the same. */
static int delete_folder(struct qemu *q, const char *id, struct err *e)
{
    AUTO_FREE char *dir = os_path_join(q->vms_dir, id);
    if (!dir)
        return err_oom(e);
    int r = end_process_in(q, id, dir, e);
    return r < 0 ? r : os_remove_tree(dir, e);
}

static int drv_vm_delete(struct hv *hv, const char *id, struct err *e)
{
    struct qemu *q = self(hv);
    struct qemu_vm *vm;
    struct qemu_claim c;
    claim(q, &c, id);                                  /* a create of the same id must not begin in the middle */
    int r = qemu_op_begin_end(q, id, &vm, e);
    if (r == -ERR_NOT_FOUND) {
        r = delete_folder(q, id, e);
        unclaim(q, &c);
        return r;
    }
    if (vm->exporting) {
        err_set(e, ERR_WRONG_STATE, "a disk of the VM %s is being exported", id);
        r = err_hint(e, "Wait for the export's end, or cancel it.");
    }
    if (r == 0)
        r = qemu_vm_power_off(vm, e);
    if (r == 0) {
        /* vm.json last to stay, first to go: a removal that is cut off leaves a half-made folder, not a VM without disks */
        AUTO_FREE char *def = os_path_join(vm->dir, "vm.json");
        r = def ? os_remove(def, e) : err_oom(e);
    }
    if (r == 0) {
        pthread_mutex_lock(&vm->lock);
        vm->gone = true;
        pthread_mutex_unlock(&vm->lock);
        remove_vm(q, vm);
        r = os_remove_tree(vm->dir, e);
    }
    qemu_op_end(vm);
    unclaim(q, &c);
    return r;
}

/* ---- get and list ---- */

static int snapshot(struct qemu_vm *vm, unsigned patience_ms, struct hv_vm **ret, struct err *e)
{
    if (pthread_mutex_trylock(&vm->op) == 0) {         /* else somebody is at it, and what was last seen must do */
        if (!vm->gone)
            qemu_vm_glance(vm, patience_ms);
        pthread_mutex_unlock(&vm->op);
    }
    struct hv_vm *v = calloc(1, sizeof *v);
    if (!v)
        return err_oom(e);
    pthread_mutex_lock(&vm->lock);
    int r = vm->gone ? err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", vm->id) : hv_vm_spec_copy(&vm->def.spec, &v->spec, e);
    v->state = vm->state;
    memcpy(v->state_detail, vm->detail, sizeof v->state_detail);
    v->started_at_ms = vm->state == HV_RUNNING || vm->state == HV_PAUSED ? vm->def.started_at_ms : 0;
    pthread_mutex_unlock(&vm->lock);
    if (r < 0)
        hv_vm_free(v);
    else
        *ret = v;
    return r;
}

static int drv_vm_get(struct hv *hv, const char *id, struct hv_vm **ret, struct err *e)
{
    struct qemu_vm *vm = qemu_vm_ref(self(hv), id);
    if (!vm)
        return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", id);
    int r = snapshot(vm, GLANCE_MS, ret, e);
    qemu_vm_unref(vm);
    return r;
}

/* All that there are, each with a reference; caller unrefs each and frees the array. NULL: no memory. */
static struct qemu_vm **hold_all(struct qemu *q, size_t *ret_n)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->n_vms;
    struct qemu_vm **held = calloc(n + 1, sizeof(struct qemu_vm *));
    for (size_t i = 0; held && i < n; i++) {
        held[i] = q->vms[i];
        held[i]->refs++;
    }
    pthread_mutex_unlock(&q->lock);
    *ret_n = held ? n : 0;
    return held;
}

static void drv_tend(struct hv *hv)
{
    size_t n;
    struct qemu_vm **held = hold_all(self(hv), &n);
    for (size_t i = 0; i < n; i++) {
        qemu_serial_trim(held[i]);
        qemu_vm_unref(held[i]);
    }
    free(held);
}

static int drv_vm_list(struct hv *hv, struct hv_vm ***ret, size_t *ret_n, struct err *e)
{
    size_t n, filled = 0;
    struct qemu_vm **held = hold_all(self(hv), &n);
    struct hv_vm **list = calloc(n + 1, sizeof(struct hv_vm *));
    int r = held && list ? 0 : err_oom(e);
    int64_t until = clock_mono_ms() + GLANCES_MS;
    for (size_t i = 0; held && i < n; i++) {
        if (r == 0) {
            r = snapshot(held[i], glance_ms(until), &list[filled], e);
            filled += r == 0;
            if (r == -ERR_NOT_FOUND)                   /* deleted just now */
                r = 0;
        }
        qemu_vm_unref(held[i]);
    }
    free(held);
    if (r < 0) {
        hv_vm_list_free(list, filled);
        return r;
    }
    *ret = list;
    *ret_n = filled;
    return 0;
}

/* ---- power ---- */

static int start(struct qemu_vm *vm, struct err *e)
{
    int r = 0;
    if (vm->exporting) {
        err_set(e, ERR_WRONG_STATE, "a disk of the VM %s is being exported", vm->id);
        return err_hint(e, "Wait for the export's end, or cancel it.");
    }
    qemu_vm_refresh(vm);
    qemu_vm_await_launch(vm);
    if (vm->state == HV_RUNNING && vm->qmp)
        return 0;
    if (vm->state == HV_RUNNING)
        return qemu_vm_need_on(vm, "start it", e);     /* it hangs: says so */
    if (vm->state == HV_FAILED)                        /* a guest that cannot go on, or the remains of one */
        r = qemu_vm_power_off(vm, e);
    if (r == 0 && !vm->qmp)
        r = qemu_vm_launch(vm, e);
    if (r == 0)
        r = qemu_vm_call(vm, "cont", NULL, NULL, e);
    if (r == 0)
        qemu_vm_refresh(vm);
    return r;
}

static int shutdown_guest(struct qemu_vm *vm, struct err *e)
{
    int r = qemu_vm_need_on(vm, "shut down", e);
    return r < 0 ? r : qemu_vm_call(vm, "system_powerdown", NULL, NULL, e);
}

static int reset(struct qemu_vm *vm, struct err *e)
{
    int r = qemu_vm_need_on(vm, "be reset", e);
    if (r == 0)
        r = qemu_vm_call(vm, "system_reset", NULL, NULL, e);
    if (r == 0)
        r = qemu_vm_call(vm, "cont", NULL, NULL, e);
    if (r == 0)
        qemu_vm_refresh(vm);
    return r;
}

static int with_vm(struct hv *hv, const char *id, int (*fn)(struct qemu_vm *vm, struct err *e), struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin(self(hv), id, &vm, e);
    if (r < 0)
        return r;
    r = fn(vm, e);
    qemu_op_end(vm);
    return r;
}

static int drv_vm_start(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, start, e);
}

static int drv_vm_stop(struct hv *hv, const char *id, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin_end(self(hv), id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_power_off(vm, e);
    qemu_op_end(vm);
    return r;
}

static int drv_vm_shutdown(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, shutdown_guest, e);
}

static int drv_vm_reset(struct hv *hv, const char *id, struct err *e)
{
    return with_vm(hv, id, reset, e);
}

/* ---- devices ---- */

static int change_medium(struct qemu_vm *vm, const char *iso, struct err *e)
{
    if (!iso)                                          /* force: a guest that locked the tray does not keep the medium */
        return qemu_vm_call(vm, "eject", json_pack("{s:s, s:b}", "id", "dvd", "force", 1), NULL, e);
    return qemu_vm_call(vm, "blockdev-change-medium",
                        json_pack("{s:s, s:s, s:s, s:s, s:b}", "id", "dvd", "filename", iso, "format", "raw", "read-only-mode", "read-only", "force", 1),
                        NULL, e);
}

static int drv_dvd(struct hv *hv, const char *id, const char *iso, struct err *e)
{
    struct os_stat st;
    int r = iso ? os_stat(iso, &st, e) : 0;
    if (r == 0 && iso && !st.is_file)
        r = err_set(e, ERR_NOT_FOUND, "the DVD image %s does not exist", iso);
    struct qemu_vm *vm;
    if (r == 0)
        r = qemu_op_begin(self(hv), id, &vm, e);
    if (r < 0)
        return r;
    qemu_vm_refresh(vm);
    if (vm->state == HV_RUNNING && !vm->qmp)
        r = qemu_vm_need_on(vm, "change its DVD", e);
    struct qemu_def d;
    if (r == 0)
        r = qemu_def_copy(&vm->def, &d, e);
    if (r == 0) {
        free(d.spec.dvd);
        d.spec.dvd = str_dup(iso);
        if (iso && !d.spec.dvd)
            r = err_oom(e);
        if (r == 0 && vm->qmp)
            r = change_medium(vm, iso, e);
        if (r == 0)
            r = qemu_vm_commit(vm, &d, e);
        else
            qemu_def_clear(&d);
    }
    qemu_op_end(vm);
    return r;
}

static int attach(struct qemu_vm *vm, unsigned slot, const struct hv_disk *disk, struct err *e)
{
    struct qemu_def d;
    int r = qemu_vm_need_off(vm, "attach a disk", e);
    if (r == 0 && vm->def.spec.disks[slot].path) {
        err_set(e, ERR_WRONG_STATE, "slot %u of the VM %s holds a disk already", slot, vm->id);
        return err_hint(e, "Detach it first, or use another slot.");
    }
    for (unsigned i = 0; r == 0 && i < vm->def.spec.n_disks; i++)
        if (vm->def.spec.disks[i].path && !strcmp(vm->def.spec.disks[i].path, disk->path) && (!vm->def.spec.disks[i].overlay || !disk->overlay))
            r = err_set(e, ERR_WRONG_STATE, "the image %s is in slot %u already; written to directly it can be attached only once", disk->path, i);
    if (r == 0)
        r = qemu_disk_check(disk, e);
    if (r == 0 && disk->overlay)
        r = qemu_disk_make_overlay(vm->q, vm->dir, disk, slot, e);
    if (r == 0)
        r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    d.spec.disks[slot] = *disk;
    d.spec.disks[slot].path = str_dup(disk->path);
    if (!d.spec.disks[slot].path) {
        qemu_def_clear(&d);
        return err_oom(e);
    }
    if (slot >= d.spec.n_disks)
        d.spec.n_disks = slot + 1;
    return qemu_vm_commit(vm, &d, e);
}

static int drv_disk_attach(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *disk, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin(self(hv), id, &vm, e);
    if (r < 0)
        return r;
    r = attach(vm, slot, disk, e);
    qemu_op_end(vm);
    return r;
}

static int detach(struct qemu_vm *vm, unsigned slot, struct err *e)
{
    struct qemu_def d;
    int r = qemu_vm_need_off(vm, "detach a disk", e);
    if (r == 0 && !vm->def.spec.disks[slot].path)
        r = err_set(e, ERR_NOT_FOUND, "slot %u of the VM %s is empty", slot, vm->id);
    if (r == 0)
        r = qemu_def_copy(&vm->def, &d, e);
    if (r < 0)
        return r;
    bool overlay = d.spec.disks[slot].overlay;
    free(d.spec.disks[slot].path);
    d.spec.disks[slot] = (struct hv_disk){0};
    while (d.spec.n_disks && !d.spec.disks[d.spec.n_disks - 1].path)
        d.spec.n_disks--;
    for (size_t i = 0; i < d.n_checkpoints; i++)       /* their part of this disk goes with its overlay */
        d.checkpoints[i].lost |= d.checkpoints[i].slots & 1u << slot;
    r = qemu_vm_commit(vm, &d, e);
    if (r == 0 && overlay)
        qemu_disk_remove_overlay(vm->dir, slot);
    return r;
}

static int drv_disk_detach(struct hv *hv, const char *id, unsigned slot, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin(self(hv), id, &vm, e);
    if (r < 0)
        return r;
    r = detach(vm, slot, e);
    qemu_op_end(vm);
    return r;
}

/* The copy takes minutes: the VM is marked instead of locked, so that it can be looked at. */
static int drv_disk_export(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path, hv_stop_fn *stop_fn,
                           hv_progress_fn *progress, void *arg, struct err *e)
{
    struct qemu *q = self(hv);
    struct qemu_vm *vm;
    struct hv_disk disk = {0};
    int r = qemu_op_begin(q, id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_need_off(vm, "export a disk", e);
    if (r == 0 && !vm->def.spec.disks[slot].path)
        r = err_set(e, ERR_NOT_FOUND, "slot %u of the VM %s is empty", slot, id);
    if (r == 0) {
        disk = vm->def.spec.disks[slot];
        disk.path = str_dup(disk.path);
        r = disk.path ? 0 : err_oom(e);
    }
    struct qemu_vm *keep = r == 0 ? qemu_vm_ref(q, id) : NULL;
    if (keep)
        vm->exporting = true;
    qemu_op_end(vm);
    if (!keep)
        return r;
    r = qemu_disk_convert(q, keep->dir, &disk, slot, format, path, stop_fn, progress, arg, e);
    pthread_mutex_lock(&keep->op);
    keep->exporting = false;
    pthread_mutex_unlock(&keep->op);
    qemu_vm_unref(keep);
    free(disk.path);
    return r;
}

const struct hv_ops hv_qemu = {
    .name = "qemu",
    .open = drv_open,
    .close = drv_close,
    .capabilities = drv_capabilities,
    .preferred_format = drv_preferred_format,
    .report = drv_report,
    .vm_create = drv_vm_create,
    .vm_delete = drv_vm_delete,
    .vm_get = drv_vm_get,
    .vm_list = drv_vm_list,
    .vm_start = drv_vm_start,
    .vm_stop = drv_vm_stop,
    .vm_shutdown = drv_vm_shutdown,
    .vm_reset = drv_vm_reset,
    .screen = qemu_screen,
    .display = qemu_display,
    .screen_text = qemu_screen_text,
    .keys = qemu_keys,
    .serial_read = qemu_serial_read,
    .serial_write = qemu_serial_write,
    .dvd = drv_dvd,
    .disk_attach = drv_disk_attach,
    .disk_detach = drv_disk_detach,
    .checkpoint_create = qemu_checkpoint_create,
    .checkpoint_list = qemu_checkpoint_list,
    .checkpoint_restore = qemu_checkpoint_restore,
    .checkpoint_delete = qemu_checkpoint_delete,
    .disk_export = drv_disk_export,
    .tend = drv_tend,
};

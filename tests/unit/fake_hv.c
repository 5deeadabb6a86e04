#include "tests/unit/fake_hv.h"

#include <stdio.h>
#include <string.h>

#include "common/crypto.h"
#include "common/os.h"

static struct fake_hv *of(struct hv *hv)
{
    return (struct fake_hv *)hv;
}

struct fake_vm *fake_hv_vm(struct fake_hv *f, const char *id)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->vms[i].spec.id, id))
            return &f->vms[i];
    return NULL;
}

/* Locks on success. */
static int enter(struct hv *hv, const char *id, struct fake_vm **ret, struct err *e)
{
    struct fake_hv *f = of(hv);
    pthread_mutex_lock(&f->lock);
    *ret = fake_hv_vm(f, id);
    if (*ret && !f->fail)
        return 0;
    int r = *ret ? err_set(e, f->fail, "the fake hypervisor was told to fail") : err_set(e, ERR_NOT_FOUND, "there is no VM %s", id);
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int leave(struct hv *hv)
{
    pthread_mutex_unlock(&of(hv)->lock);
    return 0;
}

static void wait_held(struct fake_hv *f)
{
    f->held++;
    while (f->hold)
        pthread_cond_wait(&f->changed, &f->lock);
    f->held--;
}

void fake_hv_hold(struct fake_hv *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->hold = on;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

unsigned fake_hv_held(struct fake_hv *f)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = f->held;
    pthread_mutex_unlock(&f->lock);
    return n;
}

static int fake_open(const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    (void)cfg;
    struct fake_hv *f = fake_hv_new();
    if (!f)
        return err_oom(e);
    *ret = &f->hv;
    return 0;
}

static void fake_close(struct hv *hv)
{
    fake_hv_free(of(hv));
}

static unsigned fake_capabilities(struct hv *hv)
{
    (void)hv;
    return HV_CAP_GEN2 | HV_CAP_SCREEN_TEXT | HV_CAP_SERIAL | HV_CAP_CHECKPOINT | HV_CAP_ATTACH | HV_CAP_EXPORT;
}

static enum hv_format fake_format(struct hv *hv, unsigned generation)
{
    (void)hv;
    (void)generation;
    return HV_VHD;
}

static size_t fake_report(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role)
{
    struct fake_hv *f = of(hv);
    pthread_mutex_lock(&f->lock);
    *ret_role = f->role;
    pthread_mutex_unlock(&f->lock);
    if (max)
        rows[0] = (struct hv_check){.check = "acceleration", .status = HV_WARNING, .detail = "it is fake", .remedy = "use a real one"};
    return max ? 1 : 0;
}

static int fake_role_enable(struct hv *hv, bool force, struct err *e)
{
    struct fake_hv *f = of(hv);
    pthread_mutex_lock(&f->lock);
    int r = f->role.state == HV_ROLE_ENABLING ? err_set(e, ERR_WRONG_STATE, "it is being enabled already") : 0;
    f->forced = force;
    if (r == 0)
        f->role = (struct hv_role){.state = HV_ROLE_ENABLING, .percent = 7};
    pthread_mutex_unlock(&f->lock);
    return r;
}

static struct hv_vm *show(const struct fake_vm *v)
{
    struct hv_vm *vm = calloc(1, sizeof *vm);
    if (!vm)
        abort();
    vm->state = v->state;
    vm->started_at_ms = v->state == HV_RUNNING ? 1700000000000 : 0;
    vm->spec = v->spec;
    vm->spec.id = str_dup(v->spec.id);
    vm->spec.job_id = str_dup(v->spec.job_id);
    vm->spec.name = str_dup(v->spec.name);
    vm->spec.network = str_dup(v->spec.network);
    vm->spec.dvd = str_dup(v->spec.dvd);
    for (size_t i = 0; i < HV_DISKS_MAX; i++)
        vm->spec.disks[i].path = str_dup(v->spec.disks[i].path);
    return vm;
}

static int fake_get(struct hv *hv, const char *id, struct hv_vm **ret, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    *ret = show(v);
    return leave(hv);
}

static int fake_list(struct hv *hv, struct hv_vm ***ret, size_t *ret_n, struct err *e)
{
    struct fake_hv *f = of(hv);
    pthread_mutex_lock(&f->lock);
    wait_held(f);
    *ret = calloc(f->n + 1, sizeof(struct hv_vm *));
    if (!*ret)
        return err_oom(e);
    for (size_t i = 0; i < f->n; i++)
        (*ret)[i] = show(&f->vms[i]);
    *ret_n = f->n;
    return leave(hv);
}

static int fake_create(struct hv *hv, const struct hv_vm_spec *s, struct err *e)
{
    (void)e;
    fake_hv_add(of(hv), s->id, s->name);
    return 0;
}

static int fake_delete(struct hv *hv, const char *id, struct err *e)
{
    struct fake_vm *v;
    struct fake_hv *f = of(hv);
    if (enter(hv, id, &v, e) < 0)
        return 0;
    hv_vm_spec_clear(&v->spec);
    strbuf_free(&v->serial);
    strbuf_free(&v->typed);
    strbuf_free(&v->keys);
    *v = f->vms[--f->n];
    memset(&f->vms[f->n], 0, sizeof f->vms[f->n]);
    return leave(hv);
}

static int fake_start(struct hv *hv, const char *id, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    wait_held(of(hv));
    v->state = HV_RUNNING;
    v->starts++;
    return leave(hv);
}

static int fake_stop(struct hv *hv, const char *id, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    v->state = HV_OFF;
    v->stops++;
    return leave(hv);
}

static int fake_shutdown(struct hv *hv, const char *id, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    bool on = v->state == HV_RUNNING;
    v->shutdowns += on;
    leave(hv);
    return on ? 0 : err_set(e, ERR_WRONG_STATE, "the VM is off");
}

static int fake_reset(struct hv *hv, const char *id, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    v->resets++;
    return leave(hv);
}

static int fake_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e)
{
    struct fake_vm *v;
    struct fake_hv *f = of(hv);
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    *ret = (struct hv_image){.width = f->width, .height = f->height, .rgb = malloc((size_t)f->width * f->height * 3)};
    for (unsigned y = 0; y < f->height; y++)
        for (unsigned x = 0; x < f->width; x++) {
            uint8_t *p = ret->rgb + ((size_t)y * f->width + x) * 3;
            p[0] = (uint8_t)(x * 255 / f->width);
            p[1] = (uint8_t)(y * 255 / f->height);
            p[2] = 7;
        }
    return leave(hv);
}

static int fake_screen_text(struct hv *hv, const char *id, char **ret, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    *ret = str_dup("You are in emergency mode.\nr\xC3\xA4tsel #\n");
    return leave(hv);
}

static int fake_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < chord->n; i++)
        strbuf_addf(&v->keys, "%s%s", i ? "+" : "", chord->codes[i]);
    strbuf_adds(&v->keys, " ");
    wait_held(of(hv));
    return leave(hv);
}

static int fake_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    size_t left = offset < v->serial.len ? v->serial.len - (size_t)offset : 0;
    *ret_n = left < n ? left : n;
    if (*ret_n)
        memcpy(buf, v->serial.data + offset, *ret_n);
    *ret_size = v->serial.len;
    return leave(hv);
}

static int fake_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    strbuf_add(&v->typed, buf, n);
    return leave(hv);
}

static int fake_dvd(struct hv *hv, const char *id, const char *iso, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    free(v->spec.dvd);
    v->spec.dvd = str_dup(iso);
    return leave(hv);
}

static int fake_attach(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *d, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    bool on = v->state == HV_RUNNING;
    if (!on) {
        free(v->spec.disks[slot].path);
        v->spec.disks[slot] = *d;
        v->spec.disks[slot].path = str_dup(d->path);
        if (v->spec.n_disks <= slot)
            v->spec.n_disks = slot + 1;
    }
    leave(hv);
    return on ? err_set(e, ERR_WRONG_STATE, "the VM runs") : 0;
}

static int fake_detach(struct hv *hv, const char *id, unsigned slot, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    free(v->spec.disks[slot].path);
    v->spec.disks[slot] = (struct hv_disk){0};
    return leave(hv);
}

static int fake_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    struct hv_checkpoint c = {.created_at_ms = 1700000000000};
    crypto_uuid(c.id, e);
    snprintf(c.name, sizeof c.name, "%s", name);
    v->checkpoints[v->n_checkpoints++ % FAKE_CHECKPOINTS] = c;
    *ret = c;
    return leave(hv);
}

static int fake_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    *ret = calloc(v->n_checkpoints + 1, sizeof **ret);
    memcpy(*ret, v->checkpoints, v->n_checkpoints * sizeof **ret);
    *ret_n = v->n_checkpoints;
    return leave(hv);
}

static int checkpoint(struct hv *hv, const char *id, const char *checkpoint, bool remove, struct err *e)
{
    struct fake_vm *v;
    int r = enter(hv, id, &v, e);
    if (r < 0)
        return r;
    r = -ERR_NOT_FOUND;
    for (size_t i = 0; i < v->n_checkpoints && r; i++)
        if (!strcmp(v->checkpoints[i].id, checkpoint)) {
            if (remove)
                v->checkpoints[i] = v->checkpoints[--v->n_checkpoints];
            r = 0;
        }
    leave(hv);
    return r ? err_set(e, ERR_NOT_FOUND, "there is no checkpoint %s", checkpoint) : 0;
}

static int fake_checkpoint_restore(struct hv *hv, const char *id, const char *c, struct err *e)
{
    return checkpoint(hv, id, c, false, e);
}

static int fake_checkpoint_delete(struct hv *hv, const char *id, const char *c, struct err *e)
{
    return checkpoint(hv, id, c, true, e);
}

/* The "disk" is the VM's id; `hold` keeps the copy from its end, and a stop is seen only then. */
static int fake_export(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path, hv_stop_fn *stop,
                       hv_progress_fn *progress, void *arg, struct err *e)
{
    struct fake_vm *vm;
    (void)slot, (void)format;
    int r = enter(hv, id, &vm, e);
    if (r < 0)
        return r;
    wait_held(of(hv));
    leave(hv);
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    if ((r = os_file_open(path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &f, e)) < 0 || (r = os_file_pwrite(f, id, strlen(id), 0, e)) < 0)
        return r;
    progress(arg, strlen(id), strlen(id));
    return stop(arg) ? err_set(e, ERR_CANCELLED, "stopped") : 0;
}

static void fake_tend(struct hv *hv)
{
    struct fake_hv *f = of(hv);
    pthread_mutex_lock(&f->lock);
    f->tended++;
    pthread_mutex_unlock(&f->lock);
}

static const struct hv_ops ops = {
    .name = "fake", .open = fake_open, .close = fake_close, .capabilities = fake_capabilities, .preferred_format = fake_format,
    .report = fake_report, .role_enable = fake_role_enable, .vm_create = fake_create, .vm_delete = fake_delete, .vm_get = fake_get, .vm_list = fake_list,
    .vm_start = fake_start, .vm_stop = fake_stop, .vm_shutdown = fake_shutdown, .vm_reset = fake_reset, .screen = fake_screen,
    .screen_text = fake_screen_text, .keys = fake_keys, .serial_read = fake_serial_read, .serial_write = fake_serial_write,
    .dvd = fake_dvd, .disk_attach = fake_attach, .disk_detach = fake_detach, .checkpoint_create = fake_checkpoint_create,
    .checkpoint_list = fake_checkpoint_list, .checkpoint_restore = fake_checkpoint_restore, .checkpoint_delete = fake_checkpoint_delete,
    .disk_export = fake_export, .tend = fake_tend,
};

struct fake_hv *fake_hv_new(void)
{
    struct fake_hv *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->hv.ops = &ops;
    f->width = 720;
    f->height = 400;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    return f;
}

void fake_hv_free(struct fake_hv *f)
{
    struct err e;
    if (!f)
        return;
    f->fail = ERR_OK;
    while (f->n)
        fake_delete(&f->hv, f->vms[0].spec.id, &e);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void fake_hv_add(struct fake_hv *f, const char *id, const char *name)
{
    pthread_mutex_lock(&f->lock);
    if (f->n == FAKE_VMS)
        abort();
    struct fake_vm *v = &f->vms[f->n++];
    v->spec = (struct hv_vm_spec){.id = str_dup(id), .job_id = str_dup(id), .name = str_dup(name), .generation = 1, .memory_mib = 512,
                                  .cpus = 1, .network = str_dup("none"), .n_disks = 1};
    v->spec.disks[0] = (struct hv_disk){.path = str_dup("/images/os.vhd"), .format = HV_VHD, .virtual_size = 1 << 20, .overlay = true};
    pthread_mutex_unlock(&f->lock);
}

void fake_hv_say(struct fake_hv *f, const char *id, const void *bytes, size_t n)
{
    pthread_mutex_lock(&f->lock);
    strbuf_add(&fake_hv_vm(f, id)->serial, bytes, n);
    pthread_mutex_unlock(&f->lock);
}

char *fake_hv_keys(struct fake_hv *f, const char *id)
{
    pthread_mutex_lock(&f->lock);
    struct strbuf *k = &fake_hv_vm(f, id)->keys;
    char *s = str_dup(k->data ? k->data : "");
    pthread_mutex_unlock(&f->lock);
    return s;
}

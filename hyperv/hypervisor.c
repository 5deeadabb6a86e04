/* The wrappers around a driver: arguments and capabilities are checked here, once for every driver. */
#include "hyperv/hypervisor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/crypto.h"
#include "common/os.h"

#define SERIAL_WRITE_MAX 65536                         /* bytes a call */

const char *hv_state_name(enum hv_state s)
{
    static const char *const names[] = {
        [HV_OFF] = "off", [HV_RUNNING] = "running", [HV_PAUSED] = "paused", [HV_FAILED] = "failed"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "failed";
}

void hv_vm_spec_clear(struct hv_vm_spec *s)
{
    free(s->id);
    free(s->job_id);
    free(s->name);
    free(s->network);
    free(s->dvd);
    for (size_t i = 0; i < HV_DISKS_MAX; i++)
        free(s->disks[i].path);
    memset(s, 0, sizeof *s);
}

int hv_vm_spec_copy(const struct hv_vm_spec *s, struct hv_vm_spec *ret, struct err *e)
{
    struct hv_vm_spec c = *s;
    bool ok = true;
#define COPY(member) ok &= (c.member = str_dup(s->member)) || !s->member
    COPY(id);
    COPY(job_id);
    COPY(name);
    COPY(network);
    COPY(dvd);
    for (size_t i = 0; i < HV_DISKS_MAX; i++)
        COPY(disks[i].path);
#undef COPY
    if (!ok) {
        hv_vm_spec_clear(&c);
        return err_oom(e);
    }
    *ret = c;
    return 0;
}

void hv_vm_free(struct hv_vm *vm)
{
    if (!vm)
        return;
    hv_vm_spec_clear(&vm->spec);
    free(vm);
}

void hv_vm_list_free(struct hv_vm **list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        hv_vm_free(list[i]);
    free(list);
}

void hv_image_clear(struct hv_image *img)
{
    free(img->rgb);
    memset(img, 0, sizeof *img);
}

int hv_open(const struct hv_ops *ops, const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    if (!cfg->data_dir || !os_path_is_absolute(cfg->data_dir))
        return err_set(e, ERR_CONFIG, "the data folder of the hypervisor driver '%s' is not an absolute path", ops->name);
    return ops->open(cfg, ret, e);
}

void hv_close(struct hv *hv)
{
    if (hv)
        hv->ops->close(hv);
}

unsigned hv_capabilities(struct hv *hv)
{
    return hv->ops->capabilities(hv);
}

enum hv_format hv_preferred_format(struct hv *hv, unsigned generation)
{
    return hv->ops->preferred_format(hv, generation);
}

const char *hv_role_name(enum hv_role_state s)
{
    static const char *const names[] = {
        [HV_ROLE_UNAVAILABLE] = "unavailable", [HV_ROLE_DISABLED] = "disabled", [HV_ROLE_ENABLING] = "enabling",
        [HV_ROLE_RESTART_NEEDED] = "restart_needed", [HV_ROLE_ENABLED] = "enabled", [HV_ROLE_FAILED] = "failed"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "failed";
}

size_t hv_report(struct hv *hv, struct hv_check *rows, size_t max, struct hv_role *ret_role)
{
    struct hv_role ignored = {0}, *role = ret_role ? ret_role : &ignored;
    *role = (struct hv_role){.state = HV_ROLE_UNAVAILABLE};
    return hv->ops->report(hv, rows, max, role);
}

void hv_rows_add(struct hv_rows *t, const char *check, enum hv_check_status status, const char *remedy, const char *fmt, ...)
{
    if (t->n >= t->max)
        return;
    struct hv_check *c = &t->rows[t->n++];
    va_list ap;
    memset(c, 0, sizeof *c);
    c->status = status;
    snprintf(c->check, sizeof c->check, "%s", check);
    snprintf(c->remedy, sizeof c->remedy, "%s", status != HV_OK && remedy ? remedy : "");
    va_start(ap, fmt);
    vsnprintf(c->detail, sizeof c->detail, fmt, ap);
    va_end(ap);
}

static int unsupported(struct hv *hv, const char *what, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "the hypervisor '%s' on this host cannot %s", hv->ops->name, what);
}

int hv_role_enable(struct hv *hv, bool force, struct err *e)
{
    if (hv->ops->role_enable)
        return hv->ops->role_enable(hv, force, e);
    err_set(e, ERR_UNSUPPORTED, "the hypervisor of this host, %s, is no role of its system: there is nothing to enable", hv->ops->name);
    return err_hint(e, "Hyper-V is enabled on Windows hosts alone. `vmrecover host` says whether this one is fit.");
}

/* Ids become folder names and parts of command lines: nothing but a UUID ever reaches a driver. */
static int check_id(const char *id, struct err *e)
{
    if (!id || !crypto_is_uuid(id))
        return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%.64s'", id ? id : "");
    return 0;
}

/* The same for a checkpoint's id. */
static int check_checkpoint(const char *id, const char *checkpoint, struct err *e)
{
    int r = check_id(id, e);
    if (r == 0 && (!checkpoint || !crypto_is_uuid(checkpoint)))
        r = err_set(e, ERR_NOT_FOUND, "VM %s has no checkpoint with the id '%.64s'", id, checkpoint ? checkpoint : "");
    return r;
}

static int check_path(const char *what, const char *path, struct err *e)
{
    if (!path || !os_path_is_absolute(path) || strlen(path) >= 4096)
        return err_set(e, ERR_VALUE, "the path of the %s is not absolute: '%.200s'", what, path ? path : "");
    return 0;
}

static int check_disk(const struct hv_disk *d, struct err *e)
{
    if (d->virtual_size == 0 || d->virtual_size % 512 || d->virtual_size > HV_DISK_BYTES_MAX)
        return err_set(e, ERR_VALUE, "the size of the disk '%.200s' is %llu bytes; a disk has a multiple of 512, at most 64 TiB",
                       d->path ? d->path : "", (unsigned long long)d->virtual_size);
    return check_path("disk", d->path, e);
}

static int check_spec(struct hv *hv, const struct hv_vm_spec *s, struct err *e)
{
    unsigned caps = hv_capabilities(hv);
    int r = check_id(s->id, e);
    if (r < 0)
        return r;
    if (s->generation != 1 && s->generation != 2)
        return err_set(e, ERR_VALUE, "generation %u does not exist: 1 or 2", s->generation);
    if (s->generation == 2 && !(caps & HV_CAP_GEN2))
        return unsupported(hv, "run Generation 2 (UEFI) machines", e);
    if (s->memory_mib < HV_MEMORY_MIB_MIN || s->memory_mib > HV_MEMORY_MIB_MAX)
        return err_set(e, ERR_VALUE, "%u MiB of memory is not between %d and %d", s->memory_mib, HV_MEMORY_MIB_MIN, HV_MEMORY_MIB_MAX);
    if (s->cpus < 1 || s->cpus > HV_CPUS_MAX)
        return err_set(e, ERR_VALUE, "%u processors is not between 1 and %d", s->cpus, HV_CPUS_MAX);
    if (s->nested && !(caps & HV_CAP_NESTED))
        return unsupported(hv, "let a guest run virtual machines itself", e);
    if (!s->network)
        return err_set(e, ERR_VALUE, "the network of the virtual machine is not given");
    if (!strcmp(s->network, "nat") && !(caps & HV_CAP_NAT))
        return unsupported(hv, "give a virtual machine the network 'nat'", e);
    if (str_starts(s->network, "switch:") && !(caps & HV_CAP_SWITCH))
        return unsupported(hv, "connect a virtual machine to a switch", e);
    if (strcmp(s->network, "none") && strcmp(s->network, "nat") && !str_starts(s->network, "switch:"))
        return err_set(e, ERR_VALUE, "the network '%.64s' is not known: none, nat or switch:<name>", s->network);
    if (s->n_disks > HV_DISKS_MAX)
        return err_set(e, ERR_VALUE, "%zu disks are more than the %d that a virtual machine takes", s->n_disks, HV_DISKS_MAX);
    for (size_t i = 0; r == 0 && i < s->n_disks; i++)
        if (s->disks[i].path)
            r = check_disk(&s->disks[i], e);
    if (r == 0 && s->dvd)
        r = check_path("DVD image", s->dvd, e);
    return r;
}

int hv_vm_create(struct hv *hv, const struct hv_vm_spec *s, struct err *e)
{
    int r = check_spec(hv, s, e);
    return r < 0 ? r : hv->ops->vm_create(hv, s, e);
}

int hv_vm_delete(struct hv *hv, const char *id, struct err *e)
{
    if (!id || !crypto_is_uuid(id))
        return 0;                                      /* it cannot be there: missing is 0 */
    return hv->ops->vm_delete(hv, id, e);
}

int hv_vm_get(struct hv *hv, const char *id, struct hv_vm **ret, struct err *e)
{
    int r = check_id(id, e);
    return r < 0 ? r : hv->ops->vm_get(hv, id, ret, e);
}

int hv_vm_list(struct hv *hv, struct hv_vm ***ret, size_t *ret_n, struct err *e)
{
    return hv->ops->vm_list(hv, ret, ret_n, e);
}

int hv_vm_start(struct hv *hv, const char *id, struct err *e)
{
    int r = check_id(id, e);
    return r < 0 ? r : hv->ops->vm_start(hv, id, e);
}

int hv_vm_stop(struct hv *hv, const char *id, struct err *e)
{
    int r = check_id(id, e);
    return r < 0 ? r : hv->ops->vm_stop(hv, id, e);
}

int hv_vm_shutdown(struct hv *hv, const char *id, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->vm_shutdown ? hv->ops->vm_shutdown(hv, id, e) : unsupported(hv, "ask a guest to shut down", e);
}

int hv_vm_reset(struct hv *hv, const char *id, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->vm_reset ? hv->ops->vm_reset(hv, id, e) : unsupported(hv, "reset a virtual machine", e);
}

int hv_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->screen ? hv->ops->screen(hv, id, ret, e) : unsupported(hv, "show a screen", e);
}

int hv_display(struct hv *hv, const char *id, intptr_t *ret_socket, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->display ? hv->ops->display(hv, id, ret_socket, e) : unsupported(hv, "stream a screen", e);
}

int hv_screen_text(struct hv *hv, const char *id, char **ret, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->screen_text ? hv->ops->screen_text(hv, id, ret, e) : unsupported(hv, "read a screen as text", e);
}

int hv_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    if (chord->n < 1 || chord->n > ARRAY_LEN(chord->codes))
        return err_set(e, ERR_VALUE, "%zu keys cannot be pressed together: 1 to %zu", chord->n, ARRAY_LEN(chord->codes));
    for (size_t i = 0; i < chord->n; i++)
        if (!hv_key_known(chord->codes[i]))
            return err_set(e, ERR_VALUE, "a PC keyboard has no key '%.40s'; names are W3C code values such as KeyA, F8, ControlLeft",
                           chord->codes[i]);
    return hv->ops->keys ? hv->ops->keys(hv, id, chord, e) : unsupported(hv, "press keys", e);
}

int hv_serial_read(struct hv *hv, const char *id, uint64_t offset, void *buf, size_t n, size_t *ret_n, uint64_t *ret_size, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->serial_read ? hv->ops->serial_read(hv, id, offset, buf, n, ret_n, ret_size, e)
                                : unsupported(hv, "read the serial console", e);
}

int hv_serial_write(struct hv *hv, const char *id, const void *buf, size_t n, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    if (n > SERIAL_WRITE_MAX)
        return err_set(e, ERR_TOO_LARGE, "%zu bytes are more than the %d that go to a serial console at once", n, SERIAL_WRITE_MAX);
    return hv->ops->serial_write ? hv->ops->serial_write(hv, id, buf, n, e) : unsupported(hv, "type into the serial console", e);
}

int hv_dvd(struct hv *hv, const char *id, const char *iso, struct err *e)
{
    int r = check_id(id, e);
    if (r == 0 && iso)
        r = check_path("DVD image", iso, e);
    if (r < 0)
        return r;
    return hv->ops->dvd ? hv->ops->dvd(hv, id, iso, e) : unsupported(hv, "change the DVD", e);
}

static int check_slot(unsigned slot, unsigned min, struct err *e)
{
    if (slot < min || slot >= HV_DISKS_MAX)
        return err_set(e, ERR_VALUE, "there is no disk slot %u here: %u to %d", slot, min, HV_DISKS_MAX - 1);
    return 0;
}

int hv_disk_attach(struct hv *hv, const char *id, unsigned slot, const struct hv_disk *d, struct err *e)
{
    int r = check_id(id, e);
    if (r == 0)
        r = check_slot(slot, 1, e);
    if (r == 0)
        r = check_disk(d, e);
    if (r < 0)
        return r;
    return hv->ops->disk_attach ? hv->ops->disk_attach(hv, id, slot, d, e) : unsupported(hv, "attach a further disk", e);
}

int hv_disk_detach(struct hv *hv, const char *id, unsigned slot, struct err *e)
{
    int r = check_id(id, e);
    if (r == 0)
        r = check_slot(slot, 1, e);
    if (r < 0)
        return r;
    return hv->ops->disk_detach ? hv->ops->disk_detach(hv, id, slot, e) : unsupported(hv, "detach a disk", e);
}

int hv_checkpoint_create(struct hv *hv, const char *id, const char *name, struct hv_checkpoint *ret, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    if (!name || strlen(name) > HV_NAME_MAX || !str_is_utf8(name, strlen(name)))
        return err_set(e, ERR_VALUE, "the name of a checkpoint is UTF-8 and at most %d bytes long", HV_NAME_MAX);
    return hv->ops->checkpoint_create ? hv->ops->checkpoint_create(hv, id, name, ret, e) : unsupported(hv, "make checkpoints", e);
}

int hv_checkpoint_list(struct hv *hv, const char *id, struct hv_checkpoint **ret, size_t *ret_n, struct err *e)
{
    int r = check_id(id, e);
    if (r < 0)
        return r;
    return hv->ops->checkpoint_list ? hv->ops->checkpoint_list(hv, id, ret, ret_n, e) : unsupported(hv, "make checkpoints", e);
}

int hv_checkpoint_restore(struct hv *hv, const char *id, const char *checkpoint, struct err *e)
{
    int r = check_checkpoint(id, checkpoint, e);
    if (r < 0)
        return r;
    return hv->ops->checkpoint_restore ? hv->ops->checkpoint_restore(hv, id, checkpoint, e) : unsupported(hv, "restore checkpoints", e);
}

int hv_checkpoint_delete(struct hv *hv, const char *id, const char *checkpoint, struct err *e)
{
    int r = check_checkpoint(id, checkpoint, e);
    if (r < 0)
        return r;
    return hv->ops->checkpoint_delete ? hv->ops->checkpoint_delete(hv, id, checkpoint, e) : unsupported(hv, "delete checkpoints", e);
}

int hv_disk_export(struct hv *hv, const char *id, unsigned slot, enum hv_format format, const char *path, hv_stop_fn *stop,
                   hv_progress_fn *progress, void *arg, struct err *e)
{
    int r = check_id(id, e);
    if (r == 0)
        r = check_slot(slot, 0, e);
    if (r == 0)
        r = check_path("exported disk", path, e);
    if (r < 0)
        return r;
    return hv->ops->disk_export ? hv->ops->disk_export(hv, id, slot, format, path, stop, progress, arg, e)
                                : unsupported(hv, "export a disk", e);
}

void hv_tend(struct hv *hv)
{
    if (hv->ops->tend)
        hv->ops->tend(hv);
}

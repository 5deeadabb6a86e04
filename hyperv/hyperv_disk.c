/* Images and layers. The image stays as it came: the VM writes to a differencing disk of ours over it. Hyper-V lets a .vhdx lie only over a .vhdx
 * and a .vhd only over a .vhd, and checks that the parent was not changed since.
 *
 * Generation 2 is said to want .vhdx, but present builds take a .vhd: it is tried, and where it is refused the image is copied once. */
#include <string.h>

#include "common/log.h"
#include "hyperv/hyperv.h"
#include "hyperv/vmspec.h"

#define VHD_BYTES_MAX ((uint64_t)2040 << 30)
#define FOOTER 512

enum { TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFFERENCING = 4 };
enum { FORMAT_VHD = 2, FORMAT_VHDX = 3 };

static const char *extension(enum hv_format f)
{
    return f == HV_VHDX ? "vhdx" : "vhd";
}

static char *in_folder(const char *dir, const char *name)
{
    return os_path_join(dir, name);
}

/* ---- is it fit for Hyper-V ---- */

static int check_attributes(struct hyperv *h, const char *what, const char *path, struct err *e)
{
    struct hyperv_file f = {0};
    int r = h->p.host->file(h->p.host_arg, path, &f, e);
    if (r < 0)
        return r;
    const char *is = NULL, *remedy = NULL;
    if (f.encrypted) {
        is = "encrypted";
        remedy = "Decrypt it (cipher /d), or copy it into a folder that is not encrypted.";
    } else if (f.compressed) {
        is = "compressed by the file system";
        remedy = "Turn compression off (compact /u), or copy it into a folder that is not compressed.";
    } else if (f.sparse && !str_ieq(f.file_system, "ReFS")) {
        is = "sparse";
        remedy = "Turn that off (fsutil sparse setflag FILE 0, which fills the holes and needs the room), or download it again as \"vhdx\".";
    } else if (f.recalled) {
        is = "not on this host: its contents lie elsewhere (offline, cloud)";
        remedy = "Copy it onto a local volume.";
    } else if (str_istarts(f.file_system, "FAT")) {
        is = "on a FAT volume";
        remedy = "Copy it onto an NTFS or ReFS volume.";
    }
    if (!is)
        return 0;
    err_set(e, ERR_VM, "Hyper-V refuses the %s %s: it is %s", what, path, is);
    return err_hint(e, "%s", remedy);
}

int hyperv_folder_check(struct hyperv *h, const char *dir, struct err *e)
{
    return check_attributes(h, "files of the folder", dir, e);
}

int hyperv_layers_check(struct hyperv *h, const char *dir, const struct hyperv_record *rec, struct err *e)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < rec->spec.n_disks; i++) {
        const char *names[] = {rec->layers[i].top, rec->layers[i].base};
        for (size_t k = 0; r == 0 && k < ARRAY_LEN(names); k++) {
            AUTO_FREE char *path = names[k][0] ? in_folder(dir, names[k]) : NULL;
            r = path ? check_attributes(h, "file", path, e) : 0;
            r = r == -ERR_NOT_FOUND ? 0 : r;           /* Hyper-V knows what it misses */
        }
    }
    return r;
}

static int check_file(const char *what, const char *path, struct os_stat *ret, struct err *e)
{
    int r = os_stat(path, ret, e);
    if (r == 0 && !ret->exists)
        r = err_set(e, ERR_NOT_FOUND, "the %s %s does not exist", what, path);
    if (r == 0 && !ret->is_file)
        r = err_set(e, ERR_VALUE, "the %s %s is not a file", what, path);
    return r;
}

static bool named_for(const char *path, const char *ext)
{
    const char *dot = strrchr(os_path_base(path), '.');
    return dot && str_ieq(dot + 1, ext);
}

int hyperv_disk_check(struct hyperv *h, const struct hv_disk *d, struct err *e)
{
    struct os_stat st;
    if (d->format != HV_VHD && d->format != HV_VHD_DYNAMIC && d->format != HV_VHDX) {
        err_set(e, ERR_VALUE, "Hyper-V does not take the image %s: its format is %s", d->path, vmspec_format_name(d->format));
        return err_hint(e, "Convert it to vhdx (vmrecoverd convert), or download it with \"format\": \"vhdx\".");
    }
    if (d->format != HV_VHDX && d->virtual_size > VHD_BYTES_MAX) {
        err_set(e, ERR_VALUE, "the image %s has %llu bytes, a VHD at most 2040 GiB", d->path, (unsigned long long)d->virtual_size);
        return err_hint(e, "Convert it to vhdx (vmrecoverd convert), or download it with \"format\": \"vhdx\".");
    }
    int r = check_file("disk image", d->path, &st, e);
    if (r < 0)
        return r;
    uint64_t need = d->format == HV_VHD ? d->virtual_size + FOOTER : FOOTER;
    if (st.size < need)
        return err_set(e, ERR_IMAGE_DAMAGED, "the disk image %s has %llu bytes, %llu were expected", d->path, (unsigned long long)st.size,
                       (unsigned long long)need);
    if (!named_for(d->path, extension(d->format))) {
        err_set(e, ERR_VALUE, "Hyper-V goes by the extension, and the %s image %s does not end in .%s", vmspec_format_name(d->format), d->path,
                extension(d->format));
        return err_hint(e, "Rename the file so that it ends in .%s.", extension(d->format));
    }
    return check_attributes(h, "file", d->path, e);
}

int hyperv_dvd_check(struct hyperv *h, const char *iso, struct err *e)
{
    struct os_stat st;
    int r = check_file("DVD image", iso, &st, e);
    if (r == 0 && !named_for(iso, "iso")) {
        err_set(e, ERR_VALUE, "Hyper-V goes by the extension, and the DVD image %s does not end in .iso", iso);
        r = err_hint(e, "Rename the file so that it ends in .iso.");
    }
    return r < 0 ? r : check_attributes(h, "file", iso, e);
}

/* ---- making files ---- */

static int settings_for(struct hyperv *h, unsigned type, unsigned format, const char *path, const char *parent, const struct wmi_wait *w,
                        struct wmi_object **ret, struct err *e)
{
    struct wmi *wmi;
    int r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = wmi_spawn(wmi, "Msvm_VirtualHardDiskSettingData", w, ret, e);
    if (r == 0)
        r = wmi_put_uint(*ret, "Type", type, e);
    if (r == 0)
        r = wmi_put_uint(*ret, "Format", format, e);
    if (r == 0)
        r = wmi_put_str(*ret, "Path", path, e);
    if (r == 0 && parent)
        r = wmi_put_str(*ret, "ParentPath", parent, e);
    return r;
}

static int make_child(struct hyperv *h, const char *parent, const char *path, bool vhdx, const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *settings = NULL;
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO_FREE char *what = str_printf("cannot make a layer over the image %s", parent);
    struct err ignored;
    os_remove(path, &ignored);                         /* a try that was cut off: the name is new otherwise */
    int r = settings_for(h, TYPE_DIFFERENCING, vhdx ? FORMAT_VHDX : FORMAT_VHD, path, parent, w, &settings, e);
    if (r == 0)
        r = hyperv_prepare(h, HYPERV_IMAGES, "CreateVirtualHardDisk", what, w, &c, e);
    if (r == 0)
        r = wmi_put_instance_in(c.in, "VirtualDiskSettingData", settings, e);
    if (r == 0)
        r = hyperv_invoke(h, &c, w, NULL, e);
    if (r < 0)
        os_remove(path, &ignored);
    return r;
}

struct copy_progress { hv_progress_fn *fn; void *arg; uint64_t size; };

static void on_percent(void *arg, unsigned percent)
{
    struct copy_progress *p = arg;
    if (p->fn)
        p->fn(p->arg, p->size / 100 * (percent > 100 ? 100 : percent), p->size);
}

int hyperv_disk_copy(struct hyperv *h, const char *from, const char *to, enum hv_format format, const struct wmi_wait *w, hv_progress_fn *progress,
                     void *arg, uint64_t size, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *settings = NULL;
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO_FREE char *what = str_printf("cannot copy the disk %s to %s", from, to);
    struct copy_progress p = {progress, arg, size};
    int r = settings_for(h, format == HV_VHD ? TYPE_FIXED : TYPE_DYNAMIC, format == HV_VHDX ? FORMAT_VHDX : FORMAT_VHD, to, NULL, w, &settings, e);
    if (r == 0)
        r = hyperv_prepare(h, HYPERV_IMAGES, "ConvertVirtualHardDisk", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "SourcePath", from, e);
    if (r == 0)
        r = wmi_put_instance_in(c.in, "VirtualDiskSettingData", settings, e);
    c.job_ms = HYPERV_COPY_MS;
    c.progress = on_percent;
    c.progress_arg = &p;
    if (r == 0)
        r = hyperv_invoke(h, &c, w, NULL, e);
    struct err ignored;
    if (r < 0)                                         /* it was not there before: ConvertVirtualHardDisk refuses an existing file */
        os_remove(to, &ignored);
    return r;
}

/* ---- layers ---- */

char *hyperv_disk_path(const char *dir, const struct hyperv_record *rec, unsigned slot)
{
    return rec->layers[slot].top[0] ? in_folder(dir, rec->layers[slot].top) : str_dup(rec->spec.disks[slot].path);
}

int hyperv_disk_layer(struct hyperv *h, const char *dir, struct hyperv_record *rec, unsigned slot, const struct wmi_wait *w, struct err *e)
{
    const struct hv_disk *d = &rec->spec.disks[slot];
    struct hyperv_layer *l = &rec->layers[slot];
    if (!d->overlay)
        return 0;
    bool vhdx = d->format == HV_VHDX || l->base[0];
    hyperv_record_file(rec, "disk", slot, vhdx ? "vhdx" : "vhd", l->top);
    AUTO_FREE char *parent = l->base[0] ? in_folder(dir, l->base) : str_dup(d->path), *path = in_folder(dir, l->top);
    return parent && path ? make_child(h, parent, path, vhdx, w, e) : err_oom(e);
}

/* Does this failure say that the format is not taken here? Not: that the file is damaged, in use or forbidden. */
static bool refused_format(const struct err *e)
{
    static const uint32_t codes[] = {1, 2, 4, 6, 32768, 32770, 32773, 0x80070032, 0x80070057, 0xC03A0004, 0xC03A0005, 0xC03A0014, 0xC03A001B, 0xC03A001D};
    uint32_t code = hyperv_code(e);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i] == code)
            return true;
    return false;
}

/* The image as a .vhdx in the VM's folder, and the layer over that. */
static int use_vhdx(struct hyperv *h, const char *dir, struct hyperv_record *rec, unsigned slot, const struct wmi_wait *w, struct err *e)
{
    const struct hv_disk *d = &rec->spec.disks[slot];
    struct hyperv_layer *l = &rec->layers[slot];
    hyperv_disk_forget(dir, l->top);
    hyperv_record_file(rec, "base", slot, "vhdx", l->base);
    AUTO_FREE char *base = in_folder(dir, l->base);
    if (!base)
        return err_oom(e);
    log_info("Hyper-V refuses the VHD for Generation 2; it is copied to a VHDX", KS("vm", rec->spec.id), KI("slot", slot));
    int r = hyperv_disk_copy(h, d->path, base, HV_VHDX, w, NULL, NULL, d->virtual_size, e);
    return r < 0 ? r : hyperv_disk_layer(h, dir, rec, slot, w, e);
}

static int plug(struct hyperv *h, const char *dir, const struct hyperv_machine *m, const struct hyperv_record *rec, unsigned slot,
                const struct wmi_wait *w, struct err *e)
{
    AUTO_FREE char *drive = NULL, *path = hyperv_disk_path(dir, rec, slot);
    int r = path ? hyperv_drive(h, m, rec->spec.generation, slot, true, w, &drive, e) : err_oom(e);
    return r < 0 ? r : hyperv_insert(h, m, drive, false, path, w, e);
}

int hyperv_disk_plug(struct hyperv *h, const char *dir, const struct hyperv_machine *m, struct hyperv_record *rec, unsigned slot,
                     const struct wmi_wait *w, struct err *e)
{
    const struct hv_disk *d = &rec->spec.disks[slot];
    int r = plug(h, dir, m, rec, slot, w, e);
    bool vhd = d->format != HV_VHDX && !rec->layers[slot].base[0];
    if (r == 0 || rec->spec.generation != 2 || !vhd || !refused_format(e))
        return r;
    if (!d->overlay)
        return err_hint(e, "Convert the disk to vhdx (vmrecoverd convert) and attach that.");
    r = use_vhdx(h, dir, rec, slot, w, e);
    return r < 0 ? r : plug(h, dir, m, rec, slot, w, e);
}

void hyperv_disk_forget(const char *dir, const char *name)
{
    struct err ignored;
    AUTO_FREE char *path = name[0] ? in_folder(dir, name) : NULL;
    if (path)
        os_remove(path, &ignored);
}

struct sweep { const char *dir; const struct hyperv_record *rec; };

static bool layer_names(const struct hyperv_layer *layers, const char *name)
{
    for (unsigned i = 0; i < HV_DISKS_MAX; i++)
        if (str_ieq(layers[i].top, name) || str_ieq(layers[i].base, name))
            return true;
    return false;
}

static int sweep_one(void *arg, const char *name)
{
    struct sweep *s = arg;
    const char *dot = strrchr(name, '.');
    bool ours = (str_istarts(name, "disk") || str_istarts(name, "base")) && dot && (str_ieq(dot, ".vhd") || str_ieq(dot, ".vhdx"));
    bool needed = layer_names(s->rec->layers, name);
    for (size_t i = 0; i < s->rec->n_checkpoints && !needed; i++)
        needed = layer_names(s->rec->checkpoints[i].layers, name);
    if (ours && !needed)
        hyperv_disk_forget(s->dir, name);
    return 0;
}

void hyperv_disk_sweep(const char *dir, const struct hyperv_record *rec)
{
    struct err ignored;
    os_list_dir(dir, sweep_one, &(struct sweep){dir, rec}, &ignored);
}

/* ---- rights ---- */

int hyperv_disk_grant(struct hyperv *h, const char *dir, const struct hyperv_record *rec, struct err *e)
{
    const struct hyperv_host_ops *host = h->p.host;
    const struct hv_vm_spec *s = &rec->spec;
    int r = host->grant(h->p.host_arg, dir, rec->guid, true, e);
    for (unsigned i = 0; r == 0 && i < s->n_disks; i++) {
        const char *names[] = {rec->layers[i].top, rec->layers[i].base};
        if (!s->disks[i].path)
            continue;
        r = host->grant(h->p.host_arg, s->disks[i].path, rec->guid, !s->disks[i].overlay, e);
        for (size_t k = 0; r == 0 && k < ARRAY_LEN(names); k++) {
            AUTO_FREE char *path = names[k][0] ? in_folder(dir, names[k]) : NULL;
            if (path)
                r = host->grant(h->p.host_arg, path, rec->guid, k == 0, e);
        }
    }
    if (r == 0 && s->dvd)
        r = host->grant(h->p.host_arg, s->dvd, rec->guid, false, e);
    return r;
}

void hyperv_disk_revoke(struct hyperv *h, const struct hyperv_record *rec)
{
    struct err e;
    for (unsigned i = 0; i <= rec->spec.n_disks && rec->guid[0]; i++) {
        const char *path = i < rec->spec.n_disks ? rec->spec.disks[i].path : rec->spec.dvd;
        if (path && h->p.host->revoke(h->p.host_arg, path, rec->guid, &e) < 0)
            log_err(LOG_LEVEL_WARNING, "the removed virtual machine's right to a file stays in its ACL", &e);
    }
}

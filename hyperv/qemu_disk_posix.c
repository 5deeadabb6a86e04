/* Disk images and what lies over them. Nothing is ever probed: QEMU is told driver and size of every layer.
 *  - A fixed VHD is opened as raw with an explicit size, its footer left out. QEMU's own VHD driver would compute the
 *    size from the CHS geometry for images that Azure wrote, and lose the end of the disk.
 *  - A dynamic VHD is opened with the size of its header (force_size_calc=current_size), for the same reason. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/json.h"
#include "hyperv/qemu.h"

#define IMG_QUICK_MS 120000                            /* calls that write headers or tables only */
#define IMG_COPY_MS (24u * 3600 * 1000)                /* conversion of a whole disk */
#define IMG_OUTPUT_MAX 65536

static json_t *image_node(const struct hv_disk *d, bool writable)
{
    json_t *file = json_pack("{s:s, s:s}", "driver", "file", "filename", d->path), *node = NULL;
    switch (d->format) {
    case HV_RAW:
    case HV_VHD: node = json_pack("{s:s, s:I, s:o}", "driver", "raw", "size", (json_int_t)d->virtual_size, "file", file); break;
    case HV_VHD_DYNAMIC: node = json_pack("{s:s, s:s, s:o}", "driver", "vpc", "force_size_calc", "current_size", "file", file); break;
    case HV_VHDX: node = json_pack("{s:s, s:o}", "driver", "vhdx", "file", file); break;
    case HV_QCOW2: node = json_pack("{s:s, s:n, s:o}", "driver", "qcow2", "backing", "file", file); break;
    }
    if (node && !writable)
        json_object_set_new(node, "read-only", json_true());
    return node;
}

static char *overlay_path(const char *dir, unsigned slot)
{
    if (slot == QEMU_VARS)
        return dir ? str_printf("%s/vars.qcow2", dir) : str_dup("vars.qcow2");
    return dir ? str_printf("%s/disk%u.qcow2", dir, slot) : str_printf("disk%u.qcow2", slot);
}

json_t *qemu_disk_node(const struct hv_disk *d, unsigned slot, const char *dir, bool named)
{
    json_t *node;
    if (d->overlay) {
        AUTO_FREE char *path = overlay_path(dir, slot);
        node = path ? json_pack("{s:s, s:s, s:{s:s, s:s}, s:o}", "driver", "qcow2", "discard", "unmap", "file", "driver", "file", "filename",
                                path, "backing", image_node(d, false))
                    : NULL;
    } else {
        node = image_node(d, true);
    }
    char name[16];
    snprintf(name, sizeof name, "disk%u", slot);
    if (node && named)
        json_object_set_new(node, "node-name", json_string(name));
    return node;
}

json_t *qemu_disk_vars_node(const char *dir)
{
    AUTO_FREE char *path = overlay_path(dir, QEMU_VARS);
    return path ? json_pack("{s:s, s:s, s:n, s:{s:s, s:s}}", "driver", "qcow2", "node-name", "vars", "backing", "file", "driver", "file",
                            "filename", path)
                : NULL;
}

/* "json:{…}", which qemu-img takes in place of a file name. */
static char *json_name(json_t *node)
{
    AUTO_FREE char *text = node ? json_dumps(node, JSON_COMPACT) : NULL;
    json_decref(node);
    return text ? str_printf("json:%s", text) : NULL;
}

int qemu_disk_check(const struct hv_disk *d, struct err *e)
{
    struct os_stat st;
    int r = os_stat(d->path, &st, e);
    if (r < 0)
        return r;
    if (!st.exists)
    {
        err_set(e, ERR_IMAGE_DAMAGED, "the disk image %s is not there", d->path);
        return err_hint(e, "Put the file back at this path and try again.");
    }
    if (!st.is_file)
        return err_set(e, ERR_VALUE, "the disk image %s is not a file", d->path);
    uint64_t need = d->format == HV_RAW ? d->virtual_size : d->format == HV_VHD ? d->virtual_size + 512 : 512;
    if (st.size < need)
        return err_set(e, ERR_IMAGE_DAMAGED, "the disk image %s has %llu bytes, %llu were expected", d->path, (unsigned long long)st.size,
                       (unsigned long long)need);
    return 0;
}

const char *qemu_last_line(char *text)
{
    char *line = text;
    for (char *p = text, *next; p && *p; p = next) {
        next = strchr(p, '\n');
        if (next)
            *next++ = 0;
        if (*p)
            line = p;
    }
    return line;
}

int qemu_img(struct qemu *q, const char *const *args, bool own_account, unsigned timeout_ms, hv_stop_fn *stop, void *arg, char **ret_out,
             struct err *e)
{
    const char *argv[24] = {q->img_program};
    size_t n = 0;
    for (; args[n] && n + 2 < ARRAY_LEN(argv); n++)
        argv[n + 1] = args[n];
    if (args[n])
        return err_set(e, ERR_INTERNAL, "too many arguments for qemu-img");
    if (!stop) {                                       /* nobody asked for this alone: it ends with the daemon */
        stop = q->stop;
        arg = q->stop_arg;
    }
    struct os_exec x = {.argv = argv, .cwd = "/", .run_as = q->as_other && !own_account ? q->run_as : NULL};
    AUTO_FREE char *out = NULL;
    int status = 0, r = os_run(&x, timeout_ms, IMG_OUTPUT_MAX, stop, arg, &out, &status, e);
    if (r == -ERR_NOT_FOUND)
        e->code = ERR_HYPERVISOR;
    if (r < 0)
        return -(int)e->code;
    if (status == 0) {
        if (ret_out)
            *ret_out = STEAL(out);
        return 0;
    }
    enum err_code code = strstr(out, "No space left on device") ? ERR_DISK_FULL : strstr(out, "Permission denied") ? ERR_PERMISSION : ERR_VM;
    err_set(e, code, "qemu-img %s failed: %s", args[0], qemu_last_line(out));
    snprintf(e->upstream.service, sizeof e->upstream.service, "qemu");
    if (code == ERR_PERMISSION && x.run_as)
        err_hint(e, "Let the account %s, under which virtual machines run, read the image and search the folders above it.", q->run_as);
    return -(int)code;
}

/* The file belongs to the account that QEMU runs under. */
static int give_away(struct qemu *q, const char *path, struct err *e)
{
    if (q->as_other && lchown(path, q->uid, q->gid) < 0)
        return err_os(e, ERR_IO, errno, "cannot give %s to the account %s", path, q->run_as);
    return 0;
}

int qemu_disk_make_overlay(struct qemu *q, const char *dir, const struct hv_disk *d, unsigned slot, struct err *e)
{
    static const char *const drivers[] = {
        [HV_RAW] = "raw", [HV_VHD] = "raw", [HV_VHD_DYNAMIC] = "vpc", [HV_VHDX] = "vhdx", [HV_QCOW2] = "qcow2"};
    AUTO_FREE char *path = overlay_path(dir, slot), *base = json_name(image_node(d, false));
    if (!path || !base)
        return err_oom(e);
    char size[32];
    snprintf(size, sizeof size, "%llu", (unsigned long long)d->virtual_size);
    const char *args[] = {"create", "-q", "-f", "qcow2", "-F", drivers[d->format], "-b", base, path, size, NULL};
    int r = qemu_img(q, args, false, IMG_QUICK_MS, NULL, NULL, NULL, e);
    return r < 0 ? r : give_away(q, path, e);
}

void qemu_disk_remove_overlay(const char *dir, unsigned slot)
{
    AUTO_FREE char *path = overlay_path(dir, slot);
    if (path)
        unlink(path);
}

/* The variable store is qcow2 too, because a checkpoint must hold it together with the disks. */
int qemu_disk_make_vars(struct qemu *q, const char *dir, struct err *e)
{
    const char *code, *vars;
    qemu_probe_firmware(&code, &vars);
    if (!vars)
        return err_set(e, ERR_HYPERVISOR, "there is no UEFI firmware (OVMF) on this host, which Generation 2 needs");
    AUTO_FREE char *path = overlay_path(dir, QEMU_VARS);
    if (!path)
        return err_oom(e);
    const char *args[] = {"convert", "-f", "raw", "-O", "qcow2", vars, path, NULL};
    int r = qemu_img(q, args, false, IMG_QUICK_MS, NULL, NULL, NULL, e);
    return r < 0 ? r : give_away(q, path, e);
}

int qemu_disk_snapshot(struct qemu *q, const char *dir, const struct hv_disk *d, unsigned slot, char op, const char *tag, struct err *e)
{
    AUTO_FREE char *name = json_name(slot == QEMU_VARS ? qemu_disk_vars_node(dir) : qemu_disk_node(d, slot, dir, false));
    if (!name)
        return err_oom(e);
    const char flag[] = {'-', op, 0};
    const char *args[] = {"snapshot", flag, tag, name, NULL};
    return qemu_img(q, args, false, IMG_QUICK_MS, NULL, NULL, NULL, e);
}

/* The VM account owns the overlay and may write anything into its header; an export reads it under our own account. What the header names
 * beside itself must not be followed: the backing file is stated by us, and an external data file is refused. */
static int check_overlay(const char *dir, unsigned slot, struct err *e)
{
    uint8_t h[80] = {0};
    AUTO_FREE char *path = overlay_path(NULL, slot);
    size_t n = 0;
    int fd = path ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0)
        return path ? err_os(e, ERR_IO, errno, "cannot open the folder %s", dir) : err_oom(e);
    int r = qemu_read_at(fd, path, 0, h, sizeof h, &n, NULL, e);
    close(fd);
    if (r < 0)
        return r;
    uint64_t incompatible = 0;
    for (int i = 72; i < 80; i++)
        incompatible = incompatible << 8 | h[i];
    /* dirty, corrupt, compression type, extended L2 entries: what may be there; source: QEMU, docs/interop/qcow2.txt, "Header" */
    const uint64_t harmless = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 4;
    bool version_2 = h[7] == 2;                        /* has no feature bits yet */
    if (n < sizeof h || memcmp(h, "QFI\xfb\0\0\0", 7) || (!version_2 && (h[7] != 3 || (incompatible & ~harmless))))
        return err_set(e, ERR_IMAGE_DAMAGED, "%s/%s is no overlay as it was made: its header is another one", dir, path);
    return 0;
}

/* What qemu-img writes shows as allocated bytes of the new file; scaled to the virtual size by what `measure` foretold. */
struct watch {
    hv_stop_fn *stop;
    hv_progress_fn *progress;
    void *arg;
    const char *path;
    uint64_t virtual_size, expected, shown;
};

static bool watch(void *arg)
{
    struct watch *w = arg;
    struct os_stat st;
    struct err ignored;
    if (w->progress && os_stat(w->path, &st, &ignored) == 0 && st.exists) {
        double part = w->expected ? (double)st.allocated / (double)w->expected : 0;
        uint64_t done = (uint64_t)((part > 1 ? 1 : part) * (double)w->virtual_size);
        if (done > w->shown)
            w->shown = done;
        w->progress(w->arg, w->shown, w->virtual_size);
    }
    return w->stop && w->stop(w->arg);
}

static int measure(struct qemu *q, const char *name, struct watch *w, struct err *e)
{
    const char *args[] = {"measure", "--output=json", "-O", "qcow2", name, NULL};
    AUTO_FREE char *out = NULL;
    json_t *o = NULL;
    int r = qemu_img(q, args, true, IMG_QUICK_MS, w->stop, w->arg, &out, e);
    if (r == 0)
        r = json_parse(out, strlen(out), &o, e);
    if (r == 0)
        w->expected = (uint64_t)json_integer_value(json_object_get(o, "required"));
    json_decref(o);
    return r;
}

int qemu_disk_convert(struct qemu *q, const char *dir, const struct hv_disk *d, unsigned slot, enum hv_format format, const char *path,
                      hv_stop_fn *stop, hv_progress_fn *progress, void *arg, struct err *e)
{
    /* force_size: exactly this many bytes, not the next size that fits a CHS geometry */
    static const struct {
        const char *driver, *options;
    } to[] = {
        [HV_RAW] = {"raw", "preallocation=off"},
        [HV_VHD] = {"vpc", "subformat=fixed,force_size=on"},
        [HV_VHD_DYNAMIC] = {"vpc", "subformat=dynamic,force_size=on"},
        [HV_VHDX] = {"vhdx", "subformat=dynamic"},
        [HV_QCOW2] = {"qcow2", "compat=1.1"},
    };
    if ((size_t)format >= ARRAY_LEN(to))
        return err_set(e, ERR_VALUE, "this disk format cannot be written");
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r < 0)
        return r;
    if (st.exists) {
        err_set(e, ERR_WRONG_STATE, "%s is there already; an export does not overwrite", path);
        return err_hint(e, "Choose another path, or remove the file.");
    }
    AUTO_FREE char *name = json_name(qemu_disk_node(d, slot, dir, false));
    if (!name)
        return err_oom(e);
    if (d->overlay && (r = check_overlay(dir, slot, e)) < 0)
        return r;
    struct watch w = {.stop = stop, .progress = progress, .arg = arg, .path = path, .virtual_size = d->virtual_size};
    r = measure(q, name, &w, e);
    if (r < 0)
        return r;
    /* under our own account: the VM's must not be able to write wherever an export goes */
    const char *args[] = {"convert", "-O", to[format].driver, "-o", to[format].options, name, path, NULL};
    r = qemu_img(q, args, true, IMG_COPY_MS, watch, &w, NULL, e);
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    if (r == 0)
        r = os_file_open(path, OS_WRITE, &f, e);
    if (r == 0)
        r = os_file_sync(f, e);
    if (r == 0 && progress)
        progress(arg, d->virtual_size, d->virtual_size);
    if (r < 0) {
        struct err ignored;
        os_remove(path, &ignored);
    }
    return r;
}

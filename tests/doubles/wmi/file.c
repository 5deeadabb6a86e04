/* What the test's file system does not have: attributes of NTFS, and rights of single VMs. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

struct dfile *file_of(struct dbl *d, const char *path, bool make)
{
    for (size_t i = 0; i < d->n_files; i++)
        if (!strcmp(d->files[i]->path, path))
            return d->files[i];
    if (!make)
        return NULL;
    struct dfile *f = x_calloc(1, sizeof *f);
    f->path = x_dup(path);
    f->attr = file_attributes(d, path);
    d->files = x_grow(d->files, d->n_files + 1, sizeof *d->files);
    return d->files[d->n_files++] = f;
}

/* Of the file, or else of the nearest folder above that has some: what is made in it inherits them. */
struct dbl_file file_attributes(struct dbl *d, const char *path)
{
    AUTO_FREE char *at = x_dup(path);
    for (;;) {
        struct dfile *f = file_of(d, at, false);
        if (f)
            return f->attr;
        char *slash = strrchr(at, '/'), *back = strrchr(at, '\\');
        char *cut = slash > back ? slash : back;
        if (!cut || cut == at)
            return (struct dbl_file){0};
        *cut = 0;
    }
}

bool same_file(const char *a, const char *b)
{
    char x[OS_FILE_ID] = "", y[OS_FILE_ID] = "";
    struct err e;
    if (!strcmp(a, b))
        return true;
    return os_file_id(a, x, &e) == 0 && os_file_id(b, y, &e) == 0 && *x && !strcmp(x, y);
}

void file_grant(struct dbl *d, const char *path, const char *guid, bool write)
{
    struct dfile *f = file_of(d, path, true);
    char id[OS_FILE_ID] = "";
    struct err e;
    os_file_id(path, id, &e);
    size_t at = 0;
    while (at < f->n_grants && (!str_ieq(f->grant[at].guid, guid) || strcmp(f->grant[at].file_id, id) != 0))
        at++;
    if (at == ARRAY_LEN(f->grant)) {
        memmove(&f->grant[0], &f->grant[1], (at - 1) * sizeof f->grant[0]);
        at--;
    }
    bool had = at < f->n_grants;
    snprintf(f->grant[at].guid, sizeof f->grant[at].guid, "%s", guid);
    snprintf(f->grant[at].file_id, sizeof f->grant[at].file_id, "%s", id);
    f->grant[at].write = write || (had && f->grant[at].write);
    if (!had)
        f->n_grants = at + 1;
}

void file_revoke(struct dbl *d, const char *path, const char *guid)
{
    struct dfile *f = file_of(d, path, false);
    for (size_t i = 0; f && i < f->n_grants;)
        if (str_ieq(f->grant[i].guid, guid))
            f->grant[i] = f->grant[--f->n_grants];
        else
            i++;
}

/* An entry belongs to the file, not to its name: one that was put in its place has none. */
bool file_may(struct dbl *d, const char *path, const char *guid, bool write)
{
    struct dfile *f = file_of(d, path, false);
    char id[OS_FILE_ID] = "";
    struct err e;
    os_file_id(path, id, &e);
    for (size_t i = 0; f && i < f->n_grants; i++)
        if ((!*f->grant[i].guid || str_ieq(f->grant[i].guid, guid)) && !strcmp(f->grant[i].file_id, id) && (f->grant[i].write || !write))
            return true;
    return false;
}

uint32_t media_check(struct dbl *d, const char *path, bool attributes)
{
    uint32_t h = disk_check_chain(path);
    AUTO_FREE char *at = x_dup(path);
    struct disk_info info;
    for (unsigned n = 0; attributes && n < 64; n++) {
        struct dbl_file a = file_attributes(d, at);
        bool sparse_is_fine = a.refs && schema_build(d->schema) >= DBL_2019;
        if ((a.sparse && !sparse_is_fine) || a.compressed || a.encrypted)
            return 0xC03A001Au;
        if (disk_info_of(at, &info) || info.type != DISK_DIFF)
            break;
        free(at);
        at = x_dup(info.parent);
    }
    return h;
}

/* ---- what the driver asks of the host ---- */

static int host_file(void *arg, const char *path, struct hyperv_file *ret, struct err *e)
{
    struct dbl *d = arg;
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r < 0)
        return r;
    if (!st.exists)
        return err_set(e, ERR_NOT_FOUND, "%s does not exist", path);
    pthread_mutex_lock(&d->lock);
    struct dbl_file a = file_attributes(d, path);
    pthread_mutex_unlock(&d->lock);
    *ret = (struct hyperv_file){.sparse = a.sparse, .compressed = a.compressed, .encrypted = a.encrypted, .recalled = a.recalled};
    snprintf(ret->file_system, sizeof ret->file_system, "%s", a.refs ? "ReFS" : "NTFS");
    return 0;
}

static int host_grant(void *arg, const char *path, const char *vm_guid, bool write, struct err *e)
{
    struct dbl *d = arg;
    struct os_stat st;
    int r = os_stat(path, &st, e);
    if (r == 0 && !st.exists)
        r = err_set(e, ERR_NOT_FOUND, "%s does not exist", path);
    if (r < 0)
        return r;
    pthread_mutex_lock(&d->lock);
    file_grant(d, path, vm_guid ? vm_guid : "", write);
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static int host_revoke(void *arg, const char *path, const char *vm_guid, struct err *e)
{
    struct dbl *d = arg;
    (void)e;
    pthread_mutex_lock(&d->lock);
    file_revoke(d, path, vm_guid ? vm_guid : "");
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static int host_uncompressed(void *arg, const char *path, struct err *e)
{
    struct dbl *d = arg;
    (void)e;
    pthread_mutex_lock(&d->lock);
    file_of(d, path, true)->attr.compressed = false;
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static bool host_hypervisor(void *arg)
{
    return !((struct dbl *)arg)->o.no_hypervisor;
}

static void host_size(void *arg, uint64_t *ret_total, uint64_t *ret_available, unsigned *ret_cpus)
{
    struct dbl *d = arg;
    *ret_total = (d->o.memory_mib + 2048) << 20;
    pthread_mutex_lock(&d->lock);
    uint64_t used = 0;
    for (struct vm *vm = d->vms; vm; vm = vm->next) {
        struct inst *m = vm_is_off(vm) || vm->foreign ? NULL : vm_device(d, vm->settings, "Memory", 0);
        used += m ? obj_uint(m->o, "VirtualQuantity", 0) : 0;
    }
    pthread_mutex_unlock(&d->lock);
    *ret_available = (d->o.memory_mib > used ? d->o.memory_mib - used : 0) << 20;
    *ret_cpus = d->o.cpus;
}

static int64_t host_now(void *arg)
{
    return dbl_now(arg);
}

static void host_sleep(void *arg, unsigned ms)
{
    dbl_pass(arg, ms);
}

const struct hyperv_host_ops dbl_host_ops = {
    .file = host_file,
    .grant = host_grant,
    .revoke = host_revoke,
    .uncompressed_folder = host_uncompressed,
    .hypervisor_runs = host_hypervisor,
    .size = host_size,
    .now_ms = host_now,
    .sleep_ms = host_sleep,
};

/* ---- for tests ---- */

void dbl_file_set(struct dbl *d, const char *path, struct dbl_file attr)
{
    pthread_mutex_lock(&d->lock);
    file_of(d, path, true)->attr = attr;
    pthread_mutex_unlock(&d->lock);
}

void dbl_file_mounted(struct dbl *d, const char *path, bool mounted)
{
    pthread_mutex_lock(&d->lock);
    file_of(d, path, true)->mounted = mounted;
    pthread_mutex_unlock(&d->lock);
}

bool dbl_file_granted(struct dbl *d, const char *path, const char *guid, bool write)
{
    pthread_mutex_lock(&d->lock);
    bool ok = file_may(d, path, guid, write);
    pthread_mutex_unlock(&d->lock);
    return ok;
}

uint32_t dbl_disk_write(struct dbl *d, const char *path, uint64_t offset, const void *data, size_t n)
{
    pthread_mutex_lock(&d->lock);
    uint32_t h = disk_write(path, offset, data, n);
    pthread_mutex_unlock(&d->lock);
    return h;
}

uint32_t dbl_disk_read(struct dbl *d, const char *path, uint64_t offset, void *data, size_t n)
{
    pthread_mutex_lock(&d->lock);
    uint32_t h = disk_read(path, offset, data, n);
    pthread_mutex_unlock(&d->lock);
    return h;
}

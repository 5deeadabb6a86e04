/* vm.json: what a VM is, between two runs of the daemon. Written by us alone, read back strictly. */
#include <string.h>

#include "common/json.h"
#include "hyperv/qemu.h"

#define FILE_MAX ((size_t)1 << 20)
#define VERSION 1

static const char *const formats[] = {
    [HV_RAW] = "raw", [HV_VHD] = "vhd", [HV_VHD_DYNAMIC] = "vhd_dynamic", [HV_VHDX] = "vhdx", [HV_QCOW2] = "qcow2", NULL};

void qemu_def_clear(struct qemu_def *d)
{
    hv_vm_spec_clear(&d->spec);
    json_decref(d->created);
    memset(d, 0, sizeof *d);
}

int qemu_def_copy(const struct qemu_def *d, struct qemu_def *ret, struct err *e)
{
    struct qemu_def c = *d;
    int r = hv_vm_spec_copy(&d->spec, &c.spec, e);
    if (r < 0)
        return r;
    c.created = json_incref(d->created);
    *ret = c;
    return 0;
}

json_t *qemu_def_spec_json(const struct hv_vm_spec *s)
{
    json_t *disks = json_array();
    for (size_t i = 0; i < s->n_disks; i++) {
        const struct hv_disk *d = &s->disks[i];
        if (!d->path)
            continue;
        json_array_append_new(disks, json_pack("{s:i, s:s, s:s, s:I, s:b}", "slot", (int)i, "path", d->path, "format", formats[d->format],
                                               "virtual_size", (json_int_t)d->virtual_size, "overlay", (int)d->overlay));
    }
    return json_pack("{s:s, s:s?, s:s?, s:i, s:i, s:i, s:s, s:s?, s:o}", "id", s->id, "job_id", s->job_id, "name", s->name, "generation",
                     (int)s->generation, "memory_mib", (int)s->memory_mib, "cpus", (int)s->cpus, "network", s->network, "dvd", s->dvd,
                     "disks", disks);
}

static bool copy_string(json_t *o, const char *key, bool required, char **ret)
{
    const char *s = json_string_value(json_object_get(o, key));
    *ret = str_dup(s);
    return s ? *ret != NULL : !required;
}

static bool int_between(json_t *o, const char *key, long long min, long long max, long long *ret)
{
    json_t *v = json_object_get(o, key);
    *ret = json_integer_value(v);
    return json_is_integer(v) && *ret >= min && *ret <= max;
}

static bool read_disk(json_t *o, struct hv_vm_spec *s)
{
    long long slot, size;
    const char *format = json_string_value(json_object_get(o, "format"));
    json_t *overlay = json_object_get(o, "overlay");
    if (!int_between(o, "slot", 0, HV_DISKS_MAX - 1, &slot) || !int_between(o, "virtual_size", 512, (long long)HV_DISK_BYTES_MAX, &size) ||
        !format || !json_is_boolean(overlay) || s->disks[slot].path)
        return false;
    struct hv_disk *d = &s->disks[slot];
    int f = 0;
    while (formats[f] && strcmp(formats[f], format))
        f++;
    *d = (struct hv_disk){.format = (enum hv_format)f, .virtual_size = (uint64_t)size, .overlay = json_is_true(overlay)};
    if ((size_t)slot >= s->n_disks)
        s->n_disks = (size_t)slot + 1;
    return formats[f] && copy_string(o, "path", true, &d->path);
}

static bool read_spec(json_t *o, struct hv_vm_spec *s)
{
    long long generation, memory, cpus;
    bool ok = copy_string(o, "id", true, &s->id) && copy_string(o, "job_id", false, &s->job_id) && copy_string(o, "name", false, &s->name) &&
              copy_string(o, "network", true, &s->network) && copy_string(o, "dvd", false, &s->dvd);
    ok = ok && int_between(o, "generation", 1, 2, &generation) && int_between(o, "memory_mib", HV_MEMORY_MIB_MIN, HV_MEMORY_MIB_MAX, &memory) &&
         int_between(o, "cpus", 1, HV_CPUS_MAX, &cpus);
    if (!ok)
        return false;
    s->generation = (unsigned)generation;
    s->memory_mib = (unsigned)memory;
    s->cpus = (unsigned)cpus;
    json_t *disks = json_object_get(o, "disks"), *disk;
    size_t i;
    json_array_foreach(disks, i, disk)
        if (!read_disk(disk, s))
            return false;
    return json_is_array(disks);
}

static json_t *checkpoint_json(const struct qemu_checkpoint *c)
{
    return json_pack("{s:s, s:s, s:I, s:b, s:i, s:i, s:b}", "id", c->c.id, "name", c->c.name, "created_at_ms",
                     (json_int_t)c->c.created_at_ms, "with_memory", (int)c->c.with_memory, "slots", (int)c->slots, "lost", (int)c->lost,
                     "complete", (int)c->complete);
}

static bool read_checkpoint(json_t *o, struct qemu_checkpoint *c)
{
    const char *id = json_string_value(json_object_get(o, "id")), *name = json_string_value(json_object_get(o, "name"));
    long long created, slots, lost;
    if (!id || !crypto_is_uuid(id) || !name || strlen(name) > HV_NAME_MAX || !int_between(o, "created_at_ms", 0, INT64_MAX, &created) ||
        !int_between(o, "slots", 0, (1 << HV_DISKS_MAX) - 1, &slots) || !int_between(o, "lost", 0, (1 << HV_DISKS_MAX) - 1, &lost))
        return false;
    *c = (struct qemu_checkpoint){.slots = (unsigned)slots, .lost = (unsigned)lost, .complete = json_is_true(json_object_get(o, "complete"))};
    c->c.created_at_ms = created;
    c->c.with_memory = json_is_true(json_object_get(o, "with_memory"));
    memcpy(c->c.id, id, strlen(id) + 1);
    memcpy(c->c.name, name, strlen(name) + 1);
    return true;
}

static bool read_def(json_t *o, struct qemu_def *d)
{
    long long version, started;
    const char *machine = json_string_value(json_object_get(o, "machine")), *boot = json_string_value(json_object_get(o, "boot_id"));
    if (!int_between(o, "version", VERSION, VERSION, &version) || !int_between(o, "started_at_ms", 0, INT64_MAX, &started) || !machine ||
        strlen(machine) >= sizeof d->machine || !boot || strlen(boot) >= sizeof d->boot_id)
        return false;
    d->started_at_ms = started;
    memcpy(d->machine, machine, strlen(machine) + 1);
    memcpy(d->boot_id, boot, strlen(boot) + 1);
    d->created = json_incref(json_object_get(o, "created"));
    json_t *checkpoints = json_object_get(o, "checkpoints"), *c;
    size_t i;
    json_array_foreach(checkpoints, i, c)
        if (i >= HV_CHECKPOINTS_MAX || !read_checkpoint(c, &d->checkpoints[d->n_checkpoints++]))
            return false;
    return d->created && json_is_array(checkpoints) && read_spec(json_object_get(o, "vm"), &d->spec);
}

int qemu_def_load(const char *dir, struct qemu_def *ret, struct err *e)
{
    AUTO_FREE char *path = os_path_join(dir, "vm.json"), *text = NULL;
    struct os_stat st;
    size_t n = 0;
    if (!path)
        return err_oom(e);
    int r = os_stat(path, &st, e);
    if (r == 0 && !st.exists)
        r = err_set(e, ERR_NOT_FOUND, "%s does not exist", path);
    if (r == 0)
        r = os_read_file(path, FILE_MAX, &text, &n, e);
    json_t *o = NULL;
    if (r == 0)
        r = json_parse(text, n, &o, e);
    if (r < 0)
        return err_prefix(e, "cannot read the definition of a virtual machine");
    struct qemu_def d = {0};
    if (!read_def(o, &d)) {
        qemu_def_clear(&d);
        r = err_set(e, ERR_IO, "the definition of a virtual machine in %s is damaged", path);
    } else {
        *ret = d;
    }
    json_decref(o);
    return r;
}

int qemu_def_save(const char *dir, const struct qemu_def *d, struct err *e)
{
    json_t *checkpoints = json_array();
    for (size_t i = 0; i < d->n_checkpoints; i++)
        json_array_append_new(checkpoints, checkpoint_json(&d->checkpoints[i]));
    json_t *o = json_pack("{s:i, s:s, s:I, s:s, s:o, s:O, s:o}", "version", VERSION, "machine", d->machine, "started_at_ms",
                          (json_int_t)d->started_at_ms, "boot_id", d->boot_id, "vm", qemu_def_spec_json(&d->spec), "created", d->created,
                          "checkpoints", checkpoints);
    AUTO_FREE char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL, *path = os_path_join(dir, "vm.json");
    json_decref(o);
    if (!text || !path)
        return err_oom(e);
    return os_write_file(path, text, strlen(text), OS_PRIVATE, e);
}

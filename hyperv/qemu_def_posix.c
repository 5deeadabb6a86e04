/* vm.json: what a VM is, between two runs of the daemon. Written by us alone, read back strictly. */
#include <string.h>

#include "common/json.h"
#include "hyperv/qemu.h"
#include "hyperv/vmspec.h"

#define VERSION 1

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
    if (!id || !crypto_is_uuid(id) || !name || strlen(name) > HV_NAME_MAX || !vmspec_int(o, "created_at_ms", 0, INT64_MAX, &created) ||
        !vmspec_int(o, "slots", 0, (1 << HV_DISKS_MAX) - 1, &slots) || !vmspec_int(o, "lost", 0, (1 << HV_DISKS_MAX) - 1, &lost))
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
    if (!vmspec_int(o, "version", VERSION, VERSION, &version) || !vmspec_int(o, "started_at_ms", 0, INT64_MAX, &started) || !machine ||
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
    return d->created && json_is_array(checkpoints) && vmspec_read(json_object_get(o, "vm"), &d->spec);
}

int qemu_def_load(const char *dir, struct qemu_def *ret, struct err *e)
{
    json_t *o = NULL;
    int r = vmspec_file_read(dir, &o, e);
    if (r < 0)
        return r;
    struct qemu_def d = {0};
    if (!read_def(o, &d)) {
        qemu_def_clear(&d);
        r = err_set(e, ERR_IO, "the definition of a virtual machine, %s/vm.json, is damaged", dir);
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
                          (json_int_t)d->started_at_ms, "boot_id", d->boot_id, "vm", vmspec_json(&d->spec), "created", d->created,
                          "checkpoints", checkpoints);
    return vmspec_file_write(dir, o, e);
}

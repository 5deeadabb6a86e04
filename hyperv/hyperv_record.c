/* vm.json: what we know of a VM between two runs of the daemon. Written by us alone, read back strictly. */
#include <string.h>

#include "common/json.h"
#include "hyperv/hyperv.h"
#include "hyperv/vmspec.h"

#define VERSION 1

static void checkpoint_clear(struct hyperv_checkpoint *c)
{
    hv_vm_spec_clear(&c->spec);
    wmi_strs_free(c->before);
    memset(c, 0, sizeof *c);
}

void hyperv_record_clear(struct hyperv_record *r)
{
    hv_vm_spec_clear(&r->spec);
    json_decref(r->created);
    for (size_t i = 0; i < r->n_checkpoints; i++)
        checkpoint_clear(&r->checkpoints[i]);
    free(r->checkpoints);
    memset(r, 0, sizeof *r);
}

static int copy_list(char **list, char ***ret, struct err *e)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    *ret = NULL;
    if (!list)
        return 0;
    AUTO(wmi_strs_free_ptr) char **c = calloc(n + 1, sizeof(char *));
    for (size_t i = 0; c && i < n; i++)
        if (!(c[i] = str_dup(list[i])))
            return err_oom(e);
    if (!c)
        return err_oom(e);
    *ret = STEAL(c);
    return 0;
}

int hyperv_record_copy(const struct hyperv_record *r, struct hyperv_record *ret, struct err *e)
{
    struct hyperv_record c = *r;
    c.checkpoints = calloc(HV_CHECKPOINTS_MAX, sizeof *c.checkpoints);
    c.created = NULL;
    c.n_checkpoints = 0;
    memset(&c.spec, 0, sizeof c.spec);
    int status = c.checkpoints ? hv_vm_spec_copy(&r->spec, &c.spec, e) : err_oom(e);
    for (size_t i = 0; status == 0 && i < r->n_checkpoints; i++) {
        struct hyperv_checkpoint *to = &c.checkpoints[c.n_checkpoints++];
        *to = r->checkpoints[i];
        memset(&to->spec, 0, sizeof to->spec);
        to->before = NULL;
        status = hv_vm_spec_copy(&r->checkpoints[i].spec, &to->spec, e);
        if (status == 0)
            status = copy_list(r->checkpoints[i].before, &to->before, e);
    }
    if (status < 0) {
        hyperv_record_clear(&c);
        return status;
    }
    c.created = json_incref(r->created);
    *ret = c;
    return 0;
}

void hyperv_record_drop_checkpoint(struct hyperv_record *r, size_t i)
{
    checkpoint_clear(&r->checkpoints[i]);
    memmove(&r->checkpoints[i], &r->checkpoints[i + 1], (r->n_checkpoints - i - 1) * sizeof *r->checkpoints);
    memset(&r->checkpoints[--r->n_checkpoints], 0, sizeof *r->checkpoints);
}

void hyperv_record_file(struct hyperv_record *r, const char *kind, unsigned slot, const char *ext, char ret[HYPERV_FILE])
{
    snprintf(ret, HYPERV_FILE, "%.8s%u-%u.%.8s", kind, slot, ++r->next_file, ext);
}

/* ---- JSON ---- */

static json_t *layers_json(const struct hyperv_layer *layers)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < HV_DISKS_MAX; i++)
        if (layers[i].top[0] || layers[i].base[0])
            json_array_append_new(list, json_pack("{s:i, s:s, s:s}", "slot", (int)i, "top", layers[i].top, "base", layers[i].base));
    return list;
}

static json_t *checkpoint_json(const struct hyperv_checkpoint *c)
{
    json_t *before = json_array();
    for (size_t i = 0; c->before && c->before[i]; i++)
        json_array_append_new(before, json_string(c->before[i]));
    return json_pack("{s:s, s:s, s:I, s:b, s:s, s:o, s:o, s:o}", "id", c->c.id, "name", c->c.name, "created_at_ms",
                     (json_int_t)c->c.created_at_ms, "with_memory", (int)c->c.with_memory, "instance", c->instance, "vm",
                     vmspec_json(&c->spec), "layers", layers_json(c->layers), "before", before);
}

/* A member that is a string and fits. */
static bool read_text(json_t *o, const char *key, char *ret, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));
    if (!s || strlen(s) >= size)
        return false;
    memcpy(ret, s, strlen(s) + 1);
    return true;
}

/* Only a plain name: what is read here is removed some day. */
static bool read_name(json_t *o, const char *key, char ret[HYPERV_FILE])
{
    return read_text(o, key, ret, HYPERV_FILE) && !strpbrk(ret, "/\\:") && ret[0] != '.';
}

static bool read_layers(json_t *list, struct hyperv_layer *layers)
{
    json_t *o;
    size_t i;
    long long slot;
    json_array_foreach(list, i, o)
        if (!vmspec_int(o, "slot", 0, HV_DISKS_MAX - 1, &slot) || !read_name(o, "top", layers[slot].top) || !read_name(o, "base", layers[slot].base))
            return false;
    return json_is_array(list);
}

static bool read_before(json_t *list, struct hyperv_checkpoint *c)
{
    json_t *s;
    size_t i;
    if (!json_is_array(list) || !(c->before = calloc(json_array_size(list) + 1, sizeof(char *))))
        return false;
    json_array_foreach(list, i, s)
        if (!(c->before[i] = str_dup(json_string_value(s))))
            return false;
    return true;
}

static bool read_checkpoint(json_t *o, struct hyperv_checkpoint *c)
{
    long long created;
    c->c.with_memory = json_is_true(json_object_get(o, "with_memory"));
    if (!read_text(o, "id", c->c.id, sizeof c->c.id) || !crypto_is_uuid(c->c.id) || !read_text(o, "name", c->c.name, sizeof c->c.name) ||
        !vmspec_int(o, "created_at_ms", 0, INT64_MAX, &created) || !read_text(o, "instance", c->instance, sizeof c->instance))
        return false;
    c->c.created_at_ms = created;
    return vmspec_read(json_object_get(o, "vm"), &c->spec) && read_layers(json_object_get(o, "layers"), c->layers) &&
           read_before(json_object_get(o, "before"), c);
}

static bool read_record(json_t *o, struct hyperv_record *r)
{
    long long version, started, next;
    json_t *checkpoints = json_object_get(o, "checkpoints"), *c;
    size_t i;
    if (!vmspec_int(o, "version", VERSION, VERSION, &version) || !vmspec_int(o, "started_at_ms", 0, INT64_MAX, &started) ||
        !vmspec_int(o, "next_file", 0, INT32_MAX, &next) || !read_text(o, "guid", r->guid, sizeof r->guid) ||
        !read_text(o, "mark", r->mark, sizeof r->mark) || !crypto_is_uuid(r->mark) || (r->guid[0] && !hyperv_is_guid(r->guid)))
        return false;
    r->started_at_ms = started;
    r->next_file = (unsigned)next;
    r->complete = json_is_true(json_object_get(o, "complete"));
    r->created = json_incref(json_object_get(o, "created"));
    if (!json_is_array(checkpoints) || !(r->checkpoints = calloc(HV_CHECKPOINTS_MAX, sizeof *r->checkpoints)))
        return false;
    json_array_foreach(checkpoints, i, c)
        if (i >= HV_CHECKPOINTS_MAX || !read_checkpoint(c, &r->checkpoints[r->n_checkpoints++]))
            return false;
    return r->created && vmspec_read(json_object_get(o, "vm"), &r->spec) && read_layers(json_object_get(o, "layers"), r->layers);
}

int hyperv_record_load(const char *dir, struct hyperv_record *ret, struct err *e)
{
    json_t *o = NULL;
    int status = vmspec_file_read(dir, &o, e);
    if (status < 0)
        return status;
    struct hyperv_record r = {0};
    if (!read_record(o, &r)) {
        hyperv_record_clear(&r);
        status = err_set(e, ERR_IO, "the record of a virtual machine, %s/vm.json, is damaged", dir);
    } else {
        *ret = r;
    }
    json_decref(o);
    return status;
}

int hyperv_record_save(const char *dir, const struct hyperv_record *r, struct err *e)
{
    json_t *checkpoints = json_array();
    for (size_t i = 0; i < r->n_checkpoints; i++)
        json_array_append_new(checkpoints, checkpoint_json(&r->checkpoints[i]));
    json_t *o = json_pack("{s:i, s:s, s:s, s:b, s:I, s:i, s:o, s:O, s:o, s:o}", "version", VERSION, "guid", r->guid, "mark", r->mark,
                          "complete", (int)r->complete, "started_at_ms", (json_int_t)r->started_at_ms, "next_file",
                          (int)r->next_file, "vm", vmspec_json(&r->spec), "created", r->created, "layers", layers_json(r->layers),
                          "checkpoints", checkpoints);
    return vmspec_file_write(dir, o, e);
}

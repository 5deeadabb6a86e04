/* A VM's specification as JSON, written by us alone and read back strictly. */
#include "hyperv/vmspec.h"

#include <string.h>

#include "common/json.h"
#include "common/os.h"

#define FILE_MAX ((size_t)4 << 20)

static const char *const formats[] = {
    [HV_RAW] = "raw", [HV_VHD] = "vhd", [HV_VHD_DYNAMIC] = "vhd_dynamic", [HV_VHDX] = "vhdx", [HV_QCOW2] = "qcow2", NULL};
static const char *const guests[] = {[HV_GUEST_UNKNOWN] = "unknown", [HV_GUEST_WINDOWS] = "windows", [HV_GUEST_LINUX] = "linux", NULL};

const char *vmspec_format_name(enum hv_format f)
{
    return (size_t)f < ARRAY_LEN(formats) - 1 ? formats[f] : "unknown";
}

/* Members of later versions appear only when they say something, so that a specification of an earlier one stays equal to itself. */
json_t *vmspec_json(const struct hv_vm_spec *s)
{
    json_t *disks = json_array();
    for (size_t i = 0; i < s->n_disks; i++) {
        const struct hv_disk *d = &s->disks[i];
        if (!d->path)
            continue;
        json_array_append_new(disks, json_pack("{s:i, s:s, s:s, s:I, s:b}", "slot", (int)i, "path", d->path, "format", formats[d->format],
                                               "virtual_size", (json_int_t)d->virtual_size, "overlay", (int)d->overlay));
    }
    json_t *o = json_pack("{s:s, s:s?, s:s?, s:i, s:i, s:i, s:s, s:s?, s:o}", "id", s->id, "job_id", s->job_id, "name", s->name, "generation",
                          (int)s->generation, "memory_mib", (int)s->memory_mib, "cpus", (int)s->cpus, "network", s->network, "dvd", s->dvd,
                          "disks", disks);
    if (o && s->guest != HV_GUEST_UNKNOWN)
        json_object_set_new(o, "guest", json_string(guests[s->guest]));
    if (o && s->nested)
        json_object_set_new(o, "nested", json_true());
    return o;
}

static bool copy_string(json_t *o, const char *key, bool required, char **ret)
{
    const char *s = json_string_value(json_object_get(o, key));
    *ret = str_dup(s);
    return s ? *ret != NULL : !required;
}

bool vmspec_int(json_t *o, const char *key, long long min, long long max, long long *ret)
{
    json_t *v = json_object_get(o, key);
    *ret = json_integer_value(v);
    return json_is_integer(v) && *ret >= min && *ret <= max;
}

/* The word's place in the list; false if it is not there. */
static bool read_word(json_t *o, const char *key, const char *const *words, int *ret)
{
    const char *s = json_string_value(json_object_get(o, key));
    for (*ret = 0; s && words[*ret]; ++*ret)
        if (!strcmp(words[*ret], s))
            return true;
    return false;
}

static bool read_disk(json_t *o, struct hv_vm_spec *s)
{
    long long slot, size;
    int format;
    json_t *overlay = json_object_get(o, "overlay");
    if (!vmspec_int(o, "slot", 0, HV_DISKS_MAX - 1, &slot) || !vmspec_int(o, "virtual_size", 512, (long long)HV_DISK_BYTES_MAX, &size) ||
        !read_word(o, "format", formats, &format) || !json_is_boolean(overlay) || s->disks[slot].path)
        return false;
    s->disks[slot] = (struct hv_disk){.format = (enum hv_format)format, .virtual_size = (uint64_t)size, .overlay = json_is_true(overlay)};
    if ((size_t)slot >= s->n_disks)
        s->n_disks = (size_t)slot + 1;
    return copy_string(o, "path", true, &s->disks[slot].path);
}

bool vmspec_read(json_t *o, struct hv_vm_spec *s)
{
    long long generation, memory, cpus;
    int guest = HV_GUEST_UNKNOWN;
    bool ok = copy_string(o, "id", true, &s->id) && copy_string(o, "job_id", false, &s->job_id) && copy_string(o, "name", false, &s->name) &&
              copy_string(o, "network", true, &s->network) && copy_string(o, "dvd", false, &s->dvd);
    ok = ok && vmspec_int(o, "generation", 1, 2, &generation) && vmspec_int(o, "memory_mib", HV_MEMORY_MIB_MIN, HV_MEMORY_MIB_MAX, &memory) &&
         vmspec_int(o, "cpus", 1, HV_CPUS_MAX, &cpus) && (!json_object_get(o, "guest") || read_word(o, "guest", guests, &guest));
    if (!ok)
        return false;
    s->generation = (unsigned)generation;
    s->memory_mib = (unsigned)memory;
    s->cpus = (unsigned)cpus;
    s->guest = (enum hv_guest)guest;
    s->nested = json_is_true(json_object_get(o, "nested"));
    json_t *disks = json_object_get(o, "disks"), *disk;
    size_t i;
    json_array_foreach(disks, i, disk)
        if (!read_disk(disk, s))
            return false;
    return json_is_array(disks);
}

int vmspec_file_read(const char *dir, json_t **ret, struct err *e)
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
    if (r == 0)
        r = json_parse(text, n, ret, e);
    return r < 0 ? err_prefix(e, "cannot read the record of a virtual machine") : 0;
}

int vmspec_file_write(const char *dir, json_t *o, struct err *e)
{
    AUTO_FREE char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL, *path = os_path_join(dir, "vm.json");
    json_decref(o);
    if (!text || !path)
        return err_oom(e);
    return os_write_file(path, text, strlen(text), OS_PRIVATE, e);
}

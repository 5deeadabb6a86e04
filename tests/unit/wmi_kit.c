#include "tests/unit/wmi_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/tmp.h"

struct kit *kit_new(const struct dbl_options *given)
{
    struct dbl_options o = *given;
    if (!o.schema)
        o.schema = dbl_schema(DBL_2025);
    struct kit *k = calloc(1, sizeof *k);
    assert_non_null(k);
    k->tmp = tmp_make();
    k->wait.timeout_ms = 600000;
    k->d = dbl_new(&o);
    if (!o.no_role)
        assert_int_equal(wmi_open(&dbl_wmi_ops, k->d, WMI_NS_HYPERV, &k->wait, &k->hv, &k->e), 0);
    assert_int_equal(wmi_open(&dbl_wmi_ops, k->d, WMI_NS_STORAGE, &k->wait, &k->storage, &k->e), 0);
    assert_int_equal(wmi_open(&dbl_wmi_ops, k->d, WMI_NS_NETWORK, &k->wait, &k->net, &k->e), 0);
    return k;
}

void kit_free(struct kit *k)
{
    char *unmodelled = dbl_unmodelled(k->d);
    assert_string_equal(unmodelled, "");
    free(unmodelled);
    wmi_close(k->hv);
    wmi_close(k->storage);
    wmi_close(k->net);
    assert_int_equal(dbl_live_objects(k->d), 0);
    assert_int_equal(dbl_live_connections(k->d), 0);
    dbl_free(k->d);
    tmp_remove(k->tmp);
    free(k);
}

/* ---- reading ---- */

struct wmi_object *kit_one(struct kit *k, struct wmi *wmi, const char *wql)
{
    struct wmi_object *o = NULL;
    int r = wmi_query_one(wmi, wql, &k->wait, &o, &k->e);
    if (r < 0 && r != -ERR_NOT_FOUND)
        fail_msg("%s", k->e.msg);
    return o;
}

char *kit_path_of(struct kit *k, struct wmi *wmi, const char *wql)
{
    struct wmi_object *o = kit_one(k, wmi, wql);
    char *path = o ? wmi_str(o, "__PATH") : NULL;
    wmi_object_free(o);
    return path;
}

size_t kit_count(struct kit *k, struct wmi *wmi, const char *wql)
{
    struct wmi_rows rows = {0};
    if (wmi_query(wmi, wql, WMI_ROWS_MAX, &k->wait, &rows, &k->e) < 0)
        fail_msg("%s", k->e.msg);
    size_t n = rows.n;
    wmi_rows_clear(&rows);
    return n;
}

uint32_t kit_query_code(struct kit *k, struct wmi *wmi, const char *wql)
{
    struct wmi_rows rows = {0};
    if (wmi_query(wmi, wql, WMI_ROWS_MAX, &k->wait, &rows, &k->e) < 0)
        return wmi_hresult(&k->e);
    wmi_rows_clear(&rows);
    return 0;
}

/* ---- methods ---- */

struct wmi_object *kit_in(struct kit *k, struct wmi *wmi, const char *class, const char *method)
{
    struct wmi_object *in = NULL;
    if (wmi_method(wmi, class, method, &k->wait, &in, &k->e) < 0)
        fail_msg("%s", k->e.msg);
    return in;
}

void kit_said_clear(struct said *s)
{
    wmi_object_free(s->out);
    s->out = NULL;
}

static void wait_for_job(struct kit *k, const char *path, struct said *s)
{
    for (unsigned n = 0; n < 100000; n++) {
        struct wmi_object *job = NULL;
        if (wmi_get(k->hv, path, &k->wait, &job, &k->e) < 0)
            fail_msg("%s", k->e.msg);
        s->job_state = wmi_uint(job, "JobState", 0);
        if (s->job_state == 7 || s->job_state == 32768 || s->job_state == 10 || s->job_state == 8 || s->job_state == 9) {
            AUTO_FREE char *text = wmi_str(job, "ErrorDescription");
            s->failed = s->job_state != 7 && s->job_state != 32768;
            s->value = s->failed ? (uint32_t)wmi_uint(job, "ErrorCode", 0) : 0;
            snprintf(s->text, sizeof s->text, "%s", text ? text : "");
            const char *code = strstr(s->text, "(0x");
            s->code = s->failed && code ? (uint32_t)strtoul(code + 3, NULL, 16) : s->value;
            wmi_object_free(job);
            return;
        }
        wmi_object_free(job);
        dbl_pass(k->d, 100);
    }
    fail_msg("the job %s does not end", path);
}

struct said kit_exec(struct kit *k, struct wmi *wmi, const char *path, const char *method, struct wmi_object *in)
{
    struct said s = {0};
    if (wmi_exec(wmi, path, method, in, &k->wait, &s.out, &k->e) < 0)
        fail_msg("%s", k->e.msg);
    wmi_object_free(in);
    s.value = s.code = (uint32_t)wmi_uint(s.out, "ReturnValue", 0xFFFF);
    s.failed = s.value != 0;
    if (s.value == 4096) {
        s.was_job = true;
        AUTO_FREE char *job = wmi_str(s.out, "Job");
        assert_non_null(job);
        wait_for_job(k, job, &s);
    }
    return s;
}

uint32_t kit_call(struct kit *k, struct wmi *wmi, const char *path, const char *method, struct wmi_object *in)
{
    struct said s = kit_exec(k, wmi, path, method, in);
    kit_said_clear(&s);
    return s.code;
}

/* ---- VMs ---- */

static void put_pair(struct kit *k, struct wmi_object *o, const char *name, const char *value)
{
    struct wmi_property p;
    int r = o->ops->property(o, name, &p, &k->e);
    if (r == 0 && p.array) {
        const char *list[8];
        char copy[2048];
        size_t n = 0;
        snprintf(copy, sizeof copy, "%s", value);
        for (char *t = *copy ? copy : NULL, *next; t; t = next) {
            if ((next = strchr(t, '|')) != NULL)
                *next++ = 0;
            list[n++] = t;
        }
        if (p.type == WMI_STRING) {
            r = wmi_put_strs(o, name, list, n, &k->e);
        } else {
            uint64_t numbers[8];
            for (size_t i = 0; i < n; i++)
                numbers[i] = strtoull(list[i], NULL, 10);
            r = wmi_put_uints(o, name, numbers, n, &k->e);
        }
    } else if (r == 0 && p.type == WMI_BOOLEAN) {
        r = wmi_put_bool(o, name, !strcmp(value, "TRUE"), &k->e);
    } else if (r == 0 && (p.type == WMI_STRING || p.type == WMI_DATETIME || p.type == WMI_REFERENCE)) {
        r = wmi_put_str(o, name, value, &k->e);
    } else if (r == 0) {
        r = wmi_put_uint(o, name, strtoull(value, NULL, 10), &k->e);
    }
    if (r < 0)
        fail_msg("%s", k->e.msg);
}

char *kit_text(struct kit *k, const char *class, const char *const *pairs)
{
    struct wmi_object *o = NULL;
    char *text = NULL;
    assert_int_equal(wmi_spawn(k->hv, class, &k->wait, &o, &k->e), 0);
    for (; pairs && pairs[0]; pairs += 2)
        put_pair(k, o, pairs[0], pairs[1]);
    assert_int_equal(wmi_text(o, &text, &k->e), 0);
    wmi_object_free(o);
    return text;
}

struct said kit_service(struct kit *k, const char *method, const char *param, char *text, const char *affected)
{
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    assert_non_null(service);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", method);
    struct wmi_property p;
    assert_int_equal(in->ops->property(in, param, &p, &k->e), 0);
    int r = p.array ? wmi_put_strs(in, param, (const char *const[]){text}, 1, &k->e) : wmi_put_str(in, param, text, &k->e);
    assert_int_equal(r, 0);
    if (affected)
        assert_int_equal(wmi_put_str(in, "AffectedConfiguration", affected, &k->e), 0);
    free(text);
    return kit_exec(k, k->hv, service, method, in);
}

char *kit_define(struct kit *k, unsigned generation, const char *name)
{
    struct said s = kit_service(k, "DefineSystem", "SystemSettings",
                                kit_text(k, "Msvm_VirtualSystemSettingData",
                                         (const char *const[]){"ElementName", name, "VirtualSystemSubType",
                                                               generation == 2 ? "Microsoft:Hyper-V:SubType:2" : "Microsoft:Hyper-V:SubType:1",
                                                               "ConfigurationDataRoot", k->tmp, NULL}),
                                NULL);
    if (s.failed)
        fail_msg("DefineSystem: %u %s", (unsigned)s.value, s.text);
    kit_said_clear(&s);
    AUTO_FREE char *quoted = wmi_quote(name);
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_VirtualSystemSettingData WHERE ElementName=%s AND "
                                     "VirtualSystemType='Microsoft:Hyper-V:System:Realized'", quoted);
    char *path = kit_path_of(k, k->hv, wql);
    assert_non_null(path);
    return path;
}

char *kit_guid(struct kit *k, const char *settings)
{
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, settings, &k->wait, &o, &k->e), 0);
    char *guid = wmi_str(o, "VirtualSystemIdentifier");
    wmi_object_free(o);
    return guid;
}

char *kit_vm_path(struct kit *k, const char *settings)
{
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_SettingsDefineState ResultClass=Msvm_ComputerSystem", settings);
    return kit_path_of(k, k->hv, wql);
}

char *kit_device(struct kit *k, const char *settings, const char *sub_type, unsigned nth)
{
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_VirtualSystemSettingDataComponent", settings);
    AUTO_FREE char *full = str_printf("Microsoft:Hyper-V:%s", sub_type);
    struct wmi_rows rows = {0};
    char *found = NULL, *id = NULL;
    assert_int_equal(wmi_query(k->hv, wql, WMI_ROWS_MAX, &k->wait, &rows, &k->e), 0);
    /* by InstanceID: rows come in any order */
    for (unsigned n = 0; n <= nth; n++) {
        char *best = NULL, *best_path = NULL;
        for (size_t i = 0; i < rows.n; i++) {
            AUTO_FREE char *sub = wmi_str(rows.at[i], "ResourceSubType"), *this = wmi_str(rows.at[i], "InstanceID");
            if (!sub || strcmp(sub, full) != 0 || (id && strcmp(this, id) <= 0) || (best && strcmp(this, best) >= 0))
                continue;
            free(best);
            free(best_path);
            best = str_dup(this);
            best_path = wmi_str(rows.at[i], "__PATH");
        }
        free(id);
        free(found);
        id = best;
        found = best_path;
        if (!found)
            break;
    }
    free(id);
    wmi_rows_clear(&rows);
    return found;
}

uint32_t kit_add(struct kit *k, const char *settings, const char *class, const char *const *pairs)
{
    struct said s = kit_service(k, "AddResourceSettings", "ResourceSettings", kit_text(k, class, pairs), settings);
    kit_said_clear(&s);
    return s.code;
}

uint32_t kit_modify(struct kit *k, const char *class, const char *const *pairs)
{
    struct said s = kit_service(k, "ModifyResourceSettings", "ResourceSettings", kit_text(k, class, pairs), NULL);
    kit_said_clear(&s);
    return s.code;
}

uint32_t kit_remove(struct kit *k, const char *path)
{
    struct said s = kit_service(k, "RemoveResourceSettings", "ResourceSettings", str_dup(path), NULL);
    kit_said_clear(&s);
    return s.code;
}

uint32_t kit_state(struct kit *k, const char *settings, unsigned want)
{
    AUTO_FREE char *vm = kit_vm_path(k, settings);
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ComputerSystem", "RequestStateChange");
    assert_int_equal(wmi_put_uint(in, "RequestedState", want, &k->e), 0);
    return kit_call(k, k->hv, vm, "RequestStateChange", in);
}

uint32_t kit_attach(struct kit *k, const char *settings, const char *controller, unsigned nth, const char *slot, const char *file)
{
    AUTO_FREE char *on = kit_device(k, settings, controller, nth);
    assert_non_null(on);
    bool iso = str_ends(file, ".iso");
    struct said s = kit_service(k, "AddResourceSettings", "ResourceSettings",
                                kit_text(k, "Msvm_ResourceAllocationSettingData",
                                         (const char *const[]){"ResourceType", iso ? "16" : "17", "ResourceSubType",
                                                               iso ? "Microsoft:Hyper-V:Synthetic DVD Drive" : "Microsoft:Hyper-V:Synthetic Disk Drive",
                                                               "Parent", on, "AddressOnParent", slot, NULL}),
                                settings);
    kit_said_clear(&s);
    if (s.failed)
        return s.code;
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, on, &k->wait, &o, &k->e), 0);
    AUTO_FREE char *id = wmi_str(o, "InstanceID");
    wmi_object_free(o);
    AUTO_FREE char *drive_id = str_printf("%s\\%s\\D", id, slot);
    AUTO_FREE char *quoted = wmi_quote(drive_id);
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_ResourceAllocationSettingData WHERE InstanceID=%s", quoted);
    AUTO_FREE char *drive = kit_path_of(k, k->hv, wql);
    assert_non_null(drive);
    uint32_t r = kit_add(k, settings, "Msvm_StorageAllocationSettingData",
                         (const char *const[]){"ResourceType", "31", "ResourceSubType",
                                               iso ? "Microsoft:Hyper-V:Virtual CD/DVD Disk" : "Microsoft:Hyper-V:Virtual Hard Disk", "Parent", drive,
                                               "HostResource", file, NULL});
    if (r)
        assert_int_equal(kit_remove(k, drive), 0);
    return r;
}

char *kit_file(struct kit *k, const char *name, const void *data, size_t n)
{
    char *path = tmp_path(k->tmp, name);
    assert_int_equal(os_write_file(path, data, n, 0, &k->e), 0);
    return path;
}

char *kit_vhd(struct kit *k, const char *name, int format, int type, uint64_t size, const char *parent)
{
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_ImageManagementService");
    char *path = tmp_path(k->tmp, name);
    char f[8], t[8], s[32];
    snprintf(f, sizeof f, "%d", format);
    snprintf(t, sizeof t, "%d", type);
    snprintf(s, sizeof s, "%llu", (unsigned long long)size);
    AUTO_FREE char *text = kit_text(k, "Msvm_VirtualHardDiskSettingData",
                                    parent ? (const char *const[]){"Path", path, "Format", f, "Type", t, "ParentPath", parent, NULL}
                                           : (const char *const[]){"Path", path, "Format", f, "Type", t, "MaxInternalSize", s, NULL});
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_ImageManagementService", "CreateVirtualHardDisk");
    assert_int_equal(wmi_put_str(in, "VirtualDiskSettingData", text, &k->e), 0);
    struct said said = kit_exec(k, k->hv, service, "CreateVirtualHardDisk", in);
    if (said.failed)
        fail_msg("CreateVirtualHardDisk: %s", said.text);
    kit_said_clear(&said);
    return path;
}

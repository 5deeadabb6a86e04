/* A VM as Hyper-V knows it: found by its GUID and proven ours by its notes, defined, fitted out, destroyed. */
#include <string.h>

#include "common/log.h"
#include "hyperv/hyperv.h"

#define REALIZED "Microsoft:Hyper-V:System:Realized"   /* not a snapshot, not a planned VM */
#define NAME_CHARS 100                                 /* of ElementName */
#define MARK "vmrecover"
#define MIB ((uint64_t)1 << 20)
#define KEEP_MIB 2048u                                 /* for the host itself; of a small one half */
#define MEMORY_MIN_MIB 32u
#define GEN1_CPUS_MAX 64u

/* Secure Boot: whose boot loaders are let in (Msvm_VirtualSystemSettingData.SecureBootTemplateId). */
static const char *const secure_boot[] = {
    [HV_GUEST_UNKNOWN] = NULL,
    [HV_GUEST_WINDOWS] = "1734c6e8-3154-4dda-ba5f-a874cc483422",
    [HV_GUEST_LINUX] = "272e7447-90a4-4563-a4b9-8e4ab00526ce",
};

void hyperv_machine_clear(struct hyperv_machine *m)
{
    free(m->path);
    free(m->settings_path);
    wmi_object_free(m->settings);
    *m = (struct hyperv_machine){0};
}

bool hyperv_is_guid(const char *s)
{
    if (strlen(s) != UUID_LEN - 1)
        return false;
    for (int i = 0; i < UUID_LEN - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : strspn(s + i, "0123456789abcdefABCDEF") == 0)
            return false;
    }
    return true;
}

/* ---- notes ---- */

/* Does one of the notes begin with our line for this id (and mark)? */
static bool notes_say(const struct wmi_object *settings, const char *id, const char *mark)
{
    AUTO(wmi_strs_free_ptr) char **notes = wmi_strs(settings, "Notes");
    AUTO_FREE char *line = str_printf(MARK " %s %s", id, mark ? mark : "");
    size_t n = line ? strlen(line) : 0;
    for (size_t i = 0; notes && line && notes[i]; i++)
        if (str_istarts(notes[i], line) && (!mark || !notes[i][n] || strchr(" \r\n", notes[i][n])))
            return true;
    return false;
}

static char *notes_for(const struct hyperv_record *r)
{
    return str_printf(MARK " %s %s\nJob %s\nMade by vmrecover, which removes it with its job. Keep the first line: without it the VM is not touched.",
                      r->spec.id, r->mark, r->spec.job_id ? r->spec.job_id : "-");
}

/* ---- find ---- */

static int open_settings(struct hyperv *h, const char *guid, const struct wmi_wait *w, struct hyperv_machine *m, struct err *e)
{
    int r = hyperv_query_one(h, w, &m->settings, e,
                             "SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemType='" REALIZED "' AND VirtualSystemIdentifier='%s'", guid);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e)) {
        err_set(e, ERR_VM_GONE, "the VM %s was removed from Hyper-V", m->id);
        return -(int)ERR_VM_GONE;
    }
    if (r < 0 || (r = wmi_path(m->settings, &m->settings_path, e)) < 0)
        return r;
    AUTO(wmi_object_free_ptr) struct wmi_object *system = NULL;
    r = hyperv_query_one(h, w, &system, e, "SELECT * FROM Msvm_ComputerSystem WHERE Name='%s'", guid);
    if (r == 0)
        r = wmi_path(system, &m->path, e);
    if (r == 0)
        snprintf(m->guid, sizeof m->guid, "%s", guid);
    return r;
}

static int open_machine(struct hyperv *h, const char *id, const char *guid, const char *mark, const struct wmi_wait *w, struct hyperv_machine *ret,
                        struct err *e)
{
    struct hyperv_machine m = {0};
    const char *unused;
    snprintf(m.id, sizeof m.id, "%s", id);
    int r = hyperv_service(h, HYPERV_VMS, w, &unused, e);          /* without rights all VMs look removed */
    if (r == 0 && !guid[0])
        r = err_set(e, ERR_VM_GONE, "the VM %s is not in Hyper-V", id);
    if (r == 0)
        r = open_settings(h, guid, w, &m, e);
    if (r == 0 && !notes_say(m.settings, id, mark)) {
        err_set(e, ERR_WRONG_STATE, "the notes of the VM %s in Hyper-V (%s) do not say that it is ours; it is not touched", id, guid);
        r = err_hint(e, "Make '" MARK " %s %s' the first line of its notes again, or remove the virtual machine in Hyper-V Manager.", id, mark);
    }
    if (r < 0)
        hyperv_machine_clear(&m);
    else
        *ret = m;
    return r;
}

int hyperv_machine_open(struct hyperv *h, const struct hyperv_record *rec, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e)
{
    return open_machine(h, rec->spec.id, rec->guid, rec->mark, w, ret, e);
}

int hyperv_machine_of(struct hyperv_vm *vm, const struct wmi_wait *w, struct hyperv_machine *ret, struct err *e)
{
    char guid[UUID_LEN], mark[UUID_LEN];
    pthread_mutex_lock(&vm->lock);
    memcpy(guid, vm->rec.guid, sizeof guid);
    memcpy(mark, vm->rec.mark, sizeof mark);
    pthread_mutex_unlock(&vm->lock);
    return open_machine(vm->h, vm->id, guid, mark, w, ret, e);
}

int hyperv_machine_search(struct hyperv *h, const char *id, const char *mark, const struct wmi_wait *w, char ret_guid[UUID_LEN], struct err *e)
{
    struct wmi_rows rows = {0};
    const char *unused;
    int r = hyperv_service(h, HYPERV_VMS, w, &unused, e);
    if (r == 0)
        r = hyperv_query(h, w, &rows, e,
                         "SELECT InstanceID,Notes,VirtualSystemIdentifier FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemType='" REALIZED "'");
    if (r < 0)
        return r;
    bool found = false;
    for (size_t i = 0; i < rows.n && !found; i++) {
        AUTO_FREE char *guid = notes_say(rows.at[i], id, mark) ? wmi_str(rows.at[i], "VirtualSystemIdentifier") : NULL;
        if (!guid || !hyperv_is_guid(guid))
            continue;
        snprintf(ret_guid, UUID_LEN, "%s", guid);
        found = true;
    }
    wmi_rows_clear(&rows);
    return found ? 0 : err_set(e, ERR_NOT_FOUND, "no virtual machine in Hyper-V has notes that name %s", id);
}

/* ---- define ---- */

/* Whole characters. */
char *hyperv_short_name(const char *name)
{
    size_t n = 0, chars = 0;
    for (; name[n]; n++) {
        if (((unsigned char)name[n] & 0xC0) != 0x80 && ++chars > NAME_CHARS)
            break;
    }
    return str_ndup(name, n);
}

/* Only where this version of Windows has the property. */
static int put_if(struct wmi_object *o, const char *name, uint64_t value, struct err *e)
{
    return wmi_has(o, name) ? wmi_put_uint(o, name, value, e) : 0;
}

static int put_bool_if(struct wmi_object *o, const char *name, bool value, struct err *e)
{
    return wmi_has(o, name) ? wmi_put_bool(o, name, value, e) : 0;
}

static int put_folders(struct wmi_object *o, const char *dir, struct err *e)
{
    static const char *const roots[] = {"ConfigurationDataRoot", "SnapshotDataRoot", "SwapFileDataRoot", "GuestStateDataRoot"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(roots); i++)
        if (wmi_has(o, roots[i]))
            r = wmi_put_str(o, roots[i], dir, e);
    return r;
}

static int put_settings(struct wmi_object *o, const struct hyperv_record *rec, const char *dir, struct err *e)
{
    const struct hv_vm_spec *s = &rec->spec;
    AUTO_FREE char *name = hyperv_short_name(s->name && *s->name ? s->name : s->id), *notes = notes_for(rec);
    const char *list[] = {notes};
    if (!name || !notes)
        return err_oom(e);
    int r = wmi_put_str(o, "ElementName", name, e);
    if (r == 0)
        r = wmi_put_strs(o, "Notes", list, 1, e);
    if (r == 0)
        r = wmi_put_str(o, "VirtualSystemSubType", s->generation == 2 ? "Microsoft:Hyper-V:SubType:2" : "Microsoft:Hyper-V:SubType:1", e);
    if (r == 0)
        r = put_folders(o, dir, e);
    if (r == 0)
        r = wmi_put_uint(o, "AutomaticStartupAction", 2, e);             /* none */
    if (r == 0)
        r = wmi_put_uint(o, "AutomaticShutdownAction", 2, e);            /* turn off: saving would keep its memory on our volume */
    if (r == 0)
        r = wmi_put_uint(o, "AutomaticRecoveryAction", 2, e);            /* none */
    if (r == 0)
        r = put_if(o, "UserSnapshotType", 5, e);                         /* standard: with memory */
    if (r == 0)
        r = put_bool_if(o, "AutomaticSnapshotsEnabled", false, e);       /* clients make one at each start otherwise */
    if (r < 0 || s->generation != 2)
        return r;
    const char *template_id = secure_boot[s->guest];
    if ((r = wmi_put_bool(o, "SecureBootEnabled", template_id != NULL, e)) == 0 && template_id && wmi_has(o, "SecureBootTemplateId"))
        r = wmi_put_str(o, "SecureBootTemplateId", template_id, e);
    return r;
}

/* The VM's GUID is the key of its path: Name="…". */
static bool guid_of(const char *path, char ret[UUID_LEN])
{
    for (const char *p = path; (p = strstr(p, "ame=\"")); p++)           /* CreationClassName is a key too */
        if (strlen(p + 5) >= UUID_LEN) {
            memcpy(ret, p + 5, UUID_LEN - 1);
            ret[UUID_LEN - 1] = 0;
            if (hyperv_is_guid(ret))
                return true;
        }
    return false;
}

int hyperv_machine_define(struct hyperv *h, const struct hyperv_record *rec, const char *dir, const struct wmi_wait *w, char ret_guid[UUID_LEN],
                          struct err *e)
{
    struct wmi *wmi;
    AUTO(wmi_object_free_ptr) struct wmi_object *settings = NULL;
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO(hyperv_result_clear) struct hyperv_result result = {0};
    AUTO_FREE char *what = str_printf("cannot define the VM %s", rec->spec.id), *path = NULL;
    int r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = wmi_spawn(wmi, "Msvm_VirtualSystemSettingData", w, &settings, e);
    if (r == 0)
        r = put_settings(settings, rec, dir, e);
    if (r == 0)
        r = hyperv_prepare(h, HYPERV_VMS, "DefineSystem", what, w, &c, e);
    if (r == 0)
        r = wmi_put_instance_in(c.in, "SystemSettings", settings, e);
    if (r == 0)
        r = hyperv_invoke(h, &c, w, &result, e);
    if (r < 0)
        return r;
    struct err ignored;
    if (hyperv_made(h, &result, "ResultingSystem", "Msvm_ComputerSystem", w, &path, &ignored) == 0 && guid_of(path, ret_guid))
        return 0;
    return hyperv_machine_search(h, rec->spec.id, rec->mark, w, ret_guid, e);
}

int hyperv_machine_destroy(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO_FREE char *what = str_printf("cannot remove the VM %s", m->id);
    int r = hyperv_prepare(h, HYPERV_VMS, "DestroySystem", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "AffectedSystem", m->path, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

int hyperv_machine_modify(struct hyperv *h, struct wmi_object *settings, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare(h, HYPERV_VMS, "ModifySystemSettings", what, w, &c, e);
    if (r == 0)
        r = wmi_put_instance_in(c.in, "SystemSettings", settings, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

/* ---- memory and processors ---- */

/* What the host cannot give is cut, and said so: a VM that does not start helps nobody. */
int hyperv_machine_fit(struct hyperv *h, struct hv_vm_spec *s, struct err *e)
{
    uint64_t total = 0, available = 0;
    unsigned host_cpus = 0, asked_mib = s->memory_mib, asked_cpus = s->cpus;
    h->p.host->size(h->p.host_arg, &total, &available, &host_cpus);
    uint64_t most = total / MIB > 2 * KEEP_MIB ? total / MIB - KEEP_MIB : total / MIB / 2;
    if (total && most < MEMORY_MIN_MIB)
        return err_set(e, ERR_HYPERVISOR, "this host has %llu MiB of memory, too little for a virtual machine", (unsigned long long)(total / MIB));
    if (total && s->memory_mib > most)
        s->memory_mib = (unsigned)most;
    else
        s->memory_mib += s->memory_mib % 2;            /* Hyper-V wants multiples of 2 MiB */
    s->memory_mib -= s->memory_mib % 2;
    if (s->memory_mib < MEMORY_MIN_MIB)
        s->memory_mib = MEMORY_MIN_MIB;
    if (host_cpus && s->cpus > host_cpus)
        s->cpus = host_cpus;
    if (s->generation == 1 && s->cpus > GEN1_CPUS_MAX)
        s->cpus = GEN1_CPUS_MAX;
    if (s->memory_mib + 2 < asked_mib || s->cpus < asked_cpus)
        log_warning("the virtual machine is made smaller, to fit this host", KS("vm", s->id), KI("memory_mib", s->memory_mib), KI("cpus", s->cpus));
    return 0;
}

static int set_memory(struct wmi_object *o, unsigned mib, struct err *e)
{
    static const char *const names[] = {"VirtualQuantity", "Reservation", "Limit"};
    int r = wmi_put_bool(o, "DynamicMemoryEnabled", false, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(names); i++)
        r = wmi_put_uint(o, names[i], mib, e);
    return r;
}

static int set_processors(struct wmi_object *o, const struct hv_vm_spec *s, struct err *e)
{
    int r = wmi_put_uint(o, "VirtualQuantity", s->cpus, e);
    if (r < 0 || !s->nested)
        return r;
    if (!wmi_has(o, "ExposeVirtualizationExtensions"))
        return err_set(e, ERR_UNSUPPORTED, "this version of Hyper-V cannot let a guest run virtual machines itself");
    return wmi_put_bool(o, "ExposeVirtualizationExtensions", true, e);
}

/* The one settings object of a class that a VM has. */
static int only_resource(struct hyperv *h, const struct hyperv_machine *m, const char *class_name, const struct wmi_wait *w, struct wmi_object **ret,
                         struct err *e)
{
    struct wmi_rows rows = {0};
    int r = hyperv_resources(h, m, class_name, w, &rows, e);
    if (r == 0 && rows.n == 0)
        r = err_set(e, ERR_VM, "the VM %s has no %s", m->id, class_name);
    if (r == 0)
        *ret = STEAL(rows.at[0]);
    wmi_rows_clear(&rows);
    return r;
}

int hyperv_machine_set_up(struct hyperv *h, struct hyperv_machine *m, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *memory = NULL, *processors = NULL;
    AUTO_FREE char *what_memory = str_printf("cannot give the VM %s %u MiB of memory", s->id, s->memory_mib),
                   *what_cpus = str_printf("cannot give the VM %s %u processors", s->id, s->cpus);
    int r = what_memory && what_cpus ? only_resource(h, m, "Msvm_MemorySettingData", w, &memory, e) : err_oom(e);
    if (r == 0)
        r = set_memory(memory, s->memory_mib, e);
    if (r == 0)
        r = hyperv_modify(h, memory, what_memory, w, e);
    if (r == 0)
        r = only_resource(h, m, "Msvm_ProcessorSettingData", w, &processors, e);
    if (r == 0)
        r = set_processors(processors, s, e);
    if (r == 0)
        r = hyperv_modify(h, processors, what_cpus, w, e);
    return r;
}

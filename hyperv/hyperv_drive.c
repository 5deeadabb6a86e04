/* Controllers, drives and what lies in them.
 *
 *                 Generation 1       Generation 2
 *   slot 0 (OS)   IDE 0:0            SCSI, LUN 0       The firmware of Generation 1 boots from IDE alone, of Generation 2 from SCSI alone.
 *   slot 1        IDE 0:1            SCSI, LUN 1
 *   slot 2        IDE 1:1            SCSI, LUN 2
 *   slot 3        SCSI, LUN 3        SCSI, LUN 3       The fourth place of IDE is the DVD's.
 *   DVD           IDE 1:0            SCSI, LUN 4
 *
 * After every change the drive is looked up by its place: what a call says that it made is not always said. */
#include <string.h>

#include "hyperv/hyperv.h"

#define RASD "Msvm_ResourceAllocationSettingData"
#define SASD "Msvm_StorageAllocationSettingData"

enum bus { IDE0, IDE1, SCSI };
struct place { enum bus bus; unsigned address; };

static struct place place_of(unsigned generation, unsigned slot)
{
    static const struct place gen1[] = {{IDE0, 0}, {IDE0, 1}, {IDE1, 1}, {SCSI, 3}, [HYPERV_DVD] = {IDE1, 0}};
    return generation == 2 ? (struct place){SCSI, slot} : gen1[slot];
}

static bool has_text(const struct wmi_object *o, const char *name, const char *text)
{
    AUTO_FREE char *s = wmi_str(o, name);
    return s && str_ieq(s, text);
}

static bool is_below(const struct wmi_object *o, const char *parent)
{
    AUTO_FREE char *s = wmi_str(o, "Parent");
    return s && wmi_same_path(s, parent);
}

/* The path of the controller of a bus; NULL: there is none. Of several SCSI controllers always the same. */
static char *find_controller(const struct wmi_rows *rows, enum bus bus)
{
    char *found = NULL;
    AUTO_FREE char *least = NULL;
    for (size_t i = 0; i < rows->n; i++) {
        const struct wmi_object *o = rows->at[i];
        bool fits = bus == SCSI ? has_text(o, "ResourceSubType", "Microsoft:Hyper-V:Synthetic SCSI Controller")
                                : has_text(o, "ResourceSubType", "Microsoft:Hyper-V:Emulated IDE Controller") &&
                                      has_text(o, "Address", bus == IDE0 ? "0" : "1");
        AUTO_FREE char *id = fits ? wmi_str(o, "InstanceID") : NULL;
        if (!id || (least && strcmp(id, least) >= 0))
            continue;
        free(found);
        free(least);
        least = STEAL(id);
        found = wmi_str(o, "__PATH");
    }
    return found;
}

static int add_scsi(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    char uuid[UUID_LEN];
    int r = hyperv_template(h, RASD, "Microsoft:Hyper-V:Synthetic SCSI Controller", w, &o, e);
    if (r == 0)
        r = crypto_uuid(uuid, e);
    AUTO_FREE char *identifier = r == 0 ? str_printf("{%s}", uuid) : NULL, *what = str_printf("cannot give the VM %s a SCSI controller", m->id);
    if (r == 0 && (!identifier || !what))
        r = err_oom(e);
    const char *list[] = {identifier};
    if (r == 0)
        r = wmi_put_strs(o, "VirtualSystemIdentifiers", list, 1, e);
    return r < 0 ? r : hyperv_add(h, m, o, what, w, NULL, e);
}

static char *find_drive(const struct wmi_rows *rows, const char *controller, unsigned address)
{
    char number[16];
    snprintf(number, sizeof number, "%u", address);
    for (size_t i = 0; i < rows->n; i++)
        if (is_below(rows->at[i], controller) && has_text(rows->at[i], "AddressOnParent", number))
            return wmi_str(rows->at[i], "__PATH");
    return NULL;
}

static int add_drive(struct hyperv *h, const struct hyperv_machine *m, const char *controller, unsigned address, bool dvd, const struct wmi_wait *w,
                     struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    char number[16];
    snprintf(number, sizeof number, "%u", address);
    AUTO_FREE char *what = str_printf("cannot give the VM %s a %s drive", m->id, dvd ? "DVD" : "disk");
    int r = hyperv_template(h, RASD, dvd ? "Microsoft:Hyper-V:Synthetic DVD Drive" : "Microsoft:Hyper-V:Synthetic Disk Drive", w, &o, e);
    if (r == 0)
        r = wmi_put_str(o, "Parent", controller, e);
    if (r == 0)
        r = wmi_put_str(o, "AddressOnParent", number, e);
    return r < 0 ? r : hyperv_add(h, m, o, what, w, NULL, e);
}

int hyperv_drive(struct hyperv *h, const struct hyperv_machine *m, unsigned generation, unsigned slot, bool make, const struct wmi_wait *w,
                 char **ret, struct err *e)
{
    struct place p = place_of(generation, slot);
    bool made_controller = false, made_drive = false;
    for (;;) {
        struct wmi_rows rows = {0};
        int r = hyperv_resources(h, m, RASD, w, &rows, e);
        if (r < 0)
            return r;
        AUTO_FREE char *controller = find_controller(&rows, p.bus);
        char *drive = controller ? find_drive(&rows, controller, p.address) : NULL;
        wmi_rows_clear(&rows);
        if (drive) {
            *ret = drive;
            return 0;
        }
        if (!make || made_drive || (!controller && (made_controller || p.bus != SCSI)))
            return err_set(e, make ? ERR_VM : ERR_NOT_FOUND, "the VM %s has no %s for slot %u", m->id, controller ? "drive" : "controller", slot);
        if (!controller) {
            r = add_scsi(h, m, w, e);
            made_controller = true;
        } else {
            r = add_drive(h, m, controller, p.address, slot == HYPERV_DVD, w, e);
            made_drive = true;
        }
        if (r < 0)
            return r;
    }
}

int hyperv_medium(struct hyperv *h, const struct hyperv_machine *m, const char *drive, const struct wmi_wait *w, struct wmi_object **ret,
                  struct err *e)
{
    struct wmi_rows rows = {0};
    int r = hyperv_resources(h, m, SASD, w, &rows, e);
    if (r < 0)
        return r;
    struct wmi_object *found = NULL;
    for (size_t i = 0; i < rows.n && !found; i++)
        if (is_below(rows.at[i], drive))
            found = STEAL(rows.at[i]);
    wmi_rows_clear(&rows);
    if (!found)
        return err_set(e, ERR_NOT_FOUND, "the drive is empty");
    *ret = found;
    return 0;
}

/* Hyper-V takes paths of Windows with its own separators only. */
static char *native_path(const char *path)
{
    char *s = str_dup(path);
    bool windows = s && ((s[0] && s[1] == ':') || str_starts(s, "\\\\"));
    for (char *p = s; windows && *p; p++)
        if (*p == '/')
            *p = '\\';
    return s;
}

static int put_file(struct wmi_object *o, const char *path, struct err *e)
{
    AUTO_FREE char *file = native_path(path);
    const char *list[] = {file};
    return file ? wmi_put_strs(o, "HostResource", list, 1, e) : err_oom(e);
}

static int add_medium(struct hyperv *h, const struct hyperv_machine *m, const char *drive, bool dvd, const char *path, const char *what,
                      const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    int r = hyperv_template(h, SASD, dvd ? "Microsoft:Hyper-V:Virtual CD/DVD Disk" : "Microsoft:Hyper-V:Virtual Hard Disk", w, &o, e);
    if (r == 0)
        r = wmi_put_str(o, "Parent", drive, e);
    if (r == 0)
        r = put_file(o, path, e);
    return r < 0 ? r : hyperv_add(h, m, o, what, w, NULL, e);
}

int hyperv_insert(struct hyperv *h, const struct hyperv_machine *m, const char *drive, bool dvd, const char *path, const struct wmi_wait *w,
                  struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *medium = NULL;
    AUTO_FREE char *what = path ? str_printf("cannot put %s into the VM %s", path, m->id) : str_printf("cannot eject the medium of the VM %s", m->id);
    int r = what ? hyperv_medium(h, m, drive, w, &medium, e) : err_oom(e);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e))
        return path ? add_medium(h, m, drive, dvd, path, what, w, e) : 0;
    if (r < 0)
        return r;
    if (path) {
        r = put_file(medium, path, e);
        return r < 0 ? r : hyperv_modify(h, medium, what, w, e);
    }
    AUTO_FREE char *medium_path = NULL;
    r = wmi_path(medium, &medium_path, e);
    return r < 0 ? r : hyperv_remove(h, medium_path, what, w, e);
}

int hyperv_drive_remove(struct hyperv *h, const struct hyperv_machine *m, unsigned generation, unsigned slot, const struct wmi_wait *w,
                        struct err *e)
{
    AUTO_FREE char *drive = NULL, *what = str_printf("cannot take the drive of slot %u out of the VM %s", slot, m->id);
    int r = what ? hyperv_drive(h, m, generation, slot, false, w, &drive, e) : err_oom(e);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e))
        return 0;
    if (r == 0)
        r = hyperv_insert(h, m, drive, false, NULL, w, e);
    return r < 0 ? r : hyperv_remove(h, drive, what, w, e);
}

int hyperv_drive_file(struct hyperv *h, const struct hyperv_machine *m, unsigned generation, unsigned slot, const struct wmi_wait *w, char **ret,
                      struct err *e)
{
    AUTO_FREE char *drive = NULL;
    AUTO(wmi_object_free_ptr) struct wmi_object *medium = NULL;
    int r = hyperv_drive(h, m, generation, slot, false, w, &drive, e);
    if (r == 0)
        r = hyperv_medium(h, m, drive, w, &medium, e);
    if (r < 0)
        return r;
    AUTO(wmi_strs_free_ptr) char **files = wmi_strs(medium, "HostResource");
    if (!files || !files[0])
        return err_set(e, ERR_NOT_FOUND, "the drive of slot %u of the VM %s holds no file", slot, m->id);
    *ret = str_dup(files[0]);
    return *ret ? 0 : err_oom(e);
}

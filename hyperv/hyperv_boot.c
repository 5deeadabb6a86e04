/* What a VM boots from: the OS disk, then the DVD, then all else. */
#include <string.h>

#include "common/log.h"
#include "hyperv/hyperv.h"

#define SOURCES_MAX 64

/* ---- Generation 1: BootOrder is a permutation of kinds of devices ---- */

enum { FLOPPY = 0, CD = 1, IDE = 2, NETWORK = 3 };

static int rank_kind(uint64_t kind)
{
    return kind == IDE ? 0 : kind == CD ? 1 : kind == NETWORK ? 3 : kind == FLOPPY ? 4 : 2;
}

/* Which kinds there are differs between versions of Windows: what is there is sorted, nothing is added. */
static int order_kinds(struct wmi_object *settings, bool *ret_changed, struct err *e)
{
    uint64_t kinds[SOURCES_MAX];
    size_t n = 0;
    *ret_changed = false;
    for (uint64_t kind; n < SOURCES_MAX && (kind = wmi_uint_at(settings, "BootOrder", n, UINT64_MAX)) != UINT64_MAX; n++)
        kinds[n] = kind;
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && rank_kind(kinds[k]) < rank_kind(kinds[k - 1]); k--) {
            uint64_t t = kinds[k];
            kinds[k] = kinds[k - 1];
            kinds[k - 1] = t;
            *ret_changed = true;
        }
    return *ret_changed ? wmi_put_uints(settings, "BootOrder", kinds, n, e) : 0;
}

/* ---- Generation 2: BootSourceOrder is a list of references, filled as devices are added ---- */

/* The boot source of a drive: Msvm_LogicalIdentity leads from the one to the other. NULL: none (yet). */
static char *source_of(struct hyperv *h, const char *drive, const struct wmi_wait *w)
{
    struct wmi_rows rows = {0};
    struct err ignored;
    char *path = NULL;
    if (hyperv_query(h, w, &rows, &ignored, "ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_LogicalIdentity ResultClass=Msvm_BootSourceSettingData",
                     drive) == 0 &&
        rows.n)
        wmi_path(rows.at[0], &path, &ignored);
    wmi_rows_clear(&rows);
    return path;
}

/* Moves the element that is this path to the place `to`; elements are neither added nor left out. */
static bool move_to(char **list, size_t n, const char *path, size_t to)
{
    for (size_t i = 0; path && i < n; i++)
        if (wmi_same_path(list[i], path)) {
            char *found = list[i];
            if (i <= to)
                return i == to;
            memmove(&list[to + 1], &list[to], (i - to) * sizeof *list);
            list[to] = found;
            return true;
        }
    return false;
}

static int order_sources(struct hyperv *h, struct hyperv_machine *m, struct wmi_object *settings, const struct wmi_wait *w, bool *ret_changed,
                         struct err *e)
{
    AUTO(wmi_strs_free_ptr) char **list = wmi_strs(settings, "BootSourceOrder");
    AUTO_FREE char *disk = NULL, *dvd = NULL;
    struct err ignored;
    size_t n = 0;
    *ret_changed = false;
    while (list && list[n])
        n++;
    if (n < 2)
        return 0;
    AUTO_FREE char **before = malloc(n * sizeof(char *));
    if (!before)
        return err_oom(e);
    memcpy(before, list, n * sizeof(char *));
    hyperv_drive(h, m, 2, 0, false, w, &disk, &ignored);
    hyperv_drive(h, m, 2, HYPERV_DVD, false, w, &dvd, &ignored);
    AUTO_FREE char *disk_source = disk ? source_of(h, disk, w) : NULL, *dvd_source = dvd ? source_of(h, dvd, w) : NULL;
    if (disk && !disk_source)
        log_warning("the boot order is left as it is: Hyper-V does not say which entry is the OS disk", KS("vm", m->id));
    size_t to = move_to(list, n, disk_source, 0) ? 1 : 0;
    if (to || !disk)
        move_to(list, n, dvd_source, to);
    *ret_changed = memcmp(before, list, n * sizeof(char *)) != 0;
    return *ret_changed ? wmi_put_strs(settings, "BootSourceOrder", (const char *const *)list, n, e) : 0;
}

int hyperv_machine_boot_order(struct hyperv *h, struct hyperv_machine *m, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *settings = NULL;
    AUTO_FREE char *what = str_printf("cannot set the boot order of the VM %s", s->id);
    struct wmi *wmi;
    bool changed = false;
    int r = what ? hyperv_wmi(h, w, &wmi, e) : err_oom(e);
    if (r == 0)
        r = wmi_get(wmi, m->settings_path, w, &settings, e);             /* as it is now, with the devices */
    if (r == 0)
        r = s->generation == 2 ? order_sources(h, m, settings, w, &changed, e) : order_kinds(settings, &changed, e);
    return r < 0 || !changed ? r : hyperv_machine_modify(h, settings, what, w, e);
}

/* Settings of devices: templates, adding, changing, removing. */
#include <string.h>

#include "hyperv/hyperv.h"

int hyperv_template(struct hyperv *h, const char *class_name, const char *subtype, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    int r = hyperv_query_one(h, w, ret, e, "SELECT * FROM %s WHERE ResourceSubType='%s' AND InstanceID LIKE '%%\\\\Default'", class_name, subtype);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e)) {
        err_set(e, ERR_UNSUPPORTED, "this Hyper-V has no '%s'", subtype);
        snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
        r = -(int)ERR_UNSUPPORTED;
    }
    return r;
}

/* Every settings object of a VM has an InstanceID that begins with the VM's. */
int hyperv_resources(struct hyperv *h, const struct hyperv_machine *m, const char *class_name, const struct wmi_wait *w, struct wmi_rows *ret,
                     struct err *e)
{
    return hyperv_query(h, w, ret, e, "SELECT * FROM %s WHERE InstanceID LIKE 'Microsoft:%s%%'", class_name, m->guid);
}

int hyperv_add(struct hyperv *h, const struct hyperv_machine *m, struct wmi_object *settings, const char *what, const struct wmi_wait *w,
               char **ret_path, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO(hyperv_result_clear) struct hyperv_result result = {0};
    int r = hyperv_prepare(h, HYPERV_VMS, "AddResourceSettings", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "AffectedConfiguration", m->settings_path, e);
    if (r == 0)
        r = wmi_put_instances_in(c.in, "ResourceSettings", &settings, 1, e);
    if (r == 0)
        r = hyperv_invoke(h, &c, w, &result, e);
    if (r < 0 || !ret_path)
        return r;
    AUTO_FREE char *class_name = wmi_str(settings, "__CLASS");
    return class_name ? hyperv_made(h, &result, "ResultingResourceSettings", class_name, w, ret_path, e) : err_oom(e);
}

int hyperv_modify(struct hyperv *h, struct wmi_object *settings, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare(h, HYPERV_VMS, "ModifyResourceSettings", what, w, &c, e);
    if (r == 0)
        r = wmi_put_instances_in(c.in, "ResourceSettings", &settings, 1, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

int hyperv_remove(struct hyperv *h, const char *path, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare(h, HYPERV_VMS, "RemoveResourceSettings", what, w, &c, e);
    if (r == 0)
        r = wmi_put_strs(c.in, "ResourceSettings", &path, 1, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

/* Settings of devices: templates, adding, changing, removing. */
#include <string.h>

#include "hyperv/hyperv.h"

int hyperv_template(struct hyperv *h, const char *class_name, const char *subtype, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    int r = hyperv_query_one(h, w, ret, e, "SELECT * FROM %s WHERE ResourceSubType='%s' AND InstanceID LIKE '%%\\\\Default'", class_name, subtype);
    if (r == -ERR_NOT_FOUND) {
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
    struct wmi *wmi;
    const char *service;
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = hyperv_service(h, HYPERV_VMS, w, &service, e);
    if (r == 0)
        r = wmi_method(wmi, hyperv_service_class(HYPERV_VMS), "AddResourceSettings", w, &in, e);
    if (r == 0)
        r = wmi_put_str(in, "AffectedConfiguration", m->settings_path, e);
    if (r == 0)
        r = wmi_put_instances_in(in, "ResourceSettings", &settings, 1, e);
    if (r < 0)
        return r;
    AUTO(hyperv_result_clear) struct hyperv_result result = {0};
    struct hyperv_call c = {.path = service, .method = "AddResourceSettings", .in = in, .what = what};
    r = hyperv_invoke(h, &c, w, &result, e);
    if (r == 0 && ret_path) {
        AUTO_FREE char *class_name = wmi_str(settings, "__CLASS");
        r = class_name ? hyperv_made(h, &result, "ResultingResourceSettings", class_name, w, ret_path, e) : err_oom(e);
    }
    return r;
}

int hyperv_modify(struct hyperv *h, struct wmi_object *settings, const char *what, const struct wmi_wait *w, struct err *e)
{
    struct wmi *wmi;
    const char *service;
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = hyperv_service(h, HYPERV_VMS, w, &service, e);
    if (r == 0)
        r = wmi_method(wmi, hyperv_service_class(HYPERV_VMS), "ModifyResourceSettings", w, &in, e);
    if (r == 0)
        r = wmi_put_instances_in(in, "ResourceSettings", &settings, 1, e);
    struct hyperv_call c = {.path = service, .method = "ModifyResourceSettings", .in = in, .what = what};
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

int hyperv_remove(struct hyperv *h, const char *path, const char *what, const struct wmi_wait *w, struct err *e)
{
    struct wmi *wmi;
    const char *service;
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = hyperv_service(h, HYPERV_VMS, w, &service, e);
    if (r == 0)
        r = wmi_method(wmi, hyperv_service_class(HYPERV_VMS), "RemoveResourceSettings", w, &in, e);
    if (r == 0)
        r = wmi_put_strs(in, "ResourceSettings", &path, 1, e);
    struct hyperv_call c = {.path = service, .method = "RemoveResourceSettings", .in = in, .what = what};
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

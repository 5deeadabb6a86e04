/* The network adapter: none, on a switch of the host, or on the NAT. Two objects: the adapter, and its connection to a switch. */
#include <string.h>

#include "hyperv/hyperv.h"

/* Names of switches are not unique. */
static int find_switch(struct hyperv *h, const char *name, const struct wmi_wait *w, char **ret, struct err *e)
{
    AUTO_FREE char *literal = wmi_quote(name);
    struct wmi_rows rows = {0};
    if (!literal)
        return err_oom(e);
    int r = hyperv_query(h, w, &rows, e, "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE ElementName=%s", literal);
    if (r == 0 && rows.n == 0) {
        err_set(e, ERR_NOT_FOUND, "there is no virtual switch '%s' on this host", name);
        r = err_hint(e, "Hyper-V Manager, Virtual Switch Manager, lists the switches; the name must be given exactly.");
    } else if (r == 0 && rows.n > 1) {
        err_set(e, ERR_VALUE, "there are %zu virtual switches with the name '%s'", rows.n, name);
        r = err_hint(e, "Give one of them another name.");
    } else if (r == 0) {
        r = wmi_path(rows.at[0], ret, e);
    }
    wmi_rows_clear(&rows);
    return r;
}

/* The VM's adapter that carries our identifier. */
static int find_adapter(struct hyperv *h, const struct hyperv_machine *m, const char *identifier, const struct wmi_wait *w, char **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = hyperv_resources(h, m, "Msvm_SyntheticEthernetPortSettingData", w, &rows, e);
    bool found = false;
    for (size_t i = 0; i < rows.n && !found; i++) {
        AUTO(wmi_strs_free_ptr) char **ids = wmi_strs(rows.at[i], "VirtualSystemIdentifiers");
        found = ids && ids[0] && str_ieq(ids[0], identifier);
        if (found)
            r = wmi_path(rows.at[i], ret, e);
    }
    wmi_rows_clear(&rows);
    return r < 0 || found ? r : err_set(e, ERR_VM, "Hyper-V did not add a network adapter to the VM %s", m->id);
}

static int add_adapter(struct hyperv *h, const struct hyperv_machine *m, const char *what, const struct wmi_wait *w, char **ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    char uuid[UUID_LEN];
    int r = crypto_uuid(uuid, e);
    AUTO_FREE char *identifier = r == 0 ? str_printf("{%s}", uuid) : NULL;
    const char *list[] = {identifier};
    if (r == 0 && !identifier)
        r = err_oom(e);
    if (r == 0)
        r = hyperv_template(h, "Msvm_SyntheticEthernetPortSettingData", "Microsoft:Hyper-V:Synthetic Ethernet Port", w, &o, e);
    if (r == 0)
        r = wmi_put_str(o, "ElementName", "vmrecover", e);
    if (r == 0)
        r = wmi_put_strs(o, "VirtualSystemIdentifiers", list, 1, e);
    if (r == 0)
        r = wmi_put_bool(o, "StaticMacAddress", false, e);
    if (r == 0)
        r = hyperv_add(h, m, o, what, w, NULL, e);
    return r < 0 ? r : find_adapter(h, m, identifier, w, ret, e);
}

static int connect_adapter(struct hyperv *h, const struct hyperv_machine *m, const char *adapter, const char *to, const char *what,
                           const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    int r = hyperv_template(h, "Msvm_EthernetPortAllocationSettingData", "Microsoft:Hyper-V:Ethernet Connection", w, &o, e);
    if (r == 0)
        r = wmi_put_str(o, "Parent", adapter, e);
    if (r == 0)
        r = wmi_put_strs(o, "HostResource", &to, 1, e);
    return r < 0 ? r : hyperv_add(h, m, o, what, w, NULL, e);
}

int hyperv_network_plug(struct hyperv *h, const struct hyperv_machine *m, const struct hv_vm_spec *s, const struct wmi_wait *w, struct err *e)
{
    const char *network = s->network;
    AUTO_FREE char *to = NULL, *adapter = NULL, *what = str_printf("cannot connect the VM %s to the network '%.100s'", s->id, network);
    if (!strcmp(network, "none"))
        return 0;
    int r = !what ? err_oom(e) : str_starts(network, "switch:") ? find_switch(h, network + 7, w, &to, e) : hyperv_nat_get(h, s->id, w, &to, e);
    if (r == 0)
        r = add_adapter(h, m, what, w, &adapter, e);
    return r < 0 ? r : connect_adapter(h, m, adapter, to, what, w, e);
}

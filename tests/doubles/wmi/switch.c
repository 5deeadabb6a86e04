/* Virtual switches: Msvm_VirtualEthernetSwitchManagementService. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_HYPERV
#define DEFAULT_SWITCH "C08CB7B8-9B3C-408E-8E30-5E16A3AEB444"

static struct inst *switch_by_ref(struct dbl *d, const char *path)
{
    struct inst *i = path ? inst_by_path(d, NS, path) : NULL;
    return i && schema_isa(i->o->class, "Msvm_VirtualEthernetSwitch") ? i : NULL;
}

static struct inst *settings_of(struct dbl *d, struct inst *sw)
{
    return link_other(space_of(d, NS), "Msvm_SettingsDefineState", sw, 0);
}

static struct inst *switch_new(struct dbl *d, const char *guid, const struct dobj *given)
{
    struct inst *sw = inst_new(d, NS, "Msvm_VirtualEthernetSwitch"), *s = inst_new(d, NS, "Msvm_VirtualEthernetSwitchSettingData");
    AUTO_FREE char *id = x_printf("Microsoft:%s", guid), *now = datetime_text(d, now_ms(d));
    if (given)
        overwrite(s->o, given);
    if (!obj_has(s->o, "ElementName"))
        obj_set_str(s->o, "ElementName", "New Virtual Switch");
    obj_set_str(s->o, "InstanceID", id);
    obj_set_str(s->o, "VirtualSystemIdentifier", guid);
    obj_set_str(s->o, "Caption", word(d, "Virtual Switch"));
    obj_set_str(s->o, "CreationTime", now);
    obj_set_str(sw->o, "CreationClassName", "Msvm_VirtualEthernetSwitch");
    obj_set_str(sw->o, "Name", guid);
    obj_set_str(sw->o, "ElementName", obj_str(s->o, "ElementName"));
    obj_set_str(sw->o, "Caption", word(d, "Virtual Switch"));
    obj_set_uint(sw->o, "EnabledState", 2);
    obj_set_uint(sw->o, "HealthState", 5);
    inst_enter(d, sw);
    inst_enter(d, s);
    link_add(d, NS, "Msvm_SettingsDefineState", "ManagedElement", sw, "SettingData", s);
    return sw;
}

/* ---- ports ---- */

enum port { PORT_BAD, PORT_INTERNAL, PORT_EXTERNAL };

static enum port port_kind(struct dbl *d, const struct dobj *o)
{
    const char *target = obj_str_at(o, "HostResource", 0);
    struct inst *i = target ? inst_by_path(d, NS, target) : NULL;
    if (i && schema_isa(i->o->class, "Msvm_ComputerSystem") && !i->vm)
        return PORT_INTERNAL;
    return i && schema_isa(i->o->class, "Msvm_ExternalEthernetPort") ? PORT_EXTERNAL : PORT_BAD;
}

/* The host's own adapter on the switch appears a little later. */
struct appear { char *name, guid[37], switch_guid[37]; };

static void appear(struct dbl *d, void *arg)
{
    struct appear *a = arg;
    if (inst_by_key(d, NS, "Msvm_VirtualEthernetSwitch", "Name", a->switch_guid))
        adapter_add(d, a->name, a->guid);
    free(a->name);
    free(a);
}

static void appear_drop(struct dbl *d, void *arg)
{
    struct appear *a = arg;
    (void)d;
    free(a->name);
    free(a);
}

static struct inst *port_add(struct dbl *d, struct inst *sw, const struct dobj *o, enum port kind)
{
    char guid[37];
    guid_new(d, guid);
    struct inst *s = settings_of(d, sw), *p = inst_new(d, NS, "Msvm_EthernetPortAllocationSettingData");
    AUTO_FREE char *id = x_printf("%s\\%s", obj_str(s->o, "InstanceID"), guid);
    overwrite(p->o, o);
    obj_set_str(p->o, "InstanceID", id);
    inst_enter(d, p);
    link_add(d, NS, "Msvm_VirtualSystemSettingDataComponent", "GroupComponent", s, "PartComponent", p);
    if (kind == PORT_INTERNAL) {
        struct inst *in = inst_new(d, NS, "Msvm_InternalEthernetPort");
        AUTO_FREE char *device = x_printf("Microsoft:{%s}", guid);
        const char *name = obj_str(p->o, "ElementName") ? obj_str(p->o, "ElementName") : obj_str(sw->o, "ElementName");
        obj_set_str(in->o, "SystemCreationClassName", "Msvm_ComputerSystem");
        obj_set_str(in->o, "SystemName", d->host_name);
        obj_set_str(in->o, "CreationClassName", "Msvm_InternalEthernetPort");
        obj_set_str(in->o, "DeviceID", device);
        obj_set_str(in->o, "ElementName", name);
        inst_enter(d, in);
        struct appear *a = x_calloc(1, sizeof *a);
        a->name = x_printf("vEthernet (%s)", name);
        snprintf(a->guid, sizeof a->guid, "%s", guid);
        snprintf(a->switch_guid, sizeof a->switch_guid, "%s", obj_str(sw->o, "Name"));
        if (d->o.shuffles)
            due_add(d, 100 + rnd(d, 2000), appear, appear_drop, a);
        else
            appear(d, a);
    }
    return p;
}

static void port_remove(struct dbl *d, struct inst *p)
{
    const char *guid = strrchr(obj_str(p->o, "InstanceID"), '\\') + 1;
    AUTO_FREE char *device = x_printf("Microsoft:{%s}", guid);
    struct inst *in = inst_by_key(d, NS, "Msvm_InternalEthernetPort", "DeviceID", device);
    adapter_remove(d, guid);
    if (in)
        inst_remove(d, in);
    inst_remove(d, p);
}

/* ---- methods ---- */

static uint32_t check_ports(struct call *c)
{
    uint32_t r = 0;
    for (size_t i = 0; r == 0 && i < obj_n(c->in, "ResourceSettings"); i++) {
        struct dobj *o = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "Msvm_EthernetPortAllocationSettingData");
        r = o ? 0 : RET_INVALID_PARAMETER;
        obj_free(o);
    }
    return r;
}

static size_t add_ports(struct call *c, struct inst *sw, struct inst **made, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; !c->error && i < obj_n(c->in, "ResourceSettings") && n < room; i++) {
        struct dobj *o = obj_settings(c->d, obj_str_at(c->in, "ResourceSettings", i), "Msvm_EthernetPortAllocationSettingData");
        enum port kind = port_kind(c->d, o);
        if (kind == PORT_BAD)
            call_fail(c, RET_NOT_FOUND, "The object '%s' was not found.", obj_str_at(o, "HostResource", 0) ? obj_str_at(o, "HostResource", 0) : "");
        else
            made[n++] = port_add(c->d, sw, o, kind);
        obj_free(o);
    }
    return n;
}

static void switch_remove(struct dbl *d, struct inst *sw)
{
    struct inst *s = settings_of(d, sw), *p;
    while ((p = link_other(space_of(d, NS), "Msvm_VirtualSystemSettingDataComponent", s, 0)) != NULL)
        port_remove(d, p);
    inst_remove(d, s);
    inst_remove(d, sw);
}

static uint32_t define_check(struct call *c)
{
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualEthernetSwitchSettingData");
    uint32_t r = o ? check_ports(c) : RET_INVALID_PARAMETER;
    obj_free(o);
    return r;
}

static void define_apply(struct call *c)
{
    char guid[37];
    guid_new(c->d, guid);
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualEthernetSwitchSettingData");
    struct inst *sw = switch_new(c->d, guid, o), *ports[8];
    obj_free(o);
    add_ports(c, sw, ports, ARRAY_LEN(ports));
    if (c->error) {
        switch_remove(c->d, sw);
        return;
    }
    call_affects(c, sw);
    call_affects(c, settings_of(c->d, sw));
    call_out_ref(c, "ResultingSystem", sw);
}

/* Is a VM that runs connected to it? */
static bool used(struct dbl *d, const struct inst *sw)
{
    for (struct vm *vm = d->vms; vm; vm = vm->next)
        for (size_t n = 0; !vm_is_off(vm); n++) {
            struct inst *i = vm_device(d, vm->settings, "Ethernet Connection", n);
            if (!i)
                break;
            if (obj_str_at(i->o, "HostResource", 0) && inst_by_path(d, NS, obj_str_at(i->o, "HostResource", 0)) == sw)
                return true;
        }
    return false;
}

static uint32_t destroy_check(struct call *c)
{
    struct inst *sw = switch_by_ref(c->d, obj_str(c->in, "AffectedSystem"));
    if (!sw || str_ieq(obj_str(sw->o, "Name"), DEFAULT_SWITCH))
        return RET_INVALID_PARAMETER;
    return used(c->d, sw) ? RET_IN_USE : 0;
}

static void destroy_apply(struct call *c)
{
    struct inst *sw = switch_by_ref(c->d, obj_str(c->in, "AffectedSystem"));
    if (sw)
        switch_remove(c->d, sw);
    else
        call_fail(c, RET_NOT_FOUND, "The virtual switch was not found.");
}

static uint32_t modify_check(struct call *c)
{
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualEthernetSwitchSettingData");
    const char *id = o ? obj_str(o, "InstanceID") : NULL;
    uint32_t r = id && inst_by_key(c->d, NS, "Msvm_VirtualEthernetSwitchSettingData", "InstanceID", id) ? 0 : RET_INVALID_PARAMETER;
    obj_free(o);
    return r;
}

static void modify_apply(struct call *c)
{
    struct dobj *o = obj_settings(c->d, obj_str(c->in, "SystemSettings"), "Msvm_VirtualEthernetSwitchSettingData");
    struct inst *s = inst_by_key(c->d, NS, "Msvm_VirtualEthernetSwitchSettingData", "InstanceID", obj_str(o, "InstanceID"));
    if (s) {
        struct inst *sw = link_other(space_of(c->d, NS), "Msvm_SettingsDefineState", s, 0);
        obj_unset(o, "VirtualSystemIdentifier");
        overwrite(s->o, o);
        obj_set_str(sw->o, "ElementName", obj_str(s->o, "ElementName"));
    } else {
        call_fail(c, RET_NOT_FOUND, "The virtual switch was not found.");
    }
    obj_free(o);
}

static struct inst *affected_switch(struct call *c)
{
    struct inst *s = inst_by_path(c->d, NS, obj_str(c->in, "AffectedConfiguration"));
    return s && schema_isa(s->o->class, "Msvm_VirtualEthernetSwitchSettingData") ? link_other(s->space, "Msvm_SettingsDefineState", s, 0) : NULL;
}

static uint32_t add_check(struct call *c)
{
    return affected_switch(c) && obj_n(c->in, "ResourceSettings") ? check_ports(c) : RET_INVALID_PARAMETER;
}

static void add_apply(struct call *c)
{
    struct inst *sw = affected_switch(c), *ports[8];
    if (!sw) {
        call_fail(c, RET_NOT_FOUND, "The virtual switch was not found.");
        return;
    }
    size_t n = add_ports(c, sw, ports, ARRAY_LEN(ports));
    if (!c->error)
        call_out_refs(c, "ResultingResourceSettings", ports, n);
    else
        while (n)
            port_remove(c->d, ports[--n]);
}

#define SWITCHES "Msvm_VirtualEthernetSwitchManagementService"
const struct impl switch_impls[] = {
    {NS, SWITCHES, "DefineSystem", 0, 1, 200, 4000, .check = define_check, .apply = define_apply},
    {NS, SWITCHES, "DestroySystem", 0, 3, 200, 4000, .check = destroy_check, .apply = destroy_apply},
    {NS, SWITCHES, "ModifySystemSettings", 0, 2, 100, 1000, .check = modify_check, .apply = modify_apply},
    {NS, SWITCHES, "AddResourceSettings", 0, 30, 200, 3000, .check = add_check, .apply = add_apply},
    {0},
};

void switch_populate(struct dbl *d)
{
    struct inst *card = inst_new(d, NS, "Msvm_ExternalEthernetPort");
    obj_set_str(card->o, "SystemCreationClassName", "Msvm_ComputerSystem");
    obj_set_str(card->o, "SystemName", d->host_name);
    obj_set_str(card->o, "CreationClassName", "Msvm_ExternalEthernetPort");
    obj_set_str(card->o, "DeviceID", "Microsoft:{4C0E5C4A-6F2F-4D7E-8B60-0D4B7F2E1A01}");
    obj_set_str(card->o, "ElementName", "Ethernet");
    obj_set_str(card->o, "PermanentAddress", "001122334455");
    obj_set_uint(card->o, "EnabledState", 2);
    inst_enter(d, card);
    struct inst *lan = switch_new(d, "5B0F7A8C-3C51-4A6B-9E58-6A1D1B2C3D4E", NULL);
    obj_set_str(lan->o, "ElementName", "LAN");
    struct inst *s = settings_of(d, lan);
    obj_set_str(s->o, "ElementName", "LAN");
    struct inst *p = inst_new(d, NS, "Msvm_EthernetPortAllocationSettingData");
    AUTO_FREE char *id = x_printf("%s\\0", obj_str(s->o, "InstanceID")), *path = inst_path(d, card);
    obj_set_str(p->o, "InstanceID", id);
    obj_set_strs(p->o, "HostResource", (const char *const[]){path}, 1);
    inst_enter(d, p);
    link_add(d, NS, "Msvm_VirtualSystemSettingDataComponent", "GroupComponent", s, "PartComponent", p);
    if (d->o.client) {
        struct inst *def = switch_new(d, DEFAULT_SWITCH, NULL);
        obj_set_str(def->o, "ElementName", "Default Switch");
        obj_set_str(settings_of(d, def)->o, "ElementName", "Default Switch");
    }
}

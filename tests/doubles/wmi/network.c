/* root\StandardCimv2: the host's adapters and addresses, and WinNAT. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_NETWORK

/* ---- adapters ---- */

struct inst *adapter_add(struct dbl *d, const char *name, const char *guid)
{
    struct inst *a = inst_new(d, NS, "MSFT_NetAdapter"), *ip = inst_new(d, NS, "MSFT_NetIPInterface");
    AUTO_FREE char *id = x_printf("{%s}", guid), *ip_name = x_printf("%s;IPv4", guid);
    unsigned index = d->next_adapter++;
    obj_set_str(a->o, "SystemCreationClassName", "CIM_NetworkPort");
    obj_set_str(a->o, "SystemName", d->host_name);
    obj_set_str(a->o, "CreationClassName", "MSFT_NetAdapter");
    obj_set_str(a->o, "DeviceID", id);
    obj_set_str(a->o, "InterfaceGuid", id);
    obj_set_str(a->o, "Name", name);
    obj_set_str(a->o, "InterfaceDescription", str_starts(name, "vEthernet") ? "Hyper-V Virtual Ethernet Adapter" : "Ethernet Adapter");
    obj_set_uint(a->o, "InterfaceIndex", index);
    obj_set_uint(a->o, "InterfaceOperationalStatus", 1);
    obj_set_bool(a->o, "Virtual", str_starts(name, "vEthernet"));
    inst_enter(d, a);
    obj_set_str(ip->o, "SystemCreationClassName", "");
    obj_set_str(ip->o, "SystemName", d->host_name);
    obj_set_str(ip->o, "CreationClassName", "MSFT_NetIPInterface");
    obj_set_str(ip->o, "Name", ip_name);
    obj_set_str(ip->o, "InterfaceAlias", name);
    obj_set_uint(ip->o, "InterfaceIndex", index);
    obj_set_uint(ip->o, "AddressFamily", 2);
    obj_set_uint(ip->o, "ConnectionState", 1);
    inst_enter(d, ip);
    return a;
}

void adapter_remove(struct dbl *d, const char *guid)
{
    AUTO_FREE char *id = x_printf("{%s}", guid);
    struct inst *a = inst_by_key(d, NS, "MSFT_NetAdapter", "DeviceID", id);
    if (!a)
        return;
    uint64_t index = obj_uint(a->o, "InterfaceIndex", 0);
    struct space *s = space_of(d, NS);
    for (size_t i = s->n; i > 0; i--) {
        struct inst *x = s->at[i - 1];
        bool on_it = schema_member_any(x->o->layout, "InterfaceIndex") >= 0 && obj_uint(x->o, "InterfaceIndex", 0) == index;
        if (on_it)
            inst_remove(d, x);
    }
}

/* ---- prefixes ---- */

struct prefix { uint32_t address; unsigned bits; };

static bool parse_ip(const char *s, uint32_t *ret)
{
    unsigned a, b, c, e, n = 0;
    if (!s || sscanf(s, "%3u.%3u.%3u.%3u%n", &a, &b, &c, &e, (int *)&n) != 4 || s[n] || a > 255 || b > 255 || c > 255 || e > 255)
        return false;
    *ret = a << 24 | b << 16 | c << 8 | e;
    return true;
}

static uint32_t mask_of(unsigned bits)
{
    return bits ? ~(uint32_t)0 << (32 - bits) : 0;
}

static bool parse_prefix(const char *s, struct prefix *ret)
{
    const char *slash = s ? strchr(s, '/') : NULL;
    unsigned long long bits;
    if (!slash || !str_to_u64(slash + 1, 32, &bits))
        return false;
    AUTO_FREE char *ip = str_ndup(s, (size_t)(slash - s));
    ret->bits = (unsigned)bits;
    return parse_ip(ip, &ret->address) && !(ret->address & ~mask_of(ret->bits));
}

static bool overlap(const struct prefix *a, const struct prefix *b)
{
    uint32_t m = mask_of(a->bits < b->bits ? a->bits : b->bits);
    return (a->address & m) == (b->address & m);
}

/* ---- MSFT_NetIPAddress.Create ---- */

static struct inst *interface_of(struct dbl *d, const struct dobj *in)
{
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++) {
        if (!schema_isa(s->at[i]->o->class, "MSFT_NetIPInterface"))
            continue;
        if (obj_has(in, "InterfaceIndex") ? obj_uint(in, "InterfaceIndex", 0) == obj_uint(s->at[i]->o, "InterfaceIndex", 1)
                                          : obj_has(in, "InterfaceAlias") && str_ieq(obj_str(in, "InterfaceAlias"), obj_str(s->at[i]->o, "InterfaceAlias")))
            return s->at[i];
    }
    return NULL;
}

static struct inst *address_add(struct dbl *d, const char *ip, uint64_t bits, uint64_t index, const char *alias)
{
    struct inst *a = inst_new(d, NS, "MSFT_NetIPAddress");
    AUTO_FREE char *name = x_printf("%s;%llu", ip, (unsigned long long)index);
    obj_set_str(a->o, "SystemCreationClassName", "");
    obj_set_str(a->o, "SystemName", d->host_name);
    obj_set_str(a->o, "CreationClassName", "MSFT_NetIPAddress");
    obj_set_str(a->o, "Name", name);
    obj_set_str(a->o, "IPAddress", ip);
    obj_set_uint(a->o, "PrefixLength", bits);
    obj_set_uint(a->o, "AddressFamily", 2);
    obj_set_uint(a->o, "Type", 1);
    obj_set_uint(a->o, "PrefixOrigin", 1);
    obj_set_uint(a->o, "SuffixOrigin", 1);
    obj_set_uint(a->o, "AddressState", 4);
    obj_set_uint(a->o, "Store", 1);
    obj_set_uint(a->o, "InterfaceIndex", index);
    obj_set_str(a->o, "InterfaceAlias", alias);
    inst_enter(d, a);
    return a;
}

/* Errors of this provider are Win32 codes: 87 bad parameter, 1168 no such interface, 5010 the address is there. */
static uint32_t address_create(struct call *c)
{
    struct dbl *d = c->d;
    struct inst *on = interface_of(d, c->in);
    uint32_t ip;
    const char *address = obj_str(c->in, "IPAddress");
    uint64_t bits = obj_uint(c->in, "PrefixLength", 32);
    if (!on)
        return 1168;
    if (!parse_ip(address, &ip) || bits == 0 || bits > 32 || obj_uint(c->in, "AddressFamily", 2) != 2)
        return 87;
    struct space *s = space_of(d, NS);
    for (size_t i = 0; i < s->n; i++)
        if (schema_isa(s->at[i]->o->class, "MSFT_NetIPAddress") && !strcmp(obj_str(s->at[i]->o, "IPAddress"), address))
            return 5010;
    struct inst *a = address_add(d, address, bits, obj_uint(on->o, "InterfaceIndex", 0), obj_str(on->o, "InterfaceAlias"));
    if (obj_bool(c->in, "PassThru", false)) {
        struct dobj *copy = obj_clone(a->o);           /* embedded: no path */
        obj_set_objs(c->out, "CmdletOutput", &copy, 1);
    }
    return 0;
}

const struct impl network_impls[] = {
    {NS, "MSFT_NetIPAddress", "Create", IMPL_SYNC | IMPL_VALUE, .check = address_create},
    {0},
};

/* ---- PutInstance, DeleteInstance ---- */

static uint32_t refuse(struct dbl *d, char **why, const char *text)
{
    bool in_ext = choose(d, DBL_NAT_OVERLAP_IN_EXT);
    *why = in_ext ? x_dup(text) : NULL;
    return in_ext ? WMI_E_FAILED : 0x80070057u;
}

static uint32_t put_nat(struct dbl *d, struct dobj *o, enum wmi_put how, char **why)
{
    struct space *s = space_of(d, NS);
    const char *name = obj_str(o, "Name"), *text = obj_str(o, "InternalIPInterfaceAddressPrefix");
    struct prefix p, other;
    if (d->o.no_nat)
        return WMI_E_INVALID_CLASS;
    if (!name || !*name || !parse_prefix(text, &p))
        return refuse(d, why, "The parameter is incorrect.");
    struct inst *same = NULL;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!schema_isa(s->at[i]->o->class, "MSFT_NetNat"))
            continue;
        n++;
        if (str_ieq(obj_str(s->at[i]->o, "Name"), name))
            same = s->at[i];
        else if (parse_prefix(obj_str(s->at[i]->o, "InternalIPInterfaceAddressPrefix"), &other) && overlap(&p, &other))
            return refuse(d, why, "The parameter is incorrect.");
    }
    if (same && how == WMI_CREATE_ONLY)
        return WMI_E_ALREADY_EXISTS;
    if (!same && how == WMI_UPDATE_ONLY)
        return WMI_E_NOT_FOUND;
    if (!same && n && d->o.nat_once)
        return refuse(d, why, "The parameter is incorrect.");
    if (same) {
        overwrite(same->o, o);
        return 0;
    }
    struct inst *i = inst_new(d, NS, "MSFT_NetNat");
    overwrite(i->o, o);
    AUTO_FREE char *id = x_printf("%s;0", name);
    obj_set_str(i->o, "InstanceID", id);
    obj_set_uint(i->o, "Active", 1);
    obj_set_uint(i->o, "Store", 0);
    inst_enter(d, i);
    return 0;
}

uint32_t network_put(struct dbl *d, struct dobj *o, enum wmi_put how, char **why)
{
    return schema_isa(o->class, "MSFT_NetNat") ? put_nat(d, o, how, why) : WMI_E_NOT_SUPPORTED;
}

uint32_t network_delete(struct dbl *d, struct inst *i)
{
    if (!schema_isa(i->o->class, "MSFT_NetNat") && !schema_isa(i->o->class, "MSFT_NetIPAddress"))
        return WMI_E_NOT_SUPPORTED;
    inst_remove(d, i);
    return 0;
}

void network_populate(struct dbl *d)
{
    adapter_add(d, "Ethernet", "4C0E5C4A-6F2F-4D7E-8B60-0D4B7F2E1A01");
    address_add(d, "10.1.0.4", 24, 5, "Ethernet");
    /* the machine's only route out, which an own prefix must not cover */
    struct inst *r = inst_new(d, NS, "MSFT_NetRoute");
    obj_set_str(r->o, "InstanceID", "0.0.0.0/0;5");
    obj_set_str(r->o, "DestinationPrefix", "0.0.0.0/0");
    obj_set_str(r->o, "NextHop", "10.1.0.1");
    obj_set_uint(r->o, "InterfaceIndex", 5);
    inst_enter(d, r);
}

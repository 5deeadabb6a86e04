/* The network 'nat': guests get out, nobody gets in. A client's own Default Switch does that, with addresses by DHCP. Elsewhere we make an internal
 * switch, give the host an address on it, and let Windows translate (MSFT_NetNat, root\StandardCimv2); a guest's address is then set by hand.
 *
 * data_dir/hyperv-nat.json names what we made and the VMs that use it: written before anything is made, gone when the last user is. The switch
 * carries our mark in its notes, and is removed only when file and notes agree. One host has one such network. */
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "hyperv/hyperv.h"
#include "hyperv/vmspec.h"

#define DEFAULT_SWITCH "C08CB7B8-9B3C-408E-8E30-5E16A3AEB444"
#define FILE_NAME "hyperv-nat.json"
#define FILE_MAX ((size_t)1 << 20)
#define VERSION 1
#define ADAPTER_MS 30000                               /* until Windows shows the host's adapter of a new switch */
#define MARK "vmrecover-nat"

struct nat {
    char mark[UUID_LEN], guid[UUID_LEN];               /* guid of the switch; empty: not made yet */
    char name[32], prefix[32];                         /* of switch and NAT; "192.168.200.0/24" */
    bool made_nat;                                     /* false: another's NAT covers the prefix, or it is not made yet */
    json_t *users;                                     /* ids of VMs */
};

static void nat_clear(struct nat *n)
{
    json_decref(n->users);
    *n = (struct nat){0};
}

/* ---- the file ---- */

static bool text(json_t *o, const char *key, char *ret, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));
    if (!s || strlen(s) >= size)
        return false;
    memcpy(ret, s, strlen(s) + 1);
    return true;
}

static int load(struct hyperv *h, struct nat *ret, bool *ret_there, struct err *e)
{
    AUTO_FREE char *path = os_path_join(h->data_dir, FILE_NAME), *content = NULL;
    struct os_stat st;
    size_t len = 0;
    json_t *o = NULL;
    int r = path ? os_stat(path, &st, e) : err_oom(e);
    *ret_there = r == 0 && st.exists;
    if (!*ret_there)
        return r;
    r = os_read_file(path, FILE_MAX, &content, &len, e);
    if (r == 0)
        r = json_parse(content, len, &o, e);
    struct nat n = {.made_nat = json_is_true(json_object_get(o, "made_nat"))};
    long long version;
    if (r == 0 && !(vmspec_int(o, "version", VERSION, VERSION, &version) && text(o, "mark", n.mark, sizeof n.mark) && text(o, "switch", n.guid, sizeof n.guid) &&
                    text(o, "name", n.name, sizeof n.name) && text(o, "prefix", n.prefix, sizeof n.prefix) && json_is_array(json_object_get(o, "users")))) {
        err_set(e, ERR_IO, "the record of the NAT network, %s, is damaged", path);
        r = err_hint(e, "Remove the switch 'vmrecover-…' and the NAT of the same name by hand, then this file.");
    }
    n.users = json_incref(json_object_get(o, "users"));
    json_decref(o);
    if (r < 0)
        nat_clear(&n);
    else
        *ret = n;
    return r;
}

static int save(struct hyperv *h, const struct nat *n, struct err *e)
{
    json_t *o = json_pack("{s:i, s:s, s:s, s:s, s:s, s:b, s:O}", "version", VERSION, "mark", n->mark, "switch", n->guid, "name", n->name, "prefix",
                          n->prefix, "made_nat", (int)n->made_nat, "users", n->users);
    AUTO_FREE char *content = o ? json_dumps(o, JSON_INDENT(2)) : NULL, *path = os_path_join(h->data_dir, FILE_NAME);
    json_decref(o);
    return content && path ? os_write_file(path, content, strlen(content), OS_PRIVATE, e) : err_oom(e);
}

static size_t user_index(const struct nat *n, const char *id)
{
    size_t i;
    json_t *s;
    json_array_foreach(n->users, i, s)
        if (str_ieq(json_string_value(s), id))
            return i;
    return SIZE_MAX;
}

/* ---- addresses ---- */

static bool read_ipv4(const char *s, uint32_t *ret, unsigned *ret_bits)
{
    uint32_t a = 0;
    unsigned long long part;
    for (int i = 0; i < 4; i++) {
        size_t n = strspn(s, "0123456789");
        AUTO_FREE char *digits = str_ndup(s, n);
        if (!digits || !str_to_u64(digits, 255, &part) || (i < 3 && s[n] != '.'))
            return false;
        a = a << 8 | (uint32_t)part;
        s += n + (i < 3);
    }
    *ret = a;
    *ret_bits = 32;
    if (*s == '/' && str_to_u64(s + 1, 32, &part))
        *ret_bits = (unsigned)part;
    else if (*s)
        return false;
    return true;
}

static uint32_t mask(unsigned bits)
{
    return bits ? ~(uint32_t)0 << (32 - bits) : 0;
}

static bool overlap(uint32_t a, unsigned a_bits, uint32_t b, unsigned b_bits)
{
    uint32_t m = mask(a_bits < b_bits ? a_bits : b_bits);
    return (a & m) == (b & m);
}

struct taken { uint32_t address; unsigned bits; };
struct taken_list { struct taken at[512]; size_t n; };

static void take(struct taken_list *t, const char *prefix, unsigned bits)
{
    struct taken x;
    if (prefix && t->n < ARRAY_LEN(t->at) && read_ipv4(prefix, &x.address, &x.bits)) {
        if (x.bits == 32 && bits)
            x.bits = bits;
        t->at[t->n++] = x;
    }
}

/* The host's addresses with their networks; with `nats` also what is translated already. */
static int list_taken(struct hyperv *h, bool nats, const struct wmi_wait *w, struct taken_list *ret, struct err *e)
{
    struct wmi *net;
    struct wmi_rows rows = {0};
    int r = hyperv_network_wmi(h, w, &net, e);
    if (r == 0)
        r = wmi_query(net, "SELECT * FROM MSFT_NetIPAddress WHERE AddressFamily=2", WMI_ROWS_MAX, w, &rows, e);
    for (size_t i = 0; i < rows.n; i++) {
        AUTO_FREE char *address = wmi_str(rows.at[i], "IPAddress");
        take(ret, address, (unsigned)wmi_uint(rows.at[i], "PrefixLength", 24));
    }
    wmi_rows_clear(&rows);
    if (r == 0 && nats)
        r = wmi_query(net, "SELECT * FROM MSFT_NetNat", WMI_ROWS_MAX, w, &rows, e);
    for (size_t i = 0; i < rows.n; i++) {
        AUTO_FREE char *prefix = wmi_str(rows.at[i], "InternalIPInterfaceAddressPrefix");
        take(ret, prefix, 0);
    }
    wmi_rows_clear(&rows);
    return r;
}

static bool is_free(const struct taken_list *t, uint32_t network)
{
    for (size_t i = 0; i < t->n; i++)
        if (overlap(network, 24, t->at[i].address, t->at[i].bits))
            return false;
    return true;
}

static void write_prefix(uint32_t network, char *ret, size_t size)
{
    snprintf(ret, size, "%u.%u.%u.0/24", network >> 24, network >> 16 & 255, network >> 8 & 255);
}

static int choose_prefix(struct hyperv *h, const struct wmi_wait *w, char *ret, size_t size, struct err *e)
{
    struct taken_list taken = {.n = 0};
    int r = list_taken(h, true, w, &taken, e);
    if (r < 0)
        return r;
    for (uint32_t i = 200; i < 255 * 2; i++) {         /* 192.168.200.0 to 192.168.254.0, then 10.0.77.0 to 10.254.77.0 */
        uint32_t network = i < 255 ? 0xC0A80000u | i << 8 : 0x0A004D00u | (i - 255) << 16;
        if (is_free(&taken, network)) {
            write_prefix(network, ret, size);
            return 0;
        }
    }
    err_set(e, ERR_VM, "no private network is free on this host for the network 'nat'");
    return err_hint(e, "Use the network none, or switch:<name> with a switch of your own.");
}

/* ---- the switch ---- */

static bool carries_mark(const struct wmi_object *settings, const struct nat *n)
{
    AUTO(wmi_strs_free_ptr) char **notes = wmi_strs(settings, "Notes");
    AUTO_FREE char *line = str_printf(MARK " %s", n->mark);
    return notes && notes[0] && line && str_istarts(notes[0], line);
}

static int look_for_ours(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, char ret_guid[UUID_LEN], struct err *e)
{
    AUTO_FREE char *name = wmi_quote(n->name);
    struct wmi_rows rows = {0};
    if (!name)
        return err_oom(e);
    int r = hyperv_query(h, w, &rows, e, "SELECT * FROM Msvm_VirtualEthernetSwitchSettingData WHERE ElementName=%s", name);
    bool found = false;
    for (size_t i = 0; i < rows.n && !found; i++) {
        AUTO_FREE char *guid = wmi_str(rows.at[i], "VirtualSystemIdentifier");
        found = guid && hyperv_is_guid(guid) && carries_mark(rows.at[i], n);
        if (found)
            snprintf(ret_guid, UUID_LEN, "%s", guid);
    }
    wmi_rows_clear(&rows);
    return r < 0 || found ? r : err_set(e, ERR_NOT_FOUND, "our switch '%s' is not there", n->name);
}

/* Our switch by its name and mark: its GUID. ERR_NOT_FOUND. As long as no GUID is written down its definition may be under way. */
static int find_ours(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, char ret_guid[UUID_LEN], struct err *e)
{
    int r = look_for_ours(h, n, w, ret_guid, e);
    if (r != -ERR_NOT_FOUND || wmi_hresult(e) || n->guid[0])
        return r;
    hyperv_quiet(h);
    return look_for_ours(h, n, w, ret_guid, e);
}

static int switch_path(struct hyperv *h, const char *guid, const struct wmi_wait *w, char **ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    int r = hyperv_query_one(h, w, &o, e, "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE Name='%s'", guid);
    return r < 0 ? r : wmi_path(o, ret, e);
}

/* The host's own Msvm_ComputerSystem: the one whose name is no GUID. */
static int host_path(struct hyperv *h, const struct wmi_wait *w, char **ret, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = hyperv_query(h, w, &rows, e, "SELECT CreationClassName,Name FROM Msvm_ComputerSystem");
    bool found = false;
    for (size_t i = 0; r == 0 && i < rows.n && !found; i++) {
        AUTO_FREE char *name = wmi_str(rows.at[i], "Name");
        found = name && !hyperv_is_guid(name);
        if (found)
            r = wmi_path(rows.at[i], ret, e);
    }
    wmi_rows_clear(&rows);
    return r < 0 || found ? r : err_set(e, ERR_VM, "Hyper-V does not list the host itself");
}

static int define_switch(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, struct err *e)
{
    struct wmi *wmi;
    AUTO(wmi_object_free_ptr) struct wmi_object *settings = NULL, *port = NULL;
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO_FREE char *host = NULL, *notes = str_printf(MARK " %s\nMade by vmrecover, which removes it with the last virtual machine on it.", n->mark),
                   *what = str_printf("cannot make the switch '%s'", n->name);
    const char *list[] = {notes};
    int r = notes ? hyperv_wmi(h, w, &wmi, e) : err_oom(e);
    if (r == 0)
        r = host_path(h, w, &host, e);
    const char *hosts[] = {host};
    if (r == 0)
        r = wmi_spawn(wmi, "Msvm_VirtualEthernetSwitchSettingData", w, &settings, e);
    if (r == 0)
        r = wmi_put_str(settings, "ElementName", n->name, e);
    if (r == 0)
        r = wmi_put_strs(settings, "Notes", list, 1, e);
    if (r == 0)
        r = hyperv_template(h, "Msvm_EthernetPortAllocationSettingData", "Microsoft:Hyper-V:Ethernet Connection", w, &port, e);
    if (r == 0)
        r = wmi_put_str(port, "ElementName", n->name, e);
    if (r == 0)
        r = wmi_put_strs(port, "HostResource", hosts, 1, e);
    if (r == 0)
        r = hyperv_prepare(h, HYPERV_SWITCHES, "DefineSystem", what, w, &c, e);
    if (r == 0)
        r = wmi_put_instance_in(c.in, "SystemSettings", settings, e);
    if (r == 0)
        r = wmi_put_instances_in(c.in, "ResourceSettings", &port, 1, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

static int ensure_switch(struct hyperv *h, struct nat *n, const struct wmi_wait *w, char **ret, struct err *e)
{
    int r = find_ours(h, n, w, n->guid, e);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e)) {
        r = define_switch(h, n, w, e);
        if (r == 0)
            r = find_ours(h, n, w, n->guid, e);
    }
    if (r == 0)
        r = save(h, n, e);
    return r < 0 ? r : switch_path(h, n->guid, w, ret, e);
}

/* ---- address and translation ---- */

static int find_adapter(struct hyperv *h, const struct nat *n, struct wmi *net, const struct wmi_wait *w, uint64_t *ret_index, struct err *e)
{
    AUTO_FREE char *wql = str_printf("SELECT * FROM MSFT_NetAdapter WHERE Name='vEthernet (%s)'", n->name);
    for (int64_t deadline = hyperv_now(h) + ADAPTER_MS; wql;) {
        AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
        int r = wmi_query_one(net, wql, w, &o, e);
        if (r == 0 && (*ret_index = wmi_uint(o, "InterfaceIndex", 0)))
            return 0;
        if (r < 0 && (r != -ERR_NOT_FOUND || wmi_hresult(e)))
            return r;
        if (hyperv_now(h) > deadline)
            return err_set(e, ERR_TIMEOUT, "Windows does not show the adapter 'vEthernet (%s)' of the new switch", n->name);
        if ((r = hyperv_sleep(h, w, 500, e)) < 0)
            return r;
    }
    return err_oom(e);
}

/* The host is the first address of the network. */
static int ensure_address(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, struct err *e)
{
    struct wmi *net;
    AUTO(wmi_object_free_ptr) struct wmi_object *there = NULL, *in = NULL, *out = NULL;
    uint64_t index = 0;
    uint32_t network;
    unsigned bits;
    if (!read_ipv4(n->prefix, &network, &bits))
        return err_set(e, ERR_IO, "the NAT network '%s' in our record is not valid", n->prefix);
    char address[20];
    snprintf(address, sizeof address, "%u.%u.%u.1", network >> 24, network >> 16 & 255, network >> 8 & 255);
    int r = hyperv_network_wmi(h, w, &net, e);
    if (r == 0)
        r = find_adapter(h, n, net, w, &index, e);
    if (r < 0)
        return r;
    AUTO_FREE char *wql = str_printf("SELECT * FROM MSFT_NetIPAddress WHERE InterfaceIndex=%u AND IPAddress='%s'", (unsigned)index, address);
    if (!wql)
        return err_oom(e);
    if (wmi_query_one(net, wql, w, &there, e) == 0)
        return 0;
    r = wmi_method(net, "MSFT_NetIPAddress", "Create", w, &in, e);
    if (r == 0)
        r = wmi_put_uint(in, "InterfaceIndex", index, e);
    if (r == 0)
        r = wmi_put_str(in, "IPAddress", address, e);
    if (r == 0)
        r = wmi_put_uint(in, "AddressFamily", 2, e);
    if (r == 0)
        r = wmi_put_uint(in, "PrefixLength", 24, e);
    if (r == 0)
        r = wmi_exec(net, "MSFT_NetIPAddress", "Create", in, w, &out, e);
    uint64_t value = r == 0 && out ? wmi_uint(out, "ReturnValue", 0) : 0;
    if (value) {
        err_set(e, ERR_VM, "cannot give the host the address %s on the switch '%s': Windows answers %u", address, n->name, (unsigned)value);
        snprintf(e->upstream.service, sizeof e->upstream.service, "windows_network");
        snprintf(e->upstream.code, sizeof e->upstream.code, "%u", (unsigned)value);
        r = -(int)ERR_VM;
    }
    return r;
}

static int find_nat(struct hyperv *h, const char *name, const struct wmi_wait *w, struct wmi_object **ret, struct err *e)
{
    struct wmi *net;
    AUTO_FREE char *wql = str_printf("SELECT * FROM MSFT_NetNat WHERE Name='%s'", name);
    int r = wql ? hyperv_network_wmi(h, w, &net, e) : err_oom(e);
    return r < 0 ? r : wmi_query_one(net, wql, w, ret, e);
}

static int no_nat_here(struct err *e)
{
    err_set(e, ERR_UNSUPPORTED, "this Windows has no network address translation (MSFT_NetNat)");
    return err_hint(e, "Use the network switch:<name> with a switch of your own, or none.");
}

static int create_nat(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, struct err *e)
{
    struct wmi *net;
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    int r = hyperv_network_wmi(h, w, &net, e);
    if (r == 0)
        r = wmi_spawn(net, "MSFT_NetNat", w, &o, e);
    if (r == 0)
        r = wmi_put_str(o, "Name", n->name, e);
    if (r == 0)
        r = wmi_put_str(o, "InternalIPInterfaceAddressPrefix", n->prefix, e);
    return r < 0 ? r : wmi_put_instance(net, o, WMI_CREATE_ONLY, w, e);
}

/* A network inside another's NAT that no address of the host lies in. False: there is none. */
static bool inside_of_another(struct hyperv *h, const struct wmi_wait *w, char *ret, size_t size)
{
    struct wmi *net;
    struct wmi_rows rows = {0};
    struct taken_list taken = {.n = 0};
    struct err ignored;
    bool found = false;
    if (list_taken(h, false, w, &taken, &ignored) < 0 || hyperv_network_wmi(h, w, &net, &ignored) < 0 ||
        wmi_query(net, "SELECT * FROM MSFT_NetNat", WMI_ROWS_MAX, w, &rows, &ignored) < 0)
        return false;
    for (size_t i = 0; i < rows.n && !found; i++) {
        AUTO_FREE char *prefix = wmi_str(rows.at[i], "InternalIPInterfaceAddressPrefix");
        uint32_t network;
        unsigned bits;
        if (!prefix || !read_ipv4(prefix, &network, &bits) || bits > 23 || bits < 8)
            continue;
        uint32_t last = network | ~mask(bits);
        for (uint32_t at = last & mask(24); at > network && !found; at -= 256)      /* from the end, where others seldom are */
            if ((found = is_free(&taken, at)))
                write_prefix(at, ret, size);
    }
    wmi_rows_clear(&rows);
    return found;
}

/* No row, or no such class on this Windows. */
static bool is_absent(int r, const struct err *e)
{
    return r == -ERR_NOT_FOUND && (!wmi_hresult(e) || wmi_hresult(e) == WMI_E_INVALID_CLASS);
}

/* Some versions of Windows take one NAT only: then a network inside of that one serves as well. */
static int ensure_nat(struct hyperv *h, struct nat *n, const struct wmi_wait *w, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *there = NULL;
    int r = find_nat(h, n->name, w, &there, e);
    if (r == 0)
        return 0;
    if (r == -ERR_NOT_FOUND && wmi_hresult(e) == WMI_E_INVALID_CLASS)
        return no_nat_here(e);
    if (r != -ERR_NOT_FOUND || wmi_hresult(e))
        return r;
    n->made_nat = true;                                /* before it is made: release looks for it by its name */
    if ((r = save(h, n, e)) < 0 || (r = create_nat(h, n, w, e)) == 0)
        return r;
    struct err why = *e, look;
    if (find_nat(h, n->name, w, &there, &look) == 0)  /* made, whatever the answer was */
        return 0;
    if (wmi_was_cut_off(e) || !is_absent(-(int)look.code, &look) || e->code == ERR_PERMISSION || e->code == ERR_CANCELLED)
        return r;
    if (!inside_of_another(h, w, n->prefix, sizeof n->prefix)) {
        *e = why;
        err_prefix(e, "Windows does not make the NAT %s for %s", n->name, n->prefix);
        err_hint(e, "Get-NetNat lists the NATs of this host, and some versions of Windows allow only one: remove what is not needed, or use switch:<name>.");
        return r;
    }
    log_info("another NAT of this host serves the network 'nat'", KS("prefix", n->prefix), KS("because", why.msg));
    n->made_nat = false;
    r = save(h, n, e);
    return r < 0 ? r : ensure_address(h, n, w, e);
}

/* ---- get and release ---- */

static int begin(struct hyperv *h, const char *id, const struct wmi_wait *w, struct nat *n, struct err *e)
{
    bool there = false;
    int r = load(h, n, &there, e);
    if (r == 0 && !there) {
        r = crypto_uuid(n->mark, e);
        if (r == 0)
            r = choose_prefix(h, w, n->prefix, sizeof n->prefix, e);
        if (r == -ERR_NOT_FOUND && wmi_hresult(e) == WMI_E_INVALID_CLASS)
            r = no_nat_here(e);
        snprintf(n->name, sizeof n->name, "vmrecover-%.8s", n->mark);
        if (r == 0 && !(n->users = json_array()))
            r = err_oom(e);
    }
    if (r == 0 && user_index(n, id) == SIZE_MAX && json_array_append_new(n->users, json_string(id)) < 0)
        r = err_oom(e);
    return r < 0 ? r : save(h, n, e);
}

int hyperv_nat_get(struct hyperv *h, const char *id, const struct wmi_wait *w, char **ret_switch, struct err *e)
{
    AUTO(nat_clear) struct nat n = {0};
    int r = switch_path(h, DEFAULT_SWITCH, w, ret_switch, e);
    if (r == 0 || (r != -ERR_NOT_FOUND || wmi_hresult(e)))
        return r;
    AUTO_FREE char *path = NULL;
    pthread_mutex_lock(&h->nat);
    r = begin(h, id, w, &n, e);
    if (r == 0)
        r = ensure_switch(h, &n, w, &path, e);
    if (r == 0)
        r = ensure_address(h, &n, w, e);
    if (r == 0)
        r = ensure_nat(h, &n, w, e);
    pthread_mutex_unlock(&h->nat);
    if (r == 0)
        *ret_switch = STEAL(path);
    return r;
}

/* Gone is what is not found any more, whatever the deletion answered. */
static int remove_nat(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, struct err *e)
{
    struct wmi *net;
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL, *still = NULL;
    AUTO_FREE char *path = NULL;
    struct err look;
    int r = find_nat(h, n->name, w, &o, e);
    if (is_absent(r, e))
        return 0;
    if (r == 0)
        r = wmi_path(o, &path, e);
    if (r == 0)
        r = hyperv_network_wmi(h, w, &net, e);
    if (r == 0)
        r = wmi_delete_instance(net, path, w, e);
    if (is_absent(find_nat(h, n->name, w, &still, &look), &look))
        return 0;
    return r < 0 ? r : still ? err_set(e, ERR_VM, "Windows says that it removed the NAT %s, and still lists it", n->name) : (*e = look, -(int)look.code);
}

static int remove_switch(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, struct err *e)
{
    char guid[UUID_LEN];
    AUTO_FREE char *path = NULL, *what = str_printf("cannot remove the switch '%s'", n->name);
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = find_ours(h, n, w, guid, e);
    if (r == -ERR_NOT_FOUND && !wmi_hresult(e))
        return 0;
    if (r == 0)
        r = switch_path(h, guid, w, &path, e);
    if (r == 0)
        r = hyperv_prepare(h, HYPERV_SWITCHES, "DestroySystem", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "AffectedSystem", path, e);
    return r < 0 ? r : hyperv_invoke(h, &c, w, NULL, e);
}

/* Looks before it does anything, so it can be done again. */
static int remove_both(struct hyperv *h, const struct nat *n, const struct wmi_wait *w, struct err *e)
{
    int r = n->made_nat ? remove_nat(h, n, w, e) : 0;
    return r < 0 ? r : remove_switch(h, n, w, e);
}

static int release(struct hyperv *h, struct nat *n, const char *id, const struct wmi_wait *w, struct err *e)
{
    size_t i = user_index(n, id);
    int r = 0;
    if (i != SIZE_MAX) {
        json_array_remove(n->users, i);
        r = save(h, n, e);
    }
    if (r < 0 || json_array_size(n->users))
        return r;
    r = remove_both(h, n, w, e);
    if (r < 0 && hyperv_again(h, e))
        r = remove_both(h, n, w, e);
    AUTO_FREE char *path = os_path_join(h->data_dir, FILE_NAME);
    return r < 0 ? r : path ? os_remove(path, e) : err_oom(e);
}

int hyperv_nat_release(struct hyperv *h, const char *id, const struct wmi_wait *w, struct err *e)
{
    AUTO(nat_clear) struct nat n = {0};
    bool there = false;
    pthread_mutex_lock(&h->nat);
    int r = load(h, &n, &there, e);
    if (r == 0 && there)
        r = release(h, &n, id, w, e);
    pthread_mutex_unlock(&h->nat);
    return r;
}

bool hyperv_nat_prefix(struct hyperv *h, char *ret, size_t size)
{
    AUTO(nat_clear) struct nat n = {0};
    struct err ignored;
    bool there = false;
    pthread_mutex_lock(&h->nat);
    int r = load(h, &n, &there, &ignored);
    pthread_mutex_unlock(&h->nat);
    if (r < 0 || !there)
        return false;
    snprintf(ret, size, "%s", n.prefix);
    return true;
}

/* The double's switches, NAT and Windows Storage. [D] documented, [C] public code, [I] issue, [U] not confirmed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/wmi_kit.h"

/* ---- switches ---- */

static struct said switch_call(struct kit *k, const char *method, const char *system_param, const char *system, const char *port)
{
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualEthernetSwitchManagementService");
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualEthernetSwitchManagementService", method);
    assert_int_equal(wmi_put_str(in, system_param, system, &k->e), 0);
    if (port)
        assert_int_equal(wmi_put_strs(in, "ResourceSettings", (const char *const[]){port}, 1, &k->e), 0);
    return kit_exec(k, k->hv, service, method, in);
}

/* An internal switch [C]: one port whose resource is the host; the host's adapter "vEthernet (name)" appears, and goes with it. Not while a VM that
 * runs is connected (32774 [U]); never the Default Switch. */
static void test_switch(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.client = true});
    AUTO_FREE char *before = dbl_dump(k->d, DBL_ALL);
    AUTO_FREE char *host = kit_path_of(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE Name='WINHOST1'");
    AUTO_FREE char *settings = kit_text(k, "Msvm_VirtualEthernetSwitchSettingData", (const char *const[]){"ElementName", "own", "Notes", "mark", NULL});
    AUTO_FREE char *port = kit_text(k, "Msvm_EthernetPortAllocationSettingData", (const char *const[]){"ElementName", "own", "HostResource", host, NULL});
    AUTO_FREE char *stray = kit_text(k, "Msvm_EthernetPortAllocationSettingData", (const char *const[]){"HostResource", "nowhere", NULL});
    AUTO_FREE char *wrong = kit_text(k, "Msvm_VirtualSystemSettingData", NULL);
    struct said s = switch_call(k, "DefineSystem", "SystemSettings", wrong, NULL);
    assert_int_equal(s.code, 32773);
    kit_said_clear(&s);
    s = switch_call(k, "DefineSystem", "SystemSettings", settings, stray);
    assert_int_equal(s.code, 32789);
    kit_said_clear(&s);
    s = switch_call(k, "DefineSystem", "SystemSettings", settings, port);
    assert_int_equal(s.code, 0);
    kit_said_clear(&s);
    assert_int_equal(kit_count(k, k->net, "SELECT * FROM MSFT_NetAdapter WHERE Name='vEthernet (own)'"), 1);
    AUTO_FREE char *sw = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE ElementName='own'");
    AUTO_FREE char *vm = kit_define(k, 1, "n");
    assert_int_equal(kit_add(k, vm, "Msvm_SyntheticEthernetPortSettingData",
                             (const char *const[]){"ResourceType", "10", "ResourceSubType", "Microsoft:Hyper-V:Synthetic Ethernet Port", NULL}), 0);
    AUTO_FREE char *nic = kit_device(k, vm, "Synthetic Ethernet Port", 0);
    assert_int_equal(kit_add(k, vm, "Msvm_EthernetPortAllocationSettingData",
                             (const char *const[]){"ResourceType", "33", "ResourceSubType", "Microsoft:Hyper-V:Ethernet Connection", "Parent", nic, "HostResource",
                                                   sw, NULL}), 0);
    assert_int_equal(kit_state(k, vm, 2), 0);
    s = switch_call(k, "DestroySystem", "AffectedSystem", sw, NULL);
    assert_int_equal(s.code, 32774);
    kit_said_clear(&s);
    assert_int_equal(kit_state(k, vm, 3), 0);
    s = switch_call(k, "DestroySystem", "AffectedSystem", sw, NULL);
    assert_int_equal(s.code, 0);
    kit_said_clear(&s);
    assert_int_equal(kit_count(k, k->net, "SELECT * FROM MSFT_NetAdapter WHERE Name LIKE 'vEthernet%'"), 0);
    assert_int_equal(kit_state(k, vm, 2), 0x80070002u);                  /* its switch is gone */
    AUTO_FREE char *def = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE Name='C08CB7B8-9B3C-408E-8E30-5E16A3AEB444'");
    s = switch_call(k, "DestroySystem", "AffectedSystem", def, NULL);
    assert_int_equal(s.code, 32773);
    kit_said_clear(&s);
    AUTO_FREE char *vm_path = kit_vm_path(k, vm), *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "DestroySystem");
    wmi_put_str(in, "AffectedSystem", vm_path, &k->e);
    assert_int_equal(kit_call(k, k->hv, service, "DestroySystem", in), 0);
    AUTO_FREE char *after = dbl_dump(k->d, DBL_ALL);
    assert_string_equal(before, after);
    kit_free(k);
}

/* ---- NAT ---- */

static uint32_t put_nat(struct kit *k, const char *name, const char *prefix, enum wmi_put how)
{
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_spawn(k->net, "MSFT_NetNat", &k->wait, &o, &k->e), 0);
    if (name)
        assert_int_equal(wmi_put_str(o, "Name", name, &k->e), 0);
    assert_int_equal(wmi_put_str(o, "InternalIPInterfaceAddressPrefix", prefix, &k->e), 0);
    int r = wmi_put_instance(k->net, o, how, &k->wait, &k->e);
    wmi_object_free(o);
    return r < 0 ? wmi_hresult(&k->e) : 0;
}

/* WinNAT: created with PutInstance, deleted with DeleteInstance; an overlap is error 87 [C]; one NAT on older hosts [I] Virtualization-Documentation
 * #1945; the class is missing on some editions [C]. */
static void test_nat(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    assert_int_equal(put_nat(k, "a", "192.168.77.0/24", WMI_CREATE_ONLY), 0);
    assert_int_equal(put_nat(k, "a", "192.168.77.0/24", WMI_CREATE_ONLY), WMI_E_ALREADY_EXISTS);
    assert_int_equal(put_nat(k, "b", "192.168.77.128/25", WMI_CREATE_ONLY), 0x80070057u);
    assert_int_equal(put_nat(k, "b", "192.168.0.0/16", WMI_CREATE_ONLY), 0x80070057u);
    assert_int_equal(put_nat(k, "b", "192.168.78.1/24", WMI_CREATE_ONLY), 0x80070057u);    /* host bits */
    assert_int_equal(put_nat(k, "b", "nonsense", WMI_CREATE_ONLY), 0x80070057u);
    assert_int_equal(put_nat(k, NULL, "192.168.78.0/24", WMI_CREATE_ONLY), 0x80070057u);
    assert_int_equal(put_nat(k, "b", "192.168.78.0/24", WMI_CREATE_ONLY), 0);
    AUTO_FREE char *path = kit_path_of(k, k->net, "SELECT * FROM MSFT_NetNat WHERE Name='a'");
    assert_int_equal(wmi_delete_instance(k->net, path, &k->wait, &k->e), 0);
    assert_true(wmi_delete_instance(k->net, path, &k->wait, &k->e) < 0);
    assert_int_equal(wmi_hresult(&k->e), WMI_E_NOT_FOUND);
    kit_free(k);
    k = kit_new(&(struct dbl_options){.choices = DBL_EVER, .nat_once = true});
    assert_int_equal(put_nat(k, "a", "192.168.77.0/24", WMI_CREATE_ONLY), 0);
    assert_int_equal(put_nat(k, "b", "192.168.78.0/24", WMI_CREATE_ONLY), WMI_E_FAILED);
    assert_non_null(strstr(k->e.msg, "parameter is incorrect"));
    kit_free(k);
}

/* MSFT_NetIPAddress.Create [D]: static; interface by index or alias; what it returns has no path [C]. */
static void test_address(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    static const struct { const char *alias, *ip; unsigned bits; uint32_t value; } cases[] = {
        {"Ethernet", "192.168.77.1", 24, 0}, {"Ethernet", "192.168.77.1", 24, 5010}, {"nowhere", "192.168.77.2", 24, 1168},
        {"Ethernet", "192.168.300.2", 24, 87}, {"Ethernet", "192.168.77.2", 33, 87}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wmi_object *in = kit_in(k, k->net, "MSFT_NetIPAddress", "Create");
        wmi_put_str(in, "InterfaceAlias", cases[i].alias, &k->e);
        wmi_put_str(in, "IPAddress", cases[i].ip, &k->e);
        wmi_put_uint(in, "PrefixLength", cases[i].bits, &k->e);
        wmi_put_bool(in, "PassThru", true, &k->e);
        struct said s = kit_exec(k, k->net, "MSFT_NetIPAddress", "Create", in);
        assert_int_equal(s.value, cases[i].value);
        struct wmi_value v = {0};
        assert_int_equal(wmi_get_value(s.out, "CmdletOutput", &v, &k->e), 0);
        assert_int_equal(v.n, cases[i].value == 0);
        if (v.n) {
            AUTO_FREE char *path = wmi_str(v.items[0].o, "__PATH");
            assert_null(path);
        }
        wmi_value_clear(&v);
        kit_said_clear(&s);
    }
    AUTO_FREE char *path = kit_path_of(k, k->net, "SELECT * FROM MSFT_NetIPAddress WHERE IPAddress='192.168.77.1'");
    assert_int_equal(wmi_delete_instance(k->net, path, &k->wait, &k->e), 0);
    kit_free(k);
}

/* ---- Windows Storage ---- */

static char *disk(struct kit *k, const char *serial)
{
    AUTO_FREE char *wql = str_printf("SELECT * FROM MSFT_Disk WHERE SerialNumber='%s'", serial);
    return kit_path_of(k, k->storage, wql);
}

static uint32_t disk_method(struct kit *k, const char *path, const char *method, const char *param, uint64_t value)
{
    struct wmi_object *in = param ? kit_in(k, k->storage, "MSFT_Disk", method) : NULL;
    if (param) {
        struct wmi_property p;
        assert_int_equal(in->ops->property(in, param, &p, &k->e), 0);
        assert_int_equal(p.type == WMI_BOOLEAN ? wmi_put_bool(in, param, value, &k->e) : wmi_put_uint(in, param, value, &k->e), 0);
    }
    return kit_call(k, k->storage, path, method, in);
}

static struct said partition(struct kit *k, const char *path, uint64_t size, bool whole, char letter, bool assign)
{
    struct wmi_object *in = kit_in(k, k->storage, "MSFT_Disk", "CreatePartition");
    if (size)
        wmi_put_uint(in, "Size", size, &k->e);
    if (whole)
        wmi_put_bool(in, "UseMaximumSize", true, &k->e);
    if (letter)
        wmi_put_uint(in, "DriveLetter", (uint64_t)letter, &k->e);
    if (assign)
        wmi_put_bool(in, "AssignDriveLetter", true, &k->e);
    return kit_exec(k, k->storage, path, "CreatePartition", in);
}

/* Initialize twice 41001, CreatePartition on RAW 41000, offline 41003, read-only 41002; Size and UseMaximumSize exclude each other 40005, letters too 5;
 * a letter that is taken: made, and 42002; a GPT disk gains an MSR partition [D]; the volume appears a little later, objects come without path [C]. */
static void test_disk(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 3, .shuffles = true});
    AUTO_FREE char *d = disk(k, "00000003"), *offline = disk(k, "00000006");
    assert_non_null(strstr(d, "\\\\\\\\"));                              /* ObjectId: quotes and backslashes, escaped */
    struct said s = partition(k, d, 0, true, 0, false);
    assert_int_equal(s.value, 41000);
    struct wmi_value v = {0};
    assert_int_equal(wmi_get_value(s.out, "ExtendedStatus", &v, &k->e), 0);
    assert_int_equal(v.type, WMI_OBJECT);
    wmi_value_clear(&v);
    kit_said_clear(&s);
    s = partition(k, offline, 0, true, 0, false);
    assert_int_equal(s.value, 41003);
    kit_said_clear(&s);
    assert_int_equal(disk_method(k, d, "SetAttributes", "IsReadOnly", 1), 0);
    assert_int_equal(disk_method(k, d, "Initialize", "PartitionStyle", 2), 41002);
    assert_int_equal(disk_method(k, d, "SetAttributes", "IsReadOnly", 0), 0);
    uint32_t r;
    while ((r = disk_method(k, d, "Initialize", "PartitionStyle", 2)) == 40003)
        assert_int_equal(kit_call(k, k->storage, d, "Refresh", NULL), 0);
    assert_int_equal(r, 0);
    kit_call(k, k->storage, d, "Refresh", NULL);
    assert_int_equal(disk_method(k, d, "Initialize", "PartitionStyle", 2), 41001);
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=MSFT_DiskToPartition", d);
    assert_int_equal(kit_count(k, k->storage, wql), 1);
    s = partition(k, d, 1 << 30, true, 0, false);
    assert_int_equal(s.value, 40005);
    kit_said_clear(&s);
    s = partition(k, d, 0, false, 0, false);
    assert_int_equal(s.value, 40005);
    kit_said_clear(&s);
    s = partition(k, d, 1 << 30, false, 'R', true);
    assert_int_equal(s.value, 5);
    kit_said_clear(&s);
    s = partition(k, d, 1 << 30, false, 'C', false);
    assert_int_equal(s.value, 42002);
    assert_int_equal(wmi_get_value(s.out, "CreatedPartition", &v, &k->e), 0);
    AUTO_FREE char *none = wmi_str(v.one.o, "__PATH"), *id = wmi_str(v.one.o, "ObjectId");
    assert_null(none);
    wmi_value_clear(&v);
    kit_said_clear(&s);
    AUTO_FREE char *quoted = wmi_quote(id), *find = str_printf("SELECT * FROM MSFT_Partition WHERE ObjectId=%s", quoted);
    AUTO_FREE char *p = kit_path_of(k, k->storage, find);
    assert_non_null(p);
    AUTO_FREE char *volumes = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=MSFT_PartitionToVolume", p);
    assert_int_equal(kit_count(k, k->storage, volumes), 0);
    dbl_pass(k->d, 6000);
    AUTO_FREE char *volume = kit_path_of(k, k->storage, volumes);
    assert_non_null(volume);
    static const struct { const char *fs; unsigned cluster; uint32_t value; } formats[] = {
        {"ext4", 4096, 43001}, {"NTFS", 3000, 43000}, {"ReFS", 8192, 43000}, {"NTFS", 65536, 0}, {"ReFS", 4096, 0}};
    kit_call(k, k->storage, d, "Refresh", NULL);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct wmi_object *in = kit_in(k, k->storage, "MSFT_Volume", "Format");
        wmi_put_str(in, "FileSystem", formats[i].fs, &k->e);
        wmi_put_uint(in, "AllocationUnitSize", formats[i].cluster, &k->e);
        assert_int_equal(kit_call(k, k->storage, volume, "Format", in), formats[i].value);
    }
    /* RunAsJob [D]: 4096 and a job, which takes its time */
    struct wmi_object *in = kit_in(k, k->storage, "MSFT_Volume", "Format"), *out = NULL, *job = NULL;
    wmi_put_str(in, "FileSystem", "NTFS", &k->e);
    wmi_put_bool(in, "RunAsJob", true, &k->e);
    assert_int_equal(wmi_exec(k->storage, volume, "Format", in, &k->wait, &out, &k->e), 0);
    assert_int_equal(wmi_uint(out, "ReturnValue", 0), 4096);
    AUTO_FREE char *job_path = wmi_str(out, "CreatedStorageJob");
    for (unsigned done = 0; done < 2; done++) {
        assert_int_equal(wmi_get(k->storage, job_path, &k->wait, &job, &k->e), 0);
        assert_int_equal(wmi_uint(job, "JobState", 0), done ? 7 : 4);
        wmi_object_free(job);
        dbl_pass(k->d, 6000);
    }
    wmi_object_free(in);
    wmi_object_free(out);
    kit_free(k);
}

/* The guard: an offline disk that looks RAW and is not [D]; a disk with other numbers between list and action; CanPool goes with the first partition. */
static void test_disk_traps(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *d = disk(k, "00000006"), *empty = disk(k, "00000003");
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->storage, d, &k->wait, &o, &k->e), 0);
    assert_int_equal(wmi_uint(o, "PartitionStyle", 9), 0);
    wmi_object_free(o);
    assert_int_equal(kit_call(k, k->storage, d, "Online", NULL), 0);
    assert_int_equal(wmi_get(k->storage, d, &k->wait, &o, &k->e), 0);
    assert_int_equal(wmi_uint(o, "PartitionStyle", 9), 2);
    wmi_object_free(o);
    const char *can = "SELECT * FROM MSFT_PhysicalDisk WHERE SerialNumber='00000003' AND CanPool=TRUE";
    assert_int_equal(kit_count(k, k->storage, can), 1);
    assert_int_equal(disk_method(k, empty, "Initialize", "PartitionStyle", 2), 0);
    assert_int_equal(kit_count(k, k->storage, can), 0);
    assert_int_equal(wmi_get(k->storage, empty, &k->wait, &o, &k->e), 0);
    uint64_t number = wmi_uint(o, "Number", 99);
    wmi_object_free(o);
    dbl_disks_renumber(k->d);
    assert_int_equal(wmi_get(k->storage, empty, &k->wait, &o, &k->e), 0);
    assert_int_not_equal(wmi_uint(o, "Number", 99), number);
    wmi_object_free(o);
    AUTO_FREE char *system = disk(k, "00000001");
    assert_int_equal(kit_call(k, k->storage, system, "Offline", NULL), 40001);
    kit_free(k);
}

/* Pools: disks as embedded objects [C]; columns at most the disks; the virtual disk becomes an MSFT_Disk; deleted from the top down [D]. */
static void test_pool(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.seed = 1});
    AUTO_FREE char *before = dbl_dump(k->d, DBL_ALL);
    AUTO_FREE char *sub = kit_path_of(k, k->storage, "SELECT * FROM MSFT_StorageSubSystem");
    struct wmi_object *disks[2];
    disks[0] = kit_one(k, k->storage, "SELECT * FROM MSFT_PhysicalDisk WHERE SerialNumber='00000003'");
    disks[1] = kit_one(k, k->storage, "SELECT * FROM MSFT_PhysicalDisk WHERE SerialNumber='00000007'");
    struct wmi_object *in = kit_in(k, k->storage, "MSFT_StorageSubSystem", "CreateStoragePool");
    wmi_put_str(in, "FriendlyName", "recovery", &k->e);
    assert_int_equal(wmi_put_instances_in(in, "PhysicalDisks", disks, 2, &k->e), 0);
    struct wmi_object *again = NULL;
    assert_int_equal(wmi_clone(in, &again, &k->e), 0);
    assert_int_equal(kit_call(k, k->storage, sub, "CreateStoragePool", in), 0);
    assert_int_equal(kit_call(k, k->storage, sub, "CreateStoragePool", again), 51000);
    wmi_object_free(disks[0]);
    wmi_object_free(disks[1]);
    AUTO_FREE char *pool = kit_path_of(k, k->storage, "SELECT * FROM MSFT_StoragePool WHERE IsPrimordial=FALSE");
    AUTO_FREE char *primordial = kit_path_of(k, k->storage, "SELECT * FROM MSFT_StoragePool WHERE IsPrimordial=TRUE");
    static const struct { unsigned columns; bool whole; uint64_t gib; uint32_t value; } cases[] = {{3, true, 0, 48004}, {2, true, 5, 40005}, {2, false, 9000, 40000}, {2, true, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        in = kit_in(k, k->storage, "MSFT_StoragePool", "CreateVirtualDisk");
        wmi_put_str(in, "FriendlyName", "stripe", &k->e);
        wmi_put_str(in, "ResiliencySettingName", "Simple", &k->e);
        wmi_put_uint(in, "NumberOfColumns", cases[i].columns, &k->e);
        wmi_put_bool(in, "UseMaximumSize", cases[i].whole, &k->e);
        if (cases[i].gib)
            wmi_put_uint(in, "Size", cases[i].gib << 30, &k->e);
        assert_int_equal(kit_call(k, k->storage, pool, "CreateVirtualDisk", in), cases[i].value);
    }
    in = kit_in(k, k->storage, "MSFT_StoragePool", "CreateVirtualDisk");
    assert_int_equal(kit_call(k, k->storage, primordial, "CreateVirtualDisk", in), 48000);
    AUTO_FREE char *vd = kit_path_of(k, k->storage, "SELECT * FROM MSFT_VirtualDisk");
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=MSFT_VirtualDiskToDisk", vd);
    struct wmi_object *o = kit_one(k, k->storage, wql);
    assert_true(wmi_uint(o, "Size", 0) > (uint64_t)200 << 30);
    assert_int_equal(wmi_uint(o, "BusType", 0), 16);
    wmi_object_free(o);
    in = kit_in(k, k->storage, "MSFT_StoragePool", "DeleteObject");
    assert_int_equal(kit_call(k, k->storage, pool, "DeleteObject", in), 6);
    in = kit_in(k, k->storage, "MSFT_VirtualDisk", "DeleteObject");
    assert_int_equal(kit_call(k, k->storage, vd, "DeleteObject", in), 0);
    in = kit_in(k, k->storage, "MSFT_StoragePool", "DeleteObject");
    assert_int_equal(kit_call(k, k->storage, pool, "DeleteObject", in), 0);
    AUTO_FREE char *after = dbl_dump(k->d, DBL_ALL);
    assert_string_equal(before, after);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switch), cmocka_unit_test(test_nat),        cmocka_unit_test(test_address),
        cmocka_unit_test(test_disk),   cmocka_unit_test(test_disk_traps), cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

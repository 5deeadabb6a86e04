/* The double of Hyper-V: definition, devices, power. Each test names the facts that it holds the double to, and how sure they are:
 * [D] documented, [C] seen in public code, [I] in an issue, [U] not confirmed on a real host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/tmp.h"
#include "tests/unit/wmi_kit.h"

static const struct dbl_options calm;
enum { VHD = 2, VHDX = 3, FIXED = 2, DYNAMIC = 3, DIFF = 4 };
#define MIB ((uint64_t)1 << 20)
#define IDE "Emulated IDE Controller"
#define SCSI "Synthetic SCSI Controller"

static uint32_t define(struct kit *k, const char *const *pairs)
{
    struct said s = kit_service(k, "DefineSystem", "SystemSettings", kit_text(k, "Msvm_VirtualSystemSettingData", pairs), NULL);
    kit_said_clear(&s);
    return s.code;
}

static uint32_t modify_system(struct kit *k, const char *const *pairs)
{
    struct said s = kit_service(k, "ModifySystemSettings", "SystemSettings", kit_text(k, "Msvm_VirtualSystemSettingData", pairs), NULL);
    kit_said_clear(&s);
    return s.code;
}

static char *str_of(struct kit *k, const char *path, const char *property)
{
    struct wmi_object *o = NULL;
    if (wmi_get(k->hv, path, &k->wait, &o, &k->e) < 0)
        return NULL;
    char *s = wmi_str(o, property);
    wmi_object_free(o);
    return s;
}

static uint64_t uint_of(struct kit *k, const char *path, const char *property)
{
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, path, &k->wait, &o, &k->e), 0);
    uint64_t u = wmi_uint(o, property, UINT64_MAX);
    wmi_object_free(o);
    return u;
}

/* ElementName over 100 characters: 32773 [D]; duplicates are fine [C]; the subtype is one of two; Generation 1 has no Secure Boot, and its boot
 * order is a permutation of all there is [C]. */
static void test_define(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    char name[128];
    memset(name, 'n', sizeof name);
    name[100] = 0;
    assert_int_equal(define(k, (const char *const[]){"ElementName", name, NULL}), 0);
    name[100] = 'n';
    name[101] = 0;
    assert_int_equal(define(k, (const char *const[]){"ElementName", name, NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"ElementName", "twin", NULL}), 0);
    assert_int_equal(define(k, (const char *const[]){"ElementName", "twin", NULL}), 0);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='twin'"), 2);
    assert_int_equal(define(k, (const char *const[]){"VirtualSystemSubType", "Microsoft:Hyper-V:SubType:3", NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"SecureBootEnabled", "TRUE", NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"SecureBootEnabled", "TRUE", "VirtualSystemSubType", "Microsoft:Hyper-V:SubType:2", NULL}), 0);
    assert_int_equal(define(k, (const char *const[]){"AutomaticStartupAction", "5", NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"UserSnapshotType", "1", NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"VirtualSystemSubType", "Microsoft:Hyper-V:SubType:2", "SecureBootTemplateId",
                                                     "00000000-0000-0000-0000-000000000000", NULL}), 32773);    /* [U] */
    assert_int_equal(define(k, (const char *const[]){"BootOrder", "1|2|3", NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"BootOrder", "1|2|3|3", NULL}), 32773);
    assert_int_equal(define(k, (const char *const[]){"BootOrder", "2|1|3|0", NULL}), 0);
    kit_free(k);
}

/* What VMMS makes by itself [C]: Generation 1 two IDE controllers, serial ports, integration components; Generation 2 no IDE, and no SCSI
 * controller that one could count on. Files below the folder that was given. */
static void test_defaults(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *one = kit_define(k, 1, "one"), *two = kit_define(k, 2, "two"), *guid = kit_guid(k, one);
    AUTO_FREE char *ide0 = kit_device(k, one, IDE, 0), *ide1 = kit_device(k, one, IDE, 1), *address0 = str_of(k, ide0, "Address"), *address1 = str_of(k, ide1, "Address");
    assert_string_equal(address0, "0");
    assert_string_equal(address1, "1");
    AUTO_FREE char *com2 = kit_device(k, two, "Serial Port", 1), *com_name = str_of(k, com2, "ElementName");
    assert_string_equal(com_name, "COM 2");
    assert_null(kit_device(k, two, IDE, 0));
    assert_null(kit_device(k, two, SCSI, 0));
    AUTO_FREE char *memory = kit_device(k, one, "Memory", 0), *file = str_printf("%s/Virtual Machines/%s.vmcx", k->tmp, guid);
    assert_int_equal(uint_of(k, memory, "VirtualQuantity"), 1024);
    struct os_stat st;
    assert_int_equal(os_stat(file, &st, &k->e), 0);
    assert_true(st.is_file);
    AUTO_FREE char *id = str_of(k, one, "InstanceID"), *want = str_printf("Microsoft:%s", guid);
    assert_string_equal(id, want);
    kit_free(k);

    k = kit_new(&(struct dbl_options){.choices = DBL_EVER});
    AUTO_FREE char *with = kit_define(k, 2, "with"), *scsi = kit_device(k, with, SCSI, 0);
    assert_non_null(scsi);
    kit_free(k);
}

/* A folder where the management service may not write: 0x80070005 [C]. */
static void test_folder_rights(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    dbl_file_set(k->d, k->tmp, (struct dbl_file){.denied = true});
    assert_int_equal(define(k, (const char *const[]){"ElementName", "denied", "ConfigurationDataRoot", k->tmp, NULL}), 0x80070005u);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName='denied'"), 0);
    kit_free(k);
}

/* ResourceSettings at define time: memory and processors [C]. */
static void test_define_with_resources(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    AUTO_FREE char *system = kit_text(k, "Msvm_VirtualSystemSettingData", (const char *const[]){"ElementName", "sized", NULL});
    AUTO_FREE char *memory = kit_text(k, "Msvm_MemorySettingData", (const char *const[]){"VirtualQuantity", "2048", "Reservation", "2048", "Limit", "2048", NULL});
    AUTO_FREE char *cpus = kit_text(k, "Msvm_ProcessorSettingData", (const char *const[]){"VirtualQuantity", "3", NULL});
    AUTO_FREE char *odd = kit_text(k, "Msvm_MemorySettingData", (const char *const[]){"VirtualQuantity", "2047", "Reservation", "32", "Limit", "4096", NULL});
    for (unsigned n = 0; n < 2; n++) {
        struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "DefineSystem");
        wmi_put_str(in, "SystemSettings", system, &k->e);
        wmi_put_strs(in, "ResourceSettings", (const char *const[]){n ? odd : memory, cpus}, 2, &k->e);
        assert_int_equal(kit_call(k, k->hv, service, "DefineSystem", in), n ? 32773 : 0);
    }
    AUTO_FREE char *settings = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSettingData WHERE ElementName='sized'");
    AUTO_FREE char *m = kit_device(k, settings, "Memory", 0), *c = kit_device(k, settings, "Processor", 0);
    assert_int_equal(uint_of(k, m, "VirtualQuantity"), 2048);
    assert_int_equal(uint_of(k, c, "VirtualQuantity"), 3);
    assert_int_equal(kit_count(k, k->hv, "SELECT * FROM Msvm_VirtualSystemSettingData WHERE ElementName='sized'"), 1);
    kit_free(k);
}

/* Memory: multiple of 2 MiB [C], at least 32, minimum <= start <= maximum [D]; processors 1 to the host's (or the start fails: [U], a choice). */
static void test_quantities(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *s = kit_define(k, 1, "q"), *memory = kit_device(k, s, "Memory", 0), *cpus = kit_device(k, s, "Processor", 0);
    AUTO_FREE char *mid = str_of(k, memory, "InstanceID"), *cid = str_of(k, cpus, "InstanceID");
    static const struct { const char *now, *min, *max; uint32_t code; } cases[] = {
        {"512", "512", "512", 0},   {"511", "32", "512", 32773}, {"30", "30", "512", 32773}, {"512", "514", "1024", 32773},
        {"512", "32", "510", 32773}, {"32", "32", "32", 0},       {"2048", "512", "4096", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(kit_modify(k, "Msvm_MemorySettingData", (const char *const[]){"InstanceID", mid, "VirtualQuantity", cases[i].now, "Reservation",
                                                                                        cases[i].min, "Limit", cases[i].max, NULL}), cases[i].code);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", cid, "VirtualQuantity", "0", NULL}), 32773);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", cid, "VirtualQuantity", "9", NULL}), 32773);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", cid, "VirtualQuantity", "8", NULL}), 0);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", cid, "Limit", "100001", NULL}), 32773);
    assert_int_equal(kit_modify(k, "Msvm_MemorySettingData", (const char *const[]){"InstanceID", mid, "TargetMemoryBuffer", "4", NULL}), 32773);
    /* Modify without InstanceID, or with one that nobody has: 32773 [C] */
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"VirtualQuantity", "1", NULL}), 32773);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", "Microsoft:nobody", "VirtualQuantity", "1", NULL}), 32773);
    assert_int_equal(kit_modify(k, "Msvm_MemorySettingData", (const char *const[]){"InstanceID", cid, NULL}), 32773);
    kit_free(k);
    k = kit_new(&(struct dbl_options){.choices = DBL_EVER});
    AUTO_FREE char *t = kit_define(k, 1, "q"), *tc = kit_device(k, t, "Processor", 0), *tid = str_of(k, tc, "InstanceID");
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", tid, "VirtualQuantity", "9", NULL}), 0);
    assert_int_equal(kit_state(k, t, 2), 0xC0350005u);
    kit_free(k);
}

/* Drives: subtype and type must fit (32773 [C]); Parent known, of this VM, escaped; AddressOnParent numeric, in range, free (a job that fails [C]);
 * no IDE, floppy or legacy adapter on Generation 2 (32773 [I] HyperVDsc #125). */
static void test_drives(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *s = kit_define(k, 1, "d"), *other = kit_define(k, 1, "other"), *two = kit_define(k, 2, "two");
    AUTO_FREE char *ide = kit_device(k, s, IDE, 0), *theirs = kit_device(k, other, IDE, 0);
#define DRIVE "ResourceType", "17", "ResourceSubType", "Microsoft:Hyper-V:Synthetic Disk Drive"
    const char *rasd = "Msvm_ResourceAllocationSettingData";
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "0", NULL}), 0);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){"ResourceType", "17", "Parent", ide, "AddressOnParent", "1", NULL}), 32773);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){"ResourceType", "16", "ResourceSubType", "Microsoft:Hyper-V:Synthetic Disk Drive", "Parent",
                                                               ide, "AddressOnParent", "1", NULL}), 32773);
    assert_int_equal(kit_add(k, s, "Msvm_MemorySettingData", (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "1", NULL}), 32773);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "0", NULL}), 32768);    /* taken */
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "2", NULL}), 32768);    /* IDE has two */
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "one", NULL}), 32768);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", theirs, "AddressOnParent", "1", NULL}), 32789);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "AddressOnParent", "1", NULL}), 32789);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", "Msvm_ResourceAllocationSettingData.InstanceID=\"a\\b\"", "AddressOnParent", "1",
                                                               NULL}), 32789);
    assert_int_equal(kit_add(k, two, rasd, (const char *const[]){"ResourceType", "5", "ResourceSubType", "Microsoft:Hyper-V:" IDE, NULL}), 32773);
    assert_int_equal(kit_add(k, two, "Msvm_EmulatedEthernetPortSettingData",
                             (const char *const[]){"ResourceType", "10", "ResourceSubType", "Microsoft:Hyper-V:Emulated Ethernet Port", NULL}), 32773);
    /* SCSI: four controllers, 64 slots each [D]; identified by the GUID that its maker chose [C] */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(kit_add(k, two, rasd, (const char *const[]){"ResourceType", "6", "ResourceSubType", "Microsoft:Hyper-V:" SCSI, NULL}), i < 4 ? 0 : 32768);
    AUTO_FREE char *scsi = kit_device(k, two, SCSI, 0);
    assert_int_equal(kit_add(k, two, rasd, (const char *const[]){DRIVE, "Parent", scsi, "AddressOnParent", "63", NULL}), 0);
    assert_int_equal(kit_add(k, two, rasd, (const char *const[]){DRIVE, "Parent", scsi, "AddressOnParent", "64", NULL}), 32768);
    /* the VM's own path is taken in place of its settings' [C] */
    AUTO_FREE char *vm = kit_vm_path(k, two);
    assert_int_equal(kit_add(k, vm, rasd, (const char *const[]){DRIVE, "Parent", scsi, "AddressOnParent", "5", NULL}), 0);
    /* InstanceID: controller\slot\D [C] */
    AUTO_FREE char *drive = kit_device(k, s, "Synthetic Disk Drive", 0), *id = str_of(k, drive, "InstanceID"), *ide_id = str_of(k, ide, "InstanceID");
    AUTO_FREE char *want = str_printf("%s\\0\\D", ide_id);
    assert_string_equal(id, want);
    kit_free(k);
}

/* Lenient [C]: the medium as plain Msvm_ResourceAllocationSettingData, no AllocationUnits, no PoolID; a drive and its disk in one call. */
static void test_lenient(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *s = kit_define(k, 1, "l"), *file = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL), *ide = kit_device(k, s, IDE, 0);
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    AUTO_FREE char *drive = kit_text(k, "Msvm_ResourceAllocationSettingData", (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "0", NULL});
    AUTO_FREE char *future = str_ndup(ide, strlen(ide) - 1);
    AUTO_FREE char *parent = str_printf("%s\\\\0\\\\D\"", future);
    AUTO_FREE char *medium = kit_text(k, "Msvm_ResourceAllocationSettingData",
                                      (const char *const[]){"ResourceType", "31", "ResourceSubType", "Microsoft:Hyper-V:Virtual Hard Disk", "Parent", parent,
                                                            "HostResource", file, NULL});
    struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "AddResourceSettings");
    wmi_put_str(in, "AffectedConfiguration", s, &k->e);
    wmi_put_strs(in, "ResourceSettings", (const char *const[]){drive, medium}, 2, &k->e);
    assert_int_equal(kit_call(k, k->hv, service, "AddResourceSettings", in), 0);
    AUTO_FREE char *guid = kit_guid(k, s), *attached = dbl_vm_medium(k->d, guid, IDE, 0, 0);
    assert_string_equal(attached, file);
    assert_true(dbl_file_granted(k->d, file, guid, true));
    /* all or nothing: the second of two fails, the first is gone too */
    AUTO_FREE char *next = kit_text(k, "Msvm_ResourceAllocationSettingData", (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "1", NULL});
    in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "AddResourceSettings");
    wmi_put_str(in, "AffectedConfiguration", s, &k->e);
    wmi_put_strs(in, "ResourceSettings", (const char *const[]){next, drive}, 2, &k->e);
    assert_int_equal(kit_call(k, k->hv, service, "AddResourceSettings", in), 32768);
    AUTO_FREE char *second = kit_device(k, s, "Synthetic Disk Drive", 1);
    assert_null(second);
    kit_free(k);
}

/* While it runs: IDE drives, SCSI controllers, processors, static memory, nested: 32775 [I] microsoft/wmi PR #113; SCSI disks come and go [D]; a
 * saved VM's disks cannot be changed [C]. */
static void test_running(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *s = kit_define(k, 1, "r"), *ide = kit_device(k, s, IDE, 0), *file = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL);
    AUTO_FREE char *memory = kit_device(k, s, "Memory", 0), *cpus = kit_device(k, s, "Processor", 0), *id = str_of(k, s, "InstanceID");
    AUTO_FREE char *mid = str_of(k, memory, "InstanceID"), *cid = str_of(k, cpus, "InstanceID");
    const char *rasd = "Msvm_ResourceAllocationSettingData";
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){"ResourceType", "6", "ResourceSubType", "Microsoft:Hyper-V:" SCSI, NULL}), 0);
    assert_int_equal(kit_state(k, s, 2), 0);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "0", NULL}), 32775);
    assert_int_equal(kit_add(k, s, rasd, (const char *const[]){"ResourceType", "6", "ResourceSubType", "Microsoft:Hyper-V:" SCSI, NULL}), 32775);
    assert_int_equal(kit_modify(k, "Msvm_MemorySettingData", (const char *const[]){"InstanceID", mid, "VirtualQuantity", "512", "Reservation", "512", "Limit", "512",
                                                                                    NULL}), 32775);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", cid, "VirtualQuantity", "2", NULL}), 32775);
    assert_int_equal(kit_modify(k, "Msvm_ProcessorSettingData", (const char *const[]){"InstanceID", cid, "ExposeVirtualizationExtensions", "TRUE", NULL}), 32775);
    assert_int_equal(kit_attach(k, s, SCSI, 0, "0", file), 0);
    AUTO_FREE char *drive = kit_device(k, s, "Synthetic Disk Drive", 0);
    assert_int_equal(kit_remove(k, drive), 0);
    assert_null(kit_device(k, s, "Virtual Hard Disk", 0));
    /* a property that needs the VM off: 32768 with words, not 32775 [I] */
    struct said said = kit_service(k, "ModifySystemSettings", "SystemSettings",
                                   kit_text(k, "Msvm_VirtualSystemSettingData", (const char *const[]){"InstanceID", id, "BIOSNumLock", "TRUE", NULL}), NULL);
    assert_int_equal(said.code, 32768);
    assert_non_null(strstr(said.text, "BIOSNumLock"));
    kit_said_clear(&said);
    assert_int_equal(modify_system(k, (const char *const[]){"InstanceID", id, "ElementName", "renamed", NULL}), 0);
    assert_int_equal(kit_state(k, s, 6), 0);
    assert_int_equal(kit_attach(k, s, SCSI, 0, "0", file), 32775);
    assert_int_equal(kit_state(k, s, 3), 0);
    assert_int_equal(kit_attach(k, s, SCSI, 0, "0", file), 0);
    kit_free(k);
}

/* The same wrong moment may come as a job that fails with 32775 [U]: a choice of the host. */
static void test_state_as_job(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.choices = DBL_EVER});
    AUTO_FREE char *s = kit_define(k, 1, "r"), *ide = kit_device(k, s, IDE, 0);
    assert_int_equal(kit_state(k, s, 2), 0);
    struct said said = kit_service(k, "AddResourceSettings", "ResourceSettings",
                                   kit_text(k, "Msvm_ResourceAllocationSettingData", (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "0", NULL}), s);
    assert_true(said.was_job && said.failed);
    assert_int_equal(said.job_state, 10);
    assert_int_equal(said.code, 32775);
    kit_said_clear(&said);
    kit_free(k);
}

/* Power: starting what runs and stopping what is off is 32775 [C]; DestroySystem of one that runs too [D]; disks stay, configuration goes [D]. */
static void test_power_and_destroy(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *before = dbl_dump(k->d, DBL_ALL);
    AUTO_FREE char *s = kit_define(k, 2, "p"), *vm = kit_vm_path(k, s), *guid = kit_guid(k, s);
    AUTO_FREE char *file = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL);
    assert_int_equal(kit_add(k, s, "Msvm_ResourceAllocationSettingData", (const char *const[]){"ResourceType", "6", "ResourceSubType", "Microsoft:Hyper-V:" SCSI, NULL}), 0);
    assert_int_equal(kit_attach(k, s, SCSI, 0, "0", file), 0);
    assert_int_equal(kit_state(k, s, 3), 32775);
    assert_int_equal(kit_state(k, s, 9), 32775);
    assert_int_equal(kit_state(k, s, 99), 32773);
    assert_int_equal(kit_state(k, s, 2), 0);
    assert_int_equal(dbl_vm_state(k->d, guid), 2);
    assert_int_equal(kit_state(k, s, 2), 32775);
    assert_int_equal(kit_state(k, s, 9), 0);
    assert_int_equal(dbl_vm_state(k->d, guid), 9);
    assert_int_equal(kit_state(k, s, 2), 0);
    assert_int_equal(kit_state(k, s, 11), 0);
    AUTO_FREE char *service = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualSystemManagementService");
    for (unsigned n = 0; n < 2; n++) {
        struct wmi_object *in = kit_in(k, k->hv, "Msvm_VirtualSystemManagementService", "DestroySystem");
        wmi_put_str(in, "AffectedSystem", vm, &k->e);
        assert_int_equal(kit_call(k, k->hv, service, "DestroySystem", in), n ? 0 : 32775);
        if (n == 0)
            assert_int_equal(kit_state(k, s, 3), 0);
    }
    assert_int_equal(dbl_vm_state(k->d, guid), 0);
    struct os_stat st;
    assert_int_equal(os_stat(file, &st, &k->e), 0);
    assert_true(st.exists);
    AUTO_FREE char *config = str_printf("%s/Virtual Machines/%s.vmcx", k->tmp, guid);
    assert_int_equal(os_stat(config, &st, &k->e), 0);
    assert_false(st.exists);
    AUTO_FREE char *after = dbl_dump(k->d, DBL_ALL);
    assert_string_equal(before, after);
    kit_free(k);
}

/* Start: no hypervisor 0xC0351000, too little memory 0x8007000E, a file that is gone 0x80070002, in use by another 0x80070020 or the host, without
 * the VM's entry in its ACL 0x80070005 [C/I]. */
static void test_start_failures(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.no_hypervisor = true});
    AUTO_FREE char *cold = kit_define(k, 1, "cold"), *cold_guid = kit_guid(k, cold);
    assert_int_equal(kit_state(k, cold, 2), 0xC0351000u);
    assert_int_equal(dbl_vm_state(k->d, cold_guid), 3);
    kit_free(k);

    k = kit_new(&(struct dbl_options){.memory_mib = 1536});
    AUTO_FREE char *a = kit_define(k, 1, "a"), *b = kit_define(k, 1, "b"), *ga = kit_guid(k, a);
    assert_int_equal(kit_state(k, a, 2), 0);
    assert_int_equal(kit_state(k, b, 2), 0x8007000Eu);
    assert_int_equal(kit_state(k, a, 3), 0);
    AUTO_FREE char *file = kit_vhd(k, "disk.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL), *aside = tmp_path(k->tmp, "aside.vhdx");
    assert_int_equal(kit_attach(k, a, IDE, 0, "0", file), 0);
    assert_int_equal(os_rename(file, aside, &k->e), 0);
    assert_int_equal(kit_state(k, a, 2), 0x80070002u);
    /* another file in its place has no entry for the VM */
    AUTO_FREE char *fresh = kit_vhd(k, "disk.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL);
    assert_int_equal(kit_state(k, a, 2), 0x80070005u);
    assert_int_equal(dbl_host_ops.grant(k->d, fresh, ga, false, &k->e), 0);
    assert_int_equal(kit_state(k, a, 2), 0x80070005u);                   /* to read is not enough */
    assert_int_equal(dbl_host_ops.grant(k->d, fresh, NULL, true, &k->e), 0);
    dbl_file_mounted(k->d, fresh, true);
    assert_int_equal(kit_state(k, a, 2), 0x80070020u);
    dbl_file_mounted(k->d, fresh, false);
    assert_int_equal(kit_state(k, a, 2), 0);
    AUTO_FREE char *memory = kit_device(k, b, "Memory", 0), *mid = str_of(k, memory, "InstanceID");
    assert_int_equal(kit_modify(k, "Msvm_MemorySettingData", (const char *const[]){"InstanceID", mid, "VirtualQuantity", "256", "Reservation", "32", NULL}), 0);
    assert_int_equal(kit_attach(k, b, IDE, 0, "0", fresh), 0);
    assert_int_equal(kit_state(k, b, 2), 0x80070020u);
    kit_free(k);
}

/* Boot sources of Generation 2 [C]: they come with drives and adapters, are reordered by their paths in any spelling; one that is gone is
 * 0x80070490. */
static void test_boot_order(void **state)
{
    (void)state;
    struct kit *k = kit_new(&(struct dbl_options){.shuffles = true, .seed = 5});
    AUTO_FREE char *s = kit_define(k, 2, "b"), *id = str_of(k, s, "InstanceID"), *a = kit_vhd(k, "a.vhdx", VHDX, DYNAMIC, 16 * MIB, NULL);
    AUTO_FREE char *iso = kit_file(k, "a.iso", "iso", 3);
    assert_int_equal(kit_add(k, s, "Msvm_ResourceAllocationSettingData", (const char *const[]){"ResourceType", "6", "ResourceSubType", "Microsoft:Hyper-V:" SCSI, NULL}), 0);
    assert_int_equal(kit_add(k, s, "Msvm_SyntheticEthernetPortSettingData",
                             (const char *const[]){"ResourceType", "10", "ResourceSubType", "Microsoft:Hyper-V:Synthetic Ethernet Port", NULL}), 0);
    assert_int_equal(kit_attach(k, s, SCSI, 0, "0", a), 0);
    assert_int_equal(kit_attach(k, s, SCSI, 0, "1", iso), 0);
    struct wmi_object *o = NULL;
    assert_int_equal(wmi_get(k->hv, s, &k->wait, &o, &k->e), 0);
    char **order = wmi_strs(o, "BootSourceOrder");
    wmi_object_free(o);
    assert_non_null(order[2]);
    assert_null(order[3]);
    /* adapter first: the trap of network boot; a device leads to its boot source by Msvm_LogicalIdentity */
    AUTO_FREE char *drive = kit_device(k, s, "Synthetic Disk Drive", 0);
    AUTO_FREE char *wql = str_printf("ASSOCIATORS OF {%s} WHERE AssocClass=Msvm_LogicalIdentity", drive), *source = kit_path_of(k, k->hv, wql);
    assert_true(wmi_same_path(order[1], source) && !wmi_same_path(order[0], source));
    AUTO_FREE char *reordered = str_printf("%s|%s|%s", order[1], order[2], order[0]);
    assert_int_equal(modify_system(k, (const char *const[]){"InstanceID", id, "BootSourceOrder", reordered, NULL}), 0);
    assert_int_equal(kit_remove(k, drive), 0);
    assert_int_equal(modify_system(k, (const char *const[]){"InstanceID", id, "BootSourceOrder", reordered, NULL}), 0x80070490u);
    assert_int_equal(wmi_get(k->hv, s, &k->wait, &o, &k->e), 0);
    char **left = wmi_strs(o, "BootSourceOrder");
    assert_true(left[0] && left[1] && !left[2]);
    wmi_strs_free(left);
    wmi_object_free(o);
    wmi_strs_free(order);
    kit_free(k);
}

/* Adapters [C]: own GUID, static MAC of twelve hex digits, a connection under them; a switch that is not there fails. */
static void test_adapters(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *s = kit_define(k, 1, "n"), *lan = kit_path_of(k, k->hv, "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE ElementName='LAN'");
    const char *nic = "Msvm_SyntheticEthernetPortSettingData";
#define NIC "ResourceType", "10", "ResourceSubType", "Microsoft:Hyper-V:Synthetic Ethernet Port"
    assert_int_equal(kit_add(k, s, nic, (const char *const[]){NIC, "StaticMacAddress", "TRUE", "Address", "00155D", NULL}), 32773);
    assert_int_equal(kit_add(k, s, nic, (const char *const[]){NIC, "StaticMacAddress", "TRUE", "Address", "00155D010203", "VirtualSystemIdentifiers",
                                                              "{11111111-2222-4333-8444-555555555555}", NULL}), 0);
    AUTO_FREE char *port = kit_device(k, s, "Synthetic Ethernet Port", 0), *id = str_of(k, port, "InstanceID"), *guid = kit_guid(k, s);
    AUTO_FREE char *want = str_printf("Microsoft:%s\\11111111-2222-4333-8444-555555555555", guid);
    assert_string_equal(id, want);
    const char *connection = "Msvm_EthernetPortAllocationSettingData";
#define CONNECTION "ResourceType", "33", "ResourceSubType", "Microsoft:Hyper-V:Ethernet Connection"
    assert_int_equal(kit_add(k, s, connection, (const char *const[]){CONNECTION, "Parent", port, "HostResource", "Msvm_VirtualEthernetSwitch.CreationClassName=\"a\",Name=\"b\"",
                                                                     NULL}), 32789);
    assert_int_equal(kit_add(k, s, connection, (const char *const[]){CONNECTION, "Parent", port, "HostResource", lan, NULL}), 0);
    assert_int_equal(kit_remove(k, port), 0);
    assert_null(kit_device(k, s, "Ethernet Connection", 0));
    kit_free(k);
}

/* Removing what is gone: 32773, or a job that fails [U]; what belongs to the VM by birth cannot be removed. */
static void test_remove(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct kit *k = kit_new(&(struct dbl_options){.choices = way ? DBL_EVER : DBL_CALM});
        AUTO_FREE char *s = kit_define(k, 1, "x"), *ide = kit_device(k, s, IDE, 0), *memory = kit_device(k, s, "Memory", 0);
        assert_int_equal(kit_add(k, s, "Msvm_ResourceAllocationSettingData", (const char *const[]){DRIVE, "Parent", ide, "AddressOnParent", "0", NULL}), 0);
        AUTO_FREE char *drive = kit_device(k, s, "Synthetic Disk Drive", 0);
        assert_int_equal(kit_remove(k, memory), 32773);
        assert_int_equal(kit_remove(k, ide), 32773);
        assert_int_equal(kit_remove(k, drive), 0);
        assert_int_equal(kit_remove(k, drive), way ? 32789 : 32773);
        kit_free(k);
    }
}

/* VMs of others are part of every list, and of what must stay. */
static void test_foreign(void **state)
{
    (void)state;
    struct kit *k = kit_new(&calm);
    AUTO_FREE char *before = dbl_dump(k->d, DBL_FOREIGN);
    const char *guid = dbl_foreign_vm(k->d, "backup", "vmrecover-like notes", 2, true);
    AUTO_FREE char *more = dbl_dump(k->d, DBL_FOREIGN);
    assert_string_not_equal(before, more);
    free(kit_define(k, 1, "mine"));
    AUTO_FREE char *same = dbl_dump(k->d, DBL_FOREIGN);
    assert_string_equal(more, same);
    AUTO_FREE char *wql = str_printf("SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemIdentifier='%s'", guid), *theirs = kit_path_of(k, k->hv, wql);
    assert_int_equal(kit_state(k, theirs, 3), 0);
    AUTO_FREE char *touched = dbl_dump(k->d, DBL_FOREIGN);
    assert_string_not_equal(more, touched);
    kit_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_define),         cmocka_unit_test(test_folder_rights),     cmocka_unit_test(test_defaults),          cmocka_unit_test(test_define_with_resources),
        cmocka_unit_test(test_quantities),     cmocka_unit_test(test_drives),            cmocka_unit_test(test_lenient),
        cmocka_unit_test(test_running),        cmocka_unit_test(test_state_as_job),      cmocka_unit_test(test_power_and_destroy),
        cmocka_unit_test(test_start_failures), cmocka_unit_test(test_boot_order),        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_remove),         cmocka_unit_test(test_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

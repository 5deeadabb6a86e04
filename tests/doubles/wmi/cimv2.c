/* root\cimv2: what a host report reads. */
#include <stdio.h>

#include "tests/doubles/wmi/core.h"

#define NS WMI_NS_CIMV2

void cimv2_populate(struct dbl *d)
{
    unsigned build = schema_build(d->schema);
    AUTO_FREE char *number = x_printf("%u", build), *version = x_printf("10.0.%u", build);
    AUTO_FREE char *caption = x_printf("Microsoft Windows Server %s Datacenter", build >= DBL_2025 ? "2025" : build >= DBL_2019 ? "2019" : "2016");
    struct inst *os = inst_new(d, NS, "Win32_OperatingSystem");
    obj_set_str(os->o, "Name", "Microsoft Windows Server|C:\\Windows|\\Device\\Harddisk0\\Partition4");
    obj_set_str(os->o, "Caption", d->o.client ? "Microsoft Windows 11 Pro" : caption);
    obj_set_str(os->o, "Version", version);
    obj_set_str(os->o, "BuildNumber", number);
    obj_set_uint(os->o, "ProductType", d->o.client ? 1 : 3);
    obj_set_uint(os->o, "OperatingSystemSKU", d->o.client ? 48 : 8);
    obj_set_str(os->o, "OSArchitecture", "64-bit");
    obj_set_uint(os->o, "TotalVisibleMemorySize", (d->o.memory_mib + 2048) * 1024);
    obj_set_uint(os->o, "FreePhysicalMemory", d->o.memory_mib * 1024);
    inst_enter(d, os);

    struct inst *cs = inst_new(d, NS, "Win32_ComputerSystem");
    obj_set_str(cs->o, "Name", d->host_name);
    obj_set_bool(cs->o, "HypervisorPresent", true);    /* true in any VM, and with Hyper-V: it says nothing */
    obj_set_uint(cs->o, "NumberOfLogicalProcessors", d->o.cpus);
    obj_set_uint(cs->o, "NumberOfProcessors", 1);
    obj_set_uint(cs->o, "TotalPhysicalMemory", (d->o.memory_mib + 2048) << 20);
    obj_set_str(cs->o, "Manufacturer", "Microsoft Corporation");
    obj_set_str(cs->o, "Model", "Virtual Machine");
    inst_enter(d, cs);

    struct inst *cpu = inst_new(d, NS, "Win32_Processor");
    obj_set_str(cpu->o, "DeviceID", "CPU0");
    obj_set_str(cpu->o, "Name", "Processor");
    obj_set_uint(cpu->o, "NumberOfCores", d->o.cpus);
    obj_set_uint(cpu->o, "NumberOfLogicalProcessors", d->o.cpus);
    /* a hypervisor that runs hides what the hardware can */
    obj_set_bool(cpu->o, "VirtualizationFirmwareEnabled", d->o.no_hypervisor);
    obj_set_bool(cpu->o, "VMMonitorModeExtensions", d->o.no_hypervisor);
    obj_set_bool(cpu->o, "SecondLevelAddressTranslationExtensions", d->o.no_hypervisor);
    inst_enter(d, cpu);

    static const char *const features[] = {"Microsoft-Hyper-V", "Microsoft-Hyper-V-Management-Clients", "Microsoft-Hyper-V-All"};
    for (size_t i = 0; i < ARRAY_LEN(features) - !d->o.client; i++) {
        struct inst *f = inst_new(d, NS, "Win32_OptionalFeature");
        obj_set_str(f->o, "Name", features[i]);
        obj_set_str(f->o, "Caption", word(d, features[i]));
        obj_set_uint(f->o, "InstallState", d->o.no_role ? 2 : 1);
        inst_enter(d, f);
    }
    if (!d->o.client && !d->o.no_role) {
        struct inst *f = inst_new(d, NS, "Win32_ServerFeature");
        obj_set_uint(f->o, "ID", 20);
        obj_set_str(f->o, "Name", "Hyper-V");
        inst_enter(d, f);
    }
    if (!d->o.no_role) {
        struct inst *s = inst_new(d, NS, "Win32_Service");
        obj_set_str(s->o, "Name", "vmms");
        obj_set_str(s->o, "State", "Running");
        obj_set_str(s->o, "StartMode", "Auto");
        obj_set_bool(s->o, "Started", true);
        inst_enter(d, s);
    }
    struct inst *ld = inst_new(d, NS, "Win32_LogicalDisk");
    obj_set_str(ld->o, "DeviceID", "C:");
    obj_set_uint(ld->o, "DriveType", 3);
    obj_set_str(ld->o, "FileSystem", "NTFS");
    obj_set_uint(ld->o, "Size", (uint64_t)120 << 30);
    obj_set_uint(ld->o, "FreeSpace", (uint64_t)80 << 30);
    inst_enter(d, ld);
}

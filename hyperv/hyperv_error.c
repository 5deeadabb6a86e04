/* What Hyper-V answers: return codes of its methods, and the HRESULTs that its jobs end with, in one table with what to do about them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hyperv/hyperv.h"

static const struct answer {
    uint32_t code;
    enum err_code ours;
    const char *text, *hint;
} answers[] = {
    /* return codes ("Return value" of the methods of Msvm_VirtualSystemManagementService and its neighbours) */
    {1, ERR_UNSUPPORTED, "not supported", NULL},
    {2, ERR_VM, "failed", NULL},
    {3, ERR_TIMEOUT, "Hyper-V timed out", NULL},
    {4, ERR_VM, "a parameter is not valid", NULL},
    {5, ERR_WRONG_STATE, "the state does not allow it", NULL},
    {6, ERR_VM, "the parameters do not fit together", NULL},
    {32768, ERR_VM, "failed", NULL},
    {32769, ERR_PERMISSION, "access was denied", "Run the daemon as SYSTEM, as an elevated administrator, or as a member of Hyper-V Administrators (S-1-5-32-578)."},
    {32770, ERR_UNSUPPORTED, "not supported", NULL},
    {32771, ERR_VM, "the state is not known", NULL},
    {32772, ERR_TIMEOUT, "Hyper-V timed out", NULL},
    {32773, ERR_VM, "a parameter is not valid", "Send the log around this time to the developers: Hyper-V did not understand what was asked."},
    {32774, ERR_WRONG_STATE, "it is in use", NULL},
    {32775, ERR_WRONG_STATE, "the state of the virtual machine does not allow it", "Look at the virtual machine in Hyper-V Manager; something else may be at work on it."},
    {32776, ERR_INTERNAL, "a value has the wrong type", NULL},
    {32777, ERR_VM, "not available", NULL},
    {32778, ERR_VM, "Hyper-V has no memory", "Stop other virtual machines, or give this one less memory."},
    {32779, ERR_NOT_FOUND, "a file was not found", NULL},
    {32780, ERR_WRONG_STATE, "it is not ready", NULL},
    {32781, ERR_WRONG_STATE, "the machine is locked", NULL},
    {32782, ERR_WRONG_STATE, "a shutdown is under way", NULL},
    {32787, ERR_IMAGE_DAMAGED, "the chain of virtual disks is a circle", NULL},
    {32789, ERR_NOT_FOUND, "an object was not found", NULL},
    /* HRESULTs of Windows and of the hypervisor */
    {0x80070002, ERR_NOT_FOUND, "a file was not found", "Put the named file back where it was."},
    {0x80070003, ERR_NOT_FOUND, "a folder was not found", "Put the named folder back where it was."},
    {0x80070005, ERR_PERMISSION, "access was denied", "Give SYSTEM full control of the disk files and their folders, and NT VIRTUAL MACHINE\\Virtual Machines (S-1-5-83-0) the right to read them."},
    {0x8007000E, ERR_VM, "the host has not enough free memory", "Stop other virtual machines, or give this one less memory."},
    {0x80070020, ERR_WRONG_STATE, "a file is in use by another program", "Detach the disk from other virtual machines, and unmount it on the host."},
    {0x80070032, ERR_UNSUPPORTED, "not supported", NULL},
    {0x80070050, ERR_WRONG_STATE, "a file is there already", NULL},
    {0x80070057, ERR_VM, "a parameter is wrong", NULL},
    {0x80070070, ERR_DISK_FULL, "the volume is full", NULL},
    {0x80070299, ERR_VM, "the file has too many fragments for its file system", "Copy the file (that makes it one piece), or put it onto a volume with 64 KiB clusters or ReFS."},
    {0x80070490, ERR_VM, "an element was not found", NULL},
    {0x80070522, ERR_PERMISSION, "a privilege is missing", "Run the daemon as SYSTEM or as an elevated administrator."},
    {0x800705AA, ERR_VM, "the host has not enough resources", "Stop other virtual machines, or give this one less memory."},
    {0xC0350005, ERR_VM, "the processor lacks a feature that the virtual machine asks for", NULL},
    {0xC0351000, ERR_HYPERVISOR, "the hypervisor does not run", "Turn on virtualization in the firmware (in Azure: use a VM size with nested virtualization and security type Standard), see that bcdedit shows hypervisorlaunchtype Auto, and restart the host."},
    /* virtual disks (winerror.h, FACILITY_VIRTUALIZATION 0x3A) */
    {0xC03A0001, ERR_VHD_DAMAGED, "the VHD has no footer", NULL},
    {0xC03A0002, ERR_VHD_DAMAGED, "the checksum of the VHD's footer is wrong", NULL},
    {0xC03A0003, ERR_VHD_DAMAGED, "the VHD's footer is damaged", NULL},
    {0xC03A0004, ERR_VHD_DAMAGED, "the format of the virtual disk is not known", NULL},
    {0xC03A0005, ERR_VM, "this version of the virtual disk's format is not supported", NULL},
    {0xC03A0006, ERR_VHD_DAMAGED, "the checksum of the virtual disk's header is wrong", NULL},
    {0xC03A0007, ERR_VHD_DAMAGED, "this version of the virtual disk's header is not supported", NULL},
    {0xC03A0008, ERR_VHD_DAMAGED, "the virtual disk's header is damaged", NULL},
    {0xC03A0009, ERR_DISK_FULL, "a block of the virtual disk could not be allocated", NULL},
    {0xC03A000A, ERR_VHD_DAMAGED, "the virtual disk's allocation table is damaged", NULL},
    {0xC03A000B, ERR_VHD_DAMAGED, "the virtual disk's block size is not valid", NULL},
    {0xC03A000D, ERR_NOT_FOUND, "the image below the virtual machine's layer is not there", "Put the image back where it was."},
    {0xC03A000E, ERR_IMAGE_DAMAGED, "the image is another one than the layer was made for", "Put the image back that the virtual machine was made with."},
    {0xC03A000F, ERR_IMAGE_DAMAGED, "the image was changed after the layer was made", "Put the image back as it was, or delete the job and submit it again."},
    {0xC03A0010, ERR_VHD_DAMAGED, "the virtual disk's metadata cannot be read", NULL},
    {0xC03A0011, ERR_IO, "the virtual disk's metadata cannot be written", NULL},
    {0xC03A0012, ERR_VHD_DAMAGED, "the virtual disk's size is not valid", NULL},
    {0xC03A0013, ERR_VHD_DAMAGED, "the file's length is not valid for a virtual disk", NULL},
    {0xC03A0014, ERR_NOT_VHD, "the file is not what its extension says", "Name the file .vhd or .vhdx as its format is."},
    {0xC03A0015, ERR_NOT_VHD, "the file is not a virtual disk", NULL},
    {0xC03A0016, ERR_PERMISSION, "access to the image below the virtual machine's layer was denied", "Give SYSTEM full control of the image, and NT VIRTUAL MACHINE\\Virtual Machines (S-1-5-83-0) the right to read it."},
    {0xC03A0017, ERR_IMAGE_DAMAGED, "the image has another size than the layer was made for", NULL},
    {0xC03A0018, ERR_IMAGE_DAMAGED, "the chain of virtual disks is a circle", NULL},
    {0xC03A0019, ERR_IMAGE_DAMAGED, "an image below is damaged", NULL},
    {0xC03A001A, ERR_VM, "the file is sparse, compressed or encrypted, which Hyper-V refuses", "Clear the attribute (fsutil sparse setflag FILE 0, compact /u, cipher /d), or copy the file into a plain folder."},
    {0xC03A001B, ERR_NOT_VHD, "the type of the virtual disk is not valid here", NULL},
    {0xC03A001C, ERR_WRONG_STATE, "the virtual disk's state does not allow it", NULL},
    {0xC03A001D, ERR_VM, "the virtual disk's sector size is not supported here", NULL},
    {0xC03A001E, ERR_WRONG_STATE, "the disk is owned by something else", NULL},
    {0xC03A001F, ERR_WRONG_STATE, "the disk is online and writable on the host", "Take the disk offline on the host."},
};

uint32_t hyperv_code_in(const char *words)
{
    const char *last = NULL;
    for (const char *p = words; p && (p = strstr(p, "(0x")); p++)
        if (strspn(p + 3, "0123456789abcdefABCDEF") == 8 && p[11] == ')')
            last = p;
    return last ? (uint32_t)strtoul(last + 3, NULL, 16) : 0;
}

uint32_t hyperv_code(const struct err *e)
{
    if (e->os_code > 0 && !strcmp(e->upstream.service, "hyperv"))
        return (uint32_t)e->os_code;
    return wmi_hresult(e);
}

int hyperv_answer(int r, struct err *e)
{
    if (r != -ERR_NOT_FOUND || (wmi_hresult(e) != WMI_E_NOT_FOUND && wmi_hresult(e) != WMI_E_INVALID_CLASS))
        return r;
    e->code = ERR_UPSTREAM;
    return -(int)ERR_UPSTREAM;
}

/* One line, cut between characters. */
static void one_line(const char *words, char *ret, size_t size)
{
    size_t n = words ? strlen(words) : 0;
    if (n >= size)
        for (n = size - 1; n && ((unsigned char)words[n] & 0xC0) == 0x80; n--)
            ;
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)words[i] < 0x20 ? ' ' : words[i];
    while (n && (ret[n - 1] == ' ' || ret[n - 1] == '.'))
        n--;
    ret[n] = 0;
}

int hyperv_fail(struct err *e, uint32_t code, const char *words, const char *fmt, ...)
{
    static const struct answer unknown = {0, ERR_VM, "failed", NULL};
    const struct answer *a = &unknown;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (answers[i].code == code)
            a = &answers[i];
    char what[200], said[280];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    one_line(words, said, sizeof said);
    bool hresult = code > 0xFFFF;
    char number[16];
    snprintf(number, sizeof number, hresult ? "0x%08X" : "%u", (unsigned)code);
    err_set(e, a->ours, "%s: %s (%s)%s%s", what, a->text, number, said[0] ? "; Hyper-V says: " : "", said);
    if (a->hint)
        err_hint(e, "%s", a->hint);
    e->os_code = hresult ? (long)(int32_t)code : (long)code;
    snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
    snprintf(e->upstream.code, sizeof e->upstream.code, "%s", number);
    return -(int)a->ours;
}

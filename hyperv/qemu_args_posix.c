/* QEMU's command line: which hardware a recovered machine sees, and why.
 *
 * Machine: "pc" (i440FX) for both generations. Its IDE controller is the one that every guest can boot from: Azure shows Generation 1 disks on
 *   the same PIIX IDE, so ata_piix is in every Linux kernel that runs there (Debian's cloud kernel has it and has no AHCI, which
 *   rules q35 out), and Windows has it among its boot-start drivers. OVMF drives it as well, so Generation 2 is the same machine
 *   with UEFI. NVMe was weighed for Generation 2: older images lack its driver, and QEMU cannot save its state.
 * Disks: slot n is IDE place n (bus n / 2, unit n % 2). The DVD drive is there always, so that a medium can be put in while the guest runs: in
 *   place 3, or, when slot 3 has a disk, on USB, from where both firmwares boot.
 * Boot order: slot 0, then the DVD: a blank disk falls through to it.
 * Clock: UTC, as Azure's hosts keep it; images for Azure have Windows' RealTimeIsUniversal set.
 * Input: PS/2 keyboard. Screen: the standard VGA with VBE, on a VNC server at a socket in the VM's folder, which is closed to others.
 * Processor: with TCG all that it can emulate (distributions ask for x86-64-v2 and more) but 57-bit addresses, which some
 *   boot loaders do not survive. */
#include <string.h>

#include "hyperv/qemu.h"

#define ARGS_MAX 96

struct args {
    char *v[ARGS_MAX];
    size_t n;
    bool failed;
};

static void PRINTF_LIKE(2, 3) add(struct args *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = a->n + 1 < ARGS_MAX ? str_vprintf(fmt, ap) : NULL;
    va_end(ap);
    if (s)
        a->v[a->n++] = s;
    else
        a->failed = true;
}

/* `node` is stolen. */
static void add_blockdev(struct args *a, json_t *node)
{
    AUTO_FREE char *text = node ? json_dumps(node, JSON_COMPACT) : NULL;
    json_decref(node);
    add(a, "-blockdev");
    add(a, "%s", text ? text : "");
    a->failed |= !text;
}

/* The block graph of a slot; returns what -device calls it. QEMU's -blockdev does not know force_size_calc, without which a dynamic VHD
 * may lose its end; -drive does, with a comma written as two. `node` is stolen. */
static const char *add_disk_node(struct args *a, const struct hv_disk *d, json_t *node)
{
    if (d->format != HV_VHD_DYNAMIC) {
        add_blockdev(a, node);
        return "disk";
    }
    AUTO_FREE char *text = node ? json_dumps(node, JSON_COMPACT) : NULL;
    const char *name = json_string_value(json_object_get(node, "node-name"));
    struct strbuf b = {0};
    for (const char *p = text; p && *p; p++)
        strbuf_add(&b, *p == ',' ? ",," : p, *p == ',' ? 2 : 1);
    add(a, "-drive");
    add(a, "if=none,id=drive%s,file=json:%s", name ? name + strlen("disk") : "", b.data ? b.data : "");
    a->failed |= !text || !name || b.failed;
    strbuf_free(&b);
    json_decref(node);
    return "drive";
}

static void add_disks(struct args *a, const struct hv_vm_spec *s)
{
    for (unsigned slot = 0; slot < s->n_disks; slot++) {
        if (!s->disks[slot].path)
            continue;
        const char *drive = add_disk_node(a, &s->disks[slot], qemu_disk_node(&s->disks[slot], slot, NULL, true));
        add(a, "-device");
        /* A host error on the disk pauses the guest, which then goes on where it was, instead of showing it a broken disk. */
        add(a, "ide-hd,id=hd%u,drive=%s%u,bus=ide.%u,unit=%u,rerror=stop,werror=stop,serial=vmr-%.8s-%u%s", slot, drive, slot, slot / 2, slot % 2,
            s->id, slot, slot == 0 ? ",bootindex=1" : "");
    }
    const char *medium = "";
    if (s->dvd) {
        medium = ",drive=iso";
        add_blockdev(a, json_pack("{s:s, s:s, s:b, s:{s:s, s:s}}", "driver", "raw", "node-name", "iso", "read-only", 1, "file", "driver", "file",
                                  "filename", s->dvd));
    }
    if (s->n_disks > 3 && s->disks[3].path) {
        add(a, "-device");
        add(a, "usb-ehci,id=usb");
        add(a, "-device");
        add(a, "usb-bot,id=usbdvd,bus=usb.0");
        add(a, "-device");
        add(a, "scsi-cd,id=dvd,bus=usbdvd.0,bootindex=2%s", medium);
    } else {
        add(a, "-device");
        add(a, "ide-cd,id=dvd,bus=ide.1,unit=1,bootindex=2%s", medium);
    }
}

static void add_plain(struct args *a, const char *const *words)
{
    for (; *words; words++)
        add(a, "%s", *words);
}

int qemu_args(struct qemu_vm *vm, bool kvm, bool scope, char ***ret, struct err *e)
{
    const struct qemu *q = vm->q;
    const struct hv_vm_spec *s = &vm->def.spec;
    struct args a = {0};
    if (scope) {
        add_plain(&a, (const char *const[]){"systemd-run", "--scope", "--quiet", "--collect", NULL});
        /* the moment makes the name new: systemd may still know the scope of the run before */
        add(&a, "--unit=vmrecover-vm-%s-%llx", s->id, (unsigned long long)vm->def.started_at_ms);
        add(&a, "--description=vmrecover virtual machine %s", s->id);
        if (q->as_other)
            add(&a, "--uid=%s", q->run_as);
        add(&a, "--");
    }
    add(&a, "%s", q->program);
    add(&a, "-name");
    add(&a, "vmrecover-%s", s->id);
    add(&a, "-uuid");                                  /* qemu_process_posix.c knows the process by it */
    add(&a, "%s", s->id);
    add(&a, "-machine");
    if (s->generation == 2)
        add(&a, "%s,pflash0=code,pflash1=vars", vm->def.machine);
    else
        add(&a, "%s", vm->def.machine);
    add(&a, "-accel");
    add(&a, "%s", kvm ? "kvm" : "tcg,thread=multi");
    add(&a, "-cpu");
    add(&a, "%s", kvm ? "host" : "max,la57=off");
    add(&a, "-m");
    add(&a, "%u", s->memory_mib);
    add(&a, "-smp");
    add(&a, "%u", s->cpus);
    add_plain(&a, (const char *const[]){"-nodefaults", "-no-user-config", "-S", "-pidfile", "qemu.pid", "-msg", "timestamp=on", "-sandbox",
                                        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-rtc", "base=utc", "-display",
                                        "none", "-vnc", "unix:vnc.sock,share=force-shared", "-vga", "std", "-global", "PIIX4_PM.disable_s3=1", "-global", "PIIX4_PM.disable_s4=1", "-chardev",
                                        "socket,id=qmp,path=qmp.sock,server=on,wait=off", "-mon", "chardev=qmp,mode=control", "-chardev",
                                        "socket,id=serial,path=serial.sock,server=on,wait=off,logfile=serial.log,logappend=on", "-device",
                                        "isa-serial,chardev=serial", NULL});
    if (s->generation == 2) {
        const char *code, *vars;
        qemu_probe_firmware(&code, &vars);
        if (!code) {
            for (size_t i = 0; i < a.n; i++)
                free(a.v[i]);
            return err_set(e, ERR_HYPERVISOR, "there is no UEFI firmware (OVMF) on this host, which Generation 2 needs");
        }
        add_blockdev(&a, json_pack("{s:s, s:s, s:b, s:{s:s, s:s}}", "driver", "raw", "node-name", "code", "read-only", 1, "file", "driver", "file",
                                   "filename", code));
        add_blockdev(&a, qemu_disk_vars_node(NULL));
    }
    add_disks(&a, s);
    if (!strcmp(s->network, "nat"))                    /* without its ROM: nothing boots from the network */
        add_plain(&a, (const char *const[]){"-netdev", "user,id=net0", "-device", "e1000,netdev=net0,romfile=", NULL});
    else
        add_plain(&a, (const char *const[]){"-nic", "none", NULL});

    char **v = a.failed ? NULL : calloc(a.n + 1, sizeof *v);
    if (!v) {
        for (size_t i = 0; i < a.n; i++)
            free(a.v[i]);
        return err_oom(e);
    }
    memcpy(v, a.v, a.n * sizeof *v);
    *ret = v;
    return 0;
}

void qemu_args_free(char **argv)
{
    for (size_t i = 0; argv && argv[i]; i++)
        free(argv[i]);
    free(argv);
}

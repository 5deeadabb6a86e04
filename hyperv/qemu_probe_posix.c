/* What QEMU on this host can do. Whether KVM works is tried, not believed: there are hosts where /dev/kvm opens and creates VMs, and the
 * guest hangs at its first instruction. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hyperv/qemu.h"

#define QUICK_MS 20000
#define MACHINE_MS 10000                               /* a test machine answers within a second, where it answers */
#define SCOPE_PROBE_MS 10000

/* In each pair the variable store fits the code. 4 MiB builds first: newer, and what distributions go on with. */
static const struct {
    const char *code, *vars;
} firmware[] = {
    {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},             /* Debian, Ubuntu */
    {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
    {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},         /* Fedora, RHEL */
    {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},     /* Arch */
    {"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},   /* SUSE */
};

void qemu_probe_firmware(const char **ret_code, const char **ret_vars)
{
    *ret_code = *ret_vars = NULL;
    for (size_t i = 0; i < ARRAY_LEN(firmware) && !*ret_code; i++)
        if (access(firmware[i].code, R_OK) == 0 && access(firmware[i].vars, R_OK) == 0) {
            *ret_code = firmware[i].code;
            *ret_vars = firmware[i].vars;
        }
}

/* Runs the emulator with one option pair and gives its output. */
static int ask(struct qemu *q, const char *program, const char *option, const char *value, char **ret, struct err *e)
{
    const char *argv[] = {program, option, value, NULL};
    struct os_exec x = {.argv = argv, .cwd = "/", .run_as = q->as_other ? q->run_as : NULL};
    int status = 0, r = os_run(&x, QUICK_MS, 262144, NULL, NULL, ret, &status, e);
    if (r == 0 && status) {
        free(*ret);
        *ret = NULL;
        r = err_set(e, ERR_HYPERVISOR, "%s %s ended with status %d", program, option, status);
    }
    return r;
}

/* "pc    Standard PC (…) (alias of pc-i440fx-7.2)" */
static void find_machine(const char *help, char *ret, size_t size)
{
    const char *line = str_starts(help, "pc ") ? help : strstr(help, "\npc ");
    const char *alias = line ? strstr(line, "(alias of ") : NULL, *end = line ? strchr(line + 1, '\n') : NULL;
    snprintf(ret, size, "pc");
    if (!alias || (end && alias > end))
        return;
    alias += strlen("(alias of ");
    size_t n = strcspn(alias, ")\n");
    if (n && n < size)
        snprintf(ret, size, "%.*s", (int)n, alias);
}

int qemu_probe_program(struct qemu *q, struct err *e)
{
    struct qemu_probe *p = &q->probe;
    pthread_mutex_lock(&p->lock);
    int r = 0;
    if (!p->have_program) {
        AUTO_FREE char *version = NULL, *machines = NULL, *netdevs = NULL;
        r = ask(q, q->program, "--version", NULL, &version, e);
        if (r == 0)
            r = ask(q, q->program, "-machine", "help", &machines, e);
        if (r == 0)
            r = ask(q, q->program, "-netdev", "help", &netdevs, e);
        if (r == 0) {
            const char *text = strstr(version, "QEMU emulator");        /* after warnings, if there are any */
            snprintf(p->version, sizeof p->version, "%.*s", (int)strcspn(text ? text : version, "\n"), text ? text : version);
            find_machine(machines, p->machine, sizeof p->machine);
            p->have_user_net = strstr(netdevs, "\nuser") != NULL;
            p->have_program = true;
        }
    }
    if (r == 0 && !p->have_img) {
        AUTO_FREE char *version = NULL;
        r = ask(q, q->img_program, "--version", NULL, &version, e);
        p->have_img = r == 0;
    }
    pthread_mutex_unlock(&p->lock);
    if (r < 0 && e->code != ERR_OOM) {
        e->code = ERR_HYPERVISOR;
        err_hint(e, "Install QEMU (on Debian and Ubuntu: apt install qemu-system-x86 qemu-utils), or name its program with [hypervisor] qemu.");
        r = -(int)e->code;
    }
    return r;
}

static bool cpu_has_virtualization(void)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[8192];
    bool found = false, flags = false;
    while (f && !flags && fgets(line, sizeof line, f)) {
        flags = str_starts(line, "flags");
        for (char *save, *w = flags ? strtok_r(line, " \t\n", &save) : NULL; w && !found; w = strtok_r(NULL, " \t\n", &save))
            found = !strcmp(w, "vmx") || !strcmp(w, "svm");
    }
    if (f)
        fclose(f);
    return found;
}

/* A boot sector that tells QEMU's exit device to end with a status that nothing else gives:
 *   mov dx, 0x501; mov al, 0x2a; out dx, al; hlt: the status is 2 * 0x2a + 1. */
#define PROBE_STATUS 85
static const uint8_t probe_code[] = {0xBA, 0x01, 0x05, 0xB0, 0x2A, 0xEE, 0xF4, 0xEB, 0xFD};

/* Runs the test machine; detail stays empty when it answers. */
static void run_machine(struct qemu *q, const char *accel, char *detail, size_t size)
{
    detail[0] = 0;
    uint8_t sector[512] = {0};
    memcpy(sector, probe_code, sizeof probe_code);
    sector[510] = 0x55;
    sector[511] = 0xAA;
    char uuid[UUID_LEN];
    struct err e;
    if (crypto_uuid(uuid, &e) < 0) {
        snprintf(detail, size, "%.190s", e.msg);
        return;
    }
    AUTO_FREE char *path = str_printf("%s/.probe-%s", q->vms_dir, uuid);
    json_t *node = path ? json_pack("{s:s, s:s, s:b, s:{s:s, s:s}}", "driver", "raw", "node-name", "probe", "read-only", 0, "file", "driver",
                                    "file", "filename", path)
                        : NULL;
    AUTO_FREE char *blockdev = node ? json_dumps(node, JSON_COMPACT) : NULL;
    json_decref(node);
    if (!blockdev || os_write_file(path, sector, sizeof sector, 0, &e) < 0 || (q->as_other && lchown(path, q->uid, q->gid) < 0)) {
        snprintf(detail, size, "the probe could not be written to %s", q->vms_dir);
        return;
    }
    const char *argv[] = {q->program, "-accel", accel, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none",
                          "-device", "isa-debug-exit,iobase=0x501,iosize=1", "-blockdev", blockdev, "-device", "ide-hd,drive=probe", NULL};
    struct os_exec x = {.argv = argv, .cwd = "/", .run_as = q->as_other ? q->run_as : NULL};
    AUTO_FREE char *out = NULL;
    int status = 0, r = os_run(&x, MACHINE_MS, 4096, NULL, NULL, &out, &status, &e);
    struct err ignored;
    os_remove(path, &ignored);
    if (r == -ERR_TIMEOUT)
        snprintf(detail, size, "a test machine under %s hung", accel);
    else if (r < 0)
        snprintf(detail, size, "%.190s", e.msg);
    else if (status != PROBE_STATUS)
        snprintf(detail, size, "a test machine under %s failed: %.140s", accel, qemu_last_line(out));
    detail[strcspn(detail, "\n")] = 0;
}

static void probe_kvm(struct qemu *q, char *detail, size_t size)
{
    detail[0] = 0;
    if (!strcmp(q->accel, "tcg")) {
        snprintf(detail, size, "switched off by configuration (accel = tcg)");
        return;
    }
    if (!cpu_has_virtualization()) {
        snprintf(detail, size, "the processor shows neither vmx nor svm");
        return;
    }
    if (access("/dev/kvm", R_OK | W_OK) < 0 && !q->as_other) {
        snprintf(detail, size, "/dev/kvm cannot be opened: %s", strerrordesc_np(errno));
        return;
    }
    run_machine(q, "kvm", detail, size);
}

int qemu_probe_accel(struct qemu *q, bool *ret_kvm, struct err *e)
{
    struct qemu_probe *p = &q->probe;
    pthread_mutex_lock(&p->lock);
    if (!p->kvm_probed) {
        probe_kvm(q, p->kvm_detail, sizeof p->kvm_detail);
        p->have_kvm = !p->kvm_detail[0];
        p->kvm_probed = true;
    }
    bool kvm = p->have_kvm;
    char detail[sizeof p->kvm_detail];
    memcpy(detail, p->kvm_detail, sizeof detail);
    pthread_mutex_unlock(&p->lock);
    if (!kvm && !strcmp(q->accel, "kvm")) {
        err_set(e, ERR_HYPERVISOR, "KVM is demanded by configuration and cannot be used: %s", detail);
        return err_hint(e, "Enable virtualization in the firmware (or nested virtualization for this VM) and load the kvm module, "
                           "or set [hypervisor] accel = auto.");
    }
    *ret_kvm = kvm;
    return 0;
}

bool qemu_probe_scope(struct qemu *q)
{
    struct qemu_probe *p = &q->probe;
    pthread_mutex_lock(&p->lock);
    if (!p->scope_probed) {
        bool systemd = access("/run/systemd/system", F_OK) == 0;
        p->scope_detail[0] = 0;
        if (!strcmp(q->scope, "none")) {
            snprintf(p->scope_detail, sizeof p->scope_detail, "switched off by configuration (scope = none)");
        } else if (!systemd) {
            snprintf(p->scope_detail, sizeof p->scope_detail, "systemd does not run this host");
        } else {
            const char *argv[] = {"systemd-run", "--scope", "--quiet", "--collect", "--", "true", NULL};
            struct os_exec x = {.argv = argv, .cwd = "/"};
            AUTO_FREE char *out = NULL;
            struct err e;
            int status = 0;
            if (os_run(&x, SCOPE_PROBE_MS, 4096, NULL, NULL, &out, &status, &e) < 0)
                snprintf(p->scope_detail, sizeof p->scope_detail, "%.190s", e.msg);
            else if (status)
                snprintf(p->scope_detail, sizeof p->scope_detail, "systemd-run failed: %.*s", (int)strcspn(out, "\n"), out);
            else
                p->have_scope = true;
        }
        /* a failure may pass: systemd was busy, or D-Bus not up yet */
        p->scope_probed = p->have_scope || !strcmp(q->scope, "none") || !systemd;
    }
    bool have = p->have_scope;
    pthread_mutex_unlock(&p->lock);
    return have;
}

unsigned qemu_probe_capabilities(struct qemu *q)
{
    const char *code, *vars;
    struct err ignored;
    qemu_probe_firmware(&code, &vars);
    qemu_probe_program(q, &ignored);
    pthread_mutex_lock(&q->probe.lock);
    unsigned net = q->probe.have_program && !q->probe.have_user_net ? 0 : HV_CAP_NAT;      /* no QEMU: its absence is the error to show */
    pthread_mutex_unlock(&q->probe.lock);
    return (code ? HV_CAP_GEN2 : 0u) | net | HV_CAP_SCREEN_TEXT | HV_CAP_SERIAL | HV_CAP_CHECKPOINT | HV_CAP_ATTACH | HV_CAP_EXPORT | HV_CAP_DISPLAY;
}

static void row(struct hv_rows *t, const char *check, enum hv_check_status status, const char *detail, const char *remedy)
{
    hv_rows_add(t, check, status, remedy, "%s", detail);
}

size_t qemu_probe_report(struct qemu *q, struct hv_check *rows, size_t max)
{
    struct hv_rows t = {.rows = rows, .max = max};
    struct err e;
    const char *code, *vars;
    bool kvm = false;
    if (qemu_probe_program(q, &e) < 0) {
        row(&t, "hypervisor", HV_CHECK_FAILED, e.msg, err_hint_text(&e));
        return t.n;                                    /* without QEMU the rest says nothing */
    }
    char detail[256];
    pthread_mutex_lock(&q->probe.lock);
    if (!q->probe.machine_ran) {
        run_machine(q, "tcg", detail, sizeof detail);
        q->probe.machine_ran = !detail[0];
    }
    bool ran = q->probe.machine_ran;
    pthread_mutex_unlock(&q->probe.lock);
    row(&t, "hypervisor", ran ? HV_OK : HV_CHECK_FAILED, ran ? q->probe.version : detail,
        "Install QEMU with its firmware anew (apt install --reinstall qemu-system-x86 seabios), and look at memory and limits of the service.");
    const char *kvm_remedy = "Virtual machines run without hardware help, some ten times slower. Enable virtualization in the host's firmware "
                             "(in a VM: nested virtualization), load kvm_intel or kvm_amd, then restart vmrecoverd.";
    if (qemu_probe_accel(q, &kvm, &e) < 0) {
        row(&t, "acceleration", HV_CHECK_FAILED, e.msg, err_hint_text(&e));
    } else if (kvm) {
        row(&t, "acceleration", HV_OK, "KVM", "");
    } else {
        snprintf(detail, sizeof detail, "TCG (emulation): %s", q->probe.kvm_detail);
        row(&t, "acceleration", HV_WARNING, detail, kvm_remedy);
    }
    qemu_probe_firmware(&code, &vars);
    row(&t, "firmware_gen2", code ? HV_OK : HV_WARNING, code ? code : "no UEFI firmware (OVMF) found: Generation 2 machines cannot run",
        "Install it: apt install ovmf.");
    row(&t, "nat", q->probe.have_user_net ? HV_OK : HV_WARNING,
        q->probe.have_user_net ? "QEMU's user network" : "this QEMU was built without user networking",
        "Install a QEMU with libslirp to use \"network\": \"nat\"; \"none\" works.");
    bool scope = qemu_probe_scope(q), systemd = access("/run/systemd/system", F_OK) == 0;
    row(&t, "scope", scope || !systemd ? HV_OK : HV_WARNING,
        scope ? "each virtual machine runs in a systemd scope of its own" : q->probe.scope_detail,
        "Virtual machines may end when the service stops. Set [hypervisor] scope = auto and let the daemon's account call systemd-run.");
    if (q->run_as) {
        snprintf(detail, sizeof detail, q->as_other ? "virtual machines run as %s" : "virtual machines run as the daemon's own account, not as %s",
                 q->run_as);
        row(&t, "vm_account", q->as_other || !strcmp(q->run_as, "") ? HV_OK : HV_WARNING, detail,
            "Make the account and start the daemon as root, or leave [hypervisor] run_as empty.");
    }
    if (!q->run_as && geteuid() == 0)
        row(&t, "vm_account", HV_WARNING, "virtual machines run as root, as the daemon does",
            "Set [hypervisor] run_as to an account without rights (the package makes one, vmrecover), then restart vmrecoverd.");
    return t.n;
}

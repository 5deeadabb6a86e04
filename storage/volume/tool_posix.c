#include "storage/volume/tool.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/os.h"

#define OUTPUT_MAX (4 << 20)
#define ARGS_MAX 160
#define BUS "/run/dbus/system_bus_socket"           /* systemd-run waits for the end of a service by it */
#define SYSTEMCTL_MS 150000                          /* a unit that waits for its device gives up after 90 s */

bool tool_there(const char *name)
{
    AUTO_FREE char *path = os_getenv("PATH");
    char *rest = path;
    for (char *folder; (folder = str_sep(&rest, ":"));) {
        AUTO_FREE char *file = *folder == '/' ? os_path_join(folder, name) : NULL;
        if (file && access(file, X_OK) == 0)
            return true;
    }
    return false;
}

bool tool_systemd(void)
{
    return access("/run/systemd/system", F_OK) == 0 && geteuid() == 0 && tool_there("systemd-run");
}

/* The program's own words: its last line. */
static const char *last_line(char *text)
{
    size_t n = strlen(text);
    while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = 0;
    char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static int failed(enum err_code code, const char *const *argv, int status, char *out, struct err *e)
{
    const char *words = out ? last_line(out) : "";
    return err_set(e, code, "%s failed (exit code %d)%s%.300s", argv[0], status, *words ? ": " : "", words);
}

/* Warnings stand before or behind it. */
static int to_json(const char *const *argv, char *out, json_t **ret, struct err *e)
{
    char *from = strchr(out, '{'), *to = strrchr(out, '}');
    json_error_t why;
    json_t *o = from && to > from ? json_loadb(from, (size_t)(to - from) + 1, 0, &why) : NULL;
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, ERR_IO, "%s did not answer in JSON: %.200s", argv[0], last_line(out));
    }
    *ret = o;
    return 0;
}

int tool_json(const struct linux_host *h, const char *const *argv, json_t **ret, struct err *e)
{
    AUTO_FREE char *out = NULL;
    int status = 0;
    int r = os_run(&(struct os_exec){.argv = argv}, TOOL_MS, OUTPUT_MAX, h->stop, h->arg, &out, &status, e);
    if (r < 0)
        return r;
    return status ? failed(ERR_IO, argv, status, out, e) : to_json(argv, out, ret, e);
}

/* ---- what changes something ---- */

struct line {
    const char *argv[ARGS_MAX];
    char *own[ARGS_MAX];                             /* those that are freed */
    size_t n, n_own;
    bool failed;
};

static void line_clear(struct line *l)
{
    for (size_t i = 0; i < l->n_own; i++)
        free(l->own[i]);
}

static void add(struct line *l, const char *word)
{
    if (l->n + 1 < ARRAY_LEN(l->argv))
        l->argv[l->n++] = word;
    else
        l->failed = true;
}

static void add_own(struct line *l, char *word)
{
    l->failed |= !word;
    if (!word)
        return;
    l->own[l->n_own++] = word;
    add(l, word);
}

static void unit_name(const char *volume, char ret[64])
{
    snprintf(ret, 64, "vmrecover-volume-%.36s.service", volume);
}

/* The program in a service that may do what it must: its devices, its folder, nothing else. */
static void service(struct line *l, const char *unit, const struct tool_rights *rights, const char *const *argv)
{
    static const char *const words[] = {
        "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec", "--property=DevicePolicy=closed",
        "--property=ProtectSystem=strict", "--property=ProtectHome=yes", "--property=PrivateNetwork=yes", "--property=NoNewPrivileges=yes",
        "--property=RestrictAddressFamilies=AF_UNIX AF_NETLINK", "--property=LimitCORE=0",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        add(l, words[i]);
    add_own(l, str_printf("--unit=%s", unit));
    add(l, rights->mapper ? "--property=CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_MKNOD CAP_SYS_NICE CAP_IPC_LOCK CAP_IPC_OWNER"
                          : "--property=CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE");
    for (size_t i = 0; i < rights->n_devices; i++)
        add_own(l, str_printf("--property=DeviceAllow=%s rw", rights->devices[i]));
    if (rights->mapper) {
        add(l, "--property=DeviceAllow=/dev/mapper/control rw");
        add(l, "--property=DeviceAllow=block-device-mapper rw");
        add(l, "--property=ReadWritePaths=-/etc/lvm -/run/lvm -/run/lock");
    }
    if (rights->folder)
        add_own(l, str_printf("--property=ReadWritePaths=%s", rights->folder));
    add(l, "--");
    for (size_t i = 0; argv[i]; i++)
        add(l, argv[i]);
}

/* A program that a daemon before us started may still be at work. */
static void end_service(const char *unit)
{
    struct err ignored;
    int status;
    os_run(&(struct os_exec){.argv = (const char *const[]){"systemctl", "--quiet", "stop", unit, NULL}}, SYSTEMCTL_MS, 0, NULL, NULL, NULL, &status, &ignored);
}

void tool_end(const struct volume_plan *p)
{
    char unit[64];
    unit_name(p->id, unit);
    end_service(unit);
}

int tool_change(const struct linux_host *h, const struct tool_rights *rights, const char *const *argv, const char *input, unsigned timeout_ms, char **ret_out,
                struct err *e)
{
    AUTO_FREE char *out = NULL;
    AUTO(line_clear) struct line line = {0};
    char unit[64];
    int status = 0;
    bool systemd = tool_systemd();
    unit_name(rights->volume, unit);
    if (systemd && access(BUS, F_OK) < 0) {
        err_set(e, ERR_UNSUPPORTED, "%s cannot be started: systemd is not to be reached, since the system's message bus does not run", argv[0]);
        return err_hint(e, "Install the package dbus, then retry the job.");
    }
    if (systemd) {
        service(&line, unit, rights, argv);
        if (line.failed)
            return err_set(e, ERR_OOM, "no memory for the arguments of %s", argv[0]);
    }
    int r = os_run(&(struct os_exec){.argv = systemd ? line.argv : argv, .input = input}, timeout_ms, OUTPUT_MAX, h->stop, h->arg, &out, &status, e);
    if (r < 0) {
        if (systemd)
            end_service(unit);
        return r;
    }
    if (status)
        return failed(ERR_VOLUME, argv, status, out, e);
    if (ret_out)
        *ret_out = STEAL(out);
    return 0;
}

int tool_change_json(const struct linux_host *h, const struct tool_rights *rights, const char *const *argv, json_t **ret, struct err *e)
{
    AUTO_FREE char *out = NULL;
    int r = tool_change(h, rights, argv, NULL, TOOL_MS, &out, e);
    return r < 0 ? r : to_json(argv, out, ret, e);
}

int tool_systemctl(const struct linux_host *h, const char *verb, const char *unit, struct err *e)
{
    AUTO_FREE char *out = NULL;
    const char *const argv[] = {"systemctl", "--quiet", verb, unit, NULL};
    int status = 0;
    int r = os_run(&(struct os_exec){.argv = argv}, SYSTEMCTL_MS, OUTPUT_MAX, h->stop, h->arg, &out, &status, e);
    if (r == 0 && status)
        r = failed(ERR_VOLUME, (const char *const[]){verb, NULL}, status, out, e);
    return r < 0 && unit ? err_prefix(e, "%s", unit) : r;
}

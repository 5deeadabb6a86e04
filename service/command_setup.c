#include "service/commands.h"

#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "hyperv/hyperv_host.h"
#include "service/setup.h"

#define RESTART_DUE 3
#define STEP 5                                         /* percent from line to line */

static void say_percent(void *arg, unsigned percent)
{
    unsigned *shown = arg;
    if (percent / STEP <= *shown / STEP && *shown)
        return;
    *shown = percent ? percent : 1;
    printf("enabling Hyper-V: %u %%\n", percent);
    fflush(stdout);
}

static int restart_due(void)
{
    puts("Hyper-V is enabled from the next restart on. Restart the host (shutdown /r /t 0), then `vmrecoverd setup` looks whether it runs.");
    return RESTART_DUE;
}

/* What the host report says of a host whose role is there: the rows that are not well. */
static int not_running(const struct host_facts *f)
{
    struct hv_check rows[8];
    fputs("vmrecoverd: Hyper-V is enabled, but no virtual machine can run yet\n", stderr);
    for (size_t i = 0, n = host_facts_judge(f, rows, ARRAY_LEN(rows)); i < n; i++)
        if (rows[i].status == HV_CHECK_FAILED)
            fprintf(stderr, "  %s\n    %s\n", rows[i].detail, rows[i].remedy);
    return 1;
}

int command_setup_on(const struct hyperv_platform *p, bool force)
{
    struct err e;
    struct host_facts f;
    enum hv_role_state state = HV_ROLE_UNAVAILABLE;
    unsigned shown = 0;
    hyperv_host_facts(p, &f);
    int r = force ? 0 : host_facts_may_enable(&f, &e);
    if (r == 0 && !p->role)
        r = err_set(&e, ERR_UNSUPPORTED, "there is no role to enable on this host");
    if (r == 0)
        r = role_enable(p->role, p->role_arg, say_percent, &shown, &state, &e);
    if (r < 0)
        return command_fail(&e);
    hyperv_host_facts(p, &f);                          /* servicing may have asked for a restart since */
    f.feature = HOST_FEATURE_ENABLED;
    f.task = state;
    if (host_facts_role(&f) == HV_ROLE_RESTART_NEEDED)
        return restart_due();
    if (!f.root)
        return not_running(&f);
    setup_follow();
    puts("Hyper-V is enabled, and its hypervisor runs.");
    return 0;
}

int command_setup(int argc, char **argv)
{
    bool force = false;
    const struct command_option options[] = {{"--force", NULL, &force}, {0}};
    if (command_options("setup", argc, argv, options, 0, 0, "usage: vmrecoverd setup [--force]\n") < 0)
        return 2;
    const struct hyperv_platform *here = hyperv_platform_here();
    if (!here) {
        fputs("vmrecoverd: setup enables Hyper-V, which this system does not have: QEMU is a program and no role.\n"
              "  `vmrecover host` says whether this host is fit, and what is missing.\n", stderr);
        return 2;
    }
    if (!os_is_admin()) {
        struct err e;
        err_set(&e, ERR_PERMISSION, "only an administrator can enable Hyper-V");
        err_hint(&e, "Open the terminal with \"Run as administrator\" and try again.");
        return command_fail(&e);
    }
    return command_setup_on(here, force);
}

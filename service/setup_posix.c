#include "service/setup.h"

#include <stdio.h>

int setup_install(int argc, char **argv)
{
    (void)argc, (void)argv;
    fputs("vmrecoverd: on Linux the service is installed with the program: by the package (apt install ./vmrecover_….deb), or from the\n"
          "sources by `make install`. Then: systemctl enable --now vmrecoverd\n", stderr);
    return 2;
}

int setup_uninstall(int argc, char **argv)
{
    (void)argc, (void)argv;
    fputs("vmrecoverd: on Linux the service is removed with its package: apt remove vmrecover, or apt purge vmrecover to remove token, key\n"
          "and database too. Disks and machines stay in /var/lib/vmrecover.\n", stderr);
    return 2;
}

/* systemd starts it, and nothing here is Hyper-V. */
void setup_follow(void)
{
}

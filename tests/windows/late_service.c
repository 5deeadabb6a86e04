/* A service in the daemon's own shell whose work never ends, and with --slow takes its time to start: what the service manager sees then
 * (tests/windows/service.sh). */
#include <windows.h>

#include <string.h>

#include "service/host.h"

static int serve(int argc, char **argv)
{
    struct err e;
    if (argc && !strcmp(argv[0], "--slow"))
        Sleep(8000);
    if (host_init("", &e) < 0)
        return 1;
    host_ready("ready");
    Sleep(INFINITE);
    return 0;
}

int main(int argc, char **argv)
{
    int status = 3;
    return host_serve(serve, argc - 1, argv + 1, &status) ? status : 2;
}

/* A service whose work never ends, in the daemon's own shell: what becomes of a stop that nobody answers (tests/windows/service.sh). */
#include <windows.h>

#include "service/host.h"

static int serve(int argc, char **argv)
{
    struct err e;
    (void)argc, (void)argv;
    if (host_init(NULL, &e) < 0)
        return 1;
    host_ready("ready");
    Sleep(INFINITE);
    return 0;
}

int main(int argc, char **argv)
{
    int status = 3;
    return host_serve(serve, argc, argv, &status) ? status : 2;
}

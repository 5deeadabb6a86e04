/* The link is a secret for as long as nobody has used it, and the arguments of a process are no secret here: so the browser is given a file of the
 * user's own, in the folder that ends with the session, which leads to the link. */
#include <string.h>
#include <unistd.h>

#include "api/cli/cli.h"
#include "common/os.h"

void browser_open(const char *link)
{
    AUTO_FREE char *x11 = os_getenv("DISPLAY"), *wayland = os_getenv("WAYLAND_DISPLAY"), *runtime = os_getenv("XDG_RUNTIME_DIR");
    struct err e;
    int64_t pid;
    if (geteuid() == 0 || !((x11 && *x11) || (wayland && *wayland)) || !runtime || *runtime != '/' || strpbrk(link, "\"'<>&\\ "))
        return;                                      /* root has no browser, a session without a screen neither */
    AUTO_FREE char *path = os_path_join(runtime, "vmrecover-dashboard.html");
    AUTO_SECRET char *page = str_printf("<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
                                        "<meta http-equiv=\"refresh\" content=\"0; url=%s\">\n<title>vmrecover</title>\n", link);
    if (path && page && os_write_file(path, page, strlen(page), OS_PRIVATE, &e) == 0)
        os_spawn(&(struct os_exec){.argv = (const char *const[]){"xdg-open", path, NULL}}, &pid, &e);      /* else the link is there to copy */
}

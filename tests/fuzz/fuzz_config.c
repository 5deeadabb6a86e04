/* vmrecover.conf, then, parted by NUL, command-line options. */
#include <sys/mman.h>
#include <unistd.h>

#include "service/config.h"
#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_FREE char *text = fuzz_string(data, n);
    size_t file = strlen(text);
    char *argv[ARGS_MAX];
    int argc = 0;
    for (size_t at = file + 1; at < n && argc < ARGS_MAX; at += strlen(text + at) + 1)
        argv[argc++] = text + at;
    int fd = memfd_create("conf", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, text, file) == (ssize_t)file);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct err e = {0};
    AUTO(config_free_ptr) struct config *c = NULL;
    int r = config_load(path, argc, argv, &c, &e);
    must_be_result(r, &e);
    MUST(r < 0 || (c->data_dir && *c->data_dir && c->connections >= 1 && c->connections <= 64));
    close(fd);
    return 0;
}

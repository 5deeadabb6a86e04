#include "tests/unit/tmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"

char *tmp_make(void)
{
    struct err e;
    uint64_t salt;
    AUTO_FREE char *base = tmp_base(), *name = NULL;
    assert_int_equal(os_random(&salt, sizeof salt, &e), 0);
    name = str_printf("vmr-unit-%012llx", (unsigned long long)(salt & 0xFFFFFFFFFFFF));
    assert_non_null(name);
    char *path = tmp_path(base, name);
    if (os_mkdirs(path, OS_PRIVATE, &e) < 0)
        fail_msg("%s", e.msg);
    return path;
}

void tmp_remove(char *path)
{
    struct err e;
    int r = os_remove_tree(path, &e);
    for (int i = 0; r < 0 && i < 40; i++) {          /* a process that ended may hold files open still, on a busy machine under Wine */
        clock_sleep_ms(250);
        r = os_remove_tree(path, &e);
    }
    if (r < 0)
        fail_msg("%s", e.msg);
    free(path);
}

char *tmp_path(const char *dir, const char *name)
{
    char *p = os_path_join(dir, name);
    assert_non_null(p);
    return p;
}

bool tmp_exists(const char *path)
{
    struct err e;
    struct os_stat st;
    if (os_stat(path, &st, &e) < 0)
        fail_msg("%s", e.msg);
    return st.exists;
}

bool tmp_contains(const void *data, size_t n, const char *text)
{
    const char *p = data;
    size_t m = strlen(text);
    for (size_t i = 0; i + m <= n; i++)
        if (!memcmp(p + i, text, m))
            return true;
    return false;
}

int64_t tmp_start(const char *log, const char *const *args)
{
    struct err e;
    AUTO_FREE char *self = tmp_self();
    const char *argv[16] = {self};
    size_t n = 1;
    for (; args[n - 1] && n + 1 < ARRAY_LEN(argv); n++)
        argv[n] = args[n - 1];
    int64_t pid = 0;
    if (os_spawn(&(struct os_exec){.argv = argv, .log_path = log}, &pid, &e) < 0)
        fail_msg("%s", e.msg);
    return pid;
}

void tmp_kill(int64_t pid)
{
    struct err e;
    if (os_process_kill(pid, &e) < 0)
        fail_msg("%s", e.msg);
    for (int64_t until = clock_mono_ms() + 20000; os_process_alive(pid); clock_sleep_ms(2))
        assert_true(clock_mono_ms() < until);
}

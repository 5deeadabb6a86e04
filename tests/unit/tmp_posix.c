#include "tests/unit/tmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/os.h"

const char tmp_root[] = "", tmp_device[] = "/dev/null";
const long tmp_disk_full = ENOSPC;

char *tmp_base(void)
{
    const char *base = getenv("TMPDIR");
    char *copy = str_dup(base && *base ? base : "/tmp");
    assert_non_null(copy);
    return copy;
}

char *tmp_cwd(void)
{
    char *path = getcwd(NULL, 0);
    assert_non_null(path);
    return path;
}

void tmp_chdir(const char *path)
{
    assert_int_equal(chdir(path), 0);
}

char *tmp_self(void)
{
    char *path = os_real_path("/proc/self/exe");
    assert_non_null(path);
    return path;
}

void tmp_assert_private(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, S_ISDIR(st.st_mode) ? 0700 : 0600);
}

bool tmp_symlink(const char *target, const char *link)
{
    assert_int_equal(symlink(target, link), 0);
    return true;
}

int tmp_shell(const char *folder, const char *line)
{
    AUTO_FREE char *all = str_printf("cd '%s' && { %s\n}", folder, line);
    assert_non_null(all);
    int status = system(all);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

char *tmp_outside(const char *path)
{
    return str_dup(path);
}

void tmp_setenv(const char *name, const char *value)
{
    assert_int_equal(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

bool tmp_is_wine(void)
{
    return false;
}

bool tmp_wine_lacks(const char *what)
{
    (void)what;
    return false;
}

struct os_file *tmp_unsyncable(const char *dir)
{
    (void)dir;
    struct err e;
    struct os_file *f;
    assert_int_equal(os_file_open("/dev/null", OS_WRITE, &f, &e), 0);
    return f;
}

/* In a mount namespace of our own, which ends with us. */
char *tmp_volume(const char *dir, unsigned mib)
{
    struct err e;
    AUTO_FREE char *path = tmp_path(dir, "volume"), *options = str_printf("size=%um", mib);
    assert_int_equal(os_mkdirs(path, 0, &e), 0);
    if (unshare(CLONE_NEWNS) || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") || mount("none", path, "tmpfs", 0, options))
        return NULL;
    return STEAL(path);
}

void tmp_volume_drop(const char *volume)
{
    assert_int_equal(umount(volume), 0);
}

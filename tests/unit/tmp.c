#include "tests/unit/tmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "common/os.h"

char *tmp_make(void)
{
    const char *base = getenv("TMPDIR");
    char *path = str_printf("%s/vmr-unit-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(path);
    assert_non_null(mkdtemp(path));
    return path;
}

void tmp_remove(char *path)
{
    struct err e;
    if (os_remove_tree(path, &e) < 0)
        fail_msg("%s", e.msg);
    free(path);
}

char *tmp_path(const char *dir, const char *name)
{
    char *p = os_path_join(dir, name);
    assert_non_null(p);
    return p;
}

/* What tests of any driver of the hypervisor interface share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/hv_fixture.h"

void hvt_ok(int r, const struct err *e, const char *what)
{
    if (r < 0)
        fail_msg("%s: %s", what, e->msg);
}

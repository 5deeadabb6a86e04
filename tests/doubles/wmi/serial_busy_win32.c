/* A named pipe with one instance is busy by itself while it has a client; right after a reset it is simply there again. */
#include "tests/doubles/wmi/core.h"

void serial_busy(struct serial_port *p, unsigned ms)
{
    (void)p;
    (void)ms;
}

#include "service/eventlog.h"

void eventlog_open(void)
{
}

void eventlog_close(void)
{
}

void eventlog_write(enum eventlog_id id, const char *const *texts)
{
    (void)id, (void)texts;
}

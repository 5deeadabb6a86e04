#include "service/eventlog.h"

#include <windows.h>

#include <messages.h>                                 /* made of packaging/windows/messages.mc */

#include "common/os_win32.h"
#include "service/service_win32.h"

#define TEXT_MAX 30000                                /* UTF-16 units of a text that ReportEvent surely takes */

static HANDLE source;

static const struct row { enum eventlog_id id; DWORD message; WORD type, texts; } rows[] = {
#define EVENTLOG_ROW(name, number, level, n) \
    {EVENTLOG_##name, (DWORD)LOGMSG_##name, level == LOG_LEVEL_ERROR ? EVENTLOG_ERROR_TYPE : level == LOG_LEVEL_WARNING ? EVENTLOG_WARNING_TYPE : EVENTLOG_INFORMATION_TYPE, n},
    EVENTLOG_MAP(EVENTLOG_ROW)
#undef EVENTLOG_ROW
};
/* the numbers of both tables are the same; the upper half is the message's severity */
#define EVENTLOG_CHECK(name, number, level, n) \
    _Static_assert(((DWORD)LOGMSG_##name & 0xFFFF) == (number) && (n) <= EVENTLOG_TEXTS_MAX, #name); \
    _Static_assert((DWORD)LOGMSG_##name >> 30 == (level == LOG_LEVEL_ERROR ? 3 : level == LOG_LEVEL_WARNING ? 2 : 1), #name);
EVENTLOG_MAP(EVENTLOG_CHECK)
#undef EVENTLOG_CHECK

void eventlog_open(void)
{
    source = RegisterEventSourceW(NULL, SERVICE_NAME);
}

void eventlog_close(void)
{
    if (source)
        DeregisterEventSource(source);
    source = NULL;
}

void eventlog_write(enum eventlog_id id, const char *const *texts)
{
    const struct row *row = rows;
    while (row->id != id)
        row++;
    wchar_t *wide[EVENTLOG_TEXTS_MAX] = {0};
    const wchar_t *list[EVENTLOG_TEXTS_MAX];
    struct err ignored;
    for (WORD i = 0; i < row->texts; i++) {
        list[i] = L"";
        if (win_utf16(texts[i], &wide[i], &ignored) == 0) {
            if (wcslen(wide[i]) > TEXT_MAX)
                wide[i][TEXT_MAX] = 0;
            list[i] = wide[i];
        }
    }
    if (source)
        ReportEventW(source, row->type, 0, row->message, NULL, row->texts, 0, list, NULL);
    for (WORD i = 0; i < row->texts; i++)
        free(wide[i]);
}

/* The service's dependency list, whether its program is safe where it lies, and the texts of its events as Windows takes them out of the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <windows.h>

#include <messages.h>
#include <string.h>

#include "common/mem.h"
#include "service/eventlog.h"
#include "service/place_win32.h"
#include "service/scm_win32.h"

static void test_dependencies(void **state)
{
    (void)state;
#define LIST(text) text, sizeof(text) / sizeof(wchar_t)
    static const struct { const wchar_t *now; bool vmms; const wchar_t *then; size_t n; bool same; } rows[] = {
        {NULL, false, LIST(L"\0"), true},
        {L"", false, LIST(L"\0"), true},
        {NULL, true, LIST(L"vmms\0"), false},
        {L"vmms\0", true, LIST(L"vmms\0"), true},
        {L"VMMS\0", true, LIST(L"vmms\0"), true},
        {L"vmms\0", false, LIST(L"\0"), false},
        {L"Tcpip\0vmms\0", false, LIST(L"Tcpip\0\0"), false},
        {L"Tcpip\0+Group\0", true, LIST(L"Tcpip\0+Group\0vmms\0"), false},
        {L"Tcpip\0", false, LIST(L"Tcpip\0\0"), true},
    };
    wchar_t list[64];
    bool same;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        memset(list, 0xFF, sizeof list);
        assert_true(scm_dependencies(rows[i].now, rows[i].vmms, list, ARRAY_LEN(list), &same));
        if (memcmp(list, rows[i].then, rows[i].n * sizeof *list) || same != rows[i].same)
            fail_msg("row %zu", i);
    }
    assert_true(scm_dependencies(L"Tcpip\0", true, list, 12, &same));
    assert_false(scm_dependencies(L"Tcpip\0", true, list, 11, &same));
    assert_false(scm_dependencies(L"Tcpip\0", false, list, 5, &same));
}

static void test_place(void **state)
{
    (void)state;
    static const struct { const wchar_t *sddl; bool open; } rows[] = {
        {L"D:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU)", false},                /* Program Files: users read and run */
        {L"D:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1301bf;;;AU)", true},                 /* C:\\anything: authenticated users modify */
        {L"D:(A;;FA;;;SY)(A;OICIIO;0x1301bf;;;AU)", false},                      /* only for what is made below */
        {L"D:(A;;FA;;;SY)(A;;GA;;;WD)", true},
        {L"D:(A;;FA;;;SY)(A;;0x4;;;BU)", true},
        {L"D:(A;;FA;;;SY)(A;;SD;;;IU)", true},
        {L"D:(D;;FA;;;BU)(A;;FA;;;BA)", false},
        {L"D:(A;;FA;;;S-1-5-21-1-2-3-1001)", false},                             /* one account */
        {L"D:", false},                                                          /* nobody */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (place_sddl_is_open(rows[i].sddl) != rows[i].open)
            fail_msg("row %zu", i);
}

static void test_messages(void **state)
{
    (void)state;
    wchar_t path[MAX_PATH];
    DWORD n = GetModuleFileNameW(NULL, path, ARRAY_LEN(path));
    assert_true(n && n < ARRAY_LEN(path) - 20);
    wchar_t *slash = wcsrchr(path, L'\\');            /* BUILD\unit\ */
    *slash = 0;
    slash = wcsrchr(path, L'\\');
    wcscpy(slash, L"\\vmrecoverd.exe");
    HMODULE program = LoadLibraryExW(path, NULL, LOAD_LIBRARY_AS_DATAFILE);
    if (!program)
        fail_msg("vmrecoverd.exe is not beside the folder of this test: make windows-programs");
    static const struct { const char *name; DWORD id; unsigned texts; } rows[] = {
#define ROW(name, number, level, texts) {#name, (DWORD)LOGMSG_##name, texts},
        EVENTLOG_MAP(ROW)
#undef ROW
    };
    static const DWORD_PTR texts[] = {(DWORD_PTR)L"<one>", (DWORD_PTR)L"<two>", (DWORD_PTR)L"<three>"};
    static const LANGID languages[] = {MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), MAKELANGID(LANG_JAPANESE, SUBLANG_JAPANESE_JAPAN)};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        wchar_t text[2][2000];
        for (size_t k = 0; k < ARRAY_LEN(languages); k++) {
            if (!FormatMessageW(FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY, program, rows[i].id, languages[k], text[k],
                                ARRAY_LEN(text[k]), (va_list *)(uintptr_t)texts))
                fail_msg("%s has no text in language 0x%x: %lu", rows[i].name, languages[k], GetLastError());
            for (unsigned t = 0; t < ARRAY_LEN(texts); t++)
                if (!wcsstr(text[k], (const wchar_t *)texts[t]) != (t >= rows[i].texts))
                    fail_msg("%s in language 0x%x and text %u", rows[i].name, languages[k], t + 1);
        }
        assert_true(wcscmp(text[0], text[1]) != 0);
    }
    FreeLibrary(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dependencies), cmocka_unit_test(test_place), cmocka_unit_test(test_messages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

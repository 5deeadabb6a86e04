/* What goes to the event log, how often, and as what; and that the message texts fit the program's table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/os.h"
#include "service/eventlog.h"

#define HOUR 3600000

static void test_equal_events(void **state)
{
    (void)state;
    struct eventlog_limit l = {0};
    unsigned held = 99;
    assert_int_equal(eventlog_judge(&l, 1, 1000, &held), EVENTLOG_WRITE);
    assert_int_equal(held, 0);
    for (int i = 0; i < 500; i++)
        assert_int_equal(eventlog_judge(&l, 1, 1000 + i, &held), EVENTLOG_HOLD);
    assert_int_equal(eventlog_judge(&l, 2, 2000, &held), EVENTLOG_WRITE);
    assert_int_equal(held, 0);
    assert_int_equal(eventlog_judge(&l, 1, 1000 + HOUR - 1, &held), EVENTLOG_HOLD);
    assert_int_equal(eventlog_judge(&l, 1, 1000 + HOUR, &held), EVENTLOG_WRITE);
    assert_int_equal(held, 501);
    assert_int_equal(eventlog_judge(&l, 1, 1000 + 2 * HOUR, &held), EVENTLOG_WRITE);
    assert_int_equal(held, 0);
}

static void test_many_events(void **state)
{
    (void)state;
    struct eventlog_limit l = {0};
    unsigned held, written = 0, told = 0;
    for (uint64_t key = 1; key <= 1000; key++) {
        enum eventlog_verdict v = eventlog_judge(&l, key, (int64_t)key, &held);
        written += v == EVENTLOG_WRITE;
        told += v == EVENTLOG_TELL;
    }
    assert_int_equal(written, EVENTLOG_PER_HOUR);
    assert_int_equal(told, 1);
    assert_int_equal(eventlog_judge(&l, 5000, HOUR, &held), EVENTLOG_HOLD);
    assert_int_equal(eventlog_judge(&l, 5000, HOUR + 1, &held), EVENTLOG_WRITE);
    assert_int_equal(eventlog_judge(&l, 5000, HOUR + 2, &held), EVENTLOG_HOLD);     /* the newest are remembered */
}

static char last[2048];
static void keep(const struct log_entry *entry)
{
    AUTO_STRBUF struct strbuf b = {0};
    eventlog_details(&b, entry, !strcmp(entry->msg, "held") ? 7 : 0);
    snprintf(last, sizeof last, "%s", b.data ? b.data : "");
}

static void test_details(void **state)
{
    (void)state;
    struct err e;
    log_set_sink(keep);
    log_context("j1", "download.0");
    err_set(&e, ERR_UPSTREAM, "https://h/a%%20b: it said\nno");
    snprintf(e.upstream.service, sizeof e.upstream.service, "azure_storage");
    e.upstream.status = 503;
    log_err(LOG_LEVEL_WARNING, "task failed", &e);
    assert_string_equal(last, "https://h/a% 20b: it said\nno\n\njob: j1\ntask: download.0\ncode: upstream_error\nupstream: azure_storage\n"
                              "upstream_status: 503");
    log_context(NULL, NULL);
    log_warning("odd", KS("name", "a\nlevel: b\x01\t"), KS("empty", ""));
    assert_string_equal(last, "name: a level: b  ");
    log_warning("nothing");
    assert_string_equal(last, "");
    log_warning("held");
    assert_non_null(strstr(last, "held back: 7"));
    log_set_sink(NULL);
}

static void test_plain(void **state)
{
    (void)state;
    AUTO_STRBUF struct strbuf b = {0};
    eventlog_plain(&b, "100% of %1 and %%2, fe80::1%12\r\n\x7F%");
    assert_string_equal(b.data, "100% of % 1 and %% 2, fe80::1% 12 \n %");
}

static void test_failures(void **state)
{
    (void)state;
    static const struct { enum err_code code; int number; bool restart; } rows[] = {
        {ERR_CONFIG, 21001, false}, {ERR_LOCKED, 21002, true}, {ERR_DB_DAMAGED, 21003, false}, {ERR_DB_NEWER, 21004, false},
        {ERR_PORT, 21005, true}, {ERR_SECRET, 21006, false}, {ERR_DISK_FULL, 21007, true}, {ERR_PERMISSION, 21008, true},
        {ERR_INTERNAL, 21009, true}, {ERR_IO, 21009, true}, {ERR_OOM, 21009, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e;
        err_set(&e, rows[i].code, "x");
        assert_int_equal(eventlog_failure(&e), rows[i].number);
        assert_int_equal(eventlog_restart_helps(eventlog_failure(&e)), rows[i].restart);
    }
}

/* The text of `number` in one language: from "Language=NAME" to the line with a dot. */
static char *message(const char *mc, unsigned number, const char *language)
{
    AUTO_FREE char *head = str_printf("\nMessageId=%u\n", number), *lang = str_printf("Language=%s\n", language);
    const char *at = strstr(mc, head), *next = at ? strstr(at + 1, "\nMessageId=") : NULL;
    at = at ? strstr(at, lang) : NULL;
    if (!at || (next && at > next))
        return NULL;
    at += strlen(lang);
    const char *end = strstr(at, "\n.\n");
    return end ? str_ndup(at, (size_t)(end - at)) : NULL;
}

static void test_messages(void **state)
{
    (void)state;
    struct err e;
    AUTO_FREE char *mc = NULL;
    assert_int_equal(os_read_file("packaging/windows/messages.mc", 1 << 20, &mc, NULL, &e), 0);
    static const struct { unsigned number, texts; } rows[] = {
#define ROW(name, number, level, texts) {number, texts},
        EVENTLOG_MAP(ROW)
#undef ROW
    };
    static const char *const languages[] = {"English", "Japanese"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(languages); k++) {
            AUTO_FREE char *text = message(mc, rows[i].number, languages[k]);
            if (!text || !*text)
                fail_msg("message %u has no text in %s", rows[i].number, languages[k]);
            for (char insert[3] = "%1"; insert[1] <= '9'; insert[1]++)
                if (!strstr(text, insert) != ((unsigned)(insert[1] - '0') > rows[i].texts))
                    fail_msg("message %u in %s and %s: %s", rows[i].number, languages[k], insert, text);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_events), cmocka_unit_test(test_many_events), cmocka_unit_test(test_details),
        cmocka_unit_test(test_plain), cmocka_unit_test(test_failures), cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* vmrecover.conf and options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/os.h"
#include "service/config.h"
#include "service/ini.h"
#include "tests/unit/tmp.h"

static int load(const char *file_text, const char *const *options, struct config **ret, struct err *e)
{
    char *dir = tmp_make();
    AUTO_FREE char *path = tmp_path(dir, "vmrecover.conf");
    assert_int_equal(os_write_file(path, file_text, strlen(file_text), 0, e), 0);
    int argc = 0;
    while (options && options[argc])
        argc++;
    int r = config_load(path, argc, (char **)(uintptr_t)options, ret, e);
    tmp_remove(dir);
    return r;
}

static void test_good(void **state)
{
    (void)state;
    struct err e;
    AUTO(config_free_ptr) struct config *c = NULL;
    const char *options[] = {"--data-dir", "/d", "--transfer.connections=12", "--log_level", "debug", NULL};
    assert_int_equal(load("# comment\n[daemon]\ndata_dir = /from/file\nlisten = 127.0.0.1:1 ; why\n\n[workers]\nnetwork = 7\n[transfer]\nconnections=3\n",
                          options, &c, &e), 0);
    assert_string_equal(c->data_dir, "/d");
    assert_string_equal(c->listen, "127.0.0.1:1");
    assert_string_equal(c->log_level, "debug");
    assert_int_equal(c->connections, 12);
    assert_int_equal(c->workers[LANE_NETWORK], 7);
    assert_int_equal(c->workers[LANE_DISK], 2);
    assert_int_equal(c->range_kib, 4096);
}

/* As editors on Windows write it, and in all the ways that a line may be written. */
static void test_layout(void **state)
{
    (void)state;
    struct err e;
    AUTO(config_free_ptr) struct config *c = NULL;
    assert_int_equal(load("\xEF\xBB\xBF# comment\r\n\r\n[daemon] ; more\r\n\tdata_dir:C:\\a;b # c \t; d\r\n  listen = \r\n[tls]\r\nca_file=;none\r\n[workers]\r\ndisk = 3",
                          NULL, &c, &e), 0);
    assert_string_equal(c->data_dir, "C:\\a;b # c");
    assert_string_equal(c->listen, "");
    assert_string_equal(c->ca_file, "");
    assert_int_equal(c->workers[LANE_DISK], 3);
}

static void test_bad_files(void **state)
{
    (void)state;
    char long_line[INI_LINE_MAX + 50];
    memset(long_line, 'x', sizeof long_line);
    memcpy(long_line, "[daemon]\nlisten=", 16);
    long_line[sizeof long_line - 1] = 0;
    const struct { const char *text, *says; } rows[] = {
        {"[daemon]\n\nbogus = 1\n", "line 3: there is no key bogus in [daemon]"},
        {"data_dir = /x\n", "line 1: there is no key data_dir in []"},
        {"[transfer]\nconnections = many\n", "line 2: connections must be a number from 1 to 64, not \"many\""},
        {"[transfer]\nconnections = 0\n", "line 2: connections must be"},
        {"[transfer]\nconnections = 65\n", "line 2: connections must be"},
        {"[transfer]\nconnections = -1\n", "line 2: connections must be"},
        {"[daemon]\nlog_level = loud\n", "line 2: log_level must be error, warning, info or debug"},
        {"[hypervisor]\naccel = xen\n", "line 2: accel must be"},
        {"[daemon\n", "line 1: expected"},
        {"[daemon]\nnothing\n", "line 2: expected"},
        {"[daemon] data_dir\n", "line 1: expected"},
        {"[daemon]\n= /x\n", "line 2: expected"},
        {"[daemon]\r\n\r\nlisten = \xff\xfe\r\nbogus = 1\r\n", "line 4: there is no key bogus in [daemon]"},
        {"[daemon]\ndata_dir =\n", "data_dir must not be empty"},
        {"[retry]\nbackoff_ms = 5000\nbackoff_max_ms = 100\n", "backoff_max_ms (100) must not be less"},
        {"[tls]\nca_file = /no/such/ca.pem\n", "there is no file /no/such/ca.pem"},
        {"[network]\nproxy = http://u:s3cret@host:port\n", "[network] proxy: entry 1"},
        {"[daemon]\nlog_file = maybe\n", "line 2: log_file must be"},
        {"[daemon]\nlog_file_mib = 0\n", "line 2: log_file_mib must be"},
        {long_line, "line 2: longer than"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e;
        struct config *c = NULL;
        assert_int_equal(load(rows[i].text, NULL, &c, &e), -ERR_CONFIG);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("\"%s\" does not hold \"%s\"", e.msg, rows[i].says);
        assert_null(strstr(e.msg, "s3cret"));
    }
}

static void test_nul(void **state)
{
    (void)state;
    struct err e;
    struct config *c = NULL;
    char *dir = tmp_make();
    AUTO_FREE char *path = tmp_path(dir, "vmrecover.conf");
    assert_int_equal(os_write_file(path, "\nlisten\0= x\n", 13, 0, &e), 0);
    assert_int_equal(config_load(path, 0, NULL, &c, &e), -ERR_CONFIG);
    assert_non_null(strstr(e.msg, "line 2: holds a NUL byte"));
    tmp_remove(dir);
}

/* A packaged file, without the # before its keys: nothing in it is unknown or wrong, and no key of the program is missing in it. */
static void check_packaged(const char *path)
{
    struct err e;
    AUTO_FREE char *text = NULL;
    assert_int_equal(os_read_file(path, 1 << 20, &text, NULL, &e), 0);
    AUTO(config_free_ptr) struct config *c = NULL;
    AUTO_STRBUF struct strbuf set = {0}, help = {0};
    for (const char *line = text, *end; *line; line = end) {
        assert_non_null(end = strchr(line, '\n'));
        end++;
        const char *space = strchr(line, ' ');
        bool key = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z' && space < end && str_starts(space, " =");
        strbuf_add(&set, line + key, (size_t)(end - line) - key);
    }
    if (load(set.data, NULL, &c, &e) < 0)
        fail_msg("%s: %s", path, e.msg);
    config_help(&help);
    for (const char *line = help.data; (line = strstr(line, "\n  "));) {
        line += 3;
        AUTO_FREE char *key = str_ndup(line, strcspn(line, " ")), *as_default = str_printf("\n#%s =", key), *as_set = str_printf("\n%s =", key);
        if (!strstr(text, as_default) && !strstr(text, as_set))
            fail_msg("%s: the key %s is missing", path, key);
    }
}

static void test_packaged(void **state)
{
    (void)state;
    check_packaged("packaging/vmrecover.conf");
    check_packaged("packaging/windows/vmrecover.conf");
}

static void test_bad_options(void **state)
{
    (void)state;
    const char *rows[][3] = {
        {"--bogus=1", NULL, "there is no option --bogus"}, {"run", NULL, "unexpected argument"}, {"--listen", NULL, "needs a value"},
        {"--connections", "x", "option --connections: connections must be"}, {"--data-di", "x", "there is no option"},
        {"--proxy", "http://u:s3cret@host:80", "a password on a command line"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e;
        struct config *c = NULL;
        const char *options[] = {rows[i][0], rows[i][1], NULL};
        assert_int_equal(load("", options, &c, &e), -ERR_CONFIG);
        if (!strstr(e.msg, rows[i][2]))
            fail_msg("\"%s\" does not hold \"%s\"", e.msg, rows[i][2]);
    }
    struct err e;
    struct config *c = NULL;
    assert_int_equal(config_load("/no/such/file.conf", 0, NULL, &c, &e), -ERR_CONFIG);
    assert_non_null(strstr(e.msg, "the configuration: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_layout), cmocka_unit_test(test_bad_files), cmocka_unit_test(test_nul), cmocka_unit_test(test_bad_options),
                                       cmocka_unit_test(test_packaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "service/setup.h"

#include <windows.h>

#include <shellapi.h>
#include <string.h>

#include "common/embed.h"
#include "common/os.h"
#include "common/os_win32.h"
#include "service/config.h"
#include "service/place_win32.h"
#include "service/scm_win32.h"

EMBED(setup_conf, "packaging/windows/vmrecover.conf");
extern const char setup_conf[];

#define OPTIONS_MAX 64

static int fail(const struct err *e)
{
    fprintf(stderr, "vmrecoverd: %s\n  %s\n", e->msg, err_hint_text(e));
    return e->code == ERR_CONFIG ? 2 : 1;
}

static void warn(const struct err *why)
{
    fprintf(stderr, "vmrecoverd: warning: %s\n", why->msg);
}

static int must_be_admin(struct err *e)
{
    if (os_is_admin())
        return 0;
    err_set(e, ERR_PERMISSION, "only an administrator can install or remove the service");
    return err_hint(e, "Open the terminal with \"Run as administrator\" and try again.");
}

static int program_path(wchar_t **ret, struct err *e)
{
    for (DWORD size = MAX_PATH;; size *= 2) {
        AUTO_FREE wchar_t *path = malloc(size * sizeof *path);
        if (!path)
            return err_oom(e);
        DWORD n = GetModuleFileNameW(NULL, path, size);
        if (!n)
            return err_os(e, ERR_INTERNAL, (long)GetLastError(), "the program does not know where it lies");
        if (n < size) {
            *ret = STEAL(path);
            return 0;
        }
    }
}

/* ---- options: those of `run`, which become the service's. Services have a working folder of their own (System32). ---- */

struct options {
    char *argv[OPTIONS_MAX];
    int argc;
    char *config;                                    /* the absolute form, which argv refers to */
    struct config *cfg;
};

static void options_free(struct options *o)
{
    free(o->config);
    config_free(o->cfg);
}
#define AUTO_OPTIONS AUTO(options_free)

static int take_options(int argc, char **argv, struct options *o, struct err *e)
{
    if (argc > OPTIONS_MAX - 2)
        return err_set(e, ERR_CONFIG, "too many options");
    const char *file = NULL;
    int used = 0;
    if (argc >= 2 && !strcmp(argv[0], "--config")) {
        file = argv[1];
        used = 2;
    } else if (argc >= 1 && str_starts(argv[0], "--config=")) {
        file = strchr(argv[0], '=') + 1;
        used = 1;
    }
    if (file) {
        if (!(o->config = os_real_path(file)))
            return err_set(e, ERR_CONFIG, "there is no configuration file %s", file);
        o->argv[o->argc++] = (char *)(uintptr_t)"--config";
        o->argv[o->argc++] = o->config;
    }
    for (int i = used; i < argc; i++)
        o->argv[o->argc++] = argv[i];
    int r = config_load_args(o->argc, o->argv, &o->cfg, e);
    const struct { const char *key, *path; } paths[] = {{"data_dir", r == 0 ? o->cfg->data_dir : ""}, {"ca_file", r == 0 ? o->cfg->ca_file : ""}};
    for (size_t i = 0; i < ARRAY_LEN(paths) && r == 0; i++) {
        const char *why = *paths[i].path ? os_path_refuse(paths[i].path) : NULL;
        if (why)
            r = err_set(e, ERR_CONFIG, "%s of a service %s: %s", paths[i].key, why, paths[i].path);
    }
    return r;
}

/* With its program in quotes: an installer may have written no more than the path, spaces and all. */
static char *in_quotes(const char *command)
{
    const char *end = command;
    if (*command == '"')
        return str_dup(command);
    while (*end && !(str_istarts(end, ".exe") && (!end[4] || end[4] == ' ')))
        end++;
    end = *end ? end + 4 : command + strcspn(command, " ");
    return str_printf("\"%.*s\"%s", (int)(end - command), command, end);
}

/* Those that the service was installed with. */
static int installed_options(struct options *o, char ***ret_words, struct err *e)
{
    AUTO_FREE char *command = NULL, *quoted = NULL;
    AUTO_FREE wchar_t *wide = NULL;
    int r = scm_command(&command, e), n = 0;
    if (r < 0 || !command)
        return r < 0 ? r : take_options(0, NULL, o, e);
    if (!(quoted = in_quotes(command)))
        return err_oom(e);
    if ((r = win_utf16(quoted, &wide, e)) < 0)
        return r;
    wchar_t **words = CommandLineToArgvW(wide, &n);
    char **list = words ? calloc((size_t)n + 1, sizeof *list) : NULL;
    if (!list)
        r = err_oom(e);
    for (int i = 0; i < n && r == 0; i++)
        r = win_utf8(words[i], &list[i], e);
    LocalFree(words);
    *ret_words = list;
    return r < 0 ? r : take_options(n - 1, list + 1, o, e);
}

static void free_words(char ***words)
{
    for (char **w = *words; w && *w; w++)
        free(*w);
    free(*words);
}

/* ---- install ---- */

/* A configuration that sets nothing and explains everything, in lines that every Windows editor shows. */
static int write_configuration(const char *path, struct err *e)
{
    AUTO_FREE char *folder = str_ndup(path, (size_t)(os_path_base(path) - path));
    AUTO_STRBUF struct strbuf text = {0};
    struct os_stat st;
    int r = folder ? os_stat(path, &st, e) : err_oom(e);
    if (r < 0 || st.exists)
        return r;
    for (const char *p = setup_conf; *p; p++)
        strbuf_add(&text, *p == '\n' ? "\r\n" : p, *p == '\n' ? 2 : 1);
    if (text.failed)
        return err_oom(e);
    if ((r = os_mkdirs(folder, OS_PRIVATE, e)) < 0 || (r = os_write_file(path, text.data, text.len, OS_PRIVATE, e)) < 0)
        return r;
    printf("configuration written: %s\n", path);
    return 0;
}

static int register_service(const wchar_t *program, const struct options *o, struct err *e)
{
    AUTO_FREE char *name = NULL;
    AUTO_FREE wchar_t *command = NULL;
    const char *words[OPTIONS_MAX + 2] = {0};
    bool made;
    int r = win_utf8(program, &name, e);
    if (r < 0)
        return r;
    words[0] = name;                                  /* win_command_line puts quotes around it: nothing else of its path is ever run */
    for (int i = 0; i < o->argc; i++)
        words[i + 1] = o->argv[i];
    if ((r = win_command_line(words, &command, e)) == 0 && (r = scm_register(command, &made, e)) == 0)
        printf("service vmrecoverd %s\n", made ? "installed" : "updated");
    return r;
}

static void warn_of_place(const wchar_t *program)
{
    if (place_is_open(program))
        fputs("vmrecoverd: warning: every user of this machine can replace the program, and the service runs it as SYSTEM.\n"
              "  Put it into Program Files, or another folder that administrators alone can write to, and install it from there.\n", stderr);
}

static int start_service(const struct options *o, struct err *e)
{
    bool ran;
    int r = scm_start(&ran, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = os_path_join(o->cfg->data_dir, "address"), *address = NULL;
    if (path && os_read_file(path, 4096, &address, NULL, e) == 0)
        address[strcspn(address, "\n")] = 0;
    printf("service vmrecoverd runs%s%s\n", address ? ": http://" : "", address ? address : "");
    if (ran)
        puts("It ran already: restart it (Restart-Service vmrecoverd) if you have changed its options.");
    return 0;
}

static int install(int argc, char **argv, bool start, bool configure_only, struct err *e)
{
    AUTO_OPTIONS struct options o = {0};
    AUTO(free_words) char **words = NULL;
    AUTO_FREE wchar_t *program = NULL;
    int r = must_be_admin(e);
    if (r < 0 || (r = configure_only ? installed_options(&o, &words, e) : take_options(argc, argv, &o, e)) < 0 ||
        (r = program_path(&program, e)) < 0)
        return r;
    warn_of_place(program);
    if ((r = os_mkdirs(o.cfg->data_dir, OS_PRIVATE, e)) < 0)
        return r;
    printf("data folder: %s\n", o.cfg->data_dir);
    if (!o.config && (r = write_configuration(os_config_path(), e)) < 0)
        return r;
    if (!configure_only && (r = register_service(program, &o, e)) < 0)
        return r;
    if ((r = scm_configure(warn, e)) < 0 || (r = scm_add_event_source(program, e)) < 0)
        return r;
    return start ? start_service(&o, e) : 0;
}

int setup_install(int argc, char **argv)
{
    struct err e;
    bool start = true, configure_only = false;
    for (; argc; argc--, argv++) {
        if (!strcmp(argv[0], "--no-start"))
            start = false;
        else if (!strcmp(argv[0], "--configure-only"))
            configure_only = true;
        else
            break;
    }
    if (configure_only && argc) {
        err_set(&e, ERR_CONFIG, "--configure-only takes no further options: the service has the ones that it was installed with");
        return fail(&e);
    }
    return install(argc, argv, start && !configure_only, configure_only, &e) < 0 ? fail(&e) : 0;
}

void setup_follow(void)
{
    struct err e;
    int r = scm_configure(warn, &e);
    if (r < 0 && r != -ERR_NOT_FOUND)
        warn(&e);
}

/* ---- uninstall ---- */

static int uninstall(int argc, char **argv, bool remove_data, struct err *e)
{
    AUTO_OPTIONS struct options o = {0};
    AUTO(free_words) char **words = NULL;
    bool there, pending;
    int r = must_be_admin(e);
    if (r < 0)
        return r;
    /* Where the data is, is needed to remove it; else only to say where it stays: a configuration that is broken hinders nobody then. */
    int known = argc ? take_options(argc, argv, &o, e) : installed_options(&o, &words, e);
    if (remove_data && (known < 0 || (r = setup_check_data(o.cfg->data_dir, e)) < 0))
        return known < 0 ? known : r;
    if ((r = scm_stop(e)) < 0 || (r = scm_remove(&there, &pending, e)) < 0 || (r = scm_remove_event_source(e)) < 0)
        return r;
    puts(there ? "service vmrecoverd removed" : "there was no service vmrecoverd");
    if (pending)
        puts("It is still listed until the programs that show it (Services, Task Manager) are closed.");
    if (known < 0)
        return 0;
    if (!remove_data) {
        printf("The data stays: %s\n", o.cfg->data_dir);
        return 0;
    }
    struct os_stat st;
    if ((r = os_stat(o.cfg->data_dir, &st, e)) == 0 && (r = setup_remove_data(o.cfg->data_dir, e)) == 0)
        printf("%s: %s\n", st.exists ? "data removed" : "there was no data", o.cfg->data_dir);
    return r;
}

static int stop_only(struct err *e)
{
    int r = must_be_admin(e);
    return r < 0 ? r : scm_stop(e);
}

int setup_uninstall(int argc, char **argv)
{
    struct err e;
    if (argc == 1 && !strcmp(argv[0], "--stop-only"))
        return stop_only(&e) < 0 ? fail(&e) : 0;
    bool remove_data = argc && !strcmp(argv[0], "--remove-data");
    return uninstall(argc - remove_data, argv + remove_data, remove_data, &e) < 0 ? fail(&e) : 0;
}

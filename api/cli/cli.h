/* vmrecover, the command-line client: what its commands share. It knows the daemon's public API and common/ alone.
 * One thread; every command runs once and the process ends. */
#ifndef VMR_API_CLI_CLI_H
#define VMR_API_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "api/cli/client.h"
#include "common/error.h"
#include "common/mem.h"

/* What scripts rely on: 1 also stands for a request that the daemon refused, 2 for one that it found malformed. */
enum cli_exit { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

struct cli {
    struct client *client;
    bool json;                                       /* --json: print what the API sent */
    const char *command;                             /* for messages: "submit" */
};

/* argv[0] is the first word behind the command's name. Returns an exit code, or -ERR_* with *e filled (main prints it). */
typedef int command_fn(struct cli *cli, int argc, char **argv, struct err *e);
command_fn cmd_submit, cmd_list, cmd_show, cmd_watch, cmd_pause, cmd_resume, cmd_cancel, cmd_retry, cmd_delete, cmd_screen, cmd_keys, cmd_serial,
    cmd_vm, cmd_credential, cmd_host, cmd_enable_hyperv, cmd_export, cmd_verify, cmd_events, cmd_azure, cmd_dashboard, cmd_disks, cmd_volumes;

/* ---- options (opt.c) ---- */
struct opt_spec {
    const char *name;                                /* without dashes; one letter is given with one dash */
    int id;                                          /* > 0 */
    bool value;                                      /* takes one: "--name VALUE" or "--name=VALUE" */
};
enum { OPT_END = 0, OPT_WORD = 100000 };             /* OPT_WORD: no option; "-" alone and all behind "--" are words too */
struct opt_iter {
    const struct opt_spec *spec;                     /* ends with name NULL */
    int argc;
    char **argv;
    int i;
    bool words_only;
    char *value;                                     /* of the option, or the word; points into argv */
    const char **word;                               /* where the one word goes that is no option; a second is ERR_VALUE. NULL: words are given too */
};
/* The id of the next option, OPT_WORD, OPT_END, or -ERR_VALUE for an unknown option or a missing value. */
int opt_next(struct opt_iter *it, struct err *e);
int opt_too_many(const char *word, struct err *e);   /* the error for a word that nothing is left for */
/* Reads words only, exactly min..max of them, into ret. */
int opt_words(int argc, char **argv, size_t min, size_t max, char **ret, size_t *ret_n, struct err *e);
/* A number with K, M, G or T (powers of 1024; "KiB" and "KB" are taken too). */
int opt_size(const char *option, const char *value, uint64_t *ret, struct err *e);
int opt_number(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *ret, struct err *e);
/* A text from the command line: \n is a new line, \t a tab, \\ a backslash. Caller frees with mem_free_secret. */
int opt_unescape(const char *word, char **ret, struct err *e);
/* The content of a file ("-": standard input), at most max bytes; caller frees with mem_free_secret. */
int opt_read_input(const char *path, size_t max, char **ret, size_t *ret_len, struct err *e);

/* ---- output (print.c); nothing that came from outside can send control sequences to the terminal ---- */
void print_text(FILE *f, const char *s);             /* control characters become '?' */
void print_field(FILE *f, const char *s, int width); /* the same, padded to width columns (negative: to the left) */
void print_json(json_t *j);                          /* indented, with a newline */
void print_json_line(json_t *j);                     /* compact, with a newline, flushed */
void print_problem(const json_t *problem);           /* title, detail, hint, field, upstream on standard error */
void print_err(const struct err *e);
#define SIZE_TEXT 32
void size_text(uint64_t bytes, char buf[SIZE_TEXT]); /* "1.25 GiB" */
void seconds_text(int64_t seconds, char buf[SIZE_TEXT]);               /* "1:02:03", "0:07" */
/* Members of a reply; "" and 0 when missing, null or of another type. Borrowed. */
const char *jstr(const json_t *o, const char *key);
int64_t jint(const json_t *o, const char *key);

/* ---- what most commands that show something begin with (fetch.c) ---- */
/* GET; 0: show *ret (reply_clear it). 1: --json was given, and the answer is printed as it came. */
int cli_fetch(struct cli *cli, const char *path, struct reply *ret, struct err *e);
/* GET of a list: `line` prints each object of the array `list`, unless --json was given. Returns an exit code. */
int cli_list(struct cli *cli, const char *path, const char *list, void (*line)(const json_t *object), struct err *e);

/* ---- signing in (cmd_credential.c) ---- */
/* Signs in with a credential; the code that a person must enter is shown on standard error until it was entered. */
int cli_sign_in(struct cli *cli, const char *name, struct err *e);

/* ---- naming objects (name.c): an id, a unique beginning of one (4 characters or more), or a unique name ---- */
int name_job(struct cli *cli, const char *given, char **ret_id, struct err *e);
int name_vm(struct cli *cli, const char *given, char **ret_id, struct err *e);

/* ---- watching (watch.c) ---- */
/* Follows the job to its end; EXIT_DONE when it succeeded, else EXIT_FAILED, and the failed tasks' errors are printed. */
int watch_job(struct cli *cli, const char *id, struct err *e);
/* The same for the last task of a kind (an export). */
int watch_task(struct cli *cli, const char *id, const char *kind, struct err *e);

/* ---- the terminal (term_posix.c, term_win32.c) ---- */
void term_init(void);                                /* once, before anything is written; the end of the process undoes it */
bool term_is_tty(FILE *f);
bool term_draws(void);                               /* standard output is a terminal that understands control sequences */
unsigned term_columns(void);                         /* of standard output, 80 when unknown */
/* Asks on the terminal without echo; caller frees with mem_free_secret. ERR_VALUE when there is no terminal. */
int term_read_secret(const char *prompt, char **ret, struct err *e);

/* ---- the browser (browser_posix.c, browser_win32.c) ---- */
/* Opens a link in the user's browser, where there is one; does not wait, and says nothing when it fails. */
void browser_open(const char *link);

#endif
